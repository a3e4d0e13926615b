/* Whose question a verdict is about. A caller who gives the whole question names its identity; one who gives only a text
 * means it as the entry was asked, with the entry's model, parameters and context. What can go wrong: the question stands
 * in another scope than the entry, and then the entry must not answer it. */
#include "admin_feedback.h"

#include "../proto/reader.h"

int feedback_find_text(struct hasher *hasher, const struct request *request, struct slice *text, struct fault *fault)
{
	const struct identity_source source = {
		.namespace = request->namespace,
		.model = SLICE(""),
		.parameters = request->parameters,
		.prompt = request->prompt,
		.messages = request->messages,
		.context = request->context,
	};
	enum identity_compared compared;
	struct identity_traits traits;
	struct identity scope, identity;

	*text = request->question;
	if (text->data)
		return 0;
	int error = identity_of(hasher, &source, &identity, fault);
	if (error)
		return error;
	if (identity_scope(hasher, &source, &compared, text, &traits, &scope) != 0)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	if (compared == COMPARED)
		return 0;
	return fault_set(fault, ERROR_INVALID, "field=messages", "nothing of this question is compared by meaning");
}

static struct slice request_value(struct slice request, const char *name, bool is_raw)
{
	struct reader r = reader_of(request);
	struct reader_value map, key, value;
	struct slice raw;

	if (!request.data || reader_next(&r, &map) != 0 || map.type != READER_MAP)
		return (struct slice){NULL, 0};
	for (size_t i = 0; i < map.count; i++) {
		if (reader_next(&r, &key) != 0)
			return (struct slice){NULL, 0};
		struct reader before = r;
		if (reader_next(&r, &value) != 0)
			return (struct slice){NULL, 0};
		r = before;
		if (reader_skip(&r, &raw) != 0)
			return (struct slice){NULL, 0};
		if (key.type != READER_TEXT || !slice_equal(key.text, slice_of(name)))
			continue;
		if (is_raw)
			return raw;
		return value.type == READER_TEXT ? value.text : (struct slice){NULL, 0};
	}
	return (struct slice){NULL, 0};
}

/* The question as it was asked; what is not said is as the entry's. */
static int source_of(const struct feedback *feedback, struct identity_source *source)
{
	const struct config *config = feedback->service->config;
	const struct entry *entry = feedback->entry;
	const struct config_upstream *upstream = NULL;
	bool is_prompt = feedback->prompt.data || feedback->messages.data;

	*source = (struct identity_source){
		.namespace = feedback->namespace,
		.upstream = request_value(entry->request, "upstream", false),
		.model = entry->model,
		.parameters = feedback->parameters.data ? feedback->parameters
							: request_value(entry->request, "parameters", true),
		.prompt = is_prompt ? feedback->prompt : feedback->question,
		.messages = feedback->messages,
		.question = is_prompt ? feedback->question : (struct slice){0},
		.context = feedback->context.data ? feedback->context : request_value(entry->request, "context", false),
	};
	if (!feedback->model.data)
		return 0;
	source->model = feedback->model;
	if (config->upstream_count == 0)
		return 0;
	upstream = config_upstream_for(config, feedback->model, &source->model);
	source->upstream = upstream ? slice_of(upstream->name) : SLICE("");
	return upstream ? 0 : ERROR_NOT_FOUND;
}

/* Whether what is asked stands in the scope of the entry. Where nothing was compared when that was stored, it does if the
 * entry is just this, with the other text. */
static bool is_scope_of(const struct feedback *feedback, const struct identity_source *source, const struct identity *scope)
{
	struct hasher *hasher = feedback->service->hasher;
	struct identity_source plain = *source;
	struct identity identity;
	struct fault fault;

	if (feedback->entry->compared)
		return identity_equal(scope, &feedback->entry->scope);
	if (source->messages.data || source->question.data)
		return false;
	plain.prompt = feedback->entry->question;
	return identity_of(hasher, &plain, &identity, &fault) == 0 && identity_equal(&identity, &feedback->identity);
}

int feedback_find_alias(struct feedback *feedback, struct fault *fault)
{
	struct hasher *hasher = feedback->service->hasher;
	struct identity_source source;
	enum identity_compared compared;
	struct identity_traits traits;
	struct identity scope;
	struct slice text = {0};

	if (source_of(feedback, &source) != 0)
		return fault_set(fault, ERROR_INVALID, "field=model", "no upstream serves this model");
	int error = identity_of(hasher, &source, &feedback->alias, fault);
	if (error)
		return error;
	if (identity_scope(hasher, &source, &compared, &text, &traits, &scope) != 0)
		return fault_set(fault, ERROR_MEMORY, "", "out of memory");
	if (compared != COMPARED || !is_scope_of(feedback, &source, &scope))
		return fault_set(fault, ERROR_INVALID, "field=question",
				 "the entry is of another scope: give the whole question, with its messages, model and "
				 "parameters");
	if (identity_equal(&feedback->alias, &feedback->identity))
		return fault_set(fault, ERROR_INVALID, "field=question", "this is the entry's own question");
	feedback->has_alias = true;
	return 0;
}
