/* A small HTTP server on the test's own loop, which answers each request with the next line of a script. */
#ifndef TESTS_UNIT_SCRIPTED_SERVER_H
#define TESTS_UNIT_SCRIPTED_SERVER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <uv.h>

/* What happens to the connection behind the reply. */
enum then { KEEP, CLOSE, RESET, HOLD };

struct exchange {
	const char *reply; /* all of it, head and body; NULL = nothing */
	enum then then;
	bool bytewise; /* one byte a turn of the loop */
};

struct server;

struct peer {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	};
	struct server *server;
	struct peer *next;
	char in[262144];
	size_t length;
	const struct exchange *doing; /* being sent bytewise */
	size_t sent;
	bool closing;
};

struct server {
	uv_loop_t *loop;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	};
	uv_idle_t dripper;
	bool unix_socket;
	const struct exchange *script;
	size_t script_length, next;
	unsigned requests, connections, open, closed;
	char last[262144]; /* the last request, head and body */
	struct peer *peers;
	char url[128], path[96];
};

static void peer_closed(uv_handle_t *handle)
{
	struct peer *peer = handle->data;
	struct peer **at = &peer->server->peers;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	peer->server->open--;
	peer->server->closed++;
	free(peer);
}

static void peer_close(struct peer *peer)
{
	if (peer->closing)
		return;
	peer->closing = true;
	uv_close(&peer->handle, peer_closed);
}

static void peer_then(struct peer *peer, enum then then)
{
	if (peer->closing)
		return;
	if (then == CLOSE)
		peer_close(peer);
	if (then == RESET && !peer->server->unix_socket) {
		peer->closing = true;
		if (uv_tcp_close_reset(&peer->tcp, peer_closed))
			abort();
	}
}

static void peer_send(struct peer *peer, const char *bytes, size_t length)
{
	while (length > 0 && !peer->closing) {
		uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)length);
		int written = uv_try_write(&peer->stream, &buf, 1);
		if (written == UV_EAGAIN)
			continue; /* replies are far smaller than a socket's buffer */
		if (written < 0) {
			peer_close(peer);
			return;
		}
		bytes += written;
		length -= (size_t)written;
	}
}

/* Sends one byte more to each peer that is served bytewise. */
static void server_drip(uv_idle_t *dripper)
{
	struct server *server = dripper->data;
	bool more = false;

	for (struct peer *peer = server->peers, *next; peer; peer = next) {
		next = peer->next;
		if (!peer->doing || peer->closing)
			continue;
		const struct exchange *doing = peer->doing;
		if (doing->reply[peer->sent] == '\0') {
			peer->doing = NULL;
			peer_then(peer, doing->then);
			continue;
		}
		peer_send(peer, doing->reply + peer->sent++, 1);
		more = true;
	}
	if (!more)
		(void)uv_idle_stop(dripper);
}

static void peer_answer(struct peer *peer)
{
	struct server *server = peer->server;

	server->requests++;
	if (server->next >= server->script_length)
		return; /* behind the script: silence */
	const struct exchange *doing = &server->script[server->next++];
	if (doing->reply && doing->bytewise) {
		peer->doing = doing;
		peer->sent = 0;
		(void)uv_idle_start(&server->dripper, server_drip);
		return;
	}
	if (doing->reply)
		peer_send(peer, doing->reply, strlen(doing->reply));
	peer_then(peer, doing->then);
}

/* The length of the whole request at the start of `in`; 0 = not there yet. */
static size_t request_length(const char *in, size_t length)
{
	const char *end = memmem(in, length, "\r\n\r\n", 4);
	size_t body = 0;

	if (!end)
		return 0;
	for (const char *p = in; p < end; p++)
		if (strncasecmp(p, "\nContent-Length:", 16) == 0)
			body = strtoul(p + 16, NULL, 10);
	size_t all = (size_t)(end - in) + 4 + body;
	return all <= length ? all : 0;
}

static void peer_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
	struct peer *peer = stream->data;
	size_t whole;
	(void)buf;

	if (count < 0) {
		peer_close(peer);
		return;
	}
	peer->length += (size_t)count;
	while (!peer->closing && (whole = request_length(peer->in, peer->length))) {
		memcpy(peer->server->last, peer->in, whole);
		peer->server->last[whole] = '\0';
		memmove(peer->in, peer->in + whole, peer->length - whole);
		peer->length -= whole;
		peer_answer(peer);
	}
}

static void peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct peer *peer = handle->data;
	(void)suggested;

	*buf = uv_buf_init(peer->in + peer->length, (unsigned)(sizeof(peer->in) - 1 - peer->length));
}

static void server_accept(uv_stream_t *stream, int status)
{
	struct server *server = stream->data;
	struct peer *peer = calloc(1, sizeof(*peer));

	if (status || !peer)
		abort();
	if (server->unix_socket)
		(void)uv_pipe_init(server->loop, &peer->pipe, 0);
	else
		(void)uv_tcp_init(server->loop, &peer->tcp);
	peer->handle.data = peer;
	peer->server = server;
	peer->next = server->peers;
	server->peers = peer;
	server->connections++;
	server->open++;
	if (uv_accept(stream, &peer->stream) || uv_read_start(&peer->stream, peer_alloc, peer_read))
		abort();
}

/* Listens on 127.0.0.1, or on a Unix socket at `path`. */
static void server_start(struct server *server, uv_loop_t *loop, const char *path)
{
	struct sockaddr_in address;
	int length = sizeof(address);

	memset(server, 0, sizeof(*server));
	server->loop = loop;
	server->unix_socket = path != NULL;
	(void)uv_idle_init(loop, &server->dripper);
	server->dripper.data = server;
	if (path) {
		(void)snprintf(server->path, sizeof(server->path), "%s", path);
		(void)snprintf(server->url, sizeof(server->url), "http://localhost/v1");
		(void)uv_pipe_init(loop, &server->pipe, 0);
		if (uv_pipe_bind(&server->pipe, path))
			abort();
	} else {
		(void)uv_ip4_addr("127.0.0.1", 0, &address);
		(void)uv_tcp_init(loop, &server->tcp);
		if (uv_tcp_bind(&server->tcp, (struct sockaddr *)&address, 0) ||
		    uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&address, &length))
			abort();
		(void)snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%d/v1", ntohs(address.sin_port));
	}
	server->handle.data = server;
	if (uv_listen(&server->stream, 1024, server_accept))
		abort();
}

static void server_script(struct server *server, const struct exchange *script, size_t length)
{
	server->script = script;
	server->script_length = length;
	server->next = 0;
}

/* Closes all connections; the server goes on listening. */
static void server_drop(struct server *server)
{
	for (struct peer *peer = server->peers; peer; peer = peer->next)
		peer_close(peer);
}

static void server_stop(struct server *server)
{
	server_drop(server);
	uv_close((uv_handle_t *)&server->dripper, NULL);
	uv_close(&server->handle, NULL);
}

#endif
