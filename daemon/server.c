/* All goes well: the listener is polled, each turn accepts a few, and before each poll the pump lets connections write. The
 * socket's path is taken under a lock file beside it, so that two daemons that start at once do not take it from each other;
 * a socket that is there already is replaced only if connecting to it is refused, which only a socket without a listener
 * does. What can go wrong: too many connections, or no descriptor for one more: the listener is not polled for a while, and
 * who wants to connect waits in its backlog. */
#include "conn.h"
#include "server_private.h"
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define BACKLOG 4096
/* Descriptors for everything but clients and upstream transfers: Redis, the embedder, epoll, logs, files being read. */
#define DESCRIPTORS_OWN 96
/* The most that server.max_connections can be, which a reload may raise. */
#define CONNECTIONS_MOST 65536
/* Connections accepted in one turn. */
#define ACCEPTS 64
#define ACCEPT_RETRY_MS 100

/* ---- accepting ---- */

static size_t most_connections(const struct server *server)
{
	uint64_t wanted = server->service->config->server.max_connections;

	return wanted < server->room ? (size_t)wanted : server->room;
}

static void put_off(struct server *server)
{
	(void)uv_poll_stop(&server->listener);
	server->is_put_off = true;
}

/* Without a descriptor, or memory, for another connection. */
static void retry_later(struct server *server, const char *why)
{
	struct service *service = server->service;
	uint64_t left_out;

	put_off(server);
	/* Without even that it is tried again in the next turn that something else brings. */
	(void)deadline_start(service->deadlines, &server->retry, ACCEPT_RETRY_MS);
	if (log_allows(&server->accept_log, deadlines_now_ms(service->deadlines), &left_out))
		log_write(&service->log, LOG_LEVEL_ERROR, "accept_failed error=\"%s\" connections=%zu left_out=%llu", why,
			  server->count, (unsigned long long)left_out);
}

static void accept_some(struct server *server)
{
	for (int i = 0; i < ACCEPTS; i++) {
		if (server->count >= most_connections(server)) {
			server->service->metrics.connections_refused++;
			put_off(server);
			return;
		}
		int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0) {
			retry_later(server, strerror(errno));
			return;
		}
		int error = conn_start(server, server->service, fd);
		if (error) {
			(void)close(fd);
			retry_later(server, error_text(error));
			return;
		}
	}
}

static void on_connection(uv_poll_t *listener, int status, int events)
{
	(void)status; /* what is wrong, accept4() says */
	(void)events;
	accept_some(listener->data);
}

static void retry_expired(struct deadline *retry)
{
	(void)retry; /* on_prepare() goes on */
}

/* ---- the pump ---- */

static void on_busy(uv_idle_t *busy)
{
	(void)busy; /* that it is active is all it is for */
}

static void on_prepare(uv_prepare_t *pump)
{
	struct server *server = pump->data;

	server->turn++;
	server->work = 0;
	if (server->is_put_off && server->is_accepting && !server->retry.place && server->count < most_connections(server)) {
		server->is_put_off = false;
		(void)uv_poll_start(&server->listener, UV_READABLE, on_connection);
	}
	if (server->awake_count > 0)
		conns_pump(server);
	if (server->awake_count > 0)
		(void)uv_idle_start(&server->busy, on_busy);
	else
		(void)uv_idle_stop(&server->busy);
}

/* ---- the socket ---- */

static int refuse(struct fault *fault, int code, const char *path, const char *text)
{
	return fault_set(fault, code, "", "%s: %s", path, text);
}

/* Takes the lock file beside the socket. It stays when the daemon ends: removing it could take it from a successor. */
static int take_lock(struct server *server, const char *path, struct fault *fault)
{
	char lock[PATH_MAX];

	(void)snprintf(lock, sizeof(lock), "%s.lock", path);
	server->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (server->lock < 0)
		return refuse(fault, ERROR_INVALID, lock, strerror(errno));
	if (flock(server->lock, LOCK_EX | LOCK_NB) != 0)
		return refuse(fault, ERROR_BUSY, lock,
			      "another daemon holds this lock: stop it, or choose another server.socket");
	return 0;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	/* The configuration takes no longer path than fits with its NUL. */
	(void)strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	return address;
}

/* Makes sure that nothing is at `path`. */
static int clear_path(const char *path, struct fault *fault)
{
	const struct sockaddr_un address = address_of(path);
	struct stat status;

	if (lstat(path, &status) != 0)
		return errno == ENOENT ? 0 : refuse(fault, ERROR_INVALID, path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return refuse(fault, ERROR_INVALID, path, "is there and is not a socket; it was left alone");
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return refuse(fault, ERROR_INTERNAL, path, strerror(errno));
	int error = connect(probe, (const struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : errno;
	(void)close(probe);
	if (error == 0 || error == EAGAIN)
		return refuse(fault, ERROR_BUSY, path,
			      "somebody listens on this socket: stop it, or choose another server.socket");
	if (error != ECONNREFUSED)
		return refuse(fault, ERROR_INVALID, path, strerror(error));
	if (unlink(path) != 0)
		return refuse(fault, ERROR_INVALID, path, strerror(errno));
	return 0;
}

static int find_group(const char *name, gid_t *gid, struct fault *fault)
{
	const struct group *group = getgrnam(name);

	if (!group)
		return fault_set(fault, ERROR_INVALID, "", "there is no group '%s'", name);
	*gid = group->gr_gid;
	return 0;
}

/* Gives the socket its owner, group and mode, before anybody can connect. */
static int own_socket(const struct config *config, struct fault *fault)
{
	const char *path = config->server.socket;
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;

	if (config->server.owner[0]) {
		const struct passwd *user = getpwnam(config->server.owner);
		if (!user)
			return fault_set(fault, ERROR_INVALID, "", "there is no user '%s' (server.owner)",
					 config->server.owner);
		uid = user->pw_uid;
	}
	if (config->server.group[0] && find_group(config->server.group, &gid, fault) != 0)
		return fault->code;
	if ((uid != (uid_t)-1 || gid != (gid_t)-1) && lchown(path, uid, gid) != 0)
		return fault_set(fault, ERROR_DENIED, "", "%s: server.owner or server.group cannot be set: %s", path,
				 strerror(errno));
	if (chmod(path, (mode_t)config->server.mode) != 0)
		return refuse(fault, ERROR_DENIED, path, strerror(errno));
	return 0;
}

static int make_socket(struct server *server, struct fault *fault)
{
	const struct config *config = server->service->config;
	const char *path = config->server.socket;
	const struct sockaddr_un address = address_of(path);
	struct stat status;
	int error = take_lock(server, path, fault);

	if (!error)
		error = clear_path(path, fault);
	if (error)
		return error;
	server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->fd < 0)
		return refuse(fault, ERROR_INTERNAL, path, strerror(errno));
	/* Nobody may connect before owner, group and mode are right. */
	mode_t before = umask(0777);
	int failed = bind(server->fd, (const struct sockaddr *)&address, sizeof(address));
	(void)umask(before);
	if (failed)
		return refuse(fault, ERROR_INVALID, path, strerror(errno));
	if (lstat(path, &status) == 0) {
		server->owns_socket = true;
		server->device = status.st_dev;
		server->inode = status.st_ino;
	}
	error = own_socket(config, fault);
	if (!error && listen(server->fd, BACKLOG) != 0)
		error = refuse(fault, ERROR_INTERNAL, path, strerror(errno));
	return error;
}

/* Removes the socket if it is still the one that was made here. */
static void unlink_socket(struct server *server)
{
	const char *path = server->service->config->server.socket;
	struct stat status;

	if (server->owns_socket && lstat(path, &status) == 0 && status.st_dev == server->device &&
	    status.st_ino == server->inode)
		(void)unlink(path);
	server->owns_socket = false;
}

/* Takes the socket that systemd made, if it did. Returns 1 if so, 0 if not, or an error. */
static int take_systemd_socket(struct server *server, struct fault *fault)
{
#ifdef HAVE_SYSTEMD
	int count = sd_listen_fds(1);

	if (count <= 0)
		return 0;
	if (count > 1 || sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, NULL, 0) <= 0)
		return fault_set(fault, ERROR_INVALID, "", "systemd must pass exactly one listening Unix stream socket");
	int flags = fcntl(SD_LISTEN_FDS_START, F_GETFL);
	if (flags < 0 || fcntl(SD_LISTEN_FDS_START, F_SETFL, flags | O_NONBLOCK) != 0)
		return fault_set(fault, ERROR_INTERNAL, "", "systemd's socket cannot be used: %s", strerror(errno));
	server->fd = SD_LISTEN_FDS_START;
	return 1;
#else
	(void)server;
	(void)fault;
	return 0;
#endif
}

static int listen_on(struct server *server, struct fault *fault)
{
	const struct config *config = server->service->config;
	int taken = take_systemd_socket(server, fault);

	if (taken < 0)
		return taken;
	if (config->server.admin_group[0]) {
		if (find_group(config->server.admin_group, &server->admin_gid, fault) != 0)
			return fault->code;
		server->has_admin_group = true;
	}
	int error = taken ? 0 : make_socket(server, fault);
	if (error)
		return error;
	int failed = uv_poll_init(server->service->loop, &server->listener, server->fd);
	if (failed)
		return refuse(fault, ERROR_INTERNAL, config->server.socket, uv_strerror(failed));
	server->is_listening = true;
	server->listener.data = server;
	server->handles++;
	/* The first turn starts to poll. */
	server->is_accepting = true;
	server->is_put_off = true;
	return 0;
}

/* Raises the limit of descriptors to what any configuration may need. If that is refused fewer connections are accepted,
 * because without a free descriptor neither Redis nor an upstream could be reached. */
static void make_room_for_descriptors(struct server *server)
{
	const struct service *service = server->service;
	uint64_t others = DESCRIPTORS_OWN;
	struct rlimit limit;

	server->room = CONNECTIONS_MOST;
	for (size_t i = 0; i < service->config->upstream_count; i++)
		others += service->config->upstreams[i].max_transfers;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_cur < others + CONNECTIONS_MOST) {
		rlim_t before = limit.rlim_cur;
		limit.rlim_cur = others + CONNECTIONS_MOST < limit.rlim_max ? others + CONNECTIONS_MOST : limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			limit.rlim_cur = before;
	}
	if (limit.rlim_cur < others + CONNECTIONS_MOST)
		server->room = limit.rlim_cur > others ? (size_t)(limit.rlim_cur - others) : 1;
	if (server->room < service->config->server.max_connections)
		log_write(&service->log, LOG_LEVEL_WARNING, "few_descriptors limit=%llu max_connections=%zu",
			  (unsigned long long)limit.rlim_cur, server->room);
}

/* ---- life ---- */

static void handle_closed(uv_handle_t *handle)
{
	struct server *server = handle->data;

	if (--server->handles > 0)
		return;
	if (server->lock >= 0)
		(void)close(server->lock);
	while (server->spare_count > 0)
		buffer_deinit(&server->spares[--server->spare_count]);
	free(server->read_buffer);
	free(server);
}

static void stop_listening(struct server *server)
{
	server->is_accepting = false;
	deadline_stop(server->service->deadlines, &server->retry);
	if (server->is_listening)
		uv_close((uv_handle_t *)&server->listener, handle_closed);
	server->is_listening = false;
	unlink_socket(server);
	if (server->fd >= 0)
		(void)close(server->fd);
	server->fd = -1;
}

/* The pump is needed until the last connection has closed. */
static void end_if_empty(struct server *server)
{
	if (!server->is_ending || server->count > 0)
		return;
	server->is_ending = false;
	deadline_stop(server->service->deadlines, &server->end);
	uv_close((uv_handle_t *)&server->pump, handle_closed);
	uv_close((uv_handle_t *)&server->busy, handle_closed);
}

void server_forget(struct server *server)
{
	server->count--;
	end_if_empty(server);
}

struct server *server_create(struct service *service, struct fault *fault)
{
	struct server *server = calloc(1, sizeof(*server));

	if (server)
		server->read_buffer = malloc(SERVER_READ_BYTES);
	if (!server || !server->read_buffer) {
		free(server);
		(void)fault_set(fault, ERROR_MEMORY, "", "out of memory");
		return NULL;
	}
	server->service = service;
	server->lock = -1;
	server->fd = -1;
	server->retry.expired = retry_expired;
	(void)uv_prepare_init(service->loop, &server->pump);
	(void)uv_idle_init(service->loop, &server->busy);
	server->pump.data = server;
	server->busy.data = server;
	server->handles = 2;
	make_room_for_descriptors(server);
	if (listen_on(server, fault) != 0) {
		server_destroy(server, false);
		return NULL;
	}
	(void)uv_prepare_start(&server->pump, on_prepare);
	return server;
}

void server_stop_accepting(struct server *server)
{
	if (!server->is_accepting)
		return;
	stop_listening(server);
	conns_hurry(server);
}

/* Clients that read, but slowly, are not waited for without end. */
static void end_expired(struct deadline *end)
{
	conns_close((struct server *)((char *)end - offsetof(struct server, end)), false);
}

void server_destroy(struct server *server, bool gently)
{
	if (!server)
		return;
	stop_listening(server);
	server->is_ending = true;
	conns_close(server, gently);
	server->end.expired = end_expired;
	if (gently &&
	    deadline_start(server->service->deadlines, &server->end, server->service->config->server.write_timeout_ms) != 0)
		conns_close(server, false);
	end_if_empty(server);
}

const char *server_address(const struct server *server)
{
	return server->owns_socket ? server->service->config->server.socket : "systemd";
}

size_t server_connections(const struct server *server)
{
	return server->count;
}

size_t server_unread(const struct server *server)
{
	return conns_unread(server);
}
