/* Blocks start small, because most answers are short and a thousand of them may be in the air, and double up to a size at
 * which the overhead no longer counts. A cursor that has read a block to its end stays there until the next one exists. */
#include "answer.h"

#include "../proto/error.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_FIRST 1024
#define BLOCK_MOST 65536

struct answer_block {
	struct answer_block *next;
	size_t length, capacity;
	char data[];
};

void answer_init(struct answer *answer)
{
	*answer = (struct answer){0};
}

void answer_deinit(struct answer *answer)
{
	struct answer_block *block = answer->first;

	while (block) {
		struct answer_block *next = block->next;
		free(block);
		block = next;
	}
	answer_init(answer);
}

int answer_append(struct answer *answer, struct slice text)
{
	struct answer_block *last = answer->last;
	size_t room = last ? last->capacity - last->length : 0;
	size_t here = text.length < room ? text.length : room;
	size_t rest = text.length - here;

	if (rest > 0) {
		size_t capacity = last ? last->capacity * 2 : BLOCK_FIRST;
		if (capacity > BLOCK_MOST)
			capacity = BLOCK_MOST;
		if (capacity < rest)
			capacity = rest;
		struct answer_block *block = malloc(sizeof(*block) + capacity);
		if (!block)
			return ERROR_MEMORY;
		*block = (struct answer_block){.capacity = capacity, .length = rest};
		memcpy(block->data, text.data + here, rest);
		if (last)
			last->next = block;
		else
			answer->first = block;
		answer->last = block;
	}
	if (here > 0) {
		memcpy(last->data + last->length, text.data, here);
		last->length += here;
	}
	answer->length += text.length;
	return 0;
}

bool answer_at_end(const struct answer *answer, const struct answer_cursor *cursor)
{
	return cursor->position == answer->length;
}

/* Copies up to `most` bytes without regard for characters. */
static size_t read_bytes(const struct answer *answer, struct answer_cursor *cursor, char *out, size_t most)
{
	size_t done = 0;

	while (done < most && !answer_at_end(answer, cursor)) {
		if (!cursor->block)
			cursor->block = answer->first;
		if (cursor->offset == cursor->block->length) {
			cursor->block = cursor->block->next;
			cursor->offset = 0;
		}
		size_t there = cursor->block->length - cursor->offset;
		size_t step = there < most - done ? there : most - done;
		memcpy(out + done, cursor->block->data + cursor->offset, step);
		cursor->offset += step;
		cursor->position += step;
		done += step;
	}
	return done;
}

size_t answer_read(const struct answer *answer, struct answer_cursor *cursor, char *out, size_t most)
{
	struct answer_cursor before = *cursor;
	size_t done = read_bytes(answer, cursor, out, most);

	if (done == 0 || answer_at_end(answer, cursor))
		return done;
	/* More follows, so the last character may be cut. Its first byte tells how long it is. */
	size_t start = done;
	while (start > 0 && done - start < 4 && ((unsigned char)out[start - 1] & 0xC0) == 0x80)
		start--;
	if (start == 0)
		return done;
	unsigned char lead = (unsigned char)out[start - 1];
	size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
	size_t whole = start - 1 + length <= done ? done : start - 1;
	if (whole == done || whole == 0)
		return done;
	*cursor = before;
	return read_bytes(answer, cursor, out, whole);
}

void answer_copy(const struct answer *answer, char *out)
{
	struct answer_cursor cursor = {0};

	(void)read_bytes(answer, &cursor, out, answer->length);
}
