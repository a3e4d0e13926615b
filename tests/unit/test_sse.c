/* Server-sent events in every split, and what the standard and real services do with line ends and fields. */
#include "daemon/sse.h"
#include "proto/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct heard {
	char text[4096]; /* each event's data in brackets */
	size_t length;
	unsigned stop_at, events;
};

static int on_event(void *context, struct slice data)
{
	struct heard *heard = context;

	assert_true(heard->length + data.length + 3 < sizeof(heard->text));
	heard->length += (size_t)snprintf(heard->text + heard->length, sizeof(heard->text) - heard->length, "[%.*s]",
					  (int)data.length, data.data);
	heard->events++;
	return heard->stop_at == heard->events ? 77 : 0;
}

/* Feeds `text` in two cuts, and ends. */
static int hear(struct heard *heard, struct slice text, size_t first, size_t second, size_t max)
{
	struct sse sse;

	*heard = (struct heard){.length = 0};
	sse_init(&sse, max);
	int error = sse_feed(&sse, (struct slice){text.data, first}, on_event, heard);
	if (!error)
		error = sse_feed(&sse, (struct slice){text.data + first, second - first}, on_event, heard);
	if (!error)
		error = sse_feed(&sse, (struct slice){text.data + second, text.length - second}, on_event, heard);
	if (!error)
		error = sse_end(&sse, on_event, heard);
	sse_deinit(&sse);
	return error;
}

static void every_split_of_a_stream_gives_the_same_events(void **state)
{
	static const struct {
		const char *stream, *events;
	} cases[] = {
		{"data: a\n\ndata: b\n\n", "[a][b]"},
		{"data: a\r\n\r\ndata: b\r\n\r\n", "[a][b]"},
		{"data: a\r\rdata: b\r\r", "[a][b]"},
		{"data: a\r\n\rdata: b\n\r\n", "[a][b]"},
		{"\xEF\xBB\xBF"
		 "data: a\n\n",
		 "[a]"},
		{"\n\n\xEF\xBB\xBF"
		 "data: a\n\n",
		 ""},
		{": ping\n\n: ping\ndata: a\n: x\n\n", "[a]"},
		{"data: a\ndata: b\ndata:\ndata\n\n", "[a\nb\n\n]"},
		{"data:a\n\ndata:  b\n\n", "[a][ b]"},
		{"event: x\nid: 3\nretry: 5\ndata: a\n\nevent: y\n\n", "[a]"},
		{"data\n\n", "[]"},
		{"databank: a\n\nxdata: b\n\n", ""},
		{"error: {\"a\": 1}\n\n", "[{\"a\": 1}]"},
		{"data: \xE4\xBD\xA0\xF0\x9F\x98\x80\n\n", "[\xE4\xBD\xA0\xF0\x9F\x98\x80]"},
		{"data: a:b\n\n", "[a:b]"},
		/* ended without the last line feeds */
		{"data: a\n", "[a]"},
		{"data: a", "[a]"},
		{"data: a\r", "[a]"},
		{": only a comment", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slice text = slice_of(cases[i].stream);
		for (size_t first = 0; first <= text.length; first++) {
			for (size_t second = first; second <= text.length; second++) {
				struct heard heard;
				assert_int_equal(hear(&heard, text, first, second, 4096), 0);
				if (strcmp(heard.text, cases[i].events))
					fail_msg("case %zu cut at %zu and %zu: %s", i, first, second, heard.text);
			}
		}
	}
}

static void a_nul_is_a_byte_like_any_other(void **state)
{
	struct sse sse;
	struct heard heard = {.length = 0};

	(void)state;
	sse_init(&sse, 100);
	assert_int_equal(sse_feed(&sse, SLICE("data: a\0b\n\n"), on_event, &heard), 0);
	assert_int_equal(heard.events, 1);
	sse_deinit(&sse);
}

static void a_line_or_an_event_over_the_maximum_is_refused(void **state)
{
	struct heard heard;
	struct slice line = SLICE("data: 0123456789\n\n"), lines = SLICE("data: 01234\ndata: 56789\n\n");

	(void)state;
	assert_int_equal(hear(&heard, line, 0, line.length, 11), 0);
	assert_string_equal(heard.text, "[0123456789]");
	assert_int_equal(hear(&heard, line, 0, line.length, 10), ERROR_TOO_LARGE);
	assert_int_equal(hear(&heard, line, 5, 16, 15), ERROR_TOO_LARGE);
	assert_int_equal(hear(&heard, lines, 0, lines.length, 12), 0);
	assert_int_equal(hear(&heard, lines, 0, lines.length, 11), ERROR_TOO_LARGE);
}

static void the_receiver_can_stop(void **state)
{
	struct heard heard = {.stop_at = 2};
	struct sse sse;

	(void)state;
	sse_init(&sse, 100);
	assert_int_equal(sse_feed(&sse, SLICE("data: a\n\ndata: b\n\ndata: c\n\n"), on_event, &heard), 77);
	assert_string_equal(heard.text, "[a][b]");
	sse_deinit(&sse);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split_of_a_stream_gives_the_same_events),
		cmocka_unit_test(a_nul_is_a_byte_like_any_other),
		cmocka_unit_test(a_line_or_an_event_over_the_maximum_is_refused),
		cmocka_unit_test(the_receiver_can_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
