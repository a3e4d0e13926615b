/* The bytes are kept twice: as they came, for those who read MessagePack themselves, and once more with a NUL behind each
 * text. Between two texts there is always a header byte of the later one, so a NUL never falls on a text. */
#include "result.h"

#include "../proto/error.h"
#include "../proto/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct semcache_result {
	char *raw;
	char *texts;
	size_t length;
	bool has_answer;
	struct semcache_answer answer;
};

enum kind { KIND_TEXT, KIND_UINT, KIND_FLOAT };

struct key {
	const char *name;
	enum kind kind;
	size_t offset; /* in struct semcache_answer */
	size_t length; /* of KIND_TEXT: where its length goes, 0 = nowhere; of KIND_FLOAT: the flag of "not nil", 0 = none */
};

#define AT(member) offsetof(struct semcache_answer, member)

static const struct key keys[] = {
	{"request", KIND_UINT, AT(request), 0},
	{"tier", KIND_TEXT, AT(tier_name), 0},
	{"answer", KIND_TEXT, AT(text), AT(text_length)},
	{"finish_reason", KIND_TEXT, AT(finish_reason), 0},
	{"similarity", KIND_FLOAT, AT(similarity), AT(has_similarity)},
	{"original_query", KIND_TEXT, AT(original_query), 0},
	{"entry", KIND_TEXT, AT(entry), 0},
	{"age", KIND_UINT, AT(age_s), 0},
	{"ttl", KIND_UINT, AT(ttl_s), 0},
	{"model", KIND_TEXT, AT(model), 0},
	{"best_similarity", KIND_FLOAT, AT(best_similarity), 0},
	{"best_query", KIND_TEXT, AT(best_query), 0},
	{"reason", KIND_TEXT, AT(reason), 0},
	{NULL, KIND_TEXT, 0, 0},
};

static const struct key usage_keys[] = {
	{"prompt_tokens", KIND_UINT, AT(prompt_tokens), 0},
	{"completion_tokens", KIND_UINT, AT(completion_tokens), 0},
	{"total_tokens", KIND_UINT, AT(total_tokens), 0},
	{NULL, KIND_UINT, 0, 0},
};

static const struct key saved_keys[] = {
	{"tokens", KIND_UINT, AT(saved_tokens), 0},
	{"usd", KIND_FLOAT, AT(saved_usd), 0},
	{NULL, KIND_UINT, 0, 0},
};

static const struct key timing_keys[] = {
	{"total_ms", KIND_FLOAT, AT(total_ms), 0},
	{"embedding_ms", KIND_FLOAT, AT(embedding_ms), 0},
	{"search_ms", KIND_FLOAT, AT(search_ms), 0},
	{"upstream_ms", KIND_FLOAT, AT(upstream_ms), 0},
	{NULL, KIND_UINT, 0, 0},
};

static int take_text(struct semcache_result *result, const struct key *key, struct slice text)
{
	char *copy = result->texts + (text.data - result->raw);
	char *answer = (char *)&result->answer;

	copy[text.length] = '\0';
	*(const char **)(answer + key->offset) = copy;
	if (key->length)
		*(size_t *)(answer + key->length) = text.length;
	return 0;
}

static int take_float(struct semcache_result *result, const struct key *key, const struct reader_value *value)
{
	double number = value->number;

	if (value->type == READER_UINT)
		number = (double)value->uint;
	else if (value->type == READER_INT)
		number = (double)value->integer;
	else if (value->type != READER_FLOAT || isnan(number) || isinf(number))
		return ERROR_PROTOCOL;
	*(double *)((char *)&result->answer + key->offset) = number;
	if (key->length)
		*(bool *)((char *)&result->answer + key->length) = true;
	return 0;
}

/* Takes the value of a known key; nil is the same as absent. */
static int take_value(struct semcache_result *result, const struct key *key, const struct reader_value *value)
{
	if (value->type == READER_NIL)
		return 0;
	switch (key->kind) {
	case KIND_TEXT:
		return value->type == READER_TEXT ? take_text(result, key, value->text) : ERROR_PROTOCOL;
	case KIND_UINT:
		if (value->type != READER_UINT)
			return ERROR_PROTOCOL;
		*(uint64_t *)((char *)&result->answer + key->offset) = value->uint;
		return 0;
	case KIND_FLOAT:
		return take_float(result, key, value);
	}
	return ERROR_PROTOCOL;
}

static const struct key *key_find(const struct key *table, struct slice name)
{
	for (; table->name; table++)
		if (slice_equal(name, slice_of(table->name)))
			return table;
	return NULL;
}

static const struct key *table_of(struct slice name)
{
	if (slice_equal(name, SLICE("usage")))
		return usage_keys;
	if (slice_equal(name, SLICE("saved")))
		return saved_keys;
	if (slice_equal(name, SLICE("timing")))
		return timing_keys;
	return NULL;
}

/* Reads one map's pairs by `table`. Keys that are not in it are passed over: a newer daemon may tell more. */
static int take_map(struct semcache_result *result, struct reader *r, const struct key *table)
{
	struct reader_value map, name, value;

	if (reader_next(r, &map) != 0)
		return ERROR_PROTOCOL;
	if (map.type == READER_NIL && table != keys)
		return 0;
	if (map.type != READER_MAP)
		return ERROR_PROTOCOL;
	if (table == usage_keys)
		result->answer.has_usage = true;
	for (size_t pairs = map.count; pairs > 0; pairs--) {
		if (reader_next(r, &name) != 0 || name.type != READER_TEXT)
			return ERROR_PROTOCOL;
		const struct key *key = key_find(table, name.text);
		const struct key *inner = table == keys ? table_of(name.text) : NULL;
		int error = 0;
		if (inner)
			error = take_map(result, r, inner);
		else if (!key)
			error = reader_skip(r, NULL);
		else if (reader_next(r, &value) != 0)
			error = ERROR_PROTOCOL;
		else
			error = take_value(result, key, &value);
		if (error)
			return error;
	}
	return 0;
}

static enum semcache_tier tier_find(const char *name)
{
	static const char *const names[] = {
		[SEMCACHE_TIER_MEMORY] = "memory",     [SEMCACHE_TIER_EXACT] = "exact",
		[SEMCACHE_TIER_SEMANTIC] = "semantic", [SEMCACHE_TIER_COALESCED] = "coalesced",
		[SEMCACHE_TIER_STALE] = "stale",       [SEMCACHE_TIER_UPSTREAM] = "upstream",
		[SEMCACHE_TIER_MISS] = "miss",
	};

	for (size_t i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return (enum semcache_tier)i;
	return SEMCACHE_TIER_UNKNOWN;
}

static int answer_read(struct semcache_result *result)
{
	struct reader r = reader_of((struct slice){result->raw, result->length});
	int error = take_map(result, &r, keys);

	if (error)
		return error;
	if (!result->answer.tier_name)
		return ERROR_PROTOCOL;
	result->answer.tier = tier_find(result->answer.tier_name);
	result->has_answer = true;
	return 0;
}

int result_create(struct slice raw, bool answer, struct semcache_result **out)
{
	struct semcache_result *result = calloc(1, sizeof(*result));
	int error = 0;

	if (!result)
		return ERROR_MEMORY;
	result->length = raw.length;
	result->raw = malloc(raw.length + 1);
	if (result->raw)
		memcpy(result->raw, raw.data, raw.length);
	else
		error = ERROR_MEMORY;
	if (!error && answer) {
		result->texts = malloc(raw.length + 1);
		if (result->texts) {
			memcpy(result->texts, raw.data, raw.length);
			error = answer_read(result);
		} else {
			error = ERROR_MEMORY;
		}
	}
	if (error) {
		semcache_result_free(result);
		return error;
	}
	*out = result;
	return 0;
}

const struct semcache_answer *semcache_result_answer(const struct semcache_result *result)
{
	return result->has_answer ? &result->answer : NULL;
}

const void *semcache_result_raw(const struct semcache_result *result, size_t *length)
{
	*length = result->length;
	return result->raw;
}

void semcache_result_free(struct semcache_result *result)
{
	if (!result)
		return;
	free(result->raw);
	free(result->texts);
	free(result);
}
