#include "proto/buffer.h"
#include "proto/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void absent_is_not_empty(void **state)
{
	struct slice absent = slice_of(NULL), empty = slice_of("");

	(void)state;
	assert_true(slice_equal(absent, absent));
	assert_true(slice_equal(empty, SLICE("")));
	assert_false(slice_equal(absent, empty));
	assert_false(slice_equal(empty, absent));
	assert_false(slice_equal(SLICE("ab"), SLICE("ac")));
	assert_false(slice_equal(SLICE("ab"), SLICE("a")));
	assert_true(slice_equal(SLICE("a\0b"), SLICE("a\0b")));
}

static void well_formed_utf8_is_told_from_other_bytes(void **state)
{
	static const struct slice good[] = {
		{"", 0},
		{"plain", 5},
		{"caf\xc3\xa9", 5},
		{"\xc2\x80\xdf\xbf", 4},
		{"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 12},
		{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8},
		{"12345678\xf0\x9f\x90\x8d"
		 "12345678",
		 20},
	};
	static const struct slice bad[] = {
		{"\x80", 1},             /* continuation alone */
		{"\xc3", 1},             /* cut */
		{"\xc3(", 2},            /* no continuation */
		{"\xc0\x80", 2},         /* overlong NUL */
		{"\xc1\xbf", 2},         /* overlong */
		{"\xe0\x9f\xbf", 3},     /* overlong */
		{"\xf0\x8f\xbf\xbf", 4}, /* overlong */
		{"\xed\xa0\x80", 3},     /* surrogate */
		{"\xed\xbf\xbf", 3},     /* surrogate */
		{"\xf4\x90\x80\x80", 4}, /* over U+10FFFF */
		{"\xf5\x80\x80\x80", 4},
		{"\xff", 1},
		{"\xe2\x82", 2},
		{"\xf0\x9f\x90", 3},
		{"\xe2\x82(", 3},
		{"\xf0\x9f\x90(", 4},
		{"12345678\xff", 9}, /* behind eight bytes of ASCII */
		{"1234567\xff", 8},  /* the last of eight */
	};
	bool nul;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(slice_is_utf8(good[i], &nul));
		assert_false(nul);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(slice_is_utf8(bad[i], &nul));
	assert_true(slice_is_utf8((struct slice){NULL, 0}, &nul));
	assert_false(nul);
}

static void a_nul_is_seen_wherever_it_stands(void **state)
{
	char text[20];
	bool nul;

	(void)state;
	for (size_t at = 0; at < sizeof(text); at++) {
		memset(text, 'x', sizeof(text));
		text[at] = '\0';
		assert_true(slice_is_utf8((struct slice){text, sizeof(text)}, &nul));
		assert_true(nul);
	}
}

static void a_text_is_cut_at_whole_characters(void **state)
{
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d."; /* of 1, 2, 3, 4 and 1 bytes */
	static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11, 11};
	struct slice s = {text, sizeof(text) - 1};

	(void)state;
	for (size_t most = 0; most < sizeof(expected) / sizeof(expected[0]); most++)
		assert_int_equal(slice_whole_characters(s, most), expected[most]);
}

static void a_cut_always_gets_on(void **state)
{
	/* Less room than one character, and bytes that are none: at least something is passed over, or a loop would not
	 * end. */
	(void)state;
	assert_int_equal(slice_whole_characters(SLICE("\xf0\x9f\x90\x8d"), 2), 2);
	assert_true(slice_whole_characters(SLICE("\x80\x80\x80\x80\x80\x80\x80\x80"), 7) >= 1);
	assert_int_equal(slice_whole_characters(SLICE(""), 7), 0);
	assert_int_equal(slice_whole_characters((struct slice){NULL, 0}, 7), 0);
}

static void a_cleaned_text_has_only_what_a_line_may_hold(void **state)
{
	char text[] = "a\nb\x1b[0m\x7f\xc2\x9b"
		      "c\xc2\xa0\xff\xe2\x82\xac\xe2\x82";
	bool nul;

	(void)state;
	text_clean(text, sizeof(text) - 1);
	assert_string_equal(text, "a b [0m   c\xc2\xa0 \xe2\x82\xac  ");
	assert_true(slice_is_utf8(slice_of(text), &nul));
}

static void a_buffer_grows_to_its_maximum_and_not_beyond(void **state)
{
	struct buffer b;

	(void)state;
	buffer_init(&b, 300);
	assert_true(slice_equal(buffer_slice(&b), SLICE("")));
	for (int i = 0; i < 300; i++)
		assert_int_equal(buffer_append(&b, "x", 1), 0);
	assert_int_equal(b.length, 300);
	assert_true(b.capacity <= 300);
	assert_int_equal(buffer_append(&b, "x", 1), ERROR_TOO_LARGE);
	assert_int_equal(buffer_append(&b, NULL, 0), 0);
	assert_int_equal(buffer_write_msgpack(&b, "x", 1), -1);
	assert_int_equal(b.length, 300);
	buffer_consume(&b, 299);
	assert_true(slice_equal(buffer_slice(&b), SLICE("x")));
	assert_int_equal(buffer_write_msgpack(&b, "y", 1), 0);
	assert_true(slice_equal(buffer_slice(&b), SLICE("xy")));
	buffer_consume(&b, 1000);
	assert_int_equal(b.length, 0);
	buffer_deinit(&b);
	assert_int_equal(b.max, 300);
	assert_int_equal(buffer_append(&b, "again", 5), 0);
	buffer_deinit(&b);
}

static void a_size_that_would_wrap_is_too_large(void **state)
{
	struct buffer b;

	(void)state;
	buffer_init(&b, 100);
	assert_int_equal(buffer_append(&b, "x", 1), 0);
	assert_int_equal(buffer_reserve(&b, SIZE_MAX), ERROR_TOO_LARGE);
	assert_int_equal(buffer_reserve(&b, 100), ERROR_TOO_LARGE);
	assert_int_equal(buffer_reserve(&b, 99), 0);
	assert_int_equal(b.length, 1);
	buffer_deinit(&b);
}

static void printed_text_is_appended_whole_or_not_at_all(void **state)
{
	struct buffer b;

	(void)state;
	buffer_init(&b, 16);
	assert_int_equal(buffer_printf(&b, "%d-%s", 42, "x"), 0);
	assert_int_equal(buffer_printf(&b, "%s", "more than there is room for"), ERROR_TOO_LARGE);
	assert_true(slice_equal(buffer_slice(&b), SLICE("42-x")));
	assert_int_equal(buffer_printf(&b, "%s", ""), 0);
	assert_true(slice_equal(buffer_slice(&b), SLICE("42-x")));
	buffer_deinit(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_is_not_empty),
		cmocka_unit_test(well_formed_utf8_is_told_from_other_bytes),
		cmocka_unit_test(a_nul_is_seen_wherever_it_stands),
		cmocka_unit_test(a_text_is_cut_at_whole_characters),
		cmocka_unit_test(a_cut_always_gets_on),
		cmocka_unit_test(a_cleaned_text_has_only_what_a_line_may_hold),
		cmocka_unit_test(a_buffer_grows_to_its_maximum_and_not_beyond),
		cmocka_unit_test(a_size_that_would_wrap_is_too_large),
		cmocka_unit_test(printed_text_is_appended_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
