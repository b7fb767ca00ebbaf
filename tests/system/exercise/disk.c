/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random requests to a disk, checked against memory, and the same ones to a twin, so that who stands outside can compare the two.
 * First several processes work at once on stripes of their own that lie close together, then one with longer requests. A range that was
 * discarded is written again at once, since nobody says what it holds.
 */

#include "tests/system/exercise/exercise.h"

#include <stdlib.h>
#include <string.h>

#define PARTS 3
#define STRIPE (36u * 1024u)
#define LONGEST (256u * 1024u)

struct work {
        struct disk disks[2];
        unsigned n_disks;
        uint64_t seed, size, n;
        uint32_t block;
        uint8_t *model;
};

static void
compare(const struct work *w, const struct disk *d, uint64_t at, uint64_t len, void *buf) {
        disk_read(d, at, buf, len);
        for (uint64_t i = 0; i < len; i += w->block)
                if (memcmp((uint8_t *) buf + i, w->model + at + i, w->block) != 0)
                        wrong("%s: the block at %llu is not what was written", d->name,
                              (unsigned long long) (at + i));
}

static void write_both(struct work *w, uint64_t at, uint64_t len, void *buf) {
        for (unsigned i = 0; i < w->n_disks; i++)
                disk_write(&w->disks[i], at, buf, len);
        memcpy(w->model + at, buf, len);
}

static void step(struct work *w, struct dice *dice, struct range r, void *buf) {
        uint64_t what = dice_below(dice, 100);
        bool unmap = dice_below(dice, 2);

        if (what < 45) {
                dice_fill(dice_roll(dice), buf, r.len);
                write_both(w, r.at, r.len, buf);
        } else if (what < 50) {
                memset(buf, 0, r.len);
                write_both(w, r.at, r.len, buf);
        } else if (what < 75) {
                compare(w, &w->disks[0], r.at, r.len, buf);
        } else if (what < 85) {
                for (unsigned i = 0; i < w->n_disks; i++)
                        disk_zero(&w->disks[i], r.at, r.len, unmap);
                memset(w->model + r.at, 0, r.len);
        } else if (what < 92) {
                for (unsigned i = 0; i < w->n_disks; i++)
                        disk_discard(&w->disks[i], r.at, r.len);
                dice_fill(dice_roll(dice), buf, r.len);
                write_both(w, r.at, r.len, buf);
        } else {
                disk_sync(&w->disks[0]);
        }
}

static void work_on(struct work *w, unsigned part, unsigned parts, uint64_t max) {
        struct dice dice = dice_new(w->seed, part, parts);
        void *buf = aligned_alloc(4096, LONGEST);

        if (!buf)
                wrong("no memory");
        for (uint64_t i = 0; i < w->n; i++)
                step(w, &dice, range_pick(&dice, w->size, w->block, max, STRIPE, part, parts), buf);
        free(buf);
}

static void work_on_part(void *opaque, unsigned part) {
        work_on(opaque, part, PARTS, STRIPE);
}

static void compare_all(struct work *w) {
        void *buf = aligned_alloc(4096, LONGEST);

        if (!buf)
                wrong("no memory");
        for (unsigned i = 0; i < w->n_disks; i++)
                for (uint64_t at = 0; at < w->size; at += LONGEST)
                        compare(w, &w->disks[i], at,
                                w->size - at < LONGEST ? w->size - at : LONGEST, buf);
        free(buf);
}

/* What was there before stays where nothing is done. */
static void copy_first(struct work *w) {
        for (uint64_t at = 0; at < w->size; at += LONGEST) {
                size_t len = w->size - at < LONGEST ? w->size - at : LONGEST;

                disk_read(&w->disks[0], at, w->model + at, len);
                if (w->n_disks > 1)
                        disk_write(&w->disks[1], at, w->model + at, len);
        }
}

int exercise_disk(int argc, char *argv[]) {
        struct work w = { .seed = strtoull(argv[2], NULL, 0), .n = strtoull(argv[3], NULL, 0) };

        w.disks[w.n_disks++] = disk_open(argv[4], /* readonly= */ false);
        w.size = w.disks[0].size;
        w.block = w.disks[0].block;
        if (argc > 6) {
                w.disks[1] = disk_open(argv[5], /* readonly= */ false);
                w.disks[1].start = strtoull(argv[6], NULL, 0);
                w.n_disks++;
        }
        w.model = shared_memory(w.size);
        copy_first(&w);
        if (!in_parts(PARTS, work_on_part, &w))
                return 1;
        work_on(&w, 0, 1, LONGEST);
        disk_sync(&w.disks[0]);
        compare_all(&w);
        say("fine: %s", argv[4]);
        return 0;
}
