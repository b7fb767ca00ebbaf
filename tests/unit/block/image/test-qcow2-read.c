/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Images that qemu-img made, of every kind, read by us: the same bytes. Chains, data files, compressed clusters, snapshots, bitmaps,
 * and an image whose writer died.
 */

#include "qcow2-rig.h"

#include "devices/block/image/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (5u * 1024 * 1024 + 512)

/* Runs of text, of noise and of zeros. */
static uint8_t *make_content(uint32_t seed) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
        uint8_t *data = g_malloc0(SIZE);

        for (unsigned at = 0; at < SIZE;) {
                unsigned len = MIN((unsigned) g_rand_int_range(rand, 1, 300) * 512, SIZE - at),
                         kind = (unsigned) g_rand_int_range(rand, 0, 3);

                len = MIN(len, SIZE - at);
                for (unsigned i = at; i < at + len && kind > 0; i++)
                        data[i] = kind == 1 ? (uint8_t) g_rand_int(rand) : (uint8_t) (i % 100);
                at += len;
        }
        return data;
}

static char *make_raw(const char *name, const uint8_t *data) {
        char *path = rig_path(name);

        g_assert_true(g_file_set_contents(path, (const char *) data, SIZE, NULL));
        return path;
}

static void expect(const char *path, const uint8_t *data) {
        struct image *img = rig_open(path, /* readonly= */ true);
        g_autofree uint8_t *found = g_malloc(SIZE);
        g_autoptr(GRand) rand = g_rand_new_with_seed(1);

        g_assert_cmpuint(img->size, ==, SIZE);
        g_assert_cmpint(image_read(img, 0, found, SIZE), ==, 0);
        g_assert_true(memcmp(found, data, SIZE) == 0);
        for (unsigned i = 0; i < 100; i++) {
                unsigned at = (unsigned) g_rand_int_range(rand, 0, SIZE - 1), len;

                len = (unsigned) g_rand_int_range(rand, 1, 10000);
                len = MIN(len, SIZE - at);
                g_assert_cmpint(image_read(img, at, found, len), ==, 0);
                g_assert_true(memcmp(found, data + at, len) == 0);
        }
        rig_check(img, /* leaks= */ false);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void test_convert(gconstpointer options) {
        g_autofree uint8_t *data = make_content(1);
        g_autofree char *raw = make_raw("source.raw", data), *path = rig_path("made.qcow2");

        rig_qemu_img("convert -f raw -O qcow2 -o %s %s %s", (const char *) options, raw, path);
        expect(path, data);
        rig_qemu_img("convert -f raw -O qcow2 -c -o %s %s %s", (const char *) options, raw, path);
        expect(path, data);
}

/* A top image of each kind over an image of another kind over a raw one. */
static void test_chain(gconstpointer options) {
        g_autofree uint8_t *data = make_content(2);
        g_autofree char *raw = make_raw("bottom.raw", data), *mid = rig_path("mid.qcow2"),
                        *top = rig_path("top.qcow2");
        struct model m;

        rig_qemu_img("create -q -f qcow2 -o cluster_size=4K -b bottom.raw -F raw %s", mid);
        rig_qemu_img("create -q -f qcow2 -o %s -b mid.qcow2 -F qcow2 %s", (const char *) options,
                     top);
        expect(top, data);
        model_init(&m, rig_open(mid, false), data, 3);
        for (unsigned i = 0; i < 30; i++)
                model_step(&m);
        g_assert_cmpint(image_close(m.img), ==, 0);
        expect(top, m.data);
        m.img = rig_open(top, false);
        m.discard_is_nothing = strstr(options, "0.10");
        for (unsigned i = 0; i < 60; i++)
                model_step(&m);
        g_assert_cmpint(image_close(m.img), ==, 0);
        expect(top, m.data);
        rig_qemu_img("check -q %s", top);
        g_free(make_raw("bottom2.raw", m.data));
        rig_qemu_img("compare -q -f qcow2 -F raw %s bottom2.raw", top);
        model_clear(&m);
}

static void test_data_file(void) {
        static const char *const kinds[] = { "data_file=ext.raw",
                                             "data_file=ext.raw,data_file_raw=on",
                                             "data_file=ext.raw,extended_l2=on" };
        g_autofree uint8_t *data = make_content(4);
        g_autofree char *raw = make_raw("source.raw", data), *path = rig_path("ext.qcow2"),
                        *gone = rig_path("ext.raw");

        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
                (void) remove(gone);
                rig_qemu_img("create -q -f qcow2 -o %s %s %u", kinds[i], path, SIZE);
                rig_qemu_img("convert -n -f raw -O qcow2 %s %s", raw, path);
                expect(path, data);
        }
}

static void test_snapshots(void) {
        g_autofree uint8_t *data = make_content(5), *later = make_content(6);
        g_autofree char *raw = make_raw("source.raw", data), *path = rig_path("snap.qcow2"),
                        *second = make_raw("second.raw", later);
        const struct image_snapshot *s;
        const GPtrArray *list;
        g_autoptr(GError) error = NULL;
        struct image *img;

        rig_qemu_img("convert -f raw -O qcow2 -c %s %s", raw, path);
        rig_qemu_img("snapshot -c first %s", path);
        rig_qemu_img("convert -n -f raw -O qcow2 %s %s", second, path);
        rig_qemu_img("snapshot -c second %s", path);
        expect(path, later);
        img = rig_open(path, false);
        list = image_qcow2.snapshots(img);
        g_assert_cmpuint(list->len, ==, 2);
        s = list->pdata[0];
        g_assert_cmpstr(s->name, ==, "first");
        g_assert_cmpstr(s->id, ==, "1");
        g_assert_cmpuint(s->disk_size, ==, SIZE);
        g_assert_cmpint(s->date_ns, >, 0);
        (void) image_qcow2.snapshot_apply(img, "first", &error);
        g_assert_no_error(error);
        (void) image_qcow2.snapshot_delete(img, "2", &error);
        g_assert_no_error(error);
        g_assert_false(image_qcow2.snapshot_delete(img, "second", &error));
        g_clear_error(&error);
        g_assert_false(image_qcow2.snapshot_create(img, "first", &error));
        g_assert_nonnull(error);
        g_assert_cmpint(image_close(img), ==, 0);
        expect(path, data);
        rig_qemu_img("check -q %s", path);
        rig_qemu_img("snapshot -a first %s", path);
        rig_qemu_img("snapshot -d first %s", path);
        expect(path, data);
}

/* Bitmaps are counted while they are valid, and are not once we open the image to write. */
static void test_bitmaps(void) {
        g_autofree uint8_t *data = make_content(7);
        g_autofree char *raw = make_raw("source.raw", data), *path = rig_path("bitmap.qcow2");
        g_autofree char *found = NULL;
        struct image *img;

        rig_qemu_img("convert -f raw -O qcow2 %s %s", raw, path);
        rig_qemu_img("bitmap --add %s changes", path);
        expect(path, data);
        img = rig_open(path, false);
        g_assert_cmpint(image_write(img, 0, "changed", 7), ==, 0);
        g_assert_cmpint(image_close(img), ==, 0);
        memcpy(data, "changed", 7);
        img = rig_open(path, true);
        g_assert_cmpuint(((struct qcow2 *) img)->header.autoclear, ==, 0);
        g_assert_cmpint(image_close(img), ==, 0);
}

/* The writer of an image with lazy counts died: to be read as it is, and mended before it is written to. */
static void test_dirty(void) {
        g_autofree uint8_t *data = g_malloc0(SIZE);
        g_autofree char *path = rig_path("lazy.qcow2"), *script = NULL;
        struct image *img;

        memset(data + 65536, 0x77, 200000);
        rig_qemu_img("create -q -f qcow2 -o lazy_refcounts=on %s %u", path, SIZE);
        script = g_strdup_printf(
                        "ulimit -c 0; qemu-io -c 'write -P 0x77 65536 200000' -c flush -c abort %s "
                        ">/dev/null 2>&1; true",
                        path);
        g_assert_cmpint(system(script), ==, 0);
        img = rig_open(path, true);
        g_assert_true(((struct qcow2 *) img)->header.incompatible & QCOW2_INCOMPAT_DIRTY);
        g_assert_cmpint(image_close(img), ==, 0);
        img = rig_open(path, false);
        g_assert_false(((struct qcow2 *) img)->header.incompatible & QCOW2_INCOMPAT_DIRTY);
        rig_check(img, false);
        g_assert_cmpint(image_close(img), ==, 0);
        expect(path, data);
        rig_qemu_img("check -q %s", path);
}

static void test_describe(void) {
        g_autofree char *path = rig_path("told.qcow2");
        g_auto(GVariantDict) dict;
        GVariantBuilder builder;
        struct image *img;
        const char *text;
        guint32 n;
        gboolean on;

        rig_qemu_img("create -q -f qcow2 -o lazy_refcounts=on,refcount_bits=8,cluster_size=4K,"
                     "compression_type=zstd %s 1M",
                     path);
        img = rig_open(path, true);
        g_variant_builder_init(&builder, G_VARIANT_TYPE_VARDICT);
        image_qcow2.describe(img, &builder);
        g_variant_dict_init(&dict, g_variant_builder_end(&builder));
        g_assert_true(g_variant_dict_lookup(&dict, "compat", "&s", &text));
        g_assert_cmpstr(text, ==, "1.1");
        g_assert_true(g_variant_dict_lookup(&dict, "compression_type", "&s", &text));
        g_assert_cmpstr(text, ==, "zstd");
        g_assert_true(g_variant_dict_lookup(&dict, "cluster_size", "u", &n));
        g_assert_cmpuint(n, ==, 4096);
        g_assert_true(g_variant_dict_lookup(&dict, "refcount_bits", "u", &n));
        g_assert_cmpuint(n, ==, 8);
        g_assert_true(g_variant_dict_lookup(&dict, "lazy_refcounts", "b", &on));
        g_assert_true(on);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void add(const char *name, const char *variant, GTestDataFunc fn) {
        g_autofree char *path = g_strdup_printf("/qcow2/read/%s/%s", name, variant);

        g_test_add_data_func(path, variant, fn);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        for (size_t i = 0; qcow2_variants[i]; i++) {
                add("convert", qcow2_variants[i], test_convert);
                add("chain", qcow2_variants[i], test_chain);
        }
        g_test_add_func("/qcow2/read/data-file", test_data_file);
        g_test_add_func("/qcow2/read/snapshots", test_snapshots);
        g_test_add_func("/qcow2/read/bitmaps", test_bitmaps);
        g_test_add_func("/qcow2/read/dirty", test_dirty);
        g_test_add_func("/qcow2/read/describe", test_describe);
        return g_test_run();
}
