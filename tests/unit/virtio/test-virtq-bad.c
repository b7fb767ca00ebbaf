/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a split queue refuses every ring that breaks the rules (loops, wild addresses, indices out of range,
 * misused indirect tables, too much of anything) and is then dead, without ever leaving guest memory; that it takes what
 * only looks odd; and that flags, events, dirty pages and the iovec helpers do exactly what they say.
 */

#include <errno.h>
#include <string.h>

#include "virtq-rig.h"

/* Bad set-up */

static void test_enable(void) {
        struct vq_rig r;
        struct virtq q;

        vq_rig_up(&r);
        q = r.q;
        q.ready = false;
        vq_rig_expect_enable(q, 0);

#define WITH(field, value, result) VQ_RIG_WITH(q, field, value, result)
        WITH(size, 0, -EINVAL);
        WITH(size, 3, -EINVAL);
        WITH(size, 2 * VQ_SIZE, -EINVAL);
        WITH(desc.v, 8, -EINVAL);
        WITH(avail.v, q.avail.v + 1, -EINVAL);
        WITH(used.v, q.used.v + 2, -EINVAL);
        WITH(desc.v, VQ_HOLE - 16, -EFAULT);
        WITH(desc.v, UINT64_MAX - 15, -EFAULT);
        WITH(avail.v, 3 * (uint64_t) VQ_RAM, -EFAULT);
        WITH(used.v, VQ_HOLE + VQ_RAM - 4, -EFAULT);
        /* The last bytes of a region just fit; one entry more, or a region's seam, do not. */
        WITH(desc.v, VQ_RAM - 16 * VQ_SIZE, 0);
        WITH(desc.v, VQ_RAM - 16 * VQ_SIZE + 16, -EFAULT);
        WITH(avail.v, 2 * VQ_RAM - (6 + 2 * VQ_SIZE), 0);
        WITH(avail.v, 2 * VQ_RAM - (6 + 2 * VQ_SIZE) + 2, -EFAULT);
        WITH(used.v, VQ_HOLE + VQ_RAM - (6 + 8 * VQ_SIZE) - 2, 0);
        WITH(used.v, VQ_HOLE + VQ_RAM - (6 + 8 * VQ_SIZE) + 2, -EFAULT);
#undef WITH
        vq_rig_down(&r);
}

/* A queue that is not enabled is empty and silent. */
static void test_not_ready(void) {
        struct vq_rig r;

        vq_rig_up(&r);
        drv_put_avail_idx(&r.d, 1);
        vq_rig_expect_asleep(&r);
        vq_rig_down(&r);
}

/* Bad rings: each case writes descriptors of its own and makes head 0 available. */

#define BUF 0x80000u /* somewhere for buffers */
#define TABLE 0x40000u

static void
put(struct vq_rig *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next) {
        drv_put_desc(r->mem, r->d.desc, i, addr, len, flags, next);
}

static void
put_table(struct vq_rig *r,
          unsigned i,
          uint64_t addr,
          uint32_t len,
          uint16_t flags,
          uint16_t next) {
        drv_put_desc(r->mem, GADDR(TABLE), i, addr, len, flags, next);
}

static void bad_head(struct vq_rig *r) {
        drv_put_avail(&r->d, 0, VQ_SIZE);
}

static void bad_head_max(struct vq_rig *r) {
        drv_put_avail(&r->d, 0, 0xffff);
}

static void bad_avail_ahead(struct vq_rig *r) {
        drv_put_avail_idx(&r->d, VQ_SIZE + 1);
}

static void bad_avail_back(struct vq_rig *r) {
        drv_put_avail_idx(&r->d, 0xffff);
}

static void bad_self_loop(struct vq_rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT, 0);
}

static void bad_long_loop(struct vq_rig *r) {
        for (unsigned i = 0; i < VQ_SIZE; i++)
                put(r, i, BUF, 1, DRV_NEXT, (i + 1) % VQ_SIZE);
}

static void bad_next(struct vq_rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT, VQ_SIZE);
}

static void bad_hole(struct vq_rig *r) {
        put(r, 0, 3 * VQ_RAM, 1, 0, 0);
}

static void bad_into_hole(struct vq_rig *r) {
        put(r, 0, 2 * VQ_RAM - 1, 2, 0, 0);
}

static void bad_wrap(struct vq_rig *r) {
        put(r, 0, UINT64_MAX, 2, DRV_WRITE, 0);
}

static void bad_wrap_to_ram(struct vq_rig *r) {
        put(r, 0, UINT64_MAX - 3, 0x80000000u, 0, 0);
}

static void bad_order(struct vq_rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT | DRV_WRITE, 1);
        put(r, 1, BUF, 1, 0, 0);
}

static void bad_order_in_table(struct vq_rig *r) {
        put(r, 0, BUF, 1, DRV_NEXT | DRV_WRITE, 1);
        put(r, 1, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_table_empty(struct vq_rig *r) {
        put(r, 0, TABLE, 0, DRV_INDIRECT, 0);
}

static void bad_table_len(struct vq_rig *r) {
        put(r, 0, TABLE, 17, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_table_huge(struct vq_rig *r) {
        put(r, 0, TABLE, 16 * 65537, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_table_wild(struct vq_rig *r) {
        put(r, 0, 3 * VQ_RAM, 16, DRV_INDIRECT, 0);
}

static void bad_table_seam(struct vq_rig *r) {
        put(r, 0, VQ_RAM - 8, 16, DRV_INDIRECT, 0);
}

static void bad_table_next(struct vq_rig *r) {
        put(r, 0, TABLE, 16, DRV_INDIRECT | DRV_NEXT, 1);
        put_table(r, 0, BUF, 1, 0, 0);
        put(r, 1, BUF, 1, 0, 0);
}

static void bad_table_nested(struct vq_rig *r) {
        put(r, 0, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, TABLE, 16, DRV_INDIRECT, 0);
}

static void bad_table_nested_later(struct vq_rig *r) {
        put(r, 0, TABLE, 32, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, DRV_NEXT, 1);
        put_table(r, 1, TABLE + 64, 16, DRV_INDIRECT, 0);
        drv_put_desc(r->mem, GADDR(TABLE + 64), 0, BUF, 1, 0, 0);
}

static void bad_table_step_out(struct vq_rig *r) {
        put(r, 0, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, DRV_NEXT, 1);
        put_table(r, 1, BUF, 1, 0, 0);
}

static void bad_table_loop(struct vq_rig *r) {
        put(r, 0, TABLE, 32, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, DRV_NEXT, 1);
        put_table(r, 1, BUF, 1, DRV_NEXT, 0);
}

static void bad_table_long(struct vq_rig *r) {
        put(r, 0, TABLE, 16 * (VQ_SIZE + 1), DRV_INDIRECT, 0);
        for (unsigned i = 0; i <= VQ_SIZE; i++)
                put_table(r, i, BUF, 1, i < VQ_SIZE ? DRV_NEXT : 0, i + 1);
}

static void bad_table_not_negotiated(struct vq_rig *r) {
        r->q.indirect = false;
        put(r, 0, TABLE, 16, DRV_INDIRECT, 0);
        put_table(r, 0, BUF, 1, 0, 0);
}

static void bad_iovs(struct vq_rig *r) {
        r->chain.iov_max = 2;
        put(r, 0, BUF, 1, DRV_NEXT, 1);
        put(r, 1, BUF, 1, DRV_NEXT, 2);
        put(r, 2, BUF, 1, DRV_WRITE, 0);
}

static void bad_iovs_by_seam(struct vq_rig *r) {
        r->chain.iov_max = 1;
        put(r, 0, VQ_RAM - 1, 2, 0, 0);
}

static const struct {
        const char *name;
        void (*make)(struct vq_rig *r);
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
        void (*make)(struct vq_rig * r) = bad[GPOINTER_TO_SIZE(data)].make;
        struct vq_rig r;

        vq_rig_up(&r);
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
        vq_rig_down(&r);
}

/* More chains than the queue has room for, counting those that the device still holds. */
static void test_too_many(void) {
        struct vq_rig r;

        vq_rig_up(&r);
        for (uint16_t i = 0; i < VQ_SIZE; i++) {
                put(&r, i, BUF, 1, 0, 0);
                drv_put_avail(&r.d, i, i);
        }
        drv_put_avail_idx(&r.d, VQ_SIZE);
        for (unsigned i = 0; i < VQ_SIZE; i++)
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);

        virtq_push(&r.q, 0, 0);
        drv_put_avail_idx(&r.d, VQ_SIZE + 2);
        g_assert_cmpuint(virtq_pending(&r.q), ==, 2);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        vq_rig_down(&r);
}

/* 4 GiB - 1 in all is the most; memory for it need not exist: the sum is refused first. */
static void test_total(void) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { 0 };
        struct vq_rig r;

        vq_rig_up(&r);
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
        vq_rig_down(&r);
}

/* A table with more entries than next can name. */
static void test_table_limit(void) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { 0 };
        gaddr table = GADDR(1ull << 32);
        struct vq_rig r;

        vq_rig_up(&r);
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
        vq_rig_down(&r);
}

/* Good rings that look odd. */

static void expect_pop(struct vq_rig *r, uint16_t n_read, uint16_t n_write, uint32_t total) {
        drv_put_avail(&r->d, r->q.last_avail, 0);
        drv_put_avail_idx(&r->d, r->q.last_avail + 1);
        g_assert_cmpint(virtq_pop(&r->q, &r->chain), ==, 0);
        g_assert_cmpuint(r->chain.token, ==, 0);
        g_assert_cmpuint(r->chain.n_read, ==, n_read);
        g_assert_cmpuint(r->chain.n_write, ==, n_write);
        g_assert_cmpuint(r->chain.read_len + r->chain.write_len, ==, total);
        virtq_push(&r->q, 0, 0);
}

static void test_odd(void) {
        struct vq_rig r;

        vq_rig_up(&r);

        /* Empty descriptors, whatever their address, add nothing. */
        put(&r, 0, UINT64_MAX, 0, 0, 0);
        expect_pop(&r, 0, 0, 0);
        put(&r, 0, 3 * VQ_RAM, 0, DRV_NEXT, 1);
        put(&r, 1, BUF, 5, DRV_NEXT | DRV_WRITE, 2);
        put(&r, 2, BUF, 0, DRV_WRITE, 0);
        expect_pop(&r, 0, 1, 5);

        /* A buffer over the seam of two regions is two pieces. */
        put(&r, 0, VQ_RAM - 1, 3, DRV_WRITE, 0);
        expect_pop(&r, 0, 2, 3);
        g_assert_cmpuint(r.iov[0].iov_len, ==, 1);
        g_assert_true(r.iov[1].iov_base == gmem_map(r.mem, GADDR(VQ_RAM), 2, false));

        /* As long as the queue: allowed, in either table. */
        for (unsigned i = 0; i < VQ_SIZE; i++) {
                put(&r, i, BUF + i, 1, i < VQ_SIZE - 1 ? DRV_NEXT : 0, i + 1);
                put_table(&r, i, BUF + i, 1, i < VQ_SIZE - 1 ? DRV_NEXT : 0, i + 1);
        }
        expect_pop(&r, VQ_SIZE, 0, VQ_SIZE);
        put(&r, 0, TABLE, 16 * VQ_SIZE, DRV_INDIRECT, 0);
        expect_pop(&r, VQ_SIZE, 0, VQ_SIZE);

        /* The write flag of a descriptor that refers to a table means nothing (2.7.5.3.2); nor do unknown flags. */
        put(&r, 0, TABLE, 16 * VQ_SIZE, DRV_INDIRECT | DRV_WRITE | 0xfff0, 0);
        expect_pop(&r, VQ_SIZE, 0, VQ_SIZE);

        /* Plain descriptors, then a table. Tables need no alignment. */
        put(&r, 0, BUF, 2, DRV_NEXT, 1);
        put(&r, 1, TABLE + 3, 32, DRV_INDIRECT, 0);
        drv_put_desc(r.mem, GADDR(TABLE + 3), 0, BUF, 3, DRV_NEXT, 1);
        drv_put_desc(r.mem, GADDR(TABLE + 3), 1, BUF, 4, DRV_WRITE, 0);
        expect_pop(&r, 2, 1, 9);

        vq_rig_down(&r);
}

/* Pushes n chains of one empty descriptor each. */
static void serve(struct vq_rig *r, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                put(r, 0, BUF, 0, 0, 0);
                drv_put_avail(&r->d, r->q.last_avail, 0);
                drv_put_avail_idx(&r->d, r->q.last_avail + 1);
                g_assert_cmpint(virtq_pop(&r->q, &r->chain), ==, 0);
                virtq_push(&r->q, 0, 0);
        }
}

static uint16_t peek16(const struct vq_rig *r, uint64_t addr) {
        uint16_t v;

        g_assert_cmpint(gmem_read(r->mem, GADDR(addr), &v, sizeof(v)), ==, 0);
        return v;
}

static void poke16(const struct vq_rig *r, uint64_t addr, uint16_t v) {
        g_assert_cmpint(gmem_write(r->mem, GADDR(addr), &v, sizeof(v)), ==, 0);
}

static void test_flags(void) {
        struct vq_rig r;

        vq_rig_up(&r);
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
        vq_rig_down(&r);
}

/* With EVENT_IDX the flags mean nothing, and only the entry that was named speaks (2.7.10), also around the wrap. */
static void test_event_idx(void) {
        struct vq_rig r;
        uint64_t used_event, avail_event;

        vq_rig_up(&r);
        r.q.event_idx = true;
        used_event = r.d.avail.v + 4 + 2 * VQ_SIZE;
        avail_event = r.d.used.v + 4 + 8 * VQ_SIZE;
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
        vq_rig_down(&r);
}

static void test_unpop(void) {
        struct drv_buf buf = { GADDR(BUF), 4, false };
        struct vq_rig r;
        void *cookie;
        uint32_t len;

        vq_rig_up(&r);
        g_assert_cmpint(drv_add(&r.d, &buf, 1, false, &r), ==, 0);
        drv_publish(&r.d);
        g_assert_cmpuint(virtq_pending(&r.q), ==, 1);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);
                virtq_unpop(&r.q, r.chain.token);
                g_assert_true(virtq_enable_notify(&r.q));
        }
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        virtq_push(&r.q, r.chain.token, 7);
        g_assert_true(drv_take(&r.d, &cookie, &len));
        g_assert_true(cookie == &r);
        g_assert_cmpuint(len, ==, 7);
        vq_rig_down(&r);
}

/* What the device writes after dirty tracking began shows up: used ring and buffers, and nothing else. */
static void test_dirty(void) {
        g_autoptr(GError) error = NULL;
        uint64_t words[VQ_RAM / 4096 / 64] = { 0 }, next[VQ_RAM / 4096 / 64] = { 0 };
        struct vq_rig r;

        vq_rig_up(&r);
        put(&r, 0, BUF, 4096, DRV_NEXT, 1);
        put(&r, 1, VQ_RAM - 4096, 8192, DRV_WRITE, 0);
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
        vq_rig_down(&r);
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

        return g_test_run();
}
