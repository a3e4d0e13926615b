/* One asynchronous connection to Redis on the loop: connects, authenticates, reconnects, and gives up on a hung server.
 *
 *   WAIT ──(now, then every 50-100 ms for a second, then every PART_PROBE_MS)──> RESOLVE (TCP names only) ─> CONNECT
 *    ^                                                                                                         │
 *    └─ error, EOF, or no reply within timeout_ms (every pending callback gets NULL) ─ UP <─ GREET (AUTH SELECT PING)
 *
 * A wrapper thin enough to keep hiredis's own command functions: redis_context() gives the context while UP. hiredis's
 * headers are included here and nowhere else. */
#ifndef DAEMON_REDIS_H
#define DAEMON_REDIS_H

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

struct config;
struct deadlines;
struct log;
struct redis;
struct uv_loop_s;

/* How a connection, or an attempt at one, ended. */
enum redis_loss {
	REDIS_LOST,    /* it was up, and ended */
	REDIS_REFUSED, /* nobody there, or not let in: needs no second try to be believed */
	REDIS_HUNG,    /* no answer in time */
};

struct redis_events {
	void (*up)(void *data);
	/* `error` says why; pending commands have had their NULL replies before. Called on each failed attempt too. */
	void (*down)(void *data, enum redis_loss loss, const char *error);
	/* An idle connection answered our PING. May be NULL. */
	void (*alive)(void *data);
};

/* Starts to connect to config's redis.url; returns at once, events come later. `name` is for the log ("redis reads").
 * NULL without memory. */
struct redis *redis_create(struct uv_loop_s *loop, struct deadlines *deadlines, const struct config *config,
			   const char *name, const struct redis_events *events, void *data, const struct log *log);

/* Closes the connection: pending commands get NULL replies before it returns, then no event comes any more. Must not be
 * called from within a callback of a command or an event. Memory is freed when libuv has closed the handles. NULL is
 * nothing. */
void redis_destroy(struct redis *redis);

/* Returns hiredis's context while the connection is UP, else NULL. It is good only until the loop's next turn. */
struct redisAsyncContext *redis_context(struct redis *redis);

/* Ends a connection on which a reply is overdue, and connects anew. Called from within a callback of a command it takes
 * effect behind it; otherwise pending commands get NULL replies before it returns. */
void redis_reset(struct redis *redis, const char *why);

#endif
