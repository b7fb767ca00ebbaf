/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Pages of a sparse file in a table with open addresses. A page is never taken out before the next input, only zeroed, so that
 * nothing has to be moved; a full table is a full disk.
 */

#include "tests/fuzz/memory-disk.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#define PAGE 4096u
#define N_PAGES (MEMORY_DISK_MAX / PAGE)
#define N_SLOTS (2 * N_PAGES)

static struct {
        uint64_t size;
        unsigned n_used;
        uint64_t number[N_PAGES];  /* which page of the file it is */
        uint16_t slot_of[N_PAGES]; /* where slots[] has it */
        uint16_t slots[N_SLOTS];   /* index of a page, plus 1 */
        uint8_t bytes[N_PAGES][PAGE];
} disk;

/* NULL: it is not there, and was not wanted or had no room. */
static uint8_t *find_page(uint64_t number, bool want) {
        size_t slot = (size_t) (number * 0x9e3779b97f4a7c15u >> 32) % N_SLOTS;

        for (; disk.slots[slot] > 0; slot = (slot + 1) % N_SLOTS)
                if (disk.number[disk.slots[slot] - 1] == number)
                        return disk.bytes[disk.slots[slot] - 1];
        if (!want || disk.n_used == N_PAGES)
                return NULL;
        memset(disk.bytes[disk.n_used], 0, PAGE);
        disk.number[disk.n_used] = number;
        disk.slot_of[disk.n_used] = (uint16_t) slot;
        disk.slots[slot] = (uint16_t) ++disk.n_used;
        return disk.bytes[disk.n_used - 1];
}

void memory_disk_clear(void) {
        while (disk.n_used > 0)
                disk.slots[disk.slot_of[--disk.n_used]] = 0;
        disk.size = 0;
}

static int write_bytes(uint64_t at, const uint8_t *data, size_t len) {
        while (len > 0) {
                size_t part = MIN(PAGE - (size_t) (at % PAGE), len);
                uint8_t *page = find_page(at / PAGE, /* want= */ true);

                if (!page)
                        return -ENOSPC;
                memcpy(page + at % PAGE, data, part);
                at += part;
                data += part;
                len -= part;
                disk.size = MAX(disk.size, at);
        }
        return 0;
}

static void read_bytes(uint64_t at, uint8_t *data, size_t len) {
        while (len > 0) {
                size_t part = MIN(PAGE - (size_t) (at % PAGE), len);
                const uint8_t *page = find_page(at / PAGE, /* want= */ false);

                if (page)
                        memcpy(data, page + at % PAGE, part);
                else
                        memset(data, 0, part);
                at += part;
                data += part;
                len -= part;
        }
}

static void zero_bytes(uint64_t at, uint64_t end) {
        for (unsigned i = 0; i < disk.n_used; i++) {
                uint64_t page = disk.number[i] * PAGE, from = MAX(at, page),
                         to = MIN(end, page + PAGE);

                if (from < to)
                        memset(disk.bytes[i] + (from - page), 0, (size_t) (to - from));
        }
}

void memory_disk_put(uint64_t at, const void *data, size_t len) {
        g_assert_cmpint(write_bytes(at, data, len), ==, 0);
}

void memory_disk_put_pieces(const uint8_t *data, size_t size) {
        while (size > 3) {
                uint64_t at = (data[0] | (uint64_t) data[1] << 8) * 8 % MEMORY_DISK_PIECES;
                size_t len = MIN((size_t) data[2], size - 3);

                memory_disk_put(at, data + 3, len);
                data += 3 + len;
                size -= 3 + len;
        }
}

static ssize_t memory_preadv(struct image_file *f, const struct iovec *iov, int n, uint64_t at) {
        ssize_t done = 0;

        for (int i = 0; i < n && at < disk.size; i++) {
                size_t part = (size_t) MIN(iov[i].iov_len, disk.size - at);

                read_bytes(at, iov[i].iov_base, part);
                done += (ssize_t) part;
                at += part;
        }
        return done;
}

static ssize_t memory_pwritev(struct image_file *f, const struct iovec *iov, int n, uint64_t at) {
        ssize_t done = 0;

        for (int i = 0; i < n; i++) {
                int r = write_bytes(at, iov[i].iov_base, iov[i].iov_len);

                if (r < 0)
                        return r;
                done += (ssize_t) iov[i].iov_len;
                at += iov[i].iov_len;
        }
        return done;
}

static int memory_sync(struct image_file *f) {
        return 0;
}

static int memory_fallocate(struct image_file *f, int mode, uint64_t at, uint64_t len) {
        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
                zero_bytes(at, at + len);
        else if (len > MEMORY_DISK_MAX)
                return -ENOSPC;
        if (!(mode & FALLOC_FL_KEEP_SIZE))
                disk.size = MAX(disk.size, at + len);
        return 0;
}

static int memory_truncate(struct image_file *f, uint64_t size) {
        if (size < disk.size)
                zero_bytes(size, disk.size);
        disk.size = size;
        return 0;
}

static void memory_free(struct image_file *f) {
        g_free(f);
}

static const struct image_file_ops memory_ops = {
        .preadv = memory_preadv,
        .pwritev = memory_pwritev,
        .sync = memory_sync,
        .fallocate = memory_fallocate,
        .truncate = memory_truncate,
        .free = memory_free,
};

struct image_file *memory_disk_open(bool readonly) {
        struct image_file *f = g_new(struct image_file, 1);

        image_file_init(f, &memory_ops);
        f->size = disk.size;
        f->readonly = readonly;
        return f;
}
