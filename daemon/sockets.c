/* The loop finds the set readable, and the set says which sockets are. What is left over keeps the set readable.
 * What can go wrong: a socket was closed before it was forgotten, which took it out of the set. */
#include "sockets.h"

#include "../proto/error.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

struct sockets {
	uv_poll_t poll;
	int set;
	sockets_told *told;
	void *data;
};

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct sockets *sockets = poll->data;
	struct epoll_event found[SOCKETS_A_TURN];
	struct sockets_ready ready[SOCKETS_A_TURN];
	int count = epoll_wait(sockets->set, found, SOCKETS_A_TURN, 0);
	(void)status, (void)events;

	for (int i = 0; i < count; i++) {
		ready[i] = (struct sockets_ready){
			.fd = found[i].data.fd,
			.readable = (found[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0,
			.writable = (found[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0,
		};
	}
	if (count > 0)
		sockets->told(sockets->data, ready, count);
}

struct sockets *sockets_create(struct uv_loop_s *loop, sockets_told *told, void *data)
{
	struct sockets *sockets = calloc(1, sizeof(*sockets));

	if (!sockets)
		return NULL;
	*sockets = (struct sockets){.told = told, .data = data, .set = epoll_create1(EPOLL_CLOEXEC)};
	if (sockets->set < 0 || uv_poll_init(loop, &sockets->poll, sockets->set)) {
		if (sockets->set >= 0)
			(void)close(sockets->set);
		free(sockets);
		return NULL;
	}
	sockets->poll.data = sockets;
	if (uv_poll_start(&sockets->poll, UV_READABLE, on_ready)) {
		sockets_destroy(sockets);
		return NULL;
	}
	return sockets;
}

static void on_closed(uv_handle_t *handle)
{
	struct sockets *sockets = handle->data;

	(void)close(sockets->set);
	free(sockets);
}

void sockets_destroy(struct sockets *sockets)
{
	if (sockets)
		uv_close((uv_handle_t *)&sockets->poll, on_closed);
}

int sockets_watch(struct sockets *sockets, int fd, bool readable, bool writable)
{
	struct epoll_event event = {.data.fd = fd};

	event.events = (readable ? (uint32_t)EPOLLIN : 0) | (writable ? (uint32_t)EPOLLOUT : 0);
	if (epoll_ctl(sockets->set, EPOLL_CTL_MOD, fd, &event) == 0)
		return 0;
	return epoll_ctl(sockets->set, EPOLL_CTL_ADD, fd, &event) ? ERROR_INTERNAL : 0;
}

void sockets_forget(struct sockets *sockets, int fd)
{
	struct epoll_event event = {.data.fd = fd};

	(void)epoll_ctl(sockets->set, EPOLL_CTL_DEL, fd, &event);
}
