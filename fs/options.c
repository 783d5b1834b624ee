/* SPDX-License-Identifier: MIT */
#include "options.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char fs_usage[] =
	"usage: ledgerfs [-f] [-d] [-s] [-o OPT[,OPT...]] REPO MOUNTPOINT\n"
	"\n"
	"Mounts a git repository: every ref refs/kv/NAME is a directory, every save a commit.\n"
	"\n"
	"    -f               stay in the foreground, log to stderr\n"
	"    -d               as -f, and show every request\n"
	"    -s               handle requests in one thread\n"
	"    -V, --version    -h, --help\n"
	"\n"
	"    -o init                   create a bare repository when REPO is absent\n"
	"    -o ro, rw                 read-only; read-write (default)\n"
	"    -o uid=N, gid=N, umask=M  shown owner, group and (octal) mode mask\n"
	"    -o allow_other            let other users in (implies default_permissions)\n"
	"    -o allow_root             let root in\n"
	"    -o default_permissions    the kernel checks the shown modes\n"
	"    -o publish=sync|async     git sees a commit before it is acknowledged (default), or up to 20 ms later\n"
	"    -o durability=full|none   wait for the disk (default), or not\n"
	"    -o max_size=N[K|M|G|T]    largest value\n"
	"    -o noupkeep               no repacking in the background\n"
	"    -o max_threads=N          threads that handle requests (default 16)\n"
	"    -o clone_fd               one /dev/fuse descriptor per thread\n"
	"\n"
	"Unmount with `fusermount3 -u MOUNTPOINT` or umount(8).  Exit status: 0; 1 usage or refusal; 32 mount failure.\n";

/* What the reading of the options needs besides the options. */
struct parse {
	struct fs_options *o;
	char *err;
	size_t errlen;
};

static int __attribute__((format(printf, 2, 3))) fail(struct parse *p, const char *fmt, ...)
{
	va_list ap;
	char *c;

	va_start(ap, fmt);
	vsnprintf(p->err, p->errlen, fmt, ap);
	va_end(ap);
	for (c = p->err; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return -1;
}

/* A whole number in [0, max]; `base` 8 or 10. */
static int number(struct parse *p, const char *name, const char *value, int base, unsigned long max, unsigned long *out)
{
	unsigned long v = 0;
	char *end = NULL;

	errno = 0;
	if (value[0] >= '0' && value[0] <= '9')
		v = strtoul(value, &end, base);
	if (!end || *end || errno || v > max)
		return fail(p,
			    base == 8 ? "option %s: '%s' is not an octal number up to %lo"
				      : "option %s: '%s' is not a number up to %lu",
			    name, value, max);
	*out = v;
	return 0;
}

/* --- options with a meaning here ---------------------------------------------------------------------------------- */

static int set_flag(struct parse *p, const char *name, const char *value)
{
	struct fs_options *o = p->o;

	(void)value;
	if (!strcmp(name, "init"))
		o->ledger.init = true;
	else if (!strcmp(name, "ro"))
		o->ledger.readonly = true;
	else if (!strcmp(name, "rw"))
		o->ledger.readonly = false;
	else if (!strcmp(name, "allow_other"))
		o->allow_other = o->default_permissions = true;
	else if (!strcmp(name, "allow_root"))
		o->allow_root = true;
	else if (!strcmp(name, "default_permissions"))
		o->default_permissions = true;
	else if (!strcmp(name, "noupkeep"))
		o->ledger.no_upkeep = true;
	else if (!strcmp(name, "clone_fd"))
		o->clone_fd = true;
	return 0;
}

static int set_number(struct parse *p, const char *name, const char *value)
{
	unsigned long v;

	if (!strcmp(name, "umask")) {
		if (number(p, name, value, 8, 0777, &v))
			return -1;
		p->o->umask = (mode_t)v;
	} else if (!strcmp(name, "max_threads")) {
		if (number(p, name, value, 10, FS_THREADS_MAX, &v))
			return -1;
		if (!v)
			return fail(p, "option max_threads: at least 1");
		p->o->max_threads = (unsigned)v;
	} else {
		if (number(p, name, value, 10, UINT32_MAX - 1, &v))
			return -1;
		if (!strcmp(name, "uid"))
			p->o->uid = (uid_t)v;
		else
			p->o->gid = (gid_t)v;
	}
	return 0;
}

static int set_size(struct parse *p, const char *name, const char *value)
{
	static const char unit[] = "KMGT";
	unsigned long long v;
	const char *u;
	char *end;
	int shift = 0;

	errno = 0;
	v = strtoull(value, &end, 10);
	if (*end && (u = strchr(unit, *end & ~0x20))) {
		shift = 10 * (int)(u - unit + 1);
		end++;
	}
	if (value[0] < '0' || value[0] > '9' || *end || errno || !v || v > (unsigned long long)INT64_MAX >> shift)
		return fail(p, "option %s: '%s' is not a size (a number from 1, with K, M, G or T behind it)", name, value);
	p->o->ledger.value_limit = v << shift;
	return 0;
}

static int set_word(struct parse *p, const char *name, const char *value)
{
	if (!strcmp(name, "publish")) {
		if (strcmp(value, "sync") && strcmp(value, "async"))
			return fail(p, "option publish: '%s' is neither sync nor async", value);
		p->o->ledger.publish = !strcmp(value, "async") ? LEDGER_PUBLISH_ASYNC : LEDGER_PUBLISH_SYNC;
		return 0;
	}
	if (strcmp(value, "full") && strcmp(value, "none"))
		return fail(p, "option durability: '%s' is neither full nor none", value);
	p->o->ledger.nosync = !strcmp(value, "none");
	return 0;
}

/* Options of the kernel that are handed on. */
static int hand_on(struct parse *p, const char *name, const char *value)
{
	char *all;

	(void)value;
	if (asprintf(&all, "%s%s%s", p->o->mount_opts, p->o->mount_opts[0] ? "," : "", name) < 0)
		return fail(p, "out of memory");
	free(p->o->mount_opts);
	p->o->mount_opts = all;
	return 0;
}

/*
 * What mount(8), fstab and systemd write beside.  Set-uid bits and devices do not exist here: suid and dev change nothing.
 * A commit is durable by -o durability: sync, async and dirsync change nothing either.
 */
static int pass_over(struct parse *p, const char *name, const char *value)
{
	(void)p;
	(void)name;
	(void)value;
	return 0;
}

static const struct {
	const char *name;
	bool value;
	int (*set)(struct parse *p, const char *name, const char *value);
} known[] = {
	{"init", false, set_flag},           {"ro", false, set_flag},          {"rw", false, set_flag},
	{"allow_other", false, set_flag},    {"allow_root", false, set_flag},  {"default_permissions", false, set_flag},
	{"noupkeep", false, set_flag},       {"clone_fd", false, set_flag},    {"uid", true, set_number},
	{"gid", true, set_number},           {"umask", true, set_number},      {"max_threads", true, set_number},
	{"max_size", true, set_size},        {"publish", true, set_word},      {"durability", true, set_word},
	{"noexec", false, hand_on},          {"noatime", false, hand_on},      {"exec", false, pass_over},
	{"atime", false, pass_over},         {"diratime", false, pass_over},   {"nodiratime", false, pass_over},
	{"relatime", false, pass_over},      {"norelatime", false, pass_over}, {"strictatime", false, pass_over},
	{"nostrictatime", false, pass_over}, {"lazytime", false, pass_over},   {"nolazytime", false, pass_over},
	{"suid", false, pass_over},          {"nosuid", false, pass_over},     {"dev", false, pass_over},
	{"nodev", false, pass_over},         {"sync", false, pass_over},       {"async", false, pass_over},
	{"dirsync", false, pass_over},       {"symfollow", false, pass_over},  {"auto", false, pass_over},
	{"noauto", false, pass_over},        {"nofail", false, pass_over},     {"user", false, pass_over},
	{"users", false, pass_over},         {"nouser", false, pass_over},     {"owner", false, pass_over},
	{"group", false, pass_over},         {"defaults", false, pass_over},   {"_netdev", false, pass_over},
	{"silent", false, pass_over},        {"loud", false, pass_over},
};

static int one_option(struct parse *p, char *opt)
{
	char *value = strchr(opt, '=');
	size_t i;

	if (!*opt || !strncmp(opt, "x-", 2) || !strncmp(opt, "X-", 2) || !strncmp(opt, "comment=", 8) ||
	    !strncmp(opt, "user=", 5))
		return 0;
	if (value)
		*value++ = '\0';
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, opt))
			continue;
		if (known[i].value && (!value || !*value))
			return fail(p, "option %s wants a value", opt);
		if (!known[i].value && value)
			return fail(p, "option %s takes no value", opt);
		return known[i].set(p, opt, value);
	}
	return fail(p, "unknown option '%s'", opt);
}

static int option_list(struct parse *p, const char *list)
{
	char *copy = strdup(list), *rest = copy, *opt;
	int rc = 0;

	if (!copy)
		return fail(p, "out of memory");
	while (!rc && (opt = strsep(&rest, ",")))
		rc = one_option(p, opt);
	free(copy);
	return rc;
}

/* --- operands ----------------------------------------------------------------------------------------------------- */

/* The repository's absolute name; with `init` its last component may be missing. */
static int resolve_repo(struct parse *p, const char *arg)
{
	char *copy, *base, *dir;
	size_t len;
	int rc;

	p->o->repo = realpath(arg, NULL);
	if (p->o->repo)
		return 0;
	if (errno != ENOENT || !p->o->ledger.init)
		return fail(p, "%s: %s%s", arg, strerror(errno), errno == ENOENT ? " (-o init creates a repository)" : "");
	copy = strdup(arg);
	if (!copy)
		return fail(p, "out of memory");
	for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	base = strrchr(copy, '/');
	if (base)
		*base++ = '\0';
	dir = realpath(!base ? "." : *copy ? copy : "/", NULL);
	if (!dir)
		rc = fail(p, "%s: %s", copy, strerror(errno));
	else if (asprintf(&p->o->repo, "%s/%s", strcmp(dir, "/") ? dir : "", base ? base : copy) < 0)
		rc = fail(p, "out of memory");
	else
		rc = 0;
	free(dir);
	free(copy);
	return rc;
}

static int resolve_mountpoint(struct parse *p, const char *arg)
{
	struct stat st;
	size_t len;
	char *path = p->o->mountpoint = realpath(arg, NULL);

	if (!path || stat(path, &st))
		return fail(p, "%s: %s", arg, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fail(p, "%s: not a directory", arg);
	len = strlen(path);
	if (!strncmp(p->o->repo, path, len) && (!p->o->repo[len] || p->o->repo[len] == '/' || len == 1))
		return fail(p, "%s: the repository lies below it and would be hidden by its own mount", arg);
	return 0;
}

static int operands(struct parse *p, int n, char **arg)
{
	if (n != 2)
		return fail(p, "%s (ledgerfs REPO MOUNTPOINT; see --help)",
			    n == 0   ? "no repository given"
			    : n == 1 ? "no mountpoint given"
				     : "too many arguments");
	if (p->o->allow_other && p->o->allow_root)
		return fail(p, "options allow_other and allow_root exclude each other");
	if (!arg[0][0] || !arg[1][0])
		return fail(p, "%s is empty", arg[0][0] ? "MOUNTPOINT" : "REPO");
	return resolve_repo(p, arg[0]) || resolve_mountpoint(p, arg[1]) ? -1 : 0;
}

static int command_line(struct parse *p, int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	struct fs_options *o = p->o;
	char *operand[3];
	int c, at, n = 0;

	optind = 0;
	opterr = 0;
	/* '-': operands come in their turn, wherever they stand, also where POSIXLY_CORRECT is set. */
	while ((c = getopt_long(argc, argv, "-:fdsVho:", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->debug = true;
			o->foreground = true;
			break;
		case 'f':
			o->foreground = true;
			break;
		case 's':
			o->single = true;
			break;
		case 'h':
			o->command = FS_HELP;
			return 0;
		case 'V':
			o->command = FS_VERSION;
			return 0;
		case 'o':
			if (option_list(p, optarg))
				return -1;
			break;
		case 1:
			operand[n < 2 ? n : 2] = optarg;
			n++;
			break;
		case ':':
			return fail(p, "option -%c wants a value", optopt);
		default:
			at = optind > 1 ? optind - 1 : 1;
			if (optopt && strncmp(argv[at], "--", 2))
				return fail(p, "unknown option -%c", optopt);
			return fail(p, "unknown option %s", argv[at]);
		}
	}
	for (; optind < argc; optind++, n++) /* behind a `--` */
		operand[n < 2 ? n : 2] = argv[optind];
	return operands(p, n, operand);
}

int fs_options_parse(struct fs_options *out, int argc, char **argv, char *err, size_t errlen)
{
	struct fs_options o = {.uid = getuid(), .gid = getgid(), .max_threads = FS_THREADS, .mount_opts = strdup("")};
	struct parse p = {.o = &o, .err = err, .errlen = errlen};

	o.umask = umask(0);
	umask(o.umask);
	if (!o.mount_opts)
		return fail(&p, "out of memory");
	if (command_line(&p, argc, argv)) {
		fs_options_release(&o);
		return -1;
	}
	*out = o;
	return 0;
}

void fs_options_release(struct fs_options *o)
{
	free(o->repo);
	free(o->mountpoint);
	free(o->mount_opts);
	*o = (struct fs_options){0};
}
