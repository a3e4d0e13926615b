/* All goes well: the parameters of a question are remembered, or else it is resolved and hashed; memory answers at once, or
 * a call is opened and rides a flight. What can go wrong: the namespace does not allow what the call asks for, no upstream
 * serves the model, the question is none (each is INVALID); too much is in flight (BUSY). */
#include "call_private.h"

#include "decisions.h"
#include "memory_cache.h"
#include "namespaces.h"
#include "pair.h"
#include "policy.h"
#include "recall.h"
#include "replica.h"
#include "review.h"
#include "service.h"
#include "verdicts.h"

#include <stdio.h>
#include <string.h>

/* Whether the namespace allows its callers this context: "any", or a list of all, system and label. */
static bool context_allowed(const char *allowed, struct slice context)
{
	const char *kind = !context.data || slice_equal(context, SLICE("all")) ? "all"
			   : slice_equal(context, SLICE("system"))             ? "system"
									       : "label";

	return strcmp(allowed, "any") == 0 || strstr(allowed, kind) != NULL;
}

static int check_policy(const struct request *request, const struct config_namespace *space, struct fault *fault)
{
	char detail[64];

	if (request->has_threshold && request->threshold < space->threshold_min) {
		(void)snprintf(detail, sizeof(detail), "field=threshold limit=%g", space->threshold_min);
		return fault_set(fault, ERROR_INVALID, detail, "this namespace allows no threshold under %g",
				 space->threshold_min);
	}
	if (!context_allowed(space->context, request->context))
		return fault_set(fault, ERROR_INVALID, "field=context", "this namespace allows only: %s", space->context);
	if (request->method == METHOD_add && request->has_ttl && request->ttl_s == 0)
		return fault_set(fault, ERROR_INVALID, "field=ttl", "what is added must live for at least one second");
	return 0;
}

static struct identity_source source_of(const struct question *question)
{
	const struct request *request = question->request;

	return (struct identity_source){
		.namespace = request->namespace,
		.upstream = question->upstream ? slice_of(question->upstream->name) : SLICE(""),
		.model = question->model,
		.parameters = request->parameters,
		.prompt = request->prompt,
		.messages = request->messages,
		.question = request->question,
		.context = request->context,
	};
}

/* Finds out which question is asked, of whom, and its identity. */
static int resolve(struct service *service, const struct request *request, struct slice message, struct question *question,
		   struct fault *fault)
{
	const struct config *config = service->config;

	*question = (struct question){.message = message, .request = request};
	question->space = config_namespace(config, request->namespace);
	int error = check_policy(request, question->space, fault);
	if (error)
		return error;
	question->model = request->model.data ? request->model : SLICE("");
	if (config->upstream_count > 0) {
		question->upstream = config_upstream_for(config, request->model, &question->model);
		if (!question->upstream)
			return fault_set(fault, ERROR_INVALID, "field=model", "%s",
					 request->model.data ? "no upstream serves this model"
							     : "a model must be named: the configuration names none");
	}
	question->ttl_s = request->has_ttl ? request->ttl_s : (uint32_t)question->space->ttl;
	const struct identity_source source = source_of(question);
	return identity_of(service->hasher, &source, &question->identity, fault);
}

/* ---- from memory ---- */

/* What is compared by meaning of it; absent if nothing is. */
static struct slice text_of(const struct service *service, const struct question *question)
{
	const struct identity_source source = source_of(question);
	enum identity_compared compared;
	struct identity_traits traits;
	struct identity scope;
	struct slice text = {0};

	(void)identity_scope(service->hasher, &source, &compared, &text, &traits, &scope);
	return text;
}

/* Returns whether an alias may answer. */
static bool is_alias_allowed(const struct service *service, const struct memory_hit *hit, const struct question *question,
			     struct slice text, const struct policy *policy, uint64_t now_ms)
{
	const struct pair_asked asked = {question->request->namespace, text, NULL};
	const struct pair_entry entry = {hit->entry->question, &hit->entry->identity, hit->entry->created_ms};

	if (!text.data || !pair_known(service))
		return false;
	const struct pair_facts facts = pair_look(service, question->space, &asked, &entry);
	return decide_alias(hit->alias, &facts, hit->entry, policy, now_ms) == REASON_NONE;
}

static void note_alias(const struct calls *calls, const struct memory_hit *hit, const struct question *question,
		       struct slice text, const struct policy *policy)
{
	const struct caller caller = call_caller(calls);
	const struct decision decision = {.serve = true, .plain = !policy->calibrated, .score = hit->alias->score};
	const struct decision_event event = {
		.request = calls->service->requests,
		.uid = caller.uid,
		.pid = caller.pid,
		.namespace = question->request->namespace,
		.question = text,
		.model = question->model,
		.upstream = question->upstream ? slice_of(question->upstream->name) : SLICE(""),
		.tags = question->request->tags,
		.tag_count = question->request->tag_count,
		.identity = question->identity,
		.scope = hit->entry->scope,
		.tier = TIER_MEMORY,
		.mode = question->space->mode,
		.policy = policy,
		.decision = &decision,
		.has_served = true,
		.served = hit->entry->identity,
		.served_question = hit->entry->question,
		.served_model = hit->entry->model,
		.served_similarity = hit->alias->similarity,
		.served_score = hit->alias->score,
		.served_created_ms = hit->entry->created_ms,
		.served_tags = hit->entry->tags,
		.alias_kind = (int)hit->alias->kind,
	};

	decisions_note(calls->service->decisions, &event);
}

/* Asks the model too behind the caller's back, if it is chosen. */
static void audit_alias(const struct calls *calls, const struct memory_hit *hit, const struct question *question,
			struct slice text, const struct policy *policy)
{
	struct service *service = calls->service;
	const struct request *request = question->request;
	const struct slice digested[] = {request->namespace, text};

	if (!(question->space->audit > 0) || hit->alias->kind == ALIAS_ACCEPTED ||
	    request->method != METHOD_get_or_generate || request->cache != CACHE_DEFAULT)
		return;
	struct review_hit review = {
		.request = service->requests,
		.space = question->space,
		.namespace = request->namespace,
		.question = text,
		.identity = question->identity,
		.tags = request->tags,
		.tag_count = request->tag_count,
		.entry = hit->entry->identity,
		.entry_question = hit->entry->question,
		.entry_tags = hit->entry->tags,
		.entry_created_ms = hit->entry->created_ms,
		.similarity = hit->alias->similarity,
		.next = __builtin_nan(""),
		.score = hit->alias->score,
		.opinion = __builtin_nan(""),
		.certificate_ms = policy->calibrated ? policy->certificate_ms : 0,
		.upstream = question->upstream,
		.model = question->model,
		.prompt = request->prompt,
		.messages = request->messages,
		.parameters = request->parameters,
	};
	if (identity_digest(service->hasher, digested, 2, &review.digest) == 0)
		reviews_audit(service->reviews, &review, hit->entry->answer);
}

/* Returns whether the memory tier has something under the identity that may be served. Of a question that was recalled only
 * the identity is known (`question` NULL), which is too little for an alias. */
static bool find_in_memory(const struct calls *calls, const struct recalled *known, const struct question *question,
			   struct memory_hit *hit)
{
	const struct service *service = calls->service;
	const struct policy *policy = &known->policy;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);

	if (policy->refresh || !replica_is_current(service) ||
	    !memory_cache_get(service->memory, &known->identity, now_ms, hit))
		return false;
	if (verdicts_quarantined(service->verdicts, hit->entry->namespace, &hit->entry->identity, hit->entry->created_ms))
		return false;
	if (!hit->alias)
		return decide_exact(hit->entry, policy, now_ms) == REASON_NONE;
	if (!question)
		return false;
	struct slice text = text_of(service, question);
	if (!is_alias_allowed(service, hit, question, text, policy, now_ms))
		return false;
	note_alias(calls, hit, question, text, policy);
	audit_alias(calls, hit, question, text, policy);
	return true;
}

/* Returns whether memory has answered. */
static bool answer_from_memory(struct calls *calls, uint64_t id, const struct recalled *known,
			       const struct question *question, uint64_t started_us)
{
	struct service *service = calls->service;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	struct memory_hit hit;

	if (!find_in_memory(calls, known, question, &hit))
		return false;
	struct usage usage = usage_read(hit.entry->usage);
	struct result result = {
		.tier = TIER_MEMORY,
		.stored = hit.entry,
		.has_similarity = true,
		.similarity = hit.alias ? hit.alias->similarity : 1.0,
		.original_query = hit.entry->question,
		.age_s = now_ms > hit.entry->created_at_ms ? (now_ms - hit.entry->created_at_ms) / 1000 : 0,
		.ttl_s = (hit.entry->fresh_until_at_ms - now_ms) / 1000,
		.saved_tokens = usage.total_tokens,
		.counts = known->counts,
	};
	if (known->upstream)
		result.saved_usd = ((double)usage.prompt_tokens * known->upstream->price_input +
				    (double)usage.completion_tokens * known->upstream->price_output) /
				   1e6;
	call_answer(calls, id, service->requests, started_us, known->stream, &result);
	return true;
}

bool question_recall(struct calls *calls, uint64_t id, struct slice params, uint64_t started_us)
{
	const struct recalled *known = recall_get(calls->service->recall, params);

	return known && answer_from_memory(calls, id, known, NULL, started_us);
}

int question_handle(struct calls *calls, const struct request *request, struct slice message, struct slice params,
		    uint64_t started_us, struct fault *fault)
{
	struct service *service = calls->service;
	struct question question;
	int error = resolve(service, request, message, &question, fault);

	if (error)
		return error;
	const struct recalled meaning = {
		.identity = question.identity,
		.policy = policy_of(service->config, question.space, request),
		.upstream = question.upstream,
		.counts = namespaces_get(service->namespaces, request->namespace),
		.stream = request->stream,
	};
	bool is_asked = request->method == METHOD_get_or_generate || request->method == METHOD_lookup;
	if (is_asked && answer_from_memory(calls, request->id, &meaning, &question, started_us)) {
		if (request->method == METHOD_get_or_generate)
			recall_put(service->recall, params, &meaning);
		return 0;
	}
	struct call *call = call_open(calls, request, started_us, fault);
	if (!call)
		return fault->code;
	call->counts = meaning.counts;
	call->rider.policy = meaning.policy;
	call->rider.only = request->cache == CACHE_ONLY || request->method == METHOD_lookup;
	call->rider.no_store = request->cache == CACHE_NO_STORE;
	if (request->method == METHOD_add)
		error = flight_add(service, &call->rider, &question, fault);
	else if (request->method == METHOD_explain)
		error = flight_explain(service, &call->rider, &question, fault);
	else if (request->method == METHOD_lookup)
		error = flight_lookup(service, &call->rider, &question, fault);
	else
		error = flight_ask(service, &call->rider, &question, fault);
	if (error)
		call_fail(call, fault);
	return 0;
}
