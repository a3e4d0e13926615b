/* Whatever stands in a segment of the log of decisions: what is whole before the first damage is read, and can be purged. */
#include "daemon/decisions_private.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
	struct purges purges;
	uint64_t bytes;
	size_t count;
};

static bool read_frame(void *data, const struct frame *frame)
{
	struct reading *reading = data;

	assert(frame->body.length > 0 && frame->body.length <= RECORD_MOST);
	assert(frame->length == FRAME_HEAD + frame->body.length);
	bool goes = purges_match(&reading->purges, frame->body, frame->sequence, 0);
	assert(!goes || frame->sequence < 1000);
	reading->bytes += frame->length;
	reading->count++;
	return true;
}

static void read_file(const void *bytes, size_t length, struct reading *reading)
{
	int fd = memfd_create("segment", MFD_CLOEXEC);
	uint64_t whole, file_size;

	if (fd < 0)
		return;
	if (segment_write(fd, (struct slice){bytes, length}) == 0 &&
	    segment_scan(fd, read_frame, reading, &whole, &file_size) == 0) {
		assert(file_size == length && whole <= file_size);
		assert(reading->count == 0 || whole == SEGMENT_HEAD + reading->bytes);
	}
	(void)close(fd);
}

/* The input as bodies of frames that are whole: each a length in two bytes, then its bytes; what is left stands behind them
 * as it is. */
static void make_file(const uint8_t *data, size_t size, struct buffer *file)
{
	(void)buffer_append(file, SEGMENT_MAGIC, SEGMENT_HEAD);
	for (uint64_t sequence = 1; size > 2; sequence++) {
		size_t length = ((size_t)data[0] << 8 | data[1]) & 0x3fff;
		data += 2;
		size -= 2;
		if (length == 0 || length > size)
			break;
		const struct frame frame = {.request = sequence, .at_ms = sequence, .body = {(const char *)data, length}};
		(void)frame_seal(file, &frame, sequence);
		data += length;
		size -= length;
	}
	(void)buffer_append(file, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char entry[IDENTITY_BYTES] = {1};
	struct reading reading = {0};
	struct buffer file;

	if (size == 0)
		return 0;
	purges_add(&reading.purges, PURGE_ENTRY, SLICE("default"), (struct slice){entry, sizeof(entry)}, 1000);
	purges_add(&reading.purges, PURGE_TAG, SLICE("default"), SLICE("office"), 1000);
	purges_add(&reading.purges, PURGE_NAMESPACE, SLICE("other"), (struct slice){0}, 1000);
	buffer_init(&file, 1 << 22);
	if (data[0] & 1)
		(void)buffer_append(&file, data + 1, size - 1);
	else
		make_file(data + 1, size - 1, &file);
	read_file(file.data, file.length, &reading);
	buffer_deinit(&file);
	purges_clear(&reading.purges);
	return 0;
}
