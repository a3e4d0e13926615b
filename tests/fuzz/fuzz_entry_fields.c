/* Whatever stands in the fields of a hash: it is refused, or it is an entry or alias that can be copied and sent. */
#include "daemon/store_private.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next field: its length in a byte (255 = absent), then its bytes, in memory of its own as hiredis gives it. */
static struct slice next_field(const uint8_t **at, const uint8_t *end)
{
	struct slice field = {NULL, 0};

	if (*at == end)
		return field;
	size_t length = *(*at)++;
	if (length == 255)
		return field;
	if (length > (size_t)(end - *at))
		length = (size_t)(end - *at);
	char *copy = malloc(length + 1);
	if (!copy)
		return field;
	memcpy(copy, *at, length);
	copy[length] = '\0';
	*at += length;
	return (struct slice){copy, length};
}

static void try_entry(const uint8_t *at, const uint8_t *end)
{
	struct slice values[FIELD_COUNT];
	struct identity identity = {{1}};
	struct entry entry;

	for (size_t i = 0; i < FIELD_COUNT; i++)
		values[i] = next_field(&at, end);
	/* Most inputs would fail at these three; half of them get what is right. */
	struct slice given[] = {values[FIELD_SCHEMA], values[FIELD_NAMESPACE], values[FIELD_GENERATION]};
	if (end > at && *at & 1) {
		values[FIELD_SCHEMA] = SLICE("1");
		values[FIELD_NAMESPACE] = SLICE("default");
		values[FIELD_GENERATION] = SLICE("0123456789abcdef");
	}
	if (fields_read_entry(values, SLICE("default"), &identity, 1000, &entry) == 0) {
		struct slice rest = entry.tags, tag;
		while (tags_next(&rest, &tag))
			assert(tag.length > 0 && !memchr(tag.data, ' ', tag.length));
		assert(entry.answer.data && entry.generation);
		struct entry *copy = entry_copy(&entry);
		assert(!copy || slice_equal(copy->answer, entry.answer));
		entry_destroy(copy);
	}
	values[FIELD_SCHEMA] = given[0];
	values[FIELD_NAMESPACE] = given[1];
	values[FIELD_GENERATION] = given[2];
	for (size_t i = 0; i < FIELD_COUNT; i++)
		free((void *)(uintptr_t)values[i].data);
}

static void try_alias(const uint8_t *at, const uint8_t *end)
{
	struct slice values[ALIAS_FIELD_COUNT];
	struct identity identity = {{1}};
	struct alias alias;

	for (size_t i = 0; i < ALIAS_FIELD_COUNT; i++)
		values[i] = next_field(&at, end);
	if (fields_read_alias(values, SLICE("default"), &identity, &alias) == 0)
		assert(alias.generation && memchr(alias.embedder, '\0', sizeof(alias.embedder)));
	for (size_t i = 0; i < ALIAS_FIELD_COUNT; i++)
		free((void *)(uintptr_t)values[i].data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		try_alias(data + 1, data + size);
	else
		try_entry(data + 1, data + size);
	return 0;
}
