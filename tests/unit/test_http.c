/* Requests on the loop: what arrives, in which pieces, how each can end, and that cancelling is final. */
#include "daemon/deadline.h"
#include "daemon/http.h"
#include "proto/error.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "scripted_server.h"

struct world {
	uv_loop_t loop;
	struct deadlines *deadlines;
	struct http *http;
	struct server server;
	struct http_target target;
	uv_timer_t patience;
	bool tired;
};

struct got {
	struct http_request request;
	int heads, status, done;
	enum http_result result;
	char body[65536], error[256];
	size_t length;
	unsigned pieces;
	struct http_request *cancel_at_data, *cancel_at_head, *cancel_at_done;
};

static void on_head(struct http_request *request, int status)
{
	struct got *got = request->data;

	assert_int_equal(got->length, 0);
	got->heads++;
	got->status = status;
	if (got->cancel_at_head)
		http_cancel(got->cancel_at_head);
}

static void on_data(struct http_request *request, struct slice data)
{
	struct got *got = request->data;

	assert_int_equal(got->heads, 1);
	assert_true(got->length + data.length < sizeof(got->body));
	memcpy(got->body + got->length, data.data, data.length);
	got->length += data.length;
	got->pieces++;
	if (got->cancel_at_data)
		http_cancel(got->cancel_at_data);
}

static void on_done(struct http_request *request, enum http_result result, int status, const char *error)
{
	struct got *got = request->data;

	assert_null(request->private);
	got->done++;
	got->result = result;
	got->status = status;
	(void)snprintf(got->error, sizeof(got->error), "%s", error);
	assert_true((result == HTTP_DONE) == (error[0] == '\0'));
	if (got->cancel_at_done)
		http_cancel(got->cancel_at_done);
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
	server_start(&w->server, &w->loop, NULL);
	w->target = (struct http_target){.base_url = w->server.url, .connect_timeout_ms = 5000, .timeout_ms = 15000};
	(void)uv_timer_init(&w->loop, &w->patience);
	w->patience.data = &w->tired;
	(void)uv_timer_start(&w->patience, on_tired, 20000, 0);
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

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

static void get(struct world *w, struct got *got, const char *body)
{
	memset(got, 0, sizeof(*got));
	got->request = (struct http_request){
		.target = &w->target,
		.path = "/thing",
		.event_stream = body != NULL,
		.max_response_bytes = 60000,
		.on_head = on_head,
		.on_data = on_data,
		.on_done = on_done,
		.data = got,
	};
	buffer_init(&got->request.body, 1 << 20);
	if (body)
		assert_int_equal(buffer_append(&got->request.body, body, strlen(body)), 0);
	assert_int_equal(http_start(w->http, &got->request), 0);
	assert_null(got->request.body.data);
}

static void get_reply(struct world *w, struct got *got, const char *body, const char *reply, enum then then)
{
	const struct exchange script[] = {{reply, then, false}};

	server_script(&w->server, script, 1);
	get(w, got, body);
	UNTIL(w, got->done);
	assert_int_equal(got->done, 1);
}

static void a_response_arrives_whole(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(1, sizeof(*got));

	w->target.secret = "top";
	get_reply(w, got, NULL, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", KEEP);
	assert_true(got->result == HTTP_DONE && got->status == 200 && got->heads == 1);
	assert_string_equal(got->body, "hello");
	assert_non_null(strstr(w->server.last, "GET /v1/thing HTTP/1.1\r\n"));
	assert_non_null(strstr(w->server.last, "\r\nAuthorization: Bearer top\r\n"));
	get_reply(w, got, "{}",
		  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
		  "2\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
		  KEEP);
	assert_true(got->result == HTTP_DONE && got->status == 201 && got->heads == 1);
	assert_string_equal(got->body, "abcde");
	assert_non_null(strstr(w->server.last, "POST /v1/thing HTTP/1.1\r\n"));
	assert_non_null(strstr(w->server.last, "\r\nAccept: text/event-stream\r\n"));
	free(got);
}

static void pieces_come_as_they_are_sent(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(1, sizeof(*got));
	static const struct exchange script[] = {{"HTTP/1.1 200 OK\r\n\r\nabcdef", CLOSE, true}};

	server_script(&w->server, script, 1);
	get(w, got, "{}");
	UNTIL(w, got->done);
	assert_string_equal(got->body, "abcdef");
	assert_int_equal(got->pieces, 6);
	free(got);
}

static void ends_of_every_kind(void **state)
{
	static const struct {
		const char *reply;
		enum then then;
		enum http_result result;
		int status;
		const char *error; /* NULL = any */
	} cases[] = {
		{NULL, CLOSE, HTTP_RESET, 0, NULL},
		{NULL, RESET, HTTP_RESET, 0, NULL},
		{"HTTP/1.1 200 OK\r\n\r\nabc", RESET, HTTP_RESET, 200, NULL},
		{"HTTP/1.1 200 OK\r\n\r\nabc", CLOSE, HTTP_DONE, 200, ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", CLOSE, HTTP_TRUNCATED, 200, NULL},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", CLOSE, HTTP_TRUNCATED, 200, NULL},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", CLOSE, HTTP_RESET, 200, NULL},
		{"HTTP/1.1 200", CLOSE, HTTP_RESET, 0, NULL},
		{"SSH-2.0-x\r\n", CLOSE, HTTP_FAILED, 0, NULL},
		{"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", KEEP, HTTP_DONE, 301,
		 ""},
		{"HTTP/1.1 204 None\r\n\r\n", KEEP, HTTP_DONE, 204, ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n", HOLD, HTTP_STALLED, 200, "nothing came in time"},
		{"HTTP/1.1 200 OK\r\nX: ", HOLD, HTTP_STALLED, 0, "nothing came in time"},
		{NULL, HOLD, HTTP_STALLED, 0, "nothing came in time"},
	};
	struct world *w = *state;
	struct got *got = calloc(1, sizeof(*got));

	w->target.idle_timeout_ms = 50;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		get_reply(w, got, "{}", cases[i].reply, cases[i].then);
		if (got->result != cases[i].result || got->status != cases[i].status ||
		    (cases[i].error && strcmp(got->error, cases[i].error)))
			fail_msg("case %zu: result %d, status %d, %s", i, (int)got->result, got->status, got->error);
	}
	free(got);
}

static void too_much_is_refused(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(1, sizeof(*got));
	char *big = calloc(1, 100000);
	int head = snprintf(big, 100000, "HTTP/1.1 200 OK\r\n\r\n");

	memset(big + head, 'x', 60000);
	get_reply(w, got, "{}", big, CLOSE);
	assert_true(got->result == HTTP_DONE && got->length == 60000);
	memset(big + head, 'x', 60001);
	get_reply(w, got, "{}", big, CLOSE);
	assert_int_equal(got->result, HTTP_TOO_LARGE);
	/* a head without end: many lines, and one long line */
	head = snprintf(big, 100000, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < 7000; i++)
		head += snprintf(big + head, (size_t)(100000 - head), "X: yyyyyy\r\n");
	get_reply(w, got, "{}", big, CLOSE);
	assert_int_equal(got->result, HTTP_TOO_LARGE);
	assert_int_equal(got->heads, 0);
	free(big);
	free(got);
}

static void a_name_is_looked_up_off_the_loop(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(2, sizeof(*got));
	char url[128];
	static const struct exchange script[] = {{"HTTP/1.1 204 None\r\nConnection: close\r\n\r\n", CLOSE, false},
						 {"HTTP/1.1 204 None\r\nConnection: close\r\n\r\n", CLOSE, false},
						 {"HTTP/1.1 204 None\r\nConnection: close\r\n\r\n", CLOSE, false}};

	/* The loopback needs no table; the case does not matter. */
	(void)snprintf(url, sizeof(url), "http://one.LocalHost:%s", strrchr(w->server.url, ':') + 1);
	w->target.base_url = url;
	server_script(&w->server, script, 3);
	get(w, &got[0], NULL);
	get(w, &got[1], NULL);
	UNTIL(w, got[0].done && got[1].done);
	assert_string_equal(got[0].error, "");
	assert_true(got[0].status == 204 && got[1].status == 204);
	get(w, &got[0], NULL);
	UNTIL(w, got[0].done);
	assert_int_equal(got[0].status, 204);

	w->target.base_url = "http://no-such-host.invalid/v1";
	get(w, &got[0], NULL);
	get(w, &got[1], NULL);
	got[0].cancel_at_done = &got[1].request;
	UNTIL(w, got[0].done);
	assert_int_equal(got[0].result, HTTP_REFUSED);
	assert_int_equal(got[1].done, 0);
	get(w, &got[0], NULL);
	get(w, &got[1], NULL);
	http_cancel(&got[0].request);
	UNTIL(w, got[1].done);
	get(w, &got[0], NULL); /* is being looked up when all ends */
	(void)uv_run(&w->loop, UV_RUN_NOWAIT);
	http_destroy(w->http);
	w->http = http_create(&w->loop, w->deadlines);
	(void)uv_run(&w->loop, UV_RUN_NOWAIT);
	free(got);
}

static void what_is_no_url_or_no_secret_is_refused(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(1, sizeof(*got));
	static const char *const bad[] = {"ftp://127.0.0.1/v1", "nonsense", "http://", "file:///etc/passwd",
					  "http://127.0.0.1:99999"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		w->target.base_url = bad[i];
		get(w, got, NULL);
		UNTIL(w, got->done);
		if (got->result != HTTP_FAILED && got->result != HTTP_REFUSED)
			fail_msg("case %zu: %d %s", i, (int)got->result, got->error);
	}
	w->target.secret = "two\r\nlines";
	assert_int_equal(http_start(w->http, &got->request), ERROR_INVALID);
	free(got);
}

static void cancelled_anywhere_nothing_comes_any_more(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(4, sizeof(*got));
	static const struct exchange script[] = {
		{"HTTP/1.1 200 OK\r\n\r\nabc", HOLD, false},
		{"HTTP/1.1 200 OK\r\n\r\nabc", HOLD, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", KEEP, false},
		{"HTTP/1.1 200 OK\r\n\r\nabc", HOLD, false},
	};

	server_script(&w->server, script, 4);
	get(w, &got[0], "{}"); /* before it is sent */
	http_cancel(&got[0].request);
	http_cancel(&got[0].request);
	(void)uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_int_equal(w->server.requests, 0);

	get(w, &got[0], "{}"); /* at its head */
	got[0].cancel_at_head = &got[0].request;
	UNTIL(w, got[0].heads);
	get(w, &got[1], "{}"); /* at its data */
	got[1].cancel_at_data = &got[1].request;
	UNTIL(w, got[1].pieces);
	UNTIL(w, w->server.open == 0);
	assert_true(!got[0].done && !got[0].pieces && !got[1].done && got[1].pieces == 1);

	get(w, &got[2], "{}"); /* another's end, and another's data */
	UNTIL(w, w->server.requests == 3);
	get(w, &got[3], "{}");
	got[2].cancel_at_done = &got[3].request;
	UNTIL(w, got[2].done);
	UNTIL(w, w->server.open == 0);
	assert_int_equal(got[3].done, 0);
	free(got);
}

/* Not more than a share of the starts in one turn, and little memory for each. */
static void a_thousand_streams_at_once(void **state)
{
	enum { COUNT = 1000 };
	struct world *w = *state;
	struct got *got = calloc(COUNT, sizeof(*got));
	struct exchange *script = calloc(COUNT, sizeof(*script));
	struct rlimit files;
	unsigned done = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur < 2 * COUNT + 50) {
		free(got);
		free(script);
		skip();
	}
	for (int i = 0; i < COUNT; i++)
		script[i] = (struct exchange){"HTTP/1.1 200 OK\r\n\r\nhello", HOLD, false};
	server_script(&w->server, script, COUNT);
	for (int i = 0; i < COUNT; i++)
		get(w, &got[i], "{\"a\":1}");
	(void)uv_run(&w->loop, UV_RUN_NOWAIT);
	assert_true(w->server.connections <= HTTP_STARTS_A_TURN);
	UNTIL(w, w->server.requests == COUNT);
	for (int i = 0; i < COUNT; i++)
		UNTIL(w, got[i].length == 5);
	server_drop(&w->server);
	for (int i = 0; i < COUNT; i++) {
		UNTIL(w, got[i].done);
		done += got[i].result == HTTP_DONE;
	}
	assert_int_equal(done, COUNT);
	free(got);
	free(script);
}

static void destroyed_with_requests_in_every_state(void **state)
{
	struct world *w = *state;
	struct got *got = calloc(3, sizeof(*got));
	static const struct exchange script[] = {{"HTTP/1.1 200 OK\r\n\r\nabc", HOLD, false}, {NULL, HOLD, false}};

	server_script(&w->server, script, 2);
	get(w, &got[0], "{}");
	get(w, &got[1], "{}");
	UNTIL(w, w->server.requests == 2);
	get(w, &got[2], "{}");
	http_destroy(w->http);
	for (int i = 0; i < 3; i++) {
		assert_null(got[i].request.private);
		assert_int_equal(got[i].done, 0);
	}
	UNTIL(w, w->server.open == 0);
	w->http = NULL;
	free(got);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
	const struct CMUnitTest tests[] = {
		TEST(a_response_arrives_whole),
		TEST(pieces_come_as_they_are_sent),
		TEST(ends_of_every_kind),
		TEST(too_much_is_refused),
		TEST(a_name_is_looked_up_off_the_loop),
		TEST(what_is_no_url_or_no_secret_is_refused),
		TEST(cancelled_anywhere_nothing_comes_any_more),
		TEST(a_thousand_streams_at_once),
		TEST(destroyed_with_requests_in_every_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
