/* The blocking functions of the methods that are not questions: each fills a map of parameters and calls. */
#include "../proto/error.h"
#include "../proto/limits.h"
#include "handle.h"
#include "question.h"

static void begin(struct semcache *cache, struct encoder *e, struct buffer *out)
{
	buffer_init(out, cache->max_message_bytes);
	encoder_begin_map(e, out);
}

static int call_within(struct semcache *cache, enum method method, struct encoder *e, int64_t timeout_ms,
		       struct semcache_result **result)
{
	int error = encoder_end(e);

	if (error)
		(void)handle_fail(cache, error, "", error_text(error));
	else
		error = semcache_call(cache, method_name(method), e->out->data, e->out->length, timeout_ms, result);
	buffer_deinit(e->out);
	return error;
}

static int call(struct semcache *cache, enum method method, struct encoder *e, struct semcache_result **result)
{
	return call_within(cache, method, e, SEMCACHE_UNSET, result);
}

int semcache_invalidate(struct semcache *cache, const struct semcache_selector *selector, struct semcache_result **result)
{
	struct encoder e;
	struct buffer out;

	if (!selector || selector->size < sizeof(*selector))
		return handle_fail(cache, ERROR_INVALID, "field=size", "start a selector from SEMCACHE_SELECTOR");
	begin(cache, &e, &out);
	encoder_text(&e, "entry", selector->entry);
	encoder_text(&e, "question", selector->question);
	encoder_text(&e, "tag", selector->tag);
	encoder_text(&e, "namespace", selector->namespace_name);
	if (selector->dry_run)
		encoder_flag(&e, "dry_run", true);
	return call(cache, METHOD_invalidate, &e, result);
}

int semcache_feedback(struct semcache *cache, const struct semcache_feedback *feedback, struct semcache_result **result)
{
	static const char *const verdicts[] = {
		[SEMCACHE_VERDICT_RIGHT] = "right",
		[SEMCACHE_VERDICT_WRONG] = "wrong",
		[SEMCACHE_VERDICT_ACCEPT] = "accept",
		[SEMCACHE_VERDICT_UNDO] = "undo",
	};
	struct encoder e;
	struct buffer out;

	if (!feedback || feedback->size < sizeof(*feedback))
		return handle_fail(cache, ERROR_INVALID, "field=size", "start a feedback from SEMCACHE_FEEDBACK");
	if (!feedback->question || feedback->question->size < sizeof(*feedback->question))
		return handle_fail(cache, ERROR_INVALID, "field=size", "start a question from SEMCACHE_QUESTION");
	if ((unsigned)feedback->verdict >= sizeof(verdicts) / sizeof(verdicts[0]))
		return handle_fail(cache, ERROR_INVALID, "field=verdict", "there is no such verdict");
	begin(cache, &e, &out);
	encoder_text(&e, "entry", feedback->entry);
	encoder_text(&e, "verdict", verdicts[feedback->verdict]);
	if (feedback->similarity != SEMCACHE_NO_SIMILARITY)
		encoder_double(&e, "similarity", feedback->similarity);
	int error = encoder_question(&e, feedback->question, &cache->failure);
	if (error) {
		buffer_deinit(&out);
		return error;
	}
	return call_within(cache, METHOD_feedback, &e, feedback->question->timeout_ms, result);
}

int semcache_show(struct semcache *cache, const char *entry, const char *namespace_name, struct semcache_result **result)
{
	struct encoder e;
	struct buffer out;

	begin(cache, &e, &out);
	encoder_text(&e, "entry", entry);
	encoder_text(&e, "namespace", namespace_name);
	return call(cache, METHOD_show, &e, result);
}

int semcache_list(struct semcache *cache, const char *namespace_name, uint32_t limit, const char *after,
		  struct semcache_result **result)
{
	struct encoder e;
	struct buffer out;

	begin(cache, &e, &out);
	encoder_text(&e, "namespace", namespace_name);
	encoder_uint(&e, "limit", limit);
	encoder_text(&e, "after", after);
	return call(cache, METHOD_list, &e, result);
}

int semcache_flush(struct semcache *cache, const char *namespace_name, struct semcache_result **result)
{
	struct encoder e;
	struct buffer out;

	begin(cache, &e, &out);
	encoder_text(&e, "namespace", namespace_name);
	return call(cache, METHOD_flush, &e, result);
}

int semcache_stats(struct semcache *cache, struct semcache_result **result)
{
	return semcache_call(cache, method_name(METHOD_stats), NULL, 0, SEMCACHE_UNSET, result);
}

int semcache_health(struct semcache *cache, struct semcache_result **result)
{
	return semcache_call(cache, method_name(METHOD_health), NULL, 0, SEMCACHE_UNSET, result);
}

int semcache_ping(struct semcache *cache)
{
	return semcache_call(cache, method_name(METHOD_ping), NULL, 0, SEMCACHE_UNSET, NULL);
}

int semcache_hello(struct semcache *cache, const char *client, struct semcache_result **result)
{
	struct encoder e;
	struct buffer out;

	begin(cache, &e, &out);
	encoder_text(&e, "client", client);
	return call(cache, METHOD_hello, &e, result);
}
