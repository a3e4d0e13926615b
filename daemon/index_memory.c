/* The embedded backend: rows of vectors (index_rows), scanned whole (index_scan).
 *
 *   search ── small scope ──> scanned at once
 *         └── large scope ──> a free place of INDEX_SCANS ──> thread pool ──> done
 *                        └──> waiting, FIFO ─────^  (those of one scope together, up to INDEX_QUERIES in one scan)
 *
 * What can go wrong: a search is cancelled (its query stays with the scan until that returns, nobody is called), the scope is
 * flushed meanwhile (no results), rows are removed meanwhile (passed over; if too few are left, it is scanned again), no
 * memory for the results (done with ERROR_MEMORY). Destroyed with scans running, everything is freed when the last of them
 * has returned, so the loop must run on. At most INDEX_SCANS run, because libuv's thread pool also resolves names. */
#include "index.h"

#include "../proto/error.h"
#include "index_elsewhere.h"
#include "index_rows.h"
#include "index_scan.h"
#include "metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <uv.h>

#define INDEX_SCANS 2
#define INDEX_QUERIES 8
#define INDEX_WAITING 65536
#define INDEX_SCAN_TRIES 3
/* What is scanned at once: some 0.05 ms if the vectors are in a processor cache, less than 0.3 ms if they are not. */
#define INLINE_FLOATS ((size_t)1 << 19)
/* Rows freed or filled in one turn of the loop, each some 0.5 us. */
#define TIDY_STEPS 256
/* How far the waiting are looked through for others of the same scope. */
#define GATHER_STEPS 256

/* One search from its start to its end. */
struct job {
	struct job *prev, *next;     /* while it waits */
	struct index_search *search; /* NULL = cancelled */
	struct index_memory *index;
	struct identity scope;
	unsigned dimensions, tries;
	bool waiting;
	struct index_query query;
	float vector[] __attribute__((aligned(INDEX_ALIGNMENT)));
};

/* A place on the thread pool. */
struct scan {
	uv_work_t work;
	struct index_memory *index;
	struct index_scope *scope; /* NULL = free */
	struct index_block *blocks;
	size_t rows;
	struct job *jobs[INDEX_QUERIES];
	struct index_query *queries[INDEX_QUERIES];
	size_t count;
};

struct index_memory {
	uv_loop_t *loop;
	uv_idle_t idle;
	struct index_rows *rows;
	struct metrics *metrics;
	index_kernel *kernel;
	struct job *waiting;
	size_t waiting_count;
	struct scan scans[INDEX_SCANS];
	struct index_elsewhere *elsewhere; /* takes one of the places while it runs */
	bool destroyed, idle_closed;
};

static void dispatch(struct index_memory *index);

/* ---- what was removed is freed while the loop has nothing else to do ---- */

static void on_idle(uv_idle_t *idle)
{
	struct index_memory *index = idle->data;

	if (!index_rows_tidy(index->rows, TIDY_STEPS))
		uv_idle_stop(idle);
	dispatch(index);
}

static void tidy_later(struct index_memory *index)
{
	if (!uv_is_active((uv_handle_t *)&index->idle) && index_rows_tidy(index->rows, 0))
		uv_idle_start(&index->idle, on_idle);
}

/* ---- jobs ---- */

static int job_create(struct index_memory *index, struct index_search *search, const struct identity *scope,
		      const float *vector, unsigned dimensions, uint64_t now_ms, struct job **created)
{
	size_t size = sizeof(struct job) + INDEX_STRIDE(dimensions) * sizeof(float);
	struct job *job = aligned_alloc(INDEX_ALIGNMENT, (size + INDEX_ALIGNMENT - 1) & ~(size_t)(INDEX_ALIGNMENT - 1));

	if (!job)
		return ERROR_MEMORY;
	*job = (struct job){.search = search, .index = index, .scope = *scope, .dimensions = dimensions};
	job->query.vector = job->vector;
	job->query.now_ms = now_ms;
	int error = index_vector_normalise(job->vector, vector, dimensions);
	if (error) {
		free(job);
		return error;
	}
	*created = job;
	return 0;
}

static void job_wait(struct index_memory *index, struct job *job)
{
	DL_APPEND(index->waiting, job);
	index->waiting_count++;
	job->waiting = true;
}

static void job_unwait(struct index_memory *index, struct job *job)
{
	DL_DELETE(index->waiting, job);
	index->waiting_count--;
	job->waiting = false;
}

/* One of the best rows, rescored. */
struct scored {
	const struct index_item *item;
	double similarity;
};

/* The rows that are still there, the nearest first by their exact similarity. Returns how many. */
static size_t job_rescore(const struct job *job, const struct index_scope *scope, struct scored *scored)
{
	size_t count = 0;

	for (size_t i = 0; i < job->query.count; i++) {
		size_t row = job->query.best[i].row;
		const struct index_item *item = index_scope_item(scope, row);
		if (!item)
			continue;
		double similarity = index_cosine(index_scope_vector(scope, row), job->vector, job->dimensions);
		size_t at = count++;
		for (; at > 0 && scored[at - 1].similarity < similarity; at--)
			scored[at] = scored[at - 1];
		scored[at] = (struct scored){item, similarity};
	}
	return count;
}

/* Hands the results to the search. Returns 0 or ERROR_MEMORY, and then there are none. */
static int job_results(const struct scored *scored, size_t count, struct index_search *search)
{
	search->count = 0;
	for (size_t i = 0; i < count && i < INDEX_CANDIDATES; i++) {
		if (index_take_row(search, scored[i].item, scored[i].similarity) != 0) {
			index_candidates_free(search);
			return ERROR_MEMORY;
		}
	}
	return 0;
}

/* Ends a job that is in no list. The callback may do anything to the index. */
static void job_done(struct job *job, int error)
{
	struct index_search *search = job->search;

	job->search = NULL;
	if (!search)
		return;
	search->private = NULL;
	search->done(search, error);
}

/* ---- scans on the thread pool ---- */

static void scan_work(uv_work_t *work)
{
	struct scan *scan = work->data;
	const struct index_scope *scope = scan->scope;

	index_scan(scan->index->kernel, scan->blocks, scope->block_rows, scan->rows, scope->stride, scan->queries,
		   scan->count);
}

static struct scan *scan_free_place(struct index_memory *index)
{
	struct scan *place = NULL;
	size_t taken = index_elsewhere_runs(index->elsewhere);

	for (size_t i = 0; i < INDEX_SCANS; i++) {
		if (index->scans[i].scope)
			taken++;
		else
			place = &index->scans[i];
	}
	return taken < INDEX_SCANS ? place : NULL;
}

static void index_free(struct index_memory *index)
{
	for (size_t i = 0; i < INDEX_SCANS; i++)
		if (index->scans[i].scope)
			return;
	if (!index->destroyed || !index->idle_closed || index_elsewhere_runs(index->elsewhere))
		return;
	index_elsewhere_destroy(index->elsewhere);
	index_rows_destroy(index->rows);
	free(index);
}

/* Tells one search its results, or lets it wait for another scan if too many of its rows were removed meanwhile. */
static void scan_finish(struct scan *scan, struct job *job)
{
	struct scored scored[INDEX_SCAN_BEST];
	size_t count = 0;

	if (job->search && !index_scope_dead(scan->scope)) {
		count = job_rescore(job, scan->scope, scored);
		if (count < INDEX_CANDIDATES && job->query.count == INDEX_SCAN_BEST && ++job->tries < INDEX_SCAN_TRIES) {
			job_wait(scan->index, job);
			return;
		}
	}
	if (job->search)
		job_done(job, job_results(scored, count, job->search));
	free(job);
}

static void on_scanned(uv_work_t *work, int status)
{
	struct scan *scan = work->data;
	struct index_memory *index = scan->index;

	assert(status == 0); /* work is never cancelled */
	(void)status;
	for (size_t i = 0; i < scan->count; i++) {
		struct job *job = scan->jobs[i];
		scan->jobs[i] = NULL; /* a callback may flush or destroy, which look at the jobs still to come */
		scan_finish(scan, job);
	}
	index_scope_unpin(index->rows, scan->scope);
	free(scan->blocks);
	scan->blocks = NULL;
	scan->scope = NULL;
	if (index->destroyed) {
		index_free(index);
		return;
	}
	tidy_later(index);
	/* Where both wait, they take turns: what was not running now comes first. */
	if (!index_elsewhere_runs(index->elsewhere))
		index_elsewhere_go_on(index->elsewhere);
	if (!index->destroyed)
		dispatch(index);
}

/* A batch of a search elsewhere has left the thread pool. */
static void on_elsewhere(void *data)
{
	struct index_memory *index = data;

	if (index->destroyed) {
		index_free(index);
		return;
	}
	tidy_later(index);
	dispatch(index);
}

static void scan_add(struct scan *scan, struct job *job)
{
	scan->jobs[scan->count] = job;
	scan->queries[scan->count++] = &job->query;
}

/* Starts a scan for `job` and those waiting for the same scope. Returns 0 or ERROR_MEMORY, and then nothing changed. */
static int scan_start(struct index_memory *index, struct scan *scan, struct index_scope *scope, struct job *job)
{
	size_t blocks_bytes = scope->block_count * sizeof(struct index_block);
	struct index_block *blocks = malloc(blocks_bytes);
	struct job *other = index->waiting;

	if (!blocks)
		return ERROR_MEMORY;
	memcpy(blocks, scope->blocks, blocks_bytes);
	scan->work.data = scan;
	scan->index = index;
	scan->scope = scope;
	scan->blocks = blocks;
	scan->rows = scope->rows;
	scan->count = 0;
	if (job->waiting)
		job_unwait(index, job);
	scan_add(scan, job);
	if (other == job)
		other = index->waiting;
	for (int step = 0; other && step < GATHER_STEPS && scan->count < INDEX_QUERIES; step++) {
		struct job *next = other->next;
		if (other->dimensions == scope->dimensions && identity_equal(&other->scope, &scope->identity)) {
			job_unwait(index, other);
			scan_add(scan, other);
		}
		other = next;
	}
	index_scope_pin(index->rows, scope);
	index->metrics->index_scans_offloaded += scan->count;
	int status = uv_queue_work(index->loop, &scan->work, scan_work, on_scanned);
	assert(status == 0); /* it only fails without a callback */
	(void)status;
	return 0;
}

static void dispatch_jobs(struct index_memory *index)
{
	struct job *job = index->waiting;

	while (job) {
		struct index_scope *scope = index_rows_scope(index->rows, &job->scope);
		struct scan *scan = scan_free_place(index);
		int error = 0;
		if (scope && scope->dimensions == job->dimensions) {
			if (!scan)
				return;
			if (!index_scope_ready(scope)) {
				job = job->next;
				continue;
			}
			error = scan_start(index, scan, scope, job);
		}
		if (!scope || scope->dimensions != job->dimensions || error) {
			job_unwait(index, job);
			job->search->count = 0;
			job_done(job, error);
			free(job);
			if (index->destroyed)
				return;
		}
		/* The list is another now. */
		job = index->waiting;
	}
}

/* Starts what waits and can be started. Callbacks may come from here, so it is called only from the loop. */
static void dispatch(struct index_memory *index)
{
	dispatch_jobs(index);
	if (!index->destroyed && scan_free_place(index))
		index_elsewhere_go_on(index->elsewhere);
	if (!index->destroyed)
		tidy_later(index);
}

/* ---- struct index_ops ---- */

static int memory_put(void *state, const struct entry *entry)
{
	struct index_memory *index = state;
	int error = index_rows_put(index->rows, entry);

	tidy_later(index);
	return error;
}

static bool memory_remove(void *state, const struct identity *identity)
{
	struct index_memory *index = state;

	return index_rows_remove(index->rows, identity);
}

static size_t memory_flush(void *state, struct slice namespace)
{
	struct index_memory *index = state;
	size_t count = index_rows_flush(index->rows, namespace);

	for (size_t i = 0; i < INDEX_SCANS; i++) {
		struct scan *scan = &index->scans[i];
		if (!scan->scope || !index_scope_dead(scan->scope))
			continue;
		for (size_t k = 0; k < scan->count; k++)
			if (scan->jobs[k])
				__atomic_store_n(&scan->jobs[k]->query.cancelled, true, __ATOMIC_RELAXED);
	}
	tidy_later(index);
	return count;
}

/* Scans a small scope at once. Returns 1 or ERROR_MEMORY. */
static int search_at_once(struct index_memory *index, const struct index_scope *scope, struct job *job)
{
	struct index_query *query = &job->query;
	struct scored scored[INDEX_SCAN_BEST];

	index_scan(index->kernel, scope->blocks, scope->block_rows, scope->rows, scope->stride, &query, 1);
	int error = job_results(scored, job_rescore(job, scope, scored), job->search);
	free(job);
	return error ? error : 1;
}

static int memory_search(void *state, struct index_search *search, const struct identity *identity, const float *vector,
			 unsigned dimensions, uint64_t now_ms)
{
	struct index_memory *index = state;
	struct index_scope *scope = index_rows_scope(index->rows, identity);
	struct job *job;

	if (!vector || dimensions == 0 || dimensions > INDEX_DIMENSIONS_MAX || (scope && scope->dimensions != dimensions))
		return ERROR_INVALID;
	if (index->waiting_count >= INDEX_WAITING)
		return ERROR_BUSY;
	int error = job_create(index, search, identity, vector, dimensions, now_ms, &job);
	if (error)
		return error;
	search->count = 0;
	search->private = NULL;
	if (!scope) {
		free(job);
		return 1;
	}
	if (scope->rows * scope->stride <= INLINE_FLOATS)
		return search_at_once(index, scope, job);
	struct scan *scan = scan_free_place(index);
	if (scan && index_scope_ready(scope)) {
		error = scan_start(index, scan, scope, job);
		if (error) {
			free(job);
			return error;
		}
	} else {
		job_wait(index, job);
	}
	search->private = job;
	search->is_elsewhere = false;
	return 0;
}

static int memory_search_elsewhere(void *state, struct index_search *search, struct slice namespace,
				   const struct identity *except, const float *vector, unsigned dimensions, uint64_t now_ms)
{
	struct index_memory *index = state;

	if (!vector || dimensions == 0 || dimensions > INDEX_DIMENSIONS_MAX)
		return ERROR_INVALID;
	int outcome = index_elsewhere_start(index->elsewhere, search, namespace, except, vector, dimensions, now_ms);
	/* It is dispatched in the loop's next turn, so that no callback comes before this returns. */
	if (outcome == 0 && !uv_is_active((uv_handle_t *)&index->idle))
		uv_idle_start(&index->idle, on_idle);
	return outcome;
}

static void memory_cancel(void *state, struct index_search *search)
{
	struct index_memory *index = state;
	struct job *job = search->private;

	if (!job)
		return;
	if (search->is_elsewhere) {
		index_elsewhere_cancel(index->elsewhere, search);
		tidy_later(index);
		return;
	}
	search->private = NULL;
	job->search = NULL;
	if (job->waiting) {
		job_unwait(index, job);
		free(job);
	} else {
		__atomic_store_n(&job->query.cancelled, true, __ATOMIC_RELAXED);
	}
}

static const float *memory_second(void *state, const struct identity *identity, uint64_t created_ms, unsigned *dimensions)
{
	struct index_memory *index = state;

	return index_rows_second(index->rows, identity, created_ms, dimensions);
}

static size_t memory_bytes(void *state, size_t *entries)
{
	struct index_memory *index = state;

	return index_rows_bytes(index->rows, entries);
}

static void on_idle_closed(uv_handle_t *handle)
{
	struct index_memory *index = handle->data;

	index->idle_closed = true;
	index_free(index);
}

static void memory_destroy(void *state)
{
	struct index_memory *index = state;

	index->destroyed = true;
	while (index->waiting) {
		index->waiting->search->private = NULL;
		struct job *job = index->waiting;
		job_unwait(index, job);
		free(job);
	}
	for (size_t i = 0; i < INDEX_SCANS; i++)
		for (size_t k = 0; index->scans[i].scope && k < index->scans[i].count; k++) {
			struct job *job = index->scans[i].jobs[k];
			if (job && job->search)
				memory_cancel(index, job->search);
		}
	index_elsewhere_stop(index->elsewhere);
	uv_close((uv_handle_t *)&index->idle, on_idle_closed);
}

static const struct index_ops memory_ops = {
	.put = memory_put,
	.remove = memory_remove,
	.flush = memory_flush,
	.search = memory_search,
	.search_elsewhere = memory_search_elsewhere,
	.cancel = memory_cancel,
	.second = memory_second,
	.bytes = memory_bytes,
	.destroy = memory_destroy,
};

int index_memory_create(struct index *index, struct uv_loop_s *loop, size_t max_bytes, struct metrics *metrics)
{
	struct index_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return ERROR_MEMORY;
	memory->loop = loop;
	memory->metrics = metrics;
	memory->kernel = index_kernel_select();
	memory->rows = index_rows_create(max_bytes, metrics);
	if (memory->rows)
		memory->elsewhere = index_elsewhere_create(loop, memory->rows, memory->kernel, on_elsewhere, memory);
	if (!memory->elsewhere) {
		index_rows_destroy(memory->rows);
		free(memory);
		return ERROR_MEMORY;
	}
	(void)uv_idle_init(loop, &memory->idle);
	memory->idle.data = memory;
	*index = (struct index){&memory_ops, memory};
	return 0;
}
