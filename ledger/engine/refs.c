/* SPDX-License-Identifier: MIT */
#include "refs.h"

#include "../fail.h"
#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void stamp_clear(struct ref_stamp *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static bool stamp_set(struct ref_stamp *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	s->fd = fd;
	s->mtime = st.st_mtim;
	s->ctime = st.st_ctim;
	s->size = st.st_size;
	return true;
}

/*
 * Nothing replaced the file: the inode that we hold still has a name, and nothing touched it.  A rename over it takes the
 * name; a rename of it to elsewhere moves ctime, and so does the exchange that refmove.c does, which then takes its name or
 * its time (REFMOVE_OLD): that may have been done already when it was stamped.
 */
static bool stamp_good(const struct ref_stamp *s)
{
	struct stat st;

	return s->fd >= 0 && fstat(s->fd, &st) == 0 && st.st_nlink > 0 && st.st_size == s->size &&
	       st.st_mtim.tv_sec != REFMOVE_OLD && st.st_mtim.tv_sec == s->mtime.tv_sec &&
	       st.st_mtim.tv_nsec == s->mtime.tv_nsec && st.st_ctim.tv_sec == s->ctime.tv_sec &&
	       st.st_ctim.tv_nsec == s->ctime.tv_nsec;
}

void refs_init(struct refs *r, int dirfd)
{
	memset(r, 0, sizeof(*r));
	r->dirfd = dirfd;
	pthread_mutex_init(&r->mu, NULL);
	for (int i = 0; i < REFS_SLOTS; i++)
		r->slots[i].stamp.fd = -1;
	r->packed.stamp.fd = -1;
}

void refs_release(struct refs *r)
{
	for (int i = 0; i < REFS_SLOTS; i++) {
		stamp_clear(&r->slots[i].stamp);
		free(r->slots[i].name);
	}
	stamp_clear(&r->packed.stamp);
	free(r->packed.data);
	pthread_mutex_destroy(&r->mu);
}

/* Opens and reads the loose file; on 0 `*fd` stays open for the caller when it is not NULL. */
static int read_loose(int dirfd, const char *name, struct ledger_oid *out, bool *broken, struct ref_stamp *keep)
{
	struct ref_stamp st = {.fd = -1};
	char buf[256];
	ssize_t n;
	int fd, r = 0;

	*broken = false;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return LEDGER_ENOTFOUND;
		if (errno == ELOOP)
			return ledger_fail(LEDGER_ECORRUPT, "%s is a symbolic link", name);
		return ledger_fail(io_code(errno), "%s: %s", name, strerror(errno));
	}
	/* The stamp before the bytes: a change between the two makes the next look read again. */
	if (!stamp_set(&st, fd))
		st.fd = fd;
	n = pread(fd, buf, sizeof(buf) - 1, 0);
	if (n < 0) {
		r = errno == EISDIR ? LEDGER_ENOTFOUND : ledger_fail(LEDGER_EIO, "%s: %s", name, strerror(errno));
	} else {
		buf[n] = 0;
		if (strncmp(buf, "ref:", 4) == 0)
			r = ledger_fail(LEDGER_ECORRUPT, "%s is symbolic", name);
		else if (n < LEDGER_OID_HEXSIZE || ledger_oid_parse(out, buf, LEDGER_OID_HEXSIZE) < 0 ||
			 (n > LEDGER_OID_HEXSIZE && buf[40] != '\n' && buf[40] != ' ' && buf[40] != '\t'))
			r = ledger_fail(LEDGER_ECORRUPT, "%s does not hold an object name", name);
		*broken = r == LEDGER_ECORRUPT && strncmp(buf, "ref:", 4) != 0;
	}
	if (!r && keep)
		*keep = st;
	else
		close(fd);
	return r;
}

int refs_read_loose(int dirfd, const char *name, struct ledger_oid *out, bool *broken)
{
	struct ledger_oid oid;
	int r = read_loose(dirfd, name, &oid, broken, NULL);

	if (!r)
		*out = oid;
	return r;
}

/* --- packed-refs ---------------------------------------------------------------------------------------------------- */

/* Loads packed-refs unless what is loaded is current; refs.mu is held. */
static int packed_load(struct refs *r)
{
	struct packed_refs *p = &r->packed;
	struct ref_stamp st = {.fd = -1};
	size_t len = 0;
	char *data;
	int fd;

	if (stamp_good(&p->stamp))
		return 0;
	stamp_clear(&p->stamp);
	free(p->data);
	memset(p, 0, sizeof(*p));
	p->stamp.fd = -1;
	fd = openat(r->dirfd, "packed-refs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : ledger_fail(io_code(errno), "packed-refs: %s", strerror(errno));
	if (!stamp_set(&st, fd) || !(data = io_malloc((size_t)st.size + 2))) {
		close(fd);
		return LEDGER_ENOMEM;
	}
	while (len < (size_t)st.size) {
		ssize_t n = pread(fd, data + len, (size_t)st.size - len, (off_t)len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (len && data[len - 1] != '\n')
		data[len++] = '\n';
	data[len] = 0;
	p->stamp = st;
	p->data = data;
	p->len = len;
	p->body = data;
	if (data[0] == '#') {
		char *nl = strchr(data, '\n');

		*nl = 0;
		p->sorted = strstr(data, " sorted") != NULL;
		*nl = '\n';
		p->body = nl + 1;
	}
	return 0;
}

/* The line "<oid> <name>\n" at `l`; NULL when it is none (a peeled value, a comment). */
static const char *line_name(const char *l, const char *end, size_t *len)
{
	const char *nl = memchr(l, '\n', (size_t)(end - l));

	if (!nl || nl - l <= LEDGER_OID_HEXSIZE + 1 || l[LEDGER_OID_HEXSIZE] != ' ' || *l == '#' || *l == '^')
		return NULL;
	*len = (size_t)(nl - l) - LEDGER_OID_HEXSIZE - 1;
	return l + LEDGER_OID_HEXSIZE + 1;
}

static const char *next_line(const char *l, const char *end)
{
	const char *nl = memchr(l, '\n', (size_t)(end - l));

	return nl ? nl + 1 : end;
}

static int name_cmp(const char *a, size_t alen, const char *b, size_t blen)
{
	int c = memcmp(a, b, alen < blen ? alen : blen);

	return c ? c : (alen > blen) - (alen < blen);
}

/* The first line whose name is not before `name`; refs.mu is held.  Of an unsorted file: the first line of all. */
static const char *packed_seek(const struct packed_refs *p, const char *name, size_t len)
{
	const char *lo = p->body, *end = p->data + p->len, *hi = end;

	if (!p->sorted)
		return p->body;
	while (lo < hi) {
		const char *l = lo + (hi - lo) / 2, *have;
		size_t n;

		while (l > lo && l[-1] != '\n')
			l--;
		/* A peeled line belongs to the one before it. */
		while (l > lo && *l == '^') {
			l--;
			while (l > lo && l[-1] != '\n')
				l--;
		}
		have = line_name(l, end, &n);
		if (have && name_cmp(have, n, name, len) >= 0) {
			hi = l;
			continue;
		}
		lo = next_line(l, end);
		while (lo < hi && *lo == '^')
			lo = next_line(lo, end);
	}
	return lo;
}

static int packed_find(struct refs *r, const char *name, struct ledger_oid *out)
{
	const char *l, *end, *have;
	size_t len = strlen(name), n;
	int err = packed_load(r);

	if (err || !r->packed.data)
		return err ? err : LEDGER_ENOTFOUND;
	end = r->packed.data + r->packed.len;
	for (l = packed_seek(&r->packed, name, len); l < end; l = next_line(l, end)) {
		have = line_name(l, end, &n);
		if (have && n == len && memcmp(have, name, len) == 0) {
			if (ledger_oid_parse(out, l, LEDGER_OID_HEXSIZE) < 0)
				return ledger_fail(LEDGER_ECORRUPT, "packed-refs: %s does not hold an object name", name);
			return 0;
		}
		if (r->packed.sorted && have)
			break;
	}
	return LEDGER_ENOTFOUND;
}

int refs_read_packed(struct refs *r, const char *name, struct ledger_oid *out)
{
	int ret;

	pthread_mutex_lock(&r->mu);
	ret = packed_find(r, name, out);
	pthread_mutex_unlock(&r->mu);
	return ret;
}

/* Does the component-wise shorter of the two lead to the longer? */
static bool is_above(const char *a, size_t alen, const char *b, size_t blen)
{
	return alen < blen && memcmp(a, b, alen) == 0 && b[alen] == '/';
}

int refs_packed_conflict(struct refs *r, const char *name, bool *conflict)
{
	size_t len = strlen(name), n;
	const char *l, *end, *have;
	int ret;

	*conflict = false;
	pthread_mutex_lock(&r->mu);
	ret = packed_load(r);
	/* Only when a namespace is made: a walk over all is good enough. */
	end = r->packed.data ? r->packed.data + r->packed.len : NULL;
	for (l = r->packed.body; !ret && end && l < end; l = next_line(l, end)) {
		have = line_name(l, end, &n);
		if (have && (is_above(have, n, name, len) || is_above(name, len, have, n)))
			*conflict = true;
	}
	pthread_mutex_unlock(&r->mu);
	return ret;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

unsigned refs_slot(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return (h ^ h >> 16) % REFS_SLOTS;
}

static void slot_keep(struct ref_slot *s, const char *name, const struct ref_stamp *stamp, const struct ledger_oid *oid)
{
	if (!s->name || strcmp(s->name, name) != 0) {
		char *copy = io_strdup(name);

		if (!copy) {
			close(stamp->fd);
			return;
		}
		free(s->name);
		s->name = copy;
	}
	s->stamp = *stamp;
	s->oid = *oid;
}

void refs_placed(struct refs *r, const char *name, int fd, const struct ledger_oid *oid)
{
	struct ref_slot *s = &r->slots[refs_slot(name)];
	struct ref_stamp stamp;

	pthread_mutex_lock(&r->mu);
	stamp_clear(&s->stamp);
	if (stamp_set(&stamp, fd))
		slot_keep(s, name, &stamp, oid);
	else
		close(fd);
	pthread_mutex_unlock(&r->mu);
}

int refs_read(struct refs *r, const char *name, struct ledger_oid *out)
{
	struct ref_slot *s = &r->slots[refs_slot(name)];
	struct ref_stamp stamp = {.fd = -1};
	struct ledger_oid oid;
	bool broken;
	int ret = LEDGER_ENOTFOUND;

	if (strlen(name) > REF_MAX)
		return LEDGER_ENOTFOUND;
	pthread_mutex_lock(&r->mu);
	if (s->name && strcmp(s->name, name) == 0 && stamp_good(&s->stamp)) {
		*out = s->oid;
		pthread_mutex_unlock(&r->mu);
		return 0;
	}
	/*
	 * Loose first, then packed: pack-refs writes packed-refs before it removes the loose file.  A loose one made between
	 * our two looks, of a ref that was nowhere, is newer than the call's beginning: absent is a right answer.  But a ref
	 * that was packed, made loose, and dropped from packed-refs in between needs the second round.
	 */
	for (int i = 0; i < 3 && ret == LEDGER_ENOTFOUND; i++) {
		ret = read_loose(r->dirfd, name, &oid, &broken, &stamp);
		if (ret == LEDGER_ENOTFOUND)
			ret = packed_find(r, name, &oid);
		if (ret == LEDGER_ENOTFOUND && faccessat(r->dirfd, name, F_OK, 0) < 0)
			break;
	}
	stamp_clear(&s->stamp);
	if (!ret) {
		*out = oid;
		if (stamp.fd >= 0)
			slot_keep(s, name, &stamp, &oid);
	}
	pthread_mutex_unlock(&r->mu);
	return ret;
}

/* --- listing -------------------------------------------------------------------------------------------------------- */

int ref_names_add(struct ref_names *v, const char *name)
{
	char *copy = io_strdup(name);

	if (!copy || !io_grow((void **)&v->names, &v->cap, v->n + 1, sizeof(char *))) {
		free(copy);
		return LEDGER_ENOMEM;
	}
	v->names[v->n++] = copy;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void ref_names_sort(struct ref_names *v)
{
	size_t k = 0;

	if (v->n)
		qsort(v->names, v->n, sizeof(char *), by_name);
	for (size_t i = 0; i < v->n; i++) {
		if (k && strcmp(v->names[k - 1], v->names[i]) == 0)
			free(v->names[i]);
		else
			v->names[k++] = v->names[i];
	}
	v->n = k;
}

void ref_names_release(struct ref_names *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->names[i]);
	free(v->names);
	memset(v, 0, sizeof(*v));
}

static int list_loose(int dirfd, const char *path, struct ref_names *out)
{
	struct dirent *e;
	int fd, r = 0;
	DIR *d;

	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0
							   : ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return LEDGER_ENOMEM;
	}
	while (!r && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char name[PATH_MAX];
		struct stat st;

		if (e->d_name[0] == '.' || (len > 5 && strcmp(e->d_name + len - 5, ".lock") == 0))
			continue;
		if (snprintf(name, sizeof(name), "%s%s", path, e->d_name) > REF_MAX)
			continue;
		if (e->d_type == DT_UNKNOWN && fstatat(dirfd, name, &st, 0) == 0)
			e->d_type = S_ISDIR(st.st_mode) ? DT_DIR : DT_REG;
		if (e->d_type == DT_DIR) {
			strcat(name, "/");
			r = list_loose(dirfd, name, out);
		} else {
			r = ref_names_add(out, name);
		}
	}
	closedir(d);
	return r;
}

int refs_list(struct refs *r, const char *prefix, struct ref_names *out)
{
	size_t plen = strlen(prefix), n;
	const char *l, *end, *have;
	int ret;

	/* Loose before packed, for the reason given in refs_read(). */
	ret = list_loose(r->dirfd, prefix, out);
	pthread_mutex_lock(&r->mu);
	if (!ret)
		ret = packed_load(r);
	end = r->packed.data ? r->packed.data + r->packed.len : NULL;
	if (!ret && end)
		for (l = packed_seek(&r->packed, prefix, plen); !ret && l < end; l = next_line(l, end)) {
			char name[REF_MAX + 1];

			have = line_name(l, end, &n);
			if (!have || n > REF_MAX)
				continue;
			if (n <= plen || memcmp(have, prefix, plen) != 0) {
				if (r->packed.sorted && name_cmp(have, n, prefix, plen) > 0)
					break;
				continue;
			}
			memcpy(name, have, n);
			name[n] = 0;
			ret = ref_names_add(out, name);
		}
	pthread_mutex_unlock(&r->mu);
	ref_names_sort(out);
	return ret;
}
