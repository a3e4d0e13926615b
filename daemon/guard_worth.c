/* What a number is worth, in digits, English words or Chinese numerals. */
#include "guard_quantity.h"

static const struct unit_worth units[] = {
#define X(unit, class, factor) [UNIT_##unit] = {QUANTITY_##class, factor},
	GUARD_UNIT_TABLE(X)
#undef X
};

const struct unit_worth *unit_worth(size_t unit)
{
	return &units[unit];
}

void reader_add(struct reader *reader, struct number number)
{
	struct numbers *numbers = reader->numbers;

	if (numbers->count < GUARD_NUMBERS)
		numbers->list[numbers->count++] = number;
}

void reader_add_plain(struct reader *reader, enum guard_quantity quantity, double value)
{
	reader_add(reader, (struct number){.value = value, .other = value, .raw = value, .quantity = (uint8_t)quantity});
}

static double power_of_ten(unsigned power)
{
	double value = 1;

	while (power-- > 0)
		value *= 10;
	return value;
}

double digits_value(const char *text, size_t length, size_t *points)
{
	double value = 0, place = 1;

	*points = 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '.')
			(*points)++;
		else if (text[i] == ',' || *points > 1)
			continue;
		else if (*points == 1)
			value += (text[i] - '0') * (place /= 10);
		else
			value = value * 10 + (text[i] - '0');
	}
	return value;
}

uint32_t digits_hash(const char *text, size_t length)
{
	uint32_t hash = 2166136261U;

	/* Version 2.0 is version 2. */
	if (length > 2 && memcmp(text + length - 2, ".0", 2) == 0)
		length -= 2;
	for (size_t i = 0; i < length; i++)
		if (text[i] != ',')
			hash = (hash ^ (unsigned char)text[i]) * 16777619U;
	return hash;
}

bool reader_whole(const struct reader *reader, const struct token *token, size_t most, double *value)
{
	size_t points;

	if (!token || token->kind != TOKEN_NUMBER || token->flags & TOKEN_LITERAL || token->length > most)
		return false;
	*value = digits_value(reader->side->text + token->start, token->length, &points);
	return points == 0;
}

/* Multiplies by what follows directly: 5 million, 5k, 3万. */
static void scales_read(const struct reader *reader, struct worth *worth, bool money)
{
	const struct token *next = reader_token(reader, worth->behind);
	bool touching = next && !(next->flags & TOKEN_SPACED);

	if (touching && reader_is(reader, next, "k")) {
		worth->value *= 1e3;
		worth->behind++;
	} else if ((touching || money) && (reader_is(reader, next, "bn") || (money && reader_is(reader, next, "b")))) {
		worth->value *= 1e9;
		worth->behind++;
	} else if (money && (reader_is(reader, next, "m") || reader_is(reader, next, "mn"))) {
		worth->value *= 1e6;
		worth->behind++;
	}
	for (;;) {
		const struct guard_lexeme *scale = reader_number(reader, worth->behind);
		if (!lexeme_is(scale, GUARD_SCALE))
			return;
		worth->value *= scale->value == GUARD_DOZEN ? 12 : power_of_ten(scale->value);
		worth->behind++;
	}
}

bool reader_money_before(const struct reader *reader, size_t at)
{
	if (at > 0 && reader_is(reader, reader_token(reader, at - 1), "."))
		at--;
	const struct token *token = at > 0 ? reader_token(reader, at - 1) : NULL;
	const struct guard_lexeme *unit = token ? guard_lexicon_at(reader->lexicon, token->unit) : NULL;
	return unit && units[unit->value].quantity >= QUANTITY_DOLLAR;
}

/* A number with a point directly behind what it belongs to ("kernel 6.1") is a version, if no unit makes it a quantity. */
static bool is_version(const struct reader *reader, size_t at)
{
	const struct token *token = at > 0 ? reader_token(reader, at - 1) : NULL;

	return token && token->kind == TOKEN_WORD && !token->word && !token->number && !reader_money_before(reader, at);
}

/* Returns whether a fraction such as 3/4 is at `at`. 24/7 and 1998/99 are two numbers each. */
static bool fraction_at(const struct reader *reader, size_t at, double *value)
{
	double above, below;

	if (!reader_whole(reader, reader_token(reader, at), 2, &above) ||
	    !reader_is(reader, reader_joined(reader, at + 1), "/") ||
	    !reader_whole(reader, reader_joined(reader, at + 2), 2, &below) || above >= below)
		return false;
	*value = above / below;
	return true;
}

/* Adds what is left over: 1 1/2, 2½, two and a half. */
static void rest_read(const struct reader *reader, struct worth *worth)
{
	size_t at = worth->behind;
	double fraction;

	if (reader_is(reader, reader_joined(reader, at), "½")) {
		worth->value += 0.5;
		worth->behind++;
	} else if (reader_is(reader, reader_token(reader, at), "and") &&
		   reader_is(reader, reader_token(reader, at + 1), "a") &&
		   reader_is(reader, reader_token(reader, at + 2), "half")) {
		worth->value += 0.5;
		worth->behind += 3;
	} else if (worth->digits && fraction_at(reader, at, &fraction)) {
		worth->value += fraction;
		worth->behind += 3;
	}
}

bool reader_digits(const struct reader *reader, struct worth *worth)
{
	const struct token *token = reader_token(reader, reader->at);
	size_t points;
	double fraction;

	if (token->kind != TOKEN_NUMBER)
		return false;
	*worth = (struct worth){.behind = reader->at + 1, .digits = token};
	worth->value = digits_value(reader->side->text + token->start, token->length, &points);
	if (points > 1 || (points == 1 && is_version(reader, reader->at)))
		worth->flags |= NUMBER_VERSION;
	const struct token *next = reader_joined(reader, worth->behind);
	if (reader_is(reader, next, "st") || reader_is(reader, next, "nd") || reader_is(reader, next, "rd") ||
	    reader_is(reader, next, "th")) {
		worth->ordinal = true;
		worth->behind++;
	} else if (fraction_at(reader, reader->at, &fraction)) {
		worth->value = fraction;
		worth->behind += 2;
	} else {
		scales_read(reader, worth, reader_money_before(reader, reader->at));
		rest_read(reader, worth);
	}
	return true;
}

/* Steps over a hyphen or an "and" between two words of one number. */
static size_t step_over(const struct reader *reader, size_t at, bool scaled)
{
	const struct token *token = reader_token(reader, at);

	if (reader_is(reader, token, "-") && !(token->flags & TOKEN_SPACED) && reader_joined(reader, at + 1))
		return at + 1;
	if (scaled && reader_is(reader, token, "and") && lexeme_is(reader_number(reader, at + 1), GUARD_NUMBER))
		return at + 1;
	return at;
}

/* Twenty-five, one hundred and five, two million, a dozen, twenty-first. */
/* Half: of something, or of nothing said. */
static bool half_read(const struct reader *reader, struct worth *worth)
{
	const struct guard_lexeme *word = reader_number(reader, reader->at);

	if (!lexeme_is(word, GUARD_NUMBER) || word->value != GUARD_HALF)
		return false;
	*worth = (struct worth){.value = 0.5, .behind = reader->at + 1, .flags = NUMBER_WORDS};
	return true;
}

bool reader_english(const struct reader *reader, struct worth *worth)
{
	double total = 0, current = 0;
	bool any = false, scaled = false;
	double room = 1e9; /* the next word must be worth less: "five six" are two numbers */
	size_t at = reader->at;

	if (half_read(reader, worth))
		return true;
	while (at < reader->side->token_count) {
		size_t next = any ? step_over(reader, at, scaled) : at;
		const struct guard_lexeme *word = reader_number(reader, next);
		const struct token *token = reader_token(reader, next);
		if (!word || token->kind != TOKEN_WORD || word->value >= room || word->value == GUARD_HALF)
			break;
		if (word->kind == GUARD_NUMBER) {
			current += word->value;
			room = word->value >= 20 ? 10 : 1;
		} else if (word->kind == GUARD_SCALE && (any || word->length == token->length)) {
			double factor = word->value == GUARD_DOZEN ? 12 : power_of_ten(word->value);
			current = (current > 0 ? current : 1) * factor;
			total += word->value == 2 ? 0 : current;
			current = word->value == 2 ? current : 0;
			room = 1000;
			scaled = true;
		} else if (word->kind == GUARD_ORDINAL) {
			current += word->value;
			worth->ordinal = true;
		} else {
			break;
		}
		any = true;
		at = next + 1;
		if (worth->ordinal)
			break;
		/* A scale may follow any number. */
		const struct guard_lexeme *behind = reader_number(reader, step_over(reader, at, false));
		if (lexeme_is(behind, GUARD_SCALE))
			room = 1e9;
	}
	worth->value = total + current;
	worth->behind = at;
	worth->flags = NUMBER_WORDS;
	if (any && !worth->ordinal)
		rest_read(reader, worth);
	return any;
}

/* 三百五十, 二〇二三, 十五, 三亿. */
bool reader_chinese(const struct reader *reader, struct worth *worth)
{
	double total = 0, section = 0, digit = -1;
	size_t at = reader->at;

	if (half_read(reader, worth))
		return true;
	for (;; at++) {
		const struct guard_lexeme *word = reader_number(reader, at);
		const struct token *token = reader_token(reader, at);
		if (!word || token->kind != TOKEN_HAN || word->length > 3 || word->kind > GUARD_SCALE ||
		    word->value == GUARD_HALF)
			break;
		if (word->kind == GUARD_NUMBER) {
			digit = digit < 0 ? word->value : digit * 10 + word->value;
			continue;
		}
		if (word->value < 4) {
			section += (digit < 0 ? 1 : digit) * power_of_ten(word->value);
		} else {
			section += digit < 0 ? 0 : digit;
			total = (total + (section > 0 ? section : 1)) * power_of_ten(word->value);
			section = 0;
		}
		digit = -1;
	}
	if (at == reader->at)
		return false;
	*worth = (struct worth){
		.value = total + section + (digit < 0 ? 0 : digit),
		.behind = at,
		.flags = NUMBER_WORDS,
	};
	return true;
}
