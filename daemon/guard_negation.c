/* One text denies and the other does not. Words that deny in passing ("fails to", "free of", "unhappy") speak for a
 * denial if the other text has one, but do not ask for one. A question that begins with a denied verb ("Isn't it ...?"),
 * ends in "or not", or asks in the Chinese form A-not-A denies nothing. */
#include "guard_private.h"

#include <string.h>

struct denials {
	size_t hard, weak;
};

static bool token_is(const struct guard_side *side, size_t at, const char *text)
{
	return at < side->token_count && side->tokens[at].length == strlen(text) &&
	       memcmp(side->folded + side->tokens[at].start, text, strlen(text)) == 0;
}

static bool ends_in_nt(const struct guard_side *side, const struct token *token)
{
	return token->length > 3 && memcmp(side->folded + token->start + token->length - 3, "n't", 3) == 0;
}

/* Returns whether the verb that a sentence begins with is denied for politeness only. "Don't add salt" is not. */
static bool is_opening(const struct guard_side *side, size_t at)
{
	static const char *const persons[] = {"you", "we", "they", "i", "people", "it", "he", "she"};

	if (!(side->tokens[at].flags & TOKEN_INITIAL))
		return false;
	if (!token_is(side, at, "don't") && !token_is(side, at, "dont"))
		return true;
	for (size_t i = 0; i < sizeof(persons) / sizeof(persons[0]); i++)
		if (token_is(side, at + 1, persons[i]))
			return true;
	return false;
}

/* "Whether or not", "or not?", "not only", "why not", "No. 7". */
static bool is_phrase(const struct guard_side *side, size_t at)
{
	if (token_is(side, at, "not"))
		return (at > 0 && (token_is(side, at - 1, "or") || token_is(side, at - 1, "why"))) ||
		       token_is(side, at + 1, "only") || token_is(side, at + 1, "just");
	if (token_is(side, at, "no"))
		return (at > 0 && token_is(side, at - 1, "or")) || token_is(side, at + 1, "doubt") ||
		       token_is(side, at + 1, "matter") ||
		       (at + 1 < side->token_count && side->tokens[at + 1].kind == TOKEN_NUMBER) ||
		       (token_is(side, at + 1, ".") && at + 2 < side->token_count &&
			side->tokens[at + 2].kind == TOKEN_NUMBER);
	return false;
}

static bool begins_with(const char *text, size_t length, const char *const *beginnings)
{
	for (; *beginnings; beginnings++)
		if (text[0] == (*beginnings)[0] && length > strlen(*beginnings) + 2 &&
		    memcmp(text, *beginnings, strlen(*beginnings)) == 0)
			return true;
	return false;
}

/* Returns whether a word denies by how it begins or ends: unhappy, dishonest, irregular, sugarless. */
static bool is_built_to_deny(const char *text, size_t length)
{
	static const char *const denying[] = {"un", "dis", "ill", "irr", "imp", "non", NULL};
	static const char *const others[] = {"under", "uni",  "until", "disc", "disk", "dish",
					     "disp",  "dist", "impo",  "impr", "impl", NULL};

	if (length < 6)
		return false;
	if (memcmp(text + length - 4, "less", 4) == 0)
		return true;
	return begins_with(text, length, denying) && !begins_with(text, length, others);
}

static void count_word(const struct guard_side *side, const struct guard_lexicon *lexicon, size_t at,
		       struct denials *denials)
{
	const struct token *token = &side->tokens[at];
	const struct guard_lexeme *word = guard_lexicon_at(lexicon, token->word);
	bool denied_verb = ends_in_nt(side, token);

	if (!denied_verb && (!word || word->kind != GUARD_NEGATION || word->value != DENIAL_HARD)) {
		/* What both texts have does not stand for what only one of them has. */
		if (!(token->flags & TOKEN_PAIRED))
			denials->weak += (word && word->kind == GUARD_NEGATION && word->value == DENIAL_WEAK) ||
					 is_built_to_deny(side->folded + token->start, token->length);
		return;
	}
	/* A verb and its denial in one word: isn't, cant. */
	bool verb = denied_verb || (token->length > 3 && side->folded[token->start + token->length - 1] == 't');
	if ((verb && is_opening(side, at)) || is_phrase(side, at))
		denials->weak++;
	else
		denials->hard++;
}

/* Returns whether the denying character at `at` asks: it stands between two equal characters, or last. */
static bool is_asking(const struct guard_side *side, size_t at)
{
	if (at + 1 >= side->token_count || side->tokens[at + 1].kind != TOKEN_HAN)
		return true;
	return at > 0 && side->tokens[at - 1].hash == side->tokens[at + 1].hash;
}

/* Returns how many tokens have been dealt with. */
static size_t count_chinese(const struct guard_side *side, const struct guard_lexicon *lexicon, size_t at,
			    struct denials *denials)
{
	const struct guard_lexeme *word = guard_lexicon_at(lexicon, side->tokens[at].word);

	if (!word || word->kind != GUARD_NEGATION)
		return 1;
	if (word->value == DENIAL_WEAK)
		denials->weak++;
	else if (word->value == DENIAL_HARD && !is_asking(side, at))
		denials->hard++;
	return word->value == DENIAL_HARD ? 1 : word->length / 3U;
}

static struct denials denials_count(const struct guard_side *side, const struct guard_lexicon *lexicon)
{
	struct denials denials = {0, 0};

	for (size_t i = 0; i < side->token_count;) {
		const struct token *token = &side->tokens[i];
		if (token->kind == TOKEN_HAN && !(token->flags & TOKEN_LITERAL)) {
			i += count_chinese(side, lexicon, i, &denials);
			continue;
		}
		if (token->kind == TOKEN_WORD && !(token->flags & TOKEN_LITERAL))
			count_word(side, lexicon, i, &denials);
		i++;
	}
	return denials;
}

bool guard_negation_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon)
{
	struct denials of_a = denials_count(a, lexicon), of_b = denials_count(b, lexicon);

	return (of_a.hard > 0 && of_b.hard + of_b.weak == 0) || (of_b.hard > 0 && of_a.hard + of_a.weak == 0);
}
