/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/image.h"

/*
 * The inside of the qcow2 format. Everything here is one thread's.
 *
 * What protects an image from a power cut is an order, kept by qcow2_flush() alone. Everything else changes tables in memory only, and follows
 * three rules: a cluster's count is raised before something refers to it; what drops a reference hands it to qcow2_free_later(), which lowers
 * the count when the drop is on disk; and a table or block that the file knows is never given other content than the next flush may write.
 */

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_L1_BYTES_MAX (32u << 20)
#define QCOW2_REFTABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX 65536u
#define QCOW2_SNAPSHOT_TABLE_MAX (64u << 20)
#define QCOW2_SNAPSHOT_L1_TOTAL_MAX (128ull << 20) /* bytes, all snapshots */
#define QCOW2_SNAPSHOT_EXTRA_MAX 1024u
#define QCOW2_CLUSTER_BITS_MIN 9u
#define QCOW2_CLUSTER_BITS_MAX 21u
#define QCOW2_EXTENDED_BITS_MIN 14u
#define QCOW2_HEADER_V2 72u
#define QCOW2_HEADER_V3 104u
#define QCOW2_NAME_MAX 1023u /* bytes of a backing file's name */
#define QCOW2_PENDING_MAX 65536u

#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_COPIED (1ull << 63)
#define QCOW2_COMPRESSED (1ull << 62)
#define QCOW2_ZERO 1ull

enum {
        QCOW2_INCOMPAT_DIRTY = 1 << 0,
        QCOW2_INCOMPAT_CORRUPT = 1 << 1,
        QCOW2_INCOMPAT_DATA_FILE = 1 << 2,
        QCOW2_INCOMPAT_COMPRESSION = 1 << 3,
        QCOW2_INCOMPAT_EXTENDED_L2 = 1 << 4,
        QCOW2_INCOMPAT_KNOWN = 0x1f,

        QCOW2_COMPAT_LAZY = 1 << 0,

        QCOW2_AUTOCLEAR_BITMAPS = 1 << 0,
        QCOW2_AUTOCLEAR_RAW_DATA = 1 << 1,
};

enum qcow2_extension {
        QCOW2_EXT_END = 0,
        QCOW2_EXT_BACKING_FORMAT = (int) 0xe2792aca,
        QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
        QCOW2_EXT_BITMAPS = 0x23852875,
        QCOW2_EXT_DATA_FILE = 0x44415441,
};

/* Where the fields of the header that change lie. */
enum {
        QCOW2_AT_SIZE = 24,
        QCOW2_AT_L1 = 36,        /* size (4), offset (8) */
        QCOW2_AT_REFTABLE = 48,  /* offset (8), clusters (4) */
        QCOW2_AT_SNAPSHOTS = 60, /* number (4), offset (8) */
        QCOW2_AT_INCOMPATIBLE = 72,
        QCOW2_AT_AUTOCLEAR = 88,
};

/* The header in host order, checked against itself and the file's size. */
struct qcow2_header {
        unsigned version;
        unsigned cluster_bits;
        uint64_t size;
        uint32_t crypt;
        uint32_t l1_size; /* entries */
        uint64_t l1_offset;
        uint64_t reftable_offset;
        uint32_t reftable_clusters;
        uint32_t n_snapshots;
        uint64_t snapshots_offset;
        uint64_t incompatible, compatible, autoclear;
        unsigned refcount_order;
        uint32_t length;
        unsigned compression;                            /* enum qcow2_compression */
        char *backing_name, *backing_format, *data_name; /* NULL: not there */
        uint64_t bitmaps_offset, bitmaps_size;           /* the directory; 0: none */
        uint32_t n_bitmaps;
};

enum qcow2_compression {
        QCOW2_ZLIB,
        QCOW2_ZSTD,
        QCOW2_COMPRESSION_MAX,
};

/* What a cluster of the file is known to be; data is not known. */
enum qcow2_kind {
        QCOW2_NONE,
        QCOW2_HEADER,
        QCOW2_L1,
        QCOW2_L2,
        QCOW2_REFTABLE,
        QCOW2_REFBLOCK,
        QCOW2_SNAPSHOTS,
        QCOW2_SNAPSHOT_L1,
        QCOW2_KIND_MAX,
};

/* Clusters and their kinds: a hash table. */
struct qcow2_set {
        uint64_t *slots; /* cluster << 3 | kind; 0: empty */
        size_t mask, used;
};

/* One cluster of metadata in memory. */
struct qcow2_table {
        uint64_t offset;               /* in the file; 0: unused */
        uint8_t *data;                 /* as in the file */
        uint32_t dirty_from, dirty_to; /* bytes that the file does not have; none if equal */
        struct qcow2_table *chain;     /* of its hash bucket */
        struct qcow2_table *newer, *older;
        struct qcow2_table *next_dirty, *prev_dirty;
};

struct qcow2_cache {
        uint32_t cluster;
        unsigned n, used, mask;
        struct qcow2_table *tables, **buckets;
        struct qcow2_table *newest, *oldest, *dirty;
};

/* Memory for tables, in bytes; at least four of each are held. Read when an image is opened. */
struct qcow2_limits {
        uint64_t l2_cache, refcount_cache;
};
extern struct qcow2_limits qcow2_limits;

struct qcow2_freed {
        uint64_t cluster, n;
        bool external; /* in the data file: no counts */
};

struct qcow2_snapshot {
        struct image_snapshot pub;
        uint64_t l1_offset;
        uint32_t l1_size;
        uint64_t disk_size_or_0; /* as stored */
        GBytes *extra;           /* what the table has beyond the known fields */
};

struct qcow2 {
        struct image img;
        struct qcow2_header header; /* as the file has it, or will have it after the next flush */
        unsigned version, cluster_bits;
        uint32_t cluster;
        unsigned l2_bits;                    /* of an index into an L2 table */
        bool extended;                       /* 16-byte entries, 32 units per cluster */
        uint32_t unit;                       /* bytes: a cluster, or a subcluster */
        unsigned refcount_order, block_bits; /* block_bits: of an index into a refcount block */
        uint64_t refcount_max;
        struct image_file *
                        data; /* where guest data lies: img.file, or an external one; NULL if that was not opened */
        bool external, raw_external;

        uint64_t *l1;                        /* host order */
        uint32_t l1_dirty_from, l1_dirty_to; /* entries */
        bool l1_moved;

        uint64_t *reftable;     /* host order */
        uint32_t reftable_size; /* entries */
        uint32_t reftable_dirty_from, reftable_dirty_to;
        bool reftable_moved;

        struct qcow2_cache l2_cache, block_cache;
        struct qcow2_set kinds; /* only if writable */

        uint64_t end;    /* bytes: everything in use lies below; at least the file's size */
        uint64_t virgin; /* bytes: what lies above was never written to, and reads as zeros */
        uint64_t next;   /* cluster: none below is free */
        GArray *pending; /* qcow2_freed: given up, waiting for a flush */
        GArray *held;    /* qcow2_freed: waiting for release_held() */

        bool corrupt; /* found now, or marked */
        int broken;   /* negative errno: the host failed us; nothing is written any more */
        char *corrupt_why;

        uint8_t *bounce;            /* a cluster, made when needed */
        uint8_t *packed, *unpacked; /* compressed bytes; the cluster they make */
        uint64_t unpacked_entry;    /* which; 0: none */

        uint8_t *packing; /* what a cluster is packed to */
        uint64_t pack_at; /* where the next bytes go, in a cluster of packed ones; 0: to a new one */

        GPtrArray *snapshots;     /* qcow2_snapshot */
        uint64_t snapshots_bytes; /* of their table */
};

static inline struct qcow2 *to_qcow2(struct image *img) {
        return (struct qcow2 *) img;
}

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes) {
        return (bytes >> q->cluster_bits) + ((bytes & (q->cluster - 1)) != 0);
}

static inline uint32_t qcow2_l2_entries(const struct qcow2 *q) {
        return 1u << q->l2_bits;
}

/* Entries of L1 that a disk of size bytes needs. */
static inline uint64_t qcow2_l1_needed(const struct qcow2 *q, uint64_t size) {
        unsigned bits = q->cluster_bits + q->l2_bits;

        return (size >> bits) + ((size & ((1ull << bits) - 1)) != 0);
}

/* Header: qcow2-header.c */
bool qcow2_header_read(struct image_file *file, struct qcow2_header *ret, GError **error);
void qcow2_header_clear(struct qcow2_header *h);
/* Writes fields as they are in q->header; no sync. */
int qcow2_header_write_size_and_l1(struct qcow2 *q);
int qcow2_header_write_reftable(struct qcow2 *q);
int qcow2_header_write_snapshots(struct qcow2 *q);
int qcow2_header_write_features(struct qcow2 *q);

/* Kinds of clusters: qcow2-kinds.c */
void qcow2_set_put(struct qcow2_set *set, uint64_t cluster, enum qcow2_kind kind);
enum qcow2_kind qcow2_set_get(const struct qcow2_set *set, uint64_t cluster);
void qcow2_set_remove(struct qcow2_set *set, uint64_t cluster);
void qcow2_set_clear(struct qcow2_set *set);
const char *qcow2_kind_to_string(enum qcow2_kind kind);
/* Fills q->kinds from the tables in memory. False, with what is wrong in *ret_why, if two of them overlap. */
bool qcow2_kinds_fill(struct qcow2 *q, char **ret_why);

/* Tables in memory: qcow2-cache.c */
void qcow2_cache_init(struct qcow2_cache *c, uint32_t cluster, uint64_t bytes);
void qcow2_cache_clear(struct qcow2_cache *c);
/* A table, read from the file if it is not here. Valid until the next of these calls on the cache. */
int qcow2_cache_load(
                struct qcow2 *q, struct qcow2_cache *c, uint64_t offset, struct qcow2_table **ret);
/* A new one, zeros, to be written as a whole. */
int qcow2_cache_new(
                struct qcow2 *q, struct qcow2_cache *c, uint64_t offset, struct qcow2_table **ret);
void qcow2_cache_drop(struct qcow2_cache *c, uint64_t offset);
void qcow2_cache_touch(struct qcow2_cache *c, struct qcow2_table *t, uint32_t from, uint32_t to);
/* Writes what the file does not have; no sync. */
int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c);

/* Counts and allocation: qcow2-refcount.c, qcow2-alloc.c */
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret);
/* The block must be there, unless value is 0. */
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value);
/* -EOVERFLOW if the count does not fit; a count that falls to 0 frees. */
int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, int delta);
uint64_t qcow2_refcount_peek(const struct qcow2 *q, const uint8_t *block, uint32_t index);
void qcow2_refcount_poke(const struct qcow2 *q, uint8_t *block, uint32_t index, uint64_t value);
/* The block that counts a cluster; NULL if there is none. */
int qcow2_block_load(struct qcow2 *q, uint64_t region, struct qcow2_table **ret);
int qcow2_block_put(struct qcow2 *q, uint64_t region, uint64_t cluster);

/* Up to max clusters that follow each other; at least one. */
int qcow2_alloc(struct qcow2 *q, uint64_t max, uint64_t *ret_cluster, uint64_t *ret_n);
/* Exactly n, as a table of that kind. */
int qcow2_alloc_table(struct qcow2 *q, uint64_t n, enum qcow2_kind kind, uint64_t *ret_offset);
void qcow2_free_later(struct qcow2 *q, uint64_t cluster, uint64_t n);
void qcow2_free_external_later(struct qcow2 *q, uint64_t cluster, uint64_t n);
/* What the flush that just ended made free. */
int qcow2_free_pending(struct qcow2 *q);
void qcow2_release_held(struct image *img);

/* Mapping: qcow2-map.c */
struct qcow2_entry {
        uint64_t word, bitmap;
};

enum qcow2_state {
        QCOW2_IS_ABSENT,
        QCOW2_IS_ZERO,
        QCOW2_IS_DATA,
        QCOW2_IS_PACKED,
};

/* NULL without an error: there is no table. */
int qcow2_l2_load(struct qcow2 *q, uint64_t l1_index, struct qcow2_table **ret);
struct qcow2_entry
qcow2_entry_get(const struct qcow2 *q, const struct qcow2_table *t, uint32_t index);
void qcow2_entry_set(struct qcow2 *q, struct qcow2_table *t, uint32_t index, struct qcow2_entry e);
/* What a unit of an entry is. guest: where the entry's cluster is on the disk. Why it is wrong, or NULL. */
const char *
qcow2_entry_check(const struct qcow2 *q, struct qcow2_entry e, uint64_t guest, bool active);
enum qcow2_state qcow2_entry_state(const struct qcow2 *q, struct qcow2_entry e, unsigned unit);
bool qcow2_entry_has_host(const struct qcow2 *q, struct qcow2_entry e);
void qcow2_entry_packed(
                const struct qcow2 *q,
                struct qcow2_entry e,
                uint64_t *ret_offset,
                uint32_t *ret_bytes);
int qcow2_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret);

/* Compressed clusters: qcow2-packed.c */
int qcow2_read_packed(struct image *img, uint64_t offset, void *buf, size_t len);

/* The same, written: qcow2-pack.c */
int qcow2_write_packed(struct image *img, uint64_t offset, const void *buf);

/* Changes: qcow2-write.c, qcow2-zero.c */
int qcow2_may_change(struct qcow2 *q);
/* The table that is ours alone, made or copied if need be. */
int qcow2_l2_own(struct qcow2 *q, uint64_t l1_index, struct qcow2_table **ret);
void qcow2_l1_set(struct qcow2 *q, uint64_t index, uint64_t word);
void qcow2_entry_drop(struct qcow2 *q, struct qcow2_entry e, uint64_t guest);
int qcow2_allocate(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret);
int qcow2_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap);
int qcow2_discard(struct image *img, uint64_t offset, uint64_t len);
/* Beyond the image's end, whole clusters: nothing is there any more. */
int qcow2_cut(struct qcow2 *q, uint64_t offset, uint64_t end);
/* The range may be read from the backing image. */
bool qcow2_backed(const struct qcow2 *q, uint64_t offset);

/* Order: qcow2-flush.c */
int qcow2_flush(struct image *img);
/* Of everything the image has. What fails here is never tried again. */
int qcow2_sync(struct qcow2 *q);
/* Marks it, and lets nothing be changed any more. Returns -EIO. */
int qcow2_corrupt(struct qcow2 *q, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Size: qcow2-resize.c */
bool qcow2_resize(struct image *img, uint64_t size, GError **error);
bool qcow2_resize_step(struct image *img, struct image_resize *change, GError **error);
/* L1 has at least n entries then. */
int qcow2_l1_grow(struct qcow2 *q, uint64_t n);

/* Snapshots: qcow2-snapshot-table.c, qcow2-snapshot.c */
bool qcow2_snapshots_read(struct qcow2 *q, GError **error);
/* Writes the table to a new place, and the header that points there; frees the old one. */
int qcow2_snapshots_write(struct qcow2 *q);
void qcow2_snapshot_free(struct qcow2_snapshot *s);
int qcow2_snapshot_read_l1(struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t **ret);
const GPtrArray *qcow2_snapshots(struct image *img);
bool qcow2_snapshot_create(struct image *img, const char *name, GError **error);
bool qcow2_snapshot_apply(struct image *img, const char *id_or_name, GError **error);
bool qcow2_snapshot_delete(struct image *img, const char *id_or_name, GError **error);

/* Consistency: qcow2-check.c, qcow2-repair.c */
bool qcow2_check(struct image *img, struct image_check *check, GError **error);

/* New images: qcow2-create.c */
extern const struct image_option_spec qcow2_options[];
bool qcow2_create(
                struct image_file *file,
                uint64_t size,
                struct image_options *options,
                GError **error);

/* Opening: qcow2.c. without_data: an external data file is not opened; nothing is read or written there. */
struct image *
qcow2_open_file(struct image_file *file,
                const struct image_open *how,
                bool without_data,
                GError **error);
void qcow2_close(struct image *img);
