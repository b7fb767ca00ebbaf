/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compressed clusters among random operations on qcow2 images of every kind, against a plain buffer: they are written over what is there, and
 * written over; snapshots keep them; a count that is full makes another cluster; qemu-img finds nothing wrong, and the same bytes.
 */

#include "qcow2-rig.h"

#include "devices/block/image/qcow2.h"

#include <errno.h>
#include <string.h>

#define SIZE (3ull * 1024 * 1024 + 1536)
#define STEPS 150

/* What can be packed to a tenth, to a half, or not at all. */
static void make_data(struct model *m, uint8_t *buf, size_t len) {
        unsigned kind = (unsigned) g_rand_int_range(m->rand, 0, 3);
        uint8_t byte = (uint8_t) g_rand_int(m->rand);

        for (size_t i = 0; i < len; i++)
                buf[i] = kind == 0            ? (uint8_t) (byte + i / 64)
                         : kind == 1 && i % 2 ? 0
                                              : (uint8_t) g_rand_int(m->rand);
}

static void pack_one(struct model *m) {
        uint64_t unit = m->img->packed_unit, n = (m->size + unit - 1) / unit,
                 at = (uint64_t) g_rand_int_range(m->rand, 0, (int) n) * unit;
        size_t len = (size_t) MIN(unit, m->size - at);
        g_autofree uint8_t *buf = g_malloc(len);

        make_data(m, buf, len);
        g_assert_cmpint(image_write_packed(m->img, at, buf, len), ==, 0);
        memcpy(m->data + at, buf, len);
}

static unsigned count_packed(struct image *img) {
        unsigned n = 0;
        struct image_extent x;

        for (uint64_t at = 0; at < img->size; at += x.len) {
                g_assert_cmpint(image_map(img, at, img->size - at, &x), ==, 0);
                n += x.kind == IMAGE_PACKED;
        }
        return n;
}

/* Counts are wide enough for one more of each. */
static bool may_have_snapshots(const char *options) {
        return !strstr(options, "refcount_bits=") || strstr(options, "refcount_bits=16") ||
               strstr(options, "refcount_bits=32") || strstr(options, "refcount_bits=64");
}

static void test_variant(gconstpointer options) {
        g_autofree char *path = rig_path("packed"), *raw = rig_path("model.raw");
        g_autofree uint8_t *zeros = g_malloc0(SIZE);
        g_autoptr(GError) error = NULL;
        struct model m;

        rig_create(path, SIZE, options);
        model_init(&m, rig_open(path, /* readonly= */ false), zeros, 4711);
        for (unsigned i = 0; i < STEPS; i++) {
                pack_one(&m);
                if (i % 3 == 0)
                        model_step(&m);
                if (!may_have_snapshots(options))
                        continue;
                if (i == STEPS / 2)
                        g_assert_true(m.img->format->snapshot_create(m.img, "one", &error));
                if (i == STEPS * 3 / 4)
                        g_assert_true(m.img->format->snapshot_delete(m.img, "one", &error));
                g_assert_no_error(error);
        }
        model_compare(&m);
        g_assert_cmpint(image_close(m.img), ==, 0);
        m.img = rig_open(path, /* readonly= */ true);
        rig_check(m.img, /* leaks= */ false);
        model_compare(&m);
        g_assert_cmpuint(count_packed(m.img), >, 0);
        (void) g_file_set_contents(raw, (char *) m.data, (gssize) m.size, &error);
        g_assert_no_error(error);
        rig_qemu_img("check -f qcow2 %s", path);
        rig_qemu_img("compare -f raw -F qcow2 %s %s", raw, path);
        image_free(m.img);
        model_clear(&m);
}

static void test_refused(void) {
        g_autofree char *path = rig_path("refused"), *plain = rig_path("plain");
        g_autoptr(GError) error = NULL;
        uint8_t buf[4096] = { 1 };
        struct image *img;

        rig_create(path, SIZE, "cluster_size=4096");
        img = rig_open(path, /* readonly= */ true);
        g_assert_cmpint(image_write_packed(img, 0, buf, sizeof(buf)), ==, -EROFS);
        image_free(img);
        img = rig_open(path, /* readonly= */ false);
        g_assert_cmpint(image_write_packed(img, (SIZE + 4096) & ~4095ull, buf, sizeof(buf)), ==,
                        -EINVAL);
        image_free(img);
        g_assert_true(g_file_set_contents(plain, (char *) buf, sizeof(buf), &error));
        img =
                        image_open(rig_file(plain, /* readonly= */ false),
                                   &(struct image_open){ "raw" }, &error);
        g_assert_no_error(error);
        g_assert_cmpint(image_write_packed(img, 0, buf, sizeof(buf)), ==, -EOPNOTSUPP);
        image_free(img);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/qcow2-pack/refused", test_refused);
        for (size_t i = 0; qcow2_variants[i]; i++) {
                g_autofree char *name = g_strconcat("/qcow2-pack/", qcow2_variants[i], NULL);

                g_test_add_data_func(name, qcow2_variants[i], test_variant);
        }
        return g_test_run();
}
