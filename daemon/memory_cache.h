/* The memory tier: answers by identity, bounded in bytes, evicted by S3-FIFO (Yang et al., SOSP 2023, "FIFO queues are all
 * you need for cache eviction"): a small queue (10 % of the bytes) for what is new, a main queue for what was asked for
 * again, and a ghost queue of identities that remembers what left the small one. Each entry has its own TTL.
 *
 * An alias is an item of its own that names the identity whose entry answers it. */
#ifndef DAEMON_MEMORY_CACHE_H
#define DAEMON_MEMORY_CACHE_H

#include "entry.h"

struct memory_cache;
struct metrics;

/* Creates a cache of at most `max_bytes`, its own bookkeeping counted; 0 = it keeps nothing. NULL without memory. */
struct memory_cache *memory_cache_create(size_t max_bytes, struct metrics *metrics);

/* Frees it with all entries. */
void memory_cache_destroy(struct memory_cache *cache);

/* Keeps a copy of `entry` (its vector left out) until entry->expires_at_ms, in place of what is there under its identity.
 * An entry larger than a tenth of the maximum is not kept. Returns 0 or ERROR_TOO_LARGE, ERROR_MEMORY, and then nothing is
 * under the identity: what was there is out of date. */
int memory_cache_put(struct memory_cache *cache, const struct entry *entry);

/* Keeps an alias until `expires_at_ms`; where the identity has a living entry of its own, that stays instead. Returns as
 * memory_cache_put(). */
int memory_cache_put_alias(struct memory_cache *cache, struct slice namespace, const struct alias *alias,
			   uint64_t expires_at_ms);

/* What is known of an identity. `alias` is NULL for an entry of its own; else `entry` is its target. Both belong to the
 * cache and are good until its next change. */
struct memory_hit {
	const struct entry *entry;
	const struct alias *alias;
};

/* Looks `identity` up. What has expired by `now_ms` is removed and not found; an alias whose entry is not here, or was made
 * at another time or in another generation, is not found either. Returns whether there is a hit. */
bool memory_cache_get(struct memory_cache *cache, const struct identity *identity, uint64_t now_ms, struct memory_hit *hit);

/* Removes what is under `identity`, entry or alias. Returns whether there was something. */
bool memory_cache_remove(struct memory_cache *cache, const struct identity *identity);

/* Removes all entries and aliases of `namespace` (data NULL = of all). Returns how many. Marks the namespace dead in O(1)
 * and lets what is dead leave as it is met, so that the loop is not held; they are not found from now on. */
size_t memory_cache_flush(struct memory_cache *cache, struct slice namespace);

/* Calls `each` for entries whose question, tag or namespace may be looked at, until it returns false; only for memory-only
 * operation (no Redis), at most `limit` entries after the one named `after` (NULL = from the first; it need not be there any
 * more). The order is the same for the cache's life. `each` must not change the cache, nor look anything up in it. */
void memory_cache_walk(struct memory_cache *cache, const struct identity *after, size_t limit,
		       bool (*each)(void *data, const struct entry *entry), void *data);

/* Returns the bytes kept and how many entries (aliases not counted, nor what was flushed). */
size_t memory_cache_bytes(const struct memory_cache *cache, size_t *entries);

#endif
