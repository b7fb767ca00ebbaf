/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the parts of the program share: dice that fall the same for the same seed, changes of a range of a disk, and words. It runs
 * in a guest without anything else, so it is linked statically and stands alone. What fails ends the process with a line that has "WRONG".
 */

struct dice {
        uint64_t state;
};

struct dice dice_new(uint64_t a, uint64_t b, uint64_t c);
uint64_t dice_roll(struct dice *d);
uint64_t dice_below(struct dice *d, uint64_t n); /* n > 0 */
/* The same bytes for the same seed. */
void dice_fill(uint64_t seed, void *buf, size_t len);

/* One line on standard output, written at once. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void wrong(const char *format, ...);

void *shared_memory(size_t len); /* zeros; children have it, too */

/* Starts a process for each part, and waits for all: false if one failed. */
bool in_parts(unsigned n, void (*work)(void *opaque, unsigned part), void *opaque);

/* A block device, or a file in its place, for direct I/O in multiples of its logical block. */
struct disk {
        const char *name;
        int fd;
        uint64_t start, size; /* bytes; a piece of it may be the disk */
        uint32_t block;
};

struct disk disk_open(const char *path, bool readonly);
void disk_read(const struct disk *d, uint64_t at, void *buf, size_t len);
void disk_write(const struct disk *d, uint64_t at, const void *buf, size_t len);
void disk_zero(const struct disk *d, uint64_t at, uint64_t len, bool unmap);
void disk_discard(
                const struct disk *d,
                uint64_t at,
                uint64_t len); /* what is read then is not said */
void disk_sync(const struct disk *d);

/* A range within [0, size) that belongs to one of several parts: parts take turns at stripes whose ends are no cluster's, so that clusters are shared. len
 * is at most max and within one stripe if there is more than one part. */
struct range {
        uint64_t at, len;
};

struct range
range_pick(struct dice *dice,
           uint64_t size,
           uint32_t block,
           uint64_t max,
           uint64_t stripe,
           unsigned part,
           unsigned parts);

int exercise_disk(int argc, char *argv[]);
int exercise_journal(int argc, char *argv[]);
int exercise_check(int argc, char *argv[]);
int exercise_file(int argc, char *argv[]);
