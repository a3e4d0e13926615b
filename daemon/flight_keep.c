/* What of a flight is kept: complete answers that somebody wants kept, and the wordings that led to them. */
#include "flight_private.h"

#include "clock.h"
#include "memory_cache.h"
#include "pack.h"
#include "replica.h"

#include <stdlib.h>
#include <string.h>

bool flight_is_cacheable(const struct flight *flight)
{
	return flight->wants_store && !flight->forgotten && !flight->traits.never_store && flight->ttl_s > 0;
}

/* What Redis had is kept in memory too, unless something was removed or replaced while it was being read. */
void flight_keep_read(struct flight *flight, const struct entry *entry, const struct alias *alias)
{
	struct service *service = flight->service;

	if (flight->forgotten || flight->reads_trusted != service->flights->distrusted)
		return;
	(void)memory_cache_put(service->memory, entry);
	if (alias)
		(void)memory_cache_put_alias(service->memory, flight->request.namespace, alias,
					     deadlines_now_ms(service->deadlines) + alias->expire_ms);
}

/* How long an alias to `entry` may live: no longer than the entry itself. */
static uint64_t alias_lifetime_ms(const struct flight *flight, const struct entry *entry)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	uint64_t rest_ms = entry->expires_at_ms > now_ms ? entry->expires_at_ms - now_ms : 0;
	uint64_t most_ms = flight->space->alias_ttl * 1000;

	return rest_ms < most_ms ? rest_ms : most_ms;
}

static void keep_alias(struct flight *flight, const struct entry *entry, const struct identity *identity,
		       const struct identity *digest, double similarity, double score)
{
	struct service *service = flight->service;
	struct alias alias = {
		.identity = *identity,
		.entry = entry->identity,
		.entry_created_ms = entry->created_ms,
		.generation = entry->generation,
		.similarity = similarity,
		.score = score,
		.kind = ALIAS_PROMOTED,
		.expire_ms = alias_lifetime_ms(flight, entry),
	};

	if (alias.expire_ms == 0)
		return;
	memcpy(alias.embedder, embedder_name(service->embedder), sizeof(alias.embedder) - 1);
	(void)memory_cache_put_alias(service->memory, flight->request.namespace, &alias,
				     deadlines_now_ms(service->deadlines) + alias.expire_ms);
	if (service->store)
		(void)store_put_alias(service->store, NULL, flight->request.namespace, &alias, digest);
	service->metrics.aliases_stored++;
}

void flight_keep_alias(struct flight *flight, const struct entry *entry, double similarity, double score)
{
	if (flight->forgotten || flight->space->alias_ttl == 0 || flight->traits.never_store)
		return;
	keep_alias(flight, entry, &flight->identity, &flight->digest, similarity, score);
}

/* Sixteen hex digits of the digest of all that is sent but the compared text; "" where nothing is compared. */
static struct slice messages_of(const struct flight *flight, char hex[IDENTITY_HEX])
{
	const struct identity_source source = {
		.prompt = flight->request.prompt,
		.messages = flight->request.messages,
		.question = flight->request.question,
		.context = flight->request.context,
	};
	struct identity digest;

	if (!flight->compared || identity_messages(flight->service->hasher, &source, flight->text, &digest) != 0)
		return SLICE("");
	identity_hex(&digest, hex);
	return (struct slice){hex, 16};
}

/* What was asked, for `explain`: {model, upstream, context, messages, parameters}. */
static int describe_request(const struct flight *flight, struct buffer *out)
{
	struct slice context = flight->request.context.data ? flight->request.context : SLICE("all");
	struct slice parameters = flight->request.parameters;
	char hex[IDENTITY_HEX];
	msgpack_packer pack;
	int error = buffer_reserve(out, 256 + flight->model.length + context.length + parameters.length);

	if (error)
		return error;
	pack = pack_to(out);
	msgpack_pack_map(&pack, 5);
	pack_named_text(&pack, "model", flight->model);
	pack_named_text(&pack, "upstream", flight->upstream ? slice_of(flight->upstream->name) : SLICE(""));
	pack_named_text(&pack, "context", context);
	pack_named_text(&pack, "messages", messages_of(flight, hex));
	pack_key(&pack, "parameters");
	if (parameters.data)
		return buffer_append(out, parameters.data, parameters.length);
	msgpack_pack_map(&pack, 0);
	return 0;
}

static int join_tags(const struct flight *flight, struct buffer *out)
{
	int error = buffer_append(out, "", 0);

	for (size_t i = 0; i < flight->tag_count && !error; i++) {
		if (i > 0)
			error = buffer_append(out, " ", 1);
		if (!error)
			error = buffer_append(out, flight->tags[i].data, flight->tags[i].length);
	}
	return error;
}

static void write_came(struct store_write *write, int error)
{
	struct flight *flight = write->data;

	flight->write_error = error;
	if (error && error != ERROR_PENDING && flight->kind == FLIGHT_ADD)
		replica_removed(flight->service, flight->request.namespace, &flight->identity);
	flight_step(flight);
}

static void keep_wordings(struct flight *flight, const struct entry *entry)
{
	for (struct flight_wording *wording = flight->wordings; wording; wording = wording->next)
		keep_alias(flight, entry, &wording->identity, &wording->digest, wording->similarity, wording->score);
}

/* Puts the entry where it belongs: memory, the index, Redis. Returns whether Redis's reply is awaited. */
static bool keep_entry(struct flight *flight, const struct entry *entry)
{
	struct service *service = flight->service;
	bool is_pending = false;

	if (service->store) {
		flight->write = (struct store_write){.done = write_came, .data = flight};
		flight->write_error = store_put_entry(service->store, &flight->write, entry);
		is_pending = flight->write_error == 0;
		/* What was there before is then still there; a model's answer is good for memory at least. */
		if (!is_pending && flight->kind == FLIGHT_ADD)
			return false;
	}
	bool is_in_memory = memory_cache_put(service->memory, entry) == 0;
	if (!service->store)
		flight->write_error = is_in_memory ? 0 : ERROR_TOO_LARGE;
	flight->is_kept = is_in_memory || is_pending;
	if (!flight->is_kept)
		return false;
	service->metrics.entries_stored++;
	if (entry->vector)
		(void)service->index.ops->put(service->index.state, entry);
	if (flight->wordings)
		keep_wordings(flight, entry);
	return is_pending;
}

static bool keep(struct flight *flight, struct slice answer, struct slice finish_reason)
{
	struct service *service = flight->service;
	struct buffer request, tags;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	uint64_t soft_ms = (uint64_t)flight->ttl_s * 1000;
	uint64_t expire_ms = soft_ms + flight->space->stale_window * 1000;
	bool is_pending = false;

	buffer_init(&request,
		    1024 + flight->model.length + flight->request.context.length + flight->request.parameters.length);
	buffer_init(&tags, LIMIT_TAGS * (LIMIT_TAG_BYTES + 1));
	const struct entry entry = {
		.identity = flight->identity,
		.scope = flight->scope,
		.compared = flight->compared,
		.generation = flight->generation,
		.created_ms = clock_wall_ms(),
		.soft_ms = soft_ms,
		.expire_ms = expire_ms,
		.created_at_ms = now_ms,
		.fresh_until_at_ms = now_ms + soft_ms,
		.expires_at_ms = now_ms + expire_ms,
		.namespace = flight->request.namespace,
		.question = flight->text,
		.answer = answer,
		.model = flight->model,
		.finish_reason = finish_reason,
		.usage = flight->usage.length ? buffer_slice(&flight->usage) : (struct slice){0},
		.vector = flight->compared ? flight->vector : NULL,
		.dimensions = flight->compared && flight->vector ? flight->dimensions : 0,
		.second = flight->compared ? flight->second.vector : NULL,
		.second_dimensions = flight->compared && flight->second.vector ? flight->second.dimensions : 0,
	};
	struct entry whole = entry;
	flight->kept_created_ms = entry.created_ms;
	if (describe_request(flight, &request) == 0 && join_tags(flight, &tags) == 0) {
		whole.request = buffer_slice(&request);
		whole.tags = buffer_slice(&tags);
		is_pending = keep_entry(flight, &whole);
	} else {
		flight->write_error = ERROR_MEMORY;
	}
	buffer_deinit(&request);
	buffer_deinit(&tags);
	return is_pending;
}

bool flight_keep_answer(struct flight *flight)
{
	bool is_pending = false;
	char *text = NULL;

	if (flight->end.complete && flight_is_cacheable(flight))
		text = malloc(flight->answer.length ? flight->answer.length : 1);
	if (!text) {
		flight->service->metrics.entries_not_stored++;
		return false;
	}
	answer_copy(&flight->answer, text);
	is_pending = keep(flight, (struct slice){text, flight->answer.length}, slice_of(flight->end.finish_reason));
	free(text);
	return is_pending;
}

bool flight_keep_added(struct flight *flight)
{
	struct service *service = flight->service;

	if (flight->ttl_s == 0) {
		flight->write_error = ERROR_INVALID;
		return false;
	}
	/* It is as new as the moment at which it is stored: what was removed until now is older, and what was asked until
	 * now is overwritten by it. */
	const struct forget older = {.namespace = flight->request.namespace, .identity = &flight->identity};
	flights_forget(service->flights, &older);
	if (service->store)
		flight->generation = store_generation(service->store, flight->request.namespace);
	flight->is_writing = keep(flight, flight->request.answer, SLICE("stop"));
	return flight->is_writing;
}
