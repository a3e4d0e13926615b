/* The public functions. A blocking call is a request without blocking whose outcome is waited for here; what both stand on
 * is in engine.c. */
#include "semcache.h"

#include "../proto/error.h"
#include "../proto/limits.h"
#include "handle.h"
#include "question.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 5000
#define ASK_TIMEOUT_MS 300000
#define OTHER_TIMEOUT_MS 30000
#define MESSAGE_BYTES (INT64_C(16) << 20)
#define LARGEST_MESSAGE_BYTES (INT64_C(1) << 30)
#define IN_FLIGHT 1024
#define MOST_IN_FLIGHT 65536

/* The sizes of the first published structures: a caller's may be larger or smaller by whole members, never shorter than
 * these. */
#define QUESTION_SIZE sizeof(struct semcache_question)
#define SELECTOR_SIZE sizeof(struct semcache_selector)
#define OPTIONS_SIZE sizeof(struct semcache_options)

#define X(name, number, text) _Static_assert(-(number) == ERROR_##name, "the table of errors and its numbers agree");
ERROR_TABLE(X)
#undef X
#define SAME(name) _Static_assert((int)SEMCACHE_##name == (int)ERROR_##name, "semcache.h has the numbers of proto/error.h")
SAME(INVALID);
SAME(TOO_LARGE);
SAME(UNKNOWN_METHOD);
SAME(DUPLICATE_ID);
SAME(BUSY);
SAME(QUOTA);
SAME(DENIED);
SAME(NOT_FOUND);
SAME(TIMEOUT);
SAME(CANCELLED);
SAME(UPSTREAM);
SAME(UNAVAILABLE);
SAME(DRAINING);
SAME(INTERNAL);
SAME(MEMORY);
SAME(CONNECT);
SAME(CLOSED);
SAME(PROTOCOL);

const char *semcache_code_name(int code)
{
	return error_name(code);
}

const char *semcache_code_text(int code)
{
	return error_text(code);
}

const char *semcache_version(void)
{
	return SEMCACHE_VERSION;
}

/* Takes `given` if it is from `least` to `most`, `otherwise` if it is unset; else returns false. */
static bool take_option(int64_t given, int64_t otherwise, int64_t least, int64_t most, int64_t *out)
{
	if (given == SEMCACHE_UNSET)
		given = otherwise;
	if (given < least || given > most)
		return false;
	*out = given;
	return true;
}

static int take_options(struct semcache *cache, const struct semcache_options *options, int64_t *max_in_flight)
{
	const char *path = options->socket;
	int64_t message_bytes;

	if (!path)
		path = getenv("SEMCACHE_SOCKET");
	if (!path || !path[0])
		path = SEMCACHE_SOCKET_PATH;
	if (strlen(path) >= sizeof(cache->socket))
		return ENAMETOOLONG;
	memcpy(cache->socket, path, strlen(path) + 1);
	if (!take_option(options->connect_timeout_ms, CONNECT_TIMEOUT_MS, 0, LIMIT_TIMEOUT_MS, &cache->connect_timeout_ms) ||
	    !take_option(options->timeout_ms, SEMCACHE_UNSET, SEMCACHE_UNSET, LIMIT_TIMEOUT_MS, &cache->timeout_ms) ||
	    !take_option(options->max_message_bytes, MESSAGE_BYTES, 1024, LARGEST_MESSAGE_BYTES, &message_bytes) ||
	    !take_option(options->max_in_flight, IN_FLIGHT, 1, MOST_IN_FLIGHT, max_in_flight))
		return EINVAL;
	cache->max_message_bytes = (size_t)message_bytes;
	return 0;
}

struct semcache *semcache_open(const struct semcache_options *options)
{
	static const struct semcache_options defaults = SEMCACHE_OPTIONS;
	struct semcache *cache;
	int64_t max_in_flight;

	if (options && options->size < OPTIONS_SIZE) {
		errno = EINVAL;
		return NULL;
	}
	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return NULL;
	int error = take_options(cache, options ? options : &defaults, &max_in_flight);
	if (!error && pending_init(&cache->pending, (size_t)max_in_flight) != 0)
		error = ENOMEM;
	if (error) {
		free(cache);
		errno = error;
		return NULL;
	}
	cache->owner = getpid();
	cache->next_deadline_ms = INT64_MAX;
	link_init(&cache->link, cache->max_message_bytes);
	(void)failure_set(&cache->failure, 0, "", "no error");
	cache->error = failure_view(&cache->failure);
	return cache;
}

void semcache_close(struct semcache *cache)
{
	if (!cache || cache->in_callback)
		return;
	link_deinit(&cache->link, cache->owner != getpid());
	pending_deinit(&cache->pending);
	free(cache);
}

const char *semcache_socket(const struct semcache *cache)
{
	return cache->socket;
}

const struct semcache_error *semcache_last_error(const struct semcache *cache)
{
	return &cache->error;
}

/* Keeps cache->failure as what the caller sees. Returns its code. */
static int fail(struct semcache *cache)
{
	cache->error = failure_view(&cache->failure);
	return cache->failure.fault.code;
}

int handle_fail(struct semcache *cache, int code, const char *detail, const char *text)
{
	(void)failure_set(&cache->failure, code, detail, "%s", text);
	return fail(cache);
}

/* What every function checks first. */
static int enter(struct semcache *cache)
{
	const char *text = NULL;

	if (cache->owner != getpid())
		text = "a handle cannot be used after fork; open one in the child";
	else if (cache->in_callback)
		text = "within a callback only semcache_cancel() is allowed";
	return text ? handle_fail(cache, ERROR_INVALID, "", text) : 0;
}

/* The deadline of a request that asks for `timeout_ms`. */
static int take_timeout(struct semcache *cache, int64_t timeout_ms, int64_t otherwise, int64_t *out)
{
	if (timeout_ms == SEMCACHE_UNSET)
		timeout_ms = cache->timeout_ms;
	if (timeout_ms == SEMCACHE_UNSET)
		timeout_ms = otherwise;
	if (timeout_ms < 0 || timeout_ms > LIMIT_TIMEOUT_MS)
		return failure_set(&cache->failure, ERROR_INVALID, "field=timeout_ms", "must be from 0 to %d",
				   LIMIT_TIMEOUT_MS);
	*out = timeout_ms;
	return 0;
}

/* Where a request's outcome goes: to a handler, or to a call that waits for it. */
struct receiver {
	const struct semcache_handler *handler;
	struct outcome *outcome;
	uint64_t *id;
	semcache_event_callback event; /* of a watch */
	void *event_data;
};

static int create(struct semcache *cache, const struct receiver *to, int64_t timeout_ms, struct pending **out)
{
	int error = 0;

	if (!to->outcome && (!to->handler || !to->handler->done))
		return failure_set(&cache->failure, ERROR_INVALID, "field=handler", "a handler needs a done callback");
	struct pending *request = pending_create(&cache->pending, &error);
	if (!request)
		return failure_set(&cache->failure, error, "", "%s", error_text(error));
	if (to->handler)
		request->handler = *to->handler;
	request->outcome = to->outcome;
	request->event = to->event;
	if (to->event_data)
		request->handler.data = to->event_data;
	request->failure.retry_ms = SEMCACHE_UNSET;
	request->started_ms = engine_now_ms();
	request->deadline_ms = request->started_ms + timeout_ms;
	*out = request;
	return 0;
}

/* Starts a request whose message is in `out`, or gives it up with cache->failure. Takes the bytes of `out`. */
static int launch(struct semcache *cache, struct pending *request, struct buffer *out, int error, const struct receiver *to)
{
	if (error) {
		buffer_deinit(out);
		pending_destroy(&cache->pending, request);
		return fail(cache);
	}
	request->message = out->data;
	request->length = out->length;
	if (to->id)
		*to->id = request->id;
	engine_start(cache, request);
	return 0;
}

static int start_question(struct semcache *cache, enum method method, const struct semcache_question *question,
			  const char *answer, const struct receiver *to)
{
	struct pending *request;
	struct buffer out;
	int64_t timeout_ms = 0;
	int error = enter(cache);

	if (error)
		return error;
	if (!question || question->size < QUESTION_SIZE)
		error = failure_set(&cache->failure, ERROR_INVALID, "field=size", "start a question from SEMCACHE_QUESTION");
	if (!error)
		error = take_timeout(cache, question->timeout_ms,
				     method == METHOD_get_or_generate ? ASK_TIMEOUT_MS : OTHER_TIMEOUT_MS, &timeout_ms);
	if (!error)
		error = create(cache, to, timeout_ms, &request);
	if (error)
		return fail(cache);
	request->method = method;
	if (method != METHOD_get_or_generate)
		request->handler.chunk = NULL;
	buffer_init(&out, cache->max_message_bytes);
	error = question_encode(&out, request->id, method, question, answer, request->handler.chunk != NULL,
				(uint32_t)timeout_ms, &request->timeout_at, &cache->failure);
	return launch(cache, request, &out, error, to);
}

static int start_raw(struct semcache *cache, const char *method, struct slice params, int64_t timeout_ms,
		     const struct receiver *to)
{
	struct pending *request;
	struct buffer out;
	int error = enter(cache);

	if (error)
		return error;
	if (!method)
		error = failure_set(&cache->failure, ERROR_INVALID, "field=method", "must be given");
	if (!error)
		error = take_timeout(cache, timeout_ms, OTHER_TIMEOUT_MS, &timeout_ms);
	if (!error)
		error = create(cache, to, timeout_ms, &request);
	if (error)
		return fail(cache);
	request->method = method_find(method, strlen(method));
	request->handler.chunk = NULL;
	buffer_init(&out, cache->max_message_bytes);
	error = question_encode_raw(&out, request->id, slice_of(method), params, &cache->failure);
	return launch(cache, request, &out, error, to);
}

/* A watch has no end of its own, unless it is given one. */
static int start_watch(struct semcache *cache, const char *namespace_name, int64_t timeout_ms, const struct receiver *to)
{
	static const struct slice method = SLICE("watch");
	struct pending *request;
	struct encoder e;
	struct buffer out;
	int error = enter(cache);

	if (error)
		return error;
	bool is_endless = timeout_ms == SEMCACHE_UNSET && cache->timeout_ms == SEMCACHE_UNSET;
	if (!to->event)
		error = failure_set(&cache->failure, ERROR_INVALID, "field=event", "a watch needs an event callback");
	if (!error)
		error = take_timeout(cache, timeout_ms, 0, &timeout_ms);
	if (!error)
		error = create(cache, to, timeout_ms, &request);
	if (error)
		return fail(cache);
	if (is_endless)
		request->deadline_ms = INT64_MAX;
	request->method = METHOD_watch;
	request->handler.chunk = NULL;
	buffer_init(&out, cache->max_message_bytes);
	encoder_begin(&e, &out, request->id, method);
	encoder_text(&e, "namespace", namespace_name);
	error = encoder_end(&e);
	if (error)
		(void)failure_set(&cache->failure, error, "", "%s", error_text(error));
	return launch(cache, request, &out, error, to);
}

/* A request that blocks must be the only one: else other requests' callbacks would run where nobody expects them. */
static int enter_blocking(struct semcache *cache)
{
	int error = enter(cache);

	if (error || cache->pending.open == 0)
		return error;
	return handle_fail(cache, ERROR_INVALID, "", "requests started without blocking are open on this handle");
}

/* Waits until `outcome` is there. Its deadline bounds the wait. */
static int await(struct semcache *cache, struct outcome *outcome, struct semcache_result **result)
{
	while (!outcome->done) {
		struct pollfd fd = {.fd = cache->link.fd, .events = POLLIN};
		if (cache->link.out.length > 0)
			fd.events |= POLLOUT;
		(void)poll(&fd, 1, engine_timeout_ms(cache));
		engine_process(cache);
	}
	if (outcome->failure.fault.code) {
		cache->failure = outcome->failure;
		return fail(cache);
	}
	if (result)
		*result = outcome->result;
	else
		semcache_result_free(outcome->result);
	return 0;
}

static int call_question(struct semcache *cache, enum method method, const struct semcache_question *question,
			 const char *answer, const struct semcache_handler *handler, struct semcache_result **result)
{
	struct outcome outcome = {0};
	struct receiver to = {.handler = handler, .outcome = &outcome};
	int error = enter_blocking(cache);

	if (!error)
		error = start_question(cache, method, question, answer, &to);
	return error ? error : await(cache, &outcome, result);
}

int semcache_get_or_generate(struct semcache *cache, const struct semcache_question *question, semcache_chunk_callback chunk,
			     void *data, struct semcache_result **result)
{
	struct semcache_handler handler = {.chunk = chunk, .data = data};

	return call_question(cache, METHOD_get_or_generate, question, NULL, &handler, result);
}

int semcache_lookup(struct semcache *cache, const struct semcache_question *question, struct semcache_result **result)
{
	return call_question(cache, METHOD_lookup, question, NULL, NULL, result);
}

int semcache_explain(struct semcache *cache, const struct semcache_question *question, struct semcache_result **result)
{
	return call_question(cache, METHOD_explain, question, NULL, NULL, result);
}

int semcache_add(struct semcache *cache, const struct semcache_question *question, const char *answer,
		 struct semcache_result **result)
{
	return call_question(cache, METHOD_add, question, answer, NULL, result);
}

int semcache_call(struct semcache *cache, const char *method, const void *params, size_t length, int64_t timeout_ms,
		  struct semcache_result **result)
{
	struct outcome outcome = {0};
	struct receiver to = {.outcome = &outcome};
	int error = enter_blocking(cache);

	if (!error)
		error = start_raw(cache, method, (struct slice){params, params ? length : 0}, timeout_ms, &to);
	return error ? error : await(cache, &outcome, result);
}

int semcache_watch(struct semcache *cache, const char *namespace_name, int64_t timeout_ms, semcache_event_callback event,
		   void *data)
{
	struct outcome outcome = {0};
	struct receiver to = {.outcome = &outcome, .event = event, .event_data = data};
	int error = enter_blocking(cache);

	if (!error)
		error = start_watch(cache, namespace_name, timeout_ms, &to);
	return error ? error : await(cache, &outcome, NULL);
}

int semcache_start_watch(struct semcache *cache, const char *namespace_name, int64_t timeout_ms,
			 semcache_event_callback event, const struct semcache_handler *handler, uint64_t *id)
{
	return start_watch(cache, namespace_name, timeout_ms,
			   &(struct receiver){.handler = handler, .id = id, .event = event});
}

int semcache_start_get_or_generate(struct semcache *cache, const struct semcache_question *question,
				   const struct semcache_handler *handler, uint64_t *id)
{
	return start_question(cache, METHOD_get_or_generate, question, NULL,
			      &(struct receiver){.handler = handler, .id = id});
}

int semcache_start_explain(struct semcache *cache, const struct semcache_question *question,
			   const struct semcache_handler *handler, uint64_t *id)
{
	return start_question(cache, METHOD_explain, question, NULL, &(struct receiver){.handler = handler, .id = id});
}

int semcache_start_lookup(struct semcache *cache, const struct semcache_question *question,
			  const struct semcache_handler *handler, uint64_t *id)
{
	return start_question(cache, METHOD_lookup, question, NULL, &(struct receiver){.handler = handler, .id = id});
}

int semcache_start_add(struct semcache *cache, const struct semcache_question *question, const char *answer,
		       const struct semcache_handler *handler, uint64_t *id)
{
	return start_question(cache, METHOD_add, question, answer, &(struct receiver){.handler = handler, .id = id});
}

int semcache_start_call(struct semcache *cache, const char *method, const void *params, size_t length, int64_t timeout_ms,
			const struct semcache_handler *handler, uint64_t *id)
{
	return start_raw(cache, method, (struct slice){params, params ? length : 0}, timeout_ms,
			 &(struct receiver){.handler = handler, .id = id});
}

int semcache_cancel(struct semcache *cache, uint64_t id)
{
	bool in_callback = cache->in_callback;

	cache->in_callback = false;
	int error = enter(cache);
	cache->in_callback = in_callback;
	if (error)
		return error;
	struct pending_slot *slot = pending_find(&cache->pending, id);
	if (!slot || !slot->request)
		return handle_fail(cache, ERROR_NOT_FOUND, "", "no such request is open");
	(void)failure_set(&slot->request->failure, ERROR_CANCELLED, "", "%s", error_text(ERROR_CANCELLED));
	engine_abandon(cache, slot->request);
	if (!in_callback)
		link_watch_update(&cache->link);
	return 0;
}

int semcache_fd(struct semcache *cache)
{
	int error = enter(cache);

	if (error)
		return error;
	int fd = link_watch(&cache->link);
	if (fd >= 0)
		return fd;
	(void)failure_set(&cache->failure, fd, "", "no descriptor could be made: %s", strerror(errno));
	return fail(cache);
}

short semcache_events(const struct semcache *cache)
{
	(void)cache;
	return POLLIN;
}

int semcache_timeout_ms(const struct semcache *cache)
{
	return engine_timeout_ms(cache);
}

int semcache_process(struct semcache *cache)
{
	int error = enter(cache);

	if (error)
		return error;
	engine_process(cache);
	return 0;
}

size_t semcache_in_flight(const struct semcache *cache)
{
	return cache->pending.open;
}
