/* Any bytes as a configuration: either they are taken, and what is walked can be shown, or there is at least one whole line
 * that says what is wrong. */
#include "daemon/config.h"
#include "proto/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void look(void *data, const char *section, const char *key, const char *value, const char *origin)
{
	size_t *sum = data;

	*sum += strlen(section) + strlen(key) + strlen(value) + strlen(origin);
}

static void use(const struct config *config)
{
	struct slice resolved = {NULL, 0}, absent = {NULL, 0};
	size_t sum = 0;

	config_walk(config, look, &sum);
	for (size_t i = 0; i < config->namespace_count; i++)
		if (config_namespace(config, slice_of(config->namespaces[i].name)) != &config->namespaces[i])
			abort();
	for (size_t i = 0; i < config->upstream_count; i++)
		for (size_t k = 0; k < config->upstreams[i].model_count; k++)
			if (config_upstream_for(config, slice_of(config->upstreams[i].models[k]), &resolved) !=
			    &config->upstreams[i])
				abort();
	(void)config_upstream_for(config, absent, &resolved);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct config *config = NULL;
	struct buffer mistakes;
	char path[64];

	/* No file of this machine is to be opened because its name was guessed. */
	if (length > 8 && memmem(bytes, length, "key_file", 8))
		return 0;
	int fd = memfd_create("config", MFD_CLOEXEC);
	if (fd < 0 || write(fd, bytes, length) != (ssize_t)length)
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	buffer_init(&mistakes, 65536);
	int error = config_read(path, &config, &mistakes);
	if (error == 0)
		use(config);
	else if (error != ERROR_INVALID || mistakes.length == 0 || mistakes.data[mistakes.length - 1] != '\n')
		abort();
	config_destroy(config);
	buffer_deinit(&mistakes);
	(void)close(fd);
	return 0;
}
