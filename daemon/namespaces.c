#include "namespaces.h"

#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct counted {
	struct table_node node; /* first: the table gives this */
	struct counted *next;
	struct namespace_count count;
	size_t length;
	char name[];
};

struct namespaces {
	struct table table;
	struct counted *all;
	size_t count;
	struct namespace_count rest;
};

struct namespaces *namespaces_create(void)
{
	struct namespaces *namespaces = calloc(1, sizeof(*namespaces));

	if (!namespaces)
		return NULL;
	namespaces->rest.is_rest = true;
	if (table_init(&namespaces->table, 0) != 0) {
		free(namespaces);
		return NULL;
	}
	return namespaces;
}

void namespaces_destroy(struct namespaces *namespaces)
{
	struct counted *counted, *next;

	if (!namespaces)
		return;
	table_deinit(&namespaces->table);
	LL_FOREACH_SAFE (namespaces->all, counted, next)
		free(counted);
	free(namespaces);
}

struct namespace_count *namespaces_get(struct namespaces *namespaces, struct slice name)
{
	struct counted *counted = (struct counted *)(void *)table_find(&namespaces->table, name.data, name.length);

	if (counted)
		return &counted->count;
	if (namespaces->count == NAMESPACES_COUNTED)
		return &namespaces->rest;
	counted = calloc(1, sizeof(*counted) + name.length);
	if (!counted)
		return &namespaces->rest;
	counted->length = name.length;
	memcpy(counted->name, name.data, name.length);
	if (table_add(&namespaces->table, &counted->node, counted->name, counted->length) != 0) {
		free(counted);
		return &namespaces->rest;
	}
	LL_PREPEND(namespaces->all, counted);
	namespaces->count++;
	return &counted->count;
}

size_t namespaces_each(const struct namespaces *namespaces,
		       void (*each)(void *data, struct slice name, const struct namespace_count *count), void *data)
{
	const struct counted *counted;

	LL_FOREACH (namespaces->all, counted)
		each(data, (struct slice){counted->name, counted->length}, &counted->count);
	return namespaces->count;
}
