/* What people said, in a real Redis: verdicts and labels are written and read in batches, and go with what they are
 * about. */
#include "store_fixture.h"

#include <math.h>

#define SPACE SLICE("default")

static struct store_verdict verdict_at(unsigned entry, unsigned own, unsigned question)
{
	return (struct store_verdict){
		.has_pair = true,
		.has_mark = true,
		.entry = identity_at(entry),
		.own = identity_at(own),
		.question = identity_at(question),
		.created_ms = 1000 + entry,
		.expire_ms = 4102444800000,
		.at_ms = 1795000000000,
		.uid = 1000,
		.similarity = 0.875,
	};
}

static void say(struct fixture *f, const struct store_verdict *verdict)
{
	struct writing writing;

	writing_init(&writing);
	assert_int_equal(store_put_verdict(f->store, &writing.write, SPACE, verdict), 0);
	assert_false(writing.done);
	assert_int_equal(store_verdicts_pending(f->store), 1);
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, 0);
	assert_int_equal(store_verdicts_pending(f->store), 0);
}

/* The last of several writes without a callback: a verdict is written behind them. */
static void run_behind(struct fixture *f)
{
	struct store_verdict nothing = {.is_undo = true, .similarity = NAN};

	for (size_t writes = 1; writes > 0;) {
		struct writing writing;
		writing_init(&writing);
		assert_int_equal(store_put_verdict(f->store, &writing.write, SPACE, &nothing), 0);
		run_until(&f->world, &writing.done);
		(void)store_queue(f->store, &writes);
	}
}

struct hearing {
	struct store_verdicts verdicts;
	bool done;
	int error;
	unsigned pairs, marks;
	unsigned of_pair[2048], of_mark[2048]; /* by question */
	struct store_verdict last;
};

static unsigned number_of(const struct identity *identity)
{
	return identity->bytes[0] + identity->bytes[1] * 256u;
}

static void on_verdict(struct store_verdicts *verdicts, const struct store_verdict *verdict)
{
	struct hearing *hearing = verdicts->data;
	unsigned n = number_of(&verdict->question), m = number_of(&verdict->own);

	assert_true(verdict->has_pair != verdict->has_mark);
	assert_false(verdict->is_undo);
	hearing->pairs += verdict->has_pair;
	hearing->marks += verdict->has_mark;
	if (verdict->has_pair)
		hearing->of_pair[n > m ? n : m]++;
	else
		hearing->of_mark[n]++;
	hearing->last = *verdict;
}

static void on_heard(struct store_verdicts *verdicts, int error)
{
	struct hearing *hearing = verdicts->data;

	hearing->done = true;
	hearing->error = error;
}

static void hear(struct fixture *f, struct hearing *hearing)
{
	memset(hearing, 0, sizeof(*hearing));
	hearing->verdicts = (struct store_verdicts){.verdict = on_verdict, .done = on_heard, .data = hearing};
	assert_int_equal(store_verdicts_read(f->store, &hearing->verdicts, SPACE), 0);
	assert_false(hearing->done);
	run_until(&f->world, &hearing->done);
	assert_int_equal(hearing->error, 0);
}

static void a_verdict_is_a_field_of_two_hashes_without_an_end(void **state)
{
	struct fixture *f = *state;
	struct store_verdict verdict = verdict_at(1, 2, 3);
	static struct hearing hearing;

	for (int i = 0; i < 2; i++) {
		say(f, &verdict);
		hear(f, &hearing);
		assert_int_equal(hearing.pairs, 1);
		assert_int_equal(hearing.marks, 1);
	}
	assert_true(hearing.last.has_mark && identity_equal(&hearing.last.entry, &verdict.entry));
	assert_int_equal(hearing.last.created_ms, 1001);
	assert_int_equal(hearing.last.expire_ms, 4102444800000);
	assert_int_equal(server_integer(&f->world, "TTL", "semcache:reject:default"), -1);
	assert_int_equal(server_integer(&f->world, "TTL", "semcache:quarantine:default"), -1);
	assert_int_equal(server_integer(&f->world, "SCARD", "semcache:namespaces"), 1);
	assert_int_equal(server_integer(&f->world, "XLEN", "semcache:log"), 2);
	/* The pair has no order. */
	struct store_verdict turned = verdict_at(1, 3, 2);
	turned.has_mark = false;
	say(f, &turned);
	hear(f, &hearing);
	assert_int_equal(hearing.pairs, 1);
	verdict.is_undo = true;
	say(f, &verdict);
	hear(f, &hearing);
	assert_int_equal(hearing.pairs + hearing.marks, 0);
}

static void thousands_are_read_in_batches_each_at_least_once(void **state)
{
	struct fixture *f = *state;
	static struct hearing hearing;

	for (unsigned i = 10; i < 2048; i++) {
		struct store_verdict verdict = verdict_at(i, 1, i);
		assert_int_equal(store_put_verdict(f->store, NULL, SPACE, &verdict), 0);
	}
	run_behind(f);
	assert_int_equal(server_integer(&f->world, "HLEN", "semcache:reject:default"), 2038);
	hear(f, &hearing);
	for (unsigned i = 10; i < 2048; i++)
		assert_true(hearing.of_pair[i] >= 1 && hearing.of_mark[i] >= 1);
}

static void what_is_not_ours_is_passed_over(void **state)
{
	struct fixture *f = *state;
	struct store_verdict verdict = verdict_at(1, 2, 3);
	static struct hearing hearing;

	say(f, &verdict);
	server_do(&f->world, "HSET semcache:reject:default short value");
	server_do(&f->world, "HSET semcache:quarantine:default %s%s nothing",
		  "0000000000000000000000000000000000000000000000000000000000000001",
		  "0000000000000000000000000000000000000000000000000000000000000002");
	hear(f, &hearing);
	assert_int_equal(hearing.pairs, 1);
	assert_int_equal(hearing.marks, 1);
	server_do(&f->world, "DEL semcache:reject:default");
	server_do(&f->world, "SET semcache:reject:default x");
	hear(f, &hearing);
	assert_int_equal(hearing.pairs, 0);
	assert_int_equal(hearing.marks, 1);
}

static void on_first(struct store_verdicts *verdicts, const struct store_verdict *verdict)
{
	(void)verdict;
	*(unsigned *)verdicts->data += 1;
	store_verdicts_cancel(verdicts);
}

static void on_never(struct store_verdicts *verdicts, int error)
{
	(void)verdicts;
	fail_msg("done after a cancel: %d", error);
}

static void a_read_is_cancelled_within_its_own_callback(void **state)
{
	struct fixture *f = *state;
	unsigned count = 0;
	struct store_verdicts verdicts = {.verdict = on_first, .done = on_never, .data = &count};

	for (unsigned i = 0; i < 5; i++) {
		struct store_verdict verdict = verdict_at(1, 2, 10 + i);
		say(f, &verdict);
	}
	assert_int_equal(store_verdicts_read(f->store, &verdicts, SPACE), 0);
	while (count == 0)
		(void)uv_run(&f->world.loop, UV_RUN_ONCE);
	run_behind(f);
	assert_int_equal(count, 1);
	count = 0;
	assert_int_equal(store_verdicts_read(f->store, &verdicts, SPACE), 0);
	store_verdicts_cancel(&verdicts);
	run_behind(f);
	assert_int_equal(count, 0);
}

/* ---- labels ---- */

struct labels {
	struct store_labels labels;
	bool done;
	int error;
	unsigned count;
	struct store_label found[1200];
};

static void on_label(struct store_labels *labels, const struct store_label *label)
{
	struct labels *all = labels->data;

	assert_true(all->count < sizeof(all->found) / sizeof(all->found[0]));
	all->found[all->count++] = *label;
}

static void on_labels(struct store_labels *labels, int error)
{
	struct labels *all = labels->data;

	all->done = true;
	all->error = error;
}

static void read_labels(struct fixture *f, struct labels *all)
{
	memset(all, 0, sizeof(*all));
	all->labels = (struct store_labels){.label = on_label, .done = on_labels, .data = all};
	assert_int_equal(store_labels_read(f->store, &all->labels, SPACE), 0);
	assert_false(all->done);
	run_until(&f->world, &all->done);
	assert_int_equal(all->error, 0);
}

static struct store_label label_at(unsigned entry, unsigned question)
{
	struct store_label label = {
		.question = identity_at(question),
		.entry = identity_at(entry),
		.similarity = 0.9 - question / 10000.0,
		.next = NAN,
		.score = 0.5,
		.opinion = NAN,
		.right = question % 2,
		.source = LABEL_AUDIT,
		.at_ms = 1795000000000 + question,
	};

	memcpy(label.embedder, EMBEDDER, sizeof(label.embedder));
	return label;
}

static void labels_come_back_as_they_were_in_order(void **state)
{
	struct fixture *f = *state;
	static struct labels all;

	read_labels(f, &all);
	assert_int_equal(all.count, 0);
	for (unsigned i = 0; i < 1000; i++) {
		struct store_label label = label_at(i % 7, i);
		assert_int_equal(store_put_label(f->store, SPACE, &label), 0);
	}
	run_behind(f);
	server_do(&f->world, "XADD semcache:label:default * not ours");
	read_labels(f, &all);
	assert_int_equal(all.count, 1000);
	for (unsigned i = 0; i < 1000; i++) {
		struct store_label expected = label_at(i % 7, i);
		const struct store_label *label = &all.found[i];
		assert_true(identity_equal(&label->question, &expected.question));
		assert_true(identity_equal(&label->entry, &expected.entry));
		assert_true(fabs(label->similarity - expected.similarity) < 1e-9 && label->score == 0.5);
		assert_true(isnan(label->next) && isnan(label->opinion));
		assert_true(label->right == expected.right && label->source == LABEL_AUDIT);
		assert_string_equal(label->embedder, EMBEDDER);
		assert_int_equal(label->at_ms, expected.at_ms);
	}
}

static void of_many_labels_the_youngest_are_kept(void **state)
{
	struct fixture *f = *state;
	long long length;

	for (unsigned i = 0; i < 12000; i++) {
		struct store_label label = label_at(1, i);
		assert_int_equal(store_put_label(f->store, SPACE, &label), 0);
	}
	run_behind(f);
	length = server_integer(&f->world, "XLEN", "semcache:label:default");
	assert_in_range(length, 10000, 10200);
}

/* ---- what goes with what ---- */

static void what_was_said_goes_with_its_entries(void **state)
{
	struct fixture *f = *state;
	static struct labels all;
	static struct hearing hearing;
	struct identity entries[] = {identity_at(3), identity_at(1), identity_at(900)};

	for (unsigned i = 0; i < 1100; i++) {
		struct store_verdict verdict = verdict_at(i % 5, i % 5, 100 + i);
		struct store_label label = label_at(i % 5, 100 + i);
		assert_int_equal(store_put_verdict(f->store, NULL, SPACE, &verdict), 0);
		assert_int_equal(store_put_label(f->store, SPACE, &label), 0);
	}
	assert_int_equal(store_forget_said(f->store, SPACE, entries, 3, NULL), 0);
	run_behind(f);
	read_labels(f, &all);
	assert_int_equal(all.count, 660);
	for (unsigned i = 0; i < all.count; i++)
		assert_true(number_of(&all.found[i].entry) != 1 && number_of(&all.found[i].entry) != 3);
	hear(f, &hearing);
	assert_int_equal(hearing.pairs, 1100);
	assert_int_equal(hearing.marks, 660);
}

static void what_was_said_goes_with_a_text(void **state)
{
	struct fixture *f = *state;
	static struct labels all;
	static struct hearing hearing;
	struct identity text = identity_at(105), own = identity_at(2);

	for (unsigned i = 0; i < 10; i++) {
		struct store_verdict verdict = verdict_at(i, 1 + i % 2, 100 + i);
		struct store_label label = label_at(i, 100 + i);
		assert_int_equal(store_put_verdict(f->store, NULL, SPACE, &verdict), 0);
		assert_int_equal(store_put_label(f->store, SPACE, &label), 0);
	}
	assert_int_equal(store_forget_said(f->store, SPACE, NULL, 0, &text), 0);
	run_behind(f);
	read_labels(f, &all);
	hear(f, &hearing);
	assert_int_equal(all.count, 9);
	assert_int_equal(hearing.pairs, 9);
	assert_int_equal(store_forget_said(f->store, SPACE, NULL, 0, &own), 0);
	run_behind(f);
	hear(f, &hearing);
	assert_int_equal(hearing.pairs, 5);
}

static void what_people_said_of_one_question_goes_alone(void **state)
{
	struct fixture *f = *state;
	static struct labels all;
	struct identity entry = identity_at(1), question = identity_at(100);
	enum label_source kept[] = {LABEL_AUDIT, LABEL_SHADOW, LABEL_JUDGE, LABEL_PAIRS};

	for (int source = LABEL_FEEDBACK; source <= LABEL_PAIRS; source++) {
		struct store_label label = label_at(1, 100);
		label.source = (enum label_source)source;
		assert_int_equal(store_put_label(f->store, SPACE, &label), 0);
	}
	assert_int_equal(store_forget_said(f->store, SPACE, &entry, 1, &question), 0);
	run_behind(f);
	read_labels(f, &all);
	assert_int_equal(all.count, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(all.found[i].source, kept[i]);
}

static void a_verdict_outlives_the_connection_that_it_was_sent_on(void **state)
{
	struct fixture *f = *state;
	struct store_verdict verdict = verdict_at(1, 2, 3);
	static struct hearing hearing;
	struct writing writing;

	run_behind(f);
	server_pause(&f->world);
	writing_init(&writing);
	assert_int_equal(store_put_verdict(f->store, &writing.write, SPACE, &verdict), 0);
	run_until(&f->world, &writing.done);
	assert_int_equal(writing.error, ERROR_PENDING);
	assert_int_equal(store_verdicts_pending(f->store), 1);
	server_continue(&f->world);
	while (store_verdicts_pending(f->store) > 0)
		(void)uv_run(&f->world.loop, UV_RUN_ONCE);
	hear(f, &hearing);
	assert_int_equal(hearing.pairs + hearing.marks, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_verdict_is_a_field_of_two_hashes_without_an_end),
		TEST(thousands_are_read_in_batches_each_at_least_once),
		TEST(what_is_not_ours_is_passed_over),
		TEST(a_read_is_cancelled_within_its_own_callback),
		TEST(labels_come_back_as_they_were_in_order),
		TEST(of_many_labels_the_youngest_are_kept),
		TEST(what_was_said_goes_with_its_entries),
		TEST(what_was_said_goes_with_a_text),
		TEST(what_people_said_of_one_question_goes_alone),
		TEST(a_verdict_outlives_the_connection_that_it_was_sent_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
