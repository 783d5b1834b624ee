/* SPDX-License-Identifier: MIT */
/* A recovery at work: recover.c finds the dead and tidies up, replay.c reads their journals, reclaim.c moves their refs. */
#ifndef LEDGER_ENGINE_RECOVER_H
#define LEDGER_ENGINE_RECOVER_H

#include "engine.h"

struct move {
	char *ref;
	struct ledger_oid from, to;
	bool early; /* somebody may have been told of it before the ref moved */
};

struct dead {
	struct owner owner;
	struct journal_image image;
	uint64_t done, newest;
	uint64_t *aborted;
	size_t naborted, abortcap;
	struct move *moves;
	size_t nmoves, movecap;
	bool loaded;
};

struct recovery {
	struct store *s;
	struct gen *gen;
	struct dead *dead;
	size_t n, cap;
	/* while replaying: */
	struct dead *now;
	bool skip;      /* the record is done, or was taken back */
	uint64_t seq;   /* of the record */
	size_t commits; /* replayed */
};

/* Reads the journals of all dead into memory: their objects, each checked, and their moves. */
int replay_all(struct recovery *rc);

/* Moves the refs of one of them, names that come before names that go. */
int reclaim_refs(struct recovery *rc, struct dead *d);

#endif
