/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ELF reader alone: whatever the file says, what elf_parse() lets through lies inside the file and
 * does not wrap, since the loader adds it up without looking again.
 */

#include "fuzz.h"

#include <glib.h>

#include "hypervisor/loader/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct elf elf;
        g_autoptr(GError) error = NULL;
        struct image img;

        if (!image_init(&img, "kernel", fuzz_fd(data, size), &error) ||
            !elf_parse(&img, &elf, &error)) {
                g_assert_nonnull(error);
                return 0;
        }

        g_assert_no_error(error);
        g_assert_cmpuint(elf.n_segments, >, 0);
        for (unsigned i = 0; i < elf.n_segments; i++) {
                const struct elf_segment *s = &elf.segments[i];

                g_assert_cmpuint(s->size, >, 0);
                g_assert_cmpuint(s->file_size, <=, s->size);
                g_assert_cmpuint(s->offset, <=, size);
                g_assert_cmpuint(s->file_size, <=, size - s->offset);
                g_assert_cmpuint(s->addr, <=, UINT64_MAX - s->size);
        }
        return 0;
}
