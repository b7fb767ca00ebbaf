/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A queue, split or packed, whose rings, tables and indices are the input: a header of eight bytes (size, as a power of two of a split
 * one; features; where the indices stand), then guest memory from address 0 on. The device takes every chain, checks that it stays
 * within memory and within the promises of virtq.h, scribbles over what it may write (which can be the rings), and returns it.
 */

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "devices/virtio/virtq.h"

#define RAM (1u << 20)
#define SIZE_MAX_LOG2 8
#define IOVS 64
#define ROUNDS 1000

struct header {
        uint8_t size_log2, features;
        uint16_t last_avail, used_idx, iov_max;
};

static gmem *new_memory(void) {
        const struct gmem_backing backing = {};
        gmem *mem = gmem_new();

        /* Two neighbours, so that buffers can lie across. */
        if (!gmem_add(mem, GADDR(0), RAM / 2, &backing, /* error= */ NULL) ||
            !gmem_add(mem, GADDR(RAM / 2), RAM / 2, &backing, /* error= */ NULL))
                abort();
        return mem;
}

static void check_iov(const gmem *mem, const struct iovec *iov) {
        for (size_t i = 0; i < gmem_n_regions(mem); i++) {
                const struct gmem_region *r = gmem_region(mem, i);
                uint64_t offset = (uint64_t) ((uintptr_t) iov->iov_base - (uintptr_t) r->host);

                if (offset < r->size) {
                        g_assert_cmpuint(iov->iov_len, >, 0);
                        g_assert_cmpuint(iov->iov_len, <=, r->size - offset);
                        return;
                }
        }
        g_assert_not_reached();
}

/* Of chains held there are no more than descriptors, and each side of the ring stands where they say. */
static void check_places(const struct virtq *q, unsigned held) {
        if (!q->packed) {
                g_assert_cmpuint(q->in_flight, ==, held);
                return;
        }
        g_assert_cmpuint(q->in_flight, >=, held);
        g_assert_cmpuint(q->in_flight, <=, q->size);
        g_assert_cmpuint(q->last_avail & 0x7fff, <, q->size);
        g_assert_cmpuint(
                        ((q->used_idx & 0x7fff) + q->in_flight) % q->size, ==,
                        q->last_avail & 0x7fff);
}

static void use(struct virtq *q, const struct virtq_chain *c, unsigned round) {
        uint64_t read_len = 0, write_len = 0;
        uint8_t buf[64];

        if (q->packed)
                g_assert_cmpuint(c->token >> 16, >, 0);
        else
                g_assert_cmpuint(c->token, <, q->size);
        g_assert_cmpuint(c->n_read + c->n_write, <=, c->iov_max);
        for (unsigned i = 0; i < (unsigned) c->n_read + c->n_write; i++) {
                check_iov(q->mem, &c->iov[i]);
                if (i < c->n_read)
                        read_len += c->iov[i].iov_len;
                else
                        write_len += c->iov[i].iov_len;
        }
        g_assert_cmpuint(read_len, ==, c->read_len);
        g_assert_cmpuint(write_len, ==, c->write_len);

        memset(buf, (int) round, sizeof(buf));
        (void) iov_copy_out(c->iov, c->n_read, round % 7, buf, sizeof(buf));
        (void) iov_copy_in(c->iov + c->n_read, c->n_write, round % 5, buf, sizeof(buf));
        virtq_mark_written(q, c, c->write_len);
}

static void serve(struct virtq *q, uint16_t iov_max) {
        struct iovec iov[IOVS];
        struct virtq_chain c = { .iov = iov, .iov_max = iov_max };
        unsigned held = 0;
        uint32_t tokens[1u << SIZE_MAX_LOG2];

        for (unsigned round = 0; round < ROUNDS; round++) {
                int r = virtq_pop(q, &c);

                if (r == VIRTQ_E_BROKEN) {
                        g_assert_true(q->broken);
                        return;
                }
                if (r == VIRTQ_E_EMPTY) {
                        if (held == 0 && !virtq_enable_notify(q))
                                return;
                } else {
                        g_assert_cmpint(r, ==, 0);
                        if (round % 11 == 10) {
                                virtq_unpop(q, c.token);
                                continue;
                        }
                        use(q, &c, round);
                        g_assert_cmpuint(held, <, q->size);
                        tokens[held++] = c.token;
                }

                if (held > 1 && round % 13 == 12) {
                        struct virtq_used done[] = { { tokens[held - 1], round },
                                                     { tokens[held - 2], 0 } };

                        held -= 2;
                        virtq_push_many(q, done, 2);
                } else if (held > 0 && (r != 0 || round % 3 != 0))
                        virtq_push(q, tokens[--held], round);
                check_places(q, held);
                (void) virtq_want_interrupt(q);
                (void) virtq_pending(q);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static gmem *mem;
        struct header h;
        struct virtq q;
        uint16_t n;
        bool packed;

        if (size < sizeof(h) || size > sizeof(h) + RAM)
                return 0;
        if (!mem)
                mem = new_memory();

        memcpy(&h, data, sizeof(h));
        gmem_zero(mem, GADDR(0), RAM);
        gmem_write(mem, GADDR(0), data + sizeof(h), size - sizeof(h));
        if (!gmem_track_dirty(mem, h.features & 4, /* error= */ NULL))
                abort();

        packed = h.features & 8;
        n = packed ? 1u + h.size_log2 : (uint16_t) (1u << h.size_log2 % (SIZE_MAX_LOG2 + 1));
        q = (struct virtq){ .mem = mem, .max_size = n, .kick_fd = -1 };
        virtq_reset(&q);
        virtq_start_over(&q, packed);
        q.event_idx = h.features & 1;
        q.indirect = h.features & 2;
        q.avail = GADDR(16 * (uint64_t) n);
        q.used = GADDR(packed ? q.avail.v + 4 : (q.avail.v + 6 + 2 * (uint64_t) n + 3) & ~3ull);
        if (packed)
                q.last_avail = q.used_idx = (h.last_avail & 0x8000) | (h.last_avail & 0x7fff) % n;
        else {
                q.last_avail = h.last_avail;
                q.used_idx = q.signalled = h.used_idx;
        }
        g_assert_cmpint(virtq_enable(&q), ==, 0);
        virtq_disable_notify(&q);
        serve(&q, h.iov_max % (IOVS + 1));
        return 0;
}
