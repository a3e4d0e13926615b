/* What a call is allowed: its namespace's settings, what was calibrated, and what the call itself says. Pure. */
#ifndef DAEMON_POLICY_H
#define DAEMON_POLICY_H

#include "decide.h"

#include "../proto/request.h"

struct calibration;
struct config;
struct config_namespace;

/* Returns the policy of `request` in `space`. */
struct policy policy_of(const struct config *config, const struct config_namespace *space, const struct request *request);

/* Returns the policy of a call of `space` that says nothing itself. */
struct policy policy_usual(const struct config *config, const struct config_namespace *space);

/* Returns the parameters that ship for the embedder model of this name, or NULL: README, "Thresholds", says how they were
 * found. */
const struct calibration *policy_shipped(const char *model);

/* The same with second opinions of the embedder model `second`. */
const struct calibration *policy_shipped_with(const char *model, const char *second);

/* Returns whether a second opinion is to be had in `space`. */
bool policy_has_second(const struct config *config, const struct config_namespace *space);

/* What the second opinion weighs where only the other values are given. */
#define POLICY_WEIGHT 0.5

/* Returns what ships for the embedders that `space` is decided with, or NULL. */
const struct calibration *policy_shipped_for(const struct config *config, const struct config_namespace *space);

#endif
