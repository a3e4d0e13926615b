/* What the scripted upstream says: OpenAI's chat streams and embeddings, as few bytes of work as possible. */
#ifndef BENCH_UPSTREAM_REPLY_H
#define BENCH_UPSTREAM_REPLY_H

#include "../../proto/buffer.h"

#include <stdbool.h>
#include <stdint.h>

#define UPSTREAM_DIMENSIONS 512

/* When a chat request was read, how long the embedding before it took, and when this token is written: told within the text,
 * as `@RECEIVED,EMBEDDING,WRITTEN;` in nanoseconds. */
struct stamp {
	uint64_t received_ns, embedding_ns, written_ns;
};

/* Appends the head of a streamed answer and its first event, which has no text. Returns 0 or an error of proto/error.h, as
 * all of these do. */
int reply_chat_head(struct buffer *out);

/* Appends one token of `bytes` bytes, a stamp's included; `stamp` may be NULL. */
int reply_chat_token(struct buffer *out, const struct stamp *stamp, size_t bytes);

/* Appends the reason of the end, the usage, the mark of the end, and the end of the body. */
int reply_chat_end(struct buffer *out);

/* Appends the answer to a request for embeddings: for each text of `body`'s input a vector that depends on that text alone,
 * as base64. `*texts` is how many there were. A body without an input is answered with status 400. */
int reply_embeddings(struct buffer *out, struct slice body, uint64_t *texts);

#endif
