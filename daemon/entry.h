/* A stored question with its answer, as the daemon holds it in memory, and the alias that lets another wording use it. */
#ifndef DAEMON_ENTRY_H
#define DAEMON_ENTRY_H

#include "../proto/identity.h"

/* All times ending in `_at_ms` are of this host's loop clock; durations and `created_ms` (wall clock, Unix milliseconds, for
 * people and for telling two versions of an entry apart) travel to Redis. Freshness ends at fresh_until_at_ms, existence at
 * expires_at_ms (later only where the namespace has a stale window). */
struct entry {
	struct identity identity;
	struct identity scope;
	bool compared; /* it may be found by meaning; then `scope` and perhaps `vector` are set */
	uint64_t generation;
	uint64_t created_ms;
	uint64_t soft_ms;   /* duration of freshness at creation */
	uint64_t expire_ms; /* duration of existence at creation */
	uint64_t created_at_ms, fresh_until_at_ms, expires_at_ms;
	struct slice namespace;
	struct slice question; /* the compared text, or the last message's text */
	struct slice answer;
	struct slice model;
	struct slice finish_reason;
	struct slice usage;   /* raw MessagePack map of integers, or absent */
	struct slice request; /* raw MessagePack map {model, upstream, context, messages, parameters}, or absent */
	struct slice tags;    /* the names, one space between; "" for none */
	const float *vector;  /* unit length, or NULL */
	unsigned dimensions;
	const float *second; /* the same of the second embedder, or NULL */
	unsigned second_dimensions;

	/* Set by entry_copy() only, absent otherwise: the MessagePack pairs of a result map that are the same for every
	 * exact hit of this entry, ready to be sent: answer, finish_reason, similarity (1.0), original_query, entry, model,
	 * usage. The texts above point into it, so that nothing is kept twice. `result_answer` = bytes of the first pair,
	 * which a streamed answer leaves out. */
	struct slice result;
	size_t result_answer;
};

/* The pairs in `result`. */
#define ENTRY_RESULT_PAIRS 7

/* Copies `from` with all its texts and its vectors into one allocation, and makes `result`. NULL without memory. Free it
 * with entry_destroy(). */
struct entry *entry_copy(const struct entry *from);

/* Frees what entry_copy() made; NULL is nothing. */
void entry_destroy(struct entry *entry);

/* Returns the bytes entry_copy() would allocate for `entry`. */
size_t entry_size(const struct entry *entry);

/* Takes the first of the names of `tags`, a text as entry.tags, off its front. Returns false when none is left. */
bool entry_next_tag(struct slice *tags, struct slice *tag);

/* Returns how many names there are, and whether `tag` is one of them. */
size_t entry_tag_count(struct slice tags);
bool entry_has_tag(struct slice tags, struct slice tag);

enum alias_kind { ALIAS_PROMOTED, ALIAS_JUDGED, ALIAS_ACCEPTED };

/* Another identity that an entry may answer. It is dead when the entry it names was made at another time or the generation
 * is not the one in force. */
struct alias {
	struct identity identity; /* the other wording's */
	struct identity entry;
	uint64_t entry_created_ms;
	uint64_t generation;
	double similarity; /* measured, plain cosine */
	double score;      /* what decide() compared with the threshold */
	enum alias_kind kind;
	bool takes_place;   /* put: the identity's own entry, in Redis, gives way to it */
	char embedder[17];  /* the embedder8 of the similarity: 16 hex digits */
	uint64_t expire_ms; /* duration at creation; when read, what is left */
};

#endif
