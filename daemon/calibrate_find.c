/* for each weight: highest threshold with enough served ──> lower, while the bound holds ──> the lowest; the best of the
 * weights. */
#include "calibrate_find.h"

#include "interval.h"

/* Thresholds are multiples of 1/200, as evaluate prints them. */
#define GRID 200.0
#define GRID_FIRST 100
#define GRID_LAST 300
/* Labels end where fewer than these lie within the next few thresholds above. */
#define BAND 4
#define START_PART 3
#define START_PLENTY 12
#define BAND_LABELS 10

const double calibrate_margins[CALIBRATE_MARGINS] = {0, 0.5, 1};

/* The confidence of one weight's sequence. */
static double confidence_each(const struct calibrate_terms *terms)
{
	return 1 - (1 - terms->confidence) / CALIBRATE_MARGINS;
}

static double bound_of(const struct calibrate_terms *terms, const struct calibrate_count *count)
{
	double bound = interval_upper(count->wrong, count->served, confidence_each(terms));

	if (count->served > 0)
		bound += terms->comparator_error * (double)count->compared / (double)count->served;
	return bound < 1 ? bound : 1;
}

/* Whether a promise could be kept by a part of so many, if none of them were wrong. */
static bool is_enough(const struct calibrate_terms *terms, const struct calibrate_count *count, uint64_t part)
{
	const struct calibrate_count flawless = {count->served / part, 0, count->compared / part};

	return bound_of(terms, &flawless) <= terms->promise;
}

/* Returns the part of those served with which a sequence begins: a third, where there are plenty. With just enough, a
 * single failure at the top would end it. */
static uint64_t first_part(const struct calibrate_terms *terms, double margin)
{
	const struct calibrate_count all = terms->count(terms->data, margin, GRID_FIRST / GRID);

	return is_enough(terms, &all, START_PLENTY) ? START_PART : 1;
}

/* Remembers what came nearest to the promise, for a refusal. */
static void note_failure(struct calibrate_finding *finding, const struct calibrate_finding *failure)
{
	if (!finding->found && failure->count.served > 0 && failure->bound < finding->bound)
		*finding = *failure;
}

/* Walks one weight's sequence. */
static void find_margin(const struct calibrate_terms *terms, double margin, struct calibrate_finding *finding)
{
	uint64_t part = first_part(terms, margin);
	uint64_t above[BAND] = {0};
	struct calibrate_finding lowest = {0};

	for (int i = GRID_LAST; i >= GRID_FIRST; i--) {
		double threshold = (double)i / GRID;
		struct calibrate_count count = terms->count(terms->data, margin, threshold);
		uint64_t before = above[i % BAND];
		above[i % BAND] = count.served;
		if (!lowest.found && !is_enough(terms, &count, part))
			continue;
		struct calibrate_finding here = {true, margin, threshold, count, bound_of(terms, &count), 0};
		if (here.bound > terms->promise && !lowest.found) {
			here.found = false;
			note_failure(finding, &here);
			return;
		}
		if (here.bound > terms->promise || (lowest.found && count.served < before + BAND_LABELS))
			break;
		/* One that would serve no more is no use. */
		if (!lowest.found || count.served > lowest.count.served)
			lowest = here;
	}
	if (lowest.found && (!finding->found || lowest.count.served > finding->count.served))
		*finding = lowest;
}

/* For a refusal because no sequence has begun: where the bound is smallest. */
static void find_smallest(const struct calibrate_terms *terms, double margin, struct calibrate_finding *finding)
{
	for (int i = GRID_LAST; i >= GRID_FIRST; i--) {
		double threshold = (double)i / GRID;
		struct calibrate_finding here = {.margin = margin, .threshold = threshold};
		here.count = terms->count(terms->data, margin, threshold);
		here.bound = bound_of(terms, &here.count);
		note_failure(finding, &here);
	}
}

struct calibrate_finding calibrate_find(const struct calibrate_terms *terms)
{
	struct calibrate_finding finding = {.bound = 1};

	for (size_t i = 0; i < CALIBRATE_MARGINS; i++)
		find_margin(terms, calibrate_margins[i], &finding);
	if (finding.found)
		return finding;
	bool is_begun = finding.count.served > 0;
	for (size_t i = 0; i < CALIBRATE_MARGINS && !is_begun; i++)
		find_smallest(terms, calibrate_margins[i], &finding);
	uint64_t served = finding.count.served;
	double wrong = served ? (double)finding.count.wrong / (double)served : 0;
	double added = served ? terms->comparator_error * (double)finding.count.compared / (double)served : 0;
	uint64_t needed = interval_count_needed(wrong, terms->promise - added, confidence_each(terms));
	finding.missing = needed == UINT64_MAX ? needed : needed > served ? needed - served : 1;
	return finding;
}
