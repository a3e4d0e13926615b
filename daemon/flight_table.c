/* The table of flights: how one is opened or joined, and how it ends. */
#include "flight_private.h"

#include "memory_cache.h"
#include "replica.h"
#include "review.h"

#include "../proto/reader.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct flights *flights_create(struct service *service)
{
	struct flights *flights = calloc(1, sizeof(*flights));

	if (flights) {
		flights->service = service;
		flights->ready_due.expired = flights_ready;
	}
	return flights;
}

void flights_destroy(struct flights *flights)
{
	if (!flights)
		return;
	while (flights->all) {
		struct flight *flight = flights->all;
		while (flight->riders)
			riders_remove(flight->riders);
		flight_end(flight);
	}
	deadline_stop(flights->service->deadlines, &flights->ready_due);
	free(flights);
}

size_t flights_count(const struct flights *flights)
{
	return flights->count;
}

/* The text of the last message that has one, for people; absent if none has. */
static struct slice last_text(const struct request *request)
{
	struct reader r = reader_of(request->messages);
	struct reader_value array, map, key, value;
	struct slice text = request->prompt;

	if (text.data || reader_next(&r, &array) != 0)
		return text;
	for (size_t i = 0; i < array.count; i++) {
		if (reader_next(&r, &map) != 0 || map.type != READER_MAP)
			return text;
		for (size_t pair = 0; pair < map.count; pair++) {
			struct reader before;
			if (reader_next(&r, &key) != 0)
				return text;
			before = r;
			if (reader_next(&r, &value) != 0)
				return text;
			if (value.type == READER_TEXT && slice_equal(key.text, SLICE("content")))
				text = value.text;
			r = before;
			if (reader_skip(&r, NULL) != 0)
				return text;
		}
	}
	return text;
}

static void rebase(struct slice *slice, struct slice from, const char *to)
{
	if (slice->data && slice->data >= from.data && slice->data <= from.data + from.length)
		slice->data = to + (slice->data - from.data);
}

/* Copies the message, and makes the request's slices point into the copy. */
static int own_message(struct flight *flight, const struct question *question)
{
	struct request *request = &flight->request;
	struct slice from = question->message;

	flight->message = malloc(from.length ? from.length : 1);
	if (!flight->message)
		return ERROR_MEMORY;
	memcpy(flight->message, from.data, from.length);
	*request = *question->request;
	flight->model = question->model;
	struct slice *const slices[] = {&request->prompt,     &request->messages,  &request->model,
					&request->parameters, &request->namespace, &request->question,
					&request->context,    &request->answer,    &flight->model};
	for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++)
		rebase(slices[i], from, flight->message);
	for (size_t i = 0; i < request->tag_count; i++) {
		rebase(&request->tags[i], from, flight->message);
		flight->tags[i] = request->tags[i];
	}
	flight->tag_count = request->tag_count;
	return 0;
}

/* Finds out what is compared by meaning, and within what. */
static int find_scope(struct flight *flight)
{
	const struct service *service = flight->service;
	const struct identity_source source = {
		.namespace = flight->request.namespace,
		.upstream = flight->upstream ? slice_of(flight->upstream->name) : SLICE(""),
		.model = flight->model,
		.parameters = flight->request.parameters,
		.prompt = flight->request.prompt,
		.messages = flight->request.messages,
		.question = flight->request.question,
		.context = flight->request.context,
	};
	enum identity_compared compared;
	struct slice text = {0};
	int error = identity_scope(service->hasher, &source, &compared, &text, &flight->traits, &flight->scope);

	if (error)
		return error;
	flight->compared = compared == COMPARED && service->embedder && flight->space->mode != CONFIG_MODE_EXACT &&
			   text.length <= service->config->embedder.max_bytes;
	flight->text = text.data ? text : last_text(&flight->request);
	if (!flight->text.data)
		flight->text = SLICE("");
	const struct slice digested[] = {flight->request.namespace, flight->text};
	return identity_digest(service->hasher, digested, 2, &flight->digest);
}

static struct flight *flight_open(struct service *service, enum flight_kind kind, const struct question *question)
{
	struct flight *flight = calloc(1, sizeof(*flight));

	if (!flight)
		return NULL;
	flight->service = service;
	flight->kind = kind;
	flight->space = question->space;
	flight->upstream = question->upstream;
	flight->identity = question->identity;
	flight->ttl_s = question->ttl_s;
	flight->fetching = -1;
	flight->due.expired = flight_due;
	buffer_init(&flight->usage, 256);
	answer_init(&flight->answer);
	if (own_message(flight, question) != 0 || find_scope(flight) != 0) {
		free(flight->message);
		free(flight);
		return NULL;
	}
	if (!flight->compared)
		flight->missed = REASON_exact_only;
	if (service->store)
		flight->generation = store_generation(service->store, flight->request.namespace);
	DL_APPEND(service->flights->all, flight);
	service->flights->count++;
	return flight;
}

static int flight_start(struct service *service, enum flight_kind kind, struct rider *rider, const struct question *question,
			struct fault *fault)
{
	struct flight *flight = flight_open(service, kind, question);

	if (!flight)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory for another question");
	if (kind == FLIGHT_ASK) {
		HASH_ADD(hh, service->flights->by_identity, identity, sizeof(flight->identity), flight);
		flight->is_listed = flight->hh.tbl != NULL;
		if (!flight->is_listed) {
			flight_end(flight);
			return fault_set(fault, ERROR_MEMORY, "", "out of memory for another question");
		}
	}
	rider->ttl_s = question->ttl_s;
	riders_add(flight, rider);
	rider->opened = true;
	flight_step(flight);
	return 0;
}

int flight_ask(struct service *service, struct rider *rider, const struct question *question, struct fault *fault)
{
	struct flight *flight = NULL;

	HASH_FIND(hh, service->flights->by_identity, &question->identity, sizeof(question->identity), flight);
	if (flight && rider->policy.refresh && flight->state > FLIGHT_CHAT) {
		/* That answer was complete before this call came, so it is not what was asked for. */
		flight_unlist(flight);
		flight = NULL;
	}
	if (!flight)
		return flight_start(service, FLIGHT_ASK, rider, question, fault);
	/* What is stored under the identity is read at the beginning, if at all, and one that never asks the model needs
	 * nothing else of the flight. */
	if (rider->only && (flight->state > FLIGHT_EXACT || !flight->is_reading))
		return flight_start(service, FLIGHT_LOOKUP, rider, question, fault);
	if (flight->state >= FLIGHT_CHAT) {
		int error = deadline_start(service->deadlines, &flight->due, 0);
		if (error)
			return fault_set(fault, error, "", "out of memory for another call");
	}
	/* Its settings may be others than those that the flight was opened under. */
	flight->space = question->space;
	flight->weighed = 0;
	rider->ttl_s = question->ttl_s;
	riders_add(flight, rider);
	flight_take_tags(flight, question->request->tags, question->request->tag_count);
	return 0;
}

int flight_lookup(struct service *service, struct rider *rider, const struct question *question, struct fault *fault)
{
	return flight_start(service, FLIGHT_LOOKUP, rider, question, fault);
}

int flight_explain(struct service *service, struct rider *rider, const struct question *question, struct fault *fault)
{
	return flight_start(service, FLIGHT_EXPLAIN, rider, question, fault);
}

int flight_add(struct service *service, struct rider *rider, const struct question *question, struct fault *fault)
{
	const struct forget forget = {.namespace = question->request->namespace, .identity = &question->identity};

	flights_forget(service->flights, &forget);
	return flight_start(service, FLIGHT_ADD, rider, question, fault);
}

/* Nobody can join any more, neither by identity nor by meaning. */
void flight_unlist(struct flight *flight)
{
	flight_hide(flight);
	if (flight->is_listed)
		HASH_DEL(flight->service->flights->by_identity, flight);
	flight->is_listed = false;
}

void flight_end(struct flight *flight)
{
	struct service *service = flight->service;
	struct index *index = &service->index;

	flight_unlist(flight);
	deadline_stop(service->deadlines, &flight->due);
	if (flight->is_ready)
		DL_DELETE2(service->flights->ready, flight, ready_prev, ready_next);
	store_read_cancel(&flight->read);
	store_read_cancel(&flight->vector_read);
	if (flight->is_embedding)
		embedding_cancel(&flight->embedding);
	flight_end_second(flight);
	if (flight->is_searching)
		index->ops->cancel(index->state, &flight->search);
	if (flight->is_chatting)
		chat_cancel(&flight->chat);
	if (flight->is_writing)
		store_write_cancel(&flight->write);
	if (flight->state != FLIGHT_DONE)
		service->flights->count--;
	if (flight->is_detached)
		service->flights->detached--;
	DL_DELETE(service->flights->all, flight);
	entry_destroy(flight->read.entry);
	free(flight->vector_read.vector);
	entry_destroy(flight->stale);
	index_candidates_free(&flight->search);
	free(flight->vector);
	answer_deinit(&flight->answer);
	buffer_deinit(&flight->usage);
	flight_free_wordings(flight);
	for (size_t i = 0; i < LIMIT_TAGS; i++)
		free(flight->tags_owned[i]);
	free(flight->message);
	free(flight);
}

/* The last rider has left. Before the model is asked nobody wants the rest; while it is asked the answer is nearly paid for,
 * so it is finished for the cache, if it may be kept at all. */
void flight_abandon(struct flight *flight)
{
	struct service *service = flight->service;

	if (flight->state == FLIGHT_STORE || flight->is_detached)
		return;
	if (flight->state == FLIGHT_CHAT && flight->is_chatting && flight_is_cacheable(flight) &&
	    service->flights->detached < service->config->server.max_detached) {
		flight->is_detached = true;
		service->flights->detached++;
		service->metrics.flights_detached++;
		return;
	}
	if (flight->state != FLIGHT_DONE)
		service->metrics.flights_cancelled++;
	flight_end(flight);
}

/* The answer that may be served although it is no longer fresh, because the model failed. */
static const struct entry *stale_entry(struct flight *flight)
{
	struct service *service = flight->service;
	struct memory_hit hit;

	if (flight->forgotten)
		return NULL;
	if (flight->stale)
		return flight->stale;
	if (replica_is_current(service) &&
	    memory_cache_get(service->memory, &flight->identity, deadlines_now_ms(service->deadlines), &hit) && !hit.alias)
		return hit.entry;
	return NULL;
}

void flight_fail(struct flight *flight, const struct fault *fault)
{
	const struct fault told = *fault;
	const struct entry *stale = stale_entry(flight);

	flight->fault = told;
	flight_unlist(flight);
	/* Somebody may have added it meanwhile, and then it is fresh. */
	bool is_fresh = stale && stale->fresh_until_at_ms > deadlines_now_ms(flight->service->deadlines);
	if (stale)
		riders_serve_exact(flight, stale, NULL, is_fresh ? TIER_MEMORY : TIER_STALE);
	riders_fail(flight, &told);
	if (!flight->riders)
		flight_end(flight);
}

/* ---- what others remove ---- */

static bool is_meant(const struct flight *flight, const struct forget *forget)
{
	if (forget->namespace.data && !slice_equal(forget->namespace, flight->request.namespace))
		return false;
	if (forget->question.data)
		return slice_equal(forget->question, flight->text);
	if (!forget->tag.data)
		return true;
	for (size_t i = 0; i < flight->tag_count; i++)
		if (slice_equal(forget->tag, flight->tags[i]))
			return true;
	return false;
}

/* Nothing of it is kept from now on, so where nobody waits for the model any more, it need not answer. */
static void flight_forget(struct flight *flight)
{
	flight->forgotten = true;
	flight_unlist(flight);
	if (flight->is_detached && flight->state == FLIGHT_CHAT) {
		flight->service->metrics.flights_cancelled++;
		flight_end(flight);
	}
}

void flights_forget(struct flights *flights, const struct forget *forget)
{
	const struct slice digested[] = {forget->namespace, forget->question};
	struct flight *flight, *next;
	struct identity digest;

	flights_distrust_reads(flights);
	reviews_forget(flights->service->reviews, forget);
	if (forget->identity) {
		HASH_FIND(hh, flights->by_identity, forget->identity, sizeof(*forget->identity), flight);
		if (flight && flight != forget->except)
			flight_forget(flight);
		return;
	}
	bool has_digest = forget->question.data && identity_digest(flights->service->hasher, digested, 2, &digest) == 0;
	DL_FOREACH_SAFE (flights->all, flight, next) {
		if (flight == forget->except)
			continue;
		if (has_digest && flight->wordings)
			flight_forget_wording(flight, &digest);
		if (!flight->forgotten && is_meant(flight, forget))
			flight_forget(flight);
	}
}

uint64_t flights_removals(const struct flights *flights)
{
	return flights->distrusted;
}

void flights_distrust_reads(struct flights *flights)
{
	flights->distrusted++;
}
