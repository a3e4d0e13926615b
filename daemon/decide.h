/* Whether a stored answer may be served to a call: pure, no I/O, no allocation.
 *
 * The plain rule (mode `threshold`): the cosine to the nearest entry is at least `threshold`. The calibrated rule: a score of at
 * least `score_threshold`, and a cosine of at least `minimum` besides, where
 *
 *     score = s1 + margin * (s1 - s2),   s2 = the larger of `margin_floor` and the next nearest entry's s
 *
 * so that an entry that is nearer than all others counts for more than one of many that are alike. s is the cosine, or with a
 * second opinion the weighted mean of both cosines. A lone entry, and candidates that have no second opinion where one is asked
 * for, are decided by the plain rule. */
#ifndef DAEMON_DECIDE_H
#define DAEMON_DECIDE_H

#include "entry.h"
#include "guard.h"

#include <stddef.h>

struct candidate;

/* Why the nearest entry was not served: X(name on the wire, meaning). */
#define REASON_TABLE(X)                                                                                                     \
	X(no_candidate, "nothing is stored in this scope")                                                                  \
	X(below_threshold, "its similarity, or its score, is under the threshold in force")                                 \
	X(max_age, "it is older than the call allows")                                                                      \
	X(expired, "it has expired, or was removed meanwhile")                                                              \
	X(exact_only, "this question is not compared by meaning")                                                           \
	X(refresh, "the call asked for a new answer")                                                                       \
	X(rejected, "this pair of questions was said to be wrong")                                                          \
	X(quarantined, "the entry was said to be wrong for two questions")                                                  \
	X(verdicts_unknown, "what was said to be wrong has not been read from Redis yet")                                   \
	X(shadow, "the namespace only records what would be served")                                                        \
	X(embedder_unavailable, "the embedder did not answer")                                                              \
	X(search_unavailable, "the index could not be searched")

enum reason {
	REASON_NONE,
#define X(name, text) REASON_##name,
	REASON_TABLE(X)
#undef X
#define X(name, text) REASON_guard_##name,
		GUARD_TABLE(X)
#undef X
			REASON_COUNT
};

/* Returns the wire's word for `reason`; NULL for REASON_NONE. */
const char *reason_name(enum reason reason);

/* Where the threshold in force comes from: X(name on the wire). */
#define ORIGIN_TABLE(X) X(default) X(file) X(redis) X(call) X(shipped) X(certificate)

enum origin {
#define X(name) ORIGIN_##name,
	ORIGIN_TABLE(X)
#undef X
};

/* Returns the wire's word for `origin`. */
const char *origin_name(enum origin origin);

/* What one call allows. */
struct policy {
	double threshold; /* of the plain rule: least cosine */
	bool calibrated;  /* the calibrated rule holds, with: */
	double score_threshold, margin, margin_floor, minimum;
	double weight;   /* of the second opinion in s; 0 = none is asked for */
	bool exact_only; /* no hits by meaning, and no aliases */
	bool shadow;     /* no hits by meaning, but they are told */
	bool refresh;    /* no hits at all */
	bool has_max_age;
	uint32_t max_age_s;                /* oldest answer */
	uint32_t guards_on, guards_shadow; /* bits; what they veto is not served; is only counted */
	enum origin origin;                /* of the threshold (plain), or of the score's parameters */
	uint64_t certificate_ms;           /* when the certificate in force was made, Unix milliseconds; 0 = none is */
};

struct decision {
	bool serve;
	bool would_serve;   /* only the mode `shadow` is in the way */
	size_t index;       /* of the candidate to serve, or that would be served; else of the one that `reason` is about */
	enum reason reason; /* why the best one was not, if none is served */
	bool plain;         /* decided by the plain rule: a lone entry, or no second opinion, or the mode */
	double score; /* of the best candidate that nothing but its score could keep from being served, or of the first */
	double next;  /* its s2, margin_floor applied; 0 under the plain rule */
};

/* Walks `count` candidates, nearest first, and says which of them may be served under `policy` at `now_ms` (the loop's
 * clock). Bit i of `gone` says that candidate i turned out to be no longer there. What was vetoed, rejected, quarantined or
 * is too old does not hide a good second one, nor does it count as the next nearest. */
struct decision decide(const struct candidate *candidates, size_t count, uint32_t gone, const struct policy *policy,
		       uint64_t now_ms);

/* Returns why the candidate cannot be served: too far away whatever the others are, gone, vetoed …; or REASON_NONE if it is
 * up to the score. */
enum reason decide_why_not(const struct candidate *candidate, bool is_gone, const struct policy *policy, uint64_t now_ms);

/* Returns the least cosine that a candidate must have to be served under `policy`, whatever the others are. */
double decide_least(const struct policy *policy);

/* The entry was found under the call's own identity: returns REASON_NONE if it may be served (fresh, not too old), or why
 * not. */
enum reason decide_exact(const struct entry *entry, const struct policy *policy, uint64_t now_ms);

/* What is known of the pair of questions that an alias joins. */
struct pair_facts {
	uint32_t vetoes; /* bits of guards */
	bool rejected, quarantined;
};

/* The same for an entry found by an alias: promoted = served once, needs a similarity or score that the policy accepts;
 * judged = a model said that both want the same, needs the threshold only if the call names one; accepted = a person said
 * so, needs nothing. Guards have their say but for accepted ones; rejections always. */
enum reason decide_alias(const struct alias *alias, const struct pair_facts *facts, const struct entry *entry,
			 const struct policy *policy, uint64_t now_ms);

#endif
