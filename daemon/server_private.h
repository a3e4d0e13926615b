/* What server.c and conn.c share. Nobody else includes it. */
#ifndef DAEMON_SERVER_PRIVATE_H
#define DAEMON_SERVER_PRIVATE_H

#include "server.h"

#include "deadline.h"
#include "log.h"

#include "../proto/buffer.h"

#include <sys/types.h>
#include <uv.h>

#define SERVER_READ_BYTES (64u << 10)

#define SERVER_SPARES 4

struct server {
	struct service *service;
	uv_poll_t listener; /* on `fd` */
	uv_prepare_t pump;  /* writes, before each poll */
	uv_idle_t busy;     /* keeps the loop from waiting while connections are left to the next turn */
	struct conn *conns;
	struct buffer spares[SERVER_SPARES]; /* for output */
	size_t spare_count;
	size_t work;        /* done in this turn, see conn.c */
	struct conn *awake; /* those with something to write or to resume, in turn */
	size_t count, awake_count;
	size_t room;       /* connections that descriptors suffice for */
	uint64_t turn;     /* the number of the loop's turn */
	uint64_t numbers;  /* the number of the last connection */
	bool is_accepting; /* until the daemon ends */
	bool is_put_off;   /* somebody may wait in the backlog, but the listener is not polled */
	bool is_ending, is_listening;
	struct deadline retry; /* accepting failed: not before this */
	struct deadline end;   /* how long clients may still read */
	struct log_limit accept_log, stall_log;
	bool has_admin_group;
	gid_t admin_gid;
	int fd;           /* the listening socket, or -1 */
	int lock;         /* descriptor, or -1 */
	bool owns_socket; /* it was made here, and is at server.socket under `device` and `inode` */
	dev_t device;
	ino_t inode;
	unsigned handles;  /* open ones of this struct; it is freed with the last */
	char *read_buffer; /* one for all: what is not a whole message is copied to its connection */
};

/* server.c: a connection has closed, and is freed next. */
void server_forget(struct server *server);

/* conn.c, on all connections of a server: */

/* Lets those that are awake write, at most SERVER_WRITES of them, in turn. */
void conns_pump(struct server *server);
/* The daemon is ending: from now on clients that do not read are not waited for longer than a second. */
void conns_hurry(struct server *server);
/* Ends their calls and closes each: at once, or `gently`, when all it has to write is written. */
void conns_close(struct server *server, bool gently);
/* Returns the bytes not yet read by the clients. */
size_t conns_unread(const struct server *server);

#endif
