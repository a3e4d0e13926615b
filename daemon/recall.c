#include "recall.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SLOTS 4096u

struct remembered {
	uint64_t hash;
	size_t length;
	struct recalled recalled;
	char params[];
};

struct recall {
	uint64_t seed;
	size_t bytes, max_bytes;
	unsigned hand; /* the slot that makes room next */
	struct remembered *slots[SLOTS];
};

static uint64_t hash_of(const struct recall *recall, struct slice params)
{
	return XXH3_64bits_withSeed(params.data, params.length, recall->seed);
}

struct recall *recall_create(size_t max_bytes)
{
	struct recall *recall = calloc(1, sizeof(*recall));

	if (!recall)
		return NULL;
	recall->max_bytes = max_bytes;
	if (getrandom(&recall->seed, sizeof(recall->seed), 0) != (ssize_t)sizeof(recall->seed)) {
		free(recall);
		return NULL;
	}
	return recall;
}

void recall_destroy(struct recall *recall)
{
	if (!recall)
		return;
	recall_clear(recall);
	free(recall);
}

static void slot_empty(struct recall *recall, unsigned slot)
{
	struct remembered *old = recall->slots[slot];

	if (!old)
		return;
	recall->bytes -= sizeof(*old) + old->length;
	recall->slots[slot] = NULL;
	free(old);
}

const struct recalled *recall_get(const struct recall *recall, struct slice params)
{
	if (params.length > RECALL_PARAMS_MOST)
		return NULL;
	uint64_t hash = hash_of(recall, params);
	const struct remembered *found = recall->slots[hash % SLOTS];
	if (!found || found->hash != hash || found->length != params.length ||
	    memcmp(found->params, params.data, params.length) != 0)
		return NULL;
	return &found->recalled;
}

void recall_put(struct recall *recall, struct slice params, const struct recalled *recalled)
{
	size_t bytes = sizeof(struct remembered) + params.length;

	if (params.length > RECALL_PARAMS_MOST || bytes > recall->max_bytes)
		return;
	uint64_t hash = hash_of(recall, params);
	slot_empty(recall, (unsigned)(hash % SLOTS));
	while (recall->bytes > recall->max_bytes - bytes)
		slot_empty(recall, recall->hand++ % SLOTS);
	struct remembered *new = malloc(bytes);
	if (!new)
		return;
	*new = (struct remembered){.hash = hash, .length = params.length, .recalled = *recalled};
	memcpy(new->params, params.data, params.length);
	recall->slots[hash % SLOTS] = new;
	recall->bytes += bytes;
}

void recall_clear(struct recall *recall)
{
	for (unsigned slot = 0; slot < SLOTS; slot++)
		slot_empty(recall, slot);
}
