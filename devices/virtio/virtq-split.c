/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A split virtqueue, device side (virtio 1.2, 2.7): descriptor table, avail ring, used ring.
 *
 * Orderings, each with its other half in the driver (virtio 1.2, 2.7.13, 2.7.14):
 * - avail->idx: acquire here, after the driver's release: entries and descriptors below it are visible;
 * - used->idx: release here, before the driver's acquire: entries and data below it are visible;
 * - idx written, then the other side's event or flags read: a full fence between the two, on both
 *   sides, or each could miss the other and both would sleep.
 *
 * A chain's token is its head.
 */

#include "devices/virtio/virtq-private.h"

#include <assert.h>
#include <string.h>

/* gcc's thread sanitizer does not model fences; the data it watches here is ordered by acquire and release anyway. */
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* virtio 1.2, 2.7.5, 2.7.6, 2.7.8 */
struct ring_desc {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
};

_Static_assert(sizeof(struct ring_desc) == DESC_BYTES, "layout of virtio 1.2, 2.7.5");

struct ring_avail {
        uint16_t flags, idx;
        uint16_t ring[]; /* size entries, then used_event */
};

#define AVAIL_NO_INTERRUPT 1u

struct ring_used_elem {
        uint32_t id, len;
};

struct ring_used {
        uint16_t flags, idx;
        struct ring_used_elem ring[]; /* size entries, then avail_event */
};

#define USED_NO_NOTIFY 1u

static uint16_t load16(const uint16_t *p) {
        return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static void store16(uint16_t *p, uint16_t v) {
        __atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

static uint16_t avail_idx(const struct virtq *q) {
        const struct ring_avail *avail = q->avail_host;

        /* Pairs with the driver's release of avail->idx. */
        return le16toh(__atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE));
}

static void mark_used(const struct virtq *q, const void *at, size_t len) {
        size_t offset = (size_t) ((const uint8_t *) at - (const uint8_t *) q->used_host);

        if (G_UNLIKELY(gmem_tracks_dirty(q->mem)))
                gmem_mark_dirty(q->mem, GADDR(q->used.v + offset), len);
}

/* One copy of a descriptor. */
static struct ring_desc copy_desc(const void *table, unsigned i) {
        struct ring_desc d;

        memcpy(&d, (const uint8_t *) table + (size_t) i * sizeof(d), sizeof(d));
        virtq_copied();

        return (struct ring_desc){
                .addr = le64toh(d.addr),
                .len = le32toh(d.len),
                .flags = le16toh(d.flags),
                .next = le16toh(d.next),
        };
}

/* Where a walk stands: the queue's own table, or the indirect one that ends it. */
struct table {
        const void *host;
        uint32_t n;
        bool indirect;
};

static bool enter_indirect(const struct virtq *q, struct table *t, const struct ring_desc *d) {
        /* 2.7.5.3.1: negotiated, not nested, last in its chain; whole descriptors, as many as 16 bits of next reach. */
        if (!q->indirect || t->indirect || (d->flags & DESC_NEXT))
                return false;
        if (d->len == 0 || d->len % sizeof(struct ring_desc) != 0 ||
            d->len / sizeof(struct ring_desc) > 65536)
                return false;

        *t = (struct table){
                .host = gmem_map(q->mem, GADDR(d->addr), d->len, /* for_write = */ false),
                .n = d->len / (uint32_t) sizeof(struct ring_desc),
                .indirect = true,
        };
        return t->host;
}

static bool walk(const struct virtq *q, struct virtq_chain *c) {
        struct table t = { .host = q->desc_host, .n = q->size };
        uint32_t i = c->token;

        /* 2.7.5.3.1: no chain is longer than the queue, whichever table it is in. The step into an indirect table comes on top. */
        for (uint32_t left = q->size; left > 0; left--) {
                struct ring_desc d;

                if (i >= t.n)
                        return false;

                d = copy_desc(t.host, i);
                if (d.flags & DESC_INDIRECT) {
                        if (!enter_indirect(q, &t, &d))
                                return false;
                        d = copy_desc(t.host, 0);
                        if (d.flags & DESC_INDIRECT)
                                return false;
                }

                if (!virtq_add_buffer(q, c, GADDR(d.addr), d.len, d.flags & DESC_WRITE))
                        return false;
                if (!(d.flags & DESC_NEXT))
                        return true;
                i = d.next;
        }

        return false;
}

/* Looks how far the driver has come. False when it claims more than it can have. */
static bool look(struct virtq *q) {
        uint16_t idx = avail_idx(q);

        if ((uint16_t) (idx - q->last_avail) > q->size - q->in_flight)
                return false;

        q->avail_seen = idx;
        return true;
}

int virtq_split_pop(struct virtq *q, struct virtq_chain *chain) {
        const struct ring_avail *avail = q->avail_host;

        if (q->broken)
                return VIRTQ_E_BROKEN;
        if (!q->ready)
                return VIRTQ_E_EMPTY;

        if (q->last_avail == q->avail_seen) {
                if (!look(q))
                        return virtq_broken(q);
                if (q->last_avail == q->avail_seen)
                        return VIRTQ_E_EMPTY;
        }

        chain->token = load16(&avail->ring[q->last_avail & (q->size - 1)]);
        virtq_begin_chain(chain);
        if (!walk(q, chain))
                return virtq_broken(q);

        q->last_avail++;
        q->in_flight++;
        return 0;
}

void virtq_split_unpop(struct virtq *q, uint32_t token) {
        assert(q->in_flight > 0);

        q->last_avail--;
        q->in_flight--;
}

void virtq_split_push_many(struct virtq *q, const struct virtq_used *done, unsigned n) {
        struct ring_used *used = q->used_host;

        /* Requests that were in flight when the queue broke complete into nothing. */
        if (q->broken || !q->ready)
                return;
        assert(n <= q->in_flight);

        for (unsigned i = 0; i < n; i++) {
                struct ring_used_elem *e =
                                &used->ring[(uint16_t) (q->used_idx + i) & (q->size - 1)];

                e->id = htole32(done[i].token);
                e->len = htole32(done[i].len);
                /* After the writes: a bit that is taken in between then costs one page too many, not a lost one. */
                mark_used(q, e, sizeof(*e));
        }

        q->used_idx += n;
        q->in_flight -= n;
        /* Pairs with the driver's acquire of used->idx: what the device wrote, and the entries, come first. */
        __atomic_store_n(&used->idx, htole16(q->used_idx), __ATOMIC_RELEASE);
        mark_used(q, &used->idx, sizeof(used->idx));
}

void virtq_split_push(struct virtq *q, uint32_t token, uint32_t len) {
        struct virtq_used done = { token, len };

        virtq_split_push_many(q, &done, 1);
}

bool virtq_split_want_interrupt(struct virtq *q) {
        const struct ring_avail *avail = q->avail_host;
        uint16_t old = q->signalled, event;

        if (q->broken || !q->ready || old == q->used_idx)
                return false;

        q->signalled = q->used_idx;

        /* Pairs with the driver's fence between its write of used_event or flags and its last look at used->idx. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        if (!q->event_idx)
                return !(load16(&avail->flags) & AVAIL_NO_INTERRUPT);

        /* 2.7.10.1: when used_event is among the entries written since. */
        event = load16(&avail->ring[q->size]);
        return (uint16_t) (q->used_idx - event - 1) < (uint16_t) (q->used_idx - old);
}

static uint16_t *avail_event(const struct virtq *q) {
        struct ring_used *used = q->used_host;

        return (uint16_t *) (void *) &used->ring[q->size];
}

static void set_notify_flag(struct virtq *q, uint16_t flags) {
        struct ring_used *used = q->used_host;

        store16(&used->flags, flags);
        mark_used(q, &used->flags, sizeof(used->flags));
}

void virtq_split_disable_notify(struct virtq *q) {
        /* With EVENT_IDX the driver rings once, when it passes avail_event; it stays behind by itself. */
        if (!q->broken && q->ready && !q->event_idx)
                set_notify_flag(q, USED_NO_NOTIFY);
}

bool virtq_split_enable_notify(struct virtq *q) {
        if (q->broken || !q->ready)
                return false;

        if (q->event_idx) {
                store16(avail_event(q), q->last_avail);
                mark_used(q, avail_event(q), sizeof(uint16_t));
        } else
                set_notify_flag(q, 0);

        /* Pairs with the driver's fence between its write of avail->idx and its look at avail_event or flags. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        return avail_idx(q) != q->last_avail;
}

uint16_t virtq_split_pending(const struct virtq *q) {
        uint16_t ahead;

        if (q->broken || !q->ready)
                return 0;

        /* A hostile index is virtq_split_pop()'s to find. */
        ahead = avail_idx(q) - q->last_avail;
        return MIN(ahead, q->size);
}
