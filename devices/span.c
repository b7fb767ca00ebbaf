/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A latch: two copies of one sorted array, and a sequence whose lowest bit names the copy that readers
 * use. The writer sends readers to copy 1, rewrites copy 0, sends them there, rewrites copy 1. A reader
 * notes the sequence, searches, and starts again if the sequence has moved on; so it sees whole tables
 * only, and starts again only because a writer got something done.
 *
 * Ordering: every word of a copy is stored with release and loaded with acquire. A reader that meets a word
 * of a rewrite therefore also sees the step of the sequence that preceded the rewrite, and its second look at
 * the sequence, which an acquire load keeps behind all of the search, tells it so. What it found
 * until then may be a mix of two tables, so the search trusts nothing but the array's own capacity.
 *
 * Memory: changes reuse both arrays; an array that became too small is kept until the end, because a
 * reader may still be in it. Capacities double, so all of those together are smaller than the array in use.
 */

#include "devices/span.h"

#include <assert.h>
#include <glib.h>

struct slot {
        _Atomic uint64_t first, last;
        _Atomic uintptr_t a, b;
};

struct span_slots {
        struct span_slots *next; /* in retired */
        size_t capacity;
        struct slot slot[];
};

#define LOAD(x) atomic_load_explicit(&(x), memory_order_acquire)
#define STORE(x, v) atomic_store_explicit(&(x), (v), memory_order_release)

static bool search(const struct span_copy *copy, uint64_t key, struct span *ret) {
        const struct span_slots *slots = LOAD(copy->slots);
        size_t low = 0, high;

        if (!slots)
                return false;

        high = MIN(LOAD(copy->n), slots->capacity);
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (LOAD(slots->slot[middle].first) <= key)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low == 0)
                return false;

        *ret = (struct span){
                .first = LOAD(slots->slot[low - 1].first),
                .last = LOAD(slots->slot[low - 1].last),
                .a = LOAD(slots->slot[low - 1].a),
                .b = LOAD(slots->slot[low - 1].b),
        };
        return key >= ret->first && key <= ret->last;
}

bool span_find(const struct span_table *t, uint64_t key, struct span *ret) {
        uint64_t sequence;
        struct span found;
        bool ok;

        do {
                sequence = LOAD(t->sequence);
                ok = search(&t->copies[sequence & 1], key, &found);
        } while (atomic_load_explicit(&t->sequence, memory_order_relaxed) != sequence);

        if (ok)
                *ret = found;
        return ok;
}

static void
rewrite(struct span_table *t, struct span_copy *copy, const struct span *spans, size_t n) {
        struct span_slots *slots = atomic_load_explicit(&copy->slots, memory_order_relaxed);

        if (!slots || slots->capacity < n) {
                size_t capacity = MAX(16, slots ? slots->capacity * 2 : 0);
                struct span_slots *bigger;

                while (capacity < n)
                        capacity *= 2;
                bigger = g_malloc0(sizeof(*bigger) + capacity * sizeof(bigger->slot[0]));
                bigger->capacity = capacity;
                if (slots) {
                        slots->next = t->retired;
                        t->retired = slots;
                }
                slots = bigger;
                STORE(copy->slots, slots);
        }

        for (size_t i = 0; i < n; i++) {
                STORE(slots->slot[i].first, spans[i].first);
                STORE(slots->slot[i].last, spans[i].last);
                STORE(slots->slot[i].a, spans[i].a);
                STORE(slots->slot[i].b, spans[i].b);
        }
        STORE(copy->n, n);
}

void span_table_publish(struct span_table *t, const struct span *spans, size_t n) {
        uint64_t sequence = atomic_load_explicit(&t->sequence, memory_order_relaxed);

        assert((sequence & 1) == 0);
        for (size_t i = 0; i < n; i++)
                assert(spans[i].first <= spans[i].last &&
                       (i == 0 || spans[i - 1].last < spans[i].first));

        STORE(t->sequence, sequence + 1);
        rewrite(t, &t->copies[0], spans, n);
        STORE(t->sequence, sequence + 2);
        rewrite(t, &t->copies[1], spans, n);
}

void span_table_clear(struct span_table *t) {
        for (unsigned i = 0; i < 2; i++) {
                g_free(atomic_load_explicit(&t->copies[i].slots, memory_order_relaxed));
                atomic_store_explicit(&t->copies[i].slots, NULL, memory_order_relaxed);
                atomic_store_explicit(&t->copies[i].n, 0, memory_order_relaxed);
        }
        while (t->retired) {
                struct span_slots *next = t->retired->next;

                g_free(t->retired);
                t->retired = next;
        }
}
