/* One request as it stands in its message: every text is a slice of the message, which must outlive it. */
#ifndef PROTO_REQUEST_H
#define PROTO_REQUEST_H

#include "buffer.h"
#include "fault.h"
#include "limits.h"
#include "method.h"

enum cache_use {
	CACHE_DEFAULT,
	CACHE_REFRESH,  /* ask the model, then overwrite */
	CACHE_NO_STORE, /* read, but keep nothing new */
	CACHE_ONLY,     /* never ask the model */
};

/* What somebody says of the answer that a question got. */
enum feedback_verdict {
	FEEDBACK_RIGHT,
	FEEDBACK_WRONG,
	FEEDBACK_ACCEPT, /* the entry is to answer this question from now on */
	FEEDBACK_UNDO,   /* takes the last one back */
};

/* What kind of message the peer sent. */
enum message_kind { MESSAGE_REQUEST, MESSAGE_CANCEL, MESSAGE_IGNORED };

/* The parameters of every method; which of them a method takes is a column of the table in request.c. Absent slices have
 * `data` NULL; numbers have a flag, because 0 is a value. */
struct request {
	uint64_t id;
	enum method method;

	/* the question */
	struct slice prompt;     /* text */
	struct slice messages;   /* raw MessagePack array of maps */
	struct slice model;      /* text */
	struct slice parameters; /* raw MessagePack map */
	struct slice namespace;  /* text; "default" where the message names none */
	struct slice question;   /* text */
	struct slice context;    /* text */

	/* the policy of this call */
	enum cache_use cache;
	bool has_max_age, has_threshold, has_ttl, has_timeout;
	bool mode_exact, stream, dry_run;
	uint32_t max_age_s, ttl_s, timeout_ms;
	double threshold;
	struct slice tags[LIMIT_TAGS];
	size_t tag_count;

	/* the administrative methods */
	bool has_namespace; /* it was in the message */
	bool has_verdict, has_similarity;
	enum feedback_verdict verdict;
	double similarity;
	struct slice answer, entry, tag, after, client;
	bool has_request;
	uint64_t explained; /* `request`: the number of the one whose decision is asked for */
	uint32_t limit;
	struct slice set;         /* raw MessagePack map of texts or numbers */
	struct slice unset;       /* raw MessagePack array of texts */
	struct slice certificate; /* text; empty = there shall be none any more */
};

/* Reads the head of a complete message (found by the scanner): its kind, and id, method and raw parameters of a request or
 * the id of a cancel. `*id_known` says whether `request->id` may be used in a response even if this fails. Returns 0, or a
 * code with `fault` filled: ERROR_PROTOCOL where the connection cannot go on (not an array, bad id), ERROR_UNKNOWN_METHOD or
 * ERROR_INVALID (the shape of params) where it can. */
int request_read_head(struct slice message, struct request *request, enum message_kind *kind, struct slice *params,
		      bool *id_known, struct fault *fault);

/* Reads `params` (of request_read_head()) into `request` and checks each value against its kind and limits.
 * Returns 0, or ERROR_INVALID or ERROR_TOO_LARGE with `fault` naming the field. */
int request_read_params(struct slice params, struct request *request, struct fault *fault);

/* Returns whether `name` may name a namespace or a tag: [A-Za-z0-9._-], 1 to 64 of them. */
bool request_name_valid(struct slice name);

#endif
