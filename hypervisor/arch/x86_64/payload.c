/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Payload loading for x86-64 (reference 3.7): what the image is decides the boot protocol; then come
 * the initramfs at the top of low RAM, the command line and the protocol's boot information. Every
 * boot starts here, the first as well as one after a reboot, so nothing is remembered in between.
 */

#include <asm/bootparam.h>
#include <inttypes.h>
#include <string.h>

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"
#include "hypervisor/loader/elf.h"

#define PAGE 4096ull

const char *boot_protocol_to_string(enum boot_protocol p) {
        static const char *const names[BOOT_PROTOCOL_MAX] = {
                [BOOT_PVH] = "pvh",
                [BOOT_LINUX32] = "linux32",
                [BOOT_LINUX64] = "linux64",
                [BOOT_FREESTANDING] = "freestanding",
        };

        return p >= 0 && p < BOOT_PROTOCOL_MAX ? names[p] : NULL;
}

bool x86_check_place(
                const struct x86_boot *b,
                const struct image *img,
                const char *part,
                uint64_t addr,
                uint64_t size,
                GError **error) {
        uint64_t end = addr + size;

        if (addr < X86_CMDLINE + X86_CMDLINE_MAX)
                return image_error(
                                img, error,
                                "%s starts at 0x%" PRIx64
                                ", but boot information is kept below 0x%x",
                                part, addr, X86_CMDLINE + X86_CMDLINE_MAX);
        if (addr < X86_HIGH_RAM && end > X86_LOW_RAM_END)
                return image_error(
                                img, error,
                                "%s (0x%" PRIx64 " to 0x%" PRIx64
                                ") overlaps the firmware tables from 0x%x to 0x%x",
                                part, addr, end, X86_LOW_RAM_END, X86_HIGH_RAM);

        for (size_t i = 0; i < G_N_ELEMENTS(b->layout->ram); i++) {
                const struct arch_range *ram = &b->layout->ram[i];

                if (addr - ram->base >= ram->size)
                        continue;
                if (size <= ram->size - (addr - ram->base))
                        return true;
                return image_error(
                                img, error,
                                "%s ends at 0x%" PRIx64
                                ", beyond guest memory, which ends at 0x%" PRIx64,
                                part, end, ram->base + ram->size);
        }
        return image_error(
                        img, error, "%s starts at 0x%" PRIx64 ", where there is no guest memory",
                        part, addr);
}

static bool choose_elf_entry(
                const struct image *img,
                const struct elf *elf,
                struct boot_entry *ret,
                GError **error) {
        if (elf->has_pvh) {
                ret->protocol = BOOT_PVH;
                ret->pc = elf->pvh_entry;
        } else if (elf->is_64) {
                ret->protocol = elf->is_linux ? BOOT_LINUX64 : BOOT_FREESTANDING;
                ret->pc = elf->entry;
        } else
                return image_error(
                                img, error,
                                "this 32-bit ELF file has no PVH note, so there is no way to enter"
                                " it");

        if (!elf_contains(elf, ret->pc))
                return image_error(
                                img, error,
                                "the entry point 0x%" PRIx64 " is not in any ELF segment", ret->pc);
        if (ret->pc > UINT32_MAX)
                return image_error(
                                img, error, "the entry point 0x%" PRIx64 " is above 4 GiB",
                                ret->pc);
        return true;
}

static bool
load_elf(struct x86_boot *b, const struct image *img, struct boot_entry *ret, GError **error) {
        g_autofree struct elf *elf = g_new(struct elf, 1);
        uint64_t low_end = b->layout->ram[0].base + b->layout->ram[0].size;

        if (!elf_parse(img, elf, error) || !choose_elf_entry(img, elf, ret, error))
                return false;

        for (unsigned i = 0; i < elf->n_segments; i++) {
                const struct elf_segment *s = &elf->segments[i];
                g_autofree char *part = g_strdup_printf("ELF segment %u", s->index);

                if (!x86_check_place(b, img, part, s->addr, s->size, error))
                        return false;
                if (s->addr < low_end)
                        b->kernel_end = MAX(b->kernel_end, s->addr + s->size);
        }
        return elf_load(img, elf, b->mem, error);
}

static bool load_initramfs(struct x86_boot *b, int fd, GError **error) {
        uint64_t top = MIN(b->layout->ram[0].base + b->layout->ram[0].size, b->initrd_last + 1);
        struct image img;

        if (!image_init(&img, "initramfs", fd, error))
                return false;
        if (top < b->kernel_end || img.size > top - b->kernel_end ||
            ((top - img.size) & ~(PAGE - 1)) < b->kernel_end)
                return image_error(
                                &img, error,
                                "%" PRIu64 " bytes do not fit between the kernel, which ends at"
                                " 0x%" PRIx64 ", and the highest address possible, 0x%" PRIx64,
                                img.size, b->kernel_end, top);

        b->initrd = (top - img.size) & ~(PAGE - 1);
        b->initrd_size = img.size;
        return image_load(&img, "the archive", 0, img.size, b->mem, GADDR(b->initrd), error);
}

static bool check_payload(const struct boot_payload *p, GError **error) {
        const char *wrong = NULL;

        if (p->kernel_fd < 0 && p->firmware_fd < 0)
                wrong = "payload: neither a kernel nor firmware is given";
        else if (p->kernel_fd >= 0 && p->firmware_fd >= 0)
                wrong = "payload.firmware: excludes payload.kernel";
        if (wrong) {
                g_set_error_literal(error, HV_ERROR, HV_ERROR_INVALID, wrong);
                return false;
        }
        if (p->cmdline && strlen(p->cmdline) >= X86_CMDLINE_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "payload.cmdline: %zu bytes are too many; the limit is %u",
                            strlen(p->cmdline), X86_CMDLINE_MAX - 1);
                return false;
        }
        return true;
}

/* Descriptor and page tables, and where the protocol's structure is. */
static bool finish_entry(struct gmem *mem, struct boot_entry *entry, GError **error) {
        bool is_64 = entry->protocol == BOOT_LINUX64 || entry->protocol == BOOT_FREESTANDING;

        entry->boot_info = entry->protocol == BOOT_PVH ? X86_PVH_INFO : X86_ZERO_PAGE;
        entry->stack = X86_BOOT_STACK;
        entry->page_table = is_64 ? X86_PML4 : 0;
        return x86_write_gdt(mem, is_64, error) && (!is_64 || x86_write_page_tables(mem, error));
}

bool arch_load_payload(
                struct gmem *mem,
                const struct arch_layout *layout,
                const struct boot_payload *payload,
                struct boot_entry *ret,
                GError **error) {
        bool is_firmware = payload->kernel_fd < 0;
        struct x86_boot b = {
                .mem = mem,
                .layout = layout,
                .cmdline = payload->cmdline && !is_firmware ? payload->cmdline : "",
                .rsdp = payload->rsdp,
                .kernel_end = X86_HIGH_RAM,
                .initrd_last = UINT32_MAX,
        };
        struct boot_entry entry = {};
        struct setup_header header = {};
        enum image_kind kind;
        struct image img;

        if (!check_payload(payload, error) ||
            !image_init(&img, is_firmware ? "firmware" : "kernel",
                        is_firmware ? payload->firmware_fd : payload->kernel_fd, error))
                return false;

        kind = image_identify(&img, error);
        if (kind == IMAGE_INVALID)
                return false;
        if (kind == IMAGE_ELF ? !load_elf(&b, &img, &entry, error)
                              : !x86_load_bzimage(&b, &img, &entry, &header, error))
                return false;
        if (payload->initramfs_fd >= 0 && !is_firmware &&
            !load_initramfs(&b, payload->initramfs_fd, error))
                return false;

        if (!x86_put(mem, X86_CMDLINE, b.cmdline, strlen(b.cmdline) + 1, error))
                return false;
        if (entry.protocol == BOOT_PVH
                            ? !x86_write_pvh_info(&b, error)
                            : !x86_write_zero_page(
                                              &b, kind == IMAGE_BZIMAGE ? &header : NULL, error))
                return false;
        if (!finish_entry(mem, &entry, error))
                return false;

        *ret = entry;
        return true;
}
