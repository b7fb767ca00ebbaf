/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Base address registers: where they are allocated at first, and where they answer after the guest
 * has had its say.
 *
 * A BAR answers at the address in its register when memory decoding is on, the address is in one of the segment's
 * windows, and nobody else answers there; else nowhere. Whoever is there first stays: a BAR that is put on top of
 * another waits, and comes into its own when the place becomes free, so that the order in which a guest shuffles
 * BARs does not matter.
 */

#include <assert.h>

#include "devices/pci/private.h"
#include "hypervisor/error.h"

/* 64-bit BARs start on this boundary (reference 3.2). */
#define MEM64_ALIGN (8ull << 20)

static bool inside(const struct arch_range *window, uint64_t addr, uint64_t size) {
        return window->size >= size && addr >= window->base &&
               addr - window->base <= window->size - size;
}

bool pci_bar_fits(const pci_segment *s, const struct pci_bar *bar, uint64_t addr) {
        return inside(&s->config.layout.mmio32, addr, bar->size) ||
               (bar->kind == PCI_BAR_MEM64 && inside(&s->config.layout.mmio64, addr, bar->size));
}

/* Where the guest wants it. */
static uint64_t wanted(const struct pci_device *pci, unsigned index) {
        const struct pci_bar *bar = &pci->bars[index];
        unsigned reg = PCI_REG_BAR0 + index * 4;
        uint64_t addr = 0;

        if (!(pci_get16(pci, PCI_REG_COMMAND) & PCI_COMMAND_MEM))
                return BUS_NOWHERE;

        for (unsigned i = 0; i < (bar->kind == PCI_BAR_MEM64 ? 8u : 4u); i++)
                addr |= (uint64_t) pci->config[reg + i] << i * 8;
        addr &= ~0xfull;
        return pci_bar_fits(pci->segment, bar, addr) ? addr : BUS_NOWHERE;
}

static void place(struct pci_device *pci, unsigned index, bool may_vacate) {
        struct pci_bar *bar = &pci->bars[index];
        bus *mmio = pci->segment->config.mmio;
        uint64_t target = wanted(pci, index);

        if (bar->mapped ? target == bar->addr : target == BUS_NOWHERE)
                return;

        if (target != BUS_NOWHERE && bus_move(mmio, bar->region, target) >= 0) {
                bar->addr = target;
                bar->mapped = true;
        } else if (may_vacate && bar->mapped) {
                (void) bus_move(mmio, bar->region, BUS_NOWHERE);
                bar->mapped = false;
        }
}

void pci_segment_remap(pci_segment *s) {
        /* The first round vacates what is not wanted any more, the second gives it to who waits for it. */
        for (unsigned round = 0; round < 2; round++)
                for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
                        struct pci_device *pci = s->devices[slot];

                        for (unsigned i = 0; pci && i < PCI_N_BARS; i++)
                                if (pci->bars[i].region)
                                        place(pci, i, round == 0);
                }
}

void pci_bars_write_home(struct pci_device *pci) {
        for (unsigned i = 0; i < PCI_N_BARS; i++) {
                const struct pci_bar *bar = &pci->bars[i];
                unsigned reg = PCI_REG_BAR0 + i * 4;
                unsigned width = bar->kind == PCI_BAR_MEM64 ? 8 : 4;

                if (!bar->size)
                        continue;
                for (unsigned j = 0; j < width; j++) {
                        uint8_t mask = pci->wmask[reg + j];

                        pci->config[reg + j] =
                                        (uint8_t) ((pci->config[reg + j] & ~mask) |
                                                   (bar->home >> j * 8 & mask));
                }
        }
}

/* The end of a BAR of pci that keeps [addr, addr+size) from being free; 0: none does. */
static uint64_t taken_until(const struct pci_device *pci, uint64_t addr, uint64_t size) {
        for (unsigned i = 0; i < PCI_N_BARS; i++) {
                const struct pci_bar *bar = &pci->bars[i];

                if (!bar->size || !bar->region)
                        continue;
                if (addr < bar->home + bar->size && bar->home < addr + size)
                        return bar->home + bar->size;
                if (bar->mapped && addr < bar->addr + bar->size && bar->addr < addr + size)
                        return bar->addr + bar->size;
        }
        return 0;
}

/* First fit. 0: no room. */
static uint64_t
find_room(const pci_segment *s, const struct pci_device *newcomer, const struct pci_bar *bar) {
        bool mem64 = bar->kind == PCI_BAR_MEM64;
        const struct arch_range *window =
                        mem64 ? &s->config.layout.mmio64 : &s->config.layout.mmio32;
        uint64_t align = mem64 ? MAX(bar->size, MEM64_ALIGN) : MAX(bar->size, 4096);
        uint64_t addr = (window->base + align - 1) & ~(align - 1);

        while (inside(window, addr, bar->size)) {
                uint64_t until = taken_until(newcomer, addr, bar->size);

                for (unsigned slot = 0; slot < PCI_SLOTS && until == 0; slot++)
                        if (s->devices[slot])
                                until = taken_until(s->devices[slot], addr, bar->size);
                if (until == 0)
                        return addr;
                addr = (until + align - 1) & ~(align - 1);
        }
        return 0;
}

bool pci_bars_allocate(pci_segment *s, struct pci_device *pci, GError **error) {
        g_autofree char *address = pci_address(pci);

        for (unsigned i = 0; i < PCI_N_BARS; i++) {
                struct pci_bar *bar = &pci->bars[i];
                g_autofree char *name = NULL;

                if (!bar->size)
                        continue;

                bar->home = find_room(s, pci, bar);
                if (!bar->home) {
                        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                                    "PCI device %s: no room for its BAR %u of %" G_GUINT64_FORMAT
                                    " bytes",
                                    address, i, bar->size);
                        return false;
                }

                name = g_strdup_printf("%s BAR %u", address, i);
                bar->region =
                                bus_add(s->config.mmio, name, bar->home, bar->size, bar->ops,
                                        bar->opaque, error);
                if (!bar->region)
                        return false;
                bar->addr = bar->home;
                bar->mapped = true;
        }
        return true;
}

void pci_bars_release(struct pci_device *pci) {
        for (unsigned i = 0; i < PCI_N_BARS; i++) {
                bus_remove(pci->segment->config.mmio, pci->bars[i].region);
                pci->bars[i].region = NULL;
                pci->bars[i].mapped = false;
        }
}
