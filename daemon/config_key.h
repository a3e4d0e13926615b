/* Fetches the keys of somebody's service from where the configuration says they are; config.c's own. */
#ifndef DAEMON_CONFIG_KEY_H
#define DAEMON_CONFIG_KEY_H

#include <stddef.h>

/* The most bytes of a key. */
#define CONFIG_KEY_BYTES 4096

struct config;
struct config_key;

/* Fills key->secret. A key that is not in the environment is taken from `previous` (may be NULL). Returns 0, ERROR_MEMORY,
 * or ERROR_INVALID with one sentence, without secrets, in `why`. */
int config_key_read(struct config_key *key, const struct config *previous, char *why, size_t size);

/* Wipes the variable that `key` came from and removes it from the environment. */
void config_key_forget(const struct config_key *key);

/* Wipes and frees the secret. */
void config_key_wipe(struct config_key *key);

#endif
