/* The least that asks a model many things at once: libcurl's multi interface on epoll, one transfer for each question, all
 * started together; their events are counted as bytes, not read. Prints how long it took.
 * What can go wrong ends the program; a transfer that fails is counted. */
#include "bench.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 256
#define BODY_MOST 1024

struct chats {
	CURLM *multi;
	int epoll;
	long timeout_ms;
	uint64_t bytes, good, bad;
	struct spread latency;
	uint64_t started_ns;
};

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *mark)
{
	struct chats *chats = data;
	struct epoll_event event = {.data.fd = fd};

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(chats->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
	if (epoll_ctl(chats->epoll, mark ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
		die("epoll_ctl");
	(void)curl_multi_assign(chats->multi, fd, chats);
	return 0;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *data)
{
	struct chats *chats = data;

	(void)multi;
	chats->timeout_ms = timeout_ms;
	return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct chats *chats = context;

	(void)data;
	chats->bytes += size * count;
	return size * count;
}

static void chat_add(struct chats *chats, const char *path, const struct curl_slist *headers, unsigned number)
{
	char body[BODY_MOST];
	CURL *easy = curl_easy_init();

	(void)snprintf(
		body, sizeof(body),
		"{\"model\":\"bench\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":["
		"{\"role\":\"system\",\"content\":\"You are the support assistant of a bank. Answer briefly and name the "
		"page to look at.\"},{\"role\":\"assistant\",\"content\":\"Good morning! What can I help you with?\"},"
		"{\"role\":\"user\",\"content\":\"How do I change the standing order with number %06u so that it ends in "
		"June?\"}],\"temperature\":0.2,\"top_p\":0.9,\"max_tokens\":512,\"seed\":7}",
		number);
	if (!easy || curl_easy_setopt(easy, CURLOPT_URL, "http://localhost/v1/chat/completions") ||
	    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, path) || curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers) ||
	    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body) || curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) ||
	    curl_easy_setopt(easy, CURLOPT_WRITEDATA, chats) || curl_easy_setopt(easy, CURLOPT_PROXY, "") ||
	    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) || curl_multi_add_handle(chats->multi, easy))
		die("libcurl: no transfer");
}

static void chats_finish(struct chats *chats)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(chats->multi, &left))) {
		CURL *easy = message->easy_handle;
		long status = 0;
		if (message->msg != CURLMSG_DONE)
			continue;
		if (message->data.result == CURLE_OK)
			(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (status == 200)
			chats->good++;
		else
			chats->bad++;
		spread_add(&chats->latency, clock_ns() - chats->started_ns);
		(void)curl_multi_remove_handle(chats->multi, easy);
		curl_easy_cleanup(easy);
	}
}

static void chats_run(struct chats *chats, uint64_t count)
{
	struct epoll_event events[EVENTS];
	int running;

	while (chats->good + chats->bad < count) {
		int ready = epoll_wait(chats->epoll, events, EVENTS, (int)chats->timeout_ms);
		if (ready < 0 && errno != EINTR)
			die("epoll_wait");
		if (ready == 0)
			(void)curl_multi_socket_action(chats->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		for (int i = 0; i < ready; i++) {
			int what = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
				   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
				   (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
			(void)curl_multi_socket_action(chats->multi, events[i].data.fd, what, &running);
		}
		chats_finish(chats);
	}
}

int main(int argc, char **argv)
{
	struct chats *chats = calloc(1, sizeof(*chats));

	if (argc != 4 || !chats)
		die("usage: bench_chats SOCKET COUNT FIRST_NUMBER");
	uint64_t count = number_read("COUNT", argv[2], 100000), first = number_read("FIRST_NUMBER", argv[3], 900000);
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	chats->multi = curl_multi_init();
	chats->epoll = epoll_create1(EPOLL_CLOEXEC);
	chats->timeout_ms = -1;
	if (!headers || !chats->multi || chats->epoll < 0 ||
	    curl_multi_setopt(chats->multi, CURLMOPT_SOCKETFUNCTION, on_socket) ||
	    curl_multi_setopt(chats->multi, CURLMOPT_SOCKETDATA, chats) ||
	    curl_multi_setopt(chats->multi, CURLMOPT_TIMERFUNCTION, on_timeout) ||
	    curl_multi_setopt(chats->multi, CURLMOPT_TIMERDATA, chats))
		die("libcurl: no multi");
	chats->started_ns = clock_ns();
	for (uint64_t i = 0; i < count; i++)
		chat_add(chats, argv[1], headers, (unsigned)(first + i));
	chats_run(chats, count);
	printf("{\"good\":%" PRIu64 ",\"bad\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"elapsed_ns\":%" PRIu64
	       ",\"cpu_ns\":%" PRIu64 ",",
	       chats->good, chats->bad, chats->bytes, clock_ns() - chats->started_ns, process_cpu_ns((long)getpid()));
	spread_print("latency", &chats->latency);
	printf("}\n");
	(void)curl_multi_cleanup(chats->multi);
	curl_slist_free_all(headers);
	(void)close(chats->epoll);
	curl_global_cleanup();
	free(chats);
	return EXIT_SUCCESS;
}
