/* Run-time settings of a daemon without Redis: laid over the file, checked as the file is, kept by a reload, taken back;
 * and what certificates hold under them. */
#include "daemon/deadline.h"
#include "daemon/embedder.h"
#include "daemon/http.h"
#include "daemon/policy.h"
#include "daemon/recall.h"
#include "daemon/service.h"
#include "daemon/settings.h"
#include "proto/error.h"
#include "proto/identity.h"
#include "proto/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

struct place {
	char directory[64], path[96];
	uv_loop_t loop;
	struct service service;
	struct buffer changed;
	struct fault fault;
};

static void file_write(const struct place *place, const char *text)
{
	FILE *file = fopen(place->path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int place_make(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	assert_non_null(place);
	(void)snprintf(place->directory, sizeof(place->directory), "/tmp/semcache-settings-XXXXXX");
	assert_non_null(mkdtemp(place->directory));
	(void)snprintf(place->path, sizeof(place->path), "%s/conf", place->directory);
	buffer_init(&place->changed, 1 << 20);
	log_init(&place->service.log, LOG_LEVEL_ERROR);
	place->service.recall = recall_create(65536);
	place->service.hasher = hasher_create(65536);
	assert_int_equal(uv_loop_init(&place->loop), 0);
	place->service.deadlines = deadlines_create(&place->loop);
	place->service.settings = settings_create(&place->service);
	assert_non_null(place->service.settings);
	*state = place;
	return 0;
}

static int place_remove(void **state)
{
	struct place *place = *state;

	settings_destroy(place->service.settings);
	deadlines_destroy(place->service.deadlines);
	(void)uv_run(&place->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&place->loop), 0);
	recall_destroy(place->service.recall);
	hasher_destroy(place->service.hasher);
	config_destroy(place->service.config);
	buffer_deinit(&place->changed);
	(void)unlink(place->path);
	assert_int_equal(rmdir(place->directory), 0);
	free(place);
	return 0;
}

static void start(struct place *place, const char *text)
{
	struct buffer mistakes;

	file_write(place, text);
	buffer_init(&mistakes, 65536);
	assert_int_equal(config_read(place->path, &place->service.config, &mistakes), 0);
	buffer_deinit(&mistakes);
}

/* Changes one setting; NULL = unset. */
static int set(struct place *place, const char *namespace, const char *key, const char *value)
{
	const struct settings_item item = {slice_of(key), slice_of(value)};
	const struct settings_change change = {.namespace = slice_of(namespace), .items = &item, .count = 1};

	place->changed.length = 0;
	return settings_change(place->service.settings, &change, NULL, &place->changed, &place->fault);
}

static void must_set(struct place *place, const char *namespace, const char *key, const char *value, const char *changed)
{
	assert_int_equal(set(place, namespace, key, value), 1);
	assert_int_equal(buffer_append(&place->changed, "", 1), 0);
	assert_string_equal(place->changed.data, changed);
}

static void must_refuse(struct place *place, const char *namespace, const char *key, const char *value, const char *part)
{
	assert_int_equal(set(place, namespace, key, value), ERROR_INVALID);
	if (!strstr(place->fault.text, part))
		fail_msg("\"%s\" is not in: %s", part, place->fault.text);
	assert_int_equal(place->changed.length, 0);
}

static const struct config_namespace *space_of(const struct place *place, const char *namespace)
{
	return config_namespace(place->service.config, slice_of(namespace));
}

static int reload(struct place *place, const char *text)
{
	struct config *fresh = NULL;
	struct buffer mistakes, needs_restart;

	if (text)
		file_write(place, text);
	buffer_init(&mistakes, 65536);
	buffer_init(&needs_restart, 65536);
	place->changed.length = 0;
	int error = settings_read_again(place->service.settings, place->path, &fresh, &mistakes);
	if (!error) {
		assert_int_equal(config_apply(place->service.config, fresh, &place->changed, &needs_restart), 0);
		config_destroy(fresh);
		settings_applied(place->service.settings);
	}
	buffer_deinit(&mistakes);
	buffer_deinit(&needs_restart);
	return error;
}

/* ---- settings ---- */

static void a_setting_stands_above_the_file_until_it_is_taken_back(void **state)
{
	struct place *place = *state;

	start(place, "[namespace default]\nthreshold = 0.85\n");
	const struct config_namespace *space = space_of(place, "default");
	assert_int_equal(space->threshold_origin, CONFIG_ORIGIN_FILE);
	must_set(place, "default", "threshold", "0.8", "[namespace default] threshold\n");
	assert_ptr_equal(space_of(place, "default"), space);
	assert_float_equal(space->threshold, 0.8, 1e-12);
	assert_int_equal(space->threshold_origin, CONFIG_ORIGIN_REDIS);
	assert_int_equal(policy_usual(place->service.config, space).origin, ORIGIN_redis);
	must_set(place, "default", "threshold", "0.8", "");
	must_set(place, "default", "threshold", NULL, "[namespace default] threshold\n");
	assert_float_equal(space->threshold, 0.85, 1e-12);
	assert_int_equal(space->threshold_origin, CONFIG_ORIGIN_FILE);
	must_set(place, "default", "threshold", NULL, "");
}

static void the_file_is_not_read_again(void **state)
{
	struct place *place = *state;

	start(place, "[namespace default]\nttl = 7\n");
	file_write(place, "[nonsense]\n");
	must_set(place, "default", "threshold", "0.8", "[namespace default] threshold\n");
	must_set(place, "default", "ttl", "8", "[namespace default] ttl\n");
	must_set(place, "default", "ttl", NULL, "[namespace default] ttl\n");
	assert_int_equal(space_of(place, "default")->ttl, 7);
	assert_int_equal(reload(place, NULL), ERROR_INVALID);
	assert_float_equal(space_of(place, "default")->threshold, 0.8, 1e-12);
}

static void a_reload_keeps_it_and_takes_the_rest(void **state)
{
	struct place *place = *state;

	start(place, "");
	must_set(place, "kb", "threshold", "0.8", "[namespace kb] threshold\n");
	assert_int_equal(reload(place, "[namespace kb]\nthreshold = 0.7\nttl = 5\n[namespace new]\nttl = 6\n"), 0);
	assert_float_equal(space_of(place, "kb")->threshold, 0.8, 1e-12);
	assert_int_equal(space_of(place, "kb")->ttl, 5);
	assert_int_equal(space_of(place, "new")->ttl, 6);
	must_set(place, "kb", "threshold", NULL, "[namespace kb] threshold\n");
	assert_float_equal(space_of(place, "kb")->threshold, 0.7, 1e-12);
	assert_int_equal(reload(place, ""), 0);
	assert_float_equal(space_of(place, "kb")->threshold, 0.9, 1e-12);
}

static void a_reload_that_does_not_fit_changes_nothing(void **state)
{
	struct place *place = *state;

	start(place, "");
	must_set(place, "default", "threshold", "0.8", "[namespace default] threshold\n");
	assert_int_equal(reload(place, "[namespace default]\nthreshold_min = 0.85\nttl = 4\n"), ERROR_INVALID);
	assert_int_equal(space_of(place, "default")->ttl, 3600);
	must_set(place, "default", "ttl", "5", "[namespace default] ttl\n");
	assert_float_equal(space_of(place, "default")->threshold_min, CONFIG_NONE, 1e-12);
}

static void a_file_must_be_right_without_what_is_set(void **state)
{
	struct place *place = *state;

	start(place, "");
	must_set(place, "default", "threshold", "0.97", "[namespace default] threshold\n");
	assert_int_equal(reload(place, "[namespace default]\nthreshold_min = 0.95\n"), ERROR_INVALID);
	assert_int_equal(reload(place, "[namespace default]\nthreshold_min = 0.85\n"), 0);
	assert_float_equal(space_of(place, "default")->threshold_min, 0.85, 1e-12);
	assert_float_equal(space_of(place, "default")->threshold, 0.97, 1e-12);
}

/* A key that has changed needs a restart whether anything is set or not. */
static void a_changed_key_is_seen_above_settings(void **state)
{
	struct place *place = *state;
	static const char text[] = "[upstream u]\nurl = http://h\nmodels = m\nkey_env = SEMCACHE_TEST_KEY\n";

	assert_int_equal(setenv("SEMCACHE_TEST_KEY", "sk-1", 1), 0);
	start(place, text);
	must_set(place, "default", "ttl", "5", "[namespace default] ttl\n");
	assert_string_equal(place->service.config->upstreams[0].key.secret, "sk-1");
	assert_int_equal(reload(place, NULL), 0);
	assert_string_equal(place->service.config->upstreams[0].key.secret, "sk-1");
	assert_int_equal(setenv("SEMCACHE_TEST_KEY", "sk-2", 1), 0);
	struct buffer mistakes, needs_restart;
	struct config *fresh = NULL;
	buffer_init(&mistakes, 65536);
	buffer_init(&needs_restart, 65536);
	assert_int_equal(settings_read_again(place->service.settings, place->path, &fresh, &mistakes), 0);
	place->changed.length = 0;
	assert_int_equal(config_apply(place->service.config, fresh, &place->changed, &needs_restart), 0);
	config_destroy(fresh);
	assert_int_equal(buffer_append(&needs_restart, "", 1), 0);
	assert_string_equal(needs_restart.data, "[upstream u] key_env\n");
	buffer_deinit(&needs_restart);
	buffer_deinit(&mistakes);
}

static void what_cannot_be_is_refused_and_nothing_changes(void **state)
{
	struct place *place = *state;
	struct config_namespace before;

	start(place, "[namespace default]\nthreshold_min = 0.6\n[namespace kb]\nttl = 3\n");
	memcpy(&before, space_of(place, "default"), sizeof(before));
	must_refuse(place, "default", "threshold", "1.01",
		    "[namespace default] threshold: must be a similarity from -1 to 1");
	must_refuse(place, "default", "threshold", "0.59", "must be at least threshold_min, which is 0.6");
	must_refuse(place, "kb", "threshold", "0.5", "[namespace kb] threshold: must be at least threshold_min");
	must_refuse(place, "default", "treshold", "0.7", "treshold is no run-time setting; those are mode, threshold");
	must_refuse(place, "default", "ttl", "", "ttl: must be whole seconds");
	must_refuse(place, "default", "context", "all\nttl = 3", "without control characters");
	must_refuse(place, "default", "guards", "numbers:sometimes", "guards: must be NAME:on");
	assert_int_equal(set(place, "no name", "ttl", "3"), ERROR_INVALID);
	assert_memory_equal(space_of(place, "default"), &before, sizeof(before));
	assert_ptr_equal(space_of(place, "no name"), space_of(place, "default"));
}

static void two_keys_that_only_fit_together_are_set_together(void **state)
{
	struct place *place = *state;
	const struct settings_item items[] = {{SLICE("threshold"), SLICE("0.97")}, {SLICE("threshold_min"), SLICE("0.95")}};
	struct settings_change change = {.namespace = SLICE("default"), .items = items + 1, .count = 1};

	start(place, "");
	assert_int_equal(settings_change(place->service.settings, &change, NULL, &place->changed, &place->fault),
			 ERROR_INVALID);
	change.items = items;
	change.count = 2;
	assert_int_equal(settings_change(place->service.settings, &change, NULL, &place->changed, &place->fault), 1);
	must_refuse(place, "default", "threshold", NULL, "must be at least threshold_min, which is 0.95");
	assert_float_equal(space_of(place, "default")->threshold, 0.97, 1e-12);
}

static void a_namespace_without_a_section_gets_one(void **state)
{
	struct place *place = *state;

	start(place, "[namespace default]\nttl = 9\n");
	const struct config_namespace *usual = space_of(place, "kb");
	must_set(place, "kb", "stale_window", "4", "[namespace kb] stale_window\n");
	const struct config_namespace *space = space_of(place, "kb");
	assert_ptr_not_equal(space, space_of(place, "default"));
	assert_int_equal(space->stale_window, 4);
	assert_int_equal(space->ttl, 9);
	/* What was in the air before may still look at the old one. */
	assert_int_equal(usual->stale_window, 0);
	must_set(place, "default", "ttl", "8", "[namespace default] ttl\n[namespace kb] ttl\n");
	assert_ptr_equal(space_of(place, "kb"), space);
	must_set(place, "kb", "stale_window", NULL, "[namespace kb] stale_window\n");
	assert_ptr_equal(space_of(place, "kb"), space);
}

static void no_more_namespaces_than_there_may_be(void **state)
{
	struct place *place = *state;
	char name[32];

	start(place, "");
	for (int i = 1; i < CONFIG_NAMESPACES; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(set(place, name, "ttl", "1"), 1);
	}
	must_refuse(place, "other", "ttl", "1", "at most 256");
	assert_int_equal(set(place, "default", "ttl", "2"), 1);
	assert_int_equal(set(place, "n5", "ttl", NULL), 1);
	assert_int_equal(space_of(place, "n5")->ttl, 2);
	assert_int_equal(set(place, "other", "ttl", "3"), 1);
	assert_int_equal(space_of(place, "other")->ttl, 3);
	assert_int_equal(space_of(place, "n6")->ttl, 1);
	assert_int_equal(space_of(place, "n5")->ttl, 2);
}

static void a_guard_is_switched_off(void **state)
{
	struct place *place = *state;

	start(place, "[namespace default]\nguards = numbers:shadow\n");
	assert_true(space_of(place, "default")->guards.shadow & GUARD_BIT(GUARD_numbers));
	must_set(place, "default", "guards", "all:off", "[namespace default] guards\n");
	assert_int_equal(space_of(place, "default")->guards.on | space_of(place, "default")->guards.shadow, 0);
	must_set(place, "default", "opposites", "north/south", "[namespace default] opposites\n");
	assert_string_equal(guard_words_text(space_of(place, "default")->opposites), "north/south");
	must_set(place, "default", "guards", NULL, "[namespace default] guards\n");
	assert_true(space_of(place, "default")->guards.shadow & GUARD_BIT(GUARD_numbers));
}

static void what_the_calibrated_rule_takes_from_where(void **state)
{
	struct place *place = *state;

	start(place, "[namespace default]\nmode = calibrated\nmargin = 0.4\n");
	must_set(place, "default", "minimum", "0.7", "[namespace default] minimum\n");
	struct policy policy = policy_usual(place->service.config, space_of(place, "default"));
	assert_false(policy.calibrated);
	must_set(place, "default", "score_threshold", "0.95", "[namespace default] score_threshold\n");
	must_set(place, "default", "margin_floor", "0.6", "[namespace default] margin_floor\n");
	policy = policy_usual(place->service.config, space_of(place, "default"));
	assert_true(policy.calibrated);
	assert_float_equal(policy.margin, 0.4, 1e-12);
	assert_int_equal(policy.origin, ORIGIN_redis);
	must_set(place, "default", "mode", "threshold", "[namespace default] mode\n");
	assert_int_equal(policy_usual(place->service.config, space_of(place, "default")).origin, ORIGIN_default);
}

/* ---- certificates ---- */

/* The file says so; nothing is ever asked of the embedder. */
static void start_with_embedder(struct place *place, const char *text)
{
	char whole[512];

	(void)snprintf(whole, sizeof(whole), "[embedder]\nurl = http://127.0.0.1:1/v1\nmodel = use-multilingual-v3\n%s",
		       text);
	start(place, whole);
	struct service *service = &place->service;
	part_init(&service->embedder_part, "embedder", true, &service->log, 0);
	service->http = http_create(&place->loop, service->deadlines);
	service->embedder = embedder_create(service->http, service->deadlines, &service->config->embedder,
					    &service->embedder_part, &service->metrics, &service->log);
	assert_non_null(service->embedder);
}

static int calibrated_remove(void **state)
{
	struct place *place = *state;

	embedder_destroy(place->service.embedder);
	http_destroy(place->service.http);
	place->service.embedder = NULL;
	return place_remove(state);
}

/* One that holds now in the namespace. */
static struct certificate certificate_of(const struct place *place, const char *namespace)
{
	struct certificate certificate = {
		.calibration = {.score_threshold = 0.91, .margin = 0.25, .margin_floor = 0.6, .minimum = 0.7},
		.bound = 0.02,
		.confidence = 0.95,
		.labels = 500,
		.wrong = 3,
		.created_ms = 1700000000000,
		.source = "pairs",
	};

	memcpy(certificate.embedder, embedder_name(place->service.embedder), sizeof(certificate.embedder));
	assert_int_equal(settings_scope_rule(place->service.hasher, space_of(place, namespace), certificate.scope_rule), 0);
	return certificate;
}

/* NULL = none any more. */
static int set_certificate(struct place *place, const char *namespace, const struct certificate *certificate)
{
	struct settings_change change = {.namespace = slice_of(namespace), .has_certificate = true};
	struct buffer text;

	buffer_init(&text, 4096);
	if (certificate)
		assert_int_equal(certificate_write(certificate, &text), 0);
	change.certificate = slice_of(text.data);
	place->changed.length = 0;
	int error = settings_change(place->service.settings, &change, NULL, &place->changed, &place->fault);
	buffer_deinit(&text);
	return error;
}

static const char *why_not(const struct place *place, const char *namespace)
{
	const char *why;

	return settings_certificate(place->service.settings, slice_of(namespace), &why) ? "holds" : why ? why : "none";
}

static void a_certificate_is_in_force_and_taken_back(void **state)
{
	struct place *place = *state;

	start_with_embedder(place, "[namespace default]\nmode = calibrated\n");
	const struct config_namespace *space = space_of(place, "default");
	const struct certificate certificate = certificate_of(place, "default");
	assert_int_equal(policy_usual(place->service.config, space).origin, ORIGIN_shipped);
	assert_int_equal(set_certificate(place, "default", &certificate), 1);
	struct policy policy = policy_usual(place->service.config, space);
	assert_int_equal(policy.origin, ORIGIN_certificate);
	assert_true(policy.calibrated);
	assert_float_equal(policy.score_threshold, 0.91, 1e-12);
	assert_int_equal(policy.certificate_ms, 1700000000000);
	/* A lone entry needs as much as one that gains nothing from the margin. */
	assert_float_equal(policy.threshold, 0.91, 1e-12);
	assert_int_equal(reload(place, NULL), 0);
	assert_string_equal(why_not(place, "default"), "holds");
	assert_int_equal(set_certificate(place, "default", NULL), 1);
	assert_string_equal(why_not(place, "default"), "none");
	assert_int_equal(policy_usual(place->service.config, space).origin, ORIGIN_shipped);
	assert_float_equal(policy_usual(place->service.config, space).threshold, 0.90, 1e-12);
	assert_int_equal(place->service.metrics.certificates_misfit, 0);
}

static void what_does_not_hold_leaves_the_threshold(void **state)
{
	struct place *place = *state;

	start_with_embedder(place, "[namespace default]\nmode = calibrated\n");
	const struct config_namespace *space = space_of(place, "default");
	struct certificate certificate = certificate_of(place, "default");
	certificate.embedder[0] = certificate.embedder[0] == 'a' ? 'b' : 'a';
	assert_int_equal(set_certificate(place, "default", &certificate), 1);
	assert_string_not_equal(why_not(place, "default"), "holds");
	/* Not even what ships for the embedder: what is known of this namespace is that it is not known. */
	assert_false(policy_usual(place->service.config, space).calibrated);
	assert_int_equal(place->service.metrics.certificates_misfit, 1);
	certificate = certificate_of(place, "default");
	assert_int_equal(set_certificate(place, "default", &certificate), 1);
	assert_true(policy_usual(place->service.config, space).calibrated);
	must_set(place, "default", "guards", "numbers:off", "[namespace default] guards\n");
	assert_false(policy_usual(place->service.config, space).calibrated);
	assert_int_equal(place->service.metrics.certificates_misfit, 2);
	must_set(place, "default", "ttl", "9", "[namespace default] ttl\n");
	assert_int_equal(place->service.metrics.certificates_misfit, 2);
	must_set(place, "default", "guards", NULL, "[namespace default] guards\n");
	assert_true(policy_usual(place->service.config, space).calibrated);
}

static void a_withdrawn_certificate_holds_no_longer_anywhere(void **state)
{
	struct place *place = *state;

	start_with_embedder(place, "[namespace default]\nmode = calibrated\n[namespace kb]\nttl = 4\n");
	struct certificate certificate = certificate_of(place, "default");
	settings_withdraw_certificate(place->service.settings, SLICE("kb"), "drift");
	assert_string_equal(why_not(place, "kb"), "none");
	assert_int_equal(set_certificate(place, "default", &certificate), 1);
	assert_string_equal(why_not(place, "kb"), "holds");
	settings_withdraw_certificate(place->service.settings, SLICE("kb"), "drift");
	assert_string_equal(why_not(place, "kb"), "drift");
	assert_string_equal(why_not(place, "default"), "drift");
	assert_false(policy_usual(place->service.config, space_of(place, "kb")).calibrated);
	assert_int_equal(place->service.metrics.certificates_withdrawn, 1);
	settings_withdraw_certificate(place->service.settings, SLICE("kb"), "drift");
	assert_int_equal(place->service.metrics.certificates_withdrawn, 1);
	certificate.created_ms++;
	assert_int_equal(set_certificate(place, "default", &certificate), 1);
	assert_string_equal(why_not(place, "kb"), "holds");
}

static void a_certificate_makes_a_section_and_inherits(void **state)
{
	struct place *place = *state;

	start_with_embedder(place, "[namespace default]\nmode = calibrated\n");
	struct certificate own = certificate_of(place, "default"), usual = own;
	usual.bound = 0.05;
	assert_int_equal(set_certificate(place, "default", &usual), 1);
	assert_int_equal(set_certificate(place, "kb", &own), 1);
	assert_ptr_not_equal(space_of(place, "kb"), space_of(place, "default"));
	assert_float_equal(space_of(place, "kb")->certificate->bound, 0.02, 1e-12);
	assert_float_equal(space_of(place, "default")->certificate->bound, 0.05, 1e-12);
	assert_float_equal(space_of(place, "new")->certificate->bound, 0.05, 1e-12);
	assert_int_equal(set_certificate(place, "kb", NULL), 1);
	assert_float_equal(space_of(place, "kb")->certificate->bound, 0.05, 1e-12);
}

/* Those that nobody has any more make room, while others are in force. */
static void many_certificates_come_and_go(void **state)
{
	struct place *place = *state;
	char name[32];

	start_with_embedder(place, "[namespace default]\nmode = calibrated\n");
	const struct certificate certificate = certificate_of(place, "default");
	assert_int_equal(set_certificate(place, "default", &certificate), 1);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(set_certificate(place, name, &certificate), 1);
		if (i >= 20) {
			(void)snprintf(name, sizeof(name), "n%d", i - 20);
			assert_int_equal(set_certificate(place, name, NULL), 1);
		}
	}
	assert_string_equal(why_not(place, "n299"), "holds");
	assert_float_equal(space_of(place, "n1")->certificate->bound, 0.02, 1e-12);
}

static void what_is_no_certificate_is_refused(void **state)
{
	struct place *place = *state;
	const char *const texts[] = {"x", "score_threshold 0.9\n", "\xff\xfe"};

	start_with_embedder(place, "");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const struct settings_change change = {
			.namespace = SLICE("kb"), .has_certificate = true, .certificate = slice_of(texts[i])};
		assert_int_equal(settings_change(place->service.settings, &change, NULL, &place->changed, &place->fault),
				 ERROR_INVALID);
		assert_string_equal(place->fault.detail, "field=certificate");
	}
	assert_ptr_equal(space_of(place, "kb"), space_of(place, "default"));
}

int main(void)
{
#define SCENARIO(name) cmocka_unit_test_setup_teardown(name, place_make, place_remove)
#define CALIBRATED(name) cmocka_unit_test_setup_teardown(name, place_make, calibrated_remove)
	const struct CMUnitTest tests[] = {
		SCENARIO(a_setting_stands_above_the_file_until_it_is_taken_back),
		SCENARIO(the_file_is_not_read_again),
		SCENARIO(a_reload_keeps_it_and_takes_the_rest),
		SCENARIO(a_reload_that_does_not_fit_changes_nothing),
		SCENARIO(a_file_must_be_right_without_what_is_set),
		SCENARIO(a_changed_key_is_seen_above_settings),
		SCENARIO(what_cannot_be_is_refused_and_nothing_changes),
		SCENARIO(two_keys_that_only_fit_together_are_set_together),
		SCENARIO(a_namespace_without_a_section_gets_one),
		SCENARIO(no_more_namespaces_than_there_may_be),
		SCENARIO(a_guard_is_switched_off),
		SCENARIO(what_the_calibrated_rule_takes_from_where),
		CALIBRATED(a_certificate_is_in_force_and_taken_back),
		CALIBRATED(what_does_not_hold_leaves_the_threshold),
		CALIBRATED(a_withdrawn_certificate_holds_no_longer_anywhere),
		CALIBRATED(a_certificate_makes_a_section_and_inherits),
		CALIBRATED(many_certificates_come_and_go),
		CALIBRATED(what_is_no_certificate_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
