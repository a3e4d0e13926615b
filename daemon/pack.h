/* Short forms of msgpack-c's packer for what this daemon writes: maps with text keys, into a struct buffer.
 * The packer does not report a failed append: room must be made before, or the buffer's own maximum looked at after. */
#ifndef DAEMON_PACK_H
#define DAEMON_PACK_H

#include "../proto/buffer.h"

#include <msgpack.h>

/* Begins to append to `out`. */
static inline msgpack_packer pack_to(struct buffer *out)
{
	msgpack_packer pack;

	msgpack_packer_init(&pack, out, buffer_write_msgpack);
	return pack;
}

/* Appends a text, or nil for an absent one. */
static inline void pack_text(msgpack_packer *pack, struct slice text)
{
	if (!text.data) {
		msgpack_pack_nil(pack);
		return;
	}
	msgpack_pack_str(pack, text.length);
	msgpack_pack_str_body(pack, text.data, text.length);
}

/* Appends a map's key. */
static inline void pack_key(msgpack_packer *pack, const char *key)
{
	pack_text(pack, slice_of(key));
}

/* Appends key and value. */
static inline void pack_named_text(msgpack_packer *pack, const char *key, struct slice text)
{
	pack_key(pack, key);
	pack_text(pack, text);
}

static inline void pack_named_uint(msgpack_packer *pack, const char *key, uint64_t value)
{
	pack_key(pack, key);
	msgpack_pack_uint64(pack, value);
}

static inline void pack_named_float(msgpack_packer *pack, const char *key, double value)
{
	pack_key(pack, key);
	msgpack_pack_double(pack, value);
}

static inline void pack_named_bool(msgpack_packer *pack, const char *key, bool value)
{
	pack_key(pack, key);
	if (value)
		msgpack_pack_true(pack);
	else
		msgpack_pack_false(pack);
}

#endif
