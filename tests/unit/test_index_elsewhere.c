/* The search through all scopes of a namespace but one: it finds what brute force finds, and nothing that happens meanwhile
 * disturbs it. */
#include "index_fixture.h"

#include "proto/error.h"

#define DIMENSIONS 64
/* So many that one turn of the loop cannot go through them. */
#define BATCHES_OF_SCOPES 1500

static int ask_elsewhere(struct fixture *f, struct asked *asked, const char *namespace, uint64_t except, const float *vector,
			 unsigned dimensions)
{
	struct identity identity = number_identity(except);

	*asked = (struct asked){.search = {.done = on_done}, .f = f, .then = asked->then};
	asked->search.data = asked;
	return f->index.ops->search_elsewhere(f->index.state, &asked->search, slice_of(namespace), &identity, vector,
					      dimensions, NOW);
}

static void search_elsewhere(struct fixture *f, struct asked *asked, uint64_t except, const float *vector,
			     unsigned dimensions)
{
	int status = ask_elsewhere(f, asked, "default", except, vector, dimensions);

	assert_true(status == 0 || status == 1);
	assert_false(asked->done);
	while (status == 0 && !asked->done)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(asked->error, 0);
}

/* `count` rows over `scopes` scopes: row i is in scope i % scopes. */
static float *fill_scopes(struct fixture *f, size_t count, size_t scopes, unsigned dimensions)
{
	float *vectors = malloc(count * dimensions * sizeof(float));

	for (size_t i = 0; i < count; i++) {
		vector_random(f, vectors + i * dimensions, dimensions);
		assert_int_equal(put(f, i, i % scopes, vectors + i * dimensions, dimensions), 0);
	}
	return vectors;
}

static void assert_nearest_elsewhere(struct fixture *f, const float *vectors, size_t count, size_t scopes,
				     unsigned dimensions)
{
	struct asked asked = {.done = false};
	float *query = malloc(dimensions * sizeof(float));
	bool *gone = calloc(count, sizeof(bool));
	struct brute brute = {vectors, count, dimensions, gone};

	for (size_t except = 0; except < 3; except++) {
		for (size_t i = 0; i < count; i++)
			gone[i] = i % scopes == except;
		vector_random(f, query, dimensions);
		search_elsewhere(f, &asked, except, query, dimensions);
		assert_nearest(&brute, query, &asked.search);
		index_candidates_free(&asked.search);
	}
	free(gone);
	free(query);
}

static void few_scopes_are_searched_at_once(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float *vectors = fill_scopes(f, 100, 7, DIMENSIONS);

	assert_int_equal(ask_elsewhere(f, &asked, "default", 1, vectors, DIMENSIONS), 1);
	index_candidates_free(&asked.search);
	assert_nearest_elsewhere(f, vectors, 100, 7, DIMENSIONS);
	free(vectors);
}

static void many_scopes_and_large_ones_are_searched_in_batches(void **state)
{
	static const struct {
		size_t count, scopes;
		unsigned dimensions;
	} cases[] = {{3000, 1500, DIMENSIONS}, {20000, 3, DIMENSIONS}, {30000, 5, 1024}, {100, 100, 3}};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		float *vectors = fill_scopes(f, cases[i].count, cases[i].scopes, cases[i].dimensions);
		assert_nearest_elsewhere(f, vectors, cases[i].count, cases[i].scopes, cases[i].dimensions);
		(void)f->index.ops->flush(f->index.state, SLICE("default"));
		free(vectors);
	}
}

static void another_namespace_is_never_seen(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float *vectors = fill_scopes(f, 10, 5, DIMENSIONS);

	assert_int_equal(ask_elsewhere(f, &asked, "other", 99, vectors, DIMENSIONS), 1);
	assert_int_equal(asked.search.count, 0);
	struct entry entry = {.identity = number_identity(50),
			      .scope = number_identity(50),
			      .compared = true,
			      .namespace = SLICE("other"),
			      .question = SLICE("a"),
			      .expires_at_ms = FAR,
			      .vector = vectors,
			      .dimensions = DIMENSIONS};
	assert_int_equal(f->index.ops->put(f->index.state, &entry), 0);
	assert_int_equal(ask_elsewhere(f, &asked, "other", 99, vectors, DIMENSIONS), 1);
	assert_int_equal(asked.search.count, 1);
	assert_int_equal(identity_number(&asked.search.candidates[0].identity), 50);
	index_candidates_free(&asked.search);
	free(vectors);
}

static void what_expired_or_has_other_dimensions_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	const float a[3] = {1, 0, 0}, other[4] = {1, 0, 0, 0}, near[3] = {1, 0.1f, 0};

	assert_int_equal(put_until(f, 1, 1, a, 3, NOW), 0);
	assert_int_equal(put(f, 2, 2, other, 4), 0);
	assert_int_equal(put(f, 3, 3, near, 3), 0);
	search_elsewhere(f, &asked, 9, a, 3);
	assert_int_equal(asked.search.count, 1);
	assert_int_equal(identity_number(&asked.search.candidates[0].identity), 3);
	index_candidates_free(&asked.search);
}

static void what_is_no_vector_is_refused(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	const float zero[3] = {0, 0, 0}, nan[3] = {1, NAN, 0};

	assert_int_equal(put(f, 1, 1, (float[3]){1, 0, 0}, 3), 0);
	assert_int_equal(ask_elsewhere(f, &asked, "default", 2, zero, 3), ERROR_INVALID);
	assert_int_equal(ask_elsewhere(f, &asked, "default", 2, nan, 3), ERROR_INVALID);
	assert_int_equal(ask_elsewhere(f, &asked, "default", 2, NULL, 3), ERROR_INVALID);
	assert_int_equal(ask_elsewhere(f, &asked, "default", 2, zero, 0), ERROR_INVALID);
}

static void rows_come_and_go_in_scopes_that_are_being_searched(void **state)
{
	enum { COUNT = 2000, SCOPES = 700 };
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float *vectors = fill_scopes(f, COUNT, SCOPES, DIMENSIONS), added[DIMENSIONS];

	for (uint64_t round = 0; round < 30; round++) {
		vector_random(f, added, DIMENSIONS);
		assert_int_equal(ask_elsewhere(f, &asked, "default", SCOPES, added, DIMENSIONS), 0);
		while (!asked.done) {
			/* Scopes grow out of their first block while it is read, others end. */
			for (uint64_t i = 0; i < 40; i++) {
				uint64_t number = COUNT + (round * 40 + i) % 900;
				vector_random(f, added, DIMENSIONS);
				assert_int_equal(put(f, number, number % 9, added, DIMENSIONS), 0);
				(void)drop(f, f->seed % COUNT);
			}
			uv_run(&f->loop, UV_RUN_ONCE);
		}
		assert_int_equal(asked.error, 0);
		assert_int_equal(asked.search.count, INDEX_CANDIDATES);
		index_candidates_free(&asked.search);
	}
	for (uint64_t i = 0; i < COUNT + 900; i++)
		(void)drop(f, i);
	assert_int_equal(entries_of(f), 0);
	free(vectors);
}

static void the_bytes_are_given_back_after_rows_came_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	size_t before = f->index.ops->bytes(f->index.state, NULL);
	float *vectors = fill_scopes(f, 600, 300, DIMENSIONS);

	assert_int_equal(ask_elsewhere(f, &asked, "default", 999, vectors, DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	for (uint64_t i = 1000; i < 2000; i++)
		assert_int_equal(put(f, i, i % 300, vectors, DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(asked.done);
	index_candidates_free(&asked.search);
	for (uint64_t i = 0; i < 2000; i++)
		(void)drop(f, i);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	/* The tables keep what they have grown to. */
	assert_true(f->index.ops->bytes(f->index.state, NULL) < before + 600 * 128);
	free(vectors);
}

static void a_flush_meanwhile_leaves_no_results(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float *vectors = fill_scopes(f, 3000, BATCHES_OF_SCOPES, DIMENSIONS);

	for (int turns = 0; turns < 2; turns++) {
		assert_int_equal(ask_elsewhere(f, &asked, "default", 0, vectors, DIMENSIONS), 0);
		for (int i = 0; i < turns; i++)
			uv_run(&f->loop, UV_RUN_NOWAIT);
		assert_false(asked.done);
		assert_true(f->index.ops->flush(f->index.state, SLICE("default")) > 0);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		assert_true(asked.done);
		assert_int_equal(asked.error, 0);
		assert_int_equal(asked.search.count, 0);
		free(vectors);
		vectors = fill_scopes(f, 3000, BATCHES_OF_SCOPES, DIMENSIONS);
	}
	free(vectors);
}

static void a_cancelled_one_calls_nobody_and_others_go_on(void **state)
{
	struct fixture *f = *state;
	struct asked first = {.done = false}, second = {.done = false}, third = {.done = false}, own = {.done = false};
	float *vectors = fill_scopes(f, 4500, BATCHES_OF_SCOPES, DIMENSIONS);

	assert_int_equal(ask_elsewhere(f, &first, "default", 0, vectors, DIMENSIONS), 0);
	assert_int_equal(ask_elsewhere(f, &second, "default", 0, vectors, DIMENSIONS), 0);
	assert_int_equal(ask_elsewhere(f, &third, "default", 5, vectors, DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	f->index.ops->cancel(f->index.state, &first.search);
	f->index.ops->cancel(f->index.state, &first.search);
	f->index.ops->cancel(f->index.state, &second.search);
	search(f, &own, 0, vectors, DIMENSIONS);
	index_candidates_free(&own.search);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_false(first.done);
	assert_false(second.done);
	assert_true(third.done);
	assert_int_equal(identity_number(&third.search.candidates[0].identity), 0);
	index_candidates_free(&first.search);
	index_candidates_free(&third.search);
	free(vectors);
}

static void only_so_many_wait(void **state)
{
	enum { SEARCHES = 70 };
	struct fixture *f = *state;
	struct asked *asked = calloc(SEARCHES, sizeof(*asked));
	float *vectors = fill_scopes(f, 200, 100, DIMENSIONS);
	size_t refused = 0;

	for (size_t i = 0; i < SEARCHES; i++) {
		int status = ask_elsewhere(f, &asked[i], "default", 0, vectors, DIMENSIONS);
		assert_true(status == 0 || status == ERROR_BUSY);
		refused += status == ERROR_BUSY;
	}
	assert_int_equal(refused, 6);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < SEARCHES - refused; i++) {
		assert_true(asked[i].done);
		assert_int_equal(asked[i].search.count, INDEX_CANDIDATES);
		index_candidates_free(&asked[i].search);
	}
	free(asked);
	free(vectors);
}

static void destroyed_meanwhile_nobody_is_called(void **state)
{
	struct fixture *f = *state;
	struct asked first = {.done = false}, second = {.done = false};
	float *vectors = fill_scopes(f, 4500, BATCHES_OF_SCOPES, DIMENSIONS);

	assert_int_equal(ask_elsewhere(f, &first, "default", 0, vectors, DIMENSIONS), 0);
	assert_int_equal(ask_elsewhere(f, &second, "default", 1, vectors, DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	f->destroyed = true;
	f->index.ops->destroy(f->index.state);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_false(first.done);
	assert_false(second.done);
	index_candidates_free(&first.search);
	free(vectors);
}

static void destroy_then(struct asked *asked)
{
	asked->f->destroyed = true;
	asked->f->index.ops->destroy(asked->f->index.state);
}

static void destroyed_in_its_callback_no_other_is_called(void **state)
{
	struct fixture *f = *state;
	struct asked first = {.then = destroy_then}, second = {.done = false};
	float *vectors = fill_scopes(f, 2000, 300, DIMENSIONS);

	assert_int_equal(ask_elsewhere(f, &first, "default", 0, vectors, DIMENSIONS), 0);
	assert_int_equal(ask_elsewhere(f, &second, "default", 1, vectors, DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(first.done);
	assert_false(second.done);
	index_candidates_free(&first.search);
	free(vectors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(few_scopes_are_searched_at_once),
		TEST(many_scopes_and_large_ones_are_searched_in_batches),
		TEST(another_namespace_is_never_seen),
		TEST(what_expired_or_has_other_dimensions_is_passed_over),
		TEST(what_is_no_vector_is_refused),
		TEST(rows_come_and_go_in_scopes_that_are_being_searched),
		TEST(the_bytes_are_given_back_after_rows_came_meanwhile),
		TEST(a_flush_meanwhile_leaves_no_results),
		TEST(a_cancelled_one_calls_nobody_and_others_go_on),
		TEST(only_so_many_wait),
		TEST(destroyed_meanwhile_nobody_is_called),
		TEST(destroyed_in_its_callback_no_other_is_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
