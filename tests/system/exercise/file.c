/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What programs do with a file: reading, writing (through the cache, past it, through a mapping), cutting and growing, holes, zeros, taking ranges out and
 * putting some in, in random order; every byte that is read is compared with memory. The cache is dropped now and then, so that what is read comes
 * from the disk.
 */

#include "tests/system/exercise/exercise.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGEST (1u << 20) /* bytes of the file */
#define LONGEST (64u * 1024u)
#define BLOCK 4096u

struct file {
        const char *name;
        int fd, direct;
        size_t size;
        uint8_t *model; /* zeros past size */
        void *buf;
};

static struct range any_range(struct dice *dice, size_t end) {
        struct range r = { dice_below(dice, end), 1 + dice_below(dice, LONGEST) };

        if (r.len > end - r.at)
                r.len = end - r.at;
        return r;
}

static struct range block_range(struct dice *dice, size_t end) {
        size_t n = end / BLOCK;
        struct range r = { dice_below(dice, n), 1 + dice_below(dice, LONGEST / BLOCK) };

        if (r.len > n - r.at)
                r.len = n - r.at;
        return (struct range){ r.at * BLOCK, r.len * BLOCK };
}

static void expect_fine(const struct file *f, bool fine, const char *what, struct range r) {
        if (!fine)
                wrong("%s: %s at %llu, %llu bytes: %m", f->name, what, (unsigned long long) r.at,
                      (unsigned long long) r.len);
}

static void compare(const struct file *f, const void *got, struct range r, const char *what) {
        for (size_t i = 0; i < r.len; i++)
                if (((const uint8_t *) got)[i] != f->model[r.at + i])
                        wrong("%s: %s: byte %llu is not what was written", f->name, what,
                              (unsigned long long) (r.at + i));
}

static void changed(struct file *f, struct range r, const void *data) {
        if (data)
                memcpy(f->model + r.at, data, r.len);
        else
                memset(f->model + r.at, 0, r.len);
        if (f->size < r.at + r.len)
                f->size = r.at + r.len;
}

static void read_some(struct file *f, struct dice *dice) {
        struct range r = { 0 };

        if (f->size == 0)
                return;
        r = any_range(dice, f->size);
        expect_fine(f, pread(f->fd, f->buf, r.len, (off_t) r.at) == (ssize_t) r.len, "reading", r);
        compare(f, f->buf, r, "reading");
}

static void write_some(struct file *f, struct dice *dice, bool direct) {
        struct range r = direct ? block_range(dice, LARGEST) : any_range(dice, LARGEST);

        dice_fill(dice_roll(dice), f->buf, r.len);
        expect_fine(f,
                    pwrite(direct ? f->direct : f->fd, f->buf, r.len, (off_t) r.at) ==
                                    (ssize_t) r.len,
                    direct ? "direct writing" : "writing", r);
        changed(f, r, f->buf);
}

static void through_mapping(struct file *f, struct dice *dice) {
        struct range r;
        uint8_t *p;

        if (f->size == 0)
                return;
        r = any_range(dice, f->size);
        p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
        expect_fine(f, p != MAP_FAILED, "mapping", r);
        compare(f, p + r.at, r, "a mapping");
        dice_fill(dice_roll(dice), f->buf, r.len);
        memcpy(p + r.at, f->buf, r.len);
        changed(f, r, f->buf);
        if (dice_below(dice, 2))
                expect_fine(f, msync(p, f->size, MS_SYNC) == 0, "msync", r);
        (void) munmap(p, f->size);
}

static void cut(struct file *f, struct dice *dice) {
        size_t size = dice_below(dice, LARGEST);

        expect_fine(f, ftruncate(f->fd, (off_t) size) == 0, "cutting", (struct range){ size, 0 });
        if (size < f->size)
                memset(f->model + size, 0, f->size - size);
        f->size = size;
}

static void zero_some(struct file *f, struct dice *dice) {
        static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                     FALLOC_FL_KEEP_SIZE };
        size_t i = dice_below(dice, 3);
        struct range r;

        if (f->size == 0)
                return;
        r = any_range(dice, f->size);
        expect_fine(f, fallocate(f->fd, modes[i], (off_t) r.at, (off_t) r.len) == 0, "fallocate",
                    r);
        if (i < 2)
                changed(f, r, NULL);
}

static void take_out_or_put_in(struct file *f, struct dice *dice) {
        bool out = dice_below(dice, 2);
        struct range r;
        size_t end;

        if (f->size < 4 * BLOCK)
                return;
        r = block_range(dice, f->size - BLOCK);
        end = (size_t) (r.at + r.len);
        if (end >= f->size || (!out && f->size + r.len > LARGEST))
                return;
        expect_fine(f,
                    fallocate(f->fd, out ? FALLOC_FL_COLLAPSE_RANGE : FALLOC_FL_INSERT_RANGE,
                              (off_t) r.at, (off_t) r.len) == 0,
                    out ? "taking out" : "putting in", r);
        if (out) {
                memmove(f->model + r.at, f->model + end, f->size - end);
                f->size -= r.len;
                memset(f->model + f->size, 0, r.len);
        } else {
                memmove(f->model + end, f->model + r.at, f->size - r.at);
                memset(f->model + r.at, 0, r.len);
                f->size += r.len;
        }
}

static void sync_and_forget(struct file *f, struct dice *dice) {
        expect_fine(f, fdatasync(f->fd) == 0, "flushing", (struct range){ 0 });
        if (dice_below(dice, 2))
                (void) posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void step(struct file *f, struct dice *dice) {
        uint64_t what = dice_below(dice, 100);

        if (what < 25)
                read_some(f, dice);
        else if (what < 45)
                write_some(f, dice, /* direct= */ false);
        else if (what < 58)
                write_some(f, dice, /* direct= */ true);
        else if (what < 70)
                through_mapping(f, dice);
        else if (what < 75)
                cut(f, dice);
        else if (what < 87)
                zero_some(f, dice);
        else if (what < 93)
                take_out_or_put_in(f, dice);
        else
                sync_and_forget(f, dice);
}

static void compare_all(struct file *f) {
        expect_fine(f, fsync(f->fd) == 0, "flushing", (struct range){ 0 });
        (void) posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
        if (lseek(f->fd, 0, SEEK_END) != (off_t) f->size)
                wrong("%s: has not the size that it was given", f->name);
        for (size_t at = 0; at < f->size; at += LONGEST) {
                struct range r = { at, f->size - at < LONGEST ? f->size - at : LONGEST };

                expect_fine(f, pread(f->fd, f->buf, r.len, (off_t) at) == (ssize_t) r.len,
                            "reading", r);
                compare(f, f->buf, r, "at the end");
        }
}

int exercise_file(int argc, char *argv[]) {
        uint64_t n = strtoull(argv[3], NULL, 0);
        struct dice dice = dice_new(strtoull(argv[2], NULL, 0), 0, 0);
        struct file f = { .name = argv[4], .model = shared_memory(LARGEST) };

        f.buf = aligned_alloc(BLOCK, LONGEST);
        f.fd = open(f.name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        f.direct = open(f.name, O_RDWR | O_DIRECT | O_CLOEXEC);
        if (!f.buf || f.fd < 0 || f.direct < 0)
                wrong("%s: %m", f.name);
        for (uint64_t i = 0; i < n; i++)
                step(&f, &dice);
        compare_all(&f);
        free(f.buf);
        say("fine: %s", f.name);
        return 0;
}
