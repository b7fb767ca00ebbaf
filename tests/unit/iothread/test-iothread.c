/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that an I/O thread runs calls in order and hands their results back to the right caller,
 * from many threads at once; that a watch which was removed or narrowed in the middle of a batch
 * is not called again, though its memory is gone; and that a thread that cannot start leaves nothing behind.
 */

#include "devices/iothread.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

static iothread *thread_new(void) {
        struct iothread_config config = { .name = "test" };
        g_autoptr(GError) error = NULL;
        iothread *t = iothread_new(&config, &error);

        g_assert_no_error(error);
        return t;
}

static unsigned count_fds(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        g_assert_nonnull(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static void kick(int fd) {
        uint64_t one = 1;

        g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

/* A host CPU that does not exist: the thread must not start, and its descriptors must not stay. */
static void test_bad_affinity(void) {
        const uint16_t cpu = 65535;
        struct iothread_config config = { .name = "test", .host_cpus = &cpu, .n_host_cpus = 1 };
        g_autoptr(GError) error = NULL;
        unsigned before = count_fds();

        g_assert_null(iothread_new(&config, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
        g_assert_nonnull(strstr(error->message, "'test'"));
        g_assert_cmpuint(count_fds(), ==, before);
}

static int watch_badly(void *opaque) {
        iothread *t = opaque;
        struct io_watch w = { .fd = -1 };

        g_assert_cmpint(iothread_watch(t, &w, EPOLLIN), ==, -EBADF);
        g_assert_cmpint(iothread_modify(t, &w, EPOLLIN), ==, -EBADF);
        iothread_unwatch(t, &w);
        return 0;
}

static void test_bad_watch(void) {
        g_autoptr(iothread) t = thread_new();

        g_assert_cmpint(iothread_call(t, watch_badly, t), ==, 0);
        g_assert_null(iothread_free(NULL));
}

struct identity {
        pthread_t thread;
        char name[16];
        cpu_set_t cpus;
        sigset_t blocked;
        int hooks;
};

static void on_start(void *opaque) {
        struct identity *id = opaque;

        id->hooks++;
        id->thread = pthread_self();
}

static int look(void *opaque) {
        struct identity *id = opaque;

        g_assert_true(pthread_equal(id->thread, pthread_self()));
        g_assert_cmpint(prctl(PR_GET_NAME, id->name, 0, 0, 0), ==, 0);
        g_assert_cmpint(sched_getaffinity(0, sizeof(id->cpus), &id->cpus), ==, 0);
        pthread_sigmask(SIG_BLOCK, NULL, &id->blocked);
        return 42;
}

static void test_identity(void) {
        struct identity id = { 0 };
        uint16_t cpu = (uint16_t) sched_getcpu();
        struct iothread_config config = {
                .name = "a name that is too long",
                .host_cpus = &cpu,
                .n_host_cpus = 1,
                .thread_start = on_start,
                .opaque = &id,
        };
        g_autoptr(GError) error = NULL;
        g_autoptr(iothread) t = iothread_new(&config, &error);

        g_assert_no_error(error);
        g_assert_cmpint(iothread_call(t, look, &id), ==, 42);
        g_assert_cmpint(id.hooks, ==, 1);
        g_assert_cmpstr(id.name, ==, "a name that is ");
        g_assert_cmpint(CPU_COUNT(&id.cpus), ==, 1);
        g_assert_true(CPU_ISSET(cpu, &id.cpus));
        g_assert_true(sigismember(&id.blocked, SIGTERM));
        g_assert_false(sigismember(&id.blocked, SIGSYS));
}

#define CALLERS 4
#define CALLS 2000

struct caller {
        iothread *t;
        pthread_t thread;
        uint64_t *total; /* of the I/O thread: no lock, so that the thread sanitizer sees any race */
        int value;
};

static int add(void *opaque) {
        struct caller *c = opaque;

        *c->total += 1;
        return c->value;
}

static void *call_often(void *opaque) {
        struct caller *c = opaque;

        for (int i = 0; i < CALLS; i++) {
                c->value++;
                g_assert_cmpint(iothread_call(c->t, add, c), ==, c->value);
        }
        return NULL;
}

static void test_callers(void) {
        g_autoptr(iothread) t = thread_new();
        struct caller callers[CALLERS];
        uint64_t total = 0;

        for (int i = 0; i < CALLERS; i++) {
                callers[i] = (struct caller){ .t = t, .total = &total, .value = i * CALLS };
                g_assert_cmpint(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]),
                                ==, 0);
        }
        for (int i = 0; i < CALLERS; i++)
                pthread_join(callers[i].thread, NULL);

        g_assert_cmpuint(total, ==, CALLERS * CALLS);
}

struct nest {
        iothread *t;
        int depth;
};

static int nested(void *opaque) {
        struct nest *n = opaque;

        if (n->depth == 3)
                return 7;
        n->depth++;
        return iothread_call(n->t, nested, n);
}

static void test_call_from_itself(void) {
        g_autoptr(iothread) t = thread_new();
        struct nest n = { .t = t };

        g_assert_cmpint(iothread_call(t, nested, &n), ==, 7);
        g_assert_cmpint(n.depth, ==, 3);
}

/* Three descriptors that become ready together; the first callback acts on the others. */
#define PEERS 3

enum act {
        ACT_NOTHING,
        ACT_REMOVE_OTHERS,
        ACT_REMOVE_ALL,
        ACT_NARROW_OTHERS,
};

struct group {
        iothread *t;
        struct io_watch *w[PEERS];
        int fds[PEERS];
        enum act act;
        int fired;
};

static void remove_peer(struct group *g, int i) {
        iothread_unwatch(g->t, g->w[i]);
        /* With the address sanitizer a late callback is a use after free. */
        g_clear_pointer(&g->w[i], g_free);
}

static void on_ready(struct io_watch *w, uint32_t events) {
        struct group *g = w->opaque;
        struct io_watch *me = w;

        g_assert_cmpuint(events, ==, EPOLLIN);
        g->fired++;
        if (g->act == ACT_NOTHING)
                iothread_unwatch(g->t, w);

        for (int i = 0; i < PEERS; i++) {
                if (!g->w[i] || (g->w[i] == me && g->act != ACT_REMOVE_ALL))
                        continue;

                if (g->act == ACT_REMOVE_OTHERS || g->act == ACT_REMOVE_ALL)
                        remove_peer(g, i);
                else if (g->act == ACT_NARROW_OTHERS)
                        g_assert_cmpint(iothread_modify(g->t, g->w[i], 0), ==, 0);
        }

        /* Level triggered: quiet from here on. */
        if (g->act == ACT_REMOVE_OTHERS || g->act == ACT_NARROW_OTHERS)
                iothread_unwatch(g->t, me);
}

static int begin(void *opaque) {
        struct group *g = opaque;

        for (int i = 0; i < PEERS; i++) {
                g->w[i] = g_new0(struct io_watch, 1);
                *g->w[i] = (struct io_watch){ .fd = g->fds[i], .ready = on_ready, .opaque = g };
                g_assert_cmpint(iothread_watch(g->t, g->w[i], EPOLLIN), ==, 0);
                kick(g->fds[i]);
        }
        return 0;
}

static int end(void *opaque) {
        struct group *g = opaque;

        for (int i = 0; i < PEERS; i++)
                if (g->w[i])
                        remove_peer(g, i);
        return g->fired;
}

static int nothing(void *opaque) {
        return 0;
}

static void check_group(enum act act, int expected) {
        g_autoptr(iothread) t = thread_new();
        struct group g = { .t = t, .act = act };

        for (int i = 0; i < PEERS; i++) {
                g.fds[i] = eventfd(0, EFD_CLOEXEC);
                g_assert_cmpint(g.fds[i], >=, 0);
        }

        iothread_call(t, begin, &g);
        /* A call is at most one a round, and the round after the first is the one with the peers. */
        for (int i = 0; i < 3; i++)
                iothread_call(t, nothing, NULL);
        g_assert_cmpint(iothread_call(t, end, &g), ==, expected);

        for (int i = 0; i < PEERS; i++)
                chv_closep(&g.fds[i]);
}

static void test_group(gconstpointer data) {
        enum act act = GPOINTER_TO_INT(data);

        for (int i = 0; i < 50; i++)
                check_group(act, act == ACT_NOTHING ? PEERS : 1);
}

static int watch_first(void *opaque) {
        struct group *g = opaque;

        return iothread_watch(g->t, g->w[0], EPOLLIN);
}

/* A watch that is still there at the end is nobody's problem. */
static void test_free_with_watches(void) {
        autofd fd = eventfd(0, EFD_CLOEXEC);
        struct group g = { .act = ACT_NOTHING, .fds = { fd, fd, fd } };
        g_autoptr(iothread) t = thread_new();
        unsigned before = count_fds();

        g.t = t;
        g.w[0] = g_new0(struct io_watch, 1);
        g.w[0]->fd = fd;
        iothread_call(t, watch_first, &g);
        g_clear_pointer(&g.w[0], g_free);
        t = iothread_free(t);
        g_assert_cmpuint(count_fds(), ==, before - 2);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/iothread/bad-affinity", test_bad_affinity);
        g_test_add_func("/iothread/bad-watch", test_bad_watch);
        g_test_add_func("/iothread/identity", test_identity);
        g_test_add_func("/iothread/callers", test_callers);
        g_test_add_func("/iothread/call-from-itself", test_call_from_itself);
        g_test_add_data_func("/iothread/batch/nothing", GINT_TO_POINTER(ACT_NOTHING), test_group);
        g_test_add_data_func(
                        "/iothread/batch/remove-others", GINT_TO_POINTER(ACT_REMOVE_OTHERS),
                        test_group);
        g_test_add_data_func(
                        "/iothread/batch/remove-all", GINT_TO_POINTER(ACT_REMOVE_ALL), test_group);
        g_test_add_data_func(
                        "/iothread/batch/narrow-others", GINT_TO_POINTER(ACT_NARROW_OTHERS),
                        test_group);
        g_test_add_func("/iothread/free-with-watches", test_free_with_watches);

        return g_test_run();
}
