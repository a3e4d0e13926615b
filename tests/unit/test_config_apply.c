/* A reload: what a running daemon takes over, what it says needs a restart, and that nothing moves under what is in the
 * air. */
#include "daemon/config.h"
#include "proto/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
	char directory[64], path[96], key[96];
	struct buffer changed, needs_restart;
	struct config *config;
};

static void file_write(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static struct config *read_text(struct place *place, const char *text)
{
	struct config *config = NULL;
	struct buffer mistakes;

	file_write(place->path, text);
	buffer_init(&mistakes, 65536);
	if (config_read_again(place->path, place->config, &config, &mistakes) != 0)
		fail_msg("%.*s", (int)mistakes.length, mistakes.data);
	buffer_deinit(&mistakes);
	return config;
}

static int place_make(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	assert_non_null(place);
	(void)snprintf(place->directory, sizeof(place->directory), "/tmp/semcache-apply-XXXXXX");
	assert_non_null(mkdtemp(place->directory));
	(void)snprintf(place->path, sizeof(place->path), "%s/conf", place->directory);
	(void)snprintf(place->key, sizeof(place->key), "%s/key", place->directory);
	buffer_init(&place->changed, 1 << 20);
	buffer_init(&place->needs_restart, 1 << 20);
	*state = place;
	return 0;
}

static int place_remove(void **state)
{
	struct place *place = *state;

	config_destroy(place->config);
	buffer_deinit(&place->changed);
	buffer_deinit(&place->needs_restart);
	(void)unlink(place->path);
	(void)unlink(place->key);
	assert_int_equal(rmdir(place->directory), 0);
	free(place);
	return 0;
}

/* The daemon starts with `text`. */
static void start(struct place *place, const char *text)
{
	place->config = read_text(place, text);
}

static void must_say(struct buffer *said, const char *expected)
{
	assert_int_equal(buffer_append(said, "", 1), 0);
	assert_string_equal(said->data, expected);
	said->length = 0;
}

/* It reads `text` again, and says what it takes over and what it does not. */
static void reload(struct place *place, const char *text, const char *changed, const char *needs_restart)
{
	struct config *fresh = read_text(place, text);

	assert_int_equal(config_apply(place->config, fresh, &place->changed, &place->needs_restart), 0);
	config_destroy(fresh);
	must_say(&place->changed, changed);
	must_say(&place->needs_restart, needs_restart);
}

static void the_same_file_changes_nothing(void **state)
{
	struct place *place = *state;
	static const char text[] =
		"[upstream u]\nurl = http://h\nmodels = a, *\nprice_input = 0.1\n[namespace n]\nttl = 5\n";

	start(place, text);
	const struct config_namespace *namespace = config_namespace(place->config, SLICE("n"));
	for (int i = 0; i < 3; i++)
		reload(place, text, "", "");
	assert_ptr_equal(config_namespace(place->config, SLICE("n")), namespace);
}

static void what_can_change_does_at_once(void **state)
{
	struct place *place = *state;

	start(place, "[upstream u]\nurl = http://h\nmodels = a\n");
	assert_int_equal(config_log_level(place->config), LOG_LEVEL_INFO);
	reload(place,
	       "[server]\nmax_connections = 2\nmax_in_flight = 3\nmax_in_flight_per_connection = 4\nmax_detached = 5\n"
	       "drain_timeout_ms = 6\nwrite_timeout_ms = 70\n[redis]\nserve_disconnected = 8\n[embedder]\ncache_ttl = 9\n"
	       "[log]\nlevel = debug\n[upstream u]\nurl = http://h\nmodels = a\nprice_input = 0.5\nprice_output = 2\n",
	       "[server] max_connections\n[server] max_in_flight\n[server] max_in_flight_per_connection\n"
	       "[server] max_detached\n[server] drain_timeout_ms\n[server] write_timeout_ms\n[redis] serve_disconnected\n"
	       "[embedder] cache_ttl\n[log] level\n[upstream u] price_input\n[upstream u] price_output\n",
	       "");
	const struct config *c = place->config;
	assert_int_equal(c->server.max_connections, 2);
	assert_int_equal(c->server.max_in_flight, 3);
	assert_int_equal(c->server.max_in_flight_per_connection, 4);
	assert_int_equal(c->server.max_detached, 5);
	assert_int_equal(c->server.drain_timeout_ms, 6);
	assert_int_equal(c->server.write_timeout_ms, 70);
	assert_int_equal(c->redis.serve_disconnected, 8);
	assert_int_equal(c->embedder.cache_ttl, 9);
	assert_int_equal(config_log_level(c), LOG_LEVEL_DEBUG);
	assert_true(c->upstreams[0].price_input == 0.5);
	assert_true(c->upstreams[0].price_output == 2.0);
}

static void what_cannot_change_is_told_and_stays(void **state)
{
	struct place *place = *state;

	start(place, "[redis]\nurl =\n");
	const char *socket = place->config->server.socket;
	for (int i = 0; i < 2; i++)
		reload(place,
		       "[server]\nsocket = /tmp/other\nmax_message_bytes = 1MiB\nmax_output_bytes = 1MiB\n"
		       "[memory]\nmax_bytes = 0\n[redis]\nurl = unix:/tmp/r\n[embedder]\nurl = http://h\nmodel = m\n",
		       "",
		       "[server] socket\n[server] max_message_bytes\n[server] max_output_bytes\n[memory] max_bytes\n"
		       "[redis] url\n[embedder] url\n[embedder] model\n");
	assert_ptr_equal(place->config->server.socket, socket);
	assert_string_equal(place->config->redis.url, "");
	assert_null(place->config->embedder.model);
}

static void upstreams_that_come_go_or_change_places(void **state)
{
	struct place *place = *state;

	start(place, "[upstream a]\nurl = http://h\nmodels = a\n[upstream b]\nurl = http://h\nmodels = b\n");
	reload(place, "[upstream b]\nurl = http://h\nmodels = b, c\nprice_input = 1\n", "[upstream b] price_input\n",
	       "[upstream a]\n[upstream b] models\n");
	reload(place,
	       "[upstream b]\nurl = http://h\nmodels = b\n[upstream new]\nurl = http://h\nmodels = n\n"
	       "[upstream a]\nurl = http://h\nmodels = a\n",
	       "[upstream b] price_input\n", "[upstream a]\n[upstream b]\n[upstream new]\n");
	assert_int_equal(place->config->upstream_count, 2);
	assert_string_equal(place->config->upstreams[0].name, "a");
	assert_int_equal(place->config->upstreams[1].model_count, 1);
}

static void namespaces_change_in_place_while_the_same_ones_stay(void **state)
{
	struct place *place = *state;

	start(place, "[namespace n]\nttl = 5\n[namespace m]\ncontext = all\n");
	const struct config_namespace *n = config_namespace(place->config, SLICE("n"));
	reload(place, "[namespace default]\nthreshold = 0.8\n[namespace m]\nmode = exact\n[namespace n]\nttl = 6\n",
	       "[namespace default] threshold\n[namespace n] threshold\n[namespace n] ttl\n[namespace m] mode\n"
	       "[namespace m] threshold\n[namespace m] context\n",
	       "");
	assert_ptr_equal(config_namespace(place->config, SLICE("n")), n);
	assert_int_equal(n->ttl, 6);
	assert_true(n->threshold == 0.8);
	assert_string_equal(config_namespace(place->config, SLICE("m"))->context, "any");
	assert_int_equal(config_namespace(place->config, SLICE("m"))->mode, CONFIG_MODE_EXACT);
}

static void a_flight_still_has_the_namespace_that_went(void **state)
{
	struct place *place = *state;

	start(place, "[namespace gone]\nttl = 5\n[namespace stays]\nttl = 7\n[upstream u]\nurl = http://h\nmodels = m\n");
	const struct config_namespace *gone = config_namespace(place->config, SLICE("gone"));
	const struct config_namespace *stays = config_namespace(place->config, SLICE("stays"));
	const struct config_upstream *upstream = &place->config->upstreams[0];
	reload(place, "[namespace stays]\nttl = 8\n[namespace new]\n[upstream u]\nurl = http://h\nmodels = m\n",
	       "[namespace gone]\n[namespace stays] ttl\n[namespace new]\n", "");
	assert_string_equal(gone->name, "gone");
	assert_string_equal(gone->context, "any");
	assert_int_equal(gone->ttl, 5);
	assert_string_equal(stays->name, "stays");
	assert_int_equal(config_namespace(place->config, SLICE("stays"))->ttl, 8);
	assert_string_equal(config_namespace(place->config, SLICE("new"))->name, "new");
	assert_string_equal(config_namespace(place->config, SLICE("gone"))->name, "default");
	reload(place, "", "[namespace stays]\n[namespace new]\n", "[upstream u]\n");
	reload(place, "[namespace gone]\n", "[namespace gone]\n", "[upstream u]\n");
	assert_string_equal(gone->name, "gone");
	assert_int_equal(config_namespace(place->config, SLICE("gone"))->ttl, 3600);
	assert_ptr_equal(upstream, &place->config->upstreams[0]);
	assert_string_equal(upstream->name, "u");
}

static void another_password_needs_a_restart(void **state)
{
	struct place *place = *state;
	char text[160];

	file_write(place->key, "one\n");
	(void)snprintf(text, sizeof(text), "[redis]\nkey_file = %s\n", place->key);
	start(place, text);
	reload(place, text, "", "");
	file_write(place->key, "two\n");
	reload(place, text, "", "[redis] key_file\n");
	assert_string_equal(place->config->redis.key.secret, "one");
	reload(place, "", "", "[redis] key_file\n");
}

static void a_reload_that_cannot_be_told_changes_nothing(void **state)
{
	struct place *place = *state;
	struct config *fresh;
	struct buffer small;

	start(place, "[namespace n]\n");
	buffer_init(&small, 40);
	assert_int_equal(buffer_append(&small, "before\n", 7), 0);
	fresh = read_text(place, "[server]\nmax_in_flight = 1\nmax_connections = 1\n");
	assert_int_equal(config_apply(place->config, fresh, &small, &place->needs_restart), ERROR_TOO_LARGE);
	config_destroy(fresh);
	assert_int_equal(small.length, 7);
	assert_int_equal(place->config->server.max_in_flight, 16384);
	assert_string_equal(config_namespace(place->config, SLICE("n"))->name, "n");
	buffer_deinit(&small);
}

struct walked {
	size_t count, from_file;
	char last[16];
};

static void walk_each(void *data, const char *section, const char *key, const char *value, const char *origin)
{
	struct walked *walked = data;

	walked->count++;
	walked->from_file += strcmp(origin, "file") == 0;
	if (strcmp(section, "namespace n") == 0 && strcmp(key, "ttl") == 0)
		(void)snprintf(walked->last, sizeof(walked->last), "%s", value);
}

static void origins_are_those_of_the_values_in_force(void **state)
{
	struct place *place = *state;
	struct walked first = {.count = 0}, second = {.count = 0};

	start(place, "[server]\nmax_in_flight = 9\nsocket = /tmp/s\n[upstream u]\nurl = http://h\nmodels = m\n");
	config_walk(place->config, walk_each, &first);
	assert_int_equal(first.from_file, 4);
	reload(place, "[namespace n]\nttl = 3\n", "[server] max_in_flight\n[namespace n]\n",
	       "[server] socket\n[upstream u]\n");
	config_walk(place->config, walk_each, &second);
	unsigned keys = 0;
	while (config_override_key(keys))
		keys++;
	assert_int_equal(second.count, first.count + keys);
	assert_int_equal(second.from_file, 4);
	assert_string_equal(second.last, "3");
}

int main(void)
{
#define SCENARIO(name) cmocka_unit_test_setup_teardown(name, place_make, place_remove)
	const struct CMUnitTest tests[] = {
		SCENARIO(the_same_file_changes_nothing),
		SCENARIO(what_can_change_does_at_once),
		SCENARIO(what_cannot_change_is_told_and_stays),
		SCENARIO(upstreams_that_come_go_or_change_places),
		SCENARIO(namespaces_change_in_place_while_the_same_ones_stay),
		SCENARIO(a_flight_still_has_the_namespace_that_went),
		SCENARIO(another_password_needs_a_restart),
		SCENARIO(a_reload_that_cannot_be_told_changes_nothing),
		SCENARIO(origins_are_those_of_the_values_in_force),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
