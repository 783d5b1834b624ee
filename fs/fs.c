/* SPDX-License-Identifier: MIT */
/* The face as a whole: made, attached, shut down. */
#include "control.h"
#include "local.h"
#include "ops.h"
#include "revalidate.h"
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#define VALUE_LIMIT (1ULL << 40)

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	/* Write handles have inodes of their own: the kernel may truncate them by itself. */
	conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_LOCKS |
				       FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_ASYNC_READ);
	/* Write-back would delay and merge what must be judged at the write; versions never need invalidation. */
	conn->want &=
		~(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.getlk = op_getlk,
	.setlk = op_setlk,
	.flock = op_flock,
};

const struct fuse_lowlevel_ops *fs_ops(void)
{
	return &ops;
}

static int make_parts(struct fs *fs)
{
	if (proctree_new(&fs->procs) || holders_new(&fs->holders, fs->procs) || outcomes_new(&fs->outcomes, fs->procs) ||
	    locks_new(&fs->locks) || classify_new(&fs->classify))
		return LEDGER_ENOMEM;
	if (ledger_config_each(fs->ledger, "kv.scratch", classify_scratch, fs->classify) < 0 ||
	    ledger_config_each(fs->ledger, "kv.passing", classify_passing, fs->classify) < 0)
		log_line("kv.scratch or kv.passing cannot be read: %s", ledger_errmsg());
	fs->root.place = place_get(fs, NULL, "");
	return fs->root.place ? control_new(fs) : LEDGER_ENOMEM;
}

int fs_new(struct fs **out, struct ledger *l, const struct fs_options *o)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int r;

	if (!fs)
		return LEDGER_ENOMEM;
	fs->ledger = l;
	fs->opts = o;
	fs->readonly = ledger_is_readonly(l);
	fs->max_size = o->ledger.value_limit ? o->ledger.value_limit : VALUE_LIMIT;
	atomic_store(&fs->mnt_id, -1);
	clock_gettime(CLOCK_REALTIME, &fs->born);
	pthread_mutex_init(&fs->lock, NULL);
	for (size_t i = 0; i < sizeof(fs->dirs) / sizeof(fs->dirs[0]); i++)
		rwlock_init(&fs->dirs[i]);
	fs->root.type = INODE_ROOT;
	fs->root.kind = LEDGER_DIR;
	fs->root.ino = FUSE_ROOT_ID;
	r = make_parts(fs);
	if (r) {
		fs_free(fs);
		return r;
	}
	*out = fs;
	return 0;
}

void fs_attach(struct fs *fs, struct fuse_session *se)
{
	fs->se = se;
	if (local_start(fs))
		log_line("no thread for passing files: they are committed at unmount");
	if (revalidate_start(fs))
		log_line("no thread for locks: handles stay with the value that they were opened on");
}

void fs_learn_device(struct fs *fs)
{
	struct statx st;
	dev_t dev;

	if (atomic_load(&fs->dev))
		return;
	/* Without asking the mount itself, which would be a request to us. */
	if (statx(AT_FDCWD, fs->opts->mountpoint, AT_STATX_DONT_SYNC, STATX_TYPE, &st))
		return;
	dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	atomic_store(&fs->mnt_id, proc_mount_id(dev));
	atomic_store(&fs->dev, dev);
}

/* What is still open and unsaved is named; the bytes are the writer's loss, who never closed. */
static void name_unsaved(struct fs *fs)
{
	pthread_mutex_lock(&fs->lock);
	for (size_t n = 0; n < fs->ntable; n++) {
		for (struct place *p = fs->table[n]; p; p = p->next) {
			for (struct session *s = p->sessions; s; s = s->next) {
				if (s->opens && s->dirty && !s->error && !atomic_load(&s->detached))
					log_line("%s/%s: open and not saved at the unmount", p->ns, p->path);
			}
		}
	}
	pthread_mutex_unlock(&fs->lock);
}

void fs_shutdown(struct fs *fs)
{
	local_stop(fs);
	locks_stop(fs->locks, ENOTCONN); /* EINTR without a signal: the kernel would hand ERESTARTSYS to the program */
	revalidate_stop(fs);
	name_unsaved(fs);
}

/*
 * The kernel forgets nothing at an unmount: all inodes that are left end here, and their places with the last reference.  A
 * place without inodes stays: a session of another one may be saved under its name, and lets go of it when that one ends.
 */
static void free_chain(struct fs *fs, struct place **chain)
{
	struct place *p;

	for (;;) {
		for (p = *chain; p && !p->inodes; p = p->next)
			;
		if (!p)
			return;
		pthread_mutex_lock(&fs->lock);
		place_ref_locked(p);
		pthread_mutex_unlock(&fs->lock);
		inode_abandon(fs, p->inodes);
		place_unref(fs, p);
	}
}

static void free_inodes(struct fs *fs)
{
	redirects_free(fs);
	for (size_t n = 0; n < fs->ntable; n++)
		free_chain(fs, &fs->table[n]);
	free_chain(fs, &fs->nameless);
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	files_free(fs);
	dirs_free(fs);
	place_unref(fs, fs->root.place);
	free_inodes(fs);
	control_free(fs);
	times_free(fs);
	free(fs->table);
	classify_free(fs->classify);
	locks_free(fs->locks);
	outcomes_free(fs->outcomes);
	holders_free(fs->holders);
	proctree_free(fs->procs);
	for (size_t i = 0; i < sizeof(fs->dirs) / sizeof(fs->dirs[0]); i++)
		pthread_rwlock_destroy(&fs->dirs[i]);
	pthread_mutex_destroy(&fs->lock);
	free(fs);
}
