/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/memory.h"

/*
 * The driver's side of a virtqueue in guest memory, split or packed (virtio 1.2, 2.7 and 2.8), for tests and fuzzers of
 * devices. It is written from the specification and shares nothing with the device's side. The
 * honest half keeps every rule and asserts that the device does; the hostile half breaks them.
 * One thread uses a ring at a time.
 */

enum {
        DRV_NEXT = 1,
        DRV_WRITE = 2,
        DRV_INDIRECT = 4,
};

struct drv_buf {
        gaddr addr;
        uint32_t len;
        bool write; /* for the device to write; after all that it reads */
};

struct drv_slot {
        bool busy;
        uint16_t n; /* descriptors in the main table */
        void *cookie;
        uint16_t next_free; /* packed */
};

struct drv_ring {
        const gmem *mem;
        gaddr desc, avail, used;
        gaddr tables; /* an indirect table for each head */
        uint16_t size, table_max;
        bool packed, event_idx;

        uint8_t *desc_host, *avail_host, *used_host;
        struct drv_slot *slots;
        uint16_t free_head, n_free;
        uint16_t avail_idx; /* entries written */
        uint16_t published; /* entries shown to the device */
        uint16_t last_used; /* entries taken back */

        /* Packed: descriptors written, shown and taken back since the beginning; chains outside; flags of the first descriptor that is
         * not shown yet. A slot belongs to a buffer id. */
        uint64_t n_written, n_shown, n_taken;
        uint16_t n_outside, hidden_flags;
};

/* Guest memory that a ring takes; base must be 16-aligned. */
uint64_t drv_ring_bytes(uint16_t size, uint16_t table_max);

/* Lays an empty ring out at base. table_max: longest indirect chain, 0 for none. */
void drv_ring_init(
                struct drv_ring *d,
                const gmem *mem,
                gaddr base,
                uint16_t size,
                uint16_t table_max,
                bool event_idx);
/* The same for a packed ring, of any size; it takes no more memory than a split one. */
void drv_ring_init_packed(
                struct drv_ring *d,
                const gmem *mem,
                gaddr base,
                uint16_t size,
                uint16_t table_max,
                bool event_idx);
void drv_ring_clear(struct drv_ring *d);

/* Makes a chain of n buffers, indirect if asked for, and puts it into the avail ring, still invisible. The
 * head, or -ENOSPC. */
int drv_add(struct drv_ring *d,
            const struct drv_buf *bufs,
            uint16_t n,
            bool indirect,
            void *cookie);

/* Shows the device what was added. True when the device wants to be notified of it. */
bool drv_publish(struct drv_ring *d);

/* Takes one used chain back. False when there is none. Asserts that it was outstanding. */
bool drv_take(struct drv_ring *d, void **ret_cookie, uint32_t *ret_len);

/* Whether there is one to take. */
bool drv_has_used(const struct drv_ring *d);

/* Chains that the device has not returned, published or not. */
uint16_t drv_outstanding(const struct drv_ring *d);

void drv_disable_interrupts(struct drv_ring *d);
/* True when chains came back meanwhile: the caller goes on taking. */
bool drv_enable_interrupts(struct drv_ring *d);

/* Hostile: raw writes, no bookkeeping, no bounds but the memory's. */
void drv_put_desc(
                const gmem *mem,
                gaddr table,
                unsigned i,
                uint64_t addr,
                uint32_t len,
                uint16_t flags,
                uint16_t next);
/* Of a split ring. */
void drv_put_avail(struct drv_ring *d, uint16_t slot, uint16_t head);
void drv_put_avail_idx(struct drv_ring *d, uint16_t idx);

/* Of a packed ring: a descriptor with just these flags. */
void drv_put_packed(
                struct drv_ring *d,
                uint16_t i,
                uint64_t addr,
                uint32_t len,
                uint16_t id,
                uint16_t flags);

/* Shows the device a chain without an end, of buffers at addr, where it looks first in a new ring. */
void drv_put_endless(struct drv_ring *d, gaddr addr);

/* One random wrong thing to the rings, buffers among [0, limit) of guest memory or wild. */
void drv_vandalise(struct drv_ring *d, GRand *rand, uint64_t limit);
