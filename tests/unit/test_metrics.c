/* The histogram: every value in the right bucket, every percentile within a sixteenth. */
#include "daemon/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Where `value` alone went. */
static unsigned bucket_of(uint64_t value)
{
	struct histogram h = {.count = 0};
	unsigned found = HISTOGRAM_BUCKETS;

	histogram_add(&h, value);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (h.buckets[i]) {
			assert_int_equal(h.buckets[i], 1);
			assert_int_equal(found, HISTOGRAM_BUCKETS);
			found = i;
		}
	assert_true(found < HISTOGRAM_BUCKETS);
	return found;
}

static void buckets_follow_each_other_without_gaps(void **state)
{
	(void)state;
	for (uint64_t value = 0; value < 16; value++)
		assert_int_equal(bucket_of(value), value);
	unsigned bucket = 15;
	for (unsigned exponent = 4; exponent < 34; exponent++)
		for (unsigned sub = 0; sub < 16; sub++) {
			uint64_t width = UINT64_C(1) << (exponent - 4);
			uint64_t first = (16 + sub) * width;
			bucket++;
			assert_int_equal(bucket_of(first), bucket);
			assert_int_equal(bucket_of(first + width - 1), bucket);
		}
	assert_int_equal(bucket, HISTOGRAM_BUCKETS - 1);
	assert_int_equal(bucket_of(UINT64_C(1) << 34), HISTOGRAM_BUCKETS - 1);
	assert_int_equal(bucket_of(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void a_histogram_without_values(void **state)
{
	struct histogram h = {.count = 0};

	(void)state;
	assert_int_equal(histogram_percentile(&h, 0.5), 0);
	assert_int_equal(histogram_percentile(&h, 1.0), 0);
}

static void percentiles_of_one_to_a_thousand(void **state)
{
	static const double parts[] = {0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0};
	struct histogram h = {.count = 0};

	(void)state;
	for (uint64_t value = 1; value <= 1000; value++)
		histogram_add(&h, value);
	assert_int_equal(h.count, 1000);
	assert_int_equal(h.sum_us, 500500);
	assert_int_equal(h.max_us, 1000);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		double exact = parts[i] * 1000.0;
		double got = (double)histogram_percentile(&h, parts[i]);
		if (got < exact || got > exact * 1.0625)
			fail_msg("%g: %g instead of %g", parts[i], got, exact);
	}
	assert_int_equal(histogram_percentile(&h, 0.0), 1);
	assert_int_equal(histogram_percentile(&h, 0.01), 10);
}

static void a_percentile_is_never_over_the_largest_value(void **state)
{
	struct histogram h = {.count = 0};

	(void)state;
	histogram_add(&h, 1025);
	assert_int_equal(histogram_percentile(&h, 0.5), 1025);
	histogram_add(&h, UINT64_C(1) << 40);
	assert_int_equal(histogram_percentile(&h, 0.5), 1087);
	assert_int_equal(histogram_percentile(&h, 0.99), UINT64_C(1) << 40);
}

static void a_full_bucket_stays_full(void **state)
{
	struct histogram h = {.count = UINT32_MAX, .max_us = 3};

	(void)state;
	h.buckets[3] = UINT32_MAX;
	histogram_add(&h, 3);
	assert_int_equal(h.buckets[3], UINT32_MAX);
	assert_int_equal(h.count, UINT64_C(1) << 32);
	assert_int_equal(histogram_percentile(&h, 1.0), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_follow_each_other_without_gaps),
		cmocka_unit_test(a_histogram_without_values),
		cmocka_unit_test(percentiles_of_one_to_a_thousand),
		cmocka_unit_test(a_percentile_is_never_over_the_largest_value),
		cmocka_unit_test(a_full_bucket_stays_full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
