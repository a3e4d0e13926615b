/* One client: reads its bytes, cuts them into messages, writes what its calls have to say.
 *
 *   socket ─ read ≤ 64 KiB a turn ─> in ─ scanner ─> call_message() … ┐   ≤ 128 messages a turn
 *   socket <─ one write a turn ─ out <─ calls_write() <─ pump (server) ┘   ≤ 128 connections a turn, round robin
 *
 * Everything a turn has to say to one client leaves in one write at the turn's end. While more than CONN_HIGH_WATER bytes wait
 * to be read by the client, no message is cut and nothing is read from the socket.
 * What can go wrong: a message that is malformed or too large (its other calls end, a last error, then closed), a client that
 * does not read for server.write_timeout_ms or leaves more than server.max_output_bytes unread (closed), one that goes away or
 * closes its sending side, which counts as the same (its calls leave). */
#ifndef DAEMON_CONN_H
#define DAEMON_CONN_H

#include "../proto/buffer.h"

#define CONN_HIGH_WATER (256u << 10)
/* What calls may append for one write, so that no client's turn is longer than another's. */
#define CONN_SLICE (64u << 10)

struct conn;
struct service;
struct server;

/* Starts a connection on `fd`, accepted and not blocking. The connection frees itself when it has closed. Returns 0, or
 * ERROR_MEMORY or ERROR_INTERNAL, and then `fd` is still the caller's. */
int conn_start(struct server *server, struct service *service, int fd);

/* Where calls append whole messages; they are written at the end of this turn. A failed append (max_output_bytes) must be
 * followed by conn_close(). */
struct buffer *conn_out(struct conn *conn);

/* Something was appended, or a call has more to say when there is room: the pump will look at this connection. */
void conn_wake(struct conn *conn);

/* Returns whether less than CONN_HIGH_WATER bytes, and less than half of max_output_bytes, wait to be read by the client;
 * false once it is closing. */
bool conn_has_room(const struct conn *conn);

/* Closes the connection, soon: what is in `out` is still offered to the socket once, no message is read any more, and
 * calls_close() is called from the pump, never from within this function. `why` is a constant for the log. */
void conn_close(struct conn *conn, const char *why);

/* Returns whether the peer is root, the daemon's user, or in admin_group (SO_PEERCRED and SO_PEERGROUPS, no look-up of
 * names). */
bool conn_is_admin(const struct conn *conn);

/* Returns the connection's number, as in the log. */
uint64_t conn_number(const struct conn *conn);

/* Returns the user id of the peer, and its process id (0 = in another namespace of processes). */
unsigned conn_uid(const struct conn *conn);
int conn_pid(const struct conn *conn);

#endif
