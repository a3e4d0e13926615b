/* Reads a complete MessagePack message in place: no copy, no allocation. The scanner has bounded it before. */
#ifndef PROTO_READER_H
#define PROTO_READER_H

#include "buffer.h"

enum reader_type {
	READER_NIL,
	READER_BOOL,
	READER_UINT,  /* 0 … 2^64-1 */
	READER_INT,   /* negative */
	READER_FLOAT, /* float32 or float64, as float64 */
	READER_TEXT,  /* str or bin */
	READER_ARRAY,
	READER_MAP,
	READER_EXT,
};

struct reader {
	const unsigned char *at;
	const unsigned char *end;
};

struct reader_value {
	enum reader_type type;
	union {
		bool boolean;
		uint64_t uint;
		int64_t integer;
		double number;
	};
	struct slice text; /* TEXT and EXT: the body */
	size_t count;      /* ARRAY: values, MAP: pairs; they follow */
};

/* Makes a reader of the bytes of `s`, which must outlive it. */
struct reader reader_of(struct slice s);

/* Reads one value; of an array or map only its head. Returns 0 or ERROR_PROTOCOL (the bytes end within it, or 0xc1). */
int reader_next(struct reader *r, struct reader_value *value);

/* Passes over one value with all it holds, and sets `*whole` (if not NULL) to its bytes. Returns 0 or ERROR_PROTOCOL. */
int reader_skip(struct reader *r, struct slice *whole);

#endif
