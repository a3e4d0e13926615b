/* ask, lookup, add: what is given on the command line becomes a question, the answer goes to standard output, and where it
 * came from to standard error. */
#include "semcachectl.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void asked_free(struct asked *asked)
{
	free(asked->input);
	free(asked->parameters);
}

/* The text at `index` of the command line; "-", or nothing where it is no terminal, stands for standard input. */
static const char *text_at(const struct arguments *a, size_t index, const char *what, char **input)
{
	bool given = index < a->positional_count;

	if (given && strcmp(a->positional[index], "-") != 0)
		return a->positional[index];
	if (!given && isatty(STDIN_FILENO)) {
		(void)usage_error(a->json, "%s is missing", what);
		return NULL;
	}
	*input = stdin_read(a->json);
	return *input;
}

int asked_fill(struct asked *asked, const struct arguments *a)
{
	static const struct semcache_question unset = SEMCACHE_QUESTION;
	struct semcache_question *q = &asked->question;

	*asked = (struct asked){.question = unset};
	const char *text = text_at(a, 0, "the question", &asked->input);
	if (!text)
		return EXIT_USAGE;
	if (!text[0])
		return usage_error(a->json, "the question is empty");
	if (a->parameters) {
		if (!json_to_raw(a->parameters, &asked->parameters, &q->raw_parameters_length))
			return usage_error(a->json, "the parameters are too large");
		q->raw_parameters = asked->parameters;
	}
	if (a->system) {
		asked->messages[0] = (struct semcache_message){"system", a->system};
		asked->messages[1] = (struct semcache_message){"user", text};
		q->messages = asked->messages;
		q->message_count = 2;
	} else {
		q->prompt = text;
	}
	q->model = a->model;
	q->namespace_name = a->namespace_name;
	q->question = a->question;
	q->context = a->context;
	q->use = a->use;
	q->threshold = a->threshold;
	q->max_age_s = a->max_age_s;
	q->ttl_s = a->ttl_s;
	q->exact = a->exact;
	q->tags = a->tags;
	q->tag_count = a->tag_count;
	return 0;
}

/* An answer on its way to standard output. */
struct output {
	bool terminal;
	bool any;
	char last;
};

static void print_answer(void *data, uint64_t id, const char *text, size_t length)
{
	struct output *out = data;

	(void)id;
	if (length == 0)
		return;
	if (out->terminal)
		text_print(stdout, text, length, false, 0);
	else
		(void)fwrite(text, 1, length, stdout);
	(void)fflush(stdout);
	out->any = true;
	out->last = text[length - 1];
}

static void print_end(const struct output *out)
{
	if (out->any && out->last != '\n')
		(void)fputc('\n', stdout);
	(void)fflush(stdout);
}

static void print_nearest(const struct semcache_answer *a)
{
	if (a->reason)
		(void)fprintf(stderr, "; %s", a->reason);
	if (a->best_query) {
		(void)fprintf(stderr, "; nearest %.3f: ", a->best_similarity);
		text_print(stderr, a->best_query, strlen(a->best_query), true, 100);
	}
}

/* "[semantic] small-model, similarity 0.952, 12 s old, 59 min left, request 1795557235000123; asked as: What is a heap?" */
static void print_provenance(const struct semcache_answer *a)
{
	(void)fputc('[', stderr);
	text_print(stderr, a->tier_name, strlen(a->tier_name), true, 40);
	(void)fputs("]", stderr);
	if (a->model) {
		(void)fputc(' ', stderr);
		text_print(stderr, a->model, strlen(a->model), true, 80);
	}
	if (a->has_similarity)
		(void)fprintf(stderr, ", similarity %.3f", a->similarity);
	if (a->tier == SEMCACHE_TIER_UPSTREAM || a->tier == SEMCACHE_TIER_COALESCED)
		(void)fprintf(stderr, ", %.2f s", a->total_ms / 1000);
	if (a->has_similarity && a->tier != SEMCACHE_TIER_COALESCED) {
		(void)fputs(", ", stderr);
		duration_print(stderr, (double)a->age_s);
		(void)fputs(" old, ", stderr);
		duration_print(stderr, (double)a->ttl_s);
		(void)fputs(" left", stderr);
	}
	if (a->tier != SEMCACHE_TIER_MISS && !a->entry)
		(void)fputs(", not stored", stderr);
	/* For explain --request, where it was decided by meaning, now or when an alias was made. */
	bool is_alias = a->has_similarity && a->similarity < 1;
	if (a->reason || is_alias || a->tier == SEMCACHE_TIER_SEMANTIC || a->tier == SEMCACHE_TIER_COALESCED)
		(void)fprintf(stderr, ", request %llu", (unsigned long long)a->request);
	if (a->finish_reason && strcmp(a->finish_reason, "stop") != 0) {
		(void)fputs(", finish_reason ", stderr);
		text_print(stderr, a->finish_reason, strlen(a->finish_reason), true, 40);
	}
	if (a->original_query) {
		(void)fputs("; asked as: ", stderr);
		text_print(stderr, a->original_query, strlen(a->original_query), true, 100);
	} else {
		print_nearest(a);
	}
	(void)fputc('\n', stderr);
}

/* Prints what came, and frees it. */
static int print_result(struct semcache_result *result, const struct arguments *arguments, struct output *out)
{
	const struct semcache_answer *answer = semcache_result_answer(result);
	int code = answer->tier == SEMCACHE_TIER_MISS ? EXIT_MISS : EXIT_OK;

	if (arguments->json) {
		struct json_object *value = result_json(result, true);
		if (!value)
			return EXIT_PEER;
		json_print(value);
		json_object_put(value);
		return code;
	}
	if (answer->text)
		print_answer(out, 0, answer->text, answer->text_length);
	print_end(out);
	if (!arguments->quiet)
		print_provenance(answer);
	semcache_result_free(result);
	return code;
}

int run_ask(struct semcache *cache, const struct arguments *arguments)
{
	struct asked asked;
	struct semcache_result *result;
	struct output out = {.terminal = isatty(STDOUT_FILENO)};
	bool stream = !arguments->json && (arguments->stream || out.terminal);
	int code = asked_fill(&asked, arguments);

	if (!code) {
		if (semcache_get_or_generate(cache, &asked.question, stream ? print_answer : NULL, &out, &result) == 0) {
			code = print_result(result, arguments, &out);
		} else {
			print_end(&out);
			code = failure_print(cache, arguments->json);
		}
	}
	asked_free(&asked);
	return code;
}

int run_lookup(struct semcache *cache, const struct arguments *arguments)
{
	struct asked asked;
	struct semcache_result *result;
	struct output out = {.terminal = isatty(STDOUT_FILENO)};
	int code = asked_fill(&asked, arguments);

	if (!code) {
		if (semcache_lookup(cache, &asked.question, &result) == 0)
			code = print_result(result, arguments, &out);
		else
			code = failure_print(cache, arguments->json);
	}
	asked_free(&asked);
	return code;
}

int run_add(struct semcache *cache, const struct arguments *arguments)
{
	struct asked asked = {0};
	struct semcache_result *result;
	char *input = NULL;
	int code;

	if (arguments->positional_count == 0)
		return usage_error(arguments->json, "the question is missing");
	if (strcmp(arguments->positional[0], "-") == 0)
		return usage_error(arguments->json, "the question cannot be standard input; the answer can");
	const char *answer = text_at(arguments, 1, "the answer", &input);
	if (!answer)
		return EXIT_USAGE;
	code = asked_fill(&asked, arguments);
	if (!code) {
		if (semcache_add(cache, &asked.question, answer, &result) != 0) {
			code = failure_print(cache, arguments->json);
		} else {
			struct json_object *value = result_json(result, arguments->json);
			code = value ? EXIT_OK : EXIT_PEER;
			if (value && arguments->json)
				json_print(value);
			else if (value)
				map_print(value, 0);
			json_object_put(value);
		}
	}
	asked_free(&asked);
	free(input);
	return code;
}
