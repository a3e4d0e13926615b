/* A handle: one connection and the requests open on it; what moves them is in engine.c. */
#ifndef CLIENT_HANDLE_H
#define CLIENT_HANDLE_H

#include "link.h"
#include "pending.h"

#include <sys/types.h>

struct semcache {
	pid_t owner;      /* the process that may use it */
	bool in_callback; /* the caller's code is running inside ours */
	char socket[108];
	int64_t connect_timeout_ms;
	int64_t timeout_ms; /* SEMCACHE_UNSET: by method */
	size_t max_message_bytes;
	int64_t next_deadline_ms; /* no request's deadline is earlier; INT64_MAX if there is none */
	struct link link;
	struct pending_table pending;
	struct failure failure; /* of the last function that failed */
	struct semcache_error error;
};

/* Makes this the handle's last error. Returns `code`. */
int handle_fail(struct semcache *cache, int code, const char *detail, const char *text);

/* Returns the monotonic clock in milliseconds. */
int64_t engine_now_ms(void);

/* Queues a new request (its message and deadline are set) and sends it if that is possible now. */
void engine_start(struct semcache *cache, struct pending *request);

/* Ends a queued or sent request for its owner with request->failure; a sent one is cancelled at the daemon. */
void engine_abandon(struct semcache *cache, struct pending *request);

/* Reads, connects, writes, and runs the callbacks that are due. Never waits. */
void engine_process(struct semcache *cache);

/* Returns after how many milliseconds engine_process() is due without any event; 0 = now, -1 = not at all. */
int engine_timeout_ms(const struct semcache *cache);

#endif
