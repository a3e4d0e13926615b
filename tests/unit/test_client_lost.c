/* libsemcache: connections that are lost, daemons that end, and daemons that are not there. */
#include "client_peer.h"

static bool script_close_then_answer(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate) || peer->request.timeout_ms > 5000)
		return false;
	/* Half a response does not count. */
	if (!peer_send(peer, "\x94\x01", 2) || !peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate))
		return false;
	if (peer->request.timeout_ms > 5000 || !peer->request.prompt.data)
		return peer_failed(peer, "the second attempt has more time than the first");
	return peer_respond(peer, peer->request.id, NULL, ANSWER) && peer_expect_end(peer);
}

static void a_request_is_sent_again_after_the_connection_is_lost(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;

	question.timeout_ms = 5000;
	peer_start(peer, script_close_then_answer);
	assert_int_equal(semcache_get_or_generate(cache, &question, NULL, NULL, &result), 0);
	semcache_result_free(result);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_close_twice(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_get_or_generate) && peer_accept(peer) &&
	       peer_expect(peer, METHOD_get_or_generate);
}

static void assert_no_connection_waits(const struct peer *peer)
{
	struct pollfd fd = {.fd = peer->listener, .events = POLLIN};

	assert_int_equal(poll(&fd, 1, 0), 0);
}

static void a_request_is_sent_again_only_once(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;

	peer_start(peer, script_close_twice);
	assert_int_equal(semcache_get_or_generate(cache, &question, NULL, NULL, &result), SEMCACHE_CLOSED);
	peer_finish(peer);
	assert_no_connection_waits(peer);
	semcache_close(cache);
}

static bool script_chunk_then_close(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_get_or_generate) &&
	       peer_chunk(peer, peer->request.id, 0, "Hel");
}

static void a_request_is_not_sent_again_after_a_chunk(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;
	struct ending ending = {0};

	peer_start(peer, script_chunk_then_close);
	assert_int_equal(semcache_get_or_generate(cache, &question, on_chunk, &ending, &result), SEMCACHE_CLOSED);
	assert_string_equal(ending.text, "Hel");
	peer_finish(peer);
	assert_no_connection_waits(peer);
	semcache_close(cache);
}

static bool script_drain_close(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_drain);
}

static void drain_is_never_sent_again(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_drain_close);
	assert_int_equal(semcache_call(cache, "drain", NULL, 0, SEMCACHE_UNSET, NULL), SEMCACHE_CLOSED);
	peer_finish(peer);
	assert_no_connection_waits(peer);
	semcache_close(cache);
}

static bool script_draining(struct peer *peer)
{
	uint64_t first, second;

	if (!peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate))
		return false;
	first = peer->request.id;
	if (!peer_expect(peer, METHOD_get_or_generate))
		return false;
	second = peer->request.id;
	/* The second is refused, the first still gets its answer over the old connection. */
	if (!peer_respond(peer, second, "DRAINING : the daemon is ending", (struct slice){0}) ||
	    !peer_respond(peer, first, NULL, ANSWER))
		return false;
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate) || peer->request.id != second)
		return peer_failed(peer, "the refused request did not go to the new daemon");
	return peer_respond(peer, second, NULL, ANSWER) && peer_expect_end(peer);
}

static void a_request_refused_by_an_ending_daemon_goes_to_the_next(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct ending endings[2] = {0};

	peer_start(peer, script_draining);
	for (int i = 0; i < 2; i++) {
		struct semcache_handler handler = {.done = on_done, .data = &endings[i]};
		assert_int_equal(semcache_start_get_or_generate(cache, &question, &handler, NULL), 0);
	}
	for (int i = 0; i < 2; i++) {
		run_until(cache, &endings[i]);
		assert_int_equal(endings[i].code, 0);
	}
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_drain_and_go(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_ping) ||
	    !peer_respond(peer, peer->request.id, "DRAINING : the daemon is ending", (struct slice){0}))
		return false;
	(void)unlink(peer->path);
	(void)close(peer->listener);
	peer->listener = -1;
	return true;
}

static void a_refused_request_waits_for_the_next_daemon(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer); /* its connect_timeout_ms is 0 */
	struct ending ending = {0};
	struct semcache_handler handler = {.done = on_done, .data = &ending};

	peer_start(peer, script_drain_and_go);
	assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, NULL), 0);
	/* A time this short is that of the next attempt: the first one found nobody. */
	while (semcache_timeout_ms(cache) == 0 || semcache_timeout_ms(cache) > 250) {
		struct pollfd fd = {.fd = semcache_fd(cache), .events = semcache_events(cache)};
		assert_true(poll(&fd, 1, semcache_timeout_ms(cache)) >= 0);
		assert_int_equal(semcache_process(cache), 0);
		assert_int_equal(ending.done, 0);
	}
	peer_finish(peer);
	peer_start(peer, script_ping);
	run_until(cache, &ending);
	assert_int_equal(ending.code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_draining_twice(struct peer *peer)
{
	for (int i = 0; i < 2; i++)
		if (!peer_accept(peer) || !peer_expect(peer, METHOD_ping) ||
		    !peer_respond(peer, peer->request.id, "DRAINING : the daemon is ending", (struct slice){0}))
			return false;
	return true;
}

static void a_second_refusal_is_told(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_draining_twice);
	assert_int_equal(semcache_ping(cache), SEMCACHE_DRAINING);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_idle_close(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_ping) && peer_respond(peer, peer->request.id, NULL, EMPTY);
}

static void a_daemon_that_restarted_between_two_calls_is_found_again(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_idle_close);
	assert_int_equal(semcache_ping(cache), 0);
	peer_finish(peer);
	peer_start(peer, script_ping);
	assert_int_equal(semcache_ping(cache), 0);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_last_error(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_lookup) || !peer_expect(peer, METHOD_lookup))
		return false;
	if (!peer_send(peer, "\x94\x01\xc0\xb7TOO_LARGE limit=10 : big\xc0", 28))
		return false;
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_lookup) || peer->request.prompt.length != 5)
		return peer_failed(peer, "the smaller request did not come again");
	return peer_respond(peer, peer->request.id, NULL, ANSWER) && peer_expect_end(peer);
}

static void an_error_without_an_id_is_about_the_largest_request(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question small = question_of("small"), large = question_of("much larger");
	struct ending endings[2] = {0};
	struct semcache_handler first = {.done = on_done, .data = &endings[0]},
				second = {.done = on_done, .data = &endings[1]};

	peer_start(peer, script_last_error);
	assert_int_equal(semcache_start_lookup(cache, &small, &first, NULL), 0);
	assert_int_equal(semcache_start_lookup(cache, &large, &second, NULL), 0);
	run_until(cache, &endings[1]);
	run_until(cache, &endings[0]);
	assert_int_equal(endings[1].code, SEMCACHE_TOO_LARGE);
	assert_int_equal(endings[0].code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static void without_a_daemon_the_error_names_the_path(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	assert_int_equal(semcache_ping(cache), SEMCACHE_CONNECT);
	assert_non_null(strstr(semcache_last_error(cache)->text, peer->path));
	semcache_close(cache);
}

static bool script_less_time(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_lookup))
		return false;
	if (peer->request.timeout_ms >= PATIENCE_S * 1000)
		return peer_failed(peer, "the time spent waiting for the daemon does not count");
	return peer_respond(peer, peer->request.id, NULL, ANSWER) && peer_expect_end(peer);
}

static void a_daemon_that_comes_late_is_waited_for(void **state)
{
	struct peer *peer = *state;
	struct semcache_options options = SEMCACHE_OPTIONS;
	struct semcache_question question = question_of("Hello?");
	struct ending ending = {0};
	struct semcache_handler handler = {.done = on_done, .data = &ending};

	options.socket = peer->path;
	options.connect_timeout_ms = PATIENCE_S * 1000;
	struct semcache *cache = semcache_open(&options);
	question.timeout_ms = PATIENCE_S * 1000;
	assert_int_equal(semcache_start_lookup(cache, &question, &handler, NULL), 0);
	/* Two more attempts, each after its wait. */
	for (int i = 0; i < 2; i++) {
		assert_in_range(semcache_timeout_ms(cache), 0, 250);
		(void)poll(NULL, 0, semcache_timeout_ms(cache));
		assert_int_equal(semcache_process(cache), 0);
		assert_int_equal(ending.done, 0);
	}
	peer_start(peer, script_less_time);
	run_until(cache, &ending);
	assert_int_equal(ending.code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static void a_path_that_cannot_be_a_socket_fails_at_once(void **state)
{
	struct semcache_options options = SEMCACHE_OPTIONS;

	(void)state;
	options.socket = "/dev/null/socket";
	options.connect_timeout_ms = PATIENCE_S * 1000;
	struct semcache *cache = semcache_open(&options);
	assert_int_equal(semcache_ping(cache), SEMCACHE_CONNECT);
	assert_non_null(strstr(semcache_last_error(cache)->text, "/dev/null/socket"));
	semcache_close(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_is_sent_again_after_the_connection_is_lost),
		TEST(a_request_is_sent_again_only_once),
		TEST(a_request_is_not_sent_again_after_a_chunk),
		TEST(drain_is_never_sent_again),
		TEST(a_request_refused_by_an_ending_daemon_goes_to_the_next),
		TEST(a_refused_request_waits_for_the_next_daemon),
		TEST(a_second_refusal_is_told),
		TEST(a_daemon_that_restarted_between_two_calls_is_found_again),
		TEST(an_error_without_an_id_is_about_the_largest_request),
		TEST(without_a_daemon_the_error_names_the_path),
		TEST(a_daemon_that_comes_late_is_waited_for),
		TEST(a_path_that_cannot_be_a_socket_fails_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
