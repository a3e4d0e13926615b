/* The tables of commands and options. Reading the command line, the help and bash's completion all come from them. */
#include "semcachectl.h"

#include <getopt.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum bit {
#define X(name) BIT_##name,
	COMMANDS(X)
#undef X
};

#define ON(name) (1U << BIT_##name)
#define EVERY (~0U)
#define QUESTIONS (ON(ask) | ON(lookup) | ON(explain) | ON(add))
#define LOOKS (ON(ask) | ON(lookup) | ON(explain))
#define SAYS (ON(feedback) | ON(reject) | ON(accept) | ON(undo))
#define BEFORE (1U << 31) /* may stand before the command */

/* TAG, PARAMETER, SET, UNSET and USE, and COSINE, have no place in their lines: take() knows it. */
enum kind {
	KIND_TEXT,
	KIND_FLAG,
	KIND_WHOLE,
	KIND_SECONDS,
	KIND_COSINE,
	KIND_TAG,
	KIND_PARAMETER,
	KIND_SET,
	KIND_UNSET,
	KIND_USE
};

struct option_line {
	const char *name;
	char letter; /* 0 = none */
	const char *value;
	enum kind kind;
	size_t offset; /* in struct arguments */
	int64_t most;  /* of KIND_WHOLE and KIND_SECONDS */
	unsigned commands;
	const char *text;
};

#define AT(member) offsetof(struct arguments, member)

static const struct option_line options[] = {
	{"namespace", 'n', "NAME", KIND_TEXT, AT(namespace_name), 0,
	 QUESTIONS | SAYS | ON(watch) | ON(show) | ON(list) | ON(invalidate) | ON(flush) | ON(config),
	 "the namespace (default: default; of watch, flush and what config prints: all)"},
	{"model", 'm', "NAME", KIND_TEXT, AT(model), 0, QUESTIONS | SAYS,
	 "the model (default: the daemon's first; of verdicts: the entry's)"},
	{"system", 's', "TEXT", KIND_TEXT, AT(system), 0, QUESTIONS | SAYS, "a system message before the question"},
	{"parameter", 'p', "NAME=JSON", KIND_PARAMETER, 0, 0, QUESTIONS | SAYS,
	 "a parameter of the model: temperature=0; may be repeated"},
	{"question", 0, "TEXT", KIND_TEXT, AT(question), 0, QUESTIONS | SAYS | ON(invalidate),
	 "the text that is compared by meaning, where it is not the whole question"},
	{"context", 0, "WHAT", KIND_TEXT, AT(context), 0, QUESTIONS | SAYS,
	 "what must be equal: all, system, or a label of your own"},
	{"threshold", 't', "COSINE", KIND_COSINE, 0, 0, LOOKS, "least similarity, from -1 to 1"},
	{"max-age", 0, "SECONDS", KIND_WHOLE, AT(max_age_s), 31536000, LOOKS, "serve no older answer"},
	{"exact", 'x', NULL, KIND_FLAG, AT(exact), 0, LOOKS, "serve only the same question, none that means the same"},
	{"cache", 'c', "USE", KIND_USE, 0, 0, ON(ask),
	 "default; refresh: ask and overwrite; no_store: keep nothing new; only: never ask the model"},
	{"ttl", 0, "SECONDS", KIND_WHOLE, AT(ttl_s), 31536000, ON(ask) | ON(add),
	 "how long the answer is kept; 0: not at all"},
	{"tag", 0, "NAME", KIND_TAG, 0, 0, ON(ask) | ON(add) | ON(invalidate),
	 "a tag of the entry; ask and add: may be repeated"},
	{"stream", 0, NULL, KIND_FLAG, AT(stream), 0, ON(ask), "print the answer as it comes (default on a terminal)"},
	{"quiet", 'q', NULL, KIND_FLAG, AT(quiet), 0, ON(ask) | ON(lookup), "do not say where the answer came from"},
	{"request", 0, "NUMBER", KIND_WHOLE, AT(request), INT64_C(1) << 53, ON(explain),
	 "the number of a request: the decision as it was made then"},
	{"entry", 0, "ENTRY", KIND_TEXT, AT(entry), 0, ON(invalidate), "the entry, 64 hex digits"},
	{"dry-run", 0, NULL, KIND_FLAG, AT(dry_run), 0, ON(invalidate), "count only, remove nothing"},
	{"limit", 'l', "COUNT", KIND_WHOLE, AT(limit), 1000, ON(list), "so many entries at most (default: 100)"},
	{"after", 0, "PLACE", KIND_TEXT, AT(after), 0, ON(list), "go on where the list before ended"},
	{"set", 0, "KEY=VALUE", KIND_SET, 0, 0, ON(config), "a run-time setting of the namespace; may be repeated"},
	{"unset", 0, "KEY", KIND_UNSET, 0, 0, ON(config), "as the file says again; may be repeated"},
	{"client", 0, "NAME", KIND_TEXT, AT(client), 0, ON(hello), "a name of yours for the daemon's log"},
	{"yes", 'y', NULL, KIND_FLAG, AT(yes), 0, ON(flush), "do not ask whether it is meant"},
	{"prometheus", 0, NULL, KIND_FLAG, AT(prometheus), 0, ON(stats), "Prometheus' text format 0.0.4"},
	{"json", 'j', NULL, KIND_FLAG, AT(json), 0, EVERY | BEFORE, "one JSON object on standard output, errors too"},
	{"timeout", 0, "SECONDS", KIND_SECONDS, AT(timeout_ms), 3600, EVERY | BEFORE,
	 "wait so long at most; may have a fraction (default: 300 for ask, none for watch, 30 else)"},
	{"connect-timeout", 0, "SECONDS", KIND_SECONDS, AT(connect_timeout_ms), 3600, EVERY | BEFORE,
	 "wait so long for a daemon that is not there (default: 5; 0 for ping, health, stats)"},
	{"socket", 0, "PATH", KIND_TEXT, AT(socket), 0, EVERY | BEFORE,
	 "the daemon's socket (default: $SEMCACHE_SOCKET, else " SEMCACHE_SOCKET_PATH ")"},
	{"help", 'h', NULL, KIND_FLAG, AT(help), 0, EVERY | BEFORE, "this text"},
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

#define ENTRY_FROM "ENTRY is 64 hex digits, as list, explain and ask --json print them."
#define AS_ASKED "--model, --parameter and --context are the entry's where they are not given; --system is not."

static const struct command commands[] = {
	{"ask", ON(ask), "[OPTION...] [QUESTION]", "an answer: from the cache, or else from the model",
	 "One question; without one, or with -, it is all of standard input. Words that are not quoted are an error, not\n"
	 "several questions. On a terminal the answer is printed as it comes. Where it came from is said on standard error.",
	 1, SEMCACHE_UNSET, run_ask},
	{"lookup", ON(lookup), "[OPTION...] [QUESTION]", "an answer if the cache has one; the model is never asked",
	 "As ask, but it never spends anything. A miss says which entry was nearest, and exits 1.", 1, SEMCACHE_UNSET,
	 run_lookup},
	{"explain", ON(explain), "[OPTION...] [QUESTION | --request NUMBER]",
	 "why an answer would be served, or was, or not",
	 "Prints what lookup would do and the settings that decide it; the nearest entries with what speaks against each; and\n"
	 "the nearest of other scopes of the namespace with what differs. It keeps nothing, and counts as no answer.\n"
	 "With --request: what was decided for a request, by the number that ask, lookup and watch print.",
	 1, SEMCACHE_UNSET, run_explain},
	{"watch", ON(watch), "[OPTION...]", "each decision by meaning as it is made",
	 "Prints a line for each, with --json an object, until it is interrupted or --timeout is over: when (UTC), request,\n"
	 "namespace, tier, similarity of the nearest entry, why it was not served: its question <- the one that was asked.",
	 0, SEMCACHE_UNSET, run_watch},
	{"add", ON(add), "[OPTION...] QUESTION [ANSWER]", "stores an answer",
	 "Without an answer, or with -, the answer is all of standard input. For administrators.", 2, SEMCACHE_UNSET,
	 run_add},
	{"show", ON(show), "[OPTION...] ENTRY", "one entry with everything known of it", ENTRY_FROM, 1, SEMCACHE_UNSET,
	 run_show},
	{"list", ON(list), "[OPTION...]", "the entries of a namespace, by expiry",
	 "If there are more, the last line on standard error is the --after of the next call.", 0, SEMCACHE_UNSET, run_list},
	{"invalidate", ON(invalidate), "[OPTION...] SELECTOR", "removes entries by entry, question, tag or namespace",
	 "SELECTOR is exactly one of --entry, --question and --tag, each within --namespace; or --namespace alone.\n"
	 "What was removed is counted by kind. For administrators.",
	 0, SEMCACHE_UNSET, run_invalidate},
	{"flush", ON(flush), "[OPTION...]", "removes everything in a namespace, or in all",
	 "Asks first on a terminal; elsewhere it needs --yes. Without --namespace: all namespaces. For administrators.", 0,
	 SEMCACHE_UNSET, run_flush},
	{"feedback", ON(feedback), "[OPTION...] ENTRY QUESTION VERDICT",
	 "says whether an entry's answer was right for a question",
	 "VERDICT is right, wrong, accept or undo; the last two are for administrators.\n" ENTRY_FROM "\n" AS_ASKED, 3,
	 SEMCACHE_UNSET, run_feedback},
	{"reject", ON(reject), "[OPTION...] ENTRY QUESTION", "the entry never answers this question again",
	 "Nor does any other answer pass between the two texts, in any scope of the namespace, on any host. An entry that was\n"
	 "wrong for two questions is quarantined; one that is wrong for its own is removed.\n" ENTRY_FROM "\n" AS_ASKED,
	 2, SEMCACHE_UNSET, run_reject},
	{"accept", ON(accept), "[OPTION...] ENTRY QUESTION", "the entry answers this question from now on",
	 "As long as the entry lives, whatever the threshold. For administrators.\n" ENTRY_FROM "\n" AS_ASKED, 2,
	 SEMCACHE_UNSET, run_accept},
	{"undo", ON(undo), "[OPTION...] ENTRY QUESTION", "takes a verdict back",
	 "The rejection, its part in a quarantine, or what was accepted. For administrators.\n" ENTRY_FROM "\n" AS_ASKED, 2,
	 SEMCACHE_UNSET, run_undo},
	{"stats", ON(stats), "[OPTION...]", "counters, gauges and latencies",
	 "And where answers were reviewed (mode shadow, audit), the estimated share of false hits in hits, with its\n"
	 "interval at 95 % and the comparison's own errors. semcached(8) explains each name.",
	 0, 0, run_stats},
	{"health", ON(health), "[OPTION...]", "which parts work, and since when",
	 "Exits 0 if all is well, 1 if something is off, 2 if no new question can be answered or no daemon is there.", 0, 0,
	 run_health},
	{"ping", ON(ping), "[OPTION...]", "whether the daemon responds, and how fast", "", 0, 0, run_ping},
	{"hello", ON(hello), "[OPTION...]", "version, limits and methods of the daemon", "", 0, SEMCACHE_UNSET, run_hello},
	{"config", ON(config), "[OPTION...]", "every setting in force and where it comes from",
	 "With --set and --unset it changes settings of a namespace at once, on all hosts of the same Redis, above the file;\n"
	 "else it lists those of all, or of one namespace. KEY is one of [namespace NAME] in semcached.conf(5): mode, threshold,\n"
	 "guards, audit, ... For administrators.",
	 0, SEMCACHE_UNSET, run_config},
	{"reload", ON(reload), "[OPTION...]", "reads the configuration again",
	 "Says what changed and what needs a restart. For administrators.", 0, SEMCACHE_UNSET, run_reload},
	{"drain", ON(drain), "[OPTION...]", "finishes what is in flight and ends the daemon", "For administrators.", 0,
	 SEMCACHE_UNSET, run_drain},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int take_parameter(struct arguments *arguments, const char *text)
{
	const char *equals = strchr(text, '=');
	struct json_object *value;
	const char *error;

	if (!equals || equals == text)
		return usage_error(arguments->json, "--parameter %s: must be NAME=JSON", text);
	if (!json_read(equals + 1, &value, &error))
		return usage_error(arguments->json, "--parameter %s: not JSON (%s); a text needs quotes: '%.*s=\"...\"'",
				   text, error, (int)(equals - text), text);
	char *name = strndup(text, (size_t)(equals - text));
	if (!arguments->parameters)
		arguments->parameters = json_object_new_object();
	if (!name || !arguments->parameters || json_object_object_add(arguments->parameters, name, value) != 0) {
		json_object_put(value);
		free(name);
		return usage_error(arguments->json, "out of memory");
	}
	free(name);
	return 0;
}

static int take_set(struct arguments *arguments, const char *text)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text)
		return usage_error(arguments->json, "--set %s: must be KEY=VALUE", text);
	char *key = strndup(text, (size_t)(equals - text));
	struct json_object *value = json_object_new_string(equals + 1);
	if (!arguments->set)
		arguments->set = json_object_new_object();
	if (!key || !value || !arguments->set || json_object_object_add(arguments->set, key, value) != 0) {
		json_object_put(value);
		free(key);
		return usage_error(arguments->json, "out of memory");
	}
	free(key);
	return 0;
}

static int take_unset(struct arguments *arguments, const char *text)
{
	struct json_object *key = json_object_new_string(text);

	if (!arguments->unset)
		arguments->unset = json_object_new_array();
	if (key && arguments->unset && json_object_array_add(arguments->unset, key) == 0)
		return 0;
	json_object_put(key);
	return usage_error(arguments->json, "out of memory");
}

static int take_use(struct arguments *arguments, const char *text)
{
	static const char *const names[] = {"default", "refresh", "no_store", "only"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], text) == 0) {
			arguments->use = (enum semcache_use)i;
			return 0;
		}
	return usage_error(arguments->json, "--cache %s: must be default, refresh, no_store or only", text);
}

/* A number from `least` to `most`, whole or not. */
static bool number(const char *text, bool whole, double least, double most, double *out)
{
	char *end;

	if (text[strspn(text, whole ? "0123456789" : "+-.0123456789eE")] != '\0' || !text[0])
		return false;
	*out = strtod(text, &end);
	return *end == '\0' && !isnan(*out) && *out >= least && *out <= most;
}

static int take_number(struct arguments *arguments, const struct option_line *line, const char *text)
{
	double least = line->kind == KIND_COSINE ? -1 : 0, most = line->kind == KIND_COSINE ? 1 : (double)line->most, value;

	if (!number(text, line->kind == KIND_WHOLE, least, most, &value))
		return usage_error(arguments->json, "--%s %s: must be a %snumber from %g to %.0f", line->name, text,
				   line->kind == KIND_WHOLE ? "whole " : "", least, most);
	if (line->kind == KIND_COSINE)
		arguments->threshold = value;
	else
		*(int64_t *)((char *)arguments + line->offset) = (int64_t)(line->kind == KIND_SECONDS ? value * 1000
												      : value);
	return 0;
}

static int take(struct arguments *arguments, const struct option_line *line, const char *text)
{
	void *place = (char *)arguments + line->offset;

	switch (line->kind) {
	case KIND_TEXT:
		*(const char **)place = text;
		return 0;
	case KIND_FLAG:
		*(bool *)place = true;
		return 0;
	case KIND_WHOLE:
	case KIND_SECONDS:
	case KIND_COSINE:
		return take_number(arguments, line, text);
	case KIND_TAG:
		if (arguments->tag_count == MOST_TAGS)
			return usage_error(arguments->json, "--tag: at most %d", MOST_TAGS);
		arguments->tags[arguments->tag_count++] = text;
		return 0;
	case KIND_PARAMETER:
		return take_parameter(arguments, text);
	case KIND_SET:
		return take_set(arguments, text);
	case KIND_UNSET:
		return take_unset(arguments, text);
	case KIND_USE:
		return take_use(arguments, text);
	}
	return EXIT_USAGE;
}

/* getopt's two forms of the options in `set`; long options' values are their lines' indices plus 256. */
static void getopt_tables(unsigned set, char letters[static 2 * OPTION_COUNT + 3],
			  struct option longs[static OPTION_COUNT + 1])
{
	char *letter = letters;
	size_t count = 0;

	if (set == BEFORE)
		*letter++ = '+';
	*letter++ = ':';
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (!(options[i].commands & set))
			continue;
		if (options[i].letter)
			*letter++ = options[i].letter;
		if (options[i].letter && options[i].value)
			*letter++ = ':';
		longs[count++] = (struct option){options[i].name, options[i].value ? required_argument : no_argument, NULL,
						 (int)i + 256};
	}
	*letter = '\0';
	longs[count] = (struct option){0};
}

static const struct option_line *line_of(int found)
{
	if (found >= 256)
		return &options[found - 256];
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (options[i].letter == found)
			return &options[i];
	return NULL;
}

/* What getopt refused: a letter in optopt, or a long option, which is then the word before optind. */
static int unknown(const struct arguments *arguments, const struct command *command, int found, char **argv)
{
	const char *what = found == ':' ? "needs a value" : "is no option";
	const char *name = command ? command->name : "semcachectl";

	if (found == '?' && optopt > 0 && optopt < 256)
		return usage_error(arguments->json, "-%c is no option of %s; see --help", optopt, name);
	return usage_error(arguments->json, "%s %s%s%s; see --help", argv[optind - 1], what, found == ':' ? "" : " of ",
			   found == ':' ? "" : name);
}

int arguments_read(struct arguments *arguments, const struct command *command, int argc, char **argv)
{
	char letters[2 * OPTION_COUNT + 3];
	struct option longs[OPTION_COUNT + 1];
	int found;

	getopt_tables(command ? command->bit : BEFORE, letters, longs);
	opterr = 0;
	optind = 0;
	while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		const struct option_line *line = found == '?' || found == ':' ? NULL : line_of(found);
		if (!line)
			(void)unknown(arguments, command, found, argv);
		if (!line || take(arguments, line, optarg) != 0)
			return -1;
	}
	arguments->positional = (const char *const *)(argv + optind);
	arguments->positional_count = (size_t)(argc - optind);
	if (command && arguments->positional_count > command->most_positional && !arguments->help) {
		(void)usage_error(arguments->json,
				  command->most_positional ? "%s: %s is one word too many; is the text quoted?"
							   : "%s takes no argument: %s",
				  command->name, argv[optind + (int)command->most_positional]);
		return -1;
	}
	return optind;
}

static void options_print(FILE *out, unsigned set)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option_line *o = &options[i];
		char left[48], letter[4] = "   ";
		if (!(o->commands & set))
			continue;
		if (o->letter)
			(void)snprintf(letter, sizeof(letter), "-%c,", o->letter);
		(void)snprintf(left, sizeof(left), "%s --%s%s%s", letter, o->name, o->value ? " " : "",
			       o->value ? o->value : "");
		(void)fprintf(out, "  %-29s %s\n", left, o->text);
	}
}

static void exits_print(FILE *out)
{
#define X(name, number, text) (void)fprintf(out, "  %2d  %s\n", number, text);
	EXIT_TABLE(X)
#undef X
}

void help_print(FILE *out, const struct command *command)
{
	if (command) {
		(void)fprintf(out, "usage: semcachectl %s %s\n\n%s.\n", command->name, command->synopsis, command->summary);
		if (command->description[0])
			(void)fprintf(out, "%s\n", command->description);
		(void)fputs("\noptions:\n", out);
		options_print(out, command->bit);
		(void)fputs("\nexit codes:\n", out);
		exits_print(out);
		return;
	}
	(void)fputs("usage: semcachectl [OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n\n"
		    "Asks semcached, the cache for LLM answers.\n\n"
		    "commands:\n",
		    out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		(void)fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
#define X(name, text) (void)fprintf(out, "  %-11s %s\n", #name, text);
	MODES(X)
#undef X
	(void)fputs("  completion  bash's completion, on standard output\n  help        this text, or a command's\n\n"
		    "options of every command (semcachectl COMMAND --help has the rest):\n",
		    out);
	options_print(out, BEFORE);
	(void)fputs("      --version                 the version\n\nexit codes:\n", out);
	exits_print(out);
}

/* The options of the daemon's program, which reads them itself. */
#define evaluate_OPTIONS                                                                                                    \
	"--config --namespace --mode --threshold --margin --margin-floor --minimum --guards --second-opinion "              \
	"--opinion-weight --max-wrong --max-traps --tune --test --max-questions --json --plot --comparator --limit "        \
	"--compare-threshold --model --system --temperature --out --store --help"
#define calibrate_OPTIONS                                                                                                   \
	"--config --namespace --pairs --only-pairs --max-false-hits-of-hits --confidence --comparator-error --guards "      \
	"--max-questions --out --dry-run --json --help"

/* The words after which bash offers something else than the command's options. */
void completion_print(FILE *out)
{
	(void)fputs("# bash completion for semcachectl; printed by: semcachectl completion\n"
		    "_semcachectl()\n{\n"
		    "\tlocal word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= i\n"
		    "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		    "\t\tcase ${COMP_WORDS[i]} in\n\t\t",
		    out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		(void)fprintf(out, "%s%s", i ? "|" : "", commands[i].name);
#define X(name, text) (void)fputs("|" #name, out);
	MODES(X)
#undef X
	(void)fputs(") command=${COMP_WORDS[i]}; break ;;\n\t\tesac\n\tdone\n"
		    "\tcase $previous in\n"
		    "\t--socket) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n"
		    "\t--cache|-c)\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -W 'default refresh no_store only' -- \"$word\"); return ;;\n"
		    "\t--context) mapfile -t COMPREPLY < <(compgen -W 'all system' -- \"$word\"); return ;;\n"
		    "\t--guards) mapfile -t COMPREPLY < <(compgen -W 'all:on all:off all:shadow' -- \"$word\"); return ;;\n"
		    "\t--mode)\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -W 'exact shadow threshold calibrated' -- \"$word\"); return ;;\n"
		    "\t--config|--pairs|--plot|--out)\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n"
		    "\tesac\n"
		    "\t# What evaluate and calibrate are about is in files.\n"
		    "\tif [[ ($command == evaluate || $command == calibrate) && $word != -* ]]; then\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n\t\treturn\n\tfi\n"
		    "\tlocal words\n\tcase $command in\n",
		    out);
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		(void)fprintf(out, "\t%s) words='", commands[i].name);
		const char *space = "";
		for (size_t k = 0; k < OPTION_COUNT; k++)
			if (options[k].commands & commands[i].bit) {
				(void)fprintf(out, "%s--%s", space, options[k].name);
				space = " ";
			}
		(void)fputs("' ;;\n", out);
	}
#define X(name, text) (void)fputs("\t" #name ") words='" name##_OPTIONS "' ;;\n", out);
	MODES(X)
#undef X
	(void)fputs("\t*) words='", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		(void)fprintf(out, "%s ", commands[i].name);
#define X(name, text) (void)fputs(#name " ", out);
	MODES(X)
#undef X
	for (size_t k = 0; k < OPTION_COUNT; k++)
		if (options[k].commands & BEFORE)
			(void)fprintf(out, "--%s ", options[k].name);
	(void)fputs("--version completion help' ;;\n\tesac\n"
		    "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n}\n"
		    "complete -F _semcachectl semcachectl\n",
		    out);
}
