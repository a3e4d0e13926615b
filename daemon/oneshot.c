#include "oneshot.h"

#include "calibrate.h"
#include "evaluate.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} modes[] = {
	{"evaluate", evaluate_main},
	{"calibrate", calibrate_main},
};

int oneshot_run(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			return modes[i].run(argc - 1, argv + 1);
	return -1;
}
