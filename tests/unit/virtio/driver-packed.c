/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A driver of packed virtqueues (driver.h), written from virtio 1.2, 2.8.
 *
 * Descriptors are counted from the beginning and never back; offset and wrap counter of one follow from its number. Buffer ids are given
 * out as they come back, so that they say nothing of where a chain lies. A chain's first descriptor gets its flags last, and the first one
 * of a batch when the batch is shown.
 */

#include "driver-packed.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define DESC_BYTES 16u
#define AVAIL 0x80u
#define USED 0x8000u

enum {
        EV_ENABLE = 0,
        EV_DISABLE = 1,
        EV_DESC = 2,
};

static uint64_t align16(uint64_t v) {
        return (v + 15) / 16 * 16;
}

void drv_ring_init_packed(
                struct drv_ring *d,
                const gmem *mem,
                gaddr base,
                uint16_t size,
                uint16_t table_max,
                bool event_idx) {
        uint64_t ring = (uint64_t) DESC_BYTES * size;

        *d = (struct drv_ring){
                .mem = mem,
                .packed = true,
                .desc = base,
                .avail = GADDR(base.v + ring),
                .used = GADDR(base.v + ring + 4),
                .tables = GADDR(align16(base.v + ring + 8)),
                .size = size,
                .table_max = table_max,
                .event_idx = event_idx,
                .n_free = size,
        };

        g_assert_cmpint(gmem_zero(mem, base, drv_ring_bytes(size, table_max)), ==, 0);
        d->desc_host = gmem_map(mem, d->desc, ring, true);
        d->avail_host = gmem_map(mem, d->avail, 4, true);
        d->used_host = gmem_map(mem, d->used, 4, true);
        g_assert_true(d->desc_host && d->avail_host && d->used_host);

        d->slots = g_new0(struct drv_slot, size);
        for (uint16_t i = 0; i < size; i++)
                d->slots[i].next_free = i + 1;
}

/* Of the descriptor with that number. */
static bool wrap_of(const struct drv_ring *d, uint64_t number) {
        return number / d->size % 2 == 0;
}

static uint8_t *desc_of(const struct drv_ring *d, uint64_t number) {
        return d->desc_host + number % d->size * DESC_BYTES;
}

static uint16_t *word(uint8_t *at) {
        return (uint16_t *) (void *) at;
}

static uint16_t avail_flags(const struct drv_ring *d, uint64_t number) {
        return wrap_of(d, number) ? AVAIL : USED;
}

/* All but the flags. */
static void put_body(uint8_t *desc, uint64_t addr, uint32_t len, uint16_t id) {
        addr = htole64(addr);
        len = htole32(len);
        id = htole16(id);
        memcpy(desc, &addr, 8);
        memcpy(desc + 8, &len, 4);
        memcpy(desc + 12, &id, 2);
}

static void put_flags(uint8_t *desc, uint16_t flags) {
        /* Pairs with the device's acquire: the rest of the chain comes first. */
        __atomic_store_n(word(desc + 14), htole16(flags), __ATOMIC_RELEASE);
}

static uint16_t get_flags(const struct drv_ring *d, uint64_t number) {
        /* Pairs with the device's release. */
        return le16toh(__atomic_load_n(word(desc_of(d, number) + 14), __ATOMIC_ACQUIRE));
}

static gaddr fill_table(struct drv_ring *d, uint16_t id, const struct drv_buf *bufs, uint16_t n) {
        gaddr table = GADDR(d->tables.v + (uint64_t) DESC_BYTES * d->table_max * id);
        uint8_t *host = gmem_map(d->mem, table, (uint64_t) DESC_BYTES * n, true);

        g_assert_nonnull(host);
        for (uint16_t i = 0; i < n; i++) {
                /* Id and all flags but one mean nothing here. */
                put_body(host + (size_t) DESC_BYTES * i, bufs[i].addr.v, bufs[i].len, 0xffff);
                put_flags(host + (size_t) DESC_BYTES * i,
                          bufs[i].write ? DRV_WRITE : DRV_NEXT | AVAIL);
        }
        return table;
}

/* Writes the flags of the first of a chain, unless it is the first that is not shown. */
static void show_or_hide(struct drv_ring *d, uint64_t first, uint16_t flags) {
        if (first == d->n_shown)
                d->hidden_flags = flags;
        else
                put_flags(desc_of(d, first), flags);
}

int drv_packed_add(
                struct drv_ring *d,
                const struct drv_buf *bufs,
                uint16_t n,
                bool indirect,
                void *cookie) {
        uint16_t id = d->free_head, need = indirect ? 1 : n, first_flags = 0;
        uint64_t first = d->n_written;

        if (need > d->n_free)
                return -ENOSPC;

        d->free_head = d->slots[id].next_free;
        for (uint16_t k = 0; k < need; k++) {
                uint16_t flags = avail_flags(d, first + k) | (k < need - 1 ? DRV_NEXT : 0);

                if (indirect)
                        put_body(desc_of(d, first), fill_table(d, id, bufs, n).v, DESC_BYTES * n,
                                 id);
                else
                        put_body(desc_of(d, first + k), bufs[k].addr.v, bufs[k].len,
                                 k == need - 1 ? id : 0xfffe);
                flags |= indirect ? DRV_INDIRECT : bufs[k].write ? DRV_WRITE : 0;
                if (k == 0)
                        first_flags = flags;
                else
                        put_flags(desc_of(d, first + k), flags);
        }
        show_or_hide(d, first, first_flags);

        d->n_written += need;
        d->n_free -= need;
        d->n_outside++;
        d->slots[id] = (struct drv_slot){ .busy = true, .n = need, .cookie = cookie };
        return id;
}

static uint32_t event_of_device(const struct drv_ring *d) {
        return le32toh(__atomic_load_n((uint32_t *) (void *) d->used_host, __ATOMIC_RELAXED));
}

bool drv_packed_publish(struct drv_ring *d) {
        uint64_t old = d->n_shown;
        uint32_t event;

        if (old == d->n_written)
                return false;
        put_flags(desc_of(d, old), d->hidden_flags);
        d->n_shown = d->n_written;

        /* Pairs with the device's fence between its write of the event word and its look at the flags. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        event = event_of_device(d);
        switch (event >> 16) {
        case EV_ENABLE:
                return true;
        case EV_DISABLE:
                return false;
        case EV_DESC:
                break;
        default:
                g_assert_not_reached();
        }

        g_assert_true(d->event_idx);
        g_assert_cmpuint(event & 0x7fff, <, d->size);
        for (uint64_t i = old; i < d->n_shown; i++)
                if (i % d->size == (event & 0x7fff) && wrap_of(d, i) == (event >> 15 & 1))
                        return true;
        return false;
}

bool drv_packed_has_used(const struct drv_ring *d) {
        uint16_t flags = get_flags(d, d->n_taken);
        bool wrap = wrap_of(d, d->n_taken);

        return d->n_outside > 0 && !!(flags & AVAIL) == wrap && !!(flags & USED) == wrap;
}

bool drv_packed_take(struct drv_ring *d, void **ret_cookie, uint32_t *ret_len) {
        const uint8_t *desc = desc_of(d, d->n_taken);
        uint16_t id;
        uint32_t len;

        if (!drv_packed_has_used(d))
                return false;
        memcpy(&len, desc + 8, 4);
        memcpy(&id, desc + 12, 2);
        id = le16toh(id);
        g_assert_cmpuint(id, <, d->size);
        g_assert_true(d->slots[id].busy);
        /* 2.8.4 */
        g_assert_true(!!(get_flags(d, d->n_taken) & DRV_WRITE) == (len != 0));

        *ret_cookie = d->slots[id].cookie;
        *ret_len = le32toh(len);
        d->n_taken += d->slots[id].n;
        d->n_free += d->slots[id].n;
        d->n_outside--;
        d->slots[id] = (struct drv_slot){ .next_free = d->free_head };
        d->free_head = id;
        return true;
}

static void put_event(struct drv_ring *d, uint16_t place, uint16_t flags) {
        __atomic_store_n(word(d->avail_host), htole16(place), __ATOMIC_RELAXED);
        __atomic_store_n(word(d->avail_host + 2), htole16(flags), __ATOMIC_RELEASE);
}

void drv_packed_disable_interrupts(struct drv_ring *d) {
        put_event(d, 0, EV_DISABLE);
}

bool drv_packed_enable_interrupts(struct drv_ring *d) {
        if (d->event_idx)
                put_event(d,
                          (uint16_t) (d->n_taken % d->size) | (wrap_of(d, d->n_taken) ? 0x8000 : 0),
                          EV_DESC);
        else
                put_event(d, 0, EV_ENABLE);

        /* Pairs with the device's fence between its write of flags and its look at the event word. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return drv_packed_has_used(d);
}

void drv_put_packed(
                struct drv_ring *d,
                uint16_t i,
                uint64_t addr,
                uint32_t len,
                uint16_t id,
                uint16_t flags) {
        uint8_t *desc = d->desc_host + (size_t) DESC_BYTES * i;

        put_body(desc, addr, len, id);
        put_flags(desc, flags);
}

void drv_packed_put_endless(struct drv_ring *d, gaddr addr) {
        for (uint16_t i = d->size; i-- > 0;)
                drv_put_packed(d, i, addr.v, 16, i, DRV_NEXT | AVAIL);
}

/* Where the device will look next if it has kept up, or anywhere. */
static uint64_t some_number(struct drv_ring *d, GRand *rand) {
        return g_rand_int_range(rand, 0, 4) ? d->n_written : g_rand_int(rand);
}

void drv_packed_vandalise(struct drv_ring *d, GRand *rand, uint64_t limit) {
        static const uint16_t kinds[] = { 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 6, 7, 0x7f7f };
        uint64_t number = some_number(d, rand), addr = drv_wild_addr(rand, limit);
        uint16_t flags = kinds[g_rand_int_range(rand, 0, G_N_ELEMENTS(kinds))];
        uint8_t *table = gmem_map(d->mem, d->tables, DESC_BYTES, true);

        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
                put_flags(desc_of(d, number), (uint16_t) g_rand_int(rand));
                break;
        case 1:
                put_event(d, (uint16_t) g_rand_int(rand), (uint16_t) g_rand_int(rand));
                break;
        case 2:
                memset(d->used_host, (int) g_rand_int(rand), 4);
                break;
        case 3:
                if (table && d->table_max > 0)
                        put_body(table, addr, drv_wild_len(rand), (uint16_t) g_rand_int(rand));
                break;
        default:
                if (g_rand_int_range(rand, 0, 4) == 0)
                        addr = g_rand_boolean(rand) ? d->desc.v : d->tables.v;
                put_body(desc_of(d, number), addr, drv_wild_len(rand), (uint16_t) g_rand_int(rand));
                put_flags(desc_of(d, number), flags | avail_flags(d, number));
                if (number == d->n_written)
                        d->n_written++;
        }
}
