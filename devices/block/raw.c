/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The raw format: byte n of the disk is byte n of a regular file or block device.
 *
 * The descriptor comes from somebody else, so what it can do is checked rather than believed. With O_DIRECT the alignment the
 * host asks for decides the logical block size that the guest sees; buffers that do not fit it go through the engine's bounce
 * buffer, offsets that do not are the guest's mistake.
 */

#include "devices/block/disk-image.h"
#include "devices/block/guard.h"
#include "devices/block/image/direct.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK_SIZE_LIMIT (1024u * 1024u)
/* A device also has a limit of pieces of memory, which it does not tell; 64 pages are few enough for all. */
#define PIECE_MAX (256u * 1024u)
#define PIECE_ALIGN 4096u

struct raw {
        struct disk_image img;
        int fd;
        bool guarded;
        uint32_t piece_max; /* of requests, bytes; 0: the kernel does not mind their length */
        struct disk_guard guard;
};

static bool check_access(int fd, bool readonly, bool direct, GError **error) {
        int flags = fcntl(fd, F_GETFL);
        const char *wrong = NULL;

        if (flags < 0)
                return hv_error_errno(error, errno, "asking for the access mode of a disk image");
        if ((flags & O_ACCMODE) == O_WRONLY || flags & O_PATH)
                wrong = "is not open for reading";
        else if (!readonly && (flags & O_ACCMODE) != O_RDWR)
                wrong = "is not open for writing, and the disk is not read-only";
        else if (flags & O_APPEND)
                wrong = "is open in append mode";
        else if (direct && !(flags & O_DIRECT))
                wrong = "is not open with O_DIRECT, and direct=on asks for it";
        if (!wrong)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "the disk image's descriptor %s", wrong);
        return false;
}

static bool is_block_size(uint64_t n) {
        return n >= SECTOR && n <= BLOCK_SIZE_LIMIT && (n & (n - 1)) == 0;
}

/* What goes through the page cache is cut there, without anybody waiting for it. */
static void query_piece_max(struct raw *raw) {
        unsigned short sectors = 0;

        if (!raw->img.direct || raw->img.topology.logical_block > PIECE_ALIGN ||
            ioctl(raw->fd, BLKSECTGET, &sectors) < 0)
                return;
        raw->piece_max = MIN(sectors * SECTOR, PIECE_MAX) / PIECE_ALIGN * PIECE_ALIGN;
}

static bool query_device(struct raw *raw, GError **error) {
        struct disk_image_topology *t = &raw->img.topology;
        unsigned physical = 0, min_io = 0, opt_io = 0;
        int logical = 0, readonly = 0;

        if (ioctl(raw->fd, BLKROGET, &readonly) == 0 && readonly && !raw->img.readonly) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_INVALID,
                                "the disk's block device is read-only, and the disk is not");
                return false;
        }
        if (ioctl(raw->fd, BLKSSZGET, &logical) == 0 && is_block_size((uint64_t) logical))
                t->logical_block = (uint32_t) logical;
        if (ioctl(raw->fd, BLKPBSZGET, &physical) == 0 && is_block_size(physical))
                t->physical_block = physical;
        if (ioctl(raw->fd, BLKIOMIN, &min_io) == 0)
                t->min_io = min_io;
        if (ioctl(raw->fd, BLKIOOPT, &opt_io) == 0)
                t->opt_io = opt_io;
        query_piece_max(raw);
        /* Linux, since 5.19, first looks whether the device can do it and then at the range, which is none. */
        raw->img.can_erase = !raw->img.readonly && ioctl(raw->fd, BLKSECDISCARD, NULL) < 0 &&
                             errno == EFAULT;
        return true;
}

static void query_direct(struct raw *raw) {
        struct disk_image_topology *t = &raw->img.topology;
        struct direct_align align = direct_align_query(raw->fd);

        t->memory_align = align.memory;
        t->logical_block = MAX(t->logical_block, align.offset);
}

/* How many bytes there are at present, be they whole blocks or not. */
static bool query_size(const struct raw *raw, struct stat *st, uint64_t *ret_size, GError **error) {
        if (fstat(raw->fd, st) < 0)
                return hv_error_errno(error, errno, "asking for the status of a disk image");
        *ret_size = (uint64_t) st->st_size;
        return !S_ISBLK(st->st_mode) || ioctl(raw->fd, BLKGETSIZE64, ret_size) >= 0 ||
               hv_error_errno(error, errno, "asking for the size of a block device");
}

static bool query(struct raw *raw, GError **error) {
        struct disk_image_topology *t = &raw->img.topology;
        struct stat st;
        uint64_t size;

        if (!query_size(raw, &st, &size, error))
                return false;
        disk_image_make_serial(&raw->img, raw->fd);
        *t = (struct disk_image_topology){ SECTOR, SECTOR, 0, 0, 1, SECTOR };
        if (S_ISBLK(st.st_mode)) {
                if (!query_device(raw, error))
                        return false;
        } else if (S_ISREG(st.st_mode)) {
                if (is_block_size((uint64_t) st.st_blksize))
                        t->discard_align = (uint32_t) st.st_blksize;
        } else {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_INVALID,
                                "the disk image is neither a regular file nor a block device");
                return false;
        }

        if (raw->img.direct)
                query_direct(raw);
        t->physical_block = MAX(t->physical_block, t->logical_block);
        t->discard_align = MAX(t->discard_align, t->logical_block);
        atomic_init(&raw->img.size, size - size % t->logical_block);
        return true;
}

static bool fits_direct(const struct disk_image_topology *t, const struct block_req *req) {
        uint32_t mask = t->memory_align - 1;

        for (unsigned i = 0; i < req->n_iov; i++)
                if (((uintptr_t) req->iov[i].iov_base & mask) != 0 ||
                    (req->iov[i].iov_len & (t->logical_block - 1)) != 0)
                        return false;
        return true;
}

/* On the queue's thread: no engine has it, and who wants this is in no hurry. */
static int erase(const struct raw *raw, const struct block_req *req) {
        uint64_t range[2] = { req->offset, req->len };
        int r;

        do
                r = ioctl(raw->fd, BLKSECDISCARD, range);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

static void raw_start(struct disk_image *img, struct engine *e, struct block_req *req) {
        struct raw *raw = (struct raw *) img;
        const struct disk_image_topology *t = &img->topology;

        req->fd = raw->fd;
        req->piece_max = raw->piece_max;
        req->cached = !img->direct;
        if (req->op == BLOCK_ERASE) {
                engine_answer(e, req, req->len > 0 ? erase(raw, req) : 0);
                return;
        }
        if (img->direct && (req->op == BLOCK_READ || req->op == BLOCK_WRITE)) {
                if (((req->offset | req->len) & (t->logical_block - 1)) != 0) {
                        engine_answer(e, req, -EINVAL);
                        return;
                }
        }
        if (raw->guarded && req->op == BLOCK_WRITE &&
            disk_guard_concerns(&raw->guard, req->offset, req->len)) {
                pthread_mutex_lock(&raw->guard.lock);
                engine_queue_checked(e, req, disk_guard_check, &raw->guard);
                pthread_mutex_unlock(&raw->guard.lock);
        } else if (img->direct && (req->op == BLOCK_READ || req->op == BLOCK_WRITE) &&
                   !fits_direct(t, req)) {
                engine_queue_bounced(e, req);
        } else {
                engine_queue(e, req);
        }
}

static bool refuse_size(GError **error, const char *why, uint64_t now) {
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "%s, which has %" G_GUINT64_FORMAT " bytes",
                    why, now);
        return false;
}

static bool raw_plan(struct disk_image *img, uint64_t *size, GError **error) {
        const struct raw *raw = (struct raw *) img;
        uint64_t now, wanted;
        struct stat st;

        if (!query_size(raw, &st, &now, error))
                return false;
        now -= now % img->topology.logical_block;
        wanted = *size == 0 ? now : disk_image_whole_blocks(img, *size);
        if (wanted != now && S_ISBLK(st.st_mode))
                return refuse_size(
                                error,
                                "size: a disk cannot be given another size than its block device",
                                now);
        if (wanted != now && img->readonly)
                return refuse_size(
                                error, "size: the disk is read-only; this is no change of it", now);
        if (wanted == 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            *size == 0 ? "size: the file has none" : "size: is too large");
                return false;
        }
        *size = wanted;
        return true;
}

/* So much space at a time: a file system may have to write all of it. */
#define SPACE_STEP (256ull << 20)

static int add_space(int fd, uint64_t from, uint64_t end, const atomic_bool *stop) {
        while (from < end) {
                uint64_t len = MIN(end - from, SPACE_STEP);

                if (stop && atomic_load(stop))
                        return -ECANCELED;
                if (fallocate(fd, 0, (off_t) from, (off_t) len) == 0)
                        from += len;
                else if (errno != EINTR)
                        return -errno;
        }
        return 0;
}

static int cut_or_extend(int fd, uint64_t size) {
        int r;

        do
                r = ftruncate(fd, (off_t) size);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

static int
set_file_size(const struct raw *raw, uint64_t old, uint64_t size, const atomic_bool *stop) {
        int r = raw->img.preallocated && size > old ? add_space(raw->fd, old, size, stop)
                                                    : cut_or_extend(raw->fd, size);

        /* What was cut off is gone, be it for good or only until the host loses power. */
        if (r == 0 && size > old && fdatasync(raw->fd) < 0)
                r = -errno;
        /* What was added holds nothing. */
        if (r < 0 && size > old)
                (void) !ftruncate(raw->fd, (off_t) old);
        return r;
}

static bool
raw_resize(struct disk_image *img, uint64_t size, const atomic_bool *stop, GError **error) {
        struct raw *raw = (struct raw *) img;
        uint64_t now, end;
        struct stat st;
        int r = 0;

        if (!query_size(raw, &st, &now, error))
                return false;
        end = now - now % img->topology.logical_block == size ? now : size;
        if (raw->guarded && disk_guard_resize(&raw->guard, end) < 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "with this size the file would look like another format than raw; "
                            "image_type=raw says that it is none");
                return false;
        }
        if (end != now)
                r = set_file_size(raw, now, size, stop);
        if (r < 0 && raw->guarded)
                (void) disk_guard_resize(&raw->guard, now);
        if (r == -ECANCELED)
                return disk_image_resize_stopped(error);
        return r == 0 || hv_error_errno(error, -r, "changing the size of the disk's file");
}

static void raw_free(struct disk_image *img) {
        struct raw *raw = (struct raw *) img;

        if (raw->guarded)
                disk_guard_clear(&raw->guard);
        chv_closep(&raw->fd);
        g_free(raw);
}

static const struct disk_image_ops raw_ops = {
        .start = raw_start,
        .free = raw_free,
        .plan = raw_plan,
        .resize = raw_resize,
};

struct disk_image *disk_image_open_raw(int fd, bool readonly, bool direct, GError **error) {
        struct raw *raw;

        assert(fd >= 0);

        raw = g_new0(struct raw, 1);
        raw->fd = fd;
        raw->img = (struct disk_image){
                .ops = &raw_ops, .format = "raw", .readonly = readonly, .main_fd = fd
        };
        /* Who opened it so meant it so, whatever direct= says. */
        raw->img.direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
        if (!check_access(fd, readonly, direct, error) || !query(raw, error))
                return disk_image_free(&raw->img);
        return &raw->img;
}

void disk_image_guard_raw(struct disk_image *img) {
        struct raw *raw = (struct raw *) img;
        off_t end;

        assert(img && img->ops == &raw_ops && !raw->guarded);

        end = lseek(raw->fd, 0, SEEK_END);
        disk_guard_init(&raw->guard, raw->fd, end > 0 ? (uint64_t) end : img->size);
        raw->guarded = true;
}
