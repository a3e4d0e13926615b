/* A chat call against a scripted service: what ends well, every way it can end badly, the queue, and the part. */
#include "daemon/config.h"
#include "daemon/deadline.h"
#include "daemon/http.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/part.h"
#include "daemon/upstream.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <msgpack.h>

#include "scripted_server.h"

#define SSE_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define JSON_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
#define DELTA(text) "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define STOP_EVENT "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE_EVENT "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"total_tokens\":10}}\n\n"
#define DONE_EVENT "data: [DONE]\n\n"

struct world {
	uv_loop_t loop;
	struct deadlines *deadlines;
	struct http *http;
	struct server server;
	struct config config;
	struct part part;
	struct metrics metrics;
	struct log log;
	struct upstreams *upstreams;
	uv_timer_t patience;
	bool tired;
};

struct asked {
	struct chat chat;
	struct chat_end end;
	struct fault fault;
	char text[4096];
	size_t length;
	unsigned texts;
	int done;
	bool cancel_at_text;
	struct chat *cancel_at_done;
};

static void on_text(struct chat *chat, struct slice text)
{
	struct asked *asked = chat->data;
	bool nul;

	assert_true(text.length > 0);
	assert_true(slice_is_utf8(text, &nul));
	assert_true(asked->length + text.length < sizeof(asked->text));
	memcpy(asked->text + asked->length, text.data, text.length);
	asked->length += text.length;
	asked->texts++;
	if (asked->cancel_at_text)
		chat_cancel(chat);
}

static void on_done(struct chat *chat, const struct chat_end *end, const struct fault *fault)
{
	struct asked *asked = chat->data;

	assert_true((end == NULL) != (fault == NULL));
	if (end)
		asked->end = *end;
	if (fault)
		asked->fault = *fault;
	asked->done++;
	if (asked->cancel_at_done)
		chat_cancel(asked->cancel_at_done);
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
	w->config.server.max_message_bytes = 65536;
	w->config.upstream_count = 1;
	w->config.upstreams[0] = (struct config_upstream){
		.name = (char *)(uintptr_t) "one",
		.url = w->server.url,
		.key.secret = (char *)(uintptr_t) "sk-secret",
		.max_transfers = 2,
		.queue = 2,
		.connect_timeout_ms = 5000,
		.idle_timeout_ms = 5000,
		.timeout_ms = 10000,
	};
	part_init(&w->part, "upstream one", true, &w->log, 0);
	w->upstreams = upstreams_create(w->http, w->deadlines, &w->config, &w->part, &w->metrics, &w->log);
	assert_non_null(w->upstreams);
	(void)uv_timer_init(&w->loop, &w->patience);
	w->patience.data = &w->tired;
	(void)uv_timer_start(&w->patience, on_tired, 20000, 0);
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	upstreams_destroy(w->upstreams);
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

static int ask_with(struct world *w, struct asked *asked, struct slice parameters, struct fault *fault)
{
	const struct chat_question question = {
		.upstream = &w->config.upstreams[0],
		.model = SLICE("m"),
		.prompt = SLICE("hello \"you\""),
		.parameters = parameters,
	};

	memset(asked, 0, sizeof(*asked));
	asked->chat.text = on_text;
	asked->chat.done = on_done;
	asked->chat.data = asked;
	return chat_start(w->upstreams, &asked->chat, &question, fault);
}

static void ask(struct world *w, struct asked *asked)
{
	struct fault fault;

	assert_int_equal(ask_with(w, asked, (struct slice){NULL, 0}, &fault), 0);
}

/* Asks once, against one reply. */
static void ask_reply(struct world *w, struct asked *asked, const char *reply, enum then then)
{
	const struct exchange script[] = {{reply, then, false}};

	server_script(&w->server, script, 1);
	ask(w, asked);
	UNTIL(w, asked->done);
	assert_int_equal(asked->done, 1);
}

static void assert_fault(const struct asked *asked, const char *detail, const char *text)
{
	assert_int_equal(asked->fault.code, ERROR_UPSTREAM);
	assert_string_equal(asked->fault.detail, detail);
	if (text)
		assert_string_equal(asked->fault.text, text);
}

static void an_answer_streams_to_its_end(void **state)
{
	struct world *w = *state;
	struct asked asked;

	ask_reply(w, &asked, SSE_HEAD DELTA("He") DELTA("llo") STOP_EVENT USAGE_EVENT DONE_EVENT, CLOSE);
	assert_string_equal(asked.text, "Hello");
	assert_true(asked.end.complete);
	assert_string_equal(asked.end.finish_reason, "stop");
	assert_string_equal(asked.end.model, "m-1");
	assert_true(asked.end.usage.known);
	assert_int_equal(asked.end.usage.total_tokens, 10);
	assert_true(asked.end.first_text_us > 0 && asked.end.duration_us >= asked.end.first_text_us);
	assert_non_null(strstr(w->server.last, "POST /v1/chat/completions HTTP/1.1\r\n"));
	assert_non_null(strstr(w->server.last, "\r\nAuthorization: Bearer sk-secret\r\n"));
	assert_null(strstr(w->server.last, "Expect:"));
	assert_non_null(strstr(w->server.last,
			       "\r\n\r\n{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
			       "\"messages\":[{\"role\":\"user\",\"content\":\"hello \\\"you\\\"\"}]}"));
	assert_int_equal(w->metrics.api_calls, 1);
}

#define STATUS(line, headers, body) "HTTP/1.1 " line "\r\nConnection: close\r\n" headers "\r\n" body

static void ends_that_are_answers(void **state)
{
	static const struct {
		const char *reply, *text, *reason;
		enum then then;
		bool complete;
	} cases[] = {
		{SSE_HEAD DELTA("cut by") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n" DONE_EVENT,
		 "cut by", "length", CLOSE, false},
		{SSE_HEAD DELTA(
			 "x") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n" DONE_EVENT,
		 "x", "content_filter", CLOSE, false},
		/* the stop was seen, the mark of the end was not */
		{SSE_HEAD DELTA("x") STOP_EVENT, "x", "stop", CLOSE, false},
		{SSE_HEAD DELTA("x") STOP_EVENT, "x", "stop", RESET, false},
		/* the mark without its last line feeds, or without a finish_reason */
		{SSE_HEAD DELTA("x") STOP_EVENT "data: [DONE]", "x", "stop", CLOSE, true},
		{SSE_HEAD DELTA("x") DONE_EVENT, "x", "", CLOSE, false},
		/* nothing was said */
		{SSE_HEAD STOP_EVENT DONE_EVENT, "", "stop", CLOSE, false},
		/* the connection stays open: the mark is enough */
		{SSE_HEAD DELTA("x") STOP_EVENT DONE_EVENT, "x", "stop", HOLD, true},
		/* reasoning is no text; the first content of some services is null */
		{SSE_HEAD "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null,"
			  "\"reasoning_content\":\"hm\"}}]}\n\n" DELTA("x") STOP_EVENT DONE_EVENT,
		 "x", "stop", CLOSE, true},
		/* what a text cannot carry */
		{SSE_HEAD DELTA(
			 "I call") "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]},\"finish_reason\":"
				   "\"tool_calls\"}]}\n\n" DONE_EVENT,
		 "I call", "tool_calls", CLOSE, false},
		{SSE_HEAD DELTA("x") "data: {\"choices\":[{\"delta\":{\"refusal\":\"no\"}}]}\n\n" STOP_EVENT DONE_EVENT, "x",
		 "stop", CLOSE, false},
		{SSE_HEAD DELTA("x") "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n" STOP_EVENT
			 DONE_EVENT,
		 "x", "stop", CLOSE, false},
		/* a service that does not stream */
		{JSON_HEAD
		 " \n{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"all\"},\"finish_reason\":\"stop\"}]}",
		 "all", "stop", CLOSE, true},
		/* a comment in front, CRLF, no space behind the colon */
		{SSE_HEAD
		 ": ping\r\n\r\ndata:{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\r\n\r\n"
		 "data:[DONE]\r\n\r\n",
		 "x", "stop", CLOSE, true},
		/* escaped: a pair of surrogates, a control character */
		{SSE_HEAD DELTA("\\ud83d\\ude00\\n") STOP_EVENT DONE_EVENT, "\xF0\x9F\x98\x80\n", "stop", CLOSE, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked asked;
		ask_reply(*state, &asked, cases[i].reply, cases[i].then);
		if (asked.fault.code || strcmp(asked.text, cases[i].text) ||
		    strcmp(asked.end.finish_reason, cases[i].reason) || asked.end.complete != cases[i].complete)
			fail_msg("case %zu: %s %s, text \"%s\", reason \"%s\", complete %d", i, asked.fault.detail,
				 asked.fault.text, asked.text, asked.end.finish_reason, asked.end.complete);
	}
}

static void ends_that_are_faults(void **state)
{
	static const struct {
		const char *reply, *detail, *text;
		enum then then;
	} cases[] = {
		{STATUS("429 Too Many", "Retry-After: 7\r\n", "{\"error\":{\"message\":\"slow\\u0007 down\\n\"}}"),
		 "status=429 kind=http retry_ms=7000", "slow  down ", CLOSE},
		{STATUS("503 Loading", "Retry-After: 2\r\n", "{\"error\":\"loading\"}"),
		 "status=503 kind=http retry_ms=2000", "loading", CLOSE},
		{STATUS("400 Bad", "Retry-After: 2\r\n", "{\"detail\":\"too long\"}"), "status=400 kind=http", "too long",
		 CLOSE},
		{STATUS("401 No", "", "<html>no</html>"), "status=401 kind=http", "HTTP status 401", CLOSE},
		{STATUS("302 Moved", "Location: http://127.0.0.1:9/\r\n", ""), "status=302 kind=http", "HTTP status 302",
		 CLOSE},
		{STATUS("500 Oops", "Content-Length: 100\r\n", "{\"error\":"), "status=500 kind=http", "HTTP status 500",
		 CLOSE},
		{NULL, "kind=reset", NULL, CLOSE},
		{NULL, "kind=reset", NULL, RESET},
		{SSE_HEAD DELTA("x"), "kind=reset", NULL, RESET},
		{SSE_HEAD DELTA("x"), "kind=truncated", NULL, CLOSE},
		{SSE_HEAD "data: {\"choices\":[{\"del", "kind=truncated", NULL, CLOSE},
		{SSE_HEAD "", "kind=truncated", NULL, CLOSE},
		{STATUS("200 OK", "Content-Length: 5000\r\n", DELTA("x")), "kind=truncated", NULL, CLOSE},
		{STATUS("200 OK", "Transfer-Encoding: chunked\r\n", "5\r\ndata:\r\n"), "kind=truncated", NULL, CLOSE},
		{SSE_HEAD "<html>sign in</html>", "kind=protocol", "neither an event stream nor JSON", CLOSE},
		{SSE_HEAD "data: hello\n\n", "kind=protocol", NULL, CLOSE},
		{SSE_HEAD "data: [1]\n\n", "kind=protocol", NULL, CLOSE},
		{SSE_HEAD "data: {\"choices\":7}\n\n", "kind=protocol", NULL, CLOSE},
		{SSE_HEAD "data: {\"choices\":{},\"usage\":{}}\n\n", "kind=protocol", NULL, CLOSE},
		{SSE_HEAD "data: {\"choices\":[3]}\n\n", "kind=protocol", NULL, CLOSE},
		{SSE_HEAD DELTA("a\\u0000b"), "kind=protocol", "an answer with U+0000", HOLD},
		{SSE_HEAD DELTA("a\xFF"), "kind=protocol", "an answer with bytes that are no UTF-8", HOLD},
		{SSE_HEAD DELTA("\\ud83d"), "kind=protocol", NULL, HOLD},
		{SSE_HEAD DELTA("\xE4\xBD") STOP_EVENT DONE_EVENT, "kind=protocol", "an answer that ends within a character",
		 HOLD},
		{SSE_HEAD DELTA("x") "data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n",
		 "status=529 kind=http", "overloaded", HOLD},
		{SSE_HEAD "error: {\"error\":{\"message\":\"no slot\",\"code\":\"busy\"}}\n\n", "kind=http", "no slot",
		 HOLD},
		{JSON_HEAD "{\"choices\":[]}", "kind=protocol", NULL, CLOSE},
		{JSON_HEAD "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}", "kind=protocol",
		 NULL, CLOSE},
		{JSON_HEAD "{\"error\":{\"message\":\"broke\"}}", "kind=http", "broke", CLOSE},
		{"nonsense\r\n\r\n", "kind=protocol", NULL, CLOSE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = *state;
		struct asked asked;
		part_succeeded(&w->part, 0);
		ask_reply(w, &asked, cases[i].reply, cases[i].then);
		if (asked.fault.code != ERROR_UPSTREAM || strcmp(asked.fault.detail, cases[i].detail) ||
		    (cases[i].text && strcmp(asked.fault.text, cases[i].text)))
			fail_msg("case %zu: code %d, \"%s\", \"%s\"", i, asked.fault.code, asked.fault.detail,
				 asked.fault.text);
		assert_null(strstr(asked.fault.text, "sk-secret"));
	}
}

/* One request in all, whatever became of its connection: each is a bill. */
static void a_request_that_died_is_not_sent_again(void **state)
{
	struct world *w = *state;
	struct asked asked;
	static const char body[] = "{\"choices\":[{\"message\":{\"content\":\"one\"},\"finish_reason\":\"stop\"}]}";
	char reply[256];
	const struct exchange script[] = {{reply, KEEP, false}, {NULL, CLOSE, false}, {NULL, RESET, false}};

	(void)snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
	server_script(&w->server, script, 3);
	ask(w, &asked);
	UNTIL(w, asked.done);
	assert_string_equal(asked.text, "one");
	assert_int_equal(w->server.requests, 1);
	for (unsigned i = 2; i <= 3; i++) {
		ask(w, &asked);
		UNTIL(w, asked.done);
		assert_fault(&asked, "kind=reset", NULL);
		assert_int_equal(w->server.requests, i);
		assert_int_equal(w->server.connections, i);
	}
}

static void nothing_for_a_while_is_a_stall(void **state)
{
	static const char *const replies[] = {NULL, "HTTP/1.1 200 OK\r\nContent-", SSE_HEAD, SSE_HEAD DELTA("x")};
	struct world *w = *state;

	w->config.upstreams[0].idle_timeout_ms = 40;
	upstreams_destroy(w->upstreams);
	w->upstreams = upstreams_create(w->http, w->deadlines, &w->config, &w->part, &w->metrics, &w->log);
	for (size_t i = 0; i < 4; i++) {
		struct asked asked;
		part_succeeded(&w->part, 0);
		ask_reply(w, &asked, replies[i], HOLD);
		assert_fault(&asked, "kind=stalled", "nothing came in time");
	}
}

static void an_answer_that_never_ends_is_cut_by_the_total_limit(void **state)
{
	static const char slow[] = SSE_HEAD DELTA("a") DELTA("b") DELTA("c") DELTA("d");
	struct world *w = *state;
	struct asked asked;

	w->config.upstreams[0].timeout_ms = 60;
	upstreams_destroy(w->upstreams);
	w->upstreams = upstreams_create(w->http, w->deadlines, &w->config, &w->part, &w->metrics, &w->log);
	ask_reply(w, &asked, slow, HOLD);
	assert_fault(&asked, "kind=stalled", "not done in time");
	assert_string_equal(asked.text, "abcd");
}

static void a_refused_connection_is_told_at_once_and_counts_once(void **state)
{
	struct world *w = *state;
	struct asked asked;

	w->config.upstreams[0].url = (char *)(uintptr_t) "http://127.0.0.1:1/v1";
	upstreams_destroy(w->upstreams);
	w->upstreams = upstreams_create(w->http, w->deadlines, &w->config, &w->part, &w->metrics, &w->log);
	ask(w, &asked);
	UNTIL(w, asked.done);
	assert_fault(&asked, "kind=refused", NULL);
	assert_int_equal(w->part.failures, 1);
	assert_true(part_up(&w->part));
}

static void every_split_of_a_character_is_put_together(void **state)
{
	struct world *w = *state;
	static const struct exchange script[] = {
		{"HTTP/1.1 200 OK\r\n\r\n" DELTA("\xE4") DELTA("\xBD\xA0\xF0\x9F") DELTA("\x98") DELTA("\x80")
			 STOP_EVENT DONE_EVENT,
		 CLOSE, true},
	};
	struct asked asked;

	server_script(&w->server, script, 1);
	ask(w, &asked);
	UNTIL(w, asked.done);
	assert_string_equal(asked.text, "\xE4\xBD\xA0\xF0\x9F\x98\x80");
	assert_int_equal(asked.texts, 2);
	assert_true(asked.end.complete);
}

static void an_answer_over_the_limit_is_a_fault(void **state)
{
	struct world *w = *state;
	struct asked asked;

	w->config.server.max_message_bytes = 8;
	upstreams_destroy(w->upstreams);
	w->upstreams = upstreams_create(w->http, w->deadlines, &w->config, &w->part, &w->metrics, &w->log);
	ask_reply(w, &asked, SSE_HEAD DELTA("12345678") STOP_EVENT DONE_EVENT, CLOSE);
	assert_true(asked.end.complete);
	ask_reply(w, &asked, SSE_HEAD DELTA("12345") DELTA("6789") STOP_EVENT DONE_EVENT, CLOSE);
	assert_fault(&asked, "kind=protocol", "an answer over server.max_message_bytes");
	ask_reply(w, &asked, SSE_HEAD DELTA("12345678901234567890") STOP_EVENT DONE_EVENT, CLOSE);
	assert_fault(&asked, "kind=protocol", "the answer is too large");
}

static void parameters_pass_through_exactly(void **state)
{
	struct world *w = *state;
	struct asked asked;
	struct fault fault;
	msgpack_sbuffer raw;
	msgpack_packer pack;
	static const struct exchange script[] = {{SSE_HEAD STOP_EVENT DONE_EVENT, CLOSE, false}};

	msgpack_sbuffer_init(&raw);
	msgpack_packer_init(&pack, &raw, msgpack_sbuffer_write);
	msgpack_pack_map(&pack, 4);
	msgpack_pack_str(&pack, 4);
	msgpack_pack_str_body(&pack, "seed", 4);
	msgpack_pack_uint64(&pack, UINT64_MAX);
	msgpack_pack_str(&pack, 6);
	msgpack_pack_str_body(&pack, "stream", 6);
	msgpack_pack_false(&pack);
	msgpack_pack_str(&pack, 11);
	msgpack_pack_str_body(&pack, "temperature", 11);
	msgpack_pack_double(&pack, 0.1);
	msgpack_pack_bin(&pack, 1);
	msgpack_pack_bin_body(&pack, "x", 1);
	msgpack_pack_array(&pack, 2);
	msgpack_pack_nil(&pack);
	msgpack_pack_int64(&pack, INT64_MIN);
	server_script(&w->server, script, 1);
	assert_int_equal(ask_with(w, &asked, (struct slice){raw.data, raw.size}, &fault), 0);
	UNTIL(w, asked.done);
	assert_non_null(strstr(w->server.last, ",\"seed\":18446744073709551615,\"temperature\":0.10000000000000001,"
					       "\"x\":[null,-9223372036854775808]}"));

	msgpack_sbuffer_clear(&raw);
	msgpack_pack_map(&pack, 1);
	msgpack_pack_str(&pack, 5);
	msgpack_pack_str_body(&pack, "top_p", 5);
	msgpack_pack_double(&pack, 0.0 / 0.0);
	assert_int_equal(ask_with(w, &asked, (struct slice){raw.data, raw.size}, &fault), ERROR_INVALID);
	assert_string_equal(fault.detail, "field=parameters.top_p");
	assert_int_equal(upstreams_in_flight(w->upstreams), 0);
	msgpack_sbuffer_destroy(&raw);
}

static void calls_wait_in_order_and_the_queue_is_bounded(void **state)
{
	struct world *w = *state;
	struct asked asked[5];
	struct fault fault;
	static const struct exchange script[] = {
		{NULL, HOLD, false},
		{SSE_HEAD DELTA("second") STOP_EVENT DONE_EVENT, CLOSE, false},
		{SSE_HEAD DELTA("fourth") STOP_EVENT DONE_EVENT, CLOSE, false},
	};

	server_script(&w->server, script, 3);
	for (int i = 0; i < 4; i++)
		ask(w, &asked[i]);
	assert_int_equal(upstreams_in_flight(w->upstreams), 4);
	assert_int_equal(ask_with(w, &asked[4], (struct slice){NULL, 0}, &fault), ERROR_BUSY);
	assert_string_equal(fault.detail, "limit=queue retry_ms=1000");
	assert_int_equal(w->metrics.upstream_queue_full, 1);
	chat_cancel(&asked[2].chat); /* while it waits */
	UNTIL(w, asked[3].done);
	assert_true(asked[1].done == 1 && asked[0].done == 0 && asked[2].done == 0);
	assert_string_equal(asked[3].text, "fourth");
	chat_cancel(&asked[0].chat);
	assert_int_equal(upstreams_in_flight(w->upstreams), 0);
	UNTIL(w, w->server.open == 0); /* the cancelled stream is closed, which frees the model */
	assert_int_equal(asked[0].done, 0);
}

static void a_call_may_be_cancelled_from_its_own_text_or_anothers_end(void **state)
{
	struct world *w = *state;
	struct asked first, second;
	static const struct exchange script[] = {
		{SSE_HEAD DELTA("a") DELTA("b") STOP_EVENT DONE_EVENT, HOLD, false},
		{SSE_HEAD DELTA("c"), HOLD, false},
		{SSE_HEAD DELTA("d") STOP_EVENT DONE_EVENT, HOLD, false},
	};

	server_script(&w->server, script, 3);
	ask(w, &first);
	first.cancel_at_text = true;
	UNTIL(w, first.length);
	UNTIL(w, w->server.open == 0);
	assert_string_equal(first.text, "a");
	assert_int_equal(first.done, 0);

	ask(w, &first);
	UNTIL(w, first.length);
	ask(w, &second);
	second.cancel_at_done = &first.chat;
	UNTIL(w, second.done);
	UNTIL(w, w->server.open == 0);
	assert_int_equal(first.done, 0);
	assert_int_equal(upstreams_in_flight(w->upstreams), 0);
}

static void the_part_goes_down_by_failures_and_comes_back_by_a_probe(void **state)
{
	struct world *w = *state;
	struct asked asked[4];
	struct fault fault;
	static const struct exchange script[] = {
		{STATUS("400 Bad", "", ""), CLOSE, false},
		{STATUS("401 No", "", ""), CLOSE, false},
		{STATUS("404 No", "", ""), CLOSE, false},
		{STATUS("503 Away", "", ""), CLOSE, false},
		{NULL, RESET, false},
		{NULL, CLOSE, false},
		{STATUS("503 Still away", "", ""), CLOSE, false},
		{STATUS("401 No", "", ""), CLOSE, false},
	};

	server_script(&w->server, script, 8);
	for (int i = 0; i < 6; i++) {
		assert_true(part_up(&w->part));
		ask(w, &asked[0]);
		UNTIL(w, asked[0].done);
	}
	assert_false(part_up(&w->part));
	assert_int_equal(ask_with(w, &asked[0], (struct slice){NULL, 0}, &fault), ERROR_UNAVAILABLE);
	assert_int_equal(w->server.requests, 6);
	UNTIL(w, part_up(&w->part));
	assert_int_equal(w->server.requests, 8);
	assert_non_null(strstr(w->server.last, "GET /v1/models HTTP/1.1\r\n"));
	assert_int_equal(w->metrics.api_calls, 6);
}

static void those_who_wait_are_told_when_the_part_goes_down(void **state)
{
	struct world *w = *state;
	struct asked asked[4];
	static const struct exchange script[] = {{NULL, RESET, false}, {NULL, RESET, false}, {NULL, RESET, false}};

	(void)part_failed(&w->part, "before", 0);
	server_script(&w->server, script, 3);
	for (int i = 0; i < 4; i++)
		ask(w, &asked[i]);
	UNTIL(w, asked[0].done && asked[1].done && asked[2].done && asked[3].done);
	assert_fault(&asked[0], "kind=reset", NULL);
	assert_int_equal(asked[3].fault.code, ERROR_UNAVAILABLE);
	assert_int_equal(upstreams_in_flight(w->upstreams), 0);
}

static void everything_ends_with_calls_in_the_air(void **state)
{
	struct world *w = *state;
	static struct asked asked[4]; /* outlives this frame, as the teardown still knows it */
	static const struct exchange script[] = {{SSE_HEAD DELTA("x"), HOLD, false}, {NULL, HOLD, false}};

	server_script(&w->server, script, 2);
	for (int i = 0; i < 4; i++)
		ask(w, &asked[i]);
	UNTIL(w, w->server.requests == 2 && (asked[0].length || asked[1].length));
	(void)state; /* the teardown destroys, and the sanitizers look */
}

static void an_upstream_on_a_unix_socket(void **state)
{
	struct world *w = *state;
	struct asked asked;
	char folder[] = "/tmp/sem-XXXXXX", path[64];
	struct server second;

	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/s", folder);
	server_start(&second, &w->loop, path);
	static const struct exchange script[] = {{SSE_HEAD DELTA("x") STOP_EVENT DONE_EVENT, CLOSE, false}};
	server_script(&second, script, 1);
	w->config.upstreams[0].url = second.url;
	w->config.upstreams[0].unix_socket = path;
	upstreams_destroy(w->upstreams);
	w->upstreams = upstreams_create(w->http, w->deadlines, &w->config, &w->part, &w->metrics, &w->log);
	ask(w, &asked);
	UNTIL(w, asked.done);
	assert_string_equal(asked.text, "x");
	server_stop(&second);
	UNTIL(w, !second.open);
	(void)unlink(path);
	(void)rmdir(folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
	const struct CMUnitTest tests[] = {
		TEST(an_answer_streams_to_its_end),
		TEST(ends_that_are_answers),
		TEST(ends_that_are_faults),
		TEST(a_request_that_died_is_not_sent_again),
		TEST(nothing_for_a_while_is_a_stall),
		TEST(an_answer_that_never_ends_is_cut_by_the_total_limit),
		TEST(a_refused_connection_is_told_at_once_and_counts_once),
		TEST(every_split_of_a_character_is_put_together),
		TEST(an_answer_over_the_limit_is_a_fault),
		TEST(parameters_pass_through_exactly),
		TEST(calls_wait_in_order_and_the_queue_is_bounded),
		TEST(a_call_may_be_cancelled_from_its_own_text_or_anothers_end),
		TEST(the_part_goes_down_by_failures_and_comes_back_by_a_probe),
		TEST(those_who_wait_are_told_when_the_part_goes_down),
		TEST(everything_ends_with_calls_in_the_air),
		TEST(an_upstream_on_a_unix_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
