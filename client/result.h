/* A response as the caller keeps it: the raw bytes, and for answers the texts taken out of them. */
#ifndef CLIENT_RESULT_H
#define CLIENT_RESULT_H

#include "../proto/buffer.h"
#include "semcache.h"

/* Copies the complete MessagePack value `raw`; `answer`: it is one of get_or_generate or lookup and is read as such.
 * Returns 0 and `*result`, or ERROR_MEMORY or ERROR_PROTOCOL (a known key has a value that it cannot have). */
int result_create(struct slice raw, bool answer, struct semcache_result **result);

#endif
