/* evaluate --comparator: how often the comparison of answers (comparison.h) is wrong, on labelled pairs of questions with
 * the real chat model's answers. semcached(8). */
#ifndef DAEMON_EVALUATE_COMPARATOR_H
#define DAEMON_EVALUATE_COMPARATOR_H

#include "evaluate_set.h"

struct config;
struct config_namespace;
struct evaluate_options;

/* Measures and prints. Returns the exit status. */
int evaluate_comparator(const struct evaluate_options *options, const struct config *config,
			const struct config_namespace *space, const struct evaluate_set *set);

#endif
