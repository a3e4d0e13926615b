/* The header of one MessagePack value: what a first byte says about what follows. Used by the scanner and the reader.
 * Format: the MessagePack specification, github.com/msgpack/msgpack/blob/master/spec.md. */
#ifndef PROTO_FORMAT_H
#define PROTO_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum format_kind { FORMAT_SCALAR, FORMAT_BODY, FORMAT_ARRAY, FORMAT_MAP, FORMAT_BAD };

struct format_header {
	enum format_kind kind;
	size_t length;  /* bytes of the header, the first included; of a scalar: all of it */
	uint64_t count; /* bytes of the body (an ext's type byte included), or values of an array, or pairs of a map */
};

/* Reads the header at `p`, of which `length` >= 1 bytes are there. Returns false if more of the header is needed; a scalar's
 * header is complete with its first byte, its value need not be there. */
bool format_read(const unsigned char *p, size_t length, struct format_header *h);

/* Returns the unsigned number in the `length` bytes at `p`, most significant first. */
uint64_t format_big_endian(const unsigned char *p, size_t length);

#endif
