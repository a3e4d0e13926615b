/* semcached(8): reads the configuration, makes the parts, runs the loop, and ends in order.
 *
 *   SIGTERM: no new work ─> what is in flight ends ─> the write queue empties ─> clients have read
 *            └──────────────── drain_timeout_ms at most ───────────────┘   └ write_timeout_ms ┘
 *   SIGHUP: reads the configuration again, applies what can be changed, and says what cannot
 *
 * What can go wrong: a mistake in the configuration, no memory, a socket that somebody has (each ends the start with one line);
 * an end that lasts too long (what is lost is logged, calls are told); a second SIGTERM, which ends at once. */
#include "clock.h"
#include "deadline.h"
#include "decisions.h"
#include "embedder.h"
#include "flight.h"
#include "http.h"
#include "memory_cache.h"
#include "namespaces.h"
#include "oneshot.h"
#include "policy.h"
#include "recall.h"
#include "replica.h"
#include "review.h"
#include "server.h"
#include "service.h"
#include "settings.h"
#include "store.h"
#include "upstream.h"
#include "verdicts.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

/* The leak checker must be able to look at this process. */
#if defined(__has_feature)
#define SANITIZED_BY_CLANG __has_feature(address_sanitizer)
#else
#define SANITIZED_BY_CLANG 0
#endif

#define DEFAULT_CONFIG "/etc/semcache/semcached.conf"
#define MISTAKES_MOST (64u << 10)
/* The share of memory.max_bytes that the reading of recent questions may take besides: one in … */
#define RECALL_PART 16
#define MISTAKES_LOGGED 20
/* All values of all sections that there may be are named in less. */
#define CHANGES_MOST (1u << 20)
#define SIGNALS 3

/* Exit statuses, as in sysexits.h(3head). */
enum { EXIT_USAGE = 64, EXIT_CONFIG = 78 };

enum phase { PHASE_RUNNING, PHASE_DRAINING, PHASE_WRITING, PHASE_ENDING };

struct program {
	struct service service;
	uv_loop_t loop;
	uv_signal_t signals[SIGNALS];
	uv_timer_t watchdog;
	uv_prepare_t turn_end;
	struct deadline drain_deadline;
	enum phase phase;
	uint64_t cpu_us; /* of this thread, at the last turn's end */
};

/* ---- systemd ---- */

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	(void)sd_notify(0, state);
#else
	(void)state;
#endif
}

static void on_watchdog(uv_timer_t *timer)
{
	(void)timer;
	notify("WATCHDOG=1");
}

/* The watchdog is fed by the loop itself: when the loop hangs, so does it. */
static void start_watchdog(struct program *program)
{
#ifdef HAVE_SYSTEMD
	uint64_t interval_us;

	if (sd_watchdog_enabled(0, &interval_us) > 0)
		(void)uv_timer_start(&program->watchdog, on_watchdog, 0, interval_us >= 2000 ? interval_us / 2000 : 1);
#else
	(void)program;
	(void)on_watchdog;
#endif
}

/* ---- reload ---- */

/* One line of the log for each line of `mistakes`. */
static void log_mistakes(const struct log *log, struct slice mistakes)
{
	for (int i = 0; i < MISTAKES_LOGGED && mistakes.length > 0; i++) {
		const char *end = memchr(mistakes.data, '\n', mistakes.length);
		size_t length = end ? (size_t)(end - mistakes.data) : mistakes.length;
		char text[512];
		(void)snprintf(text, sizeof(text), "%.*s", (int)length, mistakes.data);
		log_write(log, LOG_LEVEL_ERROR, "config_mistake text=\"%s\"", log_quotable(text, sizeof(text), text));
		length += end != NULL;
		mistakes.data += length;
		mistakes.length -= length;
	}
}

/* Says which namespaces are calibrated only in name: they act as in mode threshold. */
static void tell_calibration(const struct service *service)
{
	const struct config *config = service->config;

	for (size_t i = 0; i < config->namespace_count; i++) {
		const struct config_namespace *space = &config->namespaces[i];
		if (space->mode == CONFIG_MODE_CALIBRATED && !policy_usual(config, space).calibrated)
			log_write(&service->log, LOG_LEVEL_WARNING, "not_calibrated namespace=%s threshold=%g", space->name,
				  space->threshold);
	}
}

static int reload(struct service *service, struct buffer *changed, struct buffer *needs_restart, struct fault *fault)
{
	struct config *fresh = NULL;
	struct buffer mistakes;

	buffer_init(&mistakes, MISTAKES_MOST);
	int error = settings_read_again(service->settings, service->config_path, &fresh, &mistakes);
	if (mistakes.length > 0) {
		log_mistakes(&service->log, buffer_slice(&mistakes));
		(void)fault_set(fault, ERROR_INVALID, "", "%.*s", (int)mistakes.length, mistakes.data);
	} else if (error) {
		(void)fault_set(fault, error, "", "%s", error_text(error));
	}
	if (!error) {
		error = config_apply(service->config, fresh, changed, needs_restart);
		config_destroy(fresh);
		if (error)
			(void)fault_set(fault, error, "", "the new configuration was not applied: %s", error_text(error));
	}
	buffer_deinit(&mistakes);
	if (error) {
		char text[sizeof(fault->text)];
		log_write(&service->log, LOG_LEVEL_ERROR, "reload_failed error=\"%s\"",
			  log_quotable(text, sizeof(text), fault->text));
		return error;
	}
	service->log.level = config_log_level(service->config);
	settings_applied(service->settings);
	recall_clear(service->recall);
	tell_calibration(service);
	log_write(&service->log, LOG_LEVEL_INFO, "reloaded changed=\"%.*s\" needs_restart=\"%.*s\"", (int)changed->length,
		  changed->length ? changed->data : "", (int)needs_restart->length,
		  needs_restart->length ? needs_restart->data : "");
	return 0;
}

static void on_hangup(struct program *program)
{
	struct buffer changed, needs_restart;
	struct fault fault;
	char state[64];

	(void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_us());
	notify(state);
	buffer_init(&changed, CHANGES_MOST);
	buffer_init(&needs_restart, CHANGES_MOST);
	(void)reload(&program->service, &changed, &needs_restart, &fault); /* it is in the log */
	buffer_deinit(&changed);
	buffer_deinit(&needs_restart);
	notify("READY=1");
}

/* ---- ending ---- */

/* Everything that holds a libuv handle closes it; the loop runs until none is left. Until then signals are heard, but do not
 * keep it running. */
static void end_parts(struct program *program, bool gently)
{
	struct service *service = &program->service;

	program->phase = PHASE_ENDING;
	deadline_stop(service->deadlines, &program->drain_deadline);
	/* First, because calls must leave what they wait for while that is there. */
	server_destroy(service->server, gently);
	flights_destroy(service->flights);
	service->flights = NULL;
	reviews_destroy(service->reviews);
	service->reviews = NULL;
	settings_destroy(service->settings);
	service->settings = NULL;
	replica_destroy(service->replica);
	service->replica = NULL;
	embedder_destroy(service->embedder);
	embedder_destroy(service->second);
	upstreams_destroy(service->upstreams);
	http_destroy(service->http);
	store_destroy(service->store);
	decisions_destroy(service->decisions);
	if (service->index.ops)
		service->index.ops->destroy(service->index.state);
	for (int i = 0; i < SIGNALS; i++)
		uv_unref((uv_handle_t *)&program->signals[i]);
	uv_close((uv_handle_t *)&program->watchdog, NULL);
	uv_close((uv_handle_t *)&program->turn_end, NULL);
}

static void tell_what_is_lost(struct program *program, const char *why)
{
	struct service *service = &program->service;
	size_t writes = 0, bytes = service->store ? store_queue(service->store, &writes) : 0;

	if (service->in_flight || flights_count(service->flights) || writes)
		log_write(&service->log, LOG_LEVEL_WARNING,
			  "ended_early why=\"%s\" calls=%zu flights=%zu writes=%zu bytes=%zu", why, service->in_flight,
			  flights_count(service->flights), writes, bytes);
}

/* Goes on with ending as soon as it can; called after each turn. */
static void drain_step(struct program *program)
{
	struct service *service = &program->service;
	size_t writes = 0;

	if (program->phase == PHASE_DRAINING && service->in_flight == 0 && flights_count(service->flights) == 0)
		program->phase = PHASE_WRITING;
	if (program->phase != PHASE_WRITING)
		return;
	if (service->store)
		(void)store_queue(service->store, &writes);
	if (writes > 0 && part_up(&service->redis_part))
		return;
	tell_what_is_lost(program, "Redis is away");
	end_parts(program, true);
}

static void drain_expired(struct deadline *deadline)
{
	struct program *program = (struct program *)((char *)deadline - offsetof(struct program, drain_deadline));

	tell_what_is_lost(program, "server.drain_timeout_ms passed");
	end_parts(program, true);
}

static void drain(struct service *service)
{
	struct program *program = (struct program *)service;

	if (program->phase != PHASE_RUNNING)
		return;
	program->phase = PHASE_DRAINING;
	service->draining = true;
	notify("STOPPING=1");
	log_write(&service->log, LOG_LEVEL_INFO, "draining calls=%zu flights=%zu", service->in_flight,
		  flights_count(service->flights));
	server_stop_accepting(service->server);
	decisions_watch_end(service->decisions);
	program->drain_deadline.expired = drain_expired;
	if (deadline_start(service->deadlines, &program->drain_deadline, service->config->server.drain_timeout_ms) != 0) {
		tell_what_is_lost(program, "out of memory");
		end_parts(program, true);
	}
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct program *program = handle->data;

	if (number == SIGHUP) {
		if (program->phase == PHASE_RUNNING)
			on_hangup(program);
	} else if (program->phase == PHASE_RUNNING) {
		drain(&program->service);
	} else if (program->phase == PHASE_ENDING) {
		/* Nothing is left but what clients do not read. */
		_exit(EXIT_SUCCESS);
	} else {
		tell_what_is_lost(program, "a second signal");
		end_parts(program, false);
	}
}

/* ---- the loop's own time ---- */

/* The CPU time since the last time, most of which this turn took. The time of the wall would count other processes' too. */
static void on_turn_end(uv_prepare_t *prepare)
{
	struct program *program = prepare->data;
	struct timespec now;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	uint64_t cpu_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (program->cpu_us)
		histogram_add(&program->service.metrics.latency_loop, cpu_us - program->cpu_us);
	program->cpu_us = cpu_us;
	if (program->phase == PHASE_DRAINING || program->phase == PHASE_WRITING)
		drain_step(program);
}

/* ---- beginning ---- */

static int start_loop(struct program *program)
{
	static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
	struct service *service = &program->service;

	if (uv_loop_init(&program->loop) != 0)
		return ERROR_INTERNAL;
	service->loop = &program->loop;
	(void)signal(SIGPIPE, SIG_IGN);
	/* A file that may not grow is an error of the write. */
	(void)signal(SIGXFSZ, SIG_IGN);
	for (int i = 0; i < SIGNALS; i++) {
		(void)uv_signal_init(&program->loop, &program->signals[i]);
		program->signals[i].data = program;
		if (uv_signal_start(&program->signals[i], on_signal, numbers[i]) != 0)
			return ERROR_INTERNAL;
	}
	(void)uv_timer_init(&program->loop, &program->watchdog);
	(void)uv_prepare_init(&program->loop, &program->turn_end);
	program->turn_end.data = program;
	/* Before all others: libuv runs what was started first last, when the turn's output has been written. */
	(void)uv_prepare_start(&program->turn_end, on_turn_end);
	service->deadlines = deadlines_create(&program->loop);
	return service->deadlines ? 0 : ERROR_MEMORY;
}

static void on_removed(void *data, struct slice namespace, const struct identity *identity)
{
	struct service *service = data;

	replica_removed(service, namespace, identity);
	decisions_purge(service->decisions, namespace, identity);
}

/* Not before Redis has removed it: until then it may still be read, and must not be served. */
static void on_forgotten(void *data, struct slice namespace, const struct identity *identity)
{
	verdicts_undo_quarantine(((const struct service *)data)->verdicts, namespace, identity);
}

/* What memory has under the identity may be the alias or an entry of its own, which Redis has then too. */
static void on_alias_removed(void *data, struct slice namespace, const struct identity *identity)
{
	struct service *service = data;

	(void)memory_cache_remove(service->memory, identity);
	flights_distrust_reads(service->flights);
	decisions_purge(service->decisions, namespace, identity);
}

static const struct store_events store_events = {
	.removed = on_removed, .alias_removed = on_alias_removed, .forgotten = on_forgotten};

static void start_health(struct service *service)
{
	const struct config *config = service->config;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);

	service->started_at_ms = now_ms;
	/* So that no number comes twice, also after a restart. */
	service->requests = clock_wall_ms() * 1000;
	part_init(&service->redis_part, "redis", config->redis.url[0] != '\0', &service->log, now_ms);
	part_init(&service->embedder_part, "embedder", config->embedder.url[0] != '\0', &service->log, now_ms);
	part_init(&service->second_part, "second_opinion", config->second_opinion.url[0] != '\0', &service->log, now_ms);
	for (size_t i = 0; i < config->upstream_count; i++) {
		char name[80];
		(void)snprintf(name, sizeof(name), "upstream %s", config->upstreams[i].name);
		part_init(&service->upstream_parts[i], name, true, &service->log, now_ms);
	}
}

static int start_embedders(struct service *service)
{
	const struct config *config = service->config;

	if (service->embedder_part.configured) {
		service->embedder = embedder_create(service->http, service->deadlines, &config->embedder,
						    &service->embedder_part, &service->metrics, &service->log);
		if (!service->embedder)
			return ERROR_MEMORY;
	}
	if (service->second_part.configured) {
		service->second = embedder_create(service->http, service->deadlines, &config->second_opinion,
						  &service->second_part, &service->metrics, &service->log);
		if (!service->second)
			return ERROR_MEMORY;
		embedder_set_second(service->second);
	}
	return 0;
}

static int start_parts(struct service *service)
{
	const struct config *config = service->config;
	const struct log *log = &service->log;

	start_health(service);
	service->hasher = hasher_create(config->server.max_message_bytes);
	service->memory = memory_cache_create(config->memory.max_bytes, &service->metrics);
	service->namespaces = namespaces_create();
	service->recall = recall_create(config->memory.max_bytes / RECALL_PART);
	service->verdicts = verdicts_create(!service->redis_part.configured);
	service->decisions = decisions_create(service->loop, config, &service->metrics, log);
	service->settings = settings_create(service);
	service->flights = flights_create(service);
	service->reviews = reviews_create(service);
	service->http = http_create(service->loop, service->deadlines);
	if (!service->hasher || !service->memory || !service->namespaces || !service->recall || !service->verdicts ||
	    !service->settings || !service->decisions || !service->flights || !service->reviews || !service->http)
		return ERROR_MEMORY;
	if (index_memory_create(&service->index, service->loop, config->memory.index_max_bytes, &service->metrics) != 0)
		return ERROR_MEMORY;
	service->upstreams = upstreams_create(service->http, service->deadlines, config, service->upstream_parts,
					      &service->metrics, log);
	if (!service->upstreams)
		return ERROR_MEMORY;
	if (start_embedders(service) != 0)
		return ERROR_MEMORY;
	if (!service->redis_part.configured)
		return 0;
	service->store = store_create(service->loop, service->deadlines, config,
				      service->embedder ? embedder_name(service->embedder) : "",
				      service->embedder ? embedder_dimensions(service->embedder) : 0, &store_events, service,
				      &service->redis_part, &service->metrics, log);
	if (!service->store || (service->second && store_set_second(service->store, embedder_name(service->second),
								    embedder_dimensions(service->second)) != 0))
		return ERROR_MEMORY;
	service->replica = replica_create(service);
	return service->replica ? 0 : ERROR_MEMORY;
}

static int start(struct program *program)
{
	struct service *service = &program->service;
	struct fault fault;

	if (start_parts(service) != 0) {
		log_write(&service->log, LOG_LEVEL_ERROR, "start_failed error=\"out of memory or descriptors\"");
		return ERROR_MEMORY;
	}
	service->drain = drain;
	service->reload = reload;
	service->server = server_create(service, &fault);
	if (service->server)
		return 0;
	log_write(&service->log, LOG_LEVEL_ERROR, "listen_failed error=\"%s\"", fault.text);
	return fault.code;
}

/* Closes the rest, and runs the loop until all of it is closed. */
static int end_loop(struct program *program)
{
	for (int i = 0; i < SIGNALS; i++)
		uv_close((uv_handle_t *)&program->signals[i], NULL);
	deadlines_destroy(program->service.deadlines);
	(void)uv_run(&program->loop, UV_RUN_DEFAULT);
	return uv_loop_close(&program->loop);
}

static int run(struct program *program)
{
	struct service *service = &program->service;

	service->log.level = config_log_level(service->config);
	if (start_loop(program) != 0) {
		log_write(&service->log, LOG_LEVEL_ERROR, "start_failed error=\"out of memory or descriptors\"");
		return EXIT_FAILURE;
	}
	int error = start(program);
	if (error) {
		end_parts(program, false);
	} else {
		start_watchdog(program);
		tell_calibration(service);
		log_write(&service->log, LOG_LEVEL_INFO, "ready version=%s socket=%s", SEMCACHE_VERSION,
			  server_address(service->server));
		notify("READY=1");
	}
	(void)uv_run(&program->loop, UV_RUN_DEFAULT);
	int left = end_loop(program);
	memory_cache_destroy(service->memory);
	recall_destroy(service->recall);
	verdicts_destroy(service->verdicts);
	namespaces_destroy(service->namespaces);
	hasher_destroy(service->hasher);
	config_destroy(service->config);
	if (left)
		log_write(&service->log, LOG_LEVEL_ERROR, "end_failed error=\"%s\"", uv_strerror(left));
	else if (!error)
		log_write(&service->log, LOG_LEVEL_INFO, "ended");
	return error || left ? EXIT_FAILURE : EXIT_SUCCESS;
}

static const char usage[] = "usage: semcached [--config FILE] [--check-config]\n"
			    "       semcached evaluate [OPTION]... FILE\n"
			    "       semcached calibrate [OPTION]...\n"
			    "       semcached --version | --help\n"
			    "\n"
			    "  -c, --config FILE   the configuration (default " DEFAULT_CONFIG ")\n"
			    "      --check-config  read the configuration, say what is wrong in it, and end\n"
			    "      --version       print the version\n"
			    "\n"
			    "Signals: TERM and INT end the daemon when what is in flight is done, a second one at once;\n"
			    "         HUP reads the configuration again.\n"
			    "Exit status: 0 ended as asked, 1 failed, 64 wrong usage, 78 a mistake in the configuration.\n"
			    "See semcached(8) and semcached.conf(5).\n";

/* Reads the command line. Returns -1 to go on, or the exit status. */
static int read_options(int argc, char **argv, const char **path, bool *is_check)
{
	enum { OPTION_CHECK = 256, OPTION_VERSION };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, OPTION_CHECK},
		{"version", no_argument, NULL, OPTION_VERSION},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			*path = optarg;
			break;
		case OPTION_CHECK:
			*is_check = true;
			break;
		case OPTION_VERSION:
			puts("semcached " SEMCACHE_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			(void)fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	(void)fputs(usage, stderr);
	return EXIT_USAGE;
}

static int read_config(struct service *service)
{
	struct buffer mistakes;

	buffer_init(&mistakes, MISTAKES_MOST);
	int error = config_read(service->config_path, &service->config, &mistakes);
	if (mistakes.length)
		(void)fprintf(stderr, "%.*s", (int)mistakes.length, mistakes.data);
	else if (error)
		(void)fprintf(stderr, "%s: %s\n", service->config_path, error_text(error));
	buffer_deinit(&mistakes);
	return error;
}

int main(int argc, char **argv)
{
	static struct program program;
	struct service *service = &program.service;
	bool is_check = false;

#if !defined(__SANITIZE_ADDRESS__) && !SANITIZED_BY_CLANG
	/* No core dump holds a key or somebody's question. */
	(void)prctl(PR_SET_DUMPABLE, 0);
#endif
	service->config_path = DEFAULT_CONFIG;
	int status = oneshot_run(argc, argv);
	if (status < 0)
		status = read_options(argc, argv, &service->config_path, &is_check);
	if (status >= 0)
		return status;
	if (read_config(service) != 0)
		return EXIT_CONFIG;
	if (is_check) {
		printf("%s: the configuration is valid\n", service->config_path);
		config_destroy(service->config);
		return EXIT_SUCCESS;
	}
	log_init(&service->log, LOG_LEVEL_INFO);
	return run(&program);
}
