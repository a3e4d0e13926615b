/* Nothing here lasts: what cannot be had ends the program, and the bench that started it says so. */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096
#define RETRY_NS 200000

uint64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fprintf(stderr, error ? ": %s\n" : "\n", strerror(error));
	exit(EXIT_FAILURE);
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		die("%s: too long for a socket", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	return address;
}

int unix_connect(const char *path, uint64_t patience_ms)
{
	const struct sockaddr_un address = address_of(path);
	uint64_t until_ns = clock_ns() + patience_ms * 1000000;
	const struct timespec pause = {.tv_nsec = RETRY_NS};

	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			die("socket");
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		if (clock_ns() > until_ns)
			die("%s", path);
		(void)close(fd);
		(void)nanosleep(&pause, NULL);
	}
}

int unix_listen(const char *path)
{
	const struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, BACKLOG) != 0)
		die("%s", path);
	return fd;
}

uint64_t number_read(const char *name, const char *text, uint64_t most)
{
	char *end;

	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > most) {
		errno = 0;
		die("%s: a number from 0 to %" PRIu64 ", not '%s'", name, most, text);
	}
	return value;
}

uint64_t process_cpu_ns(long pid)
{
	char path[64];
	uint64_t total = 0;
	struct dirent *task;

	if (pid == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%ld/task", pid);
	DIR *tasks = opendir(path);
	if (!tasks)
		die("%s", path);
	while ((task = readdir(tasks))) {
		uint64_t ran_ns;
		if (task->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%ld/task/%.16s/schedstat", pid, task->d_name);
		FILE *file = fopen(path, "re");
		if (file && fscanf(file, "%" SCNu64, &ran_ns) == 1)
			total += ran_ns;
		if (file)
			(void)fclose(file);
	}
	(void)closedir(tasks);
	return total;
}

static unsigned slot_of(uint64_t value)
{
	if (value < 1u << HISTOGRAM_SUB_BITS)
		return (unsigned)value;
	unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)((value >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1));
}

/* The middle of what falls into a slot. */
static double slot_value(unsigned slot)
{
	if (slot < 1u << HISTOGRAM_SUB_BITS)
		return slot;
	unsigned shift = (slot >> HISTOGRAM_SUB_BITS) - 1;
	uint64_t start = (uint64_t)((1u << HISTOGRAM_SUB_BITS) + (slot & ((1u << HISTOGRAM_SUB_BITS) - 1))) << shift;
	return (double)start + (double)(UINT64_C(1) << shift) / 2;
}

void spread_add(struct spread *spread, uint64_t value_ns)
{
	unsigned slot = slot_of(value_ns);

	spread->count++;
	spread->sum_ns += value_ns;
	if (value_ns > spread->max_ns)
		spread->max_ns = value_ns;
	spread->slots[slot < HISTOGRAM_SLOTS ? slot : HISTOGRAM_SLOTS - 1]++;
}

static double percentile_us(const struct spread *spread, double part)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
		seen += spread->slots[i];
		if (seen > 0 && (double)seen >= part * (double)spread->count) {
			double value = slot_value(i);
			return (value < (double)spread->max_ns ? value : (double)spread->max_ns) / 1000;
		}
	}
	return 0;
}

void spread_print(const char *name, const struct spread *spread)
{
	double mean_us = spread->count ? (double)spread->sum_ns / (double)spread->count / 1000 : 0;

	printf("\"%s\":{\"count\":%" PRIu64 ",\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f,"
	       "\"p999_us\":%.3f,\"max_us\":%.3f}",
	       name, spread->count, mean_us, percentile_us(spread, 0.5), percentile_us(spread, 0.9),
	       percentile_us(spread, 0.99), percentile_us(spread, 0.999), (double)spread->max_ns / 1000);
}
