/* Remembers what the parameters of recent questions meant, so that a question that comes again byte for byte is not read,
 * checked and hashed again: nine tenths of what an exact hit from memory costs.
 *
 * A slot is chosen by a fast hash (XXH3, seeded) and used only if all its bytes are equal: the hash decides nothing. What is
 * remembered holds under the configuration it was read under; recall_clear() at a reload. */
#ifndef DAEMON_RECALL_H
#define DAEMON_RECALL_H

#include "decide.h"

struct config_upstream;
struct namespace_count;
struct recall;

/* What the parameters meant. */
struct recalled {
	struct identity identity;
	struct policy policy;
	const struct config_upstream *upstream;
	struct namespace_count *counts;
	bool stream;
};

/* The longest parameters that are remembered, in bytes. */
#define RECALL_PARAMS_MOST 8192

/* Creates a memory of at most `max_bytes`; NULL without memory or random bits. */
struct recall *recall_create(size_t max_bytes);

/* Frees it; NULL is nothing. */
void recall_destroy(struct recall *recall);

/* Returns what `params` (the raw parameters of a get_or_generate) meant, good until the next recall_put(); NULL = not
 * known. */
const struct recalled *recall_get(const struct recall *recall, struct slice params);

/* Remembers it, in place of what shares its slot. Nothing happens if there is no memory, or `params` is too long. */
void recall_put(struct recall *recall, struct slice params, const struct recalled *recalled);

/* Forgets everything. */
void recall_clear(struct recall *recall);

#endif
