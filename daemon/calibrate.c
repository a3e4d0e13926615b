/* options ──> configuration ──> file and labels ──> calibrate_find() ──> certificate, or a refusal with what is missing
 *
 * A pair of a file stands for a hit on a lone entry, whose score has no margin, so that it counts only for the weight 0;
 * a stream is run once for each threshold and weight. Where a second opinion is to be had, a stream is run with it, and is all
 * there is: of the neighbours of other labels no opinion is known. What can go wrong ends it as in evaluate.c. */
#include "calibrate.h"

#include "../proto/error.h"
#include "../proto/identity.h"
#include "calibrate_find.h"
#include "calibrate_labels.h"
#include "calibrate_report.h"
#include "config.h"
#include "evaluate_options.h"
#include "evaluate_run.h"
#include "guard.h"
#include "settings.h"
#include "store.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

/* Of an embedder for which nothing ships. */
#define MARGIN_FLOOR 0.7
#define MINIMUM 0.7
/* No similarity is so large: a lone entry is not the score's business. */
#define NEVER 2.0

struct calibrating {
	const struct evaluate_options *options;
	struct config *config;
	struct config_namespace *space;
	struct evaluate_set *set;
	struct evaluate_vectors vectors, second;
	struct evaluate_bench bench;
	struct calibrate_labels labels;
	struct calibration base; /* margin_floor, minimum and weight */
	double comparator_error; /* NAN = not known */
};

static int fail(const char *text, int status)
{
	(void)fprintf(stderr, "semcached: %s\n", text);
	return status;
}

/* ---- what would be served ---- */

static void count_label(const struct calibrating *c, const struct calibrate_label *label, double margin, double threshold,
			struct calibrate_count *count)
{
	double score = label->similarity;

	if (margin > 0 && isnan(label->next))
		return;
	if (margin > 0)
		score += margin * (score - fmax(c->base.margin_floor, label->next));
	if (!(score >= threshold && label->similarity >= c->base.minimum))
		return;
	count->served++;
	count->wrong += !label->right;
	count->compared += label->compared;
}

static struct calibrate_count count_served(void *data, double margin, double threshold)
{
	struct calibrating *c = data;
	struct calibrate_count count = {0};

	for (size_t i = 0; i < c->labels.count; i++)
		count_label(c, &c->labels.list[i], margin, threshold, &count);
	if (c->set && c->set->kind == EVALUATE_STREAM) {
		const struct policy policy = {
			.threshold = NEVER,
			.calibrated = true,
			.score_threshold = threshold,
			.margin = margin,
			.margin_floor = c->base.margin_floor,
			.minimum = c->base.minimum,
			.weight = c->base.weight,
			.guards_on = c->space->guards.on,
		};
		struct evaluate_counts counts = evaluate_run(&c->bench, &policy);
		/* What is asked again in the same words is no further evidence. */
		count.served += counts.decided;
		count.wrong += counts.decided_wrong;
	}
	return count;
}

/* ---- where labels come from ---- */

/* The pairs of the file that no guard vetoes are labels. */
static int take_pairs(struct calibrating *c)
{
	int error = 0;

	for (size_t i = 0; i < c->set->row_count && !error; i++) {
		const struct evaluate_row *row = &c->set->rows[i];
		const struct slice *texts = c->set->texts;
		if (row->asked == row->stored || !c->vectors.has[row->asked] || !c->vectors.has[row->stored] ||
		    guards_veto(texts[row->asked], texts[row->stored], c->space->guards.on, c->space->opposites))
			continue;
		const struct calibrate_label label = {c->bench.pairs[i].similarity, NAN, row->same, false};
		error = calibrate_labels_add(&c->labels, &label);
		c->labels.sources[LABEL_PAIRS]++;
	}
	return error;
}

static int read_set(struct calibrating *c, struct slice bytes)
{
	char mistake[256];
	int error = evaluate_set_read(bytes, c->options->max_questions, &c->set, mistake, sizeof(mistake));

	if (error == ERROR_MEMORY)
		return fail(error_text(error), EVALUATE_FAILED);
	if (error) {
		(void)fprintf(stderr, "%s:%s\n", c->options->file, mistake);
		return EVALUATE_DATA;
	}
	return -1;
}

/* Makes the file's vectors; without a file only the embedder's name. */
static int make_vectors(struct calibrating *c)
{
	char mistake[256];
	const struct slice *texts = c->set ? c->set->texts : NULL;
	int error = evaluate_vectors_make(c->config, texts, c->set ? c->set->text_count : 0, &c->vectors, mistake,
					  sizeof(mistake));

	if (error)
		return fail(mistake, error == ERROR_UNAVAILABLE ? EVALUATE_ABSENT : EVALUATE_FAILED);
	if (!c->set)
		return -1;
	if (c->base.weight > 0 &&
	    evaluate_vectors_second(c->config, texts, c->set->text_count, &c->second, mistake, sizeof(mistake)) != 0)
		return fail(mistake, EVALUATE_ABSENT);
	error = evaluate_bench_init(&c->bench, c->set, &c->vectors, c->space->opposites);
	c->bench.second = c->second.rows ? &c->second : NULL;
	if (!error && c->set->kind == EVALUATE_PAIRS)
		error = take_pairs(c);
	return error ? fail(error_text(error), EVALUATE_FAILED) : -1;
}

static int read_labels(struct calibrating *c)
{
	const struct evaluate_options *options = c->options;
	char mistake[256];

	if (options->only_pairs || c->config->redis.url[0] == '\0' || c->base.weight > 0)
		return -1;
	struct calibrate_labels_of of = {
		.config = c->config,
		.space = c->space,
		.namespace_name = options->namespace_name,
		.embedder = c->vectors.embedder,
		.comparator_error = options->comparator_error,
	};
	int error = calibrate_labels_read(&c->labels, &of, mistake, sizeof(mistake));
	c->comparator_error = of.comparator_error;
	if (!error)
		return -1;
	if (options->file)
		(void)fputs("semcached: --only-pairs leaves the labels in Redis alone\n", stderr);
	return fail(mistake, error == ERROR_MEMORY ? EVALUATE_FAILED : EVALUATE_ABSENT);
}

/* ---- the certificate ---- */

/* The kinds of labels, with a plus between; "stream" for those of a run. */
static void name_sources(const struct calibrating *c, char *out, size_t size)
{
	static const char *const names[CALIBRATE_SOURCES] = {
		[LABEL_FEEDBACK] = "feedback", [LABEL_ACCEPT] = "accept", [LABEL_CALLER] = "caller", [LABEL_AUDIT] = "audit",
		[LABEL_SHADOW] = "shadow",     [LABEL_JUDGE] = "judge",   [LABEL_PAIRS] = "pairs",
	};
	size_t length = 0;

	out[0] = '\0';
	if (c->set && c->set->kind == EVALUATE_STREAM)
		length = (size_t)snprintf(out, size, "stream");
	for (size_t i = 0; i < CALIBRATE_SOURCES && length < size; i++)
		if (c->labels.sources[i] > 0 && names[i])
			length += (size_t)snprintf(out + length, size - length, "%s%s", length ? "+" : "", names[i]);
}

static int certify(const struct calibrating *c, const struct calibrate_finding *finding, struct certificate *certificate)
{
	struct hasher *hasher = hasher_create(1 << 20);
	struct timeval now;
	int error = hasher ? settings_scope_rule(hasher, c->space, certificate->scope_rule) : ERROR_MEMORY;

	hasher_destroy(hasher);
	(void)gettimeofday(&now, NULL);
	certificate->calibration = c->base;
	certificate->calibration.score_threshold = finding->threshold;
	certificate->calibration.margin = finding->margin;
	memcpy(certificate->embedder, c->vectors.embedder, sizeof(certificate->embedder));
	memcpy(certificate->second_embedder, c->second.embedder, sizeof(certificate->second_embedder));
	certificate->bound = finding->bound;
	certificate->confidence = c->options->confidence;
	certificate->labels = finding->count.served;
	certificate->wrong = finding->count.wrong;
	certificate->created_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
	name_sources(c, certificate->source, sizeof(certificate->source));
	return error;
}

/* The first line says whose it is; certificate_read() passes it over. */
static int write_out(const struct calibrating *c, const struct certificate *certificate)
{
	FILE *file = fopen(c->options->out, "we");
	struct buffer text;

	if (!file)
		return fail("--out: the file cannot be written", EVALUATE_FAILED);
	buffer_init(&text, SETTINGS_CERTIFICATE_BYTES);
	int error = certificate_write(certificate, &text);
	if (!error)
		(void)fprintf(file, "namespace %s\n%s", c->options->namespace_name, text.data);
	buffer_deinit(&text);
	if (fclose(file) != 0 && !error)
		error = ERROR_INTERNAL;
	return error ? fail("--out: the certificate cannot be written", EVALUATE_FAILED) : EXIT_SUCCESS;
}

static int conclude(struct calibrating *c)
{
	const struct calibrate_terms terms = {
		.promise = c->options->bound,
		.confidence = c->options->confidence,
		.comparator_error = isnan(c->comparator_error) ? 0 : c->comparator_error,
		.count = count_served,
		.data = c,
	};
	struct calibrate_finding finding = calibrate_find(&terms);
	struct certificate certificate = {0};
	struct calibrate_report report = {.options = c->options,
					  .finding = &finding,
					  .labels = &c->labels,
					  .comparator_error = c->comparator_error,
					  .mode_calibrated = c->space->mode == CONFIG_MODE_CALIBRATED};

	if (finding.found) {
		if (certify(c, &finding, &certificate) != 0)
			return fail(error_text(ERROR_MEMORY), EVALUATE_FAILED);
		report.certificate = &certificate;
	}
	if (c->options->json ? calibrate_report_json(&report) : calibrate_report_text(&report))
		return fail(error_text(ERROR_MEMORY), EVALUATE_FAILED);
	if (!finding.found)
		return EVALUATE_FAILED;
	return c->options->out && !c->options->dry_run ? write_out(c, &certificate) : EXIT_SUCCESS;
}

/* ---- all of it ---- */

/* What is not looked for. */
static void set_base(struct calibrating *c)
{
	const struct config_namespace *space = c->space;
	bool with_second = c->set && c->set->kind == EVALUATE_STREAM && policy_has_second(c->config, space);
	const struct calibration *shipped = with_second ? policy_shipped_for(c->config, space)
							: policy_shipped(c->config->embedder.model);

	c->base = shipped ? *shipped
			  : (struct calibration){.margin_floor = MARGIN_FLOOR, .minimum = MINIMUM, .weight = POLICY_WEIGHT};
	if (space->margin_floor > CONFIG_NONE)
		c->base.margin_floor = space->margin_floor;
	if (space->minimum > CONFIG_NONE)
		c->base.minimum = space->minimum;
	if (space->opinion_weight > CONFIG_NONE)
		c->base.weight = space->opinion_weight;
	if (!with_second)
		c->base.weight = 0;
}

static int run(struct calibrating *c)
{
	struct slice bytes = {NULL, 0};
	int status = -1;

	if (c->options->file) {
		status = evaluate_file_read(c->options->file, &bytes);
		if (status < 0)
			status = read_set(c, bytes);
	}
	set_base(c);
	if (status < 0)
		status = make_vectors(c);
	if (status < 0)
		status = read_labels(c);
	if (status < 0)
		status = conclude(c);
	evaluate_bench_deinit(&c->bench);
	evaluate_vectors_deinit(&c->vectors);
	evaluate_vectors_deinit(&c->second);
	evaluate_set_destroy(c->set);
	calibrate_labels_deinit(&c->labels);
	free((void *)(uintptr_t)bytes.data);
	return status;
}

int calibrate_main(int argc, char **argv)
{
	struct evaluate_options options;
	struct calibrating c = {.options = &options, .comparator_error = (double)NAN};
	int status = evaluate_options_read(&options, EVALUATE_CALIBRATE, argc, argv);

	if (status >= 0)
		return status;
	(void)signal(SIGPIPE, SIG_IGN);
	status = evaluate_config_read(&options, &c.config, &c.space);
	if (status >= 0)
		return status;
	if (!options.file && (options.only_pairs || c.config->redis.url[0] == '\0'))
		status = fail("there are no labels: neither --pairs nor Redis", EVALUATE_USAGE);
	else
		status = run(&c);
	config_destroy(c.config);
	return status;
}
