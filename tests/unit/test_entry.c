/* entry_copy(): every byte survives, and the ready result is what a MessagePack reader expects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/entry.h"
#include "proto/reader.h"

static struct slice text_of(char *memory, size_t length, unsigned seed)
{
	for (size_t i = 0; i < length; i++) {
		seed = seed * 1103515245u + 12345u;
		memory[i] = (char)(seed >> 16);
	}
	return (struct slice){memory, length};
}

static struct entry example(void)
{
	return (struct entry){
		.identity = {{1, 2, 0xab}},
		.scope = {{9}},
		.compared = true,
		.generation = UINT64_MAX,
		.created_ms = 1700000000123,
		.soft_ms = 5,
		.expire_ms = 6,
		.created_at_ms = 7,
		.fresh_until_at_ms = 8,
		.expires_at_ms = 9,
		.namespace = SLICE("default"),
		.question = SLICE("Why is the sky blue?"),
		.answer = SLICE("Because \xf0\x9f\x8c\x8c."),
		.model = SLICE("m-1"),
		.finish_reason = SLICE("stop"),
		.usage = SLICE("\x81\xa6"
			       "tokens"
			       "\x2a"),
		.request = SLICE("\x80"),
		.tags = SLICE("a b"),
	};
}

static void assert_text(struct slice got, struct slice want)
{
	assert_true(slice_equal(got, want));
}

static void assert_inside(const struct entry *entry, struct slice text)
{
	if (text.data) {
		assert_true(text.data > (const char *)entry);
		assert_true(text.data + text.length <= (const char *)entry + entry_size(entry));
	}
}

static void assert_same(const struct entry *copy, const struct entry *from)
{
	const struct slice *const texts[] = {&from->namespace,     &from->question, &from->answer,  &from->model,
					     &from->finish_reason, &from->usage,    &from->request, &from->tags};
	const struct slice *const copies[] = {&copy->namespace,     &copy->question, &copy->answer,  &copy->model,
					      &copy->finish_reason, &copy->usage,    &copy->request, &copy->tags};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_text(*copies[i], *texts[i]);
		assert_inside(copy, *copies[i]);
		if (copies[i]->data)
			assert_ptr_not_equal(copies[i]->data, texts[i]->data);
	}
	assert_memory_equal(&copy->identity, &from->identity, sizeof(copy->identity));
	assert_memory_equal(&copy->scope, &from->scope, sizeof(copy->scope));
	assert_int_equal(copy->generation, from->generation);
	assert_int_equal(copy->created_ms, from->created_ms);
	assert_int_equal(copy->expires_at_ms, from->expires_at_ms);
	assert_int_equal(copy->fresh_until_at_ms, from->fresh_until_at_ms);
	assert_int_equal(copy->dimensions, from->dimensions);
	if (from->vector)
		assert_memory_equal(copy->vector, from->vector, from->dimensions * sizeof(float));
	else
		assert_null(copy->vector);
}

static void read_key(struct reader *reader, const char *key)
{
	struct reader_value value;

	assert_int_equal(reader_next(reader, &value), 0);
	assert_int_equal(value.type, READER_TEXT);
	assert_text(value.text, slice_of(key));
}

static void read_text(struct reader *reader, const char *key, struct slice want)
{
	struct reader_value value;

	read_key(reader, key);
	assert_int_equal(reader_next(reader, &value), 0);
	if (!want.data) {
		assert_int_equal(value.type, READER_NIL);
		return;
	}
	assert_int_equal(value.type, READER_TEXT);
	assert_text(value.text, want);
}

/* Reads the result's pairs as a client would. */
static void assert_result(const struct entry *copy, const struct entry *from)
{
	struct reader reader = reader_of(copy->result);
	struct reader_value value;
	struct slice usage;
	char hex[IDENTITY_HEX];

	read_text(&reader, "answer", from->answer);
	assert_ptr_equal(reader.at, (const unsigned char *)copy->result.data + copy->result_answer);
	read_text(&reader, "finish_reason", from->finish_reason);
	read_key(&reader, "similarity");
	assert_int_equal(reader_next(&reader, &value), 0);
	assert_int_equal(value.type, READER_FLOAT);
	assert_true(value.number == 1.0);
	read_text(&reader, "original_query", from->question);
	identity_hex(&from->identity, hex);
	read_text(&reader, "entry", slice_of(hex));
	read_text(&reader, "model", from->model);
	read_key(&reader, "usage");
	assert_int_equal(reader_skip(&reader, &usage), 0);
	assert_text(usage, copy->usage.data ? copy->usage : SLICE("\xc0"));
	assert_ptr_equal(reader.at, reader.end);
	assert_inside(copy, copy->result);
}

static void copy_and_compare(const struct entry *from)
{
	struct entry *copy = entry_copy(from);

	assert_non_null(copy);
	assert_same(copy, from);
	assert_result(copy, from);
	assert_int_equal(entry_size(copy), entry_size(from));
	struct entry *again = entry_copy(copy);
	assert_non_null(again);
	entry_destroy(copy);
	assert_same(again, from);
	assert_result(again, from);
	entry_destroy(again);
}

static void copies_an_ordinary_entry(void **state)
{
	struct entry entry = example();

	(void)state;
	copy_and_compare(&entry);
}

static void copies_a_vector(void **state)
{
	const float vector[5] = {0.5f, -0.5f, 0.5f, -0.5f, 0};
	struct entry entry = example();

	(void)state;
	entry.vector = vector;
	entry.dimensions = 5;
	copy_and_compare(&entry);
}

static void copies_nul_emoji_and_any_bytes(void **state)
{
	char bytes[256];
	struct entry entry = example();

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	entry.answer = (struct slice){bytes, sizeof(bytes)};
	entry.question = SLICE("a\0b\xf0\x9f\xa6\x8a\xff");
	copy_and_compare(&entry);
}

static void copies_texts_of_every_header_length(void **state)
{
	static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 1 << 20};
	char *answer = malloc(1 << 20), *question = malloc(1 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct entry entry = example();
		entry.answer = text_of(answer, lengths[i], (unsigned)i);
		entry.question = text_of(question, lengths[sizeof(lengths) / sizeof(lengths[0]) - 1 - i], 7);
		copy_and_compare(&entry);
	}
	free(answer);
	free(question);
}

static void absent_is_nil_and_empty_is_empty(void **state)
{
	struct entry absent = {.identity = {{3}}, .answer = SLICE("x")};
	struct entry empty = example();

	(void)state;
	copy_and_compare(&absent);
	empty.finish_reason = empty.model = empty.tags = empty.question = empty.answer = SLICE("");
	copy_and_compare(&empty);
}

static void usage_that_is_no_map_is_left_out(void **state)
{
	static const struct slice broken[] = {
		{"\x81\xa6tok", 5}, /* ends within */
		{"\x80\x80", 2},    /* two values */
		{"\x01", 1},        /* no map */
		{"", 0},
		{"\xdf\xff\xff\xff\xff", 5},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct entry entry = example();
		entry.usage = broken[i];
		struct entry *copy = entry_copy(&entry);
		assert_non_null(copy);
		assert_null(copy->usage.data);
		assert_result(copy, &entry);
		entry_destroy(copy);
	}
}

static void destroying_nothing_is_nothing(void **state)
{
	(void)state;
	entry_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_an_ordinary_entry),         cmocka_unit_test(copies_a_vector),
		cmocka_unit_test(copies_nul_emoji_and_any_bytes),   cmocka_unit_test(copies_texts_of_every_header_length),
		cmocka_unit_test(absent_is_nil_and_empty_is_empty), cmocka_unit_test(usage_that_is_no_map_is_left_out),
		cmocka_unit_test(destroying_nothing_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
