/* What was found by calibration: the parameters of the calibrated rule for one embedder, and how often it may be wrong with
 * them. Pure: reading, writing and whether it still fits. Where it is kept and who puts it in force is settings.h. */
#ifndef DAEMON_CERTIFICATE_H
#define DAEMON_CERTIFICATE_H

#include "../proto/buffer.h"

/* Parameters of the calibrated rule (decide.h). */
struct calibration {
	double score_threshold, margin, margin_floor, minimum;
	double weight; /* of the second opinion; 0 = none */
};

struct certificate {
	struct calibration calibration;
	char embedder[17];        /* 16 hex digits naming provider, model, dimensions and prefix rule */
	char second_embedder[17]; /* or "" */
	char scope_rule[17];      /* what makes a scope, hashed: identity.h's version and the guards that were on */
	double bound;             /* upper bound of false hits, of hits */
	double confidence;        /* 0.95 */
	uint64_t labels, wrong;   /* served pairs that were judged, and how many of them were wrong */
	uint64_t created_ms;      /* Unix milliseconds */
	char source[64];          /* kinds of labels: "pairs", "audit+feedback" … */
};

/* Writes it as text, one "key value" per line, ended by a NUL; what does not fit is an error. Returns 0 or
 * ERROR_TOO_LARGE. */
int certificate_write(const struct certificate *certificate, struct buffer *out);

/* Reads what certificate_write() wrote; unknown keys are passed over. Returns 0 or ERROR_INVALID. */
int certificate_read(struct slice text, struct certificate *certificate);

/* Returns NULL if it holds for this embedder, second embedder and rules, or what does not fit, a constant. */
const char *certificate_misfit(const struct certificate *certificate, const char *embedder, const char *second_embedder,
			       const char *scope_rule);

#endif
