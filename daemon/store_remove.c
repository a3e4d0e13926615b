/* Removes entries by entry, question or tag, with everything that belongs to them, a batch at a time:
 *
 *   LIST (the question's or tag's set) ─> READ (tags, digest, aliases) ─> ALIASES (their digests) ─> VECTORS (of all digests)
 *     ^                                                                                                   │
 *     └── until nothing is left ── RECORD (the log) <── REMOVE (one transaction; told and marked before it) ┘
 *
 * A dry run counts instead of removing and goes on behind what it has counted.
 * What can go wrong: the connection breaks, or Redis takes no writes (the job starts anew; what was removed already is told and
 * only the records are sent again), the hash has expired (its places in the sets are removed all the same). */
#include "store_private.h"

#include "../proto/limits.h"
#include "metrics.h"
#include "part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGETS 16         /* members of the set in one batch */
#define ALIASES_EACH 8     /* of each of them */
#define ALIASES (TARGETS * ALIASES_EACH)
#define VECTORS 128
#define VECTORS_LISTED 32  /* of one question: those that live longest */
#define TAGS_BYTES 1104    /* of one entry */

enum selected { SELECT_ENTRY, SELECT_QUESTION, SELECT_TAG };
enum phase { PHASE_LIST, PHASE_READ, PHASE_ALIASES, PHASE_VECTORS, PHASE_REMOVE, PHASE_RECORD };

/* An entry, or an alias found by its own text. */
struct target {
	struct identity identity;
	bool is_alias, is_match, has_more; /* has_more: aliases beyond those in this batch */
	char digest[IDENTITY_HEX];         /* "" = not known */
	char entry[IDENTITY_HEX];          /* of an alias */
	char tags[TAGS_BYTES];
};

struct belonging {
	struct identity identity;
	char digest[IDENTITY_HEX];
	char entry[IDENTITY_HEX];
};

struct vector_name {
	char member[96];
	char digest[IDENTITY_HEX];
};

struct batch {
	enum phase phase;
	unsigned target_count, alias_count, vector_count, unknown;
	struct target targets[TARGETS];
	struct belonging aliases[ALIASES];
	struct vector_name vectors[VECTORS];
	bool is_counted[3]; /* entries, aliases, vectors have a command of their own */
	bool is_removing;   /* marked */
};

struct removal {
	struct job job;
	enum selected selected;
	struct identity identity;
	char tag[LIMIT_TAG_BYTES + 1];
	size_t tag_length;
	unsigned offset, alias_offset;
	struct batch *batch;
};

static struct slice tag_of(const struct removal *removal)
{
	return (struct slice){removal->tag, removal->tag_length};
}

static struct slice space_of(const struct removal *removal)
{
	return slice_of(removal->job.namespace);
}

static void put(struct removal *removal, struct command *command)
{
	command_send(command, removal->job.talk.store->writes, &removal->job.talk);
}

/* Starts a command on the set that the members are listed in. */
static void start_on_set(struct removal *removal, struct command *command, const char *name)
{
	char hex[IDENTITY_HEX];

	identity_hex(&removal->identity, hex);
	command_start(command, name);
	if (removal->selected == SELECT_TAG)
		command_space_key(command, removal->job.talk.store, "tag:", space_of(removal), tag_of(removal));
	else
		command_space_key(command, removal->job.talk.store, "question:", space_of(removal), slice_of(hex));
}

/* ---- LIST ---- */

static void add_vector(struct batch *batch, struct slice member)
{
	struct vector_name *vector = &batch->vectors[batch->vector_count];

	if (member.length >= sizeof(vector->member) || member.length < IDENTITY_HEX + 7 || batch->vector_count == VECTORS)
		return;
	for (unsigned i = 0; i < batch->vector_count; i++)
		if (slice_equal(slice_of(batch->vectors[i].member), member))
			return;
	memcpy(vector->member, member.data, member.length + 1);
	memcpy(vector->digest, member.data + member.length - (IDENTITY_HEX - 1), IDENTITY_HEX);
	batch->vector_count++;
}

static bool is_kind(struct slice member, const char *kind)
{
	return member.length > strlen(kind) && strncmp(member.data, kind, strlen(kind)) == 0;
}

static void take_listed(struct removal *removal, const struct redisReply *reply)
{
	struct batch *batch = removal->batch;

	for (size_t i = 0; i < TARGETS && reply_at(reply, i); i++) {
		struct slice member = reply_text(reply_at(reply, i));
		struct target *target = &batch->targets[batch->target_count];
		if (is_kind(member, "vector:")) {
			add_vector(batch, member);
			continue;
		}
		target->is_alias = is_kind(member, "alias:");
		if ((target->is_alias || is_kind(member, "entry:")) &&
		    identity_parse((struct slice){member.data + 6, member.length - 6}, &target->identity) == 0)
			batch->target_count++;
		else
			batch->unknown++;
	}
}

static void list(struct removal *removal)
{
	struct batch *batch = removal->batch;
	struct command command;

	memset(batch, 0, sizeof(*batch));
	if (removal->selected == SELECT_ENTRY) {
		batch->targets[batch->target_count++].identity = removal->identity;
		return;
	}
	start_on_set(removal, &command, "ZRANGE");
	command_print(&command, "%u", removal->offset);
	command_print(&command, "%u", removal->offset + TARGETS - 1);
	put(removal, &command);
}

/* ---- READ, ALIASES, VECTORS ---- */

static void read_targets(struct removal *removal)
{
	struct store *store = removal->job.talk.store;
	struct command command;

	for (unsigned i = 0; i < removal->batch->target_count; i++) {
		const struct target *target = &removal->batch->targets[i];
		command_start(&command, "HMGET");
		command_identity(&command, store, target->is_alias ? "alias:" : "entry:", &target->identity);
		command_word(&command, "namespace");
		command_word(&command, "digest");
		command_word(&command, "tags");
		command_word(&command, "entry");
		put(removal, &command);
		command_start(&command, "ZRANGE");
		command_identity(&command, store, "aliases:", &target->identity);
		command_print(&command, "%u", removal->alias_offset);
		command_print(&command, "%u", removal->alias_offset + ALIASES_EACH - 1);
		put(removal, &command);
	}
}

static void take_text(char *out, size_t size, const struct redisReply *reply)
{
	struct slice text = reply_text(reply);

	out[0] = '\0';
	if (text.data && text.length < size)
		memcpy(out, text.data, text.length + 1);
}

static bool has_tag(const char *tags, struct slice wanted)
{
	struct slice rest = slice_of(tags), tag;

	while (tags_next(&rest, &tag))
		if (slice_equal(tag, wanted))
			return true;
	return false;
}

/* What has expired matches too: there is nothing of it left but its places in the sets. What was put anew under other tags or
 * with another text is only taken out of this set. */
static void take_target(struct removal *removal, struct target *target, const struct redisReply *reply)
{
	struct slice namespace = reply_text(reply_at(reply, 0));
	char hex[IDENTITY_HEX];

	take_text(target->digest, sizeof(target->digest), reply_at(reply, 1));
	take_text(target->tags, sizeof(target->tags), reply_at(reply, 2));
	take_text(target->entry, sizeof(target->entry), reply_at(reply, 3));
	identity_hex(&removal->identity, hex);
	target->is_match = !namespace.data || slice_equal(namespace, space_of(removal));
	if (namespace.data && removal->selected == SELECT_TAG && !has_tag(target->tags, tag_of(removal)))
		target->is_match = false;
	if (namespace.data && removal->selected == SELECT_QUESTION && strcmp(target->digest, hex) != 0)
		target->is_match = false;
}

static void take_belongings(struct removal *removal, struct target *target, const struct redisReply *reply)
{
	struct batch *batch = removal->batch;
	size_t i = 0;

	if (target->is_alias || !target->is_match)
		return;
	for (; i < ALIASES_EACH && reply_at(reply, i); i++) {
		struct slice member = reply_text(reply_at(reply, i));
		struct belonging *alias = &batch->aliases[batch->alias_count];
		if (!is_kind(member, "alias:") || batch->alias_count == ALIASES ||
		    identity_parse((struct slice){member.data + 6, member.length - 6}, &alias->identity) != 0)
			continue;
		identity_hex(&target->identity, alias->entry);
		batch->alias_count++;
	}
	target->has_more = i == ALIASES_EACH;
}

static void read_aliases(struct removal *removal)
{
	struct command command;

	for (unsigned i = 0; i < removal->batch->alias_count; i++) {
		command_start(&command, "HGET");
		command_identity(&command, removal->job.talk.store, "alias:", &removal->batch->aliases[i].identity);
		command_word(&command, "digest");
		put(removal, &command);
	}
}

static void list_vectors(struct removal *removal, const char *digest)
{
	struct command command;

	if (!digest[0])
		return;
	command_start(&command, "ZREVRANGE");
	command_space_key(&command, removal->job.talk.store, "question:", space_of(removal), slice_of(digest));
	command_word(&command, "0");
	command_print(&command, "%d", VECTORS_LISTED - 1);
	put(removal, &command);
}

static void read_vectors(struct removal *removal)
{
	struct batch *batch = removal->batch;

	for (unsigned i = 0; i < batch->target_count && removal->alias_offset == 0; i++)
		if (batch->targets[i].is_match)
			list_vectors(removal, batch->targets[i].digest);
	for (unsigned i = 0; i < batch->alias_count; i++)
		list_vectors(removal, batch->aliases[i].digest);
}

static void take_vectors(struct removal *removal, const struct redisReply *reply)
{
	for (size_t i = 0; reply_at(reply, i); i++) {
		struct slice member = reply_text(reply_at(reply, i));
		if (is_kind(member, "vector:"))
			add_vector(removal->batch, member);
	}
}

/* ---- REMOVE ---- */

static void add_member(struct command *command, const char *kind, const struct identity *identity)
{
	char hex[IDENTITY_HEX];

	identity_hex(identity, hex);
	command_print(command, "%s%s", kind, hex);
}

/* Sends what was put together, if there is more in it than its name and key. Returns whether it did. */
static bool put_unless_empty(struct removal *removal, struct command *command, int least)
{
	if (command->count < least)
		return false;
	put(removal, command);
	return true;
}

/* Adds the keys of one kind to an UNLINK or an EXISTS. */
static void add_keys(struct removal *removal, struct command *command, unsigned kind)
{
	const struct batch *batch = removal->batch;
	const struct store *store = removal->job.talk.store;
	unsigned targets = removal->alias_offset ? 0 : batch->target_count; /* counted with their first aliases */

	for (unsigned i = 0; kind < 2 && i < targets; i++) {
		const struct target *target = &batch->targets[i];
		if (target->is_match && target->is_alias == (kind == 1))
			command_identity(command, store, target->is_alias ? "alias:" : "entry:", &target->identity);
	}
	for (unsigned i = 0; kind == 1 && i < batch->alias_count; i++)
		command_identity(command, store, "alias:", &batch->aliases[i].identity);
	for (unsigned i = 0; kind == 2 && i < batch->vector_count; i++)
		command_key(command, store, "", slice_of(batch->vectors[i].member));
}

static void put_keys(struct removal *removal, const char *name)
{
	struct command command;

	for (unsigned kind = 0; kind < 3; kind++) {
		command_start(&command, name);
		add_keys(removal, &command, kind);
		removal->batch->is_counted[kind] = put_unless_empty(removal, &command, 2);
	}
}

/* Takes everything of the batch out of the directory. */
static void leave_directory(struct removal *removal)
{
	const struct batch *batch = removal->batch;
	struct command command;

	command_start(&command, "ZREM");
	command_key(&command, removal->job.talk.store, "directory:", space_of(removal));
	for (unsigned i = 0; i < batch->target_count; i++)
		if (batch->targets[i].is_match)
			add_member(&command, batch->targets[i].is_alias ? "alias:" : "entry:", &batch->targets[i].identity);
	for (unsigned i = 0; i < batch->alias_count; i++)
		add_member(&command, "alias:", &batch->aliases[i].identity);
	for (unsigned i = 0; i < batch->vector_count; i++)
		command_word(&command, batch->vectors[i].member);
	(void)put_unless_empty(removal, &command, 3);
}

static void leave_question(struct removal *removal, const char *digest, const char *kind, const struct identity *identity)
{
	struct command command;

	if (!digest[0])
		return;
	command_start(&command, "ZREM");
	command_space_key(&command, removal->job.talk.store, "question:", space_of(removal), slice_of(digest));
	add_member(&command, kind, identity);
	put(removal, &command);
}

static void leave_aliases(struct removal *removal, const char *entry, const struct identity *alias)
{
	struct command command;

	if (!entry[0])
		return;
	command_start(&command, "ZREM");
	command_key(&command, removal->job.talk.store, "aliases:", slice_of(entry));
	add_member(&command, "alias:", alias);
	put(removal, &command);
}

static void leave_tags(struct removal *removal, const struct target *target)
{
	struct slice rest = slice_of(target->tags), tag;
	struct command command;

	while (tags_next(&rest, &tag)) {
		/* As long as it has more aliases, it must be listed again. */
		if (target->has_more && removal->selected == SELECT_TAG && slice_equal(tag, tag_of(removal)))
			continue;
		command_start(&command, "ZREM");
		command_space_key(&command, removal->job.talk.store, "tag:", space_of(removal), tag);
		add_member(&command, "entry:", &target->identity);
		put(removal, &command);
	}
}

/* The listed set itself loses everything that is done with, whether it matched or not. */
static void leave_set(struct removal *removal)
{
	const struct batch *batch = removal->batch;
	struct command command;

	if (removal->selected == SELECT_ENTRY)
		return;
	start_on_set(removal, &command, "ZREM");
	for (unsigned i = 0; i < batch->target_count; i++)
		if (!batch->targets[i].has_more)
			add_member(&command, batch->targets[i].is_alias ? "alias:" : "entry:", &batch->targets[i].identity);
	(void)put_unless_empty(removal, &command, 3);
}

static void leave_places(struct removal *removal)
{
	struct batch *batch = removal->batch;
	struct command command;

	leave_directory(removal);
	for (unsigned i = 0; i < batch->target_count; i++) {
		const struct target *target = &batch->targets[i];
		if (!target->is_match)
			continue;
		if (!target->has_more || removal->selected != SELECT_QUESTION)
			leave_question(removal, target->digest, target->is_alias ? "alias:" : "entry:", &target->identity);
		leave_tags(removal, target);
		if (target->is_alias)
			leave_aliases(removal, target->entry, &target->identity);
	}
	for (unsigned i = 0; i < batch->alias_count; i++) {
		leave_question(removal, batch->aliases[i].digest, "alias:", &batch->aliases[i].identity);
		leave_aliases(removal, batch->aliases[i].entry, &batch->aliases[i].identity);
	}
	for (unsigned i = 0; i < batch->vector_count; i++) {
		command_start(&command, "ZREM");
		command_space_key(&command, removal->job.talk.store, "question:", space_of(removal),
				  slice_of(batch->vectors[i].digest));
		command_word(&command, batch->vectors[i].member);
		put(removal, &command);
	}
	leave_set(removal);
}

/* Nothing that is read while the transaction is in the air may be handed out: it may have been read before. */
static void mark(struct removal *removal, void (*how)(struct store *store, const struct identity *identity))
{
	struct batch *batch = removal->batch;

	for (unsigned i = 0; i < batch->target_count; i++)
		if (batch->targets[i].is_match)
			how(removal->job.talk.store, &batch->targets[i].identity);
	for (unsigned i = 0; i < batch->alias_count; i++)
		how(removal->job.talk.store, &batch->aliases[i].identity);
	batch->is_removing = how == store_mark_removing;
}

static void tell(struct store *store, struct slice namespace, const struct identity *identity)
{
	if (store->events && store->events->removed)
		store->events->removed(store->events_data, namespace, identity);
}

static void tell_removed(struct removal *removal)
{
	struct batch *batch = removal->batch;
	struct store *store = removal->job.talk.store;

	for (unsigned i = 0; i < batch->target_count; i++)
		if (batch->targets[i].is_match)
			tell(store, space_of(removal), &batch->targets[i].identity);
	for (unsigned i = 0; i < batch->alias_count; i++)
		tell(store, space_of(removal), &batch->aliases[i].identity);
}

static void remove_batch(struct removal *removal)
{
	struct command command;

	if (removal->job.is_dry_run) {
		put_keys(removal, "EXISTS");
		return;
	}
	mark(removal, store_mark_removing);
	tell_removed(removal);
	command_start(&command, "MULTI");
	put(removal, &command);
	put_keys(removal, "UNLINK");
	leave_places(removal);
	command_start(&command, "EXEC");
	put(removal, &command);
}

/* The counts are the first replies of the transaction, or of the dry run. */
static void take_count(struct removal *removal, unsigned n, const struct redisReply *reply)
{
	uint64_t *counts[] = {&removal->job.entries, &removal->job.aliases, &removal->job.vectors};
	const struct batch *batch = removal->batch;

	for (unsigned kind = 0, at = 0; kind < 3; kind++) {
		if (!batch->is_counted[kind])
			continue;
		if (reply->type == REDIS_REPLY_ARRAY)
			*counts[kind] += (uint64_t)reply_integer(reply_at(reply, at), 0);
		else if (at == n)
			*counts[kind] += (uint64_t)reply_integer(reply, 0);
		at++;
	}
}

/* ---- RECORD ---- */

/* Aliases of a removed entry are dead without it; only those found by their own text are told. */
static void record(struct removal *removal)
{
	struct store *store = removal->job.talk.store;
	struct command command;

	for (unsigned i = 0; i < removal->batch->target_count; i++) {
		const struct target *target = &removal->batch->targets[i];
		if (!target->is_match)
			continue;
		command_record(&command, store, "delete", &target->identity, space_of(removal),
			       store_generation(store, space_of(removal)));
		put(removal, &command);
	}
}

/* ---- the phases ---- */

static void removal_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct removal *removal = (struct removal *)talk;
	struct batch *batch = removal->batch;

	if (reply->type == REDIS_REPLY_ERROR && reply_is_error(reply, "WRONGTYPE")) {
		talk->store->metrics->redis_wrong_type++;
		if (batch->phase == PHASE_READ && n % 2 == 0)
			batch->targets[n / 2].is_match = false; /* not ours */
		return;
	}
	job_note(&removal->job, reply);
	switch (batch->phase) {
	case PHASE_LIST:
		take_listed(removal, reply);
		break;
	case PHASE_READ:
		if (n % 2 == 0)
			take_target(removal, &batch->targets[n / 2], reply);
		else
			take_belongings(removal, &batch->targets[n / 2], reply);
		break;
	case PHASE_ALIASES:
		take_text(batch->aliases[n].digest, sizeof(batch->aliases[n].digest), reply);
		break;
	case PHASE_VECTORS:
		take_vectors(removal, reply);
		break;
	case PHASE_REMOVE:
		if (removal->job.is_dry_run || reply->type == REDIS_REPLY_ARRAY)
			take_count(removal, n, reply);
		break;
	case PHASE_RECORD:
		break;
	}
}

/* A batch is done. Returns whether there is another one. */
static bool next_batch(struct removal *removal)
{
	struct batch *batch = removal->batch;
	bool has_more = false;

	for (unsigned i = 0; i < batch->target_count; i++)
		has_more |= batch->targets[i].has_more;
	if (removal->job.is_dry_run) {
		removal->alias_offset = has_more ? removal->alias_offset + ALIASES_EACH : 0;
		if (!has_more)
			removal->offset += TARGETS;
		return has_more || removal->selected != SELECT_ENTRY;
	}
	removal->offset += batch->unknown;
	return has_more || removal->selected != SELECT_ENTRY;
}

/* Sends the commands of a phase; there may be none. */
static void start_phase(struct removal *removal, enum phase phase)
{
	removal->batch->phase = phase;
	switch (phase) {
	case PHASE_LIST:
		list(removal);
		break;
	case PHASE_READ:
		read_targets(removal);
		break;
	case PHASE_ALIASES:
		read_aliases(removal);
		break;
	case PHASE_VECTORS:
		read_vectors(removal);
		break;
	case PHASE_REMOVE:
		remove_batch(removal);
		break;
	case PHASE_RECORD:
		if (removal->batch->is_removing)
			mark(removal, store_mark_removed);
		if (!removal->job.is_dry_run)
			record(removal);
		break;
	}
}

/* Goes from phase to phase until one has something to wait for. Returns whether one has; else everything is done. */
static bool go_on(struct removal *removal, enum phase phase)
{
	struct batch *batch = removal->batch;

	for (;;) {
		start_phase(removal, phase);
		if (removal->job.talk.awaited > 0 || removal->job.talk.lost)
			return true;
		if (phase == PHASE_LIST && batch->target_count + batch->vector_count + batch->unknown == 0)
			return false;
		if (phase == PHASE_RECORD && !next_batch(removal))
			return false;
		phase = phase == PHASE_RECORD ? PHASE_LIST : phase + 1;
	}
}

static void removal_round(struct talk *talk)
{
	struct removal *removal = (struct removal *)talk;
	struct batch *batch = removal->batch;
	enum phase next = batch->phase == PHASE_RECORD ? PHASE_LIST : batch->phase + 1;

	if (!job_round_went_well(&removal->job))
		return;
	job_extend(&removal->job);
	bool is_over = batch->phase == PHASE_LIST && batch->target_count + batch->vector_count + batch->unknown == 0;
	if (batch->phase == PHASE_RECORD)
		is_over = !next_batch(removal);
	if (!is_over && go_on(removal, next)) {
		if (removal->job.talk.awaited == 0)
			redis_reset(talk->store->writes, "a command could not be sent");
		return;
	}
	job_finish(&removal->job, 0);
}

/* From the beginning, unless only the records are missing. */
static void removal_send(struct job *job)
{
	struct removal *removal = (struct removal *)job;

	if (removal->batch && removal->batch->phase == PHASE_RECORD) {
		(void)go_on(removal, PHASE_RECORD);
		return;
	}
	if (!removal->batch)
		removal->batch = calloc(1, sizeof(*removal->batch));
	else if (removal->batch->is_removing)
		mark(removal, store_mark_removed);
	if (!removal->batch) {
		job->talk.lost = true;
		return;
	}
	removal->offset = removal->alias_offset = 0;
	if (job->is_dry_run)
		job->entries = job->aliases = job->vectors = 0;
	(void)go_on(removal, PHASE_LIST);
}

static void removal_destroy(struct job *job)
{
	struct removal *removal = (struct removal *)job;

	free(removal->batch);
	free(removal);
}

static struct removal *removal_create(struct store *store, const struct store_selector *selector)
{
	struct removal *removal = calloc(1, sizeof(*removal));

	if (!removal)
		return NULL;
	job_init(store, &removal->job, selector->namespace, sizeof(*removal));
	removal->selected = selector->entry ? SELECT_ENTRY : selector->question ? SELECT_QUESTION : SELECT_TAG;
	if (removal->selected == SELECT_TAG) {
		memcpy(removal->tag, selector->tag.data, selector->tag.length);
		removal->tag_length = selector->tag.length;
	} else {
		removal->identity = selector->entry ? *selector->entry : *selector->question;
	}
	removal->job.talk.reply = removal_reply;
	removal->job.talk.round = removal_round;
	removal->job.send = removal_send;
	removal->job.destroy = removal_destroy;
	removal->job.is_removal = true;
	removal->job.is_dry_run = selector->dry_run;
	removal->job.is_barrier = !selector->dry_run;
	return removal;
}

int store_remove(struct store *store, struct store_write *write, const struct store_selector *selector)
{
	if (selector->dry_run && (!part_up(store->part) || !redis_context(store->writes)))
		return ERROR_UNAVAILABLE;
	if (selector->namespace.length >= STORE_NAMESPACE || selector->tag.length > LIMIT_TAG_BYTES)
		return ERROR_INVALID;
	if (!selector->entry && !selector->question && !selector->tag.data)
		return store_flush(store, write, selector->namespace, selector->dry_run);
	struct removal *removal = removal_create(store, selector);
	return removal ? job_queue(store, &removal->job, write) : ERROR_MEMORY;
}
