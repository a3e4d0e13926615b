/* A hash table by bytes that others choose (identities, names), for tables that grow large.
 *
 * Happy path: uthash does the work. Two things are added: the hash is keyed with random bits of this table, so that nobody
 * can choose keys that meet in one bucket; and the table is cut into shards that grow one at a time, so that no single
 * insertion holds the loop while a million others are moved. What can go wrong: there is no memory to add; the table is as
 * before. */
#ifndef DAEMON_TABLE_H
#define DAEMON_TABLE_H

#ifndef HASH_NONFATAL_OOM
#define HASH_NONFATAL_OOM 1
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

/* What is embedded in everything a table holds. */
struct table_node {
	UT_hash_handle hh;
};

struct table {
	struct table_node **shards;
	size_t shard_count; /* a power of two */
	uint64_t seed[2];
	size_t bytes; /* what the table itself takes; the nodes are their owners' */
	size_t count;
};

/* Makes an empty table for what fits into `max_bytes` of nodes, which only sets how many shards there are. Returns 0,
 * ERROR_MEMORY, or ERROR_INTERNAL without random bits. */
int table_init(struct table *table, size_t max_bytes);

/* Frees the table; the nodes, which must still be there, are not touched otherwise. */
void table_deinit(struct table *table);

/* Returns the node under `key`, or NULL. */
struct table_node *table_find(const struct table *table, const void *key, size_t length);

/* Adds `node` under `key`, which must not be there yet and stays the node's until it is removed. Returns 0 or
 * ERROR_MEMORY. */
int table_add(struct table *table, struct table_node *node, const void *key, size_t length);

/* Removes `node`, which must be there. */
void table_remove(struct table *table, struct table_node *node);

/* Calls `each` for the nodes, in an order that stays the same for the table's life, from the one that follows `after` (NULL
 * = from the first; it need not be there any more) until it returns false. `each` must not change the table. All keys must
 * be of one length. Each shard that is passed is sorted first: about 4,096 nodes. */
void table_walk(struct table *table, const void *after, size_t length, bool (*each)(void *data, struct table_node *node),
		void *data);

#endif
