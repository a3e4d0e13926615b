/* Two hash tables for each namespace that has any: pairs, by their two digests in order, and entries that were said to be
 * wrong. What can go wrong: a bound is reached or memory is short, and then the new one is refused; nothing is ever dropped
 * to make room for it, but entries whose time is over. */
#include "verdicts.h"

#include "clock.h"
#include "../proto/error.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define NAME_MOST 64
/* How long an entry that has expired is still remembered, so that the clocks of hosts may differ. */
#define SLACK_MS 60000

struct pair {
	struct identity texts[2]; /* the smaller first */
	struct identity entry;    /* the last one that it was said of … */
	unsigned own;             /* … whose own text is this one of the two */
	unsigned reload;          /* the last one that confirmed it */
	UT_hash_handle hh;
};

struct suspect {
	struct identity entry;
	uint64_t created_ms, expire_ms;
	uint64_t barred_ms; /* those made up to then were quarantined before; 0 = none */
	unsigned count;
	struct identity questions[VERDICTS_OF_ENTRY];
	unsigned reloads[VERDICTS_OF_ENTRY];
	UT_hash_handle hh;
};

/* What is known of a namespace. */
struct judged {
	char name[NAME_MOST];
	size_t length;
	struct pair *pairs;
	struct suspect *suspects;
	UT_hash_handle hh;
};

struct verdicts {
	struct judged *all;
	size_t pairs, suspects, quarantined; /* of all namespaces */
	unsigned reload;
	bool known, was_undone;
};

static struct judged *find(const struct verdicts *verdicts, struct slice namespace)
{
	struct judged *judged;

	HASH_FIND(hh, verdicts->all, namespace.data, namespace.length, judged);
	return judged;
}

static struct judged *get(struct verdicts *verdicts, struct slice namespace)
{
	struct judged *judged = find(verdicts, namespace);

	if (judged || namespace.length == 0 || namespace.length > NAME_MOST)
		return judged;
	judged = calloc(1, sizeof(*judged));
	if (!judged)
		return NULL;
	memcpy(judged->name, namespace.data, namespace.length);
	judged->length = namespace.length;
	HASH_ADD_KEYPTR(hh, verdicts->all, judged->name, judged->length, judged);
	if (find(verdicts, namespace))
		return judged;
	free(judged);
	return NULL;
}

static void drop_if_empty(struct verdicts *verdicts, struct judged *judged)
{
	if (judged->pairs || judged->suspects)
		return;
	HASH_DEL(verdicts->all, judged);
	free(judged);
}

/* ---- pairs ---- */

static void order(const struct identity *a, const struct identity *b, struct identity texts[2])
{
	bool is_in_order = memcmp(a, b, sizeof(*a)) <= 0;

	texts[0] = is_in_order ? *a : *b;
	texts[1] = is_in_order ? *b : *a;
}

static struct pair *find_pair(const struct judged *judged, const struct identity texts[2])
{
	struct pair *pair;

	HASH_FIND(hh, judged->pairs, texts, 2 * sizeof(texts[0]), pair);
	return pair;
}

bool verdicts_rejected(const struct verdicts *verdicts, struct slice namespace, const struct identity *a,
		       const struct identity *b)
{
	const struct judged *judged = find(verdicts, namespace);
	struct identity texts[2];

	if (!judged || !judged->pairs)
		return false;
	order(a, b, texts);
	return find_pair(judged, texts) != NULL;
}

static int add_pair(struct verdicts *verdicts, struct judged *judged, const struct identity texts[2],
		    const struct identity *entry, unsigned own)
{
	struct pair *pair;

	if (HASH_COUNT(judged->pairs) >= VERDICTS_MOST || verdicts->pairs + verdicts->suspects >= VERDICTS_ALL)
		return ERROR_TOO_LARGE;
	pair = calloc(1, sizeof(*pair));
	if (!pair)
		return ERROR_MEMORY;
	memcpy(pair->texts, texts, sizeof(pair->texts));
	pair->entry = *entry;
	pair->own = own;
	pair->reload = verdicts->reload;
	HASH_ADD(hh, judged->pairs, texts, sizeof(pair->texts), pair);
	if (find_pair(judged, texts) != pair) {
		free(pair);
		return ERROR_MEMORY;
	}
	verdicts->pairs++;
	return 0;
}

int verdicts_reject(struct verdicts *verdicts, struct slice namespace, const struct identity *own,
		    const struct identity *question, const struct identity *entry)
{
	struct identity texts[2];
	struct judged *judged;

	if (identity_equal(own, question))
		return ERROR_INVALID;
	order(own, question, texts);
	unsigned place = !identity_equal(own, &texts[0]);
	judged = get(verdicts, namespace);
	if (!judged)
		return ERROR_MEMORY;
	struct pair *pair = find_pair(judged, texts);
	if (pair) {
		pair->entry = *entry;
		pair->own = place;
		pair->reload = verdicts->reload;
		return 0;
	}
	int error = add_pair(verdicts, judged, texts, entry, place);
	drop_if_empty(verdicts, judged);
	return error;
}

bool verdicts_find(const struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
		   const struct identity *question, struct identity *own)
{
	const struct judged *judged = find(verdicts, namespace);

	for (const struct pair *pair = judged ? judged->pairs : NULL; pair; pair = pair->hh.next) {
		if (!identity_equal(&pair->entry, entry) || !identity_equal(&pair->texts[!pair->own], question))
			continue;
		*own = pair->texts[pair->own];
		return true;
	}
	return false;
}

static void drop_pair(struct verdicts *verdicts, struct judged *judged, struct pair *pair)
{
	HASH_DEL(judged->pairs, pair);
	free(pair);
	verdicts->pairs--;
}

void verdicts_undo_reject(struct verdicts *verdicts, struct slice namespace, const struct identity *a,
			  const struct identity *b)
{
	struct judged *judged = find(verdicts, namespace);
	struct identity texts[2];

	verdicts->was_undone = true;
	if (!judged)
		return;
	order(a, b, texts);
	struct pair *pair = find_pair(judged, texts);
	if (pair)
		drop_pair(verdicts, judged, pair);
	drop_if_empty(verdicts, judged);
}

void verdicts_undo_text(struct verdicts *verdicts, struct slice namespace, const struct identity *text)
{
	struct judged *judged = find(verdicts, namespace);
	struct pair *pair, *next;

	verdicts->was_undone = true;
	if (!judged)
		return;
	HASH_ITER (hh, judged->pairs, pair, next)
		if (identity_equal(&pair->texts[0], text) || identity_equal(&pair->texts[1], text))
			drop_pair(verdicts, judged, pair);
	drop_if_empty(verdicts, judged);
}

/* ---- entries ---- */

static struct suspect *find_suspect(const struct judged *judged, const struct identity *entry)
{
	struct suspect *suspect;

	HASH_FIND(hh, judged->suspects, entry, sizeof(*entry), suspect);
	return suspect;
}

static bool is_quarantined(const struct suspect *suspect)
{
	return suspect->count >= VERDICTS_TO_QUARANTINE;
}

bool verdicts_quarantined(const struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
			  uint64_t created_ms)
{
	const struct judged *judged = find(verdicts, namespace);
	const struct suspect *suspect = judged ? find_suspect(judged, entry) : NULL;

	if (!suspect)
		return false;
	return created_ms <= suspect->barred_ms || (is_quarantined(suspect) && suspect->created_ms == created_ms);
}

/* Every change of a suspect's count, so that what is quarantined is counted at one place. */
static void set_count(struct verdicts *verdicts, struct suspect *suspect, unsigned count)
{
	verdicts->quarantined -= is_quarantined(suspect);
	suspect->count = count;
	verdicts->quarantined += is_quarantined(suspect);
}

static void drop_suspect(struct verdicts *verdicts, struct judged *judged, struct suspect *suspect)
{
	set_count(verdicts, suspect, 0);
	HASH_DEL(judged->suspects, suspect);
	free(suspect);
	verdicts->suspects--;
}

/* Nobody can be served what has expired, so its verdicts are in nobody's way but ours. */
static void sweep(struct verdicts *verdicts, struct judged *judged)
{
	uint64_t now_ms = clock_wall_ms();
	struct suspect *suspect, *next;

	HASH_ITER (hh, judged->suspects, suspect, next)
		if (suspect->expire_ms < now_ms && now_ms - suspect->expire_ms > SLACK_MS)
			drop_suspect(verdicts, judged, suspect);
}

static struct suspect *add_suspect(struct verdicts *verdicts, struct judged *judged, const struct identity *entry,
				   int *error)
{
	struct suspect *suspect;

	if (HASH_COUNT(judged->suspects) >= VERDICTS_MOST)
		sweep(verdicts, judged);
	*error = ERROR_TOO_LARGE;
	if (HASH_COUNT(judged->suspects) >= VERDICTS_MOST || verdicts->pairs + verdicts->suspects >= VERDICTS_ALL)
		return NULL;
	*error = ERROR_MEMORY;
	suspect = calloc(1, sizeof(*suspect));
	if (!suspect)
		return NULL;
	suspect->entry = *entry;
	HASH_ADD(hh, judged->suspects, entry, sizeof(suspect->entry), suspect);
	if (find_suspect(judged, entry) != suspect) {
		free(suspect);
		return NULL;
	}
	verdicts->suspects++;
	return suspect;
}

/* Returns the place of the question among the suspect's, or its count. */
static unsigned find_question(const struct suspect *suspect, const struct identity *question)
{
	unsigned i = 0;

	while (i < suspect->count && !identity_equal(&suspect->questions[i], question))
		i++;
	return i;
}

/* Returns whether it was not known. */
static bool add_question(struct verdicts *verdicts, struct suspect *suspect, const struct verdict_wrong *wrong)
{
	if (suspect->created_ms > wrong->created_ms)
		return false;
	if (suspect->created_ms < wrong->created_ms) {
		/* The earlier one may still be somewhere. */
		if (is_quarantined(suspect))
			suspect->barred_ms = suspect->created_ms;
		set_count(verdicts, suspect, 0);
	}
	suspect->created_ms = wrong->created_ms;
	suspect->expire_ms = wrong->expire_ms;
	unsigned i = find_question(suspect, &wrong->question);
	if (i == VERDICTS_OF_ENTRY)
		return false;
	suspect->reloads[i] = verdicts->reload;
	if (i < suspect->count)
		return false;
	suspect->questions[i] = wrong->question;
	set_count(verdicts, suspect, i + 1);
	return true;
}

int verdicts_wrong(struct verdicts *verdicts, struct slice namespace, const struct verdict_wrong *wrong, bool *is_new)
{
	struct judged *judged = get(verdicts, namespace);
	int error = 0;

	if (!judged)
		return ERROR_MEMORY;
	struct suspect *suspect = find_suspect(judged, &wrong->entry);
	if (!suspect)
		suspect = add_suspect(verdicts, judged, &wrong->entry, &error);
	if (!suspect) {
		drop_if_empty(verdicts, judged);
		return error;
	}
	bool was_new = add_question(verdicts, suspect, wrong);
	if (is_new)
		*is_new = was_new;
	return 0;
}

bool verdicts_is_wrong(const struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
		       const struct identity *question)
{
	const struct judged *judged = find(verdicts, namespace);
	const struct suspect *suspect = judged ? find_suspect(judged, entry) : NULL;

	return suspect && find_question(suspect, question) < suspect->count;
}

static void drop_question(struct verdicts *verdicts, struct suspect *suspect, unsigned i)
{
	unsigned last = suspect->count - 1;

	suspect->questions[i] = suspect->questions[last];
	suspect->reloads[i] = suspect->reloads[last];
	set_count(verdicts, suspect, last);
}

void verdicts_undo_wrong(struct verdicts *verdicts, struct slice namespace, const struct identity *entry,
			 const struct identity *question)
{
	struct judged *judged = find(verdicts, namespace);
	struct suspect *suspect = judged ? find_suspect(judged, entry) : NULL;

	verdicts->was_undone = true;
	if (!suspect)
		return;
	unsigned i = find_question(suspect, question);
	if (i < suspect->count)
		drop_question(verdicts, suspect, i);
	else
		suspect->barred_ms = 0;
	if (suspect->count == 0 && suspect->barred_ms == 0)
		drop_suspect(verdicts, judged, suspect);
	drop_if_empty(verdicts, judged);
}

void verdicts_undo_quarantine(struct verdicts *verdicts, struct slice namespace, const struct identity *entry)
{
	struct judged *judged = find(verdicts, namespace);
	struct suspect *suspect = judged ? find_suspect(judged, entry) : NULL;

	if (!suspect)
		return;
	verdicts->was_undone = true;
	drop_suspect(verdicts, judged, suspect);
	drop_if_empty(verdicts, judged);
}

/* ---- all of it ---- */

size_t verdicts_room(const struct verdicts *verdicts, struct slice namespace)
{
	const struct judged *judged = find(verdicts, namespace);
	size_t own = VERDICTS_MOST - (judged ? HASH_COUNT(judged->pairs) : 0);
	size_t all = VERDICTS_ALL - verdicts->pairs - verdicts->suspects;

	return own < all ? own : all;
}

bool verdicts_any(const struct verdicts *verdicts, struct slice namespace)
{
	return find(verdicts, namespace) != NULL;
}

static void drop_judged(struct verdicts *verdicts, struct judged *judged)
{
	struct pair *pair, *next_pair;
	struct suspect *suspect, *next;

	HASH_ITER (hh, judged->pairs, pair, next_pair)
		drop_pair(verdicts, judged, pair);
	HASH_ITER (hh, judged->suspects, suspect, next)
		drop_suspect(verdicts, judged, suspect);
	drop_if_empty(verdicts, judged);
}

void verdicts_clear(struct verdicts *verdicts, struct slice namespace)
{
	struct judged *judged, *next;

	verdicts->was_undone = true;
	HASH_ITER (hh, verdicts->all, judged, next)
		if (!namespace.data || slice_equal(namespace, (struct slice){judged->name, judged->length}))
			drop_judged(verdicts, judged);
}

size_t verdicts_count(const struct verdicts *verdicts, size_t *quarantined)
{
	if (quarantined)
		*quarantined = verdicts->quarantined;
	return verdicts->pairs;
}

/* ---- reading everything again ---- */

void verdicts_reload(struct verdicts *verdicts)
{
	verdicts->reload++;
	verdicts->was_undone = false;
}

struct asking {
	bool (*lost)(void *data, const struct verdict_lost *lost);
	void *data;
};

static bool is_kept(const struct asking *asking, const struct verdict_lost *lost)
{
	return asking->lost && asking->lost(asking->data, lost);
}

static void ask_pairs(struct verdicts *verdicts, struct judged *judged, const struct asking *asking)
{
	struct pair *pair, *next;

	HASH_ITER (hh, judged->pairs, pair, next) {
		const struct identity both[] = {pair->texts[pair->own], pair->texts[!pair->own]};
		const struct verdict_lost lost = {
			.namespace = {judged->name, judged->length}, .pair = both, .entry = &pair->entry};
		if (pair->reload != verdicts->reload && !is_kept(asking, &lost))
			drop_pair(verdicts, judged, pair);
	}
}

static void ask_suspects(struct verdicts *verdicts, struct judged *judged, const struct asking *asking)
{
	struct suspect *suspect, *next;

	HASH_ITER (hh, judged->suspects, suspect, next) {
		for (unsigned i = suspect->count; i-- > 0;) {
			const struct verdict_wrong wrong = {
				.entry = suspect->entry,
				.question = suspect->questions[i],
				.created_ms = suspect->created_ms,
				.expire_ms = suspect->expire_ms,
			};
			const struct verdict_lost lost = {.namespace = {judged->name, judged->length}, .wrong = &wrong};
			if (suspect->reloads[i] != verdicts->reload && !is_kept(asking, &lost))
				drop_question(verdicts, suspect, i);
		}
		if (suspect->count == 0 && suspect->barred_ms == 0)
			drop_suspect(verdicts, judged, suspect);
	}
}

bool verdicts_reloaded(struct verdicts *verdicts, bool (*lost)(void *data, const struct verdict_lost *lost), void *data)
{
	const struct asking asking = {lost, data};
	struct judged *judged, *next;

	if (verdicts->was_undone)
		return false;
	HASH_ITER (hh, verdicts->all, judged, next) {
		ask_pairs(verdicts, judged, &asking);
		ask_suspects(verdicts, judged, &asking);
		drop_if_empty(verdicts, judged);
	}
	return true;
}

/* ---- life ---- */

struct verdicts *verdicts_create(bool known)
{
	struct verdicts *verdicts = calloc(1, sizeof(*verdicts));

	if (verdicts)
		verdicts->known = known;
	return verdicts;
}

void verdicts_destroy(struct verdicts *verdicts)
{
	if (!verdicts)
		return;
	verdicts_clear(verdicts, (struct slice){0});
	free(verdicts);
}

bool verdicts_known(const struct verdicts *verdicts)
{
	return verdicts->known;
}

void verdicts_set_known(struct verdicts *verdicts, bool known)
{
	verdicts->known = known;
}
