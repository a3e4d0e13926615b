/* One transaction for each entry or alias: the hash, its place in the sorted sets that find it again, and the record in
 * the log appear together or not at all. It may be done twice, so it starts by deleting what is there. */
#include "store_private.h"

#include "clock.h"
#include "metrics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_EVERY 64 /* puts */

struct put {
	struct job job;
	struct entry *entry; /* … or … */
	struct alias alias;  /* … or … */
	float *vector;
	unsigned dimensions;
	bool is_alias;
	struct identity digest; /* of the namespace and its own text */
};

static struct slice space_of(const struct job *job)
{
	return slice_of(job->namespace);
}

static void put_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	(void)n;
	job_note((struct job *)talk, reply);
}

static void put_command(struct job *job, struct command *command)
{
	command_send(command, job->talk.store->writes, &job->talk);
}

static void send_word(struct job *job, struct command *command, const char *word)
{
	command_start(command, word);
	put_command(job, command);
}

/* ---- sorted sets ---- */

/* A Redis that cannot compare gets the longest time that was ever asked for here, lest a short one cut an earlier long
 * one. */
void job_grow(struct job *job, const char *kind, struct slice namespace, struct slice rest, uint64_t ttl_ms)
{
	static const char *const when[] = {"NX", "GT"};
	struct store *store = job->talk.store;
	struct space *space = space_get(store, namespace);
	struct command command;

	if (space && space->longest_ms < ttl_ms)
		space->longest_ms = ttl_ms;
	uint64_t longest_ms = space && space->longest_ms > store->longest_ms ? space->longest_ms : store->longest_ms;
	if (!store->compares && ttl_ms < longest_ms)
		ttl_ms = longest_ms;
	for (size_t i = 0; i < (store->compares ? 2 : 1); i++) {
		command_start(&command, "PEXPIRE");
		if (rest.data)
			command_space_key(&command, store, kind, namespace, rest);
		else
			command_key(&command, store, kind, namespace);
		command_print(&command, "%" PRIu64, ttl_ms);
		if (store->compares)
			command_word(&command, when[i]);
		put_command(job, &command);
	}
}

/* Adds the member to the set, which lives at least as long as it. `rest` absent: the key has no part behind the
 * namespace. */
static void put_member(struct job *job, const char *kind, struct slice namespace, struct slice rest, const char *member,
		       uint64_t ttl_ms)
{
	struct store *store = job->talk.store;
	struct command command;

	command_start(&command, "ZADD");
	if (rest.data)
		command_space_key(&command, store, kind, namespace, rest);
	else
		command_key(&command, store, kind, namespace);
	command_print(&command, "%" PRIu64, clock_wall_ms() + ttl_ms);
	command_word(&command, member);
	put_command(job, &command);
	job_grow(job, kind, namespace, rest, ttl_ms);
}

/* The directory, the question's set, and the namespace itself. */
static void put_places(struct put *put, const char *member, uint64_t ttl_ms)
{
	struct command command;
	char hex[IDENTITY_HEX];

	identity_hex(&put->digest, hex);
	put_member(&put->job, "directory:", space_of(&put->job), (struct slice){NULL, 0}, member, ttl_ms);
	put_member(&put->job, "question:", space_of(&put->job), slice_of(hex), member, ttl_ms);
	command_start(&command, "SADD");
	command_key(&command, put->job.talk.store, "namespaces", SLICE(""));
	command_word(&command, put->job.namespace);
	put_command(&put->job, &command);
}

static void put_record(struct job *job, const char *op, const struct identity *identity)
{
	struct store *store = job->talk.store;
	struct command command;

	command_record(&command, store, op, identity, space_of(job), job->generation);
	put_command(job, &command);
}

/* ---- what is put ---- */

static void start_hash(struct put *put, struct command *command, const char *kind, const struct identity *identity)
{
	struct store *store = put->job.talk.store;

	send_word(&put->job, command, "MULTI");
	command_start(command, "DEL");
	command_identity(command, store, kind, identity);
	put_command(&put->job, command);
	command_start(command, "HSET");
	command_identity(command, store, kind, identity);
}

static void end_hash(struct put *put, struct command *command, const char *kind, const struct identity *identity,
		     uint64_t ttl_ms)
{
	put_command(&put->job, command);
	command_start(command, "PEXPIRE");
	command_identity(command, put->job.talk.store, kind, identity);
	command_print(command, "%" PRIu64, ttl_ms);
	put_command(&put->job, command);
}

static uint64_t left_ms(const struct job *job)
{
	return job->expires_at_ms - deadlines_now_ms(job->talk.store->deadlines);
}

static void put_tags(struct put *put, const char *member, uint64_t ttl_ms)
{
	struct slice tag, rest = put->entry->tags;

	while (tags_next(&rest, &tag))
		put_member(&put->job, "tag:", space_of(&put->job), tag, member, ttl_ms);
}

static void entry_send(struct job *job)
{
	struct put *put = (struct put *)job;
	uint64_t ttl_ms = left_ms(job);
	struct command command;
	char member[80] = "entry:";

	identity_hex(&put->entry->identity, member + strlen(member));
	start_hash(put, &command, "entry:", &put->entry->identity);
	fields_write_entry(&command, job->talk.store, put->entry, job->generation, &put->digest);
	end_hash(put, &command, "entry:", &put->entry->identity, ttl_ms);
	put_places(put, member, ttl_ms);
	put_tags(put, member, ttl_ms);
	put_record(job, "put", &put->entry->identity);
	send_word(job, &command, "EXEC");
}

/* The identity's own entry, which would be found before the alias. */
static void remove_own(struct put *put)
{
	struct job *job = &put->job;
	struct store *store = job->talk.store;
	struct command command;
	char member[80] = "entry:";

	identity_hex(&put->alias.identity, member + strlen(member));
	command_start(&command, "UNLINK");
	command_identity(&command, store, "entry:", &put->alias.identity);
	put_command(job, &command);
	command_start(&command, "ZREM");
	command_key(&command, store, "directory:", space_of(job));
	command_word(&command, member);
	put_command(job, &command);
}

static void alias_send(struct job *job)
{
	struct put *put = (struct put *)job;
	uint64_t ttl_ms = left_ms(job);
	struct command command;
	char member[80] = "alias:";
	char target[IDENTITY_HEX];

	identity_hex(&put->alias.identity, member + strlen(member));
	identity_hex(&put->alias.entry, target);
	start_hash(put, &command, "alias:", &put->alias.identity);
	fields_write_alias(&command, &put->alias, space_of(job), job->generation, &put->digest);
	end_hash(put, &command, "alias:", &put->alias.identity, ttl_ms);
	if (put->alias.takes_place)
		remove_own(put);
	put_places(put, member, ttl_ms);
	put_member(job, "aliases:", slice_of(target), (struct slice){NULL, 0}, member, ttl_ms);
	put_record(job, "alias", &put->alias.identity);
	send_word(job, &command, "EXEC");
}

static void vector_send(struct job *job)
{
	struct put *put = (struct put *)job;
	struct store *store = job->talk.store;
	uint64_t ttl_ms = left_ms(job);
	struct command command;
	char member[104] = "vector:";
	size_t length = strlen(member) + strlen(store->embedder8);

	memcpy(member + strlen(member), store->embedder8, strlen(store->embedder8));
	member[length++] = ':';
	identity_hex(&put->digest, member + length);
	send_word(job, &command, "MULTI");
	command_start(&command, "SET");
	command_key(&command, store, "", slice_of(member));
	command_add(&command, (struct slice){(const char *)put->vector, put->dimensions * sizeof(float)});
	command_word(&command, "PX");
	command_print(&command, "%" PRIu64, ttl_ms);
	put_command(job, &command);
	put_places(put, member, ttl_ms);
	send_word(job, &command, "EXEC");
}

/* Now and then what has expired is swept out of the sets that a put touches. */
static void sweep_around(struct put *put)
{
	struct store *store = put->job.talk.store;
	char hex[IDENTITY_HEX];
	struct slice tag, rest = put->entry ? put->entry->tags : SLICE("");

	if (++store->puts % SWEEP_EVERY != 0)
		return;
	identity_hex(&put->digest, hex);
	sweep_queue(store, "directory:", space_of(&put->job), (struct slice){NULL, 0});
	sweep_queue(store, "question:", space_of(&put->job), slice_of(hex));
	while (tags_next(&rest, &tag))
		sweep_queue(store, "tag:", space_of(&put->job), tag);
}

static void put_round(struct talk *talk)
{
	struct put *put = (struct put *)talk;

	if (!job_round_went_well(&put->job))
		return;
	sweep_around(put);
	job_finish(&put->job, 0);
}

static void put_destroy(struct job *job)
{
	struct put *put = (struct put *)job;

	entry_destroy(put->entry);
	free(put->vector);
	free(put);
}

static struct put *put_create(struct store *store, struct slice namespace, void (*send_it)(struct job *job), size_t bytes)
{
	struct put *put = namespace.length > 0 && namespace.length < STORE_NAMESPACE ? calloc(1, sizeof(*put)) : NULL;

	if (!put)
		return NULL;
	job_init(store, &put->job, namespace, sizeof(*put) + bytes);
	put->job.talk.reply = put_reply;
	put->job.talk.round = put_round;
	put->job.send = send_it;
	put->job.destroy = put_destroy;
	put->job.needs_generation = true;
	return put;
}

int store_put_entry(struct store *store, struct store_write *write, const struct entry *entry)
{
	struct put *put = put_create(store, entry->namespace, entry_send, entry_size(entry));
	struct slice digested[] = {entry->namespace, entry->question};

	if (!put)
		return ERROR_MEMORY;
	put->entry = entry_copy(entry);
	if (!put->entry || identity_digest(store->hasher, digested, 2, &put->digest) != 0) {
		put_destroy(&put->job);
		return ERROR_MEMORY;
	}
	put->job.generation = entry->generation;
	put->job.expires_at_ms = entry->expires_at_ms;
	return job_queue(store, &put->job, write);
}

int store_put_alias(struct store *store, struct store_write *write, struct slice namespace, const struct alias *alias,
		    const struct identity *question)
{
	struct put *put = put_create(store, namespace, alias_send, 0);

	if (!put)
		return ERROR_MEMORY;
	put->alias = *alias;
	put->digest = *question;
	put->job.generation = alias->generation;
	put->job.expires_at_ms = deadlines_now_ms(store->deadlines) + alias->expire_ms;
	return job_queue(store, &put->job, write);
}

void store_put_vector(struct store *store, struct slice namespace, const struct identity *digest, const float *vector,
		      unsigned dimensions, uint64_t ttl_ms)
{
	size_t bytes = dimensions * sizeof(float);

	if (ttl_ms == 0 || dimensions == 0 || !store->embedder8[0])
		return;
	struct put *put = redis_context(store->writes) && !store->stalled ? put_create(store, namespace, vector_send, bytes)
									  : NULL;
	if (put)
		put->vector = malloc(bytes);
	if (!put || !put->vector) {
		if (put)
			put_destroy(&put->job);
		store->metrics->vectors_dropped++;
		return;
	}
	memcpy(put->vector, vector, bytes);
	put->dimensions = dimensions;
	put->digest = *digest;
	put->job.needs_generation = false;
	put->job.while_up = put->job.is_vector = true;
	put->job.expires_at_ms = deadlines_now_ms(store->deadlines) + ttl_ms;
	(void)job_queue(store, &put->job, NULL);
}
