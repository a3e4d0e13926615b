/* The listening socket, the connections, and the pump that writes for them.
 *
 * Happy path: server_create() takes the socket from systemd (LISTEN_FDS) or makes it (server.socket, with owner, group,
 * mode), accepts up to max_connections, and each turn of the loop lets at most SERVER_WRITES connections write, round robin.
 * What can go wrong: somebody answers on the socket (ERROR_BUSY), the path is a file that is no socket (never unlinked), the
 * lock file is held; too many connections, or no descriptors left (accepting is put off, not refused). */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "../proto/fault.h"

#include <stdbool.h>
#include <stddef.h>

#define SERVER_WRITES 128

struct server;
struct service;

/* Creates the server and its listener. NULL with `fault` filled. */
struct server *server_create(struct service *service, struct fault *fault);

/* No new connection is accepted from now on; existing ones go on, but a client that does not read is waited for only a
 * second. A socket of our own is unlinked and closed, one of systemd's only closed here. */
void server_stop_accepting(struct server *server);

/* Ends all calls, closes all connections and the listener; memory is freed in close callbacks, so the loop must run on until
 * none is left, and `deadlines` with it. With `gently`, calls are answered DRAINING, and what clients still have to read is
 * offered until write_timeout_ms at most. NULL is nothing. */
void server_destroy(struct server *server, bool gently);

/* Returns where it listens, for people: a path, or "systemd". */
const char *server_address(const struct server *server);

/* Returns the open connections. */
size_t server_connections(const struct server *server);

/* Returns the bytes waiting in all connections to be read by their clients. */
size_t server_unread(const struct server *server);

#endif
