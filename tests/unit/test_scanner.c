#include "proto/error.h"
#include "proto/scanner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MAX_BYTES 1024

/* Every kind of value the format has, inside one array of 28. */
static const unsigned char all_kinds[] = {
	0xdc, 0x00, 0x1c,                                           /* array16 of 28 */
	0x00, 0x7f, 0xe0, 0xff,                                     /* fixint, negative fixint */
	0xc0, 0xc2, 0xc3,                                           /* nil, false, true */
	0xc4, 0x02, 0xc1, 0xc1,                                     /* bin8; what is in a body matters not */
	0xc5, 0x00, 0x01, 0x00, 0xc6, 0x00, 0x00, 0x00, 0x01, 0x00, /* bin16, bin32 */
	0xc7, 0x00, 0x05, 0xc8, 0x00, 0x01, 0x05, 0x09,             /* ext8 of no bytes, ext16 */
	0xc9, 0x00, 0x00, 0x00, 0x01, 0x05, 0x09,                   /* ext32 */
	0xca, 0,    0,    0,    0,    0xcb, 0,    0,    0,    0,    0,   0,    0,  0, /* floats */
	0xcc, 1,    0xcd, 0,    1,    0xce, 0,    0,    0,    1,                      /* uint8, 16, 32 */
	0xcf, 0,    0,    0,    0,    0,    0,    0,    1,    0xd0, 1,   0xd1, 0,  1, /* uint64, int8, 16 */
	0xd3, 0,    0,    0,    0,    0,    0,    0,    1,    0xd4, 1,   2,           /* int64, fixext1 */
	0xa3, 'a',  'b',  'c',  0xd9, 0x01, 'x',  0xda, 0,    1,    'x',              /* fixstr, str8, str16 */
	0x82, 0xa1, 'k',  0x90, 0x01, 0x92, 0x80, 0xdf, 0,    0,    0,   0,           /* fixmap, empty containers, map32 */
	0xdd, 0,    0,    0,    1,    0xde, 0,    1,    0xc0, 0xd8,                   /* array32, map16 … fixext16 */
	1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,  12,   13, 14, 15, 16, 17};

/* Scans `length` bytes that come in two parts. */
static int scan_split(const unsigned char *bytes, size_t length, size_t split, size_t max, size_t *end)
{
	struct scanner scanner;

	scanner_init(&scanner, max);
	int error = scanner_scan(&scanner, bytes, split, end);
	return error == ERROR_PENDING ? scanner_scan(&scanner, bytes, length, end) : error;
}

static int scan(const void *bytes, size_t length, size_t max, size_t *end)
{
	struct scanner scanner;

	scanner_init(&scanner, max);
	return scanner_scan(&scanner, bytes, length, end);
}

static void a_message_may_be_split_at_every_byte(void **state)
{
	(void)state;
	for (size_t split = 0; split <= sizeof(all_kinds); split++) {
		size_t end = 0;
		assert_int_equal(scan_split(all_kinds, sizeof(all_kinds), split, MAX_BYTES, &end), 0);
		assert_int_equal(end, sizeof(all_kinds));
	}
}

static void a_message_that_comes_byte_by_byte_ends_with_its_last(void **state)
{
	struct scanner scanner;
	size_t end = 0;

	(void)state;
	scanner_init(&scanner, MAX_BYTES);
	for (size_t there = 0; there < sizeof(all_kinds); there++) {
		/* A copy of just these bytes, so that a read behind them is seen. */
		unsigned char *copy = malloc(there + 1);
		assert_non_null(copy);
		memcpy(copy + 1, all_kinds, there);
		assert_int_equal(scanner_scan(&scanner, copy + 1, there, &end), ERROR_PENDING);
		free(copy);
	}
	assert_int_equal(end, 0);
	assert_int_equal(scanner_scan(&scanner, all_kinds, sizeof(all_kinds), &end), 0);
	assert_int_equal(end, sizeof(all_kinds));
}

static void the_next_message_is_left_alone(void **state)
{
	static const unsigned char two[] = {0x92, 0x01, 0xa1, 'x', 0x91, 0xc1};
	struct scanner scanner;
	size_t end = 0;

	(void)state;
	scanner_init(&scanner, MAX_BYTES);
	assert_int_equal(scanner_scan(&scanner, two, sizeof(two), &end), 0);
	assert_int_equal(end, 4);
	assert_int_equal(scanner_scan(&scanner, two + end, sizeof(two) - end, &end), ERROR_PROTOCOL);
}

static void a_lone_scalar_is_a_message(void **state)
{
	size_t end = 0;

	(void)state;
	assert_int_equal(scan("\xc0", 1, MAX_BYTES, &end), 0);
	assert_int_equal(end, 1);
	assert_int_equal(scan("\x90\x90", 2, MAX_BYTES, &end), 0);
	assert_int_equal(end, 1);
	assert_int_equal(scan("\xa0", 1, MAX_BYTES, &end), 0);
	assert_int_equal(end, 1);
	assert_int_equal(scan("", 0, MAX_BYTES, &end), ERROR_PENDING);
	assert_int_equal(scan(NULL, 0, MAX_BYTES, &end), ERROR_PENDING);
}

static void a_message_of_exactly_the_maximum_passes_and_one_byte_more_does_not(void **state)
{
	(void)state;
	for (size_t split = 0; split <= sizeof(all_kinds); split++) {
		size_t end = 0;
		assert_int_equal(scan_split(all_kinds, sizeof(all_kinds), split, sizeof(all_kinds), &end), 0);
		assert_int_equal(end, sizeof(all_kinds));
		assert_int_equal(scan_split(all_kinds, sizeof(all_kinds), split, sizeof(all_kinds) - 1, &end),
				 ERROR_TOO_LARGE);
	}
}

static void nested_arrays_of_exactly_the_maximum_pass(void **state)
{
	(void)state;
	for (size_t depth = 1; depth <= LIMIT_DEPTH; depth++) {
		unsigned char bytes[LIMIT_DEPTH + 1];
		size_t end = 0;
		memset(bytes, 0x91, depth);
		bytes[depth] = 0xc0;
		assert_int_equal(scan(bytes, depth + 1, depth + 1, &end), 0);
		assert_int_equal(end, depth + 1);
		assert_int_equal(scan(bytes, depth + 1, depth, &end), ERROR_TOO_LARGE);
	}
}

static void a_claim_that_cannot_fit_is_refused_before_its_bytes_come(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} claims[] = {
		{"\xdd\x20\x00\x00\x00", 5},         /* array32 of 2^29 */
		{"\xdd\x20\x00\x00\x00\xc0", 6},     /* and one of its values */
		{"\xdf\x20\x00\x00\x00", 5},         /* map32 */
		{"\xdf\xff\xff\xff\xff", 5},         /* whose pairs doubled would not fit 32 bits */
		{"\xdf\x80\x00\x00\x00", 5},         /* whose pairs doubled are 0 in 32 bits */
		{"\xdb\xff\xff\xff\xff", 5},         /* str32 */
		{"\xc6\x00\x10\x00\x00", 5},         /* bin32 of 1 MiB */
		{"\xc9\xff\xff\xff\xff\x01", 6},     /* ext32 */
		{"\xc8\xff\xff\x01", 4},             /* ext16 */
		{"\xde\x02\x00", 3},                 /* map16 of 512 pairs in 1024 bytes */
		{"\x92\xdc\x03\xf0\xdc\x00\x0f", 7}, /* two that fit alone */
		{"\x93\xdc\x03\xfb", 4},             /* one that fits but leaves no room for its brothers */
	};
	size_t end = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++)
		assert_int_equal(scan(claims[i].bytes, claims[i].length, MAX_BYTES, &end), ERROR_TOO_LARGE);
	assert_int_equal(end, 0);
}

static void claims_in_nested_arrays_add_up(void **state)
{
	/* 16 arrays inside each other, each claiming 100 values: any one of them would fit. */
	unsigned char bytes[16 * 3];
	size_t end = 0;

	(void)state;
	for (size_t i = 0; i < 16; i++)
		memcpy(bytes + 3 * i, "\xdc\x00\x64", 3);
	assert_int_equal(scan(bytes, sizeof(bytes), MAX_BYTES, &end), ERROR_TOO_LARGE);
	assert_int_equal(scan(bytes, 9 * 3, MAX_BYTES, &end), ERROR_PENDING);
}

static void more_arrays_inside_each_other_than_the_limit_are_too_large(void **state)
{
	unsigned char bytes[LIMIT_DEPTH + 2];
	size_t end = 0;

	(void)state;
	memset(bytes, 0x91, sizeof(bytes));
	bytes[LIMIT_DEPTH] = 0xc0;
	assert_int_equal(scan(bytes, LIMIT_DEPTH + 1, MAX_BYTES, &end), 0);
	bytes[LIMIT_DEPTH] = 0x90;
	assert_int_equal(scan(bytes, LIMIT_DEPTH + 1, MAX_BYTES, &end), 0);
	bytes[LIMIT_DEPTH] = 0x91;
	assert_int_equal(scan(bytes, LIMIT_DEPTH + 1, MAX_BYTES, &end), ERROR_TOO_LARGE);
}

static void the_byte_that_no_message_has_is_refused_at_every_place(void **state)
{
	size_t end = 0;

	(void)state;
	assert_int_equal(scan("\xc1", 1, MAX_BYTES, &end), ERROR_PROTOCOL);
	assert_int_equal(scan("\x92\x01\xc1", 3, MAX_BYTES, &end), ERROR_PROTOCOL);
	assert_int_equal(scan("\x81\xa1k\xc1", 4, MAX_BYTES, &end), ERROR_PROTOCOL);
	assert_int_equal(scan("\xc1", 1, 1, &end), ERROR_PROTOCOL);
	/* Behind the maximum it is never looked at. */
	assert_int_equal(scan("\x91\xc1", 2, 1, &end), ERROR_TOO_LARGE);
}

static void a_header_cut_at_the_maximum_is_too_large(void **state)
{
	size_t end = 0;

	(void)state;
	assert_int_equal(scan("\xdb\x00", 2, 2, &end), ERROR_TOO_LARGE);
	assert_int_equal(scan("\xdb\x00", 2, 8, &end), ERROR_PENDING);
	assert_int_equal(scan("\xcf\x00", 2, 2, &end), ERROR_TOO_LARGE);
	assert_int_equal(scan("", 0, 0, &end), ERROR_TOO_LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_may_be_split_at_every_byte),
		cmocka_unit_test(a_message_that_comes_byte_by_byte_ends_with_its_last),
		cmocka_unit_test(the_next_message_is_left_alone),
		cmocka_unit_test(a_lone_scalar_is_a_message),
		cmocka_unit_test(a_message_of_exactly_the_maximum_passes_and_one_byte_more_does_not),
		cmocka_unit_test(nested_arrays_of_exactly_the_maximum_pass),
		cmocka_unit_test(a_claim_that_cannot_fit_is_refused_before_its_bytes_come),
		cmocka_unit_test(claims_in_nested_arrays_add_up),
		cmocka_unit_test(more_arrays_inside_each_other_than_the_limit_are_too_large),
		cmocka_unit_test(the_byte_that_no_message_has_is_refused_at_every_place),
		cmocka_unit_test(a_header_cut_at_the_maximum_is_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
