/* Any bytes as a file of labelled questions: either every row names texts that are there, or there is a line that says what
 * is wrong, with its number. */
#include "daemon/evaluate_set.h"
#include "proto/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MOST 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void use(const struct evaluate_set *set)
{
	if (set->row_count == 0 || set->row_count > ROWS_MOST)
		abort();
	for (size_t i = 0; i < set->row_count; i++) {
		const struct evaluate_row *row = &set->rows[i];
		if (row->asked >= set->text_count || row->stored >= set->text_count)
			abort();
		if (set->kind == EVALUATE_STREAM && row->class >= set->class_count)
			abort();
	}
	for (size_t i = 0; i < set->text_count; i++)
		if (set->texts[i].length == 0 || memchr(set->texts[i].data, '\t', set->texts[i].length))
			abort();
}

static void use_halves(const struct evaluate_set *set)
{
	size_t rows = 0;

	for (enum evaluate_half half = EVALUATE_EVEN; half <= EVALUATE_ODD; half++) {
		struct evaluate_set *part;
		uint32_t *of;
		if (evaluate_set_half(set, half, &part, &of) != 0)
			abort();
		for (size_t i = 0; i < part->text_count; i++)
			if (!slice_equal(part->texts[i], set->texts[of[i]]))
				abort();
		rows += part->row_count;
		evaluate_set_destroy(part);
		free(of);
	}
	if (rows != set->row_count)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct evaluate_set *set = NULL;
	char mistake[200] = "";
	int error = evaluate_set_read((struct slice){(const char *)bytes, length}, ROWS_MOST, &set, mistake,
				      sizeof(mistake));

	if (error == 0) {
		use(set);
		if (set->kind == EVALUATE_STREAM && set->has_parity)
			use_halves(set);
	} else if ((error != ERROR_INVALID && error != ERROR_TOO_LARGE) || mistake[0] < '1' || mistake[0] > '9') {
		abort();
	}
	evaluate_set_destroy(set);
	return 0;
}
