/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VHDX: blocks of 1 to 256 MiB at places that a table names ([MS-VHDX] 2.5). A block that has a place keeps it: zeros are written there
 * or punched into the file, and the table changes only when a block gets its first place, at the end of the file where
 * everything reads as zeros. That change waits for flush() and goes through the log.
 *
 * The identities in the header change when it is opened for writing, once, since writes to blocks are not seen here.
 * Differences to other images are refused.
 */

#include "devices/block/image/vhdx-private.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>

/* Ranges of this size can be zeroed and given back, whatever the size of a block. */
#define CLUSTER 4096u

static bool vhdx_probe(const uint8_t *head, size_t n) {
        return n >= 8 && memcmp(head, "vhdxfile", 8) == 0;
}

static void vhdx_free(struct vhdx *v) {
        vhdx_forget_patches(v);
        g_free(v->bat);
        g_free(v->dirty);
        g_free(v);
}
typedef struct vhdx vhdx;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vhdx, vhdx_free)

static bool is_apart(uint64_t at, uint64_t len, uint64_t region, uint64_t region_len) {
        return at >= region + region_len || region >= at + len;
}

bool vhdx_is_good_place(const struct vhdx *v, uint64_t at) {
        return at >= VHDX_MIB && at <= (uint64_t) INT64_MAX - v->block && at < v->file->size &&
               is_apart(at, v->block, v->log_at, v->log_len) &&
               is_apart(at, v->block, v->bat_at, v->bat_len) &&
               is_apart(at, v->block, v->metadata_at, v->metadata_len);
}

bool vhdx_read_table(struct vhdx *v, GError **error) {
        size_t len;
        int r;

        v->n_blocks = vhdx_blocks_for(v, v->img.size);
        v->n_pages = vhdx_pages_for(v, v->img.size);
        if (v->n_pages > VHDX_TABLE_MAX / VHDX_PAGE)
                return vhdx_refuse(error, "'s table of blocks is larger than 64 MiB");
        len = (size_t) v->n_pages * VHDX_PAGE;
        if (len > v->bat_len)
                return vhdx_refuse(error, "'s table of blocks is too short for the disk");
        v->bat = g_malloc(len);
        v->dirty = g_malloc0(v->n_pages);
        r = vhdx_read_patched(v, v->bat_at, v->bat, len);
        if (r < 0)
                return hv_error_errno(error, -r, "reading the VHDX's table of blocks");
        for (size_t i = 0; i < len / sizeof(*v->bat); i++)
                v->bat[i] = GUINT64_FROM_LE(v->bat[i]);
        return true;
}

static bool check_table(const struct vhdx *v, GError **error) {
        for (uint32_t i = 0; i < v->n_blocks; i++) {
                uint64_t entry = v->bat[vhdx_entry_of(v->ratio, i)];
                enum vhdx_state state = VHDX_STATE(entry);

                if (state == VHDX_PRESENT ? !vhdx_is_good_place(v, VHDX_PLACE(entry))
                                          : state > VHDX_UNMAPPED)
                        return vhdx_refuse(error, "'s table has a wrong entry for block %u", i);
        }
        return true;
}

/* From here on it is another file than the one that others may know. */
static bool begin_writing(struct vhdx *v, GError **error) {
        int r;

        if (!vhdx_replay(v, error))
                return false;
        v->file_id = vhdx_guid_random();
        v->data_id = vhdx_guid_random();
        r = vhdx_write_header(v);
        return r == 0 || hv_error_errno(error, -r, "writing the VHDX's header");
}

static struct image *
vhdx_open(struct image_file *file, const struct image_open *how, GError **error) {
        g_autoptr(vhdx) v = g_new0(struct vhdx, 1);
        uint8_t head[8];
        int r = image_file_read(file, 0, head, sizeof(head));

        v->file = file;
        v->img.cluster = CLUSTER;
        v->img.readonly = how->readonly || file->readonly;
        if (r < 0) {
                (void) hv_error_errno(error, -r, "reading the VHDX's header");
                return NULL;
        }
        if (!vhdx_probe(head, sizeof(head))) {
                (void) vhdx_refuse(error, " does not begin as one");
                return NULL;
        }
        if (!vhdx_read_header(v, error) || !vhdx_read_log(v, error) ||
            !vhdx_read_regions(v, error) || !vhdx_read_metadata(v, error) ||
            !vhdx_read_table(v, error) || (!how->for_check && !check_table(v, error)))
                return NULL;
        if (!v->img.readonly && !begin_writing(v, error))
                return NULL;
        vhdx_forget_patches(v);
        return &g_steal_pointer(&v)->img;
}

static int vhdx_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct vhdx *v = (struct vhdx *) img;
        uint32_t block = (uint32_t) (offset / v->block), skip = (uint32_t) (offset % v->block);
        uint64_t entry = v->bat[vhdx_entry_of(v->ratio, block)];
        bool present = VHDX_STATE(entry) == VHDX_PRESENT;

        *ret = (struct image_extent){
                .kind = present ? IMAGE_DATA : IMAGE_ZERO,
                .len = v->block - skip,
                .file = present ? img->file : NULL,
                .at = present ? VHDX_PLACE(entry) + skip : 0,
                .writable = present && !img->readonly,
        };
        while (ret->len < len) {
                uint64_t next = v->bat[vhdx_entry_of(v->ratio, ++block)];

                if (present ? next != ((entry + ret->len + skip) | VHDX_PRESENT)
                            : VHDX_STATE(next) == VHDX_PRESENT)
                        break;
                ret->len += v->block;
        }
        ret->len = MIN(ret->len, len);
        return 0;
}

void vhdx_mark(struct vhdx *v, uint64_t entry) {
        uint8_t *dirty = &v->dirty[entry / VHDX_PAGE_ENTRIES];

        v->n_dirty += !*dirty;
        *dirty = 1;
        v->img.unflushed = true;
}

int vhdx_place_block(struct vhdx *v, uint32_t block) {
        uint64_t at = v->file->size + (-v->file->size & (VHDX_MIB - 1)),
                 entry = vhdx_entry_of(v->ratio, block);
        int r;

        if (at > (uint64_t) INT64_MAX - v->block)
                return -EFBIG;
        r = image_file_truncate(v->file, at + v->block);
        if (r < 0)
                return r;
        v->bat[entry] = at | VHDX_PRESENT;
        vhdx_mark(v, entry);
        return 0;
}

static int
vhdx_allocate(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct vhdx *v = (struct vhdx *) img;
        int r = vhdx_map(img, offset, 1, ret);

        if (r == 0 && ret->kind != IMAGE_DATA)
                r = vhdx_place_block(v, (uint32_t) (offset / v->block));
        if (r < 0)
                return r;
        image_tell_moved(
                        img, offset - offset % v->block,
                        MIN(v->block, img->size - (offset - offset % v->block)));
        return vhdx_map(img, offset, MIN(len, v->block - offset % v->block), ret);
}

/* What has a place is changed there; what has none reads as zeros. */
static int
each_present(struct image *img,
             uint64_t offset,
             uint64_t len,
             int (*act)(struct image_file *f, uint64_t at, uint64_t len, bool unmap),
             bool unmap) {
        int r = 0;

        while (r == 0 && len > 0) {
                struct image_extent x;

                r = vhdx_map(img, offset, len, &x);
                if (r == 0 && x.kind == IMAGE_DATA)
                        r = act(x.file, x.at, x.len, unmap);
                offset += x.len;
                len -= x.len;
        }
        return r;
}

static int vhdx_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        return each_present(img, offset, len, image_file_zero, unmap);
}

static int discard(struct image_file *f, uint64_t at, uint64_t len, bool unmap) {
        return image_file_discard(f, at, len);
}

static int vhdx_discard(struct image *img, uint64_t offset, uint64_t len) {
        return each_present(img, offset, len, discard, /* unmap= */ true);
}

void vhdx_fill_page(const struct vhdx *v, uint32_t page, uint8_t *out) {
        for (uint32_t i = 0; i < VHDX_PAGE_ENTRIES; i++)
                vhdx_put64(out + i * sizeof(uint64_t),
                           v->bat[(size_t) page * VHDX_PAGE_ENTRIES + i]);
}

static int commit_some(struct vhdx *v) {
        g_autofree uint8_t *pages = g_malloc((size_t) VHDX_COMMIT_MAX * VHDX_PAGE);
        uint64_t at[VHDX_COMMIT_MAX];
        uint32_t which[VHDX_COMMIT_MAX];
        unsigned n = 0;
        int r;

        for (uint32_t i = 0; i < v->n_pages && n < VHDX_COMMIT_MAX; i++) {
                if (!v->dirty[i])
                        continue;
                vhdx_fill_page(v, i, pages + (size_t) n * VHDX_PAGE);
                at[n] = v->bat_at + (uint64_t) i * VHDX_PAGE;
                which[n++] = i;
        }
        r = vhdx_commit(v, at, pages, n);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < n; i++)
                v->dirty[which[i]] = 0;
        v->n_dirty -= n;
        return 0;
}

int vhdx_flush(struct image *img) {
        struct vhdx *v = (struct vhdx *) img;
        int r;

        if (v->n_dirty == 0)
                return image_file_sync(v->file);
        do
                r = commit_some(v);
        while (r == 0 && v->n_dirty > 0);
        if (r == 0)
                img->unflushed = false;
        return r;
}

int vhdx_end_log(struct vhdx *v) {
        int r;

        if (vhdx_guid_equal(&v->log_id, &vhdx_guid_none))
                return 0;
        r = image_file_sync(v->file);
        if (r < 0)
                return r;
        v->log_id = vhdx_guid_none;
        return vhdx_write_header(v);
}

/* With nothing left in the log: others need not replay it. */
static void vhdx_close(struct image *img) {
        struct vhdx *v = (struct vhdx *) img;

        if (!img->readonly && v->n_dirty == 0)
                (void) vhdx_end_log(v);
        vhdx_free(v);
}

static void vhdx_describe(struct image *img, GVariantBuilder *dict) {
        const struct vhdx *v = (const struct vhdx *) img;

        g_variant_builder_add(
                        dict, "{sv}", "subformat",
                        g_variant_new_string(v->fixed ? "fixed" : "dynamic"));
        g_variant_builder_add(dict, "{sv}", "block-size", g_variant_new_uint32(v->block));
        g_variant_builder_add(dict, "{sv}", "log-size", g_variant_new_uint32(v->log_len));
        g_variant_builder_add(dict, "{sv}", "logical-sector-size", g_variant_new_uint32(v->sector));
        g_variant_builder_add(
                        dict, "{sv}", "physical-sector-size", g_variant_new_uint32(v->physical));
        g_variant_builder_add(dict, "{sv}", "log-in-use", g_variant_new_boolean(v->replayed));
}

const struct image_format image_vhdx = {
        .name = "vhdx",
        .description = "Hyper-V's, fixed and dynamic",
        .probe = vhdx_probe,
        .open = vhdx_open,
        .options = vhdx_options,
        .create = vhdx_create,
        .map = vhdx_map,
        .allocate = vhdx_allocate,
        .zero = vhdx_zero,
        .discard = vhdx_discard,
        .flush = vhdx_flush,
        .resize = vhdx_resize,
        .check = vhdx_check,
        .describe = vhdx_describe,
        .close = vhdx_close,
};
