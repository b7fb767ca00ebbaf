/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The whole payload loader on a machine of 4 MiB: the input is the kernel, of whatever format, and the
 * initramfs too. What is accepted has its entry point in RAM, and its boot information was not
 * overwritten by the image.
 */

#include "fuzz.h"

#include "hypervisor/arch.h"

#define RAM_SIZE (4ull << 20)

static struct gmem *new_memory(struct arch_layout *ret_layout) {
        const struct gmem_backing backing = {};
        struct gmem *mem = gmem_new();

        if (!arch_layout_for(RAM_SIZE, 40, ret_layout, /* error= */ NULL) ||
            !gmem_add(mem, GADDR(0), RAM_SIZE, &backing, /* error= */ NULL))
                abort();
        return mem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct arch_layout layout;
        static struct gmem *mem;
        int fd = fuzz_fd(data, size);
        struct boot_payload payload = {
                .kernel_fd = fd,
                .firmware_fd = -1,
                .initramfs_fd = size % 2 ? fd : -1,
                .cmdline = "console=ttyS0",
                .rsdp = 0xa0000,
        };
        struct boot_entry entry = { .protocol = BOOT_PROTOCOL_INVALID };
        g_autoptr(GError) error = NULL;
        char cmdline[14];

        if (!mem)
                mem = new_memory(&layout);
        if (!arch_load_payload(mem, &layout, &payload, &entry, &error)) {
                g_assert_nonnull(error);
                g_assert_cmpint(entry.protocol, ==, BOOT_PROTOCOL_INVALID);
                return 0;
        }

        g_assert_no_error(error);
        g_assert_nonnull(boot_protocol_to_string(entry.protocol));
        g_assert_nonnull(gmem_map(mem, GADDR(entry.pc), 1, /* for_write= */ false));
        g_assert_cmpint(gmem_read(mem, GADDR(0x20000), cmdline, sizeof(cmdline)), ==, 0);
        g_assert_cmpstr(cmdline, ==, "console=ttyS0");
        return 0;
}
