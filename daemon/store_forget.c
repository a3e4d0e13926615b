/* What people said goes with what it is about: the marks and labels of entries that were removed, and the rejections and
 * labels of a text that was.
 *
 *   SCAN (marks, or rejections) ─> those of the batch that are meant are removed ─┐
 *    ^─────────────────────────────────────────────────────────────────────────────┤
 *   LABELS (a batch) ─> those that are meant are removed ──────────────────────────┘ until the end
 *
 * Nothing here is hidden from anybody: memory has forgotten before. What can go wrong: the connection breaks (it starts
 * anew). */
#include "store_labels.h"

#include "store_words.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 256
#define FIELD (2 * IDENTITY_HEX - 1)

enum stage { STAGE_SCAN, STAGE_SCAN_REMOVE, STAGE_LABELS, STAGE_LABELS_REMOVE };

struct forgetting {
	struct job job;
	enum stage stage;
	bool has_question, is_end;
	struct identity question;
	char at[48]; /* the cursor, or the id to go on from */
	unsigned found_count;
	char (*found)[FIELD]; /* fields, or ids */
	size_t count;
	struct identity entries[]; /* sorted */
};

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct identity));
}

static bool has_entry(const struct forgetting *forgetting, const struct identity *entry)
{
	return bsearch(entry, forgetting->entries, forgetting->count, sizeof(*entry), compare) != NULL;
}

static bool is_question(const struct forgetting *forgetting, const struct identity *text)
{
	return forgetting->has_question && identity_equal(&forgetting->question, text);
}

/* Whether what is said of this entry and this question goes. */
static bool is_meant(const struct forgetting *forgetting, const struct identity *entry, const struct identity *question)
{
	if (forgetting->count == 0)
		return is_question(forgetting, question);
	return has_entry(forgetting, entry) && (!forgetting->has_question || is_question(forgetting, question));
}

static bool is_field_meant(const struct forgetting *forgetting, struct slice field)
{
	struct identity first, second;

	if (words_read_two(field, &first, &second) != 0)
		return false;
	if (forgetting->count > 0)
		return is_meant(forgetting, &first, &second);
	return is_question(forgetting, &first) || is_question(forgetting, &second);
}

static void note_found(struct forgetting *forgetting, struct slice name)
{
	if (forgetting->found_count == BATCH || name.length >= FIELD)
		return;
	memcpy(forgetting->found[forgetting->found_count], name.data, name.length);
	forgetting->found[forgetting->found_count++][name.length] = '\0';
}

void command_forget_said(struct command *command, const struct store *store, struct slice namespace)
{
	command_start(command, "UNLINK");
	command_key(command, store, "reject:", namespace);
	command_key(command, store, "quarantine:", namespace);
	command_key(command, store, "label:", namespace);
}

/* ---- the stages ---- */

static void start(const struct forgetting *forgetting, struct command *command, const char *name)
{
	bool is_scan = forgetting->stage <= STAGE_SCAN_REMOVE;
	const char *kind = !is_scan ? "label:" : forgetting->count > 0 ? "quarantine:" : "reject:";

	command_start(command, name);
	command_key(command, forgetting->job.talk.store, kind, slice_of(forgetting->job.namespace));
}

static void send_stage(struct forgetting *forgetting)
{
	struct store *store = forgetting->job.talk.store;
	struct command command;

	/* What is not ours under our key has nothing that goes. */
	forgetting->is_end = forgetting->is_end || forgetting->stage == STAGE_SCAN || forgetting->stage == STAGE_LABELS;
	switch (forgetting->stage) {
	case STAGE_SCAN:
		start(forgetting, &command, "HSCAN");
		command_word(&command, forgetting->at);
		command_word(&command, "COUNT");
		command_word(&command, "128");
		forgetting->found_count = 0;
		break;
	case STAGE_LABELS:
		labels_range(&command, store, slice_of(forgetting->job.namespace), forgetting->at);
		forgetting->found_count = 0;
		break;
	case STAGE_SCAN_REMOVE:
	case STAGE_LABELS_REMOVE:
		start(forgetting, &command, forgetting->stage == STAGE_SCAN_REMOVE ? "HDEL" : "XDEL");
		for (unsigned i = 0; i < forgetting->found_count; i++)
			command_word(&command, forgetting->found[i]);
		break;
	}
	command_send(&command, store->writes, &forgetting->job.talk);
}

/* A small hash comes whole, whatever was asked for: what does not fit is found when the scan is done once more. */
static void take_scan(struct forgetting *forgetting, const struct redisReply *reply)
{
	const struct redisReply *fields = reply_at(reply, 1);

	reply_copy(forgetting->at, sizeof(forgetting->at), reply_at(reply, 0));
	forgetting->is_end = !forgetting->at[0] || strcmp(forgetting->at, "0") == 0;
	for (size_t i = 0; reply_at(fields, i + 1); i += 2)
		if (is_field_meant(forgetting, reply_text(reply_at(fields, i))))
			note_found(forgetting, reply_text(reply_at(fields, i)));
	if (forgetting->found_count < BATCH)
		return;
	memcpy(forgetting->at, "0", sizeof("0"));
	forgetting->is_end = false;
}

static void take_labels(struct forgetting *forgetting, const struct redisReply *reply)
{
	bool is_one_pair = forgetting->count > 0 && forgetting->has_question;
	struct store_label label;

	forgetting->is_end = true;
	for (size_t i = 0; reply_at(reply, i); i++) {
		const struct redisReply *record = reply_at(reply, i);
		struct slice id = reply_text(reply_at(record, 0));
		forgetting->is_end = !label_next_id(id, forgetting->at, sizeof(forgetting->at));
		if (label_read(record, &label) && is_meant(forgetting, &label.entry, &label.question) &&
		    (!is_one_pair || label.source <= LABEL_CALLER))
			note_found(forgetting, id);
	}
}

static void forgetting_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct forgetting *forgetting = (struct forgetting *)talk;

	(void)n;
	job_note(&forgetting->job, reply);
	if (reply->type != REDIS_REPLY_ARRAY)
		return;
	if (forgetting->stage == STAGE_SCAN)
		take_scan(forgetting, reply);
	else if (forgetting->stage == STAGE_LABELS)
		take_labels(forgetting, reply);
}

/* Goes on to the next stage. Returns false at the end. */
static bool next_stage(struct forgetting *forgetting)
{
	if (forgetting->found_count > 0 && (forgetting->stage == STAGE_SCAN || forgetting->stage == STAGE_LABELS)) {
		forgetting->stage++;
		return true;
	}
	bool is_scan = forgetting->stage <= STAGE_SCAN_REMOVE;
	if (!forgetting->is_end) {
		forgetting->stage = is_scan ? STAGE_SCAN : STAGE_LABELS;
		return true;
	}
	if (!is_scan)
		return false;
	forgetting->stage = STAGE_LABELS;
	memcpy(forgetting->at, "-", sizeof("-"));
	return true;
}

static void forgetting_round(struct talk *talk)
{
	struct forgetting *forgetting = (struct forgetting *)talk;

	if (!job_round_went_well(&forgetting->job))
		return;
	if (!next_stage(forgetting)) {
		job_finish(&forgetting->job, 0);
		return;
	}
	send_stage(forgetting);
	if (talk->awaited == 0)
		redis_reset(talk->store->writes, "a command could not be sent");
}

/* Other daemons learn of removed entries by other records, but of a text by this one. */
static void send_record(struct forgetting *forgetting)
{
	struct store *store = forgetting->job.talk.store;
	struct slice space = slice_of(forgetting->job.namespace);
	struct command command;

	command_record(&command, store, "forget", &forgetting->question, space, store_generation(store, space));
	command_send(&command, store->writes, &forgetting->job.talk);
}

static void forgetting_send(struct job *job)
{
	struct forgetting *forgetting = (struct forgetting *)job;

	if (forgetting->count == 0)
		send_record(forgetting);
	forgetting->stage = STAGE_SCAN;
	memcpy(forgetting->at, "0", sizeof("0"));
	send_stage(forgetting);
}

static void forgetting_destroy(struct job *job)
{
	free(((struct forgetting *)job)->found);
	free(job);
}

int store_forget_said(struct store *store, struct slice namespace, const struct identity *entries, size_t count,
		      const struct identity *question)
{
	bool is_possible = namespace.length > 0 && namespace.length < STORE_NAMESPACE && (count > 0 || question);
	size_t size = sizeof(struct forgetting) + count * sizeof(*entries);
	struct forgetting *forgetting = is_possible ? calloc(1, size) : NULL;

	if (!forgetting)
		return is_possible ? ERROR_MEMORY : ERROR_INVALID;
	forgetting->found = calloc(BATCH, sizeof(*forgetting->found));
	if (!forgetting->found) {
		free(forgetting);
		return ERROR_MEMORY;
	}
	job_init(store, &forgetting->job, namespace, size + BATCH * sizeof(*forgetting->found));
	if (count > 0)
		memcpy(forgetting->entries, entries, count * sizeof(*entries));
	qsort(forgetting->entries, count, sizeof(*entries), compare);
	forgetting->count = count;
	forgetting->has_question = question != NULL;
	if (question)
		forgetting->question = *question;
	forgetting->job.is_removal = true;
	forgetting->job.talk.reply = forgetting_reply;
	forgetting->job.talk.round = forgetting_round;
	forgetting->job.send = forgetting_send;
	forgetting->job.destroy = forgetting_destroy;
	return job_queue(store, &forgetting->job, NULL);
}
