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
		.opinion = NAN,
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

static const struct pair_facts nothing = {.vetoes = 0};

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
	assert_int_equal(decide_alias(&alias, &nothing, &entry, &exact, NOW), REASON_exact_only);
	assert_int_not_equal(decide_alias(&alias, &nothing, &entry, &refresh, NOW), REASON_NONE);
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
		double similarity, threshold;
		enum origin origin;
		enum reason reason;
	} table[] = {
		{ALIAS_PROMOTED, 0.75, 0.72, ORIGIN_file, REASON_NONE},
		{ALIAS_PROMOTED, 0.75, 0.75, ORIGIN_call, REASON_NONE},
		{ALIAS_PROMOTED, 0.75, 0.90, ORIGIN_file, REASON_below_threshold},
		{ALIAS_PROMOTED, NAN, -1.0, ORIGIN_file, REASON_below_threshold},
		{ALIAS_PROMOTED, 1.0, NAN, ORIGIN_file, REASON_below_threshold},
		{ALIAS_JUDGED, 0.75, 0.90, ORIGIN_file, REASON_NONE},
		{ALIAS_JUDGED, 0.75, 0.90, ORIGIN_call, REASON_below_threshold},
		{ALIAS_JUDGED, 0.75, 0.72, ORIGIN_call, REASON_NONE},
		{ALIAS_ACCEPTED, 0.10, 1.0, ORIGIN_call, REASON_NONE},
		{ALIAS_ACCEPTED, NAN, 1.0, ORIGIN_call, REASON_NONE},
	};
	const struct entry entry = made_entry(1, 60), expired = made_entry(100, 0);

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct alias alias = {
			.kind = table[i].kind, .similarity = table[i].similarity, .score = table[i].similarity};
		const struct policy policy = {.threshold = table[i].threshold, .origin = table[i].origin};
		assert_int_equal(decide_alias(&alias, &nothing, &entry, &policy, NOW), table[i].reason);
		if (table[i].reason == REASON_NONE)
			assert_int_equal(decide_alias(&alias, &nothing, &expired, &policy, NOW), REASON_expired);
	}
	/* An accepted one is not served either where only the same wording is wanted. */
	const struct alias accepted = {.kind = ALIAS_ACCEPTED};
	const struct policy exact = {.threshold = -1.0, .exact_only = true};
	assert_int_equal(decide_alias(&accepted, &nothing, &entry, &exact, NOW), REASON_exact_only);
}

static void guards_and_verdicts_stand_before_every_alias(void **state)
{
	static const struct {
		enum alias_kind kind;
		struct pair_facts facts;
		bool shadow;
		enum reason reason;
	} table[] = {
		{ALIAS_PROMOTED, {.vetoes = GUARD_BIT(GUARD_numbers)}, false, REASON_guard_numbers},
		{ALIAS_JUDGED, {.vetoes = GUARD_BIT(GUARD_names)}, false, REASON_guard_names},
		{ALIAS_PROMOTED, {.vetoes = GUARD_BIT(GUARD_code)}, false, REASON_NONE}, /* that one is off */
		{ALIAS_ACCEPTED, {.vetoes = GUARDS_ALL}, false, REASON_NONE},
		{ALIAS_PROMOTED, {.rejected = true}, false, REASON_rejected},
		{ALIAS_JUDGED, {.rejected = true}, false, REASON_rejected},
		{ALIAS_ACCEPTED, {.rejected = true}, false, REASON_rejected},
		{ALIAS_ACCEPTED, {.quarantined = true}, false, REASON_quarantined},
		{ALIAS_PROMOTED, {.vetoes = 0}, true, REASON_shadow},
		{ALIAS_JUDGED, {.vetoes = 0}, true, REASON_shadow},
		{ALIAS_ACCEPTED, {.vetoes = 0}, true, REASON_NONE},
	};
	const struct entry entry = made_entry(1, 60);

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct alias alias = {.kind = table[i].kind, .similarity = 1.0, .score = 1.0};
		const struct policy policy = {.threshold = 0.9,
					      .shadow = table[i].shadow,
					      .guards_on = GUARD_BIT(GUARD_numbers) | GUARD_BIT(GUARD_names)};
		assert_int_equal(decide_alias(&alias, &table[i].facts, &entry, &policy, NOW), table[i].reason);
	}
}

/* ---- guards and verdicts ---- */

static void what_is_vetoed_or_rejected_does_not_hide_a_good_second(void **state)
{
	const struct policy policy = {
		.threshold = 0.9, .guards_on = GUARD_BIT(GUARD_numbers), .guards_shadow = GUARD_BIT(GUARD_negation)};
	struct candidate pair[] = {made(0.99, 1, 60), made(0.95, 1, 60)};

	(void)state;
	pair[0].vetoes = GUARD_BIT(GUARD_negation) | GUARD_BIT(GUARD_names);
	must_serve(decide(pair, 2, 0, &policy, NOW), 0);
	pair[0].vetoes = GUARD_BIT(GUARD_numbers);
	must_serve(decide(pair, 2, 0, &policy, NOW), 1);
	must_refuse(decide(pair, 1, 0, &policy, NOW), REASON_guard_numbers);
	pair[0].vetoes = 0;
	pair[0].rejected = true;
	must_serve(decide(pair, 2, 0, &policy, NOW), 1);
	must_refuse(decide(pair, 1, 0, &policy, NOW), REASON_rejected);
	pair[0].quarantined = true;
	must_serve(decide(pair, 2, 0, &policy, NOW), 1);
	must_refuse(decide(pair, 1, 0, &policy, NOW), REASON_quarantined);
}

static void a_veto_of_what_is_too_far_away_is_no_reason(void **state)
{
	const struct policy policy = {.threshold = 0.9, .guards_on = GUARDS_ALL};
	struct candidate candidate = made(0.5, 1, 60);

	(void)state;
	candidate.vetoes = GUARDS_ALL;
	candidate.rejected = true;
	must_refuse(decide(&candidate, 1, 0, &policy, NOW), REASON_below_threshold);
}

/* ---- the calibrated rule ---- */

static const struct policy calibrated = {
	.threshold = 0.9, .calibrated = true, .score_threshold = 0.95, .margin = 0.5, .margin_floor = 0.70, .minimum = 0.75};

static void the_margin_over_the_next_nearest_counts(void **state)
{
	static const struct {
		double first, second;
		bool serve;
		double score;
	} table[] = {
		{0.90, 0.60, true, 0.90 + 0.5 * 0.20},
		{0.90, 0.70, true, 0.90 + 0.5 * 0.20},
		{0.90, 0.81, false, 0.90 + 0.5 * 0.09},
		{0.90, 0.90, false, 0.90},
		{0.96, 0.96, true, 0.96},
		{0.87, 0.10, true, 0.87 + 0.5 * 0.17},
		{0.86, 0.10, false, 0.86 + 0.5 * 0.16},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct candidate both[] = {made(table[i].first, 1, 60), made(table[i].second, 1, 60)};
		struct decision decision = decide(both, 2, 0, &calibrated, NOW);
		if (decision.serve != table[i].serve)
			fail_msg("%g beside %g", table[i].first, table[i].second);
		assert_false(decision.plain);
		assert_true(fabs(decision.score - table[i].score) < 1e-12);
	}
}

static void a_lone_entry_gains_nothing_from_the_margin(void **state)
{
	(void)state;
	for (double similarity = -1.0; similarity <= 1.0; similarity += 0.001) {
		const struct candidate pair[] = {made(similarity, 1, 60), made(similarity, 1, 60)};
		struct decision decision = decide(pair, 1, 0, &calibrated, NOW);
		assert_true(decision.plain);
		assert_int_equal(decision.serve, similarity >= calibrated.threshold);
		/* One that is gone is no neighbour. */
		decision = decide(pair, 2, 2, &calibrated, NOW);
		assert_true(decision.plain);
		assert_int_equal(decision.serve, similarity >= calibrated.threshold);
	}
}

static void the_minimum_holds_whatever_the_score(void **state)
{
	const struct policy wide = {.threshold = 0.9,
				    .calibrated = true,
				    .score_threshold = 0.5,
				    .margin = 4,
				    .margin_floor = -1,
				    .minimum = 0.75};
	const struct candidate far[] = {made(0.74, 1, 60), made(0.1, 1, 60)};
	const struct candidate near[] = {made(0.75, 1, 60), made(0.1, 1, 60)};

	(void)state;
	must_refuse(decide(far, 2, 0, &wide, NOW), REASON_below_threshold);
	must_serve(decide(near, 2, 0, &wide, NOW), 0);
}

static void what_cannot_be_meant_is_no_neighbour(void **state)
{
	struct policy policy = calibrated;
	struct candidate both[] = {made(0.90, 1, 60), made(0.89, 1, 60), made(0.60, 1, 60)};

	(void)state;
	policy.guards_on = GUARD_BIT(GUARD_numbers);
	must_refuse(decide(both, 3, 0, &policy, NOW), REASON_below_threshold);
	both[1].vetoes = GUARD_BIT(GUARD_numbers);
	must_serve(decide(both, 3, 0, &policy, NOW), 0);
	both[1].vetoes = 0;
	both[0].vetoes = GUARD_BIT(GUARD_numbers);
	must_serve(decide(both, 3, 0, &policy, NOW), 1);
}

static void a_second_opinion_is_part_of_the_score(void **state)
{
	struct policy policy = calibrated;
	struct candidate both[] = {made(0.92, 1, 60), made(0.90, 1, 60)};

	(void)state;
	policy.weight = 0.5;
	policy.score_threshold = 0.9;
	policy.minimum = 0.7;
	both[0].opinion = 0.50;
	both[1].opinion = 0.96;
	struct decision decision = decide(both, 2, 0, &policy, NOW);
	must_serve(decision, 1);
	assert_true(fabs(decision.score - (0.93 + 0.5 * (0.93 - 0.71))) < 1e-12);
	both[1].opinion = 0.60;
	must_refuse(decide(both, 2, 0, &policy, NOW), REASON_below_threshold);
	/* Where it is asked for and one has none, the plain rule holds. */
	both[1].opinion = NAN;
	decision = decide(both, 2, 0, &policy, NOW);
	must_serve(decision, 0);
	assert_true(decision.plain);
	policy.threshold = 0.93;
	must_refuse(decide(both, 2, 0, &policy, NOW), REASON_below_threshold);
}

static void shadow_serves_nothing_and_says_what_it_would(void **state)
{
	struct policy policy = {.threshold = 0.9, .shadow = true};
	const struct candidate both[] = {made(0.99, 1, 0), made(0.95, 1, 60)}, far = made(0.5, 1, 60);

	(void)state;
	struct decision decision = decide(both, 2, 0, &policy, NOW);
	must_refuse(decision, REASON_shadow);
	assert_true(decision.would_serve);
	assert_int_equal(decision.index, 1);
	decision = decide(&far, 1, 0, &policy, NOW);
	must_refuse(decision, REASON_below_threshold);
	assert_false(decision.would_serve);
}

/* ---- properties ---- */

static double random_part(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(*state >> 11) / 9007199254740992.0;
}

static struct policy random_policy(uint64_t *state)
{
	return (struct policy){.threshold = random_part(state),
			       .calibrated = random_part(state) < 0.7,
			       .score_threshold = random_part(state) * 1.3,
			       .margin = random_part(state) * 2,
			       .margin_floor = random_part(state),
			       .minimum = random_part(state),
			       .weight = random_part(state) < 0.3 ? random_part(state) * 0.9 : 0,
			       .guards_on = random_part(state) < 0.5 ? GUARD_BIT(GUARD_names) : 0};
}

static size_t random_candidates(uint64_t *state, struct candidate candidates[INDEX_CANDIDATES])
{
	size_t count = (size_t)(random_part(state) * (INDEX_CANDIDATES + 0.99));
	double similarity = 1.0;

	for (size_t i = 0; i < count; i++) {
		similarity -= random_part(state) * 0.1;
		candidates[i] = made(similarity, 1, 60);
		candidates[i].opinion = random_part(state) < 0.1 ? NAN : random_part(state);
		candidates[i].vetoes = random_part(state) < 0.2 ? GUARD_BIT(GUARD_names) : 0;
		candidates[i].rejected = random_part(state) < 0.1;
	}
	return count;
}

/* Raising a threshold never serves what was not served; a nearer entry is never served less. */
static void decisions_are_monotone(void **state)
{
	uint64_t seed = 20261124;

	(void)state;
	for (int round = 0; round < 200000; round++) {
		struct candidate candidates[INDEX_CANDIDATES];
		struct policy policy = random_policy(&seed), stricter = policy;
		size_t count = random_candidates(&seed, candidates);
		struct decision decision = decide(candidates, count, 0, &policy, NOW);
		double more = random_part(&seed) * 0.1;

		stricter.threshold += more;
		stricter.score_threshold += more;
		stricter.minimum += more;
		if (decide(candidates, count, 0, &stricter, NOW).serve && !decision.serve)
			fail_msg("round %d: a stricter policy serves more", round);
		if (!decision.serve)
			continue;
		assert_false(candidates[decision.index].rejected);
		assert_false(candidates[decision.index].vetoes & policy.guards_on);
		/* Nearest first is the order of candidates; so what is nearer moves to the front. */
		struct candidate moved = candidates[decision.index];
		memmove(candidates + 1, candidates, decision.index * sizeof(*candidates));
		moved.similarity = fmax(moved.similarity, candidates[count > 1 ? 1 : 0].similarity) + more;
		candidates[0] = moved;
		if (!decide(candidates, count, 0, &policy, NOW).serve)
			fail_msg("round %d: a nearer entry is not served", round);
	}
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
	assert_string_equal(reason_name(REASON_guard_numbers), "guard_numbers");
	assert_string_equal(reason_name(REASON_COUNT - 1), "guard_names");
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
		cmocka_unit_test(guards_and_verdicts_stand_before_every_alias),
		cmocka_unit_test(what_is_vetoed_or_rejected_does_not_hide_a_good_second),
		cmocka_unit_test(a_veto_of_what_is_too_far_away_is_no_reason),
		cmocka_unit_test(the_margin_over_the_next_nearest_counts),
		cmocka_unit_test(a_lone_entry_gains_nothing_from_the_margin),
		cmocka_unit_test(the_minimum_holds_whatever_the_score),
		cmocka_unit_test(what_cannot_be_meant_is_no_neighbour),
		cmocka_unit_test(a_second_opinion_is_part_of_the_score),
		cmocka_unit_test(shadow_serves_nothing_and_says_what_it_would),
		cmocka_unit_test(decisions_are_monotone),
		cmocka_unit_test(every_reason_has_a_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
