/* Keeps what people said (verdicts.h) in step with Redis: reads it at the start and whenever records were lost, and takes
 * what other daemons are told.
 *
 * What can go wrong: Redis is away (tried again until it is read), something is taken back while it is being read (read
 * again), Redis has come back without it (what is known here is written again), there is more than fits (logged; the rest
 * holds in Redis only). */
#ifndef DAEMON_REPLICA_SAID_H
#define DAEMON_REPLICA_SAID_H

#include "../proto/buffer.h"

#include <stdbool.h>

struct identity;
struct replica_said;
struct service;
struct store_verdict;

/* Creates it; service->store and service->verdicts must exist. NULL without memory. */
struct replica_said *replica_said_create(struct service *service);

/* Stops; no callback comes any more. NULL is nothing. */
void replica_said_destroy(struct replica_said *said);

/* Reads everything again. `is_other`: this Redis is another process than before, and what it does not have it may have
 * lost. */
void replica_said_load(struct replica_said *said, bool is_other);

/* The same for what may have changed unseen, without a word in the log. */
void replica_said_check(struct replica_said *said);

/* Takes a verdict, or that it is taken back, from wherever it comes. Returns 0, ERROR_TOO_LARGE, ERROR_MEMORY or
 * ERROR_INVALID, and then nothing changed. */
int replica_said_apply(struct service *service, struct slice namespace, const struct store_verdict *verdict);

#endif
