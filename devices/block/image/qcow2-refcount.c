/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How often each cluster of a qcow2 file is referred to: numbers of 1 to 64 bits in blocks, which the refcount table finds. A region is what
 * one block counts. A region without a block is free as a whole.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

uint64_t qcow2_refcount_peek(const struct qcow2 *q, const uint8_t *block, uint32_t index) {
        unsigned order = q->refcount_order;

        switch (order) {
        case 3:
                return block[index];
        case 4:
                return GUINT16_FROM_BE(((const uint16_t *) (const void *) block)[index]);
        case 5:
                return GUINT32_FROM_BE(((const uint32_t *) (const void *) block)[index]);
        case 6:
                return GUINT64_FROM_BE(((const uint64_t *) (const void *) block)[index]);
        default:
                return (unsigned) block[(index << order) / 8] >> ((index << order) % 8) &
                       ((1u << (1u << order)) - 1);
        }
}

void qcow2_refcount_poke(const struct qcow2 *q, uint8_t *block, uint32_t index, uint64_t value) {
        unsigned order = q->refcount_order, shift = (index << order) % 8, mask;

        switch (order) {
        case 3:
                block[index] = (uint8_t) value;
                break;
        case 4:
                ((uint16_t *) (void *) block)[index] = GUINT16_TO_BE((uint16_t) value);
                break;
        case 5:
                ((uint32_t *) (void *) block)[index] = GUINT32_TO_BE((uint32_t) value);
                break;
        case 6:
                ((uint64_t *) (void *) block)[index] = GUINT64_TO_BE(value);
                break;
        default:
                mask = ((1u << (1u << order)) - 1) << shift;
                block += (index << order) / 8;
                *block = (uint8_t) ((*block & ~mask) | ((unsigned) value << shift & mask));
        }
}

int qcow2_block_load(struct qcow2 *q, uint64_t region, struct qcow2_table **ret) {
        uint64_t offset = region < q->reftable_size ? q->reftable[region] : 0;

        *ret = NULL;
        if (offset == 0)
                return 0;
        if (offset & (q->cluster - 1) || offset >= q->end || offset > QCOW2_OFFSET_MASK)
                return qcow2_corrupt(
                                q,
                                "refcount block %" G_GUINT64_FORMAT
                                " is said to lie at 0x%" G_GINT64_MODIFIER "x",
                                region, offset);
        return qcow2_cache_load(q, &q->block_cache, offset, ret);
}

int qcow2_block_put(struct qcow2 *q, uint64_t region, uint64_t cluster) {
        struct qcow2_table *t;
        int r;

        assert(region < q->reftable_size && q->reftable[region] == 0);

        r = qcow2_cache_new(q, &q->block_cache, cluster << q->cluster_bits, &t);
        if (r < 0)
                return r;
        qcow2_set_put(&q->kinds, cluster, QCOW2_REFBLOCK);
        q->reftable[region] = cluster << q->cluster_bits;
        if (q->reftable_dirty_from == q->reftable_dirty_to) {
                q->reftable_dirty_from = (uint32_t) region;
                q->reftable_dirty_to = (uint32_t) region + 1;
        }
        q->reftable_dirty_from = MIN(q->reftable_dirty_from, (uint32_t) region);
        q->reftable_dirty_to = MAX(q->reftable_dirty_to, (uint32_t) region + 1);
        return 0;
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret) {
        struct qcow2_table *t;
        int r = qcow2_block_load(q, cluster >> q->block_bits, &t);

        if (r < 0)
                return r;
        *ret = t ? qcow2_refcount_peek(q, t->data, (uint32_t) cluster & ((1u << q->block_bits) - 1))
                 : 0;
        return 0;
}

int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value) {
        uint32_t index = (uint32_t) cluster & ((1u << q->block_bits) - 1), at;
        struct qcow2_table *t;
        int r = qcow2_block_load(q, cluster >> q->block_bits, &t);

        if (r < 0 || !t)
                return r < 0 ? r : value == 0 ? 0 : -EIO;
        assert(value <= q->refcount_max);
        qcow2_refcount_poke(q, t->data, index, value);
        at = (uint32_t) (((uint64_t) index << q->refcount_order) / 8);
        qcow2_cache_touch(
                        &q->block_cache, t, at,
                        at + (q->refcount_order > 3 ? 1u << (q->refcount_order - 3) : 1));
        return 0;
}

/* Nobody refers to the cluster any more. */
static void forget(struct qcow2 *q, uint64_t cluster) {
        enum qcow2_kind kind = qcow2_set_get(&q->kinds, cluster);

        if (kind != QCOW2_NONE) {
                qcow2_set_remove(&q->kinds, cluster);
                qcow2_cache_drop(&q->l2_cache, cluster << q->cluster_bits);
                qcow2_cache_drop(&q->block_cache, cluster << q->cluster_bits);
        }
        q->next = MIN(q->next, cluster);
        q->unpacked_entry = 0;
        if (q->pack_at >> q->cluster_bits == cluster)
                q->pack_at = 0;
}

int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, int delta) {
        uint64_t count;
        int r = qcow2_refcount_get(q, cluster, &count);

        if (r < 0)
                return r;
        if (count == 0 || (delta < 0 && count < (uint64_t) -delta))
                return qcow2_corrupt(
                                q,
                                "the cluster at 0x%" G_GINT64_MODIFIER "x is in use, and its "
                                "count is %" G_GUINT64_FORMAT,
                                cluster << q->cluster_bits, count);
        if (delta > 0 && q->refcount_max - count < (uint64_t) delta)
                return -EOVERFLOW;
        count += (uint64_t) (int64_t) delta;
        r = qcow2_refcount_set(q, cluster, count);
        if (r == 0 && count == 0)
                forget(q, cluster);
        return r;
}
