/* What call.c and admin.c share. Nobody else includes it. */
#ifndef DAEMON_CALL_PRIVATE_H
#define DAEMON_CALL_PRIVATE_H

#include "call.h"
#include "deadline.h"
#include "flight.h"

#include "../proto/request.h"

/* How many calls there are is up to clients. */
#ifndef HASH_NONFATAL_OOM
#define HASH_NONFATAL_OOM 1
#endif
#include <uthash.h>

struct call {
	struct rider rider;
	struct calls *calls;
	uint64_t id;         /* the client's */
	uint64_t number;     /* the daemon's, for the log */
	uint64_t started_us;
	enum method method;
	bool stream;
	bool is_talking;     /* in calls->talking */
	uint64_t seq;        /* of the next chunk */
	struct deadline deadline;
	/* What an administrative method waits for: ended by `cancel` if the call goes first, else by whoever finishes it. */
	void *work;
	void (*cancel)(void *work);
	UT_hash_handle hh;
	struct call *prev, *next; /* calls->talking */
};

/* Sends `result` (raw MessagePack) as the response and ends the call. */
void call_finish(struct call *call, struct slice result);

/* Sends the error and ends the call. */
void call_fail(struct call *call, const struct fault *fault);

#endif
