/* A log of decisions on a folder and a loop of the test's own, and ways to note, find and wait. */
#ifndef TESTS_UNIT_DECISIONS_FIXTURE_H
#define TESTS_UNIT_DECISIONS_FIXTURE_H

#include "daemon/decisions.h"
#include "daemon/decisions_private.h"
#include "daemon/metrics.h"

#include "proto/raw.h"

#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define TURNS_MOST 100000

struct fixture {
	uv_loop_t loop;
	struct config config;
	struct metrics metrics;
	struct log log;
	char directory[64], inner[80];
	struct decisions *decisions;
};

static inline void open_log(struct fixture *f)
{
	f->decisions = decisions_create(&f->loop, &f->config, &f->metrics, &f->log);
	assert_non_null(f->decisions);
}

static inline void close_log(struct fixture *f)
{
	decisions_destroy(f->decisions);
	f->decisions = NULL;
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->directory, sizeof(f->directory), "/tmp/decisions-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	(void)snprintf(f->inner, sizeof(f->inner), "%s/log", f->directory);
	f->config.decisions.directory = f->inner;
	f->config.decisions.max_bytes = 64u << 20;
	f->config.decisions.max_age = 604800;
	f->config.decisions.texts = 1;
	log_init(&f->log, LOG_LEVEL_ERROR);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	char command[256];

	if (f->decisions)
		close_log(f);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	(void)snprintf(command, sizeof(command), "chmod -R u+rwx %s && rm -rf %s", f->directory, f->directory);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* ---- what is noted ---- */

static inline struct identity identity_of_number(unsigned number)
{
	struct identity identity = {{0}};

	memcpy(identity.bytes, &number, sizeof(number));
	return identity;
}

static const struct policy policy = {.threshold = 0.9, .guards_on = GUARD_BIT(GUARD_numbers), .origin = ORIGIN_file};

/* A question about `number`, whose nearest is the entry `entry`, which is served if `serves`. */
struct noted {
	uint64_t request;
	const char *namespace, *question, *tag;
	unsigned number, entry;
	bool serves;
};

static inline void note(struct fixture *f, const struct noted *n)
{
	char nearest[] = "the stored question";
	struct slice tag = slice_of(n->tag);
	struct candidate candidate = {
		.identity = identity_of_number(n->entry),
		.similarity = 0.97,
		.created_ms = 1700000000000,
		.fresh_until_at_ms = UINT64_MAX,
		.expires_at_ms = UINT64_MAX,
		.vetoes = n->serves ? 0 : GUARD_BIT(GUARD_numbers),
		.opinion = (double)NAN,
		.question = nearest,
		.question_length = strlen(nearest),
	};
	struct decision decision = {
		.serve = n->serves, .reason = n->serves ? REASON_NONE : REASON_guard_numbers, .plain = true, .score = 0.97};
	struct decision_event event = {
		.request = n->request,
		.uid = 1000,
		.pid = 4321,
		.namespace = slice_of(n->namespace ? n->namespace : "default"),
		.question = slice_of(n->question ? n->question : "the asked question"),
		.model = SLICE("test-model"),
		.upstream = SLICE("main"),
		.tags = &tag,
		.tag_count = n->tag ? 1 : 0,
		.identity = identity_of_number(n->number),
		.scope = identity_of_number(7),
		.tier = n->serves ? TIER_SEMANTIC : TIER_UPSTREAM,
		.mode = CONFIG_MODE_THRESHOLD,
		.policy = &policy,
		.decision = &decision,
		.candidates = &candidate,
		.count = 1,
		.has_served = n->serves,
		.served = identity_of_number(n->entry),
		.served_question = slice_of(nearest),
		.served_model = SLICE("test-model"),
		.served_similarity = 0.97,
		.served_score = 0.97,
		.served_created_ms = 1700000000000,
		.alias_kind = -1,
	};

	decisions_note(f->decisions, &event);
}

static inline void note_plain(struct fixture *f, uint64_t request)
{
	note(f, &(struct noted){.request = request, .number = 1, .entry = 2, .serves = true});
}

/* ---- waiting ---- */

static inline void turn(struct fixture *f)
{
	(void)uv_run(&f->loop, UV_RUN_ONCE);
}

static inline void wait_counter(struct fixture *f, const uint64_t *counter, uint64_t value)
{
	for (int i = 0; *counter < value && i < TURNS_MOST; i++)
		turn(f);
	assert_true(*counter >= value);
}

struct found {
	struct decisions_find find;
	bool done;
	int error;
	char *record;
	size_t length;
};

static inline void on_found(struct decisions_find *find, struct slice record, int error)
{
	struct found *found = find->data;

	assert_false(found->done);
	found->done = true;
	found->error = error;
	if (!record.data)
		return;
	found->record = malloc(record.length);
	assert_non_null(found->record);
	memcpy(found->record, record.data, record.length);
	found->length = record.length;
}

static inline void start_find(struct fixture *f, struct found *found, uint64_t request)
{
	*found = (struct found){.find = {.done = on_found, .data = found}};
	assert_int_equal(decisions_find(f->decisions, &found->find, request), 0);
	assert_false(found->done);
}

static inline void wait_found(struct fixture *f, struct found *found)
{
	for (int i = 0; !found->done && i < TURNS_MOST; i++)
		turn(f);
	assert_true(found->done);
}

static inline bool is_found(struct fixture *f, uint64_t request)
{
	struct found found;

	start_find(f, &found, request);
	wait_found(f, &found);
	assert_int_equal(found.error, 0);
	free(found.record);
	return found.record != NULL;
}

/* ---- the folder ---- */

static inline size_t segments(const struct fixture *f, glob_t *list)
{
	char pattern[128];

	(void)snprintf(pattern, sizeof(pattern), "%s/*.decisions", f->inner);
	*list = (glob_t){0};
	(void)glob(pattern, 0, NULL, list);
	return list->gl_pathc;
}

static inline size_t segment_count(const struct fixture *f)
{
	glob_t list;
	size_t count = segments(f, &list);

	globfree(&list);
	return count;
}

static inline uint64_t folder_bytes(const struct fixture *f)
{
	glob_t list;
	struct stat st;
	uint64_t sum = 0;

	for (size_t i = 0, count = segments(f, &list); i < count; i++) {
		assert_int_equal(stat(list.gl_pathv[i], &st), 0);
		sum += (uint64_t)st.st_size;
	}
	globfree(&list);
	return sum;
}

/* Whether any file in the folder has `text` in it. */
static inline bool folder_has(const struct fixture *f, const char *text)
{
	char command[256];

	(void)snprintf(command, sizeof(command), "grep -qraF -- '%s' %s", text, f->inner);
	return system(command) == 0;
}

static inline void only_segment(const struct fixture *f, char path[128])
{
	glob_t list;

	assert_int_equal(segments(f, &list), 1);
	(void)snprintf(path, 128, "%s", list.gl_pathv[0]);
	globfree(&list);
}

static inline off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

/* Three records on disk, and their place; the log is closed. */
static inline off_t three_records(struct fixture *f, char path[128])
{
	open_log(f);
	note_plain(f, 1);
	note_plain(f, 2);
	note_plain(f, 3);
	close_log(f);
	only_segment(f, path);
	return (size_of(path) - SEGMENT_HEAD) / 3;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
