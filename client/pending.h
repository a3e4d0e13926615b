/* The requests that are open on a handle, found by id, each in one of three queues until its owner has been told. */
#ifndef CLIENT_PENDING_H
#define CLIENT_PENDING_H

#include "../proto/buffer.h"
#include "../proto/method.h"
#include "failure.h"

/* How a blocking call learns how its request ended. */
struct outcome {
	bool done;
	struct semcache_result *result;
	struct failure failure; /* code 0: well */
};

/* One open request. */
struct pending {
	uint64_t id;
	enum method method; /* METHOD_COUNT: one that this library does not know */
	bool sent;          /* in the queue `sent`: its bytes went, wholly or partly, to the connection */
	bool resent;        /* it has had its second attempt */
	bool refused;       /* the daemon was ending: it may wait for the next one until its deadline */
	bool delivered;     /* a chunk or an event reached its owner */
	char *message;      /* what to send, kept for the second attempt */
	size_t length;
	size_t timeout_at; /* where in it the timeout is, 0 = nowhere */
	int64_t started_ms;
	int64_t deadline_ms;
	uint64_t next_seq;
	struct semcache_handler handler;
	semcache_event_callback event;  /* of a watch; with handler.data */
	struct outcome *outcome;        /* told instead of handler.done if not NULL */
	struct semcache_result *result; /* how it ended */
	struct failure failure;         /* code 0: well */
	struct pending *prev, *next;
};

/* An id on the wire. `request` NULL with an id: its owner no longer waits, but the daemon's response is still to come. */
struct pending_slot {
	uint64_t id; /* 0 = free */
	struct pending *request;
};

struct pending_table {
	struct pending_slot *slots; /* by id modulo capacity */
	size_t capacity;            /* a power of two */
	size_t max;                 /* of used */
	size_t used;                /* slots in use */
	size_t open;                /* requests whose owner has not been told */
	uint64_t last_id;
	struct pending *queued; /* to be sent; utlist's doubly linked lists */
	struct pending *sent;   /* awaiting a response */
	struct pending *ended;  /* awaiting their callback */
};

/* Makes a table for `max` requests. Returns 0 or ERROR_MEMORY. */
int pending_init(struct pending_table *table, size_t max);

/* Frees all requests without telling their owners. */
void pending_deinit(struct pending_table *table);

/* Creates a request with a new id; it is in no queue yet. NULL: no memory, or `max` are open (`*error` says which). */
struct pending *pending_create(struct pending_table *table, int *error);

/* Frees a request that is in no queue, and its id. */
void pending_destroy(struct pending_table *table, struct pending *request);

/* Puts a new request, or one from `sent` that is to be sent again, into the queue (a repeated one at its front). */
void pending_enqueue(struct pending_table *table, struct pending *request, bool again);

/* Moves a request from `queued` to `sent`. */
void pending_mark_sent(struct pending_table *table, struct pending *request);

/* Ends a request: it moves to `ended` with what is in it. `on_wire`: its response is still to come; its id stays taken. */
void pending_end(struct pending_table *table, struct pending *request, bool on_wire);

/* Finds the slot of `id`, or NULL. */
struct pending_slot *pending_find(struct pending_table *table, uint64_t id);

/* Frees the id of a slot without a request: its late response came. */
void pending_forget(struct pending_table *table, struct pending_slot *slot);

/* Frees all such ids: the connection is gone, and no response will come. */
void pending_forget_all(struct pending_table *table);

#endif
