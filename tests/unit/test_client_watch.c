/* semcache_watch(): events reach their owner until it cancels, its time is over, or the daemon ends; what was not asked for
 * ends the connection. */
#include "client_peer.h"

/* Sends [2, "event", [id, raw]]. */
static bool peer_event(struct peer *peer, uint64_t id, struct slice raw)
{
	struct buffer out;

	buffer_init(&out, 1 << 16);
	PUT(&out, "\x93\x02\xa5"
		  "event\x92");
	put_uint(&out, id);
	put(&out, raw.data, raw.length);
	bool sent = peer_send(peer, out.data, out.length);
	buffer_deinit(&out);
	return sent;
}

/* {n: number} */
#define NUMBER(text) SLICE("\x81\xa1n" text)

struct watched {
	struct semcache *cache;
	int events, done, code;
	int cancel_at; /* 0 = never */
	char last;
};

static void on_event(void *data, uint64_t id, const void *event, size_t length)
{
	struct watched *watched = data;

	assert_int_equal(length, 4);
	watched->last = ((const char *)event)[3];
	watched->events++;
	if (watched->events == watched->cancel_at)
		assert_int_equal(semcache_cancel(watched->cache, id), 0);
}

static void on_end(void *data, uint64_t id, const struct semcache_error *error, struct semcache_result *result)
{
	struct watched *watched = data;

	(void)id;
	watched->done++;
	watched->code = error ? error->code : 0;
	semcache_result_free(result);
}

static bool script_events(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_watch) || !peer->request.has_namespace ||
	    !slice_equal(peer->request.namespace, SLICE("kb")) || !peer_event(peer, peer->request.id, NUMBER("\x01")) ||
	    !peer_event(peer, peer->request.id, NUMBER("\x02")))
		return false;
	/* The client may be gone by now. */
	(void)peer_event(peer, peer->request.id, NUMBER("\x03"));
	return peer_expect_cancel(peer, peer->request.id) && peer_expect_end(peer);
}

static void a_watch_is_told_until_it_is_cancelled(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct watched watched = {.cache = cache, .cancel_at = 2};

	peer_start(peer, script_events);
	assert_int_equal(semcache_watch(cache, "kb", SEMCACHE_UNSET, on_event, &watched), SEMCACHE_CANCELLED);
	assert_int_equal(watched.events, 2);
	assert_int_equal(watched.last, 2);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_silence(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_watch) && !peer->request.has_namespace &&
	       peer_expect_cancel(peer, peer->request.id) && peer_expect_end(peer);
}

static void a_watch_ends_at_its_time(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct watched watched = {.cache = cache};

	peer_start(peer, script_silence);
	assert_int_equal(semcache_watch(cache, NULL, 1, on_event, &watched), SEMCACHE_TIMEOUT);
	assert_int_equal(watched.events, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_lost(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_watch) && peer_event(peer, peer->request.id, NUMBER("\x01"));
}

/* Sent again it would have a gap that nobody is told of. */
static void a_watch_that_was_told_something_is_not_sent_again(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct watched watched = {.cache = cache};

	peer_start(peer, script_lost);
	assert_int_equal(semcache_watch(cache, NULL, SEMCACHE_UNSET, on_event, &watched), SEMCACHE_CLOSED);
	assert_int_equal(watched.events, 1);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_beside(struct peer *peer)
{
	uint64_t watch;

	if (!peer_accept(peer) || !peer_expect(peer, METHOD_watch))
		return false;
	watch = peer->request.id;
	return peer_event(peer, watch, NUMBER("\x01")) && peer_expect(peer, METHOD_ping) &&
	       peer_event(peer, watch, NUMBER("\x02")) && peer_respond(peer, peer->request.id, NULL, EMPTY) &&
	       peer_respond(peer, watch, "DRAINING : the daemon is ending", (struct slice){0}) && peer_expect_end(peer);
}

static void a_watch_runs_beside_other_requests(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct watched watched = {.cache = cache}, ping = {.cache = cache};
	struct semcache_handler handler = {.done = on_end, .data = &watched}, other = {.done = on_end, .data = &ping};

	peer_start(peer, script_beside);
	assert_int_equal(semcache_start_watch(cache, NULL, SEMCACHE_UNSET, on_event, &handler, NULL), 0);
	assert_int_equal(semcache_ping(cache), SEMCACHE_INVALID);
	assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, 5000, &other, NULL), 0);
	while (!watched.done || !ping.done) {
		struct pollfd fd = {.fd = semcache_fd(cache), .events = semcache_events(cache)};
		assert_true(poll(&fd, 1, semcache_timeout_ms(cache)) >= 0);
		assert_int_equal(semcache_process(cache), 0);
	}
	assert_int_equal(watched.events, 2);
	assert_int_equal(watched.code, SEMCACHE_DRAINING);
	assert_int_equal(ping.code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static void a_watch_needs_somebody_who_is_told(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_handler handler = {0};

	assert_int_equal(semcache_watch(cache, NULL, SEMCACHE_UNSET, NULL, NULL), SEMCACHE_INVALID);
	assert_string_equal(semcache_last_error(cache)->field, "event");
	assert_int_equal(semcache_start_watch(cache, NULL, SEMCACHE_UNSET, on_event, &handler, NULL), SEMCACHE_INVALID);
	assert_int_equal(
		semcache_start_watch(cache, NULL, 3600001, on_event, &(struct semcache_handler){.done = on_end}, NULL),
		SEMCACHE_INVALID);
	assert_int_equal(semcache_in_flight(cache), 0);
	semcache_close(cache);
}

static struct slice nonsense;

static bool script_nonsense(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_watch) && peer_send(peer, nonsense.data, nonsense.length) &&
	       peer_expect_end(peer);
}

static void an_event_that_cannot_be_ends_the_connection(void **state)
{
	const struct slice cases[] = {
		SLICE("\x93\x02\xa5"
		      "event\x92\x09\x80"), /* for no request */
		SLICE("\x93\x02\xa5"
		      "event\x91\x01"), /* without a map */
		SLICE("\x93\x02\xa5"
		      "event\x92\xa1x\x80"), /* an id that is no number */
		SLICE("\x93\x02\xa5"
		      "chunk\x93\x01\x00\xa1x"), /* a chunk, to a watch */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer *peer = *state;
		struct semcache *cache = open_handle(peer);
		struct watched watched = {.cache = cache};
		nonsense = cases[i];
		peer_start(peer, script_nonsense);
		assert_int_equal(semcache_watch(cache, NULL, 20000, on_event, &watched), SEMCACHE_PROTOCOL);
		assert_int_equal(watched.events, 0);
		semcache_close(cache);
		peer_finish(peer);
	}
}

static bool script_unasked(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_ping) && peer_event(peer, peer->request.id, EMPTY) &&
	       peer_expect_end(peer);
}

static void an_event_to_a_request_that_watches_nothing_ends_the_connection(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_unasked);
	assert_int_equal(semcache_ping(cache), SEMCACHE_PROTOCOL);
	semcache_close(cache);
	peer_finish(peer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_watch_is_told_until_it_is_cancelled),
		TEST(a_watch_ends_at_its_time),
		TEST(a_watch_that_was_told_something_is_not_sent_again),
		TEST(a_watch_runs_beside_other_requests),
		TEST(a_watch_needs_somebody_who_is_told),
		TEST(an_event_that_cannot_be_ends_the_connection),
		TEST(an_event_to_a_request_that_watches_nothing_ends_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
