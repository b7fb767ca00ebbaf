/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a guest which does random wrong things to a virtio device (rings, registers, configuration space, all
 * of them at once, and again after the device has broken) hurts nothing outside its memory: no sanitizer has anything to
 * say, nothing hangs, and the same device serves an honest driver right after a reset. Seeds are fixed.
 *
 * A racing guest is a data race by design, so this is not for the thread sanitizer.
 */

#include <string.h>

#include "devices/virtio/devices.h"
#include "fake-chardev.h"
#include "guest.h"

#define ROUNDS 300
#define RX 0
#define TX 1

struct rig {
        struct guest *g;
        struct fake_chardev *chr;
        struct guest_dev *rng, *console;
        uint64_t floor; /* of memory that a round may use */
        GRand *rand;
};

static void rig_up(struct rig *r, guint32 seed) {
        r->g = guest_new();
        r->chr = fake_chardev_new();
        r->rng =
                        guest_add(r->g, virtio_rng_new(r->g->mem, "_rng0", -1, r->g->thread, NULL),
                                  /* bar32 = */ false);
        r->console = guest_add(
                        r->g,
                        virtio_console_new(r->g->mem, "_console", &r->chr->chr, r->g->thread, NULL),
                        /* bar32 = */ true);
        r->floor = r->g->free_addr;
        r->rand = g_rand_new_with_seed(seed);
}

static void rig_down(struct rig *r) {
        r->rng = guest_dev_free(r->rng);
        r->console = guest_dev_free(r->console);
        r->chr = fake_chardev_free(r->chr);
        r->g = guest_free(r->g);
        g_clear_pointer(&r->rand, g_rand_free);
}

static void check_rng(struct rig *r) {
        struct drv_buf buf = { guest_alloc(r->g, 64, 64), 64, true };
        uint32_t len;
        void *cookie;

        guest_start(r->rng, 0);
        g_assert_cmpint(drv_add(&r->rng->rings[0], &buf, 1, false, r), >=, 0);
        guest_kick(r->rng, 0);
        guest_wait_used(r->rng, 0, &cookie, &len);
        g_assert_cmpuint(len, ==, 64);
}

static void check_console(struct rig *r) {
        struct drv_buf buf = { guest_alloc(r->g, 64, 64), 4, false };
        g_autofree char *before = NULL;
        g_autofree char *out = NULL;
        uint32_t len;
        void *cookie;

        guest_reset(r->console);
        before = fake_chardev_take(r->chr, NULL);
        guest_start(r->console, F_EVENT_IDX);
        memcpy(guest_at(r->g, buf.addr, 4), "fine", 4);
        g_assert_cmpint(drv_add(&r->console->rings[TX], &buf, 1, false, r), >=, 0);
        guest_kick(r->console, TX);
        guest_wait_used(r->console, TX, &cookie, &len);
        out = fake_chardev_take(r->chr, NULL);
        g_assert_cmpstr(out, ==, "fine");
}

static void test_rings(gconstpointer data) {
        struct rig r;

        rig_up(&r, 0x716);
        for (unsigned i = 0; i < ROUNDS; i++) {
                uint64_t features = F_INDIRECT | (i % 2 ? F_EVENT_IDX : 0);

                r.g->free_addr = r.floor;
                guest_start(r.rng, features);
                guest_start(r.console, features);
                for (unsigned k = 0; k < 20; k++) {
                        unsigned q = (unsigned) g_rand_int_range(r.rand, 0, 2);

                        drv_vandalise(&r.rng->rings[0], r.rand, GUEST_RAM);
                        guest_notify(r.rng, 0);
                        drv_vandalise(&r.console->rings[q], r.rand, GUEST_RAM);
                        guest_notify(r.console, q);
                        (void) fake_chardev_input(r.chr, "0123456789", 10);
                }
                if (i % 16 == 0) {
                        g_autofree char *out = NULL;

                        guest_reset(r.console);
                        out = fake_chardev_take(r.chr, NULL);
                }
        }
        g_assert_cmpuint(r.g->n_broken, >, ROUNDS / 2);

        guest_reset(r.rng);
        guest_reset(r.console);
        r.g->free_addr = r.floor;
        check_rng(&r);
        check_console(&r);
        rig_down(&r);
}

/* An offset that means something, more often than not. */
static uint64_t any_offset(struct rig *r) {
        static const uint32_t starts[] = { 0, 0, 0, 0x2000, 0x4000, 0x6000, 0x8000, 0x48000 };
        uint64_t start = starts[g_rand_int_range(r->rand, 0, G_N_ELEMENTS(starts))];

        if (g_rand_int_range(r->rand, 0, 16) == 0)
                return (uint64_t) g_rand_int_range(r->rand, 0, 0x80000);
        return start + (uint64_t) g_rand_int_range(r->rand, 0, start == 0x8000 ? 96 : 64);
}

static uint64_t any_value(struct rig *r) {
        switch (g_rand_int_range(r->rand, 0, 5)) {
        case 0:
                return (uint64_t) g_rand_int(r->rand) << 32 | g_rand_int(r->rand);
        case 1:
                return UINT64_MAX;
        case 2:
                /* Where rings and buffers may be. */
                return (uint64_t) g_rand_int_range(r->rand, 0, GUEST_RAM >> 4) << 4;
        default:
                return (uint64_t) g_rand_int_range(r->rand, 0, 32);
        }
}

static void go_home(struct rig *r) {
        struct guest_dev *devs[] = { r->rng, r->console };

        /* All of them away first: one may sit in the other's place. */
        for (unsigned i = 0; i < G_N_ELEMENTS(devs); i++)
                guest_write(r->g, devs[i]->ecam + 4, 0, 2);
        for (unsigned i = 0; i < G_N_ELEMENTS(devs); i++) {
                guest_write(r->g, devs[i]->ecam + 0x10, devs[i]->bar & 0xffffffffu, 4);
                if (devs[i]->bar >> 32)
                        guest_write(r->g, devs[i]->ecam + 0x14, devs[i]->bar >> 32, 4);
                guest_write(r->g, devs[i]->ecam + 4, 6, 2);
        }
}

/* A step on the straight way, so that random walks get past negotiation now and then. */
static void honest_step(struct rig *r, struct guest_dev *d) {
        /* What a lost BAR does not answer must not be waited for. */
        go_home(r);
        switch (g_rand_int_range(r->rand, 0, 6)) {
        case 0:
                (void) guest_negotiate(
                                d, F_VERSION_1 | (any_value(r) & (F_INDIRECT | F_EVENT_IDX)));
                break;
        case 1:
                r->g->free_addr = r->floor;
                guest_queue(d, (unsigned) g_rand_int_range(r->rand, 0, d->n_queues),
                            (uint16_t) (1u << g_rand_int_range(r->rand, 0, 9)), 8, F_EVENT_IDX);
                break;
        case 2:
                guest_driver_ok(d);
                break;
        case 3:
                guest_reset(d);
                break;
        default:
                guest_notify(d, (unsigned) g_rand_int_range(r->rand, 0, d->n_queues));
        }
}

static void wild_step(struct rig *r, struct guest_dev *d) {
        unsigned len = 1u << g_rand_int_range(r->rand, 0, 4);
        uint64_t bar = (guest_read(r->g, d->ecam + 0x10, 4) & ~0xfull);

        if ((guest_read(r->g, d->ecam + 0x10, 4) & 6) == 4)
                bar |= guest_read(r->g, d->ecam + 0x14, 4) << 32;

        switch (g_rand_int_range(r->rand, 0, 12)) {
        case 0:
                honest_step(r, d);
                break;
        case 1:
                (void) guest_read(r->g, bar + any_offset(r), len);
                break;
        case 2:
                guest_write(r->g, d->ecam + (uint64_t) g_rand_int_range(r->rand, 0, 256),
                            any_value(r), len);
                break;
        case 3:
                /* The window, pointed at something. */
                guest_write(r->g, d->ecam + d->window + 4, 0, 1);
                guest_write(r->g, d->ecam + d->window + 8, any_offset(r), 4);
                guest_write(r->g, d->ecam + d->window + 12, len, 4);
                guest_write(r->g, d->ecam + d->window + 16, any_value(r), len);
                (void) guest_read(r->g, d->ecam + d->window + 16, len);
                break;
        case 4:
                if (d->rings[0].slots)
                        drv_vandalise(&d->rings[0], r->rand, GUEST_RAM);
                break;
        default:
                guest_write(r->g, bar + any_offset(r), any_value(r), len);
        }
}

static void drop_messages(struct rig *r) {
        struct msi_msg msg;

        while (fake_intc_take(r->g->intc, &msg))
                ;
}

static void test_registers(gconstpointer data) {
        struct rig r;

        rig_up(&r, GPOINTER_TO_UINT(data));
        for (unsigned i = 0; i < 100; i++) {
                g_autofree char *out = NULL;

                for (unsigned k = 0; k < 1500; k++) {
                        wild_step(&r, g_rand_boolean(r.rand) ? r.rng : r.console);
                }
                drop_messages(&r);
                out = fake_chardev_take(r.chr, NULL);

                if (i % 8 == 0) {
                        g_autoptr(GError) error = NULL;
                        g_autoptr(GVariant) state = NULL;

                        g_assert_true(r.rng->dev->ops->pause(r.rng->dev, &error));
                        state = g_variant_ref_sink(r.rng->dev->ops->save(r.rng->dev));
                        r.rng->dev->ops->resume(r.rng->dev);
                        r.console->dev->ops->reset(r.console->dev);
                }
        }

        /* It got past the gate, and broke things there. */
        g_assert_cmpuint(r.g->n_activated, >, 100);
        g_assert_cmpuint(r.g->n_broken, >, 10);

        r.rng->dev->ops->reset(r.rng->dev);
        r.console->dev->ops->reset(r.console->dev);
        go_home(&r);
        drop_messages(&r);
        r.g->free_addr = r.floor;
        check_rng(&r);
        check_console(&r);
        rig_down(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_data_func("/virtio-hostile/rings", NULL, test_rings);
        for (unsigned seed = 1; seed <= 8; seed++) {
                g_autofree char *path = g_strdup_printf("/virtio-hostile/registers/%u", seed);

                g_test_add_data_func(path, GUINT_TO_POINTER(seed), test_registers);
        }

        return g_test_run();
}
