/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The start of a VHDX: two headers of which the newer valid one counts, two copies of the table of regions, and in one of those
 * the metadata, items with names that are GUIDs ([MS-VHDX] 2.2, 2.6). Everything has a place on a boundary of 1 MiB and may not
 * cover anything else. A region or item that is required and not known makes an image unreadable, others are ignored.
 */

#include "devices/block/image/crc32c.h"
#include "devices/block/image/vhdx-private.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <sys/random.h>

#define REGIONS_MAX 2047u
#define ITEMS_MAX 2047u
#define ITEM_MAX VHDX_MIB

const struct vhdx_guid vhdx_guid_none = { { 0 } };
/* 2DC27766-F623-4200-9D64-115E9BFD4A08 */
const struct vhdx_guid vhdx_region_bat = { { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d,
                                             0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 } };
/* 8B7CA206-4790-4B9A-B8FE-575F050F886E */
const struct vhdx_guid vhdx_region_metadata = { { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                                  0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88,
                                                  0x6e } };
/* CAA16737-FA36-4D43-B3B6-33F0AA44E76B */
const struct vhdx_guid vhdx_item_file = { { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3,
                                            0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b } };
/* 2FA54224-CD1B-4876-B211-5DBED83BF4B8 */
const struct vhdx_guid vhdx_item_size = { { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2,
                                            0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 } };
/* BECA12AB-B2E6-4523-93EF-C309E000C746 */
const struct vhdx_guid vhdx_item_id = { { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93,
                                          0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 } };
/* 8141BF1D-A96F-4709-BA47-F233A8FAAB5F */
const struct vhdx_guid vhdx_item_logical = { { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba,
                                               0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f } };
/* CDA348C7-445D-4471-9CC9-E9885251C556 */
const struct vhdx_guid vhdx_item_physical = { { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                                0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 } };
/* A8D35F2D-B30B-454D-ABF7-D3D84834AB0C */
const struct vhdx_guid vhdx_item_parent = { { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab,
                                              0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c } };

bool vhdx_refuse(GError **error, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list args;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "the VHDX%s", text);
        return false;
}

struct vhdx_guid vhdx_guid_random(void) {
        struct vhdx_guid guid;

        /* GLib's would look for files and parents, which a worker's threads may not. So few bytes are always had. */
        (void) !getrandom(guid.bytes, sizeof(guid.bytes), 0);
        guid.bytes[7] = (uint8_t) ((guid.bytes[7] & 0x0f) | 0x40);
        guid.bytes[8] = (uint8_t) ((guid.bytes[8] & 0x3f) | 0x80);
        return guid;
}

static bool is_summed(uint8_t *data, size_t len) {
        uint32_t sum = vhdx_get32(data + 4), found;

        vhdx_put32(data + 4, 0);
        found = crc32c(data, len);
        vhdx_put32(data + 4, sum);
        return found == sum;
}

static bool is_header(uint8_t *h) {
        return memcmp(h, "head", 4) == 0 && is_summed(h, VHDX_PAGE);
}

static bool check_log(const struct vhdx *v, const uint8_t *h, GError **error) {
        if (vhdx_get16(h + 66) != 1)
                return vhdx_refuse(error, "'s version is not supported");
        if (!vhdx_guid_equal(&v->log_id, &vhdx_guid_none) && vhdx_get16(h + 64) != 0)
                return vhdx_refuse(error, "'s log has a version that is not supported");
        if (v->log_at < VHDX_MIB || v->log_at % VHDX_MIB != 0 || v->log_len < VHDX_MIB ||
            v->log_len % VHDX_MIB != 0 || v->log_at > (uint64_t) INT64_MAX - v->log_len)
                return vhdx_refuse(error, "'s log is in a wrong place");
        return true;
}

bool vhdx_read_header(struct vhdx *v, GError **error) {
        g_autofree uint8_t *pages = g_malloc(2 * VHDX_PAGE);
        const uint8_t *h = NULL;

        for (unsigned slot = 0; slot < 2; slot++) {
                uint8_t *page = pages + slot * VHDX_PAGE;
                int r = image_file_read(v->file, VHDX_HEADER_AT(slot), page, VHDX_PAGE);

                if (r < 0)
                        return hv_error_errno(error, -r, "reading the VHDX's header");
                if (!is_header(page) || (h && vhdx_get64(page + 8) <= v->sequence))
                        continue;
                h = page;
                v->slot = slot;
                v->sequence = vhdx_get64(h + 8);
        }
        if (!h)
                return vhdx_refuse(error, " has no valid header");
        memcpy(&v->file_id, h + 16, sizeof(v->file_id));
        memcpy(&v->data_id, h + 32, sizeof(v->data_id));
        memcpy(&v->log_id, h + 48, sizeof(v->log_id));
        v->log_len = vhdx_get32(h + 68);
        v->log_at = vhdx_get64(h + 72);
        return check_log(v, h, error);
}

int vhdx_write_header(struct vhdx *v) {
        g_autofree uint8_t *h = g_malloc0(VHDX_PAGE);
        int r;

        memcpy(h, "head", 4);
        vhdx_put64(h + 8, v->sequence + 1);
        memcpy(h + 16, &v->file_id, sizeof(v->file_id));
        memcpy(h + 32, &v->data_id, sizeof(v->data_id));
        memcpy(h + 48, &v->log_id, sizeof(v->log_id));
        h[66] = 1;
        vhdx_put32(h + 68, v->log_len);
        vhdx_put64(h + 72, v->log_at);
        vhdx_put32(h + 4, crc32c(h, VHDX_PAGE));
        r = image_file_write(v->file, VHDX_HEADER_AT(!v->slot), h, VHDX_PAGE);
        if (r == 0)
                r = image_file_sync(v->file);
        if (r < 0)
                return r;
        v->slot = !v->slot;
        v->sequence++;
        return 0;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len) {
        return a < b + b_len && b < a + a_len;
}

static bool take_region(struct vhdx *v, const uint8_t *entry, GError **error) {
        const struct vhdx_guid *id = (const void *) entry;
        uint64_t at = vhdx_get64(entry + 16);
        uint32_t len = vhdx_get32(entry + 24);
        bool bat = vhdx_guid_equal(id, &vhdx_region_bat);

        if (!bat && !vhdx_guid_equal(id, &vhdx_region_metadata))
                return !(vhdx_get32(entry + 28) & 1) ||
                       vhdx_refuse(error, " needs a region that is not known here");
        if (at < VHDX_MIB || at % VHDX_MIB != 0 || len == 0 || len % VHDX_MIB != 0 ||
            at > (uint64_t) INT64_MAX - len || overlap(at, len, v->log_at, v->log_len) ||
            (bat ? v->bat_len : v->metadata_len) > 0)
                return vhdx_refuse(error, "'s regions are in wrong places");
        if (bat) {
                v->bat_at = at;
                v->bat_len = len;
        } else {
                v->metadata_at = at;
                v->metadata_len = len;
        }
        return true;
}

int vhdx_load_regions(struct vhdx *v, uint8_t *table) {
        for (unsigned copy = 0; copy < 2; copy++) {
                int r = vhdx_read_patched(v, VHDX_REGIONS_AT(copy), table, VHDX_REGIONS_LEN);

                if (r < 0)
                        return r;
                if (memcmp(table, "regi", 4) == 0 && is_summed(table, VHDX_REGIONS_LEN))
                        return vhdx_get32(table + 8) <= REGIONS_MAX ? 0 : -EBADMSG;
        }
        return -EBADMSG;
}

bool vhdx_read_regions(struct vhdx *v, GError **error) {
        g_autofree uint8_t *table = g_malloc(VHDX_REGIONS_LEN);
        int r = vhdx_load_regions(v, table);

        if (r == -EBADMSG)
                return vhdx_refuse(error, " has no valid table of regions");
        if (r < 0)
                return hv_error_errno(error, -r, "reading the VHDX's regions");
        for (uint32_t i = 0; i < vhdx_get32(table + 8); i++)
                if (!take_region(v, table + 16 + i * 32, error))
                        return false;
        if (v->bat_len == 0 || v->metadata_len == 0)
                return vhdx_refuse(error, " lacks a region that it needs");
        return !overlap(v->bat_at, v->bat_len, v->metadata_at, v->metadata_len) ||
               vhdx_refuse(error, "'s regions are in wrong places");
}

/* What items say, until they are all read. */
struct items {
        bool file, size, logical, physical;
        uint32_t flags;
};

static bool
take_item(struct vhdx *v,
          struct items *items,
          const struct vhdx_guid *id,
          const uint8_t *data,
          uint64_t at,
          bool required,
          GError **error) {
        if (vhdx_guid_equal(id, &vhdx_item_file)) {
                v->block = vhdx_get32(data);
                items->flags = vhdx_get32(data + 4);
                items->file = true;
        } else if (vhdx_guid_equal(id, &vhdx_item_size)) {
                v->img.size = vhdx_get64(data);
                v->size_at = at;
                items->size = true;
        } else if (vhdx_guid_equal(id, &vhdx_item_logical)) {
                v->sector = vhdx_get32(data);
                items->logical = true;
        } else if (vhdx_guid_equal(id, &vhdx_item_physical)) {
                v->physical = vhdx_get32(data);
                items->physical = true;
        } else if (required && !vhdx_guid_equal(id, &vhdx_item_id) &&
                   !vhdx_guid_equal(id, &vhdx_item_parent))
                return vhdx_refuse(error, " needs an item that is not known here");
        return true;
}

static bool check_items(struct vhdx *v, const struct items *items, GError **error) {
        if (!items->file || !items->size || !items->logical || !items->physical)
                return vhdx_refuse(error, " lacks an item that it needs");
        if (items->flags & 2)
                return vhdx_refuse(
                                error, " is a difference to another image (differencing), and "
                                       "these are not supported");
        if (v->block < VHDX_MIB || v->block > 256 * VHDX_MIB || (v->block & (v->block - 1)) != 0)
                return vhdx_refuse(error, "'s blocks have a wrong size");
        if ((v->sector != 512 && v->sector != 4096) || (v->physical != 512 && v->physical != 4096))
                return vhdx_refuse(error, "'s sectors have a wrong size");
        if (v->img.size == 0 || v->img.size > VHDX_SIZE_MAX || v->img.size % v->sector != 0)
                return vhdx_refuse(error, "'s disk has a wrong size");
        v->fixed = items->flags & 1;
        v->ratio = (UINT64_C(1) << 23) * v->sector / v->block;
        return true;
}

bool vhdx_read_metadata(struct vhdx *v, GError **error) {
        g_autofree uint8_t *table = g_malloc(VHDX_REGIONS_LEN);
        struct items items = { 0 };
        int r = vhdx_read_patched(v, v->metadata_at, table, VHDX_REGIONS_LEN);
        uint16_t n;

        if (r < 0)
                return hv_error_errno(error, -r, "reading the VHDX's metadata");
        n = vhdx_get16(table + 10);
        if (memcmp(table, "metadata", 8) != 0 || n > ITEMS_MAX)
                return vhdx_refuse(error, " has no valid metadata");
        for (unsigned i = 0; i < n; i++) {
                const uint8_t *entry = table + 32 + i * 32;
                uint32_t at = vhdx_get32(entry + 16), len = vhdx_get32(entry + 20);
                uint8_t data[8];

                /* User's items are not ours, even if they are called so; those we know are this long. */
                if (vhdx_get32(entry + 24) & 1)
                        continue;
                if (at < VHDX_REGIONS_LEN || len > ITEM_MAX || at > v->metadata_len ||
                    MAX(len, sizeof(data)) > v->metadata_len - at)
                        return vhdx_refuse(error, "'s metadata has an item in a wrong place");
                r = vhdx_read_patched(v, v->metadata_at + at, data, sizeof(data));
                if (r < 0)
                        return hv_error_errno(error, -r, "reading the VHDX's metadata");
                if (!take_item(v, &items, (const void *) entry, data, v->metadata_at + at,
                               vhdx_get32(entry + 24) & 4, error))
                        return false;
        }
        return check_items(v, &items, error);
}

uint32_t vhdx_blocks_for(const struct vhdx *v, uint64_t size) {
        return (uint32_t) ((size + v->block - 1) / v->block);
}

uint32_t vhdx_pages_for(const struct vhdx *v, uint64_t size) {
        uint64_t entries = vhdx_entry_of(v->ratio, vhdx_blocks_for(v, size) - 1) + 1;

        return (uint32_t) ((entries + VHDX_PAGE_ENTRIES - 1) / VHDX_PAGE_ENTRIES);
}
