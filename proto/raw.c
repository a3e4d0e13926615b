#include "raw.h"

bool raw_find(struct slice map, struct slice name, struct slice *raw)
{
	struct reader r = reader_of(map);
	struct reader_value head, key;
	struct slice value;

	if (reader_next(&r, &head) != 0 || head.type != READER_MAP)
		return false;
	for (size_t left = head.count; left > 0; left--) {
		/* A key may be anything in bytes that nobody checked; whole, it is passed over. */
		struct slice whole;
		if (reader_skip(&r, &whole) != 0 || reader_skip(&r, &value) != 0)
			return false;
		key = raw_first(whole);
		if (key.type == READER_TEXT && slice_equal(key.text, name)) {
			*raw = value;
			return true;
		}
	}
	return false;
}

struct reader_value raw_first(struct slice raw)
{
	const struct reader_value nil = {.type = READER_NIL};
	struct reader r = reader_of(raw);
	struct reader_value value;

	return raw.data && reader_next(&r, &value) == 0 ? value : nil;
}

bool raw_single_text(struct reader *r, size_t count, struct slice *text)
{
	struct reader at = *r;
	struct reader_value map, key, value;
	struct slice found = {NULL, 0};
	bool typed = false;

	if (count != 1 || reader_next(&at, &map) != 0 || map.type != READER_MAP || map.count != 2)
		return false;
	for (int i = 0; i < 2; i++) {
		if (reader_next(&at, &key) != 0 || key.type != READER_TEXT || reader_next(&at, &value) != 0 ||
		    value.type != READER_TEXT)
			return false;
		if (slice_equal(key.text, SLICE("text")))
			found = value.text;
		else if (slice_equal(key.text, SLICE("type")) && slice_equal(value.text, SLICE("text")))
			typed = true;
	}
	if (!typed || !found.data)
		return false;
	*r = at;
	*text = found;
	return true;
}

struct slice raw_plain_text(struct slice content)
{
	struct reader r = reader_of(content);
	struct reader_value value;
	struct slice text;

	if (reader_next(&r, &value) == 0) {
		if (value.type == READER_TEXT)
			return value.text;
		if (value.type == READER_ARRAY && raw_single_text(&r, value.count, &text))
			return text;
	}
	return (struct slice){NULL, 0};
}
