/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what configuration space looks like from the guest: hostile and straddling accesses, both mechanisms, what
 * is writable and what is not, capabilities; and which slots devices get.
 */

#include <string.h>

#include "hypervisor/error.h"
#include "rig.h"

static void test_nobody(void) {
        g_auto(rig) r = { 0 };
        uint32_t v;

        rig_init(&r);
        g_assert_cmphex(cfg_read(&r, 1, 0, 4), ==, 0xffffffff);
        g_assert_cmphex(cfg_read(&r, 31, 0, 4), ==, 0xffffffff);
        cfg_write(&r, 31, 4, 0xffff, 2);
        /* Function 1 of the bridge, and the last bytes of functions. */
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0x1000, 4), ==, 0xffffffff);
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0xffe, 4), ==, 0xffffffff);
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0xfff, 2), ==, 0xffff);
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0xfff, 1), ==, 0);
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0xfffff, 1), ==, 0xff);
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0x100000, 4), ==, 0xffffffff);

        /* Another bus, another function, no enable bit. */
        v = 0x80010000;
        bus_write(r.pio, 0xcf8, &v, 4);
        bus_read(r.pio, 0xcfc, &v, 4);
        g_assert_cmphex(v, ==, 0xffffffff);
        v = 0x80000100;
        bus_write(r.pio, 0xcf8, &v, 4);
        bus_read(r.pio, 0xcfc, &v, 4);
        g_assert_cmphex(v, ==, 0xffffffff);
        v = 0;
        bus_write(r.pio, 0xcf8, &v, 4);
        bus_read(r.pio, 0xcfc, &v, 4);
        g_assert_cmphex(v, ==, 0xffffffff);
}

static void test_bridge(void) {
        g_auto(rig) r = { 0 };

        rig_init(&r);
        g_assert_cmphex(cfg_read(&r, 0, 0, 4), ==, 0x0d578086);
        g_assert_cmphex(cfg_read(&r, 0, 8, 4), ==, 0x06000000);
        g_assert_cmphex(cfg_read(&r, 0, 0x0e, 1), ==, 0);
        g_assert_cmphex(cf8_read(&r, 0, 0, 4), ==, 0x0d578086);
        g_assert_cmphex(cf8_read(&r, 0, 2, 2), ==, 0x0d57);
        g_assert_cmphex(cf8_read(&r, 0, 3, 1), ==, 0x0d);
}

/* What a kernel's probing of the ports expects. */
static void test_ports(void) {
        g_auto(rig) r = { 0 };
        uint32_t v = 0xffffffff;
        uint8_t byte = 1;

        rig_init(&r);
        bus_write(r.pio, 0xcf8, &v, 4);
        bus_read(r.pio, 0xcf8, &v, 4);
        g_assert_cmphex(v, ==, 0x80fffffc);

        v = 0x80000000;
        bus_write(r.pio, 0xcf8, &v, 4);
        bus_write(r.pio, 0xcfb, &byte, 1);
        bus_write(r.pio, 0xcf8, &byte, 1);
        bus_read(r.pio, 0xcf8, &v, 4);
        g_assert_cmphex(v, ==, 0x80000000);
        bus_read(r.pio, 0xcf8, &byte, 1);
        g_assert_cmphex(byte, ==, 0xff);

        /* Across the end of the data port. */
        v = 0;
        bus_read(r.pio, 0xcfe, &v, 4);
        g_assert_cmphex(v, ==, 0xffffffff);
        v = 0;
        bus_read(r.pio, 0xcfa, &v, 4);
        g_assert_cmphex(v, ==, 0xffffffff);
}

static void test_writable(void) {
        g_auto(rig) r = { 0 };

        rig_init(&r);
        rig_add(&r, 0x11);
        for (unsigned reg = 0; reg < 0x40; reg++) {
                uint32_t before = cfg_read(&r, 1, reg, 1);

                if (reg >= 0x10 && reg < 0x28)
                        continue;
                cfg_write(&r, 1, reg, 0xff, 1);
                switch (reg) {
                case 0x04:
                        g_assert_cmphex(cfg_read(&r, 1, reg, 1), ==, 0x46);
                        break;
                case 0x05:
                        g_assert_cmphex(cfg_read(&r, 1, reg, 1), ==, 0x05);
                        break;
                case 0x0c:
                case 0x3c:
                        g_assert_cmphex(cfg_read(&r, 1, reg, 1), ==, 0xff);
                        break;
                default:
                        g_assert_cmphex(cfg_read(&r, 1, reg, 1), ==, before);
                }
        }
        /* No BAR there, no expansion ROM. */
        for (unsigned reg = 0x1c; reg < 0x28; reg += 4) {
                cfg_write(&r, 1, reg, 0xffffffff, 4);
                g_assert_cmphex(cfg_read(&r, 1, reg, 4), ==, 0);
        }
        cfg_write(&r, 1, 0x30, 0xffffffff, 4);
        g_assert_cmphex(cfg_read(&r, 1, 0x30, 4), ==, 0);

        /* 8 bytes are two registers. */
        mmio_write(&r, RIG_ECAM + (1 << 15) + 0x38, UINT64_MAX, 8);
        g_assert_cmphex(cfg_read(&r, 1, 0x38, 4), ==, 0);
        g_assert_cmphex(cfg_read(&r, 1, 0x3c, 4), ==, 0xff);
}

static void test_capabilities(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(rig_device) d = NULL;
        unsigned at, n_hooks;

        rig_init(&r);
        d = rig_attach(&r, 0x11);
        g_assert_cmphex(cfg_read(&r, 1, 0x06, 2) & 0x10, ==, 0x10);
        at = cfg_read(&r, 1, 0x34, 1);
        g_assert_cmphex(at, ==, 0x40);
        g_assert_cmphex(cfg_read(&r, 1, at, 1), ==, 0x09);
        g_assert_cmphex(cfg_read(&r, 1, at + 4, 4), ==, 0x64636261);
        at = cfg_read(&r, 1, at + 1, 1);
        g_assert_cmphex(at, ==, 0x4c);
        g_assert_cmphex(cfg_read(&r, 1, at, 2), ==, 0x0011);
        g_assert_cmphex(cfg_read(&r, 1, at + 2, 2), ==, RIG_VECTORS - 1);
        g_assert_cmphex(cfg_read(&r, 1, at + 4, 4), ==, RIG_TABLE);
        g_assert_cmphex(cfg_read(&r, 1, at + 8, 4), ==, RIG_PBA);

        /* Hooks run after a write and before a read. */
        n_hooks = d->n_hooks;
        cfg_write(&r, 1, d->vendor + 6, 0x12345678, 4);
        g_assert_cmpuint(d->n_hooks, ==, n_hooks + 1);
        g_assert_cmphex(cfg_read(&r, 1, d->vendor + 6, 4), ==, 0x12345678);
        g_assert_cmphex(cf8_read(&r, 1, d->vendor + 3, 1), ==, 1);
        g_assert_cmphex(cf8_read(&r, 1, d->vendor + 3, 1), ==, 2);
}

static void test_slots(void) {
        g_auto(rig) r = { 0 };
        rig_device *d[PCI_SLOTS] = { NULL };
        g_autoptr(rig_device) more = rig_device_new(9);
        g_autofree char *address = NULL;
        unsigned n = 0;

        rig_init(&r);
        for (unsigned i = 0; i < 6; i++) {
                static const struct {
                        int slot;
                        const char *says;
                } bad[] = { { 0, "host bridge" }, { 32, "32" }, { 255, "255" } };
                g_autoptr(GError) error = NULL;
                bool ok = i < 3 ? pci_attach(r.segment, &more->pci, bad[i].slot, &error)
                                : pci_reserve_slot(r.segment, (uint8_t) bad[i - 3].slot, &error);

                g_assert_false(ok);
                g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
                g_assert_nonnull(strstr(error->message, bad[i % 3].says));
        }

        g_assert_true(pci_reserve_slot(r.segment, 2, NULL));
        g_assert_false(pci_reserve_slot(r.segment, 2, NULL));
        d[n++] = rig_attach(&r, 1);
        d[n++] = rig_attach(&r, 2);
        g_assert_cmpuint(d[0]->pci.slot, ==, 1);
        g_assert_cmpuint(d[1]->pci.slot, ==, 3);
        address = pci_address(&d[1]->pci);
        g_assert_cmpstr(address, ==, "0000:00:03.0");
        g_assert_false(pci_attach(r.segment, &more->pci, 3, NULL));

        d[n] = rig_device_new(3);
        g_assert_true(pci_attach(r.segment, &d[n++]->pci, 2, NULL));
        d[1] = rig_device_free(d[1]);
        g_assert_cmphex(cfg_read(&r, 3, 0, 4), ==, 0xffffffff);
        g_assert_true(pci_attach(r.segment, &more->pci, -1, NULL));
        g_assert_cmpuint(more->pci.slot, ==, 3);
        pci_detach(&more->pci);
        pci_detach(&more->pci);

        for (unsigned i = 0; i < n; i++)
                rig_device_free(d[i]);
}

static void free_device(void *d) {
        rig_device_free(d);
}

/* Slots first, then the window, then interrupts run out; nothing stays behind each time. */
static void test_exhaustion(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(free_device);
        g_autoptr(rig_device) more = rig_device_new(9);
        g_autoptr(GError) error = NULL;

        rig_init(&r);
        /* 64 MiB in steps of 8. */
        for (unsigned i = 0; i < 8; i++)
                g_ptr_array_add(all, rig_attach(&r, 1));
        g_assert_false(pci_attach(r.segment, &more->pci, -1, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "BAR 0"));
        g_clear_error(&error);

        g_ptr_array_set_size(all, 7);
        r.intc->n_alloc_left = RIG_VECTORS - 1;
        g_assert_false(pci_attach(r.segment, &more->pci, -1, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_assert_cmphex(cfg_read(&r, 8, 0, 4), ==, 0xffffffff);
        g_assert_cmphex(mmio_read(&r, RIG_MMIO64 + (56 << 20), 4), ==, 0xffffffff);

        r.intc->n_alloc_left = UINT_MAX;
        g_assert_true(pci_attach(r.segment, &more->pci, -1, NULL));
        pci_detach(&more->pci);
        g_ptr_array_set_size(all, 0);
}

/* A second segment: no bridge, no ports, slot 0 is free. */
static void test_second_segment(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(pci_segment) s = NULL;
        g_autoptr(rig_device) d = rig_device_new(1);
        g_autofree char *address = NULL;
        g_autoptr(GError) error = NULL;
        struct pci_segment_config config = {
                .layout = {
                        .segment = 0x1f,
                        .ecam = { RIG_ECAM, 0x100000 },
                        .mmio32 = { 0xd0000000, 0x100000 },
                        .mmio64 = { 0x200000000, 0x1000000 },
                },
        };

        rig_init(&r);
        config.mmio = r.mmio;
        config.intc = &r.intc->intc;
        g_assert_null(pci_segment_new(&config, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);

        config.layout.ecam.base += 0x100000;
        s = pci_segment_new(&config, NULL);
        g_assert_nonnull(s);
        g_assert_true(pci_attach(s, &d->pci, -1, NULL));
        address = pci_address(&d->pci);
        g_assert_cmpstr(address, ==, "001f:00:00.0");
        g_assert_cmphex(mmio_read(&r, RIG_ECAM + 0x100000, 4), ==, 0x10421af4);
        g_assert_cmphex(cf8_read(&r, 0, 0, 4), ==, 0x0d578086);
        g_clear_pointer(&d, rig_device_free);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pci-config/nobody", test_nobody);
        g_test_add_func("/pci-config/bridge", test_bridge);
        g_test_add_func("/pci-config/ports", test_ports);
        g_test_add_func("/pci-config/writable", test_writable);
        g_test_add_func("/pci-config/capabilities", test_capabilities);
        g_test_add_func("/pci-config/slots", test_slots);
        g_test_add_func("/pci-config/exhaustion", test_exhaustion);
        g_test_add_func("/pci-config/second-segment", test_second_segment);
        return g_test_run();
}
