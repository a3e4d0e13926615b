/* A real redis-server on a Unix socket of its own, and what the parts that talk to it need around them. */
#ifndef TESTS_REDIS_FIXTURE_H
#define TESTS_REDIS_FIXTURE_H

#include "daemon/config.h"
#include "daemon/deadline.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/part.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define WATCHDOG_MS 20000
#define TIMEOUT_MS 400
#define PREFIX "semcache:"

struct world {
	uv_loop_t loop;
	uv_timer_t watchdog, alarm;
	bool alarmed;
	struct deadlines *deadlines;
	struct config config;
	struct config_namespace space;
	struct log log;
	struct metrics metrics;
	struct part part;
	char directory[32], socket[64], url[80];
	pid_t pid;
	const char *more[16]; /* arguments for redis-server */
};

/* ---- the server ---- */

static inline void server_exec(const struct world *world)
{
	const char *arguments[40] = {"redis-server", "--port",    "0",        "--unixsocket",   world->socket,
				     "--save",       "",          "--dir",    world->directory, "--loglevel",
				     "warning",      "--logfile", "redis.log"};
	int count = 13;

	for (int i = 0; world->more[i]; i++)
		arguments[count++] = world->more[i];
	int null = open("/dev/null", O_RDWR);
	(void)dup2(null, STDOUT_FILENO);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)execvp("redis-server", (char *const *)arguments);
	/* Debian's redis-tools carry the server under another name. */
	(void)execv("/usr/bin/redis-check-rdb", (char *const *)arguments);
	_exit(127);
}

/* Returns when it answers. */
static inline void server_start(struct world *world)
{
	(void)unlink(world->socket);
	world->pid = fork();
	assert_true(world->pid >= 0);
	if (world->pid == 0)
		server_exec(world);
	for (int tries = 0; tries < 2000; tries++) {
		redisContext *context = redisConnectUnix(world->socket);
		redisReply *reply = context && !context->err ? redisCommand(context, "PING") : NULL;
		bool answers = reply && reply->type == REDIS_REPLY_STATUS;
		if (reply)
			freeReplyObject(reply);
		if (context)
			redisFree(context);
		if (answers)
			return;
		assert_int_equal(waitpid(world->pid, NULL, WNOHANG), 0);
		(void)poll(NULL, 0, 5);
	}
	fail_msg("redis-server does not answer");
}

static inline void server_kill(struct world *world)
{
	if (world->pid <= 0)
		return;
	(void)kill(world->pid, SIGKILL);
	(void)waitpid(world->pid, NULL, 0);
	world->pid = 0;
}

/* Returns when it has stopped. */
static inline void server_pause(struct world *world)
{
	int status;

	assert_int_equal(kill(world->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(world->pid, &status, WUNTRACED), world->pid);
	assert_true(WIFSTOPPED(status));
}

static inline void server_continue(struct world *world)
{
	assert_int_equal(kill(world->pid, SIGCONT), 0);
}

/* Moves the socket to where only the test finds it, and back. */
static inline void server_hide(struct world *world)
{
	char shown[sizeof(world->socket)];

	memcpy(shown, world->socket, sizeof(shown));
	(void)snprintf(world->socket, sizeof(world->socket), "%s/h", world->directory);
	assert_int_equal(rename(shown, world->socket), 0);
}

static inline void server_show(struct world *world)
{
	assert_int_equal(rename(world->socket, world->url + strlen("unix:")), 0);
	(void)snprintf(world->socket, sizeof(world->socket), "%s", world->url + strlen("unix:"));
}

/* Runs one command beside the loop; the reply is the caller's. */
static inline redisReply *server_reply(const struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static inline redisReply *server_reply(const struct world *world, const char *format, ...)
{
	redisContext *context = redisConnectUnix(world->socket);
	va_list args;

	assert_non_null(context);
	assert_int_equal(context->err, 0);
	va_start(args, format);
	redisReply *reply = redisvCommand(context, format, args);
	va_end(args);
	redisFree(context);
	assert_non_null(reply);
	return reply;
}

#define server_do(world, ...) freeReplyObject(server_reply(world, __VA_ARGS__))

static inline long long server_integer(const struct world *world, const char *command, const char *key)
{
	redisReply *reply = server_reply(world, "%s %s", command, key);

	assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
	long long value = reply->integer;
	freeReplyObject(reply);
	return value;
}

/* ---- the loop ---- */

static inline void on_watchdog(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("nothing happened for %d ms", WATCHDOG_MS);
}

static inline void on_alarm(uv_timer_t *timer)
{
	struct world *world = timer->data;

	world->alarmed = true;
}

/* Runs the loop until `*flag`. */
static inline void run_until(struct world *world, const bool *flag)
{
	(void)uv_timer_start(&world->watchdog, on_watchdog, WATCHDOG_MS, 0);
	while (!*flag)
		(void)uv_run(&world->loop, UV_RUN_ONCE);
	(void)uv_timer_stop(&world->watchdog);
}

/* Runs the loop until `holds(data)`. */
static inline void run_while_not(struct world *world, bool (*holds)(void *data), void *data)
{
	(void)uv_timer_start(&world->watchdog, on_watchdog, WATCHDOG_MS, 0);
	while (!holds(data))
		(void)uv_run(&world->loop, UV_RUN_ONCE);
	(void)uv_timer_stop(&world->watchdog);
}

/* Runs the loop for a time in which something must not happen. */
static inline void run_for(struct world *world, uint64_t ms)
{
	world->alarmed = false;
	(void)uv_timer_start(&world->alarm, on_alarm, ms, 0);
	run_until(world, &world->alarmed);
}

/* ---- around it ---- */

static inline void world_init(struct world *world)
{
	memset(world, 0, sizeof(*world));
	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(world->directory, sizeof(world->directory), "/tmp/sct.XXXXXX");
	assert_non_null(mkdtemp(world->directory));
	(void)snprintf(world->socket, sizeof(world->socket), "%s/r", world->directory);
	(void)snprintf(world->url, sizeof(world->url), "unix:%s", world->socket);
	assert_int_equal(uv_loop_init(&world->loop), 0);
	(void)uv_timer_init(&world->loop, &world->watchdog);
	(void)uv_timer_init(&world->loop, &world->alarm);
	world->alarm.data = world;
	world->deadlines = deadlines_create(&world->loop);
	assert_non_null(world->deadlines);
	world->space = (struct config_namespace){.name = (char *)"default", .ttl = 3600, .alias_ttl = 3600};
	world->config.namespaces = &world->space;
	world->config.namespace_count = 1;
	world->config.server.max_message_bytes = 4u << 20;
	world->config.redis.url = world->url;
	world->config.redis.prefix = (char *)PREFIX;
	world->config.redis.timeout_ms = TIMEOUT_MS;
	world->config.redis.write_queue_bytes = 64u << 20;
	world->config.redis.serve_disconnected = 300;
	world->config.embedder.cache_ttl = 86400;
	log_init(&world->log, getenv("TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	part_init(&world->part, "redis", true, &world->log, uv_now(&world->loop));
}

/* Everything that was made on the loop must have been destroyed before. */
static inline void world_deinit(struct world *world)
{
	char path[64];

	server_kill(world);
	deadlines_destroy(world->deadlines);
	uv_close((uv_handle_t *)&world->watchdog, NULL);
	uv_close((uv_handle_t *)&world->alarm, NULL);
	assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	(void)unlink(world->socket);
	(void)snprintf(path, sizeof(path), "%s/redis.log", world->directory);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/dump.rdb", world->directory);
	(void)unlink(path);
	(void)rmdir(world->directory);
}

#endif
