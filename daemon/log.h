/* One line per event, to stderr: with sd-daemon(3) priority prefixes when systemd's journal reads it, with the time
 * otherwise.
 *
 * A line is `event key=value …`; texts of others are quoted and lose their control characters. Never log a question, an
 * answer or a key: log ids. The layer that handles an error logs it, those below return it. The loop never waits for whoever
 * reads stderr: a line that it cannot take at once is lost, and the next one that it takes is preceded by how many were. */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log {
	enum log_level level; /* the least important that is still written */
	bool journal;         /* stderr is the journal */
	uint64_t lost_lines;
	uint64_t *lost; /* of the log it was made in, so that those who only write may hold it const; do not copy a log */
};

/* Makes a log that writes `level` and what is more important. */
void log_init(struct log *log, enum log_level level);

/* Writes one line: `format` starts with the event's name. A line over 1,000 bytes is cut. */
void log_write(const struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Lets one line a second through, of a kind that peers can cause at will. Zeroed = none was written yet. */
struct log_limit {
	uint64_t next_ms, left_out;
};

/* Returns whether a line may be written at `now_ms` of a monotonic clock; `*left_out` is then how many were not since the
 * last. */
bool log_allows(struct log_limit *limit, uint64_t now_ms, uint64_t *left_out);

/* Copies `text` into `out` of `size` bytes as it may stand between quotes in a line: without control characters, with ' for
 * ", cut at a whole UTF-8 character. `text` may be `out`. Returns `out`. */
const char *log_quotable(char *out, unsigned long size, const char *text);

#endif
