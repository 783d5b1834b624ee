/* SPDX-License-Identifier: MIT */
/* Extended attributes: the state to read, the expectation to arm, the swap in one call (SPEC 6.1). */
#include "control.h"
#include "file.h"
#include "ops.h"
#include "swap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>

#define PREFIX "user.kv."

enum attr {
	ATTR_NONE,
	ATTR_TREE,
	ATTR_COMMIT,
	ATTR_VERSION,
	ATTR_BLOB,
	ATTR_STATUS,
	ATTR_EXPECT_TREE,
	ATTR_EXPECT_COMMIT,
	ATTR_EXPECT_VERSION,
	ATTR_EXPECT_BLOB,
	ATTR_SWAP, /* .OID or .absent, on a directory with .NAME behind */
};

static const struct {
	const char *name;
	enum attr attr;
	enum ledger_expect_what what;
} attrs[] = {
	{"tree", ATTR_TREE, 0},
	{"commit", ATTR_COMMIT, 0},
	{"version", ATTR_VERSION, 0},
	{"blob", ATTR_BLOB, 0},
	{"status", ATTR_STATUS, 0},
	{"expect-tree", ATTR_EXPECT_TREE, LEDGER_EXPECT_TREE},
	{"expect-commit", ATTR_EXPECT_COMMIT, LEDGER_EXPECT_COMMIT},
	{"expect-version", ATTR_EXPECT_VERSION, LEDGER_EXPECT_VERSION},
	{"expect-blob", ATTR_EXPECT_BLOB, LEDGER_EXPECT_BLOB},
};

/* What an attribute request is about. */
struct target {
	struct inode *inode;
	enum attr attr;
	enum ledger_expect_what what; /* expect-* */
	const char *arg;              /* behind "swap."; on a directory behind "expect-blob." and "status.": NAME */
	char *ns, *path;
	bool is_key; /* a file, not a directory */
};

/* Can `name` be a key in the directory? */
static int key_name_check(const char *dir, const char *name)
{
	int r = ledger_name_check(name, strlen(name));

	return !r && !*dir && strcmp(name, CONTROL_NAME) == 0 ? LEDGER_EFORBIDDEN : r;
}

/* Finds out what `name` on the inode means.  0, or a positive errno.  target_end() in any case. */
static int target_init(struct fs *fs, fuse_ino_t ino, const char *name, struct target *t)
{
	memset(t, 0, sizeof(*t));
	t->inode = inode_of(fs, ino);
	if (strcmp(name, "security.capability") == 0)
		return ENODATA; /* asked for at every write: at once, and never ENOSYS */
	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return ENOTSUP;
	name += strlen(PREFIX);
	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		if (strcmp(name, attrs[i].name) == 0) {
			t->attr = attrs[i].attr;
			t->what = attrs[i].what;
		}
	}
	if (strncmp(name, "swap.", 5) == 0) {
		t->attr = ATTR_SWAP;
		t->arg = name + 5;
	} else if (strncmp(name, "expect-blob.", 12) == 0 && t->inode->type == INODE_DIR) {
		t->attr = ATTR_EXPECT_BLOB;
		t->what = LEDGER_EXPECT_BLOB;
		t->arg = name + 12;
	} else if (strncmp(name, "status.", 7) == 0 && t->inode->type == INODE_DIR) {
		t->attr = ATTR_STATUS;
		t->arg = name + 7;
	}
	if (!t->attr)
		return ENOTSUP;
	if (t->inode->type == INODE_CONTROL)
		return ENOTSUP;
	if (place_name(fs, t->inode->place, &t->ns, &t->path))
		return ENOMEM;
	if (t->arg && t->attr != ATTR_SWAP && t->ns) {
		int r = key_name_check(t->path, t->arg);

		if (r)
			return ledger_errno(r);
	}
	t->is_key = t->inode->type == INODE_VERSION || t->inode->type == INODE_PRIVATE || t->inode->type == INODE_LOCAL;
	return t->ns ? 0 : ENODATA; /* the root and prefixes are no namespace */
}

static void target_end(struct target *t)
{
	free(t->ns);
	free(t->path);
}

/* The key that the attribute is about: the target, or the entry `.NAME` of a directory; NULL: none, or no memory.  free()
 * it. */
static char *target_key(const struct target *t)
{
	if (t->arg)
		return path_join(t->path, t->arg);
	return t->is_key ? strdup(t->path) : NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------------
 */

static int expect_text(struct fs *fs, const struct target *t, pid_t tid, char *buf, size_t size)
{
	struct ledger_expect e;
	char *key = NULL;
	int r;

	if (t->attr == ATTR_EXPECT_BLOB) {
		key = target_key(t);
		if (!key)
			return ENODATA;
	}
	r = holders_get(fs->holders, t->ns, key, tid, &e);
	free(key);
	if (r)
		return r == ESRCH ? ENODATA : r;
	if (e.what != t->what && !(t->attr == ATTR_EXPECT_BLOB && e.what == LEDGER_EXPECT_ABSENT))
		return ENODATA;
	if (e.what == LEDGER_EXPECT_VERSION)
		snprintf(buf, size, "%llu", (unsigned long long)e.version);
	else if (e.what == LEDGER_EXPECT_ABSENT || ledger_oid_is_zero(&e.oid))
		snprintf(buf, size, "absent");
	else
		ledger_oid_fmt(buf, &e.oid);
	return 0;
}

static int blob_text(struct fs *fs, const struct target *t, char *buf)
{
	struct session *s = session_of(t->inode, NULL);
	struct ledger_oid oid = t->inode->blob;

	if (!t->is_key || t->inode->type == INODE_LOCAL)
		return ENODATA;
	if (s) {
		pthread_mutex_lock(&s->lock);
		oid = s->base;
		pthread_mutex_unlock(&s->lock);
	}
	if (ledger_oid_is_zero(&oid))
		return ENODATA;
	ledger_oid_fmt(buf, &oid);
	return 0;
}

/* The attribute's text on the heap. */
static int attr_text(struct fs *fs, const struct target *t, pid_t tid, char **out)
{
	char buf[64], *key;
	struct ledger_tip tip;
	int r = 0;

	switch (t->attr) {
	case ATTR_TREE:
	case ATTR_COMMIT:
	case ATTR_VERSION:
		r = ledger_errno(ledger_tip(fs->ledger, t->ns, &tip));
		if (r)
			return r == ENOENT ? ENODATA : r;
		if (t->attr == ATTR_VERSION)
			snprintf(buf, sizeof(buf), "%llu", (unsigned long long)tip.version);
		else
			ledger_oid_fmt(buf, t->attr == ATTR_TREE ? &tip.tree : &tip.commit);
		break;
	case ATTR_BLOB:
		r = blob_text(fs, t, buf);
		break;
	case ATTR_STATUS:
		key = target_key(t);
		r = key || !(t->arg || t->is_key) ? outcomes_lookup(fs->outcomes, t->ns, key, tid, out) : ENOMEM;
		free(key);
		return r == ESRCH ? ENODATA : r;
	case ATTR_SWAP:
		return ENODATA;
	default:
		r = expect_text(fs, t, tid, buf, sizeof(buf));
	}
	if (r)
		return r;
	*out = strdup(buf);
	return *out ? 0 : ENOMEM;
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fs_of(req);
	struct target t;
	char *text = NULL;
	int err = target_init(fs, ino, name, &t);

	if (!err)
		err = attr_text(fs, &t, fuse_req_ctx(req)->pid, &text);
	if (!err && size && strlen(text) > size)
		err = ERANGE;
	if (err)
		fuse_reply_err(req, err);
	else if (!size)
		fuse_reply_xattr(req, strlen(text));
	else
		fuse_reply_buf(req, text, strlen(text));
	free(text);
	target_end(&t);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	/* None is listed: cp -a and rsync -X would carry them along and arm guards that nobody asked for (SPEC 6.1). */
	if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

/* --- arming -------------------------------------------------------------------------------------------------------------
 */

static int parse_version(const char *value, size_t size, uint64_t *out)
{
	uint64_t n = 0;

	if (!size || size > 19)
		return EINVAL;
	for (size_t i = 0; i < size; i++) {
		if (value[i] < '0' || value[i] > '9')
			return EINVAL;
		n = n * 10 + (uint64_t)(value[i] - '0');
	}
	*out = n;
	return 0;
}

static int arm(fuse_req_t req, const struct target *t, const char *value, size_t size)
{
	struct fs *fs = fs_of(req);
	struct ledger_expect e = {.what = t->what};
	char *key = NULL;
	int r = 0;

	if (t->attr == ATTR_EXPECT_BLOB) {
		key = target_key(t);
		if (!key)
			return EINVAL; /* on a directory: expect-blob.NAME */
		e.path = key;
	}
	if (t->attr == ATTR_EXPECT_VERSION)
		r = parse_version(value, size, &e.version);
	else if (t->attr == ATTR_EXPECT_BLOB && size == 6 && memcmp(value, "absent", 6) == 0)
		e.what = LEDGER_EXPECT_ABSENT;
	else
		r = ledger_oid_parse(&e.oid, value, size) ? EINVAL : 0;
	if (!r)
		r = holders_arm(fs->holders, t->ns, fuse_req_ctx(req)->pid, &e);
	free(key);
	return r;
}

/* XATTR_CREATE and XATTR_REPLACE, as setxattr(2) has them, of what the caller holds or inherits. */
static int check_flags(fuse_req_t req, const struct target *t, int flags)
{
	char buf[64];
	int r;

	if (!flags)
		return 0;
	r = expect_text(fs_of(req), t, fuse_req_ctx(req)->pid, buf, sizeof(buf));
	if (r == 0)
		return flags & XATTR_CREATE ? EEXIST : 0;
	return flags & XATTR_REPLACE ? r : 0;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct fs *fs = fs_of(req);
	struct target t;
	int err = target_init(fs, ino, name, &t);

	if (err == ENODATA)
		err = ENOTSUP;
	if (!err && t.attr == ATTR_SWAP)
		err = flags & XATTR_REPLACE ? ENODATA : swap_value(req, t.inode, t.is_key, t.arg, value, size);
	else if (!err && !t.what)
		err = EPERM;
	else if (!err && !(err = check_flags(req, &t, flags)))
		err = arm(req, &t, value, size);
	fuse_reply_err(req, err);
	target_end(&t);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs *fs = fs_of(req);
	struct target t;
	char *key = NULL;
	int err = target_init(fs, ino, name, &t);

	if (!err && !t.what)
		err = t.attr == ATTR_SWAP ? ENODATA : EPERM;
	if (!err && t.attr == ATTR_EXPECT_BLOB && !(key = target_key(&t)))
		err = ENODATA;
	if (!err)
		err = holders_disarm(fs->holders, t.ns, key, fuse_req_ctx(req)->pid, t.what);
	fuse_reply_err(req, err == ESRCH ? ENODATA : err);
	free(key);
	target_end(&t);
}
