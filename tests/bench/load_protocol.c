/* Requests are made once and copied; replies are looked at no closer than needed to find their end and whether they are
 * good, so that the load generator costs about the same for each protocol, and less than any server. */
#include "load_protocol.h"

#include "../../proto/error.h"
#include "../../proto/reader.h"

#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_MOST (16u << 20)

/* ---- requests ---- */

static void put_text(msgpack_packer *pack, const char *text)
{
	size_t length = strlen(text);

	(void)msgpack_pack_str(pack, length);
	(void)msgpack_pack_str_body(pack, text, length);
}

static void put_message(msgpack_packer *pack, const char *role, const char *content)
{
	(void)msgpack_pack_map(pack, 2);
	put_text(pack, "role");
	put_text(pack, role);
	put_text(pack, "content");
	put_text(pack, content);
}

static void put_parameters(msgpack_packer *pack)
{
	(void)msgpack_pack_map(pack, 4);
	put_text(pack, "temperature");
	(void)msgpack_pack_double(pack, 0.2);
	put_text(pack, "top_p");
	(void)msgpack_pack_double(pack, 0.9);
	put_text(pack, "max_tokens");
	(void)msgpack_pack_uint64(pack, 512);
	put_text(pack, "seed");
	(void)msgpack_pack_uint64(pack, 7);
}

static void make_question(struct protocol *protocol, bool stream)
{
	msgpack_packer pack;

	msgpack_packer_init(&pack, &protocol->request, buffer_write_msgpack);
	(void)msgpack_pack_array(&pack, 4);
	(void)msgpack_pack_uint64(&pack, 0);
	protocol->id_place = protocol->request.length;
	(void)msgpack_pack_fix_uint32(&pack, 0);
	put_text(&pack, "get_or_generate");
	(void)msgpack_pack_array(&pack, 1);
	(void)msgpack_pack_map(&pack, stream ? 4 : 3);
	put_text(&pack, "model");
	put_text(&pack, "bench");
	put_text(&pack, "messages");
	(void)msgpack_pack_array(&pack, 3);
	put_message(&pack, "system",
		    "You are the support assistant of a bank. Answer briefly and name the page to look at.");
	put_message(&pack, "assistant", "Good morning! What can I help you with?");
	put_message(&pack, "user", "How do I change the standing order with number 000000 so that it ends in June?");
	put_text(&pack, "parameters");
	put_parameters(&pack);
	if (!stream)
		return;
	put_text(&pack, "stream");
	(void)msgpack_pack_true(&pack);
}

static int make_redis(struct buffer *request, size_t set_bytes)
{
	if (set_bytes == 0)
		return buffer_printf(request, "*2\r\n$3\r\nGET\r\n$10\r\nkey:000000\r\n");
	int error = buffer_printf(request, "*3\r\n$3\r\nSET\r\n$10\r\nkey:000000\r\n$%zu\r\n", set_bytes);
	for (size_t i = 0; i < set_bytes && !error; i++)
		error = buffer_append(request, "x", 1);
	return error ? error : buffer_append(request, "\r\n", 2);
}

static int make_memcached(struct buffer *request, size_t set_bytes)
{
	if (set_bytes == 0)
		return buffer_printf(request, "get key:000000\r\n");
	int error = buffer_printf(request, "set key:000000 0 0 %zu\r\n", set_bytes);
	for (size_t i = 0; i < set_bytes && !error; i++)
		error = buffer_append(request, "x", 1);
	return error ? error : buffer_append(request, "\r\n", 2);
}

int protocol_init(struct protocol *protocol, enum protocol_kind kind, size_t set_bytes, bool stream)
{
	int error = 0;

	*protocol = (struct protocol){.kind = kind};
	buffer_init(&protocol->request, MESSAGE_MOST);
	if (kind == PROTOCOL_SEMCACHE)
		make_question(protocol, stream);
	else if (kind == PROTOCOL_REDIS)
		error = make_redis(&protocol->request, set_bytes);
	else
		error = make_memcached(&protocol->request, set_bytes);
	const char *place = error || !protocol->request.length
				    ? NULL
				    : memmem(protocol->request.data, protocol->request.length, "000000", KEY_DIGITS);
	if (!place) {
		protocol_deinit(protocol);
		return error ? error : ERROR_MEMORY;
	}
	protocol->key_place = (size_t)(place - protocol->request.data);
	return 0;
}

void protocol_deinit(struct protocol *protocol)
{
	buffer_deinit(&protocol->request);
}

int protocol_append(const struct protocol *protocol, struct buffer *out, uint32_t key, uint32_t id)
{
	int error = buffer_append(out, protocol->request.data, protocol->request.length);

	if (error)
		return error;
	char *request = out->data + out->length - protocol->request.length;
	for (size_t i = KEY_DIGITS; i-- > 0; key /= 10)
		request[protocol->key_place + i] = (char)('0' + key % 10);
	if (protocol->kind != PROTOCOL_SEMCACHE)
		return 0;
	for (size_t i = 0; i < 4; i++)
		request[protocol->id_place + 1 + i] = (char)(id >> (24 - 8 * i));
	return 0;
}

/* ---- replies ---- */

/* [1, id, error, result], or [2, "chunk", [id, seq, text]]. */
static int understand(struct slice message, struct reply *reply)
{
	struct reader reader = reader_of(message);
	struct reader_value array, kind, value;

	if (reader_next(&reader, &array) || array.type != READER_ARRAY || reader_next(&reader, &kind) ||
	    kind.type != READER_UINT || reader_next(&reader, &value) || reader_next(&reader, &value))
		return ERROR_PROTOCOL;
	if (kind.uint == 1) {
		reply->is_final = true;
		reply->is_good = value.type == READER_NIL;
		reply->text = value.text;
		return 0;
	}
	if (kind.uint != 2 || value.type != READER_ARRAY || value.count != 3 || reader_next(&reader, &value) ||
	    reader_next(&reader, &value) || reader_next(&reader, &value) || value.type != READER_TEXT)
		return ERROR_PROTOCOL;
	reply->is_good = true;
	reply->text = value.text;
	return 0;
}

static int read_semcache(struct scanner *scanner, struct slice bytes, struct reply *reply)
{
	int error = scanner_scan(scanner, bytes.data, bytes.length, &reply->length);

	if (error)
		return error == ERROR_PENDING ? ERROR_PENDING : ERROR_PROTOCOL;
	return understand((struct slice){bytes.data, reply->length}, reply);
}

/* The first line of `bytes` with its end, or nothing. */
static struct slice line_of(struct slice bytes)
{
	const char *end = bytes.length ? memchr(bytes.data, '\n', bytes.length) : NULL;

	return end ? (struct slice){bytes.data, (size_t)(end - bytes.data) + 1} : (struct slice){NULL, 0};
}

static bool line_is(struct slice line, const char *start)
{
	return line.length >= strlen(start) && memcmp(line.data, start, strlen(start)) == 0;
}

static int read_redis(struct slice bytes, struct reply *reply)
{
	struct slice line = line_of(bytes);

	if (!line.data)
		return ERROR_PENDING;
	reply->is_final = true;
	reply->is_good = line_is(line, "$") || line_is(line, "+OK");
	reply->text = line;
	reply->length = line.length;
	if (line.data[0] != '$')
		return 0;
	long length = strtol(line.data + 1, NULL, 10);
	if (length < 0)
		reply->is_good = false;
	else
		reply->length += (size_t)length + 2;
	return bytes.length < reply->length ? ERROR_PENDING : 0;
}

/* `VALUE KEY FLAGS BYTES`, the bytes, `END`. */
static int read_memcached(struct slice bytes, struct reply *reply)
{
	struct slice line = line_of(bytes);

	if (!line.data)
		return ERROR_PENDING;
	reply->is_final = true;
	reply->is_good = line_is(line, "VALUE ") || line_is(line, "STORED");
	reply->text = line;
	reply->length = line.length;
	if (!line_is(line, "VALUE "))
		return 0;
	const char *space = memrchr(line.data, ' ', line.length);
	reply->length += strtoul(space + 1, NULL, 10) + sizeof("\r\nEND\r\n") - 1;
	return bytes.length < reply->length ? ERROR_PENDING : 0;
}

int protocol_read(const struct protocol *protocol, struct scanner *scanner, struct slice bytes, struct reply *reply)
{
	*reply = (struct reply){0};
	switch (protocol->kind) {
	case PROTOCOL_SEMCACHE:
		return read_semcache(scanner, bytes, reply);
	case PROTOCOL_REDIS:
		return read_redis(bytes, reply);
	case PROTOCOL_MEMCACHED:
		return read_memcached(bytes, reply);
	}
	return ERROR_PROTOCOL;
}
