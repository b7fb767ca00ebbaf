/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the entropy device fills what it is given and no more, takes bytes from its source as long as there
 * are any, breaks (and recovers by reset) on bad rings, and keeps requests across pause, reset, save and restore.
 */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "devices/virtio/devices.h"
#include "guest.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define BUF_BYTES (128u << 10)

struct rig {
        struct guest *g;
        struct guest_dev *d;
        gaddr buf;
};

static void rig_up_source(struct rig *r, int source) {
        g_autoptr(GError) error = NULL;
        struct virtio_dev *vd;

        r->g = guest_new();
        vd = virtio_rng_new(r->g->mem, "_rng0", source, r->g->thread, &error);
        g_assert_no_error(error);
        r->d = guest_add(r->g, vd, /* bar32 = */ false);
        r->buf = guest_alloc(r->g, BUF_BYTES, 4096);
}

static void rig_up(struct rig *r) {
        rig_up_source(r, -1);
}

static void rig_down(struct rig *r) {
        r->d = guest_dev_free(r->d);
        r->g = guest_free(r->g);
}

static void ask(struct rig *r, uint32_t len) {
        struct drv_buf buf = { r->buf, len, true };

        g_assert_cmpint(drv_add(&r->d->rings[0], &buf, 1, false, r), >=, 0);
        guest_kick(r->d, 0);
}

static uint32_t wait(struct rig *r) {
        void *cookie;
        uint32_t len;

        guest_wait_used(r->d, 0, &cookie, &len);
        g_assert_true(cookie == r);
        return len;
}

static bool all_zero(struct rig *r, uint64_t offset, uint64_t len) {
        const uint8_t *p = guest_at(r->g, GADDR(r->buf.v + offset), len);

        for (uint64_t i = 0; i < len; i++)
                if (p[i])
                        return false;
        return true;
}

static void test_bad_source(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(guest) g = guest_new();

        g_assert_null(virtio_rng_new(g->mem, "_rng0", 4242, g->thread, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_assert_nonnull(strstr(error->message, "_rng0"));
}

static void test_fill(gconstpointer data) {
        uint64_t features = GPOINTER_TO_SIZE(data);
        struct rig r;

        rig_up(&r);
        g_assert_cmphex(guest_features(r.d) & ~F_RING_PACKED, ==,
                        F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_IN_ORDER);
        guest_start(r.d, features);
        g_assert_cmphex(guest_read(r.g, r.d->config, 4), ==, 0);

        for (unsigned i = 0; i < 2000; i++) {
                struct drv_buf bufs[] = {
                        { r.buf, 8, false },
                        { GADDR(r.buf.v + 16), 20, true },
                        { GADDR(r.buf.v + 64), 30, true },
                };

                memset(guest_at(r.g, r.buf, 128), 0, 128);
                g_assert_cmpint(drv_add(&r.d->rings[0], bufs, 3, features & F_INDIRECT, &r), >=, 0);
                guest_kick(r.d, 0);
                g_assert_cmpuint(wait(&r), ==, 50);
                g_assert_true(all_zero(&r, 0, 16) && all_zero(&r, 36, 28) && all_zero(&r, 94, 34));
                g_assert_false(all_zero(&r, 16, 20) || all_zero(&r, 64, 30));
        }
        rig_down(&r);
}

/* Nothing to write to, and more than one request may have. */
static void test_odd_sizes(void) {
        struct drv_buf readable;
        struct rig r;

        rig_up(&r);
        guest_start(r.d, 0);
        readable = (struct drv_buf){ r.buf, 100, false };
        g_assert_cmpint(drv_add(&r.d->rings[0], &readable, 1, false, &r), >=, 0);
        guest_kick(r.d, 0);
        g_assert_cmpuint(wait(&r), ==, 0);

        memset(guest_at(r.g, r.buf, BUF_BYTES), 0, BUF_BYTES);
        ask(&r, BUF_BYTES);
        g_assert_cmpuint(wait(&r), ==, 65536);
        g_assert_false(all_zero(&r, 65536 - 64, 64));
        g_assert_true(all_zero(&r, 65536, BUF_BYTES - 65536));
        rig_down(&r);
}

static void test_source(void) {
        autofd writer = -1;
        struct rig r;
        int fds[2];

        g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
        writer = fds[1];
        rig_up_source(&r, fds[0]);
        guest_start(r.d, 0);

        g_assert_cmpint(write(writer, "0123456789", 10), ==, 10);
        ask(&r, 4);
        g_assert_cmpuint(wait(&r), ==, 4);
        g_assert_cmpmem(guest_at(r.g, r.buf, 4), 4, "0123", 4);
        /* Short is as good as full. */
        ask(&r, 64);
        g_assert_cmpuint(wait(&r), ==, 6);
        g_assert_cmpmem(guest_at(r.g, r.buf, 6), 6, "456789", 6);

        /* Dry, and then gone: the host's own. */
        ask(&r, 64);
        g_assert_cmpuint(wait(&r), ==, 64);
        chv_closep(&writer);
        writer = -1;
        ask(&r, 64);
        g_assert_cmpuint(wait(&r), ==, 64);
        rig_down(&r);
}

/* More at once than one wake-up does. */
static void test_budget(void) {
        struct rig r;

        rig_up(&r);
        guest_start(r.d, F_EVENT_IDX);
        for (unsigned i = 0; i < 200; i++) {
                struct drv_buf buf = { r.buf, 60000, true };

                g_assert_cmpint(drv_add(&r.d->rings[0], &buf, 1, false, &r), >=, 0);
        }
        guest_kick(r.d, 0);
        for (unsigned i = 0; i < 200; i++)
                g_assert_cmpuint(wait(&r), ==, 60000);
        rig_down(&r);
}

static void test_broken(void) {
        struct rig r;

        rig_up(&r);
        guest_start(r.d, 0);
        drv_put_endless(&r.d->rings[0], GADDR(GUEST_RAM));
        guest_notify(r.d, 0);
        guest_wait_status(r.d, STATUS_NEEDS_RESET);
        guest_wait_interrupt(r.d, 0, 0);
        guest_notify(r.d, 0);
        g_assert_cmpuint(r.g->n_broken, ==, 1);

        guest_start(r.d, 0);
        ask(&r, 32);
        g_assert_cmpuint(wait(&r), ==, 32);
        rig_down(&r);
}

static void test_pause(void) {
        g_autoptr(GError) error = NULL;
        struct rig r;

        rig_up(&r);
        guest_start(r.d, F_EVENT_IDX);
        for (unsigned i = 0; i < 100; i++) {
                g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
                memset(guest_at(r.g, r.buf, 64), 0, 64);
                ask(&r, 64);
                if (i < 3)
                        g_usleep(2000);
                g_assert_true(all_zero(&r, 0, 64));
                r.d->dev->ops->resume(r.d->dev);
                g_assert_cmpuint(wait(&r), ==, 64);
        }
        /* Reset and free while paused. */
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        r.d->dev->ops->reset(r.d->dev);
        guest_write(r.g, r.d->ecam + 4, 6, 2);
        guest_start(r.d, 0);
        ask(&r, 64);
        g_assert_cmpuint(wait(&r), ==, 64);
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        rig_down(&r);
}

static void test_reset_at_work(void) {
        struct rig r;

        rig_up(&r);
        for (unsigned i = 0; i < 200; i++) {
                guest_start(r.d, i % 2 ? F_EVENT_IDX : 0);
                for (unsigned k = 0; k < 50; k++) {
                        struct drv_buf buf = { r.buf, 4096, true };

                        g_assert_cmpint(drv_add(&r.d->rings[0], &buf, 1, false, &r), >=, 0);
                }
                guest_kick(r.d, 0);
                guest_reset(r.d);
                /* Quiet from here on. */
                memset(guest_at(r.g, r.buf, 4096), 0, 4096);
                g_assert_true(all_zero(&r, 0, 4096));
                r.g->free_addr = r.buf.v + BUF_BYTES;
        }
        rig_down(&r);
}

/* The request was made on one machine and is served on the other. */
static void test_migrate(void) {
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GError) error = NULL;
        struct rig a, b;
        gaddr used;

        rig_up(&a);
        guest_start(a.d, F_EVENT_IDX);
        ask(&a, 10);
        g_assert_cmpuint(wait(&a), ==, 10);
        g_assert_true(a.d->dev->ops->pause(a.d->dev, &error));
        ask(&a, 64);
        (void) drv_enable_interrupts(&a.d->rings[0]);
        state = g_variant_ref_sink(a.d->dev->ops->save(a.d->dev));

        rig_up(&b);
        memcpy(guest_at(b.g, GADDR(0), GUEST_RAM), guest_at(a.g, GADDR(0), GUEST_RAM), GUEST_RAM);
        g_assert_true(b.d->dev->ops->restore(b.d->dev, state, &error));
        b.d->dev->ops->resume(b.d->dev);
        guest_wait_interrupt(b.d, 1, 0);
        g_assert_false(all_zero(&b, 0, 64));
        /* 64 bytes for its second entry. */
        used = a.d->rings[0].packed ? GADDR(a.d->rings[0].desc.v + 24)
                                    : GADDR(a.d->rings[0].used.v + 16);
        g_assert_cmpmem(guest_at(b.g, used, 4), 4, "\100\0\0\0", 4);
        rig_down(&b);
        rig_down(&a);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/virtio-rng/bad-source", test_bad_source);
        g_test_add_data_func("/virtio-rng/fill", NULL, test_fill);
        g_test_add_data_func(
                        "/virtio-rng/fill/indirect-event-idx",
                        GSIZE_TO_POINTER(F_INDIRECT | F_EVENT_IDX), test_fill);
        g_test_add_func("/virtio-rng/odd-sizes", test_odd_sizes);
        g_test_add_func("/virtio-rng/source", test_source);
        g_test_add_func("/virtio-rng/budget", test_budget);
        g_test_add_func("/virtio-rng/broken", test_broken);
        g_test_add_func("/virtio-rng/pause", test_pause);
        g_test_add_func("/virtio-rng/reset-at-work", test_reset_at_work);
        g_test_add_func("/virtio-rng/migrate", test_migrate);

        return g_test_run();
}
