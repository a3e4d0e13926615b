/* evaluate and calibrate are modes of the daemon's own program, because they use its embedder, guards and decision. They
 * are given the command line as it is.
 *
 *   evaluate: this process becomes the program
 *   calibrate: the program runs beside, and writes the certificate into a pipe ──> config {namespace, certificate} ──>
 * the daemon
 *   evaluate --comparator --store: the same with settings ──> config {namespace, set} ──> the daemon
 *
 * What can go wrong: the program is not found, or cannot be run; the certificate is there, but no daemon takes it. */
#include "semcachectl.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CERTIFICATE_MOST 4096
#define ARGUMENTS_MOST 256
#define WORDS_MOST (ARGUMENTS_MOST - 4) /* some are added */

/* Writes the path `relative` to the folder of this program. Returns whether a program is there. */
static bool is_beside(const char *relative, char *path, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", path, size - 1);

	if (length <= 0)
		return false;
	path[length] = '\0';
	char *slash = strrchr(path, '/');
	size_t room = slash ? size - (size_t)(slash + 1 - path) : 0;
	if (!slash || strlen(relative) >= room)
		return false;
	memcpy(slash + 1, relative, strlen(relative) + 1);
	return access(path, X_OK) == 0;
}

/* Finds the daemon's program: as it is named, in the tree in which this program is, or where it was to be installed. */
static bool find_daemon(char *path, size_t size)
{
	const char *named = getenv("SEMCACHE_DAEMON");

	if (named && named[0]) {
		(void)snprintf(path, size, "%s", named);
		return access(path, X_OK) == 0;
	}
	if (is_beside("../sbin/semcached", path, size) || is_beside("../semcached", path, size))
		return true;
	(void)snprintf(path, size, "%s", SEMCACHE_DAEMON_PATH);
	return access(path, X_OK) == 0;
}

bool mode_is(const char *word)
{
#define X(name, text)                                                                                                       \
	if (word && strcmp(word, #name) == 0)                                                                               \
		return true;
	MODES(X)
#undef X
	return false;
}

/* Runs the program with `out` as where the certificate goes, unless the command line says otherwise. Reads what comes
 * there. Returns its exit status. */
static int run_beside(const char *path, char **argv, char *text, size_t size)
{
	char *given[ARGUMENTS_MOST + 3], out[32];
	size_t count = 0, length = 0;
	int ends[2], status;
	ssize_t got;

	if (pipe(ends) != 0)
		return EXIT_FAULT;
	(void)snprintf(out, sizeof(out), "/dev/fd/%d", ends[1]);
	given[count++] = argv[0];
	given[count++] = argv[1];
	given[count++] = "--out";
	given[count++] = out;
	for (size_t i = 2; argv[i] && count < ARGUMENTS_MOST; i++)
		given[count++] = argv[i];
	given[count] = NULL;
	pid_t child = fork();
	if (child == 0) {
		(void)close(ends[0]);
		(void)execv(path, given);
		_exit(EXIT_ABSENT);
	}
	(void)close(ends[1]);
	while (child > 0 && length + 1 < size &&
	       ((got = read(ends[0], text + length, size - 1 - length)) > 0 || (got < 0 && errno == EINTR)))
		length += got > 0 ? (size_t)got : 0;
	text[length] = '\0';
	(void)close(ends[0]);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAULT;
	return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAULT;
}

/* {key: value} of lines "key value". */
static struct json_object *settings_of(char *text)
{
	struct json_object *set = json_object_new_object();

	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		char *blank = strchr(line, ' ');
		*end = '\0';
		if (!blank || blank > end)
			continue;
		*blank = '\0';
		json_object_object_add(set, line, json_object_new_string(blank + 1));
	}
	return set;
}

/* Gives the daemon what the program wrote: "namespace NAME", and from the second line on the certificate, or settings. */
static int put_in_force(struct semcache *cache, bool json, bool is_settings, char *text)
{
	static const char word[] = "namespace ";
	struct semcache_result *result = NULL;
	char *end = strchr(text, '\n'), *raw;
	size_t length;

	if (!end || strncmp(text, word, sizeof(word) - 1) != 0)
		return result_error(json, "the daemon's program wrote nothing that could be given to the daemon");
	*end = '\0';
	struct json_object *params = json_object_new_object();
	json_object_object_add(params, "namespace", json_object_new_string(text + sizeof(word) - 1));
	if (is_settings)
		json_object_object_add(params, "set", settings_of(end + 1));
	else
		json_object_object_add(params, "certificate", json_object_new_string(end + 1));
	bool is_made = json_to_raw(params, &raw, &length);
	json_object_put(params);
	if (!is_made)
		return usage_error(json, "out of memory");
	int error = semcache_call(cache, "config", raw, length, SEMCACHE_UNSET, &result);
	free(raw);
	if (error)
		return failure_print(cache, json);
	semcache_result_free(result);
	if (!json)
		(void)printf("the daemon has it\n");
	return EXIT_OK;
}

static bool has_word(char **argv, const char *word)
{
	for (size_t i = 2; argv[i]; i++)
		if (strcmp(argv[i], word) == 0)
			return true;
	return false;
}

/* Whether a word is given; it is then taken out, because only this program knows it. */
static bool take_word(char **argv, const char *word)
{
	for (size_t i = 2; argv[i]; i++) {
		if (strcmp(argv[i], word) != 0)
			continue;
		for (; argv[i]; i++)
			argv[i] = argv[i + 1];
		return true;
	}
	return false;
}

static int run_for_daemon(const struct arguments *arguments, const char *path, char **argv, bool is_settings)
{
	struct semcache_options options = SEMCACHE_OPTIONS;
	char text[CERTIFICATE_MOST];
	int code = run_beside(path, argv, text, sizeof(text));

	if (code != EXIT_OK || text[0] == '\0')
		return code;
	options.socket = arguments->socket;
	options.timeout_ms = arguments->timeout_ms;
	options.connect_timeout_ms = arguments->connect_timeout_ms;
	struct semcache *cache = semcache_open(&options);
	if (!cache)
		return usage_error(arguments->json, "%s", strerror(errno));
	code = put_in_force(cache, arguments->json, is_settings, text);
	semcache_close(cache);
	return code;
}

/* The program knows --json only, and only behind the mode's name. Returns argv, or `given` with it put in. */
static char **with_json(const struct arguments *arguments, char **argv, char *given[static ARGUMENTS_MOST + 2])
{
	size_t count = 2;

	for (size_t i = 2; argv[i]; i++)
		if (strcmp(argv[i], "-j") == 0)
			argv[i] = "--json";
	if (!arguments->json)
		return argv;
	given[0] = argv[0];
	given[1] = argv[1];
	given[count++] = "--json";
	for (size_t i = 2; argv[i] && count <= ARGUMENTS_MOST; i++)
		given[count++] = argv[i];
	given[count] = NULL;
	return given;
}

int mode_run(const struct arguments *arguments, char **argv)
{
	char path[PATH_MAX], *given[ARGUMENTS_MOST + 2];
	size_t count = 0;

	while (argv[count])
		count++;
	if (count > WORDS_MOST)
		return usage_error(arguments->json, "there are more than %d words", WORDS_MOST);
	argv = with_json(arguments, argv, given);
	if (!find_daemon(path, sizeof(path))) {
		(void)usage_error(arguments->json,
				  "the daemon's program %s cannot be run: %s; SEMCACHE_DAEMON names another", path,
				  strerror(errno));
		return EXIT_ABSENT;
	}
	if (strcmp(argv[1], "calibrate") == 0)
		return run_for_daemon(arguments, path, argv, false);
	if (take_word(argv, "--store")) {
		if (!has_word(argv, "--comparator"))
			return usage_error(arguments->json, "--store is of --comparator");
		return run_for_daemon(arguments, path, argv, true);
	}
	(void)execv(path, argv);
	return EXIT_ABSENT;
}
