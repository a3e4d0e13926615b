/* Two daemons on one real Redis: what one adds, aliases, removes and flushes reaches the other, in order, also over a lost
 * connection; and where records may have been lost, everything is read again. */
#include "store_fixture.h"

#include "daemon/follow.h"

struct follower {
	struct fixture *f;
	struct follow *follow;
	unsigned puts, aliases, removals, flushes, reloads, wanted;
	bool connected;
	struct identity last;
	uint64_t generation;
	char namespace[65];
};

static void note(struct follower *follower, struct slice namespace)
{
	memcpy(follower->namespace, namespace.data, namespace.length);
	follower->namespace[namespace.length] = '\0';
}

static void on_put(void *data, struct slice namespace, const struct identity *entry)
{
	struct follower *follower = data;

	follower->puts++;
	follower->last = *entry;
	note(follower, namespace);
}

static void on_alias(void *data, struct slice namespace, const struct identity *alias)
{
	struct follower *follower = data;

	follower->aliases++;
	follower->last = *alias;
	note(follower, namespace);
}

static void on_gone(void *data, struct slice namespace, const struct identity *identity)
{
	struct follower *follower = data;

	follower->removals++;
	follower->last = *identity;
	note(follower, namespace);
}

static void on_flushed(void *data, struct slice namespace, uint64_t generation)
{
	struct follower *follower = data;

	follower->flushes++;
	follower->generation = generation;
	note(follower, namespace);
}

static void on_reload(void *data)
{
	struct follower *follower = data;

	follower->reloads++;
}

static void on_connected(void *data, bool connected)
{
	struct follower *follower = data;

	assert_true(follower->connected != connected);
	follower->connected = connected;
}

static const struct follow_events follow_events = {
	.put = on_put,
	.alias = on_alias,
	.removed = on_gone,
	.flushed = on_flushed,
	.reload = on_reload,
	.connected = on_connected,
};

static void follower_start(struct follower *follower, struct fixture *f, uint64_t origin)
{
	struct world *world = &f->world;

	*follower = (struct follower){.f = f};
	follower->follow = follow_create(&world->loop, world->deadlines, &world->config, origin, &follow_events, follower,
					 &world->part, &world->metrics, &world->log);
	assert_non_null(follower->follow);
	run_until(world, &follower->connected);
	assert_int_equal(follower->reloads, 1);
}

static bool has_put(void *data)
{
	struct follower *follower = data;

	return follower->puts >= follower->wanted;
}

static bool has_aliased(void *data)
{
	struct follower *follower = data;

	return follower->aliases >= follower->wanted;
}

static bool has_removed(void *data)
{
	struct follower *follower = data;

	return follower->removals >= follower->wanted;
}

static bool has_flushed(void *data)
{
	struct follower *follower = data;

	return follower->flushes >= follower->wanted;
}

static bool has_reloaded(void *data)
{
	struct follower *follower = data;

	return follower->reloads >= follower->wanted && follower->connected;
}

static bool is_cut_off(void *data)
{
	struct follower *follower = data;

	return !follower->connected;
}

static bool is_connected(void *data)
{
	struct follower *follower = data;

	return follower->connected;
}

static void wait_for(struct follower *follower, bool (*what)(void *data), unsigned wanted)
{
	follower->wanted = wanted;
	run_while_not(&follower->f->world, what, follower);
}

static void every_kind_of_change_is_told(void **state)
{
	struct fixture *f = *state;
	struct follower follower;
	struct identity one = identity_at(1), two = identity_at(2);
	struct store_selector selector = {.namespace = SLICE("default"), .entry = &one};
	struct writing writing;

	follower_start(&follower, f, 12345);
	add(f, 1, "default", "q");
	wait_for(&follower, has_put, 1);
	assert_true(identity_equal(&follower.last, &one));
	assert_string_equal(follower.namespace, "default");
	add_alias(f, 2, 1, "default", "another");
	wait_for(&follower, has_aliased, 1);
	assert_true(identity_equal(&follower.last, &two));
	removal(f, &writing, &selector);
	wait_for(&follower, has_removed, 1);
	assert_true(identity_equal(&follower.last, &one));
	flush(f, "default", &writing);
	wait_for(&follower, has_flushed, 1);
	assert_int_equal(follower.generation, store_generation(f->store, SLICE("default")));
	assert_int_equal(follower.reloads, 1);
	follow_destroy(follower.follow);
}

static void our_own_records_are_skipped(void **state)
{
	struct fixture *f = *state;
	struct follower own, other;

	follower_start(&own, f, store_origin(f->store));
	follower_start(&other, f, 12345);
	for (unsigned n = 0; n < 20; n++)
		add(f, n, "default", "q");
	wait_for(&other, has_put, 20);
	assert_int_equal(own.puts, 0);
	follow_destroy(own.follow);
	follow_destroy(other.follow);
}

static void two_stores_follow_each_other(void **state)
{
	struct fixture *f = *state;
	struct fixture g = *f;
	struct follower of_f, of_g;

	g.store = store_create(&f->world.loop, f->world.deadlines, &f->world.config, EMBEDDER, DIMENSIONS, NULL, NULL,
			       &f->world.part, &f->world.metrics, &f->world.log);
	assert_non_null(g.store);
	follower_start(&of_f, f, store_origin(f->store));
	follower_start(&of_g, f, store_origin(g.store));
	for (unsigned n = 0; n < 100; n++) {
		struct entry entry = entry_at(f, n, "default", "q", 60000);
		assert_int_equal(store_put_entry(n % 2 ? f->store : g.store, NULL, &entry), 0);
	}
	wait_for(&of_f, has_put, 50);
	wait_for(&of_g, has_put, 50);
	run_for(&f->world, 30);
	assert_int_equal(of_f.puts, 50);
	assert_int_equal(of_g.puts, 50);
	/* A flush by one kills what the other has captured before. */
	struct entry entry = entry_at(f, 500, "default", "q", 60000);
	struct store_selector selector = {.namespace = SLICE("default")};
	struct writing writing;
	writing_init(&writing);
	assert_int_equal(store_remove(g.store, &writing.write, &selector), 0);
	run_until(&f->world, &writing.done);
	wait_for(&of_f, has_flushed, 1);
	store_set_generation(f->store, SLICE("default"), of_f.generation);
	assert_int_equal(of_f.generation, store_generation(g.store, SLICE("default")));
	assert_int_equal(put(f, &entry), ERROR_CANCELLED);
	follow_destroy(of_f.follow);
	follow_destroy(of_g.follow);
	store_destroy(g.store);
}

static void more_records_than_one_read_takes(void **state)
{
	struct fixture *f = *state;
	struct follower follower;

	follower_start(&follower, f, 12345);
	for (unsigned n = 0; n < 2000; n++) {
		struct entry entry = entry_at(f, n, "default", "q", 60000);
		assert_int_equal(store_put_entry(f->store, NULL, &entry), 0);
	}
	wait_for(&follower, has_put, 2000);
	run_for(&f->world, 20);
	assert_int_equal(follower.puts, 2000);
	assert_int_equal(follower.reloads, 1);
	follow_destroy(follower.follow);
}

static void it_goes_on_where_it_was_after_a_lost_connection(void **state)
{
	struct fixture *f = *state;
	struct follower follower;

	follower_start(&follower, f, 12345);
	add(f, 1, "default", "q");
	wait_for(&follower, has_put, 1);
	server_hide(&f->world);
	server_do(&f->world, "CLIENT KILL TYPE normal");
	run_while_not(&f->world, is_cut_off, &follower);
	/* Another daemon writes meanwhile. */
	for (unsigned n = 0; n < 600; n++)
		server_do(&f->world,
			  "XADD " PREFIX "log * op delete key %064u namespace default generation 0000000000000001 origin x",
			  n);
	server_show(&f->world);
	run_while_not(&f->world, is_connected, &follower);
	/* Connected means up to date. */
	assert_int_equal(follower.removals, 600);
	assert_int_equal(follower.reloads, 1);
	follow_destroy(follower.follow);
}

static void a_trimmed_log_means_reload(void **state)
{
	struct fixture *f = *state;
	struct follower follower;

	follower_start(&follower, f, 12345);
	add(f, 1, "default", "q");
	wait_for(&follower, has_put, 1);
	server_hide(&f->world);
	server_do(&f->world, "CLIENT KILL TYPE normal");
	run_while_not(&f->world, is_cut_off, &follower);
	for (unsigned n = 0; n < 20; n++)
		server_do(&f->world,
			  "XADD " PREFIX "log * op delete key %064u namespace default generation 0000000000000001 origin x",
			  n);
	server_do(&f->world, "XTRIM " PREFIX "log MAXLEN 5");
	server_show(&f->world);
	wait_for(&follower, has_reloaded, 2);
	/* The same where nothing at all is left, or the log itself is gone. */
	server_hide(&f->world);
	server_do(&f->world, "CLIENT KILL TYPE normal");
	run_while_not(&f->world, is_cut_off, &follower);
	server_do(&f->world, "XADD " PREFIX "log * op delete key x namespace default");
	server_do(&f->world, "XTRIM " PREFIX "log MAXLEN 0");
	server_show(&f->world);
	wait_for(&follower, has_reloaded, 3);
	server_hide(&f->world);
	server_do(&f->world, "CLIENT KILL TYPE normal");
	run_while_not(&f->world, is_cut_off, &follower);
	server_do(&f->world, "DEL " PREFIX "log");
	server_show(&f->world);
	wait_for(&follower, has_reloaded, 4);
	/* And then it follows again. */
	unsigned puts = follower.puts;
	add(f, 2, "default", "q");
	wait_for(&follower, has_put, puts + 1);
	follow_destroy(follower.follow);
}

static void another_redis_means_reload(void **state)
{
	struct fixture *f = *state;
	struct follower follower;

	follower_start(&follower, f, 12345);
	add(f, 1, "default", "q");
	wait_for(&follower, has_put, 1);
	server_kill(&f->world);
	run_while_not(&f->world, is_cut_off, &follower);
	server_start(&f->world);
	wait_for(&follower, has_reloaded, 2);
	follow_destroy(follower.follow);
}

static void a_hung_redis_is_noticed_and_followed_again(void **state)
{
	struct fixture *f = *state;
	struct follower follower;
	struct writing writing;
	struct entry entry;

	follower_start(&follower, f, 12345);
	add(f, 1, "default", "q");
	wait_for(&follower, has_put, 1);
	server_pause(&f->world);
	run_while_not(&f->world, is_cut_off, &follower);
	entry = entry_at(f, 2, "default", "q", 60000);
	writing_init(&writing);
	assert_int_equal(store_put_entry(f->store, &writing.write, &entry), 0);
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, ERROR_PENDING);
	server_continue(&f->world);
	wait_for(&follower, has_put, 2);
	run_while_not(&f->world, is_connected, &follower);
	assert_int_equal(follower.reloads, 1);
	follow_destroy(follower.follow);
}

static void records_that_are_not_ours_are_skipped(void **state)
{
	struct fixture *f = *state;
	struct follower follower;

	follower_start(&follower, f, 12345);
	server_do(&f->world, "XADD " PREFIX "log * op put");
	server_do(&f->world, "XADD " PREFIX "log * nonsense x");
	server_do(&f->world, "XADD " PREFIX "log * op put key 12 namespace default generation 1 origin 2");
	server_do(&f->world, "XADD " PREFIX "log * op what key %064u namespace default generation 1 origin 2", 1);
	server_do(&f->world, "XADD " PREFIX "log * op flush key x namespace default generation zz origin 2");
	add(f, 1, "default", "q");
	wait_for(&follower, has_put, 1);
	assert_int_equal(follower.puts + follower.aliases + follower.removals + follower.flushes, 1);
	/* A log that is no stream at all: it is tried again until it is one. */
	server_do(&f->world, "SET " PREFIX "log x");
	run_while_not(&f->world, is_cut_off, &follower);
	server_do(&f->world, "DEL " PREFIX "log");
	wait_for(&follower, has_reloaded, 2);
	follow_destroy(follower.follow);
}

static void destroy_in_every_state(void **state)
{
	struct fixture *f = *state;
	struct world *world = &f->world;

	for (unsigned turns = 0; turns < 40; turns++) {
		struct follower follower = {.f = f};
		follower.follow = follow_create(&world->loop, world->deadlines, &world->config, 1, &follow_events, &follower,
						&world->part, &world->metrics, &world->log);
		assert_non_null(follower.follow);
		for (unsigned i = 0; i < turns; i++)
			(void)uv_run(&world->loop, UV_RUN_NOWAIT);
		follow_destroy(follower.follow);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(every_kind_of_change_is_told, setup, teardown),
	cmocka_unit_test_setup_teardown(our_own_records_are_skipped, setup, teardown),
	cmocka_unit_test_setup_teardown(two_stores_follow_each_other, setup, teardown),
	cmocka_unit_test_setup_teardown(more_records_than_one_read_takes, setup, teardown),
	cmocka_unit_test_setup_teardown(it_goes_on_where_it_was_after_a_lost_connection, setup, teardown),
	cmocka_unit_test_setup_teardown(a_trimmed_log_means_reload, setup, teardown),
	cmocka_unit_test_setup_teardown(another_redis_means_reload, setup, teardown),
	cmocka_unit_test_setup_teardown(a_hung_redis_is_noticed_and_followed_again, setup, teardown),
	cmocka_unit_test_setup_teardown(records_that_are_not_ours_are_skipped, setup, teardown),
	cmocka_unit_test_setup_teardown(destroy_in_every_state, setup, teardown),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
