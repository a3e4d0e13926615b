#include "comparison.h"

#include "index.h"

#include "../proto/error.h"

#include <math.h>
#include <stdlib.h>

static const char *const outcomes[] = {
#define X(name) [COMPARISON_##name] = #name,
	COMPARISON_TABLE(X)
#undef X
};

const char *comparison_outcome_name(enum comparison_outcome outcome)
{
	return outcomes[outcome];
}

static int embed(struct comparison *comparison, size_t which);

static void finish(struct comparison *comparison, int error)
{
	free(comparison->vector);
	comparison->vector = NULL;
	comparison->done(comparison, error);
}

static void first_came(struct embedding *embedding, int error)
{
	struct comparison *comparison = embedding->data;

	comparison->is_embedding = false;
	if (!error) {
		comparison->vector = embedding->vector;
		comparison->dimensions = embedding->dimensions;
		error = embed(comparison, 1);
	}
	if (error)
		finish(comparison, ERROR_UNAVAILABLE);
}

static void second_came(struct embedding *embedding, int error)
{
	struct comparison *comparison = embedding->data;

	comparison->is_embedding = false;
	if (!error && embedding->dimensions == comparison->dimensions) {
		comparison->similarity = index_cosine(comparison->vector, embedding->vector, embedding->dimensions);
		comparison->outcome = comparison->similarity >= comparison->threshold ? COMPARISON_same
										      : COMPARISON_different;
	} else {
		error = ERROR_UNAVAILABLE;
	}
	free(embedding->vector);
	finish(comparison, error);
}

static int embed(struct comparison *comparison, size_t which)
{
	comparison->embedding = (struct embedding){
		.done = which == 0 ? first_came : second_came,
		.data = comparison,
		.text = comparison_trim(comparison->texts[which]),
	};
	int error = embedding_start(comparison->embedder, &comparison->embedding);
	comparison->is_embedding = error == 0;
	return error;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice comparison_trim(struct slice text)
{
	while (text.length > 0 && is_blank(text.data[0]))
		text = (struct slice){text.data + 1, text.length - 1};
	while (text.length > 0 && is_blank(text.data[text.length - 1]))
		text.length--;
	return text;
}

int comparison_start(struct comparison *comparison, struct embedder *embedder)
{
	struct slice a = comparison_trim(comparison->texts[0]), b = comparison_trim(comparison->texts[1]);

	comparison->similarity = (double)NAN;
	comparison->outcome = COMPARISON_not_comparable;
	if (a.length > comparison->max_bytes || b.length > comparison->max_bytes)
		return 1;
	if (slice_equal(a, b)) {
		comparison->outcome = COMPARISON_same;
		comparison->similarity = 1;
		return 1;
	}
	if (!embedder || a.length == 0 || b.length == 0)
		return 1;
	comparison->embedder = embedder;
	return embed(comparison, 0);
}

void comparison_cancel(struct comparison *comparison)
{
	if (comparison->is_embedding)
		embedding_cancel(&comparison->embedding);
	comparison->is_embedding = false;
	free(comparison->vector);
	comparison->vector = NULL;
}
