/* An answer as it grows: many readers, each at its own pace, none of whom ever sees half a character. */
#include "daemon/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Characters of one, two, three and four bytes. */
static const char *const characters[] = {"a", "\xc3\xa9", "\xe6\x98\xaf", "\xf0\x9f\xa6\x8a"};

#define TEXT_MOST (1u << 20)

struct text {
	char *data;
	size_t length;
};

/* The same every time, and with characters of every length across every boundary sooner or later. */
static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static struct text text_make(uint32_t seed, size_t count)
{
	struct text text = {malloc(count * 4), 0};

	assert_non_null(text.data);
	for (size_t i = 0; i < count; i++) {
		const char *character = characters[next_random(&seed) % 4];
		memcpy(text.data + text.length, character, strlen(character));
		text.length += strlen(character);
	}
	return text;
}

/* Appends the whole characters among the next `most` bytes, 4 or more. Returns how many bytes. */
static size_t append_some(struct answer *answer, const struct text *text, size_t at, size_t most)
{
	struct slice rest = {text->data + at, text->length - at};

	rest.length = slice_whole_characters(rest, most);
	assert_int_equal(answer_append(answer, rest), 0);
	return rest.length;
}

/* Reads once, and checks what came against the text. Returns whether it read something. */
static bool read_once(const struct answer *answer, struct answer_cursor *cursor, const struct text *text, size_t most)
{
	char *out = malloc(most);
	size_t before = cursor->position;
	bool nul;

	assert_non_null(out);
	size_t length = answer_read(answer, cursor, out, most);
	assert_true(length <= most);
	assert_int_equal(cursor->position, before + length);
	assert_memory_equal(out, text->data + before, length);
	assert_true(slice_is_utf8((struct slice){out, length}, &nul));
	assert_int_equal(length == 0, before == answer->length);
	free(out);
	return length > 0;
}

static void an_empty_answer_has_nothing_to_read(void **state)
{
	struct answer answer;
	struct answer_cursor cursor = {0};
	char out[8];

	(void)state;
	answer_init(&answer);
	assert_true(answer_at_end(&answer, &cursor));
	assert_int_equal(answer_read(&answer, &cursor, out, sizeof(out)), 0);
	answer_copy(&answer, out);
	assert_int_equal(answer_append(&answer, SLICE("")), 0);
	assert_true(answer_at_end(&answer, &cursor));
	assert_int_equal(answer.length, 0);
	answer_deinit(&answer);
}

static void a_reader_that_keeps_up_reads_each_piece_as_it_comes(void **state)
{
	struct answer answer;
	struct answer_cursor cursor = {0};
	struct text text = text_make(1, 20000);
	uint32_t seed = 2;

	(void)state;
	answer_init(&answer);
	for (size_t at = 0; at < text.length;) {
		at += append_some(&answer, &text, at, 4 + next_random(&seed) % 50);
		assert_false(answer_at_end(&answer, &cursor));
		while (read_once(&answer, &cursor, &text, 64))
			;
		assert_true(answer_at_end(&answer, &cursor));
	}
	answer_deinit(&answer);
	free(text.data);
}

static void readers_of_every_pace_read_the_same(void **state)
{
	static const size_t paces[] = {4, 5, 6, 7, 11, 1023, 1024, 1025, 16384, TEXT_MOST};
	enum { READERS = sizeof(paces) / sizeof(paces[0]) };
	struct answer answer;
	struct answer_cursor cursors[READERS] = {{0}};
	struct text text = text_make(3, 100000);
	uint32_t seed = 4;

	(void)state;
	answer_init(&answer);
	for (size_t at = 0; at < text.length;) {
		at += append_some(&answer, &text, at, 4 + next_random(&seed) % 5000);
		for (size_t i = 0; i < READERS; i++)
			if (next_random(&seed) % 3 == 0)
				(void)read_once(&answer, &cursors[i], &text, paces[i]);
	}
	for (size_t i = 0; i < READERS; i++) {
		while (read_once(&answer, &cursors[i], &text, paces[i]))
			;
		assert_true(answer_at_end(&answer, &cursors[i]));
	}
	answer_deinit(&answer);
	free(text.data);
}

static void one_large_piece_is_kept_whole(void **state)
{
	struct answer answer;
	struct answer_cursor cursor = {0};
	struct text text = text_make(5, 300000);
	char *copy = malloc(text.length);

	(void)state;
	assert_non_null(copy);
	answer_init(&answer);
	assert_int_equal(answer_append(&answer, (struct slice){text.data, text.length}), 0);
	assert_int_equal(answer.length, text.length);
	answer_copy(&answer, copy);
	assert_memory_equal(copy, text.data, text.length);
	while (read_once(&answer, &cursor, &text, 16384))
		;
	assert_int_equal(cursor.position, text.length);
	answer_deinit(&answer);
	free(copy);
	free(text.data);
}

static void a_reader_at_the_end_goes_on_where_it_stood(void **state)
{
	struct answer answer;
	struct answer_cursor cursor = {0};
	struct text text = text_make(6, 5000);
	size_t at = 0;

	(void)state;
	answer_init(&answer);
	/* To the last byte of the first block, and from there. */
	while (at + 12 < 1024)
		at += append_some(&answer, &text, at, 8);
	at += append_some(&answer, &text, at, 1024 - at);
	while (read_once(&answer, &cursor, &text, 16))
		;
	at += append_some(&answer, &text, at, text.length - at);
	assert_true(read_once(&answer, &cursor, &text, 16384));
	assert_true(answer_at_end(&answer, &cursor));
	answer_deinit(&answer);
	free(text.data);
}

static void a_late_reader_starts_at_the_beginning(void **state)
{
	struct answer answer;
	struct answer_cursor early = {0}, late = {0};
	struct text text = text_make(7, 1000);

	(void)state;
	answer_init(&answer);
	size_t at = append_some(&answer, &text, 0, 700);
	while (read_once(&answer, &early, &text, 64))
		;
	(void)append_some(&answer, &text, at, text.length - at);
	assert_true(read_once(&answer, &late, &text, TEXT_MOST));
	assert_int_equal(late.position, answer.length);
	assert_true(early.position < late.position);
	answer_deinit(&answer);
	assert_int_equal(answer.length, 0);
	assert_null(answer.first);
	free(text.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_answer_has_nothing_to_read),
		cmocka_unit_test(a_reader_that_keeps_up_reads_each_piece_as_it_comes),
		cmocka_unit_test(readers_of_every_pace_read_the_same),
		cmocka_unit_test(one_large_piece_is_kept_whole),
		cmocka_unit_test(a_reader_at_the_end_goes_on_where_it_stood),
		cmocka_unit_test(a_late_reader_starts_at_the_beginning),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
