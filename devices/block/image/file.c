/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The host's files under images. A transfer is done whole or fails; what lies beyond the end of a file reads as zeros, so that
 * formats need not care how their last cluster was written.
 *
 * With O_DIRECT everything goes through one aligned buffer, and what is not aligned is read, changed and written back: only
 * metadata and odd requests come this way, a worker's data has its own.
 */

#include "devices/block/image/file.h"
#include "devices/block/image/direct.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOUNCE_SIZE (256u * 1024u)
#define BOUNCE_ALIGN 4096u

static ssize_t host_preadv(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        ssize_t r = preadv(f->fd, iov, n, (off_t) offset);

        return r < 0 ? -errno : r;
}

static ssize_t host_pwritev(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        ssize_t r = pwritev(f->fd, iov, n, (off_t) offset);

        return r < 0 ? -errno : r;
}

static int host_sync(struct image_file *f) {
        return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int host_fallocate(struct image_file *f, int mode, uint64_t offset, uint64_t len) {
        return fallocate(f->fd, mode, (off_t) offset, (off_t) len) < 0 ? -errno : 0;
}

static int host_truncate(struct image_file *f, uint64_t size) {
        return ftruncate(f->fd, (off_t) size) < 0 ? -errno : 0;
}

static void host_free(struct image_file *f) {
        chv_closep(&f->fd);
        g_free(f);
}

static const struct image_file_ops host_ops = {
        .preadv = host_preadv,
        .pwritev = host_pwritev,
        .sync = host_sync,
        .fallocate = host_fallocate,
        .truncate = host_truncate,
        .free = host_free,
};

static bool query(struct image_file *f, GError **error) {
        int flags = fcntl(f->fd, F_GETFL);
        struct stat st;

        if (flags < 0 || fstat(f->fd, &st) < 0)
                return hv_error_errno(error, errno, "asking for the status of a disk image");
        if ((flags & O_ACCMODE) == O_WRONLY || flags & (O_PATH | O_APPEND) ||
            (!f->readonly && (flags & O_ACCMODE) != O_RDWR)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "the disk image's descriptor is not open for %s",
                            f->readonly ? "reading" : "reading and writing");
                return false;
        }
        if (S_ISBLK(st.st_mode)) {
                f->block_device = true;
                if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0)
                        return hv_error_errno(
                                        error, errno, "asking for the size of a block device");
        } else if (S_ISREG(st.st_mode)) {
                f->size = (uint64_t) st.st_size;
        } else {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_INVALID,
                                "the disk image is neither a regular file nor a block device");
                return false;
        }
        if (flags & O_DIRECT) {
                struct direct_align align = direct_align_query(f->fd);

                f->align = MAX(align.offset, align.memory);
        }
        return true;
}

void image_file_init(struct image_file *f, const struct image_file_ops *ops) {
        *f = (struct image_file){ .ops = ops, .fd = -1, .align = 1 };
}

struct image_file *image_file_new(int fd, bool readonly, GError **error) {
        struct image_file *f = g_new0(struct image_file, 1);

        assert(fd >= 0);

        image_file_init(f, &host_ops);
        f->fd = fd;
        f->readonly = readonly;
        if (!query(f, error))
                return image_file_free(f);
        return f;
}

struct image_file *image_file_free(struct image_file *f) {
        if (!f)
                return NULL;
        free(f->bounce);
        f->ops->free(f);
        return NULL;
}

static bool is_too_far(uint64_t offset, uint64_t len) {
        return offset > INT64_MAX || len > INT64_MAX - offset;
}

/* Moves n bytes on in *iov, which is a copy. */
static void advance(struct iovec **iov, unsigned *n_iov, size_t n) {
        while (n > 0) {
                size_t part = MIN(n, (*iov)->iov_len);

                (*iov)->iov_base = (char *) (*iov)->iov_base + part;
                (*iov)->iov_len -= part;
                n -= part;
                if ((*iov)->iov_len == 0) {
                        (*iov)++;
                        (*n_iov)--;
                }
        }
}

static size_t total(const struct iovec *iov, unsigned n) {
        size_t len = 0;

        for (unsigned i = 0; i < n; i++)
                len += iov[i].iov_len;
        return len;
}

/* iov is used up. */
static int
move_all(struct image_file *f, uint64_t offset, struct iovec *iov, unsigned n, bool write) {
        size_t left = total(iov, n);

        while (left > 0) {
                int batch = (int) MIN(n, (unsigned) IOV_MAX);
                ssize_t r = write ? f->ops->pwritev(f, iov, batch, offset)
                                  : f->ops->preadv(f, iov, batch, offset);

                if (r == -EINTR || r == -EAGAIN)
                        continue;
                if (r < 0)
                        return (int) r;
                if (r == 0 && write)
                        return -EIO;
                if (r == 0) {
                        for (unsigned i = 0; i < n; i++)
                                memset(iov[i].iov_base, 0, iov[i].iov_len);
                        return 0;
                }
                advance(&iov, &n, (size_t) r);
                offset += (size_t) r;
                left -= (size_t) r;
        }
        return 0;
}

static int move_one(struct image_file *f, uint64_t offset, void *buf, size_t len, bool write) {
        struct iovec iov = { buf, len };

        return move_all(f, offset, &iov, 1, write);
}

/* Copies between buf and the iovecs, skip bytes into them. */
static void
copy_iov(const struct iovec *iov, unsigned n, size_t skip, char *buf, size_t len, bool from_iov) {
        for (unsigned i = 0; i < n && len > 0; i++) {
                size_t part;

                if (skip >= iov[i].iov_len) {
                        skip -= iov[i].iov_len;
                        continue;
                }
                part = MIN(len, iov[i].iov_len - skip);
                if (from_iov)
                        memcpy(buf, (char *) iov[i].iov_base + skip, part);
                else
                        memcpy((char *) iov[i].iov_base + skip, buf, part);
                skip = 0;
                buf += part;
                len -= part;
        }
}

static int
move_bounced(struct image_file *f,
             uint64_t offset,
             const struct iovec *iov,
             unsigned n,
             bool write) {
        size_t len = total(iov, n), done = 0;
        uint64_t end = offset + len, size = f->size;

        if (!f->bounce) {
                f->bounce = aligned_alloc(MAX(f->align, BOUNCE_ALIGN), BOUNCE_SIZE);
                if (!f->bounce)
                        return -ENOMEM;
        }
        while (done < len) {
                uint64_t at = offset + done, from = at - at % f->align;
                size_t skip = (size_t) (at - from),
                       part = (size_t) MIN(len - done, BOUNCE_SIZE - skip), whole = skip + part;
                int r = 0;

                whole += (f->align - whole % f->align) % f->align;
                if (!write || whole != part)
                        r = move_one(f, from, f->bounce, whole, /* write= */ false);
                if (r < 0)
                        return r;
                copy_iov(iov, n, done, (char *) f->bounce + skip, part, write);
                if (write)
                        r = move_one(f, from, f->bounce, whole, /* write= */ true);
                if (r < 0)
                        return r;
                done += part;
        }
        /* The last block was written whole: the file ends where it did, or where this write did. */
        if (write && !f->block_device && end > size && end % f->align != 0)
                return f->ops->truncate(f, end);
        if (write && !f->block_device && end <= size && size % f->align != 0 &&
            end > size - size % f->align)
                return f->ops->truncate(f, size);
        return 0;
}

static int
move(struct image_file *f, uint64_t offset, const struct iovec *iov, unsigned n, bool write) {
        struct iovec few[16];
        g_autofree struct iovec *many = NULL;
        struct iovec *copy = few;

        if (f->align > 1)
                return move_bounced(f, offset, iov, n, write);
        if (n > G_N_ELEMENTS(few))
                copy = many = g_memdup2(iov, n * sizeof(*iov));
        else
                memcpy(few, iov, n * sizeof(*iov));
        return move_all(f, offset, copy, n, write);
}

int image_file_readv(struct image_file *f, uint64_t offset, const struct iovec *iov, unsigned n) {
        assert(f && iov);

        if (is_too_far(offset, total(iov, n)))
                return -EFBIG;
        return move(f, offset, iov, n, /* write= */ false);
}

int image_file_read(struct image_file *f, uint64_t offset, void *buf, size_t len) {
        return image_file_readv(f, offset, &(struct iovec){ buf, len }, 1);
}

/* 0 if a change of the range may be tried. */
static int check_change(const struct image_file *f, uint64_t offset, uint64_t len) {
        if (f->readonly)
                return -EROFS;
        if (is_too_far(offset, len))
                return -EFBIG;
        if (f->block_device && (offset > f->size || len > f->size - offset))
                return -ENOSPC;
        return 0;
}

int image_file_writev(struct image_file *f, uint64_t offset, const struct iovec *iov, unsigned n) {
        size_t len;
        int r;

        assert(f && iov);

        len = total(iov, n);
        r = check_change(f, offset, len);
        if (r == 0 && len > 0)
                r = move(f, offset, iov, n, /* write= */ true);
        if (r == 0 && len > 0)
                f->size = MAX(f->size, offset + len);
        return r;
}

int image_file_write(struct image_file *f, uint64_t offset, const void *buf, size_t len) {
        return image_file_writev(f, offset, &(struct iovec){ (void *) buf, len }, 1);
}

int image_file_sync(struct image_file *f) {
        int r;

        assert(f);

        do
                r = f->ops->sync(f);
        while (r == -EINTR);
        return r;
}

static int write_zeros(struct image_file *f, uint64_t offset, uint64_t len) {
        static const char zeros[64 * 1024];
        int r = 0;

        while (r == 0 && len > 0) {
                size_t part = (size_t) MIN(len, sizeof(zeros));

                r = image_file_write(f, offset, zeros, part);
                offset += part;
                len -= part;
        }
        return r;
}

static int change(struct image_file *f, int mode, uint64_t offset, uint64_t len) {
        int r;

        do
                r = f->ops->fallocate(f, mode, offset, len);
        while (r == -EINTR);
        return r;
}

static int grow_to(struct image_file *f, uint64_t size) {
        return size <= f->size ? 0 : image_file_truncate(f, size);
}

int image_file_zero(struct image_file *f, uint64_t offset, uint64_t len, bool unmap) {
        int r;

        assert(f);

        r = check_change(f, offset, len);
        if (r < 0 || len == 0)
                return r;
        r = change(f, FALLOC_FL_KEEP_SIZE | (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
                   offset, len);
        if (r == -EOPNOTSUPP && unmap)
                r = change(f, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, offset, len);
        /* A range that is not aligned: block devices take it for an error. */
        if (r == -EOPNOTSUPP || (r == -EINVAL && f->block_device))
                return write_zeros(f, offset, len);
        return r < 0 ? r : grow_to(f, offset + len);
}

int image_file_discard(struct image_file *f, uint64_t offset, uint64_t len) {
        int r;

        assert(f);

        r = check_change(f, offset, len);
        if (r < 0 || len == 0)
                return r;
        r = change(f, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, len);
        return r == -EOPNOTSUPP || (r == -EINVAL && f->block_device) ? 0 : r;
}

int image_file_allocate(struct image_file *f, uint64_t offset, uint64_t len) {
        int r;

        assert(f);

        r = check_change(f, offset, len);
        if (r < 0 || len == 0 || f->block_device)
                return r;
        r = change(f, 0, offset, len);
        if (r == 0)
                f->size = MAX(f->size, offset + len);
        return r;
}

int image_file_truncate(struct image_file *f, uint64_t size) {
        int r;

        assert(f);

        if (f->readonly)
                return -EROFS;
        if (size > INT64_MAX)
                return -EFBIG;
        if (f->block_device)
                return size <= f->size ? 0 : -ENOSPC;
        r = f->ops->truncate(f, size);
        if (r == 0)
                f->size = size;
        return r;
}
