/* What calibrate found, for people and for programs. */
#ifndef DAEMON_CALIBRATE_REPORT_H
#define DAEMON_CALIBRATE_REPORT_H

#include "calibrate_find.h"
#include "calibrate_labels.h"
#include "certificate.h"

struct evaluate_options;

struct calibrate_report {
	const struct evaluate_options *options;
	const struct calibrate_finding *finding;
	const struct calibrate_labels *labels;
	const struct certificate *certificate; /* NULL = refused */
	double comparator_error;               /* that labels of comparisons were taken with; NAN = not known */
	bool mode_calibrated;                  /* the namespace would use it */
};

/* Prints text, or JSON. Return 0 or ERROR_MEMORY. */
int calibrate_report_text(const struct calibrate_report *report);
int calibrate_report_json(const struct calibrate_report *report);

#endif
