/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves MSI-X as a guest sees it: hostile table accesses, vector numbers out of range, masks of vector and function,
 * pending bits that are delivered once on unmasking, nothing while disabled or from before, messages changed;
 * that an unmasked signal is one message; and that signals from a thread meet masking from another.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "rig.h"

#define TABLE (RIG_MMIO64 + RIG_TABLE)
#define PBA (RIG_MMIO64 + RIG_PBA)

static unsigned capability(struct rig *r) {
        return cfg_read(r, 1, cfg_read(r, 1, 0x34, 1) + 1, 1);
}

static void control(struct rig *r, uint16_t v) {
        cfg_write(r, 1, capability(r) + 2, v, 2);
}

static void program(struct rig *r, unsigned vector, uint32_t data, bool masked) {
        mmio_write(r, TABLE + vector * 16, 0xfee01000, 4);
        mmio_write(r, TABLE + vector * 16 + 4, 0, 4);
        mmio_write(r, TABLE + vector * 16 + 8, data, 4);
        mmio_write(r, TABLE + vector * 16 + 12, masked, 4);
}

static void mask(struct rig *r, unsigned vector, bool masked) {
        mmio_write(r, TABLE + vector * 16 + 12, masked, 4);
}

#define ASSERT_SENT(r, d)                                                                          \
        do {                                                                                       \
                struct msi_msg m_ = { 0 };                                                         \
                                                                                                   \
                g_assert_true(fake_intc_take((r).intc, &m_));                                      \
                g_assert_cmphex(m_.data, ==, d);                                                   \
                g_assert_cmphex(m_.addr, ==, 0xfee01000);                                          \
                g_assert_cmphex(m_.devid, ==, 1 << 3);                                             \
                g_assert_cmpuint(fake_intc_count((r).intc), ==, 0);                                \
        } while (false)

#define ASSERT_SILENT(r) g_assert_cmpuint(fake_intc_count((r).intc), ==, 0)

static void test_power_on(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        g_assert_false(msix_enabled(d->pci.msix));
        for (unsigned i = 0; i < RIG_VECTORS; i++) {
                for (unsigned w = 0; w < 3; w++)
                        g_assert_cmphex(mmio_read(&r, TABLE + i * 16 + w * 4, 4), ==, 0);
                g_assert_cmphex(mmio_read(&r, TABLE + i * 16 + 12, 4), ==, 1);
        }
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 0);
        msix_signal(d->pci.msix, 0);
        ASSERT_SILENT(r);
}

static void test_hostile(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;
        struct msix *x;
        static const uint64_t offsets[] = {
                0,           RIG_TABLE - 4, RIG_TABLE + RIG_VECTORS * 16,
                RIG_PBA - 1, RIG_PBA + 8,   UINT64_MAX,
        };

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        x = d->pci.msix;
        control(&r, 0x8000);
        msix_signal(x, RIG_VECTORS);
        msix_signal(x, UINT16_MAX);

        g_assert_true(msix_contains(x, RIG_TABLE));
        g_assert_true(msix_contains(x, RIG_TABLE + RIG_VECTORS * 16 - 1));
        g_assert_true(msix_contains(x, RIG_PBA + 7));
        for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
                uint64_t v = UINT64_MAX;

                g_assert_false(msix_contains(x, offsets[i]));
                msix_write(x, offsets[i], &v, 4);
                msix_read(x, offsets[i], &v, 4);
                g_assert_cmphex(v, ==, 0xffffffff00000000);
        }

        /* The PBA is read-only, reserved bits stay 0, an access over the end stops at the end. */
        mmio_write(&r, PBA, UINT64_MAX, 8);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 0);
        mmio_write(&r, TABLE + 12, 0xffffffff, 4);
        g_assert_cmphex(mmio_read(&r, TABLE + 12, 4), ==, 1);
        mmio_write(&r, TABLE + RIG_VECTORS * 16 - 4, UINT64_MAX, 8);
        g_assert_cmphex(mmio_read(&r, TABLE + RIG_VECTORS * 16 - 4, 4), ==, 1);

        /* Bytes and unaligned words, too. */
        for (unsigned i = 0; i < 4; i++)
                mmio_write(&r, TABLE + 8 + i, 0x40 + i, 1);
        g_assert_cmphex(mmio_read(&r, TABLE + 8, 4), ==, 0x43424140);
        mmio_write(&r, TABLE + 6, 0x11223344, 4);
        g_assert_cmphex(mmio_read(&r, TABLE + 6, 4), ==, 0x11223344);
        g_assert_cmphex(mmio_read(&r, TABLE + 7, 2), ==, 0x2233);
        ASSERT_SILENT(r);

        /* Only the two control bits can be written. */
        cfg_write(&r, 1, capability(&r), 0xffffffff, 4);
        g_assert_cmphex(cfg_read(&r, 1, capability(&r) + 2, 2), ==, 0xc000 | (RIG_VECTORS - 1));
        cfg_write(&r, 1, capability(&r) + 4, 0, 4);
        g_assert_cmphex(cfg_read(&r, 1, capability(&r) + 4, 4), ==, RIG_TABLE);
}

static void test_unmasked(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        control(&r, 0x8000);
        g_assert_true(msix_enabled(d->pci.msix));
        program(&r, 0, 0x31, false);
        program(&r, RIG_VECTORS - 1, 0x32, false);
        ASSERT_SILENT(r);

        msix_signal(d->pci.msix, 0);
        ASSERT_SENT(r, 0x31);
        msix_signal(d->pci.msix, RIG_VECTORS - 1);
        ASSERT_SENT(r, 0x32);
        msix_signal(d->pci.msix, 1);
        ASSERT_SILENT(r);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 2);

        /* A new message for a live vector. */
        mmio_write(&r, TABLE + 8, 0x41, 4);
        msix_signal(d->pci.msix, 0);
        ASSERT_SENT(r, 0x41);
}

static void test_vector_mask(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        control(&r, 0x8000);
        program(&r, 9, 0x51, true);
        msix_signal(d->pci.msix, 9);
        msix_signal(d->pci.msix, 9);
        ASSERT_SILENT(r);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 1 << 9);
        g_assert_cmphex(mmio_read(&r, PBA + 1, 1), ==, 2);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 1 << 9);

        mask(&r, 9, false);
        ASSERT_SENT(r, 0x51);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 0);

        /* Not looked at in between: the eventfd alone remembers. */
        mask(&r, 9, true);
        msix_signal(d->pci.msix, 9);
        mmio_write(&r, TABLE + 9 * 16 + 8, 0x52, 4);
        mask(&r, 9, false);
        ASSERT_SENT(r, 0x52);
        mask(&r, 9, true);
        mask(&r, 9, false);
        ASSERT_SILENT(r);
}

static void test_function_mask(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        /* As Linux does it: enabled with all masked, programmed, then let go. */
        control(&r, 0xc000);
        program(&r, 0, 0x61, false);
        program(&r, 1, 0x62, true);
        msix_signal(d->pci.msix, 0);
        msix_signal(d->pci.msix, 1);
        ASSERT_SILENT(r);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 3);
        control(&r, 0x8000);
        ASSERT_SENT(r, 0x61);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 2);
        control(&r, 0xc000);
        msix_signal(d->pci.msix, 0);
        ASSERT_SILENT(r);
        control(&r, 0x8000);
        ASSERT_SENT(r, 0x61);
}

static void test_disable(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        control(&r, 0xc000);
        program(&r, 0, 0x71, false);
        msix_signal(d->pci.msix, 0);
        control(&r, 0);
        msix_signal(d->pci.msix, 0);
        g_assert_cmphex(mmio_read(&r, PBA, 4), ==, 0);
        control(&r, 0x8000);
        ASSERT_SILENT(r);
        msix_signal(d->pci.msix, 0);
        ASSERT_SENT(r, 0x71);

        /* Reset forgets the message, and what was pending. */
        mask(&r, 0, true);
        msix_signal(d->pci.msix, 0);
        pci_reset(&d->pci);
        g_assert_false(msix_enabled(d->pci.msix));
        control(&r, 0x8000);
        g_assert_cmphex(mmio_read(&r, TABLE, 4), ==, 0);
        mask(&r, 0, false);
        ASSERT_SILENT(r);
}

struct signaller {
        struct msix *x;
        _Atomic unsigned n;
        atomic_bool stop;
};

static void *signal_all(void *opaque) {
        struct signaller *s = opaque;

        while (!s->stop) {
                msix_signal(s->x, 0);
                s->n++;
        }
        return NULL;
}

/* After the last unmask and the last signal there has been a message: none is lost to masking. */
static void test_threads(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;
        struct signaller s = { 0 };
        struct msi_msg m;
        pthread_t t;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        s.x = d->pci.msix;
        control(&r, 0x8000);
        program(&r, 0, 0x81, false);
        g_assert_cmpint(pthread_create(&t, NULL, signal_all, &s), ==, 0);
        for (unsigned i = 0; i < 500; i++) {
                unsigned n;

                mask(&r, 0, true);
                while (fake_intc_take(r.intc, &m))
                        ;
                n = s.n;
                while (s.n < n + 2)
                        g_thread_yield();
                mask(&r, 0, false);
                g_assert_true(fake_intc_wait(r.intc, 1000, &m));
                g_assert_cmphex(m.data, ==, 0x81);
        }
        s.stop = true;
        pthread_join(t, NULL);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pci-msix/hostile", test_hostile);
        g_test_add_func("/pci-msix/power-on", test_power_on);
        g_test_add_func("/pci-msix/unmasked", test_unmasked);
        g_test_add_func("/pci-msix/vector-mask", test_vector_mask);
        g_test_add_func("/pci-msix/function-mask", test_function_mask);
        g_test_add_func("/pci-msix/disable", test_disable);
        g_test_add_func("/pci-msix/threads", test_threads);
        return g_test_run();
}
