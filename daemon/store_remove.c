/* Removes entries by entry, question or tag, with everything that belongs to them, a batch at a time:
 *
 *   LIST (the question's or tag's set) ─> READ (tags, digest, aliases) ─> ALIASES (their digests) ─> VECTORS (of all digests)
 *     ^                                                                                                   │
 *     └── until nothing is left ── RECORD (the log) <── REMOVE (one transaction; told and marked before it) ┘
 *
 * A dry run counts instead of removing and goes on behind what it has counted. What can go wrong: the connection breaks,
 * or Redis takes no writes (the job starts anew; what was removed already is told and only the records are sent again),
 * the hash has expired (its places in the sets are removed all the same). */
#include "store_batch.h"

#include "metrics.h"
#include "part.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct slice removal_tag(const struct removal *removal)
{
	return (struct slice){removal->tag, removal->tag_length};
}

struct slice removal_space(const struct removal *removal)
{
	return slice_of(removal->job.namespace);
}

void removal_put(struct removal *removal, struct command *command)
{
	command_send(command, removal->job.talk.store->writes, &removal->job.talk);
}

void removal_set(struct removal *removal, struct command *command, const char *name)
{
	char hex[IDENTITY_HEX];

	identity_hex(&removal->identity, hex);
	command_start(command, name);
	if (removal->selected == SELECT_TAG)
		command_space_key(command, removal->job.talk.store, "tag:", removal_space(removal), removal_tag(removal));
	else
		command_space_key(command, removal->job.talk.store, "question:", removal_space(removal), slice_of(hex));
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
	removal_set(removal, &command, "ZRANGE");
	command_print(&command, "%u", removal->offset);
	command_print(&command, "%u", removal->offset + TARGETS - 1);
	removal_put(removal, &command);
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
		removal_put(removal, &command);
		command_start(&command, "ZRANGE");
		command_identity(&command, store, "aliases:", &target->identity);
		command_print(&command, "%u", removal->alias_offset);
		command_print(&command, "%u", removal->alias_offset + ALIASES_EACH - 1);
		removal_put(removal, &command);
	}
}

static bool has_tag(struct slice tags, struct slice wanted)
{
	struct slice tag;

	while (tags_next(&tags, &tag))
		if (slice_equal(tag, wanted))
			return true;
	return false;
}

/* What has expired matches too: there is nothing of it left but its places in the sets. What was put anew under other
 * tags or with another text is only taken out of this set. */
static void take_target(struct removal *removal, struct target *target, const struct redisReply *reply)
{
	struct slice namespace = reply_text(reply_at(reply, 0));
	char hex[IDENTITY_HEX];

	reply_copy(target->digest, sizeof(target->digest), reply_at(reply, 1));
	reply_copy(target->tags, sizeof(target->tags), reply_at(reply, 2));
	reply_copy(target->entry, sizeof(target->entry), reply_at(reply, 3));
	identity_hex(&removal->identity, hex);
	target->is_match = !namespace.data || slice_equal(namespace, removal_space(removal));
	if (namespace.data && removal->selected == SELECT_TAG && !has_tag(slice_of(target->tags), removal_tag(removal)))
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
		removal_put(removal, &command);
	}
}

static void list_vectors(struct removal *removal, const char *digest)
{
	struct command command;

	if (!digest[0])
		return;
	command_start(&command, "ZREVRANGE");
	command_space_key(&command, removal->job.talk.store, "question:", removal_space(removal), slice_of(digest));
	command_word(&command, "0");
	command_print(&command, "%d", VECTORS_LISTED - 1);
	removal_put(removal, &command);
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
		reply_copy(batch->aliases[n].digest, sizeof(batch->aliases[n].digest), reply);
		break;
	case PHASE_VECTORS:
		take_vectors(removal, reply);
		break;
	case PHASE_REMOVE:
		if (removal->job.is_dry_run || reply->type == REDIS_REPLY_ARRAY)
			job_count(&removal->job, batch->is_counted, n, reply);
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
		batch_remove(removal);
		break;
	case PHASE_RECORD:
		batch_removed(removal);
		if (!removal->job.is_dry_run)
			batch_record(removal);
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
	batch_forget(removal);
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
	else
		batch_removed(removal);
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

	free(removal->purged);
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
	removal->job.hides = !selector->dry_run;
	removal->job.is_dry_run = selector->dry_run;
	removal->job.is_barrier = !selector->dry_run;
	return removal;
}

bool removal_is_promised(const struct store *store, const struct entry *entry)
{
	const struct slice digested[] = {entry->namespace, entry->question};
	struct identity digest = entry->identity;
	const struct job *job;
	bool has_digest = false;

	DL_FOREACH2(store->promised, job, waiter_next)
	{
		const struct removal *removal = (const struct removal *)job;
		if (!slice_equal(removal_space(removal), entry->namespace))
			continue;
		if (removal->selected == SELECT_QUESTION && !has_digest)
			has_digest = identity_digest(store->hasher, digested, 2, &digest) == 0;
		const struct identity *own = removal->selected == SELECT_QUESTION ? &digest : &entry->identity;
		if (removal->selected == SELECT_TAG ? has_tag(entry->tags, removal_tag(removal))
						    : memcmp(&removal->identity, own, sizeof(*own)) == 0)
			return true;
	}
	return false;
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
	int error = removal ? job_queue(store, &removal->job, write) : ERROR_MEMORY;
	if (!error && selector->question && !selector->dry_run)
		(void)store_forget_said(store, selector->namespace, NULL, 0, selector->question);
	return error;
}
