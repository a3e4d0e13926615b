/* The same figures three times: a table, JSON, a drawing. A percentage never stands without what it is of. */
#include "evaluate_report.h"

#include "../proto/error.h"
#include "config.h"
#include "config_table.h"
#include "evaluate_options.h"
#include "interval.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONFIDENCE 0.95

static const char *const modes[] = {
	[CONFIG_MODE_EXACT] = "exact",
	[CONFIG_MODE_SHADOW] = "shadow",
	[CONFIG_MODE_THRESHOLD] = "threshold",
	[CONFIG_MODE_CALIBRATED] = "calibrated",
};

static double percent(size_t part, size_t of)
{
	return of ? 100.0 * (double)part / (double)of : NAN;
}

static bool is_pairs(const struct evaluate_report *report)
{
	return report->set->kind == EVALUATE_PAIRS;
}

/* ---- the table ---- */

/* "47.8 % (2884/6037)", or "-". */
static void cell_print(size_t part, size_t of, int digits, int width)
{
	char text[64];

	if (of)
		(void)snprintf(text, sizeof(text), "%.*f %% (%zu/%zu)", digits, percent(part, of), part, of);
	else
		(void)snprintf(text, sizeof(text), "-");
	(void)printf("%-*s", width, text);
}

static void point_print(const struct evaluate_report *report, const char *name, const struct evaluate_point *point)
{
	const struct evaluate_counts *counts = &point->counts;
	size_t served = counts->right + counts->wrong;
	double low, high;

	(void)printf("%-10s%-10.3f", name, point->threshold);
	cell_print(counts->right, counts->repeats, 1, 22);
	cell_print(counts->wrong, counts->requests, 2, 22);
	if (is_pairs(report))
		cell_print(counts->wrong, counts->traps, 1, 22);
	cell_print(counts->wrong, served, 2, 20);
	if (served) {
		interval_both(counts->wrong, served, CONFIDENCE, &low, &high);
		(void)printf("%.2f - %.2f %%", 100 * low, 100 * high);
	} else {
		(void)putchar('-');
	}
	(void)putchar('\n');
}

static void head_print(const struct evaluate_report *report)
{
	const struct policy *policy = &report->policy;
	const struct evaluate_set *set = report->set;
	const char *mode = modes[report->space->mode];

	(void)printf("%s: %zu %s, %zu different questions", report->options->file, set->row_count,
		     is_pairs(report) ? "pairs" : "requests in order", set->text_count);
	if (report->not_compared)
		(void)printf(", %zu of them too long or refused by the embedder", report->not_compared);
	(void)printf("\nembedder %s, namespace %s, mode %s", report->config->embedder.model, report->options->namespace_name,
		     mode);
	if (report->space->mode == CONFIG_MODE_CALIBRATED && !policy->calibrated)
		(void)printf(" (without parameters for this embedder: as threshold)");
	else if (policy->calibrated && is_pairs(report))
		(void)printf(" (each pair is a lone entry: the plain threshold holds)");
	else if (policy->calibrated)
		(void)printf(", margin %g, margin_floor %g, minimum %g (%s)", policy->margin, policy->margin_floor,
			     policy->minimum, origin_name(policy->origin));
	if (policy->calibrated && policy->weight > 0 && !is_pairs(report))
		(void)printf("\nsecond opinion %s, weight %g", report->config->second_opinion.model, policy->weight);
	(void)printf("\nguards on:");
	for (int guard = 0; guard < GUARD_COUNT; guard++)
		if (policy->guards_on & GUARD_BIT(guard))
			(void)printf(" %s", guard_name((enum guard)guard));
	(void)printf("%s\n\n", policy->guards_on ? "" : " none");
}

static void guards_print(const struct evaluate_report *report)
{
	const struct evaluate_counts *none = &report->unguarded.counts;

	(void)printf("\nguards, each alone against none, at %.3f\n%-14s%-24s%s\n", report->shipped.threshold, "",
		     "hits lost", "wrong answers saved");
	for (int guard = 0; guard < GUARD_COUNT; guard++) {
		const struct evaluate_counts *alone = &report->guards[guard].counts;
		(void)printf("%-14s%-24ld%ld\n", guard_name((enum guard)guard), (long)none->right - (long)alone->right,
			     (long)none->wrong - (long)alone->wrong);
	}
	(void)printf("%-14s%-24ld%ld\n", "those on", (long)none->right - (long)report->shipped.counts.right,
		     (long)none->wrong - (long)report->shipped.counts.wrong);
	(void)printf("%-14s%-24zu%zu\n", "out of", none->right, none->wrong);
}

int evaluate_report_table(const struct evaluate_report *report)
{
	head_print(report);
	(void)printf("%-10s%-10s%-22s%-22s", "", report->by_score ? "score" : "threshold",
		     is_pairs(report) ? "hits (of 1s)" : "hits (of repeats)", "wrong (of all)");
	if (is_pairs(report))
		(void)printf("%-22s", "traps (of 0s)");
	(void)printf("%-20s%s\n", "false (of served)", "95 %");
	/* One in four is enough to look at. */
	for (size_t i = 0; i < report->point_count; i += 4)
		point_print(report, "", &report->points[i]);
	(void)putchar('\n');
	point_print(report, "in force", &report->shipped);
	point_print(report, "no guards", &report->unguarded);
	if (report->has_tuned)
		point_print(report, "chosen on", &report->tuned);
	if (report->has_best)
		point_print(report, report->has_tuned ? "measured" : "best", &report->best);
	else if (!isnan(report->options->max_wrong) || !isnan(report->options->max_traps))
		(void)printf("no threshold keeps what was asked for\n");
	guards_print(report);
	return 0;
}

/* ---- JSON ---- */

static struct json_object *number(double value, const char *format)
{
	char text[64];

	if (isnan(value))
		return NULL;
	(void)snprintf(text, sizeof(text), format, value);
	return json_object_new_double_s(value, text);
}

/* Adds a member; one that could not be made is null. */
static void add(struct json_object *map, const char *key, struct json_object *value)
{
	if (json_object_object_add(map, key, value) != 0)
		json_object_put(value);
}

static void add_count(struct json_object *map, const char *key, size_t count)
{
	add(map, key, json_object_new_int64((int64_t)count));
}

static struct json_object *point_json(const struct evaluate_report *report, const struct evaluate_point *point)
{
	const struct evaluate_counts *counts = &point->counts;
	size_t served = counts->right + counts->wrong;
	struct json_object *map = json_object_new_object();
	double low = NAN, high = NAN;

	if (!map)
		return NULL;
	if (served)
		interval_both(counts->wrong, served, CONFIDENCE, &low, &high);
	add(map, "threshold", number(point->threshold, "%.6g"));
	add(map, "hits_pct", number(percent(counts->right, counts->repeats), "%.4f"));
	add(map, "wrong_pct", number(percent(counts->wrong, counts->requests), "%.4f"));
	add(map, "traps_pct", is_pairs(report) ? number(percent(counts->wrong, counts->traps), "%.4f") : NULL);
	add(map, "false_hit_rate_pct", number(percent(counts->wrong, served), "%.4f"));
	add(map, "false_hit_rate_low_pct", number(100 * low, "%.4f"));
	add(map, "false_hit_rate_high_pct", number(100 * high, "%.4f"));
	add_count(map, "right", counts->right);
	add_count(map, "wrong", counts->wrong);
	add_count(map, "served", served);
	add_count(map, "repeats", counts->repeats);
	add(map, "traps", is_pairs(report) ? json_object_new_int64((int64_t)counts->traps) : NULL);
	add_count(map, "requests", counts->requests);
	return map;
}

static struct json_object *points_json(const struct evaluate_report *report)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; list && i < report->point_count; i++) {
		struct json_object *map = point_json(report, &report->points[i]);
		if (json_object_array_add(list, map) != 0)
			json_object_put(map);
	}
	return list;
}

static struct json_object *guards_json(const struct evaluate_report *report)
{
	const struct evaluate_counts *none = &report->unguarded.counts;
	struct json_object *list = json_object_new_array();

	for (int guard = 0; list && guard < GUARD_COUNT; guard++) {
		const struct evaluate_counts *alone = &report->guards[guard].counts;
		struct json_object *map = json_object_new_object();
		if (!map)
			break;
		add(map, "guard", json_object_new_string(guard_name((enum guard)guard)));
		add(map, "on", json_object_new_boolean((report->policy.guards_on & GUARD_BIT(guard)) != 0));
		add(map, "hits_lost", json_object_new_int64((int64_t)none->right - (int64_t)alone->right));
		add(map, "wrong_saved", json_object_new_int64((int64_t)none->wrong - (int64_t)alone->wrong));
		add(map, "alone", point_json(report, &report->guards[guard]));
		if (json_object_array_add(list, map) != 0)
			json_object_put(map);
	}
	return list;
}

static void parameters_add(const struct evaluate_report *report, struct json_object *map)
{
	const struct policy *policy = &report->policy;
	struct json_object *parameters = json_object_new_object();

	add(map, "parameters", parameters);
	if (!parameters)
		return;
	add(parameters, "threshold", number(policy->threshold, "%.6g"));
	if (!policy->calibrated)
		return;
	add(parameters, "score_threshold", number(policy->score_threshold, "%.6g"));
	add(parameters, "margin", number(policy->margin, "%.6g"));
	add(parameters, "margin_floor", number(policy->margin_floor, "%.6g"));
	add(parameters, "minimum", number(policy->minimum, "%.6g"));
	add(parameters, "origin", json_object_new_string(origin_name(policy->origin)));
}

int evaluate_report_json(const struct evaluate_report *report)
{
	struct json_object *map = json_object_new_object();

	if (!map)
		return ERROR_MEMORY;
	add(map, "file", json_object_new_string(report->options->file));
	add(map, "kind", json_object_new_string(is_pairs(report) ? "pairs" : "stream"));
	add(map, "namespace", json_object_new_string(report->options->namespace_name));
	add(map, "mode", json_object_new_string(modes[report->space->mode]));
	add(map, "threshold_of", json_object_new_string(report->by_score ? "score" : "similarity"));
	add(map, "model", json_object_new_string(report->config->embedder.model));
	add(map, "embedder", json_object_new_string(report->embedder));
	add_count(map, "requests", report->set->row_count);
	add_count(map, "questions", report->set->text_count);
	add_count(map, "not_compared", report->not_compared);
	parameters_add(report, map);
	add(map, "points", points_json(report));
	add(map, "shipped", point_json(report, &report->shipped));
	add(map, "without_guards", point_json(report, &report->unguarded));
	add(map, "best", report->has_best ? point_json(report, &report->best) : NULL);
	add(map, "tuned", report->has_tuned ? point_json(report, &report->tuned) : NULL);
	add(map, "guards", guards_json(report));
	const char *text = json_object_to_json_string_ext(map, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
	int error = text ? 0 : ERROR_MEMORY;
	if (text)
		(void)printf("%s\n", text);
	json_object_put(map);
	return error;
}
