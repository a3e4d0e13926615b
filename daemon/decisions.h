/* The decisions by meaning, one record each: told live to those who watch, and kept on disk for `explain --request`.
 *
 *   decisions_note() ── a record (MessagePack map) ──> watchers (their connections' output)
 *                                                └──> buffer ── thread pool ──> segments in decisions.directory
 *
 * A segment has a sixteenth of decisions.max_bytes; the oldest leave when there are too many bytes, or when all in them is older
 * than decisions.max_age. The loop never touches the disk.
 * What can go wrong: the disk is slow, full or not there (records wait, up to a bound, then are dropped and counted; it is tried
 * again), a file was cut or damaged (what is whole before the damage is read). */
#ifndef DAEMON_DECISIONS_H
#define DAEMON_DECISIONS_H

#include "config.h"
#include "decide.h"
#include "index.h"
#include "result.h"

#include <sys/types.h>

struct decisions;
struct metrics;
struct uv_loop_s;

/* One decision. Everything is the caller's and needs to live only during decisions_note(). */
struct decision_event {
	uint64_t request; /* the daemon's number of the call */
	uid_t uid;        /* of the caller */
	pid_t pid;
	struct slice namespace, question, model, upstream; /* question absent = the call had no text that is compared */
	const struct slice *tags;                          /* of the call */
	size_t tag_count;
	struct identity identity, scope;
	enum tier tier;        /* semantic, coalesced, exact or memory (by an alias), upstream or miss */
	enum config_mode mode; /* of the namespace */
	const struct policy *policy;
	const struct decision *decision;    /* NULL: an alias answered */
	const struct candidate *candidates; /* as decided about; the question of each is in it */
	size_t count;
	uint32_t gone;
	uint64_t now_ms; /* of the loop's clock, that the candidates' ages were taken at */
	/* What was served, where something was. */
	bool has_served;
	struct identity served; /* the entry; of an in-air join: the identity that is being answered */
	struct slice served_question, served_model;
	double served_similarity, served_score;
	uint64_t served_created_ms; /* Unix milliseconds; 0 in the air */
	struct slice served_tags;   /* of the entry, with a space between */
	int alias_kind;             /* enum alias_kind, or -1 */
};

/* Opens the log in config's [decisions] directory ("" = none is kept; only watchers are told) and starts its housekeeping.
 * NULL without memory. A directory that cannot be used is logged once, counted, and tried again. */
struct decisions *decisions_create(struct uv_loop_s *loop, const struct config *config, struct metrics *metrics,
				   const struct log *log);

/* Writes what waits and carries out purges, for a second at most unless the disk hangs, and closes; no callback comes any
 * more. The loop must run on until its handles are closed, and `config` live as long. NULL is nothing. */
void decisions_destroy(struct decisions *decisions);

/* Records one decision. Never blocks; dropped and counted beyond the bound. */
void decisions_note(struct decisions *decisions, const struct decision_event *event);

/* What was found out about a decision afterwards: the entry's answer and the model's. As for struct decision_event. */
struct decision_review {
	uint64_t request;
	struct slice namespace;
	struct identity identity; /* of the call */
	const struct slice *tags;
	size_t tag_count;
	struct identity entry;
	const char *source, *outcome;
	double similarity, threshold; /* of the answers; NAN = not measured, or not known */
	struct slice stored, fresh;   /* the answers; absent = there was none */
};

/* Adds it to the record of its request. Those who watch are not told. */
void decisions_note_review(struct decisions *decisions, const struct decision_review *review);

/* A read of the record of one request. */
struct decisions_find {
	/* Called exactly once after a start that returned 0, never before it returned nor after cancel. `record`: a raw
	 * MessagePack map, with a review's as `review` in it, good until it returns, absent if none is there;
	 * ERROR_UNAVAILABLE: the disk could not be read. */
	void (*done)(struct decisions_find *find, struct slice record, int error);
	void *data;
	void *private;
};

/* Looks for the record of `request`. Returns 0 (pending), ERROR_UNAVAILABLE (no log is kept), ERROR_BUSY or ERROR_MEMORY. */
int decisions_find(struct decisions *decisions, struct decisions_find *find, uint64_t request);
void decisions_find_cancel(struct decisions *decisions, struct decisions_find *find);

/* Removes all records so far that mention an entry, or all of a namespace (`entry` NULL), or all (data NULL). Done on the
 * thread pool soon; until then such records are not found. Records noted later stay. */
void decisions_purge(struct decisions *decisions, struct slice namespace, const struct identity *entry);
/* … or whose call had this tag. */
void decisions_purge_tag(struct decisions *decisions, struct slice namespace, struct slice tag);

/* One that watches: told each record of `namespace` (data NULL = all) as it is noted. */
struct decisions_watch {
	struct decisions_watch *prev, *next;
	/* May stop this watch, no other. */
	void (*event)(struct decisions_watch *watch, struct slice record);
	/* decisions_watch_end() was called; the watch has been stopped. */
	void (*ended)(struct decisions_watch *watch);
	void *data;
	struct slice namespace;
};

/* The most that may watch at once. */
#define DECISIONS_WATCHES 64

/* Returns 0 or ERROR_BUSY. */
int decisions_watch_start(struct decisions *decisions, struct decisions_watch *watch);
/* Not started is nothing, if it is all zero. */
void decisions_watch_stop(struct decisions *decisions, struct decisions_watch *watch);
/* Ends all: the daemon is going, and nobody else would. */
void decisions_watch_end(struct decisions *decisions);

#endif
