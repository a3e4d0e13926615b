/* Counts answers by namespace, for as many namespaces as NAMESPACES_COUNTED; the others are counted together. */
#ifndef DAEMON_NAMESPACES_H
#define DAEMON_NAMESPACES_H

#include "estimate.h"
#include "guard.h"

#include "../proto/buffer.h"

#include <stdint.h>

#define NAMESPACES_COUNTED 1024

/* Near enough candidates that a guard kept from being served, or would have if it were on. */
struct guard_count {
	uint64_t vetoed, shadow;
};

struct namespaces;

/* What was answered to callers of one namespace. It lives as long as the namespaces. */
struct namespace_count {
	uint64_t hits, misses; /* answers from what was stored or shared; from the model, and look-ups without an answer */
	bool is_rest;          /* of all namespaces beyond those counted apart */
	struct guard_count guards[GUARD_COUNT];
	struct estimate_counts estimates; /* of what was reviewed */
	/* Only of namespaces with a section of their own, for all that share it: */
	struct drift drift;
	struct budget audit_budget, judge_budget;
};

/* Creates it; NULL without memory. */
struct namespaces *namespaces_create(void);

/* Frees it; NULL is nothing. */
void namespaces_destroy(struct namespaces *namespaces);

/* Returns the counts of `name`, made at its first use; those of the rest when there is no room, or no memory, for more. */
struct namespace_count *namespaces_get(struct namespaces *namespaces, struct slice name);

/* Calls `each` for every namespace counted apart, in no order. Returns how many there are. */
size_t namespaces_each(const struct namespaces *namespaces,
		       void (*each)(void *data, struct slice name, const struct namespace_count *count), void *data);

#endif
