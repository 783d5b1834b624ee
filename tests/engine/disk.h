/* SPDX-License-Identifier: MIT */
/*
 * A model of the disk under the engine: it writes down every call of ledger/engine/io.h and what was synced, and builds
 * the states that a power cut may leave behind.
 *
 * Legal is: bytes written to a file and then fsynced are there; of later writes any subset is, the last of them perhaps
 * in part; names (create, rename, link, unlink, mkdir) reach the disk in the order in which they were asked for, at
 * least up to the last one whose directory was fsynced since.  That is less than ext4, xfs and btrfs promise.
 */
#ifndef TESTS_ENGINE_DISK_H
#define TESTS_ENGINE_DISK_H

#include <stdbool.h>
#include <stddef.h>

enum disk_fate {
	DISK_LEAST, /* nothing but what was synced */
	DISK_NAMES, /* all names, no byte that was not synced: the empty files of a power cut */
	DISK_RANDOM,
};

/* Starts to record; what is in the repository `dir` now counts as synced. */
void disk_begin(const char *dir);
void disk_end(void);
/* How many calls there were; a point in time. */
size_t disk_now(void);

/* Builds in the empty directory `to` what a cut after `at` calls leaves. */
void disk_cut(const char *to, size_t at, enum disk_fate fate, unsigned *seed);

/* The calls [from, to) to stderr, to understand a failure. */
void disk_print(size_t from, size_t to);

#endif
