/* Questions in a file, with what is known of them: pairs with a label, or a stream in the order in which they were asked.
 * Pure.
 *
 *   q1 <TAB> q2 <TAB> 1|0                          pairs; or any columns under a header that names q1 q2 label, or
 *   sentence1 sentence2 label                      1 = one answer does for both
 *   id <TAB> class_id <TAB> prompt                 a stream, under this header; one class = one answer does for all of it
 *
 * Lines end with LF or CRLF, a byte order mark is passed over, and so are empty lines; nothing is quoted. */
#ifndef DAEMON_EVALUATE_SET_H
#define DAEMON_EVALUATE_SET_H

#include "../proto/buffer.h"

enum evaluate_kind { EVALUATE_PAIRS, EVALUATE_STREAM };

/* Which classes of a stream are looked at, by the parity of their number. */
enum evaluate_half { EVALUATE_ALL, EVALUATE_EVEN, EVALUATE_ODD };

struct evaluate_row {
	uint32_t asked;  /* a text */
	uint32_t stored; /* pairs: the text whose answer is stored */
	uint32_t class;  /* stream: counted from 0 in the order in which they appear */
	bool same;       /* pairs: the label */
	bool odd;        /* stream: the class's number */
};

struct evaluate_set {
	enum evaluate_kind kind;
	struct slice *texts; /* each once, in the order in which they appear; they point into the bytes that were read */
	size_t text_count;
	struct evaluate_row *rows;
	size_t row_count;
	size_t class_count;
	bool has_parity; /* every class is a number */
};

/* Reads `bytes`, which must stay as long as the set. Returns 0 and `*set` (evaluate_set_destroy()), or ERROR_INVALID or
 * ERROR_TOO_LARGE (more than `most` rows) with "LINE: what is wrong" in `mistake`, or ERROR_MEMORY. */
int evaluate_set_read(struct slice bytes, size_t most, struct evaluate_set **set, char *mistake, size_t mistake_size);

/* Copies what is of one half of a stream that has_parity; `of[i]`, malloc'ed, is what the copy's text i is in `whole`.
 * Returns 0 or ERROR_MEMORY. */
int evaluate_set_half(const struct evaluate_set *whole, enum evaluate_half half, struct evaluate_set **set, uint32_t **of);

/* Frees it; NULL is nothing. */
void evaluate_set_destroy(struct evaluate_set *set);

#endif
