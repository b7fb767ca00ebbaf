/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/*
 * What a block device and its driver say to each other (virtio 1.2, 5.2). All fields are little-endian.
 */

#define VBLK_SECTOR 512u
#define VBLK_ID_LEN 20u

/* Feature bits. */
enum {
        VBLK_F_SEG_MAX = 2,
        VBLK_F_RO = 5,
        VBLK_F_BLK_SIZE = 6,
        VBLK_F_FLUSH = 9,
        VBLK_F_TOPOLOGY = 10,
        VBLK_F_CONFIG_WCE = 11,
        VBLK_F_MQ = 12,
        VBLK_F_DISCARD = 13,
        VBLK_F_WRITE_ZEROES = 14,
        VBLK_F_SECURE_ERASE = 16,
};

enum vblk_type {
        VBLK_T_IN = 0,
        VBLK_T_OUT = 1,
        VBLK_T_FLUSH = 4,
        VBLK_T_GET_ID = 8,
        VBLK_T_DISCARD = 11,
        VBLK_T_WRITE_ZEROES = 13,
        VBLK_T_SECURE_ERASE = 14,
};

enum vblk_status {
        VBLK_S_OK = 0,
        VBLK_S_IOERR = 1,
        VBLK_S_UNSUPP = 2,
};

struct vblk_header {
        uint32_t type;
        uint32_t reserved;
        uint64_t sector;
};

/* What to discard, to write zeros to or to erase. */
struct vblk_range {
        uint64_t sector;
        uint32_t num_sectors;
        uint32_t flags;
};

#define VBLK_RANGE_UNMAP 1u

/* Configuration space, up to and with the fields of secure erase. */
struct vblk_space {
        uint64_t capacity; /* sectors */
        uint32_t size_max;
        uint32_t seg_max;
        uint16_t cylinders;
        uint8_t heads, sectors;
        uint32_t blk_size;
        uint8_t physical_block_exp; /* physical block is 1 << this logical ones */
        uint8_t alignment_offset;
        uint16_t min_io_size; /* logical blocks */
        uint32_t opt_io_size; /* logical blocks */
        uint8_t writeback;
        uint8_t unused0;
        uint16_t num_queues;
        uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
        uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
        uint8_t write_zeroes_may_unmap;
        uint8_t unused1[3];
        uint32_t max_secure_erase_sectors, max_secure_erase_seg, secure_erase_sector_alignment;
} __attribute__((packed));

_Static_assert(sizeof(struct vblk_header) == 16, "header of virtio 1.2, 5.2.6");
_Static_assert(sizeof(struct vblk_range) == 16, "segment of virtio 1.2, 5.2.6");
_Static_assert(sizeof(struct vblk_space) == 72, "layout of virtio 1.2, 5.2.4");
