/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether a qcow2 file agrees with itself. All tables are walked and every reference is counted; then the file's counts are compared with that
 * (qcow2-repair.c). A corruption is what could lose data: a cluster that is used and counts as less, an entry that cannot be, a mark of ownership on
 * what is shared. A leak costs space only: a count too high, a mark that is missing.
 *
 * An entry that cannot be is removed when all is repaired. A table is looked into once for each L1 that has it, which bounds the work.
 */

#include "devices/block/image/qcow2-check.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define CLUSTERS_MAX (256ull << 20)

void qcow2_found(
                struct qcow2_checking *k, bool corruption, bool repaired, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        if (corruption)
                (*(repaired ? &k->c->fixed_corruptions : &k->c->corruptions))++;
        else
                (*(repaired ? &k->c->fixed_leaks : &k->c->leaks))++;
        if (k->c->finding)
                k->c->finding(k->c->opaque, corruption, repaired, text);
}

static void count(struct qcow2_checking *k, uint64_t offset, uint64_t bytes) {
        uint64_t first = offset >> k->q->cluster_bits,
                 last = (offset + MAX(bytes, 1) - 1) >> k->q->cluster_bits;

        for (uint64_t c = first; c <= last && c < k->n; c++)
                k->counts[c] += k->counts[c] < UINT32_MAX;
}

static bool is_cluster(const struct qcow2_checking *k, uint64_t word, uint64_t also) {
        uint64_t offset = word & QCOW2_OFFSET_MASK;

        return (word & ~(QCOW2_OFFSET_MASK | also)) == 0 && offset > 0 &&
               (offset & (k->q->cluster - 1)) == 0 && offset >> k->q->cluster_bits < k->n;
}

/* Begins with a cluster, and ends before the file does: what lies behind will be another's. */
static bool is_table(const struct qcow2_checking *k, uint64_t offset, uint64_t bytes) {
        return is_cluster(k, offset, 0) && bytes <= (k->n << k->q->cluster_bits) - offset;
}

/* What an entry that cannot be becomes: nothing that shows old data of the backing image. */
static struct qcow2_entry erased(const struct qcow2 *q) {
        if (q->version < 3)
                return (struct qcow2_entry){};
        return q->extended ? (struct qcow2_entry){ 0, UINT64_MAX << 32 }
                           : (struct qcow2_entry){ QCOW2_ZERO, 0 };
}

static void count_entry(struct qcow2_checking *k, struct qcow2_entry e, bool active) {
        struct qcow2 *q = k->q;

        if (e.word & QCOW2_COMPRESSED) {
                uint64_t at;
                uint32_t bytes;

                qcow2_entry_packed(q, e, &at, &bytes);
                count(k, at, bytes);
        } else if (!qcow2_entry_has_host(q, e)) {
                return;
        } else if (!q->external) {
                count(k, e.word & QCOW2_OFFSET_MASK, q->cluster);
        }
        if (active)
                k->c->allocated++;
}

static int check_table(struct qcow2_checking *k, uint64_t offset, uint64_t guest, bool active) {
        struct qcow2 *q = k->q;

        for (uint32_t i = 0; i < qcow2_l2_entries(q); i++, guest += q->cluster) {
                struct qcow2_table *t;
                struct qcow2_entry e;
                const char *why;
                int r = qcow2_cache_load(q, &q->l2_cache, offset, &t);

                if (r < 0)
                        return r;
                e = qcow2_entry_get(q, t, i);
                why = qcow2_entry_check(q, e, guest, /* active= */ true);
                if (!why) {
                        count_entry(k, e, active);
                        continue;
                }
                qcow2_found(k, true, k->fix_all,
                            "the entry of the disk's cluster at 0x%" G_GINT64_MODIFIER
                            "x %s (0x%" G_GINT64_MODIFIER "x)",
                            guest, why, e.word);
                if (k->fix_all)
                        qcow2_entry_set(q, t, i, erased(q));
        }
        return 0;
}

static int erase_l1(struct qcow2_checking *k, uint64_t *l1, uint64_t at, uint32_t i, bool active) {
        const uint64_t zero = 0;

        l1[i] = 0;
        if (active) {
                qcow2_l1_set(k->q, i, 0);
                return 0;
        }
        return image_file_write(k->q->img.file, at + 8ull * i, &zero, sizeof(zero));
}

/* Entries of an L1 that cannot be, first, so that what is left are tables. */
static int
check_l1_entries(struct qcow2_checking *k, uint64_t *l1, uint32_t n, uint64_t at, bool active) {
        struct qcow2_set seen = {};
        struct qcow2 *q = k->q;
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < n; i++) {
                uint64_t cluster = (l1[i] & QCOW2_OFFSET_MASK) >> q->cluster_bits;
                const char *why = NULL;
                enum qcow2_kind kind;

                if (l1[i] == 0)
                        continue;
                kind = qcow2_set_get(&q->kinds, cluster);
                if (!is_cluster(k, l1[i], QCOW2_COPIED))
                        why = "cannot be";
                else if (kind != QCOW2_NONE && kind != QCOW2_L2)
                        why = "points to other metadata";
                else if (qcow2_set_get(&seen, cluster) != QCOW2_NONE)
                        why = "points to a table that another one has";
                if (!why) {
                        qcow2_set_put(&seen, cluster, QCOW2_L2);
                        qcow2_set_put(&q->kinds, cluster, QCOW2_L2);
                        continue;
                }
                qcow2_found(k, true, k->fix_all,
                            "entry %u of %s L1 table %s (0x%" G_GINT64_MODIFIER "x)", i,
                            active ? "the" : "a snapshot's", why, l1[i]);
                if (k->fix_all)
                        r = erase_l1(k, l1, at, i, active);
                /* Not looked at again by this check; an image left like that is not used. */
                else if (active)
                        q->corrupt = true;
                l1[i] = 0;
        }
        qcow2_set_clear(&seen);
        return r;
}

static int check_l1(struct qcow2_checking *k, const uint64_t *l1, uint32_t n, bool active) {
        int r = 0;

        for (uint32_t i = 0; r == 0 && i < n; i++) {
                if (l1[i] == 0)
                        continue;
                count(k, l1[i] & QCOW2_OFFSET_MASK, k->q->cluster);
                r = check_table(k, l1[i] & QCOW2_OFFSET_MASK,
                                (uint64_t) i << (k->q->cluster_bits + k->q->l2_bits), active);
        }
        return r;
}

/* Each snapshot's own L1, and what hangs on it. */
static int check_snapshots(struct qcow2_checking *k, bool entries) {
        struct qcow2 *q = k->q;
        int r = 0;

        for (guint i = 0; r == 0 && i < q->snapshots->len; i++) {
                const struct qcow2_snapshot *s = q->snapshots->pdata[i];
                g_autofree uint64_t *l1 = NULL;

                r = qcow2_snapshot_read_l1(q, s, &l1);
                if (r < 0)
                        return r;
                if (entries) {
                        r = check_l1_entries(k, l1, s->l1_size, s->l1_offset, /* active= */ false);
                        continue;
                }
                for (uint32_t e = 0; e < s->l1_size; e++)
                        if (!is_cluster(k, l1[e], QCOW2_COPIED) ||
                            qcow2_set_get(&q->kinds, (l1[e] & QCOW2_OFFSET_MASK) >>
                                                                     q->cluster_bits) != QCOW2_L2)
                                l1[e] = 0;
                count(k, s->l1_offset, MAX(8ull * s->l1_size, 1));
                r = check_l1(k, l1, s->l1_size, /* active= */ false);
        }
        return r;
}

/* A mark of ownership is right if what was counted is one. Returns what the word should be. */
static uint64_t
check_mark(struct qcow2_checking *k, uint64_t word, const char *what, uint64_t guest) {
        uint64_t cluster = (word & QCOW2_OFFSET_MASK) >> k->q->cluster_bits;
        bool marked = word & QCOW2_COPIED, one = k->counts[cluster] == 1;

        if (cluster >= k->n || marked == one || k->q->external)
                return word;
        qcow2_found(k, marked, marked ? k->fix_all : k->fix_leaks,
                    "%s at 0x%" G_GINT64_MODIFIER "x is %s marked as the only reference", what,
                    guest, marked ? "wrongly" : "not");
        return (marked ? k->fix_all : k->fix_leaks) ? word ^ QCOW2_COPIED : word;
}

static int check_marks(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;

        for (uint32_t i = 0; i < q->header.l1_size; i++) {
                uint64_t guest = (uint64_t) i << (q->cluster_bits + q->l2_bits),
                         offset = q->l1[i] & QCOW2_OFFSET_MASK, word;

                if (!offset)
                        continue;
                word = k->q->external && k->counts[offset >> q->cluster_bits] == 1
                                       ? q->l1[i]
                                       : check_mark(k, q->l1[i], "the L2 table of what is", guest);
                if (word != q->l1[i])
                        qcow2_l1_set(q, i, word);
                for (uint32_t n = 0; n < qcow2_l2_entries(q); n++, guest += q->cluster) {
                        struct qcow2_table *t;
                        struct qcow2_entry e;
                        int r = qcow2_cache_load(q, &q->l2_cache, offset, &t);

                        if (r < 0)
                                return r;
                        e = qcow2_entry_get(q, t, n);
                        if (q->external || !qcow2_entry_has_host(q, e) ||
                            qcow2_entry_check(q, e, guest, /* active= */ true))
                                continue;
                        word = check_mark(k, e.word, "the disk's cluster", guest);
                        if (word != e.word)
                                qcow2_entry_set(q, t, n, (struct qcow2_entry){ word, e.bitmap });
                }
        }
        return 0;
}

/* Tables that are where the header says, and the blocks. */
static void check_places(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;
        const struct qcow2_header *h = &q->header;
        g_autofree uint64_t *l1 = g_memdup2(q->l1, 8 * MAX((size_t) h->l1_size, 1));
        g_autofree char *why = NULL;

        /* Without the entries of L1 and of the refcount table, which come by themselves. */
        memset(q->l1, 0, 8 * (size_t) h->l1_size);
        for (uint32_t i = 0; i < q->reftable_size; i++)
                if (q->reftable[i] && (q->reftable[i] & 511 || !is_cluster(k, q->reftable[i], 0))) {
                        qcow2_found(k, true, k->fix_all,
                                    "entry %u of the refcount table cannot be "
                                    "(0x%" G_GINT64_MODIFIER "x)",
                                    i, q->reftable[i]);
                        q->reftable[i] = 0;
                        k->rebuild = true;
                }
        if (!qcow2_kinds_fill(q, &why)) {
                /* New blocks help if these are at fault; if not, it is said again. */
                qcow2_found(k, true, k->fix_all, "%s", why);
                memset(q->reftable, 0, 8 * (size_t) q->reftable_size);
                g_clear_pointer(&why, g_free);
                k->rebuild = true;
                if (!qcow2_kinds_fill(q, &why)) {
                        qcow2_found(k, true, false, "%s", why);
                        k->fix_all = k->fix_leaks = false;
                }
        }
        memcpy(q->l1, l1, 8 * (size_t) h->l1_size);
}

/* The table of counts and its blocks, in or out. */
static void count_structure(struct qcow2_checking *k, int delta) {
        struct qcow2 *q = k->q;
        uint64_t first = q->header.reftable_offset >> q->cluster_bits;

        for (uint64_t c = first; c < first + q->header.reftable_clusters && c < k->n; c++)
                k->counts[c] += (uint32_t) delta;
        for (uint32_t i = 0; i < q->reftable_size; i++)
                if (q->reftable[i] && q->reftable[i] >> q->cluster_bits < k->n)
                        k->counts[q->reftable[i] >> q->cluster_bits] += (uint32_t) delta;
}

static void count_places(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;
        const struct qcow2_header *h = &q->header;

        count(k, 0, q->cluster);
        if (h->l1_size > 0)
                count(k, h->l1_offset, 8ull * h->l1_size);
        if (h->n_snapshots > 0)
                count(k, h->snapshots_offset, q->snapshots_bytes);
        count_structure(k, +1);
}

static uint64_t be(const uint8_t *p, unsigned bytes) {
        uint64_t n = 0;

        for (unsigned i = 0; i < bytes; i++)
                n = n << 8 | p[i];
        return n;
}

static int count_bitmap(struct qcow2_checking *k, uint64_t offset, uint64_t n) {
        g_autofree uint64_t *table = NULL;
        int r;

        if (n > QCOW2_L1_BYTES_MAX / 8 || !is_table(k, offset, 8 * n)) {
                qcow2_found(k, true, false, "a bitmap's table cannot be where it is said to be");
                return 0;
        }
        table = g_new0(uint64_t, MAX(n, 1));
        r = image_file_read(k->q->img.file, offset, table, 8 * n);
        if (r < 0)
                return r;
        count(k, offset, 8 * n);
        for (uint64_t i = 0; i < n; i++) {
                uint64_t word = GUINT64_FROM_BE(table[i]);

                if (is_cluster(k, word & ~1ull, 0))
                        count(k, word & QCOW2_OFFSET_MASK, k->q->cluster);
        }
        return 0;
}

/* Bitmaps are not ours to understand, but while they are valid their clusters are in use. */
static int count_bitmaps(struct qcow2_checking *k) {
        const struct qcow2_header *h = &k->q->header;
        g_autofree uint8_t *directory = NULL;
        uint64_t at = 0;
        int r;

        if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) || h->n_bitmaps == 0)
                return 0;
        if (h->bitmaps_size > QCOW2_SNAPSHOT_TABLE_MAX ||
            !is_table(k, h->bitmaps_offset, h->bitmaps_size)) {
                qcow2_found(k, true, false,
                            "the directory of bitmaps cannot be where it is said to be");
                return 0;
        }
        directory = g_malloc0(h->bitmaps_size + 1);
        r = image_file_read(k->q->img.file, h->bitmaps_offset, directory, h->bitmaps_size);
        count(k, h->bitmaps_offset, h->bitmaps_size);
        for (uint32_t i = 0; r == 0 && i < h->n_bitmaps && h->bitmaps_size - at >= 24; i++) {
                const uint8_t *p = directory + at;
                uint64_t size = (24 + be(p + 18, 2) + be(p + 20, 4) + 7) & ~7ull;

                r = count_bitmap(k, be(p, 8), be(p + 8, 4));
                if (size > h->bitmaps_size - at)
                        break;
                at += size;
        }
        return r;
}

static int run(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;
        int r;

        check_places(k);
        r = check_l1_entries(k, q->l1, q->header.l1_size, q->header.l1_offset, /* active= */ true);
        if (r == 0)
                r = check_snapshots(k, /* entries= */ true);
        if (r == 0)
                r = check_l1(k, q->l1, q->header.l1_size, /* active= */ true);
        if (r == 0)
                r = check_snapshots(k, /* entries= */ false);
        if (r == 0)
                r = count_bitmaps(k);
        if (r < 0)
                return r;
        count_places(k);
        qcow2_check_blocks(k);
        if (k->rebuild && k->fix_all)
                count_structure(k, -1);
        r = check_marks(k);
        return r == 0 ? qcow2_check_counts(k) : r;
}

static int finish(struct qcow2_checking *k) {
        struct qcow2 *q = k->q;
        uint64_t clear = 0;
        int r = qcow2_flush(&q->img);

        if (r < 0)
                return r;
        if (k->fix_leaks && k->c->corruptions == 0)
                clear = QCOW2_INCOMPAT_DIRTY | (k->fix_all ? QCOW2_INCOMPAT_CORRUPT : 0);
        if (!(q->header.incompatible & clear))
                return 0;
        q->header.incompatible &= ~clear;
        r = qcow2_header_write_features(q);
        return r == 0 ? qcow2_sync(q) : r;
}

bool qcow2_check(struct image *img, struct image_check *check, GError **error) {
        struct qcow2 *q = to_qcow2(img);
        struct qcow2_checking k = {
                .q = q,
                .c = check,
                .n = q->end >> q->cluster_bits,
                .fix_all = check->repair_all && !img->readonly,
                .fix_leaks = (check->repair_leaks || check->repair_all) && !img->readonly,
        };
        int r = 0;

        if (k.n > CLUSTERS_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "the qcow2 image has %" G_GUINT64_FORMAT
                            " clusters, more than can be checked",
                            k.n);
                return false;
        }
        k.counts = g_try_new0(uint32_t, k.n + 1);
        if (!k.counts)
                r = -ENOMEM;
        for (int i = 0; r == 0 && i < 2 && !img->readonly && img->unflushed; i++)
                r = qcow2_flush(img);
        check->total = (img->size + q->cluster - 1) >> q->cluster_bits;
        if (r == 0)
                r = run(&k);
        if (r == 0 && (k.fix_all || k.fix_leaks) && !img->readonly)
                r = finish(&k);
        g_free(k.counts);
        return r == 0 || hv_error_errno(error, -r, "checking a qcow2 image");
}
