/* A request is a transfer: it waits for its turn (QUEUED), perhaps for its host's address (RESOLVING), is libcurl's
 * (RUNNING), and is taken apart when it has ended (ENDED, where that must wait until libcurl has returned).
 *
 *   http_start ─> QUEUED ──(idle, ≤ HTTP_STARTS_A_TURN a turn)──> RUNNING ─> on_done
 *                   │  ^                                            │
 *                   v  │                                            └─ cancelled inside a callback ─> ENDED
 *                 RESOLVING
 *
 * What can go wrong: a transfer fails in libcurl (mapped to a kind in result_of()), or patience with it is lost. libcurl
 * must not be asked to remove a transfer from inside its callbacks, so `inside` defers that. */
#include "http.h"

#include "../proto/error.h"
#include "log.h"
#include "patience.h"
#include "resolve.h"
#include "sockets.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <uv.h>

#define HTTP_HEAD_BYTES 65536
#define SECRET_BEGINNING 8
#define HTTP_IDLE_CONNECTIONS 16L
#define HTTP_IDLE_S 60L
/* How long one turn goes on with what has arrived. */
#define HTTP_TURN_NS 500000
#define HTTP_URL_BYTES 2304
#define HTTP_SECRET_BYTES 8192

enum state { QUEUED, RESOLVING, RUNNING, ENDED, STATES };

struct transfer {
	struct http *http;
	struct http_request *request; /* NULL once cancelled */
	struct transfer *prev, *next; /* in the list of its state */
	enum state state;
	CURL *easy;
	struct curl_slist *headers, *addresses;
	struct buffer body;
	struct patience patience;
	struct resolve_wait wait;
	size_t received, head_bytes;
	bool headed;    /* on_head was called */
	bool too_large; /* why a callback stopped the transfer */
	char error[CURL_ERROR_SIZE];
};

struct http {
	uv_loop_t *loop;
	struct deadlines *deadlines;
	struct resolver *resolver;
	CURLM *multi;
	CURLSH *share;           /* TLS sessions, so that a new connection to a known service is cheap */
	char *ca_file;           /* or NULL: libcurl's own */
	struct sockets *sockets; /* libcurl's */
	uv_timer_t timer;        /* libcurl's */
	uv_idle_t starter;       /* runs while something is QUEUED */
	unsigned open_handles;
	bool inside; /* in a call of libcurl that may call us back */
	struct transfer *lists[STATES];
};

static void transfer_move(struct transfer *t, enum state state)
{
	DL_DELETE(t->http->lists[t->state], t);
	t->state = state;
	DL_APPEND(t->http->lists[state], t);
}

/* The header that holds the secret is wiped; libcurl's own copy of it lives until it has sent the request. */
static void headers_free(struct curl_slist *headers)
{
	for (struct curl_slist *h = headers; h; h = h->next)
		OPENSSL_cleanse(h->data, strlen(h->data));
	curl_slist_free_all(headers);
}

/* Frees a transfer; libcurl must not be in a call. */
static void transfer_destroy(struct transfer *t)
{
	struct http *http = t->http;

	DL_DELETE(http->lists[t->state], t);
	(void)curl_multi_remove_handle(http->multi, t->easy);
	curl_easy_cleanup(t->easy);
	headers_free(t->headers);
	curl_slist_free_all(t->addresses);
	buffer_deinit(&t->body);
	free(t);
}

/* Parts a transfer from its request: nothing is called for it any more. */
static void transfer_detach(struct transfer *t)
{
	t->request->private = NULL;
	t->request = NULL;
	patience_stop(&t->patience);
	resolve_cancel(&t->wait);
	if (t->http->inside)
		transfer_move(t, ENDED);
	else
		transfer_destroy(t);
}

/* Ends a transfer and says how. Never inside libcurl. */
static void transfer_end(struct transfer *t, enum http_result result, const char *text)
{
	struct http_request *request = t->request;
	char error[CURL_ERROR_SIZE];
	curl_off_t retry_after_s = 0;
	long status = 0;

	(void)log_quotable(error, sizeof(error), text);
	if (t->easy && t->headed) {
		(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		(void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
	}
	if (retry_after_s > 0 && retry_after_s < 1000000)
		request->retry_after_ms = (uint64_t)retry_after_s * 1000;
	transfer_detach(t);
	request->on_done(request, result, (int)status, error);
}

static void on_lost(struct patience *patience, enum patience_limit limit)
{
	struct transfer *t = (struct transfer *)((char *)patience - offsetof(struct transfer, patience));

	if (limit == PATIENCE_MEMORY)
		transfer_end(t, HTTP_FAILED, "out of memory");
	else if (limit == PATIENCE_TOTAL)
		transfer_end(t, HTTP_TIMED_OUT, "not done in time");
	else
		transfer_end(t, HTTP_STALLED, limit == PATIENCE_IDLE ? "nothing came in time" : "not connected in time");
}

static enum http_result result_of(const struct transfer *t, CURLcode code)
{
#if LIBCURL_VERSION_NUM >= 0x080600
	if (code == CURLE_TOO_LARGE)
		return HTTP_TOO_LARGE;
#endif
	if (t->too_large)
		return HTTP_TOO_LARGE;
	if (code == CURLE_OK)
		return HTTP_DONE;
	if (code == CURLE_OPERATION_TIMEDOUT)
		return t->patience.connected ? HTTP_TIMED_OUT : HTTP_STALLED;
	if (code == CURLE_PARTIAL_FILE)
		return HTTP_TRUNCATED;
	if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR)
		return HTTP_RESET;
	if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT || code == CURLE_SSL_CONNECT_ERROR ||
	    code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
		return HTTP_REFUSED;
	return HTTP_FAILED;
}

/* After libcurl has returned: takes apart what was cancelled meanwhile, and tells the ends. */
static void http_settle(struct http *http)
{
	CURLMsg *message;
	int left;

	while (http->lists[ENDED])
		transfer_destroy(http->lists[ENDED]);
	while ((message = curl_multi_info_read(http->multi, &left))) {
		struct transfer *t = NULL;
		CURLcode code = message->data.result;
		if (message->msg != CURLMSG_DONE || curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t))
			continue;
		enum http_result result = result_of(t, code);
		const char *text = t->error[0] ? t->error : curl_easy_strerror(code);
		if (result == HTTP_DONE || result == HTTP_TOO_LARGE)
			text = result == HTTP_DONE ? "" : "too large an answer";
		transfer_end(t, result, text);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct http *http = timer->data;
	int running;

	http->inside = true;
	(void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	http->inside = false;
	http_settle(http);
}

static int on_connected(void *context, char *peer, char *own, int peer_port, int own_port)
{
	struct transfer *t = context;
	(void)peer, (void)own, (void)peer_port, (void)own_port;

	/* Called before each sending of the request: a second time means libcurl is about to send it again. */
	if (!t->request || (t->patience.connected && t->request->event_stream))
		return CURL_PREREQFUNC_ABORT;
	return patience_connected(&t->patience) ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* One header line; an empty one ends the head. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
	struct transfer *t = context;
	size_t length = size * count;
	long status = 0;

	if (!t->request)
		return 0;
	t->head_bytes += length;
	if (t->head_bytes > HTTP_HEAD_BYTES) {
		t->too_large = true;
		return 0;
	}
	patience_alive(&t->patience);
	if (t->headed || length > 2 || (data[0] != '\r' && data[0] != '\n'))
		return length;
	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200)
		return length;
	t->headed = true;
	if (t->request->on_head)
		t->request->on_head(t->request, (int)status);
	return t->request ? length : 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct transfer *t = context;
	size_t length = size * count;

	if (!t->request)
		return 0;
	if (length > t->request->max_response_bytes - t->received) {
		t->too_large = true;
		return 0;
	}
	t->received += length;
	patience_alive(&t->patience);
	t->request->on_data(t->request, (struct slice){data, length});
	return t->request ? length : 0;
}

/* libcurl is about to resolve a name itself, which may hold up the loop: never. */
static int on_own_resolve(void *state, void *reserved, void *context)
{
	(void)state, (void)reserved, (void)context;
	return 1;
}

/* libcurl wants `what` of a socket to be watched. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *mark)
{
	struct http *http = context;
	(void)easy, (void)mark;

	/* An error told here would end libcurl's whole multi for good; a socket nobody watches is only one that stalls. */
	if (what == CURL_POLL_REMOVE)
		sockets_forget(http->sockets, fd);
	else
		(void)sockets_watch(http->sockets, fd, what & CURL_POLL_IN, what & CURL_POLL_OUT);
	return 0;
}

/* libcurl wants to be called in `timeout_ms`, -1 = not at all. It must not be called from here. */
static int on_timeout(CURLM *multi, long timeout_ms, void *context)
{
	struct http *http = context;
	(void)multi;

	uv_update_time(http->loop);
	if (timeout_ms < 0)
		(void)uv_timer_stop(&http->timer);
	else
		(void)uv_timer_start(&http->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

static int transfer_headers(struct transfer *t)
{
	const char *secret = t->request->target->secret;
	char authorization[HTTP_SECRET_BYTES + 32];
	const char *const lines[] = {
		t->request->event_stream ? "Accept: text/event-stream" : "Accept: application/json",
		t->body.length ? "Content-Type: application/json" : NULL,
		t->body.length ? "Expect:" : NULL,
		secret && secret[0] ? authorization : NULL,
	};
	int error = 0;

	(void)snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", secret ? secret : "");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && !error; i++) {
		struct curl_slist *more = lines[i] ? curl_slist_append(t->headers, lines[i]) : t->headers;
		if (more)
			t->headers = more;
		else
			error = ERROR_MEMORY;
	}
	OPENSSL_cleanse(authorization, sizeof(authorization));
	return error;
}

/* The host and port of `url` as libcurl reads them; false if it cannot. */
static bool url_host(const char *url, char *host, size_t size, char port[8])
{
	CURLU *parts = curl_url();
	char *h = NULL, *p = NULL;
	bool good = parts && !curl_url_set(parts, CURLUPART_URL, url, 0) && !curl_url_get(parts, CURLUPART_HOST, &h, 0) &&
		    !curl_url_get(parts, CURLUPART_PORT, &p, CURLU_DEFAULT_PORT) && strlen(h) < size && strlen(p) < 8;

	if (good) {
		(void)snprintf(host, size, "%s", h);
		(void)snprintf(port, 8, "%s", p);
	}
	curl_free(h);
	curl_free(p);
	curl_url_cleanup(parts);
	return good;
}

/* Counts what libcurl refuses, so that one check at the end is enough. */
#define SET(option, value) (failed |= curl_easy_setopt(t->easy, option, value) != CURLE_OK)

/* What this request is, and how it is sent.
 *
 * A chat request must never be sent twice, because each sending is billed. libcurl sends a request again when the connection
 * it reused turns out dead before the first byte of an answer (over HTTP/2 also when the stream is refused). So an event
 * stream gets a connection of its own (FRESH_CONNECT: never a reused one; FORBID_REUSE: nobody's after it), which leaves
 * libcurl no reason; and on_connected(), which libcurl calls before each sending, stops a second one whatever its reason.
 * TLS sessions are shared, so the new connection costs no full handshake. */
static bool transfer_options(struct transfer *t, const char *url)
{
	const struct http_request *request = t->request;
	const struct http_target *target = request->target;
	bool failed = false;

	SET(CURLOPT_URL, url);
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_FRESH_CONNECT, request->event_stream ? 1L : 0L);
	SET(CURLOPT_FORBID_REUSE, request->event_stream ? 1L : 0L);
	SET(CURLOPT_BUFFERSIZE, request->event_stream ? 4096L : 16384L);
	if (t->body.length) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.length);
		SET(CURLOPT_POSTFIELDS, t->body.data);
	}
	if (target->unix_socket)
		SET(CURLOPT_UNIX_SOCKET_PATH, target->unix_socket);
	if (t->addresses) {
		SET(CURLOPT_RESOLVE, t->addresses);
		SET(CURLOPT_RESOLVER_START_FUNCTION, on_own_resolve);
	}
	if (target->connect_timeout_ms && target->connect_timeout_ms < 1000000)
		SET(CURLOPT_CONNECTTIMEOUT_MS, (long)target->connect_timeout_ms);
	SET(CURLOPT_PREREQFUNCTION, on_connected);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_ERRORBUFFER, t->error);
	SET(CURLOPT_PRIVATE, t);
	return !failed;
}

/* What holds for every request. HTTP/1.1 only: a request that stalls takes its connection with it, while a dead HTTP/2
 * connection would be given to one request after the other. Debian's libcurl would read the whole directory of certificates
 * for each connection, hence CAPATH NULL: one bundle is enough, and libcurl keeps it parsed. */
static bool transfer_rules(struct transfer *t)
{
	bool failed = false;

	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "semcached");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_MAXAGE_CONN, HTTP_IDLE_S);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_CAPATH, NULL);
	if (t->http->ca_file)
		SET(CURLOPT_CAINFO, t->http->ca_file);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SHARE, t->http->share);
	return !failed;
}

#undef SET

/* Gives the transfer to libcurl. Returns 0, 1 if it waits for an address, or an error. */
static int transfer_run(struct transfer *t)
{
	const struct http_target *target = t->request->target;
	char url[HTTP_URL_BYTES], host[256], port[8], numeric[sizeof(struct in_addr)], line[2048];
	const char *addresses = NULL;
	int length = snprintf(url, sizeof(url), "%s%s", target->base_url, t->request->path);

	if (length < 0 || (size_t)length >= sizeof(url) || !url_host(url, host, sizeof(host), port))
		return ERROR_INVALID;
	if (!target->unix_socket && host[0] != '[' && inet_pton(AF_INET, host, numeric) != 1) {
		int found = resolver_find(t->http->resolver, &t->wait, host, &addresses);
		if (found <= 0)
			return found == 0 ? 1 : found;
	}
	int error = transfer_headers(t);
	if (error)
		return error;
	if (addresses) {
		/* libcurl is told them, so that it looks nothing up. */
		(void)snprintf(line, sizeof(line), "%s:%s:%s", host, port, addresses);
		t->addresses = curl_slist_append(NULL, line);
		if (!t->addresses)
			return ERROR_MEMORY;
	}
	t->easy = curl_easy_init();
	if (!t->easy || !transfer_options(t, url) || !transfer_rules(t))
		return ERROR_MEMORY;
	if (curl_multi_add_handle(t->http->multi, t->easy))
		return ERROR_INTERNAL;
	transfer_move(t, RUNNING);
	return 0;
}

static void transfer_begin(struct transfer *t)
{
	int error = transfer_run(t);

	if (error == 1)
		transfer_move(t, RESOLVING);
	else if (error)
		transfer_end(t, HTTP_FAILED, error == ERROR_INVALID ? "not a URL" : error_text(error));
}

/* Once a turn while something waits for its start. */
static void on_starter(uv_idle_t *starter)
{
	struct http *http = starter->data;

	for (int i = 0; i < HTTP_STARTS_A_TURN && http->lists[QUEUED]; i++)
		transfer_begin(http->lists[QUEUED]);
	if (!http->lists[QUEUED])
		(void)uv_idle_stop(starter);
}

static void on_resolved(struct resolve_wait *wait, const char *addresses, const char *error)
{
	struct transfer *t = (struct transfer *)((char *)wait - offsetof(struct transfer, wait));

	if (!addresses) {
		transfer_end(t, HTTP_REFUSED, error);
		return;
	}
	transfer_move(t, QUEUED);
	(void)uv_idle_start(&t->http->starter, on_starter);
}

static bool secret_good(const char *secret)
{
	size_t length = secret ? strlen(secret) : 0;

	for (size_t i = 0; i < length; i++)
		if (iscntrl((unsigned char)secret[i]))
			return false;
	return length <= HTTP_SECRET_BYTES;
}

int http_start(struct http *http, struct http_request *request)
{
	if (!secret_good(request->target->secret))
		return ERROR_INVALID;
	struct transfer *t = calloc(1, sizeof(*t));
	if (!t)
		return ERROR_MEMORY;
	t->http = http;
	t->request = request;
	t->wait.done = on_resolved;
	t->patience = (struct patience){
		.deadlines = http->deadlines,
		.connect_ms = request->target->connect_timeout_ms,
		.idle_ms = request->target->idle_timeout_ms,
		.total_ms = request->target->timeout_ms,
		.lost = on_lost,
	};
	if (patience_start(&t->patience)) {
		free(t);
		return ERROR_MEMORY;
	}
	t->body = request->body;
	buffer_init(&request->body, t->body.max);
	request->retry_after_ms = 0;
	request->private = t;
	DL_APPEND(http->lists[QUEUED], t);
	(void)uv_idle_start(&http->starter, on_starter);
	return 0;
}

void http_hide_secret(const struct http_target *target, char *text)
{
	size_t whole = target->secret ? strlen(target->secret) : 0;

	for (size_t i = 0; whole > 0 && text[i]; i++) {
		size_t same = 0;
		while (same < whole && text[i + same] == target->secret[same])
			same++;
		if (same == whole || same >= SECRET_BEGINNING)
			memset(text + i, '*', same);
	}
}

void http_cancel(struct http_request *request)
{
	if (request->private)
		transfer_detach(request->private);
}

static void on_sockets(void *context, const struct sockets_ready *ready, int count)
{
	struct http *http = context;
	uint64_t started_ns = uv_hrtime();
	int running;

	/* What one of them brings may be a lot of work for its owner. Those that are left are found ready again in the next
	 * turn. */
	for (int i = 0; i < count && uv_hrtime() - started_ns < HTTP_TURN_NS; i++) {
		http->inside = true;
		(void)curl_multi_socket_action(
			http->multi, ready[i].fd,
			(ready[i].readable ? CURL_CSELECT_IN : 0) | (ready[i].writable ? CURL_CSELECT_OUT : 0), &running);
		http->inside = false;
		http_settle(http);
	}
}

static void http_free(struct http *http)
{
	(void)curl_multi_cleanup(http->multi); /* closes the idle connections */
	sockets_destroy(http->sockets);
	resolver_destroy(http->resolver);
	(void)curl_share_cleanup(http->share);
	curl_global_cleanup();
	free(http->ca_file);
	free(http);
}

static void on_closed(uv_handle_t *handle)
{
	struct http *http = handle->data;

	if (--http->open_handles == 0)
		http_free(http);
}

/* Gives the multi its callbacks and limits. */
static bool http_options(struct http *http)
{
	CURLM *m = http->multi;

	return !curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket) &&
	       !curl_multi_setopt(m, CURLMOPT_SOCKETDATA, http) &&
	       !curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timeout) &&
	       !curl_multi_setopt(m, CURLMOPT_TIMERDATA, http) &&
	       !curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, HTTP_IDLE_CONNECTIONS) &&
	       !curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
}

struct http *http_create(struct uv_loop_s *loop, struct deadlines *deadlines)
{
	const char *ca_file = secure_getenv("SSL_CERT_FILE");
	struct http *http = calloc(1, sizeof(*http));

	if (!http || curl_global_init(CURL_GLOBAL_DEFAULT)) {
		free(http);
		return NULL;
	}
	http->loop = loop;
	http->deadlines = deadlines;
	http->multi = curl_multi_init();
	http->share = curl_share_init();
	http->resolver = resolver_create(loop);
	http->sockets = sockets_create(loop, on_sockets, http);
	http->ca_file = ca_file && ca_file[0] ? strdup(ca_file) : NULL;
	if (!http->multi || !http->share || !http->resolver || !http->sockets || !http_options(http)) {
		http_free(http);
		return NULL;
	}
	(void)uv_timer_init(loop, &http->timer);
	(void)uv_idle_init(loop, &http->starter);
	http->timer.data = http->starter.data = http;
	http->open_handles = 2;
	return http;
}

void http_destroy(struct http *http)
{
	if (!http)
		return;
	assert(!http->inside);
	for (int state = 0; state < STATES; state++) {
		while (http->lists[state]) {
			struct transfer *t = http->lists[state];
			if (t->request)
				transfer_detach(t);
			else
				transfer_destroy(t);
		}
	}
	uv_close((uv_handle_t *)&http->timer, on_closed);
	uv_close((uv_handle_t *)&http->starter, on_closed);
}
