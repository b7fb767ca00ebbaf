/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/engine.h"

#include <stdatomic.h>

/*
 * A disk image: what a guest's disk is made of. The image knows the format and says where the bytes are; an engine moves them.
 * An image is made and freed on the main thread; requests come from every queue's thread at once.
 */

struct disk_image_topology {
        uint32_t logical_block;  /* bytes, power of 2, 512 or more; requests should be multiples */
        uint32_t physical_block; /* bytes, power of 2, a multiple of logical_block */
        uint32_t min_io, opt_io; /* bytes; 0: unknown */
        uint32_t memory_align;   /* of buffers, bytes; 1 unless direct */
        uint32_t discard_align; /* bytes, a multiple of logical_block: less than this at a time frees nothing */
};

#define DISK_IMAGE_SERIAL_MAX 20

struct disk_image {
        const struct disk_image_ops *ops;
        atomic_uint_least64_t
                        size; /* bytes, multiple of topology.logical_block; changed by its owner, one thread at a time */
        bool readonly;
        bool direct;
        bool preallocated; /* a raw file has all of its space, and gets all of what is added */
        bool can_erase;    /* BLOCK_ERASE */
        bool accepts_posts; /* its requests may come back from another thread: engine_accept_posts() */
        const char *format;
        int main_fd; /* where most requests go; for engine_new() */
        struct disk_image_topology topology;
        char serial[DISK_IMAGE_SERIAL_MAX + 1]; /* made from device and inode numbers */
};

struct disk_image_ops {
        /* Gives req to e, once or in parts. The range was checked. Any queue's thread; no allocation, no lock. */
        void (*start)(struct disk_image *img, struct engine *e, struct block_req *req);
        void (*free)(struct disk_image *img);

        /* Both on one thread at a time, while others start requests; NULL: its size stays as it is. plan: what *size would come to, which is
         * rounded up to whole blocks; 0 stands for what the file or device has by now. resize: makes the file so, whole or not at all. It does
         * not change img->size. */
        bool (*plan)(struct disk_image *img, uint64_t *size, GError **error);
        bool (*resize)(struct disk_image *img,
                       uint64_t size,
                       const atomic_bool *stop,
                       GError **error);
};

/* A regular file or block device whose bytes are the disk's. Takes fd over, also on failure. A writable image needs O_RDWR;
 * direct says that fd must be O_DIRECT. A size that is no multiple of the logical block is rounded down. */
struct disk_image *disk_image_open_raw(int fd, bool readonly, bool direct, GError **error);

/* That img is raw was found out by its bytes: the guest may not give it another format's signature (-EPERM). Before any request. */
void disk_image_guard_raw(struct disk_image *img);

/* No request may be in flight. NULL is fine. Returns NULL. */
struct disk_image *disk_image_free(struct disk_image *img);

/* Begins req; its done() comes from the engine. A range beyond the image, or a write to a read-only one, is answered
 * with -EINVAL or -EROFS there, too. */
void disk_image_start(struct disk_image *img, struct engine *e, struct block_req *req);

/* A change of the size is planned, and the file made so, as the ops say. Between the two the owner of a disk that is to shrink sets img->size, and
 * sees to it that nothing is in flight beyond; one that grows gets its img->size afterwards. HV_ERROR_UNSUPPORTED when it cannot
 * be changed. It may take long. stop (NULL: nobody will) is looked at now and then: once it is set a disk that grows gets no larger (HV_ERROR_FAILED), and one that
 * shrinks, which cannot be undone, gets its size all the same. */
bool disk_image_plan(struct disk_image *img, uint64_t *size, GError **error);
bool disk_image_resize(
                struct disk_image *img, uint64_t size, const atomic_bool *stop, GError **error);

/* For implementations: the error of a change that stop has ended. Always false. */
bool disk_image_resize_stopped(GError **error);

/* For implementations: size, rounded up to whole blocks; 0: too large. */
uint64_t disk_image_whole_blocks(const struct disk_image *img, uint64_t size);

/* For implementations: a serial number from the file's identity. */
void disk_image_make_serial(struct disk_image *img, int fd);

typedef struct disk_image disk_image;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(disk_image, disk_image_free)
