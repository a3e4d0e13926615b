/* The command line of the one-shot modes, and the configuration that it makes of the file's. */
#ifndef DAEMON_EVALUATE_OPTIONS_H
#define DAEMON_EVALUATE_OPTIONS_H

#include "evaluate_set.h"
#include "policy.h"

struct config;
struct config_namespace;

/* Exit statuses, as in sysexits.h(3head). */
enum evaluate_exit {
	EVALUATE_FAILED = 1,
	EVALUATE_USAGE = 64,
	EVALUATE_DATA = 65,
	EVALUATE_NO_INPUT = 66,
	EVALUATE_ABSENT = 69,
	EVALUATE_CONFIG = 78,
};

struct evaluate_options {
	const char *config_path, *namespace_name, *file, *plot, *out;
	const char *guards, *mode, *second_opinion;              /* as in the configuration; NULL = as it is there */
	double threshold, margin, margin_floor, minimum, weight; /* CONFIG_NONE = as it is there */
	double max_wrong, max_traps;                             /* shares; NAN = not asked for */
	double bound, confidence;                                /* calibrate: shares */
	double comparator_error;                                 /* the same; NAN = not measured */
	enum evaluate_half tune, test;
	/* evaluate --comparator */
	bool comparator;
	size_t limit; /* 0 = none */
	const char *model, *system;
	double compare_threshold, temperature; /* CONFIG_NONE, NAN = as it is otherwise */
	size_t max_questions;
	bool json, dry_run, only_pairs;
};

/* Which mode's options they are. */
enum evaluate_what { EVALUATE_EVALUATE, EVALUATE_CALIBRATE };

/* Reads the command line; argv[0] is the mode's name. Returns -1 to go on, or the exit status after having said what is
 * wrong. */
int evaluate_options_read(struct evaluate_options *options, enum evaluate_what what, int argc, char **argv);

/* Reads the configuration, and changes the namespace as the options say. Returns -1 (config_destroy()), or the exit
 * status after having said what is wrong. */
int evaluate_config_read(const struct evaluate_options *options, struct config **config, struct config_namespace **space);

/* Reads the whole of `path` ("-" = standard input) into `*bytes`, malloc'ed. Returns -1, or the exit status after having
 * said what is wrong. */
int evaluate_file_read(const char *path, struct slice *bytes);

#endif
