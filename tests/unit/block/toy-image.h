/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/image.h"

#include <stdatomic.h>

/*
 * An image format for tests, whose tables are in memory: places are given out in disorder, clusters may be shared, zero, packed or absent, and space
 * that was given up is used again by the next who asks, as soon as it may be.
 */

#define TOY_CLUSTER 4096u

struct toy_image {
        struct image img; /* first */
        int64_t *map;     /* a cluster's place, or one of these */
        bool *shared;     /* a cluster may not be overwritten where it is */
        GArray *free, *held;
        int64_t end;                         /* places given out so far */
        atomic_uint flushes, maps, releases; /* releases: of something */
};

#define TOY_ABSENT (-1)
#define TOY_ZERO (-2)
#define TOY_PACKED (-3) /* every byte is TOY_PACKED_BYTE */
#define TOY_PACKED_BYTE 0x5a

/* Takes file and backing (may be NULL) over. All is absent. */
struct toy_image *toy_image_new(struct image_file *file, uint64_t size, struct image *backing);
