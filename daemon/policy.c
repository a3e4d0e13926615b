/* The settings of the calibrated rule come, each on its own, from the first of: the file or Redis, the certificate in force,
 * what ships for the embedder. Where one is missing, the plain rule holds. */
#include "policy.h"

#include "certificate.h"
#include "config.h"

#include <string.h>

/* Chosen on a public stream of questions so that about .6 % of all requests get a wrong answer; README, "Thresholds". */
static const struct {
	const char *model, *second; /* "" = without second opinion */
	struct calibration calibration;
} shipped[] = {
	{"use-multilingual-v3",
	 "multilingual-e5-small-centred",
	 {.score_threshold = 0.94, .margin = 0.5, .margin_floor = 0.50, .minimum = 0.70, .weight = POLICY_WEIGHT}},
	{"use-multilingual-v3", "", {.score_threshold = 0.965, .margin = 0.5, .margin_floor = 0.60, .minimum = 0.80}},
};

const struct calibration *policy_shipped_with(const char *model, const char *second)
{
	for (size_t i = 0; model && second && i < sizeof(shipped) / sizeof(shipped[0]); i++)
		if (strcmp(shipped[i].model, model) == 0 && strcmp(shipped[i].second, second) == 0)
			return &shipped[i].calibration;
	return NULL;
}

const struct calibration *policy_shipped(const char *model)
{
	return policy_shipped_with(model, "");
}

bool policy_has_second(const struct config *config, const struct config_namespace *space)
{
	return space->second_opinion && config->second_opinion.url && config->second_opinion.url[0];
}

const struct calibration *policy_shipped_for(const struct config *config, const struct config_namespace *space)
{
	return policy_shipped_with(config->embedder.model,
				   policy_has_second(config, space) ? config->second_opinion.model : "");
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
								 : policy_shipped_for(config, space);
	struct calibration calibration =
		base ? *base : (struct calibration){.weight = policy_has_second(config, space) ? POLICY_WEIGHT : 0};
	bool is_any;
	bool is_whole = take_own(space, &calibration, &is_any);

	if (space->opinion_weight > CONFIG_NONE && policy_has_second(config, space)) {
		calibration.weight = space->opinion_weight;
		is_any = true;
	}
	/* What was calibrated with second opinions says nothing without them. */
	if ((!base && !is_whole) || (calibration.weight > 0 && !policy_has_second(config, space)))
		return;
	policy->calibrated = true;
	policy->score_threshold = calibration.score_threshold;
	policy->margin = calibration.margin;
	policy->margin_floor = calibration.margin_floor;
	policy->minimum = calibration.minimum;
	policy->weight = calibration.weight;
	policy->certificate_ms = space->certificate && !is_any ? space->certificate->created_ms : 0;
	/* What a certificate promises of hits holds for no lone entry that has less than the score would need: it gains
	 * nothing from the margin. */
	if (space->certificate && !is_any && policy->threshold < policy->score_threshold)
		policy->threshold = policy->score_threshold;
	policy->origin = is_any ? origin_of(space->score_origin) : space->certificate ? ORIGIN_certificate : ORIGIN_shipped;
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
