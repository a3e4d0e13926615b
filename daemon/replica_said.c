/* All goes well: the names of all namespaces, then two hashes of each, in batches; then everything is known.
 * What one of us was told meanwhile comes by the log or is applied at once, and counts as read. */
#include "replica_said.h"

#include "clock.h"
#include "deadline.h"
#include "flight.h"
#include "service.h"
#include "store.h"
#include "verdicts.h"

#include <stdlib.h>
#include <string.h>

#define NAMESPACES_MOST 65536
#define RETRY_MS 200
/* What is said of an entry that has expired so long ago is of no use on any host. */
#define MARK_KEPT_MS UINT64_C(86400000)

struct replica_said {
	struct service *service;
	bool is_loading;
	bool is_told;          /* its end is logged */
	bool is_due;           /* once more, after the present one */
	bool may_be_lost;      /* what is not in Redis is written again */
	bool was_pending;      /* some of ours was not in Redis when it began */
	size_t dropped, again; /* did not fit here; written again */
	struct store_names names;
	struct store_verdicts read;
	struct deadline retry;
	char **namespaces; /* still to be read */
	size_t namespace_count, namespace_room;
	char *name; /* of the one being read */
};

static void load_next(struct replica_said *said);

/* ---- one verdict ---- */

static void undo(struct verdicts *verdicts, struct slice namespace, const struct store_verdict *verdict)
{
	if (verdict->has_pair)
		verdicts_undo_reject(verdicts, namespace, &verdict->own, &verdict->question);
	if (verdict->has_mark)
		verdicts_undo_wrong(verdicts, namespace, &verdict->entry, &verdict->question);
}

int replica_said_apply(struct service *service, struct slice namespace, const struct store_verdict *verdict)
{
	const struct verdict_wrong wrong = {
		.entry = verdict->entry,
		.question = verdict->question,
		.created_ms = verdict->created_ms,
		.expire_ms = verdict->expire_ms,
	};
	bool is_new = false;
	int error = 0;

	if (verdict->is_undo) {
		undo(service->verdicts, namespace, verdict);
		return 0;
	}
	if (verdict->has_mark)
		error = verdicts_wrong(service->verdicts, namespace, &wrong, &is_new);
	if (is_new && service->flights &&
	    verdicts_quarantined(service->verdicts, namespace, &verdict->entry, verdict->created_ms))
		flights_quarantine(service->flights, namespace);
	if (error || !verdict->has_pair)
		return error;
	bool was_rejected = verdicts_rejected(service->verdicts, namespace, &verdict->own, &verdict->question);
	error = verdicts_reject(service->verdicts, namespace, &verdict->own, &verdict->question, &verdict->entry);
	if (error && is_new)
		verdicts_undo_wrong(service->verdicts, namespace, &verdict->entry, &verdict->question);
	if (!error && !was_rejected && service->flights)
		flights_reject(service->flights, namespace, &verdict->own, &verdict->question);
	return error;
}

/* ---- reading everything ---- */

static void try_again(struct replica_said *said)
{
	said->is_due = deadline_start(said->service->deadlines, &said->retry, RETRY_MS) == 0;
}

static void forget_names(struct replica_said *said)
{
	while (said->namespace_count > 0)
		free(said->namespaces[--said->namespace_count]);
	free(said->name);
	said->name = NULL;
}

/* It is known here and Redis does not have it. Returns whether it stays known. */
static bool on_lost(void *data, const struct verdict_lost *lost)
{
	struct replica_said *said = data;
	struct store_verdict verdict = {.at_ms = clock_wall_ms(), .similarity = __builtin_nan("")};

	if (!said->may_be_lost)
		return said->was_pending;
	if (lost->pair) {
		verdict.has_pair = true;
		verdict.own = lost->pair[0];
		verdict.question = lost->pair[1];
		verdict.entry = *lost->entry;
	} else {
		verdict.has_mark = true;
		verdict.entry = lost->wrong->entry;
		verdict.question = lost->wrong->question;
		verdict.created_ms = lost->wrong->created_ms;
		verdict.expire_ms = lost->wrong->expire_ms;
	}
	if (store_put_verdict(said->service->store, NULL, lost->namespace, &verdict) == 0)
		said->again++;
	return true;
}

static void load_ended(struct replica_said *said, int error)
{
	struct service *service = said->service;
	size_t quarantined;

	said->is_loading = false;
	forget_names(said);
	if (error || said->is_due || !verdicts_reloaded(service->verdicts, on_lost, said)) {
		try_again(said);
		return;
	}
	said->may_be_lost = false;
	verdicts_set_known(service->verdicts, true);
	if (said->dropped > 0)
		log_write(&service->log, LOG_LEVEL_WARNING,
			  "verdicts_not_loaded count=%zu : more than fit, or out of memory", said->dropped);
	if (!said->is_told)
		return;
	said->is_told = false;
	size_t rejected = verdicts_count(service->verdicts, &quarantined);
	log_write(&service->log, LOG_LEVEL_INFO, "verdicts_loaded rejected=%zu quarantined=%zu written_again=%zu", rejected,
		  quarantined, said->again);
}

/* What is said of what has long expired leaves Redis by whoever finds it. */
static bool is_outlived(struct replica_said *said, const struct store_verdict *verdict)
{
	uint64_t now_ms = clock_wall_ms();

	if (!verdict->has_mark || verdict->expire_ms >= now_ms || now_ms - verdict->expire_ms < MARK_KEPT_MS)
		return false;
	struct store_verdict undone = *verdict;
	undone.is_undo = true;
	(void)store_put_verdict(said->service->store, NULL, slice_of(said->name), &undone);
	return true;
}

static void verdict_came(struct store_verdicts *read, const struct store_verdict *verdict)
{
	struct replica_said *said = read->data;

	if (!is_outlived(said, verdict) && replica_said_apply(said->service, slice_of(said->name), verdict) != 0)
		said->dropped++;
}

static void read_done(struct store_verdicts *read, int error)
{
	struct replica_said *said = read->data;

	if (error)
		load_ended(said, error);
	else
		load_next(said);
}

static void load_next(struct replica_said *said)
{
	free(said->name);
	said->name = NULL;
	if (said->namespace_count == 0) {
		load_ended(said, 0);
		return;
	}
	said->name = said->namespaces[--said->namespace_count];
	said->read = (struct store_verdicts){.verdict = verdict_came, .done = read_done, .data = said};
	int error = store_verdicts_read(said->service->store, &said->read, slice_of(said->name));
	if (error)
		load_ended(said, error);
}

static void name_came(struct store_names *names, struct slice namespace)
{
	struct replica_said *said = names->data;

	if (said->namespace_count == NAMESPACES_MOST)
		return;
	if (said->namespace_count == said->namespace_room) {
		size_t room = said->namespace_room ? said->namespace_room * 2 : 16;
		char **grown = realloc(said->namespaces, room * sizeof(*grown));
		if (!grown) {
			said->dropped++;
			return;
		}
		said->namespaces = grown;
		said->namespace_room = room;
	}
	char *copy = strndup(namespace.data, namespace.length);
	if (copy)
		said->namespaces[said->namespace_count++] = copy;
	else
		said->dropped++;
}

static void names_done(struct store_names *names, int error)
{
	struct replica_said *said = names->data;

	if (error)
		load_ended(said, error);
	else
		load_next(said);
}

static void start(struct replica_said *said)
{
	struct service *service = said->service;

	said->is_loading = true;
	said->is_due = false;
	said->dropped = said->again = 0;
	said->was_pending = store_verdicts_pending(service->store) > 0;
	verdicts_reload(service->verdicts);
	said->names = (struct store_names){.name = name_came, .done = names_done, .data = said};
	int error = store_namespaces(service->store, &said->names);
	if (error)
		load_ended(said, error);
}

void replica_said_load(struct replica_said *said, bool is_other)
{
	said->may_be_lost = said->may_be_lost || is_other;
	said->is_told = true;
	replica_said_check(said);
}

void replica_said_check(struct replica_said *said)
{
	if (said->is_loading)
		said->is_due = true;
	else
		start(said);
}

static void retry_expired(struct deadline *retry)
{
	struct replica_said *said = (struct replica_said *)((char *)retry - offsetof(struct replica_said, retry));

	if (said->is_due && !said->is_loading)
		start(said);
}

/* ---- life ---- */

struct replica_said *replica_said_create(struct service *service)
{
	struct replica_said *said = calloc(1, sizeof(*said));

	if (!said)
		return NULL;
	said->service = service;
	said->retry.expired = retry_expired;
	return said;
}

void replica_said_destroy(struct replica_said *said)
{
	if (!said)
		return;
	deadline_stop(said->service->deadlines, &said->retry);
	store_names_cancel(&said->names);
	store_verdicts_cancel(&said->read);
	forget_names(said);
	free(said->namespaces);
	free(said);
}
