/* SPDX-License-Identifier: MIT */
#include "error.h"

#include <errno.h>
#include <git2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The one table: code, errno, exit status of `git kv`, sentence. */
static const struct {
	const char *name;
	int err;
	int status;
	const char *text;
} table[] = {
	[-LEDGER_OK] = {"OK", 0, 0, "success"},
	[-LEDGER_ECONFLICT] = {"CONFLICT", EAGAIN, 2, "conflict: the state is not the expected one"},
	[-LEDGER_ELOCKED] = {"LOCKED", EAGAIN, 2, "another writer holds the lock of the ref"},
	[-LEDGER_ENOTFOUND] = {"NOTFOUND", ENOENT, 1, "no such namespace, key or object"},
	[-LEDGER_EEXISTS] = {"EXISTS", EEXIST, 3, "the name is taken"},
	[-LEDGER_ENOTDIR] = {"NOTDIR", ENOTDIR, 4, "the path runs through something that is not a directory"},
	[-LEDGER_EISDIR] = {"ISDIR", EISDIR, 4, "it is a directory"},
	[-LEDGER_ENOTEMPTY] = {"NOTEMPTY", ENOTEMPTY, 3, "it is not empty"},
	[-LEDGER_EINVALID] = {"INVALID", EINVAL, 4, "malformed argument"},
	[-LEDGER_EFORBIDDEN] = {"FORBIDDEN", EPERM, 4, "the name is not allowed"},
	[-LEDGER_ENAMETOOLONG] = {"NAMETOOLONG", ENAMETOOLONG, 4, "the name is too long"},
	[-LEDGER_ETOOBIG] = {"TOOBIG", EFBIG, 3, "the value is too large"},
	[-LEDGER_ECORRUPT] = {"CORRUPT", EIO, 5, "an object or ref of the repository is damaged"},
	[-LEDGER_EIO] = {"IO", EIO, 5, "input/output error"},
	[-LEDGER_ENOSPC] = {"NOSPC", ENOSPC, 5, "no space left on the repository's file system"},
	[-LEDGER_EROFS] = {"ROFS", EROFS, 5, "the repository is read-only"},
	[-LEDGER_EACCES] = {"ACCES", EACCES, 5, "no permission on the repository's files"},
	[-LEDGER_ENOMEM] = {"NOMEM", ENOMEM, 5, "out of memory"},
	[-LEDGER_EREPO] = {"REPO", EINVAL, 5, "not a git repository of a supported kind"},
	[-LEDGER_EDEAD] = {"DEAD", EIO, 5, "an earlier sync to the disk failed: open the ledger again"},
};

#define TABLE_LEN ((int)(sizeof(table) / sizeof(*table)))

/* The last failure of this thread. */
static _Thread_local int noted_code;
static _Thread_local char noted[512];

static bool known(int code)
{
	return code <= 0 && code > -TABLE_LEN;
}

const char *ledger_error_name(int code)
{
	return known(code) ? table[-code].name : "?";
}

const char *ledger_strerror(int code)
{
	return known(code) ? table[-code].text : "unknown error";
}

int ledger_errno(int code)
{
	return known(code) ? table[-code].err : EIO;
}

int ledger_exit_status(int code)
{
	return known(code) ? table[-code].status : 5;
}

const char *ledger_errmsg(void)
{
	return noted[0] ? noted : ledger_strerror(noted_code);
}

void ledger_error_clear(void)
{
	noted_code = 0;
	noted[0] = '\0';
}

void ledger_error_settle(int code)
{
	if (code < 0 && noted_code == code)
		return;
	noted_code = code < 0 ? code : 0;
	noted[0] = '\0';
}

const char *ledger_error_noted(int code)
{
	return noted_code == code ? noted : "";
}

/* A sentence is one line: names from repositories may hold anything. */
static void one_line(void)
{
	for (char *p = noted; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

static void note(int code, const char *fmt, va_list ap, const char *tail)
{
	int n = vsnprintf(noted, sizeof(noted), fmt, ap);

	noted_code = code;
	if (tail && n >= 0 && (size_t)n < sizeof(noted))
		snprintf(noted + n, sizeof(noted) - (size_t)n, ": %s", tail);
	one_line();
}

int ledger_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(code, fmt, ap, NULL);
	va_end(ap);
	return code;
}

int ledger_from_errno(int err)
{
	switch (err) {
	case ENOENT:
		return LEDGER_ENOTFOUND;
	case EEXIST:
		return LEDGER_EEXISTS;
	case ENOTDIR:
		return LEDGER_ENOTDIR;
	case EISDIR:
		return LEDGER_EISDIR;
	case ENOTEMPTY:
		return LEDGER_ENOTEMPTY;
	case EINVAL:
		return LEDGER_EINVALID;
	case ENAMETOOLONG:
		return LEDGER_ENAMETOOLONG;
	case EFBIG:
		return LEDGER_ETOOBIG;
	case ENOSPC:
	case EDQUOT:
		return LEDGER_ENOSPC;
	case EROFS:
		return LEDGER_EROFS;
	case EACCES:
	case EPERM:
		return LEDGER_EACCES;
	case ENOMEM:
		return LEDGER_ENOMEM;
	default:
		return LEDGER_EIO;
	}
}

int ledger_fail_errno(int err, const char *fmt, ...)
{
	int code = ledger_from_errno(err);
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	note(code, fmt, ap, strerror_r(err, text, sizeof(text)));
	va_end(ap);
	return code;
}

/*
 * libgit2 tells kinds of failure apart only where its callers decide on them; for the rest the errno of the system call
 * behind the failure says more than its -1.
 */
static int git_code(int rc, int err, const git_error *ge)
{
	if (rc == GIT_ENOTFOUND)
		return LEDGER_ENOTFOUND;
	if (rc == GIT_ELOCKED)
		return LEDGER_ELOCKED;
	if (rc == GIT_EEXISTS)
		return LEDGER_EEXISTS;
	if (rc == GIT_EINVALIDSPEC || rc == GIT_EAMBIGUOUS)
		return LEDGER_EINVALID;
	if (rc == GIT_EOWNER)
		return LEDGER_EACCES;
	if (rc == GIT_EMISMATCH)
		return LEDGER_ECORRUPT;
	if (ge && ge->klass == GIT_ERROR_NOMEMORY)
		return LEDGER_ENOMEM;
	switch (err) {
	case ENOSPC:
	case EDQUOT:
	case EROFS:
	case EACCES:
	case EPERM:
	case ENOMEM:
	case EIO:
		return ledger_from_errno(err);
	default:
		break;
	}
	if (ge && (ge->klass == GIT_ERROR_REFERENCE || ge->klass == GIT_ERROR_ODB || ge->klass == GIT_ERROR_OBJECT ||
		   ge->klass == GIT_ERROR_ZLIB || ge->klass == GIT_ERROR_CONFIG))
		return LEDGER_ECORRUPT;
	return LEDGER_EIO;
}

int ledger_fail_git(int rc, const char *fmt, ...)
{
	int err = errno;
	const git_error *ge = git_error_last();
	int code = git_code(rc, err, ge);
	va_list ap;

	va_start(ap, fmt);
	note(code, fmt, ap, ge && ge->message ? ge->message : ledger_strerror(code));
	va_end(ap);
	return code;
}
