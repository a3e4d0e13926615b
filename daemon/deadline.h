/* All deadlines of the daemon on one timer of the loop.
 *
 *   deadlines_start() ──> heap, soonest first ──> one uv_timer_t ──> expired()
 *
 * A deadline is embedded in whatever waits; it holds no libuv handle, so its owner may be freed as soon as it is stopped. */
#ifndef DAEMON_DEADLINE_H
#define DAEMON_DEADLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct deadlines;

struct deadline {
	void (*expired)(
		struct deadline *deadline); /* called once, from the loop; may start or stop any deadline, itself too */
	uint64_t at_ms;                     /* of the loop's clock */
	size_t place;                       /* in the heap, from 1; 0 = not started */
};

/* Creates the heap and its timer on `loop`; NULL without memory. */
struct deadlines *deadlines_create(struct uv_loop_s *loop);

/* Closes the timer; memory is freed in its close callback, so the loop must run once more. Nothing expires any more. */
void deadlines_destroy(struct deadlines *deadlines);

/* Starts `deadline` (or starts it anew) to expire `in_ms` from now. `expired` must be set. Returns 0 or ERROR_MEMORY. */
int deadline_start(struct deadlines *deadlines, struct deadline *deadline, uint64_t in_ms);

/* Stops it: `expired` is not called any more. Not started is nothing. */
void deadline_stop(struct deadlines *deadlines, struct deadline *deadline);

/* The loop's monotonic clock in milliseconds, as of this turn. */
uint64_t deadlines_now_ms(const struct deadlines *deadlines);

#endif
