/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * map: where the bytes of an image lie, through everything that shows through it. The keys of the JSON are those of qemu-img.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/image/files.h"
#include "daemon/image/output.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

typedef struct {
        uint64_t start;
        struct image_extent extent;
        unsigned depth;
        bool present;
} Piece;

/* As image_map_chain(), and from which image it is. */
static int map(struct image *img, uint64_t offset, Piece *ret) {
        uint64_t len = img->size - offset;
        int r;

        *ret = (Piece){ .start = offset };
        for (;; img = img->backing, ret->depth++) {
                if (!img || offset >= img->size) {
                        ret->extent = (struct image_extent){ .kind = IMAGE_ZERO, .len = len };
                        ret->present = ret->depth > 0 && img;
                        return 0;
                }
                r = image_map(img, offset, MIN(len, img->size - offset), &ret->extent);
                if (r < 0)
                        return r;
                len = ret->extent.len;
                if (ret->extent.kind != IMAGE_ABSENT) {
                        ret->present = true;
                        return 0;
                }
        }
}

static bool goes_on(const Piece *a, const Piece *b) {
        const struct image_extent *x = &a->extent, *y = &b->extent;

        return x->kind == y->kind && a->depth == b->depth && a->present == b->present &&
               x->file == y->file && x->allocated == y->allocated &&
               (x->kind != IMAGE_DATA || y->at == x->at + x->len);
}

static GVariant *describe(const Files *files, const Piece *piece) {
        const struct image_extent *x = &piece->extent;
        GVariantBuilder dict;

        g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
        g_variant_builder_add(&dict, "{sv}", "start", g_variant_new_uint64(piece->start));
        g_variant_builder_add(&dict, "{sv}", "length", g_variant_new_uint64(x->len));
        g_variant_builder_add(&dict, "{sv}", "depth", g_variant_new_uint32(piece->depth));
        g_variant_builder_add(&dict, "{sv}", "present", g_variant_new_boolean(piece->present));
        g_variant_builder_add(&dict, "{sv}", "zero", g_variant_new_boolean(x->kind == IMAGE_ZERO));
        g_variant_builder_add(&dict, "{sv}", "data", g_variant_new_boolean(x->kind != IMAGE_ZERO));
        g_variant_builder_add(
                        &dict, "{sv}", "compressed",
                        g_variant_new_boolean(x->kind == IMAGE_PACKED));
        if (x->kind == IMAGE_DATA) {
                g_variant_builder_add(&dict, "{sv}", "offset", g_variant_new_uint64(x->at));
                g_variant_builder_add(
                                &dict, "{sv}", "filename",
                                g_variant_new_take_string(g_utf8_make_valid(
                                                files_name_of(files, x->file), -1)));
        }
        return g_variant_builder_end(&dict);
}

static void show(const Files *files, const Piece *piece, GVariantBuilder *json) {
        const struct image_extent *x = &piece->extent;
        g_autofree char *name =
                        printable(x->kind == IMAGE_DATA ? files_name_of(files, x->file) : "");

        if (json)
                g_variant_builder_add_value(json, describe(files, piece));
        else if (x->kind == IMAGE_DATA)
                printf("%#-15" PRIx64 " %#-15" PRIx64 " %#-15" PRIx64 " %s\n", piece->start, x->len,
                       x->at, name);
        else if (x->kind == IMAGE_PACKED)
                printf("%#-15" PRIx64 " %#-15" PRIx64 " %s\n", piece->start, x->len, "compressed");
}

static int walk(const Files *files, struct image *img, GVariantBuilder *json) {
        Piece last = { 0 };

        for (uint64_t offset = 0; offset < img->size;) {
                Piece piece;
                int r = map(img, offset, &piece);

                if (r < 0)
                        return r;
                offset += piece.extent.len;
                if (last.extent.len > 0 && goes_on(&last, &piece)) {
                        last.extent.len += piece.extent.len;
                        continue;
                }
                if (last.extent.len > 0)
                        show(files, &last, json);
                last = piece;
        }
        if (last.extent.len > 0)
                show(files, &last, json);
        return 0;
}

int verb_map(const Arguments *arguments, Files *files) {
        bool json = has(arguments, OPTION_JSON);
        g_autoptr(GError) error = NULL;
        g_autoptr(image) img = files_open(
                        files, 0, arguments->values[OPTION_FORMAT], OPEN_READONLY, &error);
        GVariantBuilder all;
        int r;

        if (!img)
                return report_error(error, arguments->verb->status_failed);
        g_variant_builder_init(&all, G_VARIANT_TYPE("aa{sv}"));
        if (!json)
                printf("%-15s %-15s %-15s %s\n", "OFFSET", "LENGTH", "LIES AT", "FILE");
        r = walk(files, img, json ? &all : NULL);
        if (r == 0 && json)
                print_json(g_variant_builder_end(&all));
        else
                g_variant_builder_clear(&all);
        if (r < 0)
                report("'%s': reading its tables: %s", word(arguments, 0), g_strerror(-r));
        return r < 0 ? arguments->verb->status_failed : 0;
}
