/* The table of keys. How a value is read and shown is config_value.c's. */
#include "config_table.h"

#include "config.h"

#include "../proto/limits.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* The longest name of a Unix socket: sun_path has 108 bytes, one of them the NUL. */
#define SOCKET_BYTES 107

#define AT(member) offsetof(struct config, member)
#define UP(member) offsetof(struct config_upstream, member)
#define NS(member) offsetof(struct config_namespace, member)

#define RELOADS true
#define STAYS false

/* clang-format off */
const struct config_entry config_table[] = {
	{CONFIG_SERVER, "socket", CONFIG_PATH, AT(server.socket), 1, SOCKET_BYTES, "/run/semcache/semcached.sock", false, STAYS,
	 "path of the Unix socket that clients connect to"},
	{CONFIG_SERVER, "owner", CONFIG_TEXT, AT(server.owner), 0, 256, "", false, STAYS,
	 "user who owns the socket; empty = the daemon's own"},
	{CONFIG_SERVER, "group", CONFIG_TEXT, AT(server.group), 0, 256, "", false, STAYS,
	 "group of the socket, whose members may connect; empty = the daemon's own"},
	{CONFIG_SERVER, "mode", CONFIG_OCTAL, AT(server.mode), 0, 0777, "0660", false, STAYS,
	 "file mode of the socket"},
	{CONFIG_SERVER, "admin_group", CONFIG_TEXT, AT(server.admin_group), 0, 256, "", false, STAYS,
	 "group whose members may call the administrative methods; empty = only root and the daemon's user"},
	{CONFIG_SERVER, "max_connections", CONFIG_COUNT, AT(server.max_connections), 1, 65536, "1024", false, RELOADS,
	 "open connections; further ones wait to be accepted"},
	{CONFIG_SERVER, "max_in_flight", CONFIG_COUNT, AT(server.max_in_flight), 1, 1048576, "16384", false, RELOADS,
	 "open requests of all connections; further ones are answered BUSY"},
	{CONFIG_SERVER, "max_in_flight_per_connection", CONFIG_COUNT, AT(server.max_in_flight_per_connection), 1, 1048576,
	 "4096", false, RELOADS, "open requests of one connection; further ones are answered BUSY"},
	{CONFIG_SERVER, "max_message_bytes", CONFIG_SIZE, AT(server.max_message_bytes), KIB, 64 * MIB, "4MiB", false, STAYS,
	 "largest message a client may send"},
	{CONFIG_SERVER, "max_output_bytes", CONFIG_SIZE, AT(server.max_output_bytes), 64 * KIB, GIB, "64MiB", false, STAYS,
	 "bytes that may wait for one client to read them before its connection is closed"},
	{CONFIG_SERVER, "max_detached", CONFIG_COUNT, AT(server.max_detached), 0, 65536, "64", false, RELOADS,
	 "model calls that are finished for the cache after all their callers left"},
	{CONFIG_SERVER, "drain_timeout_ms", CONFIG_MS, AT(server.drain_timeout_ms), 0, LIMIT_TIMEOUT_MS, "30000", false, RELOADS,
	 "how long an ending daemon waits for what is in flight"},
	{CONFIG_SERVER, "write_timeout_ms", CONFIG_MS, AT(server.write_timeout_ms), 10, LIMIT_TIMEOUT_MS, "10000", false, RELOADS,
	 "how long a client may read nothing of what waits for it before its connection is closed"},

	{CONFIG_MEMORY, "max_bytes", CONFIG_SIZE, AT(memory.max_bytes), 0, 1024 * GIB, "64MiB", false, STAYS,
	 "answers kept in memory; 0 = none"},
	{CONFIG_MEMORY, "index_max_bytes", CONFIG_SIZE, AT(memory.index_max_bytes), 0, 1024 * GIB, "256MiB", false, STAYS,
	 "vectors kept in memory for the search by meaning; 0 = none"},

	{CONFIG_REDIS, "url", CONFIG_REDIS_URL, AT(redis.url), 0, 512, "redis://127.0.0.1:6379", false, STAYS,
	 "redis://HOST[:PORT][/DATABASE] or unix:PATH; empty = no Redis"},
	{CONFIG_REDIS, "prefix", CONFIG_TEXT, AT(redis.prefix), 1, 64, "semcache:", false, STAYS,
	 "what the name of every key in Redis starts with"},
	{CONFIG_REDIS, "key_env", CONFIG_ENV, AT(redis.key.key_env), 1, 128, NULL, false, STAYS,
	 "environment variable that holds the password"},
	{CONFIG_REDIS, "key_file", CONFIG_PATH, AT(redis.key.key_file), 1, 4095, NULL, false, STAYS,
	 "file that holds the password"},
	{CONFIG_REDIS, "key_credential", CONFIG_CREDENTIAL, AT(redis.key.key_credential), 1, 128, NULL, false, STAYS,
	 "systemd credential that holds the password"},
	{CONFIG_REDIS, "timeout_ms", CONFIG_MS, AT(redis.timeout_ms), 1, LIMIT_TIMEOUT_MS, "1000", false, STAYS,
	 "how long a reply of Redis is waited for"},
	{CONFIG_REDIS, "write_queue_bytes", CONFIG_SIZE, AT(redis.write_queue_bytes), 0, 64 * GIB, "64MiB", false, STAYS,
	 "writes kept while Redis is away; 0 = none"},
	{CONFIG_REDIS, "serve_disconnected", CONFIG_SECONDS, AT(redis.serve_disconnected), 0, LIMIT_TTL_S, "300", false, RELOADS,
	 "how long answers are served from memory while Redis, and with it the news of what was invalidated, is away"},

	{CONFIG_EMBEDDER, "url", CONFIG_URL, AT(embedder.url), 0, 2048, "", false, STAYS,
	 "base URL of an OpenAI-compatible service, up to and including /v1; empty = no search by meaning"},
	{CONFIG_EMBEDDER, "unix_socket", CONFIG_PATH, AT(embedder.unix_socket), 1, SOCKET_BYTES, NULL, false, STAYS,
	 "Unix socket through which the service is reached"},
	{CONFIG_EMBEDDER, "model", CONFIG_TEXT, AT(embedder.model), 1, LIMIT_MODEL_BYTES, NULL, false, STAYS,
	 "model that turns texts into vectors; required with url"},
	{CONFIG_EMBEDDER, "key_env", CONFIG_ENV, AT(embedder.key.key_env), 1, 128, NULL, false, STAYS,
	 "environment variable that holds the service's key"},
	{CONFIG_EMBEDDER, "key_file", CONFIG_PATH, AT(embedder.key.key_file), 1, 4095, NULL, false, STAYS,
	 "file that holds the service's key"},
	{CONFIG_EMBEDDER, "key_credential", CONFIG_CREDENTIAL, AT(embedder.key.key_credential), 1, 128, NULL, false, STAYS,
	 "systemd credential that holds the service's key"},
	{CONFIG_EMBEDDER, "dimensions", CONFIG_COUNT, AT(embedder.dimensions), 0, 16384, "0", false, STAYS,
	 "length of the vectors to ask for; 0 = the model's own"},
	{CONFIG_EMBEDDER, "max_bytes", CONFIG_SIZE, AT(embedder.max_bytes), 1, MIB, "8192", false, STAYS,
	 "longest text that is compared by meaning; longer ones are matched exactly only"},
	{CONFIG_EMBEDDER, "timeout_ms", CONFIG_MS, AT(embedder.timeout_ms), 1, LIMIT_TIMEOUT_MS, "1000", false, STAYS,
	 "how long a vector is waited for before the question goes on without"},
	{CONFIG_EMBEDDER, "cache_ttl", CONFIG_SECONDS, AT(embedder.cache_ttl), 0, LIMIT_TTL_S, "86400", false, RELOADS,
	 "how long vectors are kept in Redis; 0 = not at all"},

	{CONFIG_SECOND_OPINION, "url", CONFIG_URL, AT(second_opinion.url), 0, 2048, "", false, STAYS,
	 "base URL of the second embedder, as for embedder.url; empty = there is none"},
	{CONFIG_SECOND_OPINION, "unix_socket", CONFIG_PATH, AT(second_opinion.unix_socket), 1, SOCKET_BYTES, NULL, false, STAYS,
	 "Unix socket through which the service is reached"},
	{CONFIG_SECOND_OPINION, "model", CONFIG_TEXT, AT(second_opinion.model), 1, LIMIT_MODEL_BYTES, NULL, false, STAYS,
	 "model that turns texts into vectors; required with url"},
	{CONFIG_SECOND_OPINION, "key_env", CONFIG_ENV, AT(second_opinion.key.key_env), 1, 128, NULL, false, STAYS,
	 "environment variable that holds the service's key"},
	{CONFIG_SECOND_OPINION, "key_file", CONFIG_PATH, AT(second_opinion.key.key_file), 1, 4095, NULL, false, STAYS,
	 "file that holds the service's key"},
	{CONFIG_SECOND_OPINION, "key_credential", CONFIG_CREDENTIAL, AT(second_opinion.key.key_credential), 1, 128, NULL, false, STAYS,
	 "systemd credential that holds the service's key"},
	{CONFIG_SECOND_OPINION, "dimensions", CONFIG_COUNT, AT(second_opinion.dimensions), 0, 16384, "0", false, STAYS,
	 "length of the vectors to ask for; 0 = the model's own"},
	{CONFIG_SECOND_OPINION, "max_bytes", CONFIG_SIZE, AT(second_opinion.max_bytes), 1, MIB, "2048", false, STAYS,
	 "longest text that the second embedder is asked for"},
	{CONFIG_SECOND_OPINION, "timeout_ms", CONFIG_MS, AT(second_opinion.timeout_ms), 1, LIMIT_TIMEOUT_MS / 10, "200", false, STAYS,
	 "how long an opinion is waited for before the plain rule decides"},

	{CONFIG_LOG, "level", CONFIG_LEVEL, AT(log.level), 0, 0, "info", false, RELOADS,
	 "least important events that are logged"},

	{CONFIG_DECISIONS, "directory", CONFIG_PATH, AT(decisions.directory), 0, 4000, "", false, STAYS,
	 "where decisions are kept for explain --request; empty = nowhere"},
	{CONFIG_DECISIONS, "max_bytes", CONFIG_SIZE, AT(decisions.max_bytes), MIB, 64 * GIB, "64MiB", false, RELOADS,
	 "bytes of decisions that are kept; the oldest go first"},
	{CONFIG_DECISIONS, "max_age", CONFIG_SECONDS, AT(decisions.max_age), 1, LIMIT_TTL_S, "604800", false, RELOADS,
	 "how long a decision is kept"},
	{CONFIG_DECISIONS, "texts", CONFIG_SWITCH, AT(decisions.texts), 0, 0, "on", false, RELOADS,
	 "whether texts of questions and of reviewed answers are kept with the decisions: on or off"},

	{CONFIG_UPSTREAM, "url", CONFIG_URL, UP(url), 1, 2048, NULL, true, STAYS,
	 "base URL of an OpenAI-compatible service, up to and including /v1"},
	{CONFIG_UPSTREAM, "unix_socket", CONFIG_PATH, UP(unix_socket), 1, SOCKET_BYTES, NULL, false, STAYS,
	 "Unix socket through which the service is reached"},
	{CONFIG_UPSTREAM, "models", CONFIG_MODEL_LIST, UP(models), 1, LIMIT_MODEL_BYTES, NULL, true, STAYS,
	 "names of the models it serves, with a comma between; * = any other"},
	{CONFIG_UPSTREAM, "key_env", CONFIG_ENV, UP(key.key_env), 1, 128, NULL, false, STAYS,
	 "environment variable that holds the service's key"},
	{CONFIG_UPSTREAM, "key_file", CONFIG_PATH, UP(key.key_file), 1, 4095, NULL, false, STAYS,
	 "file that holds the service's key"},
	{CONFIG_UPSTREAM, "key_credential", CONFIG_CREDENTIAL, UP(key.key_credential), 1, 128, NULL, false, STAYS,
	 "systemd credential that holds the service's key"},
	{CONFIG_UPSTREAM, "max_transfers", CONFIG_COUNT, UP(max_transfers), 1, 4096, "64", false, STAYS,
	 "calls in the air at once"},
	{CONFIG_UPSTREAM, "queue", CONFIG_COUNT, UP(queue), 0, 1048576, "4096", false, STAYS,
	 "calls that wait behind them; further ones are refused"},
	{CONFIG_UPSTREAM, "connect_timeout_ms", CONFIG_MS, UP(connect_timeout_ms), 1, LIMIT_TIMEOUT_MS, "5000", false, STAYS,
	 "how long connecting may take"},
	{CONFIG_UPSTREAM, "idle_timeout_ms", CONFIG_MS, UP(idle_timeout_ms), 1, LIMIT_TIMEOUT_MS, "60000", false, STAYS,
	 "how long the service may send nothing"},
	{CONFIG_UPSTREAM, "timeout_ms", CONFIG_MS, UP(timeout_ms), 1, LIMIT_TIMEOUT_MS, "300000", false, STAYS,
	 "how long a whole call may take"},
	{CONFIG_UPSTREAM, "price_input", CONFIG_PRICE, UP(price_input), 0, 1000000, "0", false, RELOADS,
	 "USD for a million prompt tokens; 0 = not known"},
	{CONFIG_UPSTREAM, "price_output", CONFIG_PRICE, UP(price_output), 0, 1000000, "0", false, RELOADS,
	 "USD for a million answer tokens; 0 = not known"},

	{CONFIG_NAMESPACE, "mode", CONFIG_MODE, NS(mode), 0, 0, "threshold", false, RELOADS,
	 "exact = only the same question; shadow = what would be served by meaning is only recorded; threshold = by meaning, by the "
	 "cosine; calibrated = by a score with a margin over the next nearest"},
	{CONFIG_NAMESPACE, "threshold", CONFIG_COSINE, NS(threshold), 0, 0, "0.9", false, RELOADS,
	 "least similarity (cosine) that is served"},
	{CONFIG_NAMESPACE, "threshold_min", CONFIG_COSINE_NONE, NS(threshold_min), 0, 0, "none", false, RELOADS,
	 "lowest threshold that a call may ask for"},
	{CONFIG_NAMESPACE, "score_threshold", CONFIG_WEIGHT_NONE, NS(score_threshold), 0, 2, "none", false, RELOADS,
	 "mode calibrated: least score; none = as the certificate says, or else what ships for the embedder"},
	{CONFIG_NAMESPACE, "margin", CONFIG_WEIGHT_NONE, NS(margin), 0, 4, "none", false, RELOADS,
	 "mode calibrated: how much the distance to the next nearest counts; none = as for score_threshold"},
	{CONFIG_NAMESPACE, "margin_floor", CONFIG_COSINE_NONE, NS(margin_floor), 0, 0, "none", false, RELOADS,
	 "mode calibrated: the next nearest counts as at least so similar; none = as for score_threshold"},
	{CONFIG_NAMESPACE, "minimum", CONFIG_COSINE_NONE, NS(minimum), 0, 0, "none", false, RELOADS,
	 "mode calibrated: least similarity, whatever the score; none = as for score_threshold"},
	{CONFIG_NAMESPACE, "guards", CONFIG_GUARDS, NS(guards), 0, 0, CONFIG_GUARDS_DEFAULT, false, RELOADS,
	 "what must not differ between two questions, NAME:on, NAME:off or NAME:shadow (only counted), with a comma between"},
	{CONFIG_NAMESPACE, "opposites", CONFIG_OPPOSITES, NS(opposites), 0, 0, "", false, RELOADS,
	 "more pairs of opposite words for the guard of that name, WORD/WORD with a comma between"},
	{CONFIG_NAMESPACE, "second_opinion", CONFIG_SWITCH, NS(second_opinion), 0, 1, "off", false, RELOADS,
	 "mode calibrated: whether the second embedder has a say in would-be hits"},
	{CONFIG_NAMESPACE, "opinion_weight", CONFIG_WEIGHT_NONE, NS(opinion_weight), 0, 1, "none", false, RELOADS,
	 "what the second embedder's cosine counts, the first's counts the rest of 1; none = as for score_threshold, or else 0.5"},
	{CONFIG_NAMESPACE, "ttl", CONFIG_SECONDS, NS(ttl), 0, LIMIT_TTL_S, "3600", false, RELOADS,
	 "how long an answer is kept unless the call says otherwise; 0 = not at all"},
	{CONFIG_NAMESPACE, "alias_ttl", CONFIG_SECONDS, NS(alias_ttl), 0, 3600, "3600", false, RELOADS,
	 "how long another wording is remembered, and the entry's rest at most; 0 = not at all"},
	{CONFIG_NAMESPACE, "stale_window", CONFIG_SECONDS, NS(stale_window), 0, LIMIT_TTL_S, "0", false, RELOADS,
	 "how long after its ttl an answer may still be served if the model fails"},
	{CONFIG_NAMESPACE, "context", CONFIG_CONTEXT, NS(context), 0, 0, "any", false, RELOADS,
	 "what callers may say must be equal: any, or some of all, system, label"},
	{CONFIG_NAMESPACE, "compare_threshold", CONFIG_COSINE, NS(compare_threshold), 0, 0, "0.8", false, RELOADS,
	 "least similarity of two answers that are taken to say the same"},
	{CONFIG_NAMESPACE, "audit", CONFIG_PRICE, NS(audit), 0, 1, "0", false, RELOADS,
	 "share of the hits by meaning that the model is asked too, behind the caller's back; 0 = none"},
	{CONFIG_NAMESPACE, "audit_calls", CONFIG_COUNT, NS(audit_calls), 0, 1000000, "100", false, RELOADS,
	 "calls that audits of this section may make a day, counted from 00:00 UTC on each host"},
	{CONFIG_NAMESPACE, "comparator_false_same", CONFIG_SHARE_NONE, NS(comparator_false_same), 0, 0, "none", false, RELOADS,
	 "how often different answers were taken to say the same, WRONG/COUNT as measured; none = not measured"},
	{CONFIG_NAMESPACE, "comparator_false_different", CONFIG_SHARE_NONE, NS(comparator_false_different), 0, 0,
	 "none", false, RELOADS, "how often answers that say the same were taken to differ, WRONG/COUNT as measured; none = not measured"},
	{CONFIG_NAMESPACE, "judge", CONFIG_COSINE_NONE, NS(judge), 0, 0, "none", false, RELOADS,
	 "least similarity at which a model is asked whether a question just under the threshold means the same; none = never"},
	{CONFIG_NAMESPACE, "judge_calls", CONFIG_COUNT, NS(judge_calls), 0, 1000000, "100", false, RELOADS,
	 "calls that judges of this section may make a day, counted from 00:00 UTC on each host"},
	{CONFIG_NAMESPACE, "judge_model", CONFIG_TEXT, NS(judge_model), 0, LIMIT_MODEL_BYTES, "", false, RELOADS,
	 "model that judges; empty = the one that the question was asked"},
};
/* clang-format on */

const char *config_section_name(enum config_section_kind kind)
{
	static const char *const names[CONFIG_SECTION_KINDS] = {
		[CONFIG_SERVER] = "server",
		[CONFIG_MEMORY] = "memory",
		[CONFIG_REDIS] = "redis",
		[CONFIG_EMBEDDER] = "embedder",
		[CONFIG_SECOND_OPINION] = "second_opinion",
		[CONFIG_LOG] = "log",
		[CONFIG_DECISIONS] = "decisions",
		[CONFIG_UPSTREAM] = "upstream",
		[CONFIG_NAMESPACE] = "namespace",
	};

	return names[kind];
}

size_t config_section_start(enum config_section_kind kind)
{
	size_t i = 0;

	while (i < CONFIG_ENTRIES && config_table[i].section < kind)
		i++;
	return i;
}
