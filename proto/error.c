#include "error.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *name;
	const char *text;
} errors[ERROR_COUNT] = {[0] = {"OK", "no error"},
#define X(name, number, text) [number] = {#name, text},
			 ERROR_TABLE(X)
#undef X
};

static unsigned index_of(int code)
{
	return code <= 0 && code > -ERROR_COUNT ? (unsigned)-code : (unsigned)-ERROR_INTERNAL;
}

const char *error_name(int code)
{
	return errors[index_of(code)].name;
}

const char *error_text(int code)
{
	return errors[index_of(code)].text;
}

int error_parse(const char *text, unsigned long length)
{
	size_t word = 0;

	while (word < length && text[word] != ' ' && text[word] != ':')
		word++;
	for (int i = 1; i < ERROR_COUNT; i++)
		if (strlen(errors[i].name) == word && memcmp(errors[i].name, text, word) == 0)
			return -i;
	return ERROR_PROTOCOL;
}
