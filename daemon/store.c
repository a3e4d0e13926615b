/* All goes well: both connections come up, reads and the queue of writes run on their own. What can go wrong is told here
 * by the connections: the one for reads decides about the part, because only it is waited for. */
#include "store_private.h"

#include "clock.h"
#include "config.h"
#include "log.h"
#include "metrics.h"
#include "part.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define IDLE_TICK_MS 60000

/* ---- generations ---- */

uint64_t store_random(void)
{
	uint64_t value = 0;

	while (value == 0)
		if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
			value = 0;
	return value;
}

struct space *space_find(const struct store *store, struct slice namespace)
{
	struct space *space;

	HASH_FIND(hh, store->spaces, namespace.data, namespace.length, space);
	return space;
}

/* Callers choose the names of namespaces, so what is remembered of them is bounded. One whose flush is not in Redis yet
 * stays: the queue bounds those. */
static void forget_oldest(struct store *store)
{
	struct space *space, *next;

	HASH_ITER (hh, store->spaces, space, next) {
		if (space->flushes > 0 || space == store->verified_space)
			continue;
		HASH_DEL(store->spaces, space);
		free(space);
		return;
	}
}

struct space *space_get(struct store *store, struct slice namespace)
{
	struct space *space = space_find(store, namespace);

	if (space || namespace.length == 0 || namespace.length >= STORE_NAMESPACE)
		return space;
	if (HASH_COUNT(store->spaces) >= STORE_SPACES)
		forget_oldest(store);
	space = calloc(1, sizeof(*space));
	if (!space)
		return NULL;
	memcpy(space->name, namespace.data, namespace.length);
	space->length = (unsigned)namespace.length;
	HASH_ADD_KEYPTR(hh, store->spaces, space->name, space->length, space);
	if (!space_find(store, namespace)) {
		free(space);
		return NULL;
	}
	return space;
}

/* Our own flush counts from the moment it was asked for, and an answer that was on its way when it, or another daemon's,
 * became known says nothing about now. */
uint64_t space_heard(struct store *store, struct slice namespace, uint64_t generation, uint64_t turn)
{
	struct space *space = space_get(store, namespace);

	if (!space)
		return generation;
	if (space->flushes > 0 || space->changed > turn)
		return space->generation;
	if (generation)
		space->generation = generation;
	return generation;
}

void space_made(struct store *store, struct slice namespace, uint64_t generation)
{
	struct space *space = space_get(store, namespace);

	if (!space)
		return;
	space->previous = space->generation;
	space->made = generation;
}

uint64_t store_generation(const struct store *store, struct slice namespace)
{
	const struct space *space = space_find(store, namespace);

	return space ? space->generation : 0;
}

void store_set_generation(struct store *store, struct slice namespace, uint64_t generation)
{
	struct space *space = space_get(store, namespace);

	if (!space || space->flushes > 0 || !generation)
		return;
	space->generation = generation;
	space->inherited = 0;
	space->changed = ++store->turn;
}

/* ---- removed identities ---- */

static uint64_t *mark_of(const struct store *store, const struct identity *identity)
{
	uint32_t hash;

	/* An identity is a digest: any part of it is as good as a hash. */
	memcpy(&hash, identity->bytes, sizeof(hash));
	return &store->marks[hash % STORE_MARKS];
}

void store_mark_removing(struct store *store, const struct identity *identity)
{
	*mark_of(store, identity) = UINT64_MAX;
}

void store_mark_removed(struct store *store, const struct identity *identity)
{
	*mark_of(store, identity) = ++store->turn;
}

bool store_removed_since(const struct store *store, const struct identity *identity, uint64_t turn)
{
	return *mark_of(store, identity) > turn;
}

/* ---- what Redis refuses ---- */

void store_complain(struct store *store, const char *what, const char *error)
{
	uint64_t now_ms = deadlines_now_ms(store->deadlines);
	char text[120];

	store->complaints++;
	if (store->complained_ms && now_ms - store->complained_ms < 1000)
		return;
	log_write(store->log, LOG_LEVEL_WARNING, "redis_refuses what=%s times=%llu error=\"%s\"", what,
		  (unsigned long long)store->complaints, log_quotable(text, sizeof(text), error));
	store->complained_ms = now_ms;
	store->complaints = 0;
}

/* ---- connections ---- */

static void reads_up(void *data)
{
	struct store *store = data;

	part_succeeded(store->part, deadlines_now_ms(store->deadlines));
	asks_send(store);
}

static void reads_alive(void *data)
{
	struct store *store = data;

	part_succeeded(store->part, deadlines_now_ms(store->deadlines));
}

static void reads_down(void *data, enum redis_loss loss, const char *error)
{
	struct store *store = data;
	uint64_t now_ms = deadlines_now_ms(store->deadlines);

	if (loss == REDIS_REFUSED)
		part_down(store->part, error, now_ms);
	else
		(void)part_failed(store->part, error, now_ms);
	if (part_up(store->part))
		return;
	writes_wake(store);
	asks_unavailable(store);
}

static void on_writes_up(void *data)
{
	writes_up(data);
}

static void on_writes_down(void *data, enum redis_loss loss, const char *error)
{
	(void)loss;
	(void)error;
	writes_lost(data);
}

static const struct redis_events reads_events = {.up = reads_up, .down = reads_down, .alive = reads_alive};
static const struct redis_events writes_events = {.up = on_writes_up, .down = on_writes_down};

/* The soonest of all deadlines of reads and writes: each list is in order, so its first is looked at only. */
static void arm(struct store *store)
{
	uint64_t now_ms = deadlines_now_ms(store->deadlines);
	uint64_t at_ms = writes_due(store);

	if (store->asks && store->asks->due_ms < at_ms)
		at_ms = store->asks->due_ms;
	uint64_t in_ms = at_ms > now_ms ? at_ms - now_ms : 0;
	int error = deadline_start(store->deadlines, &store->tick, in_ms < IDLE_TICK_MS ? in_ms : IDLE_TICK_MS);
	assert(error == 0);
	(void)error;
}

void store_arm(struct store *store, uint64_t at_ms)
{
	if (store->tick.at_ms > at_ms)
		arm(store);
}

static void on_tick(struct deadline *tick)
{
	struct store *store = (struct store *)(void *)((char *)tick - offsetof(struct store, tick));
	uint64_t now_ms = deadlines_now_ms(store->deadlines);

	/* First of all, while its place in the heap is certainly free; moved when the lists are known again. */
	(void)deadline_start(store->deadlines, &store->tick, IDLE_TICK_MS);
	asks_expire(store, now_ms);
	writes_expire(store, now_ms);
	arm(store);
}

/* ---- life ---- */

static uint64_t longest_of(const struct config *config)
{
	uint64_t longest_s = config->embedder.cache_ttl;

	for (size_t i = 0; i < config->namespace_count; i++) {
		const struct config_namespace *namespace = &config->namespaces[i];
		if (namespace->ttl + namespace->stale_window > longest_s)
			longest_s = namespace->ttl + namespace->stale_window;
		if (namespace->alias_ttl > longest_s)
			longest_s = namespace->alias_ttl;
	}
	return longest_s * 1000;
}

static void on_pump_closed(uv_handle_t *handle)
{
	free(handle);
}

static void release(struct store *store)
{
	struct space *space, *next;

	deadline_stop(store->deadlines, &store->tick);
	HASH_ITER (hh, store->spaces, space, next) {
		HASH_DEL(store->spaces, space);
		free(space);
	}
	if (store->pump)
		uv_close((uv_handle_t *)store->pump, on_pump_closed);
	hasher_destroy(store->hasher);
	free(store->marks);
	forms_destroy(store);
	free(store->prefix);
	free(store);
}

static bool make_parts(struct store *store, const struct config *config)
{
	store->prefix = strdup(config->redis.prefix);
	store->marks = calloc(STORE_MARKS, sizeof(*store->marks));
	store->hasher = hasher_create(config->server.max_message_bytes + 1024);
	store->pump = calloc(1, sizeof(*store->pump));
	if (!store->pump)
		return false;
	(void)uv_idle_init(store->loop, store->pump);
	store->pump->data = store;
	if (!store->prefix || !store->marks || !store->hasher ||
	    deadline_start(store->deadlines, &store->tick, IDLE_TICK_MS) != 0)
		return false;
	store->prefix_length = strlen(store->prefix);
	return forms_create(store) == 0;
}

struct store *store_create(struct uv_loop_s *loop, struct deadlines *deadlines, const struct config *config,
			   const char *embedder8, unsigned dimensions, const struct store_events *events, void *data,
			   struct part *part, struct metrics *metrics, const struct log *log)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	*store = (struct store){
		.loop = loop,
		.deadlines = deadlines,
		.part = part,
		.metrics = metrics,
		.log = log,
		.dimensions = dimensions,
		.events = events,
		.events_data = data,
		.timeout_ms = config->redis.timeout_ms,
		.max_bytes = config->server.max_message_bytes,
		.queue_bytes = config->redis.write_queue_bytes,
		.longest_ms = longest_of(config),
		.origin = store_random(),
		.tick = {.expired = on_tick},
	};
	size_t length = strlen(embedder8);
	if (length < sizeof(store->embedder8))
		memcpy(store->embedder8, embedder8, length);
	if (!make_parts(store, config)) {
		release(store);
		return NULL;
	}
	store->reads = redis_create(loop, deadlines, config, "redis reads", &reads_events, store, log);
	store->writes = redis_create(loop, deadlines, config, "redis writes", &writes_events, store, log);
	if (!store->reads || !store->writes) {
		store_destroy(store);
		return NULL;
	}
	return store;
}

int store_set_second(struct store *store, const char *embedder8, unsigned dimensions)
{
	size_t length = strlen(embedder8);

	if (length < sizeof(store->second8))
		memcpy(store->second8, embedder8, length);
	store->second_dimensions = dimensions;
	forms_destroy(store);
	return forms_create(store);
}

void store_destroy(struct store *store)
{
	if (!store)
		return;
	asks_drop(store);
	writes_drop(store);
	/* Pending commands get NULL replies now, which free the asks and jobs that are over. */
	redis_destroy(store->reads);
	redis_destroy(store->writes);
	writes_free(store);
	assert(store->ask_count == 0);
	release(store);
}

void store_set_dimensions(struct store *store, unsigned dimensions)
{
	store->dimensions = dimensions;
}

uint64_t store_origin(const struct store *store)
{
	return store->origin;
}
