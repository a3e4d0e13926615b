/* The schema of the two hashes, in one table each: what is written is what is read.
 * What can go wrong: the key holds what some other version or program wrote. A wrong schema is nothing; anything that is not
 * what we write is refused whole, so that nothing broken reaches a client. */
#include "store_private.h"

#include "../proto/reader.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA "1"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vectors travel in little endian and are used in place");

static const char *const entry_fields[FIELD_VECTOR] = {
	[FIELD_SCHEMA] = "schema",      [FIELD_NAMESPACE] = "namespace", [FIELD_GENERATION] = "generation",
	[FIELD_QUESTION] = "question",  [FIELD_ANSWER] = "answer",       [FIELD_MODEL] = "model",
	[FIELD_USAGE] = "usage",        [FIELD_REQUEST] = "request",     [FIELD_FINISH_REASON] = "finish_reason",
	[FIELD_SCOPE] = "scope",        [FIELD_COMPARED] = "compared",   [FIELD_TAGS] = "tags",
	[FIELD_CREATED] = "created_ms", [FIELD_SOFT] = "soft_ms",        [FIELD_EXPIRE] = "expire_ms",
};

static const char *const alias_fields[ALIAS_FIELD_COUNT] = {
	[ALIAS_SCHEMA] = "schema",         [ALIAS_NAMESPACE] = "namespace",
	[ALIAS_GENERATION] = "generation", [ALIAS_ENTRY] = "entry",
	[ALIAS_SIMILARITY] = "similarity", [ALIAS_ENTRY_CREATED] = "entry_created",
	[ALIAS_SCORE] = "score",           [ALIAS_KIND] = "kind",
	[ALIAS_EMBEDDER] = "embedder",
};

static const char *const kinds[] = {
	[ALIAS_PROMOTED] = "promoted",
	[ALIAS_JUDGED] = "judged",
	[ALIAS_ACCEPTED] = "accepted",
};

/* ---- reading ---- */

/* The value of a hex digit in lower case, or -1. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

uint64_t fields_read_generation(struct slice text)
{
	uint64_t value = 0;

	if (!text.data || text.length != 16)
		return 0;
	for (size_t i = 0; i < text.length; i++) {
		int digit = hex_value(text.data[i]);
		if (digit < 0)
			return 0;
		value = value << 4 | (uint64_t)digit;
	}
	return value;
}

/* Decimal digits up to `most`, nothing else. */
static int read_number(struct slice text, uint64_t most, uint64_t *out)
{
	uint64_t value = 0;

	if (!text.data || text.length == 0 || text.length > 20)
		return ERROR_PROTOCOL;
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return ERROR_PROTOCOL;
		uint64_t digit = (uint64_t)(text.data[i] - '0');
		if (value > (most - digit) / 10)
			return ERROR_PROTOCOL;
		value = value * 10 + digit;
	}
	*out = value;
	return 0;
}

int fields_read_number(struct slice text, uint64_t *out)
{
	return read_number(text, (uint64_t)INT64_MAX, out);
}

static int read_cosine(struct slice text, double *out)
{
	char copy[40];
	char *end;

	if (!text.data || text.length == 0 || text.length >= sizeof(copy))
		return ERROR_PROTOCOL;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	double value = strtod(copy, &end);
	if (end != copy + text.length || !isfinite(value))
		return ERROR_PROTOCOL;
	*out = value;
	return 0;
}

static bool is_text(struct slice text)
{
	bool nul;

	return !text.data || slice_is_utf8(text, &nul);
}

/* Exactly one MessagePack map, or absent. */
static bool is_map(struct slice raw)
{
	struct reader head = reader_of(raw), all = head;
	struct reader_value value;
	struct slice whole;

	if (!raw.data)
		return true;
	return reader_next(&head, &value) == 0 && value.type == READER_MAP && reader_skip(&all, &whole) == 0 &&
	       whole.length == raw.length;
}

/* hiredis gives each value memory of its own, which is aligned for anything; a caller that does not gets no vector. */
static void read_vector(struct slice raw, const float **vector, unsigned *dimensions)
{
	if (!raw.data || raw.length == 0 || raw.length % sizeof(float) != 0 || raw.length / sizeof(float) > UINT16_MAX ||
	    (uintptr_t)raw.data % _Alignof(float) != 0)
		return;
	*vector = (const float *)(const void *)raw.data;
	*dimensions = (unsigned)(raw.length / sizeof(float));
}

int fields_read_entry(const struct slice values[FIELD_COUNT], struct slice namespace, const struct identity *identity,
		      size_t max_bytes, struct entry *out)
{
	uint64_t longest = (uint64_t)INT64_MAX;
	size_t bytes = 0;

	if (!slice_equal(values[FIELD_SCHEMA], SLICE(SCHEMA)))
		return ERROR_NOT_FOUND;
	for (size_t i = 0; i < FIELD_COUNT; i++)
		bytes += values[i].length;
	if (values[FIELD_ANSWER].length > max_bytes || bytes / 4 > max_bytes)
		return ERROR_TOO_LARGE;
	struct entry entry = {
		.identity = *identity,
		.generation = fields_read_generation(values[FIELD_GENERATION]),
		.namespace = values[FIELD_NAMESPACE],
		.question = values[FIELD_QUESTION],
		.answer = values[FIELD_ANSWER],
		.model = values[FIELD_MODEL],
		.finish_reason = values[FIELD_FINISH_REASON],
		.usage = values[FIELD_USAGE],
		.request = values[FIELD_REQUEST],
		.tags = values[FIELD_TAGS],
		.compared = slice_equal(values[FIELD_COMPARED], SLICE("1")),
	};
	if (!slice_equal(entry.namespace, namespace) || !entry.generation || !entry.answer.data)
		return ERROR_PROTOCOL;
	if (read_number(values[FIELD_CREATED], longest, &entry.created_ms) ||
	    read_number(values[FIELD_SOFT], longest, &entry.soft_ms) ||
	    read_number(values[FIELD_EXPIRE], longest, &entry.expire_ms))
		return ERROR_PROTOCOL;
	if (!is_text(entry.question) || !is_text(entry.answer) || !is_text(entry.model) || !is_text(entry.finish_reason) ||
	    !is_text(entry.tags) || !is_map(entry.usage) || !is_map(entry.request))
		return ERROR_PROTOCOL;
	if (values[FIELD_SCOPE].data && identity_parse(values[FIELD_SCOPE], &entry.scope) != 0)
		return ERROR_PROTOCOL;
	if (!values[FIELD_SCOPE].data)
		entry.compared = false;
	read_vector(values[FIELD_VECTOR], &entry.vector, &entry.dimensions);
	read_vector(values[FIELD_SECOND], &entry.second, &entry.second_dimensions);
	*out = entry;
	return 0;
}

static int read_kind(struct slice text, enum alias_kind *kind)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (slice_equal(text, slice_of(kinds[i]))) {
			*kind = (enum alias_kind)i;
			return 0;
		}
	return ERROR_PROTOCOL;
}

int fields_read_alias(const struct slice values[ALIAS_FIELD_COUNT], struct slice namespace, const struct identity *identity,
		      struct alias *out)
{
	struct alias alias = {.identity = *identity, .generation = fields_read_generation(values[ALIAS_GENERATION])};
	struct slice embedder = values[ALIAS_EMBEDDER];

	if (!slice_equal(values[ALIAS_SCHEMA], SLICE(SCHEMA)))
		return ERROR_NOT_FOUND;
	if (!slice_equal(values[ALIAS_NAMESPACE], namespace) || !alias.generation || !values[ALIAS_ENTRY].data ||
	    identity_parse(values[ALIAS_ENTRY], &alias.entry) != 0 ||
	    read_number(values[ALIAS_ENTRY_CREATED], (uint64_t)INT64_MAX, &alias.entry_created_ms) ||
	    read_cosine(values[ALIAS_SIMILARITY], &alias.similarity) || read_cosine(values[ALIAS_SCORE], &alias.score) ||
	    read_kind(values[ALIAS_KIND], &alias.kind) || !embedder.data || embedder.length >= sizeof(alias.embedder))
		return ERROR_PROTOCOL;
	memcpy(alias.embedder, embedder.data, embedder.length);
	*out = alias;
	return 0;
}

void fields_ask_entry(struct command *command, const struct store *store, bool with_vector)
{
	for (size_t i = 0; i < FIELD_VECTOR; i++)
		command_word(command, entry_fields[i]);
	if (with_vector)
		command_print(command, "vector:%s", store->embedder8);
	if (with_vector && store->second8[0])
		command_print(command, "vector:%s", store->second8);
}

void fields_ask_alias(struct command *command)
{
	for (size_t i = 0; i < ALIAS_FIELD_COUNT; i++)
		command_word(command, alias_fields[i]);
}

bool tags_next(struct slice *rest, struct slice *tag)
{
	while (rest->length && *rest->data == ' ') {
		rest->data++;
		rest->length--;
	}
	if (!rest->length)
		return false;
	const char *space = memchr(rest->data, ' ', rest->length);
	tag->data = rest->data;
	tag->length = space ? (size_t)(space - rest->data) : rest->length;
	rest->data += tag->length;
	rest->length -= tag->length;
	return true;
}

/* ---- writing ---- */

static void put_text(struct command *command, const char *name, struct slice text)
{
	if (!text.data)
		return;
	command_word(command, name);
	command_add(command, text);
}

static void put_number(struct command *command, const char *name, uint64_t number)
{
	command_word(command, name);
	command_print(command, "%" PRIu64, number);
}

static void put_identity(struct command *command, const char *name, const struct identity *identity)
{
	char hex[IDENTITY_HEX];

	identity_hex(identity, hex);
	command_word(command, name);
	command_print(command, "%s", hex);
}

static void put_head(struct command *command, struct slice namespace, uint64_t generation, const struct identity *digest)
{
	command_word(command, "schema");
	command_word(command, SCHEMA);
	put_text(command, "namespace", namespace);
	command_word(command, "generation");
	command_generation(command, generation);
	put_identity(command, "digest", digest);
}

static void put_vector(struct command *command, const char *embedder8, const float *vector, unsigned dimensions)
{
	if (!vector || dimensions == 0 || !embedder8[0])
		return;
	command_print(command, "vector:%s", embedder8);
	command_add(command, (struct slice){(const char *)(const void *)vector, dimensions * sizeof(float)});
}

void fields_write_entry(struct command *command, const struct store *store, const struct entry *entry, uint64_t generation,
			const struct identity *digest)
{
	put_head(command, entry->namespace, generation, digest);
	put_text(command, "question", entry->question);
	put_text(command, "answer", entry->answer);
	put_text(command, "model", entry->model);
	put_text(command, "finish_reason", entry->finish_reason);
	put_text(command, "usage", entry->usage);
	put_text(command, "request", entry->request);
	put_text(command, "tags", entry->tags);
	if (entry->compared)
		put_identity(command, "scope", &entry->scope);
	command_word(command, "compared");
	command_word(command, entry->compared ? "1" : "0");
	put_number(command, "created_ms", entry->created_ms);
	put_number(command, "soft_ms", entry->soft_ms);
	put_number(command, "expire_ms", entry->expire_ms);
	put_vector(command, store->embedder8, entry->vector, entry->dimensions);
	put_vector(command, store->second8, entry->second, entry->second_dimensions);
}

void fields_write_alias(struct command *command, const struct alias *alias, struct slice namespace, uint64_t generation,
			const struct identity *digest)
{
	put_head(command, namespace, generation, digest);
	put_identity(command, "entry", &alias->entry);
	put_number(command, "entry_created", alias->entry_created_ms);
	command_word(command, "similarity");
	command_print(command, "%.17g", alias->similarity);
	command_word(command, "score");
	command_print(command, "%.17g", alias->score);
	command_word(command, "kind");
	command_word(command, kinds[alias->kind]);
	command_word(command, "embedder");
	command_print(command, "%s", alias->embedder);
}
