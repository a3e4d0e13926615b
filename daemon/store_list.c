/* Two short reads: the names of all namespaces, and the aliases of one entry. What can go wrong: as for any ask. */
#include "store_private.h"

#include <stdlib.h>
#include <string.h>

#define ALIASES_MOST 256 /* of one entry: those that live longest */

/* ---- namespaces ---- */

struct names {
	struct ask ask;
	struct store_names *names; /* NULL = cancelled */
};

static void names_ended(struct ask *ask, int error)
{
	struct names *names = (struct names *)ask;
	struct store_names *user = names->names;

	names->names = NULL;
	if (!user)
		return;
	user->private = NULL;
	if (error != ERROR_CANCELLED)
		user->done(user, error);
}

static void names_send(struct ask *ask)
{
	struct store *store = ask->talk.store;
	struct command command;

	command_start(&command, "SMEMBERS");
	command_key(&command, store, "namespaces", SLICE(""));
	command_send(&command, store->reads, &ask->talk);
}

static void names_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct names *names = (struct names *)talk;
	int error = store_read_error(talk->store, reply);

	(void)n;
	names->ask.is_held = true;
	for (size_t i = 0; !error && !names->ask.is_over && reply_at(reply, i); i++) {
		struct slice name = reply_text(reply_at(reply, i));
		if (name.length > 0 && name.length < STORE_NAMESPACE)
			names->names->name(names->names, name);
	}
	names->ask.is_held = false;
	if (error)
		ask_end(&names->ask, error);
}

static void plain_round(struct talk *talk)
{
	struct ask *ask = (struct ask *)talk;

	if (!ask_goes_on(ask))
		return;
	ask_end(ask, 0);
	ask_settle(ask);
}

int store_namespaces(struct store *store, struct store_names *user)
{
	struct names *names = calloc(1, sizeof(*names));

	if (!names)
		return ERROR_MEMORY;
	names->names = user;
	names->ask.send = names_send;
	names->ask.ended = names_ended;
	names->ask.talk.reply = names_reply;
	names->ask.talk.round = plain_round;
	int error = ask_start(store, &names->ask);
	if (error) {
		free(names);
		return error;
	}
	user->private = names;
	return 0;
}

void store_names_cancel(struct store_names *user)
{
	struct names *names = user->private;

	if (names)
		ask_cancel(&names->ask);
}

/* ---- aliases ---- */

struct aliases {
	struct ask ask;
	struct store_aliases *aliases; /* NULL = cancelled */
	char name[STORE_NAMESPACE];
	struct slice namespace;
	struct identity entry;
	bool is_listing;
	unsigned count;
	struct alias found[ALIASES_MOST];
	bool is_found[ALIASES_MOST];
	uint64_t generation, entry_created_ms, turn;
};

static void aliases_ended(struct ask *ask, int error)
{
	struct aliases *aliases = (struct aliases *)ask;
	struct store_aliases *user = aliases->aliases;

	aliases->aliases = NULL;
	if (!user)
		return;
	user->private = NULL;
	if (error != ERROR_CANCELLED)
		user->done(user, error);
}

static void aliases_send(struct ask *ask)
{
	struct aliases *aliases = (struct aliases *)ask;
	struct store *store = ask->talk.store;
	struct command command;

	aliases->is_listing = true;
	command_start(&command, "ZREVRANGE");
	command_identity(&command, store, "aliases:", &aliases->entry);
	command_word(&command, "0");
	command_print(&command, "%d", ALIASES_MOST - 1);
	command_send(&command, store->reads, &ask->talk);
}

static void take_names(struct aliases *aliases, const struct redisReply *reply)
{
	aliases->count = 0;
	for (size_t i = 0; aliases->count < ALIASES_MOST && reply_at(reply, i); i++) {
		struct slice name = reply_text(reply_at(reply, i));
		struct alias *alias = &aliases->found[aliases->count];
		if (name.length > 6 && strncmp(name.data, "alias:", 6) == 0 &&
		    identity_parse((struct slice){name.data + 6, name.length - 6}, &alias->identity) == 0)
			aliases->count++;
	}
}

static void read_aliases(struct aliases *aliases)
{
	struct store *store = aliases->ask.talk.store;
	struct command command;

	aliases->is_listing = false;
	aliases->turn = ++store->turn;
	for (unsigned i = 0; i < aliases->count; i++) {
		command_start(&command, "HMGET");
		command_identity(&command, store, "alias:", &aliases->found[i].identity);
		fields_ask_alias(&command);
		command_send(&command, store->reads, &aliases->ask.talk);
		command_start(&command, "PTTL");
		command_identity(&command, store, "alias:", &aliases->found[i].identity);
		command_send(&command, store->reads, &aliases->ask.talk);
	}
	command_start(&command, "HGET");
	command_identity(&command, store, "entry:", &aliases->entry);
	command_word(&command, "created_ms");
	command_send(&command, store->reads, &aliases->ask.talk);
	command_start(&command, "GET");
	command_key(&command, store, "generation:", aliases->namespace);
	command_send(&command, store->reads, &aliases->ask.talk);
	ask_extend(&aliases->ask);
}

static void take_alias(struct aliases *aliases, unsigned i, const struct redisReply *reply)
{
	struct slice values[ALIAS_FIELD_COUNT];
	struct identity identity = aliases->found[i].identity;

	for (size_t k = 0; k < ALIAS_FIELD_COUNT; k++)
		values[k] = reply_text(reply_at(reply, k));
	aliases->is_found[i] = fields_read_alias(values, aliases->namespace, &identity, &aliases->found[i]) == 0;
}

static void aliases_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct aliases *aliases = (struct aliases *)talk;
	int error = aliases->ask.is_over ? 0 : store_read_error(talk->store, reply);

	if (aliases->ask.is_over)
		return;
	if (error) {
		ask_end(&aliases->ask, error);
		return;
	}
	if (aliases->is_listing)
		take_names(aliases, reply);
	else if (n == 2 * aliases->count)
		(void)fields_read_number(reply_text(reply), &aliases->entry_created_ms);
	else if (n > 2 * aliases->count)
		aliases->generation = fields_read_generation(reply_text(reply));
	else if (n % 2 == 0)
		take_alias(aliases, n / 2, reply);
	else if (reply_integer(reply, -2) > 0)
		aliases->found[n / 2].expire_ms = (uint64_t)reply->integer;
	else
		aliases->is_found[n / 2] = false;
}

static void aliases_round(struct talk *talk)
{
	struct aliases *aliases = (struct aliases *)talk;

	if (!ask_goes_on(&aliases->ask))
		return;
	if (aliases->is_listing && aliases->count > 0) {
		read_aliases(aliases);
		return;
	}
	uint64_t generation = space_heard(talk->store, aliases->namespace, aliases->generation, aliases->turn);
	aliases->ask.is_held = true;
	for (unsigned i = 0; i < aliases->count && !aliases->ask.is_over; i++) {
		const struct alias *alias = &aliases->found[i];
		if (aliases->is_found[i] && generation && alias->generation == generation &&
		    alias->entry_created_ms == aliases->entry_created_ms && identity_equal(&alias->entry, &aliases->entry) &&
		    !store_removed_since(talk->store, &alias->identity, aliases->turn))
			aliases->aliases->alias(aliases->aliases, alias);
	}
	aliases->ask.is_held = false;
	ask_end(&aliases->ask, 0);
	ask_settle(&aliases->ask);
}

int store_aliases(struct store *store, struct store_aliases *user, struct slice namespace, const struct identity *entry)
{
	struct aliases *aliases = namespace.length > 0 && namespace.length < STORE_NAMESPACE ? calloc(1, sizeof(*aliases))
											     : NULL;

	if (!aliases)
		return ERROR_MEMORY;
	memcpy(aliases->name, namespace.data, namespace.length);
	aliases->namespace = (struct slice){aliases->name, namespace.length};
	aliases->entry = *entry;
	aliases->aliases = user;
	aliases->ask.send = aliases_send;
	aliases->ask.ended = aliases_ended;
	aliases->ask.talk.reply = aliases_reply;
	aliases->ask.talk.round = aliases_round;
	int error = ask_start(store, &aliases->ask);
	if (error) {
		free(aliases);
		return error;
	}
	user->private = aliases;
	return 0;
}

void store_aliases_cancel(struct store_aliases *user)
{
	struct aliases *aliases = user->private;

	if (aliases)
		ask_cancel(&aliases->ask);
}
