/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compressed clusters, written. Their bytes follow each other without gaps as far as the host's clusters do, so a cluster may hold
 * several and one may lie in two; each that a cluster has a byte of counts once in its reference count. A place is never written
 * twice: what is given up is not used again before the whole cluster is free.
 *
 * What others can read: raw deflate with a window of 4 KiB, or one zstd frame.
 */

#include "devices/block/image/qcow2.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>

#define DEFLATE_WINDOW_BITS 12

/* Bytes in q->packing, less than a cluster; 0: not possible. */
static uint32_t pack_zlib(struct qcow2 *q, const void *buf) {
        z_stream s = { .next_in = (void *) buf,
                       .avail_in = q->cluster,
                       .next_out = q->packing,
                       .avail_out = q->cluster - 1 };
        int r;

        if (deflateInit2(&s, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW_BITS, MAX_MEM_LEVEL,
                         Z_DEFAULT_STRATEGY) != Z_OK)
                return 0;
        r = deflate(&s, Z_FINISH);
        (void) deflateEnd(&s);
        return r == Z_STREAM_END ? q->cluster - 1 - s.avail_out : 0;
}

static uint32_t pack_zstd(struct qcow2 *q, const void *buf) {
        size_t n = ZSTD_compress(q->packing, q->cluster - 1, buf, q->cluster, ZSTD_CLEVEL_DEFAULT);

        return ZSTD_isError(n) ? 0 : (uint32_t) n;
}

static uint32_t pack(struct qcow2 *q, const void *buf) {
        if (!q->packing)
                q->packing = g_malloc(q->cluster);
        return q->header.compression == QCOW2_ZSTD ? pack_zstd(q, buf) : pack_zlib(q, buf);
}

/* Another reference to the cluster that has room left. False: it cannot have more, or has none. */
static int share(struct qcow2 *q, bool *ret_shared) {
        int r = qcow2_refcount_add(q, q->pack_at >> q->cluster_bits, 1);

        *ret_shared = r == 0;
        return r == -EOVERFLOW ? 0 : r;
}

/* A place for n bytes, which is referred to already. */
static int find_place(struct qcow2 *q, uint32_t n, uint64_t *ret_at) {
        uint64_t left = q->pack_at ? q->cluster - (q->pack_at & (q->cluster - 1)) : 0, cluster, got;
        bool shared = false;
        int r = 0;

        if (left >= n)
                r = share(q, &shared);
        if (r == 0 && !shared) {
                r = qcow2_alloc(q, 1, &cluster, &got);
                if (r < 0)
                        return r;
                q->virgin = MAX(q->virgin, (cluster + 1) << q->cluster_bits);
                if (left > 0 && left < n && cluster == (q->pack_at >> q->cluster_bits) + 1)
                        r = share(q, &shared);
                if (r < 0)
                        qcow2_free_later(q, cluster, 1);
                if (!shared)
                        q->pack_at = cluster << q->cluster_bits;
        }
        if (r < 0)
                return r;
        *ret_at = q->pack_at;
        q->pack_at += n;
        if ((q->pack_at & (q->cluster - 1)) == 0)
                q->pack_at = 0;
        return 0;
}

static int enter(struct qcow2 *q, uint64_t guest, struct qcow2_entry e) {
        uint32_t index = (uint32_t) (guest >> q->cluster_bits) & (qcow2_l2_entries(q) - 1);
        struct qcow2_table *t;
        struct qcow2_entry old;
        const char *why;
        int r = qcow2_l2_own(q, guest >> (q->cluster_bits + q->l2_bits), &t);

        if (r < 0)
                return r;
        old = qcow2_entry_get(q, t, index);
        why = qcow2_entry_check(q, old, guest, /* active= */ true);
        if (why)
                return qcow2_corrupt(
                                q,
                                "the entry of the disk's cluster at 0x%" G_GINT64_MODIFIER "x %s",
                                guest, why);
        qcow2_entry_set(q, t, index, e);
        qcow2_entry_drop(q, old, guest);
        return 0;
}

int qcow2_write_packed(struct image *img, uint64_t offset, const void *buf) {
        struct qcow2 *q = to_qcow2(img);
        unsigned x = 62 - (q->cluster_bits - 8);
        struct qcow2_entry e = { .word = QCOW2_COMPRESSED };
        struct qcow2_table *t;
        uint32_t n;
        uint64_t at = 0;
        int r = qcow2_may_change(q);

        n = r == 0 ? pack(q, buf) : 0;
        if (n == 0)
                return r;
        /* First the table, so that it does not come between two clusters of bytes. */
        r = qcow2_l2_own(q, offset >> (q->cluster_bits + q->l2_bits), &t);
        if (r == 0)
                r = find_place(q, n, &at);
        if (r < 0)
                return r;
        e.word |= ((at + n - 1) / 512 - at / 512) << x | at;
        r = at >> x ? -EFBIG : image_file_write(q->img.file, at, q->packing, n);
        if (r == 0)
                r = enter(q, offset, e);
        if (r < 0) {
                qcow2_free_later(
                                q, at >> q->cluster_bits,
                                ((at + n - 1) >> q->cluster_bits) - (at >> q->cluster_bits) + 1);
                return r;
        }
        image_tell_moved(img, offset, MIN(q->cluster, img->size - offset));
        return 1;
}
