/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compressed clusters, read. The last one that was unpacked is kept, since a cluster is mostly read in several pieces. What comes out is a whole cluster
 * or an error: both libraries are given exactly that much room.
 */

#include "devices/block/image/qcow2.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static int unpack_zlib(struct qcow2 *q, uint32_t bytes) {
        z_stream s = { .next_in = q->packed,
                       .avail_in = bytes,
                       .next_out = q->unpacked,
                       .avail_out = q->cluster };
        int r;

        if (inflateInit2(&s, -MAX_WBITS) != Z_OK)
                return -ENOMEM;
        r = inflate(&s, Z_FINISH);
        (void) inflateEnd(&s);
        /* The sectors may hold more than this cluster's bytes: others begin there. */
        return (r == Z_STREAM_END || r == Z_BUF_ERROR) && s.avail_out == 0 ? 0 : -EIO;
}

static int unpack_zstd(struct qcow2 *q, uint32_t bytes) {
        ZSTD_outBuffer out = { q->unpacked, q->cluster, 0 };
        ZSTD_inBuffer in = { q->packed, bytes, 0 };
        ZSTD_DCtx *context = ZSTD_createDCtx();
        size_t r = 1;

        if (!context)
                return -ENOMEM;
        /* A frame may ask for a window as large as it likes; ours need none beyond a cluster. */
        (void) ZSTD_DCtx_setParameter(
                        context, ZSTD_d_windowLogMax, (int) QCOW2_CLUSTER_BITS_MAX + 3);
        while (out.pos < out.size) {
                size_t in_before = in.pos, out_before = out.pos;

                r = ZSTD_decompressStream(context, &out, &in);
                if (ZSTD_isError(r) || (in.pos == in_before && out.pos == out_before))
                        break;
        }
        (void) ZSTD_freeDCtx(context);
        return !ZSTD_isError(r) && out.pos == out.size ? 0 : -EIO;
}

static int unpack(struct qcow2 *q, struct qcow2_entry e) {
        uint64_t offset;
        uint32_t bytes;
        int r;

        if (q->unpacked_entry == e.word)
                return 0;
        if (!q->packed) {
                q->packed = g_malloc(2 * (size_t) q->cluster + 512);
                q->unpacked = g_malloc(q->cluster);
        }
        q->unpacked_entry = 0;
        qcow2_entry_packed(q, e, &offset, &bytes);
        r = image_file_read(q->img.file, offset, q->packed, bytes);
        if (r < 0)
                return r;
        r = q->header.compression == QCOW2_ZSTD ? unpack_zstd(q, bytes) : unpack_zlib(q, bytes);
        if (r == 0)
                q->unpacked_entry = e.word;
        return r;
}

int qcow2_read_packed(struct image *img, uint64_t offset, void *buf, size_t len) {
        struct qcow2 *q = to_qcow2(img);

        while (len > 0) {
                size_t skip = (size_t) (offset & (q->cluster - 1)),
                       part = MIN(len, q->cluster - skip);
                struct qcow2_table *t;
                struct qcow2_entry e;
                int r = qcow2_l2_load(q, offset >> (q->cluster_bits + q->l2_bits), &t);

                if (r < 0 || !t)
                        return r < 0 ? r : -EINVAL;
                e = qcow2_entry_get(
                                q, t,
                                (uint32_t) (offset >> q->cluster_bits) & (qcow2_l2_entries(q) - 1));
                if (!(e.word & QCOW2_COMPRESSED) || qcow2_entry_check(q, e, 0, true))
                        return -EINVAL;
                r = unpack(q, e);
                if (r < 0)
                        return r;
                memcpy(buf, q->unpacked + skip, part);
                buf = (char *) buf + part;
                offset += part;
                len -= part;
        }
        return 0;
}
