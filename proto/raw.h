/* Looks into raw MessagePack that was checked before, where one value is wanted and the rest is of no interest. */
#ifndef PROTO_RAW_H
#define PROTO_RAW_H

#include "reader.h"

/* Finds the value of `name` in the raw map `map`. Returns whether it is there; `*raw` is then its bytes. */
bool raw_find(struct slice map, struct slice name, struct slice *raw);

/* Returns the first value of `raw`, of an array or map its head; nil if there is none. `text` is absent unless it has a
 * body. */
struct reader_value raw_first(struct slice raw);

/* Reads the `count` values of an array, at which `*r` stands, if that is one {type: text, text: X}. Returns whether it
 * is; then `*text` is X and `*r` stands behind the array. */
bool raw_single_text(struct reader *r, size_t count, struct slice *text);

/* Returns the text that a message's raw content plainly is: a text, or an array of one {type: text, text: X}; else
 * absent. */
struct slice raw_plain_text(struct slice content);

#endif
