/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where the disk's bytes lie in a qcow2 file: L1 finds L2 tables, these have an entry for each cluster, and with extended entries a state for each of
 * its 32 subclusters. A unit is the smallest thing that has a state.
 *
 * An entry is checked each time it is used, since what it points to may have become something else since its table was read. One that is wrong makes
 * the image corrupt; what it describes is not read.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>
#include <errno.h>

int qcow2_l2_load(struct qcow2 *q, uint64_t l1_index, struct qcow2_table **ret) {
        uint64_t word = q->l1[l1_index], offset = word & QCOW2_OFFSET_MASK;
        enum qcow2_kind kind;

        assert(l1_index < q->header.l1_size);

        *ret = NULL;
        if (word == 0)
                return 0;
        if (word & ~(QCOW2_OFFSET_MASK | QCOW2_COPIED) || offset & (q->cluster - 1) ||
            offset == 0 || offset >= q->end)
                return qcow2_corrupt(
                                q, "entry %" G_GUINT64_FORMAT " of L1 is 0x%" G_GINT64_MODIFIER "x",
                                l1_index, word);
        kind = qcow2_set_get(&q->kinds, offset >> q->cluster_bits);
        if (q->kinds.slots && kind != QCOW2_L2)
                return qcow2_corrupt(
                                q,
                                "entry %" G_GUINT64_FORMAT " of L1 is 0x%" G_GINT64_MODIFIER
                                "x, where there is %s",
                                l1_index, word, qcow2_kind_to_string(kind));
        return qcow2_cache_load(q, &q->l2_cache, offset, ret);
}

struct qcow2_entry
qcow2_entry_get(const struct qcow2 *q, const struct qcow2_table *t, uint32_t index) {
        const uint64_t *words = (const uint64_t *) (const void *) t->data;

        if (!q->extended)
                return (struct qcow2_entry){ .word = GUINT64_FROM_BE(words[index]) };
        return (struct qcow2_entry){ GUINT64_FROM_BE(words[2 * index]),
                                     GUINT64_FROM_BE(words[2 * index + 1]) };
}

void qcow2_entry_set(struct qcow2 *q, struct qcow2_table *t, uint32_t index, struct qcow2_entry e) {
        uint64_t *words = (uint64_t *) (void *) t->data;
        uint32_t size = q->extended ? 16 : 8;

        words[q->extended ? 2 * index : index] = GUINT64_TO_BE(e.word);
        if (q->extended)
                words[2 * index + 1] = GUINT64_TO_BE(e.bitmap);
        qcow2_cache_touch(&q->l2_cache, t, index * size, (index + 1) * size);
        q->img.unflushed = true;
}

bool qcow2_entry_has_host(const struct qcow2 *q, struct qcow2_entry e) {
        return !(e.word & QCOW2_COMPRESSED) &&
               (e.word & QCOW2_OFFSET_MASK || (q->external && e.word & QCOW2_COPIED));
}

void qcow2_entry_packed(
                const struct qcow2 *q,
                struct qcow2_entry e,
                uint64_t *ret_offset,
                uint32_t *ret_bytes) {
        unsigned x = 62 - (q->cluster_bits - 8);
        uint64_t offset = e.word & ((1ull << x) - 1);
        uint32_t sectors = (uint32_t) (e.word >> x) & ((1u << (62 - x)) - 1);

        *ret_offset = offset;
        *ret_bytes = (sectors + 1) * 512 - (uint32_t) (offset & 511);
}

static const char *check_packed(const struct qcow2 *q, struct qcow2_entry e) {
        uint64_t offset;
        uint32_t bytes;

        qcow2_entry_packed(q, e, &offset, &bytes);
        if (q->external)
                return "is compressed, and data lies in a file of its own";
        if (e.word & QCOW2_COPIED)
                return "is compressed and has bit 63";
        if (offset < q->cluster || offset >= q->end || offset > QCOW2_OFFSET_MASK + 511)
                return "points beyond the file's end";
        /* What will lie there is another's. */
        if (bytes > q->end - offset)
                return "goes on beyond the file's end";
        return NULL;
}

static const char *check_bitmap(const struct qcow2 *q, struct qcow2_entry e) {
        uint32_t allocated = (uint32_t) e.bitmap, zero = (uint32_t) (e.bitmap >> 32);

        if (allocated & zero)
                return "has subclusters that are both zero and allocated";
        if (allocated && !qcow2_entry_has_host(q, e))
                return "has subclusters that are nowhere";
        return NULL;
}

const char *
qcow2_entry_check(const struct qcow2 *q, struct qcow2_entry e, uint64_t guest, bool active) {
        uint64_t offset = e.word & QCOW2_OFFSET_MASK, known = QCOW2_OFFSET_MASK | QCOW2_COPIED;
        enum qcow2_kind kind;

        if (e.word & QCOW2_COMPRESSED)
                return check_packed(q, e);
        if (q->version >= 3 && !q->extended)
                known |= QCOW2_ZERO;
        if (e.word & ~known)
                return "has bits that must be zero";
        if (q->extended && check_bitmap(q, e))
                return check_bitmap(q, e);
        if (!qcow2_entry_has_host(q, e))
                return e.word & QCOW2_COPIED ? "has bit 63 and is nowhere" : NULL;
        if (offset & (q->cluster - 1))
                return "is not aligned";
        if (q->external)
                return offset == guest ? NULL : "is elsewhere in the data file than on the disk";
        if (offset >= q->end)
                return "points beyond the file's end";
        kind = active ? qcow2_set_get(&q->kinds, offset >> q->cluster_bits) : QCOW2_NONE;
        return kind == QCOW2_NONE ? NULL : "points to metadata";
}

enum qcow2_state qcow2_entry_state(const struct qcow2 *q, struct qcow2_entry e, unsigned unit) {
        if (e.word & QCOW2_COMPRESSED)
                return QCOW2_IS_PACKED;
        if (q->extended)
                return e.bitmap >> unit & 1          ? QCOW2_IS_DATA
                       : e.bitmap >> (32 + unit) & 1 ? QCOW2_IS_ZERO
                                                     : QCOW2_IS_ABSENT;
        if (e.word & QCOW2_ZERO)
                return QCOW2_IS_ZERO;
        return qcow2_entry_has_host(q, e) ? QCOW2_IS_DATA : QCOW2_IS_ABSENT;
}

/* What one unit is. */
static void
describe(const struct qcow2 *q,
         struct qcow2_entry e,
         unsigned unit,
         bool ours,
         struct image_extent *ret) {
        static const enum image_extent_kind kinds[] = {
                [QCOW2_IS_ABSENT] = IMAGE_ABSENT,
                [QCOW2_IS_ZERO] = IMAGE_ZERO,
                [QCOW2_IS_DATA] = IMAGE_DATA,
                [QCOW2_IS_PACKED] = IMAGE_PACKED,
        };

        *ret = (struct image_extent){ .kind = kinds[qcow2_entry_state(q, e, unit)],
                                      .len = q->unit };
        if (ret->kind == IMAGE_DATA) {
                ret->file = q->data;
                ret->at = (e.word & QCOW2_OFFSET_MASK) + (uint64_t) unit * q->unit;
                ret->writable = ours && e.word & QCOW2_COPIED && !q->img.readonly;
        } else if (ret->kind == IMAGE_ZERO) {
                ret->allocated = qcow2_entry_has_host(q, e);
        }
}

static bool follows(const struct image_extent *x, const struct image_extent *next) {
        return next->kind == x->kind && next->writable == x->writable &&
               next->allocated == x->allocated &&
               (x->kind != IMAGE_DATA || next->at == x->at + x->len);
}

/* Units from offset on, as far as they are alike and in this table. */
static int
map_table(struct qcow2 *q,
          const struct qcow2_table *t,
          uint64_t offset,
          uint64_t len,
          bool ours,
          struct image_extent *ret) {
        uint64_t at = offset & ~((uint64_t) q->unit - 1), end = offset + len,
                 table_end = ((offset >> (q->cluster_bits + q->l2_bits)) + 1)
                             << (q->cluster_bits + q->l2_bits);
        bool first = true;

        for (; at < MIN(end, table_end); at += q->unit) {
                uint32_t index = (uint32_t) (at >> q->cluster_bits) & (qcow2_l2_entries(q) - 1);
                struct qcow2_entry e = qcow2_entry_get(q, t, index);
                struct image_extent x;

                if (first || (at & (q->cluster - 1)) == 0) {
                        uint64_t guest = at & ~((uint64_t) q->cluster - 1);
                        const char *why = qcow2_entry_check(q, e, guest, /* active= */ true);

                        if (why && !first)
                                break;
                        if (why)
                                return qcow2_corrupt(
                                                q,
                                                "the entry of the disk's cluster at "
                                                "0x%" G_GINT64_MODIFIER
                                                "x %s (0x%" G_GINT64_MODIFIER "x)",
                                                guest, why, e.word);
                }
                describe(q, e, (unsigned) ((at & (q->cluster - 1)) / q->unit), ours, &x);
                if (first)
                        *ret = x;
                else if (follows(ret, &x))
                        ret->len += q->unit;
                else
                        break;
                first = false;
        }
        ret->at += ret->kind == IMAGE_DATA ? offset & (q->unit - 1) : 0;
        ret->len = MIN(ret->len - (offset & (q->unit - 1)), len);
        return 0;
}

int qcow2_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        struct qcow2 *q = to_qcow2(img);
        unsigned shift = q->cluster_bits + q->l2_bits;
        uint64_t index = offset >> shift, end;
        struct qcow2_table *t;
        int r = qcow2_l2_load(q, index, &t);

        if (r < 0)
                return r;
        if (t) {
                r = map_table(q, t, offset, len, q->l1[index] & QCOW2_COPIED, ret);
                return r == 0 && ret->kind == IMAGE_DATA && !ret->file ? -EIO : r;
        }
        do
                end = ++index << shift;
        while (end < offset + len && q->l1[index] == 0);
        *ret = (struct image_extent){ .kind = IMAGE_ABSENT,
                                      .len = MIN(end, offset + len) - offset };
        return 0;
}
