/* What the log told is read again, one namespace after the other, or all at once; what came is put in force when a read
 * has ended. What can go wrong: a read fails (everything is read a little later), more is told than can be remembered
 * (the same). */
#include "settings_private.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_MS 500
/* A change made here that the log has not told of by then was perhaps lost with its connection. */
#define OWN_MS 5000

static void read_next(struct settings *settings);

/* ---- what was read ---- */

/* What is the same keeps its state. Returns 0 or ERROR_MEMORY. */
static int take_text(char **value, struct slice text, bool *is_new)
{
	/* A text with a NUL in it is none of ours, and is refused when it is read. */
	if (text.data)
		text.length = strnlen(text.data, text.length);
	*is_new = !slice_equal(slice_of(*value), text);
	return *is_new ? settings_put(value, text) : 0;
}

static int take_found(struct settings *settings, struct settings_space *space, const struct store_settings_found *found)
{
	bool is_new;
	int error = 0;

	for (size_t k = 0; !error && k < settings->key_count; k++) {
		error = take_text(&space->values[k], found->values[k], &is_new);
		space->is_refused[k] = space->is_refused[k] && !is_new;
		settings->is_changed = settings->is_changed || is_new;
	}
	if (!error && !slice_equal(slice_of(space->text), found->certificate)) {
		error = settings_put_certificate(settings, space, found->certificate);
		settings->is_changed = true;
	}
	settings->is_changed = settings->is_changed || space->is_other != found->is_other;
	space->is_other = found->is_other;
	if (found->unknown > 0 && found->unknown != space->unknown) {
		settings->service->metrics.settings_refused += found->unknown;
		log_write(&settings->service->log, LOG_LEVEL_WARNING, "settings_unknown namespace=%s count=%llu",
			  space->name, (unsigned long long)found->unknown);
	}
	space->unknown = found->unknown;
	space->is_seen = true;
	return error;
}

static bool has_any(const struct settings *settings, const struct store_settings_found *found)
{
	for (size_t k = 0; k < settings->key_count; k++)
		if (found->values[k].data)
			return true;
	return found->unknown > 0 || found->certificate.data || found->is_other;
}

static bool is_older(const struct settings *settings, const struct settings_space *space)
{
	const struct service *service = settings->service;
	size_t writes = 0;

	if (space->own == 0 || !service->store)
		return false;
	(void)store_queue(service->store, &writes);
	return writes > 0 || deadlines_now_ms(service->deadlines) < space->own_until_ms;
}

static void on_found(struct store_settings *read, const struct store_settings_found *found)
{
	struct settings *settings = read->data;
	struct settings_space *space = settings_find(settings, found->namespace);

	if (!space && !has_any(settings, found))
		return;
	if (!space)
		space = settings_get(settings, found->namespace);
	if (!space) {
		settings->service->metrics.settings_refused++;
		return;
	}
	if (is_older(settings, space)) {
		/* The log will tell of what was set here since, and then it is read again. */
		space->is_seen = true;
		return;
	}
	int error = take_found(settings, space, found);
	if (error)
		settings->read_error = error;
}

/* What was not found any more is no longer set. */
static void forget_unseen(struct settings *settings)
{
	const struct slice nothing[CONFIG_OVERRIDE_KEYS] = {{NULL, 0}};
	const struct store_settings_found none = {.values = nothing};

	for (size_t i = 0; i < settings->count; i++)
		if (!settings->spaces[i]->is_seen && !is_older(settings, settings->spaces[i]))
			(void)take_found(settings, settings->spaces[i], &none);
}

static void read_later(struct settings *settings)
{
	settings->is_all_pending = true;
	(void)deadline_start(settings->service->deadlines, &settings->retry, RETRY_MS);
}

static void on_done(struct store_settings *read, int error)
{
	struct settings *settings = read->data;
	void (*load_done)(void *data, int error) = settings->is_reading_all ? settings->load_done : NULL;

	settings->is_reading = false;
	if (!error)
		error = settings->read_error;
	if (!error && settings->is_reading_all) {
		forget_unseen(settings);
	}
	if (!error && settings->is_changed) {
		settings->is_changed = false;
		settings_resolve(settings);
	}
	if (load_done) {
		settings->load_done = NULL;
		load_done(settings->load_data, error);
	} else if (error) {
		read_later(settings);
		return;
	}
	read_next(settings);
}

/* ---- reading ---- */

static int start(struct settings *settings, struct slice namespace)
{
	settings->read = (struct store_settings){
		.found = on_found,
		.done = on_done,
		.data = settings,
		.keys = settings->keys,
		.count = settings->key_count,
	};
	settings->read_error = 0;
	settings->is_reading_all = namespace.data == NULL;
	for (size_t i = 0; i < settings->count; i++)
		settings->spaces[i]->is_seen = false;
	int error = store_settings_read(settings->service->store, &settings->read, namespace);
	settings->is_reading = !error;
	return error;
}

static void read_next(struct settings *settings)
{
	if (settings->is_reading || settings->retry.place)
		return;
	if (settings->is_all_pending) {
		settings->is_all_pending = false;
		settings->pending_count = 0;
		int error = start(settings, (struct slice){NULL, 0});
		if (!error)
			return;
		void (*load_done)(void *data, int error) = settings->load_done;
		settings->load_done = NULL;
		if (load_done)
			load_done(settings->load_data, error);
		else
			read_later(settings);
	} else if (settings->pending_count > 0) {
		char name[LIMIT_NAMESPACE_BYTES + 1];
		memcpy(name, settings->pending[--settings->pending_count], sizeof(name));
		if (start(settings, slice_of(name)) != 0)
			read_later(settings);
	}
}

static void retry_expired(struct deadline *retry)
{
	read_next((struct settings *)(void *)((char *)retry - offsetof(struct settings, retry)));
}

int settings_load(struct settings *settings, void (*done)(void *data, int error), void *data)
{
	deadline_stop(settings->service->deadlines, &settings->retry);
	if (settings->is_reading) {
		settings->is_all_pending = true;
		settings->load_done = done;
		settings->load_data = data;
		/* The one that is on its way was perhaps begun too early. */
		settings->is_reading_all = false;
		return 0;
	}
	settings->is_all_pending = false;
	settings->pending_count = 0;
	int error = start(settings, (struct slice){NULL, 0});
	if (error)
		return error;
	settings->load_done = done;
	settings->load_data = data;
	return 0;
}

void settings_expect_own(struct settings *settings, struct settings_space *space)
{
	space->own++;
	space->own_until_ms = deadlines_now_ms(settings->service->deadlines) + OWN_MS;
}

void settings_follow(struct settings *settings, struct slice namespace, bool is_own)
{
	if (namespace.length == 0 || namespace.length > LIMIT_NAMESPACE_BYTES)
		return;
	struct settings_space *space = settings_find(settings, namespace);
	if (space && !is_older(settings, space))
		space->own = 0;
	if (is_own && space && space->own > 0 && --space->own > 0)
		return;
	for (size_t i = 0; i < settings->pending_count; i++)
		if (slice_equal(slice_of(settings->pending[i]), namespace))
			return;
	if (settings->pending_count == SETTINGS_PENDING) {
		settings->is_all_pending = true;
	} else {
		char *name = settings->pending[settings->pending_count++];
		memcpy(name, namespace.data, namespace.length);
		name[namespace.length] = '\0';
	}
	read_next(settings);
}

/* ---- life ---- */

void settings_follow_init(struct settings *settings)
{
	settings->retry.expired = retry_expired;
}

void settings_follow_deinit(struct settings *settings)
{
	deadline_stop(settings->service->deadlines, &settings->retry);
	if (settings->is_reading)
		store_settings_cancel(&settings->read);
	settings->is_reading = false;
	settings->load_done = NULL;
}
