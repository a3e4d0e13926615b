/* MessagePack to JSON without losing a digit, what JSON cannot carry, and strict reading. */
#include "daemon/json.h"
#include "proto/error.h"
#include "proto/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

static int write_one(struct slice raw, struct buffer *out, struct fault *fault)
{
	struct reader reader = reader_of(raw);
	int error = json_write(out, &reader, "messages", fault);

	if (!error)
		assert_true(reader.at == reader.end);
	return error;
}

static void values_are_written_exactly(void **state)
{
	static const struct {
		struct slice raw;
		const char *json;
	} cases[] = {
		{{"\xc0", 1}, "null"},
		{{"\xc3", 1}, "true"},
		{{"\xc2", 1}, "false"},
		{{"\x00", 1}, "0"},
		{{"\xff", 1}, "-1"},
		{{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9}, "18446744073709551615"},
		{{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9}, "-9223372036854775808"},
		{{"\xcf\x00\x20\x00\x00\x00\x00\x00\x01", 9}, "9007199254740993"},
		{{"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", 9}, "0.10000000000000001"},
		{{"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", 9}, "-0"},
		{{"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", 9}, "1.7976931348623157e+308"},
		{{"\xca\x3f\x00\x00\x00", 5}, "0.5"},
		{{"\xa0", 1}, "\"\""},
		{{"\xa7"
		  "a\"\\\n\x01\0z",
		  8},
		 "\"a\\\"\\\\\\n\\u0001\\u0000z\""},
		{{"\xc4\x03\xe4\xbd\xa0", 5}, "\"\xe4\xbd\xa0\""},
		{{"\x90", 1}, "[]"},
		{{"\x80", 1}, "{}"},
		{{"\x92\x91\x01\x80", 4}, "[[1],{}]"},
		{{"\x82\xa1"
		  "b\x93\x01\x02\x03\xc4\x01"
		  "a\x81\xa1"
		  "c\xc0",
		  14},
		 "{\"b\":[1,2,3],\"a\":{\"c\":null}}"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buffer out;
		struct fault fault;
		buffer_init(&out, 1000);
		assert_int_equal(write_one(cases[i].raw, &out, &fault), 0);
		assert_int_equal(buffer_append(&out, "", 1), 0);
		assert_string_equal(out.data, cases[i].json);
		buffer_deinit(&out);
	}
}

static void what_json_cannot_carry_is_refused_by_name(void **state)
{
	static const struct {
		struct slice raw;
		int error;
		const char *detail;
	} cases[] = {
		{{"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", 9}, ERROR_INVALID, "field=messages"},
		{{"\x91\xca\x7f\x80\x00\x00", 6}, ERROR_INVALID, "field=messages[0]"},
		{{"\x92\xc0\xc7\x01\x05x", 6}, ERROR_INVALID, "field=messages[1]"},
		{{"\x92\x80\x81\xa7"
		  "content\xd4\x01\x02",
		  14},
		 ERROR_INVALID,
		 "field=messages[1].content"},
		{{"\x81\x01\x02", 3}, ERROR_INVALID, "field=messages"},
		{{"\x91\x81\xc0\x02", 4}, ERROR_INVALID, "field=messages[0]"},
		{{"\x91\x81\xa3"
		  "a b\xa1\xff",
		  8},
		 ERROR_INVALID,
		 "field=messages[0]"},
		{{"\x92\x01", 2}, ERROR_INVALID, NULL},
		{{"\xc1", 1}, ERROR_INVALID, NULL},
		{{"", 0}, ERROR_INVALID, NULL},
		{{"\xa9"
		  "too long!",
		  10},
		 ERROR_TOO_LARGE,
		 "field=messages"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buffer out;
		struct fault fault;
		buffer_init(&out, cases[i].error == ERROR_TOO_LARGE ? 8 : 1000);
		assert_int_equal(write_one(cases[i].raw, &out, &fault), cases[i].error);
		assert_int_equal(fault.code, cases[i].error);
		if (cases[i].detail)
			assert_string_equal(fault.detail, cases[i].detail);
		buffer_deinit(&out);
	}
}

static void depth_is_bounded(void **state)
{
	char raw[64];
	struct buffer out;
	struct fault fault;

	(void)state;
	memset(raw, 0x91, sizeof(raw));
	raw[32] = '\xc0';
	buffer_init(&out, 1000);
	assert_int_equal(write_one((struct slice){raw, 33}, &out, &fault), 0);
	raw[32] = '\x91';
	raw[33] = '\xc0';
	assert_int_equal(write_one((struct slice){raw, 34}, &out, &fault), ERROR_TOO_LARGE);
	buffer_deinit(&out);
}

static void reading_takes_one_whole_value_and_nothing_else(void **state)
{
	static const struct {
		struct slice text;
		bool good;
	} cases[] = {
		{SLICE("{\"a\":1}"), true},
		{SLICE("{\"a\":1} \n"), true},
		{SLICE(" {\"a\":1}"), true},
		{SLICE("{\"a\":1"), false},
		{SLICE("{\"a\":1}}"), false},
		{SLICE("{\"a\":1} {}"), false},
		{SLICE("{\"a\":\"\xe4\xbd\xa0\xff\"}"), true}, /* whoever uses the text checks it */
		{SLICE(""), false},
		{SLICE("{\"a\":\"\\ud83d\\ude00\"}"), true},
		{SLICE("{\"a\":\"\\uD83D\\uDE00\"}"), true},
		{SLICE("{\"a\":\"\\ud83d\"}"), false},
		{SLICE("{\"a\":\"\\ud83dx\"}"), false},
		{SLICE("{\"a\":\"\\ude00\"}"), false},
		{SLICE("{\"a\":\"\\ud83d\\ud83d\\ude00\"}"), false},
		{SLICE("{\"a\":\"\\\\ud83d\"}"), true}, /* a backslash, then five letters */
		{SLICE("{\"a\":\"\\\\\\ud83d\"}"), false},
	};
	struct json_tokener *tokener = json_tokener_create();

	(void)state;
	assert_non_null(tokener);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json_object *value = json_read(tokener, cases[i].text);
		if ((value != NULL) != cases[i].good)
			fail_msg("case %zu: %s", i, cases[i].text.data);
		(void)json_object_put(value);
	}
	json_tokener_free(tokener);
}

static void texts_keep_their_nul_and_depth_is_bounded(void **state)
{
	struct json_tokener *tokener = json_tokener_create();
	char deep[200];

	(void)state;
	struct json_object *value = json_read(tokener, SLICE("{\"a\":\"x\\u0000y\",\"b\":null,\"c\":3}"));
	assert_true(slice_equal(json_text(value, "a"), (struct slice){"x\0y", 3}));
	assert_null(json_text(value, "b").data);
	assert_null(json_text(value, "c").data);
	assert_null(json_text(value, "d").data);
	assert_null(json_text(NULL, "d").data);
	assert_null(json_member(json_member(value, "c"), "d"));
	(void)json_object_put(value);
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	assert_null(json_read(tokener, (struct slice){deep, 200}));
	json_tokener_free(tokener);
}

static void base64_is_decoded_strictly(void **state)
{
	static const struct {
		struct slice text, bytes;
	} good[] = {
		{SLICE("AAECAw=="), {"\0\1\2\3", 4}},
		{SLICE("AAECAwQ="), {"\0\1\2\3\4", 5}},
		{SLICE("AAECAwQF"), {"\0\1\2\3\4\5", 6}},
	};
	static const struct slice bad[] = {SLICE(""),     SLICE("AAE"),  SLICE("AA*="), SLICE("AAECAw==\n\n\n\n"),
					   SLICE("    "), SLICE("A=AA"), SLICE("====")};
	unsigned char *bytes = NULL;
	size_t length = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(json_base64(good[i].text, &bytes, &length), 0);
		assert_int_equal(length, good[i].bytes.length);
		assert_memory_equal(bytes, good[i].bytes.data, length);
		free(bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (json_base64(bad[i], &bytes, &length) != ERROR_INVALID)
			fail_msg("case %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_written_exactly),
		cmocka_unit_test(what_json_cannot_carry_is_refused_by_name),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(reading_takes_one_whole_value_and_nothing_else),
		cmocka_unit_test(texts_keep_their_nul_and_depth_is_bounded),
		cmocka_unit_test(base64_is_decoded_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
