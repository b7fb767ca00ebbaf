/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ELF reader. Both classes are brought to one form of program header at once, so that every check
 * exists once. Each header is copied out of the file before it is looked at, and every sum is checked
 * for wrap-around where it is made; after elf_parse() the ranges can be added up freely.
 */

#include "hypervisor/loader/elf.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NOTES_MAX (1u << 20) /* bytes in one PT_NOTE segment */
#define NOTE_XEN_PHYS32_ENTRY 18u

struct file_header {
        uint16_t type, machine, phentsize, phnum;
        uint64_t entry, phoff;
};

static bool
read_header(const struct image *img, struct file_header *ret, bool *ret_64, GError **error) {
        union {
                unsigned char ident[EI_NIDENT];
                Elf32_Ehdr e32;
                Elf64_Ehdr e64;
        } h;

        if (!image_read_part(img, "the ELF identification", 0, h.ident, sizeof(h.ident), error))
                return false;
        if (memcmp(h.ident, ELFMAG, SELFMAG) != 0)
                return image_error(img, error, "not an ELF file");
        if (h.ident[EI_DATA] != ELFDATA2LSB)
                return image_error(img, error, "the ELF file is not little-endian");
        if (h.ident[EI_VERSION] != EV_CURRENT)
                return image_error(
                                img, error, "ELF version %u is not %u", h.ident[EI_VERSION],
                                EV_CURRENT);

        switch (h.ident[EI_CLASS]) {
        case ELFCLASS32:
                if (!image_read_part(img, "the ELF header", 0, &h.e32, sizeof(h.e32), error))
                        return false;
                *ret = (struct file_header){
                        .type = GUINT16_FROM_LE(h.e32.e_type),
                        .machine = GUINT16_FROM_LE(h.e32.e_machine),
                        .phentsize = GUINT16_FROM_LE(h.e32.e_phentsize),
                        .phnum = GUINT16_FROM_LE(h.e32.e_phnum),
                        .entry = GUINT32_FROM_LE(h.e32.e_entry),
                        .phoff = GUINT32_FROM_LE(h.e32.e_phoff),
                };
                *ret_64 = false;
                return true;
        case ELFCLASS64:
                if (!image_read_part(img, "the ELF header", 0, &h.e64, sizeof(h.e64), error))
                        return false;
                *ret = (struct file_header){
                        .type = GUINT16_FROM_LE(h.e64.e_type),
                        .machine = GUINT16_FROM_LE(h.e64.e_machine),
                        .phentsize = GUINT16_FROM_LE(h.e64.e_phentsize),
                        .phnum = GUINT16_FROM_LE(h.e64.e_phnum),
                        .entry = GUINT64_FROM_LE(h.e64.e_entry),
                        .phoff = GUINT64_FROM_LE(h.e64.e_phoff),
                };
                *ret_64 = true;
                return true;
        default:
                return image_error(img, error, "ELF class %u is unknown", h.ident[EI_CLASS]);
        }
}

static bool
check_header(const struct image *img, const struct file_header *h, bool is_64, GError **error) {
        size_t want = is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

        if (h->machine == EM_AARCH64)
                return image_error(img, error, "this is an ELF file for AArch64");
        if (h->machine == EM_RISCV)
                return image_error(img, error, "this is an ELF file for RISC-V");
        if (h->machine != EM_X86_64 && (is_64 || h->machine != EM_386))
                return image_error(
                                img, error, "this is an ELF file for another machine (%u)",
                                h->machine);
        if (h->type != ET_EXEC && h->type != ET_DYN)
                return image_error(
                                img, error, "this ELF file is not an executable (type %u)",
                                h->type);
        if (h->phentsize != want)
                return image_error(
                                img, error, "ELF program headers of %u bytes, not %zu",
                                h->phentsize, want);
        if (h->phnum == 0 || h->phnum > ELF_SEGMENTS_MAX)
                return image_error(
                                img, error, "%u ELF program headers are not within 1 to %u",
                                h->phnum, ELF_SEGMENTS_MAX);
        return true;
}

/* One program header, whichever class, as the 64-bit kind in host order. */
static bool read_program_header(
                const struct image *img,
                const struct file_header *h,
                bool is_64,
                unsigned i,
                Elf64_Phdr *ret,
                GError **error) {
        g_autofree char *part = g_strdup_printf("ELF program header %u", i);
        uint64_t offset = (uint64_t) i * h->phentsize;
        Elf64_Phdr p64;
        Elf32_Phdr p32;

        if (h->phoff > img->size) /* the sum below must not wrap */
                return image_error(
                                img, error,
                                "the ELF program headers are at offset %" PRIu64
                                " of a file of %" PRIu64 " bytes",
                                h->phoff, img->size);
        offset += h->phoff;
        if (is_64) {
                if (!image_read_part(img, part, offset, &p64, sizeof(p64), error))
                        return false;
                *ret = (Elf64_Phdr){
                        .p_type = GUINT32_FROM_LE(p64.p_type),
                        .p_offset = GUINT64_FROM_LE(p64.p_offset),
                        .p_paddr = GUINT64_FROM_LE(p64.p_paddr),
                        .p_filesz = GUINT64_FROM_LE(p64.p_filesz),
                        .p_memsz = GUINT64_FROM_LE(p64.p_memsz),
                        .p_align = GUINT64_FROM_LE(p64.p_align),
                };
                return true;
        }
        if (!image_read_part(img, part, offset, &p32, sizeof(p32), error))
                return false;
        *ret = (Elf64_Phdr){
                .p_type = GUINT32_FROM_LE(p32.p_type),
                .p_offset = GUINT32_FROM_LE(p32.p_offset),
                .p_paddr = GUINT32_FROM_LE(p32.p_paddr),
                .p_filesz = GUINT32_FROM_LE(p32.p_filesz),
                .p_memsz = GUINT32_FROM_LE(p32.p_memsz),
                .p_align = GUINT32_FROM_LE(p32.p_align),
        };
        return true;
}

static bool
add_segment(const struct image *img,
            struct elf *elf,
            unsigned i,
            const Elf64_Phdr *p,
            GError **error) {
        if (p->p_filesz > p->p_memsz)
                return image_error(
                                img, error,
                                "ELF segment %u has %" PRIu64 " bytes in the file but only %" PRIu64
                                " in memory",
                                i, p->p_filesz, p->p_memsz);
        if (p->p_offset > img->size || p->p_filesz > img->size - p->p_offset)
                return image_error(
                                img, error,
                                "ELF segment %u (%" PRIu64 " bytes at offset %" PRIu64
                                ") lies beyond the end of the file, which has %" PRIu64
                                " bytes; the file is cut or damaged",
                                i, p->p_filesz, p->p_offset, img->size);
        if (p->p_memsz == 0)
                return true;
        if (p->p_paddr > UINT64_MAX - p->p_memsz)
                return image_error(
                                img, error,
                                "ELF segment %u (0x%" PRIx64 " bytes at 0x%" PRIx64
                                ") wraps around the end of the address space",
                                i, p->p_memsz, p->p_paddr);

        elf->segments[elf->n_segments++] = (struct elf_segment){
                .index = i,
                .offset = p->p_offset,
                .file_size = p->p_filesz,
                .addr = p->p_paddr,
                .size = p->p_memsz,
        };
        return true;
}

static bool
take_pvh_entry(const struct image *img,
               struct elf *elf,
               const uint8_t *desc,
               uint32_t len,
               GError **error) {
        uint64_t entry = 0;

        if (len != 4 && len != 8)
                return image_error(
                                img, error, "the PVH note has %" PRIu32 " bytes, not 4 or 8", len);
        memcpy(&entry, desc, len);
        entry = GUINT64_FROM_LE(entry);
        if (entry > UINT32_MAX)
                return image_error(
                                img, error, "the PVH entry point 0x%" PRIx64 " is above 4 GiB",
                                entry);

        elf->has_pvh = true;
        elf->pvh_entry = (uint32_t) entry;
        return true;
}

static bool
read_notes(const struct image *img,
           struct elf *elf,
           unsigned i,
           const Elf64_Phdr *p,
           GError **error) {
        g_autofree char *part = g_strdup_printf("ELF note segment %u", i);
        g_autofree uint8_t *notes = NULL;
        uint64_t align = p->p_align == 8 ? 8 : 4, at = 0;

        if (p->p_filesz > NOTES_MAX)
                return image_error(
                                img, error, "%s has %" PRIu64 " bytes; at most %u are read", part,
                                p->p_filesz, NOTES_MAX);
        notes = g_malloc(p->p_filesz);
        if (!image_read_part(img, part, p->p_offset, notes, p->p_filesz, error))
                return false;

        while (p->p_filesz >= at && p->p_filesz - at >= sizeof(Elf64_Nhdr)) {
                uint64_t name, desc;
                Elf64_Nhdr n; /* the 32-bit one is the same */

                memcpy(&n, notes + at, sizeof(n));
                n.n_namesz = GUINT32_FROM_LE(n.n_namesz);
                n.n_descsz = GUINT32_FROM_LE(n.n_descsz);
                name = at + sizeof(n);
                desc = name + ((uint64_t) n.n_namesz + align - 1) / align * align;
                if (desc + n.n_descsz > p->p_filesz)
                        return image_error(
                                        img, error,
                                        "the note at byte %" PRIu64 " of %s runs over its end", at,
                                        part);
                if (n.n_namesz == 4 && memcmp(notes + name, "Xen", 4) == 0 && !elf->has_pvh &&
                    GUINT32_FROM_LE(n.n_type) == NOTE_XEN_PHYS32_ENTRY)
                        if (!take_pvh_entry(img, elf, notes + desc, n.n_descsz, error))
                                return false;
                if (n.n_namesz == 6 && memcmp(notes + name, "Linux", 6) == 0)
                        elf->is_linux = true;
                at = desc + ((uint64_t) n.n_descsz + align - 1) / align * align;
        }
        return true;
}

bool elf_parse(const struct image *img, struct elf *ret, GError **error) {
        g_autofree struct elf *elf = g_new0(struct elf, 1);
        struct file_header h = {};

        if (!read_header(img, &h, &elf->is_64, error) || !check_header(img, &h, elf->is_64, error))
                return false;

        elf->entry = h.entry;
        for (unsigned i = 0; i < h.phnum; i++) {
                Elf64_Phdr p = {};

                if (!read_program_header(img, &h, elf->is_64, i, &p, error))
                        return false;
                if (p.p_type == PT_LOAD && !add_segment(img, elf, i, &p, error))
                        return false;
                if (p.p_type == PT_NOTE && !read_notes(img, elf, i, &p, error))
                        return false;
        }
        if (elf->n_segments == 0)
                return image_error(img, error, "the ELF file has nothing to load");

        *ret = *elf;
        return true;
}

bool elf_load(const struct image *img,
              const struct elf *elf,
              const struct gmem *mem,
              GError **error) {
        for (unsigned i = 0; i < elf->n_segments; i++) {
                const struct elf_segment *s = &elf->segments[i];
                g_autofree char *part = g_strdup_printf("ELF segment %u", s->index);

                if (!image_load(img, part, s->offset, s->file_size, mem, GADDR(s->addr), error))
                        return false;
                if (s->size > s->file_size &&
                    gmem_zero(mem, GADDR(s->addr + s->file_size), s->size - s->file_size) < 0)
                        return image_error(img, error, "%s is outside of guest memory", part);
        }
        return true;
}

bool elf_contains(const struct elf *elf, uint64_t addr) {
        for (unsigned i = 0; i < elf->n_segments; i++)
                if (addr - elf->segments[i].addr < elf->segments[i].size)
                        return true;
        return false;
}
