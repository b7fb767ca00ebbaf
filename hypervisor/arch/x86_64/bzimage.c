/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The bzImage loader (Linux Documentation/arch/x86/boot.rst), protocol 2.06 and later. The file is a
 * boot sector with the setup header, real-mode code that nobody runs here, and the protected-mode
 * kernel, which is loaded where it prefers to be, or at 1 MiB and its alignment when it is
 * relocatable and there is no room; it unpacks itself within init_size bytes from there.
 */

#include <asm/bootparam.h>
#include <inttypes.h>
#include <string.h>

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/error.h"

enum {
        SECTOR = 512,
        HEADER_START = 0x1f1,
        HEADER_BASE = 0x202, /* the jump's displacement counts from here; it ends the header */
        BOOT_FLAG = 0xaa55,
        ENTRY_64 = 0x200, /* into the protected-mode kernel */
        SYSSIZE_UNIT = 16,

        VERSION_MIN = 0x206,
        VERSION_PREF_ADDRESS = 0x20a,
        VERSION_XLOADFLAGS = 0x20c,
};

struct kernel_part {
        uint64_t offset, size; /* of the protected-mode kernel in the file */
};

static bool read_header(const struct image *img, struct setup_header *ret, GError **error) {
        uint8_t head[HEADER_START + sizeof(*ret)] = {};
        size_t end;

        if (!image_read_part(img, "the setup header", 0, head, MIN(img->size, sizeof(head)), error))
                return false;
        memcpy(ret, head + HEADER_START, sizeof(*ret));
        if (ret->boot_flag != BOOT_FLAG)
                return image_error(
                                img, error, "the boot flag is 0x%04x, not 0x%04x", ret->boot_flag,
                                BOOT_FLAG);
        if (ret->version < VERSION_MIN)
                return image_error(
                                img, error,
                                "boot protocol %u.%02u is too old; 2.06 or later is needed",
                                ret->version >> 8, ret->version & 0xff);
        if (!(ret->loadflags & LOADED_HIGH))
                return image_error(img, error, "this is a zImage; a bzImage is needed");

        /* What follows the header is code: fields that this version does not have must read as zero. */
        end = HEADER_BASE + head[HEADER_BASE - 1];
        if (end <
            HEADER_START + (ret->version >= VERSION_PREF_ADDRESS
                                            ? offsetof(struct setup_header, handover_offset)
                                            : offsetof(struct setup_header, hardware_subarch)))
                return image_error(
                                img, error,
                                "a setup header that ends at 0x%zx is too short for boot protocol"
                                " %u.%02u",
                                end, ret->version >> 8, ret->version & 0xff);
        if (end < sizeof(head))
                memset((uint8_t *) ret + (end - HEADER_START), 0, sizeof(head) - end);
        return true;
}

static bool
find_kernel(const struct image *img,
            const struct setup_header *h,
            struct kernel_part *ret,
            GError **error) {
        /* 0 means 4, from before the field existed */
        uint64_t offset = ((h->setup_sects ? h->setup_sects : 4u) + 1ull) * SECTOR;
        uint64_t size = (uint64_t) h->syssize * SYSSIZE_UNIT;

        if (offset >= img->size)
                return image_error(
                                img, error,
                                "the file ends after %" PRIu64
                                " bytes, before the kernel proper at offset %" PRIu64,
                                img->size, offset);
        /* Old builds count the last unit whole and do not pad it. What follows it is a signature. */
        if (size > img->size - offset + (SYSSIZE_UNIT - 1))
                return image_error(
                                img, error,
                                "the file is cut: its header promises %" PRIu64
                                " bytes of kernel at offset %" PRIu64 ", there are %" PRIu64,
                                size, offset, img->size - offset);
        ret->offset = offset;
        ret->size = size == 0 ? img->size - offset : MIN(size, img->size - offset);
        return true;
}

static bool
place_kernel(const struct x86_boot *b,
             const struct image *img,
             const struct setup_header *h,
             uint64_t size,
             uint64_t *ret,
             GError **error) {
        g_autoptr(GError) why = NULL;
        uint64_t at = h->version >= VERSION_PREF_ADDRESS ? h->pref_address : X86_HIGH_RAM;
        uint64_t align = h->kernel_alignment;

        if (h->relocatable_kernel && (align == 0 || (align & (align - 1)) != 0))
                return image_error(
                                img, error,
                                "the kernel's alignment 0x%" PRIx64 " is not a power of two",
                                align);
        if (at > UINT32_MAX || at < X86_HIGH_RAM)
                return image_error(
                                img, error,
                                "the kernel's preferred address 0x%" PRIx64
                                " is not between 1 MiB and 4 GiB",
                                at);

        if (!x86_check_place(b, img, "the kernel", at, size, &why)) {
                if (!h->relocatable_kernel || h->version < VERSION_PREF_ADDRESS) {
                        g_propagate_error(error, g_steal_pointer(&why));
                        return false;
                }
                at = (X86_HIGH_RAM + align - 1) & ~(align - 1);
                if (!x86_check_place(b, img, "the kernel", at, size, error))
                        return false;
        }
        *ret = at;
        return true;
}

static bool check_cmdline(const struct x86_boot *b, const struct setup_header *h, GError **error) {
        size_t len = strlen(b->cmdline);

        if (len <= h->cmdline_size)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                    "payload.cmdline: %zu bytes are too many for this kernel, which takes at"
                    " most %" PRIu32,
                    len, h->cmdline_size);
        return false;
}

bool x86_load_bzimage(
                struct x86_boot *b,
                const struct image *img,
                struct boot_entry *ret,
                struct setup_header *ret_header,
                GError **error) {
        struct kernel_part part = {};
        struct setup_header h = {};
        uint64_t at = 0, needed;
        bool is_64;

        if (!read_header(img, &h, error) || !find_kernel(img, &h, &part, error) ||
            !check_cmdline(b, &h, error))
                return false;

        is_64 = h.version >= VERSION_XLOADFLAGS && (h.xloadflags & XLF_KERNEL_64);
        if (is_64 && part.size <= ENTRY_64)
                return image_error(
                                img, error,
                                "%" PRIu64 " bytes of kernel are too few for a 64-bit entry point",
                                part.size);
        needed = MAX(part.size, h.version >= VERSION_PREF_ADDRESS ? h.init_size : 0);
        if (!place_kernel(b, img, &h, needed, &at, error) ||
            !image_load(img, "the kernel", part.offset, part.size, b->mem, GADDR(at), error))
                return false;

        h.code32_start = (uint32_t) at;
        *ret_header = h;
        b->kernel_end = at + needed;
        b->initrd_last = h.initrd_addr_max;
        ret->protocol = is_64 ? BOOT_LINUX64 : BOOT_LINUX32;
        ret->pc = at + (is_64 ? ENTRY_64 : 0);
        return true;
}
