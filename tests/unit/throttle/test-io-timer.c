/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a timer on an I/O thread expires once for each time it is set and not before that time, that one which is stopped or
 * set anew forgets the time before, and that it can go from thread to thread.
 */

#include "devices/io-timer.h"

#include <glib.h>
#include <stdatomic.h>

#define MS 1000000ull

static struct io_timer timer;
static iothread *thread;
static atomic_uint expired;

static void on_expired(void *opaque) {
        g_assert_true(opaque == &timer);
        atomic_fetch_add(&expired, 1);
}

static int start(void *opaque) {
        return io_timer_start(&timer, thread);
}

static int stop(void *opaque) {
        io_timer_stop(&timer);
        return 0;
}

static int arm(void *opaque) {
        return io_timer_arm(&timer, *(uint64_t *) opaque);
}

static int arm_and_stop(void *opaque) {
        int r = io_timer_arm(&timer, 1);

        /* It has expired by now, and the thread has not looked yet. */
        g_usleep(2000);
        io_timer_stop(&timer);
        return r;
}

static int arm_twice(void *opaque) {
        int r = io_timer_arm(&timer, 1);

        g_usleep(2000);
        return r < 0 ? r : io_timer_arm(&timer, *(uint64_t *) opaque);
}

static void wait_for(unsigned n) {
        while (atomic_load(&expired) < n)
                g_usleep(100);
}

static void test_timer(void) {
        struct iothread_config config = { .name = "test" };
        g_autoptr(GError) error = NULL;
        uint64_t soon = 10 * MS, late = 1000000 * MS;
        gint64 before;

        io_timer_init(&timer, on_expired, &timer);
        for (unsigned round = 0; round < 3; round++) {
                thread = iothread_new(&config, &error);
                g_assert_no_error(error);
                atomic_store(&expired, 0);
                g_assert_cmpint(io_timer_open(&timer), ==, 0);
                g_assert_cmpint(io_timer_open(&timer), ==, 0);
                g_assert_cmpint(iothread_call(thread, start, NULL), ==, 0);

                before = g_get_monotonic_time();
                g_assert_cmpint(iothread_call(thread, arm, &soon), ==, 0);
                wait_for(1);
                g_assert_cmpint(g_get_monotonic_time() - before, >=, 10000);

                before = g_get_monotonic_time();
                g_assert_cmpint(iothread_call(thread, arm_twice, &soon), ==, 0);
                wait_for(2);
                g_assert_cmpint(g_get_monotonic_time() - before, >=, 10000);

                g_assert_cmpint(iothread_call(thread, arm, &late), ==, 0);
                (void) iothread_call(thread, stop, NULL);
                (void) iothread_call(thread, stop, NULL);
                g_assert_cmpint(iothread_call(thread, start, NULL), ==, 0);
                g_assert_cmpint(iothread_call(thread, arm_and_stop, NULL), ==, 0);
                g_assert_cmpint(iothread_call(thread, start, NULL), ==, 0);
                g_assert_cmpint(iothread_call(thread, arm, &soon), ==, 0);
                wait_for(3);
                g_assert_cmpuint(atomic_load(&expired), ==, 3);

                (void) iothread_call(thread, stop, NULL);
                if (round == 1)
                        io_timer_close(&timer);
                iothread_free(thread);
        }
        io_timer_close(&timer);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/io-timer/life", test_timer);
        return g_test_run();
}
