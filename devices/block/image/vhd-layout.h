/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/image.h"

/*
 * What a VHD file is made of ("Virtual Hard Disk Image Format Specification", 1.0). All fields are big-endian. A fixed one is the disk's bytes and
 * a footer; a dynamic one is a copy of the footer, the header, the block table, blocks (a bitmap of sectors, then data) and the footer.
 */

#define VHD_SECTOR 512u
#define VHD_COOKIE "conectix"
#define VHD_HEADER_COOKIE "cxsparse"
#define VHD_VERSION 0x00010000u
#define VHD_UNUSED 0xffffffffu /* an entry of the block table */
#define VHD_BLOCK (2u * 1024 * 1024)
#define VHD_BLOCK_MIN (16u * 1024)
#define VHD_BLOCK_MAX (256u * 1024 * 1024)
#define VHD_SIZE_MAX (2040ull << 30)
#define VHD_ENTRIES_MAX (4u * 1024 * 1024)

enum vhd_type {
        VHD_FIXED = 2,
        VHD_DYNAMIC = 3,
        VHD_DIFFERENCING = 4
};

struct vhd_footer {
        char cookie[8];
        uint32_t features; /* 2: reserved, always set */
        uint32_t version;
        uint64_t header_offset; /* all ones for fixed */
        uint32_t timestamp;     /* seconds since 2000-01-01 */
        char creator[4];
        uint32_t creator_version;
        char creator_os[4];
        uint64_t original_size, size; /* bytes */
        uint16_t cylinders;
        uint8_t heads, sectors;
        uint32_t type;
        uint32_t checksum;
        uint8_t id[16];
        uint8_t saved_state;
        uint8_t reserved[427];
} __attribute__((packed));

struct vhd_header {
        char cookie[8];
        uint64_t next; /* all ones */
        uint64_t table_offset;
        uint32_t version;
        uint32_t entries;
        uint32_t block_size;
        uint32_t checksum;
        uint8_t parent[984]; /* of differencing ones */
} __attribute__((packed));

_Static_assert(sizeof(struct vhd_footer) == 512, "footer of the specification");
_Static_assert(sizeof(struct vhd_header) == 1024, "dynamic disk header of the specification");

struct vhd {
        struct image img; /* first */
        struct vhd_footer footer;

        /* Of a dynamic one. */
        bool dynamic;
        uint64_t header_offset, table_offset;
        uint32_t block_size, bitmap_size; /* bytes */
        uint32_t header_entries;          /* room in the block table */
        uint32_t entries;                 /* that the disk's size needs */
        uint32_t *table;                  /* sectors of the blocks' bitmaps */
        uint8_t *full;                    /* a bit a block: its bitmap is known to be all ones */
        uint8_t *dirty;                   /* a bit for each 128 entries of the table */
        uint64_t end;                     /* of the last block; the footer's place */
};

#define VHD_ENTRIES_PER_SECTOR (VHD_SECTOR / 4)

/* One's complement of the sum of all bytes but the checksum's own. */
uint32_t vhd_checksum(const void *data, size_t len, size_t checksum_at);

/* A footer of now for a disk of size bytes, without its checksum; and that. */
void vhd_footer_fill(struct vhd_footer *f, enum vhd_type type, uint64_t size);
void vhd_footer_sign(struct vhd_footer *f);
bool vhd_footer_is_good(const struct vhd_footer *f);

uint32_t vhd_bitmap_size(uint32_t block_size);

/* Where a block's data lies; it has some. */
uint64_t vhd_block_at(const struct vhd *v, uint32_t block);

/* vhd-change.c */
bool vhd_create(struct image_file *file,
                uint64_t size,
                struct image_options *options,
                GError **error);
bool vhd_resize(struct image *img, uint64_t size, GError **error);
bool vhd_check(struct image *img, struct image_check *check, GError **error);

extern const struct image_option_spec vhd_options[];
