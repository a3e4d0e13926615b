/* invalidate and flush. Memory, index and what is in the air forget first; then Redis, which tells by store_events.removed what
 * it had; when it has answered, or the removal waits in the write queue, the caller has its counts.
 *
 *   memory (by tag or question: a walk in steps, a turn of the loop each) ─> Redis ─> counts by kind */
#include "admin_private.h"

#include "decisions.h"
#include "memory_cache.h"
#include "replica.h"
#include "store.h"
#include "verdicts.h"

#include <stdlib.h>
#include <string.h>

/* Entries looked at in one turn of the loop. */
#define STEP 1000

struct removal {
	struct call *call;
	struct service *service;
	bool is_flush, dry_run;
	struct slice namespace, question, tag; /* in `texts`; absent = not the selector */
	bool has_entry;
	struct identity entry, digest;
	struct store_write write;
	struct deadline step;
	struct identity after;
	bool has_after;
	/* of one step: what is to be removed */
	struct identity found[STEP];
	size_t found_count, seen;
	uint64_t entries;
	char texts[];
};

static void removal_free(struct removal *removal)
{
	store_write_cancel(&removal->write);
	deadline_stop(removal->service->deadlines, &removal->step);
	free(removal);
}

/* The caller is gone; what was handed to the store goes on. */
static void removal_cancel(void *work)
{
	removal_free(work);
}

static void removal_finish(struct removal *removal, bool is_queued)
{
	struct call *call = removal->call;
	const struct store_write *write = &removal->write;
	uint64_t entries = removal->service->store && !is_queued ? write->entries : removal->entries;
	struct buffer out;

	if (!removal->dry_run)
		removal->service->metrics.entries_invalidated += entries;
	buffer_init(&out, ADMIN_RESULT_MOST);
	msgpack_packer pack = pack_to(&out);
	msgpack_pack_map(&pack, removal->is_flush ? 5 : 4);
	if (removal->is_flush)
		pack_named_uint(&pack, "namespaces",
				removal->service->store   ? write->namespaces
				: removal->namespace.data ? 1
							  : 0);
	pack_named_uint(&pack, "entries", entries);
	pack_named_uint(&pack, "aliases", write->aliases);
	pack_named_uint(&pack, "vectors", write->vectors);
	pack_named_bool(&pack, "queued", is_queued);
	removal_free(removal);
	admin_finish(call, &out);
}

static void removal_failed(struct removal *removal, int code)
{
	struct call *call = removal->call;
	struct fault fault;

	(void)fault_set(&fault, code, "", "%s",
			code == ERROR_UNAVAILABLE && removal->dry_run ? "Redis is away, and only Redis can count this"
			: code == ERROR_TOO_LARGE ? "Redis is away and redis.write_queue_bytes is reached"
						  : error_text(code));
	removal_free(removal);
	call_fail(call, &fault);
}

/* What is in the air of what is removed must not be stored, or kept, when it comes. */
static void forget_in_the_air(const struct removal *removal)
{
	const struct forget forget = {
		.namespace = removal->namespace,
		.identity = removal->has_entry ? &removal->entry : NULL,
		.question = removal->question,
		.tag = removal->tag,
	};

	if (!removal->dry_run)
		flights_forget(removal->service->flights, &forget);
}

static void redis_done(struct store_write *write, int error)
{
	struct removal *removal = write->data;

	if (error && error != ERROR_PENDING) {
		removal_failed(removal, error);
		return;
	}
	/* Whoever began after the first time may have read what was there until now. */
	forget_in_the_air(removal);
	removal_finish(removal, error == ERROR_PENDING);
}

static void remove_from_redis(struct removal *removal)
{
	const struct store_selector selector = {
		.namespace = removal->namespace,
		.entry = removal->has_entry ? &removal->entry : NULL,
		.question = removal->question.data ? &removal->digest : NULL,
		.tag = removal->tag,
		.dry_run = removal->dry_run,
	};

	if (!removal->service->store) {
		removal_finish(removal, false);
		return;
	}
	removal->write = (struct store_write){.done = redis_done, .data = removal};
	int error = store_remove(removal->service->store, &removal->write, &selector);
	if (error)
		removal_failed(removal, error);
}

/* ---- memory ---- */

static bool look_at(void *data, const struct entry *entry)
{
	struct removal *removal = data;
	bool is_meant = removal->question.data ? slice_equal(entry->question, removal->question)
			: removal->tag.data    ? entry_has_tag(entry->tags, removal->tag)
					       : true;

	removal->seen++;
	removal->after = entry->identity;
	removal->has_after = true;
	if (is_meant && slice_equal(entry->namespace, removal->namespace))
		removal->found[removal->found_count++] = entry->identity;
	return true;
}

static void step_expired(struct deadline *deadline)
{
	struct removal *removal = (struct removal *)((char *)deadline - offsetof(struct removal, step));
	struct service *service = removal->service;
	struct identity after = removal->after;

	removal->seen = 0;
	removal->found_count = 0;
	memory_cache_walk(service->memory, removal->has_after ? &after : NULL, STEP, look_at, removal);
	removal->entries += removal->found_count;
	for (size_t i = 0; i < removal->found_count && !removal->dry_run; i++) {
		replica_removed(service, removal->namespace, &removal->found[i]);
		if (!service->store)
			verdicts_undo_quarantine(service->verdicts, removal->namespace, &removal->found[i]);
		decisions_purge(service->decisions, removal->namespace, &removal->found[i]);
	}
	if (removal->seen < STEP || deadline_start(service->deadlines, &removal->step, 0) != 0)
		remove_from_redis(removal);
}

/* One entry: whether memory has it is only of interest without Redis. */
static void remove_entry(struct removal *removal)
{
	struct service *service = removal->service;
	struct memory_hit hit;

	if (memory_cache_get(service->memory, &removal->entry, deadlines_now_ms(service->deadlines), &hit) && !hit.alias &&
	    slice_equal(hit.entry->namespace, removal->namespace))
		removal->entries = 1;
	if (!removal->dry_run && (service->store || removal->entries))
		replica_removed(service, removal->namespace, &removal->entry);
	if (!removal->dry_run) {
		/* What Redis has of it may still be read: there it stays in quarantine until it is removed
		 * (store_events). */
		if (!service->store)
			verdicts_undo_quarantine(service->verdicts, removal->namespace, &removal->entry);
		decisions_purge(service->decisions, removal->namespace, &removal->entry);
	}
	remove_from_redis(removal);
}

/* Everything in a namespace, or in all. */
static void remove_all(struct removal *removal)
{
	struct service *service = removal->service;

	if (!removal->dry_run) {
		removal->entries = replica_flushed(service, removal->namespace, NULL);
		verdicts_clear(service->verdicts, removal->namespace);
		decisions_purge(service->decisions, removal->namespace, NULL);
	} else if (!service->store) {
		step_expired(&removal->step);
		return;
	}
	remove_from_redis(removal);
}

/* ---- the two methods ---- */

static struct slice put_text(char **at, struct slice text)
{
	if (!text.data)
		return text;
	memcpy(*at, text.data, text.length);
	struct slice copy = {*at, text.length};
	*at += text.length;
	return copy;
}

static struct removal *removal_open(struct call *call, const struct request *request, bool is_flush)
{
	bool is_everywhere = is_flush && !request->has_namespace;
	struct removal *removal = calloc(1, sizeof(*removal) + request->namespace.length + request->question.length +
						    request->tag.length);

	if (!removal)
		return NULL;
	char *at = removal->texts;
	removal->call = call;
	removal->service = call->calls->service;
	removal->is_flush = is_flush;
	removal->dry_run = request->dry_run;
	removal->namespace = is_everywhere ? (struct slice){0} : put_text(&at, request->namespace);
	removal->question = put_text(&at, request->question);
	removal->tag = put_text(&at, request->tag);
	removal->step.expired = step_expired;
	call->work = removal;
	call->cancel = removal_cancel;
	return removal;
}

static int out_of_memory(struct fault *fault)
{
	return fault_set(fault, ERROR_MEMORY, "", "out of memory");
}

int admin_flush(struct call *call, const struct request *request, struct fault *fault)
{
	struct removal *removal = removal_open(call, request, true);

	if (!removal)
		return out_of_memory(fault);
	remove_all(removal);
	return 0;
}

int admin_invalidate(struct call *call, const struct request *request, struct fault *fault)
{
	struct identity entry = {{0}};
	int selectors = (request->entry.data != NULL) + (request->question.data != NULL) + (request->tag.data != NULL);

	if (selectors > 1 || (selectors == 0 && !request->has_namespace))
		return fault_set(fault, ERROR_INVALID, "field=entry",
				 "exactly one of entry, question, tag, or namespace alone, says what is removed");
	if (request->entry.data && identity_parse(request->entry, &entry) != 0)
		return fault_set(fault, ERROR_INVALID, "field=entry", "must be 64 hex digits");
	if (request->tag.data && !request_name_valid(request->tag))
		return fault_set(fault, ERROR_INVALID, "field=tag", "must be A-Z a-z 0-9 . _ -, 1 to 64 characters");
	struct removal *removal = removal_open(call, request, false);
	if (!removal)
		return out_of_memory(fault);
	removal->entry = entry;
	removal->has_entry = request->entry.data != NULL;
	if (selectors == 0) {
		remove_all(removal);
		return 0;
	}
	forget_in_the_air(removal);
	if (removal->has_entry) {
		remove_entry(removal);
		return 0;
	}
	const struct slice digested[] = {removal->namespace, removal->question};
	if (removal->question.data && identity_digest(removal->service->hasher, digested, 2, &removal->digest) != 0) {
		removal_free(removal);
		call->work = NULL;
		return out_of_memory(fault);
	}
	if (removal->question.data && !removal->dry_run)
		verdicts_undo_text(removal->service->verdicts, removal->namespace, &removal->digest);
	if (removal->tag.data && !removal->dry_run)
		decisions_purge_tag(removal->service->decisions, removal->namespace, removal->tag);
	step_expired(&removal->step);
	return 0;
}
