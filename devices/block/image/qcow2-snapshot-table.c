/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of a qcow2 image's snapshots: read whole when the image is opened, and written whole to a new place when it changes, so the header points
 * to the old one or to the new one. Fields that are not known are kept.
 */

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <string.h>

#define FIXED 40u
#define KNOWN_EXTRA 16u

static uint64_t get(const uint8_t *p, unsigned bytes) {
        uint64_t n = 0;

        for (unsigned i = 0; i < bytes; i++)
                n = n << 8 | p[i];
        return n;
}

static void put(GByteArray *a, uint64_t n, unsigned bytes) {
        for (unsigned i = bytes; i-- > 0;) {
                uint8_t byte = (uint8_t) (n >> (8 * i));

                g_byte_array_append(a, &byte, 1);
        }
}

void qcow2_snapshot_free(struct qcow2_snapshot *s) {
        if (!s)
                return;
        g_free(s->pub.id);
        g_free(s->pub.name);
        g_clear_pointer(&s->extra, g_bytes_unref);
        g_free(s);
}

static bool wrong(GError **error, unsigned index, const char *what) {
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "snapshot %u of the qcow2 image %s", index,
                    what);
        return false;
}

/* A name as others can show it. */
static char *text(const uint8_t *p, size_t n) {
        return g_utf8_make_valid((const char *) p, (gssize) strnlen((const char *) p, n));
}

/* One entry, of which p has n bytes at least as far as checked. */
static struct qcow2_snapshot *parse(const struct qcow2 *q, const uint8_t *p, uint32_t extra) {
        struct qcow2_snapshot *s = g_new0(struct qcow2_snapshot, 1);
        size_t n_id = (size_t) get(p + 12, 2), n_name = (size_t) get(p + 14, 2);

        s->l1_offset = get(p, 8);
        s->l1_size = (uint32_t) get(p + 8, 4);
        s->pub.date_ns = (int64_t) get(p + 16, 4) * 1000000000 + (int64_t) get(p + 20, 4);
        s->pub.vm_clock_ns = get(p + 24, 8);
        s->pub.vm_state_size = extra >= 8 ? get(p + FIXED, 8) : get(p + 32, 4);
        s->disk_size_or_0 = extra >= 16 ? get(p + FIXED + 8, 8) : 0;
        s->pub.disk_size = s->disk_size_or_0 ? s->disk_size_or_0 : q->header.size;
        if (extra > KNOWN_EXTRA)
                s->extra = g_bytes_new(p + FIXED + KNOWN_EXTRA, extra - KNOWN_EXTRA);
        s->pub.id = text(p + FIXED + extra, n_id);
        s->pub.name = text(p + FIXED + extra + n_id, n_name);
        return s;
}

static bool
check(const struct qcow2 *q, const struct qcow2_snapshot *s, unsigned i, GError **error) {
        uint64_t bytes = 8ull * s->l1_size;

        if (bytes > QCOW2_L1_BYTES_MAX)
                return wrong(error, i, "has an L1 table of more than 32 MiB");
        if (s->l1_size > 0 &&
            (s->l1_offset == 0 || s->l1_offset & (q->cluster - 1) || s->l1_offset >= q->end ||
             bytes > q->end - s->l1_offset || s->l1_offset > QCOW2_OFFSET_MASK))
                return wrong(error, i,
                             "has an L1 table that is not aligned, or not within the file");
        if (s->pub.disk_size > INT64_MAX - 511 || s->pub.disk_size % 512 ||
            qcow2_l1_needed(q, s->pub.disk_size) > QCOW2_L1_BYTES_MAX / 8)
                return wrong(error, i, "has a disk size that cannot be");
        return true;
}

bool qcow2_snapshots_read(struct qcow2 *q, GError **error) {
        uint64_t at = q->header.snapshots_offset, total = 0;

        for (uint32_t i = 0; i < q->header.n_snapshots; i++) {
                g_autofree uint8_t *entry = NULL;
                uint8_t fixed[FIXED];
                struct qcow2_snapshot *s;
                uint32_t extra, size;
                int r = image_file_read(q->img.file, at, fixed, sizeof(fixed));

                extra = (uint32_t) get(fixed + 36, 4);
                if (r == 0 && extra > QCOW2_SNAPSHOT_EXTRA_MAX)
                        return wrong(error, i, "has more extra data than 1024 bytes");
                size = FIXED + extra + (uint32_t) get(fixed + 12, 2) +
                       (uint32_t) get(fixed + 14, 2);
                entry = g_malloc(size + 1);
                if (r == 0)
                        r = image_file_read(q->img.file, at, entry, size);
                if (r < 0)
                        return hv_error_errno(error, -r, "reading the snapshots of a qcow2 image");
                s = parse(q, entry, extra);
                g_ptr_array_add(q->snapshots, s);
                if (!check(q, s, i, error))
                        return false;
                total += 8ull * s->l1_size;
                at += (size + 7) & ~7u;
                if (total > QCOW2_SNAPSHOT_L1_TOTAL_MAX ||
                    at - q->header.snapshots_offset > QCOW2_SNAPSHOT_TABLE_MAX || at > q->end)
                        return wrong(error, i,
                                     "makes the tables larger than they may be, or than "
                                     "the file is");
        }
        q->snapshots_bytes = at - q->header.snapshots_offset;
        return true;
}

static void append(GByteArray *a, const struct qcow2_snapshot *s) {
        gsize n_extra = 0, n_id = strlen(s->pub.id), n_name = strlen(s->pub.name);
        const uint8_t *extra = s->extra ? g_bytes_get_data(s->extra, &n_extra) : NULL;

        put(a, s->l1_offset, 8);
        put(a, s->l1_size, 4);
        put(a, n_id, 2);
        put(a, n_name, 2);
        put(a, (uint64_t) (s->pub.date_ns / 1000000000), 4);
        put(a, (uint64_t) (s->pub.date_ns % 1000000000), 4);
        put(a, s->pub.vm_clock_ns, 8);
        put(a, MIN(s->pub.vm_state_size, UINT32_MAX), 4);
        put(a, KNOWN_EXTRA + n_extra, 4);
        put(a, s->pub.vm_state_size, 8);
        put(a, s->pub.disk_size, 8);
        if (extra)
                g_byte_array_append(a, extra, (guint) n_extra);
        g_byte_array_append(a, (const uint8_t *) s->pub.id, (guint) n_id);
        g_byte_array_append(a, (const uint8_t *) s->pub.name, (guint) n_name);
        while (a->len % 8)
                put(a, 0, 1);
}

int qcow2_snapshots_write(struct qcow2 *q) {
        g_autoptr(GByteArray) table = g_byte_array_new();
        uint64_t old_offset = q->header.snapshots_offset, old_bytes = q->snapshots_bytes,
                 offset = 0;
        uint32_t old_n = q->header.n_snapshots;
        int r = 0;

        for (guint i = 0; i < q->snapshots->len; i++)
                append(table, q->snapshots->pdata[i]);
        if (table->len > QCOW2_SNAPSHOT_TABLE_MAX)
                return -EFBIG;
        if (table->len > 0)
                r = qcow2_alloc_table(q, qcow2_clusters(q, table->len), QCOW2_SNAPSHOTS, &offset);
        if (r == 0 && table->len > 0)
                r = image_file_write(q->img.file, offset, table->data, table->len);
        if (r == 0)
                r = qcow2_flush(&q->img);
        if (r < 0)
                return r;
        q->header.n_snapshots = q->snapshots->len;
        q->header.snapshots_offset = offset;
        q->snapshots_bytes = table->len;
        r = qcow2_header_write_snapshots(q);
        if (r == 0)
                r = qcow2_sync(q);
        /* Which of the two tables the file has is not known then. */
        if (r < 0)
                q->broken = r;
        else if (old_n > 0)
                qcow2_free_later(q, old_offset >> q->cluster_bits, qcow2_clusters(q, old_bytes));
        return r;
}

int qcow2_snapshot_read_l1(struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t **ret) {
        g_autofree uint64_t *l1 = g_new0(uint64_t, MAX(s->l1_size, 1));
        int r = image_file_read(q->img.file, s->l1_offset, l1, 8ull * s->l1_size);

        if (r < 0)
                return r;
        for (uint32_t i = 0; i < s->l1_size; i++)
                l1[i] = GUINT64_FROM_BE(l1[i]);
        *ret = g_steal_pointer(&l1);
        return 0;
}

const GPtrArray *qcow2_snapshots(struct image *img) {
        /* The public part is each one's first. */
        return to_qcow2(img)->snapshots;
}
