/* Reads the configuration's text into the fields, remembering where each value stood; config.c's own. */
#ifndef DAEMON_CONFIG_FILE_H
#define DAEMON_CONFIG_FILE_H

#include "config_table.h"

struct config;

/* One section in force: of the file, or with defaults only. */
struct config_section {
	enum config_section_kind kind;
	size_t index;                        /* in config's upstreams or namespaces */
	unsigned line;                       /* of its header, 0 = not in the file */
	unsigned lines[CONFIG_SECTION_KEYS]; /* of each value, 0 = the default; of an override, see below */
};

/* Override number n stands in line CONFIG_LINE_OVERRIDE + n. */
#define CONFIG_LINE_OVERRIDE (1u << 30)

/* Namespaces that were in force before a reload; what is in the air may still point to them. */
struct config_retired {
	struct config_retired *next;
	struct config_namespace *namespaces;
	size_t count;
};

struct config_origins {
	struct config_section *sections; /* the fixed ones, namespace default, then the file's */
	size_t count;
	uint16_t sorted[256]; /* places of the namespaces, by name */
	struct config_retired *retired;
	struct buffer text; /* of the file */
};

/* The most bytes of a file. */
#define CONFIG_FILE_BYTES 1048576

/* The place of [namespace default] in `sections`. */
#define CONFIG_SECTION_DEFAULT ((size_t)CONFIG_UPSTREAM)

/* Where mistakes go. */
struct config_mistakes {
	const char *path;
	struct buffer *text;
	size_t count;
	struct config_override *overrides; /* those that mistakes may be about */
	size_t override_count;
};

/* Adds one line: "PATH:LINE: [section] key: text". `line` 0 and absent texts are left out. In the place of PATH:LINE an
 * override has "run-time settings", and is marked. */
void config_mistake(struct config_mistakes *mistakes, unsigned line, const char *section, const char *key,
		    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Returns what the offsets of the table count from, for this section. */
void *config_section_base(struct config *config, const struct config_section *section);

/* Finds the section of this kind and, where the kind has names, this name. Returns its place, or CONFIG_NO_SECTION. */
size_t config_section_find(const struct config *config, enum config_section_kind kind, struct slice name);

#define CONFIG_NO_SECTION SIZE_MAX

/* Writes the section's header without brackets into `out`. Returns `out`. */
const char *config_section_title(const struct config *config, const struct config_section *section, char *out, size_t size);

/* The size that always suffices for config_section_title(). */
#define CONFIG_TITLE_BYTES 320

/* Makes the fixed sections with their defaults. Returns 0 or ERROR_MEMORY. */
int config_file_start(struct config *config);

/* Sets what `text` says; mistakes are added. Returns 0 (also with mistakes) or ERROR_MEMORY. */
int config_file_read(struct config *config, struct slice text, struct config_mistakes *mistakes);

/* Sets what mistakes->overrides say, behind config_file_read(). Returns as that. */
int config_file_override(struct config *config, struct config_mistakes *mistakes);

#endif
