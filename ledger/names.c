/* SPDX-License-Identifier: MIT */
/*
 * git refuses in trees what would become its own directory on some file system: .git in any case, as NTFS spells it
 * (git~1; dots and blanks at the end; a stream behind a colon; behind a backslash), as HFS+ folds it (code points that
 * it ignores).  The rules are those of git's fsck and of its index (verify_path); they hold on every machine, because a
 * tree travels.
 */
#include "names.h"

#include "error.h"

#include <git2.h>
#include <git2/sys/path.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NAME_LIMIT 255
#define PATH_LIMIT 4095
/* A component of a ref is a file name beside which "NAME.lock" must fit. */
#define REF_NAME_LIMIT 250
#define NS_LIMIT 1500

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool starts_with_nocase(const char *s, size_t len, const char *word)
{
	size_t n = strlen(word);

	if (len < n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (lower(s[i]) != word[i])
			return false;
	return true;
}

/* .git or git~1, then only dots and blanks up to the end, a colon or a backslash. */
static bool ntfs_dotgit(const char *s, size_t len)
{
	size_t i;

	if (starts_with_nocase(s, len, ".git"))
		i = 4;
	else if (starts_with_nocase(s, len, "git~1"))
		i = 5;
	else
		return false;
	for (; i < len; i++) {
		if (s[i] == ':' || s[i] == '\\')
			return true;
		if (s[i] != '.' && s[i] != ' ')
			return false;
	}
	return true;
}

/* One code point at s[*i], which is moved on; 0 at the end and, as git has it, for what is not UTF-8. */
static unsigned utf8_next(const char *s, size_t len, size_t *i)
{
	const unsigned char *p = (const unsigned char *)s + *i;
	size_t left = len - *i, n;
	unsigned c;

	if (!left)
		return 0;
	if (p[0] < 0x80) {
		*i += 1;
		return p[0];
	}
	n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
	if (!n || n > left || p[0] > 0xf4)
		return 0;
	c = p[0] & (0xffu >> (n + 1));
	for (size_t k = 1; k < n; k++) {
		if ((p[k] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[k] & 0x3f);
	}
	*i += n;
	return c;
}

static bool hfs_ignores(unsigned c)
{
	return (c >= 0x200c && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x206a && c <= 0x206f) || c == 0xfeff;
}

static unsigned hfs_next(const char *s, size_t len, size_t *i)
{
	unsigned c;

	do
		c = utf8_next(s, len, i);
	while (hfs_ignores(c));
	return c;
}

static bool hfs_dotgit(const char *s, size_t len)
{
	size_t i = 0;

	for (const char *w = ".git"; *w; w++) {
		unsigned c = hfs_next(s, len, &i);

		if (c > 127 || lower((char)c) != *w)
			return false;
	}
	return hfs_next(s, len, &i) == 0;
}

static bool dotgit(const char *s, size_t len)
{
	if (hfs_dotgit(s, len) || ntfs_dotgit(s, len))
		return true;
	for (size_t i = 0; i < len; i++)
		if (s[i] == '\\' && ntfs_dotgit(s + i + 1, len - i - 1))
			return true;
	return false;
}

int names_component(const char *name, size_t len)
{
	if (!len || memchr(name, '/', len) || memchr(name, '\0', len))
		return LEDGER_EINVALID;
	if (len > NAME_LIMIT)
		return LEDGER_ENAMETOOLONG;
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.') || dotgit(name, len))
		return LEDGER_EFORBIDDEN;
	return 0;
}

int ledger_name_check(const char *name, size_t len)
{
	int rc = names_component(name, len);

	ledger_error_clear();
	if (rc == LEDGER_EINVALID)
		return ledger_fail(rc, "a name must not be empty or contain a slash");
	if (rc == LEDGER_ENAMETOOLONG)
		return ledger_fail(rc, "a name has at most %d bytes", NAME_LIMIT);
	if (rc == LEDGER_EFORBIDDEN)
		return ledger_fail(rc, "git does not take the name '%.*s' in a tree", (int)len, name);
	return rc;
}

int names_path_check(const char *path)
{
	size_t first = strcspn(path, "/");

	if (strnlen(path, PATH_LIMIT + 1) > PATH_LIMIT)
		return ledger_fail(LEDGER_ENAMETOOLONG, "a path has at most %d bytes", PATH_LIMIT);
	if (first == 3 && !memcmp(path, ".kv", 3))
		return ledger_fail(LEDGER_EFORBIDDEN, "'.kv' is the control directory");
	for (const char *p = path;;) {
		size_t n = strcspn(p, "/");
		int rc = ledger_name_check(p, n);

		if (rc)
			return rc;
		if (!p[n])
			return 0;
		p += n + 1;
	}
}

int names_link_check(const char *name, size_t len)
{
	if (git_path_is_gitfile(name, len, GIT_PATH_GITFILE_GITMODULES, GIT_PATH_FS_GENERIC) > 0)
		return ledger_fail(LEDGER_EFORBIDDEN, "git does not take '%.*s' as a symbolic link", (int)len, name);
	return 0;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A name may be checked before any ledger is open. */
static void start_git(void)
{
	git_libgit2_init();
}

int ledger_ns_check(const char *ns)
{
	char ref[NAMES_REF_MAX];
	int valid = 0;

	ledger_error_clear();
	if (strnlen(ns, NS_LIMIT + 1) > NS_LIMIT)
		return ledger_fail(LEDGER_ENAMETOOLONG, "the name of a namespace has at most %d bytes", NS_LIMIT);
	for (const char *p = ns;; p++) {
		size_t n = strcspn(p, "/");

		if ((n == 3 && !memcmp(p, ".kv", 3)) || dotgit(p, n))
			return ledger_fail(LEDGER_EFORBIDDEN, "'%.*s' cannot be part of a namespace's name", (int)n, p);
		if (n > REF_NAME_LIMIT)
			return ledger_fail(LEDGER_ENAMETOOLONG, "a part of a namespace's name has at most %d bytes",
					   REF_NAME_LIMIT);
		p += n;
		if (!*p)
			break;
	}
	snprintf(ref, sizeof(ref), NAMES_KV "%s", ns);
	pthread_once(&once, start_git);
	/* libgit2 takes DEL, git does not. */
	if (strchr(ns, 0x7f) || git_reference_name_is_valid(&valid, ref) || !valid)
		return ledger_fail(LEDGER_EINVALID, "'%s' is not a name that git takes for a ref", ns);
	return 0;
}

int names_ref(char ref[NAMES_REF_MAX], const char *prefix, const char *ns)
{
	int rc = ledger_ns_check(ns);

	if (rc)
		return rc;
	snprintf(ref, NAMES_REF_MAX, "%s%s", prefix, ns);
	return 0;
}
