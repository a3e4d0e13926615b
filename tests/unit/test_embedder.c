/* Texts become unit vectors, against a scripted service: batches, base64 and numbers, cancels, every kind of bad reply. */
#include "daemon/config.h"
#include "daemon/deadline.h"
#include "daemon/embedder.h"
#include "daemon/http.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/part.h"
#include "proto/error.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scripted_server.h"

#define REPLY(length, body) "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " #length "\r\n\r\n" body

struct world {
	uv_loop_t loop;
	struct deadlines *deadlines;
	struct http *http;
	struct server server;
	struct config config;
	struct part part;
	struct metrics metrics;
	struct log log;
	struct embedder *embedder;
	uv_timer_t patience;
	bool tired;
};

struct wanted {
	struct embedding embedding;
	int done, error;
	struct embedding *cancel_at_done;
};

static void on_done(struct embedding *embedding, int error)
{
	struct wanted *wanted = embedding->data;

	wanted->done++;
	wanted->error = error;
	assert_true((error == 0) == (embedding->vector != NULL));
	if (wanted->cancel_at_done)
		embedding_cancel(wanted->cancel_at_done);
}

static void on_tired(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	w->deadlines = deadlines_create(&w->loop);
	w->http = http_create(&w->loop, w->deadlines);
	assert_non_null(w->http);
	log_init(&w->log, LOG_LEVEL_ERROR);
	server_start(&w->server, &w->loop, NULL);
	w->config.embedder.url = w->server.url;
	w->config.embedder.model = (char *)(uintptr_t) "e";
	w->config.embedder.timeout_ms = 5000;
	part_init(&w->part, "embedder", true, &w->log, 0);
	w->embedder = embedder_create(w->http, w->deadlines, &w->config.embedder, &w->part, &w->metrics, &w->log);
	assert_non_null(w->embedder);
	(void)uv_timer_init(&w->loop, &w->patience);
	w->patience.data = &w->tired;
	(void)uv_timer_start(&w->patience, on_tired, 20000, 0);
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	embedder_destroy(w->embedder);
	http_destroy(w->http);
	deadlines_destroy(w->deadlines);
	server_stop(&w->server);
	uv_close((uv_handle_t *)&w->patience, NULL);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w);
	return 0;
}

#define UNTIL(w, condition)                                                                                                 \
	do {                                                                                                                \
		while (!(condition) && !(w)->tired)                                                                         \
			(void)uv_run(&(w)->loop, UV_RUN_ONCE);                                                              \
		assert_true(condition);                                                                                     \
	} while (0)

static int want(struct world *w, struct wanted *wanted, const char *text)
{
	*wanted = (struct wanted){.embedding = {.done = on_done, .text = slice_of(text)}};
	wanted->embedding.data = wanted;
	return embedding_start(w->embedder, &wanted->embedding);
}

/* Wants one text, against one reply. */
static void want_reply(struct world *w, struct wanted *wanted, const char *reply, enum then then)
{
	const struct exchange script[] = {{reply, then, false}};

	server_script(&w->server, script, 1);
	assert_int_equal(want(w, wanted, "hi"), 0);
	UNTIL(w, wanted->done);
}

static void a_text_becomes_a_unit_vector(void **state)
{
	struct world *w = *state;
	struct wanted one;

	/* 3.0 and 4.0 as float32: 00 00 40 40 00 00 80 40 */
	want_reply(w, &one, REPLY(50, "{\"data\":[{\"index\":0,\"embedding\":\"AABAQAAAgEA=\"}]}\n"), KEEP);
	assert_int_equal(one.error, 0);
	assert_int_equal(one.embedding.dimensions, 2);
	assert_true(fabsf(one.embedding.vector[0] - 0.6f) < 1e-6f && fabsf(one.embedding.vector[1] - 0.8f) < 1e-6f);
	assert_int_equal(embedder_dimensions(w->embedder), 2);
	assert_non_null(strstr(w->server.last, "POST /v1/embeddings HTTP/1.1\r\n"));
	assert_non_null(
		strstr(w->server.last, "\r\n\r\n{\"model\":\"e\",\"encoding_format\":\"base64\",\"input\":[\"hi\"]}"));
	free(one.embedding.vector);
}

/* A reply with the vectors (3, 4) for one text and for six, as base64. */
#define ONE_VECTOR "{\"embedding\":\"AABAQAAAgEA=\"}"
#define GOOD REPLY(50, "{\"data\":[{\"index\":0,\"embedding\":\"AABAQAAAgEA=\"}]}\n")
#define SIX "{\"data\":[" ONE_VECTOR "," ONE_VECTOR "," ONE_VECTOR "," ONE_VECTOR "," ONE_VECTOR "," ONE_VECTOR "]}"
#define CLOSED(status, body) "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n" body

static void assert_vector(struct wanted *wanted, float first, float second)
{
	assert_int_equal(wanted->done, 1);
	assert_int_equal(wanted->error, 0);
	assert_true(fabsf(wanted->embedding.vector[0] - first) < 1e-6f);
	assert_true(fabsf(wanted->embedding.vector[1] - second) < 1e-6f);
	free(wanted->embedding.vector);
}

static void texts_that_wait_leave_in_one_request(void **state)
{
	static struct wanted wanted[10]; /* outlives this frame, as the teardown still knows it */
	struct world *w = *state;
	static const struct exchange script[] = {
		{NULL, HOLD, false},
		{NULL, HOLD, false},
		{NULL, HOLD, false},
		{NULL, HOLD, false},
		{CLOSED("200 OK", SIX), CLOSE, false},
	};

	server_script(&w->server, script, 5);
	for (int i = 0; i < 10; i++)
		assert_int_equal(want(w, &wanted[i], i < 4 ? "early" : "later"), 0);
	UNTIL(w, w->server.requests == 4);
	embedding_cancel(&wanted[0].embedding); /* its place is free now */
	UNTIL(w, wanted[9].done);
	assert_int_equal(w->server.requests, 5);
	assert_non_null(strstr(w->server.last, "\"input\":[\"later\",\"later\",\"later\",\"later\",\"later\",\"later\"]"));
	for (int i = 4; i < 10; i++)
		assert_vector(&wanted[i], 0.6f, 0.8f);
	assert_int_equal(w->metrics.embedding_calls, 5);
	assert_int_equal(w->metrics.embedding_texts, 10);
}

static void numbers_come_in_any_order(void **state)
{
	struct world *w = *state;
	static struct wanted wanted[6]; /* outlives this frame, as the teardown still knows it */
	static const struct exchange script[] = {
		{NULL, KEEP, false},
		{NULL, KEEP, false},
		{NULL, KEEP, false},
		{NULL, KEEP, false},
		{CLOSED("200 OK", "{\"data\":[{\"index\":1,\"embedding\":[0,5e-1]},{\"index\":0,\"embedding\":[2,0.0]}]}"),
		 CLOSE, false},
	};

	server_script(&w->server, script, 5);
	for (int i = 0; i < 6; i++)
		assert_int_equal(want(w, &wanted[i], "x"), 0);
	UNTIL(w, w->server.requests == 4);
	embedding_cancel(&wanted[0].embedding);
	UNTIL(w, wanted[5].done);
	assert_vector(&wanted[4], 1, 0);
	assert_vector(&wanted[5], 0, 1);
	assert_int_equal(wanted[0].done, 0);
}

static void a_service_without_base64_is_asked_for_numbers(void **state)
{
	struct world *w = *state;
	struct wanted one;
	static const struct exchange script[] = {
		{CLOSED("400 Bad", "{}"), CLOSE, false},
		{CLOSED("200 OK", "{\"data\":[{\"embedding\":[1,0]}]}"), CLOSE, false},
		{CLOSED("200 OK", "{\"data\":[{\"embedding\":[0,1]}]}"), CLOSE, false},
		{CLOSED("400 Bad", "{}"), CLOSE, false},
	};

	server_script(&w->server, script, 4);
	assert_int_equal(want(w, &one, "a"), 0);
	UNTIL(w, one.done);
	assert_null(strstr(w->server.last, "base64"));
	assert_vector(&one, 1, 0);
	assert_int_equal(want(w, &one, "b"), 0);
	UNTIL(w, one.done);
	assert_vector(&one, 0, 1);
	assert_int_equal(w->server.requests, 3);
	/* now a 400 is about the text, and says nothing of the service */
	assert_int_equal(want(w, &one, "c"), 0);
	UNTIL(w, one.done);
	assert_int_equal(one.error, ERROR_UNAVAILABLE);
	assert_int_equal(w->server.requests, 4);
	assert_int_equal(w->part.failures, 0);
}

static void a_bad_reply_fails_its_texts_and_counts(void **state)
{
	static const char *const bodies[] = {
		"",
		"{}",
		"[]",
		"{\"data\":{}}",
		"{\"data\":[]}",
		"{\"data\":[1]}",
		"{\"data\":[{\"embedding\":7}]}",
		"{\"data\":[{\"embedding\":\"\"}]}",
		"{\"data\":[{\"embedding\":[]}]}",
		"{\"data\":[{\"embedding\":\"AAA\"}]}",
		"{\"data\":[{\"embedding\":\"AAAA\"}]}",         /* three bytes are no float */
		"{\"data\":[{\"embedding\":\"AAAAAAAAAAA=\"}]}", /* zeros */
		"{\"data\":[{\"embedding\":[0,0]}]}",
		"{\"data\":[{\"embedding\":[1,\"x\"]}]}",
		"{\"data\":[{\"embedding\":\"AADAfwAAgD8=\"}]}", /* NaN, 1 */
		"{\"data\":[{\"embedding\":[1e999,1]}]}",
		"{\"data\":[{\"embedding\":[NaN,1]}]}",
		"{\"data\":[{\"embedding\":[1,2,3]}]}", /* not two */
		"{\"data\":[{\"index\":1,\"embedding\":[1,2]}]}",
		"{\"data\":[{\"index\":-1,\"embedding\":[1,2]}]}",
		"{\"data\":[{\"index\":0,\"embedding\":[1,2]},{\"index\":0,\"embedding\":[1,2]}]}",
		"{\"data\":[{\"embedding\":[1,2]}]",
	};
	struct world *w = *state;
	struct wanted one;

	want_reply(w, &one, GOOD, CLOSE);
	free(one.embedding.vector);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		char reply[512];
		(void)snprintf(reply, sizeof(reply), CLOSED("200 OK", "%s"), bodies[i]);
		part_succeeded(&w->part, 0);
		want_reply(w, &one, reply, CLOSE);
		if (one.error != ERROR_UNAVAILABLE || w->part.failures != 1)
			fail_msg("case %zu: %d, %u failures", i, one.error, w->part.failures);
	}
}

static void the_part_goes_down_at_once_skips_and_is_probed(void **state)
{
	struct world *w = *state;
	static struct wanted wanted[8]; /* outlives this frame, as the teardown still knows it */
	static const struct exchange script[] = {
		{CLOSED("401 No", ""), CLOSE, false},      {NULL, HOLD, false},  {NULL, HOLD, false}, {NULL, HOLD, false},
		{CLOSED("503 Loading", ""), CLOSE, false}, {GOOD, CLOSE, false},
	};

	(void)part_failed(&w->part, "one", 0);
	(void)part_failed(&w->part, "two", 0);
	server_script(&w->server, script, 6);
	for (int i = 0; i < 8; i++)
		assert_int_equal(want(w, &wanted[i], "x"), 0);
	UNTIL(w, w->server.requests == 4);
	server_drop(&w->server);
	UNTIL(w, wanted[7].done);
	assert_false(part_up(&w->part));
	for (int i = 4; i < 8; i++)
		assert_int_equal(wanted[i].error, ERROR_UNAVAILABLE);
	assert_int_equal(w->server.requests, 4);
	assert_int_equal(want(w, &wanted[5], "x"), ERROR_UNAVAILABLE);
	UNTIL(w, part_up(&w->part));
	assert_int_equal(w->server.requests, 6);
	assert_non_null(strstr(w->server.last, "\"input\":[\"ping\"]"));
}

static void no_reply_in_time_fails(void **state)
{
	struct world *w = *state;
	struct wanted one;

	w->config.embedder.timeout_ms = 40;
	embedder_destroy(w->embedder);
	w->embedder = embedder_create(w->http, w->deadlines, &w->config.embedder, &w->part, &w->metrics, &w->log);
	want_reply(w, &one, NULL, HOLD);
	assert_int_equal(one.error, ERROR_UNAVAILABLE);
	assert_string_equal(w->part.error, "not done in time");
	assert_int_equal(w->part.failures, 1);
}

static void those_that_come_too_late_bring_the_part_down(void **state)
{
	struct world *w = *state;
	static struct wanted wanted[6]; /* outlives this frame, as the teardown still knows it */
	static const struct exchange script[] = {
		{NULL, HOLD, false}, {NULL, HOLD, false}, {NULL, HOLD, false}, {GOOD, CLOSE, false}, {GOOD, CLOSE, false},
	};

	embedder_set_second(w->embedder);
	server_script(&w->server, script, 5);
	for (int i = 0; i < 3; i++)
		assert_int_equal(want(w, &wanted[i], "x"), 0);
	UNTIL(w, w->server.requests == 3);
	for (int i = 0; i < 3; i++)
		embedder_late(w->embedder);
	assert_false(part_up(&w->part));
	assert_string_equal(w->part.error, "no vector in time");
	assert_int_equal(want(w, &wanted[3], "x"), ERROR_UNAVAILABLE);
	/* Found to be well by the probe. */
	UNTIL(w, part_up(&w->part));
	assert_int_equal(w->metrics.second_calls, 4);
	assert_int_equal(w->metrics.second_texts, 4);
	assert_int_equal(w->metrics.latency_second.count, 1);
	assert_int_equal(w->metrics.embedding_calls + w->metrics.latency_embedder.count, 0);
	/* three requests stay in the air for the teardown */
}

static void cancels_of_every_kind(void **state)
{
	struct world *w = *state;
	static struct wanted wanted[10]; /* outlives this frame, as the teardown still knows it */
	static const struct exchange script[] = {
		{NULL, HOLD, false},
		{NULL, HOLD, false},
		{NULL, HOLD, false},
		{NULL, HOLD, false},
		{CLOSED("200 OK", SIX), CLOSE, false},
	};

	server_script(&w->server, script, 5);
	for (int i = 0; i < 10; i++)
		assert_int_equal(want(w, &wanted[i], "x"), 0);
	UNTIL(w, w->server.requests == 4);
	wanted[4].cancel_at_done = &wanted[6].embedding;
	wanted[5].cancel_at_done = &wanted[5].embedding;
	/* The last one of its request: the request ends, and the place is taken by those who wait. */
	embedding_cancel(&wanted[0].embedding);
	UNTIL(w, w->server.requests == 5);
	embedding_cancel(&wanted[8].embedding);
	UNTIL(w, wanted[9].done);
	assert_true(!wanted[0].done && !wanted[6].done && !wanted[8].done);
	assert_vector(&wanted[4], 0.6f, 0.8f);
	assert_vector(&wanted[5], 0.6f, 0.8f);
	assert_vector(&wanted[7], 0.6f, 0.8f);
	assert_vector(&wanted[9], 0.6f, 0.8f);
	embedding_cancel(&wanted[9].embedding);
	/* three requests stay in the air for the teardown */
}

static void a_connection_is_kept_and_a_dead_one_replaced(void **state)
{
	struct world *w = *state;
	struct wanted one;
	static const struct exchange script[] = {
		{GOOD, KEEP, false}, {GOOD, KEEP, false}, {GOOD, KEEP, false}, {NULL, CLOSE, false}, {GOOD, KEEP, false},
	};

	server_script(&w->server, script, 5);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(want(w, &one, "x"), 0);
		UNTIL(w, one.done);
		assert_vector(&one, 0.6f, 0.8f);
	}
	assert_int_equal(w->server.connections, 1);
	server_drop(&w->server);
	UNTIL(w, w->server.open == 0);
	assert_int_equal(want(w, &one, "x"), 0);
	UNTIL(w, one.done);
	assert_vector(&one, 0.6f, 0.8f);
	assert_int_equal(w->server.connections, 2);
	/* This one dies under the request; an embedding costs next to nothing, so it is sent again. */
	assert_int_equal(want(w, &one, "x"), 0);
	UNTIL(w, one.done);
	assert_vector(&one, 0.6f, 0.8f);
	assert_int_equal(w->server.requests, 5);
}

static void the_name_tells_embedders_apart(void **state)
{
	struct world *w = *state;
	char first[17];

	assert_int_equal(strlen(embedder_name(w->embedder)), 16);
	(void)snprintf(first, sizeof(first), "%s", embedder_name(w->embedder));
	embedder_destroy(w->embedder);
	w->config.embedder.dimensions = 256;
	w->embedder = embedder_create(w->http, w->deadlines, &w->config.embedder, &w->part, &w->metrics, &w->log);
	assert_string_not_equal(first, embedder_name(w->embedder));
	assert_int_equal(embedder_dimensions(w->embedder), 256);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
	const struct CMUnitTest tests[] = {
		TEST(a_text_becomes_a_unit_vector),
		TEST(texts_that_wait_leave_in_one_request),
		TEST(numbers_come_in_any_order),
		TEST(a_service_without_base64_is_asked_for_numbers),
		TEST(a_bad_reply_fails_its_texts_and_counts),
		TEST(the_part_goes_down_at_once_skips_and_is_probed),
		TEST(no_reply_in_time_fails),
		TEST(those_that_come_too_late_bring_the_part_down),
		TEST(cancels_of_every_kind),
		TEST(a_connection_is_kept_and_a_dead_one_replaced),
		TEST(the_name_tells_embedders_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
