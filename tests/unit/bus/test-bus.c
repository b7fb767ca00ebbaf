/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what answers an access: edges, gaps, odd lengths, straddling, overlap refused with both names,
 * moves (also from inside a handler), regions that are nowhere, and doorbells with a hypervisor that takes them,
 * refuses them, or is not there.
 */

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/bus.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

struct dev {
        unsigned n_reads, n_writes;
        uint64_t offset;
        unsigned len;
        uint8_t answer;

        /* Moved to by its next write, when set. */
        bus *b;
        bus_region *region;
        uint64_t target;
};

static void dev_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        struct dev *d = opaque;

        d->n_reads++;
        d->offset = offset;
        d->len = len;
        memset(data, d->answer, len);
}

static void dev_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct dev *d = opaque;

        d->n_writes++;
        d->offset = offset;
        d->len = len;
        if (d->b)
                g_assert_cmpint(bus_move(d->b, d->region, d->target), ==, 0);
}

static const struct io_ops dev_ops = { .read = dev_read, .write = dev_write };

static uint64_t rd(bus *b, uint64_t addr, unsigned len) {
        uint64_t v = 0;

        bus_read(b, addr, &v, len);
        return v;
}

static void wr(bus *b, uint64_t addr, unsigned len) {
        uint64_t v = 0;

        bus_write(b, addr, &v, len);
}

static void test_hostile_access(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        struct dev d = { .answer = 0x11 };
        static const unsigned lens[] = { 0, 3, 5, 6, 7, 9, 16, 4096, UINT32_MAX };
        uint8_t guard[16];

        g_assert_nonnull(bus_add(b, "d", 0x1000, 0x10, &dev_ops, &d, NULL));
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
                memset(guard, 0x5a, sizeof(guard));
                bus_read(b, 0x1000, guard, lens[i]);
                bus_write(b, 0x1000, guard, lens[i]);
                g_assert_cmphex(guard[8], ==, 0x5a);
        }
        /* Straddling either end, and wrapping round the address space. */
        g_assert_cmphex(rd(b, 0xfff, 2), ==, 0xffff);
        g_assert_cmphex(rd(b, 0x100f, 2), ==, 0xffff);
        g_assert_cmphex(rd(b, 0x100c, 8), ==, UINT64_MAX);
        g_assert_cmphex(rd(b, UINT64_MAX, 8), ==, UINT64_MAX);
        wr(b, 0x100d, 4);
        wr(b, UINT64_MAX, 4);
        g_assert_cmpuint(d.n_reads + d.n_writes, ==, 0);
}

static void test_edges(void) {
        g_autoptr(bus) b = bus_new("pio", NULL, NULL);
        struct dev one = { .answer = 1 }, two = { .answer = 2 };

        g_assert_cmphex(rd(b, 0x3f8, 1), ==, 0xff);
        g_assert_nonnull(bus_add(b, "two", 0x10, 8, &dev_ops, &two, NULL));
        g_assert_nonnull(bus_add(b, "one", 0x8, 8, &dev_ops, &one, NULL));

        g_assert_cmphex(rd(b, 0x7, 1), ==, 0xff);
        g_assert_cmphex(rd(b, 0x8, 1), ==, 1);
        g_assert_cmphex(rd(b, 0x8, 8), ==, 0x0101010101010101);
        g_assert_cmphex(rd(b, 0xf, 1), ==, 1);
        g_assert_cmpuint(one.offset, ==, 7);
        g_assert_cmphex(rd(b, 0xf, 2), ==, 0xffff);
        g_assert_cmphex(rd(b, 0x10, 2), ==, 0x0202);
        g_assert_cmpuint(two.offset, ==, 0);
        g_assert_cmpuint(two.len, ==, 2);
        g_assert_cmphex(rd(b, 0x18, 1), ==, 0xff);
        wr(b, 0x17, 1);
        g_assert_cmpuint(two.n_writes, ==, 1);
        g_assert_cmpuint(two.offset, ==, 7);
}

static void test_missing_ops(void) {
        static const struct io_ops none = { 0 };
        g_autoptr(bus) b = bus_new("pio", NULL, NULL);

        g_assert_nonnull(bus_add(b, "n", 0, 8, &none, NULL, NULL));
        g_assert_cmphex(rd(b, 0, 4), ==, 0xffffffff);
        wr(b, 0, 4);
}

static void test_overlap(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        static const struct {
                uint64_t base, size;
        } bad[] = {
                { 0x1000, 0x1000 },    { 0x1fff, 1 },
                { 0xfff, 2 },          { 0x0, 0x10000 },
                { 0x1800, 0x10 },      { 0x3000, 0 },
                { UINT64_MAX - 1, 2 }, { UINT64_MAX - 1, UINT64_MAX },
        };
        struct dev d = { 0 };

        g_assert_nonnull(bus_add(b, "first", 0x1000, 0x1000, &dev_ops, &d, NULL));
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_null(bus_add(b, "second", bad[i].base, bad[i].size, &dev_ops, &d, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
                g_assert_nonnull(strstr(error->message, "second"));
                if (i < 5)
                        g_assert_nonnull(strstr(error->message, "first"));
        }
        g_assert_nonnull(bus_add(b, "below", 0xfff, 1, &dev_ops, &d, NULL));
        g_assert_nonnull(bus_add(b, "above", 0x2000, 1, &dev_ops, &d, NULL));
}

static void test_move(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        struct dev one = { .answer = 1 }, two = { .answer = 2 };
        bus_region *r1 = bus_add(b, "one", 0x1000, 0x1000, &dev_ops, &one, NULL);
        bus_region *r2 = bus_add(b, "two", BUS_NOWHERE, 0x1000, &dev_ops, &two, NULL);

        g_assert_cmpint(bus_move(b, r2, 0x1800), ==, -EEXIST);
        g_assert_cmpint(bus_move(b, r2, UINT64_MAX - 10), ==, -EINVAL);
        g_assert_cmphex(rd(b, 0x1fff, 1), ==, 1);
        g_assert_cmpint(bus_move(b, r2, 0x2000), ==, 0);
        g_assert_cmphex(rd(b, 0x2000, 1), ==, 2);

        /* Half over its own old place. */
        g_assert_cmpint(bus_move(b, r1, 0x800), ==, 0);
        g_assert_cmphex(rd(b, 0x800, 1), ==, 1);
        g_assert_cmphex(rd(b, 0x1800, 1), ==, 0xff);

        g_assert_cmpint(bus_move(b, r1, BUS_NOWHERE), ==, 0);
        g_assert_cmpint(bus_move(b, r1, BUS_NOWHERE), ==, 0);
        g_assert_cmphex(rd(b, 0x800, 1), ==, 0xff);
        bus_remove(b, r2);
        g_assert_cmphex(rd(b, 0x2000, 1), ==, 0xff);
        bus_remove(b, NULL);
}

static void test_move_from_handler(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        struct dev d = { .answer = 1, .b = b };

        d.region = bus_add(b, "d", 0x1000, 0x1000, &dev_ops, &d, NULL);
        for (unsigned i = 0; i < 10000; i++) {
                uint64_t from = i % 2 ? 0x8000 : 0x1000;

                d.target = i % 2 ? 0x1000 : 0x8000;
                wr(b, from, 4);
                g_assert_cmphex(rd(b, from, 1), ==, 0xff);
        }
        g_assert_cmpuint(d.n_writes, ==, 10000);
}

/* A hypervisor with room for a few doorbells. */
struct hyp {
        unsigned room;
        GHashTable *assigned; /* addr → fd */
};

static int
hyp_assign(void *opaque,
           uint64_t addr,
           unsigned len,
           bool with_data,
           uint64_t data,
           int fd,
           bool on) {
        struct hyp *h = opaque;
        void *key = GSIZE_TO_POINTER(addr);

        g_assert_false(with_data);
        if (!on) {
                g_assert_cmpint(GPOINTER_TO_INT(g_hash_table_lookup(h->assigned, key)), ==, fd);
                g_hash_table_remove(h->assigned, key);
                return 0;
        }
        g_assert_false(g_hash_table_contains(h->assigned, key));
        if (g_hash_table_size(h->assigned) >= h->room)
                return -ENOSPC;
        g_hash_table_insert(h->assigned, key, GINT_TO_POINTER(fd));
        return 0;
}

static const struct bus_doorbell_ops hyp_ops = { .assign = hyp_assign };

static uint64_t drain(int fd) {
        eventfd_t n = 0;

        return eventfd_read(fd, &n) < 0 ? 0 : n;
}

static void test_doorbell_alone(void) {
        g_autoptr(bus) b = bus_new("mmio", NULL, NULL);
        autofd fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        autofd any = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        struct dev d = { 0 };
        bus_region *r = bus_add(b, "d", 0x1000, 0x1000, &dev_ops, &d, NULL);

        g_assert_cmpint(bus_add_doorbell(b, r, 0x1000, 2, fd), ==, -EINVAL);
        g_assert_cmpint(bus_add_doorbell(b, r, 0xfff, 2, fd), ==, -EINVAL);
        g_assert_cmpint(bus_add_doorbell(b, r, UINT64_MAX, 4, fd), ==, -EINVAL);
        g_assert_cmpint(bus_add_doorbell(b, r, 0, 3, fd), ==, -EINVAL);
        g_assert_cmpint(bus_remove_doorbell(b, r, 0, 2, fd), ==, -ENOENT);

        g_assert_cmpint(bus_add_doorbell(b, r, 0x10, 2, fd), ==, 0);
        g_assert_cmpint(bus_add_doorbell(b, r, 0x10, 2, any), ==, -EEXIST);
        g_assert_cmpint(bus_add_doorbell(b, r, 0x20, 0, any), ==, 0);

        wr(b, 0x1010, 2);
        wr(b, 0x1010, 2);
        g_assert_cmpuint(drain(fd), ==, 2);
        g_assert_cmpuint(d.n_writes, ==, 0);

        /* Another length, a neighbour and a read are the region's. */
        wr(b, 0x1010, 4);
        wr(b, 0x1011, 2);
        wr(b, 0x100f, 2);
        g_assert_cmphex(rd(b, 0x1010, 2), ==, 0);
        g_assert_cmpuint(d.n_writes, ==, 3);
        g_assert_cmpuint(d.n_reads, ==, 1);
        g_assert_cmpuint(drain(fd), ==, 0);

        wr(b, 0x1020, 1);
        wr(b, 0x1020, 8);
        g_assert_cmpuint(drain(any), ==, 2);

        g_assert_cmpint(bus_move(b, r, 0x7000), ==, 0);
        wr(b, 0x1010, 2);
        g_assert_cmpuint(drain(fd), ==, 0);
        wr(b, 0x7010, 2);
        g_assert_cmpuint(drain(fd), ==, 1);

        g_assert_cmpint(bus_remove_doorbell(b, r, 0x10, 2, any), ==, -ENOENT);
        g_assert_cmpint(bus_remove_doorbell(b, r, 0x10, 2, fd), ==, 0);
        wr(b, 0x7010, 2);
        g_assert_cmpuint(d.n_writes, ==, 4);
}

static void test_doorbell_hypervisor(void) {
        g_autoptr(GHashTable) assigned = g_hash_table_new(NULL, NULL);
        struct hyp h = { .room = 2, .assigned = assigned };
        g_autoptr(bus) b = bus_new("mmio", &hyp_ops, &h);
        autofd fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        struct dev d = { 0 };
        bus_region *r = bus_add(b, "d", BUS_NOWHERE, 0x1000, &dev_ops, &d, NULL);

        /* Nothing is assigned while it is nowhere. */
        for (unsigned i = 0; i < 3; i++)
                g_assert_cmpint(bus_add_doorbell(b, r, i * 4, 2, fd), ==, 0);
        g_assert_cmpuint(g_hash_table_size(assigned), ==, 0);

        /* The third is more than the hypervisor takes and works all the same. */
        g_assert_cmpint(bus_move(b, r, 0x1000), ==, 0);
        g_assert_cmpuint(g_hash_table_size(assigned), ==, 2);
        wr(b, 0x1008, 2);
        g_assert_cmpuint(drain(fd), ==, 1);

        /* A write that comes out to us in spite of being assigned wakes it too. */
        wr(b, 0x1000, 2);
        g_assert_cmpuint(drain(fd), ==, 1);

        g_assert_cmpint(bus_move(b, r, 0x9000), ==, 0);
        g_assert_false(g_hash_table_contains(assigned, GSIZE_TO_POINTER(0x1000)));
        g_assert_true(g_hash_table_contains(assigned, GSIZE_TO_POINTER(0x9000)));

        /* A refused move touches nothing. */
        g_assert_nonnull(bus_add(b, "other", 0x20000, 0x1000, &dev_ops, &d, NULL));
        g_assert_cmpint(bus_move(b, r, 0x20800), ==, -EEXIST);
        g_assert_true(g_hash_table_contains(assigned, GSIZE_TO_POINTER(0x9000)));

        g_assert_cmpint(bus_move(b, r, BUS_NOWHERE), ==, 0);
        g_assert_cmpuint(g_hash_table_size(assigned), ==, 0);
        g_assert_cmpint(bus_move(b, r, 0x1000), ==, 0);
        g_assert_cmpint(bus_remove_doorbell(b, r, 0, 2, fd), ==, 0);
        g_assert_cmpuint(g_hash_table_size(assigned), ==, 1);
        bus_remove(b, r);
        g_assert_cmpuint(g_hash_table_size(assigned), ==, 0);
        wr(b, 0x1004, 2);
        g_assert_cmpuint(drain(fd) + d.n_writes, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/bus/hostile-access", test_hostile_access);
        g_test_add_func("/bus/overlap", test_overlap);
        g_test_add_func("/bus/edges", test_edges);
        g_test_add_func("/bus/missing-ops", test_missing_ops);
        g_test_add_func("/bus/move", test_move);
        g_test_add_func("/bus/move-from-handler", test_move_from_handler);
        g_test_add_func("/bus/doorbell-alone", test_doorbell_alone);
        g_test_add_func("/bus/doorbell-hypervisor", test_doorbell_hypervisor);
        return g_test_run();
}
