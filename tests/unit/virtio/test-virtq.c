/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a split queue refuses every ring that breaks the rules (loops, wild addresses, indices out of
 * range, misused indirect tables, too much of anything) and is then dead, without ever leaving guest
 * memory; and that with an honest driver, over millions of random steps and across the wrap of every index,
 * each chain arrives once and as described, comes back once, and neither side ever sleeps on the other.
 */

#include <errno.h>
#include <string.h>

#include "devices/virtio/virtq.h"
#include "driver.h"

#define RAM (1u << 20)
#define HOLE (4u << 20) /* nothing from 2 MiB up to here, then one more region */
#define SIZE 8
#define IOVS 64

struct rig {
        gmem *mem;
        struct drv_ring d;
        struct virtq q;
        struct iovec iov[IOVS];
        struct virtq_chain chain;
};

static void add_ram(gmem *mem, uint64_t base) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { 0 };

        gmem_add(mem, GADDR(base), RAM, &backing, &error);
        g_assert_no_error(error);
}

/* Two neighbouring regions, a hole, one more region. */
static gmem *memory_new(void) {
        gmem *mem = gmem_new();

        add_ram(mem, 0);
        add_ram(mem, RAM);
        add_ram(mem, HOLE);
        return mem;
}

static void
rig_queue(struct rig *r, gaddr base, uint16_t size, uint16_t table_max, bool event_idx) {
        drv_ring_init(&r->d, r->mem, base, size, table_max, event_idx);
        r->q = (struct virtq){ .mem = r->mem, .max_size = size, .kick_fd = -1 };
        virtq_reset(&r->q);
        r->q.desc = r->d.desc;
        r->q.avail = r->d.avail;
        r->q.used = r->d.used;
        r->q.indirect = table_max > 0;
        r->q.event_idx = event_idx;
        g_assert_cmpint(virtq_enable(&r->q), ==, 0);
        r->chain = (struct virtq_chain){ .iov = r->iov, .iov_max = IOVS };
}

static void rig_up(struct rig *r) {
        *r = (struct rig){ .mem = memory_new() };
        rig_queue(r, GADDR(0), SIZE, SIZE, /* event_idx = */ false);
}

static void rig_down(struct rig *r) {
        drv_ring_clear(&r->d);
        r->mem = gmem_free(r->mem);
}

/* Bad set-up */

static void expect_enable(struct virtq q, int r) {
        g_assert_cmpint(virtq_enable(&q), ==, r);
        g_assert_true(q.ready == (r == 0));
}

static void test_enable(void) {
        struct rig r;
        struct virtq q;

        rig_up(&r);
        q = r.q;
        q.ready = false;
        expect_enable(q, 0);

#define WITH(field, value, result)                                                                 \
        do {                                                                                       \
                struct virtq bad = q;                                                              \
                bad.field = value;                                                                 \
                expect_enable(bad, result);                                                        \
        } while (false)

        WITH(size, 0, -EINVAL);
        WITH(size, 3, -EINVAL);
        WITH(size, 2 * SIZE, -EINVAL);
        WITH(desc.v, 8, -EINVAL);
        WITH(avail.v, q.avail.v + 1, -EINVAL);
        WITH(used.v, q.used.v + 2, -EINVAL);
        WITH(desc.v, HOLE - 16, -EFAULT);
        WITH(desc.v, UINT64_MAX - 15, -EFAULT);
        WITH(avail.v, 3 * (uint64_t) RAM, -EFAULT);
        WITH(used.v, HOLE + RAM - 4, -EFAULT);
        /* The last bytes of a region just fit; one entry more, or a region's seam, do not. */
        WITH(desc.v, RAM - 16 * SIZE, 0);
        WITH(desc.v, RAM - 16 * SIZE + 16, -EFAULT);
        WITH(avail.v, 2 * RAM - (6 + 2 * SIZE), 0);
        WITH(avail.v, 2 * RAM - (6 + 2 * SIZE) + 2, -EFAULT);
        WITH(used.v, HOLE + RAM - (6 + 8 * SIZE) - 2, 0);
        WITH(used.v, HOLE + RAM - (6 + 8 * SIZE) + 2, -EFAULT);
#undef WITH
        rig_down(&r);
}

/* A queue that is not enabled is empty and silent. */
static void test_not_ready(void) {
        struct rig r;

        rig_up(&r);
        drv_put_avail_idx(&r.d, 1);
        r.q.ready = false;
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);
        g_assert_false(virtq_enable_notify(&r.q));
        g_assert_false(virtq_want_interrupt(&r.q));
        g_assert_cmpuint(virtq_pending(&r.q), ==, 0);
        virtq_disable_notify(&r.q);
        virtq_push(&r.q, 0, 0);
        g_assert_cmpuint(r.q.used_idx, ==, 0);
        rig_down(&r);
}

/* Bad rings: each case writes descriptors of its own and makes head 0 available. */

#define BUF 0x80000u /* somewhere for buffers */
#define TABLE 0x40000u

static void
put(struct rig *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next) {
        drv_put_desc(r->mem, r->d.desc, i, addr, len, flags, next);
}

static void
put_table(struct rig *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next) {
        drv_put_desc(r->mem, GADDR(TABLE), i, addr, len, flags, next);
}

static void bad_head(struct rig *r) {
        drv_put_avail(&r->d, 0, SIZE);
}

static void bad_head_max(struct rig *r) {
        drv_put_avail(&r->d, 0, 0xffff);
}

static void bad_avail_ahead(struct rig *r) {
        drv_put_avail_idx(&r->d, SIZE + 1);
}

static void bad_avail_back(struct rig *r) {
        drv_put_avail_idx(&r->d, 0xffff);
}

static void bad_self_loop(struct rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT, 0);
}

static void bad_long_loop(struct rig *r) {
        for (unsigned i = 0; i < SIZE; i++)
                put(r, i, BUF, 1, DRV_NEXT, (i + 1) % SIZE);
}

static void bad_next(struct rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT, SIZE);
}

static void bad_hole(struct rig *r) {
        put(r, 0, 3 * RAM, 1, 0, 0);
}

static void bad_into_hole(struct rig *r) {
        put(r, 0, 2 * RAM - 1, 2, 0, 0);
}

static void bad_wrap(struct rig *r) {
        put(r, 0, UINT64_MAX, 2, DRV_WRITE, 0);
}

static void bad_wrap_to_ram(struct rig *r) {
        put(r, 0, UINT64_MAX - 3, 0x80000000u, 0, 0);
}

static void bad_order(struct rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT | DRV_WRITE, 1);
        put(r, 1, BUF, 1, 0, 0);
}

static void bad_order_in_table(struct rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT | DRV_WRITE, 1);
        put(r, 1, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_table_empty(struct rig *r) {
        put(r, 0, TABLE, 0, DRV_INDIRECT, 0);
}

static void bad_table_len(struct rig *r) {
        put(r, 0, TABLE, 17, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_table_huge(struct rig *r) {
        put(r, 0, TABLE, 16 * 65537, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_table_wild(struct rig *r) {
        put(r, 0, 3 * RAM, 16, DRV_INDIRECT, 0);
}

static void bad_table_seam(struct rig *r) {
        put(r, 0, RAM - 8, 16, DRV_INDIRECT, 0);
}

static void bad_table_next(struct rig *r) {
        put(r, 0, TABLE, 16, DRV_INDIRECT | DRV_NEXT, 1);
        put_table(r, 0, BUF, 1, 0, 0);
        put(r, 1, BUF, 1, 0, 0);
}

static void bad_table_nested(struct rig *r) {
        put(r, 0, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, TABLE, 16, DRV_INDIRECT, 0);
}

static void bad_table_nested_later(struct rig *r) {
        put(r, 0, TABLE, 32, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, DRV_NEXT, 1);
        put_table(r, 1, TABLE + 64, 16, DRV_INDIRECT, 0);
        drv_put_desc(r->mem, GADDR(TABLE + 64), 0, BUF, 1, 0, 0);
}

static void bad_table_step_out(struct rig *r) {
        put(r, 0, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, DRV_NEXT, 1);
        put_table(r, 1, BUF, 1, 0, 0);
}

static void bad_table_loop(struct rig *r) {
        put(r, 0, TABLE, 32, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, DRV_NEXT, 1);
        put_table(r, 1, BUF, 1, DRV_NEXT, 0);
}

static void bad_table_long(struct rig *r) {
        put(r, 0, TABLE, 16 * (SIZE + 1), DRV_INDIRECT, 0);
        for (unsigned i = 0; i <= SIZE; i++)
                put_table(r, i, BUF, 1, i < SIZE ? DRV_NEXT : 0, i + 1);
}

static void bad_table_not_negotiated(struct rig *r) {
        r->q.indirect = false;
        put(r, 0, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_iovs(struct rig *r) {
        r->chain.iov_max = 2;
        put(r, 0, BUF, 1, DRV_NEXT, 1);
        put(r, 1, BUF, 1, DRV_NEXT, 2);
        put(r, 2, BUF, 1, DRV_WRITE, 0);
}

static void bad_iovs_by_seam(struct rig *r) {
        r->chain.iov_max = 1;
        put(r, 0, RAM - 1, 2, 0, 0);
}

static const struct {
        const char *name;
        void (*make)(struct rig *r);
} bad[] = {
        { "head", bad_head },
        { "head-max", bad_head_max },
        { "avail-ahead", bad_avail_ahead },
        { "avail-back", bad_avail_back },
        { "self-loop", bad_self_loop },
        { "long-loop", bad_long_loop },
        { "next", bad_next },
        { "hole", bad_hole },
        { "into-hole", bad_into_hole },
        { "wrap", bad_wrap },
        { "wrap-to-ram", bad_wrap_to_ram },
        { "order", bad_order },
        { "order-in-table", bad_order_in_table },
        { "table-empty", bad_table_empty },
        { "table-len", bad_table_len },
        { "table-huge", bad_table_huge },
        { "table-wild", bad_table_wild },
        { "table-seam", bad_table_seam },
        { "table-next", bad_table_next },
        { "table-nested", bad_table_nested },
        { "table-nested-later", bad_table_nested_later },
        { "table-step-out", bad_table_step_out },
        { "table-loop", bad_table_loop },
        { "table-long", bad_table_long },
        { "table-not-negotiated", bad_table_not_negotiated },
        { "iovs", bad_iovs },
        { "iovs-by-seam", bad_iovs_by_seam },
};

static void test_bad(gconstpointer data) {
        void (*make)(struct rig * r) = bad[GPOINTER_TO_SIZE(data)].make;
        struct rig r;

        rig_up(&r);
        drv_put_avail(&r.d, 0, 0);
        drv_put_avail_idx(&r.d, 1);
        make(&r);

        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        g_assert_true(r.q.broken);
        g_assert_cmpuint(r.q.in_flight, ==, 0);

        /* Dead, also when the ring is in order again. */
        put(&r, 0, BUF, 1, 0, 0);
        drv_put_avail(&r.d, 0, 0);
        drv_put_avail_idx(&r.d, 1);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        g_assert_false(virtq_enable_notify(&r.q));
        g_assert_false(virtq_want_interrupt(&r.q));
        virtq_push(&r.q, 0, 0);
        g_assert_cmpuint(r.q.used_idx, ==, 0);

        virtq_reset(&r.q);
        g_assert_false(r.q.broken);
        rig_down(&r);
}

/* More chains than the queue has room for, counting those that the device still holds. */
static void test_too_many(void) {
        struct rig r;

        rig_up(&r);
        for (uint16_t i = 0; i < SIZE; i++) {
                put(&r, i, BUF, 1, 0, 0);
                drv_put_avail(&r.d, i, i);
        }
        drv_put_avail_idx(&r.d, SIZE);
        for (unsigned i = 0; i < SIZE; i++)
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);

        virtq_push(&r.q, 0, 0);
        drv_put_avail_idx(&r.d, SIZE + 2);
        g_assert_cmpuint(virtq_pending(&r.q), ==, 2);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        rig_down(&r);
}

/* 4 GiB - 1 in all is the most; memory for it need not exist: the sum is refused first. */
static void test_total(void) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { 0 };
        struct rig r;

        rig_up(&r);
        gmem_add(r.mem, GADDR(1ull << 32), 3ull << 30, &backing, &error);
        g_assert_no_error(error);

        put(&r, 0, 1ull << 32, 3u << 30, DRV_NEXT, 1);
        put(&r, 1, 1ull << 32, (1u << 30) - 1, DRV_WRITE, 0);
        drv_put_avail(&r.d, 0, 0);
        drv_put_avail_idx(&r.d, 1);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        g_assert_cmpuint(r.chain.read_len, ==, 3u << 30);
        g_assert_cmpuint(r.chain.write_len, ==, (1u << 30) - 1);
        virtq_push(&r.q, 0, 0);

        put(&r, 1, 1ull << 32, 1u << 30, DRV_WRITE, 0);
        drv_put_avail(&r.d, 1, 0);
        drv_put_avail_idx(&r.d, 2);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        rig_down(&r);
}

/* A table with more entries than next can name. */
static void test_table_limit(void) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { 0 };
        gaddr table = GADDR(1ull << 32);
        struct rig r;

        rig_up(&r);
        gmem_add(r.mem, table, 4u << 20, &backing, &error);
        g_assert_no_error(error);
        drv_put_desc(r.mem, table, 0, BUF, 1, DRV_NEXT, 0xffff);
        drv_put_desc(r.mem, table, 0xffff, BUF, 1, 0, 0);
        for (uint16_t i = 0; i < 2; i++) {
                put(&r, 0, table.v, 16u * (65536u + i), DRV_INDIRECT, 0);
                drv_put_avail(&r.d, i, 0);
                drv_put_avail_idx(&r.d, i + 1);
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, i == 0 ? 0 : VIRTQ_E_BROKEN);
        }
        rig_down(&r);
}

/* Good rings that look odd. */

static void expect_pop(struct rig *r, uint16_t n_read, uint16_t n_write, uint32_t total) {
        drv_put_avail(&r->d, r->q.last_avail, 0);
        drv_put_avail_idx(&r->d, r->q.last_avail + 1);
        g_assert_cmpint(virtq_pop(&r->q, &r->chain), ==, 0);
        g_assert_cmpuint(r->chain.head, ==, 0);
        g_assert_cmpuint(r->chain.n_read, ==, n_read);
        g_assert_cmpuint(r->chain.n_write, ==, n_write);
        g_assert_cmpuint(r->chain.read_len + r->chain.write_len, ==, total);
        virtq_push(&r->q, 0, 0);
}

static void test_odd(void) {
        struct rig r;

        rig_up(&r);

        /* Empty descriptors, whatever their address, add nothing. */
        put(&r, 0, UINT64_MAX, 0, 0, 0);
        expect_pop(&r, 0, 0, 0);
        put(&r, 0, 3 * RAM, 0, DRV_NEXT, 1);
        put(&r, 1, BUF, 5, DRV_NEXT | DRV_WRITE, 2);
        put(&r, 2, BUF, 0, DRV_WRITE, 0);
        expect_pop(&r, 0, 1, 5);

        /* A buffer over the seam of two regions is two pieces. */
        put(&r, 0, RAM - 1, 3, DRV_WRITE, 0);
        expect_pop(&r, 0, 2, 3);
        g_assert_cmpuint(r.iov[0].iov_len, ==, 1);
        g_assert_true(r.iov[1].iov_base == gmem_map(r.mem, GADDR(RAM), 2, false));

        /* As long as the queue: allowed, in either table. */
        for (unsigned i = 0; i < SIZE; i++) {
                put(&r, i, BUF + i, 1, i < SIZE - 1 ? DRV_NEXT : 0, i + 1);
                put_table(&r, i, BUF + i, 1, i < SIZE - 1 ? DRV_NEXT : 0, i + 1);
        }
        expect_pop(&r, SIZE, 0, SIZE);
        put(&r, 0, TABLE, 16 * SIZE, DRV_INDIRECT, 0);
        expect_pop(&r, SIZE, 0, SIZE);

        /* The write flag of a descriptor that refers to a table means nothing (2.7.5.3.2); nor do unknown flags. */
        put(&r, 0, TABLE, 16 * SIZE, DRV_INDIRECT | DRV_WRITE | 0xfff0, 0);
        expect_pop(&r, SIZE, 0, SIZE);

        /* Plain descriptors, then a table. Tables need no alignment. */
        put(&r, 0, BUF, 2, DRV_NEXT, 1);
        put(&r, 1, TABLE + 3, 32, DRV_INDIRECT, 0);
        drv_put_desc(r.mem, GADDR(TABLE + 3), 0, BUF, 3, DRV_NEXT, 1);
        drv_put_desc(r.mem, GADDR(TABLE + 3), 1, BUF, 4, DRV_WRITE, 0);
        expect_pop(&r, 2, 1, 9);

        rig_down(&r);
}

/* Pushes n chains of one empty descriptor each. */
static void serve(struct rig *r, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                put(r, 0, BUF, 0, 0, 0);
                drv_put_avail(&r->d, r->q.last_avail, 0);
                drv_put_avail_idx(&r->d, r->q.last_avail + 1);
                g_assert_cmpint(virtq_pop(&r->q, &r->chain), ==, 0);
                virtq_push(&r->q, 0, 0);
        }
}

static uint16_t peek16(const struct rig *r, uint64_t addr) {
        uint16_t v;

        g_assert_cmpint(gmem_read(r->mem, GADDR(addr), &v, sizeof(v)), ==, 0);
        return v;
}

static void poke16(const struct rig *r, uint64_t addr, uint16_t v) {
        g_assert_cmpint(gmem_write(r->mem, GADDR(addr), &v, sizeof(v)), ==, 0);
}

static void test_flags(void) {
        struct rig r;

        rig_up(&r);
        g_assert_false(virtq_want_interrupt(&r.q));
        serve(&r, 1);
        g_assert_true(virtq_want_interrupt(&r.q));
        g_assert_false(virtq_want_interrupt(&r.q));
        poke16(&r, r.d.avail.v, 1);
        serve(&r, 1);
        g_assert_false(virtq_want_interrupt(&r.q));
        poke16(&r, r.d.avail.v, 0);
        g_assert_false(virtq_want_interrupt(&r.q));
        serve(&r, 1);
        g_assert_true(virtq_want_interrupt(&r.q));

        virtq_disable_notify(&r.q);
        g_assert_cmpuint(peek16(&r, r.d.used.v), ==, 1);
        g_assert_false(virtq_enable_notify(&r.q));
        g_assert_cmpuint(peek16(&r, r.d.used.v), ==, 0);
        rig_down(&r);
}

/* With EVENT_IDX the flags mean nothing, and only the entry that was named speaks (2.7.10), also around the wrap. */
static void test_event_idx(void) {
        struct rig r;
        uint64_t used_event, avail_event;

        rig_up(&r);
        r.q.event_idx = true;
        used_event = r.d.avail.v + 4 + 2 * SIZE;
        avail_event = r.d.used.v + 4 + 8 * SIZE;
        poke16(&r, r.d.avail.v, 1);
        r.q.last_avail = r.q.avail_seen = r.q.used_idx = r.q.signalled = 0xfff0;
        drv_put_avail_idx(&r.d, 0xfff0);

        for (uint16_t base = 0xfff0; base != 0x10; base += 8) {
                poke16(&r, used_event, base + 4);
                serve(&r, 4);
                g_assert_false(virtq_want_interrupt(&r.q));
                serve(&r, 1);
                g_assert_true(virtq_want_interrupt(&r.q));
                serve(&r, 3);
                g_assert_false(virtq_want_interrupt(&r.q));

                virtq_disable_notify(&r.q);
                g_assert_cmpuint(peek16(&r, r.d.used.v), ==, 0);
                g_assert_false(virtq_enable_notify(&r.q));
                g_assert_cmpuint(peek16(&r, avail_event), ==, (uint16_t) (base + 8));
        }
        rig_down(&r);
}

static void test_unpop(void) {
        struct drv_buf buf = { GADDR(BUF), 4, false };
        struct rig r;
        void *cookie;
        uint32_t len;

        rig_up(&r);
        g_assert_cmpint(drv_add(&r.d, &buf, 1, false, &r), ==, 0);
        drv_publish(&r.d);
        g_assert_cmpuint(virtq_pending(&r.q), ==, 1);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);
                virtq_unpop(&r.q);
                g_assert_true(virtq_enable_notify(&r.q));
        }
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        virtq_push(&r.q, r.chain.head, 7);
        g_assert_true(drv_take(&r.d, &cookie, &len));
        g_assert_true(cookie == &r);
        g_assert_cmpuint(len, ==, 7);
        rig_down(&r);
}

/* What the device writes after dirty tracking began shows up: used ring and buffers, and nothing else. */
static void test_dirty(void) {
        g_autoptr(GError) error = NULL;
        uint64_t words[RAM / 4096 / 64] = { 0 }, next[RAM / 4096 / 64] = { 0 };
        struct rig r;

        rig_up(&r);
        put(&r, 0, BUF, 4096, DRV_NEXT, 1);
        put(&r, 1, RAM - 4096, 8192, DRV_WRITE, 0);
        drv_put_avail(&r.d, 0, 0);
        drv_put_avail_idx(&r.d, 1);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);

        g_assert_true(gmem_track_dirty(r.mem, true, &error));
        virtq_mark_written(&r.q, &r.chain, 4097);
        virtq_push(&r.q, 0, 4097);
        gmem_take_dirty(r.mem, 0, words);
        gmem_take_dirty(r.mem, 1, next);
        g_assert_cmphex(words[0], ==, 1); /* the rings are in page 0 */
        g_assert_cmphex(words[G_N_ELEMENTS(words) - 1], ==, 1ull << 63);
        g_assert_cmphex(next[0], ==, 1);
        for (size_t i = 1; i < G_N_ELEMENTS(words) - 1; i++)
                g_assert_cmphex(words[i] | next[i], ==, 0);
        rig_down(&r);
}

static void test_iov(void) {
        char a[3] = "abc", b[1], c[4] = "defg", out[16] = "";
        struct iovec iov[] = { { a, 3 }, { b, 0 }, { c, 4 } };

        g_assert_cmpuint(iov_copy_out(iov, 3, 0, out, 16), ==, 7);
        g_assert_cmpmem(out, 7, "abcdefg", 7);
        g_assert_cmpuint(iov_copy_out(iov, 3, 2, out, 3), ==, 3);
        g_assert_cmpmem(out, 3, "cde", 3);
        g_assert_cmpuint(iov_copy_out(iov, 3, 7, out, 1), ==, 0);
        g_assert_cmpuint(iov_copy_out(iov, 3, SIZE_MAX, out, SIZE_MAX), ==, 0);
        g_assert_cmpuint(iov_copy_out(iov, 0, 0, out, 1), ==, 0);
        g_assert_cmpuint(iov_copy_in(iov, 3, 1, "123456789", 9), ==, 6);
        g_assert_cmpmem(a, 3, "a12", 3);
        g_assert_cmpmem(c, 4, "3456", 4);
}

/* An honest driver and a device, step by step at random. */

#define REQUESTS 512
#define REQ_BUFS 6
#define REQ_BYTES 64

struct request {
        bool busy;
        uint16_t n;
        struct drv_buf bufs[REQ_BUFS];
        uint8_t tag;
        uint32_t written;
};

struct held {
        uint16_t head;
        uint32_t write_len;
        struct request *request;
        uint8_t *first_write;
};

struct play {
        struct rig r;
        GRand *rand;
        struct request requests[REQUESTS];
        struct held held[REQUESTS];
        unsigned n_held;
        bool indirect;

        bool kicked, device_asleep, interrupted, driver_asleep;
        uint64_t done;
};

static int pick(struct play *p, int n) {
        return g_rand_int_range(p->rand, 0, n);
}

static void driver_submit(struct play *p) {
        unsigned i = (unsigned) pick(p, REQUESTS);
        struct request *req = &p->requests[i];
        uint64_t at = RAM + (uint64_t) i * REQ_BUFS * REQ_BYTES;
        bool table = p->indirect && pick(p, 2);
        unsigned first_write;

        if (req->busy)
                return;

        req->n = (uint16_t) (1 + pick(p, MIN(REQ_BUFS, p->r.d.size)));
        req->tag = (uint8_t) pick(p, 256);
        first_write = (unsigned) pick(p, req->n + 1);
        for (unsigned k = 0; k < req->n; k++) {
                struct drv_buf *b = &req->bufs[k];

                *b = (struct drv_buf){
                        .addr = GADDR(at + k * REQ_BYTES),
                        .len = (uint32_t) (1 + pick(p, REQ_BYTES)),
                        .write = k >= first_write,
                };
                memset(gmem_map(p->r.mem, b->addr, b->len, true), b->write ? 0 : req->tag, b->len);
        }

        req->busy = drv_add(&p->r.d, req->bufs, req->n, table, req) >= 0;
}

static void driver_take(struct play *p) {
        void *cookie;
        uint32_t len;

        p->interrupted = false;
        p->driver_asleep = false;
        drv_disable_interrupts(&p->r.d);
        while (drv_take(&p->r.d, &cookie, &len)) {
                struct request *req = cookie;

                g_assert_true(req->busy);
                g_assert_cmpuint(len, ==, req->written);
                for (unsigned k = 0; k < req->n && len > 0; k++) {
                        const uint8_t *data;

                        if (!req->bufs[k].write)
                                continue;
                        data = gmem_map(p->r.mem, req->bufs[k].addr, 1, false);
                        g_assert_cmpuint(data[0], ==, (uint8_t) ~req->tag);
                        break;
                }
                req->busy = false;
                p->done++;
                if (pick(p, 4) == 0)
                        return;
        }
        p->driver_asleep = !drv_enable_interrupts(&p->r.d);
}

static void check_chain(struct play *p, struct held *h) {
        const struct virtq_chain *c = &p->r.chain;
        const struct request *req = p->r.d.slots[c->head].cookie;

        g_assert_true(p->r.d.slots[c->head].busy);
        g_assert_cmpuint(c->n_read + c->n_write, ==, req->n);
        for (unsigned k = 0; k < req->n; k++) {
                const struct drv_buf *b = &req->bufs[k];

                g_assert_true(b->write == (k >= c->n_read));
                g_assert_cmpuint(c->iov[k].iov_len, ==, b->len);
                g_assert_true(c->iov[k].iov_base == gmem_map(p->r.mem, b->addr, b->len, false));
                if (!b->write)
                        g_assert_cmpuint(*(uint8_t *) c->iov[k].iov_base, ==, req->tag);
        }

        *h = (struct held){
                .head = c->head,
                .write_len = c->write_len,
                .request = p->r.d.slots[c->head].cookie,
                .first_write = c->n_write > 0 ? c->iov[c->n_read].iov_base : NULL,
        };
}

static void device_pop(struct play *p) {
        int r;

        p->device_asleep = false;
        p->kicked = false;
        virtq_disable_notify(&p->r.q);
        for (;;) {
                r = virtq_pop(&p->r.q, &p->r.chain);
                if (r == VIRTQ_E_EMPTY) {
                        if (virtq_enable_notify(&p->r.q))
                                continue;
                        p->device_asleep = true;
                        return;
                }
                g_assert_cmpint(r, ==, 0);
                if (pick(p, 8) == 0) {
                        virtq_unpop(&p->r.q);
                        continue;
                }
                check_chain(p, &p->held[p->n_held++]);
                if (pick(p, 8) == 0)
                        return;
        }
}

/* In any order, some of what is held. */
static void device_push(struct play *p) {
        while (p->n_held > 0 && pick(p, 6) > 0) {
                unsigned i = (unsigned) pick(p, (int) p->n_held);
                struct held h = p->held[i];

                p->held[i] = p->held[--p->n_held];
                h.request->written =
                                h.write_len > 0 ? 1 + (uint32_t) pick(p, (int) h.write_len) : 0;
                if (h.first_write)
                        *h.first_write = (uint8_t) ~h.request->tag;
                virtq_push(&p->r.q, h.head, h.request->written);
        }
        if (virtq_want_interrupt(&p->r.q))
                p->interrupted = true;
}

static void step(struct play *p) {
        switch (pick(p, 8)) {
        case 0:
        case 1:
        case 2:
                driver_submit(p);
                break;
        case 3:
                if (drv_publish(&p->r.d))
                        p->kicked = true;
                break;
        case 4:
                driver_take(p);
                break;
        case 5:
                if (p->kicked || !p->device_asleep)
                        device_pop(p);
                break;
        default:
                device_push(p);
        }

        /* A sleeper with work to do has been told. */
        if (p->device_asleep && virtq_pending(&p->r.q) > 0)
                g_assert_true(p->kicked);
        if (p->driver_asleep && p->r.q.used_idx != p->r.d.last_used)
                g_assert_true(p->interrupted);
}

#define MAX_STEPS 10000000
#define HOSTILE_STEPS 200000

struct variant {
        uint16_t size;
        bool indirect, event_idx;
};

static void test_honest(gconstpointer data) {
        const struct variant *v = data;
        g_autofree struct play *p = g_new0(struct play, 1);

        p->r.mem = memory_new();
        p->indirect = v->indirect;
        p->rand = g_rand_new_with_seed(0x5eed + v->size);
        rig_queue(&p->r, GADDR(0), v->size, v->indirect ? REQ_BUFS : 0, v->event_idx);
        g_assert_cmpuint(drv_ring_bytes(v->size, REQ_BUFS), <, RAM);

        /* All indices go round at least once. */
        for (unsigned i = 0; p->done < 70000; i++) {
                g_assert_cmpuint(i, <, MAX_STEPS);
                step(p);
        }

        g_rand_free(p->rand);
        rig_down(&p->r);
}

/* A driver that does one random wrong thing after the other; the device serves what it can, and is reset when it cannot. */
static void test_hostile(gconstpointer data) {
        const struct variant *v = data;
        g_autoptr(GRand) rand = g_rand_new_with_seed(0xbad + v->size);
        unsigned broken = 0, served = 0;
        struct rig r = { .mem = memory_new() };

        rig_queue(&r, GADDR(0), v->size, REQ_BUFS, v->event_idx);
        for (unsigned i = 0; i < HOSTILE_STEPS; i++) {
                int e;

                drv_vandalise(&r.d, rand, 2 * RAM + 4096);
                e = virtq_pop(&r.q, &r.chain);
                if (e == VIRTQ_E_BROKEN) {
                        broken++;
                        drv_ring_clear(&r.d);
                        rig_queue(&r, GADDR(0), v->size, REQ_BUFS, v->event_idx);
                        continue;
                }
                if (e == VIRTQ_E_EMPTY) {
                        (void) virtq_enable_notify(&r.q);
                        continue;
                }

                served++;
                for (unsigned k = r.chain.n_read; k < r.chain.n_read + r.chain.n_write; k++)
                        memset(r.iov[k].iov_base, 0xaa, MIN(r.iov[k].iov_len, 64));
                for (unsigned k = 0; k < r.chain.n_read; k++)
                        g_assert_nonnull(memchr(
                                        r.iov[k].iov_base,
                                        *((uint8_t *) r.iov[k].iov_base + r.iov[k].iov_len - 1),
                                        r.iov[k].iov_len));
                virtq_mark_written(&r.q, &r.chain, r.chain.write_len);
                virtq_push(&r.q, r.chain.head, r.chain.write_len);
                (void) virtq_want_interrupt(&r.q);
        }
        g_assert_cmpuint(broken, >, 100);
        g_assert_cmpuint(served, >, 100);
        rig_down(&r);
}

static const struct variant variants[] = {
        { 1, false, false }, { 1, true, true },  { 2, false, true },    { 8, true, false },
        { 8, false, true },  { 64, true, true }, { 256, false, false }, { 256, true, true },
};

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/virtq/enable", test_enable);
        g_test_add_func("/virtq/not-ready", test_not_ready);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *path = g_strdup_printf("/virtq/bad/%s", bad[i].name);

                g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_bad);
        }
        g_test_add_func("/virtq/bad/too-many", test_too_many);
        g_test_add_func("/virtq/bad/total", test_total);
        g_test_add_func("/virtq/bad/table-limit", test_table_limit);
        g_test_add_func("/virtq/odd", test_odd);
        g_test_add_func("/virtq/flags", test_flags);
        g_test_add_func("/virtq/event-idx", test_event_idx);
        g_test_add_func("/virtq/unpop", test_unpop);
        g_test_add_func("/virtq/dirty", test_dirty);
        g_test_add_func("/virtq/iov", test_iov);
        for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
                const struct variant *v = &variants[i];
                g_autofree char *name =
                                g_strdup_printf("%u%s%s", v->size, v->indirect ? "-indirect" : "",
                                                v->event_idx ? "-event-idx" : "");
                g_autofree char *honest = g_strdup_printf("/virtq/honest/%s", name);
                g_autofree char *hostile = g_strdup_printf("/virtq/hostile/%s", name);

                g_test_add_data_func(honest, v, test_honest);
                g_test_add_data_func(hostile, v, test_hostile);
        }

        return g_test_run();
}
