/* Files of labelled questions, and what the cache would have done with them, on vectors of three or four numbers. */
#include "daemon/decide.h"
#include "daemon/evaluate_run.h"
#include "daemon/index_scan.h"
#include "proto/error.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct evaluate_set *read_set(const char *text)
{
	struct evaluate_set *set = NULL;
	char mistake[200] = "";

	if (evaluate_set_read(slice_of(text), 100, &set, mistake, sizeof(mistake)) != 0)
		fail_msg("%s", mistake);
	return set;
}

static void assert_mistake(const char *text, const char *expected)
{
	struct evaluate_set *set = NULL;
	char mistake[200] = "";

	assert_true(evaluate_set_read(slice_of(text), 3, &set, mistake, sizeof(mistake)) < 0);
	assert_null(set);
	if (strncmp(mistake, expected, strlen(expected)) != 0)
		fail_msg("%s", mistake);
}

static void the_first_line_says_what_the_columns_are(void **state)
{
	(void)state;
	struct evaluate_set *set = read_set("a\tb\t1\nb\tc\t0\n");
	assert_int_equal(set->kind, EVALUATE_PAIRS);
	assert_int_equal(set->row_count, 2);
	assert_int_equal(set->text_count, 3);
	assert_true(set->rows[0].same && !set->rows[1].same);
	assert_int_equal(set->rows[1].stored, set->rows[0].asked);
	evaluate_set_destroy(set);

	set = read_set("label\tx\tsentence2\tsentence1\r\n1\tx\tb\ta\r\n\r\n0\t\td\tc");
	assert_int_equal(set->kind, EVALUATE_PAIRS);
	assert_int_equal(set->row_count, 2);
	assert_true(slice_equal(set->texts[set->rows[1].stored], SLICE("c")));
	assert_true(slice_equal(set->texts[set->rows[1].asked], SLICE("d")));
	evaluate_set_destroy(set);

	set = read_set("\xEF\xBB\xBFid\tclass_id\tprompt\n1\t12\ta\n2\t7\tb\n3\t12\ta\n");
	assert_int_equal(set->kind, EVALUATE_STREAM);
	assert_int_equal(set->text_count, 2);
	assert_int_equal(set->class_count, 2);
	assert_true(set->has_parity && !set->rows[0].odd && set->rows[1].odd);
	assert_int_equal(set->rows[2].class, set->rows[0].class);
	evaluate_set_destroy(set);

	set = read_set("class_id\tprompt\nx7\ta\n");
	assert_false(set->has_parity);
	evaluate_set_destroy(set);
}

static void a_mistake_has_its_line(void **state)
{
	(void)state;
	assert_mistake("", "1: the file is empty");
	assert_mistake("\n\n", "1: the file is empty");
	assert_mistake("q1\tq2\tlabel\n", "1: there is no row");
	assert_mistake("q1\tq2\n", "1: this is neither");
	assert_mistake("a\tb\t1\n\na\tb\n", "3: there are 2 columns, and 3");
	assert_mistake("a\tb\t1\na\tb\t1\t\n", "2: there are 4 columns, and 3");
	assert_mistake("a\tb\t1\na\tb\t01\n", "2: the label");
	assert_mistake("a\tb\t1\n\tb\t1\n", "2: a question is empty");
	assert_mistake("a\tb\t1\na\t\xC3(\t1\n", "2: a question is not UTF-8");
	assert_mistake("a\tb\t1\na\tb\t1\na\tb\t1\na\tb\t1\n", "4: there are more than 3 rows");
}

static void halves_are_streams_of_their_own(void **state)
{
	(void)state;
	struct evaluate_set *set = read_set("class_id\tprompt\n1\ta\n2\tb\n3\tc\n2\td\n4\tb\n"), *half;
	uint32_t *of;

	assert_int_equal(evaluate_set_half(set, EVALUATE_EVEN, &half, &of), 0);
	assert_int_equal(half->row_count, 3);
	assert_int_equal(half->text_count, 2);
	assert_int_equal(half->class_count, 2);
	assert_true(slice_equal(half->texts[0], SLICE("b")) && slice_equal(half->texts[1], SLICE("d")));
	assert_int_equal(of[1], 3);
	assert_int_equal(half->rows[2].asked, 0);
	evaluate_set_destroy(half);
	evaluate_set_destroy(set);
	free(of);
}

/* ---- runs ---- */

/* Vectors in a plane, each given by its angle in degrees; NAN has none. */
static struct evaluate_vectors vectors_of(const double *angles, size_t count)
{
	struct evaluate_vectors vectors = {
		.count = count,
		.dimensions = 2,
		.stride = INDEX_STRIDE(2),
		.has = calloc(count, sizeof(bool)),
		.rows = aligned_alloc(INDEX_ALIGNMENT, count * INDEX_STRIDE(2) * sizeof(float)),
	};

	assert_non_null(vectors.has);
	assert_non_null(vectors.rows);
	memset(vectors.rows, 0, count * vectors.stride * sizeof(float));
	for (size_t i = 0; i < count; i++) {
		vectors.has[i] = !isnan(angles[i]);
		if (vectors.has[i]) {
			vectors.rows[i * vectors.stride] = (float)cos(angles[i] * M_PI / 180);
			vectors.rows[i * vectors.stride + 1] = (float)sin(angles[i] * M_PI / 180);
		}
	}
	return vectors;
}

static struct evaluate_counts run(const char *text, const double *angles, const struct policy *policy)
{
	struct evaluate_set *set = read_set(text);
	struct evaluate_vectors vectors = vectors_of(angles, set->text_count);
	struct evaluate_bench bench;

	assert_int_equal(evaluate_bench_init(&bench, set, &vectors, NULL), 0);
	struct evaluate_counts counts = evaluate_run(&bench, policy);
	/* A second run starts from nothing again. */
	struct evaluate_counts again = evaluate_run(&bench, policy);
	assert_memory_equal(&counts, &again, sizeof(counts));
	evaluate_bench_deinit(&bench);
	evaluate_vectors_deinit(&vectors);
	evaluate_set_destroy(set);
	return counts;
}

static void only_what_was_not_served_is_stored(void **state)
{
	/* cos 20 = .940, cos 25 = .906, cos 40 = .766 */
	static const double angles[] = {0, 20, 45};
	const struct policy policy = {.threshold = 0.9};

	(void)state;
	/* The second is served the first's answer, so the third, which is near the second only, finds nothing. */
	struct evaluate_counts counts = run("class_id\tprompt\n1\ta\n1\tb\n1\tc\n", angles, &policy);
	assert_int_equal(counts.repeats, 2);
	assert_int_equal(counts.right, 1);
	assert_int_equal(counts.wrong, 0);
	/* Of another class the second would be wrong, and the third's class is not stored, because the second was served. */
	counts = run("class_id\tprompt\n1\ta\n2\tb\n2\tc\n", angles, &policy);
	assert_int_equal(counts.repeats, 0);
	assert_int_equal(counts.right, 0);
	assert_int_equal(counts.wrong, 1);
}

static void a_text_without_a_vector_is_only_matched_exactly(void **state)
{
	static const double angles[] = {NAN, 0, 1};
	const struct policy policy = {.threshold = 0.5};

	(void)state;
	struct evaluate_counts counts = run("class_id\tprompt\n1\ta\n1\tb\n1\ta\n2\tc\n", angles, &policy);
	assert_int_equal(counts.right, 1);
	assert_int_equal(counts.wrong, 1);
	counts = run("a\tb\t1\na\ta\t1\nb\tc\t0\n", angles, &policy);
	assert_int_equal(counts.right, 1);
	assert_int_equal(counts.wrong, 1);
	assert_int_equal(counts.traps, 1);
}

static void guards_veto_here_as_in_the_daemon(void **state)
{
	static const double angles[] = {0, 5};
	struct policy policy = {.threshold = 0.9, .guards_on = GUARDS_ALL};
	const char *text = "Which service is on port 80?\tWhich service is on port 443?\t0\n";

	(void)state;
	assert_int_equal(run(text, angles, &policy).wrong, 0);
	policy.guards_on = 0;
	assert_int_equal(run(text, angles, &policy).wrong, 1);
}

/* A few hundred questions by hand: every earlier one is looked at, the real decide() is given the eight nearest. */
static struct evaluate_counts run_slowly(const struct evaluate_set *set, const double *angles, const struct policy *policy)
{
	struct evaluate_counts counts = {.requests = set->row_count};
	bool *stored = calloc(set->row_count, sizeof(bool)), *seen = calloc(set->row_count, sizeof(bool));

	for (size_t i = 0; i < set->row_count; i++) {
		double best = -2, next = -2;
		size_t at = 0;
		for (size_t k = 0; k < i; k++) {
			double cosine = cos((angles[i] - angles[k]) * M_PI / 180);
			if (stored[k] && cosine > best) {
				next = best;
				best = cosine;
				at = k;
			} else if (stored[k] && cosine > next) {
				next = cosine;
			}
		}
		double score = best + policy->margin * (best - fmax(next, policy->margin_floor));
		bool served = policy->calibrated && next > -2 ? score >= policy->score_threshold && best >= policy->minimum
							      : best >= policy->threshold;
		counts.repeats += seen[set->rows[i].class];
		counts.right += served && set->rows[i].class == set->rows[at].class;
		counts.wrong += served && set->rows[i].class != set->rows[at].class;
		if (!served)
			stored[i] = seen[set->rows[i].class] = true;
	}
	free(stored);
	free(seen);
	return counts;
}

static void long_streams_come_out_as_when_everything_is_compared(void **state)
{
	enum { ROWS = 600 };
	static char text[ROWS * 32];
	static double angles[ROWS];
	size_t length = (size_t)snprintf(text, sizeof(text), "class_id\tprompt\n");
	uint32_t random = 12345;

	(void)state;
	/* Many are near each other, so that lists of the nearest end before enough of them are found that were stored. */
	for (size_t i = 0; i < ROWS; i++) {
		random = random * 1664525 + 1013904223;
		angles[i] = (double)(random >> 8) / (double)(1 << 24) * 300;
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%u\tq%zu\n", (unsigned)(angles[i] / 7), i);
	}
	struct evaluate_set *set = NULL;
	char mistake[100];
	assert_int_equal(evaluate_set_read((struct slice){text, length}, ROWS, &set, mistake, sizeof(mistake)), 0);
	struct evaluate_vectors vectors = vectors_of(angles, ROWS);
	struct evaluate_bench bench;
	assert_int_equal(evaluate_bench_init(&bench, set, &vectors, NULL), 0);
	for (int i = 0; i < 40; i++) {
		/* Thresholds lie between the products, which floats would turn over. */
		const struct policy policy = {.threshold = 0.5 + 0.0123457 * i,
					      .calibrated = i % 2,
					      .score_threshold = 0.7 + 0.0098765 * i,
					      .margin = 0.5,
					      .margin_floor = 0.6,
					      .minimum = 0.55};
		struct evaluate_counts fast = evaluate_run(&bench, &policy), slow = run_slowly(set, angles, &policy);
		assert_int_equal(fast.repeats, slow.repeats);
		assert_int_equal(fast.right, slow.right);
		assert_int_equal(fast.wrong, slow.wrong);
	}
	evaluate_bench_deinit(&bench);
	evaluate_vectors_deinit(&vectors);
	evaluate_set_destroy(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_line_says_what_the_columns_are),
		cmocka_unit_test(a_mistake_has_its_line),
		cmocka_unit_test(halves_are_streams_of_their_own),
		cmocka_unit_test(only_what_was_not_served_is_stored),
		cmocka_unit_test(a_text_without_a_vector_is_only_matched_exactly),
		cmocka_unit_test(guards_veto_here_as_in_the_daemon),
		cmocka_unit_test(long_streams_come_out_as_when_everything_is_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
