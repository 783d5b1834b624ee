/* SPDX-License-Identifier: MIT */
/* References here, and what a remote had when last asked. */
#include "remote.h"
#include "run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_TRIES 8

int ref_read(struct kv *kv, const char *ref, struct ledger_oid *out)
{
	struct ledger_oid oid = {0};
	struct run r;
	int status = 0;

	if (run_git(&r, kv->gitdir, 0, 0,
		    (const char *[]){"rev-parse", "--verify", "--quiet", "--end-of-options", ref, NULL}) == 0) {
		if (ledger_oid_parse(&oid, r.out, strcspn(r.out, "\n")) != 0) {
			say_error("cannot understand what `git rev-parse %s` prints", ref);
			status = KV_IO;
		}
	} else if (r.status != 1) {
		run_complain(&r);
		status = KV_IO;
	}
	run_release(&r);
	if (!status)
		*out = oid;
	return status;
}

bool ref_move(struct kv *kv, const char *ref, const struct ledger_oid *new, const struct ledger_oid *old, char **why)
{
	char n[LEDGER_OID_HEXSIZE + 1], o[LEDGER_OID_HEXSIZE + 1];
	struct run r;
	bool ok;

	/*
	 * git takes an all-zero old value for "must not exist", and an all-zero new one for "delete".  A mount may hold the
	 * ref's lock for longer than the tenth of a second that git waits by itself.
	 */
	ok = run_git(&r, kv->gitdir, 0, 0,
		     (const char *[]){"-c", "core.filesRefLockTimeout=5000", "update-ref", "--no-deref", "-m",
				      "kv: as the remote", ref, ledger_oid_fmt(n, new), ledger_oid_fmt(o, old), NULL}) == 0;
	if (!ok)
		*why = run_reason(&r);
	run_release(&r);
	return ok;
}

bool is_ancestor(struct kv *kv, const struct ledger_oid *a, const struct ledger_oid *b)
{
	char ah[LEDGER_OID_HEXSIZE + 1], bh[LEDGER_OID_HEXSIZE + 1];
	struct run r;
	bool yes;

	if (ledger_oid_eq(a, b))
		return true;
	yes = run_git(&r, kv->gitdir, 0, 0,
		      (const char *[]){"merge-base", "--is-ancestor", ledger_oid_fmt(ah, a), ledger_oid_fmt(bh, b), NULL}) ==
	      0;
	run_release(&r);
	return yes;
}

int track_read(struct kv *kv, const char *remote, const char *ns, struct ledger_oid *out)
{
	char *ref = xasprintf(KV_TRACK "%s/%s", remote, ns);
	int status = ref_read(kv, ref, out);

	free(ref);
	return status;
}

/* The remote has no such ref: neither have we. */
static int forget(struct kv *kv, const char *track, char **why)
{
	struct ledger_oid zero = {0}, old;

	if (ref_read(kv, track, &old) != 0) {
		*why = xasprintf("cannot read %s", track);
		return KV_IO;
	}
	if (ledger_oid_is_zero(&old))
		return 0;
	return ref_move(kv, track, &zero, &old, why) ? 0 : KV_IO;
}

int track_fetch(struct kv *kv, const char *remote, const char *ns, struct ledger_oid *out, char **why)
{
	char *track = xasprintf(KV_TRACK "%s/%s", remote, ns), *spec = xasprintf("+" KV_REFS "%s:%s", ns, track);
	const char *const argv[] = {"fetch",
				    "--quiet",
				    "--no-tags",
				    "--no-write-fetch-head",
				    "--no-auto-maintenance",
				    "--no-recurse-submodules",
				    "--refmap=",
				    "--end-of-options",
				    remote,
				    spec,
				    NULL};
	int status = KV_IO;
	struct run r;

	*why = NULL;
	for (unsigned i = 0; status && i < FETCH_TRIES; i++) {
		free(*why);
		*why = NULL;
		if (run_git(&r, kv->gitdir, 0, 0, argv) == 0) {
			status = 0;
		} else if (strstr(r.err, "couldn't find remote ref")) {
			run_release(&r);
			memset(out, 0, sizeof(*out));
			status = forget(kv, track, why);
			goto out;
		} else {
			*why = run_reason(&r);
			/* Another command of ours in this clone fetches at the same moment: its lock goes soon. */
			if (!strstr(r.err, "cannot lock ref") && !strstr(r.err, "unable to update local ref"))
				i = FETCH_TRIES;
			else
				backoff(i, 10, 500);
		}
		run_release(&r);
	}
	if (!status)
		status = ref_read(kv, track, out);
out:
	free(spec);
	free(track);
	return status;
}

int track_compare(struct kv *kv, const char *remote, const struct ledger_oid *tip, struct ledger_oid *track, uint64_t *ahead,
		  uint64_t *behind)
{
	char th[LEDGER_OID_HEXSIZE + 1], rh[LEDGER_OID_HEXSIZE + 1], range[2 * LEDGER_OID_HEXSIZE + 4];
	int status = track_read(kv, remote, kv->ns, track);
	struct run r;

	if (status || ledger_oid_is_zero(track))
		return status;
	snprintf(range, sizeof(range), "%s...%s", ledger_oid_fmt(th, tip), ledger_oid_fmt(rh, track));
	run_git(&r, kv->gitdir, 0, 0, (const char *[]){"rev-list", "--left-right", "--count", range, NULL});
	if (r.status || sscanf(r.out, "%" SCNu64 " %" SCNu64, ahead, behind) != 2) {
		run_complain(&r);
		status = KV_IO;
	}
	run_release(&r);
	return status;
}
