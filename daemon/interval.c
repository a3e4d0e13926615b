/* P(X <= k) of a binomial is the regularised incomplete beta function I(1 - p; n - k, k + 1), which Lentz's continued
 * fraction gives to about 14 digits; the bound is where it crosses 1 - confidence, found by bisection. */
#include "interval.h"

#include <math.h>

#define STEPS 60
#define NARROW 1e-14
#define TERMS 100000
#define TINY 1e-300
#define CLOSE 1e-14

/* The continued fraction of the incomplete beta function (Abramowitz and Stegun, Handbook of Mathematical Functions,
 * 26.5.8). */
static double fraction(double x, double a, double b)
{
	double c = 1, d = 1 - (a + b) * x / (a + 1);
	double result;

	d = 1 / (fabs(d) < TINY ? TINY : d);
	result = d;
	for (int m = 1; m < TERMS; m++) {
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		d = 1 + even * d;
		c = 1 + even / c;
		d = 1 / (fabs(d) < TINY ? TINY : d);
		c = fabs(c) < TINY ? TINY : c;
		result *= d * c;
		d = 1 + odd * d;
		c = 1 + odd / c;
		d = 1 / (fabs(d) < TINY ? TINY : d);
		c = fabs(c) < TINY ? TINY : c;
		result *= d * c;
		if (fabs(d * c - 1) < CLOSE)
			break;
	}
	return result;
}

/* The regularised incomplete beta function I(x; a, b). */
static double beta_share(double x, double a, double b)
{
	int sign;

	if (x <= 0)
		return 0;
	if (x >= 1)
		return 1;
	double front = exp(lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) + a * log(x) + b * log1p(-x));
	/* The fraction converges fast only on this side of the mean; the other is its mirror. */
	if (x < (a + 1) / (a + b + 2))
		return front * fraction(x, a, b) / a;
	return 1 - front * fraction(1 - x, b, a) / b;
}

/* P(at most `wrong` of `count`) where each is wrong with probability `share`. */
static double probability(uint64_t wrong, uint64_t count, double share)
{
	return wrong >= count ? 1 : beta_share(1 - share, (double)(count - wrong), (double)wrong + 1);
}

double interval_upper(uint64_t wrong, uint64_t count, double confidence)
{
	double low = 0, high = 1;

	if (wrong >= count)
		return 1;
	/* Without a single failure it can be solved by hand. */
	if (wrong == 0)
		return 1 - pow(1 - confidence, 1 / (double)count);
	for (int i = 0; i < STEPS && high - low > NARROW * high; i++) {
		double middle = (low + high) / 2;
		if (probability(wrong, count, middle) > 1 - confidence)
			low = middle;
		else
			high = middle;
	}
	return high;
}

double interval_lower(uint64_t wrong, uint64_t count, double confidence)
{
	/* What is wrong seen as what is right, and the other way round. */
	return wrong == 0 || wrong > count ? 0 : 1 - interval_upper(count - wrong, count, confidence);
}

void interval_both(uint64_t wrong, uint64_t count, double confidence, double *low, double *high)
{
	double side = 1 - (1 - confidence) / 2;

	*low = interval_lower(wrong, count, side);
	*high = interval_upper(wrong, count, side);
}

/* The logarithm of the mixture's likelihood ratio against `share`, which is least at wrong / count and grows on both
 * sides. */
static double log_mixture(uint64_t wrong, uint64_t count, double share)
{
	double k = (double)wrong, n = (double)count, ratio;
	int sign;

	ratio = lgamma_r(k + 1, &sign) + lgamma_r(n - k + 1, &sign) - lgamma_r(n + 2, &sign);
	if (wrong > 0)
		ratio -= k * log(share);
	if (wrong < count)
		ratio -= (n - k) * log1p(-share);
	return ratio;
}

/* Where the ratio crosses `most` between `inside`, where it is under it, and `outside`. */
static double crossing(uint64_t wrong, uint64_t count, double most, double inside, double outside)
{
	for (int i = 0; i < STEPS && fabs(outside - inside) > 1e-15; i++) {
		double middle = (inside + outside) / 2;
		if (log_mixture(wrong, count, middle) < most)
			inside = middle;
		else
			outside = middle;
	}
	return outside;
}

void interval_sequence(uint64_t wrong, uint64_t count, double confidence, double *low, double *high)
{
	double most = -log(1 - confidence);
	double share = count ? (double)wrong / (double)count : 0;

	if (wrong > count)
		wrong = count;
	*low = count == 0 || wrong == 0 ? 0 : crossing(wrong, count, most, share, 0);
	*high = count == 0 || wrong == count ? 1 : crossing(wrong, count, most, share, 1);
}

static int holds(double share, uint64_t count, double bound, double confidence)
{
	return interval_upper((uint64_t)ceil(share * (double)count), count, confidence) <= bound;
}

uint64_t interval_count_needed(double share, double bound, double confidence)
{
	uint64_t high = 1, low = 0;

	if (share >= bound)
		return UINT64_MAX;
	while (!holds(share, high, bound, confidence)) {
		low = high;
		high *= 2;
		if (high > UINT64_C(1) << 40)
			return UINT64_MAX;
	}
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		if (holds(share, middle, bound, confidence))
			high = middle;
		else
			low = middle;
	}
	return high;
}
