/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* PCI of segment 0, through ECAM at its fixed place. */

#include "tests/guest/lib/guest.h"
#include "tests/guest/lib/machine.h"

#define ECAM 0xe8000000u

uint64_t pci_config_addr(uint8_t slot) {
        return ECAM + ((uint64_t) slot << 15);
}

uint8_t pci_find(uint16_t vendor, uint16_t device) {
        for (uint8_t slot = 0; slot < 32; slot++)
                if (read32(pci_config_addr(slot)) == ((uint32_t) device << 16 | vendor))
                        return slot;
        return PCI_SLOT_NONE;
}

uint8_t pci_find_capability(uint8_t slot, uint8_t id, uint8_t after) {
        uint64_t config = pci_config_addr(slot);
        uint8_t at = after ? read8(config + after + 1) : read8(config + 0x34);

        for (unsigned n = 0; at && n < 64; n++, at = read8(config + at + 1))
                if (read8(config + at) == id)
                        return at;
        return 0;
}

uint64_t pci_bar(uint8_t slot, unsigned index) {
        uint64_t at = pci_config_addr(slot) + 0x10 + 4 * index;
        uint32_t low = read32(at);
        uint64_t addr = low & ~15u;

        if ((low & 6) == 4)
                addr |= (uint64_t) read32(at + 4) << 32;
        return addr;
}

void pci_set_bar(uint8_t slot, unsigned index, uint64_t addr) {
        uint64_t at = pci_config_addr(slot) + 0x10 + 4 * index;
        bool is_64 = (read32(at) & 6) == 4;

        write32(at, (uint32_t) addr);
        if (is_64)
                write32(at + 4, (uint32_t) (addr >> 32));
}

void pci_enable(uint8_t slot) {
        write16(pci_config_addr(slot) + 4, 6); /* memory, bus master */
}
