/* options ──> configuration ──> file ──> vectors ──> one run for each threshold ──> the one in force, guards one by one
 * ──> report
 *
 * A half of a stream is a stream of its own: what the other half asked is not stored. What can go wrong ends it with one
 * line on stderr and its exit status: no configuration, no file, a mistake in it, no embedder. */
#include "evaluate.h"

#include "../proto/error.h"
#include "config.h"
#include "evaluate_comparator.h"
#include "evaluate_options.h"
#include "evaluate_report.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Thresholds are multiples of this, so that they are the numbers that people write. */
#define GRID 200.0
#define GRID_FIRST 100
#define GRID_LAST_SIMILARITY 199
#define GRID_LAST_SCORE 260

/* One set of questions, ready to be run. */
struct part {
	struct evaluate_set *set;
	uint32_t *of;
	struct evaluate_vectors vectors, second; /* those of the second embedder are only made where it has a say */
	struct evaluate_bench bench;
};

static void part_free(struct part *part)
{
	evaluate_bench_deinit(&part->bench);
	evaluate_vectors_deinit(&part->vectors);
	evaluate_vectors_deinit(&part->second);
	evaluate_set_destroy(part->set);
	free(part->of);
}

static struct policy policy_at(const struct evaluate_report *report, double threshold)
{
	struct policy policy = report->policy;

	/* There is no curve of exact matches. */
	policy.exact_only = false;
	if (report->by_score)
		policy.score_threshold = threshold;
	else
		policy.threshold = threshold;
	return policy;
}

/* ---- runs ---- */

/* Runs the thresholds of the grid. Returns how many there are. */
static size_t run_grid(struct evaluate_bench *bench, const struct evaluate_report *report, struct evaluate_point *points)
{
	size_t last = report->by_score ? GRID_LAST_SCORE : GRID_LAST_SIMILARITY, count = 0;

	for (size_t i = GRID_FIRST; i <= last && count < EVALUATE_POINTS; i++) {
		const struct policy policy = policy_at(report, (double)i / GRID);
		points[count++] = (struct evaluate_point){(double)i / GRID, evaluate_run(bench, &policy)};
	}
	return count;
}

static void run_in_force(struct evaluate_bench *bench, struct evaluate_report *report)
{
	struct policy policy = report->policy;
	double threshold = report->by_score ? policy.score_threshold : policy.threshold;

	report->shipped = (struct evaluate_point){threshold, evaluate_run(bench, &policy)};
	policy.guards_on = 0;
	report->unguarded = (struct evaluate_point){threshold, evaluate_run(bench, &policy)};
	for (int guard = 0; guard < GUARD_COUNT; guard++) {
		policy.guards_on = GUARD_BIT(guard);
		report->guards[guard] = (struct evaluate_point){threshold, evaluate_run(bench, &policy)};
	}
}

static bool is_within(size_t count, size_t of, double share)
{
	return isnan(share) || (double)count <= share * (double)of;
}

/* The point with the most right hits that keeps what was asked for; of equal ones the highest. Returns NULL if none keeps
 * it. */
static const struct evaluate_point *choose(const struct evaluate_options *options, const struct evaluate_point *points,
					   size_t count)
{
	const struct evaluate_point *best = NULL;

	for (size_t i = count; i-- > 0;) {
		const struct evaluate_counts *counts = &points[i].counts;
		if (is_within(counts->wrong, counts->requests, options->max_wrong) &&
		    is_within(counts->wrong, counts->traps, options->max_traps) &&
		    (!best || counts->right > best->counts.right))
			best = &points[i];
	}
	return best;
}

/* ---- parts ---- */

/* Takes the half, or all. */
static int part_make(struct part *part, const struct part *whole, enum evaluate_half half, const struct guard_words *words)
{
	int error = evaluate_set_half(whole->set, half, &part->set, &part->of);

	if (!error)
		error = evaluate_vectors_part(&whole->vectors, part->of, part->set->text_count, &part->vectors);
	if (!error && whole->second.has)
		error = evaluate_vectors_part(&whole->second, part->of, part->set->text_count, &part->second);
	if (!error)
		error = evaluate_bench_init(&part->bench, part->set, &part->vectors, words);
	part->bench.second = part->second.rows ? &part->second : NULL;
	return error;
}

/* Chooses the threshold on the tuning half, or on what is measured itself. */
static int find_best(struct evaluate_report *report, const struct part *whole, struct evaluate_bench *bench)
{
	const struct evaluate_options *options = report->options;
	struct part tune = {0};
	int error = 0;

	if (isnan(options->max_wrong) && isnan(options->max_traps))
		return 0;
	if (options->tune == EVALUATE_ALL) {
		const struct evaluate_point *best = choose(options, report->points, report->point_count);
		report->has_best = best != NULL;
		if (best)
			report->best = *best;
		return 0;
	}
	struct evaluate_point *points = calloc(EVALUATE_POINTS, sizeof(*points));
	error = points ? part_make(&tune, whole, options->tune, report->space->opposites) : ERROR_MEMORY;
	if (!error) {
		size_t count = run_grid(&tune.bench, report, points);
		const struct evaluate_point *best = choose(options, points, count);
		report->has_best = report->has_tuned = best != NULL;
		if (best) {
			const struct policy policy = policy_at(report, best->threshold);
			report->tuned = *best;
			report->best = (struct evaluate_point){best->threshold, evaluate_run(bench, &policy)};
		}
	}
	part_free(&tune);
	free(points);
	return error;
}

static int measure(struct evaluate_report *report, struct part *whole)
{
	const struct evaluate_options *options = report->options;
	struct part test = {0};
	struct part *measured = whole;
	int error;

	if (options->test != EVALUATE_ALL) {
		measured = &test;
		error = part_make(&test, whole, options->test, report->space->opposites);
	} else {
		error = evaluate_bench_init(&whole->bench, whole->set, &whole->vectors, report->space->opposites);
		whole->bench.second = whole->second.rows ? &whole->second : NULL;
	}
	if (!error) {
		report->set = measured->set;
		for (size_t i = 0; i < measured->set->text_count; i++)
			report->not_compared += !measured->vectors.has[i];
		report->point_count = run_grid(&measured->bench, report, report->points);
		run_in_force(&measured->bench, report);
		error = find_best(report, whole, &measured->bench);
	}
	if (!error)
		error = options->json ? evaluate_report_json(report) : evaluate_report_table(report);
	/* The drawing comes later, and only asks what kind of set it was. */
	report->set = whole->set;
	part_free(&test);
	return error;
}

/* ---- from the file to the report ---- */

static int fail(int error)
{
	(void)fprintf(stderr, "semcached: %s\n", error_text(error));
	return EVALUATE_FAILED;
}

/* Fills in what is in force. The score is compared only where there are others to be nearer than: not for pairs. */
static void set_policy(struct evaluate_report *report)
{
	const struct evaluate_options *options = report->options;

	report->policy = policy_usual(report->config, report->space);
	report->by_score = report->policy.calibrated && report->set->kind == EVALUATE_STREAM;
	if (options->threshold <= CONFIG_NONE)
		return;
	if (report->by_score)
		report->policy.score_threshold = options->threshold;
	else
		report->policy.threshold = options->threshold;
}

static int check_set(const struct evaluate_options *options, const struct evaluate_set *set)
{
	bool wants_half = options->tune != EVALUATE_ALL || options->test != EVALUATE_ALL;

	if (wants_half && (set->kind != EVALUATE_STREAM || !set->has_parity)) {
		(void)fprintf(stderr, "semcached: %s: --tune and --test need a stream whose class_id are numbers\n",
			      options->file);
		return EVALUATE_DATA;
	}
	if (!isnan(options->max_traps) && set->kind != EVALUATE_PAIRS) {
		(void)fprintf(stderr, "semcached: %s: --max-traps needs pairs\n", options->file);
		return EVALUATE_DATA;
	}
	return -1;
}

/* The vectors of the embedder, and those of the second one where it has a say: not for pairs, each of which is a lone
 * entry. */
static int make_vectors(const struct config *config, const struct config_namespace *space, struct part *whole, char *mistake,
			size_t mistake_size)
{
	const struct evaluate_set *set = whole->set;
	const struct policy policy = policy_usual(config, space);
	int error = evaluate_vectors_make(config, set->texts, set->text_count, &whole->vectors, mistake, mistake_size);

	if (error || !policy.calibrated || !(policy.weight > 0) || set->kind != EVALUATE_STREAM)
		return error;
	return evaluate_vectors_second(config, set->texts, set->text_count, &whole->second, mistake, mistake_size);
}

static int run_set(const struct evaluate_options *options, const struct config *config, const struct config_namespace *space,
		   struct part *whole)
{
	struct evaluate_report *report = calloc(1, sizeof(*report));
	char mistake[256];
	int status = check_set(options, whole->set);

	if (status >= 0 || !report) {
		free(report);
		return status >= 0 ? status : fail(ERROR_MEMORY);
	}
	int error = make_vectors(config, space, whole, mistake, sizeof(mistake));
	if (error) {
		(void)fprintf(stderr, "semcached: %s\n", mistake);
		free(report);
		return error == ERROR_UNAVAILABLE ? EVALUATE_ABSENT : EVALUATE_FAILED;
	}
	*report = (struct evaluate_report){.options = options, .config = config, .space = space, .set = whole->set};
	(void)snprintf(report->embedder, sizeof(report->embedder), "%s", whole->vectors.embedder);
	set_policy(report);
	error = measure(report, whole);
	status = error ? fail(error) : EXIT_SUCCESS;
	if (!error && options->plot && !evaluate_report_plot(report))
		status = EVALUATE_FAILED;
	free(report);
	return status;
}

static int run_file(const struct evaluate_options *options, const struct config *config,
		    const struct config_namespace *space)
{
	struct part whole = {0};
	struct slice bytes;
	char mistake[256];
	int status = evaluate_file_read(options->file, &bytes);

	if (status >= 0)
		return status;
	int error = evaluate_set_read(bytes, options->max_questions, &whole.set, mistake, sizeof(mistake));
	if (error == ERROR_MEMORY) {
		status = fail(error);
	} else if (error) {
		(void)fprintf(stderr, "%s:%s\n", options->file, mistake);
		status = EVALUATE_DATA;
	} else if (options->comparator) {
		status = evaluate_comparator(options, config, space, whole.set);
	} else {
		status = run_set(options, config, space, &whole);
	}
	part_free(&whole);
	free((void *)(uintptr_t)bytes.data);
	return status;
}

int evaluate_main(int argc, char **argv)
{
	struct evaluate_options options;
	struct config_namespace *space;
	struct config *config;
	int status = evaluate_options_read(&options, EVALUATE_EVALUATE, argc, argv);

	if (status >= 0)
		return status;
	(void)signal(SIGPIPE, SIG_IGN);
	status = evaluate_config_read(&options, &config, &space);
	if (status >= 0)
		return status;
	status = run_file(&options, config, space);
	config_destroy(config);
	if (status == EXIT_SUCCESS && (fflush(stdout) != 0 || ferror(stdout))) {
		(void)fputs("semcached: standard output cannot be written\n", stderr);
		return EVALUATE_FAILED;
	}
	return status;
}
