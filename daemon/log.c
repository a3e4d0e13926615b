/* All goes well: the line is made on the stack and leaves in one write.
 * What can go wrong: whoever reads stderr is slow (the line is counted as lost, the loop does not wait) or gone (nobody is
 * left to tell). */
#include "log.h"

#include "../proto/buffer.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 1000

static const struct {
	const char *name;
	int priority; /* sd-daemon(3)'s */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARNING] = {"warning", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

/* systemd names the device and inode of the stream it connected to us; ours may have been redirected since. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2 || fstat(STDERR_FILENO, &st) != 0)
		return false;
	return st.st_dev == device && st.st_ino == inode;
}

void log_init(struct log *log, enum log_level level)
{
	*log = (struct log){.level = level, .journal = is_journal(), .lost = &log->lost_lines};
}

/* Writes without waiting. Returns whether the bytes were taken. */
static bool write_now(const char *line, size_t length)
{
	ssize_t written = send(STDERR_FILENO, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (written < 0 && errno == ENOTSOCK) {
		/* A pipe that is writable takes PIPE_BUF bytes at once, which is more than a line. */
		struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
		if (poll(&fd, 1, 0) != 1 || !(fd.revents & POLLOUT))
			return false;
		written = write(STDERR_FILENO, line, length);
	}
	return written == (ssize_t)length;
}

static size_t write_prefix(const struct log *log, enum log_level level, char *line, size_t size)
{
	struct timespec now;
	struct tm utc;

	if (log->journal)
		return (size_t)snprintf(line, size, "<%d>", levels[level].priority);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!gmtime_r(&now.tv_sec, &utc))
		return 0;
	size_t length = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
	return length +
	       (size_t)snprintf(line + length, size - length, ".%03ldZ %s ", now.tv_nsec / 1000000, levels[level].name);
}

static void drop_controls(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
}

static bool write_line(const struct log *log, enum log_level level, const char *format, va_list args)
{
	char line[LINE_BYTES + 1];
	size_t start = write_prefix(log, level, line, sizeof(line));
	int length = vsnprintf(line + start, sizeof(line) - start, format, args);

	if (length < 0)
		return true;
	size_t end = start + (size_t)length;
	if (end >= LINE_BYTES)
		end = slice_whole_characters((struct slice){line, LINE_BYTES}, LINE_BYTES - 1);
	drop_controls(line + start, end - start);
	line[end] = '\n';
	return write_now(line, end + 1);
}

static bool write_one(const struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool write_one(const struct log *log, enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	bool taken = write_line(log, level, format, args);
	va_end(args);
	return taken;
}

void log_write(const struct log *log, enum log_level level, const char *format, ...)
{
	va_list args;

	if (level > log->level)
		return;
	if (log->lost && *log->lost &&
	    write_one(log, LOG_LEVEL_WARNING, "log_lost lines=%llu", (unsigned long long)*log->lost))
		*log->lost = 0;
	va_start(args, format);
	if (!write_line(log, level, format, args) && log->lost)
		++*log->lost;
	va_end(args);
}

bool log_allows(struct log_limit *limit, uint64_t now_ms, uint64_t *left_out)
{
	if (now_ms < limit->next_ms) {
		limit->left_out++;
		return false;
	}
	*left_out = limit->left_out;
	*limit = (struct log_limit){.next_ms = now_ms + 1000};
	return true;
}

const char *log_quotable(char *out, unsigned long size, const char *text)
{
	size_t length = slice_whole_characters(slice_of(text), size - 1);

	memmove(out, text, length);
	out[length] = '\0';
	drop_controls(out, length);
	for (char *quote = strchr(out, '"'); quote; quote = strchr(quote, '"'))
		*quote = '\'';
	return out;
}
