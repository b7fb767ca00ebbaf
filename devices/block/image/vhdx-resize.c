/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Another size for a VHDX. What comes into view reads as zeros: the rest of the last block is made so, and new entries are in the
 * table before the size says that there are any. A table that outgrows its region is written anew at the end of the file, where nobody looks;
 * then one entry of the log changes both tables of regions and the size together ([MS-VHDX] 2.2.3, 2.3). The room of the old one is lost.
 *
 * One that shrinks has the size first, and loses the blocks then. The file is cut only when the log is not in use: its entries say how long
 * the file was.
 */

#include "devices/block/image/crc32c.h"
#include "devices/block/image/vhdx-private.h"
#include "hypervisor/error.h"

#include <errno.h>

#define REGION_PAGES (VHDX_REGIONS_LEN / VHDX_PAGE)
#define WRITTEN_PAGES 256u /* of a table, at a time */

static uint64_t whole_mib(uint64_t n) {
        return n + (-n & (VHDX_MIB - 1));
}

/* The rest of the last block, which may hold anything, becomes a part of the disk. */
static int zero_rest(struct vhdx *v) {
        uint64_t skip = v->img.size % v->block,
                 entry = v->bat[vhdx_entry_of(v->ratio, v->n_blocks - 1)];

        if (skip == 0 || VHDX_STATE(entry) != VHDX_PRESENT)
                return 0;
        return image_file_zero(
                        v->file, VHDX_PLACE(entry) + skip, v->block - skip, /* unmap= */ true);
}

static void grow_table(struct vhdx *v, uint64_t size) {
        uint32_t pages = vhdx_pages_for(v, size), blocks = vhdx_blocks_for(v, size);

        if (pages > v->n_pages) {
                v->bat = g_realloc(v->bat, (size_t) pages * VHDX_PAGE);
                v->dirty = g_realloc(v->dirty, pages);
                memset(v->bat + (size_t) v->n_pages * VHDX_PAGE_ENTRIES, 0,
                       (size_t) (pages - v->n_pages) * VHDX_PAGE);
                memset(v->dirty + v->n_pages, 0, pages - v->n_pages);
                v->n_pages = pages;
        }
        /* Entries of no block may have been anything. */
        for (uint32_t i = v->n_blocks; i < blocks; i++) {
                v->bat[vhdx_entry_of(v->ratio, i)] = VHDX_NOT_PRESENT;
                vhdx_mark(v, vhdx_entry_of(v->ratio, i));
        }
}

/* The page of the metadata that has the size, with another one. */
static int page_of_size(struct vhdx *v, uint64_t size, uint64_t *ret_at, uint8_t *page) {
        uint64_t at = v->size_at - v->size_at % VHDX_PAGE;
        int r = image_file_read(v->file, at, page, VHDX_PAGE);

        vhdx_put64(page + v->size_at % VHDX_PAGE, size);
        *ret_at = at;
        return r;
}

static int write_size(struct vhdx *v, uint64_t size) {
        g_autofree uint8_t *page = g_malloc(VHDX_PAGE);
        uint64_t at;
        int r = page_of_size(v, size, &at, page);

        return r < 0 ? r : vhdx_commit(v, &at, page, 1);
}

static int write_table(struct vhdx *v, uint64_t at) {
        g_autofree uint8_t *pages = g_malloc((size_t) WRITTEN_PAGES * VHDX_PAGE);
        int r = 0;

        for (uint32_t i = 0, n; r == 0 && i < v->n_pages; i += n) {
                n = MIN(v->n_pages - i, WRITTEN_PAGES);
                for (uint32_t j = 0; j < n; j++)
                        vhdx_fill_page(v, i + j, pages + (size_t) j * VHDX_PAGE);
                r = image_file_write(
                                v->file, at + (uint64_t) i * VHDX_PAGE, pages,
                                (size_t) n * VHDX_PAGE);
        }
        return r;
}

/* All that says where the table is, and how large the disk, at once. */
static int change_regions(struct vhdx *v, uint64_t bat_at, uint32_t bat_len, uint64_t size) {
        g_autofree uint8_t *pages = g_malloc(2 * VHDX_REGIONS_LEN + VHDX_PAGE);
        uint64_t at[2 * REGION_PAGES + 1];
        int r = vhdx_load_regions(v, pages);

        G_STATIC_ASSERT(G_N_ELEMENTS(at) <= VHDX_COMMIT_MAX);

        for (uint32_t i = 0; r == 0 && i < vhdx_get32(pages + 8); i++) {
                uint8_t *entry = pages + 16 + i * 32;

                if (!vhdx_guid_equal((const void *) entry, &vhdx_region_bat))
                        continue;
                vhdx_put64(entry + 16, bat_at);
                vhdx_put32(entry + 24, bat_len);
        }
        if (r == 0)
                r = page_of_size(v, size, &at[2 * REGION_PAGES], pages + 2 * VHDX_REGIONS_LEN);
        if (r < 0)
                return r;
        vhdx_put32(pages + 4, 0);
        vhdx_put32(pages + 4, crc32c(pages, VHDX_REGIONS_LEN));
        memcpy(pages + VHDX_REGIONS_LEN, pages, VHDX_REGIONS_LEN);
        for (unsigned i = 0; i < 2 * REGION_PAGES; i++)
                at[i] = VHDX_REGIONS_AT(i / REGION_PAGES) +
                        (uint64_t) (i % REGION_PAGES) * VHDX_PAGE;
        r = vhdx_commit(v, at, pages, G_N_ELEMENTS(at));
        /* It may have come into force: what is changed by the old table from now on could be lost. */
        if (r < 0)
                v->img.readonly = true;
        return r;
}

static int place_all(struct vhdx *v, uint32_t blocks) {
        int r = 0;

        for (uint32_t i = v->n_blocks; r == 0 && v->fixed && i < blocks; i++)
                r = vhdx_place_block(v, i);
        return r;
}

/* What was marked has been written, or is not to be. */
static void unmark(struct vhdx *v) {
        memset(v->dirty, 0, v->n_pages);
        v->n_dirty = 0;
        v->img.unflushed = false;
}

static uint64_t end_of_use(const struct vhdx *v) {
        uint64_t end =
                        MAX(v->log_at + v->log_len,
                            MAX(v->bat_at + v->bat_len, v->metadata_at + v->metadata_len));

        for (uint32_t i = 0; i < v->n_blocks; i++) {
                uint64_t entry = v->bat[vhdx_entry_of(v->ratio, i)];

                if (VHDX_STATE(entry) == VHDX_PRESENT)
                        end = MAX(end, VHDX_PLACE(entry) + v->block);
        }
        return end;
}

static int grow_elsewhere(struct vhdx *v, uint64_t size) {
        uint32_t blocks = vhdx_blocks_for(v, size), n_pages = v->n_pages,
                 len = (uint32_t) whole_mib((uint64_t) vhdx_pages_for(v, size) * VHDX_PAGE);
        /* A file may end within its last block. */
        uint64_t at = whole_mib(MAX(v->file->size, end_of_use(v)));
        int r = at > (uint64_t) INT64_MAX - len ? -EFBIG : image_file_truncate(v->file, at + len);

        if (r < 0)
                return r;
        grow_table(v, size);
        r = place_all(v, blocks);
        if (r == 0)
                r = write_table(v, at);
        if (r == 0)
                r = change_regions(v, at, len, size);
        unmark(v);
        if (r < 0) {
                v->n_pages = n_pages;
                return r;
        }
        v->bat_at = at;
        v->bat_len = len;
        v->n_blocks = blocks;
        return 0;
}

static int grow_in_place(struct vhdx *v, uint64_t size) {
        uint32_t blocks = vhdx_blocks_for(v, size);
        int r;

        grow_table(v, size);
        r = place_all(v, blocks);
        if (r < 0)
                return r;
        /* First the entries, of which nobody knows before the size says so. */
        v->n_blocks = blocks;
        r = vhdx_flush(&v->img);
        return r < 0 ? r : write_size(v, size);
}

static int grow(struct vhdx *v, uint64_t size) {
        bool fits = (uint64_t) vhdx_pages_for(v, size) * VHDX_PAGE <= v->bat_len;
        int r = vhdx_flush(&v->img);

        if (r == 0)
                r = zero_rest(v);
        if (r == 0)
                r = (fits ? grow_in_place : grow_elsewhere)(v, size);
        if (r == 0)
                v->img.size = size;
        return r;
}

/* The disk has its size by now. Space that a file cannot give back stays where it is. */
static int lose_blocks(struct vhdx *v, uint32_t first, uint32_t end) {
        int r;

        for (uint32_t i = first; i < end; i++) {
                uint64_t entry = v->bat[vhdx_entry_of(v->ratio, i)];

                if (entry == VHDX_NOT_PRESENT)
                        continue;
                if (VHDX_STATE(entry) == VHDX_PRESENT && vhdx_is_good_place(v, VHDX_PLACE(entry)))
                        (void) image_file_discard(v->file, VHDX_PLACE(entry), v->block);
                v->bat[vhdx_entry_of(v->ratio, i)] = VHDX_NOT_PRESENT;
                vhdx_mark(v, vhdx_entry_of(v->ratio, i));
        }
        r = vhdx_flush(&v->img);
        if (r == 0)
                r = vhdx_end_log(v);
        if (r == 0 && end_of_use(v) < v->file->size)
                r = image_file_truncate(v->file, end_of_use(v));
        return r;
}

static int shrink(struct vhdx *v, uint64_t size) {
        uint32_t blocks = v->n_blocks;
        int r = vhdx_flush(&v->img);

        if (r == 0)
                r = write_size(v, size);
        if (r < 0)
                return r;
        v->img.size = size;
        v->n_blocks = vhdx_blocks_for(v, size);
        return lose_blocks(v, v->n_blocks, blocks);
}

bool vhdx_resize(struct image *img, uint64_t size, GError **error) {
        struct vhdx *v = (struct vhdx *) img;
        int r;

        if (size == 0 || size > VHDX_SIZE_MAX || size % v->sector != 0 || v->size_at % 8 != 0 ||
            vhdx_pages_for(v, size) > VHDX_TABLE_MAX / VHDX_PAGE) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "the VHDX cannot have that size: it has at most "
                            "%" G_GUINT64_FORMAT " blocks of %u bytes, a sector has %u",
                            VHDX_TABLE_MAX / sizeof(uint64_t) * v->ratio / (v->ratio + 1), v->block,
                            v->sector);
                return false;
        }
        r = size > img->size ? grow(v, size) : size < img->size ? shrink(v, size) : 0;
        return r == 0 || hv_error_errno(error, -r, "changing the size of the VHDX");
}
