#include "fault.h"

#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for the rest of a character, without which nobody could see where the last one that fits begins. */
#define CHARACTER_REST 3

/* Copies `from`, which may have been cut to its buffer, into `to` of `size` bytes. */
static void copy_clean(char *to, size_t size, const char *from)
{
	size_t length = slice_whole_characters(slice_of(from), size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
	text_clean(to, length);
}

int fault_set(struct fault *fault, int code, const char *detail, const char *format, ...)
{
	char text[sizeof(fault->text) + CHARACTER_REST], short_detail[sizeof(fault->detail) + CHARACTER_REST];
	va_list args;

	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = '\0';
	va_end(args);
	(void)snprintf(short_detail, sizeof(short_detail), "%s", detail);
	fault->code = code;
	copy_clean(fault->detail, sizeof(fault->detail), short_detail);
	copy_clean(fault->text, sizeof(fault->text), text);
	return code;
}

unsigned long fault_format(const struct fault *fault, char *out, unsigned long size)
{
	const char *space = fault->detail[0] ? " " : "";
	int length = snprintf(out, size, "%s%s%s : %s", error_name(fault->code), space, fault->detail, fault->text);

	return length < 0 ? 0 : (unsigned long)length < size ? (unsigned long)length : size - 1;
}
