/* What the files of settings share. Nobody else includes it. */
#ifndef DAEMON_SETTINGS_PRIVATE_H
#define DAEMON_SETTINGS_PRIVATE_H

#include "settings.h"

#include "deadline.h"
#include "service.h"
#include "store.h"

#include "../proto/limits.h"

/* Namespaces of which the log told, and that are still to be read; when there are more, all are read. */
#define SETTINGS_PENDING 64

/* What one namespace has. */
struct settings_space {
	char name[LIMIT_NAMESPACE_BYTES + 1];
	char *values[CONFIG_OVERRIDE_KEYS];    /* NULL = not set */
	bool is_refused[CONFIG_OVERRIDE_KEYS]; /* set, but not in force */
	bool is_skipped[CONFIG_OVERRIDE_KEYS]; /* while it is being found out which are refused */
	bool is_skipped_whole;                 /* there is no room for its section */
	uint64_t unknown;                      /* settings that this version does not know */
	bool is_seen;                          /* while everything is being read */
	size_t own;                            /* changes made here whose record in the log has not come */
	uint64_t own_until_ms;                 /* of the loop's clock: how long it is waited for */
	char *text;                            /* of the certificate; NULL = none */
	bool is_other;                         /* none, but there is one for another embedder */
	bool is_certificate;                   /* `text` could be read: */
	struct certificate certificate;        /* stays in its place, because config points to it */
	char why[48];                          /* it is not in force; "" = it is, or there is none */
	bool is_told;                          /* that, or that it is in force, is in the log */
};

struct settings {
	struct service *service;
	const char *keys[CONFIG_OVERRIDE_KEYS];
	size_t key_count;
	struct settings_space *spaces[CONFIG_NAMESPACES];
	size_t count;

	/* settings_follow.c */
	struct store_settings read;
	bool is_reading, is_reading_all;
	int read_error;
	bool is_changed; /* what was read is not what was there */
	bool is_all_pending;
	size_t pending_count;
	char pending[SETTINGS_PENDING][LIMIT_NAMESPACE_BYTES + 1];
	struct deadline retry;
	void (*load_done)(void *data, int error);
	void *load_data;
};

/* settings.c */

/* Finds what `namespace` has; NULL = nothing. */
struct settings_space *settings_find(const struct settings *settings, struct slice namespace);

/* … or makes it, empty. NULL = no memory, or too many. */
struct settings_space *settings_get(struct settings *settings, struct slice namespace);

/* Sets a value, copied (absent = none). Returns 0 or ERROR_MEMORY. */
int settings_put(char **value, struct slice text);

/* Puts in force what there is, without what does not fit, which is logged. */
void settings_resolve(struct settings *settings);

/* settings_follow.c */
void settings_follow_init(struct settings *settings);
/* A change was made here and sent to Redis: until the log tells of it, what is read is older. */
void settings_expect_own(struct settings *settings, struct settings_space *space);
void settings_follow_deinit(struct settings *settings);

/* settings_certificate.c */

/* Says which certificates hold under service->config. */
void settings_certify(struct settings *settings);

/* Sets the space's certificate (absent = none); none of it is in force until settings_certify(). Returns 0 or
 * ERROR_MEMORY. */
int settings_put_certificate(struct settings *settings, struct settings_space *space, struct slice text);

/* Returns 0, or ERROR_INVALID with `fault` filled. */
int settings_check_certificate(struct slice text, struct fault *fault);

#endif
