/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random operations on qcow2 images of every kind, against a plain buffer, with small caches and large ones; in between and after them qemu-img
 * checks the file and finds the same bytes in it. The seeds are fixed.
 */

#include "qcow2-rig.h"

#include "devices/block/image/qcow2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (6ull * 1024 * 1024 + 1536)
#define STEPS 150

struct saved {
        char *name;
        uint8_t *data;
        uint64_t size;
};

static void free_saved(void *p) {
        struct saved *s = p;

        g_free(s->name);
        g_free(s->data);
        g_free(s);
}

static void write_file(const char *path, const void *data, uint64_t size) {
        g_autoptr(GError) error = NULL;

        (void) g_file_set_contents(path, data, (gssize) size, &error);
        g_assert_no_error(error);
}

/* Of each range that qemu-img tells of, and that is the top image's: we say the same. */
static void compare_map(struct image *img, const char *path) {
        g_autofree char *text = rig_qemu_img_output("map --output=json -f qcow2 %s", path);
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        unsigned compared = 0;

        for (size_t i = 0; lines[i]; i++) {
                bool data = strstr(lines[i], "\"data\": true");
                const char *offset = strstr(lines[i], "\"offset\": ");
                unsigned long long start, length;
                unsigned depth;
                const char *object = strchr(lines[i], '{');

                if (!object || sscanf(object, "{ \"start\": %llu, \"length\": %llu, \"depth\": %u",
                                      &start, &length, &depth) != 3)
                        continue;
                while (depth == 0 && start < img->size && length > 0) {
                        struct image_extent x;

                        length = MIN(length, img->size - start);
                        g_assert_cmpint(image_map_chain(img, start, length, &x, NULL), ==, 0);
                        g_assert_cmpint(x.kind, ==, data ? IMAGE_DATA : IMAGE_ZERO);
                        if (data)
                                g_assert_cmpuint(
                                                x.at, ==,
                                                strtoull(offset + 10, NULL, 10) + compared);
                        start += x.len;
                        length -= x.len;
                        compared += (unsigned) x.len;
                }
                compared = 0;
        }
}

/* Closes, lets qemu-img judge, and opens again. */
static void judge(struct model *m, const char *path) {
        g_autofree char *raw = rig_path("model.raw");

        g_assert_cmpint(image_close(m->img), ==, 0);
        write_file(raw, m->data, m->size);
        rig_qemu_img("check -q -f qcow2 %s", path);
        rig_qemu_img("compare -q -f qcow2 -F raw %s %s", path, raw);
        m->img = rig_open(path, false);
        compare_map(m->img, path);
        rig_check(m->img, false);
}

static void one_snapshot(struct model *m, GPtrArray *saved) {
        g_autoptr(GError) error = NULL;
        unsigned op = (unsigned) g_rand_int_range(m->rand, 0, 3);
        struct saved *s;

        if (op == 0 || saved->len == 0) {
                s = g_new0(struct saved, 1);
                s->name = g_strdup_printf("at-%u", g_rand_int(m->rand));
                s->data = g_memdup2(m->data, m->size);
                s->size = m->size;
                g_ptr_array_add(saved, s);
                (void) image_qcow2.snapshot_create(m->img, s->name, &error);
                g_assert_no_error(error);
                return;
        }
        s = saved->pdata[g_rand_int_range(m->rand, 0, (gint32) saved->len)];
        if (op == 1) {
                (void) image_qcow2.snapshot_apply(m->img, s->name, &error);
                g_assert_no_error(error);
                g_free(m->data);
                m->data = g_memdup2(s->data, s->size);
                m->size = s->size;
        } else {
                (void) image_qcow2.snapshot_delete(m->img, s->name, &error);
                g_assert_no_error(error);
                g_ptr_array_remove(saved, s);
        }
        g_assert_cmpuint(image_qcow2.snapshots(m->img)->len, ==, saved->len);
}

static void one_resize(struct model *m) {
        model_resize(m, SIZE / 512 * (uint64_t) g_rand_int_range(m->rand, 20, 150) / 100 * 512);
}

static void run(const char *options, const char *backing, uint32_t seed, bool snapshots) {
        g_autofree char *path = rig_path("random.qcow2");
        g_autofree uint8_t *below = NULL;
        g_autoptr(GPtrArray) saved = g_ptr_array_new_with_free_func(free_saved);
        struct model m;

        rig_create(path, SIZE, options);
        m.img = rig_open(path, false);
        if (backing) {
                below = g_malloc0(SIZE);
                g_assert_cmpint(image_read(m.img, 0, below, SIZE), ==, 0);
        }
        model_init(&m, m.img, below, seed);
        m.discard_is_nothing = backing && strstr(options, "0.10");
        for (unsigned i = 0; i < STEPS; i++) {
                int what = g_rand_int_range(m.rand, 0, 80);

                if (what == 0 && snapshots)
                        one_snapshot(&m, saved);
                else if (what == 1 && (!strstr(options, "0.10") || saved->len == 0))
                        one_resize(&m);
                else if (what == 2)
                        judge(&m, path);
                else
                        model_step(&m);
        }
        model_compare(&m);
        judge(&m, path);
        model_compare(&m);
        while (saved->len > 0) {
                struct saved *s = saved->pdata[0];
                g_autoptr(GError) error = NULL;

                (void) image_qcow2.snapshot_apply(m.img, s->name, &error);
                g_assert_no_error(error);
                g_free(m.data);
                m.data = g_steal_pointer(&s->data);
                m.size = s->size;
                model_compare(&m);
                (void) image_qcow2.snapshot_delete(m.img, s->name, &error);
                g_assert_no_error(error);
                g_ptr_array_remove_index(saved, 0);
                rig_check(m.img, false);
                if (saved->len == 0)
                        judge(&m, path);
        }
        g_assert_cmpint(image_close(m.img), ==, 0);
        model_clear(&m);
}

static bool can_snapshot(const char *options) {
        /* Counts of one or two bits are soon full. */
        return !strstr(options, "refcount_bits=2") &&
               (!strstr(options, "refcount_bits=1") || strstr(options, "refcount_bits=16"));
}

static void test_random(gconstpointer data) {
        const char *options = data;

        run(options, NULL, 1, false);
        run(options, NULL, 2, can_snapshot(options));
}

static void test_small_caches(gconstpointer data) {
        const struct qcow2_limits large = qcow2_limits;

        qcow2_limits = (struct qcow2_limits){ 0, 0 };
        run(data, NULL, 3, can_snapshot(data));
        qcow2_limits = large;
}

static void test_backing(gconstpointer data) {
        g_autofree char *base = rig_path("base.raw"), *content = g_malloc(SIZE),
                        *options = g_strconcat(
                                        data, ",backing_file=base.raw,backing_fmt=raw", NULL);

        for (uint64_t i = 0; i < SIZE; i++)
                content[i] = (char) (i / 512 % 7 ? i / 4096 + 1 : 0);
        write_file(base, content, SIZE);
        run(options, base, 4, can_snapshot(data));
}

/* A guest's data in a file of its own. */
static void run_external(const char *options, bool raw) {
        g_autofree char *path = rig_path("random.qcow2"), *data = rig_path("data.raw"),
                        *copy = rig_path("model.raw");
        struct model m;

        write_file(data, "", 0);
        rig_create(path, SIZE, options);
        m.img = rig_open(path, false);
        model_init(&m, m.img, NULL, 5);
        for (unsigned i = 0; i < STEPS; i++)
                model_step(&m);
        model_resize(&m, SIZE + 1024 * 1024);
        for (unsigned i = 0; i < STEPS; i++)
                model_step(&m);
        model_compare(&m);
        judge(&m, path);
        model_compare(&m);
        g_assert_cmpint(image_close(m.img), ==, 0);
        if (raw)
                rig_qemu_img("compare -q -f raw -F raw %s %s", data, copy);
        model_clear(&m);
}

static void test_external(void) {
        run_external("data_file=data.raw", false);
        run_external("data_file=data.raw,extended_l2=on", false);
        run_external("data_file=data.raw,data_file_raw=on", true);
}

/* All writes before a flush, and none of what was given up comes back before it is released. */
static void test_hold(void) {
        g_autofree char *path = rig_path("hold.qcow2");
        struct image_extent before, after;
        struct image *img;

        rig_create(path, SIZE, "");
        img = rig_open(path, false);
        img->hold = true;
        g_assert_cmpint(image_write(img, 0, "data", 4), ==, 0);
        g_assert_cmpint(image_map(img, 0, 1, &before), ==, 0);
        g_assert_cmpint(before.kind, ==, IMAGE_DATA);
        g_assert_cmpint(image_discard(img, 0, img->cluster), ==, 0);
        for (unsigned i = 1; i < 4; i++) {
                g_assert_cmpint(image_flush(img), ==, 0);
                g_assert_cmpint(image_write(img, i * img->cluster, "next", 4), ==, 0);
                g_assert_cmpint(image_map(img, i * img->cluster, 1, &after), ==, 0);
                g_assert_cmpuint(after.at, !=, before.at);
        }
        image_qcow2.release_held(img);
        g_assert_cmpint(image_write(img, 5 * img->cluster, "next", 4), ==, 0);
        g_assert_cmpint(image_map(img, 5 * img->cluster, 1, &after), ==, 0);
        g_assert_cmpuint(after.at, ==, before.at);
        g_assert_cmpint(image_close(img), ==, 0);
        rig_qemu_img("check -q -f qcow2 %s", path);
}

/* What was held back until the end is counted out of the file, when released at last and when closed at once. */
static void test_held_to_the_end(void) {
        for (unsigned i = 0; i < 2; i++) {
                g_autofree char *path = rig_path("held.qcow2");
                struct image *img;

                rig_create(path, SIZE, "");
                img = rig_open(path, false);
                img->hold = true;
                g_assert_cmpint(image_write(img, 0, "data", 4), ==, 0);
                g_assert_cmpint(image_flush(img), ==, 0);
                g_assert_cmpint(image_discard(img, 0, img->cluster), ==, 0);
                g_assert_cmpint(image_flush(img), ==, 0);
                if (i == 0)
                        img->hold = false;
                g_assert_cmpint(image_close(img), ==, 0);
                rig_qemu_img("check -q -f qcow2 %s", path);
        }
}

/* Given up, and not yet flushed: the file still refers to it. */
static void test_not_before_flush(void) {
        g_autofree char *path = rig_path("flush.qcow2");
        struct image_extent before, after;
        struct image *img;

        rig_create(path, SIZE, "");
        img = rig_open(path, false);
        g_assert_cmpint(image_write(img, 0, "data", 4), ==, 0);
        g_assert_cmpint(image_map(img, 0, 1, &before), ==, 0);
        g_assert_cmpint(image_discard(img, 0, img->cluster), ==, 0);
        g_assert_cmpint(image_write(img, img->cluster, "next", 4), ==, 0);
        g_assert_cmpint(image_map(img, img->cluster, 1, &after), ==, 0);
        g_assert_cmpuint(after.at, !=, before.at);
        g_assert_cmpint(image_flush(img), ==, 0);
        g_assert_cmpint(image_write(img, 2 * img->cluster, "next", 4), ==, 0);
        g_assert_cmpint(image_map(img, 2 * img->cluster, 1, &after), ==, 0);
        g_assert_cmpuint(after.at, ==, before.at);
        g_assert_cmpint(image_close(img), ==, 0);
}

/* A large write gets its clusters in one piece. */
static void test_in_one_piece(void) {
        g_autofree char *path = rig_path("piece.qcow2"), *buf = g_malloc0(4u << 20);
        struct image_extent x;
        struct image *img;

        rig_create(path, 64u << 20, "");
        img = rig_open(path, false);
        g_assert_cmpint(image_write(img, 65536, buf, 4u << 20), ==, 0);
        g_assert_cmpint(image_map(img, 65536, 4u << 20, &x), ==, 0);
        g_assert_cmpint(x.kind, ==, IMAGE_DATA);
        g_assert_true(x.writable);
        g_assert_cmpuint(x.len, ==, 4u << 20);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void test_create(void) {
        static const char *const wrong[] = {
                "cluster_size=3K",
                "cluster_size=256",
                "cluster_size=4M",
                "compat=2",
                "compat=0.10,lazy_refcounts=on",
                "compat=0.10,refcount_bits=8",
                "compat=0.10,compression_type=zstd",
                "refcount_bits=3",
                "extended_l2=on,cluster_size=8K",
                "extended_l2=maybe",
                "data_file_raw=on",
                "data_file=a,data_file_raw=on,backing_file=b",
                "data_file=a,preallocation=full",
                "backing_fmt=raw",
                "backing_file=b,preallocation=metadata",
                "preallocation=some",
                "compression_type=lzma",
        };
        static const char *const advance[] = { "metadata", "falloc", "full" };
        g_autofree char *path = rig_path("new.qcow2");

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autoptr(image_options) options = image_options_new();
                g_autoptr(image_file) file = rig_file(path, false);
                g_autoptr(GError) error = NULL;

                g_assert_true(image_options_parse(options, wrong[i], NULL));
                g_assert_false(image_qcow2.create(file, SIZE, options, &error));
                g_assert_nonnull(error);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(advance); i++)
                for (int extended = 0; extended < 2; extended++) {
                        g_autofree char *options =
                                        g_strdup_printf("preallocation=%s,extended_l2=%s",
                                                        advance[i], extended ? "on" : "off");
                        struct image_extent x;
                        struct image *img;

                        rig_create(path, SIZE, options);
                        rig_qemu_img("check -q -f qcow2 %s", path);
                        img = rig_open(path, false);
                        g_assert_cmpint(image_map(img, 1234, 5u << 20, &x), ==, 0);
                        g_assert_cmpint(x.kind, ==, IMAGE_DATA);
                        g_assert_true(x.writable);
                        g_assert_cmpuint(x.len, ==, 5u << 20);
                        g_assert_cmpint(image_close(img), ==, 0);
                }
}

static void add(const char *name, const char *variant, GTestDataFunc fn) {
        g_autofree char *path = g_strdup_printf("/qcow2/%s/%s", name, variant);

        g_test_add_data_func(path, variant, fn);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/qcow2/create", test_create);
        g_test_add_func("/qcow2/hold", test_hold);
        g_test_add_func("/qcow2/held-to-the-end", test_held_to_the_end);
        g_test_add_func("/qcow2/not-before-flush", test_not_before_flush);
        g_test_add_func("/qcow2/in-one-piece", test_in_one_piece);
        for (size_t i = 0; qcow2_variants[i]; i++) {
                add("random", qcow2_variants[i], test_random);
                add("small-caches", qcow2_variants[i], test_small_caches);
                add("backing", qcow2_variants[i], test_backing);
        }
        g_test_add_func("/qcow2/external", test_external);
        return g_test_run();
}
