/* The labels that the daemons have gathered in Redis, for calibrate. */
#ifndef DAEMON_CALIBRATE_LABELS_H
#define DAEMON_CALIBRATE_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALIBRATE_SOURCES 8

struct config;

struct calibrate_label {
	double similarity;
	double next; /* of the next nearest entry; NAN = there was none, or it is not known */
	bool right;
	bool compared; /* by a comparator of answers */
};

struct calibrate_labels {
	struct calibrate_label *list;
	size_t count, room;
	uint64_t sources[CALIBRATE_SOURCES]; /* how many of each enum label_source were taken */
	uint64_t left_out;                   /* of another embedder, or no evidence */
};

/* Adds one. Returns 0 or ERROR_MEMORY. */
int calibrate_labels_add(struct calibrate_labels *labels, const struct calibrate_label *label);

/* Adds those of `namespace_name` whose similarity is `embedder`'s, on a loop of its own. With `compared` those of audit,
 * shadow and judge too. Returns 0, or an error and why in `mistake`. */
int calibrate_labels_read(struct calibrate_labels *labels, const struct config *config, const char *namespace_name,
			  const char *embedder, bool compared, char *mistake, size_t mistake_size);

/* Frees what it holds. */
void calibrate_labels_deinit(struct calibrate_labels *labels);

#endif
