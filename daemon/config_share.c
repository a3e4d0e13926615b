/* Reads and shows a share that was counted, such as 3/120. */
#include "config_table.h"

#include "config.h"

#include "../proto/error.h"

#include <string.h>

#define COUNT_MOST 1000000

/* Reads a whole number at `*text` and moves behind it. Returns 0 or ERROR_INVALID. */
static int read_count(const char **text, uint32_t *count)
{
	const char *at = *text;
	uint32_t number = 0;

	while (*at >= '0' && *at <= '9' && number <= COUNT_MOST)
		number = number * 10 + (uint32_t)(*at++ - '0');
	if (at == *text || number > COUNT_MOST)
		return ERROR_INVALID;
	*text = at;
	*count = number;
	return 0;
}

int config_share_set(struct config_share *field, const char *text)
{
	struct config_share share;

	if (strcmp(text, "none") == 0) {
		*field = (struct config_share){0};
		return 0;
	}
	if (read_count(&text, &share.wrong) != 0 || *text++ != '/' || read_count(&text, &share.count) != 0 || *text)
		return ERROR_INVALID;
	if (share.count == 0 || share.wrong > share.count)
		return ERROR_INVALID;
	*field = share;
	return 0;
}

int config_share_show(const struct config_share *field, struct buffer *out)
{
	if (field->count == 0)
		return buffer_append(out, "none", 4);
	return buffer_printf(out, "%u/%u", field->wrong, field->count);
}
