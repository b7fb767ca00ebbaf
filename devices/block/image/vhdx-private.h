/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <string.h>

#include "devices/block/image/image.h"

/*
 * VHDX ([MS-VHDX]) in some files: headers, regions and metadata (vhdx-header.c), the log (vhdx-log.c), making, another size and checking
 * (vhdx-create.c, vhdx-resize.c, vhdx-check.c), and the format itself (vhdx.c).
 */

#define VHDX_MIB (1024u * 1024u)
#define VHDX_PAGE 4096u /* what the log and the table are written in */
#define VHDX_PAGE_ENTRIES (VHDX_PAGE / sizeof(uint64_t))
#define VHDX_TABLE_MAX (64u * VHDX_MIB) /* bytes of the block table */
#define VHDX_SIZE_MAX (64ull << 40)
#define VHDX_COMMIT_MAX                                                                            \
        126u /* pages: descriptors fill the first page of an entry, and two entries fit in the smallest log */

#define VHDX_HEADER_AT(slot) ((uint64_t) (64u * 1024u) * (1u + (slot)))
#define VHDX_REGIONS_AT(copy) ((uint64_t) (64u * 1024u) * (3u + (copy)))
#define VHDX_REGIONS_LEN (64u * 1024u)

enum vhdx_state {
        VHDX_NOT_PRESENT = 0,
        VHDX_UNDEFINED = 1,
        VHDX_ZERO = 2,
        VHDX_UNMAPPED = 3,
        VHDX_PRESENT = 6,
        VHDX_PARTIAL = 7, /* of differences to another image */
};

#define VHDX_STATE(entry) ((enum vhdx_state)((entry) &7))
#define VHDX_PLACE(entry) ((entry) & ~UINT64_C(0xfffff))

struct vhdx_guid {
        uint8_t bytes[16];
};

extern const struct vhdx_guid vhdx_guid_none;
extern const struct vhdx_guid vhdx_region_bat, vhdx_region_metadata;
extern const struct vhdx_guid vhdx_item_file, vhdx_item_size, vhdx_item_id, vhdx_item_logical,
                vhdx_item_physical, vhdx_item_parent;

struct vhdx_guid vhdx_guid_random(void);

static inline bool vhdx_guid_equal(const struct vhdx_guid *a, const struct vhdx_guid *b) {
        return memcmp(a, b, sizeof(*a)) == 0;
}

/* What a log says that has not reached its place. */
struct vhdx_patch {
        uint64_t at, len;
        uint8_t *data; /* NULL: zeros */
};

struct vhdx {
        struct image img;
        struct image_file *file;

        /* The header in use. */
        unsigned slot;
        uint64_t sequence;
        struct vhdx_guid file_id, data_id, log_id;
        uint32_t log_len;
        uint64_t log_at;

        uint64_t bat_at, metadata_at;
        uint32_t bat_len, metadata_len;

        uint32_t block, sector, physical; /* bytes */
        bool fixed;
        uint64_t size_at; /* in the file: where the size of the disk stands */
        uint64_t ratio;   /* blocks before an entry that is none's */
        uint32_t n_blocks;

        uint64_t *bat; /* n_pages * VHDX_PAGE_ENTRIES entries */
        uint32_t n_pages;
        uint8_t *dirty; /* for each page */
        uint32_t n_dirty;

        uint64_t log_sequence;
        uint32_t log_next; /* where in the log the next entry goes */
        GArray *patches;   /* struct vhdx_patch; only while it is opened */
        bool replayed;     /* there was something in the log */
};

static inline uint16_t vhdx_get16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static inline uint32_t vhdx_get32(const uint8_t *p) {
        return (uint32_t) vhdx_get16(p) | (uint32_t) vhdx_get16(p + 2) << 16;
}

static inline uint64_t vhdx_get64(const uint8_t *p) {
        return vhdx_get32(p) | (uint64_t) vhdx_get32(p + 4) << 32;
}

static inline void vhdx_put32(uint8_t *p, uint32_t v) {
        for (unsigned i = 0; i < 4; i++)
                p[i] = (uint8_t) (v >> 8 * i);
}

static inline void vhdx_put64(uint8_t *p, uint64_t v) {
        vhdx_put32(p, (uint32_t) v);
        vhdx_put32(p + 4, (uint32_t) (v >> 32));
}

/* Sets HV_ERROR_IMAGE with "the VHDX…" in front. Returns false. */
bool vhdx_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The index of a block's entry in the table; how many entries there are for n blocks. */
static inline uint64_t vhdx_entry_of(uint64_t ratio, uint64_t block) {
        return block + block / ratio;
}

/* vhdx-header.c */
bool vhdx_read_header(struct vhdx *v, GError **error);
bool vhdx_read_regions(struct vhdx *v, GError **error);
/* A valid table of regions, VHDX_REGIONS_LEN bytes. 0 or negative errno; -EBADMSG: there is none. */
int vhdx_load_regions(struct vhdx *v, uint8_t *table);
bool vhdx_read_metadata(struct vhdx *v, GError **error);
/* Writes the fields above into the other slot. 0 or negative errno. The caller syncs before, what has to be. */
int vhdx_write_header(struct vhdx *v);
/* How many blocks a disk has, and pages its table. */
uint32_t vhdx_blocks_for(const struct vhdx *v, uint64_t size);
uint32_t vhdx_pages_for(const struct vhdx *v, uint64_t size);

/* vhdx-log.c */
/* Reads what is in the log, if that is in use, as patches. */
bool vhdx_read_log(struct vhdx *v, GError **error);
/* Brings the patches to their places and puts the log out of use. */
bool vhdx_replay(struct vhdx *v, GError **error);
/* As image_file_read(), with the patches over it. */
int vhdx_read_patched(struct vhdx *v, uint64_t offset, void *buf, size_t len);
void vhdx_forget_patches(struct vhdx *v);
/* Pages of the file are changed, all or none, whenever the power goes; what was written before is on stable storage first.
 * n: 1 to VHDX_COMMIT_MAX. 0 or negative errno. */
int vhdx_commit(struct vhdx *v, const uint64_t *at, const uint8_t *pages, unsigned n);

/* vhdx.c */
/* Reads the table for a disk of the image's size. */
bool vhdx_read_table(struct vhdx *v, GError **error);
/* Whether a block may lie there: in no region, and not beyond what a file can have. */
bool vhdx_is_good_place(const struct vhdx *v, uint64_t at);
/* Gives a block a place at the end of the file. */
int vhdx_place_block(struct vhdx *v, uint32_t block);
int vhdx_flush(struct image *img);
/* After a flush: nothing is left in the log. */
int vhdx_end_log(struct vhdx *v);
/* The table's page as the file has it. */
void vhdx_fill_page(const struct vhdx *v, uint32_t page, uint8_t *out);
void vhdx_mark(struct vhdx *v, uint64_t entry);

/* vhdx-resize.c */
bool vhdx_resize(struct image *img, uint64_t size, GError **error);

/* vhdx-create.c, vhdx-check.c */
extern const struct image_option_spec vhdx_options[];
bool vhdx_create(
                struct image_file *file,
                uint64_t size,
                struct image_options *options,
                GError **error);
bool vhdx_check(struct image *img, struct image_check *check, GError **error);
