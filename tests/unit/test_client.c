/* libsemcache: what it sends and reads, and what it makes of a peer that sends nonsense. */
#include "client_peer.h"

static void ping_gets_its_response(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_ping);
	assert_int_equal(semcache_last_error(cache)->code, 0);
	assert_string_equal(semcache_last_error(cache)->text, "no error");
	assert_int_equal(semcache_ping(cache), 0);
	assert_int_equal(semcache_in_flight(cache), 0);
	semcache_close(cache);
	peer_finish(peer);
}

static const char whole_answer[] = "\xde\x00\x12"
				   "\xa7request\x2a"
				   "\xa4tier\xa8semantic"
				   "\xa6"
				   "answer\xc4\x05Hello"
				   "\xad"
				   "finish_reason\xa4stop"
				   "\xaasimilarity\xcb\x3f\xee\x00\x00\x00\x00\x00\x00" /* 0.9375 */
				   "\xaeoriginal_query\xa2Hi"
				   "\xa5"
				   "entry\xa4"
				   "abcd"
				   "\xa3"
				   "age\x0c"
				   "\xa3ttl\xcd\x0e\x04"
				   "\xa5model\xa3gpt"
				   "\xa5usage\x83\xadprompt_tokens\x03\xb1"
				   "completion_tokens\x04\xactotal_tokens\x07"
				   "\xa5saved\x82\xa6tokens\x07\xa3usd\xca\x3f\x00\x00\x00" /* float32: 0.5 */
				   "\xafnot_known_to_us\x91\x91\x01"
				   "\xaf"
				   "best_similarity\x00"
				   "\xaa"
				   "best_query\xc0"
				   "\xa6reason\xc0"
				   "\xa6timing\x81\xa8total_ms\xcb\x40\x00\x00\x00\x00\x00\x00\x00" /* 2.0 */
				   "\xa5"
				   "after\x01";

static bool script_whole_answer(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_lookup) &&
	       peer_respond(peer, peer->request.id, NULL, (struct slice){whole_answer, sizeof(whole_answer) - 1}) &&
	       peer_expect_end(peer);
}

static bool script_explanation(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_explain) && slice_equal(peer->request.prompt, SLICE("Why?")) &&
	       peer->request.has_threshold && peer->request.has_timeout &&
	       peer_respond(peer, peer->request.id, NULL, SLICE("\x81\xa5would\xa6missed")) && peer_expect_end(peer);
}

static void an_explanation_comes_as_it_was_sent(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Why?");
	struct semcache_result *result;
	size_t length;

	peer_start(peer, script_explanation);
	question.threshold = 0.5;
	assert_int_equal(semcache_explain(cache, &question, &result), 0);
	assert_null(semcache_result_answer(result));
	assert_memory_equal(semcache_result_raw(result, &length), "\x81\xa5would\xa6missed", 14);
	assert_int_equal(length, 14);
	semcache_result_free(result);
	semcache_close(cache);
	peer_finish(peer);
}

static void every_key_of_an_answer_is_read(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;
	size_t length;

	peer_start(peer, script_whole_answer);
	assert_int_equal(semcache_lookup(cache, &question, &result), 0);
	const struct semcache_answer *a = semcache_result_answer(result);
	assert_non_null(a);
	assert_int_equal(a->request, 42);
	assert_int_equal(a->tier, SEMCACHE_TIER_SEMANTIC);
	assert_string_equal(a->text, "Hello");
	assert_int_equal(a->text_length, 5);
	assert_string_equal(a->finish_reason, "stop");
	assert_true(a->has_similarity && a->similarity == 0.9375);
	assert_string_equal(a->original_query, "Hi");
	assert_string_equal(a->entry, "abcd");
	assert_int_equal(a->age_s, 12);
	assert_int_equal(a->ttl_s, 3588);
	assert_string_equal(a->model, "gpt");
	assert_true(a->has_usage && a->prompt_tokens == 3 && a->completion_tokens == 4 && a->total_tokens == 7);
	assert_true(a->saved_tokens == 7 && a->saved_usd == 0.5);
	assert_true(a->best_similarity == 0 && !a->best_query && !a->reason);
	assert_true(a->total_ms == 2.0);
	const void *raw = semcache_result_raw(result, &length);
	assert_int_equal(length, sizeof(whole_answer) - 1);
	assert_memory_equal(raw, whole_answer, length);
	semcache_close(cache);
	/* A result lives on without its handle. */
	assert_string_equal(a->text, "Hello");
	semcache_result_free(result);
	peer_finish(peer);
}

static bool script_all_fields(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate))
		return false;
	const struct request *r = &peer->request;
	if (!slice_equal(r->model, SLICE("gpt")) || !slice_equal(r->namespace, SLICE("ns")) ||
	    !slice_equal(r->question, SLICE("who?")) || !slice_equal(r->context, SLICE("kb-1")) ||
	    r->cache != CACHE_NO_STORE || !r->has_max_age || r->max_age_s != 0 || !r->has_threshold || r->threshold != 0.5 ||
	    !r->has_ttl || r->ttl_s != 9 || !r->mode_exact || r->stream || r->tag_count != 2 ||
	    !slice_equal(r->tags[1], SLICE("t2")) || !r->has_timeout || r->timeout_ms > 7000 || r->timeout_ms < 1)
		return peer_failed(peer, "a field came wrong");
	static const char messages[] = "\x92\x82\xa4role\xa6system\xa7"
				       "content\xa2Hi\x82\xa4role\xa4user\xa7"
				       "content\xa3who";
	static const char parameters[] = "\x85\xa1i\xff\xa1n\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xa1t\xa1x\xa1"
					 "b\xc3\xa1r\x91\x01";
	if (!slice_equal(r->messages, (struct slice){messages, sizeof(messages) - 1}) ||
	    !slice_equal(r->parameters, (struct slice){parameters, sizeof(parameters) - 1}))
		return peer_failed(peer, "messages or parameters came wrong");
	return peer_respond(peer, r->id, NULL, ANSWER) && peer_expect_end(peer);
}

static void every_field_of_a_question_arrives(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = SEMCACHE_QUESTION;
	const struct semcache_message messages[] = {{"system", "Hi"}, {"user", "who"}};
	const struct semcache_parameter parameters[] = {
		{.name = "i", .type = SEMCACHE_PARAMETER_INTEGER, .integer = -1},
		{.name = "n", .type = SEMCACHE_PARAMETER_NUMBER, .number = 0.5},
		{.name = "t", .type = SEMCACHE_PARAMETER_TEXT, .text = "x"},
		{.name = "b", .type = SEMCACHE_PARAMETER_BOOLEAN, .integer = 1},
		{.name = "r", .type = SEMCACHE_PARAMETER_RAW, .raw = "\x91\x01", .raw_length = 2},
	};
	const char *const tags[] = {"t1", "t2"};
	struct semcache_result *result;

	question.messages = messages;
	question.message_count = 2;
	question.model = "gpt";
	question.parameters = parameters;
	question.parameter_count = 5;
	question.namespace_name = "ns";
	question.question = "who?";
	question.context = "kb-1";
	question.use = SEMCACHE_USE_NO_STORE;
	question.max_age_s = 0;
	question.threshold = 0.5;
	question.exact = true;
	question.ttl_s = 9;
	question.tags = tags;
	question.tag_count = 2;
	question.timeout_ms = 7000;
	peer_start(peer, script_all_fields);
	assert_int_equal(semcache_get_or_generate(cache, &question, NULL, NULL, &result), 0);
	semcache_result_free(result);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_stream(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_get_or_generate) && peer->request.stream &&
	       peer_chunk(peer, peer->request.id, 0, "Hel") && peer_chunk(peer, peer->request.id, 1, "lo") &&
	       peer_respond(peer, peer->request.id, NULL, SLICE("\x81\xa4tier\xa8upstream")) && peer_expect_end(peer);
}

static void an_answer_is_streamed_in_order(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;
	struct ending ending = {0};

	peer_start(peer, script_stream);
	assert_int_equal(semcache_get_or_generate(cache, &question, on_chunk, &ending, &result), 0);
	assert_string_equal(ending.text, "Hello");
	assert_int_equal(ending.chunks, 2);
	assert_null(semcache_result_answer(result)->text);
	assert_int_equal(semcache_result_answer(result)->tier, SEMCACHE_TIER_UPSTREAM);
	semcache_result_free(result);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_admin(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_expect(peer, METHOD_add) || !slice_equal(peer->request.answer, SLICE("Hello")) ||
	    !peer_respond(peer, peer->request.id, NULL, EMPTY))
		return false;
	if (!peer_expect(peer, METHOD_invalidate) || !slice_equal(peer->request.tag, SLICE("t")) || !peer->request.dry_run ||
	    !peer_respond(peer, peer->request.id, NULL, EMPTY))
		return false;
	if (!peer_expect(peer, METHOD_show) ||
	    !peer_respond(peer, peer->request.id, "NOT_FOUND : no such entry", (struct slice){0}))
		return false;
	if (!peer_expect(peer, METHOD_list) || peer->request.limit != 7 || !slice_equal(peer->request.after, SLICE("x")) ||
	    !peer_respond(peer, peer->request.id, NULL, EMPTY))
		return false;
	if (!peer_expect(peer, METHOD_flush) || peer->request.has_namespace ||
	    !peer_respond(peer, peer->request.id, NULL, EMPTY))
		return false;
	if (!peer_expect(peer, METHOD_hello) || !slice_equal(peer->request.client, SLICE("me")) ||
	    !peer_respond(peer, peer->request.id, NULL, EMPTY))
		return false;
	return peer_expect(peer, METHOD_health) && peer_respond(peer, peer->request.id, NULL, EMPTY) &&
	       peer_expect(peer, METHOD_stats) && peer_respond(peer, peer->request.id, NULL, EMPTY) && peer_expect_end(peer);
}

static void every_other_method_sends_what_the_daemon_takes(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_selector selector = SEMCACHE_SELECTOR;
	struct semcache_result *result;
	size_t length;

	selector.tag = "t";
	selector.dry_run = true;
	peer_start(peer, script_admin);
	assert_int_equal(semcache_add(cache, &question, "Hello", NULL), 0);
	assert_int_equal(semcache_invalidate(cache, &selector, NULL), 0);
	assert_int_equal(semcache_show(cache, "abcd", NULL, &result), SEMCACHE_NOT_FOUND);
	assert_int_equal(semcache_list(cache, NULL, 7, "x", &result), 0);
	assert_null(semcache_result_answer(result));
	assert_memory_equal(semcache_result_raw(result, &length), "\x80", 1);
	semcache_result_free(result);
	assert_int_equal(semcache_flush(cache, NULL, NULL), 0);
	assert_int_equal(semcache_hello(cache, "me", &result), 0);
	semcache_result_free(result);
	assert_int_equal(semcache_health(cache, &result), 0);
	semcache_result_free(result);
	assert_int_equal(semcache_stats(cache, &result), 0);
	semcache_result_free(result);
	semcache_close(cache);
	peer_finish(peer);
}

#define MANY 100

static bool script_many(struct peer *peer)
{
	uint64_t ids[MANY];

	if (!peer_accept(peer))
		return false;
	for (int i = 0; i < MANY; i++) {
		if (!peer_expect(peer, METHOD_get_or_generate))
			return false;
		ids[i] = peer->request.id;
	}
	for (int i = MANY - 1; i >= 0; i--)
		if (!peer_respond(peer, ids[i], i % 2 ? "BUSY : later" : NULL, ANSWER))
			return false;
	return peer_expect_end(peer);
}

static void a_hundred_requests_are_answered_in_any_order(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct ending endings[MANY] = {0};

	peer_start(peer, script_many);
	for (int i = 0; i < MANY; i++) {
		struct semcache_handler handler = {.done = on_done, .data = &endings[i]};
		assert_int_equal(semcache_start_get_or_generate(cache, &question, &handler, NULL), 0);
	}
	assert_int_equal(semcache_in_flight(cache), MANY);
	for (int i = 0; i < MANY; i++) {
		run_until(cache, &endings[i]);
		assert_int_equal(endings[i].code, i % 2 ? SEMCACHE_BUSY : 0);
	}
	for (int i = 0; i < MANY; i++)
		assert_int_equal(endings[i].done, 1);
	assert_int_equal(semcache_timeout_ms(cache), -1);
	semcache_close(cache);
	peer_finish(peer);
}

#define LARGE 30

static bool script_large(struct peer *peer)
{
	uint64_t ids[LARGE];

	if (!peer_accept(peer))
		return false;
	for (int i = 0; i < LARGE; i++) {
		if (!peer_expect(peer, METHOD_get_or_generate) || peer->request.prompt.length != 60000)
			return false;
		ids[i] = peer->request.id;
	}
	for (int i = 0; i < LARGE; i++)
		if (!peer_respond(peer, ids[i], NULL, ANSWER))
			return false;
	return peer_expect_end(peer);
}

static void more_than_the_socket_takes_waits_its_turn(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct ending endings[LARGE] = {0};
	char *prompt = malloc(60001);

	memset(prompt, 'x', 60000);
	prompt[60000] = '\0';
	struct semcache_question question = question_of(prompt);
	/* Nobody reads until all are started. */
	peer_listen(peer);
	for (int i = 0; i < LARGE; i++) {
		struct semcache_handler handler = {.done = on_done, .data = &endings[i]};
		assert_int_equal(semcache_start_get_or_generate(cache, &question, &handler, NULL), 0);
		assert_int_equal(semcache_process(cache), 0);
	}
	peer_start(peer, script_large);
	for (int i = 0; i < LARGE; i++) {
		run_until(cache, &endings[i]);
		assert_int_equal(endings[i].code, 0);
	}
	free(prompt);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_errors(struct peer *peer)
{
	static const char *const errors[] = {
		"BUSY retry_ms=50 limit=10 : too much in flight",
		"INVALID field=threshold : must be from -1 to 1, or nothing",
		"UPSTREAM status=429 kind=http : slow down",
		"NOT_FOUND",
		"TIMEOUT retry_ms=99999999999999999999 status=12345 odd =x : bad numbers",
		"PENDING : a code that no daemon may send",
		"",
	};

	if (!peer_accept(peer))
		return false;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (!peer_expect(peer, METHOD_ping) || !peer_respond(peer, peer->request.id, errors[i], (struct slice){0}))
			return false;
	return peer_expect_end(peer);
}

static void the_keys_of_an_error_are_read(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_errors);
	assert_int_equal(semcache_ping(cache), SEMCACHE_BUSY);
	const struct semcache_error *error = semcache_last_error(cache);
	assert_int_equal(error->retry_ms, 50);
	assert_string_equal(error->limit, "10");
	assert_string_equal(error->detail, "retry_ms=50 limit=10");
	assert_string_equal(error->text, "too much in flight");
	assert_int_equal(semcache_ping(cache), SEMCACHE_INVALID);
	assert_string_equal(error->field, "threshold");
	assert_int_equal(error->retry_ms, SEMCACHE_UNSET);
	assert_int_equal(semcache_ping(cache), SEMCACHE_UPSTREAM);
	assert_int_equal(error->status, 429);
	assert_string_equal(error->kind, "http");
	assert_int_equal(semcache_ping(cache), SEMCACHE_NOT_FOUND);
	assert_string_equal(error->detail, "");
	assert_int_equal(semcache_ping(cache), SEMCACHE_TIMEOUT);
	assert_int_equal(error->retry_ms, SEMCACHE_UNSET);
	assert_int_equal(error->status, 0);
	assert_int_equal(semcache_ping(cache), SEMCACHE_PROTOCOL);
	assert_int_equal(semcache_ping(cache), SEMCACHE_PROTOCOL);
	semcache_close(cache);
	peer_finish(peer);
}

/* What it sends instead of a response; the request's id is 1. */
static struct slice nonsense;

static bool script_nonsense(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_get_or_generate) &&
	       peer_send(peer, nonsense.data, nonsense.length) && peer_expect_end(peer) && script_ping(peer);
}

static void nonsense_ends_the_request_and_nothing_else(void **state)
{
	const struct slice cases[] = {
		SLICE("\xc1"),                             /* no MessagePack */
		SLICE("HTTP/1.1 400 Bad Request\r\n\r\n"), /* another protocol */
		SLICE("\xdd\x20\x00\x00\x00"),             /* an array of 2^29 */
		SLICE("\xdb\x7f\xff\xff\xff"
		      "abc"),                      /* a text of 2 GiB */
		SLICE("\x94\x01\x02\xc0\xc0"),     /* a response to no request */
		SLICE("\x94\x01\xa1x\xc0\xc0"),    /* an id that is no number */
		SLICE("\x94\x01\x01\x05\xc0"),     /* an error that is no text */
		SLICE("\x94\x00\x01\xa4ping\x90"), /* a request */
		SLICE("\x90"),                     /* an empty message */
		SLICE("\x93\x01\x01\xc0"),         /* a response that is too short */
		SLICE("\x93\x02\xa5"
		      "chunk\x93\x01\x00\xa1x"), /* a chunk that was not asked for */
		SLICE("\x93\x02\xa5"
		      "chunk\x93\x09\x00\xa1x"), /* a chunk for no request */
		SLICE("\x93\x02\xa5"
		      "chunk\x92\x01\x00"),                /* a chunk without a text */
		SLICE("\x94\x01\x01\xc0\x81\xa4tier\x05"), /* a tier that is no text */
		SLICE("\x94\x01\x01\xc0\x80"),             /* an answer without a tier */
		SLICE("\x94\x01\x01\xc0\x91\x01"),         /* an answer that is no map */
		SLICE("\x94\x01\x01\xc0\x82\xa4tier\xa4miss\xa3"
		      "age\xff"), /* a negative age */
		SLICE("\x94\x01\x01\xc0\x82\xa4tier\xa4miss\xaasimilarity\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), /* NaN */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct peer *peer = *state;
		struct semcache *cache = open_handle(peer);
		struct semcache_question question = question_of("Hello?");
		struct semcache_result *result;
		nonsense = cases[i];
		/* Where only the request is ended, the connection lives until the handle is closed. */
		bool lives = i >= 13;
		peer_start(peer, script_nonsense);
		int code = semcache_get_or_generate(cache, &question, NULL, NULL, &result);
		if (code != SEMCACHE_PROTOCOL)
			fail_msg("case %zu: %d", i, code);
		if (lives) {
			semcache_close(cache);
			cache = open_handle(peer);
		}
		assert_int_equal(semcache_ping(cache), 0);
		semcache_close(cache);
		peer_finish(peer);
	}
}

static bool script_chunk_out_of_order(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_get_or_generate) &&
	       peer_chunk(peer, peer->request.id, 0, "a") && peer_chunk(peer, peer->request.id, 2, "c") &&
	       peer_expect_end(peer);
}

static void a_chunk_out_of_order_ends_the_stream(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;
	struct ending ending = {0};

	peer_start(peer, script_chunk_out_of_order);
	assert_int_equal(semcache_get_or_generate(cache, &question, on_chunk, &ending, &result), SEMCACHE_PROTOCOL);
	assert_string_equal(ending.text, "a");
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_too_large(struct peer *peer)
{
	static char text[70000];
	static const char head[] = "\x94\x01\x01\xc0\xdb\x00\x01\x11\x70";

	if (!peer_accept(peer) || !peer_expect(peer, METHOD_ping) || !peer_send(peer, head, sizeof(head) - 1))
		return false;
	/* The client may hang up before all of it is sent. */
	(void)peer_send(peer, text, sizeof(text));
	return true;
}

static void a_response_over_the_limit_is_not_kept(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_too_large);
	assert_int_equal(semcache_ping(cache), SEMCACHE_PROTOCOL);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_byte_by_byte(struct peer *peer)
{
	static const char response[] = "\x94\x01\x01\xc0\x82\xa4tier\xa6memory\xa6"
				       "answer\xa5Hello";

	if (!peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate))
		return false;
	for (size_t i = 0; i < sizeof(response) - 1; i++)
		if (!peer_send(peer, response + i, 1))
			return false;
	return peer_expect_end(peer);
}

static void a_response_may_come_byte_by_byte(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;

	peer_start(peer, script_byte_by_byte);
	assert_int_equal(semcache_get_or_generate(cache, &question, NULL, NULL, &result), 0);
	assert_string_equal(semcache_result_answer(result)->text, "Hello");
	semcache_result_free(result);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_news(struct peer *peer)
{
	static const char news[] = "\x93\x02\xa5"
				   "other\x92\x01\x80";

	return peer_accept(peer) && peer_expect(peer, METHOD_ping) && peer_send(peer, news, sizeof(news) - 1) &&
	       peer_respond(peer, peer->request.id, NULL, EMPTY) && peer_expect_end(peer);
}

static void an_unknown_notification_is_passed_over(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);

	peer_start(peer, script_news);
	assert_int_equal(semcache_ping(cache), 0);
	semcache_close(cache);
	peer_finish(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ping_gets_its_response),
		TEST(every_key_of_an_answer_is_read),
		TEST(an_explanation_comes_as_it_was_sent),
		TEST(every_field_of_a_question_arrives),
		TEST(an_answer_is_streamed_in_order),
		TEST(every_other_method_sends_what_the_daemon_takes),
		TEST(a_hundred_requests_are_answered_in_any_order),
		TEST(more_than_the_socket_takes_waits_its_turn),
		TEST(the_keys_of_an_error_are_read),
		TEST(nonsense_ends_the_request_and_nothing_else),
		TEST(a_chunk_out_of_order_ends_the_stream),
		TEST(a_response_over_the_limit_is_not_kept),
		TEST(a_response_may_come_byte_by_byte),
		TEST(an_unknown_notification_is_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
