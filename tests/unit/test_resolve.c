/* Names become addresses on the thread pool, once for all who wait. Numbers stand for names here: they need no server. */
#include "daemon/resolve.h"
#include "proto/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

struct waiting {
	struct resolve_wait wait;
	int told;
	char addresses[600];
	struct resolve_wait *cancel;
};

static void on_told(struct resolve_wait *wait, const char *addresses, const char *error)
{
	struct waiting *waiting = (struct waiting *)(void *)wait;

	assert_true(addresses || error[0]);
	waiting->told++;
	(void)snprintf(waiting->addresses, sizeof(waiting->addresses), "%s", addresses ? addresses : "");
	if (waiting->cancel)
		resolve_cancel(waiting->cancel);
}

static int find(struct resolver *resolver, struct waiting *waiting, const char *host, const char **addresses)
{
	*waiting = (struct waiting){.wait.done = on_told};
	return resolver_find(resolver, &waiting->wait, host, addresses);
}

static void a_name_is_looked_up_once_and_remembered(void **state)
{
	uv_loop_t loop;
	struct waiting one, two, three;
	const char *addresses = NULL;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct resolver *resolver = resolver_create(&loop);
	assert_int_equal(find(resolver, &one, "192.0.2.7", &addresses), 0);
	assert_int_equal(find(resolver, &two, "192.0.2.7", &addresses), 0);
	assert_int_equal(find(resolver, &three, "2001:db8::1", &addresses), 0);
	assert_int_equal(one.told, 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(one.told == 1 && two.told == 1 && three.told == 1);
	assert_string_equal(one.addresses, "192.0.2.7");
	assert_string_equal(three.addresses, "[2001:db8::1]");
	assert_int_equal(find(resolver, &one, "192.0.2.7", &addresses), 1);
	assert_string_equal(addresses, "192.0.2.7");
	assert_int_equal(find(resolver, &one, "a.localhost", &addresses), 1);
	assert_int_equal(find(resolver, &one, "notlocalhost.invalid", &addresses), 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(one.told, 1);
	assert_string_equal(one.addresses, "");
	resolver_destroy(resolver);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void those_who_left_are_not_told(void **state)
{
	uv_loop_t loop;
	struct waiting one, two, three;
	const char *addresses = NULL;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct resolver *resolver = resolver_create(&loop);
	assert_int_equal(find(resolver, &one, "192.0.2.7", &addresses), 0);
	assert_int_equal(find(resolver, &two, "192.0.2.7", &addresses), 0);
	assert_int_equal(find(resolver, &three, "192.0.2.7", &addresses), 0);
	resolve_cancel(&one.wait);
	resolve_cancel(&one.wait);
	two.cancel = &three.wait;
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(one.told == 0 && two.told == 1 && three.told == 0);
	resolver_destroy(resolver);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void the_resolver_ends_while_it_looks(void **state)
{
	uv_loop_t loop;
	struct waiting one;
	const char *addresses = NULL;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct resolver *resolver = resolver_create(&loop);
	assert_int_equal(find(resolver, &one, "192.0.2.7", &addresses), 0);
	resolver_destroy(resolver);
	assert_null(one.wait.private);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(one.told, 0);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void names_are_bounded(void **state)
{
	uv_loop_t loop;
	struct waiting one;
	const char *addresses = NULL;
	char host[400];

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct resolver *resolver = resolver_create(&loop);
	memset(host, 'a', sizeof(host));
	host[399] = '\0';
	assert_int_equal(find(resolver, &one, host, &addresses), ERROR_TOO_LARGE);
	for (int i = 0; i < RESOLVE_NAMES; i++) {
		(void)snprintf(host, sizeof(host), "192.0.2.%d", i);
		assert_int_equal(find(resolver, &one, host, &addresses), 0);
		resolve_cancel(&one.wait);
	}
	assert_int_equal(find(resolver, &one, "198.51.100.1", &addresses), ERROR_TOO_LARGE);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	resolver_destroy(resolver);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_is_looked_up_once_and_remembered),
		cmocka_unit_test(those_who_left_are_not_told),
		cmocka_unit_test(the_resolver_ends_while_it_looks),
		cmocka_unit_test(names_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
