/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guest memory cut into buffers for IORING_REGISTER_BUFFERS (io_uring_register(2)): one takes 1 GiB at most, and a request must lie in one. So
 * each region is cut evenly from its start, and what lies across a cut goes the ordinary way.
 */

#include "devices/block/engine-fixed.h"

#include <errno.h>

#define BUFFER_SHIFT 30
#define BUFFER_SIZE (1ull << BUFFER_SHIFT)

static unsigned count_buffers(uint64_t size) {
        return (unsigned) ((size + BUFFER_SIZE - 1) >> BUFFER_SHIFT);
}

void fixed_memory_init(struct fixed_memory *f, const gmem *mem) {
        *f = (struct fixed_memory){ .n_regions = (unsigned) gmem_n_regions(mem) };
        f->regions = g_new0(struct fixed_region, f->n_regions);
        for (unsigned i = 0; i < f->n_regions; i++) {
                const struct gmem_region *region = gmem_region(mem, i);

                f->regions[i] = (struct fixed_region){
                        .start = (uintptr_t) region->host,
                        .size = region->size,
                        .first = f->n_buffers,
                };
                f->n_buffers += count_buffers(region->size);
        }
}

void fixed_memory_clear(struct fixed_memory *f) {
        g_clear_pointer(&f->regions, g_free);
        f->n_regions = f->n_buffers = 0;
}

int fixed_memory_register(const struct fixed_memory *f, struct io_uring *ring) {
        g_autofree struct iovec *buffers = g_new(struct iovec, f->n_buffers);

        for (unsigned i = 0; i < f->n_regions; i++) {
                const struct fixed_region *r = &f->regions[i];

                for (uint64_t at = 0; at < r->size; at += BUFFER_SIZE)
                        buffers[r->first + (at >> BUFFER_SHIFT)] = (struct iovec){
                                .iov_base = (char *) r->start + at,
                                .iov_len = MIN(r->size - at, BUFFER_SIZE),
                        };
        }
        return io_uring_register_buffers(ring, buffers, f->n_buffers);
}

int fixed_memory_find(const struct fixed_memory *f, const void *p, uint64_t len) {
        for (unsigned i = 0; i < f->n_regions; i++) {
                const struct fixed_region *r = &f->regions[i];
                uint64_t at = (uintptr_t) p - r->start;

                if (at >= r->size || len == 0 || len > r->size - at)
                        continue;
                if (at >> BUFFER_SHIFT != (at + len - 1) >> BUFFER_SHIFT)
                        return -1;
                return (int) (r->first + (at >> BUFFER_SHIFT));
        }
        return -1;
}
