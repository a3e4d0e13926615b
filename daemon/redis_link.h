/* Carries one hiredis context on the loop: its socket is watched for reading all the time, and what a turn of the loop
 * has to send leaves in one write when that turn ends, so that a pipeline costs one system call and no change to epoll.
 *
 * hiredis frees a context itself when its connection breaks; the link outlives it and says so through `ended`. */
#ifndef DAEMON_REDIS_LINK_H
#define DAEMON_REDIS_LINK_H

#include <stdbool.h>

struct redisAsyncContext;
struct redis_link;
struct uv_loop_s;

struct redis_link_owner {
	/* The connection is made; from within hiredis's callback. */
	void (*connected)(void *data);
	/* Something arrived. */
	void (*heard)(void *data);
	/* The connection broke, or redis_link_doom() was called: redis_link_drop() must follow. Not from within a
	 * callback of hiredis. */
	void (*ended)(void *data, const char *error);
};

/* Takes over `context`, which is connecting. Returns the link, or NULL without memory; the context is freed then. */
struct redis_link *redis_link_create(struct uv_loop_s *loop, struct redisAsyncContext *context,
				     const struct redis_link_owner *owner, void *data);

/* Returns the context, or NULL if it is ending or gone. */
struct redisAsyncContext *redis_link_context(struct redis_link *link);

/* Returns whether hiredis is calling back right now. */
bool redis_link_is_calling(const struct redis_link *link);

/* Has `ended` called with `error`, a constant, when hiredis's callback that is running has returned. */
void redis_link_doom(struct redis_link *link, const char *error);

/* Frees the context: its pending commands get NULL replies before this returns. The owner hears nothing any more. Not from
 * within a callback of hiredis. The link is freed when libuv has closed its handles. NULL is nothing. */
void redis_link_drop(struct redis_link *link);

#endif
