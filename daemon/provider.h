/* The dialect of a chat service: how a question becomes a request's body, and what its events, answers and errors say.
 * A new dialect is one file that fills a struct provider_ops; it does no I/O and knows no queue. */
#ifndef DAEMON_PROVIDER_H
#define DAEMON_PROVIDER_H

#include "upstream.h"

struct json_tokener;

/* What an answer has said so far; starts zeroed. */
struct provider_reading {
	char finish_reason[32];
	char model[128];
	struct chat_usage usage;
	bool ended;    /* the mark that nothing more comes was seen */
	bool not_text; /* it holds what a text cannot carry (tool calls, a refusal, a second choice): never complete */
};

struct provider_ops {
	const char *name;
	const char *chat_path;  /* behind the base URL */
	const char *probe_path; /* a GET that costs nothing */

	/* Appends the body of a streamed chat request. Returns 0, or ERROR_INVALID, ERROR_TOO_LARGE or ERROR_MEMORY with
	 * `fault` filled. */
	int (*write_chat)(struct buffer *body, const struct chat_question *question, struct fault *fault);

	/* Reads one event's data: appends the bytes it adds to the answer to `text` (they may end within a character) and
	 * notes the rest in `reading`. Returns 0, or ERROR_UPSTREAM with `fault` filled: an error of the service, or
	 * nonsense. */
	int (*read_event)(struct provider_reading *reading, struct json_tokener *tokener, struct slice data,
			  struct buffer *text, struct fault *fault);

	/* The same for a whole answer that was not streamed; `reading` is then ended. */
	int (*read_whole)(struct provider_reading *reading, struct json_tokener *tokener, struct slice body,
			  struct buffer *text, struct fault *fault);

	/* Writes the message in the body of an error response into `out` (of `size` bytes), "" if it has none. */
	void (*read_error)(struct json_tokener *tokener, struct slice body, char *out, size_t size);
};

#endif
