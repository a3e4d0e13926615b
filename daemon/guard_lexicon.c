/* Words are found by their first three bytes: the known ones lie in chains, and the few that begin like a token are
 * compared with it. English words are known in their base form and matched with the usual endings; Chinese ones wherever
 * they stand, the longest first. */
#include "guard_private.h"

#include <string.h>

static uint32_t key_of(const char *text, size_t length)
{
	const unsigned char *p = (const unsigned char *)text;
	uint32_t key = p[0] | (length > 1 ? (uint32_t)p[1] << 8 : 0) | (length > 2 ? (uint32_t)p[2] << 16 : 0);

	return key * 2654435761U >> 22;
}

static void chain_add(struct guard_lexicon *lexicon, const struct guard_lexeme *lexeme, size_t index)
{
	uint32_t key = key_of(lexeme->text, lexeme->length);

	lexicon->next[index] = lexicon->head[key];
	lexicon->head[key] = (uint16_t)(index + 1);
}

void guard_lexicon_init(struct guard_lexicon *lexicon, const struct guard_words *words)
{
	size_t most = sizeof(lexicon->next) / sizeof(lexicon->next[0]);

	lexicon->own = guard_words_known(&lexicon->own_count);
	lexicon->operators = guard_words_list(words, &lexicon->operator_count);
	if (lexicon->operator_count > most - lexicon->own_count)
		lexicon->operator_count = most - lexicon->own_count;
	memset(lexicon->head, 0, sizeof(lexicon->head));
	for (size_t i = 0; i < lexicon->own_count; i++)
		chain_add(lexicon, &lexicon->own[i], i);
	for (size_t i = 0; i < lexicon->operator_count; i++)
		chain_add(lexicon, &lexicon->operators[i], lexicon->own_count + i);
}

const struct guard_lexeme *guard_lexicon_at(const struct guard_lexicon *lexicon, uint16_t index)
{
	if (index == 0)
		return NULL;
	size_t at = index - 1U;
	return at < lexicon->own_count ? &lexicon->own[at] : &lexicon->operators[at - lexicon->own_count];
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_one_of(const char *ending, size_t length, const char *const *endings)
{
	for (; *endings; endings++)
		if ((*endings)[0] == ending[0] && strlen(*endings) == length && memcmp(*endings, ending, length) == 0)
			return true;
	return false;
}

/* Returns whether `text` is `base` with an ending: stops, stopped, stopping; used; carried; encryption; colder; legally. */
static bool is_inflected(const char *base, size_t base_length, const char *text, size_t length)
{
	static const char *const endings[] = {"s", "es", "ed", "ing", "er", "ers", "est", "ly", "ion", "ation", NULL};
	static const char *const behind_e[] = {"s", "d", "r", "rs", "st", "ly", NULL};
	static const char *const without_e[] = {"ing", "ion", "ions", NULL};
	static const char *const without_y[] = {"ies", "ied", "ier", "iest", NULL};
	static const char *const doubled[] = {"ed", "ing", "er", "ers", "est", NULL};
	char last = base[base_length - 1];

	if (base_length < 3 || length > base_length + 5)
		return false;
	if (length > base_length && memcmp(base, text, base_length) == 0) {
		const char *ending = text + base_length;
		size_t rest = length - base_length;
		if (is_one_of(ending, rest, last == 'e' ? behind_e : endings))
			return true;
		return ending[0] == last && is_one_of(ending + 1, rest - 1, doubled);
	}
	if (base_length < 4 || length < base_length || memcmp(base, text, base_length - 1) != 0)
		return false;
	const char *ending = text + base_length - 1;
	size_t rest = length - base_length + 1;
	return (last == 'e' && is_one_of(ending, rest, without_e)) || (last == 'y' && is_one_of(ending, rest, without_y));
}

static bool is_plural(const char *base, size_t base_length, const char *text, size_t length)
{
	return base_length > 1 && length > base_length && memcmp(base, text, base_length) == 0 &&
	       ((length == base_length + 1 && text[base_length] == 's') ||
		(length == base_length + 2 && text[base_length] == 'e' && text[base_length + 1] == 's'));
}

static bool is_word(const struct guard_lexeme *lexeme, const char *text, size_t length)
{
	if (length == lexeme->length)
		return memcmp(text, lexeme->text, length) == 0 ||
		       ((lexeme->kind == GUARD_OPPOSITE || lexeme->kind == GUARD_NEGATION) &&
			is_inflected(lexeme->text, lexeme->length, text, length));
	if (length < lexeme->length)
		return false;
	if (lexeme->kind == GUARD_UNIT || lexeme->kind == GUARD_SCALE || lexeme->kind == GUARD_TITLE)
		return is_plural(lexeme->text, lexeme->length, text, length);
	if (lexeme->kind != GUARD_OPPOSITE && (lexeme->kind != GUARD_NEGATION || lexeme->value != DENIAL_WEAK))
		return false;
	return is_inflected(lexeme->text, lexeme->length, text, length);
}

/* Puts `index` where the token keeps words of that kind. Of two, the longer one stays: it is the more exact one. */
static void token_know(const struct guard_lexicon *lexicon, struct token *token, uint16_t index)
{
	const struct guard_lexeme *lexeme = guard_lexicon_at(lexicon, index);
	uint16_t *place = lexeme->kind <= GUARD_NO_NUMBER ? &token->number
			  : lexeme->kind == GUARD_UNIT    ? &token->unit
			  : lexeme->kind <= GUARD_TITLE   ? &token->word
							  : &token->opposite;
	const struct guard_lexeme *before = guard_lexicon_at(lexicon, *place);

	if (!before || lexeme->length > before->length || (lexeme->length == before->length && index < *place))
		*place = index;
}

/* Operators' words may have more in them than letters ("check-in"): those are compared where a token begins. */
static void mark_phrases(const struct guard_lexicon *lexicon, struct guard_side *side, struct token *token)
{
	const char *text = side->folded + token->start;
	size_t left = side->length - token->start;

	for (uint16_t at = lexicon->head[key_of(text, left)]; at > 0; at = lexicon->next[at - 1]) {
		const struct guard_lexeme *lexeme = guard_lexicon_at(lexicon, at);
		if (at <= lexicon->own_count || lexeme->length <= token->length || lexeme->length > left ||
		    memcmp(lexeme->text, text, lexeme->length) != 0)
			continue;
		char last = lexeme->text[lexeme->length - 1], behind = text[lexeme->length];
		if (!is_alnum(last) || !is_alnum(behind))
			token_know(lexicon, token, at);
	}
}

void guard_lexicon_mark(const struct guard_lexicon *lexicon, struct guard_side *side)
{
	for (size_t i = 0; i < side->token_count; i++) {
		struct token *token = &side->tokens[i];
		if (lexicon->operator_count > 0)
			mark_phrases(lexicon, side, token);
		if (token->kind == TOKEN_NUMBER)
			continue;
		const char *text = side->folded + token->start;
		size_t length = token->length, left = side->length - token->start;
		if (length > 2 && text[length - 2] == '\'' && text[length - 1] == 's')
			length -= 2;
		for (uint16_t at = lexicon->head[key_of(text, length)]; at > 0; at = lexicon->next[at - 1]) {
			const struct guard_lexeme *lexeme = guard_lexicon_at(lexicon, at);
			if (token->kind == TOKEN_WORD
				    ? is_word(lexeme, text, length)
				    : lexeme->length <= left && memcmp(lexeme->text, text, lexeme->length) == 0)
				token_know(lexicon, token, at);
		}
	}
}
