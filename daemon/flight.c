/* The story of a question, from top to bottom: flight_step().
 *
 * A state is named after what is being awaited. When it has come, flight_step() looks at the outcome, serves the riders that
 * it satisfies, starts the next step and returns; what cannot be started or fails is left out, and the flight goes on
 * without. Only the model's failure ends it without an answer. */
#include "flight_private.h"

#include "clock.h"
#include "memory_cache.h"
#include "pair.h"
#include "pack.h"
#include "replica.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- what is awaited ---- */

/* To look a question up, compare it with what is in the air and ask the model is a lot when many vectors come at once: in
 * each millisecond of the loop's clock flights go on for PACE_US, and the others in later turns, in their order. */
#define PACE_US 300

static bool may_go_on(struct flights *flights)
{
	uint64_t now_ms = deadlines_now_ms(flights->service->deadlines);

	if (flights->paced_ms != now_ms) {
		flights->paced_ms = now_ms;
		flights->paced_us = 0;
	}
	return flights->paced_us < PACE_US;
}

static void go_on(struct flights *flights, struct flight *flight)
{
	uint64_t started_us = clock_us();

	flight_step(flight);
	flights->paced_us += clock_us() - started_us;
}

void flights_ready(struct deadline *due)
{
	struct flights *flights = (struct flights *)((char *)due - offsetof(struct flights, ready_due));

	while (flights->ready && may_go_on(flights)) {
		struct flight *flight = flights->ready;
		DL_DELETE2(flights->ready, flight, ready_prev, ready_next);
		flight->is_ready = false;
		go_on(flights, flight);
	}
	/* It takes the place that it just had, so that this needs no memory. */
	if (flights->ready)
		(void)deadline_start(flights->service->deadlines, &flights->ready_due, 0);
}

void flight_go_on(struct flight *flight)
{
	struct flights *flights = flight->service->flights;
	bool has_turn = !flights->ready && may_go_on(flights);

	if (!has_turn && !flights->ready_due.place)
		has_turn = deadline_start(flights->service->deadlines, &flights->ready_due, 0) != 0;
	if (has_turn) {
		go_on(flights, flight);
		return;
	}
	DL_APPEND2(flights->ready, flight, ready_prev, ready_next);
	flight->is_ready = true;
}

static void read_came(struct store_read *read, int error)
{
	struct flight *flight = read->data;

	(void)error; /* nothing there, as far as this flight is concerned; the store has counted and told it */
	if (--flight->awaiting > 0)
		return;
	if (flight->vector_read.vector && !flight->read.entry)
		flight_go_on(flight);
	else
		flight_step(flight);
}

/* Reads the identity and the question's embedding, both at once. Returns whether something is awaited. */
static bool start_reads(struct flight *flight)
{
	struct service *service = flight->service;
	struct slice namespace = flight->request.namespace;

	if (!service->store)
		return false;
	flight->reads_trusted = service->flights->distrusted;
	flight->read = (struct store_read){.done = read_came, .data = flight};
	flight->vector_read = flight->read;
	if (flight->kind != FLIGHT_ADD && !flight->riders->policy.refresh &&
	    store_find(service->store, &flight->read, namespace, &flight->identity) == 0) {
		flight->is_reading = true;
		flight->awaiting++;
	}
	if (riders_want_meaning(flight) && store_find_vector(service->store, &flight->vector_read, &flight->digest) == 0)
		flight->awaiting++;
	return flight->awaiting > 0;
}

/* Another generation than the one known when the flight was opened: somebody flushed, or removed the key. What this flight
 * will store is younger than that. */
static void take_generation(struct flight *flight, uint64_t generation)
{
	if (generation == 0)
		return;
	if (flight->generation != 0 && flight->generation != generation && !flight->forgotten)
		replica_flushed(flight->service, flight->request.namespace, flight);
	if (!flight->forgotten)
		flight->generation = generation;
}

static void take_reads(struct flight *flight)
{
	struct entry *entry = flight->read.entry;

	if (flight->vector_read.vector) {
		flight->vector = flight->vector_read.vector;
		flight->dimensions = flight->vector_read.dimensions;
		flight->vector_read.vector = NULL;
		flight->service->metrics.embedding_cache_hits++;
	}
	take_generation(flight, flight->read.generation);
	if (!entry)
		return;
	flight->read.entry = NULL;
	const struct alias *alias = flight->read.has_alias ? &flight->read.alias : NULL;
	/* A similarity measured by another embedder says nothing about the threshold in force. */
	bool is_usable = !alias || alias->kind == ALIAS_ACCEPTED ||
			 (flight->service->embedder &&
			  strcmp(alias->embedder, embedder_name(flight->service->embedder)) == 0);
	if (is_usable && flight->kind == FLIGHT_EXPLAIN) {
		flight->read.entry = entry;
		return;
	}
	if (is_usable) {
		flight_keep_read(flight, entry, alias);
		riders_serve_exact(flight, entry, alias, TIER_EXACT);
	}
	if (is_usable && !alias && entry->expires_at_ms > entry->fresh_until_at_ms)
		flight->stale = entry;
	else
		entry_destroy(entry);
}

/* So that the embedder is not asked for it again; but nothing comes after a removal that was there before it. */
static void keep_embedding(const struct flight *flight)
{
	struct store *store = flight->service->store;

	if (!flight->is_new || !store || flight->forgotten)
		return;
	store_set_dimensions(store, flight->dimensions);
	store_put_vector(store, flight->request.namespace, &flight->digest, flight->vector, flight->dimensions,
			 flight->service->config->embedder.cache_ttl * 1000);
}

static void embedding_came(struct embedding *embedding, int error)
{
	struct flight *flight = embedding->data;

	flight->is_embedding = false;
	flight->embedding_us = clock_us() - flight->step_us;
	if (error) {
		flight->missed = REASON_embedder_unavailable;
	} else {
		flight->vector = embedding->vector;
		flight->dimensions = embedding->dimensions;
		flight->is_new = true;
	}
	flight_go_on(flight);
}

static bool start_embedding(struct flight *flight)
{
	struct service *service = flight->service;

	if (flight->vector || !riders_want_meaning(flight))
		return false;
	flight->embedding = (struct embedding){.done = embedding_came, .data = flight, .text = flight->text};
	flight->step_us = clock_us();
	if (embedding_start(service->embedder, &flight->embedding) != 0) {
		flight->missed = REASON_embedder_unavailable;
		return false;
	}
	flight->is_embedding = true;
	return true;
}

static void search_came(struct index_search *search, int error)
{
	struct flight *flight = search->data;

	flight->is_searching = false;
	flight->search_us = clock_us() - flight->step_us;
	if (error)
		flight->missed = REASON_search_unavailable;
	flight_step(flight);
}

static bool start_search(struct flight *flight)
{
	struct index *index = &flight->service->index;

	if (!flight->vector || !riders_want_search(flight))
		return false;
	if (!pair_known(flight->service)) {
		flight->missed = REASON_verdicts_unknown;
		return false;
	}
	flight->search = (struct index_search){.done = search_came, .data = flight};
	flight->step_us = clock_us();
	int outcome = index->ops->search(index->state, &flight->search, &flight->scope, flight->vector, flight->dimensions,
					 deadlines_now_ms(flight->service->deadlines));
	if (outcome == 0) {
		flight->is_searching = true;
		return true;
	}
	flight->search_us = clock_us() - flight->step_us;
	if (outcome < 0)
		flight->missed = REASON_search_unavailable;
	return false;
}

static void serve_candidates_and_go_on(struct flight *flight);

static void candidate_came(struct store_read *read, int error)
{
	struct flight *flight = read->data;
	struct index *index = &flight->service->index;
	size_t wanted = (size_t)flight->fetching;
	struct entry *entry = read->entry;

	flight->fetching = -1;
	read->entry = NULL;
	if (flight->state > FLIGHT_CHAT) {
		/* The model was faster; its answer is as good for those who waited for this. */
		entry_destroy(entry);
		return;
	}
	if (error || !entry) {
		flight->gone |= UINT32_C(1) << wanted;
		/* Redis says that it is not there: then the index should not name it again. */
		if (!error && flight->reads_trusted == flight->service->flights->distrusted)
			(void)index->ops->remove(index->state, &flight->search.candidates[wanted].identity);
	} else {
		flight_keep_read(flight, entry, NULL);
		riders_serve_candidate(flight, wanted, entry);
		entry_destroy(entry);
	}
	serve_candidates_and_go_on(flight);
}

/* Serves each rider from the best candidate that its policy allows, from memory or else from Redis. Returns whether a
 * candidate is being read. Ends, since each turn serves a rider, or makes a candidate gone. */
static bool serve_candidates(struct flight *flight)
{
	struct service *service = flight->service;
	int wanted;

	while (flight->fetching < 0 && (wanted = riders_wanted_candidate(flight)) >= 0) {
		const struct identity *identity = &flight->search.candidates[wanted].identity;
		struct memory_hit hit;
		if (replica_is_current(service) &&
		    memory_cache_get(service->memory, identity, deadlines_now_ms(service->deadlines), &hit) && !hit.alias) {
			riders_serve_candidate(flight, (size_t)wanted, hit.entry);
			continue;
		}
		flight->read = (struct store_read){.done = candidate_came, .data = flight};
		flight->reads_trusted = service->flights->distrusted;
		if (service->store &&
		    store_fetch(service->store, &flight->read, flight->request.namespace, identity, false) == 0)
			flight->fetching = wanted;
		else
			flight->gone |= UINT32_C(1) << wanted;
	}
	return flight->fetching >= 0;
}

static void chat_text(struct chat *chat, struct slice text)
{
	struct flight *flight = chat->data;
	struct fault fault;

	if (answer_append(&flight->answer, text) != 0) {
		chat_cancel(chat);
		flight->is_chatting = false;
		(void)fault_set(&fault, ERROR_MEMORY, "", "out of memory for the answer");
		flight_fail(flight, &fault);
		return;
	}
	riders_tell(flight);
}

/* Writes the call's token counts as they are stored and sent. */
static void take_usage(struct flight *flight, const struct chat_usage *usage)
{
	msgpack_packer pack;

	if (!usage->known)
		return;
	pack = pack_to(&flight->usage);
	msgpack_pack_map(&pack, 3);
	pack_named_uint(&pack, "prompt_tokens", usage->prompt_tokens);
	pack_named_uint(&pack, "completion_tokens", usage->completion_tokens);
	pack_named_uint(&pack, "total_tokens", usage->total_tokens);
}

static void chat_ended(struct chat *chat, const struct chat_end *end, const struct fault *fault)
{
	struct flight *flight = chat->data;

	flight->is_chatting = false;
	flight->upstream_us = clock_us() - flight->step_us;
	if (fault) {
		/* Those who came last may not have been looked at yet. */
		if (flight->fetching < 0)
			(void)serve_candidates(flight);
		flight_fail(flight, fault);
		return;
	}
	flight->end = *end;
	take_usage(flight, &end->usage);
	flight_step(flight);
}

static bool start_chat(struct flight *flight)
{
	struct service *service = flight->service;
	const struct chat_question question = {
		.upstream = flight->upstream,
		.model = flight->model,
		.prompt = flight->request.prompt,
		.messages = flight->request.messages,
		.parameters = flight->request.parameters,
	};

	if (!flight->upstream) {
		(void)fault_set(&flight->fault, ERROR_UNAVAILABLE, "", "no upstream is configured for this model");
		return false;
	}
	flight->chat = (struct chat){.text = chat_text, .done = chat_ended, .data = flight};
	flight->step_us = clock_us();
	if (chat_start(service->upstreams, &flight->chat, &question, &flight->fault) != 0)
		return false;
	flight->is_chatting = true;
	riders_ask(flight);
	flight_show(flight);
	flight_ask_second(flight);
	return true;
}

/* ---- the story ---- */

void flight_step(struct flight *flight)
{
	for (;;) {
		switch (flight->state) {
		case FLIGHT_NEW:
			flight->state = FLIGHT_EXACT;
			if (start_reads(flight))
				return;
			continue;

		case FLIGHT_EXACT:
			take_reads(flight);
			if (!flight->riders)
				return flight_end(flight);
			flight->state = FLIGHT_EMBED;
			if (start_embedding(flight))
				return;
			continue;

		case FLIGHT_EMBED:
			keep_embedding(flight);
			flight->state = FLIGHT_SEARCH;
			if (flight->kind != FLIGHT_ADD && start_search(flight))
				return;
			continue;

		case FLIGHT_SEARCH:
			flight->state = FLIGHT_OPINION;
			if (flight_start_opinion(flight))
				return;
			continue;

		case FLIGHT_OPINION:
			flight_take_opinion(flight);
			if (flight->kind == FLIGHT_ADD) {
				flight->state = FLIGHT_STORE;
				if (flight_keep_added(flight))
					return;
				continue;
			}
			flight->state = FLIGHT_FETCH;
			continue;

		case FLIGHT_FETCH:
			if (flight->kind == FLIGHT_EXPLAIN) {
				flight_explain_to(flight, flight->riders);
				return flight_end(flight);
			}
			if (serve_candidates(flight))
				return;
			riders_join_by_meaning(flight);
			riders_miss(flight);
			riders_note(flight);
			if (!flight->riders)
				return flight_end(flight);
			flight->state = FLIGHT_CHAT;
			if (start_chat(flight))
				return;
			return flight_fail(flight, &flight->fault);

		case FLIGHT_CHAT:
			flight_hide(flight);
			flight->state = FLIGHT_STORE;
			flight->is_writing = flight_keep_answer(flight);
			flight_review_answer(flight);
			riders_tell(flight);
			if (flight->is_writing)
				return;
			continue;

		case FLIGHT_STORE:
			flight->is_writing = false;
			flight_unlist(flight);
			flight->state = FLIGHT_DONE;
			flight->service->flights->count--;
			if (flight->kind == FLIGHT_ADD)
				riders_added(flight);
			continue;

		case FLIGHT_DONE:
			if (!flight->riders)
				flight_end(flight);
			return;
		}
	}
}

/* A candidate was read for riders that came late, while the model is being asked: they are served or stay. */
static void serve_candidates_and_go_on(struct flight *flight)
{
	if (flight->state == FLIGHT_FETCH) {
		flight_step(flight);
		return;
	}
	if (serve_candidates(flight))
		return;
	riders_note(flight);
	if (!flight->is_chatting)
		flight_fail(flight, &flight->fault);
	else if (!flight->riders)
		flight_abandon(flight);
}

/* Somebody joined a flight whose model is being asked already. */
void flight_due(struct deadline *due)
{
	struct flight *flight = (struct flight *)((char *)due - offsetof(struct flight, due));

	riders_tell(flight);
	if (flight->state == FLIGHT_CHAT && flight->fetching < 0)
		serve_candidates_and_go_on(flight);
}
