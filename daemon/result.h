/* What a call is told: where its answer came from, or why there is none. Encoded as proto/wire.md says. */
#ifndef DAEMON_RESULT_H
#define DAEMON_RESULT_H

#include "answer.h"
#include "decide.h"
#include "entry.h"

#include "../proto/fault.h"

/* X(constant, name on the wire) */
#define TIER_TABLE(X)                                                                                                       \
	X(MEMORY, memory)                                                                                                   \
	X(EXACT, exact)                                                                                                     \
	X(SEMANTIC, semantic)                                                                                               \
	X(COALESCED, coalesced)                                                                                             \
	X(STALE, stale)                                                                                                     \
	X(UPSTREAM, upstream)                                                                                               \
	X(MISS, miss)

enum tier {
#define X(constant, name) TIER_##constant,
	TIER_TABLE(X)
#undef X
};

struct namespace_count;

/* Slices are somebody else's and need to live only until the result is written. */
struct result {
	uint64_t request;
	enum tier tier;
	const struct entry *stored; /* a stored answer; its own fields are then used for answer, model, usage and entry */
	const struct answer *fresh; /* the model's answer, as it came */
	struct slice finish_reason, model, usage; /* of a fresh one */
	bool is_kept;                             /* a fresh one: it is being stored, under `entry` */
	struct identity entry;
	bool has_similarity;
	double similarity;
	struct slice original_query; /* absent = nil */
	uint64_t age_s, ttl_s;
	uint64_t saved_tokens;
	double saved_usd;
	double best_similarity;
	struct slice best_query; /* absent = nil */
	enum reason reason;
	struct namespace_count *counts; /* where it is counted, besides the metrics */
	double total_ms, embedding_ms, search_ms, upstream_ms;
};

/* Returns the wire's name of `tier`, a constant. */
const char *tier_name(enum tier tier);

/* Appends the response to request `id`. `with_answer` false leaves the answer out (it was streamed). Returns 0,
 * ERROR_TOO_LARGE or ERROR_MEMORY, and then nothing was appended. */
int result_write(struct buffer *out, uint64_t id, const struct result *result, bool with_answer);

/* Appends `[2, "chunk", [id, seq, text]]`. Errors as result_write(). */
int result_write_chunk(struct buffer *out, uint64_t id, uint64_t seq, struct slice text);

/* Appends an error response; without `id` (NULL) its id is nil. Errors as result_write(). */
int result_write_fault(struct buffer *out, const uint64_t *id, const struct fault *fault);

/* Token counts of a usage map, 0 for what it does not say. */
struct usage {
	uint64_t prompt_tokens, completion_tokens, total_tokens;
};

/* Reads a raw MessagePack map; absent gives zeros. */
struct usage usage_read(struct slice raw);

#endif
