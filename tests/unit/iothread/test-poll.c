/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a thread looks before it sleeps for as long as the last waits make worth while, and not at all after a long one; that what is
 * found by looking is done without a wake-up; that an idle thread sleeps; and that calls and watches have their turn
 * although a poller is always busy or always finds something.
 */

#include "devices/iothread.h"
#include "devices/poll-time.h"

#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hypervisor/fd.h"

#define LIMIT_NS 10000000u
#define PATIENCE_US (20 * G_USEC_PER_SEC)

static void test_time(void) {
        struct poll_time p = { 0 };

        poll_time_note(&p, 0);
        poll_time_note(&p, 5);
        g_assert_cmpuint(p.now, ==, 0);

        poll_time_set_limit(&p, 10000);
        poll_time_note(&p, 0);
        g_assert_cmpuint(p.now, ==, 0);
        poll_time_note(&p, 10000);
        g_assert_cmpuint(p.now, ==, 4000);
        /* In time. */
        poll_time_note(&p, 4000);
        g_assert_cmpuint(p.now, ==, 4000);
        poll_time_note(&p, 4001);
        g_assert_cmpuint(p.now, ==, 8000);
        poll_time_note(&p, 9000);
        g_assert_cmpuint(p.now, ==, 10000);
        poll_time_note(&p, 10001);
        g_assert_cmpuint(p.now, ==, 0);

        poll_time_note(&p, 1);
        poll_time_set_limit(&p, 1000);
        g_assert_cmpuint(p.now, ==, 1000);
        poll_time_note(&p, UINT64_MAX);
        g_assert_cmpuint(p.now, ==, 0);
        poll_time_note(&p, 7);
        g_assert_cmpuint(p.now, ==, 1000);
}

struct world {
        iothread *t;
        struct io_poller poller;
        struct io_watch watch;
        enum io_look says;
        bool late; /* before_sleep() finds work once */
        atomic_uint work, found, looks, sleeps, woken;
};

static enum io_look look(struct io_poller *p) {
        struct world *w = p->opaque;

        atomic_fetch_add(&w->looks, 1);
        if (atomic_exchange(&w->work, 0) == 0)
                return w->says;
        atomic_fetch_add(&w->found, 1);
        return IO_LOOK_FOUND;
}

static bool before_sleep(struct io_poller *p) {
        struct world *w = p->opaque;

        atomic_fetch_add(&w->sleeps, 1);
        if (!w->late)
                return false;
        w->late = false;
        atomic_store(&w->work, 1);
        return true;
}

static void on_event(struct io_watch *watch, uint32_t events) {
        struct world *w = watch->opaque;
        uint64_t n;

        g_assert_cmpint(read(watch->fd, &n, sizeof(n)), ==, sizeof(n));
        atomic_fetch_add(&w->woken, 1);
}

static int begin(void *opaque) {
        struct world *w = opaque;

        g_assert_cmpint(iothread_watch(w->t, &w->watch, EPOLLIN), ==, 0);
        iothread_add_poller(w->t, &w->poller);
        return 0;
}

static int end(void *opaque) {
        struct world *w = opaque;

        iothread_unwatch(w->t, &w->watch);
        iothread_remove_poller(w->t, &w->poller);
        g_assert_false(iothread_will_look(w->t));
        return 0;
}

static int will_look(void *opaque) {
        struct world *w = opaque;

        return iothread_will_look(w->t);
}

static void open_world(struct world *w, uint64_t limit) {
        struct iothread_config config = { .name = "test" };
        g_autoptr(GError) error = NULL;

        w->t = iothread_new(&config, &error);
        g_assert_no_error(error);
        w->watch = (struct io_watch){ eventfd(0, EFD_CLOEXEC), on_event, w };
        g_assert_cmpint(w->watch.fd, >=, 0);
        w->poller = (struct io_poller){ look, before_sleep, w, limit, NULL };
        (void) iothread_call(w->t, begin, w);
}

static void close_world(struct world *w) {
        (void) iothread_call(w->t, end, w);
        w->t = iothread_free(w->t);
        chv_closep(&w->watch.fd);
}

static void kick(struct world *w) {
        uint64_t one = 1;

        g_assert_cmpint(write(w->watch.fd, &one, sizeof(one)), ==, sizeof(one));
}

static void await(atomic_uint *counter, unsigned more_than) {
        gint64 until = g_get_monotonic_time() + PATIENCE_US;

        while (atomic_load(counter) <= more_than) {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                g_usleep(50);
        }
}

/* Waits until the thread has slept long enough not to look any more, and checks that it does not. */
static void check_idle(struct world *w) {
        gint64 until = g_get_monotonic_time() + PATIENCE_US;
        unsigned before;

        do {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                before = atomic_load(&w->looks);
                g_usleep(5 * LIMIT_NS / 1000);
        } while (atomic_load(&w->looks) != before);
}

static void test_adapts(void) {
        gint64 until = g_get_monotonic_time() + PATIENCE_US;
        struct world w = { 0 };
        unsigned n;

        open_world(&w, LIMIT_NS);
        g_assert_false(iothread_call(w.t, will_look, &w));
        check_idle(&w);

        /* Short waits make it look; then something is found without a wake-up. */
        do {
                unsigned woken = atomic_load(&w.woken);

                g_assert_cmpint(g_get_monotonic_time(), <, until);
                n = atomic_load(&w.found);
                kick(&w);
                await(&w.woken, woken);
                atomic_store(&w.work, 1);
                g_usleep(100);
        } while (atomic_load(&w.found) == n);
        g_assert_cmpuint(atomic_load(&w.sleeps), >, 0);

        /* And nothing any more makes it sleep, and after that wait no longer look. */
        check_idle(&w);
        kick(&w);
        await(&w.woken, atomic_load(&w.woken) - 1);
        check_idle(&w);
        g_assert_false(iothread_call(w.t, will_look, &w));
        close_world(&w);
}

/* What comes between the last look and the sleep is not slept through. */
static void test_late(void) {
        struct world w = { .late = true };

        open_world(&w, LIMIT_NS);
        await(&w.found, 0);
        check_idle(&w);
        g_assert_false(w.late);
        close_world(&w);
}

/* However busy a poller is, others have their turn. */
static void test_fair(gconstpointer data) {
        struct world w = { .says = (enum io_look) GPOINTER_TO_INT(data) };

        open_world(&w, 0);
        for (unsigned i = 0; i < 200; i++) {
                unsigned woken = atomic_load(&w.woken), looks = atomic_load(&w.looks);

                kick(&w);
                await(&w.woken, woken);
                g_assert_false(iothread_call(w.t, will_look, &w));
                await(&w.looks, looks);
        }
        g_assert_cmpuint(atomic_load(&w.sleeps), ==, 0);
        close_world(&w);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/poll/time", test_time);
        g_test_add_func("/poll/adapts", test_adapts);
        g_test_add_func("/poll/late", test_late);
        g_test_add_data_func("/poll/fair/busy", GINT_TO_POINTER(IO_LOOK_BUSY), test_fair);
        g_test_add_data_func("/poll/fair/found", GINT_TO_POINTER(IO_LOOK_FOUND), test_fair);

        return g_test_run();
}
