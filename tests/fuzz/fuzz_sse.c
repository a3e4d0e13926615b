/* Any bytes as an event stream: cut anywhere they give the same events, and none is larger than the maximum. */
#include "daemon/sse.h"

#include <stdlib.h>
#include <string.h>

#define MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* The events, each with its length in front. */
static int keep(void *context, struct slice data)
{
	if (data.length > MAX)
		abort();
	if (buffer_append(context, &data.length, sizeof(data.length)) || buffer_append(context, data.data, data.length))
		abort();
	return 0;
}

/* Feeds pieces of `step` bytes, then of the rest. */
static int hear(struct slice stream, size_t step, struct buffer *events)
{
	struct sse sse;
	int error = 0;

	buffer_init(events, 64 << 20);
	sse_init(&sse, MAX);
	while (stream.length > 0 && !error) {
		size_t piece = step < stream.length ? step : stream.length;
		/* A copy of its own, so that reading past the piece is seen. */
		char *copy = malloc(piece);
		if (!copy)
			abort();
		memcpy(copy, stream.data, piece);
		error = sse_feed(&sse, (struct slice){copy, piece}, keep, events);
		free(copy);
		stream = (struct slice){stream.data + piece, stream.length - piece};
	}
	if (!error)
		error = sse_end(&sse, keep, events);
	sse_deinit(&sse);
	return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct buffer whole, cut;

	if (length < 1)
		return 0;
	struct slice stream = {(const char *)bytes + 1, length - 1};
	int first = hear(stream, length, &whole);
	int second = hear(stream, 1 + bytes[0] % 17, &cut);
	/* Whether a line over the maximum is one may depend on the cut only for lines that mean nothing. */
	if (first == 0 && second == 0 && !slice_equal(buffer_slice(&whole), buffer_slice(&cut)))
		abort();
	buffer_deinit(&whole);
	buffer_deinit(&cut);
	return 0;
}
