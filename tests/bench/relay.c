/* The least that could stand between a client and Redis: libuv, and hiredis with the adapter that comes with it. A client
 * sends `get key:NNNNNN`, the commands of a file go to Redis with that key's identity in the place of %ID%, and when the
 * last reply is there the longest text of the first one is sent back as memcached does. Redis answers in order, so do we.
 * What can go wrong ends the program. */
#include "bench.h"

#include <hiredis/async.h>
#include <hiredis/adapters/libuv.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define COMMANDS 16
#define ARGUMENTS 32
#define ID "%ID%"
#define INPUT 4096
#define REQUEST_BYTES 16 /* `get key:NNNNNN\r\n` */
#define ANSWER_MOST 65536

struct command {
	int count;
	const char *arguments[ARGUMENTS];
};

struct relay {
	uv_loop_t loop;
	uv_pipe_t listener;
	redisAsyncContext *redis;
	struct command commands[COMMANDS];
	int command_count;
	char **ids;
	size_t id_count;
};

struct client {
	uv_pipe_t pipe;
	struct relay *relay;
	size_t length, in_flight;
	bool is_closed;
	char input[INPUT];
};

struct request {
	struct client *client;
	unsigned key;
	int awaited;
	size_t length;
	char answer[ANSWER_MOST];
};

static void on_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;

	client->is_closed = true;
	if (client->in_flight == 0)
		free(client);
}

/* The longest text of an array. */
static const redisReply *longest(const redisReply *array)
{
	const redisReply *found = NULL;

	for (size_t i = 0; array->type == REDIS_REPLY_ARRAY && i < array->elements; i++)
		if (array->element[i]->type == REDIS_REPLY_STRING && (!found || array->element[i]->len > found->len))
			found = array->element[i];
	return found;
}

static void answer(struct request *request)
{
	struct client *client = request->client;
	uv_buf_t part = uv_buf_init(request->answer, (unsigned)request->length);

	client->in_flight--;
	if (!client->is_closed && !uv_is_closing((uv_handle_t *)&client->pipe) &&
	    uv_try_write((uv_stream_t *)&client->pipe, &part, 1) != (int)request->length)
		die("the client does not read");
	if (client->is_closed && client->in_flight == 0)
		free(client);
	free(request);
}

static void on_reply(redisAsyncContext *redis, void *data, void *private)
{
	const redisReply *reply = data;
	struct request *request = private;

	(void)redis;
	if (!reply || reply->type == REDIS_REPLY_ERROR)
		die("Redis: %s", reply ? reply->str : "the connection ended");
	if (request->length == 0) {
		const redisReply *text = longest(reply);
		if (!text || text->len + 64 > sizeof(request->answer))
			die("nothing in Redis under key %u", request->key);
		int head = snprintf(request->answer, 64, "VALUE key:%06u 0 %zu\r\n", request->key, (size_t)text->len);
		memcpy(request->answer + head, text->str, text->len);
		memcpy(request->answer + head + text->len, "\r\nEND\r\n", 7);
		request->length = (size_t)head + text->len + 7;
	}
	if (--request->awaited == 0)
		answer(request);
}

static void send_command(struct relay *relay, const struct command *command, struct request *request)
{
	const char *arguments[ARGUMENTS];
	size_t lengths[ARGUMENTS];
	char key[256];

	for (int i = 0; i < command->count; i++) {
		const char *place = strstr(command->arguments[i], ID);
		arguments[i] = command->arguments[i];
		if (place) {
			(void)snprintf(key, sizeof(key), "%.*s%s%s", (int)(place - arguments[i]), arguments[i],
				       relay->ids[request->key], place + sizeof(ID) - 1);
			arguments[i] = key;
		}
		lengths[i] = strlen(arguments[i]);
	}
	if (redisAsyncCommandArgv(relay->redis, on_reply, request, command->count, arguments, lengths) != REDIS_OK)
		die("a command could not be sent");
	request->awaited++;
}

static void serve(struct client *client, const char *line)
{
	struct relay *relay = client->relay;
	struct request *request = malloc(sizeof(*request));

	if (!request)
		die("no memory");
	request->client = client;
	request->key = (unsigned)strtoul(line + sizeof("get key:") - 1, NULL, 10);
	request->awaited = 0;
	request->length = 0;
	if (request->key >= relay->id_count)
		die("no such key: %.14s", line);
	client->in_flight++;
	for (int i = 0; i < relay->command_count; i++)
		send_command(relay, &relay->commands[i], request);
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *room)
{
	struct client *client = handle->data;

	(void)suggested;
	*room = uv_buf_init(client->input + client->length, (unsigned)(sizeof(client->input) - client->length));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room)
{
	struct client *client = stream->data;
	size_t used = 0;

	(void)room;
	if (n < 0) {
		uv_close((uv_handle_t *)stream, on_closed);
		return;
	}
	client->length += (size_t)n;
	for (; client->length - used >= REQUEST_BYTES; used += REQUEST_BYTES)
		serve(client, client->input + used);
	memmove(client->input, client->input + used, client->length - used);
	client->length -= used;
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct relay *relay = listener->data;
	struct client *client = calloc(1, sizeof(*client));

	if (status < 0 || !client)
		die("a connection could not be accepted");
	client->relay = relay;
	(void)uv_pipe_init(&relay->loop, &client->pipe, 0);
	client->pipe.data = client;
	if (uv_accept(listener, (uv_stream_t *)&client->pipe) != 0 ||
	    uv_read_start((uv_stream_t *)&client->pipe, on_room, on_read) != 0)
		die("a connection could not be accepted");
}

/* ---- files ---- */

/* The lines of a file, without their ends. They are never freed. */
static size_t lines_read(const char *path, char ***lines)
{
	size_t count = 0, room = 0;
	FILE *file = fopen(path, "re");

	*lines = NULL;
	if (!file)
		die("%s", path);
	for (;;) {
		char *line = NULL;
		size_t size = 0;
		if (getline(&line, &size, file) < 0) {
			free(line);
			break;
		}
		line[strcspn(line, "\n")] = '\0';
		if (count == room) {
			room = room ? 2 * room : 64;
			*lines = reallocarray(*lines, room, sizeof(**lines));
			if (!*lines)
				die("no memory");
		}
		(*lines)[count++] = line;
	}
	(void)fclose(file);
	return count;
}

static void commands_read(struct relay *relay, const char *path)
{
	char **lines;
	size_t count = lines_read(path, &lines);

	if (count == 0 || count > COMMANDS)
		die("%s: 1 to %d commands", path, COMMANDS);
	for (size_t i = 0; i < count; i++) {
		struct command *command = &relay->commands[relay->command_count++];
		char *rest = lines[i], *argument;
		while ((argument = strsep(&rest, " "))) {
			if (command->count == ARGUMENTS)
				die("%s: too many arguments", path);
			command->arguments[command->count++] = argument;
		}
	}
	free(lines);
}

int main(int argc, char **argv)
{
	struct relay *relay = calloc(1, sizeof(*relay));

	if (argc != 5 || !relay)
		die("usage: bench_relay SOCKET REDIS_SOCKET COMMANDS_FILE IDS_FILE");
	commands_read(relay, argv[3]);
	relay->id_count = lines_read(argv[4], &relay->ids);
	(void)uv_loop_init(&relay->loop);
	(void)uv_pipe_init(&relay->loop, &relay->listener, 0);
	relay->listener.data = relay;
	relay->redis = redisAsyncConnectUnix(argv[2]);
	if (!relay->redis || relay->redis->err || redisLibuvAttach(relay->redis, &relay->loop) != REDIS_OK)
		die("%s", argv[2]);
	if (uv_pipe_bind(&relay->listener, argv[1]) != 0 ||
	    uv_listen((uv_stream_t *)&relay->listener, 4096, on_connection) != 0)
		die("%s", argv[1]);
	return uv_run(&relay->loop, UV_RUN_DEFAULT);
}
