/* All goes well: a command arms the idle handle, which writes everything before the loop waits again; the poll handle reads.
 * What can go wrong: a socket that reports an error (it is read, so that hiredis finds out what it is), a full socket (then
 * writability is watched too), a context that frees itself within a callback (`cleanup` tells; nothing is touched after). */
#include "redis_link.h"

#include "redis.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

/* Room for replies that hiredis keeps between two reads. Its own 16 KiB are less than the buffer that one read makes, which
 * it would then free and make again each time. */
#define REPLY_ROOM 65536

struct redis_link {
	uv_poll_t poll;
	uv_idle_t flush;
	redisAsyncContext *context;           /* NULL when hiredis has freed it */
	const struct redis_link_owner *owner; /* NULL after redis_link_drop() */
	void *data;
	int events;    /* watched */
	unsigned open; /* handles to close */
	bool calling;  /* inside hiredis */
	bool writing;  /* inside its write */
	const char *doom;
	char error[128];
};

static void serve(struct redis_link *link, bool readable, bool writable, bool broken)
{
	link->calling = true;
	if (readable && link->context)
		redisAsyncHandleRead(link->context);
	if (writable && link->context) {
		link->writing = true;
		redisAsyncHandleWrite(link->context);
		link->writing = false;
	}
	link->calling = false;
	if (!link->owner)
		return;
	if (!link->context)
		link->owner->ended(link->data, link->error[0] ? link->error : "the connection ended");
	else if (link->doom)
		link->owner->ended(link->data, link->doom);
	else if (broken)
		link->owner->ended(link->data, "the socket reports an error");
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct redis_link *link = poll->data;

	/* After an error libuv has stopped the handle. hiredis learns what it is by reading, or by asking after the
	 * connect. */
	if (status < 0)
		link->events = 0;
	if (link->owner && (status < 0 || events & UV_READABLE))
		link->owner->heard(link->data);
	serve(link, status < 0 || events & UV_READABLE, status < 0 || events & UV_WRITABLE, status < 0);
}

static void on_flush(uv_idle_t *flush)
{
	struct redis_link *link = flush->data;

	(void)uv_idle_stop(flush);
	serve(link, false, true, false);
}

static void watch(struct redis_link *link, int events)
{
	if (events == link->events)
		return;
	link->events = events;
	(void)uv_poll_start(&link->poll, events, on_poll);
}

static void add_read(void *data)
{
	struct redis_link *link = data;

	watch(link, link->events | UV_READABLE);
}

static void del_read(void *data)
{
	(void)data;
}

static void add_write(void *data)
{
	struct redis_link *link = data;

	/* Writable for the first time is how hiredis sees that it is connected. From within its own write it asks again
	 * because the socket is full. */
	if (!(link->context->c.flags & REDIS_CONNECTED) || link->writing)
		watch(link, link->events | UV_WRITABLE);
	else
		(void)uv_idle_start(&link->flush, on_flush);
}

static void del_write(void *data)
{
	struct redis_link *link = data;

	watch(link, link->events & ~UV_WRITABLE);
}

static void on_closed(uv_handle_t *handle)
{
	struct redis_link *link = handle->data;

	if (--link->open == 0)
		free(link);
}

/* hiredis is about to close the socket, after which libuv must not know it any more. */
static void cleanup(void *data)
{
	struct redis_link *link = data;

	(void)snprintf(link->error, sizeof(link->error), "%s", link->context->c.errstr);
	link->context = NULL;
	uv_close((uv_handle_t *)&link->poll, on_closed);
	uv_close((uv_handle_t *)&link->flush, on_closed);
}

static void on_connect(const redisAsyncContext *context, int status)
{
	struct redis_link *link = context->data;

	if (status == REDIS_OK && link->owner)
		link->owner->connected(link->data);
}

struct redis_link *redis_link_create(struct uv_loop_s *loop, struct redisAsyncContext *context,
				     const struct redis_link_owner *owner, void *data)
{
	struct redis_link *link = calloc(1, sizeof(*link));

	if (!link || uv_poll_init(loop, &link->poll, context->c.fd) != 0) {
		free(link);
		redisAsyncFree(context);
		return NULL;
	}
	(void)uv_idle_init(loop, &link->flush);
	link->poll.data = link->flush.data = link;
	link->open = 2;
	link->context = context;
	link->owner = owner;
	link->data = data;
	(void)fcntl(context->c.fd, F_SETFD, FD_CLOEXEC);
	context->data = link;
	context->ev.data = link;
	context->ev.addRead = add_read;
	context->ev.delRead = del_read;
	context->ev.addWrite = add_write;
	context->ev.delWrite = del_write;
	context->ev.cleanup = cleanup;
	context->c.reader->maxbuf = REPLY_ROOM;
	(void)redisAsyncSetConnectCallback(context, on_connect);
	return link;
}

struct redisAsyncContext *redis_link_context(struct redis_link *link)
{
	if (!link || !link->context || link->doom || link->context->c.flags & (REDIS_DISCONNECTING | REDIS_FREEING))
		return NULL;
	return link->context;
}

bool redis_link_is_calling(const struct redis_link *link)
{
	return link->calling;
}

void redis_link_doom(struct redis_link *link, const char *error)
{
	assert(link->calling);
	if (!link->doom)
		link->doom = error;
}

void redis_link_drop(struct redis_link *link)
{
	if (!link)
		return;
	assert(!link->calling);
	link->owner = NULL;
	if (link->context)
		redisAsyncFree(link->context);
}
