/* Any bytes as an embedder's reply: refused with a reason, or unit vectors of one length, one for each text. */
#include "daemon/embeddings.h"
#include "daemon/json.h"
#include "proto/error.h"

#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_vector(const float *vector, unsigned length)
{
	double sum = 0;

	for (unsigned i = 0; i < length; i++)
		sum += (double)vector[i] * (double)vector[i];
	if (!(fabs(sum - 1) < 1e-3))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct json_tokener *tokener = json_tokener_create();
	float *vectors[4];
	unsigned dimensions = 0;
	const char *why = NULL;

	if (!tokener)
		abort();
	if (length < 1) {
		json_tokener_free(tokener);
		return 0;
	}
	size_t count = 1 + bytes[0] % 4;
	unsigned wanted = bytes[0] & 0x80 ? 2 : 0;
	struct slice reply = {(const char *)bytes + 1, length - 1};
	int error = embeddings_read(tokener, reply, count, wanted, vectors, &dimensions, &why);
	if (error && error != ERROR_MEMORY && (error != ERROR_UPSTREAM || !why))
		abort();
	if (!error && (dimensions == 0 || (wanted && dimensions != wanted)))
		abort();
	for (size_t i = 0; i < count && !error; i++) {
		check_vector(vectors[i], dimensions);
		free(vectors[i]);
	}
	json_tokener_free(tokener);
	return 0;
}
