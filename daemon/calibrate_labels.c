/* connect ──> batches of labels ──> those that are evidence for this embedder.
 *
 * What can go wrong: Redis is not there within a few seconds, or does not answer. */
#include "calibrate_labels.h"

#include "../proto/error.h"
#include "config.h"
#include "config_table.h"
#include "deadline.h"
#include "interval.h"
#include "log.h"
#include "metrics.h"
#include "part.h"
#include "store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RETRY_MS 50
#define PATIENCE_MS 3000
#define LABELS_MOST 1000000
#define COMPARATOR_CONFIDENCE 0.95

int calibrate_labels_add(struct calibrate_labels *labels, const struct calibrate_label *label)
{
	if (labels->count == LABELS_MOST)
		return ERROR_TOO_LARGE;
	if (labels->count == labels->room) {
		size_t room = labels->room ? labels->room * 2 : 1024;
		struct calibrate_label *grown = reallocarray(labels->list, room, sizeof(*grown));
		if (!grown)
			return ERROR_MEMORY;
		labels->list = grown;
		labels->room = room;
	}
	labels->list[labels->count++] = *label;
	return 0;
}

void calibrate_labels_deinit(struct calibrate_labels *labels)
{
	free(labels->list);
	*labels = (struct calibrate_labels){0};
}

/* ---- reading ---- */

struct reading {
	uv_loop_t loop;
	struct deadlines *deadlines;
	struct store *store;
	struct metrics metrics;
	struct log log;
	struct part part;
	struct deadline retry;
	struct store_settings settings;
	struct store_labels read;
	struct calibrate_labels_of *of;
	struct config_share own, usual; /* as the settings of the namespace, and of "default", have it */
	struct slice namespace;
	struct calibrate_labels *out;
	uint64_t started_at_ms;
	bool is_given; /* the comparison's error */
	bool has_settings, is_reading;
	int error;
};

static void on_removed(void *data, struct slice namespace, const struct identity *identity)
{
	(void)data;
	(void)namespace;
	(void)identity;
}

static const struct store_events events = {.removed = on_removed};

static void reading_end(struct reading *reading)
{
	if (reading->store)
		store_destroy(reading->store);
	reading->store = NULL;
	if (!reading->deadlines)
		return;
	deadline_stop(reading->deadlines, &reading->retry);
	deadlines_destroy(reading->deadlines);
	reading->deadlines = NULL;
}

/* ---- the comparison's error ---- */

static const char *const setting_keys[] = {"comparator_false_same"};

static void on_settings(struct store_settings *settings, const struct store_settings_found *found)
{
	struct reading *reading = settings->data;
	struct slice value = found->values[0];
	struct config_share share = {0};
	char text[64];

	if (!value.data || value.length >= sizeof(text))
		return;
	memcpy(text, value.data, value.length);
	text[value.length] = '\0';
	if (config_share_set(&share, text) != 0)
		return;
	if (slice_equal(found->namespace, reading->namespace))
		reading->own = share;
	else if (slice_equal(found->namespace, SLICE("default")))
		reading->usual = share;
}

/* Takes what was measured, from the first that has it. */
static void on_settings_done(struct store_settings *settings, int error)
{
	struct reading *reading = settings->data;
	const struct config_share *share = reading->own.count     ? &reading->own
					   : reading->usual.count ? &reading->usual
								  : &reading->of->space->comparator_false_same;

	reading->is_reading = false;
	reading->has_settings = error == 0;
	reading->error = error;
	if (!error && !reading->is_given && share->count > 0)
		reading->of->comparator_error = interval_upper(share->wrong, share->count, COMPARATOR_CONFIDENCE);
	if (deadline_start(reading->deadlines, &reading->retry, 0) != 0)
		reading_end(reading);
}

/* ---- labels ---- */

static void on_label(struct store_labels *labels, const struct store_label *label)
{
	struct reading *reading = labels->data;
	bool is_compared = label->source == LABEL_AUDIT || label->source == LABEL_SHADOW || label->source == LABEL_JUDGE;
	/* What a caller calls right makes nothing safer. */
	bool is_trusted = label->source == LABEL_JUDGE ? reading->is_given : !isnan(reading->of->comparator_error);
	bool is_evidence = !(label->source == LABEL_CALLER && label->right) && (!is_compared || is_trusted);

	if (strcmp(label->embedder, reading->of->embedder) != 0 || !is_evidence || isnan(label->similarity)) {
		reading->out->left_out++;
		return;
	}
	const struct calibrate_label own = {label->similarity, label->next, label->right, is_compared};
	int error = calibrate_labels_add(reading->out, &own);
	if (error)
		reading->error = error;
	else if ((size_t)label->source < CALIBRATE_SOURCES)
		reading->out->sources[label->source]++;
}

/* Ends from the timer, because nothing may be destroyed from inside a callback of its own. */
static void on_done(struct store_labels *labels, int error)
{
	struct reading *reading = labels->data;

	reading->is_reading = false;
	reading->error = reading->error ? reading->error : error ? error : ERROR_NONE;
	reading->read.data = NULL;
	if (deadline_start(reading->deadlines, &reading->retry, 0) != 0)
		reading_end(reading);
}

static void on_retry(struct deadline *deadline)
{
	struct reading *reading = (struct reading *)((char *)deadline - offsetof(struct reading, retry));
	bool is_over = !reading->read.data;

	if (!is_over && !reading->is_reading) {
		int error = reading->has_settings
				    ? store_labels_read(reading->store, &reading->read, reading->namespace)
				    : store_settings_read(reading->store, &reading->settings, (struct slice){0});
		reading->is_reading = error == 0;
		if (error == 1)
			is_over = true;
		else if (error && deadlines_now_ms(reading->deadlines) - reading->started_at_ms > PATIENCE_MS)
			reading->error = error;
	}
	is_over = is_over || (reading->error && !reading->is_reading);
	if (is_over)
		reading_end(reading);
	else if (!reading->is_reading && deadline_start(reading->deadlines, &reading->retry, RETRY_MS) != 0)
		reading_end(reading);
}

static int reading_start(struct reading *reading)
{
	reading->deadlines = deadlines_create(&reading->loop);
	if (!reading->deadlines)
		return ERROR_MEMORY;
	reading->started_at_ms = deadlines_now_ms(reading->deadlines);
	part_init(&reading->part, "redis", true, &reading->log, reading->started_at_ms);
	reading->read = (struct store_labels){.label = on_label, .done = on_done, .data = reading};
	reading->settings = (struct store_settings){.found = on_settings,
						    .done = on_settings_done,
						    .data = reading,
						    .keys = setting_keys,
						    .count = sizeof(setting_keys) / sizeof(setting_keys[0])};
	reading->retry.expired = on_retry;
	reading->store = store_create(&reading->loop, reading->deadlines, reading->of->config, reading->of->embedder, 0,
				      &events, reading, &reading->part, &reading->metrics, &reading->log);
	if (!reading->store)
		return ERROR_MEMORY;
	return deadline_start(reading->deadlines, &reading->retry, 0);
}

int calibrate_labels_read(struct calibrate_labels *labels, struct calibrate_labels_of *of, char *mistake,
			  size_t mistake_size)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	int error = ERROR_MEMORY;

	if (reading && uv_loop_init(&reading->loop) == 0) {
		log_init(&reading->log, LOG_LEVEL_ERROR);
		reading->of = of;
		reading->namespace = slice_of(of->namespace_name);
		reading->is_given = !isnan(of->comparator_error);
		reading->out = labels;
		error = reading_start(reading);
		if (error)
			reading_end(reading);
		(void)uv_run(&reading->loop, UV_RUN_DEFAULT);
		error = error ? error : reading->error;
		(void)uv_loop_close(&reading->loop);
		if (error == ERROR_UNAVAILABLE || error == ERROR_TIMEOUT)
			(void)snprintf(mistake, mistake_size, "Redis does not answer: %s", reading->part.error);
	}
	if (error && error != ERROR_UNAVAILABLE && error != ERROR_TIMEOUT)
		(void)snprintf(mistake, mistake_size, "%s", error_text(error));
	free(reading);
	return error;
}
