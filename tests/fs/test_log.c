/* SPDX-License-Identifier: MIT */
#include "log.h"
#include "unit.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *sink; /* stands in for stderr */
static char text[65536];

/* What was logged since the last call. */
static const char *logged(void)
{
	size_t n;

	fflush(stderr);
	rewind(sink);
	n = fread(text, 1, sizeof(text) - 1, sink);
	text[n] = '\0';
	rewind(sink);
	if (ftruncate(fileno(sink), 0))
		abort();
	return text;
}

static int lines(const char *s)
{
	int n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void one_line(void **state)
{
	char longer[3000];

	(void)state;
	log_line("%s: %d", "key", 5);
	assert_string_equal(logged(), "ledgerfs: key: 5\n");
	log_line("forged\nledgerfs: %s", "by a \033 name");
	assert_string_equal(logged(), "ledgerfs: forged?ledgerfs: by a ? name\n");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	log_callback(NULL, longer);
	assert_int_equal(strlen(logged()), strlen("ledgerfs: ") + 1000 + 1);
}

static void repeats(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 50; i++)
		log_line("again and again");
	assert_int_equal(lines(logged()), LOG_REPEAT);
	log_line("something else");
	assert_string_equal(logged(), "ledgerfs: (45 lines left out)\nledgerfs: something else\n");
	log_line("again and again");
	log_flush();
	assert_string_equal(logged(), "ledgerfs: (1 lines left out)\n");
	log_flush();
	assert_string_equal(logged(), "");
}

static void floods(void **state)
{
	int i, n;

	(void)state;
	for (i = 0; i < 5000; i++)
		log_line("key %d", i);
	n = lines(logged());
	assert_in_range(n, LOG_BURST, LOG_BURST + 20 * LOG_RATE); /* as long as this took */
	log_line("another format");
	assert_int_equal(lines(logged()), 2);
}

static int setup(void **state)
{
	(void)state;
	sink = tmpfile();
	return !sink || dup2(fileno(sink), 2) < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_line),
		cmocka_unit_test(repeats),
		cmocka_unit_test(floods),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, NULL);
}
