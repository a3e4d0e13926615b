/* The tables of errors and methods, and faults as the wire has them. */
#include "proto/buffer.h"
#include "proto/error.h"
#include "proto/fault.h"
#include "proto/method.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void every_code_has_a_name_that_leads_back_to_it(void **state)
{
	(void)state;
	for (int i = 1; i < ERROR_COUNT; i++) {
		const char *name = error_name(-i);
		assert_non_null(name);
		assert_int_equal(error_parse(name, strlen(name)), -i);
		assert_true(strlen(error_text(-i)) > 0);
	}
	assert_string_equal(error_name(0), "OK");
}

static void numbers_that_clients_were_built_with_stay(void **state)
{
	(void)state;
	assert_int_equal(ERROR_INVALID, -1);
	assert_int_equal(ERROR_BUSY, -5);
	assert_int_equal(ERROR_UPSTREAM, -11);
	assert_int_equal(ERROR_INTERNAL, -14);
	assert_int_equal(ERROR_PENDING, -19);
}

static void an_unknown_code_is_an_internal_fault(void **state)
{
	(void)state;
	assert_string_equal(error_name(-ERROR_COUNT), "INTERNAL");
	assert_string_equal(error_name(-1000000), "INTERNAL");
	assert_string_equal(error_name(1), "INTERNAL");
	assert_string_equal(error_text(1), error_text(ERROR_INTERNAL));
}

static void the_first_word_of_an_error_is_its_code(void **state)
{
	static const char text[] = "BUSY retry_ms=20 : too much in flight";

	(void)state;
	assert_int_equal(error_parse(text, sizeof(text) - 1), ERROR_BUSY);
	assert_int_equal(error_parse("BUSY: x", 7), ERROR_BUSY);
	assert_int_equal(error_parse("BUSY", 3), ERROR_PROTOCOL);
	assert_int_equal(error_parse("BUSYX", 5), ERROR_PROTOCOL);
	assert_int_equal(error_parse("busy", 4), ERROR_PROTOCOL);
	assert_int_equal(error_parse("OK", 2), ERROR_PROTOCOL);
	assert_int_equal(error_parse("", 0), ERROR_PROTOCOL);
}

static void a_fault_is_written_as_the_wire_has_it(void **state)
{
	struct fault fault;
	char out[FAULT_BYTES];

	(void)state;
	assert_int_equal(fault_set(&fault, ERROR_INVALID, "field=threshold", "must be at most %d", 1), ERROR_INVALID);
	assert_int_equal(fault_format(&fault, out, sizeof(out)), strlen("INVALID field=threshold : must be at most 1"));
	assert_string_equal(out, "INVALID field=threshold : must be at most 1");
	(void)fault_set(&fault, ERROR_TIMEOUT, "", "too late");
	(void)fault_format(&fault, out, sizeof(out));
	assert_string_equal(out, "TIMEOUT : too late");
	assert_int_equal(fault_format(&fault, out, 8), 7);
	assert_string_equal(out, "TIMEOUT");
}

static void what_does_not_fit_is_cut_at_a_whole_character(void **state)
{
	struct fault fault;
	char text[400], out[FAULT_BYTES];
	bool nul;

	(void)state;
	for (size_t before = 0; before < 4; before++) {
		memset(text, 'x', before);
		for (size_t i = before; i + 4 < sizeof(text); i += 4)
			memcpy(text + i, "\xf0\x9f\x90\x8d", 5);
		(void)fault_set(&fault, ERROR_UPSTREAM, text, "%s", text);
		size_t length = strlen(fault.text), detail = strlen(fault.detail);
		assert_true(slice_is_utf8(slice_of(fault.text), &nul));
		assert_true(slice_is_utf8(slice_of(fault.detail), &nul));
		assert_true(length > sizeof(fault.text) - 5 && detail > sizeof(fault.detail) - 5);
		assert_memory_equal(fault.text, text, length);
		assert_memory_equal(fault.detail, text, detail);
		assert_int_equal(fault_format(&fault, out, sizeof(out)),
				 strlen("UPSTREAM ") + detail + strlen(" : ") + length);
	}
}

static void a_text_of_a_stranger_loses_what_a_terminal_would_obey(void **state)
{
	struct fault fault;
	bool nul;

	(void)state;
	(void)fault_set(&fault, ERROR_UPSTREAM, "status=500\n", "%s", "a\r\n\x1b[31mred\xc2\x9b\xff end");
	assert_string_equal(fault.text, "a   [31mred    end");
	assert_string_equal(fault.detail, "status=500 ");
	assert_true(slice_is_utf8(slice_of(fault.text), &nul));
}

static void a_fault_may_be_made_of_itself(void **state)
{
	struct fault fault;

	(void)state;
	(void)fault_set(&fault, ERROR_UPSTREAM, "status=500", "no model");
	(void)fault_set(&fault, ERROR_UNAVAILABLE, fault.detail, "embedder: %s", fault.text);
	assert_int_equal(fault.code, ERROR_UNAVAILABLE);
	assert_string_equal(fault.detail, "status=500");
	assert_string_equal(fault.text, "embedder: no model");
}

static void every_method_is_found_by_its_name(void **state)
{
	(void)state;
	for (int i = 0; i < METHOD_COUNT; i++) {
		const char *name = method_name((enum method)i);
		assert_int_equal(method_find(name, strlen(name)), i);
		assert_int_equal(method_find(name, strlen(name) - 1), METHOD_COUNT);
		assert_true(strlen(method_text((enum method)i)) > 0);
	}
	assert_int_equal(method_find("", 0), METHOD_COUNT);
	assert_int_equal(method_find("PING", 4), METHOD_COUNT);
}

static void methods_that_change_something_are_the_admins(void **state)
{
	static const enum method admins[] = {METHOD_add,    METHOD_invalidate, METHOD_flush,
					     METHOD_reload, METHOD_drain,      METHOD_config};
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(admins) / sizeof(admins[0]); i++)
		assert_int_equal(method_caller(admins[i]), METHOD_ADMIN);
	for (int i = 0; i < METHOD_COUNT; i++)
		count += method_caller((enum method)i) == METHOD_ADMIN;
	assert_int_equal(count, sizeof(admins) / sizeof(admins[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_a_name_that_leads_back_to_it),
		cmocka_unit_test(numbers_that_clients_were_built_with_stay),
		cmocka_unit_test(an_unknown_code_is_an_internal_fault),
		cmocka_unit_test(the_first_word_of_an_error_is_its_code),
		cmocka_unit_test(a_fault_is_written_as_the_wire_has_it),
		cmocka_unit_test(what_does_not_fit_is_cut_at_a_whole_character),
		cmocka_unit_test(a_text_of_a_stranger_loses_what_a_terminal_would_obey),
		cmocka_unit_test(a_fault_may_be_made_of_itself),
		cmocka_unit_test(every_method_is_found_by_its_name),
		cmocka_unit_test(methods_that_change_something_are_the_admins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
