/* Why something was refused: a code of the table, which part of the request, and a sentence for a person. */
#ifndef PROTO_FAULT_H
#define PROTO_FAULT_H

#include "error.h"

struct fault {
	int code;
	char detail[96]; /* "field=threshold", "status=429 kind=http", or empty */
	char text[256];
};

/* Fills `fault`; `detail` may be "". What does not fit is cut at a whole UTF-8 character, and control characters and
 * bytes that are not UTF-8 become spaces (a text may come from an upstream). Arguments may be texts of `fault` itself.
 * Returns `code`. */
int fault_set(struct fault *fault, int code, const char *detail, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Writes "CODE detail : text", the wire's form, into `out` of `size` bytes; always NUL-terminated. Returns its length. */
unsigned long fault_format(const struct fault *fault, char *out, unsigned long size);

/* The size that always suffices for fault_format(). */
#define FAULT_BYTES 400

#endif
