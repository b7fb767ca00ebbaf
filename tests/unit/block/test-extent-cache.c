/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the extent cache: what was dropped is not found, whatever the range; entries that share a place replace each other; every
 * bit of an extent survives; and readers that look while a writer changes things never find what was not put there.
 */

#include "devices/block/extent-cache.h"

#define UNIT 4096u

static void start(struct extent_cache *c, uint64_t size) {
        g_autoptr(GError) error = NULL;

        g_assert_true(extent_cache_init(c, size, UNIT, &error));
        g_assert_no_error(error);
}

static void test_drop(void) {
        struct extent_cache c;
        struct extent x = { .file = 255, .writable = true, .at = (1ull << 63) - 512 }, y;

        start(&c, 1024 * UNIT);
        g_assert_false(extent_cache_find(&c, 0, &y));
        for (uint64_t unit = 0; unit < 1024; unit++)
                extent_cache_put(&c, unit, &x);
        g_assert_true(extent_cache_find(&c, 7, &y));
        g_assert_cmpuint(y.at, ==, x.at);
        g_assert_cmpuint(y.file, ==, 255);
        g_assert_true(y.writable && !y.zero);
        extent_cache_drop(&c, 7 * UNIT + 5, 0);
        g_assert_true(extent_cache_find(&c, 7, &y));
        /* One byte of a unit is all of it. */
        extent_cache_drop(&c, 8 * UNIT - 1, 2);
        g_assert_true(extent_cache_find(&c, 6, &y));
        g_assert_false(extent_cache_find(&c, 7, &y));
        g_assert_false(extent_cache_find(&c, 8, &y));
        g_assert_true(extent_cache_find(&c, 9, &y));
        extent_cache_drop(&c, 100 * UNIT, UINT64_MAX);
        g_assert_true(extent_cache_find(&c, 99, &y));
        for (uint64_t unit = 100; unit < 1024; unit++)
                g_assert_false(extent_cache_find(&c, unit, &y));
        extent_cache_put(&c, 7, &(struct extent){ .zero = true });
        g_assert_true(extent_cache_find(&c, 7, &y));
        g_assert_true(y.zero && !y.writable);
        extent_cache_clear(&c);
}

/* A disk of exabytes: units share places, and too many units are none. */
static void test_large(void) {
        struct extent_cache c;
        struct extent y;

        start(&c, 1ull << 50);
        extent_cache_put(&c, 5, &(struct extent){ .at = 512 });
        extent_cache_put(&c, 5 + c.mask + 1, &(struct extent){ .at = 1024 });
        g_assert_false(extent_cache_find(&c, 5, &y));
        g_assert_true(extent_cache_find(&c, 5 + c.mask + 1, &y));
        g_assert_cmpuint(y.at, ==, 1024);
        extent_cache_drop(&c, 5 * UNIT, UNIT);
        g_assert_true(extent_cache_find(&c, 5 + c.mask + 1, &y));
        extent_cache_drop(&c, 0, 1ull << 50);
        g_assert_false(extent_cache_find(&c, 5 + c.mask + 1, &y));
        extent_cache_clear(&c);

        g_assert_true(extent_cache_init(&c, 1ull << 62, 512, NULL));
        extent_cache_put(&c, 5, &(struct extent){ .at = 512 });
        g_assert_false(extent_cache_find(&c, 5, &y));
        extent_cache_drop(&c, 0, UINT64_MAX);
        extent_cache_clear(&c);
}

struct race {
        struct extent_cache c;
        atomic_bool stop;
};

static void *look(void *opaque) {
        struct race *r = opaque;
        unsigned found = 0;

        for (uint64_t i = 0; !atomic_load(&r->stop); i++) {
                uint64_t unit = i * 7 % 32;
                struct extent x;

                if (!extent_cache_find(&r->c, unit, &x))
                        continue;
                /* The writer never puts anything else. */
                g_assert_cmpuint(x.at % (1024 * 512), ==, unit * 512);
                g_assert_cmpuint(x.file, ==, unit);
                found++;
        }
        return GUINT_TO_POINTER(found);
}

static void test_race(void) {
        struct race r = { .stop = false };
        GThread *threads[2];

        /* Eight places for 32 units. */
        start(&r.c, 7 * UNIT);
        g_assert_cmpuint(r.c.mask, ==, 7);
        for (unsigned i = 0; i < 2; i++)
                threads[i] = g_thread_new("look", look, &r);
        for (uint64_t i = 0; i < 200000; i++) {
                uint64_t unit = i * 13 % 32;
                struct extent x = { .file = (uint8_t) unit, .at = (i * 1024 + unit) * 512 };

                if (i % 5 == 0)
                        extent_cache_drop(&r.c, unit * UNIT, UNIT);
                else
                        extent_cache_put(&r.c, unit, &x);
        }
        atomic_store(&r.stop, true);
        for (unsigned i = 0; i < 2; i++)
                (void) g_thread_join(threads[i]);
        extent_cache_clear(&r.c);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/extent-cache/drop", test_drop);
        g_test_add_func("/extent-cache/large", test_large);
        g_test_add_func("/extent-cache/race", test_race);
        return g_test_run();
}
