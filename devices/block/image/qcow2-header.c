/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The header of a qcow2 file. It is read once, checked whole, and after that changed field by field in place: every field that changes lies in the
 * file's first sector, so a change is there or is not, and what we do not know (extensions, later fields) stays as it is.
 */

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <string.h>

#define FEATURE_ENTRY 48u

static uint32_t get32(const uint8_t *p) {
        uint32_t n;

        memcpy(&n, p, sizeof(n));
        return GUINT32_FROM_BE(n);
}

static uint64_t get64(const uint8_t *p) {
        uint64_t n;

        memcpy(&n, p, sizeof(n));
        return GUINT64_FROM_BE(n);
}

static bool wrong(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static bool wrong(GError **error, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "the qcow2 header's %s", text);
        return false;
}

void qcow2_header_clear(struct qcow2_header *h) {
        g_clear_pointer(&h->backing_name, g_free);
        g_clear_pointer(&h->backing_format, g_free);
        g_clear_pointer(&h->data_name, g_free);
}

/* A file's bytes as a string; NULL if they are none. */
static char *text(const uint8_t *p, size_t n) {
        if (n == 0 || memchr(p, 0, n) || !g_utf8_validate((const char *) p, (gssize) n, NULL))
                return NULL;
        return g_strndup((const char *) p, n);
}

static char *feature_name(const uint8_t *table, uint32_t len, unsigned bit) {
        static const char *const known[] = { "dirty", "corrupt", "external data file",
                                             "compression type", "extended L2 entries" };

        for (; table && len >= FEATURE_ENTRY; table += FEATURE_ENTRY, len -= FEATURE_ENTRY)
                if (table[0] == 0 && table[1] == bit) {
                        const char *name = (const char *) table + 2;
                        size_t n = strnlen(name, FEATURE_ENTRY - 2);

                        if (n > 0 && g_utf8_validate(name, (gssize) n, NULL))
                                return g_strdup_printf("bit %u (%.*s)", bit, (int) n, name);
                }
        return bit < G_N_ELEMENTS(known) ? g_strdup_printf("bit %u (%s)", bit, known[bit])
                                         : g_strdup_printf("bit %u", bit);
}

static bool refuse_unknown(uint64_t bits, const uint8_t *names, uint32_t len, GError **error) {
        g_autofree char *name = NULL;

        if (!bits)
                return true;
        name = feature_name(names, len, (unsigned) __builtin_ctzll(bits));
        g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                    "the qcow2 image needs an incompatible feature that is not known here: %s",
                    name);
        return false;
}

static bool
read_bitmaps(struct qcow2_header *h, const uint8_t *data, uint32_t len, GError **error) {
        if (len < 24)
                return wrong(error, "bitmaps extension is cut short");
        h->n_bitmaps = get32(data);
        h->bitmaps_size = get64(data + 8);
        h->bitmaps_offset = get64(data + 16);
        return true;
}

/* One extension. */
static bool
take(struct qcow2_header *h, uint32_t type, const uint8_t *data, uint32_t len, GError **error) {
        char **name = type == (uint32_t) QCOW2_EXT_BACKING_FORMAT ? &h->backing_format
                      : type == QCOW2_EXT_DATA_FILE               ? &h->data_name
                                                                  : NULL;

        if (type == QCOW2_EXT_BITMAPS)
                return read_bitmaps(h, data, len, error);
        if (!name)
                return true;
        if (*name || len > QCOW2_NAME_MAX)
                return wrong(error, "extension 0x%08x is there twice, or too long", type);
        *name = text(data, len);
        if (!*name && len > 0)
                return wrong(error, "extension 0x%08x is no text", type);
        return true;
}

static bool
read_extensions(struct qcow2_header *h, const uint8_t *head, uint32_t end, GError **error) {
        const uint8_t *names = NULL;
        uint32_t at = h->length, n_names = 0;

        while (end - at >= 8) {
                uint32_t type = get32(head + at), len = get32(head + at + 4);

                at += 8;
                if (type == QCOW2_EXT_END)
                        break;
                if (len > end - at)
                        return wrong(error, "extension 0x%08x does not fit the first cluster",
                                     type);
                if (type == QCOW2_EXT_FEATURE_NAMES) {
                        names = head + at;
                        n_names = len;
                }
                if (!take(h, type, head + at, len, error))
                        return false;
                at += MIN((len + 7) & ~7u, end - at);
        }
        return refuse_unknown(
                        h->incompatible & ~(uint64_t) QCOW2_INCOMPAT_KNOWN, names, n_names, error);
}

static bool read_v3(struct qcow2_header *h, const uint8_t *head, uint32_t n, GError **error) {
        if (n < QCOW2_HEADER_V3)
                return wrong(error, "end is missing");
        h->incompatible = get64(head + QCOW2_AT_INCOMPATIBLE);
        h->compatible = get64(head + 80);
        h->autoclear = get64(head + QCOW2_AT_AUTOCLEAR);
        h->refcount_order = get32(head + 96);
        h->length = get32(head + 100);
        if (h->length < QCOW2_HEADER_V3 || h->length % 8 || h->length > n)
                return wrong(error, "header_length is %u", h->length);
        if (h->length > QCOW2_HEADER_V3)
                h->compression = head[104];
        if (!!(h->incompatible & QCOW2_INCOMPAT_COMPRESSION) != !!h->compression)
                return wrong(error, "compression_type is %u, and incompatible bit 3 says otherwise",
                             h->compression);
        if (h->compression >= QCOW2_COMPRESSION_MAX)
                return wrong(error, "compression_type is %u, which is not known", h->compression);
        return true;
}

/* The fields that both versions have. */
static bool read_fields(struct qcow2_header *h, const uint8_t *head, GError **error) {
        h->version = get32(head + 4);
        h->cluster_bits = get32(head + 20);
        h->size = get64(head + QCOW2_AT_SIZE);
        h->crypt = get32(head + 32);
        h->l1_size = get32(head + QCOW2_AT_L1);
        h->l1_offset = get64(head + QCOW2_AT_L1 + 4);
        h->reftable_offset = get64(head + QCOW2_AT_REFTABLE);
        h->reftable_clusters = get32(head + QCOW2_AT_REFTABLE + 8);
        h->n_snapshots = get32(head + QCOW2_AT_SNAPSHOTS);
        h->snapshots_offset = get64(head + QCOW2_AT_SNAPSHOTS + 4);
        h->refcount_order = 4;
        h->length = QCOW2_HEADER_V2;
        if (h->version != 2 && h->version != 3)
                return wrong(error, "version is %u, neither 2 nor 3", h->version);
        if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
                return wrong(error, "cluster_bits is %u, not within 9..21", h->cluster_bits);
        if (h->size > INT64_MAX - 511)
                return wrong(error, "size is more than a file can be");
        return true;
}

/* Whether [offset, offset + bytes) may be a table of the file. */
static bool
is_table(const struct qcow2_header *h, uint64_t file_size, uint64_t offset, uint64_t bytes) {
        return offset > 0 && (offset & ((1ull << h->cluster_bits) - 1)) == 0 &&
               offset < file_size && bytes <= file_size - offset && offset <= QCOW2_OFFSET_MASK;
}

static bool check_tables(const struct qcow2_header *h, uint64_t file_size, GError **error) {
        uint64_t l1_bytes = 8ull * h->l1_size,
                 table_bytes = (uint64_t) h->reftable_clusters << h->cluster_bits,
                 up = (1ull << h->cluster_bits) - 1, size = (file_size + up) & ~up;
        unsigned l2_bits = h->cluster_bits - 3 -
                           (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 1 : 0),
                 shift = h->cluster_bits + l2_bits;

        if (l1_bytes > QCOW2_L1_BYTES_MAX)
                return wrong(error, "l1_size is %u, more than 32 MiB", h->l1_size);
        if (h->l1_size > 0 && !is_table(h, size, h->l1_offset, l1_bytes))
                return wrong(error, "l1_table_offset is not aligned, or not within the file");
        if ((h->size >> shift) + ((h->size & ((1ull << shift) - 1)) != 0) > h->l1_size)
                return wrong(error, "l1_size is %u, too small for the disk's size", h->l1_size);
        if (table_bytes > QCOW2_REFTABLE_BYTES_MAX || table_bytes == 0)
                return wrong(error, "refcount_table_clusters is %u, nothing or more than 8 MiB",
                             h->reftable_clusters);
        if (!is_table(h, size, h->reftable_offset, table_bytes))
                return wrong(error, "refcount_table_offset is not aligned, or not within the file");
        if (h->n_snapshots > QCOW2_SNAPSHOTS_MAX)
                return wrong(error, "nb_snapshots is %u, more than 65536", h->n_snapshots);
        if (h->n_snapshots > 0 && !is_table(h, size, h->snapshots_offset, 40ull * h->n_snapshots))
                return wrong(error, "snapshots_offset is not aligned, or not within the file");
        return true;
}

static bool check_features(const struct qcow2_header *h, GError **error) {
        if (h->crypt != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "the qcow2 image is encrypted (%s), which is not supported",
                            h->crypt == 1   ? "AES"
                            : h->crypt == 2 ? "LUKS"
                                            : "in an unknown way");
                return false;
        }
        if (h->refcount_order > 6)
                return wrong(error, "refcount_order is %u, more than 6", h->refcount_order);
        if (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 &&
            h->cluster_bits < QCOW2_EXTENDED_BITS_MIN)
                return wrong(error, "cluster_bits is %u, too few for extended L2 entries",
                             h->cluster_bits);
        if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE && h->n_snapshots > 0)
                return wrong(error, "data file excludes snapshots, and it has both");
        if (h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA &&
            (!(h->incompatible & QCOW2_INCOMPAT_DATA_FILE) || h->backing_name))
                return wrong(error, "raw data file bit is set without a data file, or with a "
                                    "backing file");
        return true;
}

static bool read_backing(struct qcow2_header *h, const uint8_t *head, uint32_t n, GError **error) {
        uint64_t offset = get64(head + 8);
        uint32_t len = get32(head + 16);

        if (offset == 0)
                return true;
        if (len > QCOW2_NAME_MAX)
                return wrong(error, "backing_file_size is %u, more than 1023", len);
        if (offset < h->length || offset > n || len > n - offset)
                return wrong(error, "backing_file_offset is not within the first cluster");
        if (len == 0)
                return true;
        h->backing_name = text(head + offset, len);
        return h->backing_name || wrong(error, "name of the backing file is no text");
}

bool qcow2_header_read(struct image_file *file, struct qcow2_header *ret, GError **error) {
        static const uint8_t magic[] = { 'Q', 'F', 'I', 0xfb };
        struct qcow2_header h = {};
        g_autofree uint8_t *head = NULL;
        uint8_t first[QCOW2_HEADER_V2];
        uint32_t n;
        int r = image_file_read(file, 0, first, sizeof(first));
        bool ok;

        if (r < 0)
                return hv_error_errno(error, -r, "reading a qcow2 header");
        if (file->size < sizeof(first) || memcmp(first, magic, sizeof(magic)) != 0)
                return wrong(error, "magic bytes are missing");
        if (!read_fields(&h, first, error))
                return false;

        n = (uint32_t) MIN(file->size, 1ull << h.cluster_bits);
        head = g_malloc0(1ull << h.cluster_bits);
        r = image_file_read(file, 0, head, n);
        if (r < 0)
                return hv_error_errno(error, -r, "reading a qcow2 header");
        ok = (h.version < 3 || read_v3(&h, head, n, error)) &&
             read_extensions(&h, head, n, error) && read_backing(&h, head, n, error) &&
             check_features(&h, error) && check_tables(&h, file->size, error);
        if (ok)
                *ret = h;
        else
                qcow2_header_clear(&h);
        return ok;
}

static void put32(uint8_t *p, uint32_t n) {
        n = GUINT32_TO_BE(n);
        memcpy(p, &n, sizeof(n));
}

static void put64(uint8_t *p, uint64_t n) {
        n = GUINT64_TO_BE(n);
        memcpy(p, &n, sizeof(n));
}

int qcow2_header_write_size_and_l1(struct qcow2 *q) {
        uint8_t fields[24];

        put64(fields, q->header.size);
        put32(fields + 8, q->header.crypt);
        put32(fields + 12, q->header.l1_size);
        put64(fields + 16, q->header.l1_offset);
        return image_file_write(q->img.file, QCOW2_AT_SIZE, fields, sizeof(fields));
}

int qcow2_header_write_reftable(struct qcow2 *q) {
        uint8_t fields[12];

        put64(fields, q->header.reftable_offset);
        put32(fields + 8, q->header.reftable_clusters);
        return image_file_write(q->img.file, QCOW2_AT_REFTABLE, fields, sizeof(fields));
}

int qcow2_header_write_snapshots(struct qcow2 *q) {
        uint8_t fields[12];

        put32(fields, q->header.n_snapshots);
        put64(fields + 4, q->header.snapshots_offset);
        return image_file_write(q->img.file, QCOW2_AT_SNAPSHOTS, fields, sizeof(fields));
}

int qcow2_header_write_features(struct qcow2 *q) {
        uint8_t fields[24];

        if (q->version < 3)
                return 0;
        put64(fields, q->header.incompatible);
        put64(fields + 8, q->header.compatible);
        put64(fields + 16, q->header.autoclear);
        return image_file_write(q->img.file, QCOW2_AT_INCOMPATIBLE, fields, sizeof(fields));
}
