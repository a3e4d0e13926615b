/* Scans rows of unit vectors for the nearest ones to one or several queries. No allocation, no state: it may run on any
 * thread as long as the rows stay. */
#ifndef DAEMON_INDEX_SCAN_H
#define DAEMON_INDEX_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than a search hands out, because some of them may have been removed when the scan ends. */
#define INDEX_SCAN_BEST 16

/* Rows start at multiples of 64 bytes and are filled up with zeros to a multiple of 16 floats. */
#define INDEX_ALIGNMENT 64
#define INDEX_STRIDE(dimensions) (((size_t)(dimensions) + 15) & ~(size_t)15)

/* Rows in one piece of memory. */
struct index_block {
	float *vectors;
	uint64_t *expires; /* passed over unless later than now; 0 = removed. Atomic: it may change meanwhile */
	void **items;      /* the owner's; not looked at here */
	size_t capacity;   /* rows */
};

struct index_best {
	size_t row; /* counted from the first block's first */
	float similarity;
};

/* One query: set by the caller, but for best and count. */
struct index_query {
	const float *vector; /* aligned and filled up as a row is */
	uint64_t now_ms;
	bool cancelled; /* atomic: stops this query's part of the scan */
	size_t count;
	struct index_best best[INDEX_SCAN_BEST]; /* the nearest first */
};

/* Computes the dot products of `count` rows with `query`. */
typedef void index_kernel(const float *rows, size_t count, size_t stride, const float *query, float *products);

/* Returns the fastest kernel that this processor has. */
index_kernel *index_kernel_select(void);

/* The kernel that runs everywhere. */
index_kernel index_kernel_portable;

/* Scans the first `rows` rows of the blocks, `block_rows` in each, for all `queries`; each block is read once. */
void index_scan(index_kernel *kernel, const struct index_block *blocks, size_t block_rows, size_t rows, size_t stride,
		struct index_query *const *queries, size_t query_count);

#endif
