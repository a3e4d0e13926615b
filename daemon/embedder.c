/* Texts wait in one list; while fewer than EMBEDDER_TRANSFERS requests are in the air, the next takes as many as fit a
 * batch. The reply's vectors are read, checked and scaled all together, so that either every text of a batch gets its vector
 * or none.
 *
 * Vectors are asked for as base64, which is twenty times cheaper to read than numbers; whatever comes is understood. A
 * service that refuses base64 (400 or 422) is asked once more without, and if that goes well never again with it; then
 * batches are small, because reading numbers holds up the loop.
 *
 * What can go wrong fails the whole batch. While the part is DOWN nothing waits, and one short text is embedded as a probe.
 *  */
#include "embedder.h"

#include "../proto/error.h"
#include "config.h"
#include "deadline.h"
#include "embeddings.h"
#include "http.h"
#include "json.h"
#include "log.h"
#include "metrics.h"
#include "part.h"

#include <json-c/json.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <uv.h>

#define BATCH_BYTES (256u << 10)
#define BATCH_PLAIN 4
#define REPLY_BYTES (16u << 20)
#define REQUEST_BYTES (32u << 20)

static const char probe_text[] = "ping";

/* One text, waiting or in a batch. */
struct item {
	struct embedding *embedding;
	struct embedder *embedder;
	struct batch *batch; /* NULL while waiting */
	struct item *prev, *next;
	bool alone; /* others in its request may have been refused because of it */
};

/* One request in the air. */
struct batch {
	struct embedder *embedder;
	struct batch *prev, *next;
	struct item *items[EMBEDDER_BATCH]; /* NULL where it was cancelled */
	struct slice texts[EMBEDDER_BATCH];
	size_t count, wanted; /* texts; those not cancelled */
	bool probe;           /* nobody's: embeds probe_text */
	bool plain;           /* without base64 */
	bool telling;         /* the items are being told: nothing is freed below that */
	struct http_request request;
	struct buffer reply;
	uint64_t started_us;
};

/* Where it counts. */
struct counts {
	uint64_t *calls, *texts, *failures;
	struct histogram *latency;
};

struct embedder {
	struct http *http;
	struct deadlines *deadlines;
	const struct config_embedder *config;
	struct part *part;
	struct metrics *metrics;
	struct counts counts;
	const struct log *log;
	struct http_target target;
	struct json_tokener *tokener;
	struct item *waiting;
	struct batch *batches;
	size_t waiting_count, batch_count;
	unsigned dimensions; /* 0 = not known yet */
	bool base64_known;   /* a base64 reply came: a 400 is not about that */
	bool plain;          /* the service does not want base64 */
	bool probing, pumping;
	struct deadline probe_at, pump_at;
	char name[17];
};

static void batch_free(struct batch *batch)
{
	struct embedder *embedder = batch->embedder;

	DL_DELETE(embedder->batches, batch);
	embedder->batch_count--;
	if (batch->probe)
		embedder->probing = false;
	http_cancel(&batch->request);
	buffer_deinit(&batch->request.body);
	buffer_deinit(&batch->reply);
	free(batch);
}

/* ---- the part ---- */

static void probe_later(struct embedder *embedder)
{
	if (part_up(embedder->part) || embedder->probing)
		return;
	/* Without memory for the probe the service is simply tried again. */
	if (deadline_start(embedder->deadlines, &embedder->probe_at, PART_PROBE_MS))
		part_succeeded(embedder->part, deadlines_now_ms(embedder->deadlines));
}

static void embedder_succeeded(struct embedder *embedder)
{
	part_succeeded(embedder->part, deadlines_now_ms(embedder->deadlines));
	deadline_stop(embedder->deadlines, &embedder->probe_at);
}

/* ---- the end of a batch ---- */

/* Takes an item from its list and its embedding, and tells. `vector` is NULL on an error. */
static void item_end(struct item *item, int error, float *vector, unsigned dimensions)
{
	struct embedding *embedding = item->embedding;

	free(item);
	embedding->private = NULL;
	embedding->vector = vector;
	embedding->dimensions = dimensions;
	embedding->done(embedding, error);
}

/* Tells all who wait, while nothing can be asked. */
static void fail_waiting(struct embedder *embedder)
{
	while (embedder->waiting && !part_up(embedder->part)) {
		struct item *item = embedder->waiting;
		DL_DELETE(embedder->waiting, item);
		embedder->waiting_count--;
		item_end(item, ERROR_UNAVAILABLE, NULL, 0);
	}
}

static void embedder_pump(struct embedder *embedder);

/* Ends a batch; on `error` 0 takes the vectors, and frees those nobody wants any more. */
static void batch_end(struct batch *batch, int error, float **vectors, unsigned dimensions)
{
	struct embedder *embedder = batch->embedder;

	batch->telling = true;
	for (size_t i = 0; i < batch->count; i++) {
		struct item *item = batch->items[i];
		batch->items[i] = NULL;
		if (item)
			item_end(item, error, error ? NULL : vectors[i], error ? 0 : dimensions);
		else if (!error)
			free(vectors[i]);
	}
	batch_free(batch);
	probe_later(embedder);
	fail_waiting(embedder);
	embedder_pump(embedder);
}

/* A failure of the request or of what it brought. `blame`: it says something about the service, not about the texts. */
static void batch_fail(struct batch *batch, const char *error, bool blame)
{
	struct embedder *embedder = batch->embedder;

	char quoted[160];

	++*embedder->counts.failures;
	log_write(embedder->log, LOG_LEVEL_DEBUG, "embedding_failed texts=%zu error=\"%s\"", batch->count,
		  log_quotable(quoted, sizeof(quoted), error));
	if (blame)
		(void)part_failed(embedder->part, error, deadlines_now_ms(embedder->deadlines));
	batch_end(batch, ERROR_UNAVAILABLE, NULL, 0);
}

/* The service refuses the request, perhaps for one text only: each is asked for by itself. */
static void batch_split(struct batch *batch)
{
	struct embedder *embedder = batch->embedder;

	++*embedder->counts.failures;
	for (size_t i = batch->count; i-- > 0;) {
		struct item *item = batch->items[i];
		batch->items[i] = NULL;
		if (!item)
			continue;
		item->batch = NULL;
		item->alone = true;
		DL_PREPEND(embedder->waiting, item);
		embedder->waiting_count++;
	}
	batch_free(batch);
	embedder_pump(embedder);
}

static void batch_read(struct batch *batch)
{
	struct embedder *embedder = batch->embedder;
	float *vectors[EMBEDDER_BATCH];
	unsigned dimensions = 0;
	const char *why = "";

	int error = embeddings_read(embedder->tokener, buffer_slice(&batch->reply), batch->count, embedder->dimensions,
				    vectors, &dimensions, &why);
	if (error) {
		batch_fail(batch, error == ERROR_MEMORY ? error_text(error) : why, error != ERROR_MEMORY);
		return;
	}
	embedder->dimensions = dimensions;
	if (batch->plain)
		embedder->plain = true;
	else
		embedder->base64_known = true;
	embedder_succeeded(embedder);
	batch_end(batch, 0, vectors, dimensions);
}

/* ---- the request ---- */

static int batch_send(struct batch *batch)
{
	struct embedder *embedder = batch->embedder;
	const struct embeddings_request request = {
		.model = slice_of(embedder->config->model),
		.texts = batch->texts,
		.count = batch->count,
		.dimensions = (unsigned)embedder->config->dimensions,
		.base64 = !batch->plain,
	};

	batch->reply.length = 0;
	int error = embeddings_write(&batch->request.body, &request);
	if (!error)
		error = http_start(embedder->http, &batch->request);
	if (error)
		return error;
	batch->started_us = uv_hrtime() / 1000;
	++*embedder->counts.calls;
	*embedder->counts.texts += batch->count;
	return 0;
}

static void on_data(struct http_request *request, struct slice data)
{
	struct batch *batch = request->data;

	/* The request's own limit is lower, so this fails only without memory, and then the reply is no JSON. */
	(void)buffer_append(&batch->reply, data.data, data.length);
}

/* Whether a refusal may be about base64. */
static bool wants_plain(const struct batch *batch, int status)
{
	return (status == 400 || status == 422) && !batch->plain && !batch->embedder->base64_known;
}

static void on_done(struct http_request *request, enum http_result result, int status, const char *error)
{
	struct batch *batch = request->data;
	char text[32];

	histogram_add(batch->embedder->counts.latency, uv_hrtime() / 1000 - batch->started_us);
	if (result != HTTP_DONE) {
		batch_fail(batch, error, true);
		return;
	}
	if (status >= 200 && status < 300) {
		batch_read(batch);
		return;
	}
	if (wants_plain(batch, status)) {
		batch->plain = true;
		if (batch_send(batch) == 0)
			return;
	}
	bool is_about_texts = status == 400 || status == 413 || status == 422;
	if (is_about_texts && batch->count > 1) {
		batch_split(batch);
		return;
	}
	(void)snprintf(text, sizeof(text), "HTTP status %d", status);
	batch_fail(batch, text, !is_about_texts);
}

static struct batch *batch_create(struct embedder *embedder)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->embedder = embedder;
	batch->plain = embedder->plain;
	buffer_init(&batch->reply, REPLY_BYTES);
	batch->request = (struct http_request){
		.target = &embedder->target,
		.path = "/embeddings",
		.max_response_bytes = REPLY_BYTES,
		.on_data = on_data,
		.on_done = on_done,
		.data = batch,
	};
	buffer_init(&batch->request.body, REQUEST_BYTES);
	DL_APPEND(embedder->batches, batch);
	embedder->batch_count++;
	return batch;
}

/* Moves waiting texts into `batch`, in their order. */
static void batch_fill(struct batch *batch)
{
	struct embedder *embedder = batch->embedder;
	size_t most = batch->plain ? BATCH_PLAIN : EMBEDDER_BATCH, bytes = 0;

	while (embedder->waiting && batch->count < most) {
		struct item *item = embedder->waiting;
		size_t length = item->embedding->text.length;
		if (batch->count > 0 && (length > BATCH_BYTES - bytes || item->alone || batch->items[0]->alone))
			break;
		bytes = length < BATCH_BYTES - bytes ? bytes + length : BATCH_BYTES;
		DL_DELETE(embedder->waiting, item);
		embedder->waiting_count--;
		item->batch = batch;
		batch->texts[batch->count] = item->embedding->text;
		batch->items[batch->count++] = item;
	}
	batch->wanted = batch->count;
}

/* Starts one request for texts that wait. On an error they are in `*failed`, if there is one, and nobody was told. */
static int embedder_launch(struct embedder *embedder, struct batch **failed)
{
	struct batch *batch = batch_create(embedder);

	*failed = batch;
	if (!batch)
		return ERROR_MEMORY;
	batch_fill(batch);
	return batch_send(batch);
}

/* Starts requests while texts wait and transfers are free. A request that cannot be started fails its texts. */
static void embedder_pump(struct embedder *embedder)
{
	if (embedder->pumping)
		return;
	embedder->pumping = true;
	while (embedder->waiting && part_up(embedder->part) && embedder->batch_count < EMBEDDER_TRANSFERS) {
		struct batch *batch;
		if (embedder_launch(embedder, &batch) == 0)
			continue;
		if (batch) {
			batch_fail(batch, "the request cannot be made", false);
			continue;
		}
		struct item *item = embedder->waiting;
		DL_DELETE(embedder->waiting, item);
		embedder->waiting_count--;
		item_end(item, ERROR_MEMORY, NULL, 0);
	}
	embedder->pumping = false;
}

static void on_probe_time(struct deadline *deadline)
{
	struct embedder *embedder = (struct embedder *)((char *)deadline - offsetof(struct embedder, probe_at));

	if (part_up(embedder->part) || embedder->probing)
		return;
	struct batch *batch = batch_create(embedder);
	if (!batch) {
		probe_later(embedder);
		return;
	}
	embedder->probing = batch->probe = true;
	batch->texts[0] = SLICE(probe_text);
	batch->count = 1;
	if (batch_send(batch))
		batch_fail(batch, "the request cannot be made", false);
}

/* ---- texts ---- */

int embedding_start(struct embedder *embedder, struct embedding *embedding)
{
	bool now = !embedder->waiting && !embedder->pumping && embedder->batch_count < EMBEDDER_TRANSFERS;
	struct batch *batch;

	if (!part_up(embedder->part))
		return ERROR_UNAVAILABLE;
	if (embedder->waiting_count >= EMBEDDER_WAITING)
		return ERROR_BUSY;
	struct item *item = calloc(1, sizeof(*item));
	if (!item)
		return ERROR_MEMORY;
	*item = (struct item){.embedding = embedding, .embedder = embedder};
	embedding->private = item;
	DL_APPEND(embedder->waiting, item);
	embedder->waiting_count++;
	if (!now)
		return 0;
	int error = embedder_launch(embedder, &batch);
	if (error) {
		if (batch) {
			batch_free(batch);
		} else {
			DL_DELETE(embedder->waiting, item);
			embedder->waiting_count--;
		}
		embedding->private = NULL;
		free(item);
		return error == ERROR_MEMORY ? ERROR_MEMORY : ERROR_UNAVAILABLE;
	}
	return 0;
}

static void on_pump_time(struct deadline *deadline)
{
	embedder_pump((struct embedder *)((char *)deadline - offsetof(struct embedder, pump_at)));
}

/* Takes a text out of its batch; the request goes on for the others. Its text may be gone afterwards, so what a second
 * sending would say in its place is a constant. */
static void batch_forget(struct batch *batch, const struct item *item)
{
	struct embedder *embedder = batch->embedder;

	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i] != item)
			continue;
		batch->items[i] = NULL;
		batch->texts[i] = SLICE(probe_text);
		batch->wanted--;
	}
	if (batch->wanted > 0 || batch->telling)
		return;
	batch_free(batch);
	/* Not now: whoever cancels may be in the middle of others that wait, and a request that cannot be made tells
	 * them. */
	if (embedder->waiting && deadline_start(embedder->deadlines, &embedder->pump_at, 0) != 0)
		embedder_pump(embedder);
}

void embedding_cancel(struct embedding *embedding)
{
	struct item *item = embedding->private;

	if (!item)
		return;
	embedding->private = NULL;
	if (item->batch) {
		batch_forget(item->batch, item);
	} else {
		DL_DELETE(item->embedder->waiting, item);
		item->embedder->waiting_count--;
	}
	free(item);
}

/* ---- life ---- */

/* The name is of what makes a vector, not of where it runs: a socket that moves is no other embedder. */
static int name_make(struct embedder *embedder)
{
	const struct config_embedder *config = embedder->config;
	unsigned char digest[EVP_MAX_MD_SIZE];
	struct buffer text;

	buffer_init(&text, 65536);
	int error = buffer_printf(&text, "semcache-embedder-1%c%s%c%s%c%llu%c", 0, config->url, 0, config->model, 0,
				  (unsigned long long)config->dimensions, 0);
	if (!error && EVP_Digest(text.data, text.length, digest, NULL, EVP_sha256(), NULL) != 1)
		error = ERROR_MEMORY;
	buffer_deinit(&text);
	for (int i = 0; i < 8 && !error; i++)
		(void)snprintf(embedder->name + 2 * i, 3, "%02x", digest[i]);
	return error;
}

struct embedder *embedder_create(struct http *http, struct deadlines *deadlines, const struct config_embedder *config,
				 struct part *part, struct metrics *metrics, const struct log *log)
{
	struct embedder *embedder = calloc(1, sizeof(*embedder));

	if (!embedder)
		return NULL;
	*embedder = (struct embedder){
		.http = http,
		.deadlines = deadlines,
		.config = config,
		.part = part,
		.counts = {&metrics->embedding_calls, &metrics->embedding_texts, &metrics->embedding_failures,
			   &metrics->latency_embedder},
		.metrics = metrics,
		.log = log,
		.target =
			{
				.base_url = config->url,
				.unix_socket = config->unix_socket,
				.secret = config->key.secret,
				.timeout_ms = config->timeout_ms,
			},
		.tokener = json_tokener_create(),
		.dimensions = (unsigned)config->dimensions,
		.probe_at.expired = on_probe_time,
		.pump_at.expired = on_pump_time,
	};
	if (!embedder->tokener || name_make(embedder)) {
		if (embedder->tokener)
			json_tokener_free(embedder->tokener);
		free(embedder);
		return NULL;
	}
	return embedder;
}

void embedder_set_second(struct embedder *embedder)
{
	struct metrics *metrics = embedder->metrics;

	embedder->counts = (struct counts){&metrics->second_calls, &metrics->second_texts, &metrics->second_failures,
					   &metrics->latency_second};
	embedder->target.timeout_ms = embedder->config->timeout_ms * EMBEDDER_LATE;
}

void embedder_late(struct embedder *embedder)
{
	(void)part_failed(embedder->part, "no vector in time", deadlines_now_ms(embedder->deadlines));
	probe_later(embedder);
	fail_waiting(embedder);
}

void embedder_destroy(struct embedder *embedder)
{
	if (!embedder)
		return;
	while (embedder->waiting)
		embedding_cancel(embedder->waiting->embedding);
	while (embedder->batches) {
		struct batch *batch = embedder->batches;
		for (size_t i = 0; i < batch->count; i++) {
			if (batch->items[i])
				batch->items[i]->embedding->private = NULL;
			free(batch->items[i]);
		}
		batch_free(batch);
	}
	deadline_stop(embedder->deadlines, &embedder->probe_at);
	deadline_stop(embedder->deadlines, &embedder->pump_at);
	json_tokener_free(embedder->tokener);
	free(embedder);
}

const char *embedder_name(const struct embedder *embedder)
{
	return embedder->name;
}

unsigned embedder_dimensions(const struct embedder *embedder)
{
	return embedder->dimensions;
}
