/* semcachectl: asks semcached from the shell. This file finds the command, opens the library's handle and turns failures
 * into exit codes; the tables are in semcachectl_table.c, the commands in semcachectl_ask.c and semcachectl_admin.c. */
#include "semcachectl.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void error_print_json(const struct semcache_error *error, const char *name)
{
	struct json_object *outer = json_object_new_object();
	struct json_object *inner = json_object_new_object();

	json_object_object_add(inner, "code", json_object_new_string(name));
	json_object_object_add(inner, "detail", json_object_new_string(error->detail));
	json_object_object_add(inner, "text", json_object_new_string(error->text));
	if (error->field[0])
		json_object_object_add(inner, "field", json_object_new_string(error->field));
	if (error->kind[0])
		json_object_object_add(inner, "kind", json_object_new_string(error->kind));
	if (error->status)
		json_object_object_add(inner, "status", json_object_new_int(error->status));
	if (error->retry_ms != SEMCACHE_UNSET)
		json_object_object_add(inner, "retry_ms", json_object_new_int64(error->retry_ms));
	json_object_object_add(outer, "error", inner);
	json_print(outer);
	json_object_put(outer);
}

int usage_error(bool json, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (json) {
		struct semcache_error error = {
			.detail = "", .text = text, .field = "", .kind = "", .limit = "", .retry_ms = SEMCACHE_UNSET};
		error_print_json(&error, "USAGE");
	} else {
		(void)fprintf(stderr, "semcachectl: %s\n", text);
	}
	return EXIT_USAGE;
}

int result_error(bool json, const char *text)
{
	struct semcache_error error = {
		.detail = "", .text = text, .field = "", .kind = "", .limit = "", .retry_ms = SEMCACHE_UNSET};

	if (json)
		error_print_json(&error, semcache_code_name(SEMCACHE_PROTOCOL));
	else
		(void)fprintf(stderr, "semcachectl: %s: %s\n", semcache_code_name(SEMCACHE_PROTOCOL), text);
	return EXIT_PEER;
}

int exit_code_of(int code)
{
	switch (code) {
	case SEMCACHE_OK:
		return EXIT_OK;
	case SEMCACHE_NOT_FOUND:
		return EXIT_MISS;
	case SEMCACHE_INVALID:
	case SEMCACHE_TOO_LARGE:
		return EXIT_DATA;
	case SEMCACHE_CONNECT:
	case SEMCACHE_UNAVAILABLE:
		return EXIT_ABSENT;
	case SEMCACHE_UPSTREAM:
	case SEMCACHE_CLOSED:
		return EXIT_FAILED;
	case SEMCACHE_BUSY:
	case SEMCACHE_QUOTA:
	case SEMCACHE_TIMEOUT:
	case SEMCACHE_DRAINING:
	case SEMCACHE_CANCELLED:
		return EXIT_LATER;
	case SEMCACHE_PROTOCOL:
	case SEMCACHE_UNKNOWN_METHOD:
		return EXIT_PEER;
	case SEMCACHE_DENIED:
		return EXIT_DENIED;
	default:
		return EXIT_FAULT;
	}
}

int failure_print(const struct semcache *cache, bool json)
{
	const struct semcache_error *error = semcache_last_error(cache);

	if (json) {
		error_print_json(error, semcache_code_name(error->code));
	} else {
		(void)fprintf(stderr, "semcachectl: %s%s%s: ", semcache_code_name(error->code), error->detail[0] ? " " : "",
			      error->detail);
		text_print(stderr, error->text, strlen(error->text), true, 0);
		(void)fputc('\n', stderr);
		if (error->code == SEMCACHE_CONNECT)
			(void)fprintf(
				stderr,
				"semcachectl: is semcached running? --socket or SEMCACHE_SOCKET name another socket\n");
	}
	return exit_code_of(error->code);
}

static int run(const struct command *command, const struct arguments *arguments)
{
	struct semcache_options options = SEMCACHE_OPTIONS;

	options.socket = arguments->socket;
	options.timeout_ms = arguments->timeout_ms;
	options.connect_timeout_ms = arguments->connect_timeout_ms;
	if (options.connect_timeout_ms == SEMCACHE_UNSET)
		options.connect_timeout_ms = command->connect_timeout_ms;
	struct semcache *cache = semcache_open(&options);
	if (!cache)
		return usage_error(arguments->json, "%s",
				   errno == ENAMETOOLONG ? "the socket's path is longer than 107 bytes" : strerror(errno));
	int code = command->run(cache, arguments);
	semcache_close(cache);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "semcachectl: standard output cannot be written: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return code;
}

/* --json must be known before the command line is read: what is wrong with it is told in the same form. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0)
			return true;
	return false;
}

static int dispatch(int argc, char **argv, struct arguments *arguments)
{
	int at = arguments_read(arguments, NULL, argc, argv);

	if (at < 0)
		return EXIT_USAGE;
	if (arguments->help) {
		help_print(stdout, NULL);
		return EXIT_OK;
	}
	if (at == argc) {
		if (!arguments->json)
			help_print(stderr, NULL);
		return usage_error(arguments->json, "a command is missing");
	}
	if (strcmp(argv[at], "help") == 0 && at + 1 == argc) {
		help_print(stdout, NULL);
		return EXIT_OK;
	}
	if (strcmp(argv[at], "completion") == 0) {
		completion_print(stdout);
		return EXIT_OK;
	}
	bool help = strcmp(argv[at], "help") == 0;
	if (mode_is(argv[help ? at + 1 : at])) {
		char *shown[] = {argv[0], argv[at + help], "--help", NULL};
		return mode_run(arguments, help ? shown : argv + at - 1);
	}
	const struct command *command = command_find(argv[help ? at + 1 : at]);
	if (!command)
		return usage_error(arguments->json, "there is no command %s; see semcachectl --help",
				   argv[help ? at + 1 : at]);
	if (!help && arguments_read(arguments, command, argc - at, argv + at) < 0)
		return EXIT_USAGE;
	if (help || arguments->help) {
		help_print(stdout, command);
		return EXIT_OK;
	}
	return run(command, arguments);
}

int main(int argc, char **argv)
{
	struct arguments arguments = {
		.threshold = SEMCACHE_NO_THRESHOLD,
		.max_age_s = SEMCACHE_UNSET,
		.ttl_s = SEMCACHE_UNSET,
		.limit = SEMCACHE_UNSET,
		.request = SEMCACHE_UNSET,
		.timeout_ms = SEMCACHE_UNSET,
		.connect_timeout_ms = SEMCACHE_UNSET,
		.json = wants_json(argc, argv),
	};
	int code;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)printf("semcachectl %s\n", semcache_version());
		return EXIT_OK;
	}
	code = dispatch(argc, argv, &arguments);
	json_object_put(arguments.parameters);
	json_object_put(arguments.set);
	json_object_put(arguments.unset);
	return code;
}
