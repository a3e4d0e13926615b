/* The answers of the chat model to many questions, for the one-shot modes. */
#ifndef DAEMON_EVALUATE_ANSWERS_H
#define DAEMON_EVALUATE_ANSWERS_H

#include "../proto/buffer.h"

struct config;
struct config_upstream;

struct evaluate_answer {
	struct buffer text;
	bool whole; /* complete, as what is stored must be; false: cut, too long, or the model failed */
};

/* How they are asked. */
struct evaluate_asking {
	const struct config *config;
	const struct config_upstream *upstream;
	struct slice model;
	const char *system; /* NULL = no system message */
	double temperature; /* NAN = the model's own */
};

/* Asks each of `questions` by itself, a few at once, on a loop of its own. `*answers`, one for each, are the receiver's
 * (evaluate_answers_free()). Returns 0, or an error and why in `mistake`. */
int evaluate_answers_make(const struct evaluate_asking *asking, const struct slice *questions, size_t count,
			  struct evaluate_answer **answers, char *mistake, size_t mistake_size);

/* Frees them; NULL is nothing. */
void evaluate_answers_free(struct evaluate_answer *answers, size_t count);

#endif
