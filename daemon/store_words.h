/* How what people said is written in fields and values: digests in hex, one behind the other, and words `name=value` with a
 * space between. */
#ifndef DAEMON_STORE_WORDS_H
#define DAEMON_STORE_WORDS_H

#include "store_private.h"

#include <string.h>

/* Adds one digest, or two, to a command; a pair has the smaller first. */
static inline void words_one(struct command *command, const struct identity *identity)
{
	char hex[IDENTITY_HEX];

	identity_hex(identity, hex);
	command_print(command, "%s", hex);
}

static inline void words_two(struct command *command, const struct identity *first, const struct identity *second)
{
	char a[IDENTITY_HEX], b[IDENTITY_HEX];

	identity_hex(first, a);
	identity_hex(second, b);
	command_print(command, "%s%s", a, b);
}

static inline void words_pair(struct command *command, const struct identity *a, const struct identity *b)
{
	bool is_in_order = memcmp(a, b, sizeof(*a)) <= 0;

	words_two(command, is_in_order ? a : b, is_in_order ? b : a);
}

/* Reads two digests. Returns 0 or ERROR_INVALID. */
static inline int words_read_two(struct slice text, struct identity *first, struct identity *second)
{
	const size_t half = IDENTITY_HEX - 1;

	if (text.length != 2 * half)
		return ERROR_INVALID;
	int error = identity_parse((struct slice){text.data, half}, first);
	return error ? error : identity_parse((struct slice){text.data + half, half}, second);
}

/* Returns the value of the word `name` (with its =) in `text`; absent if there is none. */
static inline struct slice words_value(struct slice text, const char *name)
{
	struct slice word;
	size_t length = strlen(name);

	while (tags_next(&text, &word))
		if (word.length >= length && memcmp(word.data, name, length) == 0)
			return (struct slice){word.data + length, word.length - length};
	return (struct slice){NULL, 0};
}

#endif
