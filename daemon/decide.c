#include "decide.h"

#include "index.h"

#include <math.h>

static const char *const reasons[] = {[REASON_NONE] = NULL,
#define X(name, text) [REASON_##name] = #name,
				      REASON_TABLE(X)
#undef X
#define X(name, text) [REASON_guard_##name] = "guard_" #name,
					      GUARD_TABLE(X)
#undef X
};

static const char *const origins[] = {
#define X(name) [ORIGIN_##name] = #name,
	ORIGIN_TABLE(X)
#undef X
};

const char *reason_name(enum reason reason)
{
	return reasons[reason];
}

const char *origin_name(enum origin origin)
{
	return origins[origin];
}

/* What holds for every stored answer, however it was found. */
static enum reason decide_age(uint64_t created_at_ms, uint64_t fresh_until_at_ms, const struct policy *policy,
			      uint64_t now_ms)
{
	if (policy->refresh)
		return REASON_refresh;
	if (now_ms >= fresh_until_at_ms)
		return REASON_expired;
	uint64_t age_ms = now_ms > created_at_ms ? now_ms - created_at_ms : 0;
	if (policy->has_max_age && age_ms > (uint64_t)policy->max_age_s * 1000)
		return REASON_max_age;
	return REASON_NONE;
}

static enum reason decide_pair(uint32_t vetoes, bool rejected, bool quarantined, uint32_t guards_on)
{
	if (quarantined)
		return REASON_quarantined;
	if (rejected)
		return REASON_rejected;
	vetoes &= guards_on;
	for (int guard = 0; vetoes && guard < GUARD_COUNT; guard++)
		if (vetoes & GUARD_BIT(guard))
			return REASON_guard_numbers + (enum reason)guard;
	return REASON_NONE;
}

double decide_least(const struct policy *policy)
{
	if (!policy->calibrated)
		return policy->threshold;
	/* The score that the nearest has when all others are under the floor, solved for its cosine; with a second opinion
	 * that agrees fully. */
	double s = (policy->score_threshold + policy->margin * policy->margin_floor) / (1 + policy->margin);
	double least = (s - policy->weight) / (1 - policy->weight);

	if (least < policy->minimum)
		least = policy->minimum;
	/* A lone entry needs no more than the plain rule asks for. */
	return least < policy->threshold ? least : policy->threshold;
}

/* Why a candidate cannot be served, however near it is. */
static enum reason why_not(const struct candidate *candidate, bool is_gone, const struct policy *policy, uint64_t now_ms)
{
	if (is_gone)
		return REASON_expired;
	enum reason reason = decide_pair(candidate->vetoes, candidate->rejected, candidate->quarantined, policy->guards_on);
	if (reason != REASON_NONE)
		return reason;
	return decide_age(candidate->created_at_ms, candidate->fresh_until_at_ms, policy, now_ms);
}

enum reason decide_why_not(const struct candidate *candidate, bool is_gone, const struct policy *policy, uint64_t now_ms)
{
	if (!(candidate->similarity >= decide_least(policy)))
		return REASON_below_threshold;
	return why_not(candidate, is_gone, policy, now_ms);
}

/* What the score is made of: both cosines, if there are two. */
static double value_of(const struct candidate *candidate, double weight)
{
	return weight > 0 ? (1 - weight) * candidate->similarity + weight * candidate->opinion : candidate->similarity;
}

/* The candidates that nothing but their score can keep from being served: the one with the largest value, and the next. */
struct ranking {
	bool has_best;
	size_t best;
	double value, next;
	size_t live;        /* candidates that are there and fresh, whether they could be served or not */
	bool lacks_opinion; /* one that counts has none */
	enum reason first;  /* why the nearest of the others cannot be served */
	size_t first_index;
};

static void rank_one(struct ranking *ranking, size_t index, double value)
{
	if (!ranking->has_best || value > ranking->value) {
		ranking->next = ranking->has_best ? ranking->value : -INFINITY;
		ranking->has_best = true;
		ranking->best = index;
		ranking->value = value;
	} else {
		ranking->next = fmax(ranking->next, value);
	}
}

static struct ranking rank(const struct candidate *candidates, size_t count, uint32_t gone, const struct policy *policy,
			   uint64_t now_ms, double weight)
{
	struct ranking ranking = {.next = -INFINITY};

	for (size_t i = 0; i < count; i++) {
		const struct candidate *candidate = &candidates[i];
		bool is_gone = gone & UINT32_C(1) << i;
		enum reason reason = why_not(candidate, is_gone, policy, now_ms);
		ranking.live += !is_gone && now_ms < candidate->fresh_until_at_ms;
		if (reason != REASON_NONE && ranking.first == REASON_NONE) {
			ranking.first = reason;
			ranking.first_index = i;
		}
		/* Written so that a similarity that is not a number is never served. */
		if (reason != REASON_NONE || !(candidate->similarity >= -1.0))
			continue;
		if (weight > 0 && isnan(candidate->opinion)) {
			ranking.lacks_opinion = ranking.lacks_opinion || candidate->similarity >= policy->margin_floor;
			continue;
		}
		rank_one(&ranking, i, value_of(candidate, weight));
	}
	return ranking;
}

/* Whether the best may be served by its value; fills in the score. */
static bool is_near_enough(const struct ranking *ranking, const struct candidate *best, const struct policy *policy,
			   struct decision *decision)
{
	decision->plain = !policy->calibrated || ranking->live < 2 || ranking->lacks_opinion;
	if (!ranking->has_best)
		return false;
	if (decision->plain) {
		decision->score = best->similarity;
		return best->similarity >= policy->threshold;
	}
	decision->next = fmax(policy->margin_floor, ranking->next);
	decision->score = ranking->value + policy->margin * (ranking->value - decision->next);
	return best->similarity >= policy->minimum && decision->score >= policy->score_threshold;
}

struct decision decide(const struct candidate *candidates, size_t count, uint32_t gone, const struct policy *policy,
		       uint64_t now_ms)
{
	struct decision decision = {.plain = !policy->calibrated};

	if (policy->refresh || policy->exact_only) {
		decision.reason = policy->refresh ? REASON_refresh : REASON_exact_only;
		return decision;
	}
	struct ranking ranking = rank(candidates, count, gone, policy, now_ms, policy->calibrated ? policy->weight : 0);
	if (ranking.lacks_opinion) {
		ranking = rank(candidates, count, gone, policy, now_ms, 0);
		ranking.lacks_opinion = true;
	}
	decision.index = ranking.best;
	if (is_near_enough(&ranking, &candidates[ranking.best], policy, &decision)) {
		decision.serve = !policy->shadow;
		decision.would_serve = policy->shadow;
		decision.reason = policy->shadow ? REASON_shadow : REASON_NONE;
		return decision;
	}
	decision.reason = ranking.has_best ? REASON_below_threshold : REASON_no_candidate;
	/* What is nearest is what the caller wonders about; where it is too far away anyway, that is the reason. */
	if (ranking.first != REASON_NONE && (!ranking.has_best || ranking.first_index < ranking.best)) {
		decision.index = ranking.first_index;
		decision.reason = decide_why_not(&candidates[decision.index], gone & UINT32_C(1) << decision.index, policy,
						 now_ms);
	}
	if (count > 0 && !ranking.has_best && decision.reason == REASON_no_candidate)
		decision.reason = REASON_below_threshold;
	return decision;
}

enum reason decide_exact(const struct entry *entry, const struct policy *policy, uint64_t now_ms)
{
	return decide_age(entry->created_at_ms, entry->fresh_until_at_ms, policy, now_ms);
}

/* Whether what an alias was made for would be served to this caller too. */
static bool is_accepted(const struct alias *alias, const struct policy *policy)
{
	if (alias->kind == ALIAS_ACCEPTED)
		return true;
	if (alias->kind == ALIAS_JUDGED)
		return policy->origin != ORIGIN_call || alias->similarity >= policy->threshold;
	if (policy->calibrated)
		return alias->similarity >= policy->minimum && alias->score >= policy->score_threshold;
	return alias->similarity >= policy->threshold;
}

enum reason decide_alias(const struct alias *alias, const struct pair_facts *facts, const struct entry *entry,
			 const struct policy *policy, uint64_t now_ms)
{
	if (policy->exact_only)
		return REASON_exact_only;
	if (policy->shadow && alias->kind != ALIAS_ACCEPTED)
		return REASON_shadow;
	if (!is_accepted(alias, policy))
		return REASON_below_threshold;
	uint32_t guards_on = alias->kind == ALIAS_ACCEPTED ? 0 : policy->guards_on;
	enum reason reason = decide_pair(facts->vetoes, facts->rejected, facts->quarantined, guards_on);
	return reason != REASON_NONE ? reason : decide_age(entry->created_at_ms, entry->fresh_until_at_ms, policy, now_ms);
}
