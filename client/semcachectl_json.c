/* MessagePack to JSON and back. What comes from the daemon is bounded by the library in bytes and depth, and here in the
 * number of values, because a JSON value takes far more memory than the byte that asked for it. */
#include "semcachectl.h"

#include "../proto/limits.h"
#include "../proto/reader.h"

#include <errno.h>
#include <json-c/json.h>
#include <math.h>
#include <msgpack/pack.h>
#include <stdlib.h>
#include <string.h>

#define MOST_VALUES 1000000

/* Makes a JSON text: what is not UTF-8 becomes U+FFFD. */
static struct json_object *text_of(struct slice text)
{
	bool nul;

	if (slice_is_utf8(text, &nul))
		return json_object_new_string_len(text.data, (int)text.length);
	struct buffer out;
	buffer_init(&out, text.length * 3 + 1);
	for (size_t i = 0; i < text.length;) {
		size_t step = 1;
		while (step <= 4 && i + step <= text.length && !slice_is_utf8((struct slice){text.data + i, step}, &nul))
			step++;
		bool good = step <= 4 && i + step <= text.length;
		if (buffer_append(&out, good ? text.data + i : "\xEF\xBF\xBD", good ? step : 3) != 0)
			break;
		i += good ? step : 1;
	}
	struct json_object *value = json_object_new_string_len(buffer_slice(&out).data, (int)out.length);
	buffer_deinit(&out);
	return value;
}

/* The shortest decimal that reads back as the same number; JSON has neither NaN nor infinity. */
static struct json_object *number_of(double number)
{
	char text[32];

	if (isnan(number) || isinf(number))
		return NULL;
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	/* A float stays one for whoever reads it. */
	if (text[strspn(text, "-0123456789")] == '\0')
		(void)strncat(text, ".0", sizeof(text) - strlen(text) - 1);
	return json_object_new_double_s(number, text);
}

static struct json_object *value_of(struct reader *r, size_t *left, bool *ok);

static struct json_object *array_of(struct reader *r, size_t count, size_t *left, bool *ok)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < count && *ok; i++) {
		struct json_object *value = value_of(r, left, ok);
		if (!*ok || json_object_array_add(array, value) != 0) {
			json_object_put(value);
			*ok = false;
		}
	}
	return array;
}

static struct json_object *map_of(struct reader *r, size_t count, size_t *left, bool *ok)
{
	struct json_object *map = json_object_new_object();

	for (size_t i = 0; i < count && *ok; i++) {
		struct json_object *key = value_of(r, left, ok);
		struct json_object *value = *ok ? value_of(r, left, ok) : NULL;
		/* A key that is no text is shown as its JSON. */
		const char *name = key ? json_object_get_string(key) : "null";
		if (!*ok || json_object_object_add(map, name, value) != 0) {
			json_object_put(value);
			*ok = false;
		}
		json_object_put(key);
	}
	return map;
}

static struct json_object *value_of(struct reader *r, size_t *left, bool *ok)
{
	struct reader_value value;

	if (*left == 0 || reader_next(r, &value) != 0 || (value.type == READER_TEXT && value.text.length > INT32_MAX / 4)) {
		*ok = false;
		return NULL;
	}
	--*left;
	switch (value.type) {
	case READER_NIL:
		return NULL;
	case READER_BOOL:
		return json_object_new_boolean(value.boolean);
	case READER_UINT:
		return json_object_new_uint64(value.uint);
	case READER_INT:
		return json_object_new_int64(value.integer);
	case READER_FLOAT:
		return number_of(value.number);
	case READER_TEXT:
		return text_of(value.text);
	case READER_ARRAY:
		return array_of(r, value.count, left, ok);
	case READER_MAP:
		return map_of(r, value.count, left, ok);
	case READER_EXT:
		break;
	}
	return NULL;
}

struct json_object *json_of_raw(const void *raw, size_t length, bool *ok)
{
	struct reader r = reader_of((struct slice){raw, length});
	size_t left = MOST_VALUES;

	*ok = true;
	struct json_object *value = value_of(&r, &left, ok);
	if (*ok)
		return value;
	json_object_put(value);
	return NULL;
}

/* json-c makes the nearest integer it has of one that is too large, so they are looked at before. */
static bool integers_fit(const char *text)
{
	bool in_text = false;

	for (const char *p = text; *p; p++) {
		if (in_text && *p == '\\' && p[1])
			p++;
		else if (*p == '"')
			in_text = !in_text;
		if (in_text || !strchr("-0123456789", *p))
			continue;
		size_t length = strspn(p, "+-.0123456789eE");
		errno = 0;
		if (!memchr(p, '.', length) && !memchr(p, 'e', length) && !memchr(p, 'E', length))
			(void)(*p == '-' ? (unsigned long long)strtoll(p, NULL, 10) : strtoull(p, NULL, 10));
		if (errno == ERANGE)
			return false;
		p += length - 1;
	}
	return true;
}

bool json_read(const char *text, struct json_object **value, const char **error)
{
	if (!integers_fit(text)) {
		*error = "an integer of more than 64 bits";
		return false;
	}
	struct json_tokener *tokener = json_tokener_new_ex(LIMIT_DEPTH);
	size_t length = strlen(text);

	*error = "out of memory";
	if (!tokener)
		return false;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With its NUL the text ends, so that a bare number is known to be whole. */
	*value = length < INT32_MAX ? json_tokener_parse_ex(tokener, text, (int)length + 1) : NULL;
	enum json_tokener_error code = json_tokener_get_error(tokener);
	bool whole = code == json_tokener_success && json_tokener_get_parse_end(tokener) >= length;
	*error = code == json_tokener_success ? "more than one value" : json_tokener_error_desc(code);
	json_tokener_free(tokener);
	if (!whole)
		json_object_put(*value);
	return whole;
}

static int pack_value(struct msgpack_packer *p, struct json_object *value);

static int pack_map(struct msgpack_packer *p, struct json_object *map)
{
	int failed = msgpack_pack_map(p, (size_t)json_object_object_length(map));

	json_object_object_foreach(map, key, value)
	{
		failed |= msgpack_pack_str_with_body(p, key, strlen(key));
		failed |= pack_value(p, value);
	}
	return failed;
}

static int pack_array(struct msgpack_packer *p, struct json_object *array)
{
	size_t count = json_object_array_length(array);
	int failed = msgpack_pack_array(p, count);

	for (size_t i = 0; i < count; i++)
		failed |= pack_value(p, json_object_array_get_idx(array, i));
	return failed;
}

static int pack_value(struct msgpack_packer *p, struct json_object *value)
{
	switch (json_object_get_type(value)) {
	case json_type_null:
		return msgpack_pack_nil(p);
	case json_type_boolean:
		return json_object_get_boolean(value) ? msgpack_pack_true(p) : msgpack_pack_false(p);
	case json_type_int:
		if (json_object_get_int64(value) < 0)
			return msgpack_pack_int64(p, json_object_get_int64(value));
		return msgpack_pack_uint64(p, json_object_get_uint64(value));
	case json_type_double:
		return msgpack_pack_double(p, json_object_get_double(value));
	case json_type_string:
		return msgpack_pack_str_with_body(p, json_object_get_string(value),
						  (size_t)json_object_get_string_len(value));
	case json_type_array:
		return pack_array(p, value);
	case json_type_object:
		return pack_map(p, value);
	}
	return -1;
}

bool json_to_raw(struct json_object *value, char **raw, size_t *length)
{
	struct msgpack_packer p;
	struct buffer out;

	buffer_init(&out, 64U << 20);
	msgpack_packer_init(&p, &out, buffer_write_msgpack);
	if (pack_value(&p, value) != 0) {
		buffer_deinit(&out);
		return false;
	}
	*raw = out.data;
	*length = out.length;
	return true;
}

struct json_object *json_member(struct json_object *map, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(map, json_type_object) || !json_object_object_get_ex(map, key, &value))
		return NULL;
	return value;
}

const char *json_text(struct json_object *map, const char *key)
{
	struct json_object *value = json_member(map, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

int64_t json_integer(struct json_object *map, const char *key)
{
	return json_object_get_int64(json_member(map, key));
}

double json_number(struct json_object *map, const char *key)
{
	return json_object_get_double(json_member(map, key));
}
