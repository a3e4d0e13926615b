/* One segment: its head, then frames to its end. All goes well: it is read in large pieces, and each frame is handed on.
 * What can go wrong: it is cut or damaged (reading ends there, what was before it counts), the disk fails. */
#include "decisions_private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* So much is read at once; a frame always fits. */
#define PIECE (256u << 10)

_Static_assert(PIECE >= FRAME_HEAD + RECORD_MOST, "a piece has at least one frame");

int segment_write(int fd, struct slice bytes)
{
	while (bytes.length > 0) {
		ssize_t count = write(fd, bytes.data, bytes.length);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0) {
			errno = count < 0 ? errno : ENOSPC;
			return ERROR_UNAVAILABLE;
		}
		bytes.data += count;
		bytes.length -= (size_t)count;
	}
	return 0;
}

/* Appends what the file has at `*offset`, as far as a piece goes. Sets `*is_end` at its end. */
static int read_piece(int fd, struct buffer *piece, uint64_t *offset, bool *is_end)
{
	int error = buffer_reserve(piece, PIECE - piece->length);

	if (error)
		return error;
	while (piece->length < PIECE) {
		ssize_t count = pread(fd, piece->data + piece->length, PIECE - piece->length, (off_t)*offset);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return ERROR_UNAVAILABLE;
		if (count == 0) {
			*is_end = true;
			return 0;
		}
		piece->length += (size_t)count;
		*offset += (uint64_t)count;
	}
	return 0;
}

/* Hands on the whole frames of `piece` and takes them out. Returns whether more are wanted, and could be read. */
static bool hand_on(struct buffer *piece, bool (*each)(void *data, const struct frame *frame), void *data, uint64_t *whole)
{
	struct frame frame;
	size_t at = 0;
	int error;

	while ((error = frame_read((struct slice){piece->data + at, piece->length - at}, &frame)) == 0) {
		at += frame.length;
		*whole += frame.length;
		if (!each(data, &frame))
			return false;
	}
	buffer_consume(piece, at);
	return error == ERROR_PENDING;
}

int segment_scan(int fd, bool (*each)(void *data, const struct frame *frame), void *data, uint64_t *whole, uint64_t *size)
{
	struct buffer piece;
	uint64_t offset = 0, sum = 0;
	bool is_end = false, goes_on = true;

	buffer_init(&piece, PIECE);
	int error = read_piece(fd, &piece, &offset, &is_end);
	if (!error && piece.length >= SEGMENT_HEAD && memcmp(piece.data, SEGMENT_MAGIC, SEGMENT_HEAD) == 0) {
		sum = SEGMENT_HEAD;
		buffer_consume(&piece, SEGMENT_HEAD);
	} else {
		goes_on = false;
	}
	while (!error && goes_on) {
		goes_on = hand_on(&piece, each, data, &sum);
		if (is_end || !goes_on)
			break;
		error = read_piece(fd, &piece, &offset, &is_end);
	}
	buffer_deinit(&piece);
	off_t end = error ? 0 : lseek(fd, 0, SEEK_END);
	if (end < 0)
		error = ERROR_UNAVAILABLE;
	if (error)
		return error;
	*whole = sum;
	*size = (uint64_t)end;
	return 0;
}
