/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves where BARs answer: out of window, on top of one another, half written, with decoding off, swapped, sized; and
 * that two never answer one address. Doorbells go where their BAR goes.
 */

#include <sys/eventfd.h>

#include "hypervisor/fd.h"
#include "rig.h"

#define NOBODY 0xffffffffu

static void test_allocation(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) a = NULL;

        rig_init(&r);
        a = rig_attach(&r, 0x11);
        rig_add(&r, 0x22);
        g_assert_cmphex(bar0(&r, 1), ==, RIG_MMIO64);
        g_assert_cmphex(bar0(&r, 2), ==, RIG_MMIO64 + (8 << 20));
        g_assert_cmphex(bar2(&r, 1), ==, RIG_MMIO32);
        g_assert_cmphex(bar2(&r, 2), ==, RIG_MMIO32 + 0x1000);
        g_assert_cmphex(cfg_read(&r, 1, 0x10, 1), ==, 4);
        g_assert_cmphex(cfg_read(&r, 1, 0x18, 1), ==, 0);
        g_assert_cmphex(cfg_read(&r, 1, 4, 2), ==, 2);
        g_assert_cmphex(mmio_read(&r, bar0(&r, 2) + RIG_BAR0_SIZE - 4, 4), ==, 0x22222222);
        g_assert_cmphex(mmio_read(&r, bar0(&r, 2) + RIG_BAR0_SIZE, 4), ==, NOBODY);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32 + 0x1000, 4), ==, 0x22222222);

        /* What is freed is found again, and a place that a guest has moved somebody to is not. */
        g_clear_pointer(&a, rig_device_free);
        set_bar0(&r, 2, RIG_MMIO64);
        rig_add(&r, 0x33);
        g_assert_cmphex(bar0(&r, 1), ==, RIG_MMIO64 + (16 << 20));
}

static void test_out_of_window(void) {
        static const uint64_t bad[] = {
                0,
                0x1000000,
                RIG_ECAM,
                RIG_MMIO32 - 0x80000,
                RIG_MMIO64 - 0x80000,
                RIG_MMIO64 + RIG_MMIO64_SIZE,
                0xfec00000,
                0xfee00000,
                0xfff80000,
                0xfffffffffff80000,
                0x8000000000000000,
        };
        g_auto(rig) r = { 0 };

        rig_init(&r);
        rig_add(&r, 0x11);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                set_bar0(&r, 1, bad[i]);
                g_assert_cmphex(bar0(&r, 1), ==, bad[i]);
                g_assert_cmphex(mmio_read(&r, bad[i], 4) == 0x11111111, ==, false);
                g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, NOBODY);
                /* ECAM still works. */
                g_assert_cmphex(cfg_read(&r, 1, 0, 4), ==, 0x10421af4);

                cfg_write(&r, 1, 0x18, (uint32_t) bad[i], 4);
                g_assert_false(mmio_read(&r, (uint32_t) bad[i], 4) == 0x11111111);
        }
        /* A 64-bit BAR may go below 4 GiB; a 32-bit one has nowhere else to go. */
        set_bar0(&r, 1, RIG_MMIO32 + 0x80000);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32 + 0x80000, 4), ==, 0x11111111);
        set_bar0(&r, 1, RIG_MMIO64 + RIG_MMIO64_SIZE - RIG_BAR0_SIZE);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + RIG_MMIO64_SIZE - 4, 4), ==, 0x11111111);
}

static void test_sizing(void) {
        g_auto(rig) r = { 0 };

        rig_init(&r);
        rig_add(&r, 0x11);
        for (unsigned on = 0; on < 2; on++) {
                cfg_write(&r, 1, 4, on ? 2 : 0, 2);
                set_bar0(&r, 1, UINT64_MAX);
                g_assert_cmphex(cfg_read(&r, 1, 0x10, 4), ==, (uint32_t) ~(RIG_BAR0_SIZE - 1) | 4);
                g_assert_cmphex(cfg_read(&r, 1, 0x14, 4), ==, 0xffffffff);
                set_bar0(&r, 1, RIG_MMIO64);
                cfg_write(&r, 1, 0x18, 0xffffffff, 4);
                g_assert_cmphex(cfg_read(&r, 1, 0x18, 4), ==, ~(RIG_BAR2_SIZE - 1));
                cfg_write(&r, 1, 0x18, RIG_MMIO32, 4);
        }
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, 0x11111111);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32, 4), ==, 0x11111111);
}

static void test_decode(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        cfg_write(&r, 1, 4, 0, 1);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, NOBODY);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32, 4), ==, NOBODY);
        mmio_write(&r, RIG_MMIO64, 0, 4);
        g_assert_cmpuint(d->n_writes, ==, 0);

        set_bar0(&r, 1, RIG_MMIO64 + (4 << 20));
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (4 << 20), 4), ==, NOBODY);
        cfg_write(&r, 1, 4, 6, 1);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (4 << 20), 4), ==, 0x11111111);
        mmio_write(&r, RIG_MMIO64 + (4 << 20), 0, 4);
        g_assert_cmpuint(d->n_writes, ==, 1);
}

/* Byte by byte, through ports. */
static void test_partial_writes(void) {
        g_auto(rig) r = { 0 };
        uint64_t target = RIG_MMIO64 + 0x1580000;

        rig_init(&r);
        rig_add(&r, 0x11);
        for (unsigned i = 0; i < 8; i++)
                cf8_write(&r, 1, 0x10 + i, (uint32_t) (target >> i * 8) & 0xff, 1);
        g_assert_cmphex(bar0(&r, 1), ==, target);
        g_assert_cmphex(mmio_read(&r, target, 4), ==, 0x11111111);
        cf8_write(&r, 1, 0x12, 0x0008, 2);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + 0x80000, 4), ==, 0x11111111);
}

static void test_overlap(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) a = NULL;
        uint64_t home_a = RIG_MMIO64, home_b = RIG_MMIO64 + (8 << 20);

        rig_init(&r);
        a = rig_attach(&r, 0x11);
        rig_add(&r, 0x22);

        /* On top of another: that one stays, the newcomer waits. */
        set_bar0(&r, 2, home_a);
        g_assert_cmphex(mmio_read(&r, home_a, 4), ==, 0x11111111);
        g_assert_cmphex(mmio_read(&r, home_b, 4), ==, NOBODY);

        /* The other goes where the newcomer came from: a swap. */
        set_bar0(&r, 1, home_b);
        g_assert_cmphex(mmio_read(&r, home_a, 4), ==, 0x22222222);
        g_assert_cmphex(mmio_read(&r, home_b, 4), ==, 0x11111111);

        /* Waiting, and let in when decoding of the other goes off, and when it is gone. */
        set_bar0(&r, 1, home_a);
        g_assert_cmphex(mmio_read(&r, home_a, 4), ==, 0x22222222);
        cfg_write(&r, 2, 4, 0, 2);
        g_assert_cmphex(mmio_read(&r, home_a, 4), ==, 0x11111111);
        cfg_write(&r, 2, 4, 2, 2);
        g_assert_cmphex(mmio_read(&r, home_a, 4), ==, 0x11111111);
        g_clear_pointer(&a, rig_device_free);
        g_assert_cmphex(mmio_read(&r, home_a, 4), ==, 0x22222222);

        /* Two BARs of one device. */
        set_bar0(&r, 2, RIG_MMIO32);
        cfg_write(&r, 2, 0x18, RIG_MMIO32 + 0x7f000, 4);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32 + 0x7f000, 4), ==, 0x22222222);
        set_bar0(&r, 2, home_b);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32, 4), ==, NOBODY);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32 + 0x7f000, 4), ==, 0x22222222);
}

static uint64_t drain(int fd) {
        eventfd_t n = 0;

        return eventfd_read(fd, &n) < 0 ? 0 : n;
}

static void test_doorbell(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;
        autofd fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        g_assert_cmpint(pci_bar_add_doorbell(&d->pci, 0, 0x6000, 2, fd), ==, 0);
        g_assert_cmpint(pci_bar_add_doorbell(&d->pci, 0, RIG_BAR0_SIZE, 2, fd), <, 0);
        mmio_write(&r, RIG_MMIO64 + 0x6000, 0, 2);
        g_assert_cmpuint(drain(fd), ==, 1);

        set_bar0(&r, 1, RIG_MMIO64 + (1 << 20));
        mmio_write(&r, RIG_MMIO64 + 0x6000, 0, 2);
        g_assert_cmpuint(drain(fd), ==, 0);
        mmio_write(&r, RIG_MMIO64 + (1 << 20) + 0x6000, 0, 2);
        g_assert_cmpuint(drain(fd), ==, 1);

        cfg_write(&r, 1, 4, 0, 2);
        mmio_write(&r, RIG_MMIO64 + (1 << 20) + 0x6000, 0, 2);
        g_assert_cmpuint(drain(fd), ==, 0);
        cfg_write(&r, 1, 4, 2, 2);
        mmio_write(&r, RIG_MMIO64 + (1 << 20) + 0x6000, 0, 2);
        g_assert_cmpuint(drain(fd), ==, 1);

        g_assert_cmpint(pci_bar_remove_doorbell(&d->pci, 0, 0x6000, 2, fd), ==, 0);
        mmio_write(&r, RIG_MMIO64 + (1 << 20) + 0x6000, 0, 2);
        g_assert_cmpuint(drain(fd), ==, 0);
        g_assert_cmpuint(d->n_writes, ==, 1);
}

static void test_reset(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) a = NULL, b = NULL;

        rig_init(&r);
        a = rig_attach(&r, 0x11);
        b = rig_attach(&r, 0x22);
        set_bar0(&r, 1, 0);
        set_bar0(&r, 2, RIG_MMIO64);
        cfg_write(&r, 2, 0x18, UINT32_MAX, 4);
        cfg_write(&r, 2, 4, 0, 2);
        cfg_write(&r, 2, b->vendor + 6, 0x1234, 4);

        pci_reset(&a->pci);
        pci_reset(&b->pci);
        g_assert_cmphex(cfg_read(&r, 2, 4, 2), ==, 2);
        g_assert_cmphex(cfg_read(&r, 2, b->vendor + 6, 4), ==, 0x66656463);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64, 4), ==, 0x11111111);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (8 << 20), 4), ==, 0x22222222);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO32 + 0x1000, 4), ==, 0x22222222);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pci-bar/out-of-window", test_out_of_window);
        g_test_add_func("/pci-bar/overlap", test_overlap);
        g_test_add_func("/pci-bar/allocation", test_allocation);
        g_test_add_func("/pci-bar/sizing", test_sizing);
        g_test_add_func("/pci-bar/decode", test_decode);
        g_test_add_func("/pci-bar/partial-writes", test_partial_writes);
        g_test_add_func("/pci-bar/doorbell", test_doorbell);
        g_test_add_func("/pci-bar/reset", test_reset);
        return g_test_run();
}
