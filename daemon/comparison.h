/* Whether two answers say the same: the same text, but for blanks at both ends; or else texts whose embeddings are near
 * enough.
 *
 * An answer over embedder.max_bytes is not comparable, also where both are the same, so that what is compared is not chosen
 * by how it comes out. What can go wrong: the embedder does not answer (then nothing is known, and it is said so). */
#ifndef DAEMON_COMPARISON_H
#define DAEMON_COMPARISON_H

#include "embedder.h"

/* X(name on the wire) */
#define COMPARISON_TABLE(X) X(same) X(different) X(not_comparable)

enum comparison_outcome {
#define X(name) COMPARISON_##name,
	COMPARISON_TABLE(X)
#undef X
};

/* Returns the wire's word for `outcome`. */
const char *comparison_outcome_name(enum comparison_outcome outcome);

/* One comparison, embedded in what waits for it. Set the first part. */
struct comparison {
	/* Called exactly once after a start that returned 0, never before it returned nor after cancel. `error` 0: outcome
	 * and similarity are set; ERROR_UNAVAILABLE: the embedder failed. */
	void (*done)(struct comparison *comparison, int error);
	void *data;
	struct slice texts[2]; /* the caller's; must stay until done */
	double threshold;
	size_t max_bytes;

	enum comparison_outcome outcome;
	double similarity; /* 1 for the same text; NAN = not measured */

	/* its own */
	struct embedder *embedder;
	struct embedding embedding;
	bool is_embedding;
	float *vector; /* of the first */
	unsigned dimensions;
};

/* Compares. Returns 1 (outcome and similarity are set, `done` never comes), 0 (pending; the texts are embedded one after the
 * other, so that it takes one of the embedder's transfers at most), or as embedding_start(). `embedder` NULL: only the same
 * text can be told. */
int comparison_start(struct comparison *comparison, struct embedder *embedder);

/* Ends it; `done` does not come any more. Not pending is nothing. */
void comparison_cancel(struct comparison *comparison);

/* Returns the text without blanks (space, tab, CR, LF) at both ends. */
struct slice comparison_trim(struct slice text);

#endif
