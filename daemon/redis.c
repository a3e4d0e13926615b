/* All goes well: a name is resolved once, the connection is made, greeted (AUTH, SELECT, PING) and UP; while nothing
 * arrives, a PING a second asks whether anybody is there. What can go wrong: no address answers (each is tried before the
 * attempt counts as failed), nothing comes in time (the connection is dropped, whatever hiredis thinks of it), Redis is
 * loading or wants another password (tried again later).
 *
 * One deadline drives every state. It is started once and from then on only moved, which cannot fail. */
#include "redis.h"

#include "../proto/error.h"
#include "config.h"
#include "deadline.h"
#include "log.h"
#include "part.h"
#include "redis_link.h"
#include "resolve.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PING_MS 1000
#define EAGER_MS 1000 /* how long after a loss the attempts are close together */
#define EAGER_LEAST_MS 50
#define EAGER_MOST_MS 100

enum redis_state { REDIS_WAIT, REDIS_RESOLVE, REDIS_CONNECT, REDIS_GREET, REDIS_UP };

struct redis {
	uv_loop_t *loop;
	struct deadlines *deadlines;
	const struct log *log;
	const char *name;
	const struct redis_events *events;
	void *data;
	char *path; /* of a Unix socket, or NULL */
	char *host;
	int port;
	unsigned long database;
	char *secret;
	uint64_t timeout_ms;

	enum redis_state state;
	struct deadline deadline;
	struct resolver *resolver;
	struct resolve_wait wait;
	char *addresses; /* a comma list, consumed as they are tried */
	char *next_address;
	struct redis_link *link;
	unsigned greetings; /* replies still to come */
	bool pinging;
	uint64_t ping_ms, heard_ms, lost_ms;
};

static uint64_t now_ms(const struct redis *redis)
{
	return deadlines_now_ms(redis->deadlines);
}

static void wait_for(struct redis *redis, uint64_t in_ms)
{
	int error = deadline_start(redis->deadlines, &redis->deadline, in_ms);

	assert(error == 0);
	(void)error;
}

static uint64_t retry_delay(const struct redis *redis)
{
	if (now_ms(redis) - redis->lost_ms >= EAGER_MS)
		return PART_PROBE_MS;
	/* Many daemons lose the same Redis at the same time. */
	return EAGER_LEAST_MS + (uv_hrtime() >> 10) % (EAGER_MOST_MS - EAGER_LEAST_MS + 1);
}

/* The one way back to WAIT. Tells the owner last: it may do anything then. */
static void lose(struct redis *redis, enum redis_loss loss, const char *error)
{
	struct redis_link *link = redis->link;
	bool was_up = redis->state == REDIS_UP;
	char text[160];

	(void)log_quotable(text, sizeof(text), error);
	redis->link = NULL;
	redis->state = REDIS_WAIT;
	redis->pinging = false;
	redis_link_drop(link);
	if (!was_up && redis->next_address && *redis->next_address) {
		wait_for(redis, 0);
		return;
	}
	redis->next_address = NULL;
	if (was_up)
		redis->lost_ms = now_ms(redis);
	wait_for(redis, was_up ? 0 : retry_delay(redis));
	if (was_up)
		log_write(redis->log, LOG_LEVEL_WARNING, "redis_lost connection=\"%s\" error=\"%s\"", redis->name, text);
	else
		log_write(redis->log, LOG_LEVEL_DEBUG, "redis_refused connection=\"%s\" error=\"%s\"", redis->name, text);
	redis->events->down(redis->data, loss, text);
}

/* ---- greeting ---- */

static void on_greeting(redisAsyncContext *context, void *reply_data, void *data)
{
	struct redis *redis = data;
	const struct redisReply *reply = reply_data;

	if (!reply || redis->state != REDIS_GREET || redis_link_context(redis->link) != context)
		return;
	if (reply->type == REDIS_REPLY_ERROR) {
		char text[160];
		log_write(redis->log, LOG_LEVEL_DEBUG, "redis_greeting connection=\"%s\" error=\"%s\"", redis->name,
			  log_quotable(text, sizeof(text), reply->str));
		redis_link_doom(redis->link, strncmp(reply->str, "LOADING", 7) == 0
						     ? "Redis is loading its data"
						     : "Redis refuses the password, the database or a PING");
		return;
	}
	if (--redis->greetings > 0)
		return;
	redis->state = REDIS_UP;
	redis->heard_ms = now_ms(redis);
	wait_for(redis, PING_MS);
	log_write(redis->log, LOG_LEVEL_INFO, "redis_up connection=\"%s\"", redis->name);
	redis->events->up(redis->data);
}

static void on_connected(void *data)
{
	struct redis *redis = data;
	redisAsyncContext *context = redis_link_context(redis->link);

	redis->state = REDIS_GREET;
	redis->greetings = 0;
	wait_for(redis, redis->timeout_ms);
	if (redis->secret && redisAsyncCommand(context, on_greeting, redis, "AUTH %s", redis->secret) == REDIS_OK)
		redis->greetings++;
	if (redis->database && redisAsyncCommand(context, on_greeting, redis, "SELECT %lu", redis->database) == REDIS_OK)
		redis->greetings++;
	if (redisAsyncCommand(context, on_greeting, redis, "PING") == REDIS_OK)
		redis->greetings++;
}

static void on_heard(void *data)
{
	struct redis *redis = data;

	redis->heard_ms = now_ms(redis);
}

static void on_ended(void *data, const char *error)
{
	struct redis *redis = data;

	lose(redis, redis->state == REDIS_UP ? REDIS_LOST : REDIS_REFUSED, error);
}

static const struct redis_link_owner link_owner = {.connected = on_connected, .heard = on_heard, .ended = on_ended};

/* ---- connecting ---- */

static void connect_to(struct redis *redis, const char *address)
{
	redisAsyncContext *context = redis->path ? redisAsyncConnectUnix(redis->path)
						 : redisAsyncConnect(address, redis->port);

	redis->state = REDIS_CONNECT;
	wait_for(redis, redis->timeout_ms);
	if (context && context->err) {
		char error[128];
		(void)snprintf(error, sizeof(error), "%s", context->errstr);
		redisAsyncFree(context);
		lose(redis, REDIS_REFUSED, error);
		return;
	}
	if (context)
		redis->link = redis_link_create(redis->loop, context, &link_owner, redis);
	if (!redis->link)
		lose(redis, REDIS_REFUSED, "out of memory");
}

/* Cuts the next address off the list; IPv6 loses its brackets. */
static void connect_next(struct redis *redis)
{
	char *address = redis->next_address;
	char *comma = strchr(address, ',');

	redis->next_address = comma ? comma + 1 : address + strlen(address);
	if (comma)
		*comma = '\0';
	size_t length = strlen(address);
	if (address[0] == '[' && length > 1) {
		address[length - 1] = '\0';
		address++;
	}
	connect_to(redis, address);
}

static void take_addresses(struct redis *redis, const char *addresses)
{
	free(redis->addresses);
	redis->addresses = strdup(addresses);
	redis->next_address = redis->addresses;
	if (redis->addresses)
		connect_next(redis);
	else
		lose(redis, REDIS_REFUSED, "out of memory");
}

static void on_resolved(struct resolve_wait *wait, const char *addresses, const char *error)
{
	struct redis *redis = (struct redis *)(void *)((char *)wait - offsetof(struct redis, wait));

	if (addresses)
		take_addresses(redis, addresses);
	else
		lose(redis, REDIS_REFUSED, error ? error : "the name has no address");
}

static bool is_address(const char *host)
{
	struct in6_addr unused;

	return inet_pton(AF_INET, host, &unused) == 1 || inet_pton(AF_INET6, host, &unused) == 1;
}

static void attempt(struct redis *redis)
{
	const char *addresses;

	if (redis->path || is_address(redis->host)) {
		connect_to(redis, redis->host);
		return;
	}
	if (redis->next_address && *redis->next_address) {
		connect_next(redis);
		return;
	}
	redis->state = REDIS_RESOLVE;
	wait_for(redis, redis->timeout_ms);
	redis->wait.done = on_resolved;
	int found = resolver_find(redis->resolver, &redis->wait, redis->host, &addresses);
	if (found == 1)
		take_addresses(redis, addresses);
	else if (found < 0)
		lose(redis, REDIS_REFUSED, error_text(found));
}

/* ---- while it is up ---- */

static void on_pong(redisAsyncContext *context, void *reply_data, void *data)
{
	struct redis *redis = data;
	const struct redisReply *reply = reply_data;

	if (!reply || redis_link_context(redis->link) != context)
		return;
	redis->pinging = false;
	if (reply->type == REDIS_REPLY_ERROR)
		redis_link_doom(redis->link, "Redis refuses a PING");
	else if (redis->events->alive)
		redis->events->alive(redis->data);
}

/* A server that is busy with a long pipeline of ours is not hung: every byte that arrives puts the verdict off. */
static void look_after(struct redis *redis)
{
	redisAsyncContext *context = redis_link_context(redis->link);
	uint64_t now = now_ms(redis);
	uint64_t since = redis->pinging && redis->ping_ms > redis->heard_ms ? redis->ping_ms : redis->heard_ms;

	if (redis->pinging && now - since >= redis->timeout_ms) {
		lose(redis, REDIS_HUNG, "no answer to a PING");
		return;
	}
	if (!redis->pinging && now - redis->heard_ms >= PING_MS && context &&
	    redisAsyncCommand(context, on_pong, redis, "PING") == REDIS_OK) {
		redis->pinging = true;
		redis->ping_ms = since = now;
	}
	wait_for(redis, redis->pinging ? since + redis->timeout_ms - now : PING_MS);
}

static void on_deadline(struct deadline *deadline)
{
	struct redis *redis = (struct redis *)(void *)((char *)deadline - offsetof(struct redis, deadline));

	/* At once, while the place in the heap that this deadline had is certainly free. */
	wait_for(redis, redis->timeout_ms);
	switch (redis->state) {
	case REDIS_WAIT:
		attempt(redis);
		break;
	case REDIS_RESOLVE:
		/* The look-up goes on; a second one would only take a thread more from the pool. */
		redis->events->down(redis->data, REDIS_HUNG, "the name is not resolved in time");
		break;
	case REDIS_CONNECT:
	case REDIS_GREET:
		lose(redis, REDIS_HUNG, "no connection in time");
		break;
	case REDIS_UP:
		look_after(redis);
		break;
	}
}

void redis_reset(struct redis *redis, const char *why)
{
	if (redis->state != REDIS_UP)
		return;
	if (redis_link_is_calling(redis->link))
		redis_link_doom(redis->link, why);
	else
		lose(redis, REDIS_HUNG, why);
}

struct redisAsyncContext *redis_context(struct redis *redis)
{
	return redis->state == REDIS_UP ? redis_link_context(redis->link) : NULL;
}

/* ---- life ---- */

/* unix:PATH, or redis://HOST[:PORT][/DATABASE] with brackets around an IPv6 address; config.c has checked it. */
static int read_url(struct redis *redis, const char *url)
{
	if (strncmp(url, "unix:", 5) == 0) {
		redis->path = strdup(url + 5);
		return redis->path ? 0 : ERROR_MEMORY;
	}
	if (strncmp(url, "redis://", 8) != 0)
		return ERROR_INVALID;
	const char *host = url + 8;
	bool bracket = *host == '[';
	size_t length = bracket ? strcspn(++host, "]") : strcspn(host, ":/");
	const char *rest = host + length + (bracket && host[length] ? 1 : 0);
	redis->host = strndup(host, length);
	redis->port = 6379;
	if (*rest == ':')
		redis->port = (int)strtol(rest + 1, NULL, 10);
	rest += strcspn(rest, "/");
	if (*rest == '/' && rest[1])
		redis->database = strtoul(rest + 1, NULL, 10);
	return redis->host ? 0 : ERROR_MEMORY;
}

static void release(struct redis *redis)
{
	deadline_stop(redis->deadlines, &redis->deadline);
	resolver_destroy(redis->resolver);
	if (redis->secret)
		explicit_bzero(redis->secret, strlen(redis->secret));
	free(redis->secret);
	free(redis->path);
	free(redis->host);
	free(redis->addresses);
	free(redis);
}

struct redis *redis_create(struct uv_loop_s *loop, struct deadlines *deadlines, const struct config *config,
			   const char *name, const struct redis_events *events, void *data, const struct log *log)
{
	struct redis *redis = calloc(1, sizeof(*redis));

	if (!redis)
		return NULL;
	redis->loop = loop;
	redis->deadlines = deadlines;
	redis->log = log;
	redis->name = name;
	redis->events = events;
	redis->data = data;
	redis->timeout_ms = config->redis.timeout_ms;
	redis->deadline.expired = on_deadline;
	redis->lost_ms = deadlines_now_ms(deadlines);
	redis->resolver = resolver_create(loop);
	if (config->redis.key.secret)
		redis->secret = strdup(config->redis.key.secret);
	if (!redis->resolver || (config->redis.key.secret && !redis->secret) || read_url(redis, config->redis.url) != 0 ||
	    deadline_start(deadlines, &redis->deadline, 0) != 0) {
		release(redis);
		return NULL;
	}
	return redis;
}

void redis_destroy(struct redis *redis)
{
	if (!redis)
		return;
	struct redis_link *link = redis->link;
	resolve_cancel(&redis->wait);
	redis->state = REDIS_WAIT;
	redis->link = NULL;
	redis_link_drop(link);
	release(redis);
}
