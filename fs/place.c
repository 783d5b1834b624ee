/* SPDX-License-Identifier: MIT */
/* The table of places: names in the mount that somebody refers to right now. */
#include "carry.h"
#include "core.h"
#include "session.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t hash_bytes(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
	return h ^ (h >> 29);
}

static uint64_t place_hash(const char *ns, const char *path)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	if (ns)
		h = hash_bytes(h, ns) * 31 + 7;
	return hash_bytes(h, path);
}

static bool same_ns(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void table_insert(struct fs *fs, struct place *p)
{
	struct place **slot = &fs->table[p->hash & (fs->ntable - 1)];

	p->next = *slot;
	*slot = p;
	p->hashed = true;
	fs->nplaces++;
}

static void table_remove(struct fs *fs, struct place *p)
{
	struct place **slot = &fs->table[p->hash & (fs->ntable - 1)];

	while (*slot != p)
		slot = &(*slot)->next;
	*slot = p->next;
	p->hashed = false;
	fs->nplaces--;
}

/* Doubles the table when it is full; on lack of memory the chains grow longer, that is all. */
static void table_grow(struct fs *fs)
{
	struct place **old = fs->table, **new;
	size_t n = fs->ntable;

	if (fs->nplaces < n)
		return;
	new = calloc(n ? n * 2 : 256, sizeof(*new));
	if (!new)
		return;
	fs->table = new;
	fs->ntable = n ? n * 2 : 256;
	fs->nplaces = 0;
	for (size_t i = 0; i < n; i++) {
		for (struct place *p = old[i], *next; p; p = next) {
			next = p->next;
			table_insert(fs, p);
		}
	}
	free(old);
}

struct place *place_find_locked(struct fs *fs, const char *ns, const char *path)
{
	uint64_t h = place_hash(ns, path);

	if (!fs->ntable)
		return NULL;
	for (struct place *p = fs->table[h & (fs->ntable - 1)]; p; p = p->next) {
		if (p->hash == h && same_ns(p->ns, ns) && strcmp(p->path, path) == 0)
			return p;
	}
	return NULL;
}

struct place *place_ref_locked(struct place *p)
{
	p->refs++;
	return p;
}

static void place_free(struct place *p)
{
	if (!p)
		return;
	pthread_rwlock_destroy(&p->names);
	free(p->ns);
	free(p->path);
	free(p);
}

void rwlock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

static struct place *place_new(const char *ns, const char *path)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	rwlock_init(&p->names);
	p->ns = ns ? strdup(ns) : NULL;
	p->path = strdup(path);
	if ((ns && !p->ns) || !p->path) {
		place_free(p);
		return NULL;
	}
	p->refs = 1;
	p->hash = place_hash(ns, path);
	return p;
}

struct place *place_get_locked(struct fs *fs, const char *ns, const char *path)
{
	struct place *p = place_find_locked(fs, ns, path);

	if (p)
		return place_ref_locked(p);
	table_grow(fs);
	p = fs->ntable ? place_new(ns, path) : NULL;
	if (p)
		table_insert(fs, p);
	return p;
}

struct place *place_get(struct fs *fs, const char *ns, const char *path)
{
	struct place *p;

	pthread_mutex_lock(&fs->lock);
	p = place_get_locked(fs, ns, path);
	pthread_mutex_unlock(&fs->lock);
	return p;
}

static void nameless_insert(struct fs *fs, struct place *p)
{
	p->next = fs->nameless;
	p->link = &fs->nameless;
	if (p->next)
		p->next->link = &p->next;
	fs->nameless = p;
}

static void nameless_remove(struct place *p)
{
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
}

void place_unref_locked(struct fs *fs, struct place *p)
{
	if (!p || --p->refs)
		return;
	if (p->hashed)
		table_remove(fs, p);
	else
		nameless_remove(p);
	place_free(p);
}

void place_unref(struct fs *fs, struct place *p)
{
	pthread_mutex_lock(&fs->lock);
	place_unref_locked(fs, p);
	pthread_mutex_unlock(&fs->lock);
}

int place_name(struct fs *fs, const struct place *p, char **ns, char **path)
{
	char *n = NULL, *q;

	pthread_mutex_lock(&fs->lock);
	q = strdup(p->path);
	if (ns && p->ns)
		n = strdup(p->ns);
	pthread_mutex_unlock(&fs->lock);
	if (!q || (ns && p->ns && !n)) {
		free(n);
		free(q);
		return -1;
	}
	if (ns)
		*ns = n;
	*path = q;
	return 0;
}

void hold_end(struct fs *fs, struct hold *h)
{
	pthread_rwlock_unlock(&h->place->names);
	if (h->dirs)
		pthread_rwlock_unlock(h->dirs);
	place_unref(fs, h->place);
	free(h->ns);
	free(h->path);
}

/* Is it still called so, and findable? */
static bool named(struct fs *fs, const struct place *p, const char *ns, const char *path)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = strcmp(p->ns, ns) == 0 && strcmp(p->path, path) == 0;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

/* Names and a reference, nothing locked yet. */
static int hold_prepare(struct fs *fs, struct place *p, struct hold *h)
{
	if (place_name(fs, p, &h->ns, &h->path))
		return LEDGER_ENOMEM;
	pthread_mutex_lock(&fs->lock);
	h->place = place_ref_locked(p);
	pthread_mutex_unlock(&fs->lock);
	h->dirs = NULL;
	return 0;
}

static bool hashed(struct fs *fs, const struct place *p)
{
	bool yes;

	pthread_mutex_lock(&fs->lock);
	yes = p->hashed;
	pthread_mutex_unlock(&fs->lock);
	return yes;
}

int hold_begin(struct fs *fs, struct place *p, bool change, struct hold *h)
{
	/* Renames may come in between looking at the name and locking it: look again until it stood still. */
	for (;;) {
		bool gone;
		int r = hold_prepare(fs, p, h);

		if (r)
			return r;
		h->dirs = fs_dirs(fs, h->ns);
		pthread_rwlock_rdlock(h->dirs);
		if (change)
			pthread_rwlock_wrlock(&p->names);
		else
			pthread_rwlock_rdlock(&p->names);
		gone = !hashed(fs, p);
		if (!gone && named(fs, p, h->ns, h->path))
			return 0;
		hold_end(fs, h);
		if (gone)
			return LEDGER_ENOTFOUND;
	}
}

int hold_two(struct fs *fs, struct place *p, struct place *q, struct hold *hp, struct hold *hq)
{
	for (;;) {
		bool gone;
		int r = hold_prepare(fs, p, hp);

		if (r)
			return r;
		r = hold_prepare(fs, q, hq);
		if (r) {
			place_unref(fs, hp->place);
			free(hp->ns);
			free(hp->path);
			return r;
		}
		hp->dirs = fs_dirs(fs, hp->ns);
		pthread_rwlock_rdlock(hp->dirs);
		pthread_rwlock_wrlock(p < q ? &p->names : &q->names);
		pthread_rwlock_wrlock(p < q ? &q->names : &p->names);
		gone = !hashed(fs, p) || !hashed(fs, q);
		if (!gone && named(fs, p, hp->ns, hp->path) && named(fs, q, hq->ns, hq->path))
			return 0;
		hold_end(fs, hq);
		hold_end(fs, hp);
		if (gone)
			return LEDGER_ENOTFOUND;
	}
}

/* Gives the place another name in the table.  Takes the strings over. */
static void rename_locked(struct fs *fs, struct place *p, char *ns, char *path)
{
	if (strcmp(p->path, path) != 0)
		carry_take_locked(fs, p);
	if (p->hashed)
		table_remove(fs, p);
	free(p->ns);
	free(p->path);
	p->ns = ns;
	p->path = path;
	p->hash = place_hash(ns, path);
	table_insert(fs, p);
	for (struct redirect *r = fs->redirects; r; r = r->next)
		r->moved = r->moved || r->priv->place == p;
}

/* `p` loses its name; its handles go to `heir`, which bears the name from now on. */
static void displace_locked(struct fs *fs, struct place *p, struct place *heir)
{
	table_remove(fs, p);
	nameless_insert(fs, p);
	for (struct inode *i = p->inodes; i; i = i->next) {
		if (i->type != INODE_PRIVATE)
			i->unlinked = true;
	}
	sessions_move_locked(fs, p, heir);
}

int place_move(struct fs *fs, struct place *from, struct place *to)
{
	char *ns, *path;
	int r = -1;

	pthread_mutex_lock(&fs->lock);
	ns = strdup(to->ns);
	path = strdup(to->path);
	if (ns && path) {
		if (to->hashed)
			displace_locked(fs, to, from);
		rename_locked(fs, from, ns, path);
		r = 0;
	} else {
		free(ns);
		free(path);
	}
	pthread_mutex_unlock(&fs->lock);
	return r;
}

const char *path_below(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	if (n == 0)
		return path;
	if (strncmp(path, dir, n) != 0 || (path[n] && path[n] != '/'))
		return NULL;
	return path + n;
}

int place_move_tree(struct fs *fs, const char *ns, const char *path, const char *to_ns, const char *to_path)
{
	struct place **list, *p;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&fs->lock);
	list = malloc((fs->nplaces + 1) * sizeof(*list));
	for (size_t i = 0; list && i < fs->ntable; i++) {
		for (p = fs->table[i]; p; p = p->next) {
			if (p->ns && strcmp(p->ns, ns) == 0 && path_below(path, p->path))
				list[n++] = p;
		}
	}
	if (!list)
		r = -1;
	for (size_t i = 0; i < n; i++) {
		const char *rest = path_below(path, list[i]->path);
		char *new_ns = strdup(to_ns), *new_path;
		struct place *old;

		if (asprintf(&new_path, "%s%s", to_path, rest) < 0)
			new_path = NULL;
		if (!new_ns || !new_path) {
			free(new_ns);
			free(new_path);
			r = -1;
			continue;
		}
		old = place_find_locked(fs, new_ns, new_path);
		if (old && old != list[i])
			displace_locked(fs, old, list[i]);
		rename_locked(fs, list[i], new_ns, new_path);
	}
	free(list);
	pthread_mutex_unlock(&fs->lock);
	return r;
}

pthread_rwlock_t *fs_dirs(struct fs *fs, const char *ns)
{
	return &fs->dirs[place_hash(NULL, ns) % (sizeof(fs->dirs) / sizeof(fs->dirs[0]))];
}

char *path_join(const char *dir, const char *name)
{
	char *s;

	if (asprintf(&s, "%s%s%s", dir, *dir ? "/" : "", name) < 0)
		return NULL;
	return s;
}

uint64_t place_ino(const char *ns, const char *path, const struct ledger_oid *blob)
{
	uint64_t h = place_hash(ns, path), b = 0;

	if (blob)
		memcpy(&b, blob->id, sizeof(b));
	/* splitmix64's finaliser: neighbouring names must not give neighbouring numbers. */
	h ^= b * 0x9e3779b97f4a7c15ULL;
	h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
	h ^= h >> 31;
	return (h >> 2) | 1ULL << 61; /* below 2^62, where private inodes begin; never a small number */
}
