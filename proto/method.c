#include "method.h"

#include <string.h>

static const struct {
	const char *name;
	size_t length;
	enum method_caller caller;
	const char *text;
} methods[METHOD_COUNT] = {
#define X(name, caller, text) {#name, sizeof(#name) - 1, caller, text},
	METHOD_TABLE(X)
#undef X
};

enum method method_find(const void *name, size_t length)
{
	for (int i = 0; i < METHOD_COUNT; i++)
		if (methods[i].length == length && memcmp(methods[i].name, name, length) == 0)
			return (enum method)i;
	return METHOD_COUNT;
}

const char *method_name(enum method method)
{
	return methods[method].name;
}

const char *method_text(enum method method)
{
	return methods[method].text;
}

enum method_caller method_caller(enum method method)
{
	return methods[method].caller;
}
