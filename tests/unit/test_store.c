/* The store on a real Redis: what is written is read back, and what is dead, gone, foreign or too large is not. */
#include "store_fixture.h"

#include <math.h>

static void round_trip(void **state)
{
	struct fixture *f = *state;
	struct entry entry = entry_at(f, 1, "default", "a\0b", 60000);
	struct reading reading;
	static char large[1u << 20];

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (char)(i % 97);
	entry.question = (struct slice){"a\0\xe6\x98\xaf", 5};
	entry.answer = (struct slice){large, sizeof(large)};
	entry.usage = (struct slice){"\x81\xa1t\x05", 4};
	entry.soft_ms = 30000;
	assert_int_equal(put(f, &entry), 0);
	find(f, &reading, "default", &entry.identity);
	assert_int_equal(reading.error, 0);
	const struct entry *read = reading.read.entry;
	assert_non_null(read);
	assert_true(slice_equal(read->answer, entry.answer));
	assert_true(slice_equal(read->question, entry.question));
	assert_true(slice_equal(read->usage, entry.usage));
	assert_true(slice_equal(read->tags, entry.tags));
	assert_true(slice_equal(read->model, entry.model));
	assert_null(read->request.data);
	assert_true(identity_equal(&read->scope, &entry.scope));
	assert_true(read->compared);
	assert_null(read->vector);
	assert_int_equal(read->created_ms, entry.created_ms);
	assert_int_equal(read->generation, reading.read.generation);
	uint64_t now_ms = uv_now(&f->world.loop);
	assert_true(read->expires_at_ms > now_ms + 30000 && read->expires_at_ms <= now_ms + 60000);
	assert_true(read->fresh_until_at_ms < read->expires_at_ms && read->fresh_until_at_ms > now_ms);
	reading_free(&reading);

	reading_init(&reading);
	assert_int_equal(store_fetch(f->store, &reading.read, SLICE("default"), &entry.identity, true), 0);
	run_until(&f->world, &reading.done);
	assert_non_null(reading.read.entry);
	assert_int_equal(reading.read.entry->dimensions, DIMENSIONS);
	assert_memory_equal(reading.read.entry->vector, unit, sizeof(unit));
	reading_free(&reading);
}

static void the_schema_is_what_the_header_says(void **state)
{
	struct fixture *f = *state;
	char key[200], hex[IDENTITY_HEX];
	struct identity identity = identity_at(1);
	static const char *const fields[] = {"schema", "namespace", "generation", "question", "answer",          "model",
					     "scope",  "tags",      "created_ms", "soft_ms",  "vector:" EMBEDDER};

	add(f, 1, "default", "q");
	identity_hex(&identity, hex);
	(void)snprintf(key, sizeof(key), PREFIX "entry:%s", hex);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		redisReply *reply = server_reply(&f->world, "HEXISTS %s %s", key, fields[i]);
		assert_int_equal(reply->integer, 1);
		freeReplyObject(reply);
	}
	assert_in_range(server_integer(&f->world, "PTTL", key), 50000, 60000);
	assert_in_range(server_integer(&f->world, "PTTL", PREFIX "directory:default"), 50000, 60000);
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "directory:default"), 1);
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "tag:default:red"), 1);
	assert_int_equal(server_integer(&f->world, "SCARD", PREFIX "namespaces"), 1);
	assert_int_equal(server_integer(&f->world, "XLEN", PREFIX "log"), 1);
	assert_int_equal(server_integer(&f->world, "STRLEN", PREFIX "generation:default"), 16);
	/* A set lives as long as its latest member: it grows, and does not shrink. */
	struct entry entry = entry_at(f, 2, "default", "q", 90000);
	assert_int_equal(put(f, &entry), 0);
	entry = entry_at(f, 3, "default", "q", 10000);
	assert_int_equal(put(f, &entry), 0);
	assert_in_range(server_integer(&f->world, "PTTL", PREFIX "directory:default"), 80000, 90000);
}

static void an_alias_finds_its_entry(void **state)
{
	struct fixture *f = *state;
	struct identity alias = identity_at(2);
	struct reading reading;

	add(f, 1, "default", "q");
	add_alias(f, 2, 1, "default", "another wording");
	find(f, &reading, "default", &alias);
	assert_non_null(reading.read.entry);
	assert_true(reading.read.has_alias);
	assert_true(identity_equal(&reading.read.alias.identity, &alias));
	assert_true(fabs(reading.read.alias.similarity - 0.987654321) < 1e-12);
	assert_int_equal(reading.read.alias.kind, ALIAS_PROMOTED);
	assert_string_equal(reading.read.alias.embedder, EMBEDDER);
	assert_in_range(reading.read.alias.expire_ms, 1, 30000);
	reading_free(&reading);
	/* Its own entry comes first. */
	add(f, 2, "default", "another wording");
	find(f, &reading, "default", &alias);
	assert_non_null(reading.read.entry);
	assert_false(reading.read.has_alias);
	reading_free(&reading);
}

static void look_ups_of_one_turn_find_each_its_own(void **state)
{
	struct fixture *f = *state;
	static const char *const questions[] = {"first", "second", "third"};
	struct reading readings[4];

	for (unsigned i = 0; i < 3; i++)
		add(f, i + 1, "default", questions[i]);
	add_alias(f, 4, 2, "default", "another wording");
	for (unsigned i = 0; i < 4; i++) {
		struct identity identity = identity_at(i + 1);
		reading_init(&readings[i]);
		assert_int_equal(store_find(f->store, &readings[i].read, SLICE("default"), &identity), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct identity identity = identity_at(i < 3 ? i + 1 : 2);
		run_until(&f->world, &readings[i].done);
		assert_non_null(readings[i].read.entry);
		assert_true(identity_equal(&readings[i].read.entry->identity, &identity));
		assert_true(slice_equal(readings[i].read.entry->question, slice_of(questions[i < 3 ? i : 1])));
		assert_int_equal(readings[i].read.has_alias, i == 3);
		reading_free(&readings[i]);
	}
}

static void an_alias_of_a_dead_entry_is_dead(void **state)
{
	struct fixture *f = *state;
	struct identity alias = identity_at(2);
	struct entry again;

	add(f, 1, "default", "q");
	add_alias(f, 2, 1, "default", "another wording");
	assert_true(is_there(f, "default", &alias));
	again = entry_at(f, 1, "default", "q", 60000);
	again.created_ms += 5;
	assert_int_equal(put(f, &again), 0);
	assert_false(is_there(f, "default", &alias));
}

static void a_missing_generation_leaves_everything_dead(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	uint64_t before;

	add(f, 1, "default", "q");
	before = store_generation(f->store, SLICE("default"));
	assert_true(before != 0);
	server_do(&f->world, "DEL " PREFIX "generation:default");
	assert_false(is_there(f, "default", &identity));
	assert_true(store_generation(f->store, SLICE("default")) != before);
	assert_false(is_there(f, "default", &identity));
	add(f, 1, "default", "q");
	assert_true(is_there(f, "default", &identity));
}

static bool has_expired(void *data)
{
	struct fixture *f = data;

	return server_integer(&f->world, "EXISTS", PREFIX "tag:default:red") == 0;
}

static void an_expired_entry_is_gone_and_leaves_no_sets(void **state)
{
	struct fixture *f = *state;
	struct entry entry = entry_at(f, 1, "default", "q", 30);

	assert_int_equal(put(f, &entry), 0);
	while (!has_expired(f))
		run_for(&f->world, 5);
	assert_false(is_there(f, "default", &entry.identity));
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "directory:default"), 0);
	/* One whose time is over before it can be sent is not written at all. */
	entry = entry_at(f, 2, "default", "q", 0);
	assert_int_equal(put(f, &entry), ERROR_CANCELLED);
	assert_int_equal(f->world.metrics.writes_dead, 1);
}

static void another_type_under_our_key_is_a_miss(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	char hex[IDENTITY_HEX];

	identity_hex(&identity, hex);
	server_do(&f->world, "SET " PREFIX "entry:%s x", hex);
	assert_false(is_there(f, "default", &identity));
	assert_int_equal(f->world.metrics.redis_wrong_type, 1);
	assert_true(part_up(&f->world.part));
	server_do(&f->world, "DEL " PREFIX "entry:%s", hex);
	server_do(&f->world, "HSET " PREFIX "entry:%s schema 2 answer x", hex);
	assert_false(is_there(f, "default", &identity));
	/* Half an entry of ours: refused whole. */
	server_do(&f->world, "HSET " PREFIX "entry:%s schema 1 namespace default answer x", hex);
	assert_false(is_there(f, "default", &identity));
	assert_int_equal(f->world.metrics.redis_wrong_type, 2);
}

static void an_answer_over_the_limit_is_a_miss(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);

	add(f, 1, "default", "q");
	store_destroy(f->store);
	f->world.config.server.max_message_bytes = 8;
	f->store = new_store(f);
	assert_false(is_there(f, "default", &identity));
	assert_int_equal(f->world.metrics.redis_too_large, 1);
}

static void vectors_are_kept(void **state)
{
	struct fixture *f = *state;
	struct identity digest = digest_of(f, "default", SLICE("q"));
	struct reading reading;

	/* The queue is in order: when the entry is there, so is the vector before it. */
	assert_false(is_there(f, "default", &digest));
	add(f, 1, "default", "first");
	store_put_vector(f->store, SLICE("default"), &digest, unit, DIMENSIONS, 60000);
	add(f, 2, "default", "q");
	reading_init(&reading);
	assert_int_equal(store_find_vector(f->store, &reading.read, &digest), 0);
	run_until(&f->world, &reading.done);
	assert_int_equal(reading.error, 0);
	assert_int_equal(reading.read.dimensions, DIMENSIONS);
	assert_memory_equal(reading.read.vector, unit, sizeof(unit));
	reading_free(&reading);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
	cmocka_unit_test_setup_teardown(the_schema_is_what_the_header_says, setup, teardown),
	cmocka_unit_test_setup_teardown(an_alias_finds_its_entry, setup, teardown),
	cmocka_unit_test_setup_teardown(look_ups_of_one_turn_find_each_its_own, setup, teardown),
	cmocka_unit_test_setup_teardown(an_alias_of_a_dead_entry_is_dead, setup, teardown),
	cmocka_unit_test_setup_teardown(a_missing_generation_leaves_everything_dead, setup, teardown),
	cmocka_unit_test_setup_teardown(an_expired_entry_is_gone_and_leaves_no_sets, setup, teardown),
	cmocka_unit_test_setup_teardown(another_type_under_our_key_is_a_miss, setup, teardown),
	cmocka_unit_test_setup_teardown(an_answer_over_the_limit_is_a_miss, setup, teardown),
	cmocka_unit_test_setup_teardown(vectors_are_kept, setup, teardown),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
