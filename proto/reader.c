#include "reader.h"

#include "error.h"
#include "format.h"

#include <string.h>

struct reader reader_of(struct slice s)
{
	const unsigned char *at = (const unsigned char *)s.data;

	return (struct reader){at, at ? at + s.length : at};
}

/* Sign-extends the `length` bytes at `p`. */
static int64_t signed_number(const unsigned char *p, size_t length)
{
	uint64_t raw = format_big_endian(p, length);
	unsigned unused = (unsigned)(64 - 8 * length);

	return (int64_t)(raw << unused) >> unused;
}

static void integer(struct reader_value *value, int64_t number)
{
	if (number >= 0) {
		value->type = READER_UINT;
		value->uint = (uint64_t)number;
	} else {
		value->type = READER_INT;
		value->integer = number;
	}
}

/* The scalar of `length` bytes at `p`, all of which are there. */
static int scalar(const unsigned char *p, size_t length, struct reader_value *value)
{
	unsigned char b = p[0];
	float narrow;
	uint32_t bits;
	uint64_t wide;

	if (b < 0x80 || b >= 0xe0) {
		integer(value, (int8_t)b);
		return 0;
	}
	switch (b) {
	case 0xc0:
		value->type = READER_NIL;
		return 0;
	case 0xc2:
	case 0xc3:
		value->type = READER_BOOL;
		value->boolean = b == 0xc3;
		return 0;
	case 0xca:
		bits = (uint32_t)format_big_endian(p + 1, 4);
		memcpy(&narrow, &bits, sizeof(narrow));
		value->type = READER_FLOAT;
		value->number = (double)narrow;
		return 0;
	case 0xcb:
		wide = format_big_endian(p + 1, 8);
		memcpy(&value->number, &wide, sizeof(wide));
		value->type = READER_FLOAT;
		return 0;
	default:
		break;
	}
	if (b >= 0xcc && b <= 0xcf) {
		value->type = READER_UINT;
		value->uint = format_big_endian(p + 1, length - 1);
	} else if (b >= 0xd0 && b <= 0xd3) {
		integer(value, signed_number(p + 1, length - 1));
	} else {
		value->type = READER_EXT;
		value->text = (struct slice){(const char *)p + 1, length - 1};
	}
	return 0;
}

int reader_next(struct reader *r, struct reader_value *value)
{
	size_t left = (size_t)(r->end - r->at);
	struct format_header h;

	if (left == 0 || !format_read(r->at, left, &h) || h.kind == FORMAT_BAD || h.length > left)
		return ERROR_PROTOCOL;
	*value = (struct reader_value){.type = READER_NIL};
	switch (h.kind) {
	case FORMAT_SCALAR:
		r->at += h.length;
		return scalar(r->at - h.length, h.length, value);
	case FORMAT_BODY: {
		unsigned char b = r->at[0];
		if (h.count > left - h.length)
			return ERROR_PROTOCOL;
		value->type = b >= 0xc7 && b <= 0xc9 ? READER_EXT : READER_TEXT;
		value->text = (struct slice){(const char *)r->at + h.length, (size_t)h.count};
		r->at += h.length + (size_t)h.count;
		return 0;
	}
	default:
		if (h.count > (left - h.length) / (h.kind == FORMAT_MAP ? 2 : 1))
			return ERROR_PROTOCOL;
		value->type = h.kind == FORMAT_ARRAY ? READER_ARRAY : READER_MAP;
		value->count = (size_t)h.count;
		r->at += h.length;
		return 0;
	}
}

int reader_skip(struct reader *r, struct slice *whole)
{
	struct reader copy = *r;
	struct reader_value value;
	size_t values = 1;

	while (values > 0) {
		int error = reader_next(&copy, &value);
		if (error)
			return error;
		values--;
		if (value.type == READER_ARRAY)
			values += value.count;
		else if (value.type == READER_MAP)
			values += 2 * value.count;
	}
	if (whole)
		*whole = (struct slice){(const char *)r->at, (size_t)(copy.at - r->at)};
	*r = copy;
	return 0;
}
