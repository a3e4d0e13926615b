/* All goes well: a job is queued, sent with the next turn of the loop, answered, done.
 *
 *   oldest                                        newest
 *   [sent … sent][next … waiting]   job_queue() ──> at the end        purges: flushes whose rest is removed in between
 *        │              └ up to AIR_JOBS and AIR_BYTES in the air
 *        └ done: told, taken out
 *
 * What can go wrong:
 *   the connection breaks   what was in the air is sent again, in order: every job may be done twice
 *   Redis takes no writes   (-OOM -READONLY -LOADING …) the same, after PART_PROBE_MS; whoever waits is told ERROR_PENDING
 *   Redis refuses a job     (anything else) it is dropped, and whoever waits is told
 *   the job is dead         its namespace was flushed after it was captured, or its time is over: it is dropped and counted
 * Before the first job of a namespace goes out on a new connection, its generation is read there: who knows what others
 * did. */
#include "store_private.h"

#include "log.h"
#include "metrics.h"
#include "part.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define AIR_JOBS 256
#define AIR_BYTES (4u << 20)
#define REMOVAL_RESERVE (1u << 20) /* a full queue still takes removals: they make room */

/* ---- who waits ---- */

static void waiter_leave(struct job *job)
{
	if (!job->is_waited)
		return;
	job->is_waited = false;
	DL_DELETE2(job->talk.store->waiters, job, waiter_prev, waiter_next);
}

static void waiter_join(struct job *job)
{
	struct store *store = job->talk.store;

	job->due_ms = deadlines_now_ms(store->deadlines) + store->timeout_ms;
	job->is_waited = true;
	DL_APPEND2(store->waiters, job, waiter_prev, waiter_next);
	store_arm(store, job->due_ms);
}

void job_extend(struct job *job)
{
	if (!job->is_waited)
		return;
	waiter_leave(job);
	waiter_join(job);
}

/* It counts from now on, although Redis does not know of it. */
static void job_promise(struct job *job)
{
	if (!job->hides || job->is_promised)
		return;
	job->is_promised = true;
	DL_APPEND2(job->talk.store->promised, job, waiter_prev, waiter_next);
}

static void job_tell(struct job *job, int error)
{
	struct store_write *write = job->write;

	waiter_leave(job);
	job->write = NULL;
	if (!write)
		return;
	write->private = NULL;
	write->entries = job->entries;
	write->aliases = job->aliases;
	write->vectors = job->vectors;
	write->namespaces = job->namespaces;
	if (error == ERROR_PENDING)
		job_promise(job);
	if (write->done)
		write->done(write, error);
}

/* Nobody waits for a Redis that is away. Those told may queue more, which are told the next time. */
static void tell_all_pending(struct store *store)
{
	for (size_t most = store->job_count; most > 0 && store->waiters; most--)
		job_tell(store->waiters, store->waiters->is_dry_run ? ERROR_UNAVAILABLE : ERROR_PENDING);
}

void store_write_cancel(struct store_write *write)
{
	struct job *job = write->private;

	if (!job)
		return;
	waiter_leave(job);
	job->write = NULL;
	write->private = NULL;
}

/* ---- the queue ---- */

void job_init(struct store *store, struct job *job, struct slice namespace, size_t bytes)
{
	job->talk.store = store;
	job->bytes = bytes;
	if (namespace.length && namespace.length < sizeof(job->namespace))
		memcpy(job->namespace, namespace.data, namespace.length);
}

int job_queue(struct store *store, struct job *job, struct store_write *write)
{
	size_t most = store->queue_bytes + (job->is_removal ? REMOVAL_RESERVE : 0);

	if (job->bytes > most || store->job_bytes > most - job->bytes) {
		store->metrics->write_queue_dropped++;
		store_complain(store, "queue", "redis.write_queue_bytes is reached");
		job->destroy(job);
		return ERROR_TOO_LARGE;
	}
	store->job_count++;
	store->job_bytes += job->bytes;
	DL_APPEND(store->jobs, job);
	if (!store->next)
		store->next = job;
	if (write) {
		write->private = job;
		write->entries = write->aliases = write->vectors = write->namespaces = 0;
		job->write = write;
		waiter_join(job);
	}
	writes_wake(store);
	return 0;
}

static void air_leave(struct job *job)
{
	struct store *store = job->talk.store;

	if (job->is_purge || !job->is_sent)
		return;
	store->air_count--;
	store->air_bytes -= job->bytes;
}

/* Takes the job out of everything. */
static void job_remove(struct job *job)
{
	struct store *store = job->talk.store;

	air_leave(job);
	if (store->barrier == job)
		store->barrier = NULL;
	if (store->next == job)
		store->next = job->next;
	if (job->is_purge)
		DL_DELETE(store->purges, job);
	else
		DL_DELETE(store->jobs, job);
	if (job->is_promised)
		DL_DELETE2(store->promised, job, waiter_prev, waiter_next);
	store->job_count--;
	store->job_bytes -= job->bytes;
}

void job_finish(struct job *job, int error)
{
	struct store *store = job->talk.store;

	assert(job->talk.awaited == 0);
	job_remove(job);
	job_tell(job, error);
	job->destroy(job);
	writes_wake(store);
}

void job_becomes_purge(struct job *job)
{
	struct store *store = job->talk.store;

	air_leave(job);
	if (store->barrier == job)
		store->barrier = NULL;
	DL_DELETE(store->jobs, job);
	job->is_purge = true;
	job->is_sent = false;
	DL_APPEND(store->purges, job);
	writes_wake(store);
}

/* ---- what came back ---- */

static void note_error(struct job *job, const struct redisReply *reply)
{
	if (!reply_is_error(reply, NULL) || job->error[0])
		return;
	/* What is not ours has nothing in it to be removed. */
	if (reply_is_error(reply, "WRONGTYPE")) {
		job->talk.store->metrics->redis_wrong_type++;
		if (job->is_removal)
			return;
	}
	(void)snprintf(job->error, sizeof(job->error), "%s", reply->str);
}

void job_note(struct job *job, const struct redisReply *reply)
{
	note_error(job, reply);
	for (size_t i = 0; reply_at(reply, i); i++)
		note_error(job, reply_at(reply, i));
}

void job_count(struct job *job, const bool is_counted[3], unsigned n, const struct redisReply *reply)
{
	uint64_t *counts[] = {&job->entries, &job->aliases, &job->vectors};

	for (unsigned kind = 0, at = 0; kind < 3; kind++) {
		if (!is_counted[kind])
			continue;
		if (reply->type == REDIS_REPLY_ARRAY)
			*counts[kind] += (uint64_t)reply_integer(reply_at(reply, at), 0);
		else if (at == n)
			*counts[kind] += (uint64_t)reply_integer(reply, 0);
		at++;
	}
}

/* Whether Redis may take the same command later. */
static bool is_passing(const char *error)
{
	static const char *const words[] = {"OOM",   "READONLY", "LOADING",     "MASTERDOWN",
					    "BUSY ", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(error, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

static void stall(struct store *store, const char *error)
{
	store_complain(store, "writes_for_now", error);
	store->stalled = true;
	store->retry_at_ms = deadlines_now_ms(store->deadlines) + PART_PROBE_MS;
	store_arm(store, store->retry_at_ms);
	writes_wake(store);
}

static void job_put_back(struct job *job)
{
	struct store *store = job->talk.store;

	air_leave(job);
	if (store->barrier == job)
		store->barrier = NULL;
	job->is_sent = false;
	job->error[0] = '\0';
}

bool job_round_went_well(struct job *job)
{
	struct store *store = job->talk.store;

	if (job->talk.lost) {
		/* writes_lost() puts everything back. It certainly comes, also if only memory for a command was short. */
		redis_reset(store->writes, "a command could not be sent");
		return false;
	}
	if (job->error[0] && is_passing(job->error)) {
		if (!store->stalled)
			stall(store, job->error);
		job_put_back(job);
		return false;
	}
	if (store->stalled) {
		/* Done, but jobs before it are not: in order means that it is done once more behind them. */
		job_put_back(job);
		return false;
	}
	if (job->error[0]) {
		store_complain(store, "write", job->error);
		store->metrics->redis_failures++;
		job_finish(job, ERROR_UNAVAILABLE);
		return false;
	}
	return true;
}

/* ---- generations ---- */

static void on_verify_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct store *store = talk->store;

	if (n == 0) {
		store->was_missing = reply->type == REDIS_REPLY_STATUS;
		return;
	}
	store->verified_generation = fields_read_generation(reply_text(reply));
	store->verified_error = reply->type == REDIS_REPLY_NIL ? ERROR_PENDING : 0;
	if (reply->type == REDIS_REPLY_ERROR && is_passing(reply->str))
		store->verified_error = ERROR_PENDING;
}

static void space_verified(struct store *store, struct space *space, uint64_t generation)
{
	uint64_t before = store->was_missing ? space->generation : generation == space->made ? space->previous : 0;

	space->verified = store->connection;
	if (space->flushes > 0)
		return;
	/* Redis came back without its data: nothing older than now is there that could be revived, so what was paid for
	 * meanwhile is still good. In a Redis that kept its data a missing generation leaves everything older dead. */
	space->inherited = store->emptied ? before : 0;
	space->generation = generation;
}

static void on_verify_round(struct talk *talk)
{
	struct store *store = talk->store;
	struct space *space = store->verified_space;

	store->verified_space = NULL;
	if (talk->lost) {
		redis_reset(store->writes, "a command could not be sent");
		return;
	}
	if (store->verified_error == ERROR_PENDING)
		stall(store, "no generation can be made");
	else if (store->verified_generation)
		space_verified(store, space, store->verified_generation);
	else if (store->next) {
		store_complain(store, "generation", "its key holds something else, or may not be read");
		store->metrics->redis_wrong_type++;
		job_finish(store->next, ERROR_UNAVAILABLE);
	}
	writes_wake(store);
}

static void verify(struct store *store, struct space *space)
{
	struct command command;

	store->verified_space = space;
	store->verified_generation = 0;
	store->verified_error = 0;
	store->verifying = (struct talk){.store = store, .reply = on_verify_reply, .round = on_verify_round};
	command_start(&command, "SET");
	command_key(&command, store, "generation:", (struct slice){space->name, space->length});
	command_generation(&command, store_random());
	command_word(&command, "NX");
	command_send(&command, store->writes, &store->verifying);
	command_start(&command, "GET");
	command_key(&command, store, "generation:", (struct slice){space->name, space->length});
	command_send(&command, store->writes, &store->verifying);
	if (store->verifying.awaited > 0)
		return;
	store->verified_space = NULL;
	redis_reset(store->writes, "a command could not be sent");
}

/* ---- sending ---- */

static bool is_dead(const struct job *job, const struct space *space)
{
	if (job->expires_at_ms && job->expires_at_ms <= deadlines_now_ms(job->talk.store->deadlines))
		return true;
	return job->needs_generation && job->generation && job->generation != space->generation &&
	       job->generation != space->inherited;
}

/* Returns whether the first waiting job was sent or dropped, so that the next one may be looked at. */
static bool pump_one(struct store *store)
{
	struct job *job = store->next;
	struct space *space = NULL;

	if (job->needs_generation) {
		space = space_get(store, slice_of(job->namespace));
		if (!space) {
			job_finish(job, ERROR_MEMORY);
			return true;
		}
		if (space->verified != store->connection && space->flushes == 0) {
			verify(store, space);
			return false;
		}
	}
	if (is_dead(job, space)) {
		store->metrics->writes_dead++;
		job_finish(job, ERROR_CANCELLED);
		return true;
	}
	if (space)
		job->generation = space->generation;
	job->is_sent = true;
	job->talk.lost = false;
	job->talk.n = 0;
	store->next = job->next;
	store->air_count++;
	store->air_bytes += job->bytes;
	store->metrics->redis_writes++;
	if (job->is_barrier)
		store->barrier = job;
	job->send(job);
	if (!job->talk.lost)
		return true;
	redis_reset(store->writes, "a command could not be sent");
	return false;
}

static bool has_room(const struct store *store)
{
	return store->air_count < AIR_JOBS && (store->air_count == 0 || store->air_bytes + store->next->bytes <= AIR_BYTES);
}

static void on_pump(uv_idle_t *pump)
{
	struct store *store = pump->data;

	(void)uv_idle_stop(pump);
	if (store->stalled || !redis_context(store->writes)) {
		if (store->stalled || !part_up(store->part))
			tell_all_pending(store);
		return;
	}
	if (!store->is_greeted)
		return;
	while (store->next && !store->barrier && !store->verified_space && !store->stalled && has_room(store))
		if (!pump_one(store))
			break;
	struct job *purge = store->purges;
	if (!purge || purge->is_sent || store->barrier || store->verified_space || store->stalled)
		return;
	purge->is_sent = true;
	purge->talk.lost = false;
	purge->send(purge);
	if (purge->talk.lost)
		redis_reset(store->writes, "a command could not be sent");
}

void writes_wake(struct store *store)
{
	(void)uv_idle_start(store->pump, on_pump);
}

/* ---- the connection ---- */

/* The value of a line "name:value" of INFO. */
static struct slice info_value(struct slice info, const char *name)
{
	const char *at = info.data ? strstr(info.data, name) : NULL;

	if (!at)
		return (struct slice){NULL, 0};
	at += strlen(name);
	return (struct slice){at, strcspn(at, "\r\n")};
}

static void on_greeting_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct store *store = talk->store;
	struct slice info = reply_text(reply);
	struct slice run_id = info_value(info, "\nrun_id:");
	struct slice version = info_value(info, "\nredis_version:");
	struct slice policy = info_value(info, "\nmaxmemory_policy:");

	if (n == 0) {
		store->compares = version.data && strtol(version.data, NULL, 10) >= 7;
		store->emptied = store->run_id[0] && run_id.length == 40 && memcmp(store->run_id, run_id.data, 40) != 0;
		if (run_id.length == 40)
			memcpy(store->run_id, run_id.data, 40);
		return;
	}
	if (policy.length > 8 && strncmp(policy.data, "allkeys-", 8) == 0)
		log_write(
			store->log, LOG_LEVEL_WARNING,
			"redis_evicts maxmemory_policy=%.*s : Redis may drop generations, directories and what people said, "
			"which are not cache; volatile-lru or noeviction keeps them",
			(int)policy.length, policy.data);
}

static void on_greeting_round(struct talk *talk)
{
	struct store *store = talk->store;

	if (talk->lost) {
		redis_reset(store->writes, "a command could not be sent");
		return;
	}
	store->is_greeted = true;
	writes_wake(store);
}

void writes_up(struct store *store)
{
	struct command command;

	store->connection++;
	store->is_greeted = false;
	store->greeting = (struct talk){.store = store, .reply = on_greeting_reply, .round = on_greeting_round};
	command_start(&command, "INFO");
	command_word(&command, "server");
	command_send(&command, store->writes, &store->greeting);
	command_start(&command, "INFO");
	command_word(&command, "memory");
	command_send(&command, store->writes, &store->greeting);
	if (store->greeting.lost)
		redis_reset(store->writes, "a command could not be sent");
}

void writes_lost(struct store *store)
{
	struct job *job, *next;

	store->barrier = NULL;
	store->stalled = false;
	store->verified_space = NULL;
	store->air_count = store->air_bytes = 0;
	DL_FOREACH (store->jobs, job) {
		assert(job->talk.awaited == 0);
		job->is_sent = false;
		job->error[0] = '\0';
	}
	DL_FOREACH (store->purges, job) {
		job->is_sent = false;
		job->error[0] = '\0';
	}
	store->next = store->jobs;
	DL_FOREACH_SAFE (store->jobs, job, next) {
		if (!job->while_up && !job->is_dry_run)
			continue;
		if (job->is_vector)
			store->metrics->vectors_dropped++;
		job_finish(job, ERROR_UNAVAILABLE);
	}
	writes_wake(store);
}

/* ---- deadlines ---- */

void writes_expire(struct store *store, uint64_t now_ms)
{
	while (store->waiters && store->waiters->due_ms <= now_ms)
		job_tell(store->waiters, store->waiters->is_dry_run ? ERROR_UNAVAILABLE : ERROR_PENDING);
	if (!store->stalled || now_ms < store->retry_at_ms)
		return;
	if (store->air_count > 0) {
		/* Replies to what was sent before are still to come, and must not be taken for those of the second try. */
		store->retry_at_ms = now_ms + 1;
		return;
	}
	store->stalled = false;
	store->next = store->jobs;
	writes_wake(store);
}

uint64_t writes_due(const struct store *store)
{
	uint64_t at_ms = store->waiters ? store->waiters->due_ms : UINT64_MAX;

	return store->stalled && store->retry_at_ms < at_ms ? store->retry_at_ms : at_ms;
}

/* Nobody is told any more; what is in the air is freed when its NULL replies have come. */
void writes_drop(struct store *store)
{
	while (store->waiters) {
		struct store_write *write = store->waiters->write;
		store_write_cancel(write);
	}
}

void writes_free(struct store *store)
{
	struct job *job, *next;

	DL_FOREACH_SAFE (store->jobs, job, next)
		job->destroy(job);
	DL_FOREACH_SAFE (store->purges, job, next)
		job->destroy(job);
	store->jobs = store->purges = NULL;
}

size_t store_queue(const struct store *store, size_t *writes)
{
	if (writes)
		*writes = store->job_count;
	return store->job_bytes;
}
