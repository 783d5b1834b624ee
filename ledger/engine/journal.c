/* SPDX-License-Identifier: MIT */
#include "journal.h"

#include "../fail.h"
#include "io.h"
#include "sha.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEG_MAGIC "LFSJOURN"
#define SEG_HEAD 4096
#define SEG_USED 64 /* of the head; then its crc */
#define REC_MAGIC 0x3152464cu
#define REC_HEAD 32

void record_begin(struct record *r)
{
	r->len = REC_HEAD;
	r->failed = !io_grow((void **)&r->buf, &r->cap, REC_HEAD, 1);
}

void record_release(struct record *r)
{
	free(r->buf);
	memset(r, 0, sizeof(*r));
}

/* Room for an item, NULL without memory. */
static unsigned char *item(struct record *r, size_t len)
{
	unsigned char *p;

	if (!r->failed && (r->len + len > UINT32_MAX || !io_grow((void **)&r->buf, &r->cap, r->len + len, 1)))
		r->failed = true;
	if (r->failed)
		return NULL;
	p = r->buf + r->len;
	r->len += len;
	return p;
}

void record_object(struct record *r, enum store_type type, const struct ledger_oid *oid, const void *data, size_t len)
{
	unsigned char *p = item(r, 26 + len);

	if (!p)
		return;
	p[0] = 'O';
	p[1] = (unsigned char)type;
	memcpy(p + 2, oid->id, 20);
	put_le32(p + 22, (uint32_t)len);
	if (len)
		memcpy(p + 26, data, len);
}

void record_splice(struct record *r, const struct ledger_oid *oid, const struct ledger_oid *base, size_t len, size_t off,
		   size_t del, const void *ins, size_t inslen)
{
	unsigned char *p = item(r, 69 + inslen);

	if (!p)
		return;
	p[0] = 'T';
	memcpy(p + 1, oid->id, 20);
	memcpy(p + 21, base->id, 20);
	put_le64(p + 41, len);
	put_le64(p + 49, off);
	put_le64(p + 57, del);
	put_le32(p + 65, (uint32_t)inslen);
	if (inslen)
		memcpy(p + 69, ins, inslen);
}

void record_large(struct record *r, const struct ledger_oid *oid, uint64_t size)
{
	unsigned char *p = item(r, 29);

	if (!p)
		return;
	p[0] = 'L';
	memcpy(p + 1, oid->id, 20);
	put_le64(p + 21, size);
}

static unsigned char *put_string(unsigned char *p, const char *s, size_t len)
{
	p[0] = (unsigned char)len;
	p[1] = (unsigned char)(len >> 8);
	memcpy(p + 2, s, len);
	p[2 + len] = 0;
	return p + len + 3;
}

void record_move(struct record *r, const char *ref, const struct ledger_oid *from, const struct ledger_oid *to,
		 const char *why, bool early)
{
	size_t rl = strlen(ref), wl = strnlen(why, 1024);
	unsigned char *p = item(r, 41 + rl + wl + 6);

	if (!p)
		return;
	p[0] = early ? 'R' : 'S';
	memcpy(p + 1, from->id, 20);
	memcpy(p + 21, to->id, 20);
	put_string(put_string(p + 41, ref, rl), why, wl);
}

void record_abort(struct record *r, uint64_t seq)
{
	unsigned char *p = item(r, 9);

	if (!p)
		return;
	p[0] = 'A';
	put_le64(p + 1, seq);
}

void journal_boot(char out[40])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(out, 0, 40);
	if (fd < 0)
		return;
	/* Without it every boot looks like another one: the careful case. */
	if (read(fd, out, 36) != 36)
		memset(out, 0, 40);
	close(fd);
}

static void seg_path(char out[48], const char *dir, const char *name)
{
	snprintf(out, 48, "%s/%s", dir, name);
}

static const char *const seg_names[2] = {"journal.0", "journal.1"};

static void seg_head(const struct journal *j, unsigned char head[SEG_USED + 4])
{
	memset(head, 0, SEG_USED + 4);
	memcpy(head, SEG_MAGIC, 8);
	put_le32(head + 8, JOURNAL_VERSION);
	put_le32(head + 12, j->segment);
	put_le64(head + 16, j->owner);
	journal_boot((char *)head + 24);
	put_le32(head + SEG_USED, crc_update(0, head, SEG_USED));
}

enum { STEP = 256 << 10 };

/* One segment of zeros with a head, on the disk under a name that is no journal's yet. */
static int seg_create(struct journal *j, const char *path, int i)
{
	unsigned char *zeros = io_calloc(1, STEP);
	off_t off;

	if (!zeros)
		return LEDGER_ENOMEM;
	io_unlink(j->dirfd, path);
	j->fd[i] = io_open(j->dirfd, path, O_RDWR | O_CREAT | O_EXCL, 0666);
	for (off = 0; j->fd[i] >= 0 && off < j->size[i]; off += STEP) {
		if (off == 0) {
			j->segment++;
			seg_head(j, zeros);
		}
		if (io_pwrite(j->fd[i], zeros, STEP, off) < 0)
			break;
		if (off == 0)
			memset(zeros, 0, SEG_USED + 4);
	}
	free(zeros);
	if (j->fd[i] < 0 || off < j->size[i] || (j->sync && io_fsync(j->fd[i]) < 0))
		return ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	return 0;
}

int journal_create(struct journal *j, int dirfd, const char *dir, uint64_t owner, off_t size, bool sync)
{
	char path[2][48], final[48];
	int r = 0;

	memset(j, 0, sizeof(*j));
	j->dirfd = dirfd;
	snprintf(j->dir, sizeof(j->dir), "%s", dir);
	j->owner = owner;
	j->fd[0] = j->fd[1] = -1;
	j->size[0] = j->size[1] = size;
	j->sync = sync;
	for (int i = 0; i < 2 && !r; i++) {
		seg_path(path[i], dir, i ? "new.1" : "new.0");
		r = seg_create(j, path[i], i);
	}
	/* The older last: a journal of segment 2 alone is one of which nothing was written yet. */
	for (int i = 1; i >= 0 && !r; i--) {
		seg_path(final, dir, seg_names[i]);
		if (io_rename(dirfd, path[i], final) < 0)
			r = ledger_fail(io_code(errno), "%s: %s", final, strerror(errno));
	}
	if (!r && sync)
		r = io_sync_names(dirfd, dir);
	if (!r && sync)
		r = io_sync_names(dirfd, "kv");
	if (r < 0) {
		journal_close(j);
		journal_remove(dirfd, dir);
		return r;
	}
	j->cur = 1;
	j->off = SEG_HEAD;
	return 0;
}

void journal_close(struct journal *j)
{
	for (int i = 0; i < 2; i++) {
		if (j->fd[i] >= 0)
			io_close(j->fd[i]);
		j->fd[i] = -1;
	}
}

/* The segment's number as its head has it; 0: not to be read, so it tells of nothing. */
static uint32_t seg_number(int dirfd, const char *dir, const char *name)
{
	unsigned char head[SEG_USED + 4];
	char path[48];
	bool good;
	int fd;

	seg_path(path, dir, name);
	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	good = pread(fd, head, sizeof(head), 0) == sizeof(head) &&
	       get_le32(head + SEG_USED) == crc_update(0, head, SEG_USED);
	close(fd);
	return good ? get_le32(head + 12) : 0;
}

int journal_remove(int dirfd, const char *dir)
{
	bool swap = seg_number(dirfd, dir, seg_names[0]) > seg_number(dirfd, dir, seg_names[1]);
	const char *const names[] = {"new.0", "new.1", seg_names[swap], seg_names[!swap]};
	char path[48];
	int r = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !r; i++) {
		seg_path(path, dir, names[i]);
		if (io_unlink(dirfd, path) < 0 && errno != ENOENT)
			r = ledger_fail(io_code(errno), "%s: %s", path, strerror(errno));
	}
	return r;
}

int journal_write(struct journal *j, struct record *r)
{
	int fd = j->fd[j->cur], err;

	if (r->failed)
		return LEDGER_ENOMEM;
	put_le32(r->buf, REC_MAGIC);
	put_le32(r->buf + 4, (uint32_t)r->len);
	put_le32(r->buf + 12, j->segment);
	put_le64(r->buf + 16, j->seq + 1);
	put_le64(r->buf + 24, j->done);
	put_le32(r->buf + 8, crc_update(0, r->buf + 12, r->len - 12));
	if (io_pwrite(fd, r->buf, r->len, j->off) < 0) {
		/* Not all of it is there, so it has no right checksum; the next record takes its place. */
		err = errno;
		return ledger_fail(io_code(err), "%s: journal: %s", j->dir, strerror(err));
	}
	if (j->sync && io_fdatasync(fd) < 0)
		return ledger_fail(LEDGER_EDEAD, "%s: journal: fdatasync: %s", j->dir, strerror(errno));
	j->off += (off_t)r->len;
	j->seq++;
	return 0;
}

int journal_switch(struct journal *j)
{
	unsigned char head[SEG_USED + 4];
	int other = !j->cur;

	j->segment++;
	seg_head(j, head);
	/* Synced along with the first record, which does not count without it and which alone makes it needed. */
	if (io_pwrite(j->fd[other], head, sizeof(head), 0) < 0) {
		j->segment--;
		return ledger_fail(io_code(errno), "%s: journal: %s", j->dir, strerror(errno));
	}
	j->cur = other;
	j->off = SEG_HEAD;
	return 0;
}

void journal_extend(struct journal *j, off_t size)
{
	int other = !j->cur;
	struct stat st;
	char *zeros;
	off_t off;

	/* Behind what is there, also behind records that outgrew it. */
	if (j->size[other] >= size || fstat(j->fd[other], &st) < 0)
		return;
	zeros = io_calloc(1, STEP);
	if (!zeros)
		return;
	for (off = st.st_size; off < size; off += STEP)
		if (io_pwrite(j->fd[other], zeros, STEP, off) < 0)
			break;
	free(zeros);
	if (off >= size && (!j->sync || io_fsync(j->fd[other]) == 0))
		j->size[other] = size;
}

static int load_seg(struct journal_image *im, int dirfd, const char *dir, const char *name)
{
	unsigned char *data;
	char path[48];
	void *file;
	size_t len;
	int i = im->n;

	seg_path(path, dir, name);
	if (io_read_file(dirfd, path, &file, &len) < 0)
		return errno == ENOENT
			       ? 0
			       : ledger_fail(errno == ENOMEM ? LEDGER_ENOMEM : LEDGER_EIO, "%s: %s", path, strerror(errno));
	data = file;
	if (len < SEG_HEAD || memcmp(data, SEG_MAGIC, 8) != 0 || get_le32(data + 8) != JOURNAL_VERSION) {
		free(data);
		return ledger_fail(LEDGER_EREPO, "%s: a journal of a format that this program does not know", path);
	}
	if (get_le32(data + SEG_USED) != crc_update(0, data, SEG_USED)) {
		/* Torn while the segment was taken up again: nothing in it was acknowledged. */
		free(data);
		return 0;
	}
	im->data[i] = data;
	im->len[i] = len;
	im->segment[i] = get_le32(data + 12);
	memcpy(im->boot, data + 24, 39);
	im->n++;
	return 0;
}

int journal_load(struct journal_image *im, int dirfd, const char *dir)
{
	int r;

	memset(im, 0, sizeof(*im));
	r = load_seg(im, dirfd, dir, seg_names[0]);
	if (!r)
		r = load_seg(im, dirfd, dir, seg_names[1]);
	if (r < 0) {
		journal_unload(im);
		return r;
	}
	if (im->n == 2 && im->segment[0] > im->segment[1]) {
		unsigned char *d = im->data[0];
		size_t len = im->len[0];
		uint32_t seg = im->segment[0];

		im->data[0] = im->data[1];
		im->len[0] = im->len[1];
		im->segment[0] = im->segment[1];
		im->data[1] = d;
		im->len[1] = len;
		im->segment[1] = seg;
	}
	return 0;
}

void journal_unload(struct journal_image *im)
{
	free(im->data[0]);
	free(im->data[1]);
	memset(im, 0, sizeof(*im));
}

/* A move's two strings; false when they run over the record's end. */
static bool get_string(const unsigned char **p, const unsigned char *end, const char **out)
{
	size_t len;

	if (end - *p < 3)
		return false;
	len = (size_t)((*p)[0] | (*p)[1] << 8);
	if ((size_t)(end - *p) < len + 3 || (*p)[2 + len] != 0)
		return false;
	*out = (const char *)*p + 2;
	*p += len + 3;
	return true;
}

/* One item at *p; moves *p on.  ECORRUPT: not an item. */
static int replay_item(const struct journal_reader *rd, const unsigned char **p, const unsigned char *end)
{
	const unsigned char *q = *p;
	size_t room = (size_t)(end - q), len;
	struct ledger_oid a, b;

	if (q[0] == 'O' && room >= 26 && (len = get_le32(q + 22)) <= room - 26) {
		*p += 26 + len;
		memcpy(a.id, q + 2, 20);
		return rd->object(rd->arg, q[1], &a, q + 26, len);
	}
	if (q[0] == 'T' && room >= 69 && (len = get_le32(q + 65)) <= room - 69) {
		*p += 69 + len;
		memcpy(a.id, q + 1, 20);
		memcpy(b.id, q + 21, 20);
		return rd->splice(rd->arg, &a, &b, get_le64(q + 41), get_le64(q + 49), get_le64(q + 57), q + 69, len);
	}
	if (q[0] == 'L' && room >= 29) {
		*p += 29;
		memcpy(a.id, q + 1, 20);
		return rd->large(rd->arg, &a, get_le64(q + 21));
	}
	if ((q[0] == 'R' || q[0] == 'S') && room >= 41) {
		const char *name, *why;

		memcpy(a.id, q + 1, 20);
		memcpy(b.id, q + 21, 20);
		*p += 41;
		if (get_string(p, end, &name) && get_string(p, end, &why))
			return rd->move(rd->arg, name, &a, &b, q[0] == 'R');
	}
	if (q[0] == 'A' && room >= 9) {
		*p += 9;
		return rd->abort(rd->arg, get_le64(q + 1));
	}
	return ledger_fail(LEDGER_ECORRUPT, "a journal record has an item of unknown kind");
}

int journal_replay(const struct journal_image *im, const struct journal_reader *rd)
{
	uint64_t seq = 0;

	for (int i = 0; i < im->n; i++) {
		const unsigned char *p = im->data[i] + SEG_HEAD, *end = im->data[i] + im->len[i];

		while (end - p >= REC_HEAD && get_le32(p) == REC_MAGIC) {
			size_t len = get_le32(p + 4);
			const unsigned char *q = p + REC_HEAD, *stop = p + len;
			int r;

			if (len < REC_HEAD || len > (size_t)(end - p) || get_le32(p + 12) != im->segment[i] ||
			    get_le32(p + 8) != crc_update(0, p + 12, len - 12))
				break;
			if (seq && get_le64(p + 16) != seq + 1)
				return ledger_fail(LEDGER_ECORRUPT, "the journal has a gap after record %llu",
						   (unsigned long long)seq);
			seq = get_le64(p + 16);
			r = rd->record(rd->arg, seq, get_le64(p + 24));
			while (!r && q < stop)
				r = replay_item(rd, &q, stop);
			if (r)
				return r;
			p = stop;
		}
	}
	return 0;
}
