/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/memory.h"
#include <sys/uio.h>

/*
 * A virtqueue as the device sees it, split or packed (virtio 1.2, 2.7 and 2.8): rings in guest memory; chains with indirect
 * descriptors; EVENT_IDX. Which of the two it is, is the transport's business alone. One thread owns a queue at a time (its
 * I/O thread while the device is active, the main thread while it is paused). No allocation, no lock and no system call but the
 * interrupt.
 */

#define VIRTQ_SIZE_MAX 32768u
#define VIRTQ_NO_VECTOR 0xffff

/* Conditions the caller must handle; negative values are errors of ours. */
enum {
        VIRTQ_E_EMPTY = 1, /* nothing available */
        /* the guest broke the rules: set NEEDS_RESET, touch the queue no more */
        VIRTQ_E_BROKEN = 2,
};

struct virtq {
        /* Set up by the transport. */
        const gmem *mem;
        uint16_t size, max_size;
        bool ready;
        bool packed, event_idx, indirect; /* negotiated; packed before the queue is enabled */
        gaddr desc, avail, used; /* packed: ring, event suppression of the driver, of the device */
        uint16_t vector;
        int kick_fd; /* doorbell of the driver; owned by the transport */

        /* State of the device side. In a packed ring a place is its offset, and in the top bit the wrap counter there. */
        uint16_t last_avail; /* next avail entry to take */
        uint16_t avail_seen; /* split: the driver's index at our last look; entries below are checked */
        uint16_t used_idx; /* next used entry to write */
        /* Split: used_idx when an interrupt was last considered. Packed: entries used since then, 0xffff for that or more. */
        uint16_t signalled;
        uint16_t in_flight; /* popped, not yet pushed; chains, or descriptors of a packed ring */
        bool broken;

        /* Host pointers of the rings, checked when the queue was enabled; whole rings inside one region. */
        void *desc_host, *avail_host, *used_host;
};

/* A request: guest buffers as host iovecs, already checked. Device-readable first, then device-writable. */
struct virtq_chain {
        uint32_t token;           /* what it is called when it is returned */
        uint16_t n_read, n_write; /* iovecs of each kind */
        /* bytes; a chain longer than 4 GiB - 1 is refused as broken */
        uint32_t read_len, write_len;
        struct iovec *iov; /* n_read + n_write of them; the caller's array */
        uint16_t iov_max;
};

/* A chain that is returned, with so many bytes written by the device. */
struct virtq_used {
        uint32_t token;
        uint32_t len;
};

/* Checks addresses, alignment and size and maps the rings. 0 or -EINVAL / -EFAULT. The indices are kept: those of virtq_start_over()
 * after a reset, others after a restore. */
int virtq_enable(struct virtq *q);
void virtq_reset(struct virtq *q); /* keeps mem, max_size, kick_fd; split */

/* Chooses the layout of a queue that is not enabled, with nothing taken and nothing used. */
void virtq_start_over(struct virtq *q, bool packed);

/* What the functions below do for either layout. */
int virtq_split_pop(struct virtq *q, struct virtq_chain *chain);
void virtq_split_unpop(struct virtq *q, uint32_t token);
void virtq_split_push(struct virtq *q, uint32_t token, uint32_t len);
void virtq_split_push_many(struct virtq *q, const struct virtq_used *done, unsigned n);
bool virtq_split_want_interrupt(struct virtq *q);
void virtq_split_disable_notify(struct virtq *q);
bool virtq_split_enable_notify(struct virtq *q);
uint16_t virtq_split_pending(const struct virtq *q);
int virtq_packed_pop(struct virtq *q, struct virtq_chain *chain);
void virtq_packed_unpop(struct virtq *q, uint32_t token);
void virtq_packed_push(struct virtq *q, uint32_t token, uint32_t len);
void virtq_packed_push_many(struct virtq *q, const struct virtq_used *done, unsigned n);
bool virtq_packed_want_interrupt(struct virtq *q);
void virtq_packed_disable_notify(struct virtq *q);
bool virtq_packed_enable_notify(struct virtq *q);
uint16_t virtq_packed_pending(const struct virtq *q);

/* Takes the next chain. chain->iov and iov_max are the caller's; a chain that needs more iovecs than iov_max is
 * broken. 0, VIRTQ_E_EMPTY (also when the queue is not ready), VIRTQ_E_BROKEN. Descriptors are copied
 * once; empty ones are left out. A buffer across neighbouring memory regions makes one iovec in each. */
static inline int virtq_pop(struct virtq *q, struct virtq_chain *chain) {
        return G_UNLIKELY(q->packed) ? virtq_packed_pop(q, chain) : virtq_split_pop(q, chain);
}

/* Puts the last popped chain back, as if it had not been taken; then the one before, and so on. */
static inline void virtq_unpop(struct virtq *q, uint32_t token) {
        if (q->packed)
                virtq_packed_unpop(q, token);
        else
                virtq_split_unpop(q, token);
}

/* Returns a chain with len bytes written by the device. Visible to the guest at once; no interrupt. On a
 * broken queue it does nothing. */
static inline void virtq_push(struct virtq *q, uint32_t token, uint32_t len) {
        if (G_UNLIKELY(q->packed))
                virtq_packed_push(q, token, len);
        else
                virtq_split_push(q, token, len);
}

/* The same for n chains that the driver sees all at once: one packet in several buffers (5.1.6.4). */
static inline void virtq_push_many(struct virtq *q, const struct virtq_used *done, unsigned n) {
        if (G_UNLIKELY(q->packed))
                virtq_packed_push_many(q, done, n);
        else
                virtq_split_push_many(q, done, n);
}

/* Whether the driver wants an interrupt for what was pushed since the last call (2.7.7, 2.7.10, 2.8.10). */
static inline bool virtq_want_interrupt(struct virtq *q) {
        return G_UNLIKELY(q->packed) ? virtq_packed_want_interrupt(q)
                                     : virtq_split_want_interrupt(q);
}

/* Asks for no more / for further notifications. enable returns true when chains came in meanwhile: the caller goes on
 * popping. */
static inline void virtq_disable_notify(struct virtq *q) {
        if (G_UNLIKELY(q->packed))
                virtq_packed_disable_notify(q);
        else
                virtq_split_disable_notify(q);
}

static inline bool virtq_enable_notify(struct virtq *q) {
        return G_UNLIKELY(q->packed) ? virtq_packed_enable_notify(q) : virtq_split_enable_notify(q);
}

/* How many chains there are that were not taken, as far as one look tells: of a packed ring, whether there is one. */
static inline uint16_t virtq_pending(const struct virtq *q) {
        return q->packed ? virtq_packed_pending(q) : virtq_split_pending(q);
}

/* Marks guest memory written by the device as dirty, for a popped chain's writable part, up to len bytes. */
void virtq_mark_written(const struct virtq *q, const struct virtq_chain *chain, uint32_t len);

/* iovec helpers over a chain's part: copy with an offset, never beyond its end. Return bytes copied. */
size_t
iov_copy_out(const struct iovec *iov,
             size_t n,
             size_t offset,
             void *buf,
             size_t len); /* from guest */
size_t
iov_copy_in(const struct iovec *iov,
            size_t n,
            size_t offset,
            const void *buf,
            size_t len); /* to guest */
