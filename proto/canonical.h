/* Writes raw MessagePack in the canonical form that identity.h describes, and checks it on the way. */
#ifndef PROTO_CANONICAL_H
#define PROTO_CANONICAL_H

#include "buffer.h"

struct canonical_pair;
struct fault;

/* One form being written. All memory is reused by the next one. */
struct canonical {
	struct buffer out;
	struct buffer spare;          /* encoded pairs on their way to another place */
	struct canonical_pair *pairs; /* a stack: the pairs of every map that is open */
	size_t pair_count;
	size_t pair_capacity;
};

/* Makes `c` ready for texts and values of up to `max_bytes` together; allocates nothing yet. */
void canonical_init(struct canonical *c, size_t max_bytes);

/* Frees its memory; `c` is usable again. */
void canonical_deinit(struct canonical *c);

/* Starts a new form. Memory that only an unusually large one needed is given back. */
void canonical_start(struct canonical *c);

/* Appends a text, unchecked; absent is "". Returns 0, ERROR_TOO_LARGE or ERROR_MEMORY. */
int canonical_text(struct canonical *c, struct slice text);

/* Appends parameters, a raw map, without those that identity_ignores(); absent is {}. Returns 0, or ERROR_INVALID,
 * ERROR_TOO_LARGE or ERROR_MEMORY with `fault` filled; the same holds for the functions below. */
int canonical_parameters(struct canonical *c, struct slice raw, struct fault *fault);

/* Appends one raw value. */
int canonical_value(struct canonical *c, struct slice raw, struct fault *fault);

/* Appends messages, a raw array. `cut` is absent, or the text that is cut out of the last one, whose content must then be
 * plain text. */
int canonical_messages(struct canonical *c, struct slice raw, struct slice cut, struct fault *fault);

/* Appends the messages that `prompt` stands for; `cut` as above. */
int canonical_prompt(struct canonical *c, struct slice prompt, struct slice cut, struct fault *fault);

/* Appends those of messages, a raw array already checked, whose role is system or developer. */
int canonical_system(struct canonical *c, struct slice raw, struct fault *fault);

#endif
