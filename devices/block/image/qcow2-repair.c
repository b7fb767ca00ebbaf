/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A qcow2 file's counts against what a check found. Where there is a block, its counts are corrected in place. Where one is missing or lies where it must
 * not, all counts are written anew behind everything else, and the header is pointed there in one write: the old ones serve until then.
 */

#include "devices/block/image/qcow2-check.h"

#include <errno.h>
#include <string.h>

static uint32_t want(const struct qcow2_checking *k, uint64_t cluster) {
        return cluster < k->n ? k->counts[cluster] : 0;
}

static bool region_is_used(const struct qcow2_checking *k, uint64_t region) {
        uint64_t first = region << k->q->block_bits, end = (region + 1) << k->q->block_bits;

        for (uint64_t c = first; c < MIN(end, k->n); c++)
                if (k->counts[c])
                        return true;
        return false;
}

/* Clusters that follow each other and have the same fault are one finding, but as many faults. */
struct fault {
        uint64_t first, n, stored;
        uint32_t found;
        bool repaired;
};

static void tell(struct qcow2_checking *k, struct fault *f) {
        bool corruption = f->stored < f->found;
        uint64_t *total = corruption ? (f->repaired ? &k->c->fixed_corruptions : &k->c->corruptions)
                                     : (f->repaired ? &k->c->fixed_leaks : &k->c->leaks);

        if (f->n == 0)
                return;
        qcow2_found(k, corruption, f->repaired,
                    "%" G_GUINT64_FORMAT " clusters from 0x%" G_GINT64_MODIFIER
                    "x on count as %" G_GUINT64_FORMAT " and are used %u times",
                    f->n, f->first << k->q->cluster_bits, f->stored, f->found);
        *total += f->n - 1;
        f->n = 0;
}

static void
add(struct qcow2_checking *k, struct fault *f, uint64_t c, uint64_t stored, bool repaired) {
        if (f->n > 0 && f->first + f->n == c && f->stored == stored && f->found == want(k, c) &&
            f->repaired == repaired) {
                f->n++;
                return;
        }
        tell(k, f);
        *f = (struct fault){ c, 1, stored, want(k, c), repaired };
}

static int compare_region(struct qcow2_checking *k, uint64_t region, struct fault *f) {
        struct qcow2 *q = k->q;
        uint64_t first = region << q->block_bits;
        struct qcow2_table *t;
        int r = qcow2_block_load(q, region, &t);

        if (r < 0 || (!t && first >= k->n))
                return r;
        for (uint64_t c = first; c < first + (1ull << q->block_bits); c++) {
                uint64_t stored = t ? qcow2_refcount_peek(q, t->data, (uint32_t) (c - first)) : 0;
                bool repaired;

                if (stored == want(k, c))
                        continue;
                repaired = stored > want(k, c) ? k->fix_leaks
                                               : k->fix_all && want(k, c) <= q->refcount_max;
                add(k, f, c, stored, repaired);
                if (!repaired || k->rebuild)
                        continue;
                r = qcow2_refcount_set(q, c, want(k, c));
                if (r == 0)
                        r = qcow2_block_load(q, region, &t);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* New places: blocks from cluster k->n on, then the table. */
struct layout {
        uint64_t n_blocks, table_clusters, regions;
};

static uint64_t used_end(const struct qcow2_checking *k, const struct layout *l) {
        return k->n + l->n_blocks + l->table_clusters;
}

static bool is_needed(const struct qcow2_checking *k, const struct layout *l, uint64_t region) {
        uint64_t first = region << k->q->block_bits, end = (region + 1) << k->q->block_bits;

        return (first < used_end(k, l) && end > k->n) || region_is_used(k, region);
}

static bool lay_out(const struct qcow2_checking *k, struct layout *l) {
        const struct qcow2 *q = k->q;

        *l = (struct layout){ 1, 1, 0 };
        for (;;) {
                uint64_t blocks = 0, clusters;

                l->regions = (used_end(k, l) + (1ull << q->block_bits) - 1) >> q->block_bits;
                for (uint64_t region = 0; region < l->regions; region++)
                        blocks += is_needed(k, l, region);
                clusters = (8 * l->regions + q->cluster - 1) >> q->cluster_bits;
                if (clusters * q->cluster > QCOW2_REFTABLE_BYTES_MAX)
                        return false;
                if (blocks <= l->n_blocks && clusters <= l->table_clusters)
                        return true;
                l->n_blocks = MAX(blocks, l->n_blocks);
                l->table_clusters = MAX(clusters, l->table_clusters);
        }
}

static int
write_block(const struct qcow2_checking *k,
            const struct layout *l,
            uint64_t region,
            uint64_t cluster) {
        const struct qcow2 *q = k->q;
        uint64_t first = region << q->block_bits;
        g_autofree uint8_t *block = g_malloc0(q->cluster);

        for (uint64_t c = first; c < first + (1ull << q->block_bits) && c < used_end(k, l); c++)
                qcow2_refcount_poke(
                                q, block, (uint32_t) (c - first),
                                c >= k->n ? 1 : MIN(want(k, c), q->refcount_max));
        return image_file_write(q->img.file, cluster << q->cluster_bits, block, q->cluster);
}

static int
write_table(const struct qcow2_checking *k, const struct layout *l, const uint64_t *table) {
        const struct qcow2 *q = k->q;
        uint64_t n = l->table_clusters << (q->cluster_bits - 3);
        g_autofree uint64_t *raw = g_new(uint64_t, n);

        for (uint64_t i = 0; i < n; i++)
                raw[i] = GUINT64_TO_BE(table[i]);
        return image_file_write(q->img.file, (k->n + l->n_blocks) << q->cluster_bits, raw, 8 * n);
}

/* The old blocks and table are nobody's any more. */
static void take_over(struct qcow2_checking *k, const struct layout *l, uint64_t *table) {
        struct qcow2 *q = k->q;
        g_autofree char *why = NULL;

        g_free(q->reftable);
        q->reftable = table;
        q->reftable_size = (uint32_t) (l->table_clusters << (q->cluster_bits - 3));
        q->reftable_dirty_from = q->reftable_dirty_to = 0;
        q->reftable_moved = false;
        qcow2_cache_clear(&q->block_cache);
        qcow2_cache_init(&q->block_cache, q->cluster, qcow2_limits.refcount_cache);
        q->end = MAX(q->end, used_end(k, l) << q->cluster_bits);
        q->virgin = MAX(q->virgin, q->end);
        q->next = 0;
        (void) qcow2_kinds_fill(q, &why);
}

static int rebuild(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;
        g_autofree uint64_t *table = NULL;
        struct layout l;
        uint64_t next = k->n;
        int r = 0;

        if (!lay_out(k, &l))
                return -EFBIG;
        table = g_new0(uint64_t, l.table_clusters << (q->cluster_bits - 3));
        for (uint64_t region = 0; r == 0 && region < l.regions; region++) {
                if (!is_needed(k, &l, region))
                        continue;
                table[region] = next << q->cluster_bits;
                r = write_block(k, &l, region, next++);
        }
        if (r == 0)
                r = write_table(k, &l, table);
        if (r == 0)
                r = qcow2_sync(q);
        if (r < 0)
                return r;
        q->header.reftable_offset = (k->n + l.n_blocks) << q->cluster_bits;
        q->header.reftable_clusters = (uint32_t) l.table_clusters;
        r = qcow2_header_write_reftable(q);
        if (r == 0)
                r = qcow2_sync(q);
        if (r == 0)
                take_over(k, &l, g_steal_pointer(&table));
        return r;
}

void qcow2_check_blocks(struct qcow2_checking *k) {
        const struct qcow2 *q = k->q;

        for (uint64_t region = 0; !k->rebuild && region << q->block_bits < k->n; region++)
                k->rebuild = (region >= q->reftable_size || !q->reftable[region]) &&
                             region_is_used(k, region);
}

int qcow2_check_counts(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;
        uint64_t regions = MAX(
                        (k->n + (1ull << q->block_bits) - 1) >> q->block_bits, q->reftable_size);
        struct fault f = {};
        int r = 0;

        for (uint64_t region = 0; r == 0 && region < regions; region++)
                r = compare_region(k, region, &f);
        tell(k, &f);
        if (r == 0 && k->rebuild && k->fix_all)
                r = rebuild(k);
        return r;
}
