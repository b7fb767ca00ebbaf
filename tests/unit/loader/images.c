/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Builds images byte by byte from the offsets in the specifications rather than from the structures
 * that the loader uses, so that a wrong offset there shows here.
 */

#include "images.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void test_patch(GByteArray *image, size_t at, uint64_t v, unsigned n) {
        uint64_t le = GUINT64_TO_LE(v);

        g_assert(at + n <= image->len);
        memcpy(image->data + at, &le, n);
}

static GByteArray *new_image(size_t size) {
        GByteArray *a = g_byte_array_new();

        g_byte_array_set_size(a, (guint) size);
        memset(a->data, 0, size);
        return a;
}

static void put_notes(GByteArray *a) {
        memcpy(a->data + ELF_TEST_NOTES, "\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU", 16);
        memcpy(a->data + ELF_TEST_XEN_NOTE, "\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen", 16);
        test_patch(a, ELF_TEST_XEN_NOTE + 16, ELF_TEST_PVH_ENTRY, 8);
        memcpy(a->data + ELF_TEST_LINUX_NOTE, "\x06\0\0\0\0\0\0\0\x00\x01\0\0Linux\0\0", 20);
}

static void put_content(GByteArray *a) {
        put_notes(a);
        memset(a->data + ELF_TEST_TEXT, 0x90, 0x100);
        memset(a->data + ELF_TEST_DATA, 0xda, 0x80);
}

static void
put_phdr64(GByteArray *a,
           unsigned i,
           uint32_t type,
           uint64_t offset,
           uint64_t addr,
           uint64_t file_size,
           uint64_t size) {
        size_t at = ELF_TEST_PHDRS + i * 56;

        test_patch(a, at, type, 4);
        test_patch(a, at + 8, offset, 8);
        test_patch(a, at + 16, 0xffffffff80000000 + addr, 8); /* virtual: not looked at */
        test_patch(a, at + 24, addr, 8);
        test_patch(a, at + 32, file_size, 8);
        test_patch(a, at + 40, size, 8);
        test_patch(a, at + 48, 4, 8);
}

GByteArray *test_elf64(void) {
        GByteArray *a = new_image(ELF_TEST_SIZE);

        memcpy(a->data, "\x7f\x45LF\x02\x01\x01", 7);
        test_patch(a, 16, 2 /* ET_EXEC */, 2);
        test_patch(a, 18, 62 /* EM_X86_64 */, 2);
        test_patch(a, 20, 1, 4);
        test_patch(a, 24, ELF_TEST_ENTRY, 8);
        test_patch(a, 32, ELF_TEST_PHDRS, 8);
        test_patch(a, 52, 64, 2);
        test_patch(a, 54, 56, 2);
        test_patch(a, 56, 3, 2);
        put_phdr64(a, 0, 1, ELF_TEST_TEXT, 0x200000, 0x100, 0x2000);
        put_phdr64(a, 1, 1, ELF_TEST_DATA, 0x300000, 0x80, 0x80);
        put_phdr64(a, 2, 4, ELF_TEST_NOTES, 0, ELF_TEST_NOTES_END - ELF_TEST_NOTES, 0);
        put_content(a);
        return a;
}

static void
put_phdr32(GByteArray *a,
           unsigned i,
           uint32_t type,
           uint32_t offset,
           uint32_t addr,
           uint32_t file_size,
           uint32_t size) {
        size_t at = ELF_TEST_PHDRS + i * 32;

        test_patch(a, at, type, 4);
        test_patch(a, at + 4, offset, 4);
        test_patch(a, at + 8, 0xc0000000 + addr, 4);
        test_patch(a, at + 12, addr, 4);
        test_patch(a, at + 16, file_size, 4);
        test_patch(a, at + 20, size, 4);
        test_patch(a, at + 28, 4, 4);
}

GByteArray *test_elf32(void) {
        GByteArray *a = new_image(ELF_TEST_SIZE);

        memcpy(a->data, "\x7f\x45LF\x01\x01\x01", 7);
        test_patch(a, 16, 2, 2);
        test_patch(a, 18, 3 /* EM_386 */, 2);
        test_patch(a, 20, 1, 4);
        test_patch(a, 24, ELF_TEST_ENTRY, 4);
        test_patch(a, 28, ELF_TEST_PHDRS, 4);
        test_patch(a, 40, 52, 2);
        test_patch(a, 42, 32, 2);
        test_patch(a, 44, 3, 2);
        put_phdr32(a, 0, 1, ELF_TEST_TEXT, 0x200000, 0x100, 0x2000);
        put_phdr32(a, 1, 1, ELF_TEST_DATA, 0x300000, 0x80, 0x80);
        put_phdr32(a, 2, 4, ELF_TEST_NOTES, 0, ELF_TEST_NOTES_END - ELF_TEST_NOTES, 0);
        put_content(a);
        return a;
}

GByteArray *test_bzimage(uint16_t version) {
        GByteArray *a = new_image(BZ_TEST_KERNEL + BZ_TEST_KERNEL_SIZE);

        memset(a->data + 0x202, 0xcc, BZ_TEST_KERNEL - 0x202); /* code after a short header */
        memset(a->data + 0x202, 0, version >= 0x20a ? 0x66 : 0x3e);
        test_patch(a, 0x1f1, 1, 1);
        test_patch(a, 0x1f4, BZ_TEST_KERNEL_SIZE / 16, 4);
        test_patch(a, 0x1fe, 0xaa55, 2);
        test_patch(a, 0x200, version >= 0x20a ? 0x66eb : 0x3eeb, 2); /* ends at 0x268 or 0x240 */
        memcpy(a->data + 0x202, "HdrS", 4);
        test_patch(a, 0x206, version, 2);
        test_patch(a, 0x211, 1, 1);
        test_patch(a, 0x214, 0x100000, 4);
        test_patch(a, 0x22c, 0x7fffffff, 4);
        test_patch(a, 0x230, BZ_TEST_ALIGN, 4);
        test_patch(a, 0x234, 1, 1);
        test_patch(a, 0x238, 2047, 4);
        if (version >= 0x20a) {
                test_patch(a, 0x258, BZ_TEST_PREF, 8);
                test_patch(a, 0x260, BZ_TEST_INIT_SIZE, 4);
        }
        if (version >= 0x20c)
                test_patch(a, 0x236, 3, 2);
        for (unsigned i = 0; i < BZ_TEST_KERNEL_SIZE; i++)
                a->data[BZ_TEST_KERNEL + i] = (uint8_t) (i * 7);
        return a;
}

void test_refill(int fd, const void *data, size_t len) {
        g_assert_cmpint(ftruncate(fd, (off_t) len), ==, 0);
        if (len > 0)
                g_assert_cmpint(pwrite(fd, data, len, 0), ==, (ssize_t) len);
}

int test_fd(const void *data, size_t len) {
        int fd = memfd_create("image", MFD_CLOEXEC);

        g_assert_cmpint(fd, >=, 0);
        test_refill(fd, data, len);
        return fd;
}

int test_image_fd(const GByteArray *image) {
        return test_fd(image->data, image->len);
}
