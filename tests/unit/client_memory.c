/* libsemcache without memory: a whole session is run again and again, and each time one more allocation succeeds before one
 * fails. Whatever fails, every request that was started is told exactly once, and nothing leaks or crashes. The linker puts
 * the functions below in place of the real ones (--wrap). */
#include "client_peer.h"

static long allocations_left = -1; /* -1: without limit */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool allocation_fails(void)
{
	if (allocations_left < 0)
		return false;
	if (allocations_left == 0)
		return true;
	allocations_left--;
	return false;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(memory, size);
}

/* What the peer sends on each connection, to the requests 1 (streamed), 2 and 3. */
static const char first[] = "\x93\x02\xa5"
			    "chunk\x93\x01\x00\xa3Hel"
			    "\x94\x01\x02\xc0\x82\xa4tier\xa6memory\xa6"
			    "answer\xa5Hello"
			    "\x94\x01\x03\xb2"
			    "DRAINING : ending.\xc0"
			    "\x94\x01\x01\xc0\x81\xa4tier\xa8upstream";
static const char second[] = "\x94\x01\x03\xc0\x80";

static void serve(struct peer *peer, const char *bytes, size_t length)
{
	int connection = accept(peer->listener, NULL, NULL);

	if (connection < 0)
		return;
	(void)send(connection, bytes, length, MSG_NOSIGNAL);
	(void)shutdown(connection, SHUT_WR);
	if (peer->connection >= 0)
		(void)close(peer->connection);
	peer->connection = connection;
}

/* Starts three requests, and sees to it that each that was started is told once. Returns whether nothing failed. */
static bool run_session(struct peer *peer)
{
	struct semcache_options options = SEMCACHE_OPTIONS;
	struct semcache_question question = question_of("Hello?");
	struct ending endings[3] = {0};
	bool started[3] = {false};
	bool well = true;

	options.socket = peer->path;
	options.connect_timeout_ms = 0;
	struct semcache *cache = semcache_open(&options);
	if (!cache)
		return false;
	for (int i = 0; i < 3; i++) {
		struct semcache_handler handler = {.chunk = i == 0 ? on_chunk : NULL, .done = on_done, .data = &endings[i]};
		int code = i == 2 ? semcache_start_call(cache, "stats", NULL, 0, SEMCACHE_UNSET, &handler, NULL)
				  : semcache_start_get_or_generate(cache, &question, &handler, NULL);
		assert_true(code == 0 || code == SEMCACHE_MEMORY);
		started[i] = code == 0;
	}
	serve(peer, first, sizeof(first) - 1);
	for (int i = 0; i < 20 && semcache_in_flight(cache) > 0; i++) {
		assert_int_equal(semcache_process(cache), 0);
		serve(peer, second, sizeof(second) - 1);
	}
	assert_int_equal(semcache_in_flight(cache), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(endings[i].done, started[i] ? 1 : 0);
		well = well && started[i] && endings[i].code == 0;
	}
	semcache_close(cache);
	return well;
}

static void any_allocation_may_fail(void **state)
{
	struct peer *peer = *state;
	bool well = false;
	int n;

	peer_listen(peer);
	assert_int_equal(fcntl(peer->listener, F_SETFL, O_NONBLOCK), 0);
	for (n = 0; n < 1000 && !well; n++) {
		allocations_left = n;
		well = run_session(peer);
		allocations_left = -1;
		peer_hang_up(peer);
		int waiting;
		while ((waiting = accept(peer->listener, NULL, NULL)) >= 0)
			(void)close(waiting);
	}
	assert_true(well);
	assert_true(n > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(any_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
