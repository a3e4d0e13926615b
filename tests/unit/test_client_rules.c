/* libsemcache: cancel, deadlines, and the rules of a handle. */
#include "client_peer.h"

static bool script_cancel(struct peer *peer)
{
	uint64_t id;

	if (!peer_accept(peer) || !peer_expect(peer, METHOD_get_or_generate))
		return false;
	id = peer->request.id;
	/* Two chunks at once: the second must not reach an owner that cancelled in the first. */
	if (!peer_chunk(peer, id, 0, "a") || !peer_expect_cancel(peer, id) || !peer_chunk(peer, id, 1, "b"))
		return false;
	if (!peer_respond(peer, id, "CANCELLED : by the caller", (struct slice){0}))
		return false;
	return peer_expect(peer, METHOD_ping) && peer_respond(peer, peer->request.id, NULL, EMPTY) && peer_expect_end(peer);
}

static void a_request_is_cancelled_from_its_chunk(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct ending ending = {.cache = cache, .cancel_at_chunk = true};
	struct semcache_handler handler = {.chunk = on_chunk, .done = on_done, .data = &ending};

	peer_start(peer, script_cancel);
	assert_int_equal(semcache_start_get_or_generate(cache, &question, &handler, NULL), 0);
	run_until(cache, &ending);
	assert_int_equal(ending.code, SEMCACHE_CANCELLED);
	assert_int_equal(semcache_ping(cache), 0);
	assert_int_equal(ending.done, 1);
	assert_string_equal(ending.text, "a");
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_cancel_blocking(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_get_or_generate) &&
	       peer_chunk(peer, peer->request.id, 0, "a") && peer_expect_cancel(peer, peer->request.id) &&
	       peer_expect_end(peer);
}

static void a_blocking_call_is_cancelled_from_its_chunk(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct ending ending = {.cache = cache, .cancel_at_chunk = true};
	struct semcache_result *result;

	peer_start(peer, script_cancel_blocking);
	assert_int_equal(semcache_get_or_generate(cache, &question, on_chunk, &ending, &result), SEMCACHE_CANCELLED);
	semcache_close(cache);
	peer_finish(peer);
}

static void a_request_is_cancelled_before_it_is_sent(void **state)
{
	struct peer *peer = *state;
	struct semcache_options options = SEMCACHE_OPTIONS;
	struct ending ending = {0};
	struct semcache_handler handler = {.done = on_done, .data = &ending};
	uint64_t id;

	options.socket = peer->path;
	struct semcache *cache = semcache_open(&options);
	assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, &id), 0);
	assert_int_equal(semcache_cancel(cache, id), 0);
	assert_int_equal(semcache_cancel(cache, id), SEMCACHE_NOT_FOUND);
	assert_int_equal(ending.done, 0);
	assert_int_equal(semcache_timeout_ms(cache), 0);
	assert_int_equal(semcache_process(cache), 0);
	assert_int_equal(ending.done, 1);
	assert_int_equal(ending.code, SEMCACHE_CANCELLED);
	assert_int_equal(semcache_in_flight(cache), 0);
	semcache_close(cache);
}

static bool script_late(struct peer *peer)
{
	uint64_t id;

	if (!peer_accept(peer) || !peer_expect(peer, METHOD_lookup))
		return false;
	id = peer->request.id;
	return peer_expect_cancel(peer, id) && peer_respond(peer, id, NULL, ANSWER) && peer_expect(peer, METHOD_ping) &&
	       peer_respond(peer, peer->request.id, NULL, EMPTY) && peer_expect_end(peer);
}

static void after_its_deadline_a_late_response_is_passed_over(void **state)
{
	struct peer *peer = *state;
	struct semcache_options options = SEMCACHE_OPTIONS;
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;
	int code;

	options.socket = peer->path;
	options.max_in_flight = 1;
	struct semcache *cache = semcache_open(&options);
	question.timeout_ms = 30;
	peer_start(peer, script_late);
	assert_int_equal(semcache_lookup(cache, &question, &result), SEMCACHE_TIMEOUT);
	/* Its place is taken until the daemon has responded to it, and free from then on. */
	while ((code = semcache_ping(cache)) == SEMCACHE_BUSY) {
		struct pollfd fd = {.fd = semcache_fd(cache), .events = semcache_events(cache)};
		assert_int_equal(poll(&fd, 1, PATIENCE_S * 1000), 1);
		assert_int_equal(semcache_process(cache), 0);
	}
	assert_int_equal(code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static void a_deadline_of_zero_has_passed_at_once(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("Hello?");
	struct semcache_result *result;

	peer_listen(peer);
	question.timeout_ms = 0;
	assert_int_equal(semcache_lookup(cache, &question, &result), SEMCACHE_TIMEOUT);
	semcache_close(cache);
}

static void on_done_misbehaves(void *data, uint64_t id, const struct semcache_error *error, struct semcache_result *result)
{
	struct ending *ending = data;
	struct semcache_question question = question_of("Hello?");
	struct semcache_handler handler = {.done = on_done, .data = data};

	ending->refused += semcache_process(ending->cache) == SEMCACHE_INVALID;
	ending->refused += semcache_ping(ending->cache) == SEMCACHE_INVALID;
	ending->refused += semcache_fd(ending->cache) == SEMCACHE_INVALID;
	ending->refused += semcache_start_lookup(ending->cache, &question, &handler, NULL) == SEMCACHE_INVALID;
	semcache_close(ending->cache);
	on_done(data, id, error, result);
}

static void inside_a_callback_the_handle_is_refused(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct ending ending = {.cache = cache};
	struct semcache_handler handler = {.done = on_done_misbehaves, .data = &ending};

	peer_start(peer, script_ping);
	assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, NULL), 0);
	run_until(cache, &ending);
	assert_int_equal(ending.refused, 4);
	assert_int_equal(ending.code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static void a_blocking_call_is_refused_while_others_are_open(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct ending ending = {0};
	struct semcache_handler handler = {.done = on_done, .data = &ending};

	peer_start(peer, script_ping);
	assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, NULL), 0);
	assert_int_equal(semcache_ping(cache), SEMCACHE_INVALID);
	run_until(cache, &ending);
	assert_int_equal(ending.code, 0);
	semcache_close(cache);
	peer_finish(peer);
}

static bool script_two_pings(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_ping) && peer_respond(peer, peer->request.id, NULL, EMPTY) &&
	       peer_expect(peer, METHOD_ping) && peer_respond(peer, peer->request.id, NULL, EMPTY) && peer_expect_end(peer);
}

static void a_child_may_only_close_and_disturbs_nothing(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct ending endings[2] = {0};
	int status;

	peer_start(peer, script_two_pings);
	for (int i = 0; i < 2; i++) {
		struct semcache_handler handler = {.done = on_done, .data = &endings[i]};
		assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, NULL), 0);
		run_until(cache, &endings[i]);
		assert_int_equal(endings[i].code, 0);
		if (i == 1)
			break;
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			bool refused = semcache_ping(cache) == SEMCACHE_INVALID &&
				       strstr(semcache_last_error(cache)->text, "fork") &&
				       semcache_process(cache) == SEMCACHE_INVALID &&
				       semcache_cancel(cache, 1) == SEMCACHE_INVALID;
			semcache_close(cache);
			_exit(refused ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	semcache_close(cache);
	peer_finish(peer);
}

static void over_max_in_flight_a_request_is_refused(void **state)
{
	struct peer *peer = *state;
	struct semcache_options options = SEMCACHE_OPTIONS;
	struct ending ending = {0};
	struct semcache_handler handler = {.done = on_done, .data = &ending};

	options.socket = peer->path;
	options.max_in_flight = 2;
	struct semcache *cache = semcache_open(&options);
	for (int i = 0; i < 2; i++)
		assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, NULL), 0);
	assert_int_equal(semcache_start_call(cache, "ping", NULL, 0, SEMCACHE_UNSET, &handler, NULL), SEMCACHE_BUSY);
	assert_int_equal(semcache_in_flight(cache), 2);
	semcache_close(cache);
	assert_int_equal(ending.done, 0);
}

static int start_wrong(struct semcache *cache, const struct semcache_question *question)
{
	struct ending ending = {0};
	struct semcache_handler handler = {.done = on_done, .data = &ending};
	int code = semcache_start_get_or_generate(cache, question, &handler, NULL);

	assert_int_equal(semcache_in_flight(cache), 0);
	return code;
}

static void a_wrong_question_is_not_started(void **state)
{
	struct semcache *cache = open_handle(*state);
	struct semcache_question question = SEMCACHE_QUESTION;
	const struct semcache_message half = {"user", NULL};
	const struct semcache_error *error = semcache_last_error(cache);
	char deep[80];
	char *large = calloc(1, 70000);

	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	assert_string_equal(error->field, "prompt");
	question.messages = &half;
	question.message_count = 1;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	question.prompt = "both";
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	question = question_of("x");
	question.raw_parameters = "\x80\x80";
	question.raw_parameters_length = 2;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	assert_string_equal(error->field, "parameters");
	question.raw_parameters_length = 0;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	memset(deep, '\x91', sizeof(deep));
	deep[0] = (char)0x81;
	deep[1] = 1;
	deep[31] = 1;
	question.raw_parameters = deep;
	question.raw_parameters_length = 32;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	question = question_of("x");
	question.ttl_s = -7;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	assert_string_equal(error->field, "ttl");
	question = question_of("x");
	question.timeout_ms = 3600001;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	question = question_of("x");
	question.size = 0;
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_INVALID);
	memset(large, 'x', 69999);
	question = question_of(large);
	assert_int_equal(start_wrong(cache, &question), SEMCACHE_TOO_LARGE);
	assert_int_equal(semcache_call(cache, "ping", "\x90", 1, SEMCACHE_UNSET, NULL), SEMCACHE_INVALID);
	free(large);
	semcache_close(cache);
}

static bool script_nan(struct peer *peer)
{
	struct slice message, params;
	enum message_kind kind;
	struct fault fault;
	bool id_known;

	/* NaN is not "unset": it goes to the daemon, which refuses it. */
	if (!peer_accept(peer) || !peer_read(peer, &message) ||
	    request_read_head(message, &peer->request, &kind, &params, &id_known, &fault) != 0)
		return false;
	if (request_read_params(params, &peer->request, &fault) != ERROR_INVALID)
		return peer_failed(peer, "the threshold was not sent");
	return peer_respond(peer, peer->request.id, "INVALID field=threshold : no", (struct slice){0}) &&
	       peer_expect_end(peer);
}

static void a_threshold_that_is_no_number_is_not_ignored(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_question question = question_of("x");
	struct semcache_result *result;

	question.threshold = NAN;
	peer_start(peer, script_nan);
	assert_int_equal(semcache_lookup(cache, &question, &result), SEMCACHE_INVALID);
	semcache_close(cache);
	peer_finish(peer);
}

static void the_path_comes_from_options_environment_or_default(void **state)
{
	struct semcache_options options = SEMCACHE_OPTIONS;
	char path[110];

	(void)state;
	assert_int_equal(setenv("SEMCACHE_SOCKET", "/from/environment", 1), 0);
	struct semcache *cache = semcache_open(NULL);
	assert_string_equal(semcache_socket(cache), "/from/environment");
	semcache_close(cache);
	options.socket = "/from/options";
	cache = semcache_open(&options);
	assert_string_equal(semcache_socket(cache), "/from/options");
	semcache_close(cache);
	assert_int_equal(unsetenv("SEMCACHE_SOCKET"), 0);
	cache = semcache_open(NULL);
	assert_string_equal(semcache_socket(cache), SEMCACHE_SOCKET_PATH);
	semcache_close(cache);
	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	options.socket = path;
	errno = 0;
	assert_null(semcache_open(&options));
	assert_int_equal(errno, ENAMETOOLONG);
	path[107] = '\0';
	cache = semcache_open(&options);
	assert_non_null(cache);
	semcache_close(cache);
	options.max_in_flight = 0;
	assert_null(semcache_open(&options));
	assert_int_equal(errno, EINVAL);
	options.size = 3;
	assert_null(semcache_open(&options));
}

/* ---- verdicts ---- */

static bool script_verdict(struct peer *peer)
{
	return peer_accept(peer) && peer_expect(peer, METHOD_feedback) && peer->request.verdict == FEEDBACK_ACCEPT &&
	       slice_equal(peer->request.prompt, SLICE("Hello?")) && slice_equal(peer->request.model, SLICE("m")) &&
	       slice_equal(peer->request.entry, SLICE("abcd")) && !peer->request.has_similarity &&
	       peer_respond(peer, peer->request.id, NULL, SLICE("\x80")) && peer_expect(peer, METHOD_feedback) &&
	       peer->request.verdict == FEEDBACK_RIGHT && peer->request.similarity == 0.5 &&
	       peer_respond(peer, peer->request.id, NULL, SLICE("\x80")) && peer_expect_end(peer);
}

static void a_verdict_is_checked_and_sent_with_its_question(void **state)
{
	struct peer *peer = *state;
	struct semcache *cache = open_handle(peer);
	struct semcache_feedback feedback = SEMCACHE_FEEDBACK;
	struct semcache_question question = question_of("Hello?");

	assert_int_equal(semcache_feedback(cache, NULL, NULL), SEMCACHE_INVALID);
	assert_int_equal(semcache_feedback(cache, &feedback, NULL), SEMCACHE_INVALID);
	feedback.question = &question;
	feedback.size = 0;
	assert_int_equal(semcache_feedback(cache, &feedback, NULL), SEMCACHE_INVALID);
	feedback.size = sizeof(feedback);
	feedback.verdict = (enum semcache_verdict)4;
	assert_int_equal(semcache_feedback(cache, &feedback, NULL), SEMCACHE_INVALID);
	feedback.verdict = SEMCACHE_VERDICT_ACCEPT;
	feedback.entry = "abcd";
	question.prompt = NULL;
	assert_int_equal(semcache_feedback(cache, &feedback, NULL), SEMCACHE_INVALID);
	question.prompt = "Hello?";
	question.model = "m";
	question.timeout_ms = 5000;
	peer_start(peer, script_verdict);
	assert_int_equal(semcache_feedback(cache, &feedback, NULL), 0);
	feedback.verdict = SEMCACHE_VERDICT_RIGHT;
	feedback.similarity = 0.5;
	assert_int_equal(semcache_feedback(cache, &feedback, NULL), 0);
	semcache_close(cache);
	peer_finish(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_request_is_cancelled_from_its_chunk),
		TEST(a_blocking_call_is_cancelled_from_its_chunk),
		TEST(a_request_is_cancelled_before_it_is_sent),
		TEST(after_its_deadline_a_late_response_is_passed_over),
		TEST(a_deadline_of_zero_has_passed_at_once),
		TEST(inside_a_callback_the_handle_is_refused),
		TEST(a_blocking_call_is_refused_while_others_are_open),
		TEST(a_child_may_only_close_and_disturbs_nothing),
		TEST(over_max_in_flight_a_request_is_refused),
		TEST(a_wrong_question_is_not_started),
		TEST(a_threshold_that_is_no_number_is_not_ignored),
		TEST(the_path_comes_from_options_environment_or_default),
		TEST(a_verdict_is_checked_and_sent_with_its_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
