/* What the files of the store share: its state, the talk with Redis in rounds, commands, the schema of the hashes.
 *
 *   store.c         life, generations, what a lost connection means
 *   store_command.c commands and the rounds of their replies
 *   store_fields.c  entries and aliases as fields of a hash
 *   store_read.c    asks (bounded, each with a deadline) and the look-ups
 *   store_walk.c    walks over a directory
 *   store_list.c    namespaces, and the aliases of an entry
 *   store_write.c   the queue of jobs and who waits for them
 *   store_put.c     entries, aliases, vectors
 *   store_sweep.c   what has expired leaves the sorted sets
 *   store_remove.c  removal by entry, question, tag: finds what belongs together, a batch at a time
 *   store_batch.c   … and removes the batch
 *   store_flush.c   a new generation, and the removal of what it left dead
 *   store_verdicts.c what people said: writes and reads it
 *   store_labels.c  pairs of questions of which it is known whether they want the same
 *   store_forget.c  both go with what they are about
 *   store_settings.c  run-time settings and certificates */
#ifndef DAEMON_STORE_PRIVATE_H
#define DAEMON_STORE_PRIVATE_H

#include "deadline.h"
#include "redis.h"
#include "store.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <uv.h>

#define STORE_LOG_RECORDS "100000"
#define STORE_ASKS 16384u        /* reads in the air */
#define STORE_SPACES 16384u      /* generations remembered; a power of two is not needed */
#define STORE_MARKS 4096u        /* a power of two */
#define STORE_NAMESPACE 65       /* a name with its NUL */
#define STORE_TTL_SLACK_MS 60000 /* how long an expired member may outlast its key, so that clocks may differ */

struct hasher;
struct job;

/* ---- talk: commands in the air, and their replies in rounds ---- */

struct talk {
	/* The `n`-th reply of this round; never NULL. May be NULL itself. */
	void (*reply)(struct talk *talk, unsigned n, const struct redisReply *reply);
	/* All replies of the round came, or the connection was lost. May send the next round or free the talk. */
	void (*round)(struct talk *talk);
	struct store *store;
	unsigned awaited; /* replies still to come */
	unsigned n;       /* replies that came in this round */
	bool lost;        /* the connection ended meanwhile, or a command could not be sent */
};

/* One command being put together. Room for the largest batch there is. */
#define COMMAND_ARGUMENTS 640
#define COMMAND_TEXT 40960
struct command {
	int count;
	size_t used;
	bool overflow;
	const char *arguments[COMMAND_ARGUMENTS];
	size_t lengths[COMMAND_ARGUMENTS];
	char text[COMMAND_TEXT];
};

/* Starts `command` with its name, a constant. */
void command_start(struct command *command, const char *name);

/* Adds an argument that outlives the command. */
void command_add(struct command *command, struct slice argument);
void command_word(struct command *command, const char *word);

/* Adds an argument made as by printf(3), kept in the command. */
void command_print(struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds the name of one of our keys: prefix, kind ("entry:"), and the rest. */
void command_key(struct command *command, const struct store *store, const char *kind, struct slice rest);
void command_identity(struct command *command, const struct store *store, const char *kind, const struct identity *identity);
/* … kind, namespace, a colon, and the rest. */
void command_space_key(struct command *command, const struct store *store, const char *kind, struct slice namespace,
		       struct slice rest);

/* Makes the command that adds one record to the log. */
void command_record(struct command *command, const struct store *store, const char *op, const struct identity *identity,
		    struct slice namespace, uint64_t generation);

/* Makes the command that removes everything that was said in a namespace. */
void command_forget_said(struct command *command, const struct store *store, struct slice namespace);

/* Sends it; the reply comes to `talk`. Without a connection, or if it cannot be sent, the talk is lost. */
void command_send(struct command *command, struct redis *redis, struct talk *talk);

/* The reads that every look-up sends differ only in the identity within their key: they are put together once, as Redis gets
 * them, and from then on only its digits are written over. */
struct form {
	char *text;
	size_t length;
	size_t digits; /* where they are in it */
};

enum form_name { FORM_ENTRY, FORM_ENTRY_VECTOR, FORM_ENTRY_PTTL, FORM_ALIAS, FORM_ALIAS_PTTL, FORM_COUNT };

/* Makes the forms of a store whose prefix and embedder are known. Returns 0 or ERROR_MEMORY. */
int forms_create(struct store *store);
void forms_destroy(struct store *store);

/* Sends one of them about the identity whose digits are `hex` to the connection of reads; else as command_send(). */
void form_send(struct store *store, enum form_name name, const char hex[IDENTITY_HEX], struct talk *talk);

/* ---- replies ---- */

/* Returns the text of a string reply; absent for anything else. */
struct slice reply_text(const struct redisReply *reply);

/* Returns element `i` of an array reply, or NULL. */
const struct redisReply *reply_at(const struct redisReply *reply, size_t i);

/* Copies the text of a string reply with a NUL behind it; "" for anything else, and for what does not fit. */
void reply_copy(char *out, size_t size, const struct redisReply *reply);

/* Returns the integer of a reply, or `otherwise`. */
long long reply_integer(const struct redisReply *reply, long long otherwise);

/* Returns whether it is an error reply that starts with `word`; NULL = any error. */
bool reply_is_error(const struct redisReply *reply, const char *word);

/* ---- schema ---- */

enum field {
	FIELD_SCHEMA,
	FIELD_NAMESPACE,
	FIELD_GENERATION,
	FIELD_QUESTION,
	FIELD_ANSWER,
	FIELD_MODEL,
	FIELD_FINISH_REASON,
	FIELD_USAGE,
	FIELD_REQUEST,
	FIELD_SCOPE,
	FIELD_COMPARED,
	FIELD_TAGS,
	FIELD_CREATED,
	FIELD_SOFT,
	FIELD_EXPIRE,
	FIELD_VECTOR, /* only asked for where it is wanted */
	FIELD_SECOND, /* the same of the second embedder, where there is one */
	FIELD_COUNT
};

enum alias_field {
	ALIAS_SCHEMA,
	ALIAS_NAMESPACE,
	ALIAS_GENERATION,
	ALIAS_ENTRY,
	ALIAS_ENTRY_CREATED,
	ALIAS_SIMILARITY,
	ALIAS_SCORE,
	ALIAS_KIND,
	ALIAS_EMBEDDER,
	ALIAS_FIELD_COUNT
};

/* Reads an entry from the values of its fields, absent where the hash has none. Its texts and its vector point into them;
 * its times on this host's clock are not set. Returns 0, ERROR_NOT_FOUND (no such hash, or another schema),
 * ERROR_TOO_LARGE (more than `max_bytes`) or ERROR_PROTOCOL (not what we write). */
int fields_read_entry(const struct slice values[FIELD_COUNT], struct slice namespace, const struct identity *identity,
		      size_t max_bytes, struct entry *entry);

/* Reads an alias; expire_ms is not set. Returns as fields_read_entry(). */
int fields_read_alias(const struct slice values[ALIAS_FIELD_COUNT], struct slice namespace, const struct identity *identity,
		      struct alias *alias);

/* Reads 16 hex digits. Returns 0 if they are none, which no generation is. */
uint64_t fields_read_generation(struct slice text);

/* Reads decimal digits. Returns 0 or ERROR_PROTOCOL. */
int fields_read_number(struct slice text, uint64_t *out);

/* Cuts the next name off the tags of an entry. Returns whether there was one. */
bool tags_next(struct slice *rest, struct slice *tag);

/* Adds the names of the fields to a HMGET. */
void fields_ask_entry(struct command *command, const struct store *store, bool with_vector);
void fields_ask_alias(struct command *command);

/* Adds field and value pairs to a HSET. `digest` is that of the namespace and the text. */
void fields_write_entry(struct command *command, const struct store *store, const struct entry *entry, uint64_t generation,
			const struct identity *digest);
void fields_write_alias(struct command *command, const struct alias *alias, struct slice namespace, uint64_t generation,
			const struct identity *digest);

/* Adds the generation as it is written everywhere. */
void command_generation(struct command *command, uint64_t generation);

/* ---- the store ---- */

/* What is known of a namespace. */
struct space {
	char name[STORE_NAMESPACE];
	unsigned length;
	uint64_t generation;     /* in force; 0 = unknown */
	uint64_t made, previous; /* a read found none and made this one in place of that */
	uint64_t inherited;      /* counts as `generation` too: what was in force when Redis lost all its data */
	unsigned flushes;        /* of ours, not yet in Redis: until then our own generation counts, whatever Redis says */
	uint64_t changed;        /* the turn in which our own flush, or another's that we were told of, changed it */
	unsigned verified;       /* the connection of writes that has seen it in Redis */
	uint64_t longest_ms;     /* longest time to live written here, for a Redis that cannot compare */
	UT_hash_handle hh;
};

struct ask;

struct store {
	struct uv_loop_s *loop;
	struct deadlines *deadlines;
	struct part *part;
	struct metrics *metrics;
	const struct log *log;
	struct hasher *hasher;
	struct redis *reads, *writes;
	char *prefix;
	size_t prefix_length;
	char embedder8[17], second8[17]; /* "" = there is none */
	struct form forms[FORM_COUNT];
	unsigned dimensions, second_dimensions; /* 0 = not known yet */
	uint64_t timeout_ms, max_bytes, queue_bytes, longest_ms;
	uint64_t origin;
	struct deadline tick; /* started once, then only moved */

	struct space *spaces;
	uint64_t turn;   /* counts what a read may overlap */
	uint64_t *marks; /* by identity: the last turn in which it was removed; a collision only costs a hit */
	const struct store_events *events; /* may be NULL */
	void *events_data;

	struct ask *asks;   /* with a deadline, soonest first */
	unsigned ask_count; /* also those that only wait for late replies */

	struct job *jobs;     /* the queue, oldest first: sent ones, then the others */
	struct job *next;     /* the first that is not sent */
	struct job *purges;   /* flushes that are removing what is dead */
	struct job *waiters;  /* jobs somebody waits for, soonest deadline first */
	struct job *promised; /* removals of which somebody was told that they wait */
	size_t job_count, job_bytes;
	size_t verdicts_pending; /* jobs among them that are verdicts */
	size_t air_count, air_bytes;
	struct job *barrier;  /* nothing is sent before it is done */
	bool stalled;         /* Redis refuses writes for now */
	uint64_t retry_at_ms; /* when they are sent again */
	uv_idle_t *pump;      /* runs the queue before the loop waits; freed in its close callback */
	unsigned connection;  /* counts the connections of writes */
	bool compares;        /* this Redis knows PEXPIRE NX and GT */
	char run_id[41];
	bool emptied; /* another Redis than before: a missing generation means that its data is gone */
	struct talk greeting, verifying;
	bool is_greeted;
	struct space *verified_space; /* while its generation is being read */
	bool was_missing;
	int verified_error;
	uint64_t verified_generation;
	uint64_t puts;
	uint64_t complained_ms;
	uint64_t complaints;
};

/* Returns 64 random bits, never 0. */
uint64_t store_random(void);

/* Finds what is known of `namespace`, or starts to remember it (then NULL = no memory). */
struct space *space_find(const struct store *store, struct slice namespace);
struct space *space_get(struct store *store, struct slice namespace);

/* Redis said `generation` to a command sent in turn `turn`. Returns the generation in force. */
uint64_t space_heard(struct store *store, struct slice namespace, uint64_t generation, uint64_t turn);

/* A read found no generation in Redis and made `generation`. */
void space_made(struct store *store, struct slice namespace, uint64_t generation);

/* Marks `identity` as being removed: no read finds it. */
void store_mark_removing(struct store *store, const struct identity *identity);

/* Marks it as removed in a new turn: reads that started before do not find it. */
void store_mark_removed(struct store *store, const struct identity *identity);

/* Returns whether `identity` was removed after `turn`. */
bool store_removed_since(const struct store *store, const struct identity *identity, uint64_t turn);

/* Logs, once a second at most, that Redis refused something; counts it. */
void store_complain(struct store *store, const char *what, const char *error);

/* Something must happen at `at_ms`: moves the store's deadline there if it is later. */
void store_arm(struct store *store, uint64_t at_ms);

/* ---- asks: what is read ---- */

struct ask {
	struct talk talk;
	struct ask *prev, *next;
	void (*send)(struct ask *ask);             /* the first round, when there is a connection */
	void (*ended)(struct ask *ask, int error); /* the one end; the memory is freed after it by whoever called it */
	uint64_t due_ms, started_us;
	bool is_sent, is_over;
	bool is_held; /* it is handing something out: not to be freed */
	bool is_walk; /* its whole duration says nothing about Redis */
};

/* Starts `ask`, whose talk and functions are set. Returns 0, ERROR_UNAVAILABLE, ERROR_BUSY. */
int ask_start(struct store *store, struct ask *ask);

/* Another round was sent: the deadline counts from now. */
void ask_extend(struct ask *ask);

/* Ends it: `ended` is called, once. */
void ask_end(struct ask *ask, int error);

/* Frees it if it is over and no reply can come any more; called by whoever may have ended it. */
void ask_settle(struct ask *ask);

/* Both, with ERROR_CANCELLED. */
void ask_cancel(struct ask *ask);

/* The end of a round. Returns whether the ask goes on; else it has been told and freed. */
bool ask_goes_on(struct ask *ask);

/* The connection for reads is up, was lost; a deadline may have passed. */
void asks_send(struct store *store);
void asks_unavailable(struct store *store);
void asks_expire(struct store *store, uint64_t now_ms);
void asks_drop(struct store *store);

/* What came for a HMGET of an entry with its PTTL, step by step; embedded in asks. */
struct found {
	struct entry *entry;
	long long pttl;
};

/* Takes the reply to HMGET. Returns 0 or ERROR_UNAVAILABLE (an error reply). */
int found_fields(struct store *store, struct found *found, const struct redisReply *reply, struct slice namespace,
		 const struct identity *identity, bool with_vector);

/* Sets the entry's times, or drops it if it is gone. */
void found_times(struct store *store, struct found *found);

/* An error reply to a read. Returns ERROR_UNAVAILABLE, or 0 if it only concerns this key. */
int store_read_error(struct store *store, const struct redisReply *reply);

/* ---- jobs: what is written ---- */

struct job {
	struct talk talk;
	struct job *prev, *next;               /* in the queue, or among the purges */
	struct job *waiter_prev, *waiter_next; /* among those waited for, or promised */
	void (*send)(struct job *job);         /* from its beginning */
	void (*destroy)(struct job *job);      /* frees it; its talk has ended */
	struct store_write *write;             /* who waits, or NULL */
	char namespace[STORE_NAMESPACE];
	uint64_t generation;    /* captured */
	uint64_t expires_at_ms; /* 0 = never */
	uint64_t due_ms;
	size_t bytes;
	uint64_t entries, aliases, vectors, namespaces;
	bool is_sent, is_waited, needs_generation, is_barrier, is_removal, is_purge, is_dry_run, while_up, is_vector;
	bool hides,
		is_promised; /* what it is to remove is not handed out once whoever asked for it was told that it waits */
	char error[64];      /* the first error reply */
};

/* Queues `job`; `write` may be NULL. Returns 0 or ERROR_TOO_LARGE, and then the job is destroyed. */
int job_queue(struct store *store, struct job *job, struct store_write *write);

/* The job is done: told, taken out, destroyed. */
void job_finish(struct job *job, int error);

/* A round's reply: remembers the first error. */
void job_note(struct job *job, const struct redisReply *reply);

/* Adds up how many keys went: the first replies of a transaction, or the `n`-th of its own, are for the entries, aliases and
 * vectors, as far as `is_counted`. */
void job_count(struct job *job, const bool is_counted[3], unsigned n, const struct redisReply *reply);

/* The end of a round. Returns whether the job may go on; else it has been put back, or finished with the error. */
bool job_round_went_well(struct job *job);

/* Somebody waits a while longer: there was progress. */
void job_extend(struct job *job);

/* Whether a removal that was promised and has not run yet is about `entry`, so that it must not be handed out. */
bool removal_is_promised(const struct store *store, const struct entry *entry);

/* A flush whose generation is in Redis becomes a purge, behind which the queue goes on. */
void job_becomes_purge(struct job *job);

/* Makes `job` ready; `destroy` frees it. */
void job_init(struct store *store, struct job *job, struct slice namespace, size_t bytes);

/* Runs the queue before the loop waits next. */
void writes_wake(struct store *store);

/* The connection for writes is up, was lost; the part is DOWN; a deadline may have passed; the end. */
void writes_up(struct store *store);
void writes_lost(struct store *store);
void writes_expire(struct store *store, uint64_t now_ms);
uint64_t writes_due(const struct store *store);
void writes_drop(struct store *store);

/* Frees all jobs; nothing is in the air any more. */
void writes_free(struct store *store);

/* Adds the commands that let the key live at least `ttl_ms` longer. */
void job_grow(struct job *job, const char *kind, struct slice namespace, struct slice rest, uint64_t ttl_ms);

/* Queues a new generation of `namespace` (data NULL: of all) and the removal of what it leaves dead. */
int store_flush(struct store *store, struct store_write *write, struct slice namespace, bool dry_run);

/* Queues the removal of expired members of a sorted set. */
void sweep_queue(struct store *store, const char *kind, struct slice namespace, struct slice rest);

#endif
