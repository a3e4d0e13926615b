/* What the files of flight share. Nobody else includes it. */
#ifndef DAEMON_FLIGHT_PRIVATE_H
#define DAEMON_FLIGHT_PRIVATE_H

#include "flight.h"

#include "deadline.h"
#include "embedder.h"
#include "index.h"
#include "service.h"
#include "store.h"
#include "upstream.h"

#include "../proto/request.h"

/* How many flights there are is up to clients. */
#ifndef HASH_NONFATAL_OOM
#define HASH_NONFATAL_OOM 1
#endif
#include <uthash.h>
#include <utlist.h>

enum flight_kind { FLIGHT_ASK, FLIGHT_LOOKUP, FLIGHT_EXPLAIN, FLIGHT_ADD };

enum flight_state {
	FLIGHT_NEW,     /* nothing yet */
	FLIGHT_EXACT,   /* Redis: the identity, and the question's cached embedding */
	FLIGHT_EMBED,   /* the embedder */
	FLIGHT_SEARCH,  /* the index */
	FLIGHT_OPINION, /* the second embedder */
	FLIGHT_FETCH,   /* Redis: the entry of a candidate */
	FLIGHT_CHAT,    /* the model; the flight can be joined by meaning. Or it failed, and some wait for a candidate */
	FLIGHT_STORE,   /* Redis: the write */
	FLIGHT_DONE,    /* riders that have not read all */
};

/* Another wording whose riders came here: it gets an alias when this answer is stored. */
struct flight_wording {
	struct flight_wording *next;
	struct identity identity, digest;
	double similarity, score;
};

#define FLIGHT_WORDINGS 1024

/* A would-be hit of the mode shadow, whose answer is compared with the model's; or one that was just not near enough, which
 * a model may judge. */
struct flight_would {
	bool is_there, is_grey;
	uint64_t request; /* of the call that would have been served */
	size_t index;     /* of the candidate */
	double next, score;
};

/* The question's vector of the second embedder. */
struct flight_second {
	struct embedding embedding;
	struct deadline due;
	float *vector; /* or NULL */
	unsigned dimensions;
	bool is_wanted;    /* an opinion was to be had */
	bool is_embedding; /* it is on its way */
	bool is_waited;    /* … and the flight waits for it */
};

struct flight {
	struct service *service;
	enum flight_kind kind;
	enum flight_state state;

	/* the question; slices point into `message` */
	char *message;
	struct request request;
	const struct config_namespace *space;
	const struct config_upstream *upstream;
	struct slice model;
	struct slice text; /* what is compared by meaning, or else the last message's text */
	bool compared;     /* by meaning */
	struct identity_traits traits;
	struct identity identity, scope, digest; /* digest: of (namespace, text) */
	uint64_t generation;
	uint64_t reads_trusted; /* flights->distrusted when the read began */
	bool forgotten;         /* removed or replaced meanwhile: store nothing, let nobody join */
	bool is_listed;         /* in the table */
	bool is_visible;        /* among those that can be joined by meaning */
	size_t air_row;         /* its place there */
	bool is_detached;
	bool wants_store; /* at least one rider wants it kept */
	uint32_t ttl_s;
	struct slice tags[LIMIT_TAGS];
	char *tags_owned[LIMIT_TAGS]; /* those that came from other messages */
	size_t tag_count;

	struct rider *riders;
	size_t rider_count;

	/* what is awaited */
	unsigned awaiting; /* reads in EXACT */
	bool is_reading;   /* one of them is of the identity */
	struct store_read read, vector_read;
	struct embedding embedding;
	struct flight_second second;
	struct index_search search;
	struct chat chat;
	struct store_write write;
	bool is_embedding, is_searching, is_chatting, is_writing;

	/* what came */
	struct entry *stale;
	float *vector;
	bool is_new; /* it comes from the embedder, not from Redis */
	unsigned dimensions;
	size_t weighed; /* so many candidates were compared with the question by guards and verdicts */
	uint32_t gone;  /* candidates that are not there any more */
	int fetching;   /* the candidate being read, or -1 */
	struct flight_would would;
	enum reason missed; /* why meaning could not be compared at all */
	int write_error;    /* how the write went; ERROR_PENDING = queued */
	struct answer answer;
	struct chat_end end;
	struct fault fault;
	bool is_kept;
	uint64_t kept_created_ms; /* of the entry */
	struct buffer usage;      /* raw MessagePack */
	struct flight_wording *wordings;
	size_t wording_count;
	uint64_t embedding_us, search_us, upstream_us, step_us;

	UT_hash_handle hh;                      /* flights->by_identity */
	struct flight *prev, *next;             /* flights->all */
	struct deadline due;                    /* go on in the next turn */
	struct flight *ready_prev, *ready_next; /* flights->ready */
	bool is_ready;
};

struct flight_scope;

struct flights {
	struct service *service;
	struct flight *by_identity;
	struct flight_scope *scopes;
	struct flight *all;
	size_t count, detached;
	uint64_t distrusted;
	struct flight *ready; /* those whose vector has come, and that wait for their turn */
	struct deadline ready_due;
	uint64_t paced_ms; /* of the loop's clock: in it, flights have gone on for … */
	uint64_t paced_us;
};

/* flight.c: the story */

/* What `state` awaits has come, or was not needed: goes on. The flight may be gone afterwards. */
void flight_step(struct flight *flight);
/* The same, but not before its turn where many vectors come at once. */
void flight_go_on(struct flight *flight);
/* Somebody joined a flight whose model is being asked already. */
void flight_due(struct deadline *due);

/* Those that are ready have their turn. */
void flights_ready(struct deadline *due);

/* flight_table.c: begin and end */

/* Nobody can join any more, neither by identity nor by meaning. */
void flight_unlist(struct flight *flight);
/* Ends everything that is awaited, and frees the flight. It has no riders any more. */
void flight_end(struct flight *flight);
/* The model failed: serves what is stale but allowed, tells the others, ends; but for those who wait for a candidate that is
 * being read. */
void flight_fail(struct flight *flight, const struct fault *fault);
/* The last rider has left: ends, or goes on for the cache alone. */
void flight_abandon(struct flight *flight);

/* flight_riders.c: who rides, who is served */

/* Puts `rider`, which rides nothing, on the flight, at the start of its answer. */
void riders_add(struct flight *flight, struct rider *rider);
/* Takes it off, whatever becomes of the flight then. */
void riders_remove(struct rider *rider);
/* Whether the question's vector is of use, and whether somebody may be served by it. */
bool riders_want_meaning(const struct flight *flight);
bool riders_want_search(const struct flight *flight);
/* Returns why the rider would not be served `entry`, found under the flight's identity (by `alias`, if not NULL), or
 * REASON_NONE. */
enum reason riders_why_not_stored(const struct flight *flight, const struct rider *rider, const struct entry *entry,
				  const struct alias *alias, enum tier tier, uint64_t now_ms);
/* Serves every rider whose policy allows `entry`, found under the flight's identity (by `alias`, if not NULL). */
void riders_serve_exact(struct flight *flight, const struct entry *entry, const struct alias *alias, enum tier tier);
/* Returns the best candidate that some rider would be served, or -1; notes for the others why not. */
int riders_wanted_candidate(struct flight *flight);
/* Serves every rider whose policy chooses candidate `index`, which was found to be `entry`. */
void riders_serve_candidate(struct flight *flight, size_t index, const struct entry *entry);
/* Moves the riders whose policy allows it to a flight in CHAT whose question means the same. */
void riders_join_by_meaning(struct flight *flight);
/* The model is about to be asked: what is kept of its answer is up to those who are still here. */
void riders_ask(struct flight *flight);
/* Tells those that do not wait for the candidate being read that there is no answer. */
void riders_fail(struct flight *flight, const struct fault *fault);
/* Riders that never ask the model leave with a miss. */
void riders_miss(struct flight *flight);
/* The others wait for the model from now on: the log of decisions is told why. */
void riders_note(struct flight *flight);
/* There is more to read. */
void riders_tell(struct flight *flight);
/* The entry of an `add` is stored, or not. */
void riders_added(struct flight *flight);
/* Adds tags that the flight does not have yet; copies them. */
void flight_take_tags(struct flight *flight, const struct slice *tags, size_t count);
/* A wording whose text has this digest was removed: it gets no alias. */
void flight_forget_wording(struct flight *flight, const struct identity *digest);
void flight_free_wordings(struct flight *flight);

/* flight_decide.c: what decisions are made on, and who is told */

/* Compares the candidates with the question, as far as they can matter to its riders. */
void flight_weigh(struct flight *flight);
/* The same for all candidates, however far away. */
void flight_weigh_all(struct flight *flight);
/* Returns the least cosine at which a candidate can matter to one of the riders: as a hit, or as the next nearest. */
double flight_least(const struct flight *flight);
/* decide(), for one rider. */
struct decision flight_decide(const struct flight *flight, const struct rider *rider, uint64_t now_ms);
/* What a rider was served. */
struct served {
	const struct identity *entry;
	struct slice question, model;
	double similarity, score;
	uint64_t created_ms;
	int alias_kind;    /* enum alias_kind, or -1 */
	struct slice tags; /* of the entry */
};
/* Tells the log of decisions of one, once for a rider; `served` NULL = nothing was. */
void flight_note(const struct flight *flight, struct rider *rider, enum tier tier, const struct decision *decision,
		 const struct served *served);
/* The same for a rider that nothing stored was served to, if meaning had a say. */
void flight_note_missed(struct flight *flight, struct rider *rider, enum tier tier);
/* Tells an `explain` everything; the rider leaves. */
void flight_explain_to(struct flight *flight, struct rider *rider);

/* flight_review.c: what is reviewed behind the callers (review.h) */

/* The rider would be served by `decision`, were it not for the mode. The first of a flight counts. */
void flight_note_would(struct flight *flight, const struct rider *rider, const struct decision *decision);
/* The same if it is only its score that keeps the nearest entry from being served, and the namespace has such cases
 * judged. */
void flight_note_grey(struct flight *flight, const struct rider *rider, const struct decision *decision);
/* The model's answer is there: it is compared with what would have been served, or judged. */
void flight_review_answer(struct flight *flight);
/* The rider is served `entry` by meaning, or by an alias. */
void flight_audit_hit(struct flight *flight, const struct rider *rider, const struct decision *decision,
		      const struct entry *entry);
void flight_audit_alias(struct flight *flight, const struct rider *rider, const struct entry *entry,
			const struct alias *alias);

/* flight_opinion.c: the second embedder */

/* Asks for its vector of the question where an opinion is wanted, or an `add` is to be stored with it. Returns whether it is
 * awaited, which is not for long. */
bool flight_start_opinion(struct flight *flight);
/* Tells the candidates its opinion, if one came. */
void flight_take_opinion(struct flight *flight);
/* Returns its cosine of the questions of two flights; NAN = not known. */
double flight_opinion_of(const struct flight *flight, const struct flight *other);
/* Asks for its vector of the question, for what will be stored; nobody waits. */
void flight_ask_second(struct flight *flight);
/* Nothing of it comes any more. */
void flight_end_second(struct flight *flight);

/* flight_air.c: who can be joined by meaning */

/* From here on, and until flight_hide(), it can be joined by meaning. */
void flight_show(struct flight *flight);
void flight_hide(struct flight *flight);
/* One that could be joined. */
struct flight_near {
	struct flight *flight;
	double similarity;
};
/* Finds the visible flights of the same scope whose questions are nearest to that of `flight`, which has a vector: at most
 * FLIGHT_NEAR, nearest first. Returns how many. */
size_t flight_nearest(const struct flight *flight, struct flight_near near[]);
#define FLIGHT_NEAR 4

/* flight_keep.c: what is stored of a flight */

/* Whether somebody wants the answer kept, and it may be. */
bool flight_is_cacheable(const struct flight *flight);
/* Keeps in memory what Redis had. */
void flight_keep_read(struct flight *flight, const struct entry *entry, const struct alias *alias);
/* Keeps the flight's wording as an alias of `entry`. */
void flight_keep_alias(struct flight *flight, const struct entry *entry, double similarity, double score);
/* Keeps the model's answer, if it is complete; or that of an `add`. Returns whether Redis's reply is awaited. */
bool flight_keep_answer(struct flight *flight);
bool flight_keep_added(struct flight *flight);

#endif
