/* The configuration as an operator writes it: what is taken, what is refused and in which words, where keys come from. */
#include "daemon/config.h"
#include "daemon/config_table.h"
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
	char directory[64], path[96];
	struct buffer mistakes;
	struct config *config;
};

static int place_make(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	assert_non_null(place);
	(void)snprintf(place->directory, sizeof(place->directory), "/tmp/semcache-config-XXXXXX");
	assert_non_null(mkdtemp(place->directory));
	(void)snprintf(place->path, sizeof(place->path), "%s/conf", place->directory);
	buffer_init(&place->mistakes, 1 << 20);
	*state = place;
	return 0;
}

static int place_remove(void **state)
{
	struct place *place = *state;
	char command[128];

	config_destroy(place->config);
	buffer_deinit(&place->mistakes);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", place->directory);
	assert_int_equal(system(command), 0);
	free(place);
	return 0;
}

static void file_write(const char *path, const char *bytes, size_t length, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static int read_bytes(struct place *place, const char *bytes, size_t length)
{
	struct config *config = NULL;

	file_write(place->path, bytes, length, 0644);
	place->mistakes.length = 0;
	int error = config_read(place->path, &config, &place->mistakes);
	assert_int_equal(error == 0, config != NULL);
	assert_int_equal(error == 0, place->mistakes.length == 0);
	assert_int_equal(buffer_append(&place->mistakes, "", 1), 0);
	config_destroy(place->config);
	place->config = config;
	return error;
}

static int read_text(struct place *place, const char *text)
{
	return read_bytes(place, text, strlen(text));
}

static void must_read(struct place *place, const char *text)
{
	if (read_text(place, text) != 0)
		fail_msg("%s", place->mistakes.data);
}

/* Reads `text` and expects exactly these mistakes, each "LINE: …" without the file's name. */
static void must_refuse(struct place *place, const char *text, const char *const *expected)
{
	size_t directory = strlen(place->path);
	char *line = NULL, *save = NULL;

	assert_int_equal(read_text(place, text), ERROR_INVALID);
	for (line = strtok_r(place->mistakes.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		assert_memory_equal(line, place->path, directory);
		assert_int_equal(line[directory], ':');
		const char *said = line + directory + 1;
		if (!*expected)
			fail_msg("unexpected: %s", said);
		if (strncmp(said, *expected, strlen(*expected)) != 0)
			fail_msg("expected: %s\nsaid: %s", *expected, said);
		expected++;
	}
	if (*expected)
		fail_msg("not said: %s", *expected);
}

#define REFUSED(place, text, ...) must_refuse(place, text, (const char *const[]){__VA_ARGS__, NULL})

static void an_empty_file_gives_every_default(void **state)
{
	struct place *place = *state;

	must_read(place, "");
	const struct config *c = place->config;
	assert_string_equal(c->server.socket, "/run/semcache/semcached.sock");
	assert_string_equal(c->server.owner, "");
	assert_string_equal(c->server.admin_group, "");
	assert_int_equal(c->server.mode, 0660);
	assert_int_equal(c->server.max_connections, 1024);
	assert_int_equal(c->server.max_in_flight, 16384);
	assert_int_equal(c->server.max_in_flight_per_connection, 4096);
	assert_int_equal(c->server.max_message_bytes, 4 << 20);
	assert_int_equal(c->server.max_output_bytes, 64 << 20);
	assert_int_equal(c->server.max_detached, 64);
	assert_int_equal(c->server.drain_timeout_ms, 30000);
	assert_int_equal(c->server.write_timeout_ms, 10000);
	assert_int_equal(c->memory.max_bytes, 64 << 20);
	assert_int_equal(c->memory.index_max_bytes, 256 << 20);
	assert_string_equal(c->redis.url, "redis://127.0.0.1:6379");
	assert_string_equal(c->redis.prefix, "semcache:");
	assert_int_equal(c->redis.timeout_ms, 1000);
	assert_int_equal(c->redis.write_queue_bytes, 64 << 20);
	assert_int_equal(c->redis.serve_disconnected, 300);
	assert_null(c->redis.key.secret);
	assert_string_equal(c->embedder.url, "");
	assert_null(c->embedder.unix_socket);
	assert_null(c->embedder.model);
	assert_int_equal(c->embedder.dimensions, 0);
	assert_int_equal(c->embedder.max_bytes, 8192);
	assert_int_equal(c->embedder.timeout_ms, 1000);
	assert_int_equal(c->embedder.cache_ttl, 86400);
	assert_string_equal(c->log.level, "info");
	assert_int_equal(c->upstream_count, 0);
	assert_int_equal(c->namespace_count, 1);
	assert_string_equal(c->namespaces[0].name, "default");
	assert_int_equal(c->namespaces[0].mode, CONFIG_MODE_THRESHOLD);
	assert_true(c->namespaces[0].threshold == 0.9);
	assert_true(c->namespaces[0].threshold_min == -2.0);
	assert_int_equal(c->namespaces[0].ttl, 3600);
	assert_int_equal(c->namespaces[0].alias_ttl, 3600);
	assert_int_equal(c->namespaces[0].stale_window, 0);
	assert_string_equal(c->namespaces[0].context, "any");
}

static void a_whole_file_is_taken_as_it_stands(void **state)
{
	struct place *place = *state;

	must_read(place, "\xEF\xBB\xBF# all of it\r\n"
			 "[server]\r\n"
			 "socket = /tmp/s ; a comment\r\n"
			 "mode=666\n"
			 "max_message_bytes = 2 MiB\n"
			 "\n"
			 "[ upstream   local ] # behind a header\n"
			 "url = http://[::1]:8080/v1/\n"
			 "models = a, b,\n"
			 "\tc ; the rest\n"
			 "  ; nothing\n"
			 "    *\n"
			 "unix_socket = /tmp/chat.sock\n"
			 "price_input = 2.5e-1\n"
			 "connect_timeout_ms = 1\n"
			 "[namespace faq]\n"
			 "mode = exact\n"
			 "context = system ,all\n"
			 "threshold = -0.5\n"
			 "threshold_min = -1\n"
			 "[server]\n"
			 "owner =\n"
			 "[upstream local]\n"
			 "price_output = 10");
	const struct config *c = place->config;
	assert_string_equal(c->server.socket, "/tmp/s");
	assert_string_equal(c->server.owner, "");
	assert_int_equal(c->server.mode, 0666);
	assert_int_equal(c->server.max_message_bytes, 2 << 20);
	assert_int_equal(c->upstream_count, 1);
	const struct config_upstream *u = &c->upstreams[0];
	assert_string_equal(u->name, "local");
	assert_string_equal(u->url, "http://[::1]:8080/v1");
	assert_string_equal(u->unix_socket, "/tmp/chat.sock");
	assert_int_equal(u->model_count, 3);
	assert_string_equal(u->models[0], "a");
	assert_string_equal(u->models[2], "c");
	assert_true(u->any_model);
	assert_true(u->price_input == 0.25);
	assert_true(u->price_output == 10.0);
	assert_int_equal(u->connect_timeout_ms, 1);
	assert_int_equal(u->max_transfers, 64);
	assert_int_equal(c->namespace_count, 2);
	assert_int_equal(c->namespaces[1].mode, CONFIG_MODE_EXACT);
	assert_string_equal(c->namespaces[1].context, "system,all");
	assert_true(c->namespaces[1].threshold == -0.5);
}

static void all_mistakes_are_told_with_their_lines(void **state)
{
	struct place *place = *state;

	REFUSED(place,
		"early = 1\n"
		"[server]\n"
		"treshold = 1\n"
		"mode = 0888\n"
		"max_connections = 0\n"
		"max_connections = 7\n"
		"max_message_bytes = 1GiB\n"
		"garbage\n"
		"[sever]\n"
		"socket = relative\n"
		"[server two]\n"
		"[redis\n"
		"[upstream]\n"
		"url = ftp://x\n"
		"[namespace b/d]\n"
		"threshold = 1.1\n"
		"context = all, any\n"
		"[log]\n"
		"level = loud\n"
		"\tindented = 1\n"
		"[upstream ok]\n"
		"queue = -1\n",
		"1: a key must stand below a [section]",
		"3: [server] treshold: there is no such key; the keys here are socket, owner",
		"4: [server] mode: must be an octal number from 0 to 0777",
		"5: [server] max_connections: must be a whole number from 1 to 65536",
		"6: [server] max_connections: must be given once; it is in line 5 already",
		"7: [server] max_message_bytes: must be a size from 1KiB to 64MiB",
		"8: a line must be [section], key = value", "9: a section must be [server], [memory]",
		"11: a section must be [server]", "12: a section must be one word, or two",
		"13: [upstream]: a name must stand behind upstream",
		"14: [upstream] url: must be http://HOST[:PORT][/PATH] or https://...",
		"15: [namespace]: a name must stand behind namespace",
		"16: [namespace b/d] threshold: must be a similarity from -1 to 1",
		"17: [namespace b/d] context: must be any, or some of all, system, label",
		"19: [log] level: must be error, warning, info or debug", "20: a line must start in the first column",
		"22: [upstream ok] queue: must be a whole number from 0 to 1048576", "13: [upstream] models: must be given",
		"21: [upstream ok] url: must be given", "21: [upstream ok] models: must be given");
	assert_null(place->config);
}

static void a_line_that_would_be_cut_is_refused(void **state)
{
	struct place *place = *state;
	char text[1024];

	(void)snprintf(text, sizeof(text),
		       "[redis]\nprefix = a\n# %0300d\nkey_file = /%0200d\n[namespace %0200d]\nthreshold = 7\n", 0, 0, 0);
	REFUSED(place, text, "4: a line must not be longer", "5: a line must not be longer");
	/* 197 bytes are what libinih takes, with the end of the line. */
	(void)snprintf(text, sizeof(text), "[server]\nsocket = /%0188d\n", 0);
	REFUSED(place, text, "2: a line must not be longer");
	(void)snprintf(text, sizeof(text), "[server]\nsocket = /%0187d\n", 0);
	REFUSED(place, text, "2: [server] socket: must be an absolute path of at most 107 bytes");
	(void)snprintf(text, sizeof(text), "[server]\nsocket = /%0106d\n", 0);
	must_read(place, text);
	assert_int_equal(strlen(place->config->server.socket), 107);
	(void)snprintf(text, sizeof(text), "[server]\nsocket = /%0107d\n[redis]\nurl = unix:/%0107d\n", 0, 0);
	REFUSED(place, text, "2: [server] socket: must be an absolute path of at most 107 bytes",
		"4: [redis] url: must be redis://");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	struct place *place = *state;
	static const char nul[] = "[log]\nlevel = info\0debug\n";
	static const char *const lines[] = {"[log]\nlevel = \xff\n", "[log]\nlevel = a\x01\n", "[log]\nlevel = a\x7f\n"};

	assert_int_equal(read_bytes(place, nul, sizeof(nul) - 1), ERROR_INVALID);
	assert_non_null(strstr(place->mistakes.data, ":2: a line must be UTF-8 without control characters"));
	for (size_t i = 0; i < 3; i++)
		REFUSED(place, lines[i], "2: a line must be UTF-8 without control characters");
}

static void numbers_at_and_over_their_limits(void **state)
{
	struct place *place = *state;
	static const char *const wrong[] = {
		"",    "x", "1x", "-1", "+1", "1.5", "0x10", "65537", "18446744073709551616", "99999999999999999999999",
		"1KiB"};
	char text[128];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		(void)snprintf(text, sizeof(text), "[server]\nmax_connections = %s\n", wrong[i]);
		REFUSED(place, text, "2: [server] max_connections: must be a whole number from 1 to 65536");
	}
	must_read(place, "[server]\nmax_connections = 65536\n[memory]\nmax_bytes = 1024GiB\nindex_max_bytes = 0\n");
	assert_int_equal(place->config->server.max_connections, 65536);
	assert_int_equal(place->config->memory.max_bytes, UINT64_C(1) << 40);
	assert_int_equal(place->config->memory.index_max_bytes, 0);
	REFUSED(place, "[memory]\nmax_bytes = 17179869185GiB\nindex_max_bytes = 1 MB\n",
		"2: [memory] max_bytes: must be a size from 0 to 1024GiB", "3: [memory] index_max_bytes: must be a size");
	static const char *const reals[] = {"", "nan", "inf", "0x1p0", "1.0001", "-1.0001", "0,9", "1e", "--1"};
	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++) {
		(void)snprintf(text, sizeof(text), "[namespace default]\nthreshold = %s\n", reals[i]);
		REFUSED(place, text, "2: [namespace default] threshold: must be a similarity from -1 to 1");
	}
}

static void urls_that_cannot_be_meant(void **state)
{
	struct place *place = *state;
	static const char *const wrong[] = {"http://",     "http:///v1",  "https://:80", "http://a b",     "http://u:p@h/v1",
					    "http://h?x",  "http://h#x",  "http://h:0",  "http://h:65536", "http://h:x",
					    "http://[::1", "http://[]:1", "h",           "HTTP://h",       "unix:/x"};
	static const char *const redis[] = {"redis://",      "redis://:secret@h", "redis://h/x",
					    "unix:relative", "http://h",          "h:1"};
	char text[160];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		(void)snprintf(text, sizeof(text), "[embedder]\nmodel = m\nurl = %s\n", wrong[i]);
		REFUSED(place, text, "3: [embedder] url: must be http://HOST");
	}
	for (size_t i = 0; i < sizeof(redis) / sizeof(redis[0]); i++) {
		(void)snprintf(text, sizeof(text), "[redis]\nurl = %s\n", redis[i]);
		REFUSED(place, text, "2: [redis] url: must be redis://HOST");
	}
	REFUSED(place, "[redis]\nurl = rediss://h:6380\n", "2: [redis] url: TLS to Redis is not spoken here; let stunnel");
	static const char *const right[] = {"", "redis://h", "redis://h:1/", "redis://[fe80::1]:6379/15",
					    "unix:/run/redis.sock"};
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		(void)snprintf(text, sizeof(text), "[redis]\nurl = %s\n", right[i]);
		must_read(place, text);
		assert_string_equal(place->config->redis.url, right[i]);
	}
	must_read(place, "[embedder]\nmodel = m\nurl = https://api.example.org:443/v1//\n");
	assert_string_equal(place->config->embedder.url, "https://api.example.org:443/v1");
}

static void what_no_single_value_can_tell(void **state)
{
	struct place *place = *state;

	REFUSED(place, "[embedder]\nurl = http://h/v1\n", "1: [embedder] model: must be given with url");
	REFUSED(place, "[namespace default]\nthreshold = 0.8\nthreshold_min = 0.85\n[namespace other]\nttl = 1\n",
		"3: [namespace default] threshold: must be at least threshold_min, which is 0.85");
	REFUSED(place, "[namespace default]\nthreshold_min = 0.85\n[namespace faq]\nthreshold = 0.8\n",
		"4: [namespace faq] threshold: must be at least threshold_min, which is 0.85");
	REFUSED(place, "[namespace faq]\nthreshold_min = 0.95\n",
		"2: [namespace faq] threshold: must be at least threshold_min, which is 0.95");
	REFUSED(place, "[upstream a]\nurl = http://h\nmodels = x\n[upstream b]\nurl = http://h\nmodels = y, x\n",
		"6: [upstream b] models: must not name x, which upstream a serves");
	REFUSED(place, "[upstream a]\nurl = http://h\nmodels = ,\n", "3: [upstream a] models: must be names of models",
		"3: [upstream a] models: must name at least one model");
	REFUSED(place, "[upstream a]\nurl = http://h\nmodels =\n", "3: [upstream a] models: must name at least one model");
	REFUSED(place, "[upstream a]\nurl = http://h\nmodels = a, a\n", "3: [upstream a] models: must be names of models");
	REFUSED(place, "[redis]\nkey_env = A\nkey_file = /b\n",
		"1: [redis]: only one of key_env, key_file and key_credential may be given");
}

static void more_sections_and_models_than_there_may_be(void **state)
{
	struct place *place = *state;
	struct buffer text;

	buffer_init(&text, 1 << 20);
	for (int i = 0; i < CONFIG_UPSTREAMS + 1; i++)
		assert_int_equal(buffer_printf(&text, "[upstream u%d]\nurl = http://h\nmodels = m%d\n", i, i), 0);
	for (int i = 0; i < CONFIG_NAMESPACES; i++)
		assert_int_equal(buffer_printf(&text, "[namespace n%d]\n", i), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	REFUSED(place, text.data, "97: [upstream]: there may be at most 32", "355: [namespace]: there may be at most 256");
	text.length = 0;
	assert_int_equal(buffer_printf(&text, "[upstream u]\nurl = http://h\nmodels = m\n"), 0);
	for (int i = 1; i < CONFIG_MODELS; i++)
		assert_int_equal(buffer_printf(&text, "  m%d\n", i), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	must_read(place, text.data);
	assert_int_equal(place->config->upstreams[0].model_count, CONFIG_MODELS);
	text.length--;
	assert_int_equal(buffer_append(&text, "  one_more\n", 12), 0);
	REFUSED(place, text.data, "67: [upstream u] models: must be names of models");
	buffer_deinit(&text);
}

static void a_file_that_cannot_be_read(void **state)
{
	struct place *place = *state;
	struct config *config = NULL;
	char *large = malloc(1048577);

	place->mistakes.length = 0;
	assert_int_equal(config_read("/nonexistent/conf", &config, &place->mistakes), ERROR_INVALID);
	assert_int_equal(config_read(place->directory, &config, &place->mistakes), ERROR_INVALID);
	assert_int_equal(mkfifo(place->path, 0600), 0);
	assert_int_equal(config_read(place->path, &config, &place->mistakes), ERROR_INVALID);
	assert_int_equal(unlink(place->path), 0);
	assert_int_equal(buffer_append(&place->mistakes, "", 1), 0);
	assert_non_null(strstr(place->mistakes.data, "/nonexistent/conf: the file cannot be opened: No such file"));
	assert_non_null(strstr(place->mistakes.data, "conf: must be a regular file\n"));
	assert_null(config);
	assert_non_null(large);
	memset(large, '\n', 1048577);
	assert_int_equal(read_bytes(place, large, 1048576), 0);
	assert_int_equal(read_bytes(place, large, 1048577), ERROR_INVALID);
	assert_non_null(strstr(place->mistakes.data, "at most 1048576 bytes"));
	free(large);
}

static void mistakes_beyond_the_buffer_are_left_out_whole(void **state)
{
	struct place *place = *state;
	struct config *config = NULL;
	struct buffer small;

	file_write(place->path, "a\nb\nc\n", 6, 0644);
	buffer_init(&small, 150);
	assert_int_equal(config_read(place->path, &config, &small), ERROR_INVALID);
	assert_true(small.length > 0 && small.length < 150);
	assert_int_equal(small.data[small.length - 1], '\n');
	buffer_deinit(&small);
	buffer_init(&small, 1);
	assert_int_equal(config_read(place->path, &config, &small), ERROR_INVALID);
	assert_int_equal(small.length, 0);
	buffer_deinit(&small);
	assert_null(config);
}

static void a_key_leaves_the_environment_and_survives_a_reload(void **state)
{
	struct place *place = *state;
	struct config *again = NULL;

	assert_int_equal(setenv("SEMCACHE_TEST_KEY", "sk-1", 1), 0);
	must_read(place, "[embedder]\nkey_env = SEMCACHE_TEST_KEY\n"
			 "[upstream u]\nurl = http://h\nmodels = m\nkey_env = SEMCACHE_TEST_KEY\n");
	assert_string_equal(place->config->embedder.key.secret, "sk-1");
	assert_string_equal(place->config->upstreams[0].key.secret, "sk-1");
	assert_null(getenv("SEMCACHE_TEST_KEY"));
	place->mistakes.length = 0;
	assert_int_equal(config_read_again(place->path, place->config, &again, &place->mistakes), 0);
	assert_string_equal(again->upstreams[0].key.secret, "sk-1");
	config_destroy(again);
	REFUSED(place, "[redis]\nkey_env = SEMCACHE_TEST_KEY\n",
		"2: [redis] key_env: must name a variable that is set in the environment");
	REFUSED(place, "[redis]\nkey_env = sk-1\n", "2: [redis] key_env: must be the name of an environment variable");
}

static void key_file(struct place *place, const char *bytes, size_t length, mode_t mode, char *text, size_t size)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/key", place->directory);
	file_write(path, bytes, length, mode);
	(void)snprintf(text, size, "[redis]\nkey_file = %s\n", path);
}

static void a_key_file_is_trimmed_and_guarded(void **state)
{
	struct place *place = *state;
	char text[256], long_key[4098];

	key_file(place, "p w\n", 4, 0600, text, sizeof(text));
	must_read(place, text);
	assert_string_equal(place->config->redis.key.secret, "p w");
	key_file(place, "pw\r\n", 4, 0640, text, sizeof(text));
	must_read(place, text);
	assert_string_equal(place->config->redis.key.secret, "pw");
	key_file(place, "secret", 6, 0604, text, sizeof(text));
	REFUSED(place, text, "2: [redis] key_file: must not be open to others; chmod o= the file");
	key_file(place, "a\nb\n", 4, 0600, text, sizeof(text));
	REFUSED(place, text, "2: [redis] key_file: must be one line without control characters there");
	key_file(place, "a\0b", 3, 0600, text, sizeof(text));
	REFUSED(place, text, "2: [redis] key_file: must be one line without control characters there");
	key_file(place, "\n", 1, 0600, text, sizeof(text));
	REFUSED(place, text, "2: [redis] key_file: must not be empty there");
	memset(long_key, 'k', sizeof(long_key));
	key_file(place, long_key, 4097, 0600, text, sizeof(text));
	REFUSED(place, text, "2: [redis] key_file: must be at most 4096 bytes there");
	key_file(place, long_key, 4096, 0600, text, sizeof(text));
	must_read(place, text);
	(void)snprintf(text, sizeof(text), "[redis]\nkey_file = %s\n", place->directory);
	REFUSED(place, text, "2: [redis] key_file: must be a regular file");
	REFUSED(place, "[redis]\nkey_file = /nonexistent\n", "2: [redis] key_file: cannot be opened: No such file");
}

static void a_credential_of_systemd(void **state)
{
	struct place *place = *state;
	char text[256];

	key_file(place, "from systemd\n", 13, 0400, text, sizeof(text));
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
	REFUSED(place, "[redis]\nkey_credential = key\n", "2: [redis] key_credential: needs systemd's LoadCredential=");
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", place->directory, 1), 0);
	must_read(place, "[redis]\nkey_credential = key\n");
	assert_string_equal(place->config->redis.key.secret, "from systemd");
	REFUSED(place, "[redis]\nkey_credential = ../key\n", "2: [redis] key_credential: must be the name of a systemd");
	REFUSED(place, "[redis]\nkey_credential = none\n", "2: [redis] key_credential: cannot be opened");
	assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void a_namespace_takes_what_it_does_not_say_from_default(void **state)
{
	struct place *place = *state;
	struct slice absent = {NULL, 0};

	must_read(place, "[namespace faq]\nttl = 60\n[namespace default]\nmode = exact\nttl = 5\ncontext = all\n"
			 "[namespace fab]\n[namespace a]\n");
	const struct config_namespace *faq = config_namespace(place->config, SLICE("faq"));
	assert_string_equal(faq->name, "faq");
	assert_int_equal(faq->ttl, 60);
	assert_int_equal(faq->mode, CONFIG_MODE_EXACT);
	assert_string_equal(faq->context, "all");
	assert_string_equal(config_namespace(place->config, SLICE("fab"))->name, "fab");
	assert_string_equal(config_namespace(place->config, SLICE("a"))->name, "a");
	assert_ptr_equal(config_namespace(place->config, SLICE("default")), &place->config->namespaces[0]);
	assert_ptr_equal(config_namespace(place->config, SLICE("fa")), &place->config->namespaces[0]);
	assert_ptr_equal(config_namespace(place->config, SLICE("")), &place->config->namespaces[0]);
	assert_ptr_equal(config_namespace(place->config, absent), &place->config->namespaces[0]);
}

static void every_namespace_of_many_is_found(void **state)
{
	struct place *place = *state;
	struct buffer text;
	char name[16];

	buffer_init(&text, 1 << 20);
	for (int i = 0; i < 255; i++)
		assert_int_equal(buffer_printf(&text, "[namespace n%d]\nttl = %d\n", i * 7919 % 255, i * 7919 % 255), 0);
	assert_int_equal(buffer_append(&text, "", 1), 0);
	must_read(place, text.data);
	buffer_deinit(&text);
	for (int i = 0; i < 255; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(config_namespace(place->config, slice_of(name))->ttl, i);
	}
}

static void the_upstream_of_a_model(void **state)
{
	struct place *place = *state;
	struct slice resolved = {NULL, 0}, absent = {NULL, 0};

	must_read(place, "");
	assert_null(config_upstream_for(place->config, absent, &resolved));
	assert_null(config_upstream_for(place->config, SLICE("m"), &resolved));
	assert_null(resolved.data);
	must_read(place, "[upstream a]\nurl = http://h\nmodels = *, m1\n[upstream b]\nurl = http://h\nmodels = m2\n");
	const struct config *c = place->config;
	assert_ptr_equal(config_upstream_for(c, SLICE("m2"), &resolved), &c->upstreams[1]);
	assert_true(slice_equal(resolved, SLICE("m2")));
	assert_ptr_equal(config_upstream_for(c, absent, &resolved), &c->upstreams[0]);
	assert_true(slice_equal(resolved, SLICE("m1")));
	assert_ptr_equal(config_upstream_for(c, SLICE("m"), &resolved), &c->upstreams[0]);
	assert_true(slice_equal(resolved, SLICE("m")));
	must_read(place, "[upstream a]\nurl = http://h\nmodels = m1\n");
	assert_null(config_upstream_for(place->config, SLICE("m"), &resolved));
	must_read(place, "[upstream a]\nurl = http://h\nmodels = *\n");
	assert_null(config_upstream_for(place->config, absent, &resolved));
	assert_ptr_equal(config_upstream_for(place->config, SLICE("m"), &resolved), &place->config->upstreams[0]);
	must_read(place, "[upstream a]\nurl = http://h\nmodels = *\n[upstream b]\nurl = http://h\nmodels = m2\n");
	assert_ptr_equal(config_upstream_for(place->config, absent, &resolved), &place->config->upstreams[1]);
	assert_true(slice_equal(resolved, SLICE("m2")));
}

struct walked {
	struct buffer text; /* of a file that would give the same configuration */
	char section[320];
	bool secret;
	size_t count, from_file;
};

static void walk_each(void *data, const char *section, const char *key, const char *value, const char *origin)
{
	struct walked *walked = data;

	walked->count++;
	walked->from_file += strcmp(origin, "file") == 0;
	walked->secret = walked->secret || strstr(value, "sk-");
	if (strcmp(walked->section, section) != 0) {
		(void)snprintf(walked->section, sizeof(walked->section), "%s", section);
		assert_int_equal(buffer_printf(&walked->text, "[%s]\n", section), 0);
	}
	/* A key that is not given has no value to write. */
	if (*value || strcmp(key, "url") == 0)
		assert_int_equal(buffer_printf(&walked->text, "%s = %s\n", key, value), 0);
}

static void what_is_walked_reads_as_the_same_configuration(void **state)
{
	struct place *place = *state;
	struct walked first = {.count = 0}, second = {.count = 0};

	buffer_init(&first.text, 1 << 20);
	buffer_init(&second.text, 1 << 20);
	assert_int_equal(setenv("SEMCACHE_TEST_KEY", "sk-1", 1), 0);
	must_read(place, "[upstream u]\nurl = http://h\nmodels = m, *\nkey_env = SEMCACHE_TEST_KEY\nprice_input = 0.15\n"
			 "[namespace n]\nthreshold_min = 0.72\nttl = 1\n");
	config_walk(place->config, walk_each, &first);
	assert_false(first.secret);
	assert_int_equal(first.from_file, 6);
	assert_int_equal(first.count, CONFIG_ENTRIES + CONFIG_ENTRIES - config_section_start(CONFIG_NAMESPACE));
	assert_int_equal(buffer_append(&first.text, "", 1), 0);
	assert_int_equal(setenv("SEMCACHE_TEST_KEY", "sk-1", 1), 0);
	must_read(place, first.text.data);
	config_walk(place->config, walk_each, &second);
	assert_int_equal(buffer_append(&second.text, "", 1), 0);
	assert_string_equal(first.text.data, second.text.data);
	buffer_deinit(&first.text);
	buffer_deinit(&second.text);
}

static void the_table_is_in_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < CONFIG_ENTRIES; i++) {
		assert_true(i == 0 || config_table[i].section >= config_table[i - 1].section);
		assert_true(config_table[i].help[0] != '\0');
		for (size_t k = 0; k < i; k++)
			assert_true(config_table[k].section != config_table[i].section ||
				    strcmp(config_table[k].key, config_table[i].key) != 0);
	}
	for (enum config_section_kind kind = 0; kind < CONFIG_SECTION_KINDS; kind++)
		assert_in_range(config_section_start(kind + 1) - config_section_start(kind), 1, CONFIG_SECTION_KEYS);
}

static void the_example_file_is_right(void **state)
{
	struct place *place = *state;
	struct config *config = NULL;

	if (config_read("systemd/semcached.conf", &config, &place->mistakes) != 0)
		fail_msg("%.*s", (int)place->mistakes.length, place->mistakes.data);
	config_destroy(config);
}

int main(void)
{
#define SCENARIO(name) cmocka_unit_test_setup_teardown(name, place_make, place_remove)
	const struct CMUnitTest tests[] = {
		SCENARIO(an_empty_file_gives_every_default),
		SCENARIO(a_whole_file_is_taken_as_it_stands),
		SCENARIO(all_mistakes_are_told_with_their_lines),
		SCENARIO(a_line_that_would_be_cut_is_refused),
		SCENARIO(bytes_that_are_no_text_are_refused),
		SCENARIO(numbers_at_and_over_their_limits),
		SCENARIO(urls_that_cannot_be_meant),
		SCENARIO(what_no_single_value_can_tell),
		SCENARIO(more_sections_and_models_than_there_may_be),
		SCENARIO(a_file_that_cannot_be_read),
		SCENARIO(mistakes_beyond_the_buffer_are_left_out_whole),
		SCENARIO(a_key_leaves_the_environment_and_survives_a_reload),
		SCENARIO(a_key_file_is_trimmed_and_guarded),
		SCENARIO(a_credential_of_systemd),
		SCENARIO(a_namespace_takes_what_it_does_not_say_from_default),
		SCENARIO(every_namespace_of_many_is_found),
		SCENARIO(the_upstream_of_a_model),
		SCENARIO(what_is_walked_reads_as_the_same_configuration),
		SCENARIO(the_table_is_in_order),
		SCENARIO(the_example_file_is_right),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
