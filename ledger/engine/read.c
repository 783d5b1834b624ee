/* SPDX-License-Identifier: MIT */
/* Reading: what is acknowledged and in memory first, then the repository as every git sees it. */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BIG (8u << 20) /* blobs from here on are not taken into memory to be streamed */

int store_ref_read(struct store *s, const char *ref, struct ledger_oid *out)
{
	struct held *h;

	/* While the window holds the ref's lock nobody else can have moved it. */
	pthread_mutex_lock(&s->mu);
	h = held_find(s, ref);
	if (h && h->in_window) {
		*out = h->tip;
		pthread_mutex_unlock(&s->mu);
		return 0;
	}
	pthread_mutex_unlock(&s->mu);
	return refs_read(&s->refs, ref, out);
}

int store_ref_each(struct store *s, const char *prefix, int (*each)(void *arg, const char *ref), void *arg)
{
	struct ref_names names = {0};
	int r;

	/* Refs that come or go are published before they are acknowledged: the disk has all names. */
	r = refs_list(&s->refs, prefix, &names);
	for (size_t i = 0; i < names.n && !r; i++)
		r = each(arg, names.names[i]);
	ref_names_release(&names);
	return r;
}

/* The object in memory, with a reference to its generation; NULL: not there. */
static struct obj *find(struct store *s, const struct ledger_oid *oid, struct gen **gen)
{
	struct obj *o;

	pthread_mutex_lock(&s->mu);
	*gen = s->cur;
	o = gen_find(s->cur, oid);
	if (!o && s->frozen) {
		*gen = s->frozen;
		o = gen_find(s->frozen, oid);
	}
	if (o)
		gen_ref(*gen);
	pthread_mutex_unlock(&s->mu);
	return o;
}

static int odb_code(int err, const struct ledger_oid *oid)
{
	const git_error *e = git_error_last();
	char hex[LEDGER_OID_HEXSIZE + 1];
	int code = LEDGER_ECORRUPT;

	ledger_oid_fmt(hex, oid);
	if (err == GIT_ENOTFOUND)
		return ledger_fail(LEDGER_ENOTFOUND, "object %s is not there", hex);
	if (e && e->klass == GIT_ERROR_OS)
		code = LEDGER_EIO;
	else if (e && e->klass == GIT_ERROR_NOMEMORY)
		code = LEDGER_ENOMEM;
	return ledger_fail(code, "object %s: %s", hex, e ? e->message : "cannot be read");
}

static int wrong_type(const struct ledger_oid *oid, enum store_type want, int got)
{
	char hex[LEDGER_OID_HEXSIZE + 1];

	return ledger_fail(LEDGER_ECORRUPT, "object %s is a %s, not a %s", ledger_oid_fmt(hex, oid),
			   git_object_type2string((git_object_t)got), object_type_name(want));
}

static int read_odb(struct store *s, const struct ledger_oid *oid, enum store_type type, enum store_type *got,
		    struct store_buf *out)
{
	git_odb_object *obj = NULL;
	size_t len;
	void *data;
	int err, r = 0;

	err = odb_read(s, &obj, oid);
	if (err < 0)
		return odb_code(err, oid);
	len = git_odb_object_size(obj);
	if (type && (int)type != (int)git_odb_object_type(obj)) {
		r = wrong_type(oid, type, git_odb_object_type(obj));
	} else if (!(data = io_malloc(len + 1))) {
		r = LEDGER_ENOMEM;
	} else {
		memcpy(data, git_odb_object_data(obj), len);
		((char *)data)[len] = 0;
		out->data = data;
		out->len = len;
		if (got)
			*got = (enum store_type)git_odb_object_type(obj);
	}
	git_odb_object_free(obj);
	return r;
}

int store_read(struct store *s, const struct ledger_oid *oid, enum store_type type, enum store_type *got,
	       struct store_buf *out)
{
	struct gen *gen;
	struct obj *o = find(s, oid, &gen);
	void *data;
	int r;

	if (!o)
		return read_odb(s, oid, type, got, out);
	if (type && o->type != type)
		r = wrong_type(oid, type, o->type);
	else
		r = obj_whole(o, &data);
	if (!r) {
		out->data = data;
		out->len = o->len;
		if (got)
			*got = (enum store_type)o->type;
	}
	gen_unref(gen);
	return r;
}

int store_read_header(struct store *s, const struct ledger_oid *oid, enum store_type *type, uint64_t *size)
{
	struct gen *gen;
	struct obj *o = find(s, oid, &gen);
	git_object_t t;
	size_t len;
	int err;

	if (o) {
		*type = (enum store_type)o->type;
		*size = o->len;
		gen_unref(gen);
		return 0;
	}
	err = odb_read_header(s, &len, &t, oid);
	if (err < 0)
		return odb_code(err, oid);
	*type = (enum store_type)t;
	*size = len;
	return 0;
}

static int write_fd(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ledger_fail(io_code(errno), "a value cannot be spooled: %s", strerror(errno));
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int store_read_stored(struct store *s, const struct ledger_oid *oid, struct stored *out)
{
	return bigread_stored(s, oid, out);
}

int store_read_to(struct store *s, const struct ledger_oid *oid, int fd)
{
	struct store_buf buf;
	enum store_type type;
	uint64_t size;
	int r;

	r = store_read_header(s, oid, &type, &size);
	if (r < 0)
		return r;
	if (type != STORE_BLOB)
		return wrong_type(oid, STORE_BLOB, type);
	if (size >= BIG) {
		r = bigread_to(s, oid, fd);
		if (r != LEDGER_ENOTFOUND)
			return r;
	}
	/* Small, or a delta in somebody's pack, which no library streams. */
	r = store_read(s, oid, STORE_BLOB, NULL, &buf);
	if (r < 0)
		return r;
	r = write_fd(fd, buf.data, buf.len);
	free(buf.data);
	return r;
}
