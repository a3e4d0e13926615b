/* What a flight gives to be reviewed: would-be hits of the mode shadow with the model's answer, hits that were served, and
 * questions just under the threshold. Nothing of a call that wants nothing kept. */
#include "flight_private.h"

#include "pair.h"
#include "review.h"

#include <math.h>

/* The nearest of the candidates besides `index` that could be served too, by their similarity; NAN if there is none. Those
 * too far away to matter to a rider have not been weighed by now. */
static double next_nearest(struct flight *flight, const struct policy *policy, size_t index)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	const struct policy any = {.threshold = -1, .guards_on = policy->guards_on};
	double next = (double)NAN;

	flight_weigh_all(flight);
	for (size_t i = 0; i < flight->search.count; i++)
		if (i != index && decide_why_not(&flight->search.candidates[i], flight->gone & UINT32_C(1) << i, &any,
						 now_ms) == REASON_NONE)
			next = fmax(next, flight->search.candidates[i].similarity);
	return next;
}

/* What is the same for all that is given. */
static struct review_hit hit_of(const struct flight *flight)
{
	return (struct review_hit){
		.space = flight->space,
		.namespace = flight->request.namespace,
		.question = flight->text,
		.identity = flight->identity,
		.digest = flight->digest,
		.tags = flight->tags,
		.tag_count = flight->tag_count,
		.next = (double)NAN,
		.opinion = (double)NAN,
		.upstream = flight->upstream,
		.model = flight->model,
		.prompt = flight->request.prompt,
		.messages = flight->request.messages,
		.parameters = flight->request.parameters,
	};
}

static struct flight_would would_of(struct flight *flight, const struct rider *rider, const struct decision *decision)
{
	return (struct flight_would){
		.is_there = true,
		.request = rider->number,
		.index = decision->index,
		.score = decision->score,
		.next = next_nearest(flight, &rider->policy, decision->index),
	};
}

void flight_note_would(struct flight *flight, const struct rider *rider, const struct decision *decision)
{
	if (flight->would.is_there || flight->kind != FLIGHT_ASK || rider->no_store)
		return;
	flight->would = would_of(flight, rider, decision);
}

void flight_note_grey(struct flight *flight, const struct rider *rider, const struct decision *decision)
{
	const struct policy *policy = &rider->policy;
	const struct policy any = {.threshold = -1, .guards_on = policy->guards_on};
	double judge = flight->space->judge;

	/* A call that names a threshold of its own says nothing about what the namespace would serve. */
	if (!(judge > CONFIG_NONE) || flight->would.is_there || flight->kind != FLIGHT_ASK || rider->no_store ||
	    policy->shadow || policy->origin == ORIGIN_call || decision->index >= flight->search.count)
		return;
	flight_weigh_all(flight);
	const struct candidate *candidate = &flight->search.candidates[decision->index];
	if (!(candidate->similarity >= judge) ||
	    decide_why_not(candidate, flight->gone & UINT32_C(1) << decision->index, &any,
			   deadlines_now_ms(flight->service->deadlines)) != REASON_NONE)
		return;
	flight->would = would_of(flight, rider, decision);
	flight->would.is_grey = true;
}

void flight_review_answer(struct flight *flight)
{
	const struct flight_would *would = &flight->would;

	if (!would->is_there || flight->forgotten)
		return;
	const struct candidate *candidate = &flight->search.candidates[would->index];
	struct review_hit hit = hit_of(flight);
	hit.request = would->request;
	hit.entry = candidate->identity;
	hit.entry_question = (struct slice){candidate->question, candidate->question_length};
	hit.entry_created_ms = candidate->created_ms;
	hit.similarity = candidate->similarity;
	hit.next = would->next;
	hit.score = would->score;
	hit.opinion = candidate->opinion;
	if (would->is_grey) {
		hit.own_created_ms = flight->is_kept ? flight->kept_created_ms : 0;
		hit.prompt = hit.messages = hit.parameters = (struct slice){0};
		reviews_judge(flight->service->reviews, &hit);
		return;
	}
	hit.upstream = NULL;
	hit.prompt = hit.messages = hit.parameters = hit.model = (struct slice){0};
	reviews_shadow(flight->service->reviews, &hit, &flight->answer, flight->end.complete);
}

static bool may_be_audited(const struct flight *flight, const struct rider *rider)
{
	return flight->space->audit > 0 && flight->kind == FLIGHT_ASK && !rider->only && !rider->no_store;
}

static uint64_t certificate_of(const struct policy *policy)
{
	return policy->calibrated ? policy->certificate_ms : 0;
}

void flight_audit_hit(struct flight *flight, const struct rider *rider, const struct decision *decision,
		      const struct entry *entry)
{
	const struct candidate *candidate = &flight->search.candidates[decision->index];

	if (!may_be_audited(flight, rider))
		return;
	struct review_hit hit = hit_of(flight);
	hit.request = rider->number;
	hit.entry = entry->identity;
	hit.entry_question = entry->question;
	hit.entry_tags = entry->tags;
	hit.entry_created_ms = entry->created_ms;
	hit.similarity = candidate->similarity;
	hit.next = next_nearest(flight, &rider->policy, decision->index);
	hit.score = decision->score;
	hit.opinion = candidate->opinion;
	hit.certificate_ms = certificate_of(&rider->policy);
	reviews_audit(flight->service->reviews, &hit, entry->answer);
}

void flight_audit_alias(struct flight *flight, const struct rider *rider, const struct entry *entry,
			const struct alias *alias)
{
	if (!may_be_audited(flight, rider) || alias->kind == ALIAS_ACCEPTED)
		return;
	struct review_hit hit = hit_of(flight);
	hit.request = rider->number;
	hit.entry = entry->identity;
	hit.entry_question = entry->question;
	hit.entry_tags = entry->tags;
	hit.entry_created_ms = entry->created_ms;
	hit.similarity = alias->similarity;
	hit.score = alias->score;
	hit.certificate_ms = certificate_of(&rider->policy);
	reviews_audit(flight->service->reviews, &hit, entry->answer);
}
