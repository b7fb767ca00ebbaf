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
