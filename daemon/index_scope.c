/*  namespace ──> scopes ──> blocks │vector│vector│…    a block never moves (but the first one, while the scope is small)
 *                                  │expiry│expiry│…
 *                                  │item *│item *│…
 *
 * Happy path: a scope is made with its first row and its namespace with its first scope, blocks are added as rows come and
 * dropped as they go, the last row takes the scope with it and the last scope the namespace.
 * What can go wrong: no memory, and then nothing has changed; a flushed namespace stays until its last scope is freed. */
#include "index_scope.h"

#include "../proto/error.h"
#include "heap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define BLOCK_ROWS_MAX ((size_t)256)
#define BLOCK_FLOATS ((size_t)1 << 17)

/* ---- bytes ---- */

void index_charge(struct index_rows *rows, struct index_space *space, size_t bytes)
{
	rows->bytes += bytes;
	space->bytes += bytes;
}

void index_leave(struct index_rows *rows, struct index_space *space, size_t bytes)
{
	rows->leaving += bytes;
	space->leaving += bytes;
}

void index_left(struct index_rows *rows, struct index_space *space, size_t bytes)
{
	rows->leaving -= bytes;
	space->leaving -= bytes;
}

void index_discharge(struct index_rows *rows, struct index_space *space, size_t bytes)
{
	rows->bytes -= bytes;
	space->bytes -= bytes;
	if (space->dead)
		index_left(rows, space, bytes);
}

size_t index_row_bytes(const struct index_scope *scope)
{
	return scope->stride * sizeof(float) + sizeof(uint64_t) + sizeof(void *);
}

static size_t block_bytes(const struct index_scope *scope, size_t capacity)
{
	return (capacity * index_row_bytes(scope) + INDEX_ALIGNMENT - 1) & ~(size_t)(INDEX_ALIGNMENT - 1);
}

/* ---- namespaces ---- */

struct index_space *index_space_find(const struct index_rows *rows, struct slice name)
{
	return (struct index_space *)(void *)table_find(&rows->names, name.data ? name.data : "", name.length);
}

static struct index_space *space_get(struct index_rows *rows, struct slice name)
{
	struct index_space *space = index_space_find(rows, name);

	if (space)
		return space;
	space = calloc(1, sizeof(*space) + name.length);
	if (!space)
		return NULL;
	space->length = name.length;
	if (name.length)
		memcpy(space->name, name.data, name.length);
	if (table_add(&rows->names, &space->node, space->name, space->length)) {
		free(space);
		return NULL;
	}
	DL_APPEND(rows->spaces, space);
	index_charge(rows, space, heap_bytes(sizeof(*space) + name.length));
	return space;
}

/* Puts a dead namespace among those that tidy works on. */
void index_space_queue(struct index_rows *rows, struct index_space *space)
{
	if (space->queued)
		return;
	space->queued = true;
	DL_APPEND(rows->dying, space);
}

void index_space_unqueue(struct index_rows *rows, struct index_space *space)
{
	if (space->queued)
		DL_DELETE(rows->dying, space);
	space->queued = false;
}

size_t index_space_kill(struct index_rows *rows, struct index_space *space)
{
	table_remove(&rows->names, &space->node);
	DL_DELETE(rows->spaces, space);
	space->dead = true;
	rows->count -= space->items;
	index_leave(rows, space, space->bytes - space->leaving);
	index_space_queue(rows, space);
	return space->items;
}

static void space_free(struct index_rows *rows, struct index_space *space)
{
	if (!space->dead)
		(void)index_space_kill(rows, space);
	index_space_unqueue(rows, space);
	index_discharge(rows, space, space->bytes);
	free(space);
}

/* ---- blocks ---- */

static bool block_make(const struct index_scope *scope, size_t capacity, struct index_block *block)
{
	char *memory = aligned_alloc(INDEX_ALIGNMENT, block_bytes(scope, capacity));

	if (!memory)
		return false;
	char *expires = memory + capacity * scope->stride * sizeof(float);
	char *items = expires + capacity * sizeof(uint64_t);
	*block = (struct index_block){(float *)(void *)memory, (uint64_t *)(void *)expires, (void **)(void *)items,
				      capacity};
	return true;
}

struct index_block *index_block_of(const struct index_scope *scope, size_t row)
{
	return &scope->blocks[row / scope->block_rows];
}

static size_t block_heap_bytes(const struct index_scope *scope, size_t capacity)
{
	return heap_bytes(block_bytes(scope, capacity) + INDEX_ALIGNMENT);
}

/* A block that another took the place of. */
struct index_retired {
	struct index_retired *next;
	float *vectors;
	size_t capacity;
};

static bool block_retire(struct index_rows *rows, struct index_scope *scope, const struct index_block *block)
{
	struct index_retired *retired = malloc(sizeof(*retired));

	if (!retired)
		return false;
	*retired = (struct index_retired){scope->retired, block->vectors, block->capacity};
	scope->retired = retired;
	index_charge(rows, scope->space, heap_bytes(sizeof(*retired)));
	return true;
}

void index_scope_free_retired(struct index_rows *rows, struct index_scope *scope)
{
	while (scope->retired) {
		struct index_retired *retired = scope->retired;
		scope->retired = retired->next;
		index_discharge(rows, scope->space,
				heap_bytes(sizeof(*retired)) + block_heap_bytes(scope, retired->capacity));
		free(retired->vectors);
		free(retired);
	}
}

/* Gives the first block another capacity, at least as many as there are rows. Those that read it keep the old one, in which
 * nothing changes any more: a row that is removed meanwhile they still see, and index_scope_item() tells them. */
static bool block_resize(struct index_rows *rows, struct index_scope *scope, size_t capacity)
{
	struct index_block *old = &scope->blocks[0], block;

	assert(scope->block_count == 1);
	if (!block_make(scope, capacity, &block))
		return false;
	if (scope->pins && !block_retire(rows, scope, old)) {
		free(block.vectors);
		return false;
	}
	memcpy(block.vectors, old->vectors, scope->rows * scope->stride * sizeof(float));
	memcpy(block.expires, old->expires, scope->rows * sizeof(uint64_t));
	memcpy(block.items, old->items, scope->rows * sizeof(void *));
	index_charge(rows, scope->space, block_heap_bytes(scope, capacity));
	if (!scope->pins) {
		index_discharge(rows, scope->space, block_heap_bytes(scope, old->capacity));
		free(old->vectors);
	}
	*old = block;
	return true;
}

static bool block_add(struct index_rows *rows, struct index_scope *scope, size_t capacity)
{
	struct index_block block;

	if (scope->block_count == scope->block_room) {
		size_t room = scope->block_room ? 2 * scope->block_room : 1;
		struct index_block *blocks = realloc(scope->blocks, room * sizeof(block));
		if (!blocks)
			return false;
		index_charge(rows, scope->space, heap_bytes(room * sizeof(block)));
		if (scope->block_room)
			index_discharge(rows, scope->space, heap_bytes(scope->block_room * sizeof(block)));
		scope->blocks = blocks;
		scope->block_room = room;
	}
	if (!block_make(scope, capacity, &block))
		return false;
	index_charge(rows, scope->space, block_heap_bytes(scope, capacity));
	scope->blocks[scope->block_count++] = block;
	return true;
}

void index_block_drop(struct index_rows *rows, struct index_scope *scope)
{
	struct index_block *block = &scope->blocks[--scope->block_count];

	index_discharge(rows, scope->space, block_heap_bytes(scope, block->capacity));
	free(block->vectors);
}

/* Makes sure that there is memory for one more row. */
bool index_scope_reserve(struct index_rows *rows, struct index_scope *scope)
{
	if (scope->block_count == 0)
		return block_add(rows, scope, 1);
	size_t last = scope->block_count - 1;
	if (scope->rows < last * scope->block_rows + scope->blocks[last].capacity)
		return true;
	if (last == 0 && scope->blocks[0].capacity < scope->block_rows)
		return block_resize(rows, scope, 2 * scope->blocks[0].capacity);
	return block_add(rows, scope, scope->block_rows);
}

/* Gives memory back; later than it was taken, so that a row more and a row less do not cost a block each time. */
void index_scope_shrink(struct index_rows *rows, struct index_scope *scope)
{
	while (scope->block_count > 1 && scope->rows + scope->block_rows / 8 <= (scope->block_count - 1) * scope->block_rows)
		index_block_drop(rows, scope);
	if (scope->block_count == 1 && scope->blocks[0].capacity > 4 && scope->rows <= scope->blocks[0].capacity / 4)
		(void)block_resize(rows, scope, scope->blocks[0].capacity / 2);
}

/* ---- scopes ---- */

void index_scope_unlist(struct index_rows *rows, struct index_scope *scope)
{
	if (scope->listed)
		table_remove(&rows->scopes, &scope->node);
	scope->listed = false;
}

bool index_scope_dead(const struct index_scope *scope)
{
	return scope->space->dead;
}

struct index_scope *index_rows_scope(struct index_rows *rows, const struct identity *identity)
{
	struct index_scope *scope = (struct index_scope *)(void *)table_find(&rows->scopes, identity, sizeof(*identity));

	if (scope && index_scope_dead(scope)) {
		index_scope_unlist(rows, scope);
		return NULL;
	}
	return scope;
}

void index_scope_tidied(struct index_rows *rows, struct index_scope *scope)
{
	if (scope->untidy)
		DL_DELETE2(rows->untidy, scope, tidy_prev, tidy_next);
	scope->untidy = false;
}

/* Frees the scope, which has no rows and no pins; the namespace too if it was its last. */
void index_scope_free(struct index_rows *rows, struct index_scope *scope)
{
	struct index_space *space = scope->space;

	assert(scope->pins == 0 && scope->rows == 0);
	index_scope_tidied(rows, scope);
	index_scope_unlist(rows, scope);
	while (scope->block_count)
		index_block_drop(rows, scope);
	if (!scope->parked)
		DL_DELETE(space->scopes, scope);
	if (scope->block_room)
		index_discharge(rows, space, heap_bytes(scope->block_room * sizeof(struct index_block)));
	index_discharge(rows, space, heap_bytes(sizeof(*scope)));
	free(scope->blocks);
	free(scope);
	if (--space->scope_count == 0)
		space_free(rows, space);
}

/* The entry's scope, made if there is none. */
int index_scope_get(struct index_rows *rows, const struct entry *entry, struct index_scope **got)
{
	struct index_scope *scope = index_rows_scope(rows, &entry->scope);
	struct index_space *space;

	if (scope) {
		*got = scope;
		return 0;
	}
	scope = calloc(1, sizeof(*scope));
	space = scope ? space_get(rows, entry->namespace) : NULL;
	if (!space) {
		free(scope);
		return ERROR_MEMORY;
	}
	scope->identity = entry->scope;
	scope->space = space;
	scope->dimensions = entry->dimensions;
	scope->stride = INDEX_STRIDE(entry->dimensions);
	scope->block_rows = BLOCK_ROWS_MAX;
	while (scope->block_rows > 1 && scope->block_rows * scope->stride > BLOCK_FLOATS)
		scope->block_rows /= 2;
	if (table_add(&rows->scopes, &scope->node, &scope->identity, sizeof(scope->identity))) {
		free(scope);
		if (space->scope_count == 0)
			space_free(rows, space);
		return ERROR_MEMORY;
	}
	scope->listed = true;
	DL_APPEND(space->scopes, scope);
	space->scope_count++;
	index_charge(rows, space, heap_bytes(sizeof(*scope)));
	*got = scope;
	return 0;
}
