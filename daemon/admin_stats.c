/* Everything that is counted, by the tables of metrics.h. Nothing is scanned but the latencies' buckets. */
#include "admin_private.h"

#include "deadline.h"
#include "flight.h"
#include "memory_cache.h"
#include "namespaces.h"
#include "review.h"
#include "server.h"
#include "store.h"
#include "upstream.h"
#include "verdicts.h"

static const struct counter {
	const char *name, *text;
	size_t offset;
} counters[] = {
#define X(name, text) {#name, text, offsetof(struct metrics, name)},
	METRICS_COUNTERS(X)
#undef X
};

static const struct counter latencies[] = {
#define X(name, text) {#name, text, offsetof(struct metrics, latency_##name)},
	METRICS_LATENCIES(X)
#undef X
};

#define COUNTERS (sizeof(counters) / sizeof(counters[0]))
#define LATENCIES (sizeof(latencies) / sizeof(latencies[0]))

/* X(name, what it is): values of this moment. */
#define GAUGES(X)                                                                                                           \
	X(connections, "open connections")                                                                                  \
	X(unread_bytes, "bytes clients have not read yet")                                                                  \
	X(in_flight, "requests that wait for something")                                                                    \
	X(flights, "questions being answered")                                                                              \
	X(upstream_in_flight, "chat calls in the air and in queues")                                                        \
	X(entries, "entries in memory")                                                                                     \
	X(memory_bytes, "bytes of them")                                                                                    \
	X(index_entries, "entries that can be found by meaning")                                                            \
	X(index_bytes, "bytes of the index")                                                                                \
	X(reviews, "comparisons of answers under way or waiting")                                                           \
	X(pairs_rejected, "pairs of questions that must not share an answer")                                               \
	X(entries_quarantined, "entries that were wrong for two questions")                                                 \
	X(write_queue_writes, "writes that wait for Redis")                                                                 \
	X(write_queue_bytes, "bytes of them")

struct gauges {
#define X(name, text) uint64_t name;
	GAUGES(X)
#undef X
};

static const struct counter gauge_table[] = {
#define X(name, text) {#name, text, offsetof(struct gauges, name)},
	GAUGES(X)
#undef X
};

#define GAUGE_COUNT (sizeof(gauge_table) / sizeof(gauge_table[0]))

static struct gauges read_gauges(const struct service *service)
{
	size_t entries = 0, index_entries = 0, writes = 0, quarantined = 0;
	struct gauges g = {
		.connections = server_connections(service->server),
		.unread_bytes = server_unread(service->server),
		.in_flight = service->in_flight,
		.flights = flights_count(service->flights),
		.upstream_in_flight = upstreams_in_flight(service->upstreams),
		.memory_bytes = memory_cache_bytes(service->memory, &entries),
		.index_bytes = service->index.ops->bytes(service->index.state, &index_entries),
		.reviews = reviews_count(service->reviews),
		.pairs_rejected = verdicts_count(service->verdicts, &quarantined),
		.write_queue_bytes = service->store ? store_queue(service->store, &writes) : 0,
	};

	g.entries = entries;
	g.index_entries = index_entries;
	g.entries_quarantined = quarantined;
	g.write_queue_writes = writes;
	return g;
}

static double hit_rate(const struct metrics *m)
{
	uint64_t hits = m->hits_memory + m->hits_exact + m->hits_semantic + m->hits_coalesced + m->hits_stale;
	uint64_t answered = hits + m->answers_upstream + m->lookup_misses;

	return answered ? (double)hits / (double)answered : 0.0;
}

static void say_table(msgpack_packer *pack, const struct counter *table, size_t count, const void *values)
{
	msgpack_pack_map(pack, count);
	for (size_t i = 0; i < count; i++)
		pack_named_uint(pack, table[i].name,
				*(const uint64_t *)(const void *)((const char *)values + table[i].offset));
}

static void say_errors(msgpack_packer *pack, const struct metrics *metrics)
{
	msgpack_pack_map(pack, ERROR_COUNT - 1);
	for (int code = 1; code < ERROR_COUNT; code++)
		pack_named_uint(pack, error_name(-code), metrics->errors[code]);
}

static void say_latency(msgpack_packer *pack, const struct histogram *histogram)
{
	msgpack_pack_map(pack, 7);
	pack_named_uint(pack, "count", histogram->count);
	pack_named_uint(pack, "sum_us", histogram->sum_us);
	pack_named_uint(pack, "p50_us", histogram_percentile(histogram, 0.5));
	pack_named_uint(pack, "p90_us", histogram_percentile(histogram, 0.9));
	pack_named_uint(pack, "p99_us", histogram_percentile(histogram, 0.99));
	pack_named_uint(pack, "p999_us", histogram_percentile(histogram, 0.999));
	pack_named_uint(pack, "max_us", histogram->max_us);
}

static void say_latencies(msgpack_packer *pack, const struct metrics *metrics)
{
	msgpack_pack_map(pack, LATENCIES);
	for (size_t i = 0; i < LATENCIES; i++) {
		pack_key(pack, latencies[i].name);
		say_latency(pack, (const struct histogram *)(const void *)((const char *)metrics + latencies[i].offset));
	}
}

static void say_help(msgpack_packer *pack)
{
	msgpack_pack_map(pack, COUNTERS + GAUGE_COUNT + LATENCIES);
	for (size_t i = 0; i < COUNTERS; i++)
		pack_named_text(pack, counters[i].name, slice_of(counters[i].text));
	for (size_t i = 0; i < GAUGE_COUNT; i++)
		pack_named_text(pack, gauge_table[i].name, slice_of(gauge_table[i].text));
	for (size_t i = 0; i < LATENCIES; i++) {
		char name[64];
		(void)snprintf(name, sizeof(name), "latency_%s", latencies[i].name);
		pack_named_text(pack, name, slice_of(latencies[i].text));
	}
}

/* Those that had something to say. */
static void say_guards(msgpack_packer *pack, const struct namespace_count *count)
{
	size_t said = 0;

	for (int guard = 0; guard < GUARD_COUNT; guard++)
		said += count->guards[guard].vetoed + count->guards[guard].shadow > 0;
	msgpack_pack_map(pack, said);
	for (int guard = 0; guard < GUARD_COUNT; guard++) {
		const struct guard_count *its = &count->guards[guard];
		if (its->vetoed + its->shadow == 0)
			continue;
		pack_key(pack, guard_name((enum guard)guard));
		msgpack_pack_map(pack, 2);
		pack_named_uint(pack, "vetoed", its->vetoed);
		pack_named_uint(pack, "shadow", its->shadow);
	}
}

struct saying {
	msgpack_packer *pack;
	const struct service *service;
};

static void say_namespace(void *data, struct slice name, const struct namespace_count *count)
{
	const struct saying *saying = data;
	msgpack_packer *pack = saying->pack;

	pack_text(pack, name);
	msgpack_pack_map(pack, 4);
	pack_named_uint(pack, "hits", count->hits);
	pack_named_uint(pack, "misses", count->misses);
	pack_key(pack, "guards");
	say_guards(pack, count);
	pack_key(pack, "reviews");
	admin_say_reviews(pack, saying->service, name, &count->estimates);
}

static void count_namespace(void *data, struct slice name, const struct namespace_count *count)
{
	(void)data, (void)name, (void)count;
}

static void say_namespaces(msgpack_packer *pack, const struct service *service)
{
	struct saying saying = {pack, service};

	msgpack_pack_map(pack, namespaces_each(service->namespaces, count_namespace, NULL));
	(void)namespaces_each(service->namespaces, say_namespace, &saying);
}

void admin_stats(struct service *service, struct buffer *out)
{
	const struct metrics *metrics = &service->metrics;
	const struct gauges gauges = read_gauges(service);
	msgpack_packer pack = pack_to(out);

	msgpack_pack_map(&pack, 10);
	pack_named_text(&pack, "version", SLICE(SEMCACHE_VERSION));
	pack_named_uint(&pack, "uptime_s", (deadlines_now_ms(service->deadlines) - service->started_at_ms) / 1000);
	pack_named_float(&pack, "hit_rate", hit_rate(metrics));
	pack_named_float(&pack, "usd_saved", metrics->usd_saved);
	pack_key(&pack, "counters");
	say_table(&pack, counters, COUNTERS, metrics);
	pack_key(&pack, "gauges");
	say_table(&pack, gauge_table, GAUGE_COUNT, &gauges);
	pack_key(&pack, "namespaces");
	say_namespaces(&pack, service);
	pack_key(&pack, "errors");
	say_errors(&pack, metrics);
	pack_key(&pack, "latencies");
	say_latencies(&pack, metrics);
	pack_key(&pack, "help");
	say_help(&pack);
}
