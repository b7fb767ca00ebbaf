/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A driver of virtqueues (driver.h): split ones here, packed ones in driver-packed.c. Free descriptors are a list through the next fields of the
 * descriptor table itself, as in most drivers, so that indices wander over the whole table in any
 * long run; an indirect chain takes one descriptor and the table that belongs to it.
 */

#include "driver-packed.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define DESC_BYTES 16u
#define NO_INTERRUPT 1u
#define NO_NOTIFY 1u

static uint64_t align_up(uint64_t v, uint64_t to) {
        return (v + to - 1) / to * to;
}

static uint64_t avail_at(uint16_t size) {
        return (uint64_t) DESC_BYTES * size;
}

static uint64_t used_at(uint16_t size) {
        return align_up(avail_at(size) + 6 + 2 * (uint64_t) size, 4);
}

static uint64_t tables_at(uint16_t size) {
        return align_up(used_at(size) + 6 + 8 * (uint64_t) size, 16);
}

uint64_t drv_ring_bytes(uint16_t size, uint16_t table_max) {
        return tables_at(size) + (uint64_t) DESC_BYTES * size * table_max;
}

static uint16_t *avail16(const struct drv_ring *d, size_t i) {
        return (uint16_t *) (void *) (d->avail_host + 2 * i);
}

static uint16_t *used16(const struct drv_ring *d, size_t offset) {
        return (uint16_t *) (void *) (d->used_host + offset);
}

static uint16_t load(const uint16_t *p) {
        return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static void store(uint16_t *p, uint16_t v) {
        __atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

static uint16_t *avail_flags(const struct drv_ring *d) {
        return avail16(d, 0);
}

static uint16_t *avail_idx(const struct drv_ring *d) {
        return avail16(d, 1);
}

static uint16_t *used_event(const struct drv_ring *d) {
        return avail16(d, 2 + (size_t) d->size);
}

static uint16_t *used_flags(const struct drv_ring *d) {
        return used16(d, 0);
}

static uint16_t used_idx(const struct drv_ring *d) {
        /* Pairs with the device's release of used->idx. */
        return le16toh(__atomic_load_n(used16(d, 2), __ATOMIC_ACQUIRE));
}

static uint16_t *avail_event(const struct drv_ring *d) {
        return used16(d, 4 + 8 * (size_t) d->size);
}

static uint16_t *desc_next(const struct drv_ring *d, uint16_t i) {
        return (uint16_t *) (void *) (d->desc_host + (size_t) DESC_BYTES * i + 14);
}

void drv_ring_init(
                struct drv_ring *d,
                const gmem *mem,
                gaddr base,
                uint16_t size,
                uint16_t table_max,
                bool event_idx) {
        *d = (struct drv_ring){
                .mem = mem,
                .desc = base,
                .avail = GADDR(base.v + avail_at(size)),
                .used = GADDR(base.v + used_at(size)),
                .tables = GADDR(base.v + tables_at(size)),
                .size = size,
                .table_max = table_max,
                .event_idx = event_idx,
                .n_free = size,
        };

        g_assert_cmpint(gmem_zero(mem, base, drv_ring_bytes(size, table_max)), ==, 0);
        d->desc_host = gmem_map(mem, d->desc, (uint64_t) DESC_BYTES * size, true);
        d->avail_host = gmem_map(mem, d->avail, 6 + 2 * (uint64_t) size, true);
        d->used_host = gmem_map(mem, d->used, 6 + 8 * (uint64_t) size, true);
        g_assert_true(d->desc_host && d->avail_host && d->used_host);

        d->slots = g_new0(struct drv_slot, size);
        for (uint16_t i = 0; i < size; i++)
                *desc_next(d, i) = htole16(i + 1);
}

void drv_ring_clear(struct drv_ring *d) {
        g_clear_pointer(&d->slots, g_free);
}

void drv_put_desc(
                const gmem *mem,
                gaddr table,
                unsigned i,
                uint64_t addr,
                uint32_t len,
                uint16_t flags,
                uint16_t next) {
        struct {
                uint64_t addr;
                uint32_t len;
                uint16_t flags, next;
        } desc = { htole64(addr), htole32(len), htole16(flags), htole16(next) };

        g_assert_cmpint(gmem_write(mem, GADDR(table.v + (uint64_t) DESC_BYTES * i), &desc,
                                   sizeof(desc)),
                        ==, 0);
}

void drv_put_avail(struct drv_ring *d, uint16_t slot, uint16_t head) {
        store(avail16(d, 2 + (size_t) (slot & (d->size - 1))), head);
}

void drv_put_avail_idx(struct drv_ring *d, uint16_t idx) {
        /* Pairs with the device's acquire of avail->idx: descriptors and entries come first. */
        __atomic_store_n(avail_idx(d), htole16(idx), __ATOMIC_RELEASE);
}

void drv_put_endless(struct drv_ring *d, gaddr addr) {
        if (d->packed) {
                drv_packed_put_endless(d, addr);
                return;
        }
        for (uint16_t i = 0; i < d->size; i++)
                drv_put_desc(d->mem, d->desc, i, addr.v, 16, DRV_NEXT, (i + 1) % d->size);
        drv_put_avail(d, 0, 0);
        drv_put_avail_idx(d, 1);
}

static uint16_t flags_of(const struct drv_buf *b, bool last) {
        return (uint16_t) ((b->write ? DRV_WRITE : 0) | (last ? 0 : DRV_NEXT));
}

static void fill_table(struct drv_ring *d, uint16_t head, const struct drv_buf *bufs, uint16_t n) {
        gaddr table = GADDR(d->tables.v + (uint64_t) DESC_BYTES * d->table_max * head);

        for (uint16_t i = 0; i < n; i++)
                drv_put_desc(d->mem, table, i, bufs[i].addr.v, bufs[i].len,
                             flags_of(&bufs[i], i == n - 1), i + 1);
        drv_put_desc(d->mem, d->desc, head, table.v, DESC_BYTES * n, DRV_INDIRECT, 0);
}

int drv_add(struct drv_ring *d,
            const struct drv_buf *bufs,
            uint16_t n,
            bool indirect,
            void *cookie) {
        uint16_t head = d->free_head, need = indirect ? 1 : n, i = head;

        g_assert_cmpuint(n, >, 0);
        g_assert_true(!indirect || n <= d->table_max);
        if (d->packed)
                return drv_packed_add(d, bufs, n, indirect, cookie);
        if (need > d->n_free)
                return -ENOSPC;

        if (indirect) {
                d->free_head = le16toh(*desc_next(d, head));
                fill_table(d, head, bufs, n);
        } else {
                for (uint16_t k = 0; k < n; k++) {
                        uint16_t next = le16toh(*desc_next(d, i));

                        drv_put_desc(d->mem, d->desc, i, bufs[k].addr.v, bufs[k].len,
                                     flags_of(&bufs[k], k == n - 1), next);
                        i = next;
                }
                d->free_head = i;
        }

        d->n_free -= need;
        d->slots[head] = (struct drv_slot){ .busy = true, .n = need, .cookie = cookie };
        drv_put_avail(d, d->avail_idx++, head);
        return head;
}

bool drv_publish(struct drv_ring *d) {
        uint16_t old = d->published, new = d->avail_idx;

        if (d->packed)
                return drv_packed_publish(d);
        if (old == new)
                return false;
        d->published = new;
        drv_put_avail_idx(d, new);

        /* Pairs with the device's fence between its write of avail_event or flags and its look at avail->idx. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!d->event_idx)
                return !(load(used_flags(d)) & NO_NOTIFY);
        return (uint16_t) (new - load(avail_event(d)) - 1) < (uint16_t) (new - old);
}

/* Gives a chain's descriptors back; the last one's next field takes the old free list. */
static void free_chain(struct drv_ring *d, uint16_t head) {
        uint16_t tail = head;

        for (uint16_t k = 1; k < d->slots[head].n; k++)
                tail = le16toh(*desc_next(d, tail));
        *desc_next(d, tail) = htole16(d->free_head);
        d->free_head = head;
        d->n_free += d->slots[head].n;
        d->slots[head].busy = false;
}

bool drv_take(struct drv_ring *d, void **ret_cookie, uint32_t *ret_len) {
        uint32_t elem[2];
        uint16_t ahead;

        if (d->packed)
                return drv_packed_take(d, ret_cookie, ret_len);
        ahead = used_idx(d) - d->last_used;
        if (ahead == 0)
                return false;
        g_assert_cmpuint(ahead, <=, drv_outstanding(d));

        memcpy(elem, d->used_host + 4 + 8 * (size_t) (d->last_used & (d->size - 1)), sizeof(elem));
        elem[0] = le32toh(elem[0]);
        g_assert_cmpuint(elem[0], <, d->size);
        g_assert_true(d->slots[elem[0]].busy);

        *ret_cookie = d->slots[elem[0]].cookie;
        *ret_len = le32toh(elem[1]);
        free_chain(d, (uint16_t) elem[0]);
        d->last_used++;
        return true;
}

bool drv_has_used(const struct drv_ring *d) {
        return d->packed ? drv_packed_has_used(d) : used_idx(d) != d->last_used;
}

uint16_t drv_outstanding(const struct drv_ring *d) {
        return d->packed ? d->n_outside : d->avail_idx - d->last_used;
}

void drv_disable_interrupts(struct drv_ring *d) {
        if (d->packed)
                drv_packed_disable_interrupts(d);
        else if (!d->event_idx)
                store(avail_flags(d), NO_INTERRUPT);
}

bool drv_enable_interrupts(struct drv_ring *d) {
        if (d->packed)
                return drv_packed_enable_interrupts(d);
        if (d->event_idx)
                store(used_event(d), d->last_used);
        else
                store(avail_flags(d), 0);

        /* Pairs with the device's fence between its write of used->idx and its look at used_event or flags. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return used_idx(d) != d->last_used;
}

uint64_t drv_wild_addr(GRand *rand, uint64_t limit) {
        uint64_t any = (uint64_t) g_rand_int(rand) << 32 | g_rand_int(rand);

        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
                return any;
        case 1:
                return UINT64_MAX - any % 64;
        case 2:
                return limit - any % 64;
        default:
                return any % limit;
        }
}

uint32_t drv_wild_len(GRand *rand) {
        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
                return 0;
        case 1:
                return g_rand_int(rand);
        case 2:
                return UINT32_MAX - (uint32_t) g_rand_int_range(rand, 0, 32);
        case 3:
                return DESC_BYTES * (uint32_t) g_rand_int_range(rand, 1, 70000);
        default:
                return (uint32_t) g_rand_int_range(rand, 1, 8192);
        }
}

static void wild_desc(struct drv_ring *d, GRand *rand, uint64_t limit) {
        static const uint16_t flags[] = { 0, 1, 1, 1, 2, 3, 3, 4, 4, 5, 6, 7, 0xffff };
        /* Also into a table, and at times with a table that is the ring itself. */
        gaddr table = d->table_max > 0 && g_rand_boolean(rand) ? d->tables : d->desc;
        uint64_t addr = g_rand_int_range(rand, 0, 4) ? drv_wild_addr(rand, limit)
                        : g_rand_boolean(rand)       ? d->desc.v
                                                     : d->tables.v;

        drv_put_desc(d->mem, table, (unsigned) g_rand_int_range(rand, 0, d->size), addr,
                     drv_wild_len(rand), flags[g_rand_int_range(rand, 0, G_N_ELEMENTS(flags))],
                     (uint16_t) g_rand_int_range(rand, 0, d->size + 2));
}

void drv_vandalise(struct drv_ring *d, GRand *rand, uint64_t limit) {
        uint16_t slot = (uint16_t) g_rand_int(rand);

        if (d->packed) {
                drv_packed_vandalise(d, rand, limit);
                return;
        }
        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
                drv_put_avail(d, slot, (uint16_t) g_rand_int(rand));
                break;
        case 1:
                drv_put_avail_idx(d, (uint16_t) g_rand_int(rand));
                break;
        case 2:
                d->used_host[g_rand_int_range(rand, 0, 6 + 8 * (gint32) d->size)] =
                                (uint8_t) g_rand_int(rand);
                break;
        case 3:
                /* used_event and flags may be anything. */
                store(used_event(d), (uint16_t) g_rand_int(rand));
                store(avail_flags(d), (uint16_t) g_rand_int(rand));
                break;
        default:
                wild_desc(d, rand, limit);
                drv_put_avail(d, d->avail_idx, (uint16_t) g_rand_int_range(rand, 0, d->size));
                drv_put_avail_idx(d, ++d->avail_idx);
        }
}
