/* config: without `set`, `unset` and `certificate` it lists every value in force and where it comes from; with them it
 * changes run-time settings, which are in force here at once, and answers when Redis has them or they wait in the write
 * queue. */
#include "admin_private.h"

#include "conn.h"
#include "embedder.h"
#include "settings.h"
#include "store.h"

#include "../proto/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- listing ---- */

/* Maps need their counts first, so each section is gathered before it is appended. */
struct listing {
	const struct service *service;
	const char *only; /* NULL = all sections */
	struct buffer sections, section;
	char name[128];
	unsigned section_count, key_count;
};

static void list_text(struct listing *listing, const char *key, const char *value, const char *origin, unsigned more)
{
	msgpack_packer pack = pack_to(&listing->section);

	pack_key(&pack, key);
	msgpack_pack_map(&pack, 2 + more);
	pack_named_text(&pack, "value", slice_of(value));
	pack_named_text(&pack, "origin", slice_of(origin));
	listing->key_count++;
}

static void list_in_force(struct listing *listing, const struct certificate *certificate, const char *origin)
{
	msgpack_packer pack = pack_to(&listing->section);
	char value[160];

	(void)snprintf(value, sizeof(value), "at most %.3g %% false of hits, confidence %g %%, %llu of %llu were wrong",
		       certificate->bound * 100, certificate->confidence * 100, (unsigned long long)certificate->wrong,
		       (unsigned long long)certificate->labels);
	list_text(listing, "certificate", value, origin, 8);
	pack_named_float(&pack, "bound", certificate->bound);
	pack_named_float(&pack, "confidence", certificate->confidence);
	pack_named_uint(&pack, "labels", certificate->labels);
	pack_named_uint(&pack, "wrong", certificate->wrong);
	pack_named_uint(&pack, "created_ms", certificate->created_ms);
	pack_named_text(&pack, "source", slice_of(certificate->source));
}

/* What was calibrated for a namespace, as one more of its values; and what a certificate must name to hold there. */
static void list_certificate(struct listing *listing)
{
	static const char kind[] = "namespace ";
	const struct service *service = listing->service;
	const char *origin = service->store ? "redis" : "memory";
	msgpack_packer pack = pack_to(&listing->section);
	char value[96], rule[17] = "";
	const char *why;

	if (strncmp(listing->name, kind, sizeof(kind) - 1) != 0)
		return;
	struct slice name = slice_of(listing->name + sizeof(kind) - 1);
	const struct certificate *certificate = settings_certificate(service->settings, name, &why);
	if (certificate) {
		list_in_force(listing, certificate, origin);
	} else {
		(void)snprintf(value, sizeof(value), "none%s%s", why ? ": it no longer holds: " : "", why ? why : "");
		list_text(listing, "certificate", value, why ? origin : "default", 3);
		pack_named_text(&pack, "why", why ? slice_of(why) : SLICE("none was made"));
	}
	(void)settings_scope_rule(service->hasher, config_namespace(service->config, name), rule);
	pack_named_text(&pack, "embedder", slice_of(service->embedder ? embedder_name(service->embedder) : ""));
	pack_named_text(&pack, "scope_rule", slice_of(rule));
}

static void end_section(struct listing *listing)
{
	if (listing->key_count == 0)
		return;
	list_certificate(listing);
	msgpack_packer pack = pack_to(&listing->sections);
	pack_key(&pack, listing->name);
	msgpack_pack_map(&pack, listing->key_count);
	(void)buffer_append(&listing->sections, listing->section.data, listing->section.length);
	buffer_deinit(&listing->section);
	listing->section_count++;
	listing->key_count = 0;
}

static void list_value(void *data, const char *section, const char *key, const char *value, const char *origin)
{
	struct listing *listing = data;

	if (listing->only && strcmp(section, listing->only) != 0)
		return;
	if (strcmp(section, listing->name) != 0) {
		end_section(listing);
		(void)snprintf(listing->name, sizeof(listing->name), "%s", section);
	}
	/* Without Redis it is kept here until the end. */
	bool is_kept_here = strcmp(origin, "redis") == 0 && !listing->service->store;
	list_text(listing, key, value, is_kept_here ? "memory" : origin, 0);
}

/* A namespace without a section acts as "default" does. */
static void say_config(const struct service *service, const struct request *request, struct buffer *out)
{
	struct listing listing = {.service = service};
	msgpack_packer pack = pack_to(out);
	char only[128];

	if (request->has_namespace) {
		(void)snprintf(only, sizeof(only), "namespace %s",
			       config_namespace(service->config, request->namespace)->name);
		listing.only = only;
	}
	buffer_init(&listing.sections, out->max);
	buffer_init(&listing.section, out->max);
	config_walk(service->config, list_value, &listing);
	end_section(&listing);
	msgpack_pack_map(&pack, listing.section_count);
	(void)buffer_append(out, listing.sections.data, listing.sections.length);
	buffer_deinit(&listing.sections);
	buffer_deinit(&listing.section);
}

/* ---- what is to be changed ---- */

#define NUMBER_BYTES 32

struct wanted {
	struct settings_item items[CONFIG_OVERRIDE_KEYS];
	char numbers[CONFIG_OVERRIDE_KEYS][NUMBER_BYTES];
	size_t count;
	struct slice certificate; /* absent = it is left alone */
};

static int invalid(struct fault *fault, const char *field, const char *text)
{
	char detail[32];

	(void)snprintf(detail, sizeof(detail), "field=%s", field);
	return fault_set(fault, ERROR_INVALID, detail, "%s", text);
}

/* A value is a text as in the file, or a number. */
static int read_setting(struct wanted *wanted, const struct reader_value *value, struct slice *out, struct fault *fault)
{
	char *number = wanted->numbers[wanted->count];

	switch (value->type) {
	case READER_TEXT:
		*out = value->text;
		return 0;
	case READER_UINT:
		(void)snprintf(number, NUMBER_BYTES, "%llu", (unsigned long long)value->uint);
		break;
	case READER_INT:
		(void)snprintf(number, NUMBER_BYTES, "%lld", (long long)value->integer);
		break;
	case READER_FLOAT:
		(void)snprintf(number, NUMBER_BYTES, "%.15g", value->number);
		break;
	default:
		return invalid(fault, "set", "a value must be a text as in the file, or a number");
	}
	*out = slice_of(number);
	return 0;
}

/* The certificate may stand among the settings, under that name. */
static int add_item(struct wanted *wanted, struct slice key, struct slice value, struct fault *fault)
{
	if (slice_equal(key, SLICE("certificate"))) {
		if (wanted->certificate.data)
			return invalid(fault, "certificate", "may be set or unset once");
		wanted->certificate = value.data ? value : SLICE("");
		return 0;
	}
	for (size_t i = 0; i < wanted->count; i++)
		if (slice_equal(wanted->items[i].key, key))
			return invalid(fault, "set", "a key may be set or unset once");
	wanted->items[wanted->count++] = (struct settings_item){.key = key, .value = value};
	return 0;
}

/* Reads `set` (pairs) or `unset` (keys alone). */
static int read_items(struct wanted *wanted, struct slice raw, bool is_set, struct fault *fault)
{
	const char *field = is_set ? "set" : "unset";
	struct reader reader = reader_of(raw);
	struct reader_value list, key, value;

	if (!raw.data)
		return 0;
	if (reader_next(&reader, &list) != 0)
		return invalid(fault, field, "ends too early");
	for (size_t i = 0; i < list.count; i++) {
		struct slice text = {NULL, 0};
		int error = 0;
		if (wanted->count == CONFIG_OVERRIDE_KEYS)
			return invalid(fault, field, "there are not so many run-time settings");
		if (reader_next(&reader, &key) != 0 || key.type != READER_TEXT)
			return invalid(fault, field, "a key must be a text");
		if (is_set && reader_next(&reader, &value) != 0)
			return invalid(fault, field, "ends too early");
		if (is_set)
			error = read_setting(wanted, &value, &text, fault);
		if (!error)
			error = add_item(wanted, key.text, text, fault);
		if (error)
			return error;
	}
	return 0;
}

/* ---- changing ---- */

struct changing {
	struct call *call;
	struct service *service;
	struct store_write write;
	struct buffer changed;
};

static void changing_free(struct changing *changing)
{
	store_write_cancel(&changing->write);
	buffer_deinit(&changing->changed);
	free(changing);
}

/* The caller is gone; what it set stays set. */
static void changing_cancel(void *work)
{
	changing_free(work);
}

static void changing_finish(struct changing *changing, const char *stored)
{
	struct call *call = changing->call;
	struct buffer out;

	buffer_init(&out, ADMIN_RESULT_MOST);
	msgpack_packer pack = pack_to(&out);
	msgpack_pack_map(&pack, 2);
	pack_key(&pack, "changed");
	admin_lines(&pack, buffer_slice(&changing->changed));
	pack_named_text(&pack, "stored", slice_of(stored));
	changing_free(changing);
	admin_finish(call, &out);
}

/* What Redis refused holds here until the end all the same: whoever set it is told. */
static void redis_done(struct store_write *write, int error)
{
	struct changing *changing = write->data;

	changing_finish(changing, !error ? "redis" : error == ERROR_PENDING ? "queued" : "memory");
}

/* Who set what. Values of settings are no secrets; a long one is cut. */
static void log_change(const struct call *call, const struct settings_change *change, const struct buffer *changed)
{
	const struct service *service = call->calls->service;
	const char *certificate = !change->has_certificate ? "-" : change->certificate.length ? "set" : "withdrawn";
	char items[400] = "", text[200];
	size_t used = 0;

	for (size_t i = 0; i < change->count && used < sizeof(items); i++) {
		const struct settings_item *item = &change->items[i];
		int length = snprintf(items + used, sizeof(items) - used, "%s%.*s%s%.*s", i ? "; " : "",
				      (int)item->key.length, item->key.data, item->value.data ? " = " : " unset",
				      (int)(item->value.length < 100 ? item->value.length : 100),
				      item->value.data ? item->value.data : "");
		used += length > 0 ? (size_t)length : 0;
	}
	(void)snprintf(text, sizeof(text), "%.*s", (int)changed->length, changed->length ? changed->data : "");
	log_write(&service->log, LOG_LEVEL_INFO,
		  "settings_changed request=%llu uid=%u namespace=%.*s set=\"%s\" certificate=%s changed=\"%s\"",
		  (unsigned long long)call->number, conn_uid(call->calls->conn), (int)change->namespace.length,
		  change->namespace.data, log_quotable(items, sizeof(items), items), certificate,
		  log_quotable(text, sizeof(text), text));
}

static int change_settings(struct call *call, const struct request *request, struct fault *fault)
{
	struct service *service = call->calls->service;
	struct wanted wanted = {.certificate = request->certificate};
	int error = read_items(&wanted, request->set, true, fault);

	if (!error)
		error = read_items(&wanted, request->unset, false, fault);
	if (error)
		return error;
	struct changing *changing = calloc(1, sizeof(*changing));
	if (!changing)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	const struct settings_change change = {
		.namespace = request->namespace,
		.items = wanted.items,
		.count = wanted.count,
		.has_certificate = wanted.certificate.data != NULL,
		.certificate = wanted.certificate,
	};
	changing->call = call;
	changing->service = service;
	changing->write = (struct store_write){.done = redis_done, .data = changing};
	buffer_init(&changing->changed, 1u << 20);
	error = settings_change(service->settings, &change, &changing->write, &changing->changed, fault);
	if (error < 0) {
		changing_free(changing);
		return error;
	}
	call->work = changing;
	call->cancel = changing_cancel;
	log_change(call, &change, &changing->changed);
	if (error == 1)
		changing_finish(changing, "memory");
	return 0;
}

int admin_config(struct call *call, const struct request *request, struct fault *fault)
{
	struct buffer out;

	if (request->set.data || request->unset.data || request->certificate.data)
		return change_settings(call, request, fault);
	buffer_init(&out, ADMIN_RESULT_MOST);
	say_config(call->calls->service, request, &out);
	admin_finish(call, &out);
	return 0;
}
