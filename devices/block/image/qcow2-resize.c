/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changing the size of a qcow2 disk. When it grows, what comes into view must be zeros, whatever the backing image has there or an earlier, larger size left
 * behind; so that is made sure of first, and the header says the new size last. When it shrinks, the header goes first.
 */

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <string.h>

int qcow2_l1_grow(struct qcow2 *q, uint64_t n) {
        uint64_t old_offset = q->header.l1_offset, old = q->header.l1_size, offset;
        uint64_t *l1;
        int r;

        if (n <= old)
                return 0;
        if (n > QCOW2_L1_BYTES_MAX / 8)
                return -EFBIG;
        /* A table that fits the clusters it has need not move; but entries behind its end may hold anything. */
        r = qcow2_alloc_table(q, qcow2_clusters(q, 8 * n), QCOW2_L1, &offset);
        if (r < 0)
                return r;
        l1 = g_new0(uint64_t, n);
        memcpy(l1, q->l1, 8 * old);
        g_free(q->l1);
        q->l1 = l1;
        q->l1_moved = true;
        q->header.l1_size = (uint32_t) n;
        q->header.l1_offset = offset;
        if (old > 0)
                qcow2_free_later(q, old_offset >> q->cluster_bits, qcow2_clusters(q, 8 * old));
        return 0;
}

static int write_size(struct qcow2 *q, uint64_t size) {
        int r = qcow2_flush(&q->img);

        q->header.size = size;
        if (r == 0)
                r = qcow2_header_write_size_and_l1(q);
        return r == 0 ? qcow2_sync(q) : r;
}

static int grow(struct qcow2 *q, uint64_t size) {
        uint64_t old = q->img.size;
        int r = qcow2_l1_grow(q, qcow2_l1_needed(q, size));

        if (r == 0 && q->raw_external && q->data && q->data->size < size)
                r = image_file_truncate(q->data, size);
        if (r < 0)
                return r;
        q->img.size = size;
        r = image_zero(&q->img, old, size - old, /* unmap= */ true);
        if (r == 0)
                r = write_size(q, size);
        if (r < 0)
                q->img.size = q->header.size = old;
        return r;
}

static int shrink(struct qcow2 *q, uint64_t size) {
        uint64_t old = q->img.size, mask = q->cluster - 1;
        int r = write_size(q, size);

        if (r < 0) {
                q->header.size = old;
                return r;
        }
        q->img.size = size;
        r = qcow2_cut(q, (size + mask) & ~mask);
        if (r == 0)
                r = qcow2_flush(&q->img);
        if (r == 0 && q->raw_external && q->data)
                r = image_file_truncate(q->data, size);
        return r;
}

bool qcow2_resize(struct image *img, uint64_t size, GError **error) {
        struct qcow2 *q = to_qcow2(img);
        const char *why = NULL;
        int r = qcow2_may_change(q);

        size = (size + 511) & ~511ull;
        if (q->version < 3 && q->header.n_snapshots > 0)
                why = "it is of version 2 and has snapshots, which would not know their size";
        else if (q->header.backing_name && !img->backing && size > img->size)
                why = "its backing file is not open";
        else if (qcow2_l1_needed(q, size) > QCOW2_L1_BYTES_MAX / 8 || size > INT64_MAX - 511)
                why = "its clusters are too small for that";
        if (why) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "the qcow2 image cannot get a size of %" G_GUINT64_FORMAT " bytes: %s",
                            size, why);
                return false;
        }
        if (r == 0 && size > img->size)
                r = grow(q, size);
        else if (r == 0 && size < img->size)
                r = shrink(q, size);
        if (r < 0)
                return hv_error_errno(error, -r, "changing the size of a qcow2 image");
        return true;
}
