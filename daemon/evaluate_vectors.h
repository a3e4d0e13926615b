/* The vectors of many texts, from the daemon's own embedder, for the one-shot modes. */
#ifndef DAEMON_EVALUATE_VECTORS_H
#define DAEMON_EVALUATE_VECTORS_H

#include "../proto/buffer.h"

struct config;

struct evaluate_vectors {
	float *rows; /* aligned and filled up as index_scan.h has it */
	size_t count, stride;
	unsigned dimensions;
	bool *has; /* false: too long, or refused by the embedder; such a text is matched exactly only */
	char embedder[17];
};

/* Asks the embedder of `config` for the vectors of `texts`, on a loop of its own; returns when all are there. It waits
 * longer than embedder.timeout_ms for each, and tries again what failed for a while. Returns 0
 * (evaluate_vectors_deinit()), or an error and why in `mistake`. */
int evaluate_vectors_make(const struct config *config, const struct slice *texts, size_t count,
			  struct evaluate_vectors *vectors, char *mistake, size_t mistake_size);

/* The same of the second embedder. */
int evaluate_vectors_second(const struct config *config, const struct slice *texts, size_t count,
			    struct evaluate_vectors *vectors, char *mistake, size_t mistake_size);

/* Copies the rows `of` into `part`. Returns 0 or ERROR_MEMORY. */
int evaluate_vectors_part(const struct evaluate_vectors *whole, const uint32_t *of, size_t count,
			  struct evaluate_vectors *part);

/* Frees what it holds. */
void evaluate_vectors_deinit(struct evaluate_vectors *vectors);

#endif
