/* JSON out of MessagePack, exactly, and the reading of JSON by json-c.
 *
 * Out: integers keep all their digits, floats are written with 17 significant ones, str and bin are texts. What JSON cannot
 * carry is refused by name. In: one value and nothing behind it, no lone surrogates (json-c would replace them), bounded in
 * depth; what json-c forgives otherwise (NaN, comments, single quotes, a comma too many) is forgiven. */
#ifndef DAEMON_JSON_H
#define DAEMON_JSON_H

#include "../proto/buffer.h"
#include "../proto/fault.h"

struct json_object;
struct json_tokener;
struct reader;

/* Appends the next value of `reader` as JSON. `field` names it in a fault ("messages"). Returns 0, or with `fault` filled
 * ERROR_INVALID (an ext value, NaN or an infinite float, a map key that is no text, a text that is no UTF-8),
 * ERROR_TOO_LARGE (`out` is full, or deeper than LIMIT_DEPTH) or ERROR_MEMORY; `out` then holds a part. */
int json_write(struct buffer *out, struct reader *reader, const char *field, struct fault *fault);

/* Appends `text`, which must be UTF-8, as a JSON string with its quotes. Errors as buffer_append(). */
int json_write_text(struct buffer *out, struct slice text);

/* Returns whether `key` may stand in a fault's detail as it is: up to 24 letters, digits, _ and -. */
bool json_plain_key(struct slice key);

/* Creates a tokener for json_read(), to be reused; NULL without memory. json_tokener_free() ends it. */
struct json_tokener *json_tokener_create(void);

/* Parses `text`, all of it. Returns the value, to be put back with json_object_put(), or NULL if it is not JSON, has a lone
 * surrogate, or there is no memory. Text in it is not checked to be UTF-8. */
struct json_object *json_read(struct json_tokener *tokener, struct slice text);

/* Returns the text of member `name` of `object`; absent if there is none, or it is no string. Valid as long as `object`. */
struct slice json_text(struct json_object *object, const char *name);

/* Returns member `name` of `object`, or NULL: no object, no such member, or it is null. Not to be put back. */
struct json_object *json_member(struct json_object *object, const char *name);

/* Decodes base64 with its padding. On 0 `*bytes` is malloc'ed, the receiver's, of `*length` bytes. ERROR_INVALID: not
 * base64, or empty. ERROR_MEMORY. */
int json_base64(struct slice text, unsigned char **bytes, size_t *length);

#endif
