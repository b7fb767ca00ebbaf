/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/disk-image.h"
#include "devices/block/image/image.h"

/*
 * A disk whose image may have any format. What is known to lie in one piece in a file goes there on the queue's own thread; the rest is done by a
 * thread of the image's, which is the only one that touches the struct image.
 */

struct disk_image_mapped_config {
        const char *name;                   /* of the thread, at most 10 characters of it */
        void (*thread_start)(void *opaque); /* first thing on the thread (seccomp); may be NULL */
        void *opaque;
        bool no_fast_path; /* everything goes to the thread; for comparisons */
};

/* Takes img over, also on failure, and holds what it gives up (img->hold). The engines of its queues must accept posts. */
struct disk_image *disk_image_open_mapped(
                struct image *img, const struct disk_image_mapped_config *config, GError **error);
