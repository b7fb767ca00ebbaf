/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/iothread.h"

/*
 * A timer on an I/O thread, for what has to wait for an exact time: a queue beyond its limits. It costs nothing while it is not
 * open, and no system call while it is not armed.
 */

struct io_timer {
        struct io_watch watch; /* fd is -1 while it is closed */
        iothread *thread;      /* that it is on; NULL: none */
        bool armed;
        void (*expired)(void *opaque);
        void *opaque;
};

/* Closed. expired is called on the timer's thread. */
void io_timer_init(struct io_timer *timer, void (*expired)(void *opaque), void *opaque);

/* Makes its descriptor if there is none yet; from any thread, while it is on no thread. 0 or negative errno. */
int io_timer_open(struct io_timer *timer);

/* On no thread any more. */
void io_timer_close(struct io_timer *timer);

/* On the thread: takes the timer up, which is open / lets go of it, disarmed. start: 0 or negative errno. */
int io_timer_start(struct io_timer *timer, iothread *thread);
void io_timer_stop(struct io_timer *timer);

/* On the thread: expires once, ns (1 or more) from now; a time set before is forgotten. 0 or negative errno. */
int io_timer_arm(struct io_timer *timer, uint64_t ns);
