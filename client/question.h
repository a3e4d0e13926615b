/* Turns what the caller asks into a request's bytes. */
#ifndef CLIENT_QUESTION_H
#define CLIENT_QUESTION_H

#include "../proto/buffer.h"
#include "../proto/method.h"
#include "failure.h"

/* A request under construction: a map of parameters that is filled pair by pair. */
struct encoder {
	struct buffer *out;
	size_t count_at;   /* where the map's count goes */
	size_t timeout_at; /* where the four bytes of timeout_ms are, 0 = not in it */
	uint16_t pairs;
	int error; /* the first one; later steps do nothing */
};

/* Starts `[0, id, method, [{`; `method` is the wire's name. */
void encoder_begin(struct encoder *e, struct buffer *out, uint64_t id, struct slice method);

/* Starts a map alone, for question_encode_raw(). */
void encoder_begin_map(struct encoder *e, struct buffer *out);

/* Adds a pair; NULL as a text adds nothing. */
void encoder_text(struct encoder *e, const char *key, const char *text);
void encoder_uint(struct encoder *e, const char *key, uint64_t number);
void encoder_flag(struct encoder *e, const char *key, bool flag);
void encoder_double(struct encoder *e, const char *key, double number);

/* Adds what makes a question, without what a call allows. Returns 0 or ERROR_INVALID with `failure` filled. */
int encoder_question(struct encoder *e, const struct semcache_question *question, struct failure *failure);

/* Adds timeout_ms, so that question_set_timeout() can change it later. */
void encoder_timeout(struct encoder *e, uint32_t timeout_ms);

/* Ends the message or map. Returns 0, ERROR_MEMORY or ERROR_TOO_LARGE. */
int encoder_end(struct encoder *e);

/* Writes a whole request of raw parameters (absent: an empty map). Returns 0, or ERROR_MEMORY, ERROR_TOO_LARGE or
 * ERROR_INVALID with `failure` filled. */
int question_encode_raw(struct buffer *out, uint64_t id, struct slice method, struct slice params, struct failure *failure);

/* Writes a whole request of get_or_generate, lookup, explain or add (`answer` not NULL). `*timeout_at` as in struct encoder;
 * timeout_ms is put in it if the method takes one. Returns as question_encode_raw(). */
int question_encode(struct buffer *out, uint64_t id, enum method method, const struct semcache_question *question,
		    const char *answer, bool stream, uint32_t timeout_ms, size_t *timeout_at, struct failure *failure);

/* Overwrites the timeout of an encoded message. */
void question_set_timeout(char *message, size_t timeout_at, uint32_t timeout_ms);

#endif
