/* Scans on the thread pool: nothing that happens meanwhile changes what is found, and nobody is called who should not be. */
#include "index_fixture.h"

/* Enough that no search is done at once. */
#define BIG 3000
#define BIG_DIMENSIONS 256

static void changes_during_a_scan_are_seen_at_its_end(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false}, later = {.done = false};
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);
	bool gone[BIG] = {false};
	struct brute brute = {vectors, BIG, BIG_DIMENSIONS, gone};
	float query[BIG_DIMENSIONS];

	for (int round = 0; round < 20; round++) {
		vector_random(f, query, BIG_DIMENSIONS);
		search(f, &asked, 1, query, BIG_DIMENSIONS);
		uint64_t nearest = identity_number(&asked.search.candidates[0].identity);
		index_candidates_free(&asked.search);
		assert_int_equal(ask(f, &asked, 1, query, BIG_DIMENSIONS), 0);
		/* The nearest one goes while the scan runs, another one is replaced, a third is added. */
		assert_true(drop(f, nearest));
		gone[nearest] = true;
		size_t other = f->seed % BIG;
		vector_random(f, vectors + other * BIG_DIMENSIONS, BIG_DIMENSIONS);
		assert_int_equal(put(f, other, 1, vectors + other * BIG_DIMENSIONS, BIG_DIMENSIONS), 0);
		gone[other] = false;
		while (!asked.done)
			uv_run(&f->loop, UV_RUN_ONCE);
		for (size_t i = 0; i < asked.search.count; i++)
			assert_true(identity_number(&asked.search.candidates[i].identity) != nearest || other == nearest);
		index_candidates_free(&asked.search);
		search(f, &later, 1, query, BIG_DIMENSIONS);
		assert_nearest(&brute, query, &later.search);
		index_candidates_free(&later.search);
	}
	free(vectors);
}

static void if_all_the_best_go_during_a_scan_it_is_repeated(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.done = false};
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);
	bool gone[BIG] = {false};
	struct brute brute = {vectors, BIG, BIG_DIMENSIONS, gone};
	float query[BIG_DIMENSIONS];

	vector_random(f, query, BIG_DIMENSIONS);
	assert_int_equal(ask(f, &asked, 1, query, BIG_DIMENSIONS), 0);
	/* Everything but the thousand that are furthest. */
	for (size_t i = 0; i < BIG; i++)
		if (index_cosine(vectors + i * BIG_DIMENSIONS, query, BIG_DIMENSIONS) > -0.03) {
			assert_true(drop(f, i));
			gone[i] = true;
		}
	while (!asked.done)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(asked.error, 0);
	assert_nearest(&brute, query, &asked.search);
	index_candidates_free(&asked.search);
	free(vectors);
}

static void many_searches_of_one_scope_all_get_their_own_results(void **state)
{
	enum { SEARCHES = 60 };
	struct fixture *f = *state;
	struct asked *asked = calloc(SEARCHES, sizeof(*asked));
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);
	struct brute brute = {vectors, BIG, BIG_DIMENSIONS, NULL};

	for (size_t i = 0; i < SEARCHES; i++)
		assert_int_equal(ask(f, &asked[i], 1, vectors + i * BIG_DIMENSIONS, BIG_DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < SEARCHES; i++) {
		assert_true(asked[i].done);
		assert_int_equal(identity_number(&asked[i].search.candidates[0].identity), i);
		assert_nearest(&brute, vectors + i * BIG_DIMENSIONS, &asked[i].search);
		index_candidates_free(&asked[i].search);
	}
	free(vectors);
	free(asked);
}

static void a_cancelled_search_calls_nobody(void **state)
{
	enum { SEARCHES = 20 };
	struct fixture *f = *state;
	struct asked *asked = calloc(SEARCHES, sizeof(*asked));
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);

	for (size_t i = 0; i < SEARCHES; i++)
		assert_int_equal(ask(f, &asked[i], 1, vectors, BIG_DIMENSIONS), 0);
	/* The first two are on the pool, the others wait. */
	for (size_t i = 0; i < SEARCHES; i++)
		if (i % 3 == 0) {
			f->index.ops->cancel(f->index.state, &asked[i].search);
			f->index.ops->cancel(f->index.state, &asked[i].search);
		}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < SEARCHES; i++) {
		assert_int_equal(asked[i].done, i % 3 != 0);
		index_candidates_free(&asked[i].search);
	}
	free(vectors);
	free(asked);
}

static void cancel_another(struct asked *asked)
{
	struct asked *other = asked[1].then == NULL ? asked + 1 : NULL;

	if (other)
		asked->f->index.ops->cancel(asked->f->index.state, &other->search);
	asked->f->index.ops->flush(asked->f->index.state, (struct slice){NULL, 0});
}

static void a_callback_may_cancel_the_next_and_flush(void **state)
{
	enum { SEARCHES = 12 };
	struct fixture *f = *state;
	struct asked asked[SEARCHES + 1] = {{.done = false}};
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);

	for (size_t i = 0; i < SEARCHES; i++) {
		asked[i].then = i % 2 == 0 ? cancel_another : NULL;
		assert_int_equal(ask(f, &asked[i], 1, vectors, BIG_DIMENSIONS), 0);
	}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < SEARCHES; i++) {
		if (i % 2 == 0)
			assert_true(asked[i].done);
		index_candidates_free(&asked[i].search);
	}
	assert_int_equal(entries_of(f), 0);
	free(vectors);
}

static void destroy_in_callback(struct asked *asked)
{
	if (!asked->f->destroyed)
		asked->f->index.ops->destroy(asked->f->index.state);
	asked->f->destroyed = true;
}

static void destroyed_in_a_callback_no_other_is_called(void **state)
{
	enum { SEARCHES = 24 };
	struct fixture *f = *state;
	struct asked asked[SEARCHES] = {{.done = false}};
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);
	size_t done = 0;

	for (size_t i = 0; i < SEARCHES; i++) {
		asked[i].then = destroy_in_callback;
		assert_int_equal(ask(f, &asked[i], 1, vectors, BIG_DIMENSIONS), 0);
	}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < SEARCHES; i++) {
		done += asked[i].done;
		index_candidates_free(&asked[i].search);
	}
	assert_int_equal(done, 1);
	free(vectors);
}

static void destroyed_while_scans_run_nobody_is_called(void **state)
{
	struct fixture *f = *state;
	struct asked asked[5] = {{.done = false}};
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);

	for (size_t i = 0; i < 5; i++)
		assert_int_equal(ask(f, &asked[i], 1, vectors, BIG_DIMENSIONS), 0);
	f->index.ops->destroy(f->index.state);
	f->destroyed = true;
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < 5; i++)
		assert_false(asked[i].done);
	free(vectors);
}

static void a_flush_is_seen_at_once_and_freed_by_and_by(void **state)
{
	struct fixture *f = *state;
	struct asked asked[6] = {{.done = false}};
	const float other[2] = {1, 0};
	size_t empty = f->index.ops->bytes(f->index.state, NULL);
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);
	struct entry apart = {.identity = number_identity(9999),
			      .scope = number_identity(2),
			      .compared = true,
			      .namespace = SLICE("apart"),
			      .question = SLICE("q"),
			      .expires_at_ms = FAR,
			      .vector = other,
			      .dimensions = 2};

	assert_int_equal(f->index.ops->put(f->index.state, &apart), 0);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(ask(f, &asked[i], 1, vectors, BIG_DIMENSIONS), 0);
	assert_true(drop(f, 5));
	assert_int_equal(f->index.ops->flush(f->index.state, SLICE("default")), BIG - 1);
	assert_int_equal(f->index.ops->flush(f->index.state, SLICE("default")), 0);
	assert_int_equal(entries_of(f), 1);
	assert_false(drop(f, 7));
	/* The scope and an identity of it are usable at once. */
	assert_int_equal(put(f, 7, 1, vectors, BIG_DIMENSIONS), 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < 6; i++) {
		assert_true(asked[i].done);
		assert_int_equal(asked[i].error, 0);
		/* Those that had started find nothing, those that waited may find the new one. */
		assert_true(asked[i].search.count <= (i < 2 ? 0 : 1));
		index_candidates_free(&asked[i].search);
	}
	assert_int_equal(f->index.ops->flush(f->index.state, (struct slice){NULL, 0}), 2);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(f->index.ops->bytes(f->index.state, NULL), empty);
	assert_int_equal(entries_of(f), 0);
	free(vectors);
}

static void changes_and_searches_without_pause_lose_nothing(void **state)
{
	enum { SEARCHES = 8 };
	struct fixture *f = *state;
	struct asked asked[SEARCHES] = {{.done = false}};
	float *vectors = fill(f, BIG, BIG_DIMENSIONS, 1);
	bool gone[BIG] = {false}, busy[SEARCHES] = {false};
	struct brute brute = {vectors, BIG, BIG_DIMENSIONS, gone};
	size_t done = 0;

	while (done < 300) {
		for (size_t i = 0; i < SEARCHES; i++) {
			if (busy[i] && !asked[i].done)
				continue;
			if (busy[i]) {
				done++;
				assert_int_equal(asked[i].search.count, INDEX_CANDIDATES);
				index_candidates_free(&asked[i].search);
			}
			busy[i] = true;
			assert_int_equal(ask(f, &asked[i], 1, vectors + f->seed % BIG * BIG_DIMENSIONS, BIG_DIMENSIONS), 0);
			(void)random_next(f);
		}
		for (int k = 0; k < 20; k++) {
			(void)random_next(f);
			size_t number = f->seed % BIG;
			assert_int_equal(drop(f, number), !gone[number]);
			gone[number] = f->seed % 10 == 0;
			if (!gone[number])
				assert_int_equal(put(f, number, 1, vectors + number * BIG_DIMENSIONS, BIG_DIMENSIONS), 0);
		}
		uv_run(&f->loop, UV_RUN_ONCE);
	}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (size_t i = 0; i < SEARCHES; i++)
		index_candidates_free(&asked[i].search);
	search(f, &asked[0], 1, vectors, BIG_DIMENSIONS);
	assert_nearest(&brute, vectors, &asked[0].search);
	index_candidates_free(&asked[0].search);
	free(vectors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_during_a_scan_are_seen_at_its_end),
		TEST(if_all_the_best_go_during_a_scan_it_is_repeated),
		TEST(many_searches_of_one_scope_all_get_their_own_results),
		TEST(a_cancelled_search_calls_nobody),
		TEST(a_callback_may_cancel_the_next_and_flush),
		TEST(destroyed_in_a_callback_no_other_is_called),
		TEST(destroyed_while_scans_run_nobody_is_called),
		TEST(a_flush_is_seen_at_once_and_freed_by_and_by),
		TEST(changes_and_searches_without_pause_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
