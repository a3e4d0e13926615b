/* explain, of a request that was answered before, and watch. All goes well: the log has the record, which is the result as
 * it is; each decision is an event until the caller cancels. What can go wrong: there is no such record, or no log (an
 * error); a watcher does not read (records are left out for it, and the next event says how many; the connection's own rules
 * see to the rest); too many watch (BUSY); the daemon ends (DRAINING, so that a watcher does not hold that up). */
#include "admin_private.h"

#include "conn.h"
#include "decisions.h"

#include "../proto/reader.h"

#include <stdlib.h>
#include <string.h>

/* ---- explain --request ---- */

struct explaining {
	struct call *call;
	struct decisions *decisions;
	struct decisions_find find;
};

static void explaining_cancel(void *work)
{
	struct explaining *explaining = work;

	decisions_find_cancel(explaining->decisions, &explaining->find);
	free(explaining);
}

static int no_log(struct fault *fault, int error)
{
	if (error == ERROR_BUSY)
		return fault_set(fault, error, "retry_ms=100", "too many requests are being looked for");
	if (error == ERROR_MEMORY)
		return fault_set(fault, error, "", "out of memory");
	return fault_set(fault, ERROR_UNAVAILABLE, "", "no log of decisions is kept (decisions.directory)");
}

static void explaining_done(struct decisions_find *find, struct slice record, int error)
{
	struct explaining *explaining = find->data;
	struct call *call = explaining->call;
	struct fault fault;

	free(explaining);
	if (record.data) {
		call_finish(call, record);
		return;
	}
	if (error == ERROR_UNAVAILABLE)
		(void)fault_set(&fault, error, "", "the log of decisions cannot be read");
	else if (error)
		(void)no_log(&fault, error);
	else
		(void)fault_set(
			&fault, ERROR_NOT_FOUND, "field=request",
			"the log has no decision of this request: it was answered without one, or the record has left");
	call_fail(call, &fault);
}

int admin_explain_request(struct call *call, const struct request *request, struct fault *fault)
{
	struct explaining *explaining = calloc(1, sizeof(*explaining));

	if (!explaining)
		return no_log(fault, ERROR_MEMORY);
	explaining->call = call;
	explaining->decisions = call->calls->service->decisions;
	explaining->find = (struct decisions_find){.done = explaining_done, .data = explaining};
	int error = decisions_find(explaining->decisions, &explaining->find, request->explained);
	if (error) {
		free(explaining);
		return no_log(fault, error);
	}
	call->work = explaining;
	call->cancel = explaining_cancel;
	return 0;
}

/* ---- watch ---- */

struct watching {
	struct call *call;
	struct service *service;
	struct decisions_watch watch;
	uint64_t missed;
	char namespace[];
};

static void watching_cancel(void *work)
{
	struct watching *watching = work;

	decisions_watch_stop(watching->service->decisions, &watching->watch);
	free(watching);
}

/* [2, "event", [id, {record, and missed}]] */
static int write_event(struct buffer *out, uint64_t id, struct slice record, uint64_t missed)
{
	struct reader r = reader_of(record);
	struct reader_value map;
	msgpack_packer pack = pack_to(out);

	if (reader_next(&r, &map) != 0 || map.type != READER_MAP)
		return ERROR_INTERNAL;
	int error = buffer_reserve(out, record.length + 64);
	if (error)
		return error;
	msgpack_pack_array(&pack, 3);
	msgpack_pack_int(&pack, 2);
	pack_key(&pack, "event");
	msgpack_pack_array(&pack, 2);
	msgpack_pack_uint64(&pack, id);
	msgpack_pack_map(&pack, map.count + (missed > 0));
	if (missed)
		pack_named_uint(&pack, "missed", missed);
	(void)buffer_append(out, r.at, (size_t)(r.end - r.at));
	return 0;
}

static void watching_event(struct decisions_watch *watch, struct slice record)
{
	struct watching *watching = watch->data;
	struct conn *conn = watching->call->calls->conn;

	if (!conn_has_room(conn) || write_event(conn_out(conn), watching->call->id, record, watching->missed) != 0) {
		watching->missed++;
		watching->service->metrics.decisions_missed++;
		return;
	}
	watching->missed = 0;
	conn_wake(conn);
}

static void watching_ended(struct decisions_watch *watch)
{
	struct watching *watching = watch->data;
	struct call *call = watching->call;
	struct fault fault;

	free(watching);
	(void)fault_set(&fault, ERROR_DRAINING, "", "the daemon is ending: connect again for its successor");
	call_fail(call, &fault);
}

int admin_watch(struct call *call, const struct request *request, struct fault *fault)
{
	struct service *service = call->calls->service;
	struct watching *watching = calloc(1, sizeof(*watching) + request->namespace.length);

	if (!watching)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	watching->call = call;
	watching->service = service;
	watching->watch = (struct decisions_watch){.event = watching_event, .ended = watching_ended, .data = watching};
	if (request->has_namespace) {
		memcpy(watching->namespace, request->namespace.data, request->namespace.length);
		watching->watch.namespace = (struct slice){watching->namespace, request->namespace.length};
	}
	if (decisions_watch_start(service->decisions, &watching->watch) != 0) {
		free(watching);
		return fault_set(fault, ERROR_BUSY, "limit=64 retry_ms=1000", "%d watch already", DECISIONS_WATCHES);
	}
	call->work = watching;
	call->cancel = watching_cancel;
	return 0;
}
