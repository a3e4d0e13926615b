/* line ──> columns ──> texts, each kept once ──> row. The first line says what the columns are.
 *
 * What can go wrong: a line that has not as many columns as the first; a label that is neither 0 nor 1; a question that
 * is empty or no text (UTF-8 without NUL); too many lines. Each is told with the line's number, and nothing is read. */
#include "evaluate_set.h"

#include "../proto/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define COLUMNS_MOST 64
#define ROWS_FIRST 1024

/* A text or a class, and its number. */
struct known {
	struct slice text;
	uint32_t number;
	UT_hash_handle hh;
};

struct reading {
	struct evaluate_set *set;
	struct slice rest;
	size_t line, most;
	size_t column_count;
	size_t first, second, third; /* columns: q1 q2 label, or class_id prompt - */
	size_t row_room, text_room;
	struct known *texts, *classes;
	char *mistake;
	size_t mistake_size;
};

static int __attribute__((format(printf, 2, 3))) wrong(struct reading *reading, const char *format, ...)
{
	va_list args;
	int length = snprintf(reading->mistake, reading->mistake_size, "%zu: ", reading->line);

	va_start(args, format);
	if (length > 0 && (size_t)length < reading->mistake_size)
		(void)vsnprintf(reading->mistake + length, reading->mistake_size - (size_t)length, format, args);
	va_end(args);
	return ERROR_INVALID;
}

/* ---- lines and columns ---- */

static bool next_line(struct reading *reading, struct slice *line)
{
	struct slice *rest = &reading->rest;

	while (rest->length > 0) {
		const char *end = memchr(rest->data, '\n', rest->length);
		*line = (struct slice){rest->data, end ? (size_t)(end - rest->data) : rest->length};
		size_t taken = line->length + (end != NULL);
		rest->data += taken;
		rest->length -= taken;
		reading->line++;
		if (line->length > 0 && line->data[line->length - 1] == '\r')
			line->length--;
		if (line->length > 0)
			return true;
	}
	return false;
}

/* Returns how many columns there are; the first COLUMNS_MOST are in `columns`. */
static size_t split(struct slice line, struct slice *columns)
{
	size_t count = 0;

	for (;;) {
		const char *tab = memchr(line.data, '\t', line.length);
		size_t length = tab ? (size_t)(tab - line.data) : line.length;
		if (count < COLUMNS_MOST)
			columns[count] = (struct slice){line.data, length};
		count++;
		if (!tab)
			return count;
		line.data += length + 1;
		line.length -= length + 1;
	}
}

static bool find_column(const struct slice *columns, size_t count, const char *name, size_t *at)
{
	for (*at = 0; *at < count; (*at)++)
		if (slice_equal(columns[*at], slice_of(name)))
			return true;
	return false;
}

static bool is_label(struct slice text)
{
	return slice_equal(text, SLICE("0")) || slice_equal(text, SLICE("1"));
}

/* Finds out what the columns are. `*is_header`: the first line is no row itself. */
static int read_header(struct reading *reading, const struct slice *columns, size_t count, bool *is_header)
{
	*is_header = true;
	reading->column_count = count;
	if (count > COLUMNS_MOST)
		return wrong(reading, "there are more than %d columns", COLUMNS_MOST);
	bool has_label = find_column(columns, count, "label", &reading->third);
	bool is_pairs = (find_column(columns, count, "q1", &reading->first) &&
			 find_column(columns, count, "q2", &reading->second)) ||
			(find_column(columns, count, "sentence1", &reading->first) &&
			 find_column(columns, count, "sentence2", &reading->second));
	if (has_label && is_pairs)
		return 0;
	if (find_column(columns, count, "class_id", &reading->first) &&
	    find_column(columns, count, "prompt", &reading->second)) {
		reading->set->kind = EVALUATE_STREAM;
		return 0;
	}
	if (count == 3 && is_label(columns[2])) {
		*is_header = false;
		reading->first = 0;
		reading->second = 1;
		reading->third = 2;
		return 0;
	}
	return wrong(
		reading,
		"this is neither a header that names q1 q2 label, sentence1 sentence2 label, or id class_id prompt, nor "
		"question<TAB>question<TAB>0 or 1");
}

/* ---- texts and rows ---- */

/* Makes room for one more of `size` bytes. */
static int grow(void *list, size_t count, size_t *room, size_t size)
{
	void *old;

	if (count < *room)
		return 0;
	memcpy(&old, list, sizeof(old));
	size_t more = *room ? *room * 2 : ROWS_FIRST;
	void *grown = reallocarray(old, more, size);
	if (!grown)
		return ERROR_MEMORY;
	memcpy(list, &grown, sizeof(grown));
	*room = more;
	return 0;
}

/* Returns the number of `text` among those known, which is `next` for one that was not. */
static int number_of(struct known **all, struct slice text, size_t next, uint32_t *number)
{
	struct known *known;

	HASH_FIND(hh, *all, text.data, text.length, known);
	if (known) {
		*number = known->number;
		return 0;
	}
	known = calloc(1, sizeof(*known));
	if (!known)
		return ERROR_MEMORY;
	known->text = text;
	known->number = *number = (uint32_t)next;
	HASH_ADD_KEYPTR(hh, *all, known->text.data, known->text.length, known);
	if (known->hh.tbl)
		return 0;
	free(known);
	return ERROR_MEMORY;
}

static int text_add(struct reading *reading, struct slice text, uint32_t *number)
{
	struct evaluate_set *set = reading->set;
	bool nul;

	if (text.length == 0)
		return wrong(reading, "a question is empty");
	if (!slice_is_utf8(text, &nul))
		return wrong(reading, "a question is not UTF-8");
	if (nul)
		return wrong(reading, "there is a NUL in a question");
	int error = grow(&set->texts, set->text_count, &reading->text_room, sizeof(set->texts[0]));
	if (!error)
		error = number_of(&reading->texts, text, set->text_count, number);
	if (!error && *number == set->text_count)
		set->texts[set->text_count++] = text;
	return error;
}

static int class_add(struct reading *reading, struct slice text, struct evaluate_row *row)
{
	struct evaluate_set *set = reading->set;
	bool is_number = text.length > 0;

	if (text.length == 0)
		return wrong(reading, "class_id is empty");
	for (size_t i = 0; i < text.length; i++)
		is_number = is_number && text.data[i] >= '0' && text.data[i] <= '9';
	set->has_parity = set->has_parity && is_number;
	row->odd = is_number && (text.data[text.length - 1] - '0') % 2 == 1;
	int error = number_of(&reading->classes, text, set->class_count, &row->class);
	if (!error && row->class == set->class_count)
		set->class_count++;
	return error;
}

static int read_row(struct reading *reading, const struct slice *columns, size_t count)
{
	struct evaluate_set *set = reading->set;
	struct evaluate_row row = {0};

	if (count != reading->column_count)
		return wrong(reading, "there are %zu columns, and %zu in the first line", count, reading->column_count);
	if (set->row_count == reading->most) {
		(void)wrong(reading, "there are more than %zu rows; --max-questions allows more", reading->most);
		return ERROR_TOO_LARGE;
	}
	int error = 0;
	if (set->kind == EVALUATE_STREAM) {
		error = class_add(reading, columns[reading->first], &row);
	} else {
		if (!is_label(columns[reading->third]))
			return wrong(reading, "the label is neither 0 nor 1");
		row.same = columns[reading->third].data[0] == '1';
		error = text_add(reading, columns[reading->first], &row.stored);
	}
	if (!error)
		error = text_add(reading, columns[reading->second], &row.asked);
	if (!error)
		error = grow(&set->rows, set->row_count, &reading->row_room, sizeof(set->rows[0]));
	if (!error)
		set->rows[set->row_count++] = row;
	return error;
}

static int read_all(struct reading *reading)
{
	struct slice line, columns[COLUMNS_MOST];
	bool is_header = true;

	if (!next_line(reading, &line)) {
		reading->line = 1;
		return wrong(reading, "the file is empty");
	}
	size_t count = split(line, columns);
	int error = read_header(reading, columns, count, &is_header);
	if (!error && !is_header)
		error = read_row(reading, columns, count);
	while (!error && next_line(reading, &line)) {
		count = split(line, columns);
		error = read_row(reading, columns, count);
	}
	if (!error && reading->set->row_count == 0)
		return wrong(reading, "there is no row under the header");
	return error;
}

static void known_free(struct known **all)
{
	struct known *known, *next;

	HASH_ITER (hh, *all, known, next) {
		HASH_DEL(*all, known);
		free(known);
	}
}

int evaluate_set_read(struct slice bytes, size_t most, struct evaluate_set **set, char *mistake, size_t mistake_size)
{
	static const char mark[] = "\xEF\xBB\xBF";
	struct reading reading = {
		.set = calloc(1, sizeof(**set)),
		.rest = bytes,
		.most = most < UINT32_MAX / 2 ? most : UINT32_MAX / 2,
		.mistake = mistake,
		.mistake_size = mistake_size,
	};

	if (!reading.set)
		return ERROR_MEMORY;
	reading.set->has_parity = true;
	if (bytes.length >= 3 && memcmp(bytes.data, mark, 3) == 0) {
		reading.rest.data += 3;
		reading.rest.length -= 3;
	}
	int error = read_all(&reading);
	known_free(&reading.texts);
	known_free(&reading.classes);
	if (error)
		evaluate_set_destroy(reading.set);
	else
		*set = reading.set;
	return error;
}

/* ---- halves ---- */

static bool is_of(const struct evaluate_row *row, enum evaluate_half half)
{
	return half == EVALUATE_ALL || row->odd == (half == EVALUATE_ODD);
}

/* Numbers texts and classes anew, in the order in which they appear in the half. */
static void half_fill(struct evaluate_set *set, const struct evaluate_set *whole, enum evaluate_half half, uint32_t *of,
		      uint32_t *texts, uint32_t *classes)
{
	for (size_t i = 0; i < whole->row_count; i++) {
		struct evaluate_row row = whole->rows[i];
		if (!is_of(&row, half))
			continue;
		if (texts[row.asked] == UINT32_MAX) {
			of[set->text_count] = row.asked;
			set->texts[set->text_count] = whole->texts[row.asked];
			texts[row.asked] = (uint32_t)set->text_count++;
		}
		if (classes[row.class] == UINT32_MAX)
			classes[row.class] = (uint32_t)set->class_count++;
		row.asked = texts[row.asked];
		row.class = classes[row.class];
		set->rows[set->row_count++] = row;
	}
}

int evaluate_set_half(const struct evaluate_set *whole, enum evaluate_half half, struct evaluate_set **set, uint32_t **of)
{
	struct evaluate_set *made = calloc(1, sizeof(*made));
	uint32_t *texts = calloc(whole->text_count + 1, sizeof(*texts));
	uint32_t *classes = calloc(whole->class_count + 1, sizeof(*classes));
	uint32_t *made_of = calloc(whole->text_count + 1, sizeof(*made_of));
	int error = ERROR_MEMORY;

	if (made) {
		made->kind = whole->kind;
		made->has_parity = whole->has_parity;
		made->texts = calloc(whole->text_count + 1, sizeof(made->texts[0]));
		made->rows = calloc(whole->row_count + 1, sizeof(made->rows[0]));
	}
	if (made && made->texts && made->rows && texts && classes && made_of) {
		memset(texts, 0xFF, whole->text_count * sizeof(*texts));
		memset(classes, 0xFF, whole->class_count * sizeof(*classes));
		half_fill(made, whole, half, made_of, texts, classes);
		*set = made;
		*of = made_of;
		made = NULL;
		made_of = NULL;
		error = 0;
	}
	free(texts);
	free(classes);
	free(made_of);
	evaluate_set_destroy(made);
	return error;
}

void evaluate_set_destroy(struct evaluate_set *set)
{
	if (!set)
		return;
	free(set->texts);
	free(set->rows);
	free(set);
}
