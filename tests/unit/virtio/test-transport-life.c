/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a virtio function is the same before and after pause, reset, save and restore, whatever state its guest had
 * brought it to, that a device starts again at resume and no earlier, and that damaged state is refused with the device's name.
 */

#include <string.h>

#include "hypervisor/error.h"
#include "probe.h"

static GVariant *save(struct guest_dev *d) {
        return g_variant_ref_sink(d->dev->ops->save(d->dev));
}

static void test_pause(void) {
        g_autoptr(GError) error = NULL;
        struct probe_rig r;

        probe_rig_up(&r);
        /* Not active: nothing of the device to stop. */
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        r.d->dev->ops->resume(r.d->dev);
        g_assert_cmpuint(r.p->n_pause + r.p->n_resume, ==, 0);

        guest_start(r.d, 0);
        (void) probe_kicks(&r, 0);
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        g_assert_false(r.p->running);
        r.d->dev->ops->resume(r.d->dev);
        g_assert_true(r.p->running);
        g_assert_cmpuint(probe_kicks(&r, 0), ==, 1);

        /* Once each, whatever order a machine that could not pause all of its devices ends up with. */
        r.d->dev->ops->resume(r.d->dev);
        g_assert_cmpuint(r.p->n_resume, ==, 1);
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        g_assert_cmpuint(r.p->n_pause, ==, 2);
        r.d->dev->ops->resume(r.d->dev);
        g_assert_true(r.p->running);

        r.p->pause_fails = true;
        g_assert_false(r.d->dev->ops->pause(r.d->dev, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_clear_error(&error);
        r.d->dev->ops->resume(r.d->dev);
        g_assert_true(r.p->running);
        r.p->pause_fails = false;

        /* A reset of the machine while paused, and a resume of what is then inactive. */
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        r.d->dev->ops->reset(r.d->dev);
        r.d->dev->ops->resume(r.d->dev);
        g_assert_false(r.p->running);
        g_assert_cmphex(probe_status(&r), ==, 0);
        g_assert_false(r.p->vd.active);
        probe_rig_down(&r);
}

static void test_reset(void) {
        g_autoptr(GVariant) before = NULL;
        g_autoptr(GVariant) after = NULL;
        struct probe_rig r;

        probe_rig_up(&r);
        r.d->dev->ops->reset(r.d->dev);
        before = save(r.d);
        guest_start(r.d, F_EVENT_IDX);
        guest_set(r.d, REG_DEVICE_FEATURE_SELECT, 1, 4);
        r.p->vd.transport->config_changed(&r.p->vd);
        r.p->vd.transport->needs_reset(&r.p->vd, "test");
        probe_window(&r, 1, 2, 3);
        (void) guest_interrupts(r.d, 0);

        r.d->dev->ops->reset(r.d->dev);
        g_assert_false(r.p->running);
        after = save(r.d);
        g_assert_true(g_variant_equal(before, after));
        probe_rig_down(&r);
}

static void test_save_restore(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GVariant) again = NULL;
        struct probe_rig r, n;
        struct virtq *q;

        probe_rig_up(&r);
        guest_start(r.d, F_EVENT_IDX | 0x4);
        r.p->own = 4711;
        q = &r.p->vd.queues[1];
        q->last_avail = q->used_idx = q->signalled = 65530;
        r.p->vd.transport->config_changed(&r.p->vd);
        guest_set(r.d, REG_QUEUE_SELECT, 1, 2);
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        state = save(r.d);

        probe_rig_up(&n);
        g_assert_true(n.d->dev->ops->restore(n.d->dev, state, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(n.p->n_activate, ==, 0);
        g_assert_cmpuint(n.p->own, ==, 4711);
        g_assert_cmphex(n.p->vd.features, ==, F_VERSION_1 | F_EVENT_IDX | 0x4);
        again = save(n.d);
        g_assert_true(g_variant_equal(state, again));

        n.d->dev->ops->resume(n.d->dev);
        g_assert_true(n.p->running);
        g_assert_cmphex(probe_status(&n), ==, 0x0f);
        q = &n.p->vd.queues[1];
        g_assert_true(q->ready && q->event_idx && !q->indirect);
        g_assert_cmpuint(q->last_avail, ==, 65530);
        g_assert_cmpuint(probe_kicks(&n, 1), ==, 1);
        n.p->vd.transport->queue_interrupt(&n.p->vd, q);
        guest_wait_interrupt(n.d, 2, 0);

        probe_rig_down(&n);
        probe_rig_down(&r);
}

static void test_save_broken(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL;
        struct probe_rig r, n;

        probe_rig_up(&r);
        guest_start(r.d, 0);
        r.p->vd.transport->needs_reset(&r.p->vd, "test");
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &error));
        state = save(r.d);

        probe_rig_up(&n);
        g_assert_true(n.d->dev->ops->restore(n.d->dev, state, &error));
        n.d->dev->ops->resume(n.d->dev);
        g_assert_cmphex(probe_status(&n), ==, 0x0f | STATUS_NEEDS_RESET);
        guest_start(n.d, 0);
        g_assert_cmphex(probe_status(&n), ==, 0x0f);
        probe_rig_down(&n);
        probe_rig_down(&r);
}

/* State that was damaged at one place: path names children by index. */
static GVariant *with(GVariant *state, const unsigned *path, unsigned depth, GVariant *value) {
        GVariantBuilder b;

        if (depth == 0)
                return value;

        g_variant_builder_init(&b, g_variant_get_type(state));
        for (gsize i = 0; i < g_variant_n_children(state); i++) {
                g_autoptr(GVariant) child = g_variant_get_child_value(state, i);

                g_variant_builder_add_value(
                                &b, i == path[0] ? with(child, path + 1, depth - 1, value) : child);
        }
        return g_variant_builder_end(&b);
}

static void test_bad_state(void) {
        /* Outer tuple: 3 is the common part (a variant, whose child 0 is the tuple), 11 its queues. */
        const struct {
                unsigned path[6], depth;
                GVariant *value;
        } cases[] = {
                { { 0 }, 1, g_variant_new_uint32(2) },
                { { 2 }, 1, g_variant_new_variant(g_variant_new_uint32(1)) },
                { { 3 }, 1, g_variant_new_variant(g_variant_new_uint32(1)) },
                { { 4 }, 1, g_variant_new_variant(g_variant_new_uint32(1)) },
                { { 3, 0, 0 }, 3, g_variant_new_uint32(9) },
                { { 3, 0, 1 }, 3, g_variant_new_byte(0x4f) },
                { { 3, 0, 1 }, 3, g_variant_new_byte(0x0b) },
                { { 3, 0, 1 }, 3, g_variant_new_byte(0x07) },
                { { 3, 0, 10 }, 3, g_variant_new_uint64(F_VERSION_1 | 8) },
                { { 3, 0, 10 }, 3, g_variant_new_uint64(F_VERSION_1 | PROBE_REFUSED) },
                { { 3, 0, 11 }, 3, g_variant_new_array(G_VARIANT_TYPE("(qbbqtttqqqq)"), NULL, 0) },
                { { 3, 0, 11, 0, 0 }, 5, g_variant_new_uint16(3) },
                { { 3, 0, 11, 0, 0 }, 5, g_variant_new_uint16(128) },
                { { 3, 0, 11, 0, 4 }, 5, g_variant_new_uint64(GUEST_RAM) },
                { { 3, 0, 11, 1, 10 }, 5, g_variant_new_uint16(1) },
        };
        g_autoptr(GError) e = NULL;
        g_autoptr(GVariant) good = NULL;
        struct probe_rig r;

        probe_rig_up(&r);
        guest_start(r.d, 0);
        g_assert_true(r.d->dev->ops->pause(r.d->dev, &e));
        good = save(r.d);

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GVariant) bad = g_variant_ref_sink(
                                with(good, cases[i].path, cases[i].depth, cases[i].value));
                g_autoptr(GError) error = NULL;
                struct probe_rig n;

                probe_rig_up(&n);
                g_assert_false(n.d->dev->ops->restore(n.d->dev, bad, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                g_assert_nonnull(strstr(error->message, "_probe0"));
                probe_rig_down(&n);
        }
        probe_rig_down(&r);
}

static void on_counter(void *opaque, const char *name, uint64_t value) {
        g_assert_cmpstr(name, ==, "activations");
        *(uint64_t *) opaque = value;
}

static void test_counters(void) {
        uint64_t value = 0;
        struct probe_rig r;

        probe_rig_up(&r);
        guest_start(r.d, 0);
        r.d->dev->ops->counters(r.d->dev, on_counter, &value);
        g_assert_cmpuint(value, ==, 1);
        probe_rig_down(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/virtio-pci-life/pause", test_pause);
        g_test_add_func("/virtio-pci-life/reset", test_reset);
        g_test_add_func("/virtio-pci-life/save-restore", test_save_restore);
        g_test_add_func("/virtio-pci-life/save-broken", test_save_broken);
        g_test_add_func("/virtio-pci-life/bad-state", test_bad_state);
        g_test_add_func("/virtio-pci-life/counters", test_counters);

        return g_test_run();
}
