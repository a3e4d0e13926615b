/* Confidence intervals of a share, when `wrong` of `count` independent trials were counted. Pure.
 *
 * C. J. Clopper, E. S. Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial.
 * Biometrika 26 (1934), 404-413. The interval is exact: it covers the true share at least as often as it says. It holds
 * for one look at the data; whoever looks again and again until it pleases needs another one. */
#ifndef DAEMON_INTERVAL_H
#define DAEMON_INTERVAL_H

#include <stdint.h>

/* Returns the share that, at `confidence` (0.95), the true one is not above: P(at most `wrong` of `count`) = 1 -
 * confidence there. 1 if `count` is 0 or all were wrong. */
double interval_upper(uint64_t wrong, uint64_t count, double confidence);

/* The same from below: P(at least `wrong` of `count`) = 1 - confidence there; 0 if none was wrong. */
double interval_lower(uint64_t wrong, uint64_t count, double confidence);

/* The two-sided interval: either side is missed with a probability of at most (1 - confidence) / 2. */
void interval_both(uint64_t wrong, uint64_t count, double confidence, double *low, double *high);

/* The interval for whoever looks again after every trial and stops when it pleases: a confidence sequence. With
 * probability `confidence` it covers the true share at all counts at once (interval_both() only at each). It is wider for
 * that. The mixture of binomial likelihoods under a uniform prior over the share, which by Ville's inequality exceeds 1 /
 * (1 - confidence) with at most that probability, ever:
 *   H. Robbins: Statistical methods related to the law of the iterated logarithm. Annals of Mathematical Statistics 41
 * (1970),
 *   1397-1409. S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon: Time-uniform, nonparametric, nonasymptotic confidence
 * sequences.
 *   Annals of Statistics 49 (2021), 1055-1080. */
void interval_sequence(uint64_t wrong, uint64_t count, double confidence, double *low, double *high);

/* Returns the smallest count at which `share` (rounded up to whole trials) of them wrong still has an upper bound of at
 * most `bound`; UINT64_MAX if there is none up to 2^40. */
uint64_t interval_count_needed(double share, double bound, double confidence);

#endif
