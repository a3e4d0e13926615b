/* All goes well: each header is read once; scalars and bodies advance `position`; arrays and maps push how many values
 * they hold; when the outermost is complete the message ends there.
 * What can go wrong: a header is cut (wait for it, nothing advanced); a body is cut (`skip` remembers the rest); a claimed
 * count or length cannot fit in what the maximum leaves (TOO_LARGE before a byte of it arrived). */
#include "scanner.h"

#include "error.h"
#include "format.h"

#include <stdbool.h>

void scanner_init(struct scanner *s, size_t max_bytes)
{
	*s = (struct scanner){.max_bytes = max_bytes};
}

/* One value is complete: closes every container that it completes. */
static void value_done(struct scanner *s)
{
	while (s->depth > 0) {
		s->pending_total--;
		if (--s->pending[s->depth - 1] > 0)
			return;
		s->depth--;
	}
}

/* Opens a container of `values` values, each of at least one byte. */
static int container_open(struct scanner *s, uint64_t values)
{
	if (values == 0) {
		value_done(s);
		return 0;
	}
	if (s->depth == LIMIT_DEPTH)
		return ERROR_TOO_LARGE;
	/* What is open has had its first byte already, though each counts as one value to come in what holds it. */
	uint64_t others = s->pending_total - s->depth, left = s->max_bytes - s->position;
	if (values > left || others > left - values)
		return ERROR_TOO_LARGE;
	s->pending[s->depth++] = values;
	s->pending_total += values;
	return 0;
}

/* Passes over as much of the open body as is there. Returns whether all of it was. */
static bool pass_body(struct scanner *s, size_t length)
{
	size_t there = length - s->position;
	size_t step = s->skip < there ? s->skip : there;

	s->position += step;
	s->skip -= step;
	if (s->skip > 0)
		return false;
	value_done(s);
	return true;
}

static int step(struct scanner *s, const unsigned char *bytes, size_t length)
{
	struct format_header h;

	if (!format_read(bytes + s->position, length - s->position, &h))
		return ERROR_PENDING;
	if (h.length > s->max_bytes - s->position)
		return ERROR_TOO_LARGE;
	if (h.kind == FORMAT_BAD)
		return ERROR_PROTOCOL;
	switch (h.kind) {
	case FORMAT_ARRAY:
	case FORMAT_MAP:
		s->position += h.length;
		return container_open(s, h.kind == FORMAT_MAP ? h.count * 2 : h.count);
	case FORMAT_SCALAR:
		/* A cut scalar is passed over like a body: its value matters to nobody here. */
		h.count = h.length - 1;
		h.length = 1;
		break;
	default:
		break;
	}
	if (h.count > s->max_bytes - s->position - h.length)
		return ERROR_TOO_LARGE;
	s->position += h.length;
	s->skip = (size_t)h.count;
	return pass_body(s, length) ? 0 : ERROR_PENDING;
}

/* Returns the bytes of the value that starts at `p` if it is one of the kinds most values are: a small number, nil, a
 * boolean, a short text, a float64. 0 = another kind; step() will see. */
static size_t usual_size(const unsigned char *p, size_t there)
{
	unsigned char b = p[0];

	if (b < 0x80 || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3)
		return 1;
	if (b >= 0xa0 && b < 0xc0)
		return 1 + (b & 0x1fU);
	if (b == 0xcb)
		return 9;
	if (b == 0xd9 && there > 1)
		return 2U + p[1];
	if (b == 0xda && there > 2)
		return 3U + (size_t)format_big_endian(p + 1, 2);
	return 0;
}

/* Passes over usual values that are whole, all but the last of the innermost container: this is where the time goes. */
static void pass_usual(struct scanner *s, const unsigned char *bytes, size_t length)
{
	size_t at = s->position, most = length < s->max_bytes ? length : s->max_bytes;
	uint64_t before = s->pending[s->depth - 1], left = before;

	while (left > 1 && at < most) {
		size_t size = usual_size(bytes + at, most - at);
		if (size == 0 || size > most - at)
			break;
		at += size;
		left--;
	}
	s->position = at;
	s->pending[s->depth - 1] = left;
	s->pending_total -= before - left;
}

int scanner_scan(struct scanner *s, const void *data, size_t length, size_t *end)
{
	if (s->skip > 0 && !pass_body(s, length))
		return ERROR_PENDING;
	while (s->position == 0 || s->depth > 0) {
		if (s->depth > 0)
			pass_usual(s, data, length);
		if (s->position == length)
			return length >= s->max_bytes ? ERROR_TOO_LARGE : ERROR_PENDING;
		int error = step(s, data, length);
		if (error == ERROR_PENDING && s->skip == 0 && length >= s->max_bytes)
			return ERROR_TOO_LARGE;
		if (error)
			return error;
	}
	*end = s->position;
	/* `depth` and `pending_total` are 0 now, and `skip` too. */
	s->position = 0;
	return 0;
}
