/* Commands and points go to gnuplot's standard input. What can go wrong: there is no gnuplot, or it cannot write the
 * file. */
#include "evaluate_options.h"
#include "evaluate_report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define NO_PROGRAM 127

/* In single quotes gnuplot takes everything as it is, but a quote, which is doubled. */
static void quoted_print(FILE *out, const char *text)
{
	(void)fputc('\'', out);
	for (; *text; text++) {
		if (*text == '\'')
			(void)fputc('\'', out);
		(void)fputc(*text, out);
	}
	(void)fputc('\'', out);
}

static void curve_print(FILE *out, const struct evaluate_report *report)
{
	for (size_t i = 0; i < report->point_count; i++) {
		const struct evaluate_counts *counts = &report->points[i].counts;
		if (counts->requests && counts->repeats)
			(void)fprintf(out, "%.6f %.6f\n", 100.0 * (double)counts->wrong / (double)counts->requests,
				      100.0 * (double)counts->right / (double)counts->repeats);
	}
	(void)fputs("e\n", out);
}

static void shipped_print(FILE *out, const struct evaluate_report *report)
{
	const struct evaluate_counts *counts = &report->shipped.counts;

	(void)fprintf(out, "%.6f %.6f\ne\n", 100.0 * (double)counts->wrong / (double)counts->requests,
		      counts->repeats ? 100.0 * (double)counts->right / (double)counts->repeats : 0.0);
}

/* Where nothing is wrong, gnuplot does not know how wide to draw. */
static bool is_any_wrong(const struct evaluate_report *report)
{
	size_t wrong = report->shipped.counts.wrong;

	for (size_t i = 0; i < report->point_count; i++)
		wrong += report->points[i].counts.wrong;
	return wrong > 0;
}

bool evaluate_report_plot(const struct evaluate_report *report)
{
	const char *path = report->options->plot;

	if (strpbrk(path, "\n\r")) {
		(void)fprintf(stderr, "semcached: --plot: the file's name must be on one line\n");
		return false;
	}
	/* gnuplot would draw on its standard output where it cannot write the file. */
	FILE *file = fopen(path, "we");
	if (!file || fclose(file) != 0) {
		(void)fprintf(stderr, "semcached: --plot: %s: %s\n", path, strerror(errno));
		return false;
	}
	/* A missing gnuplot is told once, by us. */
	FILE *out = popen("command -v gnuplot > /dev/null || exit 127; exec gnuplot > /dev/null", "we");
	if (!out) {
		(void)fprintf(stderr, "semcached: --plot: gnuplot cannot be started\n");
		return false;
	}
	(void)fputs("set terminal png size 800,600\nset output ", out);
	quoted_print(out, path);
	if (!is_any_wrong(report))
		(void)fputs("\nset xrange [-1:1]", out);
	(void)fprintf(
		out,
		"\nset xlabel 'wrong, %% of all requests'\nset ylabel 'hits, %% of %s'\nset key bottom right\nset grid\n"
		"plot '-' using 1:2 with lines title 'threshold %s', '-' using 1:2 with points pt 7 title 'in force'\n",
		report->set->kind == EVALUATE_PAIRS ? "pairs that share an answer" : "requests that could be hits",
		report->by_score ? "of the score" : "of the similarity");
	curve_print(out, report);
	shipped_print(out, report);
	int status = pclose(out);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	bool is_missing = WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM;
	(void)fprintf(stderr, "semcached: --plot: %s\n", is_missing ? "gnuplot is not installed" : "gnuplot failed");
	return false;
}
