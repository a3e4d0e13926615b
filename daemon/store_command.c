/* Commands are put together in one place of fixed size, then hiredis copies them into its output buffer. Those that every
 * look-up sends are put together once, when the store is made.
 * What can go wrong: no connection, or no memory for the copy. Then the talk is lost: what was sent of its round is answered
 * first, and the round ends as if the connection had broken. */
#include "store_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void command_start(struct command *command, const char *name)
{
	command->count = 0;
	command->used = 0;
	command->overflow = false;
	command_word(command, name);
}

void command_add(struct command *command, struct slice argument)
{
	if (command->count == COMMAND_ARGUMENTS) {
		command->overflow = true;
		return;
	}
	command->arguments[command->count] = argument.data ? argument.data : "";
	command->lengths[command->count++] = argument.length;
}

void command_word(struct command *command, const char *word)
{
	command_add(command, slice_of(word));
}

void command_print(struct command *command, const char *format, ...)
{
	size_t room = sizeof(command->text) - command->used;
	char *text = command->text + command->used;
	va_list args;

	va_start(args, format);
	int length = vsnprintf(text, room, format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= room) {
		command->overflow = true;
		return;
	}
	command->used += (size_t)length;
	command_add(command, (struct slice){text, (size_t)length});
}

/* Texts may hold any byte, so they are copied, not printed. */
static void command_join(struct command *command, const struct slice *parts, size_t count)
{
	size_t length = 0;
	char *text = command->text + command->used;

	for (size_t i = 0; i < count; i++) {
		if (parts[i].length > sizeof(command->text) - command->used - length) {
			command->overflow = true;
			return;
		}
		if (parts[i].length)
			memcpy(text + length, parts[i].data, parts[i].length);
		length += parts[i].length;
	}
	command->used += length;
	command_add(command, (struct slice){text, length});
}

void command_space_key(struct command *command, const struct store *store, const char *kind, struct slice namespace,
		       struct slice rest)
{
	struct slice parts[] = {{store->prefix, store->prefix_length}, slice_of(kind), namespace, SLICE(":"), rest};

	command_join(command, parts, sizeof(parts) / sizeof(parts[0]));
}

void command_key(struct command *command, const struct store *store, const char *kind, struct slice rest)
{
	struct slice parts[] = {{store->prefix, store->prefix_length}, slice_of(kind), rest};

	command_join(command, parts, sizeof(parts) / sizeof(parts[0]));
}

void command_identity(struct command *command, const struct store *store, const char *kind, const struct identity *identity)
{
	char hex[IDENTITY_HEX];

	identity_hex(identity, hex);
	command_print(command, "%s%s%s", store->prefix, kind, hex);
}

void command_generation(struct command *command, uint64_t generation)
{
	command_print(command, "%016" PRIx64, generation);
}

void command_record(struct command *command, const struct store *store, const char *op, const struct identity *identity,
		    struct slice namespace, uint64_t generation)
{
	char hex[IDENTITY_HEX] = "";

	if (identity)
		identity_hex(identity, hex);
	command_start(command, "XADD");
	command_key(command, store, "log", SLICE(""));
	command_word(command, "MAXLEN");
	command_word(command, "~");
	command_word(command, STORE_LOG_RECORDS);
	command_word(command, "*");
	command_word(command, "op");
	command_word(command, op);
	command_word(command, "key");
	command_print(command, "%s", hex);
	command_word(command, "namespace");
	command_add(command, namespace);
	command_word(command, "generation");
	command_generation(command, generation);
	command_word(command, "origin");
	command_generation(command, store->origin);
}

static void on_reply(redisAsyncContext *context, void *reply, void *data)
{
	struct talk *talk = data;

	(void)context;
	assert(talk->awaited > 0);
	talk->awaited--;
	if (!reply)
		talk->lost = true;
	else if (talk->reply && !talk->lost)
		talk->reply(talk, talk->n++, reply);
	if (talk->awaited > 0)
		return;
	talk->n = 0;
	talk->round(talk);
}

void command_send(struct command *command, struct redis *redis, struct talk *talk)
{
	redisAsyncContext *context = redis_context(redis);

	assert(!command->overflow);
	if (!context || command->overflow ||
	    redisAsyncCommandArgv(context, on_reply, talk, command->count, command->arguments, command->lengths) !=
		    REDIS_OK) {
		talk->lost = true;
		return;
	}
	talk->awaited++;
}

/* ---- forms ---- */

/* Keeps `command`, whose key is its first argument and ends in an identity, as hiredis formats it. */
static int form_create(struct form *form, struct command *command)
{
	char *text;

	assert(!command->overflow);
	long long length = redisFormatCommandArgv(&text, command->count, command->arguments, command->lengths);
	if (length < 0)
		return ERROR_MEMORY;
	int head = snprintf(NULL, 0, "*%d\r\n$%zu\r\n%s\r\n$%zu\r\n", command->count, command->lengths[0],
			    command->arguments[0], command->lengths[1]);
	*form = (struct form){
		.text = text,
		.length = (size_t)length,
		.digits = (size_t)head + command->lengths[1] - (IDENTITY_HEX - 1),
	};
	return 0;
}

int forms_create(struct store *store)
{
	const struct identity nobody = {{0}};

	for (enum form_name name = 0; name < FORM_COUNT; name++) {
		bool is_alias = name == FORM_ALIAS || name == FORM_ALIAS_PTTL;
		bool is_pttl = name == FORM_ENTRY_PTTL || name == FORM_ALIAS_PTTL;
		struct command command;
		command_start(&command, is_pttl ? "PTTL" : "HMGET");
		command_identity(&command, store, is_alias ? "alias:" : "entry:", &nobody);
		if (name == FORM_ALIAS)
			fields_ask_alias(&command);
		else if (!is_pttl)
			fields_ask_entry(&command, store, name == FORM_ENTRY_VECTOR);
		if (form_create(&store->forms[name], &command) != 0)
			return ERROR_MEMORY;
	}
	return 0;
}

void forms_destroy(struct store *store)
{
	for (size_t i = 0; i < FORM_COUNT; i++) {
		if (store->forms[i].text)
			redisFreeCommand(store->forms[i].text);
		store->forms[i].text = NULL;
	}
}

void form_send(struct store *store, enum form_name name, const char hex[IDENTITY_HEX], struct talk *talk)
{
	redisAsyncContext *context = redis_context(store->reads);
	struct form *form = &store->forms[name];

	memcpy(form->text + form->digits, hex, IDENTITY_HEX - 1);
	if (!context || redisAsyncFormattedCommand(context, on_reply, talk, form->text, form->length) != REDIS_OK) {
		talk->lost = true;
		return;
	}
	talk->awaited++;
}

/* ---- replies ---- */

struct slice reply_text(const struct redisReply *reply)
{
	if (!reply || (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS))
		return (struct slice){NULL, 0};
	return (struct slice){reply->str, reply->len};
}

const struct redisReply *reply_at(const struct redisReply *reply, size_t i)
{
	if (!reply || reply->type != REDIS_REPLY_ARRAY || i >= reply->elements)
		return NULL;
	return reply->element[i];
}

long long reply_integer(const struct redisReply *reply, long long otherwise)
{
	return reply && reply->type == REDIS_REPLY_INTEGER ? reply->integer : otherwise;
}

bool reply_is_error(const struct redisReply *reply, const char *word)
{
	if (!reply || reply->type != REDIS_REPLY_ERROR)
		return false;
	return !word || strncmp(reply->str, word, strlen(word)) == 0;
}

void reply_copy(char *out, size_t size, const struct redisReply *reply)
{
	struct slice text = reply_text(reply);

	out[0] = '\0';
	if (!text.data || text.length >= size)
		return;
	memcpy(out, text.data, text.length);
	out[text.length] = '\0';
}
