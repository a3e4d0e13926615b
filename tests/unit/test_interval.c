/* Bounds of shares against values of tables, and against the binomial sum itself. */
#include "daemon/interval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* P(at most `wrong` of `count`), summed term by term. */
static double binomial_sum(unsigned wrong, unsigned count, double share)
{
	double sum = 0;

	for (unsigned k = 0; k <= wrong; k++)
		sum += exp(lgamma(count + 1.0) - lgamma(k + 1.0) - lgamma(count - k + 1.0) + k * log(share) +
			   (count - k) * log1p(-share));
	return sum;
}

static void assert_near(double value, double expected, double most)
{
	if (!(fabs(value - expected) <= most))
		fail_msg("%.9f is not %.9f", value, expected);
}

static void two_sided_intervals_are_those_of_the_tables(void **state)
{
	static const struct {
		uint64_t wrong, count;
		double low, high;
	} table[] = {
		{0, 10, 0, 0.308498},         {1, 10, 0.002529, 0.445016},   {5, 10, 0.187086, 0.812914},
		{10, 10, 0.691503, 1},        {1, 3, 0.008404, 0.905701},    {0, 100, 0, 0.036217},
		{3, 100, 0.006230, 0.085176}, {50, 100, 0.398321, 0.601679},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		double low, high;
		interval_both(table[i].wrong, table[i].count, 0.95, &low, &high);
		assert_near(low, table[i].low, 1e-6);
		assert_near(high, table[i].high, 1e-6);
	}
}

static void a_bound_is_where_the_binomial_sum_says(void **state)
{
	static const unsigned counts[] = {1, 2, 7, 59, 300, 2943, 20000};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (unsigned wrong = 0; wrong < counts[i]; wrong = wrong * 3 + 1) {
			double bound = interval_upper(wrong, counts[i], 0.95);
			assert_near(binomial_sum(wrong, counts[i], bound), 0.05, 1e-7);
		}
	}
}

static void the_ends_are_no_numbers_out_of_range(void **state)
{
	(void)state;
	assert_near(interval_upper(0, 0, 0.95), 1, 0);
	assert_near(interval_lower(0, 0, 0.95), 0, 0);
	assert_near(interval_upper(5, 5, 0.95), 1, 0);
	assert_near(interval_lower(0, 5, 0.95), 0, 0);
	assert_near(interval_upper(9, 5, 0.95), 1, 0);
	/* Nine in ten thousand million. */
	double bound = interval_upper(9, UINT64_C(10000000000), 0.95);
	assert_true(bound > 9e-10 && bound < 2e-9);
}

static void more_labels_or_fewer_errors_never_widen_a_bound(void **state)
{
	(void)state;
	for (uint64_t count = 1; count < 400; count += 7) {
		for (uint64_t wrong = 0; wrong < count; wrong++) {
			assert_true(interval_upper(wrong, count, 0.95) <= interval_upper(wrong + 1, count, 0.95));
			assert_true(interval_upper(wrong, count + 1, 0.95) <= interval_upper(wrong, count, 0.95) + 1e-12);
			assert_true(interval_upper(wrong, count, 0.9) <= interval_upper(wrong, count, 0.99));
			assert_true(interval_upper(wrong, count, 0.95) >= (double)wrong / (double)count);
		}
	}
}

static void without_a_failure_a_promise_needs_as_many_as_the_rule_of_three_says(void **state)
{
	(void)state;
	/* The smallest n with 1 - 0.05^(1/n) <= 2 %, and so on. */
	assert_int_equal(interval_count_needed(0, 0.02, 0.95), 149);
	assert_int_equal(interval_count_needed(0, 0.01, 0.95), 299);
	assert_int_equal(interval_count_needed(0, 0.05, 0.95), 59);
	uint64_t needed = interval_count_needed(0.01, 0.02, 0.95);
	assert_true(interval_upper((uint64_t)ceil(0.01 * (double)needed), needed, 0.95) <= 0.02);
	assert_true(needed > 149 && needed < 2000);
	assert_true(interval_count_needed(0.03, 0.02, 0.95) == UINT64_MAX);
}

/* ---- confidence sequences ---- */

/* SplitMix64 of Sebastiano Vigna (public domain). */
static double draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static void a_sequence_is_where_the_mixture_crosses_its_bound(void **state)
{
	double low, high;

	(void)state;
	interval_sequence(0, 0, 0.95, &low, &high);
	assert_near(low, 0, 0);
	assert_near(high, 1, 0);
	/* Without a failure the ratio is 1 / ((n + 1) (1 - p)^n), which can be solved by hand. */
	for (uint64_t count = 1; count < 3000; count = count * 3 + 1) {
		interval_sequence(0, count, 0.95, &low, &high);
		assert_near(low, 0, 0);
		assert_near(high, 1 - pow(0.05 / (double)(count + 1), 1 / (double)count), 1e-9);
		interval_sequence(count, count, 0.95, &low, &high);
		assert_near(low, pow(0.05 / (double)(count + 1), 1 / (double)count), 1e-9);
		assert_near(high, 1, 0);
	}
	/* One of two: the ratio is 1 / (6 p (1 - p)). */
	interval_sequence(1, 2, 0.95, &low, &high);
	assert_near(low, (1 - sqrt(1 - 4 * 0.05 / 6)) / 2, 1e-9);
	assert_near(high, (1 + sqrt(1 - 4 * 0.05 / 6)) / 2, 1e-9);
}

static void a_sequence_is_wider_than_an_interval_for_one_look_and_holds_the_share(void **state)
{
	double low, high, one_low, one_high;

	(void)state;
	for (uint64_t count = 1; count < 2000; count = count * 2 + 1) {
		for (uint64_t wrong = 0; wrong <= count; wrong += 1 + count / 9) {
			double share = (double)wrong / (double)count;
			interval_sequence(wrong, count, 0.95, &low, &high);
			interval_both(wrong, count, 0.95, &one_low, &one_high);
			assert_true(low <= share && share <= high && low >= 0 && high <= 1);
			assert_true(low <= one_low + 1e-9 && high >= one_high - 1e-9);
		}
	}
}

/* Whether a run of `count` trials ever leaves the sequence, or the interval for one look. */
static void run_once(double share, unsigned count, uint64_t *random, unsigned *sequence_broken, unsigned *interval_broken)
{
	bool is_out = false, is_out_once = false;
	uint64_t wrong = 0;
	double low, high;

	for (unsigned n = 1; n <= count; n++) {
		wrong += draw(random) < share;
		if (!is_out) {
			interval_sequence(wrong, n, 0.95, &low, &high);
			is_out = share < low || share > high;
		}
		if (!is_out_once && n % 5 == 0) {
			interval_both(wrong, n, 0.95, &low, &high);
			is_out_once = share < low || share > high;
		}
	}
	*sequence_broken += is_out;
	*interval_broken += is_out_once;
}

static void a_sequence_is_broken_ever_in_at_most_five_percent_of_runs(void **state)
{
	static const double shares[] = {0.02, 0.1, 0.5};
	unsigned interval_broken = 0;
	uint64_t random = 4;

	(void)state;
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		unsigned broken = 0;
		for (unsigned run = 0; run < 400; run++)
			run_once(shares[i], 300, &random, &broken, &interval_broken);
		/* At 5 % more than 32 of 400 come with a probability of 0.4 %; it is far less, because it holds for ever. */
		if (broken > 32)
			fail_msg("broken in %u of 400 runs at %g", broken, shares[i]);
	}
	/* What is meant for one look is not: this is what the sequence is for. */
	assert_true(interval_broken > 120);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_sided_intervals_are_those_of_the_tables),
		cmocka_unit_test(a_bound_is_where_the_binomial_sum_says),
		cmocka_unit_test(the_ends_are_no_numbers_out_of_range),
		cmocka_unit_test(more_labels_or_fewer_errors_never_widen_a_bound),
		cmocka_unit_test(a_sequence_is_where_the_mixture_crosses_its_bound),
		cmocka_unit_test(a_sequence_is_wider_than_an_interval_for_one_look_and_holds_the_share),
		cmocka_unit_test(a_sequence_is_broken_ever_in_at_most_five_percent_of_runs),
		cmocka_unit_test(without_a_failure_a_promise_needs_as_many_as_the_rule_of_three_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
