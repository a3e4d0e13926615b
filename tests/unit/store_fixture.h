/* A store on a real Redis, and reads, writes and removals that are waited for. */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include "redis_fixture.h"

#include "daemon/clock.h"
#include "daemon/store.h"
#include "proto/error.h"

#define EMBEDDER "0123456789abcdef"
#define DIMENSIONS 4

static const float unit[DIMENSIONS] = {0.5f, -0.5f, 0.5f, 0.5f};

struct fixture {
	struct world world;
	struct store *store;
	struct hasher *hasher;
	unsigned removed;
	struct identity last_removed;
};

static inline void on_removed(void *data, struct slice namespace, const struct identity *identity)
{
	struct fixture *f = data;

	assert_true(namespace.length > 0);
	f->removed++;
	f->last_removed = *identity;
}

static const struct store_events events = {.removed = on_removed, .alias_removed = on_removed};

static inline struct store *new_store(struct fixture *f)
{
	struct world *world = &f->world;
	struct store *store = store_create(&world->loop, world->deadlines, &world->config, EMBEDDER, DIMENSIONS, &events, f,
					   &world->part, &world->metrics, &world->log);

	assert_non_null(store);
	return store;
}

/* A Redis that is not started yet. */
static inline int setup_away(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	world_init(&f->world);
	f->hasher = hasher_create(4096);
	assert_non_null(f->hasher);
	*state = f;
	return 0;
}

static inline int setup(void **state)
{
	(void)setup_away(state);
	struct fixture *f = *state;
	server_start(&f->world);
	f->store = new_store(f);
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	store_destroy(f->store);
	world_deinit(&f->world);
	hasher_destroy(f->hasher);
	free(f);
	return 0;
}

/* ---- reads and writes that are waited for ---- */

struct reading {
	struct store_read read;
	bool done;
	int error;
};

static inline void on_read(struct store_read *read, int error)
{
	struct reading *reading = read->data;

	reading->done = true;
	reading->error = error;
}

static inline void reading_init(struct reading *reading)
{
	*reading = (struct reading){.read = {.done = on_read, .data = reading}};
}

static inline void reading_free(struct reading *reading)
{
	entry_destroy(reading->read.entry);
	free(reading->read.vector);
}

static inline void find(struct fixture *f, struct reading *reading, const char *namespace, const struct identity *identity)
{
	reading_init(reading);
	assert_int_equal(store_find(f->store, &reading->read, slice_of(namespace), identity), 0);
	assert_false(reading->done);
	run_until(&f->world, &reading->done);
}

static inline bool is_there(struct fixture *f, const char *namespace, const struct identity *identity)
{
	struct reading reading;

	find(f, &reading, namespace, identity);
	assert_int_equal(reading.error, 0);
	bool there = reading.read.entry != NULL;
	reading_free(&reading);
	return there;
}

struct writing {
	struct store_write write;
	bool done;
	int error;
};

static inline void on_written(struct store_write *write, int error)
{
	struct writing *writing = write->data;

	assert_false(writing->done);
	writing->done = true;
	writing->error = error;
}

static inline void writing_init(struct writing *writing)
{
	*writing = (struct writing){.write = {.done = on_written, .data = writing}};
}

static inline struct identity identity_at(unsigned n)
{
	struct identity identity = {{0}};

	for (size_t i = 0; i < sizeof(identity.bytes); i++)
		identity.bytes[i] = (unsigned char)(n * 131 + i * 17 + n / 256);
	identity.bytes[0] = (unsigned char)n;
	identity.bytes[1] = (unsigned char)(n >> 8);
	return identity;
}

static inline struct identity digest_of(struct fixture *f, const char *namespace, struct slice text)
{
	struct slice texts[] = {slice_of(namespace), text};
	struct identity digest;

	assert_int_equal(identity_digest(f->hasher, texts, 2, &digest), 0);
	return digest;
}

static inline struct entry entry_at(struct fixture *f, unsigned n, const char *namespace, const char *question,
				    uint64_t ttl_ms)
{
	uint64_t now_ms = uv_now(&f->world.loop);

	return (struct entry){
		.identity = identity_at(n),
		.scope = identity_at(7777),
		.compared = true,
		.generation = store_generation(f->store, slice_of(namespace)),
		.created_ms = clock_wall_ms(),
		.soft_ms = ttl_ms,
		.expire_ms = ttl_ms,
		.created_at_ms = now_ms,
		.fresh_until_at_ms = now_ms + ttl_ms,
		.expires_at_ms = now_ms + ttl_ms,
		.namespace = slice_of(namespace),
		.question = slice_of(question),
		.answer = SLICE("an answer"),
		.model = SLICE("model"),
		.finish_reason = SLICE("stop"),
		.tags = SLICE("red blue"),
		.vector = unit,
		.dimensions = DIMENSIONS,
	};
}

static inline int put(struct fixture *f, const struct entry *entry)
{
	struct writing writing;

	writing_init(&writing);
	assert_int_equal(store_put_entry(f->store, &writing.write, entry), 0);
	assert_false(writing.done);
	run_until(&f->world, &writing.done);
	return writing.error;
}

static inline bool has_written_all(void *data)
{
	struct fixture *f = data;
	size_t writes;

	(void)store_queue(f->store, &writes);
	return writes == 0;
}

static inline void add(struct fixture *f, unsigned n, const char *namespace, const char *question)
{
	struct entry entry = entry_at(f, n, namespace, question, 60000);
	int error = put(f, &entry);

	/* Queued, if the store's connection was not there: a slow machine may lose it, and a test that cut it goes on at
	 * once. */
	assert_true(error == 0 || error == ERROR_PENDING);
	run_while_not(&f->world, has_written_all, f);
}

static inline void add_alias(struct fixture *f, unsigned n, unsigned target, const char *namespace, const char *text)
{
	struct reading reading;
	struct writing writing;
	struct identity of = identity_at(target), digest = digest_of(f, namespace, slice_of(text));

	find(f, &reading, namespace, &of);
	assert_non_null(reading.read.entry);
	struct alias alias = {
		.identity = identity_at(n),
		.entry = of,
		.entry_created_ms = reading.read.entry->created_ms,
		.generation = reading.read.generation,
		.similarity = 0.987654321,
		.score = 0.95,
		.kind = ALIAS_PROMOTED,
		.embedder = EMBEDDER,
		.expire_ms = 30000,
	};
	reading_free(&reading);
	writing_init(&writing);
	assert_int_equal(store_put_alias(f->store, &writing.write, slice_of(namespace), &alias, &digest), 0);
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, 0);
}

static inline void removal(struct fixture *f, struct writing *writing, const struct store_selector *selector)
{
	writing_init(writing);
	assert_int_equal(store_remove(f->store, &writing->write, selector), 0);
	assert_false(writing->done);
	run_until(&f->world, &writing->done);
}

static inline void flush(struct fixture *f, const char *namespace, struct writing *writing)
{
	struct store_selector selector = {.namespace = slice_of(namespace)};

	removal(f, writing, &selector);
}

#endif
