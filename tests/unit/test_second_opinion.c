/* The second embedder's vectors in entries and in the index, and which parameters hold where it has a say. */
#include "index_fixture.h"

#include "daemon/certificate.h"
#include "daemon/config.h"
#include "daemon/policy.h"
#include "proto/error.h"

#define SIZE 8   /* of the first embedder's vectors */
#define SECOND 5 /* of the second's */

static float first[SIZE] = {1};

static int put_both(struct fixture *f, uint64_t number, const float *second, unsigned dimensions)
{
	const struct entry entry = {
		.identity = number_identity(number),
		.scope = number_identity(1),
		.compared = true,
		.namespace = SLICE("default"),
		.question = SLICE("odd"),
		.created_ms = number,
		.fresh_until_at_ms = FAR,
		.expires_at_ms = FAR,
		.vector = first,
		.dimensions = SIZE,
		.second = second,
		.second_dimensions = dimensions,
	};

	return f->index.ops->put(f->index.state, &entry);
}

static const float *second_of(struct fixture *f, uint64_t number, uint64_t created_ms, unsigned *dimensions)
{
	const struct identity identity = number_identity(number);

	return f->index.ops->second(f->index.state, &identity, created_ms, dimensions);
}

static void an_entrys_second_vector_is_found_at_unit_length(void **state)
{
	struct fixture *f = *state;
	const float vector[SECOND] = {0, 3, 0, 4, 0};
	unsigned dimensions = 0;

	assert_int_equal(put_both(f, 7, vector, SECOND), 0);
	const float *found = second_of(f, 7, 7, &dimensions);
	assert_non_null(found);
	assert_int_equal(dimensions, SECOND);
	assert_true(fabs((double)found[1] - 0.6) < 1e-6 && fabs((double)found[3] - 0.8) < 1e-6);
}

static void one_of_another_time_or_none_is_not_found(void **state)
{
	struct fixture *f = *state;
	const float vector[SECOND] = {1};
	unsigned dimensions = 0;

	assert_int_equal(put_both(f, 7, vector, SECOND), 0);
	assert_null(second_of(f, 7, 8, &dimensions));
	assert_null(second_of(f, 9, 9, &dimensions));
	/* Overwritten by one without. */
	assert_int_equal(put_both(f, 7, NULL, 0), 0);
	assert_null(second_of(f, 7, 7, &dimensions));
	assert_int_equal(put_both(f, 7, vector, SECOND), 0);
	assert_true(drop(f, 7));
	assert_null(second_of(f, 7, 7, &dimensions));
}

static void one_that_is_no_vector_is_left_out_and_the_entry_stays(void **state)
{
	struct fixture *f = *state;
	const float nan[SECOND] = {1, NAN}, zero[SECOND] = {0};
	unsigned dimensions = 0;

	assert_int_equal(put_both(f, 1, nan, SECOND), 0);
	assert_int_equal(put_both(f, 2, zero, SECOND), 0);
	assert_null(second_of(f, 1, 1, &dimensions));
	assert_null(second_of(f, 2, 2, &dimensions));
	assert_int_equal(entries_of(f), 2);
}

static void its_bytes_are_counted_and_given_back(void **state)
{
	struct fixture *f = *state;
	float large[4096] = {1};
	size_t before = f->index.ops->bytes(f->index.state, NULL);

	assert_int_equal(put_both(f, 1, NULL, 0), 0);
	size_t without = f->index.ops->bytes(f->index.state, NULL);
	assert_int_equal(put_both(f, 1, large, 4096), 0);
	assert_true(f->index.ops->bytes(f->index.state, NULL) >= without + sizeof(large));
	assert_true(drop(f, 1));
	assert_true(f->index.ops->bytes(f->index.state, NULL) <= before + 4096);
}

static void a_copy_of_an_entry_has_both_vectors(void **state)
{
	const float second[3] = {0.25F, 0.5F, 0.75F};
	const struct entry entry = {.answer = SLICE("a"),
				    .question = SLICE("q"),
				    .vector = first,
				    .dimensions = SIZE,
				    .second = second,
				    .second_dimensions = 3};
	struct entry *copy = entry_copy(&entry);

	(void)state;
	assert_non_null(copy);
	assert_memory_equal(copy->vector, first, sizeof(first));
	assert_memory_equal(copy->second, second, sizeof(second));
	assert_true(slice_equal(copy->question, SLICE("q")));
	struct entry *again = entry_copy(copy);
	entry_destroy(copy);
	assert_non_null(again);
	assert_int_equal(again->second_dimensions, 3);
	assert_memory_equal(again->second, second, sizeof(second));
	entry_destroy(again);
}

/* ---- which parameters hold ---- */

static char text_use[] = "use-multilingual-v3", text_e5[] = "multilingual-e5-small-centred", text_url[] = "http://x/v1",
	    none[] = "";

struct place {
	struct config config;
	struct config_namespace space;
};

static struct place place_of(bool second_opinion)
{
	return (struct place){
		.config = {.embedder = {.url = text_url, .model = text_use},
			   .second_opinion = {.url = text_url, .model = text_e5}},
		.space = {.mode = CONFIG_MODE_CALIBRATED,
			  .threshold = 0.9,
			  .score_threshold = CONFIG_NONE,
			  .margin = CONFIG_NONE,
			  .margin_floor = CONFIG_NONE,
			  .minimum = CONFIG_NONE,
			  .opinion_weight = CONFIG_NONE,
			  .second_opinion = second_opinion},
	};
}

static void what_ships_depends_on_both_embedders(void **state)
{
	struct place on = place_of(true), off = place_of(false), unknown = place_of(true), absent = place_of(true);

	(void)state;
	struct policy with = policy_usual(&on.config, &on.space), without = policy_usual(&off.config, &off.space);
	assert_true(with.calibrated && with.weight > 0 && with.origin == ORIGIN_shipped);
	assert_true(without.calibrated && !(without.weight > 0));
	assert_true(with.score_threshold < without.score_threshold);
	/* Switched on without a second embedder is as off. */
	absent.config.second_opinion.url = none;
	struct policy alone = policy_usual(&absent.config, &absent.space);
	assert_true(alone.score_threshold >= without.score_threshold && !(alone.weight > 0));
	/* For a pair that nothing ships for, the plain rule holds, … */
	unknown.config.second_opinion.model = text_use;
	assert_false(policy_usual(&unknown.config, &unknown.space).calibrated);
	/* … unless all values are given. */
	unknown.space.score_threshold = 0.9;
	unknown.space.margin = 0.5;
	unknown.space.margin_floor = 0.5;
	unknown.space.minimum = 0.6;
	struct policy own = policy_usual(&unknown.config, &unknown.space);
	assert_true(own.calibrated && own.weight >= 0.5 && own.weight <= 0.5);
	unknown.space.opinion_weight = 0.25;
	own = policy_usual(&unknown.config, &unknown.space);
	assert_true(own.weight >= 0.25 && own.weight <= 0.25);
}

static void a_certificate_with_opinions_says_nothing_without_them(void **state)
{
	const struct certificate with = {.calibration = {0.9, 0.5, 0.5, 0.7, 0.5}},
				 without = {.calibration = {0.97, 0.5, 0.7, 0.7, 0}};
	struct place on = place_of(true), off = place_of(false);

	(void)state;
	on.space.certificate = off.space.certificate = &with;
	assert_true(policy_usual(&on.config, &on.space).weight > 0);
	assert_false(policy_usual(&off.config, &off.space).calibrated);
	on.space.certificate = &without;
	struct policy policy = policy_usual(&on.config, &on.space);
	assert_true(policy.calibrated && !(policy.weight > 0) && policy.score_threshold > 0.96);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_entrys_second_vector_is_found_at_unit_length),
		TEST(one_of_another_time_or_none_is_not_found),
		TEST(one_that_is_no_vector_is_left_out_and_the_entry_stays),
		TEST(its_bytes_are_counted_and_given_back),
		cmocka_unit_test(a_copy_of_an_entry_has_both_vectors),
		cmocka_unit_test(what_ships_depends_on_both_embedders),
		cmocka_unit_test(a_certificate_with_opinions_says_nothing_without_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
