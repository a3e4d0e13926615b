/* What the files of decisions share. Nobody else includes it. */
#ifndef DAEMON_DECISIONS_PRIVATE_H
#define DAEMON_DECISIONS_PRIVATE_H

#include "decisions.h"

/* What is pending is up to clients. */
#ifndef HASH_NONFATAL_OOM
#define HASH_NONFATAL_OOM 1
#endif
#include <uthash.h>

/* ---- decisions_record.c: what a record says ---- */

/* The most bytes of one text in a record, and of a whole record. */
#define RECORD_TEXT 4096
#define RECORD_MOST (128u << 10)

/* Appends the record of `event`. Returns 0, ERROR_TOO_LARGE or ERROR_MEMORY, and then nothing was appended. */
int record_encode(struct buffer *out, const struct decision_event *event, uint64_t at_ms, bool with_texts);

/* Appends the record of a review. Errors as record_encode(). */
int record_encode_review(struct buffer *out, const struct decision_review *review, uint64_t at_ms, bool with_texts);

/* Returns whether `record` is one of a review. */
bool record_is_review(struct slice record);

/* Appends `record` with what `review` says as the value of its key `review`. Errors as record_encode(), or
 * ERROR_PROTOCOL. */
int record_join(struct buffer *out, struct slice record, struct slice review);

/* What a record can be purged by. */
enum purge_kind { PURGE_NAMESPACE, PURGE_ENTRY, PURGE_TAG };

/* Calls `mentions` for what `record` can be purged by: its namespace first, then its tags and entries (32 bytes each; its
 * own identity is one of them). Stops and returns true as soon as that does; false at the end, or where the record is
 * malformed. */
bool record_walk(struct slice record,
		 bool (*mentions)(void *data, enum purge_kind kind, struct slice namespace, struct slice name), void *data);

/* ---- decisions_purges.c: what is to be removed ---- */

/* More than so many, and all of a namespace goes. */
#define PURGES_MOST 16384

struct purge {
	UT_hash_handle hh;
	uint64_t before;
	size_t length;
	char key[];
};

/* A set of purges. All zero = empty. */
struct purges {
	struct purge *set;
	uint64_t all_before;
};

/* Adds one: what was noted before the sequence number `before` (from 1) goes. `namespace` absent: of all. Never fails: what
 * there is no memory or no room for makes more go than was asked for. */
void purges_add(struct purges *purges, enum purge_kind kind, struct slice namespace, struct slice name, uint64_t before);

/* Returns whether there is none. */
bool purges_empty(const struct purges *purges);

/* Returns whether the record of this sequence number goes. Numbers count from `base`. */
bool purges_match(const struct purges *purges, struct slice record, uint64_t sequence, uint64_t base);

/* Empties it. */
void purges_clear(struct purges *purges);

/* ---- decisions_frame.c: records as they stand in a segment, and in the buffer ---- */

/* A record with its head: length (4 bytes, least significant first), kind (4, 1), sequence, request, at_ms and checksum (8
 * each), body. The checksum is XXH3 of the body, seeded with that of the head's first 32 bytes. */
#define FRAME_HEAD 40
/* What each segment begins with. */
#define SEGMENT_MAGIC "semdec1\n"
#define SEGMENT_HEAD 8

struct frame {
	uint64_t sequence, request, at_ms;
	struct slice body;
	size_t length; /* of all */
};

/* Appends a frame without a checksum. Errors as buffer_append(). */
int frame_append(struct buffer *out, const struct frame *frame);

/* Reads the first frame of `bytes` without looking at the checksum. Returns 0, ERROR_PENDING (more bytes are needed) or
 * ERROR_PROTOCOL. */
int frame_peek(struct slice bytes, struct frame *frame);

/* The same, and checks it. */
int frame_read(struct slice bytes, struct frame *frame);

/* Appends `frame` under another sequence number with its checksum. Errors as buffer_append(). */
int frame_seal(struct buffer *out, const struct frame *frame, uint64_t sequence);

/* Removes the frames that `purges` match from a buffer of frames without checksums. Returns how many. */
size_t frames_purge(struct buffer *frames, const struct purges *purges);

/* ---- decisions_segment.c: one file ---- */

/* Reads the segment open at `fd` from its beginning and calls `each` for its frames, until that returns false. `*whole`: the
 * bytes of the head and all whole frames; `*size`: of the file. Returns 0 (also if it is damaged or cut: then they differ),
 * or ERROR_MEMORY or ERROR_UNAVAILABLE (errno says why). */
int segment_scan(int fd, bool (*each)(void *data, const struct frame *frame), void *data, uint64_t *whole, uint64_t *size);

/* Writes all of `bytes`. Returns 0 or ERROR_UNAVAILABLE with errno. */
int segment_write(int fd, struct slice bytes);

/* ---- decisions_disk.c: the folder; on the thread pool, one caller at a time ---- */

struct segment {
	uint64_t id, bytes, last_ms; /* Unix milliseconds of the last write */
	bool is_known;               /* it was read or is ours, and so: */
	uint64_t first_ms, least_request, most_request;
};

struct disk {
	const char *directory;
	int folder, current; /* descriptors, -1 = closed; `current` is the last segment, if that is open for appending */
	struct segment *segments; /* by id */
	size_t count, room;
	uint64_t bytes;   /* of all */
	uint64_t base;    /* what this process's sequence numbers count from */
	uint64_t written; /* the last one written by this process, 0 = none */
	char error[160];  /* of what failed last */
};

struct disk_limits {
	uint64_t max_bytes, max_age_ms, now_ms; /* Unix milliseconds */
};

/* Makes it closed. */
void disk_init(struct disk *disk, const char *directory);

/* Makes the folder if it is not there, locks it and looks what is in it. Does nothing if it is open. Returns 0, or
 * ERROR_UNAVAILABLE or ERROR_MEMORY with disk->error. */
int disk_open(struct disk *disk);

/* Closes what is open and frees what is known. */
void disk_close(struct disk *disk);

/* Writes `batch`, frames without checksums; what was written is taken out of it and added to `*written`. Errors as
 * disk_open(). */
int disk_append(struct disk *disk, struct buffer *batch, const struct disk_limits *limits, uint64_t *written);

/* Removes the oldest segments while there are too many bytes, if `more` are coming, and those that are too old. Errors as
 * disk_open(). */
int disk_trim(struct disk *disk, const struct disk_limits *limits, uint64_t more);

/* Removes what `purges` match from the first segment whose id is `*next` or more, and sets `*next` behind it; adds to
 * `*removed`. `*next` becomes UINT64_MAX when there is none left. Errors as disk_open(), and then `*next` stays. */
int disk_purge(struct disk *disk, const struct purges *purges, uint64_t *next, uint64_t *removed);

/* One request that is looked for. */
struct wanted {
	uint64_t request;
	bool is_found;
	uint64_t sequence, at_ms;
	struct buffer record;
	struct buffer review; /* empty = there is none */
	struct buffer joined;
};

/* Makes it empty. */
void wanted_init(struct wanted *wanted, uint64_t request);
void wanted_deinit(struct wanted *wanted);

/* Keeps `frame` as what was wanted. Returns 0 or ERROR_MEMORY. */
int wanted_take(struct wanted *wanted, const struct frame *frame);

/* Returns what was found, with its review, which mentions nothing that the record does not. Good until it is freed. */
struct slice wanted_join(struct wanted *wanted);

/* Looks for `count` requests in the last segment whose id is under `*below` and that may have one, and sets `*below` to its
 * id; 0 when there is none. Errors as disk_open(). */
int disk_find(struct disk *disk, struct wanted *wanted, size_t count, uint64_t *below);

/* The same in a buffer of frames without checksums, whose numbers count from `base`. Returns 0 or ERROR_MEMORY. */
int frames_find(const struct buffer *frames, struct wanted *wanted, size_t count, uint64_t base);

#endif
