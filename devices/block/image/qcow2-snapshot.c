/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Snapshots inside a qcow2 image, of an image at rest. A snapshot is a copy of L1; whatever both refer to is counted once for each, and an entry
 * says that its cluster is its own only where the count is one.
 *
 * The order: counts rise first, marks of ownership go, and the header comes last when a reference is added; when one goes, the header is
 * first. A power cut in between leaves counts that are too high and marks that are missing, which costs space and copies but no data.
 */

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <string.h>

typedef int reference_fn(struct qcow2 *q, uint64_t cluster, uint64_t n);

/* The first references of a L1: at most *left of them. */
static int
walk_table(struct qcow2 *q, uint64_t offset, uint64_t guest, reference_fn *fn, uint64_t *left) {
        for (uint32_t i = 0; i < qcow2_l2_entries(q); i++, guest += q->cluster) {
                struct qcow2_table *t;
                struct qcow2_entry e;
                uint64_t at, n = 1;
                uint32_t bytes;
                int r = qcow2_cache_load(q, &q->l2_cache, offset, &t);

                if (r < 0)
                        return r;
                e = qcow2_entry_get(q, t, i);
                if (qcow2_entry_check(q, e, guest, /* active= */ false))
                        return qcow2_corrupt(
                                        q, "a snapshot's entry %s (0x%" G_GINT64_MODIFIER "x)",
                                        qcow2_entry_check(q, e, guest, /* active= */ false),
                                        e.word);
                at = e.word & QCOW2_OFFSET_MASK;
                if (e.word & QCOW2_COMPRESSED) {
                        qcow2_entry_packed(q, e, &at, &bytes);
                        n = ((at + bytes - 1) >> q->cluster_bits) - (at >> q->cluster_bits) + 1;
                } else if (!qcow2_entry_has_host(q, e)) {
                        continue;
                }
                for (uint64_t c = 0; c < n; c++) {
                        if (*left == 0)
                                return 0;
                        r = fn(q, (at >> q->cluster_bits) + c, 1);
                        if (r < 0)
                                return r;
                        --*left;
                }
        }
        return 0;
}

static int walk(struct qcow2 *q, const uint64_t *l1, uint32_t n, reference_fn *fn, uint64_t *left) {
        for (uint32_t i = 0; i < n; i++) {
                uint64_t offset = l1[i] & QCOW2_OFFSET_MASK;
                int r;

                if (l1[i] == 0)
                        continue;
                if (l1[i] & ~(QCOW2_OFFSET_MASK | QCOW2_COPIED) || offset & (q->cluster - 1) ||
                    offset == 0 || offset >= q->end)
                        return qcow2_corrupt(
                                        q, "entry %u of an L1 table is 0x%" G_GINT64_MODIFIER "x",
                                        i, l1[i]);
                r = walk_table(q, offset, (uint64_t) i << (q->cluster_bits + q->l2_bits), fn, left);
                if (r < 0 || *left == 0)
                        return r;
                r = fn(q, offset >> q->cluster_bits, 1);
                if (r < 0)
                        return r;
                --*left;
        }
        return 0;
}

static int verify(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        uint64_t count;
        int r = qcow2_refcount_get(q, cluster, &count);

        if (r < 0)
                return r;
        if (count == 0)
                return qcow2_corrupt(
                                q,
                                "the cluster at 0x%" G_GINT64_MODIFIER
                                "x is in use and counts as free",
                                cluster << q->cluster_bits);
        return count == q->refcount_max ? -EOVERFLOW : 0;
}

static int verify_used(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        int r = verify(q, cluster, n);

        return r == -EOVERFLOW ? 0 : r;
}

static int raise_count(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        return qcow2_refcount_add(q, cluster, 1);
}

static int lower_count(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        return qcow2_refcount_add(q, cluster, -1);
}

static int give_up(struct qcow2 *q, uint64_t cluster, uint64_t n) {
        qcow2_free_later(q, cluster, n);
        return 0;
}

static int walk_all(struct qcow2 *q, const uint64_t *l1, uint32_t n, reference_fn *fn) {
        uint64_t left = UINT64_MAX;

        return walk(q, l1, n, fn, &left);
}

/* One more for all that l1 refers to, or nothing is changed. */
static int raise_all(struct qcow2 *q, const uint64_t *l1, uint32_t n) {
        uint64_t left = UINT64_MAX, done;
        int r = walk_all(q, l1, n, verify);

        if (r == 0)
                r = walk(q, l1, n, raise_count, &left);
        done = UINT64_MAX - left;
        if (r < 0 && done > 0 && !q->corrupt && !q->broken)
                (void) walk(q, l1, n, lower_count, &done);
        return r;
}

static int mark_table(struct qcow2 *q, uint64_t offset) {
        for (uint32_t i = 0; i < qcow2_l2_entries(q); i++) {
                struct qcow2_table *t;
                struct qcow2_entry e;
                uint64_t count = 0;
                int r = qcow2_cache_load(q, &q->l2_cache, offset, &t);

                if (r < 0)
                        return r;
                e = qcow2_entry_get(q, t, i);
                if (e.word & QCOW2_COMPRESSED || !qcow2_entry_has_host(q, e))
                        continue;
                r = qcow2_refcount_get(q, (e.word & QCOW2_OFFSET_MASK) >> q->cluster_bits, &count);
                if (r < 0)
                        return r;
                if ((count == 1) == !!(e.word & QCOW2_COPIED))
                        continue;
                e.word ^= QCOW2_COPIED;
                qcow2_entry_set(q, t, i, e);
        }
        return 0;
}

/* Marks of ownership in l1, which is or will be the active one, and its tables: as the counts are. */
static int mark_owned(struct qcow2 *q, uint64_t *l1, uint32_t n, bool active) {
        for (uint32_t i = 0; i < n; i++) {
                uint64_t offset = l1[i] & QCOW2_OFFSET_MASK, count;
                int r;

                if (!offset)
                        continue;
                if (!active && qcow2_set_get(&q->kinds, offset >> q->cluster_bits) == QCOW2_NONE)
                        qcow2_set_put(&q->kinds, offset >> q->cluster_bits, QCOW2_L2);
                if (qcow2_set_get(&q->kinds, offset >> q->cluster_bits) != QCOW2_L2)
                        return qcow2_corrupt(q, "a snapshot has its L2 table on other metadata");
                r = qcow2_refcount_get(q, offset >> q->cluster_bits, &count);
                if (r == 0)
                        r = mark_table(q, offset);
                if (r < 0)
                        return r;
                if ((count == 1) == !!(l1[i] & QCOW2_COPIED))
                        continue;
                if (active)
                        qcow2_l1_set(q, i, l1[i] ^ QCOW2_COPIED);
                else
                        l1[i] ^= QCOW2_COPIED;
        }
        return 0;
}

/* A new place with these entries. */
static int
store_l1(struct qcow2 *q,
         const uint64_t *l1,
         uint32_t n,
         enum qcow2_kind kind,
         uint64_t *ret_offset) {
        g_autofree uint64_t *raw = g_new0(uint64_t, MAX(n, 1));
        int r = qcow2_alloc_table(q, MAX(qcow2_clusters(q, 8ull * n), 1), kind, ret_offset);

        for (uint32_t i = 0; i < n; i++)
                raw[i] = GUINT64_TO_BE(l1[i] & ~QCOW2_COPIED);
        return r == 0 ? image_file_write(q->img.file, *ret_offset, raw, 8ull * n) : r;
}

static guint find(const struct qcow2 *q, const char *id_or_name, GError **error) {
        for (int by_name = 0; by_name < 2; by_name++)
                for (guint i = 0; i < q->snapshots->len; i++) {
                        const struct qcow2_snapshot *s = q->snapshots->pdata[i];

                        if (strcmp(by_name ? s->pub.name : s->pub.id, id_or_name) == 0)
                                return i;
                }
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "there is no snapshot '%s'", id_or_name);
        return G_MAXUINT;
}

static bool may_change(struct qcow2 *q, const char *what, GError **error) {
        int r;

        if (q->external) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "%s a snapshot: an image with an external data file has none", what);
                return false;
        }
        r = qcow2_may_change(q);
        if (r == 0)
                r = qcow2_flush(&q->img);
        return r == 0 || hv_error_errno(error, -r, "%s a snapshot", what);
}

static bool failed(struct qcow2 *q, int r, const char *what, const char *name, GError **error) {
        if (r == -EOVERFLOW)
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "%s snapshot '%s': the image's refcounts have %u bits, which is not "
                            "enough for one more",
                            what, name, 1u << q->refcount_order);
        else
                (void) hv_error_errno(error, -r, "%s snapshot '%s'", what, name);
        return false;
}

/* The least number above all. */
static char *new_id(const struct qcow2 *q) {
        guint64 most = 0;

        for (guint i = 0; i < q->snapshots->len; i++) {
                const struct qcow2_snapshot *s = q->snapshots->pdata[i];
                guint64 n = 0;

                if (g_ascii_string_to_unsigned(s->pub.id, 10, 0, G_MAXUINT64 - 1, &n, NULL))
                        most = MAX(most, n);
        }
        return g_strdup_printf("%" G_GUINT64_FORMAT, most + 1);
}

bool qcow2_snapshot_create(struct image *img, const char *name, GError **error) {
        struct qcow2 *q = to_qcow2(img);
        struct qcow2_snapshot *s;
        uint64_t offset;
        int r;

        if (!may_change(q, "creating", error))
                return false;
        if (!*name || strlen(name) > 255 || !g_utf8_validate(name, -1, NULL) ||
            find(q, name, /* error= */ NULL) != G_MAXUINT ||
            q->snapshots->len >= QCOW2_SNAPSHOTS_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "'%s' cannot be a snapshot's name: it is there already, empty, longer "
                            "than "
                            "255 bytes or no text, or there are 65536 of them",
                            name);
                return false;
        }
        r = raise_all(q, q->l1, q->header.l1_size);
        if (r == 0)
                r = mark_owned(q, q->l1, q->header.l1_size, /* active= */ true);
        if (r == 0)
                r = store_l1(q, q->l1, q->header.l1_size, QCOW2_SNAPSHOT_L1, &offset);
        if (r < 0)
                return failed(q, r, "creating", name, error);
        s = g_new0(struct qcow2_snapshot, 1);
        s->pub = (struct image_snapshot){ .id = new_id(q),
                                          .name = g_strdup(name),
                                          .disk_size = img->size,
                                          .date_ns = g_get_real_time() * 1000 };
        s->disk_size_or_0 = img->size;
        s->l1_offset = offset;
        s->l1_size = q->header.l1_size;
        g_ptr_array_add(q->snapshots, s);
        r = qcow2_snapshots_write(q);
        image_tell_moved(img, 0, img->size);
        if (r == 0)
                return true;
        g_ptr_array_remove_index(q->snapshots, q->snapshots->len - 1);
        return failed(q, r, "creating", name, error);
}

/* The header points to the copy; what it pointed to is given up. */
static int switch_l1(struct qcow2 *q, uint64_t **l1, uint32_t n, uint64_t offset, uint64_t size) {
        g_autofree uint64_t *old = NULL;
        uint64_t old_offset = q->header.l1_offset;
        uint32_t old_n = q->header.l1_size;
        int r = qcow2_flush(&q->img);

        if (r < 0)
                return r;
        old = q->l1;
        q->l1 = g_steal_pointer(l1);
        q->header.l1_size = n;
        q->header.l1_offset = offset;
        q->header.size = q->img.size = size;
        r = qcow2_header_write_size_and_l1(q);
        if (r == 0)
                r = qcow2_sync(q);
        if (r < 0) {
                q->broken = r;
                return r;
        }
        r = walk_all(q, old, old_n, give_up);
        if (old_n > 0)
                qcow2_free_later(q, old_offset >> q->cluster_bits, qcow2_clusters(q, 8ull * old_n));
        return r == 0 ? qcow2_flush(&q->img) : r;
}

bool qcow2_snapshot_apply(struct image *img, const char *id_or_name, GError **error) {
        struct qcow2 *q = to_qcow2(img);
        g_autofree uint64_t *l1 = NULL;
        const struct qcow2_snapshot *s;
        uint64_t offset, old_size = img->size;
        uint32_t n;
        guint i;
        int r;

        if (!may_change(q, "applying", error))
                return false;
        i = find(q, id_or_name, error);
        if (i == G_MAXUINT)
                return false;
        s = q->snapshots->pdata[i];
        n = (uint32_t) MAX(s->l1_size, qcow2_l1_needed(q, s->pub.disk_size));
        r = qcow2_snapshot_read_l1(q, s, &l1);
        if (r == 0)
                r = walk_all(q, q->l1, q->header.l1_size, verify_used);
        if (r == 0)
                r = raise_all(q, l1, s->l1_size);
        if (r == 0)
                r = mark_owned(q, l1, s->l1_size, /* active= */ false);
        if (r == 0) {
                l1 = g_renew(uint64_t, l1, MAX(n, 1));
                memset(l1 + s->l1_size, 0, 8ull * (n - s->l1_size));
                r = store_l1(q, l1, n, QCOW2_L1, &offset);
        }
        for (uint32_t k = 0; r == 0 && k < n; k++)
                l1[k] &= ~QCOW2_COPIED;
        if (r == 0)
                r = switch_l1(q, &l1, n, offset, s->pub.disk_size);
        image_tell_moved(img, 0, MAX(old_size, img->size));
        return r == 0 || failed(q, r, "applying", id_or_name, error);
}

bool qcow2_snapshot_delete(struct image *img, const char *id_or_name, GError **error) {
        struct qcow2 *q = to_qcow2(img);
        g_autofree uint64_t *l1 = NULL;
        struct qcow2_snapshot *s;
        guint i;
        int r;

        if (!may_change(q, "deleting", error))
                return false;
        i = find(q, id_or_name, error);
        if (i == G_MAXUINT)
                return false;
        s = q->snapshots->pdata[i];
        r = qcow2_snapshot_read_l1(q, s, &l1);
        if (r == 0)
                r = walk_all(q, l1, s->l1_size, verify_used);
        if (r < 0)
                return failed(q, r, "deleting", id_or_name, error);
        (void) g_ptr_array_steal_index(q->snapshots, i);
        r = qcow2_snapshots_write(q);
        if (r < 0) {
                g_ptr_array_insert(q->snapshots, (gint) i, s);
                return failed(q, r, "deleting", id_or_name, error);
        }
        r = walk_all(q, l1, s->l1_size, give_up);
        qcow2_free_later(
                        q, s->l1_offset >> q->cluster_bits,
                        MAX(qcow2_clusters(q, 8ull * s->l1_size), 1));
        qcow2_snapshot_free(s);
        if (r == 0)
                r = qcow2_flush(img);
        if (r == 0)
                r = mark_owned(q, q->l1, q->header.l1_size, /* active= */ true);
        if (r == 0)
                r = qcow2_flush(img);
        image_tell_moved(img, 0, img->size);
        return r == 0 || failed(q, r, "deleting", id_or_name, error);
}
