/* The map's count is not known before its last pair, so three bytes are kept for it and filled at the end. */
#include "question.h"

#include "../proto/limits.h"
#include "../proto/reader.h"
#include "../proto/scanner.h"

#include <msgpack/pack.h>

#include <stdio.h>
#include <string.h>

static struct msgpack_packer packer(struct encoder *e)
{
	struct msgpack_packer p;

	msgpack_packer_init(&p, e->out, buffer_write_msgpack);
	return p;
}

static void append(struct encoder *e, const void *data, size_t length)
{
	if (!e->error)
		e->error = buffer_append(e->out, data, length);
}

/* Packs a text. msgpack-c says only that its writer failed, so the writer's own reason is asked for beforehand. */
static void pack_text(struct encoder *e, struct slice text)
{
	struct msgpack_packer p = packer(e);

	if (!e->error)
		e->error = buffer_reserve(e->out, text.length < e->out->max ? text.length + 5 : text.length);
	if (!e->error)
		(void)msgpack_pack_str_with_body(&p, text.data, text.length);
}

static void pack_head(struct encoder *e, bool map, size_t count)
{
	struct msgpack_packer p = packer(e);

	if (!e->error)
		e->error = buffer_reserve(e->out, 5);
	if (!e->error)
		(void)(map ? msgpack_pack_map(&p, count) : msgpack_pack_array(&p, count));
}

static void pack_uint(struct encoder *e, uint64_t number)
{
	struct msgpack_packer p = packer(e);

	if (!e->error)
		e->error = buffer_reserve(e->out, 9);
	if (!e->error)
		(void)msgpack_pack_uint64(&p, number);
}

static void key(struct encoder *e, const char *name)
{
	pack_text(e, slice_of(name));
	e->pairs++;
}

static void begin_map(struct encoder *e)
{
	static const char map16[3] = {(char)0xde, 0, 0};

	e->count_at = e->out->length + 1;
	append(e, map16, sizeof(map16));
}

void encoder_begin_map(struct encoder *e, struct buffer *out)
{
	*e = (struct encoder){.out = out};
	begin_map(e);
}

void encoder_begin(struct encoder *e, struct buffer *out, uint64_t id, struct slice method)
{
	*e = (struct encoder){.out = out};
	pack_head(e, false, 4);
	pack_uint(e, 0);
	pack_uint(e, id);
	pack_text(e, method);
	pack_head(e, false, 1);
	begin_map(e);
}

void encoder_text(struct encoder *e, const char *name, const char *text)
{
	if (!text)
		return;
	key(e, name);
	pack_text(e, slice_of(text));
}

void encoder_uint(struct encoder *e, const char *name, uint64_t number)
{
	key(e, name);
	pack_uint(e, number);
}

void encoder_flag(struct encoder *e, const char *name, bool flag)
{
	char byte = (char)(flag ? 0xc3 : 0xc2);

	key(e, name);
	append(e, &byte, 1);
}

static void encode_double(struct encoder *e, double number)
{
	struct msgpack_packer p = packer(e);

	if (!e->error)
		e->error = buffer_reserve(e->out, 9);
	if (!e->error)
		(void)msgpack_pack_double(&p, number);
}

void encoder_timeout(struct encoder *e, uint32_t timeout_ms)
{
	static const char uint32[5] = {(char)0xce, 0, 0, 0, 0};

	key(e, "timeout_ms");
	append(e, uint32, sizeof(uint32));
	if (e->error)
		return;
	e->timeout_at = e->out->length - 4;
	question_set_timeout(e->out->data, e->timeout_at, timeout_ms);
}

int encoder_end(struct encoder *e)
{
	if (e->error)
		return e->error;
	e->out->data[e->count_at] = (char)(e->pairs >> 8);
	e->out->data[e->count_at + 1] = (char)(e->pairs & 0xff);
	return 0;
}

void question_set_timeout(char *message, size_t timeout_at, uint32_t timeout_ms)
{
	for (int i = 0; i < 4; i++)
		message[timeout_at + (size_t)i] = (char)(timeout_ms >> (24 - 8 * i) & 0xff);
}

static int invalid(struct failure *failure, const char *field, const char *text)
{
	char detail[80];

	(void)snprintf(detail, sizeof(detail), "field=%s", field);
	return failure_set(failure, ERROR_INVALID, detail, "%s", text);
}

static int failed(struct failure *failure, int error)
{
	if (error == ERROR_TOO_LARGE)
		return failure_set(failure, error, "", "the message is larger than max_message_bytes");
	return failure_set(failure, error, "", "%s", error_text(error));
}

/* Raw values must be exactly one complete value of their kind (ANY for any): else they would shift all that follows. */
enum shape { SHAPE_ANY, SHAPE_MAP, SHAPE_ARRAY };

static bool raw_valid(const void *data, size_t length, enum shape shape)
{
	struct reader r = reader_of((struct slice){data, length});
	struct reader_value value;
	struct scanner scanner;
	size_t end;

	if (length == 0)
		return false;
	scanner_init(&scanner, length);
	if (scanner_scan(&scanner, data, length, &end) != 0 || end != length || reader_next(&r, &value) != 0)
		return false;
	return shape == SHAPE_ANY || value.type == (shape == SHAPE_MAP ? READER_MAP : READER_ARRAY);
}

static int encode_messages(struct encoder *e, const struct semcache_question *q, struct failure *failure)
{
	if ((q->prompt != NULL) + (q->messages != NULL) + (q->raw_messages != NULL) != 1)
		return invalid(failure, "prompt", "exactly one of prompt, messages and raw_messages must be given");
	encoder_text(e, "prompt", q->prompt);
	if (q->raw_messages) {
		if (!raw_valid(q->raw_messages, q->raw_messages_length, SHAPE_ARRAY))
			return invalid(failure, "messages", "raw_messages must be one MessagePack array");
		key(e, "messages");
		append(e, q->raw_messages, q->raw_messages_length);
	}
	if (!q->messages)
		return 0;
	key(e, "messages");
	pack_head(e, false, q->message_count);
	for (size_t i = 0; i < q->message_count; i++) {
		if (!q->messages[i].role || !q->messages[i].content)
			return invalid(failure, "messages", "a message needs a role and a content");
		pack_head(e, true, 2);
		pack_text(e, SLICE("role"));
		pack_text(e, slice_of(q->messages[i].role));
		pack_text(e, SLICE("content"));
		pack_text(e, slice_of(q->messages[i].content));
	}
	return 0;
}

static int encode_parameter(struct encoder *e, const struct semcache_parameter *p, struct failure *failure)
{
	struct msgpack_packer integers = packer(e);
	char byte = (char)(p->integer ? 0xc3 : 0xc2);

	if (!p->name)
		return invalid(failure, "parameters", "a parameter needs a name");
	pack_text(e, slice_of(p->name));
	switch (p->type) {
	case SEMCACHE_PARAMETER_INTEGER:
		if (!e->error)
			e->error = buffer_reserve(e->out, 9);
		if (!e->error)
			(void)msgpack_pack_int64(&integers, p->integer);
		return 0;
	case SEMCACHE_PARAMETER_NUMBER:
		encode_double(e, p->number);
		return 0;
	case SEMCACHE_PARAMETER_TEXT:
		if (!p->text)
			return invalid(failure, "parameters", "a parameter of type TEXT needs a text");
		pack_text(e, slice_of(p->text));
		return 0;
	case SEMCACHE_PARAMETER_BOOLEAN:
		append(e, &byte, 1);
		return 0;
	case SEMCACHE_PARAMETER_RAW:
		if (!p->raw || !raw_valid(p->raw, p->raw_length, SHAPE_ANY))
			return invalid(failure, "parameters", "a parameter of type RAW must be one MessagePack value");
		append(e, p->raw, p->raw_length);
		return 0;
	}
	return invalid(failure, "parameters", "a parameter has no such type");
}

static int encode_parameters(struct encoder *e, const struct semcache_question *q, struct failure *failure)
{
	if (q->parameter_count > 0 && q->raw_parameters)
		return invalid(failure, "parameters", "only one of parameters and raw_parameters may be given");
	if (q->raw_parameters) {
		if (!raw_valid(q->raw_parameters, q->raw_parameters_length, SHAPE_MAP))
			return invalid(failure, "parameters", "raw_parameters must be one MessagePack map");
		key(e, "parameters");
		append(e, q->raw_parameters, q->raw_parameters_length);
	}
	if (q->parameter_count == 0)
		return 0;
	if (!q->parameters || q->parameter_count > LIMIT_MAP_KEYS)
		return invalid(failure, "parameters", "there are too many parameters, or none where a count says so");
	key(e, "parameters");
	pack_head(e, true, q->parameter_count);
	for (size_t i = 0; i < q->parameter_count; i++) {
		int error = encode_parameter(e, &q->parameters[i], failure);
		if (error)
			return error;
	}
	return 0;
}

static int encode_number(struct encoder *e, const char *name, int64_t number, struct failure *failure)
{
	if (number == SEMCACHE_UNSET)
		return 0;
	if (number < 0)
		return invalid(failure, name, "must be a whole number from 0 on, or SEMCACHE_UNSET");
	encoder_uint(e, name, (uint64_t)number);
	return 0;
}

static int encode_policy(struct encoder *e, const struct semcache_question *q, struct failure *failure)
{
	static const char *const uses[] = {NULL, "refresh", "no_store", "only"};

	if ((unsigned)q->use >= sizeof(uses) / sizeof(uses[0]))
		return invalid(failure, "cache", "there is no such use of the cache");
	encoder_text(e, "cache", uses[q->use]);
	int error = encode_number(e, "max_age", q->max_age_s, failure);
	if (!error)
		error = encode_number(e, "ttl", q->ttl_s, failure);
	if (error)
		return error;
	if (q->threshold != SEMCACHE_NO_THRESHOLD) {
		key(e, "threshold");
		encode_double(e, q->threshold);
	}
	encoder_text(e, "mode", q->exact ? "exact" : NULL);
	if (q->tag_count == 0)
		return 0;
	if (!q->tags || q->tag_count > LIMIT_TAGS)
		return invalid(failure, "tags", "there are too many tags, or none where a count says so");
	key(e, "tags");
	pack_head(e, false, q->tag_count);
	for (size_t i = 0; i < q->tag_count; i++) {
		if (!q->tags[i])
			return invalid(failure, "tags", "a tag must be a text");
		pack_text(e, slice_of(q->tags[i]));
	}
	return 0;
}

void encoder_double(struct encoder *e, const char *name, double number)
{
	key(e, name);
	encode_double(e, number);
}

int encoder_question(struct encoder *e, const struct semcache_question *q, struct failure *failure)
{
	int error = encode_messages(e, q, failure);

	if (!error)
		error = encode_parameters(e, q, failure);
	if (error)
		return error;
	encoder_text(e, "model", q->model);
	encoder_text(e, "namespace", q->namespace_name);
	encoder_text(e, "question", q->question);
	encoder_text(e, "context", q->context);
	return 0;
}

/* Looks at the whole message as the daemon will: how deep it is, and that it is exactly one. */
static int check_message(const struct buffer *out, struct failure *failure)
{
	struct scanner scanner;
	size_t end = 0;

	scanner_init(&scanner, out->length);
	int error = scanner_scan(&scanner, out->data, out->length, &end);
	if (error || end != out->length)
		return failure_set(failure, ERROR_INVALID, "field=params", "arrays and maps may be %d deep in one message",
				   LIMIT_DEPTH);
	return 0;
}

int question_encode(struct buffer *out, uint64_t id, enum method method, const struct semcache_question *q,
		    const char *answer, bool stream, uint32_t timeout_ms, size_t *timeout_at, struct failure *failure)
{
	struct encoder e;

	if (method == METHOD_add && !answer)
		return invalid(failure, "answer", "must be given");
	encoder_begin(&e, out, id, slice_of(method_name(method)));
	int error = encoder_question(&e, q, failure);
	if (!error)
		error = encode_policy(&e, q, failure);
	if (error)
		return error;
	encoder_text(&e, "answer", answer);
	if (stream)
		encoder_flag(&e, "stream", true);
	if (method != METHOD_add)
		encoder_timeout(&e, timeout_ms);
	error = encoder_end(&e);
	if (error)
		return failed(failure, error);
	*timeout_at = e.timeout_at;
	return check_message(out, failure);
}

int question_encode_raw(struct buffer *out, uint64_t id, struct slice method, struct slice params, struct failure *failure)
{
	struct encoder e;

	encoder_begin(&e, out, id, method);
	if (params.data) {
		if (!raw_valid(params.data, params.length, SHAPE_MAP))
			return invalid(failure, "params", "must be one MessagePack map");
		if (!e.error) {
			out->length = e.count_at - 1;
			append(&e, params.data, params.length);
		}
	}
	int error = e.error;
	if (!error && !params.data)
		error = encoder_end(&e);
	return error ? failed(failure, error) : check_message(out, failure);
}
