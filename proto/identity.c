/* All goes well: the canonical bytes are written one behind the other into a scratch buffer that is kept from call to
 * call, and hashed in one go; a context and the algorithm, both fetched once, are used again and again, because fetching
 * costs more than hashing a question.
 * What can go wrong: what canonical.c refuses, and want of memory. */
#include "identity.h"

#include "canonical.h"
#include "raw.h"
#include "reader.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct hasher {
	EVP_MD *algorithm;
	EVP_MD_CTX *context;
	struct canonical canonical;
	struct identity ignored; /* digest of the table of ignored parameters */
};

static int digest_of(struct hasher *hasher, struct identity *digest)
{
	struct slice bytes = buffer_slice(&hasher->canonical.out);
	struct identity made;

	if (!EVP_DigestInit_ex(hasher->context, hasher->algorithm, NULL) ||
	    !EVP_DigestUpdate(hasher->context, bytes.data, bytes.length) ||
	    !EVP_DigestFinal_ex(hasher->context, made.bytes, NULL))
		return ERROR_MEMORY;
	*digest = made;
	return 0;
}

int identity_digest(struct hasher *hasher, const struct slice *texts, size_t count, struct identity *digest)
{
	canonical_start(&hasher->canonical);
	for (size_t i = 0; i < count; i++)
		if (canonical_text(&hasher->canonical, texts[i]) != 0)
			return ERROR_MEMORY;
	return digest_of(hasher, digest);
}

static int digest_ignored(struct hasher *hasher)
{
	struct slice names[IDENTITY_PART_COUNT];
	size_t count = 0;

	for (enum identity_part part = 0; part < IDENTITY_PART_COUNT; part++)
		if (identity_ignores(slice_of(identity_part_name(part))))
			names[count++] = slice_of(identity_part_name(part));
	return identity_digest(hasher, names, count, &hasher->ignored);
}

struct hasher *hasher_create(size_t max_bytes)
{
	struct hasher *hasher = calloc(1, sizeof(*hasher));

	if (!hasher)
		return NULL;
	canonical_init(&hasher->canonical, max_bytes);
	hasher->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
	hasher->context = EVP_MD_CTX_new();
	if (!hasher->algorithm || !hasher->context || digest_ignored(hasher) != 0) {
		hasher_destroy(hasher);
		return NULL;
	}
	return hasher;
}

void hasher_destroy(struct hasher *hasher)
{
	if (!hasher)
		return;
	canonical_deinit(&hasher->canonical);
	EVP_MD_CTX_free(hasher->context);
	EVP_MD_free(hasher->algorithm);
	free(hasher);
}

/* Writes what identity and scope have in common. */
static int put_setting(struct hasher *hasher, struct slice version, const struct identity_source *source,
		       struct fault *fault)
{
	const struct slice texts[] = {
		version,          source->namespace, source->partition,
		source->upstream, source->model,     {(const char *)hasher->ignored.bytes, IDENTITY_BYTES},
	};

	canonical_start(&hasher->canonical);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		int error = canonical_text(&hasher->canonical, texts[i]);
		if (error)
			return fault_set(fault, error, "", "%s", error_text(error));
	}
	return canonical_parameters(&hasher->canonical, source->parameters, fault);
}

static int put_messages(struct hasher *hasher, const struct identity_source *source, struct slice cut, struct fault *fault)
{
	if (source->prompt.data)
		return canonical_prompt(&hasher->canonical, source->prompt, cut, fault);
	return canonical_messages(&hasher->canonical, source->messages, cut, fault);
}

int identity_of(struct hasher *hasher, const struct identity_source *source, struct identity *identity, struct fault *fault)
{
	const struct slice nothing = {NULL, 0};
	int error = put_setting(hasher, SLICE("semcache-identity-1"), source, fault);

	if (!error && source->prompt.data && source->messages.data)
		return fault_set(fault, ERROR_INVALID, "field=messages", "only one of prompt and messages may be given");
	if (!error)
		error = put_messages(hasher, source, nothing, fault);
	if (error)
		return error;
	error = digest_of(hasher, identity);
	return error ? fault_set(fault, error, "", "SHA-256 failed") : 0;
}

/* Returns whether a parameter's value says something: not nil, false, zero, "" or empty. */
static bool says_something(const struct reader_value *value)
{
	switch (value->type) {
	case READER_NIL:
		return false;
	case READER_BOOL:
		return value->boolean;
	case READER_UINT:
		return value->uint > 0;
	case READER_FLOAT:
		return value->number < 0.0 || value->number > 0.0;
	case READER_TEXT:
		return value->text.length > 0;
	case READER_ARRAY:
	case READER_MAP:
		return value->count > 0;
	default:
		return true;
	}
}

static bool at_most_one(const struct reader_value *value)
{
	return (value->type == READER_UINT && value->uint <= 1) || (value->type == READER_FLOAT && value->number <= 1.0);
}

/* What the parameters ask for, found in one pass. */
struct asked {
	bool tools; /* or functions */
	bool never_store;
};

static struct asked asked_of(struct slice parameters)
{
	struct asked asked = {.tools = false};
	struct reader r = reader_of(parameters);
	struct reader_value map, key, value;
	struct slice raw;

	if (reader_next(&r, &map) != 0)
		return asked;
	for (size_t left = map.count; left > 0; left--) {
		if (reader_next(&r, &key) != 0 || reader_skip(&r, &raw) != 0)
			break;
		value = raw_first(raw);
		enum identity_part part = identity_parameter_find(key.text);
		if (part == IDENTITY_PART_COUNT || !says_something(&value))
			continue;
		if (identity_part_rule(part) == IDENTITY_RULE_exact_only)
			asked.tools = true;
		else if (identity_part_rule(part) == IDENTITY_RULE_never_stored)
			asked.never_store |= part != IDENTITY_PART_n || !at_most_one(&value);
	}
	return asked;
}

/* Returns whether a message's raw content has a part that is not text. */
static bool has_other_part(struct slice content)
{
	struct reader r = reader_of(content);
	struct reader_value array;
	struct slice part, type;

	if (reader_next(&r, &array) != 0 || array.type != READER_ARRAY)
		return false;
	for (size_t left = array.count; left > 0; left--) {
		if (reader_skip(&r, &part) != 0 || !raw_find(part, SLICE("type"), &type))
			return true;
		struct reader_value value = raw_first(type);
		if (value.type != READER_TEXT || !slice_equal(value.text, SLICE("text")))
			return true;
	}
	return false;
}

/* Looks through the messages. `*last` is the text of the last one if it is plain user text, or else absent. */
static bool messages_have_other_parts(struct slice messages, struct slice *last)
{
	struct reader r = reader_of(messages);
	struct reader_value array;
	struct slice message, content, role;

	*last = (struct slice){NULL, 0};
	if (reader_next(&r, &array) != 0)
		return false;
	for (size_t left = array.count; left > 0; left--) {
		if (reader_skip(&r, &message) != 0 || !raw_find(message, SLICE("content"), &content))
			continue;
		if (has_other_part(content))
			return true;
		if (left == 1 && raw_find(message, SLICE("role"), &role) && slice_equal(raw_first(role).text, SLICE("user")))
			*last = raw_plain_text(content);
	}
	return false;
}

static enum identity_compared compared_of(const struct identity_source *source, bool tools, struct slice *last)
{
	if (tools)
		return COMPARED_TOOLS;
	if (source->prompt.data)
		*last = source->prompt;
	else if (messages_have_other_parts(source->messages, last))
		return COMPARED_IMAGES;
	return last->length > 0 ? COMPARED : COMPARED_NOT_TEXT;
}

static int put_context(struct hasher *hasher, const struct identity_source *source, struct slice text, struct fault *fault)
{
	struct canonical *canonical = &hasher->canonical;
	int error;

	if (!source->context.data || slice_equal(source->context, SLICE("all"))) {
		error = canonical_text(canonical, SLICE("all"));
		return error ? error : put_messages(hasher, source, text, fault);
	}
	if (slice_equal(source->context, SLICE("system"))) {
		error = canonical_text(canonical, SLICE("system"));
		return error ? error : canonical_system(canonical, source->messages, fault);
	}
	error = canonical_text(canonical, SLICE("label"));
	return error ? error : canonical_text(canonical, source->context);
}

int identity_scope(struct hasher *hasher, const struct identity_source *source, enum identity_compared *compared,
		   struct slice *text, struct identity_traits *traits, struct identity *scope)
{
	struct slice found = {NULL, 0};
	struct asked asked = asked_of(source->parameters);
	enum identity_compared how = compared_of(source, asked.tools, &found);
	struct identity made = {{0}};
	struct fault fault;

	if (how == COMPARED) {
		if (source->question.length > 0)
			found = source->question;
		/* The source was accepted before, so only memory can be wanting. */
		if (put_setting(hasher, SLICE("semcache-scope-1"), source, &fault) != 0 ||
		    put_context(hasher, source, found, &fault) != 0 || digest_of(hasher, &made) != 0)
			return ERROR_MEMORY;
	} else {
		found = (struct slice){NULL, 0};
	}
	*compared = how;
	*text = found;
	*traits = (struct identity_traits){.never_store = asked.never_store};
	*scope = made;
	return 0;
}

int identity_messages(struct hasher *hasher, const struct identity_source *source, struct slice text,
		      struct identity *digest)
{
	struct fault fault;

	canonical_start(&hasher->canonical);
	if (put_context(hasher, source, text, &fault) != 0)
		return ERROR_MEMORY;
	return digest_of(hasher, digest);
}

static int digest_value(struct hasher *hasher, struct slice value, struct identity *digest)
{
	struct fault fault;

	canonical_start(&hasher->canonical);
	if (canonical_value(&hasher->canonical, value, &fault) != 0)
		return ERROR_MEMORY;
	return digest_of(hasher, digest);
}

bool identity_same_value(struct hasher *hasher, struct slice a, struct slice b)
{
	struct identity first, second;

	if (!a.data || !b.data)
		return !a.data && !b.data;
	return slice_equal(a, b) || (digest_value(hasher, a, &first) == 0 && digest_value(hasher, b, &second) == 0 &&
				     identity_equal(&first, &second));
}

void identity_hex(const struct identity *identity, char hex[IDENTITY_HEX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < IDENTITY_BYTES; i++) {
		hex[2 * i] = digits[identity->bytes[i] >> 4];
		hex[2 * i + 1] = digits[identity->bytes[i] & 15];
	}
	hex[IDENTITY_HEX - 1] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int identity_parse(struct slice hex, struct identity *identity)
{
	struct identity made;

	if (hex.length != IDENTITY_HEX - 1)
		return ERROR_INVALID;
	for (size_t i = 0; i < IDENTITY_BYTES; i++) {
		int high = hex_value(hex.data[2 * i]), low = hex_value(hex.data[2 * i + 1]);
		if (high < 0 || low < 0)
			return ERROR_INVALID;
		made.bytes[i] = (unsigned char)(high * 16 + low);
	}
	*identity = made;
	return 0;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return memcmp(a->bytes, b->bytes, IDENTITY_BYTES) == 0;
}
