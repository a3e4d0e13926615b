/* The rows that the embedded index scans: per scope blocks of unit vectors, each row with what is told of its entry. No I/O,
 * no threads of its own; a scope that another thread reads is pinned. */
#ifndef DAEMON_INDEX_ROWS_H
#define DAEMON_INDEX_ROWS_H

#include "entry.h"
#include "index_scan.h"
#include "table.h"

#define INDEX_DIMENSIONS_MAX 65536

struct index_retired;
struct index_rows;
struct index_space;
struct metrics;

/* What a row is, besides its vector. */
struct index_item {
	struct table_node node;
	struct identity identity;
	struct index_scope *scope;
	struct index_item *prev, *next; /* in the order of puts; of a removed one in a pinned scope: the next of those */
	size_t row;
	uint64_t created_ms, created_at_ms, fresh_until_at_ms, expires_at_ms;
	bool listed;                /* in the table and in the order of puts */
	bool removed;               /* its row waits for the pins to go */
	unsigned second_dimensions; /* 0 = no vector of the second embedder */
	size_t question_length;
	char question[]; /* that vector is behind it */
};

/* The rows of one scope. A reader on another thread may read the first `rows` rows of a copy of `blocks` that it took when
 * it pinned the scope. */
struct index_scope {
	struct table_node node;
	struct identity identity;
	struct index_scope *prev, *next;           /* of the namespace */
	struct index_scope *tidy_prev, *tidy_next; /* of those with removed rows to fill */
	struct index_space *space;
	unsigned dimensions;
	size_t stride, block_rows; /* of every block but the first, which grows up to it */
	struct index_block *blocks;
	size_t block_count, block_room, rows;
	struct index_retired *retired; /* blocks that readers still look at */
	unsigned pins;
	size_t removed_count;
	struct index_item *removed;
	bool listed, parked, untidy;
};

/* Creates rows for at most `max_bytes`; NULL without memory. */
struct index_rows *index_rows_create(size_t max_bytes, struct metrics *metrics);

/* Frees everything; no scope may be pinned. NULL is nothing. */
void index_rows_destroy(struct index_rows *rows);

/* Adds the entry in place of what is under its identity. Those put first leave until the bytes fit. Returns 0; ERROR_INVALID
 * (no vector, NaN, zero, another length than the scope's others) and then nothing changed; ERROR_TOO_LARGE or ERROR_MEMORY,
 * and then nothing is under its identity: what was there is out of date. */
int index_rows_put(struct index_rows *rows, const struct entry *entry);

/* Removes the entry. Returns whether it was there. */
bool index_rows_remove(struct index_rows *rows, const struct identity *identity);

/* Returns the entry's vector of the second embedder; as index_ops' `second`. */
const float *index_rows_second(struct index_rows *rows, const struct identity *identity, uint64_t created_ms,
			       unsigned *dimensions);

/* Removes a namespace's entries (data NULL = all) from sight, at once whatever their number. Returns how many. */
size_t index_rows_flush(struct index_rows *rows, struct slice namespace);

/* Returns the scope, or NULL if it has no rows. */
struct index_scope *index_rows_scope(struct index_rows *rows, const struct identity *identity);

/* Returns whether the scope was flushed; only a pinned one can be met. */
bool index_scope_dead(const struct index_scope *scope);

/* Returns whether one more reader may pin the scope now. If not, removed rows must be filled first: after the last unpin, by
 * index_rows_tidy(). */
bool index_scope_ready(const struct index_scope *scope);

/* While a scope is pinned its rows stay where they are: new ones are only appended, removed ones only marked. */
void index_scope_pin(struct index_rows *rows, struct index_scope *scope);

/* May free the scope. */
void index_scope_unpin(struct index_rows *rows, struct index_scope *scope);

/* Returns what is in the row, or NULL if it was removed. */
const struct index_item *index_scope_item(const struct index_scope *scope, size_t row);

/* Returns the row's vector. */
const float *index_scope_vector(const struct index_scope *scope, size_t row);

/* Frees or fills up to `steps` rows of what was removed or flushed. Returns whether more is left that could be done now. */
bool index_rows_tidy(struct index_rows *rows, size_t steps);

/* Returns the bytes kept, and how many entries are in sight. */
size_t index_rows_bytes(const struct index_rows *rows, size_t *entries);

/* Writes `from` at unit length, filled up with zeros to the stride. Returns 0, or ERROR_INVALID for NaN, infinity or
 * zero. */
int index_vector_normalise(float *to, const float *from, unsigned dimensions);

#endif
