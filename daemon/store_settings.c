/* Run-time settings: a hash and a certificate for each namespace, and a sorted set of the names of those that have any,
 * because nobody may look for keys.
 *
 *   write: WATCH the hash, look what it has ─> MULTI; HSET, HDEL; SET or DEL; ZADD, or ZREM if nothing is left; log; EXEC
 *   read:  the names ─> the values of some of them ─> … ─> done
 *
 * What can go wrong: another host changes the same hash between the two rounds of a write (it is done again), and as for
 * any job and any ask. A write that is not done leaves no WATCH behind, which would make the next transaction on the
 * connection void. */
#include "store_private.h"

#include "metrics.h"

#include <stdlib.h>
#include <string.h>

#define AT_ONCE 16 /* namespaces read in one round */
#define TRIES 16   /* of a write that others come between */

/* The field that tells for which embedder the last certificate was. */
#define CERTIFICATE "certificate"

/* ---- writing ---- */

struct setting {
	struct job job;
	const char *keys[STORE_SETTINGS_KEYS + 1]; /* in `texts`, as all that follow */
	struct slice values[STORE_SETTINGS_KEYS + 1];
	size_t count;
	bool has_certificate;
	struct slice certificate;
	bool is_changing; /* the second round */
	bool is_void;     /* somebody came between */
	unsigned tries;
	uint64_t there, leaving; /* fields of the hash; those of them that go */
	char texts[];
};

static void setting_put(struct setting *setting, struct command *command)
{
	command_send(command, setting->job.talk.store->writes, &setting->job.talk);
}

static void put_word(struct setting *setting, const char *word)
{
	struct command command;

	command_start(&command, word);
	setting_put(setting, &command);
}

static void start(struct setting *setting, struct command *command, const char *name)
{
	command_start(command, name);
	command_key(command, setting->job.talk.store, "settings:", slice_of(setting->job.namespace));
}

static bool has_value(const struct setting *setting, bool is_set)
{
	for (size_t i = 0; i < setting->count; i++)
		if ((setting->values[i].data != NULL) == is_set)
			return true;
	return false;
}

static void setting_send(struct job *job)
{
	struct setting *setting = (struct setting *)job;
	struct command command;

	setting->is_changing = setting->is_void = false;
	setting->there = setting->leaving = 0;
	start(setting, &command, "WATCH");
	setting_put(setting, &command);
	start(setting, &command, "HLEN");
	setting_put(setting, &command);
	if (!has_value(setting, false))
		return;
	start(setting, &command, "HMGET");
	for (size_t i = 0; i < setting->count; i++)
		if (!setting->values[i].data)
			command_word(&command, setting->keys[i]);
	setting_put(setting, &command);
}

static void put_fields(struct setting *setting, bool is_set)
{
	struct command command;

	if (!has_value(setting, is_set))
		return;
	start(setting, &command, is_set ? "HSET" : "HDEL");
	for (size_t i = 0; i < setting->count; i++) {
		if ((setting->values[i].data != NULL) != is_set)
			continue;
		command_word(&command, setting->keys[i]);
		if (is_set)
			command_add(&command, setting->values[i]);
	}
	setting_put(setting, &command);
}

static void put_certificate(struct setting *setting)
{
	struct store *store = setting->job.talk.store;
	struct command command;

	if (!setting->has_certificate)
		return;
	command_start(&command, setting->certificate.data ? "SET" : "DEL");
	command_space_key(&command, store, "certificate:", slice_of(setting->job.namespace), slice_of(store->embedder8));
	if (setting->certificate.data)
		command_add(&command, setting->certificate);
	setting_put(setting, &command);
}

static void setting_change(struct setting *setting)
{
	struct store *store = setting->job.talk.store;
	bool is_left = has_value(setting, true) || setting->there > setting->leaving;
	struct command command;

	setting->is_changing = true;
	put_word(setting, "MULTI");
	put_fields(setting, true);
	put_fields(setting, false);
	put_certificate(setting);
	command_start(&command, is_left ? "ZADD" : "ZREM");
	command_key(&command, store, "settings", SLICE(""));
	if (is_left)
		command_word(&command, "0");
	command_word(&command, setting->job.namespace);
	setting_put(setting, &command);
	command_record(&command, store, "settings", NULL, slice_of(setting->job.namespace),
		       store_generation(store, slice_of(setting->job.namespace)));
	setting_put(setting, &command);
	put_word(setting, "EXEC");
}

static void setting_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct setting *setting = (struct setting *)talk;

	job_note(&setting->job, reply);
	if (setting->is_changing) {
		setting->is_void = setting->is_void || reply->type == REDIS_REPLY_NIL;
		return;
	}
	if (n == 1)
		setting->there = (uint64_t)reply_integer(reply, 0);
	for (size_t i = 0; n == 2 && reply_at(reply, i); i++)
		setting->leaving += reply_at(reply, i)->type == REDIS_REPLY_STRING;
}

/* What comes is of no interest, and nobody waits for it. */
static void unwatch(struct store *store)
{
	redisAsyncContext *context = redis_context(store->writes);

	if (context && redisAsyncCommand(context, NULL, NULL, "UNWATCH") != REDIS_OK)
		redis_reset(store->writes, "a command could not be sent");
}

static void setting_round(struct talk *talk)
{
	struct setting *setting = (struct setting *)talk;
	struct store *store = talk->store;
	bool is_watching = !setting->is_changing && !talk->lost;

	if (!job_round_went_well(&setting->job)) {
		if (is_watching)
			unwatch(store);
		return;
	}
	if (!setting->is_changing) {
		setting_change(setting);
	} else if (setting->is_void && ++setting->tries < TRIES) {
		setting_send(&setting->job);
	} else {
		if (setting->is_void)
			store_complain(store, "settings", "others change the same all the time");
		job_finish(&setting->job, setting->is_void ? ERROR_UNAVAILABLE : 0);
		return;
	}
	if (talk->lost)
		redis_reset(store->writes, "a command could not be sent");
}

static void setting_destroy(struct job *job)
{
	free(job);
}

static struct slice copy_text(char **at, struct slice text)
{
	struct slice copy = {*at, text.length};

	if (!text.data)
		return text;
	if (text.length)
		memcpy(*at, text.data, text.length);
	(*at)[text.length] = '\0';
	*at += text.length + 1;
	return copy;
}

static void copy_change(struct setting *setting, const struct store_settings_change *change)
{
	struct store *store = setting->job.talk.store;
	char *at = setting->texts;

	for (size_t i = 0; i < change->count; i++) {
		setting->keys[i] = copy_text(&at, slice_of(change->keys[i])).data;
		setting->values[i] = copy_text(&at, change->values[i]);
	}
	setting->count = change->count;
	setting->has_certificate = change->has_certificate;
	setting->certificate = copy_text(&at, change->certificate);
	if (!change->has_certificate)
		return;
	setting->keys[setting->count] = CERTIFICATE;
	setting->values[setting->count++] = change->certificate.data ? slice_of(store->embedder8) : (struct slice){NULL, 0};
}

int store_settings_write(struct store *store, struct store_write *write, struct slice namespace,
			 const struct store_settings_change *change)
{
	size_t bytes = change->certificate.length + 1;

	if (namespace.length == 0 || namespace.length >= STORE_NAMESPACE || change->count > STORE_SETTINGS_KEYS ||
	    change->certificate.length > STORE_SETTINGS_BYTES)
		return ERROR_INVALID;
	for (size_t i = 0; i < change->count; i++) {
		if (change->values[i].length > STORE_SETTINGS_BYTES)
			return ERROR_INVALID;
		bytes += strlen(change->keys[i]) + change->values[i].length + 2;
	}
	struct setting *setting = calloc(1, sizeof(*setting) + bytes);
	if (!setting)
		return ERROR_MEMORY;
	job_init(store, &setting->job, namespace, sizeof(*setting) + bytes);
	copy_change(setting, change);
	setting->job.talk.reply = setting_reply;
	setting->job.talk.round = setting_round;
	setting->job.send = setting_send;
	setting->job.destroy = setting_destroy;
	setting->job.is_barrier = true;
	return job_queue(store, &setting->job, write);
}

/* ---- reading ---- */

struct looking {
	struct ask ask;
	struct store_settings *settings; /* NULL = cancelled */
	bool is_listing, is_one;
	size_t count, at, sent; /* names there are; read; asked for in this round */
	uint64_t there;         /* fields of the hash whose values come next */
	size_t certificate_length;
	bool has_certificate;
	char certificate[STORE_SETTINGS_BYTES];
	char names[STORE_SETTINGS_NAMESPACES][STORE_NAMESPACE];
};

static void looking_ended(struct ask *ask, int error)
{
	struct looking *looking = (struct looking *)ask;
	struct store_settings *user = looking->settings;

	looking->settings = NULL;
	if (!user)
		return;
	user->private = NULL;
	if (error != ERROR_CANCELLED)
		user->done(user, error);
}

static void ask_names(struct looking *looking)
{
	struct store *store = looking->ask.talk.store;
	struct command command;

	looking->is_listing = true;
	command_start(&command, "ZRANGE");
	command_key(&command, store, "settings", SLICE(""));
	command_word(&command, "0");
	command_print(&command, "%d", STORE_SETTINGS_NAMESPACES - 1);
	command_send(&command, store->reads, &looking->ask.talk);
}

/* The values last, because they are handed out with what came before them. */
static void ask_values(struct looking *looking, const char *name)
{
	const struct store_settings *user = looking->settings;
	struct store *store = looking->ask.talk.store;
	struct command command;

	command_start(&command, "HLEN");
	command_key(&command, store, "settings:", slice_of(name));
	command_send(&command, store->reads, &looking->ask.talk);
	command_start(&command, "GET");
	command_space_key(&command, store, "certificate:", slice_of(name), slice_of(store->embedder8));
	command_send(&command, store->reads, &looking->ask.talk);
	command_start(&command, "HMGET");
	command_key(&command, store, "settings:", slice_of(name));
	for (size_t i = 0; i < user->count; i++)
		command_word(&command, user->keys[i]);
	command_word(&command, CERTIFICATE);
	command_send(&command, store->reads, &looking->ask.talk);
}

static void ask_some(struct looking *looking)
{
	looking->is_listing = false;
	for (looking->sent = 0; looking->sent < AT_ONCE && looking->at + looking->sent < looking->count; looking->sent++)
		ask_values(looking, looking->names[looking->at + looking->sent]);
}

static void looking_send(struct ask *ask)
{
	struct looking *looking = (struct looking *)ask;

	if (looking->is_one)
		ask_some(looking);
	else
		ask_names(looking);
}

static void take_names(struct looking *looking, const struct redisReply *reply)
{
	for (size_t i = 0; looking->count < STORE_SETTINGS_NAMESPACES && reply_at(reply, i); i++) {
		struct slice name = reply_text(reply_at(reply, i));
		if (name.length == 0 || name.length >= STORE_NAMESPACE)
			continue;
		memcpy(looking->names[looking->count], name.data, name.length);
		looking->names[looking->count++][name.length] = '\0';
	}
}

static void take_certificate(struct looking *looking, const struct redisReply *reply)
{
	struct slice text = reply_text(reply);

	looking->has_certificate = text.length > 0 && text.length <= STORE_SETTINGS_BYTES;
	looking->certificate_length = looking->has_certificate ? text.length : 0;
	if (looking->has_certificate)
		memcpy(looking->certificate, text.data, text.length);
}

static void hand_out(struct looking *looking, const char *name, const struct redisReply *reply)
{
	struct store_settings *user = looking->settings;
	const struct store *store = looking->ask.talk.store;
	struct slice values[STORE_SETTINGS_KEYS] = {{NULL, 0}};
	struct slice last = reply_text(reply_at(reply, user->count));
	uint64_t known = last.data != NULL;

	for (size_t i = 0; i < user->count; i++) {
		struct slice value = reply_text(reply_at(reply, i));
		known += value.data != NULL;
		if (value.length <= STORE_SETTINGS_BYTES)
			values[i] = value;
	}
	const struct store_settings_found found = {
		.namespace = slice_of(name),
		.values = values,
		.unknown = looking->there > known ? looking->there - known : 0,
		.certificate = {looking->has_certificate ? looking->certificate : NULL, looking->certificate_length},
		.is_other = !looking->has_certificate && last.data && !slice_equal(last, slice_of(store->embedder8)),
	};
	looking->ask.is_held = true;
	user->found(user, &found);
	looking->ask.is_held = false;
}

static void looking_reply(struct talk *talk, unsigned n, const struct redisReply *reply)
{
	struct looking *looking = (struct looking *)talk;

	if (looking->ask.is_over)
		return;
	int error = store_read_error(talk->store, reply);
	if (error)
		ask_end(&looking->ask, error);
	else if (looking->is_listing)
		take_names(looking, reply);
	else if (n % 3 == 0)
		looking->there = (uint64_t)reply_integer(reply, 0);
	else if (n % 3 == 1)
		take_certificate(looking, reply);
	else
		hand_out(looking, looking->names[looking->at + n / 3], reply);
}

static void looking_round(struct talk *talk)
{
	struct looking *looking = (struct looking *)talk;

	if (!ask_goes_on(&looking->ask))
		return;
	if (!looking->is_listing)
		looking->at += looking->sent;
	if (looking->at < looking->count) {
		ask_extend(&looking->ask);
		ask_some(looking);
		if (looking->ask.talk.awaited > 0)
			return;
		ask_end(&looking->ask, ERROR_UNAVAILABLE);
	} else {
		ask_end(&looking->ask, 0);
	}
	ask_settle(&looking->ask);
}

int store_settings_read(struct store *store, struct store_settings *user, struct slice namespace)
{
	if (namespace.length >= STORE_NAMESPACE || user->count > STORE_SETTINGS_KEYS)
		return ERROR_INVALID;
	struct looking *looking = calloc(1, sizeof(*looking));
	if (!looking)
		return ERROR_MEMORY;
	looking->is_one = namespace.length > 0;
	looking->count = looking->is_one;
	if (looking->is_one)
		memcpy(looking->names[0], namespace.data, namespace.length);
	looking->settings = user;
	looking->ask.send = looking_send;
	looking->ask.ended = looking_ended;
	looking->ask.is_walk = true;
	looking->ask.talk.reply = looking_reply;
	looking->ask.talk.round = looking_round;
	int error = ask_start(store, &looking->ask);
	if (error) {
		free(looking);
		return error;
	}
	user->private = looking;
	return 0;
}

void store_settings_cancel(struct store_settings *user)
{
	struct looking *looking = user->private;

	if (looking)
		ask_cancel(&looking->ask);
}
