/* What a judge's reply says, read as it comes, and which blanks an answer's comparison leaves out. */
#include "daemon/comparison.h"
#include "daemon/review_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void a_reply_says_what_its_first_word_says(void **state)
{
	static const struct {
		const char *reply;
		enum judge_word word;
	} table[] = {
		{"yes", JUDGE_YES},
		{"Yes.", JUDGE_YES},
		{" \n**NO**", JUDGE_NO},
		{"no, never", JUDGE_NO},
		{"none", JUDGE_UNCLEAR},
		{"yess", JUDGE_UNCLEAR},
		{"", JUDGE_UNCLEAR},
		{"?!", JUDGE_UNCLEAR},
		{"ye", JUDGE_UNCLEAR},
		{"maybe yes", JUDGE_UNCLEAR},
		{"\xe6\x98\xaf yes", JUDGE_UNCLEAR},
		{"yes\xc3\xa9", JUDGE_UNCLEAR},
		{"1. yes", JUDGE_YES},
		{"n", JUDGE_UNCLEAR},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (judge_read(slice_of(table[i].reply), true) != table[i].word)
			fail_msg("\"%s\"", table[i].reply);
}

static void a_verdict_never_changes_with_what_comes_after_it(void **state)
{
	static const char *const replies[] = {"yes",          "Yes. They do.", "no",          "No way",
					      "none of them", "\n- yes -",     "\xe6\x98\xaf"};

	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		enum judge_word whole = judge_read(slice_of(replies[i]), true);
		for (size_t length = 0; length <= strlen(replies[i]); length++) {
			enum judge_word early = judge_read((struct slice){replies[i], length}, false);
			assert_true(early == JUDGE_UNKNOWN || early == whole);
		}
	}
}

static void blanks_at_both_ends_are_left_out(void **state)
{
	(void)state;
	assert_true(slice_equal(comparison_trim(SLICE(" \t\r\n a b \n")), SLICE("a b")));
	assert_true(slice_equal(comparison_trim(SLICE("a")), SLICE("a")));
	assert_int_equal(comparison_trim(SLICE(" \n")).length, 0);
	assert_int_equal(comparison_trim(SLICE("")).length, 0);
	assert_int_equal(comparison_trim((struct slice){0}).length, 0);
}

static void what_needs_no_embedder_is_told_at_once(void **state)
{
	static const struct {
		struct slice texts[2];
		enum comparison_outcome outcome;
	} table[] = {
		{{SLICE("same"), SLICE(" same\n")}, COMPARISON_same},
		{{SLICE("one"), SLICE("other")}, COMPARISON_not_comparable},
		{{SLICE("longer than ten"), SLICE("longer than ten")}, COMPARISON_not_comparable},
		{{SLICE("short"), SLICE("longer than ten")}, COMPARISON_not_comparable},
		{{SLICE(""), SLICE("x")}, COMPARISON_not_comparable},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct comparison comparison = {
			.texts = {table[i].texts[0], table[i].texts[1]}, .threshold = 0.8, .max_bytes = 10};
		assert_int_equal(comparison_start(&comparison, NULL), 1);
		assert_int_equal(comparison.outcome, table[i].outcome);
		comparison_cancel(&comparison);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_says_what_its_first_word_says),
		cmocka_unit_test(a_verdict_never_changes_with_what_comes_after_it),
		cmocka_unit_test(blanks_at_both_ends_are_left_out),
		cmocka_unit_test(what_needs_no_embedder_is_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
