/* For the tests of libsemcache: a peer that follows a script in a thread of its own, and mostly does not behave. */
#ifndef TEST_CLIENT_PEER_H
#define TEST_CLIENT_PEER_H

#include "../../client/semcache.h"
#include "../../proto/buffer.h"
#include "../../proto/error.h"
#include "../../proto/request.h"
#include "../../proto/scanner.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A wait that only a broken test comes to the end of. */
#define PATIENCE_S 20

struct peer {
	char directory[32];
	char path[64];
	int listener;
	int connection;
	struct buffer in;
	struct scanner scanner;
	size_t last_length; /* of the message read last, which is at the start of `in` */
	struct request request;
	const char *failed; /* what did not come as the script has it */
	bool (*script)(struct peer *);
	pthread_t thread;
	bool running;
};

static inline bool peer_failed(struct peer *peer, const char *what)
{
	if (!peer->failed)
		peer->failed = what;
	return false;
}

static inline void peer_listen(struct peer *peer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", peer->path);
	peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(peer->listener >= 0);
	assert_int_equal(bind(peer->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(peer->listener, 16), 0);
}

static inline void peer_hang_up(struct peer *peer)
{
	if (peer->connection >= 0)
		(void)close(peer->connection);
	peer->connection = -1;
	peer->in.length = 0;
	peer->last_length = 0;
	scanner_init(&peer->scanner, 1 << 20);
}

static inline bool peer_accept(struct peer *peer)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};

	peer_hang_up(peer);
	(void)setsockopt(peer->listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	peer->connection = accept(peer->listener, NULL, NULL);
	if (peer->connection < 0)
		return peer_failed(peer, "no connection came");
	(void)setsockopt(peer->connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return true;
}

/* Reads one message. Returns false at the end of the connection, too. */
static inline bool peer_read(struct peer *peer, struct slice *message)
{
	size_t end;

	buffer_consume(&peer->in, peer->last_length);
	peer->last_length = 0;
	for (;;) {
		int error = peer->in.length ? scanner_scan(&peer->scanner, peer->in.data, peer->in.length, &end)
					    : ERROR_PENDING;
		if (error == 0) {
			peer->last_length = end;
			*message = (struct slice){peer->in.data, end};
			return true;
		}
		if (error != ERROR_PENDING)
			return peer_failed(peer, "the client sent no MessagePack");
		if (buffer_reserve(&peer->in, 4096) != 0)
			return peer_failed(peer, "out of memory");
		ssize_t n = recv(peer->connection, peer->in.data + peer->in.length, 4096, 0);
		if (n <= 0)
			return false;
		peer->in.length += (size_t)n;
	}
}

/* Reads a request of `method` into peer->request. */
static inline bool peer_expect(struct peer *peer, enum method method)
{
	struct slice message, params;
	struct fault fault;
	enum message_kind kind;
	bool id_known;

	if (!peer_read(peer, &message))
		return peer_failed(peer, "a request did not come");
	if (request_read_head(message, &peer->request, &kind, &params, &id_known, &fault) != 0 || kind != MESSAGE_REQUEST ||
	    peer->request.method != method)
		return peer_failed(peer, "another message than the expected request");
	if (request_read_params(params, &peer->request, &fault) != 0)
		return peer_failed(peer, "parameters that the daemon would refuse");
	return true;
}

static inline bool peer_expect_cancel(struct peer *peer, uint64_t id)
{
	struct request request;
	struct slice message, params;
	struct fault fault;
	enum message_kind kind;
	bool id_known;

	if (!peer_read(peer, &message) || request_read_head(message, &request, &kind, &params, &id_known, &fault) != 0 ||
	    kind != MESSAGE_CANCEL || request.id != id)
		return peer_failed(peer, "the expected cancel did not come");
	return true;
}

static inline bool peer_expect_end(struct peer *peer)
{
	struct slice message;

	return peer_read(peer, &message) ? peer_failed(peer, "a message where the end was expected") : true;
}

static inline bool peer_send(struct peer *peer, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t n = send(peer->connection, at, length, MSG_NOSIGNAL);
		if (n < 0)
			return false;
		at += n;
		length -= (size_t)n;
	}
	return true;
}

static inline void put(struct buffer *out, const void *bytes, size_t length)
{
	if (buffer_append(out, bytes, length) != 0)
		abort();
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static inline void put_uint(struct buffer *out, uint64_t number)
{
	char bytes[9] = {(char)0xcf};

	for (int i = 0; i < 8; i++)
		bytes[1 + i] = (char)(number >> (56 - 8 * i) & 0xff);
	put(out, bytes, sizeof(bytes));
}

static inline void put_text(struct buffer *out, const char *text)
{
	size_t length = strlen(text);
	char head[3] = {(char)0xda, (char)(length >> 8), (char)(length & 0xff)};

	put(out, head, sizeof(head));
	put(out, text, length);
}

/* Sends [1, id, error, result]; `error` or `result` NULL = nil; `result` is raw. */
static inline bool peer_respond(struct peer *peer, uint64_t id, const char *error, struct slice result)
{
	struct buffer out;

	buffer_init(&out, 1 << 24);
	PUT(&out, "\x94\x01");
	put_uint(&out, id);
	if (error)
		put_text(&out, error);
	else
		PUT(&out, "\xc0");
	if (result.data)
		put(&out, result.data, result.length);
	else
		PUT(&out, "\xc0");
	bool sent = peer_send(peer, out.data, out.length);
	buffer_deinit(&out);
	return sent;
}

static inline bool peer_chunk(struct peer *peer, uint64_t id, uint64_t seq, const char *text)
{
	struct buffer out;

	buffer_init(&out, 1 << 20);
	PUT(&out, "\x93\x02\xa5"
		  "chunk\x93");
	put_uint(&out, id);
	put_uint(&out, seq);
	put_text(&out, text);
	bool sent = peer_send(peer, out.data, out.length);
	buffer_deinit(&out);
	return sent;
}

#define EMPTY SLICE("\x80")
#define ANSWER                                                                                                              \
	SLICE("\x82\xa4tier\xa6memory\xa6"                                                                                  \
	      "answer\xa5Hello")

static inline void *peer_run(void *data)
{
	struct peer *peer = data;

	if (!peer->script(peer))
		(void)peer_failed(peer, "the script ended too early");
	peer_hang_up(peer);
	return NULL;
}

static inline int setup(void **state)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	assert_non_null(peer);
	(void)snprintf(peer->directory, sizeof(peer->directory), "/tmp/semcXXXXXX");
	assert_non_null(mkdtemp(peer->directory));
	(void)snprintf(peer->path, sizeof(peer->path), "%s/s", peer->directory);
	buffer_init(&peer->in, 1 << 24);
	peer->connection = -1;
	peer->listener = -1;
	peer_hang_up(peer);
	*state = peer;
	return 0;
}

static inline int teardown(void **state)
{
	struct peer *peer = *state;

	peer_hang_up(peer);
	buffer_deinit(&peer->in);
	if (peer->listener >= 0)
		(void)close(peer->listener);
	(void)unlink(peer->path);
	(void)rmdir(peer->directory);
	free(peer);
	return 0;
}

static inline void peer_start(struct peer *peer, bool (*script)(struct peer *))
{
	if (peer->listener < 0)
		peer_listen(peer);
	peer->script = script;
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_run, peer), 0);
}

/* Waits for the script's end, which must have gone as it says. */
static inline void peer_finish(struct peer *peer)
{
	assert_int_equal(pthread_join(peer->thread, NULL), 0);
	if (peer->failed)
		fail_msg("the peer: %s", peer->failed);
}

static inline struct semcache *open_handle(struct peer *peer)
{
	struct semcache_options options = SEMCACHE_OPTIONS;

	options.socket = peer->path;
	options.max_message_bytes = 65536;
	options.connect_timeout_ms = 0;
	struct semcache *cache = semcache_open(&options);
	assert_non_null(cache);
	return cache;
}

static inline struct semcache_question question_of(const char *prompt)
{
	struct semcache_question question = SEMCACHE_QUESTION;

	question.prompt = prompt;
	return question;
}

static inline bool script_ping(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_ping) && peer_respond(peer, peer->request.id, NULL, EMPTY) &&
	       peer_expect_end(peer);
}

struct ending {
	struct semcache *cache;
	int done; /* how often it was told */
	int code;
	int chunks;
	char text[256];
	bool cancel_at_chunk;
	int refused; /* calls in the callback that were refused, as they must be */
};

static inline void on_chunk(void *data, uint64_t id, const char *text, size_t length)
{
	struct ending *ending = data;

	ending->chunks++;
	(void)strncat(ending->text, text, length);
	if (ending->cancel_at_chunk)
		assert_int_equal(semcache_cancel(ending->cache, id), 0);
}

static inline void on_done(void *data, uint64_t id, const struct semcache_error *error, struct semcache_result *result)
{
	struct ending *ending = data;

	(void)id;
	assert_true((error != NULL) != (result != NULL));
	ending->done++;
	ending->code = error ? error->code : 0;
	semcache_result_free(result);
}

static inline void run_until(struct semcache *cache, const struct ending *ending)
{
	while (!ending->done) {
		struct pollfd fd = {.fd = semcache_fd(cache), .events = semcache_events(cache)};
		assert_true(fd.fd >= 0);
		assert_true(poll(&fd, 1, semcache_timeout_ms(cache)) >= 0);
		assert_int_equal(semcache_process(cache), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
