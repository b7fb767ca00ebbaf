/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * A file of the host that holds an image or a part of one, read and written with blocking calls by one thread at a time. Descriptors with
 * O_DIRECT are served as any other: what is not aligned goes through a buffer.
 */

struct image_file;

/* What a file is made of. Tests put something else here: a disk that loses power at the n-th write. Each returns 0 (a count for the first two) or
 * negative errno. */
struct image_file_ops {
        ssize_t (*preadv)(struct image_file *f, const struct iovec *iov, int n, uint64_t offset);
        ssize_t (*pwritev)(struct image_file *f, const struct iovec *iov, int n, uint64_t offset);
        int (*sync)(struct image_file *f);
        int (*fallocate)(struct image_file *f, int mode, uint64_t offset, uint64_t len);
        int (*truncate)(struct image_file *f, uint64_t size);
        void (*free)(struct image_file *f);
};

struct image_file {
        const struct image_file_ops *ops;
        int fd;
        uint64_t size;  /* bytes; follows what is written past the end */
        uint32_t align; /* bytes: of offsets, lengths and buffers; 1 unless O_DIRECT */
        bool readonly;
        bool block_device; /* has a fixed size */
        void *bounce;      /* when align > 1 */
};

/* A regular file or block device. Takes fd over, also on failure. Writable needs O_RDWR. */
struct image_file *image_file_new(int fd, bool readonly, GError **error);

/* The same with other ops: fd may be -1; the owner sets size. */
void image_file_init(struct image_file *f, const struct image_file_ops *ops);

/* NULL is fine. Returns NULL. */
struct image_file *image_file_free(struct image_file *f);

/* All of these: 0 or negative errno; all or an error. -EROFS for changes of a read-only file; -EFBIG beyond INT64_MAX. */

/* What lies beyond the end reads as zeros. */
int image_file_read(struct image_file *f, uint64_t offset, void *buf, size_t len);
int image_file_readv(struct image_file *f, uint64_t offset, const struct iovec *iov, unsigned n);

/* The file grows as needed (-ENOSPC on a block device). */
int image_file_write(struct image_file *f, uint64_t offset, const void *buf, size_t len);
int image_file_writev(struct image_file *f, uint64_t offset, const struct iovec *iov, unsigned n);

/* What was written is on stable storage. */
int image_file_sync(struct image_file *f);

/* The range reads as zeros, whatever the host has to do for it; unmap: it need not stay allocated. May grow the file. */
int image_file_zero(struct image_file *f, uint64_t offset, uint64_t len, bool unmap);

/* The host may take the range's blocks back; what it reads as then is not said. Not an error where the host cannot. */
int image_file_discard(struct image_file *f, uint64_t offset, uint64_t len);

/* Makes sure that writing to the range will not run out of space. */
int image_file_allocate(struct image_file *f, uint64_t offset, uint64_t len);

int image_file_truncate(struct image_file *f, uint64_t size);

typedef struct image_file image_file;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_file, image_file_free)
