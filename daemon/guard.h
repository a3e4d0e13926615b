/* Whether two questions that are near each other in meaning plainly ask for different things: other numbers, a negation
 * in one of them, opposite words, other quoted strings, and so on. Pure: no I/O, no allocation, no locale; any bytes may
 * come in.
 *
 * A guard says "different" only where the difference is on the surface; everything else is left to the similarity. Each
 * is symmetric, never fires on two equal texts, and none looks at the language: where it knows words, it knows them in
 * English and Chinese, and says nothing about others. */
#ifndef DAEMON_GUARD_H
#define DAEMON_GUARD_H

#include "../proto/buffer.h"

#include <stdint.h>

/* X(name, what must not differ) */
#define GUARD_TABLE(X)                                                                                                      \
	X(numbers, "numbers, units, currencies, versions, dates, times, ranges, signs")                                     \
	X(negation, "whether something is denied")                                                                          \
	X(opposites, "which of two opposite words is used")                                                                 \
	X(quotes, "quoted strings")                                                                                         \
	X(code, "code between backticks")                                                                                   \
	X(urls, "web addresses")                                                                                            \
	X(paths, "file paths")                                                                                              \
	X(emails, "e-mail addresses")                                                                                       \
	X(identifiers, "identifiers of programs, products and documents")                                                   \
	X(roles, "the order of two things: from A to B, from B to A")                                                       \
	X(names, "names")

enum guard {
#define X(name, text) GUARD_##name,
	GUARD_TABLE(X)
#undef X
		GUARD_COUNT
};

#define GUARD_BIT(guard) (UINT32_C(1) << (guard))
#define GUARDS_ALL (GUARD_BIT(GUARD_COUNT) - 1)

/* Pairs of opposite words that an operator adds to the built-in ones. */
struct guard_words;

/* Returns the guard's name, a constant; and what it compares. */
const char *guard_name(enum guard guard);
const char *guard_text(enum guard guard);

/* Returns the guard called `name`, or GUARD_COUNT. */
enum guard guard_find(struct slice name);

/* Returns the bits of those of the guards `wanted` that say that `a` and `b` ask for different things. `words` may be
 * NULL. Takes about 5 us for two ordinary questions and 20 us for two texts of 1 KiB, and grows with their length only;
 * looks at no more than the first GUARD_BYTES of each text. Needs about 250 KiB of stack. */
uint32_t guards_veto(struct slice a, struct slice b, uint32_t wanted, const struct guard_words *words);

#define GUARD_BYTES 8192

/* Reads `text`: pairs of words with a slash between, parted by commas ("north/south, 开灯/关灯"). A word is 1 to 64 bytes of
 * UTF-8, without blanks, comma and slash; in English its base form, which finds the usual endings too. At most
 * GUARD_PAIRS pairs. Returns 0 and `*words` (guard_words_destroy(); NULL for an empty text), ERROR_INVALID,
 * ERROR_TOO_LARGE or ERROR_MEMORY. */
int guard_words_parse(struct slice text, struct guard_words **words);

/* Returns the text that they were read from, blanks normalised to one behind each comma, as long as they live; "" for
 * NULL. */
const char *guard_words_text(const struct guard_words *words);

/* Frees it; NULL is nothing. */
void guard_words_destroy(struct guard_words *words);

#define GUARD_PAIRS 256

#endif
