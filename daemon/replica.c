/* All goes well: the follower notes where the log ends and asks for a reload, which reads the names of all namespaces and
 * walks one directory after the other into the index; what the log tells meanwhile and later is applied as it comes. An
 * entry of another daemon is not in its log record, so it is read again, a few at a time. When more wait than REREADS_MOST,
 * or the log was cut, everything is read again. */
#include "replica.h"

#include "deadline.h"
#include "decisions.h"
#include "flight.h"
#include "follow.h"
#include "memory_cache.h"
#include "replica_said.h"
#include "service.h"
#include "settings.h"
#include "store.h"
#include "verdicts.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define REREADS_AT_ONCE 32
#define REREADS_MOST 65536
#define NAMESPACES_MOST 65536
#define RETRY_MS 200
/* How long what waits in the write queue is waited for before everything is read again. */
#define QUEUE_STEP_MS 10
#define QUEUE_STEPS 500

/* An entry of another daemon that is read into the index. */
struct reread {
	struct reread *prev, *next;
	struct replica *replica;
	struct store_read read;
	struct identity identity;
	struct slice namespace; /* in `name` */
	bool is_started;
	char name[];
};

struct replica {
	struct service *service;
	struct follow *follow;
	struct replica_said *said;
	bool is_connected;
	bool is_loading;
	bool was_loaded;      /* once, or it was begun */
	bool is_said_due;     /* what was said is still to be read, once the settings are */
	bool is_other;        /* from another Redis than before */
	unsigned queue_steps; /* still to be waited */
	bool is_stale;        /* a reload is due, once the present one has ended */
	uint64_t lost_at_ms;
	struct reread *rereads; /* in order; the first REREADS_AT_ONCE are started */
	size_t reread_count, started;
	struct store_names names;
	struct store_walk walk;
	char **namespaces; /* still to be walked */
	size_t namespace_count, namespace_room;
	struct deadline retry, queue;
};

static void load_next(struct replica *replica);
static void start_rereads(struct replica *replica);

/* ---- what is removed ---- */

bool replica_is_current(const struct service *service)
{
	const struct replica *replica = service->replica;

	if (!replica || replica->is_connected)
		return true;
	uint64_t lost_ms = deadlines_now_ms(service->deadlines) - replica->lost_at_ms;
	return lost_ms < service->config->redis.serve_disconnected * 1000;
}

size_t replica_flushed(struct service *service, struct slice namespace, const struct flight *except)
{
	const struct forget forget = {.namespace = namespace, .except = except};
	size_t count = memory_cache_flush(service->memory, namespace);

	(void)service->index.ops->flush(service->index.state, namespace);
	flights_forget(service->flights, &forget);
	return count;
}

void replica_removed(struct service *service, struct slice namespace, const struct identity *identity)
{
	const struct forget forget = {.namespace = namespace, .identity = identity};

	(void)memory_cache_remove(service->memory, identity);
	(void)service->index.ops->remove(service->index.state, identity);
	flights_forget(service->flights, &forget);
}

/* ---- entries of others ---- */

static void reread_free(struct reread *reread)
{
	struct replica *replica = reread->replica;

	DL_DELETE(replica->rereads, reread);
	replica->reread_count--;
	if (reread->is_started)
		replica->started--;
	free(reread);
}

static void reread_came(struct store_read *read, int error)
{
	struct reread *reread = read->data;
	struct replica *replica = reread->replica;
	struct service *service = replica->service;

	if (!error && read->entry && read->entry->vector)
		(void)service->index.ops->put(service->index.state, read->entry);
	entry_destroy(read->entry);
	reread_free(reread);
	start_rereads(replica);
}

static void start_rereads(struct replica *replica)
{
	struct reread *reread, *next;

	DL_FOREACH_SAFE (replica->rereads, reread, next) {
		if (replica->started == REREADS_AT_ONCE)
			return;
		if (reread->is_started)
			continue;
		reread->read = (struct store_read){.done = reread_came, .data = reread};
		if (store_fetch(replica->service->store, &reread->read, reread->namespace, &reread->identity, true) != 0) {
			/* Redis went away: the follower will say so, and catch up or reload when it is back. */
			reread_free(reread);
			continue;
		}
		reread->is_started = true;
		replica->started++;
	}
}

static void on_put(void *data, struct slice namespace, const struct identity *entry)
{
	struct replica *replica = data;

	replica->service->metrics.log_records++;
	replica_removed(replica->service, namespace, entry);
	if (!replica->service->embedder)
		return;
	if (replica->reread_count == REREADS_MOST) {
		if (deadline_start(replica->service->deadlines, &replica->retry, RETRY_MS) == 0)
			replica->is_stale = true;
		return;
	}
	struct reread *reread = calloc(1, sizeof(*reread) + namespace.length);
	if (!reread)
		return;
	memcpy(reread->name, namespace.data, namespace.length);
	reread->namespace = (struct slice){reread->name, namespace.length};
	reread->identity = *entry;
	reread->replica = replica;
	DL_APPEND(replica->rereads, reread);
	replica->reread_count++;
	start_rereads(replica);
}

static void on_alias(void *data, struct slice namespace, const struct identity *alias)
{
	struct replica *replica = data;

	(void)namespace;
	replica->service->metrics.log_records++;
	(void)memory_cache_remove(replica->service->memory, alias);
	flights_distrust_reads(replica->service->flights);
}

static void on_removed(void *data, struct slice namespace, const struct identity *identity)
{
	struct replica *replica = data;

	replica->service->metrics.log_records++;
	replica_removed(replica->service, namespace, identity);
	verdicts_undo_quarantine(replica->service->verdicts, namespace, identity);
	decisions_purge(replica->service->decisions, namespace, identity);
}

static void on_said(void *data, struct slice namespace, const struct store_verdict *verdict)
{
	struct replica *replica = data;

	replica->service->metrics.log_records++;
	if (replica_said_apply(replica->service, namespace, verdict) != 0)
		log_write(&replica->service->log, LOG_LEVEL_WARNING,
			  "verdicts_not_loaded count=1 : more than fit, or out of memory");
}

static void on_text_removed(void *data, struct slice namespace, const struct identity *text)
{
	struct replica *replica = data;

	replica->service->metrics.log_records++;
	verdicts_undo_text(replica->service->verdicts, namespace, text);
}

static void on_settings(void *data, struct slice namespace, bool is_own)
{
	struct replica *replica = data;

	replica->service->metrics.log_records += !is_own;
	settings_follow(replica->service->settings, namespace, is_own);
}

static void on_flushed(void *data, struct slice namespace, uint64_t generation)
{
	struct replica *replica = data;

	replica->service->metrics.log_records++;
	store_set_generation(replica->service->store, namespace, generation);
	(void)replica_flushed(replica->service, namespace, NULL);
	/* What was said here since then is in Redis, or will be. */
	verdicts_clear(replica->service->verdicts, namespace);
	decisions_purge(replica->service->decisions, namespace, NULL);
	replica_said_check(replica->said);
}

/* ---- loading everything ---- */

static void forget_names(struct replica *replica)
{
	for (size_t i = 0; i < replica->namespace_count; i++)
		free(replica->namespaces[i]);
	replica->namespace_count = 0;
}

static void load_ended(struct replica *replica, int error)
{
	struct service *service = replica->service;
	size_t entries;

	replica->is_loading = false;
	if (error || replica->is_stale) {
		if (deadline_start(service->deadlines, &replica->retry, RETRY_MS) == 0)
			replica->is_stale = true;
		return;
	}
	if (!service->embedder)
		return;
	size_t bytes = service->index.ops->bytes(service->index.state, &entries);
	log_write(&service->log, LOG_LEVEL_INFO, "loaded entries=%zu bytes=%zu", entries, bytes);
}

static void walk_entry(struct store_walk *walk, struct entry *entry)
{
	struct replica *replica = walk->data;
	struct service *service = replica->service;

	if (entry->vector)
		(void)service->index.ops->put(service->index.state, entry);
	entry_destroy(entry);
}

static void walk_done(struct store_walk *walk, int error)
{
	struct replica *replica = walk->data;

	if (error) {
		forget_names(replica);
		load_ended(replica, error);
		return;
	}
	load_next(replica);
}

static void load_next(struct replica *replica)
{
	if (replica->namespace_count == 0) {
		load_ended(replica, 0);
		return;
	}
	char *name = replica->namespaces[--replica->namespace_count];
	replica->walk = (struct store_walk){.entry = walk_entry, .done = walk_done, .data = replica};
	int error = store_walk(replica->service->store, &replica->walk, slice_of(name), "", 0, true);
	free(name);
	if (error) {
		forget_names(replica);
		load_ended(replica, error);
	}
}

static void name_came(struct store_names *names, struct slice namespace)
{
	struct replica *replica = names->data;

	if (replica->namespace_count == NAMESPACES_MOST)
		return;
	if (replica->namespace_count == replica->namespace_room) {
		size_t room = replica->namespace_room ? replica->namespace_room * 2 : 16;
		char **grown = realloc(replica->namespaces, room * sizeof(*grown));
		if (!grown)
			return;
		replica->namespaces = grown;
		replica->namespace_room = room;
	}
	char *copy = strndup(namespace.data, namespace.length);
	if (copy)
		replica->namespaces[replica->namespace_count++] = copy;
}

static void names_done(struct store_names *names, int error)
{
	struct replica *replica = names->data;

	if (error)
		load_ended(replica, error);
	else
		load_next(replica);
}

static void load(struct replica *replica)
{
	replica->names = (struct store_names){.name = name_came, .done = names_done, .data = replica};
	int error = store_namespaces(replica->service->store, &replica->names);
	if (error)
		load_ended(replica, error);
}

/* What is still in the write queue is in no directory yet, and what the log says of it later is this daemon's own and passed
 * over; so the queue is let run dry first, unless Redis takes no writes for long. */
static void load_after_writes(struct replica *replica)
{
	struct service *service = replica->service;
	size_t writes;

	(void)store_queue(service->store, &writes);
	if (writes == 0 || replica->queue_steps == 0 ||
	    deadline_start(service->deadlines, &replica->queue, QUEUE_STEP_MS) != 0) {
		load(replica);
		return;
	}
	replica->queue_steps--;
}

static void queue_expired(struct deadline *queue)
{
	load_after_writes((struct replica *)((char *)queue - offsetof(struct replica, queue)));
}

/* Nothing that is known can be trusted to be still there. Only the first time nothing is known yet: what is being answered
 * then was begun before this daemon could have been told anything, and is kept. */
static void forget_all(struct replica *replica)
{
	struct service *service = replica->service;

	if (replica->was_loaded) {
		(void)replica_flushed(service, (struct slice){0}, NULL);
		return;
	}
	replica->was_loaded = true;
	(void)memory_cache_flush(service->memory, (struct slice){0});
	(void)service->index.ops->flush(service->index.state, (struct slice){0});
	flights_distrust_reads(service->flights);
}

/* Without an embedder nothing has to be read for the index. */
static void settings_loaded(void *data, int error)
{
	struct replica *replica = data;

	if (error) {
		load_ended(replica, error);
		return;
	}
	if (replica->is_said_due)
		replica_said_load(replica->said, replica->is_other);
	replica->is_said_due = replica->is_other = false;
	if (!replica->service->embedder) {
		load_ended(replica, 0);
		return;
	}
	replica->queue_steps = QUEUE_STEPS;
	load_after_writes(replica);
}

/* The settings first, so that nothing is served by meaning before they are in force. */
static void start_to_load(struct replica *replica)
{
	replica->is_stale = false;
	replica->is_loading = true;
	int error = settings_load(replica->service->settings, settings_loaded, replica);
	if (error)
		load_ended(replica, error);
}

static void on_reload(void *data)
{
	struct replica *replica = data;

	forget_all(replica);
	replica->is_said_due = true;
	replica->is_other = replica->is_other || follow_is_other(replica->follow);
	if (replica->is_loading)
		replica->is_stale = true;
	else
		start_to_load(replica);
}

static void retry_expired(struct deadline *retry)
{
	struct replica *replica = (struct replica *)((char *)retry - offsetof(struct replica, retry));

	if (replica->is_stale && !replica->is_loading)
		start_to_load(replica);
}

static void on_connected(void *data, bool connected)
{
	struct replica *replica = data;
	struct service *service = replica->service;

	if (replica->is_connected && !connected)
		replica->lost_at_ms = deadlines_now_ms(service->deadlines);
	replica->is_connected = connected;
	log_write(&service->log, LOG_LEVEL_INFO, "%s", connected ? "following_redis" : "not_following_redis");
}

/* ---- life ---- */

static const struct follow_events events = {
	.put = on_put,
	.alias = on_alias,
	.removed = on_removed,
	.flushed = on_flushed,
	.said = on_said,
	.text_removed = on_text_removed,
	.settings = on_settings,
	.reload = on_reload,
	.connected = on_connected,
};

struct replica *replica_create(struct service *service)
{
	struct replica *replica = calloc(1, sizeof(*replica));

	if (!replica)
		return NULL;
	replica->service = service;
	replica->lost_at_ms = deadlines_now_ms(service->deadlines);
	replica->retry.expired = retry_expired;
	replica->queue.expired = queue_expired;
	replica->said = replica_said_create(service);
	replica->follow = replica->said ? follow_create(service->loop, service->deadlines, service->config,
							store_origin(service->store), &events, replica, &service->redis_part,
							&service->metrics, &service->log)
					: NULL;
	if (!replica->follow) {
		replica_said_destroy(replica->said);
		free(replica);
		return NULL;
	}
	return replica;
}

void replica_destroy(struct replica *replica)
{
	if (!replica)
		return;
	follow_destroy(replica->follow);
	replica_said_destroy(replica->said);
	deadline_stop(replica->service->deadlines, &replica->retry);
	deadline_stop(replica->service->deadlines, &replica->queue);
	store_names_cancel(&replica->names);
	store_walk_cancel(&replica->walk);
	while (replica->rereads) {
		store_read_cancel(&replica->rereads->read);
		entry_destroy(replica->rereads->read.entry);
		reread_free(replica->rereads);
	}
	forget_names(replica);
	free(replica->namespaces);
	free(replica);
}
