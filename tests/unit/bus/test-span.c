/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the lock-free table finds exactly what was published last: edges of spans, gaps between
 * them, the ends of the number line, growth and shrinking; against a plain array with fixed random tables.
 */

#include <glib.h>

#include "devices/span.h"

static void test_empty(void) {
        struct span_table t = { 0 };
        struct span s;

        g_assert_true(span_table_empty(&t));
        g_assert_false(span_find(&t, 0, &s));
        g_assert_false(span_find(&t, UINT64_MAX, &s));
        span_table_publish(&t, NULL, 0);
        g_assert_false(span_find(&t, 5, &s));
        span_table_clear(&t);
}

static void test_edges(void) {
        const struct span spans[] = {
                { .first = 0, .last = 0, .a = 1 },
                { .first = 10, .last = 19, .a = 2 },
                { .first = 20, .last = 20, .a = 3 },
                { .first = UINT64_MAX - 1, .last = UINT64_MAX, .a = 4, .b = 5 },
        };
        const struct {
                uint64_t key;
                uintptr_t a;
        } cases[] = {
                { 0, 1 },
                { 1, 0 },
                { 9, 0 },
                { 10, 2 },
                { 19, 2 },
                { 20, 3 },
                { 21, 0 },
                { UINT64_MAX - 2, 0 },
                { UINT64_MAX - 1, 4 },
                { UINT64_MAX, 4 },
        };
        struct span_table t = { 0 };

        span_table_publish(&t, spans, G_N_ELEMENTS(spans));
        g_assert_false(span_table_empty(&t));
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct span s = { 0 };

                g_assert_cmpint(span_find(&t, cases[i].key, &s), ==, cases[i].a != 0);
                g_assert_cmpuint(s.a, ==, cases[i].a);
        }
        span_table_clear(&t);
}

static void test_random(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(20260101);
        struct span_table t = { 0 };

        for (unsigned round = 0; round < 300; round++) {
                size_t n = (size_t) g_rand_int_range(rand, 0, round % 7 == 0 ? 400 : 20);
                g_autofree struct span *spans = g_new0(struct span, n + 1);
                uint64_t at = 0;

                for (size_t i = 0; i < n; i++) {
                        at += (uint64_t) g_rand_int_range(rand, 0, 5);
                        spans[i].first = at;
                        spans[i].last = at + (uint64_t) g_rand_int_range(rand, 0, 5);
                        spans[i].a = i + 1;
                        at = spans[i].last + 1;
                }
                span_table_publish(&t, spans, n);

                for (uint64_t key = 0, i = 0; key < at + 3; key++) {
                        struct span s = { 0 };
                        bool inside;

                        while (i < n && spans[i].last < key)
                                i++;
                        inside = i < n && spans[i].first <= key;
                        g_assert_cmpint(span_find(&t, key, &s), ==, inside);
                        g_assert_cmpuint(s.a, ==, inside ? i + 1 : 0);
                }
        }
        span_table_clear(&t);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/span/empty", test_empty);
        g_test_add_func("/span/edges", test_edges);
        g_test_add_func("/span/random", test_random);
        return g_test_run();
}
