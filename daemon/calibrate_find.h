/* The lowest threshold that keeps a promise with confidence: fixed-sequence testing over a fixed descending grid. Pure.
 *
 * For each of a few margin weights the thresholds are tested from the highest on, each by the Clopper-Pearson bound
 * (interval.h) on the share of served that was wrong; the first that fails ends the weight's sequence, so that no
 * correction for the number of thresholds is needed. Only the weights are corrected for (Bonferroni): each is tested with
 * a third of the doubt.
 * A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei: Learn then test: calibrating predictive algorithms to
 * achieve risk control. arXiv:2110.01052 (fixed-sequence testing).
 *
 * A sequence begins where enough would be served, which depends on how many there are and not on whether they are right;
 * it ends where the labels do. What it finds holds for questions like those that were labelled. */
#ifndef DAEMON_CALIBRATE_FIND_H
#define DAEMON_CALIBRATE_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALIBRATE_MARGINS 3

/* The weights that are tried. */
extern const double calibrate_margins[CALIBRATE_MARGINS];

/* What would be served at one threshold. */
struct calibrate_count {
	uint64_t served, wrong;
	uint64_t compared; /* of those served: labelled by a comparator of answers, not by a person or a file */
};

struct calibrate_terms {
	double promise;    /* the most false hits, of hits */
	double confidence; /* 0.95 */
	/* How often the comparator may at most call a wrong answer right; its share of the labels widens the bound by
	 * that. */
	double comparator_error;
	struct calibrate_count (*count)(void *data, double margin, double threshold);
	void *data;
};

struct calibrate_finding {
	bool found;
	double margin, threshold;
	struct calibrate_count count; /* there; or, if nothing was found, where the labels came nearest to the promise */
	double bound;                 /* the same */
	uint64_t missing;             /* labels, if as many of them are wrong as there; UINT64_MAX: no number would do */
};

/* Finds the weight that serves most labels at its lowest threshold. */
struct calibrate_finding calibrate_find(const struct calibrate_terms *terms);

#endif
