/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of VMDK images: a descriptor, a header, a directory, tables and compressed grains that could lead astray are refused, or fail the
 * request that meets them and nothing else; what a descriptor names is opened only where that is permitted; flat extents are one disk
 * that is read and written where it lies; sparse ones and streams read as they should, and are never written.
 */

#include "devices/block/image/image.h"
#include "devices/block/image/vmdk-descriptor.h"
#include "hypervisor/error.h"
#include "tests/unit/block/image/power-disk.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define SECTOR 512u
#define HEAD "# Disk DescriptorFile\nversion=1\nCID=123a\nparentCID=ffffffff\n"
#define TYPE "createType=\"monolithicFlat\"\n"

/* What extents are made of: names a, b, c. */
static struct image_file *extents[3];
static unsigned n_opened;

static struct image_file *
resolve(void *opaque,
        enum image_role role,
        const char *name,
        const char *format,
        unsigned depth,
        bool readonly,
        GError **error) {
        g_assert_cmpint(role, ==, IMAGE_ROLE_EXTENT);
        g_assert_cmpstr(format, ==, "raw");
        n_opened++;
        if (strlen(name) != 1 || *name < 'a' || *name > 'c') {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "not granted");
                return NULL;
        }
        return image_file_new(dup(extents[*name - 'a']->fd), readonly, error);
}

static const struct image_resolver resolver = { resolve, NULL };

static void extents_new(void) {
        for (size_t i = 0; i < G_N_ELEMENTS(extents); i++)
                extents[i] = memory_file_new("", 0);
        n_opened = 0;
}

static void extents_free(void) {
        for (size_t i = 0; i < G_N_ELEMENTS(extents); i++)
                extents[i] = image_file_free(extents[i]);
}

static struct image *try_open(const void *data, size_t len, bool readonly, GError **error) {
        const struct image_open how = { .format = "vmdk",
                                        .readonly = readonly,
                                        .resolver = &resolver };

        return image_open(memory_file_new(data, len), &how, error);
}

static struct image *open_good(const void *data, size_t len) {
        g_autoptr(GError) error = NULL;
        struct image *img = try_open(data, len, /* readonly= */ false, &error);

        g_assert_no_error(error);
        return img;
}

static void assert_refused(const void *data, size_t len, const char *why) {
        g_autoptr(GError) error = NULL;

        g_assert_null(try_open(data, len, /* readonly= */ false, &error));
        g_assert_nonnull(error);
        if (!strstr(error->message, why))
                g_error("'%s' does not say '%s'", error->message, why);
}

/* Descriptors */

static void test_bad_descriptor(void) {
        static const struct {
                const char *text, *why;
        } bad[] = {
                { "", "VMDK" },
                { "# Disk Descriptor", "does not begin" },
                { " " HEAD TYPE "RW 8 FLAT \"a\" 0\n", "does not begin" },
                { HEAD TYPE, "names no extents" },
                { HEAD "RW 8 FLAT \"a\" 0\n", "no createType" },
                { HEAD TYPE "RW FLAT \"a\" 0\n", "size of an extent" },
                { HEAD TYPE "RW 0 FLAT \"a\" 0\n", "size of an extent" },
                { HEAD TYPE "RW -1 FLAT \"a\" 0\n", "size of an extent" },
                { HEAD TYPE "RW 0x10 FLAT \"a\" 0\n", "size of an extent" },
                { HEAD TYPE "RW 36028797018963968 FLAT \"a\" 0\n", "size of an extent" },
                { HEAD TYPE "RW 99999999999999999999 FLAT \"a\" 0\n", "size of an extent" },
                { HEAD TYPE "RW 8\n", "kind" },
                { HEAD TYPE "RW 8 VMFSRAW \"a\" 0\n", "kind" },
                { HEAD TYPE "RW 8 SESPARSE \"a\" 0\n", "kind" },
                { HEAD TYPE "RW 8 FLAT\n", "name" },
                { HEAD TYPE "RW 8 FLAT a 0\n", "name" },
                { HEAD TYPE "RW 8 FLAT \"a 0\n", "name" },
                { HEAD TYPE "RW 8 FLAT \"\" 0\n", "name" },
                { HEAD TYPE "RW 8 FLAT \"a\x01\" 0\n", "name" },
                { HEAD TYPE "RW 8 FLAT \"a\xff\" 0\n", "name" },
                { HEAD TYPE "RW 8 FLAT \"a\" x\n", "offset" },
                { HEAD TYPE "RW 8 FLAT \"a\" -8\n", "offset" },
                { HEAD TYPE "RW 8 FLAT \"a\" 18014398509481983\n", "offset" },
                { HEAD TYPE "NOACCESS 8 FLAT \"a\" 0\n", "may not be read" },
                { HEAD TYPE "some words\n", "neither a setting" },
                { HEAD TYPE "RW 8 FLAT \"a\" 0\nparentCID=12345678\n", "difference" },
                { HEAD TYPE "RW 8 FLAT \"a\" 0\nparentCID=\n", "difference" },
                { HEAD TYPE "RW 8 FLAT \"a\" 0\nencoding=\"Shift_JIS\"\n", "encoding" },
                { HEAD TYPE "RW 18014398509481983 ZERO\nRW 18014398509481983 ZERO\n", "too large" },
                { HEAD TYPE "RW 8 FLAT \"d\" 0\n", "extent 'd': not granted" },
                { HEAD TYPE "RW 8 FLAT \"../a\" 0\n", "not granted" },
                { HEAD TYPE "RW 8 SPARSE \"a\"\n", "extent 'a': " },
        };

        extents_new();
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                assert_refused(bad[i].text, strlen(bad[i].text), bad[i].why);
        extents_free();
}

static void test_long_descriptor(void) {
        g_autoptr(GString) text = g_string_new(HEAD TYPE);

        extents_new();
        for (unsigned i = 0; i <= VMDK_EXTENTS_MAX; i++)
                g_string_append(text, "RW 8 FLAT \"a\" 0\n");
        assert_refused(text->str, text->len, "extents");
        g_assert_cmpuint(n_opened, ==, 0);

        g_string_assign(text, HEAD TYPE "RW 8 FLAT \"a\" 0\n#");
        while (text->len <= VMDK_DESCRIPTOR_MAX)
                g_string_append(text, "##########");
        assert_refused(text->str, text->len, "longer than");

        g_string_assign(text, HEAD TYPE "RW 8 FLAT \"");
        for (unsigned i = 0; i < 1025; i++)
                g_string_append_c(text, 'a');
        g_string_append(text, "\" 0\n");
        assert_refused(text->str, text->len, "name");
        extents_free();
}

static void test_not_permitted(void) {
        static const char text[] = HEAD TYPE "RW 8 FLAT \"a\" 0\n";
        g_autoptr(GError) error = NULL;

        g_assert_null(
                        image_open(memory_file_new(text, strlen(text)),
                                   &(struct image_open){ "vmdk" }, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_IMAGE);
        g_assert_nonnull(strstr(error->message, "not permitted"));
}

static void test_nul(void) {
        static const char text[] = HEAD TYPE "RW 8 FLAT \"a\" 0\n\0RW 8 FLAT \"b\" 0\n";
        struct image *img;

        /* What lies behind the end of the text is no part of it. */
        extents_new();
        img = open_good(text, sizeof(text));
        g_assert_cmpuint(img->size, ==, 8 * SECTOR);
        g_assert_cmpuint(n_opened, ==, 1);
        image_free(img);
        extents_free();
}

/* Flat extents */

static void test_flat(void) {
        static const char text[] = HEAD TYPE "RW 8 FLAT \"a\" 2\n"
                                             "RW 3 FLAT \"b\" 0\n"
                                             "RW 16 VMFS \"c\"\n";
        char data[27 * SECTOR], got[sizeof(data)];
        struct image_extent x;
        struct image *img;

        extents_new();
        img = open_good(text, strlen(text));
        g_assert_cmpuint(img->size, ==, sizeof(data));
        g_assert_false(img->readonly);
        g_assert_cmpuint(img->cluster, ==, SECTOR);
        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (char) (i * 7 + i / SECTOR);
        g_assert_cmpint(image_write(img, 0, data, sizeof(data)), ==, 0);
        g_assert_cmpint(image_zero(img, 7 * SECTOR, 5 * SECTOR, false), ==, 0);
        memset(data + 7 * SECTOR, 0, 5 * SECTOR);
        g_assert_cmpint(image_flush(img), ==, 0);
        g_assert_cmpint(image_read(img, 0, got, sizeof(got)), ==, 0);
        g_assert_cmpmem(got, sizeof(got), data, sizeof(data));

        g_assert_cmpint(image_map(img, 8 * SECTOR, 19 * SECTOR, &x), ==, 0);
        g_assert_cmpint(x.kind, ==, IMAGE_DATA);
        g_assert_cmpuint(x.len, ==, 3 * SECTOR);
        g_assert_cmpuint(x.at, ==, 0);
        g_assert_cmpint(image_write(img, img->size - SECTOR, data, 2 * SECTOR), ==, -EINVAL);
        g_assert_cmpint(image_close(img), ==, 0);

        g_assert_cmpint(pread(extents[0]->fd, got, 8 * SECTOR, 2 * SECTOR), ==, 8 * SECTOR);
        g_assert_cmpmem(got, 8 * SECTOR, data, 8 * SECTOR);
        g_assert_cmpint(pread(extents[2]->fd, got, 16 * SECTOR, 0), ==, 16 * SECTOR);
        g_assert_cmpmem(got, 16 * SECTOR, data + 11 * SECTOR, 16 * SECTOR);
        extents_free();
}

static void test_flat_readonly(void) {
        static const char *const texts[] = {
                HEAD TYPE "RDONLY 8 FLAT \"a\" 0\n",
                HEAD TYPE "RW 8 FLAT \"a\" 0\nRW 8 ZERO\n",
        };
        char data[SECTOR] = { 1 };

        extents_new();
        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
                struct image *img = open_good(texts[i], strlen(texts[i]));

                g_assert_true(img->readonly);
                g_assert_cmpint(image_write(img, 0, data, sizeof(data)), <, 0);
                g_assert_cmpint(image_read(img, img->size - SECTOR, data, sizeof(data)), ==, 0);
                g_assert_cmpint(data[0], ==, 0);
                data[0] = 1;
                image_free(img);
        }
        g_assert_cmpint(lseek(extents[0]->fd, 0, SEEK_END), ==, 0);
        extents_free();
}

/* Sparse extents: header, descriptor, directory, a table, grains of 4 KiB. */

#define GRAIN 8u
#define N_GRAINS 20u
#define TABLE_LEN 16u
#define DESCRIPTOR_AT 1u
#define DIRECTORY_AT 2u
#define TABLES_AT 3u
#define GRAINS_AT 8u
#define FILE_LEN (32u * SECTOR)
#define FLAG_ZERO 4u
#define FLAG_PACKED (3u << 16)

enum {
        AT_VERSION = 4,
        AT_FLAGS = 8,
        AT_SECTORS = 12,
        AT_GRAIN = 20,
        AT_DESCRIPTOR = 28,
        AT_DESCRIPTOR_LEN = 36,
        AT_TABLE_LEN = 44,
        AT_DIRECTORY = 56,
        AT_COMPRESSION = 77,
};

static void put(uint8_t *p, uint64_t v, size_t len) {
        v = GUINT64_TO_LE(v);
        memcpy(p, &v, len);
}

static void put_entry(uint8_t *file, uint32_t grain, uint32_t value) {
        put(file + (TABLES_AT + grain / TABLE_LEN) * SECTOR + grain % TABLE_LEN * 4, value, 4);
}

/* Grain 0 has 'a's, 1 and 2 lie behind one another, 3 is zeros, 19 is the last; the others are not there. */
static void lay_out(uint8_t *file) {
        static const char text[] = HEAD "createType=\"monolithicSparse\"\nRW 160 SPARSE \"self\"\n";

        memset(file, 0, FILE_LEN);
        memcpy(file, "KDMV", 4);
        put(file + AT_VERSION, 1, 4);
        put(file + AT_FLAGS, FLAG_ZERO, 4);
        put(file + AT_SECTORS, N_GRAINS * GRAIN, 8);
        put(file + AT_GRAIN, GRAIN, 8);
        put(file + AT_DESCRIPTOR, DESCRIPTOR_AT, 8);
        put(file + AT_DESCRIPTOR_LEN, 1, 8);
        put(file + AT_TABLE_LEN, TABLE_LEN, 4);
        put(file + AT_DIRECTORY, DIRECTORY_AT, 8);
        memcpy(file + DESCRIPTOR_AT * SECTOR, text, sizeof(text));
        put(file + DIRECTORY_AT * SECTOR, TABLES_AT, 4);
        put(file + DIRECTORY_AT * SECTOR + 4, TABLES_AT + 1, 4);
        put_entry(file, 0, GRAINS_AT);
        put_entry(file, 1, GRAINS_AT + GRAIN);
        put_entry(file, 2, GRAINS_AT + 2 * GRAIN);
        put_entry(file, 3, 1);
        put_entry(file, 19, GRAINS_AT);
        for (unsigned i = 0; i < 3; i++)
                memset(file + (GRAINS_AT + i * GRAIN) * SECTOR, (int) ('a' + i), GRAIN * SECTOR);
}

static void test_bad_header(void) {
        static const struct {
                size_t at, len;
                uint64_t value;
                const char *why;
        } bad[] = {
                { AT_VERSION, 4, 0, "version" },
                { AT_VERSION, 4, 4, "version" },
                { AT_FLAGS, 4, 1, "line ends" },
                { AT_FLAGS, 4, 1u << 16, "compression" },
                { AT_FLAGS, 4, 1u << 17, "without" },
                { AT_COMPRESSION, 2, 1, "compression" },
                { AT_COMPRESSION, 2, 256, "compression" },
                { AT_SECTORS, 8, UINT64_MAX, "size of the disk" },
                { AT_SECTORS, 8, 1ull << 40, "too large for its grains" },
                { AT_SECTORS, 8, 1ull << 20, "directory lies outside" },
                { AT_GRAIN, 8, 0, "size of a grain" },
                { AT_GRAIN, 8, 7, "size of a grain" },
                { AT_GRAIN, 8, 16384, "size of a grain" },
                { AT_GRAIN, 8, 1ull << 63, "size of a grain" },
                { AT_TABLE_LEN, 4, 0, "length of a table" },
                { AT_TABLE_LEN, 4, 513, "length of a table" },
                { AT_TABLE_LEN, 4, UINT32_MAX, "length of a table" },
                { AT_DIRECTORY, 8, 0, "directory lies outside" },
                { AT_DIRECTORY, 8, FILE_LEN / SECTOR, "directory lies outside" },
                { AT_DIRECTORY, 8, UINT64_MAX / SECTOR, "directory lies outside" },
                { AT_DIRECTORY, 8, UINT64_MAX, "at the end: " },
                { AT_DESCRIPTOR, 8, 0, "it is an extent" },
                { AT_DESCRIPTOR, 8, UINT64_MAX / SECTOR, "place of the descriptor" },
                { AT_DESCRIPTOR_LEN, 8, 0, "place of the descriptor" },
                { AT_DESCRIPTOR_LEN, 8, UINT64_MAX / SECTOR + 2, "place of the descriptor" },
        };
        static uint8_t file[FILE_LEN];

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                lay_out(file);
                put(file + bad[i].at, bad[i].value, bad[i].len);
                assert_refused(file, FILE_LEN, bad[i].why);
        }
        lay_out(file);
        assert_refused(file, 100, "VMDK");
        /* Several extents cannot be in one file. */
        lay_out(file);
        memcpy(file + DESCRIPTOR_AT * SECTOR, HEAD TYPE "RW 8 ZERO\nRW 8 ZERO\n",
               sizeof(HEAD TYPE "RW 8 ZERO\nRW 8 ZERO\n"));
        assert_refused(file, FILE_LEN, "names several extents");
}

static void check_read(struct image *img, unsigned grain, int r, char c) {
        char buf[GRAIN * SECTOR];

        memset(buf, 'x', sizeof(buf));
        g_assert_cmpint(image_read(img, (uint64_t) grain * sizeof(buf), buf, sizeof(buf)), ==, r);
        for (size_t i = 0; r == 0 && i < sizeof(buf); i++)
                g_assert_cmpint(buf[i], ==, c);
}

static void test_sparse(void) {
        static uint8_t file[FILE_LEN];
        struct image_check check = { 0 };
        struct image_extent x;
        struct image *img;
        char c = 1;

        lay_out(file);
        img = open_good(file, FILE_LEN);
        g_assert_cmpuint(img->size, ==, N_GRAINS * GRAIN * SECTOR);
        g_assert_true(img->readonly);
        g_assert_cmpint(image_write(img, 0, &c, 1), <, 0);
        for (unsigned i = 0; i < N_GRAINS; i++)
                check_read(img, i, 0, i < 3 ? (char) ('a' + i) : i == 19 ? 'a' : '\0');
        g_assert_cmpint(image_map(img, SECTOR, img->size - SECTOR, &x), ==, 0);
        g_assert_cmpint(x.kind, ==, IMAGE_DATA);
        g_assert_cmpuint(x.len, ==, (3 * GRAIN - 1) * SECTOR);
        g_assert_cmpuint(x.at, ==, (GRAINS_AT + 1) * SECTOR);
        g_assert_false(x.writable);
        g_assert_true(img->format->check(img, &check, NULL));
        g_assert_cmpuint(check.corruptions, ==, 0);
        g_assert_cmpuint(check.allocated, ==, 4);
        image_free(img);
}

static void test_bad_tables(void) {
        static const uint32_t places[] = { FILE_LEN / SECTOR, UINT32_MAX, 1u << 31 };
        static uint8_t file[FILE_LEN];

        for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
                struct image_check check = { 0 };
                struct image *img;

                lay_out(file);
                put_entry(file, 1, places[i]);
                put(file + DIRECTORY_AT * SECTOR + 4, places[i], 4);
                img = open_good(file, FILE_LEN);
                /* Each fails for itself. */
                check_read(img, 0, 0, 'a');
                check_read(img, 1, -EIO, 0);
                check_read(img, 2, 0, 'c');
                check_read(img, 3, 0, 0);
                check_read(img, 17, -EIO, 0);
                g_assert_true(img->format->check(img, &check, NULL));
                g_assert_cmpuint(check.corruptions, ==, 2);
                image_free(img);
        }
}

/* Streams: a marker (the grain's sector, the length) and zlib's bytes. */

static size_t pack(uint8_t *at, uint64_t sector, char c) {
        char data[GRAIN * SECTOR];
        uLongf len = 4096;

        memset(data, c, sizeof(data));
        g_assert_cmpint(compress(at + 12, &len, (Bytef *) data, sizeof(data)), ==, Z_OK);
        put(at, sector, 8);
        put(at + 8, len, 4);
        return len;
}

static size_t lay_out_stream(uint8_t *file) {
        lay_out(file);
        put(file + AT_FLAGS, FLAG_ZERO | FLAG_PACKED, 4);
        put(file + AT_COMPRESSION, 1, 2);
        (void) pack(file + (GRAINS_AT + GRAIN) * SECTOR, GRAIN, 'q');
        (void) pack(file + (GRAINS_AT + 2 * GRAIN) * SECTOR, 2 * GRAIN, 'r');
        return pack(file + GRAINS_AT * SECTOR, 0, 'p');
}

static void test_stream(void) {
        static uint8_t file[FILE_LEN];
        struct image *img;

        (void) lay_out_stream(file);
        img = open_good(file, FILE_LEN);
        g_assert_true(img->readonly);
        for (unsigned round = 0; round < 2; round++)
                for (unsigned i = 0; i < 6; i++)
                        check_read(img, i, 0, i < 3 ? (char) ('p' + i) : '\0');
        /* The marker there is that of grain 0. */
        check_read(img, 19, -EIO, 0);
        image_free(img);

        /* The header that counts is at the end. */
        memcpy(file + FILE_LEN - 2 * SECTOR, file, SECTOR);
        put(file + AT_DIRECTORY, UINT64_MAX, 8);
        img = open_good(file, FILE_LEN);
        check_read(img, 2, 0, 'r');
        image_free(img);
        assert_refused(file, FILE_LEN - SECTOR, "at the end: ");
        assert_refused(file, FILE_LEN - 1, "cut off");
        assert_refused(file, 2 * SECTOR, "cut off");
        put(file + FILE_LEN - 2 * SECTOR + AT_DIRECTORY, UINT64_MAX, 8);
        assert_refused(file, FILE_LEN, "directory lies outside");
}

static void test_bad_stream(void) {
        static uint8_t file[FILE_LEN];
        size_t len = lay_out_stream(file);
        const struct {
                size_t at, n;
                uint64_t value;
        } bad[] = {
                { 0, 8, GRAIN },        /* another's */
                { 0, 8, UINT64_MAX },   /* nobody's */
                { 8, 4, 0 },            /* nothing */
                { 8, 4, len - 1 },      /* cut off */
                { 8, 4, UINT32_MAX },   /* endless */
                { 8, 4, 64 * 1024 },    /* longer than a grain can be */
                { 12, 2, 0xffff },      /* no stream */
                { 12 + len - 4, 4, 0 }, /* its sum is wrong */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                struct image *img;

                (void) lay_out_stream(file);
                put(file + GRAINS_AT * SECTOR + bad[i].at, bad[i].value, bad[i].n);
                img = open_good(file, FILE_LEN);
                check_read(img, 1, 0, 'q');
                check_read(img, 0, -EIO, 0);
                check_read(img, 1, 0, 'q');
                image_free(img);
        }
}

static void test_large_grain(void) {
        static uint8_t file[FILE_LEN];
        struct image *img;
        uLongf len = 16384;
        g_autofree char *data = g_malloc0(GRAIN * SECTOR + SECTOR);

        /* More than a grain comes out of it. */
        (void) lay_out_stream(file);
        memset(data, 'z', GRAIN * SECTOR + SECTOR);
        g_assert_cmpint(compress(file + GRAINS_AT * SECTOR + 12, &len, (Bytef *) data,
                                 GRAIN * SECTOR + SECTOR),
                        ==, Z_OK);
        put(file + GRAINS_AT * SECTOR + 8, len, 4);
        img = open_good(file, FILE_LEN);
        check_read(img, 0, -EIO, 0);
        image_free(img);
}

static void test_sparse_extent(void) {
        static const char text[] = HEAD "createType=\"twoGbMaxExtentSparse\"\n"
                                        "RW 160 SPARSE \"a\"\nRW 16 ZERO\nRW 160 SPARSE \"a\"\n";
        static const char larger[] =
                        HEAD "createType=\"twoGbMaxExtentSparse\"\nRW 161 SPARSE \"a\"\n";
        static uint8_t file[FILE_LEN];
        struct image *img;

        extents_new();
        lay_out(file);
        put(file + AT_DESCRIPTOR, 0, 8);
        g_assert_cmpint(image_file_write(extents[0], 0, file, FILE_LEN), ==, 0);
        img = open_good(text, strlen(text));
        g_assert_true(img->readonly);
        g_assert_cmpuint(img->size, ==, 336 * SECTOR);
        check_read(img, 1, 0, 'b');
        check_read(img, 20, 0, 0);
        check_read(img, 22, 0, 'a');
        check_read(img, 24, 0, 'c');
        image_free(img);
        assert_refused(larger, strlen(larger), "smaller than the descriptor says");
        extents_free();
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vmdk/descriptor/bad", test_bad_descriptor);
        g_test_add_func("/vmdk/descriptor/long", test_long_descriptor);
        g_test_add_func("/vmdk/descriptor/not-permitted", test_not_permitted);
        g_test_add_func("/vmdk/descriptor/nul", test_nul);
        g_test_add_func("/vmdk/sparse/bad-header", test_bad_header);
        g_test_add_func("/vmdk/sparse/bad-tables", test_bad_tables);
        g_test_add_func("/vmdk/stream/bad", test_bad_stream);
        g_test_add_func("/vmdk/stream/large-grain", test_large_grain);
        g_test_add_func("/vmdk/flat", test_flat);
        g_test_add_func("/vmdk/flat/readonly", test_flat_readonly);
        g_test_add_func("/vmdk/sparse", test_sparse);
        g_test_add_func("/vmdk/sparse/extent", test_sparse_extent);
        g_test_add_func("/vmdk/stream", test_stream);
        return g_test_run();
}
