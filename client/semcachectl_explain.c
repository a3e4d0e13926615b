/* explain: the daemon's reasons, for a person to read.
 *
 *	would ask the model: guard_numbers; nearest 0.964: How much is 200 mg?
 *	  mode threshold, threshold 0.900 from file
 *	similarity  age      left     why             question
 *	     0.964  12 s     59 min   guard_numbers   How much is 200 mg?
 *	            5d1c…; vetoed by numbers
 *	other scopes
 *	     0.970, but temperature 0.2 ≠ 0.7: How much is 20 mg?
 */
#include "semcachectl.h"

#include "../proto/identity.h"

#include <json-c/json.h>
#include <math.h>
#include <string.h>

/* Of other scopes, where most entries have nothing to do with the question. */
#define MOST_ELSEWHERE 3

static void line_print(const char *text, size_t most)
{
	text_print(stdout, text, strlen(text), true, most);
}

static size_t length_of(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static bool flag_of(struct json_object *map, const char *key)
{
	return json_object_get_boolean(json_member(map, key));
}

/* Pads what is `width` wide to `column`. */
static void padded_print(const char *text, int column)
{
	int width = (int)strlen(text);

	line_print(text, (size_t)column - 1);
	(void)printf("%*s", width < column ? column - width : 1, "");
}

static void age_print(struct json_object *map, const char *key, int column)
{
	char text[32] = "";
	FILE *memory = fmemopen(text, sizeof(text), "w");

	if (memory) {
		duration_print(memory, json_number(map, key));
		(void)fclose(memory);
	}
	padded_print(text, column);
}

/* ---- what would happen ---- */

static void headline_print(struct json_object *map)
{
	const char *reason = json_text(map, "reason"), *query = json_text(map, "original_query");
	bool is_served = strcmp(json_text(map, "would"), "served") == 0;

	if (is_served) {
		(void)fputs("would be served from ", stdout);
		line_print(json_text(map, "entry"), 64);
		(void)fputs(" [", stdout);
		line_print(json_text(map, "tier"), 40);
		(void)fputs("], similarity", stdout);
	} else {
		(void)fputs("would ask the model: ", stdout);
		line_print(reason[0] ? reason : "nothing is stored", 80);
		if (query[0])
			(void)fputs(flag_of(map, "would_serve") ? "; would have been served" : "; nearest", stdout);
	}
	if (query[0]) {
		(void)printf(" %.3f: ", json_number(map, "similarity"));
		line_print(query, 100);
	}
	(void)fputc('\n', stdout);
}

static void names_print(struct json_object *map, const char *key, const char *before)
{
	struct json_object *names = json_member(map, key);

	for (size_t i = 0; i < length_of(names); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));
		(void)fputs(i ? ", " : before, stdout);
		line_print(name ? name : "", 40);
	}
}

static void policy_print(struct json_object *map)
{
	bool is_plain = strcmp(json_text(map, "rule"), "calibrated") != 0;

	(void)fputs("  mode ", stdout);
	line_print(json_text(map, "mode"), 40);
	(void)printf(", threshold %.3f", json_number(map, "threshold"));
	if (json_member(map, "score_threshold"))
		(void)printf(", score threshold %.4f, margin %g over %g, minimum %g", json_number(map, "score_threshold"),
			     json_number(map, "margin"), json_number(map, "margin_floor"), json_number(map, "minimum"));
	if (json_number(map, "weight") > 0)
		(void)printf(", second opinion's weight %g", json_number(map, "weight"));
	(void)fputs(" from ", stdout);
	line_print(json_text(map, "origin"), 40);
	if (json_member(map, "max_age"))
		(void)printf(", max age %lld s", (long long)json_integer(map, "max_age"));
	(void)fputs(is_plain ? "; plain rule\n" : "; calibrated rule\n", stdout);
	if (!is_plain && json_member(map, "score"))
		(void)printf("  score %.4f, next %.3f\n", json_number(map, "score"), json_number(map, "next"));
	names_print(map, "guards_on", "  guards ");
	names_print(map, "guards_shadow", "; in shadow ");
	if (length_of(json_member(map, "guards_on")) + length_of(json_member(map, "guards_shadow")) > 0)
		(void)fputc('\n', stdout);
}

static void not_compared_print(struct json_object *map)
{
	const char *why = json_text(map, "why_not_compared");

	if (!why[0])
		return;
	enum identity_part part = identity_part_find(slice_of(why));
	(void)fputs("  not compared by meaning: ", stdout);
	line_print(why, 40);
	if (part < IDENTITY_PART_COUNT)
		(void)printf(" (%s)", identity_part_text(part));
	(void)fputc('\n', stdout);
}

static void stored_print(struct json_object *stored)
{
	const char *why = json_text(stored, "why"), *alias = json_text(stored, "alias");

	if (!json_object_is_type(stored, json_type_object))
		return;
	(void)fputs("  the same question is stored", stdout);
	if (alias[0]) {
		(void)fputs(" by an alias (", stdout);
		line_print(alias, 40);
		(void)printf(", similarity %.3f)", json_number(stored, "similarity"));
	}
	(void)fputs(": ", stdout);
	line_print(json_text(stored, "entry"), 64);
	(void)fputs(", ", stdout);
	duration_print(stdout, json_number(stored, "age"));
	(void)fputs(" old", stdout);
	if (why[0]) {
		(void)fputs(", but ", stdout);
		line_print(why, 40);
	}
	(void)fputc('\n', stdout);
}

/* ---- the entries ---- */

/* `fate` is what becomes of it, or NULL where it is not the one that is decided about. */
static void candidate_print(struct json_object *candidate, const char *fate)
{
	const char *why = fate ? fate : json_text(candidate, "why");

	(void)printf("%10.3f  ", json_number(candidate, "similarity"));
	age_print(candidate, "age", 9);
	age_print(candidate, "ttl", 9);
	padded_print(why[0] ? why : "not the nearest", 20);
	line_print(json_text(candidate, "question"), 80);
	(void)fputs("\n            ", stdout);
	line_print(json_text(candidate, "entry"), 64);
	if (json_member(candidate, "opinion"))
		(void)printf("; second opinion %.3f", json_number(candidate, "opinion"));
	if (flag_of(candidate, "rejected"))
		(void)fputs("; rejected", stdout);
	if (flag_of(candidate, "quarantined"))
		(void)fputs("; quarantined", stdout);
	names_print(candidate, "vetoes", "; vetoed by ");
	names_print(candidate, "shadow_vetoes", "; in shadow ");
	names_print(candidate, "off_vetoes", "; if they were on ");
	(void)fputc('\n', stdout);
}

static void candidates_print(struct json_object *map)
{
	struct json_object *candidates = json_member(map, "candidates");
	bool is_served = strcmp(json_text(map, "would"), "served") == 0;
	const char *entry = is_served || flag_of(map, "would_serve") ? json_text(map, "entry") : "";
	const char *fate = is_served ? "served" : "would be served";

	if (length_of(candidates) == 0)
		return;
	(void)fputs("similarity  age      left     why                 question\n", stdout);
	for (size_t i = 0; i < length_of(candidates); i++) {
		struct json_object *candidate = json_object_array_get_idx(candidates, i);
		candidate_print(candidate, entry[0] && strcmp(json_text(candidate, "entry"), entry) == 0 ? fate : NULL);
	}
}

static void value_print(struct json_object *difference, const char *key)
{
	struct json_object *value = json_member(difference, key);
	const char *text = value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : "unset";

	if (json_object_is_type(value, json_type_string) || json_object_is_type(value, json_type_double))
		text = json_object_get_string(value);
	line_print(text, 40);
}

/* "temperature 0.2 ≠ 0.7"; of messages only a digest is known. */
static void difference_print(struct json_object *difference)
{
	const char *what = json_text(difference, "what");

	if (strcmp(what, "messages") == 0) {
		(void)fputs("the other messages differ (system prompt, or what was said before)", stdout);
		return;
	}
	line_print(what, 40);
	(void)fputc(' ', stdout);
	value_print(difference, "theirs");
	(void)fputs(" \xE2\x89\xA0 ", stdout);
	value_print(difference, "ours");
}

static void elsewhere_print(struct json_object *map)
{
	struct json_object *elsewhere = json_member(map, "elsewhere");
	const char *why = json_text(map, "why_no_elsewhere");

	if (why[0]) {
		(void)fputs("other scopes are not known: ", stdout);
		line_print(why, 40);
		(void)fputc('\n', stdout);
	}
	if (length_of(elsewhere) > 0)
		(void)fputs("other scopes\n", stdout);
	for (size_t i = 0; i < length_of(elsewhere) && i < MOST_ELSEWHERE; i++) {
		struct json_object *entry = json_object_array_get_idx(elsewhere, i);
		struct json_object *differs = json_member(entry, "differs");
		(void)printf("%10.3f", json_number(entry, "similarity"));
		for (size_t k = 0; k < length_of(differs); k++) {
			(void)fputs(k ? ", " : ", but ", stdout);
			difference_print(json_object_array_get_idx(differs, k));
		}
		(void)fputs(": ", stdout);
		line_print(json_text(entry, "question"), 80);
		(void)fputs("\n            ", stdout);
		line_print(json_text(entry, "entry"), 64);
		(void)fputc('\n', stdout);
	}
}

int run_explain(struct semcache *cache, const struct arguments *arguments)
{
	struct semcache_result *result;
	struct asked asked;

	if (arguments->request != SEMCACHE_UNSET)
		return explain_request(cache, arguments);
	int code = asked_fill(&asked, arguments);

	if (!code && semcache_explain(cache, &asked.question, &result) != 0) {
		code = failure_print(cache, arguments->json);
	} else if (!code) {
		struct json_object *map = result_json(result, arguments->json);
		code = map ? EXIT_OK : EXIT_PEER;
		if (map && arguments->json) {
			json_print(map);
		} else if (map) {
			headline_print(map);
			policy_print(map);
			not_compared_print(map);
			stored_print(json_member(map, "exact"));
			candidates_print(map);
			elsewhere_print(map);
		}
		json_object_put(map);
	}
	asked_free(&asked);
	return code;
}
