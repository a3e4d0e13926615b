/* What a call is told, as a client's MessagePack library reads it: every key of proto/wire.md, streamed or not, ready or
 * not. */
#include "daemon/result.h"
#include "proto/error.h"
#include "proto/limits.h"

#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct place {
	struct buffer out;
	msgpack_unpacked message;
	struct answer fresh;
};

static int place_make(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	assert_non_null(place);
	buffer_init(&place->out, 8 << 20);
	msgpack_unpacked_init(&place->message);
	answer_init(&place->fresh);
	*state = place;
	return 0;
}

static int place_remove(void **state)
{
	struct place *place = *state;

	buffer_deinit(&place->out);
	msgpack_unpacked_destroy(&place->message);
	answer_deinit(&place->fresh);
	free(place);
	return 0;
}

/* ---- reading ---- */

/* The one message in `out`, which must be whole and alone. */
static const msgpack_object *read_message(struct place *place)
{
	size_t at = 0;

	assert_int_equal(msgpack_unpack_next(&place->message, place->out.data, place->out.length, &at),
			 MSGPACK_UNPACK_SUCCESS);
	assert_int_equal(at, place->out.length);
	assert_int_equal(place->message.data.type, MSGPACK_OBJECT_ARRAY);
	return &place->message.data;
}

static const msgpack_object *find(const msgpack_object *map, const char *key)
{
	assert_int_equal(map->type, MSGPACK_OBJECT_MAP);
	for (uint32_t i = 0; i < map->via.map.size; i++) {
		const msgpack_object *name = &map->via.map.ptr[i].key;
		assert_int_equal(name->type, MSGPACK_OBJECT_STR);
		if (name->via.str.size == strlen(key) && memcmp(name->via.str.ptr, key, name->via.str.size) == 0)
			return &map->via.map.ptr[i].val;
	}
	return NULL;
}

static const msgpack_object *get(const msgpack_object *map, const char *key)
{
	const msgpack_object *value = find(map, key);

	if (!value)
		fail_msg("no key %s", key);
	return value;
}

static void must_be_text(const msgpack_object *value, struct slice text)
{
	assert_int_equal(value->type, MSGPACK_OBJECT_STR);
	assert_int_equal(value->via.str.size, text.length);
	if (text.length)
		assert_memory_equal(value->via.str.ptr, text.data, text.length);
}

static void must_be_uint(const msgpack_object *value, uint64_t number)
{
	assert_int_equal(value->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
	assert_int_equal(value->via.u64, number);
}

static void must_be_float(const msgpack_object *value, double number)
{
	assert_int_equal(value->type, MSGPACK_OBJECT_FLOAT64);
	assert_true(value->via.f64 == number);
}

static void must_be_nil(const msgpack_object *value)
{
	assert_int_equal(value->type, MSGPACK_OBJECT_NIL);
}

/* Writes `result` and returns its map. */
static const msgpack_object *respond(struct place *place, uint64_t id, const struct result *result, bool with_answer)
{
	place->out.length = 0;
	assert_int_equal(result_write(&place->out, id, result, with_answer), 0);
	const msgpack_object *message = read_message(place);
	assert_int_equal(message->via.array.size, 4);
	must_be_uint(&message->via.array.ptr[0], 1);
	must_be_uint(&message->via.array.ptr[1], id);
	must_be_nil(&message->via.array.ptr[2]);
	return &message->via.array.ptr[3];
}

/* ---- what is told ---- */

/* {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18} */
#define USAGE                                                                                                               \
	SLICE("\x83\xad"                                                                                                    \
	      "prompt_tokens\x0b\xb1"                                                                                       \
	      "completion_tokens\x07\xac"                                                                                   \
	      "total_tokens\x12")

static struct result of_the_model(struct place *place, const char *text)
{
	assert_int_equal(answer_append(&place->fresh, slice_of(text)), 0);
	return (struct result){
		.request = 77,
		.tier = TIER_UPSTREAM,
		.fresh = &place->fresh,
		.finish_reason = SLICE("stop"),
		.model = SLICE("m"),
		.usage = USAGE,
		.is_kept = true,
		.entry = {{0xab}},
		.ttl_s = 3600,
		.best_similarity = 0.5,
		.best_query = SLICE("the nearest"),
		.reason = REASON_below_threshold,
		.total_ms = 1.5,
		.embedding_ms = 0.25,
		.search_ms = 0.125,
		.upstream_ms = 1000.5,
	};
}

static struct entry stored_entry(void)
{
	return (struct entry){
		.identity = {{0xcd, 0xef}},
		.namespace = SLICE("default"),
		.question = SLICE("What is it?"),
		.answer = SLICE("\xe6\x98\xaf, with\0NUL"),
		.model = SLICE("m"),
		.finish_reason = SLICE("stop"),
		.usage = USAGE,
		.request = {NULL, 0},
		.tags = SLICE("a b"),
	};
}

static struct result of_memory(const struct entry *entry)
{
	return (struct result){
		.request = 1,
		.tier = TIER_MEMORY,
		.stored = entry,
		.has_similarity = true,
		.similarity = 1.0,
		.original_query = entry->question,
		.age_s = 60,
		.ttl_s = 3540,
		.saved_tokens = 18,
		.saved_usd = 0.25,
	};
}

static void the_models_answer_with_all_its_keys(void **state)
{
	struct place *place = *state;
	const struct result result = of_the_model(place, "The answer.");
	const msgpack_object *map = respond(place, 5, &result, true);

	assert_int_equal(map->via.map.size, 16);
	must_be_uint(get(map, "request"), 77);
	must_be_text(get(map, "tier"), SLICE("upstream"));
	must_be_text(get(map, "answer"), SLICE("The answer."));
	must_be_text(get(map, "finish_reason"), SLICE("stop"));
	must_be_nil(get(map, "similarity"));
	must_be_nil(get(map, "original_query"));
	must_be_text(get(map, "entry"), SLICE("ab00000000000000000000000000000000000000000000000000000000000000"));
	must_be_uint(get(map, "age"), 0);
	must_be_uint(get(map, "ttl"), 3600);
	must_be_text(get(map, "model"), SLICE("m"));
	must_be_uint(get(get(map, "usage"), "prompt_tokens"), 11);
	must_be_uint(get(get(map, "usage"), "total_tokens"), 18);
	must_be_uint(get(get(map, "saved"), "tokens"), 0);
	must_be_float(get(get(map, "saved"), "usd"), 0.0);
	must_be_float(get(map, "best_similarity"), 0.5);
	must_be_text(get(map, "best_query"), SLICE("the nearest"));
	must_be_text(get(map, "reason"), SLICE("below_threshold"));
	must_be_float(get(get(map, "timing"), "total_ms"), 1.5);
	must_be_float(get(get(map, "timing"), "embedding_ms"), 0.25);
	must_be_float(get(get(map, "timing"), "search_ms"), 0.125);
	must_be_float(get(get(map, "timing"), "upstream_ms"), 1000.5);
}

static void a_streamed_answer_is_left_out_and_nothing_else(void **state)
{
	struct place *place = *state;
	const struct result result = of_the_model(place, "The answer.");
	const msgpack_object *map = respond(place, 5, &result, false);

	assert_int_equal(map->via.map.size, 15);
	assert_null(find(map, "answer"));
	must_be_text(get(map, "finish_reason"), SLICE("stop"));
	must_be_uint(get(get(map, "usage"), "completion_tokens"), 7);
}

static void what_is_not_kept_and_not_known_is_nil(void **state)
{
	struct place *place = *state;
	struct result result = of_the_model(place, "");

	result.is_kept = false;
	result.usage = (struct slice){NULL, 0};
	result.best_query = (struct slice){NULL, 0};
	result.reason = REASON_NONE;
	const msgpack_object *map = respond(place, 0, &result, true);
	must_be_text(get(map, "answer"), SLICE(""));
	must_be_nil(get(map, "entry"));
	must_be_nil(get(map, "usage"));
	must_be_nil(get(map, "best_query"));
	must_be_nil(get(map, "reason"));
}

static void a_large_answer_in_many_pieces_is_whole(void **state)
{
	struct place *place = *state;
	struct result result = of_the_model(place, "start ");
	size_t length = (1 << 20) + 6;
	char *text = malloc(length);

	assert_non_null(text);
	memcpy(text, "start ", 6);
	for (size_t i = 6; i < length; i++)
		text[i] = (char)('a' + i % 23);
	for (size_t at = 6; at < length; at += 4096) {
		size_t step = length - at < 4096 ? length - at : 4096;
		assert_int_equal(answer_append(&place->fresh, (struct slice){text + at, step}), 0);
	}
	const msgpack_object *map = respond(place, LIMIT_ID, &result, true);
	must_be_text(get(map, "answer"), (struct slice){text, length});
	must_be_text(get(map, "model"), SLICE("m"));
	free(text);
}

static void a_miss_says_why_and_has_no_answer(void **state)
{
	struct place *place = *state;
	const struct result result = {
		.request = 3,
		.tier = TIER_MISS,
		.best_similarity = 0.78,
		.best_query = SLICE("the nearest"),
		.reason = REASON_max_age,
	};
	const msgpack_object *map = respond(place, 9, &result, true);

	assert_int_equal(map->via.map.size, 9);
	must_be_text(get(map, "tier"), SLICE("miss"));
	must_be_float(get(map, "best_similarity"), 0.78);
	must_be_text(get(map, "reason"), SLICE("max_age"));
	assert_null(find(map, "answer"));
	assert_null(find(map, "entry"));
}

static void a_stored_answer_with_all_its_keys(void **state)
{
	struct place *place = *state;
	const struct entry entry = stored_entry();
	const struct result result = of_memory(&entry);
	const msgpack_object *map = respond(place, 1, &result, true);

	assert_int_equal(map->via.map.size, 16);
	must_be_text(get(map, "tier"), SLICE("memory"));
	must_be_text(get(map, "answer"), entry.answer);
	must_be_float(get(map, "similarity"), 1.0);
	must_be_text(get(map, "original_query"), entry.question);
	must_be_text(get(map, "entry"), SLICE("cdef000000000000000000000000000000000000000000000000000000000000"));
	must_be_uint(get(map, "age"), 60);
	must_be_uint(get(map, "ttl"), 3540);
	must_be_uint(get(get(map, "saved"), "tokens"), 18);
	must_be_float(get(get(map, "saved"), "usd"), 0.25);
	must_be_nil(get(map, "reason"));
}

/* Whether both say the same, in the same order. How many bytes a number takes does not matter. */
static void must_say_the_same(const struct result *one, const struct result *other, bool with_answer)
{
	const struct result *const results[] = {one, other};
	msgpack_unpacked messages[2];
	struct buffer outs[2];

	for (int i = 0; i < 2; i++) {
		size_t at = 0;
		buffer_init(&outs[i], 1 << 20);
		msgpack_unpacked_init(&messages[i]);
		assert_int_equal(result_write(&outs[i], 12, results[i], with_answer), 0);
		assert_int_equal(msgpack_unpack_next(&messages[i], outs[i].data, outs[i].length, &at),
				 MSGPACK_UNPACK_SUCCESS);
		assert_int_equal(at, outs[i].length);
	}
	assert_true(msgpack_object_equal(messages[0].data, messages[1].data));
	for (int i = 0; i < 2; i++) {
		msgpack_unpacked_destroy(&messages[i]);
		buffer_deinit(&outs[i]);
	}
}

static void a_ready_reply_says_the_same_as_one_made_anew(void **state)
{
	static const enum tier tiers[] = {TIER_MEMORY, TIER_EXACT, TIER_STALE};
	struct entry variants[] = {stored_entry(), stored_entry(), stored_entry(), stored_entry()};

	(void)state;
	variants[1].usage = (struct slice){NULL, 0};
	variants[2].finish_reason = (struct slice){NULL, 0};
	variants[2].model = SLICE("");
	variants[3].answer = SLICE("");
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		struct entry *ready = entry_copy(&variants[i]);
		assert_non_null(ready);
		assert_non_null(ready->result.data);
		for (size_t k = 0; k < sizeof(tiers) / sizeof(tiers[0]); k++) {
			struct result first = of_memory(ready), second = of_memory(&variants[i]);
			first.tier = second.tier = tiers[k];
			first.total_ms = second.total_ms = 0.017;
			must_say_the_same(&first, &second, true);
			must_say_the_same(&first, &second, false);
		}
		entry_destroy(ready);
	}
}

static void a_ready_reply_is_not_used_where_it_would_be_wrong(void **state)
{
	struct place *place = *state;
	const struct entry entry = stored_entry();
	struct entry *ready = entry_copy(&entry);

	assert_non_null(ready);
	struct result result = of_memory(ready);
	result.similarity = 0.93;
	const msgpack_object *map = respond(place, 1, &result, true);
	must_be_float(get(map, "similarity"), 0.93);
	must_be_text(get(map, "answer"), entry.answer);
	result = of_memory(ready);
	result.original_query = SLICE("Another wording");
	map = respond(place, 1, &result, false);
	must_be_text(get(map, "original_query"), SLICE("Another wording"));
	assert_null(find(map, "answer"));
	entry_destroy(ready);
}

static void every_tier_has_its_word(void **state)
{
	static const char *const words[] = {"memory", "exact", "semantic", "coalesced", "stale", "upstream", "miss"};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_string_equal(tier_name((enum tier)i), words[i]);
}

static void chunks_of_every_size(void **state)
{
	static const size_t sizes[] = {0, 1, 31, 32, 255, 256, LIMIT_CHUNK_BYTES};
	struct place *place = *state;
	char text[LIMIT_CHUNK_BYTES];

	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		place->out.length = 0;
		assert_int_equal(result_write_chunk(&place->out, LIMIT_ID, i * 100000, (struct slice){text, sizes[i]}), 0);
		const msgpack_object *message = read_message(place);
		assert_int_equal(message->via.array.size, 3);
		must_be_uint(&message->via.array.ptr[0], 2);
		must_be_text(&message->via.array.ptr[1], SLICE("chunk"));
		const msgpack_object *params = &message->via.array.ptr[2];
		assert_int_equal(params->type, MSGPACK_OBJECT_ARRAY);
		assert_int_equal(params->via.array.size, 3);
		must_be_uint(&params->via.array.ptr[0], LIMIT_ID);
		must_be_uint(&params->via.array.ptr[1], i * 100000);
		must_be_text(&params->via.array.ptr[2], (struct slice){text, sizes[i]});
	}
}

static void an_error_is_one_text(void **state)
{
	struct place *place = *state;
	const uint64_t id = 8;
	struct fault fault;

	(void)fault_set(&fault, ERROR_UPSTREAM, "status=429 kind=http", "slow down");
	assert_int_equal(result_write_fault(&place->out, &id, &fault), 0);
	const msgpack_object *message = read_message(place);
	assert_int_equal(message->via.array.size, 4);
	must_be_uint(&message->via.array.ptr[1], id);
	must_be_text(&message->via.array.ptr[2], SLICE("UPSTREAM status=429 kind=http : slow down"));
	must_be_nil(&message->via.array.ptr[3]);
	place->out.length = 0;
	assert_int_equal(result_write_fault(&place->out, NULL, &fault), 0);
	must_be_nil(&read_message(place)->via.array.ptr[1]);
}

static void what_does_not_fit_is_not_begun(void **state)
{
	struct place *place = *state;
	const struct entry entry = stored_entry();
	struct result fresh = of_the_model(place, "The answer."), stored = of_memory(&entry);
	struct fault fault;
	struct buffer small;

	(void)fault_set(&fault, ERROR_INVALID, "", "no");
	for (size_t max = 6; max < 2048; max += 13) {
		buffer_init(&small, max);
		assert_int_equal(buffer_append(&small, "before", 6), 0);
		size_t length = small.length;
		const int errors[] = {
			result_write(&small, 1, &fresh, true),
			result_write(&small, 1, &stored, true),
			result_write_chunk(&small, 1, 0, SLICE("text")),
			result_write_fault(&small, NULL, &fault),
		};
		for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
			assert_true(errors[i] == 0 || errors[i] == ERROR_TOO_LARGE);
		if (errors[0] && errors[1] && errors[2] && errors[3])
			assert_int_equal(small.length, length);
		assert_memory_equal(small.data, "before", 6);
		buffer_deinit(&small);
	}
}

static void the_end_of_a_stream_needs_no_room_for_its_answer(void **state)
{
	struct place *place = *state;
	struct result result = of_the_model(place, "x");
	struct entry entry = stored_entry();
	char text[8192];

	memset(text, 'x', sizeof(text));
	assert_int_equal(answer_append(&place->fresh, (struct slice){text, sizeof(text)}), 0);
	entry.answer = (struct slice){text, sizeof(text)};
	const struct result stored = of_memory(&entry);
	buffer_deinit(&place->out);
	buffer_init(&place->out, 4096);
	(void)respond(place, 1, &result, false);
	(void)respond(place, 1, &stored, false);
	assert_int_equal(result_write(&place->out, 1, &result, true), ERROR_TOO_LARGE);
}

static void usage_is_read_as_far_as_it_goes(void **state)
{
	static const struct {
		struct slice raw;
		uint64_t prompt, completion, total;
	} table[] = {
		{USAGE, 11, 7, 18},
		{{NULL, 0}, 0, 0, 0},
		{{"\xc0", 1}, 0, 0, 0},
		{{"\x80", 1}, 0, 0, 0},
		{{"", 0}, 0, 0, 0},
		/* cut in the middle of a number */
		{{"\x82\xac"
		  "total_tokens\x05\xad"
		  "prompt_tokens\xcd\x01",
		  30},
		 0,
		 0,
		 5},
		/* {"details": {"total_tokens": 9}, "total_tokens": 5, "prompt_tokens": -1} */
		{{"\x83\xa7"
		  "details\x81\xac"
		  "total_tokens\x09\xac"
		  "total_tokens\x05\xad"
		  "prompt_tokens\xff",
		  52},
		 0,
		 0,
		 5},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct usage usage = usage_read(table[i].raw);
		assert_int_equal(usage.prompt_tokens, table[i].prompt);
		assert_int_equal(usage.completion_tokens, table[i].completion);
		assert_int_equal(usage.total_tokens, table[i].total);
	}
}

int main(void)
{
#define SCENARIO(name) cmocka_unit_test_setup_teardown(name, place_make, place_remove)
	const struct CMUnitTest tests[] = {
		SCENARIO(the_models_answer_with_all_its_keys),
		SCENARIO(a_streamed_answer_is_left_out_and_nothing_else),
		SCENARIO(what_is_not_kept_and_not_known_is_nil),
		SCENARIO(a_large_answer_in_many_pieces_is_whole),
		SCENARIO(a_miss_says_why_and_has_no_answer),
		SCENARIO(a_stored_answer_with_all_its_keys),
		SCENARIO(a_ready_reply_says_the_same_as_one_made_anew),
		SCENARIO(a_ready_reply_is_not_used_where_it_would_be_wrong),
		SCENARIO(every_tier_has_its_word),
		SCENARIO(chunks_of_every_size),
		SCENARIO(an_error_is_one_text),
		SCENARIO(what_does_not_fit_is_not_begun),
		SCENARIO(the_end_of_a_stream_needs_no_room_for_its_answer),
		SCENARIO(usage_is_read_as_far_as_it_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
