/* Why a request failed, with the keys of the daemon's error taken apart: what struct semcache_error shows to the caller. */
#ifndef CLIENT_FAILURE_H
#define CLIENT_FAILURE_H

#include "../proto/buffer.h"
#include "../proto/fault.h"
#include "semcache.h"

struct failure {
	struct fault fault;
	int status;
	int64_t retry_ms; /* SEMCACHE_UNSET = not told */
	char field[64];
	char kind[32];
	char limit[32];
};

/* Fills `failure` from the library's own side; `detail` is "" or "key=value…". Returns `code`. */
int failure_set(struct failure *failure, int code, const char *detail, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Fills `failure` from the wire's form "CODE key=value… : text". An unknown code becomes ERROR_PROTOCOL, with all of the
 * text. Returns the code, never 0. */
int failure_parse(struct failure *failure, struct slice text);

/* Shows `failure`, which must outlive the view. */
struct semcache_error failure_view(const struct failure *failure);

#endif
