/* SPDX-License-Identifier: MIT */
/* `git kv`: global options and the choice of the command. */
#include "opt.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef KV_VERSION
#error "KV_VERSION is set by the build"
#endif

static const struct command {
	const char *name;
	int (*run)(struct kv *kv, int argc, char **argv);
	const char *help;
} commands[] = {
	{"get", cmd_get, "print a key's value"},
	{"set", cmd_set, "give a key a value"},
	{"del", cmd_del, "delete keys"},
	{"mset", cmd_mset, "many changes from JSON lines in one commit"},
	{"list", cmd_list, "list keys"},
	{"history", cmd_history, "list the commits of a namespace or a key"},
	{"status", cmd_status, "show a namespace's tip"},
	{"ns", cmd_ns, "list, create, delete, restore, rename namespaces"},
	{"recover", cmd_recover, "bring in what a dead writer left behind"},
	{"remote", cmd_remote, "write to a shared repository"},
	{"stargate", cmd_stargate, "make a repository that is shared"},
	{"hook", cmd_hook, "what a shared repository's hooks call"},
};

static void usage(FILE *f)
{
	fputs("usage: git kv [--repo DIR] [--ns NAME] [--json] [-z] <command> [<args>]\n\n", f);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(f, "    %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n    --repo DIR    the repository; without it, found as git does\n"
	      "    --ns NAME     the namespace, 'main' without it\n"
	      "    --json        output for programs: one JSON object a line\n"
	      "    -z, --null    names end with NUL and are not quoted\n"
	      "    --remote NAME write to that remote; without it, to kv.remote where that is set\n"
	      "    --local       write here, whatever kv.remote says\n"
	      "\n'git kv <command> -h' tells more.\n",
	      f);
}

static int dispatch(struct kv *kv, int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(kv, argc, argv);
	say_error("unknown command: `%s'", argv[0]);
	usage(stderr);
	return KV_USAGE;
}

/* A full disk or a closed pipe behind stdout shows at the flush: it must not pass as success. */
static int flushed(int status)
{
	if ((fflush(stdout) || ferror(stdout)) && status == KV_OK) {
		say_error("cannot write the output: %s", strerror(errno));
		return KV_IO;
	}
	return status;
}

int main(int argc, char **argv)
{
	static const struct opt none[] = {{0}};
	struct kv kv = {.ns = "main"};
	int n, status;

	setlocale(LC_TIME, "");
	kv.tty = isatty(1);
	if (argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
		usage(stdout);
		return KV_USAGE;
	}
	if (argc > 1 && (strcmp(argv[1], "-v") == 0 || strcmp(argv[1], "--version") == 0)) {
		puts("git-kv " KV_VERSION);
		return flushed(KV_OK);
	}
	n = opt_parse(&kv, argc, argv, "usage: git kv [--repo DIR] [--ns NAME] [--json] [-z] <command> [<args>]", none,
		      true);
	if (n < 0)
		return KV_USAGE;
	if (n == 0) {
		usage(stderr);
		return KV_USAGE;
	}
	status = dispatch(&kv, n, argv + 1);
	progress_done();
	kv_close(&kv);
	return flushed(status);
}
