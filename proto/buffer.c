#include "buffer.h"

#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slice slice_of(const char *text)
{
	return (struct slice){text, text ? strlen(text) : 0};
}

bool slice_equal(struct slice a, struct slice b)
{
	if (!a.data || !b.data)
		return a.data == b.data;
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* The length of the character that starts with `lead`, and the range its second byte must be in (RFC 3629, section 4). */
static size_t utf8_length(unsigned char lead, unsigned char *low, unsigned char *high)
{
	*low = 0x80;
	*high = 0xBF;
	if (lead < 0x80)
		return 1;
	if (lead >= 0xC2 && lead <= 0xDF)
		return 2;
	if (lead >= 0xE0 && lead <= 0xEF) {
		*low = lead == 0xE0 ? 0xA0 : 0x80;
		*high = lead == 0xED ? 0x9F : 0xBF;
		return 3;
	}
	if (lead >= 0xF0 && lead <= 0xF4) {
		*low = lead == 0xF0 ? 0x90 : 0x80;
		*high = lead == 0xF4 ? 0x8F : 0xBF;
		return 4;
	}
	return 0;
}

/* The length of the character at `p`, of which `left` >= 1 bytes are there; 0 if it is none. */
static size_t utf8_character(const unsigned char *p, size_t left)
{
	unsigned char low, high;
	size_t length = utf8_length(p[0], &low, &high);

	if (length == 0 || length > left)
		return 0;
	if (length > 1 && (p[1] < low || p[1] > high))
		return 0;
	for (size_t k = 2; k < length; k++)
		if ((p[k] & 0xC0) != 0x80)
			return 0;
	return length;
}

bool slice_is_utf8(struct slice s, bool *nul)
{
	const unsigned char *p = (const unsigned char *)s.data;
	size_t i = 0;

	*nul = s.length && memchr(s.data, 0, s.length) != NULL;
	while (i < s.length) {
		uint64_t word;
		/* Most text is ASCII: eight bytes at a time while no high bit is set. */
		if (s.length - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
			if (!(word & UINT64_C(0x8080808080808080))) {
				i += sizeof(word);
				continue;
			}
		}
		size_t length = utf8_character(p + i, s.length - i);
		if (length == 0)
			return false;
		i += length;
	}
	return true;
}

void text_clean(char *text, size_t length)
{
	const unsigned char *p = (const unsigned char *)text;

	for (size_t i = 0; i < length;) {
		size_t size = utf8_character(p + i, length - i);
		bool control = p[i] < 0x20 || p[i] == 0x7f || (p[i] == 0xC2 && size == 2 && p[i + 1] < 0xA0);
		if (size == 0 || control) {
			size = size ? size : 1;
			memset(text + i, ' ', size);
		}
		i += size;
	}
}

size_t slice_whole_characters(struct slice s, size_t most)
{
	if (s.length <= most)
		return s.length;
	size_t end = most;
	while (end > 0 && most - end < 4 && ((unsigned char)s.data[end] & 0xC0) == 0x80)
		end--;
	return end > 0 ? end : most;
}

void buffer_init(struct buffer *b, size_t max)
{
	*b = (struct buffer){.max = max};
}

void buffer_deinit(struct buffer *b)
{
	free(b->data);
	buffer_init(b, b->max);
}

int buffer_reserve(struct buffer *b, size_t more)
{
	if (more > b->max || b->length > b->max - more)
		return ERROR_TOO_LARGE;
	size_t needed = b->length + more;
	if (needed <= b->capacity)
		return 0;
	size_t capacity = b->capacity ? b->capacity * 2 : 256;
	if (capacity < needed)
		capacity = needed;
	if (capacity > b->max)
		capacity = b->max;
	char *data = realloc(b->data, capacity);
	if (!data)
		return ERROR_MEMORY;
	b->data = data;
	b->capacity = capacity;
	return 0;
}

int buffer_append(struct buffer *b, const void *data, size_t length)
{
	int error = buffer_reserve(b, length);

	if (error)
		return error;
	if (length)
		memcpy(b->data + b->length, data, length);
	b->length += length;
	return 0;
}

int buffer_printf(struct buffer *b, const char *format, ...)
{
	va_list args, again;
	int error = 0;

	va_start(args, format);
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		error = ERROR_INTERNAL;
	else
		error = buffer_reserve(b, (size_t)length + 1);
	if (!error) {
		(void)vsnprintf(b->data + b->length, (size_t)length + 1, format, again);
		b->length += (size_t)length;
	}
	va_end(again);
	return error;
}

void buffer_consume(struct buffer *b, size_t length)
{
	if (length >= b->length) {
		b->length = 0;
		return;
	}
	if (length == 0)
		return;
	memmove(b->data, b->data + length, b->length - length);
	b->length -= length;
}

int buffer_write_msgpack(void *data, const char *bytes, size_t length)
{
	return buffer_append(data, bytes, length) == 0 ? 0 : -1;
}

struct slice buffer_slice(const struct buffer *b)
{
	return (struct slice){b->data ? b->data : "", b->length};
}
