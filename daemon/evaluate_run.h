/* What the cache would have done with a set of questions under one policy: the real decide() and the real guards. */
#ifndef DAEMON_EVALUATE_RUN_H
#define DAEMON_EVALUATE_RUN_H

#include "evaluate_near.h"
#include "evaluate_set.h"
#include "evaluate_vectors.h"

struct guard_words;
struct policy;

/* All that stays the same for every policy. */
struct evaluate_bench {
	const struct evaluate_set *set;
	const struct evaluate_vectors *vectors;
	const struct evaluate_vectors *second; /* of the second embedder, to be set after the start; NULL = there is none */
	const struct guard_words *words;       /* of the operator, or NULL */
	struct evaluate_nears nears;           /* of a stream */
	struct evaluate_near *pairs;           /* of pairs: one for each row */
	uint32_t *answers;                     /* of a stream, while it runs: which text's answer each text has */
	uint32_t *classes;                     /* of each stored text */
	bool *seen;                            /* classes of which something is stored */
};

struct evaluate_counts {
	size_t requests; /* rows */
	size_t repeats;  /* stream: requests whose class is stored already; pairs: rows with label 1 */
	size_t right;    /* served, and rightly */
	size_t wrong;    /* served, and wrongly */
	size_t traps;    /* pairs: rows with label 0 */
	/* stream: served in words that were not asked before, and those of them that were wrong */
	size_t decided, decided_wrong;
};

/* Prepares `bench` for set and vectors, which must stay. Returns 0 (evaluate_bench_deinit()) or ERROR_MEMORY. */
int evaluate_bench_init(struct evaluate_bench *bench, const struct evaluate_set *set, const struct evaluate_vectors *vectors,
			const struct guard_words *words);

/* Frees what it holds. */
void evaluate_bench_deinit(struct evaluate_bench *bench);

/* Pairs: each by itself, its first question stored alone, its second asked. Stream: one after the other in one scope; a
 * question that is not served is stored; one that was asked before in the same words gets the same answer again. In mode
 * `shadow` what would be served counts as served. */
struct evaluate_counts evaluate_run(struct evaluate_bench *bench, const struct policy *policy);

#endif
