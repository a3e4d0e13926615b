/* config_apply(): first everything is compared and noted and all memory is taken, then what may change is exchanged between
 * the two configurations, which cannot fail. What can go wrong is only memory, and then the old configuration is whole. What
 * is in the air points to namespaces: where the same ones stay, their values change in place; where one comes or goes, the
 * old list is kept until the end (at most some ten KiB for each such reload). */
#include "config.h"

#include "config_file.h"

#include "../proto/error.h"

#include <stdlib.h>
#include <string.h>

struct applying {
	struct config *config, *fresh;
	struct buffer *changed, *needs_restart;
	struct buffer before, after; /* one value, as text */
	bool same_namespaces;
};

/* ---- comparing ---- */

static const char *name_of(const struct config *config, const struct config_section *section)
{
	if (section->kind == CONFIG_UPSTREAM)
		return config->upstreams[section->index].name;
	return section->kind == CONFIG_NAMESPACE ? config->namespaces[section->index].name : "";
}

/* Returns the section of `other` that `section` of `config` corresponds to, or NULL. */
static struct config_section *counterpart(const struct config *config, const struct config_section *section,
					  const struct config *other)
{
	struct config_origins *origins = other->origins;
	size_t place = config_section_find(other, section->kind, slice_of(name_of(config, section)));

	return place == CONFIG_NO_SECTION ? NULL : &origins->sections[place];
}

static const struct config_key *key_of(const struct config *config, const struct config_section *section)
{
	switch (section->kind) {
	case CONFIG_REDIS:
		return &config->redis.key;
	case CONFIG_EMBEDDER:
		return &config->embedder.key;
	case CONFIG_SECOND_OPINION:
		return &config->second_opinion.key;
	case CONFIG_UPSTREAM:
		return &config->upstreams[section->index].key;
	default:
		return NULL;
	}
}

/* Returns the place in the table of the key that says where a secret is that has changed there, or CONFIG_ENTRIES. */
static size_t changed_secret(const struct applying *applying, const struct config_section *old,
			     const struct config_section *new)
{
	const struct config_key *before = key_of(applying->config, old), *after = key_of(applying->fresh, new);
	size_t i = config_section_start(old->kind);

	if (!before || !before->secret || !after->secret || strcmp(before->secret, after->secret) == 0)
		return CONFIG_ENTRIES;
	const char *key = after->key_env ? "key_env" : after->key_file ? "key_file" : "key_credential";
	while (strcmp(config_table[i].key, key) != 0)
		i++;
	return i;
}

static int note(const struct applying *applying, const struct config *config, const struct config_section *section,
		const struct config_entry *entry)
{
	bool reloads = entry ? entry->reloads : section->kind == CONFIG_NAMESPACE;
	char title[CONFIG_TITLE_BYTES];

	return buffer_printf(reloads ? applying->changed : applying->needs_restart, "[%s]%s%s\n",
			     config_section_title(config, section, title, sizeof(title)), entry ? " " : "",
			     entry ? entry->key : "");
}

static int compare_value(struct applying *applying, const struct config_section *old, const struct config_section *new,
			 const struct config_entry *entry, bool is_secret_changed)
{
	applying->before.length = 0;
	applying->after.length = 0;
	int error = config_value_show(entry, config_section_base(applying->config, old), &applying->before);
	if (!error)
		error = config_value_show(entry, config_section_base(applying->fresh, new), &applying->after);
	if (error || (!is_secret_changed && slice_equal(buffer_slice(&applying->before), buffer_slice(&applying->after))))
		return error;
	return note(applying, applying->config, old, entry);
}

static int compare_values(struct applying *applying, const struct config_section *old, const struct config_section *new)
{
	size_t secret = changed_secret(applying, old, new);
	int error = 0;

	for (size_t i = config_section_start(old->kind); !error && i < config_section_start(old->kind + 1); i++)
		error = compare_value(applying, old, new, &config_table[i], i == secret);
	return error;
}

/* How many upstreams stand before number `index` of `config` that `other` has too: where a caller names no model, the first
 * upstream is asked. */
static size_t rank(const struct config *config, size_t index, const struct config *other)
{
	size_t sum = 0;

	for (size_t i = 0; i < index; i++)
		if (config_section_find(other, CONFIG_UPSTREAM, slice_of(config->upstreams[i].name)) != CONFIG_NO_SECTION)
			sum++;
	return sum;
}

static int compare(struct applying *applying)
{
	const struct config_origins *old = applying->config->origins, *new = applying->fresh->origins;
	int error = 0;

	for (size_t s = 0; !error && s < old->count; s++) {
		const struct config_section *section = &old->sections[s];
		const struct config_section *other = counterpart(applying->config, section, applying->fresh);
		if (!other) {
			error = note(applying, applying->config, section, NULL);
			continue;
		}
		error = compare_values(applying, section, other);
		if (!error && section->kind == CONFIG_UPSTREAM &&
		    rank(applying->config, section->index, applying->fresh) !=
			    rank(applying->fresh, other->index, applying->config))
			error = note(applying, applying->config, section, NULL);
	}
	applying->same_namespaces = applying->config->namespace_count == applying->fresh->namespace_count;
	for (size_t s = 0; !error && s < new->count; s++) {
		const struct config_section *section = &new->sections[s];
		if (counterpart(applying->fresh, section, applying->config))
			continue;
		if (section->kind == CONFIG_NAMESPACE)
			applying->same_namespaces = false;
		error = note(applying, applying->fresh, section, NULL);
	}
	return error;
}

/* ---- taking over ---- */

/* Takes over the values that may change. The origin of each value in force goes with it. */
static void take_values(const struct applying *applying, struct config_section *to, struct config_section *from)
{
	void *old = config_section_base(applying->config, to), *new = config_section_base(applying->fresh, from);
	size_t start = config_section_start(to->kind);

	for (size_t i = start; i < config_section_start(to->kind + 1); i++)
		if (config_table[i].reloads) {
			config_value_swap(&config_table[i], old, new);
			to->lines[i - start] = from->lines[i - start];
		}
	if (to->kind != CONFIG_NAMESPACE)
		return;
	((struct config_namespace *)old)->threshold_origin = ((struct config_namespace *)new)->threshold_origin;
	((struct config_namespace *)old)->score_origin = ((struct config_namespace *)new)->score_origin;
}

/* The text in force is the one that was read last, whatever of it needs a restart. */
static void take_text(struct config_origins *to, struct config_origins *from)
{
	struct buffer before = to->text;

	to->text = from->text;
	from->text = before;
}

/* Moves the sections of namespaces out of `from`, behind `count` sections in `to`. Returns the new count. */
static size_t move_namespaces(struct config_origins *from, struct config_section *to, size_t count)
{
	size_t left = 0;

	for (size_t s = 0; s < from->count; s++)
		if (from->sections[s].kind == CONFIG_NAMESPACE)
			to[count++] = from->sections[s];
		else
			from->sections[left++] = from->sections[s];
	from->count = left;
	return count;
}

/* Puts the fresh list of namespaces into force; `sections` has room for the sections of both configurations. */
static void replace_namespaces(const struct applying *applying, struct config_section *sections,
			       struct config_retired *retired)
{
	struct config *config = applying->config, *fresh = applying->fresh;
	struct config_origins *old = config->origins, *new = fresh->origins;
	size_t count = 0;

	for (size_t s = 0; s < CONFIG_SECTION_DEFAULT; s++)
		sections[count++] = old->sections[s];
	count = move_namespaces(new, sections, count);
	for (size_t s = CONFIG_SECTION_DEFAULT; s < old->count; s++)
		if (old->sections[s].kind == CONFIG_UPSTREAM)
			sections[count++] = old->sections[s];
	free(old->sections);
	old->sections = sections;
	old->count = count;
	memcpy(old->sorted, new->sorted, sizeof(old->sorted));
	/* What was calibrated belongs to somebody else, who knows only those in force. */
	for (size_t i = 0; i < config->namespace_count; i++)
		config->namespaces[i].certificate = NULL;
	*retired = (struct config_retired){old->retired, config->namespaces, config->namespace_count};
	old->retired = retired;
	config->namespaces = fresh->namespaces;
	config->namespace_count = fresh->namespace_count;
	fresh->namespaces = NULL;
	fresh->namespace_count = 0;
}

static int take_over(const struct applying *applying)
{
	struct config_origins *old = applying->config->origins;
	const struct config_origins *new = applying->fresh->origins;
	struct config_section *sections = NULL;
	struct config_retired *retired = NULL;

	if (!applying->same_namespaces) {
		sections = malloc((old->count + new->count) * sizeof(*sections));
		retired = malloc(sizeof(*retired));
		if (!sections || !retired) {
			free(sections);
			free(retired);
			return ERROR_MEMORY;
		}
	}
	for (size_t s = 0; s < old->count; s++) {
		struct config_section *section = &old->sections[s];
		struct config_section *other = counterpart(applying->config, section, applying->fresh);
		if (other && (section->kind != CONFIG_NAMESPACE || applying->same_namespaces))
			take_values(applying, section, other);
	}
	if (!applying->same_namespaces)
		replace_namespaces(applying, sections, retired);
	take_text(applying->config->origins, applying->fresh->origins);
	return 0;
}

int config_apply(struct config *config, struct config *fresh, struct buffer *changed, struct buffer *needs_restart)
{
	struct applying applying = {
		.config = config,
		.fresh = fresh,
		.changed = changed,
		.needs_restart = needs_restart,
	};
	size_t changed_before = changed->length, restart_before = needs_restart->length;

	buffer_init(&applying.before, CONFIG_VALUE_BYTES);
	buffer_init(&applying.after, CONFIG_VALUE_BYTES);
	int error = compare(&applying);
	if (!error)
		error = take_over(&applying);
	if (error) {
		changed->length = changed_before;
		needs_restart->length = restart_before;
	}
	buffer_deinit(&applying.before);
	buffer_deinit(&applying.after);
	return error;
}
