/* How long a connection's owner waits: to be connected, for the next sign of life, and for all of it. Three limits on one
 * deadline, which is looked at again when it expires instead of being moved with every byte. */
#ifndef DAEMON_PATIENCE_H
#define DAEMON_PATIENCE_H

#include "deadline.h"

enum patience_limit { PATIENCE_CONNECT, PATIENCE_IDLE, PATIENCE_TOTAL, PATIENCE_MEMORY };

/* Embedded in what waits; the limits and `lost` are set before patience_start(). 0 = no limit. */
struct patience {
	struct deadlines *deadlines;
	uint64_t connect_ms, idle_ms, total_ms;
	/* Called once when a limit has passed (or, PATIENCE_MEMORY, cannot be watched any more). */
	void (*lost)(struct patience *patience, enum patience_limit limit);
	/* its own */
	struct deadline deadline;
	uint64_t started_ms, alive_ms;
	bool connected;
};

/* Starts to wait. Returns 0 or ERROR_MEMORY. */
int patience_start(struct patience *patience);

/* A sign of life: something came. */
void patience_alive(struct patience *patience);

/* Connected: from now on idle_ms counts instead of connect_ms. Returns 0 or ERROR_MEMORY. */
int patience_connected(struct patience *patience);

/* Waits no more; `lost` is not called. Not started is nothing. */
void patience_stop(struct patience *patience);

#endif
