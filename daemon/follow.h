/* Tails the log of changes in Redis on a connection of its own, so that this daemon's memory and index follow what other
 * daemons add, alias, invalidate and flush within 100 ms.
 *
 *   CONNECT → NOTE (last id, run_id) → RELOAD (the receiver loads by the directories) → TAIL (XREAD BLOCK …) ─┐
 *      ^          lost connection, another run_id, trimmed log                             └── each record ──┘
 *      └──────────────────────────────────────────────────────────────────────────────────────────────┘
 *
 * After a reconnect the log goes on from the last id seen, unless it was trimmed meanwhile (its first id is later) or Redis
 * is another one (run_id): then everything is reloaded. XREAD's BLOCK is shorter than the connection's own deadline, so a
 * hung Redis is noticed. */
#ifndef DAEMON_FOLLOW_H
#define DAEMON_FOLLOW_H

#include "entry.h"

struct config;
struct deadlines;
struct follow;
struct log;
struct metrics;
struct part;
struct store_verdict;
struct uv_loop_s;

/* What the follower tells; all are called from the loop. */
struct follow_events {
	/* Another daemon wrote the entry (or overwrote it): drop it from memory, read it again for the index. */
	void (*put)(void *data, struct slice namespace, const struct identity *entry);
	/* Another daemon wrote this alias: drop what memory has under its identity. */
	void (*alias)(void *data, struct slice namespace, const struct identity *alias);
	/* An entry (or alias) was removed. */
	void (*removed)(void *data, struct slice namespace, const struct identity *identity);
	/* A namespace was flushed and has a new generation. */
	void (*flushed)(void *data, struct slice namespace, uint64_t generation);
	/* The run-time settings or certificates of a namespace were written, by this daemon too (`is_own`): read them again,
	 * so that all come to what was written last. May be NULL. */
	void (*settings)(void *data, struct slice namespace, bool is_own);
	/* Somebody gave a verdict to another daemon, or took one back; NULL = of no interest. */
	void (*said)(void *data, struct slice namespace, const struct store_verdict *verdict);
	/* The text with this digest was removed, with what was said of it; NULL = of no interest. */
	void (*text_removed)(void *data, struct slice namespace, const struct identity *text);
	/* Everything must be read again: at the start, and when records were lost. The tail already notes what comes
	 * after. */
	void (*reload)(void *data);
	/* The tail is connected and up to date (true), or was lost (false). */
	void (*connected)(void *data, bool connected);
};

/* Starts to follow; returns at once. Records whose origin is `origin` are skipped. `part` is Redis's, told of a lost link.
 * NULL without memory. */
struct follow *follow_create(struct uv_loop_s *loop, struct deadlines *deadlines, const struct config *config,
			     uint64_t origin, const struct follow_events *events, void *data, struct part *part,
			     struct metrics *metrics, const struct log *log);

/* Returns whether the Redis that is followed is another process than the one before, so that it may have lost data; also of
 * the first one. */
bool follow_is_other(const struct follow *follow);

/* Stops; no event comes any more. Memory with libuv handles is freed in their close callbacks. */
void follow_destroy(struct follow *follow);

#endif
