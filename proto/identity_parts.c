/* The table of identity.h, for those that look things up in it. */
#include "identity.h"

enum kind { PART, PARAMETER };

static const struct {
	struct slice name;
	enum kind kind;
	enum identity_rule rule;
	const char *text;
} parts[] = {
#define X(kind, name, rule, text) {{#name, sizeof(#name) - 1}, kind, IDENTITY_RULE_##rule, text},
	IDENTITY_TABLE(X)
#undef X
};

static const char *const rules[] = {
#define X(rule, text) [IDENTITY_RULE_##rule] = text,
	IDENTITY_RULES(X)
#undef X
};

const char *identity_rule_text(enum identity_rule rule)
{
	return rules[rule];
}

const char *identity_part_name(enum identity_part part)
{
	return parts[part].name.data;
}

enum identity_rule identity_part_rule(enum identity_part part)
{
	return parts[part].rule;
}

const char *identity_part_text(enum identity_part part)
{
	return parts[part].text;
}

/* Most lengths differ, so most names are not looked at. */
static enum identity_part find(struct slice name, enum kind first)
{
	enum identity_part part = 0;

	while (part < IDENTITY_PART_COUNT && (parts[part].kind < first || !slice_equal(parts[part].name, name)))
		part++;
	return part;
}

enum identity_part identity_part_find(struct slice name)
{
	return find(name, PART);
}

enum identity_part identity_parameter_find(struct slice name)
{
	return find(name, PARAMETER);
}

bool identity_ignores(struct slice name)
{
	enum identity_part part = identity_parameter_find(name);

	return part < IDENTITY_PART_COUNT && parts[part].rule == IDENTITY_RULE_ignored;
}

enum identity_part identity_compared_part(enum identity_compared compared)
{
	switch (compared) {
	case COMPARED_NOT_TEXT:
		return IDENTITY_PART_not_text;
	case COMPARED_IMAGES:
		return IDENTITY_PART_images;
	case COMPARED_TOOLS:
		return IDENTITY_PART_tools;
	case COMPARED:
		break;
	}
	return IDENTITY_PART_COUNT;
}
