/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VMDK: a disk made of extents, one behind the other. Flat ones are files with the disk's bytes, which are read and written where
 * they are; sparse ones are read (vmdk-sparse.c). A descriptor (vmdk-descriptor.c) names them, or is part of the only one. An image with
 * an extent that cannot be written is not written at all.
 */

#include "devices/block/image/image.h"
#include "devices/block/image/vmdk-descriptor.h"
#include "devices/block/image/vmdk-sparse.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SECTOR 512u
#define CLUSTER_MAX 65536u

struct part {
        uint64_t start, len;        /* bytes of the disk */
        struct image_file *file;    /* NULL: zeros */
        bool owned;                 /* the file is not the image's own */
        uint64_t at;                /* flat: bytes */
        struct vmdk_sparse *sparse; /* NULL: flat */
};

struct vmdk {
        struct image img;
        char *create_type;
        uint32_t cid;
        struct part *parts;
        unsigned n_parts;
};

static void vmdk_close(struct image *img) {
        struct vmdk *v = (struct vmdk *) img;

        for (unsigned i = 0; i < v->n_parts; i++) {
                (void) vmdk_sparse_free(v->parts[i].sparse);
                if (v->parts[i].owned)
                        (void) image_file_free(v->parts[i].file);
        }
        g_free(v->parts);
        g_free(v->create_type);
        g_free(v);
}

static void vmdk_free(struct vmdk *v) {
        vmdk_close(&v->img);
}
typedef struct vmdk vmdk;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmdk, vmdk_free)

static bool vmdk_probe(const uint8_t *head, size_t n) {
        return vmdk_sparse_probe(head, n) || vmdk_descriptor_probe(head, n);
}

/* The largest piece that no border of parts or grains cuts. */
static uint32_t cluster_of(const struct vmdk *v) {
        uint64_t cluster = CLUSTER_MAX;

        for (unsigned i = 0; i < v->n_parts; i++) {
                const struct part *p = &v->parts[i];

                while (p->start % cluster != 0)
                        cluster /= 2;
                if (p->sparse)
                        cluster = MIN(cluster, vmdk_sparse_grain(p->sparse));
        }
        return (uint32_t) cluster;
}

/* One file that is all there is. */
static bool open_single(struct vmdk *v, struct image_file *file, GError **error) {
        g_autoptr(vmdk_sparse) sparse = vmdk_sparse_open(file, error);
        g_autofree char *text = NULL;
        g_autoptr(vmdk_descriptor) d = NULL;
        g_autoptr(GError) bad = NULL;
        size_t n = 0;

        if (!sparse)
                return false;
        text = vmdk_sparse_descriptor(sparse, &n, &bad);
        if (bad) {
                g_propagate_error(error, g_steal_pointer(&bad));
                return false;
        }
        if (!text) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_IMAGE,
                                "it is an extent of a VMDK; the image is the file that names it");
                return false;
        }
        d = vmdk_descriptor_parse(text, n, /* embedded= */ true, error);
        if (!d)
                return false;
        v->create_type = g_strdup(d->create_type);
        v->cid = d->cid;
        v->img.readonly = true;
        v->img.size = vmdk_sparse_size(sparse);
        v->parts = g_new0(struct part, 1);
        v->n_parts = 1;
        v->parts[0] = (struct part){
                .len = v->img.size,
                .file = file,
                .sparse = g_steal_pointer(&sparse),
        };
        return true;
}

static bool
open_part(struct part *part,
          const struct vmdk_extent_line *line,
          const struct image_open *how,
          bool readonly,
          GError **error) {
        if (line->kind == VMDK_ZERO)
                return true;
        if (!how->resolver) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the VMDK has an extent in '%s', and that is not permitted",
                            line->name);
                return false;
        }
        part->file = how->resolver->open(
                        how->resolver->opaque, IMAGE_ROLE_EXTENT, line->name, /* format= */ "raw",
                        how->depth, readonly, error);
        if (!part->file) {
                g_prefix_error(error, "extent '%s': ", line->name);
                return false;
        }
        part->owned = true;
        part->at = line->at * SECTOR;
        if (line->kind == VMDK_FLAT)
                return true;
        part->sparse = vmdk_sparse_open(part->file, error);
        if (part->sparse && vmdk_sparse_size(part->sparse) < part->len)
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "it is smaller than the descriptor says");
        else if (part->sparse)
                return true;
        g_prefix_error(error, "extent '%s': ", line->name);
        return false;
}

static bool
open_parts(struct vmdk *v,
           const struct vmdk_descriptor *d,
           const struct image_open *how,
           GError **error) {
        const struct vmdk_extent_line *lines = (const void *) d->extents->data;

        v->create_type = g_strdup(d->create_type);
        v->cid = d->cid;
        v->img.readonly = how->readonly;
        for (guint i = 0; i < d->extents->len; i++)
                if (lines[i].kind != VMDK_FLAT || lines[i].readonly)
                        v->img.readonly = true;
        v->parts = g_new0(struct part, d->extents->len);
        for (guint i = 0; i < d->extents->len; i++) {
                struct part *part = &v->parts[v->n_parts++];

                part->start = v->img.size;
                part->len = lines[i].sectors * SECTOR;
                v->img.size += part->len;
                if (!open_part(part, &lines[i], how, v->img.readonly, error))
                        return false;
        }
        return true;
}

static bool
open_descriptor(struct vmdk *v,
                struct image_file *file,
                const struct image_open *how,
                GError **error) {
        size_t n = (size_t) MIN(file->size, VMDK_DESCRIPTOR_MAX);
        g_autofree char *text = g_malloc(n + 1);
        g_autoptr(vmdk_descriptor) d = NULL;
        int r;

        if (file->size > VMDK_DESCRIPTOR_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the VMDK's descriptor is longer than %u bytes", VMDK_DESCRIPTOR_MAX);
                return false;
        }
        r = image_file_read(file, 0, text, n);
        if (r < 0)
                return hv_error_errno(error, -r, "reading the VMDK's descriptor");
        d = vmdk_descriptor_parse(text, n, /* embedded= */ false, error);
        return d && open_parts(v, d, how, error);
}

static struct image *
vmdk_open(struct image_file *file, const struct image_open *how, GError **error) {
        g_autoptr(vmdk) v = g_new0(struct vmdk, 1);
        uint8_t head[SECTOR];
        int r = image_file_read(file, 0, head, sizeof(head));

        if (r < 0) {
                (void) hv_error_errno(error, -r, "reading the VMDK's header");
                return NULL;
        }
        if (!(vmdk_sparse_probe(head, sizeof(head)) ? open_single(v, file, error)
                                                    : open_descriptor(v, file, how, error)))
                return NULL;
        v->img.cluster = cluster_of(v);
        return &g_steal_pointer(&v)->img;
}

static struct part *find_part(struct vmdk *v, uint64_t offset) {
        unsigned low = 0, high = v->n_parts;

        while (high - low > 1) {
                unsigned middle = low + (high - low) / 2;

                if (v->parts[middle].start <= offset)
                        low = middle;
                else
                        high = middle;
        }
        return &v->parts[low];
}

static int vmdk_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        const struct part *p = find_part((struct vmdk *) img, offset);

        len = MIN(len, p->start + p->len - offset);
        if (p->sparse)
                return vmdk_sparse_map(p->sparse, offset - p->start, len, ret);
        *ret = (struct image_extent){
                .kind = p->file ? IMAGE_DATA : IMAGE_ZERO,
                .len = len,
                .file = p->file,
                .at = p->at + (offset - p->start),
                .writable = p->file && !img->readonly,
        };
        return 0;
}

static int vmdk_read_packed(struct image *img, uint64_t offset, void *buf, size_t len) {
        char *out = buf;
        int r = 0;

        while (r == 0 && len > 0) {
                const struct part *p = find_part((struct vmdk *) img, offset);
                size_t piece = (size_t) MIN(len, p->start + p->len - offset);

                r = p->sparse ? vmdk_sparse_read_packed(p->sparse, offset - p->start, out, piece)
                              : -EIO;
                out += piece;
                offset += piece;
                len -= piece;
        }
        return r;
}

/* Of a writable image: all its parts are flat. */
static int
each_part(struct vmdk *v,
          uint64_t offset,
          uint64_t len,
          int (*act)(struct image_file *f, uint64_t at, uint64_t len, bool unmap),
          bool unmap) {
        int r = 0;

        while (r == 0 && len > 0) {
                const struct part *p = find_part(v, offset);
                uint64_t piece = MIN(len, p->start + p->len - offset);

                r = act(p->file, p->at + (offset - p->start), piece, unmap);
                offset += piece;
                len -= piece;
        }
        return r;
}

static int vmdk_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        return each_part((struct vmdk *) img, offset, len, image_file_zero, unmap);
}

static int discard_part(struct image_file *f, uint64_t at, uint64_t len, bool unmap) {
        return image_file_discard(f, at, len);
}

static int vmdk_discard(struct image *img, uint64_t offset, uint64_t len) {
        return each_part((struct vmdk *) img, offset, len, discard_part, /* unmap= */ true);
}

static int vmdk_flush(struct image *img) {
        struct vmdk *v = (struct vmdk *) img;
        int r = 0;

        for (unsigned i = 0; i < v->n_parts; i++) {
                int synced = v->parts[i].file ? image_file_sync(v->parts[i].file) : 0;

                r = r < 0 ? r : synced;
        }
        return r;
}

static bool vmdk_check(struct image *img, struct image_check *check, GError **error) {
        struct vmdk *v = (struct vmdk *) img;

        for (unsigned i = 0; i < v->n_parts; i++)
                if (v->parts[i].sparse && !vmdk_sparse_check(v->parts[i].sparse, check, error))
                        return false;
        return true;
}

static void vmdk_describe(struct image *img, GVariantBuilder *dict) {
        const struct vmdk *v = (const struct vmdk *) img;
        bool packed = false;

        for (unsigned i = 0; i < v->n_parts; i++)
                packed = packed ||
                         (v->parts[i].sparse && vmdk_sparse_is_packed(v->parts[i].sparse));
        g_variant_builder_add(dict, "{sv}", "create-type", g_variant_new_string(v->create_type));
        g_variant_builder_add(dict, "{sv}", "cid", g_variant_new_uint32(v->cid));
        g_variant_builder_add(dict, "{sv}", "extents", g_variant_new_uint32(v->n_parts));
        g_variant_builder_add(dict, "{sv}", "compressed", g_variant_new_boolean(packed));
}

const struct image_format image_vmdk = {
        .name = "vmdk",
        .description = "VMware's: flat extents, and sparse ones to be read",
        .probe = vmdk_probe,
        .open = vmdk_open,
        .map = vmdk_map,
        .read_packed = vmdk_read_packed,
        .zero = vmdk_zero,
        .discard = vmdk_discard,
        .flush = vmdk_flush,
        .check = vmdk_check,
        .describe = vmdk_describe,
        .close = vmdk_close,
};
