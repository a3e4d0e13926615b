/* All goes well: one pass over the raw bytes writes each value behind the one before. A map's pairs are written in the
 * order in which they come; most clients send few keys, and often in order. When they were not, the encoded pairs are
 * moved once all are there: that costs a copy, where sorting first would cost reading everything inside the map once
 * more at every level.
 * What can go wrong: a value that JSON cannot carry, a key twice, a message of a wrong shape: INVALID naming the field.
 * Sizes are bounded: depth by LIMIT_DEPTH (so is the recursion), keys by LIMIT_MAP_KEYS, bytes by the buffer. */
#include "canonical.h"

#include "fault.h"
#include "identity.h"
#include "limits.h"
#include "raw.h"
#include "reader.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct canonical_pair {
	struct slice key;  /* in the raw bytes */
	size_t start, end; /* of the encoded pair in `out` */
};

/* What put_pairs() has to look after besides. */
enum map_kind { MAP_PLAIN, MAP_PARAMETERS, MAP_MESSAGE };

/* One pass over one field. */
struct walk {
	struct canonical *c;
	const char *field;
	struct fault *fault;
	struct slice cut; /* to be cut out of the content of the message being written; absent = nothing */
	unsigned depth;
};

/* A value's head is at most 9 bytes and its raw form at least one, so no form is larger than this many times the raw
 * bytes. */
#define GROWTH 9
#define HEAD_BYTES 9
/* The names and digests around the raw bytes. */
#define AROUND_BYTES 4096
/* Memory that is kept from one form to the next. */
#define KEEP_BYTES 65536
#define KEEP_PAIRS 1024
/* The largest whole number below which a float64 has no gaps. */
#define WHOLE_MAX 9007199254740992.0

void canonical_init(struct canonical *c, size_t max_bytes)
{
	size_t most = (SIZE_MAX / 2 - AROUND_BYTES) / GROWTH;
	size_t max = (max_bytes < most ? max_bytes : most) * GROWTH + AROUND_BYTES;

	*c = (struct canonical){.pairs = NULL};
	buffer_init(&c->out, max);
	buffer_init(&c->spare, max);
}

static void pairs_free(struct canonical *c)
{
	free(c->pairs);
	c->pairs = NULL;
	c->pair_capacity = 0;
}

void canonical_deinit(struct canonical *c)
{
	buffer_deinit(&c->out);
	buffer_deinit(&c->spare);
	pairs_free(c);
	c->pair_count = 0;
}

void canonical_start(struct canonical *c)
{
	c->out.length = 0;
	c->spare.length = 0;
	c->pair_count = 0;
	if (c->out.capacity > KEEP_BYTES)
		buffer_deinit(&c->out);
	if (c->spare.capacity > KEEP_BYTES)
		buffer_deinit(&c->spare);
	if (c->pair_capacity > KEEP_PAIRS)
		pairs_free(c);
}

static int put_value(struct walk *w, struct reader *r);

static int invalid(const struct walk *w, const char *text)
{
	char detail[32];

	(void)snprintf(detail, sizeof(detail), "field=%s", w->field);
	return fault_set(w->fault, ERROR_INVALID, detail, "%s", text);
}

static int invalid_key(const struct walk *w, struct slice key, const char *text)
{
	char detail[32];

	(void)snprintf(detail, sizeof(detail), "field=%s", w->field);
	return fault_set(w->fault, ERROR_INVALID, detail, "\"%.*s\" %s", (int)slice_whole_characters(key, 48), key.data,
			 text);
}

static int too_large(const struct walk *w, unsigned long limit, const char *what)
{
	char detail[64];

	(void)snprintf(detail, sizeof(detail), "field=%s limit=%lu", w->field, limit);
	return fault_set(w->fault, ERROR_TOO_LARGE, detail, "more than %lu %s", limit, what);
}

static int cut_short(const struct walk *w)
{
	return invalid(w, "ends within a value");
}

static int no_room(const struct walk *w, int error)
{
	if (error == ERROR_TOO_LARGE)
		return too_large(w, (unsigned long)w->c->out.max, "bytes in canonical form");
	return fault_set(w->fault, error, "", "no memory for a request");
}

static int room_make(struct canonical *c, size_t more)
{
	if (more <= c->out.capacity - c->out.length)
		return 0;
	return buffer_reserve(&c->out, more);
}

/* Writes a tag and a number of 8 bytes; there is room. */
static void head_write(char *at, char tag, uint64_t number)
{
	uint64_t bytes = htobe64(number);

	at[0] = tag;
	memcpy(at + 1, &bytes, sizeof(bytes));
}

static int put_head(struct walk *w, char tag, uint64_t number)
{
	int error = room_make(w->c, HEAD_BYTES);

	if (error)
		return no_room(w, error);
	head_write(w->c->out.data + w->c->out.length, tag, number);
	w->c->out.length += HEAD_BYTES;
	return 0;
}

static int put_tag(struct walk *w, char tag)
{
	int error = room_make(w->c, 1);

	if (error)
		return no_room(w, error);
	w->c->out.data[w->c->out.length++] = tag;
	return 0;
}

int canonical_text(struct canonical *c, struct slice text)
{
	if (text.length > SIZE_MAX - HEAD_BYTES)
		return ERROR_TOO_LARGE;
	int error = room_make(c, HEAD_BYTES + text.length);
	if (error)
		return error;
	char *at = c->out.data + c->out.length;
	head_write(at, 's', text.length);
	if (text.length)
		memcpy(at + HEAD_BYTES, text.data, text.length);
	c->out.length += HEAD_BYTES + text.length;
	return 0;
}

static int put_unchecked(struct walk *w, struct slice text)
{
	int error = canonical_text(w->c, text);

	return error ? no_room(w, error) : 0;
}

static int put_text(struct walk *w, struct slice text)
{
	bool nul;

	if (!slice_is_utf8(text, &nul))
		return invalid(w, "has a text in it that is not valid UTF-8");
	if (nul)
		return invalid(w, "has a NUL character in it");
	return put_unchecked(w, text);
}

static int put_float(struct walk *w, double number)
{
	uint64_t bits;

	if (!isfinite(number))
		return invalid(w, "has a number in it that JSON cannot carry: NaN or infinite");
	if (number >= -WHOLE_MAX && number <= WHOLE_MAX && (double)(int64_t)number == number)
		return put_head(w, number < 0 ? 'i' : 'u', (uint64_t)(int64_t)number);
	memcpy(&bits, &number, sizeof(bits));
	return put_head(w, 'd', bits);
}

static int pair_push(struct walk *w, struct canonical_pair pair)
{
	struct canonical *c = w->c;

	if (c->pair_count == c->pair_capacity) {
		size_t capacity = c->pair_capacity ? 2 * c->pair_capacity : 64;
		struct canonical_pair *pairs = realloc(c->pairs, capacity * sizeof(*pairs));
		if (!pairs)
			return no_room(w, ERROR_MEMORY);
		c->pairs = pairs;
		c->pair_capacity = capacity;
	}
	c->pairs[c->pair_count++] = pair;
	return 0;
}

static int key_compare(struct slice a, struct slice b)
{
	size_t shorter = a.length < b.length ? a.length : b.length;
	int order = shorter ? memcmp(a.data, b.data, shorter) : 0;

	if (order)
		return order;
	return a.length < b.length ? -1 : a.length > b.length;
}

static int pair_compare(const void *a, const void *b)
{
	return key_compare(((const struct canonical_pair *)a)->key, ((const struct canonical_pair *)b)->key);
}

/* Moves the encoded pairs, which begin at `base`, into the order of `pairs`. The largest is moved in place and only the
 * others by way of `spare`, so that a deep chain of maps costs one move a level. */
static int pairs_move(struct walk *w, const struct canonical_pair *pairs, size_t count, size_t base)
{
	struct buffer *out = &w->c->out, *spare = &w->c->spare;
	size_t largest = 0, before = 0;

	for (size_t i = 1; i < count; i++)
		if (pairs[i].end - pairs[i].start > pairs[largest].end - pairs[largest].start)
			largest = i;
	spare->length = 0;
	for (size_t i = 0; i < count; i++) {
		if (i == largest) {
			before = spare->length;
			continue;
		}
		int error = buffer_append(spare, out->data + pairs[i].start, pairs[i].end - pairs[i].start);
		if (error)
			return no_room(w, error);
	}
	size_t size = pairs[largest].end - pairs[largest].start;
	memmove(out->data + base + before, out->data + pairs[largest].start, size);
	memcpy(out->data + base, spare->data, before);
	memcpy(out->data + base + before + size, spare->data + before, spare->length - before);
	return 0;
}

static int pairs_sort(struct walk *w, size_t first, size_t base)
{
	struct canonical_pair *pairs = w->c->pairs + first;
	size_t count = w->c->pair_count - first;

	if (count > 16) {
		qsort(pairs, count, sizeof(*pairs), pair_compare);
	} else {
		for (size_t i = 1; i < count; i++) {
			struct canonical_pair pair = pairs[i];
			size_t k = i;
			for (; k > 0 && key_compare(pair.key, pairs[k - 1].key) < 0; k--)
				pairs[k] = pairs[k - 1];
			pairs[k] = pair;
		}
	}
	for (size_t i = 1; i < count; i++)
		if (slice_equal(pairs[i].key, pairs[i - 1].key))
			return invalid_key(w, pairs[i].key, "is there twice");
	return pairs_move(w, pairs, count, base);
}

_Static_assert(IDENTITY_PART_COUNT <= 32, "put_pair() marks them in 32 bits");

/* Returns the place of `name` in `names`, or `count`. Most lengths differ, so most names are not looked at. */
static size_t name_find(const struct slice *names, size_t count, struct slice name)
{
	size_t i = 0;

	while (i < count && (names[i].length != name.length || memcmp(names[i].data, name.data, name.length) != 0))
		i++;
	return i;
}

/* If the text that is to be cut out stands in `text`, `*at` is where: its last place, found from left to right. */
static bool cut_find(struct slice text, struct slice cut, size_t *at)
{
	const char *place = text.data, *end = text.data + text.length, *found = NULL;

	while (cut.length && (size_t)(end - place) >= cut.length) {
		const char *next = memmem(place, (size_t)(end - place), cut.data, cut.length);
		if (!next)
			break;
		found = next;
		place = next + cut.length;
	}
	if (!found)
		return false;
	*at = (size_t)(found - text.data);
	return true;
}

/* A content that is plain text, with what is to be cut out of it cut out; that is only asked of a text checked before. */
static int put_plain_content(struct walk *w, struct slice text)
{
	size_t at;

	if (!w->cut.data || !cut_find(text, w->cut, &at))
		return put_text(w, text);
	size_t behind = at + w->cut.length;
	int error = put_head(w, 'a', 2);
	if (!error)
		error = put_unchecked(w, (struct slice){text.data, at});
	if (!error)
		error = put_unchecked(w, (struct slice){text.data + behind, text.length - behind});
	return error;
}

static int put_pairs(struct walk *w, struct reader *r, size_t count, enum map_kind kind);

static int put_content(struct walk *w, struct reader *r)
{
	struct reader_value value;
	struct slice text;

	if (reader_next(r, &value) != 0)
		return cut_short(w);
	if (value.type == READER_TEXT)
		return put_plain_content(w, value.text);
	if (value.type == READER_NIL)
		return put_tag(w, 'n');
	if (value.type != READER_ARRAY)
		return invalid(w, "a message's content must be a text, nil or an array of parts");
	if (raw_single_text(r, value.count, &text))
		return put_plain_content(w, text);
	int error = put_head(w, 'a', value.count);
	for (size_t left = value.count; left > 0 && !error; left--) {
		if (reader_next(r, &value) != 0)
			return cut_short(w);
		if (value.type != READER_MAP)
			return invalid(w, "each part of a message's content must be a map");
		error = put_pairs(w, r, value.count, MAP_PLAIN);
	}
	return error;
}

static int put_message_value(struct walk *w, struct reader *r, struct slice key, bool *role)
{
	struct reader_value value;
	struct reader before = *r;

	if (slice_equal(key, SLICE("content")))
		return put_content(w, r);
	if (!slice_equal(key, SLICE("role")))
		return put_value(w, r);
	if (reader_next(&before, &value) != 0)
		return cut_short(w);
	if (value.type != READER_TEXT)
		return invalid(w, "a message's role must be a text");
	*role = true;
	return put_value(w, r);
}

/* What has a place of its own in a request, and inside parameters too would be sent twice. */
static const struct slice own_place[] = {{"model", 5}, {"messages", 8}, {"stream", 6}, {"stream_options", 14}};

#define OWN_PLACE_COUNT (sizeof(own_place) / sizeof(own_place[0]))

/* Writes one pair and pushes it, unless it is an ignored parameter: that one is checked and dropped again. */
static int put_pair(struct walk *w, struct reader *r, enum map_kind kind, struct slice key, bool *role, uint32_t *seen)
{
	size_t start = w->c->out.length;
	int error = put_text(w, key);

	if (error)
		return error;
	if (kind == MAP_PARAMETERS && name_find(own_place, OWN_PLACE_COUNT, key) < OWN_PLACE_COUNT)
		return invalid_key(w, key, "has a place of its own, beside parameters");
	error = kind == MAP_MESSAGE ? put_message_value(w, r, key, role) : put_value(w, r);
	if (error)
		return error;
	if (kind == MAP_PARAMETERS && identity_ignores(key)) {
		uint32_t bit = UINT32_C(1) << identity_parameter_find(key);
		if (*seen & bit)
			return invalid_key(w, key, "is there twice");
		*seen |= bit;
		w->c->out.length = start;
		return 0;
	}
	return pair_push(w, (struct canonical_pair){key, start, w->c->out.length});
}

/* Writes a map whose head has been read, `count` pairs of which follow. */
static int put_pairs(struct walk *w, struct reader *r, size_t count, enum map_kind kind)
{
	struct canonical *c = w->c;
	size_t first = c->pair_count, head = c->out.length;
	bool sorted = true, role = false;
	uint32_t seen = 0;

	if (count > LIMIT_MAP_KEYS)
		return too_large(w, LIMIT_MAP_KEYS, "keys in one map");
	if (w->depth == LIMIT_DEPTH)
		return too_large(w, LIMIT_DEPTH, "arrays and maps inside each other");
	w->depth++;
	int error = put_head(w, 'm', count);
	while (!error && count-- > 0) {
		struct reader_value key;
		if (reader_next(r, &key) != 0)
			return cut_short(w);
		if (key.type != READER_TEXT)
			return invalid(w, "a map's keys must be texts");
		error = put_pair(w, r, kind, key.text, &role, &seen);
		if (!error && sorted && c->pair_count - first >= 2)
			sorted = pair_compare(&c->pairs[c->pair_count - 2], &c->pairs[c->pair_count - 1]) < 0;
	}
	if (!error && kind == MAP_MESSAGE && !role)
		return invalid(w, "each message needs a role");
	if (!error && !sorted)
		error = pairs_sort(w, first, head + HEAD_BYTES);
	if (error)
		return error;
	head_write(c->out.data + head, 'm', c->pair_count - first);
	c->pair_count = first;
	w->depth--;
	return 0;
}

static int put_array(struct walk *w, struct reader *r, size_t count)
{
	if (w->depth == LIMIT_DEPTH)
		return too_large(w, LIMIT_DEPTH, "arrays and maps inside each other");
	w->depth++;
	int error = put_head(w, 'a', count);
	while (!error && count-- > 0)
		error = put_value(w, r);
	w->depth--;
	return error;
}

static int put_value(struct walk *w, struct reader *r)
{
	struct reader_value value;

	if (reader_next(r, &value) != 0)
		return cut_short(w);
	switch (value.type) {
	case READER_NIL:
		return put_tag(w, 'n');
	case READER_BOOL:
		return put_tag(w, value.boolean ? 't' : 'f');
	case READER_UINT:
		return put_head(w, 'u', value.uint);
	case READER_INT:
		return put_head(w, 'i', (uint64_t)value.integer);
	case READER_FLOAT:
		return put_float(w, value.number);
	case READER_TEXT:
		return put_text(w, value.text);
	case READER_ARRAY:
		return put_array(w, r, value.count);
	case READER_MAP:
		return put_pairs(w, r, value.count, MAP_PLAIN);
	case READER_EXT:
		break;
	}
	return invalid(w, "has an ext value in it, which JSON cannot carry");
}

int canonical_parameters(struct canonical *c, struct slice raw, struct fault *fault)
{
	struct walk w = {.c = c, .field = "parameters", .fault = fault};
	struct reader r = reader_of(raw);
	struct reader_value map;

	if (!raw.data)
		return put_head(&w, 'm', 0);
	if (reader_next(&r, &map) != 0 || map.type != READER_MAP)
		return invalid(&w, "must be a map");
	int error = put_pairs(&w, &r, map.count, MAP_PARAMETERS);
	if (!error && r.at != r.end)
		return invalid(&w, "goes on behind its end");
	return error;
}

int canonical_value(struct canonical *c, struct slice raw, struct fault *fault)
{
	struct walk w = {.c = c, .field = "parameters", .fault = fault};
	struct reader r = reader_of(raw);

	return put_value(&w, &r);
}

int canonical_messages(struct canonical *c, struct slice raw, struct slice cut, struct fault *fault)
{
	struct walk w = {.c = c, .field = "messages", .fault = fault};
	struct reader r = reader_of(raw);
	struct reader_value array, map;

	if (!raw.data || reader_next(&r, &array) != 0 || array.type != READER_ARRAY)
		return invalid(&w, "must be an array");
	if (array.count == 0)
		return invalid(&w, "must hold a message");
	int error = put_head(&w, 'a', array.count);
	for (size_t left = array.count; left > 0 && !error; left--) {
		if (reader_next(&r, &map) != 0)
			return cut_short(&w);
		if (map.type != READER_MAP)
			return invalid(&w, "each message must be a map");
		if (left == 1)
			w.cut = cut;
		error = put_pairs(&w, &r, map.count, MAP_MESSAGE);
	}
	if (!error && r.at != r.end)
		return invalid(&w, "goes on behind its end");
	return error;
}

int canonical_prompt(struct canonical *c, struct slice prompt, struct slice cut, struct fault *fault)
{
	struct walk w = {.c = c, .field = "prompt", .fault = fault, .cut = cut};
	int error;

	if (prompt.length == 0)
		return invalid(&w, "must not be empty");
	if ((error = put_head(&w, 'a', 1)) || (error = put_head(&w, 'm', 2)) ||
	    (error = put_unchecked(&w, SLICE("content"))) || (error = put_plain_content(&w, prompt)) ||
	    (error = put_unchecked(&w, SLICE("role"))) || (error = put_unchecked(&w, SLICE("user"))))
		return error;
	return 0;
}

/* Returns whether the raw message speaks for the operator. */
static bool is_system(struct slice message)
{
	struct slice raw;

	if (!raw_find(message, SLICE("role"), &raw))
		return false;
	struct slice role = raw_first(raw).text;
	return slice_equal(role, SLICE("system")) || slice_equal(role, SLICE("developer"));
}

int canonical_system(struct canonical *c, struct slice raw, struct fault *fault)
{
	struct walk w = {.c = c, .field = "messages", .fault = fault};
	struct reader r = reader_of(raw);
	struct reader_value array, map;
	size_t head = c->out.length, count = 0;
	int error = put_head(&w, 'a', 0);

	if (error)
		return error;
	/* A prompt has no messages, so none of the system's. */
	if (!raw.data)
		return 0;
	if (reader_next(&r, &array) != 0 || array.type != READER_ARRAY)
		return invalid(&w, "must be an array");
	for (size_t left = array.count; left > 0; left--) {
		struct slice message;
		if (reader_skip(&r, &message) != 0)
			return cut_short(&w);
		if (!is_system(message))
			continue;
		struct reader inside = reader_of(message);
		if (reader_next(&inside, &map) != 0)
			return cut_short(&w);
		error = put_pairs(&w, &inside, map.count, MAP_MESSAGE);
		if (error)
			return error;
		count++;
	}
	head_write(c->out.data + head, 'a', count);
	return 0;
}
