/* Every key of the configuration, one line each; config.c's own. A new key is a field in config.h and a line in the
 * table. */
#ifndef DAEMON_CONFIG_TABLE_H
#define DAEMON_CONFIG_TABLE_H

#include "../proto/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_guards;
struct config_share;
struct guard_words;

enum config_section_kind {
	CONFIG_SERVER,
	CONFIG_MEMORY,
	CONFIG_REDIS,
	CONFIG_EMBEDDER,
	CONFIG_SECOND_OPINION,
	CONFIG_LOG,
	CONFIG_DECISIONS,
	CONFIG_UPSTREAM,  /* "upstream NAME" */
	CONFIG_NAMESPACE, /* "namespace NAME" */
	CONFIG_SECTION_KINDS
};

/* What a value may be. Texts are char *, numbers uint64_t, real numbers double. */
enum config_kind {
	CONFIG_TEXT,        /* min to max bytes of visible characters, no blanks */
	CONFIG_PATH,        /* absolute */
	CONFIG_ENV,         /* name of an environment variable */
	CONFIG_CREDENTIAL,  /* name of a systemd credential */
	CONFIG_URL,         /* http:// or https:// */
	CONFIG_REDIS_URL,   /* redis:// or unix: */
	CONFIG_LEVEL,       /* error, warning, info, debug */
	CONFIG_MODE,        /* enum config_mode */
	CONFIG_CONTEXT,     /* any, or of all, system, label */
	CONFIG_MODEL_LIST,  /* struct config_upstream's models */
	CONFIG_OCTAL,       /* file mode */
	CONFIG_COUNT,       /* whole number */
	CONFIG_SIZE,        /* bytes, or with KiB, MiB, GiB */
	CONFIG_SECONDS,     /* whole number */
	CONFIG_MS,          /* whole number */
	CONFIG_PRICE,       /* real number */
	CONFIG_COSINE,      /* -1 to 1 */
	CONFIG_COSINE_NONE, /* the same, or "none", which is CONFIG_NONE */
	CONFIG_WEIGHT_NONE, /* min to max, or "none" */
	CONFIG_GUARDS,      /* struct config_guards */
	CONFIG_OPPOSITES,   /* struct guard_words * */
	CONFIG_SWITCH,      /* on or off: uint64_t, 1 or 0 */
	CONFIG_SHARE_NONE,  /* WRONG/COUNT, or "none": struct config_share */
};

struct config_entry {
	enum config_section_kind section;
	const char *key;
	enum config_kind kind;
	size_t offset; /* in struct config, config_upstream or config_namespace, by the section */
	uint64_t min, max;
	const char *fallback; /* the default, as it would stand in the file; NULL = none */
	bool required;
	bool reloads; /* a running daemon takes over another value; else it needs a restart */
	const char *help;
};

#define CONFIG_ENTRIES 83

/* The size in which every value shows: the longest is a list of models. */
#define CONFIG_VALUE_BYTES 32768

/* The most keys of one section. */
#define CONFIG_SECTION_KEYS 32

extern const struct config_entry config_table[CONFIG_ENTRIES];

/* Which guards are on unless the file says otherwise: those that earn it by the table of guards in the README. */
#define CONFIG_GUARDS_DEFAULT                                                                                               \
	"numbers:on, negation:on, opposites:on, quotes:on, code:shadow, urls:on, paths:shadow, emails:shadow, "             \
	"identifiers:on, roles:on, names:on"

/* Returns the first word of a section's header. */
const char *config_section_name(enum config_section_kind kind);

/* Returns the place in the table of the first key of a section; the others follow. CONFIG_ENTRIES for
 * CONFIG_SECTION_KINDS. */
size_t config_section_start(enum config_section_kind kind);

/* Sets the field of `entry` in `base` from `text`; of a list: appends. Returns 0, ERROR_INVALID or ERROR_MEMORY. */
int config_value_set(const struct config_entry *entry, void *base, const char *text);

/* Sets the field in `to` to a copy of the one in `from`. Not for lists. Returns 0 or ERROR_MEMORY. */
int config_value_copy(const struct config_entry *entry, void *to, const void *from);

/* Exchanges the fields in `a` and `b`. Not for lists. */
void config_value_swap(const struct config_entry *entry, void *a, void *b);

/* Frees the texts of the field. */
void config_value_free(const struct config_entry *entry, void *base);

/* Appends the value as it would stand in the file. Errors as buffer_append(). */
int config_value_show(const struct config_entry *entry, const void *base, struct buffer *out);

/* Takes the next item of a list with commas; blanks around it are left out. Returns false at the end. */
bool config_next_item(const char **list, struct slice *item);

/* config_guards.c: the kinds CONFIG_GUARDS and CONFIG_OPPOSITES. Errors as config_value_set() and config_value_show(). */
int config_guards_set(struct config_guards *field, const char *text);
int config_guards_show(const struct config_guards *field, struct buffer *out);
int config_opposites_set(struct guard_words **field, const char *text);

/* config_share.c: the kind CONFIG_SHARE_NONE. Errors as config_value_set() and config_value_show(). */
int config_share_set(struct config_share *field, const char *text);
int config_share_show(const struct config_share *field, struct buffer *out);

/* Appends what the value of `entry` may be, as it goes on after "must be ". Errors as buffer_append(). */
int config_value_allowed(const struct config_entry *entry, struct buffer *out);

#endif
