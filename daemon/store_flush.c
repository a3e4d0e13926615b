/* A flush is in force at once: the new generation leaves everything older dead. What is dead is then removed behind.
 *
 *   NAMES (of all namespaces) ─> SET: new generation, directory moved aside, log; one transaction for each namespace
 *                                 │ from here on the queue goes on
 *   done <─(set aside is empty)─ PURGE: members ─> WATCH, read generations ─> removed in one transaction ─┐
 *                                  ^──────────────────────────────────────────────────────────────────────┘
 *
 * Between two batches of the purge the queue has its turn. WATCH makes the purge exact: what is put anew under the same
 * name meanwhile is left alone, and if it stood in the directory that was set aside it gets its place back. What can go
 * wrong: the connection breaks (the step is done again), Redis is away (the generation made here counts here, and wins
 * when Redis is back), somebody puts what is being removed (the batch is read again). */
#include "store_private.h"

#include "clock.h"
#include "metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MOST 65536
#define BATCH 50        /* members removed at once: a transaction of up to some hundred short commands */
#define COUNT_BATCH 200 /* members counted at once */
#define TAGS_BYTES 1104 /* of one entry */

enum phase { PHASE_NAMES, PHASE_SET, PHASE_LIST, PHASE_READ, PHASE_REMOVE, PHASE_COUNT_LIST, PHASE_COUNT };

struct flushed {
	char name[STORE_NAMESPACE];
	uint64_t generation;
	bool is_in_force; /* in Redis */
	UT_hash_handle hh;
};

struct member {
	char name[104];
	char score[24];
	bool is_alive;
	char digest[IDENTITY_HEX];
	char entry[IDENTITY_HEX];
	char tags[TAGS_BYTES];
};

struct batch {
	unsigned count;
	uint64_t generation; /* in Redis */
	struct member members[COUNT_BATCH];
	bool is_counted[3];
};

struct flush {
	struct job job;
	enum phase phase;
	bool is_all;
	struct flushed *names; /* a hash, in the order they were added */
	struct flushed *at;
	unsigned offset;
	struct batch *batch;
};

static const char *const prefixes[] = {"entry:", "alias:", "vector:"};

static void put(struct flush *flush, struct command *command)
{
	command_send(command, flush->job.talk.store->writes, &flush->job.talk);
}

static struct slice current_name(const struct flush *flush)
{
	return slice_of(flush->at->name);
}

/* ---- which namespaces ---- */

/* Makes a generation for `namespace` that counts here from now on. Returns 0 or an error. */
static int add_name(struct flush *flush, struct slice namespace)
{
	struct store *store = flush->job.talk.store;
	struct flushed *flushed;

	if (namespace.length == 0 || namespace.length >= STORE_NAMESPACE || HASH_COUNT(flush->names) == NAMES_MOST)
		return ERROR_TOO_LARGE;
	HASH_FIND(hh, flush->names, namespace.data, namespace.length, flushed);
	if (flushed)
		return 0;
	struct space *space = flush->job.is_dry_run ? NULL : space_get(store, namespace);
	flushed = space || flush->job.is_dry_run ? calloc(1, sizeof(*flushed)) : NULL;
	if (!flushed)
		return ERROR_MEMORY;
	unsigned before = HASH_COUNT(flush->names);
	memcpy(flushed->name, namespace.data, namespace.length);
	flushed->generation = store_random();
	HASH_ADD_KEYPTR(hh, flush->names, flushed->name, namespace.length, flushed);
	if (HASH_COUNT(flush->names) == before) {
		free(flushed);
		return ERROR_MEMORY;
	}
	if (!space)
		return 0;
	space->flushes++;
	space->generation = flushed->generation;
	space->inherited = 0;
	space->changed = ++store->turn;
	return 0;
}

/* Goes on to the next name. Returns whether there is one; else the first is next. */
static bool next_name(struct flush *flush)
{
	flush->at = flush->at->hh.next;
	if (flush->at)
		return true;
	flush->at = flush->names;
	return false;
}

static void names_send(struct flush *flush)
{
	struct command command;

	command_start(&command, "SMEMBERS");
	command_key(&command, flush->job.talk.store, "namespaces", SLICE(""));
	put(flush, &command);
}

static void names_take(struct flush *flush, const struct redisReply *reply)
{
	for (size_t i = 0; reply_at(reply, i); i++)
		(void)add_name(flush, reply_text(reply_at(reply, i)));
}

/* ---- a new generation ---- */

/* Where the directory waits for its purge: the name is the same if this is done twice. */
static void add_aside(struct flush *flush, struct command *command)
{
	static const char digits[] = "0123456789abcdef";
	char hex[17] = "";

	for (int i = 0; i < 16; i++)
		hex[i] = digits[flush->at->generation >> (60 - 4 * i) & 15];
	command_space_key(command, flush->job.talk.store, "purge:", current_name(flush), slice_of(hex));
}

static void set_send(struct flush *flush)
{
	struct store *store = flush->job.talk.store;
	struct command command;

	command_start(&command, "MULTI");
	put(flush, &command);
	command_start(&command, "SET");
	command_key(&command, store, "generation:", current_name(flush));
	command_generation(&command, flush->at->generation);
	put(flush, &command);
	command_start(&command, "SREM");
	command_key(&command, store, "namespaces", SLICE(""));
	command_word(&command, flush->at->name);
	put(flush, &command);
	command_start(&command, "RENAMENX");
	command_key(&command, store, "directory:", current_name(flush));
	add_aside(flush, &command);
	put(flush, &command);
	command_forget_said(&command, store, current_name(flush));
	put(flush, &command);
	command_record(&command, store, "flush", NULL, current_name(flush), flush->at->generation);
	put(flush, &command);
	command_start(&command, "EXEC");
	put(flush, &command);
}

/* No directory is no error. Anything else that went wrong within the transaction is. */
static void set_take(struct flush *flush, const struct redisReply *reply)
{
	for (size_t i = 0; reply_at(reply, i); i++)
		if (!reply_is_error(reply_at(reply, i), "ERR no such key"))
			job_note(&flush->job, reply_at(reply, i));
	flush->job.namespaces += (uint64_t)reply_integer(reply_at(reply, 1), 0);
}

static void set_done(struct flush *flush)
{
	struct store *store = flush->job.talk.store;
	struct space *space = space_find(store, current_name(flush));

	flush->at->is_in_force = true;
	if (!space)
		return;
	space->flushes--;
	space->verified = store->connection;
	space->changed = ++store->turn;
}

/* ---- the purge ---- */

static void list_send(struct flush *flush)
{
	struct command command;

	flush->batch->count = 0;
	command_start(&command, "ZRANGE");
	add_aside(flush, &command);
	command_word(&command, "0");
	command_print(&command, "%d", BATCH - 1);
	command_word(&command, "WITHSCORES");
	put(flush, &command);
}

static void list_take(struct flush *flush, const struct redisReply *reply)
{
	struct batch *batch = flush->batch;

	for (size_t i = 0; batch->count < COUNT_BATCH && reply_at(reply, 2 * i + 1); i++) {
		struct member *member = &batch->members[batch->count++];
		*member = (struct member){.is_alive = false};
		reply_copy(member->name, sizeof(member->name), reply_at(reply, 2 * i));
		reply_copy(member->score, sizeof(member->score), reply_at(reply, 2 * i + 1));
	}
}

static bool is_kind(const struct member *member, unsigned kind)
{
	return strncmp(member->name, prefixes[kind], strlen(prefixes[kind])) == 0;
}

static bool is_hash(const struct member *member)
{
	return is_kind(member, 0) || is_kind(member, 1);
}

/* From here to the end of the transaction nothing else may be sent: another EXEC would end the WATCH. */
static void read_send(struct flush *flush)
{
	struct store *store = flush->job.talk.store;
	struct batch *batch = flush->batch;
	struct command command;

	store->barrier = &flush->job;
	command_start(&command, "WATCH");
	command_key(&command, store, "generation:", current_name(flush));
	for (unsigned i = 0; i < batch->count; i++)
		if (is_hash(&batch->members[i]))
			command_key(&command, store, "", slice_of(batch->members[i].name));
	put(flush, &command);
	command_start(&command, "GET");
	command_key(&command, store, "generation:", current_name(flush));
	put(flush, &command);
	for (unsigned i = 0; i < batch->count; i++) {
		command_start(&command, "HMGET");
		command_key(&command, store, "", slice_of(batch->members[i].name));
		command_word(&command, "generation");
		command_word(&command, "digest");
		command_word(&command, "tags");
		command_word(&command, "entry");
		if (is_hash(&batch->members[i]))
			put(flush, &command);
	}
}

static struct member *nth_hash(struct batch *batch, unsigned n)
{
	for (unsigned i = 0; i < batch->count; i++)
		if (is_hash(&batch->members[i]) && n-- == 0)
			return &batch->members[i];
	return NULL;
}

static void read_take(struct flush *flush, unsigned n, const struct redisReply *reply)
{
	struct batch *batch = flush->batch;
	struct member *member = n >= 2 ? nth_hash(batch, n - 2) : NULL;

	if (n == 1)
		batch->generation = fields_read_generation(reply_text(reply));
	if (!member)
		return;
	uint64_t generation = fields_read_generation(reply_text(reply_at(reply, 0)));
	member->is_alive = generation && (generation == flush->at->generation || generation == batch->generation);
	reply_copy(member->digest, sizeof(member->digest), reply_at(reply, 1));
	reply_copy(member->tags, sizeof(member->tags), reply_at(reply, 2));
	reply_copy(member->entry, sizeof(member->entry), reply_at(reply, 3));
}

/* What goes: `name` UNLINK, or EXISTS to count. */
static void put_keys(struct flush *flush, const char *name)
{
	struct store *store = flush->job.talk.store;
	struct batch *batch = flush->batch;
	struct command command;

	for (unsigned kind = 0; kind < 3; kind++) {
		command_start(&command, name);
		for (unsigned i = 0; i < batch->count; i++)
			if (is_kind(&batch->members[i], kind) && !batch->members[i].is_alive)
				command_key(&command, store, "", slice_of(batch->members[i].name));
		batch->is_counted[kind] = command.count >= 2;
		if (batch->is_counted[kind])
			put(flush, &command);
	}
}

/* The sets of tags and questions may hold what is alive too, and what expired unseen. */
static void leave_set(struct flush *flush, const char *kind, struct slice rest, const char *member)
{
	struct store *store = flush->job.talk.store;
	struct command command;

	command_start(&command, "ZREM");
	command_space_key(&command, store, kind, current_name(flush), rest);
	command_word(&command, member);
	put(flush, &command);
	command_start(&command, "ZREMRANGEBYSCORE");
	command_space_key(&command, store, kind, current_name(flush), rest);
	command_word(&command, "-inf");
	command_print(&command, "%" PRIu64, clock_wall_ms());
	put(flush, &command);
}

static void leave_sets(struct flush *flush, const struct member *member)
{
	struct store *store = flush->job.talk.store;
	struct slice rest = slice_of(member->tags), tag;
	size_t length = strlen(member->name);
	struct command command;

	if (is_kind(member, 2) && length > IDENTITY_HEX)
		leave_set(flush, "question:", slice_of(member->name + length - (IDENTITY_HEX - 1)), member->name);
	if (member->digest[0])
		leave_set(flush, "question:", slice_of(member->digest), member->name);
	while (tags_next(&rest, &tag))
		leave_set(flush, "tag:", tag, member->name);
	if (is_kind(member, 0)) {
		command_start(&command, "UNLINK");
		command_key(&command, store, "aliases:", slice_of(member->name + strlen("entry:")));
		put(flush, &command);
	}
	if (!member->entry[0])
		return;
	command_start(&command, "ZREM");
	command_key(&command, store, "aliases:", slice_of(member->entry));
	command_word(&command, member->name);
	put(flush, &command);
}

/* It was put anew before the directory was set aside a second time. */
static void give_place_back(struct flush *flush, const struct member *member)
{
	struct store *store = flush->job.talk.store;
	struct command command;
	uint64_t now_ms = clock_wall_ms(), score;

	command_start(&command, "ZADD");
	command_key(&command, store, "directory:", current_name(flush));
	command_word(&command, member->score);
	command_word(&command, member->name);
	put(flush, &command);
	if (fields_read_number(slice_of(member->score), &score) == 0 && score > now_ms)
		job_grow(&flush->job, "directory:", current_name(flush), (struct slice){NULL, 0}, score - now_ms);
	command_start(&command, "SADD");
	command_key(&command, store, "namespaces", SLICE(""));
	command_word(&command, flush->at->name);
	put(flush, &command);
}

static void remove_send(struct flush *flush)
{
	struct batch *batch = flush->batch;
	struct command command;

	command_start(&command, "MULTI");
	put(flush, &command);
	put_keys(flush, "UNLINK");
	for (unsigned i = 0; i < batch->count; i++) {
		if (batch->members[i].is_alive)
			give_place_back(flush, &batch->members[i]);
		else
			leave_sets(flush, &batch->members[i]);
	}
	command_start(&command, "ZREM");
	add_aside(flush, &command);
	for (unsigned i = 0; i < batch->count; i++)
		command_word(&command, batch->members[i].name);
	put(flush, &command);
	command_start(&command, "EXEC");
	put(flush, &command);
}

/* ---- a dry run ---- */

static void count_list_send(struct flush *flush)
{
	struct command command;

	flush->batch->count = 0;
	command_start(&command, "ZRANGE");
	command_key(&command, flush->job.talk.store, "directory:", current_name(flush));
	command_print(&command, "%u", flush->offset);
	command_print(&command, "%u", flush->offset + COUNT_BATCH - 1);
	command_word(&command, "WITHSCORES");
	put(flush, &command);
}

/* ---- the phases ---- */

static void flush_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct flush *flush = (struct flush *)talk;

	if (reply_is_error(reply, "WRONGTYPE")) {
		talk->store->metrics->redis_wrong_type++;
		return;
	}
	if (flush->phase != PHASE_SET || reply->type == REDIS_REPLY_ERROR)
		job_note(&flush->job, reply);
	switch (flush->phase) {
	case PHASE_NAMES:
		names_take(flush, reply);
		break;
	case PHASE_SET:
		set_take(flush, reply);
		break;
	case PHASE_LIST:
	case PHASE_COUNT_LIST:
		list_take(flush, reply);
		break;
	case PHASE_READ:
		read_take(flush, n, reply);
		break;
	case PHASE_REMOVE:
		/* Nil when a watched key changed: then it is all still there, and listed once more. */
		if (reply->type == REDIS_REPLY_ARRAY)
			job_count(&flush->job, flush->batch->is_counted, 0, reply);
		break;
	case PHASE_COUNT:
		job_count(&flush->job, flush->batch->is_counted, n, reply);
		break;
	}
}

static void start_phase(struct flush *flush, enum phase phase)
{
	static void (*const sends[])(struct flush * flush) = {
		[PHASE_NAMES] = names_send, [PHASE_SET] = set_send,       [PHASE_LIST] = list_send,
		[PHASE_READ] = read_send,   [PHASE_REMOVE] = remove_send, [PHASE_COUNT_LIST] = count_list_send,
	};

	flush->phase = phase;
	if (phase == PHASE_COUNT)
		put_keys(flush, "EXISTS");
	else
		sends[phase](flush);
}

/* The phase that follows on the one that ended. Returns false if there is none: everything is done. */
static bool next_phase(struct flush *flush, enum phase *next)
{
	bool is_empty = flush->batch->count == 0;

	*next = flush->phase + 1;
	switch (flush->phase) {
	case PHASE_NAMES:
		flush->at = flush->names;
		*next = flush->job.is_dry_run ? PHASE_COUNT_LIST : PHASE_SET;
		return flush->at != NULL;
	case PHASE_SET:
		set_done(flush);
		*next = next_name(flush) ? PHASE_SET : PHASE_LIST;
		return true;
	case PHASE_LIST:
	case PHASE_COUNT_LIST:
		if (!is_empty)
			return true;
		flush->offset = 0;
		*next = flush->phase;
		return next_name(flush);
	case PHASE_READ:
		return true;
	case PHASE_REMOVE:
		*next = PHASE_LIST;
		return true;
	case PHASE_COUNT:
		flush->offset += COUNT_BATCH;
		*next = PHASE_COUNT_LIST;
		return true;
	}
	return false;
}

static void flush_round(struct talk *talk)
{
	struct flush *flush = (struct flush *)talk;
	struct store *store = talk->store;
	enum phase next;

	if (flush->phase == PHASE_REMOVE && store->barrier == &flush->job)
		store->barrier = NULL;
	if (!job_round_went_well(&flush->job))
		return;
	job_extend(&flush->job);
	if (!next_phase(flush, &next)) {
		job_finish(&flush->job, 0);
		return;
	}
	if (next == PHASE_LIST && !flush->job.is_purge)
		job_becomes_purge(&flush->job);
	flush->phase = next;
	if (next == PHASE_LIST) {
		/* The queue first; then the pump sends this again. */
		flush->job.is_sent = false;
		writes_wake(store);
		return;
	}
	start_phase(flush, next);
	if (flush->job.talk.lost)
		redis_reset(store->writes, "a command could not be sent");
}

/* Where it was, but a batch of the purge is read anew. */
static void flush_send(struct job *job)
{
	struct flush *flush = (struct flush *)job;

	if (!flush->batch)
		flush->batch = calloc(1, sizeof(*flush->batch));
	if (!flush->batch) {
		job->talk.lost = true;
		return;
	}
	if (job->is_purge) {
		start_phase(flush, PHASE_LIST);
		return;
	}
	if (job->is_dry_run) {
		flush->at = flush->names;
		flush->offset = 0;
		job->entries = job->aliases = job->vectors = 0;
	}
	if (flush->is_all && flush->phase == PHASE_NAMES)
		start_phase(flush, PHASE_NAMES);
	else
		start_phase(flush, job->is_dry_run ? PHASE_COUNT_LIST : PHASE_SET);
}

static void flush_destroy(struct job *job)
{
	struct flush *flush = (struct flush *)job;

	struct flushed *flushed, *next;

	HASH_ITER (hh, flush->names, flushed, next) {
		struct space *space = space_find(job->talk.store, slice_of(flushed->name));
		if (!flushed->is_in_force && space && !job->is_dry_run)
			space->flushes--;
		HASH_DEL(flush->names, flushed);
		free(flushed);
	}
	free(flush->batch);
	free(flush);
}

static int first_names(struct flush *flush, struct slice namespace)
{
	struct space *space, *next;

	if (namespace.data)
		return add_name(flush, namespace);
	flush->is_all = true;
	HASH_ITER (hh, flush->job.talk.store->spaces, space, next) {
		int error = add_name(flush, (struct slice){space->name, space->length});
		if (error)
			return error;
	}
	return 0;
}

int store_flush(struct store *store, struct store_write *write, struct slice namespace, bool dry_run)
{
	struct flush *flush = calloc(1, sizeof(*flush));

	if (!flush)
		return ERROR_MEMORY;
	job_init(store, &flush->job, namespace, sizeof(*flush));
	flush->job.is_dry_run = dry_run;
	flush->job.is_removal = true;
	flush->job.is_barrier = !dry_run;
	flush->job.talk.reply = flush_reply;
	flush->job.talk.round = flush_round;
	flush->job.send = flush_send;
	flush->job.destroy = flush_destroy;
	flush->phase = namespace.data ? PHASE_SET : PHASE_NAMES;
	int error = first_names(flush, namespace);
	if (error) {
		flush_destroy(&flush->job);
		return error;
	}
	flush->at = flush->names;
	flush->job.bytes += HASH_COUNT(flush->names) * sizeof(*flush->names);
	return job_queue(store, &flush->job, write);
}
