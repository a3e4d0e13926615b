/* The settings of the calibrated rule come, each on its own, from the first of: the file or Redis, the certificate in force, what
 * ships for the embedder. Where one is missing, the plain rule holds. */
#include "policy.h"

#include "certificate.h"
#include "config.h"

#include <string.h>

/* Chosen on one half of a stream of questions and confirmed on the other; `semcachectl evaluate` prints the curve. */
static const struct {
	const char *model;
	struct calibration calibration;
} shipped[] = {
	{"use-multilingual-v3",
	 {.score_threshold = 0.965, .margin = 0.5, .margin_floor = 0.70, .minimum = 0.70}},
};

const struct calibration *policy_shipped(const char *model)
{
	for (size_t i = 0; model && i < sizeof(shipped) / sizeof(shipped[0]); i++)
		if (strcmp(shipped[i].model, model) == 0)
			return &shipped[i].calibration;
	return NULL;
}

/* Takes the values that the namespace sets itself. Returns whether it sets all, and whether it sets any. */
static bool take_own(const struct config_namespace *space, struct calibration *out, bool *is_any)
{
	const double own[] = {space->score_threshold, space->margin, space->margin_floor, space->minimum};
	double *const fields[] = {&out->score_threshold, &out->margin, &out->margin_floor, &out->minimum};
	bool is_whole = true;

	*is_any = false;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (own[i] > CONFIG_NONE) {
			*fields[i] = own[i];
			*is_any = true;
		} else {
			is_whole = false;
		}
	}
	return is_whole;
}

static enum origin origin_of(enum config_origin origin)
{
	static const enum origin origins[] = {
		[CONFIG_ORIGIN_DEFAULT] = ORIGIN_default,
		[CONFIG_ORIGIN_FILE] = ORIGIN_file,
		[CONFIG_ORIGIN_REDIS] = ORIGIN_redis,
	};

	return origins[origin];
}

static void calibrate(const struct config *config, const struct config_namespace *space, struct policy *policy)
{
	const struct calibration *base = space->certificate      ? &space->certificate->calibration
					 : space->is_uncertified ? NULL
								 : policy_shipped(config->embedder.model);
	struct calibration calibration = base ? *base : (struct calibration){0};
	bool is_any;
	bool is_whole = take_own(space, &calibration, &is_any);

	if (!base && !is_whole)
		return;
	policy->calibrated = true;
	policy->score_threshold = calibration.score_threshold;
	policy->margin = calibration.margin;
	policy->margin_floor = calibration.margin_floor;
	policy->minimum = calibration.minimum;
	policy->weight = calibration.weight;
	policy->certificate_ms = space->certificate && !is_any ? space->certificate->created_ms : 0;
	policy->origin = is_any               ? origin_of(space->score_origin)
			 : space->certificate ? ORIGIN_certificate
					      : ORIGIN_shipped;
}

struct policy policy_usual(const struct config *config, const struct config_namespace *space)
{
	struct policy policy = {
		.threshold = space->threshold,
		.exact_only = space->mode == CONFIG_MODE_EXACT,
		.shadow = space->mode == CONFIG_MODE_SHADOW,
		.guards_on = space->guards.on,
		.guards_shadow = space->guards.shadow,
		.origin = origin_of(space->threshold_origin),
	};

	if (space->mode == CONFIG_MODE_CALIBRATED)
		calibrate(config, space, &policy);
	return policy;
}

struct policy policy_of(const struct config *config, const struct config_namespace *space, const struct request *request)
{
	struct policy policy = policy_usual(config, space);

	policy.exact_only = policy.exact_only || request->mode_exact;
	policy.refresh = request->cache == CACHE_REFRESH;
	policy.has_max_age = request->has_max_age;
	policy.max_age_s = request->max_age_s;
	if (request->has_threshold) {
		policy.threshold = request->threshold;
		policy.calibrated = false;
		policy.origin = ORIGIN_call;
	}
	return policy;
}
