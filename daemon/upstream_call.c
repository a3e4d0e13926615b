/* One call's answer. The first byte tells what it is: `{` begins a whole answer of a service that does not stream, anything
 * else an event stream; with a status other than 2xx the start of the body is kept for the error's message. The mark of the
 * end ends the call at once.
 *
 * What can go wrong ends in chat_call_fail(), with one fault. Callbacks of the call's owner run inside those of http.c, and
 * may cancel: `inside` then keeps the call's memory until its own frames have returned. */
#include "upstream_private.h"

#include "config.h"
#include "log.h"
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define ERROR_BODY_BYTES 8192
#define STOP 1

/* ---- the end of a call ---- */

void chat_call_free(struct chat_call *call)
{
	sse_deinit(&call->sse);
	buffer_deinit(&call->text);
	buffer_deinit(&call->body);
	buffer_deinit(&call->request.body);
	free(call);
}

struct chat *chat_call_detach(struct chat_call *call)
{
	struct upstream *upstream = call->upstream;
	struct chat *chat = call->chat;

	if (call->started) {
		DL_DELETE(upstream->running, call);
		upstream->running_count--;
	} else {
		DL_DELETE(upstream->waiting, call);
		upstream->waiting_count--;
	}
	http_cancel(&call->request);
	chat->private = NULL;
	call->chat = NULL;
	if (!call->inside)
		chat_call_free(call);
	return chat;
}

void chat_call_fail(struct chat_call *call, const struct fault *fault)
{
	struct upstream *upstream = call->upstream;
	struct upstreams *all = upstream->all;
	struct fault told = *fault;

	http_hide_secret(&upstream->target, told.text);
	if (call->started && !call->chat->background)
		all->metrics->api_failures++;
	log_write(all->log, LOG_LEVEL_DEBUG, "chat_failed upstream=%s code=%s %s", upstream->config->name,
		  error_name(fault->code), fault->detail);
	struct chat *chat = chat_call_detach(call);
	chat->done(chat, NULL, &told);
	upstream_pump(upstream);
}

static void chat_call_succeed(struct chat_call *call)
{
	const struct provider_reading *reading = &call->reading;
	struct upstream *upstream = call->upstream;
	struct metrics *metrics = upstream->all->metrics;
	struct chat_end end = {.usage = reading->usage, .duration_us = upstream_clock_us() - call->started_us};

	(void)snprintf(end.finish_reason, sizeof(end.finish_reason), "%s", reading->finish_reason);
	(void)snprintf(end.model, sizeof(end.model), "%s", reading->model);
	end.complete = reading->ended && !reading->not_text && call->text_bytes > 0 &&
		       strcmp(end.finish_reason, "stop") == 0;
	end.first_text_us = call->first_text_us;
	histogram_add(&metrics->latency_model, end.duration_us);
	struct chat *chat = chat_call_detach(call);
	chat->done(chat, &end, NULL);
	upstream_pump(upstream);
}

/* ---- the answer ---- */

/* How many bytes at the end of `s` are the start of a character that may still come. */
static size_t unfinished_character(struct slice s)
{
	for (size_t back = 1; back <= 3 && back <= s.length; back++) {
		unsigned char c = (unsigned char)s.data[s.length - back];
		if ((c & 0xC0) == 0x80)
			continue;
		size_t length = c > 0xF4 || c < 0xC2 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
		return length > back ? back : 0;
	}
	return 0;
}

/* Hands on the whole characters of what came. Returns 0, or an error with `fault` filled; the call may be cancelled then. */
static int chat_call_deliver(struct chat_call *call, struct fault *fault)
{
	struct slice text = buffer_slice(&call->text);
	bool nul;

	text.length -= unfinished_character(text);
	if (text.length == 0)
		return 0;
	if (!slice_is_utf8(text, &nul) || nul)
		return fault_set(fault, ERROR_UPSTREAM, "kind=protocol", "an answer with %s",
				 nul ? "U+0000" : "bytes that are no UTF-8");
	if (text.length > call->upstream->all->max_text - call->text_bytes)
		return fault_set(fault, ERROR_UPSTREAM, "kind=protocol", "an answer over server.max_message_bytes");
	if (call->text_bytes == 0) {
		call->first_text_us = upstream_clock_us() - call->started_us;
		histogram_add(&call->upstream->all->metrics->latency_first_token, call->first_text_us);
	}
	call->text_bytes += text.length;
	call->chat->text(call->chat, text);
	buffer_consume(&call->text, text.length);
	return 0;
}

/* The answer has been read to its end. */
static void chat_call_finish(struct chat_call *call)
{
	struct fault fault;

	if (call->text.length == 0) {
		chat_call_succeed(call);
		return;
	}
	(void)fault_set(&fault, ERROR_UPSTREAM, "kind=protocol", "an answer that ends within a character");
	chat_call_fail(call, &fault);
}

/* One event. Returns 0 to go on; STOP: the call has ended. */
static int on_event(void *context, struct slice data)
{
	struct chat_call *call = context;
	struct upstream *upstream = call->upstream;
	struct fault fault;

	call->event_seen = true;
	int error = upstream->ops->read_event(&call->reading, upstream->all->tokener, data, &call->text, &fault);
	if (!error)
		error = chat_call_deliver(call, &fault);
	if (!call->chat)
		return STOP;
	if (error) {
		chat_call_fail(call, &fault);
		return STOP;
	}
	if (!call->reading.ended)
		return 0;
	upstream_succeeded(upstream);
	chat_call_finish(call);
	return STOP;
}

/* The stream cannot be read on, or memory is short. */
static void chat_call_broken(struct chat_call *call, int error)
{
	struct fault fault;

	(void)fault_set(&fault, ERROR_UPSTREAM, "kind=protocol", "%s",
			error == ERROR_TOO_LARGE ? "too large an event or answer" : error_text(error));
	chat_call_fail(call, &fault);
}

static void chat_call_read(struct chat_call *call, struct slice data)
{
	while (call->kind == NOTHING_YET && data.length && strchr(" \t\r\n", data.data[0]) && data.data[0])
		data = (struct slice){data.data + 1, data.length - 1};
	if (data.length == 0)
		return;
	if (call->kind == NOTHING_YET)
		call->kind = data.data[0] == '{' ? WHOLE : EVENTS;

	int error;
	if (call->kind == EVENTS)
		error = sse_feed(&call->sse, data, on_event, call);
	else
		error = buffer_append(&call->body, data.data, data.length);
	if (error && call->chat)
		chat_call_broken(call, error);
}

static void on_head(struct http_request *request, int status)
{
	struct chat_call *call = request->data;

	call->status = status;
	if (status < 300)
		return;
	call->kind = ERROR_BODY;
	call->body.max = ERROR_BODY_BYTES;
}

static void on_data(struct http_request *request, struct slice data)
{
	struct chat_call *call = request->data;

	if (call->kind == ERROR_BODY) {
		/* Only the start is wanted; the rest is passed over. */
		size_t room = call->body.max - call->body.length;
		(void)buffer_append(&call->body, data.data, data.length < room ? data.length : room);
		return;
	}
	call->inside = true;
	chat_call_read(call, data);
	call->inside = false;
	if (!call->chat)
		chat_call_free(call);
}

/* ---- the end of the HTTP request ---- */

static void fail_status(struct chat_call *call)
{
	struct upstream *upstream = call->upstream;
	char detail[80], message[200];
	struct fault fault;
	int length = snprintf(detail, sizeof(detail), "status=%d kind=http", call->status);

	if (call->request.retry_after_ms && (call->status == 429 || call->status == 503))
		(void)snprintf(detail + length, sizeof(detail) - (size_t)length, " retry_ms=%llu",
			       (unsigned long long)call->request.retry_after_ms);
	upstream->ops->read_error(upstream->all->tokener, buffer_slice(&call->body), message, sizeof(message));
	if (message[0])
		(void)fault_set(&fault, ERROR_UPSTREAM, detail, "%s", message);
	else
		(void)fault_set(&fault, ERROR_UPSTREAM, detail, "HTTP status %d", call->status);
	chat_call_fail(call, &fault);
}

static void fail_result(struct chat_call *call, enum http_result result, const char *error)
{
	static const char *const kinds[] = {
		[HTTP_DONE] = "truncated",      [HTTP_REFUSED] = "refused", [HTTP_RESET] = "reset",
		[HTTP_TRUNCATED] = "truncated", [HTTP_STALLED] = "stalled", [HTTP_TOO_LARGE] = "protocol",
		[HTTP_TIMED_OUT] = "stalled",   [HTTP_FAILED] = "protocol",
	};
	char detail[32];
	struct fault fault;

	(void)snprintf(detail, sizeof(detail), "kind=%s", kinds[result]);
	if (result == HTTP_DONE && call->kind == EVENTS && !call->event_seen)
		(void)fault_set(&fault, ERROR_UPSTREAM, "kind=protocol", "neither an event stream nor JSON");
	else
		(void)fault_set(&fault, ERROR_UPSTREAM, detail, "%s", error[0] ? error : "the answer ended before its end");
	chat_call_fail(call, &fault);
}

/* A whole answer in one piece. */
static void finish_whole(struct chat_call *call)
{
	struct upstream *upstream = call->upstream;
	struct fault fault;

	int error = upstream->ops->read_whole(&call->reading, upstream->all->tokener, buffer_slice(&call->body), &call->text,
					      &fault);
	if (!error)
		error = chat_call_deliver(call, &fault);
	if (!call->chat)
		return;
	if (error)
		chat_call_fail(call, &fault);
	else
		chat_call_finish(call);
}

/* An event behind which the stream ended. One that makes no sense was cut, which is told as such. */
static int on_last_event(void *context, struct slice data)
{
	struct chat_call *call = context;
	struct upstream *upstream = call->upstream;
	struct fault fault;

	call->event_seen = true;
	int error = upstream->ops->read_event(&call->reading, upstream->all->tokener, data, &call->text, &fault);
	if (!error)
		error = chat_call_deliver(call, &fault);
	if (error && call->chat && strcmp(fault.detail, "kind=protocol") != 0)
		chat_call_fail(call, &fault);
	return error || !call->chat ? STOP : 0;
}

/* The request is over, and the stream said nothing of its own end. With a finish_reason the answer is there, though nobody
 * knows whether it is all of it: so it is told, but not complete. */
static void chat_call_over(struct chat_call *call, enum http_result result, const char *error)
{
	if (call->kind == ERROR_BODY) {
		fail_status(call);
		return;
	}
	if (call->kind == WHOLE && result == HTTP_DONE) {
		finish_whole(call);
		return;
	}
	if (call->kind == EVENTS && result == HTTP_DONE)
		(void)sse_end(&call->sse, on_last_event, call);
	if (!call->chat)
		return;
	if (call->reading.finish_reason[0] || call->reading.ended)
		chat_call_finish(call);
	else
		fail_result(call, result, error);
}

static void on_done(struct http_request *request, enum http_result result, int status, const char *error)
{
	struct chat_call *call = request->data;
	struct upstream *upstream = call->upstream;

	call->inside = true;
	upstream_note(upstream, result, status, error);
	chat_call_over(call, result, error);
	call->inside = false;
	chat_call_free(call);
}

/* ---- the beginning ---- */

struct chat_call *chat_call_create(struct upstream *upstream, struct chat *chat)
{
	struct chat_call *call = calloc(1, sizeof(*call));
	size_t max_text = upstream->all->max_text;

	if (!call)
		return NULL;
	call->chat = chat;
	call->upstream = upstream;
	sse_init(&call->sse, 2 * max_text + 65536); /* a character may be escaped to twice its bytes */
	buffer_init(&call->text, max_text + 4);
	buffer_init(&call->body, 2 * max_text + 65536);
	call->request = (struct http_request){
		.target = &upstream->target,
		.path = upstream->ops->chat_path,
		.event_stream = true,
		.max_response_bytes = 64 * max_text + (1u << 20),
		.on_head = on_head,
		.on_data = on_data,
		.on_done = on_done,
		.data = call,
	};
	buffer_init(&call->request.body, 6 * max_text + 65536); /* a control character takes six */
	return call;
}
