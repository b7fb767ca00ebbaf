/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guest buffers as lists of host pieces (virtq.h): copies at an offset that never leave the list,
 * and the way back from host pieces to guest pages for dirty tracking.
 */

#include <string.h>

#include "devices/virtio/virtq.h"

/* The piece at offset, and how many bytes of it are left; NULL past the end. */
static uint8_t *seek(const struct iovec **iov, size_t *n, size_t *offset, size_t *ret_left) {
        for (; *n > 0; (*iov)++, (*n)--) {
                if (*offset < (*iov)->iov_len) {
                        *ret_left = (*iov)->iov_len - *offset;
                        return (uint8_t *) (*iov)->iov_base + *offset;
                }
                *offset -= (*iov)->iov_len;
        }

        return NULL;
}

size_t iov_copy_out(const struct iovec *iov, size_t n, size_t offset, void *buf, size_t len) {
        size_t done = 0, left;

        while (done < len) {
                const uint8_t *from = seek(&iov, &n, &offset, &left);

                if (!from)
                        break;
                left = MIN(left, len - done);
                memcpy((uint8_t *) buf + done, from, left);
                done += left;
                offset += left;
        }

        return done;
}

size_t iov_copy_in(const struct iovec *iov, size_t n, size_t offset, const void *buf, size_t len) {
        size_t done = 0, left;

        while (done < len) {
                uint8_t *to = seek(&iov, &n, &offset, &left);

                if (!to)
                        break;
                left = MIN(left, len - done);
                memcpy(to, (const uint8_t *) buf + done, left);
                done += left;
                offset += left;
        }

        return done;
}

static void mark_piece(const gmem *mem, const void *host, uint64_t len) {
        for (size_t i = 0; i < gmem_n_regions(mem); i++) {
                const struct gmem_region *r = gmem_region(mem, i);
                uint64_t offset = (uint64_t) ((uintptr_t) host - (uintptr_t) r->host);

                if (offset < r->size) {
                        gmem_mark_dirty(mem, GADDR(r->base.v + offset), len);
                        return;
                }
        }
}

void virtq_mark_written(const struct virtq *q, const struct virtq_chain *chain, uint32_t len) {
        const struct iovec *iov = chain->iov + chain->n_read;

        if (G_LIKELY(!gmem_tracks_dirty(q->mem)))
                return;

        for (size_t i = 0; i < chain->n_write && len > 0; i++) {
                size_t part = MIN(iov[i].iov_len, len);

                mark_piece(q->mem, iov[i].iov_base, part);
                len -= (uint32_t) part;
        }
}
