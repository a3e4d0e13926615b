/* questions ──> at most AT_ONCE at the model ──> answers, in the questions' order; the loop ends when none is left.
 *
 * What can go wrong: the model fails for a question, which is asked for again and then left out; it does not answer at all for a while
 * (all is given up). */
#include "evaluate_answers.h"

#include "../proto/error.h"
#include "config.h"
#include "deadline.h"
#include "http.h"
#include "log.h"
#include "metrics.h"
#include "pack.h"
#include "part.h"
#include "upstream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define AT_ONCE 4
#define TRIES 3
#define RETRY_MS 100
#define PATIENCE_MS 10000
#define ANSWER_MOST (1u << 20)
#define REQUEST_MOST (1u << 20)

/* One of those that ask at once. */
struct asker {
	struct chat chat;
	struct asking *all;
	size_t question;
	bool is_busy;
};

struct asking {
	const struct evaluate_asking *how;
	uv_loop_t loop;
	struct deadlines *deadlines;
	struct http *http;
	struct upstreams *upstreams;
	struct metrics metrics;
	struct log log;
	struct part parts[CONFIG_UPSTREAMS];
	struct deadline turn;
	struct asker askers[AT_ONCE];
	const struct slice *questions;
	struct evaluate_answer *answers;
	unsigned char *tries; /* of each question */
	size_t count, next, busy;
	size_t *again; /* questions that are asked once more */
	size_t again_count;
	uint64_t progress_at_ms;
	char why[256];
	int error;
};

static void asking_end(struct asking *a)
{
	if (!a->deadlines)
		return;
	if (a->upstreams)
		upstreams_destroy(a->upstreams);
	if (a->http)
		http_destroy(a->http);
	deadline_stop(a->deadlines, &a->turn);
	deadlines_destroy(a->deadlines);
	a->deadlines = NULL;
}

static void next_turn(struct asking *a, uint64_t in_ms)
{
	if (deadline_start(a->deadlines, &a->turn, in_ms) != 0)
		a->error = ERROR_MEMORY;
}

/* ---- one question ---- */

/* [{role: system, content}, {role: user, content}] */
static int write_messages(const struct asking *a, struct slice question, struct buffer *out)
{
	struct slice system = slice_of(a->how->system);
	msgpack_packer pack;
	int error = buffer_reserve(out, 128 + system.length + question.length);

	if (error)
		return error;
	pack = pack_to(out);
	msgpack_pack_array(&pack, system.data ? 2 : 1);
	if (system.data) {
		msgpack_pack_map(&pack, 2);
		pack_named_text(&pack, "role", SLICE("system"));
		pack_named_text(&pack, "content", system);
	}
	msgpack_pack_map(&pack, 2);
	pack_named_text(&pack, "role", SLICE("user"));
	pack_named_text(&pack, "content", question);
	return 0;
}

static void on_text(struct chat *chat, struct slice text)
{
	struct asker *asker = chat->data;
	struct evaluate_answer *answer = &asker->all->answers[asker->question];

	/* What does not fit makes it an answer that is not whole. */
	if (buffer_append(&answer->text, text.data, text.length) != 0)
		answer->text.max = 0;
}

static void on_done(struct chat *chat, const struct chat_end *end, const struct fault *fault)
{
	struct asker *asker = chat->data;
	struct asking *a = asker->all;
	struct evaluate_answer *answer = &a->answers[asker->question];

	asker->is_busy = false;
	a->busy--;
	if (end) {
		answer->whole = end->complete && answer->text.max > 0;
		a->progress_at_ms = deadlines_now_ms(a->deadlines);
	} else {
		(void)snprintf(a->why, sizeof(a->why), "%s", fault->text);
		answer->text.length = 0;
		if (++a->tries[asker->question] < TRIES)
			a->again[a->again_count++] = asker->question;
	}
	next_turn(a, fault ? RETRY_MS : 0);
}

/* Returns 0, or why it could not be started. */
static int ask(struct asking *a, struct asker *asker, size_t question)
{
	struct buffer messages, parameters;
	struct fault fault = {0};

	buffer_init(&messages, REQUEST_MOST);
	buffer_init(&parameters, 64);
	int error = write_messages(a, a->questions[question], &messages);
	if (!error && !isnan(a->how->temperature)) {
		msgpack_packer pack = pack_to(&parameters);
		msgpack_pack_map(&pack, 1);
		pack_named_float(&pack, "temperature", a->how->temperature);
	}
	const struct chat_question asked = {
		.upstream = a->how->upstream,
		.model = a->how->model,
		.messages = buffer_slice(&messages),
		.parameters = parameters.length ? buffer_slice(&parameters) : (struct slice){0},
	};
	*asker = (struct asker){.all = a, .question = question};
	asker->chat = (struct chat){.text = on_text, .done = on_done, .data = asker};
	if (!error)
		error = chat_start(a->upstreams, &asker->chat, &asked, &fault);
	if (error && fault.text[0])
		(void)snprintf(a->why, sizeof(a->why), "%s", fault.text);
	buffer_deinit(&messages);
	buffer_deinit(&parameters);
	asker->is_busy = error == 0;
	a->busy += asker->is_busy;
	return error;
}

/* ---- all of them ---- */

static bool is_done(const struct asking *a)
{
	return a->error || (a->next == a->count && a->again_count == 0 && a->busy == 0);
}

static void start_more(struct asking *a)
{
	for (size_t i = 0; i < AT_ONCE; i++) {
		struct asker *asker = &a->askers[i];
		bool is_again = a->again_count > 0;
		if (asker->is_busy || (!is_again && a->next == a->count))
			continue;
		size_t question = is_again ? a->again[--a->again_count] : a->next++;
		int error = ask(a, asker, question);
		if (error == ERROR_UNAVAILABLE || error == ERROR_BUSY) {
			a->again[a->again_count++] = question;
			next_turn(a, RETRY_MS);
			return;
		}
		/* It is no question that can be asked: the next one. */
		if (error)
			next_turn(a, 0);
	}
}

/* Everything begins and ends here, because nothing may be destroyed from inside a callback of its own. */
static void on_turn(struct deadline *turn)
{
	struct asking *a = (struct asking *)((char *)turn - offsetof(struct asking, turn));

	if (a->busy == 0 && deadlines_now_ms(a->deadlines) - a->progress_at_ms > PATIENCE_MS)
		a->error = ERROR_UNAVAILABLE;
	if (!is_done(a))
		start_more(a);
	if (is_done(a))
		asking_end(a);
}

static int asking_start(struct asking *a)
{
	const struct config *config = a->how->config;

	a->deadlines = deadlines_create(&a->loop);
	if (!a->deadlines)
		return ERROR_MEMORY;
	a->turn.expired = on_turn;
	a->progress_at_ms = deadlines_now_ms(a->deadlines);
	for (size_t i = 0; i < config->upstream_count; i++)
		part_init(&a->parts[i], config->upstreams[i].name, true, &a->log, a->progress_at_ms);
	a->http = http_create(&a->loop, a->deadlines);
	if (a->http)
		a->upstreams = upstreams_create(a->http, a->deadlines, config, a->parts, &a->metrics, &a->log);
	return a->upstreams ? deadline_start(a->deadlines, &a->turn, 0) : ERROR_MEMORY;
}

static int asking_run(struct asking *a, char *mistake, size_t mistake_size)
{
	if (uv_loop_init(&a->loop) != 0) {
		(void)snprintf(mistake, mistake_size, "there is no event loop: out of memory or descriptors");
		return ERROR_INTERNAL;
	}
	int error = asking_start(a);
	size_t whole = 0;
	if (error)
		asking_end(a);
	(void)uv_run(&a->loop, UV_RUN_DEFAULT);
	error = error ? error : a->error;
	(void)uv_loop_close(&a->loop);
	for (size_t i = 0; i < a->count; i++)
		whole += a->answers[i].whole;
	if (!error && whole == 0 && a->count > 0 && a->why[0])
		error = ERROR_UNAVAILABLE;
	if (error == ERROR_UNAVAILABLE)
		(void)snprintf(mistake, mistake_size, "the model does not answer: %s", a->why);
	else if (error)
		(void)snprintf(mistake, mistake_size, "%s", error_text(error));
	return error;
}

int evaluate_answers_make(const struct evaluate_asking *asking, const struct slice *questions, size_t count,
			  struct evaluate_answer **answers, char *mistake, size_t mistake_size)
{
	struct asking *a = calloc(1, sizeof(*a));
	int error = ERROR_MEMORY;

	(void)snprintf(mistake, mistake_size, "%s", error_text(ERROR_MEMORY));
	if (!a)
		return error;
	log_init(&a->log, LOG_LEVEL_ERROR);
	a->how = asking;
	a->questions = questions;
	a->count = count;
	a->answers = calloc(count + 1, sizeof(a->answers[0]));
	a->tries = calloc(count + 1, 1);
	a->again = calloc(count + 1, sizeof(a->again[0]));
	for (size_t i = 0; a->answers && i < count; i++)
		buffer_init(&a->answers[i].text, ANSWER_MOST);
	if (a->answers && a->tries && a->again)
		error = asking_run(a, mistake, mistake_size);
	if (error)
		evaluate_answers_free(a->answers, count);
	else
		*answers = a->answers;
	free(a->tries);
	free(a->again);
	free(a);
	return error;
}

void evaluate_answers_free(struct evaluate_answer *answers, size_t count)
{
	for (size_t i = 0; answers && i < count; i++)
		buffer_deinit(&answers[i].text);
	free(answers);
}
