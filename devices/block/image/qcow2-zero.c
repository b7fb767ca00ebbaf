/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ranges of a qcow2 image that become zeros or nothing. Mostly a matter of entries alone: version 3 has a mark for zeros. Version 2 has
 * not; there, "nothing" serves where no backing image would show through, and zeros are written where one would. A raw external file must hold the zeros
 * itself, as others read it without our tables.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>
#include <errno.h>

enum mode {
        KEEP,    /* zeros; space stays */
        UNMAP,   /* zeros; space goes */
        DISCARD, /* zeros or nothing */
        CUT,     /* nothing */
};

static uint32_t index_of(const struct qcow2 *q, uint64_t offset) {
        return (uint32_t) (offset >> q->cluster_bits) & (qcow2_l2_entries(q) - 1);
}

/* Writes zeros where data is, or has to be. */
static int write_zeros(struct qcow2 *q, uint64_t offset, uint64_t end) {
        while (offset < end) {
                struct image_extent x;
                int r = qcow2_map(&q->img, offset, end - offset, &x);

                if (r == 0 && (x.kind != IMAGE_DATA || !x.writable))
                        r = qcow2_allocate(&q->img, offset, end - offset, &x);
                if (r == 0)
                        r = image_file_zero(x.file, x.at, x.len, /* unmap= */ false);
                if (r < 0)
                        return r;
                offset += x.len;
        }
        return 0;
}

/* What an entry becomes of which all units change. */
static struct qcow2_entry
become_zero(const struct qcow2 *q, struct qcow2_entry e, uint64_t guest, enum mode mode) {
        struct qcow2_entry zero = { .word = q->extended ? 0 : QCOW2_ZERO,
                                    .bitmap = q->extended ? UINT64_MAX << 32 : 0 };
        bool ours = qcow2_entry_has_host(q, e) && e.word & QCOW2_COPIED;

        if (mode == CUT || q->version < 3 || (mode == DISCARD && !qcow2_backed(q, guest)))
                return (struct qcow2_entry){};
        if (mode == KEEP && ours)
                zero.word |= e.word & (QCOW2_OFFSET_MASK | QCOW2_COPIED);
        return zero;
}

/* Some subclusters of an entry that has room for their states. */
static struct qcow2_entry become_partly_zero(
                const struct qcow2 *q,
                struct qcow2_entry e,
                uint64_t guest,
                uint32_t bits,
                enum mode mode) {
        e.bitmap &= ~(bits | (uint64_t) bits << 32);
        if (mode != CUT && (mode != DISCARD || qcow2_backed(q, guest)))
                e.bitmap |= (uint64_t) bits << 32;
        if (mode != KEEP && !(uint32_t) e.bitmap)
                e.word = 0;
        return e;
}

/* The units of [offset, end), which are of one cluster. */
static int change_cluster(struct qcow2 *q, uint64_t offset, uint64_t end, enum mode mode) {
        uint64_t guest = offset & ~((uint64_t) q->cluster - 1), l1_index;
        struct qcow2_entry old, new;
        struct qcow2_table *t;
        const char *why;
        bool whole = offset == guest && end >= guest + q->cluster;
        int r;

        l1_index = offset >> (q->cluster_bits + q->l2_bits);
        r = qcow2_l2_own(q, l1_index, &t);
        if (r < 0)
                return r;
        old = qcow2_entry_get(q, t, index_of(q, offset));
        why = qcow2_entry_check(q, old, guest, /* active= */ true);
        if (why)
                return qcow2_corrupt(
                                q,
                                "the entry of the disk's cluster at 0x%" G_GINT64_MODIFIER "x %s",
                                guest, why);
        if (!whole && old.word & QCOW2_COMPRESSED)
                return write_zeros(q, offset, end);
        if (whole) {
                new = become_zero(q, old, guest, mode);
        } else {
                unsigned first = (unsigned) ((offset - guest) / q->unit),
                         last = (unsigned) ((end - 1 - guest) / q->unit);

                new = become_partly_zero(
                                q, old, guest, (uint32_t) ((2ull << last) - (1ull << first)), mode);
        }
        if (new.word == old.word &&new.bitmap == old.bitmap)
                return 0;
        qcow2_entry_set(q, t, index_of(q, offset), new);
        if (!(new.word &QCOW2_OFFSET_MASK) && !qcow2_entry_has_host(q, new))
                qcow2_entry_drop(q, old, guest);
        return 0;
}

/* Version 2 has no mark for zeros. */
static int change_unmarked(struct qcow2 *q, uint64_t offset, uint64_t end, enum mode mode) {
        struct image_extent x;
        int r = qcow2_map(&q->img, offset, 1, &x);

        if (r < 0)
                return r;
        if (mode == DISCARD && qcow2_backed(q, offset))
                return 0;
        if (mode != CUT && qcow2_backed(q, offset))
                return write_zeros(q, offset, end);
        if (mode == KEEP && x.kind != IMAGE_ABSENT)
                return write_zeros(q, offset, end);
        return x.kind == IMAGE_ABSENT ? 0 : change_cluster(q, offset, end, mode);
}

/* A whole L2 table's range of which nothing has to be remembered. */
static int drop_table(struct qcow2 *q, uint64_t l1_index) {
        uint64_t word = q->l1[l1_index];
        struct qcow2_table *t;
        int r = qcow2_l2_load(q, l1_index, &t);

        if (r < 0 || !t)
                return r;
        for (uint32_t i = 0; i < qcow2_l2_entries(q); i++) {
                uint64_t guest = (l1_index << (q->cluster_bits + q->l2_bits)) +
                                 (uint64_t) i * q->cluster;
                struct qcow2_entry e = qcow2_entry_get(q, t, i);

                /* The clusters of a table that is shared are shared as well, or it would own them. */
                if (qcow2_entry_check(q, e, guest, /* active= */ true) == NULL)
                        qcow2_entry_drop(q, e, guest);
        }
        qcow2_l1_set(q, l1_index, 0);
        qcow2_free_later(q, (word & QCOW2_OFFSET_MASK) >> q->cluster_bits, 1);
        return 0;
}

static bool is_table_wide(const struct qcow2 *q, uint64_t offset, uint64_t end) {
        uint64_t span = 1ull << (q->cluster_bits + q->l2_bits);

        return (offset & (span - 1)) == 0 && end - offset >= span;
}

static int change(struct qcow2 *q, uint64_t offset, uint64_t end, enum mode mode) {
        unsigned shift = q->cluster_bits + q->l2_bits;

        while (offset < end) {
                uint64_t index = offset >> shift,
                         next = MIN(end, (offset & ~((uint64_t) q->cluster - 1)) + q->cluster);
                bool nothing = mode == CUT || !qcow2_backed(q, offset);
                int r = qcow2_may_change(q);

                if (r < 0)
                        return r;
                if (nothing && q->l1[index] == 0)
                        next = MIN(end, (index + 1) << shift);
                else if (nothing && mode != KEEP && is_table_wide(q, offset, end) && !q->external) {
                        r = drop_table(q, index);
                        next = (index + 1) << shift;
                } else if (q->version < 3)
                        r = change_unmarked(q, offset, next, mode);
                else
                        r = change_cluster(q, offset, next, mode);
                if (r < 0)
                        return r;
                offset = next;
        }
        return 0;
}

static int change_range(struct image *img, uint64_t offset, uint64_t len, enum mode mode) {
        struct qcow2 *q = to_qcow2(img);
        /* The image may end within a cluster, which is changed whole. */
        uint64_t end = offset + len == img->size
                                       ? (img->size + q->cluster - 1) & ~((uint64_t) q->cluster - 1)
                                       : offset + len;
        int r = qcow2_may_change(q);

        if (r < 0)
                return r;
        if (q->raw_external)
                return q->data ? image_file_zero(q->data, offset, len, mode != KEEP) : -EIO;
        r = change(q, offset, end, mode);
        image_tell_moved(img, offset, len);
        return r;
}

int qcow2_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        return change_range(img, offset, len, unmap ? UNMAP : KEEP);
}

int qcow2_discard(struct image *img, uint64_t offset, uint64_t len) {
        return change_range(img, offset, len, DISCARD);
}

int qcow2_cut(struct qcow2 *q, uint64_t offset, uint64_t end) {
        return change(q, offset, end, CUT);
}
