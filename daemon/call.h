/* A call: one RPC of one client, from its message to its one response.
 *
 *   call_message() ─ read, check ─┬─ answered at once (memory hit, ping, …) ──> conn_out()
 *                                 └─ rides a flight, or waits for Redis ──> calls_write() when there is something to say
 *
 * A call belongs to its connection. It has exactly one response, whatever happens; after it the call is gone. */
#ifndef DAEMON_CALL_H
#define DAEMON_CALL_H

#include "../proto/buffer.h"

struct call;
struct conn;
struct fault;
struct service;

/* The calls of one connection; embedded in the connection. */
struct calls {
	struct conn *conn;
	struct service *service;
	struct call *by_id;   /* uthash: all open calls */
	struct call *talking; /* those that have something to write */
	size_t count;
};

/* Makes `calls` empty. */
void calls_init(struct calls *calls, struct conn *conn, struct service *service);

/* One complete message arrived; it is gone after the return. Responses go to conn_out(). Returns 0, or ERROR_PROTOCOL when
 * the connection must be closed (a last error is already in conn_out()). */
int call_message(struct calls *calls, struct slice message);

/* A message could not be cut from the stream: appends the last error (id nil) for `code` of scanner_scan(). */
void call_unreadable(struct calls *calls, int code);

/* Appends what the calls have to say: about CONN_SLICE, while conn_has_room(). Returns whether something is left. */
bool calls_write(struct calls *calls);

/* The client is gone: ends all calls, without responses. */
void calls_close(struct calls *calls);

/* The daemon is going: answers all calls with `fault`. */
void calls_fail(struct calls *calls, const struct fault *fault);

#endif
