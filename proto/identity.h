/* Which questions are the same: SHA-256 over everything that changes the answer.
 *
 * identity = SHA-256 of these canonical values, one behind the other: "semcache-identity-1", namespace, partition,
 * upstream's name, model, digest of the table of ignored parameters, parameters without the ignored ones, messages.
 *
 * A canonical value is one tag byte and what it says, every number in 8 bytes, most significant first:
 *   'n' nil    't' true    'f' false
 *   'u' integer >= 0       'i' integer < 0, two's complement       'd' float64, IEEE 754
 *   's' text: length, bytes
 *   'a' array: count, values
 *   'm' map: count, then key and value of each pair, sorted bytewise by key (the shorter of two that start alike first)
 * - A float32 is taken as the float64 of its value. A float that is a whole number from -2^53 to 2^53 is written as that
 *   integer. NaN and the infinities are refused, because JSON has neither, and so are ext values.
 * - str = bin. A text must be UTF-8 without NUL. A map's keys are texts, none twice. Nothing is trimmed or normalised.
 * - `prompt: X` is messages [{role: user, content: X}]; a message's content [{type: text, text: X}] is written as X.
 * - Digests inside are texts of 32 bytes; that of a table is over its names, one text behind the other.
 *
 * scope = the same with "semcache-scope-1" and, in place of the messages, the context, which is one of
 *   "all", and the messages with the compared text cut out
 *   "system", and an array of the system and developer messages
 *   "label", and the caller's label
 * Cut out: the content of the last message becomes an array of two texts, what stands before the compared text and what
 * stands behind it. Of several places the last one counts, found from left to right without overlap; if there is none,
 * nothing is cut.
 *
 * proto/identity.vectors holds examples with their digests. */
#ifndef PROTO_IDENTITY_H
#define PROTO_IDENTITY_H

#include "buffer.h"
#include "fault.h"

#define IDENTITY_BYTES 32
#define IDENTITY_HEX (2 * IDENTITY_BYTES + 1) /* with its NUL */

/* Parameters that do not change the answer, sorted bytewise. The digest over their names is hashed too: with another
 * table the same bytes are another identity. */
#define IDENTITY_IGNORED(X)                                                                                                 \
	X(metadata)                                                                                                         \
	X(prompt_cache_key)                                                                                                 \
	X(prompt_cache_retention)                                                                                           \
	X(safety_identifier)                                                                                                \
	X(service_tier)                                                                                                     \
	X(store)                                                                                                            \
	X(stream)                                                                                                           \
	X(stream_options)                                                                                                   \
	X(user)

struct identity {
	unsigned char bytes[IDENTITY_BYTES];
};

/* What is hashed. Slices are the caller's; `parameters` and `messages` are raw MessagePack, as struct request has them. */
struct identity_source {
	struct slice namespace;
	struct slice partition; /* reserved; absent = "" */
	struct slice upstream;
	struct slice model;
	struct slice parameters; /* absent = {} */
	struct slice prompt;     /* this or messages */
	struct slice messages;
	struct slice question; /* what is compared by meaning; absent = the last user message */
	struct slice context;  /* absent = all */
};

/* Why a question is not compared by meaning. */
enum identity_compared {
	COMPARED,          /* it is */
	COMPARED_NOT_TEXT, /* the last message is not plain user text, or empty */
	COMPARED_IMAGES,   /* a message has a part that is not text */
	COMPARED_TOOLS,    /* tools or functions are offered */
};

/* What the parameters ask for that changes how the answer may be kept. */
struct identity_traits {
	bool never_store; /* n > 1, logprobs or top_logprobs: passed through, never kept */
};

struct hasher; /* OpenSSL's digest and a scratch buffer, both reused; one thread at a time */

/* Creates a hasher for messages of up to `max_bytes`; NULL if there is no memory or no SHA-256. */
struct hasher *hasher_create(size_t max_bytes);

/* Frees it; NULL is nothing. */
void hasher_destroy(struct hasher *hasher);

/* Computes the identity, and checks what it is computed from: messages is an array of one or more maps, each with a text
 * `role` and, as `content`, a text, nil or an array of maps, if any; parameters has neither of model, messages, stream
 * and stream_options, which have places of their own. Returns 0, or ERROR_INVALID, ERROR_TOO_LARGE or ERROR_MEMORY with
 * `fault` filled; of the first two its detail names prompt, messages or parameters. */
int identity_of(struct hasher *hasher, const struct identity_source *source, struct identity *identity, struct fault *fault);

/* Finds the text that is compared by meaning (`*text`, a slice of the source, absent unless COMPARED), what the
 * parameters ask for, and the scope (all zero unless COMPARED). Call it only after identity_of() succeeded on the same
 * source. Returns 0 or ERROR_MEMORY. */
int identity_scope(struct hasher *hasher, const struct identity_source *source, enum identity_compared *compared,
		   struct slice *text, struct identity_traits *traits, struct identity *scope);

/* SHA-256 of `count` texts, each as a canonical 's'. Returns 0 or ERROR_MEMORY. */
int identity_digest(struct hasher *hasher, const struct slice *texts, size_t count, struct identity *digest);

/* Writes `identity` as 64 lower-case hex digits and a NUL. */
void identity_hex(const struct identity *identity, char hex[IDENTITY_HEX]);

/* Reads 64 hex digits. Returns 0 or ERROR_INVALID. */
int identity_parse(struct slice hex, struct identity *identity);

/* Returns whether two are the same. */
bool identity_equal(const struct identity *a, const struct identity *b);

/* Returns whether the parameter `name` does not change the answer (user, metadata, stream, …) and is left out of the
 * hash. */
bool identity_ignores(struct slice name);

#endif
