/* What reading and removing labels share. */
#ifndef DAEMON_STORE_LABELS_H
#define DAEMON_STORE_LABELS_H

#include "store_private.h"

/* Makes the command that reads a batch of the labels of `namespace`, from the id `from` on ("-" = the oldest). */
void labels_range(struct command *command, const struct store *store, struct slice namespace, const char *from);

/* Reads a record, [id, [field, value …]]. Returns whether it is a label. */
bool label_read(const struct redisReply *record, struct store_label *out);

/* Writes the least id that comes after `id`. Returns whether `id` is one. */
bool label_next_id(struct slice id, char *next, size_t size);

#endif
