/* Run-time settings: values of [namespace NAME] that an administrator sets while the daemon runs, and certificates of what
 * was calibrated. Redis keeps them for all hosts and restarts (store_settings.c); this is the part of them in memory, laid
 * over the file.
 *
 *   config {set, unset} ── checked with the file's text ──> Redis ──> in force here ··· log ··> read, in force elsewhere
 *   start ──> read before anything is loaded for the search by meaning
 *
 * Precedence: Redis, the file, the default. A reload of the file keeps them. What can go wrong: a combination that may
 * not be (it is refused whole, and nothing changes), one in Redis that does not fit this host's file or version (it is
 * ignored, logged and counted), two hosts set the same key at once (each reads again what came last), Redis is away
 * (queued; without one: kept until the end). */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include "certificate.h"

struct buffer;
struct config;
struct config_namespace;
struct fault;
struct hasher;
struct service;
struct settings;
struct store_write;

/* The longest certificate that may be set, in bytes. */
#define SETTINGS_CERTIFICATE_BYTES 2048

/* Creates it, empty; NULL without memory. */
struct settings *settings_create(struct service *service);

/* Stops what is being read, without a callback, and frees it. service->config must no longer be asked for certificates.
 * NULL is nothing. */
void settings_destroy(struct settings *settings);

/* Reads everything and puts it in force. Returns 0, and `done` is called once, later; or as store_find(). */
int settings_load(struct settings *settings, void (*done)(void *data, int error), void *data);

/* The log says that those of `namespace` were written (`is_own`: by this daemon): reads them soon and puts them in force. */
void settings_follow(struct settings *settings, struct slice namespace, bool is_own);

/* As config_read_again(), with what is in force laid over it. */
int settings_read_again(struct settings *settings, const char *path, struct config **fresh, struct buffer *mistakes);

/* service->config was changed by config_apply(): says which certificates hold under it. */
void settings_applied(struct settings *settings);

/* One change. */
struct settings_item {
	struct slice key;
	struct slice value; /* absent: as the file says again */
};

struct settings_change {
	struct slice namespace;
	const struct settings_item *items; /* each key once */
	size_t count;
	bool has_certificate;
	struct slice certificate; /* text of certificate_write(); absent or empty: there is none any more */
};

/* Puts the change in force here and writes it to Redis; `write`, with its `done` set, is told when Redis has it. What
 * changed by it is appended to `changed`, a line each as by config_apply(). Returns 0: `done` comes; 1: done, there is
 * no Redis; or an error with `fault` filled, and then nothing changed. */
int settings_change(struct settings *settings, const struct settings_change *change, struct store_write *write,
		    struct buffer *changed, struct fault *fault);

/* The certificate of `namespace` is shown to hold no longer: `why`, one word. On all hosts the namespace acts as in mode
 * threshold until it is calibrated again. Nothing happens if none is in force there. */
void settings_withdraw_certificate(struct settings *settings, struct slice namespace, const char *why);

/* What a namespace with a section of its own, or "default", has; its own, or else that of "default". Returns the
 * certificate if it is in force; or NULL with why not in `*why`, a text that is good until the next change; NULL with
 * `*why` NULL if there is none. */
const struct certificate *settings_certificate(const struct settings *settings, struct slice namespace, const char **why);

/* Writes 16 hex digits that name the rules by which scopes are made and pairs vetoed in `space`: certificates hold only
 * under them. Returns 0 or ERROR_MEMORY. */
int settings_scope_rule(struct hasher *hasher, const struct config_namespace *space, char out[17]);

#endif
