/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A disk that can lose power. The file of the present is a memfd, so holes are holes; the file of the last settle() is another one, and the
 * events since then lie between. Sectors of 512 bytes are written whole or not at all, as disks promise.
 */

#include "tests/unit/block/image/power-disk.h"
#include "hypervisor/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTOR 512u

enum event_kind {
        EVENT_WRITE,
        EVENT_ZERO,
        EVENT_TRUNCATE, /* and growing: at is the size */
        EVENT_SYNC,
};

struct event {
        enum event_kind kind;
        uint64_t at, len;
        void *data;
};

struct power_disk {
        int base, now;
        uint64_t limit;
        GArray *events;
        unsigned fail_in;
        int errnum;
        bool all_after, reads_too;
};

struct power_file {
        struct image_file f;
        struct power_disk *disk;
};

static int new_memfd(void) {
        int fd = memfd_create("disk", MFD_CLOEXEC);

        g_assert_cmpint(fd, >=, 0);
        return fd;
}

static uint64_t size_of(int fd) {
        off_t size = lseek(fd, 0, SEEK_END);

        g_assert_cmpint(size, >=, 0);
        return (uint64_t) size;
}

static void copy(int from, int to) {
        g_autofree char *buf = g_malloc(65536);
        uint64_t size = size_of(from);

        g_assert_cmpint(ftruncate(to, 0), ==, 0);
        g_assert_cmpint(ftruncate(to, (off_t) size), ==, 0);
        for (off_t at = 0, end; (at = lseek(from, at, SEEK_DATA)) >= 0; at = end) {
                end = lseek(from, at, SEEK_HOLE);
                for (off_t o = at; o < end;) {
                        ssize_t n = pread(from, buf, MIN(65536u, (size_t) (end - o)), o);

                        g_assert_cmpint(n, >, 0);
                        g_assert_cmpint(pwrite(to, buf, (size_t) n, o), ==, n);
                        o += n;
                }
        }
}

static void clear_event(void *p) {
        g_free(((struct event *) p)->data);
}

struct power_disk *power_disk_new(uint64_t limit) {
        struct power_disk *d = g_new0(struct power_disk, 1);

        d->base = new_memfd();
        d->now = new_memfd();
        d->limit = limit;
        d->events = g_array_new(FALSE, FALSE, sizeof(struct event));
        g_array_set_clear_func(d->events, clear_event);
        return d;
}

void power_disk_free(struct power_disk *d) {
        if (!d)
                return;
        chv_closep(&d->base);
        chv_closep(&d->now);
        g_array_unref(d->events);
        g_free(d);
}

unsigned power_disk_events(const struct power_disk *d) {
        return d->events->len;
}

void power_disk_settle(struct power_disk *d) {
        copy(d->now, d->base);
        g_array_set_size(d->events, 0);
}

void power_disk_fail(struct power_disk *d, unsigned n, int errnum, bool all_after, bool reads_too) {
        d->fail_in = n;
        d->errnum = errnum;
        d->all_after = all_after;
        d->reads_too = reads_too;
}

/* 0, or the errno that this operation ends with. */
static int fate(struct power_disk *d, bool is_read) {
        if (d->fail_in == 0 || (is_read && !d->reads_too))
                return 0;
        if (d->fail_in > 1) {
                d->fail_in--;
                return 0;
        }
        if (!d->all_after)
                d->fail_in = 0;
        return d->errnum;
}

static void
note(struct power_disk *d, enum event_kind kind, uint64_t at, uint64_t len, void *data) {
        struct event e = { kind, at, len, data };

        g_array_append_val(d->events, e);
}

static struct power_disk *disk_of(struct image_file *f) {
        return ((struct power_file *) f)->disk;
}

static ssize_t disk_preadv(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        int failed = fate(disk_of(f), /* is_read= */ true);
        ssize_t r = failed ? 0 : preadv(f->fd, iov, n, (off_t) offset);

        return failed ? -failed : r < 0 ? -errno : r;
}

static ssize_t disk_pwritev(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        struct power_disk *d = disk_of(f);
        int failed = fate(d, /* is_read= */ false);
        size_t len = 0;
        char *data;

        if (failed)
                return -failed;
        for (int i = 0; i < n; i++)
                len += iov[i].iov_len;
        if (offset + len > d->limit)
                return -ENOSPC;
        data = g_malloc(len);
        len = 0;
        for (int i = 0; i < n; i++) {
                memcpy(data + len, iov[i].iov_base, iov[i].iov_len);
                len += iov[i].iov_len;
        }
        g_assert_cmpint(pwrite(d->now, data, len, (off_t) offset), ==, (ssize_t) len);
        note(d, EVENT_WRITE, offset, len, data);
        return (ssize_t) len;
}

static int disk_sync(struct image_file *f) {
        int failed = fate(disk_of(f), /* is_read= */ false);

        if (failed)
                return -failed;
        note(disk_of(f), EVENT_SYNC, 0, 0, NULL);
        return 0;
}

static int apply_zero(int fd, uint64_t at, uint64_t len) {
        return fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t) at, (off_t) len);
}

static int disk_fallocate(struct image_file *f, int mode, uint64_t offset, uint64_t len) {
        struct power_disk *d = disk_of(f);
        int failed = fate(d, /* is_read= */ false);

        if (failed)
                return -failed;
        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
                g_assert_cmpint(apply_zero(d->now, offset, len), ==, 0);
                note(d, EVENT_ZERO, offset, len, NULL);
                return 0;
        }
        if (offset + len > d->limit)
                return -ENOSPC;
        if (offset + len > size_of(d->now))
                return f->ops->truncate(f, offset + len);
        return 0;
}

static int disk_truncate(struct image_file *f, uint64_t size) {
        struct power_disk *d = disk_of(f);
        int failed = fate(d, /* is_read= */ false);

        if (failed)
                return -failed;
        /* As on a host: a size costs no space. */
        g_assert_cmpint(ftruncate(d->now, (off_t) size), ==, 0);
        note(d, EVENT_TRUNCATE, size, 0, NULL);
        return 0;
}

static void file_free(struct image_file *f) {
        chv_closep(&f->fd);
        g_free(f);
}

static const struct image_file_ops disk_ops = {
        .preadv = disk_preadv,
        .pwritev = disk_pwritev,
        .sync = disk_sync,
        .fallocate = disk_fallocate,
        .truncate = disk_truncate,
        .free = file_free,
};

struct image_file *power_disk_open(struct power_disk *d, bool readonly) {
        struct power_file *p = g_new0(struct power_file, 1);

        image_file_init(&p->f, &disk_ops);
        p->disk = d;
        p->f.fd = fcntl(d->now, F_DUPFD_CLOEXEC, 3);
        p->f.size = size_of(d->now);
        p->f.readonly = readonly;
        return &p->f;
}

static void apply_sectors(int fd, const struct event *e, GRand *rand) {
        for (uint64_t done = 0; done < e->len;) {
                uint64_t at = e->at + done, part = MIN(SECTOR - at % SECTOR, e->len - done);

                if (!rand || g_rand_boolean(rand)) {
                        if (e->kind == EVENT_WRITE)
                                g_assert_cmpint(pwrite(fd, (char *) e->data + done, part,
                                                       (off_t) at),
                                                ==, (ssize_t) part);
                        else
                                g_assert_cmpint(apply_zero(fd, at, part), ==, 0);
                }
                done += part;
        }
}

static void apply(int fd, const struct event *e, GRand *rand) {
        if (e->kind == EVENT_SYNC)
                return;
        if (e->kind == EVENT_TRUNCATE) {
                if (!rand || g_rand_boolean(rand))
                        g_assert_cmpint(ftruncate(fd, (off_t) e->at), ==, 0);
                return;
        }
        if (!rand && e->kind == EVENT_ZERO)
                g_assert_cmpint(apply_zero(fd, e->at, e->len), ==, 0);
        else if (!rand)
                g_assert_cmpint(pwrite(fd, e->data, e->len, (off_t) e->at), ==, (ssize_t) e->len);
        else
                apply_sectors(fd, e, rand);
}

static struct image_file *file_of(int fd) {
        GError *error = NULL;
        struct image_file *f = image_file_new(fd, /* readonly= */ false, &error);

        g_assert_no_error(error);
        return f;
}

struct image_file *power_disk_cut(struct power_disk *d, unsigned events, uint32_t seed) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
        unsigned synced = 0;
        int fd = new_memfd();

        g_assert_cmpuint(events, <=, d->events->len);
        copy(d->base, fd);
        for (unsigned i = 0; i < events; i++)
                if (g_array_index(d->events, struct event, i).kind == EVENT_SYNC)
                        synced = i;
        for (unsigned i = 0; i < events; i++)
                apply(fd, &g_array_index(d->events, struct event, i),
                      i >= synced && seed != 0 ? rand : NULL);
        return file_of(fd);
}

struct image_file *memory_file_new(const void *data, size_t len) {
        int fd = new_memfd();

        g_assert_cmpint(pwrite(fd, data, len, 0), ==, (ssize_t) len);
        return file_of(fd);
}

void image_file_export(struct image_file *f, const char *path) {
        autofd fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        g_assert_cmpint(fd, >=, 0);
        copy(f->fd, fd);
}
