/* What decide() is told about a flight's candidates, and who is told of its decisions.
 *
 *   search_came ─> flight_weigh(): guards and verdicts for each candidate near enough ─> riders' decisions ─> flight_note()
 *
 * What can go wrong: Redis was never read, so what people said is not known (nothing is decided by meaning). */
#include "flight_private.h"

#include "decisions.h"
#include "memory_cache.h"
#include "namespaces.h"
#include "pair.h"
#include "replica.h"

#include <math.h>

double flight_least(const struct flight *flight)
{
	const struct rider *rider;
	double least = INFINITY;

	DL_FOREACH (flight->riders, rider) {
		const struct policy *policy = &rider->policy;
		least = fmin(least, decide_least(policy));
		if (policy->calibrated)
			least = fmin(least, policy->margin_floor);
	}
	return flight->kind == FLIGHT_EXPLAIN ? -INFINITY : least;
}

static void weigh(struct flight *flight, double least)
{
	const struct pair_asked asked = {flight->request.namespace, flight->text, &flight->digest};

	for (; flight->weighed < flight->search.count; flight->weighed++) {
		struct candidate *candidate = &flight->search.candidates[flight->weighed];
		if (candidate->similarity < least)
			return;
		const struct pair_entry entry = {
			{candidate->question, candidate->question_length}, &candidate->identity, candidate->created_ms};
		const struct pair_facts facts = pair_look(flight->service, flight->space, &asked, &entry);
		candidate->vetoes = facts.vetoes;
		candidate->rejected = facts.rejected;
		candidate->quarantined = facts.quarantined;
	}
}

void flight_weigh(struct flight *flight)
{
	weigh(flight, flight_least(flight));
}

void flight_weigh_all(struct flight *flight)
{
	weigh(flight, (double)-INFINITY);
}

struct decision flight_decide(const struct flight *flight, const struct rider *rider, uint64_t now_ms)
{
	return decide(flight->search.candidates, flight->search.count, flight->gone, &rider->policy, now_ms);
}

/* ---- who is told ---- */

/* Counts what guards kept from being served, and what those in shadow would have. */
static void count_guards(struct namespace_count *counts, const struct policy *policy, const struct candidate *candidates,
			 size_t count)
{
	double least = decide_least(policy);

	for (size_t i = 0; i < count; i++)
		for (int guard = 0; candidates[i].similarity >= least && guard < GUARD_COUNT; guard++) {
			uint32_t bit = GUARD_BIT(guard) & candidates[i].vetoes;
			counts->guards[guard].vetoed += (bit & policy->guards_on) != 0;
			counts->guards[guard].shadow += (bit & policy->guards_shadow) != 0;
		}
}

void flight_note(const struct flight *flight, struct rider *rider, enum tier tier, const struct decision *decision,
		 const struct served *served)
{
	struct service *service = flight->service;
	struct decision_event event = {
		.request = rider->number,
		.uid = rider->uid,
		.pid = rider->pid,
		.namespace = flight->request.namespace,
		.question = flight->text,
		.model = flight->model,
		.upstream = flight->upstream ? slice_of(flight->upstream->name) : SLICE(""),
		.tags = flight->tags,
		.tag_count = flight->tag_count,
		.identity = flight->identity,
		.scope = flight->scope,
		.tier = tier,
		.mode = flight->space->mode,
		.policy = &rider->policy,
		.decision = decision,
		.candidates = flight->search.candidates,
		.count = flight->search.count,
		.gone = flight->gone,
		.now_ms = deadlines_now_ms(service->deadlines),
		.alias_kind = -1,
	};

	rider->noted = true;
	count_guards(namespaces_get(service->namespaces, event.namespace), &rider->policy, event.candidates, event.count);
	if (served) {
		event.has_served = true;
		event.served = *served->entry;
		event.served_question = served->question;
		event.served_model = served->model;
		event.served_similarity = served->similarity;
		event.served_score = served->score;
		event.served_created_ms = served->created_ms;
		event.alias_kind = served->alias_kind;
		event.served_tags = served->tags;
	}
	decisions_note(service->decisions, &event);
}

void flight_note_missed(struct flight *flight, struct rider *rider, enum tier tier)
{
	struct decision decision;

	if (!flight->compared || rider->noted || rider->policy.exact_only || rider->policy.refresh)
		return;
	decision = flight_decide(flight, rider, deadlines_now_ms(flight->service->deadlines));
	if (rider->reason != REASON_NONE)
		decision.reason = rider->reason;
	if (decision.would_serve && tier != TIER_MISS)
		flight_note_would(flight, rider, &decision);
	else if (decision.reason == REASON_below_threshold && tier != TIER_MISS)
		flight_note_grey(flight, rider, &decision);
	flight_note(flight, rider, tier, &decision, NULL);
}

/* What is stored under its own identity: of Redis, or else of memory. */
static void find_stored(const struct flight *flight, const struct rider *rider, struct explanation *explanation)
{
	const struct service *service = flight->service;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	struct memory_hit hit;

	explanation->stored = flight->read.entry;
	explanation->alias = flight->read.entry && flight->read.has_alias ? &flight->read.alias : NULL;
	if (!explanation->stored && replica_is_current(service) &&
	    memory_cache_get(service->memory, &flight->identity, now_ms, &hit)) {
		explanation->stored = hit.entry;
		explanation->alias = hit.alias;
	}
	if (explanation->stored)
		explanation->stored_reason = riders_why_not_stored(flight, rider, explanation->stored, explanation->alias,
								   TIER_EXACT, now_ms);
}

void flight_explain_to(struct flight *flight, struct rider *rider)
{
	flight_weigh(flight);
	struct explanation explanation = {
		.candidates = flight->search.candidates,
		.count = flight->search.count,
		.gone = flight->gone,
		.policy = &rider->policy,
		.decision = flight_decide(flight, rider, deadlines_now_ms(flight->service->deadlines)),
		.space = flight->space,
		.request = &flight->request,
		.identity = &flight->identity,
		.scope = &flight->scope,
		.compared = flight->compared,
		.missed = flight->missed,
		.vector = flight->vector,
		.dimensions = flight->dimensions,
		.text = flight->text,
		.model = flight->model,
		.upstream = flight->upstream ? slice_of(flight->upstream->name) : SLICE(""),
		.embedding_us = flight->embedding_us,
		.search_us = flight->search_us,
	};

	find_stored(flight, rider, &explanation);
	riders_remove(rider);
	rider->ops->explained(rider, &explanation);
}
