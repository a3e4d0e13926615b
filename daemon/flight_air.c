/* The flights in CHAT that can be joined by meaning, per scope: their vectors side by side, so that finding the nearest of a
 * thousand takes a tenth of a millisecond.
 *
 *   scope ─> blocks of 4, 8, 16 … rows, never moved; the last row takes the place of one that leaves
 *
 * What can go wrong is only memory, and then a flight cannot be joined by meaning. */
#include "flight_private.h"

#include "index_scan.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_FIRST 4 /* rows */
#define BLOCKS 20
#define SLICE_ROWS 256

struct flight_scope {
	struct identity scope;
	unsigned dimensions;
	size_t count;
	float *rows[BLOCKS];
	struct flight **flights[BLOCKS];
	UT_hash_handle hh;
};

struct place {
	size_t block, row;
};

/* Returns how many rows lie before `block`. */
static size_t rows_before(size_t block)
{
	return BLOCK_FIRST * (((size_t)1 << block) - 1);
}

static struct place place_of(size_t row)
{
	size_t block = 0;

	while (row >= rows_before(block + 1))
		block++;
	return (struct place){block, row - rows_before(block)};
}

static float *row_at(const struct flight_scope *scope, struct place place)
{
	return scope->rows[place.block] + place.row * INDEX_STRIDE(scope->dimensions);
}

/* Makes room for one row more. Returns whether there is. */
static bool scope_grow(struct flight_scope *scope)
{
	size_t block = place_of(scope->count).block, rows = (size_t)BLOCK_FIRST << block;

	if (block >= BLOCKS)
		return false;
	if (scope->rows[block])
		return true;
	float *vectors = aligned_alloc(INDEX_ALIGNMENT, rows * INDEX_STRIDE(scope->dimensions) * sizeof(float));
	struct flight **flights = malloc(rows * sizeof(*flights));
	if (!vectors || !flights) {
		free(vectors);
		free(flights);
		return false;
	}
	scope->rows[block] = vectors;
	scope->flights[block] = flights;
	return true;
}

static void scope_free(struct flights *flights, struct flight_scope *scope)
{
	HASH_DEL(flights->scopes, scope);
	for (size_t block = 0; block < BLOCKS; block++) {
		free(scope->rows[block]);
		free(scope->flights[block]);
	}
	free(scope);
}

static struct flight_scope *scope_find(struct flights *flights, const struct identity *scope)
{
	struct flight_scope *found = NULL;

	HASH_FIND(hh, flights->scopes, scope, sizeof(*scope), found);
	return found;
}

static struct flight_scope *scope_make(struct flights *flights, const struct flight *flight)
{
	struct flight_scope *scope = calloc(1, sizeof(*scope));

	if (!scope)
		return NULL;
	scope->scope = flight->scope;
	scope->dimensions = flight->dimensions;
	HASH_ADD(hh, flights->scopes, scope, sizeof(scope->scope), scope);
	if (scope->hh.tbl)
		return scope;
	free(scope);
	return NULL;
}

/* A kernel wants rows aligned and filled up with zeros. */
static void fill_row(float *row, const float *vector, unsigned dimensions)
{
	memcpy(row, vector, dimensions * sizeof(*row));
	for (size_t i = dimensions; i < INDEX_STRIDE(dimensions); i++)
		row[i] = 0;
}

void flight_show(struct flight *flight)
{
	struct flights *flights = flight->service->flights;

	if (!flight->compared || !flight->vector || flight->forgotten || flight->kind != FLIGHT_ASK)
		return;
	struct flight_scope *scope = scope_find(flights, &flight->scope);
	if (!scope)
		scope = scope_make(flights, flight);
	if (!scope)
		return;
	if (scope->dimensions != flight->dimensions || !scope_grow(scope)) {
		if (scope->count == 0)
			scope_free(flights, scope);
		return;
	}
	struct place place = place_of(scope->count);
	fill_row(row_at(scope, place), flight->vector, flight->dimensions);
	scope->flights[place.block][place.row] = flight;
	flight->air_row = scope->count++;
	flight->is_visible = true;
}

void flight_hide(struct flight *flight)
{
	if (!flight->is_visible)
		return;
	struct flight_scope *scope = scope_find(flight->service->flights, &flight->scope);
	struct place place = place_of(flight->air_row), last = place_of(--scope->count);
	struct flight *moved = scope->flights[last.block][last.row];

	flight->is_visible = false;
	if (moved != flight) {
		memcpy(row_at(scope, place), row_at(scope, last), INDEX_STRIDE(scope->dimensions) * sizeof(float));
		scope->flights[place.block][place.row] = moved;
		moved->air_row = flight->air_row;
	}
	if (scope->count == 0)
		scope_free(flight->service->flights, scope);
}

/* The nearest so far, best first. */
struct nearest {
	struct flight *flights[FLIGHT_NEAR];
	float products[FLIGHT_NEAR];
	size_t count;
};

static void nearest_add(struct nearest *nearest, struct flight *flight, float product)
{
	size_t place = nearest->count;

	if (nearest->count < FLIGHT_NEAR)
		nearest->count++;
	else if (!(product > nearest->products[--place]))
		return;
	for (; place > 0 && product > nearest->products[place - 1]; place--) {
		nearest->products[place] = nearest->products[place - 1];
		nearest->flights[place] = nearest->flights[place - 1];
	}
	nearest->products[place] = product;
	nearest->flights[place] = flight;
}

/* Looks at the first `rows` of a block. */
static void scan_block(const struct flight_scope *scope, size_t block, size_t rows, const float *query,
		       struct nearest *nearest)
{
	index_kernel *kernel = index_kernel_select();
	size_t stride = INDEX_STRIDE(scope->dimensions);
	float products[SLICE_ROWS];

	for (size_t from = 0; from < rows; from += SLICE_ROWS) {
		size_t count = rows - from < SLICE_ROWS ? rows - from : SLICE_ROWS;
		kernel(scope->rows[block] + from * stride, count, stride, query, products);
		for (size_t i = 0; i < count; i++)
			nearest_add(nearest, scope->flights[block][from + i], products[i]);
	}
}

size_t flight_nearest(const struct flight *flight, struct flight_near near[])
{
	struct flight_scope *scope = scope_find(flight->service->flights, &flight->scope);
	struct nearest nearest = {.count = 0};

	if (!scope || scope->dimensions != flight->dimensions)
		return 0;
	float *query = aligned_alloc(INDEX_ALIGNMENT, INDEX_STRIDE(flight->dimensions) * sizeof(float));
	if (!query)
		return 0;
	fill_row(query, flight->vector, flight->dimensions);
	for (size_t block = 0; block < BLOCKS && rows_before(block) < scope->count; block++) {
		size_t rest = scope->count - rows_before(block), rows = (size_t)BLOCK_FIRST << block;
		scan_block(scope, block, rest < rows ? rest : rows, query, &nearest);
	}
	free(query);
	/* The decision is made on what a search would measure. */
	for (size_t i = 0; i < nearest.count; i++) {
		near[i].flight = nearest.flights[i];
		near[i].similarity = index_cosine(flight->vector, nearest.flights[i]->vector, flight->dimensions);
	}
	return nearest.count;
}
