/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Giving out clusters of a qcow2 file, and taking them back.
 *
 * The lowest free ones go first, so a fresh file fills from its start to its end and guest data that is written in order lies in order. Counts are
 * raised at once. A region that has no refcount block yet gets it from its own first free cluster; only a table of several clusters
 * that crosses regions takes the blocks it needs from behind itself.
 *
 * What is given up goes through two waiting rooms: until the next flush, because the file still refers to it, and until release_held(), because
 * requests that began before may still be on their way to it.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define GROW_BYTES (4ull << 20)

static uint64_t region_of(const struct qcow2 *q, uint64_t cluster) {
        return cluster >> q->block_bits;
}

static bool has_block(const struct qcow2 *q, uint64_t region) {
        return region < q->reftable_size && q->reftable[region];
}

/* The first run of n free clusters from from on. */
static int find_free(struct qcow2 *q, uint64_t from, uint64_t n, uint64_t *ret) {
        uint64_t limit = (QCOW2_OFFSET_MASK >> q->cluster_bits) + 1, run = 0, region = UINT64_MAX;
        struct qcow2_table *t = NULL;

        for (uint64_t c = from; c < limit; c++) {
                bool free;

                if (region_of(q, c) != region) {
                        int r;

                        region = region_of(q, c);
                        r = qcow2_block_load(q, region, &t);
                        if (r < 0)
                                return r;
                }
                free = !t ||
                       qcow2_refcount_peek(
                                       q, t->data, (uint32_t) c & ((1u << q->block_bits) - 1)) == 0;
                run = free ? run + 1 : 0;
                if (run == n) {
                        *ret = c + 1 - n;
                        return 0;
                }
        }
        return -EFBIG;
}

/* A free cluster must not be one that is in use after all. */
static int check_free(struct qcow2 *q, uint64_t cluster) {
        enum qcow2_kind kind = qcow2_set_get(&q->kinds, cluster);

        if (kind == QCOW2_NONE)
                return 0;
        return qcow2_corrupt(
                        q, "the cluster at 0x%" G_GINT64_MODIFIER "x counts as free: %s",
                        cluster << q->cluster_bits, qcow2_kind_to_string(kind));
}

/* The file reaches to the end of what is in use, and somewhat further so that not every cluster needs a call. */
static int cover(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        struct image_file *f = q->img.file;
        uint64_t end = (cluster + n) << q->cluster_bits;
        int r;

        q->end = MAX(q->end, end);
        if (end <= f->size)
                return 0;
        if (f->block_device)
                return -ENOSPC;
        r = image_file_truncate(f, end + MIN(GROW_BYTES, 64ull << q->cluster_bits));
        return r == -EFBIG || r == -ENOSPC ? image_file_truncate(f, end) : r;
}

static int grow_reftable(struct qcow2 *q, uint64_t region);

/* One cluster for a block, from from on. Never one of a region beyond the table. */
static int alloc_block(struct qcow2 *q, uint64_t from, uint64_t *ret) {
        for (;;) {
                uint64_t c;
                int r = find_free(q, from, 1, &c);

                if (r == 0 && region_of(q, c) >= q->reftable_size)
                        r = -EFBIG;
                if (r == 0)
                        r = check_free(q, c);
                if (r == 0)
                        r = cover(q, c, 1);
                if (r < 0)
                        return r;
                if (has_block(q, region_of(q, c))) {
                        *ret = c;
                        return qcow2_refcount_set(q, c, 1);
                }
                r = qcow2_block_put(q, region_of(q, c), c);
                if (r == 0)
                        r = qcow2_refcount_set(q, c, 1);
                if (r < 0)
                        return r;
                from = c + 1;
        }
}

/* Every region of the run has a block. */
static int give_blocks(struct qcow2 *q, uint64_t first, uint64_t n) {
        for (uint64_t region = region_of(q, first); region <= region_of(q, first + n - 1);
             region++) {
                uint64_t c;
                int r;

                if (has_block(q, region))
                        continue;
                r = alloc_block(q, first + n, &c);
                /* It may have come with its own region's block, and that be this one. */
                if (r == 0)
                        r = has_block(q, region) ? qcow2_refcount_set(q, c, 0)
                                                 : qcow2_block_put(q, region, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

int qcow2_alloc_table(struct qcow2 *q, uint64_t n, enum qcow2_kind kind, uint64_t *ret_offset) {
        uint64_t first, last;
        int r;

        assert(n > 0);

        for (;;) {
                r = find_free(q, q->next, n, &first);
                if (r < 0)
                        return r;
                last = MAX(first, qcow2_clusters(q, q->end));
                last = region_of(q, last + 2 * n + 2 + (n >> q->block_bits));
                if (last < q->reftable_size)
                        break;
                r = kind == QCOW2_REFTABLE ? -EFBIG : grow_reftable(q, last);
                if (r < 0)
                        return r;
        }
        for (uint64_t i = 0; r == 0 && i < n; i++)
                r = check_free(q, first + i);
        if (r == 0)
                r = cover(q, first, n);
        if (r == 0)
                r = give_blocks(q, first, n);
        for (uint64_t i = 0; r == 0 && i < n; i++) {
                r = qcow2_refcount_set(q, first + i, 1);
                qcow2_set_put(&q->kinds, first + i, kind);
        }
        if (r < 0)
                return r;
        q->virgin = MAX(q->virgin, (first + n) << q->cluster_bits);
        q->img.unflushed = true;
        *ret_offset = first << q->cluster_bits;
        return 0;
}

/* The table gets room for region, in memory at once and at a new place in the file. */
static int grow_reftable(struct qcow2 *q, uint64_t region) {
        uint64_t per_cluster = q->cluster / 8, old_offset = q->header.reftable_offset,
                 old_clusters = q->header.reftable_clusters, clusters, offset;
        uint64_t entries = MAX(region + 1, q->reftable_size + q->reftable_size / 2);
        int r;

        /* The new table lies where nothing is counted yet, and its own regions must fit it. */
        for (;;) {
                uint64_t needed, behind = MAX((region + 1) << q->block_bits,
                                              qcow2_clusters(q, q->end));

                clusters = (entries + per_cluster - 1) / per_cluster;
                needed = region_of(q, behind + 3 * clusters + 4) + 1;
                if (clusters * q->cluster > QCOW2_REFTABLE_BYTES_MAX)
                        return -EFBIG;
                if (needed <= clusters * per_cluster)
                        break;
                entries = needed;
        }
        q->reftable = g_renew(uint64_t, q->reftable, clusters * per_cluster);
        memset(q->reftable + q->reftable_size, 0, 8 * (clusters * per_cluster - q->reftable_size));
        q->reftable_size = (uint32_t) (clusters * per_cluster);

        r = qcow2_alloc_table(q, clusters, QCOW2_REFTABLE, &offset);
        if (r < 0) {
                /* Blocks may hang on entries that the file has no room for. */
                q->broken = r;
                return r;
        }
        q->header.reftable_offset = offset;
        q->header.reftable_clusters = (uint32_t) clusters;
        q->reftable_moved = true;
        qcow2_free_later(q, old_offset >> q->cluster_bits, old_clusters);
        return 0;
}

/* The first free cluster, in a region that has a block. */
static int find_first(struct qcow2 *q, uint64_t *ret) {
        for (;;) {
                uint64_t c;
                int r = find_free(q, q->next, 1, &c);

                if (r == 0)
                        r = check_free(q, c);
                if (r < 0)
                        return r;
                if (has_block(q, region_of(q, c))) {
                        *ret = c;
                        return 0;
                }
                if (region_of(q, c) >= q->reftable_size) {
                        r = grow_reftable(q, region_of(q, c));
                        if (r < 0)
                                return r;
                        continue;
                }
                r = cover(q, c, 1);
                if (r == 0)
                        r = qcow2_block_put(q, region_of(q, c), c);
                if (r == 0)
                        r = qcow2_refcount_set(q, c, 1);
                if (r < 0)
                        return r;
                q->virgin = MAX(q->virgin, (c + 1) << q->cluster_bits);
        }
}

int qcow2_alloc(struct qcow2 *q, uint64_t max, uint64_t *ret_cluster, uint64_t *ret_n) {
        uint64_t first, n = 1;
        int r;

        assert(max > 0);

        r = find_first(q, &first);
        while (r == 0 && n < max && region_of(q, first + n) == region_of(q, first)) {
                uint64_t count;

                r = qcow2_refcount_get(q, first + n, &count);
                if (r < 0 || count > 0 || qcow2_set_get(&q->kinds, first + n) != QCOW2_NONE)
                        break;
                n++;
        }
        if (r == 0)
                r = cover(q, first, n);
        for (uint64_t i = 0; r == 0 && i < n; i++)
                r = qcow2_refcount_set(q, first + i, 1);
        if (r < 0)
                return r;
        q->next = first + n;
        q->img.unflushed = true;
        *ret_cluster = first;
        *ret_n = n;
        return 0;
}

static void wait_for_flush(struct qcow2 *q, uint64_t cluster, uint64_t n, bool external) {
        struct qcow2_freed *last = q->pending->len ? &g_array_index(q->pending, struct qcow2_freed,
                                                                    q->pending->len - 1)
                                                   : NULL;
        struct qcow2_freed freed = { cluster, n, external };

        q->img.unflushed = true;
        if (last && last->cluster + last->n == cluster && last->external == external)
                last->n += n;
        else
                g_array_append_val(q->pending, freed);
}

void qcow2_free_later(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        wait_for_flush(q, cluster, n, /* external= */ false);
}

void qcow2_free_external_later(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        wait_for_flush(q, cluster, n, /* external= */ true);
}

/* Space of the data file goes, unless the disk's cluster, whose place it is, came back in the meantime. */
static int free_external(struct qcow2 *q, const struct qcow2_freed *f) {
        for (uint64_t c = f->cluster; q->data && c < f->cluster + f->n; c++) {
                struct qcow2_entry e = {};
                struct qcow2_table *t = NULL;
                uint64_t index = c >> q->l2_bits;
                int r = index < q->header.l1_size ? qcow2_l2_load(q, index, &t) : 0;

                if (r < 0)
                        return r;
                if (t)
                        e = qcow2_entry_get(q, t, (uint32_t) c & (qcow2_l2_entries(q) - 1));
                if (!qcow2_entry_has_host(q, e))
                        (void) image_file_discard(q->data, c << q->cluster_bits, q->cluster);
        }
        return 0;
}

/* Lowers the counts of a run, and gives the host what nobody refers to any more. */
static int free_now(struct qcow2 *q, const struct qcow2_freed *f) {
        uint64_t from = f->cluster;

        if (f->external)
                return free_external(q, f);
        for (uint64_t c = f->cluster; c < f->cluster + f->n; c++) {
                uint64_t count = 0;
                int r = qcow2_refcount_add(q, c, -1);

                if (r == 0)
                        r = qcow2_refcount_get(q, c, &count);
                if (r < 0)
                        return r;
                if (count > 0) {
                        if (c > from)
                                (void) image_file_discard(
                                                q->img.file, from << q->cluster_bits,
                                                (c - from) << q->cluster_bits);
                        from = c + 1;
                }
        }
        if (f->cluster + f->n > from)
                (void) image_file_discard(
                                q->img.file, from << q->cluster_bits,
                                (f->cluster + f->n - from) << q->cluster_bits);
        return 0;
}

/* The list is empty before its runs are freed: loading a table for that may flush, and come here again. */
static int free_all(struct qcow2 *q, GArray **list) {
        g_autoptr(GArray) now = *list;
        int r = 0;

        *list = g_array_new(FALSE, FALSE, sizeof(struct qcow2_freed));
        for (guint i = 0; r == 0 && i < now->len; i++)
                r = free_now(q, &g_array_index(now, struct qcow2_freed, i));
        return r;
}

int qcow2_free_pending(struct qcow2 *q) {
        if (q->pending->len == 0)
                return 0;
        if (!q->img.hold)
                return free_all(q, &q->pending);
        g_array_append_vals(q->held, q->pending->data, q->pending->len);
        g_array_set_size(q->pending, 0);
        return 0;
}

void qcow2_release_held(struct image *img) {
        struct qcow2 *q = to_qcow2(img);

        if (q->held->len == 0 || q->corrupt || q->broken)
                return;
        (void) free_all(q, &q->held);
        if (q->block_cache.dirty)
                img->unflushed = true;
}
