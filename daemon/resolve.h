/* Names of hosts into addresses, off the loop and remembered for a while.
 *
 * A name is looked up on libuv's thread pool, once for all who wait. An address older than RESOLVE_FRESH_MS is still used
 * (up to RESOLVE_USABLE_MS) while it is looked up again behind. */
#ifndef DAEMON_RESOLVE_H
#define DAEMON_RESOLVE_H

#include <stdbool.h>

#define RESOLVE_FRESH_MS 30000
#define RESOLVE_USABLE_MS 300000
#define RESOLVE_NAMES 128

struct resolver;
struct uv_loop_s;

/* One that waits for a name, embedded in whatever waits. */
struct resolve_wait {
	/* Called once after resolver_find() returned 0. `addresses` is a comma list ("192.0.2.1,[2001:db8::1]"), valid
	 * during the call; NULL = no such name, and `error` says why. */
	void (*done)(struct resolve_wait *wait, const char *addresses, const char *error);
	void *private; /* the resolver's; NULL while not waiting */
	struct resolve_wait *prev, *next;
	bool telling; /* in the list of those being told */
};

/* Creates a resolver on `loop`; NULL without memory. */
struct resolver *resolver_create(struct uv_loop_s *loop);

/* Frees it; nobody is called any more. A look-up under way is freed when the thread pool gives it back, so the loop must run
 * until then. NULL is nothing. */
void resolver_destroy(struct resolver *resolver);

/* Looks for `host`. Returns 1 with `*addresses` (valid until the loop's next turn) if it is known, 0 if wait->done will
 * tell, ERROR_MEMORY, or ERROR_TOO_LARGE (name too long, or more than RESOLVE_NAMES names). */
int resolver_find(struct resolver *resolver, struct resolve_wait *wait, const char *host, const char **addresses);

/* `wait` is not called any more. Not waiting is nothing. */
void resolve_cancel(struct resolve_wait *wait);

#endif
