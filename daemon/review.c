/* All reviews, and whose turn it is. Turns are given from a deadline, never from inside of what woke it, so that no caller's
 * turn of the loop pays for a review. */
#include "review_private.h"

#include "flight.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

/* One that has not asked the model by then never does. */
#define WAIT_MS UINT64_C(60000)
#define RETRY_MS 100

/* ---- turns ---- */

static bool waits_too_long(const struct review *review)
{
	return deadlines_now_ms(review->reviews->service->deadlines) - review->waits_since_ms > WAIT_MS;
}

/* Returns whether it waits for a better moment, of which nobody tells. */
static bool give_turn(struct reviews *reviews, struct review *review)
{
	if (review->state == REVIEW_TO_COMPARE && !reviews->comparing) {
		review->state = REVIEW_COMPARING;
		reviews->comparing = review;
		review_compare(review);
	} else if (review->state == REVIEW_TO_ASK && waits_too_long(review)) {
		review_drop(review);
	} else if (review->state == REVIEW_TO_ASK && reviews->asking < REVIEW_CHATS) {
		return review_ask(review) && review->state == REVIEW_TO_ASK;
	}
	return false;
}

static void due_expired(struct deadline *due)
{
	struct reviews *reviews = (struct reviews *)((char *)due - offsetof(struct reviews, due));
	struct review *review, *next;
	bool is_waiting = false;

	DL_FOREACH_SAFE (reviews->all, review, next)
		is_waiting = give_turn(reviews, review) || is_waiting;
	/* The upstream's callers come first. */
	if (is_waiting && !due->place)
		reviews_wake(reviews, RETRY_MS);
}

void reviews_wake(struct reviews *reviews, uint64_t in_ms)
{
	/* Without memory the next one wakes all. */
	(void)deadline_start(reviews->service->deadlines, &reviews->due, in_ms);
}

/* ---- one review ---- */

static void put(char **at, struct slice *slice)
{
	if (!slice->data)
		return;
	memcpy(*at, slice->data, slice->length);
	slice->data = *at;
	*at += slice->length;
}

/* Bytes of all texts of `hit`. */
static size_t size_of(const struct review_hit *hit)
{
	size_t size = hit->namespace.length + hit->question.length + hit->entry_question.length + hit->entry_tags.length +
		      hit->model.length + hit->prompt.length + hit->messages.length + hit->parameters.length;

	for (size_t i = 0; i < hit->tag_count; i++)
		size += hit->tags[i].length;
	return size;
}

/* Makes the slices point into the review's own copy. */
static void own_texts(struct review *review)
{
	struct review_hit *hit = &review->hit;
	struct slice *const slices[] = {&hit->namespace, &hit->question, &hit->entry_question, &hit->entry_tags,
					&hit->model,     &hit->prompt,   &hit->messages,       &hit->parameters};
	char *at = review->texts;

	for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++)
		put(&at, slices[i]);
	for (size_t i = 0; i < hit->tag_count; i++) {
		review->tags[i] = hit->tags[i];
		put(&at, &review->tags[i]);
	}
	hit->tags = review->tags;
}

struct review *review_open(struct reviews *reviews, enum review_kind kind, const struct review_hit *hit, struct slice served)
{
	struct metrics *metrics = &reviews->service->metrics;
	size_t size = size_of(hit);
	struct review *review = NULL;

	if (reviews->count < REVIEWS_MOST && size <= REVIEW_BYTES && hit->tag_count <= LIMIT_TAGS &&
	    !reviews->service->draining)
		review = calloc(1, sizeof(*review) + size);
	if (!review) {
		metrics->reviews_dropped++;
		return NULL;
	}
	review->reviews = reviews;
	review->kind = kind;
	review->hit = *hit;
	review->waits_since_ms = deadlines_now_ms(reviews->service->deadlines);
	own_texts(review);
	buffer_init(&review->served, REVIEW_TEXT);
	buffer_init(&review->fresh, REVIEW_TEXT);
	DL_APPEND(reviews->all, review);
	reviews->count++;
	if (served.data && served.length > REVIEW_TEXT) {
		review->is_cut = true;
		served.length = slice_whole_characters(served, REVIEW_TEXT);
	}
	if (served.data && buffer_append(&review->served, served.data, served.length) != 0) {
		review_drop(review);
		return NULL;
	}
	return review;
}

void review_end(struct review *review)
{
	struct reviews *reviews = review->reviews;

	if (review->is_chatting) {
		chat_cancel(&review->chat);
		reviews->asking--;
	}
	store_read_cancel(&review->read);
	entry_destroy(review->read.entry);
	comparison_cancel(&review->comparison);
	if (reviews->comparing == review)
		reviews->comparing = NULL;
	DL_DELETE(reviews->all, review);
	reviews->count--;
	buffer_deinit(&review->served);
	buffer_deinit(&review->fresh);
	free(review);
	if (reviews->all)
		reviews_wake(reviews, 0);
}

void review_drop(struct review *review)
{
	review->reviews->service->metrics.reviews_dropped++;
	review_end(review);
}

/* ---- what is removed ---- */

static bool is_meant(const struct review *review, const struct forget *forget)
{
	const struct review_hit *hit = &review->hit;

	if (forget->namespace.data && !slice_equal(forget->namespace, hit->namespace))
		return false;
	if (forget->identity)
		return identity_equal(forget->identity, &hit->entry);
	if (forget->question.data)
		return slice_equal(forget->question, hit->question) || slice_equal(forget->question, hit->entry_question);
	if (!forget->tag.data || entry_has_tag(hit->entry_tags, forget->tag))
		return true;
	for (size_t i = 0; i < hit->tag_count; i++)
		if (slice_equal(forget->tag, hit->tags[i]))
			return true;
	return false;
}

void reviews_forget(struct reviews *reviews, const struct forget *forget)
{
	struct review *review, *next;

	if (!reviews)
		return;
	DL_FOREACH_SAFE (reviews->all, review, next)
		if (is_meant(review, forget))
			review_drop(review);
}

/* ---- life ---- */

struct reviews *reviews_create(struct service *service)
{
	struct reviews *reviews = calloc(1, sizeof(*reviews));

	if (!reviews)
		return NULL;
	reviews->service = service;
	reviews->due.expired = due_expired;
	/* Whom chance chooses need not be a secret. */
	if (getrandom(&reviews->random, sizeof(reviews->random), GRND_NONBLOCK) != (ssize_t)sizeof(reviews->random))
		reviews->random = (uint64_t)(uintptr_t)reviews;
	return reviews;
}

void reviews_destroy(struct reviews *reviews)
{
	if (!reviews)
		return;
	while (reviews->all)
		review_end(reviews->all);
	deadline_stop(reviews->service->deadlines, &reviews->due);
	free(reviews);
}

size_t reviews_count(const struct reviews *reviews)
{
	return reviews->count;
}
