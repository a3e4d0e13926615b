/* Finds where a MessagePack message ends and enforces the limits on raw bytes, before anything is decoded or allocated.
 * Format: the MessagePack specification, github.com/msgpack/msgpack/blob/master/spec.md. */
#ifndef PROTO_SCANNER_H
#define PROTO_SCANNER_H

#include "limits.h"

#include <stddef.h>
#include <stdint.h>

/* Between two calls a scanner knows how far it has come, so no byte is looked at twice. */
struct scanner {
	size_t max_bytes;
	size_t position;               /* bytes of this message that are understood */
	size_t skip;                   /* bytes of a str, bin or ext body still to pass over */
	unsigned depth;                /* open arrays and maps */
	uint64_t pending[LIMIT_DEPTH]; /* values still to come in each of them */
	uint64_t pending_total;        /* their sum: each needs a byte more, but for the open ones */
};

/* Makes `s` ready for a message of at most `max_bytes`. */
void scanner_init(struct scanner *s, size_t max_bytes);

/* Looks at a message whose first `length` bytes are `data`; call it again with more of the same message after ERROR_PENDING.
 * On 0, `*end` is the message's length and `s` is ready for the next. ERROR_PENDING: more bytes are needed.
 * ERROR_TOO_LARGE: bytes, depth, or a container or body that could not fit the maximum. ERROR_PROTOCOL: 0xc1, which no
 * message has. After those two the stream cannot be followed any more. */
int scanner_scan(struct scanner *s, const void *data, size_t length, size_t *end);

#endif
