/* The embedded index beside a brute-force search: what it finds, what it refuses, and what leaves. */
#include "index_fixture.h"

#include "daemon/index_scan.h"

static void finds_what_brute_force_finds(void **state)
{
	static const struct {
		size_t count;
		unsigned dimensions;
	} cases[] = {{1, 1},   {7, 3},     {8, 16},     {9, 17},     {255, 48},
		     {256, 5}, {257, 384}, {1500, 100}, {300, 3072}, {5, 65536}};
	struct fixture *f = *state;
	struct asked asked = {.done = false};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned dimensions = cases[i].dimensions;
		float *query = malloc(dimensions * sizeof(float));
		float *vectors = fill(f, cases[i].count, dimensions, i);
		struct brute brute = {vectors, cases[i].count, dimensions, NULL};
		for (int k = 0; k < 5; k++) {
			vector_random(f, query, dimensions);
			search(f, &asked, i, query, dimensions);
			assert_nearest(&brute, query, &asked.search);
			index_candidates_free(&asked.search);
			/* A stored one is its own nearest. */
			size_t own = f->seed % cases[i].count;
			search(f, &asked, i, vectors + own * dimensions, dimensions);
			assert_true(asked.search.candidates[0].similarity > 1 - 1e-6);
			assert_nearest(&brute, vectors + own * dimensions, &asked.search);
			index_candidates_free(&asked.search);
		}
		assert_int_equal(f->index.ops->flush(f->index.state, SLICE("default")), cases[i].count);
		free(vectors);
		free(query);
	}
}

static void ten_thousand_of_512_dimensions_are_searched_on_the_thread_pool(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float query[512];
	float *vectors = fill(f, 10000, 512, 1);
	struct brute brute = {vectors, 10000, 512, NULL};

	for (int k = 0; k < 5; k++) {
		vector_random(f, query, 512);
		search(f, &asked, 1, query, 512);
		assert_true(asked.done);
		assert_nearest(&brute, query, &asked.search);
		index_candidates_free(&asked.search);
	}
	assert_int_equal(f->metrics.index_scans_offloaded, 5);
	free(vectors);
}

static void a_scope_does_not_see_another(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	const float a[3] = {1, 0, 0}, b[3] = {0, 1, 0};

	assert_int_equal(put(f, 1, 1, a, 3), 0);
	assert_int_equal(put(f, 2, 2, b, 3), 0);
	search(f, &asked, 1, b, 3);
	assert_int_equal(asked.search.count, 1);
	assert_int_equal(identity_number(&asked.search.candidates[0].identity), 1);
	assert_true(asked.search.candidates[0].similarity == 0);
	index_candidates_free(&asked.search);
	search(f, &asked, 3, b, 3);
	assert_int_equal(asked.search.count, 0);
}

static void what_is_no_unit_vector_is_refused(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	const float good[3] = {1, 0, 0}, zero[3] = {0, 0, 0}, nan[3] = {1, NAN, 0}, inf[3] = {INFINITY, 0, 0},
		    longer[4] = {1};
	const float twice[3] = {0, 2, 0};

	assert_int_equal(put(f, 1, 1, good, 3), 0);
	assert_int_equal(put(f, 1, 1, zero, 3), ERROR_INVALID);
	assert_int_equal(put(f, 1, 1, nan, 3), ERROR_INVALID);
	assert_int_equal(put(f, 1, 1, inf, 3), ERROR_INVALID);
	assert_int_equal(put(f, 2, 1, longer, 4), ERROR_INVALID);
	assert_int_equal(put(f, 2, 1, good, 0), ERROR_INVALID);
	assert_int_equal(put(f, 2, 1, NULL, 3), ERROR_INVALID);
	assert_int_equal(put(f, 2, 1, good, 65537), ERROR_TOO_LARGE);
	assert_int_equal(entries_of(f), 1);
	assert_int_equal(ask(f, &asked, 1, zero, 3), ERROR_INVALID);
	assert_int_equal(ask(f, &asked, 1, nan, 3), ERROR_INVALID);
	assert_int_equal(ask(f, &asked, 1, longer, 4), ERROR_INVALID);
	/* Another length only has to be the same within its scope; another norm is put right. */
	assert_int_equal(put(f, 2, 2, longer, 4), 0);
	assert_int_equal(put(f, 3, 3, twice, 3), 0);
	search(f, &asked, 3, twice, 3);
	assert_true(asked.search.candidates[0].similarity == 1);
	index_candidates_free(&asked.search);
}

static void an_expired_nearest_one_does_not_hide_the_second(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	const float near[2] = {1, 0}, far[2] = {0.8f, 0.6f};

	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(put_until(f, 10 + i, 1, near, 2, NOW), 0);
	assert_int_equal(put_until(f, 1, 1, far, 2, NOW + 1), 0);
	search(f, &asked, 1, near, 2);
	assert_int_equal(asked.search.count, 1);
	assert_int_equal(identity_number(&asked.search.candidates[0].identity), 1);
	assert_int_equal(asked.search.candidates[0].expires_at_ms, NOW + 1);
	index_candidates_free(&asked.search);
}

static void a_second_put_replaces_the_first(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	const float a[2] = {1, 0}, b[2] = {0, 1};

	assert_int_equal(put(f, 1, 1, a, 2), 0);
	assert_int_equal(put(f, 1, 1, b, 2), 0);
	assert_int_equal(entries_of(f), 1);
	search(f, &asked, 1, b, 2);
	assert_int_equal(asked.search.count, 1);
	assert_true(asked.search.candidates[0].similarity == 1);
	index_candidates_free(&asked.search);
	/* It may also move to another scope. */
	assert_int_equal(put(f, 1, 2, b, 2), 0);
	search(f, &asked, 1, b, 2);
	assert_int_equal(asked.search.count, 0);
	assert_true(drop(f, 1));
	assert_false(drop(f, 1));
	assert_int_equal(entries_of(f), 0);
}

static void any_order_of_puts_and_removals_leaves_the_right_rows(void **state)
{
	enum { COUNT = 2000, DIMENSIONS = 24 };
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float *vectors = malloc(COUNT * DIMENSIONS * sizeof(float));
	bool gone[COUNT];
	struct brute brute = {vectors, COUNT, DIMENSIONS, gone};
	size_t empty = f->index.ops->bytes(f->index.state, NULL);

	memset(gone, true, sizeof(gone));
	for (int step = 0; step < 30000; step++) {
		/* Grows for a while, then shrinks. */
		bool more = step / 5000 % 2 == 0 ? random_next(f) < 0.3 : random_next(f) < -0.3;
		size_t number = f->seed % COUNT;
		if (more) {
			vector_random(f, vectors + number * DIMENSIONS, DIMENSIONS);
			assert_int_equal(put(f, number, 1, vectors + number * DIMENSIONS, DIMENSIONS), 0);
			gone[number] = false;
		} else {
			assert_int_equal(drop(f, number), !gone[number]);
			gone[number] = true;
		}
		if (step % 500 == 0) {
			float query[DIMENSIONS];
			vector_random(f, query, DIMENSIONS);
			search(f, &asked, 1, query, DIMENSIONS);
			assert_nearest(&brute, query, &asked.search);
			index_candidates_free(&asked.search);
		}
	}
	for (size_t i = 0; i < COUNT; i++)
		(void)drop(f, i);
	assert_int_equal(entries_of(f), 0);
	assert_int_equal(f->index.ops->bytes(f->index.state, NULL), empty);
	free(vectors);
}

static void what_was_put_first_leaves_first(void **state)
{
	struct fixture *f = *state;
	struct index index;
	float vector[64];
	const size_t max = 300000;

	assert_int_equal(index_memory_create(&index, &f->loop, max, &f->metrics), 0);
	for (uint64_t i = 0; i < 5000; i++) {
		vector_random(f, vector, 64);
		struct entry entry = {.identity = number_identity(i),
				      .scope = number_identity(i % 7),
				      .compared = true,
				      .namespace = SLICE("default"),
				      .question = SLICE("q"),
				      .expires_at_ms = FAR,
				      .vector = vector,
				      .dimensions = 64};
		size_t entries;
		assert_int_equal(index.ops->put(index.state, &entry), 0);
		assert_true(index.ops->bytes(index.state, &entries) <= max);
		assert_int_equal(entries + f->metrics.index_evictions, i + 1);
	}
	assert_true(f->metrics.index_evictions > 1000);
	for (uint64_t i = 0; i < 5000; i++) {
		struct identity identity = number_identity(i);
		assert_int_equal(index.ops->remove(index.state, &identity), i >= f->metrics.index_evictions);
	}
	index.ops->destroy(index.state);
}

static void one_that_does_not_fit_at_all_is_refused(void **state)
{
	struct fixture *f = *state;
	struct index index;
	float vector[2048];
	struct entry entry = {.identity = number_identity(1),
			      .compared = true,
			      .question = SLICE("q"),
			      .expires_at_ms = FAR,
			      .vector = vector,
			      .dimensions = 2048};
	size_t entries;

	vector_random(f, vector, 2048);
	assert_int_equal(index_memory_create(&index, &f->loop, 4000, &f->metrics), 0);
	assert_int_equal(index.ops->put(index.state, &entry), ERROR_TOO_LARGE);
	(void)index.ops->bytes(index.state, &entries);
	assert_int_equal(entries, 0);
	index.ops->destroy(index.state);
}

static void all_kernels_agree(void **state)
{
	struct fixture *f = *state;
	index_kernel *kernel = index_kernel_select();

	for (size_t stride = 16; stride <= 128; stride += 16) {
		float *rows = aligned_alloc(INDEX_ALIGNMENT, 5 * stride * sizeof(float));
		float *query = aligned_alloc(INDEX_ALIGNMENT, stride * sizeof(float));
		float a[5], b[5];
		for (size_t i = 0; i < 5; i++)
			vector_random(f, rows + i * stride, (unsigned)stride);
		vector_random(f, query, (unsigned)stride);
		kernel(rows, 5, stride, query, a);
		index_kernel_portable(rows, 5, stride, query, b);
		for (size_t i = 0; i < 5; i++) {
			double want = index_cosine(rows + i * stride, query, (unsigned)stride);
			assert_true(fabs((double)a[i] - want) < 1e-5);
			assert_true(fabs((double)b[i] - want) < 1e-5);
		}
		free(rows);
		free(query);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(finds_what_brute_force_finds),
		TEST(ten_thousand_of_512_dimensions_are_searched_on_the_thread_pool),
		TEST(a_scope_does_not_see_another),
		TEST(what_is_no_unit_vector_is_refused),
		TEST(an_expired_nearest_one_does_not_hide_the_second),
		TEST(a_second_put_replaces_the_first),
		TEST(any_order_of_puts_and_removals_leaves_the_right_rows),
		TEST(what_was_put_first_leaves_first),
		TEST(one_that_does_not_fit_at_all_is_refused),
		TEST(all_kernels_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
