/* Many sockets watched as one: an epoll set that the loop polls as a single handle.
 *
 * So one turn of the loop handles at most SOCKETS_A_TURN of them however many are ready, and no libuv handle lives and dies
 * with each connection. Made for libraries that open and close sockets themselves. */
#ifndef DAEMON_SOCKETS_H
#define DAEMON_SOCKETS_H

#include <stdbool.h>

#define SOCKETS_A_TURN 16

struct sockets;
struct uv_loop_s;

/* One that is ready. An error or a hang-up is told as readable and writable: reading or writing finds the reason. */
struct sockets_ready {
	int fd;
	bool readable, writable;
};

/* Told from the loop, with at least one in the list. A socket may have been closed, and its number opened anew, while those
 * before it in the list were handled: a readiness is a hint, never a promise. */
typedef void sockets_told(void *data, const struct sockets_ready *ready, int count);

/* Creates an empty set on `loop`; NULL if there is no memory or descriptor. */
struct sockets *sockets_create(struct uv_loop_s *loop, sockets_told *told, void *data);

/* Closes the set, not the sockets; nothing is told any more. Memory is freed in the close callback. NULL is nothing. */
void sockets_destroy(struct sockets *sockets);

/* Watches `fd` from now on for this and nothing else. Returns 0 or ERROR_INTERNAL. */
int sockets_watch(struct sockets *sockets, int fd, bool readable, bool writable);

/* Watches `fd` no longer. Not watched, or closed already, is nothing. */
void sockets_forget(struct sockets *sockets, int fd);

#endif
