/* Labels are records of a stream for each namespace, of which the youngest some ten thousand are kept. They are read from
 * the oldest on, in batches. What can go wrong: as for any job and any ask; a record that is not ours is passed over. */
#include "store_labels.h"

#include "store_words.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_KEPT "10000"
#define BATCH "256"

static const char *const sources[] = {
	[LABEL_FEEDBACK] = "feedback", [LABEL_ACCEPT] = "accept", [LABEL_CALLER] = "caller", [LABEL_AUDIT] = "audit",
	[LABEL_SHADOW] = "shadow",     [LABEL_JUDGE] = "judge",   [LABEL_PAIRS] = "pairs",
};

/* ---- writing ---- */

struct labelling {
	struct job job;
	struct store_label label;
};

static void add_number(struct command *command, const char *name, double value)
{
	if (isnan(value))
		return;
	command_word(command, name);
	command_print(command, "%.9g", value);
}

static void label_send(struct job *job)
{
	struct labelling *labelling = (struct labelling *)job;
	const struct store_label *label = &labelling->label;
	struct command command;

	command_start(&command, "XADD");
	command_key(&command, job->talk.store, "label:", slice_of(job->namespace));
	command_word(&command, "MAXLEN");
	command_word(&command, "~");
	command_word(&command, LABELS_KEPT);
	command_word(&command, "*");
	command_word(&command, "question");
	words_one(&command, &label->question);
	command_word(&command, "entry");
	words_one(&command, &label->entry);
	add_number(&command, "similarity", label->similarity);
	add_number(&command, "next", label->next);
	add_number(&command, "score", label->score);
	add_number(&command, "opinion", label->opinion);
	command_word(&command, "right");
	command_word(&command, label->right ? "1" : "0");
	command_word(&command, "source");
	command_word(&command, sources[label->source]);
	command_word(&command, "embedder");
	command_word(&command, label->embedder);
	command_word(&command, "at_ms");
	command_print(&command, "%" PRIu64, label->at_ms);
	command_send(&command, job->talk.store->writes, &job->talk);
}

static void label_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	(void)n;
	job_note((struct job *)talk, reply);
}

static void label_round(struct talk *talk)
{
	struct job *job = (struct job *)talk;

	if (job_round_went_well(job))
		job_finish(job, 0);
}

static void label_destroy(struct job *job)
{
	free(job);
}

int store_put_label(struct store *store, struct slice namespace, const struct store_label *label)
{
	bool is_possible = namespace.length > 0 && namespace.length < STORE_NAMESPACE;
	struct labelling *labelling = is_possible ? calloc(1, sizeof(*labelling)) : NULL;

	if (!labelling)
		return ERROR_MEMORY;
	job_init(store, &labelling->job, namespace, sizeof(*labelling));
	labelling->label = *label;
	labelling->job.talk.reply = label_reply;
	labelling->job.talk.round = label_round;
	labelling->job.send = label_send;
	labelling->job.destroy = label_destroy;
	return job_queue(store, &labelling->job, NULL);
}

/* ---- reading ---- */

static struct slice record_field(const struct redisReply *fields, const char *name)
{
	for (size_t i = 0; reply_at(fields, i + 1); i += 2)
		if (slice_equal(reply_text(reply_at(fields, i)), slice_of(name)))
			return reply_text(reply_at(fields, i + 1));
	return (struct slice){NULL, 0};
}

static double read_double(const struct redisReply *fields, const char *name)
{
	struct slice text = record_field(fields, name);
	char copy[40];
	char *end;

	if (!text.data || text.length == 0 || text.length >= sizeof(copy))
		return NAN;
	memcpy(copy, text.data, text.length);
	copy[text.length] = '\0';
	double value = strtod(copy, &end);
	return end == copy + text.length && isfinite(value) ? value : NAN;
}

static bool read_source(struct slice text, enum label_source *source)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (slice_equal(text, slice_of(sources[i]))) {
			*source = (enum label_source)i;
			return true;
		}
	return false;
}

bool label_read(const struct redisReply *record, struct store_label *out)
{
	const struct redisReply *fields = reply_at(record, 1);
	struct slice right = record_field(fields, "right"), embedder = record_field(fields, "embedder");
	struct store_label label = {
		.similarity = read_double(fields, "similarity"),
		.next = read_double(fields, "next"),
		.score = read_double(fields, "score"),
		.opinion = read_double(fields, "opinion"),
		.right = slice_equal(right, SLICE("1")),
	};

	if (!right.data || isnan(label.similarity) || label.similarity < -1 || label.similarity > 1 || !embedder.data ||
	    embedder.length >= sizeof(label.embedder) || !read_source(record_field(fields, "source"), &label.source) ||
	    identity_parse(record_field(fields, "question"), &label.question) != 0 ||
	    identity_parse(record_field(fields, "entry"), &label.entry) != 0)
		return false;
	memcpy(label.embedder, embedder.data, embedder.length);
	(void)fields_read_number(record_field(fields, "at_ms"), &label.at_ms);
	*out = label;
	return true;
}

/* "MILLISECONDS-SEQUENCE": the least id behind it, so that no Redis needs to know of open intervals. */
bool label_next_id(struct slice id, char *next, size_t size)
{
	const char *dash = id.data ? memchr(id.data, '-', id.length) : NULL;
	uint64_t ms, sequence;

	if (!dash || fields_read_number((struct slice){id.data, (size_t)(dash - id.data)}, &ms) != 0 ||
	    fields_read_number((struct slice){dash + 1, id.length - (size_t)(dash - id.data) - 1}, &sequence) != 0)
		return false;
	(void)snprintf(next, size, "%" PRIu64 "-%" PRIu64, ms, sequence + 1);
	return true;
}

struct labels {
	struct ask ask;
	struct store_labels *labels; /* NULL = cancelled */
	char name[STORE_NAMESPACE];
	char from[48];
	bool is_end;
};

static void labels_ended(struct ask *ask, int error)
{
	struct labels *labels = (struct labels *)ask;
	struct store_labels *user = labels->labels;

	labels->labels = NULL;
	if (!user)
		return;
	user->private = NULL;
	if (error != ERROR_CANCELLED)
		user->done(user, error);
}

void labels_range(struct command *command, const struct store *store, struct slice namespace, const char *from)
{
	command_start(command, "XRANGE");
	command_key(command, store, "label:", namespace);
	command_word(command, from);
	command_word(command, "+");
	command_word(command, "COUNT");
	command_word(command, BATCH);
}

static void labels_send(struct ask *ask)
{
	struct labels *labels = (struct labels *)ask;
	struct command command;

	labels_range(&command, ask->talk.store, slice_of(labels->name), labels->from);
	command_send(&command, ask->talk.store->reads, &ask->talk);
}

static void labels_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct labels *labels = (struct labels *)talk;
	struct store_label label;

	(void)n;
	if (labels->ask.is_over)
		return;
	int error = store_read_error(talk->store, reply);
	if (error) {
		ask_end(&labels->ask, error);
		return;
	}
	labels->is_end = true;
	labels->ask.is_held = true;
	for (size_t i = 0; reply_at(reply, i) && !labels->ask.is_over; i++) {
		const struct redisReply *record = reply_at(reply, i);
		labels->is_end = !label_next_id(reply_text(reply_at(record, 0)), labels->from, sizeof(labels->from));
		if (label_read(record, &label))
			labels->labels->label(labels->labels, &label);
	}
	labels->ask.is_held = false;
}

static void labels_round(struct talk *talk)
{
	struct labels *labels = (struct labels *)talk;

	if (!ask_goes_on(&labels->ask))
		return;
	if (!labels->is_end) {
		ask_extend(&labels->ask);
		labels_send(&labels->ask);
		if (labels->ask.talk.awaited > 0)
			return;
	}
	ask_end(&labels->ask, labels->is_end ? 0 : ERROR_UNAVAILABLE);
	ask_settle(&labels->ask);
}

int store_labels_read(struct store *store, struct store_labels *user, struct slice namespace)
{
	bool is_possible = namespace.length > 0 && namespace.length < STORE_NAMESPACE;
	struct labels *labels = is_possible ? calloc(1, sizeof(*labels)) : NULL;

	if (!labels)
		return ERROR_MEMORY;
	memcpy(labels->name, namespace.data, namespace.length);
	memcpy(labels->from, "-", sizeof("-"));
	labels->labels = user;
	labels->ask.send = labels_send;
	labels->ask.ended = labels_ended;
	labels->ask.is_walk = true;
	labels->ask.talk.reply = labels_reply;
	labels->ask.talk.round = labels_round;
	int error = ask_start(store, &labels->ask);
	if (error) {
		free(labels);
		return error;
	}
	user->private = labels;
	return 0;
}
