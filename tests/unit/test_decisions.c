/* The log of decisions: records round trip, cut and damaged files, bounds, a disk that fails. */
#include "decisions_fixture.h"

#include <signal.h>
#include <sys/resource.h>

/* ---- round trips ---- */

static void assert_text(struct slice record, const char *key, const char *text)
{
	struct slice raw;

	assert_true(raw_find(record, slice_of(key), &raw));
	assert_true(slice_equal(raw_first(raw).text, slice_of(text)));
}

static void assert_nil(struct slice record, const char *key)
{
	struct slice raw;

	assert_true(raw_find(record, slice_of(key), &raw));
	assert_int_equal(raw_first(raw).type, READER_NIL);
}

static void assert_uint(struct slice record, const char *key, uint64_t number)
{
	struct slice raw;

	assert_true(raw_find(record, slice_of(key), &raw));
	assert_int_equal(raw_first(raw).type, READER_UINT);
	assert_int_equal(raw_first(raw).uint, number);
}

static struct slice map_in(struct slice record, const char *key, bool is_first)
{
	struct slice raw;

	assert_true(raw_find(record, slice_of(key), &raw));
	if (is_first) {
		raw.data++; /* an array of few items has one byte of head */
		raw.length--;
	}
	return raw;
}

static void a_decision_is_read_as_it_was_made(void **state)
{
	struct fixture *f = *state;
	struct found found;

	open_log(f);
	note(f, &(struct noted){.request = 1795557235000123, .number = 1, .entry = 2, .tag = "office", .serves = true});
	start_find(f, &found, 1795557235000123);
	wait_found(f, &found);
	struct slice record = {found.record, found.length};
	struct reader r = reader_of(record);
	assert_non_null(record.data);
	assert_int_equal(reader_skip(&r, NULL), 0);
	assert_ptr_equal(r.at, r.end);
	assert_uint(record, "request", 1795557235000123);
	assert_uint(record, "uid", 1000);
	assert_uint(record, "pid", 4321);
	assert_text(record, "namespace", "default");
	assert_text(record, "tier", "semantic");
	assert_text(record, "question", "the asked question");
	assert_text(record, "mode", "threshold");
	assert_text(record, "rule", "plain");
	assert_text(record, "origin", "file");
	assert_nil(record, "certificate_ms");
	assert_nil(record, "reason");
	assert_nil(record, "score_threshold");
	struct slice candidate = map_in(record, "candidates", true), served = map_in(record, "served", false);
	assert_text(candidate, "question", "the stored question");
	assert_nil(candidate, "opinion");
	assert_nil(candidate, "why");
	assert_text(served, "question", "the stored question");
	assert_uint(served, "created_ms", 1700000000000);
	assert_nil(served, "alias");
	free(found.record);
}

static void what_was_not_served_says_why(void **state)
{
	struct fixture *f = *state;
	struct found found;

	open_log(f);
	note(f, &(struct noted){.request = 5, .number = 1, .entry = 2});
	start_find(f, &found, 5);
	wait_found(f, &found);
	struct slice record = {found.record, found.length}, vetoes;
	assert_text(record, "reason", "guard_numbers");
	assert_nil(record, "served");
	struct slice candidate = map_in(record, "candidates", true);
	assert_text(candidate, "why", "guard_numbers");
	assert_true(raw_find(candidate, SLICE("vetoes"), &vetoes));
	assert_int_equal(raw_first(vetoes).count, 1);
	free(found.record);
}

static void what_waited_is_there_after_a_restart(void **state)
{
	struct fixture *f = *state;

	open_log(f);
	for (uint64_t request = 1; request <= 100; request++)
		note_plain(f, request);
	close_log(f);
	assert_int_equal(f->metrics.decisions_written, 100);
	open_log(f);
	assert_true(is_found(f, 1));
	assert_true(is_found(f, 100));
	assert_false(is_found(f, 101));
	note_plain(f, 101);
	assert_true(is_found(f, 101));
	close_log(f);
	assert_int_equal(segment_count(f), 1);
}

static void the_folder_and_its_files_are_the_daemons_alone(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char path[128];

	open_log(f);
	note_plain(f, 1);
	wait_counter(f, &f->metrics.decisions_written, 1);
	assert_int_equal(stat(f->inner, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	only_segment(f, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void without_texts_none_is_written(void **state)
{
	struct fixture *f = *state;
	struct found found;

	f->config.decisions.texts = 0;
	open_log(f);
	note(f, &(struct noted){.request = 1, .question = "a secret question", .number = 1, .entry = 2, .serves = true});
	start_find(f, &found, 1);
	wait_found(f, &found);
	struct slice record = {found.record, found.length};
	assert_nil(record, "question");
	assert_nil(map_in(record, "served", false), "question");
	assert_nil(map_in(record, "candidates", true), "question");
	free(found.record);
	assert_false(folder_has(f, "a secret question"));
	assert_false(folder_has(f, "the stored question"));
	f->config.decisions.texts = 1;
	note(f, &(struct noted){.request = 2, .question = "a public question", .number = 1, .entry = 2, .serves = true});
	assert_true(is_found(f, 2));
	assert_true(folder_has(f, "a public question"));
}

static void a_long_question_is_cut(void **state)
{
	struct fixture *f = *state;
	struct found found;
	struct slice raw;
	char *question = malloc(100001);

	assert_non_null(question);
	memset(question, 'q', 100000);
	question[100000] = 0;
	open_log(f);
	note(f, &(struct noted){.request = 1, .question = question, .number = 1, .entry = 2});
	start_find(f, &found, 1);
	wait_found(f, &found);
	assert_true(raw_find((struct slice){found.record, found.length}, SLICE("question"), &raw));
	assert_int_equal(raw_first(raw).text.length, RECORD_TEXT);
	free(found.record);
	free(question);
}

static void without_a_folder_nothing_is_kept(void **state)
{
	struct fixture *f = *state;
	struct found found = {.find = {.done = on_found, .data = &found}};
	char none[] = "";

	f->config.decisions.directory = none;
	open_log(f);
	note_plain(f, 1);
	decisions_purge(f->decisions, (struct slice){0}, NULL);
	assert_int_equal(decisions_find(f->decisions, &found.find, 1), ERROR_UNAVAILABLE);
}

/* ---- cut and damaged files ---- */

static void of_a_cut_file_whole_records_are_read(void **state)
{
	struct fixture *f = *state;
	char path[128];
	off_t record = three_records(f, path), cuts[] = {1, FRAME_HEAD - 1, FRAME_HEAD, record - 1};

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		assert_int_equal(truncate(path, SEGMENT_HEAD + 2 * record + cuts[sizeof(cuts) / sizeof(cuts[0]) - 1 - i]),
				 0);
		open_log(f);
		assert_true(is_found(f, 1) && is_found(f, 2));
		assert_false(is_found(f, 3));
		close_log(f);
	}
	open_log(f);
	note_plain(f, 4);
	assert_true(is_found(f, 4) && is_found(f, 2));
	close_log(f);
	/* What is cut is not gone on with. */
	assert_int_equal(segment_count(f), 2);
	open_log(f);
	assert_true(is_found(f, 4) && is_found(f, 1));
}

static void of_a_damaged_file_what_is_before_is_read(void **state)
{
	struct fixture *f = *state;
	char path[128], byte;
	off_t record = three_records(f, path), places[] = {0, 4, 8, 16, 24, 32, 39, 40, 100, record - 1};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		off_t at = SEGMENT_HEAD + record + places[i];
		int fd = open(path, O_RDWR);
		assert_true(fd >= 0);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		open_log(f);
		assert_true(is_found(f, 1));
		assert_false(is_found(f, 2) || is_found(f, 3));
		close_log(f);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(close(fd), 0);
	}
	open_log(f);
	assert_true(is_found(f, 2) && is_found(f, 3));
}

static void other_files_are_left_alone(void **state)
{
	struct fixture *f = *state;
	char path[128];

	assert_int_equal(mkdir(f->inner, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/notes.txt", f->inner);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(close(fd), 0);
	(void)snprintf(path, sizeof(path), "%s/00000000000000zz.decisions", f->inner);
	assert_int_equal(symlink("notes.txt", path), 0);
	(void)snprintf(path, sizeof(path), "%s/0000000000000007.decisions", f->inner);
	assert_int_equal(symlink("notes.txt", path), 0);
	open_log(f);
	note_plain(f, 1);
	decisions_purge(f->decisions, (struct slice){0}, NULL);
	wait_counter(f, &f->metrics.decisions_purged, 1);
	close_log(f);
	(void)snprintf(path, sizeof(path), "%s/notes.txt", f->inner);
	assert_int_equal(size_of(path), 1);
}

/* ---- bounds ---- */

static void the_oldest_leave_when_there_are_too_many_bytes(void **state)
{
	struct fixture *f = *state;
	uint64_t request = 0;

	f->config.decisions.max_bytes = 1u << 20;
	open_log(f);
	for (int batch = 0; batch < 48; batch++) {
		for (int i = 0; i < 80; i++)
			note_plain(f, ++request);
		wait_counter(f, &f->metrics.decisions_written, request);
		assert_true(folder_bytes(f) <= 1u << 20);
	}
	assert_true(segment_count(f) >= 14);
	assert_true(is_found(f, request));
	assert_true(is_found(f, request - 500));
	assert_false(is_found(f, 1));
	close_log(f);
	open_log(f);
	assert_true(is_found(f, request));
	assert_true(is_found(f, request - 500));
	assert_int_equal(f->metrics.decisions_dropped, 0);
}

static void what_is_too_old_leaves(void **state)
{
	struct fixture *f = *state;
	char path[128];

	(void)three_records(f, path);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - 604800 - 10}};
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	open_log(f);
	assert_false(is_found(f, 1));
	assert_int_equal(segment_count(f), 0);
}

static void what_is_too_old_is_not_found_before_it_leaves(void **state)
{
	struct fixture *f = *state;
	char path[128];

	(void)three_records(f, path);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) + 1000}};
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	f->config.decisions.max_age = 0;
	open_log(f);
	for (int i = 0; is_found(f, 1) && i < TURNS_MOST; i++)
		turn(f);
	assert_false(is_found(f, 1));
	assert_int_equal(segment_count(f), 1);
}

static void beyond_the_buffer_records_are_dropped_and_counted(void **state)
{
	struct fixture *f = *state;
	uint64_t request = 0;

	/* Where the folder should be is a file. */
	assert_int_equal(close(open(f->inner, O_WRONLY | O_CREAT, 0600)), 0);
	open_log(f);
	wait_counter(f, &f->metrics.decisions_failures, 1);
	while (f->metrics.decisions_dropped < 10)
		note_plain(f, ++request);
	assert_true(request > 500 && request < 5000);
	assert_int_equal(f->metrics.decisions_written, 0);
	/* What waits is found even so, and written as soon as that can be. */
	assert_true(is_found(f, 1));
	assert_int_equal(unlink(f->inner), 0);
	wait_counter(f, &f->metrics.decisions_written, request - 10);
	assert_true(is_found(f, request - 10));
}

static void of_a_full_disk_nothing_is_lost_that_can_wait(void **state)
{
	struct fixture *f = *state;
	struct rlimit before, narrow;
	char path[128];

	(void)signal(SIGXFSZ, SIG_IGN);
	open_log(f);
	note_plain(f, 1);
	wait_counter(f, &f->metrics.decisions_written, 1);
	only_segment(f, path);
	off_t whole = size_of(path);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	narrow = before;
	narrow.rlim_cur = (rlim_t)whole + 2000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &narrow), 0);
	for (uint64_t request = 2; request <= 20; request++)
		note_plain(f, request);
	wait_counter(f, &f->metrics.decisions_failures, 1);
	/* Half a record is not left. */
	assert_int_equal(size_of(path), whole);
	assert_int_equal(f->metrics.decisions_written, 1);
	assert_true(is_found(f, 1) && is_found(f, 20));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	wait_counter(f, &f->metrics.decisions_written, 20);
	assert_int_equal(f->metrics.decisions_dropped, 0);
	close_log(f);
	open_log(f);
	assert_true(is_found(f, 1) && is_found(f, 20));
}

static void a_folder_that_was_removed_is_made_again(void **state)
{
	struct fixture *f = *state;
	struct identity entry = identity_of_number(2);
	char command[128];

	open_log(f);
	note_plain(f, 1);
	wait_counter(f, &f->metrics.decisions_written, 1);
	(void)snprintf(command, sizeof(command), "rm -rf %s", f->inner);
	assert_int_equal(system(command), 0);
	note_plain(f, 2);
	wait_counter(f, &f->metrics.decisions_failures, 1);
	wait_counter(f, &f->metrics.decisions_written, 2);
	assert_true(is_found(f, 2));
	assert_false(is_found(f, 1));
	/* Numbers go on as they were: what is noted after a purge stays. */
	decisions_purge(f->decisions, SLICE("default"), &entry);
	note_plain(f, 3);
	wait_counter(f, &f->metrics.decisions_purged, 1);
	assert_true(is_found(f, 3));
	assert_false(is_found(f, 2));
}

static void a_folder_has_one_daemon(void **state)
{
	struct fixture *f = *state;
	struct metrics metrics = {0};

	open_log(f);
	note_plain(f, 1);
	wait_counter(f, &f->metrics.decisions_written, 1);
	struct decisions *second = decisions_create(&f->loop, &f->config, &metrics, &f->log);
	assert_non_null(second);
	wait_counter(f, &metrics.decisions_failures, 1);
	decisions_destroy(f->decisions);
	f->decisions = second;
	note_plain(f, 2);
	assert_int_equal(metrics.decisions_written, 0);
	wait_counter(f, &metrics.decisions_written, 1);
	assert_true(is_found(f, 1) && is_found(f, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_decision_is_read_as_it_was_made),
		TEST(what_was_not_served_says_why),
		TEST(what_waited_is_there_after_a_restart),
		TEST(the_folder_and_its_files_are_the_daemons_alone),
		TEST(without_texts_none_is_written),
		TEST(a_long_question_is_cut),
		TEST(without_a_folder_nothing_is_kept),
		TEST(of_a_cut_file_whole_records_are_read),
		TEST(of_a_damaged_file_what_is_before_is_read),
		TEST(other_files_are_left_alone),
		TEST(the_oldest_leave_when_there_are_too_many_bytes),
		TEST(what_is_too_old_leaves),
		TEST(what_is_too_old_is_not_found_before_it_leaves),
		TEST(beyond_the_buffer_records_are_dropped_and_counted),
		TEST(of_a_full_disk_nothing_is_lost_that_can_wait),
		TEST(a_folder_that_was_removed_is_made_again),
		TEST(a_folder_has_one_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
