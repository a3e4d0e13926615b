/* The log of decisions: what is purged leaves it, finds are given up and bounded, watchers are told. */
#include "decisions_fixture.h"

/* ---- purges ---- */

static void four_records(struct fixture *f)
{
	note(f, &(struct noted){.request = 1, .question = "first text", .number = 10, .entry = 20, .serves = true});
	note(f, &(struct noted){.request = 2, .question = "second text", .number = 11, .entry = 21, .tag = "office"});
	note(f, &(struct noted){.request = 3, .question = "third text", .number = 20, .entry = 22});
	note(f, &(struct noted){.request = 4, .question = "fourth text", .number = 12, .entry = 23, .namespace = "other"});
}

static void a_purged_entry_takes_all_records_that_mention_it(void **state)
{
	struct fixture *f = *state;
	struct identity entry = identity_of_number(20);

	open_log(f);
	four_records(f);
	wait_counter(f, &f->metrics.decisions_written, 4);
	assert_true(folder_has(f, "first text"));
	decisions_purge(f->decisions, SLICE("other"), &entry);
	assert_true(is_found(f, 1));
	decisions_purge(f->decisions, SLICE("default"), &entry);
	assert_false(is_found(f, 1) || is_found(f, 3));
	assert_true(is_found(f, 2) && is_found(f, 4));
	wait_counter(f, &f->metrics.decisions_purged, 2);
	assert_false(folder_has(f, "first text") || folder_has(f, "third text"));
	assert_true(folder_has(f, "second text"));
	close_log(f);
	open_log(f);
	assert_false(is_found(f, 1) || is_found(f, 3));
	assert_true(is_found(f, 2) && is_found(f, 4));
}

static void what_is_noted_after_a_purge_stays(void **state)
{
	struct fixture *f = *state;
	struct identity entry = identity_of_number(20);

	open_log(f);
	four_records(f);
	decisions_purge(f->decisions, SLICE("default"), &entry);
	note(f, &(struct noted){.request = 5, .question = "fifth text", .number = 10, .entry = 20, .serves = true});
	assert_true(is_found(f, 5));
	assert_false(is_found(f, 1));
	wait_counter(f, &f->metrics.decisions_purged, 2);
	assert_true(is_found(f, 5));
	assert_true(folder_has(f, "fifth text"));
	assert_false(folder_has(f, "first text"));
	/* And after a restart, where numbers begin anew. */
	close_log(f);
	open_log(f);
	decisions_purge(f->decisions, SLICE("default"), &entry);
	assert_false(is_found(f, 5));
	wait_counter(f, &f->metrics.decisions_purged, 3);
	assert_false(folder_has(f, "fifth text"));
}

static void a_purged_tag_takes_the_calls_that_had_it(void **state)
{
	struct fixture *f = *state;

	open_log(f);
	four_records(f);
	wait_counter(f, &f->metrics.decisions_written, 4);
	decisions_purge_tag(f->decisions, SLICE("default"), SLICE("office"));
	assert_false(is_found(f, 2));
	assert_true(is_found(f, 1) && is_found(f, 3) && is_found(f, 4));
	wait_counter(f, &f->metrics.decisions_purged, 1);
	assert_false(folder_has(f, "second text"));
}

static void a_flush_takes_a_namespace_or_all(void **state)
{
	struct fixture *f = *state;

	open_log(f);
	four_records(f);
	wait_counter(f, &f->metrics.decisions_written, 4);
	decisions_purge(f->decisions, SLICE("default"), NULL);
	assert_false(is_found(f, 1) || is_found(f, 2) || is_found(f, 3));
	assert_true(is_found(f, 4));
	wait_counter(f, &f->metrics.decisions_purged, 3);
	assert_true(folder_has(f, "fourth text"));
	decisions_purge(f->decisions, (struct slice){0}, NULL);
	assert_false(is_found(f, 4));
	wait_counter(f, &f->metrics.decisions_purged, 4);
	assert_int_equal(segment_count(f), 0);
	note_plain(f, 9);
	assert_true(is_found(f, 9));
}

static void a_purge_at_the_end_is_carried_out(void **state)
{
	struct fixture *f = *state;

	open_log(f);
	four_records(f);
	wait_counter(f, &f->metrics.decisions_written, 4);
	decisions_purge(f->decisions, SLICE("other"), NULL);
	close_log(f);
	assert_false(folder_has(f, "fourth text"));
	assert_true(folder_has(f, "third text"));
}

static void what_was_purged_while_the_disk_failed_is_never_written(void **state)
{
	struct fixture *f = *state;
	struct found found;

	assert_int_equal(close(open(f->inner, O_WRONLY | O_CREAT, 0600)), 0);
	open_log(f);
	wait_counter(f, &f->metrics.decisions_failures, 1);
	four_records(f);
	decisions_purge(f->decisions, SLICE("other"), NULL);
	start_find(f, &found, 4);
	wait_found(f, &found);
	/* The rest of the log cannot be looked into. */
	assert_null(found.record);
	assert_int_equal(found.error, ERROR_UNAVAILABLE);
	assert_int_equal(unlink(f->inner), 0);
	wait_counter(f, &f->metrics.decisions_written, 3);
	assert_true(is_found(f, 1));
	assert_false(is_found(f, 4));
	assert_false(folder_has(f, "fourth text"));
}

static void a_damaged_end_goes_with_a_purge(void **state)
{
	struct fixture *f = *state;
	char path[128];
	off_t record = three_records(f, path);

	assert_int_equal(truncate(path, SEGMENT_HEAD + 3 * record - 1), 0);
	open_log(f);
	decisions_purge(f->decisions, SLICE("another"), NULL);
	for (int i = 0; size_of(path) > SEGMENT_HEAD + 2 * record && i < TURNS_MOST; i++)
		turn(f);
	assert_int_equal(size_of(path), SEGMENT_HEAD + 2 * record);
	assert_true(is_found(f, 2));
}

static void too_many_purges_take_their_namespace(void **state)
{
	struct fixture *f = *state;

	open_log(f);
	four_records(f);
	note(f, &(struct noted){.request = 5, .number = 50, .entry = 51});
	for (unsigned i = 0; i <= PURGES_MOST; i++) {
		struct identity entry = identity_of_number(1000000 + i);
		decisions_purge(f->decisions, SLICE("default"), &entry);
	}
	assert_false(is_found(f, 1) || is_found(f, 5));
	assert_true(is_found(f, 4));
}

static void purges_of_very_many_namespaces_take_all(void **state)
{
	struct purges purges = {0};
	char name[32];

	(void)state;
	assert_true(purges_empty(&purges));
	for (unsigned i = 0; i <= PURGES_MOST; i++) {
		struct identity entry = identity_of_number(i);
		int length = snprintf(name, sizeof(name), "n%u", i);
		purges_add(&purges, PURGE_ENTRY, (struct slice){name, (size_t)length},
			   (struct slice){(const char *)entry.bytes, IDENTITY_BYTES}, 100);
		assert_int_equal(purges.all_before, i == PURGES_MOST ? 100 : 0);
	}
	assert_null(purges.set);
	assert_true(purges_match(&purges, SLICE("\x80"), 99, 0));
	assert_false(purges_match(&purges, SLICE("\x80"), 100, 0));
	purges_clear(&purges);
	assert_true(purges_empty(&purges));
}

/* ---- finds that are given up ---- */

static void a_find_that_is_cancelled_is_not_told(void **state)
{
	struct fixture *f = *state;
	struct found waiting, taken, other;

	open_log(f);
	note_plain(f, 1);
	start_find(f, &taken, 1);
	start_find(f, &waiting, 1);
	start_find(f, &other, 1);
	decisions_find_cancel(f->decisions, &taken.find);
	decisions_find_cancel(f->decisions, &waiting.find);
	decisions_find_cancel(f->decisions, &waiting.find);
	wait_found(f, &other);
	assert_non_null(other.record);
	free(other.record);
	assert_false(taken.done || waiting.done);
	start_find(f, &waiting, 1);
	close_log(f);
	assert_false(waiting.done);
}

static void finds_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct found *found = calloc(400, sizeof(*found));
	size_t count = 0;
	int error = 0;

	assert_non_null(found);
	open_log(f);
	note_plain(f, 1);
	for (; count < 400 && !error; count += !error) {
		found[count] = (struct found){.find = {.done = on_found, .data = &found[count]}};
		error = decisions_find(f->decisions, &found[count].find, 1);
	}
	assert_int_equal(error, ERROR_BUSY);
	assert_true(count >= 256);
	for (size_t i = 0; i < count; i++) {
		wait_found(f, &found[i]);
		assert_non_null(found[i].record);
		free(found[i].record);
	}
	free(found);
}

/* ---- watching ---- */

struct watcher {
	struct decisions_watch watch;
	struct decisions *decisions;
	uint64_t requests[8];
	size_t count;
	bool stops, ended;
};

static void on_event(struct decisions_watch *watch, struct slice record)
{
	struct watcher *watcher = watch->data;
	struct slice raw;

	assert_true(raw_find(record, SLICE("request"), &raw));
	assert_true(watcher->count < 8);
	watcher->requests[watcher->count++] = raw_first(raw).uint;
	if (watcher->stops)
		decisions_watch_stop(watcher->decisions, watch);
}

static void on_ended(struct decisions_watch *watch)
{
	((struct watcher *)watch->data)->ended = true;
}

static int watch(struct fixture *f, struct watcher *watcher, struct slice namespace, bool stops)
{
	*watcher = (struct watcher){
		.watch = {.event = on_event, .ended = on_ended, .data = watcher, .namespace = namespace},
		.decisions = f->decisions,
		.stops = stops,
	};
	return decisions_watch_start(f->decisions, &watcher->watch);
}

static void watchers_are_told_at_once(void **state)
{
	struct fixture *f = *state;
	struct watcher all, other, once;

	f->config.decisions.texts = 0;
	open_log(f);
	assert_int_equal(watch(f, &once, (struct slice){0}, true), 0);
	assert_int_equal(watch(f, &all, (struct slice){0}, false), 0);
	assert_int_equal(watch(f, &other, SLICE("other"), false), 0);
	four_records(f);
	assert_int_equal(all.count, 4);
	assert_int_equal(all.requests[3], 4);
	assert_int_equal(other.count, 1);
	assert_int_equal(other.requests[0], 4);
	assert_int_equal(once.count, 1);
	decisions_watch_stop(f->decisions, &all.watch);
	decisions_watch_stop(f->decisions, &all.watch);
	note_plain(f, 5);
	assert_int_equal(all.count, 4);
	decisions_watch_end(f->decisions);
	assert_true(other.ended);
	assert_false(all.ended || once.ended);
	/* What they were told is not what is kept. */
	assert_true(is_found(f, 5));
	assert_false(folder_has(f, "third text"));
}

static void watchers_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct watcher *watchers = calloc(DECISIONS_WATCHES + 1, sizeof(*watchers));

	assert_non_null(watchers);
	open_log(f);
	for (size_t i = 0; i < DECISIONS_WATCHES; i++)
		assert_int_equal(watch(f, &watchers[i], (struct slice){0}, false), 0);
	assert_int_equal(watch(f, &watchers[DECISIONS_WATCHES], (struct slice){0}, false), ERROR_BUSY);
	decisions_watch_stop(f->decisions, &watchers[5].watch);
	assert_int_equal(watch(f, &watchers[DECISIONS_WATCHES], (struct slice){0}, false), 0);
	note_plain(f, 1);
	assert_int_equal(watchers[DECISIONS_WATCHES].count, 1);
	assert_int_equal(watchers[5].count, 0);
	decisions_watch_end(f->decisions);
	free(watchers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_purged_entry_takes_all_records_that_mention_it),
		TEST(what_is_noted_after_a_purge_stays),
		TEST(a_purged_tag_takes_the_calls_that_had_it),
		TEST(a_flush_takes_a_namespace_or_all),
		TEST(a_purge_at_the_end_is_carried_out),
		TEST(what_was_purged_while_the_disk_failed_is_never_written),
		TEST(a_damaged_end_goes_with_a_purge),
		TEST(too_many_purges_take_their_namespace),
		TEST(purges_of_very_many_namespaces_take_all),
		TEST(a_find_that_is_cancelled_is_not_told),
		TEST(finds_are_bounded),
		TEST(watchers_are_told_at_once),
		TEST(watchers_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
