/* One text has a word that the other lacks, and the other has its opposite, which the first lacks. "Before and after" has
 * both and differs from nothing. Small words (on, off, 前, 后) have too many uses: they count only next to the same word or
 * character in both texts. Opposites that differ in how they begin or end (legal, illegal; overweight, underweight;
 * careful, careless) need no table. */
#include "guard_private.h"

#include <string.h>

#define SIDES 4
#define GROUPS 512

/* A group of opposites that a text touches. */
struct touched {
	uint16_t group;
	uint8_t sides; /* a bit for each */
	bool nearby;
};

struct touches {
	size_t count;
	struct touched list[GROUPS];
};

static const struct guard_lexeme *opposite_at(const struct guard_side *side, const struct guard_lexicon *lexicon, size_t at)
{
	const struct token *token = &side->tokens[at];
	const struct guard_lexeme *word = guard_lexicon_at(lexicon, token->opposite);

	if (!word || token->flags & TOKEN_LITERAL)
		return NULL;
	/* "Out of" and "off of" say where from. */
	if (word->kind == GUARD_NEARBY && at + 1 < side->token_count && side->tokens[at + 1].length == 2 &&
	    memcmp(side->folded + side->tokens[at + 1].start, "of", 2) == 0)
		return NULL;
	return word;
}

static size_t step(const struct token *token, const struct guard_lexeme *word)
{
	return token->kind == TOKEN_HAN && word && word->length > 3 ? word->length / 3U : 1;
}

static void touches_read(const struct guard_side *side, const struct guard_lexicon *lexicon, struct touches *touches)
{
	touches->count = 0;
	for (size_t i = 0; i < side->token_count;) {
		const struct guard_lexeme *word = opposite_at(side, lexicon, i);
		i += step(&side->tokens[i], word);
		if (!word || word->value == 0)
			continue;
		size_t at = 0;
		while (at < touches->count && touches->list[at].group != word->value)
			at++;
		if (at == GROUPS)
			continue;
		if (at == touches->count)
			touches->list[touches->count++] = (struct touched){.group = word->value,
									   .nearby = word->kind == GUARD_NEARBY};
		touches->list[at].sides |= (uint8_t)(1U << word->side);
	}
}

/* Returns the token before (or behind) `at` that says something, past articles and pronouns; NULL. */
static const struct token *neighbour(const struct guard_side *side, size_t at, int way)
{
	static const char *const passed[] = {"the", "a", "an", "my", "your", "his", "her", "its", "our", "their", "it"};

	for (size_t i = 0; i < 3; i++) {
		if ((way < 0 && at == 0) || (way > 0 && at + 1 >= side->token_count))
			return NULL;
		at = way < 0 ? at - 1 : at + 1;
		const struct token *token = &side->tokens[at];
		bool pass = false;
		for (size_t k = 0; k < sizeof(passed) / sizeof(passed[0]) && token->kind == TOKEN_WORD; k++)
			pass = pass || (strlen(passed[k]) == token->length &&
					memcmp(passed[k], side->folded + token->start, token->length) == 0);
		if (!pass)
			return token->kind == TOKEN_MARK ? NULL : token;
	}
	return NULL;
}

static bool is_same(const struct token *a, const struct token *b)
{
	return a && b && a->kind == b->kind && a->hash == b->hash;
}

/* Returns whether a word of `group` in `a` and its opposite in `b` stand next to the same word. Looks at the first few of
 * each. */
static bool stands_alike(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon,
			 uint16_t group)
{
	size_t seen_a = 0;

	for (size_t i = 0; i < a->token_count && seen_a < 4; i++) {
		const struct guard_lexeme *word = opposite_at(a, lexicon, i), *other;
		size_t seen_b = 0;
		if (!word || word->value != group)
			continue;
		seen_a++;
		for (size_t k = 0; k < b->token_count && seen_b < 4; k++) {
			other = opposite_at(b, lexicon, k);
			if (!other || other->value != group)
				continue;
			seen_b++;
			if (other->side != word->side && (is_same(neighbour(a, i, -1), neighbour(b, k, -1)) ||
							  is_same(neighbour(a, i, 1), neighbour(b, k, 1))))
				return true;
		}
	}
	return false;
}

static bool table_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon)
{
	struct touches of_a, of_b;

	touches_read(a, lexicon, &of_a);
	touches_read(b, lexicon, &of_b);
	for (size_t i = 0; i < of_a.count; i++)
		for (size_t k = 0; k < of_b.count; k++) {
			const struct touched *in_a = &of_a.list[i], *in_b = &of_b.list[k];
			if (in_a->group != in_b->group || in_a->sides & in_b->sides)
				continue;
			if (!in_a->nearby || stands_alike(a, b, lexicon, in_a->group))
				return true;
		}
	return false;
}

struct affix {
	const char *a, *b; /* "" is none */
	size_t least;      /* letters of the rest */
};

static const struct affix prefixes[] = {
	{"un", "", 4},         {"non", "", 5},        {"dis", "", 5},        {"il", "", 5},         {"ir", "", 6},
	{"im", "", 6},         {"in", "", 6},         {"de", "", 7},         {"over", "under", 4},  {"hyper", "hypo", 4},
	{"pre", "post", 4},    {"up", "down", 4},     {"in", "out", 3},      {"en", "de", 4},       {"in", "de", 4},
	{"im", "ex", 4},       {"in", "ex", 4},       {"inter", "intra", 4}, {"macro", "micro", 4}, {"maxi", "mini", 2},
	{"upper", "lower", 4}, {"intro", "extro", 3},
};

static const struct affix suffixes[] = {{"ful", "less", 3}, {"er", "ee", 5}};

/* Words that begin so but are no opposites of the rest. */
static bool is_exception(const char *rest, size_t length)
{
	static const char *const begins[] = {"cover", "close", "count", "solve", "patch", "place", "press",
					     "port",  "prov",  "plant", "migra", "print", "part",  "stance",
					     "spire", "tend",  "tens",  "vest",  "pend"};

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (strlen(begins[i]) <= length && memcmp(begins[i], rest, strlen(begins[i])) == 0)
			return true;
	return false;
}

/* What is left to be done for one pair of texts: so many searches through the other text, as each costs its length. */
struct affix_search {
	const struct guard_side *other;
	size_t left;
};

#define SEARCHES 64

/* Returns whether the other text has a word of its own that is `prefix`, `rest` and `suffix`. */
static bool has_word(struct affix_search *search, const char *prefix, const char *rest, size_t length, const char *suffix)
{
	const struct guard_side *other = search->other;
	size_t before = strlen(prefix), behind = strlen(suffix);

	if (search->left == 0)
		return false;
	search->left--;
	for (size_t i = 0; i < other->token_count; i++) {
		const struct token *token = &other->tokens[i];
		const char *text = other->folded + token->start;
		if (token->kind == TOKEN_WORD && !(token->flags & (TOKEN_PAIRED | TOKEN_LITERAL)) &&
		    token->length == before + length + behind && memcmp(text, prefix, before) == 0 &&
		    memcmp(text + before, rest, length) == 0 && memcmp(text + before + length, suffix, behind) == 0)
			return true;
	}
	return false;
}

static bool prefix_veto(struct affix_search *search, const char *text, size_t length)
{
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		const struct affix *affix = &prefixes[i];
		if (text[0] != affix->a[0])
			continue;
		size_t skip = strlen(affix->a);
		if (length < skip + affix->least || memcmp(text, affix->a, skip) != 0)
			continue;
		if (affix->b[0] == '\0' && is_exception(text + skip, length - skip))
			continue;
		if (has_word(search, affix->b, text + skip, length - skip, ""))
			return true;
	}
	return false;
}

static bool suffix_veto(struct affix_search *search, const char *text, size_t length)
{
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		const struct affix *affix = &suffixes[i];
		size_t end = strlen(affix->a);
		if (length >= end + affix->least && memcmp(text + length - end, affix->a, end) == 0 &&
		    has_word(search, "", text, length - end, affix->b))
			return true;
	}
	return false;
}

/* Looks at the words that only `side` has. */
static bool affix_veto(const struct guard_side *side, const struct guard_side *other)
{
	struct affix_search search = {.other = other, .left = SEARCHES};

	for (size_t i = 0; i < side->token_count && search.left > 0; i++) {
		const struct token *token = &side->tokens[i];
		const char *text = side->folded + token->start;
		if (token->kind != TOKEN_WORD || token->flags & (TOKEN_PAIRED | TOKEN_LITERAL) || token->length < 6)
			continue;
		if (prefix_veto(&search, text, token->length) || suffix_veto(&search, text, token->length))
			return true;
	}
	return false;
}

bool guard_opposites_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon)
{
	return table_veto(a, b, lexicon) || affix_veto(a, b) || affix_veto(b, a);
}
