/* What calibrating promises, on labels whose true error is known. */
#include "daemon/calibrate_find.h"
#include "daemon/interval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define STREAMS 1000
#define GRID 200
#define PLACES 401 /* thresholds 0 to 2 */
#define FLOOR 0.7

/* xorshift64*: the same everywhere. */
static double random_share(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (double)((*state * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* Labels, as how many have a score at each place of the grid and how many of these are wrong, for each weight. Where they
 * are `compared`, a wrong answer is called right with the chance `blind`. */
struct labels {
	double blind;
	uint64_t served[CALIBRATE_MARGINS][PLACES], wrong[CALIBRATE_MARGINS][PLACES], compared;
	double errors[CALIBRATE_MARGINS][PLACES]; /* expected number of wrong ones */
};

static size_t margin_index(double margin)
{
	size_t i = 0;

	while (calibrate_margins[i] != margin)
		i++;
	return i;
}

static void label_add(struct labels *labels, double similarity, double next, double error, bool wrong)
{
	for (size_t i = 0; i < CALIBRATE_MARGINS; i++) {
		double score = similarity + calibrate_margins[i] * (similarity - fmax(FLOOR, next));
		size_t place = score < 0 ? 0 : (size_t)floor(score * GRID);
		labels->served[i][place]++;
		labels->wrong[i][place] += wrong;
		labels->errors[i][place] += error;
	}
}

/* Of each place, those at it and above. */
static void labels_sum(struct labels *labels)
{
	for (size_t i = 0; i < CALIBRATE_MARGINS; i++)
		for (size_t place = PLACES - 1; place-- > 0;) {
			labels->served[i][place] += labels->served[i][place + 1];
			labels->wrong[i][place] += labels->wrong[i][place + 1];
			labels->errors[i][place] += labels->errors[i][place + 1];
		}
}

static struct calibrate_count count_of(void *data, double margin, double threshold)
{
	const struct labels *labels = data;
	size_t i = margin_index(margin), place = (size_t)lround(threshold * GRID);
	struct calibrate_count count = {labels->served[i][place], labels->wrong[i][place], 0};

	count.compared = labels->compared ? count.served : 0;
	return count;
}

/* How often a question of this similarity and margin would be answered wrongly. */
typedef double error_rule(double similarity, double next);

static double falls_with_the_score(double similarity, double next)
{
	return 1 / (1 + exp(30 * (similarity + 0.3 * (similarity - fmax(FLOOR, next)) - 0.8)));
}

static double is_the_same_everywhere(double similarity, double next)
{
	(void)similarity;
	(void)next;
	return 0.0501;
}

static void fill(struct labels *labels, error_rule *rule, size_t count, uint64_t *state)
{
	*labels = (struct labels){.blind = labels->blind, .compared = labels->compared};
	for (size_t i = 0; i < count; i++) {
		double similarity = 0.7 + 0.3 * random_share(state);
		double next = similarity + 0.1 * log(1 - random_share(state));
		double error = rule(similarity, next);
		bool is_seen = labels->blind <= 0 || random_share(state) >= labels->blind;
		label_add(labels, similarity, next, error, random_share(state) < error && is_seen);
	}
	labels_sum(labels);
}

static struct calibrate_finding find(struct labels *labels, double promise)
{
	const struct calibrate_terms terms = {.promise = promise,
					      .confidence = 0.95,
					      .comparator_error = labels->blind,
					      .count = count_of,
					      .data = labels};

	return calibrate_find(&terms);
}

/* Returns in how many of the streams something was certified, and in how many of these the truth is worse than promised. */
static int broken(error_rule *rule, double blind, size_t count, int *certified)
{
	static struct labels truth, labels;
	uint64_t state = UINT64_C(20240607);
	int wrong = 0;

	labels = (struct labels){.blind = blind, .compared = blind > 0};
	fill(&truth, rule, 400000, &state);
	*certified = 0;
	for (int i = 0; i < STREAMS; i++) {
		fill(&labels, rule, count, &state);
		struct calibrate_finding finding = find(&labels, 0.05);
		if (!finding.found)
			continue;
		(*certified)++;
		size_t m = margin_index(finding.margin), place = (size_t)lround(finding.threshold * GRID);
		wrong += truth.errors[m][place] > 0.05 * (double)truth.served[m][place];
	}
	return wrong;
}

/* The certificate's own promise: of 1,000 it may be 50. */
static void a_promise_is_broken_in_at_most_one_stream_of_twenty(void **state)
{
	int certified;

	(void)state;
	int wrong = broken(falls_with_the_score, 0, 1500, &certified);
	assert_true(certified > STREAMS * 9 / 10);
	assert_in_range(wrong, 0, STREAMS / 20);
}

static void where_no_threshold_is_good_enough_few_are_certified(void **state)
{
	int certified;

	(void)state;
	/* Just above the promise at every threshold: each certificate is a broken one. */
	int wrong = broken(is_the_same_everywhere, 0, 1500, &certified);
	assert_int_equal(wrong, certified);
	assert_in_range(wrong, 0, STREAMS / 20);
}

static void a_promise_by_comparisons_that_overlook_some_is_kept_too(void **state)
{
	int certified;

	(void)state;
	int wrong = broken(falls_with_the_score, 0.03, 4500, &certified);
	assert_true(certified > STREAMS / 10);
	assert_in_range(wrong, 0, STREAMS / 20);
	/* Where half is overlooked, labels look twice as good as they are. */
	wrong = broken(falls_with_the_score, 0.5, 1500, &certified);
	assert_in_range(wrong, 0, STREAMS / 20);
}

static void fill_plain(struct labels *labels, unsigned from, unsigned to, unsigned each)
{
	memset(labels, 0, sizeof(*labels));
	for (unsigned place = from; place <= to; place++)
		for (unsigned i = 0; i < each; i++)
			label_add(labels, (place + 0.5) / GRID, (place + 0.5) / GRID, 0, false);
	labels_sum(labels);
}

static void too_little_data_is_refused_and_the_missing_labels_are_counted(void **state)
{
	struct labels labels;

	(void)state;
	fill_plain(&labels, 180, 199, 5);
	struct calibrate_finding finding = find(&labels, 0.02);
	assert_false(finding.found);
	assert_int_equal(finding.count.served, 100);
	assert_true(fabs(finding.bound - interval_upper(0, 100, 1 - 0.05 / 3)) < 1e-9);
	uint64_t needed = interval_count_needed(0, 0.02, 1 - 0.05 / 3);
	assert_int_equal(finding.missing, needed - 100);
	/* With one more than that it is granted, and with one less not. */
	fill_plain(&labels, 199, 199, (unsigned)needed);
	assert_true(find(&labels, 0.02).found);
	fill_plain(&labels, 199, 199, (unsigned)needed - 1);
	assert_false(find(&labels, 0.02).found);
}

static void without_labels_nothing_is_known(void **state)
{
	static struct labels labels;

	(void)state;
	memset(&labels, 0, sizeof(labels));
	struct calibrate_finding finding = find(&labels, 0.02);
	assert_false(finding.found);
	assert_true(finding.bound >= 1 && finding.missing == interval_count_needed(0, 0.02, 1 - 0.05 / 3));
}

static void where_too_many_are_wrong_no_number_of_labels_would_do(void **state)
{
	struct labels labels;

	(void)state;
	memset(&labels, 0, sizeof(labels));
	for (unsigned i = 0; i < 1000; i++)
		label_add(&labels, 0.95, 0.95, 0, i % 5 == 0);
	labels_sum(&labels);
	struct calibrate_finding finding = find(&labels, 0.02);
	assert_false(finding.found);
	assert_true(finding.missing == UINT64_MAX);
}

static void no_threshold_is_granted_below_the_labels(void **state)
{
	struct labels labels;

	(void)state;
	/* As audit gives them: nothing below the threshold that was in force. */
	fill_plain(&labels, 184, 199, 100);
	struct calibrate_finding finding = find(&labels, 0.02);
	assert_true(finding.found);
	assert_in_range((int)lround(finding.threshold * GRID), 181, 184);
}

static void a_comparator_worse_than_the_promise_earns_nothing(void **state)
{
	struct labels labels;

	(void)state;
	fill_plain(&labels, 184, 199, 200);
	labels.compared = 1;
	struct calibrate_terms terms = {
		.promise = 0.02, .confidence = 0.95, .comparator_error = 0.01, .count = count_of, .data = &labels};
	struct calibrate_finding finding = calibrate_find(&terms);
	assert_true(finding.found && finding.bound > 0.01);
	terms.comparator_error = 0.02;
	finding = calibrate_find(&terms);
	assert_false(finding.found);
	assert_true(finding.missing == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_promise_is_broken_in_at_most_one_stream_of_twenty),
		cmocka_unit_test(where_no_threshold_is_good_enough_few_are_certified),
		cmocka_unit_test(a_promise_by_comparisons_that_overlook_some_is_kept_too),
		cmocka_unit_test(too_little_data_is_refused_and_the_missing_labels_are_counted),
		cmocka_unit_test(without_labels_nothing_is_known),
		cmocka_unit_test(where_too_many_are_wrong_no_number_of_labels_would_do),
		cmocka_unit_test(no_threshold_is_granted_below_the_labels),
		cmocka_unit_test(a_comparator_worse_than_the_promise_earns_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
