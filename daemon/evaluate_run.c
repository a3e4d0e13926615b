/* A stream: asked in these words before? ─ yes ─> the same answer
 *             └ no ─> the nearest of those stored ─> guards ─> decide() ─> served, or stored
 *
 * Of the nearest earlier texts only those are candidates that were stored. If the list ends before enough of them are
 * found, all earlier texts are compared. */
#include "evaluate_run.h"

#include "../proto/error.h"
#include "decide.h"
#include "index.h"
#include "index_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_ANSWER UINT32_MAX
#define ROWS 128

static double opinion_of(const struct evaluate_vectors *second, uint32_t a, uint32_t b)
{
	if (!second || !second->has[a] || !second->has[b])
		return (double)NAN;
	return index_cosine(second->rows + a * second->stride, second->rows + b * second->stride, second->dimensions);
}

static struct candidate candidate_of(struct evaluate_near *near, const struct evaluate_bench *bench, uint32_t asked)
{
	const struct slice *texts = bench->set->texts;

	if (near->vetoes == EVALUATE_NOT_ASKED)
		near->vetoes = guards_veto(texts[asked], texts[near->text], GUARDS_ALL, bench->words);
	return (struct candidate){
		.similarity = near->similarity,
		.fresh_until_at_ms = UINT64_MAX,
		.expires_at_ms = UINT64_MAX,
		.vetoes = near->vetoes,
		.opinion = opinion_of(bench->second, asked, near->text),
	};
}

static bool is_served(const struct decision *decision)
{
	return decision->serve || decision->would_serve;
}

/* ---- pairs ---- */

static bool pair_served(struct evaluate_bench *bench, size_t row, const struct policy *policy)
{
	const struct evaluate_row *pair = &bench->set->rows[row];

	if (pair->asked == pair->stored)
		return true;
	if (!bench->vectors->has[pair->asked] || !bench->vectors->has[pair->stored])
		return false;
	struct candidate candidate = candidate_of(&bench->pairs[row], bench, pair->asked);
	struct decision decision = decide(&candidate, 1, 0, policy, 0);
	return is_served(&decision);
}

static struct evaluate_counts run_pairs(struct evaluate_bench *bench, const struct policy *policy)
{
	struct evaluate_counts counts = {.requests = bench->set->row_count};

	for (size_t i = 0; i < counts.requests; i++) {
		bool same = bench->set->rows[i].same;
		bool served = pair_served(bench, i, policy);
		counts.repeats += same;
		counts.traps += !same;
		counts.right += same && served;
		counts.wrong += !same && served;
	}
	return counts;
}

/* ---- a stream ---- */

/* The candidates of one question; `texts` are theirs. */
struct found {
	struct candidate candidates[INDEX_CANDIDATES];
	uint32_t texts[INDEX_CANDIDATES];
	size_t count;
	size_t allowed; /* those that no guard vetoes */
	bool needs_all; /* a second opinion may put any of them first */
};

static void found_add(struct found *found, struct evaluate_near *near, const struct evaluate_bench *bench, uint32_t asked,
		      const struct policy *policy)
{
	struct candidate candidate = candidate_of(near, bench, asked);

	found->texts[found->count] = near->text;
	found->candidates[found->count++] = candidate;
	found->allowed += (candidate.vetoes & policy->guards_on) == 0;
}

/* The nearest one that no guard vetoes and the next decide everything, so a search may end there. */
static bool is_enough(const struct found *found)
{
	return found->count == INDEX_CANDIDATES || (found->allowed == 2 && !found->needs_all);
}

static bool is_stored(const struct evaluate_bench *bench, uint32_t text)
{
	return bench->answers[text] == text;
}

/* Compares with all earlier texts that are stored. */
static void find_among_all(struct found *found, const struct evaluate_bench *bench, uint32_t asked,
			   const struct policy *policy)
{
	const struct evaluate_vectors *vectors = bench->vectors;
	const float *query = vectors->rows + asked * vectors->stride;
	struct evaluate_near best[INDEX_CANDIDATES];
	index_kernel *kernel = index_kernel_select();
	size_t count = 0;
	float products[ROWS];

	for (uint32_t from = 0; from < asked; from += ROWS) {
		uint32_t rows = asked - from < ROWS ? asked - from : ROWS;
		kernel(vectors->rows + from * vectors->stride, rows, vectors->stride, query, products);
		for (uint32_t i = 0; i < rows; i++) {
			double similarity = (double)products[i];
			if (!is_stored(bench, from + i) || !vectors->has[from + i] ||
			    (count == INDEX_CANDIDATES && similarity <= best[count - 1].similarity))
				continue;
			size_t at = count < INDEX_CANDIDATES ? count++ : count - 1;
			for (; at > 0 && best[at - 1].similarity < similarity; at--)
				best[at] = best[at - 1];
			best[at] = (struct evaluate_near){similarity, from + i, EVALUATE_NOT_ASKED};
		}
	}
	*found = (struct found){.needs_all = policy->calibrated && policy->weight > 0};
	for (size_t i = 0; i < count && !is_enough(found); i++) {
		best[i].similarity = index_cosine(vectors->rows + best[i].text * vectors->stride, query,
						  vectors->dimensions);
		found_add(found, &best[i], bench, asked, policy);
	}
}

/* Whether what is farther away than the end of the list cannot change the decision. */
static bool is_far(const struct found *found, double farthest, const struct policy *policy)
{
	if (farthest >= decide_least(policy))
		return false;
	return !policy->calibrated || (farthest < policy->margin_floor && found->count >= 2 && !found->needs_all);
}

static void find_candidates(struct found *found, const struct evaluate_bench *bench, uint32_t asked,
			    const struct policy *policy)
{
	struct evaluate_near *list = &bench->nears.lists[(size_t)asked * EVALUATE_NEAR];
	size_t count = bench->nears.counts[asked];

	*found = (struct found){.needs_all = policy->calibrated && policy->weight > 0};
	for (size_t i = 0; i < count && !is_enough(found); i++)
		if (is_stored(bench, list[i].text))
			found_add(found, &list[i], bench, asked, policy);
	if (count == EVALUATE_NEAR && !is_enough(found) && !is_far(found, list[count - 1].similarity, policy))
		find_among_all(found, bench, asked, policy);
}

/* Returns the text whose answer is served, or NO_ANSWER. */
static uint32_t serve(struct evaluate_bench *bench, uint32_t asked, const struct policy *policy)
{
	struct found found;

	if (bench->answers[asked] != NO_ANSWER)
		return bench->answers[asked];
	if (!bench->vectors->has[asked])
		return NO_ANSWER;
	find_candidates(&found, bench, asked, policy);
	struct decision decision = decide(found.candidates, found.count, 0, policy, 0);
	return is_served(&decision) ? found.texts[decision.index] : NO_ANSWER;
}

static struct evaluate_counts run_stream(struct evaluate_bench *bench, const struct policy *policy)
{
	const struct evaluate_set *set = bench->set;
	struct evaluate_counts counts = {.requests = set->row_count};

	memset(bench->answers, 0xFF, set->text_count * sizeof(bench->answers[0]));
	memset(bench->seen, 0, set->class_count * sizeof(bench->seen[0]));
	for (size_t i = 0; i < set->row_count; i++) {
		const struct evaluate_row *row = &set->rows[i];
		counts.repeats += bench->seen[row->class];
		bool is_known = bench->answers[row->asked] != NO_ANSWER;
		uint32_t served = serve(bench, row->asked, policy);
		if (served == NO_ANSWER) {
			bench->answers[row->asked] = row->asked;
			bench->classes[row->asked] = row->class;
			bench->seen[row->class] = true;
			continue;
		}
		bench->answers[row->asked] = served;
		bool is_wrong = bench->classes[served] != row->class;
		counts.right += !is_wrong;
		counts.wrong += is_wrong;
		counts.decided += !is_known;
		counts.decided_wrong += !is_known && is_wrong;
	}
	return counts;
}

struct evaluate_counts evaluate_run(struct evaluate_bench *bench, const struct policy *policy)
{
	return bench->set->kind == EVALUATE_PAIRS ? run_pairs(bench, policy) : run_stream(bench, policy);
}

/* ---- life ---- */

static int pairs_prepare(struct evaluate_bench *bench)
{
	const struct evaluate_vectors *vectors = bench->vectors;

	bench->pairs = calloc(bench->set->row_count + 1, sizeof(bench->pairs[0]));
	if (!bench->pairs)
		return ERROR_MEMORY;
	for (size_t i = 0; i < bench->set->row_count && vectors->rows; i++) {
		const struct evaluate_row *row = &bench->set->rows[i];
		bench->pairs[i] = (struct evaluate_near){
			.similarity = index_cosine(vectors->rows + row->stored * vectors->stride,
						   vectors->rows + row->asked * vectors->stride, vectors->dimensions),
			.text = row->stored,
			.vetoes = EVALUATE_NOT_ASKED,
		};
	}
	return 0;
}

static int stream_prepare(struct evaluate_bench *bench)
{
	const struct evaluate_set *set = bench->set;

	bench->answers = calloc(set->text_count + 1, sizeof(bench->answers[0]));
	bench->classes = calloc(set->text_count + 1, sizeof(bench->classes[0]));
	bench->seen = calloc(set->class_count + 1, sizeof(bench->seen[0]));
	if (!bench->answers || !bench->classes || !bench->seen)
		return ERROR_MEMORY;
	return evaluate_nears_find(bench->vectors, &bench->nears);
}

int evaluate_bench_init(struct evaluate_bench *bench, const struct evaluate_set *set, const struct evaluate_vectors *vectors,
			const struct guard_words *words)
{
	*bench = (struct evaluate_bench){.set = set, .vectors = vectors, .words = words};
	int error = set->kind == EVALUATE_PAIRS ? pairs_prepare(bench) : stream_prepare(bench);

	if (error)
		evaluate_bench_deinit(bench);
	return error;
}

void evaluate_bench_deinit(struct evaluate_bench *bench)
{
	free(bench->pairs);
	free(bench->answers);
	free(bench->classes);
	free(bench->seen);
	evaluate_nears_deinit(&bench->nears);
	*bench = (struct evaluate_bench){0};
}
