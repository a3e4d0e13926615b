/* Who rides a flight, and who is served from what is stored: each rider by its own policy. */
#include "flight_private.h"

#include "memory_cache.h"
#include "pair.h"
#include "replica.h"
#include "verdicts.h"

#include <stdlib.h>
#include <string.h>

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

enum reason riders_why_not_stored(const struct flight *flight, const struct rider *rider, const struct entry *entry,
				  const struct alias *alias, enum tier tier, uint64_t now_ms)
{
	const struct pair_asked asked = {flight->request.namespace, flight->text, &flight->digest};
	const struct pair_entry pair = {entry->question, &entry->identity, entry->created_ms};

	if (verdicts_quarantined(flight->service->verdicts, asked.namespace, &entry->identity, entry->created_ms))
		return REASON_quarantined;
	if (tier == TIER_STALE)
		return decide_stale(entry, &rider->policy, now_ms);
	if (!alias)
		return decide_exact(entry, &rider->policy, now_ms);
	if (!pair_known(flight->service))
		return REASON_verdicts_unknown;
	const struct pair_facts facts = pair_look(flight->service, flight->space, &asked, &pair);
	return decide_alias(alias, &facts, entry, &rider->policy, now_ms);
}

/* An alias is what a decision by meaning has left behind. */
static void note_alias(struct flight *flight, struct rider *rider, const struct entry *entry, const struct alias *alias,
		       enum tier tier)
{
	const struct decision decision = {.serve = true, .plain = !rider->policy.calibrated, .score = alias->score};
	const struct served served = {&entry->identity, entry->question,   entry->model,     alias->similarity,
				      alias->score,     entry->created_ms, (int)alias->kind, entry->tags};

	flight_note(flight, rider, tier, &decision, &served);
}

void riders_serve_exact(struct flight *flight, const struct entry *entry, const struct alias *alias, enum tier tier)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	struct rider *rider, *next;

	DL_FOREACH_SAFE (flight->riders, rider, next) {
		if (!is_waiting(rider))
			continue;
		enum reason reason = riders_why_not_stored(flight, rider, entry, alias, tier, now_ms);
		if (reason != REASON_NONE) {
			rider->reason = reason;
			continue;
		}
		struct result result = result_of_entry(flight, entry, tier);
		result.similarity = alias ? alias->similarity : 1.0;
		if (alias) {
			note_alias(flight, rider, entry, alias, tier);
			flight_audit_alias(flight, rider, entry, alias);
		}
		serve(rider, &result);
	}
}

/* ---- by meaning ---- */

int riders_wanted_candidate(struct flight *flight)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	struct rider *rider;
	int wanted = -1;

	flight_weigh(flight);
	DL_FOREACH (flight->riders, rider) {
		if (!is_waiting(rider))
			continue;
		struct decision decision = flight_decide(flight, rider, now_ms);
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
	double score = 0;

	/* It may have been overwritten since the search; what was read is what counts. */
	candidate->created_at_ms = entry->created_at_ms;
	candidate->fresh_until_at_ms = entry->fresh_until_at_ms;
	candidate->expires_at_ms = entry->expires_at_ms;
	if (candidate->created_ms != entry->created_ms) {
		candidate->created_ms = entry->created_ms;
		flight->weighed = 0;
	}
	/* Somebody may have joined, or said something, while it was read. */
	flight_weigh(flight);
	DL_FOREACH (flight->riders, rider) {
		struct decision decision = flight_decide(flight, rider, now_ms);
		/* A lone entry may have a neighbour tomorrow, and is then decided about by other rules than today. */
		bool is_lone = rider->policy.calibrated && decision.plain;
		if (is_waiting(rider) && !rider->no_store && decision.serve && decision.index == index && !is_lone) {
			is_wanted = true;
			score = decision.score;
		}
	}
	/* The entry may be memory's own, and gone once something else is put there: what the alias needs of it is copied. */
	const struct entry brief = {.identity = entry->identity,
				    .created_ms = entry->created_ms,
				    .generation = entry->generation,
				    .expires_at_ms = entry->expires_at_ms};
	double similarity = candidate->similarity;
	DL_FOREACH_SAFE (flight->riders, rider, next) {
		struct decision decision = flight_decide(flight, rider, now_ms);
		if (!is_waiting(rider) || !decision.serve || decision.index != index)
			continue;
		struct result result = result_of_entry(flight, entry, TIER_SEMANTIC);
		const struct served served = {&brief.identity, entry->question,  entry->model, similarity,
					      decision.score,  brief.created_ms, -1,           entry->tags};
		result.similarity = similarity;
		flight_note(flight, rider, TIER_SEMANTIC, &decision, &served);
		flight_audit_hit(flight, rider, &decision, entry);
		serve(rider, &result);
	}
	if (is_wanted && flight->kind == FLIGHT_ASK)
		flight_keep_alias(flight, &brief, similarity, score);
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
		flight_note_missed(flight, rider, TIER_MISS);
		riders_remove(rider);
		rider->ops->miss(rider, &result);
	}
}

void riders_note(struct flight *flight)
{
	struct rider *rider;

	DL_FOREACH (flight->riders, rider)
		flight_note_missed(flight, rider, rider->opened ? TIER_UPSTREAM : TIER_COALESCED);
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
	    riders_why_not_stored(flight, rider, hit.entry, NULL, TIER_STALE, now_ms) != REASON_NONE)
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
		struct decision decision = flight_decide(flight, rider, now_ms);
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
