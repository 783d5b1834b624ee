/* SPDX-License-Identifier: MIT */
#include "classify.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* SPEC 5.4.  Who leaves such names stands beside them; the configuration adds to these and takes from them. */
static const struct {
	enum name_class class;
	const char *pattern;
} builtin[] = {
	{NAME_SCRATCH, ".*.sw?"},           /* vim's swap file */
	{NAME_SCRATCH, ".*.swpx"},          /* vim, to see what the file system can do */
	{NAME_SCRATCH, ".#*"},              /* emacs's lock */
	{NAME_SCRATCH, "#*#"},              /* emacs's automatic save */
	{NAME_SCRATCH, "*~"},               /* backups of vim, emacs, nano, patch, ... */
	{NAME_SCRATCH, ".goutputstream-*"}, /* GLib's atomic save */
	{NAME_SCRATCH, ".nfs*"},            /* NFS: deleted but open */
	{NAME_SCRATCH, ".fuse_hidden*"},    /* FUSE: the same */
	{NAME_SCRATCH, ".~lock.*#"},        /* LibreOffice */
	{NAME_SCRATCH, "*-journal"},        /* SQLite's rollback journal: every commit is a whole database, it needs none */
	{NAME_SCRATCH, "*-mj??????9??"},    /* and that of several databases at once */
	{NAME_SCRATCH, "*-shm"},            /* the index of its write-ahead log */
	{NAME_SCRATCH, ".~tmp~"},           /* rsync --delay-updates: a directory */
	{NAME_SCRATCH, ".rsync-partial"},   /* rsync --partial-dir, as its manual calls it: a directory */
	{NAME_PASSING, "sed??????"},        /* sed -i */
	{NAME_PASSING, "XX??????"},         /* perl -i: its template XXXXXXXX, of which mkstemp fills six */
	{NAME_PASSING, "*.o??????"},        /* patch: its output */
	{NAME_PASSING, "Cu??????"},         /* ln -f, ln -sf: made beside, then renamed */
	{NAME_PASSING, "4913"},             /* vim: may I create files here? */
	{NAME_PASSING, ".*.??????"},        /* rsync */
	{NAME_PASSING, "*.??????"},         /* mkstemp with a name before it */
	{NAME_PASSING, "tmp????????"},      /* Python's tempfile */
	{NAME_PASSING, "tmp.??????????"},   /* mktemp */
	{NAME_PASSING, "zi??????"},         /* zip */
	{NAME_PASSING, "tmp_obj_??????"},   /* git: loose objects, */
	{NAME_PASSING, "tmp_pack_??????"},  /* packs, */
	{NAME_PASSING, "tmp_idx_??????"},   /* their indexes, */
	{NAME_PASSING, "tmp_rev_??????"},   /* reverse indexes, */
	{NAME_PASSING, ".tmp-*"},           /* repacked packs, */
	{NAME_PASSING, "packed-refs.new"},  /* packed refs */
	{NAME_PASSING, "*.tmp"},
#define D "[0-9]"
	{NAME_PASSING, "*." D D D D D D D D D},   /* npm's write-file-atomic: a hash of nine ... */
	{NAME_PASSING, "*." D D D D D D D D D D}, /* ... or ten digits (shorter ones are rare) */
#undef D
	{NAME_PASSING, "*.vsctmp"},      /* code's atomic save */
	{NAME_SCRATCH, "*___jb_tmp___"}, /* JetBrains' safe write: the new value, ... */
	{NAME_SCRATCH, "*___jb_old___"}, /* ... and the old one for a moment */
	{NAME_PASSING, "*.lock"},        /* git and others: lock, then rename */
};

/*
 * SQLite's write-ahead log and its index.  Processes share them by memory that they map and by positions in a growing file;
 * write handles here are private copies, so two processes would overwrite each other's transactions.  One at a time is
 * right.
 */
static const char *const single[] = {"*-wal", "*-shm"};

struct list {
	char **pattern;
	size_t n;
};

struct classify {
	struct list scratch, passing;
};

static int add(struct list *l, const char *pattern)
{
	char **grown = realloc(l->pattern, (l->n + 1) * sizeof(*grown)), *copy;

	if (!grown)
		return ENOMEM;
	l->pattern = grown;
	copy = strdup(pattern);
	if (!copy)
		return ENOMEM;
	l->pattern[l->n++] = copy;
	return 0;
}

static void take_off(struct list *l, const char *pattern)
{
	size_t i, kept = 0;

	for (i = 0; i < l->n; i++) {
		if (strcmp(l->pattern[i], pattern) == 0)
			free(l->pattern[i]);
		else
			l->pattern[kept++] = l->pattern[i];
	}
	l->n = kept;
}

static void list_release(struct list *l)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		free(l->pattern[i]);
	free(l->pattern);
}

void classify_free(struct classify *c)
{
	if (!c)
		return;
	list_release(&c->scratch);
	list_release(&c->passing);
	free(c);
}

int classify_new(struct classify **out)
{
	struct classify *c = calloc(1, sizeof(*c));
	size_t i;

	if (!c)
		return ENOMEM;
	for (i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++) {
		if (add(builtin[i].class == NAME_SCRATCH ? &c->scratch : &c->passing, builtin[i].pattern)) {
			classify_free(c);
			return ENOMEM;
		}
	}
	*out = c;
	return 0;
}

static int configure(struct list *l, const char *value)
{
	if (value[0] == '-') {
		take_off(l, value + 1);
		return 0;
	}
	return value[0] && !strchr(value, '/') ? add(l, value) : 0;
}

int classify_scratch(void *classify, const char *value)
{
	return configure(&((struct classify *)classify)->scratch, value);
}

int classify_passing(void *classify, const char *value)
{
	return configure(&((struct classify *)classify)->passing, value);
}

/* Length of the pattern's first element if that takes the byte, else 0. */
static size_t one(const char *pattern, char byte)
{
	static const char digit[] = "[0-9]";

	if (strncmp(pattern, digit, sizeof(digit) - 1) == 0)
		return byte >= '0' && byte <= '9' ? sizeof(digit) - 1 : 0;
	return *pattern && (*pattern == '?' || *pattern == byte);
}

/* Linear: only the last `*` ever needs another try, because the ones before it can keep their shortest match. */
bool classify_match(const char *pattern, const char *name, size_t len)
{
	const char *end = name + len, *star = NULL, *from = NULL;
	size_t used;

	while (name < end) {
		if (*pattern == '*') {
			star = pattern++;
			from = name;
		} else if ((used = one(pattern, *name))) {
			pattern += used;
			name++;
		} else if (star) {
			pattern = star + 1;
			name = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static bool on(const struct list *l, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		if (classify_match(l->pattern[i], name, len))
			return true;
	}
	return false;
}

bool classify_single(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
		if (classify_match(single[i], name, len))
			return true;
	}
	return false;
}

enum name_class classify_name(const struct classify *c, const char *name, size_t len)
{
	if (on(&c->scratch, name, len))
		return NAME_SCRATCH;
	if (classify_single(name, len)) /* a log of transactions must be durable at its fsync; a passing file is not */
		return NAME_KEY;
	return on(&c->passing, name, len) ? NAME_PASSING : NAME_KEY;
}
