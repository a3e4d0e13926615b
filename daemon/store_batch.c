/* One transaction takes the keys of a batch and all their places in the sorted sets away together; before it is sent,
 * what goes is told and marked, because from then on it may be gone. What can go wrong: the outcome stays unknown because
 * the connection breaks. Then the removal starts anew and finds what is left, and what was marked stays marked until
 * then. */
#include "store_batch.h"

#include <stdlib.h>
#include <string.h>

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
	removal_put(removal, command);
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
	command_key(&command, removal->job.talk.store, "directory:", removal_space(removal));
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
	command_space_key(&command, removal->job.talk.store, "question:", removal_space(removal), slice_of(digest));
	add_member(&command, kind, identity);
	removal_put(removal, &command);
}

static void leave_aliases(struct removal *removal, const char *entry, const struct identity *alias)
{
	struct command command;

	if (!entry[0])
		return;
	command_start(&command, "ZREM");
	command_key(&command, removal->job.talk.store, "aliases:", slice_of(entry));
	add_member(&command, "alias:", alias);
	removal_put(removal, &command);
}

static void leave_tags(struct removal *removal, const struct target *target)
{
	struct slice rest = slice_of(target->tags), tag;
	struct command command;

	while (tags_next(&rest, &tag)) {
		/* As long as it has more aliases, it must be listed again. */
		if (target->has_more && removal->selected == SELECT_TAG && slice_equal(tag, removal_tag(removal)))
			continue;
		command_start(&command, "ZREM");
		command_space_key(&command, removal->job.talk.store, "tag:", removal_space(removal), tag);
		add_member(&command, "entry:", &target->identity);
		removal_put(removal, &command);
	}
}

/* The listed set itself loses everything that is done with, whether it matched or not. */
static void leave_set(struct removal *removal)
{
	const struct batch *batch = removal->batch;
	struct command command;

	if (removal->selected == SELECT_ENTRY)
		return;
	removal_set(removal, &command, "ZREM");
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
		command_space_key(&command, removal->job.talk.store, "question:", removal_space(removal),
				  slice_of(batch->vectors[i].digest));
		command_word(&command, batch->vectors[i].member);
		removal_put(removal, &command);
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

void batch_removed(struct removal *removal)
{
	if (removal->batch->is_removing)
		mark(removal, store_mark_removed);
}

static void tell(struct store *store, struct slice namespace, const struct identity *identity, bool is_alias)
{
	if (!store->events)
		return;
	if (is_alias && store->events->alias_removed)
		store->events->alias_removed(store->events_data, namespace, identity);
	if (!is_alias && store->events->removed)
		store->events->removed(store->events_data, namespace, identity);
}

static void tell_removed(struct removal *removal)
{
	struct batch *batch = removal->batch;
	struct store *store = removal->job.talk.store;

	for (unsigned i = 0; i < batch->target_count; i++)
		if (batch->targets[i].is_match)
			tell(store, removal_space(removal), &batch->targets[i].identity, batch->targets[i].is_alias);
	for (unsigned i = 0; i < batch->alias_count; i++)
		tell(store, removal_space(removal), &batch->aliases[i].identity, true);
}

void batch_forget(struct removal *removal)
{
	struct store *store = removal->job.talk.store;

	for (size_t i = 0; i < removal->purged_count; i++)
		if (store->events && store->events->forgotten)
			store->events->forgotten(store->events_data, removal_space(removal), &removal->purged[i]);
	if (removal->purged_count > 0)
		(void)store_forget_said(store, removal_space(removal), removal->purged, removal->purged_count, NULL);
	removal->purged_count = 0;
}

static void note_purged(struct removal *removal)
{
	const struct batch *batch = removal->batch;

	if (!removal->purged)
		removal->purged = calloc(PURGED_MOST, sizeof(*removal->purged));
	if (removal->purged_count + TARGETS > PURGED_MOST)
		batch_forget(removal);
	for (unsigned i = 0; removal->purged && i < batch->target_count; i++)
		if (batch->targets[i].is_match && !batch->targets[i].is_alias)
			removal->purged[removal->purged_count++] = batch->targets[i].identity;
}

void batch_remove(struct removal *removal)
{
	struct command command;

	if (removal->job.is_dry_run) {
		put_keys(removal, "EXISTS");
		return;
	}
	mark(removal, store_mark_removing);
	tell_removed(removal);
	note_purged(removal);
	command_start(&command, "MULTI");
	removal_put(removal, &command);
	put_keys(removal, "UNLINK");
	leave_places(removal);
	command_start(&command, "EXEC");
	removal_put(removal, &command);
}

/* Aliases of a removed entry are dead without it; only those found by their own text are told. */
void batch_record(struct removal *removal)
{
	struct store *store = removal->job.talk.store;
	struct command command;

	for (unsigned i = 0; i < removal->batch->target_count; i++) {
		const struct target *target = &removal->batch->targets[i];
		if (!target->is_match)
			continue;
		/* There may be an entry under an alias's identity by now, and that stays. */
		command_record(&command, store, target->is_alias ? "alias" : "delete", &target->identity,
			       removal_space(removal), store_generation(store, removal_space(removal)));
		removal_put(removal, &command);
	}
}
