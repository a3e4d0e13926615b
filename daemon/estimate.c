#include "estimate.h"

#include "config.h"
#include "interval.h"

#include <math.h>
#include <string.h>

#define DAY_MS UINT64_C(86400000)
#define BAND_FIRST 0.70
#define BAND_WIDTH 0.05

static const char *const sources[] = {
#define X(name) [ESTIMATE_##name] = #name,
	ESTIMATE_SOURCE_TABLE(X)
#undef X
};

const char *estimate_source_name(enum estimate_source source)
{
	return sources[source];
}

/* ---- bands ---- */

size_t estimate_band(double similarity)
{
	/* A similarity of exactly .75 is the first of its band, however it was rounded. */
	double band = floor((similarity - BAND_FIRST) / BAND_WIDTH + 1e-9) + 1;

	if (!(band >= 0))
		return 0;
	return band >= ESTIMATE_BANDS ? ESTIMATE_BANDS - 1 : (size_t)band;
}

double estimate_band_from(size_t band)
{
	return band == 0 ? -1 : round((BAND_FIRST + BAND_WIDTH * (double)(band - 1)) * 100) / 100;
}

double estimate_band_to(size_t band)
{
	return band == ESTIMATE_BANDS - 1 ? 1 : estimate_band_from(band + 1);
}

/* ---- the comparison's errors ---- */

static double share_of(const struct config_share *share)
{
	return (double)share->wrong / (double)share->count;
}

/* What is subtracted and divided by must leave something, even in the worst case. */
bool comparator_measured(const struct comparator *comparator)
{
	const struct config_share *a = comparator->false_same, *b = comparator->false_different;

	return a->count > 0 && b->count > 0 && share_of(a) + share_of(b) < 1;
}

static double clamp(double share)
{
	return fmin(1, fmax(0, share));
}

/* Rogan and Gladen's estimate. Where the errors may be so large that nothing is known, all is possible. */
static double corrected(double q, double a, double b, double otherwise)
{
	return 1 - a - b > 1e-9 ? clamp((q - b) / (1 - a - b)) : otherwise;
}

struct estimate estimate_of(uint64_t different, uint64_t compared, const struct comparator *comparator)
{
	struct estimate estimate = {.rate = (double)NAN, .high = 1, .corrected = comparator_measured(comparator)};
	const struct config_share *a = comparator->false_same, *b = comparator->false_different;
	double each = 1 - (1 - ESTIMATE_CONFIDENCE) / 3;

	if (compared == 0)
		return estimate;
	double q = (double)different / (double)compared;
	if (!estimate.corrected) {
		estimate.rate = q;
		interval_sequence(different, compared, ESTIMATE_CONFIDENCE, &estimate.low, &estimate.high);
		return estimate;
	}
	double q_low, q_high, a_low, a_high, b_low, b_high;
	interval_sequence(different, compared, each, &q_low, &q_high);
	interval_both(a->wrong, a->count, each, &a_low, &a_high);
	interval_both(b->wrong, b->count, each, &b_low, &b_high);
	estimate.rate = corrected(q, share_of(a), share_of(b), q);
	/* It grows with q and a, and falls with b. */
	estimate.low = corrected(q_low, a_low, b_high, 0);
	estimate.high = corrected(q_high, a_high, b_low, 1);
	return estimate;
}

/* ---- drift ---- */

static bool bit_at(const struct drift *drift, unsigned at)
{
	return drift->bits[at / 8] >> at % 8 & 1;
}

void drift_add(struct drift *drift, uint64_t certificate_ms, bool different)
{
	if (drift->certificate_ms != certificate_ms)
		*drift = (struct drift){.certificate_ms = certificate_ms};
	unsigned at = drift->at;
	if (drift->count == DRIFT_HITS)
		drift->different -= bit_at(drift, at);
	else
		drift->count++;
	unsigned char bit = (unsigned char)(1u << at % 8);
	drift->bits[at / 8] = (unsigned char)((drift->bits[at / 8] & ~bit) | (different ? bit : 0));
	drift->different += different;
	drift->at = (at + 1) % DRIFT_HITS;
}

double drift_least(const struct drift *drift, const struct comparator *comparator)
{
	const struct config_share *a = comparator->false_same, *b = comparator->false_different;
	double least = interval_lower(drift->different, drift->count, DRIFT_CONFIDENCE);

	if (!comparator_measured(comparator))
		return least;
	return corrected(least, interval_lower(a->wrong, a->count, DRIFT_CONFIDENCE),
			 interval_upper(b->wrong, b->count, DRIFT_CONFIDENCE), 0);
}

/* ---- budgets ---- */

bool budget_take(struct budget *budget, uint64_t most, uint64_t now_ms)
{
	if (budget->day != now_ms / DAY_MS)
		*budget = (struct budget){.day = now_ms / DAY_MS};
	if (budget->used >= most)
		return false;
	budget->used++;
	return true;
}

void budget_return(struct budget *budget)
{
	if (budget->used > 0)
		budget->used--;
}
