/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the image and ELF readers take nothing on trust: files cut at every byte, every header
 * field wrong in turn with the message that names it, other formats called by their name; and that
 * what a right file says is read as it says it.
 */

#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "hypervisor/loader/elf.h"
#include "images.h"

#include <fcntl.h>
#include <string.h>

static bool parse(const GByteArray *a, struct elf *ret, GError **error) {
        autofd fd = test_image_fd(a);
        struct image img;

        return image_init(&img, "kernel", fd, error) && elf_parse(&img, ret, error);
}

static void expect(GError *error, const char *part) {
        g_assert_error(error, HV_ERROR, HV_ERROR_IMAGE);
        if (!g_str_has_prefix(error->message, "kernel: ") || !strstr(error->message, part))
                g_error("message \"%s\" does not tell \"%s\"", error->message, part);
}

static void test_not_a_file(void) {
        g_autoptr(GError) error = NULL;
        struct image img;
        int pipe_fds[2];

        g_assert_false(image_init(&img, "kernel", -1, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_clear_error(&error);

        g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
        autofd in = pipe_fds[0], out = pipe_fds[1];
        g_assert_cmpint(out, >=, 0);
        g_assert_false(image_init(&img, "kernel", in, &error));
        expect(error, "not a regular file");
        g_clear_error(&error);

        autofd empty = test_fd(NULL, 0);
        g_assert_false(image_init(&img, "kernel", empty, &error));
        expect(error, "the file is empty");
}

static void test_bounds(void) {
        autofd fd = test_fd("0123456789", 10);
        g_autoptr(GError) error = NULL;
        struct image img;
        char buf[16];

        g_assert_true(image_init(&img, "kernel", fd, &error));
        g_assert_true(image_read_part(&img, "x", 10, buf, 0, &error));
        g_assert_true(image_read_part(&img, "x", 0, buf, 10, &error));
        g_assert_false(image_read_part(&img, "the tail", 1, buf, 10, &error));
        expect(error,
               "the tail (10 bytes at offset 1) lies beyond the end of the file, which has 10");
        g_clear_error(&error);
        g_assert_false(image_read_part(&img, "x", UINT64_MAX, buf, 2, &error));
        expect(error, "beyond the end");
        g_clear_error(&error);
        g_assert_false(image_read_part(&img, "x", 2, buf, UINT64_MAX, &error));
        expect(error, "beyond the end");
        g_clear_error(&error);

        test_refill(fd, "012", 3); /* shrinks after its size was taken */
        g_assert_false(image_read_part(&img, "the tail", 0, buf, 10, &error));
        expect(error, "the file was cut while the tail was read");
}

static void test_formats(void) {
        static const struct {
                size_t at;
                const char *bytes, *message;
        } cases[] = {
                { 0, "\x1f\x8b\x08", "compressed with gzip" },
                { 0, "BZh9", "bzip2" },
                { 0, "\xfd\x37zXZ", "xz" },
                { 0, "\x28\xb5\x2f\xfd", "zstd" },
                { 0, "\x02\x21\x4c\x18", "lz4" },
                { 0, "\x27\x05\x19\x56", "U-Boot" },
                { 0, "QFI\xfb", "qcow2" },
                { 0, "070701", "cpio" },
                { 0, "!<arch>\n", "archive" },
                { 0, "MZ", "an EFI application" },
                { 4, "zimg", "compressed EFI kernel" },
                { 0x38, "ARM\x64", "AArch64" },
                { 0x38, "RSC\x05", "RISC-V" },
                { 0x1fe, "\x55\xaa", "boot sector" },
                { 0, "hello", "neither an ELF file nor a bzImage" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                char bytes[0x300] = {};
                g_autoptr(GError) error = NULL;
                struct image img;

                memcpy(bytes + cases[i].at, cases[i].bytes, strlen(cases[i].bytes));
                autofd fd = test_fd(bytes, sizeof(bytes));
                g_assert_true(image_init(&img, "kernel", fd, &error));
                g_assert_cmpint(image_identify(&img, &error), ==, IMAGE_INVALID);
                expect(error, cases[i].message);
        }
}

static void test_one_byte(void) {
        autofd fd = test_fd("\x7f", 1);
        g_autoptr(GError) error = NULL;
        struct image img;

        g_assert_true(image_init(&img, "kernel", fd, &error));
        g_assert_cmpint(image_identify(&img, &error), ==, IMAGE_INVALID);
        expect(error, "neither");
}

static void test_right_64(void) {
        g_autoptr(GByteArray) a = test_elf64();
        g_autofree struct elf *elf = g_new(struct elf, 1);
        g_autoptr(GError) error = NULL;

        parse(a, elf, &error);
        g_assert_no_error(error);
        g_assert_true(elf->is_64);
        g_assert_true(elf->has_pvh);
        g_assert_true(elf->is_linux);
        g_assert_cmphex(elf->pvh_entry, ==, ELF_TEST_PVH_ENTRY);
        g_assert_cmphex(elf->entry, ==, ELF_TEST_ENTRY);
        g_assert_cmpuint(elf->n_segments, ==, 2);
        g_assert_cmphex(elf->segments[0].addr, ==, 0x200000);
        g_assert_cmphex(elf->segments[0].size, ==, 0x2000);
        g_assert_cmphex(elf->segments[0].file_size, ==, 0x100);
        g_assert_cmphex(elf->segments[1].offset, ==, ELF_TEST_DATA);
        g_assert_true(elf_contains(elf, 0x200000));
        g_assert_true(elf_contains(elf, 0x201fff));
        g_assert_false(elf_contains(elf, 0x202000));
        g_assert_false(elf_contains(elf, 0x1fffff));
}

static void test_right_32(void) {
        g_autoptr(GByteArray) a = test_elf32();
        g_autofree struct elf *elf = g_new(struct elf, 1);
        g_autoptr(GError) error = NULL;

        test_patch(a, ELF_TEST_XEN_NOTE + 4, 4, 4); /* a 4-byte entry point, as 32-bit files have */
        test_patch(a, ELF_TEST_PHDRS + 2 * 32 + 16, ELF_TEST_XEN_NOTE + 20 - ELF_TEST_NOTES, 4);
        parse(a, elf, &error);
        g_assert_no_error(error);
        g_assert_false(elf->is_64);
        g_assert_true(elf->has_pvh);
        g_assert_false(elf->is_linux);
        g_assert_cmphex(elf->pvh_entry, ==, ELF_TEST_PVH_ENTRY);
        g_assert_cmpuint(elf->n_segments, ==, 2);
        g_assert_cmphex(elf->segments[0].size, ==, 0x2000);
}

enum {
        LOAD0 = ELF_TEST_PHDRS,
        NOTE2 = ELF_TEST_PHDRS + 2 * 56,
};

static void test_wrong_fields(void) {
        static const struct {
                size_t at;
                unsigned n;
                uint64_t value;
                const char *message;
        } cases[] = {
                { 0, 1, 0, "not an ELF file" },
                { 4, 1, 3, "ELF class 3" },
                { 4, 1, 0, "ELF class 0" },
                { 5, 1, 2, "not little-endian" },
                { 6, 1, 7, "ELF version 7" },
                { 16, 2, 1, "not an executable (type 1)" },
                { 18, 2, 183, "AArch64" },
                { 18, 2, 243, "RISC-V" },
                { 18, 2, 3, "another machine (3)" },
                { 32, 8, UINT64_MAX, "program headers are at offset" },
                { 32, 8, UINT64_MAX - 55, "program headers are at offset" },
                { 32, 8, ELF_TEST_SIZE - 100, "ELF program header 1" },
                { 54, 2, 32, "program headers of 32 bytes, not 56" },
                { 56, 2, 0, "0 ELF program headers" },
                { 56, 2, 129, "129 ELF program headers" },
                { 56, 2, 0xffff, "65535 ELF program headers" },
                { LOAD0 + 8, 8, ELF_TEST_SIZE, "ELF segment 0 (256 bytes at offset 1152)" },
                { LOAD0 + 8, 8, UINT64_MAX, "beyond the end" },
                { LOAD0 + 24, 8, UINT64_MAX - 0xfff, "wraps around" },
                { LOAD0 + 32, 8, 0x2001, "in the file but only 8192 in memory" },
                { LOAD0 + 32, 8, UINT64_MAX, "in the file but only" },
                { LOAD0 + 40, 8, 0xff, "in the file but only 255" },
                { LOAD0 + 40, 8, UINT64_MAX, "wraps around" },
                { LOAD0 + 56 + 32, 8, 0, NULL },
                { NOTE2 + 8, 8, ELF_TEST_SIZE - 8, "ELF note segment 2 (80 bytes at offset 1144)" },
                { NOTE2 + 8, 8, UINT64_MAX, "ELF note segment 2" },
                { NOTE2 + 32, 8, (1 << 20) + 1, "at most 1048576 are read" },
                { NOTE2 + 32, 8, UINT64_MAX, "at most 1048576 are read" },
                { ELF_TEST_NOTES, 4, UINT32_MAX, "the note at byte 0 of ELF note segment 2 runs" },
                { ELF_TEST_NOTES + 4, 4, UINT32_MAX, "the note at byte 0" },
                { ELF_TEST_XEN_NOTE + 4, 4, 0x1000, "the note at byte 36" },
                { ELF_TEST_XEN_NOTE + 4, 4, 5, "the PVH note has 5 bytes" },
                { ELF_TEST_XEN_NOTE + 4, 4, 0, "the PVH note has 0 bytes" },
                { ELF_TEST_XEN_NOTE + 16, 8, 1ull << 32, "above 4 GiB" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GByteArray) a = test_elf64();
                g_autofree struct elf *elf = g_new(struct elf, 1);
                g_autoptr(GError) error = NULL;

                test_patch(a, cases[i].at, cases[i].value, cases[i].n);
                g_assert_true(parse(a, elf, &error) == !cases[i].message);
                if (cases[i].message)
                        expect(error, cases[i].message);
        }
}

static void test_nothing_to_load(void) {
        g_autoptr(GByteArray) a = test_elf64();
        g_autofree struct elf *elf = g_new(struct elf, 1);
        g_autoptr(GError) error = NULL;

        test_patch(a, LOAD0, 4, 4);
        test_patch(a, LOAD0 + 32, 0, 8);
        test_patch(a, LOAD0 + 56 + 32, 0, 8); /* the other load segment is empty */
        test_patch(a, LOAD0 + 56 + 40, 0, 8);
        g_assert_false(parse(a, elf, &error));
        expect(error, "nothing to load");
}

/* Every length of the file: an error below the last segment's end, never a crash. */
static void test_cut(void) {
        for (size_t len = 1; len <= ELF_TEST_SIZE; len++) {
                g_autoptr(GByteArray) a = test_elf64();
                g_autofree struct elf *elf = g_new(struct elf, 1);
                g_autoptr(GError) error = NULL;

                g_byte_array_set_size(a, (guint) len);
                g_assert_true(parse(a, elf, &error) == (len == ELF_TEST_SIZE));
                if (len < ELF_TEST_SIZE)
                        expect(error, "beyond the end");
        }
}

static void test_notes(void) {
        g_autoptr(GByteArray) a = test_elf64();
        g_autofree struct elf *elf = g_new(struct elf, 1);
        g_autoptr(GError) error = NULL;

        test_patch(a, ELF_TEST_XEN_NOTE + 8, 17, 4); /* another Xen note */
        g_assert_true(parse(a, elf, &error));
        g_assert_false(elf->has_pvh);
        g_assert_true(elf->is_linux);

        test_patch(a, ELF_TEST_XEN_NOTE + 8, 18, 4);
        test_patch(a, ELF_TEST_XEN_NOTE + 12, 'x', 1); /* "xen": another name */
        g_assert_true(parse(a, elf, &error));
        g_assert_false(elf->has_pvh);

        test_patch(a, ELF_TEST_LINUX_NOTE + 12, 'l', 1);
        g_assert_true(parse(a, elf, &error));
        g_assert_false(elf->is_linux);

        /* a few bytes after the last note are padding */
        test_patch(a, NOTE2 + 32, ELF_TEST_NOTES_END - ELF_TEST_NOTES + 8, 8);
        g_assert_true(parse(a, elf, &error));
        g_assert_no_error(error);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/image/not-a-file", test_not_a_file);
        g_test_add_func("/image/bounds", test_bounds);
        g_test_add_func("/image/formats", test_formats);
        g_test_add_func("/image/one-byte", test_one_byte);
        g_test_add_func("/elf/wrong-fields", test_wrong_fields);
        g_test_add_func("/elf/nothing-to-load", test_nothing_to_load);
        g_test_add_func("/elf/cut", test_cut);
        g_test_add_func("/elf/notes", test_notes);
        g_test_add_func("/elf/right-64", test_right_64);
        g_test_add_func("/elf/right-32", test_right_32);
        return g_test_run();
}
