#include "format.h"

uint64_t format_big_endian(const unsigned char *p, size_t length)
{
	uint64_t value = 0;

	for (size_t i = 0; i < length; i++)
		value = value << 8 | p[i];
	return value;
}

/* The kinds of 0xc0..0xdf, with the size of the number that follows the first byte. */
/* clang-format off */
static const struct {
	unsigned char kind, number, extra;
} formats[32] = {
	{FORMAT_SCALAR, 0, 0}, {FORMAT_BAD, 0, 0}, /* nil, never used */
	{FORMAT_SCALAR, 0, 0}, {FORMAT_SCALAR, 0, 0}, /* false, true */
	{FORMAT_BODY, 1, 0},   {FORMAT_BODY, 2, 0},   {FORMAT_BODY, 4, 0},                   /* bin */
	{FORMAT_BODY, 1, 1},   {FORMAT_BODY, 2, 1},   {FORMAT_BODY, 4, 1},                   /* ext: a type byte more */
	{FORMAT_SCALAR, 4, 0}, {FORMAT_SCALAR, 8, 0},                                 /* float */
	{FORMAT_SCALAR, 1, 0}, {FORMAT_SCALAR, 2, 0}, {FORMAT_SCALAR, 4, 0}, {FORMAT_SCALAR, 8, 0}, /* uint */
	{FORMAT_SCALAR, 1, 0}, {FORMAT_SCALAR, 2, 0}, {FORMAT_SCALAR, 4, 0}, {FORMAT_SCALAR, 8, 0}, /* int */
	{FORMAT_SCALAR, 2, 0}, {FORMAT_SCALAR, 3, 0}, {FORMAT_SCALAR, 5, 0}, {FORMAT_SCALAR, 9, 0}, /* fixext 1 … 8 */
	{FORMAT_SCALAR, 17, 0}, /* fixext 16 */
	{FORMAT_BODY, 1, 0},   {FORMAT_BODY, 2, 0},   {FORMAT_BODY, 4, 0},                   /* str */
	{FORMAT_ARRAY, 2, 0},  {FORMAT_ARRAY, 4, 0},  {FORMAT_MAP, 2, 0},    {FORMAT_MAP, 4, 0},
};
/* clang-format on */

bool format_read(const unsigned char *p, size_t length, struct format_header *h)
{
	unsigned char b = p[0];

	*h = (struct format_header){FORMAT_SCALAR, 1, 0};
	if (b < 0x80 || b >= 0xe0)
		return true;
	if (b < 0x90) {
		*h = (struct format_header){FORMAT_MAP, 1, b & 0x0fU};
	} else if (b < 0xa0) {
		*h = (struct format_header){FORMAT_ARRAY, 1, b & 0x0fU};
	} else if (b < 0xc0) {
		*h = (struct format_header){FORMAT_BODY, 1, b & 0x1fU};
	} else {
		size_t number = formats[b - 0xc0].number;
		h->kind = (enum format_kind)formats[b - 0xc0].kind;
		if (h->kind == FORMAT_SCALAR) {
			h->length = 1 + number;
			return true;
		}
		if (h->kind == FORMAT_BAD)
			return true;
		if (length < 1 + number)
			return false;
		h->length = 1 + number;
		h->count = format_big_endian(p + 1, number) + formats[b - 0xc0].extra;
	}
	return true;
}
