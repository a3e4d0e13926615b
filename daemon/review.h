/* Reviews: whether what is served by meaning, or would be, says what the model says. Nobody waits for one.
 *
 *   shadow: the model's answer came ──────────────┐
 *   audit:  a hit was served ─> the model is asked ┴─> the entry's answer ─> compared ─> counts, a label, the log of decisions
 *
 *   judge:  the model's answer to a question just under the threshold came ─> a model is asked whether it wants the nearest entry's
 *           answer ─> a label, and on yes an alias
 *
 * At most REVIEWS_MOST are under way or wait, each of at most REVIEW_BYTES; REVIEW_CHATS ask the model at once, as calls that make way
 * for others (upstream.h); one compares at a time. What can go wrong: too many wait, too large, the budget of the day is used up,
 * the model or the embedder fails, the entry has gone meanwhile, what it is about is removed (each is counted, and nobody is told). */
#ifndef DAEMON_REVIEW_H
#define DAEMON_REVIEW_H

#include "../proto/identity.h"

struct answer;
struct config_namespace;
struct config_upstream;
struct forget;
struct reviews;
struct service;

#define REVIEWS_MOST 64
#define REVIEW_CHATS 4
#define REVIEW_BYTES (256u << 10)
/* The longest answer that is looked at. */
#define REVIEW_TEXT (64u << 10)

/* A question and the entry whose answer it got, or would have. Everything is copied. */
struct review_hit {
	uint64_t request; /* the daemon's number of the call */
	const struct config_namespace *space;
	struct slice namespace, question; /* the text that is compared */
	struct identity identity, digest; /* of the call; of (namespace, question) */
	const struct slice *tags;         /* of the call */
	size_t tag_count;
	struct identity entry;
	struct slice entry_question, entry_tags; /* tags: as in struct entry; absent = not known */
	uint64_t entry_created_ms;
	double similarity, next, score, opinion; /* as in struct store_label */
	uint64_t certificate_ms;                 /* of the certificate that it was decided under; 0 = none */
	uint64_t own_created_ms;                 /* judge: of the question's own entry; 0 = it has none */
	/* How the model is asked; not for shadow. */
	const struct config_upstream *upstream;
	struct slice model, prompt, messages, parameters;
};

/* Creates it; NULL without memory. */
struct reviews *reviews_create(struct service *service);

/* Ends all; nothing is concluded any more. NULL is nothing. */
void reviews_destroy(struct reviews *reviews);

/* Returns how many are under way or wait. */
size_t reviews_count(const struct reviews *reviews);

/* The model's answer to a question that would have been a hit is there; `whole`: it is complete. */
void reviews_shadow(struct reviews *reviews, const struct review_hit *hit, const struct answer *fresh, bool whole);

/* A hit was served with `served`. The model is asked too, if chance and budget choose it. */
void reviews_audit(struct reviews *reviews, const struct review_hit *hit, struct slice served);

/* The model has answered a question that the nearest entry was not near enough for. Another call, or one to the namespace's
 * judge_model, says whether both want one answer, if the budget allows. */
void reviews_judge(struct reviews *reviews, const struct review_hit *hit);

/* Ends those about what is removed. NULL is nothing. */
void reviews_forget(struct reviews *reviews, const struct forget *forget);

#endif
