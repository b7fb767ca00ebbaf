/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A thread that serves virtqueues: an epoll loop over descriptors, and a queue of requests from
 * other threads with an eventfd and a completion. That queue is the one way in which pause, reset,
 * hotplug and snapshot reach an I/O thread.
 */

typedef struct iothread iothread;

struct iothread_config {
        const char *name;          /* thread name, at most 15 characters */
        const uint16_t *host_cpus; /* affinity; NULL: inherit */
        size_t n_host_cpus;
        void (*thread_start)(void *opaque); /* first thing on the thread (seccomp); may be NULL */
        void *opaque;
};

iothread *iothread_new(const struct iothread_config *config, GError **error);

/* Ends and joins the thread. NULL is fine. */
iothread *iothread_free(iothread *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(iothread, iothread_free)

/* Runs fn(opaque) on the thread and returns its result when it is done. From any thread but t itself (there it is called
 * directly). */
int iothread_call(iothread *t, int (*fn)(void *opaque), void *opaque);

/* Watches. Only on the thread itself (within iothread_call or a watch's callback). The watch struct is the caller's and must
 * live until it is removed; a removed watch's callback is never called again. */
struct io_watch {
        int fd;
        void (*ready)(struct io_watch *w, uint32_t events); /* EPOLLIN… */
        void *opaque;
};

int iothread_watch(iothread *t, struct io_watch *w, uint32_t events);
int iothread_modify(iothread *t, struct io_watch *w, uint32_t events);
void iothread_unwatch(iothread *t, struct io_watch *w);

/*
 * Looking instead of sleeping. While a thread has pollers it asks them, without a system call of its own, before it sleeps: for a time that
 * follows from how long the last waits were, up to the longest limit of its pollers (poll-time.h), and for as long as one of them
 * cannot be woken. Watches and calls have their turn at least every 100 us.
 */
enum io_look {
        IO_LOOK_NOTHING, /* nothing there; a watch will tell when there is */
        IO_LOOK_FOUND,   /* work was found, and done */
        IO_LOOK_BUSY,    /* nothing there yet, and no watch will tell when there is */
};

struct io_poller {
        enum io_look (*look)(struct io_poller *p);
        /* The thread is about to sleep: what was left unwatched meanwhile is to be watched again. True: something has come, so it
         * looks once more. */
        bool (*before_sleep)(struct io_poller *p);
        void *opaque;
        uint64_t limit; /* ns; 0: looks only while something is IO_LOOK_BUSY */
        struct io_poller *next;
};

/* Only on the thread itself, and not within look() or before_sleep(). The struct is the caller's until it is removed. */
void iothread_add_poller(iothread *t, struct io_poller *p);
void iothread_remove_poller(iothread *t, struct io_poller *p);

/* On the thread: whether it would look before it next sleeps; if so pollers need not be told of new work until before_sleep(). */
bool iothread_will_look(const iothread *t);
