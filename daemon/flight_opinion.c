/* The second opinion: what another embedder says of the candidates that would be served, and its vectors for what is stored.
 *
 *   SEARCH ─> somebody would be served? ─> OPINION: the question's second vector, at most timeout_ms ─> FETCH
 *   CHAT   ─> the same vector is asked for beside the model, and stored with the answer if it comes in time
 *
 * The candidates' own second vectors lie in the index. What can go wrong: the second embedder is DOWN, or too slow, the text too
 * long for it, or an entry was stored without such a vector. Then decide() takes the plain rule, and what is stored goes without.
 * A vector that comes too late for the opinion is still good for what is stored. */
#include "flight_private.h"

#include "clock.h"

#include <math.h>
#include <stdlib.h>

/* Whether the second embedder may be asked for the flight's text at all. */
static bool has_second(const struct flight *flight)
{
	const struct service *service = flight->service;

	return service->second && flight->space->second_opinion && flight->compared &&
	       flight->text.length <= service->config->second_opinion.max_bytes;
}

static void stop_waiting(struct flight *flight)
{
	flight->second.is_waited = false;
	deadline_stop(flight->service->deadlines, &flight->second.due);
	flight->embedding_us += clock_us() - flight->step_us;
}

static void second_came(struct embedding *embedding, int error)
{
	struct flight *flight = embedding->data;

	flight->second.is_embedding = false;
	if (!error) {
		flight->second.vector = embedding->vector;
		flight->second.dimensions = embedding->dimensions;
	}
	if (!flight->second.is_waited)
		return;
	stop_waiting(flight);
	flight_go_on(flight);
}

static void too_late(struct deadline *due)
{
	struct flight *flight = (struct flight *)((char *)due - offsetof(struct flight, second.due));
	struct service *service = flight->service;

	stop_waiting(flight);
	flight_step(flight);
	embedder_late(service->second);
}

/* Asks for the question's second vector, once. Returns whether it is on its way. */
static bool ask_second(struct flight *flight)
{
	struct flight_second *second = &flight->second;

	if (second->vector || second->is_embedding)
		return second->is_embedding;
	second->embedding = (struct embedding){.done = second_came, .data = flight, .text = flight->text};
	second->is_embedding = embedding_start(flight->service->second, &second->embedding) == 0;
	return second->is_embedding;
}

/* Whether the rider would be served one of the candidates, or share the answer of a flight in the air, if the opinion is
 * good. */
static bool could_be_served(const struct flight *flight, const struct rider *rider, const struct flight_near *near,
			    size_t near_count)
{
	const struct policy *policy = &rider->policy;
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);

	if (!policy->calibrated || !(policy->weight > 0) || policy->exact_only || policy->refresh)
		return false;
	for (size_t i = 0; i < flight->search.count; i++)
		if (decide_why_not(&flight->search.candidates[i], false, policy, now_ms) == REASON_NONE)
			return true;
	return near_count > 0 && !rider->only && near[0].similarity >= decide_least(policy);
}

/* A lone one is decided about by the plain rule, which needs no opinion. */
static bool wants_opinion(struct flight *flight)
{
	struct flight_near near[FLIGHT_NEAR];
	size_t near_count = flight->kind == FLIGHT_ASK ? flight_nearest(flight, near) : 0;
	const struct rider *rider;

	if (flight->search.count + near_count < 2)
		return false;
	flight_weigh(flight);
	DL_FOREACH (flight->riders, rider)
		if (could_be_served(flight, rider, near, near_count))
			return true;
	return false;
}

bool flight_start_opinion(struct flight *flight)
{
	struct flight_second *second = &flight->second;
	struct service *service = flight->service;

	if (!has_second(flight) || !flight->vector || (flight->kind != FLIGHT_ADD && !wants_opinion(flight)))
		return false;
	second->is_wanted = flight->kind != FLIGHT_ADD;
	if (!ask_second(flight))
		return false;
	second->due.expired = too_late;
	if (deadline_start(service->deadlines, &second->due, service->config->second_opinion.timeout_ms) != 0)
		return false;
	second->is_waited = true;
	flight->step_us = clock_us();
	return true;
}

static double cosine(const struct flight_second *second, const float *other, unsigned dimensions)
{
	if (!second->vector || !other || second->dimensions != dimensions)
		return (double)NAN;
	return index_cosine(second->vector, other, dimensions);
}

void flight_take_opinion(struct flight *flight)
{
	struct index *index = &flight->service->index;
	struct flight_second *second = &flight->second;

	if (!second->is_wanted)
		return;
	for (size_t i = 0; i < flight->search.count; i++) {
		struct candidate *candidate = &flight->search.candidates[i];
		unsigned dimensions = 0;
		const float *other = index->ops->second(index->state, &candidate->identity, candidate->created_ms,
							&dimensions);
		candidate->opinion = cosine(second, other, dimensions);
	}
	if (second->vector)
		flight->service->metrics.opinions_given++;
	else
		flight->service->metrics.opinions_missed++;
}

double flight_opinion_of(const struct flight *flight, const struct flight *other)
{
	return cosine(&flight->second, other->second.vector, other->second.dimensions);
}

void flight_ask_second(struct flight *flight)
{
	if (has_second(flight) && flight->vector && flight_is_cacheable(flight))
		(void)ask_second(flight);
}

void flight_end_second(struct flight *flight)
{
	struct flight_second *second = &flight->second;

	if (second->is_embedding)
		embedding_cancel(&second->embedding);
	deadline_stop(flight->service->deadlines, &second->due);
	free(second->vector);
}
