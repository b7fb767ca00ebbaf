/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which clusters of a qcow2 file hold metadata. The file's own counts cannot be trusted with that: a wrong one would let guest data land on a
 * table. So every cluster that is handed out, and every one that guest data is written to in place, is looked up here first.
 *
 * A hash table with open addressing, at most half full. A cluster leaves it when its count falls to 0.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>

#define SLOTS_MIN 256u

static const char *const kind_names[QCOW2_KIND_MAX] = {
        [QCOW2_NONE] = "data",
        [QCOW2_HEADER] = "the header",
        [QCOW2_L1] = "the L1 table",
        [QCOW2_L2] = "an L2 table",
        [QCOW2_REFTABLE] = "the refcount table",
        [QCOW2_REFBLOCK] = "a refcount block",
        [QCOW2_SNAPSHOTS] = "the snapshot table",
        [QCOW2_SNAPSHOT_L1] = "a snapshot's L1 table",
};

const char *qcow2_kind_to_string(enum qcow2_kind kind) {
        return kind < QCOW2_KIND_MAX ? kind_names[kind] : NULL;
}

static size_t slot_of(const struct qcow2_set *set, uint64_t cluster) {
        return (size_t) ((cluster * 0x9e3779b97f4a7c15ull) >> 20) & set->mask;
}

/* Where cluster is, or would be. */
static size_t find(const struct qcow2_set *set, uint64_t cluster) {
        size_t i = slot_of(set, cluster);

        while (set->slots[i] && set->slots[i] >> 3 != cluster)
                i = (i + 1) & set->mask;
        return i;
}

static void grow(struct qcow2_set *set) {
        struct qcow2_set larger = { .mask = set->slots ? 2 * set->mask + 1 : SLOTS_MIN - 1 };

        larger.slots = g_new0(uint64_t, larger.mask + 1);
        for (size_t i = 0; set->slots && i <= set->mask; i++)
                if (set->slots[i])
                        larger.slots[find(&larger, set->slots[i] >> 3)] = set->slots[i];
        larger.used = set->used;
        g_free(set->slots);
        *set = larger;
}

void qcow2_set_put(struct qcow2_set *set, uint64_t cluster, enum qcow2_kind kind) {
        size_t i;

        assert(kind != QCOW2_NONE);

        if (!set->slots || set->used * 2 > set->mask)
                grow(set);
        i = find(set, cluster);
        set->used += !set->slots[i];
        set->slots[i] = cluster << 3 | kind;
}

enum qcow2_kind qcow2_set_get(const struct qcow2_set *set, uint64_t cluster) {
        return set->slots ? (enum qcow2_kind)(set->slots[find(set, cluster)] & 7) : QCOW2_NONE;
}

void qcow2_set_remove(struct qcow2_set *set, uint64_t cluster) {
        size_t hole, i;

        if (!set->slots)
                return;
        hole = i = find(set, cluster);
        if (!set->slots[i])
                return;
        set->used--;
        /* What follows and could stand in the hole moves there, or a search would end at it. */
        for (;;) {
                i = (i + 1) & set->mask;
                if (!set->slots[i])
                        break;
                if (((i - slot_of(set, set->slots[i] >> 3)) & set->mask) >=
                    ((i - hole) & set->mask)) {
                        set->slots[hole] = set->slots[i];
                        hole = i;
                }
        }
        set->slots[hole] = 0;
}

void qcow2_set_clear(struct qcow2_set *set) {
        g_clear_pointer(&set->slots, g_free);
        *set = (struct qcow2_set){};
}

/* False if one of the clusters is something already. twice: it may be the same. */
static bool
claim(struct qcow2 *q,
      uint64_t offset,
      uint64_t bytes,
      enum qcow2_kind kind,
      bool twice,
      char **ret_why) {
        uint64_t first = offset >> q->cluster_bits;

        for (uint64_t i = 0; i < qcow2_clusters(q, bytes); i++) {
                enum qcow2_kind other = qcow2_set_get(&q->kinds, first + i);

                if (other != QCOW2_NONE && !(twice && other == kind)) {
                        *ret_why = g_strdup_printf(
                                        "%s lies on %s, at 0x%" G_GINT64_MODIFIER "x",
                                        qcow2_kind_to_string(kind), qcow2_kind_to_string(other),
                                        (first + i) << q->cluster_bits);
                        return false;
                }
                qcow2_set_put(&q->kinds, first + i, kind);
        }
        return true;
}

bool qcow2_kinds_fill(struct qcow2 *q, char **ret_why) {
        const struct qcow2_header *h = &q->header;

        qcow2_set_clear(&q->kinds);
        if (!claim(q, 0, q->cluster, QCOW2_HEADER, false, ret_why) ||
            !claim(q, h->reftable_offset, (uint64_t) h->reftable_clusters << q->cluster_bits,
                   QCOW2_REFTABLE, false, ret_why) ||
            !claim(q, h->l1_offset, 8ull * h->l1_size, QCOW2_L1, false, ret_why))
                return false;
        for (uint32_t i = 0; i < q->reftable_size; i++)
                if (q->reftable[i] &&
                    !claim(q, q->reftable[i], q->cluster, QCOW2_REFBLOCK, false, ret_why))
                        return false;
        if (h->n_snapshots > 0 &&
            !claim(q, h->snapshots_offset, q->snapshots_bytes, QCOW2_SNAPSHOTS, false, ret_why))
                return false;
        for (guint i = 0; i < q->snapshots->len; i++) {
                const struct qcow2_snapshot *s = q->snapshots->pdata[i];

                if (!claim(q, s->l1_offset, 8ull * s->l1_size, QCOW2_SNAPSHOT_L1, true, ret_why))
                        return false;
        }
        /* A table that two entries share has a count of two, and is copied before it is changed. */
        for (uint32_t i = 0; i < h->l1_size; i++) {
                uint64_t at = q->l1[i] & QCOW2_OFFSET_MASK;

                if (at && !claim(q, at, q->cluster, QCOW2_L2, true, ret_why))
                        return false;
        }
        return true;
}
