/* For each text of a stream the nearest of those that were asked before it. */
#ifndef DAEMON_EVALUATE_NEAR_H
#define DAEMON_EVALUATE_NEAR_H

#include <stddef.h>
#include <stdint.h>

struct evaluate_vectors;

/* How many are kept for each text. */
#define EVALUATE_NEAR 64

/* `vetoes` before the guards were asked. */
#define EVALUATE_NOT_ASKED UINT32_MAX

struct evaluate_near {
	double similarity; /* as the index gives it */
	uint32_t text;
	uint32_t vetoes; /* bits of all guards, or EVALUATE_NOT_ASKED */
};

struct evaluate_nears {
	struct evaluate_near *lists; /* EVALUATE_NEAR for each text, the nearest first */
	uint8_t *counts;
	size_t count;
};

/* Finds them, on two threads. Returns 0 (evaluate_nears_deinit()) or ERROR_MEMORY. */
int evaluate_nears_find(const struct evaluate_vectors *vectors, struct evaluate_nears *nears);

/* Frees what it holds. */
void evaluate_nears_deinit(struct evaluate_nears *nears);

#endif
