/* explain: what a question would be answered with, and why. The flight tells what it knows of the question's own scope
 * (admin_explained()); then the other scopes of the namespace are searched, and each entry found there is read, to say what differs.
 *
 *   flight ──> own scope written ──> index: elsewhere ──> up to INDEX_CANDIDATES reads at once ──> result
 *
 * It keeps nothing but the question's embedding, and counts as no answer. What can go wrong: the question was not compared by
 * meaning, the index is busy, Redis is away (then nothing is known of other scopes, and the result says why), an entry is gone (it
 * is left out), the call ends meanwhile. */
#include "admin_explain_private.h"

#include "clock.h"
#include "memory_cache.h"
#include "replica.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

/* The most bytes that are told of one entry of another scope. */
#define FOUND_MOST (64u << 10)

/* One entry of another scope. */
struct found {
	struct explaining *explaining;
	struct store_read read;
	struct buffer said; /* its map; empty = it is gone */
};

struct explaining {
	struct call *call;
	struct service *service;
	struct index_search search;
	bool is_searching;
	struct found found[INDEX_CANDIDATES];
	size_t found_count, awaited;
	bool is_unreadable; /* an entry could not be read, because Redis is away */
	uint64_t step_us, embedding_us, search_us;
	struct buffer out;      /* the result, as far as it is known */
	struct buffer ours;     /* explain_describe() */
	struct slice namespace; /* in `name` */
	char name[];
};

static void explaining_free(struct explaining *explaining)
{
	struct index *index = &explaining->service->index;

	if (explaining->is_searching)
		index->ops->cancel(index->state, &explaining->search);
	for (size_t i = 0; i < explaining->found_count; i++) {
		store_read_cancel(&explaining->found[i].read);
		buffer_deinit(&explaining->found[i].said);
	}
	index_candidates_free(&explaining->search);
	buffer_deinit(&explaining->out);
	buffer_deinit(&explaining->ours);
	free(explaining);
}

static void explaining_cancel(void *work)
{
	explaining_free(work);
}

static void explaining_failed(struct explaining *explaining, int code)
{
	struct call *call = explaining->call;
	struct fault fault;

	explaining_free(explaining);
	(void)fault_set(&fault, code, "", "%s", error_text(code));
	call_fail(call, &fault);
}

/* ---- the end ---- */

/* The pairs that are written here. */
#define LAST_PAIRS 3

static void explaining_finish(struct explaining *explaining, const char *unknown)
{
	struct call *call = explaining->call;
	msgpack_packer pack = pack_to(&explaining->out);
	uint64_t now_us = clock_us();
	size_t count = 0;

	for (size_t i = 0; i < explaining->found_count; i++)
		count += explaining->found[i].said.length > 0;
	pack_named_text(&pack, "why_no_elsewhere", slice_of(unknown));
	pack_key(&pack, "elsewhere");
	msgpack_pack_array(&pack, count);
	for (size_t i = 0; i < explaining->found_count; i++)
		(void)buffer_append(&explaining->out, explaining->found[i].said.data, explaining->found[i].said.length);
	pack_key(&pack, "timing");
	msgpack_pack_map(&pack, 4);
	pack_named_float(&pack, "total_ms", (double)(now_us - call->started_us) / 1000);
	pack_named_float(&pack, "embedding_ms", (double)explaining->embedding_us / 1000);
	pack_named_float(&pack, "search_ms", (double)explaining->search_us / 1000);
	pack_named_float(&pack, "elsewhere_ms", explaining->step_us ? (double)(now_us - explaining->step_us) / 1000 : 0);
	struct buffer out = explaining->out;
	buffer_init(&explaining->out, 0);
	explaining_free(explaining);
	admin_finish(call, &out);
}

/* ---- the other scopes ---- */

static void found_say(struct found *found, const struct entry *entry)
{
	struct explaining *explaining = found->explaining;
	const struct candidate *candidate = &explaining->search.candidates[found - explaining->found];
	msgpack_packer pack = pack_to(&found->said);

	msgpack_pack_map(&pack, EXPLAIN_ENTRY_PAIRS + 2);
	explain_say_entry(&pack, candidate, deadlines_now_ms(explaining->service->deadlines));
	pack_named_text(&pack, "model", entry->model);
	pack_key(&pack, "differs");
	explain_differences(explaining->service->hasher, entry->request, buffer_slice(&explaining->ours), &pack);
}

static void found_came(struct store_read *read, int error)
{
	struct found *found = read->data;
	struct explaining *explaining = found->explaining;
	struct entry *entry = read->entry;

	read->entry = NULL;
	if (error)
		explaining->is_unreadable = true;
	else if (entry)
		found_say(found, entry);
	entry_destroy(entry);
	if (--explaining->awaited == 0)
		explaining_finish(explaining, explaining->is_unreadable ? "redis_unavailable" : NULL);
}

/* Reads one from memory, or else from Redis. */
static void found_read(struct found *found, const struct identity *identity)
{
	struct explaining *explaining = found->explaining;
	struct service *service = explaining->service;
	struct memory_hit hit;

	if (replica_is_current(service) &&
	    memory_cache_get(service->memory, identity, deadlines_now_ms(service->deadlines), &hit) && !hit.alias &&
	    slice_equal(hit.entry->namespace, explaining->namespace)) {
		found_say(found, hit.entry);
		return;
	}
	if (!service->store)
		return;
	found->read = (struct store_read){.done = found_came, .data = found};
	if (store_fetch(service->store, &found->read, explaining->namespace, identity, false) == 0)
		explaining->awaited++;
	else
		explaining->is_unreadable = true;
}

static void read_found(struct explaining *explaining)
{
	explaining->found_count = explaining->search.count;
	for (size_t i = 0; i < explaining->found_count; i++) {
		explaining->found[i].explaining = explaining;
		buffer_init(&explaining->found[i].said, FOUND_MOST);
	}
	for (size_t i = 0; i < explaining->found_count; i++)
		found_read(&explaining->found[i], &explaining->search.candidates[i].identity);
	if (explaining->awaited == 0)
		explaining_finish(explaining, explaining->is_unreadable ? "redis_unavailable" : NULL);
}

static void searched(struct index_search *search, int error)
{
	struct explaining *explaining = search->data;

	explaining->is_searching = false;
	if (error)
		explaining_finish(explaining, reason_name(REASON_search_unavailable));
	else
		read_found(explaining);
}

static void search_elsewhere(struct explaining *explaining, const struct explanation *explanation)
{
	struct index *index = &explaining->service->index;

	explaining->search = (struct index_search){.done = searched, .data = explaining};
	explaining->step_us = clock_us();
	int outcome = index->ops->search_elsewhere(index->state, &explaining->search, explaining->namespace,
						   explanation->scope, explanation->vector, explanation->dimensions,
						   deadlines_now_ms(explaining->service->deadlines));
	explaining->is_searching = outcome == 0;
	if (outcome < 0)
		explaining_finish(explaining, reason_name(REASON_search_unavailable));
	else if (outcome > 0)
		read_found(explaining);
}

/* ---- the question's own scope ---- */

void admin_explained(struct call *call, const struct explanation *explanation)
{
	struct service *service = call->calls->service;
	struct slice namespace = explanation->request->namespace;
	struct explaining *explaining = calloc(1, sizeof(*explaining) + namespace.length);
	struct fault fault;

	if (!explaining) {
		(void)fault_set(&fault, ERROR_MEMORY, "", "out of memory");
		call_fail(call, &fault);
		return;
	}
	explaining->call = call;
	explaining->service = service;
	explaining->embedding_us = explanation->embedding_us;
	explaining->search_us = explanation->search_us;
	memcpy(explaining->name, namespace.data, namespace.length);
	explaining->namespace = (struct slice){explaining->name, namespace.length};
	buffer_init(&explaining->out, ADMIN_RESULT_MOST);
	buffer_init(&explaining->ours, ADMIN_RESULT_MOST);
	call->work = explaining;
	call->cancel = explaining_cancel;
	msgpack_packer pack = pack_to(&explaining->out);
	msgpack_pack_map(&pack, EXPLAIN_PAIRS + LAST_PAIRS);
	explain_say(call, explanation, &explaining->out);
	int error = explanation->vector ? explain_describe(service, explanation, &explaining->ours) : 0;
	if (error)
		explaining_failed(explaining, error);
	else if (explanation->vector)
		search_elsewhere(explaining, explanation);
	else
		explaining_finish(explaining, "not_compared");
}
