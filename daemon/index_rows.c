/*  block │vector│vector│…
 *        │expiry│expiry│…
 *        │item *│item *│… ──> identity, times, question; in the table by identity, and in the order of puts
 *
 * Happy path: put appends a row, remove moves the last row into the gap. What can go wrong:
 * - A reader has pinned the scope. Appending does not disturb it; a removed row is only marked and gets its filling after the
 *   last unpin. While such rows wait, no further reader is let in, so that they do not wait for ever.
 * - A namespace of a million rows is flushed. Its struct is taken out of sight, which makes everything in it dead, and it is
 *   freed in small steps. Dead items may still be met in the table and in the order of puts; they are unlisted then.
 * - Bytes run out: what was put first leaves. What is leaving but not freed yet does not count against the maximum, or
 *   everything else would be evicted while it waits. */
#include "index_rows.h"

#include "../proto/error.h"
#include "heap.h"
#include "index_scope.h"
#include "metrics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* Each put frees a few of what was flushed, so that memory cannot grow faster than it is freed. */
#define PUT_STEPS 8
#define UNPIN_STEPS 256

size_t index_rows_bytes(const struct index_rows *rows, size_t *entries)
{
	if (entries)
		*entries = rows->count;
	return heap_bytes(sizeof(*rows)) + rows->items.bytes + rows->scopes.bytes + rows->names.bytes + rows->bytes;
}

/* Where an item's vector of the second embedder begins in its memory. */
static size_t second_place(size_t question_length)
{
	size_t end = sizeof(struct index_item) + question_length;

	return (end + sizeof(float) - 1) & ~(sizeof(float) - 1);
}

static size_t item_size(size_t question_length, unsigned second_dimensions)
{
	return second_place(question_length) + INDEX_STRIDE(second_dimensions) * sizeof(float);
}

static size_t item_bytes(const struct index_item *item)
{
	return heap_bytes(item_size(item->question_length, item->second_dimensions));
}

static float *item_second(struct index_item *item)
{
	return (float *)(void *)((char *)item + second_place(item->question_length));
}

/* ---- items ---- */

static void item_list(struct index_rows *rows, struct index_item *item)
{
	DL_APPEND(rows->first, item);
	item->listed = true;
}

static void item_unlist(struct index_rows *rows, struct index_item *item)
{
	if (!item->listed)
		return;
	table_remove(&rows->items, &item->node);
	DL_DELETE(rows->first, item);
	item->listed = false;
}

/* The item if it is alive; a flushed one leaves the table. */
static struct index_item *item_find(struct index_rows *rows, const struct identity *identity)
{
	struct index_item *item = (struct index_item *)(void *)table_find(&rows->items, identity, sizeof(*identity));

	if (item && index_scope_dead(item->scope)) {
		item_unlist(rows, item);
		return NULL;
	}
	return item;
}

static void item_free(struct index_rows *rows, struct index_item *item)
{
	index_discharge(rows, item->scope->space, item_bytes(item));
	free(item);
}

/* Writes `item` into the row, which only the loop can see yet. */
static void row_set(struct index_scope *scope, size_t row, struct index_item *item, uint64_t expires_at_ms)
{
	struct index_block *block = index_block_of(scope, row);

	block->items[row % scope->block_rows] = item;
	__atomic_store_n(&block->expires[row % scope->block_rows], expires_at_ms, __ATOMIC_RELAXED);
	item->row = row;
}

static float *row_vector(const struct index_scope *scope, size_t row)
{
	return index_block_of(scope, row)->vectors + row % scope->block_rows * scope->stride;
}

/* Takes the item's row out of a scope that nobody has pinned: the last row fills the gap. Frees the item, and the scope if
 * that was all. */
static void row_remove(struct index_rows *rows, struct index_item *item)
{
	struct index_scope *scope = item->scope;
	size_t last = scope->rows - 1;

	assert(scope->pins == 0);
	if (item->row != last) {
		struct index_block *block = index_block_of(scope, last);
		memcpy(row_vector(scope, item->row), row_vector(scope, last), scope->stride * sizeof(float));
		row_set(scope, item->row, block->items[last % scope->block_rows], block->expires[last % scope->block_rows]);
	}
	scope->rows = last;
	item_free(rows, item);
	if (last == 0)
		index_scope_free(rows, scope);
	else
		index_scope_shrink(rows, scope);
}

static size_t removed_bytes(const struct index_item *item)
{
	return item_bytes(item) + index_row_bytes(item->scope);
}

/* Removes a living item. */
static void item_remove(struct index_rows *rows, struct index_item *item)
{
	struct index_scope *scope = item->scope;

	item_unlist(rows, item);
	scope->space->items--;
	rows->count--;
	if (scope->pins == 0) {
		row_remove(rows, item);
		return;
	}
	__atomic_store_n(&index_block_of(scope, item->row)->expires[item->row % scope->block_rows], 0, __ATOMIC_RELAXED);
	item->removed = true;
	index_leave(rows, scope->space, removed_bytes(item));
	LL_PREPEND(scope->removed, item);
	scope->removed_count++;
}

/* ---- tidying ---- */

/* Fills up to `steps` rows that were removed while the scope was pinned. Returns the steps not needed. */
static size_t scope_tidy(struct index_rows *rows, struct index_scope *scope, size_t steps)
{
	while (scope->removed && steps > 0) {
		struct index_item *item = scope->removed;
		bool last = scope->rows == 1;
		scope->removed = item->next;
		scope->removed_count--;
		index_left(rows, scope->space, removed_bytes(item));
		row_remove(rows, item);
		steps--;
		if (last)
			return steps;
	}
	if (!scope->removed)
		index_scope_tidied(rows, scope);
	return steps;
}

/* Frees up to `steps` rows of a dead scope, from its end. Returns the steps not needed. */
static size_t scope_reap(struct index_rows *rows, struct index_scope *scope, size_t steps)
{
	index_scope_unlist(rows, scope);
	for (; steps > 0; steps--) {
		size_t row = scope->rows - 1;
		struct index_item *item = index_block_of(scope, row)->items[row % scope->block_rows];
		item_unlist(rows, item);
		item_free(rows, item);
		scope->rows = row;
		if (row == 0) {
			index_scope_free(rows, scope);
			return steps - 1;
		}
		if (row % scope->block_rows == 0)
			index_block_drop(rows, scope);
	}
	return 0;
}

bool index_rows_tidy(struct index_rows *rows, size_t steps)
{
	while (rows->untidy && steps > 0) {
		if (index_scope_dead(rows->untidy))
			index_scope_tidied(rows, rows->untidy);
		else
			steps = scope_tidy(rows, rows->untidy, steps);
	}
	while (rows->dying && steps > 0) {
		struct index_space *space = rows->dying;
		struct index_scope *scope = space->scopes;
		if (!scope) {
			index_space_unqueue(rows, space);
		} else if (scope->pins) {
			DL_DELETE(space->scopes, scope);
			scope->parked = true;
		} else {
			steps = scope_reap(rows, scope, steps);
		}
	}
	return rows->untidy || rows->dying;
}

bool index_scope_ready(const struct index_scope *scope)
{
	return scope->removed_count == 0 || (scope->pins == 0 && scope->removed_count <= scope->rows / 2);
}

void index_scope_pin(struct index_rows *rows, struct index_scope *scope)
{
	scope->pins++;
	index_scope_tidied(rows, scope);
}

void index_scope_unpin(struct index_rows *rows, struct index_scope *scope)
{
	assert(scope->pins > 0);
	if (--scope->pins > 0)
		return;
	index_scope_free_retired(rows, scope);
	if (index_scope_dead(scope)) {
		if (scope->parked)
			DL_APPEND(scope->space->scopes, scope);
		scope->parked = false;
		index_space_queue(rows, scope->space);
		return;
	}
	if (!scope->removed)
		return;
	scope->untidy = true;
	DL_APPEND2(rows->untidy, scope, tidy_prev, tidy_next);
	(void)scope_tidy(rows, scope, UNPIN_STEPS);
}

/* ---- the interface ---- */

struct index_rows *index_rows_create(size_t max_bytes, struct metrics *metrics)
{
	struct index_rows *rows = calloc(1, sizeof(*rows));

	if (!rows)
		return NULL;
	rows->max_bytes = max_bytes;
	rows->metrics = metrics;
	if (table_init(&rows->items, max_bytes) || table_init(&rows->scopes, max_bytes) ||
	    table_init(&rows->names, max_bytes / 64)) {
		index_rows_destroy(rows);
		return NULL;
	}
	return rows;
}

void index_rows_destroy(struct index_rows *rows)
{
	if (!rows)
		return;
	while (rows->spaces)
		(void)index_space_kill(rows, rows->spaces);
	while (index_rows_tidy(rows, SIZE_MAX))
		;
	table_deinit(&rows->items);
	table_deinit(&rows->scopes);
	table_deinit(&rows->names);
	free(rows);
}

static size_t living_bytes(const struct index_rows *rows)
{
	return index_rows_bytes(rows, NULL) - rows->leaving;
}

/* Lets what was put first leave until the bytes fit. Returns whether `newest` could stay. */
static bool evict(struct index_rows *rows, const struct index_item *newest)
{
	while (living_bytes(rows) > rows->max_bytes) {
		struct index_item *item = rows->first;
		bool itself = item == newest;
		if (index_scope_dead(item->scope)) {
			item_unlist(rows, item);
			continue;
		}
		item_remove(rows, item);
		if (itself)
			return false;
		rows->metrics->index_evictions++;
	}
	return true;
}

static double norm_squared(const float *vector, unsigned dimensions)
{
	double sum = 0;

	for (unsigned i = 0; i < dimensions; i++)
		sum += (double)vector[i] * (double)vector[i];
	return sum;
}

/* Whether it can be scaled to unit length. */
static bool is_vector(const float *vector, unsigned dimensions)
{
	double sum = norm_squared(vector, dimensions);

	return isfinite(sum) && sum >= 1e-12;
}

static struct index_item *item_make(const struct entry *entry, struct index_scope *scope)
{
	bool has_second = entry->second && entry->second_dimensions <= INDEX_DIMENSIONS_MAX &&
			  is_vector(entry->second, entry->second_dimensions);
	unsigned second = has_second ? entry->second_dimensions : 0;
	struct index_item *item = malloc(item_size(entry->question.length, second));

	if (!item)
		return NULL;
	*item = (struct index_item){.identity = entry->identity,
				    .scope = scope,
				    .created_ms = entry->created_ms,
				    .created_at_ms = entry->created_at_ms,
				    .fresh_until_at_ms = entry->fresh_until_at_ms,
				    .expires_at_ms = entry->expires_at_ms,
				    .second_dimensions = second,
				    .question_length = entry->question.length};
	if (item->question_length)
		memcpy(item->question, entry->question.data, item->question_length);
	if (has_second)
		(void)index_vector_normalise(item_second(item), entry->second, second);
	return item;
}

/* Appends the entry to its scope, whose dimensions are right. Returns NULL without memory, and then nothing changed. */
static struct index_item *scope_append(struct index_rows *rows, struct index_scope *scope, const struct entry *entry)
{
	struct index_item *item = index_scope_reserve(rows, scope) ? item_make(entry, scope) : NULL;

	if (item && table_add(&rows->items, &item->node, &item->identity, sizeof(item->identity)) == 0) {
		(void)index_vector_normalise(row_vector(scope, scope->rows), entry->vector, entry->dimensions);
		row_set(scope, scope->rows++, item, entry->expires_at_ms);
		index_charge(rows, scope->space, item_bytes(item));
		scope->space->items++;
		rows->count++;
		item_list(rows, item);
		return item;
	}
	free(item);
	if (scope->rows == 0)
		index_scope_free(rows, scope);
	return NULL;
}

int index_vector_normalise(float *to, const float *from, unsigned dimensions)
{
	double sum = norm_squared(from, dimensions);

	if (!isfinite(sum) || sum < 1e-12)
		return ERROR_INVALID;
	double scale = fabs(sum - 1) < 1e-6 ? 1 : 1 / sqrt(sum);
	for (unsigned i = 0; i < dimensions; i++)
		to[i] = (float)((double)from[i] * scale);
	for (size_t i = dimensions; i < INDEX_STRIDE(dimensions); i++)
		to[i] = 0;
	return 0;
}

static int entry_check(struct index_rows *rows, const struct entry *entry)
{
	const struct index_scope *scope;

	if (!entry->compared || !entry->vector || entry->dimensions == 0)
		return ERROR_INVALID;
	if (entry->dimensions > INDEX_DIMENSIONS_MAX)
		return ERROR_TOO_LARGE;
	if (!is_vector(entry->vector, entry->dimensions))
		return ERROR_INVALID;
	scope = index_rows_scope(rows, &entry->scope);
	return scope && scope->dimensions != entry->dimensions ? ERROR_INVALID : 0;
}

int index_rows_put(struct index_rows *rows, const struct entry *entry)
{
	int error = entry_check(rows, entry);
	struct index_scope *scope;
	struct index_item *item;

	if (error)
		return error;
	(void)index_rows_tidy(rows, PUT_STEPS);
	(void)index_rows_remove(rows, &entry->identity);
	error = index_scope_get(rows, entry, &scope);
	if (error)
		return error;
	item = scope_append(rows, scope, entry);
	if (!item)
		return ERROR_MEMORY;
	return evict(rows, item) ? 0 : ERROR_TOO_LARGE;
}

bool index_rows_remove(struct index_rows *rows, const struct identity *identity)
{
	struct index_item *item = item_find(rows, identity);

	if (!item)
		return false;
	item_remove(rows, item);
	return true;
}

const float *index_rows_second(struct index_rows *rows, const struct identity *identity, uint64_t created_ms,
			       unsigned *dimensions)
{
	struct index_item *item = item_find(rows, identity);

	if (!item || item->created_ms != created_ms || item->second_dimensions == 0)
		return NULL;
	*dimensions = item->second_dimensions;
	return item_second(item);
}

size_t index_rows_flush(struct index_rows *rows, struct slice namespace)
{
	size_t count = 0;

	if (namespace.data) {
		struct index_space *space = index_space_find(rows, namespace);
		return space ? index_space_kill(rows, space) : 0;
	}
	while (rows->spaces)
		count += index_space_kill(rows, rows->spaces);
	return count;
}

const struct index_item *index_scope_item(const struct index_scope *scope, size_t row)
{
	const struct index_item *item = index_block_of(scope, row)->items[row % scope->block_rows];

	return item->removed ? NULL : item;
}

const float *index_scope_vector(const struct index_scope *scope, size_t row)
{
	return row_vector(scope, row);
}
