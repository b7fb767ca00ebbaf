/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The memory map the guest is told (reference 3.1): RAM without the ACPI and SMBIOS tables between
 * 640 KiB and 1 MiB, and the ECAM space reserved, because Linux uses it only then. Both boot
 * protocols carry the same map.
 */

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"

size_t
x86_memmap(const struct arch_layout *layout, struct x86_memmap_entry ret[static X86_MEMMAP_MAX]) {
        uint64_t end = layout->ram[0].base + layout->ram[0].size;
        size_t n = 0;

        ret[n++] = (struct x86_memmap_entry){ 0, MIN(end, X86_LOW_RAM_END), X86_MEMMAP_RAM };
        if (end > X86_HIGH_RAM)
                ret[n++] = (struct x86_memmap_entry){
                        X86_HIGH_RAM,
                        end - X86_HIGH_RAM,
                        X86_MEMMAP_RAM,
                };
        if (layout->ecam.size > 0)
                ret[n++] = (struct x86_memmap_entry){
                        layout->ecam.base,
                        layout->ecam.size,
                        X86_MEMMAP_RESERVED,
                };
        if (layout->ram[1].size > 0)
                ret[n++] = (struct x86_memmap_entry){
                        layout->ram[1].base,
                        layout->ram[1].size,
                        X86_MEMMAP_RAM,
                };
        return n;
}
