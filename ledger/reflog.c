/* SPDX-License-Identifier: MIT */
#include "reflog.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories on the way to the file `path`, from `base` bytes on. */
static void make_parents(char *path, size_t base)
{
	for (char *p = path + base; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0777);
		*p = '/';
	}
}

static int remove_dir(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return type == FTW_DP ? rmdir(path) : 0;
}

bool reflog_move(const char *gitdir, const char *from, const char *to)
{
	char a[8192], b[8192];
	struct stat st;

	if (snprintf(a, sizeof(a), "%s/logs/%s", gitdir, from) >= (int)sizeof(a) ||
	    snprintf(b, sizeof(b), "%s/logs/%s", gitdir, to) >= (int)sizeof(b))
		return false;
	if (lstat(a, &st) || !S_ISREG(st.st_mode))
		return false;
	/* Directories of logs that are gone stay behind, as those of refs do. */
	if (!lstat(b, &st) && S_ISDIR(st.st_mode))
		nftw(b, remove_dir, 16, FTW_DEPTH | FTW_PHYS);
	make_parents(b, strlen(gitdir) + 1);
	return rename(a, b) == 0;
}
