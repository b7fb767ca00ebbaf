/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where things are in the guest-physical space of the x86-64 machine (reference 3.1): RAM from 0 to
 * the hole at 3 GiB and from 4 GiB on; PCI windows, ECAM and interrupt controllers in the hole; the
 * 64-bit PCI window from the end of RAM to the end of what the CPU can address, whose last MiB
 * belongs to the platform's own registers.
 */

#include "hypervisor/arch.h"

#include <inttypes.h>

#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"

#define RAM_MIN (2ull << 20)
#define MMIO64_ALIGN (128ull << 20)
#define MMIO64_MIN (1ull << 30) /* enough for a full segment's worth of ordinary BARs */
#define TOP_GUARD (64ull << 10)
#define PLATFORM_SIZE (1ull << 20)
#define PHYS_BITS_MIN 36
#define PHYS_BITS_MAX 52

bool arch_layout_for(
                uint64_t ram_size, uint8_t phys_bits, struct arch_layout *ret, GError **error) {
        uint64_t low, high, top, start;

        if (phys_bits < PHYS_BITS_MIN || phys_bits > PHYS_BITS_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "cpus.max_phys_bits: %u is not within %u to %u", phys_bits,
                            PHYS_BITS_MIN, PHYS_BITS_MAX);
                return false;
        }
        if (ram_size < RAM_MIN || ram_size % 4096 != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory.size: %" PRIu64 " is not a multiple of 4096 of at least 2 MiB",
                            ram_size);
                return false;
        }

        low = MIN(ram_size, X86_HOLE);
        high = ram_size - low;
        top = (1ull << phys_bits) - TOP_GUARD - PLATFORM_SIZE;
        if (high > top - MMIO64_ALIGN - MMIO64_MIN - X86_HIGH_MEM) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory.size: %" PRIu64
                            " bytes and the devices do not fit into %u physical address bits",
                            ram_size, phys_bits);
                return false;
        }
        start = (X86_HIGH_MEM + high + MMIO64_ALIGN - 1) & ~(MMIO64_ALIGN - 1);

        *ret = (struct arch_layout){
                .ram = { { .base = 0, .size = low },
                         { .base = high > 0 ? X86_HIGH_MEM : 0, .size = high } },
                .mmio32 = { .base = X86_HOLE, .size = X86_MMIO32_SIZE },
                .mmio64 = { .base = start, .size = top - start },
                .ecam = { .base = X86_ECAM, .size = X86_ECAM_SIZE },
                .platform = { .base = top, .size = PLATFORM_SIZE },
                .ioapic = X86_IOAPIC,
                .phys_bits = phys_bits,
        };
        return true;
}
