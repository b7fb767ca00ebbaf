/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the token buckets, on a clock of its own: values at the ends of their ranges neither overflow nor wait for ever; what
 * fits goes at once and what does not goes after exactly the time that is named, and not a nanosecond before; the rate holds over
 * any mix of requests; larger requests than the bucket pass when it is full and become debt; the burst is used once; new limits
 * start with full buckets; and competing threads together keep to the rate, with none of them starving.
 */

#include "devices/throttle.h"

#include <glib.h>

#define MS 1000000ull
#define SECOND (1000 * MS)

static const uint64_t t0 = 77 * SECOND;

static struct throttle make(bool shared, struct throttle_config config) {
        struct throttle t;

        throttle_init(&t, shared, &config);
        return t;
}

static void test_extremes(void) {
        const uint64_t values[] = { 1, 2, 1000, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX };

        for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
                for (size_t k = 0; k < G_N_ELEMENTS(values); k++)
                        for (size_t m = 0; m < G_N_ELEMENTS(values); m++) {
                                struct throttle t = make(
                                                false,
                                                (struct throttle_config){
                                                                .bandwidth = { .size = values[i],
                                                                               .refill_ms = values
                                                                                               [k] } });
                                uint64_t wait;

                                g_assert_true(throttle_limits(&t));
                                g_assert_cmpuint(throttle_take(&t, t0, values[m], 1), ==, 0);
                                wait = throttle_take(&t, t0, values[m], 1);
                                g_assert_cmpuint(wait, <=, 1ull << 54);
                                throttle_charge(&t, t0, UINT64_MAX, UINT64_MAX);
                                g_assert_cmpuint(throttle_take(&t, t0, 0, 1), <=, 1ull << 54);
                                g_assert_cmpuint(throttle_take(&t, t0 + (1ull << 56), 1, 1), ==, 0);
                        }
}

static void test_no_limit(void) {
        struct throttle t = make(true, (struct throttle_config){ 0 });

        g_assert_false(throttle_limits(&t));
        for (int i = 0; i < 100; i++)
                g_assert_cmpuint(throttle_take(&t, t0, UINT64_MAX, UINT64_MAX), ==, 0);
        throttle_charge(&t, t0, UINT64_MAX, 1);
        g_assert_cmpuint(throttle_take(&t, t0, 1, 1), ==, 0);
        /* A burst without a bucket is none, and no time to refill is the shortest; any token lets a shared one pass. */
        throttle_set(&t, &(struct throttle_config){ .ops = { .burst = 5, .refill_ms = 5 } });
        g_assert_false(throttle_limits(&t));
        throttle_set(&t, &(struct throttle_config){ .ops = { .size = 5 } });
        g_assert_cmpuint(throttle_take(&t, t0, 1, 5), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0, 1, 5), ==, 1);
}

static void test_exact(void) {
        /* 1000 bytes a second: one a millisecond. */
        struct throttle t = make(false, (struct throttle_config){ .bandwidth = { 1000, 0, 1000 } });

        g_assert_cmpuint(throttle_take(&t, t0, 600, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0, 600, 1), ==, 200 * MS);
        /* Asking takes nothing. */
        g_assert_cmpuint(throttle_take(&t, t0, 600, 1), ==, 200 * MS);
        g_assert_cmpuint(throttle_take(&t, t0 + 50 * MS, 600, 1), ==, 150 * MS);
        g_assert_cmpuint(throttle_take(&t, t0 + 200 * MS - 1, 600, 1), ==, 1);
        g_assert_cmpuint(throttle_take(&t, t0 + 200 * MS, 600, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0 + 200 * MS, 1, 1), ==, MS);
        /* It fills up, and no further. */
        g_assert_cmpuint(throttle_take(&t, t0 + 9 * SECOND, 1000, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0 + 9 * SECOND, 1, 1), ==, MS);
}

static void test_both(void) {
        struct throttle t =
                        make(false, (struct throttle_config){ .bandwidth = { 1000, 0, 1000 },
                                                              .ops = { 10, 0, 1000 } });

        for (int i = 0; i < 10; i++)
                g_assert_cmpuint(throttle_take(&t, t0, 1, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0, 1, 1), ==, 100 * MS);
        /* The longer of two waits; and what is refused by one takes nothing of the other. */
        g_assert_cmpuint(throttle_take(&t, t0, 1000, 1), ==, 100 * MS);
        g_assert_cmpuint(throttle_take(&t, t0, 990, 0), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0, 500, 1), ==, 500 * MS);
}

static void test_debt(void) {
        struct throttle t = make(false, (struct throttle_config){ .bandwidth = { 1000, 0, 1000 } });

        g_assert_cmpuint(throttle_take(&t, t0, 1, 1), ==, 0);
        /* Larger than the bucket: when that is full. */
        g_assert_cmpuint(throttle_take(&t, t0, 3000, 1), ==, MS);
        g_assert_cmpuint(throttle_take(&t, t0 + MS, 3000, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0 + MS, 0, 1), ==, 2000 * MS);
        g_assert_cmpuint(throttle_take(&t, t0 + MS, 1, 1), ==, 2001 * MS);
        throttle_charge(&t, t0 + MS, 1000, 0);
        g_assert_cmpuint(throttle_take(&t, t0 + MS, 1, 1), ==, 3001 * MS);
}

static void test_burst(void) {
        struct throttle t =
                        make(false, (struct throttle_config){ .bandwidth = { 1000, 5000, 1000 } });

        g_assert_cmpuint(throttle_take(&t, t0, 4500, 1), ==, 0);
        /* Partly from the burst; 500 are left in the bucket. */
        g_assert_cmpuint(throttle_take(&t, t0, 1000, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0, 600, 1), ==, 100 * MS);
        g_assert_cmpuint(throttle_take(&t, t0, 500, 1), ==, 0);
        /* It does not come again. */
        g_assert_cmpuint(throttle_take(&t, t0 + 99 * SECOND, 1000, 1), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0 + 99 * SECOND, 1, 1), ==, MS);
}

static void test_set(void) {
        struct throttle t = make(false, (struct throttle_config){ .ops = { 1, 0, 1000000 } });

        throttle_charge(&t, t0, 0, 1000);
        g_assert_cmpuint(throttle_take(&t, t0, 0, 1), >, 1000 * SECOND);
        throttle_set(&t, &(struct throttle_config){ .ops = { 10, 0, 1000 } });
        g_assert_cmpuint(throttle_take(&t, t0, 0, 10), ==, 0);
        g_assert_cmpuint(throttle_take(&t, t0, 0, 1), ==, 100 * MS);
        throttle_set(&t, &(struct throttle_config){ 0 });
        g_assert_cmpuint(throttle_take(&t, t0, 0, 1000), ==, 0);
}

/* Random requests, each made when it may be: no more than bucket and rate allow at any moment, and no less in the end. */
static void test_rate(void) {
        for (int round = 0; round < 20; round++) {
                uint64_t size = (uint64_t) g_test_rand_int_range(1000, 1000000);
                uint64_t refill = (uint64_t) g_test_rand_int_range(1, 3000);
                uint64_t now = t0, sent = 0;
                double rate = (double) size / ((double) refill * MS);
                struct throttle t =
                                make(round % 2,
                                     (struct throttle_config){ .bandwidth = { size, 0, refill } });
                double due;

                for (int i = 0; i < 5000; i++) {
                        uint64_t n = (uint64_t) g_test_rand_int_range(1, 1500);
                        uint64_t wait = throttle_take(&t, now, n, 1);

                        if (wait > 0) {
                                now += wait;
                                g_assert_cmpuint(throttle_take(&t, now, n, 1), ==, 0);
                        }
                        sent += n;
                        due = (double) size + rate * (double) (now - t0);
                        /* Prices are whole sixteenths of a nanosecond. */
                        due += rate / 16 * (i + 1);
                        /* Larger than the smallest buckets, or let in by the last token of a shared one. */
                        g_assert_cmpfloat((double) sent, <=, due + 1501);
                }
                due = rate * (double) (now - t0);
                g_assert_cmpfloat((double) sent, >=, due - 1501);
        }
}

/* One asks for half the bucket, the other for little and without end: both get their turn. */
static void test_fair(void) {
        struct throttle t = make(true, (struct throttle_config){ .bandwidth = { 1000, 0, 1000 } });
        const uint64_t n[2] = { 4, 500 };
        uint64_t now = t0, at[2] = { t0, t0 };
        unsigned count[2] = { 0 };

        while (now < t0 + 600 * SECOND) {
                /* Threads that are woken at the same time come in any order. */
                int first = g_test_rand_bit();

                for (int i = 0; i < 2; i++) {
                        int who = i ^ first;
                        uint64_t wait;

                        if (at[who] > now)
                                continue;
                        wait = throttle_take(&t, now, n[who], 1);
                        count[who] += wait == 0;
                        at[who] = now + wait;
                }
                now = MIN(at[0], at[1]);
        }
        g_assert_cmpuint(count[0], >, 100);
        g_assert_cmpuint(count[1], >, 100);
        g_assert_cmpuint(count[0] * n[0] + count[1] * n[1], <=, 601000 + 500);
}

#define THREADS 4

struct racer {
        struct throttle *t;
        uint64_t sent;
};

static gpointer race(gpointer opaque) {
        struct racer *r = opaque;

        /* A clock that stands still: what they get together is one bucket. */
        for (int i = 0; i < 100000; i++)
                r->sent += throttle_take(r->t, t0, 10, 1) == 0 ? 10 : 0;
        return NULL;
}

static void test_threads(void) {
        struct throttle t =
                        make(true, (struct throttle_config){ .bandwidth = { 500000, 7, 1000 } });
        struct racer racers[THREADS] = { 0 };
        GThread *threads[THREADS];
        uint64_t sent = 0;

        for (int i = 0; i < THREADS; i++) {
                racers[i].t = &t;
                threads[i] = g_thread_new("race", race, &racers[i]);
        }
        for (int i = 0; i < THREADS; i++) {
                g_thread_join(threads[i]);
                sent += racers[i].sent;
        }
        g_assert_cmpuint(sent, >=, 500000);
        g_assert_cmpuint(sent, <=, 500010 + THREADS * 10);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/throttle/extremes", test_extremes);
        g_test_add_func("/throttle/no-limit", test_no_limit);
        g_test_add_func("/throttle/exact", test_exact);
        g_test_add_func("/throttle/both", test_both);
        g_test_add_func("/throttle/debt", test_debt);
        g_test_add_func("/throttle/burst", test_burst);
        g_test_add_func("/throttle/set", test_set);
        g_test_add_func("/throttle/rate", test_rate);
        g_test_add_func("/throttle/fair", test_fair);
        g_test_add_func("/throttle/threads", test_threads);
        return g_test_run();
}
