/* All goes well: the key is read whole, loses one newline at its end, and is kept in memory only. What can go wrong, each a
 * sentence for the operator: nothing there, empty, too long, characters that no header may carry, a file that others may
 * read. */
#include "config_key.h"

#include "config.h"

#include "../proto/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(char *why, size_t size, const char *text)
{
	(void)snprintf(why, size, "%s", text);
	return ERROR_INVALID;
}

static int keep(struct config_key *key, const char *bytes, size_t length, char *why, size_t size)
{
	if (length > 0 && bytes[length - 1] == '\n')
		length -= length > 1 && bytes[length - 2] == '\r' ? 2 : 1;
	if (length == 0)
		return refuse(why, size, "must not be empty there");
	if (length > CONFIG_KEY_BYTES)
		return refuse(why, size, "must be at most 4096 bytes there");
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f)
			return refuse(why, size, "must be one line without control characters there");
	key->secret = strndup(bytes, length);
	return key->secret ? 0 : ERROR_MEMORY;
}

static int read_bytes(int fd, char *bytes, size_t size, size_t *length)
{
	*length = 0;
	while (*length < size) {
		ssize_t got = read(fd, bytes + *length, size - *length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		*length += (size_t)got;
	}
	return 0;
}

/* `guarded`: nobody but owner and group may read the file. */
static int read_file(struct config_key *key, const char *path, bool guarded, char *why, size_t size)
{
	char bytes[CONFIG_KEY_BYTES + 3];
	size_t length;
	struct stat st;
	int error;
	/* Not blocking, because it may turn out to be a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		(void)snprintf(why, size, "cannot be opened: %s", strerror(errno));
		return ERROR_INVALID;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		error = refuse(why, size, "must be a regular file");
	else if (guarded && st.st_mode & S_IRWXO)
		error = refuse(why, size, "must not be open to others; chmod o= the file");
	else if (read_bytes(fd, bytes, sizeof(bytes), &length) != 0)
		error = refuse(why, size, "cannot be read");
	else
		error = keep(key, bytes, length, why, size);
	(void)close(fd);
	explicit_bzero(bytes, sizeof(bytes));
	return error;
}

static int read_credential(struct config_key *key, char *why, size_t size)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	char path[4096];

	if (!directory)
		return refuse(why, size, "needs systemd's LoadCredential=: CREDENTIALS_DIRECTORY is not set");
	int length = snprintf(path, sizeof(path), "%s/%s", directory, key->key_credential);
	if (length < 0 || (size_t)length >= sizeof(path))
		return refuse(why, size, "makes too long a path");
	return read_file(key, path, false, why, size);
}

static const char *secret_if_from(const struct config_key *key, const char *variable)
{
	return key->key_env && strcmp(key->key_env, variable) == 0 ? key->secret : NULL;
}

static const char *find_previous(const struct config *previous, const char *variable)
{
	if (!previous)
		return NULL;
	const char *secret = secret_if_from(&previous->redis.key, variable);
	if (!secret)
		secret = secret_if_from(&previous->embedder.key, variable);
	if (!secret)
		secret = secret_if_from(&previous->second_opinion.key, variable);
	for (size_t i = 0; !secret && i < previous->upstream_count; i++)
		secret = secret_if_from(&previous->upstreams[i].key, variable);
	return secret;
}

static int read_env(struct config_key *key, const struct config *previous, char *why, size_t size)
{
	const char *value = getenv(key->key_env);

	if (!value)
		value = find_previous(previous, key->key_env);
	if (!value)
		return refuse(why, size,
			      previous ? "must name a variable that was set when the daemon started"
				       : "must name a variable that is set in the environment");
	return keep(key, value, strlen(value), why, size);
}

int config_key_read(struct config_key *key, const struct config *previous, char *why, size_t size)
{
	if (key->key_env)
		return read_env(key, previous, why, size);
	if (key->key_file)
		return read_file(key, key->key_file, true, why, size);
	if (key->key_credential)
		return read_credential(key, why, size);
	return 0;
}

void config_key_forget(const struct config_key *key)
{
	char *value = key->key_env ? getenv(key->key_env) : NULL;

	if (!value)
		return;
	/* The bytes stay visible in /proc/PID/environ unless they are overwritten. */
	explicit_bzero(value, strlen(value));
	(void)unsetenv(key->key_env);
}

void config_key_wipe(struct config_key *key)
{
	if (key->secret)
		explicit_bzero(key->secret, strlen(key->secret));
	free(key->secret);
	key->secret = NULL;
}
