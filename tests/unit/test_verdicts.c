/* What people said, against a model that is nothing but a list; its limits; a reload; every allocation failing once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/verdicts.h"
#include "proto/error.h"

#define SPACE SLICE("default")
#define FAR_MS UINT64_C(4102444800000) /* in the year 2100 */

static struct {
	size_t until; /* the allocation that fails, from 1; 0 = none */
	size_t failed;
} fault;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static bool fails(void)
{
	if (fault.until == 0 || --fault.until > 0)
		return false;
	fault.failed++;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
	return fails() ? NULL : __real_realloc(pointer, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

/* The n-th digest; all bytes differ from those of others. */
static struct identity digest(uint32_t n)
{
	struct identity identity;

	for (size_t i = 0; i < IDENTITY_BYTES; i++)
		identity.bytes[i] = (unsigned char)((n * 2654435761u + i * 40503u) >> (i % 4 * 8));
	memcpy(identity.bytes, &n, sizeof(n));
	return identity;
}

static int reject(struct verdicts *verdicts, struct slice space, uint32_t a, uint32_t b)
{
	struct identity x = digest(a), y = digest(b), entry = digest(a + 1000000);

	return verdicts_reject(verdicts, space, &x, &y, &entry);
}

static bool is_rejected(const struct verdicts *verdicts, struct slice space, uint32_t a, uint32_t b)
{
	struct identity x = digest(a), y = digest(b);

	return verdicts_rejected(verdicts, space, &x, &y);
}

static int wrong(struct verdicts *verdicts, struct slice space, uint32_t entry, uint64_t created_ms, uint32_t question)
{
	struct verdict_wrong said = {
		.entry = digest(entry), .question = digest(question), .created_ms = created_ms, .expire_ms = FAR_MS};

	return verdicts_wrong(verdicts, space, &said, NULL);
}

static bool is_quarantined(const struct verdicts *verdicts, struct slice space, uint32_t entry, uint64_t created_ms)
{
	struct identity identity = digest(entry);

	return verdicts_quarantined(verdicts, space, &identity, created_ms);
}

static int setup(void **state)
{
	*state = verdicts_create(true);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	verdicts_destroy(*state);
	return 0;
}

static void a_pair_is_unordered_and_holds_in_its_namespace_only(void **state)
{
	struct verdicts *verdicts = *state;
	struct identity a = digest(1), b = digest(2);

	assert_false(verdicts_any(verdicts, SPACE));
	assert_int_equal(reject(verdicts, SPACE, 1, 2), 0);
	assert_int_equal(reject(verdicts, SPACE, 2, 1), 0);
	assert_true(is_rejected(verdicts, SPACE, 1, 2) && is_rejected(verdicts, SPACE, 2, 1));
	assert_false(is_rejected(verdicts, SPACE, 1, 3));
	assert_false(is_rejected(verdicts, SLICE("defaul"), 1, 2));
	assert_true(verdicts_any(verdicts, SPACE));
	assert_int_equal(verdicts_count(verdicts, NULL), 1);
	verdicts_undo_reject(verdicts, SPACE, &b, &a);
	assert_false(is_rejected(verdicts, SPACE, 1, 2));
	assert_false(verdicts_any(verdicts, SPACE));
}

static void a_text_is_no_pair_with_itself(void **state)
{
	assert_int_equal(reject(*state, SPACE, 5, 5), ERROR_INVALID);
	assert_false(verdicts_any(*state, SPACE));
}

static void two_questions_quarantine_and_one_twice_does_not(void **state)
{
	struct verdicts *verdicts = *state;
	struct identity entry = digest(7), question = digest(101);
	size_t quarantined;

	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 100), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 100), 0);
	assert_false(is_quarantined(verdicts, SPACE, 7, 1000));
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 101), 0);
	assert_true(is_quarantined(verdicts, SPACE, 7, 1000));
	assert_false(is_quarantined(verdicts, SPACE, 7, 1001));
	(void)verdicts_count(verdicts, &quarantined);
	assert_int_equal(quarantined, 1);
	verdicts_undo_wrong(verdicts, SPACE, &entry, &question);
	assert_false(is_quarantined(verdicts, SPACE, 7, 1000));
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 102), 0);
	assert_true(is_quarantined(verdicts, SPACE, 7, 1000));
	verdicts_undo_quarantine(verdicts, SPACE, &entry);
	assert_false(verdicts_any(verdicts, SPACE));
	(void)verdicts_count(verdicts, &quarantined);
	assert_int_equal(quarantined, 0);
}

static void an_entry_made_anew_starts_afresh_and_what_is_late_does_not_count(void **state)
{
	struct verdicts *verdicts = *state;

	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 100), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 101), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 2000, 100), 0);
	assert_false(is_quarantined(verdicts, SPACE, 7, 2000));
	/* The earlier one may still be in some memory. */
	assert_true(is_quarantined(verdicts, SPACE, 7, 1000));
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 101), 0);
	assert_true(is_quarantined(verdicts, SPACE, 7, 1000) && !is_quarantined(verdicts, SPACE, 7, 2000));
	assert_int_equal(wrong(verdicts, SPACE, 7, 2000, 101), 0);
	assert_true(is_quarantined(verdicts, SPACE, 7, 1000) && is_quarantined(verdicts, SPACE, 7, 2000));
}

static void more_questions_than_are_remembered_change_nothing(void **state)
{
	struct verdicts *verdicts = *state;
	struct identity entry = digest(7);

	for (uint32_t i = 0; i < 3 * VERDICTS_OF_ENTRY; i++)
		assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 100 + i), 0);
	for (uint32_t i = 0; i < VERDICTS_OF_ENTRY; i++) {
		struct identity question = digest(100 + i);
		assert_int_equal(is_quarantined(verdicts, SPACE, 7, 1000), VERDICTS_OF_ENTRY - i >= VERDICTS_TO_QUARANTINE);
		verdicts_undo_wrong(verdicts, SPACE, &entry, &question);
	}
	assert_false(verdicts_any(verdicts, SPACE));
}

static void a_text_that_is_removed_takes_its_pairs_along(void **state)
{
	struct verdicts *verdicts = *state;
	struct identity text = digest(2);

	for (uint32_t i = 0; i < 10; i++)
		for (uint32_t k = 0; k < i; k++)
			assert_int_equal(reject(verdicts, SPACE, i, k), 0);
	verdicts_undo_text(verdicts, SPACE, &text);
	for (uint32_t i = 0; i < 10; i++)
		for (uint32_t k = 0; k < i; k++)
			assert_int_equal(is_rejected(verdicts, SPACE, i, k), i != 2 && k != 2);
}

static void a_pair_is_found_by_the_entry_that_it_was_said_of(void **state)
{
	struct verdicts *verdicts = *state;
	struct identity entry = digest(1000003), asked = digest(4), other = digest(5), own = digest(3), found;

	assert_int_equal(reject(verdicts, SPACE, 3, 4), 0);
	assert_int_equal(reject(verdicts, SPACE, 6, 4), 0);
	assert_false(verdicts_find(verdicts, SPACE, &entry, &other, &found));
	assert_false(verdicts_find(verdicts, SLICE("other"), &entry, &asked, &found));
	/* Its own text is in every pair of an entry, and names none of them. */
	assert_false(verdicts_find(verdicts, SPACE, &entry, &own, &found));
	assert_true(verdicts_find(verdicts, SPACE, &entry, &asked, &found));
	assert_true(identity_equal(&found, &own));
}

/* ---- limits ---- */

static void what_does_not_fit_is_refused_and_changes_nothing(void **state)
{
	struct verdicts *verdicts = *state;

	for (uint32_t i = 0; i < VERDICTS_MOST; i++)
		assert_int_equal(reject(verdicts, SPACE, i, 1000000), 0);
	assert_int_equal(reject(verdicts, SPACE, VERDICTS_MOST, 1000000), ERROR_TOO_LARGE);
	assert_false(is_rejected(verdicts, SPACE, VERDICTS_MOST, 1000000));
	assert_int_equal(verdicts_count(verdicts, NULL), VERDICTS_MOST);
	assert_int_equal(reject(verdicts, SPACE, 0, 1000000), 0);
	assert_int_equal(reject(verdicts, SLICE("other"), 0, 1), 0);
	struct identity a = digest(0), b = digest(1000000);
	verdicts_undo_reject(verdicts, SPACE, &a, &b);
	assert_int_equal(reject(verdicts, SPACE, VERDICTS_MOST, 1000000), 0);
}

static void all_namespaces_together_have_a_limit_too(void **state)
{
	struct verdicts *verdicts = *state;
	const struct slice spaces[] = {SLICE("a"), SLICE("b"), SLICE("c"), SLICE("d")};

	for (uint32_t i = 0; i < VERDICTS_ALL; i++)
		assert_int_equal(reject(verdicts, spaces[i % 4], i, 1000000), 0);
	assert_int_equal(reject(verdicts, SLICE("e"), 0, 1), ERROR_TOO_LARGE);
	assert_false(verdicts_any(verdicts, SLICE("e")));
	assert_int_equal(wrong(verdicts, SLICE("e"), 0, 1, 1), ERROR_TOO_LARGE);
	assert_false(verdicts_any(verdicts, SLICE("e")));
}

static void what_was_said_of_expired_entries_makes_room(void **state)
{
	struct verdicts *verdicts = *state;

	for (uint32_t i = 0; i < VERDICTS_MOST; i++) {
		struct verdict_wrong said = {
			.entry = digest(i), .question = digest(i + 1), .created_ms = 1, .expire_ms = i == 5 ? FAR_MS : 2};
		assert_int_equal(verdicts_wrong(verdicts, SPACE, &said, NULL), 0);
	}
	assert_int_equal(wrong(verdicts, SPACE, 1000000, 1, 1), 0);
	assert_int_equal(wrong(verdicts, SPACE, 5, 1, 999), 0);
	assert_true(is_quarantined(verdicts, SPACE, 5, 1));
}

/* ---- a reload ---- */

struct lost {
	bool keeps;
	size_t pairs, wrongs;
};

static bool on_lost(void *data, const struct verdict_lost *lost)
{
	struct lost *seen = data;

	assert_true(slice_equal(lost->namespace, SPACE));
	assert_true((lost->pair != NULL) != (lost->wrong != NULL));
	seen->pairs += lost->pair != NULL;
	seen->wrongs += lost->wrong != NULL;
	return seen->keeps;
}

static void a_reload_forgets_what_it_did_not_find(void **state)
{
	struct verdicts *verdicts = *state;
	struct lost seen = {.keeps = false};

	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(reject(verdicts, SPACE, i, 10), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 100), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 101), 0);
	verdicts_reload(verdicts);
	assert_int_equal(reject(verdicts, SPACE, 1, 10), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 101), 0);
	assert_int_equal(reject(verdicts, SPACE, 20, 21), 0);
	assert_true(is_rejected(verdicts, SPACE, 0, 10));
	assert_true(is_quarantined(verdicts, SPACE, 7, 1000));
	assert_true(verdicts_reloaded(verdicts, on_lost, &seen));
	assert_int_equal(seen.pairs, 3);
	assert_int_equal(seen.wrongs, 1);
	assert_true(is_rejected(verdicts, SPACE, 1, 10) && is_rejected(verdicts, SPACE, 20, 21));
	assert_false(is_rejected(verdicts, SPACE, 0, 10) || is_quarantined(verdicts, SPACE, 7, 1000));
}

static void a_reload_keeps_what_redis_has_lost(void **state)
{
	struct verdicts *verdicts = *state;
	struct lost seen = {.keeps = true};

	assert_int_equal(reject(verdicts, SPACE, 1, 10), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 100), 0);
	assert_int_equal(wrong(verdicts, SPACE, 7, 1000, 101), 0);
	verdicts_reload(verdicts);
	assert_true(verdicts_reloaded(verdicts, on_lost, &seen));
	assert_int_equal(seen.pairs + seen.wrongs, 3);
	assert_true(is_rejected(verdicts, SPACE, 1, 10) && is_quarantined(verdicts, SPACE, 7, 1000));
}

static void what_is_taken_back_during_a_reload_is_read_again(void **state)
{
	struct verdicts *verdicts = *state;
	struct identity a = digest(1), b = digest(10);
	struct lost seen = {.keeps = false};

	assert_int_equal(reject(verdicts, SPACE, 1, 10), 0);
	assert_int_equal(reject(verdicts, SPACE, 2, 10), 0);
	verdicts_reload(verdicts);
	verdicts_undo_reject(verdicts, SPACE, &a, &b);
	assert_int_equal(reject(verdicts, SPACE, 1, 10), 0); /* an answer of before that comes late */
	assert_false(verdicts_reloaded(verdicts, on_lost, &seen));
	assert_int_equal(seen.pairs, 0);
	verdicts_reload(verdicts);
	assert_true(verdicts_reloaded(verdicts, on_lost, &seen));
	assert_false(is_rejected(verdicts, SPACE, 1, 10));
}

/* ---- random operations ---- */

#define TEXTS 12
#define ENTRIES 6

struct model {
	bool rejected[2][TEXTS][TEXTS];
	uint64_t created_ms[2][ENTRIES], barred_ms[2][ENTRIES];
	bool wrongs[2][ENTRIES][TEXTS];
	unsigned count[2][ENTRIES];
};

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void model_forget(struct model *model, unsigned space, unsigned entry)
{
	memset(model->wrongs[space][entry], 0, sizeof(model->wrongs[space][entry]));
	model->count[space][entry] = 0;
	model->created_ms[space][entry] = 0;
	model->barred_ms[space][entry] = 0;
}

static void model_wrong(struct model *model, unsigned space, unsigned entry, uint64_t created_ms, unsigned question)
{
	if (model->created_ms[space][entry] > created_ms)
		return;
	if (model->created_ms[space][entry] < created_ms) {
		bool was_in = model->count[space][entry] >= VERDICTS_TO_QUARANTINE;
		uint64_t barred_ms = was_in ? model->created_ms[space][entry] : model->barred_ms[space][entry];
		model_forget(model, space, entry);
		model->barred_ms[space][entry] = barred_ms;
	}
	model->created_ms[space][entry] = created_ms;
	if (model->wrongs[space][entry][question] || model->count[space][entry] == VERDICTS_OF_ENTRY)
		return;
	model->wrongs[space][entry][question] = true;
	model->count[space][entry]++;
}

static void check_model(const struct verdicts *verdicts, const struct slice spaces[2], const struct model *model)
{
	size_t pairs = 0, quarantined = 0, counted;

	for (unsigned s = 0; s < 2; s++) {
		for (uint32_t a = 0; a < TEXTS; a++)
			for (uint32_t b = 0; b < TEXTS; b++) {
				assert_int_equal(is_rejected(verdicts, spaces[s], a, b), model->rejected[s][a][b]);
				pairs += a < b && model->rejected[s][a][b];
			}
		for (uint32_t e = 0; e < ENTRIES; e++) {
			bool is_in = model->count[s][e] >= VERDICTS_TO_QUARANTINE;
			for (uint64_t created_ms = 1; created_ms < 4; created_ms++)
				assert_int_equal(is_quarantined(verdicts, spaces[s], e, created_ms),
						 created_ms <= model->barred_ms[s][e] ||
							 (is_in && model->created_ms[s][e] == created_ms));
			quarantined += is_in;
		}
	}
	assert_int_equal(verdicts_count(verdicts, &counted), pairs);
	assert_int_equal(counted, quarantined);
}

static void random_operations_do_as_the_model_does(void **state)
{
	struct verdicts *verdicts = *state;
	const struct slice spaces[] = {SLICE("one"), SLICE("two")};
	static struct model model;
	uint32_t seed = 20261124;

	for (int step = 0; step < 20000; step++) {
		unsigned s = next_random(&seed) % 2, what = next_random(&seed) % 20;
		uint32_t a = next_random(&seed) % TEXTS, b = next_random(&seed) % TEXTS, e = next_random(&seed) % ENTRIES;
		struct identity x = digest(a), y = digest(b), entry = digest(e);
		if (what < 8 && a != b) {
			assert_int_equal(reject(verdicts, spaces[s], a, b), 0);
			model.rejected[s][a][b] = model.rejected[s][b][a] = true;
		} else if (what < 11) {
			verdicts_undo_reject(verdicts, spaces[s], &x, &y);
			model.rejected[s][a][b] = model.rejected[s][b][a] = false;
		} else if (what < 15) {
			uint64_t created_ms = 1 + next_random(&seed) % 3;
			assert_int_equal(wrong(verdicts, spaces[s], e, created_ms, a), 0);
			model_wrong(&model, s, e, created_ms, a);
		} else if (what < 17) {
			verdicts_undo_wrong(verdicts, spaces[s], &entry, &x);
			if (!model.wrongs[s][e][a])
				model.barred_ms[s][e] = 0;
			model.count[s][e] -= model.wrongs[s][e][a];
			model.wrongs[s][e][a] = false;
			if (model.count[s][e] == 0 && model.barred_ms[s][e] == 0)
				model_forget(&model, s, e);
		} else if (what < 18) {
			verdicts_undo_quarantine(verdicts, spaces[s], &entry);
			model_forget(&model, s, e);
		} else if (what < 19) {
			verdicts_undo_text(verdicts, spaces[s], &x);
			for (uint32_t k = 0; k < TEXTS; k++)
				model.rejected[s][a][k] = model.rejected[s][k][a] = false;
		} else if (next_random(&seed) % 20 == 0) {
			verdicts_clear(verdicts, spaces[s]);
			memset(model.rejected[s], 0, sizeof(model.rejected[s]));
			for (unsigned k = 0; k < ENTRIES; k++)
				model_forget(&model, s, k);
		}
		if (step % 50 == 0)
			check_model(verdicts, spaces, &model);
	}
	verdicts_clear(verdicts, (struct slice){0});
	assert_int_equal(verdicts_count(verdicts, NULL), 0);
}

/* ---- no memory ---- */

static void each_allocation_that_fails_is_told_and_changes_nothing(void **state)
{
	(void)state;
	for (size_t n = 1;; n++) {
		fault.until = n;
		fault.failed = 0;
		struct verdicts *verdicts = verdicts_create(true);
		if (!verdicts) {
			assert_int_equal(fault.failed, 1);
			continue;
		}
		for (uint32_t i = 0; i < 40; i++) {
			int error = reject(verdicts, SPACE, i, 100);
			assert_int_equal(is_rejected(verdicts, SPACE, i, 100), error == 0);
			assert_true(error == 0 || error == ERROR_MEMORY);
			error = wrong(verdicts, SPACE, i, 1, 50);
			assert_true(error == 0 || error == ERROR_MEMORY);
			if (!error)
				error = wrong(verdicts, SPACE, i, 1, 51);
			assert_int_equal(is_quarantined(verdicts, SPACE, i, 1), error == 0);
		}
		size_t failed = fault.failed;
		fault.until = 0;
		for (uint32_t i = 0; i < 40; i++)
			assert_int_equal(reject(verdicts, SPACE, i, 100), 0);
		assert_int_equal(verdicts_count(verdicts, NULL), 40);
		verdicts_destroy(verdicts);
		if (failed == 0)
			return;
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_pair_is_unordered_and_holds_in_its_namespace_only),
		TEST(a_text_is_no_pair_with_itself),
		TEST(two_questions_quarantine_and_one_twice_does_not),
		TEST(an_entry_made_anew_starts_afresh_and_what_is_late_does_not_count),
		TEST(more_questions_than_are_remembered_change_nothing),
		TEST(a_text_that_is_removed_takes_its_pairs_along),
		TEST(a_pair_is_found_by_the_entry_that_it_was_said_of),
		TEST(what_does_not_fit_is_refused_and_changes_nothing),
		TEST(all_namespaces_together_have_a_limit_too),
		TEST(what_was_said_of_expired_entries_makes_room),
		TEST(a_reload_forgets_what_it_did_not_find),
		TEST(a_reload_keeps_what_redis_has_lost),
		TEST(what_is_taken_back_during_a_reload_is_read_again),
		TEST(random_operations_do_as_the_model_does),
		TEST(each_allocation_that_fails_is_told_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
