/* Each text has a name that the other lacks. A name is a word with a capital inside a sentence, or an acronym; in Chinese
 * text it is any Latin word. A name is not lacking if the other text has it in any case, in one word or two, as an
 * adjective (India, Indian), with a slip of the keyboard in it, or as the acronym or the words behind one. Texts in title
 * case or in capitals have no names. */
#include "guard_private.h"

#include <string.h>

static const char *text_of(const struct guard_side *side, const struct token *token)
{
	return side->folded + token->start;
}

/* The length without a possessive or plural s. */
static size_t stem_length(const struct guard_side *side, const struct token *token)
{
	const char *text = text_of(side, token);
	size_t length = token->length;

	if (length > 2 && text[length - 2] == '\'' && text[length - 1] == 's')
		length -= 2;
	if (length > 3 && text[length - 1] == 's' && text[length - 2] != 's')
		length--;
	return length;
}

static bool is_ordinary(const struct guard_lexicon *lexicon, const struct token *token)
{
	const struct guard_lexeme *number = guard_lexicon_at(lexicon, token->number);

	/* US and IT are names, us and it are not. */
	if (token->flags & TOKEN_CAPITALS && token->length == 2 && guard_lexicon_at(lexicon, token->word) &&
	    guard_lexicon_at(lexicon, token->word)->kind == GUARD_FUNCTION)
		return false;
	return token->word ||
	       (number && (number->kind == GUARD_MONTH ? number->side == 0 : number->kind != GUARD_NO_NUMBER));
}

/* Returns whether the capitals of an English text say nothing: all or nearly all of its words have one. */
static bool is_title_case(const struct guard_side *side, const struct guard_lexicon *lexicon)
{
	size_t words = 0, upper = 0, grammar_upper = 0, capitals = 0, all = 0;

	for (size_t i = 0; i < side->token_count; i++) {
		const struct token *token = &side->tokens[i];
		if (token->kind != TOKEN_WORD || token->length < 2 || token->flags & TOKEN_LITERAL)
			continue;
		all++;
		capitals += (token->flags & TOKEN_CAPITALS) != 0;
		if (token->flags & TOKEN_INITIAL)
			continue;
		bool high = token->flags & TOKEN_UPPER;
		if (guard_lexicon_at(lexicon, token->word)) {
			grammar_upper += high && side->text[token->start + 1] != '\'';
		} else {
			words++;
			upper += high;
		}
	}
	if (all > 2 && 2 * capitals > all)
		return true;
	return (grammar_upper > 0 && 5 * upper >= 3 * words) || (words >= 4 && upper == words);
}

static bool is_candidate(const struct guard_side *side, const struct guard_lexicon *lexicon, const struct token *token)
{
	if (token->kind != TOKEN_WORD || token->flags & TOKEN_LITERAL || stem_length(side, token) < 2)
		return false;
	if (side->script == SCRIPT_HAN)
		return !token->unit || token->length > 2;
	if (!(token->flags & TOKEN_UPPER) || is_ordinary(lexicon, token))
		return false;
	/* A sentence begins with a capital; and what it begins with is seldom an acronym unless it is one. */
	return !(token->flags & TOKEN_INITIAL) || token->flags & TOKEN_CAPITALS;
}

static bool starts_alike(const char *a, const char *b, size_t length)
{
	return memcmp(a, b, length) == 0;
}

static bool is_vowel(char c)
{
	return memchr("aeiouy", c, 6) != NULL;
}

/* Returns whether `b`, one letter longer or as long, is `a` with one slip: a letter too much or too few, two exchanged,
 * or one vowel for another. First and last letters are seldom wrong by accident. */
static bool is_slip(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t same = 0, end = 0;

	if (a_length < 5 || b_length > a_length + 1 || a[0] != b[0])
		return false;
	while (same < a_length && a[same] == b[same])
		same++;
	while (end < a_length - same && a[a_length - 1 - end] == b[b_length - 1 - end])
		end++;
	if (b_length == a_length + 1)
		return same + end == a_length && (end > 0 || a[a_length - 1] == b[b_length - 1]);
	size_t differs = a_length - same - end;
	if (differs == 2)
		return a[same] == b[same + 1] && a[same + 1] == b[same];
	return differs == 1 && same > 0 && is_vowel(a[same]) && is_vowel(b[same]) &&
	       (end > 0 || (a[same] == 'y' || b[same] == 'y'));
}

/* Returns whether the longer one is the shorter one with the ending of an adjective or of a people. */
static bool is_adjective(const char *a, size_t a_length, const char *b, size_t b_length)
{
	static const char *const endings[] = {"n", "an", "ian", "ean", "ese", "ish", "i", "ic", "er", "c"};

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t ending = strlen(endings[i]);
		if (b_length <= ending || memcmp(b + b_length - ending, endings[i], ending) != 0)
			continue;
		size_t stem = b_length - ending;
		/* China, Chinese; Italy, Italian: the last vowel gives way. */
		if (stem >= 4 && (stem == a_length || (stem + 1 == a_length && is_vowel(a[stem]))) &&
		    starts_alike(a, b, stem))
			return true;
	}
	return false;
}

/* Poland, Polish; Scotland, Scottish; Spain, Spanish; Sweden, Swedish: little more than the beginning is left. */
static bool is_people(const char *country, size_t country_length, const char *people, size_t length)
{
	return country_length >= 5 && length >= 5 && memcmp(people + length - 3, "ish", 3) == 0 &&
	       memcmp(country + country_length - 3, "ish", 3) != 0 && starts_alike(country, people, 3);
}

static bool is_same_name(const struct guard_side *side, const struct token *name, const struct guard_side *other,
			 const struct token *word)
{
	const char *a = text_of(side, name), *b = text_of(other, word);
	size_t a_length = stem_length(side, name), b_length = stem_length(other, word);

	if (a[0] != b[0])
		return false;
	if (a_length == b_length && starts_alike(a, b, a_length))
		return true;
	if (a_length > b_length) {
		const char *text = a;
		size_t length = a_length;
		a = b;
		a_length = b_length;
		b = text;
		b_length = length;
	}
	return is_slip(a, a_length, b, b_length) || is_adjective(a, a_length, b, b_length) ||
	       is_people(a, a_length, b, b_length) || is_people(b, b_length, a, a_length);
}

static bool is_lacking(const struct guard_side *side, const struct token *name, struct guard_side *other)
{
	if (name->flags & (TOKEN_PAIRED | TOKEN_SHORTENED))
		return false;
	for (size_t i = 0; i < other->token_count; i++)
		if (other->tokens[i].kind == TOKEN_WORD && is_same_name(side, name, other, &other->tokens[i]))
			return false;
	return name->length < 5 || !guard_text_has_squeezed(other, text_of(side, name), stem_length(side, name));
}

/* Marks the words of `other` whose first letters the acronym has, and it. Words of grammar between them are passed over. */
static void shorten(struct guard_side *side, struct token *acronym, struct guard_side *other,
		    const struct guard_lexicon *lexicon)
{
	const char *letters = text_of(side, acronym);

	for (size_t i = 0; i < other->token_count; i++) {
		size_t at = i, letter = 0;
		for (; at < other->token_count && letter < acronym->length && at < i + 12; at++) {
			const struct token *token = &other->tokens[at];
			if (token->kind == TOKEN_WORD && token->length > 1 && other->folded[token->start] == letters[letter])
				letter++;
			else if (letter == 0 || !guard_lexicon_at(lexicon, token->word))
				break;
		}
		if (letter < acronym->length)
			continue;
		acronym->flags |= TOKEN_SHORTENED;
		while (i < at)
			other->tokens[i++].flags |= TOKEN_SHORTENED;
		return;
	}
}

static void shorten_all(struct guard_side *side, struct guard_side *other, const struct guard_lexicon *lexicon)
{
	size_t most = 8;

	for (size_t i = 0; i < side->token_count && most > 0; i++) {
		struct token *token = &side->tokens[i];
		if (token->kind != TOKEN_WORD || !(token->flags & TOKEN_CAPITALS) || token->flags & TOKEN_PAIRED ||
		    token->length > 6)
			continue;
		shorten(side, token, other, lexicon);
		most--;
	}
}

static bool lacks_name(struct guard_side *side, struct guard_side *other, const struct guard_lexicon *lexicon)
{
	size_t most = 32;

	for (size_t i = 0; i < side->token_count && most > 0; i++) {
		const struct token *token = &side->tokens[i];
		if (!is_candidate(side, lexicon, token) || token->flags & TOKEN_PAIRED)
			continue;
		if (is_lacking(side, token, other))
			return true;
		most--;
	}
	return false;
}

bool guard_names_veto(struct guard_side *a, struct guard_side *b, const struct guard_lexicon *lexicon)
{
	if (a->script == SCRIPT_ENGLISH && (is_title_case(a, lexicon) || is_title_case(b, lexicon)))
		return false;
	shorten_all(a, b, lexicon);
	shorten_all(b, a, lexicon);
	return lacks_name(a, b, lexicon) && lacks_name(b, a, lexicon);
}
