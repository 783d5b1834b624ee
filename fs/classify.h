/* SPDX-License-Identifier: MIT */
/*
 * Names of temporary files (SPEC 5.4).  The patterns stand in one table at the top of classify.c.
 *
 * A pattern is matched with the last component of a path: `*` any bytes, `?` any one byte, `[0-9]` a digit, all else itself;
 * a leading dot is nothing special.  `git config --add kv.scratch PATTERN` adds a pattern to the scratch names, kv.passing
 * one to the passing ones; a value `-PATTERN` takes that very pattern off the list (a built-in one too), later values win.
 * A name that is on both lists is scratch.
 *
 * Threads: build it in one thread, then any number may ask.
 */
#ifndef FS_CLASSIFY_H
#define FS_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>

enum name_class {
	NAME_KEY,     /* a key like any other */
	NAME_SCRATCH, /* never committed */
	NAME_PASSING, /* committed when it stays */
};

struct classify;

int classify_new(struct classify **out); /* with the built-in patterns; 0 or ENOMEM */
void classify_free(struct classify *c);  /* NULL is fine */

/*
 * For ledger_config_each(ledger, "kv.scratch" / "kv.passing", classify_scratch / classify_passing, c): one value.  Returns
 * 0, or ENOMEM (which ends the walk).  Empty
 * values and patterns with a slash are passed over: no name matches them.
 */
int classify_scratch(void *classify, const char *value);
int classify_passing(void *classify, const char *value);

enum name_class classify_name(const struct classify *c, const char *name, size_t len);

/* A file that one process at a time may have open for writing: others get EBUSY. */
bool classify_single(const char *name, size_t len);

/* `pattern` against the whole of name[0..len). */
bool classify_match(const char *pattern, const char *name, size_t len);

#endif
