/* The memory tier: what it keeps, what leaves and in which order, and that its bytes never exceed their maximum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/memory_cache.h"
#include "daemon/metrics.h"

#define FAR UINT64_C(1000000000)

static struct identity identity_of_number(uint64_t number)
{
	struct identity identity = {{0}};

	memcpy(identity.bytes, &number, sizeof(number));
	return identity;
}

static char filling[1 << 20];

static struct entry entry_of(uint64_t number, size_t answer, uint64_t expires_at_ms)
{
	return (struct entry){.identity = identity_of_number(number),
			      .namespace = SLICE("default"),
			      .question = SLICE("q"),
			      .answer = {filling, answer},
			      .created_ms = number,
			      .generation = 1,
			      .expires_at_ms = expires_at_ms};
}

static int put(struct memory_cache *cache, uint64_t number, size_t answer)
{
	struct entry entry = entry_of(number, answer, FAR);

	return memory_cache_put(cache, &entry);
}

static bool get(struct memory_cache *cache, uint64_t number, uint64_t now_ms)
{
	struct identity identity = identity_of_number(number);
	struct memory_hit hit;

	if (!memory_cache_get(cache, &identity, now_ms, &hit))
		return false;
	assert_non_null(hit.entry);
	if (!hit.alias)
		assert_memory_equal(&hit.entry->identity, &identity, sizeof(identity));
	return true;
}

static bool drop(struct memory_cache *cache, uint64_t number)
{
	struct identity identity = identity_of_number(number);

	return memory_cache_remove(cache, &identity);
}

static struct alias alias_of(uint64_t number, uint64_t target)
{
	return (struct alias){.identity = identity_of_number(number),
			      .entry = identity_of_number(target),
			      .entry_created_ms = target,
			      .generation = 1,
			      .similarity = 0.93};
}

static size_t entries_of(const struct memory_cache *cache)
{
	size_t entries;

	(void)memory_cache_bytes(cache, &entries);
	return entries;
}

struct fixture {
	struct metrics metrics;
	struct memory_cache *cache;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->cache = memory_cache_create(1 << 20, &f->metrics);
	*state = f;
	return f->cache ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	memory_cache_destroy(f->cache);
	free(f);
	return 0;
}

static void an_entry_is_found_until_it_expires(void **state)
{
	struct fixture *f = *state;
	struct entry entry = entry_of(1, 10, 100);

	assert_int_equal(memory_cache_put(f->cache, &entry), 0);
	assert_true(get(f->cache, 1, 0));
	assert_true(get(f->cache, 1, 99));
	assert_int_equal(entries_of(f->cache), 1);
	assert_false(get(f->cache, 1, 100));
	assert_int_equal(entries_of(f->cache), 0);
	assert_false(get(f->cache, 2, 0));
	assert_int_equal(f->metrics.memory_evictions, 0);
}

static void the_vector_is_left_out(void **state)
{
	struct fixture *f = *state;
	const float vector[2] = {1, 0};
	struct entry entry = entry_of(1, 10, FAR);
	struct memory_hit hit;

	entry.vector = vector;
	entry.dimensions = 2;
	assert_int_equal(memory_cache_put(f->cache, &entry), 0);
	assert_true(memory_cache_get(f->cache, &entry.identity, 0, &hit));
	assert_null(hit.entry->vector);
	assert_int_equal(hit.entry->dimensions, 0);
}

static void a_second_put_replaces_the_first(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_of_number(1);
	struct memory_hit hit;

	assert_int_equal(put(f->cache, 1, 10), 0);
	assert_int_equal(put(f->cache, 1, 20), 0);
	assert_true(memory_cache_get(f->cache, &identity, 0, &hit));
	assert_int_equal(hit.entry->answer.length, 20);
	assert_int_equal(entries_of(f->cache), 1);
	assert_true(drop(f->cache, 1));
	assert_false(drop(f->cache, 1));
	assert_false(get(f->cache, 1, 0));
}

static void what_is_too_large_is_not_kept_nor_is_what_it_replaces(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f->cache, 1, 10), 0);
	assert_int_equal(put(f->cache, 1, 1 << 17), ERROR_TOO_LARGE);
	assert_false(get(f->cache, 1, 0));
	assert_int_equal(put(f->cache, 2, 100000), 0);
	assert_true(get(f->cache, 2, 0));
}

static void a_cache_of_nothing_keeps_nothing(void **state)
{
	struct fixture *f = *state;
	struct memory_cache *cache = memory_cache_create(0, &f->metrics);

	assert_non_null(cache);
	assert_int_equal(put(cache, 1, 10), ERROR_TOO_LARGE);
	assert_false(get(cache, 1, 0));
	memory_cache_destroy(cache);
	memory_cache_destroy(NULL);
}

/* One pass over ten times the memory must not drive out what is asked for again and again. */
static void a_scan_does_not_drive_out_what_is_used(void **state)
{
	struct fixture *f = *state;
	uint64_t next = 1000;

	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(put(f->cache, i, 1000), 0);
	for (uint64_t round = 0; round < 10; round++) {
		for (uint64_t i = 0; i < 100; i++)
			assert_true(get(f->cache, i, 0));
		for (int k = 0; k < 700; k++)
			assert_int_equal(put(f->cache, next++, 1000), 0);
	}
	for (uint64_t i = 0; i < 100; i++)
		assert_true(get(f->cache, i, 0));
	assert_true(f->metrics.memory_evictions > 5000);
}

/* Puts until something was evicted, all never asked for: they leave in the order in which they came. */
static void what_was_never_asked_for_leaves_in_order(void **state)
{
	struct fixture *f = *state;
	uint64_t count = 0, first_there = 0;

	while (f->metrics.memory_evictions < 50)
		assert_int_equal(put(f->cache, count++, 1000), 0);
	struct identity identity;
	struct memory_hit hit;
	for (identity = identity_of_number(0); !memory_cache_get(f->cache, &identity, 0, &hit);
	     identity = identity_of_number(++first_there))
		;
	assert_int_equal(first_there, f->metrics.memory_evictions);
	for (uint64_t i = first_there; i < count; i++)
		assert_true(get(f->cache, i, 0));
}

/* A ghost that is put again goes to the main queue: it then survives newer ones that were never asked for. */
static void what_comes_back_soon_stays_longer(void **state)
{
	struct fixture *f = *state;

	/* The main queue is full of others, so the small one is kept at its tenth: some 75 of these. */
	for (uint64_t i = 0; i < 2000; i++) {
		assert_int_equal(put(f->cache, i, 1000), 0);
		assert_true(get(f->cache, i, 0));
	}
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(put(f->cache, 10000 + i, 1000), 0);
	assert_false(get(f->cache, 10100, 0));
	assert_int_equal(put(f->cache, 10100, 1000), 0);
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(put(f->cache, 20000 + i, 1000), 0);
	assert_true(get(f->cache, 10100, 0));
	assert_false(get(f->cache, 10199, 0));
	assert_false(get(f->cache, 20000, 0));
}

static void flush_makes_a_namespace_unfindable_at_once(void **state)
{
	struct fixture *f = *state;
	struct alias alias = alias_of(500, 1);

	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(put(f->cache, i, 10), 0);
	assert_int_equal(memory_cache_put_alias(f->cache, SLICE("default"), &alias, FAR), 0);
	struct entry other = entry_of(100, 10, FAR);
	other.namespace = SLICE("other");
	assert_int_equal(memory_cache_put(f->cache, &other), 0);
	assert_int_equal(memory_cache_flush(f->cache, SLICE("default")), 21);
	assert_int_equal(entries_of(f->cache), 1);
	assert_int_equal(memory_cache_flush(f->cache, SLICE("default")), 0);
	for (uint64_t i = 0; i < 10; i++)
		assert_false(get(f->cache, i, 0));
	assert_false(get(f->cache, 500, 0));
	assert_true(get(f->cache, 100, 0));
	/* The same namespace is usable at once. */
	assert_int_equal(put(f->cache, 3, 10), 0);
	assert_true(get(f->cache, 3, 0));
	assert_false(get(f->cache, 12, 0));
	assert_int_equal(entries_of(f->cache), 2);
	assert_int_equal(memory_cache_flush(f->cache, (struct slice){NULL, 0}), 2);
	assert_int_equal(entries_of(f->cache), 0);
	assert_false(get(f->cache, 100, 0));
}

static void what_was_flushed_or_expired_is_freed_as_others_come(void **state)
{
	struct fixture *f = *state;
	size_t empty = memory_cache_bytes(f->cache, NULL);

	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(put(f->cache, i, 1000), 0);
	memory_cache_flush(f->cache, SLICE("default"));
	for (uint64_t i = 0; i < 200; i++) {
		struct entry entry = entry_of(1000 + i, 1000, 50);
		assert_int_equal(memory_cache_put(f->cache, &entry), 0);
	}
	assert_false(get(f->cache, 1000, 60));
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(put(f->cache, 5000, 10), 0);
	/* Only the last one, and the table's shards. */
	assert_true(memory_cache_bytes(f->cache, NULL) < empty + 20000);
	assert_int_equal(entries_of(f->cache), 1);
	assert_int_equal(f->metrics.memory_evictions, 0);
}

static void an_alias_leads_to_its_entry(void **state)
{
	struct fixture *f = *state;
	struct alias alias = alias_of(2, 1);
	struct memory_hit hit;

	assert_int_equal(put(f->cache, 1, 10), 0);
	assert_int_equal(memory_cache_put_alias(f->cache, SLICE("default"), &alias, 100), 0);
	assert_int_equal(entries_of(f->cache), 1);
	assert_true(memory_cache_get(f->cache, &alias.identity, 99, &hit));
	assert_int_equal(hit.entry->created_ms, 1);
	assert_non_null(hit.alias);
	assert_true(hit.alias->similarity == 0.93);
	assert_false(memory_cache_get(f->cache, &alias.identity, 100, &hit));
	assert_true(get(f->cache, 1, 100));
}

static void assert_alias_dead(struct memory_cache *cache, const struct alias *alias)
{
	struct memory_hit hit;

	assert_int_equal(memory_cache_put_alias(cache, SLICE("default"), alias, FAR), 0);
	assert_false(memory_cache_get(cache, &alias->identity, 0, &hit));
	/* It was removed, so there is nothing left to remove. */
	assert_false(memory_cache_remove(cache, &alias->identity));
}

static void an_alias_dies_with_its_entry(void **state)
{
	struct fixture *f = *state;
	struct alias alias = alias_of(2, 1);
	struct memory_hit hit;

	assert_alias_dead(f->cache, &alias); /* no such entry */
	assert_int_equal(put(f->cache, 1, 10), 0);
	alias.entry_created_ms = 99;
	assert_alias_dead(f->cache, &alias); /* made at another time */
	alias.entry_created_ms = 1;
	alias.generation = 2;
	assert_alias_dead(f->cache, &alias); /* of another generation */
	alias = alias_of(2, 2);
	assert_alias_dead(f->cache, &alias); /* of itself */
	alias = alias_of(2, 1);
	assert_int_equal(memory_cache_put_alias(f->cache, SLICE("default"), &alias, FAR), 0);
	assert_true(memory_cache_get(f->cache, &alias.identity, 0, &hit));
	assert_true(drop(f->cache, 1));
	assert_false(memory_cache_get(f->cache, &alias.identity, 0, &hit));
	struct entry brief = entry_of(1, 10, 50);
	assert_int_equal(memory_cache_put(f->cache, &brief), 0);
	assert_int_equal(memory_cache_put_alias(f->cache, SLICE("default"), &alias, FAR), 0);
	assert_true(memory_cache_get(f->cache, &alias.identity, 49, &hit));
	assert_false(memory_cache_get(f->cache, &alias.identity, 50, &hit));
	assert_int_equal(entries_of(f->cache), 0);
}

static void an_entry_of_its_own_is_not_replaced_by_an_alias(void **state)
{
	struct fixture *f = *state;
	struct alias alias = alias_of(2, 1);
	struct memory_hit hit;

	assert_int_equal(put(f->cache, 1, 10), 0);
	assert_int_equal(put(f->cache, 2, 10), 0);
	assert_int_equal(memory_cache_put_alias(f->cache, SLICE("default"), &alias, FAR), 0);
	assert_true(memory_cache_get(f->cache, &alias.identity, 0, &hit));
	assert_null(hit.alias);
}

struct walked {
	uint64_t numbers[256];
	size_t count, stop;
};

static bool walk(void *data, const struct entry *entry)
{
	struct walked *walked = data;

	walked->numbers[walked->count++] = entry->created_ms;
	return walked->count != walked->stop;
}

static void a_walk_in_pages_meets_each_entry_once(void **state)
{
	struct fixture *f = *state;
	struct memory_cache *cache = memory_cache_create(64 << 20, &f->metrics);
	struct walked walked = {.count = 0};
	struct identity after;
	bool seen[100] = {false};

	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(put(cache, i, 10), 0);
	struct alias alias = alias_of(1000, 1);
	assert_int_equal(memory_cache_put_alias(cache, SLICE("default"), &alias, FAR), 0);
	for (size_t total = 0; total < 100; total = walked.count) {
		memory_cache_walk(cache, total ? &after : NULL, 7, walk, &walked);
		assert_true(walked.count > total && walked.count <= total + 7);
		after = identity_of_number(walked.numbers[walked.count - 1]);
		/* Where a page ended is remembered even if that entry goes. */
		assert_true(drop(cache, walked.numbers[walked.count - 1]));
	}
	assert_int_equal(walked.count, 100);
	for (size_t i = 0; i < 100; i++) {
		assert_false(seen[walked.numbers[i]]);
		seen[walked.numbers[i]] = true;
	}
	memory_cache_walk(cache, &after, 7, walk, &walked);
	assert_int_equal(walked.count, 100);
	memory_cache_destroy(cache);
}

static void a_walk_stops_when_it_is_told(void **state)
{
	struct fixture *f = *state;
	struct walked walked = {.stop = 3};

	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(put(f->cache, i, 10), 0);
	memory_cache_walk(f->cache, NULL, 100, walk, &walked);
	assert_int_equal(walked.count, 3);
	memory_cache_walk(f->cache, NULL, 0, walk, &walked);
	assert_int_equal(walked.count, 3);
}

/* What a cache without any bound would say. */
struct model {
	bool there, alias;
	uint64_t target, expires_at_ms;
	size_t answer;
	unsigned space;
};

#define KEYS 600

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static struct slice space_name(unsigned space)
{
	static const char *const names[] = {"a", "b", "a-longer-name"};

	return slice_of(names[space]);
}

static void random_put(struct memory_cache *cache, struct model *model, uint64_t key, uint64_t now_ms, uint64_t *seed)
{
	size_t answer = random_next(seed) % 20 == 0 ? random_next(seed) % 40000 : random_next(seed) % 2000;
	struct entry entry = entry_of(key, answer, now_ms + 1 + random_next(seed) % 3000);
	unsigned space = (unsigned)(random_next(seed) % 3);

	entry.namespace = space_name(space);
	model[key] = (struct model){.there = memory_cache_put(cache, &entry) == 0,
				    .expires_at_ms = entry.expires_at_ms,
				    .answer = answer,
				    .space = space};
}

static void random_get(struct memory_cache *cache, struct model *model, uint64_t key, uint64_t now_ms)
{
	struct identity identity = identity_of_number(key);
	struct memory_hit hit;

	if (!memory_cache_get(cache, &identity, now_ms, &hit))
		return;
	/* It may have forgotten, but what it remembers must be what was put. */
	assert_true(model[key].there);
	assert_true(model[key].expires_at_ms > now_ms);
	if (model[key].alias) {
		assert_non_null(hit.alias);
		key = model[key].target;
		assert_true(model[key].there && !model[key].alias && model[key].expires_at_ms > now_ms);
	}
	assert_int_equal(hit.entry->created_ms, key);
	assert_int_equal(hit.entry->answer.length, model[key].answer);
	assert_memory_equal(hit.entry->answer.data, filling, model[key].answer);
}

static void random_operations_agree_with_a_model(void **state)
{
	static const size_t sizes[] = {3000, 40000, 300000, 2000000};
	struct fixture *f = *state;
	uint64_t seed = 88172645463325252u;

	for (size_t i = 0; i < sizeof(filling); i++)
		filling[i] = (char)random_next(&seed);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct memory_cache *cache = memory_cache_create(sizes[s], &f->metrics);
		struct model model[KEYS] = {{.there = false}};
		size_t empty = memory_cache_bytes(cache, NULL);
		for (uint64_t now_ms = 0; now_ms < 30000; now_ms++) {
			uint64_t key = random_next(&seed) % (random_next(&seed) % 2 ? KEYS : 40);
			unsigned what = (unsigned)(random_next(&seed) % 100);
			if (what < 40) {
				random_put(cache, model, key, now_ms, &seed);
			} else if (what < 45) {
				struct alias alias = alias_of(key, random_next(&seed) % KEYS);
				if (!model[key].there || model[key].alias)
					model[key] = (struct model){.there = memory_cache_put_alias(cache, space_name(0),
												    &alias,
												    now_ms + 500) == 0,
								    .alias = true,
								    .target = *(uint64_t *)(void *)alias.entry.bytes,
								    .expires_at_ms = now_ms + 500};
			} else if (what < 47) {
				(void)drop(cache, key);
				model[key].there = false;
			} else if (what < 48 && random_next(&seed) % 20 == 0) {
				unsigned space = (unsigned)(random_next(&seed) % 3);
				(void)memory_cache_flush(cache, space_name(space));
				for (size_t i = 0; i < KEYS; i++)
					if (model[i].space == space)
						model[i].there = false;
			} else {
				random_get(cache, model, key, now_ms);
			}
			assert_true(memory_cache_bytes(cache, NULL) <= (sizes[s] > empty ? sizes[s] : empty));
		}
		memory_cache_destroy(cache);
	}
}

/* With room for everything nothing is forgotten. */
static void nothing_is_forgotten_while_there_is_room(void **state)
{
	struct fixture *f = *state;
	struct memory_cache *cache = memory_cache_create(256 << 20, &f->metrics);

	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(put(cache, i, 100), 0);
	for (uint64_t i = 0; i < 100000; i++)
		assert_true(get(cache, i, 0));
	assert_int_equal(entries_of(cache), 100000);
	assert_int_equal(f->metrics.memory_evictions, 0);
	memory_cache_destroy(cache);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(an_entry_is_found_until_it_expires),
		TEST(the_vector_is_left_out),
		TEST(a_second_put_replaces_the_first),
		TEST(what_is_too_large_is_not_kept_nor_is_what_it_replaces),
		TEST(a_cache_of_nothing_keeps_nothing),
		TEST(a_scan_does_not_drive_out_what_is_used),
		TEST(what_was_never_asked_for_leaves_in_order),
		TEST(what_comes_back_soon_stays_longer),
		TEST(flush_makes_a_namespace_unfindable_at_once),
		TEST(what_was_flushed_or_expired_is_freed_as_others_come),
		TEST(an_alias_leads_to_its_entry),
		TEST(an_alias_dies_with_its_entry),
		TEST(an_entry_of_its_own_is_not_replaced_by_an_alias),
		TEST(a_walk_in_pages_meets_each_entry_once),
		TEST(a_walk_stops_when_it_is_told),
		TEST(random_operations_agree_with_a_model),
		TEST(nothing_is_forgotten_while_there_is_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
