/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A packed virtqueue, device side (virtio 1.2, 2.8): one ring of descriptors that both sides write, and for each side a word with
 * which it says when it wants to be told of more.
 *
 * Orderings, each with its other half in the driver (virtio 1.2, 2.8.21, 2.8.22):
 * - flags of the descriptor at last_avail: acquire here, after the driver's release: the whole chain is visible;
 * - flags of the first descriptor used: release here, before the driver's acquire: those behind it, ids, lengths and data are
 *   visible;
 * - flags written, then the other side's event word read: a full fence between the two, on both sides.
 *
 * The driver may rewrite descriptors that we hold; in_flight counts them, so that it cannot make us take more than the ring has. A
 * chain's token is the driver's id, which means nothing to us, and in the upper half how many descriptors the chain has,
 * because so many is what its used descriptor stands for. Flags of descriptors behind a chain's first are not
 * looked at but for NEXT, WRITE and INDIRECT.
 */

#include "devices/virtio/virtq-private.h"

#include <assert.h>
#include <string.h>

/* gcc's thread sanitizer does not model fences; the data it watches here is ordered by acquire and release anyway. */
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* virtio 1.2, 2.8.13 */
struct ring_desc {
        uint64_t addr;
        uint32_t len;
        uint16_t id, flags;
};

_Static_assert(sizeof(struct ring_desc) == DESC_BYTES, "layout of virtio 1.2, 2.8.13");

#define WRAP (1u << 15)
#define EVENT(place, flags) ((uint32_t) (place) | (uint32_t) (flags) << 16)

static uint16_t offset_of(uint16_t place) {
        return place & (WRAP - 1);
}

static struct ring_desc *desc_at(const struct virtq *q, uint16_t place) {
        return (struct ring_desc *) q->desc_host + offset_of(place);
}

/* n is no more than the ring has. */
static uint16_t ahead(const struct virtq *q, uint16_t place, uint16_t n) {
        uint32_t offset = (uint32_t) offset_of(place) + n;

        return offset < q->size ? (uint16_t) (place + n)
                                : (uint16_t) ((offset - q->size) | (~place & WRAP));
}

static uint16_t back(const struct virtq *q, uint16_t place, uint16_t n) {
        uint16_t offset = offset_of(place);

        return offset >= n ? (uint16_t) (place - n)
                           : (uint16_t) ((offset + q->size - n) | (~place & WRAP));
}

/* Whether the driver has made the descriptor there available, and its flags then (2.8.1). */
static bool is_available(const struct virtq *q, uint16_t place, uint16_t *ret_flags) {
        /* Pairs with the driver's release of the flags. */
        uint16_t flags = le16toh(__atomic_load_n(&desc_at(q, place)->flags, __ATOMIC_ACQUIRE));

        *ret_flags = flags;
        return (flags & (DESC_AVAIL | DESC_USED)) == (place & WRAP ? DESC_AVAIL : DESC_USED);
}

static void mark_ring(const struct virtq *q, uint16_t place) {
        if (G_UNLIKELY(gmem_tracks_dirty(q->mem)))
                gmem_mark_dirty(q->mem, GADDR(q->desc.v + (uint64_t) offset_of(place) * DESC_BYTES),
                                DESC_BYTES);
}

/* One copy; tables need no alignment. */
static struct ring_desc copy_desc(const void *table, uint32_t i) {
        struct ring_desc d;

        memcpy(&d, (const uint8_t *) table + (size_t) i * DESC_BYTES, sizeof(d));
        virtq_copied();

        return (struct ring_desc){
                .addr = le64toh(d.addr),
                .len = le32toh(d.len),
                .id = le16toh(d.id),
                .flags = le16toh(d.flags),
        };
}

/* 2.8.7: descriptors one after the other, of whose flags WRITE alone counts. */
static bool add_table(const struct virtq *q, struct virtq_chain *c, gaddr addr, uint32_t len) {
        uint32_t n = len / DESC_BYTES;
        const void *table;

        if (!q->indirect || n == 0 || len % DESC_BYTES != 0 || n > q->size)
                return false;
        table = gmem_map(q->mem, addr, len, /* for_write = */ false);
        if (!table)
                return false;

        for (uint32_t i = 0; i < n; i++) {
                struct ring_desc d = copy_desc(table, i);

                if (!virtq_add_buffer(q, c, GADDR(d.addr), d.len, d.flags & DESC_WRITE))
                        return false;
        }
        return true;
}

/* The chain whose first descriptor is available with these flags: how many descriptors of the ring it has; 0: it breaks the rules. */
static uint16_t walk(const struct virtq *q, struct virtq_chain *c, uint16_t flags) {
        uint16_t place = q->last_avail, room = q->size - q->in_flight;
        struct ring_desc d;

        if (room == 0)
                return 0;
        d = copy_desc(q->desc_host, offset_of(place));
        d.flags = flags;
        c->token = d.id;
        /* 2.8.19: a table stands alone. */
        if (d.flags & DESC_INDIRECT)
                return !(d.flags & DESC_NEXT) && add_table(q, c, GADDR(d.addr), d.len) ? 1 : 0;

        for (uint16_t n = 1;; n++) {
                if ((d.flags & DESC_INDIRECT) ||
                    !virtq_add_buffer(q, c, GADDR(d.addr), d.len, d.flags & DESC_WRITE))
                        return 0;
                c->token = d.id;
                if (!(d.flags & DESC_NEXT))
                        return n;
                if (n == room)
                        return 0;
                place = ahead(q, place, 1);
                d = copy_desc(q->desc_host, offset_of(place));
        }
}

int virtq_packed_pop(struct virtq *q, struct virtq_chain *chain) {
        uint16_t flags, n;

        if (q->broken)
                return VIRTQ_E_BROKEN;
        if (!q->ready || !is_available(q, q->last_avail, &flags))
                return VIRTQ_E_EMPTY;

        virtq_begin_chain(chain);
        n = walk(q, chain, flags);
        if (n == 0)
                return virtq_broken(q);

        chain->token |= (uint32_t) n << 16;
        q->last_avail = ahead(q, q->last_avail, n);
        q->in_flight += n;
        return 0;
}

void virtq_packed_unpop(struct virtq *q, uint32_t token) {
        uint16_t n = token >> 16;

        assert(q->in_flight >= n);

        q->last_avail = back(q, q->last_avail, n);
        q->in_flight -= n;
}

/* The flags that make it used at that place. */
static uint16_t used_flags(uint16_t place, uint32_t len) {
        return htole16((place & WRAP ? DESC_AVAIL | DESC_USED : 0) | (len > 0 ? DESC_WRITE : 0));
}

static void write_used(struct virtq *q, uint16_t place, const struct virtq_used *done) {
        struct ring_desc *d = desc_at(q, place);

        d->id = htole16((uint16_t) done->token);
        d->len = htole32(done->len);
}

void virtq_packed_push_many(struct virtq *q, const struct virtq_used *done, unsigned n) {
        uint16_t first = q->used_idx, place = first;
        uint32_t since = q->signalled;

        /* Requests that were in flight when the queue broke complete into nothing. */
        if (q->broken || !q->ready || n == 0)
                return;

        for (unsigned i = 0; i < n; i++) {
                uint16_t taken = done[i].token >> 16;

                assert(taken <= q->in_flight);
                write_used(q, place, &done[i]);
                if (i > 0) {
                        __atomic_store_n(
                                        &desc_at(q, place)->flags, used_flags(place, done[i].len),
                                        __ATOMIC_RELAXED);
                        mark_ring(q, place);
                }
                q->in_flight -= taken;
                since += taken;
                place = ahead(q, place, taken);
        }

        q->used_idx = place;
        q->signalled = (uint16_t) MIN(since, UINT16_MAX);
        /* Pairs with the driver's acquire of the flags: what the device wrote, and the descriptors behind, come first (2.8.9). */
        __atomic_store_n(
                        &desc_at(q, first)->flags, used_flags(first, done[0].len),
                        __ATOMIC_RELEASE);
        mark_ring(q, first);
}

void virtq_packed_push(struct virtq *q, uint32_t token, uint32_t len) {
        struct virtq_used done = { token, len };

        virtq_packed_push_many(q, &done, 1);
}

/* 2.8.10: whether the place that the driver named is among the last n used; n is less than the ring has. */
static bool has_passed(const struct virtq *q, uint16_t event, uint16_t n) {
        uint32_t now = (q->used_idx & WRAP ? q->size : 0u) + offset_of(q->used_idx),
                 then = (event & WRAP ? q->size : 0u) + offset_of(event);

        return then < now ? now - then <= n : now + 2u * q->size - then <= n;
}

bool virtq_packed_want_interrupt(struct virtq *q) {
        uint16_t n = q->signalled;
        uint32_t event;

        if (q->broken || !q->ready || n == 0)
                return false;

        q->signalled = 0;

        /* Pairs with the driver's fence between its write of the event word and its last look at the ring. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        event = le32toh(__atomic_load_n((const uint32_t *) q->avail_host, __ATOMIC_RELAXED));
        switch (event >> 16 & 3) {
        case EVENT_DISABLE:
                return false;
        case EVENT_DESC:
                return !q->event_idx || n >= q->size || has_passed(q, (uint16_t) event, n);
        default:
                return true;
        }
}

static void set_event(struct virtq *q, uint32_t event) {
        __atomic_store_n((uint32_t *) q->used_host, htole32(event), __ATOMIC_RELAXED);
        if (G_UNLIKELY(gmem_tracks_dirty(q->mem)))
                gmem_mark_dirty(q->mem, q->used, sizeof(event));
}

void virtq_packed_disable_notify(struct virtq *q) {
        const uint32_t off = EVENT(0, EVENT_DISABLE);
        const uint32_t *word = q->used_host;

        /* Not again: the driver reads this cache line. */
        if (!q->broken && q->ready && le32toh(__atomic_load_n(word, __ATOMIC_RELAXED)) != off)
                set_event(q, off);
}

bool virtq_packed_enable_notify(struct virtq *q) {
        uint16_t flags;

        if (q->broken || !q->ready)
                return false;

        /* One store: the driver never sees a place without its flags. */
        set_event(q, q->event_idx ? EVENT(q->last_avail, EVENT_DESC) : EVENT(0, EVENT_ENABLE));

        /* Pairs with the driver's fence between its write of flags and its look at the event word. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        return is_available(q, q->last_avail, &flags);
}

uint16_t virtq_packed_pending(const struct virtq *q) {
        uint16_t flags;

        return !q->broken && q->ready && is_available(q, q->last_avail, &flags);
}
