/* A reply is {data: [{index, embedding}]}, embedding a base64 text of little-endian float32 or an array of numbers.
 * What can go wrong is that it is anything else; nothing of it is used then. */
#include "embeddings.h"

#include "../proto/error.h"
#include "json.h"

#include <endian.h>
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int embeddings_write(struct buffer *body, const struct embeddings_request *request)
{
	int error = buffer_printf(body, "{\"model\":");
	bool nul;

	if (!error)
		error = json_write_text(body, request->model);
	if (!error && request->base64)
		error = buffer_printf(body, ",\"encoding_format\":\"base64\"");
	if (!error && request->dimensions)
		error = buffer_printf(body, ",\"dimensions\":%u", request->dimensions);
	if (!error)
		error = buffer_printf(body, ",\"input\":[");
	for (size_t i = 0; i < request->count && !error; i++) {
		if (!slice_is_utf8(request->texts[i], &nul))
			return ERROR_INVALID;
		if (i > 0)
			error = buffer_append(body, ",", 1);
		if (!error)
			error = json_write_text(body, request->texts[i]);
	}
	return error ? error : buffer_append(body, "]}", 2);
}

/* Takes the floats out of `bytes`. */
static int read_base64(struct slice text, float **vector, size_t *length)
{
	unsigned char *bytes;
	size_t size;
	int error = json_base64(text, &bytes, &size);

	if (error)
		return error;
	float *floats = size % 4 == 0 ? malloc(size) : NULL;
	if (!floats) {
		free(bytes);
		return size % 4 == 0 ? ERROR_MEMORY : ERROR_INVALID;
	}
	for (size_t i = 0; i < size / 4; i++) {
		uint32_t bits;
		memcpy(&bits, bytes + 4 * i, sizeof(bits));
		bits = le32toh(bits);
		memcpy(&floats[i], &bits, sizeof(bits));
	}
	free(bytes);
	*vector = floats;
	*length = size / 4;
	return 0;
}

static int read_numbers(struct json_object *array, float **vector, size_t *length)
{
	size_t count = json_object_array_length(array);

	if (count == 0 || count > EMBEDDINGS_DIMENSIONS)
		return ERROR_INVALID;
	float *floats = malloc(count * sizeof(*floats));
	if (!floats)
		return ERROR_MEMORY;
	for (size_t i = 0; i < count; i++) {
		struct json_object *number = json_object_array_get_idx(array, i);
		if (!json_object_is_type(number, json_type_double) && !json_object_is_type(number, json_type_int)) {
			free(floats);
			return ERROR_INVALID;
		}
		floats[i] = (float)json_object_get_double(number);
	}
	*vector = floats;
	*length = count;
	return 0;
}

/* Scales to unit length; false if there is none. */
static bool scale(float *vector, size_t length)
{
	double sum = 0;

	for (size_t i = 0; i < length; i++) {
		if (!isfinite(vector[i]))
			return false;
		sum += (double)vector[i] * (double)vector[i];
	}
	if (!(sum > 0) || !isfinite(sum))
		return false;
	double factor = 1 / sqrt(sum);
	for (size_t i = 0; i < length; i++)
		vector[i] = (float)((double)vector[i] * factor);
	return true;
}

/* One element of data. Returns 0 with `*vector` the receiver's. */
static int read_vector(struct json_object *element, unsigned dimensions, float **vector, unsigned *length, const char **why)
{
	struct json_object *embedding = json_member(element, "embedding");
	float *floats = NULL;
	size_t count = 0;
	int error = ERROR_INVALID;

	if (json_object_is_type(embedding, json_type_string))
		error = read_base64(json_text(element, "embedding"), &floats, &count);
	else if (json_object_is_type(embedding, json_type_array))
		error = read_numbers(embedding, &floats, &count);
	if (error == ERROR_MEMORY)
		return error;
	if (error)
		*why = "an embedding that is neither base64 nor numbers";
	else if (count == 0 || count > EMBEDDINGS_DIMENSIONS || (dimensions && count != dimensions))
		*why = "a vector of another length";
	else if (!scale(floats, count))
		*why = "a vector with NaN, or of length zero";
	else {
		*vector = floats;
		*length = (unsigned)count;
		return 0;
	}
	free(floats);
	return ERROR_UPSTREAM;
}

/* Reads all elements into `vectors`, which are NULL at first. */
static int read_data(struct json_object *data, size_t count, unsigned dimensions, float **vectors, unsigned *length,
		     const char **why)
{
	if (!json_object_is_type(data, json_type_array) || json_object_array_length(data) != count) {
		*why = "not one embedding for each text";
		return ERROR_UPSTREAM;
	}
	for (size_t i = 0; i < count; i++) {
		struct json_object *element = json_object_array_get_idx(data, i);
		struct json_object *index = json_member(element, "index");
		int64_t place = json_object_is_type(index, json_type_int) ? json_object_get_int64(index) : (int64_t)i;
		if (place < 0 || (uint64_t)place >= count || vectors[place]) {
			*why = "a wrong index";
			return ERROR_UPSTREAM;
		}
		int error = read_vector(element, dimensions, &vectors[place], &dimensions, why);
		if (error)
			return error;
	}
	*length = dimensions;
	return 0;
}

int embeddings_read(struct json_tokener *tokener, struct slice reply, size_t count, unsigned dimensions, float **vectors,
		    unsigned *length, const char **why)
{
	float **found = calloc(count ? count : 1, sizeof(*found));
	struct json_object *root = json_read(tokener, reply);
	int error = 0;

	if (!found) {
		error = ERROR_MEMORY;
	} else if (!root) {
		*why = "a reply that is no JSON";
		error = ERROR_UPSTREAM;
	} else {
		error = read_data(json_member(root, "data"), count, dimensions, found, length, why);
	}
	(void)json_object_put(root);
	for (size_t i = 0; found && i < count; i++) {
		if (error)
			free(found[i]);
		else
			vectors[i] = found[i];
	}
	free(found);
	return error;
}
