/* What the tests of the index share: an index on a loop of its own, random vectors, and a brute-force search beside it. */
#ifndef TESTS_INDEX_FIXTURE_H
#define TESTS_INDEX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "daemon/index.h"
#include "daemon/metrics.h"

#define FAR UINT64_C(1000000000)
#define NOW 1000

struct fixture {
	uv_loop_t loop;
	struct metrics metrics;
	struct index index;
	uint64_t seed;
	bool destroyed;
};

static inline double random_next(struct fixture *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return (double)(f->seed >> 11) / (double)(UINT64_C(1) << 53) - 0.5;
}

static inline struct identity number_identity(uint64_t number)
{
	struct identity identity = {{0}};

	memcpy(identity.bytes, &number, sizeof(number));
	return identity;
}

static inline uint64_t identity_number(const struct identity *identity)
{
	uint64_t number;

	memcpy(&number, identity->bytes, sizeof(number));
	return number;
}

/* A vector of unit length in any direction. */
static inline void vector_random(struct fixture *f, float *vector, unsigned dimensions)
{
	double sum = 0;

	for (unsigned i = 0; i < dimensions; i++) {
		vector[i] = (float)random_next(f);
		sum += (double)vector[i] * (double)vector[i];
	}
	for (unsigned i = 0; i < dimensions; i++)
		vector[i] = (float)((double)vector[i] / sqrt(sum));
}

static inline int put_until(struct fixture *f, uint64_t number, uint64_t scope, const float *vector, unsigned dimensions,
			    uint64_t expires_at_ms)
{
	struct entry entry = {.identity = number_identity(number),
			      .scope = number_identity(scope),
			      .compared = true,
			      .namespace = SLICE("default"),
			      .question = SLICE("a\0question"),
			      .created_ms = number,
			      .created_at_ms = 1,
			      .fresh_until_at_ms = 2,
			      .expires_at_ms = expires_at_ms,
			      .vector = vector,
			      .dimensions = dimensions};

	return f->index.ops->put(f->index.state, &entry);
}

static inline int put(struct fixture *f, uint64_t number, uint64_t scope, const float *vector, unsigned dimensions)
{
	return put_until(f, number, scope, vector, dimensions, FAR);
}

static inline bool drop(struct fixture *f, uint64_t number)
{
	struct identity identity = number_identity(number);

	return f->index.ops->remove(f->index.state, &identity);
}

static inline size_t entries_of(struct fixture *f)
{
	size_t entries;

	(void)f->index.ops->bytes(f->index.state, &entries);
	return entries;
}

struct asked {
	struct index_search search;
	bool done;
	int error;
	void (*then)(struct asked *asked);
	struct fixture *f;
};

static inline void on_done(struct index_search *search, int error)
{
	struct asked *asked = search->data;

	assert_false(asked->done);
	asked->done = true;
	asked->error = error;
	if (asked->then)
		asked->then(asked);
}

static inline int ask(struct fixture *f, struct asked *asked, uint64_t scope, const float *vector, unsigned dimensions)
{
	struct identity identity = number_identity(scope);

	*asked = (struct asked){.search = {.done = on_done}, .f = f, .then = asked->then};
	asked->search.data = asked;
	return f->index.ops->search(f->index.state, &asked->search, &identity, vector, dimensions, NOW);
}

/* Asks and runs the loop until the answer is there. */
static inline void search(struct fixture *f, struct asked *asked, uint64_t scope, const float *vector, unsigned dimensions)
{
	int status = ask(f, asked, scope, vector, dimensions);

	assert_true(status == 0 || status == 1);
	assert_false(asked->done);
	while (status == 0 && !asked->done)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(asked->error, 0);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->seed = 88172645463325252u;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return index_memory_create(&f->index, &f->loop, (size_t)1 << 30, &f->metrics);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (!f->destroyed)
		f->index.ops->destroy(f->index.state);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

/* What a search over `count` vectors must find. Row i is entry i; `gone` says which are not there. */
struct brute {
	const float *vectors;
	size_t count;
	unsigned dimensions;
	const bool *gone;
};

static inline void assert_nearest(const struct brute *brute, const float *query, const struct index_search *found)
{
	double last = 2;
	size_t better = 0, alive = 0;

	for (size_t i = 0; i < found->count; i++) {
		const struct candidate *candidate = &found->candidates[i];
		uint64_t number = identity_number(&candidate->identity);
		assert_true(number < brute->count);
		assert_false(brute->gone && brute->gone[number]);
		double want = index_cosine(brute->vectors + number * brute->dimensions, query, brute->dimensions);
		assert_true(fabs(candidate->similarity - want) < 1e-6);
		assert_true(candidate->similarity <= last);
		last = candidate->similarity;
		assert_int_equal(candidate->created_ms, number);
		assert_int_equal(candidate->created_at_ms, 1);
		assert_int_equal(candidate->fresh_until_at_ms, 2);
		assert_int_equal(candidate->question_length, 10);
		assert_memory_equal(candidate->question, "a\0question", 11);
	}
	for (size_t i = 0; i < brute->count; i++) {
		if (brute->gone && brute->gone[i])
			continue;
		alive++;
		if (index_cosine(brute->vectors + i * brute->dimensions, query, brute->dimensions) > last + 1e-6)
			better++;
	}
	assert_int_equal(found->count, alive < INDEX_CANDIDATES ? alive : INDEX_CANDIDATES);
	assert_true(found->count == 0 || better < found->count);
}

static inline float *fill(struct fixture *f, size_t count, unsigned dimensions, uint64_t scope)
{
	float *vectors = malloc(count * dimensions * sizeof(float));

	for (size_t i = 0; i < count; i++) {
		vector_random(f, vectors + i * dimensions, dimensions);
		assert_int_equal(put(f, i, scope, vectors + i * dimensions, dimensions), 0);
	}
	return vectors;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
