/* The words of an explanation: what would be served and why not, the settings in force, and the candidates of the question's
 * own scope. Keys that a record of the decision log has too have the same names here. */
#include "admin_explain_private.h"

#include "memory_cache.h"
#include "replica.h"

#include <math.h>

/* ---- pairs ---- */

/* A number, or nil for what is none. */
static void say_number(msgpack_packer *pack, const char *key, double number)
{
	pack_key(pack, key);
	if (isfinite(number))
		msgpack_pack_double(pack, number);
	else
		msgpack_pack_nil(pack);
}

static void say_identity(msgpack_packer *pack, const char *key, const struct identity *identity)
{
	char hex[IDENTITY_HEX];

	identity_hex(identity, hex);
	pack_named_text(pack, key, slice_of(hex));
}

static void say_question(msgpack_packer *pack, const char *key, struct slice text)
{
	if (text.data)
		text.length = slice_whole_characters(text, ADMIN_QUESTION_SHOWN);
	pack_named_text(pack, key, text);
}

static void say_guards(msgpack_packer *pack, const char *key, uint32_t guards)
{
	guards &= GUARDS_ALL;
	pack_key(pack, key);
	msgpack_pack_array(pack, (size_t)__builtin_popcount(guards));
	for (int guard = 0; guard < GUARD_COUNT; guard++)
		if (guards & GUARD_BIT(guard))
			pack_key(pack, guard_name((enum guard)guard));
}

static uint64_t seconds_between(uint64_t from_ms, uint64_t to_ms)
{
	return to_ms > from_ms ? (to_ms - from_ms) / 1000 : 0;
}

void explain_say_entry(msgpack_packer *pack, const struct candidate *candidate, uint64_t now_ms)
{
	say_identity(pack, "entry", &candidate->identity);
	say_question(pack, "question", (struct slice){candidate->question, candidate->question_length});
	say_number(pack, "similarity", candidate->similarity);
	pack_named_uint(pack, "created_ms", candidate->created_ms);
	pack_named_uint(pack, "age", seconds_between(candidate->created_at_ms, now_ms));
	pack_named_uint(pack, "ttl", seconds_between(now_ms, candidate->fresh_until_at_ms));
}

/* ---- what would happen ---- */

/* What decides, in the order in which it does. */
struct verdict {
	bool is_served;
	enum tier tier;
	enum reason reason;
	const struct identity *entry; /* what is served, or what `reason` is about; or NULL */
	struct slice question;
	double similarity;
};

static bool is_in_memory(const struct service *service, const struct identity *identity)
{
	struct memory_hit hit;

	return replica_is_current(service) &&
	       memory_cache_get(service->memory, identity, deadlines_now_ms(service->deadlines), &hit);
}

static struct verdict verdict_of(const struct service *service, const struct explanation *e)
{
	const struct decision *decision = &e->decision;
	struct verdict verdict = {.tier = TIER_MISS, .similarity = NAN, .reason = decision->reason};

	if (e->stored && e->stored_reason == REASON_NONE)
		return (struct verdict){
			.is_served = true,
			.tier = is_in_memory(service, e->identity) ? TIER_MEMORY : TIER_EXACT,
			.entry = &e->stored->identity,
			.question = e->stored->question,
			.similarity = e->alias ? e->alias->similarity : 1.0,
		};
	if (decision->serve) {
		verdict.is_served = true;
		verdict.tier = TIER_SEMANTIC;
	} else if (!e->policy->exact_only && e->missed != REASON_NONE) {
		verdict.reason = e->missed;
	}
	if (decision->index < e->count) {
		const struct candidate *candidate = &e->candidates[decision->index];
		verdict.entry = &candidate->identity;
		verdict.question = (struct slice){candidate->question, candidate->question_length};
		verdict.similarity = candidate->similarity;
	}
	return verdict;
}

/* 8 pairs */
static void say_verdict(msgpack_packer *pack, const struct verdict *verdict, const struct decision *decision)
{
	pack_named_text(pack, "would", verdict->is_served ? SLICE("served") : SLICE("missed"));
	pack_named_text(pack, "tier", slice_of(tier_name(verdict->tier)));
	pack_named_text(pack, "reason", slice_of(reason_name(verdict->reason)));
	pack_named_bool(pack, "would_serve", decision->would_serve);
	if (verdict->entry) {
		say_identity(pack, "entry", verdict->entry);
	} else {
		pack_named_text(pack, "entry", (struct slice){0});
	}
	say_question(pack, "original_query", verdict->question);
	say_number(pack, "similarity", verdict->similarity);
	pack_named_text(pack, "rule", decision->plain ? SLICE("plain") : SLICE("calibrated"));
}

/* 14 pairs */
static void say_policy(msgpack_packer *pack, const struct explanation *e)
{
	const struct policy *policy = e->policy;
	bool is_calibrated = policy->calibrated;

	pack_named_text(pack, "mode", slice_of(config_mode_name(e->space->mode)));
	say_number(pack, "threshold", policy->threshold);
	say_number(pack, "score_threshold", is_calibrated ? policy->score_threshold : (double)NAN);
	say_number(pack, "margin", is_calibrated ? policy->margin : (double)NAN);
	say_number(pack, "margin_floor", is_calibrated ? policy->margin_floor : (double)NAN);
	say_number(pack, "minimum", is_calibrated ? policy->minimum : (double)NAN);
	say_number(pack, "weight", is_calibrated ? policy->weight : (double)NAN);
	pack_named_text(pack, "origin", slice_of(origin_name(policy->origin)));
	pack_key(pack, "certificate_ms");
	if (policy->certificate_ms)
		msgpack_pack_uint64(pack, policy->certificate_ms);
	else
		msgpack_pack_nil(pack);
	pack_key(pack, "max_age");
	if (policy->has_max_age)
		msgpack_pack_uint32(pack, policy->max_age_s);
	else
		msgpack_pack_nil(pack);
	say_guards(pack, "guards_on", policy->guards_on);
	say_guards(pack, "guards_shadow", policy->guards_shadow);
	/* 0 says that no candidate came so far as to have one. */
	say_number(pack, "score", fabs(e->decision.score) > 0 ? e->decision.score : (double)NAN);
	say_number(pack, "next", e->decision.plain ? (double)NAN : e->decision.next);
}

/* ---- whether meaning was compared ---- */

/* Returns NULL if it was. */
static const char *why_not_compared(const struct service *service, const struct explanation *e)
{
	const struct identity_source source = {
		.namespace = e->request->namespace,
		.upstream = e->upstream,
		.model = e->model,
		.parameters = e->request->parameters,
		.prompt = e->request->prompt,
		.messages = e->request->messages,
		.question = e->request->question,
		.context = e->request->context,
	};
	enum identity_compared compared = COMPARED;
	struct identity_traits traits;
	struct identity scope;
	struct slice text;

	if (identity_scope(service->hasher, &source, &compared, &text, &traits, &scope) == 0 && compared != COMPARED)
		return identity_part_name(identity_compared_part(compared));
	if (e->policy->exact_only)
		return "exact_only";
	if (!service->embedder)
		return "no_embedder";
	if (!e->compared)
		return identity_part_name(IDENTITY_PART_too_long);
	return reason_name(e->missed);
}

/* ---- the entries ---- */

static void say_stored(msgpack_packer *pack, const struct explanation *e, uint64_t now_ms)
{
	static const char *const kinds[] = {
		[ALIAS_PROMOTED] = "promoted", [ALIAS_JUDGED] = "judged", [ALIAS_ACCEPTED] = "accepted"};
	const struct entry *entry = e->stored;

	pack_key(pack, "exact");
	if (!entry) {
		msgpack_pack_nil(pack);
		return;
	}
	msgpack_pack_map(pack, 9);
	say_identity(pack, "entry", &entry->identity);
	say_question(pack, "question", entry->question);
	say_number(pack, "similarity", e->alias ? e->alias->similarity : 1.0);
	pack_named_uint(pack, "created_ms", entry->created_ms);
	pack_named_uint(pack, "age", seconds_between(entry->created_at_ms, now_ms));
	pack_named_uint(pack, "ttl", seconds_between(now_ms, entry->fresh_until_at_ms));
	pack_named_text(pack, "model", entry->model);
	pack_named_text(pack, "alias", slice_of(e->alias ? kinds[e->alias->kind] : NULL));
	pack_named_text(pack, "why", slice_of(reason_name(e->stored_reason)));
}

static enum reason why_not_candidate(const struct explanation *e, size_t index, uint64_t now_ms)
{
	bool is_gone = index < 32 && (e->gone >> index & 1);
	enum reason reason = decide_why_not(&e->candidates[index], is_gone, e->policy, now_ms);

	/* Nothing but its score is in the way, or one that is better, of which there is nothing to say. */
	if (reason == REASON_NONE && index == e->decision.index)
		return e->decision.reason;
	return reason;
}

static void say_candidate(msgpack_packer *pack, const struct explanation *e, size_t index, uint64_t now_ms)
{
	const struct candidate *candidate = &e->candidates[index];
	const struct policy *policy = e->policy;
	uint32_t off = GUARDS_ALL & ~policy->guards_on & ~policy->guards_shadow;

	/* The flight asked the others. */
	off = guards_veto(e->text, (struct slice){candidate->question, candidate->question_length}, off,
			  e->space->opposites);
	msgpack_pack_map(pack, EXPLAIN_ENTRY_PAIRS + 9);
	explain_say_entry(pack, candidate, now_ms);
	/* It is of the same scope. */
	pack_named_text(pack, "model", e->model);
	say_number(pack, "opinion", candidate->opinion);
	say_guards(pack, "vetoes", candidate->vetoes & policy->guards_on);
	say_guards(pack, "shadow_vetoes", candidate->vetoes & policy->guards_shadow & ~policy->guards_on);
	say_guards(pack, "off_vetoes", off);
	pack_named_bool(pack, "rejected", candidate->rejected);
	pack_named_bool(pack, "quarantined", candidate->quarantined);
	pack_named_bool(pack, "gone", index < 32 && (e->gone >> index & 1));
	pack_named_text(pack, "why", slice_of(reason_name(why_not_candidate(e, index, now_ms))));
}

void explain_say(struct call *call, const struct explanation *e, struct buffer *out)
{
	const struct service *service = call->calls->service;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	const struct verdict verdict = verdict_of(service, e);
	const char *why = why_not_compared(service, e);
	msgpack_packer pack = pack_to(out);

	pack_named_uint(&pack, "request", call->number);
	say_verdict(&pack, &verdict, &e->decision);
	say_policy(&pack, e);
	pack_named_bool(&pack, "compared", !why);
	pack_named_text(&pack, "why_not_compared", slice_of(why));
	say_stored(&pack, e, now_ms);
	pack_key(&pack, "candidates");
	msgpack_pack_array(&pack, e->count);
	for (size_t i = 0; i < e->count; i++)
		say_candidate(&pack, e, i, now_ms);
}
