/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the first vCPU finds in memory before it runs a guest instruction: descriptor tables and, for
 * a 64-bit entry, page tables that map the first 4 GiB to themselves, as the Linux boot protocol
 * wants for the kernel, the zero page and the command line. The guest replaces all of it early.
 */

#include <inttypes.h>

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"

enum {
        GDT_CODE32 = 0xc09b, /* 4 KiB granularity, 32 bits, present, execute and read, accessed */
        GDT_CODE64 = 0xa09b,
        GDT_DATA = 0xc093,
        GDT_TSS = 0x008b,

        PTE_PRESENT = 1 << 0,
        PTE_WRITE = 1 << 1,
        PTE_LARGE = 1 << 7,

        TABLE_SIZE = 4096,
        N_PDE_PAGES = 4, /* 1 GiB each */
};

bool x86_put(struct gmem *mem, uint64_t addr, const void *data, uint64_t len, GError **error) {
        if (gmem_write(mem, GADDR(addr), data, len) == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                    "memory: the machine has no memory at 0x%" PRIx64 " for its boot information",
                    addr);
        return false;
}

static uint64_t segment(uint16_t flags, uint32_t base, uint32_t limit) {
        return (uint64_t) (base & 0xff000000) << 32 | (uint64_t) (flags & 0xf0ff) << 40 |
               (uint64_t) (limit & 0xf0000) << 32 | (uint64_t) (base & 0xffffff) << 16 |
               (limit & 0xffff);
}

bool x86_write_gdt(struct gmem *mem, bool is_64, GError **error) {
        uint64_t gdt[4] = {
                [X86_BOOT_TSS / 8] = segment(GDT_TSS, 0, 0x67),
                [X86_BOOT_CS / 8] = segment(is_64 ? GDT_CODE64 : GDT_CODE32, 0, 0xfffff),
                [X86_BOOT_DS / 8] = segment(GDT_DATA, 0, 0xfffff),
        };
        uint64_t idt = 0;

        G_STATIC_ASSERT(X86_BOOT_GDT + sizeof(gdt) <= X86_BOOT_IDT);
        return x86_put(mem, X86_BOOT_GDT, gdt, sizeof(gdt), error) &&
               x86_put(mem, X86_BOOT_IDT, &idt, sizeof(idt), error);
}

bool x86_write_page_tables(struct gmem *mem, GError **error) {
        uint64_t table[TABLE_SIZE / 8] = { X86_PDPTE | PTE_PRESENT | PTE_WRITE };

        G_STATIC_ASSERT(X86_PDE + N_PDE_PAGES * TABLE_SIZE <= X86_CMDLINE);
        if (!x86_put(mem, X86_PML4, table, sizeof(table), error))
                return false;

        for (unsigned i = 0; i < N_PDE_PAGES; i++)
                table[i] = (X86_PDE + i * TABLE_SIZE) | PTE_PRESENT | PTE_WRITE;
        if (!x86_put(mem, X86_PDPTE, table, sizeof(table), error))
                return false;

        for (uint64_t i = 0; i < N_PDE_PAGES; i++) {
                for (uint64_t j = 0; j < G_N_ELEMENTS(table); j++)
                        table[j] = i << 30 | j << 21 | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
                if (!x86_put(mem, X86_PDE + i * TABLE_SIZE, table, sizeof(table), error))
                        return false;
        }
        return true;
}
