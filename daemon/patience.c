/* The deadline stands at the soonest limit as it was when it was last looked at. Signs of life only move limits away, so it
 * is never late; when it expires too soon it is set anew.
 * What can go wrong: no memory for that, which is told like a limit that has passed. */
#include "patience.h"

#include <stddef.h>

/* When the soonest limit passes, and which it is; UINT64_MAX without any. */
static uint64_t soonest(const struct patience *patience, enum patience_limit *limit)
{
	uint64_t waits_ms = patience->connected ? patience->idle_ms : patience->connect_ms;
	uint64_t at_ms = UINT64_MAX;

	if (waits_ms) {
		at_ms = patience->alive_ms + waits_ms;
		*limit = patience->connected ? PATIENCE_IDLE : PATIENCE_CONNECT;
	}
	if (patience->total_ms && patience->started_ms + patience->total_ms < at_ms) {
		at_ms = patience->started_ms + patience->total_ms;
		*limit = PATIENCE_TOTAL;
	}
	return at_ms;
}

static int arm(struct patience *patience)
{
	enum patience_limit limit;
	uint64_t at_ms = soonest(patience, &limit);
	uint64_t now_ms = deadlines_now_ms(patience->deadlines);

	if (at_ms == UINT64_MAX) {
		deadline_stop(patience->deadlines, &patience->deadline);
		return 0;
	}
	return deadline_start(patience->deadlines, &patience->deadline, at_ms > now_ms ? at_ms - now_ms : 0);
}

static void on_expired(struct deadline *deadline)
{
	struct patience *patience = (struct patience *)((char *)deadline - offsetof(struct patience, deadline));
	enum patience_limit limit = PATIENCE_TOTAL;

	if (soonest(patience, &limit) <= deadlines_now_ms(patience->deadlines))
		patience->lost(patience, limit);
	else if (arm(patience))
		patience->lost(patience, PATIENCE_MEMORY);
}

int patience_start(struct patience *patience)
{
	patience->deadline.expired = on_expired;
	patience->started_ms = patience->alive_ms = deadlines_now_ms(patience->deadlines);
	return arm(patience);
}

void patience_alive(struct patience *patience)
{
	patience->alive_ms = deadlines_now_ms(patience->deadlines);
}

int patience_connected(struct patience *patience)
{
	patience->connected = true;
	patience_alive(patience);
	return arm(patience);
}

void patience_stop(struct patience *patience)
{
	deadline_stop(patience->deadlines, &patience->deadline);
}
