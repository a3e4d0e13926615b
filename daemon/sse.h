/* Reads server-sent events as their bytes come, in any splits (WHATWG HTML, section 9.2.6).
 *
 * Lines end with CR, LF or CRLF; a byte order mark in front is passed over, comments and unknown fields too; an event is its
 * data lines joined by LF, handed out at the empty line behind it. One thing is not of the standard: a field named `error`
 * counts as data, because llama.cpp's server reports errors that way. */
#ifndef DAEMON_SSE_H
#define DAEMON_SSE_H

#include "../proto/buffer.h"

struct sse {
	struct buffer line; /* the start of a line whose end has not come */
	struct buffer data; /* the data lines of the event so far, each with its LF */
	bool has_data;      /* a data line came, even if it was empty */
	bool after_cr;      /* the last byte was a CR: an LF now belongs to it */
	bool started;       /* the first line, which may carry a byte order mark, has begun to be understood */
};

/* Receives one event's data, valid during the call. Anything but 0 stops the reading; then `sse` may be freed already. */
typedef int sse_event(void *context, struct slice data);

/* Makes a reader of events of at most `max_bytes` a line and in all; allocates nothing yet. */
void sse_init(struct sse *sse, size_t max_bytes);

/* Frees what it holds. */
void sse_deinit(struct sse *sse);

/* Reads more bytes and calls `event` for each event that ends in them. Returns 0, ERROR_TOO_LARGE, ERROR_MEMORY, or what
 * `event` returned; after anything but 0 the reader can only be deinitialised. */
int sse_feed(struct sse *sse, struct slice bytes, sse_event *event, void *context);

/* The stream has ended: hands out an event whose empty line never came. (The standard drops it; services that forget the
 * last line feed are common, and a cut event does not parse anyway.) Returns as sse_feed(). */
int sse_end(struct sse *sse, sse_event *event, void *context);

#endif
