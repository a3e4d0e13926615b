/* What a hostile daemon may send: the bytes go through a real socket into a handle with open requests, streamed and not, one
 * of them cancelled. The first byte says into how large pieces they are cut. */
#include "../../client/semcache.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_chunk(void *data, uint64_t id, const char *text, size_t length)
{
	struct semcache **cache = data;

	if (length > 0 && text[0] == 'C')
		(void)semcache_cancel(*cache, id);
}

static void on_done(void *data, uint64_t id, const struct semcache_error *error, struct semcache_result *result)
{
	(void)data;
	(void)id;
	if (error && (strlen(error->text) > 1000 || strlen(error->detail) > 1000))
		abort();
	if (result) {
		const struct semcache_answer *answer = semcache_result_answer(result);
		if (answer && answer->text && strlen(answer->text) > answer->text_length)
			abort();
	}
	semcache_result_free(result);
}

/* A listening socket, made once; its path is unlinked as soon as nobody needs it any more, at exit. */
static char path[64];

static void remove_path(void)
{
	(void)unlink(path);
}

static int listener(void)
{
	static int fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (fd >= 0)
		return fd;
	(void)snprintf(path, sizeof(path), "/tmp/semcache-fuzz-%ld", (long)getpid());
	memcpy(address.sun_path, path, sizeof(path));
	(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4) != 0)
		abort();
	(void)atexit(remove_path);
	return fd;
}

static void start_requests(struct semcache **cache)
{
	struct semcache_question question = SEMCACHE_QUESTION;
	struct semcache_handler plain = {.done = on_done, .data = cache};
	struct semcache_handler streamed = {.chunk = on_chunk, .done = on_done, .data = cache};
	uint64_t id;

	question.prompt = "x";
	(void)semcache_start_get_or_generate(*cache, &question, &streamed, NULL);
	(void)semcache_start_lookup(*cache, &question, &plain, NULL);
	(void)semcache_start_call(*cache, "stats", NULL, 0, SEMCACHE_UNSET, &plain, NULL);
	(void)semcache_start_get_or_generate(*cache, &question, &streamed, &id);
	(void)semcache_cancel(*cache, id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct semcache_options options = SEMCACHE_OPTIONS;
	int listening = listener();

	if (size < 1 || size > 100000)
		return 0;
	options.socket = path;
	options.max_message_bytes = 32768;
	struct semcache *cache = semcache_open(&options);
	if (!cache)
		return 0;
	start_requests(&cache);
	int peer = accept(listening, NULL, NULL);
	size_t piece = data[0] ? data[0] : size;
	for (size_t at = 1; at < size; at += piece) {
		size_t length = size - at < piece ? size - at : piece;
		if (send(peer, data + at, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		(void)semcache_process(cache);
	}
	/* The second connection of what is sent again ends as well. */
	(void)close(peer);
	(void)semcache_process(cache);
	semcache_close(cache);
	int waiting;
	while ((waiting = accept(listening, NULL, NULL)) >= 0)
		(void)close(waiting);
	return 0;
}
