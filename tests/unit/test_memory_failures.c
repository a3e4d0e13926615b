/* Every allocation of the memory tier and the index fails once, one after the other: each is told as ERROR_MEMORY (or NULL),
 * nothing is lost or leaked, and what was there before still works. Linked so that the allocations of our own objects, and
 * only those, come here first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "daemon/index.h"
#include "daemon/memory_cache.h"
#include "daemon/metrics.h"

#define FAR UINT64_C(1000000000)

static struct {
	size_t until; /* the allocation that fails, from 1; 0 = none */
	size_t failed;
} fault;

static bool fails(void)
{
	if (fault.until == 0 || --fault.until > 0)
		return false;
	fault.failed++;
	return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
	return fails() ? NULL : __real_realloc(pointer, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

/* Runs `scenario` with its first, second, … allocation failing, until it makes fewer allocations than that. */
static void fail_each(void (*scenario)(void))
{
	size_t at = 0;

	do {
		fault.failed = 0;
		fault.until = ++at;
		scenario();
	} while (fault.failed);
	fault.until = 0;
	/* It must have allocated at all, or nothing was tested. */
	assert_true(at > 1);
}

static struct identity number_identity(uint64_t number)
{
	struct identity identity = {{0}};

	memcpy(identity.bytes, &number, sizeof(number));
	return identity;
}

static struct entry entry_of(uint64_t number, const float *vector, unsigned dimensions)
{
	return (struct entry){.identity = number_identity(number),
			      .scope = number_identity(number % 3 == 0 ? 0 : 1),
			      .compared = true,
			      .namespace = number % 3 == 0 ? SLICE("a") : SLICE("b"),
			      .question = SLICE("question"),
			      .answer = SLICE("answer"),
			      .created_ms = 5,
			      .expires_at_ms = FAR,
			      .vector = vector,
			      .dimensions = dimensions};
}

/* Whether an outcome is one of the two that are allowed here. */
static bool kept(int error)
{
	assert_true(error == 0 || (error == ERROR_MEMORY && fault.failed > 0));
	return error == 0;
}

static void copy_scenario(void)
{
	const float vector[2] = {1, 0};
	struct entry entry = entry_of(1, vector, 2);
	struct entry *copy = entry_copy(&entry);

	assert_int_equal(copy == NULL, fault.failed);
	entry_destroy(copy);
}

static void cache_scenario(void)
{
	enum { COUNT = 120 };
	struct metrics metrics = {0};
	struct memory_cache *cache = memory_cache_create(1 << 20, &metrics);
	bool there[COUNT];
	size_t expected = 0, entries;

	if (!cache) {
		assert_int_equal(fault.failed, 1);
		return;
	}
	for (uint64_t i = 0; i < COUNT; i++) {
		struct entry entry = entry_of(i, NULL, 0);
		there[i] = kept(memory_cache_put(cache, &entry));
		expected += there[i];
		if (i % 5 == 0) {
			struct alias alias = {
				.identity = number_identity(1000 + i), .entry = number_identity(i), .entry_created_ms = 5};
			struct memory_hit hit;
			bool alias_there = kept(memory_cache_put_alias(cache, SLICE("b"), &alias, FAR));
			assert_int_equal(memory_cache_get(cache, &alias.identity, 0, &hit), alias_there && there[i]);
		}
	}
	/* A failed replacement leaves nothing, above all not what is out of date. */
	struct entry again = entry_of(7, NULL, 0);
	bool replaced = kept(memory_cache_put(cache, &again));
	expected = expected - there[7] + replaced;
	there[7] = replaced;
	(void)memory_cache_bytes(cache, &entries);
	assert_int_equal(entries, expected);
	for (uint64_t i = 0; i < COUNT; i++) {
		struct identity identity = number_identity(i);
		struct memory_hit hit;
		assert_int_equal(memory_cache_get(cache, &identity, 0, &hit), there[i]);
	}
	(void)memory_cache_flush(cache, SLICE("a"));
	memory_cache_destroy(cache);
}

struct outcome {
	bool done;
	int error;
};

static void on_done(struct index_search *search, int error)
{
	*(struct outcome *)search->data = (struct outcome){true, error};
}

static void search_all(const struct index *index, uv_loop_t *loop, const float *vector, unsigned dimensions, size_t expected)
{
	struct outcome outcomes[4] = {{.done = false}};
	struct index_search searches[4];
	struct identity scope = number_identity(1);

	for (size_t i = 0; i < 4; i++) {
		searches[i] = (struct index_search){.done = on_done, .data = &outcomes[i]};
		int status = index->ops->search(index->state, &searches[i], &scope, vector, dimensions, 1);
		if (status == 1)
			outcomes[i].done = true;
		else if (!kept(status))
			outcomes[i] = (struct outcome){true, status};
	}
	uv_run(loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < 4; i++) {
		assert_true(outcomes[i].done);
		size_t count = expected < INDEX_CANDIDATES ? expected : INDEX_CANDIDATES;
		assert_int_equal(searches[i].count, kept(outcomes[i].error) ? count : 0);
		index_candidates_free(&searches[i]);
	}
}

static void index_scenario(unsigned dimensions, uint64_t count)
{
	struct metrics metrics = {0};
	struct index index;
	uv_loop_t loop;
	float *vector = __real_calloc(dimensions, sizeof(float));
	size_t in_scope = 0, expected = 0, entries;

	vector[0] = 1;
	assert_int_equal(uv_loop_init(&loop), 0);
	if (kept(index_memory_create(&index, &loop, (size_t)1 << 30, &metrics))) {
		for (uint64_t i = 0; i < count; i++) {
			struct entry entry = entry_of(i, vector, dimensions);
			bool there = kept(index.ops->put(index.state, &entry));
			expected += there;
			in_scope += there && i % 3 != 0;
		}
		(void)index.ops->bytes(index.state, &entries);
		assert_int_equal(entries, expected);
		search_all(&index, &loop, vector, dimensions, in_scope);
		for (uint64_t i = 1; i < count; i += 3) {
			struct identity identity = number_identity(i);
			in_scope -= index.ops->remove(index.state, &identity);
		}
		search_all(&index, &loop, vector, dimensions, in_scope);
		assert_int_equal(index.ops->flush(index.state, SLICE("b")), in_scope);
		index.ops->destroy(index.state);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	free(vector);
}

static void small_index_scenario(void)
{
	index_scenario(3, 60);
}

/* Large enough to be scanned on the thread pool. */
static void large_index_scenario(void)
{
	index_scenario(32768, 30);
}

static void copying_an_entry_without_memory(void **state)
{
	(void)state;
	fail_each(copy_scenario);
}

static void keeping_entries_and_aliases_without_memory(void **state)
{
	(void)state;
	fail_each(cache_scenario);
}

static void indexing_and_searching_without_memory(void **state)
{
	(void)state;
	fail_each(small_index_scenario);
}

static void scanning_on_the_thread_pool_without_memory(void **state)
{
	(void)state;
	fail_each(large_index_scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copying_an_entry_without_memory),
		cmocka_unit_test(keeping_entries_and_aliases_without_memory),
		cmocka_unit_test(indexing_and_searching_without_memory),
		cmocka_unit_test(scanning_on_the_thread_pool_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
