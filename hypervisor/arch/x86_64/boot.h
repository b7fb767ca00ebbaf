/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/arch.h"
#include "hypervisor/loader/image.h"

/* The parts of arch_load_payload(), shared by its own files only. */

struct setup_header;

struct x86_boot {
        struct gmem *mem;
        const struct arch_layout *layout;
        const char *cmdline; /* shorter than X86_CMDLINE_MAX */
        uint64_t rsdp;
        uint64_t kernel_end; /* first byte after what the kernel needs in low RAM, at least 1 MiB */
        uint64_t initrd_last;         /* the last address an initramfs may have */
        uint64_t initrd, initrd_size; /* size 0: none */
};

/* Ranges of the guest's memory map; types are those of e820 and of Xen's start info alike. */
enum {
        X86_MEMMAP_RAM = 1,
        X86_MEMMAP_RESERVED = 2,
        X86_MEMMAP_MAX = 4, /* entries */
};

struct x86_memmap_entry {
        uint64_t base, size;
        uint32_t type;
};

size_t
x86_memmap(const struct arch_layout *layout, struct x86_memmap_entry ret[static X86_MEMMAP_MAX]);

/* Writes a fixed boot structure; fails only when the machine has too little memory for it. */
bool x86_put(struct gmem *mem, uint64_t addr, const void *data, uint64_t len, GError **error);

/* Whether a part of the image may lie there: in RAM, clear of boot information and tables. size > 0, no wrap-around. */
bool x86_check_place(
                const struct x86_boot *b,
                const struct image *img,
                const char *part,
                uint64_t addr,
                uint64_t size,
                GError **error);

bool x86_write_gdt(struct gmem *mem, bool is_64, GError **error);

/* Identity map of the first 4 GiB; top level at X86_PML4. */
bool x86_write_page_tables(struct gmem *mem, GError **error);

/* Start info, module list and memory map at X86_PVH_INFO. */
bool x86_write_pvh_info(const struct x86_boot *b, GError **error);

/* header: the kernel's own, or NULL for one that names a loader of protocol 2.15. */
bool x86_write_zero_page(
                const struct x86_boot *b, const struct setup_header *header, GError **error);

/* Checks, places and loads a bzImage; sets b's kernel_end and initrd_last, ret's protocol and pc. *ret_header: its setup
 * header with the loader's fields filled in where they do not depend on the initramfs. */
bool x86_load_bzimage(
                struct x86_boot *b,
                const struct image *img,
                struct boot_entry *ret,
                struct setup_header *ret_header,
                GError **error);
