/* What the programs of the benches share: time, sockets, CPU of another process, a histogram, ending with a reason. */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC, which all processes of a host share. */
uint64_t clock_ns(void);

/* Writes the text made as by printf(3) and the error of errno, if any, to stderr, and ends the process. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Returns a non-blocking socket that is connected to `path`, tried again for at most `patience_ms`. Dies without one. */
int unix_connect(const char *path, uint64_t patience_ms);

/* Returns a non-blocking listening socket at `path`. Dies without one. */
int unix_listen(const char *path);

/* Reads a whole number from 0 to `most` out of the argument of option `name`. Dies if it is none. */
uint64_t number_read(const char *name, const char *text, uint64_t most);

/* Nanoseconds that all threads of `pid` have run so far, from /proc/PID/task/N/schedstat; 0 for pid 0. */
uint64_t process_cpu_ns(long pid);

/* Nanoseconds in 64 parts to each power of two: any percentile to within 1.6 %. */
#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SLOTS ((64 - HISTOGRAM_SUB_BITS) << HISTOGRAM_SUB_BITS)

struct spread {
	uint64_t count, sum_ns, max_ns;
	uint32_t slots[HISTOGRAM_SLOTS];
};

/* Adds one value. */
void spread_add(struct spread *spread, uint64_t value_ns);

/* Writes `"NAME":{"count":…,"mean_us":…,"p50_us":…,"p90_us":…,"p99_us":…,"p999_us":…,"max_us":…}` to stdout. */
void spread_print(const char *name, const struct spread *spread);

#endif
