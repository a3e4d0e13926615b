/* Everything is an item of one table by identity; its place says in which queue it waits.
 *
 *   put ──> SMALL (a tenth) ── asked for ──> MAIN ── asked for: to the tail again
 *             │                                │
 *             └─ never asked for ──> GHOST     └─ not any more ──> gone
 *   put of what is a GHOST ─────────────────> MAIN
 *
 * Happy path: get finds the item, counts that it was asked for, and hands out its entry. A ghost is the item itself without
 * its entry, so that leaving memory needs no memory. An item is dead when its namespace was flushed (the namespace's struct
 * is then out of sight and lives until its last item has left) or when its time is over; the dead leave when they are met: by
 * a get, at the end of their queue, or by the few steps along the queues that each put makes.
 * What can go wrong: no memory, or an item too large; then nothing is under its identity any more, never what was there
 * before, which the caller meant to replace. */
#include "memory_cache.h"

#include "../proto/error.h"
#include "heap.h"
#include "metrics.h"
#include "table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SMALL_PART 10 /* of the bytes: one in … */
#define GHOST_PART 16
#define ITEM_PART 10 /* the largest item */
#define ASKED_MAX 3
#define SWEEP_STEPS 4
/* How many an eviction may spare before it takes the next one whatever it is. Sparing is paid for by earlier gets, but all
 * of them could fall due at once. */
#define SPARED_MAX 256

enum place { SMALL, MAIN, GHOST, PLACES };

struct item {
	struct table_node node;
	struct identity identity;
	struct item *prev, *next;
	struct space *space; /* NULL of a ghost */
	struct entry *entry; /* this, or alias, or neither: a ghost */
	struct alias *alias;
	uint64_t expires_at_ms;
	size_t bytes; /* that it takes, this struct included */
	unsigned char place, asked;
};

/* A namespace as long as it has items. */
struct space {
	struct table_node node;
	struct space *prev, *next;
	size_t items, entries;
	bool dead; /* flushed: not in the table any more */
	size_t bytes, length;
	char name[];
};

struct queue {
	struct item *first; /* the oldest; new ones are appended */
	size_t bytes;
};

struct memory_cache {
	size_t max_bytes;
	struct metrics *metrics;
	struct table items, names;
	struct space *spaces; /* those not dead */
	struct queue queues[PLACES];
	struct item *sweep;   /* where the next put looks for dead ones, or NULL */
	unsigned sweep_place; /* the queue it is in */
	size_t space_bytes;
	size_t entries;
	uint64_t now_ms; /* the latest time a get told */
};

/* ---- items and their namespaces ---- */

static bool item_dead(const struct memory_cache *cache, const struct item *item)
{
	return item->place == GHOST || item->space->dead || item->expires_at_ms <= cache->now_ms;
}

static struct item *item_find(const struct memory_cache *cache, const struct identity *identity)
{
	/* The node is the item's first member. */
	return (struct item *)(void *)table_find(&cache->items, identity, sizeof(*identity));
}

static void queue_add(struct memory_cache *cache, struct item *item, enum place place)
{
	item->place = (unsigned char)place;
	DL_APPEND(cache->queues[place].first, item);
	cache->queues[place].bytes += item->bytes;
}

static void queue_remove(struct memory_cache *cache, struct item *item)
{
	if (cache->sweep == item)
		cache->sweep = item->next;
	DL_DELETE(cache->queues[item->place].first, item);
	cache->queues[item->place].bytes -= item->bytes;
}

static struct space *space_find(const struct memory_cache *cache, struct slice name)
{
	return (struct space *)(void *)table_find(&cache->names, name.data ? name.data : "", name.length);
}

/* The namespace's struct, made if there is none; NULL without memory. */
static struct space *space_get(struct memory_cache *cache, struct slice name)
{
	struct space *space = space_find(cache, name);

	if (space)
		return space;
	space = calloc(1, sizeof(*space) + name.length);
	if (!space)
		return NULL;
	space->bytes = heap_bytes(sizeof(*space) + name.length);
	space->length = name.length;
	if (name.length)
		memcpy(space->name, name.data, name.length);
	if (table_add(&cache->names, &space->node, space->name, space->length)) {
		free(space);
		return NULL;
	}
	DL_APPEND(cache->spaces, space);
	cache->space_bytes += space->bytes;
	return space;
}

/* Takes the namespace out of sight: what it holds is dead. Returns how many that were. */
static size_t space_kill(struct memory_cache *cache, struct space *space)
{
	table_remove(&cache->names, &space->node);
	DL_DELETE(cache->spaces, space);
	space->dead = true;
	cache->entries -= space->entries;
	return space->items;
}

static void space_release(struct memory_cache *cache, struct space *space)
{
	if (space->items)
		return;
	if (!space->dead)
		(void)space_kill(cache, space);
	cache->space_bytes -= space->bytes;
	free(space);
}

/* Frees what the item holds; it is nobody's then, and in no queue. */
static void item_empty(struct memory_cache *cache, struct item *item)
{
	struct space *space = item->space;

	if (!space)
		return;
	space->items--;
	if (item->entry) {
		space->entries--;
		if (!space->dead)
			cache->entries--;
	}
	space_release(cache, space);
	entry_destroy(item->entry);
	free(item->alias);
	item->space = NULL;
	item->entry = NULL;
	item->alias = NULL;
	item->bytes = heap_bytes(sizeof(*item));
}

static void item_drop(struct memory_cache *cache, struct item *item)
{
	queue_remove(cache, item);
	item_empty(cache, item);
	table_remove(&cache->items, &item->node);
	free(item);
}

/* ---- room ---- */

static size_t cache_bytes(const struct memory_cache *cache)
{
	return heap_bytes(sizeof(*cache)) + cache->items.bytes + cache->names.bytes + cache->space_bytes +
	       cache->queues[SMALL].bytes + cache->queues[MAIN].bytes + cache->queues[GHOST].bytes;
}

/* The oldest of SMALL goes on to MAIN if it was asked for, else its identity stays as a ghost. */
static void small_pass(struct memory_cache *cache, bool may_spare)
{
	struct item *item = cache->queues[SMALL].first;

	if (item_dead(cache, item)) {
		item_drop(cache, item);
		return;
	}
	queue_remove(cache, item);
	if (item->asked && may_spare) {
		item->asked = 0;
		queue_add(cache, item, MAIN);
		return;
	}
	if (item->entry)
		cache->metrics->memory_evictions++;
	item_empty(cache, item);
	item->asked = 0;
	queue_add(cache, item, GHOST);
	while (cache->queues[GHOST].bytes > cache->max_bytes / GHOST_PART)
		item_drop(cache, cache->queues[GHOST].first);
}

/* The oldest of MAIN gets another round if it was asked for since the last, else it leaves. */
static void main_pass(struct memory_cache *cache, bool may_spare)
{
	struct item *item = cache->queues[MAIN].first;

	if (may_spare && item->asked && !item_dead(cache, item)) {
		queue_remove(cache, item);
		item->asked--;
		queue_add(cache, item, MAIN);
		return;
	}
	if (item->entry && !item_dead(cache, item))
		cache->metrics->memory_evictions++;
	item_drop(cache, item);
}

/* Makes room for `more` bytes. Returns whether there is. */
static bool make_room(struct memory_cache *cache, size_t more)
{
	unsigned passes = 0;

	while (more > cache->max_bytes || cache_bytes(cache) > cache->max_bytes - more) {
		bool may_spare = passes++ < SPARED_MAX;
		if (cache->queues[SMALL].first &&
		    (cache->queues[SMALL].bytes > cache->max_bytes / SMALL_PART || !cache->queues[MAIN].first))
			small_pass(cache, may_spare);
		else if (cache->queues[MAIN].first)
			main_pass(cache, may_spare);
		else if (cache->queues[GHOST].first)
			item_drop(cache, cache->queues[GHOST].first);
		else
			return false;
	}
	return true;
}

/* A few steps along the queues, so that what is dead leaves even while there is room. */
static void sweep(struct memory_cache *cache)
{
	for (int step = 0; step < SWEEP_STEPS; step++) {
		struct item *item = cache->sweep;
		if (!item) {
			cache->sweep_place = cache->sweep_place == SMALL ? MAIN : SMALL;
			cache->sweep = cache->queues[cache->sweep_place].first;
			continue;
		}
		cache->sweep = item->next;
		if (item_dead(cache, item))
			item_drop(cache, item);
	}
}

/* ---- the interface ---- */

struct memory_cache *memory_cache_create(size_t max_bytes, struct metrics *metrics)
{
	struct memory_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->max_bytes = max_bytes;
	cache->metrics = metrics;
	if (table_init(&cache->items, max_bytes)) {
		free(cache);
		return NULL;
	}
	if (table_init(&cache->names, max_bytes / 64)) {
		table_deinit(&cache->items);
		free(cache);
		return NULL;
	}
	return cache;
}

void memory_cache_destroy(struct memory_cache *cache)
{
	if (!cache)
		return;
	for (int place = 0; place < PLACES; place++)
		while (cache->queues[place].first)
			item_drop(cache, cache->queues[place].first);
	table_deinit(&cache->items);
	table_deinit(&cache->names);
	free(cache);
}

/* Takes back an item that is in no queue yet. Returns `error`. */
static int item_unopen(struct memory_cache *cache, struct item *item, int error)
{
	table_remove(&cache->items, &item->node);
	item_empty(cache, item);
	free(item);
	return error;
}

/* Makes room for an item of `held` bytes besides its own, in place of what is there, and puts it into the table but into no
 * queue yet; `place` is where it belongs. Returns 0, ERROR_TOO_LARGE or ERROR_MEMORY, and then nothing is there. */
static int item_open(struct memory_cache *cache, const struct identity *identity, struct slice namespace, size_t held,
		     struct item **opened, enum place *place)
{
	struct item *old = item_find(cache, identity);
	size_t bytes = held + heap_bytes(sizeof(*old));
	unsigned char asked = 0;

	*place = SMALL;
	if (old) {
		asked = old->place == GHOST ? 0 : old->asked;
		*place = old->place == SMALL ? SMALL : MAIN;
		item_drop(cache, old);
	}
	sweep(cache);
	if (bytes > cache->max_bytes / ITEM_PART || !make_room(cache, bytes))
		return ERROR_TOO_LARGE;
	struct item *item = calloc(1, sizeof(*item));
	struct space *space = item ? space_get(cache, namespace) : NULL;
	if (!space) {
		free(item);
		return ERROR_MEMORY;
	}
	space->items++;
	*item = (struct item){.identity = *identity, .space = space, .bytes = bytes, .asked = asked};
	if (table_add(&cache->items, &item->node, &item->identity, sizeof(item->identity))) {
		item_empty(cache, item);
		free(item);
		return ERROR_MEMORY;
	}
	/* The tables may have grown. The item is in no queue, so it is not among those that make room. */
	if (!make_room(cache, bytes))
		return item_unopen(cache, item, ERROR_TOO_LARGE);
	*opened = item;
	return 0;
}

int memory_cache_put(struct memory_cache *cache, const struct entry *entry)
{
	struct entry plain = *entry;
	struct item *item;
	enum place place;

	plain.vector = NULL;
	plain.dimensions = 0;
	plain.second = NULL;
	plain.second_dimensions = 0;
	int error = item_open(cache, &entry->identity, entry->namespace, heap_bytes(entry_size(&plain)), &item, &place);
	if (error)
		return error;
	struct entry *copy = entry_copy(&plain);
	if (!copy)
		return item_unopen(cache, item, ERROR_MEMORY);
	item->entry = copy;
	item->expires_at_ms = entry->expires_at_ms;
	item->space->entries++;
	cache->entries++;
	queue_add(cache, item, place);
	return 0;
}

int memory_cache_put_alias(struct memory_cache *cache, struct slice namespace, const struct alias *alias,
			   uint64_t expires_at_ms)
{
	struct item *item = item_find(cache, &alias->identity);
	enum place place;

	if (item && item->entry && !item_dead(cache, item))
		return 0;
	int error = item_open(cache, &alias->identity, namespace, heap_bytes(sizeof(*alias)), &item, &place);
	if (error)
		return error;
	item->alias = malloc(sizeof(*alias));
	if (!item->alias)
		return item_unopen(cache, item, ERROR_MEMORY);
	*item->alias = *alias;
	item->expires_at_ms = expires_at_ms;
	queue_add(cache, item, place);
	return 0;
}

/* The item under `identity` if it is alive and not a ghost; what has died leaves. */
static struct item *item_alive(struct memory_cache *cache, const struct identity *identity)
{
	struct item *item = item_find(cache, identity);

	if (!item || item->place == GHOST)
		return NULL;
	if (item_dead(cache, item)) {
		item_drop(cache, item);
		return NULL;
	}
	return item;
}

static void item_asked(struct item *item)
{
	if (item->asked < ASKED_MAX)
		item->asked++;
}

bool memory_cache_get(struct memory_cache *cache, const struct identity *identity, uint64_t now_ms, struct memory_hit *hit)
{
	if (now_ms > cache->now_ms)
		cache->now_ms = now_ms;
	struct item *item = item_alive(cache, identity);
	if (!item)
		return false;
	if (item->entry) {
		item_asked(item);
		*hit = (struct memory_hit){item->entry, NULL};
		return true;
	}
	const struct alias *alias = item->alias;
	struct item *target = item_alive(cache, &alias->entry);
	if (!target || !target->entry || target->entry->created_ms != alias->entry_created_ms ||
	    target->entry->generation != alias->generation) {
		item_drop(cache, item);
		return false;
	}
	item_asked(item);
	item_asked(target);
	*hit = (struct memory_hit){target->entry, alias};
	return true;
}

bool memory_cache_remove(struct memory_cache *cache, const struct identity *identity)
{
	struct item *item = item_alive(cache, identity);

	if (!item)
		return false;
	item_drop(cache, item);
	return true;
}

size_t memory_cache_flush(struct memory_cache *cache, struct slice namespace)
{
	size_t count = 0;

	if (namespace.data) {
		struct space *space = space_find(cache, namespace);
		return space ? space_kill(cache, space) : 0;
	}
	while (cache->spaces)
		count += space_kill(cache, cache->spaces);
	return count;
}

struct walk {
	const struct memory_cache *cache;
	size_t left;
	bool (*each)(void *data, const struct entry *entry);
	void *data;
};

static bool walk_step(void *data, struct table_node *node)
{
	struct walk *walk = data;
	const struct item *item = (const struct item *)(const void *)node;

	if (!item->entry || item_dead(walk->cache, item))
		return true;
	if (walk->left == 0)
		return false;
	walk->left--;
	return walk->each(walk->data, item->entry) && walk->left > 0;
}

void memory_cache_walk(struct memory_cache *cache, const struct identity *after, size_t limit,
		       bool (*each)(void *data, const struct entry *entry), void *data)
{
	struct walk walk = {cache, limit, each, data};

	table_walk(&cache->items, after, sizeof(*after), walk_step, &walk);
}

size_t memory_cache_bytes(const struct memory_cache *cache, size_t *entries)
{
	if (entries)
		*entries = cache->entries;
	return cache_bytes(cache);
}
