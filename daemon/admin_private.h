/* What the files of admin share. Nobody else includes it. */
#ifndef DAEMON_ADMIN_PRIVATE_H
#define DAEMON_ADMIN_PRIVATE_H

#include "admin.h"

#include "call_private.h"
#include "pack.h"
#include "service.h"

struct estimate_counts;

/* The most bytes of one result. */
#define ADMIN_RESULT_MOST (32u << 20)
/* The most bytes of a question in a list; `show` has it whole. */
#define ADMIN_QUESTION_SHOWN 1024

/* Sends what is in `out`, ends the call and empties `out`; an error instead if the result did not fit. */
void admin_finish(struct call *call, struct buffer *out);

/* Appends lines of text, as an array of texts. */
void admin_lines(msgpack_packer *pack, struct slice lines);

/* admin_config.c */
int admin_config(struct call *call, const struct request *request, struct fault *fault);

/* admin_entries.c */
int admin_show(struct call *call, const struct request *request, struct fault *fault);
int admin_list(struct call *call, const struct request *request, struct fault *fault);

/* admin_decisions.c */
int admin_explain_request(struct call *call, const struct request *request, struct fault *fault);
int admin_watch(struct call *call, const struct request *request, struct fault *fault);

/* admin_remove.c */
int admin_invalidate(struct call *call, const struct request *request, struct fault *fault);
int admin_flush(struct call *call, const struct request *request, struct fault *fault);

/* admin_feedback.c */
int admin_feedback(struct call *call, const struct request *request, struct fault *fault);

/* admin_stats.c */
void admin_stats(struct service *service, struct buffer *out);

/* admin_stats_reviews.c: packs one value, nil if nothing was reviewed. */
void admin_say_reviews(msgpack_packer *pack, const struct service *service, struct slice name,
		       const struct estimate_counts *counts);

#endif
