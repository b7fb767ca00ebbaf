/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A sorted table of disjoint spans of numbers, each with two words of the owner's. Finding takes no lock, writes
 * nothing that is shared and never waits; changing replaces the whole table.
 */

struct span {
        uint64_t first, last; /* inclusive */
        uintptr_t a, b;
};

struct span_slots;

struct span_copy {
        _Atomic(struct span_slots *) slots;
        _Atomic size_t n;
};

/* All zeros is an empty table. */
struct span_table {
        _Atomic uint64_t sequence; /* its lowest bit says which copy is read */
        struct span_copy copies[2];
        struct span_slots *retired; /* outgrown, freed with the table */
};

/* Any thread. Copies the span that holds key. */
bool span_find(const struct span_table *t, uint64_t key, struct span *ret);

static inline bool span_table_empty(const struct span_table *t) {
        uint64_t sequence = atomic_load_explicit(&t->sequence, memory_order_acquire);

        return atomic_load_explicit(&t->copies[sequence & 1].n, memory_order_relaxed) == 0;
}

/* Makes the table hold these n spans, sorted and disjoint. Callers take turns (a lock of theirs). */
void span_table_publish(struct span_table *t, const struct span *spans, size_t n);

/* Frees what the table holds; nobody reads it any more. */
void span_table_clear(struct span_table *t);
