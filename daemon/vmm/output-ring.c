/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring of the last bytes of a stream. The writer never waits: it overwrites the oldest bytes, and
 * a reader that was overtaken learns how much it missed. Memory is touched only as far as
 * output has come, so a silent console costs address space alone.
 */

#include "daemon/vmm/output-ring.h"

#include <glib.h>
#include <string.h>

void output_ring_init(OutputRing *ring, size_t size) {
        g_assert(size > 0 && (size & (size - 1)) == 0);

        ring->data = g_malloc(size);
        ring->size = size;
        ring->written = 0;
}

void output_ring_clear(OutputRing *ring) {
        g_clear_pointer(&ring->data, g_free);
}

void output_ring_append(OutputRing *ring, const uint8_t *data, size_t len) {
        size_t at, first;

        if (len > ring->size) { /* only the end of it will be there anyway */
                ring->written += len - ring->size;
                data += len - ring->size;
                len = ring->size;
        }
        at = ring->written & (ring->size - 1);
        first = MIN(len, ring->size - at);
        memcpy(ring->data + at, data, first);
        memcpy(ring->data, data + first, len - first);
        ring->written += len;
}

uint64_t output_ring_oldest(const OutputRing *ring) {
        return ring->written > ring->size ? ring->written - ring->size : 0;
}

size_t output_ring_peek(
                const OutputRing *ring,
                uint64_t *position,
                uint8_t *buf,
                size_t len,
                uint64_t *lost) {
        uint64_t oldest = output_ring_oldest(ring);
        size_t at, first;

        if (*position < oldest) {
                *lost += oldest - *position;
                *position = oldest;
        }
        len = MIN(len, ring->written - *position);
        at = *position & (ring->size - 1);
        first = MIN(len, ring->size - at);
        memcpy(buf, ring->data + at, first);
        memcpy(buf + first, ring->data, len - first);
        return len;
}
