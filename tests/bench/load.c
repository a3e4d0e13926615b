/* A load generator: so many connections, each of which sends a batch of requests, reads all their replies, and sends the next,
 * until the count or the time is used up. One thread, one epoll.
 *
 *   batch sent ─> replies, each timed from the batch's start ─> all there ─> next batch … ─> result on stdout, as JSON
 *
 * With stamps in the answers' texts (see upstream_reply.h) it also tells how late each token came, and how long a request
 * took beyond what the upstream itself took. What can go wrong: a reply that is none, a connection that ends, nothing for
 * PATIENCE_MS: each ends the program. Error replies are counted, and the first is shown. */
#include "bench.h"
#include "load_protocol.h"

#include "../../proto/error.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define PATIENCE_MS 60000
#define INPUT_MOST (64u << 20)
#define READ_BYTES 65536

struct client {
	int fd;
	struct buffer in, out;
	struct scanner scanner;
	uint32_t awaited;
	uint64_t sent_ns;
	uint64_t received_ns, embedding_ns, written_ns; /* the newest stamp; received_ns 0 = none yet */
};

struct load {
	struct protocol protocol;
	const char *path;
	struct client *clients;
	int epoll;
	uint64_t connections, depth, count, time_ms, keys, first_key, set_bytes, patience_ms;
	long pid;
	bool is_stream, is_stamped;
	uint64_t started_ns, ended_ns, first_reply_ns;
	uint64_t sent, replies, errors, awaited, bytes;
	struct spread latency, token, added_first, added_end;
};

/* ---- stamps ---- */

/* How much longer than the upstream's own time it has taken until now. */
static uint64_t added_ns(const struct client *client, uint64_t now_ns)
{
	uint64_t took_ns = now_ns - client->sent_ns;
	uint64_t theirs_ns = client->written_ns - client->received_ns + client->embedding_ns;

	return took_ns > theirs_ns ? took_ns - theirs_ns : 0;
}

static void read_stamps(struct load *load, struct client *client, struct slice text, uint64_t now_ns)
{
	const char *end = text.data + text.length;
	const char *at = text.data;
	char copy[80];

	while (at < end && (at = memchr(at, '@', (size_t)(end - at)))) {
		uint64_t received_ns, embedding_ns, written_ns;
		size_t length = (size_t)(end - at) < sizeof(copy) - 1 ? (size_t)(end - at) : sizeof(copy) - 1;
		memcpy(copy, at, length);
		copy[length] = '\0';
		at++;
		if (sscanf(copy, "@%" SCNu64 ",%" SCNu64 ",%" SCNu64 ";", &received_ns, &embedding_ns, &written_ns) != 3)
			continue;
		bool is_first = client->received_ns == 0;
		client->received_ns = received_ns;
		client->embedding_ns = embedding_ns;
		client->written_ns = written_ns;
		spread_add(&load->token, now_ns - written_ns);
		if (is_first)
			spread_add(&load->added_first, added_ns(client, now_ns));
	}
}

/* ---- requests and replies ---- */

static void client_write(const struct load *load, struct client *client)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

	while (client->out.length) {
		ssize_t n = send(client->fd, client->out.data, client->out.length, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			event.events |= EPOLLOUT;
			break;
		}
		if (n < 0)
			die("send");
		buffer_consume(&client->out, (size_t)n);
		if (client->out.length == 0)
			return;
	}
	if (epoll_ctl(load->epoll, EPOLL_CTL_MOD, client->fd, &event) != 0)
		die("epoll_ctl");
}

static bool is_over(const struct load *load, uint64_t now_ns)
{
	return load->sent >= load->count || now_ns - load->started_ns >= load->time_ms * 1000000;
}

static void client_send(struct load *load, struct client *client, uint64_t now_ns)
{
	if (is_over(load, now_ns))
		return;
	client->received_ns = 0;
	for (uint32_t i = 0; i < load->depth && load->sent < load->count; i++, load->sent++, client->awaited++)
		if (protocol_append(&load->protocol, &client->out, (uint32_t)(load->first_key + load->sent % load->keys),
				    i) != 0)
			die("no memory");
	load->awaited += client->awaited;
	client->sent_ns = clock_ns();
	client_write(load, client);
}

static void take_reply(struct load *load, struct client *client, const struct reply *reply, uint64_t now_ns)
{
	if (load->is_stamped && !reply->is_final)
		read_stamps(load, client, reply->text, now_ns);
	if (!reply->is_final)
		return;
	if (client->awaited == 0)
		die("a reply that nobody waits for");
	if (!reply->is_good && load->errors++ == 0)
		(void)fprintf(stderr, "an error: %.*s\n", (int)reply->text.length, reply->text.data);
	if (load->replies++ == 0)
		load->first_reply_ns = now_ns;
	if (client->received_ns)
		spread_add(&load->added_end, added_ns(client, now_ns));
	spread_add(&load->latency, now_ns - client->sent_ns);
	load->ended_ns = now_ns;
	load->awaited--;
	client->awaited--;
}

static void client_read(struct load *load, struct client *client)
{
	size_t used = 0;
	struct reply reply;

	if (buffer_reserve(&client->in, READ_BYTES) != 0)
		die("no room for a reply");
	ssize_t n = recv(client->fd, client->in.data + client->in.length, client->in.capacity - client->in.length, 0);
	uint64_t now_ns = clock_ns();
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		die("%s: the connection ended", load->path);
	client->in.length += (size_t)n;
	load->bytes += (uint64_t)n;
	while (used < client->in.length) {
		struct slice rest = {client->in.data + used, client->in.length - used};
		int error = protocol_read(&load->protocol, &client->scanner, rest, &reply);
		if (error == ERROR_PENDING)
			break;
		if (error)
			die("a reply that is none");
		take_reply(load, client, &reply, now_ns);
		used += reply.length;
	}
	buffer_consume(&client->in, used);
	if (client->awaited == 0)
		client_send(load, client, now_ns);
}

/* ---- a run ---- */

static void load_connect(struct load *load)
{
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->clients = calloc(load->connections, sizeof(*load->clients));
	if (load->epoll < 0 || !load->clients)
		die("epoll");
	for (size_t i = 0; i < load->connections; i++) {
		struct client *client = &load->clients[i];
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
		client->fd = unix_connect(load->path, load->patience_ms);
		buffer_init(&client->in, INPUT_MOST);
		buffer_init(&client->out, INPUT_MOST);
		scanner_init(&client->scanner, INPUT_MOST);
		if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
			die("epoll_ctl");
	}
}

static void load_run(struct load *load)
{
	struct epoll_event events[EVENTS];

	load->started_ns = clock_ns();
	for (size_t i = 0; i < load->connections; i++)
		client_send(load, &load->clients[i], load->started_ns);
	while (load->awaited > 0) {
		int count = epoll_wait(load->epoll, events, EVENTS, PATIENCE_MS);
		if (count < 0 && errno != EINTR)
			die("epoll_wait");
		if (count == 0)
			die("%s: no reply in time; %" PRIu64 " are awaited", load->path, load->awaited);
		for (int i = 0; i < count; i++) {
			if (events[i].events & EPOLLOUT)
				client_write(load, events[i].data.ptr);
			if (events[i].events & ~(uint32_t)EPOLLOUT)
				client_read(load, events[i].data.ptr);
		}
	}
}

static uint64_t own_cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void load_print(const struct load *load, uint64_t cpu_ns, uint64_t own_ns)
{
	printf("{\"replies\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"elapsed_ns\":%" PRIu64
	       ",\"first_reply_ns\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"own_cpu_ns\":%" PRIu64 ",",
	       load->replies, load->errors, load->bytes, load->ended_ns - load->started_ns, load->first_reply_ns, cpu_ns,
	       own_ns);
	spread_print("latency", &load->latency);
	printf(",");
	spread_print("token", &load->token);
	printf(",");
	spread_print("added_first", &load->added_first);
	printf(",");
	spread_print("added_end", &load->added_end);
	printf("}\n");
}

static void usage(void)
{
	(void)fprintf(stderr, "usage: bench_load SOCKET semcache|redis|memcached [OPTION...]\n"
			      "  --connections N  --depth N (requests in a batch)  --count N  --time-ms N\n"
			      "  --keys N (different requests)  --first-key N  --set BYTES (store instead of get)\n"
			      "  --stream  --stamped (the texts have stamps; implies --stream)\n"
			      "  --pid N (whose CPU is counted)  --patience-ms N (for connecting)\n");
	exit(EXIT_FAILURE);
}

static enum protocol_kind kind_of(const char *name)
{
	static const char *const names[] = {"semcache", "redis", "memcached"};

	for (enum protocol_kind kind = PROTOCOL_SEMCACHE; kind <= PROTOCOL_MEMCACHED; kind++)
		if (strcmp(name, names[kind]) == 0)
			return kind;
	usage();
	return PROTOCOL_SEMCACHE;
}

static void read_options(struct load *load, int argc, char **argv)
{
	static const struct option options[] = {
		{"connections", required_argument, NULL, 'c'}, {"depth", required_argument, NULL, 'd'},
		{"count", required_argument, NULL, 'n'},       {"time-ms", required_argument, NULL, 't'},
		{"keys", required_argument, NULL, 'k'},        {"first-key", required_argument, NULL, 'f'},
		{"set", required_argument, NULL, 's'},         {"pid", required_argument, NULL, 'p'},
		{"patience-ms", required_argument, NULL, 'w'}, {"stream", no_argument, NULL, 'S'},
		{"stamped", no_argument, NULL, 'T'},           {0},
	};
	const struct {
		int option;
		uint64_t *value, most;
	} numbers[] = {
		{'c', &load->connections, 10000}, {'d', &load->depth, 4096},         {'n', &load->count, 1000000000},
		{'t', &load->time_ms, 600000},    {'k', &load->keys, KEY_MOST / 2},  {'f', &load->first_key, KEY_MOST / 2},
		{'s', &load->set_bytes, 1 << 20}, {'w', &load->patience_ms, 600000},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			if (numbers[i].option == option)
				*numbers[i].value = number_read(argv[optind - 2], optarg, numbers[i].most);
		if (option == 'p')
			load->pid = (long)number_read("--pid", optarg, INT32_MAX);
		load->is_stamped |= option == 'T';
		load->is_stream |= option == 'S' || option == 'T';
		if (option == '?')
			usage();
	}
	if (optind != argc - 2 || !load->connections || !load->depth || !load->keys)
		usage();
	load->path = argv[optind];
}

int main(int argc, char **argv)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		die("no memory");
	load->connections = load->depth = load->keys = 1;
	load->count = 1000;
	load->time_ms = 60000;
	read_options(load, argc, argv);
	enum protocol_kind kind = kind_of(argv[optind + 1]);
	if (protocol_init(&load->protocol, kind, load->set_bytes, load->is_stream) != 0)
		die("no request");
	load_connect(load);
	uint64_t cpu_ns = process_cpu_ns(load->pid), own_ns = own_cpu_ns();
	load_run(load);
	cpu_ns = process_cpu_ns(load->pid) - cpu_ns;
	load_print(load, cpu_ns, own_cpu_ns() - own_ns);
	for (size_t i = 0; i < load->connections; i++) {
		(void)close(load->clients[i].fd);
		buffer_deinit(&load->clients[i].in);
		buffer_deinit(&load->clients[i].out);
	}
	(void)close(load->epoll);
	protocol_deinit(&load->protocol);
	free(load->clients);
	free(load);
	return EXIT_SUCCESS;
}
