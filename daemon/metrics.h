/* What the daemon counts. A new counter is one line of the table; `stats`, Prometheus' text and semcached(8) read it.
 * Plain adds on the loop's thread: no lock, no scan. */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "../proto/buffer.h"
#include "../proto/error.h"

#include <stdint.h>

/* X(name, what it counts) */
#define METRICS_COUNTERS(X)                                                                                                 \
	X(requests, "requests of any method")                                                                               \
	X(hits_memory, "answers from memory")                                                                               \
	X(hits_exact, "answers from Redis by exact identity or alias")                                                      \
	X(hits_semantic, "answers by meaning")                                                                              \
	X(hits_coalesced, "answers shared with another caller's model call")                                                \
	X(hits_stale, "answers past their TTL, served because the model failed")                                            \
	X(answers_upstream, "answers from the model, to the caller that asked first")                                       \
	X(lookup_misses, "look-ups without an answer")                                                                      \
	X(api_calls, "chat calls to upstreams")                                                                             \
	X(api_failures, "chat calls that failed")                                                                           \
	X(embedding_calls, "embedding requests to the embedder")                                                            \
	X(embedding_texts, "texts in them")                                                                                 \
	X(embedding_failures, "embedding requests that failed")                                                             \
	X(embedding_cache_hits, "embeddings found in Redis")                                                                \
	X(second_calls, "embedding requests to the second embedder")                                                        \
	X(second_texts, "texts in them")                                                                                    \
	X(second_failures, "embedding requests to the second embedder that failed")                                         \
	X(opinions_given, "questions that were decided with a second opinion")                                              \
	X(opinions_missed, "questions that were decided without the second opinion that they should have had")              \
	X(entries_stored, "entries written to memory, index or Redis")                                                      \
	X(entries_not_stored, "answers that were not complete or not wanted, and so not kept")                              \
	X(aliases_stored, "aliases written")                                                                                \
	X(entries_invalidated, "entries removed by invalidate or flush")                                                    \
	X(memory_evictions, "entries that left memory to keep memory.max_bytes")                                            \
	X(index_evictions, "entries that left the index to keep memory.index_max_bytes")                                    \
	X(index_scans_offloaded, "searches that ran on the thread pool")                                                    \
	X(redis_reads, "reads sent to Redis")                                                                               \
	X(redis_writes, "writes sent to Redis")                                                                             \
	X(redis_failures, "reads and writes that failed")                                                                   \
	X(redis_wrong_type, "keys of ours that held something else")                                                        \
	X(redis_too_large, "entries in Redis over server.max_message_bytes, not read")                                      \
	X(write_queue_dropped, "writes refused because redis.write_queue_bytes was reached")                                \
	X(writes_dead, "queued writes dropped: flushed or expired before Redis was back")                                   \
	X(vectors_dropped, "embeddings not cached because Redis was away")                                                  \
	X(log_records, "records of other daemons followed")                                                                 \
	X(log_reloads, "times everything was read again")                                                                   \
	X(settings_applied, "times run-time settings were put in force")                                                    \
	X(settings_refused, "run-time settings in Redis that do not fit and are ignored")                                   \
	X(certificates_misfit, "times a certificate was found not to hold here")                                            \
	X(certificates_withdrawn, "certificates withdrawn because of what their hits showed")                               \
	X(feedback_right, "verdicts that an answer was right")                                                              \
	X(feedback_wrong, "verdicts that an answer was wrong")                                                              \
	X(feedback_accept, "questions that an entry was said to answer from then on")                                       \
	X(feedback_undo, "verdicts taken back")                                                                             \
	X(connections_accepted, "connections accepted")                                                                     \
	X(connections_refused, "times accepting was put off at server.max_connections")                                     \
	X(connections_stalled, "connections closed because they did not read")                                              \
	X(reads_paused, "times reading a connection stopped at its write queue's limit")                                    \
	X(busy, "requests refused as BUSY")                                                                                 \
	X(denied, "requests refused as DENIED")                                                                             \
	X(large_messages, "messages over 64 KiB")                                                                           \
	X(upstream_queue_full, "requests refused because an upstream's queue was full")                                     \
	X(flights_cancelled, "flights cancelled because the last rider left")                                               \
	X(flights_detached, "flights finished for the cache after the last rider left")                                     \
	X(flights_joined_by_meaning, "flights that joined another in the air")                                              \
	X(namespaces_not_counted, "answers in namespaces beyond those counted apart")                                       \
	X(reviews_same, "comparisons with the model's answer in which a hit by meaning, or a would-be hit, said the same")  \
	X(reviews_different, "comparisons with the model's answer in which a hit, or a would-be hit, said something else")  \
	X(reviews_not_comparable, "comparisons in which an answer was too long to be compared, or not whole")               \
	X(reviews_dropped, "comparisons not made: too many waited, or the entry or the embedder was gone")                  \
	X(audit_calls, "chat calls of audits, which are not in api_calls")                                                  \
	X(audit_failures, "chat calls of audits that failed")                                                               \
	X(audits_over_budget, "hits chosen for an audit when the day's audit_calls were used up")                           \
	X(judge_calls, "chat calls of judges, which are not in api_calls")                                                  \
	X(judge_failures, "chat calls of judges that failed")                                                               \
	X(judge_yes, "questions just under the threshold that a model said want the nearest entry's answer")                \
	X(judge_no, "questions just under the threshold that a model said want another answer than the nearest entry's")    \
	X(judge_unclear, "questions just under the threshold to which a model said neither yes nor no")                     \
	X(judges_over_budget, "questions not judged because the day's judge_calls were used up")                            \
	X(decisions_written, "decisions written to the log of decisions")                                                   \
	X(decisions_dropped, "decisions that were not written: the disk was slow, full or not there")                       \
	X(decisions_purged, "decisions removed from the log with their entry, tag or namespace")                            \
	X(decisions_failures, "times that the log of decisions could not be read or written")                               \
	X(decisions_missed, "decisions that somebody who watches was not told, having read too little")                     \
	X(tokens_saved, "tokens that hits did not cost")

/* Latencies, each a histogram in microseconds. X(name, from what to what) */
#define METRICS_LATENCIES(X)                                                                                                \
	X(memory, "request to answer, from memory")                                                                         \
	X(exact, "request to answer, by identity from Redis")                                                               \
	X(semantic, "request to answer, by meaning")                                                                        \
	X(coalesced, "request to answer, shared")                                                                           \
	X(upstream, "request to answer, from the model")                                                                    \
	X(embedder, "embedding request to its reply")                                                                       \
	X(second, "embedding request to the second embedder, to its reply")                                                 \
	X(redis, "read to its reply")                                                                                       \
	X(model, "chat call to its end")                                                                                    \
	X(first_token, "chat call to its first text")                                                                       \
	X(loop, "thread CPU of one turn of the loop")

/* Log-linear buckets, 16 to each power of two: any percentile to within 6.25 %. */
#define HISTOGRAM_BUCKETS 496

struct histogram {
	uint64_t count;
	uint64_t sum_us, max_us;
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

struct metrics {
#define X(name, text) uint64_t name;
	METRICS_COUNTERS(X)
#undef X
	double usd_saved;
	uint64_t errors[ERROR_COUNT]; /* responses by -code */
#define X(name, text) struct histogram latency_##name;
	METRICS_LATENCIES(X)
#undef X
};

/* Adds one value. */
void histogram_add(struct histogram *histogram, uint64_t value_us);

/* Returns the value that the share `part` (0.5, 0.99) of all is at or under, in microseconds; 0 without values. */
uint64_t histogram_percentile(const struct histogram *histogram, double part);

#endif
