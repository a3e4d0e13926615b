#include "result.h"

#include "pack.h"

#include "../proto/reader.h"

#include <endian.h>
#include <string.h>

static const char *const tiers[] = {
#define X(constant, name) #name,
	TIER_TABLE(X)
#undef X
};

const char *tier_name(enum tier tier)
{
	return tiers[tier];
}

/* The pairs that say something of the call rather than of the answer. */
#define CALL_PAIRS 9

static void put_call(msgpack_packer *pack, const struct result *r)
{
	pack_named_uint(pack, "request", r->request);
	pack_named_text(pack, "tier", slice_of(tier_name(r->tier)));
	pack_named_uint(pack, "age", r->age_s);
	pack_named_uint(pack, "ttl", r->ttl_s);
	pack_key(pack, "saved");
	msgpack_pack_map(pack, 2);
	pack_named_uint(pack, "tokens", r->saved_tokens);
	pack_named_float(pack, "usd", r->saved_usd);
	pack_named_float(pack, "best_similarity", r->best_similarity);
	pack_named_text(pack, "best_query", r->best_query);
	pack_named_text(pack, "reason", slice_of(reason_name(r->reason)));
	pack_key(pack, "timing");
	msgpack_pack_map(pack, 4);
	pack_named_float(pack, "total_ms", r->total_ms);
	pack_named_float(pack, "embedding_ms", r->embedding_ms);
	pack_named_float(pack, "search_ms", r->search_ms);
	pack_named_float(pack, "upstream_ms", r->upstream_ms);
}

/* The answer of a result, bytes in one piece or in blocks. */
static int put_answer(msgpack_packer *pack, struct buffer *out, const struct result *r)
{
	pack_key(pack, "answer");
	if (r->stored) {
		pack_text(pack, r->stored->answer);
		return 0;
	}
	msgpack_pack_str(pack, r->fresh->length);
	int error = buffer_reserve(out, r->fresh->length);
	if (error)
		return error;
	answer_copy(r->fresh, out->data + out->length);
	out->length += r->fresh->length;
	return 0;
}

/* The pairs of a stored or fresh answer, but for the answer itself; as many as ENTRY_RESULT_PAIRS - 1. */
static void put_origin(msgpack_packer *pack, const struct result *r)
{
	const struct entry *stored = r->stored;
	char hex[IDENTITY_HEX];
	struct slice entry = {0};

	if (stored || r->is_kept) {
		identity_hex(stored ? &stored->identity : &r->entry, hex);
		entry = slice_of(hex);
	}
	struct slice usage = stored ? stored->usage : r->usage;
	pack_named_text(pack, "finish_reason", stored ? stored->finish_reason : r->finish_reason);
	pack_key(pack, "similarity");
	if (r->has_similarity)
		msgpack_pack_double(pack, r->similarity);
	else
		msgpack_pack_nil(pack);
	pack_named_text(pack, "original_query", r->original_query);
	pack_named_text(pack, "entry", entry);
	pack_named_text(pack, "model", stored ? stored->model : r->model);
	pack_key(pack, "usage");
	if (usage.data)
		(void)buffer_append(pack->data, usage.data, usage.length);
	else
		msgpack_pack_nil(pack);
}

/* The pairs are ready: an exact hit of a stored entry says the same every time. */
static int put_ready(struct buffer *out, const struct entry *stored, bool with_answer)
{
	struct slice ready = stored->result;

	if (!with_answer) {
		ready.data += stored->result_answer;
		ready.length -= stored->result_answer;
	}
	return buffer_append(out, ready.data, ready.length);
}

/* An exact hit from memory is always answered in these bytes, but for its numbers. The members are in the order of the wire,
 * all of single bytes, so that nothing lies between them. */
struct memory_reply {
	char head[3], id[8], nil[1], map[3];
	char request_key[9], request[8];
	char tier[12];
	char age_key[5], age[8], ttl_key[5], ttl[8];
	char saved_key[7], tokens_key[8], tokens[8], usd_key[5], usd[8];
	char best[45];
	char timing_key[8], total_key[10], total[8];
	char embedding[22], search[19], upstream[21];
};

/* Without the NUL that ends a string constant, which has no room in its member. */
static const struct memory_reply memory_reply = {
	.head = {(char)0x94, 1, (char)0xcf},
	.nil = {(char)0xc0},
	.map = {(char)0xde, 0, CALL_PAIRS + ENTRY_RESULT_PAIRS},
	.request_key = "\247request\317",
	.tier = "\244tier\246memory",
	.age_key = "\243age\317",
	.ttl_key = "\243ttl\317",
	.saved_key = "\245saved\202",
	.tokens_key = "\246tokens\317",
	.usd_key = "\243usd\313",
	.best = "\257best_similarity\313\0\0\0\0\0\0\0\0\252best_query\300\246reason\300",
	.timing_key = "\246timing\204",
	.total_key = "\250total_ms\313",
	.embedding = "\254embedding_ms\313\0\0\0\0\0\0\0\0",
	.search = "\251search_ms\313\0\0\0\0\0\0\0\0",
	.upstream = "\253upstream_ms\313\0\0\0\0\0\0\0\0",
};

static void put_number(char out[8], uint64_t value)
{
	value = htobe64(value);
	memcpy(out, &value, sizeof(value));
}

static void put_float(char out[8], double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put_number(out, bits);
}

static int write_memory_reply(struct buffer *out, uint64_t id, const struct result *r, bool with_answer)
{
	int error = buffer_reserve(out, sizeof(memory_reply) + r->stored->result.length);

	if (error)
		return error;
	struct memory_reply *reply = (struct memory_reply *)(void *)(out->data + out->length);
	*reply = memory_reply;
	put_number(reply->id, id);
	if (!with_answer)
		reply->map[2]--;
	put_number(reply->request, r->request);
	put_number(reply->age, r->age_s);
	put_number(reply->ttl, r->ttl_s);
	put_number(reply->tokens, r->saved_tokens);
	put_float(reply->usd, r->saved_usd);
	put_float(reply->total, r->total_ms);
	out->length += sizeof(*reply);
	return put_ready(out, r->stored, with_answer);
}

static bool is_ready(const struct result *r)
{
	return r->stored && r->stored->result.data && r->has_similarity && r->similarity >= 1.0 &&
	       slice_equal(r->original_query, r->stored->question);
}

static int write_pairs(struct buffer *out, msgpack_packer *pack, const struct result *r, bool with_answer)
{
	put_call(pack, r);
	if (r->tier == TIER_MISS)
		return 0;
	if (is_ready(r))
		return put_ready(out, r->stored, with_answer);
	if (with_answer) {
		int error = put_answer(pack, out, r);
		if (error)
			return error;
	}
	put_origin(pack, r);
	return 0;
}

int result_write(struct buffer *out, uint64_t id, const struct result *result, bool with_answer)
{
	size_t before = out->length;
	msgpack_packer pack;
	unsigned pairs = CALL_PAIRS;

	if (result->tier == TIER_MEMORY && is_ready(result))
		return write_memory_reply(out, id, result, with_answer);

	if (result->tier != TIER_MISS)
		pairs += ENTRY_RESULT_PAIRS - (with_answer ? 0u : 1u);
	/* What the packer cannot append it does not report, so room for all it may write is made first. */
	size_t texts = result->best_query.length + result->original_query.length + result->finish_reason.length +
		       result->model.length + result->usage.length;
	if (result->stored)
		texts += result->stored->question.length + result->stored->model.length + result->stored->usage.length +
			 result->stored->finish_reason.length;
	if (with_answer && result->stored)
		texts += result->stored->answer.length;
	else if (with_answer && result->fresh)
		texts += result->fresh->length;
	int error = buffer_reserve(out, 1024 + texts);
	if (error)
		return error;
	pack = pack_to(out);
	msgpack_pack_array(&pack, 4);
	msgpack_pack_uint8(&pack, 1);
	msgpack_pack_uint64(&pack, id);
	msgpack_pack_nil(&pack);
	msgpack_pack_map(&pack, pairs);
	error = write_pairs(out, &pack, result, with_answer);
	if (error)
		out->length = before;
	return error;
}

int result_write_chunk(struct buffer *out, uint64_t id, uint64_t seq, struct slice text)
{
	msgpack_packer pack;
	int error = buffer_reserve(out, text.length + 64);

	if (error)
		return error;
	pack = pack_to(out);
	msgpack_pack_array(&pack, 3);
	msgpack_pack_uint8(&pack, 2);
	pack_key(&pack, "chunk");
	msgpack_pack_array(&pack, 3);
	msgpack_pack_uint64(&pack, id);
	msgpack_pack_uint64(&pack, seq);
	pack_text(&pack, text);
	return 0;
}

int result_write_fault(struct buffer *out, const uint64_t *id, const struct fault *fault)
{
	char text[FAULT_BYTES];
	msgpack_packer pack;
	int error = buffer_reserve(out, sizeof(text) + 64);

	if (error)
		return error;
	pack = pack_to(out);
	msgpack_pack_array(&pack, 4);
	msgpack_pack_uint8(&pack, 1);
	if (id)
		msgpack_pack_uint64(&pack, *id);
	else
		msgpack_pack_nil(&pack);
	pack_text(&pack, (struct slice){text, fault_format(fault, text, sizeof(text))});
	msgpack_pack_nil(&pack);
	return 0;
}

struct usage usage_read(struct slice raw)
{
	struct usage usage = {0};
	struct reader r = reader_of(raw);
	struct reader_value map, key, value;

	if (!raw.data || reader_next(&r, &map) != 0 || map.type != READER_MAP)
		return usage;
	for (size_t i = 0; i < map.count; i++) {
		if (reader_next(&r, &key) != 0)
			break;
		/* A value may hold others, which are passed over. */
		struct reader head = r;
		if (reader_next(&head, &value) != 0 || reader_skip(&r, NULL) != 0)
			break;
		if (value.type != READER_UINT)
			continue;
		if (slice_equal(key.text, SLICE("prompt_tokens")))
			usage.prompt_tokens = value.uint;
		else if (slice_equal(key.text, SLICE("completion_tokens")))
			usage.completion_tokens = value.uint;
		else if (slice_equal(key.text, SLICE("total_tokens")))
			usage.total_tokens = value.uint;
	}
	return usage;
}
