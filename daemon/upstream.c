/* A call waits in its upstream's queue until one of max_transfers is free, then it is one HTTP request (upstream_call.c).
 *
 * What can go wrong: the queue is full, or the service is DOWN. What the end of a request says of the service is judged in
 * one place, upstream_note(): only a connection that failed, a stall and a 5xx count against it. While it is DOWN nothing
 * waits for it: the queue is told, and it is probed until it answers. */
#include "upstream_private.h"

#include "config.h"
#include "json.h"
#include "log.h"
#include "metrics.h"
#include "openai.h"
#include "part.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>
#include <uv.h>

#define PROBE_BYTES (1u << 20)
#define PROBE_TIMEOUT_MS 5000
#define BUSY_RETRY_MS 1000

uint64_t upstream_clock_us(void)
{
	return uv_hrtime() / 1000;
}

/* ---- the part ---- */

static void probe_later(struct upstream *upstream)
{
	if (part_up(upstream->part) || upstream->probe.private)
		return;
	/* Without memory for the probe the service is simply tried again. */
	if (deadline_start(upstream->all->deadlines, &upstream->probe_at, PART_PROBE_MS))
		part_succeeded(upstream->part, deadlines_now_ms(upstream->all->deadlines));
}

static void upstream_failed(struct upstream *upstream, const char *error)
{
	if (part_failed(upstream->part, error, deadlines_now_ms(upstream->all->deadlines)))
		probe_later(upstream);
}

void upstream_succeeded(struct upstream *upstream)
{
	part_succeeded(upstream->part, deadlines_now_ms(upstream->all->deadlines));
	deadline_stop(upstream->all->deadlines, &upstream->probe_at);
	http_cancel(&upstream->probe);
}

/* What the end of a request says of the service. A limit of ours, or an answer that makes no sense, says nothing. */
void upstream_note(struct upstream *upstream, enum http_result result, int status, const char *error)
{
	char text[32];

	switch (result) {
	case HTTP_REFUSED:
	case HTTP_RESET:
	case HTTP_TRUNCATED:
	case HTTP_STALLED:
		upstream_failed(upstream, error);
		return;
	case HTTP_DONE:
		if (status < 500) {
			upstream_succeeded(upstream);
			return;
		}
		(void)snprintf(text, sizeof(text), "HTTP status %d", status);
		upstream_failed(upstream, text);
		return;
	default:
		return;
	}
}

static void on_probe_data(struct http_request *request, struct slice data)
{
	(void)request, (void)data;
}

static void on_probe_done(struct http_request *request, enum http_result result, int status, const char *error)
{
	struct upstream *upstream = request->data;

	if (result == HTTP_TOO_LARGE && status)
		result = HTTP_DONE;
	upstream_note(upstream, result, status, error);
	probe_later(upstream);
}

static void on_probe_time(struct deadline *deadline)
{
	struct upstream *upstream = (struct upstream *)((char *)deadline - offsetof(struct upstream, probe_at));

	if (part_up(upstream->part) || upstream->probe.private)
		return;
	if (http_start(upstream->all->http, &upstream->probe))
		probe_later(upstream);
}

/* ---- the queue ---- */

/* Starts the HTTP request of a waiting call. */
static int chat_call_begin(struct chat_call *call)
{
	struct upstream *upstream = call->upstream;
	int error = http_start(upstream->all->http, &call->request);

	if (error)
		return error;
	DL_DELETE(upstream->waiting, call);
	upstream->waiting_count--;
	DL_APPEND(upstream->running, call);
	upstream->running_count++;
	call->started = true;
	call->started_us = upstream_clock_us();
	if (call->chat->background)
		(*call->chat->background)++;
	else
		upstream->all->metrics->api_calls++;
	return 0;
}

/* Ends the call in the background that began last, if there is one, so that a transfer is free. Its `done` may not start
 * another. */
static void make_way(struct upstream *upstream)
{
	struct chat_call *call, *last = NULL;
	struct fault fault;

	DL_FOREACH (upstream->running, call)
		if (call->chat && call->chat->background && !call->inside)
			last = call;
	if (!last)
		return;
	(void)fault_set(&fault, ERROR_BUSY, "", "it made way for somebody who waits");
	chat_call_fail(last, &fault);
}

static int fault_down(struct fault *fault, const struct upstream *upstream)
{
	return fault_set(fault, ERROR_UNAVAILABLE, "", "upstream %s is down: %s", upstream->config->name,
			 upstream->part->error);
}

static int fault_start(struct fault *fault, const struct upstream *upstream, int error)
{
	if (error == ERROR_MEMORY)
		return fault_set(fault, ERROR_MEMORY, "", "%s", error_text(error));
	return fault_set(fault, ERROR_UNAVAILABLE, "", "the key of upstream %s cannot be sent", upstream->config->name);
}

/* Starts what may start; while the service is DOWN, tells all who wait. Their callbacks may start and cancel calls. */
void upstream_pump(struct upstream *upstream)
{
	struct fault fault;

	if (upstream->pumping)
		return;
	upstream->pumping = true;
	while (upstream->waiting) {
		int error = 0;
		if (!part_up(upstream->part))
			(void)fault_down(&fault, upstream);
		else if (upstream->running_count >= upstream->config->max_transfers)
			break;
		else if ((error = chat_call_begin(upstream->waiting)) == 0)
			continue;
		else
			(void)fault_start(&fault, upstream, error);
		if (fault.code == ERROR_MEMORY)
			fault.code = ERROR_UNAVAILABLE;
		chat_call_fail(upstream->waiting, &fault);
	}
	upstream->pumping = false;
}

/* The upstream that `config` is one of; NULL if it is none of ours. */
static struct upstream *upstream_find(struct upstreams *all, const struct config_upstream *config)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->list[i].config == config)
			return &all->list[i];
	return NULL;
}

static int queue_full(struct upstream *upstream, struct fault *fault)
{
	char detail[64];

	upstream->all->metrics->upstream_queue_full++;
	(void)snprintf(detail, sizeof(detail), "limit=queue retry_ms=%d", BUSY_RETRY_MS);
	return fault_set(fault, ERROR_BUSY, detail, "upstream %s has %llu calls in the air and %llu waiting",
			 upstream->config->name, (unsigned long long)upstream->running_count,
			 (unsigned long long)upstream->waiting_count);
}

int chat_start(struct upstreams *all, struct chat *chat, const struct chat_question *question, struct fault *fault)
{
	struct upstream *upstream = upstream_find(all, question->upstream);

	if (!upstream)
		return fault_set(fault, ERROR_UNAVAILABLE, "", "no such upstream");
	if (!part_up(upstream->part))
		return fault_down(fault, upstream);
	if (!chat->background && !upstream->waiting && upstream->running_count >= upstream->config->max_transfers)
		make_way(upstream);
	bool now = !upstream->waiting && upstream->running_count < upstream->config->max_transfers;
	if (!now && chat->background)
		return fault_set(fault, ERROR_BUSY, "", "others wait for upstream %s", upstream->config->name);
	if (!now && upstream->waiting_count >= upstream->config->queue)
		return queue_full(upstream, fault);
	struct chat_call *call = chat_call_create(upstream, chat);
	if (!call)
		return fault_set(fault, ERROR_MEMORY, "", "%s", error_text(ERROR_MEMORY));
	int error = upstream->ops->write_chat(&call->request.body, question, fault);
	if (error) {
		chat_call_free(call);
		return error;
	}
	chat->private = call;
	DL_APPEND(upstream->waiting, call);
	upstream->waiting_count++;
	if (!now)
		return 0;
	error = chat_call_begin(call);
	if (error) {
		(void)chat_call_detach(call);
		return fault_start(fault, upstream, error);
	}
	return 0;
}

static void on_pump_time(struct deadline *deadline)
{
	upstream_pump((struct upstream *)((char *)deadline - offsetof(struct upstream, pump_at)));
}

void chat_cancel(struct chat *chat)
{
	struct chat_call *call = chat->private;

	if (!call)
		return;
	struct upstream *upstream = call->upstream;
	(void)chat_call_detach(call);
	/* Not now: whoever cancels may be in the middle of others that wait, and a start that fails tells one of them. */
	if (upstream->waiting && deadline_start(upstream->all->deadlines, &upstream->pump_at, 0) != 0)
		upstream_pump(upstream);
}

size_t upstreams_in_flight(const struct upstreams *all)
{
	size_t count = 0;

	for (size_t i = 0; i < all->count; i++)
		count += all->list[i].running_count + all->list[i].waiting_count;
	return count;
}

/* ---- life ---- */

static void upstream_init(struct upstreams *all, struct upstream *upstream, const struct config_upstream *config,
			  struct part *part)
{
	*upstream = (struct upstream){
		.all = all,
		.config = config,
		.ops = &openai_ops,
		.part = part,
		.target =
			{
				.base_url = config->url,
				.unix_socket = config->unix_socket,
				.secret = config->key.secret,
				.connect_timeout_ms = config->connect_timeout_ms,
				.idle_timeout_ms = config->idle_timeout_ms,
				.timeout_ms = config->timeout_ms,
			},
		.probe_at.expired = on_probe_time,
		.pump_at.expired = on_pump_time,
	};
	upstream->probe_target = upstream->target;
	upstream->probe_target.timeout_ms = PROBE_TIMEOUT_MS;
	upstream->probe = (struct http_request){
		.target = &upstream->probe_target,
		.path = upstream->ops->probe_path,
		.max_response_bytes = PROBE_BYTES,
		.on_data = on_probe_data,
		.on_done = on_probe_done,
		.data = upstream,
	};
}

struct upstreams *upstreams_create(struct http *http, struct deadlines *deadlines, const struct config *config,
				   struct part *parts, struct metrics *metrics, const struct log *log)
{
	size_t count = config->upstream_count;
	struct upstreams *all = calloc(1, sizeof(*all) + count * sizeof(all->list[0]));

	if (!all)
		return NULL;
	*all = (struct upstreams){
		.http = http,
		.deadlines = deadlines,
		.config = config,
		.metrics = metrics,
		.log = log,
		.tokener = json_tokener_create(),
		.max_text = (size_t)config->server.max_message_bytes,
		.count = count,
	};
	if (!all->tokener) {
		free(all);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		upstream_init(all, &all->list[i], &config->upstreams[i], &parts[i]);
	return all;
}

void upstreams_destroy(struct upstreams *all)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->count; i++) {
		struct upstream *upstream = &all->list[i];
		while (upstream->waiting)
			(void)chat_call_detach(upstream->waiting);
		while (upstream->running)
			(void)chat_call_detach(upstream->running);
		http_cancel(&upstream->probe);
		deadline_stop(all->deadlines, &upstream->probe_at);
		deadline_stop(all->deadlines, &upstream->pump_at);
	}
	json_tokener_free(all->tokener);
	free(all);
}
