/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Token buckets kept as one number each: the time at which the bucket will be full, if nothing is taken until then. Time fills it by
 * itself, taking moves that time on, and how long a request has to wait is a subtraction: nobody polls, and nothing has to be
 * refilled. Debt is a bucket that will be full later than an empty one would.
 *
 * The unit is a tick, a sixteenth of a nanosecond, so that costs of small frames at high rates are not lost in rounding; 64 bits
 * of it last 36 years. What a thread reads while limits are being changed may be half old: one request is then judged by
 * the wrong limit.
 */

#include "devices/throttle.h"

#include <glib.h>
#include <time.h>

#define TICKS_PER_NS 16u
/* No request costs more, and no debt is longer: half a year. */
#define TICKS_MAX (1ull << 58)

uint64_t throttle_clock(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static void set_bucket(struct throttle_bucket *b, const struct throttle_limit *limit) {
        double depth = (double) MAX(limit->refill_ms, 1) * 1e6 * TICKS_PER_NS;

        depth = MIN(depth, (double) TICKS_MAX);
        atomic_store(&b->cost, limit->size > 0 ? depth / (double) limit->size : 0);
        atomic_store(&b->burst, limit->size > 0 ? limit->burst : 0);
        atomic_store(&b->full, 0);
        atomic_store(&b->depth, limit->size > 0 ? (uint64_t) depth : 0);
}

void throttle_set(struct throttle *t, const struct throttle_config *config) {
        set_bucket(&t->bandwidth, &config->bandwidth);
        set_bucket(&t->ops, &config->ops);
}

void throttle_init(struct throttle *t, bool shared, const struct throttle_config *config) {
        t->shared = shared;
        throttle_set(t, config);
}

static uint64_t price(const struct throttle_bucket *b, uint64_t n) {
        double ticks = (double) n * atomic_load_explicit(&b->cost, memory_order_relaxed);

        return ticks < (double) TICKS_MAX ? (uint64_t) ticks : TICKS_MAX;
}

/* Ticks until n tokens fit. */
static uint64_t ticks_until(struct throttle_bucket *b, bool shared, uint64_t now, uint64_t n) {
        uint64_t depth = atomic_load_explicit(&b->depth, memory_order_relaxed);
        uint64_t burst = atomic_load_explicit(&b->burst, memory_order_relaxed);
        uint64_t full = atomic_load_explicit(&b->full, memory_order_relaxed);
        uint64_t missing, need;

        if (depth == 0 || (burst > 0 && burst >= n))
                return 0;
        missing = full > now ? full - now : 0;
        need = MIN(price(b, n - burst), depth);
        if (shared)
                need = MIN(need, 1);
        return missing + need > depth ? missing + need - depth : 0;
}

/* Returns the tokens that the burst does not cover. */
static uint64_t use_burst(struct throttle_bucket *b, uint64_t n) {
        uint64_t burst = atomic_load_explicit(&b->burst, memory_order_relaxed), part;

        do {
                if (burst == 0)
                        return n;
                part = MIN(burst, n);
        } while (!atomic_compare_exchange_weak_explicit(
                        &b->burst, &burst, burst - part, memory_order_relaxed,
                        memory_order_relaxed));
        return n - part;
}

static void take_tokens(struct throttle_bucket *b, uint64_t now, uint64_t n) {
        uint64_t full, cost, next;

        if (n == 0 || atomic_load_explicit(&b->depth, memory_order_relaxed) == 0)
                return;
        cost = price(b, use_burst(b, n));
        full = atomic_load_explicit(&b->full, memory_order_relaxed);
        do
                next = MIN(MAX(full, now) + cost, now + TICKS_MAX);
        while (!atomic_compare_exchange_weak_explicit(
                        &b->full, &full, next, memory_order_relaxed, memory_order_relaxed));
}

void throttle_charge(struct throttle *t, uint64_t now, uint64_t bytes, uint64_t ops) {
        take_tokens(&t->bandwidth, now * TICKS_PER_NS, bytes);
        take_tokens(&t->ops, now * TICKS_PER_NS, ops);
}

uint64_t throttle_wait(struct throttle *t, uint64_t now, uint64_t bytes, uint64_t ops) {
        uint64_t ticks = now * TICKS_PER_NS;
        uint64_t wait = ticks_until(&t->bandwidth, t->shared, ticks, bytes);

        wait = MAX(wait, ticks_until(&t->ops, t->shared, ticks, ops));
        return (wait + TICKS_PER_NS - 1) / TICKS_PER_NS;
}

uint64_t throttle_take(struct throttle *t, uint64_t now, uint64_t bytes, uint64_t ops) {
        uint64_t wait = throttle_wait(t, now, bytes, ops);

        if (wait == 0)
                throttle_charge(t, now, bytes, ops);
        return wait;
}
