/* A request is looked through, not parsed: the daemon writes it, and the benches measure the daemon. */
#include "upstream_reply.h"

#include "../../proto/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define EVENT_MOST 16384
#define EVENT_START                                                                                                         \
	"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\","     \
	"\"choices\":["

/* One event as one chunk of the body. */
static int append_event(struct buffer *out, const char *event, size_t length)
{
	int error = buffer_printf(out, "%zx\r\n", length);

	if (!error)
		error = buffer_append(out, event, length);
	return error ? error : buffer_append(out, "\r\n", 2);
}

#define APPEND_EVENT(out, text) append_event(out, text, sizeof(text) - 1)

int reply_chat_head(struct buffer *out)
{
	int error = buffer_printf(
		out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");

	if (error)
		return error;
	return APPEND_EVENT(out, EVENT_START "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
					     "\"finish_reason\":null}]}\n\n");
}

int reply_chat_token(struct buffer *out, const struct stamp *stamp, size_t bytes)
{
	static const char start[] = EVENT_START "{\"index\":0,\"delta\":{\"content\":\"";
	static const char end[] = "\"},\"finish_reason\":null}]}\n\n";
	char event[EVENT_MOST];
	size_t length = sizeof(start) - 1, stamped = 0;

	if (bytes > sizeof(event) - sizeof(start) - sizeof(end) - 80)
		return ERROR_TOO_LARGE;
	memcpy(event, start, length);
	if (stamp)
		stamped = (size_t)snprintf(event + length, 80, "@%" PRIu64 ",%" PRIu64 ",%" PRIu64 ";", stamp->received_ns,
					   stamp->embedding_ns, stamp->written_ns);
	if (bytes > stamped)
		memset(event + length + stamped, 'x', bytes - stamped);
	length += bytes > stamped ? bytes : stamped;
	memcpy(event + length, end, sizeof(end) - 1);
	return append_event(out, event, length + sizeof(end) - 1);
}

int reply_chat_end(struct buffer *out)
{
	int error = APPEND_EVENT(out, EVENT_START "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");

	if (!error)
		error = APPEND_EVENT(out, EVENT_START "],\"usage\":{\"prompt_tokens\":60,\"completion_tokens\":250,"
						      "\"total_tokens\":310}}\n\n");
	if (!error)
		error = APPEND_EVENT(out, "data: [DONE]\n\n");
	return error ? error : buffer_append(out, "0\r\n\r\n", 5);
}

/* ---- embeddings ---- */

static void vector_of(struct slice text, float vector[UPSTREAM_DIMENSIONS])
{
	uint64_t state = UINT64_C(0xcbf29ce484222325);
	double sum = 0;

	for (size_t i = 0; i < text.length; i++)
		state = (state ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001b3);
	state |= 1;
	for (size_t i = 0; i < UPSTREAM_DIMENSIONS; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		vector[i] = (float)((double)(int64_t)state / 9223372036854775808.0);
		sum += (double)vector[i] * (double)vector[i];
	}
	for (size_t i = 0; i < UPSTREAM_DIMENSIONS; i++)
		vector[i] = (float)((double)vector[i] / sqrt(sum));
}

/* Room for `length` bytes in base64. */
#define BASE64_ROOM(length) (((length) + 2) / 3 * 4)

static size_t base64_write(char *out, const unsigned char *bytes, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *at = out;

	for (size_t i = 0; i < length; i += 3) {
		size_t left = length - i;
		unsigned three = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
				 (left > 2 ? (unsigned)bytes[i + 2] : 0);
		*at++ = digits[three >> 18];
		*at++ = digits[three >> 12 & 63];
		*at++ = left > 1 ? digits[three >> 6 & 63] : '=';
		*at++ = left > 2 ? digits[three & 63] : '=';
	}
	return (size_t)(at - out);
}

/* Cuts the next text off a JSON array of texts. Returns whether there was one. */
static bool text_next(struct slice *rest, struct slice *text)
{
	const char *end = rest->data + rest->length;
	const char *at = rest->data;

	while (at < end && *at != '"' && *at != ']')
		at++;
	if (at >= end || *at == ']')
		return false;
	const char *start = ++at;
	while (at < end && *at != '"')
		at += *at == '\\' && at + 1 < end ? 2 : 1;
	*text = (struct slice){start, (size_t)(at - start)};
	rest->length = at < end ? (size_t)(end - at - 1) : 0;
	rest->data = at < end ? at + 1 : end;
	return true;
}

int reply_embeddings(struct buffer *out, struct slice body, uint64_t *texts)
{
	static const char key[] = "\"input\":";
	const char *input = body.data ? memmem(body.data, body.length, key, sizeof(key) - 1) : NULL;
	float vector[UPSTREAM_DIMENSIONS];
	char text64[BASE64_ROOM(sizeof(vector))];
	struct slice rest, text;
	char length_text[16];
	uint64_t count = 0;

	if (!input)
		return buffer_printf(out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
	rest = (struct slice){input + sizeof(key) - 1, body.length - (size_t)(input + sizeof(key) - 1 - body.data)};
	/* The length is filled in when it is known. */
	int error = buffer_printf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ");
	size_t place = out->length;
	if (!error)
		error = buffer_printf(out, "0000000000\r\n\r\n");
	size_t start = out->length;
	if (!error)
		error = buffer_printf(out, "{\"object\":\"list\",\"data\":[");
	while (!error && text_next(&rest, &text)) {
		vector_of(text, vector);
		size_t length = base64_write(text64, (const unsigned char *)vector, sizeof(vector));
		error = buffer_printf(out, "%s{\"object\":\"embedding\",\"index\":%" PRIu64 ",\"embedding\":\"",
				      count ? "," : "", count);
		if (!error)
			error = buffer_append(out, text64, length);
		if (!error)
			error = buffer_append(out, "\"}", 2);
		count++;
	}
	if (!error)
		error = buffer_printf(out, "],\"model\":\"bench\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}");
	if (error)
		return error;
	(void)snprintf(length_text, sizeof(length_text), "%010zu", out->length - start);
	memcpy(out->data + place, length_text, 10);
	*texts = count;
	return 0;
}
