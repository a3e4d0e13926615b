/* What keeps a question of another scope apart: the two requests are read side by side.
 *
 * An entry says only a digest of its other messages, so of those it is told that they differ, but not how. What can go
 * wrong: an entry of an older daemon has no such digest; then they must be what differs if nothing else does. */
#include "admin_explain_private.h"

#include "../proto/raw.h"

#include <stdio.h>
#include <string.h>

static struct slice messages_of(struct service *service, const struct explanation *explanation, char hex[IDENTITY_HEX])
{
	const struct request *request = explanation->request;
	const struct identity_source source = {
		.prompt = request->prompt,
		.messages = request->messages,
		.question = request->question,
		.context = request->context,
	};
	struct identity digest;

	if (!explanation->compared || identity_messages(service->hasher, &source, explanation->text, &digest) != 0)
		return SLICE("");
	identity_hex(&digest, hex);
	return (struct slice){hex, 16};
}

int explain_describe(struct service *service, const struct explanation *explanation, struct buffer *out)
{
	struct slice context = explanation->request->context, parameters = explanation->request->parameters;
	char hex[IDENTITY_HEX];
	int error = buffer_reserve(out, 256 + explanation->model.length + explanation->upstream.length + context.length +
						parameters.length);

	if (error)
		return error;
	msgpack_packer pack = pack_to(out);
	msgpack_pack_map(&pack, 5);
	pack_named_text(&pack, "model", explanation->model);
	pack_named_text(&pack, "upstream", explanation->upstream);
	pack_named_text(&pack, "context", context.data ? context : SLICE("all"));
	pack_named_text(&pack, "messages", messages_of(service, explanation, hex));
	pack_key(&pack, "parameters");
	if (parameters.data)
		return buffer_append(out, parameters.data, parameters.length);
	msgpack_pack_map(&pack, 0);
	return 0;
}

/* One comparison: the differences are counted before they are written. */
struct comparison {
	struct hasher *hasher;
	struct slice theirs, ours;
	struct difference {
		struct slice what, theirs, ours; /* the values are raw; absent where there is none */
	} found[EXPLAIN_DIFFERENCES];
	size_t count;
};

static void note(struct comparison *c, struct slice what, struct slice theirs, struct slice ours)
{
	if (c->count < EXPLAIN_DIFFERENCES)
		c->found[c->count++] = (struct difference){what, theirs, ours};
}

static struct slice member(struct slice map, struct slice name)
{
	struct slice raw;

	return map.data && raw_find(map, name, &raw) ? raw : (struct slice){0};
}

/* Whether a part is the same in both; a part that an entry does not name cannot be compared. */
static bool is_same_part(const struct comparison *c, struct slice name)
{
	struct slice theirs = raw_first(member(c->theirs, name)).text, ours = raw_first(member(c->ours, name)).text;

	return !theirs.data || !ours.data || slice_equal(theirs, ours);
}

static bool compare_part(struct comparison *c, struct slice name)
{
	if (is_same_part(c, name))
		return true;
	note(c, name, member(c->theirs, name), member(c->ours, name));
	return false;
}

/* ---- parameters ---- */

/* The parameters of a request that count, read once; what is beyond the most is left out. */
struct parameters {
	size_t count, all;
	struct pair {
		struct slice key, value;
	} pairs[EXPLAIN_PARAMETERS];
};

static void read_parameters(struct slice map, struct parameters *out)
{
	struct reader r = reader_of(map);
	struct reader_value head, key;
	struct slice raw;

	out->count = out->all = 0;
	if (!map.data || reader_next(&r, &head) != 0 || head.type != READER_MAP)
		return;
	for (size_t left = head.count; left > 0; left--) {
		if (reader_next(&r, &key) != 0 || key.type != READER_TEXT || reader_skip(&r, &raw) != 0)
			return;
		if (identity_ignores(key.text))
			continue;
		if (out->all++ < EXPLAIN_PARAMETERS)
			out->pairs[out->count++] = (struct pair){key.text, raw};
	}
}

static struct slice value_of(const struct parameters *parameters, struct slice key)
{
	for (size_t i = 0; i < parameters->count; i++)
		if (slice_equal(parameters->pairs[i].key, key))
			return parameters->pairs[i].value;
	return (struct slice){0};
}

/* Large values are only compared byte by byte, so that the loop is not held. */
static bool is_same_value(const struct comparison *c, struct slice a, struct slice b)
{
	if (a.length > EXPLAIN_VALUE_COMPARED || b.length > EXPLAIN_VALUE_COMPARED)
		return slice_equal(a, b);
	return identity_same_value(c->hasher, a, b);
}

static void compare_parameters(struct comparison *c)
{
	struct slice their_map = member(c->theirs, SLICE("parameters")), our_map = member(c->ours, SLICE("parameters"));
	struct parameters theirs, ours;

	read_parameters(their_map, &theirs);
	read_parameters(our_map, &ours);
	if (theirs.all > EXPLAIN_PARAMETERS || ours.all > EXPLAIN_PARAMETERS) {
		if (!slice_equal(their_map, our_map))
			note(c, SLICE("parameters"), their_map, our_map);
		return;
	}
	for (size_t i = 0; i < ours.count; i++) {
		struct slice its = value_of(&theirs, ours.pairs[i].key);
		if (!is_same_value(c, its, ours.pairs[i].value))
			note(c, ours.pairs[i].key, its, ours.pairs[i].value);
	}
	for (size_t i = 0; i < theirs.count; i++)
		if (!value_of(&ours, theirs.pairs[i].key).data)
			note(c, theirs.pairs[i].key, theirs.pairs[i].value, (struct slice){0});
}

static void pack_value(msgpack_packer *pack, struct slice raw)
{
	char text[48];

	if (!raw.data) {
		msgpack_pack_nil(pack);
	} else if (raw.length <= EXPLAIN_VALUE_SHOWN) {
		(void)buffer_append(pack->data, raw.data, raw.length);
	} else {
		(void)snprintf(text, sizeof(text), "(%zu bytes)", raw.length);
		pack_text(pack, slice_of(text));
	}
}

void explain_differences(struct hasher *hasher, struct slice theirs, struct slice ours, msgpack_packer *pack)
{
	struct comparison c = {.hasher = hasher, .theirs = theirs, .ours = ours};

	(void)compare_part(&c, SLICE("model"));
	(void)compare_part(&c, SLICE("upstream"));
	/* The digest covers the context too. */
	if (compare_part(&c, SLICE("context")))
		(void)compare_part(&c, SLICE("messages"));
	compare_parameters(&c);
	if (c.count == 0)
		note(&c, SLICE("messages"), (struct slice){0}, (struct slice){0});
	msgpack_pack_array(pack, c.count);
	for (size_t i = 0; i < c.count; i++) {
		msgpack_pack_map(pack, 3);
		struct slice what = c.found[i].what;
		what.length = slice_whole_characters(what, EXPLAIN_VALUE_SHOWN);
		pack_named_text(pack, "what", what);
		pack_key(pack, "theirs");
		pack_value(pack, c.found[i].theirs);
		pack_key(pack, "ours");
		pack_value(pack, c.found[i].ours);
	}
}
