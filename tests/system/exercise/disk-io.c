/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Requests to a block device as they are asked for, past the page cache. What fails is wrong. */

#include "tests/system/exercise/exercise.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct disk disk_open(const char *path, bool readonly) {
        struct disk d = { .name = path, .fd = -1, .block = 512 };
        struct stat st;
        int block;

        d.fd = open(path, (readonly ? O_RDONLY : O_RDWR | O_DIRECT) | O_CLOEXEC);
        if (d.fd < 0 || fstat(d.fd, &st) < 0)
                wrong("%s: %m", path);
        d.size = (uint64_t) st.st_size;
        if (S_ISBLK(st.st_mode)) {
                if (ioctl(d.fd, BLKGETSIZE64, &d.size) < 0 || ioctl(d.fd, BLKSSZGET, &block) < 0)
                        wrong("%s: %m", path);
                d.block = (uint32_t) block;
        }
        return d;
}

void disk_read(const struct disk *d, uint64_t at, void *buf, size_t len) {
        ssize_t n = pread(d->fd, buf, len, (off_t) (d->start + at));

        if (n != (ssize_t) len)
                wrong("%s: reading %zu bytes at %llu gave %zd: %m", d->name, len,
                      (unsigned long long) at, n);
}

void disk_write(const struct disk *d, uint64_t at, const void *buf, size_t len) {
        ssize_t n = pwrite(d->fd, buf, len, (off_t) (d->start + at));

        if (n != (ssize_t) len)
                wrong("%s: writing %zu bytes at %llu gave %zd: %m", d->name, len,
                      (unsigned long long) at, n);
}

void disk_zero(const struct disk *d, uint64_t at, uint64_t len, bool unmap) {
        int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r = -1;
        off_t from = (off_t) (d->start + at);

        if (unmap)
                r = fallocate(d->fd, punch, from, (off_t) len);
        if (r < 0 && (!unmap || errno == EOPNOTSUPP))
                r = fallocate(d->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, from, (off_t) len);
        if (r < 0)
                wrong("%s: zeroing %llu bytes at %llu: %m", d->name, (unsigned long long) len,
                      (unsigned long long) at);
}

void disk_discard(const struct disk *d, uint64_t at, uint64_t len) {
        uint64_t range[2] = { d->start + at, len };

        if (ioctl(d->fd, BLKDISCARD, range) < 0 && errno != EOPNOTSUPP && errno != ENOTTY)
                wrong("%s: discarding %llu bytes at %llu: %m", d->name, (unsigned long long) len,
                      (unsigned long long) at);
}

void disk_sync(const struct disk *d) {
        if (fdatasync(d->fd) < 0)
                wrong("%s: flushing: %m", d->name);
}
