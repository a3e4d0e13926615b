/* The text is given to libinih line by line, and it gives back keys and values:
 *
 *   text ── next_line() ──> libinih ── on_value() ──> the field, and the line it came from
 *
 * What can go wrong is a mistake of the file and is added to the others; reading goes on, so that all are found. libinih, as
 * Debian builds it, tells no line numbers, says nothing of a section without keys, and silently cuts lines at 200 bytes and
 * sections' names at 49. So next_line() counts the lines, reads the headers itself, and refuses a line that would be cut. */
#include "config_file.h"

#include "config.h"

#include "../proto/error.h"
#include "../proto/request.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	struct config *config;
	struct config_mistakes *mistakes;
	struct slice text; /* what is left */
	unsigned line;
	bool in_section;
	size_t section;                  /* its place; CONFIG_NO_SECTION after a header that means nothing */
	const struct config_entry *list; /* the key that an indented line continues */
	bool continues;                  /* the line libinih has is such a line */
	bool awaited;                    /* it must give back a value */
	int error;
};

void config_mistake(struct config_mistakes *mistakes, unsigned line, const char *section, const char *key,
		    const char *format, ...)
{
	struct buffer *b = mistakes->text;
	char text[2048];
	va_list args;

	mistakes->count++;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* A line that does not fit is left out whole. */
	size_t before = b->length;
	bool is_override = line >= CONFIG_LINE_OVERRIDE;
	if (is_override)
		mistakes->overrides[line - CONFIG_LINE_OVERRIDE].is_refused = true;
	int error = buffer_printf(b, "%s", is_override ? "run-time settings" : mistakes->path);
	if (!error && line && !is_override)
		error = buffer_printf(b, ":%u", line);
	if (!error && section)
		error = buffer_printf(b, ": [%s]%s%s", section, key ? " " : "", key ? key : "");
	if (!error)
		error = buffer_printf(b, ": %s\n", text);
	if (error)
		b->length = before;
}

void *config_section_base(struct config *config, const struct config_section *section)
{
	switch (section->kind) {
	case CONFIG_UPSTREAM:
		return &config->upstreams[section->index];
	case CONFIG_NAMESPACE:
		return &config->namespaces[section->index];
	default:
		return config;
	}
}

const char *config_section_title(const struct config *config, const struct config_section *section, char *out, size_t size)
{
	const char *name = section->kind == CONFIG_UPSTREAM    ? config->upstreams[section->index].name
			   : section->kind == CONFIG_NAMESPACE ? config->namespaces[section->index].name
							       : "";

	(void)snprintf(out, size, "%s%s%s", config_section_name(section->kind), *name ? " " : "", name);
	return out;
}

/* ---- sections ---- */

/* Adds a section and sets its defaults. Its upstream or namespace is there already. */
static int section_add(struct config *config, enum config_section_kind kind, size_t index, unsigned line)
{
	struct config_origins *origins = config->origins;
	struct config_section *sections = realloc(origins->sections, (origins->count + 1) * sizeof(*sections));

	if (!sections)
		return ERROR_MEMORY;
	origins->sections = sections;
	sections[origins->count] = (struct config_section){.kind = kind, .index = index, .line = line};
	void *base = config_section_base(config, &sections[origins->count]);
	origins->count++;
	for (size_t i = config_section_start(kind); i < config_section_start(kind + 1); i++)
		if (config_table[i].fallback && config_value_set(&config_table[i], base, config_table[i].fallback) != 0)
			return ERROR_MEMORY;
	return 0;
}

static int upstream_add(struct config *config, struct slice name, unsigned line)
{
	char *copy = strndup(name.data, name.length);

	if (!copy)
		return ERROR_MEMORY;
	config->upstreams[config->upstream_count].name = copy;
	return section_add(config, CONFIG_UPSTREAM, config->upstream_count++, line);
}

static int namespace_add(struct config *config, struct slice name, unsigned line)
{
	struct config_namespace *namespaces = realloc(config->namespaces,
						      (config->namespace_count + 1) * sizeof(*namespaces));

	if (!namespaces)
		return ERROR_MEMORY;
	config->namespaces = namespaces;
	char *copy = strndup(name.data, name.length);
	if (!copy)
		return ERROR_MEMORY;
	namespaces[config->namespace_count] = (struct config_namespace){.name = copy, .name_length = name.length};
	return section_add(config, CONFIG_NAMESPACE, config->namespace_count++, line);
}

int config_file_start(struct config *config)
{
	struct config_origins *origins = calloc(1, sizeof(*origins));

	config->origins = origins;
	if (!origins)
		return ERROR_MEMORY;
	buffer_init(&origins->text, CONFIG_FILE_BYTES + 4096);
	for (enum config_section_kind kind = 0; kind < CONFIG_UPSTREAM; kind++)
		if (section_add(config, kind, 0, 0) != 0)
			return ERROR_MEMORY;
	return namespace_add(config, SLICE("default"), 0);
}

size_t config_section_find(const struct config *config, enum config_section_kind kind, struct slice name)
{
	const struct config_origins *origins = config->origins;

	for (size_t i = 0; i < origins->count; i++) {
		const struct config_section *section = &origins->sections[i];
		if (section->kind != kind)
			continue;
		if (kind < CONFIG_UPSTREAM)
			return i;
		const char *its = kind == CONFIG_UPSTREAM ? config->upstreams[section->index].name
							  : config->namespaces[section->index].name;
		if (slice_equal(slice_of(its), name))
			return i;
	}
	return CONFIG_NO_SECTION;
}

/* Opens the section of a kind that has names. */
static void named_section(struct reading *reading, enum config_section_kind kind, struct slice name)
{
	struct config *config = reading->config;
	const char *title = config_section_name(kind);
	bool full = kind == CONFIG_UPSTREAM ? config->upstream_count == CONFIG_UPSTREAMS
					    : config->namespace_count == CONFIG_NAMESPACES;

	if (!request_name_valid(name))
		config_mistake(reading->mistakes, reading->line, title, NULL,
			       "a name must stand behind %s: A-Z a-z 0-9 . _ -, 1 to 64 characters", title);
	reading->section = config_section_find(config, kind, name);
	if (reading->section != CONFIG_NO_SECTION) {
		struct config_origins *origins = config->origins;
		if (!origins->sections[reading->section].line)
			origins->sections[reading->section].line = reading->line;
		return;
	}
	if (full) {
		config_mistake(reading->mistakes, reading->line, title, NULL, "there may be at most %d of these sections",
			       kind == CONFIG_UPSTREAM ? CONFIG_UPSTREAMS : CONFIG_NAMESPACES);
		return;
	}
	reading->error = kind == CONFIG_UPSTREAM ? upstream_add(config, name, reading->line)
						 : namespace_add(config, name, reading->line);
	if (!reading->error)
		reading->section = ((struct config_origins *)config->origins)->count - 1;
}

static struct slice trim(struct slice s)
{
	while (s.length > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) {
		s.data++;
		s.length--;
	}
	while (s.length > 0 && (s.data[s.length - 1] == ' ' || s.data[s.length - 1] == '\t'))
		s.length--;
	return s;
}

/* Reads "[kind]" or "[kind name]"; behind it only a comment may stand. */
static void read_header(struct reading *reading, struct slice line)
{
	const char *close = memchr(line.data, ']', line.length);
	size_t word = 0;

	reading->in_section = true;
	reading->section = CONFIG_NO_SECTION;
	reading->list = NULL;
	struct slice rest = close ? trim((struct slice){close + 1, line.length - (size_t)(close + 1 - line.data)}) : line;
	if (!close || (rest.length > 0 && rest.data[0] != ';' && rest.data[0] != '#')) {
		config_mistake(reading->mistakes, reading->line, NULL, NULL,
			       "a section must be one word, or two, between [ and ], and nothing behind it");
		return;
	}
	struct slice title = trim((struct slice){line.data + 1, (size_t)(close - line.data) - 1});
	while (word < title.length && title.data[word] != ' ' && title.data[word] != '\t')
		word++;
	struct slice name = trim((struct slice){title.data + word, title.length - word});
	for (enum config_section_kind kind = 0; kind < CONFIG_SECTION_KINDS; kind++) {
		if (!slice_equal((struct slice){title.data, word}, slice_of(config_section_name(kind))))
			continue;
		if (kind >= CONFIG_UPSTREAM) {
			named_section(reading, kind, name);
			return;
		}
		if (name.length > 0)
			break;
		reading->section = kind;
		struct config_origins *origins = reading->config->origins;
		if (!origins->sections[kind].line)
			origins->sections[kind].line = reading->line;
		return;
	}
	config_mistake(reading->mistakes, reading->line, NULL, NULL,
		       "a section must be [server], [memory], [redis], [embedder], [log], [upstream NAME] or "
		       "[namespace NAME]");
}

/* ---- values ---- */

static void unknown_key(struct reading *reading, enum config_section_kind kind, const char *title, const char *key)
{
	struct buffer keys;

	buffer_init(&keys, 1024);
	for (size_t i = config_section_start(kind); i < config_section_start(kind + 1); i++)
		(void)buffer_printf(&keys, "%s%s", keys.length ? ", " : "", config_table[i].key);
	config_mistake(reading->mistakes, reading->line, title, key, "there is no such key; the keys here are %.*s",
		       (int)keys.length, keys.length ? keys.data : "");
	buffer_deinit(&keys);
}

static void wrong_value(struct reading *reading, const struct config_entry *entry, const char *title, const char *value)
{
	struct buffer allowed;

	if (entry->kind == CONFIG_REDIS_URL && strncmp(value, "rediss://", 9) == 0) {
		config_mistake(
			reading->mistakes, reading->line, title, entry->key,
			"TLS to Redis is not spoken here; let stunnel carry it, and give the redis:// or unix: address "
			"where stunnel listens");
		return;
	}
	buffer_init(&allowed, 1024);
	(void)config_value_allowed(entry, &allowed);
	config_mistake(reading->mistakes, reading->line, title, entry->key, "must be %.*s", (int)allowed.length,
		       allowed.length ? allowed.data : "");
	buffer_deinit(&allowed);
}

static void read_value(struct reading *reading, const char *key, const char *value)
{
	struct config_origins *origins = reading->config->origins;
	struct config_section *section = &origins->sections[reading->section];
	char title[CONFIG_TITLE_BYTES];
	size_t start = config_section_start(section->kind), i = start;

	(void)config_section_title(reading->config, section, title, sizeof(title));
	while (i < CONFIG_ENTRIES && config_table[i].section == section->kind && strcmp(config_table[i].key, key) != 0)
		i++;
	if (i == CONFIG_ENTRIES || config_table[i].section != section->kind) {
		unknown_key(reading, section->kind, title, key);
		return;
	}
	unsigned *line = &section->lines[i - start];
	if (*line && !reading->continues) {
		config_mistake(reading->mistakes, reading->line, title, key, "must be given once; it is in line %u already",
			       *line);
		return;
	}
	if (!*line)
		*line = reading->line;
	if (config_table[i].kind == CONFIG_MODEL_LIST)
		reading->list = &config_table[i];
	int error = config_value_set(&config_table[i], config_section_base(reading->config, section), value);
	if (error == ERROR_INVALID)
		wrong_value(reading, &config_table[i], title, value);
	else if (error)
		reading->error = error;
}

/* libinih's handler; non-zero lets it go on. */
static int on_value(void *data, const char *section, const char *key, const char *value)
{
	struct reading *reading = data;

	(void)section;
	reading->awaited = false;
	if (!reading->continues)
		reading->list = NULL;
	if (!reading->in_section)
		config_mistake(reading->mistakes, reading->line, NULL, NULL, "a key must stand below a [section]");
	else if (reading->section != CONFIG_NO_SECTION && !reading->error)
		read_value(reading, key, value);
	return 1;
}

/* ---- lines ---- */

static struct slice take_line(struct reading *reading)
{
	struct slice *text = &reading->text;
	const char *newline = memchr(text->data, '\n', text->length);
	size_t length = newline ? (size_t)(newline - text->data) : text->length;
	struct slice line = {text->data, length};

	text->data += newline ? length + 1 : length;
	text->length -= newline ? length + 1 : length;
	reading->line++;
	if (line.length > 0 && line.data[line.length - 1] == '\r')
		line.length--;
	return line;
}

static bool printable(struct slice line)
{
	bool nul;

	if (!slice_is_utf8(line, &nul))
		return false;
	for (size_t i = 0; i < line.length; i++)
		if (((unsigned char)line.data[i] < 0x20 && line.data[i] != '\t') || line.data[i] == 0x7f)
			return false;
	return true;
}

/* Returns whether libinih shall see `line`: a key with its value, or a line that continues a list. */
static bool has_value(struct reading *reading, struct slice line, size_t most)
{
	struct slice body = trim(line);
	bool indented = line.length > 0 && (line.data[0] == ' ' || line.data[0] == '\t');
	const char *mistake = NULL;

	reading->continues = false;
	if (!printable(line))
		mistake = "a line must be UTF-8 without control characters";
	else if (body.length == 0 || body.data[0] == ';' || body.data[0] == '#')
		return false;
	else if (indented && !reading->list)
		mistake = "a line must start in the first column; only one that continues a list of models is indented";
	else if (line.length > most)
		mistake = "a line must not be longer; a list of models may go on in an indented line";
	else if (!indented && body.data[0] == '[')
		read_header(reading, body);
	else {
		reading->continues = indented;
		return true;
	}
	/* What stands below a header that cannot be used belongs to no section, rather than to the one above. */
	if (mistake && body.length > 0 && body.data[0] == '[') {
		reading->in_section = true;
		reading->section = CONFIG_NO_SECTION;
		reading->list = NULL;
	}
	if (mistake && line.length > most)
		config_mistake(reading->mistakes, reading->line, NULL, NULL, "%s (the limit is %zu bytes)", mistake, most);
	else if (mistake)
		config_mistake(reading->mistakes, reading->line, NULL, NULL, "%s", mistake);
	return false;
}

/* libinih leaves a comment in a line that continues a list. */
static struct slice without_comment(struct slice line)
{
	for (size_t i = 1; i < line.length; i++)
		if (line.data[i] == ';' && (line.data[i - 1] == ' ' || line.data[i - 1] == '\t'))
			line.length = i;
	return line;
}

/* libinih's reader, as fgets(3): gives it the next line; an empty one where there is nothing for it. */
static char *next_line(char *out, int size, void *data)
{
	struct reading *reading = data;

	if (reading->awaited)
		config_mistake(reading->mistakes, reading->line, NULL, NULL,
			       "a line must be [section], key = value, or a comment behind ; or #");
	reading->awaited = false;
	if (reading->text.length == 0 || reading->error)
		return NULL;
	struct slice line = take_line(reading);
	/* libinih keeps two bytes for the end of the line. */
	if (has_value(reading, line, (size_t)size - 3)) {
		if (reading->continues)
			line = without_comment(line);
		reading->awaited = true;
	} else {
		line.length = 0;
	}
	memcpy(out, line.data, line.length);
	memcpy(out + line.length, "\n", 2);
	return out;
}

int config_file_read(struct config *config, struct slice text, struct config_mistakes *mistakes)
{
	struct reading reading = {.config = config, .mistakes = mistakes, .text = text};

	if (text.length >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0)
		reading.text = (struct slice){text.data + 3, text.length - 3};
	/* Its result is only the first line it did not understand; next_line() has found all of them. */
	int first = ini_parse_stream(next_line, &reading, on_value, &reading);
	if (reading.error)
		return reading.error;
	return first == -2 ? ERROR_MEMORY : 0;
}

/* ---- overrides ---- */

static const struct config_entry *override_entry(const char *key)
{
	for (size_t i = config_section_start(CONFIG_NAMESPACE); i < config_section_start(CONFIG_NAMESPACE + 1); i++)
		if (config_table[i].reloads && strcmp(config_table[i].key, key) == 0)
			return &config_table[i];
	return NULL;
}

const char *config_override_key(size_t n)
{
	for (size_t i = config_section_start(CONFIG_NAMESPACE); i < config_section_start(CONFIG_NAMESPACE + 1); i++)
		if (config_table[i].reloads && n-- == 0)
			return config_table[i].key;
	return NULL;
}

static void unknown_override(struct reading *reading, const char *title, const char *key)
{
	struct buffer keys;

	buffer_init(&keys, 1024);
	for (size_t i = 0; config_override_key(i); i++)
		(void)buffer_printf(&keys, "%s%s", i ? ", " : "", config_override_key(i));
	config_mistake(reading->mistakes, reading->line, title, key,
		       "there is no such run-time setting; those that there are: %.*s", (int)keys.length,
		       keys.length ? keys.data : "");
	buffer_deinit(&keys);
}

static void read_override(struct reading *reading, const struct config_override *override)
{
	struct config_origins *origins = reading->config->origins;
	struct config_section *section = &origins->sections[reading->section];
	const struct config_entry *entry = override_entry(override->key);
	char title[CONFIG_TITLE_BYTES];

	(void)config_section_title(reading->config, section, title, sizeof(title));
	if (!entry)
		unknown_override(reading, title, override->key);
	else if (strlen(override->value) > CONFIG_OVERRIDE_BYTES || !printable(slice_of(override->value)))
		config_mistake(reading->mistakes, reading->line, title, override->key,
			       "must be UTF-8 without control characters, at most %d bytes", CONFIG_OVERRIDE_BYTES);
	else {
		section->lines[entry - &config_table[config_section_start(CONFIG_NAMESPACE)]] = 0;
		read_value(reading, override->key, override->value);
	}
}

int config_file_override(struct config *config, struct config_mistakes *mistakes)
{
	struct reading reading = {.config = config, .mistakes = mistakes};

	for (size_t i = 0; !reading.error && i < mistakes->override_count; i++) {
		const struct config_override *override = &mistakes->overrides[i];
		reading.line = CONFIG_LINE_OVERRIDE + (unsigned)i;
		reading.section = CONFIG_NO_SECTION;
		named_section(&reading, CONFIG_NAMESPACE, slice_of(override->namespace));
		if (!reading.error && reading.section != CONFIG_NO_SECTION && override->key)
			read_override(&reading, override);
	}
	return reading.error;
}
