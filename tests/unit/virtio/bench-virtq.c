/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a chain costs the device, without its data: pop, push and the question whether to interrupt, in batches
 * as an I/O thread sees them. Prints nanoseconds a chain; a number to compare, not a test.
 */

#include <stdio.h>
#include <time.h>

#include "devices/virtio/virtq.h"
#include "driver.h"

#define RAM (4u << 20)
#define ROUNDS 20000u
#define IOVS 64

struct shape {
        const char *name;
        uint16_t n; /* buffers a chain */
        bool indirect;
        unsigned batch;
        bool track; /* dirty pages */
        bool packed;
};

static const struct shape shapes[] = {
        { "1 buffer", 1, false, 64, false },
        { "1 buffer, one by one", 1, false, 1, false },
        { "3 buffers", 3, false, 64, false },
        { "3 buffers, indirect", 3, true, 64, false },
        { "18 buffers, indirect", 18, true, 64, false },
        { "3 buffers, indirect, dirty tracking", 3, true, 64, true },
        { "packed, 1 buffer", 1, false, 64, false, true },
        { "packed, 1 buffer, one by one", 1, false, 1, false, true },
        { "packed, 3 buffers", 3, false, 64, false, true },
        { "packed, 3 buffers, indirect", 3, true, 64, false, true },
        { "packed, 18 buffers, indirect", 18, true, 64, false, true },
};

static double now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static double device_batch(struct virtq *q) {
        struct iovec iov[IOVS];
        struct virtq_chain c = { .iov = iov, .iov_max = IOVS };
        double start = now_ns();

        virtq_disable_notify(q);
        do {
                while (virtq_pop(q, &c) == 0) {
                        virtq_mark_written(q, &c, c.write_len);
                        virtq_push(q, c.token, c.write_len);
                }
        } while (virtq_enable_notify(q));
        (void) virtq_want_interrupt(q);
        return now_ns() - start;
}

static void run(const struct shape *s) {
        struct gmem_backing backing = { .prefault = true };
        gmem *mem = gmem_new();
        struct drv_buf bufs[IOVS];
        struct drv_ring d;
        struct virtq q;
        double ns = 0;
        uint64_t chains = 0;

        g_assert_true(gmem_add(mem, GADDR(0), RAM, &backing, NULL));
        g_assert_true(gmem_add(mem, GADDR(1ull << 32), RAM, &backing, NULL));
        g_assert_true(gmem_track_dirty(mem, s->track, NULL));
        (s->packed ? drv_ring_init_packed
                   : drv_ring_init)(&d, mem, GADDR(0), 256, s->indirect ? s->n : 0, true);
        q = (struct virtq){ .mem = mem, .max_size = 256 };
        virtq_reset(&q);
        virtq_start_over(&q, s->packed);
        q.desc = d.desc;
        q.avail = d.avail;
        q.used = d.used;
        q.event_idx = true;
        q.indirect = s->indirect;
        g_assert_cmpint(virtq_enable(&q), ==, 0);
        for (unsigned i = 0; i < s->n; i++)
                bufs[i] = (struct drv_buf){ GADDR((1ull << 32) + i * 4096), 4096, i > 0 };

        for (unsigned r = 0; r < ROUNDS; r++) {
                uint32_t len;
                void *cookie;

                for (unsigned i = 0; i < s->batch; i++)
                        (void) drv_add(&d, bufs, s->n, s->indirect, NULL);
                (void) drv_publish(&d);
                ns += device_batch(&q);
                while (drv_take(&d, &cookie, &len))
                        chains++;
                (void) drv_enable_interrupts(&d);
        }

        printf("%-40s %7.1f ns a chain\n", s->name, ns / (double) chains);
        drv_ring_clear(&d);
        gmem_free(mem);
}

int main(void) {
        for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
                run(&shapes[i]);
        return 0;
}
