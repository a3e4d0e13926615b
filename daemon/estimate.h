/* How often what is served by meaning is wrong, as comparisons of answers tell: counts by band of similarity, the estimate that they
 * give once the comparison's own errors are taken into account, and whether a certificate's promise is broken. Pure.
 *
 * The comparison calls a pair of answers different in a share q of all pairs. It is wrong itself: it calls different ones the same (in a
 * share a of them) and the same ones different (b). So q = p (1 - a) + (1 - p) b, and the share that was wrong is
 *
 *     p = (q - b) / (1 - a - b)
 *
 *   W. J. Rogan, B. Gladen: Estimating prevalence from the results of a screening test. American Journal of Epidemiology 107 (1978),
 *   71-76. The interval puts the worst of the intervals of q, a and b together, each at a third of the doubt. That of q is watched
 *   continuously, so it is a confidence sequence (interval.h); it holds for each band by itself. */
#ifndef DAEMON_ESTIMATE_H
#define DAEMON_ESTIMATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config_share;

/* What was compared. X(name on the wire) */
#define ESTIMATE_SOURCE_TABLE(X) X(shadow) X(audit)

enum estimate_source {
#define X(name) ESTIMATE_##name,
	ESTIMATE_SOURCE_TABLE(X)
#undef X
		ESTIMATE_SOURCES
};

/* Under .70, then .05 each, up to 1. */
#define ESTIMATE_BANDS 7
#define ESTIMATE_CONFIDENCE 0.95

struct estimate_count {
	uint64_t same, different;
	uint64_t not_comparable; /* answers too long for the embedder, or that were not whole */
};

struct estimate_counts {
	struct estimate_count bands[ESTIMATE_SOURCES][ESTIMATE_BANDS];
};

/* Returns the wire's word for `source`. */
const char *estimate_source_name(enum estimate_source source);

/* Returns the band of a similarity, and the similarities at which a band begins and ends. */
size_t estimate_band(double similarity);
double estimate_band_from(size_t band);
double estimate_band_to(size_t band);

/* The comparison's two errors as they were measured. */
struct comparator {
	const struct config_share *false_same, *false_different;
};

/* Whether both were measured, with enough pairs that they say anything. */
bool comparator_measured(const struct comparator *comparator);

struct estimate {
	double rate, low, high; /* false hits, of hits; not a number without any comparison */
	bool corrected;         /* for the comparison's errors, which were measured */
};

/* Estimates the false-hit rate. */
struct estimate estimate_of(uint64_t different, uint64_t compared, const struct comparator *comparator);

/* ---- drift ---- */

#define DRIFT_HITS 300
#define DRIFT_CONFIDENCE 0.99

/* The last audited hits under one certificate. All zero = none. */
struct drift {
	uint64_t certificate_ms;
	unsigned at, count, different;
	unsigned char bits[(DRIFT_HITS + 7) / 8];
};

/* Adds one that was decided under the certificate made at `certificate_ms`; another certificate begins anew. */
void drift_add(struct drift *drift, uint64_t certificate_ms, bool different);

/* Returns what the false-hit rate of those hits is at least, at DRIFT_CONFIDENCE (Clopper-Pearson, for one look). */
double drift_least(const struct drift *drift, const struct comparator *comparator);

/* ---- budgets ---- */

/* Calls of one day, from 00:00 UTC. All zero = none yet. */
struct budget {
	uint64_t day, used;
};

/* Takes one of `most` calls of the day that the Unix time `now_ms` lies in. Returns whether there was one left. */
bool budget_take(struct budget *budget, uint64_t most, uint64_t now_ms);

/* Gives one back that was not made. */
void budget_return(struct budget *budget);

#endif
