/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/unit/block/host-file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/unit/block/support.h"

struct host host;

static ssize_t host_preadv(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        atomic_fetch_add(&host.reads, 1);
        if (host.read_error != 0)
                return -host.read_error;
        return preadv(f->fd, iov, n, (off_t) offset);
}

static ssize_t host_pwritev(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        if (host.write_us > 0)
                g_usleep(host.write_us);
        if (host.write_error != 0)
                return -host.write_error;
        return pwritev(f->fd, iov, n, (off_t) offset);
}

static int host_sync(struct image_file *f) {
        atomic_fetch_add(&host.syncs, 1);
        return -host.sync_error;
}

static int host_fallocate(struct image_file *f, int mode, uint64_t offset, uint64_t len) {
        return fallocate(f->fd, mode, (off_t) offset, (off_t) len) < 0 ? -errno : 0;
}

static int host_truncate(struct image_file *f, uint64_t size) {
        return ftruncate(f->fd, (off_t) size) < 0 ? -errno : 0;
}

static void host_free(struct image_file *f) {
        (void) close(f->fd);
        g_free(f);
}

const struct image_file_ops host_file_ops = {
        host_preadv, host_pwritev, host_sync, host_fallocate, host_truncate, host_free,
};

struct image_file *host_file_new(uint64_t size) {
        struct image_file *f = g_new0(struct image_file, 1);

        host = (struct host){ 0 };
        image_file_init(f, &host_file_ops);
        f->fd = test_file_new(size, O_RDWR);
        f->size = size;
        return f;
}
