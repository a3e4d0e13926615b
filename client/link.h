/* The connection to the daemon: a non-blocking socket with a bounded buffer in each direction, and the back-off between
 * attempts. */
#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

#include "../proto/buffer.h"
#include "../proto/scanner.h"
#include "failure.h"

enum link_state {
	LINK_DOWN,     /* not connected, nobody waits */
	LINK_WAITING,  /* an attempt failed; the next is due at retry_at_ms */
	LINK_UP,       /* connected */
	LINK_DRAINING, /* connected, but the daemon takes nothing new: kept for the responses still to come */
};

struct link {
	enum link_state state;
	int fd;           /* -1 unless UP or DRAINING */
	int epoll;        /* follows fd for a caller's loop; -1 until one asks for it */
	uint32_t watched; /* the events it waits for; 0 = fd is not in it */
	struct buffer in, out;
	size_t in_read; /* bytes of `in` that are already understood */
	struct scanner scanner;
	unsigned attempts; /* that failed in a row */
	int64_t since_ms;  /* when the first of them was made */
	int64_t retry_at_ms;
	struct failure failure; /* of the last attempt */
};

/* Makes `link` DOWN; messages of up to `max_message_bytes` will be read. */
void link_init(struct link *link, size_t max_message_bytes);

/* Closes and frees. `forked`: in a child, which must not touch what it shares with its parent. */
void link_deinit(struct link *link, bool forked);

/* Makes the descriptor for a caller's loop, once. Returns it, or ERROR_MEMORY. */
int link_watch(struct link *link);

/* Makes the descriptor of link_watch(), if there is one, wait for what `link` now waits for. */
void link_watch_update(struct link *link);

/* Tries to connect to `path` now. Returns 0 (UP), ERROR_PENDING (nobody listens there yet: WAITING), or ERROR_CONNECT with
 * link->failure (DOWN; trying again would not help). */
int link_connect(struct link *link, const char *path, int64_t now_ms);

/* Closes the connection and drops what is buffered: DOWN. */
void link_close(struct link *link);

/* Sends what is in `out`. Returns 0 (all), ERROR_PENDING (the rest must wait), ERROR_CLOSED. */
int link_send(struct link *link);

/* Receives what is there, once; `*more`: there may be more. Returns 0, ERROR_PENDING (nothing there), ERROR_CLOSED,
 * ERROR_MEMORY. */
int link_receive(struct link *link, bool *more);

/* Finds the next complete message in `in`; it is valid until the next call with `link`. Returns 0, ERROR_PENDING, or as
 * scanner_scan(). */
int link_message(struct link *link, struct slice *message);

#endif
