/* Finds the nearest stored questions by meaning, within one scope.
 *
 * A backend is one file that fills struct index_ops. `memory` (index_memory.c) is the embedded one: per scope an array of
 * unit vectors, scanned whole. The others of design (FT.SEARCH, vector sets) would be index_search.c and index_vset.c. */
#ifndef DAEMON_INDEX_H
#define DAEMON_INDEX_H

#include "entry.h"

#define INDEX_CANDIDATES 8

struct index;
struct metrics;
struct uv_loop_s;

/* One of the nearest, best first. */
struct candidate {
	struct identity identity;
	double similarity; /* plain cosine, rescored with the stored vector in double precision; in [-1, 1] */
	uint64_t created_ms;
	uint64_t created_at_ms, fresh_until_at_ms, expires_at_ms; /* of the entry, on this host's clock */
	/* Filled in after the search, for the question at hand: */
	uint32_t vetoes;            /* bits of guards */
	bool rejected, quarantined; /* by what people said */
	double opinion;             /* cosine of the second embedder; NAN = there is none */
	char *question;             /* malloc'ed with the result, NUL-terminated; index_candidates_free() */
	size_t question_length;
};

/* One search, embedded in the flight. */
struct index_search {
	/* Called exactly once after a start that returned 0 (pending), never before it returned nor after cancel. */
	void (*done)(struct index_search *search, int error);
	void *data;
	struct candidate candidates[INDEX_CANDIDATES]; /* the receiver's: index_candidates_free() */
	size_t count;
	void *private;     /* the backend's; NULL while not pending */
	bool is_elsewhere; /* the backend's */
};

/* What a backend does. Functions get the backend's own `state`. */
struct index_ops {
	/* Adds or replaces the entry (which has scope and vector). Returns 0; ERROR_INVALID (not compared, no vector, NaN,
	 * zero, or another length than the scope's others) and then nothing changed; ERROR_TOO_LARGE or ERROR_MEMORY, and
	 * then nothing is under its identity. */
	int (*put)(void *state, const struct entry *entry);
	/* Removes the entry. Returns whether it was there. */
	bool (*remove)(void *state, const struct identity *identity);
	/* Removes a namespace's entries (data NULL = all). Returns how many. */
	size_t (*flush)(void *state, struct slice namespace);
	/* Finds the up to INDEX_CANDIDATES nearest of `scope` that have not expired at `now_ms`. Returns 1 (done inline,
	 * results are there, `done` never comes), 0 (pending), or ERROR_INVALID (as for put), ERROR_BUSY (too many wait) or
	 * ERROR_MEMORY. */
	int (*search)(void *state, struct index_search *search, const struct identity *scope, const float *vector,
		      unsigned dimensions, uint64_t now_ms);
	/* The same in all scopes of `namespace` but `except`, the nearest of all of them first; a namespace that is large is
	 * gone through beside other searches, so this may take long. Scopes of other dimensions are passed over. */
	int (*search_elsewhere)(void *state, struct index_search *search, struct slice namespace,
				const struct identity *except, const float *vector, unsigned dimensions, uint64_t now_ms);
	/* No callback comes any more. */
	void (*cancel)(void *state, struct index_search *search);
	/* Returns the vector of the second embedder that the entry was put with, at unit length and good until the index
	 * changes; or NULL: there is none, or the entry was made at another time. */
	const float *(*second)(void *state, const struct identity *identity, uint64_t created_ms, unsigned *dimensions);
	/* Returns the bytes kept, and how many entries. */
	size_t (*bytes)(void *state, size_t *entries);
	/* No callback comes any more; the loop must run on until its scans have returned and its handles are closed. */
	void (*destroy)(void *state);
};

struct index {
	const struct index_ops *ops;
	void *state;
};

/* Fills `index` with the embedded backend of at most `max_bytes`; beyond them the entries put first leave first. Scans over
 * about 0.3 ms run on libuv's thread pool, changes of a scope that is being scanned wait for its end. Returns 0 or
 * ERROR_MEMORY. */
int index_memory_create(struct index *index, struct uv_loop_s *loop, size_t max_bytes, struct metrics *metrics);

/* Frees the questions of the results. */
void index_candidates_free(struct index_search *search);

/* Cosine of two unit vectors of `n` floats, summed so that it is exact to 1e-6; clamped to [-1, 1]. */
double index_cosine(const float *a, const float *b, unsigned n);

#endif
