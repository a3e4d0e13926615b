/* The guards: the cases of guard_cases.tsv (for each guard 20 pairs that ask the same and 20 that do not, written before
 * the guards first ran on them), what must hold for any bytes, and the operators' own words. */
#include "daemon/guard.h"
#include "daemon/guard_private.h"
#include "proto/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CASES "tests/unit/guard_cases.tsv"
#define MAX_CASES 1000

struct guard_case {
	enum guard guard;
	bool same;
	struct slice a, b;
};

struct cases {
	char *text;
	size_t count;
	struct guard_case list[MAX_CASES];
};

static struct slice field_next(char **at)
{
	size_t length = strcspn(*at, "\t\n");
	struct slice field = {*at, length};

	*at += length + ((*at)[length] != '\0');
	return field;
}

static struct cases *cases_read(void)
{
	struct cases *cases = calloc(1, sizeof(*cases));
	FILE *file = fopen(CASES, "r");

	assert_non_null(cases);
	assert_non_null(file);
	cases->text = calloc(1, 1 << 20);
	assert_non_null(cases->text);
	size_t length = fread(cases->text, 1, (1 << 20) - 1, file);
	assert_int_equal(fclose(file), 0);
	assert_true(length > 0 && length < (1 << 20) - 1);
	char *at = strchr(cases->text, '\n') + 1;
	while (*at) {
		struct guard_case *next = &cases->list[cases->count++];
		assert_true(cases->count < MAX_CASES);
		next->guard = guard_find(field_next(&at));
		assert_true(next->guard < GUARD_COUNT);
		next->same = field_next(&at).data[0] == '1';
		next->a = field_next(&at);
		next->b = field_next(&at);
	}
	return cases;
}

static void cases_free(struct cases *cases)
{
	free(cases->text);
	free(cases);
}

static uint32_t veto(const char *a, const char *b)
{
	uint32_t found = guards_veto(slice_of(a), slice_of(b), GUARDS_ALL, NULL);

	assert_int_equal(found, guards_veto(slice_of(b), slice_of(a), GUARDS_ALL, NULL));
	return found;
}

struct row {
	const char *a, *b;
	uint32_t expected;
};

static void must_say(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t found = veto(rows[i].a, rows[i].b);
		if (found != rows[i].expected)
			fail_msg("%#x, not %#x: %s | %s", found, rows[i].expected, rows[i].a, rows[i].b);
	}
}

#define MUST_SAY(rows) must_say(rows, sizeof(rows) / sizeof((rows)[0]))

static void every_guard_has_a_name_that_finds_it(void **state)
{
	(void)state;
	for (int guard = 0; guard < GUARD_COUNT; guard++) {
		assert_true(strlen(guard_text((enum guard)guard)) > 0);
		assert_int_equal(guard_find(slice_of(guard_name((enum guard)guard))), guard);
	}
	assert_int_equal(guard_find(SLICE("number")), GUARD_COUNT);
	assert_int_equal(guard_find(SLICE("")), GUARD_COUNT);
	assert_int_equal(guard_find(slice_of(NULL)), GUARD_COUNT);
}

/* What each guard reaches on its cases: a change may not make it worse. */
static const struct {
	int lost;   /* pairs that ask the same, but are refused by any guard: at most */
	int caught; /* pairs that do not, refused by this guard: at least */
} floors[GUARD_COUNT] = {
	[GUARD_numbers] = {0, 20}, [GUARD_negation] = {0, 20},    [GUARD_opposites] = {0, 20}, [GUARD_quotes] = {0, 20},
	[GUARD_code] = {0, 20},    [GUARD_urls] = {0, 20},        [GUARD_paths] = {0, 20},     [GUARD_emails] = {0, 20},
	[GUARD_roles] = {0, 20},   [GUARD_identifiers] = {0, 20}, [GUARD_names] = {0, 20},
};

static void each_guard_earns_its_place_on_its_cases(void **state)
{
	struct cases *cases = cases_read();
	int lost[GUARD_COUNT] = {0}, caught[GUARD_COUNT] = {0}, same[GUARD_COUNT] = {0}, traps[GUARD_COUNT] = {0};

	(void)state;
	for (size_t i = 0; i < cases->count; i++) {
		const struct guard_case *row = &cases->list[i];
		uint32_t found = guards_veto(row->a, row->b, GUARDS_ALL, NULL);
		if (row->same && found != 0)
			print_message("lost by %#x: %.*s | %.*s\n", found, (int)row->a.length, row->a.data,
				      (int)row->b.length, row->b.data);
		if (!row->same && !(found & GUARD_BIT(row->guard)))
			print_message("not caught by %s: %.*s | %.*s\n", guard_name(row->guard), (int)row->a.length,
				      row->a.data, (int)row->b.length, row->b.data);
		same[row->guard] += row->same;
		traps[row->guard] += !row->same;
		lost[row->guard] += row->same && found != 0;
		caught[row->guard] += !row->same && found & GUARD_BIT(row->guard);
	}
	for (int guard = 0; guard < GUARD_COUNT; guard++) {
		assert_int_equal(same[guard], 20);
		assert_int_equal(traps[guard], 20);
		assert_true(lost[guard] <= floors[guard].lost);
		assert_true(caught[guard] >= floors[guard].caught);
	}
	cases_free(cases);
}

static void only_what_is_wanted_is_looked_for(void **state)
{
	struct cases *cases = cases_read();

	(void)state;
	for (size_t i = 0; i < cases->count; i++) {
		const struct guard_case *row = &cases->list[i];
		uint32_t all = guards_veto(row->a, row->b, GUARDS_ALL, NULL);
		assert_int_equal(guards_veto(row->a, row->b, 0, NULL), 0);
		assert_int_equal(guards_veto(row->a, row->b, ~GUARDS_ALL, NULL), 0);
		for (int guard = 0; guard < GUARD_COUNT; guard++)
			assert_int_equal(guards_veto(row->a, row->b, GUARD_BIT(guard), NULL), all & GUARD_BIT(guard));
	}
	cases_free(cases);
}

static void equal_texts_never_differ(void **state)
{
	struct cases *cases = cases_read();

	(void)state;
	for (size_t i = 0; i < cases->count; i++) {
		struct slice text = cases->list[i].a;
		char *copy = malloc(text.length);
		assert_non_null(copy);
		memcpy(copy, text.data, text.length);
		assert_int_equal(guards_veto(text, (struct slice){copy, text.length}, GUARDS_ALL, NULL), 0);
		free(copy);
	}
	cases_free(cases);
}

static uint32_t random_next(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Pieces of the cases, and bytes of any kind, in buffers of exactly their length, so that a sanitizer sees each step too
 * far. */
static struct slice random_text(const struct cases *cases, uint32_t *seed, size_t most)
{
	size_t length = random_next(seed) % (most + 1), at = 0;
	char *text = malloc(length + 1);

	assert_non_null(text);
	while (at < length) {
		struct slice piece = cases->list[random_next(seed) % cases->count].a;
		size_t from = random_next(seed) % piece.length, count = 1 + random_next(seed) % 12;
		while (count-- > 0 && from < piece.length && at < length)
			text[at++] = random_next(seed) % 16 ? piece.data[from++] : (char)random_next(seed);
	}
	char *exact = malloc(length ? length : 1);
	assert_non_null(exact);
	memcpy(exact, text, length);
	free(text);
	return (struct slice){exact, length};
}

static void any_bytes_have_a_verdict_that_is_the_same_both_ways(void **state)
{
	struct cases *cases = cases_read();
	uint32_t seed = 1;

	(void)state;
	for (int i = 0; i < 1500; i++) {
		size_t most = i % 50 == 0 ? 2 * GUARD_BYTES : 300;
		struct slice a = random_text(cases, &seed, most), b = random_text(cases, &seed, most);
		uint32_t found = guards_veto(a, b, GUARDS_ALL, NULL);
		assert_int_equal(found & ~GUARDS_ALL, 0);
		assert_int_equal(found, guards_veto(b, a, GUARDS_ALL, NULL));
		assert_int_equal(guards_veto(a, a, GUARDS_ALL, NULL), 0);
		free((void *)(uintptr_t)a.data);
		free((void *)(uintptr_t)b.data);
	}
	cases_free(cases);
}

static void long_texts_of_one_pattern_are_survived(void **state)
{
	static const char *const patterns[] = {"a.",   "\"",    "'a ", "`",      "A-",  "1,",        "1-1-",   "x1 ",
					       "n't ", "在前",  "十",  "a@b.c ", "/a ", "NASA ",     "Unabc ", "://",
					       "www.", "\\\\a", "。",  "\xff",   "C++", "第一百分之"};
	static char a[GUARD_BYTES * 2], b[GUARD_BYTES * 2];

	(void)state;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		for (size_t k = 0; k < sizeof(patterns) / sizeof(patterns[0]); k++) {
			size_t step_a = strlen(patterns[i]), step_b = strlen(patterns[k]), at_a = 0, at_b = 0;
			for (; at_a + step_a < sizeof(a); at_a += step_a)
				memcpy(a + at_a, patterns[i], step_a);
			for (; at_b + step_b < sizeof(b) / 2; at_b += step_b)
				memcpy(b + at_b, patterns[k], step_b);
			struct slice text_a = {a, at_a}, text_b = {b, at_b};
			assert_int_equal(guards_veto(text_a, text_b, GUARDS_ALL, NULL),
					 guards_veto(text_b, text_a, GUARDS_ALL, NULL));
		}
}

static void nothing_and_what_is_beyond_the_limit_never_differ(void **state)
{
	static char a[GUARD_BYTES + 10], b[GUARD_BYTES + 10];

	(void)state;
	assert_int_equal(guards_veto(slice_of(NULL), SLICE("5 kg"), GUARDS_ALL, NULL), 0);
	assert_int_equal(guards_veto(slice_of(NULL), slice_of(NULL), GUARDS_ALL, NULL), 0);
	assert_int_equal(guards_veto(SLICE(""), SLICE("not"), GUARDS_ALL, NULL), 0);
	memset(a, 'x', sizeof(a));
	memset(b, 'x', sizeof(b));
	memcpy(a + GUARD_BYTES, " 5 not", 6);
	assert_int_equal(guards_veto((struct slice){a, sizeof(a)}, (struct slice){b, sizeof(b)}, GUARDS_ALL, NULL), 0);
}

static void equal_quantities_are_equal_however_they_are_written(void **state)
{
	static const struct row rows[] = {
		{"Is 1,000 enough?", "Is 1000 enough?", 0},
		{"Is one thousand enough?", "Is 1k enough?", 0},
		{"Is .5 enough?", "Is 0.50 enough?", 0},
		{"Is 1/2 a cup enough?", "Is 0.5 cup enough?", 0},
		{"Is twenty-five enough?", "Is 25 enough?", 0},
		{"Are two hundred and six bones right?", "Are 206 bones right?", 0},
		{"Are 3 dozen eggs enough?", "Are 36 eggs enough?", 0},
		{"Is $2.5 million much?", "Is 2500000 USD much?", 0},
		{"Is 5 m too long?", "Are 500 cm too long?", 0},
		{"Is a 5-minute walk far?", "Is a walk of 300 seconds far?", 0},
		{"Is the shop open at 9 a.m.?", "Is the shop open at 09:00?", 0},
		{"What happened on 4/25/2019?", "What happened on 25 April 2019?", 0},
		{"What happened on 2019年4月25日?", "What happened on 25 April 2019?", 0},
		{"Who was the 2nd?", "Who was the second?", 0},
		{"When was World War II?", "When was World War 2?", 0},
		{"一千二百元够吗？", "1200元够吗？", 0},
		{"下午三点半开会吗？", "15:30开会吗？", 0},
		{"涨了百分之五十吗？", "涨了50%吗？", 0},
		{"What is three?", "三是什么？", 0},
		{"Take 5 mg?", "吃5毫克吗？", 0},
		{"Is half an hour enough?", "Are 30 minutes enough?", 0},
		{"半小时够吗？", "30分钟够吗？", 0},
		{"Can I pay £100?", "Can I pay 100 pounds?", 0},
		{"Are 1 1/2 cups enough?", "Are 1.5 cups enough?", 0},
		{"Are 2½ cups enough?", "Are two and a half cups enough?", 0},
		{"Who won in the season 1998/99?", "Who won in the season 1998-99?", 0},
		{"Is 5 - 10 normal?", "Is 5 -10 normal?", 0},
		{"Is v2.0 out?", "Is version 2 out?", 0},
	};

	(void)state;
	MUST_SAY(rows);
}

static void other_quantities_are_other_questions(void **state)
{
	uint32_t n = GUARD_BIT(GUARD_numbers);
	const struct row rows[] = {
		{"Is 1,000 enough?", "Is 100 enough?", n},
		{"Take 5 mg?", "吃50毫克吗？", n},
		{"Is 5 m too long?", "Is 5 cm too long?", n},
		{"Is 5 € enough?", "Is $5 enough?", n},
		{"Is 3.1.1 out?", "Is 3.1.2 out?", n},
		{"What happened in May 2019?", "What happened in June 2019?", n},
		{"Is it open on Monday?", "Is it open on Friday?", n},
		{"Who won the 2012 election?", "Who won the election?", n},
		{"What are the top 5 ways to save?", "What are the top 10 ways to save?", n},
		{"Is 9 am fine?", "Is 9 pm fine?", n},
		{"Is one tablet enough?", "Are two tablets enough?", n},
		{"How many grams are in a pound?", "How many grams are in an ounce?", n},
		{"How many dollars do I get for a euro?", "How many dollars do I get for a pound?", n},
		{"Is the 1990s style back?", "Is the 1980s style back?", n},
		{"周一开门吗？", "周三开门吗？", n},
		{"二十一世纪", "二十世纪", n},
	};

	(void)state;
	MUST_SAY(rows);
}

static void another_language_is_no_objection(void **state)
{
	static const struct row rows[] = {
		{"Why can't I open the file?", "为什么文件打不开？", 0},
		{"What should I do before the flight?", "飞机起飞之后应该做什么？", 0},
		{"Who wrote \"The Dream of the Red Chamber\"?", "《红楼梦》是谁写的？", 0},
		{"What is the capital of Norway?", "挪威的首都是哪里？", 0},
		{"What is the capital of Norway?", "Was ist die Hauptstadt von Norwegen?", 0},
		{"Why is the lake not frozen?", "Pourquoi le lac ne gèle-t-il pas?", 0},
		{"How do I enable the camera?", "Как включить камеру?", 0},
	};

	(void)state;
	MUST_SAY(rows);
}

static void turning_both_the_order_and_the_word_says_the_same(void **state)
{
	uint32_t opposites = GUARD_BIT(GUARD_opposites), roles = GUARD_BIT(GUARD_roles);
	const struct row rows[] = {
		{"Is tin heavier than lead?", "Is lead lighter than tin?", 0},
		{"Is tin heavier than lead?", "Is tin lighter than lead?", opposites},
		{"Is tin heavier than lead?", "Is lead heavier than tin?", roles},
	};

	(void)state;
	MUST_SAY(rows);
}

static struct guard_words *parsed(const char *text)
{
	struct guard_words *words = NULL;

	assert_int_equal(guard_words_parse(slice_of(text), &words), 0);
	assert_non_null(words);
	return words;
}

static uint32_t veto_with(const struct guard_words *words, const char *a, const char *b)
{
	return guards_veto(slice_of(a), slice_of(b), GUARDS_ALL, words);
}

static void operators_words_are_opposites_too(void **state)
{
	struct guard_words *words = parsed(" Graft/prune ,\n check-in/check-out, 开灯/关灯, зима/лето");
	uint32_t opposites = GUARD_BIT(GUARD_opposites);

	(void)state;
	assert_int_equal(veto("When do I graft roses?", "When do I prune roses?"), 0);
	assert_int_equal(veto_with(words, "When do I graft roses?", "When do I prune roses?"), opposites);
	assert_int_equal(veto_with(words, "When are roses grafted?", "When are roses pruned?"), opposites);
	assert_int_equal(veto_with(words, "When are roses grafted and pruned?", "When are roses pruned?"), 0);
	assert_int_equal(veto_with(words, "What is check-in time?", "What is check-out time?"), opposites);
	assert_int_equal(veto_with(words, "怎么开灯？", "怎么关灯？"), opposites);
	assert_string_equal(guard_words_text(words), "Graft/prune, check-in/check-out, 开灯/关灯, зима/лето");
	assert_string_equal(guard_words_text(NULL), "");
	guard_words_destroy(words);
	guard_words_destroy(NULL);
}

static void the_built_in_words_are_in_order(void **state)
{
	static uint8_t sides[GUARD_OPERATORS_GROUP];
	struct guard_lexicon lexicon;
	size_t count;
	const struct guard_lexeme *known = guard_words_known(&count);

	(void)state;
	assert_true(count + 2 * GUARD_PAIRS <= sizeof(lexicon.next) / sizeof(lexicon.next[0]));
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(strlen(known[i].text), known[i].length);
		assert_true(known[i].length > 0 && known[i].side < 8);
		for (size_t k = 0; k < known[i].length; k++)
			assert_false(known[i].text[k] >= 'A' && known[i].text[k] <= 'Z');
		if (known[i].kind < GUARD_OPPOSITE || known[i].value == 0)
			continue;
		assert_true(known[i].value < GUARD_OPERATORS_GROUP);
		sides[known[i].value] |= (uint8_t)(1U << known[i].side);
	}
	for (size_t i = 0; i < GUARD_OPERATORS_GROUP; i++)
		assert_true((sides[i] & (sides[i] - 1)) != 0 || sides[i] == 0);
}

static void no_words_are_no_words(void **state)
{
	struct guard_words *words = (struct guard_words *)(uintptr_t)1;

	(void)state;
	assert_int_equal(guard_words_parse(SLICE("  \n"), &words), 0);
	assert_null(words);
	words = (struct guard_words *)(uintptr_t)1;
	assert_int_equal(guard_words_parse(slice_of(NULL), &words), 0);
	assert_null(words);
}

static void mistaken_words_are_refused(void **state)
{
	static const char *const wrong[] = {
		"a",
		"a/",
		"/b",
		"a/b,",
		",a/b",
		"a/b/c",
		"a b/c",
		"a/a",
		"a/A",
		"a/b,,c/d",
		"a/\xff",
		"a/b\x01",
		"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg/x",
	};
	struct guard_words *words = (struct guard_words *)(uintptr_t)1;
	char many[GUARD_PAIRS * 4 + 4];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(guard_words_parse(slice_of(wrong[i]), &words), ERROR_INVALID);
	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = "a/b,"[i % 4];
	struct guard_words *most = NULL;
	assert_int_equal(guard_words_parse((struct slice){many, GUARD_PAIRS * 4 - 1}, &most), 0);
	assert_int_equal(veto_with(most, "a", "b"), GUARD_BIT(GUARD_opposites));
	guard_words_destroy(most);
	assert_int_equal(guard_words_parse((struct slice){many, sizeof(many) - 1}, &words), ERROR_TOO_LARGE);
	assert_ptr_equal(words, (struct guard_words *)(uintptr_t)1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_guard_has_a_name_that_finds_it),
		cmocka_unit_test(each_guard_earns_its_place_on_its_cases),
		cmocka_unit_test(only_what_is_wanted_is_looked_for),
		cmocka_unit_test(equal_texts_never_differ),
		cmocka_unit_test(any_bytes_have_a_verdict_that_is_the_same_both_ways),
		cmocka_unit_test(long_texts_of_one_pattern_are_survived),
		cmocka_unit_test(nothing_and_what_is_beyond_the_limit_never_differ),
		cmocka_unit_test(equal_quantities_are_equal_however_they_are_written),
		cmocka_unit_test(other_quantities_are_other_questions),
		cmocka_unit_test(another_language_is_no_objection),
		cmocka_unit_test(turning_both_the_order_and_the_word_says_the_same),
		cmocka_unit_test(operators_words_are_opposites_too),
		cmocka_unit_test(the_built_in_words_are_in_order),
		cmocka_unit_test(no_words_are_no_words),
		cmocka_unit_test(mistaken_words_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
