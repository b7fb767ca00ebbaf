/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what a guest sees of virtio over PCI, through the bus as a guest does it: the function and its
 * capabilities, that features are refused and accepted as the specification says, that the status only moves as it
 * may, that queues freeze when enabled, what an access of the wrong width or place does (nothing), and
 * when a device needs a reset.
 */

#include <errno.h>
#include <string.h>

#include "hypervisor/error.h"
#include "probe.h"

/* Negotiation */

static void expect_refused(struct probe_rig *r, uint64_t features) {
        g_assert_false(guest_negotiate(r->d, features));
        g_assert_cmphex(probe_status(r), ==, STATUS_ACKNOWLEDGE | STATUS_DRIVER);

        /* It must not start either, by one write or by another. */
        probe_set_status(r, 0x0f);
        g_assert_cmphex(probe_status(r), ==, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        probe_set_status(r, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
        g_assert_cmphex(probe_status(r), ==, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        g_assert_cmpuint(r->p->n_activate, ==, 0);
        g_assert_cmphex(r->p->vd.features, ==, 0);
}

static void test_features(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        g_assert_cmphex(guest_features(r.d), ==,
                        PROBE_FEATURES | F_VERSION_1 | F_INDIRECT | F_EVENT_IDX);
        guest_set(r.d, REG_DEVICE_FEATURE_SELECT, 2, 4);
        g_assert_cmphex(guest_get(r.d, REG_DEVICE_FEATURE, 4), ==, 0);
        guest_set(r.d, REG_DEVICE_FEATURE_SELECT, UINT32_MAX, 4);
        g_assert_cmphex(guest_get(r.d, REG_DEVICE_FEATURE, 4), ==, 0);

        expect_refused(&r, 0);
        expect_refused(&r, PROBE_FEATURES);
        expect_refused(&r, F_VERSION_1 | 0x8);
        expect_refused(&r, F_VERSION_1 | 1ull << 33);
        expect_refused(&r, F_VERSION_1 | 1ull << 40); /* queue_reset is not offered */
        expect_refused(&r, F_VERSION_1 | 1ull << 63);
        expect_refused(&r, F_VERSION_1 | PROBE_REFUSED);

        /* Refused, then right: no reset needed in between. */
        guest_set(r.d, REG_DRIVER_FEATURE_SELECT, 0, 4);
        guest_set(r.d, REG_DRIVER_FEATURE, 0x5, 4);
        probe_set_status(&r, 0x0b);
        g_assert_cmphex(probe_status(&r), ==, 0x0b);
        g_assert_cmphex(r.p->vd.features, ==, F_VERSION_1 | 0x5);

        /* Too late for more. */
        guest_set(r.d, REG_DRIVER_FEATURE, 0x7, 4);
        g_assert_cmphex(guest_get(r.d, REG_DRIVER_FEATURE, 4), ==, 0x5);
        guest_set(r.d, REG_DRIVER_FEATURE_SELECT, 1, 4);
        guest_set(r.d, REG_DRIVER_FEATURE, 0, 4);
        g_assert_cmphex(guest_get(r.d, REG_DRIVER_FEATURE, 4), ==, 1);
        guest_set(r.d, REG_DRIVER_FEATURE_SELECT, 7, 4);
        guest_set(r.d, REG_DRIVER_FEATURE, UINT32_MAX, 4);
        g_assert_cmphex(guest_get(r.d, REG_DRIVER_FEATURE, 4), ==, 0);
        g_assert_cmphex(r.p->vd.features, ==, F_VERSION_1 | 0x5);
        probe_rig_down(&r);
}

/* Every value written to the status in every state that can be reached, against the rules said in one line each. */
static void test_status_table(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        for (unsigned from = 0; from < 256; from++) {
                for (unsigned to = 0; to < 256; to++) {
                        uint8_t before, after, expected, grown;

                        guest_reset(r.d);
                        guest_set(r.d, REG_DRIVER_FEATURE_SELECT, 1, 4);
                        guest_set(r.d, REG_DRIVER_FEATURE, 1, 4);
                        if (from != 0) /* that would be one more reset */
                                probe_set_status(&r, (uint8_t) from);
                        before = probe_status(&r);
                        probe_set_status(&r, (uint8_t) to);
                        after = probe_status(&r);

                        grown = to & 0x8f;
                        expected = grown;
                        if (!(expected & STATUS_DRIVER))
                                expected &= (uint8_t) ~STATUS_FEATURES_OK;
                        if (!(expected & STATUS_FEATURES_OK))
                                expected &= (uint8_t) ~STATUS_DRIVER_OK;
                        if (to == 0)
                                expected = 0;
                        else if ((before & ~grown) != 0)
                                expected = before;
                        g_assert_cmphex(after, ==, expected);
                        g_assert_true(r.p->running == ((after & STATUS_DRIVER_OK) != 0));
                }
        }
        probe_rig_down(&r);
}

static void test_events(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        guest_reset(r.d);
        g_assert_cmpuint(r.g->n_reset, ==, 0);
        guest_start(r.d, 0);
        g_assert_cmpuint(r.g->n_activated, ==, 1);
        probe_set_status(&r, 0x0f);
        g_assert_cmpuint(r.p->n_activate, ==, 1);
        guest_reset(r.d);
        g_assert_cmpuint(r.g->n_reset, ==, 1);
        g_assert_cmpuint(r.p->n_deactivate, ==, 1);
        g_assert_cmpuint(r.g->n_broken, ==, 0);
        probe_rig_down(&r);
}

/* Broken devices */

static void test_activation_fails(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        r.p->activate_result = -EIO;
        g_assert_true(guest_negotiate(r.d, F_VERSION_1));
        guest_msix(r.d);
        guest_driver_ok(r.d);
        g_assert_cmphex(probe_status(&r), ==, 0x0f | STATUS_NEEDS_RESET);
        g_assert_cmpuint(guest_interrupts(r.d, 0), ==, 1);
        g_assert_cmpuint(r.g->n_broken, ==, 1);
        g_assert_cmpuint(r.g->n_activated, ==, 0);

        /* Once, however often it is said, until the reset. */
        r.p->vd.transport->needs_reset(&r.p->vd, "again");
        g_assert_cmpuint(r.g->n_broken, ==, 1);
        g_assert_cmpuint(guest_interrupts(r.d, 0), ==, 1);
        /* The driver cannot clear it by writing. */
        probe_set_status(&r, 0x0f);
        g_assert_cmphex(probe_status(&r), ==, 0x0f | STATUS_NEEDS_RESET);

        r.p->activate_result = 0;
        guest_start(r.d, 0);
        g_assert_cmphex(probe_status(&r), ==, 0x0f);
        g_assert_cmpuint(r.p->n_deactivate, ==, 0);
        probe_rig_down(&r);
}

static void bad_queue(struct probe_rig *r, unsigned reg, uint64_t value, unsigned len) {
        unsigned before = r->g->n_broken;

        g_assert_true(guest_negotiate(r->d, F_VERSION_1));
        guest_set(r->d, REG_QUEUE_SELECT, 1, 2);
        for (unsigned i = REG_QUEUE_DESC; i <= REG_QUEUE_DEVICE; i += 8)
                guest_set(r->d, i, 0x10000, 4);
        guest_set(r->d, reg, value, len);
        guest_set(r->d, REG_QUEUE_ENABLE, 1, 2);
        g_assert_cmpuint(guest_get(r->d, REG_QUEUE_ENABLE, 2), ==, 0);
        g_assert_cmphex(probe_status(r), ==, 0x0b | STATUS_NEEDS_RESET);
        g_assert_cmpuint(r->g->n_broken, ==, before + 1);

        /* It will not start like that. */
        guest_driver_ok(r->d);
        g_assert_cmphex(probe_status(r), ==, 0x0f | STATUS_NEEDS_RESET);
        g_assert_cmpuint(r->p->n_activate, ==, 0);
}

static void test_bad_queues(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        bad_queue(&r, REG_QUEUE_SIZE, 0, 2);
        bad_queue(&r, REG_QUEUE_SIZE, 3, 2);
        bad_queue(&r, REG_QUEUE_SIZE, 128, 2);
        bad_queue(&r, REG_QUEUE_DESC, 0x10008, 4);
        bad_queue(&r, REG_QUEUE_DESC + 4, 1, 4);
        bad_queue(&r, REG_QUEUE_DRIVER, 0x10001, 4);
        bad_queue(&r, REG_QUEUE_DEVICE, 0x10002, 4);
        bad_queue(&r, REG_QUEUE_DEVICE, GUEST_RAM - 16, 4);
        bad_queue(&r, REG_QUEUE_DESC, UINT64_MAX & ~15ull, 8);
        guest_start(r.d, 0);
        g_assert_true(r.p->running);
        probe_rig_down(&r);
}

/* The layout is chosen with the features: then queues start over, of any size, and a queue that was enabled before is in the way. */
static void test_packed(void) {
        const struct virtq *q;
        struct probe_rig r;

        probe_rig_up(&r);
        q = &r.p->vd.queues[0];
        expect_refused(&r, F_VERSION_1 | F_RING_PACKED);
        r.p->vd.device_features |= F_RING_PACKED;

        guest_reset(r.d);
        probe_set_status(&r, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        guest_queue(r.d, 0, 16, 0, 0);
        g_assert_true(q->ready && !q->packed);
        guest_set(r.d, REG_DRIVER_FEATURE_SELECT, 1, 4);
        guest_set(r.d, REG_DRIVER_FEATURE, (F_VERSION_1 | F_RING_PACKED) >> 32, 4);
        probe_set_status(&r, 0x0b);
        g_assert_cmphex(probe_status(&r), ==, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        guest_set(r.d, REG_DRIVER_FEATURE, F_VERSION_1 >> 32, 4);
        probe_set_status(&r, 0x0b);
        g_assert_cmphex(probe_status(&r), ==, 0x0b);

        g_assert_true(guest_negotiate(r.d, F_VERSION_1 | F_RING_PACKED));
        guest_queue(r.d, 0, 13, 0, F_RING_PACKED);
        g_assert_true(q->ready && q->packed);
        g_assert_cmpuint(q->size, ==, 13);
        g_assert_cmphex(q->last_avail, ==, 0x8000);
        g_assert_cmphex(q->used_idx, ==, 0x8000);
        guest_driver_ok(r.d);
        g_assert_true(r.p->running);
        /* And back. */
        guest_start(r.d, 0);
        g_assert_true(q->ready && !q->packed);
        g_assert_cmpuint(q->last_avail, ==, 0);
        probe_rig_down(&r);
}

/* Queue registers */

static void test_queue_registers(void) {
        struct virtq *q;
        struct probe_rig r;

        probe_rig_up(&r);
        g_assert_true(guest_negotiate(r.d, F_VERSION_1 | F_INDIRECT));

        /* A queue that is not there. */
        guest_set(r.d, REG_QUEUE_SELECT, 2, 2);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_SELECT, 2), ==, 2);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_SIZE, 2), ==, 0);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_VECTOR, 2), ==, 0xffff);
        for (unsigned i = REG_QUEUE_SIZE; i < 0x38; i += 2)
                guest_set(r.d, i, 1, i < REG_QUEUE_DESC ? 2 : 4);
        g_assert_cmphex(probe_status(&r), ==, 0x0b);

        guest_set(r.d, REG_QUEUE_SELECT, 1, 2);
        q = &r.p->vd.queues[1];
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_SIZE, 2), ==, 64);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_NOTIFY_OFF, 2), ==, 1);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_VECTOR, 2), ==, 0xffff);
        guest_set(r.d, REG_QUEUE_VECTOR, 3, 2); /* there are 0 to 2 */
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_VECTOR, 2), ==, 0xffff);
        guest_set(r.d, REG_CONFIG_VECTOR, 3, 2);
        g_assert_cmpuint(guest_get(r.d, REG_CONFIG_VECTOR, 2), ==, 0xffff);

        guest_set(r.d, REG_QUEUE_DESC, 0x123456789ull, 8);
        g_assert_cmphex(q->desc.v, ==, 0x123456789ull);
        guest_set(r.d, REG_QUEUE_DESC + 4, 0xabcd, 4);
        g_assert_cmphex(q->desc.v, ==, 0xabcd23456789ull);
        guest_set(r.d, REG_QUEUE_DESC, 0, 4);
        g_assert_cmphex(guest_get(r.d, REG_QUEUE_DESC, 8), ==, 0xabcd00000000ull);
        g_assert_cmphex(guest_get(r.d, REG_QUEUE_DESC + 4, 4), ==, 0xabcd);

        /* Frozen from enabling on. */
        guest_queue(r.d, 1, 16, 0, 0);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_ENABLE, 2), ==, 1);
        guest_set(r.d, REG_QUEUE_ENABLE, 0, 2);
        guest_set(r.d, REG_QUEUE_SIZE, 32, 2);
        guest_set(r.d, REG_QUEUE_DESC, 0, 4);
        guest_set(r.d, REG_QUEUE_DRIVER, 0, 4);
        guest_set(r.d, REG_QUEUE_DEVICE, 0, 4);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_ENABLE, 2), ==, 1);
        g_assert_cmpuint(q->size, ==, 16);
        g_assert_cmphex(q->desc.v, ==, r.d->rings[1].desc.v);
        g_assert_cmphex(q->avail.v, ==, r.d->rings[1].avail.v);
        g_assert_cmphex(q->used.v, ==, r.d->rings[1].used.v);
        guest_set(r.d, REG_QUEUE_VECTOR, 2, 2);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_VECTOR, 2), ==, 2);

        /* And none can be added to a running device. */
        guest_driver_ok(r.d);
        g_assert_true(q->indirect && !q->event_idx);
        guest_set(r.d, REG_QUEUE_SELECT, 0, 2);
        guest_set(r.d, REG_QUEUE_ENABLE, 1, 2);
        g_assert_cmpuint(guest_get(r.d, REG_QUEUE_ENABLE, 2), ==, 0);
        g_assert_cmphex(probe_status(&r), ==, 0x0f);
        probe_rig_down(&r);
}

/* Wrong widths and places */

static void test_widths(void) {
        static const struct {
                unsigned offset, width;
        } fields[] = {
                { 0x00, 4 }, { 0x04, 4 }, { 0x08, 4 }, { 0x0c, 4 }, { 0x10, 2 },
                { 0x12, 2 }, { 0x14, 1 }, { 0x15, 1 }, { 0x16, 2 }, { 0x18, 2 },
                { 0x1a, 2 }, { 0x1c, 2 }, { 0x1e, 2 },
        };
        struct probe_rig r;

        probe_rig_up(&r);
        g_assert_true(guest_negotiate(r.d, F_VERSION_1));
        for (unsigned width = 1; width <= 8; width *= 2) {
                for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
                        if (width == fields[i].width)
                                continue;
                        guest_set(r.d, fields[i].offset, UINT64_MAX, width);
                        g_assert_cmphex(guest_get(r.d, fields[i].offset, width), ==, 0);
                }
        }
        for (unsigned i = REG_QUEUE_DESC; i < 0x38; i++) {
                guest_set(r.d, i, UINT64_MAX, 1);
                guest_set(r.d, i, UINT64_MAX, 2);
                if (i % 4 != 0)
                        guest_set(r.d, i, UINT64_MAX, 4);
                if (i % 8 != 0)
                        guest_set(r.d, i, UINT64_MAX, 8);
        }
        g_assert_cmphex(r.p->vd.queues[0].desc.v, ==, 0);
        g_assert_cmphex(r.p->vd.queues[0].avail.v, ==, 0);
        g_assert_cmphex(r.p->vd.queues[0].used.v, ==, 0);
        g_assert_cmphex(probe_status(&r), ==, 0x0b);

        /* Between the blocks there is nothing. */
        for (uint64_t at = 56; at < 0x80000; at += 56) {
                if (at >= 0x4000 && at < 0x4000 + PROBE_CONFIG_LEN)
                        continue;
                guest_write(r.g, r.d->bar + at, 0, 1);
                (void) guest_read(r.g, r.d->bar + at, 8);
        }
        g_assert_cmphex(probe_status(&r), ==, 0x0b);
        probe_rig_down(&r);
}

/* Device configuration */

static void test_config(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        g_assert_cmphex(guest_read(r.g, r.d->config, 4), ==, 0xc3c2c1c0);
        g_assert_cmphex(guest_read(r.g, r.d->config + 7, 1), ==, 0xc7);
        /* Over the end: what is there, then zeros. */
        g_assert_cmphex(guest_read(r.g, r.d->config + 8, 4), ==, 0xc9c8);
        g_assert_cmphex(guest_read(r.g, r.d->config + 9, 8), ==, 0xc9);
        g_assert_cmphex(guest_read(r.g, r.d->config + PROBE_CONFIG_LEN, 4), ==, 0);
        g_assert_cmphex(guest_read(r.g, r.d->config + 0xffe, 2), ==, 0);

        guest_write(r.g, r.d->config + 1, 0x1122, 2);
        g_assert_cmphex(guest_read(r.g, r.d->config, 4), ==, 0xc31122c0);
        guest_write(r.g, r.d->config + 8, UINT64_MAX, 4);
        guest_write(r.g, r.d->config + 0xff8, UINT64_MAX, 8);
        g_assert_cmphex(guest_read(r.g, r.d->config + 8, 2), ==, 0xc9c8);
        probe_rig_down(&r);
}

static void test_config_changed(void) {
        uint64_t generation;
        struct probe_rig r;

        probe_rig_up(&r);
        generation = guest_get(r.d, REG_GENERATION, 1);
        guest_msix(r.d);
        r.p->vd.transport->config_changed(&r.p->vd);
        /* New generation, but no interrupt before DRIVER_OK. */
        g_assert_cmpuint(guest_get(r.d, REG_GENERATION, 1), !=, generation);
        g_assert_cmpuint(guest_interrupts(r.d, 0), ==, 0);

        guest_start(r.d, 0);
        generation = guest_get(r.d, REG_GENERATION, 1);
        for (unsigned i = 1; i < 600; i++) {
                r.p->vd.transport->config_changed(&r.p->vd);
                g_assert_cmpuint(guest_get(r.d, REG_GENERATION, 1), ==, (generation + i) & 0xff);
        }
        guest_wait_interrupt(r.d, 0, 0);

        guest_set(r.d, REG_CONFIG_VECTOR, 0xffff, 2);
        (void) guest_interrupts(r.d, 0);
        generation = guest_interrupts(r.d, 0);
        r.p->vd.transport->config_changed(&r.p->vd);
        g_assert_cmpuint(guest_interrupts(r.d, 0), ==, generation);
        probe_rig_down(&r);
}

/* Without MSI-X the ISR byte tells, and reading takes it. */
static void test_isr(void) {
        const struct virtio_transport_ops *ops;
        struct probe_rig r;

        probe_rig_up(&r);
        ops = r.p->vd.transport;
        g_assert_true(guest_negotiate(r.d, F_VERSION_1));
        guest_driver_ok(r.d);
        g_assert_cmphex(guest_read(r.g, r.d->isr, 1), ==, 0);
        ops->queue_interrupt(&r.p->vd, &r.p->vd.queues[0]);
        g_assert_cmphex(guest_read(r.g, r.d->isr, 4), ==, 0); /* not so */
        g_assert_cmphex(guest_read(r.g, r.d->isr, 1), ==, 1);
        g_assert_cmphex(guest_read(r.g, r.d->isr, 1), ==, 0);
        ops->config_changed(&r.p->vd);
        ops->queue_interrupt(&r.p->vd, &r.p->vd.queues[1]);
        g_assert_cmphex(guest_read(r.g, r.d->isr, 1), ==, 3);

        guest_start(r.d, 0);
        ops->queue_interrupt(&r.p->vd, &r.p->vd.queues[1]);
        g_assert_cmphex(guest_read(r.g, r.d->isr, 1), ==, 0);
        guest_wait_interrupt(r.d, 2, 0);
        probe_rig_down(&r);
}

/* Doorbells */

static void test_notify(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        guest_start(r.d, 0);
        /* The transport rings once at the start, for what is there already. */
        g_assert_cmpuint(probe_kicks(&r, 0), ==, 1);
        g_assert_cmpuint(probe_kicks(&r, 1), ==, 1);

        g_assert_cmpuint(r.d->notify_multiplier, ==, 4);
        guest_notify(r.d, 1);
        guest_notify(r.d, 1);
        g_assert_cmpuint(probe_kicks(&r, 0), ==, 0);
        g_assert_cmpuint(probe_kicks(&r, 1), ==, 2);
        guest_write(r.g, r.d->notify + 4, 1, 4);
        g_assert_cmpuint(probe_kicks(&r, 1), ==, 1);
        guest_write(r.g, r.d->notify + 2, 0, 2);
        guest_write(r.g, r.d->notify + 8, 2, 2);
        guest_write(r.g, r.d->notify + 0xffc, 2, 4);
        g_assert_cmpuint(probe_kicks(&r, 0) + probe_kicks(&r, 1), ==, 0);
        g_assert_cmphex(guest_read(r.g, r.d->notify, 2), ==, 0);

        /* Nothing is left of a kick when the next driver comes. */
        guest_notify(r.d, 0);
        guest_reset(r.d);
        g_assert_cmpuint(probe_kicks(&r, 0), ==, 0);
        probe_rig_down(&r);
}

/* The window through configuration space */

static uint64_t window_read(struct probe_rig *r, unsigned len) {
        return guest_read(r->g, r->d->ecam + r->d->window + 16, len);
}

static void window_write(struct probe_rig *r, uint64_t v, unsigned len) {
        guest_write(r->g, r->d->ecam + r->d->window + 16, v, len);
}

static void test_window(void) {
        struct probe_rig r;

        probe_rig_up(&r);
        probe_window(&r, 0, REG_STATUS, 1);
        window_write(&r, 3, 1);
        g_assert_cmphex(probe_status(&r), ==, 3);
        g_assert_cmphex(window_read(&r, 1), ==, 3);
        probe_window(&r, 0, REG_NUM_QUEUES, 2);
        g_assert_cmphex(window_read(&r, 2), ==, 2);
        probe_window(&r, 0, 0x4000, 4);
        g_assert_cmphex(window_read(&r, 4), ==, 0xc3c2c1c0);
        probe_window(&r, 0, 0x6004, 2);
        window_write(&r, 1, 2);
        g_assert_cmpuint(probe_kicks(&r, 1), ==, 1);

        /* Wrong: BAR, length, alignment, place. */
        for (unsigned i = 1; i < 256; i++) {
                probe_window(&r, (uint8_t) i, REG_STATUS, 1);
                window_write(&r, 0, 1);
        }
        for (unsigned i = 0; i < 16; i++)
                if (i != 1 && i != 2 && i != 4) {
                        probe_window(&r, 0, 0x10, i);
                        window_write(&r, 0, 4);
                        (void) window_read(&r, 4);
                }
        probe_window(&r, 0, REG_STATUS - 1, 2);
        window_write(&r, 0, 2);
        probe_window(&r, 0, 0x80000, 4);
        window_write(&r, 0, 4);
        (void) window_read(&r, 4);
        probe_window(&r, 0, UINT32_MAX, 1);
        window_write(&r, 0, 1);
        (void) window_read(&r, 1);
        g_assert_cmphex(probe_status(&r), ==, 3);

        probe_window(&r, 0, REG_STATUS, 1);
        window_write(&r, 0, 1);
        g_assert_cmphex(probe_status(&r), ==, 0);
        probe_rig_down(&r);
}

/* Identity */

static void test_identity(void) {
        static const struct {
                uint16_t type;
                uint32_t class;
        } cases[] = { { 1, 0x0200 }, { 2, 0x0180 }, { 3, 0xffff }, { 4, 0xffff } };
        struct guest *g = guest_new();

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                bool bar32 = i % 2;
                struct guest_dev *d = guest_add(g, &probe_new(g, cases[i].type)->vd, bar32);

                g_assert_cmphex(guest_read(g, d->ecam + 0x0a, 2), ==, cases[i].class);
                g_assert_cmphex(guest_read(g, d->ecam + 0x2c, 2), ==, 0x1af4);
                g_assert_cmphex(guest_read(g, d->ecam + 0x2e, 2), ==, 0x1040u + cases[i].type);
                g_assert_true((d->bar < 1ull << 32) == bar32);
                g_assert_cmphex(d->common, ==, d->bar);
                g_assert_cmphex(d->isr, ==, d->bar + 0x2000);
                g_assert_cmphex(d->config, ==, d->bar + 0x4000);
                g_assert_cmphex(d->notify, ==, d->bar + 0x6000);
                guest_dev_free(d);
        }
        guest_free(g);
}

/* No room: the error says so, and the device is gone. */
static void test_no_slot(void) {
        struct guest *g = guest_new();
        struct virtio_pci_config config = { .segment = g->segment, .slot = 32 };
        g_autoptr(GError) error = NULL;
        struct probe_dev *p = probe_new(g, 4);
        bool freed = false;

        p->freed = &freed;
        g_assert_null(virtio_pci_new(&config, &p->vd, NULL, NULL, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_true(freed);
        guest_free(g);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/virtio-pci/identity", test_identity);
        g_test_add_func("/virtio-pci/no-slot", test_no_slot);
        g_test_add_func("/virtio-pci/features", test_features);
        g_test_add_func("/virtio-pci/status-table", test_status_table);
        g_test_add_func("/virtio-pci/events", test_events);
        g_test_add_func("/virtio-pci/activation-fails", test_activation_fails);
        g_test_add_func("/virtio-pci/bad-queues", test_bad_queues);
        g_test_add_func("/virtio-pci/packed", test_packed);
        g_test_add_func("/virtio-pci/queue-registers", test_queue_registers);
        g_test_add_func("/virtio-pci/widths", test_widths);
        g_test_add_func("/virtio-pci/config", test_config);
        g_test_add_func("/virtio-pci/config-changed", test_config_changed);
        g_test_add_func("/virtio-pci/isr", test_isr);
        g_test_add_func("/virtio-pci/notify", test_notify);
        g_test_add_func("/virtio-pci/window", test_window);

        return g_test_run();
}
