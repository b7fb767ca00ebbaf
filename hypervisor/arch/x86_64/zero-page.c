/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The zero page (struct boot_params, Linux Documentation/arch/x86/zero-page.rst): memory map, RSDP,
 * and the setup header with what only the loader knows. All else is zero, most of all the sentinel
 * that tells a kernel whether its loader cleared the page, and the screen.
 */

#include <asm/bootparam.h>

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"

G_STATIC_ASSERT(sizeof(struct boot_params) == 4096);
G_STATIC_ASSERT(offsetof(struct boot_params, hdr) == 0x1f1);
G_STATIC_ASSERT(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70);

#define LOADER_UNKNOWN 0xff

static const struct setup_header no_header = {
        .boot_flag = 0xaa55,
        .header = 0x53726448, /* HdrS */
        .version = 0x20f,
        .loadflags = LOADED_HIGH,
};

bool x86_write_zero_page(
                const struct x86_boot *b, const struct setup_header *header, GError **error) {
        struct boot_params params = { .hdr = header ? *header : no_header };
        struct x86_memmap_entry map[X86_MEMMAP_MAX];
        size_t n = x86_memmap(b->layout, map);

        params.hdr.type_of_loader = LOADER_UNKNOWN;
        params.hdr.cmd_line_ptr = X86_CMDLINE;
        params.hdr.setup_data = 0;
        params.hdr.ramdisk_image = (uint32_t) b->initrd;
        params.hdr.ramdisk_size = (uint32_t) b->initrd_size;
        params.ext_ramdisk_image = (uint32_t) (b->initrd >> 32);
        params.ext_ramdisk_size = (uint32_t) (b->initrd_size >> 32);
        params.acpi_rsdp_addr = b->rsdp;
        params.e820_entries = (uint8_t) n;
        for (size_t i = 0; i < n; i++) {
                params.e820_table[i].addr = map[i].base;
                params.e820_table[i].size = map[i].size;
                params.e820_table[i].type = map[i].type;
        }
        return x86_put(b->mem, X86_ZERO_PAGE, &params, sizeof(params), error);
}
