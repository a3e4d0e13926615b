/* All goes well: the end of the log is noted, everything is reloaded, and then XREAD waits in Redis for what comes
 * behind; its BLOCK is shorter than the connection's own patience, so a hung Redis is noticed.
 *
 * With every XREAD the state of the stream is asked for in the same pipeline: records were lost if the first record there
 * is younger than where we read from, or if the stream has ended before it. That is on the safe side: a reload too many
 * costs time, a lost record would leave a removed answer in memory. What can go wrong: the connection breaks (the log
 * goes on from the last record seen), another Redis answers (reload), records were trimmed (reload), Redis refuses XREAD
 * (the connection is made anew, later). */
#include "follow.h"

#include "../proto/error.h"
#include "config.h"
#include "deadline.h"
#include "log.h"
#include "metrics.h"
#include "part.h"
#include "redis.h"
#include "store_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS 256 /* read at once */
#define BLOCK_MOST_MS 500

/* An id of the stream. */
struct position {
	uint64_t ms, sequence;
};

enum follow_state {
	FOLLOW_AWAY,  /* no connection */
	FOLLOW_NOTE,  /* asking who Redis is and where the log ends */
	FOLLOW_CATCH, /* reading what is there */
	FOLLOW_TAIL,  /* up to date, waiting for more */
};

struct follow {
	struct redis *redis;
	struct deadlines *deadlines;
	struct part *part;
	struct metrics *metrics;
	const struct log *log;
	const struct follow_events *events;
	void *data;
	char *key;
	uint64_t origin, block_ms;
	enum follow_state state;
	bool is_connected;        /* as told */
	bool is_noted;            /* `at` is a place in this Redis's log */
	struct position at, from; /* the last record seen; where this XREAD started */
	char run_id[41];
	bool is_other; /* run_id is not the one before */
	bool is_full;  /* the last XREAD gave as much as it may */
};

static void read_on(struct follow *follow);

static bool is_before(struct position a, struct position b)
{
	return a.ms < b.ms || (a.ms == b.ms && a.sequence < b.sequence);
}

/* "MILLISECONDS-SEQUENCE". Returns whether it is one. */
static bool read_position(struct slice text, struct position *out)
{
	const char *dash = text.data ? memchr(text.data, '-', text.length) : NULL;
	struct position position;

	if (!dash)
		return false;
	struct slice ms = {text.data, (size_t)(dash - text.data)};
	struct slice sequence = {dash + 1, text.length - ms.length - 1};
	if (fields_read_number(ms, &position.ms) || fields_read_number(sequence, &position.sequence))
		return false;
	*out = position;
	return true;
}

static void tell_connected(struct follow *follow, bool connected)
{
	if (follow->is_connected == connected)
		return;
	follow->is_connected = connected;
	if (follow->events->connected)
		follow->events->connected(follow->data, connected);
}

/* ---- records ---- */

static struct slice record_field(const struct redisReply *fields, const char *name)
{
	for (size_t i = 0; reply_at(fields, i + 1); i += 2)
		if (slice_equal(reply_text(reply_at(fields, i)), slice_of(name)))
			return reply_text(reply_at(fields, i + 1));
	return (struct slice){NULL, 0};
}

/* What was said of the entry `key`. Returns whether the record tells it. */
static bool read_said(const struct redisReply *fields, bool is_undo, const struct identity *entry,
		      struct store_verdict *verdict)
{
	*verdict = (struct store_verdict){.is_undo = is_undo, .entry = *entry, .similarity = NAN};
	if (identity_parse(record_field(fields, "question"), &verdict->question) != 0)
		return false;
	verdict->has_pair = identity_parse(record_field(fields, "own"), &verdict->own) == 0;
	verdict->has_mark = fields_read_number(record_field(fields, "created_ms"), &verdict->created_ms) == 0 &&
			    fields_read_number(record_field(fields, "expire_ms"), &verdict->expire_ms) == 0;
	return true;
}

static void take_said(struct follow *follow, const struct redisReply *fields, struct slice op, struct slice namespace,
		      const struct identity *key)
{
	bool is_undo = slice_equal(op, SLICE("undo"));
	struct store_verdict verdict;

	if (slice_equal(op, SLICE("forget"))) {
		if (follow->events->text_removed)
			follow->events->text_removed(follow->data, namespace, key);
	} else if (is_undo || slice_equal(op, SLICE("verdict"))) {
		if (follow->events->said && read_said(fields, is_undo, key, &verdict))
			follow->events->said(follow->data, namespace, &verdict);
	}
}

static void take_record(struct follow *follow, const struct redisReply *fields)
{
	struct slice op = record_field(fields, "op"), namespace = record_field(fields, "namespace");
	uint64_t generation = fields_read_generation(record_field(fields, "generation"));
	bool is_own = fields_read_generation(record_field(fields, "origin")) == follow->origin;
	struct identity identity;

	if (!op.data || namespace.length == 0 || namespace.length >= STORE_NAMESPACE)
		return;
	if (slice_equal(op, SLICE("settings")) && follow->events->settings)
		follow->events->settings(follow->data, namespace, is_own);
	if (is_own)
		return;
	if (slice_equal(op, SLICE("flush"))) {
		if (generation)
			follow->events->flushed(follow->data, namespace, generation);
		return;
	}
	if (identity_parse(record_field(fields, "key"), &identity) != 0)
		return;
	if (slice_equal(op, SLICE("put")))
		follow->events->put(follow->data, namespace, &identity);
	else if (slice_equal(op, SLICE("alias")))
		follow->events->alias(follow->data, namespace, &identity);
	else if (slice_equal(op, SLICE("delete")))
		follow->events->removed(follow->data, namespace, &identity);
	else
		take_said(follow, fields, op, namespace, &identity);
}

/* [[key, [[id, [field, value …]] …]]], or nil when nothing came. */
static void take_records(struct follow *follow, const struct redisReply *reply)
{
	const struct redisReply *records = reply_at(reply_at(reply, 0), 1);
	size_t count = 0;

	for (; reply_at(records, count); count++) {
		const struct redisReply *record = reply_at(records, count);
		struct position position;
		if (!read_position(reply_text(reply_at(record, 0)), &position))
			continue;
		follow->at = position;
		take_record(follow, reply_at(record, 1));
	}
	follow->is_full = count >= RECORDS;
}

/* ---- the state of the stream ---- */

struct stream {
	bool exists;
	uint64_t length, added;      /* records there, and ever added; an old Redis does not know the latter */
	struct position first, last; /* the first record there; the last id ever given */
};

/* The flat list of names and values that XINFO STREAM gives. An error = there is no such stream. */
static struct stream read_stream(const struct redisReply *reply)
{
	struct stream stream = {.exists = reply->type == REDIS_REPLY_ARRAY};

	for (size_t i = 0; reply_at(reply, i + 1); i += 2) {
		struct slice name = reply_text(reply_at(reply, i));
		const struct redisReply *value = reply_at(reply, i + 1);
		if (slice_equal(name, SLICE("length")))
			stream.length = (uint64_t)reply_integer(value, 0);
		else if (slice_equal(name, SLICE("entries-added")))
			stream.added = (uint64_t)reply_integer(value, 0);
		else if (slice_equal(name, SLICE("last-generated-id")))
			(void)read_position(reply_text(value), &stream.last);
		else if (slice_equal(name, SLICE("first-entry")))
			(void)read_position(reply_text(reply_at(value, 0)), &stream.first);
	}
	return stream;
}

static bool is_start(struct position position)
{
	return position.ms == 0 && position.sequence == 0;
}

/* Whether records between `from` and now may be gone unseen. */
static bool has_lost(const struct follow *follow, const struct stream *stream)
{
	if (!stream->exists)
		return !is_start(follow->from);
	if (is_before(stream->last, follow->at))
		return true;
	if (stream->length == 0)
		return is_before(follow->at, stream->last);
	if (is_start(follow->from))
		return stream->added > stream->length;
	return is_before(follow->from, stream->first);
}

/* Notes where the log ends, has everything read, and follows from there. */
static void reload(struct follow *follow, const struct stream *stream)
{
	follow->at = stream->last;
	follow->is_noted = true;
	follow->metrics->log_reloads++;
	follow->events->reload(follow->data);
	follow->is_other = false;
}

/* ---- talking ---- */

static void refuse(struct follow *follow, const struct redisReply *reply)
{
	char text[120];

	log_write(follow->log, LOG_LEVEL_WARNING, "follow_refused error=\"%s\"",
		  log_quotable(text, sizeof(text), reply->str));
	redis_reset(follow->redis, "Redis refuses to have its log followed");
}

static void on_note_info(redisAsyncContext *context, void *data, void *user)
{
	struct follow *follow = user;
	struct slice info = reply_text(data);
	const char *run_id = info.data ? strstr(info.data, "\nrun_id:") : NULL;

	(void)context;
	if (!run_id || strlen(run_id) < 8 + 40)
		return;
	follow->is_other = memcmp(follow->run_id, run_id + 8, 40) != 0;
	memcpy(follow->run_id, run_id + 8, 40);
}

static void on_note_stream(redisAsyncContext *context, void *data, void *user)
{
	struct follow *follow = user;
	const struct redisReply *reply = data;

	(void)context;
	if (!reply || follow->state != FOLLOW_NOTE)
		return;
	if (reply_is_error(reply, NULL) && !reply_is_error(reply, "ERR no such key")) {
		refuse(follow, reply);
		return;
	}
	struct stream stream = read_stream(reply);
	follow->state = FOLLOW_CATCH;
	follow->from = follow->at;
	if (!follow->is_noted || follow->is_other || has_lost(follow, &stream))
		reload(follow, &stream);
	read_on(follow);
}

static void on_records(redisAsyncContext *context, void *data, void *user)
{
	struct follow *follow = user;
	const struct redisReply *reply = data;

	(void)context;
	if (!reply || follow->state < FOLLOW_CATCH)
		return;
	if (reply_is_error(reply, NULL))
		refuse(follow, reply);
	else
		take_records(follow, reply);
}

static void on_stream(redisAsyncContext *context, void *data, void *user)
{
	struct follow *follow = user;
	const struct redisReply *reply = data;

	(void)context;
	if (!reply || follow->state < FOLLOW_CATCH || !redis_context(follow->redis))
		return;
	if (reply_is_error(reply, NULL) && !reply_is_error(reply, "ERR no such key")) {
		refuse(follow, reply);
		return;
	}
	struct stream stream = read_stream(reply);
	if (has_lost(follow, &stream))
		reload(follow, &stream);
	if (!follow->is_full && follow->state == FOLLOW_CATCH) {
		follow->state = FOLLOW_TAIL;
		tell_connected(follow, true);
	}
	read_on(follow);
}

/* While catching up XREAD does not wait, so that it is known when nothing is left. */
static void read_on(struct follow *follow)
{
	redisAsyncContext *context = redis_context(follow->redis);
	char block[24], id[48];
	const char *arguments[8] = {"XREAD", "COUNT", "256"};
	int count = 3;

	if (!context)
		return;
	follow->from = follow->at;
	if (follow->state == FOLLOW_TAIL) {
		(void)snprintf(block, sizeof(block), "%" PRIu64, follow->block_ms);
		arguments[count++] = "BLOCK";
		arguments[count++] = block;
	}
	(void)snprintf(id, sizeof(id), "%" PRIu64 "-%" PRIu64, follow->at.ms, follow->at.sequence);
	arguments[count++] = "STREAMS";
	arguments[count++] = follow->key;
	arguments[count++] = id;
	if (redisAsyncCommandArgv(context, on_records, follow, count, arguments, NULL) != REDIS_OK ||
	    redisAsyncCommand(context, on_stream, follow, "XINFO STREAM %s", follow->key) != REDIS_OK)
		redis_reset(follow->redis, "out of memory");
}

/* ---- the connection ---- */

static void on_up(void *data)
{
	struct follow *follow = data;
	redisAsyncContext *context = redis_context(follow->redis);

	follow->state = FOLLOW_NOTE;
	follow->is_other = false;
	if (redisAsyncCommand(context, on_note_info, follow, "INFO server") != REDIS_OK ||
	    redisAsyncCommand(context, on_note_stream, follow, "XINFO STREAM %s", follow->key) != REDIS_OK)
		redis_reset(follow->redis, "out of memory");
}

static void on_down(void *data, enum redis_loss loss, const char *error)
{
	struct follow *follow = data;
	bool was_up = follow->state != FOLLOW_AWAY;

	(void)loss;
	follow->state = FOLLOW_AWAY;
	if (was_up)
		(void)part_failed(follow->part, error, deadlines_now_ms(follow->deadlines));
	tell_connected(follow, false);
}

static const struct redis_events redis_events = {.up = on_up, .down = on_down};

/* ---- life ---- */

struct follow *follow_create(struct uv_loop_s *loop, struct deadlines *deadlines, const struct config *config,
			     uint64_t origin, const struct follow_events *events, void *data, struct part *part,
			     struct metrics *metrics, const struct log *log)
{
	struct follow *follow = calloc(1, sizeof(*follow));

	if (!follow)
		return NULL;
	*follow = (struct follow){
		.deadlines = deadlines,
		.part = part,
		.metrics = metrics,
		.log = log,
		.events = events,
		.data = data,
		.origin = origin,
		.block_ms = config->redis.timeout_ms / 2,
	};
	if (follow->block_ms > BLOCK_MOST_MS)
		follow->block_ms = BLOCK_MOST_MS;
	if (follow->block_ms == 0)
		follow->block_ms = 1; /* 0 would be forever */
	if (asprintf(&follow->key, "%slog", config->redis.prefix) < 0)
		follow->key = NULL;
	if (follow->key)
		follow->redis = redis_create(loop, deadlines, config, "redis log", &redis_events, follow, log);
	if (!follow->redis) {
		free(follow->key);
		free(follow);
		return NULL;
	}
	return follow;
}

bool follow_is_other(const struct follow *follow)
{
	return follow->is_other;
}

void follow_destroy(struct follow *follow)
{
	if (!follow)
		return;
	follow->state = FOLLOW_AWAY;
	redis_destroy(follow->redis);
	free(follow->key);
	free(follow);
}
