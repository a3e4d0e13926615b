/* block by block: kernel ──> products of up to SLICE_ROWS rows ──> those above the worst of the best are sorted in. */
#include "index_scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define SLICE_ROWS 256

void index_kernel_portable(const float *rows, size_t count, size_t stride, const float *query, float *products)
{
	for (size_t row = 0; row < count; row++, rows += stride) {
		float sums[16] = {0};
		float sum = 0;
		/* Sixteen sums side by side are what a compiler can keep in vector registers. */
		for (size_t i = 0; i < stride; i += 16)
			for (size_t k = 0; k < 16; k++)
				sums[k] += rows[i + k] * query[i + k];
		for (size_t k = 0; k < 16; k++)
			sum += sums[k];
		products[row] = sum;
	}
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) static void kernel_avx2(const float *rows, size_t count, size_t stride,
							    const float *query, float *products)
{
	for (size_t row = 0; row < count; row++, rows += stride) {
		__m256 a = _mm256_setzero_ps(), b = _mm256_setzero_ps(), c = a, d = a;
		size_t i = 0;
		for (; i + 32 <= stride; i += 32) {
			a = _mm256_fmadd_ps(_mm256_load_ps(rows + i), _mm256_load_ps(query + i), a);
			b = _mm256_fmadd_ps(_mm256_load_ps(rows + i + 8), _mm256_load_ps(query + i + 8), b);
			c = _mm256_fmadd_ps(_mm256_load_ps(rows + i + 16), _mm256_load_ps(query + i + 16), c);
			d = _mm256_fmadd_ps(_mm256_load_ps(rows + i + 24), _mm256_load_ps(query + i + 24), d);
		}
		if (i < stride) {
			a = _mm256_fmadd_ps(_mm256_load_ps(rows + i), _mm256_load_ps(query + i), a);
			b = _mm256_fmadd_ps(_mm256_load_ps(rows + i + 8), _mm256_load_ps(query + i + 8), b);
		}
		a = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
		__m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
		sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
		sum = _mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1));
		products[row] = _mm_cvtss_f32(sum);
	}
}

index_kernel *index_kernel_select(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return kernel_avx2;
	return index_kernel_portable;
}

#elif defined(__aarch64__)

static void kernel_neon(const float *rows, size_t count, size_t stride, const float *query, float *products)
{
	for (size_t row = 0; row < count; row++, rows += stride) {
		float32x4_t a = vdupq_n_f32(0), b = a, c = a, d = a;
		for (size_t i = 0; i < stride; i += 16) {
			a = vfmaq_f32(a, vld1q_f32(rows + i), vld1q_f32(query + i));
			b = vfmaq_f32(b, vld1q_f32(rows + i + 4), vld1q_f32(query + i + 4));
			c = vfmaq_f32(c, vld1q_f32(rows + i + 8), vld1q_f32(query + i + 8));
			d = vfmaq_f32(d, vld1q_f32(rows + i + 12), vld1q_f32(query + i + 12));
		}
		products[row] = vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)));
	}
}

index_kernel *index_kernel_select(void)
{
	return kernel_neon;
}

#else

index_kernel *index_kernel_select(void)
{
	return index_kernel_portable;
}

#endif

/* Sorts one row into the best ones; it is nearer than the worst of them, or there are fewer than INDEX_SCAN_BEST. */
static void sort_in(struct index_query *query, size_t row, float similarity)
{
	size_t at = query->count < INDEX_SCAN_BEST ? query->count++ : INDEX_SCAN_BEST - 1;

	for (; at > 0 && query->best[at - 1].similarity < similarity; at--)
		query->best[at] = query->best[at - 1];
	query->best[at] = (struct index_best){row, similarity};
}

static void scan_slice(index_kernel *kernel, const struct index_block *block, size_t from, size_t count, size_t stride,
		       size_t first_row, struct index_query *query)
{
	float products[SLICE_ROWS];

	kernel(block->vectors + from * stride, count, stride, query->vector, products);
	for (size_t i = 0; i < count; i++) {
		if (query->count == INDEX_SCAN_BEST && products[i] <= query->best[INDEX_SCAN_BEST - 1].similarity)
			continue;
		if (__atomic_load_n(&block->expires[from + i], __ATOMIC_RELAXED) > query->now_ms)
			sort_in(query, first_row + from + i, products[i]);
	}
}

void index_scan(index_kernel *kernel, const struct index_block *blocks, size_t block_rows, size_t rows, size_t stride,
		struct index_query *const *queries, size_t query_count)
{
	for (size_t i = 0; i < query_count; i++)
		queries[i]->count = 0;
	for (size_t first = 0; first < rows; first += block_rows, blocks++) {
		size_t filled = rows - first < block_rows ? rows - first : block_rows;
		for (size_t from = 0; from < filled; from += SLICE_ROWS) {
			size_t count = filled - from < SLICE_ROWS ? filled - from : SLICE_ROWS;
			for (size_t i = 0; i < query_count; i++)
				if (!__atomic_load_n(&queries[i]->cancelled, __ATOMIC_RELAXED))
					scan_slice(kernel, blocks, from, count, stride, first, queries[i]);
		}
	}
}
