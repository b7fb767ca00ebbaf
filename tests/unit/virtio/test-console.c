/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the console device loses and reorders nothing in either direction, takes no more input than it
 * has room for and says when there is room again, tells of size changes, drops waiting input at a reset and
 * nowhere else, and survives bad rings.
 */

#include <string.h>

#include "devices/virtio/devices.h"
#include "fake-chardev.h"
#include "guest.h"
#include "hypervisor/error.h"

#define RX 0
#define TX 1
#define RING_BYTES 4096
#define STREAM (1u << 20)

struct rig {
        struct guest *g;
        struct fake_chardev *chr;
        struct guest_dev *d;
        gaddr rx, tx;
};

static void rig_up(struct rig *r) {
        g_autoptr(GError) error = NULL;
        struct virtio_dev *vd;

        r->g = guest_new();
        r->chr = fake_chardev_new();
        vd = virtio_console_new(r->g->mem, "_console", &r->chr->chr, r->g->thread, &error);
        g_assert_no_error(error);
        r->d = guest_add(r->g, vd, /* bar32 = */ false);
        r->rx = guest_alloc(r->g, 256 * 1024, 4096);
        r->tx = guest_alloc(r->g, 256 * 1024, 4096);
}

static void rig_down(struct rig *r) {
        r->d = guest_dev_free(r->d);
        g_assert_null(r->chr->chr.frontend);
        r->chr = fake_chardev_free(r->chr);
        r->g = guest_free(r->g);
}

/* Reproducible bytes of a stream, by position. */
static uint8_t at(uint32_t i) {
        return (uint8_t) (i * 2654435761u >> 24);
}

static void add_rx(struct rig *r, unsigned slot, uint32_t len) {
        struct drv_buf buf = { GADDR(r->rx.v + slot * 1024), len, true };

        g_assert_cmpint(drv_add(&r->d->rings[RX], &buf, 1, false, GUINT_TO_POINTER(slot)), >=, 0);
        guest_kick(r->d, RX);
}

/* The next input buffer that comes back. */
static const uint8_t *wait_rx(struct rig *r, uint32_t *ret_len) {
        void *cookie;

        guest_wait_used(r->d, RX, &cookie, ret_len);
        return guest_at(r->g, GADDR(r->rx.v + GPOINTER_TO_UINT(cookie) * 1024), 1024);
}

static void send(struct rig *r, const char *text) {
        struct drv_buf buf = { r->tx, (uint32_t) strlen(text), false };
        void *cookie;
        uint32_t len;

        memcpy(guest_at(r->g, r->tx, buf.len), text, buf.len);
        g_assert_cmpint(drv_add(&r->d->rings[TX], &buf, 1, false, r), >=, 0);
        guest_kick(r->d, TX);
        guest_wait_used(r->d, TX, &cookie, &len);
        g_assert_cmpuint(len, ==, 0);
}

static void expect_output(struct rig *r, const char *text) {
        g_autofree char *out = NULL;

        g_assert_true(fake_chardev_wait(r->chr, strlen(text), GUEST_TIMEOUT_MS));
        out = fake_chardev_take(r->chr, NULL);
        g_assert_cmpstr(out, ==, text);
}

static void test_output(void) {
        struct rig r;

        rig_up(&r);
        g_assert_cmphex(guest_features(r.d) & 0xff, ==, 1);
        guest_start(r.d, 0);
        send(&r, "hello");
        expect_output(&r, "hello");
        send(&r, ", world\n");
        expect_output(&r, ", world\n");
        rig_down(&r);
}

/* A stream in random pieces and chains. */
static void test_output_stream(gconstpointer data) {
        uint64_t features = GPOINTER_TO_SIZE(data);
        g_autoptr(GRand) rand = g_rand_new_with_seed(7);
        uint32_t sent = 0, taken = 0;
        struct rig r;

        rig_up(&r);
        guest_start(r.d, features);
        while (taken < STREAM) {
                struct drv_buf bufs[4];
                uint16_t n = (uint16_t) g_rand_int_range(rand, 1, 5);
                void *cookie;
                uint32_t len;

                for (uint16_t i = 0; i < n; i++) {
                        uint32_t place = sent % (128 * 1024),
                                 piece = (uint32_t) g_rand_int_range(rand, 0, 700);
                        uint8_t *p = guest_at(r.g, GADDR(r.tx.v + place), 1024);

                        bufs[i] = (struct drv_buf){ GADDR(r.tx.v + place), piece, false };
                        for (uint32_t k = 0; k < piece; k++)
                                p[k] = at(sent + k);
                        sent += piece;
                }
                g_assert_cmpint(drv_add(&r.d->rings[TX], bufs, n, features & F_INDIRECT, &r), >=,
                                0);
                guest_kick(r.d, TX);

                /* Never more than half a ring ahead, so that no piece is overwritten before it was read. */
                while (drv_outstanding(&r.d->rings[TX]) > (sent >= STREAM ? 0 : 40))
                        guest_wait_used(r.d, TX, &cookie, &len);
                if (sent >= STREAM || g_rand_int_range(rand, 0, 10) == 0) {
                        g_autofree char *out = NULL;
                        size_t n_out;

                        out = fake_chardev_take(r.chr, &n_out);
                        for (size_t k = 0; k < n_out; k++)
                                g_assert_cmpuint((uint8_t) out[k], ==, at(taken++));
                }
        }
        g_assert_cmpuint(taken, ==, sent);
        rig_down(&r);
}

static void test_input(void) {
        const uint8_t *p;
        struct rig r;
        uint32_t len;

        rig_up(&r);
        guest_start(r.d, 0);
        add_rx(&r, 0, 16);
        add_rx(&r, 1, 16);
        g_assert_cmpuint(fake_chardev_input(r.chr, "ls\n", 3), ==, 3);
        p = wait_rx(&r, &len);
        g_assert_cmpmem(p, len, "ls\n", 3);
        g_assert_cmpuint(fake_chardev_input(r.chr, "0123456789abcdefgh", 18), ==, 18);
        p = wait_rx(&r, &len);
        g_assert_cmpmem(p, len, "0123456789abcdef", 16);
        add_rx(&r, 2, 16);
        p = wait_rx(&r, &len);
        g_assert_cmpmem(p, len, "gh", 2);
        g_assert_cmpuint(fake_chardev_n_input_ready(r.chr), ==, 0);
        rig_down(&r);
}

static void wait_ready(struct rig *r, unsigned seen) {
        gint64 end = g_get_monotonic_time() + GUEST_TIMEOUT_MS * 1000ll;

        while (fake_chardev_n_input_ready(r->chr) <= seen) {
                g_assert_cmpint(g_get_monotonic_time(), <, end);
                g_usleep(50);
        }
}

/* Input before there is a driver waits; more than fits is refused; room is told once. */
static void test_back_pressure(void) {
        uint8_t data[2 * RING_BYTES];
        uint32_t got = 0;
        struct rig r;

        for (uint32_t i = 0; i < sizeof(data); i++)
                data[i] = at(i);

        rig_up(&r);
        g_assert_cmpuint(fake_chardev_input(r.chr, data, 1000), ==, 1000);
        g_assert_cmpuint(
                        fake_chardev_input(r.chr, data + 1000, sizeof(data) - 1000), ==,
                        RING_BYTES - 1000);
        g_assert_cmpuint(fake_chardev_input(r.chr, data, 1), ==, 0);
        guest_start(r.d, F_EVENT_IDX);
        g_usleep(2000);
        g_assert_cmpuint(fake_chardev_n_input_ready(r.chr), ==, 0);

        add_rx(&r, 0, 1024);
        wait_ready(&r, 0);
        g_assert_cmpuint(fake_chardev_input(r.chr, data + RING_BYTES, RING_BYTES), ==, 1024);
        g_assert_cmpuint(fake_chardev_n_input_ready(r.chr), ==, 1);
        for (unsigned i = 1; i < 5; i++)
                add_rx(&r, i, 1024);
        while (got < RING_BYTES + 1024) {
                uint32_t len;
                const uint8_t *p = wait_rx(&r, &len);

                for (uint32_t k = 0; k < len; k++)
                        g_assert_cmpuint(p[k], ==, at(got++));
        }
        wait_ready(&r, 1);
        rig_down(&r);
}

/* A stream against a guest that is now ahead, now behind. */
static void test_input_stream(gconstpointer data) {
        uint64_t features = GPOINTER_TO_SIZE(data);
        g_autoptr(GRand) rand = g_rand_new_with_seed(11);
        g_autofree uint8_t *stream = g_malloc(STREAM);
        uint32_t given = 0, got = 0;
        unsigned ready = 0, slot = 0;
        bool blocked = false;
        struct rig r;

        for (uint32_t i = 0; i < STREAM; i++)
                stream[i] = at(i);

        rig_up(&r);
        guest_start(r.d, features);
        while (got < STREAM) {
                unsigned n = (unsigned) g_rand_int_range(rand, 0, 8);

                for (unsigned i = 0; i < n && drv_outstanding(&r.d->rings[RX]) < 200; i++)
                        add_rx(&r, slot++ % 256, (uint32_t) g_rand_int_range(rand, 1, 1024));

                /* As a back end does: no further try before it is told. */
                if (blocked && fake_chardev_n_input_ready(r.chr) > ready)
                        blocked = false;
                if (!blocked && given < STREAM) {
                        uint32_t wish = (uint32_t) g_rand_int_range(rand, 1, 6000);
                        uint32_t offer = MIN(wish, STREAM - given);
                        unsigned before = fake_chardev_n_input_ready(r.chr);
                        size_t took = fake_chardev_input(r.chr, stream + given, offer);

                        given += (uint32_t) took;
                        if (took < offer) {
                                blocked = true;
                                ready = before;
                        }
                }

                while (drv_outstanding(&r.d->rings[RX]) > 0 && got < given) {
                        uint32_t len;
                        const uint8_t *p = wait_rx(&r, &len);

                        for (uint32_t k = 0; k < len; k++)
                                g_assert_cmpuint(p[k], ==, at(got++));
                }
        }
        g_assert_cmpuint(given, ==, STREAM);
        rig_down(&r);
}

static void test_resize(void) {
        const struct chardev_frontend_ops *ops;
        uint64_t generation;
        struct rig r;

        rig_up(&r);
        ops = r.chr->chr.frontend;
        ops->resized(r.chr->chr.frontend_opaque, 80, 24);
        guest_start(r.d, 1);
        g_assert_cmphex(guest_read(r.g, r.d->config, 4), ==, 80 | 24 << 16);
        g_assert_cmpuint(guest_interrupts(r.d, 0), ==, 0);

        generation = guest_get(r.d, REG_GENERATION, 1);
        ops->resized(r.chr->chr.frontend_opaque, 65535, 1);
        guest_wait_interrupt(r.d, 0, 0);
        g_assert_cmpuint(guest_get(r.d, REG_GENERATION, 1), !=, generation);
        g_assert_cmpuint(guest_read(r.g, r.d->config, 2), ==, 65535);
        g_assert_cmpuint(guest_read(r.g, r.d->config + 2, 2), ==, 1);

        /* No change, no noise. Nothing here can be written. */
        generation = guest_get(r.d, REG_GENERATION, 1);
        ops->resized(r.chr->chr.frontend_opaque, 65535, 1);
        g_assert_cmpuint(guest_get(r.d, REG_GENERATION, 1), ==, generation);
        guest_write(r.g, r.d->config, 0, 4);
        g_assert_cmpuint(guest_read(r.g, r.d->config, 2), ==, 65535);
        rig_down(&r);
}

static void test_reset(void) {
        uint8_t data[RING_BYTES + 1] = { 0 };
        const uint8_t *p;
        uint32_t len;
        struct rig r;

        rig_up(&r);
        guest_start(r.d, 0);
        g_assert_cmpuint(fake_chardev_input(r.chr, data, sizeof(data)), ==, RING_BYTES);
        guest_reset(r.d);
        g_assert_cmpuint(fake_chardev_n_input_ready(r.chr), ==, 1);

        guest_start(r.d, 0);
        add_rx(&r, 0, 16);
        g_assert_cmpuint(fake_chardev_input(r.chr, "new", 3), ==, 3);
        p = wait_rx(&r, &len);
        g_assert_cmpmem(p, len, "new", 3);
        send(&r, "out");
        expect_output(&r, "out");
        rig_down(&r);
}

static void test_pause(void) {
        g_autoptr(GError) error = NULL;
        struct drv_buf buf;
        const uint8_t *p;
        uint32_t len;
        struct rig r;

        rig_up(&r);
        guest_start(r.d, 0);
        add_rx(&r, 0, 16);
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        buf = (struct drv_buf){ r.tx, 4, false };
        memcpy(guest_at(r.g, r.tx, 4), "late", 4);
        g_assert_cmpint(drv_add(&r.d->rings[TX], &buf, 1, false, &r), >=, 0);
        guest_kick(r.d, TX);
        g_assert_cmpuint(fake_chardev_input(r.chr, "in", 2), ==, 2);
        g_usleep(2000);
        g_assert_cmpuint(r.chr->n_writes, ==, 0);
        g_assert_cmpuint(guest_interrupts(r.d, RX + 1), ==, 0);
        r.d->dev->ops->resume(r.d->dev);
        expect_output(&r, "late");
        p = wait_rx(&r, &len);
        g_assert_cmpmem(p, len, "in", 2);
        rig_down(&r);
}

static GVariant *save(struct rig *r) {
        return g_variant_ref_sink(r->d->dev->ops->save(r->d->dev));
}

static void test_migrate(void) {
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GVariant) again = NULL;
        g_autoptr(GError) error = NULL;
        struct rig a, b;

        rig_up(&a);
        a.chr->chr.frontend->resized(a.chr->chr.frontend_opaque, 132, 50);
        guest_start(a.d, 1 | F_EVENT_IDX);
        g_assert_cmpuint(fake_chardev_input(a.chr, "type-ahead", 10), ==, 10);
        g_assert_true(a.d->dev->ops->pause(a.d->dev, &error));
        add_rx(&a, 0, 64);
        state = save(&a);

        rig_up(&b);
        memcpy(guest_at(b.g, GADDR(0), GUEST_RAM), guest_at(a.g, GADDR(0), GUEST_RAM), GUEST_RAM);
        g_assert_true(b.d->dev->ops->restore(b.d->dev, state, &error));
        g_assert_no_error(error);
        again = save(&b);
        g_assert_true(g_variant_equal(state, again));
        b.d->dev->ops->resume(b.d->dev);
        guest_wait_interrupt(b.d, RX + 1, 0);
        g_assert_cmpmem(guest_at(b.g, a.rx, 10), 10, "type-ahead", 10);
        g_assert_cmphex(guest_read(b.g, b.d->config, 4), ==, 132 | 50 << 16);
        rig_down(&b);
        rig_down(&a);
}

/* The device's own part, wrong. */
static void test_bad_state(void) {
        static const uint8_t much[RING_BYTES + 1];
        GVariant *const bad[] = {
                g_variant_new("(u)", 1),
                g_variant_new("(uu@ay)", 2, 0, g_variant_new_bytestring("")),
                g_variant_new("(uus)", 1, 0, "text"),
                g_variant_new("(uu@ay)", 1, 0,
                              g_variant_new_fixed_array(
                                              G_VARIANT_TYPE_BYTE, much, sizeof(much), 1)),
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GVariant) state = NULL;
                g_autoptr(GVariant) damaged = NULL;
                g_autoptr(GError) error = NULL;
                GVariant *child[5];
                struct rig r;

                rig_up(&r);
                state = save(&r);
                for (unsigned k = 0; k < 4; k++)
                        child[k] = g_variant_get_child_value(state, k);
                child[4] = g_variant_new_variant(bad[i]);
                damaged = g_variant_ref_sink(g_variant_new_tuple(child, 5));
                g_assert_false(r.d->dev->ops->restore(r.d->dev, damaged, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                for (unsigned k = 0; k < 4; k++)
                        g_variant_unref(child[k]);
                rig_down(&r);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/virtio-console/output", test_output);
        g_test_add_data_func("/virtio-console/output-stream", NULL, test_output_stream);
        g_test_add_data_func(
                        "/virtio-console/output-stream/indirect-event-idx",
                        GSIZE_TO_POINTER(F_INDIRECT | F_EVENT_IDX), test_output_stream);
        g_test_add_func("/virtio-console/input", test_input);
        g_test_add_func("/virtio-console/back-pressure", test_back_pressure);
        g_test_add_data_func("/virtio-console/input-stream", NULL, test_input_stream);
        g_test_add_data_func(
                        "/virtio-console/input-stream/event-idx", GSIZE_TO_POINTER(F_EVENT_IDX),
                        test_input_stream);
        g_test_add_func("/virtio-console/resize", test_resize);
        g_test_add_func("/virtio-console/reset", test_reset);
        g_test_add_func("/virtio-console/pause", test_pause);
        g_test_add_func("/virtio-console/migrate", test_migrate);
        g_test_add_func("/virtio-console/bad-state", test_bad_state);

        return g_test_run();
}
