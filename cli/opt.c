/* SPDX-License-Identifier: MIT */
/* Options. */
#include "opt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool parse_count(const char *s, uint64_t *out)
{
	unsigned long long v;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (*end || errno)
		return false;
	*out = v;
	return true;
}

static const struct opt *find_long(const struct opt *opts, const char *name, size_t len)
{
	for (const struct opt *o = opts; o->name; o++)
		if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
			return o;
	return NULL;
}

static const struct opt *find_short(const struct opt *opts, char letter)
{
	for (const struct opt *o = opts; o->name; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static int take(const struct opt *o, const char *value)
{
	struct opt_list *l;

	switch (o->type) {
	case OPT_FLAG:
		*(bool *)o->to = true;
		return 0;
	case OPT_TEXT:
		*(const char **)o->to = value;
		return 0;
	case OPT_COUNT:
		if (parse_count(value, o->to))
			return 0;
		say_error("option `%s' expects a number, not '%s'", o->name, value);
		return -1;
	case OPT_LIST:
		l = o->to;
		XGROW(l->v, l->n, l->cap);
		l->v[l->n++] = (struct opt_given){o, value};
		return 0;
	}
	return -1;
}

/* One `--name`, `--name=value`, `-n`, `-nvalue` at argv[i]; how many arguments it used, or -1. */
static int one(const struct opt *const tables[], int argc, char **argv, int i)
{
	const char *arg = argv[i], *value = NULL, *eq;
	const struct opt *o = NULL;
	size_t len;

	if (arg[1] == '-') {
		eq = strchr(arg, '=');
		len = eq ? (size_t)(eq - arg - 2) : strlen(arg + 2);
		for (; *tables && !o; tables++)
			o = find_long(*tables, arg + 2, len);
		if (!o) {
			say_error("unknown option `%.*s'", (int)len, arg + 2);
			return -1;
		}
		value = eq ? eq + 1 : NULL;
	} else {
		for (; *tables && !o; tables++)
			o = find_short(*tables, arg[1]);
		if (!o || (o->type == OPT_FLAG && arg[2])) {
			say_error("unknown switch `%s'", arg + 1);
			return -1;
		}
		value = arg[2] ? arg + 2 : NULL;
	}
	if (o->type == OPT_FLAG) {
		if (value) {
			say_error("option `%s' takes no value", o->name);
			return -1;
		}
		return take(o, NULL) ? -1 : 1;
	}
	if (value)
		return take(o, value) ? -1 : 1;
	if (i + 1 >= argc) {
		say_error("option `%s' requires a value", o->name);
		return -1;
	}
	return take(o, argv[i + 1]) ? -1 : 2;
}

int opt_parse(struct kv *kv, int argc, char **argv, const char *usage, const struct opt *opts, bool stop)
{
	const struct opt global[] = {
		{0, "repo", OPT_TEXT, &kv->repo, "DIR", ""},
		{0, "ns", OPT_TEXT, &kv->ns, "NAME", ""},
		{0, "remote", OPT_TEXT, &kv->remote, "NAME", ""},
		{0, "local", OPT_FLAG, &kv->local, NULL, ""},
		{0, "json", OPT_FLAG, &kv->json, NULL, ""},
		{'z', "null", OPT_FLAG, &kv->nul, NULL, ""},
		{0},
	};
	const struct opt *const tables[] = {opts, global, NULL};
	int n = 0, used;

	for (int i = 1; i < argc; i += used) {
		used = 1;
		if (strcmp(argv[i], "--") == 0 || (stop && argv[i][0] != '-')) {
			for (i += argv[i][0] == '-'; i < argc; i++)
				argv[++n] = argv[i];
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			argv[++n] = argv[i];
			continue;
		}
		if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
			opt_help(stdout, usage, opts);
			return -1;
		}
		used = one(tables, argc, argv, i);
		if (used < 0) {
			opt_help(stderr, usage, opts);
			return -1;
		}
	}
	return n;
}

void opt_help(FILE *f, const char *usage, const struct opt *opts)
{
	fprintf(f, "%s\n", usage);
	if (opts->name)
		putc('\n', f);
	for (const struct opt *o = opts; o->name; o++) {
		char *left = xasprintf("%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
				       o->letter ? ", " : "  ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");

		fprintf(f, "    %-32s %s\n", left, o->help);
		free(left);
	}
}
