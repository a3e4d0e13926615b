/* All goes well: a read is an ask: its commands leave in one pipeline, the replies come, it ends.
 *
 *   start ──(connected)──> sent ──> replies ──(an alias, or no generation yet)──> one round more ──> ended
 *     └──(not yet)──> waits for the connection, as long as the part is not DOWN ──┘
 *
 * What can go wrong: no reply within redis.timeout_ms, the connection breaks, an error reply (the ask ends with an error,
 * and replies that come late are only counted), something that is not ours under our key (a miss).
 *
 * What was read may be older than what is known when it arrives: an entry whose identity was removed meanwhile, or whose
 * namespace was flushed, is not handed out. */
#include "store_private.h"

#include "clock.h"
#include "metrics.h"
#include "part.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- asks ---- */

static void ask_free(struct ask *ask)
{
	ask->talk.store->ask_count--;
	free(ask);
}

int ask_start(struct store *store, struct ask *ask)
{
	if (!part_up(store->part))
		return ERROR_UNAVAILABLE;
	if (store->ask_count >= STORE_ASKS)
		return ERROR_BUSY;
	ask->talk.store = store;
	ask->started_us = clock_us();
	ask->due_ms = deadlines_now_ms(store->deadlines) + store->timeout_ms;
	store->ask_count++;
	DL_APPEND(store->asks, ask);
	store_arm(store, ask->due_ms);
	if (redis_context(store->reads)) {
		ask->is_sent = true;
		store->metrics->redis_reads++;
		ask->send(ask);
	}
	return 0;
}

void ask_extend(struct ask *ask)
{
	struct store *store = ask->talk.store;

	DL_DELETE(store->asks, ask);
	ask->due_ms = deadlines_now_ms(store->deadlines) + store->timeout_ms;
	DL_APPEND(store->asks, ask);
}

void ask_end(struct ask *ask, int error)
{
	struct store *store = ask->talk.store;

	if (ask->is_over)
		return;
	ask->is_over = true;
	DL_DELETE(store->asks, ask);
	if (error && error != ERROR_CANCELLED)
		store->metrics->redis_failures++;
	if (!error) {
		if (store->part->failures > 0)
			part_succeeded(store->part, deadlines_now_ms(store->deadlines));
		if (!ask->is_walk)
			histogram_add(&store->metrics->latency_redis, clock_us() - ask->started_us);
	}
	ask->ended(ask, error);
}

void ask_settle(struct ask *ask)
{
	if (ask->is_over && ask->talk.awaited == 0 && !ask->is_held)
		ask_free(ask);
}

void ask_cancel(struct ask *ask)
{
	ask_end(ask, ERROR_CANCELLED);
	ask_settle(ask);
}

bool ask_goes_on(struct ask *ask)
{
	if (!ask->is_over && ask->talk.lost)
		ask_end(ask, ERROR_UNAVAILABLE);
	if (!ask->is_over)
		return true;
	ask_free(ask);
	return false;
}

void asks_send(struct store *store)
{
	struct ask *ask, *next;

	DL_FOREACH_SAFE (store->asks, ask, next) {
		if (ask->is_sent)
			continue;
		ask->is_sent = true;
		store->metrics->redis_reads++;
		ask->send(ask);
	}
}

/* Nobody waits for a part that is DOWN. Those that were sent have had, or will have, their NULL replies. */
void asks_unavailable(struct store *store)
{
	struct ask *ask = store->asks;

	while (ask) {
		if (ask->is_sent) {
			ask = ask->next;
			continue;
		}
		ask_end(ask, ERROR_UNAVAILABLE);
		ask_settle(ask);
		ask = store->asks; /* the owner may have started or cancelled others */
	}
}

void asks_expire(struct store *store, uint64_t now_ms)
{
	bool down = false;

	while (store->asks && store->asks->due_ms <= now_ms) {
		struct ask *ask = store->asks;
		down = part_failed(store->part, "no reply in time", now_ms);
		ask_end(ask, ERROR_TIMEOUT);
		ask_settle(ask);
	}
	if (!down)
		return;
	writes_wake(store);
	redis_reset(store->reads, "no reply in time");
}

void asks_drop(struct store *store)
{
	while (store->asks)
		ask_cancel(store->asks);
}

int store_read_error(struct store *store, const struct redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ERROR)
		return 0;
	if (reply_is_error(reply, "WRONGTYPE")) {
		store->metrics->redis_wrong_type++;
		return 0;
	}
	store_complain(store, "read", reply->str);
	if (part_failed(store->part, reply->str, deadlines_now_ms(store->deadlines)))
		redis_reset(store->reads, "Redis refuses reads");
	return ERROR_UNAVAILABLE;
}

/* ---- an entry ---- */

int found_fields(struct store *store, struct found *found, const struct redisReply *reply, struct slice namespace,
		 const struct identity *identity, bool with_vector)
{
	struct slice values[FIELD_COUNT] = {{NULL, 0}};
	struct entry entry;

	if (reply->type != REDIS_REPLY_ARRAY)
		return store_read_error(store, reply);
	for (size_t i = 0; i < (with_vector ? FIELD_COUNT : FIELD_VECTOR); i++)
		values[i] = reply_text(reply_at(reply, i));
	int error = fields_read_entry(values, namespace, identity, store->max_bytes, &entry);
	if (error == ERROR_TOO_LARGE)
		store->metrics->redis_too_large++;
	if (error == ERROR_PROTOCOL)
		store->metrics->redis_wrong_type++;
	if (error)
		return 0;
	if (store->dimensions && entry.dimensions != store->dimensions)
		entry.vector = NULL;
	if (!entry.vector)
		entry.dimensions = 0;
	if (store->second_dimensions && entry.second_dimensions != store->second_dimensions)
		entry.second = NULL;
	if (!entry.second)
		entry.second_dimensions = 0;
	entry_destroy(found->entry);
	found->entry = entry_copy(&entry);
	return 0;
}

void found_times(struct store *store, struct found *found)
{
	struct entry *entry = found->entry;
	uint64_t now_ms = deadlines_now_ms(store->deadlines);

	if (!entry)
		return;
	/* A key of ours without an expiry was not written by us alone. */
	if (found->pttl <= 0) {
		entry_destroy(entry);
		found->entry = NULL;
		return;
	}
	uint64_t left_ms = (uint64_t)found->pttl;
	uint64_t age_ms = entry->expire_ms > left_ms ? entry->expire_ms - left_ms : 0;
	entry->expires_at_ms = now_ms + left_ms;
	entry->created_at_ms = now_ms > age_ms ? now_ms - age_ms : 0;
	entry->fresh_until_at_ms = now_ms + (entry->soft_ms > age_ms ? entry->soft_ms - age_ms : 0);
	if (entry->fresh_until_at_ms > entry->expires_at_ms)
		entry->fresh_until_at_ms = entry->expires_at_ms;
}

/* ---- look-ups ---- */

enum step { STEP_ENTRY, STEP_PTTL, STEP_ALIAS, STEP_ALIAS_PTTL, STEP_MADE, STEP_GENERATION, STEP_VECTOR };

struct find {
	struct ask ask;
	struct store_read *read; /* NULL = cancelled */
	char name[STORE_NAMESPACE];
	struct slice namespace;
	struct identity identity; /* asked for; of a vector, the digest */
	struct identity target;   /* whose entry is being read */
	bool with_vector, with_alias, is_made;
	enum step steps[5];
	uint64_t turn;
	struct found found;
	struct alias alias;
	bool has_alias;
	long long alias_pttl;
	uint64_t generation, made;
	float *vector;
	unsigned dimensions;
};

static void find_ended(struct ask *ask, int error)
{
	struct find *find = (struct find *)ask;
	struct store_read *read = find->read;

	find->read = NULL;
	if (!read || error == ERROR_CANCELLED) {
		if (read)
			read->private = NULL;
		entry_destroy(find->found.entry);
		free(find->vector);
		return;
	}
	read->private = NULL;
	read->entry = NULL;
	read->has_alias = false;
	read->vector = NULL;
	read->dimensions = 0;
	if (error) {
		entry_destroy(find->found.entry);
		free(find->vector);
	} else {
		read->entry = find->found.entry;
		read->has_alias = find->has_alias && find->found.entry;
		read->alias = find->alias;
		read->generation = find->generation;
		read->vector = find->vector;
		read->dimensions = find->dimensions;
	}
	find->found.entry = NULL;
	find->vector = NULL;
	read->done(read, error);
}

static void read_alias(struct find *find, const struct redisReply *reply, int *error)
{
	struct store *store = find->ask.talk.store;
	struct slice values[ALIAS_FIELD_COUNT];

	if (reply->type != REDIS_REPLY_ARRAY) {
		*error = store_read_error(store, reply);
		return;
	}
	for (size_t i = 0; i < ALIAS_FIELD_COUNT; i++)
		values[i] = reply_text(reply_at(reply, i));
	int unreadable = fields_read_alias(values, find->namespace, &find->identity, &find->alias);
	if (unreadable == ERROR_PROTOCOL)
		store->metrics->redis_wrong_type++;
	find->has_alias = unreadable == 0;
}

static void read_vector(struct find *find, const struct redisReply *reply, int *error)
{
	struct store *store = find->ask.talk.store;
	struct slice text = reply_text(reply);

	if (!text.data) {
		*error = store_read_error(store, reply);
		return;
	}
	size_t count = text.length / sizeof(float);
	if (count == 0 || text.length % sizeof(float) != 0 || count > UINT16_MAX ||
	    (store->dimensions && count != store->dimensions))
		return;
	find->vector = malloc(text.length);
	if (!find->vector)
		return;
	memcpy(find->vector, text.data, text.length);
	find->dimensions = (unsigned)count;
}

static void read_generation(struct find *find, const struct redisReply *reply, int *error)
{
	*error = store_read_error(find->ask.talk.store, reply);
	find->generation = fields_read_generation(reply_text(reply));
	if (reply->type != REDIS_REPLY_NIL && !find->generation && !*error)
		find->is_made = true; /* not ours: making another would change nothing */
}

static void find_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct find *find = (struct find *)talk;
	struct store *store = talk->store;
	int error = 0;

	if (find->ask.is_over || n >= sizeof(find->steps) / sizeof(find->steps[0]))
		return;
	switch (find->steps[n]) {
	case STEP_ENTRY:
		error = found_fields(store, &find->found, reply, find->namespace, &find->target, find->with_vector);
		break;
	case STEP_PTTL:
		find->found.pttl = reply_integer(reply, -2);
		found_times(store, &find->found);
		break;
	case STEP_ALIAS:
		read_alias(find, reply, &error);
		break;
	case STEP_ALIAS_PTTL:
		find->alias_pttl = reply_integer(reply, -2);
		break;
	case STEP_MADE:
		/* Refused where Redis takes no writes: then it stays unknown. */
		if (reply->type == REDIS_REPLY_STATUS)
			space_made(store, find->namespace, find->made);
		break;
	case STEP_GENERATION:
		read_generation(find, reply, &error);
		break;
	case STEP_VECTOR:
		read_vector(find, reply, &error);
		break;
	}
	if (error)
		ask_end(&find->ask, error);
}

static void send_entry(struct find *find, const char hex[IDENTITY_HEX], unsigned *n)
{
	struct store *store = find->ask.talk.store;

	form_send(store, find->with_vector ? FORM_ENTRY_VECTOR : FORM_ENTRY, hex, &find->ask.talk);
	find->steps[(*n)++] = STEP_ENTRY;
	form_send(store, FORM_ENTRY_PTTL, hex, &find->ask.talk);
	find->steps[(*n)++] = STEP_PTTL;
}

static void send_alias(struct find *find, const char hex[IDENTITY_HEX], unsigned *n)
{
	struct store *store = find->ask.talk.store;

	form_send(store, FORM_ALIAS, hex, &find->ask.talk);
	find->steps[(*n)++] = STEP_ALIAS;
	form_send(store, FORM_ALIAS_PTTL, hex, &find->ask.talk);
	find->steps[(*n)++] = STEP_ALIAS_PTTL;
}

/* Last in its pipeline: what was read before it and carries this generation was alive when it was read. */
static void send_generation(struct find *find, unsigned n)
{
	struct store *store = find->ask.talk.store;
	struct command command;

	command_start(&command, "GET");
	command_key(&command, store, "generation:", find->namespace);
	command_send(&command, store->reads, &find->ask.talk);
	find->steps[n] = STEP_GENERATION;
}

static void find_send(struct ask *ask)
{
	struct find *find = (struct find *)ask;
	char hex[IDENTITY_HEX];
	unsigned n = 0;

	find->turn = ++ask->talk.store->turn;
	identity_hex(&find->identity, hex);
	send_entry(find, hex, &n);
	if (find->with_alias)
		send_alias(find, hex, &n);
	send_generation(find, n);
}

/* No generation: there is a new one from now on, and whatever was found is older and so dead. */
static void make_generation(struct find *find)
{
	struct store *store = find->ask.talk.store;
	struct command command;

	find->is_made = true;
	find->has_alias = false;
	entry_destroy(find->found.entry);
	find->found.entry = NULL;
	command_start(&command, "SET");
	command_key(&command, store, "generation:", find->namespace);
	find->made = store_random();
	command_generation(&command, find->made);
	command_word(&command, "NX");
	command_send(&command, store->reads, &find->ask.talk);
	find->steps[0] = STEP_MADE;
	send_generation(find, 1);
	ask_extend(&find->ask);
}

/* The entry is not there, but perhaps another wording's. */
static bool follow_alias(struct find *find)
{
	struct store *store = find->ask.talk.store;
	char hex[IDENTITY_HEX];
	unsigned n = 0;

	if (!find->has_alias || find->alias_pttl <= 0 || find->alias.generation != find->generation ||
	    store_removed_since(store, &find->identity, find->turn)) {
		find->has_alias = false;
		return false;
	}
	find->alias.expire_ms = (uint64_t)find->alias_pttl;
	find->with_alias = false;
	find->target = find->alias.entry;
	identity_hex(&find->target, hex);
	send_entry(find, hex, &n);
	send_generation(find, n);
	ask_extend(&find->ask);
	return true;
}

static bool is_alive(const struct find *find)
{
	const struct entry *entry = find->found.entry;

	return entry && find->generation && entry->generation == find->generation &&
	       !store_removed_since(find->ask.talk.store, &entry->identity, find->turn) &&
	       !removal_is_promised(find->ask.talk.store, entry) &&
	       (!find->has_alias || entry->created_ms == find->alias.entry_created_ms);
}

static void find_round(struct talk *talk)
{
	struct find *find = (struct find *)talk;

	if (!ask_goes_on(&find->ask))
		return;
	if (!find->generation && !find->is_made) {
		make_generation(find);
		return;
	}
	find->generation = space_heard(talk->store, find->namespace, find->generation, find->turn);
	if (find->with_alias) {
		bool own = find->found.entry && find->found.entry->generation == find->generation;
		if (!own) {
			entry_destroy(find->found.entry);
			find->found.entry = NULL;
		} else {
			find->has_alias = false;
		}
		if (!own && follow_alias(find))
			return;
	}
	if (!is_alive(find)) {
		entry_destroy(find->found.entry);
		find->found.entry = NULL;
	}
	ask_end(&find->ask, 0);
	ask_settle(&find->ask);
}

static void vector_send(struct ask *ask)
{
	struct find *find = (struct find *)ask;
	struct store *store = ask->talk.store;
	struct command command;
	char hex[IDENTITY_HEX];

	identity_hex(&find->identity, hex);
	command_start(&command, "GET");
	command_print(&command, "%svector:%s:%s", store->prefix, store->embedder8, hex);
	command_send(&command, store->reads, &ask->talk);
	find->steps[0] = STEP_VECTOR;
}

static void vector_round(struct talk *talk)
{
	struct ask *ask = (struct ask *)talk;

	if (!ask_goes_on(ask))
		return;
	ask_end(ask, 0);
	ask_settle(ask);
}

static int find_start(struct store *store, struct find *find, struct store_read *read)
{
	find->read = read;
	find->ask.talk.reply = find_reply;
	find->ask.ended = find_ended;
	int error = ask_start(store, &find->ask);
	if (error) {
		free(find);
		return error;
	}
	read->private = find;
	return 0;
}

static struct find *find_create(struct slice namespace, const struct identity *identity)
{
	struct find *find = calloc(1, sizeof(*find));

	if (!find || namespace.length >= sizeof(find->name)) {
		free(find);
		return NULL;
	}
	if (namespace.length)
		memcpy(find->name, namespace.data, namespace.length);
	find->namespace = (struct slice){find->name, namespace.length};
	find->identity = find->target = *identity;
	find->ask.send = find_send;
	find->ask.talk.round = find_round;
	return find;
}

int store_find(struct store *store, struct store_read *read, struct slice namespace, const struct identity *identity)
{
	struct find *find = find_create(namespace, identity);

	if (!find)
		return ERROR_MEMORY;
	find->with_alias = true;
	return find_start(store, find, read);
}

int store_fetch(struct store *store, struct store_read *read, struct slice namespace, const struct identity *identity,
		bool with_vector)
{
	struct find *find = find_create(namespace, identity);

	if (!find)
		return ERROR_MEMORY;
	find->with_vector = with_vector && store->embedder8[0];
	return find_start(store, find, read);
}

int store_find_vector(struct store *store, struct store_read *read, const struct identity *digest)
{
	struct find *find = find_create(SLICE(""), digest);

	if (!find)
		return ERROR_MEMORY;
	find->ask.send = vector_send;
	find->ask.talk.round = vector_round;
	return find_start(store, find, read);
}

void store_read_cancel(struct store_read *read)
{
	struct find *find = read->private;

	if (find)
		ask_cancel(&find->ask);
}
