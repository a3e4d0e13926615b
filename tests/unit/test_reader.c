#include "proto/error.h"
#include "proto/raw.h"
#include "proto/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct reader_value read_whole(const char *bytes, size_t length)
{
	struct reader r = reader_of((struct slice){bytes, length});
	struct reader_value value;

	assert_int_equal(reader_next(&r, &value), 0);
	assert_ptr_equal(r.at, r.end);
	return value;
}

#define READ(bytes) read_whole((bytes), sizeof(bytes) - 1)

static void check_uint(struct reader_value value, uint64_t number)
{
	assert_int_equal(value.type, READER_UINT);
	assert_true(value.uint == number);
}

static void check_int(struct reader_value value, int64_t number)
{
	assert_int_equal(value.type, READER_INT);
	assert_true(value.integer == number);
}

static void check_float(struct reader_value value, double number)
{
	assert_int_equal(value.type, READER_FLOAT);
	assert_memory_equal(&value.number, &number, sizeof(number));
}

static void check_body(struct reader_value value, enum reader_type type, struct slice body)
{
	assert_int_equal(value.type, type);
	assert_true(slice_equal(value.text, body));
}

static void integers_of_every_size_are_read(void **state)
{
	(void)state;
	check_uint(READ("\x00"), 0);
	check_uint(READ("\x7f"), 127);
	check_uint(READ("\xcc\xff"), 255);
	check_uint(READ("\xcd\xff\xfe"), 65534);
	check_uint(READ("\xce\xff\xff\xff\xfe"), 4294967294u);
	check_uint(READ("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), UINT64_MAX);
	check_int(READ("\xe0"), -32);
	check_int(READ("\xff"), -1);
	check_int(READ("\xd0\x80"), -128);
	check_int(READ("\xd1\x80\x00"), -32768);
	check_int(READ("\xd2\x80\x00\x00\x00"), INT32_MIN);
	check_int(READ("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), INT64_MIN);
	/* A signed type with a number that is not negative is the same number. */
	check_uint(READ("\xd0\x7f"), 127);
	check_uint(READ("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff"), INT64_MAX);
}

static void other_scalars_are_read(void **state)
{
	(void)state;
	assert_int_equal(READ("\xc0").type, READER_NIL);
	assert_int_equal(READ("\xc2").type, READER_BOOL);
	assert_false(READ("\xc2").boolean);
	assert_true(READ("\xc3").boolean);
	check_float(READ("\xca\x3f\x00\x00\x00"), 0.5);
	check_float(READ("\xcb\xbf\xf0\x00\x00\x00\x00\x00\x00"), -1.0);
}

static void str_and_bin_are_texts_and_ext_is_not(void **state)
{
	(void)state;
	check_body(READ("\xa0"), READER_TEXT, SLICE(""));
	check_body(READ("\xa2"
			"ab"),
		   READER_TEXT, SLICE("ab"));
	check_body(READ("\xd9\x01x"), READER_TEXT, SLICE("x"));
	check_body(READ("\xda\x00\x01x"), READER_TEXT, SLICE("x"));
	check_body(READ("\xdb\x00\x00\x00\x01x"), READER_TEXT, SLICE("x"));
	check_body(READ("\xc4\x01x"), READER_TEXT, SLICE("x"));
	check_body(READ("\xc5\x00\x01x"), READER_TEXT, SLICE("x"));
	check_body(READ("\xc6\x00\x00\x00\x01x"), READER_TEXT, SLICE("x"));
	check_body(READ("\xd4\x05x"), READER_EXT, SLICE("\x05x"));
	check_body(READ("\xc7\x00\x05"), READER_EXT, SLICE("\x05"));
	check_body(READ("\xc9\x00\x00\x00\x01\x05x"), READER_EXT, SLICE("\x05x"));
}

static void only_the_head_of_a_container_is_read(void **state)
{
	struct reader r = reader_of(SLICE("\x82\xa1k\x93\x01\x02\x03\xa1l\xc0"));
	struct reader_value value;
	struct slice whole;

	(void)state;
	assert_int_equal(reader_next(&r, &value), 0);
	assert_int_equal(value.type, READER_MAP);
	assert_int_equal(value.count, 2);
	assert_int_equal(reader_next(&r, &value), 0);
	assert_true(slice_equal(value.text, SLICE("k")));
	assert_int_equal(reader_skip(&r, &whole), 0);
	assert_true(slice_equal(whole, SLICE("\x93\x01\x02\x03")));
	assert_int_equal(reader_skip(&r, NULL), 0);
	assert_int_equal(reader_next(&r, &value), 0);
	assert_int_equal(value.type, READER_NIL);
	assert_int_equal(reader_next(&r, &value), ERROR_PROTOCOL);
}

static void bytes_that_end_within_a_value_are_refused(void **state)
{
	static const char whole[] =
		"\x82\xa3key\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xc4\x02\xff\xff\x92\xc8\x00\x01\x05\x09\xd5\x01\x02\x03";
	struct slice kept = {"kept", 4};

	(void)state;
	for (size_t length = 0; length < sizeof(whole); length++) {
		/* A copy of just these bytes, so that a read behind them is seen. */
		char *copy = malloc(length + 1);
		assert_non_null(copy);
		memcpy(copy + 1, whole, length);
		struct reader r = reader_of((struct slice){copy + 1, length}), before = r;
		struct slice bytes = kept;
		int error = reader_skip(&r, &bytes);
		if (length < sizeof(whole) - 1) {
			assert_int_equal(error, ERROR_PROTOCOL);
			assert_ptr_equal(r.at, before.at);
			assert_ptr_equal(bytes.data, kept.data);
		} else {
			assert_int_equal(error, 0);
			assert_int_equal(bytes.length, length);
		}
		free(copy);
	}
}

static void claims_of_more_than_is_there_are_refused(void **state)
{
	static const struct slice claims[] = {
		{"\xdd\x20\x00\x00\x00\xc0", 6},
		{"\xdf\xff\xff\xff\xff\xc0", 6},
		{"\xdf\x80\x00\x00\x00\xc0", 6},
		{"\xdb\xff\xff\xff\xffx", 6},
		{"\xc6\xff\xff\xff\xffx", 6},
		{"\xc9\xff\xff\xff\xffx", 6},
		{"\x81\x01", 2},
		{"\x92\x01", 2},
		{"\xc1", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
		struct reader r = reader_of(claims[i]);
		assert_int_equal(reader_skip(&r, NULL), ERROR_PROTOCOL);
	}
	struct reader nothing = reader_of((struct slice){NULL, 0});
	assert_int_equal(reader_skip(&nothing, NULL), ERROR_PROTOCOL);
}

static void a_value_is_found_by_the_name_of_its_key(void **state)
{
	struct slice map = SLICE("\x84\x05\x06\xa1k\x92\x01\x02\x92\xa1l\xa1l\x07\xc4\x01l\xa1v");
	struct slice raw = {NULL, 0};

	(void)state;
	assert_true(raw_find(map, SLICE("k"), &raw));
	assert_true(slice_equal(raw, SLICE("\x92\x01\x02")));
	assert_int_equal(raw_first(raw).count, 2);
	assert_true(raw_find(map, SLICE("l"), &raw));
	assert_true(slice_equal(raw_first(raw).text, SLICE("v")));
	assert_false(raw_find(map, SLICE("m"), &raw));
	assert_false(raw_find(SLICE("\x91\xa1k"), SLICE("k"), &raw));
	assert_false(raw_find((struct slice){NULL, 0}, SLICE("k"), &raw));
	assert_int_equal(raw_first((struct slice){NULL, 0}).type, READER_NIL);
	assert_int_equal(raw_first(SLICE("\xc1")).type, READER_NIL);
}

static void a_content_is_plain_text_only_as_a_text_or_one_text_part(void **state)
{
	(void)state;
	assert_true(slice_equal(raw_plain_text(SLICE("\xa2hi")), SLICE("hi")));
	assert_true(slice_equal(raw_plain_text(SLICE("\x91\x82\xa4type\xa4text\xa4text\xa2hi")), SLICE("hi")));
	assert_true(slice_equal(raw_plain_text(SLICE("\x91\x82\xa4text\xa0\xa4type\xc4\x04text")), SLICE("")));
	assert_null(raw_plain_text(SLICE("\x91\x82\xa4type\xa4"
					 "file\xa4text\xa2hi"))
			    .data);
	assert_null(raw_plain_text(SLICE("\x91\x82\xa4text\xa4text\xa4text\xa2hi")).data);
	assert_null(raw_plain_text(SLICE("\x91\x83\xa4type\xa4text\xa4text\xa2hi\xa1x\xc0")).data);
	assert_null(raw_plain_text(SLICE("\x91\x82\xa4type\xa4text\xa4text\x05")).data);
	assert_null(raw_plain_text(SLICE("\x90")).data);
	assert_null(raw_plain_text(SLICE("\xc0")).data);
	assert_null(raw_plain_text(SLICE("\x91\x82\xa4type")).data);
	assert_null(raw_plain_text((struct slice){NULL, 0}).data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_of_every_size_are_read),
		cmocka_unit_test(other_scalars_are_read),
		cmocka_unit_test(str_and_bin_are_texts_and_ext_is_not),
		cmocka_unit_test(only_the_head_of_a_container_is_read),
		cmocka_unit_test(bytes_that_end_within_a_value_are_refused),
		cmocka_unit_test(claims_of_more_than_is_there_are_refused),
		cmocka_unit_test(a_value_is_found_by_the_name_of_its_key),
		cmocka_unit_test(a_content_is_plain_text_only_as_a_text_or_one_text_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
