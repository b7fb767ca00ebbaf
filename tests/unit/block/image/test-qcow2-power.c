/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Power cuts. Random operations run on a qcow2 image on a disk that writes down everything; then the power goes at every event, with all that came after
 * the last sync there, or any part of it. Each time the check finds no corruption, and every byte that was flushed and not touched since is there.
 */

#include "qcow2-rig.h"

#include "devices/block/image/qcow2.h"
#include "power-disk.h"

#include <string.h>

#define SIZE (512u * 1024u)
#define STEPS 60
#define SUBSETS 3

/* What a flush that returned promised: the disk's bytes. From the event on at which it returned. */
struct promise {
        unsigned event;
        uint8_t *data;
};

struct history {
        GArray *promises;
        GArray *touched; /* struct touch: bytes that changed since, with the event before which they did */
};

struct touch {
        unsigned event;
        uint64_t offset, len;
};

static void touch(struct history *h, unsigned event, uint64_t offset, uint64_t len) {
        struct touch t = { event, offset, len };

        g_array_append_val(h->touched, t);
}

static void promise(struct history *h, unsigned event, const struct model *m) {
        struct promise p = { event, g_memdup2(m->data, m->size) };

        g_array_append_val(h->promises, p);
}

/* A step of our own kind: what it touches is known before it begins. */
static void step(struct model *m, struct history *h, power_disk *d) {
        uint64_t cluster = m->img->cluster,
                 offset = (uint64_t) g_rand_int_range(m->rand, 0, SIZE / 512) * 512,
                 len = (uint64_t) g_rand_int_range(m->rand, 1, 40) * 512;
        unsigned op = (unsigned) g_rand_int_range(m->rand, 0, 10);
        uint8_t byte = (uint8_t) g_rand_int_range(m->rand, 1, 256);

        len = MIN(len, SIZE - offset);
        if (op == 0) {
                g_assert_cmpint(image_flush(m->img), ==, 0);
                promise(h, power_disk_events(d), m);
                return;
        }
        touch(h, power_disk_events(d), offset, len);
        if (op < 6) {
                memset(m->data + offset, byte, len);
                g_assert_cmpint(image_write(m->img, offset, m->data + offset, len), ==, 0);
        } else if (op < 8) {
                memset(m->data + offset, 0, len);
                g_assert_cmpint(image_zero(m->img, offset, len, op == 7), ==, 0);
        } else {
                uint64_t first = (offset + cluster - 1) / cluster * cluster,
                         end = offset + len == SIZE ? SIZE : (offset + len) / cluster * cluster;

                if (end > first)
                        memset(m->data + first, 0, end - first);
                g_assert_cmpint(image_discard(m->img, offset, len), ==, 0);
        }
}

/* What the disk must hold when the power goes at event. known: the bytes of which that can be said. */
static const uint8_t *expect(const struct history *h, unsigned event, uint8_t *known) {
        const struct promise *last = NULL;

        for (guint i = 0; i < h->promises->len; i++) {
                const struct promise *p = &g_array_index(h->promises, struct promise, i);

                if (p->event <= event)
                        last = p;
        }
        memset(known, 1, SIZE);
        for (guint i = 0; i < h->touched->len; i++) {
                const struct touch *t = &g_array_index(h->touched, struct touch, i);

                if (last && t->event >= last->event && t->event <= event)
                        memset(known + t->offset, 0, t->len);
        }
        return last ? last->data : NULL;
}

static void examine(struct image *img, const struct history *h, unsigned event, uint32_t seed) {
        g_autofree uint8_t *known = g_malloc(SIZE), *found = g_malloc(SIZE);
        const uint8_t *data = expect(h, event, known);

        rig_check(img, /* leaks= */ true);
        g_assert_cmpint(image_read(img, 0, found, SIZE), ==, 0);
        for (unsigned i = 0; data && i < SIZE; i++)
                if (known[i] && found[i] != data[i])
                        g_error("power cut at event %u, seed %u: byte 0x%x is %u, not %u", event,
                                seed, i, found[i], data[i]);
}

/* Leaks can be mended, and the image is as good as new then. */
static void mend(struct image *img) {
        struct image_check check = { .repair_leaks = true };
        g_autoptr(GError) error = NULL;

        (void) img->format->check(img, &check, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(check.corruptions, ==, 0);
        rig_check(img, /* leaks= */ false);
        g_assert_cmpint(image_write(img, 0, "alive", 5), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        rig_check(img, /* leaks= */ false);
}

static void cut_everywhere(power_disk *d, const struct history *h) {
        for (unsigned event = 0; event <= power_disk_events(d); event++)
                for (uint32_t seed = 0; seed <= SUBSETS; seed++) {
                        struct image *img = rig_open_file(
                                        power_disk_cut(d, event, seed), /* readonly= */ false);

                        examine(img, h, event, seed);
                        if (seed == 1)
                                mend(img);
                        g_assert_cmpint(image_close(img), ==, 0);
                }
}

static void history_init(struct history *h) {
        h->promises = g_array_new(FALSE, FALSE, sizeof(struct promise));
        h->touched = g_array_new(FALSE, FALSE, sizeof(struct touch));
}

static void history_clear(struct history *h) {
        for (guint i = 0; i < h->promises->len; i++)
                g_free(g_array_index(h->promises, struct promise, i).data);
        g_array_unref(h->promises);
        g_array_unref(h->touched);
}

static void run(const char *options, uint32_t seed, bool snapshots) {
        g_autoptr(power_disk) d = power_disk_new(256u << 20);
        g_autoptr(image_file) fresh = power_disk_open(d, false);
        g_autoptr(GError) error = NULL;
        struct history h;
        struct model m;

        rig_create_file(fresh, SIZE, options);
        fresh = image_file_free(fresh);
        power_disk_settle(d);
        history_init(&h);
        model_init(&m, rig_open_file(power_disk_open(d, false), false), NULL, seed);
        promise(&h, 0, &m);
        for (unsigned i = 0; i < STEPS; i++) {
                step(&m, &h, d);
                if (!snapshots || i % 20 != 10)
                        continue;
                if (i == 50)
                        (void) image_qcow2.snapshot_delete(m.img, "s10", &error);
                else
                        (void) image_qcow2.snapshot_create(m.img, i == 10 ? "s10" : "s30", &error);
                g_assert_no_error(error);
        }
        model_compare(&m);
        g_assert_cmpint(image_close(m.img), ==, 0);
        promise(&h, power_disk_events(d), &m);
        g_test_message("%u events", power_disk_events(d));
        cut_everywhere(d, &h);
        history_clear(&h);
        model_clear(&m);
}

static void test_cut(gconstpointer data) {
        run(data, 11, false);
}

static void test_snapshots(gconstpointer data) {
        run(data, 12, true);
}

/* The tables do not fit the caches: they are written at other times than flushes. */
static void test_small_caches(gconstpointer data) {
        const struct qcow2_limits large = qcow2_limits;

        qcow2_limits = (struct qcow2_limits){ 0, 0 };
        run(data, 13, false);
        run(data, 14, true);
        qcow2_limits = large;
}

/* Everything that happens to the table of counts, to L1, to the header. */
static void test_resize(gconstpointer data) {
        static const uint64_t sizes[] = { 40u << 20, 70u << 20, 4u << 20, SIZE };
        g_autoptr(power_disk) d = power_disk_new(256u << 20);
        g_autoptr(image_file) fresh = power_disk_open(d, false);
        g_autoptr(GError) error = NULL;
        struct image *img;

        rig_create_file(fresh, SIZE, data);
        fresh = image_file_free(fresh);
        img = rig_open_file(power_disk_open(d, false), false);
        g_assert_cmpint(image_write(img, 4096, "stays", 5), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        power_disk_settle(d);
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                (void) image_qcow2.resize(img, sizes[i], &error);
                g_assert_no_error(error);
                for (uint64_t at = sizes[i] - 4096; at > 8192; at = at / 2 / 512 * 512)
                        g_assert_cmpint(image_write(img, at, "new", 3), ==, 0);
        }
        g_assert_cmpint(image_close(img), ==, 0);
        for (unsigned event = 0; event <= power_disk_events(d); event++)
                for (uint32_t seed = 0; seed <= SUBSETS; seed++) {
                        char buf[5];

                        img = rig_open_file(power_disk_cut(d, event, seed), false);
                        rig_check(img, /* leaks= */ true);
                        g_assert_cmpint(image_read(img, 4096, buf, sizeof(buf)), ==, 0);
                        g_assert_cmpmem(buf, sizeof(buf), "stays", 5);
                        g_assert_cmpint(image_close(img), ==, 0);
                }
}

/* A disk that fails: the error arrives, and what is on the disk is an image still. */
static void test_failures(void) {
        for (unsigned n = 1; n < 60; n++)
                for (int all_after = 0; all_after < 2; all_after++) {
                        g_autoptr(power_disk) d = power_disk_new(64u << 20);
                        g_autoptr(image_file) fresh = power_disk_open(d, false);
                        struct image *img;
                        int r = 0;

                        rig_create_file(fresh, SIZE, "cluster_size=4K");
                        fresh = image_file_free(fresh);
                        img = rig_open_file(power_disk_open(d, false), false);
                        power_disk_fail(d, n, EIO, all_after, false);
                        for (unsigned i = 0; r == 0 && i < 20; i++) {
                                r = image_write(img, i * 9000 % SIZE / 512 * 512, "data", 4);
                                if (r == 0 && i % 3 == 2)
                                        r = image_flush(img);
                        }
                        if (r == 0)
                                r = image_flush(img);
                        if (all_after && n < 20)
                                g_assert_cmpint(r, ==, -EIO);
                        (void) image_close(img);
                        power_disk_fail(d, 0, 0, false, false);
                        img = rig_open_file(power_disk_open(d, true), true);
                        rig_check(img, /* leaks= */ true);
                        g_assert_cmpint(image_close(img), ==, 0);
                }
}

static void add(const char *name, const char *options, GTestDataFunc fn) {
        g_autofree char *path = g_strdup_printf("/qcow2/power/%s/%s", name, options);

        g_test_add_data_func(path, options, fn);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        add("cut", "cluster_size=512", test_cut);
        add("cut", "cluster_size=4K", test_cut);
        add("cut", "cluster_size=1K,refcount_bits=64", test_cut);
        add("cut", "cluster_size=4K,refcount_bits=1", test_cut);
        add("cut", "compat=0.10,cluster_size=2K", test_cut);
        add("cut", "extended_l2=on,cluster_size=16K", test_cut);
        add("snapshots", "cluster_size=512", test_snapshots);
        add("snapshots", "cluster_size=4K", test_snapshots);
        add("snapshots", "extended_l2=on,cluster_size=16K", test_snapshots);
        add("small-caches", "cluster_size=512", test_small_caches);
        add("small-caches", "compat=0.10,cluster_size=512", test_small_caches);
        add("resize", "cluster_size=512", test_resize);
        add("resize", "cluster_size=512,refcount_bits=64", test_resize);
        add("resize", "cluster_size=4K", test_resize);
        g_test_add_func("/qcow2/power/failures", test_failures);
        return g_test_run();
}
