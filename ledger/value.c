/* SPDX-License-Identifier: MIT */
/* Values: immutable bytes with their name, in memory when small, in a file else. */
#include "hash.h"
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

struct ledger_value {
	atomic_uint refs;
	struct ledger_oid oid;
	uint64_t size;
	/* One of these: */
	void *data;                /* the bytes */
	int fd;                    /* -1, or a file of the bytes */
	struct store_draft *draft; /* NULL, or what it was written into */
	struct stored stored;      /* fd -1, or a pack that has them */
};

static struct ledger_value *value_alloc(uint64_t size, void *data, int fd)
{
	struct ledger_value *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	atomic_init(&v->refs, 1);
	v->size = size;
	v->data = data;
	v->fd = fd;
	v->stored.fd = -1;
	return v;
}

/* Takes `data` or `fd` over, also on failure. */
static int value_wrap(uint64_t size, void *data, int fd, struct ledger_value **out)
{
	struct ledger_value *v = value_alloc(size, data, fd);

	if (v) {
		*out = v;
		return 0;
	}
	free(data);
	if (fd >= 0)
		close(fd);
	return LEDGER_ENOMEM;
}

static int too_big(struct ledger *l)
{
	return ledger_fail(LEDGER_ETOOBIG, "a value has at most %llu bytes", (unsigned long long)l->value_limit);
}

struct ledger_value *ledger_value_ref(struct ledger_value *v)
{
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

void ledger_value_unref(struct ledger_value *v)
{
	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(v->data);
	if (v->fd >= 0)
		close(v->fd);
	if (v->stored.fd >= 0)
		close(v->stored.fd);
	store_draft_unref(v->draft);
	free(v);
}

uint64_t ledger_value_size(const struct ledger_value *v)
{
	return v->size;
}

const struct ledger_oid *ledger_value_oid(const struct ledger_value *v)
{
	return &v->oid;
}

const void *ledger_value_data(const struct ledger_value *v)
{
	return v->data;
}

struct store_draft *value_draft(const struct ledger_value *v)
{
	return v->draft;
}

ssize_t ledger_value_pread(const struct ledger_value *v, void *buf, size_t len, uint64_t off)
{
	if (off >= v->size)
		return 0;
	if (len > v->size - off)
		len = v->size - off;
	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	if (v->data) {
		memcpy(buf, (char *)v->data + off, len);
		return (ssize_t)len;
	}
	if (v->draft) {
		struct stored b = store_draft_stored(v->draft);

		return store_stored_pread(&b, buf, len, off);
	}
	if (v->stored.fd >= 0)
		return store_stored_pread(&v->stored, buf, len, off);
	for (;;) {
		ssize_t n = pread(v->fd, buf, len, (off_t)off);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return ledger_fail_errno(errno, "cannot read a value");
	}
}

/* --- new ones ------------------------------------------------------------------------------------------------------- */

static int value_copy(struct ledger *l, const void *data, size_t len, struct ledger_value **out)
{
	struct ledger_value *v = NULL;
	void *copy;
	int rc;

	if (len > l->value_limit)
		return too_big(l);
	copy = malloc(len + 1);
	if (!copy)
		return LEDGER_ENOMEM;
	if (len)
		memcpy(copy, data, len);
	rc = value_wrap(len, copy, -1, &v);
	if (!rc)
		rc = hash_object(STORE_BLOB, v->data, v->size, &v->oid);
	if (!rc)
		*out = v;
	else
		ledger_value_unref(v);
	return rc;
}

int ledger_value_new(struct ledger *l, const void *data, size_t len, struct ledger_value **out)
{
	int rc;

	ledger_error_clear();
	rc = value_copy(l, data, len, out);
	LEAVE(rc, "len=%zu", len);
	return rc;
}

/* Copies the value to the draft in pieces. */
static int copy_to(struct ledger_value *v, struct ledger_draft *d)
{
	enum { PIECE = 1 << 18 };
	char *buf;
	int rc = 0;

	if (v->data)
		return ledger_draft_pwrite(d, v->data, (size_t)v->size, ledger_draft_size(d));
	buf = malloc(PIECE);
	if (!buf)
		return LEDGER_ENOMEM;
	for (uint64_t off = 0; !rc && off < v->size;) {
		ssize_t n = ledger_value_pread(v, buf, PIECE, off);

		if (n <= 0) {
			rc = n < 0 ? (int)n : ledger_fail(LEDGER_EIO, "a value is shorter than it says");
			break;
		}
		rc = ledger_draft_pwrite(d, buf, (size_t)n, ledger_draft_size(d));
		off += (uint64_t)n;
	}
	free(buf);
	return rc;
}

static int concat_in_memory(struct ledger_value *a, struct ledger_value *b, struct ledger_value **out)
{
	struct ledger_value *v;
	char *data = malloc((size_t)(a->size + b->size) + 1);
	int rc;

	if (!data)
		return LEDGER_ENOMEM;
	memcpy(data, a->data, (size_t)a->size);
	memcpy(data + a->size, b->data, (size_t)b->size);
	rc = value_wrap(a->size + b->size, data, -1, &v);
	if (rc)
		return rc;
	rc = hash_object(STORE_BLOB, v->data, v->size, &v->oid);
	if (!rc)
		*out = v;
	else
		ledger_value_unref(v);
	return rc;
}

int value_concat(struct ledger *l, struct ledger_value *a, struct ledger_value *b, struct ledger_value **out)
{
	struct ledger_draft *d;
	int rc;

	if (a->size > l->value_limit - b->size)
		return too_big(l);
	if (a->data && b->data && a->size + b->size <= VALUE_IN_MEMORY)
		return concat_in_memory(a, b, out);
	rc = ledger_draft_new(l, &d);
	if (rc)
		return rc;
	rc = copy_to(a, d);
	if (!rc)
		rc = copy_to(b, d);
	if (!rc)
		rc = ledger_draft_value(d, out);
	ledger_draft_free(d);
	return rc;
}

int value_from_draft(struct store_draft *d, const struct ledger_oid *oid, struct ledger_value **out)
{
	struct ledger_value *v;
	int rc = value_wrap(store_draft_stored(d).size, NULL, -1, &v);

	if (rc)
		return rc;
	v->oid = *oid;
	v->draft = store_draft_ref(d);
	*out = v;
	return 0;
}

/* --- committed ones ------------------------------------------------------------------------------------------------- */

static int blob_header(struct ledger *l, const struct ledger_oid *oid, uint64_t *size)
{
	enum store_type type;
	char hex[LEDGER_OID_HEXSIZE + 1];
	int rc = store_read_header(l->store, oid, &type, size);

	if (!rc && type != STORE_BLOB)
		rc = ledger_fail(LEDGER_ECORRUPT, "object %s is not a blob", ledger_oid_fmt(hex, oid));
	return rc;
}

int blob_size(struct ledger *l, const struct ledger_oid *oid, uint64_t *out)
{
	uint64_t size;
	int rc = 0;

	if (!oidcache_get(l->sizes, oid, &size)) {
		rc = blob_header(l, oid, &size);
		if (!rc)
			oidcache_put(l->sizes, oid, &size);
	}
	if (!rc)
		*out = size;
	return rc;
}

int ledger_blob_size(struct ledger *l, const struct ledger_oid *oid, uint64_t *out)
{
	int rc;

	ledger_error_clear();
	rc = blob_size(l, oid, out);
	LEAVE(rc, "%s", TRACE_OID(oid));
	return rc;
}

/* A large one: where its pack has it, or else spooled. */
static int load_large(struct ledger *l, const struct ledger_oid *oid, uint64_t size, struct ledger_value **out)
{
	struct stored b;
	int fd, rc = store_read_stored(l->store, oid, &b);

	if (!rc && b.size == size) {
		rc = value_wrap(size, NULL, -1, out);
		if (rc)
			close(b.fd);
		else
			(*out)->stored = b;
		return rc;
	}
	if (!rc)
		close(b.fd);
	fd = spool_open(l);
	if (fd < 0)
		return fd;
	rc = store_read_to(l->store, oid, fd);
	if (!rc)
		return value_wrap(size, NULL, fd, out);
	close(fd);
	return rc;
}

int value_load(struct ledger *l, const struct ledger_oid *oid, struct ledger_value **out)
{
	struct store_buf b;
	uint64_t size;
	int rc = blob_header(l, oid, &size);

	if (rc)
		return rc;
	if (size <= VALUE_IN_MEMORY) {
		rc = store_read(l->store, oid, STORE_BLOB, NULL, &b);
		if (!rc)
			rc = value_wrap(b.len, b.data, -1, out);
	} else {
		rc = load_large(l, oid, size, out);
	}
	if (!rc)
		(*out)->oid = *oid;
	return rc;
}

int ledger_value_get(struct ledger *l, const struct ledger_oid *oid, struct ledger_value **out)
{
	struct ledger_value *v;
	int rc;

	ledger_error_clear();
	rc = value_load(l, oid, &v);
	if (!rc)
		*out = v;
	LEAVE(rc, "%s", TRACE_OID(oid));
	return rc;
}
