/* A MessagePack value is written out in one pass, container by container, with a small stack instead of recursion.
 *
 * What can go wrong is what JSON has no word for: the fault names the field and, one level below it, the key or place. */
#include "json.h"

#include "../proto/limits.h"
#include "../proto/reader.h"

#include <json-c/json.h>
#include <limits.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes the part of a string that needs no escape in one piece. */
int json_write_text(struct buffer *out, struct slice text)
{
	int error = buffer_append(out, "\"", 1);
	size_t from = 0;

	for (size_t i = 0; i < text.length && !error; i++) {
		unsigned char c = (unsigned char)text.data[i];
		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		error = buffer_append(out, text.data + from, i - from);
		from = i + 1;
		if (error)
			break;
		if (c == '"' || c == '\\')
			error = buffer_printf(out, "\\%c", c);
		else if (c == '\n')
			error = buffer_append(out, "\\n", 2);
		else
			error = buffer_printf(out, "\\u%04x", c);
	}
	if (!error)
		error = buffer_append(out, text.data + from, text.length - from);
	return error ? error : buffer_append(out, "\"", 1);
}

/* Where the writer is: one level for each open array or map. */
struct place {
	size_t left; /* values (of a map: keys and values) still to come */
	bool map;
	bool key; /* the next one is a key */
	bool first;
	size_t index;       /* of the element, for a fault's name */
	struct slice named; /* the last key */
};

struct writer {
	struct buffer *out;
	const char *field;
	struct fault *fault;
	struct place places[LIMIT_DEPTH];
	unsigned depth;
};

bool json_plain_key(struct slice key)
{
	for (size_t i = 0; i < key.length; i++) {
		char c = key.data[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
			return false;
	}
	return key.length > 0 && key.length <= 24;
}

/* Names the value that is at fault as far as one level below the field: "parameters.temperature", "messages[2].content". */
static int refuse(struct writer *w, int code, const char *why)
{
	char detail[96];
	int length = snprintf(detail, sizeof(detail), "field=%s", w->field);

	for (unsigned i = 0; i < w->depth && i < 2 && length > 0 && (size_t)length < sizeof(detail); i++) {
		const struct place *p = &w->places[i];
		char *at = detail + length;
		size_t room = sizeof(detail) - (size_t)length;
		if (!p->map)
			length += snprintf(at, room, "[%zu]", p->index);
		else if (!p->key && json_plain_key(p->named))
			length += snprintf(at, room, ".%.*s", (int)p->named.length, p->named.data);
		else
			break;
	}
	return fault_set(w->fault, code, detail, "%s", why);
}

static int write_number(struct writer *w, const struct reader_value *value)
{
	switch (value->type) {
	case READER_UINT:
		return buffer_printf(w->out, "%llu", (unsigned long long)value->uint);
	case READER_INT:
		return buffer_printf(w->out, "%lld", (long long)value->integer);
	default:
		if (!isfinite(value->number))
			return refuse(w, ERROR_INVALID, "JSON has no NaN and no infinite number");
		return buffer_printf(w->out, "%.17g", value->number);
	}
}

static int write_checked_text(struct writer *w, struct slice text)
{
	bool nul;

	if (!slice_is_utf8(text, &nul))
		return refuse(w, ERROR_INVALID, "a text must be UTF-8");
	return json_write_text(w->out, text);
}

/* The head of an array or a map opens a level. */
static int write_open(struct writer *w, const struct reader_value *value)
{
	bool map = value->type == READER_MAP;

	if (w->depth == LIMIT_DEPTH)
		return refuse(w, ERROR_TOO_LARGE, "too deep");
	w->places[w->depth++] = (struct place){
		.left = map ? 2 * value->count : value->count,
		.map = map,
		.key = map,
		.first = true,
	};
	return buffer_append(w->out, map ? "{" : "[", 1);
}

/* One value, of a container only its head. */
static int write_value(struct writer *w, const struct reader_value *value)
{
	switch (value->type) {
	case READER_NIL:
		return buffer_append(w->out, "null", 4);
	case READER_BOOL:
		return value->boolean ? buffer_append(w->out, "true", 4) : buffer_append(w->out, "false", 5);
	case READER_UINT:
	case READER_INT:
	case READER_FLOAT:
		return write_number(w, value);
	case READER_TEXT:
		return write_checked_text(w, value->text);
	case READER_ARRAY:
	case READER_MAP:
		return write_open(w, value);
	default:
		return refuse(w, ERROR_INVALID, "JSON has no ext values");
	}
}

/* A key, and the colon behind it. */
static int write_key(struct writer *w, struct place *place, const struct reader_value *value)
{
	if (value->type != READER_TEXT)
		return refuse(w, ERROR_INVALID, "the keys of a map must be texts");
	int error = write_checked_text(w, value->text);
	place->key = false;
	place->named = value->text;
	return error ? error : buffer_append(w->out, ":", 1);
}

/* What goes in front of the next value of the innermost container, and its count. */
static int write_next(struct writer *w, const struct reader_value *value)
{
	struct place *place = w->depth ? &w->places[w->depth - 1] : NULL;
	int error = 0;

	if (!place)
		return write_value(w, value);
	place->left--;
	if (place->map && !place->key) {
		error = write_value(w, value);
		place->key = true;
		return error;
	}
	if (!place->first)
		error = buffer_append(w->out, ",", 1);
	if (error)
		return error;
	if (place->map) {
		place->first = false;
		return write_key(w, place, value);
	}
	if (!place->first)
		place->index++;
	place->first = false;
	return write_value(w, value);
}

static int write_closed(struct writer *w)
{
	int error = 0;

	while (!error && w->depth > 0 && w->places[w->depth - 1].left == 0)
		error = buffer_append(w->out, w->places[--w->depth].map ? "}" : "]", 1);
	return error;
}

int json_write(struct buffer *out, struct reader *reader, const char *field, struct fault *fault)
{
	struct writer w = {.out = out, .field = field, .fault = fault};
	int error;

	fault->code = 0;
	do {
		struct reader_value value;
		error = reader_next(reader, &value);
		if (error)
			error = refuse(&w, ERROR_INVALID, "no MessagePack value");
		else
			error = write_next(&w, &value);
		if (!error)
			error = write_closed(&w);
	} while (!error && w.depth > 0);
	if (error && fault->code == 0)
		(void)refuse(&w, error, error == ERROR_TOO_LARGE ? "too large for a request" : error_text(error));
	return error;
}

/* Not in json-c's strict mode: that of 0.18 takes every byte over 0x7f in a text for a control character. */
struct json_tokener *json_tokener_create(void)
{
	return json_tokener_new_ex(LIMIT_DEPTH);
}

/* The number in the four hex digits at `p`, or -1. */
static int hex4(const char *p)
{
	int number = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;
		if (digit < 0)
			return -1;
		number = number * 16 + digit;
	}
	return number;
}

/* Whether every \uD800 … \uDFFF is one of a pair. */
static bool surrogates_paired(struct slice text)
{
	const char *p = text.data;
	const char *end = text.data + text.length;

	while ((p = memchr(p, '\\', (size_t)(end - p)))) {
		if (end - p < 6)
			return true; /* no room for one; the tokener judges the rest */
		if (p[1] != 'u') {
			p += 2;
			continue;
		}
		int unit = hex4(p + 2);
		p += 6;
		if (unit >= 0xDC00 && unit <= 0xDFFF)
			return false;
		if (unit < 0xD800 || unit > 0xDBFF)
			continue;
		int low = end - p >= 6 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2) : -1;
		if (low < 0xDC00 || low > 0xDFFF)
			return false;
		p += 6;
	}
	return true;
}

struct json_object *json_read(struct json_tokener *tokener, struct slice text)
{
	if (text.length == 0 || text.length > INT_MAX || !surrogates_paired(text))
		return NULL;
	json_tokener_reset(tokener);
	struct json_object *value = json_tokener_parse_ex(tokener, text.data, (int)text.length);
	if (json_tokener_get_error(tokener) == json_tokener_success) {
		size_t end = json_tokener_get_parse_end(tokener);
		while (end < text.length && memchr(" \t\r\n", text.data[end], 4))
			end++;
		if (end == text.length)
			return value;
	}
	(void)json_object_put(value);
	json_tokener_reset(tokener);
	return NULL;
}

struct json_object *json_member(struct json_object *object, const char *name)
{
	struct json_object *member = NULL;

	if (!json_object_is_type(object, json_type_object) || !json_object_object_get_ex(object, name, &member))
		return NULL;
	return member;
}

struct slice json_text(struct json_object *object, const char *name)
{
	struct json_object *member = json_member(object, name);

	if (!json_object_is_type(member, json_type_string))
		return (struct slice){NULL, 0};
	return (struct slice){json_object_get_string(member), (size_t)json_object_get_string_len(member)};
}

int json_base64(struct slice text, unsigned char **bytes, size_t *length)
{
	size_t padding = 0;

	if (text.length == 0 || text.length % 4 != 0 || text.length > INT_MAX)
		return ERROR_INVALID;
	while (padding < 2 && text.data[text.length - 1 - padding] == '=')
		padding++;
	/* OpenSSL takes a padding sign in the middle for a zero, and passes over white space at either end. */
	if (memchr(text.data, '=', text.length - padding))
		return ERROR_INVALID;
	unsigned char *out = malloc(text.length / 4 * 3);
	if (!out)
		return ERROR_MEMORY;
	int decoded = EVP_DecodeBlock(out, (const unsigned char *)text.data, (int)text.length);
	if (decoded != (int)(text.length / 4 * 3)) {
		free(out);
		return ERROR_INVALID;
	}
	*bytes = out;
	*length = (size_t)decoded - padding;
	return 0;
}
