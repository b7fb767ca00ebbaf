/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What split and packed virtqueues share (virtio 1.2, 2.6): set-up, and the way from a guest's buffer to host memory.
 *
 * The rings live in guest memory and a hostile driver rewrites them while we look. So every index, flag and descriptor is copied
 * exactly once, checked, and only the copy is used; addresses become host pointers through gmem_map() alone; and a
 * chain may have as many descriptors as the queue at most, which bounds loops. What breaks the rules breaks the queue: it
 * yields nothing more until reset.
 *
 * Life: virtq_reset() → virtq_start_over() and fields filled in by the transport → virtq_enable() → pop, push → virtq_reset().
 */

#include "devices/virtio/virtq-private.h"

#include <assert.h>
#include <errno.h>

#define SPLIT_AVAIL_BYTES(size) (6 + 2 * (uint64_t) (size))
#define SPLIT_USED_BYTES(size) (6 + 8 * (uint64_t) (size))
#define PACKED_EVENT_BYTES 4u
#define PACKED_PLACE 0x7fffu

void virtq_reset(struct virtq *q) {
        *q = (struct virtq){
                .mem = q->mem,
                .size = q->max_size,
                .max_size = q->max_size,
                .vector = VIRTQ_NO_VECTOR,
                .kick_fd = q->kick_fd,
        };
}

void virtq_start_over(struct virtq *q, bool packed) {
        assert(!q->ready);

        q->packed = packed;
        /* 2.8.1: both wrap counters start as 1. */
        q->last_avail = q->used_idx = packed ? 1u << 15 : 0;
        q->avail_seen = q->signalled = q->in_flight = 0;
}

/* 2.7: a power of 2; 2.8: any number. Nothing is in flight, so both sides of a packed ring stand at the same place. */
static bool is_sound(const struct virtq *q) {
        if (q->size == 0 || q->size > q->max_size || q->desc.v % DESC_BYTES != 0)
                return false;
        if (!q->packed)
                return (q->size & (q->size - 1)) == 0 && q->avail.v % 2 == 0 && q->used.v % 4 == 0;
        return q->avail.v % 4 == 0 && q->used.v % 4 == 0 && q->last_avail == q->used_idx &&
               (q->last_avail & PACKED_PLACE) < q->size;
}

int virtq_enable(struct virtq *q) {
        uint64_t avail_bytes = q->packed ? PACKED_EVENT_BYTES : SPLIT_AVAIL_BYTES(q->size),
                 used_bytes = q->packed ? PACKED_EVENT_BYTES : SPLIT_USED_BYTES(q->size);

        assert(q->mem);

        if (!is_sound(q))
                return -EINVAL;

        q->desc_host = gmem_map(q->mem, q->desc, (uint64_t) q->size * DESC_BYTES, q->packed);
        q->avail_host = gmem_map(q->mem, q->avail, avail_bytes, /* for_write = */ false);
        q->used_host = gmem_map(q->mem, q->used, used_bytes, /* for_write = */ true);
        if (!q->desc_host || !q->avail_host || !q->used_host)
                return -EFAULT;

        q->avail_seen = q->last_avail;
        q->ready = true;
        return 0;
}

void *virtq_map_part(const gmem *mem, gaddr addr, uint64_t *len, bool for_write) {
        for (size_t i = 0; i < gmem_n_regions(mem); i++) {
                const struct gmem_region *r = gmem_region(mem, i);

                if (addr.v - r->base.v < r->size) {
                        *len = MIN(*len, r->size - (addr.v - r->base.v));
                        return gmem_map(mem, addr, *len, for_write);
                }
        }

        return NULL;
}
