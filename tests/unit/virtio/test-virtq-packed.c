/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a packed queue refuses every ring that breaks the rules and is then dead, without ever leaving guest memory;
 * that wrap counters, event suppression and used descriptors are to the bit as virtio 1.2, 2.8 has them; and that the same requests
 * come out of a packed and a split queue alike.
 */

#include <errno.h>
#include <string.h>

#include "virtq-rig.h"

#define AVAIL 0x80u
#define USED 0x8000u
#define WRAP 0x8000u

#define BUF 0x80000u /* somewhere for buffers */
#define TABLE 0x40000u

/* Bad set-up */

static void test_enable(void) {
        struct vq_rig r;
        struct virtq q;

        vq_rig_up_packed(&r);
        q = r.q;
        q.ready = false;
        vq_rig_expect_enable(q, 0);

#define WITH(field, value, result) VQ_RIG_WITH(q, field, value, result)
        WITH(size, 0, -EINVAL);
        WITH(size, 3, 0);
        WITH(size, VQ_SIZE + 1, -EINVAL);
        WITH(desc.v, 8, -EINVAL);
        WITH(avail.v, q.avail.v + 2, -EINVAL);
        WITH(used.v, q.used.v + 2, -EINVAL);
        WITH(desc.v, VQ_HOLE - 16, -EFAULT);
        WITH(desc.v, UINT64_MAX - 15, -EFAULT);
        WITH(desc.v, VQ_RAM - 16 * VQ_SIZE, 0);
        WITH(desc.v, VQ_RAM - 16 * VQ_SIZE + 16, -EFAULT);
        WITH(avail.v, 2 * VQ_RAM, -EFAULT);
        WITH(avail.v, 2 * VQ_RAM - 4, 0);
        WITH(used.v, VQ_HOLE + VQ_RAM - 4, 0);
        WITH(used.v, VQ_HOLE + VQ_RAM, -EFAULT);
        /* Places of a saved state: outside the ring, or one behind the other although nothing is in flight. */
        WITH(last_avail, VQ_SIZE | WRAP, -EINVAL);
        WITH(last_avail, q.last_avail ^ WRAP, -EINVAL);
        WITH(used_idx, q.used_idx + 1, -EINVAL);
        q.last_avail = q.used_idx = VQ_SIZE;
        vq_rig_expect_enable(q, -EINVAL);
        q.last_avail = q.used_idx = VQ_SIZE - 1;
        vq_rig_expect_enable(q, 0);
#undef WITH
        vq_rig_down(&r);
}

static void test_not_ready(void) {
        struct vq_rig r;

        vq_rig_up_packed(&r);
        drv_put_packed(&r.d, 0, BUF, 4, 0, AVAIL);
        vq_rig_expect_asleep(&r);
        vq_rig_down(&r);
}

/* Bad rings: the first descriptor is one of 4 bytes, and each case adds to it or writes it anew. */

static void put_table(struct vq_rig *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags) {
        /* The field that is `next` in a split ring is flags here, and flags is the id. */
        drv_put_desc(r->mem, GADDR(TABLE), i, addr, len, 0xffff, flags);
}

static void bad_endless(struct vq_rig *r) {
        drv_put_endless(&r->d, GADDR(BUF));
}

static void bad_hole(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, 3 * VQ_RAM, 1, 0, AVAIL);
}

static void bad_into_hole(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, 2 * VQ_RAM - 1, 2, 0, AVAIL);
}

static void bad_wrap(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, UINT64_MAX, 2, 0, AVAIL | DRV_WRITE);
}

static void bad_order(struct vq_rig *r) {
        drv_put_packed(&r->d, 1, BUF, 1, 0, AVAIL);
        drv_put_packed(&r->d, 0, BUF, 1, 0, AVAIL | DRV_NEXT | DRV_WRITE);
}

static void bad_order_in_table(struct vq_rig *r) {
        put_table(r, 0, BUF, 1, DRV_WRITE);
        put_table(r, 1, BUF, 1, 0);
        drv_put_packed(&r->d, 0, TABLE, 32, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_empty(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, TABLE, 0, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_len(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, TABLE, 24, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_long(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, TABLE, 16 * (VQ_SIZE + 1), 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_huge(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, TABLE, 0xfffffff0, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_wild(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, 3 * VQ_RAM, 16, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_seam(struct vq_rig *r) {
        drv_put_packed(&r->d, 0, VQ_RAM - 16, 32, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_next(struct vq_rig *r) {
        put_table(r, 0, BUF, 1, 0);
        drv_put_packed(&r->d, 1, BUF, 1, 0, AVAIL);
        drv_put_packed(&r->d, 0, TABLE, 16, 0, AVAIL | DRV_INDIRECT | DRV_NEXT);
}

static void bad_table_behind(struct vq_rig *r) {
        put_table(r, 0, BUF, 1, 0);
        drv_put_packed(&r->d, 1, TABLE, 16, 0, AVAIL | DRV_INDIRECT);
        drv_put_packed(&r->d, 0, BUF, 1, 0, AVAIL | DRV_NEXT);
}

static void bad_table_not_negotiated(struct vq_rig *r) {
        r->q.indirect = false;
        put_table(r, 0, BUF, 1, 0);
        drv_put_packed(&r->d, 0, TABLE, 16, 0, AVAIL | DRV_INDIRECT);
}

static void bad_table_iovs(struct vq_rig *r) {
        r->chain.iov_max = 2;
        for (unsigned i = 0; i < 3; i++)
                put_table(r, i, BUF, 1, 0);
        drv_put_packed(&r->d, 0, TABLE, 48, 0, AVAIL | DRV_INDIRECT);
}

static void bad_iovs(struct vq_rig *r) {
        r->chain.iov_max = 1;
        drv_put_packed(&r->d, 1, BUF, 1, 0, AVAIL);
        drv_put_packed(&r->d, 0, BUF, 1, 0, AVAIL | DRV_NEXT);
}

static const struct {
        const char *name;
        void (*make)(struct vq_rig *r);
} bad[] = {
        { "endless", bad_endless },
        { "hole", bad_hole },
        { "into-hole", bad_into_hole },
        { "wrap", bad_wrap },
        { "order", bad_order },
        { "order-in-table", bad_order_in_table },
        { "table-empty", bad_table_empty },
        { "table-len", bad_table_len },
        { "table-long", bad_table_long },
        { "table-huge", bad_table_huge },
        { "table-wild", bad_table_wild },
        { "table-seam", bad_table_seam },
        { "table-next", bad_table_next },
        { "table-behind", bad_table_behind },
        { "table-not-negotiated", bad_table_not_negotiated },
        { "table-iovs", bad_table_iovs },
        { "iovs", bad_iovs },
};

static void test_bad(gconstpointer data) {
        void (*make)(struct vq_rig * r) = bad[GPOINTER_TO_SIZE(data)].make;
        struct vq_rig r;

        vq_rig_up_packed(&r);
        make(&r);

        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        g_assert_true(r.q.broken);
        g_assert_cmpuint(r.q.in_flight, ==, 0);

        /* Dead, also when the ring is in order again. */
        drv_put_packed(&r.d, 0, BUF, 1, 0, AVAIL);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        g_assert_false(virtq_enable_notify(&r.q));
        g_assert_false(virtq_want_interrupt(&r.q));
        virtq_push(&r.q, 1u << 16, 0);
        g_assert_cmphex(r.q.used_idx, ==, WRAP);

        virtq_reset(&r.q);
        g_assert_false(r.q.broken || r.q.packed);
        vq_rig_down(&r);
}

/* Descriptors that the device still holds, made available again: no more than the ring has are ever taken. */
static void test_again(void) {
        uint32_t tokens[VQ_SIZE];
        struct vq_rig r;

        vq_rig_up_packed(&r);
        for (uint16_t i = 0; i < VQ_SIZE; i++)
                drv_put_packed(&r.d, i, BUF, 4, 7, AVAIL);
        for (unsigned i = 0; i < VQ_SIZE; i++) {
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
                tokens[i] = r.chain.token;
        }
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);

        /* One comes back, two claim to be there: the second is one that is held. */
        virtq_push(&r.q, tokens[0], 0);
        drv_put_packed(&r.d, 0, BUF, 4, 7, USED);
        drv_put_packed(&r.d, 1, BUF, 4, 7, USED);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_BROKEN);
        g_assert_cmpuint(r.q.in_flight, ==, VQ_SIZE);
        vq_rig_down(&r);
}

/* As many as are left, and one descriptor more. */
static void test_room(void) {
        struct vq_rig r;

        for (uint16_t extra = 0; extra < 2; extra++) {
                uint16_t n = VQ_SIZE - 3 + extra;

                vq_rig_up_packed(&r);
                for (uint16_t i = 0; i < 3; i++) {
                        drv_put_packed(&r.d, i, BUF, 4, i, AVAIL);
                        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
                }
                for (uint16_t k = 0; k < n; k++) {
                        uint16_t at = 3 + k;

                        drv_put_packed(&r.d, at % VQ_SIZE, BUF, 4, 3,
                                       (at < VQ_SIZE ? AVAIL : USED) | (k < n - 1 ? DRV_NEXT : 0));
                }
                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, extra ? VIRTQ_E_BROKEN : 0);
                vq_rig_down(&r);
        }
}

/* What is available is so by the wrap counter: neither flag alone, nor both, nor those of the other time round. */
static void test_wrap(void) {
        struct vq_rig r;

        vq_rig_up_packed(&r);
        for (unsigned round = 0; round < 6; round++) {
                uint16_t right = round % 2 == 0 ? AVAIL : USED, wrong = right ^ (AVAIL | USED);

                for (uint16_t i = 0; i < VQ_SIZE; i++) {
                        const uint16_t not [] = { 0, AVAIL | USED, wrong };

                        for (size_t k = 0; k < G_N_ELEMENTS(not ); k++) {
                                drv_put_packed(&r.d, i, BUF, 4, i, not [k] | DRV_WRITE);
                                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);
                                g_assert_cmpuint(virtq_pending(&r.q), ==, 0);
                        }
                        drv_put_packed(&r.d, i, BUF, 4, i ^ 0x5a5a, right | DRV_WRITE);
                        g_assert_cmpuint(virtq_pending(&r.q), ==, 1);
                        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
                        g_assert_cmphex(r.chain.token, ==, (1u << 16) | (i ^ 0x5a5a));
                        virtq_push(&r.q, r.chain.token, i % 2);
                }
                g_assert_cmphex(r.q.last_avail, ==, round % 2 == 0 ? 0 : WRAP);
                g_assert_cmphex(r.q.used_idx, ==, r.q.last_avail);
        }
        vq_rig_down(&r);
}

struct used {
        uint32_t len;
        uint16_t id, flags;
};

static struct used peek(const struct vq_rig *r, unsigned i) {
        struct used u;

        memcpy(&u.len, r->d.desc_host + 16 * i + 8, 4);
        memcpy(&u.id, r->d.desc_host + 16 * i + 12, 2);
        memcpy(&u.flags, r->d.desc_host + 16 * i + 14, 2);
        return u;
}

/* Used descriptors stand where the counts of the chains say, in the order of completion, with the ids of their chains' last
 * descriptors (2.8.6). */
static void test_used(void) {
        struct virtq_used done[2];
        struct vq_rig r;

        vq_rig_up_packed(&r);
        drv_put_packed(&r.d, 1, BUF, 4, 0xffff, AVAIL | DRV_NEXT);
        drv_put_packed(&r.d, 2, BUF, 4, 11, AVAIL | DRV_WRITE);
        drv_put_packed(&r.d, 0, BUF, 4, 0xffff, AVAIL | DRV_NEXT);
        drv_put_packed(&r.d, 4, BUF, 4, 22,
                       USED | DRV_WRITE); /* flags behind the first count for nothing */
        drv_put_packed(&r.d, 3, BUF, 4, 0xffff, AVAIL | DRV_NEXT | DRV_WRITE);

        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        g_assert_cmphex(r.chain.token, ==, 3u << 16 | 11);
        g_assert_cmpuint(r.chain.n_read, ==, 2);
        done[1] = (struct virtq_used){ r.chain.token, 0 };
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
        g_assert_cmphex(r.chain.token, ==, 2u << 16 | 22);
        g_assert_cmpuint(r.chain.n_write, ==, 2);
        done[0] = (struct virtq_used){ r.chain.token, 8 };
        virtq_push_many(&r.q, done, 2);

        g_assert_cmpuint(peek(&r, 0).id, ==, 22);
        g_assert_cmpuint(peek(&r, 0).len, ==, 8);
        g_assert_cmphex(peek(&r, 0).flags, ==, AVAIL | USED | DRV_WRITE);
        g_assert_cmpuint(peek(&r, 2).id, ==, 11);
        g_assert_cmphex(peek(&r, 2).flags, ==, AVAIL | USED);
        g_assert_cmphex(r.q.used_idx, ==, WRAP | 5);
        g_assert_cmpuint(r.q.in_flight, ==, 0);
        vq_rig_down(&r);
}

/* Serves n chains of one descriptor. */
static void serve(struct vq_rig *r, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                uint16_t place = r->q.last_avail;

                drv_put_packed(&r->d, place & ~WRAP, BUF, 0, 0, (place & WRAP) ? AVAIL : USED);
                g_assert_cmpint(virtq_pop(&r->q, &r->chain), ==, 0);
                virtq_push(&r->q, r->chain.token, 0);
        }
}

static void set_event(const struct vq_rig *r, uint16_t place, uint16_t flags) {
        const uint16_t words[] = { GUINT16_TO_LE(place), GUINT16_TO_LE(flags) };

        memcpy(r->d.avail_host, words, sizeof(words));
}

static uint32_t device_event(const struct vq_rig *r) {
        uint32_t event;

        memcpy(&event, r->d.used_host, sizeof(event));
        return GUINT32_FROM_LE(event);
}

static void test_flags(void) {
        struct vq_rig r;

        vq_rig_up_packed(&r);
        g_assert_false(virtq_want_interrupt(&r.q));
        serve(&r, 1);
        g_assert_true(virtq_want_interrupt(&r.q));
        g_assert_false(virtq_want_interrupt(&r.q));
        set_event(&r, 0, 1);
        serve(&r, 1);
        g_assert_false(virtq_want_interrupt(&r.q));
        set_event(&r, 0, 0);
        g_assert_false(virtq_want_interrupt(&r.q));
        serve(&r, 1);
        g_assert_true(virtq_want_interrupt(&r.q));
        /* A place, which was not negotiated: better once too often. */
        set_event(&r, 5, 2);
        serve(&r, 1);
        g_assert_true(virtq_want_interrupt(&r.q));

        virtq_disable_notify(&r.q);
        g_assert_cmphex(device_event(&r), ==, 1u << 16);
        g_assert_false(virtq_enable_notify(&r.q));
        g_assert_cmphex(device_event(&r), ==, 0);
        vq_rig_down(&r);
}

/* The place that was named, and no other, speaks (2.8.10), wherever the wrap falls and however much was used at once. */
static void test_event_idx(void) {
        struct vq_rig r;

        for (uint16_t start = 0; start < 2 * VQ_SIZE; start++)
                for (uint16_t n = 1; n < VQ_SIZE; n++)
                        for (uint16_t ahead = 0; ahead < 2 * VQ_SIZE; ahead++) {
                                uint16_t named = (start + ahead) % (2 * VQ_SIZE);

                                vq_rig_up_packed(&r);
                                r.q.event_idx = true;
                                serve(&r, start);
                                (void) virtq_want_interrupt(&r.q);
                                set_event(&r,
                                          (uint16_t) (named < VQ_SIZE ? named | WRAP
                                                                      : named - VQ_SIZE + 0u),
                                          2);
                                serve(&r, n);
                                g_assert_true(virtq_want_interrupt(&r.q) == (ahead < n));
                                vq_rig_down(&r);
                        }
}

static void test_event_of_device(void) {
        struct vq_rig r;

        vq_rig_up_packed(&r);
        r.q.event_idx = true;
        for (unsigned i = 0; i < 3 * VQ_SIZE; i++) {
                virtq_disable_notify(&r.q);
                g_assert_cmphex(device_event(&r), ==, 1u << 16);
                g_assert_false(virtq_enable_notify(&r.q));
                g_assert_cmphex(device_event(&r), ==, 2u << 16 | r.q.last_avail);
                serve(&r, 1);
        }
        /* A ringful and more at once, and an event word that names no place at all. */
        (void) virtq_want_interrupt(&r.q);
        set_event(&r, 0x7fff, 2);
        serve(&r, 1);
        g_assert_false(virtq_want_interrupt(&r.q));
        serve(&r, 70000);
        g_assert_true(virtq_want_interrupt(&r.q));
        vq_rig_down(&r);
}

static void test_unpop(void) {
        const struct drv_buf bufs[] = { { GADDR(BUF), 4, false }, { GADDR(BUF), 4, true } };
        uint32_t tokens[3];
        struct vq_rig r;
        void *cookie;
        uint32_t len;

        vq_rig_up_packed(&r);
        for (unsigned round = 0; round < 40; round++) {
                uint16_t before = r.q.last_avail;

                for (unsigned i = 0; i < 3; i++)
                        g_assert_cmpint(drv_add(&r.d, bufs, (uint16_t) (1 + i % 2), false,
                                                &tokens[i]),
                                        >=, 0);
                drv_publish(&r.d);
                for (unsigned again = 0; again < 2; again++) {
                        for (unsigned i = 0; i < 3; i++) {
                                g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);
                                tokens[i] = r.chain.token;
                        }
                        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, VIRTQ_E_EMPTY);
                        for (unsigned i = 3; again == 0 && i-- > 0;)
                                virtq_unpop(&r.q, tokens[i]);
                        if (again == 0) {
                                g_assert_cmphex(r.q.last_avail, ==, before);
                                g_assert_cmpuint(r.q.in_flight, ==, 0);
                        }
                }
                for (unsigned i = 0; i < 3; i++) {
                        virtq_push(&r.q, tokens[i], 7);
                        g_assert_true(drv_take(&r.d, &cookie, &len));
                        g_assert_true(cookie == &tokens[i]);
                }
        }
        vq_rig_down(&r);
}

/* What the device writes shows up as dirty: the ring it writes used descriptors into, its event word, and buffers. */
static void test_dirty(void) {
        g_autoptr(GError) error = NULL;
        uint64_t words[VQ_RAM / 4096 / 64] = { 0 };
        struct drv_buf buf = { GADDR(BUF), 4096, true };
        struct vq_rig r = { .mem = vq_memory_new(), .packed = true };

        /* Ring in page 1, its end and the event words in page 2. */
        vq_rig_queue(&r, GADDR(2 * 4096 - 16 * VQ_SIZE), VQ_SIZE, 0, false);
        g_assert_cmpint(drv_add(&r.d, &buf, 1, false, NULL), >=, 0);
        drv_publish(&r.d);
        g_assert_cmpint(virtq_pop(&r.q, &r.chain), ==, 0);

        g_assert_true(gmem_track_dirty(r.mem, true, &error));
        gmem_take_dirty(r.mem, 0, words);
        memset(words, 0, sizeof(words));
        virtq_push(&r.q, r.chain.token, 1);
        virtq_mark_written(&r.q, &r.chain, 1);
        gmem_take_dirty(r.mem, 0, words);
        g_assert_cmphex(words[0], ==, 1 << 1);
        g_assert_cmphex(words[BUF / 4096 / 64], ==, 1ull << BUF / 4096 % 64);
        memset(words, 0, sizeof(words));
        virtq_disable_notify(&r.q);
        gmem_take_dirty(r.mem, 0, words);
        g_assert_cmphex(words[0], ==, 1 << 2);
        /* It said so already. */
        memset(words, 0, sizeof(words));
        virtq_disable_notify(&r.q);
        gmem_take_dirty(r.mem, 0, words);
        g_assert_cmphex(words[0], ==, 0);
        vq_rig_down(&r);
}

/* The same random requests through both layouts. */

#define STEPS 200000
#define HELD 64

struct side {
        struct vq_rig r;
        uint32_t held[HELD];
        unsigned n_held;
};

static void side_up(struct side *s, bool packed, bool event_idx) {
        s->r = (struct vq_rig){ .mem = vq_memory_new(), .packed = packed };
        vq_rig_queue(&s->r, GADDR(0), 16, 16, event_idx);
}

static unsigned
add(struct side *s, const struct drv_buf *bufs, uint16_t n, bool table, void *cookie) {
        return drv_add(&s->r.d, bufs, n, table, cookie) >= 0;
}

static int pop(struct side *s) {
        int r = s->n_held < HELD ? virtq_pop(&s->r.q, &s->r.chain) : VIRTQ_E_EMPTY;

        if (r == 0)
                s->held[s->n_held++] = s->r.chain.token;
        return r;
}

static void expect_same_chain(const struct side *a, const struct side *b) {
        const struct virtq_chain *x = &a->r.chain, *y = &b->r.chain;

        g_assert_cmpuint(x->n_read, ==, y->n_read);
        g_assert_cmpuint(x->n_write, ==, y->n_write);
        g_assert_cmpuint(x->read_len, ==, y->read_len);
        g_assert_cmpuint(x->write_len, ==, y->write_len);
        for (unsigned i = 0; i < (unsigned) x->n_read + x->n_write; i++) {
                g_assert_cmpuint(x->iov[i].iov_len, ==, y->iov[i].iov_len);
                g_assert_cmphex((uintptr_t) x->iov[i].iov_base -
                                                (uintptr_t) gmem_region(a->r.mem, 0)->host,
                                ==,
                                (uintptr_t) y->iov[i].iov_base -
                                                (uintptr_t) gmem_region(b->r.mem, 0)->host);
        }
}

static void push(struct side *s, unsigned first, unsigned n, uint32_t len) {
        struct virtq_used done[HELD];

        for (unsigned i = 0; i < n; i++)
                done[i] = (struct virtq_used){ s->held[first + i], len + i };
        memmove(s->held + first, s->held + first + n, (s->n_held - first - n) * sizeof(s->held[0]));
        s->n_held -= n;
        if (n == 1)
                virtq_push(&s->r.q, done[0].token, len);
        else
                virtq_push_many(&s->r.q, done, n);
}

static void add_to_both(struct side *a, struct side *b, GRand *rand, unsigned step) {
        unsigned n = (unsigned) g_rand_int_range(rand, 1, 6),
                 first_write = (unsigned) g_rand_int_range(rand, 0, (int) n + 1);
        bool table = g_rand_boolean(rand);
        struct drv_buf bufs[6];

        for (unsigned i = 0; i < n; i++)
                bufs[i] = (struct drv_buf){ GADDR(BUF + (uint64_t) g_rand_int_range(rand, 0, 4096)),
                                            (uint32_t) g_rand_int_range(rand, 0, 4096),
                                            i >= first_write };
        g_assert_cmpuint(
                        add(a, bufs, (uint16_t) n, table, GUINT_TO_POINTER(step)), ==,
                        add(b, bufs, (uint16_t) n, table, GUINT_TO_POINTER(step)));
}

static void pop_both(struct side *a, struct side *b, GRand *rand) {
        int r = pop(a);

        g_assert_cmpint(pop(b), ==, r);
        if (r != 0)
                return;
        expect_same_chain(a, b);
        if (g_rand_int_range(rand, 0, 5) == 0) {
                virtq_unpop(&a->r.q, a->held[--a->n_held]);
                virtq_unpop(&b->r.q, b->held[--b->n_held]);
        }
}

static void push_both(struct side *a, struct side *b, GRand *rand) {
        unsigned first, n;
        uint32_t len = (uint32_t) g_rand_int_range(rand, 0, 3);

        if (a->n_held == 0)
                return;
        first = (unsigned) g_rand_int_range(rand, 0, (int) a->n_held);
        n = (unsigned) g_rand_int_range(rand, 1, (int) (a->n_held - first) + 1);
        push(a, first, n, len);
        push(b, first, n, len);
        g_assert_true(virtq_want_interrupt(&a->r.q) == virtq_want_interrupt(&b->r.q));
}

static void take_from_both(struct side *a, struct side *b) {
        void *x, *y;
        uint32_t x_len, y_len;

        while (drv_take(&a->r.d, &x, &x_len)) {
                g_assert_true(drv_take(&b->r.d, &y, &y_len));
                g_assert_true(x == y);
                g_assert_cmpuint(x_len, ==, y_len);
        }
        g_assert_false(drv_take(&b->r.d, &y, &y_len));
        g_assert_false(drv_enable_interrupts(&a->r.d) || drv_enable_interrupts(&b->r.d));
}

static void test_alike(gconstpointer event_idx) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(0xa11ce);
        g_autofree struct side *a = g_new0(struct side, 1), *b = g_new0(struct side, 1);
        unsigned wakes = 0;

        side_up(a, /* packed= */ false, GPOINTER_TO_INT(event_idx));
        side_up(b, /* packed= */ true, GPOINTER_TO_INT(event_idx));
        for (unsigned step = 0; step < STEPS; step++) {
                switch (g_rand_int_range(rand, 0, 6)) {
                case 0:
                        add_to_both(a, b, rand, step);
                        break;
                case 1:
                        /* A split ring's event stays where it was; a packed one says that there is none. */
                        wakes += drv_publish(&a->r.d) + drv_publish(&b->r.d);
                        break;
                case 2:
                case 3:
                        pop_both(a, b, rand);
                        break;
                case 4:
                        push_both(a, b, rand);
                        break;
                default:
                        take_from_both(a, b);
                        g_assert_true(virtq_enable_notify(&a->r.q) == virtq_enable_notify(&b->r.q));
                }
        }
        g_assert_cmpuint(wakes, >, 1000);
        vq_rig_down(&a->r);
        vq_rig_down(&b->r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/virtq-packed/enable", test_enable);
        g_test_add_func("/virtq-packed/not-ready", test_not_ready);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *path = g_strdup_printf("/virtq-packed/bad/%s", bad[i].name);

                g_test_add_data_func(path, GSIZE_TO_POINTER(i), test_bad);
        }
        g_test_add_func("/virtq-packed/bad/again", test_again);
        g_test_add_func("/virtq-packed/bad/room", test_room);
        g_test_add_func("/virtq-packed/wrap", test_wrap);
        g_test_add_func("/virtq-packed/used", test_used);
        g_test_add_func("/virtq-packed/flags", test_flags);
        g_test_add_func("/virtq-packed/event-idx", test_event_idx);
        g_test_add_func("/virtq-packed/event-of-device", test_event_of_device);
        g_test_add_func("/virtq-packed/unpop", test_unpop);
        g_test_add_func("/virtq-packed/dirty", test_dirty);
        g_test_add_data_func("/virtq-packed/alike", GINT_TO_POINTER(0), test_alike);
        g_test_add_data_func("/virtq-packed/alike-event-idx", GINT_TO_POINTER(1), test_alike);

        return g_test_run();
}
