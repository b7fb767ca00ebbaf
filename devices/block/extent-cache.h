/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Where the pieces ("units") of a disk lie in its files, as far as that is known. One thread writes; any number of others look things up
 * without a lock and may find less than was written, but nothing that was not.
 */

struct extent {
        bool zero;     /* reads as zeros; the rest says nothing then */
        bool writable; /* may be overwritten where it is */
        uint8_t file;  /* a number of the owner's */
        uint64_t at;   /* bytes in that file, a multiple of 512 */
};

struct extent_entry {
        atomic_uint_least64_t tag, value;
};

struct extent_cache {
        struct extent_entry *entries;
        uint64_t mask; /* entries - 1 */
        unsigned unit_shift;
        bool useless; /* units have numbers that do not fit */
};

/* size, unit: bytes, the latter a power of 2, 512 or more. */
bool extent_cache_init(struct extent_cache *c, uint64_t size, uint32_t unit, GError **error);
void extent_cache_clear(struct extent_cache *c);

/* Any thread. Ordered (seq_cst) against extent_cache_drop(). */
bool extent_cache_find(const struct extent_cache *c, uint64_t unit, struct extent *ret);

/* The writer's. drop: whatever lies in [offset, offset + len) is not known any more. */
void extent_cache_put(struct extent_cache *c, uint64_t unit, const struct extent *x);
void extent_cache_drop(struct extent_cache *c, uint64_t offset, uint64_t len);
