/* What an allocation really takes, for caches that are bounded in bytes. */
#ifndef DAEMON_HEAP_H
#define DAEMON_HEAP_H

#include <stddef.h>

/* Returns about what malloc() takes from the system for `size` bytes: a word of its own, rounded up to 16, at least 32
 * (glibc's layout; others are near it). */
static inline size_t heap_bytes(size_t size)
{
	size_t taken = (size + 8 + 15) & ~(size_t)15;

	return taken < 32 ? 32 : taken;
}

#endif
