/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a driver and a device on two threads, each asleep whenever the other's suppression lets it, never
 * miss a wake-up (the test would hang) and never see a byte too early (checked, and watched by
 * the thread sanitizer).
 */

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/virtq.h"
#include "driver.h"

#define RAM (1u << 20)
#define BUFS_AT (512u << 10)
#define CHAINS 60000u
#define BUF 32u
#define TIMEOUT_MS 30000

struct pair {
        gmem *mem;
        struct drv_ring d;
        struct virtq q;
        int kick, irq;
        bool indirect;
        uint64_t n_kicks, n_irqs; /* each of its sender */
};

static void ring(int fd) {
        uint64_t one = 1;

        g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

/* A lost wake-up ends here. */
static void sleep_on(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint64_t n;

        g_assert_cmpint(poll(&p, 1, TIMEOUT_MS), ==, 1);
        g_assert_cmpint(read(fd, &n, sizeof(n)), ==, sizeof(n));
}

static void interrupt(struct pair *p) {
        if (virtq_want_interrupt(&p->q)) {
                p->n_irqs++;
                ring(p->irq);
        }
}

/* Answers each request with its complement. */
static void *device(void *opaque) {
        struct pair *p = opaque;
        struct iovec iov[4];
        struct virtq_chain c = { .iov = iov, .iov_max = G_N_ELEMENTS(iov) };
        uint32_t done = 0;

        while (done < CHAINS) {
                uint32_t word;
                int r;

                virtq_disable_notify(&p->q);
                while ((r = virtq_pop(&p->q, &c)) == 0) {
                        g_assert_cmpuint(c.read_len, ==, sizeof(word));
                        g_assert_cmpuint(iov_copy_out(c.iov, c.n_read, 0, &word, 4), ==, 4);
                        g_assert_cmpuint(word, ==, done);
                        word = ~word;
                        g_assert_cmpuint(
                                        iov_copy_in(c.iov + c.n_read, c.n_write, 0, &word, 4), ==,
                                        4);
                        virtq_push(&p->q, c.token, 4);
                        done++;
                        if (done % 5 == 0)
                                interrupt(p);
                }
                g_assert_cmpint(r, ==, VIRTQ_E_EMPTY);
                interrupt(p);
                if (done < CHAINS && !virtq_enable_notify(&p->q))
                        sleep_on(p->kick);
        }
        return NULL;
}

static void submit(struct pair *p, uint32_t i) {
        gaddr at = GADDR(BUFS_AT + (uint64_t) (i % p->d.size) * 2 * BUF);
        struct drv_buf bufs[] = {
                { at, 4, false },
                { GADDR(at.v + BUF), 4, true },
        };

        memcpy(gmem_map(p->mem, at, 4, true), &i, 4);
        g_assert_cmpint(drv_add(&p->d, bufs, 2, p->indirect, GUINT_TO_POINTER(i)), >=, 0);
}

static void collect(struct pair *p, uint32_t *done) {
        uint32_t len, word;
        void *cookie;

        while (drv_take(&p->d, &cookie, &len)) {
                gaddr at = GADDR(BUFS_AT + (uint64_t) (*done % p->d.size) * 2 * BUF + BUF);

                g_assert_cmpuint(GPOINTER_TO_UINT(cookie), ==, *done);
                g_assert_cmpuint(len, ==, 4);
                memcpy(&word, gmem_map(p->mem, at, 4, false), 4);
                g_assert_cmpuint(word, ==, ~*done);
                (*done)++;
        }
}

static void driver(struct pair *p) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(3);
        uint32_t sent = 0, done = 0;

        while (done < CHAINS) {
                uint32_t batch = (uint32_t) g_rand_int_range(rand, 1, p->d.size + 1);

                for (; batch > 0 && sent < CHAINS && p->d.n_free >= 2; batch--)
                        submit(p, sent++);
                if (drv_publish(&p->d)) {
                        p->n_kicks++;
                        ring(p->kick);
                }

                drv_disable_interrupts(&p->d);
                collect(p, &done);
                if ((p->d.n_free < 2 || sent == CHAINS) && done < CHAINS &&
                    !drv_enable_interrupts(&p->d))
                        sleep_on(p->irq);
        }
}

struct variant {
        const char *name;
        uint16_t size;
        bool indirect, event_idx, packed;
};

static void test_pair(gconstpointer data) {
        const struct variant *v = data;
        struct gmem_backing backing = { 0 };
        struct pair p = { .indirect = v->indirect };
        pthread_t thread;

        p.mem = gmem_new();
        g_assert_true(gmem_add(p.mem, GADDR(0), RAM, &backing, NULL));
        p.kick = eventfd(0, EFD_CLOEXEC);
        p.irq = eventfd(0, EFD_CLOEXEC);
        (v->packed ? drv_ring_init_packed : drv_ring_init)(
                        &p.d, p.mem, GADDR(0), v->size, v->indirect ? 2 : 0, v->event_idx);
        p.q = (struct virtq){ .mem = p.mem, .max_size = v->size, .kick_fd = p.kick };
        virtq_reset(&p.q);
        virtq_start_over(&p.q, v->packed);
        p.q.desc = p.d.desc;
        p.q.avail = p.d.avail;
        p.q.used = p.d.used;
        p.q.indirect = v->indirect;
        p.q.event_idx = v->event_idx;
        g_assert_cmpint(virtq_enable(&p.q), ==, 0);

        g_assert_cmpint(pthread_create(&thread, NULL, device, &p), ==, 0);
        driver(&p);
        pthread_join(thread, NULL);
        g_test_message("%u chains, %lu kicks, %lu interrupts", CHAINS, (unsigned long) p.n_kicks,
                       (unsigned long) p.n_irqs);

        close(p.kick);
        close(p.irq);
        drv_ring_clear(&p.d);
        gmem_free(p.mem);
}

static const struct variant variants[] = {
        { "2", 2, false, false },
        { "2-event-idx", 2, false, true },
        { "16-indirect", 16, true, false },
        { "16-indirect-event-idx", 16, true, true },
        { "256-event-idx", 256, false, true },
        { "packed-2", 2, false, false, true },
        { "packed-3-event-idx", 3, false, true, true },
        { "packed-16-indirect", 16, true, false, true },
        { "packed-16-indirect-event-idx", 16, true, true, true },
        { "packed-200-event-idx", 200, false, true, true },
};

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
                g_autofree char *path = g_strdup_printf("/virtq-threads/%s", variants[i].name);

                g_test_add_data_func(path, &variants[i], test_pair);
        }

        return g_test_run();
}
