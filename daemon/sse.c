/* Bytes are cut into lines. A line that lies whole in what came is read in place; only the start of one that goes on in the
 * next bytes is kept. A line adds to the event's data, an empty one hands it out.
 *
 * What can go wrong: a line or an event over the maximum, no memory, or the receiver has had enough. */
#include "sse.h"

#include "../proto/error.h"

#include <string.h>

void sse_init(struct sse *sse, size_t max_bytes)
{
	*sse = (struct sse){.started = false};
	buffer_init(&sse->line, max_bytes);
	buffer_init(&sse->data, max_bytes);
}

void sse_deinit(struct sse *sse)
{
	buffer_deinit(&sse->line);
	buffer_deinit(&sse->data);
}

/* Hands out the event, if there is one. */
static int event_end(struct sse *sse, sse_event *event, void *context)
{
	if (!sse->has_data)
		return 0;
	struct slice data = buffer_slice(&sse->data);
	data.length--; /* the last line's LF */
	int error = event(context, data);
	if (error)
		return error;
	sse->has_data = false;
	sse->data.length = 0;
	return 0;
}

/* One line without its end. */
static int line_end(struct sse *sse, struct slice line, sse_event *event, void *context)
{
	if (!sse->started) {
		sse->started = true;
		if (line.length >= 3 && memcmp(line.data, "\xEF\xBB\xBF", 3) == 0)
			line = (struct slice){line.data + 3, line.length - 3};
	}
	if (line.length == 0)
		return event_end(sse, event, context);

	const char *colon = memchr(line.data, ':', line.length);
	struct slice name = {line.data, colon ? (size_t)(colon - line.data) : line.length};
	struct slice value = {line.data + line.length, 0};
	if (colon)
		value = (struct slice){colon + 1, line.length - name.length - 1};
	if (value.length && value.data[0] == ' ')
		value = (struct slice){value.data + 1, value.length - 1};
	if (!slice_equal(name, SLICE("data")) && !slice_equal(name, SLICE("error")))
		return 0;

	int error = buffer_reserve(&sse->data, value.length + 1);
	if (error)
		return error;
	(void)buffer_append(&sse->data, value.data, value.length);
	(void)buffer_append(&sse->data, "\n", 1);
	sse->has_data = true;
	return 0;
}

/* The rest of a line came: `part` without its end. */
static int line_part(struct sse *sse, struct slice part, sse_event *event, void *context)
{
	if (sse->line.length == 0)
		return line_end(sse, part, event, context);
	int error = buffer_append(&sse->line, part.data, part.length);
	if (!error)
		error = line_end(sse, buffer_slice(&sse->line), event, context);
	if (!error)
		sse->line.length = 0;
	return error;
}

/* Where the first line end in `s` is, or its length. */
static size_t find_line_end(struct slice s)
{
	const char *lf = memchr(s.data, '\n', s.length);
	size_t most = lf ? (size_t)(lf - s.data) : s.length;
	const char *cr = memchr(s.data, '\r', most);

	return cr ? (size_t)(cr - s.data) : most;
}

int sse_feed(struct sse *sse, struct slice bytes, sse_event *event, void *context)
{
	while (bytes.length > 0) {
		if (sse->after_cr) {
			sse->after_cr = false;
			if (bytes.data[0] == '\n') {
				bytes = (struct slice){bytes.data + 1, bytes.length - 1};
				continue;
			}
		}
		size_t end = find_line_end(bytes);
		if (end == bytes.length)
			return buffer_append(&sse->line, bytes.data, bytes.length);
		sse->after_cr = bytes.data[end] == '\r';
		int error = line_part(sse, (struct slice){bytes.data, end}, event, context);
		if (error)
			return error;
		bytes = (struct slice){bytes.data + end + 1, bytes.length - end - 1};
	}
	return 0;
}

int sse_end(struct sse *sse, sse_event *event, void *context)
{
	int error = 0;

	if (sse->line.length > 0)
		error = line_part(sse, (struct slice){"", 0}, event, context);
	return error ? error : event_end(sse, event, context);
}
