/* A part that fails, is skipped, and comes back. */
#include "daemon/log.h"
#include "daemon/part.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct log quiet = {.level = LOG_LEVEL_ERROR};

static void a_part_goes_down_at_the_third_failure_in_a_row(void **state)
{
	struct part part;

	(void)state;
	part_init(&part, "redis", true, &quiet, 100);
	assert_true(part_up(&part));
	assert_int_equal(part.since_ms, 100);
	assert_false(part_failed(&part, "one", 200));
	assert_false(part_failed(&part, "two", 201));
	assert_true(part_up(&part));
	assert_true(part_failed(&part, "three", 202));
	assert_false(part_up(&part));
	assert_int_equal(part.since_ms, 202);
	assert_string_equal(part.error, "three");
	assert_true(part_failed(&part, "four", 300));
	assert_int_equal(part.since_ms, 202);
	assert_string_equal(part.error, "four");
}

static void a_success_in_between_starts_the_count_anew(void **state)
{
	struct part part;

	(void)state;
	part_init(&part, "embedder", true, &quiet, 0);
	for (int i = 0; i < 10; i++) {
		assert_false(part_failed(&part, "x", 1));
		assert_false(part_failed(&part, "x", 2));
		part_succeeded(&part, 3);
	}
	assert_true(part_up(&part));
	assert_int_equal(part.since_ms, 0);
}

static void one_success_brings_it_back(void **state)
{
	struct part part;

	(void)state;
	part_init(&part, "upstream a", true, &quiet, 0);
	part_down(&part, "refused", 5);
	assert_false(part_up(&part));
	assert_int_equal(part.since_ms, 5);
	part_down(&part, "refused again", 6);
	assert_int_equal(part.since_ms, 5);
	part_succeeded(&part, 9);
	assert_true(part_up(&part));
	assert_int_equal(part.since_ms, 9);
	assert_int_equal(part.failures, 0);
	assert_false(part_failed(&part, "x", 10));
}

static void a_part_that_is_not_wanted_is_never_up(void **state)
{
	struct part part;

	(void)state;
	part_init(&part, "redis", false, &quiet, 0);
	assert_false(part_up(&part));
	part_succeeded(&part, 1);
	assert_false(part_up(&part));
}

static void an_error_of_others_is_cut_and_cleaned(void **state)
{
	struct part part;
	char error[400];

	(void)state;
	part_init(&part, "redis", true, &quiet, 0);
	(void)part_failed(&part, "a \"b\"\r\nc", 1);
	assert_string_equal(part.error, "a 'b'  c");
	memset(error, 'x', sizeof(error));
	error[sizeof(error) - 1] = '\0';
	/* Three bytes across the place where it is cut. */
	memcpy(error + sizeof(part.error) - 2, "\xE2\x82\xAC", 3);
	(void)part_failed(&part, error, 1);
	assert_int_equal(strlen(part.error), sizeof(part.error) - 2);
	for (int i = 0; i < 5; i++)
		(void)part_failed(&part, part.error, 1);
	assert_int_equal(strlen(part.error), sizeof(part.error) - 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_part_goes_down_at_the_third_failure_in_a_row),
		cmocka_unit_test(a_success_in_between_starts_the_count_anew),
		cmocka_unit_test(one_success_brings_it_back),
		cmocka_unit_test(a_part_that_is_not_wanted_is_never_up),
		cmocka_unit_test(an_error_of_others_is_cut_and_cleaned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
