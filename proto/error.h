/* The one table of errors: what the wire calls them, what the library returns, what the daemon's own functions return. */
#ifndef PROTO_ERROR_H
#define PROTO_ERROR_H

/* X(name, number, what it means). The number is also the client library's (negative) return value, so it never changes. */
#define ERROR_TABLE(X)                                                                                                      \
	X(INVALID, 1, "the request is wrong; the field names the place")                                                    \
	X(TOO_LARGE, 2, "over a limit; the limit is named")                                                                 \
	X(UNKNOWN_METHOD, 3, "no such method")                                                                              \
	X(DUPLICATE_ID, 4, "the id is still in use on this connection")                                                     \
	X(BUSY, 5, "too much in flight; try again after retry_ms")                                                          \
	X(QUOTA, 6, "a budget of the operator is used up")                                                                  \
	X(DENIED, 7, "the caller may not do this")                                                                          \
	X(NOT_FOUND, 8, "no such entry, or no answer without asking a model")                                               \
	X(TIMEOUT, 9, "the caller's own deadline passed")                                                                   \
	X(CANCELLED, 10, "cancelled by the caller")                                                                         \
	X(UPSTREAM, 11, "the model's service failed; kind and status say how")                                              \
	X(UNAVAILABLE, 12, "a part that is needed is not there")                                                            \
	X(DRAINING, 13, "the daemon is ending; ask its successor")                                                          \
	X(INTERNAL, 14, "a fault of the daemon")                                                                            \
	X(MEMORY, 15, "out of memory")                                                                                      \
	X(CONNECT, 16, "the daemon cannot be reached")                                                                      \
	X(CLOSED, 17, "the connection ended before the response")                                                           \
	X(PROTOCOL, 18, "the peer does not speak this protocol")                                                            \
	X(PENDING, 19, "not there yet")

enum error_code {
	ERROR_NONE = 0,
#define X(name, number, text) ERROR_##name = -(number),
	ERROR_TABLE(X)
#undef X
};

/* One more than the largest number of the table: the size of an array indexed by -code. */
#define ERROR_COUNT 20

/* Returns the wire's name of `code` ("INVALID"; "OK" for 0), a constant. Unknown codes give "INTERNAL". */
const char *error_name(int code);

/* Returns one sentence on `code`, a constant. */
const char *error_text(int code);

/* Returns the code whose wire name is the first word of `text` (`length` bytes), or ERROR_PROTOCOL. */
int error_parse(const char *text, unsigned long length);

#endif
