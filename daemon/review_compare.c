/* shadow: the entry's answer, of memory or Redis ─┐
 * audit:  it is there ────────────────────────────┴─> comparison ─> counts, label, log of decisions, drift
 *
 * What can go wrong: the entry is gone or another one by now, the embedder fails (dropped). */
#include "review_private.h"

#include "clock.h"
#include "answer.h"
#include "decisions.h"
#include "flight.h"
#include "memory_cache.h"
#include "replica.h"
#include "settings.h"

#include "../proto/error.h"

#include <math.h>
#include <string.h>
#include <utlist.h>

/* What was read while something was removed is read again, so often. */
#define READS_MOST 3

static struct comparator comparator_of(const struct config_namespace *space)
{
	return (struct comparator){&space->comparator_false_same, &space->comparator_false_different};
}

/* ---- what comes of it ---- */

static void count(struct review *review)
{
	struct service *service = review->reviews->service;
	const struct review_hit *hit = &review->hit;
	enum estimate_source source = review->kind == REVIEW_AUDIT ? ESTIMATE_audit : ESTIMATE_shadow;
	struct estimate_count *band = &namespaces_get(service->namespaces, hit->namespace)
					       ->estimates.bands[source][estimate_band(hit->similarity)];

	switch (review->comparison.outcome) {
	case COMPARISON_same:
		band->same++;
		service->metrics.reviews_same++;
		return;
	case COMPARISON_different:
		band->different++;
		service->metrics.reviews_different++;
		return;
	case COMPARISON_not_comparable:
		band->not_comparable++;
		service->metrics.reviews_not_comparable++;
		return;
	}
}

void review_keep_label(const struct review *review, enum label_source source, bool right)
{
	struct service *service = review->reviews->service;
	const struct review_hit *hit = &review->hit;
	struct store_label label = {
		.question = hit->digest,
		.entry = hit->entry,
		.similarity = hit->similarity,
		.next = hit->next,
		.score = hit->score,
		.opinion = hit->opinion,
		.right = right,
		.source = source,
		.at_ms = clock_wall_ms(),
	};

	if (!service->store || !service->embedder)
		return;
	memcpy(label.embedder, embedder_name(service->embedder), sizeof(label.embedder) - 1);
	(void)store_put_label(service->store, hit->namespace, &label);
}

void review_tell_log(const struct review *review, const char *source, const char *outcome)
{
	const struct review_hit *hit = &review->hit;
	bool has_answers = review->kind != REVIEW_JUDGE;
	const struct decision_review told = {
		.request = hit->request,
		.namespace = hit->namespace,
		.identity = hit->identity,
		.tags = hit->tags,
		.tag_count = hit->tag_count,
		.entry = hit->entry,
		.source = source,
		.outcome = outcome,
		.similarity = has_answers ? review->comparison.similarity : (double)NAN,
		.threshold = has_answers ? hit->space->compare_threshold : hit->space->judge,
		.stored = has_answers ? buffer_slice(&review->served) : (struct slice){0},
		.fresh = has_answers ? buffer_slice(&review->fresh) : (struct slice){0},
	};

	decisions_note_review(review->reviews->service->decisions, &told);
}

/* Whether the certificate in force still keeps its promise. */
static void watch_drift(struct review *review)
{
	struct service *service = review->reviews->service;
	const struct config_namespace *space = review->hit.space;
	const struct certificate *certificate = space->certificate;
	const struct comparator comparator = comparator_of(space);

	if (review->kind != REVIEW_AUDIT || review->comparison.outcome == COMPARISON_not_comparable || !certificate ||
	    certificate->created_ms != review->hit.certificate_ms)
		return;
	struct drift *drift = &namespaces_get(service->namespaces, slice_of(space->name))->drift;
	drift_add(drift, certificate->created_ms, review->comparison.outcome == COMPARISON_different);
	double least = drift_least(drift, &comparator);
	if (least <= certificate->bound)
		return;
	log_write(&service->log, LOG_LEVEL_WARNING,
		  "certificate_drift namespace=%s hits=%u different=%u least=%.4f bound=%g", space->name, drift->count,
		  drift->different, least, certificate->bound);
	*drift = (struct drift){0};
	settings_withdraw_certificate(service->settings, slice_of(space->name), "drift");
}

static void conclude(struct review *review)
{
	enum comparison_outcome outcome = review->comparison.outcome;
	bool is_audit = review->kind == REVIEW_AUDIT;

	count(review);
	if (outcome != COMPARISON_not_comparable)
		review_keep_label(review, is_audit ? LABEL_AUDIT : LABEL_SHADOW, outcome == COMPARISON_same);
	review_tell_log(review, estimate_source_name(is_audit ? ESTIMATE_audit : ESTIMATE_shadow),
			comparison_outcome_name(outcome));
	watch_drift(review);
	review_end(review);
}

/* ---- the comparison ---- */

static void compared(struct comparison *comparison, int error)
{
	struct review *review = comparison->data;

	if (error)
		review_drop(review);
	else
		conclude(review);
}

static void compare_texts(struct review *review)
{
	struct service *service = review->reviews->service;
	uint64_t max_bytes = service->config->embedder.max_bytes;

	review->comparison = (struct comparison){
		.done = compared,
		.data = review,
		.texts = {buffer_slice(&review->served), buffer_slice(&review->fresh)},
		.threshold = review->hit.space->compare_threshold,
		.max_bytes = (size_t)max_bytes,
		.outcome = COMPARISON_not_comparable,
		.similarity = (double)NAN,
	};
	if (review->is_cut || !review->is_whole) {
		conclude(review);
		return;
	}
	int outcome = comparison_start(&review->comparison, service->embedder);
	if (outcome < 0)
		review_drop(review);
	else if (outcome > 0)
		conclude(review);
}

/* ---- the entry's answer ---- */

static void fetch(struct review *review);

/* Takes the answer of what was found, if it is still the one that would have been served. */
static void take(struct review *review, const struct entry *entry)
{
	struct slice answer = entry->answer;

	if (entry->created_ms != review->hit.entry_created_ms) {
		review_drop(review);
		return;
	}
	if (review->kind == REVIEW_JUDGE) {
		review_take_judged(review, entry);
		return;
	}
	if (answer.length > REVIEW_TEXT) {
		review->is_cut = true;
		answer.length = slice_whole_characters(answer, REVIEW_TEXT);
	}
	if (buffer_append(&review->served, answer.data, answer.length) != 0)
		review_drop(review);
	else
		compare_texts(review);
}

static void read_came(struct store_read *read, int error)
{
	struct review *review = read->data;
	struct entry *entry = read->entry;

	read->entry = NULL;
	if (!error && review->reads_trusted != flights_removals(review->reviews->service->flights)) {
		entry_destroy(entry);
		fetch(review);
		return;
	}
	if (error || !entry)
		review_drop(review);
	else
		take(review, entry);
	entry_destroy(entry);
}

static void fetch(struct review *review)
{
	struct service *service = review->reviews->service;
	const struct review_hit *hit = &review->hit;
	struct memory_hit found;

	if (replica_is_current(service) &&
	    memory_cache_get(service->memory, &hit->entry, deadlines_now_ms(service->deadlines), &found) && !found.alias) {
		take(review, found.entry);
		return;
	}
	review->read = (struct store_read){.done = read_came, .data = review};
	review->reads_trusted = flights_removals(service->flights);
	if (review->reads++ == READS_MOST || !service->store ||
	    store_fetch(service->store, &review->read, hit->namespace, &hit->entry, false) != 0)
		review_drop(review);
}

void review_compare(struct review *review)
{
	if (review->kind == REVIEW_AUDIT)
		compare_texts(review);
	else
		fetch(review);
}

void reviews_shadow(struct reviews *reviews, const struct review_hit *hit, const struct answer *fresh, bool whole)
{
	struct review *review = review_open(reviews, REVIEW_SHADOW, hit, (struct slice){0});

	if (!review)
		return;
	review->is_whole = whole;
	review->is_cut = fresh->length > REVIEW_TEXT;
	if (!review->is_cut && fresh->length > 0) {
		if (buffer_reserve(&review->fresh, fresh->length) != 0) {
			review_drop(review);
			return;
		}
		answer_copy(fresh, review->fresh.data);
		review->fresh.length = fresh->length;
	}
	review->state = REVIEW_TO_COMPARE;
	reviews_wake(reviews, 0);
}
