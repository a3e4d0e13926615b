/* Dates, times of day, months and weekdays. */
#include "guard_quantity.h"

/* A day and a month whose order is unknown if both could be either. */
static void day_and_month_add(struct reader *reader, double first, double second)
{
	if (first > 12) {
		reader_add_plain(reader, QUANTITY_NUMBER, first);
		reader_add_plain(reader, QUANTITY_MONTH, second);
	} else if (second > 12) {
		reader_add_plain(reader, QUANTITY_MONTH, first);
		reader_add_plain(reader, QUANTITY_NUMBER, second);
	} else {
		reader_add_plain(reader, QUANTITY_DAY_OR_MONTH, first);
		reader_add_plain(reader, QUANTITY_DAY_OR_MONTH, second);
	}
}

/* 2023-05-01, 2023/5/1, 1/5/2023. */
bool reader_date(struct reader *reader)
{
	const struct token *token = reader_token(reader, reader->at), *mark = reader_joined(reader, reader->at + 1);
	double first, second, third;

	if (!mark || mark->kind != TOKEN_MARK || (!reader_is(reader, mark, "-") && !reader_is(reader, mark, "/")) ||
	    !reader_joined(reader, reader->at + 2) || !reader_joined(reader, reader->at + 4) ||
	    reader_joined(reader, reader->at + 3) == NULL || reader_token(reader, reader->at + 3)->hash != mark->hash)
		return false;
	const struct token *last = reader_token(reader, reader->at + 4);
	if (!reader_whole(reader, token, 4, &first) ||
	    !reader_whole(reader, reader_token(reader, reader->at + 2), 2, &second) ||
	    !reader_whole(reader, last, 4, &third))
		return false;
	if (token->length == 4 && second >= 1 && second <= 12 && third <= 31) {
		reader_add_plain(reader, QUANTITY_NUMBER, first);
		reader_add_plain(reader, QUANTITY_MONTH, second);
		reader_add_plain(reader, QUANTITY_NUMBER, third);
	} else if (first <= 31 && second <= 31 && (first <= 12 || second <= 12) && token->length <= 2) {
		day_and_month_add(reader, first, second);
		reader_add_plain(reader, QUANTITY_NUMBER, last->length < 3 ? third + (third < 70 ? 2000 : 1900) : third);
	} else {
		return false;
	}
	reader->at += 5;
	return true;
}

/* Returns 1 for am, 2 for pm at `at`, 0; `*tokens` are how many it takes: "a.m." is three or four. */
static int half_of_day(const struct reader *reader, size_t at, size_t *tokens)
{
	const struct token *token = reader_token(reader, at);

	*tokens = 1;
	if (reader_is(reader, token, "am"))
		return 1;
	if (reader_is(reader, token, "pm"))
		return 2;
	bool a = reader_is(reader, token, "a"), p = reader_is(reader, token, "p");
	*tokens = 3;
	if ((a || p) && reader_is(reader, reader_joined(reader, at + 1), ".") &&
	    reader_is(reader, reader_joined(reader, at + 2), "m"))
		return a ? 1 : 2;
	return 0;
}

static bool is_afternoon(const struct reader *reader, size_t at)
{
	const struct token *before = at > 1 ? reader_token(reader, at - 2) : NULL;

	return reader_begins(reader, before, "下午") || reader_begins(reader, before, "晚上") ||
	       reader_begins(reader, before, "傍晚");
}

static bool is_forenoon(const struct reader *reader, size_t at)
{
	const struct token *before = at > 1 ? reader_token(reader, at - 2) : NULL;

	return reader_begins(reader, before, "上午") || reader_begins(reader, before, "早上") ||
	       reader_begins(reader, before, "凌晨");
}

/* Adds a time of day; `hour` was written, which may be in the first or the second half. */
static void time_add(struct reader *reader, double hour, double minute, int half, uint8_t flags)
{
	if (half == 1 && hour == 12)
		hour = 0;
	double value = hour * 60 + minute, other = value;
	if (half == 2 && hour < 12)
		other = value = value + 720;
	else if (half == 0 && hour <= 12)
		other = hour == 12 ? minute : value + 720;
	reader_add(reader,
		   (struct number){.value = value, .other = other, .raw = hour, .quantity = QUANTITY_TIME, .flags = flags});
}

/* 15:00, 3:30 pm, 3pm. */
bool reader_time(struct reader *reader)
{
	double hour, minute = 0;
	size_t behind = reader->at + 1, tokens;

	if (!reader_whole(reader, reader_token(reader, reader->at), 2, &hour) || hour > 24)
		return false;
	const struct token *minutes = reader_joined(reader, reader->at + 2);
	bool colon = reader_is(reader, reader_joined(reader, behind), ":") && minutes && minutes->length == 2 &&
		     reader_whole(reader, minutes, 2, &minute) && minute < 60;
	if (colon)
		behind += 2;
	int half = half_of_day(reader, behind, &tokens);
	if (half == 0 && !colon && reader_is(reader, reader_token(reader, behind), "o'clock")) {
		reader->at = behind + 1;
		time_add(reader, hour, 0, 0, 0);
		return true;
	}
	if (half == 0 && !colon)
		return false;
	time_add(reader, hour, minute, half, 0);
	reader->at = behind + (half ? tokens : 0);
	return true;
}

/* Behind a number: 5月, 3点半, 下午3点20分. */
bool reader_chinese_calendar(struct reader *reader, const struct worth *worth)
{
	const struct token *next = reader_token(reader, worth->behind);
	double minute = 0;

	if (reader_is(reader, next, "月") && worth->value >= 1 && worth->value <= 12) {
		reader_add_plain(reader, QUANTITY_MONTH, worth->value);
		reader->at = worth->behind + 1;
		return true;
	}
	if (!reader_is(reader, next, "点") || worth->value > 24)
		return false;
	int half = is_afternoon(reader, reader->at) ? 2 : is_forenoon(reader, reader->at) ? 1 : 0;
	size_t behind = worth->behind + 1;
	if (reader_is(reader, reader_token(reader, behind), "半")) {
		minute = 30;
		behind++;
	} else if (reader_whole(reader, reader_token(reader, behind), 2, &minute)) {
		behind++;
	}
	time_add(reader, worth->value, minute, half, worth->flags & NUMBER_WORDS);
	reader->at = behind;
	return true;
}

/* Names of months and weekdays. "May" and "march" are months behind or before a number, or with a capital inside a
 * sentence. */
bool reader_calendar(struct reader *reader)
{
	const struct guard_lexeme *word = reader_number(reader, reader->at);
	const struct token *token = reader_token(reader, reader->at), *next = reader_token(reader, reader->at + 1);
	const struct token *before = reader->at > 0 ? token - 1 : NULL;

	if (!lexeme_is(word, GUARD_MONTH) && !lexeme_is(word, GUARD_WEEKDAY))
		return false;
	bool beside = (next && next->kind == TOKEN_NUMBER) || (before && before->kind == TOKEN_NUMBER) ||
		      reader_is(reader, before, "th") || reader_is(reader, before, "st") ||
		      reader_is(reader, before, "nd") || reader_is(reader, before, "rd");
	bool proper = token->length > 2 && token->flags & TOKEN_UPPER &&
		      !(token->flags & (TOKEN_INITIAL | TOKEN_CAPITALS)) && before && !(before->flags & TOKEN_UPPER);
	if (word->kind == GUARD_MONTH && word->side == 1 && !beside && !proper)
		return false;
	reader_add_plain(reader, word->kind == GUARD_MONTH ? QUANTITY_MONTH : QUANTITY_WEEKDAY, word->value);
	if (reader->numbers->count > 0)
		reader->numbers->list[reader->numbers->count - 1].flags |= NUMBER_WORDS;
	reader->at += token->kind == TOKEN_HAN ? word->length / 3U : 1;
	return true;
}
