/* What Redis keeps: entries, aliases, embedding vectors, generations, directories, and the log of changes.
 *
 *   reads  ── connection 1, pipelined ──> HMGET …                (skipped at once while Redis is down)
 *   writes ── queue, bounded in bytes ── connection 2, pipelined ──> MULTI … EXEC, ZADD, XADD   (kept while Redis is down)
 *
 * Happy path of a read: store_find() sends its commands in one pipeline, the replies come, `done` is called once. What
 * can go wrong: Redis is down (`done` is never called, start returns ERROR_UNAVAILABLE), does not answer within
 * redis.timeout_ms (done with ERROR_TIMEOUT, counts as a failure of the part), answers with an error reply (done with
 * ERROR_UNAVAILABLE), holds another type or schema under our key (a miss and a metric). A write that cannot be sent now
 * waits in the queue with its captured generation and its remaining TTL; when the queue is full the new one is refused
 * (ERROR_TOO_LARGE), counted and logged once a second at most.
 *
 * Writes go out in order, each as one transaction; those in the air when the connection breaks are sent again (doing one
 * twice changes nothing). While Redis takes no writes (-OOM -READONLY -LOADING) they stay queued. Before the first write
 * of a namespace leaves on a new connection, its generation is read: a queued write captured under another one is dropped
 * and counted, never stored as alive. Only where Redis came back as another process without its data, what was captured
 * under the generation last seen gets the new one: nothing is there that it could revive.
 *
 * Keys, below the configured prefix (`semcache:`); members of sorted sets are key names without the prefix, scores are Unix
 * milliseconds of expiry:
 *   entry:<identity>       hash  schema=1 namespace generation digest question answer model finish_reason usage request scope
 *                                compared tags created_ms soft_ms expire_ms vector:<embedder8> (float32, little endian; one,
 *                                and one of the second embedder where there is one)
 *   alias:<identity>       hash  schema=1 namespace generation digest entry entry_created similarity score kind embedder
 *   vector:<embedder8>:<digest>  string, float32 little endian; digest = SHA-256 of (namespace, text), so that a flush of a
 *                                namespace purges it exactly
 *   generation:<namespace> string, 16 hex digits, random; SET NX
 *   directory:<namespace>  zset of all entry:, alias: and vector: members of the namespace
 *   tag:<namespace>:<tag>  zset of entry: members
 *   question:<namespace>:<digest>  zset of the entry:, alias: and vector: members whose own text has this digest
 *   aliases:<identity>     zset of the alias: members of an entry
 *   purge:<namespace>:<generation>  the directory that a flush has set aside; gone when the flush is done
 *   reject:<namespace>     hash  <text digest><text digest>, the smaller first = "at_ms=… uid=… entry=… similarity=…"
 *   quarantine:<namespace> hash  <entry identity><text digest of the question> = "created_ms=… expire_ms=… at_ms=… uid=…"
 *   label:<namespace>      stream, MAXLEN ~ 10000, of what struct store_label has
 *                          (these three live for ever; digest = SHA-256 of (namespace, text), as for vectors)
 *   settings:<namespace>   hash  <key> = value, of the run-time settings; certificate = <embedder8> of the last one
 *   certificate:<namespace>:<embedder8>  string, a certificate as text
 *   settings               zset of the names of the namespaces whose settings hash is there, all with score 0
 *                          (these three live for ever too, and a flush leaves them alone)
 *   namespaces             set of names
 *   log                    stream {op, key, namespace, generation, origin}, MAXLEN ~ 100000;
 *                          op = put | alias | delete | flush; of what people said: verdict | undo | forget, which have
 *                          more fields; settings, for its writer too
 * Sorted sets live as long as their latest member (PEXPIRE NX and GT). A Redis before 7 does not know these: there they
 * get the longest time to live that the configuration or a call here has given in the namespace. Members that expired
 * earlier are swept out by score, a bounded number at a time, with every 64th put. */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "entry.h"

struct config;
struct deadlines;
struct follow;
struct log;
struct metrics;
struct part;
struct store;
struct uv_loop_s;

/* ---- life ---- */

/* What the store tells of its own removals, so that memory and index forget the same (the log does not tell them: a daemon
 * skips its own records). Called from the loop. */
struct store_events {
	/* store_remove() found this entry and is about to remove it, or has removed it. By the time its `done`
	 * comes each one was told, also when the removal had waited in the queue and nobody waits for it any more. Not
	 * for dry runs. */
	void (*removed)(void *data, struct slice namespace, const struct identity *identity);
	/* The same for an alias; there may be an entry under the identity by now, and that stays. */
	void (*alias_removed)(void *data, struct slice namespace, const struct identity *identity);
	/* The entry has been removed, so what was said of it goes too. */
	void (*forgotten)(void *data, struct slice namespace, const struct identity *identity);
};

/* Creates the store for config's [redis] (url not empty) and starts to connect; returns at once. `embedder8`: 16 hex digits
 * naming the embedder in force and `dimensions` its vectors' length; "" and 0 without one. `part` is kept up to date.
 * NULL without memory. */
struct store *store_create(struct uv_loop_s *loop, struct deadlines *deadlines, const struct config *config,
			   const char *embedder8, unsigned dimensions, const struct store_events *events, void *data,
			   struct part *part, struct metrics *metrics, const struct log *log);

/* Tells the store the dimensions once the embedder's first answer told them. Vectors of another length are ignored on
 * read. */
void store_set_dimensions(struct store *store, unsigned dimensions);

/* Entries carry the vectors of a second embedder too: they are written, and read wherever vectors are. `embedder8` and
 * `dimensions` as for store_create(). To be called before anything is read. Returns 0 or ERROR_MEMORY. */
int store_set_second(struct store *store, const char *embedder8, unsigned dimensions);

/* Closes everything; pending reads get no callback. Memory that holds libuv handles is freed in their close callbacks, so
 * the loop must run on until none is left. */
void store_destroy(struct store *store);

/* Returns the random 64 bits that mark this daemon's own records in the log. */
uint64_t store_origin(const struct store *store);

/* Returns the last generation of `namespace` seen in Redis, made here while Redis is away, or 0 if none was seen yet. */
uint64_t store_generation(const struct store *store, struct slice namespace);

/* Told by the follower: another daemon flushed `namespace`. */
void store_set_generation(struct store *store, struct slice namespace, uint64_t generation);

/* ---- reads ---- */

/* One read, embedded in what waits for it. Set `done` and `data` before starting. */
struct store_read {
	/* Called exactly once after a start that returned 0, never before it returned and never after store_read_cancel().
	 * `error` 0: the results below are set (entry NULL = nothing there). `entry` then belongs to the receiver. */
	void (*done)(struct store_read *read, int error);
	void *data;

	struct entry
		*entry; /* alive (generation in force), its times set on this host's clock, without vector unless asked */
	struct alias alias; /* valid if has_alias; then `entry` is the alias's target */
	bool has_alias;
	uint64_t generation; /* of the namespace, as of this read */
	float *vector;       /* store_find_vector(): malloc'ed, the receiver's; NULL = not there */
	unsigned dimensions;

	void *private; /* the store's; NULL while not pending */
};

/* Looks up `identity`: the entry itself, else an alive alias and its (alive) entry. Also reads (or makes, SET NX) the
 * namespace's generation. Pipelined: HMGET entry (named fields, no vector), PTTL entry, HMGET alias, PTTL alias, GET
 * generation; a second round trip only for an alias's target. Returns 0 (pending), ERROR_UNAVAILABLE, ERROR_BUSY (too many
 * reads in the air) or ERROR_MEMORY; then `done` never comes. */
int store_find(struct store *store, struct store_read *read, struct slice namespace, const struct identity *identity);

/* Reads the entry `identity` only, with its vector if `with_vector`. Returns as store_find(). */
int store_fetch(struct store *store, struct store_read *read, struct slice namespace, const struct identity *identity,
		bool with_vector);

/* Reads the cached embedding of a text whose digest is `digest` (SHA-256 of namespace and text). Returns as store_find(). */
int store_find_vector(struct store *store, struct store_read *read, const struct identity *digest);

/* Cancels a pending read: `done` will not come. Not pending is nothing. */
void store_read_cancel(struct store_read *read);

/* ---- writes ---- */

/* One write, embedded in what waits for it; `done` may be NULL where nobody waits (then `write` itself may be NULL too). */
struct store_write {
	/* Called exactly once after a start that returned 0, never before it returned nor after store_write_cancel(): 0
	 * when Redis has it; ERROR_PENDING when it stays queued because Redis is away or takes no writes; ERROR_CANCELLED
	 * when it was dropped because its namespace was flushed, or its time was over, before it could be sent;
	 * ERROR_UNAVAILABLE when Redis refused it, or was lost during a dry run. */
	void (*done)(struct store_write *write, int error);
	void *data;
	uint64_t entries, aliases, vectors, namespaces; /* of removals: how many keys went */
	void *private;
};

/* Writes an entry: MULTI; DEL; HSET; PEXPIRE; directory, question, tags, namespaces and log; EXEC, in one pipeline.
 * The entry is copied (serialised) before it returns. entry->generation 0 = unknown when captured (Redis away since the
 * start): written under the one in force when it is sent. Returns 0, ERROR_TOO_LARGE (queue full) or ERROR_MEMORY. */
int store_put_entry(struct store *store, struct store_write *write, const struct entry *entry);

/* Writes an alias of `namespace`, whose own text has the digest `question` (as for vectors). Returns as
 * store_put_entry(). */
int store_put_alias(struct store *store, struct store_write *write, struct slice namespace, const struct alias *alias,
		    const struct identity *question);

/* Keeps an embedding for `ttl_ms`; dropped silently (a metric) rather than queued while Redis is away. */
void store_put_vector(struct store *store, struct slice namespace, const struct identity *digest, const float *vector,
		      unsigned dimensions, uint64_t ttl_ms);

/* What to remove: exactly one of entry, question and tag is set, or none = everything in the namespace, which also makes a
 * new generation. namespace.data NULL (with nothing else set) = all namespaces. */
struct store_selector {
	struct slice namespace;
	const struct identity *entry;
	const struct identity *question; /* digest of (namespace, text) */
	struct slice tag;
	bool dry_run; /* count only */
};

/* Removes entries with their aliases and vectors from Redis (UNLINK in batches of at most 272, never SCAN) and writes one
 * log record per entry removed, or one flush record per namespace. Queued while Redis is away (counts 0 then); a namespace's
 * removal makes the new generation here at once, and what another removal is about is not handed out by reads once its
 * `done` has said ERROR_PENDING. Returns as store_put_entry(); a dry run needs Redis: ERROR_UNAVAILABLE. */
int store_remove(struct store *store, struct store_write *write, const struct store_selector *selector);

/* Forgets the callback; the write itself goes on. */
void store_write_cancel(struct store_write *write);

/* Returns the bytes waiting in the write queue, and how many writes. */
size_t store_queue(const struct store *store, size_t *writes);

/* ---- walks ---- */

/* One walk over a namespace's directory, soonest to expire first. */
struct store_walk {
	/* Called for each alive entry, which belongs to the receiver (entry_destroy()). */
	void (*entry)(struct store_walk *walk, struct entry *entry);
	/* Called once at the end, as store_read's done. `next` is then where a later walk goes on: "" = it was the end. */
	void (*done)(struct store_walk *walk, int error);
	void *data;
	char next[128];
	void *private;
};

/* Walks at most `limit` entries (0 = all) of `namespace` that come after `after` ("" = from the start), in batches, so that
 * neither Redis nor the loop is held. Returns as store_find(). */
int store_walk(struct store *store, struct store_walk *walk, struct slice namespace, const char *after, size_t limit,
	       bool with_vector);

/* A read of the names of all namespaces. */
struct store_names {
	void (*name)(struct store_names *names, struct slice namespace);
	void (*done)(struct store_names *names, int error);
	void *data;
	void *private;
};

/* Reads them: `name` once for each, then `done`. Returns as store_find(). */
int store_namespaces(struct store *store, struct store_names *names);

/* A read of the aliases of one entry. */
struct store_aliases {
	void (*alias)(struct store_aliases *aliases, const struct alias *alias);
	void (*done)(struct store_aliases *aliases, int error);
	void *data;
	void *private;
};

/* Reads them: `alias` once for each alive one (at most 256), then `done`. Returns as store_find(). */
int store_aliases(struct store *store, struct store_aliases *aliases, struct slice namespace, const struct identity *entry);

/* Cancel walks: no callback comes any more. */
void store_walk_cancel(struct store_walk *walk);
void store_names_cancel(struct store_names *names);
void store_aliases_cancel(struct store_aliases *aliases);

/* ---- what people said ---- */

/* One verdict, or that it is taken back. */
struct store_verdict {
	bool has_pair; /* the two texts must not share an answer */
	bool has_mark; /* the entry was wrong for the question */
	bool is_undo;
	struct identity entry;
	struct identity own, question;  /* digests of the entry's own text and of the one that was asked */
	uint64_t created_ms, expire_ms; /* has_mark: of the entry, both Unix time */
	uint64_t at_ms;                 /* Unix time */
	unsigned uid;
	double similarity; /* NAN = not known */
	bool has_alias;    /* is_undo: the alias under this identity goes too */
	struct identity alias;
};

/* Writes it, in one transaction with its record in the log. Never dropped with a flush that comes after it, but removed by
 * it. Returns as store_put_entry(). */
int store_put_verdict(struct store *store, struct store_write *write, struct slice namespace,
		      const struct store_verdict *verdict);

/* Returns how many of them are not in Redis yet. */
size_t store_verdicts_pending(const struct store *store);

/* A read of everything that was said in one namespace. */
struct store_verdicts {
	/* Called once for each pair or mark. */
	void (*verdict)(struct store_verdicts *verdicts, const struct store_verdict *verdict);
	void (*done)(struct store_verdicts *verdicts, int error);
	void *data;
	void *private;
};

/* Reads it in batches: `verdict` for each (one may come twice), then `done`. Returns as store_find(). */
int store_verdicts_read(struct store *store, struct store_verdicts *verdicts, struct slice namespace);
void store_verdicts_cancel(struct store_verdicts *verdicts);

/* ---- labels: pairs of questions of which it is known whether they want the same answer ---- */

/* CALLER is the feedback of somebody who is no administrator: only that an answer was wrong. Of what people said of one pair
 * (FEEDBACK, ACCEPT, CALLER) the last counts. */
enum label_source { LABEL_FEEDBACK, LABEL_ACCEPT, LABEL_CALLER, LABEL_AUDIT, LABEL_SHADOW, LABEL_JUDGE, LABEL_PAIRS };

struct store_label {
	struct identity question; /* digest of the text that was asked */
	struct identity entry;    /* the identity of the entry; for LABEL_PAIRS the other text's digest */
	double similarity;
	double next;    /* of the next nearest entry; NAN = there was none, or it is not known */
	double score;   /* what decide() compared with the threshold; NAN = not known */
	double opinion; /* the second opinion's similarity; NAN = there was none */
	bool right;
	enum label_source source;
	char embedder[17]; /* embedder8 of the similarity */
	uint64_t at_ms;    /* Unix time */
};

/* Adds a label. Dropped (a metric) when the queue is full. Returns as store_put_entry(). A connection that breaks may make
 * it appear twice, with the same at_ms. */
int store_put_label(struct store *store, struct slice namespace, const struct store_label *label);

/* A read of the labels of a namespace, oldest first. */
struct store_labels {
	void (*label)(struct store_labels *labels, const struct store_label *label);
	void (*done)(struct store_labels *labels, int error);
	void *data;
	void *private;
};

/* Reads them in batches: `label` for each, then `done`; it cannot be cancelled. Returns as store_find(). */
int store_labels_read(struct store *store, struct store_labels *labels, struct slice namespace);

/* Removes what was said of `entries` (copied): their quarantine marks and labels. With `question` only what people said of
 * that question. Without entries: the rejections and labels of the text `question`. Returns as store_put_entry(). */
int store_forget_said(struct store *store, struct slice namespace, const struct identity *entries, size_t count,
		      const struct identity *question);

/* ---- run-time settings and certificates ---- */

/* The most namespaces that have any, the longest value or certificate, and the most keys. */
#define STORE_SETTINGS_NAMESPACES 256
#define STORE_SETTINGS_BYTES 4096
#define STORE_SETTINGS_KEYS 40

/* A change of one namespace's: all of it is in force, or nothing. */
struct store_settings_change {
	const char *const *keys;
	const struct slice *values; /* of each key; absent = it is removed */
	size_t count;               /* at most STORE_SETTINGS_KEYS */
	bool has_certificate;       /* that of the embedder in force changes too: */
	struct slice certificate;   /* absent = it is removed */
};

/* Writes the change, copied, and tells it in the log. Returns as store_put_entry(), or ERROR_INVALID. */
int store_settings_write(struct store *store, struct store_write *write, struct slice namespace,
			 const struct store_settings_change *change);

/* What one namespace has; all slices are good until the callback returns. */
struct store_settings_found {
	struct slice namespace;
	const struct slice *values; /* of each of the reader's keys; absent = not set, or longer than may be */
	uint64_t unknown;           /* fields that are none of the keys */
	struct slice certificate;   /* of the embedder in force */
	bool is_other;              /* there is none, but the last one was for another embedder */
};

/* A read of them. */
struct store_settings {
	/* Called once for each namespace that has any; of a read of one namespace always once. */
	void (*found)(struct store_settings *settings, const struct store_settings_found *found);
	void (*done)(struct store_settings *settings, int error);
	void *data;
	const char *const *keys; /* which outlive it */
	size_t count;            /* at most STORE_SETTINGS_KEYS */
	void *private;
};

/* Reads one namespace's, or (data NULL) those of all, in batches: `found` for each, then `done`. Returns as store_find(). */
int store_settings_read(struct store *store, struct store_settings *settings, struct slice namespace);
void store_settings_cancel(struct store_settings *settings);

#endif
