/* The numbers of a text, as far as the guard for numbers reads them; guard_worth.c reads what they are worth,
 * guard_calendar.c dates and times, guard_quantity.c puts them together. */
#ifndef DAEMON_GUARD_QUANTITY_H
#define DAEMON_GUARD_QUANTITY_H

#include "guard_private.h"
#include "guard_units.h"

#include <string.h>

/* Numbers kept of one text. A text with more is a table of figures; of that the first ones are compared. */
#define GUARD_NUMBERS 128

enum number_flag {
	NUMBER_SOFT = 1,    /* "one", "first", "top 10": may be left out, but not be another one */
	NUMBER_OFFERED = 2, /* part of an identifier, so that "iPhone 12" finds it in "iPhone12" */
	NUMBER_VERSION = 4, /* 3.1 is not 3.10 */
	NUMBER_WORDS = 8,   /* written in words, which another language may do without */
	NUMBER_PAIRED = 16, /* found in the other text */
};

struct number {
	double value; /* in the unit of its quantity */
	double other; /* a second reading: 3 o'clock is 15:00 too */
	double raw;   /* as it was written */
	uint32_t text;
	uint8_t quantity; /* enum guard_quantity */
	uint8_t flags;
};

struct numbers {
	size_t count;
	uint64_t units; /* a bit for each unit named without a number */
	struct number list[GUARD_NUMBERS];
};

/* Where reading stands: the token to read next. */
struct reader {
	const struct guard_side *side;
	const struct guard_lexicon *lexicon;
	struct numbers *numbers;
	size_t at;
};

/* What has been read of a number so far. */
struct worth {
	double value;
	size_t behind; /* the token behind it */
	uint8_t flags;
	bool ordinal;
	const struct token *digits; /* the token of a number in digits */
};

static inline const struct token *reader_token(const struct reader *reader, size_t at)
{
	return at < reader->side->token_count ? &reader->side->tokens[at] : NULL;
}

/* Returns the token at `at` if no blank stands before it. */
static inline const struct token *reader_joined(const struct reader *reader, size_t at)
{
	const struct token *token = reader_token(reader, at);

	return token && !(token->flags & TOKEN_SPACED) ? token : NULL;
}

static inline bool reader_is(const struct reader *reader, const struct token *token, const char *text)
{
	return token && token->length == strlen(text) &&
	       memcmp(reader->side->folded + token->start, text, token->length) == 0;
}

static inline bool reader_begins(const struct reader *reader, const struct token *token, const char *text)
{
	size_t length = strlen(text);

	return token && length <= reader->side->length - token->start &&
	       memcmp(reader->side->folded + token->start, text, length) == 0;
}

static inline const struct guard_lexeme *reader_number(const struct reader *reader, size_t at)
{
	const struct token *token = reader_token(reader, at);

	return token && !(token->flags & TOKEN_LITERAL) ? guard_lexicon_at(reader->lexicon, token->number) : NULL;
}

static inline bool lexeme_is(const struct guard_lexeme *lexeme, enum guard_kind kind)
{
	return lexeme && lexeme->kind == kind;
}

/* Each adds a number, unless there are GUARD_NUMBERS of them. */
void reader_add(struct reader *reader, struct number number);
void reader_add_plain(struct reader *reader, enum guard_quantity quantity, double value);

/* Returns what the digits of `text` are worth; commas are skipped, and all behind a second point. */
double digits_value(const char *text, size_t length, size_t *points);

/* Returns a hash of the digits as they are written, for versions. */
uint32_t digits_hash(const char *text, size_t length);

/* Returns whether `token` is a whole number of at most `most` digits. */
bool reader_whole(const struct reader *reader, const struct token *token, size_t most, double *value);

/* Returns whether a currency stands before the token at `at`. */
bool reader_money_before(const struct reader *reader, size_t at);

/* Each fills `worth` if a number of its kind is next, and returns whether. */
bool reader_digits(const struct reader *reader, struct worth *worth);
bool reader_english(const struct reader *reader, struct worth *worth);
bool reader_chinese(const struct reader *reader, struct worth *worth);

/* Each reads what it is named after, adds it, steps behind it and returns true, or false. */
bool reader_date(struct reader *reader);
bool reader_time(struct reader *reader);
bool reader_calendar(struct reader *reader);
bool reader_chinese_calendar(struct reader *reader, const struct worth *worth);

/* What a unit measures, an enum guard_quantity, and what one of it is worth. */
struct unit_worth {
	uint8_t quantity;
	double factor;
};

/* Returns that of an enum guard_unit, a constant. */
const struct unit_worth *unit_worth(size_t unit);

/* Fills `numbers`. */
void guard_numbers_read(const struct guard_side *side, const struct guard_lexicon *lexicon, struct numbers *numbers);

#endif
