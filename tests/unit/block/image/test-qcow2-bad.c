/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * qcow2 images that lie. Each field of the header is wrong in turn, and the error says which; tables point where they must not, and what is found
 * while the image is in use marks it, stops writing, and harms nothing more; the check finds each fault, and mends what can be mended.
 */

#include "qcow2-rig.h"

#include "devices/block/image/qcow2.h"
#include "power-disk.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER 4096u
#define SIZE (4u * 1024 * 1024)

static void put(uint8_t *p, uint64_t n, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++)
                p[i] = (uint8_t) (n >> (8 * (bytes - 1 - i)));
}

static uint64_t get(const uint8_t *p, unsigned bytes) {
        uint64_t n = 0;

        for (unsigned i = 0; i < bytes; i++)
                n = n << 8 | p[i];
        return n;
}

/* An image with some data, as bytes. */
static GByteArray *make(const char *options, bool snapshot) {
        struct image_file *f = memory_file_new("", 0), *again;
        GByteArray *a = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        struct image *img;
        char data[3 * CLUSTER];

        memset(data, 'd', sizeof(data));
        rig_create_file(f, SIZE, options);
        again = image_file_new(dup(f->fd), false, &error);
        g_assert_no_error(error);
        img = rig_open_file(again, false);
        g_assert_cmpint(image_write(img, 0, data, sizeof(data)), ==, 0);
        g_assert_cmpint(image_write(img, SIZE / 2, data, sizeof(data)), ==, 0);
        if (snapshot) {
                (void) image_qcow2.snapshot_create(img, "kept", &error);
                g_assert_no_error(error);
                g_assert_cmpint(image_write(img, 0, data, 1), ==, 0);
        }
        g_assert_cmpint(image_close(img), ==, 0);
        f->size = (uint64_t) lseek(f->fd, 0, SEEK_END);
        g_byte_array_set_size(a, (guint) f->size);
        g_assert_cmpint(image_file_read(f, 0, a->data, a->len), ==, 0);
        (void) image_file_free(f);
        return a;
}

static struct image *try_open(const GByteArray *a, bool readonly, bool for_check, GError **error) {
        const struct image_open how = { .format = "qcow2",
                                        .readonly = readonly,
                                        .for_check = for_check };

        return image_open(memory_file_new(a->data, a->len), &how, error);
}

struct wrong {
        unsigned at, bytes;
        uint64_t value;
        const char *says;
};

static void refuse(const GByteArray *good, const struct wrong *w, bool readonly) {
        g_autoptr(GByteArray) a = g_byte_array_new();
        g_autoptr(GError) error = NULL;

        g_byte_array_append(a, good->data, good->len);
        put(a->data + w->at, w->value, w->bytes);
        if (try_open(a, readonly, false, &error))
                g_error("opened with %u bytes at %u wrong: %s", w->bytes, w->at, w->says);
        g_assert_nonnull(error);
        if (!strstr(error->message, w->says))
                g_error("'%s' is not in: %s", w->says, error->message);
}

static void test_header(void) {
        static const struct wrong wrongs[] = {
                { 0, 4, 0x514649fc, "magic" },
                { 4, 4, 1, "version is 1" },
                { 4, 4, 4, "version is 4" },
                { 8, 8, 50, "backing_file_offset" },
                { 8, 8, 2 * CLUSTER, "backing_file_offset" },
                { 20, 4, 8, "cluster_bits is 8" },
                { 20, 4, 22, "cluster_bits is 22" },
                { 20, 4, UINT32_MAX, "cluster_bits" },
                { 24, 8, UINT64_MAX, "size" },
                { 24, 8, 1ull << 50, "l1_size" },
                { 32, 4, 1, "AES" },
                { 32, 4, 2, "LUKS" },
                { 32, 4, 3, "encrypted" },
                { 36, 4, 0, "l1_size" },
                { 36, 4, (32u << 20) / 8 + 1, "32 MiB" },
                { 36, 4, (32u << 20) / 8, "l1_table_offset" },
                { 40, 8, 0, "l1_table_offset" },
                { 40, 8, 512, "l1_table_offset" },
                { 40, 8, 1ull << 40, "l1_table_offset" },
                { 40, 8, UINT64_MAX - CLUSTER + 1, "l1_table_offset" },
                { 48, 8, 0, "refcount_table_offset" },
                { 48, 8, 100, "refcount_table_offset" },
                { 48, 8, 1ull << 62, "refcount_table_offset" },
                { 56, 4, 0, "refcount_table_clusters" },
                { 56, 4, UINT32_MAX, "8 MiB" },
                { 56, 4, 2048, "refcount_table_offset" },
                { 60, 4, 65537, "nb_snapshots" },
                { 60, 4, 1, "snapshots_offset" },
                { 72, 8, 1ull << 40, "bit 40" },
                { 72, 8, 1ull << 5, "bit 5" },
                { 72, 8, QCOW2_INCOMPAT_DATA_FILE, "data file" },
                { 72, 8, QCOW2_INCOMPAT_COMPRESSION, "compression_type" },
                { 72, 8, QCOW2_INCOMPAT_EXTENDED_L2, "cluster_bits" },
                { 72, 8, QCOW2_INCOMPAT_CORRUPT, "corrupt" },
                { 88, 8, QCOW2_AUTOCLEAR_RAW_DATA, "raw data file" },
                { 96, 4, 7, "refcount_order" },
                { 100, 4, 96, "header_length" },
                { 100, 4, 108, "header_length" },
                { 100, 4, 2 * CLUSTER, "header_length" },
                { 104, 1, 1, "compression_type" },
                { 104, 1, 9, "compression_type" },
        };
        g_autoptr(GByteArray) good = make("cluster_size=4K", false);
        g_autoptr(GByteArray) cut = g_byte_array_new();
        struct wrong w;

        for (size_t i = 0; i < G_N_ELEMENTS(wrongs); i++)
                refuse(good, &wrongs[i], /* readonly= */ false);
        /* The length of an extension. */
        w = (struct wrong){ 116, 4, CLUSTER, "first cluster" };
        refuse(good, &w, true);
        /* A header that the file does not have whole. */
        for (unsigned n = 0; n < 112; n += 7) {
                g_autoptr(GError) error = NULL;

                g_byte_array_set_size(cut, 0);
                g_byte_array_append(cut, good->data, n);
                g_assert_null(try_open(cut, true, false, &error));
                g_assert_nonnull(error);
        }
}

/* A bit that the image's own table names. */
static void test_feature_name(void) {
        g_autoptr(GByteArray) a = make("cluster_size=4K", false);
        g_autoptr(GError) error = NULL;

        put(a->data + 72, 1ull << 17, 8);
        /* The first entry of the table: incompatible bit 17, "dirty bit" renamed. */
        g_assert_cmpuint(get(a->data + 112, 4), ==, QCOW2_EXT_FEATURE_NAMES);
        a->data[121] = 17;
        memcpy(a->data + 122, "time travel", 12);
        g_assert_null(try_open(a, true, false, &error));
        g_assert_true(strstr(error->message, "bit 17 (time travel)"));
}

static uint64_t l1_at(const GByteArray *a) {
        return get(a->data + 40, 8);
}

static uint64_t l2_at(const GByteArray *a) {
        return get(a->data + l1_at(a), 8) & QCOW2_OFFSET_MASK;
}

static uint64_t block_at(const GByteArray *a) {
        return get(a->data + get(a->data + 48, 8), 8);
}

static void set_count(GByteArray *a, uint64_t offset, unsigned count) {
        put(a->data + block_at(a) + 2 * (offset / CLUSTER), count, 2);
}

/* Metadata on metadata is seen when the image is opened. */
static void test_overlap(void) {
        static const char *const says[] = { "header", "L1", "refcount table", "refcount block" };

        for (unsigned i = 0; i < 4; i++) {
                g_autoptr(GByteArray) a = make("cluster_size=4K", false);
                const uint64_t at[] = { 0, l1_at(a), get(a->data + 48, 8), block_at(a) };
                g_autoptr(GError) error = NULL;
                struct image *img;

                put(a->data + l1_at(a), at[i] ? at[i] | QCOW2_COPIED : 1, 8);
                img = try_open(a, false, false, &error);
                if (at[i]) {
                        g_assert_null(img);
                        g_assert_true(strstr(error->message, says[i]));
                        img = try_open(a, true, false, NULL);
                        g_assert_nonnull(img);
                }
                image_free(img);
        }
}

/* Each of these is found by a write, which fails; the mark is there, and no more than the mark changed. */
static void expect_corrupt(GByteArray *a, uint64_t write_at) {
        struct image_file *f = memory_file_new(a->data, a->len);
        g_autofree uint8_t *after = g_malloc(a->len);
        const struct image_open how = { .format = "qcow2" };
        g_autoptr(GError) error = NULL;
        int fd = dup(f->fd), r = 0;
        struct image *img = image_open(f, &how, &error);

        g_assert_no_error(error);
        for (unsigned i = 0; r == 0 && i < 8; i++) {
                r = image_write(img, write_at + i * CLUSTER, "bad", 3);
                if (r == 0)
                        r = image_flush(img);
        }
        g_assert_cmpint(r, ==, -EIO);
        g_assert_true(img->readonly);
        g_assert_true(((struct qcow2 *) img)->corrupt);
        g_assert_cmpint(image_write(img, 0, "bad", 3), ==, -EROFS);
        (void) image_close(img);
        g_assert_cmpint(pread(fd, after, a->len, 0), ==, a->len);
        g_assert_cmpuint(get(after + 72, 8), ==, QCOW2_INCOMPAT_CORRUPT);
        /* The tables are as they were: the header but for its mark, L1 and the refcount table. */
        put(after + 72, 0, 8);
        g_assert_cmpmem(after, CLUSTER, a->data, CLUSTER);
        g_assert_cmpmem(after + l1_at(a), CLUSTER, a->data + l1_at(a), CLUSTER);
        g_assert_cmpmem(after + block_at(a), 2, a->data + block_at(a), 2);
        (void) close(fd);
}

static void test_running(void) {
        /* An entry of guest data that lies on metadata, is not aligned, has bits that must be zero, or is beyond the end. */
        for (unsigned i = 0; i < 8; i++) {
                g_autoptr(GByteArray) a = make("cluster_size=4K", false);
                const uint64_t entries[] = {
                        l1_at(a) | QCOW2_COPIED,
                        l2_at(a) | QCOW2_COPIED,
                        block_at(a) | QCOW2_COPIED,
                        get(a->data + 48, 8) | QCOW2_COPIED,
                        (l2_at(a) + 512) | QCOW2_COPIED,
                        (1ull << 40) | QCOW2_COPIED,
                        QCOW2_COPIED | 0x40,
                        QCOW2_COMPRESSED | 1ull << 35,
                };

                put(a->data + l2_at(a), entries[i], 8);
                expect_corrupt(a, 0);
        }
}

/* What counts as free and is in use is not given out. */
static void test_free(void) {
        for (unsigned i = 0; i < 4; i++) {
                g_autoptr(GByteArray) a = make("cluster_size=4K", false);
                const uint64_t at[] = { 0, l1_at(a), l2_at(a), block_at(a) };

                set_count(a, at[i], 0);
                expect_corrupt(a, 10 * CLUSTER);
        }
}

static void test_l1(void) {
        static const uint64_t words[] = { 1ull << 60, 0x200, 1ull << 45, 1 };

        for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
                g_autoptr(GByteArray) a = make("cluster_size=4K", false);
                struct image *img;
                char c;

                put(a->data + l1_at(a), words[i], 8);
                img = try_open(a, true, false, NULL);
                g_assert_nonnull(img);
                g_assert_cmpint(image_read(img, 0, &c, 1), ==, -EIO);
                image_free(img);
        }
}

static unsigned count_findings(const GByteArray *a, bool *ret_opened) {
        struct image *img = try_open(a, true, true, NULL);
        struct image_check check = {};
        g_autoptr(GError) error = NULL;

        *ret_opened = img;
        if (!img)
                return 0;
        (void) image_qcow2.check(img, &check, &error);
        g_assert_no_error(error);
        image_free(img);
        return (unsigned) (check.corruptions + check.leaks);
}

/* Repairs, and lets both checks look at what came out. */
static void repair(const GByteArray *a, bool all, uint64_t corruptions, uint64_t leaks) {
        struct image_check check = { .repair_leaks = !all, .repair_all = all };
        struct image_file *f = memory_file_new(a->data, a->len);
        const struct image_open how = { .format = "qcow2", .for_check = true };
        g_autofree char *path = rig_path("repaired.qcow2");
        g_autoptr(GError) error = NULL;
        int fd = dup(f->fd);
        struct image *img = image_open(f, &how, &error);

        g_assert_no_error(error);
        (void) image_qcow2.check(img, &check, &error);
        g_assert_no_error(error);
        if (corruptions != UINT64_MAX) {
                g_assert_cmpuint(check.fixed_corruptions, ==, corruptions);
                g_assert_cmpuint(check.fixed_leaks, ==, leaks);
        }
        g_assert_cmpuint(check.corruptions, ==, 0);
        g_assert_cmpint(image_close(img), ==, 0);
        img = rig_open_file(image_file_new(fd, false, NULL), false);
        rig_check(img, /* leaks= */ false);
        image_file_export(img->file, path);
        image_free(img);
        rig_qemu_img("check -q -f qcow2 %s", path);
}

static void test_check(void) {
        g_autoptr(GByteArray) good = make("cluster_size=4K", false);
        uint64_t data = get(good->data + l2_at(good), 8) & QCOW2_OFFSET_MASK;
        const struct wrong wrongs[] = {
                /* What is repaired where it is: counts. */
                { (unsigned) (block_at(good) + 2 * (data / CLUSTER)), 2, 0, "corruption" },
                { (unsigned) (block_at(good) + 2 * (data / CLUSTER)), 2, 5, "leak" },
                { (unsigned) (block_at(good) + 2 * 200), 2, 1, "leak" },
                { (unsigned) (block_at(good) + 2 * (l2_at(good) / CLUSTER)), 2, 0, "corruption" },
                /* A mark that is missing. */
                { (unsigned) l2_at(good), 8, data, "leak" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(wrongs); i++) {
                const struct wrong *w = &wrongs[i];
                bool corruption = strcmp(w->says, "corruption") == 0, opened;
                g_autoptr(GByteArray) a = g_byte_array_new();

                g_byte_array_append(a, good->data, good->len);
                put(a->data + w->at, w->value, w->bytes);
                g_assert_cmpuint(count_findings(a, &opened), ==, 1);
                repair(a, true, corruption, !corruption);
                if (!corruption)
                        repair(a, false, 0, 1);
        }
}

/* Faults that take an entry with them, or need new tables. */
static void test_repair(void) {
        for (unsigned i = 0; i < 9; i++) {
                g_autoptr(GByteArray) a = make("cluster_size=4K", i % 2);
                uint64_t table = get(a->data + 48, 8), data = get(a->data + l2_at(a) + 8, 8);
                bool opened;

                switch (i) {
                case 0: /* a cluster twice */
                        put(a->data + l2_at(a), data, 8);
                        break;
                case 1: /* an entry on metadata */
                        put(a->data + l2_at(a), block_at(a) | QCOW2_COPIED, 8);
                        break;
                case 2: /* a table that is the header */
                        put(a->data + l1_at(a), l1_at(a) | QCOW2_COPIED, 8);
                        break;
                case 3: /* no refcount block */
                        put(a->data + table, 0, 8);
                        break;
                case 4: /* one that is not aligned */
                        put(a->data + table, block_at(a) + 512, 8);
                        break;
                case 5: /* one that is the header */
                        put(a->data + table, l1_at(a), 8);
                        break;
                case 6: /* the same one twice */
                        put(a->data + table + 8, block_at(a), 8);
                        break;
                case 7: /* beyond the end */
                        put(a->data + l1_at(a), 1ull << 50, 8);
                        break;
                case 8: /* two entries have a table */
                        put(a->data + l1_at(a) + 8, get(a->data + l1_at(a), 8), 8);
                        break;
                }
                put(a->data + 72, QCOW2_INCOMPAT_CORRUPT, 8);
                g_assert_cmpuint(count_findings(a, &opened), >, 0);
                g_assert_true(opened);
                repair(a, true, UINT64_MAX, 0);
        }
}

/* Compressed clusters that are none. */
static void test_packed(void) {
        for (int zstd = 0; zstd < 2; zstd++) {
                g_autoptr(GByteArray) a = make(
                                zstd ? "cluster_size=4K,compression_type=zstd" : "cluster_size=4K",
                                false);
                g_autofree char *buf = g_malloc(CLUSTER);
                struct image *img;

                /* The data is there, eight sectors of it, but it is no stream. */
                put(a->data + l2_at(a),
                    QCOW2_COMPRESSED | 7ull << 58 |
                                    (get(a->data + l2_at(a), 8) & QCOW2_OFFSET_MASK),
                    8);
                img = try_open(a, true, false, NULL);
                g_assert_nonnull(img);
                g_assert_cmpint(image_read(img, 0, buf, CLUSTER), ==, -EIO);
                g_assert_cmpint(image_read(img, CLUSTER, buf, CLUSTER), ==, 0);
                g_assert_cmpint(buf[0], ==, 'd');
                image_free(img);
        }
}

static void test_snapshots(void) {
        static const struct wrong wrongs[] = {
                { 0, 8, 512, "L1 table" },      { 0, 8, 1ull << 40, "L1 table" },
                { 8, 4, UINT32_MAX, "32 MiB" }, { 8, 4, 1u << 20, "L1 table" },
                { 36, 4, 1u << 20, "extra" },   { 48, 8, UINT64_MAX, "disk size" },
                { 48, 8, 1234, "disk size" },
        };
        g_autoptr(GByteArray) good = make("cluster_size=4K", true);
        struct wrong many = { 60, 4, 60000, "snapshot" };

        for (size_t i = 0; i < G_N_ELEMENTS(wrongs); i++) {
                struct wrong w = wrongs[i];

                w.at += (unsigned) get(good->data + 64, 8);
                refuse(good, &w, true);
        }
        refuse(good, &many, true);
}

static void test_refused(void) {
        static const char *const texts[] = { "backing_file=x", "data_file=y" };

        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
                g_autofree char *options = g_strconcat("cluster_size=4K,", texts[i], NULL);
                struct image_file *f = memory_file_new("", 0);
                const struct image_open how = { .format = "qcow2" };
                g_autoptr(GError) error = NULL;

                rig_create_file(f, SIZE, options);
                g_assert_null(image_open(f, &how, &error));
                g_assert_true(strstr(error->message, "not permitted"));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);

        g_test_add_func("/qcow2/bad/header", test_header);
        g_test_add_func("/qcow2/bad/feature-name", test_feature_name);
        g_test_add_func("/qcow2/bad/overlap", test_overlap);
        g_test_add_func("/qcow2/bad/running", test_running);
        g_test_add_func("/qcow2/bad/free", test_free);
        g_test_add_func("/qcow2/bad/l1", test_l1);
        g_test_add_func("/qcow2/bad/check", test_check);
        g_test_add_func("/qcow2/bad/repair", test_repair);
        g_test_add_func("/qcow2/bad/packed", test_packed);
        g_test_add_func("/qcow2/bad/snapshots", test_snapshots);
        g_test_add_func("/qcow2/bad/refused", test_refused);
        return g_test_run();
}
