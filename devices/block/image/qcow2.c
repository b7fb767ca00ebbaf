/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The qcow2 format: opening, closing, and what it tells about itself. Each other noun has its own file (qcow2.h).
 *
 * An image is opened for writing only if its tables do not overlap and nobody marked it as corrupt; one that was not closed cleanly (the dirty mark) has its
 * counts made right first. What a writer must clear (the autoclear features it does not know) is cleared then.
 */

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <string.h>

static bool probe(const uint8_t *head, size_t n) {
        return n >= 8 && memcmp(head, "QFI\xfb\0\0\0", 7) == 0 && (head[7] == 2 || head[7] == 3);
}

static void set_geometry(struct qcow2 *q) {
        const struct qcow2_header *h = &q->header;

        q->version = h->version;
        q->cluster_bits = h->cluster_bits;
        q->cluster = 1u << h->cluster_bits;
        q->extended = h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
        q->l2_bits = h->cluster_bits - (q->extended ? 4 : 3);
        q->unit = q->extended ? q->cluster / 32 : q->cluster;
        q->refcount_order = h->refcount_order;
        q->block_bits = h->cluster_bits + 3 - h->refcount_order;
        q->refcount_max = UINT64_MAX >> (64 - (1u << h->refcount_order));
        q->external = h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
        q->raw_external = h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA;
        q->end = (q->img.file->size + q->cluster - 1) & ~((uint64_t) q->cluster - 1);
        q->virgin = q->img.file->block_device ? UINT64_MAX : q->end;
        q->img.size = (h->size + 511) & ~511ull;
        q->img.cluster = q->unit;
        q->img.packed_unit = q->external ? 0 : q->cluster;
}

static uint64_t *
read_words(struct qcow2 *q, uint64_t offset, uint32_t n, const char *what, GError **error) {
        g_autofree uint64_t *words = g_try_new0(uint64_t, MAX(n, 1));
        int r = words ? image_file_read(q->img.file, offset, words, 8ull * n) : -ENOMEM;

        if (r < 0) {
                (void) hv_error_errno(error, -r, "reading the %s of a qcow2 image", what);
                return NULL;
        }
        for (uint32_t i = 0; i < n; i++)
                words[i] = GUINT64_FROM_BE(words[i]);
        return g_steal_pointer(&words);
}

static bool read_tables(struct qcow2 *q, GError **error) {
        const struct qcow2_header *h = &q->header;
        uint64_t whole = qcow2_l1_needed(q, q->img.size) << q->cluster_bits;

        q->reftable_size = h->reftable_clusters << (q->cluster_bits - 3);
        q->l1 = read_words(q, h->l1_offset, h->l1_size, "L1 table", error);
        if (q->l1)
                q->reftable = read_words(
                                q, h->reftable_offset, q->reftable_size, "refcount table", error);
        if (!q->reftable)
                return false;
        qcow2_cache_init(&q->l2_cache, q->cluster, MIN(qcow2_limits.l2_cache, whole));
        qcow2_cache_init(&q->block_cache, q->cluster, qcow2_limits.refcount_cache);
        return qcow2_snapshots_read(q, error);
}

static bool open_data(struct qcow2 *q, const struct image_open *how, bool without, GError **error) {
        const char *name = q->header.data_name;
        int r;

        q->data = q->img.file;
        if (!q->external)
                return true;
        q->data = NULL;
        if (without || (how->for_check && !how->resolver))
                return true;
        if (!name || !*name) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_IMAGE,
                                "the qcow2 image has an external data file and does not name it");
                return false;
        }
        if (!how->resolver) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the qcow2 image has an external data file, '%s', and that is not "
                            "permitted",
                            name);
                return false;
        }
        q->data = how->resolver->open(
                        how->resolver->opaque, IMAGE_ROLE_DATA, name, "raw", how->depth,
                        q->img.readonly, error);
        if (!q->data)
                return false;
        if (q->raw_external && !q->img.readonly && q->data->size < q->img.size) {
                r = image_file_truncate(q->data, q->img.size);
                if (r < 0)
                        return hv_error_errno(error, -r, "growing data file '%s'", name);
        }
        return true;
}

static bool repair_counts(struct qcow2 *q, GError **error) {
        struct image_check check = { .repair_leaks = true, .repair_all = true };

        if (!qcow2_check(&q->img, &check, error)) {
                g_prefix_error(error, "the qcow2 image was not closed cleanly: ");
                return false;
        }
        if (check.corruptions == 0)
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                    "the qcow2 image was not closed cleanly, and %" G_GUINT64_FORMAT
                    " of its faults cannot be repaired",
                    check.corruptions);
        return false;
}

static bool prepare_writing(struct qcow2 *q, const struct image_open *how, GError **error) {
        g_autofree char *why = NULL;
        int r;

        if (q->img.readonly)
                return true;
        if (!how->for_check && q->header.incompatible & QCOW2_INCOMPAT_CORRUPT) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_IMAGE,
                                "the qcow2 image is marked as corrupt: it can be read, or "
                                "repaired");
                return false;
        }
        if (!qcow2_kinds_fill(q, &why) && !how->for_check) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the qcow2 image is corrupt and can only be read: %s", why);
                return false;
        }
        if (how->for_check)
                return true;
        if (q->header.incompatible & QCOW2_INCOMPAT_DIRTY && !repair_counts(q, error))
                return false;
        if (q->header.autoclear & ~(uint64_t) QCOW2_AUTOCLEAR_RAW_DATA) {
                q->header.autoclear &= QCOW2_AUTOCLEAR_RAW_DATA;
                r = qcow2_header_write_features(q);
                if (r == 0)
                        r = qcow2_sync(q);
                if (r < 0)
                        return hv_error_errno(error, -r, "writing a qcow2 header");
        }
        return true;
}

struct image *
qcow2_open_file(struct image_file *file,
                const struct image_open *how,
                bool without_data,
                GError **error) {
        struct qcow2 *q = g_new0(struct qcow2, 1);

        q->img.format = &image_qcow2;
        q->img.file = file;
        q->img.readonly = how->readonly || file->readonly;
        q->pending = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
        q->held = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
        q->snapshots = g_ptr_array_new_with_free_func((GDestroyNotify) qcow2_snapshot_free);
        if (qcow2_header_read(file, &q->header, error)) {
                set_geometry(q);
                if (read_tables(q, error) && open_data(q, how, without_data, error) &&
                    prepare_writing(q, how, error)) {
                        q->img.backing_name = g_strdup(q->header.backing_name);
                        q->img.backing_format = g_strdup(q->header.backing_format);
                        return &q->img;
                }
        }
        q->broken = -EIO; /* nothing is to be written on the way out */
        qcow2_close(&q->img);
        return NULL;
}

static struct image *
open_image(struct image_file *file, const struct image_open *how, GError **error) {
        return qcow2_open_file(file, how, /* without_data= */ false, error);
}

void qcow2_close(struct image *img) {
        struct qcow2 *q = to_qcow2(img);

        if (!img->readonly && !q->corrupt && !q->broken) {
                /* Counts that the last flush lowered, and what was held until now. */
                img->hold = false;
                qcow2_release_held(img);
                for (int i = 0; i < 2 && img->unflushed; i++)
                        (void) qcow2_flush(img);
                if (!q->broken && !q->corrupt && !img->file->block_device &&
                    img->file->size > q->end)
                        (void) image_file_truncate(img->file, q->end);
        }
        if (q->external)
                (void) image_file_free(q->data);
        qcow2_header_clear(&q->header);
        qcow2_cache_clear(&q->l2_cache);
        qcow2_cache_clear(&q->block_cache);
        qcow2_set_clear(&q->kinds);
        g_free(q->l1);
        g_free(q->reftable);
        g_array_unref(q->pending);
        g_array_unref(q->held);
        g_ptr_array_unref(q->snapshots);
        g_free(q->corrupt_why);
        g_free(q->bounce);
        g_free(q->packed);
        g_free(q->unpacked);
        g_free(q->packing);
        g_free(q);
}

static void add_bool(GVariantBuilder *dict, const char *key, bool value) {
        g_variant_builder_add(dict, "{sv}", key, g_variant_new_boolean(value));
}

static void add_string(GVariantBuilder *dict, const char *key, const char *value) {
        if (value)
                g_variant_builder_add(dict, "{sv}", key, g_variant_new_string(value));
}

static void describe(struct image *img, GVariantBuilder *dict) {
        static const char *const compressions[] = { "zlib", "zstd" };
        struct qcow2 *q = to_qcow2(img);
        uint64_t incompatible = q->header.incompatible;

        add_string(dict, "compat", q->version >= 3 ? "1.1" : "0.10");
        g_variant_builder_add(dict, "{sv}", "cluster_size", g_variant_new_uint32(q->cluster));
        g_variant_builder_add(
                        dict, "{sv}", "refcount_bits",
                        g_variant_new_uint32(1u << q->refcount_order));
        add_string(dict, "compression_type", compressions[q->header.compression]);
        add_bool(dict, "lazy_refcounts", q->header.compatible & QCOW2_COMPAT_LAZY);
        add_bool(dict, "extended_l2", q->extended);
        add_bool(dict, "dirty", incompatible & QCOW2_INCOMPAT_DIRTY);
        add_bool(dict, "corrupt", q->corrupt || incompatible & QCOW2_INCOMPAT_CORRUPT);
        add_string(dict, "corruption", q->corrupt_why);
        if (q->external) {
                add_string(dict, "data_file", q->header.data_name);
                add_bool(dict, "data_file_raw", q->raw_external);
        }
        g_variant_builder_add(dict, "{sv}", "snapshots", g_variant_new_uint32(q->snapshots->len));
}

const struct image_format image_qcow2 = {
        .name = "qcow2",
        .description = "copy on write, versions 2 and 3",
        .probe = probe,
        .open = open_image,
        .options = qcow2_options,
        .create = qcow2_create,
        .map = qcow2_map,
        .read_packed = qcow2_read_packed,
        .write_packed = qcow2_write_packed,
        .allocate = qcow2_allocate,
        .zero = qcow2_zero,
        .discard = qcow2_discard,
        .flush = qcow2_flush,
        .release_held = qcow2_release_held,
        .resize = qcow2_resize,
        .resize_step = qcow2_resize_step,
        .check = qcow2_check,
        .describe = describe,
        .snapshots = qcow2_snapshots,
        .snapshot_create = qcow2_snapshot_create,
        .snapshot_apply = qcow2_snapshot_apply,
        .snapshot_delete = qcow2_snapshot_delete,
        .close = qcow2_close,
};
