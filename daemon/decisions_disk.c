/* The folder of segments, ID.decisions with ID as 16 hex digits, in the order they were begun.
 *
 *   disk_open() ─> the last one, if whole, is gone on with ─> disk_append() ─> full, or too old ─> the next one
 *
 * All goes well: frames get their place in the count and their checksum, and are written behind each other. What can go wrong: the
 * folder cannot be made or is another daemon's (nothing is written, it is tried again), the disk is full (what was written of
 * a frame is cut off again, the frames stay with the caller), a segment is damaged at its end (it is not gone on with). */
#include "decisions_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".decisions"
#define ID_DIGITS 16
#define NAME_BYTES (ID_DIGITS + sizeof(SUFFIX))
/* A rewritten segment before it takes its place. */
#define FRESH_NAME "rewritten.new"
/* A folder with more was filled by something else. */
#define SEGMENTS_MOST 65536
/* Of max_bytes and max_age, one in … is a segment; and no segment is larger than can be read in a moment. */
#define SEGMENT_PART 16
#define SEGMENT_MOST (64u << 20)

void disk_init(struct disk *disk, const char *directory)
{
	*disk = (struct disk){.directory = directory, .folder = -1, .current = -1};
}

/* Notes why something failed. Returns `code`. */
static int disk_failed(struct disk *disk, const char *what, int code)
{
	const char *why = code == ERROR_MEMORY ? "out of memory" : strerror(errno);

	(void)snprintf(disk->error, sizeof(disk->error), "%s: %s", what, why);
	return code;
}

static void close_descriptor(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static const char *name_of(uint64_t id, char name[NAME_BYTES])
{
	(void)snprintf(name, NAME_BYTES, "%016llx" SUFFIX, (unsigned long long)id);
	return name;
}

static bool id_of(const char *name, uint64_t *id)
{
	if (strspn(name, "0123456789abcdef") != ID_DIGITS || strcmp(name + ID_DIGITS, SUFFIX) != 0)
		return false;
	*id = strtoull(name, NULL, 16);
	return *id > 0 && *id < UINT64_MAX;
}

static struct segment *last_segment(struct disk *disk)
{
	return disk->count > 0 ? &disk->segments[disk->count - 1] : NULL;
}

/* ---- opening ---- */

static int add_segment(struct disk *disk, const struct segment *segment)
{
	if (disk->count == disk->room) {
		size_t room = disk->room ? disk->room * 2 : 32;
		struct segment *grown = room <= SEGMENTS_MOST ? realloc(disk->segments, room * sizeof(*grown)) : NULL;
		if (!grown)
			return disk_failed(disk, "segments", ERROR_MEMORY);
		disk->segments = grown;
		disk->room = room;
	}
	disk->segments[disk->count++] = *segment;
	disk->bytes += segment->bytes;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	uint64_t one = ((const struct segment *)a)->id, other = ((const struct segment *)b)->id;

	return one < other ? -1 : one > other;
}

static uint64_t ms_of(struct timespec time)
{
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static int list_segments(struct disk *disk)
{
	int fd = openat(disk->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
	DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *item;
	struct stat st;
	uint64_t id;

	if (!listing) {
		error = disk_failed(disk, disk->directory, ERROR_UNAVAILABLE);
		close_descriptor(&fd);
		return error;
	}
	while (!error && (item = readdir(listing)) != NULL)
		if (id_of(item->d_name, &id) && fstatat(disk->folder, item->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			error = add_segment(disk, &(struct segment){
							  .id = id,
							  .bytes = (uint64_t)st.st_size,
							  .last_ms = ms_of(st.st_mtim),
						  });
	(void)closedir(listing);
	if (!error && disk->count > 1)
		qsort(disk->segments, disk->count, sizeof(disk->segments[0]), by_id);
	return error;
}

/* What is learned of a segment by reading it. */
struct survey {
	struct segment *segment;
	uint64_t last_sequence;
	bool has_frames;
};

static void survey_frame(struct segment *segment, const struct frame *frame)
{
	if (segment->first_ms == 0) {
		segment->first_ms = frame->at_ms;
		segment->least_request = segment->most_request = frame->request;
	}
	if (frame->request < segment->least_request)
		segment->least_request = frame->request;
	if (frame->request > segment->most_request)
		segment->most_request = frame->request;
}

static bool survey(void *data, const struct frame *frame)
{
	struct survey *seen = data;

	survey_frame(seen->segment, frame);
	if (!seen->has_frames || frame->sequence > seen->last_sequence)
		seen->last_sequence = frame->sequence;
	seen->has_frames = true;
	return true;
}

static int open_segment(const struct disk *disk, uint64_t id, int flags)
{
	char name[NAME_BYTES];

	return openat(disk->folder, name_of(id, name), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Finds what sequence numbers go on from, in the last segment that has any; the very last one is gone on with if it is
 * whole. */
static int take_up(struct disk *disk)
{
	for (size_t i = disk->count; i-- > 0;) {
		struct segment *segment = &disk->segments[i];
		struct survey seen = {.segment = segment};
		uint64_t whole = 0, size = 0;
		int fd = open_segment(disk, segment->id, O_RDWR | O_APPEND);
		int error = fd < 0 ? ERROR_UNAVAILABLE : segment_scan(fd, survey, &seen, &whole, &size);
		if (error)
			error = disk_failed(disk, "segment", error);
		segment->is_known = !error;
		if (!error && i + 1 == disk->count && whole == size)
			disk->current = fd;
		else
			close_descriptor(&fd);
		if (error)
			return error;
		if (seen.has_frames) {
			/* What this process wrote itself it goes on from, so that its own numbers keep their order. */
			if (seen.last_sequence > disk->written)
				disk->base = seen.last_sequence + 1;
			return 0;
		}
	}
	return 0;
}

/* Makes the folder if it can, and sees to it that no other daemon writes there too. */
static int open_folder(struct disk *disk)
{
	if (mkdir(disk->directory, 0700) != 0 && errno != EEXIST)
		return disk_failed(disk, disk->directory, ERROR_UNAVAILABLE);
	disk->folder = open(disk->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (disk->folder < 0)
		return disk_failed(disk, disk->directory, ERROR_UNAVAILABLE);
	if (flock(disk->folder, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK) {
		(void)snprintf(disk->error, sizeof(disk->error), "%s: another daemon has it", disk->directory);
		return ERROR_UNAVAILABLE;
	}
	return disk_failed(disk, disk->directory, ERROR_UNAVAILABLE);
}

int disk_open(struct disk *disk)
{
	if (disk->folder >= 0)
		return 0;
	int error = open_folder(disk);
	if (!error)
		error = list_segments(disk);
	if (!error)
		error = take_up(disk);
	if (error)
		disk_close(disk);
	else
		(void)unlinkat(disk->folder, FRESH_NAME, 0);
	return error;
}

void disk_close(struct disk *disk)
{
	close_descriptor(&disk->current);
	close_descriptor(&disk->folder);
	free(disk->segments);
	disk->segments = NULL;
	disk->count = disk->room = 0;
	disk->bytes = 0;
}

/* ---- writing ---- */

static uint64_t segment_most(const struct disk_limits *limits)
{
	uint64_t part = limits->max_bytes / SEGMENT_PART;

	return part < SEGMENT_MOST ? part : SEGMENT_MOST;
}

static int begin_segment(struct disk *disk, uint64_t now_ms)
{
	const struct segment *last = last_segment(disk);
	struct segment fresh = {.id = last ? last->id + 1 : 1, .bytes = SEGMENT_HEAD, .last_ms = now_ms, .is_known = true};

	close_descriptor(&disk->current);
	int fd = open_segment(disk, fresh.id, O_RDWR | O_CREAT | O_EXCL | O_APPEND);
	if (fd < 0)
		return disk_failed(disk, "a new segment", ERROR_UNAVAILABLE);
	int error = segment_write(fd, (struct slice){SEGMENT_MAGIC, SEGMENT_HEAD});
	if (error)
		error = disk_failed(disk, "a new segment", error);
	else
		error = add_segment(disk, &fresh);
	if (error) {
		char name[NAME_BYTES];
		(void)unlinkat(disk->folder, name_of(fresh.id, name), 0);
		close_descriptor(&fd);
		return error;
	}
	disk->current = fd;
	return 0;
}

/* Whether the last segment takes `more` bytes. An empty one takes all. */
static bool takes_more(struct disk *disk, const struct disk_limits *limits, size_t more)
{
	const struct segment *last = last_segment(disk);

	if (disk->current < 0 || !last)
		return false;
	if (last->bytes <= SEGMENT_HEAD)
		return true;
	bool is_old = limits->now_ms > last->first_ms && limits->now_ms - last->first_ms > limits->max_age_ms / SEGMENT_PART;
	return !is_old && last->bytes + more <= segment_most(limits);
}

/* Writes what was sealed, `length` bytes of the batch; all of it or nothing. */
static int write_sealed(struct disk *disk, struct buffer *sealed, const struct segment *after)
{
	struct segment *last = last_segment(disk);
	int error = segment_write(disk->current, buffer_slice(sealed));

	if (error) {
		error = disk_failed(disk, "the last segment", error);
		if (ftruncate(disk->current, (off_t)last->bytes) != 0)
			close_descriptor(&disk->current);
		return error;
	}
	disk->bytes += sealed->length;
	*last = *after;
	sealed->length = 0;
	return 0;
}

/* Seals as many frames of `batch` as the last segment takes. Returns their bytes in the batch. */
static size_t seal_some(struct disk *disk, const struct buffer *batch, const struct disk_limits *limits,
			struct buffer *sealed, struct segment *after, uint64_t *count)
{
	struct frame frame;
	size_t at = 0;

	*count = 0;
	*after = *last_segment(disk);
	while (frame_peek((struct slice){batch->data + at, batch->length - at}, &frame) == 0) {
		if (at > 0 && after->bytes + frame.length > segment_most(limits))
			break;
		if (frame_seal(sealed, &frame, disk->base + frame.sequence) != 0)
			break;
		survey_frame(after, &frame);
		disk->written = disk->base + frame.sequence;
		after->bytes += frame.length;
		after->last_ms = limits->now_ms;
		at += frame.length;
		++*count;
	}
	return at;
}

/* Somebody may remove the files of a running daemon; what is written to one that has no name is lost. */
static int check_current(struct disk *disk)
{
	struct stat st;

	if (disk->current < 0 || (fstat(disk->current, &st) == 0 && st.st_nlink > 0))
		return 0;
	errno = ENOENT;
	return disk_failed(disk, "the last segment", ERROR_UNAVAILABLE);
}

int disk_append(struct disk *disk, struct buffer *batch, const struct disk_limits *limits, uint64_t *written)
{
	struct buffer sealed;
	struct segment after;
	struct frame first;
	uint64_t count;
	int error = check_current(disk);

	buffer_init(&sealed, batch->max);
	while (!error && frame_peek(buffer_slice(batch), &first) == 0) {
		if (!takes_more(disk, limits, first.length))
			error = begin_segment(disk, limits->now_ms);
		if (error)
			break;
		size_t taken = seal_some(disk, batch, limits, &sealed, &after, &count);
		error = taken ? write_sealed(disk, &sealed, &after) : disk_failed(disk, "writing", ERROR_MEMORY);
		if (error)
			break;
		*written += count;
		buffer_consume(batch, taken);
	}
	buffer_deinit(&sealed);
	return error;
}

/* ---- leaving ---- */

static int drop_segment(struct disk *disk, size_t i)
{
	char name[NAME_BYTES];

	if (unlinkat(disk->folder, name_of(disk->segments[i].id, name), 0) != 0 && errno != ENOENT)
		return disk_failed(disk, "a segment that is to go", ERROR_UNAVAILABLE);
	if (i + 1 == disk->count)
		close_descriptor(&disk->current);
	disk->bytes -= disk->segments[i].bytes;
	disk->count--;
	memmove(&disk->segments[i], &disk->segments[i + 1], (disk->count - i) * sizeof(disk->segments[0]));
	return 0;
}

int disk_trim(struct disk *disk, const struct disk_limits *limits, uint64_t more)
{
	int error = 0;

	for (size_t i = 0; i < disk->count && !error;) {
		const struct segment *segment = &disk->segments[i];
		bool is_old = limits->now_ms > segment->last_ms && limits->now_ms - segment->last_ms > limits->max_age_ms;
		if (is_old || disk->bytes + more > limits->max_bytes)
			error = drop_segment(disk, i);
		else
			i++;
	}
	return error;
}

/* ---- purging: a segment is rewritten without what goes ---- */

struct rewriting {
	const struct purges *purges;
	uint64_t base, removed;
	struct segment after;
	int fd; /* of the fresh file; -1 while it is only counted */
	struct buffer out;
	int error;
};

static int rewriting_flush(struct rewriting *rewriting)
{
	int error = segment_write(rewriting->fd, buffer_slice(&rewriting->out));

	rewriting->out.length = 0;
	return error;
}

static bool count_frame(void *data, const struct frame *frame)
{
	struct rewriting *rewriting = data;

	survey_frame(&rewriting->after, frame);
	rewriting->removed += purges_match(rewriting->purges, frame->body, frame->sequence, rewriting->base);
	return true;
}

static bool keep_frame(void *data, const struct frame *frame)
{
	struct rewriting *rewriting = data;

	if (purges_match(rewriting->purges, frame->body, frame->sequence, rewriting->base))
		return true;
	if (rewriting->out.length + frame->length > rewriting->out.max)
		rewriting->error = rewriting_flush(rewriting);
	if (!rewriting->error)
		rewriting->error = frame_seal(&rewriting->out, frame, frame->sequence);
	survey_frame(&rewriting->after, frame);
	rewriting->after.bytes += frame->length;
	return rewriting->error == 0;
}

/* Writes the fresh file and puts it in the place of the old one, with the time of its last write. */
static int write_fresh(struct disk *disk, int fd, struct rewriting *rewriting)
{
	uint64_t last_ms = rewriting->after.last_ms, whole, size;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
				    {.tv_sec = (time_t)(last_ms / 1000), .tv_nsec = (long)(last_ms % 1000) * 1000000}};
	char name[NAME_BYTES];

	int error = buffer_append(&rewriting->out, SEGMENT_MAGIC, SEGMENT_HEAD);
	if (!error)
		error = segment_scan(fd, keep_frame, rewriting, &whole, &size);
	if (!error)
		error = rewriting->error;
	if (!error)
		error = rewriting_flush(rewriting);
	if (error)
		return error;
	if (futimens(rewriting->fd, times) != 0 || fsync(rewriting->fd) != 0 ||
	    renameat(disk->folder, FRESH_NAME, disk->folder, name_of(rewriting->after.id, name)) != 0 ||
	    fsync(disk->folder) != 0)
		return ERROR_UNAVAILABLE;
	return 0;
}

static int rewrite_segment(struct disk *disk, size_t i, int fd, struct rewriting *rewriting)
{
	struct segment *segment = &disk->segments[i];

	rewriting->after = (struct segment){
		.id = segment->id, .bytes = SEGMENT_HEAD, .last_ms = segment->last_ms, .is_known = true};
	(void)unlinkat(disk->folder, FRESH_NAME, 0);
	rewriting->fd = openat(disk->folder, FRESH_NAME, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			       0600);
	int error = rewriting->fd < 0 ? ERROR_UNAVAILABLE : write_fresh(disk, fd, rewriting);
	if (error) {
		error = disk_failed(disk, "rewriting a segment", error);
		close_descriptor(&rewriting->fd);
		(void)unlinkat(disk->folder, FRESH_NAME, 0);
		return error;
	}
	bool is_current = i + 1 == disk->count && disk->current >= 0;
	if (is_current) {
		close_descriptor(&disk->current);
		disk->current = rewriting->fd;
	} else {
		close_descriptor(&rewriting->fd);
	}
	disk->bytes = disk->bytes - segment->bytes + rewriting->after.bytes;
	*segment = rewriting->after;
	return rewriting->after.bytes == SEGMENT_HEAD ? drop_segment(disk, i) : 0;
}

/* What cannot be read may have any text in it, so a damaged end goes too. */
static int purge_segment(struct disk *disk, size_t i, const struct purges *purges, uint64_t *removed)
{
	struct rewriting rewriting = {.purges = purges, .base = disk->base, .fd = -1};
	struct segment *segment = &disk->segments[i];
	uint64_t whole = 0, size = 0;
	int fd = open_segment(disk, segment->id, O_RDONLY);

	if (fd < 0)
		return disk_failed(disk, "a segment", ERROR_UNAVAILABLE);
	int error = segment_scan(fd, count_frame, &rewriting, &whole, &size);
	if (error)
		error = disk_failed(disk, "a segment", error);
	buffer_init(&rewriting.out, 2 * RECORD_MOST);
	if (!error && (rewriting.removed || whole != size))
		error = rewrite_segment(disk, i, fd, &rewriting);
	buffer_deinit(&rewriting.out);
	close_descriptor(&fd);
	if (!error)
		*removed += rewriting.removed;
	return error;
}

int disk_purge(struct disk *disk, const struct purges *purges, uint64_t *next, uint64_t *removed)
{
	size_t i = 0;

	while (i < disk->count && disk->segments[i].id < *next)
		i++;
	if (i == disk->count) {
		*next = UINT64_MAX;
		return 0;
	}
	uint64_t id = disk->segments[i].id;
	int error = purge_segment(disk, i, purges, removed);
	if (!error)
		*next = id + 1;
	return error;
}

/* ---- finding ---- */

struct finding {
	struct segment seen;
	struct wanted *wanted;
	size_t count;
	int error;
};

static bool find_frame(void *data, const struct frame *frame)
{
	struct finding *finding = data;

	survey_frame(&finding->seen, frame);
	for (size_t i = 0; i < finding->count && !finding->error; i++)
		if (finding->wanted[i].request == frame->request)
			finding->error = wanted_take(&finding->wanted[i], frame);
	return finding->error == 0;
}

static bool may_have(const struct segment *segment, const struct wanted *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!wanted[i].is_found && (!segment->is_known || (wanted[i].request >= segment->least_request &&
								   wanted[i].request <= segment->most_request)))
			return true;
	return false;
}

int disk_find(struct disk *disk, struct wanted *wanted, size_t count, uint64_t *below)
{
	struct finding finding = {.wanted = wanted, .count = count};
	uint64_t whole, size;
	size_t i = disk->count;

	while (i > 0 && (disk->segments[i - 1].id >= *below || !may_have(&disk->segments[i - 1], wanted, count)))
		i--;
	if (i == 0) {
		*below = 0;
		return 0;
	}
	struct segment *segment = &disk->segments[i - 1];
	int fd = open_segment(disk, segment->id, O_RDONLY);
	int error = fd < 0 ? ERROR_UNAVAILABLE : segment_scan(fd, find_frame, &finding, &whole, &size);
	close_descriptor(&fd);
	if (!error)
		error = finding.error;
	if (error)
		return disk_failed(disk, "a segment", error);
	if (!segment->is_known) {
		segment->is_known = true;
		segment->first_ms = finding.seen.first_ms;
		segment->least_request = finding.seen.least_request;
		segment->most_request = finding.seen.most_request;
	}
	*below = segment->id;
	return 0;
}
