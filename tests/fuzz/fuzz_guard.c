/* Any bytes as two questions and as an operator's words: the verdict is the same both ways, and equal texts never differ. */
#include "daemon/guard.h"
#include "proto/error.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Cuts what is in front of the first line break off, into memory of exactly its size. */
static struct slice part_take(const uint8_t **bytes, size_t *length)
{
	const uint8_t *end = *length ? memchr(*bytes, '\n', *length) : NULL;
	size_t part = end ? (size_t)(end - *bytes) : *length;
	char *copy = malloc(part ? part : 1);

	if (!copy)
		abort();
	memcpy(copy, *bytes, part);
	*bytes += part + (end != NULL);
	*length -= part + (end != NULL);
	return (struct slice){copy, part};
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct guard_words *words = NULL;

	if (length < 1)
		return 0;
	struct slice a = part_take(&bytes, &length), b = part_take(&bytes, &length), text = part_take(&bytes, &length);
	int error = guard_words_parse(text, &words);
	if (error && (words || (error != ERROR_INVALID && error != ERROR_TOO_LARGE)))
		abort();
	uint32_t found = guards_veto(a, b, GUARDS_ALL, words);
	if (found & ~GUARDS_ALL || found != guards_veto(b, a, GUARDS_ALL, words))
		abort();
	if (guards_veto(a, a, GUARDS_ALL, words) != 0 || guards_veto(a, b, 0, words) != 0)
		abort();
	for (int guard = 0; guard < GUARD_COUNT; guard++)
		if (guards_veto(a, b, GUARD_BIT(guard), words) != (found & GUARD_BIT(guard)))
			abort();
	guard_words_destroy(words);
	free((void *)(uintptr_t)a.data);
	free((void *)(uintptr_t)b.data);
	free((void *)(uintptr_t)text.data);
	return 0;
}
