/* Estimates of the false-hit rate: bands, the correction for the comparison's own errors, drift, budgets. */
#include "daemon/config.h"
#include "daemon/estimate.h"
#include "daemon/interval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct config_share none;

static void assert_near(double value, double expected, double most)
{
	if (!(fabs(value - expected) <= most))
		fail_msg("%.9f is not %.9f", value, expected);
}

static void a_similarity_is_in_the_band_that_begins_at_or_under_it(void **state)
{
	static const struct {
		double similarity;
		size_t band;
	} table[] = {{-1, 0},   {0, 0},    {0.6999, 0}, {0.70, 1}, {0.7499, 1}, {0.75, 2}, {0.80, 3},
		     {0.85, 4}, {0.90, 5}, {0.9499, 5}, {0.95, 6}, {0.999, 6},  {1, 6},    {NAN, 0}};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(estimate_band(table[i].similarity), table[i].band);
	for (size_t band = 1; band < ESTIMATE_BANDS; band++) {
		assert_int_equal(estimate_band(estimate_band_from(band)), band);
		assert_near(estimate_band_to(band - 1), estimate_band_from(band), 0);
	}
	assert_near(estimate_band_from(0), -1, 0);
	assert_near(estimate_band_to(ESTIMATE_BANDS - 1), 1, 0);
}

static void an_unmeasured_comparison_is_taken_at_its_word(void **state)
{
	const struct config_share some = {1, 100};
	const struct comparator unmeasured[] = {{&none, &none}, {&some, &none}, {&none, &some}};
	double low, high;

	(void)state;
	interval_sequence(3, 100, 0.95, &low, &high);
	for (size_t i = 0; i < sizeof(unmeasured) / sizeof(unmeasured[0]); i++) {
		struct estimate estimate = estimate_of(3, 100, &unmeasured[i]);
		assert_false(estimate.corrected);
		assert_near(estimate.rate, 0.03, 1e-12);
		assert_near(estimate.low, low, 0);
		assert_near(estimate.high, high, 0);
	}
	struct estimate nothing = estimate_of(0, 0, &unmeasured[0]);
	assert_true(isnan(nothing.rate) && nothing.low == 0 && nothing.high == 1);
}

static void the_correction_finds_the_true_rate_back(void **state)
{
	const struct config_share a = {2000, 10000}, b = {500, 10000};
	const struct comparator comparator = {&a, &b};

	(void)state;
	for (double p = 0; p <= 1; p += 0.1) {
		/* What the comparison says of a million pairs of which a share p is wrong. */
		double q = p * 0.8 + (1 - p) * 0.05;
		struct estimate estimate = estimate_of((uint64_t)llround(q * 1e6), 1000000, &comparator);
		assert_true(estimate.corrected);
		assert_near(estimate.rate, p, 1e-6);
		assert_true(estimate.low <= p + 1e-6 && estimate.high >= p - 1e-6);
		assert_true(estimate.high - estimate.low < 0.06);
	}
}

static void the_interval_is_wider_for_errors_that_were_measured_on_little(void **state)
{
	const struct config_share few = {1, 20}, many = {500, 10000};
	const struct comparator little = {&few, &few}, much = {&many, &many};
	struct estimate wide = estimate_of(30, 300, &little), narrow = estimate_of(30, 300, &much);

	(void)state;
	assert_near(wide.rate, narrow.rate, 1e-12);
	assert_true(wide.low <= narrow.low && wide.high >= narrow.high && wide.high - wide.low > narrow.high - narrow.low);
}

static void a_comparison_no_better_than_chance_says_nothing(void **state)
{
	const struct config_share half = {50, 100}, nearly = {45, 100};
	const struct comparator chance = {&half, &half}, weak = {&nearly, &nearly};

	(void)state;
	assert_false(comparator_measured(&chance));
	struct estimate estimate = estimate_of(30, 100, &weak);
	assert_true(estimate.corrected && estimate.low >= 0 && estimate.high <= 1 && estimate.low <= estimate.high);
	assert_near(estimate.low, 0, 0);
}

static void drift_looks_at_the_last_hits_of_one_certificate(void **state)
{
	const struct comparator unmeasured = {&none, &none};
	struct drift drift = {0};

	(void)state;
	assert_near(drift_least(&drift, &unmeasured), 0, 0);
	for (unsigned i = 0; i < 2 * DRIFT_HITS; i++)
		drift_add(&drift, 7, i % 3 == 0);
	assert_int_equal(drift.count, DRIFT_HITS);
	assert_int_equal(drift.different, DRIFT_HITS / 3);
	assert_near(drift_least(&drift, &unmeasured), interval_lower(DRIFT_HITS / 3, DRIFT_HITS, 0.99), 1e-12);
	for (unsigned i = 0; i < DRIFT_HITS; i++)
		drift_add(&drift, 7, false);
	assert_int_equal(drift.different, 0);
	drift_add(&drift, 8, true);
	assert_int_equal(drift.count, 1);
	assert_int_equal(drift.different, 1);
}

static void drift_takes_off_what_the_comparison_gets_wrong(void **state)
{
	const struct config_share a = {0, 1000}, b = {100, 1000};
	const struct comparator measured = {&a, &b}, unmeasured = {&none, &none};
	struct drift drift = {0};

	(void)state;
	for (unsigned i = 0; i < DRIFT_HITS; i++)
		drift_add(&drift, 7, i % 10 == 0);
	assert_true(drift_least(&drift, &unmeasured) > 0.06);
	assert_near(drift_least(&drift, &measured), 0, 0);
	for (unsigned i = 0; i < DRIFT_HITS; i++)
		drift_add(&drift, 7, i % 2 == 0);
	assert_true(drift_least(&drift, &measured) > 0.3 && drift_least(&drift, &measured) < 0.5);
}

static void a_budget_begins_anew_each_day(void **state)
{
	const uint64_t day_ms = 86400000;
	struct budget budget = {0};

	(void)state;
	assert_false(budget_take(&budget, 0, 5 * day_ms));
	assert_true(budget_take(&budget, 2, 5 * day_ms));
	assert_true(budget_take(&budget, 2, 6 * day_ms - 1));
	assert_false(budget_take(&budget, 2, 6 * day_ms - 1));
	assert_true(budget_take(&budget, 2, 6 * day_ms));
	budget_return(&budget);
	assert_true(budget_take(&budget, 2, 6 * day_ms));
	assert_true(budget_take(&budget, 2, 6 * day_ms));
	assert_false(budget_take(&budget, 2, 6 * day_ms));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_similarity_is_in_the_band_that_begins_at_or_under_it),
		cmocka_unit_test(an_unmeasured_comparison_is_taken_at_its_word),
		cmocka_unit_test(the_correction_finds_the_true_rate_back),
		cmocka_unit_test(the_interval_is_wider_for_errors_that_were_measured_on_little),
		cmocka_unit_test(a_comparison_no_better_than_chance_says_nothing),
		cmocka_unit_test(drift_looks_at_the_last_hits_of_one_certificate),
		cmocka_unit_test(drift_takes_off_what_the_comparison_gets_wrong),
		cmocka_unit_test(a_budget_begins_anew_each_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
