/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Work on a disk that may end at any moment, and the proof afterwards that whatever was said to be on stable storage is there.
 *
 * A run begins with a disk of zeros. What the k-th operation of a part does is a function of run, part and k; each sector that it writes says
 * who wrote it. "synced RUN NAME.PART K" is said after the flush that covers the operations up to K. At the next start the control, which the host wrote
 * from those words, says how far the last run came: "run RUN" and "NAME.PART K" lines. A sector must then hold what the last operation up to K
 * left there, or what a later one did, which may or may not have come to the disk; nothing else, and no half of it.
 */

#include "tests/system/exercise/exercise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PARTS 2
#define STRIPE (100u * 1024u)
#define LONGEST (64u * 1024u)
#define SECTOR 512u
#define MAGIC 0x6c616e72756f6a21u
#define OPERATIONS 200000u /* of a part in a run */
#define AHEAD 5000u        /* how many more operations than K are looked at */
#define CONTROL_LEN 4096u

enum kind {
        KIND_NONE, /* since the run began */
        KIND_WRITE,
        KIND_ZERO,
        KIND_DISCARD,
};

struct operation {
        enum kind kind;
        struct range range;
        bool sync, unmap;
};

struct stamp {
        uint64_t magic, run, part, k, sector;
        uint64_t rest[(SECTOR - 40) / 8];
};

struct journal {
        const char *name;
        struct disk disk;
        uint64_t run;
        uint64_t synced[PARTS];
};

static struct operation operation_of(const struct journal *j, unsigned part, uint64_t k) {
        struct dice dice = dice_new(j->run, part, k);
        uint64_t what = dice_below(&dice, 100);
        struct operation o = { .kind = what < 80   ? KIND_WRITE
                                       : what < 95 ? KIND_ZERO
                                                   : KIND_DISCARD };

        o.unmap = dice_below(&dice, 2);
        o.sync = dice_below(&dice, 12) == 0;
        o.range = range_pick(&dice, j->disk.size, 4096, LONGEST, STRIPE, part, PARTS);
        return o;
}

static bool covers(const struct operation *o, uint64_t sector) {
        uint64_t at = sector * SECTOR;

        return at >= o->range.at && at - o->range.at < o->range.len;
}

static struct stamp stamp_of(uint64_t run, uint64_t part, uint64_t k, uint64_t sector) {
        struct stamp s = { MAGIC, run, part, k, sector };

        dice_fill(k * 1000003 + sector, s.rest, sizeof(s.rest));
        return s;
}

/* The control */

static uint64_t number_after(const char *text, const char *word) {
        const char *found = strstr(text, word);

        return found ? strtoull(found + strlen(word), NULL, 10) : UINT64_MAX;
}

/* False: there was no run. */
static bool read_control(struct journal *j, const char *path) {
        struct disk d = disk_open(path, /* readonly= */ true);
        char text[CONTROL_LEN + 1] = "", word[64];

        disk_read(&d, 0, text, CONTROL_LEN);
        j->run = number_after(text, "run ");
        if (j->run == UINT64_MAX)
                return false;
        for (unsigned part = 0; part < PARTS; part++) {
                snprintf(word, sizeof(word), "\n%s.%u ", j->name, part);
                j->synced[part] = number_after(text, word);
                if (j->synced[part] > OPERATIONS)
                        wrong("%s: the control does not say how far part %u came", j->name, part);
        }
        return true;
}

/* Working */

static void apply(const struct journal *j, unsigned part, uint64_t k, struct stamp *buf) {
        struct operation o = operation_of(j, part, k);

        if (o.kind == KIND_ZERO) {
                disk_zero(&j->disk, o.range.at, o.range.len, o.unmap);
        } else if (o.kind == KIND_DISCARD) {
                disk_discard(&j->disk, o.range.at, o.range.len);
        } else {
                for (uint64_t i = 0; i < o.range.len / SECTOR; i++)
                        buf[i] = stamp_of(j->run, part, k, o.range.at / SECTOR + i);
                disk_write(&j->disk, o.range.at, buf, o.range.len);
        }
}

static double now(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void work(void *opaque, unsigned part) {
        const struct journal *j = opaque;
        void *buf = aligned_alloc(4096, LONGEST);
        double said = 0;

        if (!buf)
                wrong("no memory");
        for (uint64_t k = 1; k <= OPERATIONS; k++) {
                apply(j, part, k, buf);
                if (!operation_of(j, part, k).sync)
                        continue;
                disk_sync(&j->disk);
                /* Words are slow. Those that are not said claim less, not something wrong. */
                if (now() - said > 0.5) {
                        said = now();
                        say("synced %llu %s.%u %llu", (unsigned long long) j->run, j->name, part,
                            (unsigned long long) k);
                }
        }
}

/* Judging */

struct last {
        uint64_t k;
        enum kind kind;
};

static bool is_zero(const struct stamp *s) {
        const uint64_t *words = (const uint64_t *) s;

        for (size_t i = 0; i < sizeof(*s) / sizeof(*words); i++)
                if (words[i] != 0)
                        return false;
        return true;
}

static bool emptied_later(const struct journal *j, unsigned part, uint64_t sector) {
        for (uint64_t k = j->synced[part] + 1; k <= j->synced[part] + AHEAD; k++) {
                struct operation o = operation_of(j, part, k);

                if (o.kind != KIND_WRITE && covers(&o, sector))
                        return true;
        }
        return false;
}

/* NULL: the sector is as it may be. */
static const char *
judge(const struct journal *j,
      unsigned part,
      uint64_t sector,
      struct last last,
      const struct stamp *s) {
        struct operation o;
        struct stamp whole;

        if (is_zero(s))
                return last.kind != KIND_WRITE || emptied_later(j, part, sector) ? NULL : "is lost";
        whole = stamp_of(s->run, s->part, s->k, s->sector);
        if (memcmp(s, &whole, sizeof(whole)) != 0)
                return "is torn, or was never written";
        if (s->sector != sector || s->part != part)
                return "is another's";
        if (last.kind == KIND_DISCARD)
                return NULL;
        if (s->run != j->run)
                return "is from an earlier run";
        if (s->k == last.k && last.kind == KIND_WRITE)
                return NULL;
        o = operation_of(j, part, s->k);
        if (s->k <= j->synced[part] || o.kind != KIND_WRITE || !covers(&o, sector))
                return "is old";
        return NULL;
}

static void verify_part(const struct journal *j, unsigned part, const struct stamp *all) {
        uint64_t n = j->disk.size / SECTOR;
        struct last *last = calloc(n, sizeof(*last));

        if (!last)
                wrong("no memory");
        for (uint64_t k = 1; k <= j->synced[part]; k++) {
                struct operation o = operation_of(j, part, k);

                for (uint64_t i = 0; i < o.range.len / SECTOR; i++)
                        last[o.range.at / SECTOR + i] = (struct last){ k, o.kind };
        }
        for (uint64_t i = 0; i < n; i++) {
                const char *what = NULL;

                if (i * SECTOR / STRIPE % PARTS == part)
                        what = judge(j, part, i, last[i], &all[i]);
                if (what)
                        wrong("%s: sector %llu, of operation %llu of %llu of part %u in run %llu, "
                              "%s",
                              j->name, (unsigned long long) i, (unsigned long long) last[i].k,
                              (unsigned long long) j->synced[part], part,
                              (unsigned long long) j->run, what);
        }
        free(last);
}

static void verify(const struct journal *j) {
        struct stamp *all = shared_memory(j->disk.size);

        for (uint64_t at = 0; at < j->disk.size; at += LONGEST)
                disk_read(&j->disk, at, (char *) all + at,
                          j->disk.size - at < LONGEST ? j->disk.size - at : LONGEST);
        for (unsigned part = 0; part < PARTS; part++)
                verify_part(j, part, all);
        say("verified %llu %s %llu %llu", (unsigned long long) j->run, j->name,
            (unsigned long long) j->synced[0], (unsigned long long) j->synced[1]);
}

int exercise_journal(int argc, char *argv[]) {
        struct journal j = { .name = argv[2], .disk = disk_open(argv[3], /* readonly= */ false) };

        if (read_control(&j, argv[4]))
                verify(&j);
        else
                j.run = 0;
        j.run++;
        disk_zero(&j.disk, 0, j.disk.size, /* unmap= */ true);
        disk_sync(&j.disk);
        return in_parts(PARTS, work, &j) ? 0 : 1;
}

int exercise_check(int argc, char *argv[]) {
        struct journal j = { .name = argv[2], .disk = disk_open(argv[3], /* readonly= */ true) };

        if (!read_control(&j, argv[4]))
                wrong("%s: there was no run", argv[4]);
        verify(&j);
        return 0;
}
