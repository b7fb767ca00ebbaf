/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Resource templates: buffers of descriptors that say which ports, addresses and interrupts a device
 * decodes (ACPI 6.4, 6.4). The buffer's size, an integer of variable length, stands before the
 * descriptors, so it is put there when the template ends, just before the package length.
 */

#include "hypervisor/acpi/aml-private.h"

enum {
        RES_END_TAG = 0x79,
        RES_IO = 0x47,
        RES_MEMORY32_FIXED = 0x86,
        RES_DWORD_SPACE = 0x87,
        RES_WORD_SPACE = 0x88,
        RES_INTERRUPT = 0x89,
        RES_QWORD_SPACE = 0x8a,

        SPACE_MEMORY = 0,
        SPACE_IO = 1,
        SPACE_BUS = 2,

        SPACE_FLAGS_FIXED = 3 << 2, /* producer, positive decode, minimum and maximum fixed */
        MEMORY_READ_WRITE = 1,      /* not cacheable */
        IO_ENTIRE_RANGE = 3,
};

void aml_crs(aml *a) {
        aml_put(a, 0x11 /* BufferOp */, 1);
        aml_open(a, AML_OPEN_RESOURCE);
}

void aml_crs_end(aml *a) {
        uint8_t size[9];
        uint32_t start;

        aml_put(a, RES_END_TAG, 1);
        aml_put(a, 0, 1); /* checksum 0: not checked */
        start = aml_pop(a, AML_OPEN_RESOURCE);
        aml_insert(a, start, size, aml_encode_int(a->code->len - start, size));
        aml_insert_pkg_length(a, start);
}

void aml_crs_io(aml *a, uint16_t base, uint16_t len) {
        g_assert(len >= 1 && len <= UINT8_MAX); /* the descriptor has one byte for it */

        aml_put(a, RES_IO, 1);
        aml_put(a, 1 /* decodes 16 bits */, 1);
        aml_put(a, base, 2);
        aml_put(a, base, 2);
        aml_put(a, 1 /* alignment */, 1);
        aml_put(a, len, 1);
}

void aml_crs_memory32_fixed(aml *a, uint32_t base, uint32_t len, bool writable) {
        aml_put(a, RES_MEMORY32_FIXED, 1);
        aml_put(a, 9, 2);
        aml_put(a, writable, 1);
        aml_put(a, base, 4);
        aml_put(a, len, 4);
}

static void
put_space(struct aml *a,
          uint8_t tag,
          unsigned width,
          uint8_t space,
          uint8_t space_flags,
          uint64_t first,
          uint64_t last) {
        uint64_t max = width == 8 ? UINT64_MAX : (1ull << (8 * width)) - 1;

        g_assert(first <= last && last <= max);
        g_assert(last - first < max); /* or the length would not fit */

        aml_put(a, tag, 1);
        aml_put(a, 3 + 5 * width, 2);
        aml_put(a, space, 1);
        aml_put(a, SPACE_FLAGS_FIXED, 1);
        aml_put(a, space_flags, 1);
        aml_put(a, 0, width); /* granularity */
        aml_put(a, first, width);
        aml_put(a, last, width);
        aml_put(a, 0, width); /* translation */
        aml_put(a, last - first + 1, width);
}

void aml_crs_bus_range(aml *a, uint16_t first, uint16_t last) {
        put_space(a, RES_WORD_SPACE, 2, SPACE_BUS, 0, first, last);
}

void aml_crs_dword_io(aml *a, uint16_t first, uint16_t last) {
        put_space(a, RES_WORD_SPACE, 2, SPACE_IO, IO_ENTIRE_RANGE, first, last);
}

void aml_crs_dword_memory(aml *a, uint32_t first, uint32_t last) {
        put_space(a, RES_DWORD_SPACE, 4, SPACE_MEMORY, MEMORY_READ_WRITE, first, last);
}

void aml_crs_qword_memory(aml *a, uint64_t first, uint64_t last) {
        put_space(a, RES_QWORD_SPACE, 8, SPACE_MEMORY, MEMORY_READ_WRITE, first, last);
}

void aml_crs_interrupt(aml *a, uint32_t gsi, bool level, bool active_low, bool shared) {
        aml_put(a, RES_INTERRUPT, 1);
        aml_put(a, 6, 2);
        aml_put(a, 1u /* consumer */ | !level << 1 | active_low << 2 | shared << 3, 1);
        aml_put(a, 1 /* interrupts */, 1);
        aml_put(a, gsi, 4);
}
