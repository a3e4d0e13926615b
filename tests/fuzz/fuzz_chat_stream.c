/* Any bytes as a service's answer: as a stream of events in pieces, as a whole answer, as the body of an error. */
#include "daemon/json.h"
#include "daemon/openai.h"
#include "daemon/provider.h"
#include "daemon/sse.h"
#include "proto/error.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

struct listener {
	struct json_tokener *tokener;
	struct provider_reading reading;
	struct buffer text;
};

static void check_text(const char *text, size_t size)
{
	bool nul;

	if (strlen(text) >= size || !slice_is_utf8(slice_of(text), &nul))
		abort();
	for (; *text; text++)
		if ((unsigned char)*text < 0x20)
			abort();
}

static void check(const struct listener *listener, int error, const struct fault *fault)
{
	if (error && (fault->code != error || error != ERROR_UPSTREAM || strncmp(fault->detail, "", 1) == 0))
		abort();
	if (error)
		check_text(fault->text, sizeof(fault->text));
	check_text(listener->reading.finish_reason, sizeof(listener->reading.finish_reason));
	check_text(listener->reading.model, sizeof(listener->reading.model));
}

static int on_event(void *context, struct slice data)
{
	struct listener *listener = context;
	struct fault fault;

	int error = openai_ops.read_event(&listener->reading, listener->tokener, data, &listener->text, &fault);
	check(listener, error, &fault);
	return error ? error : listener->reading.ended;
}

static void as_stream(struct listener *listener, struct slice bytes, size_t step)
{
	struct sse sse;
	int error = 0;

	sse_init(&sse, 2 * MAX_TEXT);
	while (bytes.length > 0 && !error) {
		size_t piece = step < bytes.length ? step : bytes.length;
		error = sse_feed(&sse, (struct slice){bytes.data, piece}, on_event, listener);
		bytes = (struct slice){bytes.data + piece, bytes.length - piece};
	}
	if (!error)
		(void)sse_end(&sse, on_event, listener);
	sse_deinit(&sse);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct listener listener = {.tokener = json_tokener_create()};
	struct fault fault;
	char message[100];

	if (!listener.tokener)
		abort();
	if (length < 1) {
		json_tokener_free(listener.tokener);
		return 0;
	}
	struct slice answer = {(const char *)bytes + 1, length - 1};
	buffer_init(&listener.text, MAX_TEXT);
	as_stream(&listener, answer, 1 + bytes[0]);
	listener.text.length = 0;
	listener.reading = (struct provider_reading){.ended = false};
	int error = openai_ops.read_whole(&listener.reading, listener.tokener, answer, &listener.text, &fault);
	check(&listener, error, &fault);
	openai_ops.read_error(listener.tokener, answer, message, sizeof(message));
	check_text(message, sizeof(message));
	buffer_deinit(&listener.text);
	json_tokener_free(listener.tokener);
	return 0;
}
