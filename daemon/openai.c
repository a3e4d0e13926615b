/* A chat request is one JSON object: the model, the messages, that it be streamed with its usage, and the caller's
 * parameters. A stream is events of {choices: [{delta: {content}, finish_reason}]}, a last one with the usage and no
 * choices, and [DONE].
 *
 * What can go wrong: an error object instead of choices, in the stream or instead of it; bytes that are no JSON or JSON of
 * another shape, which is a fault of the service. */
#include "openai.h"

#include "../proto/limits.h"
#include "../proto/reader.h"
#include "json.h"
#include "provider.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* ---- the request ---- */

static int full(struct fault *fault, int error)
{
	return fault_set(fault, error, "", "%s", error == ERROR_TOO_LARGE ? "too large for a request" : error_text(error));
}

static int write_messages(struct buffer *body, const struct chat_question *question, struct fault *fault)
{
	if (question->messages.data) {
		struct reader reader = reader_of(question->messages);
		return json_write(body, &reader, "messages", fault);
	}
	bool nul;
	if (!slice_is_utf8(question->prompt, &nul))
		return fault_set(fault, ERROR_INVALID, "field=prompt", "must be UTF-8");
	int error = buffer_printf(body, "[{\"role\":\"user\",\"content\":");
	if (!error)
		error = json_write_text(body, question->prompt);
	if (!error)
		error = buffer_append(body, "}]", 2);
	return error ? full(fault, error) : 0;
}

/* What the request says itself: how it is streamed does not change the answer, what is asked has its own place. */
static bool is_ours(struct slice key)
{
	return slice_equal(key, SLICE("stream")) || slice_equal(key, SLICE("stream_options"));
}

static bool is_elsewhere(struct slice key)
{
	return slice_equal(key, SLICE("model")) || slice_equal(key, SLICE("messages"));
}

/* One parameter, `,"name":value`, behind what is there. */
static int write_parameter(struct buffer *body, struct slice key, struct reader *reader, struct fault *fault)
{
	char field[64];
	bool nul;

	if (is_elsewhere(key))
		return fault_set(fault, ERROR_INVALID, "field=parameters", "model and messages stand beside the parameters");
	if (!slice_is_utf8(key, &nul) || nul)
		return fault_set(fault, ERROR_INVALID, "field=parameters", "a key must be UTF-8 without NUL");
	(void)snprintf(field, sizeof(field), "parameters%s%.*s", json_plain_key(key) ? "." : "",
		       json_plain_key(key) ? (int)key.length : 0, key.data);
	int error = buffer_append(body, ",", 1);
	if (!error)
		error = json_write_text(body, key);
	if (!error)
		error = buffer_append(body, ":", 1);
	return error ? full(fault, error) : json_write(body, reader, field, fault);
}

static int write_parameters(struct buffer *body, struct slice parameters, struct fault *fault)
{
	struct reader reader = reader_of(parameters);
	struct reader_value map, key;
	int error = 0;

	if (!parameters.data)
		return 0;
	if (reader_next(&reader, &map) || map.type != READER_MAP)
		return fault_set(fault, ERROR_INVALID, "field=parameters", "must be a map");
	for (size_t i = 0; i < map.count && !error; i++) {
		if (reader_next(&reader, &key) || key.type != READER_TEXT)
			return fault_set(fault, ERROR_INVALID, "field=parameters", "the keys of a map must be texts");
		if (!is_ours(key.text))
			error = write_parameter(body, key.text, &reader, fault);
		else if (reader_skip(&reader, NULL))
			error = fault_set(fault, ERROR_INVALID, "field=parameters", "no MessagePack value");
	}
	return error;
}

static int write_chat(struct buffer *body, const struct chat_question *question, struct fault *fault)
{
	bool nul;

	if (!slice_is_utf8(question->model, &nul))
		return fault_set(fault, ERROR_INVALID, "field=model", "must be UTF-8");
	int error = buffer_printf(body, "{\"model\":");
	if (!error)
		error = json_write_text(body, question->model);
	if (!error)
		error = buffer_printf(body, ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":");
	if (error)
		return full(fault, error);
	error = write_messages(body, question, fault);
	if (!error)
		error = write_parameters(body, question->parameters, fault);
	if (error)
		return error;
	error = buffer_append(body, "}", 1);
	return error ? full(fault, error) : 0;
}

/* ---- the answer ---- */

static int nonsense(struct fault *fault, const char *what)
{
	return fault_set(fault, ERROR_UPSTREAM, "kind=protocol", "%s", what);
}

/* Copies a text of the service for people: whole characters, as many as fit, nothing that is not printable. */
static void copy_text(struct slice text, char *out, size_t size)
{
	bool nul;
	size_t length = slice_whole_characters(text, size - 1);

	if (length >= size || !slice_is_utf8((struct slice){text.data, length}, &nul))
		length = 0;
	if (length)
		memcpy(out, text.data, length);
	out[length] = '\0';
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)out[i];
		if (c < 0x20 || c == 0x7f)
			out[i] = ' ';
		else if (c == 0xC2 && (unsigned char)out[i + 1] < 0xA0)
			out[i] = out[i + 1] = ' '; /* U+0080 … U+009F are control characters too */
	}
}

/* The message of an error object: {error: {message}}, {error: "text"}, {message}, {detail: "text"}. */
static void error_message(struct json_object *root, char *out, size_t size)
{
	struct slice text = json_text(json_member(root, "error"), "message");

	if (!text.data)
		text = json_text(root, "error");
	if (!text.data)
		text = json_text(root, "message");
	if (!text.data)
		text = json_text(root, "detail");
	copy_text(text, out, size);
}

static void read_error(struct json_tokener *tokener, struct slice body, char *out, size_t size)
{
	struct json_object *root = json_read(tokener, body);

	error_message(root, out, size);
	(void)json_object_put(root);
}

/* An error object in place of an answer. Its code is an HTTP status where it is a number. */
static int read_refused(struct json_object *root, struct fault *fault)
{
	struct json_object *code = json_member(json_member(root, "error"), "code");
	char message[sizeof(fault->text)], detail[48] = "kind=http";

	if (json_object_is_type(code, json_type_int) && json_object_get_int(code) >= 400 && json_object_get_int(code) < 600)
		(void)snprintf(detail, sizeof(detail), "status=%d kind=http", json_object_get_int(code));
	error_message(root, message, sizeof(message));
	return fault_set(fault, ERROR_UPSTREAM, detail, "%s", message[0] ? message : "an error without a message");
}

static bool read_count(struct json_object *usage, const char *name, uint64_t *count)
{
	struct json_object *number = json_member(usage, name);

	if (!json_object_is_type(number, json_type_int) || json_object_get_int64(number) < 0)
		return false;
	*count = (uint64_t)json_object_get_int64(number);
	return true;
}

/* Some services tell the usage so far in every event: the last one counts. */
static void read_usage(struct json_object *root, struct chat_usage *usage)
{
	struct json_object *object = json_member(root, "usage");
	struct chat_usage told = {.known = true};

	if (!read_count(object, "prompt_tokens", &told.prompt_tokens))
		return;
	(void)read_count(object, "completion_tokens", &told.completion_tokens);
	if (!read_count(object, "total_tokens", &told.total_tokens))
		told.total_tokens = told.prompt_tokens + told.completion_tokens;
	*usage = told;
}

/* Whether `object` has `name`, with something in it. */
static bool has_more(struct json_object *object, const char *name)
{
	struct json_object *member = json_member(object, name);

	switch (json_object_get_type(member)) {
	case json_type_null:
		return false;
	case json_type_array:
		return json_object_array_length(member) > 0;
	case json_type_string:
		return json_object_get_string_len(member) > 0;
	default:
		return true;
	}
}

/* One choice; `part` names where its text is: "delta" in a stream, "message" otherwise. */
static int read_choice(struct provider_reading *reading, struct json_object *choice, const char *part, struct buffer *text,
		       struct fault *fault)
{
	struct json_object *index = json_member(choice, "index");
	struct json_object *delta = json_member(choice, part);
	struct slice reason = json_text(choice, "finish_reason");
	struct json_object *content = json_member(delta, "content");

	if (!json_object_is_type(choice, json_type_object))
		return nonsense(fault, "a choice that is no object");
	if (index && json_object_get_int64(index) != 0) {
		reading->not_text = true;
		return 0;
	}
	if (has_more(delta, "tool_calls") || has_more(delta, "function_call") || has_more(delta, "refusal"))
		reading->not_text = true;
	if (content && !json_object_is_type(content, json_type_string))
		return nonsense(fault, "content that is no text");
	struct slice more = json_text(delta, "content");
	int error = more.data ? buffer_append(text, more.data, more.length) : 0;
	if (error)
		return fault_set(fault, ERROR_UPSTREAM, "kind=protocol", "%s",
				 error == ERROR_TOO_LARGE ? "the answer is too large" : error_text(error));
	if (reason.data)
		copy_text(reason, reading->finish_reason, sizeof(reading->finish_reason));
	return 0;
}

/* An event's object or a whole answer. */
static int read_answer(struct provider_reading *reading, struct json_object *root, const char *part, struct buffer *text,
		       struct fault *fault)
{
	struct json_object *choices = json_member(root, "choices");
	int error = 0;

	if (!json_object_is_type(root, json_type_object))
		return nonsense(fault, "no JSON object where an answer should be");
	if (has_more(root, "error") || (!choices && json_text(root, "message").data))
		return read_refused(root, fault);
	if (choices ? !json_object_is_type(choices, json_type_array) : !json_member(root, "usage"))
		return nonsense(fault, "an answer without choices");
	struct slice model = json_text(root, "model");
	if (model.data && !reading->model[0])
		copy_text(model, reading->model, sizeof(reading->model));
	read_usage(root, &reading->usage);
	size_t count = choices ? json_object_array_length(choices) : 0;
	for (size_t i = 0; i < count && !error; i++)
		error = read_choice(reading, json_object_array_get_idx(choices, i), part, text, fault);
	return error;
}

static int read_event(struct provider_reading *reading, struct json_tokener *tokener, struct slice data, struct buffer *text,
		      struct fault *fault)
{
	if (slice_equal(data, SLICE("[DONE]"))) {
		reading->ended = true;
		return 0;
	}
	struct json_object *root = json_read(tokener, data);
	if (!root)
		return nonsense(fault, "an event that is no JSON");
	int error = read_answer(reading, root, "delta", text, fault);
	(void)json_object_put(root);
	return error;
}

static int read_whole(struct provider_reading *reading, struct json_tokener *tokener, struct slice body, struct buffer *text,
		      struct fault *fault)
{
	struct json_object *root = json_read(tokener, body);

	if (!root)
		return nonsense(fault, "an answer that is no JSON");
	int error = read_answer(reading, root, "message", text, fault);
	if (!error && !reading->finish_reason[0])
		error = nonsense(fault, "an answer without finish_reason");
	reading->ended = !error;
	(void)json_object_put(root);
	return error;
}

const struct provider_ops openai_ops = {
	.name = "openai",
	.chat_path = "/chat/completions",
	.probe_path = "/models",
	.write_chat = write_chat,
	.read_event = read_event,
	.read_whole = read_whole,
	.read_error = read_error,
};
