/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/pci/pci.h"
#include "fake-intc.h"

/*
 * A machine of two buses, an interrupt controller and PCI segment 0, and a device with a 64-bit BAR 0 (registers, MSI-X table
 * at RIG_TABLE, PBA at RIG_PBA) and a 32-bit BAR 2.
 */

#define RIG_ECAM 0xe8000000u
#define RIG_MMIO32 0xc0000000u
#define RIG_MMIO32_SIZE 0x01000000u
#define RIG_MMIO64 0x100000000ull
#define RIG_MMIO64_SIZE (64ull << 20)
#define RIG_BAR0_SIZE 0x80000u
#define RIG_BAR2_SIZE 0x1000u
#define RIG_TABLE 0x8000u
#define RIG_PBA 0x48000u
#define RIG_VECTORS 10

typedef struct rig {
        bus *mmio, *pio;
        fake_intc *intc;
        pci_segment *segment;
        GPtrArray *owned; /* rig_device */
} rig;

void rig_init(struct rig *r);
void rig_clear(struct rig *r);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(rig, rig_clear)

typedef struct rig_device {
        struct pci_device pci;
        uint8_t value;             /* what its registers read as */
        _Atomic unsigned n_writes; /* to its registers */
        unsigned n_hooks;          /* config_written calls */
        uint8_t vendor; /* offset of a vendor capability of 8 body bytes, the last 4 writable */
} rig_device;

/* Not attached. */
rig_device *rig_device_new(uint8_t value);
/* Detaches first. */
rig_device *rig_device_free(rig_device *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(rig_device, rig_device_free)

/* A device at the first free slot; the caller's, or the rig's own. */
rig_device *rig_attach(struct rig *r, uint8_t value);
rig_device *rig_add(struct rig *r, uint8_t value);

/* Through ECAM and through ports. */
uint32_t cfg_read(struct rig *r, unsigned slot, unsigned reg, unsigned len);
void cfg_write(struct rig *r, unsigned slot, unsigned reg, uint32_t v, unsigned len);
uint32_t cf8_read(struct rig *r, unsigned slot, unsigned reg, unsigned len);
void cf8_write(struct rig *r, unsigned slot, unsigned reg, uint32_t v, unsigned len);

uint32_t mmio_read(struct rig *r, uint64_t addr, unsigned len);
void mmio_write(struct rig *r, uint64_t addr, uint64_t v, unsigned len);

/* What BAR 0 and 2 read from configuration space, type bits off. */
uint64_t bar0(struct rig *r, unsigned slot);
uint32_t bar2(struct rig *r, unsigned slot);
void set_bar0(struct rig *r, unsigned slot, uint64_t addr);
