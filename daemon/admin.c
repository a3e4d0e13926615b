#include "admin_private.h"

#include "deadline.h"

#include "../proto/limits.h"

#include <string.h>

void admin_finish(struct call *call, struct buffer *out)
{
	/* The packer drops what does not fit, so a buffer that is nearly full may have lost something. */
	if (out->length + 4096 > out->max) {
		struct fault fault;
		(void)fault_set(&fault, ERROR_TOO_LARGE, "", "the result is larger than %u bytes: ask for less",
				ADMIN_RESULT_MOST);
		call_fail(call, &fault);
	} else {
		call_finish(call, buffer_slice(out));
	}
	buffer_deinit(out);
}

static void say_hello(const struct service *service, struct buffer *out)
{
	msgpack_packer pack = pack_to(out);
	static const struct {
		const char *name;
		uint64_t value;
	} limits[] = {
#define X(name, value, text) {#name, value},
		LIMIT_TABLE(X)
#undef X
	};
	size_t count = sizeof(limits) / sizeof(limits[0]);

	msgpack_pack_map(&pack, 4);
	pack_named_text(&pack, "server", SLICE("semcached"));
	pack_named_text(&pack, "version", SLICE(SEMCACHE_VERSION));
	pack_key(&pack, "limits");
	msgpack_pack_map(&pack, count + 3);
	for (size_t i = 0; i < count; i++) {
		char name[32];
		size_t length = strlen(limits[i].name);
		for (size_t k = 0; k <= length; k++)
			name[k] = limits[i].name[k] >= 'A' && limits[i].name[k] <= 'Z' ? (char)(limits[i].name[k] | 0x20)
										       : limits[i].name[k];
		pack_named_uint(&pack, name, limits[i].value);
	}
	pack_named_uint(&pack, "id", LIMIT_ID);
	pack_named_uint(&pack, "message_bytes", service->config->server.max_message_bytes);
	pack_named_uint(&pack, "in_flight", service->config->server.max_in_flight_per_connection);
	pack_key(&pack, "methods");
	msgpack_pack_array(&pack, METHOD_COUNT);
	for (int i = 0; i < METHOD_COUNT; i++)
		pack_key(&pack, method_name((enum method)i));
}

/* ---- health ---- */

static void say_part(msgpack_packer *pack, const struct part *part, uint64_t now_ms)
{
	msgpack_pack_map(pack, 4);
	pack_named_text(pack, "part", slice_of(part->name));
	pack_named_text(pack, "state", part_up(part) ? SLICE("up") : SLICE("down"));
	pack_named_uint(pack, "since", (now_ms - part->since_ms) / 1000);
	pack_named_text(pack, "error", part_up(part) ? (struct slice){0} : slice_of(part->error));
}

/* 2 = no new question can be answered, 1 = something is off. */
static unsigned health_status(const struct service *service, size_t upstreams_down, bool is_part_down)
{
	if (upstreams_down == service->config->upstream_count)
		return 2;
	return is_part_down || service->draining ? 1 : 0;
}

static void say_health(const struct service *service, struct buffer *out)
{
	static const char *const states[] = {"ok", "degraded", "down"};
	const struct part *parts[CONFIG_UPSTREAMS + 3];
	msgpack_packer pack = pack_to(out);
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	size_t count = 0, upstreams_down = 0;
	bool is_part_down = false;

	if (service->redis_part.configured)
		parts[count++] = &service->redis_part;
	if (service->embedder_part.configured)
		parts[count++] = &service->embedder_part;
	if (service->second_part.configured)
		parts[count++] = &service->second_part;
	for (size_t i = 0; i < service->config->upstream_count; i++) {
		parts[count++] = &service->upstream_parts[i];
		if (!part_up(&service->upstream_parts[i]))
			upstreams_down++;
	}
	for (size_t i = 0; i < count; i++)
		is_part_down = is_part_down || !part_up(parts[i]);
	unsigned status = health_status(service, upstreams_down, is_part_down);
	msgpack_pack_map(&pack, 4);
	pack_named_uint(&pack, "status", status);
	pack_named_text(&pack, "state", slice_of(states[status]));
	pack_named_bool(&pack, "draining", service->draining);
	pack_key(&pack, "parts");
	msgpack_pack_array(&pack, count);
	for (size_t i = 0; i < count; i++)
		say_part(&pack, parts[i], now_ms);
}

/* ---- reload ---- */

void admin_lines(msgpack_packer *pack, struct slice lines)
{
	size_t count = 0;

	for (size_t i = 0; i < lines.length; i++)
		count += lines.data[i] == '\n';
	msgpack_pack_array(pack, count);
	while (count-- > 0) {
		size_t length = (size_t)((const char *)memchr(lines.data, '\n', lines.length) - lines.data);
		pack_text(pack, (struct slice){lines.data, length});
		lines.data += length + 1;
		lines.length -= length + 1;
	}
}

static int say_reload(struct service *service, struct buffer *out, struct fault *fault)
{
	struct buffer changed, needs_restart;
	msgpack_packer pack = pack_to(out);

	buffer_init(&changed, 1u << 20);
	buffer_init(&needs_restart, 1u << 20);
	int error = service->reload(service, &changed, &needs_restart, fault);
	if (!error) {
		msgpack_pack_map(&pack, 2);
		pack_key(&pack, "changed");
		admin_lines(&pack, buffer_slice(&changed));
		pack_key(&pack, "needs_restart");
		admin_lines(&pack, buffer_slice(&needs_restart));
	}
	buffer_deinit(&changed);
	buffer_deinit(&needs_restart);
	return error;
}

static int say_nothing(struct buffer *out)
{
	return buffer_append(out, "\x80", 1);
}

int admin_handle(struct call *call, const struct request *request, struct fault *fault)
{
	struct service *service = call->calls->service;
	struct buffer out;
	int error = 0;

	buffer_init(&out, ADMIN_RESULT_MOST);
	switch (request->method) {
	case METHOD_show:
		return admin_show(call, request, fault);
	case METHOD_list:
		return admin_list(call, request, fault);
	case METHOD_feedback:
		return admin_feedback(call, request, fault);
	case METHOD_explain:
		return admin_explain_request(call, request, fault);
	case METHOD_watch:
		return admin_watch(call, request, fault);
	case METHOD_invalidate:
		return admin_invalidate(call, request, fault);
	case METHOD_flush:
		return admin_flush(call, request, fault);
	case METHOD_config:
		return admin_config(call, request, fault);
	case METHOD_hello:
		say_hello(service, &out);
		break;
	case METHOD_ping:
		error = say_nothing(&out);
		break;
	case METHOD_stats:
		admin_stats(service, &out);
		break;
	case METHOD_health:
		say_health(service, &out);
		break;
	case METHOD_reload:
		error = say_reload(service, &out, fault);
		break;
	case METHOD_drain:
		error = say_nothing(&out);
		break;
	default:
		error = fault_set(fault, ERROR_INTERNAL, "", "%s has no handler", method_name(request->method));
		break;
	}
	if (error) {
		buffer_deinit(&out);
		return error;
	}
	enum method method = request->method;
	admin_finish(call, &out);
	/* After the response, which the drain then waits for to be written. */
	if (method == METHOD_drain)
		service->drain(service);
	return 0;
}
