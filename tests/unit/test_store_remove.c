/* Removal on a real Redis: what is invalidated or flushed is gone with everything that belongs to it, and nothing else
 * is. */
#include "store_fixture.h"

static bool exists(struct fixture *f, const char *kind, const struct identity *identity)
{
	char hex[IDENTITY_HEX], key[160];

	identity_hex(identity, hex);
	(void)snprintf(key, sizeof(key), PREFIX "%s%s", kind, hex);
	return server_integer(&f->world, "EXISTS", key) == 1;
}

static void add_vector(struct fixture *f, const char *namespace, const char *text)
{
	struct identity digest = digest_of(f, namespace, slice_of(text));

	store_put_vector(f->store, slice_of(namespace), &digest, unit, DIMENSIONS, 60000);
}

static bool has_vector(struct fixture *f, const char *namespace, const char *text)
{
	struct identity digest = digest_of(f, namespace, slice_of(text));

	return exists(f, "vector:" EMBEDDER ":", &digest);
}

/* The names of all keys, sorted, one a line. */
static char *keyspace(struct fixture *f)
{
	redisReply *reply = server_reply(&f->world, "EVAL %s 0",
					 "local k = redis.call('KEYS', '*') table.sort(k) return table.concat(k, '\\n')");

	assert_int_equal(reply->type, REDIS_REPLY_STRING);
	char *names = strdup(reply->str);
	assert_non_null(names);
	freeReplyObject(reply);
	return names;
}

static void a_flush_leaves_only_generation_and_log(void **state)
{
	struct fixture *f = *state;
	struct writing writing;

	server_do(&f->world, "SET foreign x");
	server_do(&f->world, "HSET semcache-like:entry:1 a b");
	server_do(&f->world, "SET " PREFIX "tag:other:red x");
	char *before = keyspace(f);
	for (unsigned n = 0; n < 250; n++) {
		char question[24];
		(void)snprintf(question, sizeof(question), "question %u", n / 2);
		add(f, n, "mine", question);
		if (n % 10 == 0)
			add_alias(f, 1000 + n, n, "mine", question + 1);
		if (n % 2 == 0)
			add_vector(f, "mine", question);
	}
	add(f, 500, "yours", "question");
	flush(f, "mine", &writing);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.entries, 250);
	assert_int_equal(writing.write.aliases, 25);
	assert_int_equal(writing.write.vectors, 125);
	assert_int_equal(writing.write.namespaces, 1);
	struct identity yours = identity_at(500), mine = identity_at(1);
	assert_true(is_there(f, "yours", &yours));
	assert_false(is_there(f, "mine", &mine));
	flush(f, "yours", &writing);
	assert_int_equal(writing.write.entries, 1);

	server_do(&f->world, "DEL " PREFIX "generation:mine " PREFIX "generation:yours");
	server_do(&f->world, "DEL " PREFIX "generation:mine");
	server_do(&f->world, "DEL " PREFIX "generation:yours");
	server_do(&f->world, "DEL " PREFIX "log");
	char *after = keyspace(f);
	assert_string_equal(after, before);
	free(before);
	free(after);
}

static void a_flush_of_all_finds_every_namespace(void **state)
{
	struct fixture *f = *state;
	struct store_selector all = {.namespace = {NULL, 0}};
	struct writing writing;
	struct identity one = identity_at(1), two = identity_at(2);

	add(f, 1, "one", "q");
	add(f, 2, "two", "q");
	/* Another daemon, which has never heard of them. */
	store_destroy(f->store);
	f->store = new_store(f);
	removal(f, &writing, &all);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.namespaces, 2);
	assert_int_equal(writing.write.entries, 2);
	assert_false(is_there(f, "one", &one));
	assert_false(is_there(f, "two", &two));
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "namespaces"), 0);
}

static void what_is_put_anew_survives_the_purge(void **state)
{
	struct fixture *f = *state;
	struct store_selector selector = {.namespace = SLICE("default")};
	struct writing writing;
	struct identity identity = identity_at(7);

	for (unsigned n = 0; n < 300; n++)
		add(f, n, "default", "q");
	writing_init(&writing);
	assert_int_equal(store_remove(f->store, &writing.write, &selector), 0);
	/* While the purge goes on, in the queue behind the new generation. */
	for (unsigned n = 0; n < 300; n += 7)
		add(f, n, "default", "q");
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, 0);
	assert_true(is_there(f, "default", &identity));
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "directory:default"), 43);
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "tag:default:red"), 43);
	assert_int_equal(server_integer(&f->world, "SCARD", PREFIX "namespaces"), 1);
	flush(f, "default", &writing);
	assert_int_equal(writing.write.entries, 43);
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "tag:default:red"), 0);
}

static void an_entry_goes_with_all_that_belongs_to_it(void **state)
{
	struct fixture *f = *state;
	struct identity entry = identity_at(1), alias = identity_at(2), other = identity_at(3);
	struct store_selector selector = {.namespace = SLICE("default"), .entry = &entry, .dry_run = true};
	struct writing writing;

	add(f, 1, "default", "what");
	add(f, 3, "default", "else");
	add_alias(f, 2, 1, "default", "what, then");
	add_vector(f, "default", "what");
	add_vector(f, "default", "what, then");
	add_vector(f, "default", "else");
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.entries, 1);
	assert_int_equal(writing.write.aliases, 1);
	assert_int_equal(writing.write.vectors, 2);
	assert_int_equal(f->removed, 0);
	assert_true(is_there(f, "default", &entry));

	selector.dry_run = false;
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.entries, 1);
	assert_int_equal(writing.write.aliases, 1);
	assert_int_equal(writing.write.vectors, 2);
	assert_int_equal(f->removed, 2);
	assert_false(is_there(f, "default", &entry));
	assert_false(is_there(f, "default", &alias));
	assert_true(is_there(f, "default", &other));
	assert_false(exists(f, "entry:", &entry));
	assert_false(exists(f, "alias:", &alias));
	assert_false(exists(f, "aliases:", &entry));
	assert_false(has_vector(f, "default", "what"));
	assert_false(has_vector(f, "default", "what, then"));
	assert_true(has_vector(f, "default", "else"));
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "directory:default"), 2);
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "tag:default:red"), 1);

	/* Not in another namespace, and not twice. */
	selector.entry = &other;
	selector.namespace = SLICE("elsewhere");
	removal(f, &writing, &selector);
	assert_int_equal(writing.write.entries, 0);
	assert_true(is_there(f, "default", &other));
}

static void a_question_goes_in_all_its_scopes(void **state)
{
	struct fixture *f = *state;
	struct identity digest = digest_of(f, "default", SLICE("what"));
	struct store_selector selector = {.namespace = SLICE("default"), .question = &digest, .dry_run = true};
	struct writing writing;

	for (unsigned n = 0; n < 40; n++)
		add(f, n, "default", "what");
	add(f, 100, "default", "else");
	add_alias(f, 101, 100, "default", "what");
	add_vector(f, "default", "what");
	removal(f, &writing, &selector);
	assert_int_equal(writing.write.entries, 40);
	assert_int_equal(writing.write.aliases, 1);
	selector.dry_run = false;
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.entries, 40);
	assert_int_equal(writing.write.aliases, 1);
	assert_int_equal(writing.write.vectors, 1);
	struct identity kept = identity_at(100), alias = identity_at(101);
	assert_true(is_there(f, "default", &kept));
	assert_false(is_there(f, "default", &alias));
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "directory:default"), 1);
	removal(f, &writing, &selector);
	assert_int_equal(writing.write.entries + writing.write.aliases + writing.write.vectors, 0);
}

static void a_tag_goes_but_not_what_has_lost_it(void **state)
{
	struct fixture *f = *state;
	struct store_selector selector = {.namespace = SLICE("default"), .tag = SLICE("red")};
	struct identity changed = identity_at(5);
	struct entry entry;
	struct writing writing;

	for (unsigned n = 0; n < 50; n++)
		add(f, n, "default", "q");
	for (unsigned n = 0; n < 20; n++)
		add_alias(f, 200 + n, 1, "default", "another");
	entry = entry_at(f, 5, "default", "q", 60000);
	entry.tags = SLICE("blue");
	assert_int_equal(put(f, &entry), 0);
	selector.dry_run = true;
	removal(f, &writing, &selector);
	assert_int_equal(writing.write.entries, 49);
	assert_int_equal(writing.write.aliases, 20);
	selector.dry_run = false;
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.entries, 49);
	assert_int_equal(writing.write.aliases, 20);
	assert_true(is_there(f, "default", &changed));
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "tag:default:red"), 0);
	assert_int_equal(server_integer(&f->world, "ZCARD", PREFIX "tag:default:blue"), 1);
	selector.tag = SLICE("no-such-tag");
	removal(f, &writing, &selector);
	assert_int_equal(writing.write.entries, 0);
}

static void a_dry_run_of_a_namespace_counts(void **state)
{
	struct fixture *f = *state;
	struct store_selector selector = {.namespace = SLICE("default"), .dry_run = true};
	struct writing writing;
	uint64_t generation;
	struct identity identity = identity_at(1);

	for (unsigned n = 0; n < 230; n++)
		add(f, n, "default", "q");
	add_vector(f, "default", "q");
	add_alias(f, 300, 1, "default", "another");
	generation = store_generation(f->store, SLICE("default"));
	removal(f, &writing, &selector);
	assert_int_equal(writing.error, 0);
	assert_int_equal(writing.write.entries, 230);
	assert_int_equal(writing.write.aliases, 1);
	assert_int_equal(writing.write.vectors, 1);
	assert_int_equal(store_generation(f->store, SLICE("default")), generation);
	assert_true(is_there(f, "default", &identity));
	selector.namespace = (struct slice){NULL, 0};
	removal(f, &writing, &selector);
	assert_int_equal(writing.write.entries, 230);
}

struct overlap {
	struct fixture *f;
	struct store_read read;
	unsigned removed; /* before */
	bool done;
};

static void on_overlapping_read(struct store_read *read, int error)
{
	struct overlap *overlap = read->data;

	assert_int_equal(error, 0);
	if (overlap->f->removed > overlap->removed)
		assert_null(read->entry);
	entry_destroy(read->entry);
	overlap->done = true;
}

static void a_read_that_overlaps_a_removal_finds_nothing(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct store_selector selector = {.namespace = SLICE("default"), .entry = &identity};
	struct writing writing;

	for (unsigned round = 0; round < 200; round++) {
		add(f, 1, "default", "q");
		struct overlap overlap = {.f = f, .removed = f->removed};
		writing_init(&writing);
		assert_int_equal(store_remove(f->store, &writing.write, &selector), 0);
		/* One read after another: none of those that end after the removal was told may have found it. */
		while (!writing.done) {
			overlap.done = false;
			overlap.read = (struct store_read){.done = on_overlapping_read, .data = &overlap};
			assert_int_equal(store_find(f->store, &overlap.read, SLICE("default"), &identity), 0);
			run_until(&f->world, &overlap.done);
		}
		assert_true(f->removed > overlap.removed);
	}
}

static void a_read_that_overlaps_a_flush_finds_nothing(void **state)
{
	struct fixture *f = *state;
	struct identity identity = identity_at(1);
	struct store_selector selector = {.namespace = SLICE("default")};
	struct reading reading;
	struct writing writing;

	for (unsigned round = 0; round < 100; round++) {
		add(f, 1, "default", "q");
		reading_init(&reading);
		writing_init(&writing);
		assert_int_equal(store_find(f->store, &reading.read, SLICE("default"), &identity), 0);
		assert_int_equal(store_remove(f->store, &writing.write, &selector), 0);
		uint64_t generation = store_generation(f->store, SLICE("default"));
		run_until(&f->world, &reading.done);
		assert_null(reading.read.entry);
		assert_int_equal(reading.read.generation, generation);
		reading_free(&reading);
		run_until(&f->world, &writing.done);
	}
}

/* ---- walks ---- */

struct walking {
	struct store_walk walk;
	unsigned count, with_vector, most;
	bool seen[1024];
	bool done;
	int error;
};

static void on_entry(struct store_walk *walk, struct entry *entry)
{
	struct walking *walking = walk->data;
	unsigned n = entry->identity.bytes[0] + 256u * entry->identity.bytes[1];

	assert_true(n < 1024);
	assert_false(walking->seen[n]);
	walking->seen[n] = true;
	walking->count++;
	walking->with_vector += entry->vector != NULL;
	entry_destroy(entry);
	if (walking->count == walking->most)
		store_walk_cancel(walk);
}

static void on_walked(struct store_walk *walk, int error)
{
	struct walking *walking = walk->data;

	walking->done = true;
	walking->error = error;
}

static void a_walk_sees_every_entry_once(void **state)
{
	struct fixture *f = *state;
	struct walking *walking = calloc(1, sizeof(*walking));
	char next[128] = "";

	for (unsigned n = 0; n < 400; n++) {
		add(f, n, "default", "q");
		if (n % 5 == 0)
			add_vector(f, "default", n % 2 ? "q" : "p");
	}
	walking->walk = (struct store_walk){.entry = on_entry, .done = on_walked, .data = walking};
	assert_int_equal(store_walk(f->store, &walking->walk, SLICE("default"), "", 0, true), 0);
	run_until(&f->world, &walking->done);
	assert_int_equal(walking->error, 0);
	assert_int_equal(walking->count, 400);
	assert_int_equal(walking->with_vector, 400);
	assert_string_equal(walking->walk.next, "");

	/* In pieces, each going on where the one before ended. */
	memset(walking, 0, sizeof(*walking));
	for (unsigned pieces = 0;; pieces++) {
		assert_true(pieces < 60);
		walking->done = false;
		walking->walk = (struct store_walk){.entry = on_entry, .done = on_walked, .data = walking};
		assert_int_equal(store_walk(f->store, &walking->walk, SLICE("default"), next, 7, false), 0);
		run_until(&f->world, &walking->done);
		assert_int_equal(walking->error, 0);
		(void)snprintf(next, sizeof(next), "%s", walking->walk.next);
		if (!next[0])
			break;
	}
	assert_int_equal(walking->count, 400);

	/* Cancelled from within. */
	memset(walking, 0, sizeof(*walking));
	walking->most = 3;
	walking->walk = (struct store_walk){.entry = on_entry, .done = on_walked, .data = walking};
	assert_int_equal(store_walk(f->store, &walking->walk, SLICE("default"), "", 0, false), 0);
	run_for(&f->world, 50);
	assert_false(walking->done);
	assert_int_equal(walking->count, 3);
	assert_int_equal(store_walk(f->store, &walking->walk, SLICE("default"), "nonsense", 0, false), ERROR_INVALID);
	free(walking);
}

static void members_of_one_score_are_all_seen(void **state)
{
	struct fixture *f = *state;
	struct walking *walking = calloc(1, sizeof(*walking));

	for (unsigned n = 0; n < 300; n++)
		add(f, n, "default", "q");
	server_do(
		&f->world, "EVAL %s 1 " PREFIX "directory:default",
		"for _, m in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('ZADD', KEYS[1], 1900000000000, m) end");
	for (char next[128] = "";;) {
		walking->done = false;
		walking->walk = (struct store_walk){.entry = on_entry, .done = on_walked, .data = walking};
		assert_int_equal(store_walk(f->store, &walking->walk, SLICE("default"), next, 50, false), 0);
		run_until(&f->world, &walking->done);
		(void)snprintf(next, sizeof(next), "%s", walking->walk.next);
		if (!next[0])
			break;
	}
	assert_int_equal(walking->count, 300);
	free(walking);
}

struct listing {
	union {
		struct store_names names;
		struct store_aliases aliases;
	};
	unsigned count;
	bool done;
	int error;
};

static void on_name(struct store_names *names, struct slice namespace)
{
	struct listing *listing = names->data;

	assert_true(namespace.length == 3);
	listing->count++;
}

static void on_names(struct store_names *names, int error)
{
	struct listing *listing = names->data;

	listing->done = true;
	listing->error = error;
}

static void on_alias(struct store_aliases *aliases, const struct alias *alias)
{
	struct listing *listing = aliases->data;

	assert_true(alias->expire_ms > 0);
	listing->count++;
}

static void on_aliases(struct store_aliases *aliases, int error)
{
	struct listing *listing = aliases->data;

	listing->done = true;
	listing->error = error;
}

static void namespaces_and_aliases_are_listed(void **state)
{
	struct fixture *f = *state;
	struct identity one = identity_at(1);
	struct listing listing = {.count = 0};

	add(f, 1, "one", "q");
	add(f, 2, "two", "q");
	add_alias(f, 10, 1, "one", "a");
	add_alias(f, 11, 1, "one", "b");
	listing.names = (struct store_names){.name = on_name, .done = on_names, .data = &listing};
	assert_int_equal(store_namespaces(f->store, &listing.names), 0);
	run_until(&f->world, &listing.done);
	assert_int_equal(listing.error, 0);
	assert_int_equal(listing.count, 2);

	listing = (struct listing){.aliases = {.alias = on_alias, .done = on_aliases, .data = &listing}};
	assert_int_equal(store_aliases(f->store, &listing.aliases, SLICE("one"), &one), 0);
	run_until(&f->world, &listing.done);
	assert_int_equal(listing.error, 0);
	assert_int_equal(listing.count, 2);

	listing = (struct listing){.aliases = {.alias = on_alias, .done = on_aliases, .data = &listing}};
	assert_int_equal(store_aliases(f->store, &listing.aliases, SLICE("one"), &one), 0);
	store_aliases_cancel(&listing.aliases);
	run_for(&f->world, 30);
	assert_false(listing.done);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(a_flush_leaves_only_generation_and_log, setup, teardown),
	cmocka_unit_test_setup_teardown(a_flush_of_all_finds_every_namespace, setup, teardown),
	cmocka_unit_test_setup_teardown(what_is_put_anew_survives_the_purge, setup, teardown),
	cmocka_unit_test_setup_teardown(an_entry_goes_with_all_that_belongs_to_it, setup, teardown),
	cmocka_unit_test_setup_teardown(a_question_goes_in_all_its_scopes, setup, teardown),
	cmocka_unit_test_setup_teardown(a_tag_goes_but_not_what_has_lost_it, setup, teardown),
	cmocka_unit_test_setup_teardown(a_dry_run_of_a_namespace_counts, setup, teardown),
	cmocka_unit_test_setup_teardown(a_read_that_overlaps_a_removal_finds_nothing, setup, teardown),
	cmocka_unit_test_setup_teardown(a_read_that_overlaps_a_flush_finds_nothing, setup, teardown),
	cmocka_unit_test_setup_teardown(a_walk_sees_every_entry_once, setup, teardown),
	cmocka_unit_test_setup_teardown(members_of_one_score_are_all_seen, setup, teardown),
	cmocka_unit_test_setup_teardown(namespaces_and_aliases_are_listed, setup, teardown),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
