/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of VHDX: whatever write the power goes at, everything that was flushed is there afterwards, nothing else has changed, and the
 * tables hold together, read with and without leave to write; a disk that fails or is full loses nothing that was flushed;
 * headers, regions, metadata, tables and logs that are wrong are refused with a sentence, as are differences; sectors of
 * 4096 bytes are read; what is zeroed or discarded reads as zeros.
 */

#include <errno.h>
#include <string.h>

#include "devices/block/image/crc32c.h"
#include "devices/block/image/vhdx-private.h"
#include "power-disk.h"

#define MIB VHDX_MIB
#define DISK (8u * MIB)
#define PIECE 4096u
#define N_PLACES 24u

static struct image_options *options_of(const char *text) {
        struct image_options *o = image_options_new();
        g_autoptr(GError) error = NULL;

        if (text)
                g_assert_true(image_options_parse(o, text, &error));
        g_assert_no_error(error);
        return o;
}

static void create(struct image_file *file, uint64_t size, const char *text) {
        g_autoptr(image_options) o = options_of(text);
        g_autoptr(GError) error = NULL;
        bool created = image_vhdx.create(file, size, o, &error);

        g_assert_no_error(error);
        g_assert_true(created);
        g_assert_true(image_options_end(o, "vhdx", NULL));
}

/* Takes the file over. */
static struct image *
open_image(struct image_file *file, bool readonly, bool for_check, GError **error) {
        const struct image_open how = {
                .format = "vhdx",
                .readonly = readonly,
                .for_check = for_check,
        };

        return image_open(file, &how, error);
}

static struct image *open_good(struct image_file *file, bool readonly) {
        g_autoptr(GError) error = NULL;
        struct image *img = open_image(file, readonly, /* for_check= */ false, &error);

        g_assert_no_error(error);
        return img;
}

static void check_clean(struct image *img) {
        struct image_check check = { 0 };
        g_autoptr(GError) error = NULL;

        g_assert_true(img->format->check(img, &check, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(check.corruptions, ==, 0);
}

/* What was written to a place, in order; which of it is flushed. */
struct history {
        uint64_t offset;
        uint8_t values[16];
        unsigned events[16]; /* of the disk, when it was flushed; G_MAXUINT: never */
        unsigned begun[16];  /* when it was written */
        unsigned n;
};

struct run {
        struct history places[N_PLACES];
        uint64_t sizes[4];
        unsigned resized[4]; /* events */
        unsigned n_sizes;
};

static void write_piece(struct image *img, struct power_disk *d, struct history *h, uint8_t value) {
        uint8_t data[PIECE];

        g_assert_cmpuint(h->n, <, G_N_ELEMENTS(h->values));
        memset(data, value, sizeof(data));
        h->values[h->n] = value;
        h->events[h->n] = G_MAXUINT;
        h->begun[h->n++] = power_disk_events(d);
        g_assert_cmpint(image_write(img, h->offset, data, sizeof(data)), ==, 0);
}

static void flush(struct image *img, struct power_disk *d, struct run *run) {
        g_assert_cmpint(image_flush(img), ==, 0);
        for (unsigned i = 0; i < N_PLACES; i++)
                for (unsigned j = 0; j < run->places[i].n; j++)
                        run->places[i].events[j] =
                                        MIN(run->places[i].events[j], power_disk_events(d));
}

/* Whether a place may hold a value after a cut. */
static bool may_be(const struct history *h, unsigned cut, uint8_t value) {
        int flushed = -1;

        for (unsigned i = 0; i < h->n; i++)
                if (h->events[i] <= cut)
                        flushed = (int) i;
        if (flushed < 0 && value == 0)
                return true;
        for (unsigned i = (unsigned) MAX(flushed, 0); i < h->n; i++)
                if (h->values[i] == value && ((int) i == flushed || h->begun[i] <= cut))
                        return true;
        return false;
}

static const struct history *find_place(const struct run *run, uint64_t offset) {
        for (unsigned i = 0; i < N_PLACES; i++)
                if (offset >= run->places[i].offset && offset < run->places[i].offset + PIECE)
                        return &run->places[i];
        return NULL;
}

static void compare(struct image *img, const struct run *run, unsigned cut) {
        static uint8_t buf[MIB];

        for (uint64_t at = 0; at < img->size; at += sizeof(buf)) {
                size_t len = (size_t) MIN(sizeof(buf), img->size - at);
                struct image_extent x;

                g_assert_cmpint(image_map(img, at, len, &x), ==, 0);
                if (x.kind == IMAGE_ZERO && x.len == len)
                        memset(buf, 0, len);
                else
                        g_assert_cmpint(image_read(img, at, buf, len), ==, 0);
                for (size_t sector = 0; sector < len; sector += 512) {
                        const struct history *h = find_place(run, at + sector);

                        g_assert_cmpint(memcmp(buf + sector, buf + sector + 1, 511), ==, 0);
                        if (h ? !may_be(h, cut, buf[sector]) : buf[sector] != 0)
                                g_error("cut at %u: byte %" G_GUINT64_FORMAT " is %u", cut,
                                        at + sector, buf[sector]);
                }
        }
}

static void check_size(const struct image *img, const struct run *run, unsigned cut) {
        uint64_t least = DISK;
        bool known = img->size == DISK;

        for (unsigned i = 0; i < run->n_sizes; i++) {
                if (run->resized[i] <= cut)
                        least = run->sizes[i];
                known = known || img->size == run->sizes[i];
        }
        g_assert_true(known);
        g_assert_cmpuint(img->size, >=, least);
}

static void check_cut(struct power_disk *d, const struct run *run, unsigned cut, uint32_t seed) {
        for (unsigned readonly = 0; readonly < 2; readonly++) {
                struct image *img = open_good(power_disk_cut(d, cut, seed), readonly);

                check_size(img, run, cut);
                compare(img, run, cut);
                check_clean(img);
                g_assert_cmpint(image_close(img), ==, 0);
        }
}

static void check_cuts(struct power_disk *d, const struct run *run) {
        unsigned events = power_disk_events(d);

        g_assert_cmpuint(events, >, 20);
        for (unsigned cut = 0; cut <= events; cut++)
                for (uint32_t seed = 0; seed < 3; seed++)
                        check_cut(d, run, cut, seed);
}

static void place(struct run *run) {
        for (unsigned i = 0; i < N_PLACES; i++)
                run->places[i].offset = (uint64_t) (i % 8) * MIB + i / 8 * 300000 / PIECE * PIECE;
}

/* A disk that holds an empty image, with nothing written down. */
static struct power_disk *new_disk(const char *options) {
        struct power_disk *d = power_disk_new(64u * MIB);
        struct image_file *file = power_disk_open(d, /* readonly= */ false);

        create(file, DISK, options);
        g_assert_cmpint(image_file_sync(file), ==, 0);
        (void) image_file_free(file);
        power_disk_settle(d);
        return d;
}

static void test_power(void) {
        g_autoptr(power_disk) d = new_disk("block_size=1M");
        struct run run = { 0 };

        place(&run);
        for (unsigned session = 0; session < 2; session++) {
                struct image *img =
                                open_good(power_disk_open(d, /* readonly= */ false),
                                          /* readonly= */ false);

                for (unsigned i = 0; i < 8; i++) {
                        write_piece(img, d, &run.places[session * 8 + i],
                                    (uint8_t) (1 + session * 8 + i));
                        if (i % 3 == 2)
                                flush(img, d, &run);
                        write_piece(img, d, &run.places[i], (uint8_t) (100 + session * 8 + i));
                }
                flush(img, d, &run);
                g_assert_cmpint(image_close(img), ==, 0);
        }
        check_cuts(d, &run);
}

/* Power that goes while what an earlier cut left in the log is brought to its place. */
static void test_power_in_replay(void) {
        g_autoptr(power_disk) d = new_disk("block_size=1M"), again = power_disk_new(64u * MIB);
        struct run run = { 0 }, flushed = { 0 };
        struct image *img = open_good(power_disk_open(d, /* readonly= */ false), false);
        g_autoptr(image_file) cut = NULL;
        struct image_file *file;
        g_autofree uint8_t *bytes = NULL;

        place(&run);
        for (unsigned i = 0; i < 4; i++)
                write_piece(img, d, &run.places[i], (uint8_t) (1 + i));
        flush(img, d, &run);
        /* One in which the table has not got what the log has. */
        for (uint32_t seed = 1; !cut; seed++) {
                uint64_t entry = 0;

                cut = power_disk_cut(d, power_disk_events(d), seed);
                g_assert_cmpint(image_file_read(cut, 3 * MIB, &entry, sizeof(entry)), ==, 0);
                if (entry != 0)
                        cut = image_file_free(cut);
        }
        g_assert_cmpint(image_close(img), ==, 0);
        bytes = g_malloc(cut->size);
        g_assert_cmpint(image_file_read(cut, 0, bytes, cut->size), ==, 0);
        file = power_disk_open(again, /* readonly= */ false);
        g_assert_cmpint(image_file_write(file, 0, bytes, cut->size), ==, 0);
        g_assert_cmpint(image_file_sync(file), ==, 0);
        (void) image_file_free(file);
        power_disk_settle(again);
        /* All of it was flushed before anything that this disk sees. */
        flushed = run;
        for (unsigned i = 0; i < N_PLACES; i++)
                for (unsigned j = 0; j < flushed.places[i].n; j++)
                        flushed.places[i].events[j] = flushed.places[i].begun[j] = 0;
        img = open_good(power_disk_open(again, /* readonly= */ false), false);
        g_assert_cmpint(image_close(img), ==, 0);
        g_assert_cmpuint(power_disk_events(again), >, 5);
        for (unsigned n = 0; n <= power_disk_events(again); n++)
                for (uint32_t seed = 0; seed < 16; seed++)
                        check_cut(again, &flushed, n, seed);
}

static void resize(struct image *img, struct power_disk *d, struct run *run, uint64_t size) {
        g_autoptr(GError) error = NULL;

        g_assert_true(img->format->resize(img, size, &error));
        g_assert_no_error(error);
        run->sizes[run->n_sizes] = size;
        run->resized[run->n_sizes++] = G_MAXUINT;
        flush(img, d, run);
        run->resized[run->n_sizes - 1] = power_disk_events(d);
}

static void test_power_in_resize(gconstpointer options) {
        g_autoptr(power_disk) d = new_disk(options);
        struct run run = { 0 };
        struct image *img = open_good(power_disk_open(d, /* readonly= */ false), false);

        place(&run);
        write_piece(img, d, &run.places[7], 7);
        resize(img, d, &run, 12u * MIB + 512);
        write_piece(img, d, &run.places[3], 3);
        run.places[20].offset = 11u * MIB;
        write_piece(img, d, &run.places[20], 20);
        resize(img, d, &run, 13u * MIB);
        g_assert_cmpint(image_close(img), ==, 0);
        check_cuts(d, &run);
}

/* Whatever the power leaves of it: a table that has moved to another region, or the one that there was, with all that was flushed. */
static void check_moved(struct power_disk *d, const struct run *run, unsigned n, uint32_t seed) {
        struct image_file *file = power_disk_cut(d, n, seed);
        struct image *img = open_good(file, false);
        uint8_t data[PIECE];

        check_size(img, run, n);
        for (unsigned i = 0; i < N_PLACES; i++) {
                const struct history *h = &run->places[i];

                if (h->offset > img->size - PIECE)
                        continue;
                g_assert_cmpint(image_read(img, h->offset, data, PIECE), ==, 0);
                for (unsigned j = 0; j < PIECE; j += 512)
                        g_assert_true(may_be(h, n, data[j]));
        }
        check_clean(img);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void test_table_moves(void) {
        g_autoptr(power_disk) d = new_disk("block_size=1M");
        struct run run = { 0 };
        struct image *img = open_good(power_disk_open(d, /* readonly= */ false), false);
        struct vhdx *v = (struct vhdx *) img;
        uint64_t first = v->bat_at;

        place(&run);
        write_piece(img, d, &run.places[7], 7);
        resize(img, d, &run, 130ull << 30);
        g_assert_cmpuint(v->bat_at, !=, first);
        g_assert_cmpuint(v->bat_len, ==, 2 * MIB);
        write_piece(img, d, &run.places[3], 3);
        run.places[20].offset = 129ull << 30;
        write_piece(img, d, &run.places[20], 20);
        flush(img, d, &run);
        g_assert_cmpint(image_close(img), ==, 0);
        for (unsigned n = 0; n <= power_disk_events(d); n++)
                for (uint32_t seed = 0; seed < 4; seed++)
                        check_moved(d, &run, n, seed);
}

/* What is cut off is gone from table and file, and zeros when it comes back. */
static void test_shrinks(void) {
        g_autoptr(power_disk) d = new_disk("block_size=1M");
        struct run run = { 0 };
        struct image *img = open_good(power_disk_open(d, /* readonly= */ false), false);
        uint64_t all = img->size, half = 5 * MIB + 512, length;
        g_autofree uint8_t *data = g_malloc(MIB);

        memset(data, 9, MIB);
        for (uint64_t at = 0; at < all; at += MIB)
                g_assert_cmpint(image_write(img, at, data, (size_t) MIN(MIB, all - at)), ==, 0);
        length = img->file->size;
        resize(img, d, &run, half);
        g_assert_cmpuint(img->file->size, <=, length - (all - half) / MIB * MIB + MIB);
        check_clean(img);
        resize(img, d, &run, all);
        for (uint64_t at = 0; at < all; at += 512) {
                g_assert_cmpint(image_read(img, at, data, 512), ==, 0);
                g_assert_cmphex(data[0], ==, at < half ? 9 : 0);
                g_assert_cmphex(data[511], ==, at < half ? 9 : 0);
        }
        check_clean(img);
        g_assert_cmpint(image_close(img), ==, 0);
}

/* The n-th write or sync fails, or all from then on: an error, and what was flushed stays. */
static void test_failing(void) {
        for (unsigned n = 1; n < 30; n++) {
                g_autoptr(power_disk) d = new_disk("block_size=1M");
                struct run run = { 0 };
                struct image *img = open_good(power_disk_open(d, /* readonly= */ false), false);
                uint8_t data[PIECE];
                bool failed = false;

                place(&run);
                write_piece(img, d, &run.places[0], 1);
                write_piece(img, d, &run.places[1], 2);
                flush(img, d, &run);
                power_disk_fail(d, n, n % 2 ? EIO : ENOSPC, n % 4 < 2, /* reads_too= */ false);
                memset(data, 5, sizeof(data));
                for (unsigned i = 2; i < 8; i++) {
                        run.places[i].values[0] = 5;
                        run.places[i].events[0] = G_MAXUINT;
                        run.places[i].n = 1;
                        failed |= image_write(img, run.places[i].offset, data, sizeof(data)) < 0;
                        failed |= image_flush(img) < 0;
                }
                failed |= image_close(img) < 0;
                power_disk_fail(d, 0, 0, false, false);
                g_assert_true(failed || n > 10);
                img = open_good(power_disk_open(d, /* readonly= */ false), false);
                compare(img, &run, G_MAXUINT - 1);
                check_clean(img);
                g_assert_cmpint(image_close(img), ==, 0);
        }
}

/* A whole image in memory. */
static uint8_t *image_bytes(const char *options, size_t *ret_n) {
        g_autoptr(image_file) file = memory_file_new(NULL, 0);
        uint8_t *bytes;

        create(file, DISK, options);
        *ret_n = file->size;
        bytes = g_malloc(file->size);
        g_assert_cmpint(image_file_read(file, 0, bytes, file->size), ==, 0);
        return bytes;
}

static void sum(uint8_t *at, size_t len) {
        vhdx_put32(at + 4, 0);
        vhdx_put32(at + 4, crc32c(at, len));
}

enum {
        HEADERS = 1,
        REGIONS = 2
};

static const struct bad {
        uint64_t at;
        uint64_t value;
        unsigned size; /* bytes of value */
        unsigned sums; /* that are made right */
        const char *message;
} bads[] = {
        { 0, 0, 1, 0, "does not begin as one" },
        { 0, 0x11, 1, 0, "does not begin as one" },
        { 65536 + 66, 2, 2, HEADERS, "version" },
        { 65536 + 68, 0, 4, HEADERS, "log is in a wrong place" },
        { 65536 + 68, 4096, 4, HEADERS, "log is in a wrong place" },
        { 65536 + 68, 0xfff00000, 4, HEADERS, "regions are in wrong places" },
        { 65536 + 72, 0, 8, HEADERS, "log is in a wrong place" },
        { 65536 + 72, 0x7ffffffffff00000, 8, HEADERS, "log is in a wrong place" },
        { 65536 + 72, 0xfffffffffff00000, 8, HEADERS, "log is in a wrong place" },
        { 196608, 0, 1, 0, "no valid table of regions" },
        { 196608 + 8, 2048, 4, REGIONS, "no valid table of regions" },
        { 196608 + 8, 1, 4, REGIONS, "lacks a region" },
        { 196608 + 8, 3, 4, REGIONS, NULL }, /* an unknown one that is not required */
        { 196608 + 16, 0, 1, REGIONS, "needs a region" },
        { 196608 + 32, 0, 8, REGIONS, "regions are in wrong places" },
        { 196608 + 32, MIB + 4096, 8, REGIONS, "regions are in wrong places" },
        { 196608 + 32, 2 * MIB, 8, REGIONS, "regions are in wrong places" },
        { 196608 + 32, 0x7ffffffffff00000, 8, REGIONS, "regions are in wrong places" },
        { 196608 + 40, 0, 4, REGIONS, "regions are in wrong places" },
        { 196608 + 40, 4096, 4, REGIONS, "regions are in wrong places" },
        { 2 * MIB, 0, 1, 0, "no valid metadata" },
        { 2 * MIB + 10, 2048, 2, 0, "no valid metadata" },
        { 2 * MIB + 10, 2, 2, 0, "lacks an item" },
        { 2 * MIB + 32, 0, 1, 0, "needs an item" },
        { 2 * MIB + 48, 0, 4, 0, "item in a wrong place" },
        { 2 * MIB + 48, 0xfffffff0, 4, 0, "item in a wrong place" },
        { 2 * MIB + 52, 0xffffffff, 4, 0, "item in a wrong place" },
        { 2 * MIB + 65536, 0, 4, 0, "blocks have a wrong size" },
        { 2 * MIB + 65536, 3 * MIB, 4, 0, "blocks have a wrong size" },
        { 2 * MIB + 65536, 512 * MIB, 4, 0, "blocks have a wrong size" },
        { 2 * MIB + 65536 + 4, 2, 4, 0, "differencing" },
        { 2 * MIB + 65536 + 64, 0, 8, 0, "disk has a wrong size" },
        { 2 * MIB + 65536 + 64, 511, 8, 0, "disk has a wrong size" },
        { 2 * MIB + 65536 + 64, UINT64_MAX - 511, 8, 0, "disk has a wrong size" },
        { 2 * MIB + 65536 + 64, 1ull << 40, 8, 0, "too short for the disk" },
        { 2 * MIB + 65536 + 64, 64ull << 40, 8, 0, "larger than 64 MiB" },
        { 2 * MIB + 65536 + 192, 513, 4, 0, "sectors have a wrong size" },
        { 2 * MIB + 65536 + 256, 0, 4, 0, "sectors have a wrong size" },
        { 3 * MIB, 4, 8, 0, "wrong entry for block 0" },
        { 3 * MIB + 8, VHDX_PARTIAL, 8, 0, "wrong entry for block 1" },
        { 3 * MIB, VHDX_PRESENT, 8, 0, "wrong entry for block 0" },
        { 3 * MIB, MIB | VHDX_PRESENT, 8, 0, "wrong entry for block 0" },
        { 3 * MIB, (3 * MIB) | VHDX_PRESENT, 8, 0, "wrong entry for block 0" },
        { 3 * MIB, 0xfffffffffff00000 | VHDX_PRESENT, 8, 0, "wrong entry for block 0" },
        { 3 * MIB, (1ull << 40) | VHDX_PRESENT, 8, 0, "wrong entry for block 0" },
        { 3 * MIB, VHDX_UNMAPPED, 8, 0, NULL },
        { 3 * MIB, VHDX_UNDEFINED, 8, 0, NULL },
        { 3 * MIB, VHDX_ZERO, 8, 0, NULL },
};

static void apply(uint8_t *bytes, const struct bad *bad, unsigned copy) {
        uint64_t value = GUINT64_TO_LE(bad->value);

        memcpy(bytes + bad->at + copy * 65536, &value, bad->size);
        if (bad->sums & HEADERS)
                sum(bytes + 65536 * (1 + copy), VHDX_PAGE);
        if (bad->sums & REGIONS)
                sum(bytes + VHDX_REGIONS_AT(copy), VHDX_REGIONS_LEN);
}

static void test_bad(void) {
        size_t n;
        g_autofree uint8_t *good = image_bytes("block_size=1M", &n);

        for (size_t i = 0; i < G_N_ELEMENTS(bads); i++) {
                const struct bad *bad = &bads[i];
                g_autofree uint8_t *bytes = g_memdup2(good, n);
                g_autoptr(GError) error = NULL;
                g_autoptr(image) img = NULL;

                apply(bytes, bad, 0);
                if (bad->at >= 65536 && bad->at < MIB)
                        apply(bytes, bad, 1);
                img = open_image(memory_file_new(bytes, n), i % 2, /* for_check= */ false, &error);
                if (!bad->message) {
                        g_assert_no_error(error);
                        continue;
                }
                if (img)
                        g_error("case %zu (%s) was taken", i, bad->message);
                if (!strstr(error->message, bad->message))
                        g_error("case %zu: '%s' and not '%s'", i, error->message, bad->message);
        }
}

/* One of the two copies is enough. */
static void test_copies(void) {
        size_t n;
        g_autofree uint8_t *good = image_bytes("block_size=1M", &n);
        static const size_t places[] = { 65536 + 100, 131072 + 100, 196608 + 100, 262144 + 100 };

        for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
                g_autofree uint8_t *bytes = g_memdup2(good, n);
                struct image *img;

                bytes[places[i]] ^= 1;
                img = open_good(memory_file_new(bytes, n), /* readonly= */ true);
                g_assert_cmpint(image_close(img), ==, 0);
        }
        good[65536 + 100] ^= 1;
        good[131072 + 100] ^= 1;
        {
                g_autoptr(GError) error = NULL;

                g_assert_null(open_image(memory_file_new(good, n), true, false, &error));
                g_assert_nonnull(strstr(error->message, "no valid header"));
        }
}

/* An entry of a log, at its beginning, whose sum is right; for tests to change. */
static uint8_t *put_log(uint8_t *bytes, uint64_t target, uint64_t flushed) {
        uint8_t *e = bytes + MIB, *d = e + 64, *data = e + VHDX_PAGE;

        for (unsigned copy = 0; copy < 2; copy++) {
                memset(bytes + 65536 * (1 + copy) + 48, 0xab, 16);
                sum(bytes + 65536 * (1 + copy), VHDX_PAGE);
        }
        memcpy(e, "loge", 4);
        vhdx_put32(e + 8, 2 * VHDX_PAGE);
        vhdx_put64(e + 16, 1);
        vhdx_put32(e + 24, 1);
        memset(e + 32, 0xab, 16);
        vhdx_put64(e + 48, flushed);
        vhdx_put64(e + 56, flushed);
        memcpy(d, "desc", 4);
        vhdx_put64(d + 8, VHDX_ZERO);
        vhdx_put64(d + 16, target);
        vhdx_put64(d + 24, 1);
        memset(data, 0, VHDX_PAGE);
        memcpy(data, "data", 4);
        vhdx_put32(data + VHDX_PAGE - 4, 1);
        sum(e, 2 * VHDX_PAGE);
        return e;
}

static void refuse(const uint8_t *bytes, size_t n, const char *message) {
        g_autoptr(GError) error = NULL;

        g_assert_null(open_image(memory_file_new(bytes, n), true, false, &error));
        if (!strstr(error->message, message))
                g_error("'%s' and not '%s'", error->message, message);
}

static void test_bad_logs(void) {
        static const uint64_t targets[] = { 0, 65536, 131072, MIB, MIB + 8192, UINT64_MAX - 4095 };
        static const size_t harmless[] = {
                0, 8, 12, 16, 24, 32, 64, 80, 88, 4096, 4100, 8188, 5000
        };
        size_t n;
        g_autofree uint8_t *good = image_bytes("block_size=1M,subformat=fixed", &n);

        for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
                g_autofree uint8_t *bytes = g_memdup2(good, n);

                (void) put_log(bytes, targets[i], 4 * MIB);
                refuse(bytes, n, "log changes what it may not");
        }
        for (size_t i = 0; i < G_N_ELEMENTS(harmless); i++) {
                g_autofree uint8_t *bytes = g_memdup2(good, n);
                uint8_t *e = put_log(bytes, 3 * MIB, 4 * MIB);
                struct image *img;

                struct image_extent x;

                /* Not an entry any more, or torn: there is nothing to be replayed. */
                e[harmless[i]] ^= 0x55;
                img = open_good(memory_file_new(bytes, n), i % 2);
                g_assert_cmpint(image_map(img, 0, DISK, &x), ==, 0);
                g_assert_cmpint(x.kind, ==, IMAGE_DATA);
                g_assert_cmpuint(x.len, ==, DISK);
                g_assert_cmpint(image_close(img), ==, 0);
        }
        (void) put_log(good, 3 * MIB, 13 * MIB);
        refuse(good, n, "speaks of a longer file");
}

/* A log in use changes what is read, for those who may not write as for those who may. */
static void test_replay(void) {
        size_t n;
        g_autofree uint8_t *bytes = image_bytes("block_size=1M,subformat=fixed", &n);
        g_autoptr(image_file) after = NULL;

        memset(bytes + 4 * MIB, 'x', 3 * MIB);
        (void) put_log(bytes, 3 * MIB, 4 * MIB);
        for (unsigned readonly = 0; readonly < 2; readonly++) {
                struct image *img = open_good(memory_file_new(bytes, n), readonly);
                struct image_extent x;

                g_assert_cmpint(image_map(img, 0, DISK, &x), ==, 0);
                g_assert_cmpint(x.kind, ==, IMAGE_ZERO);
                g_assert_cmpuint(x.len, ==, DISK);
                g_assert_cmpint(image_close(img), ==, 0);
        }
}

static void test_sectors(void) {
        g_autoptr(image_file) file = memory_file_new(NULL, 0);
        g_autofree uint8_t *bytes = NULL;
        size_t n = 0;
        struct image *img;
        uint8_t data[512], back[512];

        bytes = image_bytes("sector_size=4096,block_size=1M", &n);
        img = open_good(memory_file_new(bytes, n), /* readonly= */ false);
        memset(data, 9, sizeof(data));
        g_assert_cmpint(image_write(img, DISK - 512, data, sizeof(data)), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        g_assert_cmpint(image_read(img, DISK - 512, back, sizeof(back)), ==, 0);
        g_assert_cmpmem(data, sizeof(data), back, sizeof(back));
        check_clean(img);
        g_assert_cmpint(image_close(img), ==, 0);
        {
                g_autoptr(image_options) o = options_of("sector_size=4096");
                g_autoptr(GError) error = NULL;

                g_assert_false(image_vhdx.create(file, 512, o, &error));
                g_assert_nonnull(strstr(error->message, "multiple of its sector"));
        }
}

static void test_options(void) {
        static const char *const wrong[] = {
                "block_size=512K", "block_size=3M",  "block_size=512M",  "log_size=1",
                "log_size=128M",   "sector_size=1K", "subformat=sparse",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autoptr(image_file) file = memory_file_new(NULL, 0);
                g_autoptr(image_options) o = options_of(wrong[i]);
                g_autoptr(GError) error = NULL;

                g_assert_false(image_vhdx.create(file, DISK, o, &error));
                g_assert_nonnull(error);
        }
        for (uint64_t size = 0; size <= (65ull << 40); size += 65ull << 40) {
                g_autoptr(image_file) file = memory_file_new(NULL, 0);
                g_autoptr(image_options) o = options_of(NULL);

                g_assert_false(image_vhdx.create(file, size, o, NULL));
        }
}

static void test_zero(void) {
        size_t n;
        g_autofree uint8_t *bytes = image_bytes("block_size=1M", &n), *data = g_malloc(2 * MIB),
                           *back = g_malloc(2 * MIB);
        struct image *img = open_good(memory_file_new(bytes, n), /* readonly= */ false);

        memset(data, 'x', 2 * MIB);
        g_assert_cmpint(image_write(img, MIB / 2, data, 2 * MIB), ==, 0);
        g_assert_cmpint(image_zero(img, MIB / 2 + 1000, 100000, /* unmap= */ false), ==, 0);
        g_assert_cmpint(image_zero(img, MIB + 4096, 8192, /* unmap= */ true), ==, 0);
        g_assert_cmpint(image_zero(img, 4 * MIB, 2 * MIB, /* unmap= */ true), ==, 0);
        memset(data + 1000, 0, 100000);
        memset(data + MIB / 2 + 4096, 0, 8192);
        g_assert_cmpint(image_read(img, MIB / 2, back, 2 * MIB), ==, 0);
        g_assert_cmpmem(data, 2 * MIB, back, 2 * MIB);
        g_assert_cmpint(image_discard(img, 0, DISK), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        check_clean(img);
        g_assert_cmpint(image_close(img), ==, 0);
}

static void on_finding(void *opaque, bool corruption, bool repaired, const char *message) {
        g_string_append_printf(opaque, "%d%d %s;", corruption, repaired, message);
}

static void test_check(void) {
        g_autoptr(GString) found = g_string_new(NULL);
        struct image_check check = { .finding = on_finding, .opaque = found };
        size_t n;
        g_autofree uint8_t *bytes = image_bytes("block_size=1M,subformat=fixed", &n);
        g_autofree uint8_t *longer = g_realloc(image_bytes("block_size=1M", &n), n + 2 * MIB);
        g_autoptr(GError) error = NULL;
        struct image *img;

        /* The second block lies where the first one does, the third nowhere. */
        memcpy(bytes + 3 * MIB + 8, bytes + 3 * MIB, 8);
        bytes[3 * MIB + 16] = 5;
        img = open_image(memory_file_new(bytes, 12 * MIB), true, /* for_check= */ true, &error);
        g_assert_no_error(error);
        g_assert_true(img->format->check(img, &check, &error));
        g_assert_cmpuint(check.corruptions, ==, 2);
        g_assert_nonnull(strstr(found->str, "10 block 2 has a wrong entry, 0x600005;"));
        g_assert_nonnull(strstr(found->str, "share a place;"));
        g_assert_cmpint(image_close(img), ==, 0);

        memset(longer + n, 0, 2 * MIB);
        for (unsigned repair = 0; repair < 2; repair++) {
                struct image_check leaks = { .repair_leaks = repair };

                img = open_good(memory_file_new(longer, n + 2 * MIB), /* readonly= */ false);
                g_assert_true(img->format->check(img, &leaks, &error));
                g_assert_cmpuint(leaks.leaks, ==, repair ? 0 : 2);
                g_assert_cmpuint(leaks.fixed_leaks, ==, repair ? 2 : 0);
                g_assert_cmpuint(img->file->size, ==, repair ? n : n + 2 * MIB);
                g_assert_cmpint(image_close(img), ==, 0);
        }
}

static void test_crc(void) {
        /* RFC 3720, B.4: zeros, ones, rising; and the usual one. */
        uint8_t data[32] = { 0 };

        g_assert_cmphex(crc32c(data, 32), ==, 0x8a9136aa);
        memset(data, 0xff, 32);
        g_assert_cmphex(crc32c(data, 32), ==, 0x62a8ab43);
        for (uint8_t i = 0; i < 32; i++)
                data[i] = i;
        g_assert_cmphex(crc32c(data, 32), ==, 0x46dd794e);
        g_assert_cmphex(crc32c("123456789", 9), ==, 0xe3069283);
        for (size_t from = 0; from < 9; from++)
                for (size_t len = 0; from + len <= sizeof(data); len++)
                        g_assert_cmphex(crc32c(data + from, len), ==,
                                        crc32c_by_tables(data + from, len));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhdx/crc", test_crc);
        g_test_add_func("/vhdx/options", test_options);
        g_test_add_func("/vhdx/bad", test_bad);
        g_test_add_func("/vhdx/copies", test_copies);
        g_test_add_func("/vhdx/bad-logs", test_bad_logs);
        g_test_add_func("/vhdx/replay", test_replay);
        g_test_add_func("/vhdx/sectors", test_sectors);
        g_test_add_func("/vhdx/zero", test_zero);
        g_test_add_func("/vhdx/check", test_check);
        g_test_add_func("/vhdx/failing", test_failing);
        g_test_add_func("/vhdx/power", test_power);
        g_test_add_func("/vhdx/power-in-replay", test_power_in_replay);
        g_test_add_func("/vhdx/table-moves", test_table_moves);
        g_test_add_func("/vhdx/shrinks", test_shrinks);
        g_test_add_data_func("/vhdx/power-in-resize", "block_size=1M", test_power_in_resize);
        g_test_add_data_func(
                        "/vhdx/power-in-resize-fixed", "block_size=1M,subformat=fixed",
                        test_power_in_resize);
        return g_test_run();
}
