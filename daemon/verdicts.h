/* What people said of stored answers: pairs of questions that must never share an answer, and entries that were said to be
 * wrong twice. Redis keeps it for all hosts and restarts (store_verdicts.c); this is the part of it in memory, which is
 * asked before anything is served by meaning, by alias or in the air.
 *
 * A pair is unordered: two digests of (namespace, text), as identity_digest() makes them for vectors; it holds in every
 * scope of its namespace. An entry is quarantined while two wrong verdicts on it stand that came from two questions; made
 * anew (another created_ms) it starts afresh. What can go wrong: more than VERDICTS_MOST pairs or entries of a namespace,
 * or VERDICTS_ALL of all (the new one is refused), no memory (likewise), Redis was never read (verdicts_known() is false,
 * and nothing is served by meaning).
 *
 * A reload reads again what Redis has: what it did not find is afterwards forgotten, unless Redis itself has lost it. */
#ifndef DAEMON_VERDICTS_H
#define DAEMON_VERDICTS_H

#include "../proto/identity.h"

struct verdicts;

#define VERDICTS_MOST 65536
#define VERDICTS_ALL (4 * VERDICTS_MOST)
#define VERDICTS_TO_QUARANTINE 2
#define VERDICTS_OF_ENTRY 4 /* questions remembered that an entry was wrong for; more add nothing */

/* Creates an empty set; NULL without memory. `known` says whether nothing has to be read first (there is no Redis). */
struct verdicts *verdicts_create(bool known);

/* Frees it; NULL is nothing. */
void verdicts_destroy(struct verdicts *verdicts);

/* Whether what Redis has was read. */
bool verdicts_known(const struct verdicts *verdicts);
void verdicts_set_known(struct verdicts *verdicts, bool known);

/* Returns whether an answer to the one text must not be served to the other. O(1). */
bool verdicts_rejected(const struct verdicts *verdicts, struct slice namespace, const struct identity *a,
		       const struct identity *b);

/* Returns whether the entry, made at `created_ms`, is quarantined. O(1). */
bool verdicts_quarantined(const struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
			  uint64_t created_ms);

/* Returns whether the namespace has any rejection or quarantine at all, so that digests need not be made for nothing. */
bool verdicts_any(const struct verdicts *verdicts, struct slice namespace);

/* One wrong verdict: on the entry made at `created_ms` that would live until `expire_ms` (both Unix time), from the
 * question with this digest. */
struct verdict_wrong {
	struct identity entry, question;
	uint64_t created_ms, expire_ms;
};

/* Change what is known. Return 0, ERROR_TOO_LARGE or ERROR_MEMORY (ERROR_INVALID: a text is no pair with itself), and then
 * nothing changed. Doing one twice changes nothing. A wrong verdict on an entry made later replaces those on the earlier
 * one, which stays quarantined if it was; `*is_new` (may be NULL) says whether it was not known. `entry` (of a pair) is the
 * one that the verdict was on, and `own` its own text. */
int verdicts_reject(struct verdicts *verdicts, struct slice namespace, const struct identity *own,
		    const struct identity *question, const struct identity *entry);
int verdicts_wrong(struct verdicts *verdicts, struct slice namespace, const struct verdict_wrong *wrong, bool *is_new);
void verdicts_undo_reject(struct verdicts *verdicts, struct slice namespace, const struct identity *a,
			  const struct identity *b);
void verdicts_undo_wrong(struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
			 const struct identity *question);

/* Returns whether this wrong verdict is among those remembered. */
bool verdicts_is_wrong(const struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
		       const struct identity *question);

/* Returns how many more pairs fit in the namespace. */
size_t verdicts_room(const struct verdicts *verdicts, struct slice namespace);

/* Finds the pair that was rejected on `entry`, which need not be there any more, for this question; sets the entry's own
 * text. Returns whether there is one. */
bool verdicts_find(const struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
		   const struct identity *question, struct identity *own);

/* Forgets every wrong verdict on an entry. */
void verdicts_undo_quarantine(struct verdicts *verdicts, struct slice namespace, const struct identity *entry);

/* Forgets every pair with this text. */
void verdicts_undo_text(struct verdicts *verdicts, struct slice namespace, const struct identity *text);

/* Forgets a namespace's (data NULL: all namespaces'). */
void verdicts_clear(struct verdicts *verdicts, struct slice namespace);

/* Returns how many pairs are rejected and how many entries quarantined, in all namespaces; for `stats`. */
size_t verdicts_count(const struct verdicts *verdicts, size_t *quarantined);

/* ---- reading everything again ---- */

/* A reload begins: what is told from now on is confirmed. */
void verdicts_reload(struct verdicts *verdicts);

/* What a reload did not confirm; exactly one of the two is there. */
struct verdict_lost {
	struct slice namespace;
	const struct identity *pair;  /* two: the entry's own text, the question */
	const struct identity *entry; /* of the pair */
	const struct verdict_wrong *wrong;
};

/* The reload has read everything. Calls `lost` (may be NULL) for each that was not confirmed, and forgets it unless that
 * returns true. Returns whether all is as it was read; false if something was undone meanwhile, which may have been read
 * before: then it has to be done once more, and nothing was called or forgotten. */
bool verdicts_reloaded(struct verdicts *verdicts, bool (*lost)(void *data, const struct verdict_lost *lost), void *data);

#endif
