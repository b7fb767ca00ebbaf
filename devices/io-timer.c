/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A timerfd that is a watch of an I/O thread. An expiry that was reported to the thread before the timer was stopped or armed anew
 * is not delivered: the descriptor is read first, and has nothing then.
 *
 * Life: init → open → (start → arm… → stop)… → close.
 */

#include "devices/io-timer.h"
#include "hypervisor/fd.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static void on_ready(struct io_watch *w, uint32_t events) {
        struct io_timer *timer = w->opaque;
        uint64_t n;

        if (read(w->fd, &n, sizeof(n)) != sizeof(n) || !timer->armed)
                return;
        timer->armed = false;
        timer->expired(timer->opaque);
}

void io_timer_init(struct io_timer *timer, void (*expired)(void *opaque), void *opaque) {
        *timer = (struct io_timer){
                .watch = { .fd = -1, .ready = on_ready, .opaque = timer },
                .expired = expired,
                .opaque = opaque,
        };
}

int io_timer_open(struct io_timer *timer) {
        if (timer->watch.fd < 0)
                timer->watch.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        return timer->watch.fd < 0 ? -errno : 0;
}

void io_timer_close(struct io_timer *timer) {
        assert(!timer->thread);

        chv_closep(&timer->watch.fd);
        timer->watch.fd = -1;
}

int io_timer_start(struct io_timer *timer, iothread *thread) {
        int r;

        assert(timer->watch.fd >= 0 && !timer->thread);

        r = iothread_watch(thread, &timer->watch, EPOLLIN);
        if (r >= 0)
                timer->thread = thread;
        return r;
}

static int set_time(struct io_timer *timer, uint64_t ns) {
        struct itimerspec at = {
                .it_value = { (time_t) (ns / 1000000000u), (long) (ns % 1000000000u) },
        };

        return timerfd_settime(timer->watch.fd, /* flags = */ 0, &at, NULL) < 0 ? -errno : 0;
}

void io_timer_stop(struct io_timer *timer) {
        if (!timer->thread)
                return;
        if (timer->armed)
                (void) set_time(timer, 0);
        timer->armed = false;
        iothread_unwatch(timer->thread, &timer->watch);
        timer->thread = NULL;
}

int io_timer_arm(struct io_timer *timer, uint64_t ns) {
        int r;

        assert(timer->thread && ns > 0);

        r = set_time(timer, ns);
        timer->armed = r >= 0;
        return r;
}
