/* A flight: one identity being answered, for all the calls (riders) that ask it at the same time.
 *
 *   flight_ask() ─ join by identity, or open ─> NEW → EXACT → EMBED → SEARCH → OPINION → FETCH → CHAT → STORE → DONE
 *                                               what is awaited; each rider leaves as soon as its own policy is satisfied
 *
 * A flight is in the table, where others can join it, until what it stores is stored; it is freed when its last rider has read
 * all. A look-up and an `add` are flights too, of one rider, that nobody can join. flight.c holds the whole story in one switch. */
#ifndef DAEMON_FLIGHT_H
#define DAEMON_FLIGHT_H

#include "result.h"

struct candidate;
struct config_namespace;
struct config_upstream;
struct flight;
struct flights;
struct request;
struct rider;
struct service;

/* Why a question would be answered so; everything is good only until the return. */
struct explanation {
	const struct candidate *candidates; /* of its scope, nearest first; guards and verdicts looked at for all */
	size_t count;
	uint32_t gone;
	const struct policy *policy;
	struct decision decision;
	const struct config_namespace *space;
	const struct request *request;
	const struct identity *identity, *scope;
	bool compared;
	enum reason missed;  /* why meaning could not be compared, or REASON_NONE */
	const float *vector; /* or NULL */
	unsigned dimensions;
	struct slice text, model, upstream;
	const struct entry *stored; /* under its own identity, or by `alias`; or NULL */
	const struct alias *alias;
	enum reason stored_reason; /* why that would not be served */
	uint64_t embedding_us, search_us;
};

/* What a flight tells its riders; one constant table in call.c. Every function but `more` means that the rider has left the
 * flight. All may be called before flight_ask() and its like return. */
struct rider_ops {
	/* A stored answer. `result` has everything but request number and total_ms, and is good until the return. */
	void (*hit)(struct rider *rider, struct result *result);
	/* Nothing stored that the policy allows, and the model is not to be asked. */
	void (*miss)(struct rider *rider, struct result *result);
	/* There is text to read, or the end is known: flight_read(), flight_ended(). */
	void (*more)(struct rider *rider);
	/* There is no answer. */
	void (*failed)(struct rider *rider, const struct fault *fault);
	/* `explain`: what is known. */
	void (*explained)(struct rider *rider, const struct explanation *explanation);
	/* `add`: stored in "redis", "queued" or "memory", under `entry`. */
	void (*added)(struct rider *rider, const struct identity *entry, const char *stored);
};

/* One call on a flight; embedded in the call, which sets the first part before it rides. */
struct rider {
	const struct rider_ops *ops;
	struct policy policy;
	bool only;       /* never ask the model: `cache: only`, and look-ups */
	bool no_store;   /* keep nothing new for this one */
	uint64_t number; /* of the request, in the log of decisions */
	unsigned uid;    /* of the caller */
	int pid;

	/* the flight's */
	struct flight *flight; /* NULL = rides none */
	uint32_t ttl_s;        /* of what is kept, if the model is asked for this one */
	struct rider *prev, *next;
	struct answer_cursor cursor;
	bool opened; /* it is for this one that the model is asked; the others share the answer */
	bool joined; /* came from another wording, of this similarity, identity and digest of its text */
	double similarity;
	struct identity asked, asked_digest;
	enum reason reason; /* why it was not served from what is stored */
	bool noted;         /* its decision is in the log */
};

/* One question, checked and resolved. Slices point into `message`, which is copied when a flight is opened. */
struct question {
	struct slice message;
	const struct request *request;
	const struct config_namespace *space;
	const struct config_upstream *upstream; /* NULL: none is configured */
	struct slice model;                     /* resolved */
	struct identity identity;
	uint32_t ttl_s;
};

/* Creates the table; NULL without memory. */
struct flights *flights_create(struct service *service);

/* Ends all flights without telling their riders; NULL is nothing. */
void flights_destroy(struct flights *flights);

/* Returns the flights that are not DONE. */
size_t flights_count(const struct flights *flights);

/* Joins the flight of question->identity, or opens one (also where one that never asks the model comes too late for what
 * that flight read). Returns 0, or ERROR_MEMORY with `fault` filled; then no function of rider->ops was or will be
 * called. */
int flight_ask(struct service *service, struct rider *rider, const struct question *question, struct fault *fault);

/* Looks the question up on a flight of its own: never asks the model, keeps nothing but the embedding. As flight_ask(). */
int flight_lookup(struct service *service, struct rider *rider, const struct question *question, struct fault *fault);

/* Finds out what would be served and why, on a flight of its own: keeps nothing but the embedding. As flight_ask(). */
int flight_explain(struct service *service, struct rider *rider, const struct question *question, struct fault *fault);

/* Stores request->answer. As flight_ask(). */
int flight_add(struct service *service, struct rider *rider, const struct question *question, struct fault *fault);

/* The rider gets off: cancelled, too late, or its client is gone. No function of its ops is called any more. */
void flight_leave(struct rider *rider);

/* Copies up to `most` bytes of the model's answer that the rider has not read yet, whole characters. Returns how many. */
size_t flight_read(struct rider *rider, char *out, size_t most);

/* Returns whether the rider can read more now. */
bool flight_has_text(const struct rider *rider);

/* Returns false while the answer is still coming. Once it is whole, sets `result` (everything but request number and
 * total_ms), good until flight_leave(), which the rider calls when it has written it, and returns true. */
bool flight_ended(const struct rider *rider, struct result *result);

/* What is being removed: exactly one of identity, question and tag is set, or none = everything in the namespace, or in all
 * namespaces (data NULL). */
struct forget {
	struct slice namespace;
	const struct identity *identity;
	struct slice question;
	struct slice tag;
	const struct flight *except; /* this one is younger than what is removed; or NULL */
};

/* Flights of what is removed or replaced are not joined any more, and store nothing; those that went on for the cache alone
 * end. */
void flights_forget(struct flights *flights, const struct forget *forget);

/* The pair of texts with these digests must not share an answer from now on, in no scope of `namespace`: an answer in the
 * air gets no alias for the other wording, and riders that came from it are told ERROR_UNAVAILABLE unless they have begun to
 * read. */
void flights_reject(struct flights *flights, struct slice namespace, const struct identity *a, const struct identity *b);

/* An entry of `namespace` is quarantined from now on, which those that found it before must see. */
void flights_quarantine(struct flights *flights, struct slice namespace);

/* Returns a number that grows with every removal: what was read from Redis before it grew may be gone. */
uint64_t flights_removals(const struct flights *flights);

/* Something stored was removed or replaced: what is being read from Redis right now must not be kept. */
void flights_distrust_reads(struct flights *flights);

#endif
