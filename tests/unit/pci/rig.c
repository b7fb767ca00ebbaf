/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The machine and the device that the PCI tests share. The device's registers read as one value everywhere, so a test
 * sees at once whose they are; MSI-X accesses go where a real device sends them.
 */

#include "rig.h"

#include <string.h>

static void regs_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        rig_device *d = opaque;

        memset(data, d->value, len);
}

static void regs_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        rig_device *d = opaque;

        d->n_writes++;
}

static void bar0_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        rig_device *d = opaque;

        if (msix_contains(d->pci.msix, offset))
                msix_read(d->pci.msix, offset, data, len);
        else
                regs_read(opaque, offset, data, len);
}

static void bar0_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        rig_device *d = opaque;

        if (msix_contains(d->pci.msix, offset))
                msix_write(d->pci.msix, offset, data, len);
        else
                regs_write(opaque, offset, data, len);
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned len) {
        rig_device *d = (rig_device *) pci;

        g_assert_cmpuint(len, >=, 1);
        g_assert_cmpuint(len, <=, 4);
        g_assert_cmpuint(offset + len, <=, 4096);
        d->n_hooks++;
}

/* The second word of the vendor capability counts its reads. */
static void config_reading(struct pci_device *pci, unsigned offset, unsigned len) {
        rig_device *d = (rig_device *) pci;

        if (offset <= d->vendor + 3u && d->vendor + 3u < offset + len)
                pci->config[d->vendor + 3]++;
}

rig_device *rig_device_new(uint8_t value) {
        static const struct pci_device_ops ops = {
                .config_written = config_written,
                .config_reading = config_reading,
        };
        static const struct io_ops bar0_ops = { .read = bar0_read, .write = bar0_write };
        static const struct io_ops bar2_ops = { .read = regs_read, .write = regs_write };
        static const struct pci_ids ids = {
                .vendor = 0x1af4,
                .device = 0x1042,
                .subsystem_vendor = 0x1af4,
                .subsystem = 0x1042,
                .revision = 1,
                .class = 0x01,
                .subclass = 0x80,
        };
        rig_device *d = g_new0(rig_device, 1);

        d->value = value;
        pci_device_init(&d->pci, &ops, &ids);
        pci_add_bar(&d->pci, 0, PCI_BAR_MEM64, RIG_BAR0_SIZE, &bar0_ops, d);
        pci_add_bar(&d->pci, 2, PCI_BAR_MEM32, RIG_BAR2_SIZE, &bar2_ops, d);
        d->vendor = pci_add_capability(&d->pci, 0x09, "\x0a\0abcdef", 8);
        memset(d->pci.wmask + d->vendor + 6, 0xff, 4);
        d->pci.wmask[d->vendor + 3] = 0xff;
        pci_add_msix(&d->pci, RIG_VECTORS, 0, RIG_TABLE, RIG_PBA);
        return d;
}

rig_device *rig_device_free(rig_device *d) {
        if (!d)
                return NULL;

        pci_detach(&d->pci);
        pci_device_release(&d->pci);
        g_free(d);
        return NULL;
}

rig_device *rig_attach(struct rig *r, uint8_t value) {
        rig_device *d = rig_device_new(value);
        g_autoptr(GError) error = NULL;

        g_assert_true(pci_attach(r->segment, &d->pci, -1, &error));
        g_assert_no_error(error);
        return d;
}

static void free_device(void *d) {
        rig_device_free(d);
}

rig_device *rig_add(struct rig *r, uint8_t value) {
        rig_device *d = rig_attach(r, value);

        g_ptr_array_add(r->owned, d);
        return d;
}

void rig_init(struct rig *r) {
        struct pci_segment_config config = {
                .layout = {
                        .ecam = { RIG_ECAM, 0x100000 },
                        .mmio32 = { RIG_MMIO32, RIG_MMIO32_SIZE },
                        .mmio64 = { RIG_MMIO64, RIG_MMIO64_SIZE },
                },
        };
        g_autoptr(GError) error = NULL;

        config.mmio = r->mmio = bus_new("mmio", NULL, NULL);
        config.pio = r->pio = bus_new("pio", NULL, NULL);
        r->intc = fake_intc_new();
        config.intc = &r->intc->intc;
        r->segment = pci_segment_new(&config, &error);
        g_assert_no_error(error);
        g_assert_nonnull(r->segment);
        r->owned = g_ptr_array_new_with_free_func(free_device);
}

void rig_clear(struct rig *r) {
        g_clear_pointer(&r->owned, g_ptr_array_unref);
        r->segment = pci_segment_free(r->segment);
        r->intc = fake_intc_free(r->intc);
        r->mmio = bus_free(r->mmio);
        r->pio = bus_free(r->pio);
}

uint32_t mmio_read(struct rig *r, uint64_t addr, unsigned len) {
        uint32_t v = 0;

        bus_read(r->mmio, addr, &v, len);
        return v;
}

void mmio_write(struct rig *r, uint64_t addr, uint64_t v, unsigned len) {
        bus_write(r->mmio, addr, &v, len);
}

uint32_t cfg_read(struct rig *r, unsigned slot, unsigned reg, unsigned len) {
        return mmio_read(r, RIG_ECAM + (slot << 15) + reg, len);
}

void cfg_write(struct rig *r, unsigned slot, unsigned reg, uint32_t v, unsigned len) {
        mmio_write(r, RIG_ECAM + (slot << 15) + reg, v, len);
}

static void cf8_select(struct rig *r, unsigned slot, unsigned reg) {
        uint32_t address = 0x80000000u | slot << 11 | (reg & 0xfcu);

        bus_write(r->pio, 0xcf8, &address, 4);
}

uint32_t cf8_read(struct rig *r, unsigned slot, unsigned reg, unsigned len) {
        uint32_t v = 0;

        cf8_select(r, slot, reg);
        bus_read(r->pio, 0xcfc + (reg & 3), &v, len);
        return v;
}

void cf8_write(struct rig *r, unsigned slot, unsigned reg, uint32_t v, unsigned len) {
        cf8_select(r, slot, reg);
        bus_write(r->pio, 0xcfc + (reg & 3), &v, len);
}

uint64_t bar0(struct rig *r, unsigned slot) {
        return ((uint64_t) cfg_read(r, slot, 0x14, 4) << 32 | cfg_read(r, slot, 0x10, 4)) & ~0xfull;
}

uint32_t bar2(struct rig *r, unsigned slot) {
        return cfg_read(r, slot, 0x18, 4) & ~0xfu;
}

void set_bar0(struct rig *r, unsigned slot, uint64_t addr) {
        cfg_write(r, slot, 0x10, (uint32_t) addr, 4);
        cfg_write(r, slot, 0x14, (uint32_t) (addr >> 32), 4);
}
