/* Reads and shows one value, by its kind. All goes well: the text is checked whole, then the field is set.
 * What can go wrong: the text is not of the kind, or out of range (the field keeps what it had); no memory. */
#include "config_table.h"

#include "config.h"
#include "guard.h"

#include "../proto/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *suffix;
	uint64_t factor;
} units[] = {{"GiB", UINT64_C(1) << 30}, {"MiB", UINT64_C(1) << 20}, {"KiB", UINT64_C(1) << 10}};

#define UNITS (sizeof(units) / sizeof(units[0]))

static const char *const levels[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};
static const char *const modes[] = {
	[CONFIG_MODE_EXACT] = "exact",
	[CONFIG_MODE_SHADOW] = "shadow",
	[CONFIG_MODE_THRESHOLD] = "threshold",
	[CONFIG_MODE_CALIBRATED] = "calibrated",
};
static const char *const contexts[] = {"all", "system", "label"};

#define COUNT_OF(list) (sizeof(list) / sizeof((list)[0]))

static size_t find_word(const char *const *words, size_t count, struct slice word)
{
	size_t i = 0;

	while (i < count && !slice_equal(slice_of(words[i]), word))
		i++;
	return i;
}

const char *config_mode_name(enum config_mode mode)
{
	return modes[mode];
}

enum log_level config_log_level(const struct config *config)
{
	return (enum log_level)find_word(levels, COUNT_OF(levels), slice_of(config->log.level));
}

/* ---- numbers ---- */

/* Reads digits of `base` up to `*end`. Returns false if there are none, or too many for 64 bits. */
static bool read_digits(const char *text, unsigned base, const char **end, uint64_t *number)
{
	const char *p = text;
	uint64_t sum = 0;

	for (; *p >= '0' && *p < (char)('0' + (char)base); p++)
		if (__builtin_mul_overflow(sum, base, &sum) || __builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
			return false;
	*end = p;
	*number = sum;
	return p != text;
}

static int set_number(const struct config_entry *entry, void *field, const char *text)
{
	uint64_t number;
	const char *rest;

	if (!read_digits(text, entry->kind == CONFIG_OCTAL ? 8 : 10, &rest, &number))
		return ERROR_INVALID;
	if (entry->kind == CONFIG_SIZE) {
		const char *suffix = rest;
		while (*suffix == ' ')
			suffix++;
		for (size_t i = 0; i < UNITS; i++) {
			if (strcmp(suffix, units[i].suffix) != 0)
				continue;
			if (__builtin_mul_overflow(number, units[i].factor, &number))
				return ERROR_INVALID;
			rest = "";
		}
	}
	if (*rest || number < entry->min || number > entry->max)
		return ERROR_INVALID;
	*(uint64_t *)field = number;
	return 0;
}

static bool may_be_none(enum config_kind kind)
{
	return kind == CONFIG_COSINE_NONE || kind == CONFIG_WEIGHT_NONE;
}

static int set_real(const struct config_entry *entry, void *field, const char *text)
{
	bool is_cosine = entry->kind == CONFIG_COSINE || entry->kind == CONFIG_COSINE_NONE;
	double low = is_cosine ? -1.0 : (double)entry->min, high = is_cosine ? 1.0 : (double)entry->max;
	char *end;

	if (may_be_none(entry->kind) && strcmp(text, "none") == 0) {
		*(double *)field = CONFIG_NONE;
		return 0;
	}
	/* strtod(3) also knows words and hexadecimal digits, which nobody means here. */
	if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
		return ERROR_INVALID;
	double number = strtod(text, &end);
	if (*end || !(number >= low && number <= high))
		return ERROR_INVALID;
	*(double *)field = number;
	return 0;
}

/* ---- texts ---- */

static bool visible(struct slice s)
{
	for (size_t i = 0; i < s.length; i++)
		if ((unsigned char)s.data[i] <= 0x20 || s.data[i] == 0x7f)
			return false;
	return true;
}

/* Returns whether `s` is HOST, HOST:PORT or [IPv6]:PORT, as it stands between "//" and the next slash of a URL. */
static bool authority_valid(struct slice s)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	static const char address[] = "0123456789abcdefABCDEF:.";
	bool bracket = s.length && s.data[0] == '[';
	size_t host = bracket ? 1 : 0;
	size_t end = host + strspn(s.data + host, bracket ? address : name);
	uint64_t port;
	const char *rest;

	if (end == host || end > s.length)
		return false;
	if (bracket && (end == s.length || s.data[end++] != ']'))
		return false;
	if (end == s.length)
		return true;
	if (s.data[end] != ':' || !read_digits(s.data + end + 1, 10, &rest, &port))
		return false;
	return rest == s.data + s.length && port >= 1 && port <= 65535;
}

static bool url_valid(const char *text)
{
	size_t scheme = strncmp(text, "http://", 7) == 0 ? 7 : strncmp(text, "https://", 8) == 0 ? 8 : 0;

	if (scheme == 0 || strpbrk(text, "?#"))
		return false;
	const char *host = text + scheme;
	return authority_valid((struct slice){host, strcspn(host, "/")});
}

static bool redis_url_valid(const char *text)
{
	uint64_t number;
	const char *rest;

	if (strncmp(text, "unix:", 5) == 0)
		return text[5] == '/' && strlen(text + 5) <= 107;
	if (strncmp(text, "redis://", 8) != 0)
		return false;
	const char *host = text + 8;
	size_t length = strcspn(host, "/");
	if (!authority_valid((struct slice){host, length}))
		return false;
	if (!host[length] || !host[length + 1])
		return true;
	return read_digits(host + length + 1, 10, &rest, &number) && !*rest && number <= INT32_MAX;
}

static bool text_valid(const struct config_entry *entry, const char *text)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	size_t length = strlen(text);

	if (entry->kind == CONFIG_LEVEL)
		return find_word(levels, COUNT_OF(levels), slice_of(text)) < COUNT_OF(levels);
	if (length < entry->min || length > entry->max)
		return false;
	if (length == 0)
		return true;
	switch (entry->kind) {
	case CONFIG_PATH:
		return text[0] == '/';
	case CONFIG_ENV:
		return strspn(text, word) == length && !(text[0] >= '0' && text[0] <= '9');
	case CONFIG_CREDENTIAL:
		return visible(slice_of(text)) && !strchr(text, '/') && text[0] != '.';
	case CONFIG_URL:
		return visible(slice_of(text)) && url_valid(text);
	case CONFIG_REDIS_URL:
		return visible(slice_of(text)) && redis_url_valid(text);
	default:
		return visible(slice_of(text));
	}
}

static int set_text(const struct config_entry *entry, char **field, const char *text)
{
	size_t length = strlen(text);

	if (!text_valid(entry, text))
		return ERROR_INVALID;
	/* Paths are appended to a base URL. */
	while (entry->kind == CONFIG_URL && length > 0 && text[length - 1] == '/')
		length--;
	char *copy = strndup(text, length);
	if (!copy)
		return ERROR_MEMORY;
	free(*field);
	*field = copy;
	return 0;
}

/* ---- lists ---- */

bool config_next_item(const char **list, struct slice *item)
{
	const char *p = *list;

	if (!p)
		return false;
	size_t length = strcspn(p, ",");
	*list = p[length] ? p + length + 1 : NULL;
	while (length > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		length--;
	}
	while (length > 0 && (p[length - 1] == ' ' || p[length - 1] == '\t'))
		length--;
	*item = (struct slice){p, length};
	return true;
}

static int add_model(const struct config_entry *entry, struct config_upstream *upstream, struct slice name)
{
	if (name.length < entry->min || name.length > entry->max || !visible(name))
		return ERROR_INVALID;
	if (slice_equal(name, SLICE("*"))) {
		upstream->any_model = true;
		return 0;
	}
	for (size_t i = 0; i < upstream->model_count; i++)
		if (slice_equal(name, slice_of(upstream->models[i])))
			return ERROR_INVALID;
	if (upstream->model_count == CONFIG_MODELS)
		return ERROR_INVALID;
	char *copy = strndup(name.data, name.length);
	if (!copy)
		return ERROR_MEMORY;
	upstream->models[upstream->model_count++] = copy;
	return 0;
}

/* A comma at the end is no mistake: the list may go on in the next line. */
static int set_models(const struct config_entry *entry, struct config_upstream *upstream, const char *text)
{
	struct slice item;

	while (config_next_item(&text, &item)) {
		if (item.length == 0 && !text)
			return 0;
		int error = add_model(entry, upstream, item);
		if (error)
			return error;
	}
	return 0;
}

static int set_context(char **field, const char *text)
{
	bool seen[COUNT_OF(contexts)] = {false};
	char joined[32] = "";
	struct slice item;

	if (strcmp(text, "any") == 0)
		(void)strncpy(joined, text, sizeof(joined) - 1);
	else
		while (config_next_item(&text, &item)) {
			size_t word = find_word(contexts, COUNT_OF(contexts), item);
			if (word == COUNT_OF(contexts) || seen[word])
				return ERROR_INVALID;
			seen[word] = true;
			if (joined[0])
				(void)strncat(joined, ",", sizeof(joined) - strlen(joined) - 1);
			(void)strncat(joined, contexts[word], sizeof(joined) - strlen(joined) - 1);
		}
	char *copy = strdup(joined);
	if (!copy)
		return ERROR_MEMORY;
	free(*field);
	*field = copy;
	return 0;
}

static int set_mode(enum config_mode *field, const char *text)
{
	size_t mode = find_word(modes, COUNT_OF(modes), slice_of(text));

	if (mode == COUNT_OF(modes))
		return ERROR_INVALID;
	*field = (enum config_mode)mode;
	return 0;
}

static int set_switch(uint64_t *field, const char *text)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return ERROR_INVALID;
	*field = text[1] == 'n';
	return 0;
}

/* ---- every kind ---- */

int config_value_set(const struct config_entry *entry, void *base, const char *text)
{
	void *field = (char *)base + entry->offset;

	switch (entry->kind) {
	case CONFIG_OCTAL:
	case CONFIG_COUNT:
	case CONFIG_SIZE:
	case CONFIG_SECONDS:
	case CONFIG_MS:
		return set_number(entry, field, text);
	case CONFIG_PRICE:
	case CONFIG_COSINE:
	case CONFIG_COSINE_NONE:
	case CONFIG_WEIGHT_NONE:
		return set_real(entry, field, text);
	case CONFIG_GUARDS:
		return config_guards_set(field, text);
	case CONFIG_OPPOSITES:
		return config_opposites_set(field, text);
	case CONFIG_SWITCH:
		return set_switch(field, text);
	case CONFIG_SHARE_NONE:
		return config_share_set(field, text);
	case CONFIG_MODE:
		return set_mode(field, text);
	case CONFIG_CONTEXT:
		return set_context(field, text);
	case CONFIG_MODEL_LIST:
		return set_models(entry, base, text);
	default:
		return set_text(entry, field, text);
	}
}

static bool is_text(enum config_kind kind)
{
	return kind <= CONFIG_LEVEL || kind == CONFIG_CONTEXT;
}

int config_value_copy(const struct config_entry *entry, void *to, const void *from)
{
	void *target = (char *)to + entry->offset;
	const void *source = (const char *)from + entry->offset;

	if (entry->kind == CONFIG_MODE) {
		*(enum config_mode *)target = *(const enum config_mode *)source;
	} else if (entry->kind == CONFIG_OPPOSITES) {
		return config_opposites_set(target, guard_words_text(*(struct guard_words *const *)source));
	} else if (!is_text(entry->kind)) {
		memcpy(target, source, sizeof(uint64_t));
	} else {
		const char *text = *(char *const *)source;
		char *copy = text ? strdup(text) : NULL;
		if (text && !copy)
			return ERROR_MEMORY;
		free(*(char **)target);
		*(char **)target = copy;
	}
	return 0;
}

void config_value_swap(const struct config_entry *entry, void *a, void *b)
{
	void *one = (char *)a + entry->offset, *other = (char *)b + entry->offset;
	size_t size = entry->kind == CONFIG_MODE                                ? sizeof(enum config_mode)
		      : is_text(entry->kind) || entry->kind == CONFIG_OPPOSITES ? sizeof(char *)
										: sizeof(uint64_t);
	_Static_assert(sizeof(struct config_guards) == sizeof(uint64_t) && sizeof(struct config_share) == sizeof(uint64_t),
		       "what is no text is exchanged as 8 bytes");
	unsigned char kept[sizeof(uint64_t)];

	memcpy(kept, one, size);
	memcpy(one, other, size);
	memcpy(other, kept, size);
}

void config_value_free(const struct config_entry *entry, void *base)
{
	if (is_text(entry->kind)) {
		char **field = (char **)((char *)base + entry->offset);
		free(*field);
		*field = NULL;
	} else if (entry->kind == CONFIG_OPPOSITES) {
		struct guard_words **field = (struct guard_words **)((char *)base + entry->offset);
		guard_words_destroy(*field);
		*field = NULL;
	} else if (entry->kind == CONFIG_MODEL_LIST) {
		struct config_upstream *upstream = base;
		while (upstream->model_count > 0)
			free(upstream->models[--upstream->model_count]);
	}
}

static int show_size(uint64_t size, struct buffer *out)
{
	for (size_t i = 0; i < UNITS; i++)
		if (size > 0 && size % units[i].factor == 0)
			return buffer_printf(out, "%llu%s", (unsigned long long)(size / units[i].factor), units[i].suffix);
	return buffer_printf(out, "%llu", (unsigned long long)size);
}

static int show_models(const struct config_upstream *upstream, struct buffer *out)
{
	int error = 0;

	for (size_t i = 0; !error && i < upstream->model_count; i++)
		error = buffer_printf(out, "%s%s", i ? ", " : "", upstream->models[i]);
	if (!error && upstream->any_model)
		error = buffer_printf(out, "%s*", upstream->model_count ? ", " : "");
	return error;
}

int config_value_show(const struct config_entry *entry, const void *base, struct buffer *out)
{
	const void *field = (const char *)base + entry->offset;

	switch (entry->kind) {
	case CONFIG_OCTAL:
		return buffer_printf(out, "0%llo", (unsigned long long)*(const uint64_t *)field);
	case CONFIG_SIZE:
		return show_size(*(const uint64_t *)field, out);
	case CONFIG_COUNT:
	case CONFIG_SECONDS:
	case CONFIG_MS:
		return buffer_printf(out, "%llu", (unsigned long long)*(const uint64_t *)field);
	case CONFIG_PRICE:
	case CONFIG_COSINE:
	case CONFIG_COSINE_NONE:
	case CONFIG_WEIGHT_NONE:
		if (may_be_none(entry->kind) && *(const double *)field <= CONFIG_NONE)
			return buffer_append(out, "none", 4);
		return buffer_printf(out, "%.15g", *(const double *)field);
	case CONFIG_MODE: {
		const char *word = modes[*(const enum config_mode *)field];
		return buffer_append(out, word, strlen(word));
	}
	case CONFIG_SWITCH:
		return buffer_printf(out, "%s", *(const uint64_t *)field ? "on" : "off");
	case CONFIG_MODEL_LIST:
		return show_models(base, out);
	case CONFIG_GUARDS:
		return config_guards_show(field, out);
	case CONFIG_SHARE_NONE:
		return config_share_show(field, out);
	case CONFIG_OPPOSITES: {
		const char *words = guard_words_text(*(struct guard_words *const *)field);
		return buffer_append(out, words, strlen(words));
	}
	default: {
		const char *text = *(char *const *)field;
		return buffer_append(out, text ? text : "", text ? strlen(text) : 0);
	}
	}
}

static int allow_number(const struct config_entry *entry, const char *what, struct buffer *out)
{
	return buffer_printf(out, "%s from %llu to %llu", what, (unsigned long long)entry->min,
			     (unsigned long long)entry->max);
}

static int allow_size(const struct config_entry *entry, struct buffer *out)
{
	int error = buffer_printf(out, "a size from ");

	if (!error)
		error = show_size(entry->min, out);
	if (!error)
		error = buffer_printf(out, " to ");
	if (!error)
		error = show_size(entry->max, out);
	if (!error)
		error = buffer_printf(out, ": a whole number of bytes, or of KiB, MiB or GiB");
	return error;
}

static int allow_guards(struct buffer *out)
{
	int error = buffer_printf(out, "NAME:on, NAME:off or NAME:shadow with a comma between; names: all");

	for (int guard = 0; !error && guard < GUARD_COUNT; guard++)
		error = buffer_printf(out, ", %s", guard_name((enum guard)guard));
	return error;
}

int config_value_allowed(const struct config_entry *entry, struct buffer *out)
{
	unsigned long long max = entry->max;

	switch (entry->kind) {
	case CONFIG_TEXT:
		return buffer_printf(out, "%s%llu characters without blanks", entry->min ? "1 to " : "at most ", max);
	case CONFIG_PATH:
		return buffer_printf(out, "an absolute path of at most %llu bytes%s", max, entry->min ? "" : ", or empty");
	case CONFIG_ENV:
		return buffer_printf(out, "the name of an environment variable: A-Z a-z 0-9 _, at most %llu", max);
	case CONFIG_CREDENTIAL:
		return buffer_printf(
			out, "the name of a systemd credential: no slash, no dot in front, at most %llu characters", max);
	case CONFIG_URL:
		return buffer_printf(out, "http://HOST[:PORT][/PATH] or https://..., without user, ? and #%s",
				     entry->min ? "" : ", or empty");
	case CONFIG_REDIS_URL:
		return buffer_printf(out, "redis://HOST[:PORT][/DATABASE] (the password belongs in key_env, key_file or "
					  "key_credential), unix:PATH of at most 107 bytes, or empty");
	case CONFIG_LEVEL:
		return buffer_printf(out, "error, warning, info or debug");
	case CONFIG_MODE:
		return buffer_printf(out, "exact, shadow, threshold or calibrated");
	case CONFIG_CONTEXT:
		return buffer_printf(out, "any, or some of all, system, label with a comma between");
	case CONFIG_MODEL_LIST:
		return buffer_printf(out,
				     "names of models with a comma between, or *: each once, 1 to %llu characters, "
				     "at most %d of them",
				     max, CONFIG_MODELS);
	case CONFIG_OCTAL:
		return buffer_printf(out, "an octal number from 0 to 0%llo", max);
	case CONFIG_COUNT:
		return allow_number(entry, "a whole number", out);
	case CONFIG_SIZE:
		return allow_size(entry, out);
	case CONFIG_SECONDS:
		return allow_number(entry, "whole seconds", out);
	case CONFIG_MS:
		return allow_number(entry, "whole milliseconds", out);
	case CONFIG_PRICE:
		return allow_number(entry, "a number", out);
	case CONFIG_COSINE:
		return buffer_printf(out, "a similarity from -1 to 1");
	case CONFIG_COSINE_NONE:
		return buffer_printf(out, "none, or a similarity from -1 to 1");
	case CONFIG_WEIGHT_NONE:
		return allow_number(entry, "none, or a number", out);
	case CONFIG_GUARDS:
		return allow_guards(out);
	case CONFIG_SWITCH:
		return buffer_printf(out, "on or off");
	case CONFIG_SHARE_NONE:
		return buffer_printf(out, "none, or WRONG/COUNT: whole numbers, the first not over the second, which is at "
					  "least 1 and at most 1000000");
	case CONFIG_OPPOSITES:
		return buffer_printf(out,
				     "pairs WORD/WORD with a comma between: words of 1 to 64 bytes without blanks, at most "
				     "%d pairs",
				     GUARD_PAIRS);
	}
	return ERROR_INTERNAL;
}
