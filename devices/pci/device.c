/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One function's configuration space: 4096 bytes with a mask of what the guest may write. A write changes the
 * masked bits first, whatever its width, and then looks at which registers it touched: command and BARs move
 * the BARs, MSI-X control goes to MSI-X, and the device's own hook hears of everything.
 *
 * The layout (identity, BARs, capabilities) is laid down before pci_attach() and fixed from then on.
 */

#include <assert.h>
#include <string.h>

#include "devices/guard.h"
#include "devices/pci/private.h"

void pci_device_init(
                struct pci_device *pci,
                const struct pci_device_ops *ops,
                const struct pci_ids *ids) {
        assert(pci && ids);

        memset(pci, 0, sizeof(*pci));
        pci->ops = ops;
        pci->cap_end = PCI_REG_FIRST_CAPABILITY;

        pci_put16(pci->config, PCI_REG_VENDOR, ids->vendor);
        pci_put16(pci->config, PCI_REG_DEVICE, ids->device);
        pci->config[PCI_REG_REVISION] = ids->revision;
        pci->config[PCI_REG_PROG_IF] = ids->prog_if;
        pci->config[PCI_REG_SUBCLASS] = ids->subclass;
        pci->config[PCI_REG_CLASS] = ids->class;
        pci_put16(pci->config, PCI_REG_SUBSYSTEM_VENDOR, ids->subsystem_vendor);
        pci_put16(pci->config, PCI_REG_SUBSYSTEM, ids->subsystem);

        pci_put16(pci->wmask, PCI_REG_COMMAND,
                  PCI_COMMAND_MEM | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR_ON |
                                  PCI_COMMAND_INTX_OFF);
        pci->wmask[PCI_REG_CACHE_LINE] = 0xff;
        pci->wmask[PCI_REG_INTERRUPT_LINE] = 0xff;
}

void pci_device_release(struct pci_device *pci) {
        assert(!pci->segment);

        pci->msix = msix_free(pci->msix);
        g_clear_pointer(&pci->power_on, g_free);
}

uint8_t pci_add_capability(struct pci_device *pci, uint8_t id, const void *body, uint8_t body_len) {
        unsigned at = pci->cap_end;

        assert(!pci->segment);
        assert(at + 2u + body_len <= 0x100);

        pci->config[at] = id;
        pci->config[at + 1] = 0;
        if (body_len > 0)
                memcpy(pci->config + at + 2, body, body_len);

        pci->config[pci->cap_last ? pci->cap_last + 1u : PCI_REG_CAPABILITIES] = (uint8_t) at;
        pci->config[PCI_REG_STATUS] |= PCI_STATUS_CAPABILITIES;
        pci->cap_last = (uint8_t) at;
        pci->cap_end = (uint16_t) ((at + 2u + body_len + 3u) & ~3u);
        return (uint8_t) at;
}

void pci_add_bar(
                struct pci_device *pci,
                unsigned index,
                enum pci_bar_kind kind,
                uint64_t size,
                const struct io_ops *ops,
                void *opaque) {
        unsigned reg = PCI_REG_BAR0 + index * 4;
        unsigned width = kind == PCI_BAR_MEM64 ? 8 : 4;
        uint64_t mask = ~(size - 1);

        assert(!pci->segment);
        assert(index < PCI_N_BARS && index + width / 4 <= PCI_N_BARS && !pci->bars[index].size);
        assert(size >= 16 && (size & (size - 1)) == 0);
        assert(kind == PCI_BAR_MEM64 || size <= 1u << 31);

        pci->bars[index] = (struct pci_bar){
                .kind = kind,
                .size = size,
                .ops = ops,
                .opaque = opaque,
        };
        /* Type 10b: anywhere in 64 bits (PCI Local Bus 3.0, 6.2.5.1). Not prefetchable: registers. */
        pci->config[reg] = kind == PCI_BAR_MEM64 ? 0x04 : 0x00;
        for (unsigned i = 0; i < width; i++)
                pci->wmask[reg + i] = (uint8_t) (mask >> i * 8);
        pci->wmask[reg] &= 0xf0;
}

void pci_config_read(struct pci_device *pci, unsigned offset, void *data, unsigned len) {
        assert(offset + len <= sizeof(pci->config));

        if (pci->ops && pci->ops->config_reading)
                pci->ops->config_reading(pci, offset, len);
        memcpy(data, pci->config + offset, len);
}

static bool overlaps(unsigned offset, unsigned len, unsigned first, unsigned n) {
        return offset < first + n && first < offset + len;
}

void pci_config_write(struct pci_device *pci, unsigned offset, const void *data, unsigned len) {
        const uint8_t *bytes = data;

        assert(offset + len <= sizeof(pci->config));

        for (unsigned i = 0; i < len; i++) {
                uint8_t mask = pci->wmask[offset + i];

                pci->config[offset + i] =
                                (uint8_t) ((pci->config[offset + i] & ~mask) | (bytes[i] & mask));
        }

        if (overlaps(offset, len, PCI_REG_COMMAND, 2) ||
            overlaps(offset, len, PCI_REG_BAR0, PCI_N_BARS * 4))
                pci_segment_remap(pci->segment);
        if (pci->msix && msix_control_overlaps(pci->msix, offset, len))
                msix_control_changed(pci->msix);
        if (pci->ops && pci->ops->config_written)
                pci->ops->config_written(pci, offset, len);
}

char *pci_address(const struct pci_device *pci) {
        return g_strdup_printf(
                        "%04x:00:%02x.0", pci->segment ? pci->segment->config.layout.segment : 0,
                        pci->slot);
}

int pci_bar_add_doorbell(
                struct pci_device *pci, unsigned bar, uint64_t offset, unsigned len, int fd) {
        assert(pci->segment && bar < PCI_N_BARS && pci->bars[bar].region);

        return bus_add_doorbell(pci->segment->config.mmio, pci->bars[bar].region, offset, len, fd);
}

int pci_bar_remove_doorbell(
                struct pci_device *pci, unsigned bar, uint64_t offset, unsigned len, int fd) {
        assert(pci->segment && bar < PCI_N_BARS && pci->bars[bar].region);

        return bus_remove_doorbell(
                        pci->segment->config.mmio, pci->bars[bar].region, offset, len, fd);
}
