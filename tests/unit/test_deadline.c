/* Deadlines on a real loop: order, stopping, starting from inside, and the end. Nothing is measured: the loop runs until
 * what is waited for has come. */
#include "daemon/deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <uv.h>

#include <cmocka.h>

#define MANY 1000

struct fixture {
	uv_loop_t loop;
	struct deadlines *deadlines;
	uint64_t last_ms; /* when the last one was due */
	size_t expired;
};

struct waiter {
	struct deadline deadline;
	struct fixture *fixture;
	struct waiter *other;
	unsigned times;
};

static int fixture_make(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	assert_int_equal(uv_loop_init(&fixture->loop), 0);
	fixture->deadlines = deadlines_create(&fixture->loop);
	assert_non_null(fixture->deadlines);
	*state = fixture;
	return 0;
}

static int fixture_remove(void **state)
{
	struct fixture *fixture = *state;

	deadlines_destroy(fixture->deadlines);
	assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	free(fixture);
	return 0;
}

static void count(struct deadline *deadline)
{
	struct waiter *waiter = (struct waiter *)deadline;
	struct fixture *fixture = waiter->fixture;

	assert_int_equal(deadline->place, 0);
	assert_true(deadline->at_ms <= deadlines_now_ms(fixture->deadlines));
	assert_true(deadline->at_ms >= fixture->last_ms);
	fixture->last_ms = deadline->at_ms;
	fixture->expired++;
	waiter->times++;
}

static void many_expire_soonest_first_and_the_stopped_do_not(void **state)
{
	struct fixture *fixture = *state;
	struct waiter *waiters = calloc(MANY, sizeof(*waiters));
	unsigned seed = 7;

	assert_non_null(waiters);
	for (size_t i = 0; i < MANY; i++) {
		waiters[i].fixture = fixture;
		waiters[i].deadline.expired = count;
		seed = seed * 1103515245u + 12345u;
		assert_int_equal(deadline_start(fixture->deadlines, &waiters[i].deadline, (seed >> 16) % 40), 0);
	}
	for (size_t i = 0; i < MANY; i += 3)
		deadline_stop(fixture->deadlines, &waiters[i].deadline);
	/* Every fifth is started anew, whether it was stopped or not. */
	for (size_t i = 0; i < MANY; i += 5)
		assert_int_equal(deadline_start(fixture->deadlines, &waiters[i].deadline, i % 30), 0);
	assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
	size_t wanted = 0;
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(waiters[i].times, i % 3 != 0 || i % 5 == 0);
		wanted += waiters[i].times;
	}
	assert_int_equal(fixture->expired, wanted);
	free(waiters);
}

static void stop_other(struct deadline *deadline)
{
	struct waiter *waiter = (struct waiter *)deadline;

	count(deadline);
	deadline_stop(waiter->fixture->deadlines, &waiter->other->deadline);
}

static void one_that_is_due_is_stopped_by_the_one_before(void **state)
{
	struct fixture *fixture = *state;
	struct waiter a = {.fixture = fixture, .deadline.expired = stop_other}, b = a;

	a.other = &b;
	b.other = &a;
	assert_int_equal(deadline_start(fixture->deadlines, &a.deadline, 1), 0);
	assert_int_equal(deadline_start(fixture->deadlines, &b.deadline, 1), 0);
	assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(a.times + b.times, 1);
}

static void again(struct deadline *deadline)
{
	struct waiter *waiter = (struct waiter *)deadline;

	count(deadline);
	if (waiter->times < 5)
		assert_int_equal(deadline_start(waiter->fixture->deadlines, deadline, 0), 0);
}

static void one_that_starts_itself_anew_does_not_hold_the_loop(void **state)
{
	struct fixture *fixture = *state;
	struct waiter waiter = {.fixture = fixture, .deadline.expired = again};

	assert_int_equal(deadline_start(fixture->deadlines, &waiter.deadline, 0), 0);
	unsigned before;
	int alive;
	/* Without a wait libuv looks at its timers once a turn; with one it may do so before and after. */
	do {
		before = waiter.times;
		alive = uv_run(&fixture->loop, UV_RUN_NOWAIT);
		assert_true(waiter.times <= before + 1);
	} while (alive);
	assert_int_equal(waiter.times, 5);
}

static void free_other(struct deadline *deadline)
{
	struct waiter *waiter = (struct waiter *)deadline;

	deadline_stop(waiter->fixture->deadlines, &waiter->other->deadline);
	free(waiter->other);
	free(waiter);
}

static void owners_are_freed_as_soon_as_they_are_stopped(void **state)
{
	struct fixture *fixture = *state;
	struct waiter *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));

	assert_non_null(a);
	assert_non_null(b);
	*a = (struct waiter){.fixture = fixture, .other = b, .deadline.expired = free_other};
	*b = (struct waiter){.fixture = fixture, .other = a, .deadline.expired = free_other};
	assert_int_equal(deadline_start(fixture->deadlines, &a->deadline, 2), 0);
	assert_int_equal(deadline_start(fixture->deadlines, &b->deadline, 2), 0);
	assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
}

static void a_stopped_one_does_not_keep_the_loop_alive(void **state)
{
	struct fixture *fixture = *state;
	struct waiter waiter = {.fixture = fixture, .deadline.expired = count};

	assert_int_equal(deadline_start(fixture->deadlines, &waiter.deadline, 3600000), 0);
	deadline_stop(fixture->deadlines, &waiter.deadline);
	deadline_stop(fixture->deadlines, &waiter.deadline);
	assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(waiter.times, 0);
}

static void a_later_start_does_not_expire_early(void **state)
{
	struct fixture *fixture = *state;
	struct waiter far = {.fixture = fixture, .deadline.expired = count}, near = far;

	assert_int_equal(deadline_start(fixture->deadlines, &far.deadline, 1), 0);
	assert_int_equal(deadline_start(fixture->deadlines, &far.deadline, UINT64_MAX), 0);
	assert_int_equal(far.deadline.at_ms, UINT64_MAX);
	assert_int_equal(deadline_start(fixture->deadlines, &near.deadline, 3), 0);
	while (near.times == 0)
		(void)uv_run(&fixture->loop, UV_RUN_ONCE);
	assert_int_equal(far.times, 0);
	deadline_stop(fixture->deadlines, &far.deadline);
}

static void destroy_all(struct deadline *deadline)
{
	struct waiter *waiter = (struct waiter *)deadline;

	count(deadline);
	deadlines_destroy(waiter->fixture->deadlines);
	waiter->fixture->deadlines = NULL;
}

static void the_end_comes_from_inside(void **state)
{
	struct fixture *fixture = *state;
	struct waiter first = {.fixture = fixture, .deadline.expired = destroy_all};
	struct waiter second = {.fixture = fixture, .deadline.expired = count};

	assert_int_equal(deadline_start(fixture->deadlines, &first.deadline, 0), 0);
	assert_int_equal(deadline_start(fixture->deadlines, &second.deadline, 1), 0);
	assert_int_equal(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(first.times, 1);
	assert_int_equal(second.times, 0);
	assert_int_equal(second.deadline.place, 0);
	deadline_stop(NULL, &second.deadline);
}

int main(void)
{
#define SCENARIO(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
	const struct CMUnitTest tests[] = {
		SCENARIO(many_expire_soonest_first_and_the_stopped_do_not),
		SCENARIO(one_that_is_due_is_stopped_by_the_one_before),
		SCENARIO(one_that_starts_itself_anew_does_not_hold_the_loop),
		SCENARIO(owners_are_freed_as_soon_as_they_are_stopped),
		SCENARIO(a_stopped_one_does_not_keep_the_loop_alive),
		SCENARIO(a_later_start_does_not_expire_early),
		SCENARIO(the_end_comes_from_inside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
