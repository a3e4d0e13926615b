/* The configuration: one INI file, every value checked, every mistake named with file, line and key. semcached.conf(5). */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "log.h"

#include "../proto/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_mode {
	CONFIG_MODE_EXACT,      /* only the same question */
	CONFIG_MODE_SHADOW,     /* what would be served by meaning is only recorded */
	CONFIG_MODE_THRESHOLD,  /* by meaning, by the plain cosine */
	CONFIG_MODE_CALIBRATED, /* by the score of decide.h */
};

/* Which guards are on, and which are only counted: bits of enum guard. */
struct config_guards {
	uint32_t on, shadow;
};

/* A share that was counted: `wrong` of `count`; count 0 = none. */
struct config_share {
	uint32_t wrong, count;
};

/* Where a value comes from. */
enum config_origin { CONFIG_ORIGIN_DEFAULT, CONFIG_ORIGIN_FILE, CONFIG_ORIGIN_REDIS };

struct certificate;
struct guard_words;

#define CONFIG_UPSTREAMS 32
#define CONFIG_NAMESPACES 256
#define CONFIG_MODELS 64

/* A similarity that was not given. */
#define CONFIG_NONE (-2.0)

/* A key to somebody's service: from the environment, a file, or a systemd credential. */
struct config_key {
	char *key_env, *key_file, *key_credential; /* where it comes from; at most one is set */
	char *secret;                              /* the key itself, or NULL. Never logged or shown */
};

/* A service that turns texts into vectors. */
struct config_embedder {
	char *url; /* "" = none */
	char *unix_socket;
	char *model;
	struct config_key key;
	uint64_t dimensions; /* 0 = what the first answer has */
	uint64_t max_bytes, timeout_ms;
	uint64_t cache_ttl; /* not of the second opinion */
};

struct config_upstream {
	char *name;
	char *url;         /* base, up to and including /v1, no slash at the end */
	char *unix_socket; /* or NULL */
	char *models[CONFIG_MODELS];
	size_t model_count;
	bool any_model; /* "*" stands in models */
	struct config_key key;
	uint64_t max_transfers, queue;
	uint64_t connect_timeout_ms, idle_timeout_ms, timeout_ms;
	double price_input, price_output; /* USD for a million tokens; 0 = not known */
};

struct config_namespace {
	char *name;
	size_t name_length;
	enum config_mode mode;
	double threshold, threshold_min; /* threshold_min CONFIG_NONE = none */
	/* Of the calibrated rule; CONFIG_NONE = as the certificate says, or else what ships for the embedder. */
	double score_threshold, margin, margin_floor, minimum;
	struct config_guards guards;
	struct guard_words *opposites;         /* the operator's, or NULL */
	uint64_t second_opinion;               /* 1: would-be hits are also looked at by the second embedder */
	double opinion_weight;                 /* what its cosine counts; CONFIG_NONE = as for score_threshold */
	uint64_t ttl, alias_ttl, stale_window; /* seconds */
	char *context; /* what callers may set: "any", or of all, system, label, with a comma between */
	/* Reviews of what is served by meaning (review.h). */
	double compare_threshold; /* least similarity of two answers that say the same */
	double audit;             /* share of the hits by meaning that the model is asked too */
	uint64_t audit_calls;     /* at most so many of them a day */
	double judge; /* least similarity at which a model is asked whether two questions mean the same; or CONFIG_NONE */
	uint64_t judge_calls; /* at most so many a day */
	char *judge_model;    /* "" = the one that was asked the question */
	/* How often the comparison of answers was wrong where it was measured; count 0 = not measured. */
	struct config_share comparator_false_same, comparator_false_different;
	/* Where threshold comes from; and of the calibrated rule's own values the last of default, file, Redis that any
	 * has. */
	enum config_origin threshold_origin, score_origin;
	/* Not from the file: what was calibrated here, in force; NULL = nothing. Its owner keeps it alive. */
	const struct certificate *certificate;
	/* What was calibrated holds no longer: mode calibrated acts as threshold, unless all its values are set. */
	bool is_uncertified;
};

struct config {
	struct {
		char *socket, *owner, *group, *admin_group;
		uint64_t mode; /* file mode, given in octal */
		uint64_t max_connections, max_in_flight, max_in_flight_per_connection, max_message_bytes;
		uint64_t max_output_bytes; /* waiting to be read by one client before it is closed */
		uint64_t max_detached;     /* flights that finish for the cache after their callers left */
		uint64_t drain_timeout_ms, write_timeout_ms;
	} server;
	struct {
		uint64_t max_bytes, index_max_bytes;
	} memory;
	struct {
		char *url;             /* unix:/path, redis://host:port/db, or "" */
		char *prefix;          /* "semcache:" */
		struct config_key key; /* the password, if any */
		uint64_t timeout_ms, write_queue_bytes, serve_disconnected;
	} redis;
	struct config_embedder embedder;
	struct config_embedder second_opinion; /* timeout_ms: of one opinion */
	struct {
		char *level;
	} log;
	struct {
		char *directory; /* "" = no decision is kept */
		uint64_t max_bytes, max_age;
		uint64_t texts; /* 1: with the questions' texts, 0: without */
	} decisions;
	struct config_upstream upstreams[CONFIG_UPSTREAMS];
	size_t upstream_count;
	struct config_namespace *namespaces; /* [0] is "default" */
	size_t namespace_count;
	void *origins; /* which values the file set, and its text; config.c's own */
};

/* A run-time setting: a value that is laid over the file's, as if it stood in [namespace NAME] there. */
struct config_override {
	const char *namespace;
	const char *key; /* NULL: the section alone */
	const char *value;
	bool is_refused; /* set by config_read_over(): a mistake is about it */
};

/* The longest value, in bytes. */
#define CONFIG_OVERRIDE_BYTES 4096

/* Reads `path`, and the keys it names; those from the environment are then removed from there. On a mistake returns
 * ERROR_INVALID and appends one line for each, "FILE:LINE: [section] key: what is allowed", to `mistakes` (what does not fit
 * is left out). On 0 the receiver frees `*config` with config_destroy(). Also ERROR_MEMORY. */
int config_read(const char *path, struct config **config, struct buffer *mistakes);

/* The same on a reload: keys that config_read() removed from the environment are taken from `previous`. */
int config_read_again(const char *path, const struct config *previous, struct config **config, struct buffer *mistakes);

/* The same with `count` overrides laid over the file; what does not fit of them is a mistake as any other. `path` NULL: not
 * the file is read, but the text that `previous` was last read or applied from, and no keys (config_apply() leaves those in
 * force alone). */
int config_read_over(const char *path, const struct config *previous, struct config_override *overrides, size_t count,
		     struct config **config, struct buffer *mistakes);

/* Returns the name of the `n`-th key that an override may have, a constant; NULL behind the last. At most
 * CONFIG_OVERRIDE_KEYS. */
const char *config_override_key(size_t n);

#define CONFIG_OVERRIDE_KEYS 32

/* Takes over from `fresh` (config_read_again(), which the caller still destroys) what can change while the daemon runs. For
 * each value that differs a line "[section] key\n" is appended: to `changed` if it was taken over, else to `needs_restart`;
 * without a key for a section that came or went. No namespace or upstream of `config` is moved or freed, and no name of one.
 * Returns 0, or ERROR_MEMORY or ERROR_TOO_LARGE, and then nothing was taken over. */
int config_apply(struct config *config, struct config *fresh, struct buffer *changed, struct buffer *needs_restart);

/* Returns [log] level. */
enum log_level config_log_level(const struct config *config);

/* Returns the word for `mode`, a constant. */
const char *config_mode_name(enum config_mode mode);

/* Frees it, wiping the keys; NULL is nothing. */
void config_destroy(struct config *config);

/* Returns the settings of `namespace`: its own section's, or those of "default". */
const struct config_namespace *config_namespace(const struct config *config, struct slice namespace);

/* Returns the upstream that serves `model`: the one that names it, else the first with "*". If `model` is absent, the first
 * upstream that names a model, and the first that it names. NULL if none does. `*resolved` is the model's name as it goes
 * into the identity and the request; it lives as long as `config` and `model` do. */
const struct config_upstream *config_upstream_for(const struct config *config, struct slice model, struct slice *resolved);

/* Calls `each` for every value in force: section ("upstream local"), key, value as text, and "default", "file" or "redis".
 * No secrets: of a key only where it comes from. */
void config_walk(const struct config *config,
		 void (*each)(void *data, const char *section, const char *key, const char *value, const char *origin),
		 void *data);

#endif
