/* A pair of questions is rejected while answers are in the air: what has not been read yet is not read any more by the wrong
 * ones, and nothing is kept that would let them have it later. */
#include "flight_private.h"

static bool is_pair(const struct identity *x, const struct identity *y, const struct identity *a, const struct identity *b)
{
	return (identity_equal(x, a) && identity_equal(y, b)) || (identity_equal(x, b) && identity_equal(y, a));
}

/* Sharing the answer was decided before the verdict came. */
static void put_off(struct flight *flight, const struct identity *a, const struct identity *b)
{
	struct rider *rider, *next;
	struct fault fault;

	(void)fault_set(&fault, ERROR_UNAVAILABLE, "retry_ms=0", "the pair was rejected meanwhile");
	DL_FOREACH_SAFE (flight->riders, rider, next) {
		if (!rider->joined || rider->cursor.position > 0 || !is_pair(&rider->asked_digest, &flight->digest, a, b))
			continue;
		riders_remove(rider);
		rider->ops->failed(rider, &fault);
	}
}

void flights_reject(struct flights *flights, struct slice namespace, const struct identity *a, const struct identity *b)
{
	struct flight *flight, *next;

	DL_FOREACH_SAFE (flights->all, flight, next) {
		bool is_a = identity_equal(&flight->digest, a), is_b = identity_equal(&flight->digest, b);
		if ((!is_a && !is_b) || !slice_equal(flight->request.namespace, namespace))
			continue;
		/* What was found for it before is looked at again. */
		flight->weighed = 0;
		if (!flight->is_searching)
			flight_weigh(flight);
		flight_forget_wording(flight, is_a ? b : a);
		bool had_riders = flight->riders != NULL;
		put_off(flight, a, b);
		if (had_riders && !flight->riders)
			flight_abandon(flight);
	}
}

void flights_quarantine(struct flights *flights, struct slice namespace)
{
	struct flight *flight;

	DL_FOREACH (flights->all, flight)
		if (slice_equal(flight->request.namespace, namespace))
			flight->weighed = 0;
}
