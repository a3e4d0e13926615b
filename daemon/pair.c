#include "pair.h"

#include "config.h"
#include "service.h"
#include "verdicts.h"

bool pair_known(const struct service *service)
{
	return verdicts_known(service->verdicts);
}

bool pair_rejected(const struct service *service, struct slice namespace, const struct identity *a, const struct identity *b)
{
	return verdicts_rejected(service->verdicts, namespace, a, b);
}

static bool is_rejected(const struct service *service, const struct pair_asked *asked, struct slice question)
{
	const struct slice mine[] = {asked->namespace, asked->text}, its[] = {asked->namespace, question};
	struct identity own, other;

	if (asked->digest)
		own = *asked->digest;
	else if (identity_digest(service->hasher, mine, 2, &own) != 0)
		return true;
	if (identity_digest(service->hasher, its, 2, &other) != 0)
		return true;
	return pair_rejected(service, asked->namespace, &own, &other);
}

struct pair_facts pair_look(const struct service *service, const struct config_namespace *space,
			    const struct pair_asked *asked, const struct pair_entry *entry)
{
	struct pair_facts facts = {
		.vetoes = guards_veto(asked->text, entry->question, space->guards.on | space->guards.shadow,
				      space->opposites),
	};

	if (!verdicts_any(service->verdicts, asked->namespace))
		return facts;
	facts.quarantined = verdicts_quarantined(service->verdicts, asked->namespace, entry->identity, entry->created_ms);
	facts.rejected = is_rejected(service, asked, entry->question);
	return facts;
}
