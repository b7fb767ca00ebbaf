/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves, best under the thread sanitizer, that readers see a region where it is or where it was and
 * never a mix, while others move, add and remove regions from their own threads and from inside
 * an access; and that doorbells ring once for each write wherever the region is.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/bus.h"
#include "hypervisor/fd.h"

#define N_MOVES 3000
#define FIXED 0x100000u
#define MOVING 0x200000u
#define STEP 0x1000u

struct cell {
        bus *b;
        bus_region *region;
        uint32_t value;
        _Atomic unsigned turn;
};

static atomic_bool done;

static void cell_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        const struct cell *c = opaque;

        g_assert_cmpuint(offset + len, <=, STEP);
        memcpy(data, &c->value, len);
}

/* A region that moves itself when it is written to, as a PCI device's BAR does. */
static void cell_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct cell *c = opaque;
        unsigned turn = ++c->turn;

        (void) bus_move(c->b, c->region, MOVING + (turn % 2) * STEP);
}

static const struct io_ops cell_ops = { .read = cell_read, .write = cell_write };

static void *reader(void *opaque) {
        bus *b = opaque;

        while (!done) {
                uint32_t v = 0;

                bus_read(b, FIXED + STEP, &v, 4);
                g_assert_cmphex(v, ==, 0x11111111);
                for (unsigned i = 0; i < 2; i++) {
                        bus_read(b, MOVING + i * STEP, &v, 4);
                        g_assert_true(v == 0x22222222 || v == UINT32_MAX);
                        bus_read(b, FIXED + (4 + i) * STEP, &v, 4);
                        g_assert_true(v == 0x33333333 || v == UINT32_MAX);
                }
        }
        return NULL;
}

static void *mover(void *opaque) {
        bus *b = opaque;

        for (unsigned i = 0; i < N_MOVES; i++) {
                uint32_t v = 0;

                bus_write(b, MOVING, &v, 4);
                bus_write(b, MOVING + STEP, &v, 4);
        }
        return NULL;
}

static void *adder(void *opaque) {
        struct cell *c = opaque;

        for (unsigned i = 0; i < N_MOVES; i++) {
                bus_region *r[8];

                /* Many small ones, so that the table grows and shrinks under the readers. */
                for (unsigned j = 0; j < G_N_ELEMENTS(r); j++)
                        r[j] = bus_add(c->b, "added", FIXED + 4 * STEP + j * STEP, STEP, &cell_ops,
                                       c, NULL);
                for (unsigned j = 0; j < G_N_ELEMENTS(r); j++) {
                        g_assert_nonnull(r[j]);
                        bus_remove(c->b, r[j]);
                }
        }
        return NULL;
}

static void test_readers_and_movers(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        struct cell fixed = { .b = b, .value = 0x11111111 };
        struct cell moving = { .b = b, .value = 0x22222222 };
        struct cell added = { .b = b, .value = 0x33333333 };
        pthread_t readers[3], movers[2], a;

        done = false;
        g_assert_nonnull(bus_add(b, "fixed", FIXED + STEP, STEP, &cell_ops, &fixed, NULL));
        moving.region = bus_add(b, "moving", MOVING, STEP, &cell_ops, &moving, NULL);

        for (unsigned i = 0; i < G_N_ELEMENTS(readers); i++)
                g_assert_cmpint(pthread_create(&readers[i], NULL, reader, b), ==, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(movers); i++)
                g_assert_cmpint(pthread_create(&movers[i], NULL, mover, b), ==, 0);
        g_assert_cmpint(pthread_create(&a, NULL, adder, &added), ==, 0);

        for (unsigned i = 0; i < G_N_ELEMENTS(movers); i++)
                pthread_join(movers[i], NULL);
        pthread_join(a, NULL);
        done = true;
        for (unsigned i = 0; i < G_N_ELEMENTS(readers); i++)
                pthread_join(readers[i], NULL);
        g_assert_cmpuint(moving.turn, >=, N_MOVES);
}

struct ringer {
        bus *b;
        unsigned n;
};

static void *ring(void *opaque) {
        struct ringer *r = opaque;
        uint16_t v = 0;

        for (unsigned i = 0; i < r->n; i++) {
                bus_write(r->b, FIXED, &v, 2);
                bus_write(r->b, MOVING, &v, 2);
        }
        return NULL;
}

/* A write to the fixed doorbell is never lost, whatever moves beside it. */
static void test_doorbells(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        autofd still = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        autofd moved = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        struct cell fixed = { .b = b }, moving = { .b = b };
        bus_region *r1 = bus_add(b, "fixed", FIXED, STEP, &cell_ops, &fixed, NULL);
        bus_region *r2 = bus_add(b, "moving", MOVING, STEP, &cell_ops, &moving, NULL);
        struct ringer ringers[2] = { { b, N_MOVES }, { b, N_MOVES } };
        pthread_t threads[2];
        eventfd_t n = 0;

        moving.region = r2;
        g_assert_cmpint(bus_add_doorbell(b, r1, 0, 2, still), ==, 0);
        g_assert_cmpint(bus_add_doorbell(b, r2, 0, 2, moved), ==, 0);
        for (unsigned i = 0; i < 2; i++)
                g_assert_cmpint(pthread_create(&threads[i], NULL, ring, &ringers[i]), ==, 0);
        for (unsigned i = 0; i < N_MOVES; i++)
                g_assert_cmpint(bus_move(b, r2, i % 3 ? MOVING + (i % 3) * STEP : BUS_NOWHERE), ==,
                                0);
        for (unsigned i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);

        g_assert_cmpint(eventfd_read(still, &n), ==, 0);
        g_assert_cmpuint(n, ==, 2 * N_MOVES);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/bus-threads/readers-and-movers", test_readers_and_movers);
        g_test_add_func("/bus-threads/doorbells", test_doorbells);
        return g_test_run();
}
