/* Who rides a flight, and who is served from what is stored: each rider by its own policy. */
#include "flight_private.h"

#include "clock.h"
#include "memory_cache.h"
#include "replica.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

void riders_add(struct flight *flight, struct rider *rider)
{
	rider->flight = flight;
	rider->cursor = (struct answer_cursor){0};
	rider->opened = false;
	DL_APPEND(flight->riders, rider);
	flight->rider_count++;
	if (!rider->no_store)
		flight->wants_store = true;
	if (flight->is_detached) {
		flight->is_detached = false;
		flight->service->flights->detached--;
	}
}

void riders_remove(struct rider *rider)
{
	struct flight *flight = rider->flight;

	DL_DELETE(flight->riders, rider);
	flight->rider_count--;
	rider->flight = NULL;
}

void flight_leave(struct rider *rider)
{
	struct flight *flight = rider->flight;

	if (!flight)
		return;
	riders_remove(rider);
	if (!flight->riders)
		flight_abandon(flight);
}

bool riders_want_meaning(const struct flight *flight)
{
	const struct rider *rider;

	if (!flight->compared)
		return false;
	if (flight->kind == FLIGHT_ADD)
		return true;
	DL_FOREACH (flight->riders, rider)
		if (!rider->policy.exact_only)
			return true;
	return false;
}

bool riders_want_search(const struct flight *flight)
{
	const struct rider *rider;

	DL_FOREACH (flight->riders, rider)
		if (!rider->policy.exact_only && !rider->policy.refresh)
			return true;
	return false;
}

/* Whether it can still be given a stored answer: it has not begun to read the model's. */
static bool is_waiting(const struct rider *rider)
{
	return rider->cursor.position == 0 && !rider->joined;
}

/* ---- what riders are told ---- */

static void fill_timing(const struct flight *flight, struct result *result)
{
	result->embedding_ms = (double)flight->embedding_us / 1000;
	result->search_ms = (double)flight->search_us / 1000;
	result->upstream_ms = (double)flight->upstream_us / 1000;
}

static void fill_saved(const struct flight *flight, struct slice raw, struct result *result)
{
	struct usage usage = usage_read(raw);

	result->saved_tokens = usage.total_tokens;
	if (flight->upstream)
		result->saved_usd = ((double)usage.prompt_tokens * flight->upstream->price_input +
				     (double)usage.completion_tokens * flight->upstream->price_output) /
				    1e6;
}

/* The nearest entry, and why it was not served. */
static void fill_best(const struct flight *flight, const struct rider *rider, struct result *result)
{
	result->reason = rider->reason;
	if (flight->search.count == 0)
		return;
	const struct candidate *best = &flight->search.candidates[0];
	result->best_similarity = best->similarity;
	result->best_query = (struct slice){best->question, best->question_length};
}

static struct result result_of_entry(const struct flight *flight, const struct entry *entry, enum tier tier)
{
	struct result result = {.tier = tier, .stored = entry, .has_similarity = true, .original_query = entry->question};
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);

	if (now_ms > entry->created_at_ms)
		result.age_s = (now_ms - entry->created_at_ms) / 1000;
	if (entry->fresh_until_at_ms > now_ms)
		result.ttl_s = (entry->fresh_until_at_ms - now_ms) / 1000;
	fill_timing(flight, &result);
	fill_saved(flight, entry->usage, &result);
	return result;
}

static void serve(struct rider *rider, struct result *result)
{
	riders_remove(rider);
	rider->ops->hit(rider, result);
}

/* ---- by identity ---- */

/* A stale answer needs only to be young enough for the caller. */
static enum reason decide_stale(const struct entry *entry, const struct policy *policy, uint64_t now_ms)
{
	struct entry fresh = *entry;

	fresh.fresh_until_at_ms = entry->expires_at_ms;
	return decide_exact(&fresh, policy, now_ms);
}

void riders_serve_exact(struct flight *flight, const struct entry *entry, const struct alias *alias, enum tier tier)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	struct rider *rider, *next;

	DL_FOREACH_SAFE (flight->riders, rider, next) {
		enum reason reason = tier == TIER_STALE ? decide_stale(entry, &rider->policy, now_ms)
				     : alias            ? decide_alias(alias, entry, &rider->policy, now_ms)
							: decide_exact(entry, &rider->policy, now_ms);
		if (!is_waiting(rider))
			continue;
		if (reason != REASON_NONE) {
			rider->reason = reason;
			continue;
		}
		struct result result = result_of_entry(flight, entry, tier);
		result.similarity = alias ? alias->similarity : 1.0;
		serve(rider, &result);
	}
}

/* ---- by meaning ---- */

static struct decision decide_for(const struct flight *flight, const struct rider *rider, uint64_t now_ms)
{
	return decide(flight->search.candidates, flight->search.count, flight->gone, &rider->policy, now_ms);
}

int riders_wanted_candidate(struct flight *flight)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	struct rider *rider;
	int wanted = -1;

	DL_FOREACH (flight->riders, rider) {
		if (!is_waiting(rider))
			continue;
		struct decision decision = decide_for(flight, rider, now_ms);
		if (decision.serve && (wanted < 0 || (int)decision.index < wanted))
			wanted = (int)decision.index;
		if (decision.serve)
			continue;
		bool is_own = rider->policy.refresh || rider->policy.exact_only;
		rider->reason = !is_own && flight->missed != REASON_NONE ? flight->missed : decision.reason;
	}
	return wanted;
}

void riders_serve_candidate(struct flight *flight, size_t index, const struct entry *entry)
{
	struct candidate *candidate = &flight->search.candidates[index];
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	struct rider *rider, *next;
	bool is_wanted = false;

	/* It may have been overwritten since the search; what was read is what counts. */
	candidate->created_at_ms = entry->created_at_ms;
	candidate->fresh_until_at_ms = entry->fresh_until_at_ms;
	candidate->expires_at_ms = entry->expires_at_ms;
	DL_FOREACH (flight->riders, rider) {
		struct decision decision = decide_for(flight, rider, now_ms);
		if (is_waiting(rider) && !rider->no_store && decision.serve && decision.index == index)
			is_wanted = true;
	}
	/* The entry may be memory's own, and gone once something else is put there: what the alias needs of it is copied. */
	const struct entry brief = {.identity = entry->identity,
				    .created_ms = entry->created_ms,
				    .generation = entry->generation,
				    .expires_at_ms = entry->expires_at_ms};
	double similarity = candidate->similarity;
	DL_FOREACH_SAFE (flight->riders, rider, next) {
		struct decision decision = decide_for(flight, rider, now_ms);
		if (!is_waiting(rider) || !decision.serve || decision.index != index)
			continue;
		struct result result = result_of_entry(flight, entry, TIER_SEMANTIC);
		result.similarity = similarity;
		serve(rider, &result);
	}
	if (is_wanted && flight->kind == FLIGHT_ASK)
		flight_keep_alias(flight, &brief, similarity);
}

void riders_miss(struct flight *flight)
{
	struct rider *rider, *next;

	DL_FOREACH_SAFE (flight->riders, rider, next) {
		if (!rider->only || !is_waiting(rider))
			continue;
		struct result result = {.tier = TIER_MISS};
		fill_timing(flight, &result);
		fill_best(flight, rider, &result);
		riders_remove(rider);
		rider->ops->miss(rider, &result);
	}
}

/* ---- in the air ---- */

/* Remembers the wording of `from`, so that it gets an alias when the answer of `to` is stored. */
static void note_wording(struct flight *to, const struct flight *from, double similarity)
{
	if (to->wording_count == FLIGHT_WORDINGS)
		return;
	struct flight_wording *wording = malloc(sizeof(*wording));
	if (!wording)
		return;
	*wording = (struct flight_wording){
		.next = to->wordings, .identity = from->identity, .digest = from->digest, .similarity = similarity};
	to->wordings = wording;
	to->wording_count++;
}

void riders_join_by_meaning(struct flight *flight)
{
	struct rider *rider, *next;
	double similarity = 0.0;
	bool has_moved = false, wants_alias = false;

	if (flight->kind != FLIGHT_ASK || !flight->vector || !flight->compared || flight->forgotten)
		return;
	struct flight *other = flight_nearest(flight, &similarity);
	if (!other)
		return;
	DL_FOREACH_SAFE (flight->riders, rider, next) {
		if (rider->only || !decide_join(similarity, &rider->policy))
			continue;
		if (!has_moved && deadline_start(flight->service->deadlines, &other->due, 0) != 0)
			return;
		riders_remove(rider);
		riders_add(other, rider);
		rider->joined = true;
		rider->similarity = similarity;
		rider->asked = flight->identity;
		has_moved = true;
		wants_alias = wants_alias || !rider->no_store;
	}
	if (!has_moved)
		return;
	flight->service->metrics.flights_joined_by_meaning++;
	flight_take_tags(other, flight->tags, flight->tag_count);
	if (!flight->riders && wants_alias)
		note_wording(other, flight, similarity);
}

void flight_forget_wording(struct flight *flight, const struct identity *digest)
{
	struct flight_wording **at = &flight->wordings;

	while (*at) {
		struct flight_wording *wording = *at;
		if (memcmp(&wording->digest, digest, sizeof(*digest)) != 0) {
			at = &wording->next;
			continue;
		}
		*at = wording->next;
		flight->wording_count--;
		free(wording);
	}
}

void flight_free_wordings(struct flight *flight)
{
	while (flight->wordings) {
		struct flight_wording *next = flight->wordings->next;
		free(flight->wordings);
		flight->wordings = next;
	}
}

void flight_take_tags(struct flight *flight, const struct slice *tags, size_t count)
{
	for (size_t i = 0; i < count && flight->tag_count < LIMIT_TAGS; i++) {
		bool is_there = false;
		for (size_t k = 0; k < flight->tag_count; k++)
			is_there = is_there || slice_equal(tags[i], flight->tags[k]);
		if (is_there)
			continue;
		char *copy = strndup(tags[i].data, tags[i].length);
		if (!copy)
			return;
		flight->tags_owned[flight->tag_count] = copy;
		flight->tags[flight->tag_count++] = (struct slice){copy, tags[i].length};
	}
}

/* ---- the model's answer ---- */

void riders_ask(struct flight *flight)
{
	const struct rider *rider;

	/* The one that opened the flight may have been served from what is stored, and left. */
	flight->riders->opened = true;
	flight->ttl_s = flight->riders->ttl_s;
	flight->wants_store = false;
	DL_FOREACH (flight->riders, rider)
		flight->wants_store = flight->wants_store || !rider->no_store;
}

/* One that came from another wording may have a stale answer of its own. Returns whether it was served with it. */
static bool serve_stale_wording(struct flight *flight, struct rider *rider, uint64_t now_ms)
{
	struct service *service = flight->service;
	struct memory_hit hit;

	if (!rider->joined || rider->cursor.position > 0 || !replica_is_current(service) ||
	    !memory_cache_get(service->memory, &rider->asked, now_ms, &hit) || hit.alias ||
	    decide_stale(hit.entry, &rider->policy, now_ms) != REASON_NONE)
		return false;
	struct result result = result_of_entry(flight, hit.entry, TIER_STALE);
	result.similarity = 1.0;
	serve(rider, &result);
	return true;
}

void riders_fail(struct flight *flight, const struct fault *fault)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	struct rider *rider, *next;

	DL_FOREACH_SAFE (flight->riders, rider, next) {
		struct decision decision = decide_for(flight, rider, now_ms);
		if (flight->fetching >= 0 && is_waiting(rider) && decision.serve &&
		    decision.index == (size_t)flight->fetching)
			continue;
		if (serve_stale_wording(flight, rider, now_ms))
			continue;
		riders_remove(rider);
		rider->ops->failed(rider, fault);
	}
}

void riders_tell(struct flight *flight)
{
	struct rider *rider;

	DL_FOREACH (flight->riders, rider)
		rider->ops->more(rider);
}

void riders_added(struct flight *flight)
{
	struct fault fault;

	while (flight->riders) {
		struct rider *rider = flight->riders;
		riders_remove(rider);
		if (flight->write_error == ERROR_PENDING) {
			rider->ops->added(rider, &flight->identity, "queued");
		} else if (flight->write_error == 0) {
			rider->ops->added(rider, &flight->identity, flight->service->store ? "redis" : "memory");
		} else {
			(void)fault_set(&fault, flight->write_error, "", "the entry could not be stored: %s",
					error_text(flight->write_error));
			rider->ops->failed(rider, &fault);
		}
	}
}

size_t flight_read(struct rider *rider, char *out, size_t most)
{
	return answer_read(&rider->flight->answer, &rider->cursor, out, most);
}

bool flight_has_text(const struct rider *rider)
{
	return rider->flight && !answer_at_end(&rider->flight->answer, &rider->cursor);
}

bool flight_ended(const struct rider *rider, struct result *result)
{
	const struct flight *flight = rider->flight;

	if (flight->state < FLIGHT_STORE)
		return false;
	*result = (struct result){
		.tier = rider->opened ? TIER_UPSTREAM : TIER_COALESCED,
		.fresh = &flight->answer,
		.finish_reason = slice_of(flight->end.finish_reason),
		.model = flight->model,
		.is_kept = flight->is_kept,
		.entry = flight->identity,
		.ttl_s = flight->is_kept ? flight->ttl_s : 0,
	};
	if (flight->usage.length)
		result->usage = buffer_slice(&flight->usage);
	if (!rider->opened) {
		result->has_similarity = true;
		result->similarity = rider->joined ? rider->similarity : 1.0;
		result->original_query = flight->text;
		fill_saved(flight, result->usage, result);
	}
	fill_timing(flight, result);
	if (!rider->joined)
		fill_best(flight, rider, result);
	return true;
}
