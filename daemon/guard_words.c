#include "guard_private.h"

#include "../proto/error.h"

#include <stdlib.h>
#include <string.h>

#define WORD_BYTES 64

/* The pairs, and behind them the bytes of their words, and the text that shows them. */
struct guard_words {
	size_t count;
	char *text; /* NUL-terminated */
	struct guard_lexeme lexemes[];
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct slice trimmed(const char *from, const char *to)
{
	while (from < to && is_blank(*from))
		from++;
	while (to > from && is_blank(to[-1]))
		to--;
	return (struct slice){from, (size_t)(to - from)};
}

static bool is_word(struct slice word)
{
	bool nul;

	if (word.length == 0 || word.length > WORD_BYTES || !slice_is_utf8(word, &nul) || nul)
		return false;
	for (size_t i = 0; i < word.length; i++)
		if (is_blank(word.data[i]) || word.data[i] == ',' || word.data[i] == '/' ||
		    (unsigned char)word.data[i] < 0x20)
			return false;
	return true;
}

/* Adds one word, folded as the texts are; the words' bytes grow behind the lexemes. */
static void word_add(struct guard_words *words, char **bytes, struct slice word, uint16_t group, uint8_t side)
{
	char *text = *bytes;

	for (size_t i = 0; i < word.length; i++)
		text[i] = word.data[i] >= 'A' && word.data[i] <= 'Z' ? (char)(word.data[i] + 32) : word.data[i];
	*bytes += word.length;
	words->lexemes[words->count++] = (struct guard_lexeme){
		.text = text,
		.length = (uint8_t)word.length,
		.kind = GUARD_OPPOSITE,
		.side = side,
		.value = group,
	};
}

/* Appends one pair to the text that shows them. */
static void pair_show(struct guard_words *words, size_t *length, struct slice left, struct slice right)
{
	char *out = words->text + *length;

	if (*length > 0) {
		*out++ = ',';
		*out++ = ' ';
	}
	memcpy(out, left.data, left.length);
	out += left.length;
	*out++ = '/';
	memcpy(out, right.data, right.length);
	out += right.length;
	*out = '\0';
	*length = (size_t)(out - words->text);
}

/* Reads the pair at `from`, up to `to`. */
static int pair_read(struct guard_words *words, char **bytes, size_t *shown, const char *from, const char *to, size_t pair)
{
	const char *slash = memchr(from, '/', (size_t)(to - from));

	if (!slash)
		return ERROR_INVALID;
	struct slice left = trimmed(from, slash), right = trimmed(slash + 1, to);
	if (!is_word(left) || !is_word(right))
		return ERROR_INVALID;
	uint16_t group = (uint16_t)(GUARD_OPERATORS_GROUP + pair);
	word_add(words, bytes, left, group, 0);
	word_add(words, bytes, right, group, 1);
	const struct guard_lexeme *added = &words->lexemes[words->count - 2];
	if (left.length == right.length && memcmp(added[0].text, added[1].text, left.length) == 0)
		return ERROR_INVALID;
	pair_show(words, shown, left, right);
	return 0;
}

int guard_words_parse(struct slice text, struct guard_words **words)
{
	size_t pairs = 1, pair = 0, shown = 0;

	if (text.length == 0 || trimmed(text.data, text.data + text.length).length == 0) {
		*words = NULL;
		return 0;
	}
	for (size_t i = 0; i < text.length; i++)
		pairs += text.data[i] == ',';
	if (pairs > GUARD_PAIRS)
		return ERROR_TOO_LARGE;
	struct guard_words *made = malloc(sizeof(*made) + 2 * pairs * sizeof(made->lexemes[0]) + 2 * text.length + pairs +
					  1);
	if (!made)
		return ERROR_MEMORY;
	made->count = 0;
	char *bytes = (char *)&made->lexemes[2 * pairs];
	made->text = bytes + text.length;
	const char *end = text.data + text.length;
	for (const char *from = text.data; pair < pairs; pair++) {
		const char *comma = memchr(from, ',', (size_t)(end - from));
		const char *to = comma ? comma : end;
		int error = pair_read(made, &bytes, &shown, from, to, pair);
		if (error) {
			free(made);
			return error;
		}
		from = to + (comma != NULL);
	}
	*words = made;
	return 0;
}

const char *guard_words_text(const struct guard_words *words)
{
	return words ? words->text : "";
}

void guard_words_destroy(struct guard_words *words)
{
	free(words);
}

const struct guard_lexeme *guard_words_list(const struct guard_words *words, size_t *count)
{
	*count = words ? words->count : 0;
	return words ? words->lexemes : NULL;
}
