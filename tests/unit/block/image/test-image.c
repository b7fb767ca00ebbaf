/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of what images of all formats share, on raw ones and on a toy format with backing, packed and shared clusters: ranges beyond
 * the end and changes of read-only images are refused; a file without a signature is raw; a chain is read through, bounded, and
 * never written below; what is not a whole cluster is zeroed by writing and not discarded at all.
 */

#include "devices/block/image/image.h"
#include "hypervisor/error.h"
#include "tests/unit/block/image/power-disk.h"

#include <errno.h>
#include <string.h>

#define CLUSTER 512u
#define TOY_CLUSTERS 32u

/* Cluster n of a toy is what map[n] says: '.' absent, '0' zeros, 'p' packed (reads as "pppp…"), 's' shared data, 'd' data. */
struct toy {
        struct image img;
        char map[TOY_CLUSTERS];
        unsigned allocated, zeroed, discarded, released, flushed;
};

static struct toy *to_toy(struct image *img) {
        return (struct toy *) img;
}

static int toy_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        const char *map = to_toy(img)->map;
        uint64_t at = offset / CLUSTER, end = at;

        while (end < TOY_CLUSTERS && map[end] == map[at])
                end++;
        *ret = (struct image_extent){
                .kind = map[at] == '.'   ? IMAGE_ABSENT
                        : map[at] == '0' ? IMAGE_ZERO
                        : map[at] == 'p' ? IMAGE_PACKED
                                         : IMAGE_DATA,
                .len = MIN(len, end * CLUSTER - offset),
                .file = img->file,
                .at = offset,
                .writable = map[at] == 'd',
        };
        return 0;
}

static int toy_read_packed(struct image *img, uint64_t offset, void *buf, size_t len) {
        memset(buf, 'p', len);
        return 0;
}

static int
toy_allocate(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct toy *t = to_toy(img);
        uint64_t start = offset - offset % CLUSTER;
        char old[CLUSTER];

        len = MIN(len, start + CLUSTER - offset);
        g_assert_cmpint(image_read(img, start, old, CLUSTER), ==, 0);
        g_assert_cmpint(image_file_write(img->file, start, old, CLUSTER), ==, 0);
        t->map[start / CLUSTER] = 'd';
        t->allocated++;
        *ret = (struct image_extent){ IMAGE_DATA, len, img->file, offset, true, false };
        return 0;
}

static int toy_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        g_assert_cmpuint(offset % CLUSTER, ==, 0);
        g_assert_cmpuint(len % CLUSTER, ==, 0);
        memset(to_toy(img)->map + offset / CLUSTER, '0', len / CLUSTER);
        to_toy(img)->zeroed += (unsigned) (len / CLUSTER);
        return 0;
}

static int toy_discard(struct image *img, uint64_t offset, uint64_t len) {
        to_toy(img)->discarded += (unsigned) (len / CLUSTER);
        return toy_zero(img, offset, len, true);
}

static int toy_flush(struct image *img) {
        to_toy(img)->flushed++;
        return 0;
}

static void toy_release(struct image *img) {
        to_toy(img)->released++;
}

static void toy_close(struct image *img) {
        g_free(img);
}

static const struct image_format toy_format = {
        .name = "toy",
        .map = toy_map,
        .read_packed = toy_read_packed,
        .allocate = toy_allocate,
        .zero = toy_zero,
        .discard = toy_discard,
        .flush = toy_flush,
        .release_held = toy_release,
        .close = toy_close,
};

static struct toy *toy_new(const char *map, struct image *backing) {
        g_autofree char *data = g_malloc(TOY_CLUSTERS * CLUSTER);
        struct toy *t = g_new0(struct toy, 1);

        memset(data, 'd', TOY_CLUSTERS * CLUSTER);
        memset(t->map, '.', TOY_CLUSTERS);
        memcpy(t->map, map, strlen(map));
        t->img = (struct image){
                .format = &toy_format,
                .size = TOY_CLUSTERS * CLUSTER,
                .cluster = CLUSTER,
                .file = memory_file_new(data, TOY_CLUSTERS * CLUSTER),
                .backing = backing,
        };
        return t;
}

static struct image *raw_new(const char *data, size_t len, const struct image_open *how) {
        g_autoptr(GError) error = NULL;
        struct image *img = image_open(memory_file_new(data, len), how, &error);

        g_assert_no_error(error);
        return img;
}

/* Each cluster's first byte, as text: NUL is '0'. */
static char *first_bytes(struct image *img) {
        g_autofree char *data = g_malloc(img->size);
        char *s = g_malloc0(img->size / CLUSTER + 1);
        struct iovec iov[3] = {
                { data, 700 },
                { data + 700, CLUSTER },
                { data + 700 + CLUSTER, img->size - 700 - CLUSTER },
        };

        g_assert_cmpint(image_readv(img, 0, iov, 3), ==, 0);
        for (uint64_t i = 0; i < img->size / CLUSTER; i++) {
                s[i] = data[i * CLUSTER] ?: '0';
                g_assert_cmpint(data[i * CLUSTER], ==, data[i * CLUSTER + CLUSTER - 1]);
        }
        return s;
}

static void test_ranges(void) {
        g_autoptr(image) img = raw_new("", 0, &(struct image_open){ .format = "raw" });
        g_autoptr(image) three = raw_new("abc", 3, &(struct image_open){ .readonly = true });
        struct image_extent x;
        char buf[512] = { 0 };

        g_assert_cmpuint(img->size, ==, 0);
        g_assert_false(img->probed);
        g_assert_cmpint(image_read(img, 0, buf, 1), ==, -EINVAL);
        g_assert_cmpint(image_read(img, 0, buf, 0), ==, 0);
        g_assert_cmpuint(three->size, ==, 512);
        g_assert_true(three->probed);
        g_assert_cmpint(image_read(three, 0, buf, 512), ==, 0);
        g_assert_cmpmem(buf, 4, "abc", 4);
        g_assert_cmpint(image_read(three, 1, buf, 512), ==, -EINVAL);
        g_assert_cmpint(image_read(three, UINT64_MAX, buf, 2), ==, -EINVAL);
        g_assert_cmpint(image_map(three, 512, 1, &x), ==, -EINVAL);
        g_assert_cmpint(image_write(three, 0, buf, 1), ==, -EROFS);
        g_assert_cmpint(image_zero(three, 0, 1, true), ==, -EROFS);
        g_assert_cmpint(image_discard(three, 0, 1), ==, -EROFS);
        g_assert_cmpint(image_flush(three), ==, 0);
}

static void test_unknown_format(void) {
        g_autoptr(GError) error = NULL;

        g_assert_null(image_open(
                        memory_file_new("", 0), &(struct image_open){ .format = "iso" }, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "'iso'"));
}

static void test_chain(void) {
        g_autofree char *base = g_malloc(4 * CLUSTER);
        g_autofree char *text = NULL, *after = NULL;
        g_autoptr(image) top = NULL;
        struct toy *t, *middle;
        struct image_extent x;
        char one = 'n';

        memset(base, 'b', 4 * CLUSTER);
        middle =
                        toy_new("..0p.d", raw_new(base, 4 * CLUSTER,
                                                  &(struct image_open){ .readonly = true }));
        middle->img.readonly = true;
        t = toy_new("s......d", &middle->img);
        top = &t->img;
        text = first_bytes(top);
        /* The base is shorter: zeros follow. */
        g_assert_cmpstr(text, ==, "db0p0d0d000000000000000000000000");

        g_assert_cmpint(image_map_chain(top, CLUSTER, CLUSTER, &x, NULL), ==, 0);
        g_assert_cmpint(x.kind, ==, IMAGE_DATA);
        g_assert_false(x.writable);
        for (unsigned i = 0; i < 6; i++)
                for (unsigned j = 0; j < CLUSTER; j += CLUSTER - 1)
                        g_assert_cmpint(image_write(top, i * CLUSTER + j, &one, 1), ==, 0);
        g_assert_cmpuint(t->allocated, ==, 6);
        g_assert_cmpuint(middle->allocated, ==, 0);
        after = first_bytes(top);
        g_assert_cmpstr(after, ==, "nnnnnn0d000000000000000000000000");
        /* In between is what was there. */
        for (unsigned i = 0; i < 6; i++) {
                char buf;

                g_assert_cmpint(image_read(top, i * CLUSTER + 5, &buf, 1), ==, 0);
                g_assert_cmpint(buf ?: '0', ==, text[i]);
        }
}

static void test_partial(void) {
        struct toy *t = toy_new("dddddddd", NULL);
        g_autoptr(image) img = &t->img;
        g_autofree char *text = NULL;
        char buf[CLUSTER];

        g_assert_cmpint(image_discard(img, 1, 2 * CLUSTER), ==, 0);
        g_assert_cmpuint(t->discarded, ==, 1);
        g_assert_cmpint(image_discard(img, CLUSTER, CLUSTER - 1), ==, 0);
        g_assert_cmpuint(t->discarded, ==, 1);
        g_assert_cmpint(image_zero(img, 3 * CLUSTER + 100, 2 * CLUSTER, true), ==, 0);
        g_assert_cmpuint(t->zeroed, ==, 2);
        g_assert_cmpint(image_read(img, 3 * CLUSTER, buf, CLUSTER), ==, 0);
        g_assert_cmpint(buf[99], ==, 'd');
        g_assert_cmpint(buf[100], ==, 0);
        g_assert_cmpint(image_read(img, 5 * CLUSTER, buf, CLUSTER), ==, 0);
        g_assert_cmpint(buf[99], ==, 0);
        g_assert_cmpint(buf[100], ==, 'd');
        /* Zeros over nothing allocate nothing. */
        t->allocated = 0;
        g_assert_cmpint(image_zero(img, 10 * CLUSTER + 1, 5, false), ==, 0);
        g_assert_cmpuint(t->allocated, ==, 0);
        g_assert_cmpint(image_zero(img, 0, img->size, false), ==, 0);
        text = first_bytes(img);
        g_assert_cmpstr(text, ==, "00000000000000000000000000000000");
}

static void test_hold(void) {
        struct toy *t = toy_new("d", NULL);
        g_autoptr(image) img = &t->img;

        g_assert_cmpint(image_discard(img, 0, CLUSTER), ==, 0);
        g_assert_cmpuint(t->released, ==, 1);
        img->hold = true;
        g_assert_cmpint(image_discard(img, 0, CLUSTER), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        g_assert_cmpuint(t->released, ==, 1);
        g_assert_cmpuint(t->flushed, ==, 1);
}

static void test_raw(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(power_disk) d = power_disk_new(1u << 20);
        g_autoptr(image_file) f = power_disk_open(d, false);
        g_autoptr(image) img = NULL;

        g_assert_true(image_options_parse(o, "preallocation=full", &error));
        g_assert_false(image_raw.create(f, 2u << 20, o, &error));
        g_assert_nonnull(strstr(error->message, g_strerror(ENOSPC)));
        g_clear_error(&error);
        g_assert_true(image_raw.create(f, 1u << 20, o, &error));
        img = image_open(g_steal_pointer(&f), &(struct image_open){ .format = "raw" }, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(img->size, ==, 1u << 20);
        g_assert_cmpint(image_write(img, 5, "text", 4), ==, 0);
        g_assert_true(img->format->resize(img, 512, &error));
        g_assert_cmpint(image_zero(img, 0, 6, true), ==, 0);
        g_assert_cmpint(image_discard(img, 0, 512), ==, 0);
        g_assert_cmpint(image_close(g_steal_pointer(&img)), ==, 0);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/image/ranges", test_ranges);
        g_test_add_func("/image/unknown-format", test_unknown_format);
        g_test_add_func("/image/chain", test_chain);
        g_test_add_func("/image/partial-clusters", test_partial);
        g_test_add_func("/image/hold", test_hold);
        g_test_add_func("/image/raw", test_raw);
        return g_test_run();
}
