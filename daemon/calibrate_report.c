/* A certificate is printed whole; a refusal with the smallest bound that there is and what is missing. */
#include "calibrate_report.h"

#include "../proto/error.h"
#include "evaluate_options.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>

/* What labels of comparisons were worth, and what was not taken. */
static void labels_print(const struct calibrate_report *report)
{
	if (report->finding->count.compared > 0)
		(void)printf("%" PRIu64
			     " of them compared by their answers, with a wrong one called right in at most %.2f %%\n",
			     report->finding->count.compared, 100 * report->comparator_error);
	if (report->labels->left_out > 0)
		(void)printf("labels left out: %" PRIu64
			     ", of another embedder, or of comparisons whose error is not known%s\n",
			     report->labels->left_out,
			     isnan(report->comparator_error) ? " (evaluate --comparator measures it)" : "");
}

static void refusal_print(const struct calibrate_report *report)
{
	const struct calibrate_finding *finding = report->finding;
	const struct calibrate_count *count = &finding->count;

	(void)printf("refused: no threshold keeps at most %.2f %% false hits of hits at %.0f %% confidence\n",
		     100 * report->options->bound, 100 * report->options->confidence);
	if (count->served > 0)
		(void)printf("smallest bound: %.2f %%, at score %.3f with margin %g (%" PRIu64 " of %" PRIu64
			     " hits wrong)\n",
			     100 * finding->bound, finding->threshold, finding->margin, count->wrong, count->served);
	else
		(void)printf("smallest bound: none, no label is of what would be a hit\n");
	labels_print(report);
	if (finding->missing == UINT64_MAX && count->compared > 0 && report->comparator_error >= report->options->bound)
		(void)printf("no number of such labels would do: their comparison is wrong more often than is promised\n");
	else if (finding->missing == UINT64_MAX)
		(void)printf("no number of labels would do while so many are wrong\n");
	else
		(void)printf("missing: about %" PRIu64 " labels of hits, if no larger share of them is wrong\n",
			     finding->missing);
}

int calibrate_report_text(const struct calibrate_report *report)
{
	const struct certificate *certificate = report->certificate;

	if (!certificate) {
		refusal_print(report);
		return 0;
	}
	(void)printf("score_threshold %g, margin %g, margin_floor %g, minimum %g\n",
		     certificate->calibration.score_threshold, certificate->calibration.margin,
		     certificate->calibration.margin_floor, certificate->calibration.minimum);
	(void)printf("at most %.2f %% false hits of hits at %.0f %% confidence: %" PRIu64 " of %" PRIu64
		     " hits wrong (%s)\n",
		     100 * certificate->bound, 100 * certificate->confidence, certificate->wrong, certificate->labels,
		     certificate->source);
	labels_print(report);
	if (!report->mode_calibrated)
		(void)printf("it is used where the namespace's mode is calibrated, which it is not:\n"
			     "semcachectl config --namespace %s --set mode=calibrated\n",
			     report->options->namespace_name);
	return 0;
}

static void add(struct json_object *map, const char *key, struct json_object *value)
{
	if (json_object_object_add(map, key, value) != 0)
		json_object_put(value);
}

static void add_real(struct json_object *map, const char *key, double value)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%.6g", value);
	add(map, key, json_object_new_double_s(value, text));
}

static void add_count(struct json_object *map, const char *key, uint64_t value)
{
	add(map, key, value == UINT64_MAX ? NULL : json_object_new_int64((int64_t)value));
}

static struct json_object *certificate_json(const struct certificate *certificate)
{
	struct json_object *map = certificate ? json_object_new_object() : NULL;

	if (!map)
		return NULL;
	add_real(map, "score_threshold", certificate->calibration.score_threshold);
	add_real(map, "margin", certificate->calibration.margin);
	add_real(map, "margin_floor", certificate->calibration.margin_floor);
	add_real(map, "minimum", certificate->calibration.minimum);
	add_real(map, "weight", certificate->calibration.weight);
	add(map, "embedder", json_object_new_string(certificate->embedder));
	add(map, "second_embedder",
	    certificate->second_embedder[0] ? json_object_new_string(certificate->second_embedder) : NULL);
	add(map, "scope_rule", json_object_new_string(certificate->scope_rule));
	add_real(map, "bound_pct", 100 * certificate->bound);
	add(map, "bound_of", json_object_new_string("hits"));
	add_real(map, "confidence_pct", 100 * certificate->confidence);
	add_count(map, "labels", certificate->labels);
	add_count(map, "wrong", certificate->wrong);
	add_count(map, "created_ms", certificate->created_ms);
	add(map, "source", json_object_new_string(certificate->source));
	return map;
}

int calibrate_report_json(const struct calibrate_report *report)
{
	const struct calibrate_finding *finding = report->finding;
	struct json_object *map = json_object_new_object();

	if (!map)
		return ERROR_MEMORY;
	add(map, "namespace", json_object_new_string(report->options->namespace_name));
	add_real(map, "promise_pct", 100 * report->options->bound);
	add(map, "certificate", certificate_json(report->certificate));
	add(map, "refused", json_object_new_boolean(!finding->found));
	add_real(map, "bound_pct", 100 * finding->bound);
	add_real(map, "threshold", finding->threshold);
	add_real(map, "margin", finding->margin);
	add_count(map, "served", finding->count.served);
	add_count(map, "wrong", finding->count.wrong);
	add_count(map, "labels", report->labels->count);
	add_count(map, "labels_left_out", report->labels->left_out);
	add_count(map, "compared", finding->count.compared);
	if (isnan(report->comparator_error))
		add(map, "comparator_error_pct", NULL);
	else
		add_real(map, "comparator_error_pct", 100 * report->comparator_error);
	add_count(map, "labels_missing", finding->missing);
	const char *text = json_object_to_json_string_ext(map, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
	int error = text ? 0 : ERROR_MEMORY;
	if (text)
		(void)printf("%s\n", text);
	json_object_put(map);
	return error;
}
