/* What every call works with: the parts of the daemon, each made and ended by main.c. */
#ifndef DAEMON_SERVICE_H
#define DAEMON_SERVICE_H

#include "config.h"
#include "index.h"
#include "log.h"
#include "metrics.h"
#include "part.h"

struct deadlines;
struct decisions;
struct embedder;
struct flights;
struct follow;
struct hasher;
struct http;
struct memory_cache;
struct namespaces;
struct recall;
struct replica;
struct reviews;
struct server;
struct settings;
struct store;
struct upstreams;
struct verdicts;
struct uv_loop_s;

struct service {
	struct uv_loop_s *loop;
	struct config *config;
	const char *config_path;
	struct log log;
	struct metrics metrics;
	struct deadlines *deadlines;
	struct hasher *hasher;
	struct memory_cache *memory;
	struct namespaces *namespaces; /* counts by namespace */
	struct recall *recall;         /* what recent parameters meant */
	struct index index;
	struct http *http;
	struct embedder *embedder;   /* NULL: none configured */
	struct embedder *second;     /* gives second opinions; NULL: none configured */
	struct store *store;         /* NULL: memory only */
	struct replica *replica;     /* NULL: memory only */
	struct settings *settings;   /* what is set at run time */
	struct verdicts *verdicts;   /* what people said of answers */
	struct decisions *decisions; /* the log of decisions */
	struct upstreams *upstreams;
	struct flights *flights;
	struct reviews *reviews; /* whether what is served by meaning is right */
	struct server *server;
	struct part redis_part, embedder_part, second_part;
	struct part upstream_parts[CONFIG_UPSTREAMS];
	uint64_t started_at_ms; /* of the loop's clock */
	uint64_t requests;      /* the number of the last request */
	size_t in_flight;       /* calls that wait for something, of all connections */
	bool draining;
	struct log_limit denied_log;

	/* Set by main.c. */
	void (*drain)(struct service *service);
	int (*reload)(struct service *service, struct buffer *changed, struct buffer *needs_restart, struct fault *fault);
};

#endif
