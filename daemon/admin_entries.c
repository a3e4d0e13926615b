/* show and list: from Redis, or from memory where there is no Redis. */
#include "admin_private.h"

#include "memory_cache.h"
#include "result.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

static struct slice hex_of(const struct identity *identity, char hex[IDENTITY_HEX])
{
	identity_hex(identity, hex);
	return slice_of(hex);
}

static void pack_tags(msgpack_packer *pack, struct slice tags)
{
	struct slice tag;

	msgpack_pack_array(pack, entry_tag_count(tags));
	while (entry_next_tag(&tags, &tag))
		pack_text(pack, tag);
}

/* The pairs that show and list share. */
#define COMMON_PAIRS 5

static void pack_common(msgpack_packer *pack, const struct entry *entry, uint64_t now_ms)
{
	char hex[IDENTITY_HEX];

	pack_named_text(pack, "entry", hex_of(&entry->identity, hex));
	pack_named_text(pack, "model", entry->model);
	pack_named_uint(pack, "age", now_ms > entry->created_at_ms ? (now_ms - entry->created_at_ms) / 1000 : 0);
	pack_named_uint(pack, "ttl", entry->fresh_until_at_ms > now_ms ? (entry->fresh_until_at_ms - now_ms) / 1000 : 0);
	pack_key(pack, "tags");
	pack_tags(pack, entry->tags);
}

/* ---- show ---- */

struct showing {
	struct call *call;
	struct service *service;
	struct identity identity;
	struct store_read read;
	struct store_aliases aliases;
	struct buffer out, listed; /* the result; the aliases, counted first */
	size_t alias_count;
	struct slice namespace; /* in `name` */
	char name[];
};

static void showing_free(struct showing *showing)
{
	store_read_cancel(&showing->read);
	store_aliases_cancel(&showing->aliases);
	buffer_deinit(&showing->out);
	buffer_deinit(&showing->listed);
	free(showing);
}

static void showing_cancel(void *work)
{
	showing_free(work);
}

static void showing_failed(struct showing *showing, int code, const char *text)
{
	struct call *call = showing->call;
	struct fault fault;

	showing_free(showing);
	(void)fault_set(&fault, code, code == ERROR_NOT_FOUND ? "field=entry" : "", "%s", text);
	call_fail(call, &fault);
}

static void show_entry(struct showing *showing, const struct entry *entry)
{
	struct buffer *out = &showing->out;
	msgpack_packer pack = pack_to(out);
	uint64_t now_ms = deadlines_now_ms(showing->service->deadlines);
	char hex[IDENTITY_HEX];

	msgpack_pack_map(&pack, COMMON_PAIRS + 8);
	pack_common(&pack, entry, now_ms);
	pack_named_text(&pack, "namespace", entry->namespace);
	pack_named_text(&pack, "question", entry->question);
	pack_named_text(&pack, "answer", entry->answer);
	pack_named_text(&pack, "finish_reason", entry->finish_reason);
	pack_key(&pack, "usage");
	if (entry->usage.data)
		(void)buffer_append(out, entry->usage.data, entry->usage.length);
	else
		msgpack_pack_nil(&pack);
	pack_named_text(&pack, "scope", entry->compared ? hex_of(&entry->scope, hex) : (struct slice){0});
	pack_named_uint(&pack, "created_ms", entry->created_ms);
}

static void showing_finish(struct showing *showing)
{
	msgpack_packer pack = pack_to(&showing->out);
	struct call *call = showing->call;
	struct buffer out;

	pack_key(&pack, "aliases");
	msgpack_pack_array(&pack, showing->alias_count);
	(void)buffer_append(&showing->out, showing->listed.data, showing->listed.length);
	out = showing->out;
	buffer_init(&showing->out, 0);
	showing_free(showing);
	admin_finish(call, &out);
}

static void alias_came(struct store_aliases *aliases, const struct alias *alias)
{
	static const char *const kinds[] = {
		[ALIAS_PROMOTED] = "promoted", [ALIAS_JUDGED] = "judged", [ALIAS_ACCEPTED] = "accepted"};
	struct showing *showing = aliases->data;
	msgpack_packer pack = pack_to(&showing->listed);
	char hex[IDENTITY_HEX];

	msgpack_pack_map(&pack, 3);
	pack_named_text(&pack, "alias", hex_of(&alias->identity, hex));
	pack_named_float(&pack, "similarity", alias->similarity);
	pack_named_text(&pack, "kind", slice_of(kinds[alias->kind]));
	showing->alias_count++;
}

static void aliases_done(struct store_aliases *aliases, int error)
{
	struct showing *showing = aliases->data;

	if (error)
		showing_failed(showing, ERROR_UNAVAILABLE, "Redis did not answer");
	else
		showing_finish(showing);
}

static void shown_entry_came(struct store_read *read, int error)
{
	struct showing *showing = read->data;
	struct entry *entry = read->entry;

	read->entry = NULL;
	if (error || !entry) {
		showing_failed(showing, error ? ERROR_UNAVAILABLE : ERROR_NOT_FOUND,
			       error ? "Redis did not answer" : "there is no such entry in this namespace");
		return;
	}
	show_entry(showing, entry);
	entry_destroy(entry);
	showing->aliases = (struct store_aliases){.alias = alias_came, .done = aliases_done, .data = showing};
	if (store_aliases(showing->service->store, &showing->aliases, showing->namespace, &showing->identity) != 0)
		showing_failed(showing, ERROR_UNAVAILABLE, "Redis is away");
}

/* Without Redis, or while it is away. */
static int show_from_memory(struct showing *showing)
{
	const struct service *service = showing->service;
	struct memory_hit hit;

	if (!memory_cache_get(service->memory, &showing->identity, deadlines_now_ms(service->deadlines), &hit) ||
	    hit.alias || !slice_equal(hit.entry->namespace, showing->namespace))
		return ERROR_NOT_FOUND;
	show_entry(showing, hit.entry);
	showing_finish(showing);
	return 0;
}

int admin_show(struct call *call, const struct request *request, struct fault *fault)
{
	struct service *service = call->calls->service;
	struct identity identity;
	int error;

	if (!request->entry.data || identity_parse(request->entry, &identity) != 0)
		return fault_set(fault, ERROR_INVALID, "field=entry", "must be 64 hex digits");
	struct showing *showing = calloc(1, sizeof(*showing) + request->namespace.length);
	if (!showing)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	showing->call = call;
	showing->service = service;
	showing->identity = identity;
	memcpy(showing->name, request->namespace.data, request->namespace.length);
	showing->namespace = (struct slice){showing->name, request->namespace.length};
	buffer_init(&showing->out, ADMIN_RESULT_MOST);
	buffer_init(&showing->listed, ADMIN_RESULT_MOST / 2);
	showing->read = (struct store_read){.done = shown_entry_came, .data = showing};
	call->work = showing;
	call->cancel = showing_cancel;
	if (service->store && store_fetch(service->store, &showing->read, showing->namespace, &identity, false) == 0)
		return 0;
	error = show_from_memory(showing);
	if (!error)
		return 0;
	showing_free(showing);
	call->work = NULL;
	return fault_set(fault, error, "field=entry", "there is no such entry in this namespace%s",
			 service->store ? "'s memory, and Redis is away" : "");
}

/* ---- list ---- */

struct listing {
	struct call *call;
	struct service *service;
	struct store_walk walk;
	struct buffer entries;
	size_t count, seen;
	struct slice namespace; /* of a walk over memory: the request's, which outlives that */
	struct identity last;
};

static void listing_free(struct listing *listing)
{
	store_walk_cancel(&listing->walk);
	buffer_deinit(&listing->entries);
	free(listing);
}

static void listing_cancel(void *work)
{
	listing_free(work);
}

static void list_entry(struct listing *listing, const struct entry *entry)
{
	msgpack_packer pack = pack_to(&listing->entries);
	struct slice question = entry->question;

	question.length = slice_whole_characters(question, ADMIN_QUESTION_SHOWN);
	msgpack_pack_map(&pack, COMMON_PAIRS + 1);
	pack_common(&pack, entry, deadlines_now_ms(listing->service->deadlines));
	pack_named_text(&pack, "question", question);
	listing->count++;
}

static void listing_finish(struct listing *listing, struct slice next)
{
	struct call *call = listing->call;
	struct buffer out;

	buffer_init(&out, ADMIN_RESULT_MOST);
	msgpack_packer pack = pack_to(&out);
	msgpack_pack_map(&pack, 2);
	pack_named_text(&pack, "next", next);
	pack_key(&pack, "entries");
	msgpack_pack_array(&pack, listing->count);
	(void)buffer_append(&out, listing->entries.data, listing->entries.length);
	listing_free(listing);
	admin_finish(call, &out);
}

static void listed_entry_came(struct store_walk *walk, struct entry *entry)
{
	list_entry(walk->data, entry);
	entry_destroy(entry);
}

static void list_done(struct store_walk *walk, int error)
{
	struct listing *listing = walk->data;
	struct call *call = listing->call;
	struct fault fault;

	if (!error) {
		char next[sizeof(walk->next)];
		memcpy(next, walk->next, sizeof(next));
		listing_finish(listing, next[0] ? slice_of(next) : (struct slice){0});
		return;
	}
	listing_free(listing);
	(void)fault_set(&fault, ERROR_UNAVAILABLE, "", "Redis did not answer");
	call_fail(call, &fault);
}

static bool list_from_memory(void *data, const struct entry *entry)
{
	struct listing *listing = data;

	listing->seen++;
	listing->last = entry->identity;
	if (slice_equal(entry->namespace, listing->namespace))
		list_entry(listing, entry);
	return true;
}

/* The walk passes entries of all namespaces: `limit` is how many of them are looked at in one request. */
static int list_memory(struct listing *listing, const struct request *request, struct fault *fault)
{
	struct identity after;
	char hex[IDENTITY_HEX];

	if (request->after.length && identity_parse(request->after, &after) != 0)
		return fault_set(fault, ERROR_INVALID, "field=after", "must be `next` of an earlier list");
	listing->namespace = request->namespace;
	memory_cache_walk(listing->service->memory, request->after.length ? &after : NULL, request->limit, list_from_memory,
			  listing);
	listing_finish(listing, listing->seen == request->limit ? hex_of(&listing->last, hex) : (struct slice){0});
	return 0;
}

int admin_list(struct call *call, const struct request *request, struct fault *fault)
{
	struct service *service = call->calls->service;
	char after[sizeof(((struct store_walk *)0)->next)];
	struct listing *listing;
	int error;

	if (request->after.length >= sizeof(after))
		return fault_set(fault, ERROR_INVALID, "field=after", "must be `next` of an earlier list");
	listing = calloc(1, sizeof(*listing));
	if (!listing)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	listing->call = call;
	listing->service = service;
	buffer_init(&listing->entries, ADMIN_RESULT_MOST - 8192);
	listing->walk = (struct store_walk){.entry = listed_entry_came, .done = list_done, .data = listing};
	call->work = listing;
	call->cancel = listing_cancel;
	if (service->store) {
		memcpy(after, request->after.data ? request->after.data : "", request->after.length);
		after[request->after.length] = '\0';
		error = store_walk(service->store, &listing->walk, request->namespace, after, request->limit, false);
		if (error)
			(void)fault_set(fault, error, error == ERROR_INVALID ? "field=after" : "", "%s",
					error == ERROR_INVALID ? "must be `next` of an earlier list" : "Redis is away");
	} else {
		error = list_memory(listing, request, fault);
	}
	if (error) {
		listing_free(listing);
		call->work = NULL;
	}
	return error;
}
