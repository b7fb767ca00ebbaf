/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * New qcow2 images: header, refcount table, refcount blocks and an empty L1 table, in this order from the start of the file. What is allocated in
 * advance is allocated as a guest's writes would.
 */

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <string.h>

static const char *const compats[] = { "1.1", "v3", "0.10", "v2", NULL };
static const char *const preallocations[] = { "off", "metadata", "falloc", "full", NULL };
static const char *const compressions[] = { "zlib", "zstd", NULL };
static const char *const widths[] = { "1", "2", "4", "8", "16", "32", "64", NULL };

enum {
        PREALLOCATE_OFF,
        PREALLOCATE_METADATA,
        PREALLOCATE_FALLOC,
        PREALLOCATE_FULL,
};

const struct image_option_spec qcow2_options[] = {
        { "cluster_size", "512..2M", "the unit in which space is given out (64K)" },
        { "compat", "0.10|1.1", "version 2 or 3 of the format (1.1)" },
        { "refcount_bits", "1|2|4|8|16|32|64", "width of a cluster's count (16)" },
        { "lazy_refcounts", "on|off", "counts may be behind, until the image is checked (off)" },
        { "extended_l2", "on|off", "clusters have 32 parts of their own state (off)" },
        { "preallocation", "off|metadata|falloc|full", "what has space from the start (off)" },
        { "backing_file", "NAME", "the image under this one" },
        { "backing_fmt", "FORMAT", "its format" },
        { "data_file", "NAME", "a file for the guest's data alone" },
        { "data_file_raw", "on|off", "that file can be used as a raw image (off)" },
        { "compression_type", "zlib|zstd", "how compressed clusters are packed (zlib)" },
        { NULL },
};

struct plan {
        struct qcow2_header h;
        bool extended, raw;
        unsigned preallocation;
        uint64_t l1_clusters, n_blocks;
};

static bool wrong(GError **error, const char *what) {
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "a new qcow2 image: %s", what);
        return false;
}

static bool take(struct plan *p, struct image_options *o, GError **error) {
        struct qcow2_header *h = &p->h;
        unsigned compat = 0, width = 4;
        uint64_t cluster = 65536;
        bool lazy = false;

        if (!image_options_take_size(o, "cluster_size", 512, 2u << 20, &cluster, error) ||
            !image_options_take_choice(o, "compat", compats, &compat, error) ||
            !image_options_take_choice(o, "refcount_bits", widths, &width, error) ||
            !image_options_take_bool(o, "lazy_refcounts", &lazy, error) ||
            !image_options_take_bool(o, "extended_l2", &p->extended, error) ||
            !image_options_take_choice(
                            o, "preallocation", preallocations, &p->preallocation, error) ||
            !image_options_take_string(o, "backing_file", &h->backing_name, error) ||
            !image_options_take_string(o, "backing_fmt", &h->backing_format, error) ||
            !image_options_take_string(o, "data_file", &h->data_name, error) ||
            !image_options_take_bool(o, "data_file_raw", &p->raw, error) ||
            !image_options_take_choice(o, "compression_type", compressions, &h->compression, error))
                return false;
        if (cluster & (cluster - 1))
                return wrong(error, "cluster_size is no power of two");
        h->version = compat < 2 ? 3 : 2;
        h->cluster_bits = (unsigned) __builtin_ctzll(cluster);
        h->refcount_order = width;
        h->compatible = lazy ? QCOW2_COMPAT_LAZY : 0;
        h->incompatible = (p->extended ? QCOW2_INCOMPAT_EXTENDED_L2 : 0) |
                          (h->data_name ? QCOW2_INCOMPAT_DATA_FILE : 0) |
                          (h->compression ? QCOW2_INCOMPAT_COMPRESSION : 0);
        h->autoclear = p->raw ? QCOW2_AUTOCLEAR_RAW_DATA : 0;
        h->length = h->version == 2 ? QCOW2_HEADER_V2 : QCOW2_HEADER_V3 + 8;
        return true;
}

static bool check(struct plan *p, GError **error) {
        const struct qcow2_header *h = &p->h;

        if (h->version == 2 && (h->incompatible || h->compatible || h->refcount_order != 4))
                return wrong(error, "compat=0.10 has no lazy_refcounts, extended_l2, data_file, "
                                    "compression_type and refcount_bits other than 16");
        if (p->extended && h->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
                return wrong(error, "extended_l2 needs a cluster_size of 16K or more");
        if (p->raw && (!h->data_name || h->backing_name))
                return wrong(error, "data_file_raw needs data_file, and excludes backing_file");
        if (h->backing_format && !h->backing_name)
                return wrong(error, "backing_fmt needs backing_file");
        if (h->backing_name && p->preallocation != PREALLOCATE_OFF)
                return wrong(error, "preallocation would hide backing_file");
        if (h->data_name && p->preallocation > PREALLOCATE_METADATA)
                return wrong(error, "preallocation can be metadata at most with data_file, which "
                                    "is made by itself");
        if ((h->backing_name && strlen(h->backing_name) > QCOW2_NAME_MAX) ||
            (h->data_name && strlen(h->data_name) > QCOW2_NAME_MAX) ||
            (h->backing_format && strlen(h->backing_format) > 15))
                return wrong(error, "backing_file, backing_fmt or data_file is too long");
        /* What is not in the tables of a raw data file would not read as what is in the file. */
        if (p->raw)
                p->preallocation = PREALLOCATE_METADATA;
        return true;
}

/* Where the tables go. Each block counts a region, the blocks and their table among it. */
static bool lay_out(struct plan *p, uint64_t size, GError **error) {
        struct qcow2_header *h = &p->h;
        uint64_t cluster = 1ull << h->cluster_bits,
                 shift = 2 * h->cluster_bits - (p->extended ? 4 : 3), table = 1, all = 0,
                 l1 = (size >> shift) + ((size & ((1ull << shift) - 1)) != 0);
        unsigned block_bits = h->cluster_bits + 3 - h->refcount_order;

        if (size > INT64_MAX - 511 || l1 > QCOW2_L1_BYTES_MAX / 8)
                return wrong(error, "the size is too large for the cluster_size");
        l1 = MAX(l1, 1);
        p->l1_clusters = (8 * l1 + cluster - 1) / cluster;
        for (p->n_blocks = 1;;) {
                uint64_t blocks;

                all = 1 + table + p->n_blocks + p->l1_clusters;
                blocks = (all + (1ull << block_bits) - 1) >> block_bits;
                if (blocks == p->n_blocks && (blocks * 8 + cluster - 1) / cluster == table)
                        break;
                p->n_blocks = MAX(blocks, p->n_blocks);
                table = (p->n_blocks * 8 + cluster - 1) / cluster;
        }
        h->size = size;
        h->l1_size = (uint32_t) l1;
        h->l1_offset = (1 + table + p->n_blocks) << h->cluster_bits;
        h->reftable_offset = cluster;
        h->reftable_clusters = (uint32_t) table;
        return true;
}

static void put(uint8_t *p, uint64_t n, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                p[i] = (uint8_t) (n >> (8 * (bytes - 1 - i)));
}

/* Where the next extension goes; NULL if there is no room for this one. */
static uint8_t *extend(uint8_t *at, const uint8_t *end, uint32_t type, const void *data, size_t n) {
        if (!at || (size_t) (end - at) < 8 + ((n + 7) & ~(size_t) 7))
                return NULL;
        put(at, type, 4);
        put(at + 4, n, 4);
        if (n > 0)
                memcpy(at + 8, data, n);
        return at + 8 + ((n + 7) & ~(size_t) 7);
}

static uint8_t *extend_text(uint8_t *at, const uint8_t *end, uint32_t type, const char *text) {
        return text ? extend(at, end, type, text, strlen(text)) : at;
}

/* For those who know a feature only by its name. Left out where the first cluster is too small. */
static uint8_t *extend_features(uint8_t *at, const uint8_t *end) {
        static const struct {
                uint8_t type, bit;
                char name[46];
        } names[] = {
                { 0, 0, "dirty bit" },
                { 0, 1, "corrupt bit" },
                { 0, 2, "external data file" },
                { 0, 3, "compression type" },
                { 0, 4, "extended L2 entries" },
                { 1, 0, "lazy refcounts" },
                { 2, 0, "bitmaps" },
                { 2, 1, "raw external data" },
        };
        uint8_t *next;

        G_STATIC_ASSERT(sizeof(names[0]) == 48);
        next = extend(at, end, QCOW2_EXT_FEATURE_NAMES, names, sizeof(names));
        return next ? next : at;
}

static void put_fields(uint8_t *head, const struct qcow2_header *h) {
        put(head, QCOW2_MAGIC, 4);
        put(head + 4, h->version, 4);
        put(head + 20, h->cluster_bits, 4);
        put(head + QCOW2_AT_SIZE, h->size, 8);
        put(head + QCOW2_AT_L1, h->l1_size, 4);
        put(head + QCOW2_AT_L1 + 4, h->l1_offset, 8);
        put(head + QCOW2_AT_REFTABLE, h->reftable_offset, 8);
        put(head + QCOW2_AT_REFTABLE + 8, h->reftable_clusters, 4);
        if (h->version == 2)
                return;
        put(head + QCOW2_AT_INCOMPATIBLE, h->incompatible, 8);
        put(head + 80, h->compatible, 8);
        put(head + QCOW2_AT_AUTOCLEAR, h->autoclear, 8);
        put(head + 96, h->refcount_order, 4);
        put(head + 100, h->length, 4);
        head[104] = (uint8_t) h->compression;
}

static bool write_header(struct image_file *file, const struct qcow2_header *h, GError **error) {
        size_t size = (size_t) 1 << h->cluster_bits,
               n_name = h->backing_name ? strlen(h->backing_name) : 0;
        g_autofree uint8_t *head = g_malloc0(size);
        uint8_t *at, *end = head + size - n_name - 8;
        int r;

        if (size < h->length + n_name + 8)
                return wrong(error, "the names do not fit the first cluster");
        put_fields(head, h);
        at = head + h->length;
        at = extend_text(at, end, (uint32_t) QCOW2_EXT_BACKING_FORMAT, h->backing_format);
        at = extend_text(at, end, QCOW2_EXT_DATA_FILE, h->data_name);
        if (at && h->version >= 3)
                at = extend_features(at, end);
        if (!at)
                return wrong(error, "the names do not fit the first cluster");
        if (n_name > 0) {
                at += 8;
                memcpy(at, h->backing_name, n_name);
                put(head + 8, (uint64_t) (at - head), 8);
                put(head + 16, n_name, 4);
        }
        r = image_file_write(file, 0, head, size);
        return r == 0 || hv_error_errno(error, -r, "writing a new qcow2 image");
}

static int write_blocks(struct image_file *file, const struct plan *p) {
        const struct qcow2_header *h = &p->h;
        struct qcow2 q = { .refcount_order = h->refcount_order };
        size_t cluster = (size_t) 1 << h->cluster_bits;
        uint64_t used = 1 + h->reftable_clusters + p->n_blocks + p->l1_clusters,
                 per_block = (cluster * 8) >> h->refcount_order,
                 first = (uint64_t) (1 + h->reftable_clusters) << h->cluster_bits;
        g_autofree uint8_t *block = g_malloc(cluster);
        int r = 0;

        for (uint64_t b = 0; r == 0 && b < p->n_blocks; b++) {
                memset(block, 0, cluster);
                for (uint64_t i = 0; i < per_block && b * per_block + i < used; i++)
                        qcow2_refcount_poke(&q, block, (uint32_t) i, 1);
                r = image_file_write(file, first + b * cluster, block, cluster);
        }
        return r;
}

static int write_tables(struct image_file *file, const struct plan *p) {
        const struct qcow2_header *h = &p->h;
        uint64_t cluster = 1ull << h->cluster_bits, bytes = h->reftable_clusters * cluster;
        g_autofree uint8_t *table = g_malloc0(bytes);
        int r;

        for (uint64_t b = 0; b < p->n_blocks; b++)
                put(table + 8 * b, (1 + h->reftable_clusters + b) << h->cluster_bits, 8);
        r = image_file_write(file, h->reftable_offset, table, bytes);
        if (r == 0)
                r = write_blocks(file, p);
        if (r == 0)
                r = image_file_zero(
                                file, h->l1_offset, p->l1_clusters * cluster, /* unmap= */ true);
        return r;
}

/* Entries alone: the data file has one place for each cluster. */
static int preallocate_external(struct qcow2 *q) {
        for (uint64_t at = 0; at < q->img.size; at += q->cluster) {
                struct qcow2_table *t;
                int r = qcow2_l2_own(q, at >> (q->cluster_bits + q->l2_bits), &t);

                if (r < 0)
                        return r;
                qcow2_entry_set(q, t,
                                (uint32_t) (at >> q->cluster_bits) & (qcow2_l2_entries(q) - 1),
                                (struct qcow2_entry){ at | QCOW2_COPIED, UINT32_MAX });
        }
        return 0;
}

static int write_zeros(const struct image_extent *x) {
        static const char zeros[64 * 1024];
        int r = 0;

        for (uint64_t done = 0; r == 0 && done < x->len; done += sizeof(zeros))
                r = image_file_write(
                                x->file, x->at + done, zeros,
                                (size_t) MIN(x->len - done, sizeof(zeros)));
        return r;
}

static int preallocate_data(struct qcow2 *q, unsigned how) {
        int r = 0;

        for (uint64_t at = 0; r == 0 && at < q->img.size;) {
                struct image_extent x;

                r = qcow2_allocate(&q->img, at, q->img.size - at, &x);
                if (r < 0)
                        break;
                if (how == PREALLOCATE_FULL)
                        r = write_zeros(&x);
                else if (how == PREALLOCATE_FALLOC)
                        r = image_file_allocate(x.file, x.at, x.len);
                /* A file's new space reads as zeros; a device's does not. */
                if (r == 0 && how != PREALLOCATE_FULL && x.file->block_device)
                        r = image_file_zero(x.file, x.at, x.len, /* unmap= */ false);
                at += x.len;
        }
        return r;
}

static bool preallocate(struct image_file *file, unsigned how, GError **error) {
        const struct image_open open = { .format = "qcow2" };
        struct image *img = qcow2_open_file(file, &open, /* without_data= */ true, error);
        struct qcow2 *q = to_qcow2(img);
        int r;

        if (!img)
                return false;
        r = q->external ? preallocate_external(q) : preallocate_data(q, how);
        if (r == 0)
                r = qcow2_flush(img);
        g_free(img->backing_name);
        g_free(img->backing_format);
        qcow2_close(img);
        return r == 0 || hv_error_errno(error, -r, "allocating space for a new qcow2 image");
}

bool qcow2_create(
                struct image_file *file,
                uint64_t size,
                struct image_options *options,
                GError **error) {
        struct plan p = {};
        bool ok = take(&p, options, error) && check(&p, error) &&
                  lay_out(&p, (size + 511) & ~511ull, error);

        if (ok) {
                int r = write_tables(file, &p);

                /* The header makes it an image, so it comes last. */
                ok = (r == 0 || hv_error_errno(error, -r, "writing a new qcow2 image")) &&
                     write_header(file, &p.h, error);
                r = ok ? image_file_sync(file) : 0;
                ok = ok && (r == 0 || hv_error_errno(error, -r, "writing a new qcow2 image"));
        }
        if (ok && p.preallocation != PREALLOCATE_OFF)
                ok = preallocate(file, p.preallocation, error);
        qcow2_header_clear(&p.h);
        return ok;
}
