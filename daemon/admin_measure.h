/* How alike two texts are, to the embedder in force: from their embeddings that Redis has, or else the embedder itself. */
#ifndef DAEMON_ADMIN_MEASURE_H
#define DAEMON_ADMIN_MEASURE_H

#include "embedder.h"
#include "store.h"

struct service;

/* One measurement, embedded in what waits for it. */
struct measure {
	void (*done)(struct measure *measure); /* similarity is set */
	void *data;
	struct service *service;
	struct slice texts[2];
	struct identity digests[2]; /* of (namespace, text) */
	bool may_ask;               /* the embedder, for what Redis does not have */
	double similarity;          /* NAN = it could not be measured */

	unsigned at; /* the text that is being looked for */
	float *vectors[2];
	unsigned dimensions[2];
	struct store_read read;
	struct embedding embedding;
	bool is_embedding;
};

/* Measures. Returns true if `done` will come, exactly once and not before the return; false if `similarity` is set
 * already. */
bool measure_start(struct measure *measure);

/* Ends it; `done` does not come any more. */
void measure_cancel(struct measure *measure);

#endif
