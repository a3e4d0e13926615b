/* All goes well: a message is read and checked; memory answers its question at once, or a flight is joined and the call
 * waits (call_question.c); then its result is appended to the connection's output, and the call ends. What can go wrong: a
 * fault in the message (answered under its id; without a usable id the connection ends), too much in flight (BUSY), the
 * caller's own deadline (TIMEOUT), cancel (CANCELLED), the flight's failure, an output that the client does not read (the
 * connection ends). */
#include "call_private.h"

#include "admin.h"
#include "clock.h"
#include "conn.h"
#include "namespaces.h"
#include "service.h"

#include "../proto/scanner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define BUSY_RETRY_MS 100
#define LARGE_MESSAGE (64u << 10)

void calls_init(struct calls *calls, struct conn *conn, struct service *service)
{
	*calls = (struct calls){.conn = conn, .service = service};
}

/* ---- responses ---- */

/* What was appended leaves at the end of the turn; what could not be, ends the connection. */
static void appended(struct calls *calls, int error)
{
	if (error)
		conn_close(calls->conn, "its unread output is over server.max_output_bytes");
	else
		conn_wake(calls->conn);
}

static void send_fault(struct calls *calls, const uint64_t *id, const struct fault *fault)
{
	struct fault told = *fault;

	/* Codes below are the daemon's own and not on the wire. */
	if (told.code < ERROR_INTERNAL)
		told.code = told.code == ERROR_PROTOCOL ? ERROR_INVALID : ERROR_INTERNAL;
	calls->service->metrics.errors[-told.code]++;
	appended(calls, result_write_fault(conn_out(calls->conn), id, &told));
}

/* Counts an answer by its tier. */
static void count_result(struct service *service, const struct result *result, uint64_t took_us)
{
	struct metrics *m = &service->metrics;

	switch (result->tier) {
	case TIER_MEMORY:
		m->hits_memory++;
		histogram_add(&m->latency_memory, took_us);
		break;
	case TIER_EXACT:
		m->hits_exact++;
		histogram_add(&m->latency_exact, took_us);
		break;
	case TIER_SEMANTIC:
		m->hits_semantic++;
		histogram_add(&m->latency_semantic, took_us);
		break;
	case TIER_COALESCED:
		m->hits_coalesced++;
		histogram_add(&m->latency_coalesced, took_us);
		break;
	case TIER_STALE:
		m->hits_stale++;
		break;
	case TIER_UPSTREAM:
		m->answers_upstream++;
		histogram_add(&m->latency_upstream, took_us);
		break;
	case TIER_MISS:
		m->lookup_misses++;
		break;
	}
	bool is_hit = result->tier != TIER_UPSTREAM && result->tier != TIER_MISS;
	result->counts->hits += is_hit;
	result->counts->misses += !is_hit;
	m->namespaces_not_counted += result->counts->is_rest;
	m->tokens_saved += result->saved_tokens;
	m->usd_saved += result->saved_usd;
}

/* A stored answer to a caller that wants a stream: in chunks, like any other. */
static int write_chunks(struct buffer *out, uint64_t id, struct slice text)
{
	uint64_t seq = 0;
	int error = 0;

	while (text.length > 0 && !error) {
		size_t step = slice_whole_characters(text, LIMIT_CHUNK_BYTES);
		error = result_write_chunk(out, id, seq++, (struct slice){text.data, step});
		text.data += step;
		text.length -= step;
	}
	return error;
}

void call_answer(struct calls *calls, uint64_t id, uint64_t number, uint64_t started_us, bool stream, struct result *result)
{
	struct buffer *out = conn_out(calls->conn);
	uint64_t took_us = clock_us() - started_us;
	int error = 0;

	result->request = number;
	result->total_ms = (double)took_us / 1000;
	if (stream && result->stored)
		error = write_chunks(out, id, result->stored->answer);
	if (!error)
		error = result_write(out, id, result, !stream);
	appended(calls, error);
	count_result(calls->service, result, took_us);
	if (calls->service->log.level >= LOG_LEVEL_DEBUG)
		log_write(&calls->service->log, LOG_LEVEL_DEBUG, "answered conn=%llu request=%llu tier=%s us=%llu",
			  (unsigned long long)conn_number(calls->conn), (unsigned long long)number, tier_name(result->tier),
			  (unsigned long long)took_us);
}

/* ---- open calls ---- */

static void call_end(struct call *call)
{
	struct calls *calls = call->calls;

	flight_leave(&call->rider);
	deadline_stop(calls->service->deadlines, &call->deadline);
	if (call->is_talking)
		DL_DELETE(calls->talking, call);
	HASH_DEL(calls->by_id, call);
	calls->count--;
	calls->service->in_flight--;
	free(call);
}

void call_fail(struct call *call, const struct fault *fault)
{
	call->work = NULL;
	send_fault(call->calls, &call->id, fault);
	call_end(call);
}

void call_finish(struct call *call, struct slice result)
{
	struct buffer *out = conn_out(call->calls->conn);
	unsigned char head[11] = {0x94, 0x01, 0xcf};

	for (int i = 0; i < 8; i++)
		head[3 + i] = (unsigned char)(call->id >> (56 - 8 * i));
	call->work = NULL;
	int error = buffer_reserve(out, sizeof(head) + 1 + result.length);
	if (!error) {
		(void)buffer_append(out, head, sizeof(head));
		(void)buffer_append(out, "\xc0", 1);
		(void)buffer_append(out, result.data, result.length);
	}
	appended(call->calls, error);
	call_end(call);
}

static void call_cancel(struct call *call, int code, const char *text)
{
	struct fault fault;

	if (call->work)
		call->cancel(call->work);
	(void)fault_set(&fault, code, "", "%s", text);
	call_fail(call, &fault);
}

static void call_expired(struct deadline *deadline)
{
	struct call *call = (struct call *)((char *)deadline - offsetof(struct call, deadline));

	call_cancel(call, ERROR_TIMEOUT, "no answer within timeout_ms");
}

static void rider_hit(struct rider *rider, struct result *result)
{
	struct call *call = (struct call *)rider;

	result->counts = call->counts;
	call_answer(call->calls, call->id, call->number, call->started_us, call->stream, result);
	call_end(call);
}

static void rider_miss(struct rider *rider, struct result *result)
{
	struct call *call = (struct call *)rider;
	struct fault fault;

	if (call->method == METHOD_lookup) {
		rider_hit(rider, result);
		return;
	}
	(void)fault_set(&fault, ERROR_NOT_FOUND, "field=cache",
			"nothing stored may be served (%s), and the model was not to be asked",
			reason_name(result->reason) ? reason_name(result->reason) : reason_name(REASON_no_candidate));
	call_fail(call, &fault);
}

static void rider_more(struct rider *rider)
{
	struct call *call = (struct call *)rider;
	struct result result;

	if (call->is_talking || !((call->stream && flight_has_text(rider)) || flight_ended(rider, &result)))
		return;
	DL_APPEND(call->calls->talking, call);
	call->is_talking = true;
	conn_wake(call->calls->conn);
}

static void rider_failed(struct rider *rider, const struct fault *fault)
{
	call_fail((struct call *)rider, fault);
}

static void rider_added(struct rider *rider, const struct identity *entry, const char *stored)
{
	struct call *call = (struct call *)rider;
	char hex[IDENTITY_HEX], result[128];

	/* {"entry": hex, "stored": where} */
	identity_hex(entry, hex);
	int length = snprintf(result, sizeof(result),
			      "\x82\xa5"
			      "entry\xd9%c%s\xa6"
			      "stored%c%s",
			      IDENTITY_HEX - 1, hex, (char)(0xa0 | strlen(stored)), stored);
	call_finish(call, (struct slice){result, (size_t)length});
}

static void rider_explained(struct rider *rider, const struct explanation *explanation)
{
	admin_explained((struct call *)rider, explanation);
}

static const struct rider_ops rider_ops = {
	.hit = rider_hit,
	.miss = rider_miss,
	.more = rider_more,
	.failed = rider_failed,
	.explained = rider_explained,
	.added = rider_added,
};

/* Says what one call has to say now: one chunk, or its end. Returns whether it has more. */
static bool call_talk(struct call *call)
{
	struct calls *calls = call->calls;
	struct buffer *out = conn_out(calls->conn);
	char text[LIMIT_CHUNK_BYTES];
	struct result result;

	if (call->stream && flight_has_text(&call->rider)) {
		size_t length = flight_read(&call->rider, text, sizeof(text));
		appended(calls, result_write_chunk(out, call->id, call->seq++, (struct slice){text, length}));
		if (flight_has_text(&call->rider))
			return true;
	}
	if (!flight_ended(&call->rider, &result))
		return false;
	result.counts = call->counts;
	call_answer(calls, call->id, call->number, call->started_us, call->stream, &result);
	call_end(call);
	return false;
}

bool calls_write(struct calls *calls)
{
	while (calls->talking && conn_has_room(calls->conn) && conn_out(calls->conn)->length < CONN_SLICE) {
		struct call *call = calls->talking;
		DL_DELETE(calls->talking, call);
		call->is_talking = false;
		if (call_talk(call)) {
			DL_APPEND(calls->talking, call);
			call->is_talking = true;
		}
	}
	return calls->talking != NULL;
}

void calls_close(struct calls *calls)
{
	struct call *call, *next;

	HASH_ITER (hh, calls->by_id, call, next) {
		if (call->work)
			call->cancel(call->work);
		call_end(call);
	}
}

void calls_fail(struct calls *calls, const struct fault *fault)
{
	struct call *call, *next;

	HASH_ITER (hh, calls->by_id, call, next) {
		if (call->work)
			call->cancel(call->work);
		call_fail(call, fault);
	}
}

/* ---- messages ---- */

/* Methods that are answered at once take no room, so that an overloaded daemon can still be looked at. */
static bool needs_room(enum method method)
{
	switch (method) {
	case METHOD_hello:
	case METHOD_ping:
	case METHOD_stats:
	case METHOD_health:
	case METHOD_config:
	case METHOD_reload:
	case METHOD_drain:
		return false;
	default:
		return true;
	}
}

static int check_room(const struct calls *calls, enum method method, struct fault *fault)
{
	const struct service *service = calls->service;
	char detail[64];
	uint64_t limit = 0;

	if (!needs_room(method))
		return 0;
	if (calls->count >= service->config->server.max_in_flight_per_connection)
		limit = service->config->server.max_in_flight_per_connection;
	else if (service->in_flight >= service->config->server.max_in_flight)
		limit = service->config->server.max_in_flight;
	else
		return 0;
	(void)snprintf(detail, sizeof(detail), "limit=%llu retry_ms=%d", (unsigned long long)limit, BUSY_RETRY_MS);
	return fault_set(fault, ERROR_BUSY, detail, "too many requests are in flight%s",
			 calls->count >= service->config->server.max_in_flight_per_connection ? " on this connection" : "");
}

struct caller call_caller(const struct calls *calls)
{
	return (struct caller){conn_uid(calls->conn), conn_pid(calls->conn)};
}

struct call *call_open(struct calls *calls, const struct request *request, uint64_t started_us, struct fault *fault)
{
	struct service *service = calls->service;
	struct call *call;

	if (check_room(calls, request->method, fault) != 0) {
		service->metrics.busy++;
		return NULL;
	}
	call = calloc(1, sizeof(*call));
	if (!call) {
		(void)fault_set(fault, ERROR_MEMORY, "", "out of memory for another call");
		return NULL;
	}
	const struct caller caller = call_caller(calls);
	*call = (struct call){
		.rider = {.ops = &rider_ops, .number = service->requests, .uid = caller.uid, .pid = caller.pid},
		.calls = calls,
		.id = request->id,
		.number = service->requests,
		.started_us = started_us,
		.method = request->method,
		.stream = request->stream,
		.deadline = {.expired = call_expired},
	};
	if (request->has_timeout && deadline_start(service->deadlines, &call->deadline, request->timeout_ms) != 0) {
		(void)fault_set(fault, ERROR_MEMORY, "", "out of memory for another call");
		free(call);
		return NULL;
	}
	HASH_ADD(hh, calls->by_id, id, sizeof(call->id), call);
	if (!call->hh.tbl) {
		(void)fault_set(fault, ERROR_MEMORY, "", "out of memory for another call");
		deadline_stop(service->deadlines, &call->deadline);
		free(call);
		return NULL;
	}
	calls->count++;
	service->in_flight++;
	return call;
}

static void log_denied(const struct calls *calls, enum method method)
{
	struct service *service = calls->service;
	uint64_t left_out;

	service->metrics.denied++;
	if (log_allows(&service->denied_log, deadlines_now_ms(service->deadlines), &left_out))
		log_write(&service->log, LOG_LEVEL_WARNING, "denied conn=%llu request=%llu method=%s uid=%u left_out=%llu",
			  (unsigned long long)conn_number(calls->conn), (unsigned long long)service->requests,
			  method_name(method), conn_uid(calls->conn), (unsigned long long)left_out);
}

static int handle_request(struct calls *calls, struct request *request, struct slice message, struct slice params,
			  uint64_t started_us, struct fault *fault)
{
	struct service *service = calls->service;
	enum method method = request->method;

	if (method_caller(method) == METHOD_ADMIN && !conn_is_admin(calls->conn)) {
		log_denied(calls, method);
		return fault_set(fault, ERROR_DENIED, "",
				 "%s is for root, the daemon's user and members of server.admin_group", method_name(method));
	}
	if (service->draining && method != METHOD_ping && method != METHOD_hello && method != METHOD_health &&
	    method != METHOD_stats)
		return fault_set(fault, ERROR_DRAINING, "", "the daemon is ending: connect again for its successor");
	if (method == METHOD_get_or_generate && question_recall(calls, request->id, params, started_us))
		return 0;
	int error = request_read_params(params, request, fault);
	if (error)
		return error;
	if (method == METHOD_get_or_generate || method == METHOD_lookup || method == METHOD_add ||
	    (method == METHOD_explain && !request->has_request))
		return question_handle(calls, request, message, params, started_us, fault);
	struct call *call = call_open(calls, request, started_us, fault);
	if (!call)
		return fault->code;
	if (admin_handle(call, request, fault) != 0)
		call_fail(call, fault);
	return 0;
}

/* The connection cannot go on: one last error without an id. */
static int give_up(struct calls *calls, const struct fault *fault)
{
	send_fault(calls, NULL, fault);
	return ERROR_PROTOCOL;
}

int call_message(struct calls *calls, struct slice message)
{
	struct service *service = calls->service;
	uint64_t started_us = clock_us();
	struct slice params = {0};
	struct request request;
	struct fault fault = {0};
	enum message_kind kind = MESSAGE_REQUEST;
	struct call *same = NULL;
	bool id_known;

	if (message.length > LARGE_MESSAGE)
		service->metrics.large_messages++;
	int error = request_read_head(message, &request, &kind, &params, &id_known, &fault);
	if (error && !id_known)
		return give_up(calls, &fault);
	if (kind == MESSAGE_IGNORED)
		return 0;
	HASH_FIND(hh, calls->by_id, &request.id, sizeof(request.id), same);
	if (kind == MESSAGE_CANCEL) {
		if (same)
			call_cancel(same, ERROR_CANCELLED, "cancelled by the client");
		return 0;
	}
	service->metrics.requests++;
	service->requests++;
	if (same) {
		(void)fault_set(&fault, ERROR_DUPLICATE_ID, "field=id", "this id is still in use on this connection");
		return give_up(calls, &fault);
	}
	if (!error)
		error = handle_request(calls, &request, message, params, started_us, &fault);
	if (error)
		send_fault(calls, &request.id, &fault);
	return 0;
}

void call_unreadable(struct calls *calls, int code)
{
	const struct service *service = calls->service;
	struct fault fault;
	char detail[64];

	if (code == ERROR_TOO_LARGE) {
		(void)snprintf(detail, sizeof(detail), "limit=%llu",
			       (unsigned long long)service->config->server.max_message_bytes);
		(void)fault_set(&fault, code, detail,
				"a message may have at most this many bytes, and %d levels of arrays and maps", LIMIT_DEPTH);
	} else {
		(void)fault_set(&fault, ERROR_INVALID, "field=message", "this is not MessagePack");
	}
	send_fault(calls, NULL, &fault);
}
