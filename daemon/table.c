/* key ── keyed hash ──> upper half: which shard; lower half: which bucket of that shard's uthash. */
#include "table.h"

#include "../proto/error.h"
#include "heap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Nodes take at least some 250 bytes, so a shard of 1 MiB holds about 4,096 and grows within about 0.2 ms. */
#define SHARD_BYTES ((size_t)1 << 20)
#define SHARDS_MAX ((size_t)4096)

/* uthash's own allocations are counted; its macros run where `table` is in scope. */
#undef uthash_malloc
#undef uthash_free
#define uthash_malloc(size) counted_malloc(table, (size))
#define uthash_free(pointer, size) counted_free(table, (pointer), (size))

/* A shard starts smaller than uthash's own tables do, because there are many. */
#undef HASH_INITIAL_NUM_BUCKETS
#undef HASH_INITIAL_NUM_BUCKETS_LOG2
#define HASH_INITIAL_NUM_BUCKETS 8U
#define HASH_INITIAL_NUM_BUCKETS_LOG2 3U

static void *counted_malloc(struct table *table, size_t size)
{
	void *pointer = malloc(size);

	if (pointer)
		table->bytes += heap_bytes(size);
	return pointer;
}

static void counted_free(struct table *table, void *pointer, size_t size)
{
	free(pointer);
	table->bytes -= heap_bytes(size);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Folded multiplication by secret numbers: fast, and nobody without them can tell which keys meet. */
static uint64_t hash(const struct table *table, const void *key, size_t length)
{
	const unsigned char *at = key;
	uint64_t state = table->seed[0] ^ length;
	uint64_t word;

	for (; length >= sizeof(word); at += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		state = mix(state ^ word, table->seed[1]);
	}
	word = 0;
	if (length)
		memcpy(&word, at, length);
	return mix(state ^ word, table->seed[1] ^ table->seed[0]);
}

static size_t shard_of(const struct table *table, uint64_t hashed)
{
	return (size_t)(hashed >> 32) & (table->shard_count - 1);
}

int table_init(struct table *table, size_t max_bytes)
{
	struct table made = {.shard_count = 1};

	if (getrandom(made.seed, sizeof(made.seed), 0) != (ssize_t)sizeof(made.seed))
		return ERROR_INTERNAL;
	made.seed[1] |= 1;
	while (made.shard_count < SHARDS_MAX && made.shard_count < max_bytes / SHARD_BYTES)
		made.shard_count *= 2;
	made.shards = calloc(made.shard_count, sizeof(struct table_node *));
	if (!made.shards)
		return ERROR_MEMORY;
	made.bytes = heap_bytes(made.shard_count * sizeof(struct table_node *));
	*table = made;
	return 0;
}

void table_deinit(struct table *table)
{
	for (size_t i = 0; i < table->shard_count; i++)
		HASH_CLEAR(hh, table->shards[i]);
	free(table->shards);
	*table = (struct table){.shards = NULL};
}

struct table_node *table_find(const struct table *table, const void *key, size_t length)
{
	uint64_t hashed = hash(table, key, length);
	struct table_node *head = table->shards[shard_of(table, hashed)];
	struct table_node *found;

	HASH_FIND_BYHASHVALUE(hh, head, key, length, (unsigned)hashed, found);
	return found;
}

int table_add(struct table *table, struct table_node *node, const void *key, size_t length)
{
	uint64_t hashed = hash(table, key, length);
	struct table_node **head = &table->shards[shard_of(table, hashed)];

	HASH_ADD_KEYPTR_BYHASHVALUE(hh, *head, key, length, (unsigned)hashed, node);
	if (!node->hh.tbl)
		return ERROR_MEMORY;
	table->count++;
	return 0;
}

void table_remove(struct table *table, struct table_node *node)
{
	struct table_node **head = &table->shards[shard_of(table, hash(table, node->hh.key, node->hh.keylen))];

	HASH_DELETE(hh, *head, node);
	table->count--;
}

static int by_key(const struct table_node *a, const struct table_node *b)
{
	return memcmp(a->hh.key, b->hh.key, a->hh.keylen);
}

void table_walk(struct table *table, const void *after, size_t length, bool (*each)(void *data, struct table_node *node),
		void *data)
{
	size_t first = after ? shard_of(table, hash(table, after, length)) : 0;

	for (size_t i = first; i < table->shard_count; i++) {
		HASH_SRT(hh, table->shards[i], by_key);
		for (struct table_node *node = table->shards[i]; node; node = node->hh.next) {
			if (after && i == first && memcmp(node->hh.key, after, length) <= 0)
				continue;
			if (!each(data, node))
				return;
		}
	}
}
