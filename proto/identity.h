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

/* How a part of a question counts: X(rule, meaning). */
#define IDENTITY_RULES(X)                                                                                                   \
	X(meaning, "compared by meaning")                                                                                   \
	X(equal, "must be equal")                                                                                           \
	X(exact_only, "where it is there, the question is not compared by meaning, and all of it must be equal")            \
	X(never_stored, "must be equal, and where it is there the answer is passed on, but never stored")                   \
	X(ignored, "may differ, since it does not change the answer")

/* The one table of what is compared by meaning, what must be equal, and what may differ: X(kind, name, rule, what it is).
 * What is not in it is a parameter, and must be equal. The ignored parameters are sorted bytewise, and the digest over their
 * names is hashed too: with another list of them the same bytes are another identity. */
#define IDENTITY_TABLE(X)                                                                                                   \
	X(PART, question, meaning, "the text of `question`, or else of the user's last message")                            \
	X(PART, namespace, equal, "nothing is shared between namespaces")                                                   \
	X(PART, upstream, equal, "the section that serves the model")                                                       \
	X(PART, model, equal, "its name, as resolved")                                                                      \
	X(PART, messages, equal, "all messages without the compared text, unless `context` says otherwise")                 \
	X(PART, context, equal, "a label of the caller's, in place of the messages")                                        \
	X(PART, not_text, exact_only, "the last message is not plain text of the user, or is empty")                        \
	X(PART, images, exact_only, "a message has a part that is not text")                                                \
	X(PART, too_long, exact_only, "the compared text has more than embedder.max_bytes")                                 \
	X(PARAMETER, functions, exact_only, "functions are offered to the model")                                           \
	X(PARAMETER, tools, exact_only, "tools are offered to the model")                                                   \
	X(PARAMETER, logprobs, never_stored, "the answer has probabilities beside it")                                      \
	X(PARAMETER, n, never_stored, "several answers are asked for, if it is over 1")                                     \
	X(PARAMETER, top_logprobs, never_stored, "the answer has probabilities beside it")                                  \
	X(PARAMETER, metadata, ignored, "notes for the upstream's records")                                                 \
	X(PARAMETER, prompt_cache_key, ignored, "where the upstream keeps what it has read")                                \
	X(PARAMETER, prompt_cache_retention, ignored, "how long it keeps that")                                             \
	X(PARAMETER, safety_identifier, ignored, "who asks")                                                                \
	X(PARAMETER, service_tier, ignored, "how soon the answer comes")                                                    \
	X(PARAMETER, store, ignored, "whether the upstream keeps a record")                                                 \
	X(PARAMETER, stream, ignored, "how the answer is sent")                                                             \
	X(PARAMETER, stream_options, ignored, "how the answer is sent")                                                     \
	X(PARAMETER, user, ignored, "who asks")

enum identity_rule {
#define X(rule, text) IDENTITY_RULE_##rule,
	IDENTITY_RULES(X)
#undef X
};

enum identity_part {
#define X(kind, name, rule, text) IDENTITY_PART_##name,
	IDENTITY_TABLE(X)
#undef X
		IDENTITY_PART_COUNT
};

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
	bool never_store; /* by the table's rule never_stored: passed through, never kept */
};

/* Returns the part's name, rule and text; the texts are constants. */
const char *identity_part_name(enum identity_part part);
enum identity_rule identity_part_rule(enum identity_part part);
const char *identity_part_text(enum identity_part part);

/* Returns what a rule means, a constant. */
const char *identity_rule_text(enum identity_rule rule);

/* Returns the part called `name` (a parameter or not), or the parameter called `name`; or else IDENTITY_PART_COUNT. */
enum identity_part identity_part_find(struct slice name);
enum identity_part identity_parameter_find(struct slice name);

/* Returns what keeps a question from being compared; IDENTITY_PART_COUNT for COMPARED. */
enum identity_part identity_compared_part(enum identity_compared compared);

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

/* SHA-256 of what the scope of `source`, a compared one, has in place of its messages; `text` is what is compared. Two
 * questions that differ in it have other messages, or another context. Returns 0 or ERROR_MEMORY. */
int identity_messages(struct hasher *hasher, const struct identity_source *source, struct slice text,
		      struct identity *digest);

/* Returns whether two raw MessagePack values are the same to an identity: 1 is 1.0, and the order of keys does not count. An
 * absent one equals only an absent one. */
bool identity_same_value(struct hasher *hasher, struct slice a, struct slice b);

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
