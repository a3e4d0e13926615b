/* Turns texts into unit vectors by an OpenAI-compatible /embeddings, many waiting texts in one request.
 *
 *   embedding_start() ──> waiting texts ──> ≤ EMBEDDER_TRANSFERS requests of ≤ EMBEDDER_BATCH texts ──> done (each once)
 *
 * A text waits only while all transfers are taken, so a lone one leaves at once. Vectors are asked for as base64; a service
 * that refuses that is asked for numbers, in smaller requests. What can go wrong: no answer within embedder.timeout_ms, an
 * HTTP error, a body that is not what OpenAI's API says, a vector of another length, with NaN or of length zero: every text
 * of the request fails, and the part counts one failure (not for 400, 413 and 422, which are
 * about the texts: then each is asked for alone); while the
 * part is DOWN nothing starts, those who wait fail, and one short text is embedded every PART_PROBE_MS as a probe. */
#ifndef DAEMON_EMBEDDER_H
#define DAEMON_EMBEDDER_H

#include "../proto/buffer.h"

#define EMBEDDER_TRANSFERS 4
#define EMBEDDER_BATCH 32
#define EMBEDDER_WAITING 65536

struct config_embedder;
struct deadlines;
struct embedder;
struct http;
struct log;
struct metrics;
struct part;

/* One text being embedded; part of what waits for it. */
struct embedding {
	/* Called exactly once after a start that returned 0, never before it returned, never after embedding_cancel(). On
	 * `error` 0 `vector` is malloc'ed, the receiver's, of unit length. */
	void (*done)(struct embedding *embedding, int error);
	void *data;
	struct slice text; /* the caller's; must stay until done */
	float *vector;
	unsigned dimensions;
	void *private;
};

/* Creates the embedder of `config` (its url is not empty). `part` is kept up to date and probed while DOWN. */
struct embedder *embedder_create(struct http *http, struct deadlines *deadlines, const struct config_embedder *config,
				 struct part *part, struct metrics *metrics, const struct log *log);

/* Makes it the one that gives second opinions, before anything is asked: it counts under the names of those, and a request
 * may last EMBEDDER_LATE times as long as timeout_ms, since a vector that comes too late for an opinion can still be
 * stored. */
void embedder_set_second(struct embedder *embedder);

#define EMBEDDER_LATE 10

/* Somebody has waited in vain as long as they may: one failure of the part. Those who wait may be told. */
void embedder_late(struct embedder *embedder);

/* Ends everything without callbacks; NULL is nothing. */
void embedder_destroy(struct embedder *embedder);

/* Returns the name of these vectors: the first 16 hex digits of SHA-256 over provider (the url), model, configured
 * dimensions and prefix rule; another embedder never meets old vectors. */
const char *embedder_name(const struct embedder *embedder);

/* Returns the vectors' length, 0 before the first answer if the configuration does not say. */
unsigned embedder_dimensions(const struct embedder *embedder);

/* Starts `embedding`. Returns 0, ERROR_UNAVAILABLE (DOWN), ERROR_BUSY (EMBEDDER_WAITING) or ERROR_MEMORY; then no callback.
 *  */
int embedding_start(struct embedder *embedder, struct embedding *embedding);

/* Cancels; no callback comes. A request with no text left that anybody wants is cancelled too. Not pending is nothing. */
void embedding_cancel(struct embedding *embedding);

#endif
