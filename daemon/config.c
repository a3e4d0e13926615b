/* config_read(): the file whole into memory, its values into the fields (config_file.c, by the table in config_table.c),
 * what namespaces leave open from [namespace default], what no single value can tell, and at last the keys. What can go
 * wrong: mistakes, of which all are told; the file cannot be read; no memory. */
#include "config.h"

#include "config_file.h"
#include "config_key.h"

#include "../proto/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file ---- */

static int read_all(int fd, struct buffer *text)
{
	for (;;) {
		int error = buffer_reserve(text, 4096);
		if (error)
			return error;
		ssize_t got = read(fd, text->data + text->length, 4096);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return ERROR_INVALID;
		if (got == 0)
			return 0;
		text->length += (size_t)got;
	}
}

/* Not blocking, because the path may turn out to be a FIFO, and a running daemon reads it again. */
static int read_file(const char *path, struct buffer *text, struct config_mistakes *mistakes)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		config_mistake(mistakes, 0, NULL, NULL, "the file cannot be opened: %s", strerror(errno));
		return ERROR_INVALID;
	}
	int error = ERROR_INVALID;
	if (fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISCHR(st.st_mode)))
		config_mistake(mistakes, 0, NULL, NULL, "must be a regular file");
	else
		error = read_all(fd, text);
	(void)close(fd);
	if (error == ERROR_TOO_LARGE) {
		config_mistake(mistakes, 0, NULL, NULL, "the file may have at most %d bytes", CONFIG_FILE_BYTES);
		error = ERROR_INVALID;
	} else if (error == ERROR_INVALID && mistakes->count == 0) {
		config_mistake(mistakes, 0, NULL, NULL, "the file cannot be read");
	}
	return error;
}

/* ---- what no single value can tell ---- */

struct checking {
	struct config *config;
	const struct config *previous;
	bool without_keys;
	struct config_mistakes *mistakes;
	struct config_section *section;
	char title[CONFIG_TITLE_BYTES];
};

/* The line in which `key` of a section stands; 0 if it has its default. */
static unsigned line_of(const struct config_section *section, const char *key)
{
	size_t start = config_section_start(section->kind);

	for (size_t i = start; i < config_section_start(section->kind + 1); i++)
		if (strcmp(config_table[i].key, key) == 0)
			return section->lines[i - start];
	return 0;
}

static void check_required(const struct checking *checking)
{
	size_t start = config_section_start(checking->section->kind);

	for (size_t i = start; i < config_section_start(checking->section->kind + 1); i++)
		if (config_table[i].required && !checking->section->lines[i - start])
			config_mistake(checking->mistakes, checking->section->line, checking->title, config_table[i].key,
				       "must be given: %s", config_table[i].help);
}

static int check_key(const struct checking *checking, struct config_key *key)
{
	const char *from = key->key_env ? "key_env" : key->key_file ? "key_file" : "key_credential";
	char why[256];

	if ((key->key_env != NULL) + (key->key_file != NULL) + (key->key_credential != NULL) > 1) {
		config_mistake(checking->mistakes, checking->section->line, checking->title, NULL,
			       "only one of key_env, key_file and key_credential may be given");
		return 0;
	}
	if (checking->without_keys)
		return 0;
	int error = config_key_read(key, checking->previous, why, sizeof(why));
	if (error != ERROR_INVALID)
		return error;
	config_mistake(checking->mistakes, line_of(checking->section, from), checking->title, from, "%s", why);
	return 0;
}

static void check_thresholds(const struct checking *checking, const struct config_namespace *namespace)
{
	const struct config_origins *origins = checking->config->origins;
	const struct config_section *usual = &origins->sections[CONFIG_SECTION_DEFAULT];
	unsigned line = line_of(checking->section, "threshold"), other = line_of(checking->section, "threshold_min");

	/* Where both are inherited, [namespace default] is told of it. */
	if (checking->section != usual && line == line_of(usual, "threshold") && other == line_of(usual, "threshold_min"))
		return;
	if (namespace->threshold < namespace->threshold_min)
		config_mistake(checking->mistakes, line > other ? line : other, checking->title, "threshold",
			       "must be at least threshold_min, which is %.15g", namespace->threshold_min);
}

/* One that is wanted and not there would never have a say, without a word. */
static void check_second_opinion(const struct checking *checking, const struct config_namespace *namespace)
{
	const struct config_origins *origins = checking->config->origins;
	const struct config_section *usual = &origins->sections[CONFIG_SECTION_DEFAULT];
	unsigned line = line_of(checking->section, "second_opinion");

	if (checking->section != usual && line == line_of(usual, "second_opinion"))
		return;
	if (namespace->second_opinion && !checking->config->second_opinion.url[0])
		config_mistake(checking->mistakes, line, checking->title, "second_opinion",
			       "must be off where [second_opinion] has no url");
}

/* A model that two upstreams name would silently go to the first of them. */
static void check_models(const struct checking *checking, const struct config_upstream *upstream)
{
	if (upstream->model_count == 0 && !upstream->any_model && line_of(checking->section, "models"))
		config_mistake(checking->mistakes, line_of(checking->section, "models"), checking->title, "models",
			       "must name at least one model, or *");
	for (size_t i = 0; i < upstream->model_count; i++)
		for (const struct config_upstream *other = checking->config->upstreams; other < upstream; other++)
			for (size_t k = 0; k < other->model_count; k++)
				if (strcmp(upstream->models[i], other->models[k]) == 0)
					config_mistake(checking->mistakes, line_of(checking->section, "models"),
						       checking->title, "models",
						       "must not name %s, which upstream %s serves", other->models[k],
						       other->name);
}

static int check_embedder(const struct checking *checking, struct config_embedder *embedder)
{
	if (embedder->url[0] && !embedder->model)
		config_mistake(checking->mistakes, checking->section->line, checking->title, "model",
			       "must be given with url");
	return check_key(checking, &embedder->key);
}

static int check_section(struct checking *checking)
{
	struct config *config = checking->config;

	(void)config_section_title(config, checking->section, checking->title, sizeof(checking->title));
	check_required(checking);
	switch (checking->section->kind) {
	case CONFIG_REDIS:
		return check_key(checking, &config->redis.key);
	case CONFIG_EMBEDDER:
		return check_embedder(checking, &config->embedder);
	case CONFIG_SECOND_OPINION:
		return check_embedder(checking, &config->second_opinion);
	case CONFIG_UPSTREAM:
		check_models(checking, &config->upstreams[checking->section->index]);
		return check_key(checking, &config->upstreams[checking->section->index].key);
	case CONFIG_NAMESPACE:
		check_thresholds(checking, &config->namespaces[checking->section->index]);
		check_second_opinion(checking, &config->namespaces[checking->section->index]);
		return 0;
	default:
		return 0;
	}
}

static int check_all(struct config *config, const struct config *previous, bool without_keys,
		     struct config_mistakes *mistakes)
{
	struct config_origins *origins = config->origins;
	struct checking checking = {
		.config = config, .previous = previous, .without_keys = without_keys, .mistakes = mistakes};
	int error = 0;

	for (size_t i = 0; !error && i < origins->count; i++) {
		checking.section = &origins->sections[i];
		error = check_section(&checking);
	}
	if (without_keys)
		return error;
	/* Only now, because several may come from the same variable. */
	config_key_forget(&config->redis.key);
	config_key_forget(&config->embedder.key);
	config_key_forget(&config->second_opinion.key);
	for (size_t i = 0; i < config->upstream_count; i++)
		config_key_forget(&config->upstreams[i].key);
	return error;
}

/* ---- namespaces ---- */

/* What a namespace's own section does not say, [namespace default] says. */
static int inherit(struct config *config)
{
	struct config_origins *origins = config->origins;
	const struct config_section *from = &origins->sections[CONFIG_SECTION_DEFAULT];
	size_t start = config_section_start(CONFIG_NAMESPACE);

	for (size_t s = CONFIG_SECTION_DEFAULT + 1; s < origins->count; s++) {
		struct config_section *to = &origins->sections[s];
		for (size_t i = start; to->kind == CONFIG_NAMESPACE && i < CONFIG_ENTRIES; i++) {
			if (to->lines[i - start])
				continue;
			to->lines[i - start] = from->lines[i - start];
			if (config_value_copy(&config_table[i], &config->namespaces[to->index], &config->namespaces[0]) != 0)
				return ERROR_MEMORY;
		}
	}
	return 0;
}

static int name_compare(const struct config_namespace *namespace, struct slice name)
{
	if (namespace->name_length != name.length)
		return namespace->name_length < name.length ? -1 : 1;
	return name.length ? memcmp(namespace->name, name.data, name.length) : 0;
}

/* Insertion, because there are at most CONFIG_NAMESPACES and this runs once. */
static void sort_namespaces(struct config *config)
{
	struct config_origins *origins = config->origins;

	for (size_t i = 0; i < config->namespace_count; i++) {
		struct slice name = {config->namespaces[i].name, config->namespaces[i].name_length};
		size_t place = i;
		for (; place > 0; place--) {
			uint16_t before = origins->sorted[place - 1];
			if (name_compare(&config->namespaces[before], name) < 0)
				break;
			origins->sorted[place] = before;
		}
		origins->sorted[place] = (uint16_t)i;
	}
}

/* ---- where values come from ---- */

static enum config_origin origin_of(unsigned line)
{
	return line >= CONFIG_LINE_OVERRIDE ? CONFIG_ORIGIN_REDIS : line ? CONFIG_ORIGIN_FILE : CONFIG_ORIGIN_DEFAULT;
}

/* A value that is inherited comes from where [namespace default] has it. */
static void set_origins(struct config *config)
{
	static const char *const scores[] = {"score_threshold", "margin", "margin_floor", "minimum", "opinion_weight"};
	struct config_origins *origins = config->origins;

	for (size_t s = 0; s < origins->count; s++) {
		const struct config_section *section = &origins->sections[s];
		if (section->kind != CONFIG_NAMESPACE)
			continue;
		struct config_namespace *namespace = &config->namespaces[section->index];
		namespace->threshold_origin = origin_of(line_of(section, "threshold"));
		namespace->score_origin = CONFIG_ORIGIN_DEFAULT;
		for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++) {
			enum config_origin origin = origin_of(line_of(section, scores[i]));
			if (origin > namespace->score_origin)
			namespace->score_origin = origin;
		}
	}
}

/* ---- reading and freeing ---- */

static int read_into(struct config *config, const char *path, const struct config *previous,
		     struct config_mistakes *mistakes)
{
	int error = config_file_start(config);

	if (error)
		return error;
	struct config_origins *origins = config->origins;
	if (path) {
		error = read_file(path, &origins->text, mistakes);
	} else {
		const struct config_origins *before = previous->origins;
		error = buffer_append(&origins->text, before->text.data, before->text.length);
	}
	if (!error)
		error = config_file_read(config, buffer_slice(&origins->text), mistakes);
	if (!error)
		error = config_file_override(config, mistakes);
	if (!error)
		error = inherit(config);
	if (!error)
		error = check_all(config, previous, !path, mistakes);
	if (!error && mistakes->count > 0)
		error = ERROR_INVALID;
	if (error)
		return error;
	sort_namespaces(config);
	set_origins(config);
	return 0;
}

static int read_new(const char *path, const struct config *previous, struct config_override *overrides, size_t count,
		    struct config **config, struct buffer *mistakes)
{
	struct config_mistakes found = {
		.path = path ? path : "the file as it was read",
		.text = mistakes,
		.overrides = overrides,
		.override_count = count,
	};
	struct config *new = calloc(1, sizeof(*new));

	if (!new)
		return ERROR_MEMORY;
	int error = read_into(new, path, previous, &found);
	if (error) {
		config_destroy(new);
		return error;
	}
	*config = new;
	return 0;
}

int config_read_again(const char *path, const struct config *previous, struct config **config, struct buffer *mistakes)
{
	return read_new(path, previous, NULL, 0, config, mistakes);
}

/* Both are of the same text, so their upstreams stand in the same places. */
static void take_secrets(struct config *to, struct config *from)
{
	to->redis.key.secret = from->redis.key.secret;
	to->embedder.key.secret = from->embedder.key.secret;
	to->second_opinion.key.secret = from->second_opinion.key.secret;
	from->redis.key.secret = from->embedder.key.secret = from->second_opinion.key.secret = NULL;
	for (size_t i = 0; i < to->upstream_count; i++) {
		to->upstreams[i].key.secret = from->upstreams[i].key.secret;
		from->upstreams[i].key.secret = NULL;
	}
}

/* The file must be right without the overrides too, because the daemon starts without them. */
int config_read_over(const char *path, const struct config *previous, struct config_override *overrides, size_t count,
		     struct config **config, struct buffer *mistakes)
{
	struct config *alone = NULL;
	int error = path ? config_read_again(path, previous, &alone, mistakes) : 0;

	for (size_t i = 0; i < count; i++)
		overrides[i].is_refused = false;
	if (!error && path && count == 0) {
		*config = alone;
		return 0;
	}
	if (!error)
		error = read_new(NULL, alone ? alone : previous, overrides, count, config, mistakes);
	if (!error && alone)
		take_secrets(*config, alone);
	config_destroy(alone);
	return error;
}

int config_read(const char *path, struct config **config, struct buffer *mistakes)
{
	return config_read_again(path, NULL, config, mistakes);
}

static void namespaces_free(struct config_namespace *namespaces, size_t count)
{
	for (size_t n = 0; n < count; n++) {
		for (size_t i = config_section_start(CONFIG_NAMESPACE); i < CONFIG_ENTRIES; i++)
			config_value_free(&config_table[i], &namespaces[n]);
		free(namespaces[n].name);
	}
	free(namespaces);
}

void config_destroy(struct config *config)
{
	if (!config)
		return;
	struct config_origins *origins = config->origins;
	for (size_t s = 0; origins && s < origins->count; s++) {
		const struct config_section *section = &origins->sections[s];
		void *base = config_section_base(config, section);
		size_t end = section->kind == CONFIG_NAMESPACE ? 0 : config_section_start(section->kind + 1);
		for (size_t i = config_section_start(section->kind); i < end; i++)
			config_value_free(&config_table[i], base);
	}
	config_key_wipe(&config->redis.key);
	config_key_wipe(&config->embedder.key);
	config_key_wipe(&config->second_opinion.key);
	for (size_t i = 0; i < config->upstream_count; i++) {
		config_key_wipe(&config->upstreams[i].key);
		free(config->upstreams[i].name);
	}
	namespaces_free(config->namespaces, config->namespace_count);
	while (origins && origins->retired) {
		struct config_retired *retired = origins->retired;
		origins->retired = retired->next;
		namespaces_free(retired->namespaces, retired->count);
		free(retired);
	}
	if (origins) {
		free(origins->sections);
		buffer_deinit(&origins->text);
	}
	free(origins);
	free(config);
}

/* ---- looking up ---- */

const struct config_namespace *config_namespace(const struct config *config, struct slice namespace)
{
	const struct config_origins *origins = config->origins;
	size_t low = 0, high = config->namespace_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct config_namespace *found = &config->namespaces[origins->sorted[middle]];
		int order = name_compare(found, namespace);
		if (order == 0)
			return found;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return &config->namespaces[0];
}

const struct config_upstream *config_upstream_for(const struct config *config, struct slice model, struct slice *resolved)
{
	const struct config_upstream *any = NULL;

	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct config_upstream *upstream = &config->upstreams[i];
		if (!model.data && upstream->model_count > 0) {
			*resolved = slice_of(upstream->models[0]);
			return upstream;
		}
		for (size_t k = 0; k < upstream->model_count; k++) {
			struct slice name = slice_of(upstream->models[k]);
			if (slice_equal(name, model)) {
				*resolved = name;
				return upstream;
			}
		}
		if (!any && upstream->any_model)
			any = upstream;
	}
	/* "*" stands for any name, but not for none. */
	if (!any || !model.data)
		return NULL;
	*resolved = model;
	return any;
}

void config_walk(const struct config *config,
		 void (*each)(void *data, const char *section, const char *key, const char *value, const char *origin),
		 void *data)
{
	static const char *const names[] = {"default", "file", "redis"};
	const struct config_origins *origins = config->origins;
	char title[CONFIG_TITLE_BYTES];
	struct buffer value;

	buffer_init(&value, CONFIG_VALUE_BYTES);
	for (size_t s = 0; s < origins->count; s++) {
		const struct config_section *section = &origins->sections[s];
		/* Only read from; the function serves readers of the file too, who write. */
		const void *base = config_section_base((struct config *)(uintptr_t)config, section);
		size_t start = config_section_start(section->kind);
		(void)config_section_title(config, section, title, sizeof(title));
		for (size_t i = start; i < config_section_start(section->kind + 1); i++) {
			value.length = 0;
			int error = config_value_show(&config_table[i], base, &value);
			if (!error)
				error = buffer_append(&value, "", 1);
			each(data, title, config_table[i].key, error ? "?" : value.data,
			     names[origin_of(section->lines[i - start])]);
		}
	}
	buffer_deinit(&value);
}
