/* HTTP requests on the loop: libcurl's multi interface on libuv, nothing blocking, nothing retried.
 *
 *   http_start() ──> paced start queue ──> curl multi on sockets.h ──> on_head, on_data …, on_done (once)
 *
 * Happy path: the request starts within this or one of the next turns (at most HTTP_STARTS_A_TURN each), status and body
 * arrive through the callbacks, on_done ends it.
 * What can go wrong: every failure of the transfer comes as on_done with a kind; http_cancel() ends a request at once, also
 * from inside its own callbacks, and no callback comes afterwards. */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "../proto/buffer.h"

#include <stdint.h>

#define HTTP_STARTS_A_TURN 16

struct deadlines;
struct http;
struct uv_loop_s;

enum http_result {
	HTTP_DONE,      /* the response is whole; look at `status` */
	HTTP_REFUSED,   /* no connection: refused, no such host or socket, TLS not agreed */
	HTTP_RESET,     /* the connection broke before the response was whole */
	HTTP_TRUNCATED, /* the peer closed it in good order before the response was whole */
	HTTP_STALLED,   /* nothing came for idle_timeout_ms, or not connected within connect_timeout_ms */
	HTTP_TOO_LARGE, /* more than max_response_bytes */
	HTTP_TIMED_OUT, /* not done within timeout_ms */
	HTTP_FAILED,    /* anything else libcurl says; `error` tells */
};

/* Where requests go. Texts are the caller's and must live as long as the requests; `secret` goes into an Authorization
 * header ("Bearer …") and nowhere else. */
struct http_target {
	const char *base_url;                                     /* http:// or https://, without a slash at the end */
	const char *unix_socket;                                  /* or NULL */
	const char *secret;                                       /* or NULL */
	uint64_t connect_timeout_ms, idle_timeout_ms, timeout_ms; /* 0 = none */
};

/* One request, embedded in what waits for it. The public part is set by the caller and stays until the end.
 *
 * An event stream is one model call and costs money, so libcurl never sends it a second time: see transfer_options() in
 * http.c. Other requests reuse connections, and libcurl may send one again that a dying connection swallowed. */
struct http_request {
	const struct http_target *target;
	const char *path;   /* appended to base_url: "/chat/completions". Must live as long as the request */
	struct buffer body; /* JSON; empty = GET. Moved into http.c (and emptied here) by a start that returns 0 */
	bool event_stream;  /* asks for text/event-stream, on a connection of its own */
	size_t max_response_bytes;
	/* The status line came (may be NULL). */
	void (*on_head)(struct http_request *request, int status);
	/* Bytes of the body, of any status, in any splits. */
	void (*on_data)(struct http_request *request, struct slice data);
	/* The end. `status` is 0 if none came; `error` is one line without secrets ("" for HTTP_DONE). May free the request,
	 * and start or cancel others; must not destroy the http. */
	void (*on_done)(struct http_request *request, enum http_result result, int status, const char *error);
	void *data;
	uint64_t retry_after_ms; /* set before on_done: what a Retry-After header asked for, 0 = none */
	void *private;           /* http.c's; NULL while not started */
};

/* Creates the machine on `loop`. NULL if libcurl cannot be used. Resolves names off the loop; follows no redirects; speaks
 * HTTP/1.1 over http and https only; uses no proxy; verifies TLS against one CA bundle: the file that SSL_CERT_FILE names,
 * or the system's. The process must ignore SIGPIPE. */
struct http *http_create(struct uv_loop_s *loop, struct deadlines *deadlines);

/* Ends every request without a callback and closes; memory with libuv handles is freed in their close callbacks, so the loop
 * must run once more. Not to be called from inside a callback of a request. NULL is nothing. */
void http_destroy(struct http *http);

/* Starts `request`. Returns 0, or ERROR_MEMORY or ERROR_INVALID (the secret has control characters); then no callback comes
 * and the body is still the caller's. */
int http_start(struct http *http, struct http_request *request);

/* Overwrites with asterisks what of `text` is the target's secret, or eight bytes or more of its beginning: services quote
 * the key they refuse. */
void http_hide_secret(const struct http_target *target, char *text);

/* Ends `request` at once; no callback comes any more, and its memory may be freed. Not started is nothing. */
void http_cancel(struct http_request *request);

#endif
