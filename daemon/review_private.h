/* What the files of review share. Nobody else includes it. */
#ifndef DAEMON_REVIEW_PRIVATE_H
#define DAEMON_REVIEW_PRIVATE_H

#include "review.h"

#include "comparison.h"
#include "deadline.h"
#include "namespaces.h"
#include "service.h"
#include "store.h"
#include "upstream.h"

#include "../proto/limits.h"

enum review_kind { REVIEW_SHADOW, REVIEW_AUDIT, REVIEW_JUDGE };

/* What it waits for. */
enum review_state {
	REVIEW_TO_ASK,     /* its turn to ask the model */
	REVIEW_ASKING,     /* the model */
	REVIEW_TO_COMPARE, /* its turn to compare */
	REVIEW_COMPARING,  /* the entry's answer, then the embedder */
};

struct review {
	struct review *prev, *next;
	struct reviews *reviews;
	enum review_kind kind;
	enum review_state state;
	struct review_hit hit; /* its slices point into `texts` */
	struct slice tags[LIMIT_TAGS];
	uint64_t waits_since_ms;
	bool is_cut; /* an answer is longer than REVIEW_TEXT */
	bool is_whole;
	struct buffer served, fresh;
	struct chat chat;
	bool is_chatting;
	struct store_read read;
	uint64_t reads_trusted;
	unsigned reads;
	struct comparison comparison;
	char texts[];
};

struct reviews {
	struct service *service;
	struct review *all;
	size_t count, asking;
	struct review *comparing; /* or NULL */
	struct deadline due;
	uint64_t random;
};

/* review.c: life and turns */

/* Opens one of `kind`, with `served` copied. NULL (counted) if too many wait, it is too large or there is no memory. */
struct review *review_open(struct reviews *reviews, enum review_kind kind, const struct review_hit *hit,
			   struct slice served);
/* Ends one, whatever it waits for. */
void review_end(struct review *review);
/* The same for one that leads to nothing; counted. */
void review_drop(struct review *review);
/* Its turn may have come. */
void reviews_wake(struct reviews *reviews, uint64_t in_ms);

/* review_ask.c: the model */

/* Returns whether chance chooses something that happens with probability `share`. */
bool reviews_chance(struct reviews *reviews, double share);
/* Asks the model what the caller asked it. Returns whether it is still there: it asks, or waits for a better moment. */
bool review_ask(struct review *review);
/* chat_start() returned `error`: the same, and what failed is counted in `failures`. */
bool review_asked(struct review *review, int error, uint64_t *failures);

/* review_compare.c: the comparison, and what comes of it */

/* Gets the entry's answer if it is not there, and compares. The review may be over when this returns. */
void review_compare(struct review *review);

/* A label of what it is about, and a word for the log of decisions, with the answers that it has. */
void review_keep_label(const struct review *review, enum label_source source, bool right);
void review_tell_log(const struct review *review, const char *source, const char *outcome);

/* review_judge.c: whether two questions want one answer */

enum judge_word { JUDGE_UNKNOWN, JUDGE_YES, JUDGE_NO, JUDGE_UNCLEAR };

/* Returns what the first word of `reply` says, letters of either case, with what is no letter passed over before it;
 * JUDGE_UNKNOWN while more may come that matters. Pure. */
enum judge_word judge_read(struct slice reply, bool is_over);
/* As review_ask(). */
bool review_ask_judge(struct review *review);
/* The verdict was yes, and this is the entry. The review is over when this returns. */
void review_take_judged(struct review *review, const struct entry *entry);

#endif
