/*	create → queued → sent → ended → destroy
 *	            ↑       │      ↑
 *	            └ again ┘      └ from either: cancelled, too late, connection lost
 *
 * An id stays in the table for as long as the daemon may respond to it, also when its owner has long been told. */
#include "pending.h"

#include "../proto/error.h"

#include <stdlib.h>
#include <utlist.h>

int pending_init(struct pending_table *table, size_t max)
{
	size_t capacity = 16;

	while (capacity < max)
		capacity *= 2;
	*table = (struct pending_table){.capacity = capacity, .max = max};
	table->slots = calloc(capacity, sizeof(table->slots[0]));
	return table->slots ? 0 : ERROR_MEMORY;
}

static void destroy(struct pending *request)
{
	semcache_result_free(request->result);
	free(request->message);
	free(request);
}

static void destroy_all(struct pending *list)
{
	struct pending *request, *tmp;

	DL_FOREACH_SAFE (list, request, tmp) {
		destroy(request);
	}
}

void pending_deinit(struct pending_table *table)
{
	destroy_all(table->queued);
	destroy_all(table->sent);
	destroy_all(table->ended);
	free(table->slots);
	*table = (struct pending_table){0};
}

static struct pending_slot *slot_of(struct pending_table *table, uint64_t id)
{
	return &table->slots[id & (table->capacity - 1)];
}

struct pending *pending_create(struct pending_table *table, int *error)
{
	struct pending *request;
	struct pending_slot *slot;

	/* Requests that have ended but whose callback is still due count too, or a caller that never processes could start
	 * for ever. */
	if (table->used >= table->max || table->open >= table->max) {
		*error = ERROR_BUSY;
		return NULL;
	}
	request = calloc(1, sizeof(*request));
	if (!request) {
		*error = ERROR_MEMORY;
		return NULL;
	}
	do
		slot = slot_of(table, ++table->last_id);
	while (slot->id != 0);
	request->id = table->last_id;
	*slot = (struct pending_slot){request->id, request};
	table->used++;
	table->open++;
	return request;
}

static void release(struct pending_table *table, uint64_t id)
{
	struct pending_slot *slot = pending_find(table, id);

	if (slot)
		pending_forget(table, slot);
}

void pending_destroy(struct pending_table *table, struct pending *request)
{
	struct pending_slot *slot = pending_find(table, request->id);

	if (slot && slot->request == request)
		pending_forget(table, slot);
	table->open--;
	destroy(request);
}

void pending_enqueue(struct pending_table *table, struct pending *request, bool again)
{
	if (again) {
		DL_DELETE(table->sent, request);
		request->sent = false;
		DL_PREPEND(table->queued, request);
	} else {
		DL_APPEND(table->queued, request);
	}
}

void pending_mark_sent(struct pending_table *table, struct pending *request)
{
	DL_DELETE(table->queued, request);
	request->sent = true;
	DL_APPEND(table->sent, request);
}

void pending_end(struct pending_table *table, struct pending *request, bool on_wire)
{
	if (request->sent)
		DL_DELETE(table->sent, request);
	else
		DL_DELETE(table->queued, request);
	free(request->message);
	request->message = NULL;
	if (on_wire)
		pending_find(table, request->id)->request = NULL;
	else
		release(table, request->id);
	DL_APPEND(table->ended, request);
}

struct pending_slot *pending_find(struct pending_table *table, uint64_t id)
{
	struct pending_slot *slot = slot_of(table, id);

	return id != 0 && slot->id == id ? slot : NULL;
}

void pending_forget(struct pending_table *table, struct pending_slot *slot)
{
	*slot = (struct pending_slot){0};
	table->used--;
}

void pending_forget_all(struct pending_table *table)
{
	for (size_t i = 0; i < table->capacity && table->used > 0; i++)
		if (table->slots[i].id != 0 && !table->slots[i].request)
			pending_forget(table, &table->slots[i]);
}
