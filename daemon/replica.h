/* Keeps this daemon's memory and index in step with Redis: loads what is stored at the start, then follows the log of what
 * other daemons add, alias, remove and flush.
 *
 *   start ─> follow (notes the log's last id) ─> reload: walk every namespace's directory into the index ─> follow the log
 *
 * A reload forgets at once what is known, and walks when what waited in the write queue is in Redis.
 * What can go wrong: the log was trimmed or Redis is another one (everything is read again), more records come than entries
 * can be read again (the same), Redis is away (nothing is read; after redis.serve_disconnected nothing of memory is served). */
#ifndef DAEMON_REPLICA_H
#define DAEMON_REPLICA_H

#include "entry.h"

struct flight;
struct replica;
struct service;

/* Starts to load and to follow; service->store must exist. NULL without memory. */
struct replica *replica_create(struct service *service);

/* Stops; no callback comes any more. NULL is nothing. */
void replica_destroy(struct replica *replica);

/* Returns whether answers from memory may be served: Redis is followed, or was until redis.serve_disconnected ago, or there
 * is no Redis. */
bool replica_is_current(const struct service *service);

/* A namespace (data NULL: each) was flushed: all its entries in memory and index are dead, and what is in the air, `except`
 * one flight that is younger (or NULL), is not kept. Works without Redis too. Returns how many entries memory had. */
size_t replica_flushed(struct service *service, struct slice namespace, const struct flight *except);

/* An entry or alias was removed or replaced: memory forgets it, and so does the index if it was an entry. */
void replica_removed(struct service *service, struct slice namespace, const struct identity *identity);

#endif
