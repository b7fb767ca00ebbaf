/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The toy format. It is as nasty as the interface permits: a place given up goes to the next cluster at once unless the owner holds, and
 * neighbours never lie side by side on purpose.
 */

#include "tests/unit/block/toy-image.h"

#include <errno.h>
#include <string.h>

static struct toy_image *to_toy(struct image *img) {
        return (struct toy_image *) img;
}

static int toy_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct toy_image *t = to_toy(img);
        uint64_t c = offset / TOY_CLUSTER, in = offset % TOY_CLUSTER;
        int64_t place = t->map[c];

        atomic_fetch_add(&t->maps, 1);
        *ret = (struct image_extent){
                .kind = place == TOY_ABSENT   ? IMAGE_ABSENT
                        : place == TOY_ZERO   ? IMAGE_ZERO
                        : place == TOY_PACKED ? IMAGE_PACKED
                                              : IMAGE_DATA,
                .len = MIN(len, TOY_CLUSTER - in),
        };
        if (ret->kind == IMAGE_DATA) {
                ret->file = img->file;
                ret->at = (uint64_t) place * TOY_CLUSTER + in;
                ret->writable = !img->readonly && !t->shared[c];
        }
        return 0;
}

static int toy_read_packed(struct image *img, uint64_t offset, void *buf, size_t len) {
        memset(buf, TOY_PACKED_BYTE, len);
        return 0;
}

static void give_up(struct toy_image *t, uint64_t c, int64_t place) {
        int64_t old = t->map[c];

        t->map[c] = place;
        if (old >= 0 && !t->shared[c])
                g_array_append_val(t->img.hold ? t->held : t->free, old);
        t->shared[c] = false;
        t->img.unflushed = true;
        image_tell_moved(&t->img, c * TOY_CLUSTER, TOY_CLUSTER);
}

static int64_t take_place(struct toy_image *t) {
        int64_t place;

        if (t->free->len == 0) {
                t->end++;
                return t->end - 1;
        }
        place = g_array_index(t->free, int64_t, t->free->len - 1);
        g_array_set_size(t->free, t->free->len - 1);
        return place;
}

static int
toy_allocate(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct toy_image *t = to_toy(img);
        uint64_t c = offset / TOY_CLUSTER, size = MIN(TOY_CLUSTER, img->size - c * TOY_CLUSTER);
        g_autofree char *old = g_malloc0(TOY_CLUSTER);
        int64_t place = take_place(t);
        int r = image_read(img, c * TOY_CLUSTER, old, (size_t) size);

        if (r == 0)
                r = image_file_write(img->file, (uint64_t) place * TOY_CLUSTER, old, TOY_CLUSTER);
        if (r < 0) {
                g_array_append_val(t->free, place);
                return r;
        }
        give_up(t, c, place);
        return toy_map(img, offset, len, ret);
}

static int toy_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        for (uint64_t c = offset / TOY_CLUSTER; c * TOY_CLUSTER < offset + len; c++)
                give_up(to_toy(img), c, TOY_ZERO);
        return 0;
}

static int toy_discard(struct image *img, uint64_t offset, uint64_t len) {
        return toy_zero(img, offset, len, true);
}

static int toy_flush(struct image *img) {
        int r = image_file_sync(img->file);

        atomic_fetch_add(&to_toy(img)->flushes, 1);
        if (r == 0)
                img->unflushed = false;
        return r;
}

static void toy_release_held(struct image *img) {
        struct toy_image *t = to_toy(img);

        if (t->held->len == 0)
                return;
        g_array_append_vals(t->free, t->held->data, t->held->len);
        g_array_set_size(t->held, 0);
        atomic_fetch_add(&t->releases, 1);
}

static void toy_close(struct image *img) {
        struct toy_image *t = to_toy(img);

        g_array_unref(t->free);
        g_array_unref(t->held);
        g_free(t->map);
        g_free(t->shared);
        g_free(t);
}

static const struct image_format toy_format = {
        .name = "toy",
        .map = toy_map,
        .read_packed = toy_read_packed,
        .allocate = toy_allocate,
        .zero = toy_zero,
        .discard = toy_discard,
        .flush = toy_flush,
        .release_held = toy_release_held,
        .close = toy_close,
};

struct toy_image *toy_image_new(struct image_file *file, uint64_t size, struct image *backing) {
        struct toy_image *t = g_new0(struct toy_image, 1);
        uint64_t n = (size + TOY_CLUSTER - 1) / TOY_CLUSTER;

        t->img = (struct image){
                .format = &toy_format,
                .size = size,
                .cluster = TOY_CLUSTER,
                .file = file,
                .backing = backing,
        };
        t->map = g_new(int64_t, n);
        t->shared = g_new0(bool, n);
        for (uint64_t i = 0; i < n; i++)
                t->map[i] = TOY_ABSENT;
        t->free = g_array_new(FALSE, FALSE, sizeof(int64_t));
        t->held = g_array_new(FALSE, FALSE, sizeof(int64_t));
        /* Places to begin with, in disorder. */
        for (int64_t i = 0; i < 64; i++) {
                int64_t place = i * 37 % 64;

                g_array_append_val(t->free, place);
        }
        t->end = 64;
        return t;
}
