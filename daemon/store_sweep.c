/* A sorted set lives as long as its latest member, so members that expired before are swept out now and then: by score,
 * so that a member put anew meanwhile is not touched, and a bounded number at a time. What can go wrong: anything. Then
 * it is left to the next sweep. */
#include "store_private.h"

#include "clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_MEMBERS 500 /* removed at once, unless more have the very same score */

struct sweep {
	struct job job;
	char kind[16];
	bool has_rest;
	size_t rest_length;
	char rest[IDENTITY_HEX];
	bool is_removing;
	char score[32]; /* of the last member to remove; "" = everything that has expired */
};

static void sweep_key(const struct sweep *sweep, struct command *command)
{
	const struct store *store = sweep->job.talk.store;
	struct slice namespace = slice_of(sweep->job.namespace);

	if (sweep->has_rest)
		command_space_key(command, store, sweep->kind, namespace, (struct slice){sweep->rest, sweep->rest_length});
	else
		command_key(command, store, sweep->kind, namespace);
}

static void print_now(struct command *command)
{
	command_print(command, "%" PRIu64, clock_wall_ms() - STORE_TTL_SLACK_MS);
}

/* Asks for the score up to which SWEEP_MEMBERS may go. */
static void sweep_send(struct job *job)
{
	struct sweep *sweep = (struct sweep *)job;
	struct command command;

	sweep->is_removing = false;
	sweep->score[0] = '\0';
	command_start(&command, "ZRANGEBYSCORE");
	sweep_key(sweep, &command);
	command_word(&command, "-inf");
	print_now(&command);
	command_word(&command, "WITHSCORES");
	command_word(&command, "LIMIT");
	command_print(&command, "%d", SWEEP_MEMBERS - 1);
	command_word(&command, "1");
	command_send(&command, job->talk.store->writes, &job->talk);
}

static void sweep_remove(struct sweep *sweep)
{
	struct command command;

	sweep->is_removing = true;
	command_start(&command, "ZREMRANGEBYSCORE");
	sweep_key(sweep, &command);
	command_word(&command, "-inf");
	if (sweep->score[0])
		command_word(&command, sweep->score);
	else
		print_now(&command);
	command_send(&command, sweep->job.talk.store->writes, &sweep->job.talk);
}

static void sweep_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct sweep *sweep = (struct sweep *)talk;
	struct slice score = reply_text(reply_at(reply, 1));

	(void)n;
	job_note(&sweep->job, reply);
	if (!sweep->is_removing && score.data && score.length < sizeof(sweep->score))
		memcpy(sweep->score, score.data, score.length + 1);
}

static void sweep_round(struct talk *talk)
{
	struct sweep *sweep = (struct sweep *)talk;

	if (!job_round_went_well(&sweep->job))
		return;
	if (!sweep->is_removing)
		sweep_remove(sweep);
	else if (sweep->score[0])
		sweep_send(&sweep->job);
	else
		job_finish(&sweep->job, 0);
}

static void sweep_destroy(struct job *job)
{
	free(job);
}

void sweep_queue(struct store *store, const char *kind, struct slice namespace, struct slice rest)
{
	struct sweep *sweep = rest.length < sizeof(sweep->rest) ? calloc(1, sizeof(*sweep)) : NULL;

	if (!sweep)
		return;
	job_init(store, &sweep->job, namespace, sizeof(*sweep));
	sweep->job.talk.reply = sweep_reply;
	sweep->job.talk.round = sweep_round;
	sweep->job.send = sweep_send;
	sweep->job.destroy = sweep_destroy;
	sweep->job.while_up = true;
	(void)snprintf(sweep->kind, sizeof(sweep->kind), "%s", kind);
	sweep->has_rest = rest.data != NULL;
	sweep->rest_length = rest.length;
	if (rest.length)
		memcpy(sweep->rest, rest.data, rest.length);
	(void)job_queue(store, &sweep->job, NULL);
}
