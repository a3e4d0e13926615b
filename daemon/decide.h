/* Whether a stored answer may be served to a call: pure, no I/O, no allocation. */
#ifndef DAEMON_DECIDE_H
#define DAEMON_DECIDE_H

#include "entry.h"

#include <stddef.h>

struct candidate;

/* Why the nearest entry was not served: X(name on the wire, meaning). */
#define REASON_TABLE(X)                                                                                                     \
	X(no_candidate, "nothing is stored in this scope")                                                                  \
	X(below_threshold, "its similarity is under the threshold in force")                                                \
	X(max_age, "it is older than the call allows")                                                                      \
	X(expired, "it has expired, or was removed meanwhile")                                                              \
	X(exact_only, "this question is not compared by meaning")                                                           \
	X(refresh, "the call asked for a new answer")                                                                       \
	X(embedder_unavailable, "the embedder did not answer")                                                              \
	X(search_unavailable, "the index could not be searched")

enum reason {
	REASON_NONE,
#define X(name, text) REASON_##name,
	REASON_TABLE(X)
#undef X
};

/* Returns the wire's word for `reason`; NULL for REASON_NONE. */
const char *reason_name(enum reason reason);

/* What one call allows. */
struct policy {
	double threshold; /* least similarity of a hit by meaning */
	bool exact_only;  /* no hits by meaning, and no aliases */
	bool refresh;     /* no hits at all */
	bool has_max_age;
	uint32_t max_age_s; /* oldest answer */
};

struct decision {
	bool serve;
	size_t index;       /* of the candidate to serve */
	enum reason reason; /* why the best one was not, if none is served */
};

/* Walks `count` candidates, best first, and returns the first that may be served under `policy` at `now_ms` (the loop's clock).
 * Bit i of `gone` says that candidate i turned out to be no longer there. */
struct decision decide(const struct candidate *candidates, size_t count, uint32_t gone, const struct policy *policy,
		       uint64_t now_ms);

/* The entry was found under the call's own identity: returns REASON_NONE if it may be served (fresh, not too old), or why not. */
enum reason decide_exact(const struct entry *entry, const struct policy *policy, uint64_t now_ms);

/* The same for an entry found by an alias, which must besides have a score that the policy accepts; an accepted alias (a
 * person said so) needs none. */
enum reason decide_alias(const struct alias *alias, const struct entry *entry, const struct policy *policy, uint64_t now_ms);

/* Returns whether a question of `similarity` to one that is being answered now may share its answer. */
bool decide_join(double similarity, const struct policy *policy);

#endif
