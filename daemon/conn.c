/* All goes well: libuv reads into the server's one buffer, whole messages are handled where they lie, only the rest of a cut
 * one is copied; what the calls say gathers in `out` and leaves by one write() in the pump. What the socket does not take at
 * once becomes `writing`, which libuv sends on; more output gathers behind it. What can go wrong: the client sends more than
 * its share of a turn (the rest waits in `in`, and is handled before more is read), reads too slowly (messages are no longer
 * cut, then nothing is read, then it is closed), sends nonsense (a last error), or goes away. conn_close() only marks: the
 * pump closes, so no call loses its connection under it. */
#include "conn.h"

#include "call.h"
#include "deadline.h"
#include "server_private.h"
#include "service.h"

#include "../proto/scanner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

/* Messages handled for one connection in one turn. */
#define MESSAGES_A_TURN 128
/* What is handled for all connections in one turn, somewhat over a millisecond's worth: an answer from memory counts 1, a
 * call that has to wait, for which much is begun, WORK_OF_A_CALL. */
#define WORK_A_TURN 1600
#define WORK_OF_A_CALL 40
/* Buffers that grew beyond this are given back when they are empty. */
#define BUFFER_KEPT (16u << 10)
#define SPARE_MOST (256u << 10)
/* The patience with a client that does not read, once the daemon is ending, or does not leave after it was told the end. */
#define HURRY_MS 1000
#define GROUPS_USUAL 64
/* Linux gives nobody more. */
#define GROUPS_MOST 65536

enum conn_state {
	CONN_OPEN,
	CONN_FINISHING, /* no call any more; goes on when all is written */
	CONN_LINGERING, /* the client is told the end, and may finish what it is sending */
	CONN_CLOSING,   /* closes in the pump's next turn */
	CONN_CLOSED,    /* waits for libuv */
};

struct conn {
	uv_pipe_t pipe;                       /* first: libuv's callbacks get this */
	struct conn *prev, *next;             /* server->conns */
	struct conn *awake_prev, *awake_next; /* server->awake */
	bool is_awake;
	struct server *server;
	struct service *service;
	enum conn_state state;
	const char *why;
	uint64_t number;
	uid_t uid;
	pid_t pid;
	bool is_admin, is_reading, is_writing;
	bool lingers;       /* after CONN_FINISHING; else it closes */
	bool is_behind;     /* whole messages may be left in `in` */
	uint64_t turn;      /* of the loop, in which … */
	unsigned handled;   /* … this many messages were handled */
	uint64_t read_turn; /* the last one in which something was read */
	struct scanner scanner;
	struct buffer in;
	struct buffer out, writing;
	uv_write_t write;
	size_t unsent;         /* of `writing`, when the stall deadline was started */
	struct deadline stall; /* while `is_writing`, and in CONN_LINGERING */
	struct calls calls;
};

/* ---- small answers ---- */

struct buffer *conn_out(struct conn *conn)
{
	struct server *server = conn->server;

	if (!conn->out.data && server->spare_count > 0)
		conn->out = server->spares[--server->spare_count];
	return &conn->out;
}

static size_t conn_unread(const struct conn *conn)
{
	size_t unsent = conn->is_writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&conn->pipe) : 0;

	return conn->out.length + unsent;
}

bool conn_has_room(const struct conn *conn)
{
	/* Half, so that one more chunk always fits. */
	size_t most = conn->out.max / 2 < CONN_HIGH_WATER ? conn->out.max / 2 : CONN_HIGH_WATER;

	return conn->state == CONN_OPEN && conn_unread(conn) < most;
}

bool conn_is_admin(const struct conn *conn)
{
	return conn->is_admin;
}

uint64_t conn_number(const struct conn *conn)
{
	return conn->number;
}

unsigned conn_uid(const struct conn *conn)
{
	return conn->uid;
}

int conn_pid(const struct conn *conn)
{
	return conn->pid;
}

void conn_wake(struct conn *conn)
{
	struct server *server = conn->server;

	if (conn->is_awake || conn->state == CONN_CLOSED)
		return;
	conn->is_awake = true;
	DL_APPEND2(server->awake, conn, awake_prev, awake_next);
	server->awake_count++;
}

static void conn_sleep(struct conn *conn)
{
	struct server *server = conn->server;

	if (!conn->is_awake)
		return;
	conn->is_awake = false;
	DL_DELETE2(server->awake, conn, awake_prev, awake_next);
	server->awake_count--;
}

void conn_close(struct conn *conn, const char *why)
{
	if (conn->state >= CONN_CLOSING)
		return;
	conn->state = CONN_CLOSING;
	conn->why = why;
	conn_wake(conn);
}

/* Ends its calls in the pump, and closes when what is in `out` by then is written. */
static void conn_finish(struct conn *conn, const char *why)
{
	if (conn->state != CONN_OPEN)
		return;
	conn->state = CONN_FINISHING;
	conn->why = why;
	conn_wake(conn);
}

/* After a message that cannot be followed. A client that is still sending would be told only that its pipe is broken, and
 * not read the last error: so what it sends is thrown away until it leaves. */
static void conn_refuse(struct conn *conn, const char *why)
{
	conn->lingers = true;
	conn_finish(conn, why);
}

/* ---- reading ---- */

/* Whether another message may be handled now: there is room for its answer, and neither the connection's share of the turn
 * nor the turn itself is used up. */
static bool may_handle(struct conn *conn)
{
	if (conn->turn != conn->server->turn) {
		conn->turn = conn->server->turn;
		conn->handled = 0;
	}
	return conn->handled < MESSAGES_A_TURN && conn->server->work < WORK_A_TURN && conn_has_room(conn);
}

/* Handles the whole messages at `data`, as long as it may. Returns how many bytes were handled. */
static size_t handle_messages(struct conn *conn, const char *data, size_t length)
{
	size_t at = 0;

	conn->is_behind = false;
	while (at < length && conn->state == CONN_OPEN) {
		size_t end;
		if (!may_handle(conn)) {
			conn->is_behind = true;
			conn_wake(conn);
			break;
		}
		int error = scanner_scan(&conn->scanner, data + at, length - at, &end);
		if (error == ERROR_PENDING)
			break;
		if (error) {
			call_unreadable(&conn->calls, error);
			conn_refuse(conn, error_text(error));
			break;
		}
		size_t calls = conn->calls.count;
		conn->handled++;
		if (call_message(&conn->calls, (struct slice){data + at, end}) != 0)
			conn_refuse(conn, "it sent a message that cannot be answered");
		conn->server->work += conn->calls.count > calls ? WORK_OF_A_CALL : 1;
		at += end;
	}
	return at;
}

/* Handles what was kept. Whatever is left is part of a message, unless the connection is behind. */
static void handle_kept(struct conn *conn)
{
	size_t done = handle_messages(conn, conn->in.data, conn->in.length);

	buffer_consume(&conn->in, done);
	if (conn->in.length == 0 && conn->in.capacity > BUFFER_KEPT)
		buffer_deinit(&conn->in);
}

/* Without a buffer libuv reads nothing, tells on_read() UV_ENOBUFS, and asks again in the next turn. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct conn *conn = (struct conn *)handle;
	struct server *server = conn->server;

	(void)suggested;
	if ((conn->is_behind && conn->state == CONN_OPEN) || conn->read_turn == server->turn) {
		*buf = uv_buf_init(NULL, 0);
		return;
	}
	conn->read_turn = server->turn;
	*buf = uv_buf_init(server->read_buffer, SERVER_READ_BYTES);
}

static void pause_reading(struct conn *conn)
{
	if (!conn->is_reading)
		return;
	(void)uv_read_stop((uv_stream_t *)&conn->pipe);
	conn->is_reading = false;
	conn->service->metrics.reads_paused++;
}

static void flush(struct conn *conn);

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
	struct conn *conn = (struct conn *)stream;
	size_t done = 0;

	if (count == 0 || count == UV_ENOBUFS)
		return;
	if (count < 0 && conn->state == CONN_FINISHING) {
		/* It may still read; if not, writing fails. */
		conn->lingers = false;
	} else if (count < 0) {
		conn_close(conn, count == UV_EOF ? "the client left" : uv_strerror((int)count));
	}
	if (conn->state != CONN_OPEN)
		return;
	size_t length = (size_t)count;
	bool is_first = conn->in.length == 0;
	if (is_first)
		done = handle_messages(conn, buf->base, length);
	if (conn->state != CONN_OPEN)
		return;
	if (done < length && buffer_append(&conn->in, buf->base + done, length - done) != 0) {
		conn_close(conn, "out of memory for its message");
		return;
	}
	if (!is_first)
		handle_kept(conn);
	/* What was answered at once leaves at once; what calls have to say is the pump's. */
	if (conn->state == CONN_OPEN && conn->is_awake && !conn->is_behind && !conn->calls.talking) {
		flush(conn);
		if (conn->state == CONN_OPEN && conn_has_room(conn))
			conn_sleep(conn);
	}
	if (!conn_has_room(conn))
		pause_reading(conn);
}

static int resume_reading(struct conn *conn)
{
	if (conn->is_reading)
		return 0;
	conn->is_reading = true;
	return uv_read_start((uv_stream_t *)&conn->pipe, on_alloc, on_read);
}

/* ---- writing ---- */

static uint64_t patience_ms(const struct conn *conn)
{
	uint64_t usual = conn->service->config->server.write_timeout_ms;

	return conn->service->draining && usual > HURRY_MS ? HURRY_MS : usual;
}

static void stall_expired(struct deadline *stall)
{
	struct conn *conn = (struct conn *)((char *)stall - offsetof(struct conn, stall));
	struct service *service = conn->service;
	size_t unsent = uv_stream_get_write_queue_size((const uv_stream_t *)&conn->pipe);
	uint64_t left_out;

	if (conn->state == CONN_LINGERING) {
		conn_close(conn, conn->why);
		return;
	}
	if (unsent < conn->unsent) {
		conn->unsent = unsent;
		if (deadline_start(service->deadlines, stall, patience_ms(conn)) == 0)
			return;
	}
	service->metrics.connections_stalled++;
	if (log_allows(&conn->server->stall_log, deadlines_now_ms(service->deadlines), &left_out))
		log_write(&service->log, LOG_LEVEL_WARNING,
			  "client_stalled conn=%llu uid=%u unread=%zu calls=%zu left_out=%llu",
			  (unsigned long long)conn->number, (unsigned)conn->uid, conn_unread(conn), conn->calls.count,
			  (unsigned long long)left_out);
	conn_close(conn, "the client did not read for server.write_timeout_ms");
}

static void on_written(uv_write_t *write, int status)
{
	struct conn *conn = write->data;

	conn->is_writing = false;
	buffer_deinit(&conn->writing);
	if (conn->state == CONN_CLOSED)
		return;
	deadline_stop(conn->service->deadlines, &conn->stall);
	if (status < 0)
		conn_close(conn, uv_strerror(status));
	conn_wake(conn);
}

/* What the socket does not take now, all behind the first `written` bytes of `out`, libuv sends when it does. */
static int write_rest(struct conn *conn, size_t written)
{
	conn->writing = conn->out;
	buffer_init(&conn->out, conn->writing.max);
	conn->write.data = conn;
	uv_buf_t buf = uv_buf_init(conn->writing.data + written, (unsigned)(conn->writing.length - written));
	int error = uv_write(&conn->write, (uv_stream_t *)&conn->pipe, &buf, 1, on_written);
	if (error) {
		buffer_deinit(&conn->writing);
		return error;
	}
	conn->is_writing = true;
	conn->unsent = buf.len;
	return deadline_start(conn->service->deadlines, &conn->stall, patience_ms(conn));
}

/* An idle connection keeps no buffer. A few go to whoever writes next, so that they are not allocated anew in each turn. */
static void give_back(struct conn *conn)
{
	struct server *server = conn->server;

	conn->out.length = 0;
	if (server->spare_count < SERVER_SPARES && conn->out.capacity <= SPARE_MOST) {
		server->spares[server->spare_count++] = conn->out;
		buffer_init(&conn->out, conn->out.max);
	} else {
		buffer_deinit(&conn->out);
	}
}

static void flush(struct conn *conn)
{
	if (conn->is_writing || conn->out.length == 0)
		return;
	uv_buf_t buf = uv_buf_init(conn->out.data, (unsigned)conn->out.length);
	int written = uv_try_write((uv_stream_t *)&conn->pipe, &buf, 1);
	if (written == UV_EAGAIN)
		written = 0;
	if (written < 0) {
		conn_close(conn, uv_strerror(written));
		return;
	}
	if ((size_t)written == conn->out.length) {
		give_back(conn);
	} else if (conn->state < CONN_CLOSING && write_rest(conn, (size_t)written) != 0) {
		conn_close(conn, "out of memory for its output");
	}
}

/* ---- the pump's turn ---- */

static void on_closed(uv_handle_t *handle)
{
	struct conn *conn = (struct conn *)handle;

	buffer_deinit(&conn->in);
	buffer_deinit(&conn->out);
	buffer_deinit(&conn->writing);
	struct server *server = conn->server;
	DL_DELETE2(server->conns, conn, prev, next);
	free(conn);
	server_forget(server);
}

static void conn_end(struct conn *conn)
{
	conn_sleep(conn);
	conn->state = CONN_CLOSED;
	deadline_stop(conn->service->deadlines, &conn->stall);
	log_write(&conn->service->log, LOG_LEVEL_DEBUG, "disconnected conn=%llu why=\"%s\"",
		  (unsigned long long)conn->number, conn->why);
	calls_close(&conn->calls);
	uv_close((uv_handle_t *)&conn->pipe, on_closed);
}

/* Tells the client the end, and waits for it to leave. */
static int linger(struct conn *conn)
{
	uv_os_fd_t fd;

	conn->state = CONN_LINGERING;
	if (uv_fileno((const uv_handle_t *)&conn->pipe, &fd) != 0 || shutdown(fd, SHUT_WR) != 0 || resume_reading(conn) != 0)
		return ERROR_INTERNAL;
	return deadline_start(conn->service->deadlines, &conn->stall, HURRY_MS);
}

static void conn_pump(struct conn *conn)
{
	bool has_more = false;

	if (conn->state == CONN_FINISHING)
		calls_close(&conn->calls);
	if (conn->state == CONN_OPEN && conn->is_behind)
		handle_kept(conn);
	if (conn->state == CONN_OPEN)
		has_more = calls_write(&conn->calls);
	flush(conn);
	bool is_finished = conn->state == CONN_FINISHING && conn_unread(conn) == 0;
	if (is_finished && conn->lingers && linger(conn) == 0)
		return;
	if (is_finished || conn->state == CONN_CLOSING) {
		conn_end(conn);
		return;
	}
	/* on_written() wakes it when there is room again. */
	if (conn->state != CONN_OPEN || !conn_has_room(conn))
		return;
	if (has_more || conn->is_behind)
		conn_wake(conn);
	if (!conn->is_behind && resume_reading(conn) != 0)
		conn_close(conn, "it cannot be read");
}

void conns_pump(struct server *server)
{
	/* Those that wake up meanwhile have their turn in the next round. */
	size_t turns = server->awake_count < SERVER_WRITES ? server->awake_count : SERVER_WRITES;

	while (turns-- > 0 && server->awake) {
		struct conn *conn = server->awake;
		conn_sleep(conn);
		conn_pump(conn);
	}
}

void conns_hurry(struct server *server)
{
	struct conn *conn;

	DL_FOREACH2(server->conns, conn, next)
	{
		if (!conn->is_writing || conn->state >= CONN_CLOSING)
			continue;
		conn->unsent = uv_stream_get_write_queue_size((const uv_stream_t *)&conn->pipe);
		/* It takes the place that it has already. */
		(void)deadline_start(conn->service->deadlines, &conn->stall, patience_ms(conn));
	}
}

void conns_close(struct server *server, bool gently)
{
	struct fault fault;
	struct conn *conn;

	/* Not DRAINING: that would have clients ask again what the model may be working on. */
	(void)fault_set(&fault, ERROR_UNAVAILABLE, "", "the daemon ended before there was an answer");
	DL_FOREACH2(server->conns, conn, next)
	{
		/* At once, because what they wait for goes next. */
		if (gently && conn->state == CONN_OPEN)
			calls_fail(&conn->calls, &fault);
		else
			calls_close(&conn->calls);
		conn->lingers = false;
		if (gently && conn->state != CONN_LINGERING)
			conn_finish(conn, "the daemon is ending");
		else
			conn_close(conn, "the daemon is ending");
	}
}

size_t conns_unread(const struct server *server)
{
	const struct conn *conn;
	size_t sum = 0;

	DL_FOREACH2(server->conns, conn, next)
	sum += conn_unread(conn);
	return sum;
}

/* ---- beginning ---- */

/* Whether the peer is in `wanted`; its groups are asked of the kernel, which noted them when it connected. */
static bool is_in_group(int fd, gid_t wanted)
{
	gid_t usual[GROUPS_USUAL], *groups = usual;
	socklen_t size = sizeof(usual);
	bool is_in = false;

	int failed = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, usual, &size);
	if (failed && errno == ERANGE && size <= GROUPS_MOST * sizeof(gid_t)) {
		groups = malloc(size);
		failed = !groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0;
	}
	for (size_t i = 0; !failed && i < size / sizeof(groups[0]); i++)
		is_in = is_in || groups[i] == wanted;
	if (groups != usual)
		free(groups);
	return is_in;
}

/* Who the client is: its user, and whether it may call what admins may. */
static int take_credentials(struct conn *conn, int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	const struct server *server = conn->server;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
		return ERROR_INTERNAL;
	conn->uid = peer.uid;
	conn->pid = peer.pid;
	conn->is_admin = peer.uid == 0 || peer.uid == geteuid() ||
			 (server->has_admin_group && (peer.gid == server->admin_gid || is_in_group(fd, server->admin_gid)));
	return 0;
}

int conn_start(struct server *server, struct service *service, int fd)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return ERROR_MEMORY;
	conn->server = server;
	conn->service = service;
	if (take_credentials(conn, fd) != 0 || uv_pipe_init(service->loop, &conn->pipe, 0) != 0) {
		free(conn);
		return ERROR_INTERNAL;
	}
	conn->number = ++server->numbers;
	DL_APPEND2(server->conns, conn, prev, next);
	server->count++;
	conn->stall.expired = stall_expired;
	/* No turn has this number yet. */
	conn->read_turn = UINT64_MAX;
	scanner_init(&conn->scanner, service->config->server.max_message_bytes);
	/* While a connection is behind nothing is read, so beside a part of a message it holds at most what one read
	 * brought. */
	buffer_init(&conn->in, service->config->server.max_message_bytes + SERVER_READ_BYTES);
	buffer_init(&conn->out, service->config->server.max_output_bytes);
	buffer_init(&conn->writing, service->config->server.max_output_bytes);
	calls_init(&conn->calls, conn, service);
	service->metrics.connections_accepted++;
	/* From here on the handle has the descriptor, and closes it. */
	if (uv_pipe_open(&conn->pipe, fd) != 0) {
		(void)close(fd);
		conn_close(conn, "it could not be accepted");
	} else if (resume_reading(conn) != 0) {
		conn_close(conn, "it cannot be read");
	}
	log_write(&service->log, LOG_LEVEL_DEBUG, "connected conn=%llu uid=%u", (unsigned long long)conn->number,
		  (unsigned)conn->uid);
	return 0;
}
