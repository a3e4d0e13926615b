/* The commands that are not questions. Each calls, and prints the map that comes back: as it is with --json, else for a
 * person. */
#include "semcachectl.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Turns what a call came to into the map of its result, or into an exit code after having said what is wrong. With --json
 * the map is printed already. */
static struct json_object *finish(struct semcache *cache, const struct arguments *a, int error,
				  struct semcache_result *result, int *code)
{
	struct json_object *map = NULL;

	if (error) {
		*code = failure_print(cache, a->json);
		return NULL;
	}
	map = result_json(result, a->json);
	*code = map ? EXIT_OK : EXIT_PEER;
	if (map && a->json)
		json_print(map);
	return map;
}

/* The commands whose map is printed as it comes. */
static int simple(struct semcache *cache, const struct arguments *a, int error, struct semcache_result *result)
{
	int code;
	struct json_object *map = finish(cache, a, error, result, &code);

	if (map && !a->json)
		map_print(map, 0);
	json_object_put(map);
	return code;
}

static int simple_call(struct semcache *cache, const struct arguments *a, const char *method)
{
	struct semcache_result *result = NULL;
	int error = semcache_call(cache, method, NULL, 0, SEMCACHE_UNSET, &result);

	return simple(cache, a, error, result);
}

int run_show(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;

	if (a->positional_count != 1)
		return usage_error(a->json, "the entry is missing");
	int error = semcache_show(cache, a->positional[0], a->namespace_name, &result);
	return simple(cache, a, error, result);
}

static void list_print(struct json_object *map)
{
	struct json_object *entries = json_member(map, "entries");

	if (!json_object_is_type(entries, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(entries); i++) {
		struct json_object *entry = json_object_array_get_idx(entries, i);
		const char *id = json_text(entry, "entry"), *question = json_text(entry, "question");
		text_print(stdout, id, strlen(id), true, 64);
		(void)printf("  %8lld s  ", (long long)json_integer(entry, "ttl"));
		text_print(stdout, question, strlen(question), true, 80);
		(void)fputc('\n', stdout);
	}
	const char *next = json_text(map, "next");
	if (next[0]) {
		(void)fflush(stdout);
		(void)fputs("there are more: --after ", stderr);
		text_print(stderr, next, strlen(next), true, 0);
		(void)fputc('\n', stderr);
	}
}

int run_list(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	uint32_t limit = a->limit == SEMCACHE_UNSET ? 100 : (uint32_t)a->limit;
	int error = semcache_list(cache, a->namespace_name, limit, a->after, &result), code;
	struct json_object *map = finish(cache, a, error, result, &code);

	if (map && !a->json)
		list_print(map);
	json_object_put(map);
	return code;
}

int run_invalidate(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	struct semcache_selector selector = SEMCACHE_SELECTOR;
	int selectors = (a->entry != NULL) + (a->question != NULL) + (int)a->tag_count;

	if (selectors > 1)
		return usage_error(a->json, "only one of --entry, --question and --tag may be given");
	if (selectors == 0 && !a->namespace_name)
		return usage_error(a->json, "one of --entry, --question, --tag and --namespace must be given");
	selector.entry = a->entry;
	selector.question = a->question;
	selector.tag = a->tag_count ? a->tags[0] : NULL;
	selector.namespace_name = a->namespace_name;
	selector.dry_run = a->dry_run;
	int error = semcache_invalidate(cache, &selector, &result);
	return simple(cache, a, error, result);
}

/* The entry stands before the question, which is read as those of ask are. */
static int say(struct semcache *cache, const struct arguments *a, enum semcache_verdict verdict)
{
	struct semcache_feedback feedback = SEMCACHE_FEEDBACK;
	struct semcache_result *result = NULL;
	struct arguments rest = *a;
	struct asked asked;

	if (a->positional_count < 1)
		return usage_error(a->json, "the entry is missing");
	rest.positional++;
	rest.positional_count--;
	int code = asked_fill(&asked, &rest);
	if (!code) {
		feedback.entry = a->positional[0];
		feedback.question = &asked.question;
		feedback.verdict = verdict;
		int error = semcache_feedback(cache, &feedback, &result);
		code = simple(cache, a, error, result);
	}
	asked_free(&asked);
	return code;
}

int run_feedback(struct semcache *cache, const struct arguments *a)
{
	static const char *const names[] = {
		[SEMCACHE_VERDICT_RIGHT] = "right",
		[SEMCACHE_VERDICT_WRONG] = "wrong",
		[SEMCACHE_VERDICT_ACCEPT] = "accept",
		[SEMCACHE_VERDICT_UNDO] = "undo",
	};

	if (a->positional_count < 3)
		return usage_error(a->json, "ENTRY, QUESTION and VERDICT must be given; - as QUESTION is standard input");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(a->positional[2], names[i]) == 0)
			return say(cache, a, (enum semcache_verdict)i);
	return usage_error(a->json, "the verdict %s: must be right, wrong, accept or undo", a->positional[2]);
}

int run_reject(struct semcache *cache, const struct arguments *a)
{
	return say(cache, a, SEMCACHE_VERDICT_WRONG);
}

int run_accept(struct semcache *cache, const struct arguments *a)
{
	return say(cache, a, SEMCACHE_VERDICT_ACCEPT);
}

int run_undo(struct semcache *cache, const struct arguments *a)
{
	return say(cache, a, SEMCACHE_VERDICT_UNDO);
}

/* Asks on the terminal. Returns whether the answer was yes. */
static bool confirmed(const char *namespace_name)
{
	char line[16] = "";

	(void)fputs("Remove everything in ", stderr);
	(void)fputs(namespace_name ? "namespace " : "all namespaces", stderr);
	if (namespace_name)
		text_print(stderr, namespace_name, strlen(namespace_name), true, 64);
	(void)fputs("? [y/N] ", stderr);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	return strcmp(line, "y\n") == 0 || strcmp(line, "Y\n") == 0 || strcmp(line, "yes\n") == 0;
}

int run_flush(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;

	if (!a->yes && !isatty(STDIN_FILENO))
		return usage_error(a->json, "flush needs --yes where it cannot ask");
	if (!a->yes && !confirmed(a->namespace_name))
		return usage_error(a->json, "nothing was removed");
	int error = semcache_flush(cache, a->namespace_name, &result);
	return simple(cache, a, error, result);
}

int run_stats(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	int code;

	if (a->json && a->prometheus)
		return usage_error(true, "only one of --json and --prometheus may be given");
	int error = semcache_stats(cache, &result);
	struct json_object *map = finish(cache, a, error, result, &code);
	if (map && a->prometheus)
		stats_print_prometheus(map);
	else if (map && !a->json)
		stats_print(map);
	json_object_put(map);
	return code;
}

static void health_print(struct json_object *map)
{
	struct json_object *parts = json_member(map, "parts");
	const char *state = json_text(map, "state");

	text_print(stdout, state, strlen(state), true, 40);
	(void)fputc('\n', stdout);
	if (!json_object_is_type(parts, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(parts); i++) {
		struct json_object *part = json_object_array_get_idx(parts, i);
		const char *name = json_text(part, "part"), *error = json_text(part, "error");
		const char *how = json_text(part, "state");
		(void)fputs("  ", stdout);
		text_print(stdout, name, strlen(name), true, 40);
		(void)printf("%*s", (int)(strlen(name) < 20 ? 20 - strlen(name) : 1), "");
		text_print(stdout, how, strlen(how), true, 40);
		(void)printf("%*sfor ", (int)(strlen(how) < 10 ? 10 - strlen(how) : 1), "");
		duration_print(stdout, json_number(part, "since"));
		if (error[0])
			(void)fputs("  ", stdout);
		text_print(stdout, error, strlen(error), true, 200);
		(void)fputc('\n', stdout);
	}
}

int run_health(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	int error = semcache_health(cache, &result), code;
	struct json_object *map = finish(cache, a, error, result, &code);

	if (!map)
		return code == EXIT_ABSENT || code == EXIT_FAILED || code == EXIT_LATER ? EXIT_DOWN : code;
	if (!a->json)
		health_print(map);
	int64_t status = json_member(map, "status") ? json_integer(map, "status") : 2;
	json_object_put(map);
	return status == 0 ? EXIT_OK : status == 1 ? EXIT_MISS : EXIT_DOWN;
}

int run_ping(struct semcache *cache, const struct arguments *a)
{
	struct timespec before, after;

	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	if (semcache_ping(cache) != 0)
		return failure_print(cache, a->json);
	(void)clock_gettime(CLOCK_MONOTONIC, &after);
	double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6;
	if (!a->json) {
		(void)printf("%s responds, %.2f ms\n", semcache_socket(cache), ms);
		return EXIT_OK;
	}
	char text[32];
	(void)snprintf(text, sizeof(text), "%.3f", ms);
	struct json_object *map = json_object_new_object();
	json_object_object_add(map, "ms", json_object_new_double_s(ms, text));
	json_print(map);
	json_object_put(map);
	return EXIT_OK;
}

int run_hello(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	int error = semcache_hello(cache, a->client, &result);

	return simple(cache, a, error, result);
}

/* As the file would say it, with each setting's origin behind it. */
static void config_print(struct json_object *map)
{
	json_object_object_foreach(map, section, settings)
	{
		(void)fputc('[', stdout);
		text_print(stdout, section, strlen(section), true, 0);
		(void)fputs("]\n", stdout);
		if (!json_object_is_type(settings, json_type_object))
			continue;
		json_object_object_foreach(settings, key, setting)
		{
			struct json_object *value = json_member(setting, "value");
			const char *text = value ? json_object_get_string(value) : "";
			const char *origin = json_text(setting, "origin");
			text_print(stdout, key, strlen(key), true, 0);
			(void)fputs(" = ", stdout);
			text_print(stdout, text, strlen(text), true, 0);
			if (origin[0])
				(void)fputs("    ; ", stdout);
			text_print(stdout, origin, strlen(origin), true, 0);
			(void)fputc('\n', stdout);
		}
	}
}

/* Adds what is given; what is not is not there. */
static bool params_add(struct json_object *params, const char *key, struct json_object *value)
{
	return !value || json_object_object_add(params, key, json_object_get(value)) == 0;
}

/* The parameters of config as MessagePack. Returns false without memory. */
static bool config_params(const struct arguments *a, char **raw, size_t *length)
{
	struct json_object *params = json_object_new_object();
	struct json_object *name = a->namespace_name ? json_object_new_string(a->namespace_name) : NULL;
	bool is_made = params && (name || !a->namespace_name) && params_add(params, "namespace", name) &&
		       params_add(params, "set", a->set) && params_add(params, "unset", a->unset) &&
		       json_to_raw(params, raw, length);

	json_object_put(name);
	json_object_put(params);
	return is_made;
}

int run_config(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	size_t length;
	char *raw;
	int code;

	if (!config_params(a, &raw, &length))
		return usage_error(a->json, "out of memory");
	int error = semcache_call(cache, "config", raw, length, SEMCACHE_UNSET, &result);
	free(raw);
	struct json_object *map = finish(cache, a, error, result, &code);
	if (map && !a->json && (a->set || a->unset))
		map_print(map, 0);
	else if (map && !a->json)
		config_print(map);
	json_object_put(map);
	return code;
}

int run_reload(struct semcache *cache, const struct arguments *a)
{
	return simple_call(cache, a, "reload");
}

int run_drain(struct semcache *cache, const struct arguments *a)
{
	return simple_call(cache, a, "drain");
}
