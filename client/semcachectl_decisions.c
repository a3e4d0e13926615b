/* watch and explain --request: decisions by meaning, as they are made and as they were made.
 *
 *	2026-11-24 21:53:55  1795557235000123  default  semantic  0.970: Why is the sky blue? <- What makes the sky blue?
 *	2026-11-24 21:53:56  1795557235000124  default  upstream  0.964 guard_numbers: How much is 200 mg? <- How much is 20 mg?
 *
 * A watch ends when it is interrupted, the daemon does, or the output cannot be written. */
#include "semcachectl.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUESTION_SHOWN 100

static void line_print(const char *text, size_t most)
{
	text_print(stdout, text, strlen(text), true, most);
}

static size_t length_of(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static struct json_object *item_of(struct json_object *array, size_t i)
{
	return i < length_of(array) ? json_object_array_get_idx(array, i) : NULL;
}

/* A question, or what stands in its place. */
static void question_print(struct json_object *map, size_t most)
{
	const char *question = json_text(map, "question");

	if (question[0])
		line_print(question, most);
	else
		(void)fputs("(its text is not kept)", stdout);
}

static void time_print(int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm utc;
	char text[32];

	if (ms > 0 && gmtime_r(&seconds, &utc) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &utc))
		(void)fputs(text, stdout);
	else
		(void)fputs("-", stdout);
}

/* The candidate that the decision was about, or NULL. */
static struct json_object *best_of(struct json_object *record)
{
	int64_t best = json_integer(record, "best");

	return best < 0 ? NULL : item_of(json_member(record, "candidates"), (size_t)best);
}

/* ---- watch ---- */

static void decision_print(struct json_object *record)
{
	struct json_object *served = json_member(record, "served"), *best = served ? served : best_of(record);
	const char *reason = json_text(record, "reason");

	time_print(json_integer(record, "at_ms"));
	(void)printf("  %lld  ", (long long)json_integer(record, "request"));
	line_print(json_text(record, "namespace"), 64);
	(void)fputs("  ", stdout);
	line_print(json_text(record, "tier"), 16);
	if (best)
		(void)printf("  %.3f", json_number(best, "similarity"));
	if (reason[0]) {
		(void)fputs(best ? " " : "  ", stdout);
		line_print(reason, 64);
	}
	(void)fputs(": ", stdout);
	if (best) {
		question_print(best, QUESTION_SHOWN);
		(void)fputs(" <- ", stdout);
	}
	question_print(record, QUESTION_SHOWN);
	(void)fputc('\n', stdout);
}

struct watching {
	struct semcache *cache;
	bool json, is_wrong;
};

static void on_event(void *data, uint64_t id, const void *event, size_t length)
{
	struct watching *watching = data;
	bool ok;
	struct json_object *record = json_of_raw(event, length, &ok);

	if (!ok || !json_object_is_type(record, json_type_object)) {
		watching->is_wrong = true;
		(void)semcache_cancel(watching->cache, id);
	} else if (watching->json) {
		json_print(record);
	} else {
		int64_t missed = json_integer(record, "missed");
		if (missed > 0)
			(void)printf("(%lld were missed)\n", (long long)missed);
		decision_print(record);
	}
	json_object_put(record);
	/* Each line is for somebody who waits for it. */
	if (fflush(stdout) != 0)
		(void)semcache_cancel(watching->cache, id);
}

int run_watch(struct semcache *cache, const struct arguments *a)
{
	struct watching watching = {.cache = cache, .json = a->json};
	int error = semcache_watch(cache, a->namespace_name, SEMCACHE_UNSET, on_event, &watching);

	if (watching.is_wrong)
		return result_error(a->json, "the daemon's event is no map, or has too many values to print");
	/* Its time was over, or standard output is closed, which is told elsewhere. */
	if ((error == SEMCACHE_TIMEOUT && a->timeout_ms != SEMCACHE_UNSET) || error == SEMCACHE_CANCELLED)
		return EXIT_OK;
	return error ? failure_print(cache, a->json) : EXIT_OK;
}

/* ---- explain --request ---- */

static void words_print(struct json_object *array, const char *otherwise)
{
	size_t count = length_of(array);

	for (size_t i = 0; i < count; i++) {
		const char *word = json_object_get_string(item_of(array, i));
		(void)fputs(i ? ", " : "", stdout);
		line_print(word ? word : "", 64);
	}
	if (count == 0)
		(void)fputs(otherwise, stdout);
}

static void label_print(const char *label)
{
	(void)printf("%-13s", label);
}

static void call_print(struct json_object *record)
{
	label_print("request");
	(void)printf("%lld, ", (long long)json_integer(record, "request"));
	time_print(json_integer(record, "at_ms"));
	(void)printf(" UTC, by uid %lld pid %lld\n", (long long)json_integer(record, "uid"),
		     (long long)json_integer(record, "pid"));
	label_print("question");
	question_print(record, 0);
	(void)fputc('\n', stdout);
	label_print("asked");
	line_print(json_text(record, "model"), 0);
	(void)fputs(" of ", stdout);
	line_print(json_text(record, "upstream"), 0);
	(void)fputs(", in namespace ", stdout);
	line_print(json_text(record, "namespace"), 0);
	(void)fputs(", tags ", stdout);
	words_print(json_member(record, "tags"), "none");
	(void)fputc('\n', stdout);
}

static void served_print(struct json_object *served, const char *tier)
{
	const char *alias = json_text(served, "alias");

	line_print(tier, 16);
	(void)fputs(", by ", stdout);
	question_print(served, 0);
	(void)fputc('\n', stdout);
	label_print("");
	(void)printf("similarity %.4f, score %.4f", json_number(served, "similarity"), json_number(served, "score"));
	if (alias[0]) {
		(void)fputs(", as an alias: ", stdout);
		line_print(alias, 0);
	}
	(void)fputc('\n', stdout);
	label_print("entry");
	line_print(json_text(served, "entry"), 0);
	(void)fputs(", made ", stdout);
	time_print(json_integer(served, "created_ms"));
	(void)fputs(" UTC by ", stdout);
	line_print(json_text(served, "model"), 0);
	(void)fputc('\n', stdout);
}

static void outcome_print(struct json_object *record)
{
	struct json_object *served = json_member(record, "served");

	label_print("answered");
	if (served) {
		served_print(served, json_text(record, "tier"));
		return;
	}
	line_print(json_text(record, "tier"), 0);
	(void)fputs(", because ", stdout);
	line_print(json_text(record, "reason"), 0);
	if (json_object_get_boolean(json_member(record, "would_serve")))
		(void)fputs(" (it would have been served)", stdout);
	(void)fputc('\n', stdout);
}

/* What was found out afterwards, for a person to look at. */
static void review_print(struct json_object *review)
{
	static const char *const names[] = {"stored", "fresh"};

	if (!review)
		return;
	label_print("review");
	bool is_judge = strcmp(json_text(review, "source"), "judge") == 0;
	line_print(json_text(review, "source"), 0);
	(void)fputs(is_judge ? ": whether both want one answer: " : ": the model's answer is ", stdout);
	line_print(json_text(review, "outcome"), 0);
	if (json_object_is_type(json_member(review, "similarity"), json_type_double))
		(void)printf(", similarity %.4f of %g", json_number(review, "similarity"), json_number(review, "threshold"));
	(void)fputs(", at ", stdout);
	time_print(json_integer(review, "at_ms"));
	(void)fputs(" UTC\n", stdout);
	for (size_t i = 0; !is_judge && i < sizeof(names) / sizeof(names[0]); i++) {
		const char *answer = json_text(review, names[i]);
		label_print(names[i]);
		line_print(answer[0] ? answer : "(its text is not kept)", 0);
		(void)fputc('\n', stdout);
	}
}

static void rule_print(struct json_object *record)
{
	int64_t certificate_ms = json_integer(record, "certificate_ms");

	label_print("rule");
	line_print(json_text(record, "rule"), 0);
	(void)fputs(" in mode ", stdout);
	line_print(json_text(record, "mode"), 0);
	if (strcmp(json_text(record, "rule"), "calibrated") == 0) {
		(void)printf(", score %.4f of %.4f: margin %g", json_number(record, "score"),
			     json_number(record, "score_threshold"), json_number(record, "margin"));
		/* By an alias nothing else was near. */
		if (json_member(record, "next"))
			(void)printf(" over %.4f", json_number(record, "next"));
		(void)printf(", at least %g", json_number(record, "minimum"));
		if (json_number(record, "weight") > 0)
			(void)printf(", second opinion's weight %g", json_number(record, "weight"));
	} else {
		(void)printf(", threshold %g", json_number(record, "threshold"));
	}
	(void)fputs(", from ", stdout);
	line_print(json_text(record, "origin"), 0);
	if (certificate_ms) {
		(void)fputs(" of ", stdout);
		time_print(certificate_ms);
	}
	(void)fputc('\n', stdout);
	label_print("guards");
	words_print(json_member(record, "guards_on"), "none");
	if (length_of(json_member(record, "guards_shadow")) > 0) {
		(void)fputs("; in shadow ", stdout);
		words_print(json_member(record, "guards_shadow"), "");
	}
	(void)fputc('\n', stdout);
}

/* As `explain` of a question prints them. `fate` is what became of it, or NULL where it was not the one decided about. */
static void candidate_print(struct json_object *candidate, const char *fate)
{
	const char *why = fate ? fate : json_text(candidate, "why");

	if (!why[0])
		why = "not the nearest";
	(void)printf("%10.4f  ", json_number(candidate, "similarity"));
	line_print(why, 40);
	(void)printf("%*s", (int)(strlen(why) < 20 ? 20 - strlen(why) : 1), "");
	question_print(candidate, QUESTION_SHOWN);
	(void)fputs("\n            ", stdout);
	line_print(json_text(candidate, "entry"), 64);
	(void)fputs(", made ", stdout);
	time_print(json_integer(candidate, "created_ms"));
	(void)fputs(" UTC", stdout);
	if (json_object_is_type(json_member(candidate, "opinion"), json_type_double))
		(void)printf("; second opinion %.4f", json_number(candidate, "opinion"));
	if (length_of(json_member(candidate, "vetoes")) > 0) {
		(void)fputs("; vetoed by ", stdout);
		words_print(json_member(candidate, "vetoes"), "");
	}
	if (length_of(json_member(candidate, "shadow_vetoes")) > 0) {
		(void)fputs("; in shadow ", stdout);
		words_print(json_member(candidate, "shadow_vetoes"), "");
	}
	(void)fputc('\n', stdout);
}

/* What became of the one that the decision was about. */
static const char *fate_of(struct json_object *record)
{
	if (json_member(record, "served"))
		return "served";
	return json_object_get_boolean(json_member(record, "would_serve")) ? "would be served" : NULL;
}

static void record_print(struct json_object *record)
{
	struct json_object *candidates = json_member(record, "candidates");
	const char *served = json_text(json_member(record, "served"), "entry"), *fate = fate_of(record);
	size_t count = length_of(candidates);

	if (!served[0])
		served = json_text(best_of(record), "entry");
	call_print(record);
	outcome_print(record);
	review_print(json_member(record, "review"));
	rule_print(record);
	(void)fputs(count ? "candidates\n" : "candidates   none\n", stdout);
	for (size_t i = 0; i < count; i++) {
		struct json_object *candidate = item_of(candidates, i);
		bool is_it = served[0] && strcmp(json_text(candidate, "entry"), served) == 0;
		candidate_print(candidate, is_it ? fate : NULL);
	}
}

/* {"request": number} */
static size_t params_of(int64_t request, unsigned char params[static 18])
{
	static const unsigned char head[] = {0x81, 0xa7, 'r', 'e', 'q', 'u', 'e', 's', 't', 0xcf};

	memcpy(params, head, sizeof(head));
	for (int i = 0; i < 8; i++)
		params[sizeof(head) + (size_t)i] = (unsigned char)((uint64_t)request >> (56 - 8 * i));
	return sizeof(head) + 8;
}

int explain_request(struct semcache *cache, const struct arguments *a)
{
	struct semcache_result *result = NULL;
	unsigned char params[18];

	if (a->positional_count > 0)
		return usage_error(a->json, "--request has its question already");
	size_t length = params_of(a->request, params);
	if (semcache_call(cache, "explain", params, length, SEMCACHE_UNSET, &result) != 0)
		return failure_print(cache, a->json);
	struct json_object *record = result_json(result, a->json);
	if (!record)
		return EXIT_PEER;
	if (a->json)
		json_print(record);
	else
		record_print(record);
	json_object_put(record);
	return EXIT_OK;
}
