/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VHD images, fixed and dynamic.
 *
 * The footer at the end of the file says what it is; the copy at the front of a dynamic one is believed only when there is none, because
 * the front of a fixed one is the guest's. The block table is held in memory, at most 16 MiB of it.
 *
 * A new block is put where the footer was: room for it (zeros), its bitmap (all ones) and the footer behind it are written at once, its
 * entry in the table by flush(), after a sync of those. A power cut in between costs space, no more. Blocks stay where they are for ever; what
 * is discarded becomes a hole in the file. A bit that is off in a bitmap means a sector of zeros; such a block gets all its bits before it
 * is written to.
 */

#include "devices/block/image/vhd-layout.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static struct vhd *to_vhd(struct image *img) {
        return (struct vhd *) img;
}

static bool bit(const uint8_t *bits, uint32_t n) {
        return bits[n / 8] >> n % 8 & 1;
}

static void set_bit(uint8_t *bits, uint32_t n, bool on) {
        bits[n / 8] = (uint8_t) (on ? bits[n / 8] | 1u << n % 8 : bits[n / 8] & ~(1u << n % 8));
}

uint32_t vhd_checksum(const void *data, size_t len, size_t checksum_at) {
        const uint8_t *bytes = data;
        uint32_t sum = 0;

        for (size_t i = 0; i < len; i++)
                if (i < checksum_at || i >= checksum_at + sizeof(uint32_t))
                        sum += bytes[i];
        return ~sum;
}

bool vhd_footer_is_good(const struct vhd_footer *f) {
        return memcmp(f->cookie, VHD_COOKIE, sizeof(f->cookie)) == 0 &&
               GUINT32_FROM_BE(f->checksum) ==
                               vhd_checksum(f, sizeof(*f), offsetof(struct vhd_footer, checksum));
}

uint32_t vhd_bitmap_size(uint32_t block_size) {
        uint32_t bytes = block_size / VHD_SECTOR / 8;

        return (bytes + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

uint64_t vhd_block_at(const struct vhd *v, uint32_t block) {
        return (uint64_t) v->table[block] * VHD_SECTOR + v->bitmap_size;
}

static bool vhd_probe(const uint8_t *head, size_t n) {
        return n >= sizeof(struct vhd_footer) && memcmp(head, VHD_COOKIE, 8) == 0;
}

static bool vhd_probe_tail(const uint8_t *tail) {
        return memcmp(tail, VHD_COOKIE, 8) == 0;
}

static bool refuse(GError **error, const char *why) {
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "VHD image: %s", why);
        return false;
}

/* Finds the footer. */
static bool load_footer(struct vhd *v, struct image_file *file, GError **error) {
        struct vhd_footer *f = &v->footer;
        int r;

        if (file->size < 2 * sizeof(*f))
                return refuse(error, "the file is too short for one");
        r = image_file_read(file, file->size - sizeof(*f), f, sizeof(*f));
        if (r == 0 && !vhd_footer_is_good(f)) {
                r = image_file_read(file, 0, f, sizeof(*f));
                if (r == 0 && (!vhd_footer_is_good(f) || GUINT32_FROM_BE(f->type) != VHD_DYNAMIC))
                        return refuse(error, "there is no valid footer");
        }
        if (r < 0)
                return hv_error_errno(error, -r, "reading the footer of a VHD image");
        if (GUINT32_FROM_BE(f->version) >> 16 != VHD_VERSION >> 16)
                return refuse(error, "its version is not 1");
        if (GUINT32_FROM_BE(f->type) == VHD_DIFFERENCING)
                return refuse(error, "it is a differencing one, and those are not supported");
        if (GUINT32_FROM_BE(f->type) != VHD_FIXED && GUINT32_FROM_BE(f->type) != VHD_DYNAMIC)
                return refuse(error, "its footer names an unknown type of disk");
        return true;
}

/* What old Virtual PC, and whoever copied it, made has the size that its geometry says, the largest geometry excepted. */
static uint64_t disk_size(const struct vhd_footer *f) {
        static const char *const by_geometry[] = { "vpc ", "vs  ", "qemu" };
        uint64_t sectors = (uint64_t) GUINT16_FROM_BE(f->cylinders) * f->heads * f->sectors;

        for (size_t i = 0; i < G_N_ELEMENTS(by_geometry); i++)
                if (memcmp(f->creator, by_geometry[i], sizeof(f->creator)) == 0 && sectors > 0 &&
                    sectors < 65535ull * 16 * 255)
                        return sectors * VHD_SECTOR;
        return GUINT64_FROM_BE(f->size);
}

static bool load_header(struct vhd *v, struct image_file *file, GError **error) {
        struct vhd_header h;
        uint64_t needed;
        int r;

        v->header_offset = GUINT64_FROM_BE(v->footer.header_offset);
        if (v->header_offset > file->size || file->size - v->header_offset < sizeof(h))
                return refuse(error, "its header lies beyond the end of the file");
        r = image_file_read(file, v->header_offset, &h, sizeof(h));
        if (r < 0)
                return hv_error_errno(error, -r, "reading the header of a VHD image");
        if (memcmp(h.cookie, VHD_HEADER_COOKIE, sizeof(h.cookie)) != 0 ||
            GUINT32_FROM_BE(h.checksum) !=
                            vhd_checksum(&h, sizeof(h), offsetof(struct vhd_header, checksum)))
                return refuse(error, "its header is damaged");
        v->block_size = GUINT32_FROM_BE(h.block_size);
        if (v->block_size < VHD_BLOCK_MIN || v->block_size > VHD_BLOCK_MAX ||
            (v->block_size & (v->block_size - 1)) != 0)
                return refuse(error, "its block size is not a power of 2 from 16 KiB to 256 MiB");
        v->bitmap_size = vhd_bitmap_size(v->block_size);
        v->table_offset = GUINT64_FROM_BE(h.table_offset);
        v->header_entries = GUINT32_FROM_BE(h.entries);
        needed = (v->img.size + v->block_size - 1) / v->block_size;
        if (needed > VHD_ENTRIES_MAX || needed > v->header_entries)
                return refuse(error, "its block table is too small, or too large to be used");
        v->entries = (uint32_t) needed;
        if (v->table_offset % VHD_SECTOR != 0 || v->table_offset > file->size ||
            v->header_entries > (file->size - v->table_offset) / 4)
                return refuse(error, "its block table lies beyond the end of the file");
        return true;
}

/* A block may lie anywhere but before the end of the table, and within the file. */
static bool is_good_entry(const struct vhd *v, const struct image_file *file, uint32_t sector) {
        uint64_t at = (uint64_t) sector * VHD_SECTOR, len = v->bitmap_size + v->block_size;

        return at >= v->table_offset + v->header_entries * 4ull &&
               at >= v->header_offset + sizeof(struct vhd_header) && at <= file->size &&
               len <= file->size - at;
}

static bool load_table(struct vhd *v, struct image_file *file, bool for_check, GError **error) {
        uint64_t table_end = v->table_offset + v->header_entries * 4ull;
        int r;

        v->table = g_try_new(uint32_t, v->entries + 1ull);
        v->full = g_try_malloc0(v->entries / 8 + 1);
        v->dirty = g_try_malloc0(v->entries / VHD_ENTRIES_PER_SECTOR / 8 + 1);
        if (!v->table || !v->full || !v->dirty)
                return hv_error_errno(error, ENOMEM, "a VHD image's block table");
        r = image_file_read(file, v->table_offset, v->table, v->entries * 4ull);
        if (r < 0)
                return hv_error_errno(error, -r, "reading the block table of a VHD image");
        v->end = MAX(table_end, v->header_offset + sizeof(struct vhd_header));
        v->end += (VHD_SECTOR - v->end % VHD_SECTOR) % VHD_SECTOR;
        for (uint32_t i = 0; i < v->entries; i++) {
                v->table[i] = GUINT32_FROM_BE(v->table[i]);
                if (v->table[i] == VHD_UNUSED)
                        continue;
                if (is_good_entry(v, file, v->table[i]))
                        v->end = MAX(v->end, vhd_block_at(v, i) + v->block_size);
                else if (!for_check)
                        return refuse(error, "a block lies outside of the file, or where its "
                                             "tables are");
        }
        return true;
}

static void vhd_close(struct image *img) {
        struct vhd *v = to_vhd(img);

        g_free(v->table);
        g_free(v->full);
        g_free(v->dirty);
        g_free(v);
}

static bool load(struct vhd *v, struct image_file *file, bool for_check, GError **error) {
        if (!load_footer(v, file, error))
                return false;
        v->dynamic = GUINT32_FROM_BE(v->footer.type) == VHD_DYNAMIC;
        v->img.size = disk_size(&v->footer);
        if (v->img.size == 0 || v->img.size % VHD_SECTOR != 0 || v->img.size > VHD_SIZE_MAX)
                return refuse(error, "its size is no multiple of 512 bytes up to 2040 GiB");
        if (v->dynamic) {
                if (!load_header(v, file, error) || !load_table(v, file, for_check, error))
                        return false;
                v->img.cluster = v->block_size;
                return true;
        }
        v->img.cluster = 64 * 1024;
        return v->img.size <= file->size - sizeof(v->footer) ||
               refuse(error, "the file is shorter than the disk in it");
}

static struct image *
vhd_open(struct image_file *file, const struct image_open *how, GError **error) {
        struct vhd *v = g_new0(struct vhd, 1);

        if (!load(v, file, how->for_check, error)) {
                vhd_close(&v->img);
                return NULL;
        }
        v->img.readonly = how->for_check && file->readonly;
        return &v->img;
}

/* Bits of a block's bitmap from first on that are the same. Most significant bit first. */
static int
same_bits(struct vhd *v,
          uint32_t block,
          uint32_t first,
          uint32_t max,
          bool *ret_on,
          uint32_t *ret_n) {
        uint32_t sectors = v->block_size / VHD_SECTOR, n = 0;
        g_autofree uint8_t *bits = g_try_malloc(v->bitmap_size);
        bool on = true, all = true;
        int r;

        if (!bits)
                return -ENOMEM;
        r = image_file_read(
                        v->img.file, (uint64_t) v->table[block] * VHD_SECTOR, bits, v->bitmap_size);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < sectors && all; i++)
                all = bits[i / 8] & 0x80 >> i % 8;
        if (all)
                set_bit(v->full, block, true);
        for (uint32_t i = first; i < first + max; i++, n++) {
                bool here = bits[i / 8] & 0x80 >> i % 8;

                if (n == 0)
                        on = here;
                if (here != on)
                        break;
        }
        *ret_on = on;
        *ret_n = n;
        return 0;
}

static int
map_block(struct vhd *v, uint32_t block, uint64_t in, uint64_t len, struct image_extent *x) {
        uint32_t first = (uint32_t) (in / VHD_SECTOR), n;
        bool on;
        int r;

        *x = (struct image_extent){
                .kind = IMAGE_DATA,
                .len = MIN(len, v->block_size - in),
                .file = v->img.file,
                .at = vhd_block_at(v, block) + in,
                .writable = !v->img.readonly,
        };
        if (bit(v->full, block))
                return 0;
        r = same_bits(v, block, first,
                      (uint32_t) ((in % VHD_SECTOR + x->len + VHD_SECTOR - 1) / VHD_SECTOR), &on,
                      &n);
        if (r < 0 || bit(v->full, block))
                return r;
        x->writable = false;
        x->len = MIN(x->len, (uint64_t) n * VHD_SECTOR - in % VHD_SECTOR);
        if (!on) {
                x->kind = IMAGE_ZERO;
                x->file = NULL;
                x->allocated = true;
        }
        return 0;
}

static int vhd_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct vhd *v = to_vhd(img);
        uint64_t block, end;

        if (!v->dynamic) {
                *ret = (struct image_extent){
                        .kind = IMAGE_DATA,
                        .len = len,
                        .file = img->file,
                        .at = offset,
                        .writable = !img->readonly,
                };
                return 0;
        }
        block = offset / v->block_size;
        if (v->table[block] != VHD_UNUSED)
                return map_block(v, (uint32_t) block, offset % v->block_size, len, ret);
        for (end = block + 1; end < v->entries && end * v->block_size - offset < len; end++)
                if (v->table[end] != VHD_UNUSED)
                        break;
        *ret = (struct image_extent){
                .kind = IMAGE_ZERO,
                .len = MIN(len, end * v->block_size - offset),
        };
        return 0;
}

static int write_bitmap(struct vhd *v, uint64_t at) {
        g_autofree uint8_t *ones = g_try_malloc(v->bitmap_size);

        if (!ones)
                return -ENOMEM;
        memset(ones, 0xff, v->bitmap_size);
        return image_file_write(v->img.file, at, ones, v->bitmap_size);
}

/* Gives block a place at the end. */
static int add_block(struct vhd *v, uint32_t block) {
        uint64_t at = v->end, end = at + v->bitmap_size + v->block_size;
        struct image_file *f = v->img.file;
        int r = 0;

        if (at / VHD_SECTOR >= VHD_UNUSED)
                return -EFBIG;
        /* Blocks that a power cut took from the table may lie behind; the file has to end with the footer. */
        if (!f->block_device && f->size > end + sizeof(v->footer))
                r = image_file_truncate(f, end + sizeof(v->footer));
        if (r == 0)
                r = image_file_write(f, end, &v->footer, sizeof(v->footer));
        if (r == 0)
                r = image_file_zero(f, at + v->bitmap_size, v->block_size, /* unmap= */ true);
        if (r == 0)
                r = write_bitmap(v, at);
        if (r < 0)
                return r;
        v->table[block] = (uint32_t) (at / VHD_SECTOR);
        v->end = end;
        set_bit(v->dirty, block / VHD_ENTRIES_PER_SECTOR, true);
        v->img.unflushed = true;
        return 0;
}

/* Sectors without a bit become zeros in the file, and only then get one. */
static int complete_block(struct vhd *v, uint32_t block) {
        uint32_t sectors = v->block_size / VHD_SECTOR, n = 0;
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < sectors; i += n) {
                bool on;

                r = same_bits(v, block, i, sectors - i, &on, &n);
                if (r == 0 && !on)
                        r = image_file_zero(
                                        v->img.file,
                                        vhd_block_at(v, block) + (uint64_t) i * VHD_SECTOR,
                                        (uint64_t) n * VHD_SECTOR, /* unmap= */ true);
        }
        if (r == 0)
                r = image_file_sync(v->img.file);
        return r == 0 ? write_bitmap(v, (uint64_t) v->table[block] * VHD_SECTOR) : r;
}

static int
vhd_allocate(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct vhd *v = to_vhd(img);
        uint32_t block = (uint32_t) (offset / v->block_size);
        int r = v->table[block] == VHD_UNUSED ? add_block(v, block) : complete_block(v, block);

        if (r < 0)
                return r;
        set_bit(v->full, block, true);
        image_tell_moved(
                        img, (uint64_t) block * v->block_size,
                        MIN(v->block_size, img->size - (uint64_t) block * v->block_size));
        return vhd_map(img, offset, len, ret);
}

/* Blocks that there are become zeros where they lie. */
static int vhd_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        struct vhd *v = to_vhd(img);
        int r = 0;

        if (!v->dynamic)
                return image_file_zero(img->file, offset, len, unmap);
        for (uint64_t at = offset; r == 0 && at < offset + len; at += v->block_size) {
                uint32_t block = (uint32_t) (at / v->block_size);

                if (v->table[block] != VHD_UNUSED)
                        r = image_file_zero(
                                        img->file, vhd_block_at(v, block), v->block_size, unmap);
        }
        return r;
}

static int vhd_discard(struct image *img, uint64_t offset, uint64_t len) {
        struct vhd *v = to_vhd(img);

        return v->dynamic ? vhd_zero(img, offset, len, /* unmap= */ true)
                          : image_file_discard(img->file, offset, len);
}

static int write_table(struct vhd *v, uint32_t part) {
        uint32_t first = part * VHD_ENTRIES_PER_SECTOR,
                 n = MIN(VHD_ENTRIES_PER_SECTOR, v->entries - first), buf[VHD_ENTRIES_PER_SECTOR];

        for (uint32_t i = 0; i < n; i++)
                buf[i] = GUINT32_TO_BE(v->table[first + i]);
        return image_file_write(v->img.file, v->table_offset + first * 4ull, buf, n * 4);
}

static int vhd_flush(struct image *img) {
        struct vhd *v = to_vhd(img);
        uint32_t parts = (v->entries + VHD_ENTRIES_PER_SECTOR - 1) / VHD_ENTRIES_PER_SECTOR;
        int r = image_file_sync(img->file);

        if (r < 0 || !img->unflushed)
                return r;
        for (uint32_t i = 0; r == 0 && i < parts; i++)
                if (bit(v->dirty, i))
                        r = write_table(v, i);
        if (r == 0)
                r = image_file_sync(img->file);
        if (r < 0)
                return r;
        memset(v->dirty, 0, v->entries / VHD_ENTRIES_PER_SECTOR / 8 + 1);
        img->unflushed = false;
        return 0;
}

static void vhd_describe(struct image *img, GVariantBuilder *dict) {
        struct vhd *v = to_vhd(img);

        g_variant_builder_add(
                        dict, "{sv}", "subformat",
                        g_variant_new_string(v->dynamic ? "dynamic" : "fixed"));
        if (v->dynamic)
                g_variant_builder_add(
                                dict, "{sv}", "block_size", g_variant_new_uint32(v->block_size));
}

const struct image_format image_vhd = {
        .name = "vhd",
        .description = "Virtual PC's and Hyper-V's older format, fixed or dynamic",
        .probe = vhd_probe,
        .probe_tail = vhd_probe_tail,
        .open = vhd_open,
        .options = vhd_options,
        .create = vhd_create,
        .map = vhd_map,
        .allocate = vhd_allocate,
        .zero = vhd_zero,
        .discard = vhd_discard,
        .flush = vhd_flush,
        .resize = vhd_resize,
        .check = vhd_check,
        .describe = vhd_describe,
        .close = vhd_close,
};
