/* What the files of feedback share. */
#ifndef DAEMON_ADMIN_FEEDBACK_H
#define DAEMON_ADMIN_FEEDBACK_H

#include "admin_measure.h"
#include "admin_private.h"

/* One verdict on its way. */
struct feedback {
	struct call *call;
	struct service *service;
	enum feedback_verdict verdict;
	bool is_admin, has_similarity;
	double similarity; /* NAN = not known */
	unsigned uid;
	struct identity identity;                                            /* the entry's */
	struct slice namespace, text;                                        /* what was asked; in `texts`, as the next */
	struct slice prompt, messages, model, parameters, question, context; /* absent = not given */
	struct identity asked, own; /* digests of what was asked, and of the entry's own question */
	bool is_own;                /* both are the same text */
	struct entry *entry;        /* NULL = it is gone (undo) */
	bool has_alias;             /* … of this identity */
	struct identity alias;
	bool was_removed, was_known, is_queued; /* was_known: the pair was rejected before */
	struct store_read read;
	struct store_write write;
	struct measure measure;
	char texts[];
};

/* Finds the text that was asked, as it would be compared by meaning. Returns 0, or an error with `fault` filled. */
int feedback_find_text(struct hasher *hasher, const struct request *request, struct slice *text, struct fault *fault);

/* Finds the identity of what was asked, feedback->alias, which must be of the scope of feedback->entry. Returns 0, or an
 * error with `fault` filled. */
int feedback_find_alias(struct feedback *feedback, struct fault *fault);

#endif
