/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that payloads reach guest memory as the PVH and Linux boot protocols say, at the places that the
 * memory map of the machine gives them; that an image which does not fit the machine gets an error
 * that says why; and that thousands of damaged images neither crash the loader nor leave it without an
 * error message.
 */

#include "hypervisor/arch.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "images.h"

#include <fcntl.h>
#include <string.h>

#define MIB (1ull << 20)

struct machine {
        struct gmem *mem;
        struct arch_layout layout;
};

static void machine_init(struct machine *m, uint64_t size) {
        const struct gmem_backing backing = {};
        g_autoptr(GError) error = NULL;

        arch_layout_for(size, 40, &m->layout, &error);
        g_assert_no_error(error);
        m->mem = gmem_new();
        for (unsigned i = 0; i < 2; i++)
                if (m->layout.ram[i].size > 0)
                        gmem_add(m->mem, GADDR(m->layout.ram[i].base), m->layout.ram[i].size,
                                 &backing, &error);
        g_assert_no_error(error);
}

static void machine_clear(struct machine *m) {
        m->mem = gmem_free(m->mem);
}

#define auto_machine __attribute__((cleanup(machine_clear))) struct machine

static uint64_t peek(const struct machine *m, uint64_t addr, unsigned n) {
        uint64_t v = 0;

        g_assert_cmpint(gmem_read(m->mem, GADDR(addr), &v, n), ==, 0);
        return v;
}

static bool
load(struct machine *m,
     const GByteArray *kernel,
     const GByteArray *initramfs,
     const char *cmdline,
     struct boot_entry *ret,
     GError **error) {
        autofd kernel_fd = test_image_fd(kernel);
        autofd initramfs_fd = initramfs ? test_image_fd(initramfs) : -1;
        struct boot_payload payload = {
                .kernel_fd = kernel_fd,
                .firmware_fd = -1,
                .initramfs_fd = initramfs_fd,
                .cmdline = cmdline,
                .rsdp = 0xa0000,
        };

        return arch_load_payload(m->mem, &m->layout, &payload, ret, error);
}

static void
load_ok(struct machine *m,
        const GByteArray *kernel,
        const GByteArray *initramfs,
        const char *cmdline,
        struct boot_entry *ret) {
        g_autoptr(GError) error = NULL;

        load(m, kernel, initramfs, cmdline, ret, &error);
        g_assert_no_error(error);
}

static void load_fails(struct machine *m, const GByteArray *kernel, const char *message) {
        g_autoptr(GError) error = NULL;
        struct boot_entry entry;

        g_assert_false(load(m, kernel, NULL, NULL, &entry, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_IMAGE);
        if (!g_str_has_prefix(error->message, "kernel: ") || !strstr(error->message, message))
                g_error("message \"%s\" does not tell \"%s\"", error->message, message);
}

static GByteArray *archive(size_t size) {
        GByteArray *a = g_byte_array_new();

        g_byte_array_set_size(a, (guint) size);
        memset(a->data, 0xa5, size);
        return a;
}

static void check_cmdline(const struct machine *m, const char *want) {
        g_autofree char *got = g_malloc(strlen(want) + 1);

        g_assert_cmpint(gmem_read(m->mem, GADDR(0x20000), got, strlen(want) + 1), ==, 0);
        g_assert_cmpmem(got, strlen(want) + 1, want, strlen(want) + 1);
}

static void check_gdt(const struct machine *m, uint64_t code) {
        g_assert_cmphex(peek(m, 0x500, 8), ==, 0);
        g_assert_cmphex(peek(m, 0x508, 8), ==, 0x00008b0000000067);
        g_assert_cmphex(peek(m, 0x510, 8), ==, code);
        g_assert_cmphex(peek(m, 0x518, 8), ==, 0x00cf93000000ffff);
        g_assert_cmphex(peek(m, 0x520, 8), ==, 0);
}

static void check_identity_map(const struct machine *m) {
        for (uint64_t addr = 0; addr < 1ull << 32; addr += 2 * MIB) {
                uint64_t pml4e = peek(m, 0xa000 + (addr >> 39) * 8, 8);
                uint64_t pdpte = peek(m, (pml4e & ~0xfffull) + (addr >> 30 & 511) * 8, 8);
                uint64_t pde = peek(m, (pdpte & ~0xfffull) + (addr >> 21 & 511) * 8, 8);

                g_assert_cmphex(pml4e & 0xfff, ==, 3);
                g_assert_cmphex(pdpte & 0xfff, ==, 3);
                g_assert_cmphex(pde, ==, addr | 0x83);
        }
        g_assert_cmphex(peek(m, 0xa008, 8), ==, 0);
        g_assert_cmphex(peek(m, 0xb020, 8), ==, 0);
}

/* Entries of 20 bytes (e820) or 24 (start info) say the same. */
static void check_memory_map(const struct machine *m, uint64_t at, unsigned stride, unsigned n) {
        const struct {
                uint64_t base, size;
                uint32_t type;
        } want[] = {
                { 0, 0xa0000, 1 },
                { 0x100000, m->layout.ram[0].size - 0x100000, 1 },
                { 0xe8000000, 256 * MIB, 2 },
                { 1ull << 32, m->layout.ram[1].size, 1 },
        };

        g_assert_cmpuint(n, ==, m->layout.ram[1].size > 0 ? 4 : 3);
        for (unsigned i = 0; i < n; i++, at += stride) {
                g_assert_cmphex(peek(m, at, 8), ==, want[i].base);
                g_assert_cmphex(peek(m, at + 8, 8), ==, want[i].size);
                g_assert_cmpuint(peek(m, at + 16, 4), ==, want[i].type);
        }
}

static void check_segments(const struct machine *m) {
        for (unsigned i = 0; i < 0x2000; i++)
                g_assert_cmphex(peek(m, 0x200000 + i, 1), ==, i < 0x100 ? 0x90 : 0);
        for (unsigned i = 0; i < 0x80; i++)
                g_assert_cmphex(peek(m, 0x300000 + i, 1), ==, 0xda);
        g_assert_cmphex(peek(m, 0x300080, 8), ==, 0);
}

static void check_pvh(const GByteArray *kernel, uint64_t memory) {
        g_autoptr(GByteArray) initramfs = archive(5000);
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, memory);
        g_assert_cmpint(gmem_write(m.mem, GADDR(0x201000), "dirt", 4), ==,
                        0); /* from a boot before */
        load_ok(&m, kernel, initramfs, "console=ttyS0", &entry);
        g_assert_cmpint(entry.protocol, ==, BOOT_PVH);
        g_assert_cmphex(entry.pc, ==, ELF_TEST_PVH_ENTRY);
        g_assert_cmphex(entry.boot_info, ==, 0x6000);
        g_assert_cmphex(entry.stack, ==, 0x8ff0);
        g_assert_cmphex(entry.page_table, ==, 0);
        check_segments(&m);
        check_cmdline(&m, "console=ttyS0");
        check_gdt(&m, 0x00cf9b000000ffff);

        g_assert_cmphex(peek(&m, 0x6000, 4), ==, 0x336ec578);
        g_assert_cmphex(peek(&m, 0x6004, 4), ==, 1);
        g_assert_cmphex(peek(&m, 0x6008, 4), ==, 0);
        g_assert_cmphex(peek(&m, 0x600c, 4), ==, 1);
        g_assert_cmphex(peek(&m, 0x6010, 8), ==, 0x6040);
        g_assert_cmphex(peek(&m, 0x6018, 8), ==, 0x20000);
        g_assert_cmphex(peek(&m, 0x6020, 8), ==, 0xa0000);
        g_assert_cmphex(peek(&m, 0x6028, 8), ==, 0x7000);
        g_assert_cmphex(peek(&m, 0x6034, 4), ==, 0);
        check_memory_map(&m, 0x7000, 24, (unsigned) peek(&m, 0x6030, 4));

        g_assert_cmphex(peek(&m, 0x6040, 8), ==, m.layout.ram[0].size - 0x2000);
        g_assert_cmpuint(peek(&m, 0x6048, 8), ==, 5000);
        g_assert_cmphex(peek(&m, 0x6050, 8), ==, 0);
        for (unsigned i = 0; i < 5000; i++)
                g_assert_cmphex(peek(&m, m.layout.ram[0].size - 0x2000 + i, 1), ==, 0xa5);
}

static void test_pvh(void) {
        g_autoptr(GByteArray) kernel64 = test_elf64();
        g_autoptr(GByteArray) kernel32 = test_elf32();

        check_pvh(kernel64, 16 * MIB);
        check_pvh(kernel32, 16 * MIB);
        check_pvh(kernel64, 5120 * MIB);
}

static void test_pvh_alone(void) {
        g_autoptr(GByteArray) kernel = test_elf64();
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        load_ok(&m, kernel, NULL, NULL, &entry);
        g_assert_cmphex(peek(&m, 0x600c, 4), ==, 0);
        g_assert_cmphex(peek(&m, 0x6010, 8), ==, 0);
        check_cmdline(&m, "");
}

static void check_linux_header(const struct machine *m, uint64_t initrd, uint64_t size) {
        g_assert_cmphex(peek(m, 0x7070, 8), ==, 0xa0000);
        g_assert_cmphex(peek(m, 0x70c0, 4), ==, 0);
        g_assert_cmphex(peek(m, 0x70c4, 4), ==, 0);
        g_assert_cmphex(peek(m, 0x71ef, 1), ==, 0); /* sentinel */
        g_assert_cmphex(peek(m, 0x71fe, 2), ==, 0xaa55);
        g_assert_cmphex(peek(m, 0x7202, 4), ==, 0x53726448);
        g_assert_cmphex(peek(m, 0x7210, 1), ==, 0xff);
        g_assert_cmphex(peek(m, 0x7218, 4), ==, initrd);
        g_assert_cmphex(peek(m, 0x721c, 4), ==, size);
        g_assert_cmphex(peek(m, 0x7228, 4), ==, 0x20000);
        g_assert_cmphex(peek(m, 0x7250, 8), ==, 0);
        check_memory_map(m, 0x72d0, 20, (unsigned) peek(m, 0x71e8, 1));
}

static void test_vmlinux(void) {
        g_autoptr(GByteArray) kernel = test_elf64();
        g_autoptr(GByteArray) initramfs = archive(4096);
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        test_patch(kernel, ELF_TEST_XEN_NOTE + 8, 17, 4);
        load_ok(&m, kernel, initramfs, "quiet", &entry);
        g_assert_cmpint(entry.protocol, ==, BOOT_LINUX64);
        g_assert_cmphex(entry.pc, ==, ELF_TEST_ENTRY);
        g_assert_cmphex(entry.boot_info, ==, 0x7000);
        g_assert_cmphex(entry.page_table, ==, 0xa000);
        check_segments(&m);
        check_linux_header(&m, 16 * MIB - 4096, 4096);
        check_gdt(&m, 0x00af9b000000ffff);
        check_identity_map(&m);

        test_patch(kernel, ELF_TEST_LINUX_NOTE + 12, 'x', 1);
        load_ok(&m, kernel, NULL, "quiet", &entry);
        g_assert_cmpint(entry.protocol, ==, BOOT_FREESTANDING);
        check_linux_header(&m, 0, 0);
}

static void check_kernel_at(const struct machine *m, uint64_t at) {
        for (unsigned i = 0; i < BZ_TEST_KERNEL_SIZE; i++)
                g_assert_cmphex(peek(m, at + i, 1), ==, (uint8_t) (i * 7));
}

static void test_bzimage_versions(void) {
        for (uint16_t version = 0x206; version <= 0x20f; version++) {
                g_autoptr(GByteArray) kernel = test_bzimage(version);
                g_autoptr(GByteArray) initramfs = archive(3 * MIB + 1);
                uint64_t at = version >= 0x20a ? BZ_TEST_PREF : 0x100000;
                struct boot_entry entry;
                auto_machine m;

                machine_init(&m, 16 * MIB);
                load_ok(&m, kernel, initramfs, "root=/dev/vda", &entry);
                check_kernel_at(&m, at);
                check_linux_header(&m, 13 * MIB - 4096, 3 * MIB + 1);
                check_cmdline(&m, "root=/dev/vda");
                g_assert_cmphex(entry.boot_info, ==, 0x7000);
                g_assert_cmphex(peek(&m, 0x7206, 2), ==, version);
                g_assert_cmphex(peek(&m, 0x7214, 4), ==, at);
                if (version >= 0x20c) {
                        g_assert_cmpint(entry.protocol, ==, BOOT_LINUX64);
                        g_assert_cmphex(entry.pc, ==, at + 0x200);
                        check_identity_map(&m);
                        check_gdt(&m, 0x00af9b000000ffff);
                } else {
                        g_assert_cmpint(entry.protocol, ==, BOOT_LINUX32);
                        g_assert_cmphex(entry.pc, ==, at);
                        g_assert_cmphex(entry.page_table, ==, 0);
                        check_gdt(&m, 0x00cf9b000000ffff);
                }
                /* what followed the header in the file is not in it */
                g_assert_cmphex(peek(&m, version >= 0x20a ? 0x7268 : 0x7240, 8), ==, 0);
        }
}

/* 32-bit kernels of a new protocol, by their flags. */
static void test_bzimage_32(void) {
        g_autoptr(GByteArray) kernel = test_bzimage(0x20f);
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        test_patch(kernel, 0x236, 0, 2);
        load_ok(&m, kernel, NULL, NULL, &entry);
        g_assert_cmpint(entry.protocol, ==, BOOT_LINUX32);
        g_assert_cmphex(entry.pc, ==, BZ_TEST_PREF);
}

static void test_bzimage_place(void) {
        g_autoptr(GByteArray) kernel = test_bzimage(0x20f);
        struct boot_entry entry;
        auto_machine m;

        /* no room where it likes to be: relocated to its alignment above 1 MiB */
        machine_init(&m, 4 * MIB);
        load_ok(&m, kernel, NULL, NULL, &entry);
        check_kernel_at(&m, 2 * MIB);
        g_assert_cmphex(entry.pc, ==, 2 * MIB + 0x200);
        g_assert_cmphex(peek(&m, 0x7214, 4), ==, 2 * MIB);

        test_patch(kernel, 0x234, 0, 1);
        load_fails(&m, kernel, "the kernel starts at 0x400000, where there is no guest memory");
        test_patch(kernel, 0x258, 3 * MIB + 1, 8);
        load_fails(&m, kernel,
                   "the kernel ends at 0x400001, beyond guest memory, which ends at 0x400000");
        test_patch(kernel, 0x258, 3 * MIB, 8);
        load_ok(&m, kernel, NULL, NULL, &entry);
        test_patch(kernel, 0x260, 0, 4); /* init_size smaller than the file: the file counts */
        test_patch(kernel, 0x258, 4 * MIB - 0x7ff, 8);
        load_fails(&m, kernel, "beyond guest memory");
}

static void test_bzimage_sizes(void) {
        g_autoptr(GByteArray) kernel = test_bzimage(0x20f);
        g_autoptr(GByteArray) longer = test_bzimage(0x20f);
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        test_patch(kernel, 0x1f4, 0, 4); /* no size given: to the end of the file */
        load_ok(&m, kernel, NULL, NULL, &entry);
        check_kernel_at(&m, BZ_TEST_PREF);

        g_byte_array_append(longer, (const uint8_t *) "signature", 9);
        load_ok(&m, longer, NULL, NULL, &entry);
        check_kernel_at(&m, BZ_TEST_PREF);
        g_assert_cmphex(peek(&m, BZ_TEST_PREF + BZ_TEST_KERNEL_SIZE, 8), ==, 0);

        /* setup_sects 0 stands for 4 */
        g_byte_array_set_size(longer, 5 * 512 + 0x400);
        test_patch(longer, 0x1f1, 0, 1);
        test_patch(longer, 0x1f4, 0x40, 4);
        test_patch(longer, 5 * 512, 0xfeedface, 4);
        load_ok(&m, longer, NULL, NULL, &entry);
        g_assert_cmphex(peek(&m, BZ_TEST_PREF, 4), ==, 0xfeedface);
}

static void test_bzimage_wrong(void) {
        static const struct {
                size_t at;
                unsigned n;
                uint64_t value;
                const char *message;
        } cases[] = {
                { 0x1f1, 1, 0,
                  "the file ends after 3072 bytes, before the kernel proper at offset"
                  " 2560" },
                { 0x1f1, 1, 5, "the file ends after 3072 bytes" },
                { 0x1f1, 1, 255, "the file ends after 3072 bytes" },
                { 0x1f4, 4, 0x81, "the file is cut: its header promises 2064 bytes" },
                { 0x1f4, 4, UINT32_MAX, "the file is cut" },
                { 0x1f4, 4, 1, "too few for a 64-bit entry point" },
                { 0x1fe, 2, 0, "the boot flag is 0x0000" },
                { 0x201, 1, 0, "a setup header that ends at 0x202 is too short" },
                { 0x201, 1, 0x61, "a setup header that ends at 0x263 is too short" },
                { 0x202, 4, 0, "a boot sector" },
                { 0x206, 2, 0x205, "boot protocol 2.05 is too old; 2.06 or later is needed" },
                { 0x206, 2, 0x200, "boot protocol 2.00 is too old" },
                { 0x206, 2, 0, "boot protocol 0.00 is too old" },
                { 0x211, 1, 0, "zImage" },
                { 0x230, 4, 0, "alignment 0x0 is not a power of two" },
                { 0x230, 4, 0x300000, "alignment 0x300000 is not a power of two" },
                { 0x258, 8, 0, "preferred address 0x0" },
                { 0x258, 8, 0xfffff, "preferred address 0xfffff" },
                { 0x258, 8, 1ull << 32, "preferred address 0x100000000" },
                { 0x258, 8, UINT64_MAX, "preferred address 0xffffffffffffffff" },
                { 0x260, 4, UINT32_MAX, "beyond guest memory" },
        };
        auto_machine m;

        machine_init(&m, 16 * MIB);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GByteArray) a = test_bzimage(0x20f);

                if (cases[i].at == 0x1f1 && cases[i].value == 0)
                        g_byte_array_set_size(a, 5 * 512);
                test_patch(a, cases[i].at, cases[i].value, cases[i].n);
                if (cases[i].at == 0x1f1 && cases[i].value == 0)
                        load_fails(&m, a, "the file ends after 2560 bytes");
                else
                        load_fails(&m, a, cases[i].message);
        }
}

static void test_bzimage_cut(void) {
        auto_machine m;

        machine_init(&m, 16 * MIB);
        for (size_t len = 1; len < BZ_TEST_KERNEL + BZ_TEST_KERNEL_SIZE - 15; len += 7) {
                g_autoptr(GByteArray) a = test_bzimage(0x20f);

                g_byte_array_set_size(a, (guint) len);
                load_fails(&m, a, len < 0x200 ? "neither" : "");
        }
}

static void test_elf_place(void) {
        static const struct {
                size_t at;
                uint64_t value;
                const char *message;
        } cases[] = {
                { 24, 0,
                  "ELF segment 0 starts at 0x0, but boot information is kept below 0x30000" },
                { 24, 0x7000, "boot information" },
                { 24, 0x2ffff, "boot information" },
                { 24, 0x9f000, "(0x9f000 to 0xa1000) overlaps the firmware tables from 0xa0000" },
                { 24, 0xff000, "overlaps the firmware tables" },
                { 24, 0xb8000, "overlaps the firmware tables" },
                { 24, 0x1000000, "ELF segment 0 starts at 0x1000000, where there is no guest" },
                { 24, 0xfff000, "ELF segment 0 ends at 0x1001000, beyond guest memory" },
                { 24, 0xe8000000, "no guest memory" },
                { 24, 1ull << 40, "no guest memory" },
                { 24, 0x400000, "the entry point 0x200010 is not in any ELF segment" },
                { 40, 16 * MIB, "beyond guest memory, which ends at 0x1000000" },
                { 40, UINT64_MAX >> 1, "beyond guest memory" },
        };
        auto_machine m;

        machine_init(&m, 16 * MIB);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GByteArray) a = test_elf64();

                /* the entry stays inside, unless that is the case */
                if (cases[i].at == 24 && cases[i].value != 0x400000)
                        test_patch(a, ELF_TEST_XEN_NOTE + 16, (uint32_t) cases[i].value, 8);
                if (cases[i].value == 1ull << 40) {
                        test_patch(a, ELF_TEST_PHDRS + 56 + 24, 1ull << 40, 8);
                        test_patch(a, ELF_TEST_PHDRS + 24, 0x200000, 8);
                        test_patch(a, ELF_TEST_XEN_NOTE + 16, 0x200000, 8);
                } else
                        test_patch(a, ELF_TEST_PHDRS + cases[i].at, cases[i].value, 8);
                load_fails(&m, a, cases[i].message);
        }
}

/* RAM between the boot information and 640 KiB, and above 4 GiB, is for the taking; entries are not. */
static void test_elf_corners(void) {
        g_autoptr(GByteArray) a = test_elf64();
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 4096 * MIB);
        test_patch(a, ELF_TEST_PHDRS + 24, 0x9e000, 8);
        test_patch(a, ELF_TEST_XEN_NOTE + 16, 0x9e000, 8);
        test_patch(a, ELF_TEST_PHDRS + 56 + 24, 1ull << 32, 8);
        load_ok(&m, a, NULL, NULL, &entry);
        g_assert_cmphex(peek(&m, 0x9e000, 4), ==, 0x90909090);
        g_assert_cmphex(peek(&m, 1ull << 32, 4), ==, 0xdadadada);

        test_patch(a, ELF_TEST_XEN_NOTE + 8, 17, 4);
        test_patch(a, 24, 1ull << 32, 8);
        load_fails(&m, a, "the entry point 0x100000000 is above 4 GiB");
        test_patch(a, ELF_TEST_PHDRS + 56 + 24, 0xc0000000 - 0x7f, 8); /* one byte into the hole */
        test_patch(a, 24, 0x9e000, 8);
        load_fails(&m, a, "ELF segment 1 ends at 0xc0000001, beyond guest memory");
}

static void test_elf32_without_note(void) {
        g_autoptr(GByteArray) a = test_elf32();
        auto_machine m;

        machine_init(&m, 16 * MIB);
        test_patch(a, ELF_TEST_XEN_NOTE + 8, 17, 4);
        load_fails(&m, a, "32-bit ELF file has no PVH note");
}

static void
initramfs_fails(struct machine *m,
                const GByteArray *kernel,
                const GByteArray *initramfs,
                const char *message) {
        g_autoptr(GError) error = NULL;
        struct boot_entry entry;

        g_assert_false(load(m, kernel, initramfs, NULL, &entry, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_IMAGE);
        g_assert_true(g_str_has_prefix(error->message, "initramfs: "));
        g_assert_nonnull(strstr(error->message, message));
}

static void test_initramfs(void) {
        g_autoptr(GByteArray) kernel = test_bzimage(0x20f);
        g_autoptr(GByteArray) elf = test_elf64();
        g_autoptr(GByteArray) empty = g_byte_array_new();
        g_autoptr(GByteArray) big = archive(11 * MIB); /* exactly what is left above the kernel */
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        initramfs_fails(&m, kernel, empty, "empty");
        load_ok(&m, kernel, big, NULL, &entry);
        g_assert_cmphex(peek(&m, 0x7218, 4), ==, 5 * MIB);

        test_patch(kernel, 0x260, BZ_TEST_INIT_SIZE + 1, 4);
        initramfs_fails(&m, kernel, big, "do not fit between the kernel, which ends at 0x500001");

        test_patch(kernel, 0x260, BZ_TEST_INIT_SIZE, 4);
        test_patch(kernel, 0x22c, 8 * MIB - 1, 4); /* the kernel's own limit, inclusive */
        initramfs_fails(&m, kernel, big, "and the highest address possible, 0x800000");
        g_byte_array_set_size(big, 3 * MIB);
        load_ok(&m, kernel, big, NULL, &entry);
        g_assert_cmphex(peek(&m, 0x7218, 4), ==, 5 * MIB);
        test_patch(kernel, 0x22c, 0, 4);
        initramfs_fails(&m, kernel, big, "do not fit");

        test_patch(elf, ELF_TEST_PHDRS + 40, 12 * MIB, 8);
        initramfs_fails(&m, elf, big, "which ends at 0xe00000");
}

static void test_cmdline(void) {
        g_autoptr(GByteArray) elf = test_elf64();
        g_autoptr(GByteArray) kernel = test_bzimage(0x20f);
        g_autofree char *text = g_strnfill(0x10000, 'x');
        g_autoptr(GError) error = NULL;
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        g_assert_false(load(&m, elf, NULL, text, &entry, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==,
                        "payload.cmdline: 65536 bytes are too many; the limit is 65535");
        g_clear_error(&error);
        text[0xffff] = 0;
        load_ok(&m, elf, NULL, text, &entry);
        check_cmdline(&m, text);

        text[2048] = 0;
        g_assert_false(load(&m, kernel, NULL, text, &entry, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "payload.cmdline: 2048 bytes"));
        g_assert_nonnull(strstr(error->message, "at most 2047"));
        text[2047] = 0;
        load_ok(&m, kernel, NULL, text, &entry);
        check_cmdline(&m, text);
}

static void test_which_payload(void) {
        g_autoptr(GByteArray) elf = test_elf64();
        autofd fd = test_image_fd(elf), junk = test_fd("junk", 4);
        struct boot_payload p = { .kernel_fd = -1, .firmware_fd = -1, .initramfs_fd = -1 };
        g_autoptr(GError) error = NULL;
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 16 * MIB);
        g_assert_false(arch_load_payload(m.mem, &m.layout, &p, &entry, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_clear_error(&error);
        p.kernel_fd = p.firmware_fd = fd;
        g_assert_false(arch_load_payload(m.mem, &m.layout, &p, &entry, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_clear_error(&error);

        p = (struct boot_payload){ .kernel_fd = -1, .firmware_fd = junk, .initramfs_fd = -1 };
        g_assert_false(arch_load_payload(m.mem, &m.layout, &p, &entry, &error));
        g_assert_cmpstr(error->message, ==, "firmware: neither an ELF file nor a bzImage");
        g_clear_error(&error);

        /* firmware takes neither command line nor initramfs */
        p.firmware_fd = fd;
        p.initramfs_fd = junk;
        p.cmdline = "quiet";
        arch_load_payload(m.mem, &m.layout, &p, &entry, &error);
        g_assert_no_error(error);
        g_assert_cmpint(entry.protocol, ==, BOOT_PVH);
        g_assert_cmphex(peek(&m, 0x600c, 4), ==, 0);
        check_cmdline(&m, "");
        g_assert_cmphex(peek(&m, 0x6020, 8), ==, 0);
}

static void test_no_memory(void) {
        g_autoptr(GByteArray) elf = test_elf64();
        struct machine m;

        machine_init(&m, 16 * MIB);
        gmem_free(m.mem);
        m.mem = gmem_new(); /* less than the layout promises */
        load_fails(&m, elf, "outside of guest memory");
        machine_clear(&m);
}

static void test_names(void) {
        for (int p = 0; p < BOOT_PROTOCOL_MAX; p++) {
                g_assert_nonnull(boot_protocol_to_string(p));
                for (int q = 0; q < p; q++)
                        g_assert_cmpstr(boot_protocol_to_string(p), !=, boot_protocol_to_string(q));
        }
        g_assert_null(boot_protocol_to_string(BOOT_PROTOCOL_MAX));
        g_assert_null(boot_protocol_to_string(BOOT_PROTOCOL_INVALID));
}

static void damage(GRand *r, GByteArray *a, size_t headers) {
        static const uint64_t edges[] = {
                0,
                1,
                0x7f,
                0xff,
                0x7fff,
                0xffff,
                0x7fffffff,
                0x80000000,
                UINT32_MAX,
                UINT64_MAX >> 1,
                1ull << 63,
                UINT64_MAX,
                0x1000,
                0x100000,
                0xfffff,
                UINT64_MAX - 7,
                0xfffffffffff,
                16 * MIB,
        };

        for (int n = g_rand_int_range(r, 1, 5); n > 0; n--) {
                unsigned width = 1u << g_rand_int_range(r, 0, 4);
                size_t at = (size_t) g_rand_int_range(r, 0, (gint32) (headers - width));

                if (g_rand_boolean(r))
                        test_patch(a, at & ~(width - 1), edges[g_rand_int_range(r, 0, 18)], width);
                else
                        a->data[at] ^= (uint8_t) (1u << g_rand_int_range(r, 0, 8));
        }
        if (g_rand_int_range(r, 0, 10) == 0)
                g_byte_array_set_size(a, (guint) g_rand_int_range(r, 1, (gint32) a->len + 1));
}

static void check_damaged(struct machine *m, GRand *r, GByteArray *a, size_t headers, int fd) {
        struct boot_payload p = {
                .kernel_fd = fd,
                .firmware_fd = -1,
                .initramfs_fd = g_rand_boolean(r) ? fd : -1,
                .cmdline = "quiet",
        };
        g_autoptr(GError) error = NULL;
        struct boot_entry entry;

        damage(r, a, headers);
        test_refill(fd, a->data, a->len);
        if (arch_load_payload(m->mem, &m->layout, &p, &entry, &error)) {
                g_assert_no_error(error);
                g_assert_nonnull(gmem_map(m->mem, GADDR(entry.pc), 1, /* for_write= */ false));
                g_assert_nonnull(boot_protocol_to_string(entry.protocol));
        } else {
                g_assert_nonnull(error);
                g_assert_true(error->domain == HV_ERROR);
                g_assert_nonnull(strstr(error->message, ": "));
        }
        g_byte_array_unref(a);
}

static void test_damaged(void) {
        g_autoptr(GRand) r = g_rand_new_with_seed(20);
        autofd fd = test_fd(NULL, 0);
        unsigned n = g_test_slow() ? 200000 : 4000;
        auto_machine m;

        machine_init(&m, 8 * MIB);
        for (unsigned i = 0; i < n; i++) {
                check_damaged(&m, r, test_elf64(), ELF_TEST_NOTES_END, fd);
                check_damaged(&m, r, test_elf32(), ELF_TEST_NOTES_END, fd);
                check_damaged(&m, r, test_bzimage((uint16_t) (0x206 + i % 10)), 0x270, fd);
        }
}

/* CHV_TEST_KERNEL names a real kernel, bzImage or vmlinux. */
static void test_real_kernel(void) {
        const char *path = g_getenv("CHV_TEST_KERNEL");
        struct boot_payload p = { .firmware_fd = -1, .initramfs_fd = -1, .cmdline = "quiet" };
        g_autoptr(GError) error = NULL;
        struct boot_entry entry;
        auto_machine m;

        machine_init(&m, 512 * MIB);
        if (!path) {
                g_test_skip("CHV_TEST_KERNEL is not set");
                return;
        }
        autofd fd = open(path, O_RDONLY | O_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        p.kernel_fd = p.initramfs_fd = fd;
        arch_load_payload(m.mem, &m.layout, &p, &entry, &error);
        g_assert_no_error(error);
        g_assert_cmpint(entry.protocol, !=, BOOT_FREESTANDING);
        g_test_message("%s at 0x%" G_GINT64_MODIFIER "x", boot_protocol_to_string(entry.protocol),
                       entry.pc);
        g_assert_cmphex(peek(&m, entry.pc, 8), !=, 0);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/payload/which", test_which_payload);
        g_test_add_func("/payload/no-memory", test_no_memory);
        g_test_add_func("/payload/cmdline", test_cmdline);
        g_test_add_func("/payload/initramfs", test_initramfs);
        g_test_add_func("/payload/names", test_names);
        g_test_add_func("/payload/elf/place", test_elf_place);
        g_test_add_func("/payload/elf/corners", test_elf_corners);
        g_test_add_func("/payload/elf/32-without-note", test_elf32_without_note);
        g_test_add_func("/payload/elf/pvh", test_pvh);
        g_test_add_func("/payload/elf/pvh-alone", test_pvh_alone);
        g_test_add_func("/payload/elf/vmlinux", test_vmlinux);
        g_test_add_func("/payload/bzimage/wrong", test_bzimage_wrong);
        g_test_add_func("/payload/bzimage/cut", test_bzimage_cut);
        g_test_add_func("/payload/bzimage/sizes", test_bzimage_sizes);
        g_test_add_func("/payload/bzimage/place", test_bzimage_place);
        g_test_add_func("/payload/bzimage/32", test_bzimage_32);
        g_test_add_func("/payload/bzimage/versions", test_bzimage_versions);
        g_test_add_func("/payload/damaged", test_damaged);
        g_test_add_func("/payload/real-kernel", test_real_kernel);
        return g_test_run();
}
