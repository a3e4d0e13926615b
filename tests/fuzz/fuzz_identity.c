/* The input is up to five values: parameters, messages (or a text, the prompt), question, context, model. Whatever they
 * are: the same bytes have the same identity, whatever was hashed before; the order of the parameters does not matter; a
 * refusal leaves the outputs alone and says why; what is accepted has a scope. */
#include "proto/identity.h"
#include "proto/reader.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static struct slice next_raw(struct reader *r)
{
	struct slice raw = {NULL, 0};

	return reader_skip(r, &raw) == 0 ? raw : (struct slice){NULL, 0};
}

/* The next value, if it is a text; the request's reader lets no other one through. */
static struct slice next_text(struct reader *r)
{
	struct slice raw = next_raw(r);
	struct reader inside = reader_of(raw);
	struct reader_value value;
	bool nul;

	if (!raw.data || reader_next(&inside, &value) != 0 || value.type != READER_TEXT || value.text.length == 0 ||
	    !slice_is_utf8(value.text, &nul) || nul)
		return (struct slice){NULL, 0};
	return value.text;
}

static struct identity_source read_source(struct reader *r)
{
	struct identity_source source = {.namespace = SLICE("default"), .upstream = SLICE("fuzz")};
	struct reader_value value;

	source.parameters = next_raw(r);
	struct reader before = *r;
	if (reader_next(&before, &value) == 0 && value.type == READER_TEXT) {
		source.prompt = value.text;
		*r = before;
	} else {
		source.messages = next_raw(r);
	}
	source.question = next_text(r);
	source.context = next_text(r);
	source.model = next_text(r);
	return source;
}

/* Writes the raw map `from` with its pairs in the opposite order. Returns false if it is none. */
static bool reverse_pairs(struct slice from, struct buffer *to)
{
	struct slice pairs[256];
	struct reader r = reader_of(from);
	struct reader_value map;

	if (!from.data || reader_next(&r, &map) != 0 || map.type != READER_MAP ||
	    map.count > sizeof(pairs) / sizeof(pairs[0]))
		return false;
	check(buffer_append(to, from.data, (size_t)((const char *)r.at - from.data)) == 0);
	for (size_t i = 0; i < map.count; i++) {
		struct slice key = next_raw(&r), value = next_raw(&r);
		check(key.data && value.data);
		pairs[i] = (struct slice){key.data, key.length + value.length};
	}
	for (size_t i = map.count; i > 0; i--)
		check(buffer_append(to, pairs[i - 1].data, pairs[i - 1].length) == 0);
	return true;
}

static void check_order(struct hasher *hasher, const struct identity_source *source, const struct identity *identity)
{
	struct identity_source turned = *source;
	struct identity other;
	struct fault fault;
	struct buffer raw;

	buffer_init(&raw, MAX_BYTES);
	if (reverse_pairs(source->parameters, &raw)) {
		turned.parameters = buffer_slice(&raw);
		check(identity_of(hasher, &turned, &other, &fault) == 0);
		check(identity_equal(identity, &other));
	}
	buffer_deinit(&raw);
}

static void check_scope(struct hasher *hasher, const struct identity_source *source)
{
	static const struct identity none;
	struct identity_traits traits;
	struct identity scope, again;
	enum identity_compared compared;
	struct slice text;

	check(identity_scope(hasher, source, &compared, &text, &traits, &scope) == 0);
	check((compared == COMPARED) == (text.length > 0) && (compared == COMPARED) != identity_equal(&scope, &none));
	check(identity_scope(hasher, source, &compared, &text, &traits, &again) == 0);
	check(identity_equal(&scope, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct hasher *hasher;
	struct reader r = reader_of((struct slice){(const char *)data, size});
	struct identity_source source = read_source(&r);
	struct identity identity = {{0x5a}}, again = identity, kept = identity;
	struct fault fault;

	if (!hasher)
		hasher = hasher_create(MAX_BYTES);
	struct hasher *fresh = hasher_create(MAX_BYTES);
	check(hasher && fresh);
	int error = identity_of(hasher, &source, &identity, &fault);
	check(identity_of(fresh, &source, &again, &fault) == error);
	check(identity_equal(&identity, &again));
	if (error) {
		check(error == ERROR_INVALID || error == ERROR_TOO_LARGE);
		check(fault.code == error && strncmp(fault.detail, "field=", 6) == 0);
		check(identity_equal(&identity, &kept));
	} else {
		check_order(hasher, &source, &identity);
		check_scope(hasher, &source);
	}
	hasher_destroy(fresh);
	return 0;
}
