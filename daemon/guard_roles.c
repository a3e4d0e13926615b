/* Two things have changed places. Either both texts say from what to what (by "from", "to", "into", "than", 从, 到, 转, 比),
 * or the texts are the same but for two pieces that are exchanged around something that is not merely "and", "or" or
 * "versus". */
#include "guard_private.h"

#include <string.h>

#define ROLES 8

enum role_side { SOURCE, TARGET };

/* The words that stand in one of the two roles. */
struct roles {
	size_t count[2];
	uint32_t words[2][ROLES];
};

static bool token_is(const struct guard_side *side, size_t at, const char *text)
{
	return at < side->token_count && side->folded[side->tokens[at].start] == text[0] &&
	       side->tokens[at].length == strlen(text) &&
	       memcmp(side->folded + side->tokens[at].start, text, strlen(text)) == 0;
}

static bool is_any(const struct guard_side *side, size_t at, const char *const *words)
{
	for (; *words; words++)
		if (token_is(side, at, *words))
			return true;
	return false;
}

static void role_add(struct roles *roles, enum role_side role, uint32_t word)
{
	if (roles->count[role] < ROLES)
		roles->words[role][roles->count[role]++] = word;
}

static bool is_grammar(const struct guard_side *side, const struct guard_lexicon *lexicon, size_t at)
{
	const struct guard_lexeme *word = guard_lexicon_at(lexicon, side->tokens[at].word);

	return side->tokens[at].kind == TOKEN_MARK || (word && word->kind == GUARD_FUNCTION);
}

/* Adds the next word behind `at` that is more than grammar. */
static void add_behind(struct roles *roles, enum role_side role, const struct guard_side *side,
		       const struct guard_lexicon *lexicon, size_t at)
{
	for (size_t i = at + 1; i < side->token_count && i < at + 4; i++)
		if (!is_grammar(side, lexicon, i)) {
			role_add(roles, role, side->tokens[i].hash);
			return;
		}
}

/* "A is colder than B": the things are around the comparison, not next to "than". */
static void than_read(struct roles *roles, const struct guard_side *side, const struct guard_lexicon *lexicon, size_t at)
{
	size_t found = 0;

	for (size_t i = at; i-- > 0 && i + 5 > at && found < 3;)
		if (!is_grammar(side, lexicon, i) && found++ > 0)
			role_add(roles, SOURCE, side->tokens[i].hash);
	found = 0;
	for (size_t i = at + 1; i < side->token_count && i < at + 5 && found < 2; i++)
		if (!is_grammar(side, lexicon, i) && ++found)
			role_add(roles, TARGET, side->tokens[i].hash);
}

static void roles_read(const struct guard_side *side, const struct guard_lexicon *lexicon, struct roles *roles)
{
	static const char *const from[] = {"from", NULL}, *const to[] = {"to", "into", "onto", NULL};

	roles->count[SOURCE] = roles->count[TARGET] = 0;
	for (size_t i = 0; i < side->token_count; i++) {
		if (side->tokens[i].kind != TOKEN_WORD)
			continue;
		if (token_is(side, i, "than")) {
			than_read(roles, side, lexicon, i);
		} else if (is_any(side, i, from)) {
			add_behind(roles, SOURCE, side, lexicon, i);
		} else if (is_any(side, i, to)) {
			add_behind(roles, TARGET, side, lexicon, i);
			if (i > 0 && !is_grammar(side, lexicon, i - 1))
				role_add(roles, SOURCE, side->tokens[i - 1].hash);
		}
	}
}

static bool has_role(const struct roles *roles, enum role_side role, uint32_t word)
{
	for (size_t i = 0; i < roles->count[role]; i++)
		if (roles->words[role][i] == word)
			return true;
	return false;
}

static bool is_turned(const struct roles *a, const struct roles *b)
{
	for (size_t i = 0; i < a->count[SOURCE]; i++)
		for (size_t k = 0; k < a->count[TARGET]; k++) {
			uint32_t source = a->words[SOURCE][i], target = a->words[TARGET][k];
			if (source != target && has_role(b, SOURCE, target) && has_role(b, TARGET, source) &&
			    !has_role(b, SOURCE, source) && !has_role(b, TARGET, target))
				return true;
		}
	return false;
}

static bool is_same(const struct guard_side *a, size_t at_a, const struct guard_side *b, size_t at_b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (a->tokens[at_a + i].hash != b->tokens[at_b + i].hash)
			return false;
	return true;
}

/* Returns whether what stands between two things makes no difference between them: no words, or only such as "and". */
static bool is_even_handed(const struct guard_side *side, size_t at, size_t count)
{
	static const char *const even[] = {"and", "or", "vs", "versus", "nor", "between", "with", "the", "a",  "an", "to",
					   "和",  "与", "跟", "同",     "或",  "及",      "还",   "是",  "以", "者", NULL};

	for (size_t i = at; i < at + count; i++)
		if ((side->tokens[i].kind != TOKEN_MARK && !is_any(side, i, even)) ||
		    (token_is(side, i, "to") && !(i > at && token_is(side, i - 1, "or"))) || token_is(side, i, ">"))
			return false;
	return true;
}

/* What differs is X M Y in one text and Y M X in the other. */
static bool is_exchanged(const struct guard_side *a, const struct guard_side *b, size_t start, size_t length)
{
	for (size_t x = 1; x <= 4 && x < length; x++)
		for (size_t y = 1; y <= 4 && x + y < length; y++) {
			size_t middle = length - x - y;
			if (!is_same(a, start, b, start + y + middle, x) || !is_same(a, start + x + middle, b, start, y) ||
			    !is_same(a, start + x, b, start + y, middle))
				continue;
			return !is_even_handed(a, start + x, middle);
		}
	return false;
}

bool guard_roles_veto(const struct guard_side *a, const struct guard_side *b, const struct guard_lexicon *lexicon)
{
	struct roles of_a, of_b;
	size_t start = 0, end_a = a->token_count, end_b = b->token_count;

	roles_read(a, lexicon, &of_a);
	roles_read(b, lexicon, &of_b);
	if (is_turned(&of_a, &of_b))
		return true;
	while (end_a > 0 && a->tokens[end_a - 1].kind == TOKEN_MARK)
		end_a--;
	while (end_b > 0 && b->tokens[end_b - 1].kind == TOKEN_MARK)
		end_b--;
	if (end_a != end_b)
		return false;
	while (start < end_a && is_same(a, start, b, start, 1))
		start++;
	while (end_a > start && is_same(a, end_a - 1, b, end_a - 1, 1))
		end_a--;
	return is_exchanged(a, b, start, end_a - start);
}
