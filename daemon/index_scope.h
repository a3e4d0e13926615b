/* Inside the embedded index: namespaces, scopes, their blocks, and the bytes all of it takes. Only index_rows.c and
 * index_scope.c use this. */
#ifndef DAEMON_INDEX_SCOPE_H
#define DAEMON_INDEX_SCOPE_H

#include "index_rows.h"

/* A namespace as long as it has scopes. */
struct index_space {
	struct table_node node;
	struct index_space *prev, *next; /* of the living, or of the dying */
	struct index_scope *scopes;      /* but not the parked ones */
	size_t scope_count, items;
	size_t bytes;   /* of all that is in it */
	size_t leaving; /* of these: what is removed or flushed, but not freed yet */
	bool dead;      /* flushed: not in the table any more */
	bool queued;    /* among the dying */
	size_t length;
	char name[];
};

struct index_rows {
	size_t max_bytes;
	struct metrics *metrics;
	struct table items, scopes, names;
	struct index_space *spaces, *dying;
	struct index_scope *untidy;
	struct index_item *first; /* the order of puts */
	size_t count, bytes, leaving;
};

/* Counts bytes that were allocated for something in `space`. */
void index_charge(struct index_rows *rows, struct index_space *space, size_t bytes);

/* Counts bytes that were freed. */
void index_discharge(struct index_rows *rows, struct index_space *space, size_t bytes);

/* Counts bytes as leaving, and as not leaving any more. */
void index_leave(struct index_rows *rows, struct index_space *space, size_t bytes);
void index_left(struct index_rows *rows, struct index_space *space, size_t bytes);

/* Returns what one row of the scope takes in its block. */
size_t index_row_bytes(const struct index_scope *scope);

/* Returns the living namespace, or NULL. */
struct index_space *index_space_find(const struct index_rows *rows, struct slice name);

/* Takes the namespace out of sight, whatever its size. Returns how many items it had. */
size_t index_space_kill(struct index_rows *rows, struct index_space *space);

/* Puts a dead namespace among those that tidying works on, and takes it away. */
void index_space_queue(struct index_rows *rows, struct index_space *space);
void index_space_unqueue(struct index_rows *rows, struct index_space *space);

/* Returns the block that a row is in. */
struct index_block *index_block_of(const struct index_scope *scope, size_t row);

/* Frees what readers looked at; none is left. */
void index_scope_free_retired(struct index_rows *rows, struct index_scope *scope);

/* Frees the last block. */
void index_block_drop(struct index_rows *rows, struct index_scope *scope);

/* Gets the entry's scope, made if there is none; one without rows must be freed. Returns 0 or ERROR_MEMORY. */
int index_scope_get(struct index_rows *rows, const struct entry *entry, struct index_scope **got);

/* Frees the scope, which has no rows and no pins; the namespace too if it was its last. */
void index_scope_free(struct index_rows *rows, struct index_scope *scope);

/* Makes sure that there is memory for one more row. Returns whether there is. */
bool index_scope_reserve(struct index_rows *rows, struct index_scope *scope);

/* Gives memory back that the rows do not need; later than it was taken, so that a row more and a row less do not cost a
 * block each time. Nobody may have pinned the scope. */
void index_scope_shrink(struct index_rows *rows, struct index_scope *scope);

/* Takes the scope out of the table. Not there is nothing. */
void index_scope_unlist(struct index_rows *rows, struct index_scope *scope);

/* Takes the scope from those with removed rows to fill. Not there is nothing. */
void index_scope_tidied(struct index_rows *rows, struct index_scope *scope);

#endif
