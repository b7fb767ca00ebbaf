/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A direct-mapped cache of two words an entry: a tag (which unit, and a generation) and a value (where it lies).
 *
 * A writer takes the tag's unit away, writes the value, then the new tag. A reader that finds the same tag before and after the
 * value has the value that belongs to it: each change of an entry has a generation of its own, so a tag does not come back while a
 * reader looks. A dropped entry keeps its generation.
 *
 * The table is mapped, not allocated: what is never written costs no memory.
 */

#include "devices/block/extent-cache.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define ENTRIES_MAX (1ull << 20)

/* tag: unit + 1 below, generation above; 0 there: nothing. */
#define TAG_UNIT_BITS 48
#define TAG_UNIT_MASK ((1ull << TAG_UNIT_BITS) - 1)

/* value */
#define VALUE_AT_BITS 54
#define VALUE_AT_MASK ((1ull << VALUE_AT_BITS) - 1)
#define VALUE_WRITABLE (1ull << 62)
#define VALUE_ZERO (1ull << 63)

bool extent_cache_init(struct extent_cache *c, uint64_t size, uint32_t unit, GError **error) {
        uint64_t units = size / unit + 1, n = 1;

        assert(c);
        assert(unit >= 512 && (unit & (unit - 1)) == 0);

        while (n < units && n < ENTRIES_MAX)
                n *= 2;
        *c = (struct extent_cache){
                .mask = n - 1,
                .unit_shift = (unsigned) __builtin_ctz(unit),
                .useless = units >= TAG_UNIT_MASK,
        };
        c->entries =
                        mmap(NULL, n * sizeof(*c->entries), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (c->entries != MAP_FAILED)
                return true;
        c->entries = NULL;
        return hv_error_errno(error, errno, "mapping a table of %" G_GUINT64_FORMAT " extents", n);
}

void extent_cache_clear(struct extent_cache *c) {
        if (c->entries)
                (void) munmap(c->entries, (c->mask + 1) * sizeof(*c->entries));
        c->entries = NULL;
}

bool extent_cache_find(const struct extent_cache *c, uint64_t unit, struct extent *ret) {
        struct extent_entry *e = &c->entries[unit & c->mask];
        uint64_t tag = atomic_load_explicit(&e->tag, memory_order_seq_cst), value;

        if ((tag & TAG_UNIT_MASK) != unit + 1)
                return false;
        value = atomic_load_explicit(&e->value, memory_order_acquire);
        if (atomic_load_explicit(&e->tag, memory_order_relaxed) != tag)
                return false;
        *ret = (struct extent){
                .zero = value & VALUE_ZERO,
                .writable = value & VALUE_WRITABLE,
                .file = (uint8_t) (value >> VALUE_AT_BITS & 0xff),
                .at = (value & VALUE_AT_MASK) << 9,
        };
        return true;
}

void extent_cache_put(struct extent_cache *c, uint64_t unit, const struct extent *x) {
        struct extent_entry *e = &c->entries[unit & c->mask];
        uint64_t generation, value;

        assert(x->at % 512 == 0);

        if (c->useless)
                return;
        generation = (atomic_load_explicit(&e->tag, memory_order_relaxed) & ~TAG_UNIT_MASK) +
                     (1ull << TAG_UNIT_BITS);
        value = (uint64_t) x->file << VALUE_AT_BITS | x->at >> 9;
        if (x->writable)
                value |= VALUE_WRITABLE;
        if (x->zero)
                value |= VALUE_ZERO;
        atomic_store_explicit(&e->tag, generation, memory_order_seq_cst);
        atomic_store_explicit(&e->value, value, memory_order_release);
        atomic_store_explicit(&e->tag, generation | (unit + 1), memory_order_seq_cst);
}

static void drop_at(struct extent_entry *e, uint64_t first, uint64_t last) {
        uint64_t tag = atomic_load_explicit(&e->tag, memory_order_relaxed),
                 unit = tag & TAG_UNIT_MASK;

        if (unit > first && unit <= last + 1)
                atomic_store_explicit(&e->tag, tag & ~TAG_UNIT_MASK, memory_order_seq_cst);
}

void extent_cache_drop(struct extent_cache *c, uint64_t offset, uint64_t len) {
        uint64_t first = offset >> c->unit_shift, last;

        if (len == 0 || c->useless)
                return;
        last = (len - 1 > UINT64_MAX - offset ? UINT64_MAX : offset + len - 1) >> c->unit_shift;
        if (last - first > c->mask) {
                for (uint64_t i = 0; i <= c->mask; i++)
                        drop_at(&c->entries[i], first, last);
                return;
        }
        for (uint64_t unit = first; unit <= last; unit++)
                drop_at(&c->entries[unit & c->mask], unit, unit);
}
