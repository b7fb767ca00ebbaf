/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/file.h"

/*
 * A disk that can lose power at any write, for tests of image formats: everything that is done to its file is written down, and what the disk would
 * hold had the power gone then can be had as a file again. It can also fail an operation, or be full.
 */

struct power_disk;

/* Empty; at most limit bytes fit (-ENOSPC). */
struct power_disk *power_disk_new(uint64_t limit);
void power_disk_free(struct power_disk *d);

/* A file on the disk, as often as wanted, one at a time; the caller's. */
struct image_file *power_disk_open(struct power_disk *d, bool readonly);

/* Changes and syncs so far. */
unsigned power_disk_events(const struct power_disk *d);

/* Forgets what was written down: what is there now is what a cut at 0 events leaves. */
void power_disk_settle(struct power_disk *d);

/* What is left when the power goes after so many events: all that the last sync covers, and of what came after it: all (seed 0), or some of its
 * sectors at random. The caller's, writable, in memory. */
struct image_file *power_disk_cut(struct power_disk *d, unsigned events, uint32_t seed);

/* The n-th change or sync from now fails with errnum (positive), or all from then on. n 0: none. Reads count if reads_too. */
void power_disk_fail(struct power_disk *d, unsigned n, int errnum, bool all_after, bool reads_too);

/* An image_file in memory that holds these bytes. */
struct image_file *memory_file_new(const void *data, size_t len);

/* Copies what is in the file (holes stay holes) to path. */
void image_file_export(struct image_file *f, const char *path);

typedef struct power_disk power_disk;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(power_disk, power_disk_free)
