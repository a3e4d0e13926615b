/* All goes well: a request is queued, the connection is there or is made, the message goes out, the response comes in, the
 * owner is told. What can go wrong: the daemon is not there (tried again until connect_timeout_ms, or after DRAINING until
 * the deadline); the connection is lost (each request once more, unless a chunk of it was delivered); a deadline passes;
 * the peer sends what it may not (its requests end, nothing is sent again). Whatever happens to a request happens here, and
 * its owner learns of it in one place, tell_owners(). */
#include "../proto/error.h"
#include "handle.h"
#include "inbox.h"
#include "question.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

/* Messages are put into the output only while it is shorter than this. */
#define OUT_BYTES (256 * 1024)

/* So much of a flood is read in one call, times 64 KiB. */
#define RECEIVES 4

/* So much is read after the peer has stopped reading: more than a socket's buffer holds. */
#define LAST_RECEIVES 64

int64_t engine_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void end_queued(struct semcache *cache, struct pending *request, const struct failure *failure)
{
	request->failure = *failure;
	pending_end(&cache->pending, request, false);
}

/* The connection is gone. What was on it is sent once more, or ends with `failure`; `again` false: all of it ends. */
static void lose(struct semcache *cache, const struct failure *failure, bool again)
{
	struct pending_table *table = &cache->pending;

	link_close(&cache->link);
	pending_forget_all(table);
	/* From the last to the first, because each goes to the front of the queue. */
	while (table->sent) {
		struct pending *request = table->sent->prev;
		if (again && !request->resent && !request->delivered && request->method != METHOD_drain) {
			request->resent = true;
			request->next_seq = 0;
			pending_enqueue(table, request, true);
		} else {
			end_queued(cache, request, failure);
		}
	}
}

static void lose_closed(struct semcache *cache)
{
	struct failure failure;

	(void)failure_set(&failure, ERROR_CLOSED, "", "%s: the connection ended before the response", cache->socket);
	lose(cache, &failure, true);
}

/* The daemon's last error names no request. If it is about a size, it can only be about the largest; the others may go on.
 * Else nobody knows which it was, and sending any of them again would bring the same. */
static void lose_by_last_error(struct semcache *cache, const struct failure *failure)
{
	struct pending *request, *largest = NULL;

	DL_FOREACH (cache->pending.sent, request) {
		if (!largest || request->length > largest->length)
			largest = request;
	}
	if (largest && failure->fault.code == ERROR_TOO_LARGE) {
		largest->failure = *failure;
		pending_end(&cache->pending, largest, false);
		lose(cache, failure, true);
	} else {
		lose(cache, failure, failure->fault.code == ERROR_DRAINING);
	}
}

/* Reads at most `rounds` times 64 KiB, and less if there is less. */
static void receive(struct semcache *cache, int rounds)
{
	struct failure failure;
	bool more = true;

	for (int i = 0; i < rounds && more && cache->link.fd >= 0; i++) {
		int error = link_receive(&cache->link, &more);
		if (error == ERROR_PENDING)
			return;
		if (error == ERROR_CLOSED) {
			lose_closed(cache);
		} else if (error) {
			(void)failure_set(&failure, error, "", "%s", error_text(error));
			lose(cache, &failure, false);
		} else {
			enum inbox_verdict verdict = inbox_read(cache, &failure);
			if (verdict == INBOX_LAST)
				lose_by_last_error(cache, &failure);
			else if (verdict == INBOX_BROKEN)
				lose(cache, &failure, false);
		}
	}
}

void engine_abandon(struct semcache *cache, struct pending *request)
{
	static const char head[] = "\x93\x02\xa6"
				   "cancel"
				   "\x91\xcf"; /* [2, "cancel", [uint64]] */
	char message[sizeof(head) - 1 + 8];
	bool on_wire = request->sent;

	if (on_wire) {
		memcpy(message, head, sizeof(head) - 1);
		for (int i = 0; i < 8; i++)
			message[sizeof(head) - 1 + (size_t)i] = (char)(request->id >> (56 - 8 * i) & 0xff);
		/* Without memory the daemon is not told; it answers, and the answer is passed over. */
		(void)buffer_append(&cache->link.out, message, sizeof(message));
	}
	pending_end(&cache->pending, request, on_wire);
}

static void expire_list(struct semcache *cache, struct pending *list, int64_t now_ms)
{
	struct pending *request, *tmp;

	DL_FOREACH_SAFE (list, request, tmp) {
		if (request->deadline_ms > now_ms) {
			if (request->deadline_ms < cache->next_deadline_ms)
				cache->next_deadline_ms = request->deadline_ms;
			continue;
		}
		if (!request->sent && !request->resent && cache->link.state == LINK_WAITING)
			request->failure = cache->link.failure;
		else
			(void)failure_set(&request->failure, ERROR_TIMEOUT, "", "no response within %lld ms",
					  (long long)(request->deadline_ms - request->started_ms));
		engine_abandon(cache, request);
	}
}

static void expire(struct semcache *cache, int64_t now_ms)
{
	if (now_ms < cache->next_deadline_ms)
		return;
	cache->next_deadline_ms = INT64_MAX;
	expire_list(cache, cache->pending.queued, now_ms);
	expire_list(cache, cache->pending.sent, now_ms);
}

/* The daemon is not there yet: who has waited for it long enough is told. */
static void give_up(struct semcache *cache, int64_t now_ms)
{
	struct pending *request, *tmp;

	DL_FOREACH_SAFE (cache->pending.queued, request, tmp) {
		int64_t since = request->started_ms > cache->link.since_ms ? request->started_ms : cache->link.since_ms;
		if (!request->refused && now_ms - since >= cache->connect_timeout_ms)
			end_queued(cache, request, &cache->link.failure);
	}
	if (!cache->pending.queued)
		link_close(&cache->link);
}

static void reach(struct semcache *cache, int64_t now_ms)
{
	if (cache->link.state == LINK_WAITING && now_ms < cache->link.retry_at_ms)
		return;
	int error = link_connect(&cache->link, cache->socket, now_ms);
	if (error == ERROR_PENDING) {
		give_up(cache, now_ms);
		return;
	}
	while (error && cache->pending.queued)
		end_queued(cache, cache->pending.queued, &cache->link.failure);
}

/* Puts queued messages into the output, with the time that is left to them. */
static void fill(struct semcache *cache, int64_t now_ms)
{
	struct pending *request;
	struct failure failure;

	while ((request = cache->pending.queued) != NULL && cache->link.out.length < OUT_BYTES) {
		int64_t left = request->deadline_ms > now_ms ? request->deadline_ms - now_ms : 0;
		if (request->timeout_at)
			question_set_timeout(request->message, request->timeout_at, (uint32_t)left);
		int error = buffer_append(&cache->link.out, request->message, request->length);
		if (error) {
			(void)failure_set(&failure, error, "", "%s", error_text(error));
			end_queued(cache, request, &failure);
		} else {
			pending_mark_sent(&cache->pending, request);
		}
	}
}

/* Moves queued requests towards the daemon as far as that goes without waiting. Returns 0, or ERROR_CLOSED: the connection
 * takes no more, but what the daemon said before is still to be read. */
static int push(struct semcache *cache, int64_t now_ms)
{
	int error = 0;

	if (cache->pending.queued && (cache->link.state == LINK_DOWN || cache->link.state == LINK_WAITING))
		reach(cache, now_ms);
	if (cache->link.fd < 0)
		return 0;
	do {
		if (cache->link.state == LINK_UP)
			fill(cache, now_ms);
		if (cache->link.out.length > 0)
			error = link_send(&cache->link);
	} while (!error && cache->link.state == LINK_UP && cache->pending.queued);
	return error == ERROR_CLOSED ? ERROR_CLOSED : 0;
}

static void tell_owners(struct semcache *cache)
{
	struct pending *request;

	while ((request = cache->pending.ended) != NULL) {
		struct semcache_error error = failure_view(&request->failure);
		struct semcache_result *result = request->result;
		bool failed = request->failure.fault.code != 0;
		DL_DELETE(cache->pending.ended, request);
		request->result = NULL;
		if (request->outcome) {
			request->outcome->done = true;
			request->outcome->result = result;
			request->outcome->failure = request->failure;
		} else {
			cache->in_callback = true;
			request->handler.done(request->handler.data, request->id, failed ? &error : NULL, result);
			cache->in_callback = false;
		}
		pending_destroy(&cache->pending, request);
	}
}

void engine_start(struct semcache *cache, struct pending *request)
{
	if (cache->link.state == LINK_DRAINING)
		request->refused = true;
	if (request->deadline_ms < cache->next_deadline_ms)
		cache->next_deadline_ms = request->deadline_ms;
	pending_enqueue(&cache->pending, request, false);
	/* A connection that turns out to be closed is seen to by engine_process(), because reading its rest may run
	 * callbacks. */
	(void)push(cache, request->started_ms);
	link_watch_update(&cache->link);
}

void engine_process(struct semcache *cache)
{
	if (cache->link.fd >= 0)
		receive(cache, RECEIVES);
	int64_t now_ms = engine_now_ms();
	expire(cache, now_ms);
	if (push(cache, now_ms) == ERROR_CLOSED) {
		receive(cache, LAST_RECEIVES);
		if (cache->link.fd >= 0)
			lose_closed(cache);
		(void)push(cache, now_ms);
	}
	tell_owners(cache);
	/* Callbacks may have cancelled requests: the daemon is told now, not at the next event. */
	if (cache->link.fd >= 0 && cache->link.out.length > 0)
		(void)link_send(&cache->link);
	link_watch_update(&cache->link);
}

int engine_timeout_ms(const struct semcache *cache)
{
	const struct link *link = &cache->link;
	int64_t at = cache->next_deadline_ms;

	if (cache->pending.ended)
		return 0;
	if (cache->pending.open == 0)
		return -1;
	if (cache->pending.queued) {
		if (link->state == LINK_DOWN || (link->state == LINK_UP && link->out.length == 0))
			return 0;
		if (link->state == LINK_WAITING && link->retry_at_ms < at)
			at = link->retry_at_ms;
	}
	if (at == INT64_MAX)
		return -1;
	int64_t left = at - engine_now_ms();
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
