/* The same bytes in two parts end where they end in one; what is accepted is read to its last byte and holds no more
 * inside each other than the limit. The first two bytes of the input say where it is split and how large a message may
 * be. */
#include "proto/error.h"
#include "proto/reader.h"
#include "proto/scanner.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_readable(const uint8_t *bytes, size_t length)
{
	struct reader r = reader_of((struct slice){(const char *)bytes, length});
	struct slice whole;

	check(reader_skip(&r, &whole) == 0);
	check(whole.length == length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scanner one, two;
	size_t end = 0, split_end = 0;

	if (size < 2)
		return 0;
	size_t split = data[0], max = data[1] < 128 ? data[1] : 1u << 20;
	data += 2;
	size -= 2;
	if (split > size)
		split = size;
	scanner_init(&one, max);
	scanner_init(&two, max);
	int error = scanner_scan(&one, data, size, &end);
	int split_error = scanner_scan(&two, data, split, &split_end);
	if (split_error == ERROR_PENDING)
		split_error = scanner_scan(&two, data, size, &split_end);
	check(error == split_error && end == split_end);
	if (error) {
		check(error == ERROR_PENDING || error == ERROR_TOO_LARGE || error == ERROR_PROTOCOL);
		check(error != ERROR_PENDING || size < max);
		return 0;
	}
	check(end > 0 && end <= size && end <= max);
	check_readable(data, end);
	/* One byte less is a message that is not there yet, whatever it holds. */
	check(scanner_scan(&one, data, end - 1, &split_end) == ERROR_PENDING);
	return 0;
}
