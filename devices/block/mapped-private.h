/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/engine-private.h"
#include "devices/block/extent-cache.h"
#include "devices/block/guard.h"
#include "devices/block/mapped.h"
#include "devices/iothread.h"

#include <pthread.h>

/* Between mapped.c (the queues' side) and mapped-slow.c (the image's thread). */

#define MAPPED_FILES_MAX 256u
#define MAPPED_STRIPES 8u

/* Requests of the fast path that are in flight, by the epoch they began in. Queues are spread over several, so that they do not fight over
 * one line of the processors' caches. */
struct mapped_stripe {
        _Alignas(64) atomic_uint n[2];
};

/* A file of the image's. Written before the first extent that names it is put into the cache, and never again. */
struct mapped_file {
        int fd;
        uint32_t align; /* of offsets, lengths and buffers */
};

enum mapped_grace {
        GRACE_NONE,
        GRACE_BEFORE,
        GRACE_AFTER
};

struct mapped {
        struct disk_image d; /* first */
        iothread *thread;
        bool no_fast_path;
        bool guarded; /* the file's first bytes are the disk's, and its format a guess */
        struct disk_guard guard;

        /* Of the queues' threads and the image's. */
        struct extent_cache cache;
        struct mapped_file files[MAPPED_FILES_MAX];
        struct mapped_stripe stripes[MAPPED_STRIPES];
        atomic_uint epoch;       /* 0 or 1 */
        atomic_bool grace_waits; /* whoever ends the last request of an epoch wakes the image's thread */
        atomic_bool slow_flush; /* a sync of main_fd alone is no flush */
        struct io_watch wake;   /* eventfd */
        pthread_mutex_t lock;   /* of slow */
        struct block_req_list slow;

        /* Of the image's thread alone. */
        struct image *img;
        uint32_t unit;
        unsigned n_files, n_writable_files;
        struct image_file *file_keys[MAPPED_FILES_MAX];
        enum mapped_grace grace;
        bool given_up; /* something may have been given up since the grace period began */
        unsigned grace_restarts, since_grace;
};

/* mapped-slow.c. start: on the main thread, before any request. stop: when no request is in flight; flushes and closes
 * the image. */
bool mapped_slow_start(
                struct mapped *m, const struct disk_image_mapped_config *config, GError **error);
void mapped_slow_stop(struct mapped *m);

/* As disk_image_ops.resize. */
bool mapped_slow_resize(struct mapped *m, uint64_t size, const atomic_bool *stop, GError **error);

void mapped_wake(struct mapped *m);
