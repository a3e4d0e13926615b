/* Options ──> configuration file ──> the namespace's settings, those that were given in place of the file's. */
#include "evaluate_options.h"

#include "../proto/error.h"
#include "config.h"
#include "config_table.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CONFIG "/etc/semcache/semcached.conf"
#define MISTAKES_MOST (64u << 10)
#define FILE_MOST (512u << 20)
#define QUESTIONS_DEFAULT 200000
#define QUESTIONS_MOST 2000000

static const char usage_evaluate[] =
	"usage: semcached evaluate [OPTION]... FILE\n"
	"\n"
	"What the cache would have done with the questions in FILE (- = standard input): pairs of questions with a label,\n"
	"or a stream of questions with a class (columns: semcached(8), \"EVALUATE\").\n"
	"\n"
	"  -c, --config FILE        the configuration (default " DEFAULT_CONFIG ")\n"
	"      --namespace NAME     whose settings are in force (default: default)\n"
	"      --mode MODE          threshold, calibrated, shadow or exact, in place of the namespace's\n"
	"      --threshold T        the threshold in force; of the score where the mode has one\n"
	"      --margin M, --margin-floor S, --minimum S\n"
	"                           the other parameters of the calibrated mode\n"
	"      --guards LIST        NAME:on|off|shadow with a comma between; all:off, all:on\n"
	"      --second-opinion on|off   whether the second embedder has a say\n"
	"      --opinion-weight W   how much\n"
	"      --max-wrong P%       names the best threshold at which at most so many of all requests are wrong\n"
	"      --max-traps P%       the same for the traps served, of pairs\n"
	"      --tune class:even|class:odd, --test class:even|class:odd\n"
	"                           the half of a stream on which that threshold is chosen, and the one that is measured\n"
	"      --max-questions N    the most rows that FILE may have (default 200000)\n"
	"      --json               prints JSON\n"
	"      --plot FILE.png      draws hits over wrong answers, with gnuplot\n"
	"\n"
	"      --comparator         measures the comparison of answers instead, on labelled pairs, with the real chat model\n"
	"      --limit N            of at most so many pairs, as many of each label\n"
	"      --compare-threshold T  in place of the namespace's\n"
	"      --model NAME, --system TEXT, --temperature T\n"
	"                           how the questions are asked\n"
	"      --out FILE           writes the two errors there, as settings (semcachectl: --store gives them to the daemon)\n"
	"\n"
	"Exit status: 0 done, 1 failed, 64 wrong usage, 65 a mistake in FILE, 66 FILE cannot be read, 69 no embedder, 78 a\n"
	"mistake in the configuration.\n";

static const char usage_calibrate[] =
	"usage: semcached calibrate --max-false-hits-of-hits P% [OPTION]...\n"
	"\n"
	"Finds the lowest threshold whose upper confidence bound of false hits, of hits, keeps the promise, and writes a\n"
	"certificate; refuses if there is too little data (semcached(8), \"CALIBRATE\").\n"
	"\n"
	"  -c, --config FILE        the configuration (default " DEFAULT_CONFIG ")\n"
	"      --namespace NAME     which namespace (default: default)\n"
	"      --pairs FILE         labelled pairs or a stream, as for evaluate, besides the labels in Redis\n"
	"      --only-pairs         leaves the labels in Redis alone\n"
	"      --max-false-hits-of-hits P%   what is promised\n"
	"      --confidence P%      how sure (default 95%)\n"
	"      --comparator-error P%  how often audit, shadow and judge may call a wrong answer right (default: as was\n"
	"                           measured of audit and shadow; labels of which it is not known are left out)\n"
	"      --guards LIST        as for evaluate\n"
	"      --max-questions N    the most rows that FILE may have (default 200000)\n"
	"      --out FILE           writes the certificate there\n"
	"      --dry-run            writes none\n"
	"      --json               prints JSON\n"
	"\n"
	"Exit status: 0 there is a certificate, 1 refused or failed, else as for evaluate.\n";

enum {
	OPTION_NAMESPACE = 256,
	OPTION_MODE,
	OPTION_THRESHOLD,
	OPTION_MARGIN,
	OPTION_MARGIN_FLOOR,
	OPTION_MINIMUM,
	OPTION_GUARDS,
	OPTION_MAX_WRONG,
	OPTION_MAX_TRAPS,
	OPTION_TUNE,
	OPTION_TEST,
	OPTION_MAX_QUESTIONS,
	OPTION_JSON,
	OPTION_PLOT,
	OPTION_PAIRS,
	OPTION_BOUND,
	OPTION_CONFIDENCE,
	OPTION_OUT,
	OPTION_DRY_RUN,
	OPTION_ONLY_PAIRS,
	OPTION_COMPARATOR,
	OPTION_SECOND_OPINION,
	OPTION_WEIGHT,
	OPTION_MEASURE,
	OPTION_LIMIT,
	OPTION_COMPARE_THRESHOLD,
	OPTION_MODEL,
	OPTION_SYSTEM,
	OPTION_TEMPERATURE,
};

/* clang-format off */
static const struct option options_evaluate[] = {
	{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
	{"namespace", required_argument, NULL, OPTION_NAMESPACE}, {"mode", required_argument, NULL, OPTION_MODE},
	{"threshold", required_argument, NULL, OPTION_THRESHOLD}, {"margin", required_argument, NULL, OPTION_MARGIN},
	{"margin-floor", required_argument, NULL, OPTION_MARGIN_FLOOR}, {"minimum", required_argument, NULL, OPTION_MINIMUM},
	{"guards", required_argument, NULL, OPTION_GUARDS}, {"max-wrong", required_argument, NULL, OPTION_MAX_WRONG},
	{"max-traps", required_argument, NULL, OPTION_MAX_TRAPS}, {"tune", required_argument, NULL, OPTION_TUNE},
	{"test", required_argument, NULL, OPTION_TEST}, {"max-questions", required_argument, NULL, OPTION_MAX_QUESTIONS},
	{"json", no_argument, NULL, OPTION_JSON}, {"plot", required_argument, NULL, OPTION_PLOT},
	{"second-opinion", required_argument, NULL, OPTION_SECOND_OPINION},
	{"opinion-weight", required_argument, NULL, OPTION_WEIGHT}, {"comparator", no_argument, NULL, OPTION_MEASURE},
	{"limit", required_argument, NULL, OPTION_LIMIT}, {"model", required_argument, NULL, OPTION_MODEL},
	{"compare-threshold", required_argument, NULL, OPTION_COMPARE_THRESHOLD},
	{"system", required_argument, NULL, OPTION_SYSTEM}, {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
	{"out", required_argument, NULL, OPTION_OUT},
	{0},
};

static const struct option options_calibrate[] = {
	{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
	{"namespace", required_argument, NULL, OPTION_NAMESPACE}, {"pairs", required_argument, NULL, OPTION_PAIRS},
	{"max-false-hits-of-hits", required_argument, NULL, OPTION_BOUND},
	{"confidence", required_argument, NULL, OPTION_CONFIDENCE}, {"guards", required_argument, NULL, OPTION_GUARDS},
	{"max-questions", required_argument, NULL, OPTION_MAX_QUESTIONS}, {"json", no_argument, NULL, OPTION_JSON},
	{"out", required_argument, NULL, OPTION_OUT}, {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
	{"only-pairs", no_argument, NULL, OPTION_ONLY_PAIRS},
	{"comparator-error", required_argument, NULL, OPTION_COMPARATOR},
	{0},
};
/* clang-format on */

static int __attribute__((format(printf, 1, 2))) refuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fputs("semcached: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
	return EVALUATE_USAGE;
}

/* ---- values ---- */

static int read_real(const char *name, const char *text, double low, double high, double *value)
{
	char *end;

	errno = 0;
	double number = strtod(text, &end);
	if (end == text || *end || !(number >= low && number <= high))
		return refuse("%s must be a number from %g to %g", name, low, high);
	*value = number;
	return -1;
}

/* A share is "1%" or "0.01". */
static int read_share(const char *name, const char *text, double *value)
{
	char *end;
	double number = strtod(text, &end);
	bool is_percent = end != text && end[0] == '%' && end[1] == '\0';

	if (is_percent)
		number /= 100;
	if (end == text || (*end && !is_percent) || !(number >= 0 && number < 1))
		return refuse("%s must be a share from 0%% to under 100%%, as in 1%% or 0.01", name);
	*value = number;
	return -1;
}

static int read_half(const char *name, const char *text, enum evaluate_half *half)
{
	if (strcmp(text, "class:even") == 0)
		*half = EVALUATE_EVEN;
	else if (strcmp(text, "class:odd") == 0)
		*half = EVALUATE_ODD;
	else
		return refuse("%s must be class:even or class:odd", name);
	return -1;
}

static int read_count(const char *name, const char *text, size_t most, size_t *count)
{
	double number = 0;
	int status = read_real(name, text, 1, (double)most, &number);

	if (status >= 0)
		return status;
	if (number != floor(number))
		return refuse("%s must be a whole number", name);
	*count = (size_t)number;
	return -1;
}

/* ---- options ---- */

/* Returns where the option's text goes, if it is kept as it is; or NULL. */
static const char **text_of(struct evaluate_options *options, int option)
{
	switch (option) {
	case 'c':
		return &options->config_path;
	case OPTION_NAMESPACE:
		return &options->namespace_name;
	case OPTION_MODE:
		return &options->mode;
	case OPTION_GUARDS:
		return &options->guards;
	case OPTION_SECOND_OPINION:
		return &options->second_opinion;
	case OPTION_PLOT:
		return &options->plot;
	case OPTION_PAIRS:
		return &options->file;
	case OPTION_OUT:
		return &options->out;
	case OPTION_MODEL:
		return &options->model;
	case OPTION_SYSTEM:
		return &options->system;
	default:
		return NULL;
	}
}

/* The same for an option without a value. */
static bool *flag_of(struct evaluate_options *options, int option)
{
	switch (option) {
	case OPTION_JSON:
		return &options->json;
	case OPTION_DRY_RUN:
		return &options->dry_run;
	case OPTION_ONLY_PAIRS:
		return &options->only_pairs;
	case OPTION_MEASURE:
		return &options->comparator;
	default:
		return NULL;
	}
}

static int take_option(struct evaluate_options *options, int option, const char *text)
{
	const char **kept = text_of(options, option);
	bool *flag = flag_of(options, option);

	if (kept)
		*kept = text;
	else if (flag)
		*flag = true;
	if (kept || flag)
		return -1;
	switch (option) {
	case OPTION_COMPARATOR:
		return read_share("--comparator-error", text, &options->comparator_error);
	case OPTION_THRESHOLD:
		return read_real("--threshold", text, -1, 2, &options->threshold);
	case OPTION_MARGIN:
		return read_real("--margin", text, 0, 4, &options->margin);
	case OPTION_MARGIN_FLOOR:
		return read_real("--margin-floor", text, -1, 1, &options->margin_floor);
	case OPTION_MINIMUM:
		return read_real("--minimum", text, -1, 1, &options->minimum);
	case OPTION_WEIGHT:
		return read_real("--opinion-weight", text, 0, 1, &options->weight);
	case OPTION_MAX_WRONG:
		return read_share("--max-wrong", text, &options->max_wrong);
	case OPTION_MAX_TRAPS:
		return read_share("--max-traps", text, &options->max_traps);
	case OPTION_BOUND:
		return read_share("--max-false-hits-of-hits", text, &options->bound);
	case OPTION_CONFIDENCE:
		return read_share("--confidence", text, &options->confidence);
	case OPTION_TUNE:
		return read_half("--tune", text, &options->tune);
	case OPTION_TEST:
		return read_half("--test", text, &options->test);
	case OPTION_LIMIT:
		return read_count("--limit", text, QUESTIONS_MOST, &options->limit);
	case OPTION_COMPARE_THRESHOLD:
		return read_real("--compare-threshold", text, -1, 1, &options->compare_threshold);
	case OPTION_TEMPERATURE:
		return read_real("--temperature", text, 0, 10, &options->temperature);
	case OPTION_MAX_QUESTIONS:
		return read_count("--max-questions", text, QUESTIONS_MOST, &options->max_questions);
	default:
		return EVALUATE_USAGE;
	}
}

/* What must be there, and what does not go together. */
static int check_options(struct evaluate_options *options, enum evaluate_what what)
{
	if (what == EVALUATE_EVALUATE) {
		if (!options->file)
			return refuse("evaluate: the file is missing; see semcached evaluate --help");
		bool is_measure = options->limit || options->model || options->system || options->out ||
				  !isnan(options->temperature) || options->compare_threshold > CONFIG_NONE;
		if (is_measure && !options->comparator)
			return refuse(
				"--limit, --compare-threshold, --model, --system, --temperature and --out are of --comparator");
		/* Somebody who names a half to choose on wants a threshold chosen. */
		if (options->tune != EVALUATE_ALL && isnan(options->max_wrong))
			options->max_wrong = 0.01;
		return -1;
	}
	if (isnan(options->bound) || options->bound <= 0)
		return refuse("calibrate: --max-false-hits-of-hits is missing or 0; see semcached calibrate --help");
	if (options->confidence < 0.5)
		return refuse("--confidence must be at least 50%%");
	return -1;
}

int evaluate_options_read(struct evaluate_options *options, enum evaluate_what what, int argc, char **argv)
{
	bool is_calibrate = what == EVALUATE_CALIBRATE;
	const char *usage = is_calibrate ? usage_calibrate : usage_evaluate;
	int option, status;

	*options = (struct evaluate_options){
		.config_path = DEFAULT_CONFIG,
		.namespace_name = "default",
		.threshold = CONFIG_NONE,
		.margin = CONFIG_NONE,
		.margin_floor = CONFIG_NONE,
		.minimum = CONFIG_NONE,
		.weight = CONFIG_NONE,
		.max_wrong = NAN,
		.max_traps = NAN,
		.bound = NAN,
		.confidence = 0.95,
		.comparator_error = NAN,
		.compare_threshold = CONFIG_NONE,
		.temperature = NAN,
		.max_questions = QUESTIONS_DEFAULT,
	};
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:h", is_calibrate ? options_calibrate : options_evaluate, NULL)) != -1) {
		if (option == '?' || option == ':')
			return refuse("%s: %s %s; see semcached %s --help", argv[0], argv[optind - 1],
				      option == ':' ? "needs a value" : "is no option", argv[0]);
		if (option == 'h') {
			(void)fputs(usage, stdout);
			return EXIT_SUCCESS;
		}
		status = take_option(options, option, optarg);
		if (status >= 0)
			return status;
	}
	if (!is_calibrate && optind < argc)
		options->file = argv[optind++];
	if (optind < argc)
		return refuse("%s: %s is too much; see semcached %s --help", argv[0], argv[optind], argv[0]);
	return check_options(options, what);
}

/* ---- configuration ---- */

/* Sets one of the namespace's keys as the file would. */
static int set_key(struct config_namespace *space, const char *key, const char *text)
{
	for (size_t i = config_section_start(CONFIG_NAMESPACE);
	     i < CONFIG_ENTRIES && config_table[i].section == CONFIG_NAMESPACE; i++)
		if (strcmp(config_table[i].key, key) == 0)
			return config_value_set(&config_table[i], space, text);
	return ERROR_INVALID;
}

static int set_namespace(const struct evaluate_options *options, struct config_namespace *space)
{
	if (options->mode && set_key(space, "mode", options->mode) != 0)
		return refuse("--mode must be exact, shadow, threshold or calibrated");
	if (options->guards && set_key(space, "guards", options->guards) != 0)
		return refuse(
			"--guards must be NAME:on, NAME:off or NAME:shadow with a comma between; see semcached.conf(5)");
	if (options->second_opinion && set_key(space, "second_opinion", options->second_opinion) != 0)
		return refuse("--second-opinion must be on or off");
	double *const fields[] = {&space->margin, &space->margin_floor, &space->minimum, &space->opinion_weight};
	const double given[] = {options->margin, options->margin_floor, options->minimum, options->weight};
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (given[i] > CONFIG_NONE)
			*fields[i] = given[i];
	return -1;
}

int evaluate_config_read(const struct evaluate_options *options, struct config **config, struct config_namespace **space)
{
	struct config *read = NULL;
	struct buffer mistakes;

	buffer_init(&mistakes, MISTAKES_MOST);
	int error = config_read(options->config_path, &read, &mistakes);
	if (mistakes.length)
		(void)fprintf(stderr, "%.*s", (int)mistakes.length, mistakes.data);
	else if (error)
		(void)fprintf(stderr, "%s: %s\n", options->config_path, error_text(error));
	buffer_deinit(&mistakes);
	if (error && strcmp(options->config_path, DEFAULT_CONFIG) == 0)
		(void)fprintf(stderr, "semcached: --config names another file\n");
	if (error)
		return EVALUATE_CONFIG;
	struct config_namespace *found =
		&read->namespaces[config_namespace(read, slice_of(options->namespace_name)) - read->namespaces];
	int status = set_namespace(options, found);
	if (status < 0 && read->embedder.url[0] == '\0') {
		(void)fprintf(stderr, "%s: [embedder] url is empty: nothing is compared by meaning\n", options->config_path);
		status = EVALUATE_CONFIG;
	}
	if (status < 0 && options->second_opinion && found->second_opinion && read->second_opinion.url[0] == '\0') {
		(void)fprintf(stderr, "%s: [second_opinion] url is empty: there is no second embedder\n",
			      options->config_path);
		status = EVALUATE_CONFIG;
	}
	if (status >= 0) {
		config_destroy(read);
		return status;
	}
	*config = read;
	*space = found;
	return -1;
}

/* ---- the file ---- */

int evaluate_file_read(const char *path, struct slice *bytes)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
	struct buffer read;
	int error = 0;

	if (!file) {
		(void)fprintf(stderr, "semcached: %s: %s\n", path, strerror(errno));
		return EVALUATE_NO_INPUT;
	}
	buffer_init(&read, FILE_MOST);
	while (!error && !feof(file) && !ferror(file)) {
		char part[65536];
		size_t length = fread(part, 1, sizeof(part), file);
		error = buffer_append(&read, part, length);
	}
	bool failed = ferror(file) != 0;
	if (file != stdin)
		(void)fclose(file);
	if (!failed && !error)
		/* So that there are bytes to free in an empty file too. */
		error = buffer_reserve(&read, 1);
	if (!failed && !error) {
		*bytes = buffer_slice(&read);
		return -1;
	}
	(void)fprintf(stderr, "semcached: %s: %s\n", path,
		      failed                     ? "it cannot be read"
		      : error == ERROR_TOO_LARGE ? "it is larger than 512 MiB"
						 : error_text(error));
	buffer_deinit(&read);
	return failed ? EVALUATE_NO_INPUT : EVALUATE_DATA;
}
