#include "decide.h"

#include "index.h"

static const char *const names[] = {[REASON_NONE] = NULL,
#define X(name, text) [REASON_##name] = #name,
				    REASON_TABLE(X)
#undef X
};

const char *reason_name(enum reason reason)
{
	return names[reason];
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

struct decision decide(const struct candidate *candidates, size_t count, uint32_t gone, const struct policy *policy,
		       uint64_t now_ms)
{
	enum reason first = REASON_NONE;

	if (policy->refresh)
		return (struct decision){.reason = REASON_refresh};
	if (policy->exact_only)
		return (struct decision){.reason = REASON_exact_only};
	for (size_t i = 0; i < count; i++) {
		const struct candidate *candidate = &candidates[i];
		enum reason reason = REASON_NONE;
		/* Written so that a similarity that is not a number is never served. */
		if (!(candidate->similarity >= policy->threshold))
			reason = REASON_below_threshold;
		else if (gone & UINT32_C(1) << i)
			reason = REASON_expired;
		else
			reason = decide_age(candidate->created_at_ms, candidate->fresh_until_at_ms, policy, now_ms);
		if (reason == REASON_NONE)
			return (struct decision){.serve = true, .index = i};
		if (first == REASON_NONE)
			first = reason;
	}
	return (struct decision){.reason = first != REASON_NONE ? first : REASON_no_candidate};
}

enum reason decide_exact(const struct entry *entry, const struct policy *policy, uint64_t now_ms)
{
	return decide_age(entry->created_at_ms, entry->fresh_until_at_ms, policy, now_ms);
}

enum reason decide_alias(const struct alias *alias, const struct entry *entry, const struct policy *policy, uint64_t now_ms)
{
	if (policy->exact_only)
		return REASON_exact_only;
	if (alias->kind != ALIAS_ACCEPTED && !(alias->score >= policy->threshold))
		return REASON_below_threshold;
	return decide_age(entry->created_at_ms, entry->fresh_until_at_ms, policy, now_ms);
}

bool decide_join(double similarity, const struct policy *policy)
{
	return !policy->refresh && !policy->exact_only && similarity >= policy->threshold;
}
