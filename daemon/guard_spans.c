/* Strings that must be met exactly: quotes, code, addresses, paths, identifiers. A span of one text is missing in the
 * other if that has neither the same span nor the same characters outside of one; one missing span is one objection. An
 * identifier with a single digit or none ("CO2", "setTimeout") has everyday names beside it, so it must be missing on
 * both sides.
 *
 * Where a closing mark is not found, that is remembered, so that no part of a text is searched twice for it. */
#include "guard_private.h"

#include <string.h>

/* Parts of a name with points or hyphens in it: more is no name, and looking at no more keeps the work linear. */
#define MAX_PARTS 12

struct finder {
	struct guard_side *side;
	size_t at;         /* the token that is looked at */
	size_t quote_ends; /* where the quotation that is open is closed; 0: none is open */
	bool no_backtick, no_quote, no_apostrophe;
};

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_number_char(char c)
{
	return c >= '0' && c <= '9';
}

static void span_add(struct guard_side *side, enum span_kind kind, size_t start, size_t end)
{
	if (side->span_count < GUARD_SPANS && end > start)
		side->spans[side->span_count++] = (struct span){
			.start = (uint16_t)start, .length = (uint16_t)(end - start), .kind = (uint8_t)kind};
}

/* Adds the span and steps over its tokens, which are marked. */
static void literal_add(struct finder *finder, enum span_kind kind, size_t start, size_t end)
{
	struct guard_side *side = finder->side;

	span_add(side, kind, start, end);
	while (finder->at < side->token_count && side->tokens[finder->at].start < end)
		side->tokens[finder->at++].flags |= TOKEN_LITERAL;
}

/* Returns the token `ahead` behind the one at `at` if no blank is between them; NULL. */
static const struct token *joined(const struct guard_side *side, size_t at, size_t ahead)
{
	for (size_t i = 1; i <= ahead; i++)
		if (at + i >= side->token_count || side->tokens[at + i].flags & TOKEN_SPACED)
			return NULL;
	return &side->tokens[at + ahead];
}

static bool is_mark(const struct guard_side *side, const struct token *token, char mark)
{
	return token && token->kind == TOKEN_MARK && side->text[token->start] == mark;
}

static bool find_code(struct finder *finder)
{
	struct guard_side *side = finder->side;
	size_t start = side->tokens[finder->at].start;

	if (side->text[start] != '`' || finder->no_backtick)
		return false;
	while (side->text[start] == '`')
		start++;
	const char *close = memchr(side->text + start, '`', side->length - start);
	if (!close) {
		finder->no_backtick = true;
		return false;
	}
	size_t end = (size_t)(close - side->text);
	span_add(side, SPAN_CODE, start, end);
	while (end < side->length && side->text[end] == '`')
		end++;
	literal_add(finder, SPAN_CODE, end, end);
	return true;
}

/* Returns where the quotation that begins with the apostrophe at `start` ends; 0 if it is none. An apostrophe that could
 * begin another one ends the search: the first was none then. */
static size_t apostrophe_close(struct finder *finder, size_t start)
{
	const struct guard_side *side = finder->side;

	for (size_t i = start + 1; i < side->length; i++) {
		if (side->text[i] != '\'')
			continue;
		bool behind_blank = side->text[i - 1] == ' ';
		if (behind_blank && is_alnum(side->text[i + 1]))
			return 0;
		if (!behind_blank && !is_alnum(side->text[i + 1]))
			return i;
	}
	finder->no_apostrophe = true;
	return 0;
}

/* The tokens inside a quotation are looked at like all others. */
static bool find_quote(struct finder *finder)
{
	struct guard_side *side = finder->side;
	const struct token *token = &side->tokens[finder->at];
	size_t start = token->start, end = 0;
	char mark = side->text[start], before = start > 0 ? side->text[start - 1] : ' ';

	if ((mark != '"' && mark != '\'') || start < finder->quote_ends)
		return false;
	if (start == finder->quote_ends && start > 0) {
		finder->quote_ends = 0;
		return false;
	}
	if (mark == '"' && !finder->no_quote && !is_number_char(before)) {
		const char *close = memchr(side->text + start + 1, '"', side->length - start - 1);
		finder->no_quote = !close;
		end = close ? (size_t)(close - side->text) : 0;
	} else if (mark == '\'' && !finder->no_apostrophe && (before == ' ' || before == '(') &&
		   side->text[start + 1] != ' ') {
		end = apostrophe_close(finder, start);
	}
	if (end == 0)
		return false;
	finder->quote_ends = end;
	/* A text that is one quotation as a whole is just in quotation marks. */
	if (start > 0 || end + 2 < side->length)
		span_add(side, SPAN_QUOTE, start + 1, end);
	finder->at++;
	return true;
}

/* Returns where the address or path that begins at `start` ends. Chinese text goes on behind one without a blank; so
 * characters above ASCII only belong to it behind a slash. */
static size_t literal_end(const struct guard_side *side, size_t start)
{
	size_t at = start;

	for (; at < side->length; at++) {
		unsigned char c = (unsigned char)side->text[at];
		if (c == ' ' || c == '"' || c == '<' || c == '>' || c == '`' || c == '|' || c == 0x7f)
			break;
		if (c >= 0x80 && at > start && (unsigned char)side->text[at - 1] < 0x80 && side->text[at - 1] != '/')
			break;
	}
	while (at > start + 1 && strchr(".,;:!?)]'*/", side->text[at - 1]))
		at--;
	return at;
}

/* Endings of host names that are written without "https://" in running text. */
static bool is_top_level(const char *label, size_t length)
{
	static const char *const known[] = {"com", "org", "net",     "edu",  "gov",   "io",  "info", "dev",
					    "app", "ai",  "co",      "uk",   "de",    "fr",  "cn",   "jp",
					    "eu",  "us",  "example", "test", "local", "biz", "me",   "tv"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i]) == length && memcmp(known[i], label, length) == 0)
			return true;
	return false;
}

/* Returns the last token of the words joined by points that begin at `at`. */
static size_t dotted_last(const struct guard_side *side, size_t at)
{
	size_t last = at;

	while (last < at + 2 * MAX_PARTS) {
		const struct token *point = joined(side, last, 1), *word = joined(side, last, 2);
		if (!is_mark(side, point, '.') || !word || word->kind != TOKEN_WORD)
			break;
		last += 2;
	}
	return last;
}

static bool find_dotted(struct finder *finder)
{
	struct guard_side *side = finder->side;
	size_t last = dotted_last(side, finder->at), start = side->tokens[finder->at].start;
	const struct token *end = &side->tokens[last];

	if (last == finder->at)
		return false;
	if (is_top_level(side->folded + end->start, end->length)) {
		literal_add(finder, SPAN_URL, start, literal_end(side, start));
		return true;
	}
	for (size_t i = finder->at; i <= last; i += 2)
		if (side->tokens[i].length < 2 || side->tokens[i].flags & TOKEN_UPPER)
			return false;
	literal_add(finder, SPAN_NICKNAME, start, (size_t)end->start + end->length);
	return true;
}

static bool find_url(struct finder *finder)
{
	struct guard_side *side = finder->side;
	const struct token *token = &side->tokens[finder->at];
	size_t end = (size_t)token->start + token->length;

	if (token->kind != TOKEN_WORD)
		return false;
	bool scheme = side->length - end > 3 && memcmp(side->text + end, "://", 3) == 0;
	bool www = token->length == 3 && memcmp(side->folded + token->start, "www", 3) == 0 && side->text[end] == '.';
	if (!scheme && !www)
		return false;
	literal_add(finder, SPAN_URL, token->start, literal_end(side, token->start));
	return true;
}

static bool is_local_part(char c)
{
	return is_alnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
}

/* The mark in the middle finds the address; its first tokens are already behind us and are marked too. A colon and a path
 * behind it make a place on a host. */
static bool find_email(struct finder *finder)
{
	struct guard_side *side = finder->side;
	size_t at = side->tokens[finder->at].start, start = at, end = at + 1;

	if (side->text[at] != '@')
		return false;
	while (start > 0 && at - start < 64 && is_local_part(side->text[start - 1]))
		start--;
	while (is_alnum(side->text[end]) || side->text[end] == '.' || side->text[end] == '-')
		end++;
	while (side->text[end - 1] == '.' || side->text[end - 1] == '-')
		end--;
	if (start == at || !memchr(side->text + at, '.', end - at))
		return false;
	bool place = side->text[end] == ':' && (is_alnum(side->text[end + 1]) || side->text[end + 1] == '/');
	for (size_t i = finder->at; i-- > 0 && side->tokens[i].start >= start;)
		side->tokens[i].flags |= TOKEN_LITERAL;
	/* What looked like a name with points in it was the first part of this. */
	while (side->span_count > 0 && side->spans[side->span_count - 1].start >= start)
		side->span_count--;
	literal_add(finder, place ? SPAN_URL : SPAN_EMAIL, start, place ? literal_end(side, start) : end);
	return true;
}

static bool find_path(struct finder *finder)
{
	struct guard_side *side = finder->side;
	const struct token *token = &side->tokens[finder->at];
	const char *text = side->text + token->start;
	size_t start = token->start, end;
	char before = start > 0 ? side->text[start - 1] : ' ';

	if (is_alnum(before) || before == '/' || before == '.' || before == ')')
		return false;
	bool drive = token->kind == TOKEN_WORD && token->length == 1 && text[1] == ':' && text[2] == '\\';
	bool root = text[0] == '/' && (is_alnum(text[1]) || text[1] == '.' || text[1] == '_');
	bool home = (text[0] == '~' || text[0] == '.') && text[1] == '/' && text[2] > ' ';
	bool above = text[0] == '.' && text[1] == '.' && text[2] == '/';
	bool share = text[0] == '\\' && text[1] == '\\' && is_alnum(text[2]);
	if (!drive && !root && !home && !above && !share)
		return false;
	/* In Chinese text a slash between two words has no blanks around it either, but then letters follow only by
	 * chance. */
	for (end = start; end < side->length && (unsigned char)side->text[end] < 0x7f && side->text[end] != ' '; end++)
		if (strchr("\"`<>|,;", side->text[end]))
			break;
	while (end > start + 1 && strchr(".:!?)]'*/", side->text[end - 1]))
		end--;
	literal_add(finder, SPAN_PATH, start, end);
	return true;
}

static size_t count_digits(const char *text, size_t length)
{
	size_t digits = 0;

	for (size_t i = 0; i < length; i++)
		digits += is_number_char(text[i]);
	return digits;
}

/* Returns the end of a word and what is joined to it by hyphens, as in ABC-123; 0 if there is no number. */
static size_t hyphened_end(const struct guard_side *side, size_t at)
{
	size_t end = 0;

	for (size_t i = at; i < at + 2 * MAX_PARTS && is_mark(side, joined(side, i, 1), '-'); i += 2) {
		const struct token *next = joined(side, i, 2);
		if (!next || next->kind == TOKEN_HAN || next->kind == TOKEN_MARK)
			break;
		if (next->kind == TOKEN_NUMBER || next->flags & TOKEN_DIGITS)
			end = (size_t)next->start + next->length;
		else if (!(next->flags & TOKEN_CAPITALS))
			break;
	}
	return end;
}

static enum span_kind identifier_kind(const struct guard_side *side, size_t start, size_t end)
{
	const char *text = side->text + start;

	return count_digits(text, end - start) > 1 || memchr(text, '_', end - start) ? SPAN_IDENTIFIER : SPAN_NICKNAME;
}

static bool find_identifier(struct finder *finder)
{
	struct guard_side *side = finder->side;
	const struct token *token = &side->tokens[finder->at], *next = joined(side, finder->at, 1);
	size_t start = token->start, end = start + token->length;

	/* 0x80070005, 3f5a9c. */
	if (token->kind == TOKEN_NUMBER && next && next->kind == TOKEN_WORD && next->flags & TOKEN_DIGITS) {
		literal_add(finder, SPAN_IDENTIFIER, start, (size_t)next->start + next->length);
		return true;
	}
	if (token->kind != TOKEN_WORD)
		return false;
	size_t hyphened = token->flags & (TOKEN_UPPER | TOKEN_DIGITS) && token->number == 0 ? hyphened_end(side, finder->at)
											    : 0;
	if (hyphened > 0 || token->flags & TOKEN_DIGITS) {
		end = hyphened > end ? hyphened : end;
		literal_add(finder, identifier_kind(side, start, end), start, end);
		return true;
	}
	bool plus = is_mark(side, next, '+') && is_mark(side, joined(side, finder->at, 2), '+');
	if (plus || (is_mark(side, next, '#') && !is_alnum(side->text[end + 1]))) {
		literal_add(finder, SPAN_IDENTIFIER, start, end + (plus ? 2 : 1));
		return true;
	}
	bool call = is_mark(side, next, '(') && is_mark(side, joined(side, finder->at, 2), ')');
	if (call || (token->flags & (TOKEN_CAMEL | TOKEN_UPPER)) == TOKEN_CAMEL) {
		literal_add(finder, SPAN_NICKNAME, start, end);
		return true;
	}
	return false;
}

/* Returns whether the token is a word that blanks part from all others, as most are, and so begins nothing. */
static bool is_plain_word(const struct guard_side *side, size_t at)
{
	const struct token *token = &side->tokens[at];

	return token->kind == TOKEN_WORD && !(token->flags & (TOKEN_DIGITS | TOKEN_CAMEL)) &&
	       (at + 1 == side->token_count || token[1].flags & TOKEN_SPACED);
}

void guard_spans_find(struct guard_side *side)
{
	struct finder finder = {.side = side};

	while (finder.at < side->token_count) {
		const struct token *token = &side->tokens[finder.at];
		if (is_plain_word(side, finder.at)) {
			finder.at++;
			continue;
		}
		bool found = token->kind == TOKEN_MARK
				     ? find_code(&finder) || find_quote(&finder) || find_email(&finder) || find_path(&finder)
				     : find_url(&finder) || find_path(&finder) || find_dotted(&finder) ||
					       find_identifier(&finder);
		if (!found)
			finder.at++;
	}
}

/* Leaves out what is written or left out at will: blanks in code, "https://" and "www." */
static struct slice span_core(const struct guard_side *side, const struct span *span)
{
	const char *text = side->folded + span->start;
	size_t length = span->length, skip = 0;

	if (span->kind == SPAN_URL) {
		if (length > 8 && memcmp(text, "https://", 8) == 0)
			skip = 8;
		else if (length > 7 && memcmp(text, "http://", 7) == 0)
			skip = 7;
		if (length - skip > 4 && memcmp(text + skip, "www.", 4) == 0)
			skip += 4;
	}
	while (skip < length && text[skip] == ' ')
		skip++;
	while (length > skip && text[length - 1] == ' ')
		length--;
	return (struct slice){text + skip, length - skip};
}

static bool equal_but_blanks(struct slice a, struct slice b)
{
	size_t i = 0, k = 0;

	for (;;) {
		while (i < a.length && a.data[i] == ' ')
			i++;
		while (k < b.length && b.data[k] == ' ')
			k++;
		if (i == a.length || k == b.length)
			return i == a.length && k == b.length;
		if (a.data[i++] != b.data[k++])
			return false;
	}
}

/* Returns whether `core` stands somewhere in the other text with no letter or digit joined to it. */
static bool stands_in(const struct guard_side *side, struct slice core)
{
	const char *text = side->folded, *end = side->folded + side->length, *found;

	if (core.length == 0)
		return true;
	for (; (found = memmem(text, (size_t)(end - text), core.data, core.length)) != NULL; text = found + core.length) {
		bool before = found > side->folded && is_alnum(found[-1]) && is_alnum(core.data[0]);
		bool behind = is_alnum(found[core.length]) && is_alnum(core.data[core.length - 1]);
		if (!before && !behind)
			return true;
	}
	return false;
}

static bool span_is_missing(const struct guard_side *side, const struct span *span, struct guard_side *other)
{
	struct slice core = span_core(side, span);

	if (span->kind == SPAN_QUOTE)
		return !guard_text_has_words(other, core.data, core.length);
	for (size_t i = 0; i < other->span_count; i++)
		if (other->spans[i].kind == span->kind && equal_but_blanks(core, span_core(other, &other->spans[i])))
			return false;
	if (span->kind >= SPAN_IDENTIFIER)
		return !guard_text_has_squeezed(other, core.data, core.length);
	return !stands_in(other, core);
}

static uint32_t guard_of(uint8_t kind)
{
	static const uint8_t guards[] = {
		[SPAN_QUOTE] = GUARD_quotes,         [SPAN_CODE] = GUARD_code,    [SPAN_URL] = GUARD_urls,
		[SPAN_PATH] = GUARD_paths,           [SPAN_EMAIL] = GUARD_emails, [SPAN_IDENTIFIER] = GUARD_identifiers,
		[SPAN_NICKNAME] = GUARD_identifiers,
	};

	return GUARD_BIT(guards[kind]);
}

/* Returns the objections to what `other` lacks of `side`; `*nicknames` says whether it lacks an identifier of the weak
 * kind. */
static uint32_t spans_missing(const struct guard_side *side, struct guard_side *other, uint32_t wanted, bool *nicknames)
{
	uint32_t veto = 0;

	for (size_t i = 0; i < side->span_count; i++) {
		const struct span *span = &side->spans[i];
		uint32_t guard = guard_of(span->kind);
		if (!(wanted & guard) || veto & guard || (span->kind == SPAN_NICKNAME && *nicknames))
			continue;
		if (!span_is_missing(side, span, other))
			continue;
		if (span->kind == SPAN_NICKNAME)
			*nicknames = true;
		else
			veto |= guard;
	}
	return veto;
}

uint32_t guard_spans_veto(struct guard_side *a, struct guard_side *b, uint32_t wanted)
{
	bool a_nicknames = false, b_nicknames = false;

	/* Another language has another wording of what is quoted. */
	if (a->script != b->script)
		wanted &= ~GUARD_BIT(GUARD_quotes);
	uint32_t veto = spans_missing(a, b, wanted, &a_nicknames) | spans_missing(b, a, wanted, &b_nicknames);
	if (a_nicknames && b_nicknames)
		veto |= wanted & GUARD_BIT(GUARD_identifiers);
	return veto;
}
