/* A removal and the batch it is working on: what store_remove.c collects, store_batch.c removes. */
#ifndef DAEMON_STORE_BATCH_H
#define DAEMON_STORE_BATCH_H

#include "../proto/limits.h"
#include "store_private.h"

#define TARGETS 16     /* members of the set in one batch */
#define ALIASES_EACH 8 /* of each of them */
#define ALIASES (TARGETS * ALIASES_EACH)
#define VECTORS 128
#define VECTORS_LISTED 32 /* of one question: those that live longest */
#define TAGS_BYTES 1104   /* of one entry */

enum selected { SELECT_ENTRY, SELECT_QUESTION, SELECT_TAG };
enum phase { PHASE_LIST, PHASE_READ, PHASE_ALIASES, PHASE_VECTORS, PHASE_REMOVE, PHASE_RECORD };

/* An entry, or an alias found by its own text. */
struct target {
	struct identity identity;
	bool is_alias, is_match, has_more; /* has_more: aliases beyond those in this batch */
	char digest[IDENTITY_HEX];         /* "" = not known */
	char entry[IDENTITY_HEX];          /* of an alias */
	char tags[TAGS_BYTES];
};

struct belonging {
	struct identity identity;
	char digest[IDENTITY_HEX];
	char entry[IDENTITY_HEX];
};

struct vector_name {
	char member[96];
	char digest[IDENTITY_HEX];
};

struct batch {
	enum phase phase;
	unsigned target_count, alias_count, vector_count, unknown;
	struct target targets[TARGETS];
	struct belonging aliases[ALIASES];
	struct vector_name vectors[VECTORS];
	bool is_counted[3]; /* entries, aliases, vectors have a command of their own */
	bool is_removing;   /* marked */
};

struct removal {
	struct job job;
	enum selected selected;
	struct identity identity;
	char tag[LIMIT_TAG_BYTES + 1];
	size_t tag_length;
	unsigned offset, alias_offset;
	struct batch *batch;
	struct identity *purged; /* entries that went, whose labels and marks must go too */
	size_t purged_count;
};

/* So many are forgotten at once. */
#define PURGED_MOST 8192

/* The texts of a removal. */
struct slice removal_tag(const struct removal *removal);
struct slice removal_space(const struct removal *removal);

/* Sends a command of the removal's. */
void removal_put(struct removal *removal, struct command *command);

/* Starts a command on the set that the members are listed in. */
void removal_set(struct removal *removal, struct command *command, const char *name);

/* Sends the transaction that removes the batch, after telling what goes; for a dry run the commands that count it. */
void batch_remove(struct removal *removal);

/* The transaction was done, or it is unknown whether it was: reads that started before now find nothing of the batch. */
void batch_removed(struct removal *removal);

/* Queues the removal of what people said of the entries that went. */
void batch_forget(struct removal *removal);

/* Sends the records of the batch. */
void batch_record(struct removal *removal);

#endif
