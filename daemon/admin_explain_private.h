/* What the files of admin_explain share. Nobody else includes it. */
#ifndef DAEMON_ADMIN_EXPLAIN_PRIVATE_H
#define DAEMON_ADMIN_EXPLAIN_PRIVATE_H

#include "admin_private.h"
#include "flight.h"
#include "index.h"

/* The bytes of a parameter's value that are shown; of a larger one only how many it has. */
#define EXPLAIN_VALUE_SHOWN 256
/* Values up to so many bytes are compared as an identity compares them, larger ones byte by byte. */
#define EXPLAIN_VALUE_COMPARED 4096
/* The most parameters that are compared one by one; more are compared as a whole. */
#define EXPLAIN_PARAMETERS 64
/* The most differences told of one entry. */
#define EXPLAIN_DIFFERENCES 32

/* admin_explain_differs.c */

/* Writes what the scope of the explained question is made of, as the `request` of an entry is: {model, upstream, context,
 * messages, parameters}. Returns 0 or ERROR_MEMORY, ERROR_TOO_LARGE. */
int explain_describe(struct service *service, const struct explanation *explanation, struct buffer *out);

/* Writes an array of {what, theirs, ours}: where the entry's request `theirs` differs from `ours`. */
void explain_differences(struct hasher *hasher, struct slice theirs, struct slice ours, msgpack_packer *pack);

/* admin_explain_say.c */

/* The pairs that explain_say() writes. */
#define EXPLAIN_PAIRS 27

/* Writes all pairs of the result but those of other scopes and of time. */
void explain_say(struct call *call, const struct explanation *explanation, struct buffer *out);

/* The pairs that explain_say_entry() writes. */
#define EXPLAIN_ENTRY_PAIRS 6

/* Writes what is told of an entry of any scope. */
void explain_say_entry(msgpack_packer *pack, const struct candidate *candidate, uint64_t now_ms);

#endif
