/* texts ──> at most IN_THE_AIR at the embedder at once ──> rows, in the texts' order; the loop ends when none is left.
 *
 * A text that the embedder refuses while it answers others is matched exactly only, as in the daemon. What can go wrong: it
 * does not answer. What failed is asked for again when it is up, and after some seconds without a single vector all is
 * given up. */
#include "evaluate_vectors.h"

#include "../proto/error.h"
#include "config.h"
#include "deadline.h"
#include "embedder.h"
#include "http.h"
#include "index_scan.h"
#include "metrics.h"
#include "part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define IN_THE_AIR ((size_t)EMBEDDER_TRANSFERS * EMBEDDER_BATCH * 2)
#define RETRY_MS 100
#define PATIENCE_MS 5000
#define PATIENCE_UP_MS 30000
#define TIMEOUT_MS 10000
#define SECOND_TIMEOUT_MS 60000

struct slot {
	struct embedding embedding;
	struct work *work;
	uint32_t text;
};

/* All there is while vectors are being made. */
struct work {
	uv_loop_t loop;
	struct deadlines *deadlines;
	struct http *http;
	struct embedder *embedder;
	struct config config; /* a copy that shares everything with the caller's */
	struct metrics metrics;
	struct log log;
	struct part part;
	struct deadline retry;
	const struct slice *texts;
	struct evaluate_vectors *out;
	struct slot *slots; /* one for each text */
	uint32_t *again;    /* texts that failed and are asked for once more */
	size_t again_count;
	size_t next, in_the_air;
	uint64_t progress_at_ms;
	int error;
	bool pumping;
};

static bool is_done(const struct work *work)
{
	return work->error || (work->next == work->out->count && work->again_count == 0 && work->in_the_air == 0);
}

/* Closes the parts, so that the loop ends. */
static void work_end(struct work *work)
{
	if (!work->deadlines)
		return;
	embedder_destroy(work->embedder);
	work->embedder = NULL;
	deadline_stop(work->deadlines, &work->retry);
	if (work->http)
		http_destroy(work->http);
	work->http = NULL;
	deadlines_destroy(work->deadlines);
	work->deadlines = NULL;
}

static int rows_make(struct evaluate_vectors *vectors, unsigned dimensions)
{
	vectors->dimensions = dimensions;
	vectors->stride = INDEX_STRIDE(dimensions);
	if (vectors->count > SIZE_MAX / sizeof(float) / vectors->stride)
		return ERROR_MEMORY;
	size_t bytes = vectors->count * vectors->stride * sizeof(float);
	vectors->rows = aligned_alloc(INDEX_ALIGNMENT, bytes);
	if (!vectors->rows)
		return ERROR_MEMORY;
	memset(vectors->rows, 0, bytes);
	return 0;
}

static void on_done(struct embedding *embedding, int error);

static bool take_next(struct work *work, uint32_t *text)
{
	if (work->again_count > 0) {
		*text = work->again[--work->again_count];
		return true;
	}
	while (work->next < work->out->count && work->texts[work->next].length > work->config.embedder.max_bytes)
		work->next++;
	if (work->next == work->out->count)
		return false;
	*text = (uint32_t)work->next++;
	return true;
}

/* Starts what fits, and looks in again later if the embedder is not there. */
static void pump(struct work *work)
{
	uint32_t text;

	if (work->pumping)
		return;
	work->pumping = true;
	while (!work->error && part_up(&work->part) && work->in_the_air < IN_THE_AIR && take_next(work, &text)) {
		struct slot *slot = &work->slots[text];
		*slot = (struct slot){.embedding = {.done = on_done, .text = work->texts[text]}, .work = work, .text = text};
		int error = embedding_start(work->embedder, &slot->embedding);
		if (error) {
			work->again[work->again_count++] = text;
			break;
		}
		work->in_the_air++;
	}
	work->pumping = false;
	if (!is_done(work) && work->retry.place == 0 && deadline_start(work->deadlines, &work->retry, RETRY_MS) != 0)
		work->error = ERROR_MEMORY;
}

static void on_retry(struct deadline *deadline)
{
	struct work *work = (struct work *)((char *)deadline - offsetof(struct work, retry));

	/* One that seems to work, and yet brings nothing, may only be slow. */
	uint64_t most_ms = part_up(&work->part) ? PATIENCE_UP_MS : PATIENCE_MS;
	if (!is_done(work) && deadlines_now_ms(work->deadlines) - work->progress_at_ms > most_ms)
		work->error = ERROR_UNAVAILABLE;
	pump(work);
	if (is_done(work))
		work_end(work);
}

static void take(struct work *work, struct slot *slot)
{
	struct evaluate_vectors *out = work->out;
	const struct embedding *embedding = &slot->embedding;

	if (!out->rows && rows_make(out, embedding->dimensions) != 0) {
		work->error = ERROR_MEMORY;
		return;
	}
	if (embedding->dimensions != out->dimensions) {
		work->error = ERROR_INVALID;
		return;
	}
	memcpy(out->rows + slot->text * out->stride, embedding->vector, out->dimensions * sizeof(float));
	out->has[slot->text] = true;
}

/* The end comes from the loop's own timer, because nothing may be destroyed from inside a callback of its own. */
static void on_done(struct embedding *embedding, int error)
{
	struct slot *slot = (struct slot *)((char *)embedding - offsetof(struct slot, embedding));
	struct work *work = slot->work;

	work->in_the_air--;
	if (!error) {
		take(work, slot);
		work->progress_at_ms = deadlines_now_ms(work->deadlines);
	} else if (work->part.failures > 0 || !part_up(&work->part)) {
		work->again[work->again_count++] = slot->text;
	} else {
		/* The service works, so it is this text that it does not want. */
		work->progress_at_ms = deadlines_now_ms(work->deadlines);
	}
	free(embedding->vector);
	embedding->vector = NULL;
	if (is_done(work)) {
		if (deadline_start(work->deadlines, &work->retry, 0) != 0)
			work->error = ERROR_MEMORY;
	} else {
		pump(work);
	}
}

static int work_start(struct work *work)
{
	work->deadlines = deadlines_create(&work->loop);
	if (!work->deadlines)
		return ERROR_MEMORY;
	work->retry.expired = on_retry;
	part_init(&work->part, "embedder", true, &work->log, deadlines_now_ms(work->deadlines));
	work->progress_at_ms = deadlines_now_ms(work->deadlines);
	work->http = http_create(&work->loop, work->deadlines);
	if (work->http)
		work->embedder = embedder_create(work->http, work->deadlines, &work->config.embedder, &work->part,
						 &work->metrics, &work->log);
	if (!work->embedder)
		return ERROR_MEMORY;
	(void)snprintf(work->out->embedder, sizeof(work->out->embedder), "%s", embedder_name(work->embedder));
	pump(work);
	return work->error;
}

static int work_run(struct work *work, char *mistake, size_t mistake_size)
{
	if (uv_loop_init(&work->loop) != 0) {
		(void)snprintf(mistake, mistake_size, "there is no event loop: out of memory or descriptors");
		return ERROR_INTERNAL;
	}
	int error = work_start(work);
	/* Nothing to ask for, or no start. */
	if (error || is_done(work))
		work_end(work);
	(void)uv_run(&work->loop, UV_RUN_DEFAULT);
	error = error ? error : work->error;
	if (uv_loop_close(&work->loop) != 0)
		error = error ? error : ERROR_INTERNAL;
	if (error == ERROR_UNAVAILABLE)
		(void)snprintf(mistake, mistake_size, "the embedder does not answer: %s", work->part.error);
	else if (error == ERROR_INVALID)
		(void)snprintf(mistake, mistake_size, "the embedder's vectors have different lengths");
	else if (error)
		(void)snprintf(mistake, mistake_size, "%s", error_text(error));
	return error;
}

int evaluate_vectors_make(const struct config *config, const struct slice *texts, size_t count,
			  struct evaluate_vectors *vectors, char *mistake, size_t mistake_size)
{
	struct work *work = calloc(1, sizeof(*work));
	int error = ERROR_MEMORY;

	*vectors = (struct evaluate_vectors){.count = count, .has = calloc(count + 1, sizeof(bool))};
	(void)snprintf(mistake, mistake_size, "%s", error_text(ERROR_MEMORY));
	if (work) {
		work->config = *config;
		if (work->config.embedder.timeout_ms < TIMEOUT_MS)
			work->config.embedder.timeout_ms = TIMEOUT_MS;
		log_init(&work->log, LOG_LEVEL_ERROR);
		work->texts = texts;
		work->out = vectors;
		work->slots = calloc(count + 1, sizeof(work->slots[0]));
		work->again = calloc(count + 1, sizeof(work->again[0]));
		if (work->slots && work->again && vectors->has)
			error = work_run(work, mistake, mistake_size);
		free(work->slots);
		free(work->again);
		free(work);
	}
	if (error)
		evaluate_vectors_deinit(vectors);
	return error;
}

int evaluate_vectors_second(const struct config *config, const struct slice *texts, size_t count,
			    struct evaluate_vectors *vectors, char *mistake, size_t mistake_size)
{
	struct config second = *config; /* shares everything with it */

	second.embedder = config->second_opinion;
	/* It may be slow, and is asked for many texts at once. */
	second.embedder.timeout_ms = SECOND_TIMEOUT_MS;
	return evaluate_vectors_make(&second, texts, count, vectors, mistake, mistake_size);
}

int evaluate_vectors_part(const struct evaluate_vectors *whole, const uint32_t *of, size_t count,
			  struct evaluate_vectors *part)
{
	struct evaluate_vectors made = {.count = count, .has = calloc(count + 1, sizeof(bool))};

	memcpy(made.embedder, whole->embedder, sizeof(made.embedder));
	if (!made.has || (whole->rows && count > 0 && rows_make(&made, whole->dimensions) != 0)) {
		evaluate_vectors_deinit(&made);
		return ERROR_MEMORY;
	}
	for (size_t i = 0; i < count; i++) {
		made.has[i] = whole->has[of[i]];
		if (made.rows)
			memcpy(made.rows + i * made.stride, whole->rows + of[i] * whole->stride,
			       made.stride * sizeof(float));
	}
	*part = made;
	return 0;
}

void evaluate_vectors_deinit(struct evaluate_vectors *vectors)
{
	free(vectors->rows);
	free(vectors->has);
	*vectors = (struct evaluate_vectors){0};
}
