/* What was found, for people and for programs. */
#ifndef DAEMON_EVALUATE_REPORT_H
#define DAEMON_EVALUATE_REPORT_H

#include "evaluate_run.h"
#include "guard.h"
#include "policy.h"

#define EVALUATE_POINTS 176

struct config;
struct config_namespace;
struct evaluate_options;

/* One threshold, and what came of it. */
struct evaluate_point {
	double threshold;
	struct evaluate_counts counts;
};

struct evaluate_report {
	const struct evaluate_options *options;
	const struct config *config;
	const struct config_namespace *space;
	const struct evaluate_set *set;
	struct policy policy; /* in force */
	bool by_score;        /* thresholds are of the score */
	size_t not_compared;  /* texts */
	char embedder[17];
	struct evaluate_point points[EVALUATE_POINTS];
	size_t point_count;
	struct evaluate_point shipped;             /* the policy in force */
	struct evaluate_point unguarded;           /* the same without guards */
	struct evaluate_point guards[GUARD_COUNT]; /* the same with this one alone */
	bool has_best, has_tuned;
	struct evaluate_point best;  /* at the threshold that was asked for */
	struct evaluate_point tuned; /* the same on the half on which it was chosen */
};

/* Prints a table, or JSON. Return 0 or ERROR_MEMORY. */
int evaluate_report_table(const struct evaluate_report *report);
int evaluate_report_json(const struct evaluate_report *report);

/* Draws hits over wrong answers into options->plot with gnuplot. Returns whether it went well; it has said why not. */
bool evaluate_report_plot(const struct evaluate_report *report);

#endif
