#include "guard_private.h"

#include <string.h>

static const struct {
	const char *name, *text;
} guards[] = {
#define X(name, text) [GUARD_##name] = {#name, text},
	GUARD_TABLE(X)
#undef X
};

const char *guard_name(enum guard guard)
{
	return guards[guard].name;
}

const char *guard_text(enum guard guard)
{
	return guards[guard].text;
}

enum guard guard_find(struct slice name)
{
	enum guard guard = 0;

	while (guard < GUARD_COUNT && !slice_equal(name, slice_of(guards[guard].name)))
		guard++;
	return guard;
}

/* The words of a text, by hash; open addressing, half full at most. */
struct word_set {
	size_t mask;
	uint32_t slots[4 * GUARD_TOKENS];
};

static uint32_t *set_place(struct word_set *set, uint32_t hash)
{
	size_t at = (hash ^ hash >> 15) & set->mask;

	while (set->slots[at] && set->slots[at] != hash)
		at = (at + 1) & set->mask;
	return &set->slots[at];
}

/* Marks the words of `side` that are in `other` too. */
static void words_pair(struct guard_side *side, const struct guard_side *other)
{
	struct word_set set;

	for (set.mask = 63; set.mask < 2 * other->token_count; set.mask = set.mask * 2 + 1)
		;
	memset(set.slots, 0, (set.mask + 1) * sizeof(set.slots[0]));
	for (size_t i = 0; i < other->token_count; i++)
		if (other->tokens[i].kind == TOKEN_WORD && other->tokens[i].hash)
			*set_place(&set, other->tokens[i].hash) = other->tokens[i].hash;
	for (size_t i = 0; i < side->token_count; i++)
		if (side->tokens[i].kind == TOKEN_WORD && side->tokens[i].hash && *set_place(&set, side->tokens[i].hash))
			side->tokens[i].flags |= TOKEN_PAIRED;
}

static void side_read(struct guard_side *side, struct slice text, const struct guard_lexicon *lexicon)
{
	guard_text_cut(side, text);
	guard_spans_find(side);
	guard_lexicon_mark(lexicon, side);
	guard_text_guess_script(side, lexicon);
}

/* The guards that know words need both texts in one of the languages they know. */
static uint32_t words_veto(struct guard_side *a, struct guard_side *b, uint32_t wanted, const struct guard_lexicon *lexicon)
{
	uint32_t veto = 0;

	if (a->script != b->script || (a->script != SCRIPT_ENGLISH && a->script != SCRIPT_HAN))
		return 0;
	words_pair(a, b);
	words_pair(b, a);
	if (wanted & GUARD_BIT(GUARD_negation) && guard_negation_veto(a, b, lexicon))
		veto |= GUARD_BIT(GUARD_negation);
	if (wanted & (GUARD_BIT(GUARD_opposites) | GUARD_BIT(GUARD_roles))) {
		bool opposite = guard_opposites_veto(a, b, lexicon), turned = guard_roles_veto(a, b, lexicon);
		/* A is colder than B: B is warmer than A. Whoever turns both says the same. */
		if (opposite != turned)
			veto |= wanted & GUARD_BIT(opposite ? GUARD_opposites : GUARD_roles);
	}
	if (wanted & GUARD_BIT(GUARD_names) && guard_names_veto(a, b, lexicon))
		veto |= GUARD_BIT(GUARD_names);
	return veto;
}

/* Pairs of things are formed greedily; so that the verdict is the same for both orders, the texts come in one order. */
static bool comes_first(struct slice a, struct slice b)
{
	if (a.length != b.length)
		return a.length < b.length;
	return memcmp(a.data, b.data, a.length) < 0;
}

uint32_t guards_veto(struct slice a, struct slice b, uint32_t wanted, const struct guard_words *words)
{
	struct guard_lexicon lexicon;
	struct guard_side side_a, side_b;
	uint32_t veto;

	if (slice_equal(a, b) || a.length == 0 || b.length == 0 || !(wanted & GUARDS_ALL))
		return 0;
	if (comes_first(b, a)) {
		struct slice first = b;
		b = a;
		a = first;
	}
	guard_lexicon_init(&lexicon, words);
	side_read(&side_a, a, &lexicon);
	side_read(&side_b, b, &lexicon);
	veto = guard_spans_veto(&side_a, &side_b, wanted);
	if (wanted & GUARD_BIT(GUARD_numbers) && guard_numbers_veto(&side_a, &side_b, &lexicon))
		veto |= GUARD_BIT(GUARD_numbers);
	return veto | words_veto(&side_a, &side_b, wanted, &lexicon);
}
