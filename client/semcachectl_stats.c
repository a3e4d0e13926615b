/* The map of `stats`, without knowing any name in it: what the daemon counts is its own table's matter. */
#include "semcachectl.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *group(struct json_object *stats, const char *name)
{
	struct json_object *map = json_member(stats, name);

	return json_object_is_type(map, json_type_object) ? map : NULL;
}

static void name_print(const char *name, int width)
{
	text_print(stdout, name, strlen(name), true, 60);
	(void)printf("%*s", (int)strlen(name) < width ? width - (int)strlen(name) : 1, "");
}

static void numbers_print(struct json_object *stats, const char *name)
{
	struct json_object *map = group(stats, name);

	if (!map || json_object_object_length(map) == 0)
		return;
	(void)printf("%s\n", name);
	json_object_object_foreach(map, key, value)
	{
		(void)fputs("  ", stdout);
		name_print(key, 30);
		(void)printf("%14lld\n", (long long)json_object_get_int64(value));
	}
}

static bool is_percentile(const char *key)
{
	size_t digits = strspn(key + 1, "0123456789");

	return key[0] == 'p' && digits > 0 && digits < 9 && strcmp(key + 1 + digits, "_us") == 0;
}

/* "p999_us" is 0.999. */
static double percentile(const char *key)
{
	double value = 0, place = 0.1;

	for (const char *p = key + 1; *p >= '0' && *p <= '9'; p++, place /= 10)
		value += (*p - '0') * place;
	return value;
}

static void latencies_print(struct json_object *stats)
{
	struct json_object *map = group(stats, "latencies");
	bool head = false;

	if (!map)
		return;
	json_object_object_foreach(map, name, latency)
	{
		if (!json_object_is_type(latency, json_type_object) || json_integer(latency, "count") == 0)
			continue;
		if (!head) {
			(void)fputs("latencies, ms               count", stdout);
			json_object_object_foreach(latency, title, unused)
			{
				(void)unused;
				if (is_percentile(title))
					(void)printf("%*sp%g",
						     (int)(8 - (title[3] == '_'   ? 0
								: title[4] == '_' ? 1
										  : 2)),
						     "", percentile(title) * 100);
			}
			(void)fputs("       max\n", stdout);
			head = true;
		}
		(void)fputs("  ", stdout);
		name_print(name, 20);
		(void)printf("%11lld", (long long)json_integer(latency, "count"));
		json_object_object_foreach(latency, key, value)
		{
			if (is_percentile(key))
				(void)printf(" %10.2f", json_object_get_double(value) / 1000);
		}
		(void)printf(" %9.2f\n", json_number(latency, "max_us") / 1000);
	}
}

static void namespaces_print(struct json_object *stats)
{
	struct json_object *map = group(stats, "namespaces");

	if (!map || json_object_object_length(map) == 0)
		return;
	(void)fputs("namespaces                                hits        misses\n", stdout);
	json_object_object_foreach(map, name, counts)
	{
		(void)fputs("  ", stdout);
		name_print(name, 30);
		(void)printf("%14lld%14lld\n", (long long)json_integer(counts, "hits"),
			     (long long)json_integer(counts, "misses"));
	}
}

static void guards_print(struct json_object *stats)
{
	struct json_object *map = group(stats, "namespaces");
	bool head = false;

	if (!map)
		return;
	json_object_object_foreach(map, name, counts)
	{
		struct json_object *guards = group(counts, "guards");
		if (!guards)
			continue;
		json_object_object_foreach(guards, guard, its)
		{
			if (!head)
				(void)fputs("guards                                  vetoed        shadow\n", stdout);
			head = true;
			(void)fputs("  ", stdout);
			name_print(name, 18);
			name_print(guard, 12);
			(void)printf("%14lld%14lld\n", (long long)json_integer(its, "vetoed"),
				     (long long)json_integer(its, "shadow"));
		}
	}
}

/* A share in per cent, or a dash where there is none. */
static void share_print(struct json_object *estimate, const char *key)
{
	if (json_object_is_type(json_member(estimate, key), json_type_double))
		(void)printf("%8.2f", json_number(estimate, key) * 100);
	else
		(void)printf("%8s", "-");
}

static void band_print(struct json_object *estimate)
{
	double from = json_number(estimate, "from"), to = json_number(estimate, "to");
	char band[32];

	if (from < 0 && to >= 1)
		(void)snprintf(band, sizeof(band), "all");
	else if (from < 0)
		(void)snprintf(band, sizeof(band), "under %.2f", to);
	else
		(void)snprintf(band, sizeof(band), "%.2f to %.2f", from, to);
	(void)printf("%-14s", band);
}

/* How often the comparison itself was wrong where that was measured, in per cent, as is said with every estimate. */
static void comparator_print(struct json_object *comparator)
{
	static const char *const errors[] = {"false_same", "false_different"};

	if (!json_object_is_type(comparator, json_type_object)) {
		(void)fputs("  unmeasured\n", stdout);
		return;
	}
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct json_object *error = json_member(comparator, errors[i]);
		int64_t count = json_integer(error, "count");
		(void)printf("%s%.1f", i ? ", " : "  ", count ? 100 * json_number(error, "wrong") / (double)count : 0.0);
	}
	(void)fputc('\n', stdout);
}

/* How much of what was served, or would have been, is wrong by what the model says. */
static void reviews_print(struct json_object *stats)
{
	struct json_object *map = group(stats, "namespaces");
	bool head = false;

	if (!map)
		return;
	json_object_object_foreach(map, name, counts)
	{
		struct json_object *reviews = group(counts, "reviews"), *estimates = json_member(reviews, "estimates");
		size_t count = json_object_is_type(estimates, json_type_array) ? json_object_array_length(estimates) : 0;
		for (size_t i = 0; i < count; i++) {
			struct json_object *estimate = json_object_array_get_idx(estimates, i);
			if (!head)
				(void)fputs(
					"false hits, % of hits       similarity      compared different      rate     low  "
					"high 95 %  comparator: false same, different %\n",
					stdout);
			head = true;
			(void)fputs("  ", stdout);
			name_print(name, 17);
			name_print(json_text(estimate, "source"), 8);
			(void)fputc(' ', stdout);
			band_print(estimate);
			(void)printf("%10lld%10lld  ", (long long)json_integer(estimate, "compared"),
				     (long long)json_integer(estimate, "different"));
			share_print(estimate, "false_hit_rate");
			share_print(estimate, "low");
			(void)fputs("   ", stdout);
			share_print(estimate, "high");
			comparator_print(json_member(reviews, "comparator"));
		}
	}
}

void stats_print(struct json_object *stats)
{
	const char *version = json_text(stats, "version");

	(void)fputs("version                         ", stdout);
	text_print(stdout, version, strlen(version), true, 40);
	(void)fputs("\nup                              ", stdout);
	duration_print(stdout, json_number(stats, "uptime_s"));
	(void)printf("\nhit rate                        %.1f %%\n", json_number(stats, "hit_rate") * 100);
	(void)printf("saved                           %.4f USD\n", json_number(stats, "usd_saved"));
	numbers_print(stats, "counters");
	namespaces_print(stats);
	guards_print(stats);
	reviews_print(stats);
	numbers_print(stats, "errors");
	numbers_print(stats, "gauges");
	latencies_print(stats);
}

/* A metric's name may hold letters, digits and '_' only. */
static void metric_name_print(const char *name)
{
	(void)fputs("semcache_", stdout);
	for (; *name; name++) {
		bool fits = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
			    (*name >= '0' && *name <= '9');
		(void)fputc(fits ? *name : '_', stdout);
	}
}

/* Escapes as the format asks: backslash and line end, and in a label the quote. */
static void escaped_print(const char *text, bool label)
{
	for (; *text; text++) {
		if (*text == '\\')
			(void)fputs("\\\\", stdout);
		else if (*text == '\n')
			(void)fputs("\\n", stdout);
		else if (*text == '"' && label)
			(void)fputs("\\\"", stdout);
		else
			(void)fputc(*text, stdout);
	}
}

static void metric_head(const char *name, const char *suffix, const char *type, const char *help)
{
	if (help[0]) {
		(void)fputs("# HELP ", stdout);
		metric_name_print(name);
		(void)printf("%s ", suffix);
		escaped_print(help, false);
		(void)fputc('\n', stdout);
	}
	(void)fputs("# TYPE ", stdout);
	metric_name_print(name);
	(void)printf("%s %s\n", suffix, type);
}

static void metrics_print(struct json_object *stats, const char *group_name, const char *suffix, const char *type)
{
	struct json_object *map = group(stats, group_name), *help = json_member(stats, "help");

	if (!map)
		return;
	json_object_object_foreach(map, name, value)
	{
		metric_head(name, suffix, type, json_text(help, name));
		metric_name_print(name);
		(void)printf("%s %s\n", suffix, value ? json_object_to_json_string(value) : "0");
	}
}

static void errors_print_prometheus(struct json_object *stats)
{
	struct json_object *map = group(stats, "errors");

	if (!map)
		return;
	metric_head("errors", "_total", "counter", "error responses by code");
	json_object_object_foreach(map, code, value)
	{
		(void)fputs("semcache_errors_total{code=\"", stdout);
		escaped_print(code, true);
		(void)printf("\"} %lld\n", (long long)json_object_get_int64(value));
	}
}

static void namespaces_print_prometheus(struct json_object *stats, const char *count, const char *help)
{
	struct json_object *map = group(stats, "namespaces");
	char metric[32];

	if (!map)
		return;
	(void)snprintf(metric, sizeof(metric), "namespace_%s", count);
	metric_head(metric, "_total", "counter", help);
	json_object_object_foreach(map, name, counts)
	{
		(void)printf("semcache_%s_total{namespace=\"", metric);
		escaped_print(name, true);
		(void)printf("\"} %lld\n", (long long)json_integer(counts, count));
	}
}

static void guards_print_prometheus(struct json_object *stats, const char *count, const char *help)
{
	struct json_object *map = group(stats, "namespaces");
	char metric[32];

	if (!map)
		return;
	(void)snprintf(metric, sizeof(metric), "guard_%s", count);
	metric_head(metric, "_total", "counter", help);
	json_object_object_foreach(map, name, counts)
	{
		struct json_object *guards = group(counts, "guards");
		if (!guards)
			continue;
		json_object_object_foreach(guards, guard, its)
		{
			(void)printf("semcache_%s_total{namespace=\"", metric);
			escaped_print(name, true);
			(void)fputs("\",guard=\"", stdout);
			escaped_print(guard, true);
			(void)printf("\"} %lld\n", (long long)json_integer(its, count));
		}
	}
}

static void reviews_print_prometheus(struct json_object *stats, const char *value, const char *suffix, const char *help)
{
	struct json_object *map = group(stats, "namespaces");
	char metric[48];

	if (!map)
		return;
	(void)snprintf(metric, sizeof(metric), "review_%s", value);
	metric_head(metric, suffix, suffix[0] ? "counter" : "gauge", help);
	json_object_object_foreach(map, name, counts)
	{
		struct json_object *reviews = group(counts, "reviews"), *estimates = json_member(reviews, "estimates");
		size_t count = json_object_is_type(estimates, json_type_array) ? json_object_array_length(estimates) : 0;
		for (size_t i = 0; i < count; i++) {
			struct json_object *estimate = json_object_array_get_idx(estimates, i);
			bool is_all = json_number(estimate, "from") < 0 && json_number(estimate, "to") >= 1;
			/* Bands are counters that can be added up; for estimates all of them together are one more. */
			if (!json_member(estimate, value) || (is_all && suffix[0]))
				continue;
			(void)printf("semcache_%s%s{namespace=\"", metric, suffix);
			escaped_print(name, true);
			(void)fputs("\",source=\"", stdout);
			escaped_print(json_text(estimate, "source"), true);
			(void)printf("\",from=\"%g\",to=\"%g\"} %.6g\n", json_number(estimate, "from"),
				     json_number(estimate, "to"), json_number(estimate, value));
		}
	}
}

static void latency_line(const char *suffix, const char *name, double quantile, double value)
{
	(void)printf("semcache_latency_seconds%s{of=\"", suffix);
	escaped_print(name, true);
	if (quantile >= 0)
		(void)printf("\",quantile=\"%g\"} %g\n", quantile, value);
	else
		(void)printf("\"} %.10g\n", value);
}

static void latencies_print_prometheus(struct json_object *stats)
{
	struct json_object *map = group(stats, "latencies");

	if (!map)
		return;
	metric_head("latency_seconds", "", "summary", "how long things took since the daemon started, by what was timed");
	json_object_object_foreach(map, name, latency)
	{
		if (!json_object_is_type(latency, json_type_object))
			continue;
		json_object_object_foreach(latency, key, value)
		{
			if (is_percentile(key))
				latency_line("", name, percentile(key), json_object_get_double(value) / 1e6);
		}
		latency_line("_sum", name, -1, json_number(latency, "sum_us") / 1e6);
		latency_line("_count", name, -1, json_number(latency, "count"));
	}
	metric_head("latency_max_seconds", "", "gauge", "the longest since the daemon started, by what was timed");
	json_object_object_foreach(map, of, longest)
	{
		if (!json_object_is_type(longest, json_type_object))
			continue;
		(void)fputs("semcache_latency_max_seconds{of=\"", stdout);
		escaped_print(of, true);
		(void)printf("\"} %g\n", json_number(longest, "max_us") / 1e6);
	}
}

void stats_print_prometheus(struct json_object *stats)
{
	metric_head("build_info", "", "gauge", "always 1; the version is its label");
	(void)fputs("semcache_build_info{version=\"", stdout);
	escaped_print(json_text(stats, "version"), true);
	(void)fputs("\"} 1\n", stdout);
	metric_head("uptime_seconds", "", "gauge", "since the daemon started");
	(void)printf("semcache_uptime_seconds %.10g\n", json_number(stats, "uptime_s"));
	metric_head("hit_ratio", "", "gauge", "hits of all answered requests, 0 to 1");
	(void)printf("semcache_hit_ratio %.6g\n", json_number(stats, "hit_rate"));
	metric_head("usd_saved", "_total", "counter", "what hits did not cost, in USD");
	(void)printf("semcache_usd_saved_total %.10g\n", json_number(stats, "usd_saved"));
	metrics_print(stats, "counters", "_total", "counter");
	metrics_print(stats, "gauges", "", "gauge");
	namespaces_print_prometheus(stats, "hits", "answers from what was stored or shared, by namespace");
	namespaces_print_prometheus(stats, "misses", "answers from the model and look-ups without one, by namespace");
	guards_print_prometheus(stats, "vetoed", "near enough entries that a guard kept from being served");
	guards_print_prometheus(stats, "shadow", "near enough entries that a guard would have kept from being served");
	reviews_print_prometheus(stats, "compared", "_total", "answers compared with the model's, by band of similarity");
	reviews_print_prometheus(stats, "different", "_total", "the same, those that said something else");
	reviews_print_prometheus(stats, "false_hit_rate", "", "estimated share of false hits in hits, 0 to 1");
	reviews_print_prometheus(stats, "low", "", "where its interval at 95 % begins");
	reviews_print_prometheus(stats, "high", "", "where its interval at 95 % ends");
	errors_print_prometheus(stats);
	latencies_print_prometheus(stats);
}
