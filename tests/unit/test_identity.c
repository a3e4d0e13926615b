/* The vectors of proto/identity.vectors, and what they cannot say: limits, reuse, digests as text. */
#include "proto/identity.h"
#include "proto/limits.h"

#include <json-c/json.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define VECTORS "proto/identity.vectors"
#define MAX_BYTES (4u << 20)
#define FIELDS 16

static int setup(void **state)
{
	*state = hasher_create(MAX_BYTES);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	hasher_destroy(*state);
	return 0;
}

/* One line of a vector. */
struct line {
	const char *field, *value;
};

struct vector {
	struct line lines[FIELDS];
	size_t count;
	struct identity identity, scope; /* computed */
	bool accepted;
};

static const char *line_of(const struct vector *vector, const char *field)
{
	for (size_t i = 0; i < vector->count; i++)
		if (strcmp(vector->lines[i].field, field) == 0)
			return vector->lines[i].value;
	return NULL;
}

static void pack(struct buffer *out, json_object *value);

static void pack_text(struct buffer *out, json_object *value)
{
	msgpack_packer packer;
	size_t length = (size_t)json_object_get_string_len(value);

	msgpack_packer_init(&packer, out, buffer_write_msgpack);
	assert_int_equal(msgpack_pack_str(&packer, length), 0);
	assert_int_equal(msgpack_pack_str_body(&packer, json_object_get_string(value), length), 0);
}

/* Returns whether `map` is one of those that say what JSON cannot, and packs it then. */
static bool pack_special(struct buffer *out, json_object *map)
{
	msgpack_packer packer;
	json_object *value;

	msgpack_packer_init(&packer, out, buffer_write_msgpack);
	if (json_object_object_get_ex(map, "$bin", &value)) {
		size_t length = (size_t)json_object_get_string_len(value);
		assert_int_equal(msgpack_pack_bin(&packer, length), 0);
		assert_int_equal(msgpack_pack_bin_body(&packer, json_object_get_string(value), length), 0);
		return true;
	}
	if (json_object_object_get_ex(map, "$float32", &value)) {
		assert_int_equal(msgpack_pack_float(&packer, (float)json_object_get_double(value)), 0);
		return true;
	}
	if (json_object_object_get_ex(map, "$msgpack", &value)) {
		for (const char *hex = json_object_get_string(value); *hex; hex += 2) {
			unsigned byte;
			assert_int_equal(sscanf(hex, "%2x", &byte), 1);
			unsigned char one = (unsigned char)byte;
			assert_int_equal(buffer_append(out, &one, 1), 0);
		}
		return true;
	}
	return false;
}

static void pack_map(struct buffer *out, json_object *map)
{
	msgpack_packer packer;
	struct json_object_iterator at = json_object_iter_begin(map), end = json_object_iter_end(map);

	if (pack_special(out, map))
		return;
	msgpack_packer_init(&packer, out, buffer_write_msgpack);
	msgpack_pack_map(&packer, (size_t)json_object_object_length(map));
	for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
		/* The name ends at a NUL: a vector says such a key with $msgpack. */
		const char *name = json_object_iter_peek_name(&at);
		msgpack_pack_str(&packer, strlen(name));
		msgpack_pack_str_body(&packer, name, strlen(name));
		pack(out, json_object_iter_peek_value(&at));
	}
}

static void pack_number(struct buffer *out, json_object *value)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, out, buffer_write_msgpack);
	if (json_object_get_int64(value) < 0)
		msgpack_pack_int64(&packer, json_object_get_int64(value));
	else
		msgpack_pack_uint64(&packer, json_object_get_uint64(value));
}

static void pack(struct buffer *out, json_object *value)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, out, buffer_write_msgpack);
	switch (json_object_get_type(value)) {
	case json_type_null:
		msgpack_pack_nil(&packer);
		break;
	case json_type_boolean:
		json_object_get_boolean(value) ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer);
		break;
	case json_type_double:
		msgpack_pack_double(&packer, json_object_get_double(value));
		break;
	case json_type_int:
		pack_number(out, value);
		break;
	case json_type_string:
		pack_text(out, value);
		break;
	case json_type_array:
		msgpack_pack_array(&packer, json_object_array_length(value));
		for (size_t i = 0; i < json_object_array_length(value); i++)
			pack(out, json_object_array_get_idx(value, i));
		break;
	case json_type_object:
		pack_map(out, value);
		break;
	}
}

/* The text of `name`: a JSON string, or {"$bin": …}, which as a slice is the same. */
static struct slice text_of(json_object *input, const char *name)
{
	json_object *value, *inner;

	if (!json_object_object_get_ex(input, name, &value))
		return (struct slice){NULL, 0};
	if (json_object_is_type(value, json_type_object) && json_object_object_get_ex(value, "$bin", &inner))
		value = inner;
	return (struct slice){json_object_get_string(value), (size_t)json_object_get_string_len(value)};
}

static struct slice raw_of(json_object *input, const char *name, struct buffer *out)
{
	json_object *value;

	buffer_init(out, MAX_BYTES);
	if (!json_object_object_get_ex(input, name, &value))
		return (struct slice){NULL, 0};
	pack(out, value);
	return buffer_slice(out);
}

static void check_text(const char *expected, struct slice text)
{
	json_object *value = json_tokener_parse(expected);

	assert_non_null(value);
	assert_int_equal(text.length, (size_t)json_object_get_string_len(value));
	assert_memory_equal(text.data, json_object_get_string(value), text.length);
	json_object_put(value);
}

static void check_scope(struct hasher *hasher, const struct identity_source *source, struct vector *vector)
{
	static const char *const words[] = {
		[COMPARED_NOT_TEXT] = "not text",
		[COMPARED_IMAGES] = "images",
		[COMPARED_TOOLS] = "tools",
	};
	char hex[IDENTITY_HEX];
	enum identity_compared compared;
	struct identity_traits traits;
	struct slice text;

	assert_int_equal(identity_scope(hasher, source, &compared, &text, &traits, &vector->scope), 0);
	assert_int_equal(traits.never_store, line_of(vector, "never store") != NULL);
	if (compared != COMPARED) {
		assert_non_null(line_of(vector, "not compared"));
		assert_string_equal(line_of(vector, "not compared"), words[compared]);
		assert_null(text.data);
		return;
	}
	identity_hex(&vector->scope, hex);
	assert_non_null(line_of(vector, "scope"));
	assert_string_equal(hex, line_of(vector, "scope"));
	check_text(line_of(vector, "text"), text);
}

static void check_digests(struct hasher *hasher, const struct identity_source *source, struct vector *vector)
{
	const char *refused = line_of(vector, "refused");
	char hex[IDENTITY_HEX], said[128];
	struct fault fault;
	int error = identity_of(hasher, source, &vector->identity, &fault);

	if (refused) {
		assert_int_equal(error, ERROR_INVALID);
		assert_int_equal(fault.code, ERROR_INVALID);
		(void)snprintf(said, sizeof(said), "INVALID %s", strchr(fault.detail, '=') + 1);
		assert_string_equal(said, refused);
		return;
	}
	assert_int_equal(error, 0);
	identity_hex(&vector->identity, hex);
	assert_string_equal(hex, line_of(vector, "identity"));
	vector->accepted = true;
	check_scope(hasher, source, vector);
}

static void check_vector(struct hasher *hasher, struct vector *vector)
{
	json_object *input = json_tokener_parse(line_of(vector, "input"));
	struct buffer parameters, messages;

	assert_non_null(input);
	const struct identity_source source = {
		.namespace = text_of(input, "namespace"),
		.partition = text_of(input, "partition"),
		.upstream = text_of(input, "upstream"),
		.model = text_of(input, "model"),
		.prompt = text_of(input, "prompt"),
		.question = text_of(input, "question"),
		.context = text_of(input, "context"),
		.parameters = raw_of(input, "parameters", &parameters),
		.messages = raw_of(input, "messages", &messages),
	};
	check_digests(hasher, &source, vector);
	buffer_deinit(&parameters);
	buffer_deinit(&messages);
	json_object_put(input);
}

static const struct vector *vector_find(const struct vector *vectors, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(line_of(&vectors[i], "name"), name) == 0)
			return &vectors[i];
	fail_msg("no vector is called %s", name);
	return NULL;
}

static void check_relations(const struct vector *vectors, size_t count, const struct vector *vector)
{
	for (size_t i = 0; i < vector->count; i++) {
		const char *field = vector->lines[i].field;
		bool same = strncmp(field, "same", 4) == 0, of_scope = strstr(field, " scope") != NULL;
		if (!same && strncmp(field, "other", 5) != 0)
			continue;
		const struct vector *other = vector_find(vectors, count, vector->lines[i].value);
		assert_true(other->accepted);
		assert_int_equal(of_scope ? identity_equal(&vector->scope, &other->scope)
					  : identity_equal(&vector->identity, &other->identity),
				 same);
	}
}

/* Cuts the text of the file into vectors, in place. Returns how many there are. */
static size_t vectors_read(char *text, struct vector *vectors, size_t most)
{
	size_t count = 0;
	bool open = false;

	for (char *line = text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		char *colon = strstr(line, ": ");
		if (line[0] == '#' || !colon) {
			open = open && line[0] != '\0';
			continue;
		}
		*colon = '\0';
		if (!open)
			assert_true(count++ < most);
		open = true;
		struct vector *vector = &vectors[count - 1];
		assert_true(vector->count < FIELDS);
		vector->lines[vector->count++] = (struct line){line, colon + 2};
	}
	return count;
}

static void every_vector_of_the_file_holds(void **state)
{
	static struct vector vectors[512];
	static char text[1 << 18];
	FILE *file = fopen(VECTORS, "r");

	assert_non_null(file);
	size_t length = fread(text, 1, sizeof(text) - 1, file);
	assert_int_equal(fclose(file), 0);
	assert_true(length < sizeof(text) - 1);
	size_t count = vectors_read(text, vectors, sizeof(vectors) / sizeof(vectors[0]));
	assert_true(count > 100);
	for (size_t i = 0; i < count; i++) {
		print_message("%s\n", line_of(&vectors[i], "name"));
		check_vector(*state, &vectors[i]);
		check_relations(vectors, count, &vectors[i]);
	}
}

static const struct identity_source plain = {
	.namespace = {"default", 7},
	.upstream = {"openai", 6},
	.model = {"gpt-4o-mini", 11},
	.prompt = {"What is Python?", 15},
};

static void a_large_question_does_not_change_the_next_one(void **state)
{
	struct identity_source large = plain;
	struct identity before, after, other;
	struct fault fault;
	size_t length = 1 << 20;
	char *text = malloc(length);

	assert_non_null(text);
	memset(text, 'x', length);
	large.prompt = (struct slice){text, length};
	assert_int_equal(identity_of(*state, &plain, &before, &fault), 0);
	assert_int_equal(identity_of(*state, &large, &other, &fault), 0);
	assert_int_equal(identity_of(*state, &plain, &after, &fault), 0);
	assert_true(identity_equal(&before, &after));
	assert_false(identity_equal(&before, &other));
	free(text);
}

static void a_refused_question_leaves_the_outputs_and_the_next_one_alone(void **state)
{
	static const char unsorted_then_bad[] = "\x83\xa1z\x82\xa1y\x01\xa1x\x02\xa1k\x01\xa1j\xd4\x01";
	struct identity_source bad = plain;
	struct identity before, after, untouched = {{1, 2, 3}}, kept = untouched;
	struct fault fault;

	bad.parameters = (struct slice){unsorted_then_bad, sizeof(unsorted_then_bad)};
	assert_int_equal(identity_of(*state, &plain, &before, &fault), 0);
	assert_int_equal(identity_of(*state, &bad, &untouched, &fault), ERROR_INVALID);
	assert_string_equal(fault.detail, "field=parameters");
	assert_true(identity_equal(&untouched, &kept));
	assert_int_equal(identity_of(*state, &plain, &after, &fault), 0);
	assert_true(identity_equal(&before, &after));
}

static void more_than_the_hasher_is_made_for_is_too_large(void **state)
{
	struct hasher *small = hasher_create(16);
	struct identity_source large = plain;
	struct identity identity;
	struct fault fault;
	static char text[8192];

	(void)state;
	assert_non_null(small);
	memset(text, 'x', sizeof(text));
	large.prompt = (struct slice){text, sizeof(text)};
	assert_int_equal(identity_of(small, &large, &identity, &fault), ERROR_TOO_LARGE);
	assert_int_equal(identity_of(small, &plain, &identity, &fault), 0);
	hasher_destroy(small);
}

/* Every raw byte that can become nine: an array of small integers as large as a message may be. */
static void the_largest_growth_of_a_message_fits(void **state)
{
	size_t count = 65536;
	unsigned char *raw = calloc(1, count + 16);
	struct hasher *hasher = hasher_create(count + 16);
	struct identity_source source = plain;
	struct identity identity;
	struct fault fault;

	(void)state;
	assert_non_null(raw);
	assert_non_null(hasher);
	memcpy(raw, "\x81\xa1y\xdd\x00\x01\x00\x00", 8);
	source.parameters = (struct slice){(char *)raw, 8 + count};
	assert_int_equal(identity_of(hasher, &source, &identity, &fault), 0);
	hasher_destroy(hasher);
	free(raw);
}

static void too_many_keys_in_a_map_are_too_large(void **state)
{
	struct identity_source source = plain;
	struct identity identity;
	struct fault fault;

	for (unsigned count = LIMIT_MAP_KEYS; count <= LIMIT_MAP_KEYS + 1; count++) {
		struct buffer raw;
		buffer_init(&raw, MAX_BYTES);
		msgpack_packer packer;
		msgpack_packer_init(&packer, &raw, buffer_write_msgpack);
		msgpack_pack_map(&packer, count);
		for (unsigned i = 0; i < count; i++) {
			char key[16];
			int length = snprintf(key, sizeof(key), "k%u", i);
			msgpack_pack_str(&packer, (size_t)length);
			msgpack_pack_str_body(&packer, key, (size_t)length);
			msgpack_pack_int(&packer, (int)i);
		}
		source.parameters = buffer_slice(&raw);
		int error = identity_of(*state, &source, &identity, &fault);
		assert_int_equal(error, count > LIMIT_MAP_KEYS ? ERROR_TOO_LARGE : 0);
		if (error)
			assert_string_equal(fault.detail, "field=parameters limit=1024");
		buffer_deinit(&raw);
	}
}

static void values_too_deep_are_too_large(void **state)
{
	struct identity_source source = plain;
	struct identity identity;
	struct fault fault;

	for (size_t inside = LIMIT_DEPTH - 1; inside <= LIMIT_DEPTH; inside++) {
		char raw[64] = "\x81\xa1k";
		memset(raw + 3, '\x91', inside);
		raw[3 + inside] = 1;
		source.parameters = (struct slice){raw, 4 + inside};
		int error = identity_of(*state, &source, &identity, &fault);
		assert_int_equal(error, inside < LIMIT_DEPTH ? 0 : ERROR_TOO_LARGE);
	}
}

static void neither_or_both_of_prompt_and_messages_are_invalid(void **state)
{
	struct identity_source neither = plain, both = plain;
	struct identity identity;
	struct fault fault;

	neither.prompt = (struct slice){NULL, 0};
	assert_int_equal(identity_of(*state, &neither, &identity, &fault), ERROR_INVALID);
	assert_string_equal(fault.detail, "field=messages");
	both.messages = SLICE("\x91\x81\xa4role\xa4user");
	assert_int_equal(identity_of(*state, &both, &identity, &fault), ERROR_INVALID);
	assert_string_equal(fault.detail, "field=messages");
}

static void what_goes_on_behind_its_end_is_invalid(void **state)
{
	struct identity_source source = plain;
	struct identity identity;
	struct fault fault;

	source.parameters = SLICE("\x80\x01");
	assert_int_equal(identity_of(*state, &source, &identity, &fault), ERROR_INVALID);
	source = plain;
	source.prompt = (struct slice){NULL, 0};
	source.messages = SLICE("\x91\x81\xa4role\xa4user\x01");
	assert_int_equal(identity_of(*state, &source, &identity, &fault), ERROR_INVALID);
}

static void messages_cut_at_every_byte_are_invalid(void **state)
{
	static const char whole[] = "\x91\x83\xa4role\xa4user\xa7"
				    "content\x91\x82\xa4type\xa4text\xa4text\xc4\x02hi\xa1x\xcf"
				    "\x00\x00\x00\x00\x00\x00\x00\x01";
	struct identity_source source = plain;
	struct identity identity;
	struct fault fault;

	source.prompt = (struct slice){NULL, 0};
	for (size_t length = 0; length < sizeof(whole); length++) {
		/* A copy of just these bytes, so that a read behind them is seen. */
		char *copy = malloc(length + 1);
		assert_non_null(copy);
		char *exact = realloc(memcpy(copy, whole, length), length ? length : 1);
		source.messages = (struct slice){exact, length};
		int error = identity_of(*state, &source, &identity, &fault);
		assert_int_equal(error, length == sizeof(whole) - 1 ? 0 : ERROR_INVALID);
		free(exact);
	}
}

static void a_digest_goes_through_hex_and_back(void **state)
{
	struct identity digest, back, kept;
	struct slice texts[] = {SLICE("a"), SLICE("")};
	struct slice joined[] = {SLICE("a"), SLICE(""), SLICE("")};
	char hex[IDENTITY_HEX];

	assert_int_equal(identity_digest(*state, texts, 2, &digest), 0);
	identity_hex(&digest, hex);
	assert_int_equal(identity_parse(slice_of(hex), &back), 0);
	assert_true(identity_equal(&digest, &back));
	assert_int_equal(identity_digest(*state, joined, 3, &back), 0);
	assert_false(identity_equal(&digest, &back));
	kept = back;
	hex[10] = 'g';
	assert_int_equal(identity_parse(slice_of(hex), &back), ERROR_INVALID);
	assert_int_equal(identity_parse((struct slice){hex, 10}, &back), ERROR_INVALID);
	assert_int_equal(identity_parse((struct slice){NULL, 0}, &back), ERROR_INVALID);
	assert_true(identity_equal(&kept, &back));
}

static void a_digest_is_sha_256_of_length_prefixed_texts(void **state)
{
	struct slice text[] = {SLICE("abc")};
	struct identity digest;
	char hex[IDENTITY_HEX];

	/* printf 's\0\0\0\0\0\0\0\3abc' | sha256sum */
	assert_int_equal(identity_digest(*state, text, 1, &digest), 0);
	identity_hex(&digest, hex);
	assert_string_equal(hex, "4c0e77880c912423baf4c28c3ae0acbd03fd673aa879267ccea5256bf5aa9a2d");
	/* printf '' | sha256sum */
	assert_int_equal(identity_digest(*state, NULL, 0, &digest), 0);
	identity_hex(&digest, hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void ignored_parameters_are_known_by_name(void **state)
{
	(void)state;
	assert_true(identity_ignores(SLICE("user")));
	assert_true(identity_ignores(SLICE("metadata")));
	assert_true(identity_ignores(SLICE("stream")));
	assert_false(identity_ignores(SLICE("temperature")));
	assert_false(identity_ignores(SLICE("use")));
	assert_false(identity_ignores((struct slice){NULL, 0}));
}

static void every_part_of_the_table_is_found_by_its_name(void **state)
{
	size_t ignored = 0;

	(void)state;
	for (enum identity_part part = 0; part < IDENTITY_PART_COUNT; part++) {
		assert_int_equal(identity_part_find(slice_of(identity_part_name(part))), part);
		assert_true(strlen(identity_part_text(part)) > 0);
		assert_non_null(identity_rule_text(identity_part_rule(part)));
		ignored += identity_ignores(slice_of(identity_part_name(part)));
	}
	assert_int_equal(ignored, 9);
	assert_int_equal(identity_part_find(SLICE("temperature")), IDENTITY_PART_COUNT);
	assert_int_equal(identity_parameter_find(SLICE("n")), IDENTITY_PART_n);
	/* A parameter that is called as a part that is none. */
	assert_int_equal(identity_parameter_find(SLICE("question")), IDENTITY_PART_COUNT);
	assert_int_equal(identity_compared_part(COMPARED), IDENTITY_PART_COUNT);
	assert_int_equal(identity_compared_part(COMPARED_TOOLS), IDENTITY_PART_tools);
	assert_int_equal(identity_compared_part(COMPARED_IMAGES), IDENTITY_PART_images);
	assert_int_equal(identity_compared_part(COMPARED_NOT_TEXT), IDENTITY_PART_not_text);
}

static void what_is_beside_the_compared_text_has_a_digest(void **state)
{
	/* [{role: system, content: a}, {role: user, content: b}] */
	static const char with_system[] = "\x92\x82\xa4role\xa6system\xa7"
					  "content\xa1"
					  "a\x82\xa4role\xa4user\xa7"
					  "content\xa1"
					  "b";
	struct identity_source source = {.prompt = SLICE("b")}, other = {.messages = SLICE(with_system)};
	struct identity first, second;

	assert_int_equal(identity_messages(*state, &source, SLICE("b"), &first), 0);
	source.prompt = SLICE("another");
	assert_int_equal(identity_messages(*state, &source, SLICE("another"), &second), 0);
	assert_true(identity_equal(&first, &second));
	assert_int_equal(identity_messages(*state, &other, SLICE("b"), &second), 0);
	assert_false(identity_equal(&first, &second));
	source.context = other.context = SLICE("kb-1");
	assert_int_equal(identity_messages(*state, &source, SLICE("another"), &first), 0);
	assert_int_equal(identity_messages(*state, &other, SLICE("b"), &second), 0);
	assert_true(identity_equal(&first, &second));
}

static void values_are_compared_as_identities_are(void **state)
{
	static const struct {
		struct slice a, b;
		bool same;
	} cases[] = {
		{{"\x01", 1}, {"\xcb\x3f\xf0\0\0\0\0\0\0", 9}, true},  /* 1, 1.0 */
		{{"\x01", 1}, {"\xcb\x3f\xf0\0\0\0\0\0\1", 9}, false}, /* a little more */
		{{"\x82\xa1"
		  "a\x01\xa1"
		  "b\x02",
		  7},
		 {"\x82\xa1"
		  "b\x02\xa1"
		  "a\x01",
		  7},
		 true},                               /* the order of keys */
		{{"\xa1x", 2}, {"\xc4\1x", 3}, true}, /* str, bin */
		{{"\xc0", 1}, {NULL, 0}, false},      /* nil, absent */
		{{NULL, 0}, {NULL, 0}, true},
		{{"\x91\x01", 2}, {"\x01", 1}, false},
		{{"\xc1", 1}, {"\x01", 1}, false}, /* no value at all */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(identity_same_value(*state, cases[i].a, cases[i].b), cases[i].same);
		assert_int_equal(identity_same_value(*state, cases[i].b, cases[i].a), cases[i].same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_of_the_file_holds),
		cmocka_unit_test(a_large_question_does_not_change_the_next_one),
		cmocka_unit_test(a_refused_question_leaves_the_outputs_and_the_next_one_alone),
		cmocka_unit_test(more_than_the_hasher_is_made_for_is_too_large),
		cmocka_unit_test(the_largest_growth_of_a_message_fits),
		cmocka_unit_test(too_many_keys_in_a_map_are_too_large),
		cmocka_unit_test(values_too_deep_are_too_large),
		cmocka_unit_test(neither_or_both_of_prompt_and_messages_are_invalid),
		cmocka_unit_test(what_goes_on_behind_its_end_is_invalid),
		cmocka_unit_test(messages_cut_at_every_byte_are_invalid),
		cmocka_unit_test(a_digest_goes_through_hex_and_back),
		cmocka_unit_test(a_digest_is_sha_256_of_length_prefixed_texts),
		cmocka_unit_test(ignored_parameters_are_known_by_name),
		cmocka_unit_test(every_part_of_the_table_is_found_by_its_name),
		cmocka_unit_test(what_is_beside_the_compared_text_has_a_digest),
		cmocka_unit_test(values_are_compared_as_identities_are),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
