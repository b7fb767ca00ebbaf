/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Small boot images, right in every field, for tests to break. */

/* Where things are in the ELF image. */
enum {
        ELF_TEST_PHDRS = 64,    /* three: load, load, note */
        ELF_TEST_NOTES = 0x200, /* GNU, Xen, Linux */
        ELF_TEST_XEN_NOTE = 0x224,
        ELF_TEST_LINUX_NOTE = 0x23c,
        ELF_TEST_NOTES_END = 0x250,
        ELF_TEST_TEXT = 0x300, /* 0x100 bytes for 0x200000, 0x2000 in memory */
        ELF_TEST_DATA = 0x400, /* 0x80 bytes for 0x300000 */
        ELF_TEST_SIZE = 0x480,
        ELF_TEST_PVH_ENTRY = 0x200010,
        ELF_TEST_ENTRY = 0x200020,
};

GByteArray *test_elf64(void);
GByteArray *test_elf32(void);

/* Where things are in the bzImage: one sector of setup, then 0x800 bytes of kernel. */
enum {
        BZ_TEST_KERNEL = 0x400,
        BZ_TEST_KERNEL_SIZE = 0x800,
        BZ_TEST_INIT_SIZE = 0x100000,
        BZ_TEST_PREF = 0x400000,
        BZ_TEST_ALIGN = 0x200000,
};

/* 64-bit when the version is 2.12 or later. */
GByteArray *test_bzimage(uint16_t version);

/* Writes n little-endian bytes. */
void test_patch(GByteArray *image, size_t at, uint64_t v, unsigned n);

/* A memfd that holds the bytes. */
int test_fd(const void *data, size_t len);
int test_image_fd(const GByteArray *image);

/* Replaces the memfd's content. */
void test_refill(int fd, const void *data, size_t len);
