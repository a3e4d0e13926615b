#include "part.h"

#include "log.h"

#include <stdio.h>

void part_init(struct part *part, const char *name, bool configured, const struct log *log, uint64_t now_ms)
{
	*part = (struct part){.configured = configured, .up = true, .since_ms = now_ms, .log = log};
	(void)log_quotable(part->name, sizeof(part->name), name);
}

static void note_failure(struct part *part, const char *error)
{
	if (part->failures < UINT32_MAX)
		part->failures++;
	(void)log_quotable(part->error, sizeof(part->error), error);
}

static void set_up(struct part *part, bool up, uint64_t now_ms)
{
	uint64_t lasted_ms = now_ms - part->since_ms;

	if (part->up == up)
		return;
	part->up = up;
	part->since_ms = now_ms;
	if (up)
		log_write(part->log, LOG_LEVEL_INFO, "part_up part=\"%s\" down_ms=%llu", part->name,
			  (unsigned long long)lasted_ms);
	else
		log_write(part->log, LOG_LEVEL_WARNING, "part_down part=\"%s\" failures=%u error=\"%s\"", part->name,
			  part->failures, part->error);
}

bool part_failed(struct part *part, const char *error, uint64_t now_ms)
{
	note_failure(part, error);
	if (part->failures >= PART_FAILURES)
		set_up(part, false, now_ms);
	return !part->up;
}

void part_down(struct part *part, const char *error, uint64_t now_ms)
{
	note_failure(part, error);
	set_up(part, false, now_ms);
}

void part_succeeded(struct part *part, uint64_t now_ms)
{
	part->failures = 0;
	set_up(part, true, now_ms);
}

bool part_up(const struct part *part)
{
	return part->configured && part->up;
}
