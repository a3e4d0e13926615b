/* What upstream.c (queue, part, life) and upstream_call.c (one call's answer) share; nobody else includes it. */
#ifndef DAEMON_UPSTREAM_PRIVATE_H
#define DAEMON_UPSTREAM_PRIVATE_H

#include "deadline.h"
#include "http.h"
#include "provider.h"
#include "sse.h"

struct chat_call;

/* One service: what is in the air, what waits, and the probe while it is DOWN. */
struct upstream {
	struct upstreams *all;
	const struct config_upstream *config;
	const struct provider_ops *ops;
	struct part *part;
	struct http_target target, probe_target;
	struct chat_call *running, *waiting;
	bool pumping;
	size_t running_count, waiting_count;
	struct http_request probe; /* probe.private: under way */
	struct deadline probe_at, pump_at;
};

/* All of them, in the order of the configuration. */
struct upstreams {
	struct http *http;
	struct deadlines *deadlines;
	const struct config *config;
	struct metrics *metrics;
	const struct log *log;
	struct json_tokener *tokener;
	size_t max_text;
	size_t count;
	struct upstream list[];
};

/* What the first bytes of an answer told. */
enum answer_kind { NOTHING_YET, EVENTS, WHOLE, ERROR_BODY };

/* One chat call, from chat_start() to its end. */
struct chat_call {
	struct chat *chat; /* NULL once it is done or cancelled */
	struct upstream *upstream;
	struct chat_call *prev, *next;
	bool started;    /* it is in `running` */
	bool inside;     /* in one of its own callbacks from http.c: not freed yet */
	bool event_seen; /* it is an event stream indeed */
	enum answer_kind kind;
	int status;
	struct http_request request;
	struct sse sse;
	struct buffer text; /* of the answer, not handed on yet: at most the start of a character between events */
	struct buffer body; /* WHOLE: the answer; ERROR_BODY: its start */
	struct provider_reading reading;
	size_t text_bytes;
	uint64_t started_us, first_text_us;
};

/* Creates a call that belongs to nothing yet; NULL without memory. */
struct chat_call *chat_call_create(struct upstream *upstream, struct chat *chat);

/* Frees a call that is in no list. */
void chat_call_free(struct chat_call *call);

/* Takes a call from its upstream and its chat, whose callbacks never come then; its HTTP request ends. Returns the chat. */
struct chat *chat_call_detach(struct chat_call *call);

/* Ends a call with `fault`. */
void chat_call_fail(struct chat_call *call, const struct fault *fault);

/* Starts what may start; while the service is DOWN, tells all who wait. */
void upstream_pump(struct upstream *upstream);

/* The service gave a sign of life. */
void upstream_succeeded(struct upstream *upstream);

/* A request to the service ended so; judges what that says of it. */
void upstream_note(struct upstream *upstream, enum http_result result, int status, const char *error);

/* Returns the clock that calls are timed by, in microseconds. */
uint64_t upstream_clock_us(void);

#endif
