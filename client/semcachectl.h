/* What the files of semcachectl share: the tables of commands and options, and how things are printed. */
#ifndef CLIENT_SEMCACHECTL_H
#define CLIENT_SEMCACHECTL_H

#include "semcache.h"

#include <stdio.h>

struct json_object;

/* The exit codes, sysexits.h's where it has one. X(NAME, number, meaning) */
#define EXIT_TABLE(X)                                                                                                       \
	X(OK, 0, "done; an answer; health ok")                                                                              \
	X(MISS, 1, "no answer in the cache, no such entry; health degraded")                                                \
	X(DOWN, 2, "health down, or no daemon to ask for its health")                                                       \
	X(USAGE, 64, "the command line is wrong, or a question was not confirmed")                                          \
	X(DATA, 65, "INVALID, TOO_LARGE: the daemon or the library refused what was given")                                 \
	X(ABSENT, 69, "CONNECT, UNAVAILABLE: no daemon, or a part that it needs is not there")                              \
	X(FAULT, 70, "INTERNAL, MEMORY, DUPLICATE_ID: a fault")                                                             \
	X(FAILED, 74, "UPSTREAM, CLOSED: the model or the connection failed; or the output cannot be written")              \
	X(LATER, 75, "BUSY, QUOTA, TIMEOUT, DRAINING, CANCELLED: try again later")                                          \
	X(PEER, 76, "PROTOCOL, UNKNOWN_METHOD: the peer is no semcached, or another version")                               \
	X(DENIED, 77, "DENIED: only for administrators")

enum exit_code {
#define X(name, number, text) EXIT_##name = (number),
	EXIT_TABLE(X)
#undef X
};

#define MOST_TAGS 16

/* What the command line says. */
struct arguments {
	const char *socket;
	const char *namespace_name, *model, *system, *question, *context;
	const char *entry, *tag, *after, *client;
	const char *tags[MOST_TAGS];
	size_t tag_count;
	struct json_object *parameters;  /* a map, or NULL */
	struct json_object *set, *unset; /* settings: a map of texts, an array; or NULL */
	enum semcache_use use;
	double threshold;
	int64_t max_age_s, ttl_s, limit, request, timeout_ms, connect_timeout_ms;
	bool exact, stream, quiet, json, yes, dry_run, prometheus, help;
	const char *const *positional; /* what is left */
	size_t positional_count;
};

/* One command: its line in the help, and what runs it. */
struct command {
	const char *name;
	unsigned bit; /* in the options' sets */
	const char *synopsis;
	const char *summary;
	const char *description;
	size_t most_positional;
	int64_t connect_timeout_ms; /* unless it is given */
	int (*run)(struct semcache *cache, const struct arguments *arguments);
};

/* Finds a command; NULL: there is none. */
const struct command *command_find(const char *name);

/* Reads options from argv[1] on into `arguments`, up to the first word that is none (`command` NULL: only the options that
 * may stand before the command), or anywhere. Returns the index of the first word that is left, or -1 after having said
 * what is wrong. */
int arguments_read(struct arguments *arguments, const struct command *command, int argc, char **argv);

/* Prints the help of `command`, or of all (NULL). */
void help_print(FILE *out, const struct command *command);

/* Prints bash's completion. */
void completion_print(FILE *out);

/* Says on stderr (or with --json on stdout) that the command line is wrong. Returns EXIT_USAGE. */
int usage_error(bool json, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says, in the same way, that a result is not what it should be. Returns EXIT_PEER. */
int result_error(bool json, const char *text);

/* Says why `cache` failed, as JSON on stdout or as text on stderr. Returns the exit code. */
int failure_print(const struct semcache *cache, bool json);

/* Returns the exit code of an error code. */
int exit_code_of(int code);

/* Makes JSON of one MessagePack value; NULL: it is not complete, or too many values. The caller puts it. */
struct json_object *json_of_raw(const void *raw, size_t length, bool *ok);

/* Reads strict JSON of any kind: the whole of `text`. Returns false with `*error` (a constant) where it is none. */
bool json_read(const char *text, struct json_object **value, const char **error);

/* Writes `value` as MessagePack into memory of its own (the caller frees it). Returns false without memory. */
bool json_to_raw(struct json_object *value, char **raw, size_t *length);

/* Members of a map; what is absent or of another type gives "" (text), 0, NULL. */
const char *json_text(struct json_object *map, const char *key);
int64_t json_integer(struct json_object *map, const char *key);
double json_number(struct json_object *map, const char *key);
struct json_object *json_member(struct json_object *map, const char *key);

/* Prints `length` bytes of text for a person: no control characters (they could command a terminal) but, unless `one_line`,
 * line ends and tabs; bytes that are not UTF-8 as U+FFFD. At most `most` characters, "..." for the rest; 0 = all. */
void text_print(FILE *out, const char *text, size_t length, bool one_line, size_t most);

/* Prints one JSON object and a line end. */
void json_print(struct json_object *value);

/* Prints a map as aligned lines, `indent` spaces in. */
void map_print(struct json_object *map, int indent);

/* Prints seconds as "45 s", "12 min", "3.5 h", "2.1 d". */
void duration_print(FILE *out, double seconds);

/* Gets a result's value: JSON, or NULL after having said what is wrong with it. Frees `result`. */
struct json_object *result_json(struct semcache_result *result, bool json);

/* A question with the memory that it points to. */
struct asked {
	struct semcache_question question;
	struct semcache_message messages[2];
	char *input; /* from standard input, or NULL */
	char *parameters;
};

/* Makes a question of the command line. Returns 0, or an exit code after having said what is wrong; asked_free() after
 * both. */
int asked_fill(struct asked *asked, const struct arguments *arguments);
void asked_free(struct asked *asked);

/* Whole standard input without its last line ends, or NULL after having said why not (too long, a NUL in it). */
char *stdin_read(bool json);

/* clang-format off */
#define COMMANDS(X) \
	X(ask) X(lookup) X(explain) X(watch) X(add) X(show) X(list) X(invalidate) X(flush) X(feedback) \
	X(reject) X(accept) X(undo) X(stats) X(health) X(ping) X(hello) X(config) X(reload) X(drain)
/* clang-format on */

/* Each runs one command with a handle that is open. Returns the exit code. */
#define X(name) int run_##name(struct semcache *cache, const struct arguments *arguments);
COMMANDS(X)
#undef X

/* explain of a request that was answered before. Returns the exit code. */
int explain_request(struct semcache *cache, const struct arguments *arguments);

/* What the daemon's program does instead of this one. X(name, summary) */
#define MODES(X)                                                                                                            \
	X(evaluate, "what the cache would have done with labelled questions in a file")                                     \
	X(calibrate, "finds the lowest threshold that keeps a promise, and writes a certificate")

/* Returns whether `word` names one. */
bool mode_is(const char *word);

/* Runs the daemon's program with argv, of which argv[1] names the mode. Returns the exit code, if it returns. */
int mode_run(const struct arguments *arguments, char **argv);

/* Prints the map of `stats` for a person, or as Prometheus' text format 0.0.4. */
void stats_print(struct json_object *stats);
void stats_print_prometheus(struct json_object *stats);

#endif
