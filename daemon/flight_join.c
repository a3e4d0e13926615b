/* How riders move to a flight in the air whose question means the same, and what is kept of the wording that they came from.
 *
 * All goes well: the nearest flights in CHAT of the same scope are candidates like stored ones, with what is stored as their
 * neighbours; decide() says for each rider which it may share.
 * What can go wrong: no memory (then the rider stays). */
#include "flight_private.h"

#include "pair.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Remembers the wording of `from`, so that it gets an alias when the answer of `to` is stored. */
static void note_wording(struct flight *to, const struct flight *from, double similarity, double score)
{
	if (to->wording_count == FLIGHT_WORDINGS)
		return;
	struct flight_wording *wording = malloc(sizeof(*wording));
	if (!wording)
		return;
	*wording = (struct flight_wording){.next = to->wordings,
					   .identity = from->identity,
					   .digest = from->digest,
					   .similarity = similarity,
					   .score = score};
	to->wordings = wording;
	to->wording_count++;
}

/* Those in the air that are nearest, and behind them what is stored, which is next nearest to them. */
struct air {
	struct flight_near near[FLIGHT_NEAR];
	struct candidate candidates[FLIGHT_NEAR + INDEX_CANDIDATES];
	size_t near_count, count;
};

static void look_around(const struct flight *flight, struct air *air)
{
	const struct pair_asked asked = {flight->request.namespace, flight->text, &flight->digest};
	double least = flight_least(flight);

	air->near_count = flight_nearest(flight, air->near);
	for (size_t i = 0; i < air->near_count; i++) {
		const struct flight *other = air->near[i].flight;
		const struct pair_entry pair = {other->text, &other->identity, 0};
		struct pair_facts facts = {0};
		/* Most are about something else, and need no closer look. */
		if (air->near[i].similarity >= least)
			facts = pair_look(flight->service, flight->space, &asked, &pair);
		air->candidates[i] = (struct candidate){
			.identity = other->identity,
			.similarity = air->near[i].similarity,
			.fresh_until_at_ms = UINT64_MAX,
			.created_at_ms = deadlines_now_ms(flight->service->deadlines),
			.vetoes = facts.vetoes,
			.rejected = facts.rejected,
			.opinion = flight_opinion_of(flight, other),
			.question = (char *)(uintptr_t)other->text.data, /* only read */
			.question_length = other->text.length,
		};
	}
	air->count = air->near_count;
	for (size_t i = 0; i < flight->search.count; i++)
		if (!(flight->gone & UINT32_C(1) << i))
			air->candidates[air->count++] = flight->search.candidates[i];
}

/* Moves the rider to `other`, whose answer it shares. */
static void join(struct flight *flight, struct rider *rider, const struct flight_near *near, const struct decision *decision)
{
	struct flight *other = near->flight;
	const struct served served = {&other->identity, other->text, other->model, near->similarity,
				      decision->score,  0,           -1,           {NULL, 0}};

	flight_note(flight, rider, TIER_COALESCED, decision, &served);
	riders_remove(rider);
	riders_add(other, rider);
	rider->joined = true;
	rider->similarity = near->similarity;
	rider->asked = flight->identity;
	rider->asked_digest = flight->digest;
}

void riders_join_by_meaning(struct flight *flight)
{
	uint64_t now_ms = deadlines_now_ms(flight->service->deadlines);
	const struct flight_near *last = NULL;
	struct rider *rider, *next;
	double score = 0;
	bool wants_alias = false;
	struct air air;

	if (flight->kind != FLIGHT_ASK || !flight->vector || !flight->compared || flight->forgotten ||
	    !pair_known(flight->service))
		return;
	look_around(flight, &air);
	if (air.near_count == 0)
		return;
	DL_FOREACH_SAFE (flight->riders, rider, next) {
		struct decision decision = decide(air.candidates, air.count, 0, &rider->policy, now_ms);
		if (rider->only || !decision.serve || decision.index >= air.near_count)
			continue;
		const struct flight_near *near = &air.near[decision.index];
		if (!near->flight->due.place && deadline_start(flight->service->deadlines, &near->flight->due, 0) != 0)
			return;
		join(flight, rider, near, &decision);
		flight_take_tags(near->flight, flight->tags, flight->tag_count);
		wants_alias = wants_alias || (!rider->no_store && !(rider->policy.calibrated && decision.plain));
		score = decision.score;
		last = near;
	}
	if (!last)
		return;
	flight->service->metrics.flights_joined_by_meaning++;
	if (!flight->riders && wants_alias)
		note_wording(last->flight, flight, last->similarity, score);
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
