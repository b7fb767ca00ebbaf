/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>

#include "devices/pci/pci.h"

/* What the files of this folder share. */

struct pci_segment {
        struct pci_segment_config config;
        bus_region *ecam;
        bus_region *ports;

        pthread_mutex_t lock; /* for what follows, and for the devices' config and BARs */
        struct pci_device *devices[PCI_SLOTS];
        uint32_t reserved;         /* bit per slot */
        uint32_t address;          /* 0xcf8 */
        struct pci_device *bridge; /* NULL: none in this segment */
};

#define PORTS_BASE 0xcf8
#define PORTS_SIZE 8

/* Configuration registers of the type 0 header (PCI Local Bus 3.0, 6.1). */
enum {
        PCI_REG_VENDOR = 0x00,
        PCI_REG_DEVICE = 0x02,
        PCI_REG_COMMAND = 0x04,
        PCI_REG_STATUS = 0x06,
        PCI_REG_REVISION = 0x08,
        PCI_REG_PROG_IF = 0x09,
        PCI_REG_SUBCLASS = 0x0a,
        PCI_REG_CLASS = 0x0b,
        PCI_REG_CACHE_LINE = 0x0c,
        PCI_REG_BAR0 = 0x10,
        PCI_REG_SUBSYSTEM_VENDOR = 0x2c,
        PCI_REG_SUBSYSTEM = 0x2e,
        PCI_REG_CAPABILITIES = 0x34,
        PCI_REG_INTERRUPT_LINE = 0x3c,
        PCI_REG_FIRST_CAPABILITY = 0x40,

        PCI_COMMAND_MEM = 0x0002,
        PCI_COMMAND_MASTER = 0x0004,
        PCI_COMMAND_PARITY = 0x0040,
        PCI_COMMAND_SERR_ON = 0x0100,
        PCI_COMMAND_INTX_OFF = 0x0400,
        PCI_STATUS_CAPABILITIES = 0x0010,
        PCI_CAP_ID_OF_MSIX = 0x11,
};

static inline uint16_t pci_get16(const struct pci_device *pci, unsigned offset) {
        return (uint16_t) (pci->config[offset] | pci->config[offset + 1] << 8);
}

static inline void pci_put16(uint8_t *config, unsigned offset, uint16_t v) {
        config[offset] = (uint8_t) v;
        config[offset + 1] = (uint8_t) (v >> 8);
}

/* device.c; the lock is held, [offset, offset+len) lies in configuration space. */
void pci_config_read(struct pci_device *pci, unsigned offset, void *data, unsigned len);
void pci_config_write(struct pci_device *pci, unsigned offset, const void *data, unsigned len);

/* bar.c; the lock is held. */
bool pci_bars_allocate(pci_segment *s, struct pci_device *pci, GError **error);
void pci_bars_release(struct pci_device *pci);
void pci_bars_write_home(struct pci_device *pci);
bool pci_bar_fits(const pci_segment *s, const struct pci_bar *bar, uint64_t addr);
void pci_segment_remap(pci_segment *s);

/* msix.c. The capability's control register is part of config: msix_control_changed() takes it over. */
bool msix_attach(struct msix *x, struct intc *intc, uint32_t devid, GError **error);
void msix_detach(struct msix *x);
struct msix *msix_free(struct msix *x);
void msix_control_changed(struct msix *x);
bool msix_control_overlaps(const struct msix *x, unsigned offset, unsigned len);
void msix_reset(struct msix *x);
unsigned msix_n_vectors(const struct msix *x);
/* Table words of each vector, and the pending bits of vector i in byte i / 8. */
void msix_save(struct msix *x, GVariantBuilder *table, uint8_t *pending);
void msix_restore(struct msix *x, GVariant *table, const uint8_t *pending);
