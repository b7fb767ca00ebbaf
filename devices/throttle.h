/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Limits of what a device does in time: a token bucket of bytes and one of operations (reference 1.6, 4.9). A throttle may be used
 * by several threads at a time, for several queues of a device or for several devices; nothing here blocks or locks.
 */

/* A bucket of size tokens, full at first, that fills again within refill_ms. Before it, burst tokens are used, once. Size 0: no
 * limit. */
struct throttle_limit {
        uint64_t size, burst, refill_ms;
};

struct throttle_config {
        struct throttle_limit bandwidth; /* bytes */
        struct throttle_limit ops;
};

/* Fields are throttle.c's alone. */
struct throttle_bucket {
        _Atomic double cost;    /* of a token, in ticks */
        _Atomic uint64_t depth; /* ticks that an empty bucket takes to fill; 0: no limit */
        _Atomic uint64_t full;  /* tick at which it is full */
        _Atomic uint64_t burst; /* tokens left of it */
};

struct throttle {
        bool shared;
        struct throttle_bucket bandwidth, ops;
};

/* shared: by several that compete, so that somebody's large requests must not starve behind others' small ones. What fits is then
 * anything for which the buckets are not empty, and the rest is debt. Otherwise a request fits when there are tokens for all
 * of it, or when it is larger than a bucket and that is full. */
void throttle_init(struct throttle *t, bool shared, const struct throttle_config *config);

/* New limits, with full buckets. Any thread, at any time; whoever waits asks again then, which is up to the caller. */
void throttle_set(struct throttle *t, const struct throttle_config *config);

/* Whether there are limits; without, there is no need to ask the clock. */
static inline bool throttle_limits(const struct throttle *t) {
        return atomic_load_explicit(&t->bandwidth.depth, memory_order_relaxed) != 0 ||
               atomic_load_explicit(&t->ops.depth, memory_order_relaxed) != 0;
}

/* CLOCK_MONOTONIC in ns, what the others call now. */
uint64_t throttle_clock(void);

/* 0: the request may go. Otherwise it would fit in so many ns if nobody else came before it: the caller sets a timer
 * (devices/io-timer.h) and asks again. wait takes nothing, whoever goes then charges; take charges at once when it returns 0. Threads that
 * ask at the very same time may overdraw by a request each, which becomes debt. Bytes or operations of 0 wait for the end of a
 * debt. */
uint64_t throttle_wait(struct throttle *t, uint64_t now, uint64_t bytes, uint64_t ops);
uint64_t throttle_take(struct throttle *t, uint64_t now, uint64_t bytes, uint64_t ops);

/* Takes tokens for what has happened already; what is missing is debt that later takes wait for. */
void throttle_charge(struct throttle *t, uint64_t now, uint64_t bytes, uint64_t ops);
