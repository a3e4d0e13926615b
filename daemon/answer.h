/* An answer as it grows: kept once, in blocks that never move, read by any number of cursors, each at its own pace. */
#ifndef DAEMON_ANSWER_H
#define DAEMON_ANSWER_H

#include "../proto/buffer.h"

struct answer_block;

struct answer {
	struct answer_block *first, *last;
	size_t length;
};

/* How far one reader has come. Zeroed = at the start. */
struct answer_cursor {
	struct answer_block *block; /* the one it stands in; NULL = before the first */
	size_t offset;              /* in that block */
	size_t position;            /* in the answer */
};

/* Makes `answer` empty. */
void answer_init(struct answer *answer);

/* Frees the blocks; cursors into them are dead. */
void answer_deinit(struct answer *answer);

/* Appends `text`. Returns 0 or ERROR_MEMORY, and then nothing was appended. */
int answer_append(struct answer *answer, struct slice text);

/* Returns whether `cursor` has read all there is. */
bool answer_at_end(const struct answer *answer, const struct answer_cursor *cursor);

/* Copies up to `most` bytes from `cursor` on to `out` and moves it. As long as only whole characters are appended and `most`
 * is at least 4, whole characters are copied. Returns how many bytes. */
size_t answer_read(const struct answer *answer, struct answer_cursor *cursor, char *out, size_t most);

/* Copies the whole answer to `out`, which has room for answer->length bytes. */
void answer_copy(const struct answer *answer, char *out);

#endif
