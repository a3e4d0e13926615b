#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The last code that a daemon may send; the others are the library's own. */
#define LAST_REMOTE ERROR_INTERNAL

static void copy_value(char *out, size_t size, struct slice value)
{
	size_t length = slice_whole_characters(value, size - 1);

	if (length >= size)
		length = size - 1;
	if (length)
		memcpy(out, value.data, length);
	out[length] = '\0';
}

/* A whole number from 0 to `max`, or `otherwise`. */
static int64_t number_value(struct slice value, int64_t max, int64_t otherwise)
{
	int64_t number = 0;

	if (value.length == 0)
		return otherwise;
	for (size_t i = 0; i < value.length; i++) {
		if (value.data[i] < '0' || value.data[i] > '9')
			return otherwise;
		number = number * 10 + (value.data[i] - '0');
		if (number > max)
			return otherwise;
	}
	return number;
}

static void take_key(struct failure *failure, struct slice name, struct slice value)
{
	if (slice_equal(name, SLICE("field")))
		copy_value(failure->field, sizeof(failure->field), value);
	else if (slice_equal(name, SLICE("kind")))
		copy_value(failure->kind, sizeof(failure->kind), value);
	else if (slice_equal(name, SLICE("limit")))
		copy_value(failure->limit, sizeof(failure->limit), value);
	else if (slice_equal(name, SLICE("status")))
		failure->status = (int)number_value(value, 999, 0);
	else if (slice_equal(name, SLICE("retry_ms")))
		failure->retry_ms = number_value(value, INT32_MAX, SEMCACHE_UNSET);
}

/* Takes "key=value key=value" apart. What has no '=' is passed over. */
static void take_keys(struct failure *failure, const char *detail)
{
	const char *at = detail;

	while (*at) {
		size_t word = strcspn(at, " ");
		const char *equals = memchr(at, '=', word);
		if (equals)
			take_key(failure, (struct slice){at, (size_t)(equals - at)},
				 (struct slice){equals + 1, word - (size_t)(equals - at) - 1});
		at += word;
		at += strspn(at, " ");
	}
}

int failure_set(struct failure *failure, int code, const char *detail, const char *format, ...)
{
	char text[sizeof(failure->fault.text)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	*failure = (struct failure){.retry_ms = SEMCACHE_UNSET};
	(void)fault_set(&failure->fault, code, detail, "%s", text);
	take_keys(failure, failure->fault.detail);
	return code;
}

/* Finds " : " in `text`; its length if it is not there. */
static size_t find_colon(struct slice text)
{
	for (size_t i = 0; i + 2 < text.length; i++)
		if (text.data[i] == ' ' && text.data[i + 1] == ':' && text.data[i + 2] == ' ')
			return i;
	return text.length;
}

int failure_parse(struct failure *failure, struct slice text)
{
	int code = error_parse(text.data, text.length);
	size_t colon = find_colon(text), word = 0;
	char detail[sizeof(failure->fault.detail)], sentence[sizeof(failure->fault.text)];

	if (code >= 0 || code < LAST_REMOTE) {
		copy_value(sentence, sizeof(sentence), text);
		return failure_set(failure, ERROR_PROTOCOL, "", "the daemon sent an unknown error: %s", sentence);
	}
	while (word < text.length && text.data[word] != ' ')
		word++;
	if (word < colon && word < text.length)
		copy_value(detail, sizeof(detail), (struct slice){text.data + word + 1, colon - word - 1});
	else
		detail[0] = '\0';
	for (char *p = detail; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	if (colon < text.length)
		copy_value(sentence, sizeof(sentence), (struct slice){text.data + colon + 3, text.length - colon - 3});
	else
		(void)snprintf(sentence, sizeof(sentence), "%s", error_text(code));
	return failure_set(failure, code, detail, "%s", sentence);
}

struct semcache_error failure_view(const struct failure *failure)
{
	return (struct semcache_error){
		.code = failure->fault.code,
		.status = failure->status,
		.retry_ms = failure->retry_ms,
		.field = failure->field,
		.kind = failure->kind,
		.limit = failure->limit,
		.detail = failure->fault.detail,
		.text = failure->fault.text,
	};
}
