/* SPDX-License-Identifier: MIT */
/* Options, as git's own parser takes them: `--name VALUE`, `--name=VALUE`, `-nVALUE`, anywhere before `--`. */
#ifndef KV_OPT_H
#define KV_OPT_H

#include "kv.h"

enum opt_type {
	OPT_FLAG,  /* bool *: set */
	OPT_TEXT,  /* const char **: the last one counts */
	OPT_COUNT, /* uint64_t *: a decimal number */
	OPT_LIST,  /* struct opt_list *: every one, in order */
};

struct opt {
	char letter; /* 0: none */
	const char *name;
	enum opt_type type;
	void *to;
	const char *arg; /* how the help calls the value */
	const char *help;
};

/* Options that may be given many times, of several names, in the order given. */
struct opt_list {
	struct opt_given {
		const struct opt *opt;
		const char *value;
	} * v;
	size_t n, cap;
};

/*
 * Takes the options of `opts` (ends with a NULL name) and the global ones out of argv[1..argc), leaves the other
 * arguments in argv[1..] and returns their number (at least 0).  -1: it said what was wrong, or printed the help that
 * -h asked for; the command is to return KV_USAGE.  `stop` ends the parsing at the first argument that is no option.
 */
int opt_parse(struct kv *kv, int argc, char **argv, const char *usage, const struct opt *opts, bool stop);

/* Prints `usage` and the options' help. */
void opt_help(FILE *f, const char *usage, const struct opt *opts);

/* A whole decimal number without sign; false otherwise. */
bool parse_count(const char *s, uint64_t *out);

#endif
