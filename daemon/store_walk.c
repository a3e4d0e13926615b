/* A walk reads the directory by score, a batch at a time, then the entries of the batch in one pipeline, and hands them out.
 *
 *   ZRANGEBYSCORE from the position ─> HMGET, PTTL of each entry; GET generation ─> handed out ─┐
 *        ^                                                                                     │
 *        └──────────────────────────── next batch ──────────────────────────────────────────────┘
 *
 * The position is the last member's score and name, so members that come or go meanwhile move nothing. Batches shrink while
 * entries are large, so that neither Redis nor a look-up behind it on the same connection waits for long.
 * What can go wrong: as for any ask; the position reached so far is then in `next`. */
#include "store_private.h"

#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MOST 64
#define BATCH_BYTES (256u << 10)
#define MEMBERS 128 /* of the directory read at once */

struct member {
	char score[24];
	char name[104];
};

struct walk {
	struct ask ask;
	struct store_walk *walk; /* NULL = cancelled */
	char name[STORE_NAMESPACE];
	struct slice namespace;
	size_t limit, delivered;
	bool with_vector;
	struct member at;   /* the last one read; "" = none */
	struct member done; /* the last one handed out or passed over */
	unsigned offset;    /* members of the same score before it, to be skipped */
	uint64_t turn;
	unsigned batch;       /* entries to read at once */
	unsigned count, next; /* of members; the first not read yet */
	bool is_last;         /* the directory ends with these members */
	struct member members[MEMBERS];
	unsigned reading; /* entries in this pipeline */
	struct identity identities[BATCH_MOST];
	struct found found[BATCH_MOST];
	bool is_listing;
	uint64_t generation;
	size_t bytes;
};

static void walk_list(struct walk *walk);

static void drop_found(struct walk *walk)
{
	for (unsigned i = 0; i < walk->reading; i++) {
		entry_destroy(walk->found[i].entry);
		walk->found[i].entry = NULL;
	}
	walk->reading = 0;
}

static void walk_ended(struct ask *ask, int error)
{
	struct walk *walk = (struct walk *)ask;
	struct store_walk *user = walk->walk;

	drop_found(walk);
	walk->walk = NULL;
	if (!user)
		return;
	user->private = NULL;
	if (error == ERROR_CANCELLED)
		return;
	bool at_end = !error && walk->is_last && walk->next == walk->count;
	if (at_end)
		user->next[0] = '\0';
	else
		(void)snprintf(user->next, sizeof(user->next), "%s%s%s", walk->done.score, walk->done.score[0] ? " " : "",
			       walk->done.name);
	user->done(user, error);
}

static void walk_send(struct ask *ask)
{
	walk_list((struct walk *)ask);
}

static void walk_list(struct walk *walk)
{
	struct store *store = walk->ask.talk.store;
	struct command command;

	walk->is_listing = true;
	walk->count = walk->next = 0;
	command_start(&command, "ZRANGEBYSCORE");
	command_key(&command, store, "directory:", walk->namespace);
	command_word(&command, walk->at.score[0] ? walk->at.score : "-inf");
	command_word(&command, "+inf");
	command_word(&command, "WITHSCORES");
	command_word(&command, "LIMIT");
	command_print(&command, "%u", walk->offset);
	command_print(&command, "%u", (unsigned)MEMBERS);
	command_send(&command, store->reads, &walk->ask.talk);
}

/* Whether `member` comes after the position: a set is in order of score, then of name. */
static bool is_after(const struct walk *walk, const struct member *member)
{
	return strcmp(member->score, walk->at.score) != 0 || strcmp(member->name, walk->at.name) > 0;
}

static void take_members(struct walk *walk, const struct redisReply *reply)
{
	size_t pairs = reply->type == REDIS_REPLY_ARRAY ? reply->elements / 2 : 0;
	unsigned passed = 0;

	walk->is_last = pairs < MEMBERS;
	for (size_t i = 0; i < pairs && i < MEMBERS; i++) {
		struct slice name = reply_text(reply_at(reply, 2 * i)), score = reply_text(reply_at(reply, 2 * i + 1));
		struct member *member = &walk->members[walk->count];
		if (!name.data || !score.data || name.length >= sizeof(member->name) ||
		    score.length >= sizeof(member->score))
			continue;
		memcpy(member->name, name.data, name.length + 1);
		memcpy(member->score, score.data, score.length + 1);
		if (is_after(walk, member))
			walk->count++;
		else
			passed++;
	}
	walk->offset = passed == pairs && !walk->is_last ? walk->offset + passed : 0;
}

/* Sends the reads of the next entries among the members. Returns whether there were any. */
static bool read_batch(struct walk *walk)
{
	struct store *store = walk->ask.talk.store;
	struct command command;
	size_t left = walk->limit ? walk->limit - walk->delivered : SIZE_MAX;

	walk->is_listing = false;
	walk->reading = 0;
	walk->bytes = 0;
	walk->turn = ++store->turn;
	while (walk->next < walk->count && walk->reading < walk->batch && walk->reading < left) {
		const struct member *member = &walk->members[walk->next++];
		struct identity *identity = &walk->identities[walk->reading];
		walk->at = *member;
		if (strncmp(member->name, "entry:", 6) != 0 || identity_parse(slice_of(member->name + 6), identity) != 0)
			continue;
		walk->found[walk->reading++] = (struct found){.entry = NULL};
		command_start(&command, "HMGET");
		command_identity(&command, store, "entry:", identity);
		fields_ask_entry(&command, store, walk->with_vector);
		command_send(&command, store->reads, &walk->ask.talk);
		command_start(&command, "PTTL");
		command_identity(&command, store, "entry:", identity);
		command_send(&command, store->reads, &walk->ask.talk);
	}
	if (walk->reading == 0)
		return false;
	command_start(&command, "GET");
	command_key(&command, store, "generation:", walk->namespace);
	command_send(&command, store->reads, &walk->ask.talk);
	return true;
}

static void walk_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct walk *walk = (struct walk *)talk;
	struct store *store = talk->store;
	int error = 0;

	if (walk->ask.is_over)
		return;
	if (walk->is_listing) {
		error = store_read_error(store, reply);
		take_members(walk, reply);
	} else if (n == 2 * walk->reading) {
		error = store_read_error(store, reply);
		walk->generation = fields_read_generation(reply_text(reply));
	} else if (n % 2 == 0) {
		struct found *found = &walk->found[n / 2];
		error = found_fields(store, found, reply, walk->namespace, &walk->identities[n / 2], walk->with_vector);
		if (found->entry)
			walk->bytes += entry_size(found->entry);
	} else {
		walk->found[n / 2].pttl = reply_integer(reply, -2);
		found_times(store, &walk->found[n / 2]);
	}
	if (error)
		ask_end(&walk->ask, error);
}

/* Hands the batch out. The receiver may cancel the walk within. */
static void deliver(struct walk *walk)
{
	struct store *store = walk->ask.talk.store;
	uint64_t generation = space_heard(store, walk->namespace, walk->generation, walk->turn);
	unsigned count = walk->reading;

	for (unsigned i = 0; i < count && !walk->ask.is_over; i++) {
		struct entry *entry = walk->found[i].entry;
		walk->found[i].entry = NULL;
		if (entry && generation && entry->generation == generation &&
		    !store_removed_since(store, &entry->identity, walk->turn)) {
			walk->delivered++;
			walk->walk->entry(walk->walk, entry);
		} else {
			entry_destroy(entry);
		}
	}
	walk->reading = 0;
	walk->done = walk->at;
	if (walk->bytes > BATCH_BYTES)
		walk->batch = walk->batch > 1 ? walk->batch / 2 : 1;
	else if (walk->batch < BATCH_MOST)
		walk->batch *= 2;
}

/* Starts the next round. Returns whether there is one. */
static bool go_on(struct walk *walk)
{
	if (walk->limit && walk->delivered >= walk->limit)
		return false;
	if (walk->next < walk->count && read_batch(walk))
		return true;
	walk->done = walk->at;
	if (walk->is_last)
		return false;
	walk_list(walk);
	return true;
}

static void walk_round(struct talk *talk)
{
	struct walk *walk = (struct walk *)talk;

	if (!ask_goes_on(&walk->ask))
		return;
	walk->ask.is_held = true;
	if (!walk->is_listing)
		deliver(walk);
	walk->ask.is_held = false;
	if (!walk->ask.is_over && go_on(walk))
		ask_extend(&walk->ask);
	else
		ask_end(&walk->ask, 0);
	ask_settle(&walk->ask);
}

/* "SCORE MEMBER", as `next` has it. */
static int read_position(struct walk *walk, const char *after)
{
	const char *space = strchr(after, ' ');

	if (!*after)
		return 0;
	size_t score = space ? (size_t)(space - after) : 0;
	if (score == 0 || score >= sizeof(walk->at.score) || strspn(after, "0123456789") != score ||
	    strlen(space + 1) >= sizeof(walk->at.name))
		return ERROR_INVALID;
	memcpy(walk->at.score, after, score);
	memcpy(walk->at.name, space + 1, strlen(space + 1));
	walk->done = walk->at;
	return 0;
}

int store_walk(struct store *store, struct store_walk *user, struct slice namespace, const char *after, size_t limit,
	       bool with_vector)
{
	struct walk *walk = namespace.length > 0 && namespace.length < STORE_NAMESPACE ? calloc(1, sizeof(*walk)) : NULL;

	if (!walk)
		return ERROR_MEMORY;
	memcpy(walk->name, namespace.data, namespace.length);
	walk->namespace = (struct slice){walk->name, namespace.length};
	walk->walk = user;
	walk->limit = limit;
	walk->batch = 16;
	walk->with_vector = with_vector && store->embedder8[0];
	walk->ask.send = walk_send;
	walk->ask.ended = walk_ended;
	walk->ask.is_walk = true;
	walk->ask.talk.reply = walk_reply;
	walk->ask.talk.round = walk_round;
	int error = read_position(walk, after);
	if (!error)
		error = ask_start(store, &walk->ask);
	if (error) {
		free(walk);
		return error;
	}
	user->private = walk;
	return 0;
}

void store_walk_cancel(struct store_walk *user)
{
	struct walk *walk = user->private;

	if (walk)
		ask_cancel(&walk->ask);
}
