/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of VHD images: every field that could lead astray is refused; what a guest writes to a fixed one never makes it another; a sector
 * without its bit is zeros; random changes leave what a model of them has, also when the power goes at any write; a full or broken disk loses
 * nothing that was flushed; and qemu-img takes our images as we take its.
 */

#include "devices/block/image/vhd-layout.h"
#include "hypervisor/error.h"
#include "tests/unit/block/image/power-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define BLOCK VHD_BLOCK_MIN
#define BITMAP 512u
#define BLOCKS 20u
#define DISK (BLOCKS * BLOCK - 512u)
#define HEADER_AT 512u
#define TABLE_AT 1536u
#define FIRST_BLOCK (TABLE_AT + 512u)

static void sign(struct vhd_footer *f, struct vhd_header *h) {
        vhd_footer_sign(f);
        h->checksum = GUINT32_TO_BE(
                        vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header, checksum)));
}

static void fill(struct vhd_footer *f, struct vhd_header *h) {
        vhd_footer_fill(f, VHD_DYNAMIC, DISK);
        *h = (struct vhd_header){
                .next = UINT64_MAX,
                .table_offset = GUINT64_TO_BE(TABLE_AT),
                .version = GUINT32_TO_BE(VHD_VERSION),
                .entries = GUINT32_TO_BE(BLOCKS),
                .block_size = GUINT32_TO_BE(BLOCK),
        };
        memcpy(h->cookie, VHD_HEADER_COOKIE, 8);
        sign(f, h);
}

/* An empty dynamic image with small blocks. */
static void lay_out(struct image_file *file, struct vhd_footer *f, struct vhd_header *h) {
        uint8_t table[512];

        memset(table, 0xff, sizeof(table));
        g_assert_cmpint(image_file_write(file, 0, f, sizeof(*f)), ==, 0);
        g_assert_cmpint(image_file_write(file, HEADER_AT, h, sizeof(*h)), ==, 0);
        g_assert_cmpint(image_file_write(file, TABLE_AT, table, sizeof(table)), ==, 0);
        g_assert_cmpint(image_file_write(file, FIRST_BLOCK, f, sizeof(*f)), ==, 0);
}

static struct image_file *small_new(void) {
        struct image_file *file = memory_file_new("", 0);
        struct vhd_footer f;
        struct vhd_header h;

        fill(&f, &h);
        lay_out(file, &f, &h);
        return file;
}

static struct image *open_vhd(struct image_file *file) {
        g_autoptr(GError) error = NULL;
        struct image *img = image_open(file, &(struct image_open){ "vhd" }, &error);

        g_assert_no_error(error);
        g_assert_nonnull(img);
        return img;
}

static void assert_refused(struct image_file *file, const char *why) {
        g_autoptr(GError) error = NULL;

        g_assert_null(image_open(file, &(struct image_open){ "vhd" }, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_IMAGE);
        if (!strstr(error->message, why))
                g_error("'%s' does not say '%s'", error->message, why);
}

static void test_bad_footer(void) {
        static const struct {
                size_t at;
                uint8_t len;
                uint64_t value;
                const char *why;
        } bad[] = {
                { offsetof(struct vhd_footer, version), 4, 0x00020000, "version" },
                { offsetof(struct vhd_footer, type), 4, 4, "differencing" },
                { offsetof(struct vhd_footer, type), 4, 7, "unknown type" },
                { offsetof(struct vhd_footer, size), 8, 0, "its size" },
                { offsetof(struct vhd_footer, size), 8, 513, "its size" },
                { offsetof(struct vhd_footer, size), 8, 1ull << 60, "its size" },
                { offsetof(struct vhd_footer, size), 8, DISK + BLOCK, "too small" },
                { offsetof(struct vhd_footer, type), 4, 2, "shorter than the disk" },
                { offsetof(struct vhd_footer, header_offset), 8, UINT64_MAX, "header lies" },
                { offsetof(struct vhd_footer, header_offset), 8, FIRST_BLOCK, "header lies" },
                { offsetof(struct vhd_footer, header_offset), 8, 0, "header is damaged" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                struct image_file *file = memory_file_new("", 0);
                uint64_t value = GUINT64_TO_BE(bad[i].value);
                struct vhd_footer f;
                struct vhd_header h;

                fill(&f, &h);
                memcpy((char *) &f + bad[i].at, (char *) &value + 8 - bad[i].len, bad[i].len);
                sign(&f, &h);
                lay_out(file, &f, &h);
                assert_refused(file, bad[i].why);
        }
        assert_refused(memory_file_new("conectix", 8), "too short");
        assert_refused(memory_file_new("", 0), "too short");
        assert_refused(memory_file_new((char[4096]){ "conectix" }, 4096), "no valid footer");
}

static void test_bad_header(void) {
        static const struct {
                size_t at;
                uint8_t len;
                uint64_t value;
                const char *why;
        } bad[] = {
                { offsetof(struct vhd_header, cookie), 4, 0, "damaged" },
                { offsetof(struct vhd_header, block_size), 4, 0, "block size" },
                { offsetof(struct vhd_header, block_size), 4, 3 * BLOCK, "block size" },
                { offsetof(struct vhd_header, block_size), 4, 1u << 31, "block size" },
                { offsetof(struct vhd_header, entries), 4, BLOCKS - 1, "too small" },
                { offsetof(struct vhd_header, entries), 4, UINT32_MAX, "beyond the end" },
                { offsetof(struct vhd_header, table_offset), 8, UINT64_MAX - 511,
                  "beyond the end" },
                { offsetof(struct vhd_header, table_offset), 8, TABLE_AT + 1, "beyond the end" },
                { offsetof(struct vhd_header, checksum), 4, 1, "damaged" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                struct image_file *file = memory_file_new("", 0);
                uint64_t value = GUINT64_TO_BE(bad[i].value);
                struct vhd_footer f;
                struct vhd_header h;

                fill(&f, &h);
                memcpy((char *) &h + bad[i].at, (char *) &value + 8 - bad[i].len, bad[i].len);
                if (bad[i].at != offsetof(struct vhd_header, checksum))
                        sign(&f, &h);
                lay_out(file, &f, &h);
                assert_refused(file, bad[i].why);
        }
}

static void put_entry(struct image_file *file, uint32_t block, uint32_t sector) {
        sector = GUINT32_TO_BE(sector);
        g_assert_cmpint(image_file_write(file, TABLE_AT + block * 4, &sector, 4), ==, 0);
}

static void note_finding(void *opaque, bool corruption, bool repaired, const char *message) {
        g_string_append_printf(opaque, "%s\n", message);
}

static void test_bad_entries(void) {
        static const uint32_t bad[] = { 0, 1, TABLE_AT / 512, FIRST_BLOCK / 512, 0xfffffffe };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                struct image_file *file = small_new();
                g_autoptr(GError) error = NULL;
                g_autoptr(GString) found = g_string_new("");
                struct image_check check = { .finding = note_finding, .opaque = found };
                struct image *img;

                put_entry(file, 3, bad[i]);
                img = image_open(file, &(struct image_open){ "vhd", .for_check = true }, &error);
                g_assert_no_error(error);
                g_assert_true(img->format->check(img, &check, &error));
                g_assert_cmpuint(check.corruptions, ==, 1);
                g_assert_nonnull(strstr(found->str, "outside of the file"));
                image_free(img);

                file = small_new();
                put_entry(file, 3, bad[i]);
                assert_refused(file, "a block lies outside");
        }
}

/* The guest's bytes at the front of a fixed image say what they like. */
static void test_fixed_stays_fixed(void) {
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        struct image_file *file = memory_file_new("", 0);
        struct vhd_footer f;
        struct vhd_header h;
        struct image *img;
        char buf[512] = { 0 };

        g_assert_true(image_options_parse(o, "subformat=fixed", &error));
        g_assert_true(vhd_create(file, DISK, o, &error));
        fill(&f, &h);
        lay_out(file, &f, &h);
        g_assert_cmpuint(file->size, ==, DISK + 512);
        img = open_vhd(file);
        g_assert_false(((struct vhd *) img)->dynamic);
        g_assert_cmpuint(img->size, ==, DISK);
        g_assert_cmpint(image_read(img, 0, buf, 512), ==, 0);
        g_assert_cmpint(memcmp(buf, &f, 512), ==, 0);
        /* Its last sector is not the footer. */
        memset(buf, 1, sizeof(buf));
        g_assert_cmpint(image_write(img, DISK - 512, buf, 512), ==, 0);
        g_assert_cmpint(image_write(img, DISK, buf, 512), ==, -EINVAL);
        g_assert_cmpint(image_zero(img, 0, DISK, true), ==, 0);
        g_assert_cmpint(image_discard(img, 0, DISK), ==, 0);
        g_assert_true(image_probe(file, &error) == &image_vhd);
        image_free(img);
}

/* A dynamic image whose end was lost is known by its front, and mended. */
static void test_lost_footer(void) {
        struct image_file *file = small_new();
        struct image_check check = { .repair_all = true };
        g_autoptr(GError) error = NULL;
        struct image *img;

        g_assert_cmpint(image_file_truncate(file, FIRST_BLOCK + 100), ==, 0);
        img = open_vhd(file);
        g_assert_true(img->format->check(img, &check, &error));
        g_assert_cmpuint(check.corruptions, ==, 1);
        g_assert_cmpuint(check.fixed_corruptions, ==, 1);
        check = (struct image_check){ .repair_all = false };
        g_assert_true(img->format->check(img, &check, &error));
        g_assert_cmpuint(check.corruptions, ==, 0);
        image_free(img);
}

static void test_partial_bitmap(void) {
        struct image_file *file = small_new();
        uint8_t bitmap[BITMAP] = { 0xa0 }, junk[BLOCK], buf[BLOCK];
        struct image *img;
        struct vhd_footer f;

        g_assert_cmpint(image_file_read(file, FIRST_BLOCK, &f, sizeof(f)), ==, 0);
        memset(junk, 7, sizeof(junk));
        put_entry(file, 2, FIRST_BLOCK / 512);
        g_assert_cmpint(image_file_write(file, FIRST_BLOCK, bitmap, BITMAP), ==, 0);
        g_assert_cmpint(image_file_write(file, FIRST_BLOCK + BITMAP, junk, BLOCK), ==, 0);
        g_assert_cmpint(image_file_write(file, FIRST_BLOCK + BITMAP + BLOCK, &f, 512), ==, 0);
        img = open_vhd(file);
        for (int round = 0; round < 2; round++) {
                g_assert_cmpint(image_read(img, 2 * BLOCK, buf, BLOCK), ==, 0);
                for (unsigned i = 0; i < BLOCK; i++)
                        g_assert_cmpuint(
                                        buf[i], ==,
                                        i / 512 == 0 || i / 512 == 2 ? 7
                                        : i / 512 == 9 && round      ? 9
                                                                     : 0);
                memset(junk, 9, 512);
                g_assert_cmpint(image_write(img, 2 * BLOCK + 9 * 512, junk, 512), ==, 0);
        }
        g_assert_true(((struct vhd *) img)->full[0] & 4);
        image_free(img);
}

/* One random change of img and of the model of it. 0 or what the image said; the model has it only if that is 0. */
static int change(struct image *img, uint8_t *model) {
        static uint8_t data[4 * BLOCK];
        uint64_t offset = (uint64_t) g_test_rand_int_range(0, (gint32) (img->size / 512)) * 512,
                 wish = (uint64_t) g_test_rand_int_range(1, 100) * 512,
                 len = MIN(wish, img->size - offset),
                 first = (offset + img->cluster - 1) / img->cluster * img->cluster,
                 end = offset + len == img->size ? img->size
                                                 : (offset + len) / img->cluster * img->cluster;
        int r;

        switch (g_test_rand_int_range(0, 6)) {
        case 0:
                r = image_zero(img, offset, len, g_test_rand_bit());
                if (r == 0)
                        memset(model + offset, 0, len);
                return r;
        case 1:
                r = image_discard(img, offset, len);
                if (r == 0 && end > first)
                        memset(model + first, 0, end - first);
                return r;
        case 2:
                return image_flush(img);
        default:
                memset(data, g_test_rand_int_range(1, 256), len);
                r = image_write(img, offset, data, len);
                if (r == 0)
                        memcpy(model + offset, data, len);
                return r;
        }
}

static void assert_content(struct image *img, const uint8_t *model) {
        g_autofree uint8_t *buf = g_malloc(img->size);

        g_assert_cmpint(image_read(img, 0, buf, img->size), ==, 0);
        g_assert_cmpint(memcmp(buf, model, img->size), ==, 0);
}

static void test_random(void) {
        struct image_file *file = small_new();
        g_autofree uint8_t *model = g_malloc0(DISK);
        struct image *img = open_vhd(file);

        for (int i = 0; i < 400; i++)
                g_assert_cmpint(change(img, model), ==, 0);
        assert_content(img, model);
        g_assert_cmpint(image_flush(img), ==, 0);
        g_assert_false(img->unflushed);
        image_free(img);
}

/* Whatever was flushed is there, whenever the power goes; what came after is in each sector there or not. */
static void test_power_cut(void) {
        g_autoptr(power_disk) disk = power_disk_new(64 * 1024 * 1024);
        g_autofree uint8_t *model = g_malloc0(DISK), *flushed = g_malloc0(DISK),
                           *buf = g_malloc(DISK);
        struct image_file *file = power_disk_open(disk, false);
        struct vhd_footer f;
        struct vhd_header h;
        struct image *img;
        unsigned from;

        fill(&f, &h);
        lay_out(file, &f, &h);
        power_disk_settle(disk);
        img = open_vhd(file);
        for (int i = 0; i < 6; i++) {
                memset(model + i * 3 * BLOCK, i + 1, BLOCK + 512);
                g_assert_cmpint(image_write(img, i * 3 * BLOCK, model + i * 3 * BLOCK, BLOCK + 512),
                                ==, 0);
        }
        g_assert_cmpint(image_flush(img), ==, 0);
        memcpy(flushed, model, DISK);
        from = power_disk_events(disk);
        for (int i = 0; i < 6; i++) {
                uint64_t at = i * 3 * BLOCK + 1024;

                memset(model + at, i + 11, 2 * BLOCK);
                g_assert_cmpint(image_write(img, at, model + at, 2 * BLOCK), ==, 0);
                if (i % 2)
                        g_assert_cmpint(image_flush(img), ==, 0);
        }
        for (unsigned n = from; n <= power_disk_events(disk); n++)
                for (uint32_t seed = 0; seed < 4; seed++) {
                        struct image *cut = open_vhd(power_disk_cut(disk, n, seed));

                        g_assert_cmpint(image_read(cut, 0, buf, DISK), ==, 0);
                        for (uint64_t at = 0; at < DISK; at += 512)
                                if (memcmp(buf + at, flushed + at, 512) != 0)
                                        g_assert_cmpint(memcmp(buf + at, model + at, 512), ==, 0);
                        /* It goes on from there. */
                        g_assert_cmpint(image_write(cut, DISK - 512, model, 512), ==, 0);
                        image_free(cut);
                }
        image_free(img);
}

/* A disk that fails or is full at any operation: what was written before is still there. */
static void test_failing_disk(void) {
        for (unsigned n = 1; n < 60; n++) {
                g_autoptr(power_disk) disk = power_disk_new(64 * 1024 * 1024);
                g_autofree uint8_t *model = g_malloc0(DISK), *buf = g_malloc(DISK);
                struct image_file *file = power_disk_open(disk, false);
                struct vhd_footer f;
                struct vhd_header h;
                struct image *img;

                fill(&f, &h);
                lay_out(file, &f, &h);
                img = open_vhd(file);
                memset(model, 5, 3 * BLOCK);
                g_assert_cmpint(image_write(img, 0, model, 3 * BLOCK), ==, 0);
                g_assert_cmpint(image_flush(img), ==, 0);
                power_disk_fail(disk, n, n % 2 ? ENOSPC : EIO, n % 3 == 0, false);
                memset(model + 3 * BLOCK, 6, 3 * BLOCK);
                for (int i = 0; i < 3; i++) {
                        int r = image_write(img, (3 + i) * BLOCK, model + 3 * BLOCK, BLOCK);

                        g_assert_true(r == 0 || r == -ENOSPC || r == -EIO);
                        (void) image_flush(img);
                }
                power_disk_fail(disk, 0, 0, false, false);
                g_assert_cmpint(image_write(img, 3 * BLOCK, model + 3 * BLOCK, 3 * BLOCK), ==, 0);
                g_assert_cmpint(image_flush(img), ==, 0);
                image_free(img);
                img = open_vhd(power_disk_open(disk, false));
                assert_content(img, model);
                image_free(img);
        }
}

static void test_readonly(void) {
        struct image_file *file = small_new();
        g_autoptr(GError) error = NULL;
        struct image *img =
                        image_open(file, &(struct image_open){ "vhd", .readonly = true }, &error);
        char buf[512];

        g_assert_no_error(error);
        g_assert_cmpint(image_write(img, 0, buf, 512), ==, -EROFS);
        g_assert_cmpint(image_read(img, 0, buf, 512), ==, 0);
        image_free(img);
}

/* Sizes, one after the other; what is cut off comes back as zeros. */
static void test_resize(gconstpointer subformat) {
        static const uint64_t sizes[] = { DISK + 512, DISK + 5 * BLOCK, DISK + 3000 * BLOCK,
                                          512,        DISK - 7 * BLOCK, DISK };
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        bool fixed = strcmp(subformat, "fixed") == 0;
        g_autoptr(power_disk) disk = power_disk_new(1ull << 30);
        struct image_file *file = power_disk_open(disk, false);
        uint64_t max = DISK + 3000ull * BLOCK;
        g_autofree uint8_t *model = g_malloc0(max), *buf = g_malloc(max);
        struct image *img;

        if (fixed) {
                g_assert_true(image_options_parse(o, "subformat=fixed", &error));
                g_assert_true(vhd_create(file, DISK, o, &error));
        } else {
                struct vhd_footer f;
                struct vhd_header h;

                fill(&f, &h);
                lay_out(file, &f, &h);
        }
        img = open_vhd(file);
        for (int i = 0; i < 40; i++)
                g_assert_cmpint(change(img, model), ==, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                uint64_t old = img->size, now;

                if (!vhd_resize(img, sizes[i], &error)) {
                        g_assert_true(!fixed && sizes[i] < old);
                        g_assert_nonnull(strstr(error->message, "only grow"));
                        g_clear_error(&error);
                        continue;
                }
                g_assert_true(fixed || sizes[i] >= old);
                now = img->size;
                g_assert_cmpuint(now, ==, sizes[i]);
                memset(model + now, 0, max - now);
                assert_content(img, model);
                g_assert_cmpint(image_write(img, now - 512, "0123", 4), ==, 0);
                memcpy(model + now - 512, "0123", 4);
                image_free(img);
                file = power_disk_open(disk, false);
                img = open_vhd(file);
                g_assert_cmpuint(img->size, ==, now);
                assert_content(img, model);
        }
        g_assert_false(vhd_resize(img, 0, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_clear_error(&error);
        g_assert_false(vhd_resize(img, VHD_SIZE_MAX + 512, &error));
        image_free(img);
}

/* Power cuts while it grows: the image has its old size or its new one, and its content. */
static void test_resize_cut(void) {
        g_autoptr(power_disk) disk = power_disk_new(1ull << 30);
        g_autofree uint8_t *model = g_malloc0(DISK), *buf = g_malloc(DISK);
        struct image_file *file = power_disk_open(disk, false);
        g_autoptr(GError) error = NULL;
        struct vhd_footer f;
        struct vhd_header h;
        struct image *img;

        fill(&f, &h);
        lay_out(file, &f, &h);
        img = open_vhd(file);
        memset(model, 3, 4 * BLOCK);
        g_assert_cmpint(image_write(img, 0, model, 4 * BLOCK), ==, 0);
        g_assert_cmpint(image_flush(img), ==, 0);
        power_disk_settle(disk);
        /* The larger table needs the place of blocks. */
        g_assert_true(vhd_resize(img, DISK + 6000 * BLOCK, &error));
        for (unsigned n = 0; n <= power_disk_events(disk); n++)
                for (uint32_t seed = 0; seed < 4; seed++) {
                        struct image *cut = open_vhd(power_disk_cut(disk, n, seed));

                        g_assert_true(cut->size == DISK || cut->size == img->size);
                        g_assert_cmpint(image_read(cut, 0, buf, DISK), ==, 0);
                        g_assert_cmpint(memcmp(buf, model, DISK), ==, 0);
                        image_free(cut);
                }
        image_free(img);
}

/* qemu-img and qemu-io, where they are. */
static bool run_tool(const char *command) {
        g_autoptr(GError) error = NULL;
        g_autofree char *out = NULL, *err = NULL;
        int status = 0;

        if (!g_spawn_command_line_sync(command, &out, &err, &status, &error))
                g_error("%s", error->message);
        if (!g_spawn_check_wait_status(status, NULL))
                g_error("%s: %s%s", command, out, err);
        return true;
}

G_GNUC_PRINTF(1, 2) static bool tool(const char *format, ...) {
        g_autofree char *command = NULL;
        va_list ap;

        va_start(ap, format);
        command = g_strdup_vprintf(format, ap);
        va_end(ap);
        return run_tool(command);
}

static struct image *open_path(const char *path) {
        g_autoptr(GError) error = NULL;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        struct image_file *file;

        g_assert_cmpint(fd, >=, 0);
        file = image_file_new(fd, /* readonly= */ false, &error);
        g_assert_no_error(error);
        return open_vhd(file);
}

static void test_qemu(gconstpointer subformat) {
        g_autofree char *dir = g_dir_make_tmp("chvd-vhd-XXXXXX", NULL),
                        *vhd = g_build_filename(dir, "a.vhd", NULL),
                        *raw = g_build_filename(dir, "a.raw", NULL),
                        *tool_path = g_find_program_in_path("qemu-img");
        uint64_t size = 9 * VHD_BLOCK + 512;
        g_autofree uint8_t *model = g_malloc0(size);
        g_autoptr(GError) error = NULL;
        struct image *img;

        if (!tool_path) {
                g_test_skip("qemu-img is not installed");
                (void) g_rmdir(dir);
                return;
        }
        for (int ours = 0; ours < 2; ours++) {
                if (ours) {
                        g_autoptr(image_options) o = image_options_new();
                        int fd = open(vhd, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                        g_autoptr(image_file) file = image_file_new(fd, false, &error);

                        g_assert_no_error(error);
                        g_assert_true(image_options_set(o, "subformat", subformat, &error));
                        g_assert_true(vhd_create(file, size, o, &error));
                } else {
                        tool("qemu-img create -q -f vpc -o subformat=%s,force_size=on %s "
                             "%" G_GUINT64_FORMAT,
                             (const char *) subformat, vhd, size);
                        tool("qemu-io -f vpc -c \"write -P 9 3M 1M\" %s", vhd);
                        memset(model + 3 * 1024 * 1024, 9, 1024 * 1024);
                }
                img = open_path(vhd);
                g_assert_cmpuint(img->size, ==, size);
                assert_content(img, model);
                for (int i = 0; i < 100; i++)
                        g_assert_cmpint(change(img, model), ==, 0);
                g_assert_cmpint(image_close(img), ==, 0);
                g_assert_true(g_file_set_contents(raw, (char *) model, (gssize) size, &error));
                tool("qemu-img compare -q -f vpc -F raw %s %s", vhd, raw);
                memset(model, 0, size);
        }
        (void) g_unlink(vhd);
        (void) g_unlink(raw);
        (void) g_rmdir(dir);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhd/bad-footer", test_bad_footer);
        g_test_add_func("/vhd/bad-header", test_bad_header);
        g_test_add_func("/vhd/bad-entries", test_bad_entries);
        g_test_add_func("/vhd/fixed-stays-fixed", test_fixed_stays_fixed);
        g_test_add_func("/vhd/lost-footer", test_lost_footer);
        g_test_add_func("/vhd/partial-bitmap", test_partial_bitmap);
        g_test_add_func("/vhd/random", test_random);
        g_test_add_func("/vhd/power-cut", test_power_cut);
        g_test_add_func("/vhd/failing-disk", test_failing_disk);
        g_test_add_func("/vhd/readonly", test_readonly);
        g_test_add_data_func("/vhd/resize/fixed", "fixed", test_resize);
        g_test_add_data_func("/vhd/resize/dynamic", "dynamic", test_resize);
        g_test_add_func("/vhd/resize-cut", test_resize_cut);
        g_test_add_data_func("/vhd/qemu/fixed", "fixed", test_qemu);
        g_test_add_data_func("/vhd/qemu/dynamic", "dynamic", test_qemu);
        return g_test_run();
}
