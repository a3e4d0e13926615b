/* A request is read in two steps, so that a fault in its parameters can be answered under its id: first the head, which only
 * an unusable message fails, then the parameters, by a table that says which key belongs to which methods and of what kind
 * it is. An unknown key is refused: a mistyped `treshold` must not be ignored. */
#include "request.h"

#include "reader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum kind { TEXT, RAW_MAP, RAW_ARRAY, NUMBER, WIDE, COSINE, FLAG, NAMES, CACHE_MODE, ONLY_EXACT, VERDICT };

/* Sets of methods, for the columns of the table. */
#define GET (1u << METHOD_get_or_generate)
#define LOOKUP (1u << METHOD_lookup)
#define ADD (1u << METHOD_add)
#define EXPLAIN (1u << METHOD_explain)
#define WATCH (1u << METHOD_watch)
#define ASKS (GET | LOOKUP | ADD | EXPLAIN)
#define FEEDBACK (1u << METHOD_feedback)
#define NAMED ((1u << METHOD_invalidate) | (1u << METHOD_show) | (1u << METHOD_list) | (1u << METHOD_flush))

struct key {
	struct slice name; /* NUL-terminated too */
	unsigned methods;
	enum kind kind;
	size_t offset; /* of the value in struct request */
	size_t flag;   /* of "it was there", 0 = none */
	uint32_t max;  /* TEXT: bytes (0 = the message's own limit); NUMBER: the largest */
};

#define NAME(text)                                                                                                          \
	{                                                                                                                   \
		(text), sizeof(text) - 1                                                                                    \
	}
#define AT(member) offsetof(struct request, member)

static const struct key keys[] = {
	{NAME("prompt"), ASKS | FEEDBACK, TEXT, AT(prompt), 0, 0},
	{NAME("messages"), ASKS | FEEDBACK, RAW_ARRAY, AT(messages), 0, 0},
	{NAME("model"), ASKS | FEEDBACK, TEXT, AT(model), 0, LIMIT_MODEL_BYTES},
	{NAME("parameters"), ASKS | FEEDBACK, RAW_MAP, AT(parameters), 0, 0},
	{NAME("namespace"), ASKS | NAMED | FEEDBACK | 1u << METHOD_config | WATCH, TEXT, AT(namespace), AT(has_namespace),
	 LIMIT_NAMESPACE_BYTES},
	{NAME("question"), ASKS | FEEDBACK | 1u << METHOD_invalidate, TEXT, AT(question), 0, 0},
	{NAME("context"), ASKS | FEEDBACK, TEXT, AT(context), 0, LIMIT_CONTEXT_BYTES},
	{NAME("cache"), GET, CACHE_MODE, AT(cache), 0, 0},
	{NAME("max_age"), GET | LOOKUP | EXPLAIN, NUMBER, AT(max_age_s), AT(has_max_age), LIMIT_TTL_S},
	{NAME("threshold"), GET | LOOKUP | EXPLAIN, COSINE, AT(threshold), AT(has_threshold), 0},
	{NAME("mode"), GET | LOOKUP | EXPLAIN, ONLY_EXACT, AT(mode_exact), 0, 0},
	{NAME("ttl"), GET | ADD, NUMBER, AT(ttl_s), AT(has_ttl), LIMIT_TTL_S},
	{NAME("tags"), GET | ADD, NAMES, AT(tags), 0, LIMIT_TAGS},
	{NAME("stream"), GET, FLAG, AT(stream), 0, 0},
	{NAME("timeout_ms"), GET | LOOKUP | EXPLAIN | FEEDBACK | WATCH, NUMBER, AT(timeout_ms), AT(has_timeout),
	 LIMIT_TIMEOUT_MS},
	{NAME("answer"), ADD, TEXT, AT(answer), 0, 0},
	{NAME("entry"), 1u << METHOD_invalidate | 1u << METHOD_show | FEEDBACK, TEXT, AT(entry), 0, 64},
	{NAME("verdict"), FEEDBACK, VERDICT, AT(verdict), AT(has_verdict), 0},
	{NAME("similarity"), FEEDBACK, COSINE, AT(similarity), AT(has_similarity), 0},
	{NAME("tag"), 1u << METHOD_invalidate, TEXT, AT(tag), 0, LIMIT_TAG_BYTES},
	{NAME("dry_run"), 1u << METHOD_invalidate, FLAG, AT(dry_run), 0, 0},
	{NAME("request"), EXPLAIN, WIDE, AT(explained), AT(has_request), 0},
	{NAME("limit"), 1u << METHOD_list, NUMBER, AT(limit), 0, LIMIT_LIST},
	{NAME("after"), 1u << METHOD_list, TEXT, AT(after), 0, 256},
	{NAME("set"), 1u << METHOD_config, RAW_MAP, AT(set), 0, 0},
	{NAME("unset"), 1u << METHOD_config, RAW_ARRAY, AT(unset), 0, 0},
	{NAME("certificate"), 1u << METHOD_config, TEXT, AT(certificate), 0, 0},
	{NAME("client"), 1u << METHOD_hello, TEXT, AT(client), 0, 256},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))
_Static_assert(KEY_COUNT <= 64, "request_read_params() marks them in 64 bits");

/* The texts that an empty value cannot stand for. */
static const char *const never_empty[] = {"prompt", "model", "namespace", "question", "context", "answer", "entry", "tag"};

static int invalid(struct fault *fault, const char *field, const char *text)
{
	char detail[80];

	(void)snprintf(detail, sizeof(detail), "field=%s", field);
	return fault_set(fault, ERROR_INVALID, detail, "%s", text);
}

static int too_large(struct fault *fault, const char *field, uint32_t limit, const char *unit)
{
	char detail[96];

	(void)snprintf(detail, sizeof(detail), "field=%s limit=%u", field, limit);
	return fault_set(fault, ERROR_TOO_LARGE, detail, "more than %u %s", limit, unit);
}

bool request_name_valid(struct slice name)
{
	if (name.length == 0 || name.length > LIMIT_NAMESPACE_BYTES)
		return false;
	for (size_t i = 0; i < name.length; i++) {
		char c = name.data[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
		      c == '-'))
			return false;
	}
	return true;
}

static int read_text(const struct key *key, const struct reader_value *value, struct slice *out, struct fault *fault)
{
	bool nul;

	if (value->type != READER_TEXT)
		return invalid(fault, key->name.data, "must be a text");
	if (key->max && value->text.length > key->max)
		return too_large(fault, key->name.data, key->max, "bytes");
	if (!slice_is_utf8(value->text, &nul))
		return invalid(fault, key->name.data, "is not valid UTF-8");
	if (nul)
		return invalid(fault, key->name.data, "has a NUL character in it");
	if (value->text.length == 0)
		for (size_t i = 0; i < sizeof(never_empty) / sizeof(never_empty[0]); i++)
			if (strcmp(never_empty[i], key->name.data) == 0)
				return invalid(fault, key->name.data, "must not be empty");
	*out = value->text;
	return 0;
}

static int read_number(const struct key *key, const struct reader_value *value, uint32_t *out, struct fault *fault)
{
	char detail[80];

	if (value->type == READER_UINT && value->uint <= key->max) {
		*out = (uint32_t)value->uint;
		return 0;
	}
	(void)snprintf(detail, sizeof(detail), "field=%s limit=%u", key->name.data, key->max);
	return fault_set(fault, ERROR_INVALID, detail, "must be a whole number from 0 to %u", key->max);
}

/* A number as large as an id may be. */
static int read_wide(const struct key *key, const struct reader_value *value, uint64_t *out, struct fault *fault)
{
	if (value->type != READER_UINT || value->uint > LIMIT_ID)
		return invalid(fault, key->name.data, "must be a whole number from 0 to 2^53");
	*out = value->uint;
	return 0;
}

static int read_cosine(const struct key *key, const struct reader_value *value, double *out, struct fault *fault)
{
	double number;

	if (value->type == READER_FLOAT)
		number = value->number;
	else if (value->type == READER_UINT)
		number = (double)value->uint;
	else if (value->type == READER_INT)
		number = (double)value->integer;
	else
		return invalid(fault, key->name.data, "must be a number from -1 to 1");
	if (isnan(number) || number < -1.0 || number > 1.0)
		return invalid(fault, key->name.data, "must be a number from -1 to 1");
	*out = number;
	return 0;
}

static int read_tags(const struct key *key, struct reader *r, size_t count, struct request *request, struct fault *fault)
{
	struct reader_value value;

	if (count > LIMIT_TAGS)
		return too_large(fault, key->name.data, LIMIT_TAGS, "tags");
	for (size_t i = 0; i < count; i++) {
		if (reader_next(r, &value) != 0 || value.type != READER_TEXT || !request_name_valid(value.text))
			return invalid(fault, key->name.data, "must be texts of A-Z a-z 0-9 . _ -, 1 to 64 characters each");
		request->tags[i] = value.text;
	}
	request->tag_count = count;
	return 0;
}

static int read_cache_use(const struct key *key, const struct reader_value *value, enum cache_use *out, struct fault *fault)
{
	static const char *const names[] = {"default", "refresh", "no_store", "only"};

	for (size_t i = 0; value->type == READER_TEXT && i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_equal(value->text, slice_of(names[i]))) {
			*out = (enum cache_use)i;
			return 0;
		}
	return invalid(fault, key->name.data, "must be default, refresh, no_store or only");
}

static int read_verdict(const struct key *key, const struct reader_value *value, enum feedback_verdict *out,
			struct fault *fault)
{
	static const char *const names[] = {
		[FEEDBACK_RIGHT] = "right",
		[FEEDBACK_WRONG] = "wrong",
		[FEEDBACK_ACCEPT] = "accept",
		[FEEDBACK_UNDO] = "undo",
	};

	for (size_t i = 0; value->type == READER_TEXT && i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_equal(value->text, slice_of(names[i]))) {
			*out = (enum feedback_verdict)i;
			return 0;
		}
	return invalid(fault, key->name.data, "must be right, wrong, accept or undo");
}

/* Reads the value of `key`, at which `r` stands. */
static int read_value(const struct key *key, struct reader *r, struct request *request, struct fault *fault)
{
	void *out = (char *)request + key->offset;
	struct reader before = *r;
	struct reader_value value;

	if (reader_next(r, &value) != 0)
		return invalid(fault, key->name.data, "ends too early");
	if (value.type == READER_NIL)
		return 0;
	if (key->flag)
		*(bool *)((char *)request + key->flag) = true;
	switch (key->kind) {
	case TEXT:
		return read_text(key, &value, out, fault);
	case RAW_MAP:
	case RAW_ARRAY:
		if (value.type != (key->kind == RAW_MAP ? READER_MAP : READER_ARRAY))
			return invalid(fault, key->name.data, key->kind == RAW_MAP ? "must be a map" : "must be an array");
		*r = before;
		return reader_skip(r, out) == 0 ? 0 : invalid(fault, key->name.data, "ends too early");
	case NUMBER:
		return read_number(key, &value, out, fault);
	case WIDE:
		return read_wide(key, &value, out, fault);
	case COSINE:
		return read_cosine(key, &value, out, fault);
	case FLAG:
		if (value.type != READER_BOOL)
			return invalid(fault, key->name.data, "must be true or false");
		*(bool *)out = value.boolean;
		return 0;
	case NAMES:
		if (value.type != READER_ARRAY)
			return invalid(fault, key->name.data, "must be an array of texts");
		return read_tags(key, r, value.count, request, fault);
	case CACHE_MODE:
		return read_cache_use(key, &value, out, fault);
	case VERDICT:
		return read_verdict(key, &value, out, fault);
	case ONLY_EXACT:
		if (value.type != READER_TEXT || !slice_equal(value.text, SLICE("exact")))
			return invalid(fault, key->name.data, "a call's own mode may only be exact");
		*(bool *)out = true;
		return 0;
	}
	return fault_set(fault, ERROR_INTERNAL, "", "a key of no kind");
}

/* What is to be removed is named once, so that nobody removes more than was meant. */
static int check_selector(const struct request *request, struct fault *fault)
{
	int given = (request->entry.data != NULL) + (request->question.data != NULL) + (request->tag.data != NULL);

	if (given > 1)
		return invalid(fault, "entry", "only one of entry, question and tag may be given");
	if (given == 0 && !request->has_namespace)
		return invalid(fault, "entry", "one of entry, question, tag and namespace must be given");
	return 0;
}

/* Who said what of which entry for which question. */
static int check_feedback(const struct request *request, struct fault *fault)
{
	if (!request->entry.data)
		return invalid(fault, "entry", "must be given");
	if (!request->has_verdict)
		return invalid(fault, "verdict", "must be right, wrong, accept or undo");
	if (!request->question.data && !request->prompt.data && !request->messages.data)
		return invalid(fault, "question", "must be given, or prompt or messages");
	if (request->prompt.data && request->messages.data)
		return invalid(fault, "messages", "only one of prompt and messages may be given");
	return 0;
}

/* A request that is explained has its question already. */
static int check_alone(const struct request *request, struct fault *fault)
{
	if (request->prompt.data || request->messages.data || request->model.data || request->parameters.data ||
	    request->question.data || request->context.data || request->has_namespace || request->has_max_age ||
	    request->has_threshold || request->mode_exact)
		return invalid(fault, "request", "no question may be given beside it");
	return 0;
}

/* What no single key can tell. */
static int check_together(const struct request *request, struct fault *fault)
{
	if (request->has_request)
		return check_alone(request, fault);
	if (1u << request->method & ASKS) {
		if (!request->prompt.data && !request->messages.data)
			return invalid(fault, "prompt", "prompt or messages must be given");
		if (request->prompt.data && request->messages.data)
			return invalid(fault, "messages", "only one of prompt and messages may be given");
	}
	if (request->has_namespace && !request_name_valid(request->namespace))
		return invalid(fault, "namespace", "must be A-Z a-z 0-9 . _ -, 1 to 64 characters");
	if (request->method == METHOD_add && !request->answer.data)
		return invalid(fault, "answer", "must be given");
	if (request->method == METHOD_show && !request->entry.data)
		return invalid(fault, "entry", "must be given");
	if (request->method == METHOD_feedback)
		return check_feedback(request, fault);
	if (request->method == METHOD_invalidate)
		return check_selector(request, fault);
	return 0;
}

static const struct key *key_find(struct slice name, enum method method)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (keys[i].methods & 1u << method && slice_equal(name, keys[i].name))
			return &keys[i];
	return NULL;
}

/* Names a key of the caller's own in the detail, where words are parted by spaces and `=`. */
static int unknown_key(struct fault *fault, struct slice key)
{
	char name[48];
	size_t length = slice_whole_characters(key, sizeof(name) - 1);

	memcpy(name, key.data, length);
	name[length] = '\0';
	text_clean(name, length);
	for (char *p = name; *p; p++)
		if (*p == ' ' || *p == '=')
			*p = '?';
	return invalid(fault, length ? name : "params", "this method has no such key");
}

int request_read_params(struct slice params, struct request *request, struct fault *fault)
{
	struct reader r = reader_of(params);
	struct reader_value value;
	uint64_t seen = 0;

	request->namespace = SLICE("default");
	request->limit = 100;
	if (params.length == 0)
		return check_together(request, fault);
	if (reader_next(&r, &value) != 0 || value.type != READER_MAP)
		return invalid(fault, "params", "must be exactly one map");
	for (size_t pairs = value.count; pairs > 0; pairs--) {
		if (reader_next(&r, &value) != 0 || value.type != READER_TEXT)
			return invalid(fault, "params", "keys must be texts");
		const struct key *key = key_find(value.text, request->method);
		if (!key)
			return unknown_key(fault, value.text);
		uint64_t bit = UINT64_C(1) << (key - keys);
		if (seen & bit)
			return invalid(fault, key->name.data, "is there twice");
		seen |= bit;
		int error = read_value(key, &r, request, fault);
		if (error)
			return error;
	}
	return check_together(request, fault);
}

static int unusable(struct fault *fault, const char *text)
{
	return fault_set(fault, ERROR_PROTOCOL, "", "%s", text);
}

static int read_id(struct reader *r, struct request *request)
{
	struct reader_value value;

	if (reader_next(r, &value) != 0 || value.type != READER_UINT || value.uint > LIMIT_ID)
		return ERROR_PROTOCOL;
	request->id = value.uint;
	return 0;
}

/* `[2, method, params]`: only "cancel" means something, and what is wrong in any is not answered. */
static int read_notification(struct reader *r, size_t count, struct request *request, enum message_kind *kind)
{
	struct reader_value value;

	*kind = MESSAGE_IGNORED;
	if (count != 3 || reader_next(r, &value) != 0 || value.type != READER_TEXT ||
	    !slice_equal(value.text, SLICE("cancel")))
		return 0;
	if (reader_next(r, &value) != 0 || value.type != READER_ARRAY || value.count != 1 || read_id(r, request) != 0)
		return 0;
	*kind = MESSAGE_CANCEL;
	return 0;
}

int request_read_head(struct slice message, struct request *request, enum message_kind *kind, struct slice *params,
		      bool *id_known, struct fault *fault)
{
	struct reader r = reader_of(message);
	struct reader_value array, type, method, list;

	*request = (struct request){.method = METHOD_COUNT};
	*id_known = false;
	if (reader_next(&r, &array) != 0 || array.type != READER_ARRAY || array.count == 0 || reader_next(&r, &type) != 0 ||
	    type.type != READER_UINT)
		return unusable(fault, "a message must be an array that starts with its type");
	if (type.uint == 2)
		return read_notification(&r, array.count, request, kind);
	if (type.uint != 0 || array.count != 4)
		return unusable(fault, "a request must be [0, id, method, [params]]");
	*kind = MESSAGE_REQUEST;
	if (read_id(&r, request) != 0)
		return unusable(fault, "a request's id must be an integer from 0 to 2^53");
	*id_known = true;
	if (reader_next(&r, &method) != 0 || method.type != READER_TEXT)
		return invalid(fault, "method", "must be a text");
	request->method = method_find(method.text.data, method.text.length);
	if (request->method == METHOD_COUNT)
		return fault_set(fault, ERROR_UNKNOWN_METHOD, "field=method", "hello lists the methods");
	*params = (struct slice){"", 0};
	if (reader_next(&r, &list) != 0 || list.type != READER_ARRAY || list.count > 1)
		return invalid(fault, "params", "must be exactly one map");
	/* The message is complete, so the parameters are all that is left of it. */
	if (list.count == 1)
		*params = (struct slice){(const char *)r.at, (size_t)(r.end - r.at)};
	return 0;
}
