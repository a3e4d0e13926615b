/* A scripted upstream: OpenAI's chat and embeddings on a Unix socket, by one thread that watches all connections.
 *
 *   READING ─(embeddings)─> answered at once ─> READING
 *      └─(chat)─> DELAY ─(delay_ms)─> one token ─> GAP ─(gap_ms)─> … ─> the last token and the end ─> READING
 *
 * All in DELAY wait equally long, and so do all in GAP: the two lists are in the order of what is due. SIGTERM ends it and
 * prints what it has seen. What can go wrong: a client that leaves (its chat is forgotten, and counted), a request that is
 * too large or unknown (its connection is closed). */
#include "bench.h"
#include "upstream_reply.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define REQUEST_MOST (1u << 20)
#define REPLY_MOST (64u << 20)
#define EVENTS 256

enum state { READING, DELAY, GAP, STATES };

struct client {
	int fd;
	enum state state;
	struct buffer in, out;
	uint64_t received_ns, embedding_ns, due_ns;
	uint64_t tokens_left;
	bool is_full;               /* writability is watched */
	struct client *prev, *next; /* in the list of its state */
};

struct upstream {
	int listener, signals, epoll;
	uint64_t delay_ns, gap_ns, tokens, token_bytes;
	bool is_stamping;
	struct client *lists[STATES];
	uint64_t embedding_ns; /* how long the last request for embeddings took, until a chat has taken it over */
	uint64_t open_chats, most_chats, chats, finished, embeddings, texts;
};

static void move(struct upstream *upstream, struct client *client, enum state state)
{
	DL_DELETE(upstream->lists[client->state], client);
	client->state = state;
	DL_APPEND(upstream->lists[state], client);
}

static void client_close(struct upstream *upstream, struct client *client)
{
	if (client->state != READING)
		upstream->open_chats--;
	DL_DELETE(upstream->lists[client->state], client);
	(void)close(client->fd);
	buffer_deinit(&client->in);
	buffer_deinit(&client->out);
	free(client);
}

static void watch(struct upstream *upstream, struct client *client, int operation, bool writable)
{
	struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = client};

	if (epoll_ctl(upstream->epoll, operation, client->fd, &event) != 0)
		die("epoll_ctl");
	client->is_full = writable;
}

/* Writes what it can. Returns false if the client is gone. */
static bool client_flush(struct upstream *upstream, struct client *client)
{
	while (client->out.length) {
		ssize_t n = send(client->fd, client->out.data, client->out.length, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n < 0)
			break;
		buffer_consume(&client->out, (size_t)n);
	}
	if ((client->out.length > 0) != client->is_full)
		watch(upstream, client, EPOLL_CTL_MOD, client->out.length > 0);
	return true;
}

/* ---- chats ---- */

static void chat_token(struct upstream *upstream, struct client *client)
{
	struct stamp stamp = {.received_ns = client->received_ns, .embedding_ns = client->embedding_ns};
	bool is_first = client->state == DELAY;
	int error = is_first ? reply_chat_head(&client->out) : 0;

	client->tokens_left--;
	stamp.written_ns = clock_ns();
	if (!error)
		error = reply_chat_token(&client->out, upstream->is_stamping ? &stamp : NULL, upstream->token_bytes);
	if (!error && client->tokens_left == 0)
		error = reply_chat_end(&client->out);
	if (error)
		die("no room for a reply");
	if (client->tokens_left > 0) {
		client->due_ns = stamp.written_ns + upstream->gap_ns;
		move(upstream, client, GAP);
	} else {
		upstream->open_chats--;
		upstream->finished++;
		move(upstream, client, READING);
	}
	if (!client_flush(upstream, client))
		client_close(upstream, client);
}

/* Everything that is due. Returns the milliseconds until more is, -1 for never. */
static int chats_step(struct upstream *upstream)
{
	uint64_t due_ns = UINT64_MAX, now_ns = clock_ns();

	for (enum state state = DELAY; state < STATES; state++) {
		while (upstream->lists[state] && upstream->lists[state]->due_ns <= now_ns)
			chat_token(upstream, upstream->lists[state]);
		if (upstream->lists[state] && upstream->lists[state]->due_ns < due_ns)
			due_ns = upstream->lists[state]->due_ns;
	}
	if (due_ns == UINT64_MAX)
		return -1;
	now_ns = clock_ns();
	return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns + 999999) / 1000000);
}

static void chat_begin(struct upstream *upstream, struct client *client)
{
	upstream->chats++;
	if (++upstream->open_chats > upstream->most_chats)
		upstream->most_chats = upstream->open_chats;
	client->embedding_ns = upstream->embedding_ns;
	upstream->embedding_ns = 0;
	client->tokens_left = upstream->tokens;
	client->due_ns = client->received_ns + upstream->delay_ns;
	move(upstream, client, DELAY);
}

/* ---- requests ---- */

/* Finds the first whole request. Returns its length, 0 if more is to come, SIZE_MAX if it is none. */
static size_t request_find(const struct buffer *in, struct slice *body)
{
	static const char name[] = "\r\ncontent-length:";
	const char *head_end = in->length ? memmem(in->data, in->length, "\r\n\r\n", 4) : NULL;
	size_t length = 0;

	if (!head_end)
		return in->length < REQUEST_MOST ? 0 : SIZE_MAX;
	size_t head = (size_t)(head_end - in->data) + 4;
	for (size_t i = 0; i + sizeof(name) < head; i++)
		if (in->data[i] == '\r' && strncasecmp(in->data + i, name, sizeof(name) - 1) == 0)
			length = strtoul(in->data + i + sizeof(name) - 1, NULL, 10);
	if (length > REQUEST_MOST - head)
		return SIZE_MAX;
	*body = (struct slice){in->data + head, length};
	return in->length < head + length ? 0 : head + length;
}

static bool starts_with(const struct buffer *in, const char *text)
{
	return in->length >= strlen(text) && memcmp(in->data, text, strlen(text)) == 0;
}

/* Returns false if the client is to be closed. */
static bool client_serve(struct upstream *upstream, struct client *client)
{
	struct slice body;
	uint64_t texts = 0;

	while (client->state == READING) {
		size_t length = request_find(&client->in, &body);
		if (length == 0)
			return true;
		if (length == SIZE_MAX)
			return false;
		client->received_ns = clock_ns();
		if (starts_with(&client->in, "POST /v1/embeddings ")) {
			if (reply_embeddings(&client->out, body, &texts) != 0)
				return false;
			upstream->embeddings++;
			upstream->texts += texts;
			if (!client_flush(upstream, client))
				return false;
			upstream->embedding_ns = clock_ns() - client->received_ns;
		} else if (starts_with(&client->in, "POST /v1/chat/completions ")) {
			chat_begin(upstream, client);
		} else {
			return false;
		}
		buffer_consume(&client->in, length);
	}
	return true;
}

/* Returns false if the client is gone. */
static bool client_read(struct client *client)
{
	for (;;) {
		if (buffer_reserve(&client->in, 4096) != 0)
			return false;
		ssize_t n = recv(client->fd, client->in.data + client->in.length, client->in.capacity - client->in.length,
				 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (n == 0)
			return false;
		client->in.length += (size_t)n;
		if (client->in.length < client->in.capacity)
			return true;
	}
}

static void accept_all(struct upstream *upstream)
{
	int fd;

	while ((fd = accept4(upstream->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *client = calloc(1, sizeof(*client));
		if (!client)
			die("no memory");
		client->fd = fd;
		buffer_init(&client->in, REQUEST_MOST + 4096);
		buffer_init(&client->out, REPLY_MOST);
		DL_APPEND(upstream->lists[READING], client);
		watch(upstream, client, EPOLL_CTL_ADD, false);
	}
	if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
		die("accept");
}

/* ---- life ---- */

static void upstream_run(struct upstream *upstream)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(upstream->epoll, events, EVENTS, chats_step(upstream));
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < count; i++) {
			struct client *client = events[i].data.ptr;
			if (events[i].data.ptr == &upstream->signals)
				return;
			if (events[i].data.ptr == &upstream->listener)
				accept_all(upstream);
			else if ((events[i].events & EPOLLOUT && !client_flush(upstream, client)) ||
				 (events[i].events & ~(uint32_t)EPOLLOUT &&
				  (!client_read(client) || !client_serve(upstream, client))))
				client_close(upstream, client);
		}
	}
}

static void upstream_listen(struct upstream *upstream, const char *path)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &upstream->listener};
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	upstream->epoll = epoll_create1(EPOLL_CLOEXEC);
	upstream->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	upstream->listener = unix_listen(path);
	if (upstream->epoll < 0 || upstream->signals < 0 ||
	    epoll_ctl(upstream->epoll, EPOLL_CTL_ADD, upstream->listener, &event) != 0)
		die("epoll");
	event.data.ptr = &upstream->signals;
	if (epoll_ctl(upstream->epoll, EPOLL_CTL_ADD, upstream->signals, &event) != 0)
		die("epoll");
}

static void usage(void)
{
	(void)fprintf(stderr,
		      "usage: bench_upstream SOCKET [--delay-ms N] [--gap-ms N] [--tokens N] [--token-bytes N] [--stamp]\n");
	exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"delay-ms", required_argument, NULL, 'd'}, {"gap-ms", required_argument, NULL, 'g'},
		{"tokens", required_argument, NULL, 't'},   {"token-bytes", required_argument, NULL, 'b'},
		{"stamp", no_argument, NULL, 's'},          {0},
	};
	struct upstream upstream = {.tokens = 1, .token_bytes = 1024};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'd')
			upstream.delay_ns = number_read("delay-ms", optarg, 600000) * 1000000;
		else if (option == 'g')
			upstream.gap_ns = number_read("gap-ms", optarg, 600000) * 1000000;
		else if (option == 't')
			upstream.tokens = number_read("tokens", optarg, 1000000);
		else if (option == 'b')
			upstream.token_bytes = number_read("token-bytes", optarg, 8192);
		else if (option == 's')
			upstream.is_stamping = true;
		else
			usage();
	}
	if (optind != argc - 1 || upstream.tokens == 0)
		usage();
	upstream_listen(&upstream, argv[optind]);
	upstream_run(&upstream);
	printf("{\"chats\":%" PRIu64 ",\"finished\":%" PRIu64 ",\"most_at_once\":%" PRIu64 ",\"embeddings\":%" PRIu64
	       ",\"texts\":%" PRIu64 "}\n",
	       upstream.chats, upstream.finished, upstream.most_chats, upstream.embeddings, upstream.texts);
	return EXIT_SUCCESS;
}
