/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* A new VHDX. The order in its file is headers, log, metadata, table, blocks. */

#include "devices/block/image/crc32c.h"
#include "devices/block/image/vhdx-private.h"
#include "hypervisor/error.h"

#include <errno.h>

static const char *const subformats[] = { "dynamic", "fixed", NULL };

const struct image_option_spec vhdx_options[] = {
        { "subformat", "dynamic|fixed",
          "whether blocks get space when they are written, or all at once" },
        { "block_size", "1M..256M", "bytes that get space together, a power of two (by size)" },
        { "log_size", "1M..64M", "space for changes that are under way (1M)" },
        { "sector_size", "512|4096", "bytes of a sector of the disk (512)" },
        { NULL },
};

static bool
take_power(struct image_options *o,
           const char *key,
           uint64_t min,
           uint64_t max,
           uint64_t *value,
           GError **error) {
        if (!image_options_take_size(o, key, min, max, value, error))
                return false;
        if ((*value & (*value - 1)) == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                    "option %s: %" G_GUINT64_FORMAT " is not a power of two", key, *value);
        return false;
}

static uint64_t usual_block(uint64_t size) {
        return size > 32ull << 40    ? 64 * VHDX_MIB
               : size > 100ull << 30 ? 32 * VHDX_MIB
               : size > 1ull << 30   ? 16 * VHDX_MIB
                                     : 8 * VHDX_MIB;
}

static bool take_options(struct vhdx *v, struct image_options *o, GError **error) {
        uint64_t block = usual_block(v->img.size), log = VHDX_MIB, sector = 512;
        unsigned subformat = 0;

        if (!image_options_take_choice(o, "subformat", subformats, &subformat, error) ||
            !take_power(o, "block_size", VHDX_MIB, 256 * VHDX_MIB, &block, error) ||
            !take_power(o, "log_size", VHDX_MIB, 64 * VHDX_MIB, &log, error) ||
            !take_power(o, "sector_size", 512, 4096, &sector, error))
                return false;
        if (sector != 512 && sector != 4096) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "option sector_size: it is 512 or 4096");
                return false;
        }
        if (v->img.size == 0 || v->img.size > VHDX_SIZE_MAX || v->img.size % sector != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "the size of a VHDX is a multiple of its sector, up to 64 TiB; "
                            "%" G_GUINT64_FORMAT " is not",
                            v->img.size);
                return false;
        }
        v->fixed = subformat == 1;
        v->block = (uint32_t) block;
        v->log_len = (uint32_t) log;
        v->sector = (uint32_t) sector;
        v->physical = 4096;
        v->ratio = (UINT64_C(1) << 23) * v->sector / v->block;
        return true;
}

static bool lay_out(struct vhdx *v, GError **error) {
        v->n_blocks = vhdx_blocks_for(v, v->img.size);
        v->n_pages = vhdx_pages_for(v, v->img.size);
        if (v->n_pages > VHDX_TABLE_MAX / VHDX_PAGE) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "option block_size: there would be more than 8 million blocks");
                return false;
        }
        v->log_at = VHDX_MIB;
        v->metadata_at = v->log_at + v->log_len;
        v->metadata_len = VHDX_MIB;
        v->bat_at = v->metadata_at + v->metadata_len;
        v->bat_len = (v->n_pages * VHDX_PAGE + VHDX_MIB - 1) / VHDX_MIB * VHDX_MIB;
        return true;
}

static void put_region(uint8_t *entry, const struct vhdx_guid *id, uint64_t at, uint32_t len) {
        memcpy(entry, id, sizeof(*id));
        vhdx_put64(entry + 16, at);
        vhdx_put32(entry + 24, len);
        vhdx_put32(entry + 28, 1);
}

static int write_start(struct vhdx *v) {
        static const char creator[] = "chvd";
        uint8_t identifier[520] = "vhdxfile";
        g_autofree uint8_t *table = g_malloc0(VHDX_REGIONS_LEN);
        int r;

        for (unsigned i = 0; i + 1 < sizeof(creator); i++)
                identifier[8 + 2 * i] = (uint8_t) creator[i];
        memcpy(table, "regi", 4);
        vhdx_put32(table + 8, 2);
        put_region(table + 16, &vhdx_region_bat, v->bat_at, v->bat_len);
        put_region(table + 48, &vhdx_region_metadata, v->metadata_at, v->metadata_len);
        vhdx_put32(table + 4, crc32c(table, VHDX_REGIONS_LEN));
        r = image_file_write(v->file, 0, identifier, sizeof(identifier));
        for (unsigned copy = 0; r == 0 && copy < 2; copy++)
                r = image_file_write(v->file, VHDX_REGIONS_AT(copy), table, VHDX_REGIONS_LEN);
        return r;
}

struct item {
        const struct vhdx_guid *id;
        uint32_t len, flags;
        uint8_t data[16];
};

static int write_metadata(struct vhdx *v) {
        enum {
                VIRTUAL_DISK = 2,
                REQUIRED = 4,
        };
        struct vhdx_guid id = vhdx_guid_random();
        struct item items[] = {
                { &vhdx_item_file, 8, REQUIRED, { 0 } },
                { &vhdx_item_size, 8, REQUIRED | VIRTUAL_DISK, { 0 } },
                { &vhdx_item_id, 16, REQUIRED | VIRTUAL_DISK, { 0 } },
                { &vhdx_item_logical, 4, REQUIRED | VIRTUAL_DISK, { 0 } },
                { &vhdx_item_physical, 4, REQUIRED | VIRTUAL_DISK, { 0 } },
        };
        g_autofree uint8_t *region = g_malloc0(VHDX_REGIONS_LEN + VHDX_PAGE);

        vhdx_put32(items[0].data, v->block);
        vhdx_put32(items[0].data + 4, v->fixed);
        vhdx_put64(items[1].data, v->img.size);
        memcpy(items[2].data, &id, sizeof(id));
        vhdx_put32(items[3].data, v->sector);
        vhdx_put32(items[4].data, v->physical);
        memcpy(region, "metadata", 8);
        region[10] = G_N_ELEMENTS(items);
        for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
                uint8_t *entry = region + 32 + 32 * i;
                uint32_t at = VHDX_REGIONS_LEN + 64 * i;

                memcpy(entry, items[i].id, sizeof(*items[i].id));
                vhdx_put32(entry + 16, at);
                vhdx_put32(entry + 20, items[i].len);
                vhdx_put32(entry + 24, items[i].flags);
                memcpy(region + at, items[i].data, sizeof(items[i].data));
        }
        return image_file_write(v->file, v->metadata_at, region, VHDX_REGIONS_LEN + VHDX_PAGE);
}

/* Each block behind the other. */
static int write_fixed(struct vhdx *v) {
        uint64_t at = v->bat_at + v->bat_len, len = (uint64_t) v->n_blocks * v->block;
        g_autofree uint8_t *page = g_malloc0(VHDX_PAGE);
        int r = image_file_truncate(v->file, at + len);

        for (uint32_t i = 0, n = 0; r == 0 && i < v->n_pages; i++) {
                memset(page, 0, VHDX_PAGE);
                for (; n < v->n_blocks; n++) {
                        uint64_t entry = vhdx_entry_of(v->ratio, n);

                        if (entry / VHDX_PAGE_ENTRIES != i)
                                break;
                        vhdx_put64(page + entry % VHDX_PAGE_ENTRIES * 8,
                                   (at + (uint64_t) n * v->block) | VHDX_PRESENT);
                }
                r = image_file_write(
                                v->file, v->bat_at + (uint64_t) i * VHDX_PAGE, page, VHDX_PAGE);
        }
        return r < 0 ? r : image_file_allocate(v->file, at, len);
}

bool vhdx_create(
                struct image_file *file,
                uint64_t size,
                struct image_options *options,
                GError **error) {
        struct vhdx v = {
                .file = file,
                .img = { .size = size },
                .file_id = vhdx_guid_random(),
                .data_id = vhdx_guid_random(),
        };
        int r;

        if (!take_options(&v, options, error) || !lay_out(&v, error))
                return false;
        r = image_file_truncate(file, v.bat_at + v.bat_len);
        if (r == 0)
                r = write_start(&v);
        if (r == 0)
                r = write_metadata(&v);
        if (r == 0 && v.fixed)
                r = write_fixed(&v);
        /* Both headers; the first call writes the second one. */
        for (unsigned i = 0; r == 0 && i < 2; i++)
                r = vhdx_write_header(&v);
        return r == 0 || hv_error_errno(error, -r, "making a VHDX");
}
