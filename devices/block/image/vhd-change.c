/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making, checking and resizing VHD images.
 *
 * What a power cut may leave of a resize is the image of before, or of after: a larger table is written where it is to be before the header
 * tells of it, and a footer where the file is to end before it ends there.
 */

#include "devices/block/image/vhd-layout.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define EPOCH 946684800ll /* 2000-01-01 */
#define HEADER_AT 512u
#define TABLE_AT 1536u

static const char *const subformats[] = { "dynamic", "fixed", NULL };

const struct image_option_spec vhd_options[] = {
        { "subformat", "dynamic|fixed", "whether space is given out as it is needed" },
        { NULL },
};

/* The specification's appendix: the geometry of an ATA disk of so many sectors, rounded down. */
static void set_geometry(struct vhd_footer *f, uint64_t size) {
        uint64_t total = MIN(size / VHD_SECTOR, 65535ull * 16 * 255), tracks;
        unsigned sectors, heads;

        if (total >= 65535ull * 16 * 63) {
                sectors = 255;
                heads = 16;
                tracks = total / sectors;
        } else {
                sectors = 17;
                tracks = total / sectors;
                heads = (unsigned) MAX((tracks + 1023) / 1024, 4);
                if (tracks >= heads * 1024ull || heads > 16) {
                        sectors = 31;
                        heads = 16;
                        tracks = total / sectors;
                }
                if (tracks >= heads * 1024ull) {
                        sectors = 63;
                        heads = 16;
                        tracks = total / sectors;
                }
        }
        f->cylinders = GUINT16_TO_BE((uint16_t) (tracks / heads));
        f->heads = (uint8_t) heads;
        f->sectors = (uint8_t) sectors;
}

void vhd_footer_sign(struct vhd_footer *f) {
        f->checksum = GUINT32_TO_BE(
                        vhd_checksum(f, sizeof(*f), offsetof(struct vhd_footer, checksum)));
}

void vhd_footer_fill(struct vhd_footer *f, enum vhd_type type, uint64_t size) {
        *f = (struct vhd_footer){
                .features = GUINT32_TO_BE(2),
                .version = GUINT32_TO_BE(VHD_VERSION),
                .header_offset = type == VHD_FIXED ? UINT64_MAX : GUINT64_TO_BE(HEADER_AT),
                .timestamp = GUINT32_TO_BE((uint32_t) ((int64_t) time(NULL) - EPOCH)),
                .creator_version = GUINT32_TO_BE(0x000a0000),
                .original_size = GUINT64_TO_BE(size),
                .size = GUINT64_TO_BE(size),
                .type = GUINT32_TO_BE((uint32_t) type),
        };
        memcpy(f->cookie, VHD_COOKIE, sizeof(f->cookie));
        /* Whose images others take to have the size that is written in them. */
        memcpy(f->creator, "win ", sizeof(f->creator));
        memcpy(f->creator_os, "Wi2k", sizeof(f->creator_os));
        (void) !getrandom(f->id, sizeof(f->id), 0);
        set_geometry(f, size);
}

static void sign_header(struct vhd_header *h) {
        h->checksum = GUINT32_TO_BE(
                        vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header, checksum)));
}

static int write_ones(struct image_file *f, uint64_t at, uint64_t len) {
        uint8_t ones[4096];
        int r = 0;

        memset(ones, 0xff, sizeof(ones));
        for (uint64_t done = 0; r == 0 && done < len; done += sizeof(ones))
                r = image_file_write(f, at + done, ones, (size_t) MIN(len - done, sizeof(ones)));
        return r;
}

static uint64_t round_up(uint64_t n) {
        return (n + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

static int create_dynamic(struct image_file *file, struct vhd_footer *footer, uint64_t size) {
        struct vhd_header h = {
                .next = UINT64_MAX,
                .table_offset = GUINT64_TO_BE(TABLE_AT),
                .version = GUINT32_TO_BE(VHD_VERSION),
                .entries = GUINT32_TO_BE((uint32_t) ((size + VHD_BLOCK - 1) / VHD_BLOCK)),
                .block_size = GUINT32_TO_BE(VHD_BLOCK),
        };
        uint64_t table = round_up((size + VHD_BLOCK - 1) / VHD_BLOCK * 4);
        int r;

        memcpy(h.cookie, VHD_HEADER_COOKIE, sizeof(h.cookie));
        sign_header(&h);
        r = write_ones(file, TABLE_AT, table);
        if (r == 0)
                r = image_file_write(file, HEADER_AT, &h, sizeof(h));
        if (r == 0)
                r = image_file_write(file, 0, footer, sizeof(*footer));
        return r == 0 ? image_file_write(file, TABLE_AT + table, footer, sizeof(*footer)) : r;
}

static bool check_size(uint64_t size, GError **error) {
        if (size > 0 && size <= VHD_SIZE_MAX && size % VHD_SECTOR == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                    "the size of a VHD image must be a multiple of 512 bytes up to 2040 GiB");
        return false;
}

bool vhd_create(struct image_file *file, uint64_t size, struct image_options *o, GError **error) {
        struct vhd_footer footer;
        unsigned fixed = 0;
        int r;

        if (!check_size(size, error) ||
            !image_options_take_choice(o, "subformat", subformats, &fixed, error))
                return false;
        vhd_footer_fill(&footer, fixed ? VHD_FIXED : VHD_DYNAMIC, size);
        vhd_footer_sign(&footer);
        r = fixed ? image_file_write(file, size, &footer, sizeof(footer))
                  : create_dynamic(file, &footer, size);
        return r == 0 || hv_error_errno(error, -r, "writing a VHD image");
}

/* The footer for another size. */
static struct vhd_footer resized_footer(const struct vhd *v, uint64_t size) {
        struct vhd_footer f = v->footer;

        f.size = GUINT64_TO_BE(size);
        memcpy(f.creator, "win ", sizeof(f.creator));
        set_geometry(&f, size);
        vhd_footer_sign(&f);
        return f;
}

static int resize_fixed(struct vhd *v, uint64_t size) {
        struct vhd_footer f = resized_footer(v, size);
        struct image_file *file = v->img.file;
        uint64_t old_end = file->size - sizeof(f);
        int r;

        /* What lay behind the disk becomes part of it. */
        r = size > v->img.size ? image_file_zero(file, v->img.size,
                                                 MIN(size, old_end) - v->img.size, true)
                               : 0;
        /* The footer that is to be, where it is to be; then the old one goes. */
        if (r == 0)
                r = image_file_write(file, size, &f, sizeof(f));
        if (r == 0)
                r = image_file_sync(file);
        if (r == 0 && size > old_end)
                r = image_file_zero(file, old_end, MIN(sizeof(f), size - old_end), false);
        if (r == 0)
                r = image_file_truncate(file, size + sizeof(f));
        if (r == 0)
                v->footer = f;
        return r == 0 ? image_file_sync(file) : r;
}

/* Moves a block to the end, table included. */
static int move_block(struct vhd *v, uint32_t block) {
        uint64_t from = (uint64_t) v->table[block] * VHD_SECTOR,
                 len = v->bitmap_size + v->block_size, to = v->end;
        g_autofree char *buf = g_try_malloc(64 * 1024);
        struct image_file *f = v->img.file;
        int r = buf ? 0 : -ENOMEM;

        for (uint64_t done = 0; r == 0 && done < len;) {
                size_t n = (size_t) MIN(len - done, 64 * 1024);

                r = image_file_read(f, from + done, buf, n);
                if (r == 0)
                        r = image_file_write(f, to + done, buf, n);
                done += n;
        }
        if (r == 0)
                r = image_file_write(f, to + len, &v->footer, sizeof(v->footer));
        if (r < 0)
                return r;
        v->table[block] = (uint32_t) (to / VHD_SECTOR);
        v->dirty[block / VHD_ENTRIES_PER_SECTOR / 8] |=
                        (uint8_t) (1u << block / VHD_ENTRIES_PER_SECTOR % 8);
        v->end = to + len;
        v->img.unflushed = true;
        image_tell_moved(
                        &v->img, (uint64_t) block * v->block_size,
                        MIN(v->block_size, v->img.size - (uint64_t) block * v->block_size));
        return v->img.format->flush(&v->img);
}

/* Room for so many entries, and what is new of them unused. */
static int grow_table(struct vhd *v, uint32_t entries) {
        uint64_t old_end = v->table_offset + v->header_entries * 4ull,
                 end = round_up(v->table_offset + entries * 4ull);
        struct vhd_header h;
        int r = 0;

        if (entries <= v->header_entries)
                return 0;
        if (v->header_offset > v->table_offset)
                return -EOPNOTSUPP;
        for (uint32_t i = 0; r == 0 && i < v->entries; i++)
                if (v->table[i] != VHD_UNUSED && (uint64_t) v->table[i] * VHD_SECTOR < end) {
                        v->end = MAX(v->end, end);
                        r = move_block(v, i);
                }
        if (r == 0 && v->end < end) {
                v->end = end;
                r = image_file_write(v->img.file, end, &v->footer, sizeof(v->footer));
        }
        if (r == 0)
                r = write_ones(v->img.file, old_end, end - old_end);
        if (r == 0)
                r = image_file_sync(v->img.file);
        if (r == 0)
                r = image_file_read(v->img.file, v->header_offset, &h, sizeof(h));
        if (r < 0)
                return r;
        h.entries = GUINT32_TO_BE(entries);
        sign_header(&h);
        r = image_file_write(v->img.file, v->header_offset, &h, sizeof(h));
        if (r == 0)
                v->header_entries = entries;
        return r == 0 ? image_file_sync(v->img.file) : r;
}

static int grow_dynamic(struct vhd *v, uint64_t size) {
        uint32_t entries = (uint32_t) ((size + v->block_size - 1) / v->block_size);
        struct vhd_footer f = resized_footer(v, size);
        struct image_file *file = v->img.file;
        uint32_t *table;
        int r = v->img.format->flush(&v->img);

        if (r == 0)
                r = grow_table(v, entries);
        if (r < 0)
                return r;
        table = g_try_renew(uint32_t, v->table, entries + 1ull);
        if (!table)
                return -ENOMEM;
        v->table = table;
        v->full = g_realloc(v->full, entries / 8 + 1);
        v->dirty = g_realloc(v->dirty, entries / VHD_ENTRIES_PER_SECTOR / 8 + 1);
        memset(v->dirty, 0, entries / VHD_ENTRIES_PER_SECTOR / 8 + 1);
        /* Which bitmaps are full is found out again. */
        memset(v->full, 0, entries / 8 + 1);
        for (uint32_t i = v->entries; i < entries; i++)
                v->table[i] = VHD_UNUSED;

        /* The footer is believed first. */
        if (!file->block_device && file->size > v->end + sizeof(f))
                r = image_file_truncate(file, v->end + sizeof(f));
        if (r == 0)
                r = image_file_write(file, v->end, &f, sizeof(f));
        if (r == 0)
                r = image_file_write(file, 0, &f, sizeof(f));
        if (r < 0)
                return r;
        v->entries = entries;
        v->footer = f;
        return image_file_sync(file);
}

bool vhd_resize(struct image *img, uint64_t size, GError **error) {
        struct vhd *v = (struct vhd *) img;
        uint64_t old = img->size;
        int r;

        if (!check_size(size, error))
                return false;
        if (size == old)
                return true;
        if (img->file->block_device ||
            (v->dynamic && (size < old || size / v->block_size >= VHD_ENTRIES_MAX))) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "%s",
                            img->file->block_device
                                            ? "a VHD image on a block device keeps its size"
                                            : "a dynamic VHD image can only grow, within what its "
                                              "block size permits");
                return false;
        }
        r = v->dynamic ? grow_dynamic(v, size) : resize_fixed(v, size);
        if (r < 0)
                return hv_error_errno(error, -r, "changing the size of a VHD image");
        img->size = size;
        image_tell_moved(img, 0, MAX(size, old));
        return true;
}

static int compare_sectors(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

static void find(struct image_check *c, bool repaired, uint64_t *count, const char *message) {
        (*count)++;
        if (repaired)
                c->fixed_corruptions++;
        if (c->finding)
                c->finding(c->opaque, /* corruption= */ true, repaired, message);
}

static void check_table(struct vhd *v, struct image_check *c) {
        g_autofree uint32_t *used = g_new(uint32_t, v->entries + 1ull);
        uint64_t len = v->bitmap_size + v->block_size, size = v->img.file->size;
        uint32_t n = 0;

        for (uint32_t i = 0; i < v->entries; i++)
                if (v->table[i] != VHD_UNUSED)
                        used[n++] = v->table[i];
        qsort(used, n, sizeof(*used), compare_sectors);
        for (uint32_t i = 0; i < n; i++) {
                uint64_t at = (uint64_t) used[i] * VHD_SECTOR;

                if (at < v->table_offset + v->header_entries * 4ull || at > size || len > size - at)
                        find(c, false, &c->corruptions,
                             "a block lies outside of the file, or where its tables are");
                else if (i > 0 && at < (uint64_t) used[i - 1] * VHD_SECTOR + len)
                        find(c, false, &c->corruptions, "two blocks overlap");
        }
        c->allocated = n;
        c->total = v->entries;
}

bool vhd_check(struct image *img, struct image_check *c, GError **error) {
        struct vhd *v = (struct vhd *) img;
        struct image_file *file = img->file;
        bool repair = c->repair_all && !img->readonly;
        struct vhd_footer tail, head;
        int r = image_file_read(file, file->size - sizeof(tail), &tail, sizeof(tail));

        if (r == 0)
                r = image_file_read(file, 0, &head, sizeof(head));
        if (r == 0 && v->dynamic)
                check_table(v, c);
        else
                c->allocated = c->total = (img->size + img->cluster - 1) / img->cluster;
        if (r == 0 && memcmp(&tail, &v->footer, sizeof(tail)) != 0) {
                if (repair)
                        r = image_file_write(
                                        file, round_up(file->size), &v->footer, sizeof(v->footer));
                find(c, repair, &c->corruptions, "there is no valid footer at the end");
        }
        if (r == 0 && v->dynamic && memcmp(&head, &v->footer, sizeof(head)) != 0) {
                if (repair)
                        r = image_file_write(file, 0, &v->footer, sizeof(v->footer));
                find(c, repair, &c->corruptions, "the footer's copy at the front differs from it");
        }
        if (r == 0 && repair)
                r = image_file_sync(file);
        return r == 0 || hv_error_errno(error, -r, "checking a VHD image");
}
