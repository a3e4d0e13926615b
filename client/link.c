/* All goes well: connect, send, receive, message by message. A Unix socket connects at once or not at all.
 * What can go wrong: nobody listens, or the daemon's queue of new connections is full (the next attempt waits 5 ms, then
 * twice as long, at most 200 ms); the path is wrong or forbidden (no attempt would help); the peer goes away. */
#include "link.h"

#include "../proto/error.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RECEIVE_BYTES (64 * 1024)
#define KEEP_BYTES (1024 * 1024)
#define FIRST_WAIT_MS 5
#define LONGEST_WAIT_MS 200

void link_init(struct link *link, size_t max_message_bytes)
{
	*link = (struct link){.fd = -1, .epoll = -1};
	buffer_init(&link->in, max_message_bytes + RECEIVE_BYTES);
	/* One message at a time is put into `out` while it is not empty, and small cancels between. */
	buffer_init(&link->out, 2 * max_message_bytes + 4 * 1024 * 1024);
	scanner_init(&link->scanner, max_message_bytes);
}

void link_close(struct link *link)
{
	/* Closing alone is not enough: a child of fork(2) may keep the connection open, and with it epoll's interest. */
	if (link->watched)
		(void)epoll_ctl(link->epoll, EPOLL_CTL_DEL, link->fd, NULL);
	link->watched = 0;
	if (link->fd >= 0)
		(void)close(link->fd);
	link->fd = -1;
	link->state = LINK_DOWN;
	buffer_deinit(&link->in);
	buffer_deinit(&link->out);
	link->in_read = 0;
	link->attempts = 0;
	scanner_init(&link->scanner, link->scanner.max_bytes);
}

void link_deinit(struct link *link, bool forked)
{
	if (forked)
		link->watched = 0;
	link_close(link);
	if (link->epoll >= 0)
		(void)close(link->epoll);
	link->epoll = -1;
}

int link_watch(struct link *link)
{
	if (link->epoll < 0)
		link->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (link->epoll < 0)
		return ERROR_MEMORY;
	link_watch_update(link);
	return link->epoll;
}

void link_watch_update(struct link *link)
{
	if (link->epoll < 0 || link->fd < 0)
		return;
	uint32_t events = EPOLLIN | (link->out.length > 0 ? EPOLLOUT : 0U);
	struct epoll_event event = {.events = events, .data.fd = link->fd};
	if (events != link->watched &&
	    epoll_ctl(link->epoll, link->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, link->fd, &event) == 0)
		link->watched = events;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	memcpy(address.sun_path, path, length + 1);
	if (connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1)) == 0)
		return fd;
	int error = errno;
	(void)close(fd);
	errno = error;
	return -1;
}

int link_connect(struct link *link, const char *path, int64_t now_ms)
{
	int64_t wait = FIRST_WAIT_MS;
	int fd = connect_to(path);

	if (fd >= 0) {
		link->fd = fd;
		link->state = LINK_UP;
		link->attempts = 0;
		return 0;
	}
	int error = errno;
	(void)failure_set(&link->failure, ERROR_CONNECT, "", "%s: %s", path, strerror(error));
	if (error != ENOENT && error != ECONNREFUSED && error != EAGAIN && error != EINTR) {
		link->state = LINK_DOWN;
		link->attempts = 0;
		return ERROR_CONNECT;
	}
	if (link->attempts++ == 0)
		link->since_ms = now_ms;
	for (unsigned i = 1; i < link->attempts && wait < LONGEST_WAIT_MS; i++)
		wait *= 2;
	link->retry_at_ms = now_ms + (wait < LONGEST_WAIT_MS ? wait : LONGEST_WAIT_MS);
	link->state = LINK_WAITING;
	return ERROR_PENDING;
}

int link_send(struct link *link)
{
	size_t sent = 0;
	int error = 0;

	while (sent < link->out.length && !error) {
		ssize_t n = send(link->fd, link->out.data + sent, link->out.length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			sent += (size_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
			error = ERROR_PENDING;
		else if (errno != EINTR)
			error = ERROR_CLOSED;
	}
	buffer_consume(&link->out, sent);
	if (link->out.length == 0 && link->out.capacity > KEEP_BYTES)
		buffer_deinit(&link->out);
	return error;
}

/* Drops what is understood, so that the buffer holds at most one message that is not complete. */
static void drop_read(struct link *link)
{
	buffer_consume(&link->in, link->in_read);
	link->in_read = 0;
	if (link->in.length == 0 && link->in.capacity > KEEP_BYTES)
		buffer_deinit(&link->in);
}

int link_receive(struct link *link, bool *more)
{
	*more = false;
	drop_read(link);
	int error = buffer_reserve(&link->in, RECEIVE_BYTES);
	if (error)
		return error;
	for (;;) {
		ssize_t n = recv(link->fd, link->in.data + link->in.length, RECEIVE_BYTES, MSG_DONTWAIT);
		if (n > 0) {
			link->in.length += (size_t)n;
			*more = n == RECEIVE_BYTES;
			return 0;
		}
		if (n == 0)
			return ERROR_CLOSED;
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return ERROR_PENDING;
		if (errno != EINTR)
			return ERROR_CLOSED;
	}
}

int link_message(struct link *link, struct slice *message)
{
	size_t end;

	if (link->in_read == link->in.length)
		return ERROR_PENDING;
	int error = scanner_scan(&link->scanner, link->in.data + link->in_read, link->in.length - link->in_read, &end);
	if (error)
		return error;
	*message = (struct slice){link->in.data + link->in_read, end};
	link->in_read += end;
	return 0;
}
