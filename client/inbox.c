/* All goes well: a response ends the request with its id; a chunk goes to the owner of the request with its id.
 * What can go wrong: anything may have been sent. The scanner has bounded a message before it is read here; ids, sequence
 * numbers and types are checked, and the first one that cannot be ends the connection. */
#include "inbox.h"

#include "../proto/limits.h"
#include "../proto/reader.h"
#include "handle.h"
#include "result.h"

static enum inbox_verdict broken(struct failure *failure, const char *text)
{
	(void)failure_set(failure, ERROR_PROTOCOL, "", "the peer is not semcached: %s", text);
	return INBOX_BROKEN;
}

/* An ending daemon refused the request. It goes to the next daemon, once; this connection is kept for what is still to come
 * on it, and takes nothing new. */
static bool put_back(struct semcache *cache, struct pending *request)
{
	cache->link.state = LINK_DRAINING;
	if (request->resent || request->delivered || request->method == METHOD_drain)
		return false;
	request->failure = (struct failure){.retry_ms = SEMCACHE_UNSET};
	request->resent = true;
	request->refused = true;
	pending_enqueue(&cache->pending, request, true);
	return true;
}

static void finish(struct semcache *cache, struct pending *request, const struct reader_value *error, struct slice raw)
{
	bool answer = request->method == METHOD_get_or_generate || request->method == METHOD_lookup;

	if (error->type == READER_TEXT) {
		int code = failure_parse(&request->failure, error->text);
		if (code == ERROR_DRAINING && put_back(cache, request))
			return;
	} else {
		int code = result_create(raw, answer, &request->result);
		if (code == ERROR_PROTOCOL)
			(void)failure_set(&request->failure, code, "", "the answer holds a value that it cannot have");
		else if (code)
			(void)failure_set(&request->failure, code, "", "%s", error_text(code));
	}
	pending_end(&cache->pending, request, false);
}

/* `[1, id, error, result]`, without its first value. */
static enum inbox_verdict read_response(struct semcache *cache, struct reader *r, struct failure *failure)
{
	struct reader_value id, error;
	struct slice raw;

	if (reader_next(r, &id) != 0 || reader_next(r, &error) != 0 ||
	    (error.type != READER_NIL && error.type != READER_TEXT) || reader_skip(r, &raw) != 0)
		return broken(failure, "a response must be [1, id, error, result]");
	if (id.type == READER_NIL && error.type == READER_TEXT) {
		(void)failure_parse(failure, error.text);
		return INBOX_LAST;
	}
	struct pending_slot *slot = id.type == READER_UINT ? pending_find(&cache->pending, id.uint) : NULL;
	if (!slot || (slot->request && !slot->request->sent))
		return broken(failure, "a response to no request");
	if (!slot->request)
		pending_forget(&cache->pending, slot);
	else
		finish(cache, slot->request, &error, raw);
	return INBOX_FINE;
}

/* `[id, seq, text]` of a chunk. */
static enum inbox_verdict read_chunk(struct semcache *cache, struct reader *r, struct failure *failure)
{
	struct reader_value list, id, seq, text;

	if (reader_next(r, &list) != 0 || list.type != READER_ARRAY || list.count != 3 || reader_next(r, &id) != 0 ||
	    id.type != READER_UINT || reader_next(r, &seq) != 0 || seq.type != READER_UINT || reader_next(r, &text) != 0 ||
	    text.type != READER_TEXT || text.text.length > LIMIT_CHUNK_BYTES)
		return broken(failure, "a chunk must be [id, seq, text]");
	struct pending_slot *slot = pending_find(&cache->pending, id.uint);
	if (!slot)
		return broken(failure, "a chunk for no request");
	struct pending *request = slot->request;
	if (!request)
		return INBOX_FINE;
	if (!request->sent || !request->handler.chunk || seq.uint != request->next_seq)
		return broken(failure, "a chunk that was not asked for, or out of its order");
	request->next_seq++;
	request->delivered = true;
	cache->in_callback = true;
	request->handler.chunk(request->handler.data, request->id, text.text.data, text.text.length);
	cache->in_callback = false;
	return INBOX_FINE;
}

/* `[id, map]` of an event. */
static enum inbox_verdict read_event(struct semcache *cache, struct reader *r, struct failure *failure)
{
	struct reader_value list, id;
	struct slice map;

	if (reader_next(r, &list) != 0 || list.type != READER_ARRAY || list.count != 2 || reader_next(r, &id) != 0 ||
	    id.type != READER_UINT || reader_skip(r, &map) != 0)
		return broken(failure, "an event must be [id, map]");
	struct pending_slot *slot = pending_find(&cache->pending, id.uint);
	if (!slot)
		return broken(failure, "an event for no request");
	struct pending *request = slot->request;
	if (!request)
		return INBOX_FINE;
	if (!request->sent || !request->event)
		return broken(failure, "an event that was not asked for");
	request->delivered = true;
	cache->in_callback = true;
	request->event(request->handler.data, request->id, map.data, map.length);
	cache->in_callback = false;
	return INBOX_FINE;
}

static enum inbox_verdict read_message(struct semcache *cache, struct slice message, struct failure *failure)
{
	struct reader r = reader_of(message);
	struct reader_value list, type, name;

	if (reader_next(&r, &list) != 0 || list.type != READER_ARRAY || list.count < 3 || reader_next(&r, &type) != 0 ||
	    type.type != READER_UINT)
		return broken(failure, "a message must be an array that starts with its type");
	if (type.uint == 1 && list.count == 4)
		return read_response(cache, &r, failure);
	if (type.uint != 2 || list.count != 3 || reader_next(&r, &name) != 0 || name.type != READER_TEXT)
		return broken(failure, "a message of no known type");
	if (slice_equal(name.text, SLICE("chunk")))
		return read_chunk(cache, &r, failure);
	if (slice_equal(name.text, SLICE("event")))
		return read_event(cache, &r, failure);
	/* Notifications that a newer daemon may send are passed over. */
	return INBOX_FINE;
}

enum inbox_verdict inbox_read(struct semcache *cache, struct failure *failure)
{
	struct slice message;

	for (;;) {
		int error = link_message(&cache->link, &message);
		if (error == ERROR_PENDING)
			return INBOX_FINE;
		if (error == ERROR_TOO_LARGE)
			return broken(failure, "a message is over max_message_bytes, or too deep");
		if (error)
			return broken(failure, "bytes that are not MessagePack");
		enum inbox_verdict verdict = read_message(cache, message, failure);
		if (verdict != INBOX_FINE)
			return verdict;
	}
}
