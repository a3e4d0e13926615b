/* The loop's side of the log. All goes well: records gather in a buffer, and one job at a time on the thread pool writes them.
 *
 *   note ─> waiting ─(64 KiB, or 200 ms)─┐         ┌ open the folder, drop what is too old or too much
 *   purge ─> asked ──────────────────────┼─ round ─┼ take out of what waits, and of one segment, what is purged
 *   find ─> finds ───────────────────────┘         └ write what waits; look for requests in one segment
 *
 * A round does a little of everything and is followed by another while there is more, so that nothing waits long for the rest.
 * What can go wrong: the disk fails (logged once, tried again every second; what waits is kept, and what comes beyond
 * BUFFER_MOST is dropped and counted), a purge cannot be carried out (what it names is not found until it is), the daemon
 * ends (what waits is written and purged, for a second at most). */
#include "decisions_private.h"

#include "clock.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <uv.h>

#define BUFFER_MOST (1u << 20)
#define WRITE_BYTES (64u << 10)
#define WRITE_MS 200
#define RETRY_MS 1000
/* Between two passes over all segments. */
#define PASS_PAUSE_MS 1000
/* How often what is too old is removed: each hour, or oftener where max_age is short. */
#define SWEEP_MS UINT64_C(3600000)
#define AGE_PART 16
#define CLOSE_MS 1000
#define FINDS_AT_ONCE 16
#define FINDS_MOST 256
#define NEVER UINT64_MAX

/* One request that is looked for. */
struct finding {
	struct finding *prev, *next; /* while it waits */
	struct decisions_find *find; /* NULL = cancelled */
	uint64_t request;
	bool is_taken;
};

/* What a round works with, on the thread pool; the loop does not touch it meanwhile. */
struct round {
	uv_work_t work;
	struct disk disk;
	struct disk_limits limits;
	struct buffer batch;  /* frames that are to be written */
	uint64_t next, below; /* of disk_purge(), disk_find() */
	struct wanted wanted[FINDS_AT_ONCE];
	size_t wanted_count;
	bool is_sweep, is_pass, is_write; /* is_write false: the disk failed just now, and is only read */
	/* what came of it */
	uint64_t written, removed;
	int write_error, pass_error, find_error;
};

struct decisions {
	uv_loop_t *loop;
	uv_timer_t timer;
	const struct config *config;
	struct metrics *metrics;
	const struct log *log;
	bool is_kept; /* there is a folder */
	struct decisions_watch *watches;
	size_t watch_count;
	uint64_t sequence;     /* of the next record */
	struct buffer scratch; /* a record being made */
	struct buffer waiting; /* frames for the next round */
	size_t taken;          /* bytes in round.batch */
	struct purges asked;   /* for the next pass */
	struct purges passing; /* being carried out; the pool reads it too */
	bool is_passing;
	struct finding *finds; /* waiting */
	size_t find_count;
	struct finding *taken_finds[FINDS_AT_ONCE];
	size_t taken_find_count;
	struct round round;
	bool is_working, is_failing, is_closing;
	uint64_t write_at_ms, pass_at_ms, sweep_at_ms, retry_at_ms, close_at_ms; /* of the loop's clock; NEVER = not due */
	uint64_t pass_free_ms;                                                   /* no pass before */
	struct log_limit dropped_log;
};

static void go_on(struct decisions *decisions);

/* ---- on the thread pool ---- */

static void work_write(struct round *round)
{
	struct disk *disk = &round->disk;

	if (round->is_sweep || round->batch.length)
		round->write_error = disk_trim(disk, &round->limits, round->batch.length);
	if (!round->write_error)
		round->write_error = disk_append(disk, &round->batch, &round->limits, &round->written);
}

static void work_find(struct round *round)
{
	/* Also what could not be written is there to be found. */
	round->find_error = frames_find(&round->batch, round->wanted, round->wanted_count, round->disk.base);
	if (!round->find_error)
		round->find_error = round->disk.folder < 0
					    ? ERROR_UNAVAILABLE
					    : disk_find(&round->disk, round->wanted, round->wanted_count, &round->below);
}

static void work(uv_work_t *request)
{
	struct round *round = request->data;
	const struct decisions *decisions = (const struct decisions *)((const char *)round -
								       offsetof(struct decisions, round));

	round->written = round->removed = 0;
	if (round->is_pass && round->batch.length)
		round->removed = frames_purge(&round->batch, &decisions->passing);
	int error = disk_open(&round->disk);
	round->write_error = round->pass_error = error;
	round->find_error = 0;
	if (!error && round->is_write)
		work_write(round);
	if (!error && round->is_write && round->is_pass)
		round->pass_error = disk_purge(&round->disk, &decisions->passing, &round->next, &round->removed);
	if (round->wanted_count > 0)
		work_find(round);
	/* It is tried again with the folder opened anew, which may have been removed, or be another one then. */
	if (round->write_error || round->pass_error || round->find_error)
		disk_close(&round->disk);
}

/* ---- a round's end ---- */

static void tell_state(struct decisions *decisions)
{
	const struct round *round = &decisions->round;
	bool has_failed = round->write_error || round->pass_error;
	char text[sizeof(round->disk.error)];

	decisions->metrics->decisions_failures += has_failed || round->find_error;
	if (!round->is_write)
		return;
	decisions->retry_at_ms = has_failed ? uv_now(decisions->loop) + RETRY_MS : NEVER;
	if (has_failed && !decisions->is_failing)
		log_write(decisions->log, LOG_LEVEL_WARNING, "decisions_failed error=\"%s\"",
			  log_quotable(text, sizeof(text), round->disk.error));
	else if (!has_failed && decisions->is_failing)
		log_write(decisions->log, LOG_LEVEL_INFO, "decisions_work_again");
	decisions->is_failing = has_failed;
}

/* Whether what was found is still to be told. */
static bool is_good(const struct decisions *decisions, const struct wanted *wanted)
{
	uint64_t base = decisions->round.disk.base, now_ms = clock_wall_ms();

	if (!wanted->is_found)
		return false;
	if (now_ms > wanted->at_ms && now_ms - wanted->at_ms > decisions->config->decisions.max_age * 1000)
		return false;
	return !purges_match(&decisions->asked, buffer_slice(&wanted->record), wanted->sequence, base) &&
	       !purges_match(&decisions->passing, buffer_slice(&wanted->record), wanted->sequence, base);
}

static void tell_finds(struct decisions *decisions)
{
	struct round *round = &decisions->round;
	size_t count = decisions->taken_find_count;
	int error = round->find_error;

	/* The callbacks may ask for more, but no round starts before this returns. */
	decisions->taken_find_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct finding *finding = decisions->taken_finds[i];
		struct wanted *wanted = &round->wanted[i];
		struct slice record = is_good(decisions, wanted) ? wanted_join(wanted) : (struct slice){0};
		if (finding->find) {
			finding->find->private = NULL;
			finding->find->done(finding->find, record, record.data ? 0 : error);
		}
		wanted_deinit(wanted);
		free(finding);
	}
	round->wanted_count = 0;
}

static bool found_all(const struct round *round)
{
	for (size_t i = 0; i < round->wanted_count; i++)
		if (!round->wanted[i].is_found)
			return false;
	return true;
}

static void end_pass(struct decisions *decisions, uint64_t now_ms)
{
	decisions->is_passing = false;
	purges_clear(&decisions->passing);
	decisions->pass_free_ms = now_ms + PASS_PAUSE_MS;
	decisions->pass_at_ms = purges_empty(&decisions->asked) ? NEVER : decisions->pass_free_ms;
}

static uint64_t sweep_ms(const struct decisions *decisions)
{
	uint64_t part_ms = decisions->config->decisions.max_age * 1000 / AGE_PART;

	return part_ms < SWEEP_MS ? part_ms : SWEEP_MS;
}

static void on_worked(uv_work_t *request, int status)
{
	struct round *round = request->data;
	struct decisions *decisions = (struct decisions *)((char *)round - offsetof(struct decisions, round));
	uint64_t now_ms = uv_now(decisions->loop);

	(void)status;
	decisions->taken = round->batch.length;
	decisions->metrics->decisions_written += round->written;
	decisions->metrics->decisions_purged += round->removed;
	tell_state(decisions);
	if (decisions->is_passing && round->is_write && !round->pass_error && round->next == NEVER)
		end_pass(decisions, now_ms);
	if (round->is_sweep && round->is_write && !round->write_error)
		decisions->sweep_at_ms = now_ms + sweep_ms(decisions);
	if (round->wanted_count > 0 && (round->find_error || round->below == 0 || found_all(round) || decisions->is_closing))
		tell_finds(decisions);
	decisions->is_working = false;
	go_on(decisions);
}

/* ---- a round's beginning ---- */

static void take_waiting(struct decisions *decisions)
{
	struct round *round = &decisions->round;

	if (round->batch.length == 0) {
		struct buffer empty = round->batch;
		round->batch = decisions->waiting;
		decisions->waiting = empty;
	} else if (buffer_append(&round->batch, decisions->waiting.data, decisions->waiting.length) == 0) {
		buffer_deinit(&decisions->waiting);
	}
	decisions->write_at_ms = decisions->waiting.length ? uv_now(decisions->loop) + WRITE_MS : NEVER;
	decisions->taken = round->batch.length;
}

static void take_finds(struct decisions *decisions)
{
	struct round *round = &decisions->round;

	if (decisions->taken_find_count > 0)
		return;
	while (decisions->finds && decisions->taken_find_count < FINDS_AT_ONCE) {
		struct finding *finding = decisions->finds;
		DL_DELETE(decisions->finds, finding);
		decisions->find_count--;
		finding->is_taken = true;
		struct wanted *wanted = &round->wanted[decisions->taken_find_count];
		wanted_init(wanted, finding->request);
		decisions->taken_finds[decisions->taken_find_count++] = finding;
	}
	round->wanted_count = decisions->taken_find_count;
	round->below = NEVER;
}

/* What was asked for until now is carried out on all there is now. */
static void take_purges(struct decisions *decisions)
{
	if (decisions->is_passing || purges_empty(&decisions->asked))
		return;
	decisions->passing = decisions->asked;
	decisions->asked = (struct purges){0};
	decisions->is_passing = true;
	decisions->pass_at_ms = NEVER;
	decisions->round.next = 0;
}

static void start_round(struct decisions *decisions, uint64_t now_ms)
{
	struct round *round = &decisions->round;

	take_waiting(decisions);
	take_finds(decisions);
	if (now_ms >= decisions->pass_at_ms || decisions->is_closing)
		take_purges(decisions);
	round->is_write = !decisions->is_failing || now_ms >= decisions->retry_at_ms;
	round->is_pass = decisions->is_passing;
	round->is_sweep = now_ms >= decisions->sweep_at_ms;
	round->limits = (struct disk_limits){
		.max_bytes = decisions->config->decisions.max_bytes,
		.max_age_ms = decisions->config->decisions.max_age * 1000,
		.now_ms = clock_wall_ms(),
	};
	decisions->is_working = true;
	(void)uv_queue_work(decisions->loop, &round->work, work, on_worked);
}

/* ---- when ---- */

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When the next round is due, of the loop's clock. */
static uint64_t due_ms(const struct decisions *decisions)
{
	if (decisions->finds || decisions->taken_find_count > 0)
		return 0;
	if (decisions->is_failing)
		return decisions->retry_at_ms;
	if (decisions->is_passing || decisions->waiting.length >= WRITE_BYTES)
		return 0;
	uint64_t at_ms = sooner(decisions->write_at_ms, decisions->sweep_at_ms);
	return purges_empty(&decisions->asked) ? at_ms : sooner(at_ms, decisions->pass_at_ms);
}

static bool has_work(const struct decisions *decisions)
{
	return decisions->waiting.length || decisions->taken || decisions->is_passing || !purges_empty(&decisions->asked);
}

static void on_closed(uv_handle_t *handle)
{
	struct decisions *decisions = handle->data;

	struct finding *finding, *next;

	DL_FOREACH_SAFE (decisions->finds, finding, next)
		free(finding);
	disk_close(&decisions->round.disk);
	purges_clear(&decisions->asked);
	purges_clear(&decisions->passing);
	buffer_deinit(&decisions->round.batch);
	buffer_deinit(&decisions->waiting);
	buffer_deinit(&decisions->scratch);
	free(decisions);
}

static void close_soon(struct decisions *decisions, uint64_t now_ms)
{
	if (decisions->is_kept && has_work(decisions) && !decisions->is_failing && now_ms < decisions->close_at_ms) {
		start_round(decisions, now_ms);
		return;
	}
	if (decisions->waiting.length || decisions->taken)
		log_write(decisions->log, LOG_LEVEL_WARNING, "decisions_lost bytes=%zu",
			  decisions->waiting.length + decisions->taken);
	uv_close((uv_handle_t *)&decisions->timer, on_closed);
}

static void on_timer(uv_timer_t *timer)
{
	go_on(timer->data);
}

/* Starts what is due, or waits for it. */
static void go_on(struct decisions *decisions)
{
	uint64_t now_ms = uv_now(decisions->loop);

	if (decisions->is_working)
		return;
	if (decisions->is_closing) {
		close_soon(decisions, now_ms);
		return;
	}
	if (!decisions->is_kept)
		return;
	uint64_t at_ms = due_ms(decisions);
	if (at_ms <= now_ms)
		start_round(decisions, now_ms);
	else if (at_ms != NEVER)
		(void)uv_timer_start(&decisions->timer, on_timer, at_ms - now_ms, 0);
}

/* ---- noting ---- */

/* Nobody is told of what is dropped but once a second. */
static void drop(struct decisions *decisions)
{
	uint64_t left_out;

	decisions->metrics->decisions_dropped++;
	if (log_allows(&decisions->dropped_log, uv_now(decisions->loop), &left_out))
		log_write(decisions->log, LOG_LEVEL_WARNING, "decisions_dropped left_out=%llu",
			  (unsigned long long)left_out);
}

static void keep(struct decisions *decisions, uint64_t request, uint64_t at_ms)
{
	const struct frame frame = {
		.sequence = decisions->sequence,
		.request = request,
		.at_ms = at_ms,
		.body = buffer_slice(&decisions->scratch),
	};

	decisions->sequence++;
	if (decisions->waiting.length + decisions->taken + FRAME_HEAD + frame.body.length > BUFFER_MOST ||
	    frame_append(&decisions->waiting, &frame) != 0) {
		drop(decisions);
		return;
	}
	if (decisions->write_at_ms == NEVER)
		decisions->write_at_ms = uv_now(decisions->loop) + WRITE_MS;
	else if (decisions->waiting.length < WRITE_BYTES)
		return;
	go_on(decisions);
}

static bool encode(struct decisions *decisions, const struct decision_event *event, uint64_t at_ms, bool with_texts)
{
	decisions->scratch.length = 0;
	return record_encode(&decisions->scratch, event, at_ms, with_texts) == 0;
}

static void tell_watches(struct decisions *decisions, struct slice namespace)
{
	struct decisions_watch *watch, *next;

	DL_FOREACH_SAFE (decisions->watches, watch, next)
		if (!watch->namespace.data || slice_equal(watch->namespace, namespace))
			watch->event(watch, buffer_slice(&decisions->scratch));
}

void decisions_note(struct decisions *decisions, const struct decision_event *event)
{
	bool keeps_texts = decisions->config->decisions.texts != 0, is_made = false;
	uint64_t at_ms = clock_wall_ms();

	if (decisions->is_closing)
		return;
	if (decisions->watches) {
		is_made = encode(decisions, event, at_ms, true);
		if (is_made)
			tell_watches(decisions, event->namespace);
		else
			drop(decisions);
	}
	if (!decisions->is_kept)
		return;
	if ((is_made && keeps_texts) || encode(decisions, event, at_ms, keeps_texts))
		keep(decisions, event->request, at_ms);
	else
		drop(decisions);
}

void decisions_note_review(struct decisions *decisions, const struct decision_review *review)
{
	uint64_t at_ms = clock_wall_ms();

	if (decisions->is_closing || !decisions->is_kept)
		return;
	decisions->scratch.length = 0;
	if (record_encode_review(&decisions->scratch, review, at_ms, decisions->config->decisions.texts != 0) == 0)
		keep(decisions, review->request, at_ms);
	else
		drop(decisions);
}

/* ---- finding, purging, watching ---- */

int decisions_find(struct decisions *decisions, struct decisions_find *find, uint64_t request)
{
	struct finding *finding;

	if (!decisions->is_kept || decisions->is_closing)
		return ERROR_UNAVAILABLE;
	if (decisions->find_count >= FINDS_MOST)
		return ERROR_BUSY;
	finding = calloc(1, sizeof(*finding));
	if (!finding)
		return ERROR_MEMORY;
	finding->find = find;
	finding->request = request;
	find->private = finding;
	DL_APPEND(decisions->finds, finding);
	decisions->find_count++;
	go_on(decisions);
	return 0;
}

void decisions_find_cancel(struct decisions *decisions, struct decisions_find *find)
{
	struct finding *finding = find->private;

	if (!finding)
		return;
	find->private = NULL;
	finding->find = NULL;
	if (finding->is_taken)
		return;
	DL_DELETE(decisions->finds, finding);
	decisions->find_count--;
	free(finding);
}

static void purge(struct decisions *decisions, enum purge_kind kind, struct slice namespace, struct slice name)
{
	if (!decisions->is_kept || decisions->is_closing)
		return;
	bool is_first = purges_empty(&decisions->asked);
	purges_add(&decisions->asked, kind, namespace, name, decisions->sequence);
	if (!is_first || decisions->is_passing)
		return;
	uint64_t soon_ms = uv_now(decisions->loop) + WRITE_MS;
	decisions->pass_at_ms = soon_ms > decisions->pass_free_ms ? soon_ms : decisions->pass_free_ms;
	go_on(decisions);
}

void decisions_purge(struct decisions *decisions, struct slice namespace, const struct identity *entry)
{
	if (entry)
		purge(decisions, PURGE_ENTRY, namespace, (struct slice){(const char *)entry->bytes, sizeof(entry->bytes)});
	else
		purge(decisions, PURGE_NAMESPACE, namespace, (struct slice){0});
}

void decisions_purge_tag(struct decisions *decisions, struct slice namespace, struct slice tag)
{
	purge(decisions, PURGE_TAG, namespace, tag);
}

int decisions_watch_start(struct decisions *decisions, struct decisions_watch *watch)
{
	if (decisions->watch_count >= DECISIONS_WATCHES || decisions->is_closing)
		return ERROR_BUSY;
	DL_APPEND(decisions->watches, watch);
	decisions->watch_count++;
	return 0;
}

void decisions_watch_stop(struct decisions *decisions, struct decisions_watch *watch)
{
	if (!watch->prev)
		return;
	DL_DELETE(decisions->watches, watch);
	watch->prev = watch->next = NULL;
	decisions->watch_count--;
}

void decisions_watch_end(struct decisions *decisions)
{
	struct decisions_watch *watch;

	while ((watch = decisions->watches) != NULL) {
		decisions_watch_stop(decisions, watch);
		watch->ended(watch);
	}
}

/* ---- life ---- */

struct decisions *decisions_create(struct uv_loop_s *loop, const struct config *config, struct metrics *metrics,
				   const struct log *log)
{
	struct decisions *decisions = calloc(1, sizeof(*decisions));

	if (!decisions)
		return NULL;
	decisions->loop = loop;
	decisions->config = config;
	decisions->metrics = metrics;
	decisions->log = log;
	decisions->is_kept = config->decisions.directory && config->decisions.directory[0];
	decisions->sequence = 1;
	decisions->write_at_ms = decisions->pass_at_ms = decisions->retry_at_ms = decisions->close_at_ms = NEVER;
	buffer_init(&decisions->scratch, RECORD_MOST);
	buffer_init(&decisions->waiting, BUFFER_MOST);
	buffer_init(&decisions->round.batch, BUFFER_MOST);
	disk_init(&decisions->round.disk, config->decisions.directory);
	decisions->round.work.data = &decisions->round;
	(void)uv_timer_init(loop, &decisions->timer);
	decisions->timer.data = decisions;
	/* The first sweep opens the folder. */
	decisions->sweep_at_ms = 0;
	go_on(decisions);
	return decisions;
}

void decisions_destroy(struct decisions *decisions)
{
	if (!decisions)
		return;
	decisions->is_closing = true;
	decisions->close_at_ms = uv_now(decisions->loop) + CLOSE_MS;
	while (decisions->finds)
		decisions_find_cancel(decisions, decisions->finds->find);
	for (size_t i = 0; i < decisions->taken_find_count; i++)
		if (decisions->taken_finds[i]->find)
			decisions_find_cancel(decisions, decisions->taken_finds[i]->find);
	(void)uv_timer_stop(&decisions->timer);
	go_on(decisions);
}
