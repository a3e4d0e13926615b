/* One table of keys writes and reads a certificate. What can go wrong: a key that is missing, or a value that cannot be,
 * which makes the whole text no certificate. */
#include "certificate.h"

#include "../proto/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { REAL, COUNT, WORD };

static const struct {
	const char *key;
	enum kind kind;
	size_t offset, size; /* of a WORD */
} keys[] = {
#define AT(member) offsetof(struct certificate, member)
	{"score_threshold", REAL, AT(calibration.score_threshold), 0},
	{"margin", REAL, AT(calibration.margin), 0},
	{"margin_floor", REAL, AT(calibration.margin_floor), 0},
	{"minimum", REAL, AT(calibration.minimum), 0},
	{"weight", REAL, AT(calibration.weight), 0},
	{"embedder", WORD, AT(embedder), sizeof(((struct certificate *)0)->embedder)},
	{"second_embedder", WORD, AT(second_embedder), sizeof(((struct certificate *)0)->second_embedder)},
	{"scope_rule", WORD, AT(scope_rule), sizeof(((struct certificate *)0)->scope_rule)},
	{"bound", REAL, AT(bound), 0},
	{"confidence", REAL, AT(confidence), 0},
	{"labels", COUNT, AT(labels), 0},
	{"wrong", COUNT, AT(wrong), 0},
	{"created_ms", COUNT, AT(created_ms), 0},
	{"source", WORD, AT(source), sizeof(((struct certificate *)0)->source)},
#undef AT
};

#define KEYS (sizeof(keys) / sizeof(keys[0]))

int certificate_write(const struct certificate *certificate, struct buffer *out)
{
	size_t before = out->length;
	int error = 0;

	for (size_t i = 0; !error && i < KEYS; i++) {
		const void *field = (const char *)certificate + keys[i].offset;
		if (keys[i].kind == REAL)
			error = buffer_printf(out, "%s %.17g\n", keys[i].key, *(const double *)field);
		else if (keys[i].kind == COUNT)
			error = buffer_printf(out, "%s %" PRIu64 "\n", keys[i].key, *(const uint64_t *)field);
		else
			error = buffer_printf(out, "%s %s\n", keys[i].key, (const char *)field);
	}
	/* For whoever reads it: the bound has no other unit. */
	if (!error)
		error = buffer_printf(out, "bound_of hits\n");
	if (!error)
		error = buffer_append(out, "", 1);
	if (error)
		out->length = before;
	return error;
}

static int read_real(const char *text, double *out)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !isfinite(value))
		return ERROR_INVALID;
	*out = value;
	return 0;
}

static int read_count(const char *text, uint64_t *out)
{
	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 19)
		return ERROR_INVALID;
	*out = strtoull(text, NULL, 10);
	return 0;
}

static int read_value(size_t i, struct slice value, struct certificate *certificate)
{
	void *field = (char *)certificate + keys[i].offset;
	char text[64];

	if (value.length >= sizeof(text) || memchr(value.data, '\0', value.length))
		return ERROR_INVALID;
	memcpy(text, value.data, value.length);
	text[value.length] = '\0';
	if (keys[i].kind == REAL)
		return read_real(text, field);
	if (keys[i].kind == COUNT)
		return read_count(text, field);
	if (value.length >= keys[i].size)
		return ERROR_INVALID;
	memcpy(field, text, value.length + 1);
	return 0;
}

int certificate_read(struct slice text, struct certificate *certificate)
{
	struct certificate read = {.bound = 0};
	uint32_t seen = 0;

	while (text.length > 0 && *text.data) {
		const char *end = memchr(text.data, '\n', text.length);
		size_t length = end ? (size_t)(end - text.data) : text.length;
		const char *space = memchr(text.data, ' ', length);
		struct slice key = {text.data, space ? (size_t)(space - text.data) : length};
		struct slice value = {space ? space + 1 : text.data + length, space ? length - key.length - 1 : 0};
		for (size_t i = 0; i < KEYS; i++) {
			if (!slice_equal(slice_of(keys[i].key), key))
				continue;
			if (seen & 1u << i || read_value(i, value, &read) != 0)
				return ERROR_INVALID;
			seen |= 1u << i;
		}
		length += end != NULL;
		text.data += length;
		text.length -= length;
	}
	if (seen != (1u << KEYS) - 1)
		return ERROR_INVALID;
	*certificate = read;
	return 0;
}

const char *certificate_misfit(const struct certificate *certificate, const char *embedder, const char *second_embedder,
			       const char *scope_rule)
{
	if (strcmp(certificate->embedder, embedder) != 0)
		return "embedder";
	if (strcmp(certificate->second_embedder, second_embedder) != 0)
		return "second_embedder";
	if (strcmp(certificate->scope_rule, scope_rule) != 0)
		return "guards";
	return NULL;
}
