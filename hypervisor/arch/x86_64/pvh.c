/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The start information of the PVH protocol (xen/include/public/arch-x86/hvm/start_info.h, version 1):
 * one structure whose address the guest gets in EBX, and the arrays it points to. An initramfs is the
 * one module there can be.
 */

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"

#define PVH_MAGIC 0x336ec578u

struct pvh_start_info {
        uint32_t magic, version, flags, n_modules;
        uint64_t modules, cmdline, rsdp, memmap;
        uint32_t n_memmap, reserved;
};
G_STATIC_ASSERT(sizeof(struct pvh_start_info) == 56);
G_STATIC_ASSERT(X86_PVH_INFO + sizeof(struct pvh_start_info) <= X86_PVH_MODULES);

struct pvh_module {
        uint64_t addr, size, cmdline, reserved;
};

struct pvh_memmap {
        uint64_t addr, size;
        uint32_t type, reserved;
};
G_STATIC_ASSERT(sizeof(struct pvh_memmap) == 24);

bool x86_write_pvh_info(const struct x86_boot *b, GError **error) {
        struct x86_memmap_entry map[X86_MEMMAP_MAX];
        size_t n = x86_memmap(b->layout, map);
        struct pvh_memmap entries[X86_MEMMAP_MAX] = {};
        struct pvh_module module = { .addr = b->initrd, .size = b->initrd_size };
        struct pvh_start_info info = {
                .magic = PVH_MAGIC,
                .version = 1,
                .n_modules = b->initrd_size > 0,
                .modules = b->initrd_size > 0 ? X86_PVH_MODULES : 0,
                .cmdline = X86_CMDLINE,
                .rsdp = b->rsdp,
                .memmap = X86_PVH_MEMMAP,
                .n_memmap = (uint32_t) n,
        };

        for (size_t i = 0; i < n; i++)
                entries[i] = (struct pvh_memmap){
                        .addr = map[i].base,
                        .size = map[i].size,
                        .type = map[i].type,
                };
        return x86_put(b->mem, X86_PVH_INFO, &info, sizeof(info), error) &&
               x86_put(b->mem, X86_PVH_MODULES, &module, sizeof(module), error) &&
               x86_put(b->mem, X86_PVH_MEMMAP, entries, n * sizeof(*entries), error);
}
