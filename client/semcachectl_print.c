/* Output for people: short, aligned, and without anything that could command a terminal. */
#include "semcachectl.h"

#include "../proto/buffer.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STDIN_BYTES (64U << 20)

/* The bytes of the character at `text`, 0 if there is none. */
static size_t character(const char *text, size_t length)
{
	bool nul;

	for (size_t n = 1; n <= 4 && n <= length; n++)
		if (slice_is_utf8((struct slice){text, n}, &nul))
			return n;
	return 0;
}

/* Control characters of ASCII, and U+0080 to U+009F, which some terminals obey too. */
static bool is_control(const char *text, size_t n)
{
	unsigned char first = (unsigned char)text[0];

	if (n == 1)
		return first < 0x20 || first == 0x7f;
	return n == 2 && first == 0xC2 && (unsigned char)text[1] < 0xA0;
}

void text_print(FILE *out, const char *text, size_t length, bool one_line, size_t most)
{
	size_t printed = 0;

	for (size_t i = 0; i < length; printed++) {
		size_t n = character(text + i, length - i);
		if (most && printed == most) {
			(void)fputs("...", out);
			return;
		}
		if (n == 0)
			(void)fputs("\xEF\xBF\xBD", out);
		else if (!is_control(text + i, n) || (!one_line && (text[i] == '\n' || text[i] == '\t')))
			(void)fwrite(text + i, 1, n, out);
		else
			(void)fputc(' ', out);
		i += n ? n : 1;
	}
}

void json_print(struct json_object *value)
{
	(void)fputs(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), stdout);
	(void)fputc('\n', stdout);
}

/* Similarities with as many digits as mean something; --json has them all. */
static void value_print(struct json_object *value)
{
	const char *text = value ? json_object_get_string(value) : "-";

	if (json_object_is_type(value, json_type_double))
		(void)printf("%.4f", json_object_get_double(value));
	else
		text_print(stdout, text, strlen(text), false, 0);
}

static void key_print(const char *key, int width)
{
	text_print(stdout, key, strlen(key), true, 0);
	for (int i = (int)strlen(key); i < width; i++)
		(void)fputc(' ', stdout);
}

static bool is_map(struct json_object *value)
{
	return json_object_is_type(value, json_type_object);
}

static void array_print(struct json_object *array, int indent)
{
	size_t count = json_object_array_length(array);

	for (size_t i = 0; i < count; i++) {
		struct json_object *value = json_object_array_get_idx(array, i);
		if (is_map(value)) {
			(void)fputc('\n', stdout);
			(void)printf("%*s-", indent, "");
			json_object_object_foreach(value, key, member)
			{
				(void)fputc(' ', stdout);
				key_print(key, 0);
				(void)fputc(' ', stdout);
				value_print(member);
			}
		} else {
			(void)fputs(i ? ", " : "", stdout);
			value_print(value);
		}
	}
	if (count == 0)
		(void)fputc('-', stdout);
}

void map_print(struct json_object *map, int indent)
{
	int width = 0;

	if (!is_map(map))
		return;
	json_object_object_foreach(map, name, unused)
	{
		(void)unused;
		if ((int)strlen(name) > width && strlen(name) < 40)
			width = (int)strlen(name);
	}
	json_object_object_foreach(map, key, value)
	{
		bool is_list = json_object_is_type(value, json_type_array) && is_map(json_object_array_get_idx(value, 0));
		(void)printf("%*s", indent, "");
		key_print(key, is_map(value) || is_list ? 0 : width + 2);
		if (is_map(value)) {
			(void)fputc('\n', stdout);
			map_print(value, indent + 2);
			continue;
		}
		if (json_object_is_type(value, json_type_array))
			array_print(value, indent + 2);
		else
			value_print(value);
		(void)fputc('\n', stdout);
	}
}

void duration_print(FILE *out, double seconds)
{
	if (seconds < 120)
		(void)fprintf(out, "%.0f s", seconds);
	else if (seconds < 7200)
		(void)fprintf(out, "%.0f min", seconds / 60);
	else if (seconds < 172800)
		(void)fprintf(out, "%.1f h", seconds / 3600);
	else
		(void)fprintf(out, "%.1f d", seconds / 86400);
}

struct json_object *result_json(struct semcache_result *result, bool json)
{
	bool ok;
	size_t length;
	const void *raw = semcache_result_raw(result, &length);
	struct json_object *value = json_of_raw(raw, length, &ok);

	semcache_result_free(result);
	if (ok && is_map(value))
		return value;
	json_object_put(value);
	(void)result_error(json, "the daemon's result is no map, or has too many values to print");
	return NULL;
}

char *stdin_read(bool json)
{
	struct buffer in;
	ssize_t n;

	buffer_init(&in, STDIN_BYTES);
	for (;;) {
		if (buffer_reserve(&in, 65536) != 0) {
			buffer_deinit(&in);
			(void)usage_error(json, "standard input is longer than %u MiB", STDIN_BYTES >> 20);
			return NULL;
		}
		n = read(STDIN_FILENO, in.data + in.length, 65535);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		in.length += (size_t)n;
	}
	if (n < 0 || memchr(in.data, 0, in.length)) {
		(void)usage_error(json, "standard input: %s", n < 0 ? strerror(errno) : "there is a NUL character in it");
		buffer_deinit(&in);
		return NULL;
	}
	/* As the shell's $(…) does: the line end that echo adds is no part of the question. */
	while (in.length > 0 && in.data[in.length - 1] == '\n')
		in.length--;
	in.data[in.length] = '\0';
	return in.data;
}
