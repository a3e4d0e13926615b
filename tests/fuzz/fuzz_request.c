/* Reads the input as one message, as a connection does. Whatever it is, the outcome is one of those that the headers
 * name, the same twice, and points nowhere but into the message. */
#include "proto/request.h"
#include "proto/scanner.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_inside(struct slice message, struct slice part)
{
	if (part.data && part.length)
		check(part.data >= message.data && part.data + part.length <= message.data + message.length);
}

static void check_request(struct slice message, const struct request *request)
{
	const struct slice parts[] = {request->prompt,   request->messages, request->model,  request->parameters,
				      request->question, request->context,  request->answer, request->entry,
				      request->tag,      request->after,    request->client};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		check_inside(message, parts[i]);
	check(request->tag_count <= LIMIT_TAGS);
	for (size_t i = 0; i < request->tag_count; i++) {
		check_inside(message, request->tags[i]);
		check(request_name_valid(request->tags[i]));
	}
	check(request_name_valid(request->namespace));
	check(request->ttl_s <= LIMIT_TTL_S && request->max_age_s <= LIMIT_TTL_S && request->limit <= LIMIT_LIST);
	check(request->threshold >= -1.0 && request->threshold <= 1.0);
}

static void check_fault(int code, const struct fault *fault)
{
	char out[FAULT_BYTES];
	bool nul;
	unsigned long length = fault_format(fault, out, sizeof(out));

	check(code == fault->code);
	check(length == strlen(out) && length < sizeof(out) - 1);
	check(slice_is_utf8(slice_of(out), &nul));
	check(error_parse(out, length) == code);
}

/* Reads `message` and returns the outcome's code. */
static int read_once(struct slice message, bool scanned)
{
	struct request request;
	struct fault fault;
	struct slice params;
	enum message_kind kind;
	bool id_known;
	int error = request_read_head(message, &request, &kind, &params, &id_known, &fault);

	check(!id_known || request.id <= LIMIT_ID);
	if (error) {
		check(error == ERROR_PROTOCOL || error == ERROR_INVALID || error == ERROR_UNKNOWN_METHOD);
		check(id_known == (error != ERROR_PROTOCOL));
		check_fault(error, &fault);
		return error;
	}
	if (kind != MESSAGE_REQUEST)
		return 0;
	check(id_known && request.method < METHOD_COUNT);
	check_inside(message, params);
	error = request_read_params(params, &request, &fault);
	if (error) {
		check(error == ERROR_INVALID || error == ERROR_TOO_LARGE);
		check_fault(error, &fault);
	} else if (scanned) {
		check_request(message, &request);
	}
	return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice message = {(const char *)data, size};
	struct scanner scanner;
	size_t end;

	scanner_init(&scanner, 1u << 20);
	bool scanned = scanner_scan(&scanner, data, size, &end) == 0;
	if (scanned)
		message.length = end;
	check(read_once(message, scanned) == read_once(message, scanned));
	return 0;
}
