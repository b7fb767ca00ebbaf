/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves, for every format that can be made and the sets of options below, that random sequences of writes, zeros, discards, flushes,
 * closings, growth and snapshots leave what a plain array says, and an image in which check() and qemu-img find nothing wrong and
 * the same content. A sequence is told by its seed, CHV_RANDOM_SEED is the first one, CHV_RANDOM_SEEDS how many there are.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "devices/block/image/image.h"

#define MIB (1024u * 1024u)
#define SIZE (5u * MIB)
#define SIZE_MAX_GROWN (12u * MIB)
#define SIZE_MIN_SHRUNK (256u * 1024u)
#define N_OPERATIONS 80u
#define CHECK_EVERY 40u
#define N_SNAPSHOTS 3u

/* Each format that can be made has a row. */
static const struct set {
        const char *format, *options;
} sets[] = {
        { "raw", NULL },
        { "raw", "preallocation=falloc" },
        { "qcow2", NULL },
        { "qcow2", "cluster_size=512" },
        { "qcow2", "cluster_size=4K,compat=0.10" },
        { "qcow2", "cluster_size=2M,refcount_bits=64" },
        { "qcow2", "extended_l2=on" },
        { "qcow2", "extended_l2=on,cluster_size=16K,lazy_refcounts=on" },
        { "qcow2", "lazy_refcounts=on" },
        { "qcow2", "refcount_bits=1" },
        { "qcow2", "preallocation=metadata" },
        { "qcow2", "compression_type=zstd,refcount_bits=8" },
        { "vhd", NULL },
        { "vhd", "subformat=fixed" },
        { "vhdx", "block_size=1M" },
        { "vhdx", "subformat=fixed,block_size=1M" },
        { "vhdx", "log_size=2M" },
};

struct run {
        GRand *rand;
        const struct set *set;
        uint32_t seed;
        char *path, *plain;
        struct image *img;
        GByteArray *model;
        char *names[N_SNAPSHOTS];
        GByteArray *saved[N_SNAPSHOTS];
        unsigned n_made;
        GString *done; /* what was done, for a failure's message */
};

static void fail(const struct run *run, const char *what) {
        g_error("%s %s, seed %u: %s after:%s", run->set->format, run->set->options ?: "", run->seed,
                what, run->done->str);
}

static void expect(const struct run *run, bool condition, const char *what) {
        if (!condition)
                fail(run, what);
}

static void note(struct run *run, const char *what, uint64_t offset, uint64_t len) {
        g_string_append_printf(
                        run->done, " %s(%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT ")", what, offset,
                        len);
}

static void open_image(struct run *run) {
        const struct image_open how = { .format = run->set->format };
        g_autoptr(GError) error = NULL;
        struct image_file *file = image_file_new(
                        open(run->path, O_RDWR | O_CLOEXEC), /* readonly= */ false, &error);

        g_assert_no_error(error);
        run->img = image_open(file, &how, &error);
        if (!run->img)
                fail(run, error->message);
}

static void close_image(struct run *run) {
        expect(run, image_close(g_steal_pointer(&run->img)) == 0, "closing failed");
}

static void create(struct run *run) {
        const struct image_format *format = image_format_by_name(run->set->format);
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        g_autoptr(image_file) file = image_file_new(
                        open(run->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600),
                        /* readonly= */ false, &error);

        g_assert_no_error(error);
        if (run->set->options)
                g_assert_true(image_options_parse(o, run->set->options, &error));
        g_assert_true(format->create(file, SIZE, o, &error));
        g_assert_no_error(error);
        g_assert_true(image_options_end(o, run->set->format, &error));
}

/* Sectors, mostly few, sometimes around borders of clusters. */
static void pick(struct run *run, uint64_t *offset, uint64_t *len) {
        uint64_t size = run->img->size, max = g_rand_boolean(run->rand) ? 16384 : 600 * 1024;

        *offset = (uint64_t) (g_rand_double(run->rand) * (double) size);
        if (g_rand_int_range(run->rand, 0, 4) == 0)
                *offset -= *offset % run->img->cluster;
        *offset -= *offset % 512;
        *len = 512 + (uint64_t) (g_rand_double(run->rand) * (double) max);
        if (g_rand_int_range(run->rand, 0, 4) == 0)
                *len += run->img->cluster - *len % run->img->cluster;
        *len -= *len % 512;
        *len = MIN(*len, size - *offset);
}

static void do_write(struct run *run) {
        uint64_t offset, len;
        uint8_t value = (uint8_t) g_rand_int_range(run->rand, 1, 256);

        pick(run, &offset, &len);
        note(run, "write", offset, len);
        for (uint64_t i = 0; i < len; i++)
                run->model->data[offset + i] = (uint8_t) (value + i / 512);
        expect(run, image_write(run->img, offset, run->model->data + offset, (size_t) len) == 0,
               "writing failed");
}

static void do_zero(struct run *run) {
        bool unmap = g_rand_boolean(run->rand);
        uint64_t offset, len;

        pick(run, &offset, &len);
        note(run, unmap ? "unmap" : "zero", offset, len);
        memset(run->model->data + offset, 0, (size_t) len);
        expect(run, image_zero(run->img, offset, len, unmap) == 0, "zeroing failed");
}

/* What was there or zeros; from then on it is what it is. */
static void do_discard(struct run *run) {
        uint64_t offset, len;
        g_autofree uint8_t *now = NULL;

        pick(run, &offset, &len);
        note(run, "discard", offset, len);
        now = g_malloc((size_t) len);
        expect(run, image_discard(run->img, offset, len) == 0, "discarding failed");
        expect(run, image_read(run->img, offset, now, (size_t) len) == 0, "reading failed");
        for (uint64_t i = 0; i < len; i++)
                expect(run, now[i] == 0 || now[i] == run->model->data[offset + i],
                       "a discarded range has something else");
        memcpy(run->model->data + offset, now, (size_t) len);
}

static void do_flush(struct run *run) {
        note(run, "flush", 0, 0);
        expect(run, image_flush(run->img) == 0, "flushing failed");
}

static void do_reopen(struct run *run) {
        note(run, "reopen", 0, 0);
        close_image(run);
        open_image(run);
        expect(run, run->img->size == run->model->len, "the size has changed");
}

static void set_size(struct run *run, GByteArray *model, uint64_t size) {
        guint old = model->len;

        g_byte_array_set_size(model, (guint) size);
        if (size > old)
                memset(model->data + old, 0, (size_t) (size - old));
}

static void do_grow(struct run *run) {
        uint64_t size = run->img->size + 512 * (uint64_t) g_rand_int_range(run->rand, 1, 3000);
        g_autoptr(GError) error = NULL;

        if (!run->img->format->resize || size > SIZE_MAX_GROWN)
                return;
        note(run, "grow", size, 0);
        if (!run->img->format->resize(run->img, size, &error)) {
                /* Version 2 of qcow2 does not grow as long as it has snapshots. */
                if (!run->set->options || !strstr(run->set->options, "compat=0.10"))
                        fail(run, error->message);
                expect(run, run->img->size == run->model->len, "the size has changed");
                return;
        }
        expect(run, run->img->size >= size, "it did not grow");
        set_size(run, run->model, run->img->size);
}

static void do_shrink(struct run *run) {
        uint64_t less = 512 * (uint64_t) g_rand_int_range(run->rand, 1, 3000),
                 size = run->img->size - less;
        g_autoptr(GError) error = NULL;

        if (!run->img->format->resize || run->img->size < less + SIZE_MIN_SHRUNK)
                return;
        note(run, "shrink", size, 0);
        if (!run->img->format->resize(run->img, size, &error)) {
                /* As when it grows; and dynamic VHDs only do that. */
                if (!g_str_equal(run->set->format, "vhd") &&
                    (!run->set->options || !strstr(run->set->options, "compat=0.10")))
                        fail(run, error->message);
                expect(run, run->img->size == run->model->len, "the size has changed");
                return;
        }
        expect(run, run->img->size < run->model->len, "it did not shrink");
        set_size(run, run->model, run->img->size);
}

static GByteArray *copy_of(const GByteArray *a) {
        return g_byte_array_append(g_byte_array_sized_new(a->len), a->data, a->len);
}

static bool has_snapshots(const struct run *run) {
        return run->img->format->snapshot_create &&
               g_strcmp0(run->set->options, "refcount_bits=1") != 0;
}

static void take_snapshot(struct run *run, unsigned i) {
        g_autoptr(GError) error = NULL;

        run->names[i] = g_strdup_printf("s%u", run->n_made++);
        note(run, "snapshot", i, 0);
        if (!run->img->format->snapshot_create(run->img, run->names[i], &error))
                fail(run, error->message);
        run->saved[i] = copy_of(run->model);
}

static void delete_snapshot(struct run *run, unsigned i) {
        g_autoptr(GError) error = NULL;

        note(run, "delete", i, 0);
        if (!run->img->format->snapshot_delete(run->img, run->names[i], &error))
                fail(run, error->message);
        g_clear_pointer(&run->names[i], g_free);
        g_clear_pointer(&run->saved[i], g_byte_array_unref);
}

static void apply_snapshot(struct run *run, unsigned i) {
        g_autoptr(GError) error = NULL;

        note(run, "apply", i, 0);
        if (!run->img->format->snapshot_apply(run->img, run->names[i], &error))
                fail(run, error->message);
        g_byte_array_unref(run->model);
        run->model = copy_of(run->saved[i]);
        expect(run, run->img->size == run->model->len, "the size of a snapshot");
}

static void do_snapshot(struct run *run) {
        unsigned i = (unsigned) g_rand_int_range(run->rand, 0, N_SNAPSHOTS);

        if (!has_snapshots(run))
                return;
        if (!run->names[i])
                take_snapshot(run, i);
        else if (g_rand_boolean(run->rand))
                apply_snapshot(run, i);
        else
                delete_snapshot(run, i);
}

static void do_read(struct run *run) {
        uint64_t offset, len;
        g_autofree uint8_t *now = NULL;

        pick(run, &offset, &len);
        now = g_malloc((size_t) len);
        expect(run, image_read(run->img, offset, now, (size_t) len) == 0, "reading failed");
        expect(run, memcmp(now, run->model->data + offset, (size_t) len) == 0,
               "something else is read");
}

static void do_one(struct run *run) {
        static void (*const acts[])(struct run * run) = {
                do_write,  do_write,   do_write, do_write,    do_zero,
                do_zero,   do_discard, do_flush, do_grow,     do_shrink,
                do_reopen, do_read,    do_write, do_snapshot, do_snapshot,
        };

        acts[g_rand_int_range(run->rand, 0, G_N_ELEMENTS(acts))](run);
        do_read(run);
}

static void on_finding(void *opaque, bool corruption, bool repaired, const char *message) {
        g_string_append_printf(((struct run *) opaque)->done, " [%s]", message);
}

/* Nothing but lost space may be found; that is repaired away before the peer looks. */
static void check_self(struct run *run) {
        struct image_check check = { .finding = on_finding, .opaque = run };
        g_autoptr(GError) error = NULL;

        if (!run->img->format->check)
                return;
        expect(run, run->img->format->check(run->img, &check, &error), "checking failed");
        expect(run, check.corruptions == 0, "it is corrupt");
        expect(run, check.leaks == 0, "it has leaks");
}

static void ask(struct run *run, const char *const *argv) {
        g_autofree char *out = NULL, *err = NULL, *text = NULL;
        g_autoptr(GError) error = NULL;
        int status;

        g_assert_true(
                        g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL,
                                     &out, &err, &status, &error));
        g_assert_no_error(error);
        if (status == 0)
                return;
        text = g_strdup_printf("qemu-img %s: %s%s", argv[1], out, err);
        fail(run, text);
}

static void check_peer(struct run *run) {
        const char *format = strcmp(run->set->format, "vhd") == 0 ? "vpc" : run->set->format;
        const char *const compare[] = { "qemu-img", "compare",  "-f",      "raw", "-F",
                                        format,     run->plain, run->path, NULL };
        const char *const check[] = { "qemu-img", "check", "-f", format, run->path, NULL };
        g_autofree char *found = g_find_program_in_path("qemu-img");
        g_autoptr(GError) error = NULL;

        if (!found)
                return;
        (void) g_file_set_contents(run->plain, (char *) run->model->data, run->model->len, &error);
        g_assert_no_error(error);
        ask(run, compare);
        if (strcmp(format, "raw") != 0 && strcmp(format, "vpc") != 0)
                ask(run, check);
}

static void check_all(struct run *run) {
        g_autofree uint8_t *now = g_malloc(run->model->len);

        expect(run, image_read(run->img, 0, now, run->model->len) == 0, "reading failed");
        expect(run, memcmp(now, run->model->data, run->model->len) == 0, "the content is wrong");
        expect(run, image_flush(run->img) == 0, "flushing failed");
        check_self(run);
        close_image(run);
        check_peer(run);
        open_image(run);
}

static void run_seed(const struct set *set, const char *folder, uint32_t seed) {
        struct run run = { .rand = g_rand_new_with_seed(seed), .set = set, .seed = seed };

        run.path = g_build_filename(folder, "image", NULL);
        run.plain = g_build_filename(folder, "plain", NULL);
        run.done = g_string_new(NULL);
        create(&run);
        open_image(&run);
        run.model = g_byte_array_new();
        set_size(&run, run.model, run.img->size);
        for (unsigned i = 0; i < N_OPERATIONS; i++) {
                do_one(&run);
                if (i % CHECK_EVERY == CHECK_EVERY - 1)
                        check_all(&run);
        }
        close_image(&run);
        for (unsigned i = 0; i < N_SNAPSHOTS; i++) {
                g_free(run.names[i]);
                g_clear_pointer(&run.saved[i], g_byte_array_unref);
        }
        (void) g_unlink(run.path);
        (void) g_unlink(run.plain);
        g_byte_array_unref(run.model);
        g_string_free(run.done, TRUE);
        g_rand_free(run.rand);
        g_free(run.path);
        g_free(run.plain);
}

static uint32_t number(const char *name, uint32_t fallback) {
        const char *text = g_getenv(name);

        return text ? (uint32_t) g_ascii_strtoull(text, NULL, 10) : fallback;
}

static void test_set(gconstpointer data) {
        uint32_t first = number("CHV_RANDOM_SEED", 1), n = number("CHV_RANDOM_SEEDS", 2);
        g_autoptr(GError) error = NULL;
        g_autofree char *folder = g_dir_make_tmp("chv-random-XXXXXX", &error);

        g_assert_no_error(error);
        for (uint32_t i = 0; i < n; i++)
                run_seed(data, folder, first + i);
        g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void test_complete(void) {
        for (size_t i = 0; image_formats[i]; i++) {
                bool found = !image_formats[i]->create;

                for (size_t j = 0; j < G_N_ELEMENTS(sets); j++)
                        found = found || strcmp(sets[j].format, image_formats[i]->name) == 0;
                if (!found)
                        g_error("no set of options for %s", image_formats[i]->name);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/random/complete", test_complete);
        for (size_t i = 0; i < G_N_ELEMENTS(sets); i++) {
                g_autofree char *name = g_strdup_printf(
                                "/random/%s/%s", sets[i].format, sets[i].options ?: "plain");

                g_test_add_data_func(name, &sets[i], test_set);
        }
        return g_test_run();
}
