/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/bus.h"
#include "devices/device.h"
#include "hypervisor/arch.h"
#include "hypervisor/interrupt.h"

/*
 * PCI: segments with one flat bus each, devices with one function, BARs that the guest may move, MSI-X.
 * Configuration space is reached through ECAM and, on segment 0, ports 0xcf8/0xcfc.
 *
 * Configuration accesses come from vCPU threads and are serialised by the segment's lock, under which
 * the ops below are called.
 */

typedef struct pci_segment pci_segment;
struct pci_device;
struct msix;

#define PCI_SLOTS 32
#define PCI_N_BARS 6

/* What a segment needs of the machine; the pointers must outlive it. pio NULL: no CF8/CFC. */
struct pci_segment_config {
        struct arch_pci_segment layout;
        bus *mmio;
        bus *pio;
        struct intc *intc;
};

pci_segment *pci_segment_new(const struct pci_segment_config *config, GError **error);
pci_segment *pci_segment_free(pci_segment *s); /* devices must be gone */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(pci_segment, pci_segment_free)

/* The segment's own state: host bridge and configuration address register, not its devices. vCPUs parked. */
void pci_segment_reset(pci_segment *s);
GVariant *pci_segment_save(pci_segment *s);
bool pci_segment_restore(pci_segment *s, GVariant *state, GError **error);

/* Appends the root bridge (PCxx: windows, interrupt routing) and the board resource that reserves its ECAM to the \_SB scope
 * that is open in a. */
void pci_segment_describe(const pci_segment *s, aml *a);

/* Keeps a slot for a device that names it: the first free one is never this one. */
bool pci_reserve_slot(pci_segment *s, uint8_t slot, GError **error);

enum pci_bar_kind {
        PCI_BAR_MEM32,
        PCI_BAR_MEM64, /* takes two indices */
};

struct pci_bar {
        enum pci_bar_kind kind;
        uint64_t size; /* power of 2; 0: absent */
        uint64_t addr; /* where it answers now; valid when region is mapped */
        uint64_t home; /* where it was allocated */
        bus_region *region;
        bool mapped;
        const struct io_ops *ops;
        void *opaque;
};

struct pci_device_ops {
        /* After the generic code has taken a configuration write (offset, len in bytes); for vendor capabilities. May be NULL. */
        void (*config_written)(struct pci_device *pci, unsigned offset, unsigned len);
        /* Before a configuration read is answered. May be NULL. */
        void (*config_reading)(struct pci_device *pci, unsigned offset, unsigned len);
};

/* Embedded in a PCI device. */
struct pci_device {
        const struct pci_device_ops *ops;
        pci_segment *segment;
        uint8_t slot;
        uint8_t config[4096];
        uint8_t wmask[4096]; /* writable bits */
        struct pci_bar bars[PCI_N_BARS];
        struct msix *msix;
        uint16_t cap_end; /* where the next capability goes */
        uint8_t cap_last;
        uint8_t *power_on; /* config as it was attached; NULL: not attached */
};

struct pci_ids {
        uint16_t vendor, device, subsystem_vendor, subsystem;
        uint8_t revision, class, subclass, prog_if;
};

void pci_device_init(
                struct pci_device *pci,
                const struct pci_device_ops *ops,
                const struct pci_ids *ids);

/* Frees what pci_device_init() and later calls took. Not while attached. */
void pci_device_release(struct pci_device *pci);

/* Adds a capability of len bytes (body after the two header bytes id, next); returns its offset, writable bits none. */
uint8_t pci_add_capability(struct pci_device *pci, uint8_t id, const void *body, uint8_t body_len);

/* Declares a BAR; it is allocated and mapped when the device is attached. */
void pci_add_bar(
                struct pci_device *pci,
                unsigned index,
                enum pci_bar_kind kind,
                uint64_t size,
                const struct io_ops *ops,
                void *opaque);

/* Adds an MSI-X capability with its table and PBA inside an already declared BAR. The BAR's ops forward accesses of those
 * ranges with msix_read/msix_write. */
void pci_add_msix(
                struct pci_device *pci,
                uint16_t n_vectors,
                unsigned bar,
                uint32_t table,
                uint32_t pba);

/* Takes slot (-1: the first free one), allocates and maps the BARs (memory decoding is on, as firmware would leave it), reserves
 * interrupts. All or nothing. */
bool pci_attach(pci_segment *s, struct pci_device *pci, int slot, GError **error);
void pci_detach(struct pci_device *pci); /* not attached is fine */

/* "0000:00:03.0"; owned by the caller. */
char *pci_address(const struct pci_device *pci);

/* Configuration registers and MSI-X back to power-on values, BARs where they were allocated. Attached, vCPUs parked; the
 * same for save and restore. The state's type is PCI_STATE_TYPE, to be a member of the device's own. */
#define PCI_STATE_TYPE "(uyataya(uuuu)ay)"
void pci_reset(struct pci_device *pci);
GVariant *pci_save(struct pci_device *pci);
bool pci_restore(struct pci_device *pci, GVariant *state, GError **error);

/* Wires fd to a write of len bytes at offset in a BAR; follows the BAR when the guest moves it. */
int pci_bar_add_doorbell(
                struct pci_device *pci, unsigned bar, uint64_t offset, unsigned len, int fd);
int pci_bar_remove_doorbell(
                struct pci_device *pci, unsigned bar, uint64_t offset, unsigned len, int fd);

/* MSI-X. Signal: any thread, no lock in the unmasked case: one write to the vector's eventfd. The vector number is checked.
 * The table and PBA honour per-vector and function masks and pending bits (PCI Local Bus 3.0, 6.8.2). */
void msix_signal(struct msix *x, uint16_t vector);
bool msix_enabled(const struct msix *x);
/* What msix_signal() writes to, for who signals from outside; -1: MSI-X is off, or there is no such vector. */
int msix_eventfd(const struct msix *x, uint16_t vector);
void msix_read(struct msix *x, uint64_t bar_offset, void *data, unsigned len);
void msix_write(struct msix *x, uint64_t bar_offset, const void *data, unsigned len);
bool msix_contains(const struct msix *x, uint64_t bar_offset);
