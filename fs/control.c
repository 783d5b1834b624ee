/* SPDX-License-Identifier: MIT */
#include "control.h"
#include "local.h"

#include <ledger/stats.h>
#include <stdio.h>
#include <stdlib.h>

/* A value that a conflict refused. */
struct rejected {
	struct rejected *next; /* newest first */
	char *ns;
	char *name; /* N-basename */
	uid_t uid;
	struct timespec time;
	struct ledger_value *value;
};

struct control {
	pthread_mutex_t lock;  /* a leaf */
	struct rejected *list; /* lock */
	uint64_t bytes;        /* lock */
	unsigned long seq;     /* lock */
};

int control_new(struct fs *fs)
{
	fs->control = calloc(1, sizeof(*fs->control));
	if (!fs->control)
		return LEDGER_ENOMEM;
	pthread_mutex_init(&fs->control->lock, NULL);
	return 0;
}

static void rejected_free(struct rejected *r)
{
	if (!r)
		return;
	ledger_value_unref(r->value);
	free(r->ns);
	free(r->name);
	free(r);
}

void control_free(struct fs *fs)
{
	struct control *c = fs->control;

	if (!c)
		return;
	for (struct rejected *r = c->list, *next; r; r = next) {
		next = r->next;
		rejected_free(r);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
	fs->control = NULL;
}

/* Too many of one namespace, or too many bytes of all: the oldest go. */
static void push_out_locked(struct control *c, const char *ns)
{
	unsigned n = 0;

	for (struct rejected **slot = &c->list; *slot;) {
		struct rejected *r = *slot;

		if (strcmp(r->ns, ns) == 0)
			n++;
		if ((strcmp(r->ns, ns) == 0 && n > CONTROL_REJECTED_MAX) ||
		    (!r->next && r != c->list && c->bytes > CONTROL_REJECTED_BYTES)) {
			*slot = r->next;
			c->bytes -= ledger_value_size(r->value);
			rejected_free(r);
			if (c->bytes > CONTROL_REJECTED_BYTES) {
				n = 0;
				slot = &c->list;
			}
			continue;
		}
		slot = &r->next;
	}
}

void control_reject(struct fs *fs, const char *ns, const char *path, struct ledger_value *v, uid_t uid)
{
	struct control *c = fs->control;
	struct rejected *r = calloc(1, sizeof(*r));
	const char *base = strrchr(path, '/');

	if (!r)
		return;
	r->uid = uid;
	r->value = ledger_value_ref(v);
	r->ns = strdup(ns);
	clock_gettime(CLOCK_REALTIME, &r->time);
	pthread_mutex_lock(&c->lock);
	if (asprintf(&r->name, "%lu-%.200s", ++c->seq, base ? base + 1 : path) < 0)
		r->name = NULL;
	if (r->ns && r->name) {
		c->bytes += ledger_value_size(v);
		r->next = c->list;
		c->list = r;
		r = NULL;
		push_out_locked(c, ns);
	}
	pthread_mutex_unlock(&c->lock);
	rejected_free(r);
}

static struct rejected *find_locked(struct control *c, const char *ns, const char *name)
{
	struct rejected *r = c->list;

	while (r && (strcmp(r->ns, ns) != 0 || strcmp(r->name, name) != 0))
		r = r->next;
	return r;
}

/* The namespace of a control node; NULL at the mount's root.  The caller frees it. */
static int node_ns(struct fs *fs, const struct inode *i, char **ns)
{
	char *path;

	*ns = NULL;
	if (place_name(fs, i->place, ns, &path))
		return LEDGER_ENOMEM;
	free(path);
	return 0;
}

/* What is in `.kv`; `below`: in that of a namespace alone. */
static const struct {
	const char *name;
	enum control_node node;
	bool is_dir, below;
} nodes[] = {
	{"scratch", CONTROL_SCRATCH, false, false},
	{"stats", CONTROL_STATS, false, false},
	{"rejected", CONTROL_REJECTED, true, true},
	{"blob", CONTROL_BLOBS, true, true},
};

#define NNODES (sizeof(nodes) / sizeof(nodes[0]))

static bool is_dir(int node)
{
	return node == CONTROL_DIR || node == CONTROL_REJECTED || node == CONTROL_BLOBS;
}

/*
 * Any object of the repository could be asked for by its name; only what a status of this namespace tells of is given:
 * enough to read the very value that a conflict met (SPEC 6.4), and what had been expected.
 */
static bool is_told(struct fs *fs, const char *ns, const char *hex, struct ledger_oid *oid)
{
	char line[LEDGER_OID_HEXSIZE + 8];

	if (ledger_oid_parse(oid, hex, strlen(hex)))
		return false;
	snprintf(line, sizeof(line), "blob=%s\n", hex);
	return outcomes_mention(fs->outcomes, ns, line);
}

/* Which node is called so in `dir`?  0: none. */
static int node_by_name(struct fs *fs, struct inode *dir, const char *ns, const char *name)
{
	struct control *c = fs->control;
	struct ledger_oid oid;
	uint64_t size;
	int node = 0;

	if (!dir)
		return CONTROL_DIR;
	if (dir->control == CONTROL_DIR) {
		for (size_t n = 0; n < NNODES; n++) {
			if (strcmp(name, nodes[n].name) == 0 && (ns || !nodes[n].below))
				return nodes[n].node;
		}
		return 0;
	}
	if (dir->control == CONTROL_BLOBS)
		return ns && is_told(fs, ns, name, &oid) && ledger_blob_size(fs->ledger, &oid, &size) == 0 ? CONTROL_BLOB
													   : 0;
	pthread_mutex_lock(&c->lock);
	if (dir->control == CONTROL_REJECTED && ns && find_locked(c, ns, name))
		node = CONTROL_VALUE;
	pthread_mutex_unlock(&c->lock);
	return node;
}

int control_lookup(struct fs *fs, struct inode *dir, struct place *p, const char *name, struct inode **out)
{
	struct inode *new;
	char *ns = NULL;
	int node = 0, r = 0;

	new = inode_new(fs, p, INODE_CONTROL);
	if (!new)
		return LEDGER_ENOMEM;
	r = node_ns(fs, new, &ns);
	if (!r)
		node = node_by_name(fs, dir, ns, name);
	if (!r && !node)
		r = LEDGER_ENOTFOUND;
	if (!r && (node == CONTROL_VALUE || node == CONTROL_BLOB) && !(new->name = strdup(name)))
		r = LEDGER_ENOMEM;
	free(ns);
	if (!r) {
		new->control = node;
		new->kind = is_dir(node) ? LEDGER_DIR : LEDGER_FILE;
		inode_looked_up(fs, new);
		*out = new;
	}
	inode_unref(fs, new);
	return r;
}

int control_stat(struct fs *fs, struct inode *i, struct stat *st)
{
	struct control *c = fs->control;
	struct rejected *rej;
	struct ledger_oid oid;
	uint64_t size;
	char *ns;
	int r = node_ns(fs, i, &ns);

	if (r)
		return r;
	st->st_nlink = 1;
	st->st_mode = !is_dir(i->control)              ? S_IFREG | 0444
		      : i->control == CONTROL_REJECTED ? S_IFDIR | 01777
						       : S_IFDIR | 0555;
	clock_gettime(CLOCK_REALTIME, &st->st_mtim);
	if (i->control == CONTROL_VALUE) {
		pthread_mutex_lock(&c->lock);
		rej = find_locked(c, ns, i->name);
		if (rej) {
			st->st_size = (off_t)ledger_value_size(rej->value);
			st->st_uid = rej->uid;
			st->st_mode = S_IFREG | 0400;
			st->st_mtim = rej->time;
		}
		pthread_mutex_unlock(&c->lock);
		r = rej ? 0 : LEDGER_ENOTFOUND;
	} else if (i->control == CONTROL_BLOB) {
		r = is_told(fs, ns, i->name, &oid) ? ledger_blob_size(fs->ledger, &oid, &size) : LEDGER_ENOTFOUND;
		st->st_size = r ? 0 : (off_t)size;
	}
	st->st_blocks = (st->st_size + 511) / 512;
	st->st_atim = st->st_ctim = st->st_mtim;
	free(ns);
	return r;
}

/* One line for each local file of the namespace, or of all. */
static int scratch_list(struct fs *fs, const char *ns, char **text, size_t *len)
{
	FILE *f = open_memstream(text, len);

	if (!f)
		return LEDGER_ENOMEM;
	pthread_mutex_lock(&fs->lock);
	for (struct local *l = fs->locals; l; l = l->next) {
		if (!l->linked || l->type == LOCAL_GONE || (ns && strcmp(l->place->ns, ns) != 0))
			continue;
		if (ns)
			fprintf(f, "%s\n", l->place->path);
		else
			fprintf(f, "%s/%s\n", l->place->ns, l->place->path);
	}
	pthread_mutex_unlock(&fs->lock);
	return fclose(f) ? LEDGER_ENOMEM : 0;
}

/* Of the namespace, or of all and the mount itself. */
static int stats_text(struct fs *fs, const char *ns, char **text, size_t *len)
{
	char *ledger, *all;
	size_t n;
	int r = ledger_stats_text(fs->ledger, ns, &ledger, &n), k;

	if (r || ns) {
		*text = r ? NULL : ledger;
		*len = n;
		return r;
	}
	k = asprintf(&all,
		     "%s# HELP ledgerfs_expectations Expectations that are armed.\n"
		     "# TYPE ledgerfs_expectations gauge\nledgerfs_expectations %zu\n",
		     ledger, holders_count(fs->holders));
	free(ledger);
	if (k < 0)
		return LEDGER_ENOMEM;
	*text = all;
	*len = (size_t)k;
	return 0;
}

/* The bytes of a file that is made when it is opened. */
static int made_value(struct fs *fs, int node, const char *ns, struct ledger_value **out)
{
	char *text = NULL;
	size_t len = 0;
	int r = node == CONTROL_STATS ? stats_text(fs, ns, &text, &len) : scratch_list(fs, ns, &text, &len);

	if (!r)
		r = ledger_value_new(fs->ledger, text, len, out);
	free(text);
	return r;
}

int control_open(struct fs *fs, struct inode *i, struct ledger_value **out)
{
	struct control *c = fs->control;
	struct rejected *rej;
	struct ledger_oid oid;
	char *ns;
	int r = node_ns(fs, i, &ns);

	if (r)
		return r;
	if (i->control == CONTROL_VALUE) {
		pthread_mutex_lock(&c->lock);
		rej = find_locked(c, ns, i->name);
		if (rej)
			*out = ledger_value_ref(rej->value);
		pthread_mutex_unlock(&c->lock);
		r = rej ? 0 : LEDGER_ENOTFOUND;
	} else if (i->control == CONTROL_BLOB) {
		r = is_told(fs, ns, i->name, &oid) ? ledger_value_get(fs->ledger, &oid, out) : LEDGER_ENOTFOUND;
	} else if (is_dir(i->control)) {
		r = LEDGER_EISDIR;
	} else {
		r = made_value(fs, i->control, ns, out);
	}
	free(ns);
	return r;
}

void control_each(struct fs *fs, struct inode *dir, void (*each)(void *arg, const char *name, bool is_dir), void *arg)
{
	struct control *c = fs->control;
	char *ns;

	if (node_ns(fs, dir, &ns))
		return;
	if (dir->control == CONTROL_DIR) {
		for (size_t n = 0; n < NNODES; n++) {
			if (ns || !nodes[n].below)
				each(arg, nodes[n].name, nodes[n].is_dir);
		}
	} else if (dir->control == CONTROL_REJECTED) {
		pthread_mutex_lock(&c->lock);
		for (struct rejected *r = c->list; r && ns; r = r->next) {
			if (strcmp(r->ns, ns) == 0)
				each(arg, r->name, false);
		}
		pthread_mutex_unlock(&c->lock);
	}
	free(ns);
}

int control_unlink(struct fs *fs, struct inode *dir, const char *name, uid_t uid)
{
	struct control *c = fs->control;
	struct rejected **slot, *dead = NULL;
	char *ns;
	int r;

	if (dir->control != CONTROL_REJECTED)
		return LEDGER_EFORBIDDEN;
	r = node_ns(fs, dir, &ns);
	if (r)
		return r;
	pthread_mutex_lock(&c->lock);
	for (slot = &c->list; *slot; slot = &(*slot)->next) {
		if (ns && strcmp((*slot)->ns, ns) == 0 && strcmp((*slot)->name, name) == 0)
			break;
	}
	r = !*slot ? LEDGER_ENOTFOUND : uid && uid != (*slot)->uid ? LEDGER_EACCES : 0;
	if (!r) {
		dead = *slot;
		*slot = dead->next;
		c->bytes -= ledger_value_size(dead->value);
	}
	pthread_mutex_unlock(&c->lock);
	rejected_free(dead);
	free(ns);
	return r;
}
