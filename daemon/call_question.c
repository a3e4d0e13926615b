/* All goes well: the parameters of a question are remembered, or else it is resolved and hashed; memory answers at once, or a
 * call is opened and rides a flight.
 * What can go wrong: the namespace does not allow what the call asks for, no upstream serves the model, the question is none
 * (each is INVALID); too much is in flight (BUSY). */
#include "call_private.h"

#include "memory_cache.h"
#include "namespaces.h"
#include "recall.h"
#include "replica.h"
#include "service.h"

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
	const struct identity_source source = {
		.namespace = request->namespace,
		.upstream = question->upstream ? slice_of(question->upstream->name) : SLICE(""),
		.model = question->model,
		.parameters = request->parameters,
		.prompt = request->prompt,
		.messages = request->messages,
		.question = request->question,
		.context = request->context,
	};
	return identity_of(service->hasher, &source, &question->identity, fault);
}

static struct policy policy_of(const struct request *request, const struct config_namespace *space)
{
	return (struct policy){
		.threshold = request->has_threshold ? request->threshold : space->threshold,
		.exact_only = request->mode_exact || space->mode == CONFIG_MODE_EXACT,
		.refresh = request->cache == CACHE_REFRESH,
		.has_max_age = request->has_max_age,
		.max_age_s = request->max_age_s,
	};
}

/* The memory tier. Returns whether it has answered. */
static bool answer_from_memory(struct calls *calls, uint64_t id, const struct recalled *known, uint64_t started_us)
{
	struct service *service = calls->service;
	const struct policy *policy = &known->policy;
	uint64_t now_ms = deadlines_now_ms(service->deadlines);
	struct memory_hit hit;

	if (policy->refresh || !replica_is_current(service) ||
	    !memory_cache_get(service->memory, &known->identity, now_ms, &hit))
		return false;
	enum reason reason = hit.alias ? decide_alias(hit.alias, hit.entry, policy, now_ms)
				       : decide_exact(hit.entry, policy, now_ms);
	if (reason != REASON_NONE)
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

	return known && answer_from_memory(calls, id, known, started_us);
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
		.policy = policy_of(request, question.space),
		.upstream = question.upstream,
		.counts = namespaces_get(service->namespaces, request->namespace),
		.stream = request->stream,
	};
	if (request->method != METHOD_add && answer_from_memory(calls, request->id, &meaning, started_us)) {
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
	else if (request->method == METHOD_lookup)
		error = flight_lookup(service, &call->rider, &question, fault);
	else
		error = flight_ask(service, &call->rider, &question, fault);
	if (error)
		call_fail(call, fault);
	return 0;
}
