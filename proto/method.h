/* The one table of methods: dispatcher, `hello`, help and completion read it. */
#ifndef PROTO_METHOD_H
#define PROTO_METHOD_H

#include <stddef.h>

enum method_caller { METHOD_ANYONE, METHOD_ADMIN };

/* X(name, who may call it, what it does) */
#define METHOD_TABLE(X)                                                                                                     \
	X(hello, METHOD_ANYONE, "version, limits and methods of the daemon")                                                \
	X(ping, METHOD_ANYONE, "nothing but a response")                                                                    \
	X(get_or_generate, METHOD_ANYONE, "an answer: from the cache, or else from the model")                              \
	X(lookup, METHOD_ANYONE, "an answer if the cache has one; the model is never asked")                                \
	X(add, METHOD_ADMIN, "stores an answer")                                                                            \
	X(invalidate, METHOD_ADMIN, "removes entries by entry, question, tag or namespace")                                 \
	X(show, METHOD_ANYONE, "one entry with everything known of it")                                                     \
	X(list, METHOD_ANYONE, "the entries of a namespace, by expiry")                                                     \
	X(explain, METHOD_ANYONE, "why an answer was served, or would be")                                                  \
	X(feedback, METHOD_ANYONE, "says whether an entry's answer was right for a question")                               \
	X(watch, METHOD_ANYONE, "each decision by meaning as it is made, until cancelled")                                  \
	X(stats, METHOD_ANYONE, "counters, gauges and latencies")                                                           \
	X(health, METHOD_ANYONE, "which parts work, and since when")                                                        \
	X(flush, METHOD_ADMIN, "removes everything in a namespace, or in all")                                              \
	X(reload, METHOD_ADMIN, "reads the configuration again")                                                            \
	X(drain, METHOD_ADMIN, "finishes what is in flight and ends the daemon")                                            \
	X(config, METHOD_ADMIN, "every setting in force and where it comes from")

enum method {
#define X(name, caller, text) METHOD_##name,
	METHOD_TABLE(X)
#undef X
		METHOD_COUNT
};

/* Finds the method called `name` (`length` bytes). Returns it, or METHOD_COUNT. */
enum method method_find(const void *name, size_t length);

/* Returns the wire's name of `method`, a constant. */
const char *method_name(enum method method);

/* Returns one line on `method`, a constant. */
const char *method_text(enum method method);

/* Returns who may call `method`. */
enum method_caller method_caller(enum method method);

#endif
