/* Whether a stored answer may be served: every policy, every way an entry can be unfit, and what is not a number. */
#include "daemon/decide.h"
#include "daemon/index.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NOW UINT64_C(10000000)
#define S(seconds) ((uint64_t)(seconds)*1000)

/* A candidate of `similarity` that was made `age_s` ago and is fresh for `left_s` more. */
static struct candidate made(double similarity, uint64_t age_s, uint64_t left_s)
{
	return (struct candidate){
		.similarity = similarity,
		.created_at_ms = NOW - S(age_s),
		.fresh_until_at_ms = NOW + S(left_s),
		.expires_at_ms = NOW + S(left_s),
	};
}

static struct entry made_entry(uint64_t age_s, uint64_t left_s)
{
	return (struct entry){
		.created_at_ms = NOW - S(age_s),
		.fresh_until_at_ms = NOW + S(left_s),
		.expires_at_ms = NOW + S(left_s),
	};
}

static void must_serve(struct decision decision, size_t index)
{
	assert_true(decision.serve);
	assert_int_equal(decision.index, index);
}

static void must_refuse(struct decision decision, enum reason reason)
{
	assert_false(decision.serve);
	assert_int_equal(decision.reason, reason);
}

static void the_threshold_is_the_least_that_is_served(void **state)
{
	static const struct {
		double threshold, similarity;
		bool serve;
	} table[] = {
		{0.9, 0.9, true},         {0.9, 0.8999999, false}, {0.9, 1.0, true},         {0.9, -1.0, false},
		{1.0, 1.0, true},         {1.0, 0.9999999, false}, {0.0, 0.0, true},         {0.0, -0.0, true},
		{0.0, -0.0000001, false}, {-1.0, -1.0, true},      {-1.0, 0.5, true},        {0.72, 0.72, true},
		{0.9, NAN, false},        {-1.0, NAN, false},      {-1.0, -INFINITY, false}, {NAN, 1.0, false},
		{NAN, NAN, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct candidate candidate = made(table[i].similarity, 1, 60);
		const struct policy policy = {.threshold = table[i].threshold};
		struct decision decision = decide(&candidate, 1, 0, &policy, NOW);
		if (decision.serve != table[i].serve)
			fail_msg("threshold %g, similarity %g", table[i].threshold, table[i].similarity);
		if (!decision.serve)
			assert_int_equal(decision.reason, REASON_below_threshold);
		assert_int_equal(decide_join(table[i].similarity, &policy), table[i].serve);
	}
}

static void nothing_stored_is_a_reason_of_its_own(void **state)
{
	const struct policy policy = {.threshold = -1.0};

	(void)state;
	must_refuse(decide(NULL, 0, 0, &policy, NOW), REASON_no_candidate);
}

static void a_call_that_wants_no_stored_answer_gets_none(void **state)
{
	const struct candidate candidate = made(1.0, 1, 60);
	const struct entry entry = made_entry(1, 60);
	const struct policy refresh = {.threshold = -1.0, .refresh = true, .exact_only = true};
	const struct policy exact = {.threshold = -1.0, .exact_only = true};
	const struct alias alias = {.score = 1.0, .similarity = 1.0};

	(void)state;
	must_refuse(decide(&candidate, 1, 0, &refresh, NOW), REASON_refresh);
	must_refuse(decide(&candidate, 1, 0, &exact, NOW), REASON_exact_only);
	assert_int_equal(decide_exact(&entry, &refresh, NOW), REASON_refresh);
	assert_int_equal(decide_exact(&entry, &exact, NOW), REASON_NONE);
	assert_int_equal(decide_alias(&alias, &entry, &exact, NOW), REASON_exact_only);
	assert_int_not_equal(decide_alias(&alias, &entry, &refresh, NOW), REASON_NONE);
	assert_false(decide_join(1.0, &refresh));
	assert_false(decide_join(1.0, &exact));
}

static void max_age_counts_whole_milliseconds_and_0_is_a_value(void **state)
{
	static const struct {
		bool has_max_age;
		uint32_t max_age_s;
		uint64_t age_ms;
		enum reason reason;
	} table[] = {
		{true, 10, 10000, REASON_NONE}, {true, 10, 10001, REASON_max_age},    {true, 0, 0, REASON_NONE},
		{true, 0, 1, REASON_max_age},   {true, UINT32_MAX, NOW, REASON_NONE}, {false, 0, NOW, REASON_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct policy policy = {
			.threshold = 0.9, .has_max_age = table[i].has_max_age, .max_age_s = table[i].max_age_s};
		struct candidate candidate = made(1.0, 0, 60);
		struct entry entry = made_entry(0, 60);
		candidate.created_at_ms = entry.created_at_ms = NOW - table[i].age_ms;
		assert_int_equal(decide_exact(&entry, &policy, NOW), table[i].reason);
		struct decision decision = decide(&candidate, 1, 0, &policy, NOW);
		assert_int_equal(decision.serve, table[i].reason == REASON_NONE);
		if (!decision.serve)
			assert_int_equal(decision.reason, table[i].reason);
	}
}

static void an_entry_from_the_future_has_age_0(void **state)
{
	const struct policy policy = {.threshold = 0.9, .has_max_age = true, .max_age_s = 0};
	struct entry entry = made_entry(0, 60);

	(void)state;
	entry.created_at_ms = NOW + S(5);
	assert_int_equal(decide_exact(&entry, &policy, NOW), REASON_NONE);
}

static void what_is_no_longer_fresh_is_not_served(void **state)
{
	const struct policy policy = {.threshold = 0.9};
	struct entry entry = made_entry(100, 0);
	struct candidate candidate = made(0.95, 100, 0);

	(void)state;
	/* The moment at which it ends is not part of its life. */
	assert_int_equal(decide_exact(&entry, &policy, NOW), REASON_expired);
	must_refuse(decide(&candidate, 1, 0, &policy, NOW), REASON_expired);
	entry.fresh_until_at_ms = candidate.fresh_until_at_ms = NOW + 1;
	assert_int_equal(decide_exact(&entry, &policy, NOW), REASON_NONE);
	must_serve(decide(&candidate, 1, 0, &policy, NOW), 0);
	/* Stale, though it still exists. */
	entry.fresh_until_at_ms = NOW - 1;
	entry.expires_at_ms = NOW + S(600);
	assert_int_equal(decide_exact(&entry, &policy, NOW), REASON_expired);
}

static void an_unfit_nearest_does_not_hide_a_good_second(void **state)
{
	const struct policy policy = {.threshold = 0.9, .has_max_age = true, .max_age_s = 50};
	const struct candidate expired[] = {made(0.99, 10, 0), made(0.95, 10, 60)};
	const struct candidate old[] = {made(0.99, 51, 60), made(0.98, 51, 60), made(0.95, 10, 60)};
	const struct candidate fit[] = {made(0.99, 1, 60), made(0.95, 10, 60), made(0.91, 10, 60)};

	(void)state;
	must_serve(decide(expired, 2, 0, &policy, NOW), 1);
	must_serve(decide(old, 3, 0, &policy, NOW), 2);
	must_serve(decide(fit, 3, 0, &policy, NOW), 0);
	must_serve(decide(fit, 3, 1, &policy, NOW), 1);
	must_serve(decide(fit, 3, 3, &policy, NOW), 2);
	must_refuse(decide(fit, 3, 7, &policy, NOW), REASON_expired);
}

static void the_reason_is_that_of_the_nearest(void **state)
{
	const struct policy policy = {.threshold = 0.9, .has_max_age = true, .max_age_s = 50};
	const struct candidate first_old[] = {made(0.99, 51, 60), made(0.95, 10, 0), made(0.5, 1, 60)};
	const struct candidate first_gone[] = {made(0.99, 1, 60), made(0.95, 51, 60)};
	const struct candidate all_below[] = {made(0.89, 51, 0), made(0.88, 1, 60)};

	(void)state;
	must_refuse(decide(first_old, 3, 0, &policy, NOW), REASON_max_age);
	must_refuse(decide(first_gone, 2, 1, &policy, NOW), REASON_expired);
	must_refuse(decide(all_below, 2, 0, &policy, NOW), REASON_below_threshold);
}

static void every_place_can_be_gone(void **state)
{
	const struct policy policy = {.threshold = 0.9};
	struct candidate all[INDEX_CANDIDATES];

	(void)state;
	for (size_t i = 0; i < INDEX_CANDIDATES; i++)
		all[i] = made(0.99, 1, 60);
	for (size_t i = 0; i < INDEX_CANDIDATES; i++) {
		uint32_t gone = ((UINT32_C(1) << INDEX_CANDIDATES) - 1) & ~(UINT32_C(1) << i);
		must_serve(decide(all, INDEX_CANDIDATES, gone, &policy, NOW), i);
	}
}

static void an_alias_is_served_only_to_those_who_would_be_by_its_score(void **state)
{
	static const struct {
		enum alias_kind kind;
		double score, threshold;
		enum reason reason;
	} table[] = {
		{ALIAS_PROMOTED, 0.75, 0.72, REASON_NONE},
		{ALIAS_PROMOTED, 0.75, 0.75, REASON_NONE},
		{ALIAS_PROMOTED, 0.75, 0.90, REASON_below_threshold},
		{ALIAS_PROMOTED, NAN, -1.0, REASON_below_threshold},
		{ALIAS_PROMOTED, 1.0, NAN, REASON_below_threshold},
		{ALIAS_JUDGED, 0.75, 0.90, REASON_below_threshold},
		{ALIAS_JUDGED, 0.75, 0.72, REASON_NONE},
		{ALIAS_ACCEPTED, 0.10, 1.0, REASON_NONE},
		{ALIAS_ACCEPTED, NAN, 1.0, REASON_NONE},
	};
	const struct entry entry = made_entry(1, 60), expired = made_entry(100, 0);

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct alias alias = {.kind = table[i].kind, .score = table[i].score};
		const struct policy policy = {.threshold = table[i].threshold};
		assert_int_equal(decide_alias(&alias, &entry, &policy, NOW), table[i].reason);
		if (table[i].reason == REASON_NONE)
			assert_int_equal(decide_alias(&alias, &expired, &policy, NOW), REASON_expired);
	}
	/* An accepted one is not served either where only the same wording is wanted. */
	const struct alias accepted = {.kind = ALIAS_ACCEPTED};
	const struct policy exact = {.threshold = -1.0, .exact_only = true};
	assert_int_equal(decide_alias(&accepted, &entry, &exact, NOW), REASON_exact_only);
}

static void every_reason_has_a_word(void **state)
{
	static const char *const words[] = {
#define X(name, text) [REASON_##name] = #name,
		REASON_TABLE(X)
#undef X
	};

	(void)state;
	assert_null(reason_name(REASON_NONE));
	for (size_t i = REASON_NONE + 1; i < sizeof(words) / sizeof(words[0]); i++)
		assert_string_equal(reason_name((enum reason)i), words[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_threshold_is_the_least_that_is_served),
		cmocka_unit_test(nothing_stored_is_a_reason_of_its_own),
		cmocka_unit_test(a_call_that_wants_no_stored_answer_gets_none),
		cmocka_unit_test(max_age_counts_whole_milliseconds_and_0_is_a_value),
		cmocka_unit_test(an_entry_from_the_future_has_age_0),
		cmocka_unit_test(what_is_no_longer_fresh_is_not_served),
		cmocka_unit_test(an_unfit_nearest_does_not_hide_a_good_second),
		cmocka_unit_test(the_reason_is_that_of_the_nearest),
		cmocka_unit_test(every_place_can_be_gone),
		cmocka_unit_test(an_alias_is_served_only_to_those_who_would_be_by_its_score),
		cmocka_unit_test(every_reason_has_a_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
