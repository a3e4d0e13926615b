/* The store while Redis is hung, gone, refuses, or comes back as another one: who waits is told in time, and nothing that
 * was accepted is lost or revived. */
#include "store_fixture.h"

static void start(struct fixture *f)
{
	struct identity identity = identity_at(999);

	assert_false(is_there(f, "default", &identity));
}

static bool part_is_down(void *data)
{
	struct fixture *f = data;

	return !part_up(&f->world.part);
}

static bool part_is_up(void *data)
{
	struct fixture *f = data;

	return part_up(&f->world.part);
}

static bool queue_is_empty(void *data)
{
	struct fixture *f = data;
	size_t writes;

	return store_queue(f->store, &writes) == 0 && writes == 0;
}

static void nobody_waits_for_a_hung_redis_more_than_three_times(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct reading reading;
	unsigned waited = 0;

	add(f, 1, "default", "q");
	server_pause(&f->world);
	for (;;) {
		reading_init(&reading);
		if (store_find(f->store, &reading.read, SLICE("default"), &identity) != 0)
			break;
		run_until(&f->world, &reading.done);
		assert_true(reading.error == ERROR_TIMEOUT || reading.error == ERROR_UNAVAILABLE);
		waited++;
	}
	assert_in_range(waited, 1, 3);
	assert_false(part_up(&f->world.part));
	/* Writes are queued, and whoever waits is told so at once. */
	struct entry entry = entry_at(f, 2, "default", "q", 60000);
	assert_int_equal(put(f, &entry), ERROR_PENDING);
	server_continue(&f->world);
	run_while_not(&f->world, part_is_up, f);
	run_while_not(&f->world, queue_is_empty, f);
	assert_true(is_there(f, "default", &identity));
	assert_true(is_there(f, "default", &entry.identity));
}

static void an_idle_store_notices_a_hung_redis(void **state)
{
	struct fixture *f = *state;

	start(f);
	server_pause(&f->world);
	run_while_not(&f->world, part_is_down, f);
	server_continue(&f->world);
	run_while_not(&f->world, part_is_up, f);
}

static void a_short_pause_fails_nothing(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct reading reading;

	add(f, 1, "default", "q");
	server_pause(&f->world);
	reading_init(&reading);
	assert_int_equal(store_find(f->store, &reading.read, SLICE("default"), &identity), 0);
	run_for(&f->world, TIMEOUT_MS / 8);
	assert_false(reading.done);
	server_continue(&f->world);
	run_until(&f->world, &reading.done);
	assert_int_equal(reading.error, 0);
	assert_non_null(reading.read.entry);
	reading_free(&reading);
}

static void a_refused_connection_is_down_at_once(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct reading reading;

	start(f);
	server_kill(&f->world);
	run_while_not(&f->world, part_is_down, f);
	reading_init(&reading);
	assert_int_equal(store_find(f->store, &reading.read, SLICE("default"), &identity), ERROR_UNAVAILABLE);
	server_start(&f->world);
	run_while_not(&f->world, part_is_up, f);
	assert_false(is_there(f, "default", &identity));
}

static void reads_in_the_air_end_when_redis_dies(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct reading readings[20];

	add(f, 1, "default", "q");
	server_pause(&f->world);
	for (unsigned i = 0; i < 20; i++) {
		reading_init(&readings[i]);
		assert_int_equal(store_find(f->store, &readings[i].read, SLICE("default"), &identity), 0);
	}
	run_for(&f->world, 20);
	server_kill(&f->world);
	for (unsigned i = 0; i < 20; i++) {
		run_until(&f->world, &readings[i].done);
		assert_int_equal(readings[i].error, ERROR_UNAVAILABLE);
		assert_null(readings[i].read.entry);
	}
}

static void a_cancelled_read_is_never_told(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct reading readings[3];

	add(f, 1, "default", "q");
	for (unsigned i = 0; i < 3; i++) {
		reading_init(&readings[i]);
		assert_int_equal(store_find(f->store, &readings[i].read, SLICE("default"), &identity), 0);
	}
	store_read_cancel(&readings[1].read);
	store_read_cancel(&readings[1].read);
	run_until(&f->world, &readings[0].done);
	run_until(&f->world, &readings[2].done);
	assert_false(readings[1].done);
	reading_free(&readings[0]);
	reading_free(&readings[2]);
	/* On a hung Redis, and then it answers after all. */
	server_pause(&f->world);
	reading_init(&readings[0]);
	assert_int_equal(store_find(f->store, &readings[0].read, SLICE("default"), &identity), 0);
	run_for(&f->world, 20);
	store_read_cancel(&readings[0].read);
	memset(&readings[0], 0xAA, sizeof(readings[0]));
	server_continue(&f->world);
	assert_true(is_there(f, "default", &identity));
}

static void destroy_with_everything_in_the_air(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct store_selector selector = {.namespace = SLICE("other")};
	struct reading reading;
	struct writing writing, flushing;

	add(f, 1, "default", "q");
	server_pause(&f->world);
	struct entry entry = entry_at(f, 2, "default", "q", 60000);
	reading_init(&reading);
	writing_init(&writing);
	writing_init(&flushing);
	assert_int_equal(store_find(f->store, &reading.read, SLICE("default"), &identity), 0);
	assert_int_equal(store_put_entry(f->store, &writing.write, &entry), 0);
	assert_int_equal(store_remove(f->store, &flushing.write, &selector), 0);
	run_for(&f->world, 20);
	store_destroy(f->store);
	f->store = NULL;
	assert_false(reading.done || writing.done || flushing.done);
	server_continue(&f->world);
	run_for(&f->world, 20);
	assert_false(reading.done || writing.done || flushing.done);
}

static void what_was_paid_for_while_redis_was_away_is_kept(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);

	/* Away since the start: no generation is known. */
	f->store = new_store(f);
	run_while_not(&f->world, part_is_down, f);
	assert_int_equal(store_generation(f->store, SLICE("default")), 0);
	struct entry entry = entry_at(f, 1, "default", "q", 60000);
	assert_int_equal(put(f, &entry), ERROR_PENDING);
	server_start(&f->world);
	run_while_not(&f->world, queue_is_empty, f);
	run_while_not(&f->world, part_is_up, f);
	assert_true(is_there(f, "default", &identity));

	/* Away later, and back without its data: there is nothing old that could be revived. */
	server_kill(&f->world);
	run_while_not(&f->world, part_is_down, f);
	entry = entry_at(f, 2, "default", "q", 60000);
	assert_true(entry.generation != 0);
	assert_int_equal(put(f, &entry), ERROR_PENDING);
	server_start(&f->world);
	run_while_not(&f->world, queue_is_empty, f);
	run_while_not(&f->world, part_is_up, f);
	assert_true(is_there(f, "default", &entry.identity));
	assert_false(is_there(f, "default", &identity));
	assert_int_equal(f->world.metrics.writes_dead, 0);
}

static void a_write_of_a_namespace_flushed_meanwhile_is_dead(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct writing writing;

	add(f, 1, "default", "q");
	server_pause(&f->world);
	run_while_not(&f->world, part_is_down, f);
	/* Captured before the flush; the flush is made here while Redis is away, and wins. */
	struct entry entry = entry_at(f, 2, "default", "q", 60000);
	uint64_t before = entry.generation;
	flush(f, "default", &writing);
	assert_int_equal(writing.error, ERROR_PENDING);
	assert_true(store_generation(f->store, SLICE("default")) != before);
	assert_int_equal(put(f, &entry), ERROR_PENDING);
	struct entry later = entry_at(f, 3, "default", "q", 60000);
	assert_int_equal(put(f, &later), ERROR_PENDING);
	uint64_t made = store_generation(f->store, SLICE("default"));
	server_continue(&f->world);
	run_while_not(&f->world, queue_is_empty, f);
	run_while_not(&f->world, part_is_up, f);
	assert_false(is_there(f, "default", &identity));
	assert_false(is_there(f, "default", &entry.identity));
	assert_true(is_there(f, "default", &later.identity));
	assert_int_equal(f->world.metrics.writes_dead, 1);
	assert_int_equal(store_generation(f->store, SLICE("default")), made);
}

static void a_flush_by_another_while_cut_off_kills_what_is_queued(void **state)
{
	struct fixture *f = *state;

	add(f, 1, "default", "q");
	struct entry entry = entry_at(f, 2, "default", "q", 60000);
	/* Only our own connections are cut; for a while they find no socket. */
	server_hide(&f->world);
	server_do(&f->world, "CLIENT KILL TYPE normal");
	run_while_not(&f->world, part_is_down, f);
	assert_int_equal(put(f, &entry), ERROR_PENDING);
	server_do(&f->world, "SET " PREFIX "generation:default 00000000000000ff");
	server_show(&f->world);
	run_while_not(&f->world, queue_is_empty, f);
	run_while_not(&f->world, part_is_up, f);
	assert_int_equal(f->world.metrics.writes_dead, 1);
	assert_false(is_there(f, "default", &entry.identity));
	assert_int_equal(store_generation(f->store, SLICE("default")), 0xff);
}

static void a_full_queue_refuses_and_counts(void **state)
{
	struct fixture *f = *state;
	struct entry entry;
	struct writing writing;
	size_t writes = 0;
	unsigned taken = 0;
	int error;

	f->world.config.redis.write_queue_bytes = 20000;
	f->store = new_store(f);
	run_while_not(&f->world, part_is_down, f);
	do {
		entry = entry_at(f, taken, "default", "q", 60000);
		error = store_put_entry(f->store, NULL, &entry);
	} while (error == 0 && ++taken < 1000);
	assert_int_equal(error, ERROR_TOO_LARGE);
	assert_true(taken > 5 && taken < 100);
	assert_true(store_queue(f->store, &writes) <= 20000);
	assert_int_equal(writes, taken);
	assert_int_equal(f->world.metrics.write_queue_dropped, 1);
	/* A removal still goes in: it makes room. */
	struct identity identity = identity_at(0);
	struct store_selector selector = {.namespace = SLICE("default"), .entry = &identity};
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, ERROR_PENDING);
	server_start(&f->world);
	run_while_not(&f->world, queue_is_empty, f);
	run_while_not(&f->world, part_is_up, f);
	assert_false(is_there(f, "default", &identity));
	identity = identity_at(1);
	assert_true(is_there(f, "default", &identity));
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "directory:default"), taken - 1);
}

static void a_dry_run_needs_redis(void **state)
{
	struct fixture *f = *state;
	struct store_selector selector = {.namespace = SLICE("default"), .dry_run = true};
	struct writing writing;

	writing_init(&writing);
	start(f);
	server_kill(&f->world);
	run_while_not(&f->world, part_is_down, f);
	assert_int_equal(store_remove(f->store, &writing.write, &selector), ERROR_UNAVAILABLE);
}

static void writes_wait_while_redis_has_no_memory(void **state)
{
	struct fixture *f = *state;
	struct entry entry;

	add(f, 1, "default", "q");
	server_do(&f->world, "CONFIG SET maxmemory 1");
	entry = entry_at(f, 2, "default", "q", 60000);
	assert_int_equal(put(f, &entry), ERROR_PENDING);
	assert_true(part_up(&f->world.part));
	assert_false(is_there(f, "default", &entry.identity));
	server_do(&f->world, "CONFIG SET maxmemory 0");
	run_while_not(&f->world, queue_is_empty, f);
	assert_true(is_there(f, "default", &entry.identity));
}

static void a_refused_write_is_told(void **state)
{
	struct fixture *f = *state;
	struct entry entry;

	add(f, 1, "default", "q");
	server_do(&f->world, "ACL SETUSER default -xadd");
	entry = entry_at(f, 2, "default", "q", 60000);
	assert_int_equal(put(f, &entry), ERROR_UNAVAILABLE);
	assert_false(is_there(f, "default", &entry.identity));
	assert_true(queue_is_empty(f));
	server_do(&f->world, "ACL SETUSER default +xadd");
	assert_int_equal(put(f, &entry), 0);
}

static void a_removal_reaches_a_full_redis(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct store_selector selector = {.namespace = SLICE("default"), .entry = &identity};
	struct writing writing;

	add(f, 1, "default", "q");
	server_do(&f->world, "CONFIG SET maxmemory 1");
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, ERROR_PENDING);
	assert_int_equal(f->removed, 1);
	assert_false(is_there(f, "default", &identity));
	long long before = server_integer(&f->world, "XLEN", PREFIX "log");
	server_do(&f->world, "CONFIG SET maxmemory 0");
	run_while_not(&f->world, queue_is_empty, f);
	assert_int_equal(server_integer(&f->world, "XLEN", PREFIX "log"), before + 1);
}

static void writes_in_the_air_are_sent_again(void **state)
{
	struct fixture *f = *state;
	struct writing writings[50];

	start(f);
	for (unsigned round = 0; round < 5; round++) {
		server_pause(&f->world);
		for (unsigned i = 0; i < 50; i++) {
			struct entry entry = entry_at(f, 100 * round + i, "default", "q", 60000);
			writing_init(&writings[i]);
			assert_int_equal(store_put_entry(f->store, &writings[i].write, &entry), 0);
		}
		run_for(&f->world, 10);
		server_continue(&f->world);
		server_do(&f->world, "CLIENT KILL TYPE normal");
		for (unsigned i = 0; i < 50; i++)
			run_until(&f->world, &writings[i].done);
		run_while_not(&f->world, queue_is_empty, f);
		assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "directory:default"), 50 * (round + 1));
	}
}

static void a_redis_that_cannot_compare_keeps_sets_longest(void **state)
{
	struct fixture *f = *state;
	struct entry entry;

	/* Without INFO its version is not known, and so nothing new is asked of it. */
	server_start(&f->world);
	server_do(&f->world, "ACL SETUSER default -info");
	f->store = new_store(f);
	run_while_not(&f->world, part_is_up, f);
	entry = entry_at(f, 1, "default", "q", 200000000);
	assert_int_equal(put(f, &entry), 0);
	entry = entry_at(f, 2, "default", "q", 10000);
	assert_int_equal(put(f, &entry), 0);
	assert_in_range(server_integer(&f->world, "PTTL", PREFIX "directory:default"), 190000000, 200000000);
	entry = entry_at(f, 3, "other", "q", 10000);
	assert_int_equal(put(f, &entry), 0);
	assert_in_range(server_integer(&f->world, "PTTL", PREFIX "directory:other"), 80000000, 86400000);
	struct writing writing;
	flush(f, "default", &writing);
	assert_int_equal(writing.write.entries, 2);
}

static void a_generation_that_is_not_ours_keeps_nothing(void **state)
{
	struct fixture *f = *state;
	struct entry entry = entry_at(f, 1, "default", "q", 60000);

	server_do(&f->world, "HSET " PREFIX "generation:default a b");
	assert_int_equal(put(f, &entry), ERROR_UNAVAILABLE);
	assert_false(is_there(f, "default", &entry.identity));
	assert_true(part_up(&f->world.part));
}

static void a_password_and_a_database(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);

	f->world.config.redis.key.secret = (char *)"se cret";
	f->world.config.redis.url = (char *)"redis://localhost:1";
	server_start(&f->world);
	f->store = new_store(f);
	run_while_not(&f->world, part_is_down, f);
	store_destroy(f->store);
	f->world.config.redis.url = f->world.url;
	server_do(&f->world, "CONFIG SET requirepass %s", "se cret");
	f->store = new_store(f);
	run_while_not(&f->world, part_is_up, f);
	add(f, 1, "default", "q");
	assert_true(is_there(f, "default", &identity));
	store_destroy(f->store);
	f->world.config.redis.key.secret = (char *)"wrong";
	f->store = new_store(f);
	run_while_not(&f->world, part_is_down, f);
	f->world.config.redis.key.secret = NULL;
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(nobody_waits_for_a_hung_redis_more_than_three_times, setup, teardown),
	cmocka_unit_test_setup_teardown(an_idle_store_notices_a_hung_redis, setup, teardown),
	cmocka_unit_test_setup_teardown(a_short_pause_fails_nothing, setup, teardown),
	cmocka_unit_test_setup_teardown(a_refused_connection_is_down_at_once, setup, teardown),
	cmocka_unit_test_setup_teardown(reads_in_the_air_end_when_redis_dies, setup, teardown),
	cmocka_unit_test_setup_teardown(a_cancelled_read_is_never_told, setup, teardown),
	cmocka_unit_test_setup_teardown(destroy_with_everything_in_the_air, setup, teardown),
	cmocka_unit_test_setup_teardown(what_was_paid_for_while_redis_was_away_is_kept, setup_away, teardown),
	cmocka_unit_test_setup_teardown(a_write_of_a_namespace_flushed_meanwhile_is_dead, setup, teardown),
	cmocka_unit_test_setup_teardown(a_flush_by_another_while_cut_off_kills_what_is_queued, setup, teardown),
	cmocka_unit_test_setup_teardown(a_full_queue_refuses_and_counts, setup_away, teardown),
	cmocka_unit_test_setup_teardown(a_dry_run_needs_redis, setup, teardown),
	cmocka_unit_test_setup_teardown(writes_wait_while_redis_has_no_memory, setup, teardown),
	cmocka_unit_test_setup_teardown(a_refused_write_is_told, setup, teardown),
	cmocka_unit_test_setup_teardown(a_removal_reaches_a_full_redis, setup, teardown),
	cmocka_unit_test_setup_teardown(writes_in_the_air_are_sent_again, setup, teardown),
	cmocka_unit_test_setup_teardown(a_redis_that_cannot_compare_keeps_sets_longest, setup_away, teardown),
	cmocka_unit_test_setup_teardown(a_generation_that_is_not_ours_keeps_nothing, setup, teardown),
	cmocka_unit_test_setup_teardown(a_password_and_a_database, setup_away, teardown),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
