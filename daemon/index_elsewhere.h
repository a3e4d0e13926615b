/* Inside the embedded index: the search through all scopes of a namespace but one. Only index_memory.c uses this.
 *
 * A namespace may have any number of scopes and rows, so it is gone through in batches: each is gathered and its results are
 * taken on the loop, and scanned on the thread pool, one at a time; between two of them others have their turn. */
#ifndef DAEMON_INDEX_ELSEWHERE_H
#define DAEMON_INDEX_ELSEWHERE_H

#include "index.h"
#include "index_scan.h"

struct index_elsewhere;
struct index_item;
struct index_rows;

/* Creates it; NULL without memory. `ended` is called on the loop when a batch has left the thread pool, after the callbacks
 * that follow from it. */
struct index_elsewhere *index_elsewhere_create(struct uv_loop_s *loop, struct index_rows *rows, index_kernel *kernel,
					       void (*ended)(void *data), void *data);

/* Starts a search, as struct index_ops says. One that is not done at once waits for index_elsewhere_go_on(). */
int index_elsewhere_start(struct index_elsewhere *elsewhere, struct index_search *search, struct slice namespace,
			  const struct identity *except, const float *vector, unsigned dimensions, uint64_t now_ms);

/* No callback comes any more. */
void index_elsewhere_cancel(struct index_elsewhere *elsewhere, struct index_search *search);

/* Returns whether a batch is on the thread pool. */
bool index_elsewhere_runs(const struct index_elsewhere *elsewhere);

/* There is a place on the thread pool: starts the next batch of the first that waits, if one does. Callbacks may come from
 * here, so it is called only from the loop. */
void index_elsewhere_go_on(struct index_elsewhere *elsewhere);

/* No callback of a search comes any more; `ended` still does if a batch runs. No scope is pinned once none runs. */
void index_elsewhere_stop(struct index_elsewhere *elsewhere);

/* Frees it; it was stopped, and none runs. NULL is nothing. */
void index_elsewhere_destroy(struct index_elsewhere *elsewhere);

/* Puts a row among the results, if it is one of the INDEX_CANDIDATES nearest. Returns 0 or ERROR_MEMORY. */
int index_take_row(struct index_search *search, const struct index_item *item, double similarity);

#endif
