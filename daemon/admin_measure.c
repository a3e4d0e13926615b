#include "admin_measure.h"

#include "index.h"
#include "service.h"

#include <math.h>
#include <stdlib.h>

static bool find(struct measure *measure);

static void finish(struct measure *measure)
{
	if (measure->vectors[0] && measure->vectors[1] && measure->dimensions[0] == measure->dimensions[1])
		measure->similarity = fmax(
			-1, fmin(1, index_cosine(measure->vectors[0], measure->vectors[1], measure->dimensions[0])));
	for (size_t i = 0; i < 2; i++) {
		free(measure->vectors[i]);
		measure->vectors[i] = NULL;
	}
}

static void came(struct measure *measure, float *vector, unsigned dimensions)
{
	measure->vectors[measure->at] = vector;
	measure->dimensions[measure->at++] = dimensions;
	if (!find(measure))
		measure->done(measure);
}

static void embedding_done(struct embedding *embedding, int error)
{
	struct measure *measure = embedding->data;

	measure->is_embedding = false;
	if (!error) {
		came(measure, embedding->vector, embedding->dimensions);
		return;
	}
	finish(measure);
	measure->done(measure);
}

/* Returns whether the embedder was asked. */
static bool ask(struct measure *measure)
{
	if (!measure->may_ask)
		return false;
	measure->embedding = (struct embedding){
		.done = embedding_done,
		.data = measure,
		.text = measure->texts[measure->at],
	};
	measure->is_embedding = embedding_start(measure->service->embedder, &measure->embedding) == 0;
	return measure->is_embedding;
}

static void read_done(struct store_read *read, int error)
{
	struct measure *measure = read->data;

	if (!error && read->vector) {
		came(measure, read->vector, read->dimensions);
	} else if (!ask(measure)) {
		finish(measure);
		measure->done(measure);
	}
}

/* Looks for the next vector. Returns whether it is awaited; else all is over. */
static bool find(struct measure *measure)
{
	struct service *service = measure->service;

	if (measure->at < 2) {
		measure->read = (struct store_read){.done = read_done, .data = measure};
		if (service->store && store_find_vector(service->store, &measure->read, &measure->digests[measure->at]) == 0)
			return true;
		if (ask(measure))
			return true;
	}
	finish(measure);
	return false;
}

bool measure_start(struct measure *measure)
{
	measure->similarity = NAN;
	return measure->service->embedder && find(measure);
}

void measure_cancel(struct measure *measure)
{
	store_read_cancel(&measure->read);
	if (measure->is_embedding)
		embedding_cancel(&measure->embedding);
	measure->is_embedding = false;
	finish(measure);
}
