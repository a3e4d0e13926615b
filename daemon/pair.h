/* What stands between two questions, before the answer to the one may be served to the other: guards, and what people
 * said. */
#ifndef DAEMON_PAIR_H
#define DAEMON_PAIR_H

#include "decide.h"

struct config_namespace;
struct service;

/* One question that is asked. */
struct pair_asked {
	struct slice namespace, text;
	const struct identity *digest; /* of (namespace, text); NULL = made where it is needed */
};

/* The entry whose answer it might get. */
struct pair_entry {
	struct slice question;
	const struct identity *identity;
	uint64_t created_ms; /* Unix milliseconds */
};

/* Returns whether anything may be served by meaning at all: what people said is known. */
bool pair_known(const struct service *service);

/* Compares them, by the guards that are on or only counted in `space`. A digest that cannot be made (no memory) counts as
 * rejected. */
struct pair_facts pair_look(const struct service *service, const struct config_namespace *space,
			    const struct pair_asked *asked, const struct pair_entry *entry);

/* Two questions that are both being asked: has no entry yet. */
bool pair_rejected(const struct service *service, struct slice namespace, const struct identity *a,
		   const struct identity *b);

#endif
