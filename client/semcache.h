/* libsemcache: ask semcached for answers, blocking or from any event loop. See libsemcache(3).
 *
 *	struct semcache *cache = semcache_open(NULL);
 *	struct semcache_question question = SEMCACHE_QUESTION;
 *	struct semcache_result *result;
 *
 *	question.prompt = "What is a Unix socket?";
 *	if (semcache_get_or_generate(cache, &question, NULL, NULL, &result) == 0) {
 *		puts(semcache_result_answer(result)->text);
 *		semcache_result_free(result);
 *	} else {
 *		fprintf(stderr, "%s\n", semcache_last_error(cache)->text);
 *	}
 *	semcache_close(cache);
 *
 * Rules for every function that takes a handle:
 * - One handle is used by one thread at a time. The library starts no threads, installs no signal handlers and raises no
 *   SIGPIPE.
 * - After fork(2) the child may only call semcache_close() on it; whatever would use the connection returns SEMCACHE_INVALID.
 * - Callbacks run inside semcache_process(), or inside the blocking call they were given to. A callback may call
 *   semcache_cancel(), the functions that take a result, and those that only read the handle; every other one returns
 *   SEMCACHE_INVALID.
 * - Functions return 0 or a negative code of enum semcache_code; outputs are untouched on failure.
 * - Texts are UTF-8 and end with a NUL. Times ending in _s are whole seconds, in _ms milliseconds; 0 is a value, never
 *   "unset".
 * - What is passed in is copied before a function returns.
 */
#ifndef SEMCACHE_H
#define SEMCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SEMCACHE_API __attribute__((visibility("default")))
#else
#define SEMCACHE_API
#endif

/* Where the daemon listens if neither the options nor the environment variable SEMCACHE_SOCKET say otherwise. */
#define SEMCACHE_SOCKET_PATH "/run/semcache/semcached.sock"

/* The value of a number that is not given. */
#define SEMCACHE_UNSET (-1)

/* The value of a threshold that is not given: no cosine. */
#define SEMCACHE_NO_THRESHOLD (-1000.0)

/* What can go wrong. The first fourteen come from the daemon or from the library, the rest from the library alone. */
enum semcache_code {
	SEMCACHE_OK = 0,
	SEMCACHE_INVALID = -1,        /* the request is wrong; the error's `field` names the place */
	SEMCACHE_TOO_LARGE = -2,      /* over a limit; the error's `limit` names it */
	SEMCACHE_UNKNOWN_METHOD = -3, /* the daemon has no such method */
	SEMCACHE_DUPLICATE_ID = -4,   /* a fault of the library */
	SEMCACHE_BUSY = -5,           /* too much in flight; try again after `retry_ms` */
	SEMCACHE_QUOTA = -6,          /* a budget of the operator is used up */
	SEMCACHE_DENIED = -7,         /* the caller may not do this */
	SEMCACHE_NOT_FOUND = -8,      /* no such entry, or no answer without asking a model */
	SEMCACHE_TIMEOUT = -9,        /* the request's deadline passed */
	SEMCACHE_CANCELLED = -10,     /* cancelled by the caller */
	SEMCACHE_UPSTREAM = -11,      /* the model's service failed; `kind` and `status` say how */
	SEMCACHE_UNAVAILABLE = -12,   /* a part that is needed is not there */
	SEMCACHE_DRAINING = -13,      /* the daemon is ending */
	SEMCACHE_INTERNAL = -14,      /* a fault of the daemon */
	SEMCACHE_MEMORY = -15,        /* out of memory */
	SEMCACHE_CONNECT = -16,       /* the daemon cannot be reached */
	SEMCACHE_CLOSED = -17,        /* the connection ended before the response */
	SEMCACHE_PROTOCOL = -18,      /* the peer does not speak this protocol */
};

/* One failure. Owned by the library; later versions may add members at the end. */
struct semcache_error {
	int code;           /* of enum semcache_code; 0 = none */
	int status;         /* HTTP status of the model's service, 0 = none */
	int64_t retry_ms;   /* wait that long before trying again; SEMCACHE_UNSET = not told */
	const char *field;  /* the part of the request that is wrong, "" = not told */
	const char *kind;   /* of SEMCACHE_UPSTREAM: refused, reset, stalled, truncated, http, protocol; "" = not told */
	const char *limit;  /* the limit that was passed, as text, "" = not told */
	const char *detail; /* all of the above as the daemon wrote it: "field=ttl limit=31536000", or "" */
	const char *text;   /* one sentence for a person */
};

/* Returns the name of `code` on the wire, such as "INVALID" ("OK" for 0); a constant, "INTERNAL" for an unknown code. */
SEMCACHE_API const char *semcache_code_name(int code);

/* Returns one sentence on `code`, a constant. */
SEMCACHE_API const char *semcache_code_text(int code);

/* Returns the library's version, such as "0.1.0"; a constant. */
SEMCACHE_API const char *semcache_version(void);

struct semcache;

/* How a handle behaves. Start from SEMCACHE_OPTIONS and change what is to differ. */
struct semcache_options {
	size_t size;                /* sizeof(struct semcache_options), set by SEMCACHE_OPTIONS */
	const char *socket;         /* path, ≤ 107 bytes; NULL: $SEMCACHE_SOCKET, else SEMCACHE_SOCKET_PATH */
	int64_t connect_timeout_ms; /* how long a daemon that is not there is waited for; UNSET: 5000 */
	int64_t timeout_ms; /* deadline of requests without their own; UNSET: 300000 for get_or_generate, 30000 else */
	int64_t max_message_bytes; /* largest message sent or accepted; UNSET: 16 MiB */
	int64_t max_in_flight;     /* requests open at once on this handle, ≤ 65536; UNSET: 1024 */
};

#define SEMCACHE_OPTIONS                                                                                                    \
	{                                                                                                                   \
		sizeof(struct semcache_options), NULL, SEMCACHE_UNSET, SEMCACHE_UNSET, SEMCACHE_UNSET, SEMCACHE_UNSET       \
	}

/* Creates a handle. `options` NULL = all defaults. Connects to nothing yet: the first request does, and each after a lost
 * connection. Returns NULL with errno set: EINVAL (a size or number that cannot be), ENAMETOOLONG (the path), ENOMEM. */
SEMCACHE_API struct semcache *semcache_open(const struct semcache_options *options);

/* Closes the connection and frees the handle; NULL is nothing. Requests still open end without a callback (semcache_cancel()
 * and semcache_process() end them with one). Not from within a callback: then it does nothing. */
SEMCACHE_API void semcache_close(struct semcache *cache);

/* Returns the path of the socket, owned by the handle. */
SEMCACHE_API const char *semcache_socket(const struct semcache *cache);

/* Returns why the last function that failed on this handle failed; code 0 if none has yet. Owned by the handle and valid
 * until the next call with it. A request's own failure is given to its `done` callback instead. */
SEMCACHE_API const struct semcache_error *semcache_last_error(const struct semcache *cache);

/* One message of a chat. */
struct semcache_message {
	const char *role;    /* "system", "user", "assistant", … */
	const char *content; /* text */
};

enum semcache_parameter_type {
	SEMCACHE_PARAMETER_INTEGER,
	SEMCACHE_PARAMETER_NUMBER,
	SEMCACHE_PARAMETER_TEXT,
	SEMCACHE_PARAMETER_BOOLEAN,
	SEMCACHE_PARAMETER_RAW, /* one MessagePack value: response_format, tools, stop, … */
};

/* One parameter of the model, passed through: {.name = "temperature", .type = SEMCACHE_PARAMETER_NUMBER, .number = 0.2}. */
struct semcache_parameter {
	const char *name;
	enum semcache_parameter_type type;
	int64_t integer; /* of INTEGER; of BOOLEAN 0 or 1 */
	double number;
	const char *text;
	const void *raw;
	size_t raw_length;
};

enum semcache_use {
	SEMCACHE_USE_DEFAULT,  /* serve from the cache, else ask the model and store */
	SEMCACHE_USE_REFRESH,  /* ask the model, then overwrite */
	SEMCACHE_USE_NO_STORE, /* serve from the cache, else ask the model, and store nothing */
	SEMCACHE_USE_ONLY,     /* never ask the model: SEMCACHE_NOT_FOUND where the cache has no answer */
};

/* A question, and what this call allows. Start from SEMCACHE_QUESTION. Exactly one of prompt, messages, raw_messages. */
struct semcache_question {
	size_t size;                             /* sizeof(struct semcache_question), set by SEMCACHE_QUESTION */
	const char *prompt;                      /* the same as one message of the user */
	const struct semcache_message *messages; /* message_count of them */
	size_t message_count;
	const void *raw_messages; /* one MessagePack array of maps: messages that are more than role and content */
	size_t raw_messages_length;
	const char *model;                           /* NULL: the daemon's first */
	const struct semcache_parameter *parameters; /* parameter_count of them; or raw_parameters */
	size_t parameter_count;
	const void *raw_parameters; /* one MessagePack map */
	size_t raw_parameters_length;
	const char *namespace_name; /* A-Z a-z 0-9 . _ -, 1 to 64 of them; NULL: "default" */
	const char *question;       /* the text compared by meaning; NULL: the last message of the user */
	const char *context;        /* what must be equal: "all", "system", or a label of your own; NULL: the namespace's */
	enum semcache_use use;      /* get_or_generate only */
	int64_t max_age_s;          /* serve nothing older */
	double threshold;           /* least cosine similarity, -1 to 1; NO_THRESHOLD: the namespace's */
	bool exact;                 /* serve only the same question, none that means the same */
	int64_t ttl_s;              /* how long the answer is kept; 0 = not kept; UNSET: the namespace's */
	const char *const *tags;    /* tag_count of them, ≤ 16, named as namespaces are */
	size_t tag_count;
	int64_t timeout_ms; /* deadline from now, ≤ 3600000; UNSET: the handle's */
};

#define SEMCACHE_QUESTION                                                                                                   \
	{                                                                                                                   \
		sizeof(struct semcache_question), NULL, NULL, 0, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL,         \
			SEMCACHE_USE_DEFAULT, SEMCACHE_UNSET, SEMCACHE_NO_THRESHOLD, false, SEMCACHE_UNSET, NULL, 0,        \
			SEMCACHE_UNSET                                                                                      \
	}

/* A response, owned by whoever received it; independent of the handle. */
struct semcache_result;

/* Where an answer came from. */
enum semcache_tier {
	SEMCACHE_TIER_UNKNOWN,   /* a newer daemon's; `tier_name` has it */
	SEMCACHE_TIER_MEMORY,    /* the daemon's memory */
	SEMCACHE_TIER_EXACT,     /* Redis, the same question */
	SEMCACHE_TIER_SEMANTIC,  /* a question that means the same */
	SEMCACHE_TIER_COALESCED, /* another caller's request to the model that was in the air */
	SEMCACHE_TIER_STALE,     /* past its time, because the model failed */
	SEMCACHE_TIER_UPSTREAM,  /* the model */
	SEMCACHE_TIER_MISS,      /* no answer; only of a look-up */
};

/* An answer with its provenance. Owned by its result; later versions may add members at the end. Texts NULL = none. */
struct semcache_answer {
	uint64_t request; /* the request's number, as in the daemon's log */
	enum semcache_tier tier;
	const char *tier_name;
	const char *text; /* NULL if it was streamed, and for a miss */
	size_t text_length;
	const char *finish_reason;  /* "stop", "length", … */
	bool has_similarity;        /* false: it comes from the model */
	double similarity;          /* cosine with original_query, -1 to 1 */
	const char *original_query; /* the question whose answer this is */
	const char *entry;          /* 64 hex digits; NULL: not stored */
	uint64_t age_s, ttl_s;      /* since it was made, and left to it */
	const char *model;
	bool has_usage;
	uint64_t prompt_tokens, completion_tokens, total_tokens; /* of the request to the model that made it */
	uint64_t saved_tokens;                                   /* what this answer did not cost */
	double saved_usd;
	double best_similarity; /* of the nearest entry that was not served; 0 if there was none */
	const char *best_query; /* its question */
	const char *reason;     /* why it was not served: below_threshold, max_age, … */
	double total_ms, embedding_ms, search_ms, upstream_ms;
};

/* Returns the answer in a result of get_or_generate or lookup, owned by the result; NULL for other methods. */
SEMCACHE_API const struct semcache_answer *semcache_result_answer(const struct semcache_result *result);

/* Returns the whole result as the daemon sent it: one complete MessagePack value of `*length` bytes, owned by the result.
 * What each method returns is in semcached's proto/wire.md. */
SEMCACHE_API const void *semcache_result_raw(const struct semcache_result *result, size_t *length);

/* Frees a result; NULL is nothing. */
SEMCACHE_API void semcache_result_free(struct semcache_result *result);

/* A piece of a streamed answer: `length` bytes of whole UTF-8 characters, not NUL-terminated, valid during the callback.
 * `id` is for semcache_cancel(). */
typedef void (*semcache_chunk_callback)(void *data, uint64_t id, const char *text, size_t length);

/* A request has ended. Success: `error` is NULL and `result` yours to free. Failure: `result` is NULL and `error` valid
 * during the callback. */
typedef void (*semcache_done_callback)(void *data, uint64_t id, const struct semcache_error *error,
				       struct semcache_result *result);

/* The blocking functions. Each waits for its response, at most until its deadline. All return SEMCACHE_INVALID while
 * requests started without blocking are open on the handle. Common errors: SEMCACHE_CONNECT, _TIMEOUT, _BUSY, _CLOSED,
 * _PROTOCOL, _MEMORY, _TOO_LARGE. A request whose connection was lost, or that an ending daemon refused (DRAINING), is sent
 * once more over a new connection, within its deadline and only if no chunk of it was delivered; `drain` never is. */

/* Returns an answer from the cache, or else from the model. `chunk` not NULL: the answer is streamed through it (hits too)
 * with `data`, and the result has no text. `*result` is yours to free. Also SEMCACHE_UPSTREAM, _QUOTA, _UNAVAILABLE, and
 * _NOT_FOUND with SEMCACHE_USE_ONLY. */
SEMCACHE_API int semcache_get_or_generate(struct semcache *cache, const struct semcache_question *question,
					  semcache_chunk_callback chunk, void *data, struct semcache_result **result);

/* Returns an answer if the cache has one, else a result of tier SEMCACHE_TIER_MISS that tells the nearest. Never asks a
 * model for an answer. `use`, `ttl_s` and `tags` must be unset. `*result` is yours to free. */
SEMCACHE_API int semcache_lookup(struct semcache *cache, const struct semcache_question *question,
				 struct semcache_result **result);

/* Tells what a look-up of `question` would find, and why: the nearest entries with what speaks against each, and the nearest
 * of other scopes with what differs. Asks no model, keeps nothing, counts as no answer. `*result` is yours to free;
 * semcache_result_raw() has it. `use`, `ttl_s` and `tags` must be unset. */
SEMCACHE_API int semcache_explain(struct semcache *cache, const struct semcache_question *question,
				  struct semcache_result **result);

/* Stores `answer` for `question`, of which `use`, `max_age_s`, `threshold` and `exact` must be unset. `result` may be NULL;
 * else `*result` is yours to free: {entry, stored}. SEMCACHE_DENIED unless the caller is an administrator. */
SEMCACHE_API int semcache_add(struct semcache *cache, const struct semcache_question *question, const char *answer,
			      struct semcache_result **result);

/* What to remove: exactly one of entry, question and tag; or namespace_name alone, for all in it. */
struct semcache_selector {
	size_t size;          /* sizeof(struct semcache_selector), set by SEMCACHE_SELECTOR */
	const char *entry;    /* 64 hex digits */
	const char *question; /* every entry whose compared text equals it */
	const char *tag;
	const char *namespace_name; /* where; NULL: "default" */
	bool dry_run;               /* count only */
};

#define SEMCACHE_SELECTOR                                                                                                   \
	{                                                                                                                   \
		sizeof(struct semcache_selector), NULL, NULL, NULL, NULL, false                                             \
	}

/* Removes entries with their aliases and vectors. `result` may be NULL; else `*result` is yours to free:
 * {entries, aliases, vectors, queued}. SEMCACHE_DENIED unless the caller is an administrator. */
SEMCACHE_API int semcache_invalidate(struct semcache *cache, const struct semcache_selector *selector,
				     struct semcache_result **result);

/* What somebody says of the answer that a question got. */
enum semcache_verdict {
	SEMCACHE_VERDICT_RIGHT,  /* noted, as evidence */
	SEMCACHE_VERDICT_WRONG,  /* the entry never answers this question again; of its own question it is removed */
	SEMCACHE_VERDICT_ACCEPT, /* the entry answers this question from now on. For administrators */
	SEMCACHE_VERDICT_UNDO,   /* the last one is taken back. For administrators */
};

#define SEMCACHE_NO_SIMILARITY SEMCACHE_NO_THRESHOLD

/* A verdict. Of the question what it is counts, and timeout_ms, not what the call allows; model and parameters that are not
 * given are the entry's. */
struct semcache_feedback {
	size_t size;       /* sizeof(struct semcache_feedback), set by SEMCACHE_FEEDBACK */
	const char *entry; /* 64 hex digits */
	const struct semcache_question *question;
	enum semcache_verdict verdict;
	double similarity; /* as the answer said; NO_SIMILARITY: the daemon measures it */
};

#define SEMCACHE_FEEDBACK                                                                                                   \
	{                                                                                                                   \
		sizeof(struct semcache_feedback), NULL, NULL, SEMCACHE_VERDICT_WRONG, SEMCACHE_NO_SIMILARITY                \
	}

/* Says whether an entry's answer was right for a question. `result` may be NULL; else `*result` is yours to free:
 * {verdict, rejected, quarantined, removed, alias, similarity, queued}. SEMCACHE_NOT_FOUND if there is no such entry,
 * SEMCACHE_TOO_LARGE where no more fits. */
SEMCACHE_API int semcache_feedback(struct semcache *cache, const struct semcache_feedback *feedback,
				   struct semcache_result **result);

/* Returns everything known of the entry `entry` (64 hex digits). `namespace_name` NULL: "default". `*result` is yours to
 * free. SEMCACHE_NOT_FOUND if there is none. */
SEMCACHE_API int semcache_show(struct semcache *cache, const char *entry, const char *namespace_name,
			       struct semcache_result **result);

/* Returns up to `limit` (0 to 1000) entries of a namespace (NULL: "default") by expiry, after the place `after` (`next` of
 * the previous result; NULL: from the start). `*result` is yours to free: {entries, next}. */
SEMCACHE_API int semcache_list(struct semcache *cache, const char *namespace_name, uint32_t limit, const char *after,
			       struct semcache_result **result);

/* Removes everything in a namespace; NULL: in all. `result` may be NULL; else `*result` is yours to free. SEMCACHE_DENIED
 * unless the caller is an administrator. */
SEMCACHE_API int semcache_flush(struct semcache *cache, const char *namespace_name, struct semcache_result **result);

/* Returns counters, gauges and latencies. `*result` is yours to free. */
SEMCACHE_API int semcache_stats(struct semcache *cache, struct semcache_result **result);

/* Returns which parts of the daemon work: {status, state, parts}. `*result` is yours to free. */
SEMCACHE_API int semcache_health(struct semcache *cache, struct semcache_result **result);

/* Returns 0 if the daemon responds. */
SEMCACHE_API int semcache_ping(struct semcache *cache);

/* Returns the daemon's version, limits and methods. `client` names the caller for the daemon's log; NULL: nothing.
 * `*result` is yours to free. */
SEMCACHE_API int semcache_hello(struct semcache *cache, const char *client, struct semcache_result **result);

/* Calls any method with raw parameters: one MessagePack map of `length` bytes (NULL: an empty map). For the methods that
 * have no function here (reload, drain, config) and for a newer daemon's. `timeout_ms` is the deadline from now; UNSET: the
 * handle's. `result` may be NULL; else `*result` is yours to free. */
SEMCACHE_API int semcache_call(struct semcache *cache, const char *method, const void *params, size_t length,
			       int64_t timeout_ms, struct semcache_result **result);

/* One decision by meaning, as it was made: one MessagePack map of `length` bytes, as semcached's proto/wire.md describes it,
 * valid during the callback. `id` is for semcache_cancel(). */
typedef void (*semcache_event_callback)(void *data, uint64_t id, const void *event, size_t length);

/* Calls `event` with `data` for each decision in a namespace (NULL: in all) as it is made, until it is cancelled from there
 * (SEMCACHE_CANCELLED), `timeout_ms` are over (SEMCACHE_TIMEOUT; UNSET: never), or the daemon ends or cannot be reached. Who
 * reads too slowly is not told all: the next event says how many were `missed`. */
SEMCACHE_API int semcache_watch(struct semcache *cache, const char *namespace_name, int64_t timeout_ms,
				semcache_event_callback event, void *data);

/* The functions without blocking. Wait until semcache_fd() is ready for semcache_events(), at most semcache_timeout_ms(),
 * then call semcache_process(); ask again for the time after every call with the handle. A start function that returns 0 is
 * followed by exactly one `done`, never before semcache_process() is called; one that fails is followed by none. */

/* What a request tells its owner. `done` must not be NULL. */
struct semcache_handler {
	semcache_chunk_callback chunk; /* NULL: not streamed; only get_or_generate streams */
	semcache_done_callback done;
	void *data;
};

/* As semcache_get_or_generate(). `*id` (NULL: not wanted) is the request's number for semcache_cancel(). SEMCACHE_BUSY:
 * max_in_flight. */
SEMCACHE_API int semcache_start_get_or_generate(struct semcache *cache, const struct semcache_question *question,
						const struct semcache_handler *handler, uint64_t *id);

/* As semcache_explain(). */
SEMCACHE_API int semcache_start_explain(struct semcache *cache, const struct semcache_question *question,
					const struct semcache_handler *handler, uint64_t *id);

/* As semcache_lookup(). */
SEMCACHE_API int semcache_start_lookup(struct semcache *cache, const struct semcache_question *question,
				       const struct semcache_handler *handler, uint64_t *id);

/* As semcache_add(). */
SEMCACHE_API int semcache_start_add(struct semcache *cache, const struct semcache_question *question, const char *answer,
				    const struct semcache_handler *handler, uint64_t *id);

/* As semcache_watch(). `event` is given the handler's `data`. */
SEMCACHE_API int semcache_start_watch(struct semcache *cache, const char *namespace_name, int64_t timeout_ms,
				      semcache_event_callback event, const struct semcache_handler *handler, uint64_t *id);

/* As semcache_call(). */
SEMCACHE_API int semcache_start_call(struct semcache *cache, const char *method, const void *params, size_t length,
				     int64_t timeout_ms, const struct semcache_handler *handler, uint64_t *id);

/* Cancels a request. No chunk comes any more, and its `done` comes with SEMCACHE_CANCELLED from the next semcache_process()
 * (or this one, if called from a callback). Returns 0, or SEMCACHE_NOT_FOUND: no such request, or its outcome is already
 * known. */
SEMCACHE_API int semcache_cancel(struct semcache *cache, uint64_t id);

/* Returns a file descriptor to wait for, the same for the handle's whole life (an epoll instance that follows the
 * connection). It may only be waited for, and belongs to the handle. Negative: a code. */
SEMCACHE_API int semcache_fd(struct semcache *cache);

/* Returns the poll(2) events to wait for on semcache_fd(). */
SEMCACHE_API short semcache_events(const struct semcache *cache);

/* Returns after how many milliseconds semcache_process() must be called even if nothing happens; 0 = now, -1 = not at
 * all. */
SEMCACHE_API int semcache_timeout_ms(const struct semcache *cache);

/* Reads, writes, connects and runs the callbacks that are due; never waits. It handles at most about 256 KiB of input in one
 * call. What goes wrong with the connection is told to the requests it concerns; returns 0, or SEMCACHE_INVALID (within a
 * callback, after fork). */
SEMCACHE_API int semcache_process(struct semcache *cache);

/* Returns how many requests are open: started, and their `done` still to come. */
SEMCACHE_API size_t semcache_in_flight(const struct semcache *cache);

#ifdef __cplusplus
}
#endif

#endif
