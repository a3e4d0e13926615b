/* All goes well: a change is laid over the text of the file together with everything that is set already, the whole is
 * read and checked as the file is, Redis is told, and config_apply() takes over what differs. What is set stays here as
 * text, so that the file may change below it and come to light again above it. */
#include "settings_private.h"

#include "recall.h"

#include "../proto/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MISTAKES_MOST 65536
#define MISTAKES_LOGGED 20
#define CHANGES_MOST (1u << 20)
/* How often what does not fit is left out and the rest tried. What is refused twice hangs on something else that was. */
#define ROUNDS 8
/* The header of a namespace's section. */
#define CONFIG_TITLE (LIMIT_NAMESPACE_BYTES + 16)
#define KEYS_SHOWN_BYTES 80

/* ---- what is set ---- */

struct settings_space *settings_find(const struct settings *settings, struct slice namespace)
{
	for (size_t i = 0; i < settings->count; i++)
		if (slice_equal(slice_of(settings->spaces[i]->name), namespace))
			return settings->spaces[i];
	return NULL;
}

static bool is_empty(const struct settings *settings, const struct settings_space *space)
{
	for (size_t k = 0; k < settings->key_count; k++)
		if (space->values[k])
			return false;
	return !space->text && !space->is_other;
}

static void space_free(const struct settings *settings, struct settings_space *space)
{
	for (size_t k = 0; k < settings->key_count; k++)
		free(space->values[k]);
	free(space->text);
	free(space);
}

/* Those that have nothing any more keep their section, so that it does not come and go; where the places are needed,
 * they go. */
static void make_room(struct settings *settings)
{
	size_t left = 0;

	if (settings->count < CONFIG_NAMESPACES && settings->service->config->namespace_count < CONFIG_NAMESPACES)
		return;
	for (size_t i = 0; i < settings->count; i++)
		if (is_empty(settings, settings->spaces[i]))
			space_free(settings, settings->spaces[i]);
		else
			settings->spaces[left++] = settings->spaces[i];
	settings->count = left;
}

struct settings_space *settings_get(struct settings *settings, struct slice namespace)
{
	struct settings_space *space = settings_find(settings, namespace);

	if (space || !request_name_valid(namespace))
		return space;
	make_room(settings);
	space = settings->count < CONFIG_NAMESPACES ? calloc(1, sizeof(*space)) : NULL;
	if (!space)
		return NULL;
	memcpy(space->name, namespace.data, namespace.length);
	settings->spaces[settings->count++] = space;
	return space;
}

int settings_put(char **value, struct slice text)
{
	char *copy = NULL;

	if (text.data) {
		copy = strndup(text.data, text.length);
		if (!copy)
			return ERROR_MEMORY;
	}
	free(*value);
	*value = copy;
	return 0;
}

static size_t key_of(const struct settings *settings, struct slice key)
{
	size_t k = 0;

	while (k < settings->key_count && !slice_equal(slice_of(settings->keys[k]), key))
		k++;
	return k;
}

/* ---- laying it over the file ---- */

struct overrides {
	struct config_override *items;
	size_t count;
};

/* `candidate` (or NULL) is tried in the place of the space of its name. Each space has its section, values or not, so
 * that a namespace does not come and go with every change. */
static int overrides_make(const struct settings *settings, const struct settings_space *candidate, struct overrides *out)
{
	size_t most = (settings->count + 1) * (settings->key_count + 1);
	struct config_override *items = calloc(most, sizeof(*items));
	size_t count = 0;
	bool is_there = false;

	if (!items)
		return ERROR_MEMORY;
	for (size_t i = 0; i < settings->count + (candidate != NULL); i++) {
		const struct settings_space *space = i < settings->count ? settings->spaces[i] : candidate;
		if (i == settings->count && is_there)
			break;
		if (candidate && strcmp(space->name, candidate->name) == 0) {
			space = candidate;
			is_there = true;
		}
		if (space->is_skipped_whole)
			continue;
		items[count++] = (struct config_override){.namespace = space->name};
		for (size_t k = 0; k < settings->key_count; k++)
			if (space->values[k] && !space->is_skipped[k])
				items[count++] = (struct config_override){
					.namespace = space->name, .key = settings->keys[k], .value = space->values[k]};
	}
	*out = (struct overrides){items, count};
	return 0;
}

static int read_over(struct settings *settings, const char *path, struct overrides *overrides, struct config **fresh,
		     struct buffer *mistakes)
{
	return config_read_over(path, settings->service->config, overrides->items, overrides->count, fresh, mistakes);
}

/* Takes over `fresh`, which is gone then. */
static int apply(struct settings *settings, struct config *fresh, struct buffer *changed)
{
	struct service *service = settings->service;
	struct buffer needs_restart; /* of what the file says; that was told when it was read */

	buffer_init(&needs_restart, CHANGES_MOST);
	int error = config_apply(service->config, fresh, changed, &needs_restart);
	buffer_deinit(&needs_restart);
	config_destroy(fresh);
	service->metrics.settings_applied += !error;
	settings_certify(settings);
	recall_clear(service->recall);
	return error;
}

int settings_read_again(struct settings *settings, const char *path, struct config **fresh, struct buffer *mistakes)
{
	struct overrides overrides;

	for (size_t i = 0; i < settings->count; i++)
		memcpy(settings->spaces[i]->is_skipped, settings->spaces[i]->is_refused,
		       sizeof(settings->spaces[i]->is_skipped));
	int error = overrides_make(settings, NULL, &overrides);
	if (error)
		return error;
	error = read_over(settings, path, &overrides, fresh, mistakes);
	free(overrides.items);
	return error;
}

/* ---- what came from Redis ---- */

/* Leaves out what the last reading refused. Returns how much that was; and how much of it is news. */
static size_t skip_refused(struct settings *settings, const struct overrides *overrides, size_t *news)
{
	size_t refused = 0;
	bool is_usual = false;

	/* What the others inherit comes first: without it theirs may fit. */
	for (size_t i = 0; i < overrides->count; i++)
		is_usual = is_usual ||
			   (overrides->items[i].is_refused && strcmp(overrides->items[i].namespace, "default") == 0);
	for (size_t i = 0; i < overrides->count; i++) {
		const struct config_override *override = &overrides->items[i];
		if (!override->is_refused || (is_usual && strcmp(override->namespace, "default") != 0))
			continue;
		struct settings_space *space = settings_find(settings, slice_of(override->namespace));
		size_t k = override->key ? key_of(settings, slice_of(override->key)) : 0;
		refused++;
		/* Of a section that cannot be, all that is in it. */
		for (size_t end = override->key ? k + 1 : settings->key_count; k < end; k++) {
			*news += space->values[k] && !space->is_refused[k];
			space->is_skipped[k] = true;
		}
		space->is_skipped_whole = space->is_skipped_whole || !override->key;
	}
	return refused;
}

static void log_refused(struct settings *settings, struct slice mistakes)
{
	for (int i = 0; i < MISTAKES_LOGGED && mistakes.length > 0; i++) {
		const char *end = memchr(mistakes.data, '\n', mistakes.length);
		size_t length = end ? (size_t)(end - mistakes.data) : mistakes.length;
		char text[512];
		(void)snprintf(text, sizeof(text), "%.*s", (int)length, mistakes.data);
		log_write(&settings->service->log, LOG_LEVEL_WARNING, "settings_refused error=\"%s\"",
			  log_quotable(text, sizeof(text), text));
		length += end != NULL;
		mistakes.data += length;
		mistakes.length -= length;
	}
}

/* Reads the file's text with all that is set, and again without what was refused. Returns 0 with `*fresh`, or an error. */
static int find_fitting(struct settings *settings, struct config **fresh)
{
	struct overrides overrides;
	int error = ERROR_INVALID;

	for (int round = 0; round < ROUNDS && error == ERROR_INVALID; round++) {
		struct buffer mistakes;
		size_t news = 0;
		error = overrides_make(settings, NULL, &overrides);
		if (error)
			return error;
		buffer_init(&mistakes, MISTAKES_MOST);
		error = read_over(settings, NULL, &overrides, fresh, &mistakes);
		size_t refused = error == ERROR_INVALID ? skip_refused(settings, &overrides, &news) : 0;
		settings->service->metrics.settings_refused += news;
		if (news > 0)
			log_refused(settings, buffer_slice(&mistakes));
		buffer_deinit(&mistakes);
		free(overrides.items);
		if (error == ERROR_INVALID && refused == 0)
			return ERROR_INTERNAL;
	}
	return error;
}

void settings_resolve(struct settings *settings)
{
	const struct log *log = &settings->service->log;
	struct config *fresh = NULL;
	struct buffer changed;

	for (size_t i = 0; i < settings->count; i++) {
		memset(settings->spaces[i]->is_skipped, 0, sizeof(settings->spaces[i]->is_skipped));
		settings->spaces[i]->is_skipped_whole = false;
	}
	int error = find_fitting(settings, &fresh);
	buffer_init(&changed, CHANGES_MOST);
	if (!error)
		error = apply(settings, fresh, &changed);
	if (error) {
		log_write(log, LOG_LEVEL_ERROR, "settings_failed error=\"%s\"", error_text(error));
		buffer_deinit(&changed);
		return;
	}
	for (size_t i = 0; i < settings->count; i++)
		memcpy(settings->spaces[i]->is_refused, settings->spaces[i]->is_skipped,
		       sizeof(settings->spaces[i]->is_refused));
	if (changed.length > 0) {
		char text[512];
		(void)snprintf(text, sizeof(text), "%.*s", (int)changed.length, changed.data);
		log_write(log, LOG_LEVEL_INFO, "settings_followed changed=\"%s\"", log_quotable(text, sizeof(text), text));
	}
	buffer_deinit(&changed);
}

/* What was refused may fit now. */
void settings_applied(struct settings *settings)
{
	settings_certify(settings);
	for (size_t i = 0; i < settings->count; i++)
		for (size_t k = 0; k < settings->key_count; k++)
			if (settings->spaces[i]->is_refused[k]) {
				settings_resolve(settings);
				return;
			}
}

/* ---- changing ---- */

static int unknown_key(const struct settings *settings, const struct settings_item *item, struct fault *fault)
{
	struct slice key = item->key;
	struct buffer keys;

	buffer_init(&keys, 1024);
	/* Not all of them fit into an answer's text. */
	for (size_t k = 0; k < settings->key_count && keys.length < KEYS_SHOWN_BYTES; k++)
		(void)buffer_printf(&keys, "%s%s", k ? ", " : "", settings->keys[k]);
	if (keys.length >= KEYS_SHOWN_BYTES)
		(void)buffer_printf(&keys, ", ...: all of [namespace NAME] in semcached.conf(5)");
	(void)fault_set(fault, ERROR_INVALID, item->value.data ? "field=set" : "field=unset",
			"%.*s is no run-time setting; those are %.*s", (int)(key.length < 64 ? key.length : 64), key.data,
			(int)keys.length, keys.length ? keys.data : "");
	buffer_deinit(&keys);
	return fault->code;
}

/* The mistakes of the first line are enough for an answer; each names namespace, key and limit. */
static int refuse(struct buffer *mistakes, int error, struct fault *fault)
{
	const char *end = mistakes->length ? memchr(mistakes->data, '\n', mistakes->length) : NULL;

	if (!end)
		return fault_set(fault, error, "", "%s", error_text(error));
	return fault_set(fault, ERROR_INVALID, "field=set", "%.*s", (int)(end - mistakes->data), mistakes->data);
}

/* What the namespace would have; the values that are not changed are still those of `from`. */
static int candidate_make(const struct settings *settings, const struct settings_change *change,
			  const struct settings_space *from, struct settings_space *candidate, struct fault *fault)
{
	if (from)
		*candidate = *from;
	else
		memcpy(candidate->name, change->namespace.data, change->namespace.length);
	memcpy(candidate->is_skipped, candidate->is_refused, sizeof(candidate->is_skipped));
	candidate->is_skipped_whole = false;
	for (size_t i = 0; i < change->count; i++) {
		const struct settings_item *item = &change->items[i];
		size_t k = key_of(settings, item->key);
		if (k == settings->key_count)
			return unknown_key(settings, item, fault);
		if (item->value.length > CONFIG_OVERRIDE_BYTES ||
		    (item->value.length && memchr(item->value.data, 0, item->value.length)))
			return fault_set(fault, ERROR_INVALID, "field=set",
					 "[namespace %s] %s: must be at most %d bytes without NUL", candidate->name,
					 settings->keys[k], CONFIG_OVERRIDE_BYTES);
		candidate->values[k] = NULL;
		candidate->is_skipped[k] = candidate->is_refused[k] = false;
		if (settings_put(&candidate->values[k], item->value) != 0)
			return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	}
	return 0;
}

/* Frees the values that are the candidate's own. */
static void candidate_free(const struct settings *settings, const struct settings_space *from,
			   struct settings_space *candidate)
{
	for (size_t k = 0; k < settings->key_count; k++)
		if (!from || candidate->values[k] != from->values[k])
			free(candidate->values[k]);
}

static int check_candidate(struct settings *settings, const struct settings_space *candidate, struct config **fresh,
			   struct fault *fault)
{
	struct overrides overrides;
	struct buffer mistakes;

	for (size_t i = 0; i < settings->count; i++)
		memcpy(settings->spaces[i]->is_skipped, settings->spaces[i]->is_refused,
		       sizeof(settings->spaces[i]->is_skipped));
	if (overrides_make(settings, candidate, &overrides) != 0)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	buffer_init(&mistakes, MISTAKES_MOST);
	int error = read_over(settings, NULL, &overrides, fresh, &mistakes);
	if (error)
		error = refuse(&mistakes, error, fault);
	buffer_deinit(&mistakes);
	free(overrides.items);
	return error;
}

static int store_change(struct settings *settings, const struct settings_change *change, struct store_write *write,
			struct fault *fault)
{
	const char *keys[CONFIG_OVERRIDE_KEYS];
	struct slice values[CONFIG_OVERRIDE_KEYS];
	const struct store_settings_change stored = {
		.keys = keys,
		.values = values,
		.count = change->count,
		.has_certificate = change->has_certificate,
		.certificate = change->certificate.length ? change->certificate : (struct slice){NULL, 0},
	};

	for (size_t i = 0; i < change->count; i++) {
		keys[i] = settings->keys[key_of(settings, change->items[i].key)];
		values[i] = change->items[i].value;
	}
	int error = store_settings_write(settings->service->store, write, change->namespace, &stored);
	if (error == ERROR_TOO_LARGE)
		return fault_set(fault, error, "", "Redis is away and redis.write_queue_bytes is reached");
	return error ? fault_set(fault, error, "", "%s", error_text(error)) : 0;
}

/* From here on nothing can fail but for memory, and then what is set is right and comes in force with the next change. */
static void take(struct settings *settings, const struct settings_change *change, struct settings_space *space,
		 const struct settings_space *candidate)
{
	for (size_t k = 0; k < settings->key_count; k++) {
		if (space->values[k] != candidate->values[k])
			free(space->values[k]);
		space->values[k] = candidate->values[k];
		space->is_refused[k] = candidate->is_refused[k];
	}
	space->is_skipped_whole = false;
	if (settings->service->store)
		settings_expect_own(settings, space);
	if (change->has_certificate)
		(void)settings_put_certificate(settings, space,
					       change->certificate.length ? change->certificate : (struct slice){NULL, 0});
}

/* Of a section that is new, what came with it. A list that is too long ends early. */
static void name_changes(const struct settings_change *change, size_t before, struct buffer *changed)
{
	int name_length = (int)change->namespace.length;
	const char *name = change->namespace.data;
	char title[CONFIG_TITLE];
	int length = snprintf(title, sizeof(title), "[namespace %.*s]\n", name_length, name);

	if (changed->length - before == (size_t)length && memcmp(changed->data + before, title, (size_t)length) == 0) {
		changed->length = before;
		for (size_t i = 0; i < change->count; i++)
			if (change->items[i].value.data)
				(void)buffer_printf(changed, "[namespace %.*s] %.*s\n", name_length, name,
						    (int)change->items[i].key.length, change->items[i].key.data);
	}
	if (change->has_certificate)
		(void)buffer_printf(changed, "[namespace %.*s] certificate\n", name_length, name);
}

int settings_change(struct settings *settings, const struct settings_change *change, struct store_write *write,
		    struct buffer *changed, struct fault *fault)
{
	struct settings_space candidate = {0}, *space = settings_find(settings, change->namespace);
	struct config *fresh = NULL;

	if (change->count > settings->key_count || !request_name_valid(change->namespace))
		return fault_set(fault, ERROR_INVALID, "field=set", "too many, or the namespace has no name");
	if (!space)
		make_room(settings);
	int error = candidate_make(settings, change, space, &candidate, fault);
	if (!error && change->has_certificate && change->certificate.length)
		error = settings_check_certificate(change->certificate, fault);
	if (!error)
		error = check_candidate(settings, &candidate, &fresh, fault);
	if (error) {
		candidate_free(settings, space, &candidate);
		return error;
	}
	bool is_new = !space;
	if (is_new)
		space = settings_get(settings, change->namespace);
	if (!space)
		error = fault_set(fault, ERROR_TOO_LARGE, "field=namespace",
				  "at most %d namespaces may have run-time settings", CONFIG_NAMESPACES);
	else if (settings->service->store)
		error = store_change(settings, change, write, fault);
	if (error) {
		candidate_free(settings, is_new ? NULL : space, &candidate);
		config_destroy(fresh);
		return error;
	}
	take(settings, change, space, &candidate);
	size_t before = changed->length;
	error = apply(settings, fresh, changed);
	if (error)
		log_write(&settings->service->log, LOG_LEVEL_ERROR, "settings_failed error=\"%s\"", error_text(error));
	name_changes(change, before, changed);
	return settings->service->store ? 0 : 1;
}

/* ---- life ---- */

struct settings *settings_create(struct service *service)
{
	struct settings *settings = calloc(1, sizeof(*settings));

	if (!settings)
		return NULL;
	settings->service = service;
	while (settings->key_count < CONFIG_OVERRIDE_KEYS && config_override_key(settings->key_count)) {
		settings->keys[settings->key_count] = config_override_key(settings->key_count);
		settings->key_count++;
	}
	settings_follow_init(settings);
	return settings;
}

void settings_destroy(struct settings *settings)
{
	if (!settings)
		return;
	settings_follow_deinit(settings);
	for (size_t i = 0; i < settings->count; i++)
		space_free(settings, settings->spaces[i]);
	free(settings);
}
