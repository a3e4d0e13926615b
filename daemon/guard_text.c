/* A text becomes one form of each character (full-width letters, typographic quotation marks and dashes have plain ones),
 * is folded, and cut into words, numbers, Chinese characters and marks. Bytes that are not UTF-8 are marks; control
 * characters are blanks. No step looks back further than one character, so the work is linear. */
#include "guard_private.h"

#include <string.h>

static bool is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

uint32_t guard_character(const char *text, size_t length, size_t *bytes)
{
	const unsigned char *p = (const unsigned char *)text;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t count = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	*bytes = 1;
	if (count == 1)
		return p[0];
	if (count == 0 || count > length)
		return 0xfffd;
	uint32_t point = p[0] & (0xffU >> (count + 1));
	for (size_t i = 1; i < count; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0xfffd;
		point = point << 6 | (p[i] & 0x3f);
	}
	if (point < least[count] || point > 0x10ffff)
		return 0xfffd;
	*bytes = count;
	return point;
}

static bool is_han(uint32_t point)
{
	return (point >= 0x4e00 && point <= 0x9fff) || (point >= 0x3400 && point <= 0x4dbf) || point == 0x3007 ||
	       (point >= 0x20000 && point <= 0x3ffff);
}

/* Returns the plain form of `point`, one to two ASCII characters; NULL if it is kept. Never longer than the character
 * was. */
static const char *plain_form(uint32_t point)
{
	switch (point) {
	case 0xa0:
	case 0x3000:
	case 0x3001:
	case 0x2028:
	case 0xfeff:
	case 0x200b:
		return " ";
	case 0x2018:
	case 0x2019:
	case 0x201b:
	case 0x2032:
		return "'";
	case 0x201c:
	case 0x201d:
	case 0x201e:
	case 0x2033:
	case 0xab:
	case 0xbb:
	case 0x300a:
	case 0x300b:
	case 0x300c:
	case 0x300d:
	case 0x300e:
	case 0x300f:
		return "\"";
	case 0x2010:
	case 0x2011:
	case 0x2012:
	case 0x2013:
	case 0x2014:
	case 0x2212:
		return "-";
	case 0x3002:
		return ". ";
	case 0xff0c:
		return ", ";
	case 0xffe5:
		return "\xc2\xa5";
	default:
		return NULL;
	}
}

/* Appends what `point`, the `bytes` bytes at `from`, becomes. Returns how many bytes that was. */
static size_t write_plain(char *to, uint32_t point, const char *from, size_t bytes)
{
	const char *plain = plain_form(point);

	if (plain) {
		size_t length = strlen(plain);
		memcpy(to, plain, length);
		return length;
	}
	if (point >= 0xff01 && point <= 0xff5e) {
		*to = (char)(point - 0xfee0);
		return 1;
	}
	memcpy(to, from, bytes);
	return bytes;
}

/* Fills `text` and `folded`. */
static void text_normalise(struct guard_side *side, struct slice text)
{
	size_t length = text.length < GUARD_BYTES ? text.length : GUARD_BYTES, to = 0, bytes = 1;

	for (size_t i = 0; i < length; i += bytes) {
		unsigned char c = (unsigned char)text.data[i];
		bytes = 1;
		if (c < 0x80) {
			side->text[to++] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
			continue;
		}
		uint32_t point = guard_character(text.data + i, length - i, &bytes);
		if (point == 0xfffd)
			side->text[to++] = '\x7f';
		else
			to += write_plain(side->text + to, point, text.data + i, bytes);
	}
	side->text[to] = '\0';
	side->length = to;
	for (size_t i = 0; i <= to; i++) {
		char c = side->text[i];
		side->folded[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
	}
}

/* Latin letters with marks come in pairs of a capital and a small one; other capitals are taken for small letters. */
static bool is_upper(uint32_t point)
{
	return (point >= 'A' && point <= 'Z') || (point >= 0xc0 && point <= 0xde && point != 0xd7);
}

/* What a character above ASCII is: part of a word, a Chinese one, or a mark. */
static enum token_kind kind_of(uint32_t point)
{
	if (is_han(point))
		return TOKEN_HAN;
	if (point < 0xaa || point == 0xd7 || point == 0xf7 || (point >= 0x2000 && point <= 0x2bff) ||
	    (point >= 0x3000 && point <= 0x3004) || (point >= 0x3008 && point <= 0x303f) || point >= 0x1f000 ||
	    (point >= 0xfe30 && point <= 0xffff) || (point > 0xaa && point < 0xc0 && point != 0xb5 && point != 0xba))
		return TOKEN_MARK;
	return TOKEN_WORD;
}

/* Reads on behind the first letter of a word: letters, digits, and apostrophes before a letter. */
static size_t word_read(const struct guard_side *side, size_t at, struct token *token)
{
	bool small = false, upper_only = true;
	size_t letters = 0, bytes;

	while (at < side->length) {
		unsigned char c = (unsigned char)side->text[at];
		/* What most of a text is. */
		if (c >= 'a' && c <= 'z') {
			small = true;
			upper_only = false;
			letters++;
			at++;
			continue;
		}
		if (c < 0x80) {
			bytes = 1;
			if (is_digit(c) || c == '_') {
				token->flags |= c == '_' ? TOKEN_DIGITS | TOKEN_CAMEL : TOKEN_DIGITS;
				at++;
				continue;
			}
			/* Python3.11 is one word. */
			if (c == '.' && at > token->start && is_digit((unsigned char)side->text[at - 1]) &&
			    is_digit((unsigned char)side->text[at + 1])) {
				at++;
				continue;
			}
			if (c == '\'' && letters > 0 && is_letter((unsigned char)side->text[at + 1])) {
				at++;
				continue;
			}
			if (!is_letter(c))
				break;
		} else if (kind_of(guard_character(side->text + at, side->length - at, &bytes)) != TOKEN_WORD) {
			break;
		}
		bool upper = c < 0x80 ? c <= 'Z' : is_upper(guard_character(side->text + at, side->length - at, &bytes));
		if (upper && letters == 0)
			token->flags |= TOKEN_UPPER;
		if (upper && small)
			token->flags |= TOKEN_CAMEL;
		small = !upper;
		upper_only = upper_only && upper;
		letters++;
		at += bytes;
	}
	if (upper_only && letters > 1)
		token->flags |= TOKEN_CAPITALS;
	return at;
}

/* Reads digits: "1,000" and "3.11" are one number each, "1, 2" and "3." are not. */
static size_t number_read(const struct guard_side *side, size_t at)
{
	const char *text = side->text;

	while (at < side->length) {
		unsigned char c = (unsigned char)text[at];
		if (is_digit(c)) {
			at++;
		} else if (c == '.' && is_digit((unsigned char)text[at + 1])) {
			at++;
		} else if (c == ',' && at + 3 < side->length && is_digit((unsigned char)text[at + 1]) &&
			   is_digit((unsigned char)text[at + 2]) && is_digit((unsigned char)text[at + 3]) &&
			   !is_digit((unsigned char)text[at + 4])) {
			at++;
		} else {
			break;
		}
	}
	return at;
}

static uint32_t hash_of(const char *text, size_t length)
{
	uint32_t hash = 2166136261U;

	if (length > 2 && text[length - 2] == '\'' && text[length - 1] == 's')
		length -= 2;
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619U;
	return hash;
}

/* Returns whether the word at `at` is a v before a version: that is a word of its own. */
static bool is_version(const struct guard_side *side, size_t at)
{
	if (side->folded[at] != 'v' || !is_digit((unsigned char)side->text[at + 1]))
		return false;
	unsigned char behind = (unsigned char)side->text[number_read(side, at + 1)];
	return !is_letter(behind) && behind != '_' && behind < 0x80;
}

/* Fills `token`, which begins at `at`. Returns where it ends. */
static size_t token_read(const struct guard_side *side, size_t at, struct token *token)
{
	unsigned char c = (unsigned char)side->text[at];
	size_t bytes = 1, end = at + 1;

	if (c < 0x80) {
		token->kind = is_digit(c) || (c == '.' && token->flags & TOKEN_SPACED &&
					      is_digit((unsigned char)side->text[at + 1]))
				      ? TOKEN_NUMBER
			      : is_letter(c) || (c == '_' && is_letter((unsigned char)side->text[at + 1])) ? TOKEN_WORD
													   : TOKEN_MARK;
	} else {
		token->kind = (uint16_t)kind_of(guard_character(side->text + at, side->length - at, &bytes));
		end = at + bytes;
	}
	token->start = (uint16_t)at;
	if (token->kind == TOKEN_WORD)
		end = is_version(side, at) ? at + 1 : word_read(side, at, token);
	else if (token->kind == TOKEN_NUMBER)
		end = number_read(side, at);
	token->length = (uint16_t)(end - at);
	token->hash = hash_of(side->folded + at, end - at);
	return end;
}

void guard_text_cut(struct guard_side *side, struct slice text)
{
	bool spaced = true, initial = true;
	size_t at = 0;

	side->token_count = side->span_count = 0;
	side->has_squeezed = side->has_spaced = false;
	text_normalise(side, text);
	while (at < side->length && side->token_count < GUARD_TOKENS) {
		if (side->text[at] == ' ') {
			spaced = true;
			at++;
			continue;
		}
		struct token *token = &side->tokens[side->token_count++];
		*token = (struct token){.flags = (uint16_t)((spaced ? TOKEN_SPACED : 0) | (initial ? TOKEN_INITIAL : 0))};
		at = token_read(side, at, token);
		spaced = false;
		/* A quotation mark, a bracket or a dash leaves a start a start. */
		char first = side->text[token->start];
		initial = token->kind == TOKEN_MARK &&
			  (initial || first == '.' || first == '?' || first == '!' || first == ':' || first == '"');
	}
}

void guard_text_guess_script(struct guard_side *side, const struct guard_lexicon *lexicon)
{
	size_t han = 0, ascii = 0, other = 0, grammar = 0;

	for (size_t i = 0; i < side->token_count; i++) {
		const struct token *token = &side->tokens[i];
		if (token->flags & TOKEN_LITERAL)
			continue;
		if (token->kind == TOKEN_HAN)
			han++;
		if (token->kind != TOKEN_WORD)
			continue;
		const struct guard_lexeme *word = guard_lexicon_at(lexicon, token->word);
		grammar += word && (word->kind == GUARD_FUNCTION ||
				    (word->kind == GUARD_NEGATION && word->value == DENIAL_HARD && token->length > 4));
		if ((unsigned char)side->text[token->start] >= 0x80)
			other++;
		else
			ascii++;
	}
	if (han + ascii + other == 0)
		side->script = SCRIPT_NONE;
	else if (han >= ascii + other)
		side->script = SCRIPT_HAN;
	else if (other > ascii || (ascii > 4 && 5 * grammar < ascii))
		side->script = SCRIPT_OTHER;
	else
		side->script = SCRIPT_ENGLISH;
}

static bool is_kept(unsigned char c)
{
	return c >= 0x80 || is_digit(c) || is_letter(c) || c == '+' || c == '#';
}

static size_t squeeze(const char *from, size_t length, char *to)
{
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		if (is_kept((unsigned char)from[i]))
			to[count++] = from[i];
	return count;
}

/* Writes at most `length` + 2 bytes: a blank, and one behind every word. */
static size_t space_out(const char *from, size_t length, char *to)
{
	size_t count = 0;

	to[count++] = ' ';
	for (size_t i = 0; i < length; i++) {
		if (is_kept((unsigned char)from[i]))
			to[count++] = from[i];
		else if (to[count - 1] != ' ' && from[i] != '\'')
			to[count++] = ' ';
	}
	if (to[count - 1] != ' ')
		to[count++] = ' ';
	return count;
}

bool guard_text_has_squeezed(struct guard_side *side, const char *needle, size_t length)
{
	char wanted[256];

	if (length > sizeof(wanted))
		return false;
	if (!side->has_squeezed) {
		side->squeezed_length = squeeze(side->folded, side->length, side->squeezed);
		side->has_squeezed = true;
	}
	length = squeeze(needle, length, wanted);
	if (length == 0)
		return true;
	const char *from = side->squeezed, *end = side->squeezed + side->squeezed_length;
	bool digit = is_digit((unsigned char)wanted[length - 1]);
	/* "gpt4" is not in "gpt40". Each further search begins behind the last find, so that all of them are one pass. */
	while ((from = memmem(from, (size_t)(end - from), wanted, length)) != NULL) {
		from += length;
		if (!digit || from == end || !is_digit((unsigned char)*from))
			return true;
	}
	return false;
}

bool guard_text_has_words(struct guard_side *side, const char *needle, size_t length)
{
	char wanted[GUARD_BYTES + 2];

	if (!side->has_spaced) {
		side->spaced_length = space_out(side->folded, side->length, side->spaced);
		side->has_spaced = true;
	}
	size_t count = space_out(needle, length, wanted), skip = 0;
	/* Chinese words have no blanks around them. */
	if (count > 2 && (unsigned char)wanted[1] >= 0x80)
		skip = 1;
	if (count > 2 && (unsigned char)wanted[count - 2] >= 0x80)
		count--;
	return count <= 1 || memmem(side->spaced, side->spaced_length, wanted + skip, count - skip) != NULL;
}
