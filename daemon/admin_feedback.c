/* feedback: what somebody says of the answer that a question got.
 *
 *   find the entry (memory, or Redis) ─> right:  measure ─> label
 *                                        wrong:  rejected here at once ─> Redis ─> measure ─> label
 *                                                (its own question: the entry is removed instead)
 *                                        accept: whose question is it? ─> measure ─> alias, here and in Redis ─> label
 *                                        undo:   taken back here at once ─> Redis
 *
 * What can go wrong: no such entry (only undo goes on, if the pair is known), the question is of another scope (accept), no
 * more pairs fit, Redis is away (what is said holds here, and waits in the write queue). */
#include "admin_feedback.h"

#include "clock.h"
#include "conn.h"
#include "memory_cache.h"
#include "replica.h"
#include "replica_said.h"
#include "verdicts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* So many pairs of a namespace are left to administrators. */
#define ADMIN_ROOM (VERDICTS_MOST / 4)

static const char *const verdict_names[] = {
	[FEEDBACK_RIGHT] = "right",
	[FEEDBACK_WRONG] = "wrong",
	[FEEDBACK_ACCEPT] = "accept",
	[FEEDBACK_UNDO] = "undo",
};

/* ---- the end ---- */

/* What was handed to the store goes on. */
static void feedback_free(struct feedback *feedback)
{
	store_read_cancel(&feedback->read);
	store_write_cancel(&feedback->write);
	measure_cancel(&feedback->measure);
	entry_destroy(feedback->read.entry);
	entry_destroy(feedback->entry);
	free(feedback);
}

static void feedback_cancel(void *work)
{
	feedback_free(work);
}

static void feedback_failed(struct feedback *feedback, int code, const char *detail, const char *text)
{
	struct call *call = feedback->call;
	struct fault fault;

	(void)fault_set(&fault, code, detail, "%s", text);
	feedback_free(feedback);
	call_fail(call, &fault);
}

static void count(struct metrics *metrics, enum feedback_verdict verdict)
{
	uint64_t *const counters[] = {
		[FEEDBACK_RIGHT] = &metrics->feedback_right,
		[FEEDBACK_WRONG] = &metrics->feedback_wrong,
		[FEEDBACK_ACCEPT] = &metrics->feedback_accept,
		[FEEDBACK_UNDO] = &metrics->feedback_undo,
	};

	++*counters[verdict];
}

static void feedback_finish(struct feedback *feedback)
{
	const struct verdicts *verdicts = feedback->service->verdicts;
	struct call *call = feedback->call;
	bool is_rejected = !feedback->is_own &&
			   verdicts_rejected(verdicts, feedback->namespace, &feedback->own, &feedback->asked);
	bool is_quarantined = feedback->entry && verdicts_quarantined(verdicts, feedback->namespace, &feedback->identity,
								      feedback->entry->created_ms);
	const char *verdict = verdict_names[feedback->verdict];
	char hex[IDENTITY_HEX], alias[IDENTITY_HEX];
	struct buffer out;

	identity_hex(&feedback->identity, hex);
	identity_hex(&feedback->alias, alias);
	bool has_alias = feedback->has_alias && feedback->verdict == FEEDBACK_ACCEPT;
	count(&feedback->service->metrics, feedback->verdict);
	log_write(&feedback->service->log, LOG_LEVEL_INFO,
		  "feedback request=%llu uid=%u verdict=%s namespace=%.*s entry=%s rejected=%d quarantined=%d removed=%d",
		  (unsigned long long)call->number, feedback->uid, verdict, (int)feedback->namespace.length,
		  feedback->namespace.data, hex, is_rejected, is_quarantined, feedback->was_removed);
	buffer_init(&out, ADMIN_RESULT_MOST);
	msgpack_packer pack = pack_to(&out);
	msgpack_pack_map(&pack, 7);
	pack_named_text(&pack, "verdict", slice_of(verdict));
	pack_named_bool(&pack, "rejected", is_rejected);
	pack_named_bool(&pack, "quarantined", is_quarantined);
	pack_named_bool(&pack, "removed", feedback->was_removed);
	pack_named_text(&pack, "alias", has_alias ? slice_of(alias) : (struct slice){0});
	if (isnan(feedback->similarity)) {
		pack_key(&pack, "similarity");
		msgpack_pack_nil(&pack);
	} else {
		pack_named_float(&pack, "similarity", feedback->similarity);
	}
	pack_named_bool(&pack, "queued", feedback->is_queued);
	feedback_free(feedback);
	admin_finish(call, &out);
}

/* ---- labels ---- */

static void put_label(struct feedback *feedback)
{
	struct service *service = feedback->service;
	struct store_label label = {
		.question = feedback->asked,
		.entry = feedback->identity,
		.similarity = feedback->similarity,
		.next = NAN,
		.score = NAN,
		.opinion = NAN,
		.right = feedback->verdict != FEEDBACK_WRONG,
		.source = !feedback->is_admin                    ? LABEL_CALLER
			  : feedback->verdict == FEEDBACK_ACCEPT ? LABEL_ACCEPT
								 : LABEL_FEEDBACK,
		.at_ms = clock_wall_ms(),
	};

	/* A label is of use for what the embedder in force has measured. */
	if (!service->store || !service->embedder || isnan(feedback->similarity) || feedback->is_own)
		return;
	/* Nor do others learn anything from who may say what he likes, as often as he likes. */
	if (!feedback->is_admin && (label.right || feedback->was_known))
		return;
	memcpy(label.embedder, embedder_name(service->embedder), sizeof(label.embedder) - 1);
	(void)store_put_label(service->store, feedback->namespace, &label);
}

static void label_and_finish(struct feedback *feedback)
{
	put_label(feedback);
	feedback_finish(feedback);
}

static void put_alias(struct feedback *feedback);

static void measured(struct measure *measure)
{
	struct feedback *feedback = measure->data;

	feedback->similarity = measure->similarity;
	if (feedback->verdict == FEEDBACK_ACCEPT)
		put_alias(feedback);
	else
		label_and_finish(feedback);
}

/* Only what will be served is worth asking the embedder for. */
static void start_measure(struct feedback *feedback)
{
	struct measure *measure = &feedback->measure;

	*measure = (struct measure){
		.done = measured,
		.data = feedback,
		.service = feedback->service,
		.texts = {feedback->text, feedback->entry->question},
		.digests = {feedback->asked, feedback->own},
		.may_ask = feedback->verdict == FEEDBACK_ACCEPT,
		.similarity = feedback->similarity,
	};
	if (feedback->has_similarity || feedback->is_own || !measure_start(measure))
		measured(measure);
}

/* ---- Redis ---- */

static void write_done(struct store_write *write, int error)
{
	struct feedback *feedback = write->data;

	if (error && error != ERROR_PENDING && error != ERROR_CANCELLED) {
		feedback_failed(feedback, error, "", "Redis refused it: it holds here until the daemon ends");
		return;
	}
	feedback->is_queued = error == ERROR_PENDING;
	if (feedback->was_removed) {
		const struct forget forget = {.namespace = feedback->namespace, .identity = &feedback->identity};
		/* Whoever began after the first time may have read what was there until now. */
		flights_forget(feedback->service->flights, &forget);
	}
	if (feedback->verdict == FEEDBACK_WRONG && !feedback->was_removed)
		start_measure(feedback);
	else if (feedback->verdict == FEEDBACK_ACCEPT)
		label_and_finish(feedback);
	else
		feedback_finish(feedback);
}

/* `error` says whether the write was started. */
static void await_write(struct feedback *feedback, int error)
{
	if (error)
		feedback_failed(feedback, error, "",
				error == ERROR_TOO_LARGE ? "Redis is away and redis.write_queue_bytes is reached: it holds "
							   "here until the daemon ends"
							 : error_text(error));
}

static struct store_write *write_of(struct feedback *feedback)
{
	feedback->write = (struct store_write){.done = write_done, .data = feedback};
	return &feedback->write;
}

/* ---- wrong ---- */

static struct store_verdict verdict_of(const struct feedback *feedback, bool is_undo)
{
	const struct entry *entry = feedback->entry;

	return (struct store_verdict){
		.has_pair = !feedback->is_own,
		.has_mark = !feedback->is_own,
		.is_undo = is_undo,
		.entry = feedback->identity,
		.own = feedback->own,
		.question = feedback->asked,
		.created_ms = entry ? entry->created_ms : 0,
		.expire_ms = entry ? entry->created_ms + entry->expire_ms : 0,
		.at_ms = clock_wall_ms(),
		.uid = feedback->uid,
		.similarity = feedback->similarity,
	};
}

/* The answer is wrong for its own question: the model is to be asked again. */
static void remove_entry(struct feedback *feedback)
{
	struct service *service = feedback->service;
	const struct forget forget = {.namespace = feedback->namespace, .identity = &feedback->identity};
	const struct store_selector selector = {.namespace = feedback->namespace, .entry = &feedback->identity};

	feedback->was_removed = true;
	flights_forget(service->flights, &forget);
	replica_removed(service, feedback->namespace, &feedback->identity);
	if (!service->store)
		verdicts_undo_quarantine(service->verdicts, feedback->namespace, &feedback->identity);
	service->metrics.entries_invalidated++;
	if (service->store)
		await_write(feedback, store_remove(service->store, write_of(feedback), &selector));
	else
		feedback_finish(feedback);
}

static void say_wrong(struct feedback *feedback)
{
	struct store_verdict verdict = verdict_of(feedback, false);
	struct service *service = feedback->service;
	char detail[64];

	if (feedback->is_own) {
		remove_entry(feedback);
		return;
	}
	feedback->was_known = verdicts_rejected(service->verdicts, feedback->namespace, &feedback->own, &feedback->asked);
	bool has_room = feedback->is_admin || feedback->was_known ||
			verdicts_room(service->verdicts, feedback->namespace) > ADMIN_ROOM;
	int error = has_room ? replica_said_apply(service, feedback->namespace, &verdict) : ERROR_TOO_LARGE;
	/* More questions than are remembered of an entry are not kept anywhere. */
	verdict.has_mark = verdicts_is_wrong(service->verdicts, feedback->namespace, &feedback->identity, &feedback->asked);
	(void)snprintf(detail, sizeof(detail), "field=entry limit=%u", VERDICTS_MOST);
	if (error == ERROR_TOO_LARGE)
		feedback_failed(feedback, error, detail, "no more fits: take some back");
	else if (error)
		feedback_failed(feedback, error, "", error_text(error));
	else if (service->store)
		await_write(feedback, store_put_verdict(service->store, write_of(feedback), feedback->namespace, &verdict));
	else
		start_measure(feedback);
}

/* ---- accept ---- */

static void put_alias(struct feedback *feedback)
{
	struct service *service = feedback->service;
	const struct entry *entry = feedback->entry;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	double similarity = isnan(feedback->similarity) ? 0 : feedback->similarity;
	struct alias alias = {
		.identity = feedback->alias,
		.entry = feedback->identity,
		.entry_created_ms = entry->created_ms,
		.generation = entry->generation,
		.similarity = similarity,
		.score = similarity,
		.kind = ALIAS_ACCEPTED,
		.expire_ms = entry->expires_at_ms > now_ms ? entry->expires_at_ms - now_ms : 0,
	};

	if (alias.expire_ms == 0) {
		feedback_failed(feedback, ERROR_NOT_FOUND, "field=entry", "the entry has expired");
		return;
	}
	if (service->embedder)
		memcpy(alias.embedder, embedder_name(service->embedder), sizeof(alias.embedder) - 1);
	(void)memory_cache_put_alias(service->memory, feedback->namespace, &alias, now_ms + alias.expire_ms);
	service->metrics.aliases_stored++;
	if (service->store)
		await_write(feedback, store_put_alias(service->store, write_of(feedback), feedback->namespace, &alias,
						      &feedback->asked));
	else
		label_and_finish(feedback);
}

/* The last verdict counts: a rejection goes before the alias comes. */
static void say_accepted(struct feedback *feedback)
{
	const struct store_verdict undone = verdict_of(feedback, true);
	struct service *service = feedback->service;
	struct fault fault;

	if (feedback_find_alias(feedback, &fault) != 0) {
		feedback_failed(feedback, fault.code, fault.detail, fault.text);
		return;
	}
	if (verdicts_rejected(service->verdicts, feedback->namespace, &feedback->own, &feedback->asked)) {
		(void)replica_said_apply(service, feedback->namespace, &undone);
		int error = service->store ? store_put_verdict(service->store, NULL, feedback->namespace, &undone) : 0;
		if (error) {
			await_write(feedback, error);
			return;
		}
	}
	start_measure(feedback);
}

/* ---- undo ---- */

static void take_back(struct feedback *feedback)
{
	struct store_verdict verdict = verdict_of(feedback, true);
	struct service *service = feedback->service;
	struct memory_hit hit;
	struct fault fault;

	(void)replica_said_apply(service, feedback->namespace, &verdict);
	if (feedback->entry && !feedback->is_own && feedback_find_alias(feedback, &fault) == 0) {
		verdict.has_alias = true;
		verdict.alias = feedback->alias;
		if (memory_cache_get(service->memory, &feedback->alias, deadlines_now_ms(service->deadlines), &hit) &&
		    hit.alias)
			(void)memory_cache_remove(service->memory, &feedback->alias);
		flights_distrust_reads(service->flights);
	}
	if (!service->store) {
		feedback_finish(feedback);
		return;
	}
	int error = store_put_verdict(service->store, write_of(feedback), feedback->namespace, &verdict);
	if (!error)
		(void)store_forget_said(service->store, feedback->namespace, &feedback->identity, 1, &feedback->asked);
	await_write(feedback, error);
}

/* ---- the entry ---- */

static void entry_found(struct feedback *feedback, struct entry *entry)
{
	const struct slice digested[] = {feedback->namespace, entry->question};

	feedback->entry = entry;
	feedback->is_own = slice_equal(feedback->text, entry->question);
	if (identity_digest(feedback->service->hasher, digested, 2, &feedback->own) != 0) {
		feedback_failed(feedback, ERROR_MEMORY, "", "out of memory");
		return;
	}
	switch (feedback->verdict) {
	case FEEDBACK_RIGHT:
		start_measure(feedback);
		break;
	case FEEDBACK_WRONG:
		say_wrong(feedback);
		break;
	case FEEDBACK_ACCEPT:
		say_accepted(feedback);
		break;
	case FEEDBACK_UNDO:
		take_back(feedback);
		break;
	}
}

/* A verdict outlives its entry, and so can be taken back. */
static void entry_missing(struct feedback *feedback, int code, const char *text)
{
	if (feedback->verdict != FEEDBACK_UNDO || !verdicts_find(feedback->service->verdicts, feedback->namespace,
								 &feedback->identity, &feedback->asked, &feedback->own)) {
		feedback_failed(feedback, code, code == ERROR_NOT_FOUND ? "field=entry" : "", text);
		return;
	}
	take_back(feedback);
}

static void read_done(struct store_read *read, int error)
{
	struct feedback *feedback = read->data;
	struct entry *entry = read->entry;

	read->entry = NULL;
	if (entry && !error) {
		entry_found(feedback, entry);
		return;
	}
	entry_destroy(entry);
	entry_missing(feedback, error ? ERROR_UNAVAILABLE : ERROR_NOT_FOUND,
		      error ? "Redis did not answer" : "there is no such entry in this namespace");
}

static void find_entry(struct feedback *feedback)
{
	struct service *service = feedback->service;
	struct memory_hit hit;

	if (replica_is_current(service) &&
	    memory_cache_get(service->memory, &feedback->identity, deadlines_now_ms(service->deadlines), &hit) &&
	    !hit.alias && slice_equal(hit.entry->namespace, feedback->namespace)) {
		struct entry *entry = entry_copy(hit.entry);
		if (entry)
			entry_found(feedback, entry);
		else
			feedback_failed(feedback, ERROR_MEMORY, "", "out of memory");
		return;
	}
	feedback->read = (struct store_read){.done = read_done, .data = feedback};
	if (!service->store)
		entry_missing(feedback, ERROR_NOT_FOUND, "there is no such entry in this namespace");
	else if (store_fetch(service->store, &feedback->read, feedback->namespace, &feedback->identity, false) != 0)
		entry_missing(feedback, ERROR_UNAVAILABLE, "memory has no such entry, and Redis is away");
}

/* ---- the method ---- */

/* A wrong verdict only makes the model be asked more often; what others are served in its place is for administrators to
 * say. */
static int check_caller(struct call *call, const struct request *request, struct fault *fault)
{
	struct service *service = call->calls->service;
	uint64_t left_out;

	if (request->verdict == FEEDBACK_RIGHT || request->verdict == FEEDBACK_WRONG || conn_is_admin(call->calls->conn))
		return 0;
	service->metrics.denied++;
	if (log_allows(&service->denied_log, deadlines_now_ms(service->deadlines), &left_out))
		log_write(&service->log, LOG_LEVEL_WARNING, "denied conn=%llu request=%llu method=%s uid=%u left_out=%llu",
			  (unsigned long long)conn_number(call->calls->conn), (unsigned long long)call->number,
			  method_name(request->method), conn_uid(call->calls->conn), (unsigned long long)left_out);
	return fault_set(fault, ERROR_DENIED, "field=verdict",
			 "%s is for root, the daemon's user and members of server.admin_group",
			 verdict_names[request->verdict]);
}

static struct slice put_text(char **at, struct slice text)
{
	if (!text.data)
		return text;
	memcpy(*at, text.data, text.length);
	struct slice copy = {*at, text.length};
	*at += text.length;
	return copy;
}

static struct feedback *feedback_open(struct call *call, const struct request *request, struct slice text)
{
	size_t bytes = request->namespace.length + text.length + request->prompt.length + request->messages.length +
		       request->model.length + request->parameters.length + request->question.length +
		       request->context.length;
	struct feedback *feedback = calloc(1, sizeof(*feedback) + bytes);

	if (!feedback)
		return NULL;
	char *at = feedback->texts;
	feedback->call = call;
	feedback->service = call->calls->service;
	feedback->verdict = request->verdict;
	feedback->is_admin = conn_is_admin(call->calls->conn);
	feedback->uid = conn_uid(call->calls->conn);
	feedback->has_similarity = request->has_similarity;
	feedback->similarity = request->has_similarity ? request->similarity : NAN;
	feedback->namespace = put_text(&at, request->namespace);
	feedback->text = put_text(&at, text);
	feedback->prompt = put_text(&at, request->prompt);
	feedback->messages = put_text(&at, request->messages);
	feedback->model = put_text(&at, request->model);
	feedback->parameters = put_text(&at, request->parameters);
	feedback->question = put_text(&at, request->question);
	feedback->context = put_text(&at, request->context);
	return feedback;
}

int admin_feedback(struct call *call, const struct request *request, struct fault *fault)
{
	struct hasher *hasher = call->calls->service->hasher;
	struct identity identity;
	struct slice text;
	int error = check_caller(call, request, fault);

	if (error)
		return error;
	if (identity_parse(request->entry, &identity) != 0)
		return fault_set(fault, ERROR_INVALID, "field=entry", "must be 64 hex digits");
	error = feedback_find_text(hasher, request, &text, fault);
	if (error)
		return error;
	const struct slice digested[] = {request->namespace, text};
	struct feedback *feedback = feedback_open(call, request, text);
	if (!feedback || identity_digest(hasher, digested, 2, &feedback->asked) != 0) {
		free(feedback);
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	}
	feedback->identity = identity;
	call->work = feedback;
	call->cancel = feedback_cancel;
	find_entry(feedback);
	return 0;
}
