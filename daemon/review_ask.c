/* A hit is chosen ─> within the day's budget ─> the model is asked what the caller asked ─> its answer is compared.
 *
 * What can go wrong: the model fails, is cut or says too much (a failure, or not comparable); others wait for the upstream (later). */
#include "review_private.h"

#include "clock.h"

#include "../proto/error.h"

bool reviews_chance(struct reviews *reviews, double share)
{
	/* Sebastiano Vigna's SplitMix64 (public domain): one step and its finaliser. */
	uint64_t z = reviews->random += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	z ^= z >> 31;
	return (double)(z >> 11) * 0x1p-53 < share;
}

void reviews_audit(struct reviews *reviews, const struct review_hit *hit, struct slice served)
{
	struct service *service = reviews->service;
	const struct config_namespace *space = hit->space;

	if (!hit->upstream || !reviews_chance(reviews, space->audit))
		return;
	struct budget *budget = &namespaces_get(service->namespaces, slice_of(space->name))->audit_budget;
	if (!budget_take(budget, space->audit_calls, clock_wall_ms())) {
		service->metrics.audits_over_budget++;
		return;
	}
	if (!review_open(reviews, REVIEW_AUDIT, hit, served))
		budget_return(budget);
	else
		reviews_wake(reviews, 0);
}

/* ---- the model's answer ---- */

static void on_text(struct chat *chat, struct slice text)
{
	struct review *review = chat->data;

	if (buffer_append(&review->fresh, text.data, text.length) == 0)
		return;
	/* The rest of it is of no use. */
	chat_cancel(chat);
	review->is_chatting = false;
	review->reviews->asking--;
	review->is_cut = true;
	review->state = REVIEW_TO_COMPARE;
	reviews_wake(review->reviews, 0);
}

static void on_done(struct chat *chat, const struct chat_end *end, const struct fault *fault)
{
	struct review *review = chat->data;
	struct reviews *reviews = review->reviews;

	review->is_chatting = false;
	reviews->asking--;
	if (fault && fault->code == ERROR_BUSY) {
		review_drop(review);
		return;
	}
	if (fault) {
		reviews->service->metrics.audit_failures++;
		review_end(review);
		return;
	}
	review->is_whole = end->complete;
	review->state = REVIEW_TO_COMPARE;
	reviews_wake(reviews, 0);
}

bool review_asked(struct review *review, int error, uint64_t *failures)
{
	if (error == ERROR_BUSY)
		return true;
	if (error) {
		(*failures)++;
		review_end(review);
		return false;
	}
	review->is_chatting = true;
	review->state = REVIEW_ASKING;
	review->reviews->asking++;
	return true;
}

bool review_ask(struct review *review)
{
	struct service *service = review->reviews->service;
	const struct review_hit *hit = &review->hit;
	const struct chat_question question = {
		.upstream = hit->upstream,
		.model = hit->model,
		.prompt = hit->prompt,
		.messages = hit->messages,
		.parameters = hit->parameters,
	};
	struct fault fault;

	if (review->kind == REVIEW_JUDGE)
		return review_ask_judge(review);
	review->chat = (struct chat){
		.text = on_text, .done = on_done, .data = review, .background = &service->metrics.audit_calls};
	return review_asked(review, chat_start(service->upstreams, &review->chat, &question, &fault),
			    &service->metrics.audit_failures);
}
