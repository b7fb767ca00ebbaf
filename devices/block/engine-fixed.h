/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/memory.h"

#include <liburing.h>

/* Guest memory as an io_uring's registered buffers: pinned once, and not looked up page by page for each request. Zeroed: none. */
struct fixed_memory {
        struct fixed_region {
                uintptr_t start;
                uint64_t size;
                unsigned first; /* index of its first buffer */
        } * regions;
        unsigned n_regions, n_buffers;
};

void fixed_memory_init(struct fixed_memory *f, const gmem *mem);
void fixed_memory_clear(struct fixed_memory *f);

/* Gives it to a ring, which pins all of it. 0 or negative errno. */
int fixed_memory_register(const struct fixed_memory *f, struct io_uring *ring);

/* Index of the buffer in which [p, p + len) lies, or -1. */
int fixed_memory_find(const struct fixed_memory *f, const void *p, uint64_t len);
