/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What qcow2 costs by itself, without the transfers of data: where a place of the disk lies, with its table in memory and not; room for new clusters,
 * one by one and in one piece; a flush of what that changed. Prints operations a second; compare runs of one machine only.
 */

#include "qcow2-rig.h"

#include "devices/block/image/qcow2.h"
#include "power-disk.h"

#include <stdio.h>
#include <unistd.h>

#define SIZE (64ull << 30)
#define LOOKUPS 2000000u
#define MISSES 20000u
#define ROOMS 20000u

static void print_rate(const char *what, const char *options, unsigned n, gint64 start_us) {
        double seconds = (double) (g_get_monotonic_time() - start_us) / 1e6;

        (void) printf("# %-28s %-32s %12.0f operations/s\n", what, options, n / seconds);
}

static struct image *make(const char *options, uint64_t size) {
        struct image_file *f = memory_file_new("", 0), *again;

        rig_create_file(f, size, options);
        again = image_file_new(dup(f->fd), false, NULL);
        (void) image_file_free(f);
        return rig_open_file(again, false);
}

static void bench_map(const char *options) {
        struct image *img = make(options, SIZE);
        uint64_t clusters = (256ull << 20) / img->cluster;
        struct image_extent x;
        gint64 start;

        for (uint64_t at = 0; at < 256ull << 20; at += x.len)
                g_assert_cmpint(image_qcow2.allocate(img, at, (256ull << 20) - at, &x), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        start = g_get_monotonic_time();
        for (unsigned i = 0; i < LOOKUPS; i++)
                g_assert_cmpint(image_map(img, i * 7919ull % clusters * img->cluster, 4096, &x), ==,
                                0);
        print_rate("look-up, table in memory", options, LOOKUPS, start);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void bench_miss(const char *options) {
        struct image *img = make(options, SIZE);
        const struct qcow2 *q = (const struct qcow2 *) img;
        uint64_t span = 1ull << (q->cluster_bits + q->l2_bits), tables = MIN(SIZE / span, 4096);
        struct image_extent x;
        gint64 start;

        for (uint64_t i = 0; i < tables; i++)
                g_assert_cmpint(image_qcow2.allocate(img, i * span, 512, &x), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        start = g_get_monotonic_time();
        for (unsigned i = 0; i < MISSES; i++)
                g_assert_cmpint(image_map(img, i % tables * span, 512, &x), ==, 0);
        print_rate("look-up, table in the file", options, MISSES, start);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void bench_allocate(const char *options) {
        struct image *img = make(options, SIZE);
        struct image_extent x;
        unsigned n = 0;
        gint64 start = g_get_monotonic_time();

        for (; n < ROOMS; n++)
                g_assert_cmpint(image_qcow2.allocate(
                                                img, n * 104729ull % (SIZE / 65536) * 65536, 4096,
                                                &x),
                                ==, 0);
        print_rate("room for 4 KiB at random", options, n, start);
        start = g_get_monotonic_time();
        g_assert_cmpint(image_flush(img), ==, 0);
        print_rate("flush of all of that", options, 1, start);
        g_assert_cmpint(image_close(img), ==, 0);

        img = make(options, SIZE);
        start = g_get_monotonic_time();
        n = 0;
        for (uint64_t at = 0; at < 1ull << 30; at += x.len, n++)
                g_assert_cmpint(image_qcow2.allocate(img, at, (1ull << 30) - at, &x), ==, 0);
        print_rate("room for 1 GiB in order", options, 1, start);
        (void) printf("#   in %u pieces\n", n);
        g_assert_cmpint(image_close(img), ==, 0);
}

int main(void) {
        static const char *const kinds[] = { "cluster_size=64K", "cluster_size=64K,extended_l2=on",
                                             "cluster_size=2M" };

        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
                const struct qcow2_limits large = qcow2_limits;

                bench_map(kinds[i]);
                qcow2_limits = (struct qcow2_limits){ 0, 0 };
                /* Of 2 MiB clusters one table has them all. */
                if (i < 2)
                        bench_miss(kinds[i]);
                qcow2_limits = large;
                bench_allocate(kinds[i]);
        }
        return 0;
}
