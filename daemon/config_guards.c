/* Reads and shows which guards are on, off or only counted. Those that the text does not name keep their default. */
#include "config_table.h"

#include "config.h"
#include "guard.h"

#include "../proto/error.h"

#include <string.h>

static const char *const states[] = {"off", "on", "shadow"};

enum state { OFF, ON, SHADOW, STATES };

static void set_state(struct config_guards *guards, uint32_t bits, enum state state)
{
	guards->on &= ~bits;
	guards->shadow &= ~bits;
	if (state == ON)
		guards->on |= bits;
	else if (state == SHADOW)
		guards->shadow |= bits;
}

/* Reads NAME:STATE, or all:STATE. */
static int read_item(struct config_guards *guards, struct slice item)
{
	const char *colon = memchr(item.data, ':', item.length);
	enum state state = OFF;

	if (!colon)
		return ERROR_INVALID;
	struct slice name = {item.data, (size_t)(colon - item.data)};
	struct slice word = {colon + 1, item.length - name.length - 1};
	while (state < STATES && !slice_equal(slice_of(states[state]), word))
		state++;
	if (state == STATES)
		return ERROR_INVALID;
	enum guard guard = guard_find(name);
	if (guard == GUARD_COUNT && !slice_equal(name, SLICE("all")))
		return ERROR_INVALID;
	set_state(guards, guard == GUARD_COUNT ? GUARDS_ALL : GUARD_BIT(guard), state);
	return 0;
}

static int read_items(struct config_guards *guards, const char *text)
{
	struct slice item;

	while (config_next_item(&text, &item)) {
		if (item.length == 0 && !text)
			return 0;
		int error = read_item(guards, item);
		if (error)
			return error;
	}
	return 0;
}

int config_guards_set(struct config_guards *field, const char *text)
{
	struct config_guards guards = {0};
	int error = read_items(&guards, CONFIG_GUARDS_DEFAULT);

	if (!error)
		error = read_items(&guards, text);
	if (!error)
		*field = guards;
	return error;
}

int config_guards_show(const struct config_guards *field, struct buffer *out)
{
	int error = 0;

	for (int guard = 0; !error && guard < GUARD_COUNT; guard++) {
		enum state state = field->on & GUARD_BIT(guard) ? ON : field->shadow & GUARD_BIT(guard) ? SHADOW : OFF;
		error = buffer_printf(out, "%s%s:%s", guard ? ", " : "", guard_name((enum guard)guard), states[state]);
	}
	return error;
}

int config_opposites_set(struct guard_words **field, const char *text)
{
	struct guard_words *words = NULL;
	int error = guard_words_parse(slice_of(text), &words);

	if (error)
		return error == ERROR_TOO_LARGE ? ERROR_INVALID : error;
	guard_words_destroy(*field);
	*field = words;
	return 0;
}
