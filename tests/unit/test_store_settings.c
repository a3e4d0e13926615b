/* Run-time settings and certificates in Redis: written whole, read back, found without looking for keys, and safe from
 * another host that writes the same hash at once. */
#include "store_fixture.h"

static const char *const keys[] = {"mode", "threshold", "ttl"};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

struct found {
	char name[65], values[KEYS][64], certificate[64];
	uint64_t unknown;
	bool is_other;
};

struct look {
	struct store_settings read;
	struct fixture *f;
	struct found all[300];
	unsigned count;
	bool done, cancels;
	int error;
};

static void copy(char *out, size_t size, struct slice text)
{
	(void)snprintf(out, size, "%.*s", text.data ? (int)text.length : 1, text.data ? text.data : "-");
}

static void on_found(struct store_settings *read, const struct store_settings_found *found)
{
	struct look *look = read->data;
	struct found *to = &look->all[look->count++];

	copy(to->name, sizeof(to->name), found->namespace);
	for (size_t i = 0; i < KEYS; i++)
		copy(to->values[i], sizeof(to->values[i]), found->values[i]);
	copy(to->certificate, sizeof(to->certificate), found->certificate);
	to->unknown = found->unknown;
	to->is_other = found->is_other;
	if (look->cancels)
		store_settings_cancel(read);
}

static void on_looked(struct store_settings *read, int error)
{
	struct look *look = read->data;

	assert_false(look->done);
	look->done = true;
	look->error = error;
}

static void look_start(struct look *look, struct fixture *f, const char *namespace)
{
	*look = (struct look){.f = f};
	look->read = (struct store_settings){
		.found = on_found, .done = on_looked, .data = look, .keys = keys, .count = KEYS};
	assert_int_equal(store_settings_read(f->store, &look->read, slice_of(namespace)), 0);
}

static void look_at(struct look *look, struct fixture *f, const char *namespace)
{
	look_start(look, f, namespace);
	assert_false(look->done);
	run_until(&f->world, &look->done);
	assert_int_equal(look->error, 0);
}

/* Sets one key, NULL = unset; and the certificate, unless it is "-". */
static void set_start(struct fixture *f, struct writing *writing, const char *namespace, const char *key, const char *value,
		      const char *certificate)
{
	struct slice values[] = {slice_of(value)};
	struct store_settings_change change = {.keys = &key, .values = values, .count = key != NULL};

	change.has_certificate = !certificate || strcmp(certificate, "-") != 0;
	if (change.has_certificate)
		change.certificate = slice_of(certificate);
	writing_init(writing);
	assert_int_equal(store_settings_write(f->store, &writing->write, slice_of(namespace), &change), 0);
}

static void set(struct fixture *f, const char *namespace, const char *key, const char *value, const char *certificate)
{
	struct writing writing;

	set_start(f, &writing, namespace, key, value, certificate);
	assert_false(writing.done);
	run_until(&f->world, &writing.done);
	assert_true(writing.error == 0 || writing.error == ERROR_PENDING);
	run_while_not(&f->world, has_written_all, f);
}

static struct look *new_look(void)
{
	struct look *look = malloc(sizeof(*look));

	assert_non_null(look);
	return look;
}

static void what_is_written_is_read(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();

	set(f, "kb", "threshold", "0.8", "a certificate");
	set(f, "kb", "mode", "", "-");
	set(f, "other", "ttl", "5", "-");
	look_at(look, f, NULL);
	assert_int_equal(look->count, 2);
	assert_string_equal(look->all[0].name, "kb");
	assert_string_equal(look->all[0].values[0], "");
	assert_string_equal(look->all[0].values[1], "0.8");
	assert_string_equal(look->all[0].values[2], "-");
	assert_string_equal(look->all[0].certificate, "a certificate");
	assert_int_equal(look->all[0].unknown, 0);
	assert_false(look->all[0].is_other);
	assert_string_equal(look->all[1].name, "other");
	assert_string_equal(look->all[1].certificate, "-");
	look_at(look, f, "other");
	assert_int_equal(look->count, 1);
	assert_string_equal(look->all[0].values[2], "5");
	look_at(look, f, "nobody");
	assert_int_equal(look->count, 1);
	assert_string_equal(look->all[0].values[2], "-");
	free(look);
}

static void what_has_nothing_any_more_is_not_listed(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();

	set(f, "kb", "threshold", "0.8", "text");
	set(f, "kb", "threshold", NULL, "-");
	look_at(look, f, NULL);
	assert_int_equal(look->count, 1);
	set(f, "kb", NULL, NULL, NULL);
	look_at(look, f, NULL);
	assert_int_equal(look->count, 0);
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "settings:kb"), 0);
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "settings"), 0);
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "certificate:kb:" EMBEDDER), 0);
	/* Nothing is removed from nothing. */
	set(f, "kb", "threshold", NULL, NULL);
	assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "settings"), 0);
	free(look);
}

static void another_embedders_certificate_is_told(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();

	freeReplyObject(server_reply(&f->world, "HSET " PREFIX "settings:kb certificate ffffffffffffffff later x"));
	freeReplyObject(server_reply(&f->world, "ZADD " PREFIX "settings 0 kb"));
	look_at(look, f, NULL);
	assert_int_equal(look->count, 1);
	assert_true(look->all[0].is_other);
	assert_int_equal(look->all[0].unknown, 1);
	set(f, "kb", NULL, NULL, "ours");
	look_at(look, f, NULL);
	assert_false(look->all[0].is_other);
	assert_string_equal(look->all[0].certificate, "ours");
	free(look);
}

static void what_is_not_ours_is_nothing(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();
	struct writing writing;

	freeReplyObject(server_reply(&f->world, "SET " PREFIX "settings:kb text"));
	freeReplyObject(server_reply(&f->world, "ZADD " PREFIX "settings 0 kb"));
	look_at(look, f, NULL);
	assert_string_equal(look->all[0].values[1], "-");
	set_start(f, &writing, "kb", "threshold", "0.8", "-");
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, ERROR_UNAVAILABLE);
	/* The connection is not left watching: what comes behind it works, though the watched key changes. */
	freeReplyObject(server_reply(&f->world, "SET " PREFIX "settings:kb another"));
	add(f, 1, "kb", "a question");
	struct identity identity = identity_at(1);
	assert_true(is_there(f, "kb", &identity));
	set(f, "other", "ttl", "1", "-");
	look_at(look, f, "other");
	assert_string_equal(look->all[0].values[2], "1");
	free(look);
}

/* Many more namespaces than there may be, each read once, and no more than are read. */
static void too_many_are_cut(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();

	for (unsigned i = 0; i < STORE_SETTINGS_NAMESPACES + 20; i++) {
		freeReplyObject(server_reply(&f->world, "HSET " PREFIX "settings:n%u ttl %u", i, i));
		freeReplyObject(server_reply(&f->world, "ZADD " PREFIX "settings 0 n%u", i));
	}
	look_at(look, f, NULL);
	assert_int_equal(look->count, STORE_SETTINGS_NAMESPACES);
	for (unsigned i = 0; i < look->count; i++)
		assert_string_equal(look->all[i].values[2], look->all[i].name + 1);
	free(look);
}

static void what_is_too_long_is_refused_and_not_read(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();
	char *text = calloc(1, STORE_SETTINGS_BYTES + 2);
	const struct slice value = {text, STORE_SETTINGS_BYTES + 1};
	struct store_settings_change change = {.keys = keys, .values = &value, .count = 1};

	assert_non_null(text);
	memset(text, 'x', value.length);
	assert_int_equal(store_settings_write(f->store, NULL, SLICE("kb"), &change), ERROR_INVALID);
	change = (struct store_settings_change){.has_certificate = true, .certificate = value};
	assert_int_equal(store_settings_write(f->store, NULL, SLICE("kb"), &change), ERROR_INVALID);
	assert_int_equal(store_settings_write(f->store, NULL, SLICE(""), &change), ERROR_INVALID);
	freeReplyObject(server_reply(&f->world, "HSET " PREFIX "settings:kb mode %s ttl 1", text));
	look_at(look, f, "kb");
	assert_string_equal(look->all[0].values[0], "-");
	assert_string_equal(look->all[0].values[2], "1");
	assert_int_equal(look->all[0].unknown, 0);
	free(text);
	free(look);
}

/* Two hosts: whatever order their commands come in, the hash and the set of names agree. */
static void two_hosts_write_the_same_at_once(void **state)
{
	struct fixture *f = *state;
	struct store *first = f->store, *second = new_store(f);
	struct writing writings[2];

	for (unsigned i = 0; i < 60; i++) {
		set_start(f, &writings[0], "kb", "ttl", "1", "-");
		f->store = second;
		set_start(f, &writings[1], "kb", "ttl", NULL, "-");
		f->store = first;
		run_until(&f->world, &writings[0].done);
		run_until(&f->world, &writings[1].done);
		assert_true(writings[0].error == 0 || writings[0].error == ERROR_PENDING);
		f->store = second;
		run_while_not(&f->world, has_written_all, f);
		f->store = first;
		run_while_not(&f->world, has_written_all, f);
		assert_int_equal(server_integer(&f->world, "EXISTS", PREFIX "settings:kb"),
				 server_integer(&f->world, "EXISTS", PREFIX "settings"));
	}
	store_destroy(second);
}

static void written_when_redis_is_back(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();
	struct writing writing;

	set(f, "kb", "ttl", "1", "-");
	server_pause(&f->world);
	set_start(f, &writing, "kb", "ttl", "2", "later");
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, ERROR_PENDING);
	server_continue(&f->world);
	run_while_not(&f->world, has_written_all, f);
	look_at(look, f, "kb");
	assert_string_equal(look->all[0].values[2], "2");
	assert_string_equal(look->all[0].certificate, "later");
	free(look);
}

static void a_read_is_cancelled_at_any_time(void **state)
{
	struct fixture *f = *state;
	struct look *look = new_look();

	set(f, "kb", "ttl", "1", "-");
	set(f, "other", "ttl", "1", "-");
	look_start(look, f, NULL);
	store_settings_cancel(&look->read);
	run_for(&f->world, 20);
	assert_false(look->done);
	look_start(look, f, NULL);
	look->cancels = true;
	run_for(&f->world, 50);
	assert_int_equal(look->count, 1);
	assert_false(look->done);
	free(look);
	/* The store is destroyed, and says nothing. */
	static struct look left;
	look_start(&left, f, NULL);
}

int main(void)
{
#define SCENARIO(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		SCENARIO(what_is_written_is_read),
		SCENARIO(what_has_nothing_any_more_is_not_listed),
		SCENARIO(another_embedders_certificate_is_told),
		SCENARIO(what_is_not_ours_is_nothing),
		SCENARIO(too_many_are_cut),
		SCENARIO(what_is_too_long_is_refused_and_not_read),
		SCENARIO(two_hosts_write_the_same_at_once),
		SCENARIO(written_when_redis_is_back),
		SCENARIO(a_read_is_cancelled_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
