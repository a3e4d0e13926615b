/* A record is one MessagePack map that needs nothing else to be understood; proto/wire.md has its keys. All goes well: the
 * event is packed into room that was made before. What can go wrong: no memory; a record of another version is walked, whose
 * keys are passed over. */
#include "decisions_private.h"

#include "pack.h"

#include "../proto/reader.h"

#include <math.h>

#define RECORD_PAIRS 32
#define CANDIDATE_PAIRS 13
#define SERVED_PAIRS 7

/* A number, or nil for what is none. */
static void pack_named_number(msgpack_packer *pack, const char *key, double value)
{
	if (isfinite(value)) {
		pack_named_float(pack, key, value);
		return;
	}
	pack_key(pack, key);
	msgpack_pack_nil(pack);
}

static void pack_named_identity(msgpack_packer *pack, const char *key, const struct identity *identity)
{
	char hex[IDENTITY_HEX];

	identity_hex(identity, hex);
	pack_named_text(pack, key, slice_of(hex));
}

/* A question, cut to what is kept of one; nil without texts. */
static void pack_named_question(msgpack_packer *pack, const char *key, struct slice text, bool with_texts)
{
	if (!with_texts || !text.data)
		text = (struct slice){0};
	else if (text.length > RECORD_TEXT)
		text.length = slice_whole_characters(text, RECORD_TEXT);
	pack_named_text(pack, key, text);
}

static void pack_named_name(msgpack_packer *pack, const char *key, struct slice name)
{
	if (name.length > RECORD_TEXT)
		name.length = slice_whole_characters(name, RECORD_TEXT);
	pack_named_text(pack, key, name);
}

static void pack_named_guards(msgpack_packer *pack, const char *key, uint32_t guards)
{
	guards &= GUARDS_ALL;
	pack_key(pack, key);
	msgpack_pack_array(pack, (size_t)__builtin_popcount(guards));
	for (int guard = 0; guard < GUARD_COUNT; guard++)
		if (guards & GUARD_BIT(guard))
			pack_key(pack, guard_name((enum guard)guard));
}

static void pack_named_ms(msgpack_packer *pack, const char *key, uint64_t ms)
{
	pack_key(pack, key);
	if (ms)
		msgpack_pack_uint64(pack, ms);
	else
		msgpack_pack_nil(pack);
}

/* ---- the parts of a record: each packs as many pairs as its comment says ---- */

/* What a record is purged by: the tags of the call, and those of the entry that was served, which may have gone by then. */
static void pack_record_tags(msgpack_packer *pack, const struct decision_event *event)
{
	struct slice rest = event->served_tags, tag;

	pack_key(pack, "tags");
	msgpack_pack_array(pack, event->tag_count + entry_tag_count(rest));
	for (size_t i = 0; i < event->tag_count; i++)
		pack_text(pack, event->tags[i]);
	while (entry_next_tag(&rest, &tag))
		pack_text(pack, tag);
}

/* 12 */
static void pack_call(msgpack_packer *pack, const struct decision_event *event, uint64_t at_ms, bool with_texts)
{
	pack_named_uint(pack, "request", event->request);
	pack_named_uint(pack, "at_ms", at_ms);
	pack_named_uint(pack, "uid", event->uid);
	pack_named_uint(pack, "pid", event->pid > 0 ? (uint64_t)event->pid : 0);
	pack_named_text(pack, "namespace", event->namespace);
	pack_named_text(pack, "tier", slice_of(tier_name(event->tier)));
	pack_named_question(pack, "question", event->question, with_texts);
	pack_named_identity(pack, "identity", &event->identity);
	pack_named_identity(pack, "scope", &event->scope);
	pack_named_name(pack, "model", event->model);
	pack_named_name(pack, "upstream", event->upstream);
	pack_record_tags(pack, event);
}

/* 12 */
static void pack_policy(msgpack_packer *pack, const struct policy *policy, bool is_plain)
{
	pack_named_text(pack, "rule", is_plain ? SLICE("plain") : SLICE("calibrated"));
	pack_named_number(pack, "threshold", policy->threshold);
	pack_named_number(pack, "score_threshold", policy->calibrated ? policy->score_threshold : (double)NAN);
	pack_named_number(pack, "margin", policy->calibrated ? policy->margin : (double)NAN);
	pack_named_number(pack, "margin_floor", policy->calibrated ? policy->margin_floor : (double)NAN);
	pack_named_number(pack, "minimum", policy->calibrated ? policy->minimum : (double)NAN);
	pack_named_number(pack, "weight", policy->weight);
	pack_named_text(pack, "origin", slice_of(origin_name(policy->origin)));
	pack_named_ms(pack, "certificate_ms", policy->certificate_ms);
	pack_named_guards(pack, "guards_on", policy->guards_on);
	pack_named_guards(pack, "guards_shadow", policy->guards_shadow);
	pack_key(pack, "max_age");
	if (policy->has_max_age)
		msgpack_pack_uint64(pack, policy->max_age_s);
	else
		msgpack_pack_nil(pack);
}

/* 5 */
static void pack_decision(msgpack_packer *pack, const struct decision *decision, size_t count)
{
	pack_named_text(pack, "reason", slice_of(reason_name(decision->reason)));
	pack_named_bool(pack, "would_serve", decision->would_serve);
	pack_named_number(pack, "score", decision->score);
	pack_named_number(pack, "next", decision->plain ? (double)NAN : decision->next);
	pack_key(pack, "best");
	if (decision->index < count)
		msgpack_pack_uint64(pack, decision->index);
	else
		msgpack_pack_nil(pack);
}

static void pack_candidate(msgpack_packer *pack, const struct decision_event *event, size_t index, bool with_texts)
{
	const struct candidate *candidate = &event->candidates[index];
	const struct policy *policy = event->policy;
	bool is_gone = index < 32 && (event->gone >> index & 1);

	msgpack_pack_map(pack, CANDIDATE_PAIRS);
	pack_named_identity(pack, "entry", &candidate->identity);
	pack_named_question(pack, "question", (struct slice){candidate->question, candidate->question_length}, with_texts);
	pack_named_number(pack, "similarity", candidate->similarity);
	pack_named_number(pack, "opinion", candidate->opinion);
	pack_named_guards(pack, "vetoes", candidate->vetoes & policy->guards_on);
	pack_named_guards(pack, "shadow_vetoes", candidate->vetoes & policy->guards_shadow);
	pack_named_bool(pack, "rejected", candidate->rejected);
	pack_named_bool(pack, "quarantined", candidate->quarantined);
	pack_named_bool(pack, "gone", is_gone);
	pack_named_uint(pack, "created_ms", candidate->created_ms);
	pack_named_uint(pack, "age",
			event->now_ms > candidate->created_at_ms ? (event->now_ms - candidate->created_at_ms) / 1000 : 0);
	pack_named_bool(pack, "expired", candidate->expires_at_ms <= event->now_ms);
	pack_named_text(pack, "why", slice_of(reason_name(decide_why_not(candidate, is_gone, policy, event->now_ms))));
}

static void pack_served(msgpack_packer *pack, const struct decision_event *event, bool with_texts)
{
	static const char *const kinds[] = {
		[ALIAS_PROMOTED] = "promoted", [ALIAS_JUDGED] = "judged", [ALIAS_ACCEPTED] = "accepted"};

	if (!event->has_served) {
		msgpack_pack_nil(pack);
		return;
	}
	msgpack_pack_map(pack, SERVED_PAIRS);
	pack_named_identity(pack, "entry", &event->served);
	pack_named_question(pack, "question", event->served_question, with_texts);
	pack_named_number(pack, "similarity", event->served_similarity);
	pack_named_number(pack, "score", event->served_score);
	pack_named_ms(pack, "created_ms", event->served_created_ms);
	pack_named_name(pack, "model", event->served_model);
	bool is_alias = event->alias_kind >= 0 && (size_t)event->alias_kind < sizeof(kinds) / sizeof(kinds[0]);
	pack_named_text(pack, "alias", slice_of(is_alias ? kinds[event->alias_kind] : NULL));
}

int record_encode(struct buffer *out, const struct decision_event *event, uint64_t at_ms, bool with_texts)
{
	static const struct decision none = {.plain = true, .score = (double)NAN};
	const struct decision *decision = event->decision ? event->decision : &none;
	size_t count = event->count < INDEX_CANDIDATES ? event->count : INDEX_CANDIDATES;
	msgpack_packer pack = pack_to(out);

	/* The packer drops what there is no room for, so all the room is made before. */
	int error = buffer_reserve(out, RECORD_MOST);
	if (error)
		return error;
	msgpack_pack_map(&pack, RECORD_PAIRS);
	pack_call(&pack, event, at_ms, with_texts);
	pack_named_text(&pack, "mode", slice_of(config_mode_name(event->mode)));
	pack_policy(&pack, event->policy, decision->plain);
	pack_decision(&pack, decision, count);
	pack_key(&pack, "candidates");
	msgpack_pack_array(&pack, count);
	for (size_t i = 0; i < count; i++)
		pack_candidate(&pack, event, i, with_texts);
	pack_key(&pack, "served");
	pack_served(&pack, event, with_texts);
	return 0;
}

/* ---- reviews ---- */

#define REVIEW "review"

int record_encode_review(struct buffer *out, const struct decision_review *review, uint64_t at_ms, bool with_texts)
{
	msgpack_packer pack = pack_to(out);
	int error = buffer_reserve(out, RECORD_MOST);

	if (error)
		return error;
	msgpack_pack_map(&pack, 6);
	pack_key(&pack, REVIEW);
	msgpack_pack_map(&pack, 7);
	pack_named_ms(&pack, "at_ms", at_ms);
	pack_named_text(&pack, "source", slice_of(review->source));
	pack_named_text(&pack, "outcome", slice_of(review->outcome));
	pack_named_number(&pack, "similarity", review->similarity);
	pack_named_number(&pack, "threshold", review->threshold);
	pack_named_question(&pack, "stored", review->stored, with_texts);
	pack_named_question(&pack, "fresh", review->fresh, with_texts);
	pack_named_uint(&pack, "request", review->request);
	pack_named_text(&pack, "namespace", review->namespace);
	pack_named_identity(&pack, "identity", &review->identity);
	pack_key(&pack, "tags");
	msgpack_pack_array(&pack, review->tag_count);
	for (size_t i = 0; i < review->tag_count; i++)
		pack_text(&pack, review->tags[i]);
	pack_key(&pack, "served");
	msgpack_pack_map(&pack, 1);
	pack_named_identity(&pack, "entry", &review->entry);
	return 0;
}

/* Reads the map's head, and its first key if that is a review's; `*r` then stands before the value. */
static bool read_review(struct reader *r)
{
	struct reader_value map, key;

	return reader_next(r, &map) == 0 && map.type == READER_MAP && map.count > 0 && reader_next(r, &key) == 0 &&
	       key.type == READER_TEXT && slice_equal(key.text, SLICE(REVIEW));
}

bool record_is_review(struct slice record)
{
	struct reader r = reader_of(record);

	return read_review(&r);
}

int record_join(struct buffer *out, struct slice record, struct slice review)
{
	struct reader r = reader_of(record), other = reader_of(review);
	struct reader_value map;
	struct slice said;
	int error = buffer_reserve(out, record.length + review.length + 16);

	if (error)
		return error;
	if (reader_next(&r, &map) != 0 || map.type != READER_MAP || !read_review(&other) || reader_skip(&other, &said) != 0)
		return ERROR_PROTOCOL;
	msgpack_packer pack = pack_to(out);
	msgpack_pack_map(&pack, map.count + 1);
	(void)buffer_append(out, r.at, (size_t)(r.end - r.at));
	pack_key(&pack, REVIEW);
	return buffer_append(out, said.data, said.length);
}

/* ---- what a record mentions ---- */

struct walk {
	bool (*mentions)(void *data, enum purge_kind kind, struct slice namespace, struct slice name);
	void *data;
	struct slice namespace;
};

static bool tell_entry(const struct walk *walk, const struct reader_value *value)
{
	struct identity identity;

	if (value->type != READER_TEXT || identity_parse(value->text, &identity) != 0)
		return false;
	return walk->mentions(walk->data, PURGE_ENTRY, walk->namespace,
			      (struct slice){(const char *)identity.bytes, IDENTITY_BYTES});
}

/* The entry in a map, at whose head `r` stands. */
static bool walk_map(struct reader *r, const struct walk *walk)
{
	struct reader_value map, key, value;

	if (reader_next(r, &map) != 0 || map.type != READER_MAP)
		return false;
	for (; map.count > 0; map.count--) {
		if (reader_next(r, &key) != 0)
			return false;
		if (key.type == READER_TEXT && slice_equal(key.text, SLICE("entry")))
			return reader_next(r, &value) == 0 && tell_entry(walk, &value);
		if (reader_skip(r, NULL) != 0)
			return false;
	}
	return false;
}

/* The items of an array, `raw`: tags, or maps with an entry each. */
static bool walk_array(struct slice raw, const struct walk *walk, bool is_tags)
{
	struct reader r = reader_of(raw);
	struct reader_value array, tag;

	if (reader_next(&r, &array) != 0 || array.type != READER_ARRAY)
		return false;
	for (; array.count > 0; array.count--) {
		struct slice item;
		if (reader_skip(&r, &item) != 0)
			return false;
		struct reader inner = reader_of(item);
		if (!is_tags && walk_map(&inner, walk))
			return true;
		if (is_tags && reader_next(&inner, &tag) == 0 && tag.type == READER_TEXT &&
		    walk->mentions(walk->data, PURGE_TAG, walk->namespace, tag.text))
			return true;
	}
	return false;
}

static bool walk_pair(struct slice key, struct slice raw, const struct walk *walk)
{
	struct reader r = reader_of(raw);
	struct reader_value value;

	if (slice_equal(key, SLICE("identity")))
		return reader_next(&r, &value) == 0 && tell_entry(walk, &value);
	if (slice_equal(key, SLICE("tags")))
		return walk_array(raw, walk, true);
	if (slice_equal(key, SLICE("candidates")))
		return walk_array(raw, walk, false);
	if (slice_equal(key, SLICE("served")))
		return walk_map(&r, walk);
	return false;
}

/* The namespace, or absent. */
static struct slice namespace_of(struct slice record)
{
	struct reader r = reader_of(record);
	struct reader_value map, key, value;

	if (reader_next(&r, &map) != 0 || map.type != READER_MAP)
		return (struct slice){0};
	for (; map.count > 0; map.count--) {
		if (reader_next(&r, &key) != 0)
			break;
		if (key.type == READER_TEXT && slice_equal(key.text, SLICE("namespace")))
			return reader_next(&r, &value) == 0 && value.type == READER_TEXT ? value.text : (struct slice){0};
		if (reader_skip(&r, NULL) != 0)
			break;
	}
	return (struct slice){0};
}

bool record_walk(struct slice record,
		 bool (*mentions)(void *data, enum purge_kind kind, struct slice namespace, struct slice name), void *data)
{
	struct walk walk = {.mentions = mentions, .data = data, .namespace = namespace_of(record)};
	struct reader r = reader_of(record);
	struct reader_value map, key;
	struct slice raw;

	if (!walk.namespace.data || reader_next(&r, &map) != 0)
		return false;
	if (mentions(data, PURGE_NAMESPACE, walk.namespace, (struct slice){0}))
		return true;
	for (; map.count > 0; map.count--) {
		if (reader_next(&r, &key) != 0 || reader_skip(&r, &raw) != 0)
			return false;
		if (key.type == READER_TEXT && walk_pair(key.text, raw, &walk))
			return true;
	}
	return false;
}
