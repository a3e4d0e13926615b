/*  namespace ──> scopes, from the oldest on, but for the caller's own ──> batch: pinned ──> thread pool ──> results taken
 *                   ^─────────────── the last one stays pinned, and the next batch begins behind it ────────────────┘
 *
 * Happy path: what is small is scanned at once; else a sweep waits for a place on the thread pool and goes through the namespace
 * batch by batch, keeping the nearest rows seen so far.
 * What can go wrong: the search is cancelled (the sweep ends when its batch returns), the namespace is flushed (no results), a
 * scope lets no reader in now (the batch ends before it, and the next one begins with it), no memory (done with
 * ERROR_MEMORY). */
#include "index_elsewhere.h"

#include "../proto/error.h"
#include "index_scope.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <uv.h>

/* What is scanned at once, as for one scope, and how many scopes that may be. */
#define ONCE_FLOATS ((size_t)1 << 19)
#define ONCE_SCOPES 64
/* A batch: some 10 ms on the thread pool, and 0.1 ms on the loop to gather it. Only a scope of its own can be larger. */
#define BATCH_FLOATS ((size_t)1 << 24)
#define BATCH_SCOPES 512
#define SWEEPS_WAITING 64

/* One search from its start to its end. */
struct sweep {
	struct sweep *prev, *next;
	struct index_search *search; /* NULL = cancelled */
	struct identity except;
	struct index_scope *cursor; /* the last one that was scanned, pinned; NULL = none was */
	unsigned dimensions;
	struct index_query query;
	size_t name_length;
	char name[64];
	float vector[] __attribute__((aligned(INDEX_ALIGNMENT)));
};

/* A scope of the batch. */
struct part {
	struct index_scope *scope;
	struct index_block *blocks; /* a copy */
	size_t rows;
};

/* The nearest rows seen, of several scopes. */
struct nearest {
	size_t count;
	struct near {
		struct index_scope *scope;
		size_t row;
		float similarity;
	} best[INDEX_SCAN_BEST];
};

struct index_elsewhere {
	uv_loop_t *loop;
	struct index_rows *rows;
	index_kernel *kernel;
	void (*ended)(void *data);
	void *data;
	struct sweep *sweeps; /* the first has its turn */
	size_t sweep_count;
	bool is_stopped;

	/* the batch */
	uv_work_t work;
	struct sweep *running; /* whose it is; NULL = none */
	struct part parts[BATCH_SCOPES];
	size_t part_count;
	struct index_block *blocks;
	struct nearest nearest;
};

int index_take_row(struct index_search *search, const struct index_item *item, double similarity)
{
	size_t at = search->count;

	while (at > 0 && search->candidates[at - 1].similarity < similarity)
		at--;
	if (at == INDEX_CANDIDATES)
		return 0;
	char *question = malloc(item->question_length + 1);
	if (!question)
		return ERROR_MEMORY;
	memcpy(question, item->question, item->question_length);
	question[item->question_length] = 0;
	if (search->count == INDEX_CANDIDATES)
		free(search->candidates[--search->count].question);
	memmove(&search->candidates[at + 1], &search->candidates[at], (search->count - at) * sizeof(search->candidates[0]));
	search->count++;
	search->candidates[at] = (struct candidate){
		.identity = item->identity,
		.similarity = similarity,
		.created_ms = item->created_ms,
		.created_at_ms = item->created_at_ms,
		.fresh_until_at_ms = item->fresh_until_at_ms,
		.expires_at_ms = item->expires_at_ms,
		.opinion = (double)NAN,
		.question = question,
		.question_length = item->question_length,
	};
	return 0;
}

/* ---- one scope, on any thread ---- */

static void nearest_sort_in(struct nearest *nearest, struct near found)
{
	size_t at = nearest->count < INDEX_SCAN_BEST ? nearest->count++ : INDEX_SCAN_BEST - 1;

	for (; at > 0 && nearest->best[at - 1].similarity < found.similarity; at--)
		nearest->best[at] = nearest->best[at - 1];
	nearest->best[at] = found;
}

static void scan_part(index_kernel *kernel, struct index_query *query, const struct part *part, struct nearest *nearest)
{
	index_scan(kernel, part->blocks, part->scope->block_rows, part->rows, part->scope->stride, &query, 1);
	for (size_t i = 0; i < query->count; i++) {
		const struct index_best *best = &query->best[i];
		if (nearest->count == INDEX_SCAN_BEST && best->similarity <= nearest->best[INDEX_SCAN_BEST - 1].similarity)
			break;
		nearest_sort_in(nearest, (struct near){part->scope, best->row, best->similarity});
	}
}

/* ---- sweeps ---- */

static bool is_other(const struct index_scope *scope, const struct sweep *sweep)
{
	return scope->rows > 0 && scope->dimensions == sweep->dimensions &&
	       !identity_equal(&scope->identity, &sweep->except);
}

static int sweep_create(struct index_search *search, struct slice namespace, const struct identity *except,
			const float *vector, unsigned dimensions, uint64_t now_ms, struct sweep **created)
{
	size_t size = sizeof(struct sweep) + INDEX_STRIDE(dimensions) * sizeof(float);
	struct sweep *sweep;

	if (namespace.length > sizeof(sweep->name))
		return ERROR_INVALID;
	sweep = aligned_alloc(INDEX_ALIGNMENT, (size + INDEX_ALIGNMENT - 1) & ~(size_t)(INDEX_ALIGNMENT - 1));
	if (!sweep)
		return ERROR_MEMORY;
	*sweep = (struct sweep){
		.search = search, .except = *except, .dimensions = dimensions, .name_length = namespace.length};
	if (namespace.length)
		memcpy(sweep->name, namespace.data, namespace.length);
	sweep->query.vector = sweep->vector;
	sweep->query.now_ms = now_ms;
	int error = index_vector_normalise(sweep->vector, vector, dimensions);
	if (error) {
		free(sweep);
		return error;
	}
	*created = sweep;
	return 0;
}

/* Takes the sweep out of the list, and frees it. */
static void sweep_end(struct index_elsewhere *elsewhere, struct sweep *sweep)
{
	DL_DELETE(elsewhere->sweeps, sweep);
	elsewhere->sweep_count--;
	if (sweep->cursor)
		index_scope_unpin(elsewhere->rows, sweep->cursor);
	free(sweep);
}

/* Ends the sweep and tells its search, which may do anything. */
static void sweep_done(struct index_elsewhere *elsewhere, struct sweep *sweep, int error)
{
	struct index_search *search = sweep->search;

	sweep_end(elsewhere, sweep);
	if (error)
		index_candidates_free(search);
	search->private = NULL;
	search->done(search, error);
}

/* Whether so little is in the namespace that it may be scanned at once. */
static bool is_small(const struct index_space *space)
{
	const struct index_scope *scope;
	size_t floats = 0;

	if (space->scope_count > ONCE_SCOPES)
		return false;
	DL_FOREACH (space->scopes, scope)
		floats += scope->rows * scope->stride;
	return floats <= ONCE_FLOATS;
}

/* Takes what was found into the search's results. Returns 0 or ERROR_MEMORY. */
static int take_nearest(const struct nearest *nearest, struct sweep *sweep)
{
	int error = 0;

	for (size_t i = 0; i < nearest->count && !error; i++) {
		const struct near *found = &nearest->best[i];
		const struct index_item *item = index_scope_item(found->scope, found->row);
		if (!item)
			continue;
		double similarity = index_cosine(index_scope_vector(found->scope, found->row), sweep->vector,
						 sweep->dimensions);
		error = index_take_row(sweep->search, item, similarity);
	}
	return error;
}

/* Returns 1 or ERROR_MEMORY. */
static int scan_at_once(struct index_elsewhere *elsewhere, struct sweep *sweep, const struct index_space *space)
{
	struct nearest nearest = {.count = 0};
	struct index_scope *scope;

	DL_FOREACH (space->scopes, scope) {
		const struct part part = {scope, scope->blocks, scope->rows};
		if (is_other(scope, sweep))
			scan_part(elsewhere->kernel, &sweep->query, &part, &nearest);
	}
	int error = take_nearest(&nearest, sweep);
	if (error)
		index_candidates_free(sweep->search);
	return error ? error : 1;
}

/* ---- batches ---- */

/* Names the scopes of the next batch, beginning with `scope`; they are not pinned yet. `*blocks` counts their blocks.
 * Returns whether there is none because the first one lets no reader in now. */
static bool batch_gather(struct index_elsewhere *elsewhere, const struct sweep *sweep, struct index_scope *scope,
			 size_t *blocks)
{
	size_t floats = 0;

	elsewhere->part_count = 0;
	*blocks = 0;
	for (; scope && elsewhere->part_count < BATCH_SCOPES; scope = scope->next) {
		if (!is_other(scope, sweep))
			continue;
		if (elsewhere->part_count > 0 && floats + scope->rows * scope->stride > BATCH_FLOATS)
			break;
		if (!index_scope_ready(scope))
			return elsewhere->part_count == 0;
		elsewhere->parts[elsewhere->part_count++] = (struct part){.scope = scope, .rows = scope->rows};
		floats += scope->rows * scope->stride;
		*blocks += scope->block_count;
	}
	return false;
}

/* Pins the scopes of the batch, with copies of their lists of blocks. Returns 0 or ERROR_MEMORY, and then nothing
 * changed. */
static int batch_pin(struct index_elsewhere *elsewhere, size_t count)
{
	struct index_block *blocks = malloc(count * sizeof(*blocks));

	if (!blocks)
		return ERROR_MEMORY;
	elsewhere->blocks = blocks;
	for (size_t i = 0; i < elsewhere->part_count; i++) {
		struct part *part = &elsewhere->parts[i];
		memcpy(blocks, part->scope->blocks, part->scope->block_count * sizeof(*blocks));
		part->blocks = blocks;
		blocks += part->scope->block_count;
		index_scope_pin(elsewhere->rows, part->scope);
	}
	return 0;
}

static void batch_work(uv_work_t *work)
{
	struct index_elsewhere *elsewhere = work->data;
	struct index_query *query = &elsewhere->running->query;

	elsewhere->nearest.count = 0;
	for (size_t i = 0; i < elsewhere->part_count; i++)
		if (!__atomic_load_n(&query->cancelled, __ATOMIC_RELAXED))
			scan_part(elsewhere->kernel, query, &elsewhere->parts[i], &elsewhere->nearest);
}

static void on_batch(uv_work_t *work, int status)
{
	struct index_elsewhere *elsewhere = work->data;
	struct sweep *sweep = elsewhere->running;
	struct index_scope *last = elsewhere->parts[elsewhere->part_count - 1].scope;
	int error = 0;

	assert(status == 0); /* work is never cancelled */
	(void)status;
	elsewhere->running = NULL;
	if (sweep->search && !index_scope_dead(last))
		error = take_nearest(&elsewhere->nearest, sweep);
	/* The last one stays pinned, so that the sweep can go on behind it. */
	for (size_t i = 0; i + 1 < elsewhere->part_count; i++)
		index_scope_unpin(elsewhere->rows, elsewhere->parts[i].scope);
	if (sweep->cursor)
		index_scope_unpin(elsewhere->rows, sweep->cursor);
	sweep->cursor = last;
	free(elsewhere->blocks);
	elsewhere->blocks = NULL;
	if (!sweep->search)
		sweep_end(elsewhere, sweep);
	else if (error)
		sweep_done(elsewhere, sweep, error);
	elsewhere->ended(elsewhere->data);
}

/* Starts the next batch of `sweep`. Returns 0 (it runs), 1 (nothing is left) or ERROR_MEMORY; ERROR_PENDING = not now. */
static int batch_start(struct index_elsewhere *elsewhere, struct sweep *sweep)
{
	struct index_space *space = index_space_find(elsewhere->rows, (struct slice){sweep->name, sweep->name_length});
	size_t blocks;

	if (sweep->cursor && index_scope_dead(sweep->cursor)) {
		index_candidates_free(sweep->search);
		return 1;
	}
	struct index_scope *scope = sweep->cursor ? sweep->cursor->next : space ? space->scopes : NULL;
	if (batch_gather(elsewhere, sweep, scope, &blocks))
		return ERROR_PENDING;
	if (elsewhere->part_count == 0)
		return 1;
	int error = batch_pin(elsewhere, blocks);
	if (error)
		return error;
	elsewhere->running = sweep;
	elsewhere->work.data = elsewhere;
	int status = uv_queue_work(elsewhere->loop, &elsewhere->work, batch_work, on_batch);
	assert(status == 0); /* it only fails without a callback */
	(void)status;
	return 0;
}

void index_elsewhere_go_on(struct index_elsewhere *elsewhere)
{
	while (!elsewhere->running && !elsewhere->is_stopped && elsewhere->sweeps) {
		struct sweep *sweep = elsewhere->sweeps;
		int outcome = batch_start(elsewhere, sweep);
		if (outcome == ERROR_PENDING)
			return;
		if (outcome != 0)
			sweep_done(elsewhere, sweep, outcome < 0 ? outcome : 0);
	}
}

/* ---- the interface ---- */

struct index_elsewhere *index_elsewhere_create(struct uv_loop_s *loop, struct index_rows *rows, index_kernel *kernel,
					       void (*ended)(void *data), void *data)
{
	struct index_elsewhere *elsewhere = calloc(1, sizeof(*elsewhere));

	if (!elsewhere)
		return NULL;
	elsewhere->loop = loop;
	elsewhere->rows = rows;
	elsewhere->kernel = kernel;
	elsewhere->ended = ended;
	elsewhere->data = data;
	return elsewhere;
}

int index_elsewhere_start(struct index_elsewhere *elsewhere, struct index_search *search, struct slice namespace,
			  const struct identity *except, const float *vector, unsigned dimensions, uint64_t now_ms)
{
	const struct index_space *space = index_space_find(elsewhere->rows, namespace);
	struct sweep *sweep;

	if (elsewhere->sweep_count >= SWEEPS_WAITING)
		return ERROR_BUSY;
	int error = sweep_create(search, namespace, except, vector, dimensions, now_ms, &sweep);
	if (error)
		return error;
	search->count = 0;
	search->private = NULL;
	if (!space || is_small(space)) {
		int outcome = space ? scan_at_once(elsewhere, sweep, space) : 1;
		free(sweep);
		return outcome;
	}
	DL_APPEND(elsewhere->sweeps, sweep);
	elsewhere->sweep_count++;
	search->private = sweep;
	search->is_elsewhere = true;
	return 0;
}

void index_elsewhere_cancel(struct index_elsewhere *elsewhere, struct index_search *search)
{
	struct sweep *sweep = search->private;

	search->private = NULL;
	sweep->search = NULL;
	if (sweep == elsewhere->running)
		__atomic_store_n(&sweep->query.cancelled, true, __ATOMIC_RELAXED);
	else
		sweep_end(elsewhere, sweep);
}

bool index_elsewhere_runs(const struct index_elsewhere *elsewhere)
{
	return elsewhere->running != NULL;
}

void index_elsewhere_stop(struct index_elsewhere *elsewhere)
{
	struct sweep *sweep, *next;

	elsewhere->is_stopped = true;
	DL_FOREACH_SAFE (elsewhere->sweeps, sweep, next)
		if (sweep->search)
			index_elsewhere_cancel(elsewhere, sweep->search);
}

void index_elsewhere_destroy(struct index_elsewhere *elsewhere)
{
	free(elsewhere);
}
