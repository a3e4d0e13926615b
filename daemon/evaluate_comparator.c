/* pairs, as many of each label ──> both questions asked, the first one twice ──> answers compared ──> errors with their intervals
 *
 *   label 1, called different: false_different        label 0, called the same: false_same
 *   two answers to one question, called different: the zero point, which no comparison of answers can be better than
 *
 * What can go wrong: the model or the embedder does not answer; answers that are not whole or too long are not comparable, as in the
 * daemon, and counted apart. */
#include "evaluate_comparator.h"

#include "../proto/error.h"
#include "comparison.h"
#include "config.h"
#include "evaluate_answers.h"
#include "evaluate_options.h"
#include "evaluate_vectors.h"
#include "index.h"
#include "interval.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CONFIDENCE 0.95
/* The thresholds of the curve, in hundredths. */
#define CURVE_FIRST 50
#define CURVE_LAST 95
#define CURVE_STEP 5

enum kind { FALSE_SAME, FALSE_DIFFERENT, SAME_QUESTION, KINDS };

static const char *const keys[KINDS] = {"false_same", "false_different", "same_question"};
static const char *const texts[KINDS] = {"different, called the same", "the same, called different",
					 "one question twice, called different"};

/* One pair's questions are asked as 3 i, 3 i + 1, and 3 i + 2: the first one again. */
struct measuring {
	const struct evaluate_options *options;
	const struct config *config;
	const struct config_namespace *space;
	struct evaluate_asking how;
	const struct evaluate_row **rows;
	size_t count;
	struct slice *questions, *trimmed;
	struct evaluate_answer *answers;
	struct evaluate_vectors vectors;
	double *similarities[2]; /* of each pair: of its two questions, of the first one twice; NAN = not comparable */
	double threshold;
};

struct error_count {
	uint64_t wrong, count;
};

/* ---- which pairs ---- */

/* The first of each label, as many of the one as of the other if there are that many. */
static void choose(struct measuring *m, const struct evaluate_set *set)
{
	size_t most = m->options->limit ? m->options->limit : set->row_count, of[2] = {0, 0};

	for (size_t i = 0; i < set->row_count; i++)
		of[set->rows[i].same]++;
	size_t least = of[0] < of[1] ? of[0] : of[1];
	size_t half = least < most / 2 ? most - least : most - most / 2;
	for (size_t i = 0, taken[2] = {0, 0}; i < set->row_count && m->count < most; i++)
		if (taken[set->rows[i].same]++ < half)
			m->rows[m->count++] = &set->rows[i];
	for (size_t i = 0; i < m->count; i++) {
		m->questions[3 * i] = m->questions[3 * i + 2] = set->texts[m->rows[i]->stored];
		m->questions[3 * i + 1] = set->texts[m->rows[i]->asked];
	}
}

/* ---- the comparison ---- */

static double compare(const struct measuring *m, size_t a, size_t b)
{
	const struct evaluate_vectors *vectors = &m->vectors;
	size_t max_bytes = (size_t)m->config->embedder.max_bytes;

	if (!m->answers[a].whole || !m->answers[b].whole || m->trimmed[a].length > max_bytes ||
	    m->trimmed[b].length > max_bytes)
		return (double)NAN;
	if (slice_equal(m->trimmed[a], m->trimmed[b]))
		return 1;
	if (!vectors->rows || !vectors->has[a] || !vectors->has[b])
		return (double)NAN;
	return index_cosine(vectors->rows + a * vectors->stride, vectors->rows + b * vectors->stride, vectors->dimensions);
}

static int make_similarities(struct measuring *m, char *mistake, size_t mistake_size)
{
	size_t count = 3 * m->count;
	int error = evaluate_answers_make(&m->how, m->questions, count, &m->answers, mistake, mistake_size);

	if (error)
		return error;
	for (size_t i = 0; i < count; i++) {
		m->trimmed[i] = comparison_trim(buffer_slice(&m->answers[i].text));
		if (!m->trimmed[i].data)
			m->trimmed[i] = SLICE("");
	}
	error = evaluate_vectors_make(m->config, m->trimmed, count, &m->vectors, mistake, mistake_size);
	for (size_t i = 0; !error && i < m->count; i++) {
		m->similarities[0][i] = compare(m, 3 * i, 3 * i + 1);
		m->similarities[1][i] = compare(m, 3 * i, 3 * i + 2);
	}
	return error;
}

static struct error_count count_errors(const struct measuring *m, enum kind kind, double threshold)
{
	struct error_count errors = {0, 0};

	for (size_t i = 0; i < m->count; i++) {
		double similarity = m->similarities[kind == SAME_QUESTION][i];
		if (isnan(similarity) || (kind != SAME_QUESTION && m->rows[i]->same != (kind == FALSE_DIFFERENT)))
			continue;
		errors.count++;
		errors.wrong += (similarity >= threshold) == (kind == FALSE_SAME);
	}
	return errors;
}

static size_t count_incomparable(const struct measuring *m)
{
	size_t count = 0;

	for (size_t i = 0; i < m->count; i++)
		count += isnan(m->similarities[0][i]) != 0;
	return count;
}

/* ---- the report ---- */

static double percent(struct error_count errors)
{
	return errors.count ? 100 * (double)errors.wrong / (double)errors.count : 0;
}

static void print_text(const struct measuring *m)
{
	printf("answers of %.*s, compared at %g (embedder %s), %zu pairs, %zu not comparable\n\n%-38s %7s %7s %8s %20s\n",
	       (int)m->how.model.length, m->how.model.data, m->threshold, m->vectors.embedder, m->count,
	       count_incomparable(m), "", "wrong", "of", "%", "95 % interval");
	for (int kind = 0; kind < KINDS; kind++) {
		struct error_count errors = count_errors(m, (enum kind)kind, m->threshold);
		double low, high;
		interval_both(errors.wrong, errors.count, CONFIDENCE, &low, &high);
		printf("%-38s %7llu %7llu %8.2f %8.2f to %8.2f\n", texts[kind], (unsigned long long)errors.wrong,
		       (unsigned long long)errors.count, percent(errors), 100 * low, 100 * high);
	}
	printf("\n%-12s %20s %20s %20s\n", "threshold", "false same %", "false different %", "one question %");
	for (int i = CURVE_FIRST; i <= CURVE_LAST; i += CURVE_STEP) {
		printf("%-12.2f", i / 100.0);
		for (int kind = 0; kind < KINDS; kind++)
			printf(" %20.2f", percent(count_errors(m, (enum kind)kind, i / 100.0)));
		putchar('\n');
	}
}

static int print_json(const struct measuring *m)
{
	struct json_object *report = json_object_new_object(), *points = json_object_new_array();

	json_object_object_add(report, "model", json_object_new_string_len(m->how.model.data, (int)m->how.model.length));
	json_object_object_add(report, "embedder", json_object_new_string(m->vectors.embedder));
	json_object_object_add(report, "threshold", json_object_new_double(m->threshold));
	json_object_object_add(report, "pairs", json_object_new_uint64(m->count));
	json_object_object_add(report, "not_comparable", json_object_new_uint64(count_incomparable(m)));
	for (int kind = 0; kind < KINDS; kind++) {
		struct error_count errors = count_errors(m, (enum kind)kind, m->threshold);
		struct json_object *its = json_object_new_object();
		double low, high;
		interval_both(errors.wrong, errors.count, CONFIDENCE, &low, &high);
		json_object_object_add(its, "wrong", json_object_new_uint64(errors.wrong));
		json_object_object_add(its, "count", json_object_new_uint64(errors.count));
		json_object_object_add(its, "pct", json_object_new_double(percent(errors)));
		json_object_object_add(its, "low_pct", json_object_new_double(100 * low));
		json_object_object_add(its, "high_pct", json_object_new_double(100 * high));
		json_object_object_add(report, keys[kind], its);
	}
	for (int i = CURVE_FIRST; i <= CURVE_LAST; i += CURVE_STEP) {
		struct json_object *point = json_object_new_object();
		json_object_object_add(point, "threshold", json_object_new_double(i / 100.0));
		for (int kind = 0; kind < KINDS; kind++)
			json_object_object_add(point, keys[kind],
					       json_object_new_double(percent(count_errors(m, (enum kind)kind, i / 100.0))));
		json_object_array_add(points, point);
	}
	json_object_object_add(report, "points", points);
	puts(json_object_to_json_string_ext(report, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(report);
	return 0;
}

static int fail(const char *text, int status)
{
	(void)fprintf(stderr, "semcached: %s\n", text);
	return status;
}

/* The first line says whose they are, each other one a setting. */
static int write_out(const struct measuring *m)
{
	FILE *file = fopen(m->options->out, "we");

	if (!file)
		return fail("--out: the file cannot be written", EVALUATE_FAILED);
	(void)fprintf(file, "namespace %s\n", m->options->namespace_name);
	for (int kind = 0; kind < SAME_QUESTION; kind++) {
		struct error_count errors = count_errors(m, (enum kind)kind, m->threshold);
		if (errors.count > 0)
			(void)fprintf(file, "comparator_%s %llu/%llu\n", keys[kind], (unsigned long long)errors.wrong,
				      (unsigned long long)errors.count);
	}
	return fclose(file) == 0 ? EXIT_SUCCESS : fail("--out: the file cannot be written", EVALUATE_FAILED);
}

/* ---- all of it ---- */

static int measure(struct measuring *m, const struct evaluate_set *set)
{
	char mistake[256];

	choose(m, set);
	int error = make_similarities(m, mistake, sizeof(mistake));
	if (error)
		return fail(mistake, error == ERROR_UNAVAILABLE ? EVALUATE_ABSENT : EVALUATE_FAILED);
	if (m->options->json)
		(void)print_json(m);
	else
		print_text(m);
	return m->options->out ? write_out(m) : EXIT_SUCCESS;
}

int evaluate_comparator(const struct evaluate_options *options, const struct config *config,
			const struct config_namespace *space, const struct evaluate_set *set)
{
	struct measuring m = {
		.options = options,
		.config = config,
		.space = space,
		.how = {.config = config, .system = options->system, .temperature = options->temperature},
		.threshold = options->compare_threshold > CONFIG_NONE ? options->compare_threshold
								      : space->compare_threshold,
	};
	size_t room = set->row_count + 1;
	int status = EVALUATE_FAILED;

	if (set->kind != EVALUATE_PAIRS)
		return fail("--comparator needs labelled pairs", EVALUATE_DATA);
	m.how.upstream = config_upstream_for(config, slice_of(options->model), &m.how.model);
	if (!m.how.upstream)
		return fail("no upstream serves the model", EVALUATE_CONFIG);
	m.rows = calloc(room, sizeof(m.rows[0]));
	m.questions = calloc(3 * room, sizeof(m.questions[0]));
	m.trimmed = calloc(3 * room, sizeof(m.trimmed[0]));
	for (size_t i = 0; i < 2; i++)
		m.similarities[i] = calloc(room, sizeof(double));
	if (m.rows && m.questions && m.trimmed && m.similarities[0] && m.similarities[1])
		status = measure(&m, set);
	else
		(void)fail(error_text(ERROR_MEMORY), EVALUATE_FAILED);
	evaluate_answers_free(m.answers, 3 * m.count);
	evaluate_vectors_deinit(&m.vectors);
	free(m.rows);
	free(m.questions);
	free(m.trimmed);
	free(m.similarities[0]);
	free(m.similarities[1]);
	return status;
}
