/* What call.c, call_question.c and admin.c share. Nobody else includes it. */
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
	uint64_t id;     /* the client's */
	uint64_t number; /* the daemon's, for the log */
	struct namespace_count *counts;
	uint64_t started_us;
	enum method method;
	bool stream;
	bool is_talking; /* in calls->talking */
	uint64_t seq;    /* of the next chunk */
	struct deadline deadline;
	/* What an administrative method waits for: ended by `cancel` if the call goes first, else by whoever finishes it. */
	void *work;
	void (*cancel)(void *work);
	UT_hash_handle hh;
	struct call *prev, *next; /* calls->talking */
};

/* Who calls. */
struct caller {
	unsigned uid;
	int pid; /* 0 = in another namespace of processes */
};

/* Returns who is at the other end of the connection. */
struct caller call_caller(const struct calls *calls);

/* Opens a call, which from here on has its one response. Returns NULL with `fault` filled: BUSY, or no memory. */
struct call *call_open(struct calls *calls, const struct request *request, uint64_t started_us, struct fault *fault);

/* Sends `result` as the answer to request `id` (the daemon's `number`), for which there need not be a call; fills in its
 * number and total_ms, and counts it. */
void call_answer(struct calls *calls, uint64_t id, uint64_t number, uint64_t started_us, bool stream, struct result *result);

/* Sends `result` (raw MessagePack) as the response and ends the call. */
void call_finish(struct call *call, struct slice result);

/* Sends the error and ends the call. */
void call_fail(struct call *call, const struct fault *fault);

/* call_question.c: get_or_generate, lookup and add */

/* Answers a get_or_generate whose parameters are known byte for byte, if memory can. Returns whether it has. */
bool question_recall(struct calls *calls, uint64_t id, struct slice params, uint64_t started_us);

/* Answers `request` from memory, or opens a call for it. Returns 0, or an error with `fault` filled, which the caller
 * sends. */
int question_handle(struct calls *calls, const struct request *request, struct slice message, struct slice params,
		    uint64_t started_us, struct fault *fault);

#endif
