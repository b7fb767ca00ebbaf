/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A thread with an epoll loop, and a queue of calls into it.
 *
 * Calls wait in a list whose nodes live on their callers' stacks, so the loop never allocates; an eventfd,
 * itself a watch, wakes the loop for them. The lock guards that list and the results, nothing else,
 * and is not held while a call runs.
 *
 * A batch of events may name watches that a callback of the same batch removes (and frees). So a
 * removal also strikes the watch out of what is left of the batch: after iothread_unwatch()
 * returns, nothing here knows the watch any more.
 *
 * A thread with pollers looks at them before it sleeps. Then it does not fall asleep at once, but other work must not wait for that: the
 * looking is interrupted by calls at once and by everything else after a while, with an epoll_wait() that does not wait.
 *
 * Life: iothread_new() returns with the loop running; iothread_free() lets it finish the calls that
 * were queued before, ends and joins it. Watches that are still there then are forgotten.
 */

#include "devices/iothread.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "devices/poll-time.h"
#include "devices/throttle.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define BATCH 32
#define ROUND_NS 100000u /* of looking, until watches have their turn */
#define NAME_SIZE 16     /* prctl(2), PR_SET_NAME: with its final zero */

struct call {
        struct call *next;
        int (*fn)(void *opaque);
        void *opaque;
        int result;
        bool done;
};

struct iothread {
        pthread_t thread;
        bool running; /* thread was created */
        char name[NAME_SIZE];
        void (*thread_start)(void *opaque);
        void *start_opaque;

        int epoll_fd;
        struct io_watch wake; /* eventfd of the call queue */

        /* Of the thread alone. */
        struct epoll_event batch[BATCH];
        int n_batch;
        bool quit;
        struct io_poller *pollers;
        struct poll_time poll;
        uint64_t idle_since; /* ns; of a thread with pollers */

        pthread_mutex_t lock;
        pthread_cond_t finished; /* some call is done */
        struct call *first, **last;
        atomic_bool called; /* first is not NULL; written under the lock */
};

static struct call *take_calls(iothread *t) {
        struct call *c;

        pthread_mutex_lock(&t->lock);
        c = g_steal_pointer(&t->first);
        t->last = &t->first;
        atomic_store_explicit(&t->called, false, memory_order_relaxed);
        pthread_mutex_unlock(&t->lock);

        return c;
}

static void on_wake(struct io_watch *w, uint32_t events) {
        iothread *t = w->opaque;
        struct call *c;
        uint64_t n;

        /* Before the list is taken: a call queued later writes the eventfd again, and waits for the next
         * round, so that callers in a hurry do not starve the watches. */
        (void) !read(w->fd, &n, sizeof(n));

        c = take_calls(t);
        while (c) {
                struct call *next = c->next;
                int result = c->fn(c->opaque);

                /* Once done is seen, *c is gone with its caller's stack. */
                pthread_mutex_lock(&t->lock);
                c->result = result;
                c->done = true;
                pthread_cond_broadcast(&t->finished);
                pthread_mutex_unlock(&t->lock);

                c = next;
        }
}

static void relax(void) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
}

static enum io_look look_once(iothread *t) {
        enum io_look all = IO_LOOK_NOTHING;

        for (struct io_poller *p = t->pollers, *next; p; p = next) {
                enum io_look one;

                next = p->next;
                one = p->look(p);
                if (one == IO_LOOK_FOUND || all == IO_LOOK_NOTHING)
                        all = one;
        }
        return all;
}

/* True: there is nothing to do, and what comes will wake the thread. */
static bool look(iothread *t) {
        uint64_t began = throttle_clock();

        for (;;) {
                enum io_look found = look_once(t);
                uint64_t now = throttle_clock();

                if (found == IO_LOOK_FOUND)
                        t->idle_since = now;
                else if (found == IO_LOOK_NOTHING && now - t->idle_since >= t->poll.now)
                        break;
                if (now - began >= ROUND_NS ||
                    atomic_load_explicit(&t->called, memory_order_relaxed))
                        return false;
                relax();
        }
        for (struct io_poller *p = t->pollers; p; p = p->next)
                if (p->before_sleep(p))
                        return false;
        return true;
}

/* Calls are no work that one could look for. */
static bool has_work(const iothread *t, int n) {
        return n > 1 || (n == 1 && t->batch[0].data.ptr != &t->wake);
}

static void *run(void *arg) {
        iothread *t = arg;

        /* Ahead of the hook, which may forbid prctl(2). */
        (void) prctl(PR_SET_NAME, t->name, 0, 0, 0);
        if (t->thread_start)
                t->thread_start(t->start_opaque);

        while (!t->quit) {
                bool sleeps = !t->pollers || look(t);
                int n = epoll_wait(t->epoll_fd, t->batch, BATCH, sleeps ? -1 : 0);
                bool worked;

                /* Signals are blocked here, but a debugger or a frozen cgroup interrupts all the same. */
                if (n < 0)
                        continue;
                worked = has_work(t, n);
                if (t->pollers && sleeps && worked)
                        poll_time_note(&t->poll, throttle_clock() - t->idle_since);

                t->n_batch = n;
                for (int i = 0; i < t->n_batch; i++) {
                        struct io_watch *w = t->batch[i].data.ptr;

                        if (w && t->batch[i].events)
                                w->ready(w, t->batch[i].events);
                }
                t->n_batch = 0;
                if (t->pollers && worked)
                        t->idle_since = throttle_clock();
        }

        return NULL;
}

static int set_affinity(pthread_attr_t *attr, const uint16_t *cpus, size_t n) {
        size_t count = 0, size;
        cpu_set_t *set;
        int r;

        for (size_t i = 0; i < n; i++)
                count = MAX(count, cpus[i] + 1u);

        set = CPU_ALLOC(count);
        if (!set)
                return ENOMEM;

        size = CPU_ALLOC_SIZE(count);
        CPU_ZERO_S(size, set);
        for (size_t i = 0; i < n; i++)
                CPU_SET_S(cpus[i], size, set);

        r = pthread_attr_setaffinity_np(attr, size, set);
        CPU_FREE(set);
        return r;
}

/* All but the signals that report a fault of the thread itself: the others are the main thread's. */
static int block_signals(pthread_attr_t *attr) {
        static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT };
        sigset_t set;

        sigfillset(&set);
        for (size_t i = 0; i < G_N_ELEMENTS(own); i++)
                sigdelset(&set, own[i]);

        return pthread_attr_setsigmask_np(attr, &set);
}

static int start(iothread *t, const struct iothread_config *config) {
        pthread_attr_t attr;
        int r;

        r = pthread_attr_init(&attr);
        if (r != 0)
                return r;

        r = block_signals(&attr);
        if (r == 0 && config->n_host_cpus > 0)
                r = set_affinity(&attr, config->host_cpus, config->n_host_cpus);
        if (r == 0)
                r = pthread_create(&t->thread, &attr, run, t);
        t->running = r == 0;

        pthread_attr_destroy(&attr);
        return r;
}

iothread *iothread_new(const struct iothread_config *config, GError **error) {
        g_autoptr(iothread) t = g_new0(iothread, 1);
        int r;

        assert(config->name);

        g_strlcpy(t->name, config->name, sizeof(t->name));
        t->thread_start = config->thread_start;
        t->start_opaque = config->opaque;
        t->last = &t->first;
        t->wake = (struct io_watch){ .fd = -1, .ready = on_wake, .opaque = t };
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->finished, NULL);

        t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (t->epoll_fd >= 0)
                t->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (t->wake.fd < 0 || iothread_watch(t, &t->wake, EPOLLIN) < 0) {
                hv_error_errno(error, errno, "creating the loop of thread '%s'", t->name);
                return NULL;
        }

        r = start(t, config);
        if (r != 0) {
                hv_error_errno(error, r, "starting thread '%s'", t->name);
                return NULL;
        }

        return g_steal_pointer(&t);
}

static int do_quit(void *opaque) {
        iothread *t = opaque;

        t->quit = true;
        return 0;
}

iothread *iothread_free(iothread *t) {
        if (!t)
                return NULL;

        if (t->running) {
                assert(!pthread_equal(pthread_self(), t->thread));
                (void) iothread_call(t, do_quit, t);
                pthread_join(t->thread, NULL);
        }

        chv_closep(&t->wake.fd);
        chv_closep(&t->epoll_fd);
        pthread_cond_destroy(&t->finished);
        pthread_mutex_destroy(&t->lock);
        g_free(t);
        return NULL;
}

int iothread_call(iothread *t, int (*fn)(void *opaque), void *opaque) {
        struct call c = { .fn = fn, .opaque = opaque };
        uint64_t one = 1;

        if (pthread_equal(pthread_self(), t->thread))
                return fn(opaque);

        pthread_mutex_lock(&t->lock);
        *t->last = &c;
        t->last = &c.next;
        atomic_store_explicit(&t->called, true, memory_order_relaxed);
        /* Under the lock, so that iothread_free() cannot close the descriptor in between: its own call is behind this one. */
        (void) !write(t->wake.fd, &one, sizeof(one));
        while (!c.done)
                pthread_cond_wait(&t->finished, &t->lock);
        pthread_mutex_unlock(&t->lock);

        return c.result;
}

static int control(iothread *t, int op, struct io_watch *w, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = w };

        return epoll_ctl(t->epoll_fd, op, w->fd, &event) < 0 ? -errno : 0;
}

int iothread_watch(iothread *t, struct io_watch *w, uint32_t events) {
        return control(t, EPOLL_CTL_ADD, w, events);
}

int iothread_modify(iothread *t, struct io_watch *w, uint32_t events) {
        /* What the batch holds was reported for the old mask. */
        for (int i = 0; i < t->n_batch; i++)
                if (t->batch[i].data.ptr == w)
                        t->batch[i].events &= events | EPOLLERR | EPOLLHUP;

        return control(t, EPOLL_CTL_MOD, w, events);
}

void iothread_unwatch(iothread *t, struct io_watch *w) {
        (void) control(t, EPOLL_CTL_DEL, w, 0);

        for (int i = 0; i < t->n_batch; i++)
                if (t->batch[i].data.ptr == w)
                        t->batch[i].data.ptr = NULL;
}

static void use_longest_limit(iothread *t) {
        uint64_t limit = 0;

        for (const struct io_poller *p = t->pollers; p; p = p->next)
                limit = MAX(limit, p->limit);
        poll_time_set_limit(&t->poll, limit);
}

void iothread_add_poller(iothread *t, struct io_poller *p) {
        if (!t->pollers)
                t->idle_since = throttle_clock();
        p->next = t->pollers;
        t->pollers = p;
        use_longest_limit(t);
}

void iothread_remove_poller(iothread *t, struct io_poller *p) {
        struct io_poller **at = &t->pollers;

        while (*at && *at != p)
                at = &(*at)->next;
        if (*at)
                *at = p->next;
        use_longest_limit(t);
}

bool iothread_will_look(const iothread *t) {
        return t->poll.now > 0;
}
