#include "proto/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* What came of reading one message. */
struct outcome {
	int head, params;
	enum message_kind kind;
	bool id_known;
	struct request request;
	struct fault fault;
};

static struct outcome read_message(struct slice message)
{
	struct outcome o = {.head = 0};
	struct slice params;

	o.head = request_read_head(message, &o.request, &o.kind, &params, &o.id_known, &o.fault);
	if (o.head == 0 && o.kind == MESSAGE_REQUEST)
		o.params = request_read_params(params, &o.request, &o.fault);
	return o;
}

#define READ(bytes) read_message(SLICE(bytes))

/* Reads [0, 7, method, [{pairs}]], where `pairs` is `count` raw pairs. The texts live until the next call. */
static struct outcome ask(const char *method, unsigned char count, const char *pairs, size_t length)
{
	static char message[4096];
	size_t at = 0, name = strlen(method);

	assert_true(name < 32 && length < sizeof(message) - 64);
	message[at++] = (char)0x94;
	message[at++] = 0;
	message[at++] = 7;
	message[at++] = (char)(0xa0 | name);
	memcpy(message + at, method, name);
	at += name;
	message[at++] = (char)0x91;
	message[at++] = (char)0xde;
	message[at++] = 0;
	message[at++] = (char)count;
	memcpy(message + at, pairs, length);
	return read_message((struct slice){message, at + length});
}

#define ASK(method, count, pairs) ask((method), (count), (pairs), sizeof(pairs) - 1)
#define PROMPT "\xa6prompt\xa2hi"

static void check_accepted(struct outcome o)
{
	if (o.head || o.params)
		print_message("%s %s: %s\n", error_name(o.fault.code), o.fault.detail, o.fault.text);
	assert_int_equal(o.head, 0);
	assert_int_equal(o.params, 0);
	assert_int_equal(o.kind, MESSAGE_REQUEST);
}

static void check_refused(struct outcome o, int code, const char *detail)
{
	assert_int_equal(o.head, 0);
	assert_int_equal(o.params, code);
	assert_int_equal(o.fault.code, code);
	assert_string_equal(o.fault.detail, detail);
}

static void a_question_with_every_key_is_read(void **state)
{
	struct outcome o = ASK("get_or_generate", 15,
			       "\xa8messages\x91\x81\xa4role\xa4user\xa5model\xa3gpt\xaaparameters\x81\xa1n\x01"
			       "\xa9namespace\xa3kb1\xa8question\xa1q\xa7"
			       "context\xa6system\xa5"
			       "cache\xa7refresh"
			       "\xa7max_age\x00\xa9threshold\xcb\x3f\xe8\x00\x00\x00\x00\x00\x00\xa4mode\xa5"
			       "exact"
			       "\xa3ttl\xcd\x0e\x10\xa4tags\x92\xa1"
			       "a\xa3"
			       "b-1\xa6stream\xc3\xaatimeout_ms\xcd\x03\xe8"
			       "\xa6prompt\xc0");

	(void)state;
	check_accepted(o);
	assert_int_equal(o.request.id, 7);
	assert_int_equal(o.request.method, METHOD_get_or_generate);
	assert_null(o.request.prompt.data);
	assert_true(slice_equal(o.request.messages, SLICE("\x91\x81\xa4role\xa4user")));
	assert_true(slice_equal(o.request.model, SLICE("gpt")));
	assert_true(slice_equal(o.request.parameters, SLICE("\x81\xa1n\x01")));
	assert_true(slice_equal(o.request.namespace, SLICE("kb1")) && o.request.has_namespace);
	assert_true(slice_equal(o.request.question, SLICE("q")));
	assert_true(slice_equal(o.request.context, SLICE("system")));
	assert_int_equal(o.request.cache, CACHE_REFRESH);
	assert_true(o.request.has_max_age && o.request.max_age_s == 0);
	assert_true(o.request.has_threshold && o.request.threshold > 0.74 && o.request.threshold < 0.76);
	assert_true(o.request.mode_exact && o.request.stream);
	assert_true(o.request.has_ttl && o.request.ttl_s == 3600);
	assert_true(o.request.has_timeout && o.request.timeout_ms == 1000);
	assert_int_equal(o.request.tag_count, 2);
	assert_true(slice_equal(o.request.tags[1], SLICE("b-1")));
}

static void a_bare_question_has_the_defaults_and_nothing_set(void **state)
{
	struct outcome o = ASK("lookup", 1, PROMPT);

	(void)state;
	check_accepted(o);
	assert_true(slice_equal(o.request.prompt, SLICE("hi")));
	assert_true(slice_equal(o.request.namespace, SLICE("default")));
	assert_false(o.request.has_namespace || o.request.has_max_age || o.request.has_threshold || o.request.has_ttl ||
		     o.request.has_timeout || o.request.mode_exact || o.request.stream || o.request.dry_run);
	assert_null(o.request.model.data);
	assert_int_equal(o.request.limit, 100);
}

static void nil_is_unset_and_zero_is_a_value(void **state)
{
	struct outcome o = ASK("get_or_generate", 4, PROMPT "\xa3ttl\xc0\xa7max_age\x00\xa9threshold\xc0");

	(void)state;
	check_accepted(o);
	assert_false(o.request.has_ttl);
	assert_true(o.request.has_max_age);
	assert_false(o.request.has_threshold);
	check_refused(ASK("get_or_generate", 1, "\xa6prompt\xc0"), ERROR_INVALID, "field=prompt");
}

static void bin_is_accepted_wherever_str_is(void **state)
{
	struct outcome o = READ("\x94\x00\x01\xc4\x06lookup\x91\x82\xc4\x06prompt\xc4\x02hi\xc4\x04mode\xc4\x05"
				"exact");

	(void)state;
	check_accepted(o);
	assert_int_equal(o.request.method, METHOD_lookup);
	assert_true(slice_equal(o.request.prompt, SLICE("hi")));
	assert_true(o.request.mode_exact);
}

static void no_params_are_an_empty_map(void **state)
{
	(void)state;
	check_accepted(READ("\x94\x00\x01\xa4ping\x90"));
	check_accepted(READ("\x94\x00\x01\xa4ping\x91\x80"));
	check_refused(READ("\x94\x00\x01\xa6lookup\x90"), ERROR_INVALID, "field=prompt");
}

static void params_of_another_shape_are_invalid_and_the_id_is_known(void **state)
{
	static const struct slice messages[] = {
		{"\x94\x00\x01\xa4ping\x80", 9},
		{"\x94\x00\x01\xa4ping\xc0", 9},
		{"\x94\x00\x01\xa4ping\x92\x80\x80", 11},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct outcome o = read_message(messages[i]);
		assert_int_equal(o.head, ERROR_INVALID);
		assert_string_equal(o.fault.detail, "field=params");
		assert_true(o.id_known);
		assert_int_equal(o.request.id, 1);
	}
	check_refused(READ("\x94\x00\x01\xa4ping\x91\x90"), ERROR_INVALID, "field=params");
	check_refused(READ("\x94\x00\x01\xa4ping\x91\x81\x01\x01"), ERROR_INVALID, "field=params");
}

static void a_message_that_is_no_request_ends_the_connection(void **state)
{
	static const struct slice messages[] = {
		{"\xc0", 1}, /* no array */
		{"\x90", 1}, /* nothing in it */
		{"\x94\xa1"
		 "0\x01\xa4ping\x90",
		 10},                                 /* type is a text */
		{"\x94\x01\x01\xc0\xc0", 5},          /* a response */
		{"\x93\x00\x01\xa4ping", 8},          /* too short */
		{"\x95\x00\x01\xa4ping\x90\xc0", 10}, /* too long */
		{"\x94\x00\xff\xa4ping\x90", 9},      /* id -1 */
		{"\x94\x00\xa1"
		 "1\xa4ping\x90",
		 10},                                                             /* id is a text */
		{"\x94\x00\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xa4ping\x90", 17}, /* id 1.0 */
		{"\x94\x00\xcf\x00\x20\x00\x00\x00\x00\x00\x01\xa4ping\x90", 17}, /* id 2^53 + 1 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct outcome o = read_message(messages[i]);
		assert_int_equal(o.head, ERROR_PROTOCOL);
		assert_int_equal(o.fault.code, ERROR_PROTOCOL);
		assert_false(o.id_known);
	}
	struct outcome largest = READ("\x94\x00\xcf\x00\x20\x00\x00\x00\x00\x00\x00\xa4ping\x90");
	check_accepted(largest);
	assert_true(largest.request.id == LIMIT_ID);
}

static void an_unknown_method_is_told_under_its_id(void **state)
{
	struct outcome o = READ("\x94\x00\x05\xa4pong\x91\x80");

	(void)state;
	assert_int_equal(o.head, ERROR_UNKNOWN_METHOD);
	assert_true(o.id_known && o.request.id == 5);
	o = READ("\x94\x00\x05\xc0\x91\x80");
	assert_int_equal(o.head, ERROR_INVALID);
	assert_string_equal(o.fault.detail, "field=method");
	assert_true(o.id_known);
}

static void a_cancel_names_the_request(void **state)
{
	struct outcome o = READ("\x93\x02\xa6"
				"cancel\x91\x09");

	(void)state;
	assert_int_equal(o.head, 0);
	assert_int_equal(o.kind, MESSAGE_CANCEL);
	assert_int_equal(o.request.id, 9);
}

static void other_notifications_are_ignored_whatever_they_hold(void **state)
{
	static const struct slice messages[] = {
		{"\x93\x02\xa5hello\x90", 9},
		{"\x93\x02\x05\x90", 4},
		{"\x92\x02\xa6"
		 "cancel",
		 9},
		{"\x91\x02", 2},
		{"\x93\x02\xa6"
		 "cancel\x90",
		 10},
		{"\x93\x02\xa6"
		 "cancel\x91\xff",
		 11},
		{"\x93\x02\xa6"
		 "cancel\x92\x01\x02",
		 12},
		{"\x93\x02\xa6"
		 "cancel\x05",
		 10},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct outcome o = read_message(messages[i]);
		assert_int_equal(o.head, 0);
		assert_int_equal(o.kind, MESSAGE_IGNORED);
	}
}

static void a_mistyped_key_is_refused_by_name(void **state)
{
	(void)state;
	check_refused(ASK("lookup", 2, PROMPT "\xa8treshold\x01"), ERROR_INVALID, "field=treshold");
	check_refused(ASK("lookup", 2, PROMPT "\xa3ttl\x01"), ERROR_INVALID, "field=ttl");
	check_refused(ASK("ping", 1, "\xa6prompt\xa2hi"), ERROR_INVALID, "field=prompt");
	check_refused(ASK("ping", 1, "\xa0\x01"), ERROR_INVALID, "field=params");
	check_refused(ASK("ping", 1,
			  "\xaa"
			  "a b=c\nd\x7f\x01\xff\xc0"),
		      ERROR_INVALID, "field=a?b?c?d???");
	check_refused(ASK("ping", 1, "\xd9\x40xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\x01"),
		      ERROR_INVALID, "field=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}

static void a_key_that_is_there_twice_is_refused(void **state)
{
	(void)state;
	check_refused(ASK("lookup", 2, PROMPT PROMPT), ERROR_INVALID, "field=prompt");
	check_refused(ASK("lookup", 3,
			  PROMPT "\xa4mode\xc0\xc4\x04mode\xa5"
				 "exact"),
		      ERROR_INVALID, "field=mode");
}

static void texts_are_checked(void **state)
{
	(void)state;
	check_refused(ASK("lookup", 1, "\xa6prompt\x05"), ERROR_INVALID, "field=prompt");
	check_refused(ASK("lookup", 1, "\xa6prompt\xa0"), ERROR_INVALID, "field=prompt");
	check_refused(ASK("lookup", 1, "\xa6prompt\xa1\xff"), ERROR_INVALID, "field=prompt");
	check_refused(ASK("lookup", 1,
			  "\xa6prompt\xa3"
			  "a\0b"),
		      ERROR_INVALID, "field=prompt");
	check_refused(ASK("lookup", 2,
			  PROMPT "\xa9namespace\xa3"
				 "a b"),
		      ERROR_INVALID, "field=namespace");
	check_refused(ASK("lookup", 2, PROMPT "\xa9namespace\xa0"), ERROR_INVALID, "field=namespace");
	check_refused(ASK("lookup", 2,
			  PROMPT "\xa9namespace\xd9\x41"
				 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		      ERROR_TOO_LARGE, "field=namespace limit=64");
	check_accepted(ASK("list", 1,
			   "\xa5"
			   "after\xa0"));
}

static void prompt_and_messages_exclude_each_other(void **state)
{
	(void)state;
	check_refused(ASK("lookup", 2, PROMPT "\xa8messages\x90"), ERROR_INVALID, "field=messages");
	check_refused(ASK("lookup", 1, "\xa8messages\x80"), ERROR_INVALID, "field=messages");
	check_refused(ASK("lookup", 2, PROMPT "\xaaparameters\x90"), ERROR_INVALID, "field=parameters");
	check_refused(ASK("add", 1, PROMPT), ERROR_INVALID, "field=answer");
	check_accepted(ASK("add", 2,
			   PROMPT "\xa6"
				  "answer\xa2ok"));
}

static void numbers_keep_to_their_limits(void **state)
{
	(void)state;
	check_refused(ASK("get_or_generate", 2, PROMPT "\xa3ttl\xff"), ERROR_INVALID, "field=ttl limit=31536000");
	check_refused(ASK("get_or_generate", 2, PROMPT "\xa3ttl\xce\xff\xff\xff\xff"), ERROR_INVALID,
		      "field=ttl limit=31536000");
	check_refused(ASK("get_or_generate", 2, PROMPT "\xa3ttl\xcf\x00\x00\x00\x01\x00\x00\x00\x00"), ERROR_INVALID,
		      "field=ttl limit=31536000");
	check_refused(ASK("get_or_generate", 2,
			  PROMPT "\xa3ttl\xa1"
				 "5"),
		      ERROR_INVALID, "field=ttl limit=31536000");
	check_accepted(ASK("get_or_generate", 2, PROMPT "\xa3ttl\xce\x01\xe1\x33\x80"));
	check_refused(ASK("list", 1, "\xa5limit\xcd\x03\xe9"), ERROR_INVALID, "field=limit limit=1000");
	check_refused(ASK("get_or_generate", 2, PROMPT "\xa6stream\x01"), ERROR_INVALID, "field=stream");
}

static void a_threshold_is_a_cosine(void **state)
{
	(void)state;
	check_accepted(ASK("lookup", 2, PROMPT "\xa9threshold\x01"));
	check_accepted(ASK("lookup", 2, PROMPT "\xa9threshold\xff"));
	check_accepted(ASK("lookup", 2, PROMPT "\xa9threshold\xca\x3f\x66\x66\x66"));
	check_refused(ASK("lookup", 2, PROMPT "\xa9threshold\x02"), ERROR_INVALID, "field=threshold");
	check_refused(ASK("lookup", 2, PROMPT "\xa9threshold\xcb\x3f\xf0\x00\x00\x00\x00\x00\x01"), ERROR_INVALID,
		      "field=threshold");
	check_refused(ASK("lookup", 2, PROMPT "\xa9threshold\xca\x7f\xc0\x00\x00"), ERROR_INVALID, "field=threshold");
	check_refused(ASK("lookup", 2,
			  PROMPT "\xa9threshold\xa3"
				 "0.9"),
		      ERROR_INVALID, "field=threshold");
}

static void only_the_words_of_cache_and_mode_are_taken(void **state)
{
	(void)state;
	assert_int_equal(ASK("get_or_generate", 2,
			     PROMPT "\xa5"
				    "cache\xa4only")
				 .request.cache,
			 CACHE_ONLY);
	check_refused(ASK("get_or_generate", 2,
			  PROMPT "\xa5"
				 "cache\xa5never"),
		      ERROR_INVALID, "field=cache");
	check_refused(ASK("get_or_generate", 2,
			  PROMPT "\xa5"
				 "cache\x01"),
		      ERROR_INVALID, "field=cache");
	check_refused(ASK("lookup", 2, PROMPT "\xa4mode\xa9threshold"), ERROR_INVALID, "field=mode");
	check_refused(ASK("lookup", 2, PROMPT "\xa4mode\xc3"), ERROR_INVALID, "field=mode");
}

static void tags_are_names_and_not_too_many(void **state)
{
	char pairs[128] = PROMPT "\xa4tags\xdc\x00";
	size_t at = sizeof(PROMPT "\xa4tags\xdc\x00") - 1;

	(void)state;
	pairs[at] = LIMIT_TAGS;
	for (size_t i = 0; i <= LIMIT_TAGS; i++)
		memcpy(pairs + at + 1 + 2 * i, "\xa1t", 2);
	struct outcome o = ask("get_or_generate", 2, pairs, at + 1 + 2 * LIMIT_TAGS);
	check_accepted(o);
	assert_int_equal(o.request.tag_count, LIMIT_TAGS);
	pairs[at] = LIMIT_TAGS + 1;
	check_refused(ask("get_or_generate", 2, pairs, at + 1 + 2 * (LIMIT_TAGS + 1)), ERROR_TOO_LARGE,
		      "field=tags limit=16");
	check_refused(ASK("get_or_generate", 2,
			  PROMPT "\xa4tags\x91\xa3"
				 "a b"),
		      ERROR_INVALID, "field=tags");
	check_refused(ASK("get_or_generate", 2, PROMPT "\xa4tags\x91\x05"), ERROR_INVALID, "field=tags");
	check_refused(ASK("get_or_generate", 2,
			  PROMPT "\xa4tags\xa1"
				 "a"),
		      ERROR_INVALID, "field=tags");
}

static void what_is_invalidated_or_shown_is_named_once(void **state)
{
	(void)state;
	check_accepted(ASK("invalidate", 1, "\xa9namespace\xa1n"));
	check_accepted(ASK("invalidate", 3,
			   "\xa9namespace\xa1n\xa3tag\xa1t\xa7"
			   "dry_run\xc3"));
	check_accepted(ASK("invalidate", 1, "\xa8question\xa2hi"));
	check_refused(ASK("invalidate", 0, ""), ERROR_INVALID, "field=entry");
	check_refused(ASK("invalidate", 1, "\xa9namespace\xc0"), ERROR_INVALID, "field=entry");
	check_refused(ASK("invalidate", 1, "\xa3tag\xa0"), ERROR_INVALID, "field=tag");
	check_refused(ASK("invalidate", 2,
			  "\xa3tag\xa1t\xa5"
			  "entry\xa1"
			  "e"),
		      ERROR_INVALID, "field=entry");
	check_refused(ASK("show", 0, ""), ERROR_INVALID, "field=entry");
}

static void a_request_cut_at_every_byte_is_never_accepted(void **state)
{
	static const char whole[] =
		"\x94\x00\x01\xa6lookup\x91\x84\xa8messages\x91\x81\xa4role\xa4user\xa9threshold\xca\x3f\x00\x00\x00"
		"\xa7max_age\xcd\x00\x01\xaaparameters\x81\xa1k\x92\x01\xc4\x01v";

	(void)state;
	for (size_t length = 0; length < sizeof(whole); length++) {
		/* A copy of just these bytes, so that a read behind them is seen. */
		char *copy = malloc(length + 1);
		assert_non_null(copy);
		memcpy(copy + 1, whole, length);
		struct outcome o = read_message((struct slice){copy + 1, length});
		assert_int_equal(o.head == 0 && o.params == 0, length == sizeof(whole) - 1);
		free(copy);
	}
}

static void names_are_of_few_characters(void **state)
{
	(void)state;
	assert_true(request_name_valid(SLICE("aZ09._-")));
	assert_false(request_name_valid(SLICE("")));
	assert_false(request_name_valid(SLICE("a/b")));
	assert_false(request_name_valid(SLICE("a:b")));
	assert_false(request_name_valid(SLICE("a\0")));
	assert_false(request_name_valid(SLICE("\xc3\xa9")));
	assert_false(request_name_valid((struct slice){NULL, 0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_with_every_key_is_read),
		cmocka_unit_test(a_bare_question_has_the_defaults_and_nothing_set),
		cmocka_unit_test(nil_is_unset_and_zero_is_a_value),
		cmocka_unit_test(bin_is_accepted_wherever_str_is),
		cmocka_unit_test(no_params_are_an_empty_map),
		cmocka_unit_test(params_of_another_shape_are_invalid_and_the_id_is_known),
		cmocka_unit_test(a_message_that_is_no_request_ends_the_connection),
		cmocka_unit_test(an_unknown_method_is_told_under_its_id),
		cmocka_unit_test(a_cancel_names_the_request),
		cmocka_unit_test(other_notifications_are_ignored_whatever_they_hold),
		cmocka_unit_test(a_mistyped_key_is_refused_by_name),
		cmocka_unit_test(a_key_that_is_there_twice_is_refused),
		cmocka_unit_test(texts_are_checked),
		cmocka_unit_test(prompt_and_messages_exclude_each_other),
		cmocka_unit_test(numbers_keep_to_their_limits),
		cmocka_unit_test(a_threshold_is_a_cosine),
		cmocka_unit_test(only_the_words_of_cache_and_mode_are_taken),
		cmocka_unit_test(tags_are_names_and_not_too_many),
		cmocka_unit_test(what_is_invalidated_or_shown_is_named_once),
		cmocka_unit_test(a_request_cut_at_every_byte_is_never_accepted),
		cmocka_unit_test(names_are_of_few_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
