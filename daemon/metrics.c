/* Buckets 0 to 15 hold the values 0 to 15. From there on each power of two 2^e, e >= 4, has 16 buckets of 2^(e-4) values,
 * told apart by the four bits behind the value's highest: bucket = (e - 3) * 16 + those bits. The last bucket also takes
 * everything above 2^34 us, which is longer than anything here may last. */
#include "metrics.h"

#include <math.h>

#define SUB_BITS 4
#define SUBS (1u << SUB_BITS)

static unsigned bucket_of(uint64_t value)
{
	if (value < SUBS)
		return (unsigned)value;
	unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
	unsigned bucket = ((exponent - SUB_BITS + 1) << SUB_BITS) +
			  ((unsigned)(value >> (exponent - SUB_BITS)) & (SUBS - 1));
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into `bucket`. */
static uint64_t bucket_end(unsigned bucket)
{
	if (bucket < SUBS)
		return bucket;
	unsigned shift = (bucket >> SUB_BITS) - 1;
	return ((uint64_t)(SUBS + (bucket & (SUBS - 1))) << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value_us)
{
	uint32_t *bucket = &histogram->buckets[bucket_of(value_us)];

	histogram->count++;
	histogram->sum_us += value_us;
	if (value_us > histogram->max_us)
		histogram->max_us = value_us;
	if (*bucket < UINT32_MAX)
		++*bucket;
}

uint64_t histogram_percentile(const struct histogram *histogram, double part)
{
	uint64_t seen = 0;
	double wanted = ceil(part * (double)histogram->count);

	if (histogram->count == 0)
		return 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += histogram->buckets[i];
		if (seen > 0 && (double)seen >= wanted)
			return bucket_end(i) < histogram->max_us ? bucket_end(i) : histogram->max_us;
	}
	return histogram->max_us;
}
