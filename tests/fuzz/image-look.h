/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "fuzz.h"

#include <glib.h>

#include "devices/block/image/image.h"
#include "tests/fuzz/memory-disk.h"

/*
 * What the targets of image formats do with what is on the memory disk: open it as such an image, look at where everything lies, read and write some
 * of it, check it. What map() says must hold together; nothing else is expected of hostile bytes.
 */

#define LOOK_EXTENTS 4096
#define LOOK_BYTES 65536u

/* Every other file that it names is the same one. */
static inline struct image_file *
look_resolve(void *opaque,
             enum image_role role,
             const char *name,
             const char *format,
             unsigned depth,
             bool readonly,
             GError **error) {
        return memory_disk_open(readonly);
}

static inline void look_at_map(struct image *img) {
        uint64_t offset = 0;

        for (int i = 0; i < LOOK_EXTENTS && offset < img->size; i++) {
                struct image_extent x;

                if (image_map(img, offset, img->size - offset, &x) < 0) {
                        offset += MIN(img->cluster, img->size - offset);
                        continue;
                }
                g_assert_cmpint(x.kind, <, IMAGE_EXTENT_MAX);
                g_assert_cmpuint(x.len, >, 0);
                g_assert_cmpuint(x.len, <=, img->size - offset);
                if (x.kind == IMAGE_DATA) {
                        g_assert_nonnull(x.file);
                        g_assert_cmpuint(x.at, <=, INT64_MAX);
                        g_assert_cmpuint(x.len, <=, INT64_MAX - x.at);
                }
                offset += x.len;
        }
}

static inline void look_at_bytes(struct image *img) {
        static char buf[LOOK_BYTES];
        uint64_t len = MIN(img->size, sizeof(buf));
        const uint64_t places[] = { 0, (img->size - len) / 2, img->size - len };

        for (size_t i = 0; len > 0 && i < G_N_ELEMENTS(places); i++) {
                (void) image_read(img, places[i], buf, (size_t) len);
                if (!img->readonly) {
                        (void) image_write(img, places[i], buf, (size_t) MIN(len, 4096));
                        (void) image_zero(img, places[i], MIN(len, 20000), true);
                        (void) image_discard(img, places[i], len);
                        (void) image_flush(img);
                }
        }
}

static inline int look_at_image(const char *format, bool readonly) {
        static const struct image_resolver resolver = { look_resolve, NULL };
        struct image_open how = { .format = format, .readonly = readonly, .resolver = &resolver };

        for (int check = 0; check < 2; check++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(image) img = NULL;
                struct image_check result = { 0 };

                how.for_check = check;
                img = image_open(memory_disk_open(how.readonly), &how, &error);
                if (!img) {
                        g_assert_nonnull(error);
                        continue;
                }
                g_assert_no_error(error);
                if (check && img->format->check)
                        (void) img->format->check(img, &result, NULL);
                if (check)
                        continue;
                look_at_map(img);
                look_at_bytes(img);
        }
        return 0;
}
