/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The last bytes of a stream, with positions counted from its beginning, so that each reader keeps just
 * a number. Not locked: its owner's lock covers it. */
typedef struct OutputRing {
        uint8_t *data;
        size_t size;      /* power of 2 */
        uint64_t written; /* bytes since the beginning */
} OutputRing;

void output_ring_init(OutputRing *ring, size_t size);
void output_ring_clear(OutputRing *ring);
void output_ring_append(OutputRing *ring, const uint8_t *data, size_t len);

/* The position of the oldest byte that is still there. */
uint64_t output_ring_oldest(const OutputRing *ring);

/* Copies up to len bytes from *position on, without advancing it. A position that was overtaken is first moved to the oldest
 * byte, and *lost grows by what was missed. Returns the number of bytes copied. */
size_t output_ring_peek(
                const OutputRing *ring,
                uint64_t *position,
                uint8_t *buf,
                size_t len,
                uint64_t *lost);
