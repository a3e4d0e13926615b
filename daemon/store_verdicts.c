/* What people said, in two hashes for each namespace that have no end: every verdict is a field of its own, so that writing
 * one twice, from two hosts or in any order comes to the same. The record in the log appears with it. It is read in batches
 * (HSCAN), in two rows of rounds. What can go wrong: as for any job and any ask; a field that is not ours is passed over. */
#include "store_private.h"

#include "store_words.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH "512"

/* ---- writing ---- */

struct said {
	struct job job;
	struct store_verdict verdict;
	bool is_marked; /* no read finds the alias until this is done */
};

static void said_command(struct said *said, struct command *command)
{
	command_send(command, said->job.talk.store->writes, &said->job.talk);
}

static void start(struct said *said, struct command *command, const char *name, const char *kind)
{
	command_start(command, name);
	command_key(command, said->job.talk.store, kind, slice_of(said->job.namespace));
}

static void send_word(struct said *said, const char *word)
{
	struct command command;

	command_start(&command, word);
	said_command(said, &command);
}

static void put_pair(struct said *said)
{
	const struct store_verdict *verdict = &said->verdict;
	char entry[IDENTITY_HEX];
	struct command command;

	start(said, &command, verdict->is_undo ? "HDEL" : "HSET", "reject:");
	words_pair(&command, &verdict->own, &verdict->question);
	if (!verdict->is_undo) {
		identity_hex(&verdict->entry, entry);
		/* Which of the field's two is the entry's own. */
		int own = memcmp(&verdict->own, &verdict->question, sizeof(verdict->own)) <= 0 ? 1 : 2;
		if (isnan(verdict->similarity))
			command_print(&command, "at_ms=%" PRIu64 " uid=%u entry=%s own=%d", verdict->at_ms, verdict->uid,
				      entry, own);
		else
			command_print(&command, "at_ms=%" PRIu64 " uid=%u entry=%s own=%d similarity=%.9g", verdict->at_ms,
				      verdict->uid, entry, own, verdict->similarity);
	}
	said_command(said, &command);
}

static void put_mark(struct said *said)
{
	const struct store_verdict *verdict = &said->verdict;
	struct command command;

	start(said, &command, verdict->is_undo ? "HDEL" : "HSET", "quarantine:");
	words_two(&command, &verdict->entry, &verdict->question);
	if (!verdict->is_undo)
		command_print(&command, "created_ms=%" PRIu64 " expire_ms=%" PRIu64 " at_ms=%" PRIu64 " uid=%u",
			      verdict->created_ms, verdict->expire_ms, verdict->at_ms, verdict->uid);
	said_command(said, &command);
}

/* An alias that was made by a verdict goes with it. */
static void drop_alias(struct said *said)
{
	struct store *store = said->job.talk.store;
	const struct store_verdict *verdict = &said->verdict;
	char member[80] = "alias:", digest[IDENTITY_HEX];
	struct slice space = slice_of(said->job.namespace);
	struct command command;

	identity_hex(&verdict->alias, member + strlen(member));
	identity_hex(&verdict->question, digest);
	store_mark_removing(store, &verdict->alias);
	said->is_marked = true;
	command_start(&command, "DEL");
	command_identity(&command, store, "alias:", &verdict->alias);
	said_command(said, &command);
	start(said, &command, "ZREM", "directory:");
	command_word(&command, member);
	said_command(said, &command);
	command_start(&command, "ZREM");
	command_space_key(&command, store, "question:", space, slice_of(digest));
	command_word(&command, member);
	said_command(said, &command);
	command_start(&command, "ZREM");
	command_identity(&command, store, "aliases:", &verdict->entry);
	command_word(&command, member);
	said_command(said, &command);
	/* There may be an entry of its own under the identity by now, and that stays. */
	command_record(&command, store, "alias", &verdict->alias, space, store_generation(store, space));
	said_command(said, &command);
}

static void put_record(struct said *said)
{
	struct store *store = said->job.talk.store;
	const struct store_verdict *verdict = &said->verdict;
	struct slice space = slice_of(said->job.namespace);
	struct command command;

	command_record(&command, store, verdict->is_undo ? "undo" : "verdict", &verdict->entry, space,
		       store_generation(store, space));
	command_word(&command, "question");
	words_one(&command, &verdict->question);
	if (verdict->has_pair) {
		command_word(&command, "own");
		words_one(&command, &verdict->own);
	}
	if (verdict->has_mark) {
		command_word(&command, "created_ms");
		command_print(&command, "%" PRIu64, verdict->created_ms);
		command_word(&command, "expire_ms");
		command_print(&command, "%" PRIu64, verdict->expire_ms);
	}
	said_command(said, &command);
}

/* The namespace is known by its name also when all its entries have expired. */
static void said_send(struct job *job)
{
	struct said *said = (struct said *)job;
	struct command command;

	send_word(said, "MULTI");
	if (said->verdict.has_pair)
		put_pair(said);
	if (said->verdict.has_mark)
		put_mark(said);
	if (said->verdict.is_undo && said->verdict.has_alias)
		drop_alias(said);
	command_start(&command, "SADD");
	command_key(&command, job->talk.store, "namespaces", SLICE(""));
	command_word(&command, job->namespace);
	said_command(said, &command);
	put_record(said);
	send_word(said, "EXEC");
}

static void said_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	(void)n;
	job_note((struct job *)talk, reply);
}

static void said_round(struct talk *talk)
{
	struct job *job = (struct job *)talk;

	if (job_round_went_well(job))
		job_finish(job, 0);
}

static void said_destroy(struct job *job)
{
	struct said *said = (struct said *)job;

	if (said->is_marked)
		store_mark_removed(job->talk.store, &said->verdict.alias);
	job->talk.store->verdicts_pending--;
	free(job);
}

int store_put_verdict(struct store *store, struct store_write *write, struct slice namespace,
		      const struct store_verdict *verdict)
{
	struct said *said = namespace.length > 0 && namespace.length < STORE_NAMESPACE ? calloc(1, sizeof(*said)) : NULL;

	if (!said)
		return ERROR_MEMORY;
	job_init(store, &said->job, namespace, sizeof(*said));
	said->verdict = *verdict;
	said->job.talk.reply = said_reply;
	said->job.talk.round = said_round;
	said->job.send = said_send;
	said->job.destroy = said_destroy;
	store->verdicts_pending++;
	return job_queue(store, &said->job, write);
}

size_t store_verdicts_pending(const struct store *store)
{
	return store->verdicts_pending;
}

/* ---- reading ---- */

struct hearing {
	struct ask ask;
	struct store_verdicts *verdicts; /* NULL = cancelled */
	char name[STORE_NAMESPACE];
	bool is_marks; /* the second hash */
	char cursor[24];
};

static void hearing_ended(struct ask *ask, int error)
{
	struct hearing *hearing = (struct hearing *)ask;
	struct store_verdicts *user = hearing->verdicts;

	hearing->verdicts = NULL;
	if (!user)
		return;
	user->private = NULL;
	if (error != ERROR_CANCELLED)
		user->done(user, error);
}

static void hearing_send(struct ask *ask)
{
	struct hearing *hearing = (struct hearing *)ask;
	struct store *store = ask->talk.store;
	struct command command;

	command_start(&command, "HSCAN");
	command_key(&command, store, hearing->is_marks ? "quarantine:" : "reject:", slice_of(hearing->name));
	command_word(&command, hearing->cursor);
	command_word(&command, "COUNT");
	command_word(&command, BATCH);
	command_send(&command, store->reads, &ask->talk);
}

/* Returns whether the field and its value are a verdict. */
static bool read_verdict(bool is_mark, struct slice field, struct slice value, struct store_verdict *out)
{
	struct store_verdict verdict = {.has_pair = !is_mark, .has_mark = is_mark, .similarity = NAN};
	struct identity first;

	if (words_read_two(field, &first, &verdict.question) != 0)
		return false;
	if (is_mark) {
		verdict.entry = first;
		if (fields_read_number(words_value(value, "created_ms="), &verdict.created_ms) != 0 ||
		    fields_read_number(words_value(value, "expire_ms="), &verdict.expire_ms) != 0)
			return false;
	} else {
		bool is_second = slice_equal(words_value(value, "own="), SLICE("2"));
		verdict.own = is_second ? verdict.question : first;
		verdict.question = is_second ? first : verdict.question;
		(void)identity_parse(words_value(value, "entry="), &verdict.entry);
	}
	(void)fields_read_number(words_value(value, "at_ms="), &verdict.at_ms);
	*out = verdict;
	return true;
}

static void hearing_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct hearing *hearing = (struct hearing *)talk;
	const struct redisReply *fields = reply_at(reply, 1);
	struct store_verdict verdict;

	(void)n;
	if (hearing->ask.is_over)
		return;
	int error = store_read_error(talk->store, reply);
	if (error) {
		ask_end(&hearing->ask, error);
		return;
	}
	reply_copy(hearing->cursor, sizeof(hearing->cursor), reply_at(reply, 0));
	hearing->ask.is_held = true;
	for (size_t i = 0; reply_at(fields, i + 1) && !hearing->ask.is_over; i += 2)
		if (read_verdict(hearing->is_marks, reply_text(reply_at(fields, i)), reply_text(reply_at(fields, i + 1)),
				 &verdict))
			hearing->verdicts->verdict(hearing->verdicts, &verdict);
	hearing->ask.is_held = false;
}

static void hearing_round(struct talk *talk)
{
	struct hearing *hearing = (struct hearing *)talk;

	if (!ask_goes_on(&hearing->ask))
		return;
	/* What is not ours under our key was an error reply, and has no cursor. */
	bool is_end = !hearing->cursor[0] || strcmp(hearing->cursor, "0") == 0;
	if (is_end && hearing->is_marks) {
		ask_end(&hearing->ask, 0);
		ask_settle(&hearing->ask);
		return;
	}
	if (is_end) {
		hearing->is_marks = true;
		memcpy(hearing->cursor, "0", sizeof("0"));
	}
	ask_extend(&hearing->ask);
	hearing_send(&hearing->ask);
	if (hearing->ask.talk.awaited > 0)
		return;
	ask_end(&hearing->ask, ERROR_UNAVAILABLE);
	ask_settle(&hearing->ask);
}

int store_verdicts_read(struct store *store, struct store_verdicts *user, struct slice namespace)
{
	struct hearing *hearing = namespace.length > 0 && namespace.length < STORE_NAMESPACE ? calloc(1, sizeof(*hearing))
											     : NULL;

	if (!hearing)
		return ERROR_MEMORY;
	memcpy(hearing->name, namespace.data, namespace.length);
	memcpy(hearing->cursor, "0", sizeof("0"));
	hearing->verdicts = user;
	hearing->ask.send = hearing_send;
	hearing->ask.ended = hearing_ended;
	hearing->ask.is_walk = true;
	hearing->ask.talk.reply = hearing_reply;
	hearing->ask.talk.round = hearing_round;
	int error = ask_start(store, &hearing->ask);
	if (error) {
		free(hearing);
		return error;
	}
	user->private = hearing;
	return 0;
}

void store_verdicts_cancel(struct store_verdicts *user)
{
	struct hearing *hearing = user->private;

	if (hearing)
		ask_cancel(&hearing->ask);
}
