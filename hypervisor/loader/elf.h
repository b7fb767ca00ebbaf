/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/loader/image.h"

/*
 * Executables in ELF for x86, 32 or 64 bits wide: where their segments go and how they want to be
 * entered. Parsing looks only at the file; whether the addresses suit the machine is the caller's question.
 */

#define ELF_SEGMENTS_MAX 128u

struct elf_segment {
        unsigned index; /* of the program header, for messages */
        uint64_t offset, file_size;
        uint64_t addr, size; /* physical; size >= file_size, > 0 and without wrap-around */
};

struct elf {
        bool is_64;
        uint64_t entry;
        bool has_pvh; /* note "Xen", type 18 */
        uint32_t pvh_entry;
        bool is_linux; /* has a note of name "Linux" */
        struct elf_segment segments[ELF_SEGMENTS_MAX];
        unsigned n_segments;
};

/* All but the segments' content. */
bool elf_parse(const struct image *img, struct elf *ret, GError **error);

/* Copies the segments and zeroes what the file does not fill. */
bool elf_load(const struct image *img,
              const struct elf *elf,
              const struct gmem *mem,
              GError **error);

/* Whether addr lies in a segment. */
bool elf_contains(const struct elf *elf, uint64_t addr);
