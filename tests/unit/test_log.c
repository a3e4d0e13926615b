/* Lines as they reach stderr: one for each event, whatever is in the texts, and no waiting for a reader that does not
 * read. */
#include "daemon/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* stderr leads into one end of `ends`; the other is read. */
struct tap {
	int ends[2], saved;
	char text[262144];
};

static void tap_open(struct tap *tap, bool socket)
{
	if (socket)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, tap->ends), 0);
	else
		assert_int_equal(pipe(tap->ends), 0);
	assert_int_equal(fcntl(tap->ends[0], F_SETFL, O_NONBLOCK), 0);
	tap->saved = dup(STDERR_FILENO);
	assert_true(tap->saved >= 0);
	assert_int_equal(dup2(tap->ends[1], STDERR_FILENO), STDERR_FILENO);
}

static const char *tap_read(struct tap *tap)
{
	ssize_t got = read(tap->ends[0], tap->text, sizeof(tap->text) - 1);

	tap->text[got > 0 ? got : 0] = '\0';
	return tap->text;
}

static void tap_close(struct tap *tap)
{
	assert_int_equal(dup2(tap->saved, STDERR_FILENO), STDERR_FILENO);
	(void)close(tap->saved);
	(void)close(tap->ends[0]);
	(void)close(tap->ends[1]);
	free(tap);
}

static struct tap *tap_create(bool socket)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	assert_non_null(tap);
	tap_open(tap, socket);
	return tap;
}

static void a_line_has_time_and_level(void **state)
{
	struct tap *tap = tap_create(false);
	struct log log;
	int year, month, day, hour, minute, second, ms, end = 0;

	(void)state;
	log_init(&log, LOG_LEVEL_INFO);
	assert_false(log.journal);
	log_write(&log, LOG_LEVEL_WARNING, "part_down part=\"%s\" n=%d", "redis", 3);
	log_write(&log, LOG_LEVEL_DEBUG, "not_this");
	(void)sscanf(tap_read(tap), "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ warning part_down part=\"redis\" n=3%n", &year, &month,
		     &day, &hour, &minute, &second, &ms, &end);
	assert_true(end > 0);
	assert_string_equal(tap->text + end, "\n");
	tap_close(tap);
}

static void the_journal_gets_priorities(void **state)
{
	struct tap *tap = tap_create(true);
	char stream[64];
	struct stat st;
	struct log log;

	(void)state;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init(&log, LOG_LEVEL_DEBUG);
	assert_true(log.journal);
	log_write(&log, LOG_LEVEL_ERROR, "e");
	log_write(&log, LOG_LEVEL_WARNING, "w");
	log_write(&log, LOG_LEVEL_INFO, "i");
	log_write(&log, LOG_LEVEL_DEBUG, "d");
	assert_string_equal(tap_read(tap), "<3>e\n<4>w\n<6>i\n<7>d\n");
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		       (unsigned long long)st.st_ino + 1);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init(&log, LOG_LEVEL_DEBUG);
	assert_false(log.journal);
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	tap_close(tap);
}

static void a_text_of_others_makes_no_second_line(void **state)
{
	struct tap *tap = tap_create(true);
	struct log log;

	(void)state;
	log_init(&log, LOG_LEVEL_INFO);
	log.journal = true;
	log_write(&log, LOG_LEVEL_INFO, "x error=\"%s\"", "a\n<3>forged\x1b[31m\tb\x7f");
	assert_string_equal(tap_read(tap), "<6>x error=\"a <3>forged [31m b \"\n");
	tap_close(tap);
}

static void a_long_line_is_cut_at_a_whole_character(void **state)
{
	struct tap *tap = tap_create(true);
	char text[3001];
	struct log log;

	(void)state;
	log_init(&log, LOG_LEVEL_INFO);
	log.journal = true;
	for (size_t i = 0; i < 3000; i += 3)
		memcpy(text + i, "\xE2\x82\xAC", 3);
	text[3000] = '\0';
	for (size_t skip = 0; skip < 4; skip++) {
		log_write(&log, LOG_LEVEL_INFO, "%.*s%s", (int)skip, "aaa", text);
		size_t length = strlen(tap_read(tap));
		assert_in_range(length, 998, 1000);
		assert_int_equal(tap->text[length - 1], '\n');
		assert_memory_equal(tap->text + length - 4, "\xE2\x82\xAC", 3);
	}
	/* 996 bytes behind the prefix and one newline are 1,000. */
	log_write(&log, LOG_LEVEL_INFO, "%0996d", 1);
	assert_int_equal(strlen(tap_read(tap)), 1000);
	assert_int_equal(tap->text[998], '1');
	tap_close(tap);
}

static void a_reader_that_does_not_read_holds_nobody_up(void **state)
{
	for (int socket = 0; socket < 2; socket++) {
		struct tap *tap = tap_create(socket);
		struct log log;
		uint64_t written = 0;

		(void)state;
		log_init(&log, LOG_LEVEL_INFO);
		log.journal = true;
		while (log.lost_lines < 5 && written < 100000) {
			log_write(&log, LOG_LEVEL_INFO, "line n=%0900llu", (unsigned long long)written);
			written++;
		}
		assert_int_equal(log.lost_lines, 5);
		while (*tap_read(tap))
			;
		log_write(&log, LOG_LEVEL_INFO, "again");
		assert_string_equal(tap_read(tap), "<4>log_lost lines=5\n<6>again\n");
		assert_int_equal(log.lost_lines, 0);
		tap_close(tap);
	}
}

static void a_quotable_text(void **state)
{
	char out[8];

	(void)state;
	assert_string_equal(log_quotable(out, sizeof(out), "a\"b\nc"), "a'b c");
	assert_string_equal(log_quotable(out, sizeof(out), "123456\xE2\x82\xAC"), "123456");
	assert_string_equal(log_quotable(out, sizeof(out), ""), "");
}

static void what_peers_can_cause_is_logged_once_a_second(void **state)
{
	struct log_limit limit = {0};
	uint64_t left_out = 99;

	(void)state;
	assert_true(log_allows(&limit, 5, &left_out));
	assert_int_equal(left_out, 0);
	assert_false(log_allows(&limit, 5, &left_out));
	assert_false(log_allows(&limit, 1004, &left_out));
	assert_true(log_allows(&limit, 1005, &left_out));
	assert_int_equal(left_out, 2);
	assert_true(log_allows(&limit, 9000, &left_out));
	assert_int_equal(left_out, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_has_time_and_level),
		cmocka_unit_test(the_journal_gets_priorities),
		cmocka_unit_test(a_text_of_others_makes_no_second_line),
		cmocka_unit_test(a_long_line_is_cut_at_a_whole_character),
		cmocka_unit_test(a_reader_that_does_not_read_holds_nobody_up),
		cmocka_unit_test(a_quotable_text),
		cmocka_unit_test(what_peers_can_cause_is_logged_once_a_second),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
