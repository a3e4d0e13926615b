/* for each weight: highest threshold with enough served ──> lower, while the bound holds ──> the lowest; the best of the weights. */
#include "calibrate_find.h"

#include "interval.h"

/* Thresholds are multiples of 1/200, as evaluate prints them. */
#define GRID 200.0
#define GRID_FIRST 100
#define GRID_LAST 300
/* Labels end where fewer than these lie within the next few thresholds above. */
#define BAND 4
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

/* Walks one weight's sequence. */
static void find_margin(const struct calibrate_terms *terms, double margin, struct calibrate_finding *finding)
{
	uint64_t enough = interval_count_needed(0, terms->promise, confidence_each(terms));
	uint64_t above[BAND] = {0};
	struct calibrate_finding lowest = {0};

	for (int i = GRID_LAST; i >= GRID_FIRST; i--) {
		double threshold = (double)i / GRID;
		struct calibrate_count count = terms->count(terms->data, margin, threshold);
		uint64_t before = above[i % BAND];
		above[i % BAND] = count.served;
		if (count.served < enough && !lowest.found)
			continue;
		double bound = bound_of(terms, &count);
		if (bound > terms->promise || (lowest.found && count.served < before + BAND_LABELS))
			break;
		lowest = (struct calibrate_finding){true, margin, threshold, count, bound, 0};
	}
	if (lowest.found && (!finding->found || lowest.count.served > finding->count.served))
		*finding = lowest;
}

/* For a refusal: where the bound is smallest. It is told, not promised. */
static void find_smallest(const struct calibrate_terms *terms, double margin, struct calibrate_finding *finding)
{
	for (int i = GRID_LAST; i >= GRID_FIRST; i--) {
		double threshold = (double)i / GRID;
		struct calibrate_count count = terms->count(terms->data, margin, threshold);
		double bound = bound_of(terms, &count);
		if (count.served > 0 && bound < finding->bound)
			*finding = (struct calibrate_finding){false, margin, threshold, count, bound, 0};
	}
}

struct calibrate_finding calibrate_find(const struct calibrate_terms *terms)
{
	struct calibrate_finding finding = {.bound = 1};

	for (size_t i = 0; i < CALIBRATE_MARGINS; i++)
		find_margin(terms, calibrate_margins[i], &finding);
	if (finding.found)
		return finding;
	for (size_t i = 0; i < CALIBRATE_MARGINS; i++)
		find_smallest(terms, calibrate_margins[i], &finding);
	uint64_t served = finding.count.served;
	double wrong = served ? (double)finding.count.wrong / (double)served : 0;
	double added = served ? terms->comparator_error * (double)finding.count.compared / (double)served : 0;
	uint64_t needed = interval_count_needed(wrong, terms->promise - added, confidence_each(terms));
	finding.missing = needed == UINT64_MAX ? needed : needed > served ? needed - served : 1;
	return finding;
}
