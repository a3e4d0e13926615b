/* The three protocols that the load generator speaks: what a request is, and where a reply ends. */
#ifndef BENCH_LOAD_PROTOCOL_H
#define BENCH_LOAD_PROTOCOL_H

#include "../../proto/buffer.h"
#include "../../proto/scanner.h"

#include <stdbool.h>
#include <stdint.h>

enum protocol_kind { PROTOCOL_SEMCACHE, PROTOCOL_REDIS, PROTOCOL_MEMCACHED };

/* One request, in which the key's number and, for semcache, the request's id are then written in place. */
struct protocol {
	enum protocol_kind kind;
	struct buffer request;
	size_t key_place, id_place;
};

#define KEY_DIGITS 6
#define KEY_MOST 999999u

/* Makes the request: a get (semcache: get_or_generate of three messages and four parameters, `stream` as given), or, with
 * `set_bytes`, a set of a value of so many bytes (not for semcache). Returns 0 or an error of proto/error.h. */
int protocol_init(struct protocol *protocol, enum protocol_kind kind, size_t set_bytes, bool stream);
void protocol_deinit(struct protocol *protocol);

/* Appends the request for key number `key` under `id`. Returns 0 or an error. */
int protocol_append(const struct protocol *protocol, struct buffer *out, uint32_t key, uint32_t id);

struct reply {
	size_t length; /* bytes of it */
	bool is_final; /* ends its request; else a piece of a stream */
	bool is_good;
	struct slice text; /* of a piece: its text; of a bad reply: what it says */
};

/* Reads the first reply of `bytes`; `scanner` is the connection's own. Returns 0, ERROR_PENDING if it is not whole yet, or
 * ERROR_PROTOCOL. */
int protocol_read(const struct protocol *protocol, struct scanner *scanner, struct slice bytes, struct reply *reply);

#endif
