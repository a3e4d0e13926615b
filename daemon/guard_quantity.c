/* Reads numbers: first what they are worth, then what of (a unit, a month, an hour). One pass over the tokens; every step
 * looks at a handful of neighbours. */
#include "guard_quantity.h"

/* Adds the digits of an identifier as numbers that the other text may have apart. */
static void literal_read(struct reader *reader)
{
	const struct token *token = reader_token(reader, reader->at++);
	const char *text = reader->side->text + token->start;
	size_t length = token->length, points;

	for (size_t i = 0; i < length; i++) {
		size_t start = i;
		while (i < length && ((text[i] >= '0' && text[i] <= '9') || (i > start && text[i] == '.')))
			i++;
		if (i == start)
			continue;
		double value = digits_value(text + start, i - start, &points);
		reader_add(reader, (struct number){.value = value,
						   .other = value,
						   .raw = value,
						   .text = digits_hash(text + start, i - start),
						   .flags = NUMBER_OFFERED});
	}
}

/* Returns whether a Chinese word that counts things or measures stands at `at`. */
static bool is_measure(const struct reader *reader, size_t at)
{
	static const char *const measures[] = {"个", "個", "只", "条", "张", "位", "名", "台", "部", "本", "件", "层",
					       "楼", "点", "次", "倍", "种", "杯", "碗", "瓶", "岁", "号", "章", "节",
					       "回", "集", "届", "期", "步", "道", "款", "项", "代", "级", "米", "克",
					       "升", "斤", "元", "块", "天", "年", "月", "日", "周", "时", "分", "秒",
					       "度", "人", "口", "家", "片", "粒", "滴", "辆", "棵"};
	const struct token *token = reader_token(reader, at);

	if (!token || token->kind != TOKEN_HAN)
		return false;
	for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++)
		if (reader_is(reader, token, measures[i]))
			return true;
	return false;
}

/* "Top 10", "5 best", "10 ways": how long a list is to be. A list of another length is another answer, but one without a
 * length is not. */
static bool is_list_length(const struct reader *reader, size_t behind)
{
	static const char *const listed[] = {"best",   "top",     "ways",     "tips",  "steps",
					     "things", "reasons", "examples", "ideas", "facts"};
	const struct token *before = reader->at > 0 ? reader_token(reader, reader->at - 1) : NULL,
			   *next = reader_token(reader, behind);

	if (reader_is(reader, before, "top") || reader_is(reader, before, "best"))
		return true;
	for (size_t i = 0; i < sizeof(listed) / sizeof(listed[0]); i++)
		if (reader_is(reader, next, listed[i]))
			return true;
	return false;
}

/* Returns whether a number in words may be left out: "one" is a pronoun, "first of all" an order of speech, "the two" are
 * known, and a single Chinese numeral without a word that counts is mostly a part of some other word. */
static bool is_soft(const struct reader *reader, const struct worth *worth)
{
	const struct token *before = reader->at > 0 ? reader_token(reader, reader->at - 1) : NULL;
	const struct token *token = reader_token(reader, reader->at);

	if (token->kind == TOKEN_HAN)
		return worth->value == 1 || reader_is(reader, before, "这") || reader_is(reader, before, "那") ||
		       (worth->behind == reader->at + 1 && !is_measure(reader, worth->behind) &&
			!reader_is(reader, before, "第"));
	if (worth->digits)
		return false;
	if (worth->ordinal)
		return worth->value <= 2;
	return worth->value == 1 || reader_is(reader, before, "the") || reader_is(reader, before, "these") ||
	       reader_is(reader, before, "those");
}

static bool is_negative(const struct reader *reader)
{
	size_t at = reader->at;
	const struct token *token = reader_token(reader, at), *before = at > 0 ? reader_token(reader, at - 1) : NULL;
	const struct token *second = at > 1 ? reader_token(reader, at - 2) : NULL;

	if (reader_is(reader, before, "minus") || reader_is(reader, before, "negative") || reader_is(reader, before, "负"))
		return true;
	if (reader_begins(reader, second, "零下"))
		return true;
	/* Behind a number it is a dash, however many blanks are around it. */
	return reader_is(reader, before, "-") && !(token->flags & TOKEN_SPACED) &&
	       (!second || second->kind == TOKEN_MARK || (before->flags & TOKEN_SPACED && second->kind != TOKEN_NUMBER));
}

/* Returns the unit behind a number, and steps over it; -1 if there is none. */
static int unit_read(const struct reader *reader, struct worth *worth)
{
	size_t at = worth->behind;

	if (reader_is(reader, reader_joined(reader, at), "-") && reader_joined(reader, at + 1))
		at++;
	/* Half an hour, 半个小时. */
	if (worth->value == 0.5 && !worth->digits &&
	    (reader_is(reader, reader_token(reader, at), "a") || reader_is(reader, reader_token(reader, at), "an")))
		at++;
	const struct token *token = reader_token(reader, at);
	if (reader_is(reader, token, "per") && reader_is(reader, reader_token(reader, at + 1), "cent")) {
		worth->behind = at + 2;
		return UNIT_PERCENT;
	}
	const struct guard_lexeme *unit = token && !(token->flags & TOKEN_LITERAL)
						  ? guard_lexicon_at(reader->lexicon, token->unit)
						  : NULL;
	if (!unit || (unit->side == 1 && (token->flags & TOKEN_SPACED || !worth->digits)))
		return -1;
	/* The 1990s, and the year 2023. */
	if ((reader_is(reader, token, "s") && worth->value >= 10) ||
	    (unit->value == UNIT_YEAR && token->kind == TOKEN_HAN && worth->value >= 1000 && worth->value < 2200))
		return -1;
	worth->behind = at + (token->kind == TOKEN_HAN ? unit->length / 3U : 1);
	if (unit->value == UNIT_DEGREE) {
		const struct token *next = reader_token(reader, worth->behind);
		const struct guard_lexeme *scale = next ? guard_lexicon_at(reader->lexicon, next->unit) : NULL;
		if (scale && (scale->value == UNIT_CELSIUS || scale->value == UNIT_FAHRENHEIT)) {
			worth->behind++;
			return scale->value;
		}
	}
	return unit->value;
}

/* Returns the currency before a number, or -1. */
static int money_before(const struct reader *reader)
{
	size_t at = reader->at;

	if (!reader_money_before(reader, at))
		return -1;
	if (reader_is(reader, reader_token(reader, at - 1), "."))
		at--;
	return guard_lexicon_at(reader->lexicon, reader_token(reader, at - 1)->unit)->value;
}

static bool quantity_read(struct reader *reader)
{
	const struct token *token = reader_token(reader, reader->at), *before = reader->at > 0 ? token - 1 : NULL;
	struct worth worth = {.value = 0};

	if (!reader_digits(reader, &worth) &&
	    !(token->kind == TOKEN_HAN ? reader_chinese(reader, &worth) : reader_english(reader, &worth)))
		return false;
	if (reader_chinese_calendar(reader, &worth))
		return true;
	bool negative = is_negative(reader);
	struct number number = {
		.raw = negative ? -worth.value : worth.value,
		.quantity = worth.ordinal || reader_is(reader, before, "第") ? QUANTITY_ORDINAL : QUANTITY_NUMBER,
		.flags = (uint8_t)(worth.flags |
				   (is_soft(reader, &worth) || is_list_length(reader, worth.behind) ? NUMBER_SOFT : 0)),
		.text = worth.digits ? digits_hash(reader->side->text + worth.digits->start, worth.digits->length) : 0,
	};
	bool percent = reader->at > 2 && reader_begins(reader, reader_token(reader, reader->at - 3), "百分之");
	int unit = percent ? UNIT_PERCENT : money_before(reader), behind = worth.ordinal ? -1 : unit_read(reader, &worth);
	if (unit < 0)
		unit = behind;
	number.value = number.raw;
	if (unit >= 0) {
		number.quantity = unit_worth((size_t)unit)->quantity;
		number.value *= unit_worth((size_t)unit)->factor;
		number.flags &= (uint8_t)~NUMBER_VERSION;
		/* What is measured is meant, but "in one day" is a way of speaking. */
		if (worth.value != 1)
			number.flags &= (uint8_t)~NUMBER_SOFT;
	}
	number.other = number.value;
	reader_add(reader, number);
	reader->at = worth.behind;
	return true;
}

/* World War II. A single letter is too often something else. */
static bool roman_read(struct reader *reader)
{
	static const char *const romans[] = {"II", "III", "IV",   "VI",  "VII", "VIII", "IX",
					     "XI", "XII", "XIII", "XIV", "XV",  "XVI"};
	static const uint8_t values[] = {2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16};
	const struct token *token = reader_token(reader, reader->at);

	if (!(token->flags & TOKEN_CAPITALS) || reader->at == 0 || !(token[-1].flags & TOKEN_UPPER))
		return false;
	for (size_t i = 0; i < sizeof(values); i++) {
		if (strlen(romans[i]) != token->length ||
		    memcmp(romans[i], reader->side->text + token->start, token->length) != 0)
			continue;
		reader_add_plain(reader, QUANTITY_NUMBER, values[i]);
		reader->at++;
		return true;
	}
	return false;
}

/* Keeps a unit that no number stands before ("how many grams"). Short ones and those with other uses are left alone. */
static void unit_note(struct reader *reader, const struct token *token)
{
	static const uint64_t vague = UINT64_C(1) << UNIT_SECOND | UINT64_C(1) << UNIT_MINUTE | UINT64_C(1) << UNIT_FOOT |
				      UINT64_C(1) << UNIT_YARD | UINT64_C(1) << UNIT_BIT | UINT64_C(1) << UNIT_DEGREE;
	const struct guard_lexeme *unit = token->flags & TOKEN_LITERAL ? NULL
								       : guard_lexicon_at(reader->lexicon, token->unit);

	if (unit && unit->length >= 3 && (token->kind == TOKEN_WORD || unit->length > 3))
		reader->numbers->units |= UINT64_C(1) << unit->value & ~vague;
}

void guard_numbers_read(const struct guard_side *side, const struct guard_lexicon *lexicon, struct numbers *numbers)
{
	struct reader reader = {.side = side, .lexicon = lexicon, .numbers = numbers};

	_Static_assert(sizeof(numbers->units) * 8 >= UNIT_COUNT, "a bit for each unit");
	numbers->count = 0;
	numbers->units = 0;
	while (reader.at < side->token_count) {
		const struct token *token = &side->tokens[reader.at];
		const struct guard_lexeme *word = guard_lexicon_at(lexicon, token->number);
		unit_note(&reader, token);
		/* Most words are no part of any number. */
		if (token->kind == TOKEN_WORD && !token->number && !(token->flags & (TOKEN_LITERAL | TOKEN_CAPITALS)))
			reader.at++;
		else if (token->flags & TOKEN_LITERAL)
			literal_read(&reader);
		else if (lexeme_is(word, GUARD_NO_NUMBER))
			reader.at += word->length / 3U;
		else if (token->kind == TOKEN_HAN && reader_begins(&reader, token, "百分之"))
			reader.at += 3;
		else if (token->kind == TOKEN_NUMBER
				 ? !reader_date(&reader) && !reader_time(&reader) && !quantity_read(&reader)
				 : !roman_read(&reader) && !(token->number && quantity_read(&reader)) &&
					   !reader_calendar(&reader))
			reader.at++;
	}
}
