/* What the files of the guards share: a text cut into tokens, the words that are known, and one function for each group of
 * guards. Everything lies on the stack of guards_veto(). */
#ifndef DAEMON_GUARD_PRIVATE_H
#define DAEMON_GUARD_PRIVATE_H

#include "guard.h"

/* A text is looked at up to this many tokens: ordinary text of GUARD_BYTES has fewer. */
#define GUARD_TOKENS 2048

/* Spans kept of one text: quotes, code, addresses and so on. */
#define GUARD_SPANS 64

enum guard_kind {
	GUARD_NUMBER,    /* value is the number, or GUARD_HALF */
	GUARD_SCALE,     /* value is the power of ten; GUARD_DOZEN is 12 */
	GUARD_ORDINAL,   /* value is the number */
	GUARD_MONTH,     /* 1 to 12; side 1: also another word */
	GUARD_WEEKDAY,   /* 1 to 7 */
	GUARD_NO_NUMBER, /* a Chinese word in which a numeral counts nothing */
	GUARD_UNIT,      /* index into the units; side 1: only directly behind digits */
	GUARD_NEGATION,  /* value is an enum guard_denial */
	GUARD_FUNCTION,  /* a word of English grammar */
	GUARD_TITLE,     /* stands before a name, or is a part of many: never a name */
	GUARD_OPPOSITE,  /* value is the group, 0 for a word that only hides one; side says which */
	GUARD_NEARBY,    /* the same, but it only counts next to the same word in both texts */
};

enum guard_denial {
	DENIAL_NONE, /* hides a character that would deny */
	DENIAL_WEAK, /* may stand for a denial ("unable") but need not */
	DENIAL_HARD,
};

#define GUARD_DOZEN 100
#define GUARD_HALF 0x8000

/* One known word. */
struct guard_lexeme {
	const char *text; /* `length` bytes, lower case */
	uint8_t length;
	uint8_t kind;
	uint8_t side;
	uint16_t value;
};

/* The operators' pairs are groups of opposites from this number on. */
#define GUARD_OPERATORS_GROUP 4096

enum token_kind {
	TOKEN_WORD,   /* letters, with digits or apostrophes between them */
	TOKEN_NUMBER, /* digits, with points and thousands' commas between them */
	TOKEN_HAN,    /* one Chinese character */
	TOKEN_MARK,   /* anything else that is no blank */
};

enum token_flag {
	TOKEN_SPACED = 1,      /* a blank or the start stands before it */
	TOKEN_UPPER = 2,       /* begins with a capital */
	TOKEN_CAPITALS = 4,    /* capitals only, two or more */
	TOKEN_CAMEL = 8,       /* a capital behind a small letter */
	TOKEN_DIGITS = 16,     /* a word with digits in it */
	TOKEN_INITIAL = 32,    /* begins a sentence */
	TOKEN_LITERAL = 64,    /* in code, an address, a path or an identifier: no word of a language */
	TOKEN_PAIRED = 128,    /* a word that the other text has too */
	TOKEN_SHORTENED = 256, /* an acronym, or in the words that the other text has an acronym for */
};

struct token {
	uint16_t start, length; /* bytes of the text */
	uint16_t kind;
	uint16_t flags;
	uint32_t hash; /* of the folded bytes, without a possessive 's */
	/* What it is known as, an index + 1 into the lexicon, 0 for nothing: */
	uint16_t number;   /* GUARD_NUMBER to GUARD_NO_NUMBER */
	uint16_t unit;     /* GUARD_UNIT */
	uint16_t word;     /* GUARD_NEGATION, GUARD_FUNCTION, GUARD_TITLE */
	uint16_t opposite; /* GUARD_OPPOSITE, GUARD_NEARBY */
};

enum span_kind {
	SPAN_QUOTE,
	SPAN_CODE,
	SPAN_URL,
	SPAN_PATH,
	SPAN_EMAIL,
	SPAN_IDENTIFIER, /* must be in the other text */
	SPAN_NICKNAME,   /* an identifier that the other text may leave out, but not replace by another */
};

struct span {
	uint16_t start, length;
	uint8_t kind;
};

enum guard_script {
	SCRIPT_NONE, /* no letters */
	SCRIPT_ENGLISH,
	SCRIPT_HAN,
	SCRIPT_OTHER, /* another script, or Latin letters with hardly a word of English grammar */
};

struct guard_side {
	size_t length;
	size_t token_count;
	size_t span_count;
	enum guard_script script;
	bool has_squeezed, has_spaced;
	size_t squeezed_length, spaced_length;
	struct token tokens[GUARD_TOKENS];
	struct span spans[GUARD_SPANS];
	char text[GUARD_BYTES + 1];   /* as sent, but one form of each quotation mark, dash and full-width character */
	char folded[GUARD_BYTES + 1]; /* the same in small letters */
	char squeezed[GUARD_BYTES];   /* letters and digits of `folded` only; made when it is first needed */
	char spaced[GUARD_BYTES + 2]; /* the words of `folded` with one blank before and behind each; likewise */
};

/* Where known words are found by how they begin. */
struct guard_lexicon {
	const struct guard_lexeme *own, *operators;
	size_t own_count, operator_count;
	uint16_t head[1024];
	uint16_t next[2048 + 2 * GUARD_PAIRS];
};

/* Returns the built-in words, `*count` of them. */
const struct guard_lexeme *guard_words_known(size_t *count);

/* Returns the operators' words, `*count` of them; NULL has none. */
const struct guard_lexeme *guard_words_list(const struct guard_words *words, size_t *count);

/* Makes `lexicon` ready for guard_lexicon_mark(). */
void guard_lexicon_init(struct guard_lexicon *lexicon, const struct guard_words *words);

/* Returns the word that a token's `number`, `unit`, `word` or `opposite` names; NULL for 0. */
const struct guard_lexeme *guard_lexicon_at(const struct guard_lexicon *lexicon, uint16_t index);

/* Looks the tokens of `side` up. */
void guard_lexicon_mark(const struct guard_lexicon *lexicon, struct guard_side *side);

/* Cuts `text` into tokens, without spans and known words; guess_script() needs those. */
void guard_text_cut(struct guard_side *side, struct slice text);
void guard_text_guess_script(struct guard_side *side, const struct guard_lexicon *lexicon);

/* Returns whether `needle`, folded, is in the squeezed text; whether its words are among the words. */
bool guard_text_has_squeezed(struct guard_side *side, const char *needle, size_t length);
bool guard_text_has_words(struct guard_side *side, const char *needle, size_t length);

/* Finds the spans, and marks the tokens in them. */
void guard_spans_find(struct guard_side *side);

/* Returns the code point at `text` and its length in bytes; a byte that is not UTF-8 is one of U+FFFD. */
uint32_t guard_character(const char *text, size_t length, size_t *bytes);

/* Each returns the bits of the guards (of `wanted`) that object. */
uint32_t guard_spans_veto(struct guard_side *a, struct guard_side *b, uint32_t wanted);
bool guard_numbers_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon);
bool guard_negation_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon);
bool guard_opposites_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon);
bool guard_roles_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon);
bool guard_names_veto(struct guard_side *a, struct guard_side *b, const struct guard_lexicon *lexicon);

#endif
