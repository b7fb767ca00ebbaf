/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making room for guest data in a qcow2 image. A cluster that is ours alone is used where it is; what is absent, zero without space,
 * compressed or shared with a snapshot gets a new one. What the caller does not write but the new place must hold is copied before the entry
 * changes, so a table that goes to disk in between still says where the old bytes are.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int qcow2_may_change(struct qcow2 *q) {
        if (q->corrupt || q->broken)
                return -EIO;
        if (q->img.readonly)
                return -EROFS;
        /* What waits to be freed is bounded by how much a guest can give up between two flushes. */
        return q->pending->len > QCOW2_PENDING_MAX ? qcow2_flush(&q->img) : 0;
}

bool qcow2_backed(const struct qcow2 *q, uint64_t offset) {
        if (q->img.backing)
                return offset < q->img.backing->size;
        return q->header.backing_name;
}

void qcow2_l1_set(struct qcow2 *q, uint64_t index, uint64_t word) {
        uint32_t at = (uint32_t) index;

        q->l1[at] = word;
        if (q->l1_dirty_from == q->l1_dirty_to) {
                q->l1_dirty_from = at;
                q->l1_dirty_to = at + 1;
        }
        q->l1_dirty_from = MIN(q->l1_dirty_from, at);
        q->l1_dirty_to = MAX(q->l1_dirty_to, at + 1);
        q->img.unflushed = true;
}

int qcow2_l2_own(struct qcow2 *q, uint64_t l1_index, struct qcow2_table **ret) {
        uint64_t word = q->l1[l1_index], offset;
        g_autofree uint8_t *old = NULL;
        struct qcow2_table *t;
        int r = qcow2_l2_load(q, l1_index, &t);

        if (r < 0)
                return r;
        if (t && word & QCOW2_COPIED) {
                *ret = t;
                return 0;
        }
        if (t)
                old = g_memdup2(t->data, q->cluster);
        r = qcow2_alloc_table(q, 1, QCOW2_L2, &offset);
        if (r == 0)
                r = qcow2_cache_new(q, &q->l2_cache, offset, &t);
        if (r < 0)
                return r;
        if (old)
                memcpy(t->data, old, q->cluster);
        qcow2_l1_set(q, l1_index, offset | QCOW2_COPIED);
        if (old)
                qcow2_free_later(q, (word & QCOW2_OFFSET_MASK) >> q->cluster_bits, 1);
        *ret = t;
        return 0;
}

void qcow2_entry_drop(struct qcow2 *q, struct qcow2_entry e, uint64_t guest) {
        if (e.word & QCOW2_COMPRESSED) {
                uint64_t offset;
                uint32_t bytes;

                qcow2_entry_packed(q, e, &offset, &bytes);
                qcow2_free_later(
                                q, offset >> q->cluster_bits,
                                ((offset + bytes - 1) >> q->cluster_bits) -
                                                (offset >> q->cluster_bits) + 1);
        } else if (q->external) {
                if (qcow2_entry_has_host(q, e))
                        qcow2_free_external_later(q, guest >> q->cluster_bits, 1);
        } else if (qcow2_entry_has_host(q, e)) {
                qcow2_free_later(q, (e.word & QCOW2_OFFSET_MASK) >> q->cluster_bits, 1);
        }
}

static int zero_host(struct qcow2 *q, uint64_t at, uint64_t len, bool virgin) {
        if (virgin || len == 0)
                return 0;
        if (len <= q->cluster && q->bounce) {
                memset(q->bounce, 0, len);
                return image_file_write(q->data, at, q->bounce, len);
        }
        return image_file_zero(q->data, at, len, /* unmap= */ false);
}

/* What the disk has at [offset, end) as it is now, to the file of data. virgin: that place reads as zeros. */
static int copy_up(struct qcow2 *q, uint64_t offset, uint64_t end, uint64_t at, bool virgin) {
        if (!q->bounce)
                q->bounce = g_malloc(q->cluster);
        while (offset < end) {
                struct image_extent x;
                int r;

                if (offset >= q->img.size)
                        return zero_host(q, at, end - offset, virgin);
                r = image_map_chain(
                                &q->img, offset, MIN(MIN(end, q->img.size) - offset, q->cluster),
                                &x, NULL);
                if (r == 0 && x.kind == IMAGE_ZERO) {
                        r = zero_host(q, at, x.len, virgin);
                } else if (r == 0) {
                        r = image_read(&q->img, offset, q->bounce, x.len);
                        if (r == 0)
                                r = image_file_write(q->data, at, q->bounce, x.len);
                }
                if (r < 0)
                        return r;
                offset += x.len;
                at += x.len;
        }
        return 0;
}

static uint32_t index_of(const struct qcow2 *q, uint64_t offset) {
        return (uint32_t) (offset >> q->cluster_bits) & (qcow2_l2_entries(q) - 1);
}

/* Bits of the units that [offset, end) touches, which are of one cluster. */
static uint32_t units(const struct qcow2 *q, uint64_t offset, uint64_t end) {
        unsigned first = (unsigned) ((offset & (q->cluster - 1)) / q->unit),
                 last = (unsigned) (((end - 1) & (q->cluster - 1)) / q->unit);

        return (uint32_t) ((2ull << last) - (1ull << first));
}

static bool is_ours(const struct qcow2 *q, struct qcow2_entry e) {
        return qcow2_entry_has_host(q, e) && e.word & QCOW2_COPIED;
}

static struct qcow2_entry
become_data(const struct qcow2 *q, struct qcow2_entry old, uint64_t host, uint32_t bits) {
        struct qcow2_entry e = { .word = host | QCOW2_COPIED };

        if (q->extended)
                e.bitmap = (old.bitmap | bits) & ~((uint64_t) bits << 32);
        return e;
}

/* The entry has space of its own, but some of the units that will be written read as something else: those get what they read as. */
static int use_space(struct qcow2 *q, uint64_t l1_index, uint64_t offset, uint64_t end) {
        uint64_t guest = offset & ~((uint64_t) q->cluster - 1), mask = q->unit - 1, host;
        struct qcow2_table *t;
        struct qcow2_entry e;
        int r = qcow2_l2_own(q, l1_index, &t);

        if (r < 0)
                return r;
        e = qcow2_entry_get(q, t, index_of(q, offset));
        host = e.word & QCOW2_OFFSET_MASK;
        if (qcow2_entry_state(q, e, (unsigned) ((offset - guest) / q->unit)) != QCOW2_IS_DATA)
                r = copy_up(q, offset & ~mask, offset, host + ((offset & ~mask) - guest), false);
        if (r == 0 &&
            qcow2_entry_state(q, e, (unsigned) ((end - 1 - guest) / q->unit)) != QCOW2_IS_DATA)
                r = copy_up(q, end, (end + mask) & ~mask, host + (end - guest), false);
        if (r == 0)
                r = qcow2_l2_own(q, l1_index, &t);
        if (r < 0)
                return r;
        qcow2_entry_set(q, t, index_of(q, offset), become_data(q, e, host, units(q, offset, end)));
        return 0;
}

/* How many clusters from offset on need new space. */
static uint64_t
count_new(struct qcow2 *q, const struct qcow2_table *t, uint64_t offset, uint64_t end) {
        uint64_t n = 0;

        /* An entry that is wrong is the next call's business. */
        for (uint64_t at = offset & ~((uint64_t) q->cluster - 1); at < end; at += q->cluster, n++) {
                struct qcow2_entry e = qcow2_entry_get(q, t, index_of(q, at));

                if (is_ours(q, e) || qcow2_entry_check(q, e, at, /* active= */ true))
                        break;
        }
        return n;
}

/* The part of a cluster at guest that must be filled when [offset, end) gets new space: from *ret_from before, and to *ret_to after. */
static void
surroundings(const struct qcow2 *q,
             struct qcow2_entry old,
             uint64_t *ret_from,
             uint64_t *ret_to,
             uint32_t *ret_units) {
        uint64_t size = q->cluster;

        /* Subclusters that were nowhere stay so; those that were somewhere else all come along. */
        if (q->extended && !(old.word & QCOW2_COMPRESSED) && !qcow2_entry_has_host(q, old))
                size = q->unit;
        *ret_units = size == q->cluster ? UINT32_MAX : units(q, *ret_from, *ret_to);
        *ret_from &= ~(size - 1);
        *ret_to = (*ret_to + size - 1) & ~(size - 1);
}

struct fresh {
        uint64_t offset, end; /* what will be written, within the new clusters */
        uint64_t guest, host; /* where they begin */
        uint64_t n;
        bool virgin;
};

static int fill(struct qcow2 *q, uint64_t l1_index, const struct fresh *f) {
        uint64_t last = f->guest + (f->n - 1) * q->cluster;
        struct qcow2_table *t;
        uint64_t from, to;
        uint32_t bits;
        int r = qcow2_l2_own(q, l1_index, &t);

        if (r < 0)
                return r;
        from = f->offset;
        to = MIN(f->end, f->guest + q->cluster);
        surroundings(q, qcow2_entry_get(q, t, index_of(q, f->guest)), &from, &to, &bits);
        r = copy_up(q, from, f->offset, f->host + (from - f->guest), f->virgin);
        if (r == 0)
                r = qcow2_l2_own(q, l1_index, &t);
        if (r < 0)
                return r;
        from = MAX(f->offset, last);
        to = f->end;
        surroundings(q, qcow2_entry_get(q, t, index_of(q, last)), &from, &to, &bits);
        return copy_up(q, f->end, to, f->host + (f->end - f->guest), f->virgin);
}

/* The entries point to the new space, and what they pointed to is given up. */
static int enter(struct qcow2 *q, uint64_t l1_index, const struct fresh *f) {
        struct qcow2_table *t;
        int r = qcow2_l2_own(q, l1_index, &t);

        if (r < 0)
                return r;
        for (uint64_t i = 0; i < f->n; i++) {
                uint64_t guest = f->guest + i * q->cluster, from = MAX(f->offset, guest),
                         to = MIN(f->end, guest + q->cluster);
                uint32_t index = index_of(q, guest), bits;
                struct qcow2_entry old = qcow2_entry_get(q, t, index), clean = old;

                surroundings(q, old, &from, &to, &bits);
                if (bits == UINT32_MAX)
                        clean.bitmap = 0;
                qcow2_entry_set(q, t, index, become_data(q, clean, f->host + i * q->cluster, bits));
                /* An external file has one place for each cluster, and this is it. */
                if (!q->external)
                        qcow2_entry_drop(q, old, guest);
        }
        return 0;
}

static int
use_new(struct qcow2 *q, uint64_t l1_index, uint64_t offset, uint64_t end, uint64_t max) {
        struct fresh f = { .offset = offset,
                           .guest = offset & ~((uint64_t) q->cluster - 1),
                           .n = max };
        uint64_t cluster;
        int r = 0;

        if (q->external) {
                f.host = f.guest;
        } else {
                r = qcow2_alloc(q, max, &cluster, &f.n);
                if (r < 0)
                        return r;
                f.host = cluster << q->cluster_bits;
                f.virgin = f.host >= q->virgin;
                q->virgin = MAX(q->virgin, f.host + f.n * q->cluster);
        }
        f.end = MIN(end, f.guest + f.n * q->cluster);
        r = fill(q, l1_index, &f);
        if (r == 0)
                r = enter(q, l1_index, &f);
        if (r < 0 && !q->external)
                qcow2_free_later(q, cluster, f.n);
        return r;
}

int qcow2_allocate(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct qcow2 *q = to_qcow2(img);
        unsigned shift = q->cluster_bits + q->l2_bits;
        uint64_t l1_index = offset >> shift, end = MIN(offset + len, (l1_index + 1) << shift),
                 guest = offset & ~((uint64_t) q->cluster - 1), n;
        struct qcow2_table *t;
        struct qcow2_entry e;
        const char *why;
        int r = qcow2_may_change(q);

        if (r == 0)
                r = qcow2_l2_own(q, l1_index, &t);
        if (r < 0)
                return r;
        e = qcow2_entry_get(q, t, index_of(q, offset));
        why = qcow2_entry_check(q, e, guest, /* active= */ true);
        if (why)
                return qcow2_corrupt(
                                q,
                                "the entry of the disk's cluster at 0x%" G_GINT64_MODIFIER "x %s",
                                guest, why);
        n = count_new(q, t, offset, end);
        if (n > 0) {
                r = use_new(q, l1_index, offset, end, n);
        } else {
                end = MIN(end, guest + q->cluster);
                r = use_space(q, l1_index, offset, end);
        }
        if (r == 0)
                r = qcow2_map(img, offset, end - offset, ret);
        if (r < 0)
                return r;
        if (ret->kind != IMAGE_DATA || !ret->writable)
                return -EIO;
        image_tell_moved(img, guest, MIN((n > 0 ? n : 1) << q->cluster_bits, img->size - guest));
        return 0;
}
