/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/virtq.h"

#include <endian.h>

/* Between virtq.c, virtq-split.c and virtq-packed.c. */

/* Flags of a descriptor; virtio 1.2, 2.7.5 and 2.8.13. */
enum {
        DESC_NEXT = 1,
        DESC_WRITE = 2,
        DESC_INDIRECT = 4,
        /* packed */
        DESC_AVAIL = 1 << 7,
        DESC_USED = 1 << 15,
};

#define DESC_BYTES 16u

/* The flags of event suppression, 2.8.14. */
enum {
        EVENT_ENABLE = 0,
        EVENT_DISABLE = 1,
        EVENT_DESC = 2,
};

static inline int virtq_broken(struct virtq *q) {
        q->broken = true;
        return VIRTQ_E_BROKEN;
}

/* After a copy out of guest memory: that may hold something else from here on, and the compiler must not read it a second
 * time. */
static inline void virtq_copied(void) {
        __asm__ volatile("" ::: "memory");
}

static inline void virtq_begin_chain(struct virtq_chain *c) {
        c->n_read = c->n_write = 0;
        c->read_len = c->write_len = 0;
}

/* The part of [addr, addr+*len) in the region that holds addr; for buffers across neighbouring regions. NULL: there is none. */
void *virtq_map_part(const gmem *mem, gaddr addr, uint64_t *len, bool for_write);

/* Appends a buffer of left bytes. False: it breaks the rules. */
static inline bool virtq_add_buffer(
                const struct virtq *q,
                struct virtq_chain *c,
                gaddr addr,
                uint64_t left,
                bool write) {

        /* 2.7.4.2: everything that the device may write comes after everything that it may read. */
        if (!write && c->n_write > 0)
                return false;
        if (left > UINT32_MAX - c->read_len - c->write_len)
                return false;

        /* An empty buffer adds nothing; drivers in the field make them. */
        while (left > 0) {
                uint64_t len = left;
                void *host = gmem_map(q->mem, addr, len, write);

                if (!host)
                        host = virtq_map_part(q->mem, addr, &len, write);
                if (!host || c->n_read + c->n_write == c->iov_max)
                        return false;

                c->iov[c->n_read + c->n_write] = (struct iovec){ host, len };
                if (write) {
                        c->n_write++;
                        c->write_len += (uint32_t) len;
                } else {
                        c->n_read++;
                        c->read_len += (uint32_t) len;
                }

                left -= len;
                if (addr.v + len < addr.v && left > 0)
                        return false;
                addr.v += len;
        }

        return true;
}
