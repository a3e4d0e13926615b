#include "index.h"

#include <stdlib.h>

void index_candidates_free(struct index_search *search)
{
	for (size_t i = 0; i < search->count; i++)
		free(search->candidates[i].question);
	search->count = 0;
}

double index_cosine(const float *a, const float *b, unsigned n)
{
	double sums[4] = {0, 0, 0, 0};
	unsigned i = 0;

	for (; i + 4 <= n; i += 4)
		for (unsigned k = 0; k < 4; k++)
			sums[k] += (double)a[i + k] * (double)b[i + k];
	for (; i < n; i++)
		sums[0] += (double)a[i] * (double)b[i];
	double sum = sums[0] + sums[1] + (sums[2] + sums[3]);
	if (sum > 1.0)
		return 1.0;
	return sum < -1.0 ? -1.0 : sum;
}
