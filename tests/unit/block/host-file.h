/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>

#include "devices/block/image/file.h"

/* A file of the host's, for images in tests, that does as it is told. There is one host. */
struct host {
        atomic_int read_error, write_error, sync_error; /* errno; 0: none */
        atomic_uint write_us;                           /* what a write takes at least */
        atomic_uint reads, syncs;                       /* so far */
};
extern struct host host;

extern const struct image_file_ops host_file_ops;

/* An unlinked one of that size (test_file_new()), on a host as it was at first. */
struct image_file *host_file_new(uint64_t size);
