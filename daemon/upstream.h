/* Asks a model: a chat call to an upstream, always streamed, with a bounded number at once and a bounded queue behind.
 *
 *   chat_start() ──> FIFO of ≤ queue ──> ≤ max_transfers HTTP requests ──> text … text ──> done (once)
 *
 * The dialect of the service is behind struct provider_ops (openai.c is the one there is).
 * What can go wrong: refused, reset, stalled (also: longer than timeout_ms), cut before its end, an HTTP status, an error
 * inside the stream, something that is neither an event stream nor a whole answer, U+0000 or no UTF-8 in it, more than
 * server.max_message_bytes of text: each comes as done with a fault, ERROR_UPSTREAM with kind= (refused, reset, stalled,
 * truncated, http or protocol) in its detail, status= where there is one, and retry_ms= where a 429 or 503 said it. Nothing is retried: a second try would be a second bill. */
#ifndef DAEMON_UPSTREAM_H
#define DAEMON_UPSTREAM_H

#include "../proto/buffer.h"
#include "../proto/fault.h"

#include <stdint.h>

struct config;
struct config_upstream;
struct deadlines;
struct http;
struct log;
struct metrics;
struct part;
struct upstreams;

struct chat_usage {
	bool known;
	uint64_t prompt_tokens, completion_tokens, total_tokens;
};

/* How a chat call ended well. */
struct chat_end {
	char finish_reason[32]; /* "stop", "length", "content_filter", …; "" if none came */
	/* Status 2xx, finish_reason stop, text not empty, the stream ended properly, nothing in it that a text cannot carry
	 * (tool calls, a refusal, a second choice): may be stored. */
	bool complete;
	struct chat_usage usage;
	char model[128];        /* as the service named it, or "" */
	uint64_t duration_us;   /* from the HTTP request's start (not the queue) to the end */
	uint64_t first_text_us; /* … to the first text; 0 without text */
};

/* One chat call, embedded in the flight. */
struct chat {
	/* Whole UTF-8 characters of the answer, as they come; never empty. */
	void (*text)(struct chat *chat, struct slice text);
	/* Exactly once after a start that returned 0, never before it returned, never after chat_cancel(). `fault` NULL: it
	 * went well, `end` says how. Otherwise `end` is NULL and fault->code is ERROR_UPSTREAM or ERROR_UNAVAILABLE (or, in
	 * the background, ERROR_BUSY). */
	void (*done)(struct chat *chat, const struct chat_end *end, const struct fault *fault);
	void *data;
	/* Where a call that nobody waits for is counted, instead of in api_calls; NULL = somebody waits. It starts only
	 * while nobody waits for a transfer, and one that is in the air is ended (ERROR_BUSY) for somebody who would have to
	 * wait. */
	uint64_t *background;
	void *private;
};

/* What is asked; slices need to live only during chat_start(). */
struct chat_question {
	const struct config_upstream *upstream;
	struct slice model;
	struct slice prompt;     /* text: one user message; this or messages */
	struct slice messages;   /* raw MessagePack array */
	struct slice parameters; /* raw MessagePack map, or absent */
};

/* Creates all upstreams of `config`. `parts` is an array with one part for each, in the same order; it is kept up to date,
 * and probed (GET /models, which costs nothing) while DOWN. NULL without memory. */
struct upstreams *upstreams_create(struct http *http, struct deadlines *deadlines, const struct config *config,
				   struct part *parts, struct metrics *metrics, const struct log *log);

/* Ends everything without callbacks; NULL is nothing. */
void upstreams_destroy(struct upstreams *upstreams);

/* Starts a call. Returns 0; ERROR_INVALID (`fault` names what JSON cannot carry: a float NaN or infinite, an ext value, a
 * map key that is no text), ERROR_TOO_LARGE, ERROR_UNAVAILABLE (DOWN), ERROR_BUSY (queue full) or ERROR_MEMORY with `fault`
 * filled; then no callback comes. */
int chat_start(struct upstreams *upstreams, struct chat *chat, const struct chat_question *question, struct fault *fault);

/* Cancels: the HTTP stream is closed, which frees the model. No callback comes. Not started is nothing. */
void chat_cancel(struct chat *chat);

/* Returns the calls in the air and in the queues. */
size_t upstreams_in_flight(const struct upstreams *upstreams);

#endif
