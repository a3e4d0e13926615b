/* The limits of the wire that no configuration changes; `hello` tells them. */
#ifndef PROTO_LIMITS_H
#define PROTO_LIMITS_H

/* X(name, value, unit and meaning) */
#define LIMIT_TABLE(X)                                                                                                      \
	X(DEPTH, 32, "arrays and maps inside each other in one message")                                                    \
	X(CHUNK_BYTES, 16384, "bytes of text in one chunk")                                                                 \
	X(NAMESPACE_BYTES, 64, "bytes of a namespace's name")                                                               \
	X(TAG_BYTES, 64, "bytes of a tag")                                                                                  \
	X(TAGS, 16, "tags of one entry")                                                                                    \
	X(CONTEXT_BYTES, 256, "bytes of a context label")                                                                   \
	X(MODEL_BYTES, 256, "bytes of a model's name")                                                                      \
	X(MAP_KEYS, 1024, "keys of one map in parameters or a message")                                                     \
	X(LIST, 1000, "entries in one answer to list")                                                                      \
	X(TTL_S, 31536000, "seconds an entry may live")                                                                     \
	X(TIMEOUT_MS, 3600000, "milliseconds a request may wait")

enum limit {
#define X(name, value, text) LIMIT_##name = (value),
	LIMIT_TABLE(X)
#undef X
};

/* The largest request id: integers up to 2^53 survive every client's number type (RFC 8259, section 6). */
#define LIMIT_ID (UINT64_C(1) << 53)

#endif
