/* A part the daemon needs from outside (Redis, the embedder, an upstream): whether it works, and since when.
 *
 *        failure × PART_FAILURES                 probe answers
 *   UP ───────────────────────────> DOWN (skipped at once) ─────────> UP
 *
 * The owner of a part calls part_failed() and part_succeeded(); everybody else asks part_up(). While DOWN the owner probes it
 * every PART_PROBE_MS behind everybody's back; nobody waits for a part that is DOWN. */
#ifndef DAEMON_PART_H
#define DAEMON_PART_H

#include <stdbool.h>
#include <stdint.h>

#define PART_FAILURES 3
#define PART_PROBE_MS 500

struct log;

struct part {
	char name[80];   /* "redis", "embedder", "upstream NAME" */
	bool configured; /* false: not wanted, so never a fault */
	bool up;
	unsigned failures; /* in a row */
	uint64_t since_ms; /* of the loop's clock: when `up` last changed */
	char error[160];   /* the last failure, without secrets */
	const struct log *log;
};

/* Makes a part that is up since `now_ms`. */
void part_init(struct part *part, const char *name, bool configured, const struct log *log, uint64_t now_ms);

/* One use failed with `error`. Logs the change to DOWN. Returns whether the part is DOWN now. */
bool part_failed(struct part *part, const char *error, uint64_t now_ms);

/* DOWN at once, whatever the count: a refused connection needs no second try. Logs the change. */
void part_down(struct part *part, const char *error, uint64_t now_ms);

/* One use or probe succeeded. Logs the change to UP. */
void part_succeeded(struct part *part, uint64_t now_ms);

/* Returns whether the part is configured and not DOWN. */
bool part_up(const struct part *part);

#endif
