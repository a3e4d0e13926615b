/* All goes well: the timer is armed for the heap's top; when it fires, everything due is taken out and told, soonest first.
 * What can go wrong: an owner stops or starts others while it is told (each is looked up afresh in the heap); one starts
 * itself anew at once (a firing takes out no more than stood in the heap at its beginning); the heap cannot grow (start says
 * so). */
#include "deadline.h"

#include "../proto/error.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

struct deadlines {
	uv_timer_t timer;
	struct deadline **heap; /* [1] is the soonest */
	size_t count, capacity;
	uint64_t armed_ms; /* when the timer fires; meaningful while it is active */
	bool telling;      /* on_timer() runs and arms the timer at its end */
	bool closing;
};

static void heap_set(struct deadlines *deadlines, size_t place, struct deadline *deadline)
{
	deadlines->heap[place] = deadline;
	deadline->place = place;
}

/* Moves `deadline`, for which `place` is free, towards the top as far as it is sooner. */
static void heap_rise(struct deadlines *deadlines, size_t place, struct deadline *deadline)
{
	while (place > 1 && deadline->at_ms < deadlines->heap[place / 2]->at_ms) {
		heap_set(deadlines, place, deadlines->heap[place / 2]);
		place /= 2;
	}
	heap_set(deadlines, place, deadline);
}

/* Moves `deadline`, for which `place` is free, away from the top as far as others are sooner. */
static void heap_sink(struct deadlines *deadlines, size_t place, struct deadline *deadline)
{
	for (;;) {
		size_t child = place * 2;
		if (child > deadlines->count)
			break;
		if (child < deadlines->count && deadlines->heap[child + 1]->at_ms < deadlines->heap[child]->at_ms)
			child++;
		if (deadline->at_ms <= deadlines->heap[child]->at_ms)
			break;
		heap_set(deadlines, place, deadlines->heap[child]);
		place = child;
	}
	heap_set(deadlines, place, deadline);
}

static void heap_remove(struct deadlines *deadlines, struct deadline *deadline)
{
	size_t place = deadline->place;
	struct deadline *last = deadlines->heap[deadlines->count--];

	deadline->place = 0;
	if (last == deadline)
		return;
	if (place > 1 && last->at_ms < deadlines->heap[place / 2]->at_ms)
		heap_rise(deadlines, place, last);
	else
		heap_sink(deadlines, place, last);
}

static int heap_grow(struct deadlines *deadlines)
{
	size_t capacity = deadlines->capacity ? deadlines->capacity * 2 : 64;
	struct deadline **heap = realloc(deadlines->heap, (capacity + 1) * sizeof(*heap));

	if (!heap)
		return ERROR_MEMORY;
	deadlines->heap = heap;
	deadlines->capacity = capacity;
	return 0;
}

static void on_timer(uv_timer_t *timer);

/* Arms the timer for the top. A timer that fires too early is left alone: it finds nothing due and arms itself anew. */
static void arm(struct deadlines *deadlines)
{
	if (deadlines->telling || deadlines->closing)
		return;
	if (deadlines->count == 0) {
		(void)uv_timer_stop(&deadlines->timer);
		return;
	}
	uint64_t at_ms = deadlines->heap[1]->at_ms;
	if (uv_is_active((uv_handle_t *)&deadlines->timer) && deadlines->armed_ms <= at_ms)
		return;
	uint64_t now_ms = uv_now(deadlines->timer.loop);
	/* Never 0: libuv 1.44 would fire it again within the same turn, and the loop would see nothing else. */
	(void)uv_timer_start(&deadlines->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 1, 0);
	deadlines->armed_ms = at_ms;
}

static void on_timer(uv_timer_t *timer)
{
	struct deadlines *deadlines = timer->data;
	uint64_t now_ms = uv_now(timer->loop);

	deadlines->telling = true;
	for (size_t most = deadlines->count; most > 0 && deadlines->count > 0; most--) {
		struct deadline *soonest = deadlines->heap[1];
		if (soonest->at_ms > now_ms)
			break;
		heap_remove(deadlines, soonest);
		soonest->expired(soonest);
	}
	deadlines->telling = false;
	arm(deadlines);
}

struct deadlines *deadlines_create(struct uv_loop_s *loop)
{
	struct deadlines *deadlines = calloc(1, sizeof(*deadlines));

	if (!deadlines)
		return NULL;
	(void)uv_timer_init(loop, &deadlines->timer);
	deadlines->timer.data = deadlines;
	return deadlines;
}

static void on_closed(uv_handle_t *handle)
{
	struct deadlines *deadlines = handle->data;

	free(deadlines->heap);
	free(deadlines);
}

void deadlines_destroy(struct deadlines *deadlines)
{
	if (!deadlines)
		return;
	/* Their owners may stop them after this memory is gone. */
	while (deadlines->count > 0)
		deadlines->heap[deadlines->count--]->place = 0;
	deadlines->closing = true;
	uv_close((uv_handle_t *)&deadlines->timer, on_closed);
}

int deadline_start(struct deadlines *deadlines, struct deadline *deadline, uint64_t in_ms)
{
	assert(deadline->expired && !deadlines->closing);
	/* The turn may have lasted long already, and a wait counts from now. */
	uv_update_time(deadlines->timer.loop);
	uint64_t now_ms = uv_now(deadlines->timer.loop);

	if (deadline->place)
		heap_remove(deadlines, deadline);
	else if (deadlines->count == deadlines->capacity && heap_grow(deadlines) != 0)
		return ERROR_MEMORY;
	deadline->at_ms = in_ms < UINT64_MAX - now_ms ? now_ms + in_ms : UINT64_MAX;
	heap_rise(deadlines, ++deadlines->count, deadline);
	arm(deadlines);
	return 0;
}

void deadline_stop(struct deadlines *deadlines, struct deadline *deadline)
{
	if (!deadline->place)
		return;
	heap_remove(deadlines, deadline);
	if (deadlines->count == 0)
		arm(deadlines);
}

uint64_t deadlines_now_ms(const struct deadlines *deadlines)
{
	return uv_now(deadlines->timer.loop);
}
