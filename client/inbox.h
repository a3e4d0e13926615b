/* What the daemon sends: responses and chunks, handed to the requests they belong to. */
#ifndef CLIENT_INBOX_H
#define CLIENT_INBOX_H

struct semcache;
struct failure;

/* What one look at the received bytes comes to. */
enum inbox_verdict {
	INBOX_FINE,   /* all complete messages are handled */
	INBOX_LAST,   /* the daemon's last error: it closes the connection; `failure` is what it said */
	INBOX_BROKEN, /* the peer does not keep to the protocol; `failure` says how */
};

/* Handles every complete message that has been received. Chunk callbacks run in here; other outcomes only move requests to
 * their next queue. */
enum inbox_verdict inbox_read(struct semcache *cache, struct failure *failure);

#endif
