/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* A rig for tests of the qcow2 format (qcow2-rig.h). */

#include "qcow2-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

const char *const qcow2_variants[] = {
        "compat=1.1",
        "compat=0.10",
        "compat=0.10,cluster_size=512",
        "cluster_size=512",
        "cluster_size=1K,refcount_bits=64",
        "cluster_size=4K,refcount_bits=1",
        "cluster_size=8K,refcount_bits=2",
        "cluster_size=4K,refcount_bits=4",
        "refcount_bits=8,lazy_refcounts=on",
        "cluster_size=2M,refcount_bits=32",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16K,refcount_bits=16",
        "compression_type=zstd,cluster_size=32K",
        NULL,
};

static char *folder;

static void remove_folder(void) {
        g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(folder, name, NULL);

                (void) g_unlink(path);
        }
        (void) g_rmdir(folder);
}

char *rig_path(const char *name) {
        if (!folder) {
                folder = g_dir_make_tmp("chv-qcow2-XXXXXX", NULL);
                g_assert_nonnull(folder);
                (void) atexit(remove_folder);
        }
        return g_build_filename(folder, name, NULL);
}

static char *run_qemu_img(const char *format, va_list ap) {
        g_autofree char *rest = g_strdup_vprintf(format, ap);
        g_autofree char *line = g_strconcat("qemu-img ", rest, NULL);
        g_auto(GStrv) argv = g_strsplit(line, " ", -1);
        g_autoptr(GError) error = NULL;
        char *out = NULL;
        g_autofree char *err = NULL;
        int status;

        (void) g_spawn_sync(
                        folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status,
                        &error);
        g_assert_no_error(error);
        if (status != 0)
                g_test_message("%s: %s%s", line, out, err);
        g_assert_cmpint(status, ==, 0);
        return out;
}

void rig_qemu_img(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        g_free(run_qemu_img(format, ap));
        va_end(ap);
}

char *rig_qemu_img_output(const char *format, ...) {
        va_list ap;
        char *out;

        va_start(ap, format);
        out = run_qemu_img(format, ap);
        va_end(ap);
        return out;
}

struct image_file *rig_file(const char *path, bool readonly) {
        g_autoptr(GError) error = NULL;
        int fd = open(path, (readonly ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);
        struct image_file *f;

        g_assert_cmpint(fd, >=, 0);
        f = image_file_new(fd, readonly, &error);
        g_assert_no_error(error);
        return f;
}

static struct image_file *
resolve(void *opaque,
        enum image_role role,
        const char *name,
        const char *format,
        unsigned depth,
        bool readonly,
        GError **error) {
        g_autofree char *base = g_path_get_basename(name), *path = rig_path(base);

        return rig_file(path, readonly);
}

const struct image_resolver rig_resolver = { .open = resolve };

struct image *rig_open_file(struct image_file *file, bool readonly) {
        const struct image_open how = { .format = "qcow2",
                                        .readonly = readonly,
                                        .resolver = &rig_resolver };
        g_autoptr(GError) error = NULL;
        struct image *img = image_open(file, &how, &error);

        g_assert_no_error(error);
        return img;
}

struct image *rig_open(const char *path, bool readonly) {
        return rig_open_file(rig_file(path, readonly), readonly);
}

void rig_create_file(struct image_file *file, uint64_t size, const char *text) {
        g_autoptr(image_options) options = image_options_new();
        g_autoptr(GError) error = NULL;

        if (*text)
                (void) image_options_parse(options, text, &error);
        g_assert_no_error(error);
        (void) image_qcow2.create(file, size, options, &error);
        g_assert_no_error(error);
        (void) image_options_end(options, "qcow2", &error);
        g_assert_no_error(error);
}

void rig_create(const char *path, uint64_t size, const char *options) {
        g_autoptr(image_file) file = NULL;

        (void) g_unlink(path);
        file = rig_file(path, false);
        rig_create_file(file, size, options);
}

static void print_finding(void *opaque, bool corruption, bool repaired, const char *message) {
        const bool *leaks = opaque;

        if (corruption || !*leaks)
                g_test_message("%s: %s", corruption ? "corruption" : "leak", message);
}

void rig_check(struct image *img, bool leaks) {
        struct image_check check = { .finding = print_finding, .opaque = &leaks };
        g_autoptr(GError) error = NULL;

        (void) img->format->check(img, &check, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(check.corruptions, ==, 0);
        if (!leaks)
                g_assert_cmpuint(check.leaks, ==, 0);
}

void model_init(struct model *m, struct image *img, const void *data, uint32_t seed) {
        *m = (struct model){ .img = img,
                             .data = g_malloc0(img->size),
                             .size = img->size,
                             .rand = g_rand_new_with_seed(seed) };
        if (data)
                memcpy(m->data, data, m->size);
}

void model_clear(struct model *m) {
        g_free(m->data);
        g_rand_free(m->rand);
}

/* Mostly small, sometimes over several clusters. */
static void pick(struct model *m, uint64_t *ret_offset, uint64_t *ret_len) {
        uint64_t cluster = m->img->cluster, max = g_rand_boolean(m->rand) ? 4096 : 3 * cluster,
                 unit = g_rand_int_range(m->rand, 0, 4) ? 512 : cluster;

        *ret_offset = (uint64_t) (g_rand_double(m->rand) * (double) m->size) / unit * unit;
        *ret_len = (1 + (uint64_t) (g_rand_double(m->rand) * (double) max) / unit) * unit;
        *ret_len = MIN(*ret_len, m->size - *ret_offset);
}

static void step_write(struct model *m, uint64_t offset, uint64_t len) {
        uint8_t byte = (uint8_t) g_rand_int_range(m->rand, 1, 256);

        for (uint64_t i = 0; i < len; i++)
                m->data[offset + i] = (uint8_t) (byte + i / 512);
        g_assert_cmpint(image_write(m->img, offset, m->data + offset, len), ==, 0);
}

static void step_discard(struct model *m, uint64_t offset, uint64_t len) {
        uint64_t mask = m->img->cluster - 1, first = (offset + mask) & ~mask,
                 end = offset + len == m->size ? m->size : (offset + len) & ~mask;

        g_assert_cmpint(image_discard(m->img, offset, len), ==, 0);
        if (!m->discard_is_nothing && end > first)
                memset(m->data + first, 0, end - first);
}

static void step_read(struct model *m, uint64_t offset, uint64_t len) {
        g_autofree uint8_t *buf = g_malloc(len);

        g_assert_cmpint(image_read(m->img, offset, buf, len), ==, 0);
        g_assert_cmpint(memcmp(buf, m->data + offset, len), ==, 0);
}

void model_step(struct model *m) {
        uint64_t offset, len;
        unsigned op = (unsigned) g_rand_int_range(m->rand, 0, 16);

        pick(m, &offset, &len);
        if (op < 7) {
                step_write(m, offset, len);
        } else if (op < 10) {
                g_assert_cmpint(image_zero(m->img, offset, len, op == 7), ==, 0);
                memset(m->data + offset, 0, len);
        } else if (op < 12) {
                step_discard(m, offset, len);
        } else if (op < 15) {
                step_read(m, offset, len);
        } else {
                g_assert_cmpint(image_flush(m->img), ==, 0);
        }
}

void model_compare(struct model *m) {
        g_autofree uint8_t *buf = g_malloc(m->size);

        g_assert_cmpuint(m->img->size, ==, m->size);
        g_assert_cmpint(image_read(m->img, 0, buf, m->size), ==, 0);
        for (uint64_t i = 0; i < m->size; i++)
                if (buf[i] != m->data[i])
                        g_error("byte 0x%" G_GINT64_MODIFIER "x is %u, not %u", i, buf[i],
                                m->data[i]);
}

void model_resize(struct model *m, uint64_t size) {
        g_autoptr(GError) error = NULL;

        (void) m->img->format->resize(m->img, size, &error);
        g_assert_no_error(error);
        m->data = g_realloc(m->data, size);
        if (size > m->size)
                memset(m->data + m->size, 0, size - m->size);
        m->size = size;
}
