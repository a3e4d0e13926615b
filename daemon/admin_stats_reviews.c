/* What reviews found, with what the comparison's own errors leave of it; only where there was one. */
#include "admin_private.h"

#include "config.h"
#include "namespaces.h"
#include "service.h"

static struct estimate_count sum_of(const struct estimate_count *bands)
{
	struct estimate_count sum = {0};

	for (size_t band = 0; band < ESTIMATE_BANDS; band++) {
		sum.same += bands[band].same;
		sum.different += bands[band].different;
		sum.not_comparable += bands[band].not_comparable;
	}
	return sum;
}

static bool is_empty(const struct estimate_count *count)
{
	return count->same + count->different + count->not_comparable == 0;
}

static void say_number(msgpack_packer *pack, const char *key, double value, bool is_known)
{
	pack_key(pack, key);
	if (is_known)
		msgpack_pack_double(pack, value);
	else
		msgpack_pack_nil(pack);
}

static void say_estimate(msgpack_packer *pack, enum estimate_source source, const struct estimate_count *count, double from,
			 double to, const struct comparator *comparator)
{
	uint64_t compared = count->same + count->different;
	struct estimate estimate = estimate_of(count->different, compared, comparator);

	msgpack_pack_map(pack, 9);
	pack_named_text(pack, "source", slice_of(estimate_source_name(source)));
	pack_named_float(pack, "from", from);
	pack_named_float(pack, "to", to);
	pack_named_uint(pack, "compared", compared);
	pack_named_uint(pack, "different", count->different);
	pack_named_uint(pack, "not_comparable", count->not_comparable);
	say_number(pack, "false_hit_rate", estimate.rate, compared > 0);
	say_number(pack, "low", estimate.low, compared > 0);
	say_number(pack, "high", estimate.high, compared > 0);
}

static void say_share(msgpack_packer *pack, const char *key, const struct config_share *share)
{
	pack_key(pack, key);
	msgpack_pack_map(pack, 2);
	pack_named_uint(pack, "wrong", share->wrong);
	pack_named_uint(pack, "count", share->count);
}

static void say_comparator(msgpack_packer *pack, const struct comparator *comparator)
{
	pack_key(pack, "comparator");
	if (!comparator_measured(comparator)) {
		pack_key(pack, "unmeasured");
		return;
	}
	msgpack_pack_map(pack, 2);
	say_share(pack, "false_same", comparator->false_same);
	say_share(pack, "false_different", comparator->false_different);
}

void admin_say_reviews(msgpack_packer *pack, const struct service *service, struct slice name,
		       const struct estimate_counts *counts)
{
	const struct config_namespace *space = config_namespace(service->config, name);
	const struct comparator comparator = {&space->comparator_false_same, &space->comparator_false_different};
	struct estimate_count sums[ESTIMATE_SOURCES];
	size_t rows = 0;

	for (int source = 0; source < ESTIMATE_SOURCES; source++) {
		sums[source] = sum_of(counts->bands[source]);
		rows += !is_empty(&sums[source]);
		for (size_t band = 0; band < ESTIMATE_BANDS; band++)
			rows += !is_empty(&counts->bands[source][band]);
	}
	if (rows == 0) {
		msgpack_pack_nil(pack);
		return;
	}
	msgpack_pack_map(pack, 3);
	pack_named_float(pack, "compare_threshold", space->compare_threshold);
	say_comparator(pack, &comparator);
	pack_key(pack, "estimates");
	msgpack_pack_array(pack, rows);
	for (int source = 0; source < ESTIMATE_SOURCES; source++) {
		if (!is_empty(&sums[source]))
			say_estimate(pack, (enum estimate_source)source, &sums[source], -1, 1, &comparator);
		for (size_t band = 0; band < ESTIMATE_BANDS; band++)
			if (!is_empty(&counts->bands[source][band]))
				say_estimate(pack, (enum estimate_source)source, &counts->bands[source][band],
					     estimate_band_from(band), estimate_band_to(band), &comparator);
	}
}
