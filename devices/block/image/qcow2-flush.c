/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order in which a qcow2 file learns of changes, so that a power cut at any moment leaves clusters that nobody refers to at most:
 *
 *     refcount blocks (and guest data, which is there already)    sync
 *     entries of the refcount table                               sync
 *     the header, if the refcount table moved                     sync
 *     L2 tables                                                   sync
 *     entries of L1, and the header if L1 moved                   sync
 *     counts of what was given up are lowered, in memory
 *
 * Steps without anything to do cost nothing. A sync that failed may have lost what it was for: from then on nothing is written.
 */

#include "devices/block/image/qcow2.h"

#include <errno.h>
#include <stdarg.h>

int qcow2_sync(struct qcow2 *q) {
        int r = image_file_sync(q->img.file);

        if (r == 0 && q->data && q->external)
                r = image_file_sync(q->data);
        if (r < 0)
                q->broken = r;
        return r;
}

int qcow2_corrupt(struct qcow2 *q, const char *format, ...) {
        va_list ap;

        if (q->corrupt)
                return -EIO;
        q->corrupt = true;
        va_start(ap, format);
        g_free(q->corrupt_why);
        q->corrupt_why = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_debug("qcow2: %s", q->corrupt_why);
        if (q->img.readonly || q->img.file->readonly)
                return -EIO;
        q->img.readonly = true;
        q->header.incompatible |= QCOW2_INCOMPAT_CORRUPT;
        if (!q->broken && qcow2_header_write_features(q) == 0)
                (void) image_file_sync(q->img.file);
        return -EIO;
}

/* Entries of a table that stays where it is, or all of it. */
static int
write_entries(struct qcow2 *q,
              const uint64_t *entries,
              uint64_t offset,
              uint32_t from,
              uint32_t to,
              enum qcow2_kind kind) {
        g_autofree uint64_t *raw = NULL;

        /* Whole sectors. */
        from &= ~63u;
        for (uint64_t c = (offset + 8ull * from) >> q->cluster_bits;
             c <= (offset + 8ull * to - 1) >> q->cluster_bits; c++)
                if (qcow2_set_get(&q->kinds, c) != kind)
                        return qcow2_corrupt(
                                        q, "%s was to be written to 0x%" G_GINT64_MODIFIER "x: %s",
                                        qcow2_kind_to_string(kind), c << q->cluster_bits,
                                        qcow2_kind_to_string(qcow2_set_get(&q->kinds, c)));
        raw = g_new(uint64_t, to - from);
        for (uint32_t i = from; i < to; i++)
                raw[i - from] = GUINT64_TO_BE(entries[i]);
        return image_file_write(q->img.file, offset + 8ull * from, raw, 8ull * (to - from));
}

static int flush_reftable(struct qcow2 *q) {
        bool moved = q->reftable_moved;
        int r;

        if (!moved && q->reftable_dirty_from == q->reftable_dirty_to)
                return 0;
        r = write_entries(
                        q, q->reftable, q->header.reftable_offset,
                        moved ? 0 : q->reftable_dirty_from,
                        moved ? q->reftable_size : q->reftable_dirty_to, QCOW2_REFTABLE);
        if (r == 0)
                r = qcow2_sync(q);
        if (r == 0 && moved)
                r = qcow2_header_write_reftable(q);
        if (r == 0 && moved)
                r = qcow2_sync(q);
        if (r < 0)
                return r;
        q->reftable_moved = false;
        q->reftable_dirty_from = q->reftable_dirty_to = 0;
        return 0;
}

static int flush_l1(struct qcow2 *q) {
        bool moved = q->l1_moved;
        int r = 0;

        if (!moved && q->l1_dirty_from == q->l1_dirty_to)
                return 0;
        if (q->header.l1_size > 0)
                r = write_entries(
                                q, q->l1, q->header.l1_offset, moved ? 0 : q->l1_dirty_from,
                                moved ? q->header.l1_size : q->l1_dirty_to, QCOW2_L1);
        if (r == 0)
                r = qcow2_sync(q);
        if (r == 0 && moved)
                r = qcow2_header_write_size_and_l1(q);
        if (r == 0 && moved)
                r = qcow2_sync(q);
        if (r < 0)
                return r;
        q->l1_moved = false;
        q->l1_dirty_from = q->l1_dirty_to = 0;
        return 0;
}

int qcow2_flush(struct image *img) {
        struct qcow2 *q = to_qcow2(img);
        bool tables = q->l2_cache.dirty;
        int r;

        if (q->broken)
                return q->broken;
        if (q->corrupt)
                return -EIO;
        r = qcow2_cache_write(q, &q->block_cache);
        if (r == 0)
                r = qcow2_sync(q);
        if (r == 0)
                r = flush_reftable(q);
        if (r == 0 && tables)
                r = qcow2_cache_write(q, &q->l2_cache);
        if (r == 0 && tables)
                r = qcow2_sync(q);
        if (r == 0)
                r = flush_l1(q);
        if (r == 0)
                r = qcow2_free_pending(q);
        if (r < 0)
                return r;
        img->unflushed = q->block_cache.dirty;
        return 0;
}
