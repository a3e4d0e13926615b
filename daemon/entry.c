/* One allocation: the struct, its vector, the encoded pairs of a result, and the texts that are in no pair.
 *
 *   struct entry | vectors | answer finish_reason similarity original_query entry model usage | namespace request tags
 *
 * The same function measures and writes, so that the two cannot disagree. What can go wrong: no memory; a text too long for
 * MessagePack; a usage that is no map, which would break every message it is sent in and is left out. */
#include "entry.h"

#include "../proto/reader.h"

#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

/* Where the bytes go; `at` NULL = they are only counted. */
struct sink {
	char *at;
	size_t length;
};

static int sink_write(void *data, const char *bytes, size_t length)
{
	struct sink *sink = data;

	if (sink->at && length)
		memcpy(sink->at + sink->length, bytes, length);
	sink->length += length;
	return 0;
}

/* The last `length` bytes written, as the slice that stands for `from`; absent stays absent. */
static struct slice written(const struct sink *sink, struct slice from)
{
	if (!from.data || !sink->at)
		return (struct slice){NULL, 0};
	return (struct slice){sink->at + sink->length - from.length, from.length};
}

static void put_key(msgpack_packer *packer, const char *key)
{
	size_t length = strlen(key);

	msgpack_pack_str(packer, length);
	msgpack_pack_str_body(packer, key, length);
}

static struct slice put_text(struct sink *sink, msgpack_packer *packer, const char *key, struct slice text)
{
	put_key(packer, key);
	if (!text.data) {
		msgpack_pack_nil(packer);
	} else {
		msgpack_pack_str(packer, text.length);
		msgpack_pack_str_body(packer, text.data, text.length);
	}
	return written(sink, text);
}

static struct slice put_raw(struct sink *sink, struct slice raw)
{
	if (raw.data)
		(void)sink_write(sink, raw.data, raw.length);
	return written(sink, raw);
}

/* The usage, if it is exactly one MessagePack map; absent otherwise. */
static struct slice usage_of(const struct entry *entry)
{
	struct reader reader = reader_of(entry->usage);
	struct reader_value value;
	struct slice whole;

	if (!entry->usage.data || reader_next(&reader, &value) || value.type != READER_MAP)
		return (struct slice){NULL, 0};
	reader = reader_of(entry->usage);
	if (reader_skip(&reader, &whole) || whole.length != entry->usage.length)
		return (struct slice){NULL, 0};
	return entry->usage;
}

/* Writes everything behind the vectors, and points `to`'s texts into it. */
static void put_texts(struct sink *sink, const struct entry *from, struct entry *to)
{
	msgpack_packer packer;
	char hex[IDENTITY_HEX];
	struct slice usage = usage_of(from);

	msgpack_packer_init(&packer, sink, sink_write);
	to->answer = put_text(sink, &packer, "answer", from->answer);
	to->result_answer = sink->length;
	to->finish_reason = put_text(sink, &packer, "finish_reason", from->finish_reason);
	put_key(&packer, "similarity");
	msgpack_pack_double(&packer, 1.0);
	to->question = put_text(sink, &packer, "original_query", from->question);
	identity_hex(&from->identity, hex);
	(void)put_text(sink, &packer, "entry", (struct slice){hex, sizeof(hex) - 1});
	to->model = put_text(sink, &packer, "model", from->model);
	put_key(&packer, "usage");
	if (!usage.data)
		msgpack_pack_nil(&packer);
	to->usage = put_raw(sink, usage);
	to->result = (struct slice){sink->at, sink->length};
	to->namespace = put_raw(sink, from->namespace);
	to->request = put_raw(sink, from->request);
	to->tags = put_raw(sink, from->tags);
}

static size_t vector_bytes(const float *vector, unsigned dimensions)
{
	return vector ? dimensions * sizeof(float) : 0;
}

static size_t vectors_bytes(const struct entry *entry)
{
	return vector_bytes(entry->vector, entry->dimensions) + vector_bytes(entry->second, entry->second_dimensions);
}

/* Copies a vector to `*at`, which moves behind it. */
static void put_vector(char **at, const float *from, unsigned from_dimensions, const float **vector, unsigned *dimensions)
{
	size_t bytes = vector_bytes(from, from_dimensions);

	*vector = NULL;
	*dimensions = 0;
	if (bytes == 0)
		return;
	memcpy(*at, from, bytes);
	*vector = (const float *)(void *)*at;
	*dimensions = from_dimensions;
	*at += bytes;
}

size_t entry_size(const struct entry *entry)
{
	struct sink sink = {NULL, 0};
	struct entry unused;

	put_texts(&sink, entry, &unused);
	return sizeof(*entry) + vectors_bytes(entry) + sink.length;
}

static bool fits(struct slice text)
{
	return text.length <= UINT32_MAX;
}

struct entry *entry_copy(const struct entry *from)
{
	if (!fits(from->answer) || !fits(from->finish_reason) || !fits(from->question) || !fits(from->model))
		return NULL;
	char *memory = malloc(entry_size(from));
	if (!memory)
		return NULL;
	struct entry *entry = (struct entry *)(void *)memory;
	char *at = memory + sizeof(*entry);

	*entry = *from;
	put_vector(&at, from->vector, from->dimensions, &entry->vector, &entry->dimensions);
	put_vector(&at, from->second, from->second_dimensions, &entry->second, &entry->second_dimensions);
	struct sink sink = {at, 0};
	put_texts(&sink, from, entry);
	return entry;
}

void entry_destroy(struct entry *entry)
{
	free(entry);
}

bool entry_next_tag(struct slice *tags, struct slice *tag)
{
	if (tags->length == 0)
		return false;
	const char *space = memchr(tags->data, ' ', tags->length);
	*tag = (struct slice){tags->data, space ? (size_t)(space - tags->data) : tags->length};
	tags->data += tag->length + (space != NULL);
	tags->length -= tag->length + (space != NULL);
	return true;
}

size_t entry_tag_count(struct slice tags)
{
	struct slice tag;
	size_t count = 0;

	while (entry_next_tag(&tags, &tag))
		count++;
	return count;
}

bool entry_has_tag(struct slice tags, struct slice tag)
{
	struct slice one;

	while (entry_next_tag(&tags, &one))
		if (slice_equal(one, tag))
			return true;
	return false;
}
