/* Blocks of queries are taken from one counter by two threads. Each slice of rows is read once for a block, so that it
 * stays in the processor's cache; products above the worst of the best are sorted in; at the end the best are summed
 * again exactly. */
#include "evaluate_near.h"

#include "../proto/error.h"
#include "evaluate_vectors.h"
#include "index.h"
#include "index_scan.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define THREADS 2
#define BLOCK 32
#define ROWS 128

struct finding {
	const struct evaluate_vectors *vectors;
	struct evaluate_nears *nears;
	index_kernel *kernel;
	size_t next; /* atomic: the first query that nobody has taken, counted from the end, where most work is */
};

static void sort_in(struct evaluate_near *list, uint8_t *count, uint32_t text, double similarity)
{
	size_t at = *count < EVALUATE_NEAR ? (*count)++ : EVALUATE_NEAR - 1;

	for (; at > 0 && list[at - 1].similarity < similarity; at--)
		list[at] = list[at - 1];
	list[at] = (struct evaluate_near){similarity, text, EVALUATE_NOT_ASKED};
}

/* Compares one text with up to ROWS earlier ones. */
static void find_in(const struct finding *finding, size_t query, size_t from, size_t rows)
{
	const struct evaluate_vectors *vectors = finding->vectors;
	struct evaluate_near *list = &finding->nears->lists[query * EVALUATE_NEAR];
	uint8_t *count = &finding->nears->counts[query];
	float products[ROWS];

	finding->kernel(vectors->rows + from * vectors->stride, rows, vectors->stride,
			vectors->rows + query * vectors->stride, products);
	for (size_t i = 0; i < rows; i++) {
		if (*count == EVALUATE_NEAR && !((double)products[i] > list[EVALUATE_NEAR - 1].similarity))
			continue;
		if (vectors->has[from + i])
			sort_in(list, count, (uint32_t)(from + i), (double)products[i]);
	}
}

static int compare(const void *a, const void *b)
{
	const struct evaluate_near *x = a, *y = b;

	if (x->similarity != y->similarity)
		return x->similarity < y->similarity ? 1 : -1;
	return x->text < y->text ? -1 : x->text > y->text;
}

static void rescore(const struct finding *finding, size_t query)
{
	const struct evaluate_vectors *vectors = finding->vectors;
	struct evaluate_near *list = &finding->nears->lists[query * EVALUATE_NEAR];
	size_t count = finding->nears->counts[query];

	for (size_t i = 0; i < count; i++)
		list[i].similarity = index_cosine(vectors->rows + list[i].text * vectors->stride,
						  vectors->rows + query * vectors->stride, vectors->dimensions);
	qsort(list, count, sizeof(list[0]), compare);
}

static void find_block(const struct finding *finding, size_t first, size_t end)
{
	for (size_t from = 0; from + 1 < end; from += ROWS) {
		for (size_t query = first > from ? first : from + 1; query < end; query++) {
			size_t rows = query - from < ROWS ? query - from : ROWS;
			if (finding->vectors->has[query])
				find_in(finding, query, from, rows);
		}
	}
	for (size_t query = first; query < end; query++)
		rescore(finding, query);
}

static void find(void *data)
{
	struct finding *finding = data;
	size_t count = finding->nears->count;

	for (;;) {
		size_t taken = __atomic_fetch_add(&finding->next, BLOCK, __ATOMIC_RELAXED);
		if (taken >= count)
			return;
		size_t end = count - taken;
		find_block(finding, end > BLOCK ? end - BLOCK : 0, end);
	}
}

int evaluate_nears_find(const struct evaluate_vectors *vectors, struct evaluate_nears *nears)
{
	struct evaluate_nears made = {
		.lists = calloc(vectors->count + 1, EVALUATE_NEAR * sizeof(made.lists[0])),
		.counts = calloc(vectors->count + 1, sizeof(made.counts[0])),
		.count = vectors->count,
	};
	struct finding finding = {.vectors = vectors, .nears = &made, .kernel = index_kernel_select()};
	uv_thread_t threads[THREADS];
	size_t started = 0;

	if (!made.lists || !made.counts) {
		evaluate_nears_deinit(&made);
		return ERROR_MEMORY;
	}
	if (vectors->rows) {
		/* Without threads it is done here, only later. */
		while (started + 1 < THREADS && uv_thread_create(&threads[started], find, &finding) == 0)
			started++;
		find(&finding);
	}
	while (started > 0)
		(void)uv_thread_join(&threads[--started]);
	*nears = made;
	return 0;
}

void evaluate_nears_deinit(struct evaluate_nears *nears)
{
	free(nears->lists);
	free(nears->counts);
	*nears = (struct evaluate_nears){0};
}
