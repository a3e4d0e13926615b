/* The labels that the daemons have gathered in Redis, for calibrate. */
#ifndef DAEMON_CALIBRATE_LABELS_H
#define DAEMON_CALIBRATE_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALIBRATE_SOURCES 8

struct config;
struct config_namespace;

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

/* Whose labels are read, and how far those of a comparison can be trusted. */
struct calibrate_labels_of {
	const struct config *config;
	const struct config_namespace *space;
	const char *namespace_name, *embedder;
	/* How often the comparison may call a wrong answer right. NAN: as measured (upper bound at 95 %), by the run-time
	 * settings in Redis or the configuration; it stays NAN, and the labels of audit and shadow are left out, where that
	 * was not measured. Those of the judge, which that measurement is not about, are only taken where the error is
	 * given. */
	double comparator_error;
};

/* Adds those of the namespace whose similarity is the embedder's, on a loop of its own. Returns 0, or an error and why in
 * `mistake`. */
int calibrate_labels_read(struct calibrate_labels *labels, struct calibrate_labels_of *of, char *mistake,
			  size_t mistake_size);

/* Frees what it holds. */
void calibrate_labels_deinit(struct calibrate_labels *labels);

#endif
