/* Numbers of one text are paired with equal ones of the other; what is left over objects. A number that only one text has
 * is a condition the other does not make ("the 2020 election", "lose 5 kg"): answers differ, so it objects too. The
 * exceptions are the soft ones, which object only to another number of their kind.
 *
 * Equal ones are paired first, then those that differ only in what was left unsaid: a number without a unit fits the same
 * number with any. */
#include "guard_quantity.h"

static bool is_near(double a, double b)
{
	double difference = a > b ? a - b : b - a, size = (a < 0 ? -a : a) + (b < 0 ? -b : b);

	return difference <= 1e-6 * size;
}

static bool is_equal(const struct number *a, const struct number *b)
{
	if (a->quantity != b->quantity)
		return false;
	if ((a->flags | b->flags) & NUMBER_VERSION)
		return a->text == b->text;
	return is_near(a->value, b->value) || is_near(a->other, b->value) || is_near(a->value, b->other);
}

/* Returns whether `plain` may mean `other`, of another quantity. */
static bool may_mean(const struct number *plain, const struct number *other)
{
	switch (plain->quantity) {
	case QUANTITY_NUMBER:
	case QUANTITY_ORDINAL:
		return other->quantity != QUANTITY_MONTH && other->quantity != QUANTITY_WEEKDAY &&
		       is_near(plain->raw, other->raw);
	case QUANTITY_DAY_OR_MONTH:
		return (other->quantity == QUANTITY_NUMBER || other->quantity == QUANTITY_MONTH ||
			other->quantity == QUANTITY_ORDINAL) &&
		       is_near(plain->value, other->value);
	case QUANTITY_DEGREE:
		return (other->quantity == QUANTITY_CELSIUS || other->quantity == QUANTITY_FAHRENHEIT) &&
		       is_near(plain->value, other->value);
	case QUANTITY_POUNDS:
		return (other->quantity == QUANTITY_MASS && is_near(plain->value, other->value)) ||
		       (other->quantity == QUANTITY_STERLING && is_near(plain->raw, other->raw));
	case QUANTITY_YUAN_OR_YEN:
		return (other->quantity == QUANTITY_YUAN || other->quantity == QUANTITY_YEN) &&
		       is_near(plain->value, other->value);
	default:
		return false;
	}
}

static bool is_alike(const struct number *a, const struct number *b)
{
	if ((a->flags | b->flags) & NUMBER_VERSION)
		return a->text == b->text;
	return may_mean(a, b) || may_mean(b, a);
}

static void pair_up(struct numbers *a, struct numbers *b, bool (*fits)(const struct number *, const struct number *))
{
	for (size_t i = 0; i < a->count; i++) {
		if (a->list[i].flags & NUMBER_PAIRED)
			continue;
		for (size_t k = 0; k < b->count; k++) {
			if (b->list[k].flags & NUMBER_PAIRED || !fits(&a->list[i], &b->list[k]))
				continue;
			a->list[i].flags |= NUMBER_PAIRED;
			b->list[k].flags |= NUMBER_PAIRED;
			break;
		}
	}
}

/* Returns whether a number is left that must not be. Numbers in words may be other words in another language. */
static bool has_left(const struct numbers *numbers, bool foreign)
{
	for (size_t i = 0; i < numbers->count; i++) {
		uint8_t flags = numbers->list[i].flags;
		if (!(flags & (NUMBER_PAIRED | NUMBER_OFFERED | NUMBER_SOFT)) && !(foreign && flags & NUMBER_WORDS))
			return true;
	}
	return false;
}

static bool has_soft_conflict(const struct numbers *a, const struct numbers *b)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t k = 0; k < b->count; k++)
			if (a->list[i].quantity == b->list[k].quantity &&
			    !((a->list[i].flags | b->list[k].flags) & (NUMBER_PAIRED | NUMBER_OFFERED)))
				return true;
	return false;
}

static bool is_comparable(uint8_t a, uint8_t b)
{
	bool time = (a == QUANTITY_DURATION || a == QUANTITY_MONTHS) && (b == QUANTITY_DURATION || b == QUANTITY_MONTHS);
	bool money = (a >= QUANTITY_DOLLAR || a == QUANTITY_POUNDS) && (b >= QUANTITY_DOLLAR || b == QUANTITY_POUNDS);
	bool mass = (a == QUANTITY_MASS || a == QUANTITY_POUNDS) && (b == QUANTITY_MASS || b == QUANTITY_POUNDS);

	return a == b || time || money || mass;
}

/* Returns whether one text names a unit where the other names another for the same: grams in a pound, grams in an ounce. */
static bool has_other_unit(const struct numbers *a, const struct numbers *b)
{
	uint64_t only_a = a->units & ~b->units, only_b = b->units & ~a->units;

	for (size_t i = 0; only_a && only_b && i < UNIT_COUNT; i++)
		for (size_t k = 0; only_a >> i & 1 && k < UNIT_COUNT; k++)
			if (only_b >> k & 1 && is_comparable(unit_worth(i)->quantity, unit_worth(k)->quantity))
				return true;
	return false;
}

bool guard_numbers_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon)
{
	bool foreign = a->script != b->script && a->script != SCRIPT_NONE && b->script != SCRIPT_NONE;
	struct numbers of_a, of_b;

	guard_numbers_read(a, lexicon, &of_a);
	guard_numbers_read(b, lexicon, &of_b);
	if (!foreign && has_other_unit(&of_a, &of_b))
		return true;
	if (of_a.count + of_b.count == 0)
		return false;
	pair_up(&of_a, &of_b, is_equal);
	pair_up(&of_a, &of_b, is_alike);
	return has_left(&of_a, foreign) || has_left(&of_b, foreign) || (!foreign && has_soft_conflict(&of_a, &of_b));
}
