/* SPDX-License-Identifier: MIT */
/*
 * An expectation of a key is about its name (SPEC 6.1), a handle follows its file (SPEC 5.2).  When somebody renames the
 * file, its handles take the expectation along: what they save must find the expected value under the new name, or two
 * writers could win against one state.
 *
 * It is noted before the rename's own commit, which moves the expectation of the renamer on (the old name is absent then).
 */
#include "carry.h"

static void note_locked(struct fs *fs, struct session *s, const char *ns, const char *path)
{
	struct holder_who who = {.chain = s->chain};
	struct holder_set set;

	s->noted = true;
	s->noted_guard = (struct carried){0};
	if (!s->chain || holders_peek(fs->holders, ns, &path, 1, &who, &set))
		return;
	for (size_t i = 0; i < set.n; i++) {
		if (set.expects[i].path)
			s->noted_guard =
				(struct carried){.there = true, .what = set.expects[i].what, .blob = set.expects[i].oid};
	}
}

void carry_note(struct fs *fs, const char *ns, const char *path)
{
	pthread_mutex_lock(&fs->lock);
	for (size_t i = 0; i < fs->ntable; i++) {
		for (struct place *p = fs->table[i]; p; p = p->next) {
			if (!p->sessions || strcmp(p->ns, ns) != 0 || !path_below(path, p->path))
				continue;
			for (struct session *s = p->sessions; s; s = s->next)
				note_locked(fs, s, p->ns, p->path);
		}
	}
	pthread_mutex_unlock(&fs->lock);
}

void carry_nothing(struct session *s)
{
	pthread_mutex_lock(&s->fs->lock);
	s->noted = true;
	s->noted_guard = (struct carried){0};
	pthread_mutex_unlock(&s->fs->lock);
}

void carry_take_locked(struct fs *fs, struct place *p)
{
	for (struct session *s = p->sessions; s; s = s->next) {
		if (!s->noted) /* opened since */
			note_locked(fs, s, p->ns, p->path);
		if (!s->guard.there)
			s->guard = s->noted_guard;
		s->noted = false;
	}
}

bool carry_get(struct session *s, const char *path, struct ledger_expect *e)
{
	bool there;

	pthread_mutex_lock(&s->fs->lock);
	there = s->guard.there;
	*e = (struct ledger_expect){.what = s->guard.what, .path = path, .oid = s->guard.blob};
	pthread_mutex_unlock(&s->fs->lock);
	return there;
}

void carry_move_on(struct session *s, const struct ledger_oid *blob)
{
	pthread_mutex_lock(&s->fs->lock);
	s->guard.what = LEDGER_EXPECT_BLOB;
	s->guard.blob = *blob;
	pthread_mutex_unlock(&s->fs->lock);
}
