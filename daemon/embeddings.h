/* OpenAI's /embeddings: the body of a request, and the vectors in a reply. No I/O. */
#ifndef DAEMON_EMBEDDINGS_H
#define DAEMON_EMBEDDINGS_H

#include "../proto/buffer.h"

#define EMBEDDINGS_DIMENSIONS 16384 /* more floats in one vector are refused */

struct json_tokener;

/* What is asked for. */
struct embeddings_request {
	struct slice model;
	const struct slice *texts;
	size_t count;
	unsigned dimensions; /* 0 = the model's own */
	bool base64;         /* ask for base64 instead of numbers */
};

/* Appends the body of a request. Returns 0, ERROR_INVALID (a text is no UTF-8), ERROR_TOO_LARGE or ERROR_MEMORY. */
int embeddings_write(struct buffer *body, const struct embeddings_request *request);

/* Reads a reply to `count` texts: base64 or numbers, in any order. Each vector must have `dimensions` floats (0 = any, but
 * all the same), be finite and longer than zero; it is scaled to unit length. On 0 `vectors` holds `count` malloc'ed vectors
 * of `*length` floats, the receiver's. ERROR_UPSTREAM with a constant in `*why`, or ERROR_MEMORY. */
int embeddings_read(struct json_tokener *tokener, struct slice reply, size_t count, unsigned dimensions, float **vectors,
		    unsigned *length, const char **why);

#endif
