/* What waits to be removed from the log, by namespace, tag or entry. All goes well: a record's namespace, tags and entries
 * are looked up one after the other. What can go wrong: no memory, or too many (all of the namespace goes, or everything):
 * rather a record too many is lost than one too many kept. */
#include "decisions_private.h"

#include "../proto/limits.h"

#include <stdlib.h>
#include <string.h>

/* Kind, namespace, NUL, name: names have no NUL, and an entry is the last. */
#define KEY_MOST (1 + LIMIT_NAMESPACE_BYTES + 1 + LIMIT_TAG_BYTES)

_Static_assert(IDENTITY_BYTES <= LIMIT_TAG_BYTES, "an entry fits where a tag does");

/* Returns the length, or 0 for what can be no key. */
static size_t make_key(char key[KEY_MOST], enum purge_kind kind, struct slice namespace, struct slice name)
{
	size_t length = 0;

	if (namespace.length > LIMIT_NAMESPACE_BYTES || name.length > LIMIT_TAG_BYTES)
		return 0;
	key[length++] = (char)kind;
	memcpy(key + length, namespace.data, namespace.length);
	length += namespace.length;
	key[length++] = 0;
	if (name.length)
		memcpy(key + length, name.data, name.length);
	return length + name.length;
}

static struct purge *find(const struct purges *purges, const char *key, size_t length)
{
	struct purge *purge = NULL;

	HASH_FIND(hh, purges->set, key, length, purge);
	return purge;
}

static void remove_one(struct purges *purges, struct purge *purge)
{
	HASH_DEL(purges->set, purge);
	free(purge);
}

static void clear_set(struct purges *purges)
{
	struct purge *purge, *next;

	HASH_ITER (hh, purges->set, purge, next)
		remove_one(purges, purge);
}

static void add_all(struct purges *purges, uint64_t before)
{
	/* What was to go before has a smaller number. */
	clear_set(purges);
	purges->all_before = before;
}

/* Returns whether there was memory for it. */
static bool add_key(struct purges *purges, const char *key, size_t length, uint64_t before)
{
	struct purge *purge = find(purges, key, length);

	if (purge) {
		purge->before = before;
		return true;
	}
	purge = malloc(sizeof(*purge) + length);
	if (!purge)
		return false;
	*purge = (struct purge){.before = before, .length = length};
	memcpy(purge->key, key, length);
	HASH_ADD_KEYPTR(hh, purges->set, purge->key, length, purge);
	if (purge->hh.tbl)
		return true;
	free(purge);
	return false;
}

/* Everything of this namespace, in place of what was to go of it. */
static bool add_namespace(struct purges *purges, struct slice namespace, uint64_t before)
{
	char key[KEY_MOST];
	struct purge *purge, *next;
	size_t length = make_key(key, PURGE_NAMESPACE, namespace, (struct slice){0});

	/* The kind aside, keys of one namespace begin alike. */
	HASH_ITER (hh, purges->set, purge, next)
		if (purge->length >= length && memcmp(purge->key + 1, key + 1, length - 1) == 0)
			remove_one(purges, purge);
	return HASH_COUNT(purges->set) < PURGES_MOST && add_key(purges, key, length, before);
}

void purges_add(struct purges *purges, enum purge_kind kind, struct slice namespace, struct slice name, uint64_t before)
{
	char key[KEY_MOST];

	size_t length = namespace.data ? make_key(key, kind, namespace, name) : 0;
	if (length == 0) {
		add_all(purges, before);
		return;
	}
	bool has_room = HASH_COUNT(purges->set) < PURGES_MOST || find(purges, key, length);
	if (kind != PURGE_NAMESPACE && has_room && add_key(purges, key, length, before))
		return;
	if (!add_namespace(purges, namespace, before))
		add_all(purges, before);
}

bool purges_empty(const struct purges *purges)
{
	return !purges->set && purges->all_before == 0;
}

struct looking {
	const struct purges *purges;
	uint64_t sequence, base;
};

static bool is_meant(void *data, enum purge_kind kind, struct slice namespace, struct slice name)
{
	const struct looking *looking = data;
	char key[KEY_MOST];
	size_t length = make_key(key, kind, namespace, name);
	const struct purge *purge = length ? find(looking->purges, key, length) : NULL;

	return purge && looking->sequence < looking->base + purge->before;
}

bool purges_match(const struct purges *purges, struct slice record, uint64_t sequence, uint64_t base)
{
	struct looking looking = {.purges = purges, .sequence = sequence, .base = base};

	if (purges->all_before && sequence < base + purges->all_before)
		return true;
	return purges->set && record_walk(record, is_meant, &looking);
}

void purges_clear(struct purges *purges)
{
	clear_set(purges);
	purges->all_before = 0;
}
