/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changing the size of a qcow2 disk. When it grows, what comes into view must be zeros, whatever the backing image has there or an earlier, larger size left
 * behind; so that is made sure of first, and the header says the new size last. When it shrinks, the header goes first. Between the steps of
 * a change, and after any of them, the image is as good as one that has entries beyond its end: nobody reads them.
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

/* So much is done in one step where it is a matter of entries, and where zeros may have to be written. */
#define STEP_CLUSTERS 8192u
#define STEP_WRITTEN (4u << 20)

/* A table whose clusters all become nothing goes as one. */
static bool goes_at_once(const struct qcow2 *q, uint64_t at, uint64_t end) {
        uint64_t span = 1ull << (q->cluster_bits + q->l2_bits);

        return (at & (span - 1)) == 0 && end - at >= span && !qcow2_backed(q, at);
}

static uint64_t step_end(const struct qcow2 *q, uint64_t at, uint64_t end, bool cut) {
        uint64_t span = 1ull << (q->cluster_bits + q->l2_bits), size = q->cluster;

        if (cut || goes_at_once(q, at, end))
                size = span;
        else if (q->version < 3 || q->raw_external)
                size = MAX(size, STEP_WRITTEN);
        else
                size = MIN(span, size * STEP_CLUSTERS);
        at -= at % size;
        return end - at > size ? at + size : end;
}

static int begin_grow(struct qcow2 *q, struct image_resize *change) {
        int r = qcow2_l1_grow(q, qcow2_l1_needed(q, change->size));

        if (r == 0 && q->raw_external && q->data && q->data->size < change->size)
                r = image_file_truncate(q->data, change->size);
        change->at = q->img.size;
        return r;
}

/* Beyond the end that it has until all is done. */
static int grow(struct qcow2 *q, struct image_resize *change) {
        uint64_t old = q->img.size, end = step_end(q, change->at, change->size, /* cut= */ false);
        int r;

        q->img.size = change->size;
        r = image_zero(&q->img, change->at, end - change->at, /* unmap= */ true);
        change->at = end;
        if (r == 0 && end == change->size) {
                r = write_size(q, change->size);
                change->done = true;
        }
        if (r < 0)
                q->header.size = old;
        if (r < 0 || !change->done)
                q->img.size = old;
        return r;
}

static int begin_shrink(struct qcow2 *q, struct image_resize *change) {
        uint64_t old = q->img.size, mask = q->cluster - 1;
        int r = write_size(q, change->size);

        if (r < 0)
                q->header.size = old;
        else
                q->img.size = change->size;
        change->at = (change->size + mask) & ~mask;
        return r;
}

static int shrink(struct qcow2 *q, struct image_resize *change) {
        uint64_t all = (uint64_t) q->header.l1_size << (q->cluster_bits + q->l2_bits);
        int r = 0;

        if (change->at < all) {
                uint64_t end = step_end(q, change->at, all, /* cut= */ true);

                r = qcow2_cut(q, change->at, end);
                change->at = end;
                return r;
        }
        r = qcow2_flush(&q->img);
        if (r == 0 && q->raw_external && q->data)
                r = image_file_truncate(q->data, change->size);
        change->done = true;
        return r;
}

static int begin(struct qcow2 *q, struct image_resize *change, const char **ret_why) {
        int r = qcow2_may_change(q);

        change->size = (change->size + 511) & ~511ull;
        if (q->version < 3 && q->header.n_snapshots > 0)
                *ret_why = "it is of version 2 and has snapshots, which would not know their size";
        else if (q->header.backing_name && !q->img.backing && change->size > q->img.size)
                *ret_why = "its backing file is not open";
        else if (qcow2_l1_needed(q, change->size) > QCOW2_L1_BYTES_MAX / 8 ||
                 change->size > INT64_MAX - 511)
                *ret_why = "its clusters are too small for that";
        if (*ret_why || r < 0)
                return r < 0 ? r : -EINVAL;
        change->begun = true;
        change->shrinks = change->size < q->img.size;
        change->done = change->size == q->img.size;
        if (change->done)
                return 0;
        return change->shrinks ? begin_shrink(q, change) : begin_grow(q, change);
}

bool qcow2_resize_step(struct image *img, struct image_resize *change, GError **error) {
        struct qcow2 *q = to_qcow2(img);
        const char *why = NULL;
        int r = 0;

        if (!change->begun)
                r = begin(q, change, &why);
        else if (!change->done)
                r = change->shrinks ? shrink(q, change) : grow(q, change);
        if (why) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "the qcow2 image cannot get a size of %" G_GUINT64_FORMAT " bytes: %s",
                            change->size, why);
                return false;
        }
        return r == 0 || hv_error_errno(error, -r, "changing the size of a qcow2 image");
}

bool qcow2_resize(struct image *img, uint64_t size, GError **error) {
        struct image_resize change = { .size = size };

        while (!change.done)
                if (!qcow2_resize_step(img, &change, error))
                        return false;
        return true;
}
