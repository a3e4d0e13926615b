/* The methods that ask for no answer: hello, ping, show, list, stats, health, invalidate, flush, reload, drain, config. */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "../proto/fault.h"

struct call;
struct explanation;
struct request;

/* Handles `request` of `call`; whether the caller may do so has been checked. Returns 0 when call_finish() or call_fail()
 * was or will be called (then `call` may be gone already), or an error with `fault` filled, and the caller sends that. */
int admin_handle(struct call *call, const struct request *request, struct fault *fault);

/* Goes on with an `explain` whose flight has told what it knows. call_finish() or call_fail() was or will be called. */
void admin_explained(struct call *call, const struct explanation *explanation);

#endif
