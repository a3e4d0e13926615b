/* A byte buffer that cannot exist without a maximum, and a view into bytes of somebody else's. */
#ifndef PROTO_BUFFER_H
#define PROTO_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes owned by somebody else. `data` NULL = absent, which is not the same as empty. */
struct slice {
	const char *data;
	size_t length;
};

/* Returns the slice of a string constant. */
#define SLICE(text) ((struct slice){(text), sizeof(text) - 1})

/* Returns the slice of a NUL-terminated string; absent for NULL. */
struct slice slice_of(const char *text);

/* Returns whether both hold the same bytes; absent equals only absent. */
bool slice_equal(struct slice a, struct slice b);

/* Returns whether `s` is well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong). `nul` is set to whether a NUL is
 * in it. */
bool slice_is_utf8(struct slice s, bool *nul);

/* Returns how many of the first `most` bytes of `s` end on a whole UTF-8 character: at least 1 if `s` is not empty. */
size_t slice_whole_characters(struct slice s, size_t most);

/* Makes the `length` bytes at `text` fit for one line of a log or an error: control characters (U+0000 to U+001F, U+007F to
 * U+009F) and bytes that are not UTF-8 become spaces, one for each byte. */
void text_clean(char *text, size_t length);

struct buffer {
	char *data;
	size_t length;
	size_t capacity;
	size_t max; /* bytes; append fails beyond */
};

/* Makes `b` empty with a maximum of `max` bytes; allocates nothing yet. */
void buffer_init(struct buffer *b, size_t max);

/* Frees the bytes; `b` is empty and usable again. */
void buffer_deinit(struct buffer *b);

/* Makes room for `more` bytes behind the end. Returns 0, ERROR_TOO_LARGE or ERROR_MEMORY, and then nothing changed. */
int buffer_reserve(struct buffer *b, size_t more);

/* Appends `length` bytes. Errors as buffer_reserve(). */
int buffer_append(struct buffer *b, const void *data, size_t length);

/* Appends text made as by printf(3). Errors as buffer_reserve(). */
int buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first `length` bytes (at most all). */
void buffer_consume(struct buffer *b, size_t length);

/* msgpack-c's writer: `data` is a struct buffer. Returns 0, or -1 where buffer_append() fails. */
int buffer_write_msgpack(void *data, const char *bytes, size_t length);

/* Returns the bytes as a slice, valid until the next change. */
struct slice buffer_slice(const struct buffer *b);

#endif
