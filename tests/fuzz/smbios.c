/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The firmware tables with SMBIOS strings as callers of the bus may give them: the input's
 * NUL-separated pieces, the first eight for the named strings, the rest OEM strings. The structures
 * that come out must be walkable to their end.
 */

#include "fuzz.h"

#include <string.h>

#include "hypervisor/acpi/sdt.h"
#include "hypervisor/arch.h"

#define RAM_SIZE (2ull << 20)

static struct gmem *new_memory(struct arch_layout *ret_layout) {
        const struct gmem_backing backing = {};
        struct gmem *mem = gmem_new();

        if (!arch_layout_for(RAM_SIZE, 40, ret_layout, /* error= */ NULL) ||
            !gmem_add(mem, GADDR(0), RAM_SIZE, &backing, /* error= */ NULL))
                abort();
        return mem;
}

static void check(const struct gmem *mem) {
        static uint8_t area[0x10000];
        uint32_t size, at = 32;

        g_assert_cmpint(gmem_read(mem, GADDR(0xf0000), area, sizeof(area)), ==, 0);
        g_assert_cmpuint(acpi_checksum(area, 24), ==, 0);
        memcpy(&size, area + 12, sizeof(size));
        g_assert_cmpuint(size, <=, sizeof(area) - 32);
        for (;;) {
                bool last = area[at] == 127;

                at += area[at + 1];
                g_assert_cmpuint(at + 2, <=, 32 + size);
                while (area[at] || area[at + 1])
                        g_assert_cmpuint(++at + 2, <=, 32 + size);
                at += 2;
                if (last)
                        break;
        }
        g_assert_cmpuint(at, ==, 32 + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint32_t apic_id = 0;
        static struct arch_layout layout;
        static struct gmem *mem;
        g_autofree char *text = g_strndup("", size);
        g_autoptr(GPtrArray) pieces = g_ptr_array_new();
        struct arch_tables tables = { .boot_vcpus = 1, .max_vcpus = 1, .apic_ids = &apic_id };
        g_autoptr(GError) error = NULL;
        uint64_t rsdp;

        if (!mem)
                mem = new_memory(&layout);

        memcpy(text, data, size);
        for (size_t at = 0; at < size; at += strlen(text + at) + 1)
                g_ptr_array_add(pieces, text + at);
        while (pieces->len < 8)
                g_ptr_array_add(pieces, NULL);
        g_ptr_array_add(pieces, NULL);
        tables.smbios = (struct arch_smbios){
                .serial_number = pieces->pdata[0],
                .uuid = pieces->pdata[1],
                .manufacturer = pieces->pdata[2],
                .product_name = pieces->pdata[3],
                .version = pieces->pdata[4],
                .family = pieces->pdata[5],
                .sku_number = pieces->pdata[6],
                .chassis_asset_tag = pieces->pdata[7],
                .oem_strings = (const char *const *) pieces->pdata + 8,
        };
        if (arch_write_tables(mem, &layout, &tables, &rsdp, &error))
                check(mem);
        else
                g_assert_nonnull(error);
        return 0;
}
