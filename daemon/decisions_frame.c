/* Frames in memory: those that wait have no checksum yet, and count from 0 in each process; sealing one gives it both.
 * What can go wrong: a frame ends too early (more bytes are needed), or is damaged (what is behind it cannot be read). */
#include "decisions_private.h"

#include <endian.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FRAME_KIND 1
#define FRAME_SEEDED 32

static void put64(char *at, uint64_t number)
{
	number = htole64(number);
	memcpy(at, &number, sizeof(number));
}

static uint64_t get64(const char *at)
{
	uint64_t number;

	memcpy(&number, at, sizeof(number));
	return le64toh(number);
}

static void put_head(char *head, const struct frame *frame, uint64_t sequence)
{
	put64(head, (uint64_t)FRAME_KIND << 32 | frame->body.length);
	put64(head + 8, sequence);
	put64(head + 16, frame->request);
	put64(head + 24, frame->at_ms);
}

static uint64_t checksum(const char *head, struct slice body)
{
	return XXH3_64bits_withSeed(body.data, body.length, XXH3_64bits(head, FRAME_SEEDED));
}

static int append(struct buffer *out, const char *head, struct slice body)
{
	int error = buffer_reserve(out, FRAME_HEAD + body.length);

	if (error)
		return error;
	(void)buffer_append(out, head, FRAME_HEAD);
	(void)buffer_append(out, body.data, body.length);
	return 0;
}

int frame_append(struct buffer *out, const struct frame *frame)
{
	char head[FRAME_HEAD] = {0};

	put_head(head, frame, frame->sequence);
	return append(out, head, frame->body);
}

int frame_seal(struct buffer *out, const struct frame *frame, uint64_t sequence)
{
	char head[FRAME_HEAD];

	put_head(head, frame, sequence);
	put64(head + FRAME_SEEDED, checksum(head, frame->body));
	return append(out, head, frame->body);
}

int frame_peek(struct slice bytes, struct frame *frame)
{
	if (bytes.length < FRAME_HEAD)
		return ERROR_PENDING;
	uint64_t first = get64(bytes.data);
	size_t length = (size_t)(first & UINT32_MAX);
	if (first >> 32 != FRAME_KIND || length == 0 || length > RECORD_MOST)
		return ERROR_PROTOCOL;
	if (bytes.length - FRAME_HEAD < length)
		return ERROR_PENDING;
	*frame = (struct frame){
		.sequence = get64(bytes.data + 8),
		.request = get64(bytes.data + 16),
		.at_ms = get64(bytes.data + 24),
		.body = {bytes.data + FRAME_HEAD, length},
		.length = FRAME_HEAD + length,
	};
	return 0;
}

int frame_read(struct slice bytes, struct frame *frame)
{
	struct frame read;
	int error = frame_peek(bytes, &read);

	if (error)
		return error;
	if (get64(bytes.data + FRAME_SEEDED) != checksum(bytes.data, read.body))
		return ERROR_PROTOCOL;
	*frame = read;
	return 0;
}

/* ---- buffers of frames without checksums ---- */

size_t frames_purge(struct buffer *frames, const struct purges *purges)
{
	size_t kept = 0, at = 0, count = 0;
	struct frame frame;

	while (frame_peek((struct slice){frames->data + at, frames->length - at}, &frame) == 0) {
		if (purges_match(purges, frame.body, frame.sequence, 0)) {
			count++;
		} else {
			memmove(frames->data + kept, frames->data + at, frame.length);
			kept += frame.length;
		}
		at += frame.length;
	}
	frames->length = kept;
	return count;
}

int frames_find(const struct buffer *frames, struct wanted *wanted, size_t count, uint64_t base)
{
	struct frame frame;

	for (size_t at = 0; frame_peek((struct slice){frames->data + at, frames->length - at}, &frame) == 0;
	     at += frame.length) {
		frame.sequence += base;
		for (size_t i = 0; i < count; i++) {
			int error = wanted[i].request == frame.request ? wanted_take(&wanted[i], &frame) : 0;
			if (error)
				return error;
		}
	}
	return 0;
}

void wanted_init(struct wanted *wanted, uint64_t request)
{
	*wanted = (struct wanted){.request = request};
	buffer_init(&wanted->record, RECORD_MOST);
	buffer_init(&wanted->review, RECORD_MOST);
	buffer_init(&wanted->joined, 2 * RECORD_MOST);
}

void wanted_deinit(struct wanted *wanted)
{
	buffer_deinit(&wanted->record);
	buffer_deinit(&wanted->review);
	buffer_deinit(&wanted->joined);
}

struct slice wanted_join(struct wanted *wanted)
{
	bool has_review = wanted->review.length > 0 &&
			  record_join(&wanted->joined, buffer_slice(&wanted->record), buffer_slice(&wanted->review)) == 0;

	return buffer_slice(has_review ? &wanted->joined : &wanted->record);
}

int wanted_take(struct wanted *wanted, const struct frame *frame)
{
	if (record_is_review(frame->body)) {
		wanted->review.length = 0;
		return buffer_append(&wanted->review, frame->body.data, frame->body.length);
	}
	wanted->record.length = 0;
	int error = buffer_append(&wanted->record, frame->body.data, frame->body.length);
	if (error)
		return error;
	wanted->is_found = true;
	wanted->sequence = frame->sequence;
	wanted->at_ms = frame->at_ms;
	return 0;
}
