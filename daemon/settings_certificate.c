/* Which certificates hold. A namespace has its own, or else that of "default"; one that does not hold under the
 * namespace's guards, this embedder or by what its hits showed leaves the namespace in mode threshold. */
#include "settings_private.h"

#include "embedder.h"
#include "recall.h"

#include "../proto/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rule by which scopes are made: the first value that an identity is made of. */
#define SCOPES "semcache-identity-1"
/* What a withdrawal adds to the text of a certificate. */
#define WITHDRAWN "\nwithdrawn "

/* ---- one certificate ---- */

int settings_check_certificate(struct slice text, struct fault *fault)
{
	struct certificate certificate;
	bool nul;

	if (text.length > SETTINGS_CERTIFICATE_BYTES || !slice_is_utf8(text, &nul) || nul ||
	    certificate_read(text, &certificate) != 0)
		return fault_set(fault, ERROR_INVALID, "field=certificate",
				 "must be a certificate as calibrate writes it, of at most %d bytes",
				 SETTINGS_CERTIFICATE_BYTES);
	return 0;
}

int settings_put_certificate(struct settings *settings, struct settings_space *space, struct slice text)
{
	struct config *config = settings->service->config;
	int error = settings_put(&space->text, text);
	struct certificate certificate;

	if (error)
		return error;
	for (size_t i = 0; i < config->namespace_count; i++)
		if (config->namespaces[i].certificate == &space->certificate)
			config->namespaces[i].certificate = NULL;
	space->is_other = false;
	space->is_told = false;
	space->is_certificate = text.data && certificate_read(text, &certificate) == 0;
	if (space->is_certificate)
		space->certificate = certificate;
	return 0;
}

int settings_scope_rule(struct hasher *hasher, const struct config_namespace *space, char out[17])
{
	char guards[16], hex[IDENTITY_HEX];
	struct identity digest;

	(void)snprintf(guards, sizeof(guards), "%08x", (unsigned)space->guards.on);
	const struct slice parts[] = {SLICE(SCOPES), slice_of(guards), slice_of(guard_words_text(space->opposites))};
	int error = identity_digest(hasher, parts, sizeof(parts) / sizeof(parts[0]), &digest);
	if (error)
		return error;
	identity_hex(&digest, hex);
	memcpy(out, hex, 16);
	out[16] = '\0';
	return 0;
}

/* One that was made without second opinions holds without them, whether they are to be had or not. */
static const char *second_of(const struct settings *settings, const struct settings_space *holder,
			     const struct config_namespace *space)
{
	const struct embedder *second = settings->service->second;

	return second && space->second_opinion && holder->certificate.calibration.weight > 0 ? embedder_name(second) : "";
}

/* Writes into `why` what is against the certificate of `holder` in `space`; "" = it holds. */
static void find_misfit(const struct settings *settings, const struct settings_space *holder,
			const struct config_namespace *space, char *why, size_t size)
{
	const char *withdrawn = holder->text ? strstr(holder->text, WITHDRAWN) : NULL;
	const char *embedder = settings->service->embedder ? embedder_name(settings->service->embedder) : "";
	const char *misfit = NULL;
	char rule[17];

	why[0] = '\0';
	if (holder->is_other) {
		(void)snprintf(why, size, "embedder");
	} else if (!holder->is_certificate) {
		(void)snprintf(why, size, "unreadable");
	} else if (withdrawn) {
		withdrawn += strlen(WITHDRAWN);
		(void)snprintf(why, size, "%.*s", (int)strcspn(withdrawn, "\n"), withdrawn);
		(void)log_quotable(why, size, why);
	} else if (settings_scope_rule(settings->service->hasher, space, rule) != 0) {
		(void)snprintf(why, size, "memory");
	} else {
		misfit = certificate_misfit(&holder->certificate, embedder, second_of(settings, holder, space), rule);
	}
	if (misfit)
		(void)snprintf(why, size, "%s", misfit);
}

/* ---- all of them ---- */

static bool has_certificate(const struct settings_space *space)
{
	return space && (space->text || space->is_other);
}

static void tell(struct settings *settings, struct settings_space *space, const char *why)
{
	const struct certificate *certificate = &space->certificate;

	if (space->is_told && strcmp(space->why, why) == 0)
		return;
	space->is_told = true;
	(void)snprintf(space->why, sizeof(space->why), "%s", why);
	if (why[0]) {
		settings->service->metrics.certificates_misfit++;
		log_write(&settings->service->log, LOG_LEVEL_WARNING, "certificate_misfit namespace=%s why=\"%s\"",
			  space->name, why);
		return;
	}
	log_write(&settings->service->log, LOG_LEVEL_INFO,
		  "certificate_in_force namespace=%s bound=%g confidence=%g labels=%llu wrong=%llu created_ms=%llu",
		  space->name, certificate->bound, certificate->confidence, (unsigned long long)certificate->labels,
		  (unsigned long long)certificate->wrong, (unsigned long long)certificate->created_ms);
}

/* Without an embedder nothing is compared by meaning, and no certificate is missed. */
void settings_certify(struct settings *settings)
{
	struct config *config = settings->service->config;
	struct settings_space *usual = settings_find(settings, SLICE("default"));
	char why[sizeof(usual->why)];

	for (size_t i = 0; i < config->namespace_count; i++) {
		struct config_namespace *space = &config->namespaces[i];
		struct settings_space *own = settings_find(settings, slice_of(space->name));
		struct settings_space *holder = has_certificate(own) ? own : has_certificate(usual) ? usual : NULL;
		space->certificate = NULL;
		space->is_uncertified = false;
		if (!holder || !settings->service->embedder)
			continue;
		find_misfit(settings, holder, space, why, sizeof(why));
		space->is_uncertified = why[0] != '\0';
		if (!space->is_uncertified)
			space->certificate = &holder->certificate;
		if (holder == own)
			tell(settings, own, why);
	}
}

const struct certificate *settings_certificate(const struct settings *settings, struct slice namespace, const char **why)
{
	const struct config_namespace *space = config_namespace(settings->service->config, namespace);
	const struct settings_space *holder = settings_find(settings, slice_of(space->name));

	if (!has_certificate(holder))
		holder = settings_find(settings, SLICE("default"));
	*why = NULL;
	if (space->is_uncertified && has_certificate(holder))
		*why = holder->why[0] ? holder->why : "guards";
	return space->certificate;
}

/* ---- withdrawing ---- */

/* Adds the reason to the text, in Redis too, so that it holds no longer after a restart either. */
static int mark_withdrawn(struct settings *settings, struct settings_space *space, const char *why)
{
	struct buffer text;

	buffer_init(&text, STORE_SETTINGS_BYTES);
	int error = buffer_printf(&text, "%s" WITHDRAWN "%.32s\n", space->text, why);
	if (!error && settings->service->store) {
		const struct store_settings_change change = {.has_certificate = true, .certificate = buffer_slice(&text)};
		error = store_settings_write(settings->service->store, NULL, slice_of(space->name), &change);
		if (!error)
			settings_expect_own(settings, space);
	}
	if (!error)
		error = settings_put_certificate(settings, space, buffer_slice(&text));
	buffer_deinit(&text);
	return error;
}

void settings_withdraw_certificate(struct settings *settings, struct slice namespace, const char *why)
{
	struct service *service = settings->service;
	const struct config_namespace *space = config_namespace(service->config, namespace);
	struct settings_space *holder = settings_find(settings, slice_of(space->name));

	if (!has_certificate(holder))
		holder = settings_find(settings, SLICE("default"));
	if (!space->certificate || !holder)
		return;
	int error = mark_withdrawn(settings, holder, why);
	if (error) {
		log_write(&service->log, LOG_LEVEL_ERROR, "settings_failed error=\"%s\"", error_text(error));
		return;
	}
	service->metrics.certificates_withdrawn++;
	settings_certify(settings);
	recall_clear(service->recall);
}
