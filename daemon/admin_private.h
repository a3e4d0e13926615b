/* What the files of admin share. Nobody else includes it. */
#ifndef DAEMON_ADMIN_PRIVATE_H
#define DAEMON_ADMIN_PRIVATE_H

#include "admin.h"

#include "call_private.h"
#include "pack.h"
#include "service.h"

/* The most bytes of one result. */
#define ADMIN_RESULT_MOST (32u << 20)
/* The most bytes of a question in a list; `show` has it whole. */
#define ADMIN_QUESTION_SHOWN 1024

/* Sends what is in `out`, ends the call and empties `out`; an error instead if the result did not fit. */
void admin_finish(struct call *call, struct buffer *out);

/* admin_entries.c */
int admin_show(struct call *call, const struct request *request, struct fault *fault);
int admin_list(struct call *call, const struct request *request, struct fault *fault);

/* admin_remove.c */
int admin_invalidate(struct call *call, const struct request *request, struct fault *fault);
int admin_flush(struct call *call, const struct request *request, struct fault *fault);

/* admin_stats.c */
void admin_stats(struct service *service, struct buffer *out);

#endif
