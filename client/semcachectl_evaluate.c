/* evaluate and calibrate are modes of the daemon's own program, because they use its embedder, guards and decision. They are
 * given the command line as it is.
 *
 * What can go wrong: the program is not found, or cannot be run. */
#include "semcachectl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

int mode_run(bool json, char **argv)
{
	char path[PATH_MAX];

	if (!find_daemon(path, sizeof(path)))
		(void)usage_error(json, "the daemon's program %s cannot be run: %s; SEMCACHE_DAEMON names another", path,
				  strerror(errno));
	else
		(void)execv(path, argv);
	return EXIT_ABSENT;
}
